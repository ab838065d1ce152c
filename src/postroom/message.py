"""Envelope and Message: finished octets and for whom, frozen. The one value that crosses from composing to sending."""

from collections.abc import Iterable
from dataclasses import dataclass

from postroom.errors import PostroomError

MOST_LINE = 998  # RFC 5322 section 2.1.1


class LocalError(PostroomError):
    """We must not write this: it would break the dialogue or the message."""


class Block(bytes):
    """Whole lines that may go out as they are: CRLF line ends only, no NUL, no line over 998 octets. Only the functions below make one,
    so that nothing leaves unchecked and nothing is looked at twice.

    dotted: whether a line begins with a dot, which DATA wants doubled.
    """

    dotted: bool


def checked(octets: bytes) -> Block:
    """Raises LocalError unless these can be a Block.

    A bare CR or LF is a second end of data to some servers: SMTP smuggling (CVE-2023-51764 and its kin).
    """
    if isinstance(octets, Block):
        return octets
    line_ends = octets.count(b"\r\n")
    if not (octets.endswith(b"\r\n") and octets.count(b"\r") == octets.count(b"\n") == line_ends and b"\0" not in octets):
        raise LocalError("the message holds a bare line end or a NUL; it was not sent")
    # From one line end to the last one within reach: far fewer steps than there are lines.
    at, last = -1, len(octets) - 1
    while at < last:
        if (at := octets.rfind(b"\n", at + 1, at + MOST_LINE + 3)) < 0:
            raise LocalError(f"the message holds a line over {MOST_LINE} octets; it was not sent")
    block = Block(octets)
    block.dotted = octets.startswith(b".") or b"\r\n." in octets
    return block


def joined(blocks: Iterable[Block]) -> Block:
    """One Block of several: whole lines stay whole lines."""
    blocks = list(blocks)
    block = Block(b"".join(blocks))
    block.dotted = any(one.dotted for one in blocks)
    return block


def vouched(octets: bytes) -> Block:
    """A Block of pieces that may begin and end in mid-line: each was checked, and whoever put them together let no line grow too long
    and none begin with a dot. Or of lines whose maker knows no other letters, as of base64.
    """
    block = Block(octets)
    block.dotted = False
    return block


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who is named in MAIL and RCPT (RFC 5321 section 2.3.1); says nothing about what the headers show.

    sender, recipients: addr-specs with A-label domains; a local part may be beyond ASCII. `own` is the row's own address, one of
    the recipients; the others come from cc, bcc and further To mailboxes.
    """

    sender: str
    recipients: tuple[str, ...]
    own: str


@dataclass(frozen=True, slots=True)
class Message:
    """One transaction's content.

    key: the recipient's key in the journal. row: physical line in the table. octets: headers and body, not dot-stuffed; what the
    composer makes is a Block, and anything else is checked before it goes out.
    message_id: without angle brackets. date, utc_offset: Date as written, in seconds since the epoch (UTC) and its zone's
    seconds east of UTC.
    digest: hex SHA-256 over everything that was rendered for this recipient, without Date.
    """

    key: str
    row: int
    envelope: Envelope
    octets: bytes
    message_id: str
    date: int
    digest: str
    utc_offset: int = 0

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address in the envelope or in a header is beyond ASCII (RFC 6531 section 3.4)."""
        head = self.octets[:self.octets.find(b"\r\n\r\n")]
        return not (head.isascii() and all(address.isascii() for address in (self.envelope.sender, *self.envelope.recipients)))
