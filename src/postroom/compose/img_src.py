"""Where the src of each picture stands in a piece of HTML: exact spans, in linear time, and next to nothing where none matters.

Tags, comments and raw text as browsers see them (HTML Living Standard, section 13.2.5, Tokenization), so that a picture in
a comment, a style or another attribute is none. Two differences are meant: Outlook reads what stands in a conditional
comment, `<!--[if mso]>…<![endif]-->`, and mail programs run no scripts, so what stands in `noscript` is shown.
"""

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5

# Every repetition below is possessive: what was taken is never given back, so no input makes a scan slower than its length.
BLANK = r"\t\n\f\r "
ATTRIBUTE = rf"""[^{BLANK}/>][^{BLANK}/>=]*+(?:[{BLANK}]*+=[{BLANK}]*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^{BLANK}>"'][^{BLANK}>]*+)?+)?+"""
ATTRIBUTES = rf"(?:[{BLANK}/]++|{ATTRIBUTE})*+"  # behind them stands the tag's end, or the document ends
NAME_ENDS = rf"(?=[{BLANK}/>]|\Z)"
# The first src counts, as in browsers; the others are attributes like any.
PICTURE = re.compile(rf"""<[iI][mM][gG](?=[{BLANK}/])(?:[{BLANK}/]++|(?![sS][rR][cC](?:[{BLANK}/>=]|\Z)){ATTRIBUTE})*+"""
                     rf"""(?:[sS][rR][cC][{BLANK}]*+=[{BLANK}]*+(?:"([^"]*+)"|'([^']*+)'|([^{BLANK}>"'][^{BLANK}>]*+)))?+""")
REST_OF_TAG = re.compile(ATTRIBUTES + "(>)?+")
# A script ends at the first end tag: its states for "<!--" are left out, as no mail program runs one.
RAW = "script|style|textarea|title|xmp|iframe|noembed|noframes"
# All that holds no picture, in one match: text, tags, declarations; stops in front of a picture, a comment or raw text.
NO_PICTURE = re.compile(rf"(?:[^<]++|<(?:/|(?!(?i:img|{RAW}){NAME_ENDS}))[A-Za-z][^{BLANK}/>]*+{ATTRIBUTES}>?+|<(?!!--)(?:[!?]|/(?![A-Za-z]))[^>]*+(?:>|\Z)"
                        r"|<(?![A-Za-z!?/]))*+")
RAW_ELEMENT = re.compile(rf"<({RAW}){NAME_ENDS}", re.IGNORECASE)
RAW_ENDS = {name: re.compile(rf"</{name}{NAME_ENDS}", re.IGNORECASE) for name in RAW.split("|")}
COMMENT = re.compile(r"<!--(?:-?>|((?:[^-]++|-(?!-!?>))*+)(?:--!?>|\Z))")
CONDITION = re.compile(rf"[{BLANK}]*+\[if[^\]]*+\]>", re.IGNORECASE)
# Most pictures by far, told by the first letters of what is written.
ELSEWHERE = re.compile(r"cid:|https?:|//", re.IGNORECASE)
# What may begin any other picture, wherever it stands. It looks no further than the next "<", or many pictures without an end
# would each be read to the end; where it stops there, the exact reading decides.
PLAIN_ATTRIBUTE = rf"""[^{BLANK}/><][^{BLANK}/>=<]*+(?:[{BLANK}]*+=[{BLANK}]*+(?:"[^"<]*+"|'[^'<]*+'|[^{BLANK}>"'<][^{BLANK}><]*+)|(?![{BLANK}]*+=))"""
CANDIDATE = re.compile(rf"""<[iI][mM][gG](?=[{BLANK}/])(?!(?:[{BLANK}/]++|(?![sS][rR][cC][{BLANK}/>=]){PLAIN_ATTRIBUTE})*+"""
                       rf"""[sS][rR][cC][{BLANK}]*+=[{BLANK}]*+["']?+(?i:{ELSEWHERE.pattern}))""")
# Where what begins a picture's tag may be cut off.
CUT_OFF = re.compile(r"<(?:i(?:mg?)?)?\Z", re.IGNORECASE)
BEGINS = re.compile(rb"<(?:img|(?:i(?:mg?)?)?(?:\0|\Z))", re.IGNORECASE)
REFERENCE = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|[A-Za-z0-9]+(?:;|(?!=)))")


def local_sources(html: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the src values, quotes apart, of all pictures but those that plainly are cid:, http: or https: ones."""
    # Cheap, as it does not ask what is a comment; the exact reading goes no further than it must.
    last = max((found.start() for found in CANDIDATE.finditer(html)), default=None)
    return [] if last is None else [span for span in sources(html, last) if not ELSEWHERE.match(html, span[0])]


def may_be_local(piece: str) -> bool:
    """False where no text that holds this piece of HTML has one of local_sources() whose tag begins in it."""
    return bool(CANDIDATE.search(piece) or CUT_OFF.search(piece))


def begins_picture(pieces: bytes) -> bool:
    """Whether a picture's tag may begin in one of these, which are joined by NUL."""
    return BEGINS.search(pieces) is not None


def sources(html: str, last: int | None = None) -> Iterator[tuple[int, int]]:
    """Spans of the src values of all pictures, in their order. last: where the last tag that matters begins."""
    at, end, resume = 0, len(html), None
    while last is None or at <= last:
        at = NO_PICTURE.match(html, at, end).end()
        if at == end:
            if resume is None:
                return
            # The conditional comment is done; what follows it is HTML again.
            at, end, resume = resume, len(html), None
        elif html.startswith("<!--", at):
            # No comment ends inside a conditional one, so another that begins there takes all of the rest.
            found = COMMENT.match(html, at, end)
            at = found.end()
            if resume is None and found[1] and (condition := CONDITION.match(html, *found.span(1))):
                at, end, resume = condition.end(), found.end(1), found.end()
        elif raw := RAW_ELEMENT.match(html, at, end):
            begins = REST_OF_TAG.match(html, raw.end(), end).end()
            ends = RAW_ENDS[raw[1].lower()].search(html, begins, end)
            at = ends.start() if ends else end
        else:
            at, span = _picture(html, at, end)
            if span:
                yield span


def value_of(written: str) -> str:
    """An attribute's value with its character references replaced; unlike in text, `&copy=1` is none (section 13.2.5.73)."""
    return REFERENCE.sub(_character, written) if "&" in written else written


def _character(reference):
    known = reference[0][1] == "#" or reference[0][1:] in html5
    return unescape(reference[0]) if known else reference[0]


def _picture(html, at, end):
    found = PICTURE.match(html, at, end)
    if found is None:  # `<img>`, with no attribute at all
        return REST_OF_TAG.match(html, at + 4, end).end(), None
    rest = REST_OF_TAG.match(html, found.end(), end)
    # A tag that the end cuts off is no picture.
    return rest.end(), found.span(found.lastindex) if found.lastindex and rest[1] else None
