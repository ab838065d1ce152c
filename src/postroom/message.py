"""Envelope and Message: finished octets and for whom, frozen. The one value that crosses from composing to sending."""

from dataclasses import dataclass


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

    key: the recipient's key in the journal. row: physical line in the table. octets: headers and body, CRLF line ends
    only, no bare CR or LF, no NUL, no line over 998 octets, ends with CRLF; not dot-stuffed.
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
