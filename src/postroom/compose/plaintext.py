"""HTML to plain text, for campaigns without a text template: what a person sees, in reading order, links as numbered notes.

Newsletters are built of tables that mean nothing, and hide lines for the preview of an inbox. Both are decided here; drawing
lists, quotes, tables of data and lines of at most 78 characters is turbohtml's.
"""

import functools
import re

WIDTH = 78
MOST_KNOWN = 500  # letters of a style that is remembered
NEVER_SHOWN = "head, style, script, template, [hidden]"
# Blocks that the converter does not know as such.
RENAMED = {"center": "div", "form": "div", "fieldset": "div", "legend": "div", "hgroup": "div", "search": "div", "dialog": "div", "menu": "ul", "dir": "ul"}
BLOCKS = {"p", "div", "center", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "blockquote", "pre", "hr", "section", "article", "header", "footer"}
PARTS = {"caption", "thead", "tbody", "tfoot", "tr", "td", "th"}
SIMPLE_SELECTOR = re.compile(r"([a-z][a-z0-9]*)?([.#])([a-z_-][a-z0-9_-]*)", re.IGNORECASE)
# One that is never closed reaches to the end, as in CSS.
COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
NOTHING = re.compile(r"(?:0+(?:\.0*)?|\.0+)(?:px|em|rem|pt|%)?")
TINY = re.compile(r"(?:0*[01](?:\.0*)?|0*\.[0-9]+)(?:px)?")
# Soft hyphens and byte order marks say nothing in plain text, and some readers show them.
UNSEEN = re.compile("[\u00ad\ufeff]")
# What has no width and what is a blank, as they fill the rest of an inbox's preview. The ideographic space is none: it indents paragraphs.
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\u2800\u3164"
BLANK = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
RUN = re.compile(f"[ {INVISIBLE}{BLANK}]{{2,}}")
FILLING = re.compile(f"[{INVISIBLE}{BLANK}]")


def plain_text(html: str) -> str:
    """The text a person would read in `html`, a line end at its end.

    Hidden is what no program shows: `hidden`, and by inline style or a rule for one class or id outside @media: display:none,
    visibility:hidden, max-height:0 with overflow:hidden, an opacity of 0 at a font-size of at most 1px. Not mso-hide:all, which
    hides from Outlook alone and stands on real buttons. Images leave their alt text; those of 1x1 leave nothing.
    A table is unfolded, cell after cell, unless it is one of data: see _Table.
    html: without halves of characters, as Templates.render gives it. Any HTML gives a text, in time that grows with its length alone.
    """
    import turbohtml

    document = turbohtml.parse(html)
    _drop_hidden(document)
    tables, links = _survey(document)
    _name_images(document, turbohtml)
    targets = _mark_links(links, turbohtml.Text)
    for table in tables:
        if table.is_layout():
            table.unfold()
        else:
            table.straighten()
    for element in document.select("a[style*=display], span[style*=display]"):
        if _declared(element).get("display") == "block":
            element.tag = "div"
    text = _tidied(document.to_text(turbohtml.PlainText(width=WIDTH)))
    notes = "".join(f"[{number}] {target}\n" for target, number in targets.items())
    return f"{text}\n\n{notes}" if notes else text + "\n"


# What is hidden

def _drop_hidden(document):
    style = "\n".join(element.text for element in document.select("style") if (element.attr("media") or "all").strip().lower() in ("all", "screen"))
    by_rule = _hiding_rules(style)
    for element in document.select(NEVER_SHOWN):
        element.decompose()
    for element in document.select("[style]"):
        if _hides(_declared(element)):
            element.decompose()
    if by_rule:
        for element in document.select("[class], [id]"):
            names = {("#", element.attr("id")), *((".", name) for name in (element.attr("class") or "").split())}
            if any((tag, *name) in by_rule for name in names for tag in ("", element.tag)) and "display" not in _declared(element):
                element.decompose()


def _hiding_rules(style):
    """(tag or "", "." or "#", name) of each selector that hides. Rules inside @media are for some screens alone, so they do not count."""
    rules, depth, in_at_rule, selectors = {}, 0, False, ""
    for part in re.split(r"([{}])", COMMENT.sub(" ", style)):
        if part == "{":
            depth += 1
        elif part == "}":
            depth = max(0, depth - 1)
        elif depth == 0:
            selectors = part.rpartition(";")[2].strip()
            in_at_rule = selectors.startswith("@")
        elif depth == 1 and not in_at_rule:
            for selector in selectors.split(","):
                if found := SIMPLE_SELECTOR.fullmatch(selector.strip()):
                    rules[(found[1] or "").lower(), found[2], found[3]] = _hides(_declarations(part))
    return {rule for rule, hides in rules.items() if hides}


def _hides(declared):
    return (declared.get("display") == "none" or declared.get("visibility") == "hidden"
            or (NOTHING.fullmatch(declared.get("max-height", "")) and declared.get("overflow") == "hidden")
            or (NOTHING.fullmatch(declared.get("opacity", "")) and TINY.fullmatch(declared.get("font-size", ""))))


def _declared(element):
    style = element.attr("style") or ""
    return _known_declarations(style) if len(style) <= MOST_KNOWN else _declarations(style)


@functools.lru_cache(maxsize=1024)
def _known_declarations(text):
    """The same style stands in every mail, often many times."""
    return _declarations(text)


def _declarations(text):
    pairs = (part.partition(":") for part in text.lower().split(";"))
    return {name.strip(): value.replace("!important", "").strip() for name, _, value in pairs}


# Images and links

def _name_images(document, turbohtml):
    for image in document.select("img"):
        declared = _declared(image)
        width, height = ((image.attr(side) or declared.get(side, "")).strip() for side in ("width", "height"))
        alt = " ".join((image.attr("alt") or "").split())
        if not alt or (TINY.fullmatch(width) and TINY.fullmatch(height)):
            image.decompose()
        elif declared.get("display") == "block":
            image.replace_with(turbohtml.Element("div", None, [turbohtml.Text(alt)]))
        else:
            image.replace_with(turbohtml.Text(f" {alt} "))


def _mark_links(links, text_node):
    """Put [1] behind each link's words. Returns the targets with their numbers; the same target has one.

    links: (element, does it hold another link), in reading order. A link that shows its own target needs no note.
    """
    targets, silent = {}, []
    for link, holds_another in links:
        target = re.sub(r"[\t\r\n]", "", link.attr("href") or "").strip().replace(" ", "%20")
        if not target or target.startswith(("#", "javascript:")):
            continue
        words = "" if holds_another else " ".join(link.text.split())
        if not words:
            silent.append((link, _note(target)))
        elif not _shows(words, target):
            _append(link, f"[{targets.setdefault(_note(target), len(targets) + 1)}]", text_node)
    for link, note in silent:
        # A picture without words, or a link around others: its target is kept if nothing else leads there.
        if note not in targets:
            _append(link, f"[{targets.setdefault(note, len(targets) + 1)}]", text_node)
    return targets


def _shows(words, target):
    """Whether a link's words are its target, as programs recognise it in plain text."""
    if target.startswith("tel:"):
        return re.sub("[^0-9]", "", words) == re.sub("[^0-9]", "", target.replace("%20", ""))
    if target.startswith("mailto:"):
        return words.lower() == target.removeprefix("mailto:").lower()
    return words.startswith(("http://", "https://", "www.")) and _bare(words) == _bare(target)


def _bare(address):
    return re.sub(r"^https?://", "", address).removeprefix("www.").rstrip("/")


def _note(target):
    """An address to write to stands alone, unless the link brings a subject along."""
    return target.removeprefix("mailto:") if "?" not in target else target


def _append(link, mark, text_node):
    """Behind the link's last words, inside the last block if the link holds blocks; those nest a few levels deep at most."""
    last = link
    for _ in range(20):
        inner = [node for node in last.children if not isinstance(node, text_node) or node.data.strip()]
        if not inner or getattr(inner[-1], "tag", None) not in BLOCKS | PARTS | {"table"}:
            break
        last = inner[-1]
    end = last.children[-1] if len(last.children) else None
    if not isinstance(end, text_node):
        last.append(text_node(mark))
    elif words := end.data.rstrip():
        end.data = words + mark + end.data[len(words):]
    else:
        end.insert_before(text_node(mark))


# Tables

class _Table:
    """What tells a table of data from one that only places things.

    It is layout by role=presentation or none, with another table inside, and with less than two rows of two cells; it is data by
    role=table or grid, and by a <caption> or <thead>. Of the others, one is data that fits into a line and has no pictures, and either
    both <th> and <td>, or plain words in its cells: no blocks, no line breaks. Some layouts are made of <th> alone.
    """

    __slots__ = ("element", "parts", "cells", "inside")

    def __init__(self, element):
        self.element, self.parts, self.cells, self.inside = element, [], {}, set()

    def add(self, element, tag):
        """An element whose nearest table this is."""
        self.inside.add(tag)
        if tag in PARTS:
            self.parts.append(element)
        if tag in ("td", "th"):
            self.cells.setdefault(element.parent, []).append(element)

    def is_layout(self):
        role = (self.element.attr("role") or "").strip().lower()
        if role in ("presentation", "none") or "table" in self.inside:
            return True
        if role in ("table", "grid") or self.inside & {"caption", "thead"}:
            return False
        if "img" in self.inside or sum(len(row) > 1 for row in self.cells.values()) < 2 or self._width() > WIDTH:
            return True
        return not self.inside >= {"th", "td"} and bool(self.inside & (BLOCKS | {"br"}))

    def unfold(self):
        """Cells become blocks in reading order: the converter would draw a grid, one line for the whole mail."""
        for part in (*self.parts, self.element):
            part.tag = "div"

    def straighten(self):
        """Each cell one line of words, so that the columns stand under each other; a caption goes in front, where it is drawn."""
        for row in self.cells.values():
            for cell in row:
                cell.set_text(" ".join(cell.to_text().split()))
        for part in self.parts:
            if part.tag == "caption":
                part.tag = "div"
                self.element.insert_before(part)

    def _width(self):
        return max(sum(len(cell.text.strip()) + 2 for cell in row) for row in self.cells.values())


def _survey(document):
    """The tables, and the links with whether they hold another one. One walk, so that depth costs nothing."""
    tables, links, around = [], {}, {}
    for element in document.iter_elements():
        tag = element.tag
        table, link = around.get(element.parent, (None, None))
        if table is not None:
            table.add(element, tag)
        if tag == "table":
            table = _Table(element)
            tables.append(table)
        elif tag == "a" and "href" in element.attrs:
            if link is not None:
                links[link] = True
            link = element
            links[element] = False
        elif tag in RENAMED:
            element.tag = RENAMED[tag]
        around[element] = table, link
    return tables, list(links.items())


# The text

def _tidied(text):
    lines = "\n".join(map(_line, UNSEEN.sub("", text).split("\n")))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def _line(line):
    if line.isascii():
        return line.rstrip()
    words = line.lstrip(" " + INVISIBLE + BLANK)
    # Plain spaces in front are an indent.
    if line[:len(line) - len(words)].strip(" "):
        line = words
    return RUN.sub(_shortened, line).rstrip()


def _shortened(run):
    # One between letters or beside a blank belongs to a script or an emoji; more of them only fill.
    return " " if len(FILLING.findall(run[0])) > 1 else run[0]
