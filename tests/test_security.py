"""Defences against hostile input that cross rooms (reliability, section 5a); pages, secrets, paths and links have files of their own.

preview XSS, DNS rebinding: test_hostile_pages.py. secrets, core dumps, modes of files: test_sentinel.py. path escape, races:
read/test_project.py. YAML: read/test_marked_yaml.py. URL attributes, |safe: check/test_links.py, check/test_markup.py.
"""

import re
import sqlite3
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsing import Listener
from conftest import CAMPAIGN
from parsers import with_python
from peers import SecureServer, SmtpSink, have_smtp_sink
from postroom.compose import mime
from postroom.compose.unsubscribe import token
from postroom.errors import PostroomError
from postroom.message import Envelope, LocalError, Message, checked
from postroom.smtp.protocol import Protocol, stuffed
from relay import Relay
from running import composed, messages_of, missing, postroom

ROOT = Path(__file__).parents[1]
# Ends of data that some server or other took for one (CVE-2023-51764, -51765, -51766, CVE-2024-27305), with a second mail behind.
SECOND = "MAIL FROM:<evil@example.com>{0}RCPT TO:<victim@example.com>{0}DATA{0}Subject: second{0}{0}x{0}.{0}"
SMUGGLED = [before + "." + after + SECOND.format(after) for before in ("\r\n", "\n", "\r", "\n\r", "\r\n\r") for after in ("\r\n", "\n", "\r", "\r\r\n", "\r\n\0", "\0\r\n")]


def smuggling(folder, port):
    """Every end of data in each place that takes line ends at all: both templates, a cell in both bodies, an attachment."""
    folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {port}").replace("{{ first_name }} <{{ email }}>", "{{ email }}").replace("{{ first_name }}, your", "Your") + "attachments: [data.txt]\n")
    everything = "x".join(SMUGGLED) + "\r\n.\r\n"
    for name in ("digest.html", "digest.txt"):
        folder.write(name, f"{{{{ first_name }}}}\n{everything}\n.")
    folder.write("data.txt", everything)
    folder.write("recipients.csv", "email,first_name\n" + "".join(f'p{number}@example.com,"{cell.replace(chr(0), "")}"\n' for number, cell in enumerate(SMUGGLED)))


def innocent(taken, number):
    """That a message is what was sent: one envelope, CRLF line ends only, no NUL."""
    assert (taken.sender, taken.recipients) == ("news@example.com", (f"p{number}@example.com",))
    assert taken.octets.count(b"\r") == taken.octets.count(b"\n") == taken.octets.count(b"\r\n") and b"\0" not in taken.octets
    assert max(map(len, taken.octets.split(b"\r\n"))) <= 998


def test_nothing_can_be_smuggled_behind_an_end_of_data(folder, relay):
    """SMTP smuggling: what the relay sees is one message for each recipient, and no command of anybody else."""
    smuggling(folder, relay.port)

    said = postroom("send", "campaign.yaml", "--yes")

    assert said.exit == 0, said.err
    for number, taken in enumerate(relay.taken):
        innocent(taken, number)
    assert len(relay.taken) == len(SMUGGLED)
    assert {line.split(" ")[0] for line in relay.commands} == {"EHLO", "MAIL", "RCPT", "DATA", "QUIT"}
    assert not any("evil" in line or "victim" in line for line in relay.commands)


def test_nothing_can_be_smuggled_into_other_servers_either(folder):
    """SMTP smuggling, read by aiosmtpd and Postfix's smtp-sink."""
    with SecureServer("plain") as server:
        smuggling(folder, server.port)
        assert postroom("send", "campaign.yaml", "--yes").exit == 0
        for number, taken in enumerate(server.mails()):
            innocent(taken, number)
        assert len(server.mails()) == len(SMUGGLED)
    if not have_smtp_sink():
        missing("smtp-sink (Postfix)")
    with SmtpSink() as sink:
        smuggling(folder, sink.port)
        assert postroom("send", "campaign.yaml", "--yes", "--journal", "other.sqlite3").exit == 0
        assert sorted(mail.recipients for mail in sink.mails()) == sorted((f"p{number}@example.com",) for number in range(len(SMUGGLED)))


@given(st.text(st.sampled_from("\r\n\0.a =ü"), max_size=60) | st.text(max_size=60))
def test_any_text_becomes_a_body_that_can_leave(text):
    _, octets = mime.body(text)

    checked(octets if octets.endswith(b"\r\n") else octets + b"\r\n")


@given(st.lists(st.binary(max_size=20).map(lambda line: line.translate(None, b"\r\n\0")) | st.sampled_from([b".", b"..", b"", b".\xff"]), min_size=1))
def test_dots_are_doubled_and_only_the_last_line_is_one(lines):
    octets = b"".join(line + b"\r\n" for line in lines)
    sent = b"".join(stuffed(checked(octets))).split(b"\r\n")

    assert sent[-2:] == [b".", b""] and b"." not in sent[:-2]
    assert [line[1:] if line.startswith(b".") else line for line in sent[:-2]] == lines


@pytest.mark.parametrize("octets", [b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n", b"a\r\r\n", b"a\n\r\n", b"\r.\r\r\n", b"a", b"x" * 999 + b"\r\n", b"\r\n" + b"x" * 999 + b"\r\n"])
def test_the_last_gate_lets_no_such_message_out_whoever_made_it(octets):
    message = Message("k", 2, Envelope("a@example.com", ("b@example.com",), "b@example.com"), octets, "id@x", 0, "", 0)

    with pytest.raises(LocalError):
        Protocol().begin(message, {})


@pytest.mark.parametrize("where", ["sender", "recipient"])
@pytest.mark.parametrize("character", [*map(chr, range(0x21)), "\x7f", "\x85", "\xa0", "\u2028", "\u202e", "\ud800", "<", ">"])
def test_no_address_adds_a_command(where, character):
    """Command injection: one function writes commands, printable characters only."""
    evil, good = f"a{character}b@example.com", "b@example.com"
    envelope = Envelope(evil, (good,), good) if where == "sender" else Envelope(good, (evil,), evil)
    protocol = Protocol()

    with pytest.raises(LocalError):
        protocol.begin(Message("k", 2, envelope, b"x\r\n", "id@x", 0, "", 0), {"SMTPUTF8": "", "8BITMIME": ""})
    assert protocol.in_flight == 0


LINES = ["\r\nBcc: evil@example.com", "\nBcc: evil@example.com", "\rBcc: evil@example.com", "\r\n\r\n<b>body", "\x0bBcc: x", "\x85Bcc: x", "\u2028Bcc: x", "\0Bcc: x"]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", ["from", "reply_to", "to", "cc", "bcc", "subject", "headers", "file name", "media type", "unsubscribe url", "unsubscribe mailto", "image", "edition", "html", "provider"])
def test_no_value_of_a_campaign_adds_a_header(folder, place, line):
    """Header injection: refused where it stands, whoever wrote it."""
    word = '"' + "".join(character if character.isascii() and character.isprintable() and character not in '"\\' else f"\\u{ord(character):04x}" for character in line) + '"'
    value = '"x' + word[1:-1] + ' <a@example.com>"'
    more = {"from": "", "subject": "", "to": "", "html": "", "edition": "", "headers": f"headers: {{X-Note: {word}}}\n".replace('"\\', '"x\\'), "file name": f"attachments: [{{file: digest.txt, name: {value}}}]\n",
            "media type": f"attachments: [{{file: digest.txt, type: \"text/plain{word[1:]}}}]\n", "unsubscribe url": f"unsubscribe: {{url: \"https://example.com/{word[1:]}}}\n", "unsubscribe mailto": f"unsubscribe: {{mailto: \"a@example.com{word[1:]}}}\n",
            "image": f"images: {{\"logo{word[1:]}: digest.txt}}\n", "provider": f"  provider: \"qq{word[1:]}\n"}
    text = CAMPAIGN + more.get(place, f"{place}: {value}\n")
    if place in ("from", "subject", "to"):
        text = re.sub(rf"(?m)^{place}: .*$", lambda _: f"{place}: {value}", text)
    if place in ("html", "edition"):
        text = re.sub(rf"(?m)^{place}: .*$", lambda _: f"{place}: \"digest.html{word[1:]}", text)
    folder.campaign(text)

    with pytest.raises(PostroomError) as refused:
        messages_of(folder)

    assert "\n" not in str(refused.value).replace("\\n", "") or refused.value.where


@pytest.mark.parametrize("name", ["evil@example.com, x", "evil@example.com; x", "evil@example.com> <x@example.com", "x (evil@example.com)", "x <evil@example.com>, y", '"x" <evil@example.com>,', "x: evil@example.com;", "=?utf-8?q?a=2C_evil=40example=2Ecom?=",
                                  "x\\", '\\"', "@evil.example,@x:evil@example.com", "a" * 900 + ", evil@example.com", "(" * 200, '"' * 199, "<" * 200, ",", "evil@example.com\u2000,"])
def test_a_name_never_becomes_an_address(folder, node, name):
    """Address confusion: one parser, one address a cell, and the envelope is never read out of a header."""
    folder.write("recipients.csv", 'email,first_name\nann@example.com,"' + name.replace('"', '""') + '"\n')

    try:
        message, = messages_of(folder)
    except PostroomError as refused:
        assert refused.where
        return
    assert message.envelope.recipients == ("ann@example.com",)
    for read in (with_python(message.octets), node.parse(message.octets)):
        assert [address for _, address in read.to] == ["ann@example.com"] and "bcc" not in read.headers


@pytest.mark.parametrize("address", ["(" * 50_000 + "a@example.com", "a" + "(" * 50_000 + "@example.com", "<" * 50_000, '"' * 50_000 + "@example.com", "a@" * 50_000, "a@" + "b." * 50_000 + "com", "@a," * 20_000 + ":b@example.com"])
@pytest.mark.timeout(10)
def test_an_address_without_end_is_refused_at_once(address):
    """Address confusion: no recursion, no time that grows faster than the text."""
    from postroom.address import AddressError, parse_mailbox

    with pytest.raises(AddressError):
        parse_mailbox(address)


@pytest.mark.parametrize("source", [
    "{{ ''.__class__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ self.__init__.__globals__ }}", "{{ cycler.__init__.__globals__.os.popen('touch pwned') }}", "{{ row.__class__.__init__.__globals__ }}", "{{ namespace.__init__.__globals__ }}",
    "{{ ''|attr('__class__') }}", "{{ ''['__class__'] }}", "{{ '{0.__class__}'.format('') }}", "{{ '{0.__class__.__mro__}'|format('') }}", "{{ ('%s'|attr('__mod__'))('x') }}", "{{ [].append.__self__.__class__ }}", "{{ now.__reduce__() }}",
    "{{ (1).__class__ }}", "{{ caller.__globals__ }}", "{{ range.__self__ }}", "{{ ''|map(attribute='__class__')|list }}", "{{ [row]|map(attribute='__class__')|first }}", "{% set x = ''.format_map %}{{ x({}) }}", "{{ row.update({'email': 'evil@example.com'}) }}",
    "{{ row.clear() }}", "{{ row.__setitem__('email', 'x') }}", "{% for x in row.__class__.mro() %}{{ x }}{% endfor %}", "{{ loop.__class__ }}", "{{ joiner.__init__.__globals__ }}", "{{ dict.__subclasses__() }}", "{{ ''.join.__func__ }}", "{{ environment }}", "{{ os }}",
    "{{ open('/etc/passwd') }}", "{{ __import__('os') }}", "{{ config }}", "{{ lipsum.__globals__ }}", "{% import 'os' as os %}", "{% include row.email %}", "{{ smtp }}", "{{ secret }}", "{{ campaign }}"])
def test_a_template_reaches_nothing_but_its_row(folder, source):
    """Template injection, also as a template of somebody else: refused, with its line, and nothing happened."""
    folder.write("digest.html", f"<p>\n{source}")

    try:
        rendered = composed(folder)[1]
    except PostroomError as refused:
        assert refused.where.file in ("digest.html", "campaign.yaml")
    else:
        said = "".join(one.html for one in rendered)
        assert not re.search(r"class|&lt;|object at|root:|evil|sentinel", said.replace("<p>", "")), said
        assert [one.own for one in rendered] == ["ann@example.com", "zoe@example.com"]
    assert not (folder.path / "pwned").exists()


@pytest.mark.parametrize("cell", ["{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "{{ ''.__class__ }}", "${SMTP_PASSWORD}", "$(touch pwned)", "`touch pwned`", "%(x)s", "{0.__class__}", "{#", "<%= x %>"])
def test_a_cell_is_never_a_template(folder, cell):
    """Template injection: rendered once; what a cell brings is text."""
    folder.write("recipients.csv", f'email,first_name\nann@example.com,"{cell}"\n')

    _, (rendered,) = composed(folder)

    assert rendered.text == f"Hello {cell}\n" and rendered.subject.startswith(cell) and rendered.to[0].name == cell


def test_nothing_is_fetched_when_a_mail_is_made(folder):
    """SSRF: a picture, a style or an attachment on the web stays there."""
    with Listener() as listener:
        web = listener.url
        folder.write("digest.html", f"<link rel=stylesheet href='{web}/a'><style>@import url({web}/b)</style><img src='{web}/c'><img src='//{web[7:]}/d'><body background='{web}/e'><iframe src='{web}/f'></iframe>"
                     f"<a href='{web}/g'>x</a><object data='{web}/h'></object><svg><image href='{web}/i'/></svg><p>{{{{ first_name }}}}")
        for words in ("check campaign.yaml", "preview campaign.yaml", "send campaign.yaml --sandbox", "send campaign.yaml --dry-run"):
            assert postroom(*words.split()).exit == 0, words
        for more in (f"attachments: ['{web}/j']\n", f"attachments: ['{{{{ first_name }}}}']\n", f"images: {{logo: '{web}/k'}}\n", f"extends: '{web}/l'\n", f"allow_paths: ['{web}/m']\nattachments: ['{web}/m/n']\n"):
            folder.more(more)
            folder.write("recipients.csv", f"email,first_name\nann@example.com,{web}/o\n")
            assert postroom("check", "campaign.yaml").exit == 2, more
        folder.campaign(CAMPAIGN.replace("recipients.csv", f"{web}/p"))
        assert postroom("check", "campaign.yaml").exit == 2
        folder.campaign(CAMPAIGN)
        folder.write("digest.html", f"{{% include '{web}/q' %}}")
        assert postroom("check", "campaign.yaml").exit == 2

    assert (listener.calls, listener.connections) == ([], 0)


def test_the_journal_keeps_no_word_of_a_mail(folder, relay):
    """Journal privacy: whom, when and what came of it; not what they were told."""
    folder.relay(relay.port)
    folder.write("recipients.csv", "email,first_name\nann@example.com,Sentinella\n")
    for name in ("digest.html", "digest.txt"):
        folder.write(name, "a sentinel of the body, {{ first_name }}")
    assert postroom("send", "campaign.yaml", "--yes").exit == 0

    kept = b"".join(path.read_bytes() for path in (folder.path / ".postroom").iterdir() if path.is_file())

    assert b"ann@example.com" in kept
    for word in (b"sentinel of", b"Sentinella", b"November digest"):
        assert word not in kept
    with sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3") as journal:
        assert journal.execute("SELECT count(*) FROM delivery").fetchone() == (1,)
    journal.close()


def test_an_unsubscribe_token_says_nothing_and_cannot_be_guessed():
    """160 bits, of the campaign and the address; neither of them is in it."""
    tokens = {token(secret, name, key) for secret in ("s", "t") for name in ("a", "ab") for key in ("ann@example.com", "b@example.com", "bann@example.com")}

    assert len(tokens) == 12
    for one in tokens:
        assert len(one) == 27 and set(one) <= set(string.ascii_letters + string.digits + "-_")


def test_a_cell_or_a_relay_cannot_steer_the_terminal(folder):
    """Escape sequences could forge a line or a window's title; a bidi override turns a line around."""
    folder.write("recipients.csv", 'email,first_name\n"\x1b[2Ja@@x\u202e","\x1b]0;owned\x07"\n')
    said = [postroom("check", "campaign.yaml").err]
    with Relay({"RCPT": "550 5.1.1 \x1b[2J\x9b31m gone \u202e\x07"}) as relay:
        folder.relay(relay.port)
        folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\n")
        said += [postroom(*words.split()).err for words in ("send campaign.yaml --yes --debug", "status campaign.yaml")]

    assert "gone" in said[1]
    for text in said:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), ascii(text)


def test_every_package_is_installed_by_its_hash():
    """Supply chain."""
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)((?: ;[^\\\n]*)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+)", lock)

    assert len(packages) == len(re.findall(r"(?m)^[a-zA-Z0-9]", lock)) > 20
    assert tuple(map(int, dict((name, version) for name, version, _ in packages)["jinja2"].split("."))) >= (3, 1, 6)
    assert "--require-hashes" in (ROOT / "Makefile").read_text()
