"""Real servers, in every way of writing that they allow: each takes every message once, under its own sender, octet for octet."""

import contextlib
import functools
import itertools
import random
import re
import shutil
from collections import Counter, deque

import pytest

from conftest import CAMPAIGN
from modes import MODES, held_to, wide_open
from peers import Exim, OpenSmtpd, Postfix, SecureServer, SmtpSink, have_exim, have_opensmtpd, have_postfix, have_smtp_sink
from postroom.message import Envelope, Message
from postroom.run import Desk, Options, Run
from postroom.smtp.protocol import CHUNKED, LOCKSTEP, PIPELINED
from postroom.smtp.session import Relay, Session
from postroom.smtp.transcript import Transcript
from relay import Taken
from running import deliveries, messages_of, missing

# How each is had, whether it is there, what is missing else, and the most that it offers.
SERVERS = {"smtp-sink": (SmtpSink, have_smtp_sink, "smtp-sink (Debian's package postfix)", PIPELINED),
           "Postfix": (Postfix, have_postfix, "Postfix, started as root", CHUNKED),
           "Exim": (Exim, have_exim, "Exim in .peers (tests/unpack_peers.sh)", CHUNKED),
           "OpenSMTPD": (OpenSmtpd, have_opensmtpd, "OpenSMTPD in .peers (tests/unpack_peers.sh)", LOCKSTEP),
           "aiosmtpd": (lambda: SecureServer("plain"), lambda: True, "aiosmtpd", LOCKSTEP)}
ALLOWED = [(name, mode) for name, (*_, most) in SERVERS.items() for mode in MODES[:MODES.index(most) + 1]]

BODIES = {"nothing": b"",
          "begins with a dot": b".begin\r\n",
          "a lone dot": b"before\r\n.\r\nbehind\r\n",
          "only a lone dot": b".\r\n",
          "dots": b".one\r\n..two\r\n...three\r\n....\r\nat the end.\r\n.\r\n..\r\n",
          "blank lines at the end": b"end\r\n\r\n\r\n",
          "commands": b".\r\nRSET\r\nMAIL FROM:<x@example.com>\r\nRCPT TO:<x@example.com>\r\nBDAT 5 LAST\r\nDATA\r\n.\r\nQUIT\r\n",
          "From": b"From ann Wed Nov 25 12:20:40 2026\r\n>From ann\r\nFrom: ann\r\n",
          "998 octets": b"x" * 998 + b"\r\n." + b"y" * 997 + b"\r\n" + b"." * 998 + b"\r\n",
          "8-bit": bytes(range(128, 256)) + b"\r\n.\xff\r\n",
          "all borders": b"".join(random.Random(6).choices([b".", b"..", b"x", b"\r\n", b"\r\n."], k=60_000)) + b"\r\n"}


@pytest.fixture(scope="module")
def servers():
    """One of SERVERS by its name; each is started once."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def started(name):
            kind, is_there, what, _ = SERVERS[name]
            if not is_there():
                missing(what)
            return stack.enter_context(kind())

        yield started


in_mode = pytest.mark.parametrize(("name", "mode"), ALLOWED)


def message(name, sender="news@example.com", body=b"hello\r\n"):
    address = f"{name}@example.com"
    head = f"Date: Wed, 25 Nov 2026 12:20:40 +0000\r\nFrom: {sender}\r\nTo: {address}\r\nMessage-ID: <{name}@example.com>\r\n\r\n"
    return Message(address, 2, Envelope(sender, (address,), address), head.encode() + body, f"{name}@example.com", 0, "00")


def pushed(port, mode, messages, window=32):
    """Each message's code, by its key; what did not leave before the server closed goes again, over the next session."""
    waiting, codes, session = deque(messages), {}, None
    while waiting or session.in_flight:
        if session is None or session.closed:
            session = Session.open(Relay("127.0.0.1", port, "plain"), mode=mode)
        leaving = [waiting.popleft() for _ in range(min(session.room, window - session.in_flight, len(waiting)))]
        answers = session.push(leaving, None)
        assert not any(answer.left for answer in answers if answer.reply is None)
        codes.update((answer.message.key, answer.reply.code) for answer in answers if answer.reply and answer.reply.code != 421)
        waiting.extendleft(answer.message for answer in reversed(answers) if answer.message.key not in codes)
    session.quit()
    return codes


def answered(session, messages):
    answers = session.push(messages, None)
    while session.in_flight:
        answers += session.push([], None)
    return answers


def taken_since(before, server):
    """What it took on top of that, with how often."""
    return Counter(server.drained()) - before


def wanted(messages):
    return Counter(Taken(message.envelope.sender, (recipient,), message.octets) for message in messages for recipient in message.envelope.recipients)


@pytest.mark.parametrize("name", SERVERS)
def test_a_session_writes_ahead_as_far_as_the_server_offers_it(servers, name):
    """A row of commands is what leaves before the next reply is there: of one, of one mail's end and the next one's beginning, of whole mails."""
    lines = []
    session = Session.open(Relay("127.0.0.1", servers(name).port, "plain"), Transcript(lines.append))

    codes = [answer.reply.code for messages in (["first"], ["second", "third"]) for answer in answered(session, [message(name) for name in messages])]
    session.quit()

    rows = [len(list(row)) for is_ours, row in itertools.groupby(lines, lambda line: line.startswith("C: ")) if is_ours]
    assert codes == [250] * 3
    assert max(rows) == {LOCKSTEP: 1, PIPELINED: 4, CHUNKED: 8}[SERVERS[name][3]]
    assert ("C: DATA" in lines) == (SERVERS[name][3] != CHUNKED)


@in_mode
def test_every_octet_arrives_as_it_is(servers, name, mode):
    server = servers(name)
    before = Counter(server.drained())
    messages = [message(f"{name.replace(' ', '.')}.{copy}", body=body) for copy in range(2) for name, body in BODIES.items()]

    codes = pushed(server.port, mode, messages)

    assert set(codes.values()) == {250} and len(codes) == len(messages)
    assert taken_since(before, server) == wanted(messages)


@in_mode
def test_behind_a_refused_recipient_the_next_message_has_its_own_sender(servers, name, mode):
    """RFC 3030 section 2: Exim takes MAIL behind a failed BDAT for a second one, says 503 to it, and takes the message under the sender before."""
    server = servers(name)
    before = Counter(server.drained())
    messages = [message(f"{'gone' if number % 3 == 1 else 'ann'}.{number}", f"sender{number}@example.com") for number in range(40)]

    codes = pushed(server.port, mode, messages)

    known = [message for message in messages if name == "smtp-sink" or not message.key.startswith("gone")]
    assert {key for key, code in codes.items() if code == 250} == {message.key for message in known}
    assert taken_since(before, server) == wanted(known)


PEOPLE = 30
# Never five in a row, which would end the run.
GONE = {3, 4, 7, *range(12, 16), *range(17, 21), 28}
FILES = {"empty.bin": b"", "dots.txt": b".\r\n..\n.", "no-end.txt": b"no line end", "random.bin": random.Random(6).randbytes(30_000)}
ALONE = CAMPAIGN.replace("html: digest.html\n", "").replace("news@", "{{ sender }}@") + "  in_flight: WINDOW\n"
MORE = f"""\
html: digest.html
cc: ["{{{{ copy }}}}"]
bcc: archive@example.com
attachments: ["{{{{ file }}}}"]
headers: {{X-Long: "{"x" * 900}"}}
"""
TEXT = ".begin {{ first_name }}\n.\n..\n\n.\n" + "long " * 300 + "\nend"


@pytest.fixture
def hard(folder):
    """send(port, window, more): a campaign that is hard on dots, line ends and senders. Returns its exit code and its messages."""
    names = list(FILES)
    folder.write("recipients.csv", "email,first_name,sender,copy,file\n" + "".join(
        f"{'gone' if one in GONE else 'ann'}{one}@example.com,P,from{one},{'gone.copy@example.com' if one % 9 == 2 else f'copy{one}@example.com' if one % 5 == 0 else ''},"
        f"{names[one % len(names)] if one % 3 else ''}\n" for one in range(PEOPLE)))
    folder.write("digest.txt", TEXT)
    folder.write("digest.html", "." + "<p>.{{ first_name }}</p>\n.\n..\n" + "y" * 2000)
    for name, octets in FILES.items():
        folder.write(name, octets)

    def send(port, window, more):
        shutil.rmtree(folder.path / ".postroom", ignore_errors=True)
        folder.campaign(ALONE.replace("2525", str(port)).replace("WINDOW", str(window)) + more)
        return Run(Options("campaign.yaml", yes=True, quiet=True), Desk(lambda text="", end="\n": None)).send(), messages_of(folder)

    return send


def as_sent(takens):
    """One for each recipient, without Date, with how often."""
    return Counter(Taken(taken.sender, (recipient,), re.sub(rb"(?m)^Date: .*\r\n", b"", taken.octets, count=1))
                   for taken in takens for recipient in taken.recipients)


@in_mode
def test_a_campaign_arrives_as_it_was_composed_at_every_window(servers, hard, folder, monkeypatch, name, mode):
    server, refuses = servers(name), name != "smtp-sink"
    held_to(mode, monkeypatch)
    wide_open(monkeypatch)

    def known(address):
        return not (refuses and address.startswith("gone"))

    for window, more in ((1, ""), (2, ""), (7, ""), (32, ""), (32, MORE))[0 if mode != LOCKSTEP else 3:]:
        before = Counter(server.drained())

        exit_code, messages = hard(server.port, window, more)

        assert not any(b"\r\n." in message.octets for message in messages)
        assert as_sent(taken_since(before, server).elements()) == as_sent(
            Taken(message.envelope.sender, tuple(filter(known, message.envelope.recipients)), message.octets) for message in messages), window
        assert deliveries(folder) == {message.key: "sent" if known(message.key) else "rejected" for message in messages}, window
        assert exit_code == (1 if refuses else 0)


@pytest.mark.parametrize("name", SERVERS)
def test_thirty_megabytes_arrive_as_they_were_composed(servers, hard, folder, name):
    server = servers(name)
    folder.write("film.bin", random.Random(30).randbytes(30_000_000))
    folder.write("recipients.csv", "email,first_name,sender,file\nann@example.com,Ann,from1,film.bin\nzoe@example.com,Zoë,from2,empty.bin\n")
    before = Counter(server.drained())

    exit_code, messages = hard(server.port, 32, 'attachments: ["{{ file }}"]\n')

    assert (exit_code, len(messages[0].octets) > 41_000_000) == (0, True)
    assert as_sent(taken_since(before, server).elements()) == as_sent(Taken(one.envelope.sender, one.envelope.recipients, one.octets) for one in messages)
