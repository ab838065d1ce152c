"""A rendered text to the octets of its part, so that what stands in the template is encoded once and not for every recipient.

Quoted-printable is written in segments: a long piece that the template brings as it is, or all that stands between two such. Each
is encoded by itself, and a soft line break comes before it where the line would become too long. So the octets follow from the
text and its pieces alone, whatever was encoded before.
"""

from collections import namedtuple

from postroom.compose import mime
from postroom.message import Block, checked, vouched

# A shorter one costs more to look up than C needs to encode it.
LEAST = 256
CUT, LINE_END = b"=\r\n", b"\r\n"

Body = namedtuple("Body", "text octets pieces")
Body.__doc__ = """One rendered text. octets: in UTF-8. pieces: the text as its template put it out, or in one."""


def plain_body(text: str) -> Body:
    """A text that no template put out."""
    return Body(text, text.encode(), [text])


def replaced(body: Body, spans: list[tuple[int, int, str]], written: set[str]) -> Body:
    """The text with other words in place of some of its spans, (start, end, words) in their order, none of them empty.

    written: the pieces that stand in the template as they are; what becomes of one of them is one of them too.
    """
    pieces, at, upto, number = [], 0, 0, 0
    for piece in body.pieces:
        end = at + len(piece)
        if upto <= at and (number == len(spans) or spans[number][0] >= end):
            pieces.append(piece)
        else:
            kept, is_whole = [], upto <= at
            upto = max(upto, at)
            while number < len(spans) and spans[number][0] < end:
                start, stop, words = spans[number]
                kept += piece[upto - at:start - at], words
                upto, number = stop, number + 1
            pieces.append("".join([*kept, piece[upto - at:]]))
            if is_whole and upto <= end and piece in written:
                written.add(pieces[-1])
        at = end
    text = "".join(pieces)
    return Body(text, text.encode(), pieces)


class Encoder:
    """The bodies of one template. written: the pieces that stand in the template as they are; grows as it loads others."""

    def __init__(self, written: set[str]):
        self._written, self._known = written, {}

    def encoded(self, body: Body, is_alone: bool = False) -> tuple[bytes, Block]:
        """(transfer encoding, encoded octets and a line end). The line end is that in front of a boundary; where the body is the whole
        message, it is the text's own, or else one that is no part of a quoted-printable text.
        """
        # A line end may be cut in two by pieces.
        if "\r" not in body.text and mime.is_shorter_quoted(body.text, body.octets) and (segments := self._segments(body.pieces)):
            lines, dotted = _lines(segments)
            return b"quoted-printable", vouched(_ended(lines, is_alone, CUT), dotted)
        encoding, octets = mime.body(body.text)
        if encoding == b"base64":
            # Of what that is made of nothing needs a look.
            return encoding, vouched(_ended(octets, is_alone, LINE_END), dotted=False)
        return encoding, checked(_ended(octets, is_alone, CUT))

    def _segments(self, pieces):
        """The text in segments; none where the template brought no long piece."""
        segments, between, seen = [], [], {}
        for piece in pieces:
            fixed = self._known.get(piece)
            if fixed is None:
                if len(piece) < LEAST or piece not in self._written:
                    between.append(piece)
                    continue
                fixed = self._known[piece] = _segment(piece)
            if between:
                text = "".join(between)
                # The same code or name stands in a message often.
                segments.append(seen.get(text) or seen.setdefault(text, _segment(text)))
                between = []
            segments.append(fixed)
        if between and segments:
            segments.append(_segment("".join(between)))
        return segments

def _ended(octets, is_alone, end):
    if not is_alone:
        return octets + LINE_END
    if octets.endswith(LINE_END):
        return octets
    if end is CUT and len(octets) - octets.rfind(b"\n") - 1 >= mime.QUOTED_LINE:
        # The last line has no room for the sign of a soft line break: its last letter, which may be three octets, goes into a line of its own.
        at = len(octets) - (3 if octets[-3:-2] == b"=" else 1)
        octets = octets[:at] + CUT + octets[at:]
    return octets + end


def _lines(segments):
    """The segments one after the other, no line longer than the longest of theirs or QUOTED_LINE; and whether a line may begin with a dot."""
    joined, column, blank, dotted = [], 0, False, False
    for octets, first, last, is_one_line, ends_blank, has_dot in segments:
        if not octets:
            continue
        if blank and octets.startswith(LINE_END):
            column = _protect(joined, column)
        if column + first > mime.QUOTED_LINE and column:
            joined.append(CUT)
            column = 0
        joined.append(octets)
        column = column + last if is_one_line else last
        blank = ends_blank
        if has_dot:
            dotted = True
    if blank:
        _protect(joined, column)
    return b"".join(joined), dotted


def _segment(text):
    """Quoted-printable that may stand anywhere in a line: (octets, first, last, is one line, ends blank, has dot), a plain tuple as there are so
    many. No line end in it is bare, cut or far away: checked here, so that a body of segments need not be.

    first: columns that its first line takes, one more where the line goes on behind it; last: columns of its last line. ends blank:
    a blank or a tab stands at its end as it is. has dot: one of its lines begins with a dot.
    """
    if text.isascii() and text.isprintable() and len(text) < mime.QUOTED_LINE and "=" not in text and text != ".":
        return text.encode("ascii"), len(text) + 1, len(text), True, text.endswith(" "), text.startswith(".")
    # Of what may follow the encoder knows nothing: so it leaves a blank at the end as it is, and room for the sign of a soft line break.
    octets = mime.quoted_printable(text.encode() + b"x")[:-1]
    if octets == b"." or octets.endswith(b"\n."):
        # Alone in a line it is the end of the mail to a careless relay.
        octets = octets[:-1] + b"=2E"
    has_dot = checked(octets + LINE_END).dotted
    end, is_blank = octets.find(LINE_END), octets.endswith((b" ", b"\t"))
    if end < 0:
        return octets, len(octets) + 1, len(octets), True, is_blank, has_dot
    return octets, end, len(octets) - octets.rindex(b"\n") - 1, False, is_blank, has_dot


def _protect(joined, column):
    """A blank at the end of a line does not survive every relay (RFC 2045 section 6.7, rule 3). Returns the column behind it."""
    octets = joined[-1]
    escaped = b"=20" if octets.endswith(b" ") else b"=09"
    if column + 2 > mime.QUOTED_LINE:
        joined[-1:] = [octets[:-1], CUT, escaped]
        return len(escaped)
    joined[-1:] = [octets[:-1], escaped]
    return column + 2
