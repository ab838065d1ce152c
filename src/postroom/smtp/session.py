"""One SMTP connection: TLS, login, push, finish, quit. The socket's side of protocol.py.

Reading never waits behind writing: one poll watches both, whatever the sizes of the buffers (RFC 2920 section 3.1).
After any error of the socket it is read to its end before anything is judged: replies that had arrived stay readable.
"""

import errno
import ipaddress
import itertools
import math
import os
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from postroom.errors import LoginPutOff, LoginRefused, PostroomError, RelayRefused, RelayUnavailable
from postroom.message import Message
from postroom.smtp import auth
from postroom.smtp.protocol import CHUNKED, DATA, END, FITTING, GREETING, LOCKSTEP, LONE_DOT, MODES, PIPELINED, Heard, Protocol
from postroom.smtp.reply import LATER_WORKS, Answer, Meaning, Reply, meaning_of
from postroom.smtp.transcript import AUTH, Transcript

CONNECT, WRITE = "connect", "write"
# RFC 5321 section 4.5.3.2; the reply to everything else has five minutes. WRITE is for each block that the relay takes.
SECONDS = {CONNECT: 30, WRITE: 180, GREETING: 300, DATA: 120, END: 600, LONE_DOT: 600, "quit": 5}
OTHER_SECONDS = 300
DRAIN_SECONDS = 2
GATHER_SECONDS = 0.05  # so long one answer waits for others, so that they are judged and written down together
READY = 220  # the greeting's code
BLOCK, MOST_WRITTEN, MOST_PIECES = 1 << 16, 1 << 20, 512
LONGEST_POLL_SECONDS = 86_400
NO_WORK = itertools.repeat(False)
# However many messages may be in flight: they are held until they are answered.
MOST_IN_FLIGHT, MOST_OCTETS_IN_FLIGHT = 256, 8 << 20


@dataclass(frozen=True, slots=True)
class Relay:
    """Where the relay is and who we are there.

    security: "plain", "starttls" (required, never optional) or "tls". password: has get_secret_value(), which is asked only to log in; one
    that changes (a token) has known() too, all that it ever was.
    token: whether that is an OAuth 2 access token. ca_file: certificates of a private CA, beside the system's.
    meanings: what this relay is known to mean by its refusals, in the order in which they are tried.
    """

    host: str
    port: int
    security: str
    username: str | None = None
    password: object | None = field(default=None, repr=False)
    ca_file: str | None = None
    allow_plaintext_login: bool = False
    token: bool = False
    meanings: tuple[Meaning, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"


class Session:
    """A logged-in session. capabilities: what EHLO said, keyword -> parameters. closed: None, or why it ended.

    misfit: None, or why nothing more should be streamed to this relay, in this session or another.
    """

    def __init__(self, relay: Relay, line: socket.socket, transcript: Transcript | None, wake: int | None, seconds: Callable[[str], float]):
        self.relay, self.capabilities, self.closed, self.misfit = relay, {}, None, None
        self._line, self._transcript, self._wake, self._seconds = line, transcript, wake, seconds
        self._protocol, self._out, self._heard = Protocol(LOCKSTEP, relay.meanings, tells_all=transcript is not None), deque(), []
        self._progress = time.monotonic()
        # It is asked between any two steps of the work.
        self._reading = select.poll()
        self._reading.register(line, select.POLLIN)
        self._conceal(getattr(relay.password, "known", list)())
        self._name = _literal(line.getsockname()[0]).encode("ascii")

    @classmethod
    def open(cls, relay: Relay, transcript: Transcript | None = None, wake: int | None = None,
             seconds: Callable[[str], float] = lambda phase: SECONDS.get(phase, OTHER_SECONDS), mode: str = CHUNKED) -> "Session":
        """Connect, secure the line, log in.

        wake: a descriptor that becomes readable when a signal came. seconds: how long to wait for a phase's whole reply, for the
        connection and the handshake (CONNECT), for the relay to take a block (WRITE). mode: the fastest way of writing that may be used
        where the relay offers it.
        Raises RelayUnavailable where it may work later, RelayRefused where something must change first.
        """
        line = _connected(relay, wake, seconds(CONNECT))
        session = cls(relay, line, transcript, wake, seconds)
        session._note(f"connected to {relay.name}")
        try:
            if relay.security == "tls":
                session._secure()
            session._greet()
            session._log_in()
            if not session.is_usable():
                raise session._ended()
            session._protocol.stream(min(mode, session._offered(), key=MODES.index))
        except BaseException:
            session._hang_up("not opened")
            raise
        return session

    @property
    def in_flight(self) -> int:
        """Messages begun and not answered."""
        return self._protocol.in_flight

    @property
    def room(self) -> int:
        """How many more messages may be begun now."""
        if self.closed or self._protocol.octets_in_flight >= MOST_OCTETS_IN_FLIGHT:
            return 0
        return (MOST_IN_FLIGHT if self._protocol.is_streaming else 1) - self.in_flight

    def push(self, messages: list[Message], until: float | None, enough: int = 1, work: Iterator[bool] = NO_WORK) -> list[Answer]:
        """Begin messages and exchange octets until so many were answered, one was not taken, one has waited for others for a moment,
        `until` (monotonic) has passed, a signal came, or the work ends.

        A lost connection is no exception: it answers every message that was in flight. `until` None: no time limit but
        that of each reply. work: asked while the relay is at its own; does a little of what there is to do, and says whether there was anything.
        """
        for message in messages:
            self._protocol.begin(message, self.capabilities)
        return self._exchange(until, enough=enough, work=work) if self.in_flight or until is not None else []

    def finish(self, within: float) -> list[Answer]:
        """Wait so many seconds, or until a signal comes, for the answers that are outstanding; the rest is answered as lost, and so is
        whatever has not begun to leave.
        """
        answers, until = self._protocol.withdraw(), time.monotonic() + within
        while self.in_flight and time.monotonic() < until and not _is_readable(self._wake):
            answers += self._exchange(until)
        if self.in_flight:
            answers += self._hang_up("no reply before the run ended")
        return answers

    def is_usable(self) -> bool:
        """Whether the idle line still stands; notices a relay that closed or spoke unasked meanwhile, without asking it anything."""
        if self.closed is None and not self.in_flight:
            self._read()
            if self.closed is None and not self._protocol.between_replies:
                self._hang_up("the relay speaks though nothing was asked")
        return self.closed is None

    def quit(self) -> None:
        """Say QUIT, wait a moment for the reply, close."""
        if self.closed is None and not self.in_flight:
            self._protocol.command("quit", b"QUIT")
            try:
                self._exchange(time.monotonic() + self._seconds("quit"), replies=1)
            except OSError:
                pass
        self._hang_up("quit")

    # Opening

    def _greet(self):
        reply = self._reply()
        if not reply.is_positive:
            raise _refusal(reply, GREETING, "the relay's greeting", self.relay, "ask who runs the relay" if reply.is_permanent else None)
        # Whatever came with the greeting would be taken for the reply to EHLO, and each reply for that to the command before.
        self.is_usable()
        self._hello()
        if self.relay.security == "starttls":
            if "STARTTLS" not in self.capabilities:
                raise RelayRefused("the relay does not offer STARTTLS, so nothing was sent in clear", self.relay.name,
                                   "use the port for it (often 587), or `security: tls` with port 465")
            reply = self._ask("starttls", b"STARTTLS")
            if not reply.is_positive:
                raise _refusal(reply, "starttls", "STARTTLS", self.relay)
            # Octets that came before TLS were not protected; whoever put them there may be anybody (CVE-2011-0411).
            if not self.is_usable() and self._protocol.spoke_unasked:
                raise RelayRefused("the relay sent something behind its reply to STARTTLS, before TLS", self.relay.name,
                                   "somebody may be tampering with the line; try another network")
            if self.closed:
                raise self._ended()
            self._secure()
            self._hello()

    def _hello(self):
        self.capabilities = {}
        name = self._name
        reply = self._ask("ehlo", b"EHLO " + name)
        if reply.is_permanent and self.relay.security == "plain" and not self.relay.username:
            reply = self._ask("helo", b"HELO " + name)
            if reply.is_positive:
                return
        if not reply.is_positive:
            raise _refusal(reply, "ehlo", "EHLO", self.relay)
        if reply.code == READY:
            raise RelayUnavailable(f'the relay greets twice: "{reply}"', self.relay.name, "run it again later; if it stays so, ask who runs the relay")
        for line in reply.lines[1:]:
            keyword, _, parameters = line.replace("AUTH=", "AUTH ").partition(" ")
            known = self.capabilities.get(keyword.upper(), "")
            self.capabilities[keyword.upper()] = f"{known} {parameters}".strip()

    def _offered(self):
        if "PIPELINING" not in self.capabilities:
            return LOCKSTEP
        return CHUNKED if "CHUNKING" in self.capabilities else PIPELINED

    def _secure(self):
        try:
            context = ssl.create_default_context()
            if self.relay.ca_file:
                context.load_verify_locations(self.relay.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise RelayRefused(f"the CA file holds no certificate that can be used ({error})", self.relay.ca_file, "give it as PEM") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # A connection that was reset meanwhile would be left open by wrap_socket(), which raises without closing it.
            self._line.getpeername()
            self._line = context.wrap_socket(self._line, server_hostname=self.relay.host, do_handshake_on_connect=False)
            self._shake_hands()
        except ssl.SSLCertVerificationError as error:
            raise RelayRefused(f"the relay's certificate is not good: {error.verify_message}", self.relay.name,
                               "correct the host's name, or name the CA's file in `ca_file`") from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise RelayUnavailable("the relay closed the connection during the TLS handshake", self.relay.name, "run it again later") from None
        except ssl.SSLError as error:
            raise RelayRefused(f"TLS did not come about ({error.reason or error})", self.relay.name,
                               "check `port` and `security`: 465 is tls, 587 is starttls") from None
        except OSError as error:
            raise _unreachable(error, self.relay) from None
        self._note(f"{self._line.version()}, certificate verified")

    def _shake_hands(self):
        until = time.monotonic() + self._seconds(CONNECT)
        while True:
            try:
                return self._line.do_handshake()
            except ssl.SSLWantReadError:
                _await(until, self._wake, readable=self._line)
            except ssl.SSLWantWriteError:
                _await(until, self._wake, writable=self._line)

    def _log_in(self):
        relay = self.relay
        if relay.username is None:
            return
        if relay.security == "plain" and not relay.allow_plaintext_login:
            raise RelayRefused("a login over a line without TLS would show the password to anybody on the way", relay.name,
                               "use `security: starttls` or `tls`; `allow_plaintext_login: true` if it must be")
        if "AUTH" not in self.capabilities:
            raise RelayRefused("the relay offers no login", relay.name, "use the port for submission (587 or 465), or leave the login out")
        self._conceal([relay.password.get_secret_value(), *getattr(relay.password, "known", list)()])
        try:
            mechanism = auth.chosen(self.capabilities["AUTH"], relay.token, relay.security != "plain")
            reply = self._authenticate(auth.dialogue(mechanism, relay.username, relay.password.get_secret_value()))
        except PostroomError as error:
            error.where = error.where or relay.name
            # The frames of the login hold the secret, and some programs show what the frames of an error hold.
            raise error.with_traceback(None) from None
        if not reply.is_positive:
            raise _refusal(reply, AUTH, "the login", relay, "check username and password; many providers want an app password or authorization code")

    def _conceal(self, secrets):
        """From here on, whatever the relay says in whichever reply: its words go to the screen, the journal and the log."""
        self._protocol.conceal(sorted({form for secret in secrets for form in auth.secrets(self.relay.username, secret)}, key=len, reverse=True))

    def _authenticate(self, dialogue):
        reply = self._ask(AUTH, next(dialogue))
        while reply.is_intermediate:
            try:
                line = dialogue.send(reply.text)
            except StopIteration:
                line = auth.CANCEL
            reply = self._ask(AUTH, line)
            if line == auth.CANCEL:
                break
        return reply

    def _ask(self, phase, line):
        self._protocol.command(phase, line)
        return self._reply()

    def _reply(self):
        if not self._heard:
            self._exchange(None, replies=1)
        if not self._heard:
            raise self._ended()
        return self._heard.pop(0)

    def _ended(self):
        return RelayUnavailable(f"the relay ended the session: {self.closed}" if self.closed else "interrupted", self.relay.name, "run it again later")

    # Exchanging

    def _exchange(self, until, replies=0, enough=1, work=NO_WORK):
        """Write and read until enough answers came (or so many replies), one was not taken, `until` has passed, a signal came or the work ended."""
        answers, waits_until, heard = [], until, -1
        while True:
            if self._out or heard != self._protocol.heard:
                # What may be written changes with each reply.
                heard = self._protocol.heard
                self._write_on(answers)
            if self.closed or replies and len(self._heard) >= replies:
                break
            # Whoever waits for "go ahead" gets it first, so that the relay is busy while we look at the answers.
            if answers and (not self.in_flight or len(answers) >= enough and not self._protocol.awaits_go_ahead):
                break
            if read := self._read():
                if not answers:
                    waits_until = min(until or float("inf"), time.monotonic() + GATHER_SECONDS)
                answers += read
                if not all(answer.reply and answer.reply.is_positive for answer in read):
                    enough = 0
                continue
            # Also where octets keep coming: what counts is what was made of them.
            now, deadline = time.monotonic(), self._deadline(waits_until)
            if self.closed is None and now >= deadline:
                if waits_until is None or deadline < waits_until:
                    # A reply that is missing where many are due may as well be one that was miscounted.
                    self.misfit = self.misfit or (None if self._out or not self._protocol.is_streaming else "a reply is missing")
                    answers += self._hang_up("the relay did not answer in time")
                break
            if read is None:
                worked = next(work, None)
                while worked and not self._out and not self._readable(0) and time.monotonic() < deadline:
                    worked = next(work, None)
                if worked is None or not worked and self._wait(deadline - now):
                    break
        return answers

    def _write_on(self, answers):
        """Write what may leave now, as long as the kernel takes it and the relay says nothing: the less it has when it closes, the more is certain. Adds to
        the answers what the relay had still said where writing fails.
        """
        while self.closed is None and self._hand_out() and self._write(answers) and self._hand_out() and not self._readable(0):
            pass

    def _hand_out(self):
        """Whether there is something to write."""
        writing = self._protocol.to_write()
        if writing:
            pieces = [*itertools.chain.from_iterable(map(itemgetter(1), writing))]
            # TLS takes one at a time, and makes a record of each.
            self._out.extend([memoryview(b"".join(pieces))] if isinstance(self._line, ssl.SSLSocket) else pieces)
            self._progress = time.monotonic()
        if self._transcript:
            for phase, pieces in writing:
                self._transcript.wrote(phase, pieces)
        return bool(self._out)

    def _deadline(self, until):
        phase, deadline = self._protocol.expected_phase, float("inf") if until is None else until
        if self._out:
            phase = WRITE
        return deadline if phase is None else min(deadline, self._progress + self._seconds(phase))

    def _wait(self, seconds):
        """Sleep until something can be read, or written where something is left, for so long at most. Returns whether a signal came."""
        return self._wake in _polled(seconds, (self._line, self._wake), self._line if self._out else None)

    def _readable(self, seconds):
        if isinstance(self._line, ssl.SSLSocket) and self._line.pending():
            return True
        return bool(self._reading.poll(math.ceil(seconds * 1000)))

    def _write(self, answers):
        """Whether the kernel may take more; what the relay had still said is added to the answers where writing failed."""
        out = self._out
        offered = _at_most(out, MOST_WRITTEN, 1 if isinstance(self._line, ssl.SSLSocket) else MOST_PIECES)
        try:
            sent = self._line.send(offered[0]) if len(offered) == 1 else self._line.sendmsg(offered)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return False
        except OSError as error:
            answers += self._broken(error)
            return False
        self._protocol.wrote(sent)
        self._progress = time.monotonic()
        is_all = sent == sum(map(len, offered))
        if is_all and offered is out:
            out.clear()
            return True
        while out and sent >= len(out[0]):
            sent -= len(out.popleft())
        if sent:
            out[0] = memoryview(out[0])[sent:]
        return is_all

    def _read(self):
        """The answers in what has come; None where nothing has."""
        try:
            octets = self._line.recv(BLOCK)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return None
        except OSError as error:
            return self._hang_up(_words(error), by_relay=True)
        if not octets:
            return self._hang_up("the relay closed the connection", by_relay=True)
        return self._feed(octets)

    def _feed(self, octets):
        answers, heard = [], self._protocol.heard
        for event in self._protocol.receive(octets):
            if isinstance(event, Heard):
                self._hear(event)
            else:
                answers.append(event)
        if self._protocol.heard > heard:
            # Only a whole reply is progress: one that drips must be there in its time.
            self._progress = time.monotonic()
        if self._protocol.misfit and self.misfit is None:
            self.misfit = f'the relay answers "{self._protocol.misfit}" where it does not fit'
        if self._protocol.broken:
            answers += self._hang_up(self._protocol.broken)
        elif self._protocol.closing:
            answers += self._hang_up(f"the relay closes: {self._protocol.closing}")
        return answers

    def _hear(self, event):
        if self._transcript:
            self._transcript.heard(event.phase, event.reply)
        if event.phase not in FITTING:
            self._heard.append(event.reply)

    def _broken(self, error):
        """Writing failed: read what the relay had still said, then judge."""
        answers, until = [], time.monotonic() + DRAIN_SECONDS
        while self.closed is None and self._readable(max(0.0, until - time.monotonic())):
            answers += self._read() or []
        return answers + self._hang_up(_words(error), by_relay=True)

    def _hang_up(self, why, by_relay=False):
        answers = self._protocol.lost(by_relay)
        if self.closed is None:
            self.closed = why
            self._note(f"closed: {why}")
        self._out.clear()
        self._line.close()
        return answers

    def _note(self, text):
        if self._transcript:
            self._transcript.note(text)


def _at_most(pieces, octets, count):
    """The first of the pieces, so many octets of so many of them at most; all of them as they are where they fit."""
    if len(pieces) <= count and sum(map(len, pieces)) <= octets:
        return pieces
    some = []
    for piece in itertools.islice(pieces, count):
        some.append(memoryview(piece)[:octets])
        octets -= len(some[-1])
        if not octets:
            break
    return some


def _connected(relay, wake, seconds):
    try:
        addresses = socket.getaddrinfo(relay.host, relay.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise RelayRefused(f'"{relay.host}" is no name of a host', relay.name, "correct `host`") from None
    except OSError as error:
        raise RelayUnavailable(f'the name "{relay.host}" was not found ({_words(error)})', relay.name, "check `host` and the network") from None
    for address in addresses:
        try:
            return _connected_to(*address, time.monotonic() + seconds, wake)
        except OSError as error:
            failed = error
    raise _unreachable(failed, relay)


def _connected_to(family, kind, protocol, _, address, until, wake):
    line = socket.socket(family, kind, protocol)
    try:
        line.setblocking(False)
        if (code := line.connect_ex(address)) == errno.EINPROGRESS:
            _await(until, wake, writable=line)
            code = line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        line.close()
        raise
    return line


def _await(until, wake, readable=None, writable=None):
    """Wait for the socket; raises TimeoutError at `until`, InterruptedError when a signal came."""
    ready = _polled(max(0.0, until - time.monotonic()), (readable, wake), writable)
    if wake in ready:
        raise InterruptedError(errno.EINTR, "interrupted")
    if not ready:
        raise TimeoutError


def _is_readable(descriptor):
    return descriptor is not None and bool(_polled(0, (descriptor,)))


def _polled(seconds, reading, writing=None):
    """Which of `reading`, and whether `writing`, can go on now; waits so many seconds at most. None stands for nothing to wait for."""
    watched, poll = {}, select.poll()
    for one in (*reading, writing):
        if one is None:
            continue
        descriptor = one if isinstance(one, int) else one.fileno()
        watched[descriptor] = one
        poll.register(descriptor, (select.POLLIN if one in reading else 0) | (select.POLLOUT if one is writing else 0))
    ready = poll.poll(math.ceil(min(seconds, LONGEST_POLL_SECONDS) * 1000))
    # An error or a hang-up is told by whoever reads or writes next.
    return [watched[descriptor] for descriptor, event in ready if event != select.POLLOUT or watched[descriptor] not in reading]


def _unreachable(error: OSError, relay: Relay) -> RelayUnavailable:
    return RelayUnavailable(f"the relay cannot be reached: {_words(error)}", relay.name, "check host and port, or run it again later")


def _refusal(reply: Reply, phase: str, to: str, relay: Relay, do: str | None = None) -> PostroomError:
    """What a reply that opens no session means: by what is known of this relay, else by its code. The relay's own words stand beside it."""
    meaning = meaning_of(reply, phase, relay.meanings)
    later = meaning.action in LATER_WORKS if meaning else not reply.is_permanent
    # A lock (5xx) is not over in a minute.
    unavailable = LoginPutOff if phase == AUTH and reply.is_transient else RelayUnavailable
    kind = unavailable if later else LoginRefused if phase == AUTH else RelayRefused
    if meaning:
        return kind(f'{meaning.what.rstrip(".。")} ("{reply}")', relay.name, meaning.do)
    return kind(f'{to} was refused: "{reply}"', relay.name, do or ("change what the relay names" if reply.is_permanent else "run it again later"))


def _words(error):
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _literal(address: str) -> str:
    """An address as EHLO names a client without a domain of its own (RFC 5321 section 4.1.3)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return f"[IPv6:{ip}]" if ip.version == 6 else f"[{ip}]"
