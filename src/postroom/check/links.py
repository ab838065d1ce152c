"""Where a mail's links lead: to what mail programs open, and never where a cell alone decides what happens on a click.

Autoescaping keeps a cell inside its attribute, but says nothing about what the attribute means: `javascript:` is a whole
program. What a template's author wrote is his own affair, and gets a warning.
"""

import re
from collections.abc import Iterator

from postroom.address import shown

# RFC 2392 (cid), 3966 (tel), 6068 (mailto); every mail program opens these.
OPENED = {"http", "https", "mailto", "tel", "cid"}
LEADING = {"href", "xlink:href", "src", "action", "formaction", "background", "poster", "data", "cite", "longdesc", "ping"}
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# A cell without either brings no scheme, not even one in disguise.
MAY_LEAD = re.compile(r"&|(?<!http)(?<!https)(?<!mailto)(?<!tel):")
# An attribute's "=" behind which no scheme in OPENED stands as it is, nor anything that begins no scheme. Where there is none, no link is odd,
# and nobody needs a parser to know it. A blank before the sign, or in front of the value, is for the parser.
NAMED = "|".join(f"(?<={name}=)" for name in sorted(LEADING))
MAY_BE_ODD = re.compile(rf"""=(?i:(?<=[\t\n\f\r ]=)|{NAMED})["']?+(?!(?i:https?:|mailto:|tel:|cid:)|[^A-Za-z&\x00-\x20])""")
CONDITIONAL = re.compile(r"\[if[^\]]*\]>", re.IGNORECASE)
OTHERS = "begin it with https://, http://, mailto: or tel:"


class Links:
    """The links of one campaign's HTML. sources: path to octets of every template that was read so far; grows while rows are rendered."""

    def __init__(self, sources: dict[str, bytes]):
        self.sources, self._written, self._read = sources, {}, set()

    def of_cells(self, html: str, row: dict[str, str]) -> Iterator[tuple[list[str], str]]:
        """(columns, what is wrong) of each link in a row's HTML whose scheme one of its cells brought, and no mail program should open."""
        text = "\n".join(row.values())
        if ":" not in text and "&" not in text or not any(MAY_LEAD.search(cell) for cell in row.values()):
            return
        written = self.written()
        for value, scheme in odd_links(html):
            if not any(value.startswith(begin) for begin in written) and (columns := _guilty(row, value, scheme)):
                yield columns, f'"{shown(value)}" would be a link that begins with "{scheme}:"'

    def written(self) -> dict[str, tuple[str, int]]:
        """What the templates themselves begin odd links with, to (path, line) of the first."""
        for path in [path for path in self.sources if path not in self._read]:
            self._read.add(path)
            for value, line in _odd(self.sources[path].decode("utf-8-sig")):
                begin = value.partition("{")[0]
                if SCHEME.match(begin):
                    self._written.setdefault(begin, (path, line))
        return self._written


def odd_links(html: str) -> Iterator[tuple[str, str]]:
    """(address, scheme) of each link, picture and form in `html` that begins with another scheme than those in OPENED."""
    if not MAY_BE_ODD.search(html):
        return
    for value, _ in _odd(html):
        yield value, SCHEME.match(value)[1].lower()


def _odd(html, first_line=1, in_comment=False):
    import turbohtml

    for token in turbohtml.tokenize(html):
        if token.type is turbohtml.TokenType.START_TAG:
            for name, value in token.attrs:
                if name in LEADING and value and (found := SCHEME.match(value := address(value))) and found[1].lower() not in OPENED:
                    yield value, first_line + token.line - 1
        elif not in_comment and token.type is turbohtml.TokenType.COMMENT and (condition := CONDITIONAL.match(token.data)):
            # Outlook reads what stands in there; a comment in it is none.
            yield from _odd(token.data[condition.end():], first_line + token.line - 1, in_comment=True)


def address(value: str) -> str:
    """An attribute's value as the URL that a browser makes of it: without blanks and controls around it, and line breaks in it (WHATWG URL, section 4.4)."""
    return re.sub("[\t\n\r]", "", value.strip("".join(map(chr, range(33)))))


def _guilty(row, value, scheme):
    import turbohtml

    cells = {column: address(turbohtml.unescape(cell)).lower() for column, cell in row.items()}
    return ([column for column, cell in cells.items() if f"{scheme}:" in cell]
            or [column for column, cell in cells.items() if cell and value.lower().startswith(cell)])
