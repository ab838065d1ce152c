"""A rendered text to the octets of its part, so that what stands in the template is encoded once and not for every recipient.

A text is what its template put out, piece by piece. Its long pieces are read and encoded once; what stands between two of them is a gap, and
the texts that differ in nothing but their gaps have one form. In quoted-printable each long piece and each gap begins a line, with a soft line break
before it where the text goes on. So the octets follow from the pieces alone, whatever was encoded before, and nothing depends on its neighbours.
"""

import binascii
import hashlib
from collections import namedtuple
from operator import itemgetter

from postroom.compose import img_src, mime
from postroom.message import Block, checked, vouched, whole_lines

# A shorter one costs more to look up than C needs to encode it.
LEAST = 128
MOST_FORMS = 200
CUT, LINE_END = b"=\r\n", b"\r\n"

Long = namedtuple("Long", "lines last digest octets beyond is_odd is_blank may_be_local")
Long.__doc__ = """A long piece. lines: encoded, a soft line break at its end unless a line ends there; last: the same where the text ends with it.
octets: how many it has in UTF-8; beyond: of these, beyond ASCII. is_odd: it holds a CR or a NUL, so that nothing
of it is encoded by itself. may_be_local: see img_src."""


class Body:
    """One rendered text: what its template put out in `pieces`. Raises UnicodeEncodeError where that holds half a surrogate pair.

    form: what it shares with others. gaps: what stands before, between and behind the long pieces, "" where nothing does.
    """

    __slots__ = ("pieces", "form", "gaps", "_forms", "_said", "_is_plain", "_text")

    def __init__(self, pieces: list[str], forms: "Forms"):
        self.pieces, self._forms, self._text = pieces, forms, None
        self.form, self.gaps = forms.of(pieces)
        self._said = "\0".join(self.gaps).encode()
        self._is_plain = self._said.count(b"\0") == len(self.gaps) - 1 and b"\r" not in self._said

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = "".join(self.pieces)
        return self._text

    @property
    def is_blank(self) -> bool:
        return self.form.is_blank and (not self.text or self.text.isspace())

    @property
    def most_octets(self) -> int:
        """No fewer than it has in UTF-8, with the soft line breaks around its gaps."""
        return self.form.octets + len(self._said) + 2 * len(CUT) * len(self.gaps)

    @property
    def may_hold_local_pictures(self) -> bool:
        """False where the HTML certainly names no picture by a path."""
        return self.form.may_be_local or img_src.begins_picture(self._said)

    def identity(self) -> bytes:
        """Differs for any two texts of the same template."""
        kind, said = (b"plain", self._said) if self._is_plain else (b"odd", repr(self.gaps).encode())
        return b"%b %d %b%b" % (kind, len(said), self.form.digest, said)

    def replaced(self, spans: list[tuple[int, int, str]]) -> "Body":
        """The text with other words in place of some of its spans, (start, end, words) in their order, none of them empty."""
        pieces, at, upto, number, written = [], 0, 0, 0, self._forms.written
        for piece in self.pieces:
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
                    # What becomes of a piece that stands in the template is as good as one.
                    written.add(pieces[-1])
            at = end
        return Body(pieces, self._forms)

    def encoded(self, is_alone: bool = False) -> tuple[bytes, Block]:
        """(transfer encoding, encoded octets and a line end). The line end is that in front of a boundary; where the body is the whole
        message, it is the text's own, or else one that is no part of a quoted-printable text.
        """
        # A line end may be cut in two by pieces.
        if len(self.gaps) > 1 and not self.form.is_odd and self._is_plain and mime.is_shorter_quoted(*self._counted()):
            lines = self._forms.lines(self.form, self.gaps)
            return b"quoted-printable", vouched(_ended(b"".join(lines), True, CUT) if is_alone else b"".join([*lines, LINE_END]))
        encoding, octets = mime.body(self.text)
        if encoding == b"base64":
            # Of what that is made of nothing needs a look.
            return encoding, vouched(_ended(octets, is_alone, LINE_END))
        return encoding, checked(_ended(octets, is_alone, CUT))

    def _counted(self):
        return self.form.octets + len(self._said) - len(self.gaps) + 1, self.form.beyond + mime.beyond_ascii(self._said)


class Form:
    """What the texts have in common that differ in nothing but their gaps. lines: the encoded long pieces, with a None in place of each gap.
    last: the last of them where no gap follows it. The others: as of Long, of all of them together.
    """

    __slots__ = ("lines", "last", "digest", "octets", "beyond", "is_odd", "is_blank", "may_be_local")

    def __init__(self, longs: list[Long]):
        self.lines = [None]
        for long in longs:
            self.lines += long.lines, None
        self.last = longs[-1].last if longs else b""
        self.digest = hashlib.sha256(b"".join([long.digest for long in longs])).digest()
        self.octets, self.beyond = sum(long.octets for long in longs), sum(long.beyond for long in longs)
        self.is_odd, self.may_be_local = (any(getattr(long, name) for long in longs) for name in ("is_odd", "may_be_local"))
        self.is_blank = all(long.is_blank for long in longs)


class Forms:
    """The forms of one template's texts. written: the pieces that stand in the template as they are; grows as it loads others."""

    def __init__(self, written: set[str]):
        self.written = written
        self._numbers, self._longs = {}, {}  # of those that are written
        self._known = {}

    def of(self, pieces: list[str]) -> tuple[Form, list[str]]:
        """A text's form and gaps."""
        found = self._known.get(tuple(map(self._numbers.get, pieces)))
        if found is None:
            return self._new(pieces)
        form, firsts, joined = found
        gaps = [*firsts(pieces)]
        for number, some in joined:
            gaps[number] = "".join(pieces[some])
        # A long piece in a gap is a cell's, and a long piece like any.
        if max(map(len, gaps)) >= LEAST and sum(map(LEAST.__le__, map(len, pieces))) >= len(gaps):
            return self._new(pieces)
        return form, gaps

    def lines(self, form: Form, gaps: list[str]) -> list[bytes]:
        """A text with a long piece in quoted-printable."""
        lines = form.lines.copy()
        # The same code or name stands in a message often.
        lines[::2] = map(_Lines().__getitem__, gaps)
        if gaps[-1]:
            lines[-1] = mime.quoted_printable(gaps[-1].encode())
        else:
            lines[-2] = form.last
        return lines

    def _new(self, pieces):
        """As of(), for a text of a form that is not known yet."""
        long_at = [number for number, piece in enumerate(pieces) if len(piece) >= LEAST]
        between = [slice(start, end) for start, end in zip([0, *(number + 1 for number in long_at)], [*long_at, len(pieces)])]
        form, gaps = Form([self._long(pieces[number]) for number in long_at]), ["".join(pieces[some]) for some in between]
        shape = tuple(map(self._numbers.get, pieces))
        if len(shape) - shape.count(None) == len(long_at):
            if len(self._known) >= MOST_FORMS:
                self._known.clear()
            joined = [(number, some) for number, some in enumerate(between) if some.stop - some.start != 1]
            # Of one gap alone itemgetter would make no tuple.
            firsts = itemgetter(*(min(some.start, len(pieces) - 1) for some in between)) if long_at else lambda pieces: [""]
            self._known[shape] = form, firsts, joined if long_at else [(0, slice(None))]
        return form, gaps

    def _long(self, piece):
        known = self._longs.get(piece)
        if known is None:
            known = _long(piece)
            if piece in self.written:
                self._longs[piece], self._numbers[piece] = known, len(self._numbers)
        return known


class _Lines(dict):
    """A gap to its lines."""

    def __missing__(self, gap):
        lines = self[gap] = _lines(gap)
        return lines


def plain_body(text: str) -> Body:
    """A text that no template put out."""
    return Body([text], Forms(set()))


def _long(piece):
    octets, is_odd = piece.encode(), "\r" in piece or "\0" in piece
    lines, last = (b"", b"") if is_odd else (_lines(piece), mime.quoted_printable(octets))
    return Long(lines, last, hashlib.sha256(octets).digest(), len(octets), mime.beyond_ascii(octets), is_odd,
                piece.isspace(), img_src.may_be_local(piece))


def _lines(text):
    """Quoted-printable that begins a line and ends one, if only by a soft line break; checked here, so that a body of these need not be."""
    if not text:
        return b""
    if text.isprintable():
        # One line, unless it is a long one.
        octets = binascii.b2a_qp(text.encode())
        if len(octets) < mime.QUOTED_LINE and not octets.startswith(b"."):
            return octets + CUT
    # Of what may follow the encoder knows nothing: so it leaves a blank at the end as it is, and room for the sign of a soft line break.
    octets = mime.quoted_printable(text.encode() + b"x")[:-1]
    return whole_lines(octets if octets.endswith(LINE_END) else octets + CUT)


def _ended(octets, is_alone, end):
    if not is_alone:
        return octets + LINE_END
    if octets.endswith(LINE_END):
        return octets
    if end is CUT and len(octets) - octets.rfind(b"\n") - 1 >= mime.QUOTED_LINE:
        # The last line has no room for the sign of a soft line break: its last letter, which may be three octets, goes into a line of its own.
        at = len(octets) - (3 if octets[-3:-2] == b"=" else 1)
        octets = octets[:at] + CUT + octets[at:].replace(b".", b"=2E")
    return octets + end
