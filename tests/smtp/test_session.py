"""One connection: TLS, login, exchange. Against real servers on loopback."""

import base64
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import trustme
from pydantic import SecretStr

from postroom.errors import RelayRefused, RelayUnavailable
from postroom.message import Envelope, Message, vouched
from postroom.smtp.session import Relay as To
from postroom.smtp.session import Session
from postroom.smtp.transcript import Transcript
from peers import SecureServer, context_for
from relay import Hangup, Relay, free_port

PASSWORD = "pässword %s $x"


def message(name="ann", octets=b"Subject: hello\r\n\r\nhello\r\n"):
    address = f"{name}@example.com"
    return Message(address, 2, Envelope("news@example.com", (address,), address), octets, f"{name}@example.com", 0, "00")


def plain(port, **more):
    return To("127.0.0.1", port, "plain", **more)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@contextmanager
def listening(speak):
    """A server of one connection that does what `speak(connection)` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            connection, _ = server.accept()
            with connection:
                try:
                    speak(connection)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_many_messages_go_over_one_connection_and_end_with_quit(relay):
    session = Session.open(plain(relay.port))

    answers = [answer for number in range(5) for answer in session.push([message(f"p{number}")], None)]
    session.quit()

    assert [answer.reply.code for answer in answers] == [250] * 5
    assert [taken.recipients for taken in relay.taken] == [(f"p{number}@example.com",) for number in range(5)]
    assert (relay.connections, relay.commands[-1]) == (1, "QUIT")


def test_the_session_names_itself_by_its_address(relay):
    """RFC 5321 section 4.1.3: a client without a domain gives its address."""
    Session.open(plain(relay.port)).quit()

    assert relay.commands[0] == "EHLO [127.0.0.1]"


def test_size_and_8bitmime_are_declared_where_offered(relay):
    session = Session.open(plain(relay.port))

    session.push([message(octets="Subject: x\r\n\r\nbody ü\r\n".encode())], None)
    session.quit()

    assert "MAIL FROM:<news@example.com> SIZE=23 BODY=8BITMIME" in relay.commands


def test_a_server_that_knows_no_ehlo_is_greeted_with_helo():
    with Relay({"EHLO": "502 5.5.2 what"}) as relay:
        session = Session.open(plain(relay.port))

        answer, = session.push([message()], None)
        session.quit()

    assert (answer.reply.code, session.capabilities, relay.commands[1]) == (250, {}, "HELO [127.0.0.1]")


def test_after_a_refusal_the_next_mail_begins_with_rset_on_the_same_connection(relay):
    relay.answers["RCPT TO:<gone@example.com>"] = "550 5.1.1 no such mailbox"
    session = Session.open(plain(relay.port))

    first, = session.push([message("gone")], None)
    second, = session.push([message("ann")], None)
    session.quit()

    assert (first.reply.code, second.reply.code, relay.connections) == (550, 250, 1)
    assert relay.commands[3:6] == ["RSET", "MAIL FROM:<news@example.com> SIZE=25", "RCPT TO:<ann@example.com>"]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_over_tls_the_certificate_is_checked_against_the_ca_file(authority, ca_file, security):
    context = context_for(authority)
    with SecureServer(security, context) as server:
        port = server.port
        session = Session.open(To("localhost", port, security, ca_file=ca_file))
        answer, = session.push([message()], None)
        session.quit()

        with pytest.raises(RelayRefused, match="certificate is not good"):
            Session.open(To("localhost", port, security))
        with pytest.raises(RelayRefused, match="certificate is not good"):
            Session.open(To("127.0.0.1", port, security, ca_file=ca_file))

    assert answer.reply.code == 250


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # over implicit TLS aiosmtpd does not see the TLS
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_login_works_and_its_secret_stays_out_of_the_transcript(authority, ca_file, security, mechanism):
    lines = []
    with SecureServer(security, context_for(authority), [mechanism], PASSWORD) as server:
        session = Session.open(To("localhost", server.port, security, "ann@example.com", SecretStr(PASSWORD), ca_file), Transcript(lines.append))
        answer, = session.push([message()], None)
        session.quit()

    assert server.logins == [(mechanism, "ann@example.com", PASSWORD)]
    assert answer.reply.code == 250
    seen = "\n".join(lines)
    for secret in secrets():
        assert secret not in seen
    assert f"AUTH {mechanism}" in seen


def secrets():
    plain = base64.b64encode(f"\0ann@example.com\0{PASSWORD}".encode()).decode()
    return PASSWORD, base64.b64encode(PASSWORD.encode()).decode(), plain


def test_a_refused_login_is_told_in_the_servers_words_without_the_secret(authority, ca_file):
    wrong = SecretStr("wrong pässword")
    with SecureServer("starttls", context_for(authority), ["PLAIN"], PASSWORD) as server, pytest.raises(RelayRefused) as refused:
        Session.open(To("localhost", server.port, "starttls", "ann@example.com", wrong, ca_file))

    assert "the login was refused" in refused.value.what and "535" in refused.value.what
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize("echo", [0, 1, 2])
def test_a_server_that_repeats_the_secret_does_not_spread_it(echo):
    lines = []
    with Relay({"AUTH": f"535 5.7.8 no: {secrets()[echo]}"}, capabilities=("AUTH PLAIN",)) as relay, pytest.raises(RelayRefused) as refused:
        Session.open(plain(relay.port, username="ann@example.com", password=SecretStr(PASSWORD), allow_plaintext_login=True), Transcript(lines.append))

    for secret in secrets():
        assert secret not in str(refused.value) and secret not in "\n".join(lines)


@pytest.mark.parametrize("echo", [0, 1, 2])
@pytest.mark.parametrize("reply", ["{}", "999 {}", "421 4.7.0 {}", "535-{}\r\n550 x"])
def test_not_even_a_broken_reply_spreads_the_secret(echo, reply):
    lines = []
    with Relay({"AUTH": reply.format(secrets()[echo])}, capabilities=("AUTH PLAIN",)) as relay, pytest.raises((RelayRefused, RelayUnavailable)) as refused:
        Session.open(plain(relay.port, username="ann@example.com", password=SecretStr(PASSWORD), allow_plaintext_login=True), Transcript(lines.append))

    for secret in secrets():
        assert secret not in str(refused.value) and secret not in "\n".join(lines)


def test_a_later_reply_does_not_spread_the_secret_either():
    lines = []
    with Relay({"AUTH": "235 ok", "MAIL": f"550 5.1.0 {PASSWORD}"}, capabilities=("AUTH PLAIN",)) as relay:
        session = Session.open(plain(relay.port, username="ann@example.com", password=SecretStr(PASSWORD), allow_plaintext_login=True), Transcript(lines.append))
        answer, = session.push([message()], None)
        session.quit()

    assert (answer.reply.code, answer.reply.text) == (550, "***") and PASSWORD not in "\n".join(lines)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_relay_that_ends_the_handshake_may_work_later(security):
    def speak(connection):
        if security == "starttls":
            connection.sendall(b"220 x\r\n")
            connection.recv(1000)
            connection.sendall(b"250-x\r\n250 STARTTLS\r\n")
            connection.recv(1000)
            connection.sendall(b"220 go\r\n")
        connection.recv(1000)
        connection.shutdown(socket.SHUT_WR)

    with listening(speak) as port, pytest.raises(RelayUnavailable, match="during the TLS handshake"):
        Session.open(To("127.0.0.1", port, security))


def test_without_permission_no_password_goes_over_a_clear_line():
    with Relay(capabilities=("AUTH PLAIN LOGIN",)) as relay, pytest.raises(RelayRefused, match="without TLS"):
        Session.open(plain(relay.port, username="ann", password=SecretStr("secret")))

    assert not any(command.startswith("AUTH") for command in relay.commands)


def test_where_starttls_is_not_offered_nothing_is_sent_in_clear():
    with Relay() as relay, pytest.raises(RelayRefused, match="does not offer STARTTLS"):
        Session.open(To("127.0.0.1", relay.port, "starttls"))

    assert [command.split()[0] for command in relay.commands] == ["EHLO"]


def test_octets_slipped_in_before_tls_end_the_session():
    """CVE-2011-0411: what came in clear behind the reply to STARTTLS would count as said under TLS."""
    with Relay({"STARTTLS": "220 go ahead\r\n250 2.0.0 injected"}, capabilities=("STARTTLS",)) as relay, pytest.raises(RelayRefused, match="before TLS"):
        Session.open(To("127.0.0.1", relay.port, "starttls"))


@pytest.mark.parametrize(("greeting", "error"), [("554 5.7.1 go away", RelayRefused), ("421 4.3.2 busy", RelayUnavailable), ("hello there", RelayUnavailable)])
def test_a_greeting_that_is_none_is_told(greeting, error):
    with Relay({"greeting": greeting}) as relay, pytest.raises(error):
        Session.open(plain(relay.port))


def test_where_nobody_listens_it_may_work_later():
    with pytest.raises(RelayUnavailable, match="cannot be reached"):
        Session.open(plain(free_port()))


def test_a_name_that_does_not_exist_is_told():
    with pytest.raises(RelayUnavailable, match="was not found"):
        Session.open(To("no-such-host.invalid", 25, "plain"))


def test_a_relay_that_says_nothing_is_left_in_time():
    with listening(lambda connection: connection.recv(1000)) as port, pytest.raises(RelayUnavailable):
        Session.open(plain(port), seconds=lambda phase: 0.1)


def test_a_relay_that_falls_silent_behind_the_body_leaves_the_mail_uncertain():
    with Relay({"end of data": None}) as relay:
        session = Session.open(plain(relay.port), seconds=lambda phase: 0.2 if phase == "end of data" else 5)

        answer, = session.push([message()], None)

    assert (answer.reply, answer.left) == (None, True)


def hang_up(_):
    raise Hangup


@pytest.mark.parametrize(("where", "left"), [("MAIL", False), ("RCPT", False), ("DATA", False), ("end of data", True)])
def test_a_lost_connection_is_an_answer_that_says_whether_the_mail_left(where, left):
    with Relay({where: hang_up}) as relay:
        session = Session.open(plain(relay.port))

        answer, = session.push([message()], None)

    assert (answer.reply, answer.left) == (None, left)
    assert session.closed


def test_a_large_mail_to_a_server_that_reads_slowly_arrives():
    """The relay takes little at a time and replies early: whoever only wrote would wait for ever."""
    got = []

    def speak(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(b"220 slow\r\n")
        octets = b""
        for _ in range(4):
            octets = connection.recv(4096)
            connection.sendall(b"354 go\r\n" if octets == b"DATA\r\n" else b"250 ok\r\n")
        octets = bytearray()
        while not octets.endswith(b"\r\n.\r\n"):
            octets += connection.recv(8192)
        got.append(bytes(octets))
        connection.sendall(b"250 taken\r\n")
        connection.recv(100)

    octets = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 300_000
    with listening(speak) as port:
        session = Session.open(plain(port))
        answer, = session.push([message(octets=octets)], None)
        session.quit()

    assert answer.reply.code == 250
    assert got == [octets + b".\r\n"]


def test_a_refusal_that_came_before_the_line_broke_is_still_read():
    """The relay says why and closes with our octets unread, which the kernel tells us as an error of writing."""
    def speak(connection):
        connection.sendall(b"220 full\r\n")
        for _ in range(4):
            octets = connection.recv(4096)
            connection.sendall(b"354 go\r\n" if octets == b"DATA\r\n" else b"250 ok\r\n")
        connection.recv(1000)
        connection.sendall(b"552 5.3.4 too large\r\n")
        connection.close()

    octets = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 400_000
    with listening(speak) as port:
        session = Session.open(plain(port))
        answer, = session.push([message(octets=octets)], None)

    assert answer.reply is not None and answer.reply.code == 552


def test_a_signal_ends_the_wait_but_not_the_mail_in_flight(relay):
    """Ctrl-C: push() comes back at once, finish() still brings the reply."""
    import os
    relay.answers["end of data"] = lambda octets: time.sleep(0.5) or "250 2.0.0 taken"
    wake, waker = os.pipe()
    session = Session.open(plain(relay.port), wake=wake)
    threading.Timer(0.2, os.write, (waker, b"!")).start()

    first = session.push([message()], None)
    os.read(wake, 1)
    then = session.finish(within=5)
    session.quit()
    os.close(wake)
    os.close(waker)

    assert (first, [answer.reply.code for answer in then]) == ([], [250])


def test_an_idle_relay_that_closed_is_noticed_before_the_next_mail(relay):
    relay.after = hang_up
    session = Session.open(plain(relay.port))
    session.push([message()], None)
    time.sleep(0.1)

    assert not session.is_usable()


def test_an_address_that_this_machine_cannot_speak_to_is_passed_over(relay, monkeypatch):
    """A name with an IPv6 address, on a machine without IPv6."""
    here = socket.getaddrinfo("127.0.0.1", relay.port, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(9999, *here[0][1:]), *here])

    session = Session.open(To("relay.test", relay.port, "plain"))
    session.quit()

    assert relay.connections == 1


def test_work_goes_on_while_the_relay_does_not_read():
    """What has begun there may hold a lock, and must not wait for a slow uplink."""
    read = threading.Event()

    def speak(connection):
        connection.sendall(b"220 x\r\n")
        connection.recv(1000)
        connection.sendall(b"250-x\r\n250-PIPELINING\r\n250 SIZE\r\n")
        connection.recv(1000)
        connection.sendall(b"250 ok\r\n")
        connection.recv(1000)
        connection.sendall(b"250 ok\r\n")
        connection.recv(1000)
        connection.sendall(b"354 go\r\n")
        assert read.wait(10)
        end = b""
        while not end.endswith(b"\r\n.\r\n"):
            end = end[-5:] + connection.recv(1 << 20)
        connection.sendall(b"250 taken\r\n")

    steps = []

    def work():
        while not session._out:
            yield False
        for number in range(5):
            steps.append(number)
            yield True
        read.set()
        while True:
            yield False

    with listening(speak) as port:
        session = Session.open(plain(port))
        large = message(octets=b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * 80_000)
        answer, = session.push([large], None, work=work())
        session.quit()

    assert (answer.reply.code, steps) == (250, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("capabilities", [("SIZE 50000000",), ("PIPELINING", "SIZE 50000000")])
def test_a_message_of_thousands_of_pieces_arrives_as_it_is(capabilities):
    """More than one call of the kernel takes, and more octets than it takes at a time."""
    lines = [b"Subject: x\r\n", b"\r\n", *(b"%d\r\n" % number for number in range(3000)), b"x" * 900 + b"\r\n", *[b"y" * 98 + b"\r\n"] * 40_000]

    with Relay(capabilities=capabilities) as relay:
        session = Session.open(plain(relay.port))
        answers = session.push([message("ann")._replace(content=vouched(*lines)), message("bob", b"Subject: y\r\n\r\nbob\r\n")][:session.room], None)
        session.quit()

    assert answers[0].reply.code == 250 and relay.taken[0].octets == b"".join(lines)
