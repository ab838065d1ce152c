"""The fault matrix: what a relay and the network can do wrong, and that the journal tells the truth about it each time.

Each row runs in every session mode that it is about, with limits of a second instead of minutes. After each run the server's own record is
compared with the journal: what is called sent was accepted once, what may be either is called uncertain, everything else never arrived.
Two rows are kept elsewhere: a token that expires in mid-session is in cli/test_logins.py, the connection cut at every byte in smtp/test_cut.py.
"""

import base64
import contextlib
import datetime
import select
import socket
import sqlite3
import ssl
import time
import warnings
from collections import Counter

import pytest
import trustme

from conftest import CAMPAIGN
from modes import MODES, OFFERED, held_to, wide_open
from postroom.errors import PostroomError
from postroom.run import Desk, Options, Run
from postroom.smtp.protocol import CHUNKED, LOCKSTEP, PIPELINED
from postroom.smtp.reply import judged
from postroom.smtp.session import SECONDS, Relay, Session
from postroom.smtp.transcript import Transcript
from relay import Hangup, free_port
from running import deliveries, messages_of, quick
from scripted import IN, TAKE, Scripted, Turns, close, drip, drop, half_close, pause, refuse_connections, reset, stall

ANN, ZOE = "ann@example.com", "zoe@example.com"
BOTH_SENT = {ANN: "sent", ZOE: "sent"}
USER, PASSWORD = "ann", "s3cret-w0rd"
# Until the login is through there is no mode yet.
OPENING = pytest.mark.parametrize("sending", [CHUNKED], indirect=True)
ENDINGS = pytest.mark.parametrize("ending", [drop, reset])
pytestmark = pytest.mark.timeout(60)


class Went:
    """How a run went: its exit code, what was said, its JSON document, and what the journal has."""

    def __init__(self, exit_code, said, document, states):
        self.exit, self.said, self.document, self.states = exit_code, said, document, states


class Sending:
    """Sends the usual campaign to a Scripted in one mode. limits: phase -> seconds, where five are too many."""

    def __init__(self, folder, mode):
        self.folder, self.mode, self.limits, self.runs = folder, mode, {}, []

    def relay(self, *scripts, **more):
        offered = more.pop("capabilities", ("8BITMIME", "SIZE 50000000"))
        return Scripted(*scripts, capabilities=(*offered, *OFFERED[self.mode]), **more)

    def through(self, server, smtp="", security="plain", host="127.0.0.1", more="") -> Went:
        """smtp, more: further lines of the campaign, under `smtp` and at its end. server: a Scripted, or a port."""
        port, said = getattr(server, "port", server), []
        self.folder.campaign(CAMPAIGN.replace("2525", str(port)).replace("host: 127.0.0.1", f"host: {host}").replace("security: plain", f"security: {security}")
                             + smtp + more)
        run = Run(Options("campaign.yaml", yes=True, quiet=True), Desk(lambda text="", end="\n": said.append(text)))
        try:
            exit_code = run.send()
        except PostroomError as error:
            exit_code, run.error = error.exit_code, error
            said.append(str(error))
        went = Went(exit_code, "\n".join(said), run.result(exit_code), deliveries(self.folder))
        self.runs.append((server, went.states))
        return went

    def people(self, number):
        """A table of so many instead of the usual two."""
        self.folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{one}@example.com,P\n" for one in range(number)))

    def attempts(self):
        """(state, phase, code, text) of each time that a message was handed over."""
        with contextlib.closing(sqlite3.connect(self.folder.path / ".postroom" / "journal.sqlite3")) as rows:
            return rows.execute("SELECT state, phase, code, text FROM attempt ORDER BY id").fetchall()


@pytest.fixture(params=MODES)
def sending(request, folder, monkeypatch):
    sending = Sending(folder, request.param)
    held_to(sending.mode, monkeypatch, seconds=lambda phase: sending.limits.get(phase, 5))
    monkeypatch.setattr("postroom.send.line.RECONNECT_SECONDS", 0.5)
    yield sending
    for server, states in sending.runs:
        agrees(server, states)


def in_every_mode(names, rows, **more):
    """Every row in every mode, but none about DATA where mails go in chunks, which is without it."""
    rows = [(mode, *row) for mode in MODES for row in rows if not (mode == CHUNKED and "DATA" in str(row))]
    return pytest.mark.parametrize(f"sending, {names}", rows, indirect=["sending"], **more)


def agrees(server, states):
    """The journal's words and the server's own record. Call it when the server was left."""
    accepted = Counter(taken.recipients[0] for taken in server.taken) if isinstance(server, Scripted) else Counter()
    allowed = {"sent": {1}, "uncertain": {0, 1}}
    assert {key: (state, accepted[key]) for key, state in states.items() if accepted[key] not in allowed.get(state, {0})} == {}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def large(folder):
    """A campaign line that makes Ann's message larger than all buffers on the way."""
    folder.write("Ann.bin", b"\xa5" * 4_000_000)
    folder.write("Zoë.bin", b"small")
    return 'attachments: ["{{ first_name }}.bin"]\n'


@contextlib.contextmanager
def jammed(port=0):
    """A port whose queue is full: whoever connects waits."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
            select.select([], [waiting], [], 0.1)
        yield server.getsockname()[1]


def nobody_marked(states):
    return set(states.values()) <= {"pending"}


def taken_then(*acts):
    """For "end of data": the message is accepted and answered, then something happens."""
    return ["250 2.0.0 taken", *acts]


# Connect refused, timeout, DNS failure, at start and in mid-run


@OPENING
def test_connect_refused_at_start(sending):
    went = sending.through(free_port())

    assert (went.exit, went.document["this_run"]["sent"]) == (3, 0) and nobody_marked(went.states)
    assert "cannot be reached" in went.said and "connection refused" in went.said


@OPENING
def test_connect_timeout_at_start(sending):
    sending.limits["connect"] = 0.3
    with jammed() as port:
        went = sending.through(port)

    assert went.exit == 3 and nobody_marked(went.states)
    assert "cannot be reached: no answer in time" in went.said


@OPENING
def test_dns_failure_at_start(sending):
    went = sending.through(25, host="no-such-host.invalid")

    assert went.exit == 3 and nobody_marked(went.states)
    assert '"no-such-host.invalid" was not found' in went.said


def test_connect_refused_in_mid_run(sending):
    with sending.relay({"end of data": [refuse_connections, *taken_then(drop)]}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (3, {ANN: "sent", ZOE: "pending"})


def test_connect_timeout_in_mid_run(sending):
    sending.limits["connect"] = 0.3
    with contextlib.ExitStack() as stack:
        server = sending.relay({"end of data": [refuse_connections, lambda wire: stack.enter_context(jammed(server.port)), *taken_then(drop)]})
        with server:
            went = sending.through(server)

    assert (went.exit, went.states) == (3, {ANN: "sent", ZOE: "pending"})
    assert "no answer in time" in went.said


def test_dns_failure_in_mid_run(sending, monkeypatch):
    def fails(wire):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror(-3, "Temporary failure in name resolution")))

    with sending.relay({"end of data": [fails, *taken_then(drop)]}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (3, {ANN: "sent", ZOE: "pending"})
    assert "was not found (temporary failure in name resolution)" in went.said


# No greeting; 554 greeting; 220 dripped


@OPENING
def test_no_greeting(sending):
    sending.limits["greeting"] = 0.3
    with sending.relay({"greeting": stall}) as server:
        went = sending.through(server)

    assert went.exit == 3 and nobody_marked(went.states) and server.commands == []
    assert SECONDS["greeting"] == 300


def test_no_greeting_in_mid_run(sending):
    sending.limits["greeting"] = 0.3
    with sending.relay({"end of data": taken_then(drop)}, {"greeting": stall}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (3, {ANN: "sent", ZOE: "pending"})


@OPENING
def test_554_greeting(sending):
    with sending.relay({"greeting": "554 5.7.1 no mail service for you here"}) as server:
        went = sending.through(server)

    assert went.exit == 2 and nobody_marked(went.states) and len(server.wires) == 1
    assert "no mail service for you here" in went.said


@OPENING
def test_220_dripped_inside_its_time(sending):
    with sending.relay({"greeting": drip("220 slow.test", 0.02)}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (0, BOTH_SENT)


@OPENING
def test_220_dripped_past_its_time(sending):
    """The limit is for the whole reply: an octet now and then does not prolong it."""
    sending.limits["greeting"] = 0.4
    with sending.relay({"greeting": drip("220 " + "x" * 200, 0.02)}) as server:
        began = time.monotonic()
        went = sending.through(server)

    assert went.exit == 3 and nobody_marked(went.states) and time.monotonic() - began < 3
    assert "did not answer in time" in went.said


# Bytes before the client spoke, two greetings


@OPENING
@pytest.mark.parametrize("script", [{"greeting": b"220 x\r\n250 x\r\n"}, {"greeting": b"220 x\r\n220 x\r\n"}, {"greeting": ["220 x", pause(0.1), "220 y"]},
                                    {"greeting": ["220 x", pause(0.1), "220 y"], "EHLO": [pause(0.3), "250 y"]}, {"greeting": b"220 x\r\n25"},
                                    {"greeting": b"220 x\r\n250-8BITMIME\r\n"}, {"greeting": b"220 x\r\n\r\n"}],
                         ids=["reply ahead", "two greetings", "second greeting later", "second greeting, and a slow reply to EHLO", "half a reply ahead",
                              "a line of a reply ahead", "empty line ahead"])
def test_bytes_before_the_client_spoke(sending, script):
    """Each reply would be taken for that to the command before: a refusal of one for another's acceptance."""
    with sending.relay(script, strict=False) as server:
        went = sending.through(server)

    assert went.exit == 3 and nobody_marked(went.states)
    assert {command.split()[0] for command in server.commands} <= {"EHLO", "QUIT"}


# EHLO 500, then HELO 250


@OPENING
def test_ehlo_500_then_helo(sending):
    with sending.relay({"EHLO": "500 5.5.1 what"}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (0, BOTH_SENT)
    assert server.commands[1].startswith("HELO ") and "MAIL FROM:<news@example.com>" in server.commands


@OPENING
@pytest.mark.parametrize(("security", "smtp"), [("starttls", ""), ("plain", f"  username: {USER}\n  password: {PASSWORD}\n  allow_plaintext_login: true\n")],
                         ids=["TLS demanded", "login demanded"])
def test_ehlo_500_where_an_extension_is_demanded(sending, security, smtp):
    with sending.relay({"EHLO": "500 5.5.1 what"}) as server:
        went = sending.through(server, smtp, security)

    assert went.exit == 2 and nobody_marked(went.states)
    assert {command.split()[0] for command in server.commands} == {"EHLO"}


# EHLO loses SIZE, PIPELINING, AUTH on the second session


def test_ehlo_loses_extensions_on_the_second_session(sending):
    with sending.relay({"end of data": taken_then(drop)}, {"capabilities": ()}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (0, BOTH_SENT)
    assert [[command.partition(">")[2] for command in wire.dialogue.got if command.startswith("MAIL")][0][:5] for wire in server.wires] == [" SIZE", ""]


def test_ehlo_loses_the_login_on_the_second_session(sending):
    with sending.relay({"end of data": taken_then(drop)}, {"capabilities": ("SIZE",)}, capabilities=("AUTH PLAIN",)) as server:
        went = sending.through(server, f"  username: {USER}\n  password: {PASSWORD}\n  allow_plaintext_login: true\n")

    assert (went.exit, went.states) == (2, {ANN: "sent", ZOE: "pending"})
    assert "offers no login" in went.said and [command.split()[0] for command in server.wires[1].dialogue.got] == ["EHLO"]


# Offers PIPELINING but answers out of count


@in_every_mode("missing, ann", [("MAIL", "sent"), ("RCPT", "sent"), ("DATA", "sent"), ("end of data", "uncertain")])
def test_out_of_count_one_reply_missing(sending, missing, ann):
    sending.limits |= {"mail": 0.3, "rcpt": 0.3, "data": 0.3, "end of data": 0.3}
    with sending.relay({missing: None}, {}, capabilities=("PIPELINING",), strict=False) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (1 if ann == "uncertain" else 0, {ANN: ann, ZOE: "sent"})
    assert len(server.wires) == 2


@pytest.mark.parametrize("later", [0, 0.05])
@in_every_mode("extra, usual", [("EHLO", "250 HELP"), ("MAIL", "250 OK"), ("RCPT", "250 OK"), ("DATA", "354 go ahead"), ("end of data", "250 taken")])
def test_out_of_count_one_reply_too_many(sending, extra, usual, later):
    """Nobody is called sent by a reply that was another's: agrees() compares. The session ends, and the next is sound."""
    said = [usual, pause(later), "250 2.0.0 once more"] if later else usual.encode() + b"\r\n250 2.0.0 once more\r\n"
    with sending.relay({extra: said}, {}, capabilities=("PIPELINING",), strict=False) as server:
        went = sending.through(server)

    if extra == "EHLO" and not later:
        assert went.exit == 3 and nobody_marked(went.states)
    else:
        assert went.states[ZOE] == "sent" and went.states[ANN] in ("sent", "uncertain")
        # Behind a mail's reply it may be taken for that to the next RSET, and so on until no more mails come.
        assert len(server.wires) == 2 or sending.mode == CHUNKED and later


def test_out_of_count_from_the_second_session_on(sending):
    """A session that is over before it began is none to try again and again without end."""
    with sending.relay({"end of data": taken_then(drop)}, {"EHLO": b"250 HELP\r\n250 2.0.0 once more\r\n"}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (3, {ANN: "sent", ZOE: "pending"}) and len(server.wires) < 10


# Offers CHUNKING


def test_chunking_that_does_not_work_is_not_needed(sending):
    with sending.relay({"BDAT": "502 5.5.1 not really"}, {}, capabilities=("CHUNKING",)) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (0, BOTH_SENT)


# STARTTLS: 454, not offered, plaintext behind it, a handshake that fails


def credentials():
    """Every form in which the password could stand on the wire."""
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
    return PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), plain, plain.rstrip(b"=")


def refused_before_anything_left(server, went, exit_code=2):
    """No octet of a credential or a message reached the server, in whatever it got."""
    assert went.exit == exit_code and nobody_marked(went.states) and "sent in this run" not in went.said
    assert server.wires, "the relay was not even asked"
    for wire in server.wires:
        assert {line.split(b" ")[0] for line in bytes(wire.clear).splitlines() if not line.startswith(b"\x16\x03")} <= {b"EHLO", b"STARTTLS", b"QUIT"}, wire.clear
        for octets in (wire.raw, wire.got):
            assert not any(form in octets for form in (*credentials(), b"AUTH", b"MAIL", b"Subject"))


def context_of(authority, name="localhost", **more):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **more).configure_cert(context)
    return context


def with_login(folder, authority):
    authority.cert_pem.write_to_path(folder.path / "ca.pem")
    return f"  username: {USER}\n  password: {PASSWORD}\n  ca_file: ca.pem\n"


@OPENING
@pytest.mark.parametrize(("script", "exit_code"), [
    ({"STARTTLS": "454 4.7.0 TLS not available"}, 3), ({"STARTTLS": "501 5.5.4 no"}, 2), ({"STARTTLS": "554 5.7.3 no"}, 2), ({"EHLO": "250-x\r\n250 AUTH PLAIN"}, 2),
    ({"STARTTLS": b"220 go ahead\r\n250-x\r\n250 AUTH PLAIN\r\n"}, 2), ({"STARTTLS": b"220 go ahead\r\n235"}, 2),
    ({"STARTTLS": ["220 go ahead", b"this is no TLS, it is plain SMTP\r\n", drop]}, 2), ({"STARTTLS": ["220 go ahead", drop]}, 3),
    ({"STARTTLS": ["220 go ahead", reset]}, 3), ({"STARTTLS": drop}, 3), ({"STARTTLS": ["220 go ahead", stall]}, 3)],
    ids=["454", "501", "554", "not offered", "replies in the same segment", "half a reply in the same segment", "no TLS", "FIN in the handshake", "RST in the handshake",
         "FIN instead of a reply", "silence in the handshake"])
def test_starttls_that_does_not_come_about(sending, authority, script, exit_code):
    sending.limits["connect"] = 0.5
    with sending.relay(script, capabilities=("AUTH PLAIN",), context=context_of(authority)) as server:
        went = sending.through(server, with_login(sending.folder, authority), "starttls", "localhost")

    refused_before_anything_left(server, went, exit_code)


@OPENING
def test_starttls_that_works_logs_in_behind_it_only(sending, authority):
    """The control of the rows around it: here the credential does leave, and in TLS alone."""
    with sending.relay(capabilities=("AUTH PLAIN",), context=context_of(authority)) as server:
        went = sending.through(server, with_login(sending.folder, authority), "starttls", "localhost")

    assert (went.exit, went.states) == (0, BOTH_SENT)
    wire, = server.wires
    assert credentials()[2] in wire.got and not any(form in octets for form in credentials() for octets in (wire.raw, wire.clear))


def old_tls(authority):
    context = context_of(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def self_signed(authority):
    """The CA's own certificate as the server's."""
    other, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with other.cert_pem.tempfile() as certificate, other.private_key_pem.tempfile() as key:
        context.load_cert_chain(certificate, key)
    return context


@OPENING
@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(("context", "words"), [
    (old_tls, "TLS did not come about"), (lambda authority: context_of(authority, "other.example"), "Hostname mismatch"), (self_signed, "self-signed certificate"),
    (lambda authority: context_of(trustme.CA()), "unable to get local issuer certificate"),
    (lambda authority: context_of(authority, not_after=datetime.datetime(2020, 1, 1)), "certificate has expired")],
    ids=["TLS 1.1", "wrong host name", "self-signed", "unknown authority", "expired"])
def test_tls_handshake_failure(sending, authority, context, words, security):
    with sending.relay(capabilities=("AUTH PLAIN",), context=context(authority), implicit=security == "tls") as server:
        went = sending.through(server, with_login(sending.folder, authority), security, "localhost")

    refused_before_anything_left(server, went)
    assert words in went.said and [bytes(wire.got) for wire in server.wires] == [bytes(wire.clear) for wire in server.wires]


@OPENING
def test_tls_to_a_port_that_speaks_in_clear(sending, authority):
    with sending.relay({"greeting": ["220 plain.test", pause(0.2)]}, strict=False) as server:
        went = sending.through(server, with_login(sending.folder, authority), "tls", "localhost")

    assert went.exit == 2 and "TLS did not come about" in went.said
    assert not any(form in server.wires[0].raw for form in credentials())


# AUTH 535, 534, 530, 538, 334 garbage, 503


@OPENING
@pytest.mark.parametrize("said", ["535 5.7.8 bad credentials", "534 5.7.9 weak mechanism", "530 5.7.0 authenticate first", "538 5.7.11 encryption required",
                                  "503 5.5.1 not now", "334 !!garbage!!", "334 ", "334"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_auth_refused(sending, mechanism, said):
    """Before the first mail, after one login: there is no loop of tries."""
    script = {"AUTH": said, "answer": Turns(*["334 !!garbage!!"] * 9) if said.startswith("334") else None}
    with sending.relay(script, capabilities=(f"AUTH {mechanism}",)) as server:
        went = sending.through(server, f"  username: {USER}\n  password: {PASSWORD}\n  allow_plaintext_login: true\n")

    assert went.exit in (2, 3) and nobody_marked(went.states) and len(server.wires) == 1
    assert [command.split()[0] for command in server.commands].count("AUTH") == 1 and len(server.commands) <= 6
    assert not any(command.startswith("MAIL") for command in server.commands)
    assert went.exit == 2 or said.startswith("334")


# MAIL 4xx, 5xx


def test_mail_4xx(sending):
    with sending.relay({"MAIL": Turns("451 4.3.0 later")}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "deferred", ZOE: "sent"}, 1)


def test_mail_5xx(sending):
    """A sender who is refused is refused for everybody: it stops, and blames no recipient."""
    with sending.relay({"MAIL": "550 5.1.8 sender unknown"}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (2, {ANN: "pending", ZOE: "pending"})
    assert "sender unknown" in went.said and [command.split()[0] for command in server.commands].count("MAIL") == 1


def test_mail_552_too_large(sending):
    with sending.relay({"MAIL": Turns("552 5.3.4 message too big")}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "rejected", ZOE: "sent"}, 1)


# RCPT 550 for 1 of 1; for 1 of 3 (To, Cc, Bcc)


def test_rcpt_550_for_1_of_1(sending):
    with sending.relay({f"RCPT TO:<{ANN}>": "550 5.1.1 no such mailbox"}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "rejected", ZOE: "sent"}, 1)
    assert sending.attempts()[0] == ("rejected", "rcpt", 550, "no such mailbox")


@pytest.mark.parametrize(("refused", "ann"), [(ANN, "rejected"), ("boss@example.com", "sent"), ("log@example.com", "sent")], ids=["To", "Cc", "Bcc"])
def test_rcpt_550_for_1_of_3(sending, refused, ann):
    """The message goes to the rest, and who was refused is written down; the row's own address decides its state."""
    everybody = [ANN, "boss@example.com", "log@example.com"]
    with sending.relay({f"RCPT TO:<{refused}>": Turns("550 5.1.1 no such mailbox")}) as server:
        went = sending.through(server, more="cc: boss@example.com\nbcc: log@example.com\n")
        sending.runs.clear()  # the server's record is compared here: a message whose own address was left out is no sent one

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: ann, ZOE: "sent"}, 1)
    assert server.taken[0].recipients == tuple(address for address in everybody if address != refused)
    assert server.taken[1].recipients == (ZOE, *everybody[1:])
    with contextlib.closing(sqlite3.connect(".postroom/journal.sqlite3")) as rows:
        assert rows.execute("SELECT address, code, text FROM address_result WHERE NOT accepted").fetchall() == [(refused, 550, "no such mailbox")]


# RCPT 452 after n, 552 instead


COPIES = "cc: [boss@example.com, c1@example.com, c2@example.com]\nbcc: log@example.com\n"


def crowded(server, most, said):
    """The server's own count: behind so many recipients of one transaction it takes no more."""
    def rcpt(line, turn=[0]):
        turn[0] = turn[0] + 1 if server[0].commands[-2].startswith("RCPT") else 1
        return said if turn[0] > most else "250 2.1.5 OK"
    return rcpt


@pytest.mark.parametrize("most", [1, 2, 3, 4])
@pytest.mark.parametrize("said", ["452 4.5.3 too many recipients", "552 5.5.3 too many recipients", "452 no more", "552 Too many recipients"])
def test_rcpt_452_after_n(folder, relay, monkeypatch, said, most):
    """RFC 5321 section 4.5.3.1.10: the rest gets the same mail in further transactions, each person once."""
    relay.answers["RCPT"] = crowded([relay], most, said)
    folder.relay(relay.port, COPIES)

    went = quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json")

    assert (went.exit, went.json["sent"], relay.connections) == (0, 2, 1), went.err
    copies = ["boss@example.com", "c1@example.com", "c2@example.com", "log@example.com"]
    assert sorted(relay.recipients()) == sorted([ANN, ZOE, *copies * 2])
    assert max(len(taken.recipients) for taken in relay.taken) == most
    assert len({taken.octets for taken in relay.taken}) == 2


@pytest.mark.parametrize(("then", "exit_code"), [("550 5.1.1 no such mailbox", 1), ("452 4.5.3 too many recipients", 1), ("421 4.3.2 closing", 1), (None, 1)])
def test_rcpt_452_for_a_copy_that_does_not_fit_at_all(folder, relay, monkeypatch, then, exit_code):
    """The row's own address has its mail; whoever is left out is named, and nobody gets it twice."""
    seen = []

    def rcpt(line):
        seen.append(line)
        if then is None and seen.count(line) > 1:
            raise Hangup
        return then if seen.count(line) > 1 else "452 4.5.3 too many recipients"

    relay.answers["RCPT TO:<log@example.com>"] = rcpt
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\n")
    folder.relay(relay.port, "bcc: log@example.com\n")

    went = quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json")

    assert (went.exit, went.json["sent"], relay.recipients(), len(seen)) == (exit_code, 1, [ANN], 2)
    assert "log@example.com" in went.err


def test_rcpt_452_for_the_rows_own_address(sending):
    with sending.relay({f"RCPT TO:<{ANN}>": "452 4.5.3 too many recipients"}) as server:
        went = sending.through(server, more="cc: boss@example.com\n")

    assert (went.exit, went.states, [taken.recipients[0] for taken in server.taken]) == (1, {ANN: "deferred", ZOE: "sent"}, [ZOE])


# All RCPT refused but DATA 354


def test_all_rcpt_refused_but_data_354(sending):
    """Its octets must not follow: they would go to nobody, or to whom the server thinks of."""
    with sending.relay({"RCPT": "550 5.1.1 no such mailbox", "DATA": "354 go ahead"}) as server:
        went = sending.through(server, more="cc: boss@example.com\n")

    assert went.exit in (1, 3) and set(went.states.values()) == {"rejected"} and server.taken == []
    assert not any(b"Subject" in wire.got for wire in server.wires)


# DATA 4xx, 5xx


@pytest.mark.parametrize("sending", [LOCKSTEP, PIPELINED], indirect=True)
@pytest.mark.parametrize(("said", "ann"), [("451 4.3.0 later", "deferred"), ("554 5.7.0 no", "rejected"), ("503 5.5.1 valid RCPT first", "rejected")])
def test_data_refused_then_rset_before_anything_else(sending, said, ann):
    """Some servers keep the transaction open then: what came next would join it."""
    with sending.relay({"DATA": Turns(said)}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: ann, ZOE: "sent"}, 1)
    assert server.commands[server.commands.index("DATA") + 1] == "RSET"


# 5xx early while the body is still being sent, then close


@pytest.mark.parametrize("then", [close, drop, reset, None, half_close, stall], ids=["close", "FIN", "RST", "reads on", "half-close", "stall"])
@pytest.mark.parametrize("security", ["plain", "tls"])
def test_5xx_early_while_the_body_is_still_being_sent(sending, authority, large, security, then):
    """The reply is what became of it, however the line ends; and the next mail does not wait behind a body that nobody wants."""
    script = {("body", 1000): ["552 5.3.4 message too large", pause(0.05), then], "end of data": None}
    with sending.relay(script, {}, context=context_of(authority) if security == "tls" else None, implicit=security == "tls") as server:
        authority.cert_pem.write_to_path(sending.folder.path / "ca.pem")
        went = sending.through(server, "  ca_file: ca.pem\n" if security == "tls" else "", security, "localhost", large)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "rejected", ZOE: "sent"}, 2)
    assert sending.attempts()[0] == ("rejected", "end of data", 552, "message too large")


@pytest.mark.parametrize("security", ["plain", "tls"])
def test_5xx_that_is_only_found_when_writing_fails(sending, authority, security):
    """The refusal and the reset are there before our first octet of the body: the error of writing must not hide the reply."""
    def slow(line):
        time.sleep(0.4 if "octets of message" in line else 0)

    before, said = ("RCPT", "250 2.1.5 OK") if sending.mode == CHUNKED else ("DATA", "354 go ahead")
    script = {before: [said, pause(0.1), "552 5.3.4 message too large", reset]}
    with sending.relay(script, context=context_of(authority) if security == "tls" else None, implicit=security == "tls") as server, authority.cert_pem.tempfile() as ca_file:
        session = Session.open(Relay("localhost", server.port, security, ca_file=ca_file if security == "tls" else None), Transcript(slow))
        message, = messages_of(sending.folder)[:1]
        fate, = judged(session.push([message], None))

    assert (fate.state, fate.code, fate.text) == ("rejected", 552, "message too large") and session.closed


def test_4xx_early_while_the_body_is_still_being_sent(sending, large):
    with sending.relay({("body", 1000): ["452 4.3.1 no space", close]}, {}) as server:
        went = sending.through(server, more=large)

    assert (went.exit, went.states) == (1, {ANN: "deferred", ZOE: "sent"})


def test_2xx_early_while_the_body_is_still_being_sent(sending, large):
    """That is no reply to the end of data, which is not out yet: a reply too many was counted."""
    with sending.relay({("body", 1000): ["250 2.0.0 taken", pause(0.3)]}, {}) as server:
        went = sending.through(server, more=large)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 2)
    assert [state for state, *_ in sending.attempts()] == ["pending", "sent", "sent"]


# End of data 2xx


@pytest.mark.parametrize(("said", "code", "text"), [("250 2.0.0 queued as 4711", 250, "queued as 4711"),
                                                    ("251 user not local, will forward", 251, "user not local, will forward"),
                                                    ("252 will try", 252, "will try"), ("250-2.0.0 taken\r\n250-2.0.0 as\r\n250 2.0.0 4711", 250, "taken as 4711"),
                                                    ("250", 250, ""), ("250 ", 250, ""), ("299 odd", 299, "odd"), ("250 a\0b", 250, "a\\x00b"),
                                                    ("250 " + "x" * 9000, 250, "x" * 500)],
                         ids=["250", "251", "252", "2xx multi-line", "250 without text", "250 and a blank", "299", "NUL within the text", "a long line"])
def test_end_of_data_2xx(sending, said, code, text):
    with sending.relay({"end of data": said}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 1)
    assert sending.attempts()[0] == ("sent", "end of data", code, text)


# End of data 4xx, 5xx, 3xx, 600, "25", NUL, 1 MB line, endless multi-line


@pytest.mark.parametrize(("said", "ann"), [("451 4.3.0 later", "deferred"), ("452 4.3.1 disk full", "deferred"), ("554 5.6.0 no", "rejected"), ("550 no", "rejected")])
def test_end_of_data_refused(sending, said, ann):
    with sending.relay({"end of data": Turns(said)}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: ann, ZOE: "sent"}, 1)


def endless(line):
    def act(wire):
        while True:
            wire.send(line * 1000)

    return act


@pytest.mark.parametrize("said", [b"354 go on\r\n", b"600 what\r\n", b"25\r\n", b"\0\r\n", b"2\x0050 ok\r\n", b"x" * 1_000_000 + b"\r\n", b"250 " + b"x" * 1_000_000 + b"\r\n",
                                  b"250-" + b"x" * 1_000_000, endless(b"250-more\r\n"), b"250-a\r\n251 b\r\n", b"\xff\xfe\r\n", endless(b"x")],
                         ids=["3xx", "600", "25", "NUL", "NUL within the code", "1 MB line", "1 MB of text", "1 MB without end", "endless multi-line", "two codes", "no text",
                              "endless line"])
def test_end_of_data_that_is_no_reply(sending, said):
    """The server had all of it, and what it says about it is no word: nobody can know. The session ends long before the reply's time is over."""
    sending.limits["end of data"] = 30
    with sending.relay({"end of data": [TAKE, said, stall]}, {}) as server:
        began = time.monotonic()
        went = sending.through(server)
        assert time.monotonic() - began < 20

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "uncertain", ZOE: "sent"}, 2)


# Drop after the k-th byte of the body, at the last byte, after it, inside the reply


@ENDINGS
@pytest.mark.parametrize("k", [0, 1, 100_000])
def test_drop_after_the_kth_byte_of_a_body_that_is_not_out_yet(sending, large, ending, k):
    """It never was there in full, so it goes again by itself."""
    with sending.relay({("body", k): ending}, {}) as server:
        went = sending.through(server, more=large)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 2)
    assert [state for state, *_ in sending.attempts()] == ["pending", "sent", "sent"]


@ENDINGS
@pytest.mark.parametrize("acts", [[], [TAKE]], ids=["threw it away", "kept it"])
def test_drop_after_the_last_byte(sending, ending, acts):
    with sending.relay({"end of data": [*acts, ending]}, {}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "uncertain", ZOE: "sent"}, 2)
    assert "send campaign.yaml --uncertain resend" in went.said


@ENDINGS
@pytest.mark.parametrize("short", [1, 2, 3, 100])
def test_drop_before_the_last_byte_of_a_body_that_is_out(sending, ending, short):
    """The server read less than we had handed over: from here it looks the same as if it had read all."""
    def ends(wire):
        time.sleep(0.1)
        wire.cut = (IN, len(wire.got) + len(wire.socket.recv(1 << 16, socket.MSG_PEEK)) - short, ending)

    with sending.relay({("body", 0): ends, "portion": 16}, {}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (1, {ANN: "uncertain", ZOE: "sent"})
    assert [taken.recipients for taken in server.taken] == [(ZOE,)] and len(server.wires[0].got) > 500


@ENDINGS
@pytest.mark.parametrize("reply", [b"2", b"250", b"250 2.0.0 taken", b"250 2.0.0 taken\r", b"250-2.0.0 taken\r\n", b"250-2.0.0 taken\r\n250 2.0.0 as 1", b"550 5.7.1 n"])
def test_drop_inside_the_reply(sending, ending, reply):
    with sending.relay({"end of data": [TAKE, reply, ending]}, {}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "uncertain", ZOE: "sent"}, 2)


# 421 before, between; as reply to RSET; after n messages


@in_every_mode("where", [["EHLO"], ["MAIL"], ["RCPT"], ["DATA"], ["end of data"]])
def test_421_in_place_of_a_reply(sending, where):
    """It was not processed (RFC 5321 section 3.8): the same message again, over a new connection."""
    script = {where: Turns("421 4.3.2 closing")} if where != "EHLO" else {}
    first = {"end of data": taken_then(drop)} if where == "EHLO" else script
    with sending.relay(first, {"EHLO": Turns("421 4.3.2 closing")} if where == "EHLO" else {}) as server:
        went = sending.through(server)

    assert (went.exit, went.states) == (0, BOTH_SENT)
    assert len(server.wires) == (3 if where == "EHLO" else 2)


@OPENING
def test_421_as_greeting(sending):
    with sending.relay({"greeting": "421 4.3.2 busy"}) as server:
        went = sending.through(server)

    assert went.exit == 3 and nobody_marked(went.states) and "busy" in went.said


def test_421_as_reply_to_rset(sending):
    with sending.relay({f"RCPT TO:<{ANN}>": "550 5.1.1 no such mailbox", "RSET": Turns(["421 4.7.0 too many errors", drop])}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "rejected", ZOE: "sent"}, 2)


@pytest.mark.parametrize("said", [taken_then("421 4.4.2 enough", drop), taken_then(pause(0.05), "421 4.4.2 enough", drop)], ids=["behind the reply", "a moment later"])
def test_421_between_two_messages(sending, said):
    with sending.relay({"end of data": Turns(said)}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 2)


@pytest.mark.parametrize("n", [10, 100])
def test_421_after_n_messages(sending, n):
    def tired(wire):
        if len(wire.dialogue.accepted) >= n:
            wire.dialogue.script = {"MAIL": ["421 4.7.0 too many messages", drop]}

    sending.people(n + 15)
    scripts = [{"end of data": taken_then(tired)} for _ in range(4)]
    with sending.relay(*scripts) as server:
        went = sending.through(server)

    assert (went.exit, set(went.states.values()), len(server.taken)) == (0, {"sent"}, n + 15)
    assert "uncertain" not in {state for state, *_ in sending.attempts()}


# The relay stalls at the dot


def test_stall_at_the_dot_then_250(sending):
    sending.limits["end of data"] = 2
    with sending.relay({"end of data": Turns([pause(0.8), "250 2.0.0 taken"])}) as server:
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 1)
    assert SECONDS["end of data"] == 600


def test_stall_at_the_dot_for_ever(sending):
    sending.limits["end of data"] = 0.4
    with sending.relay({"end of data": [TAKE, stall]}, {}) as server:
        began = time.monotonic()
        went = sending.through(server)

    assert (went.exit, went.states, len(server.wires)) == (1, {ANN: "uncertain", ZOE: "sent"}, 2)
    assert 0.4 <= time.monotonic() - began < 3


def test_a_reply_that_drips_at_the_dot_is_not_waited_for_for_ever(sending):
    sending.limits["end of data"] = 0.4
    with sending.relay({"end of data": [TAKE, drip("250 " + "x" * 300, 0.02)]}, {}) as server:
        began = time.monotonic()
        went = sending.through(server)

    assert (went.exit, went.states) == (1, {ANN: "uncertain", ZOE: "sent"}) and time.monotonic() - began < 3


# RST with replies still in our buffer; half-close; the server reads nothing


@pytest.mark.parametrize("security", ["plain", "tls"])
@in_every_mode("where, said, ann", [("end of data", "250 2.0.0 taken", "sent"), ("end of data", "554 5.7.1 no", "rejected"),
                                    ("end of data", "451 4.3.0 later", "deferred"), ("RCPT", "550 5.1.1 no such mailbox", "rejected"), ("DATA", "554 5.7.0 no", "rejected")])
def test_rst_with_replies_still_in_our_buffer(sending, authority, where, said, ann, security):
    """What had arrived stays readable behind a reset, and counts."""
    with sending.relay({where: [said, reset]}, {}, context=context_of(authority) if security == "tls" else None, implicit=security == "tls") as server:
        authority.cert_pem.write_to_path(sending.folder.path / "ca.pem")
        went = sending.through(server, "  ca_file: ca.pem\n" if security == "tls" else "", security, "localhost")

    # In chunks Zoë's may have left before the reset was there.
    assert went.states[ANN] == ann and went.states[ZOE] in ("sent", "uncertain" if sending.mode == CHUNKED else "sent")
    assert (went.exit, len(server.wires)) == (0 if set(went.states.values()) == {"sent"} else 1, 2 if went.states[ZOE] == "sent" else 1)


@pytest.mark.parametrize(("script", "ann"), [({"MAIL": half_close}, "sent"), ({"RCPT": ["250 ok", half_close]}, "sent"), ({("body", 0): half_close}, None),
                                             ({"end of data": [TAKE, half_close]}, "uncertain"), ({"end of data": taken_then(half_close)}, "sent")],
                         ids=["at MAIL", "behind RCPT", "where the body begins", "at the dot", "behind the reply"])
def test_half_close(sending, script, ann):
    """The server says nothing more but reads on. Where the body may have left already, both words are right."""
    with sending.relay(script, {}) as server:
        went = sending.through(server)

    may_have_left = ann is None or "RCPT" in script and sending.mode == CHUNKED
    assert went.states[ZOE] == "sent" and went.states[ANN] in (("sent", "uncertain") if may_have_left else (ann,))
    assert went.exit == (went.states[ANN] != "sent")


def test_the_server_reads_nothing(sending, large):
    """A zero window: each block has its time, and what is not out in full goes again."""
    sending.limits["write"] = 0.4
    with sending.relay({("body", 0): stall}, {}) as server:
        began = time.monotonic()
        went = sending.through(server, more=large)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 2)
    assert time.monotonic() - began < 6 and SECONDS["write"] == 180


def test_a_server_that_reads_slowly_is_waited_for(sending, large):
    """The write limit is for each block, not for the whole message."""
    sending.limits["write"] = 1.2
    rests = []

    def slowly(wire):
        receive = wire._receive

        def rest_now_and_then(most):
            if len(wire.got) >= 600_000 * (len(rests) + 1):
                rests.append(time.sleep(0.3))
            return receive(most)

        wire._receive = rest_now_and_then

    with sending.relay({("body", 0): Turns(slowly)}) as server:
        went = sending.through(server, more=large)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 1)
    assert len(rests) >= 5


# Deadlock bait


@pytest.mark.parametrize("buffers", [4096, 1 << 16, None])
def test_a_server_that_answers_only_when_its_input_is_empty(sending, large, buffers):
    """RFC 2920 section 3.1: whoever only writes until all is out, or only reads, waits for ever."""
    with sending.relay({"patient": True}, buffers=buffers) as server:
        went = sending.through(server, more=large)

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 1)


@pytest.mark.parametrize("sending", [PIPELINED, CHUNKED], indirect=True)
def test_a_whole_window_for_a_server_that_answers_only_when_its_input_is_empty(sending, folder, monkeypatch):
    wide_open(monkeypatch)
    sending.people(120)
    folder.write("large.bin", b"\xa5" * 20_000)
    with sending.relay({"patient": True}, buffers=4096) as server:
        went = sending.through(server, "  in_flight: 256\n", more="attachments: large.bin\n")

    assert (went.exit, set(went.states.values()), len(server.taken), len(server.wires)) == (0, {"sent"}, 120, 1)


def test_a_server_that_reads_on_only_when_its_reply_was_taken(sending, large):
    """It refuses at length in the middle of the body and reads nothing until all of that is out."""
    refusal = "\r\n".join(f"552-5.3.4 {'too large ' * 90}" for _ in range(900)) + "\r\n552 5.3.4 too large"
    with sending.relay({("body", 1000): Turns([refusal], [])}, buffers=4096, strict=False) as server:
        went = sending.through(server, more=large)

    assert went.states == {ANN: "rejected", ZOE: "sent"}


# Idle between rate slots


@pytest.mark.parametrize("then", [[drop], [reset], ["421 4.4.2 idle too long", drop], [b"421 4.4", drop], [b"250 what", drop]],
                         ids=["FIN", "RST", "421", "half a 421", "half a reply"])
def test_idle_between_rate_slots(sending, then):
    with sending.relay({"end of data": Turns(taken_then(pause(0.2), *then))}) as server:
        went = sending.through(server, "  rate: 1/second\n")

    assert (went.exit, went.states, len(server.wires)) == (0, BOTH_SENT, 2)
    # It is noticed before the next message is noted as leaving.
    assert [state for state, *_ in sending.attempts()] == ["sent", "sent"]
