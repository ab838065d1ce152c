"""The connection cut at every octet of a two-message dialogue, in both directions: the word on each message is what the server knows.

An uncut dialogue tells, by the server's record alone, where each message's last octet and each deciding reply end. Then every cut is judged:
the reply was there in full, so its word stands; else the last octet was out, so it is uncertain; else it never left.
"""

import contextlib
import sqlite3
import ssl
from collections import Counter

import pytest
import trustme

from handed_out import handed_out
from postroom.errors import RelayUnavailable
from postroom.journal.sqlite import Journal
from postroom.message import Envelope, Message
from postroom.outcome import DEFERRED, PENDING, REJECTED, SENT, UNCERTAIN
from postroom.smtp.protocol import CHUNKED, LOCKSTEP, MODES, PIPELINED, Protocol
from postroom.smtp.reply import Answer, judged
from postroom.smtp.session import Relay, Session
from scripted import IN, OUT, Dialogue, Scripted, Turns, drop, reset

CAPABILITIES = {LOCKSTEP: {}, PIPELINED: {"PIPELINING": ""}, CHUNKED: {"PIPELINING": "", "CHUNKING": ""}}
ANN, ZOE, COPY = "a@example.com", "z@example.com", "boss@example.com"
EVER = 1 << 30

# What the server is told to say, made anew for each dialogue, and what becomes of the two where nothing is cut.
DIALOGUES = {
    "both accepted": (lambda: {"end of data": "250-2.0.0 taken\r\n250 2.0.0 as 4711"}, SENT, SENT),
    "the first refused at RCPT": (lambda: {f"RCPT TO:<{ANN}>": "550 5.1.1 who?"}, REJECTED, SENT),
    "a copy refused": (lambda: {f"RCPT TO:<{COPY}>": "550 5.1.1 who?"}, SENT, SENT),
    "the first refused at the end of data": (lambda: {"end of data": Turns("554-5.7.1 not\r\n554 5.7.1 this")}, REJECTED, SENT),
    "the second put off at the end of data": (lambda: {"end of data": Turns("250 2.0.0 taken", "451 4.3.0 later")}, SENT, DEFERRED),
}


def message(address, *others):
    octets = f"Subject: {address}\r\n\r\n.dot\r\n\r\nend\r\n".encode()
    return Message(address, 2, Envelope("n@example.com", (address, *others), address), octets, address, 0, "00")


class Talk:
    """One dialogue of the core with the server's value. written, received: octets that went each way; words: key -> state.

    out, back: cut after so many octets of the client's, of the server's. lost: how many octets of the client's last ones are handed to the
    kernel but never arrive. heard: whether what the server still says to the octets before the cut is read. noticed: whether the client
    sees at once that nothing more comes, or goes on writing where it may.
    """

    def __init__(self, mode, name, copies=(), out=EVER, back=EVER, lost=0, heard=True, noticed=True):
        self.server, self.core = Dialogue(DIALOGUES[name][0](), tuple(CAPABILITIES[mode])), Protocol(mode)
        self.out, self.back, self.lost, self.heard, self.noticed = out, back, lost, heard, noticed
        self.written = self.received = self.arrived = 0
        self.words, self.over = {}, not out
        self._hear(self.server.greeting())
        self.core.command("ehlo", b"EHLO x")
        self._exchange()
        for one in (message(ANN, *copies), message(ZOE)):
            self.core.begin(one, CAPABILITIES[mode])
        self._exchange()
        self.core.command("quit", b"QUIT")
        self._exchange()
        self._keep(self.core.lost())

    def _exchange(self):
        while not self.over and (writing := handed_out(self.core)):
            octets = b"".join(part for _, part in writing)[:self.out - self.written]
            self.written += len(octets)
            self.core.wrote(len(octets))
            arriving = octets[:max(0, self.out - self.lost - self.arrived)]
            self.arrived += len(arriving)
            acts = self.server.feed(arriving)
            self.over = self.written == self.out
            self._hear(acts if self.heard or not self.over else [])

    def _hear(self, acts):
        octets = b"".join(act for act in acts if isinstance(act, bytes))[:self.back - self.received]
        self.received += len(octets)
        for octet in octets:
            self._keep(event for event in self.core.receive(bytes([octet])) if isinstance(event, Answer))
        self.over = self.over or self.noticed and self.received == self.back

    def _keep(self, answers):
        for fate in judged(answers):
            assert fate.message.key not in self.words, "two words on one message"
            self.words[fate.message.key] = fate.state


class Truth:
    """What an uncut dialogue's server says of each position. name: of the dialogue; record: the server's `answered`.

    starts: key -> how many octets had gone out when the server wanted the body. ends: key -> how many had come in behind its last octet.
    decided: key -> how many had gone out behind the reply that decides.
    """

    def __init__(self, name, record):
        script, *finals = DIALOGUES[name]
        self.finals, self.ends, self.starts, self.decided = dict(zip((ANN, ZOE), finals, strict=True)), {}, {}, {}
        for key in self.finals:
            number = next((number for number, (what, *_) in enumerate(record) if isinstance(what, bytes) and key.encode() in what), None)
            _, self.ends[key], self.decided[key] = record[number] if number else (None, EVER, EVER)
            self.starts[key] = record[number - 1][2] if number else EVER
            if self.finals[key] == REJECTED and (line := f"RCPT TO:<{key}>") in script():
                self.decided[key] = next(went for what, _, went in record if what == line)

    def word(self, key, written, received):
        return self.finals[key] if received >= self.decided[key] else UNCERTAIN if written >= self.ends[key] else PENDING


def agrees(talk, truth):
    accepted = Counter(taken.recipients[0] for taken in talk.server.accepted)
    for key in (ANN, ZOE):
        assert talk.words.get(key, PENDING) == truth.word(key, talk.written, talk.received), (key, talk.words, talk.written, talk.received)
        assert accepted[key] in {SENT: {1}, UNCERTAIN: {0, 1}}.get(talk.words.get(key), {0}), (key, talk.words, talk.written, talk.received)


@pytest.mark.parametrize("name", DIALOGUES)
@pytest.mark.parametrize("mode", MODES)
def test_the_core_cut_at_every_octet(mode, name):
    copies = (COPY,) if name == "a copy refused" else ()
    whole = Talk(mode, name, copies)
    truth, uncertain = Truth(name, whole.server.answered), 0
    assert whole.words == truth.finals and whole.server.broken_rules == []

    for out in range(whole.written + 1):
        for how in ({}, {"heard": False}, {"heard": False, "lost": 3}):
            talk = Talk(mode, name, copies, out=out, **how)
            agrees(talk, truth)
            uncertain += UNCERTAIN in talk.words.values()
    for back in range(whole.received + 1):
        for noticed in (True, False):
            talk = Talk(mode, name, copies, back=back, noticed=noticed)
            agrees(talk, truth)
            uncertain += UNCERTAIN in talk.words.values()

    assert uncertain > 10


class Journalled:
    """Two messages through real sessions, each turn in a real journal, as the loop does it; what did not leave goes again."""

    def __init__(self, path, relay, mode):
        self.relay, self.mode, self.session = relay, mode, None
        journal = Journal.open(str(path), create=True)
        self.edition = journal.edition("digest", "")
        self.edition.enrol([(ANN, ""), (ZOE, "")], duplicates=0, file="campaign.yaml", content={})
        self.edition.begin_run("relay", "account", 0.0)
        waiting, fates = [message(ANN), message(ZOE)], []
        while waiting:
            self._ready()
            self.edition.turn(fates, waiting[:1])
            fates = judged(self.session.push(waiting[:1], None))
            if fates[0].state != PENDING:
                waiting.pop(0)
        self.edition.turn(fates, [])
        self.session.quit()
        journal.close()
        with contextlib.closing(sqlite3.connect(path)) as rows:
            self.words = dict(rows.execute("SELECT key, state FROM delivery"))
            self.attempts = rows.execute("SELECT key, state FROM attempt ORDER BY id").fetchall()

    def _ready(self):
        while self.session is None or not self.session.is_usable():
            with contextlib.suppress(RelayUnavailable):
                self.session = Session.open(self.relay, seconds=lambda phase: 5, mode=self.mode)


@pytest.fixture(scope="module")
def tls():
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with authority.cert_pem.tempfile() as ca_file:
        yield context, ca_file


def talked(tmp_path, tls, security, mode, cut=None):
    """(the server as it was left, what the journal has), the first connection cut."""
    context, ca_file = tls if security == "tls" else (None, None)
    with Scripted({"end of data": "250-2.0.0 taken\r\n250 2.0.0 as 4711", "cut": cut}, {}, context=context, implicit=security == "tls",
                  capabilities=tuple(CAPABILITIES[mode])) as server:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite3"
        return server, Journalled(path, Relay("localhost", server.port, security, ca_file=ca_file), mode)


def sample(positions, mode, step, near):
    """Every step-th octet, others in each mode, and so many before each border, with the border itself."""
    last = max(positions)
    return sorted({*range(MODES.index(mode) * step // len(MODES), last, step), *(at for position in positions for at in range(max(0, position - near), position + 1) if at <= last)})


@pytest.mark.parametrize(("security", "step", "near"), [("plain", 39, 2), ("tls", 159, 0)], ids=["plain", "tls"])
@pytest.mark.parametrize("ending", [drop, reset])
@pytest.mark.parametrize("direction", [IN, OUT])
@pytest.mark.parametrize("mode", MODES)
def test_a_session_cut_at_some_octets(tmp_path, tls, mode, direction, ending, security, step, near):
    """Each body fits into the kernel, so it is out as soon as the server wants it, or before: uncertain from there to the reply's end, and nowhere else."""
    whole, journalled = talked(tmp_path, tls, security, mode)
    assert journalled.words == {ANN: SENT, ZOE: SENT} and whole.broken_rules == []
    record = whole.wires[0].dialogue.answered
    truth = Truth("both accepted", record)
    if mode == CHUNKED:
        # Behind the first mail nothing waits for a reply: the second one is out at once.
        truth.starts[ZOE] = truth.decided[ANN]
    wanted = {key: next(came for _, came, went in record if went == truth.starts[key]) for key in truth.finals}

    for at in sample([came if direction == IN else went for _, came, went in record], mode, step, near):
        server, journalled = talked(tmp_path, tls, security, mode, (direction, at, ending))

        accepted = Counter(taken.recipients[0] for taken in server.taken)
        for key in truth.finals:
            word, began, decided = journalled.words[key], *((wanted[key], truth.ends[key]) if direction == IN else (truth.starts[key], truth.decided[key]))
            assert accepted[key] in ({1} if word == SENT else {0, 1}), (at, word)
            # At `began` itself the end of the connection may come before the body is written, or behind it.
            assert word in ({UNCERTAIN} if began < at < decided else {SENT, UNCERTAIN} if at == began else {SENT}), (at, word)
            assert (key, word) in journalled.attempts and journalled.attempts.count((key, PENDING)) <= 1
