"""What is fuzzed: plain functions over octets that return where all is well. Whatever they raise, or a second of work, is a find.

SEEDS has for each target a few inputs that reach deep, to begin from.
"""

import atexit
import contextlib
import email
import email.header
import email.policy
import functools
import os
import shutil
import tempfile
import time

from postroom.address import CONTROL, AddressError, is_text, parse_mailbox
from postroom.compose import files, mime
from postroom.compose.templates import Row, Templates
from postroom.errors import Place, PostroomError, TemplateError
from postroom.message import Envelope, LocalError, Message, checked
from postroom.read import campaign, marked_yaml
from postroom.read.project import Project
from postroom.read.recipients import Table
from postroom.smtp.protocol import CHUNKED, LOCKSTEP, PIPELINED, Protocol
from postroom.smtp.reply import ProtocolError, ReplyReader

MOST_SECONDS = 1.0
A_CAMPAIGN = b"name: a\nfrom: a@example.com\nsubject: s\ntext: t.txt\nrecipients: {file: r.csv}\nsmtp: {host: localhost, security: plain}\n"
FOLDER = tempfile.mkdtemp(prefix="postroom-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def replies(octets: bytes) -> None:
    """ReplyReader: nothing but Replies and ProtocolError, and the same ones however the octets are cut."""
    octets, sizes = octets[:-8], list(octets[-8:]) or [1]

    whole, cut = _read([octets]), _read(_portions(octets, sizes))

    assert whole == cut, (whole, cut)
    for reply in whole[0]:
        assert 200 <= reply.code <= 599 and str(reply).isprintable() and len(reply.lines) <= 64, reply


def protocol(octets: bytes) -> None:
    """Protocol: in each mode every message that was begun gets exactly one Answer, whatever the relay says and wherever it ends."""
    if not octets:
        return
    core = Protocol((LOCKSTEP, PIPELINED, CHUNKED)[octets[0] % 3])
    begun, answers, at = [], [], 1
    while at < len(octets) and core.broken is None and core.closing is None:
        kind, size = octets[at] & 7, octets[at] >> 3
        at += 1
        if kind == 0:
            with contextlib.suppress(LocalError):
                message = _message(len(begun), size)
                core.begin(message, {"SIZE": ""})
                begun.append(message)
        elif kind == 1:
            core.wrote(size)
        elif kind == 2:
            answers += _answers(core.receive(octets[at:at + size]))
            at += size
        elif kind == 3:
            core.command("noop", b"NOOP")
        else:
            answers += _answers(core.receive(SAYINGS[(kind - 4) * 32 + size]))
        core.wrote(sum(len(written) for _, written in core.to_write()) * (kind != 1))
    assert core.in_flight == len(begun) - len(answers)
    answers += core.lost()
    assert sorted(answer.message.row for answer in answers) == list(range(len(begun))), (answers, begun)
    assert not core.in_flight and not core.lost()
    for answer in answers:
        assert answer.reply is None or 200 <= answer.reply.code <= 599


def campaigns(octets: bytes) -> None:
    """A campaign file: a Campaign or a PostroomError whose place is in the file."""
    path = _written("campaign.yaml", octets)
    with contextlib.suppress(PostroomError):
        marked = marked_yaml.load(octets, "campaign.yaml")
        lines = octets.count(b"\n") + octets.count(b"\r") + 1 + octets.decode("utf-8", "replace").count("\x85") + octets.decode("utf-8", "replace").count("\u2028")
        assert all(1 <= line <= lines + octets.count("\u2029".encode()) + 1 for line, _ in marked.marks.values())
    with contextlib.suppress(PostroomError):
        campaign.load(path, secrets=False)


def recipients(octets: bytes) -> None:
    """A table: rows with as many cells as there are columns, or PostroomErrors."""
    _written("r.csv", octets)
    with contextlib.suppress(PostroomError):
        table = Table(_a_campaign())
        if table.guess:
            str(table.guess_words())
        for chunk in table.chunks(str):
            for line, row in chunk:
                assert line > 1 and list(row) == table.columns and all(isinstance(cell, str) for cell in row.values())
                with contextlib.suppress(PostroomError):
                    table.own(row, line)


def headers(octets: bytes) -> None:
    """The header writer: read back by Python's email package there are the headers that were written, and they say what was given."""
    words = [word for word in octets.decode("utf-8", "surrogatepass" if len(octets) % 2 else "replace").split("\0")] if _decodable(octets) else []
    subject, name, file, *mailboxes = (CONTROL.sub("", word).strip() for word in [*words, "", "", ""])
    if not all(map(is_text, (subject, name, file, *mailboxes))):
        return
    subject = subject[:10_000]
    head = [mime.text_header("Subject", subject), mime.address_header("To", [*_mailboxes([f"{name} <a@example.com>"], 1)])]
    if copies := list(_mailboxes(mailboxes, 50)):
        head.append(mime.address_header("Cc", copies))
    encoding, body = mime.body(octets.decode("utf-8", "replace").replace("\0", ""))
    with contextlib.suppress(PostroomError):
        called = files.file_name(file, Place("campaign.yaml"))
        head += [mime.content_type("application/pdf", called), mime.disposition("attachment", called)]
    message = b"".join([*head, b"Content-Transfer-Encoding: ", encoding, b"\r\n\r\n", body, b"\r\n"])

    checked(message)
    mail = email.message_from_bytes(message, policy=email.policy.compat32)
    written = [line.partition(b":")[0].decode() for line in b"".join(head).split(b"\r\n") if line and line[:1] not in b" \t"]
    assert mail.keys() == [*written, "Content-Transfer-Encoding"], (mail.keys(), written)
    assert len(written) == len(head)
    assert _decoded(mail["Subject"]) == " ".join(subject.split(" ")) or not subject, (subject, mail["Subject"])


def templates(octets: bytes) -> None:
    """A template of words and signs that may well belong together: a text or a TemplateError, within its time."""
    rendered = Templates(Project(os.path.join(FOLDER, "c.yaml")))
    with contextlib.suppress(TemplateError):
        template = rendered.text("{" + "".join(WORDS[octet % len(WORDS)] for octet in octets[:400]), Place("campaign.yaml", 1))
        rendered.render(template, {"a": "Ann", "b": "12", "row": Row({"a": "Ann"})}, 2)


TARGETS = {target.__name__: target for target in (replies, protocol, campaigns, recipients, headers, templates)}
SLOWEST = {"templates": 2 * MOST_SECONDS + 2}  # seconds; a rendering has two of its own
WORDS = ["{{ ", " }}", "{% for x in ", "{% endfor %}", "{% if ", " %}", "{% endif %}", "{% set a = ", "{% set n.v = ", "{% set n = namespace(v=a) %}", "{% macro m(x) %}", "{% endmacro %}", "m(", "n.v", "a", "b", "x",
         "loop", "range(", "99999", "9", "3", "1", ")", "[", "]", "(", "{", "}", ",", ": ", " ~ ", " + ", " * ", " ** ", " % ", " - ", " // ", " == ", " in ", " and ", " if ", " else ", " | ", "'%s'", "'{0}{0}'",
         "' '", "''", "'ab'", ".join(", ".replace(", ".center(", ".format(", ".split(", ".encode(", ".to_bytes(", ".items()", ".real", "list", "join(", "map(", "batch(", "sort", "sum(start=", "upper", "replace(",
         "center(", "tojson", "indent(", "groupby(", "unique", "wordwrap(", "urlize", "string", "int", "length", "round(", "format(", "pprint", "title", "reverse", "dictsort", "xmlattr", "select(", "'upper'", "'list'",
         " is ", "defined", "number", "date(", "default(", "{% filter ", "{% endfilter %}", "{% call m(", "{% endcall %}", "[1:]", "[::-1]", "-", "text", "{% set a %}", "{% endset %}", " recursive %}", "loop("]
_DIALOGUE = (b"220 ready\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued\r\n", b"250-a\r\n250 b\r\n", b"421 4.3.2 closing\r\n", b"550 5.1.1 no\r\n451 4.7.1 later\r\n")
SAYINGS = [saying for saying in [b"220 ready\r\n", b"250 ok\r\n", b"250 2.1.5 ok\r\n", b"354 go on\r\n", b"250-a\r\n250 b\r\n", b"421 4.3.2 closing\r\n", b"550 5.1.1 no\r\n", b"451 4.7.1 later\r\n",
                                 b"25", b"0 ok\r\n", b"552 5.3.4 large\r\n", b"250 ok\n", b"250\r\n", b"530 5.7.0 log in\r\n", b"200 x\r\n", b"500 what\r\n"] for _ in range(8)]
SEEDS = {
    "replies": [b"".join(_DIALOGUE) + bytes(range(8)), b"250-" + b"x" * 5000 + b"\r\n250 5.1.1 \xe4\xbd\xa0\r\n12345678", b"550-5.7.1 a\r\n550 5.7.1 b\n99999999"],
    "protocol": [bytes([mode, 4, 0x80, 0x08, 0x10, 0x0c, 0x0c, 0x24, 0x0c, 0x34, 0x44, 0x0d, 0x45]) for mode in range(3)],
    "campaigns": [A_CAMPAIGN, A_CAMPAIGN + b"kind: newsletter\nunsubscribe: {mailto: a@example.com}\nattachments:\n  - {file: a.pdf, name: '{{ x }}'}\nheaders: {X-A: b}\n",
                  b"a: &a [x, y]\nb: *a\n<<: {c: d}\nd: |\n  text\nx: ${HOME:-x}\n", b"extends: x.yaml\nvars: {a: 1.10, b: [NO, ~]}\nrecipients:\n  file: r.csv\n  where: a == \"b\"\n  columns: {a: {default: x}}\n"],
    "recipients": [b"email,name\na@example.com,Ann\n", "email;name\r\na@example.com;\"Zoë \"\"x\"\"\nb\"\r\n".encode("cp1252"), "email\tname\na@example.com\t李雷\n".encode("gb18030"),
                   "\ufeffemail,name\na@example.com,b\n".encode("utf-16-le"), "email,name\na@example.com,b\n".encode("utf-32-be")],
    "headers": ["Größe, \"x\" =?utf-8?q?a?=\0Ann, \"B\" (c)\0若水.pdf\0b@example.com\0\"q\" <jürgen@bücher.example>".encode(), b"x" * 1200 + b"\0" + b"a b " * 40 + b"\0a.txt"],
    "templates": [bytes(map(WORDS.index, words)) for words in (
        ["{{ ", "'ab'", " * ", "99999", " | ", "list", " | ", "map(", "'upper'", ")", " | ", "join(", "' '", ")", " }}"], ["{% set n = namespace(v=a) %}", "{% for x in ", "range(", "99999", ")", " %}", "{% set n.v = ", "n.v", " ~ ", "n.v", " %}", "{% endfor %}"],
        ["{% macro m(x) %}", "{{ ", "m(", "x", ")", " }}", "{% endmacro %}", "{{ ", "m(", "9", ")", " }}"], ["{{ ", "'{0}{0}'", ".format(", "a", ")", " | ", "batch(", "3", ",", "a", ")", " | ", "list", " | ", "tojson", " }}"])]}


def timed(target, octets: bytes) -> None:
    """Run a target. Raises what it raises, and TimeoutError for more than MOST_SECONDS of processor time."""
    before = time.thread_time()
    target(octets)
    if (took := time.thread_time() - before) > SLOWEST.get(target.__name__, MOST_SECONDS):
        raise TimeoutError(f"{target.__name__} took {took:.1f} s")


@functools.cache
def _a_campaign():
    return campaign.load(_written("c.yaml", A_CAMPAIGN), secrets=False)


def _read(portions):
    reader, found = ReplyReader(), []
    try:
        for portion in portions:
            for reply in reader.feed(portion):
                found.append(reply)
    except ProtocolError as error:
        # A line without end is told as soon as it is seen, so where depends on the portions.
        return found, "without end" if "line without end" in error.what else error.what
    return found, None


def _portions(octets, sizes):
    at = number = 0
    while at < len(octets):
        size = sizes[number % len(sizes)] + 1
        yield octets[at:at + size]
        at, number = at + size, number + 1


def _message(row, size):
    addresses = tuple(f"p{number}@example.com" for number in range(1 + size % 3))
    content = b"Subject: x\r\n\r\n" + (b".\r\n" if size & 4 else b"\xff\r\n" if size & 8 else b"text\r\n")
    return Message(str(row), row, Envelope("a@example.com", addresses, addresses[size % len(addresses)]), content, "id", 0, "")


def _answers(events):
    return [event for event in events if hasattr(event, "message")]


def _written(name, octets):
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as file:
        file.write(octets)
    return path


def _decodable(octets):
    try:
        octets.decode("utf-8", "surrogatepass" if len(octets) % 2 else "replace")
    except UnicodeDecodeError:
        return False
    return True


def _mailboxes(texts, most):
    for text in texts[:most]:
        with contextlib.suppress(AddressError):
            if (mailbox := parse_mailbox(text)) is not None:
                yield mailbox


def _decoded(value):
    return "".join(part.decode(charset or "ascii") if isinstance(part, bytes) else part for part, charset in email.header.decode_header(value.replace("\r\n", "")))
