"""A scripted SMTP server on loopback, apart from the product: right by itself, and wrong exactly where a test says so.

Dialogue is the server's half of one connection as a value: octets in, acts out, and a note of every rule of RFC 5321, 2920 and 3030 that
the client broke. Scripted runs one for each connection over sockets, in clear or behind TLS, and can be cut at any octet.

An act is a str (a reply, its line end added), bytes (as they are), None (silence), a function of the Wire, or a list of acts. A script says
which act stands where: at "greeting", at a whole command or its verb, at "answer" (the line behind a 334), at ("body", k) (once k octets
of a body are there), at "end of data". What a script does not name is answered as a good server would.
"""

import base64
import itertools
import re
import select
import socket
import ssl
import struct
import threading
import time

from relay import Taken

LAST_IN_GROUP = ("EHLO", "HELO", "DATA", "VRFY", "EXPN", "NOOP", "QUIT", "AUTH", "STARTTLS")  # RFC 2920 section 3.1, RFC 3207, RFC 4954
MOST_SECONDS = 10
IN, OUT = "in", "out"
TAKE = object()  # the act by which the server takes responsibility for the message, without a word


class Turns:
    """Another act each time that the script comes here, on whichever connection; then the usual one."""

    def __init__(self, *acts):
        self.acts = list(acts)


class Dialogue:
    """feed() takes octets in any portions and returns flat acts: bytes to send and functions of the wire.

    got: every command. accepted: what it took responsibility for. broken_rules: what the client did that it must not do.
    answered: what was answered in which order, a command or a whole body (bytes), with the octets that had come in and gone out by then.
    """

    def __init__(self, script=None, capabilities=(), tls=False):
        self.script, self.capabilities, self.tls_offered, self.in_tls = script or {}, capabilities, tls, False
        self.got, self.accepted, self.broken_rules, self.answered = [], [], [], []
        self.input, self.state, self.heard, self.said, self.what = bytearray(), "command", 0, 0, None
        self.greeted = self.logged_in = self.spoiled = self.ended = False
        self._clear()

    def greeting(self):
        return self._counted(self._acts("greeting", None, "220 scripted.test ESMTP"))

    def secured(self):
        """TLS came about: nothing that was said before counts (RFC 3207 section 4.2)."""
        self.in_tls, self.greeted = True, False
        self.input.clear()
        self._clear()

    def feed(self, octets: bytes) -> list:
        self.input += octets
        self.heard += len(octets)
        acts = []
        while (more := self._next()) is not None:
            acts += self._counted(more)
            self.answered.append((self.what, self.heard - len(self.input), self.said))
        return acts

    def _counted(self, acts):
        self.said += sum(len(act) for act in acts if isinstance(act, bytes))
        return acts

    # What is in the buffer

    def _next(self):
        """The acts for the next whole thing in the buffer; None where there is none."""
        if self.state == "data":
            return self._body()
        if self.state == "chunk":
            return self._chunk()
        end = self.input.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self.input[:end])
        del self.input[:end + 2]
        self.what = line.decode("utf-8", "replace")
        if self.state == "answer":
            self.state = "command"
            return self._answer(line.decode())
        if not line.decode("utf-8", "replace").isprintable() or len(line) > 510 and not line.startswith(b"AUTH"):
            self._rule(f"a line that is no command: {line[:60]!r}")
        return self._command(line.decode("utf-8", "replace"))

    def _body(self):
        if (acts := self._within_body()) is not None:
            return acts
        end = 0 if self.input.startswith(b".\r\n") else self.input.find(b"\r\n.\r\n", max(0, self.searched - 4)) + 2
        self.searched = len(self.input)
        if end == 1:
            return None
        body = bytes(self.input[:end])
        del self.input[:end + 3]
        self.state = "command"
        if re.search(rb"(?m)^\.(?!\.)", body.replace(b"\r\n", b"\n")):
            self._rule("a dot that was not doubled")
        return self._end(re.sub(rb"(?m)^\.", b"", body))

    def _within_body(self):
        if self.body_point is None or len(self.input) < self.body_point[1]:
            return None
        point, self.body_point = self.body_point, None
        return self._acts(point, None, None)

    def _chunk(self):
        if (acts := self._within_body()) is not None:
            return acts
        if len(self.input) < self.chunk_size:
            return None
        self.chunks.append(bytes(self.input[:self.chunk_size]))
        del self.input[:self.chunk_size]
        self.state = "command"
        return self._end(b"".join(self.chunks), "BDAT") if self.last_chunk else self._acts("BDAT", None, "250 2.0.0 octets received")

    # Commands

    def _command(self, line):
        verb = line.split(" ")[0].upper()
        self.got.append(line)
        if self.ended:
            self._rule(f"{line} behind QUIT")
        if self.input and (verb in LAST_IN_GROUP or "PIPELINING" not in self.capabilities) and verb != "BDAT":
            self._rule(f"more octets behind {line} before its reply")
        if self.spoiled and verb not in ("RSET", "QUIT", "EHLO"):
            self._rule(f"{line} behind a failed BDAT, before RSET")
        if verb not in COMMANDS:
            self._rule(f"{line[:60]}: no such command")
            return self._acts(line, verb, "500 5.5.2 no such command")
        return COMMANDS[verb](self, line, verb)

    def _ehlo(self, line, verb):
        words = [*self.capabilities] + ["STARTTLS"] * (self.tls_offered and not self.in_tls)
        return self._hello(self._acts(line, verb, "\r\n".join(f"250-{word}" for word in ("scripted.test", *words)) + "\r\n250 HELP"))

    def _helo(self, line, verb):
        return self._hello(self._acts(line, verb, "250 scripted.test"))

    def _hello(self, acts):
        self._clear()
        self.greeted = self.greeted or _positive(acts)
        return acts

    def _starttls(self, line, verb):
        return self._acts(line, verb, ["220 2.0.0 go ahead", Wire.secure])

    def _auth(self, line, verb):
        if self.logged_in or self.sender is not None:
            self._rule("AUTH where it may not stand (RFC 4954 section 4)")
        if not any(word.startswith("AUTH ") and line.split(" ")[1] in word.split() for word in self.capabilities):
            self._rule(f"{line.split(' ')[1]} was not offered")
        self.asked = 1
        return self._logged(self._acts(line, verb, "235 2.7.0 welcome" if len(line.split(" ")) > 2 else _challenge("Username:")))

    def _answer(self, line):
        self.got.append(line)
        self.asked += 1
        usual = "501 5.7.0 cancelled" if line == "*" else _challenge("Password:") if self.asked == 2 else "235 2.7.0 welcome"
        return self._logged(self._acts("answer", None, usual))

    def _logged(self, acts):
        said = b"".join(act for act in acts if isinstance(act, bytes))
        self.state = "answer" if said.startswith(b"334") else "command"
        self.logged_in = self.logged_in or said.startswith(b"235")
        return acts

    def _mail(self, line, verb):
        if not self.greeted or self.sender is not None:
            self._rule("MAIL before EHLO" if not self.greeted else "MAIL within a transaction, before RSET")
            return self._acts(line, verb, "503 5.5.1 not now")
        for word, wanted in ((" SIZE=", "SIZE"), (" BODY=", "8BITMIME"), (" SMTPUTF8", "SMTPUTF8")):
            if word in line and not any(offered.split(" ")[0] == wanted for offered in self.capabilities):
                self._rule(f"{wanted} was not offered")
        acts = self._acts(line, verb, "250 2.1.0 OK")
        if _positive(acts):
            self.sender = _path(line)
        return acts

    def _rcpt(self, line, verb):
        if self.sender is None:
            if "PIPELINING" not in self.capabilities:
                self._rule("RCPT without a sender")
            return self._acts(line, verb, "503 5.5.1 MAIL first")
        acts = self._acts(line, verb, "250 2.1.5 OK")
        if _positive(acts):
            self.recipients.append(_path(line))
        return acts

    def _data(self, line, verb):
        if not self.recipients and "PIPELINING" not in self.capabilities:
            self._rule("DATA without a recipient")
        acts = self._acts(line, verb, "354 go ahead" if self.recipients else "503 5.5.1 no valid recipients")
        if any(isinstance(act, bytes) and act.startswith(b"354") for act in acts):
            self._expect_body("data")
        return acts

    def _bdat(self, line, verb):
        if not self.recipients and "PIPELINING" not in self.capabilities:
            self._rule("BDAT without a recipient")
        words = line.split(" ")
        self.chunk_size, self.last_chunk = int(words[1]), words[-1].upper() == "LAST"
        self._expect_body("chunk")
        return []

    def _expect_body(self, state):
        self.state, self.searched = state, 0
        self.body_point = next((point for point in self.script if point[0] == "body"), None)

    def _end(self, body, verb=None):
        sender, recipients = self.sender, tuple(self.recipients)
        self.what = body
        self._clear()
        if body and (not body.endswith(b"\r\n") or re.search(rb"\r(?!\n)|(?<!\r)\n|\0", body) or max(map(len, body.split(b"\r\n"))) > 998):
            self._rule("a body with bare line ends, NUL or lines over 998 octets")
        usual = "250 2.0.0 taken" if recipients else "554 5.5.1 no valid recipients"
        acts = self._acts("end of data", verb, usual)
        if _positive(acts) or TAKE in acts:
            self.accepted.append(Taken(sender, recipients, body))
        self.spoiled = verb == "BDAT" and not _positive(acts)
        return [act for act in acts if act is not TAKE]

    def _rset(self, line, verb):
        self._clear()
        self.spoiled = False
        return self._acts(line, verb, "250 2.0.0 OK")

    def _quit(self, line, verb):
        self.ended = True
        return self._acts(line, verb, ["221 2.0.0 bye", drop])

    def _clear(self):
        self.sender, self.recipients, self.chunks, self.body_point, self.searched = None, [], [], None, 0

    # The script

    def _acts(self, point, verb, usual):
        act = self.script.get(point, self.script.get(verb, usual))
        if isinstance(act, Turns):
            act = act.acts.pop(0) if act.acts else usual
        return _flat(act)

    def _rule(self, words):
        self.broken_rules.append(words)


COMMANDS = {"EHLO": Dialogue._ehlo, "HELO": Dialogue._helo, "STARTTLS": Dialogue._starttls, "AUTH": Dialogue._auth, "MAIL": Dialogue._mail,
            "RCPT": Dialogue._rcpt, "DATA": Dialogue._data, "BDAT": Dialogue._bdat, "RSET": Dialogue._rset, "QUIT": Dialogue._quit}


class Over(Exception):
    """This connection is done."""


class Wire:
    """One connection of a Scripted. clear: octets that it got before TLS. got: all octets that it got, TLS taken off. raw: as they came."""

    def __init__(self, server, connection, script):
        self.server, self.socket, self.cut, self.patient = server, connection, script.get("cut"), script.get("patient")
        self.portion = script.get("portion", 1 << 16)
        self.dialogue = Dialogue(script, script.get("capabilities", server.capabilities), tls=server.context is not None and not server.implicit)
        self.clear, self.got, self.raw, self.sent, self.tls = bytearray(), bytearray(), bytearray(), 0, None

    def run(self):
        try:
            if self.server.implicit:
                self.secure()
            elif select.select([self.socket], [], [], 0)[0]:
                self.dialogue.broken_rules.append("octets before the greeting")
            self.perform(self.dialogue.greeting())
            while octets := self.read():
                acts = self.dialogue.feed(octets)
                while self.patient and select.select([self.socket], [], [], 0.02)[0] and (octets := self.read()):
                    acts += self.dialogue.feed(octets)
                self.perform(acts)
        except (Over, OSError):
            pass
        finally:
            self.socket.close()

    def perform(self, acts):
        for act, following in itertools.zip_longest(acts, acts[1:]):
            if callable(act):
                act(self)
            else:
                self.send(act, following is drop)

    def read(self) -> bytes:
        most = self.portion
        if self.cut and self.cut[0] == IN:
            most = min(most, self.cut[1] - len(self.got))
            if not most:
                self.cut[2](self)
        octets = self._receive(most)
        self.got += octets
        if self.tls is None:
            self.clear += octets
        return octets

    def send(self, octets, is_last=False):
        """is_last: the FIN behind it leaves with it, so that nobody can see the one without the other."""
        if self.cut and self.cut[0] == OUT and self.sent + len(octets) >= self.cut[1]:
            self._transmit(octets[:self.cut[1] - self.sent], self.cut[2] is drop)
            self.cut[2](self)
        self._transmit(octets, is_last)
        self.sent += len(octets)

    def secure(self):
        """Shake hands; what was read ahead in clear is forgotten."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.server.context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._pump():
                    raise Over from None
            except ssl.SSLError:
                self._flush()  # the alert
                drop(self)
        self._flush()
        self.tls = tls
        self.dialogue.secured()

    def _receive(self, most):
        if self.tls is None:
            octets = self.socket.recv(most)
            self.raw += octets
            return octets
        while True:
            try:
                return self.tls.read(most)
            except ssl.SSLWantReadError:
                if not self._pump():
                    return b""
            except ssl.SSLError:
                return b""

    def _transmit(self, octets, is_last):
        if self.tls is None:
            self.socket.sendall(octets, socket.MSG_MORE if is_last else 0)
            return
        self.tls.write(octets) if octets else None
        self._flush(socket.MSG_MORE if is_last else 0)

    def _pump(self):
        octets = self.socket.recv(1 << 16)
        self.raw += octets
        self._in.write(octets)
        return octets

    def _flush(self, flags=0):
        self.socket.sendall(self._out.read(), flags)


class Scripted:
    """Runs while it is entered. scripts: one for each connection, the last one for all that follow.

    capabilities: what EHLO offers; a script's "capabilities" say otherwise for its connection. context: the server's TLS, offered with
    STARTTLS, or `implicit`. buffers: octets of the sockets' buffers. strict: whether a client that breaks a rule fails the test.
    A script's "cut" is (IN or OUT, octets, drop or reset); its "patient" answers only once nothing more comes in; its "portion" is how many
    octets it reads at once.
    wires: the connections so far, each with its Dialogue. taken, commands: of all of them; complete once the server was left.
    """

    def __init__(self, *scripts, capabilities=("8BITMIME", "SIZE 50000000"), context=None, implicit=False, buffers=None, strict=True):
        self.scripts, self.capabilities, self.context, self.implicit = list(scripts) or [{}], capabilities, context, implicit
        self.buffers, self.strict, self.wires, self.ended, self._threads = buffers, strict, [], threading.Event(), []

    def __enter__(self):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF) if self.buffers else ():
            self._listener.setsockopt(socket.SOL_SOCKET, option, self.buffers)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        self.stop_listening()
        for thread in self._threads:
            thread.join(MOST_SECONDS)
        if kind is None and self.strict:
            assert self.broken_rules == []

    def stop_listening(self):
        """From now on connections are refused; those that stand go on."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    @property
    def taken(self):
        return [taken for wire in self.wires for taken in wire.dialogue.accepted]

    @property
    def commands(self):
        return [command for wire in self.wires for command in wire.dialogue.got]

    @property
    def broken_rules(self):
        return [words for wire in self.wires for words in wire.dialogue.broken_rules]

    def recipients(self):
        """Every envelope recipient of every message taken, in order."""
        return [address for taken in self.taken for address in taken.recipients]

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(self, connection, self.scripts[min(len(self.wires), len(self.scripts) - 1)])
            self.wires.append(wire)
            self._start(wire.run)

    def _start(self, run):
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()


# Acts

def drop(wire):
    """Close by FIN: say so, then take in what still comes, since closing upon unread octets would be a reset."""
    wire.socket.shutdown(socket.SHUT_WR)
    wire.socket.settimeout(MOST_SECONDS)
    while wire.socket.recv(1 << 16):
        pass
    raise Over


def reset(wire):
    """Close by RST; what was sent before it stays readable on the other side."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()
    raise Over


def close(wire):
    """As most programs do it, whatever was not read yet: FIN, or RST where octets wait."""
    raise Over


def half_close(wire):
    """Say nothing more, go on reading."""
    wire.socket.shutdown(socket.SHUT_WR)


def stall(wire):
    """Neither read nor say anything until the test is over: a window that fills up."""
    wire.server.ended.wait(MOST_SECONDS)
    raise Over


def pause(seconds):
    """Wait, then go on."""
    return lambda wire: time.sleep(seconds)


def drip(text, seconds):
    """A reply, one octet at a time."""
    def act(wire):
        for octet in text.encode() + b"\r\n":
            wire.send(bytes([octet]))
            time.sleep(seconds)

    return act


def refuse_connections(wire):
    """From the next one on."""
    wire.server.stop_listening()


def _flat(act):
    if isinstance(act, (list, tuple)):
        return [one for part in act for one in _flat(part)]
    return [] if act is None else [act.encode() + b"\r\n"] if isinstance(act, str) else [act]


def _positive(acts):
    return any(isinstance(act, bytes) and act.startswith(b"2") for act in acts)


def _challenge(text):
    return "334 " + base64.b64encode(text.encode()).decode()


def _path(line):
    return line.partition("<")[2].partition(">")[0]
