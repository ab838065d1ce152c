"""HTML to plain text, for campaigns without a text template: what a person would read, links as numbered notes below.

Newsletters put everything into tables; a table that only places things is unfolded, or the whole mail would be one line of a grid.
"""

import re

WIDTH = 78
UNSEEN_TAGS = "head, style, script, template, title, noscript, [hidden]"
# A grid of words stays a table. Whoever makes one says so by header cells, a caption or a border; whatever else holds blocks,
# pictures or tables, or has one cell a row, was made to place things.
GRID, BLOCKS = "th, caption", "table, p, div, h1, h2, h3, h4, h5, h6, ul, ol, dl, blockquote, hr, img, center, section, article, pre"
# Invisible characters in a row are the filler behind a preheader; one alone may be part of a word, as in Persian.
FILLER = re.compile("(?:[ \\t\u00a0\u2007]*[\u200b-\u200f\u034f\u00ad\ufeff\u2060\u2800]){2,}[ \\t\u00a0\u2007]*|\u00a0{4,}")
# Not the size of the letters: builders of newsletters write font-size:0 around everything.
HIDDEN = re.compile(r"display:none|visibility:hidden|mso-hide:all|(?:^|;)opacity:0(?:\.0+)?(?:;|!|$)")
COLLAPSED = re.compile(r"(?:^|;)(?:max-)?height:0(?:px|pt|em)?(?:;|!|$)")


def plain_text(html: str) -> str:
    """The text a person would read in `html`: no styles, no hidden preheader, no tracking pixel; links keep their targets."""
    import turbohtml

    document = turbohtml.parse(html)
    for element in document.select(UNSEEN_TAGS):
        element.decompose()
    for element in document.select("[style]"):
        if _is_hidden(element.attrs.get("style")):
            element.decompose()
    for image in document.select("img"):
        if not (image.attrs.get("alt") or "").strip() or image.attrs.get("width") in ("0", "1") and image.attrs.get("height") in ("0", "1"):
            image.decompose()
    for link in document.select("a"):
        _plain_link(link)
    for table in _layout_tables(document):
        _unfold(table)
    text = document.to_text(turbohtml.PlainText(width=WIDTH, links="footnote", images=True))
    lines = [FILLER.sub(" ", line).rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def _is_hidden(style):
    style = re.sub(r"\s", "", style or "").lower()
    return bool(HIDDEN.search(style)) or "overflow:hidden" in style and bool(COLLAPSED.search(style))


def _plain_link(link):
    """No note where it would say what the text says already, leads nowhere, or belongs to nothing that is left."""
    target, words = (link.attrs.get("href") or "").strip(), " ".join(link.text.split())
    if not words and link.select_one("img") is None:
        link.decompose()
    elif not target or target.startswith("#") or _bare(words) == _bare(target):
        link.unwrap()


def _bare(address):
    return re.sub(r"^(?:https?://(?:www\.)?|mailto:|tel:)|/$", "", address.strip().lower())


def _layout_tables(document):
    """The tables that only place things, in the order of the source."""
    tables = document.select("table")
    if not tables:
        return []
    holding = {element.parent.closest("table") for element in document.select(BLOCKS)}
    around = {table.parent.closest("table") for table in tables}
    grids = {element.closest("table") for element in document.select(GRID)}
    wide = {row.closest("table") for row in document.select("tr") if sum(getattr(cell, "tag", None) in ("td", "th") for cell in row.children) > 1}

    def places_things(table):
        if table.attrs.get("role") in ("presentation", "none") or table in around:
            return True
        if table in grids or table.attrs.get("border") not in (None, "", "0"):
            return False
        return table in holding or table not in wide

    return [table for table in tables if places_things(table)]


def _unfold(table):
    """Cells become blocks in reading order."""
    for section in [child for child in table.children if getattr(child, "tag", None) in ("thead", "tbody", "tfoot")]:
        for row in [child for child in section.children if getattr(child, "tag", None) == "tr"]:
            for cell in [child for child in row.children if getattr(child, "tag", None) in ("td", "th")]:
                cell.tag = "div"
            row.tag = "div"
        section.tag = "div"
    table.tag = "div"
