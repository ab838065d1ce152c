"""Octets to Reply; what a Reply means and for whom. The only place that decides it.

Codes and lines: RFC 5321 section 4.2. Enhanced codes: RFC 2034, RFC 3463.
"""

import re
from collections import namedtuple
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from postroom.errors import PostroomError
from postroom.outcome import CAMPAIGN, DEFERRED, PENDING, RECIPIENT, REJECTED, SENT, SESSION, UNCERTAIN, AddressResult, Fate

MOST_LINE, MOST_KEPT_LINES, MOST_LINES = 4096, 64, 1000
MOST_KNOWN, MOST_KNOWN_LINE = 64, 80
LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)")
CHINESE = re.compile("[\u4e00-\u9fff]{2}")
CLOSING = 421
LATER_SECONDS = 3600
LOGIN_CODES = {530, 534, 535, 538}
TOO_LARGE = 552


# What a reply with a known meaning asks for; everything else is judged by its code.
REJECT, LATER, SLOW, SPAM, LARGE, RECONNECT = "reject", "later", "slow", "spam", "large", "reconnect"
QUOTA, BUSY, LOGIN, SENDER, DOMAIN = "quota", "busy", "login", "sender", "domain"
FINAL = {REJECT, LARGE}  # this one is settled
STOPPING = {QUOTA, BUSY, LOGIN, SENDER, DOMAIN}  # nobody in particular is to blame: every message would be refused
LATER_WORKS = {QUOTA, BUSY, SLOW, SPAM, LATER, RECONNECT}  # the same again, another time; the others want a change first

# Of one recipient these phases speak; a sender who does not exist is refused for everybody.
OF_A_RECIPIENT = ("rcpt", "data", "end of data")
# An address that the relay repeats is somebody's choice, and may hold any word.
REPEATED = re.compile(r"[^\s<>()\"',;:]+@[^\s<>()\"',;:]+")

Meaning = namedtuple("Meaning", "phases codes enhanced texts action what do")
Meaning.__doc__ = """What a certain provider means by a certain reply.

phases, codes, enhanced (such as "5.7.1"), texts (parts of the text, lower case): which replies; an empty one fits any.
action: one of the words above. what: what happened, in words for people. do: what to do about it.
"""


class ProtocolError(PostroomError):
    """The relay does not speak SMTP, or not to the point: the session must end."""


@dataclass(frozen=True)
class Reply:
    """code: 200..599. enhanced: such as (5, 1, 1), or None. lines: the texts, enhanced codes left out, safe to print."""

    code: int
    enhanced: tuple[int, int, int] | None
    lines: tuple[str, ...]

    @cached_property
    def text(self) -> str:
        return " ".join(line for line in self.lines if line)

    @cached_property
    def enhanced_words(self) -> str | None:
        """The enhanced code as it is written: 5.1.1."""
        return ".".join(map(str, self.enhanced)) if self.enhanced else None

    @cached_property
    def is_positive(self) -> bool:
        return 200 <= self.code < 300

    @cached_property
    def is_intermediate(self) -> bool:
        return 300 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    def __str__(self):
        return " ".join(filter(None, (str(self.code), self.enhanced_words, self.text)))


Answer = namedtuple("Answer", "message phase reply left addresses")
Answer.__doc__ = """What the relay said to one transaction.

phase: the command that decided. reply: its Reply, None where the connection ended first. left: whether the last octet
of the message may have left. addresses: (address, Reply) of every RCPT that was answered.
"""


class ReplyReader:
    """Octets in any portions to whole replies."""

    def __init__(self):
        self._secrets = []
        self._octets, self._code, self._lines, self._count = b"", None, [], 0
        # A relay says the same few words all the time.
        self._known = {}

    def conceal(self, secrets: list[bytes]) -> None:
        """From now on these are replaced by *** in every text."""
        self._secrets = secrets
        self._known.clear()

    @property
    def is_empty(self) -> bool:
        return not self._octets and not self._lines

    def feed(self, octets: bytes) -> Iterable[Reply]:
        """The replies that these octets complete, one by one.

        Raises ProtocolError if a line has no code, two lines of a reply differ in it, or a reply has no end.
        """
        *lines, self._octets = (self._octets + octets).split(b"\n")
        if not self._count and len(self._octets) <= 16 * MOST_LINE and all(known := [*map(self._known.get, lines)]):
            return known
        return self._read(lines)

    def _read(self, lines):
        for line in lines:
            if not self._count and (reply := self._known.get(line)) is not None:
                yield reply
                continue
            alone = not self._count
            if (reply := self._line(line.removesuffix(b"\r"))) is not None:
                if alone and len(line) < MOST_KNOWN_LINE:
                    if len(self._known) >= MOST_KNOWN:
                        self._known.clear()
                    self._known[line] = reply
                yield reply
        if len(self._octets) > 16 * MOST_LINE:
            raise ProtocolError("the relay sends a line without end")

    def _line(self, line):
        # What looks like a code may be a secret's first letters.
        code = line[:4] if line[:3].isdigit() and not any(map(line.startswith, self._secrets)) else b""
        text = line[len(code):]
        for secret in self._secrets:
            text = text.replace(secret, b"***")
        line = code + text
        found = LINE.fullmatch(line[:MOST_LINE])
        if found is None:
            raise ProtocolError(f'the relay says "{printable(line[:80])}", which is no SMTP reply')
        code, more, text = int(found[1]), found[2] == b"-", found[3] or b""
        if self._code not in (None, code):
            raise ProtocolError(f"the relay mixes the codes {self._code} and {code} in one reply")
        self._code, self._count = code, self._count + 1
        if self._count > MOST_LINES:
            raise ProtocolError("the relay sends a reply without end")
        if self._count <= MOST_KEPT_LINES:
            self._lines.append(printable(text))
        if more:
            return None
        lines, self._code, self._lines, self._count = self._lines, None, [], 0
        return _reply(code, lines)


def printable(octets: bytes) -> str:
    """A server's words as a terminal may show them: control characters visible, so that they cannot forge a line."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        # Some Chinese providers refuse a login in GBK, without a word about it.
        text = octets.decode("gb18030", "replace")
        if not CHINESE.search(text):
            text = octets.decode("utf-8", "replace")
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text).strip()


def meaning_of(reply: Reply, phase: str | None, meanings: tuple[Meaning, ...]) -> Meaning | None:
    """The first that fits, or None. Each text is looked for in the reply as it came, enhanced code and all, in lower case."""
    enhanced, said = reply.enhanced_words, None
    for meaning in meanings:
        if (meaning.codes and reply.code not in meaning.codes or meaning.phases and phase not in meaning.phases
                or meaning.enhanced and enhanced not in meaning.enhanced or meaning.action == REJECT and phase not in OF_A_RECIPIENT):
            continue
        if said is None:
            said = REPEATED.sub("", str(reply).lower())
        if not meaning.texts or any(text in said for text in meaning.texts):
            return meaning
    return None


def judged(answers: list[Answer], meanings: tuple[Meaning, ...] = ()) -> list[Fate]:
    """What became of each message, and whom the reply hurts. meanings: what this relay is known to mean, in order."""
    return [_judged(answer, meanings) for answer in answers]


def _judged(answer, meanings):
    results = tuple([AddressResult(address, reply.is_positive, reply.code, reply.enhanced_words, reply.text) for address, reply in answer.addresses])
    reply, message = answer.reply, answer.message
    if reply is None:
        if answer.left:
            return Fate(message, UNCERTAIN, "connection lost", SESSION, answer.phase, addresses=results)
        return Fate(message, PENDING, "connection lost", SESSION, answer.phase)
    if reply.is_positive and all(result.accepted for result in results):
        return Fate(message, SENT, None, RECIPIENT, answer.phase, reply.code, reply.enhanced_words, reply.text, results)
    said = {"phase": answer.phase, "code": reply.code, "enhanced": reply.enhanced_words, "text": reply.text, "addresses": results}
    if not reply.is_positive and (meaning := meaning_of(reply, answer.phase, meanings)):
        return _meant(answer, meaning, said)
    if reply.code == CLOSING:
        return Fate(message, PENDING, "relay closing", SESSION, **said)
    if reply.code in LOGIN_CODES and answer.phase in ("mail", "rcpt", "data"):
        return Fate(message, PENDING, "login wanted", CAMPAIGN, **said)
    if reply.is_positive:
        # A 2xx to the end of data counts whatever was said before, except that the row's own address was left out.
        own = next((result for result in results if result.address == message.envelope.own), None)
        left_out = own is not None and not own.accepted and any(result.accepted for result in results)
        if left_out:
            said |= {"phase": "rcpt", "code": own.code, "enhanced": own.enhanced, "text": own.text}
        return Fate(message, REJECTED if left_out else SENT, "address refused" if left_out else None, RECIPIENT, **said)
    if reply.is_transient:
        return Fate(message, DEFERRED, "refused for now", RECIPIENT, **said)
    too_large = reply.code == TOO_LARGE or reply.enhanced is not None and reply.enhanced[1:] == (3, 4)
    if answer.phase == "mail" and not too_large:
        # A refused sender is refused for everybody: no recipient is to blame.
        return Fate(message, PENDING, "sender refused", CAMPAIGN, **said)
    return Fate(message, REJECTED, "address refused" if answer.phase == "rcpt" else "refused", RECIPIENT, **said)


def _meant(answer, meaning, said):
    """A refusal whose meaning is known. What it stops or puts off is nobody's fault, so nobody is marked as refused."""
    message, action = answer.message, meaning.action
    said["meaning"] = meaning
    closing = answer.reply.code == CLOSING
    if action in STOPPING or closing and action == SPAM:
        return Fate(message, PENDING, f"{action}: every message", CAMPAIGN, **said)
    if closing or action == RECONNECT:
        return Fate(message, PENDING, "relay closing", SESSION, **said)
    if action == SLOW:
        # It is about how fast we are, not about this one: it goes again as it is.
        return Fate(message, PENDING, "slow down", RECIPIENT, **said)
    if action in (REJECT, LARGE):
        return Fate(message, REJECTED, "address refused" if answer.phase == "rcpt" else "refused", RECIPIENT, **said)
    # What is put off for a reason, such as too much mail for one mailbox, is not over in minutes.
    return Fate(message, DEFERRED, "refused for now", RECIPIENT, **said, wait=LATER_SECONDS)


def _reply(code, lines):
    enhanced = None
    for number, line in enumerate(lines):
        if (found := ENHANCED.match(line)) and int(found[1]) == code // 100:
            enhanced = enhanced or tuple(map(int, found.groups()))
            lines[number] = line[found.end():].strip()
    return Reply(code, enhanced, tuple(lines))
