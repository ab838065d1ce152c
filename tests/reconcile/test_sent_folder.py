"""A Sent folder of a real IMAP server: what is in it was taken, and what is not proves nothing."""

import base64
import contextlib
import socket
import threading

import pytest
import trustme

from conftest import CAMPAIGN
from peers import Dovecot, context_for, have_dovecot
from postroom.errors import LoginRefused, PostroomError, RelayRefused, RelayUnavailable
from postroom.journal.settle import Uncertain
from postroom.outcome import SENT, UNCERTAIN
from postroom.reconcile import sent_folder
from relay import Hangup, Relay, free_port
from running import deliveries, messages_of, missing, postroom

PASSWORD = "pässword %s $x\"\\y"
FIRST, SECOND = f"{1:032x}@example.com", f"{2:032x}@example.com"


def mail(message_id, more=""):
    return f"From: news@example.com\r\nTo: ann@example.com\r\n{more}Message-ID: <{message_id}>\r\n\r\nHello\r\n".encode()


def case(message_id):
    return Uncertain("ann@example.com", message_id, "relay:25", "ann@example.com", 2, 0, 1, None, None, ())


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def server(authority):
    if not have_dovecot():
        missing("Dovecot, started as root (Debian's package dovecot-imapd)")
    with Dovecot(authority, PASSWORD, ("Gesendet & älter", "Gesendet &- &AOQ-lter")) as server:
        server.keep(mail(FIRST))
        server.keep(mail(f"x{SECOND}x", f"References: <{SECOND}>\r\n"))
        yield server


def judged(server, trusted, *message_ids, **options):
    usual = {"host": "localhost", "port": server.port, "username": "ann@example.com", "secret": lambda: PASSWORD, "ca_file": trusted}
    return [one.state for one in sent_folder.judge([case(message_id) for message_id in message_ids], **usual | options)]


def test_what_is_in_the_folder_marked_for_sent_mail_is_sent_and_nothing_else_is_settled(server, ca_file):
    """The server finds a part of a Message-ID as well (RFC 3501 section 6.4.4), so what it finds is read."""
    assert judged(server, ca_file, FIRST, SECOND, FIRST.replace("example.com", "example.co"), None) == [SENT, UNCERTAIN, UNCERTAIN, UNCERTAIN]


def test_by_starttls_and_with_the_folders_name_it_is_the_same(server, ca_file, monkeypatch):
    monkeypatch.setattr(sent_folder, "STARTTLS_PORT", server.starttls_port)

    assert judged(server, ca_file, FIRST, port=server.starttls_port, folder="Gesendet & älter") == [SENT]


def test_nothing_is_changed_in_the_mailbox(server, ca_file):
    before = server.flags()

    judged(server, ca_file, FIRST, SECOND)

    assert server.flags() == before


def test_a_login_that_is_refused_tells_no_password(server, ca_file):
    with pytest.raises(LoginRefused) as told:
        judged(server, ca_file, FIRST, secret=lambda: "wr0ng-one")

    assert "does not accept" in told.value.what and "wr0ng-one" not in str(told.value) + told.value.do


@pytest.mark.parametrize(("options", "kind", "what"), [
    ({"ca_file": None}, RelayRefused, "certificate is not good"), ({"host": "127.0.0.1"}, RelayRefused, "certificate is not good"),
    ({"folder": "Nowhere"}, PostroomError, "the folder Nowhere cannot be opened"), ({"folder": 'a"\\b'}, PostroomError, "cannot be opened"),
    ({"folder": "a\r\nb"}, PostroomError, "no control characters"), ({"port": free_port()}, RelayUnavailable, "cannot be reached"),
    ({"host": "no-such-host.invalid"}, RelayUnavailable, "cannot be reached"), ({"ca_file": __file__}, RelayRefused, "holds no certificate")])
def test_what_stands_in_the_way_is_told(server, ca_file, options, kind, what):
    with pytest.raises(kind, match=what) as told:
        judged(server, ca_file, FIRST, **options)

    assert type(told.value) is kind and told.value.do


def test_a_server_without_starttls_gets_no_login(server, ca_file, monkeypatch):
    """Or one that somebody on the way has stripped of it."""
    with Scripted({"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"}) as stripped:
        monkeypatch.setattr(sent_folder, "STARTTLS_PORT", stripped.port)

        with pytest.raises(RelayRefused, match="does not offer STARTTLS, so nothing was sent in clear"):
            judged(server, ca_file, FIRST, port=stripped.port)

    assert stripped.commands == ["CAPABILITY"]


def test_a_server_without_tls_gets_no_login(server, ca_file):
    with Scripted({}) as clear:
        with pytest.raises(RelayRefused, match="TLS did not come about"):
            judged(server, ca_file, FIRST, port=clear.port)

    assert not any("AUTH" in command or "LOGIN" in command for command in clear.commands)


def test_a_token_logs_in_and_the_server_hears_a_name(server, authority, ca_file):
    """XOAUTH2; and NetEase opens no folder to who has not said ID (RFC 2971)."""
    header = f"Message-ID:\r\n <{FIRST}>\r\n\r\n"
    answers = {"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 ID\r\n", "LIST": '* LIST (\\HasNoChildren \\Sent) "/" {6}\r\nSent "\r\n',
               "UID SEARCH": "* SEARCH 7\r\n", "UID FETCH": f"* 1 FETCH (UID 7 BODY[HEADER.FIELDS (MESSAGE-ID)]<0> {{{len(header)}}}\r\n{header})\r\n"}
    with Scripted(answers, context_for(authority)) as scripted:
        assert judged(server, ca_file, FIRST, port=scripted.port, token=True, secret=lambda: "t0ken") == [SENT]

    wanted = base64.b64encode(b"user=ann@example.com\1auth=Bearer t0ken\1\1").decode()
    assert [command for command in scripted.commands if not command.startswith("CAPABILITY")] == [
        "AUTHENTICATE XOAUTH2", wanted, 'ID ("name" "postroom")', 'LIST "" *', r'EXAMINE "Sent \""', f'UID SEARCH HEADER Message-ID "{FIRST}"',
        "UID FETCH 7 (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.65536>)", "LOGOUT"]


def test_without_authenticate_the_login_is_imaps_own(server, authority, ca_file):
    with Scripted({"CAPABILITY": "* CAPABILITY IMAP4rev1\r\n"}, context_for(authority)) as scripted:
        judged(server, ca_file, port=scripted.port, username='ann "b"', secret=lambda: 'se"cr\\et', folder="Sent")

    assert r'LOGIN "ann \"b\"" "se\"cr\\et"' in scripted.commands


@pytest.mark.parametrize(("capability", "secret"), [("", "pässword"), ("", "pass\r\nword"), ("LOGINDISABLED", "passphrase")])
def test_a_password_that_cannot_go_over_safely_does_not_go(server, authority, ca_file, capability, secret):
    with Scripted({"CAPABILITY": f"* CAPABILITY IMAP4rev1 {capability}\r\n"}, context_for(authority)) as scripted:
        with pytest.raises(RelayRefused, match="no login that this password can go by") as told:
            judged(server, ca_file, FIRST, port=scripted.port, secret=lambda: secret)

    assert secret not in str(told.value) and not any("ass" in command for command in scripted.commands)


@pytest.mark.parametrize("answers", [{"UID SEARCH": "!NO t0ken search is off"}, {"UID FETCH": "!NO not now"}, {"UID SEARCH": "* SEARCH\r\n"},
                                     {"UID FETCH": "* 1 FETCH (UID 7)\r\n"}])
def test_a_server_that_cannot_say_settles_nothing(server, authority, ca_file, answers):
    usual = {"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\n", "UID SEARCH": "* SEARCH 7\r\n"}
    with Scripted(usual | answers, context_for(authority)) as scripted:
        assert judged(server, ca_file, FIRST, port=scripted.port, token=True, secret=lambda: "t0ken", folder="Sent") == [UNCERTAIN]


def test_what_the_server_repeats_of_a_token_is_not_told(server, authority, ca_file):
    usual = {"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\n", "EXAMINE": "!NO no folder for \x1b[31mt0ken"}
    with Scripted(usual, context_for(authority)) as scripted:
        with pytest.raises(PostroomError, match="cannot be opened") as told:
            judged(server, ca_file, FIRST, port=scripted.port, token=True, secret=lambda: "t0ken", folder="Sent")

    assert told.value.what == r'the folder Sent cannot be opened: "no folder for \x1b[31m***"'


@pytest.mark.parametrize("answers", [{"UID SEARCH": None}, {"EXAMINE": "!BAD what"}, {"AUTHENTICATE": None}, {"UID SEARCH": "* SEARCH " + "7" * 2_000_000}])
def test_a_server_that_breaks_off_is_exit_3(server, authority, ca_file, answers):
    usual = {"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\n"}
    with Scripted(usual | answers, context_for(authority)) as scripted:
        with pytest.raises(RelayUnavailable, match="breaks off|cannot be reached") as told:
            judged(server, ca_file, FIRST, port=scripted.port, token=True, secret=lambda: "t0ken", folder="Sent")

    assert told.value.exit_code == 3


def test_a_server_that_marks_no_folder_wants_a_name(authority, ca_file):
    if not have_dovecot():
        missing("Dovecot, started as root (Debian's package dovecot-imapd)")
    with Dovecot(authority, "secret", ("Sent Items", "Sent Items"), special=False) as server:
        server.keep(mail(FIRST))

        with pytest.raises(PostroomError, match="marks no folder") as told:
            judged(server, ca_file, FIRST, secret=lambda: "secret")

        assert "--folder" in told.value.do
        assert judged(server, ca_file, FIRST, secret=lambda: "secret", folder="Sent Items") == [SENT]


@pytest.mark.parametrize(("smtp", "imap"), [
    ("smtp.qq.com", "imap.qq.com"), ("smtp.163.com", "imap.163.com"), ("smtp.gmail.com", "imap.gmail.com"), ("SMTP.mail.me.com.", "imap.mail.me.com"),
    ("smtp.office365.com", "outlook.office365.com"), ("smtp-mail.outlook.com", "outlook.office365.com"), ("mail.example.com", None), ("127.0.0.1", None)])
def test_the_imap_server_is_called_after_the_smtp_server_where_that_is_usual(smtp, imap):
    assert sent_folder.host_of(smtp) == imap


def test_the_command_settles_what_it_finds_and_leaves_the_rest(folder, server, ca_file):
    """Of two uncertain ones the provider kept one. The password is the campaign's own, and stands in no word and no file."""
    folder.write(".env", "RELAY_PASSWORD='" + PASSWORD + "'\n")

    def lost(octets):
        raise Hangup

    with Relay({"end of data": lambda octets: lost(octets), "AUTH": "235 2.7.0 welcome"}, capabilities=("AUTH PLAIN",)) as relay:
        login = f"  username: ann@example.com\n  password: ${{RELAY_PASSWORD}}\n  allow_plaintext_login: true\n  ca_file: {ca_file}\n"
        folder.campaign(CAMPAIGN.replace("2525", str(relay.port)) + login)
        sent = postroom("send", "campaign.yaml", "--yes", "--debug")
    assert deliveries(folder) == {"ann@example.com": "uncertain", "zoe@example.com": "uncertain"}, sent.err
    server.keep(messages_of(folder)[0].octets)
    where = ("--imap-host", f"localhost:{server.port}")

    said = postroom("reconcile", "campaign.yaml", "--imap", *where)
    again = postroom("reconcile", "campaign.yaml", "--imap", *where, "--json")

    assert (said.exit, deliveries(folder)) == (1, {"ann@example.com": "sent", "zoe@example.com": "uncertain"})
    assert "1 found: the relay took it, so it is sent" in said.err and "1 still uncertain: it is not in the Sent folder, which proves nothing" in said.err
    assert (again.exit, again.json["found"], again.json["uncertain"]) == (1, 0, 1)
    assert PASSWORD not in said.err + again.out + again.err
    assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in (folder.path / ".postroom").glob("*"))
    assert "which IMAP server belongs to" in postroom("reconcile", "campaign.yaml", "--imap").err


class Scripted:
    """An IMAP server in clear, or behind TLS with a context, that says what a test wants, and OK.

    answers: a command's beginning to lines before that OK, to "!" and the words instead of it, or to None, which hangs up.
    """

    def __init__(self, answers, context=None):
        self._answers, self._context, self.commands = answers, context, []

    def __enter__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            line, _ = self._listening.accept()
            with line, self._context.wrap_socket(line, server_side=True) if self._context else line as safe, safe.makefile("rwb") as file:
                self._speak(file)

    def _speak(self, file):
        def say(words):
            file.write(words.encode())
            file.flush()

        say("* OK ready\r\n")
        while line := file.readline():
            tag, _, command = line.decode("utf-8", "replace").rstrip("\r\n").partition(" ")
            self.commands.append(command)
            answer = next((answer for words, answer in self._answers.items() if command.startswith(words)), "")
            if answer is None:
                return
            if command.startswith("AUTHENTICATE"):
                say("+ \r\n")
                self.commands.append(file.readline().decode().rstrip("\r\n"))
            say(f"{tag} {answer[1:]}\r\n" if answer.startswith("!") else f"{answer}{tag} OK done\r\n")
