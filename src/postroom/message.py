"""Envelope and Message: finished octets and for whom, frozen. The one value that crosses from composing to sending."""

from collections import namedtuple
from collections.abc import Iterable
from itertools import chain
from operator import attrgetter

from postroom.errors import PostroomError

MOST_LINE = 998  # RFC 5322 section 2.1.1


class LocalError(PostroomError):
    """We must not write this: it would break the dialogue or the message."""


class Block:
    """Whole lines that may go out as they are: CRLF line ends only, no NUL, no line over 998 octets. Only the functions below make one,
    so that nothing leaves unchecked and nothing is looked at twice.

    pieces: its octets, cut anywhere. What many messages have in common is one object in all of them: it is held once, and never copied before
    the kernel does. dotted: whether a line begins with a dot, which DATA wants doubled.
    """

    __slots__ = ("pieces", "dotted", "_size", "_is_ascii")

    def __init__(self, pieces: tuple[bytes, ...], is_ascii: bool, dotted: bool):
        self.pieces, self.dotted, self._size, self._is_ascii = pieces, dotted, sum(map(len, pieces)), is_ascii

    def isascii(self) -> bool:
        return self._is_ascii

    def __len__(self):
        return self._size

    def __bytes__(self):
        return b"".join(self.pieces)

    def __eq__(self, other):
        return bytes(self) == bytes(other) if isinstance(other, Block) else NotImplemented

    __hash__ = None


PIECES, IS_ASCII, DOTTED = map(attrgetter, ("pieces", "_is_ascii", "dotted"))


def checked(octets: bytes | Block) -> Block:
    """Raises LocalError unless these can be a Block.

    A bare CR or LF is a second end of data to some servers: SMTP smuggling (CVE-2023-51764 and its kin).
    """
    if isinstance(octets, Block):
        return octets
    return Block((whole_lines(octets),), octets.isascii(), octets.startswith(b".") or b"\r\n." in octets)


def whole_lines(octets: bytes) -> bytes:
    """The octets themselves, looked at as checked() does, for whoever puts them into a Block."""
    line_ends = octets.count(b"\r\n")
    if not (octets.endswith(b"\r\n") and octets.count(b"\r") == octets.count(b"\n") == line_ends and b"\0" not in octets):
        raise LocalError("the message holds a bare line end or a NUL; it was not sent")
    # From one line end to the last one within reach: far fewer steps than there are lines.
    at, last = -1, len(octets) - 1
    while at < last:
        if (at := octets.rfind(b"\n", at + 1, at + MOST_LINE + 3)) < 0:
            raise LocalError(f"the message holds a line over {MOST_LINE} octets; it was not sent")
    return octets


def joined(blocks: Iterable[Block]) -> Block:
    """One Block of several: whole lines stay whole lines."""
    blocks = [*blocks]
    return Block(tuple(chain.from_iterable(map(PIECES, blocks))), all(map(IS_ASCII, blocks)), any(map(DOTTED, blocks)))


def begun(first: Block, block: Block) -> Block:
    """A Block with other lines in place of its first piece, which is whole lines."""
    return Block((*first.pieces, *block.pieces[1:]), block.isascii() and first.isascii(), block.dotted or first.dotted)


def vouched(*pieces: bytes) -> Block:
    """A Block of pieces in ASCII that may begin and end in mid-line: each was checked, and whoever put them together let no line grow too long
    and none begin with a dot. Or of lines whose maker knows no other letters, as of base64.
    """
    return Block(pieces, True, False)


Envelope = namedtuple("Envelope", "sender recipients own")
Envelope.__doc__ = """Who is named in MAIL and RCPT (RFC 5321 section 2.3.1); says nothing about what the headers show.

sender, recipients: addr-specs with A-label domains; a local part may be beyond ASCII. `own` is the row's own address, one of
the recipients; the others come from cc, bcc and further To mailboxes.
"""


class Message(namedtuple("Message", "key row envelope content message_id date digest utc_offset", defaults=(0,))):
    """One transaction's content.

    key: the recipient's key in the journal. row: physical line in the table. content: headers and body, not dot-stuffed; what the
    composer makes is a Block, and octets are checked before they go out.
    message_id: without angle brackets. date, utc_offset: Date as written, in seconds since the epoch (UTC) and its zone's
    seconds east of UTC.
    digest: hex SHA-256 over everything that was rendered for this recipient, without Date.
    """

    __slots__ = ()

    @property
    def octets(self) -> bytes:
        """All of it in one piece, for whoever reads it."""
        return bytes(self.content)

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address in the envelope or in a header is beyond ASCII (RFC 6531 section 3.4)."""
        if not self.content.isascii():
            octets = self.octets
            if not octets[:octets.find(b"\r\n\r\n")].isascii():
                return True
        return not (self.envelope.sender.isascii() and all(map(str.isascii, self.envelope.recipients)))
