"""The client's side of one SMTP session as a value: octets in, events out. No socket, no clock, no thread.

Two positions in one dialogue move independently: what may be written next, and which reply is due next. Replies are
matched to commands in the order in which the commands were written, by a queue of expected replies, so any number of
transactions may be open. Three ways of writing:

LOCKSTEP   the next command once nothing is expected; right with every server.
PIPELINED  MAIL, RCPT and DATA in one group; the end of one body and the next group in one write (RFC 2920).
CHUNKED    whole transactions stream, each begun with RSET (RFC 3030); RSET, because a failed BDAT leaves the server in
           a state that only RSET clears (RFC 3030 section 2), and Exim would deliver under the previous sender.

Whatever the mode, the first transaction of a session goes one command at a time until one was accepted, with BDAT where it is CHUNKED:
a relay that offers what it cannot do is found with one message in flight. Promises that a change must keep:
1. A message whose own recipient was put off is not handed on to the others: they would get it twice. So a message for
   several addresses waits for its RCPT replies before DATA or BDAT, in every mode.
2. `left` is exact: a message may have been accepted only once its last octet was handed to the kernel. So a 2xx before that is
   another command's reply, while a refusal before it counts.
3. What stands behind a 421 was not processed (RFC 5321 section 3.8) and is answered as not having left. So it is behind a refused RSET
   where the relay then closes without another word: Exim answers 554 to the RSET behind the eleventh refusal of a session.
4. What no octet of has been handed out can be withdrawn. So at most MOST_WAITING octets wait for the kernel.

One limit: a server that leaves a reply out, or gives one too many, while many are outstanding shifts all that follow, and until one of them does
not fit where it falls, a message is judged by its neighbour's reply. No client that streams can tell; a server that always does so is found
by the first transaction.
"""

from collections import deque, namedtuple

from postroom.message import Block, LocalError, Message, checked
from postroom.smtp.reply import CLOSING, FINAL, Answer, ProtocolError, Reply, ReplyReader, meaning_of

LOCKSTEP, PIPELINED, CHUNKED = MODES = "lockstep", "pipelined", "chunked"
MOST_WAITING = 1 << 18
MOST_COMMAND = 512  # RFC 5321 section 4.5.3.1; commands with extensions may be longer, ours are not
GREETING, MAIL, RCPT, DATA, RSET = "greeting", "mail", "rcpt", "data", "rset"
END, LONE_DOT = "end of data", "lone dot"
LONE = b".\r\n"
ELSEWHERE = "use a relay that offers it on every connection, or take the row out"

# Which first digits a reply may have where; any other does not fit, and the dialogue is out of step.
FITTING = {MAIL: (2, 4, 5), RCPT: (2, 4, 5), DATA: (3, 4, 5), END: (2, 4, 5), LONE_DOT: (2, 4, 5), RSET: (2,)}
ANY = (2, 3, 4, 5)
GOOD = {MAIL: 2, RCPT: 2, DATA: 3, END: 2}  # what such a reply goes on with

# What says that a command is not known, or not now (RFC 5321 section 4.2.3): behind an accepted RCPT the body was perhaps read as commands.
UNKNOWN = range(500, 505)

# Of a copy in a further transaction that the connection did not outlast; the message itself has its answer.
NO_REPLY = Reply(451, None, ("the connection ended before the relay answered",))

Heard = namedtuple("Heard", "phase reply")
Heard.__doc__ = "One reply and the phase that it answers."
# A whole transaction's commands are a hundredth of its time each: so these are plain tuples.
# What is expected, (phase, transaction, address, where the stream was behind the command). A step is what leaves together: ((phase, pieces of octets) of each
# command, (phase, address, how many octets) of each, transaction).


def _step(transaction, *commands):
    """commands: (phase, pieces, address) of each."""
    return ([(phase, pieces) for phase, pieces, _ in commands], [(phase, address, sum(map(len, pieces))) for phase, pieces, address in commands], transaction)


RESET = _step(None, (RSET, (b"RSET\r\n",), None))


class Protocol:
    """One session's dialogue.

    tells_all: whether every reply is an event; else those to commands outside of transactions are.
    broken: None, or why the session must end at once. closing: the 421 that the relay said, or None.
    octets_in_flight: what the messages begun and not answered hold.
    misfit: None, or the reply after which nothing more should be streamed to this relay, in this session or another.
    """

    def __init__(self, mode: str = LOCKSTEP, meanings: tuple = (), tells_all: bool = False):
        self.mode, self.broken, self.closing, self.misfit, self._meanings, self._tells_all = mode, None, None, None, meanings, tells_all
        self._reader = ReplyReader()
        self._expected = deque([(GREETING, None, None, 0)])
        self._steps = deque()
        self._open = []
        self._reset_first = self._unproven = self._reset_refused = False
        self._handed_out = self._written = self.octets_in_flight = self.heard = 0

    def stream(self, mode: str) -> None:
        """From now on write in this mode, once a transaction that went one command at a time was accepted."""
        self.mode, self._unproven = mode, mode != LOCKSTEP

    @property
    def is_streaming(self) -> bool:
        """Whether one message may be begun before the one before it was answered."""
        return self.mode != LOCKSTEP and not self._unproven

    @property
    def in_flight(self) -> int:
        """Messages begun and not answered."""
        return len(self._open)

    @property
    def expected_phase(self) -> str | None:
        """What the next reply answers; None where none is due."""
        return self._expected[0][0] if self._expected else None

    @property
    def awaits_go_ahead(self) -> bool:
        """Whether a mail waits for the reply to its DATA, and the relay has no other to take meanwhile."""
        return bool(self._expected) and self._expected[-1][0] == DATA and self._expected[0][0] != END

    @property
    def between_replies(self) -> bool:
        """Whether no octet of a reply is waiting for the rest."""
        return self._reader.is_empty

    @property
    def spoke_unasked(self) -> bool:
        """Whether the relay said something, if only a part of it, for which nothing was asked."""
        return bool(self.broken or self.closing) or not self.between_replies

    def conceal(self, secrets: list[bytes]) -> None:
        """From now on these never come out of a reply's text."""
        self._reader.conceal(secrets)

    def command(self, phase: str, line: bytes) -> None:
        """Have a command outside of transactions written: EHLO, AUTH, QUIT and the like."""
        self._steps.append(_step(None, (phase, (command_line(line),), None)))

    def begin(self, message: Message, capabilities: dict[str, str]) -> None:
        """Have a whole transaction written. Raises LocalError where its octets or addresses must not go out; then nothing of it does."""
        content, utf8 = checked(message.content), message.needs_smtputf8
        mail_from = command_line(_mail_from(message, capabilities, utf8), utf8)
        transaction = _Transaction(message, self._meanings, content, mail_from, [
            (address, command_line(b"RCPT TO:<" + _path(address) + b">", utf8)) for address in message.envelope.recipients])
        self._prepare(transaction)
        self._open.append(transaction)
        self.octets_in_flight += len(content)

    def to_write(self) -> list[tuple[str, tuple[bytes, ...]]]:
        """(phase, octets in pieces) of what may leave now, in order; the caller writes all of it."""
        written, steps, expected = [], self._steps, self._expected
        if not steps or self.broken is not None or self.closing is not None or self._reset_refused:
            return written
        is_streaming = self.is_streaming
        while steps and self._handed_out - self._written < MOST_WAITING:
            commands, due, transaction = steps[0]
            phase = due[0][0]
            if expected and not (is_streaming and self._may_follow(phase, transaction)):
                break
            if self._reset_first and phase == MAIL:
                self._reset_first = False
                commands, due, transaction = RESET
            else:
                steps.popleft()
            at = self._handed_out
            for phase, address, octets in due:
                at += octets
                expected.append((phase, transaction, address, at))
            self._handed_out = at
            if transaction is not None:
                transaction.due += len(due)
                transaction.to_come -= len(due)
                if phase == END:
                    transaction.ends_at = at
            written += commands
        return written

    def withdraw(self) -> list[Answer]:
        """Begin none of the messages of which nothing was handed out yet; an Answer for each."""
        begun = [transaction for transaction in self._open if transaction.due or transaction.said or transaction.is_decided]
        dropped = [transaction for transaction in self._open if transaction not in begun]
        for transaction in dropped:
            self._end(transaction)
        # What stands before a transaction without being a part of it is its RSET.
        self._steps = deque(step for step in self._steps if step[-1] in begun)
        return [transaction.lost(-1) for transaction in dropped]

    def wrote(self, octets: int) -> None:
        """So many octets more of what was handed out went to the kernel."""
        self._written += octets

    def receive(self, octets: bytes) -> list:
        """Heard and Answer events, in order; `heard` counts the replies. Where the dialogue breaks, `broken` is set behind the events so far."""
        events = []
        try:
            for reply in self._reader.feed(octets):
                self.heard += 1
                if self.broken is None:
                    self._take(reply, events)
        except ProtocolError as error:
            self.broken = error.what
        return events

    def lost(self, by_relay: bool = False) -> list[Answer]:
        """The connection is over: an Answer for every message that has none yet. by_relay: it was not we who closed it."""
        answers = [transaction.lost(-1 if self._reset_refused and by_relay else self._written) for transaction in self._open]
        self._open.clear()
        self.octets_in_flight = 0
        self._steps.clear()
        self._expected.clear()
        return answers

    def _end(self, transaction):
        self._open.remove(transaction)
        self.octets_in_flight -= len(transaction.content)

    def _prepare(self, transaction):
        """Have the next transaction of a message written behind all that waits already."""
        commands = [(MAIL, (transaction.mail_from,), None), *[(RCPT, (line,), address) for address, line in transaction.recipients]]
        if self.mode == CHUNKED:
            self._steps.append(RESET)
            last = END, (b"BDAT %d LAST\r\n" % len(transaction.content), *transaction.content.pieces), None
        else:
            last = DATA, (b"DATA\r\n",), None
            # Made now: once the relay says "go ahead" it has nothing else to do.
            transaction.body = transaction.body or _step(transaction, (END, stuffed(transaction.content), None))
        commands.append(last)
        # In one step where nothing has to be heard between two of them.
        if not self.is_streaming or len(transaction.recipients) > 1:
            self._steps.extend([_step(transaction, command) for command in commands])
        elif last[0] == DATA:
            self._steps.append(_step(transaction, *commands))
        else:
            self._steps += _step(transaction, *commands[:-1]), _step(transaction, last)
        transaction.to_come = len(commands)

    def _may_follow(self, phase, transaction):
        """Whether a step may be written while replies are due, in a mode that streams."""
        if transaction is None and phase != RSET:
            return False
        if phase in (DATA, END) and len(transaction.recipients) > 1 and transaction.due:
            return False
        # DATA's reply decides what comes next: the body, a lone dot, or the next transaction. Nothing is ever written behind it.
        return self._expected[-1][0] != DATA

    def _take(self, reply, events):
        code = reply.code
        if code == CLOSING:
            return self._closing(reply, events)
        if not self._expected:
            return self._does_not_fit(f'the relay says "{reply}" though nothing was asked', reply)
        expected = self._expected.popleft()
        phase, transaction, address, ends_at = expected
        if self._written >= ends_at and code // 100 == GOOD.get(phase) and transaction is not None and not self._tells_all and not self._reset_refused:
            # Nearly always.
            return self._advance(phase, transaction, address, reply, events)
        if self._tells_all or phase not in FITTING:
            events.append(Heard(phase, reply))
        early = self._written < ends_at
        if phase == RSET and self.is_streaming and code >= 400 and not early:
            self._reset_refused = True
        elif code // 100 not in FITTING.get(phase, ANY) or self._reset_refused:
            self._expected.appendleft(expected)
            self._does_not_fit(f'the relay answers "{reply}" to {phase}', reply)
        elif early and (phase != END or reply.is_positive):
            self._expected.appendleft(expected)
            self._does_not_fit(f'the relay answers "{reply}" to {phase} before it had all of it', reply)
        elif phase == END and code in UNKNOWN and self.mode == CHUNKED and transaction.refusal is None:
            # The relay does not know BDAT after all, and may have read the mail as commands. It took nothing.
            self._end(transaction)
            events.append(transaction.lost(-1))
            self._does_not_fit(f'the relay answers "{reply}" to BDAT, which it offered', reply)
        elif transaction is not None:
            self._advance(phase, transaction, address, reply, events)
            if early:
                # Some servers close now, some read the rest in silence, some answer it once more: no count of replies holds from here on.
                self.broken = f'the relay refuses a message before it had all of it: "{reply}"'
        return None

    def _does_not_fit(self, why, reply):
        self.broken = why
        self.misfit = reply if self.mode != LOCKSTEP else None

    def _advance(self, phase, transaction, address, reply, events):
        transaction.due -= 1
        if phase == RCPT:
            transaction.said.append((address, reply))
        if phase == DATA and reply.is_intermediate:
            # Without a valid recipient the mail must not follow; an empty one is refused by itself (RFC 2920 section 3.1).
            self._steps.appendleft(_step(transaction, (LONE_DOT, (LONE,), None)) if transaction.refusal else transaction.body)
            transaction.to_come += 1
        elif phase == END and (reply.is_positive or transaction.refusal is None):
            if transaction.refusal is not None:
                # Taken although nobody was to get it: what the relay says counts, but we do not understand each other.
                self.misfit = self.misfit or reply
            if transaction.ended(reply):
                self._prepare(transaction)
            self._unproven = self._unproven and not reply.is_positive
        elif phase != LONE_DOT and not reply.is_positive and transaction.refusal is None and (refusal := transaction.refused_by(phase, reply)):
            transaction.refusal = refusal
            if transaction.to_come:
                self._steps = deque(step for step in self._steps if step[-1] is not transaction)
                transaction.to_come = 0
            self._reset_first = self.mode != CHUNKED
        if not (transaction.due or transaction.to_come):
            self._end(transaction)
            events.append(transaction.answer())

    def _closing(self, reply, events):
        """The relay ends the session: the command that it answers failed, what stands behind it was not processed."""
        self.closing = reply
        phase, refused, *_ = self._expected.popleft() if self._expected else (None, None)
        events.append(Heard(phase, reply))
        for transaction in self._open:
            if transaction is refused and not transaction.is_decided:
                events.append(Answer(transaction.message, phase, reply, False, transaction.addresses))
            else:
                events.append(transaction.lost(-1))
        self._open.clear()
        self.octets_in_flight = 0
        self._steps.clear()
        self._expected.clear()


class _Transaction:
    """One message to all of its recipients: one transaction, and another for those of whom the relay says that they are too many
    for one (RFC 5321 section 4.5.3.1.10).

    content: a Block. body: the step that DATA wants. recipients: (address, RCPT's line) of those of the present transaction. said: (address, Reply) of each of them that was answered. settled: likewise, those
    of earlier ones. due: replies that are outstanding. to_come: commands that are not written yet. ends_at: position in the stream of the message's last octet, once handed out.
    refusal: (phase, Reply) of the first refusal. verdict: (phase, Reply) of the first end of data.
    """

    __slots__ = ("message", "meanings", "content", "body", "mail_from", "recipients", "said", "settled", "due", "to_come", "ends_at", "refusal", "verdict", "crowded")

    def __init__(self, message, meanings, content, mail_from, recipients):
        self.message, self.meanings, self.content, self.body, self.mail_from, self.recipients = message, meanings, content, None, mail_from, recipients
        self.said, self.settled, self.due, self.to_come, self.ends_at, self.refusal, self.verdict, self.crowded = [], [], 0, 0, None, None, None, {}

    @property
    def addresses(self):
        """(address, Reply) of each recipient that was answered; one who was too many keeps that reply until there is another."""
        answered = {address for address, _ in self.said}
        return (*self.settled, *self.said, *((address, reply) for address, reply in self.crowded.items() if address not in answered))

    @property
    def is_decided(self):
        """Whether it is known what becomes of the message, whatever else the relay says."""
        return self.verdict is not None or self.refusal is not None

    def refused_by(self, phase, reply):
        """(phase, Reply) that ends the transaction, or None where a refusal does not end it."""
        if phase != RCPT:
            return phase, reply
        own = next((said for address, said in self.said if address == self.message.envelope.own), None)
        if own is not None and not own.is_positive and self._goes_again(own):
            return phase, own
        if len(self.said) < len(self.recipients) or any(said.is_positive for _, said in self.said):
            return None
        return phase, own or reply

    def ended(self, reply):
        """The reply to the end of data. Returns whether there is another transaction to begin, for those who were too many."""
        if self.verdict is None:
            self.verdict = (END, reply)
        elif not reply.is_positive:
            self._not_taken(reply)
        if not reply.is_positive:
            return False
        self.crowded = {address: said for address, said in self.said if _is_one_too_many(said) and address != self.message.envelope.own}
        self.settled += [(address, said) for address, said in self.said if address not in self.crowded]
        if self.crowded:
            self.recipients, self.refusal = [(address, line) for address, line in self.recipients if address in self.crowded], None
        self.said = []
        return bool(self.crowded)

    def _not_taken(self, reply):
        """What holds for those whom the relay would have taken in a further transaction, had it not ended so."""
        self.said = [(address, reply if said.is_positive else said) for address, said in self.said]

    def _goes_again(self, own):
        """Whether the message will be handed over once more, so that its copies must not leave now."""
        meaning = meaning_of(own, RCPT, self.meanings)
        return meaning.action not in FINAL if meaning else own.is_transient

    def answer(self):
        if self.crowded and self.refusal:
            self._not_taken(self.refusal[1])
        phase, reply = self.verdict or self.refusal
        return Answer(self.message, phase, reply, phase == END, self.addresses)

    def lost(self, written):
        if self.is_decided:
            if self.crowded:
                self._not_taken(NO_REPLY)
            return self.answer()
        left = self.ends_at is not None and written >= self.ends_at
        return Answer(self.message, END if self.ends_at is not None else MAIL, None, left, self.addresses)


def _is_one_too_many(reply):
    """Whether a RCPT was refused only because a transaction takes no more: 452, or 552 as older servers say it."""
    if reply.code not in (452, 552):
        return False
    return reply.enhanced[1:] == (5, 3) if reply.enhanced else reply.code == 452 or "too many" in reply.text.lower()


def command_line(line: bytes, utf8: bool = False) -> bytes:
    """One command with its line end: the only place that makes one, so nothing can be smuggled into a second line.

    utf8: whether the relay takes UTF-8 in it (RFC 6531 section 3.2). Raises LocalError for anything but printable US-ASCII, or
    printable UTF-8, and for more than 512 octets.
    """
    try:
        text = line.decode("utf-8" if utf8 else "ascii")
    except UnicodeDecodeError:
        text = "\0"
    # Printable to Python is neither control, format, surrogate nor unassigned character, and of the blanks only U+0020.
    if len(line) + 2 > MOST_COMMAND and not line.startswith(b"AUTH") or not text.isprintable():
        raise LocalError("a command to the relay would hold characters that no command may hold, or be too long")
    return line + b"\r\n"


def stuffed(content: Block) -> tuple[bytes, ...]:
    """A message as DATA wants it, in pieces: dots doubled at the start of lines, the lone dot behind it (RFC 5321 section 4.5.2)."""
    if not content.dotted:
        return *content.pieces, LONE
    octets = bytes(content)
    return b"." if octets.startswith(b".") else b"", octets.replace(b"\r\n.", b"\r\n.."), LONE


def _mail_from(message, capabilities, utf8):
    line = b"MAIL FROM:<" + _path(message.envelope.sender) + b">"
    if "SIZE" in capabilities:
        line += b" SIZE=%d" % len(message.content)
    if not message.content.isascii():
        if "8BITMIME" not in capabilities:
            raise LocalError("the message holds 8-bit octets and the relay does not offer 8BITMIME", f"row {message.row} of the recipients", ELSEWHERE)
        line += b" BODY=8BITMIME"
    if utf8:
        # Only where it is needed: the next relay on the way may not have it (RFC 6531 section 3.4).
        if "SMTPUTF8" not in capabilities:
            raise LocalError("an address of this message is beyond ASCII and the relay does not offer SMTPUTF8", f"row {message.row} of the recipients",
                             ELSEWHERE)
        line += b" SMTPUTF8"
    return line


def _path(address):
    if "<" in address or ">" in address or " " in address:
        raise LocalError(f'"{address}" cannot stand in an SMTP command')
    # Half a surrogate pair becomes octets that are no UTF-8, which command_line() refuses.
    return address.encode("utf-8", "surrogatepass")
