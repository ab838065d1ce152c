"""The bad-input matrix (reliability, section 4b): every row, through the command line, with a relay that counts who calls.

Each input is refused by `send --yes` and by `check` alike: exit 2, a few lines with the place and the fix, no traceback, and not
one connection (goal 11). What a row only warns of is told, and no reason to stop. The single modules' tests have more inputs
of each kind; here stands that none of them gets as far as the relay.
"""

import os
import re
from pathlib import Path

import pytest

from conftest import CAMPAIGN, Folder
from parsers import with_python
from relay import Relay
from running import composed, postroom
from typed import Typed

MOST_LINES = 6
PLACE = re.compile(r"(campaign\.yaml|recipients\.csv|digest\.html|digest\.txt|part\.html|\.env)(, line \d+)?(, column \w+)?(, row \d+ of the recipients)?: ")
NAMED = "email,first_name\nann@example.com,Ann\n"
ATTACHED = 'attachments: ["{{ first_name }}"]\n'


def cells(email="zoe@example.com", name="Zoe"):
    """A table whose third line has these cells."""
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in (email, name))
    return {"recipients.csv": f"{NAMED}{quoted}\n".encode("utf-8", "surrogatepass")}


def campaign(more="", **replaced):
    """The usual campaign with more lines, and values of its keys replaced."""
    text = CAMPAIGN + more
    for key, value in replaced.items():
        text, found = re.subn(rf"(?m)^{key.rstrip('_')}: .*$", lambda _: f"{key.rstrip('_')}: {value}", text)
        assert found == 1
    return {"campaign.yaml": text}


def relayed(**keys):
    """The usual campaign with these keys of `smtp` as well."""
    return campaign("".join(f"  {key}: {value}\n" for key, value in keys.items()))


def attached(path, **made):
    """A campaign whose second recipient gets this file. made: what is there instead of a file with content."""
    return {**campaign(ATTACHED), "recipients.csv": f"email,first_name\nann@example.com,fine.pdf\nzoe@example.com,{path}\n", "fine.pdf": "x", **made}


def pipe(path):
    os.mkfifo(path)


def link_to(target):
    return lambda path: path.symlink_to(target)


def folder(path):
    path.mkdir()


CONTROLS = {"CR": "\r", "LF": "\n", "CRLF": "\r\n", "VT": "\x0b", "FF": "\x0c", "FS": "\x1c", "GS": "\x1d", "RS": "\x1e", "US": "\x1f", "NEL": "\x85", "LS": "\u2028", "PS": "\u2029", "TAB": "\t",
            "BEL": "\x07", "ESC": "\x1b", "DEL": "\x7f", "C1": "\x9b"}
UNSEEN = {"right-to-left override": "\u202e", "isolate": "\u2066", "zero width space": "\u200b", "zero width joiner": "\u200d", "byte order mark": "\ufeff", "soft hyphen": "\xad"}
ADDRESSES = ["Doe, John", "a@x.com, b@y.com", "a@x.com;b@y.com", "<a@x.com>", "Bob <a@x.com>", '"a@evil x"@y.com', '"a b"@y.com', '"a\\"b"@y.com', f"{'a' * 65}@x.com", "a@" + "b." * 130 + "com", "a@localhost", "a@[127.0.0.1]",
             "a@[IPv6:::1]", "a@127.0.0.1", "a..b@x.com", ".a@x.com", "a@@x.com", "a@", "@x.com", "a b@x.com", "a@x.com\\r\\nRSET", "a@x.com> SIZE=1", "a(b)@x.com", "a@x.com%0d%0aRSET"]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9))
YAML = {"unknown key": ("subjct: x\n", '"subjct" is not known'), "duplicate key": ("name: x\n", 'the key "name" stands here'), "python tag": ("vars: {x: !!python/object/apply:os.system [id]}\n", "line 14"),
        "local tag": ("vars: {x: !env PASSWORD}\n", "line 14"), "aliases": (BOMB, "aliases make this file too large"), "merge key": ("x: &x {a: b}\nvars: {<<: *x}\n", "line 1"), "depth": ("vars: {x: " + "[" * 60 + "]" * 60 + "}\n", "nested more than"),
        "depth without end": ("vars: {x: " + "[" * 100_000 + "\n", "line 14"), "too large": ("# " + "x" * (1 << 20) + "\n", "octets"), "tab": ("vars:\n\tx: y\n", "spaces, not tabs"), "second document": ("---\nname: x\n", "line"),
        "not UTF-8": (b"vars: {x: \xff}\n", "is not UTF-8"), "NUL": ("vars: {x: 'a\0b'}\n", "NUL"), "UTF-16": (CAMPAIGN.encode("utf-16"), "line"), "alias to itself": ("vars: &v {x: *v}\n", "line 14")}
TEMPLATES = {"syntax": ("<p>\n{% if x %}</p>", "digest.html, line 2: template syntax"), "unknown tag": ("{% load x %}", "digest.html, line 1"), "unknown filter": ("{{ first_name | rot13 }}", "digest.html, line 1"),
             "undefined": ("<p>\n{{ plan }}", 'digest.html, line 2, row 2 of the recipients: "plan" is neither'), "undefined in one row": ("{% if first_name == 'Zoë' %}{{ plan }}{% endif %}", "row 3 of the recipients"),
             "missing include": ("{% include 'gone.html' %}", 'there is no template "gone.html"'), "include above": ("{% include '../x.html' %}", "leads out of the template's folder"), "absolute include": ("{% include '/etc/passwd' %}", "leads out"),
             "include with a backslash": ("{% include '..\\\\x.html' %}", "leads out"), "include of .env": ("{% include '.env' %}", "never goes into a mail"), "include of the journal": ("{% include '.postroom/x' %}", "row 2 of the recipients"),
             "extends above": ("{% extends '../x.html' %}", "leads out"), "include of itself": ("{% include 'digest.html' %}", "includes or calls itself without end"), "autoescape off": ("{{ first_name | safe }}", 'the column "first_name" is passed through as HTML'),
             "autoescape block": ("{% autoescape false %}{{ first_name }}{% endautoescape %}", "is passed through as HTML"), "result too large": ("{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "makes more than"),
             "a wide format": ("{{ '%999999999d' % 1 }}", "makes more than"), "center": ("{{ 'x'.center(999999999) }}", "makes more than"), "a range without end": ("{% for a in range(999999999) %}{% endfor %}", "digest.html, line 1"),
             "inner workings": ("{{ ''.__class__.__mro__ }}", "digest.html, line 1"), "the environment": ("{{ env.PATH }}", '"env" is neither'), "divided by nothing": ("{{ 1 // 0 }}", "digest.html, line 1"), "empty": ("  ", "empty for this row")}

# Row of the matrix -> input -> (files, what must be said). `send --yes` and `check` refuse each.
REFUSED = {
    "control characters in a cell": {
        **{f"{name} in a name": (cells(name=f"Zo{one}e"), f"recipients.csv, line 3, column first_name: a {{}} (U+{ord(one[0]):04X}) would reach") for name, one in CONTROLS.items()},
        **{f"{name} in an address": (cells(f"zoe{one}@example.com"), f"(U+{ord(one[0]):04X}") for name, one in CONTROLS.items()},
        **{f"{name} in a file name": ({**campaign('attachments: [{file: fine.pdf, name: "{{ first_name }}.pdf"}]\n', to='"{{ email }}"', subject="x"), **cells(name=f"Zo{one}e"), "fine.pdf": "x"}, f"(U+{ord(one[0]):04X}) would reach attachments")
           for name, one in CONTROLS.items()},
        **{f"{name} in a header": ({**campaign('headers: {X-Note: "{{ first_name }}"}\n', to='"{{ email }}"', subject="x"), **cells(name=f"Zo{one}e")}, f"(U+{ord(one[0]):04X}) would reach headers.X-Note") for name, one in CONTROLS.items()},
        "NUL": (cells(name="Z\0oe"), "NUL"), "a header in a name": (cells(name="Zoe\r\nBcc: eve@example.com"), "a line break (U+000D)"), "a command in an address": (cells("a@x.com\r\nRSET"), "(U+000D"),
        "half a character": (cells(name="Z\ud800"), "half a character")},
    "characters that nobody sees, in an address": {name: (cells(f"z{one}oe@example.com"), f"an invisible character (U+{ord(one):04X}") for name, one in UNSEEN.items()},
    "one address": {address[:40]: (cells(address), "recipients.csv, line 3") for address in ADDRESSES},
    "a header name": {name: (campaign(f"headers: {{{name}: x}}\n"), "campaign.yaml, line 14") for name in ('"X-A\\rBcc"', '"X-A\\nBcc"', '"X-A:"', '"X A"', '"X-Ä"', '""', '"X-A\\0"', "Bcc", "content-type", "DKIM-Signature")},
    "YAML": {name: ({"campaign.yaml": more if isinstance(more, bytes) and name == "UTF-16" else CAMPAIGN.encode() + (more.encode() if isinstance(more, str) else more)}, word) for name, (more, word) in YAML.items()},
    "template": {name: ({"digest.html": source, ".env": "A=b"}, word) for name, (source, word) in TEMPLATES.items()},
    "attachment": {
        "missing": (attached("gone.pdf"), '"gone.pdf": there is no such file'), "directory": (attached("made", made=folder), '"made" is not a regular file'), "FIFO": (attached("made", made=pipe), '"made" is not a regular file'),
        "device": ({**attached("/dev/null"), **campaign(f"{ATTACHED}allow_paths: [/dev]\n")}, "is not a regular file"), "unreadable": ({**attached("/proc/self/mem"), **campaign(f"{ATTACHED}allow_paths: [/proc]\n")}, "/proc/self/mem"),
        "outside by ..": (attached("../../x.pdf"), "leads out of the project's root"), "absolute": (attached("/etc/passwd"), "leads out of the project's root"), "a link that leads out": (attached("made", made=link_to("/etc/passwd")), "leads out"),
        "a link to nothing": (attached("made", made=link_to("gone")), "there is no such file"), "a link to itself": (attached("made", made=link_to("made")), '"made"'), ".env": (attached(".env", **{".env": "A=b"}), "never goes into a mail"),
        "the journal": (attached(".postroom/x"), "never goes into a mail"), "a folder in its name": (attached("fine.pdf/x"), '"fine.pdf/x"'), "too large": (attached("made", made=b"x" * ((50 << 20) + 1)), "is larger than"),
        "a NUL in its name": (cells(name="a\0b"), "NUL"), "out of its folder": ({**campaign('attachments: ["files/{{ first_name }}"]\n'), **cells(name="../campaign.yaml"), "files/Ann": "x"}, "leads out of files")},
    "no recipients": {"empty": ({"recipients.csv": ""}, "the table is empty"), "a header alone": ({"recipients.csv": "email,first_name\n"}, "the table has no rows"), "missing": ({"recipients.csv": None}, "there is no such file"),
                      "blank rows alone": ({"recipients.csv": "email,first_name\n,\n ,\n"}, "the table has no rows"),
                      "none that `where` wants": (campaign(subject="x") | {"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  where: first_name == 'Nobody'\n")}, "`where` is true for none")},
    "newsletter without unsubscribe": {"none": (campaign("kind: newsletter\n"), "must say how to unsubscribe"), "an empty one": (campaign("kind: newsletter\nunsubscribe: {}\n"), "give `mailto`, `url`, or both"),
                                       "not over https": (campaign("kind: newsletter\nunsubscribe: {url: 'http://example.com'}\n"), "must begin with https://")},
    "subject": {"empty": (campaign(subject='"{{ first_name }}"') | {"recipients.csv": NAMED + "zoe@example.com,\n"}, "the subject is empty"), "blank": (campaign(subject='"  "'), "the subject is empty"),
                "without end": (campaign(subject="x" * 10_001), "a header holds 10,000 at most")},
    "sender is not the login": {name: (relayed(provider=name, username="ann@example.com"), "takes mail from its own login only") for name in ("qq", "163", "126", "yandex", "aliyun-dm")},
    "a link that a cell brought": {scheme: ({"digest.html": '<a href="{{ first_name }}">x</a>', **campaign(to='"{{ email }}"', subject="x"), **cells(name=f"{scheme}:x")}, f'begins with "{scheme}:"') for scheme in ("javascript", "data", "file", "vbscript")},
}
# What only `send` needs: it connects, or would.
REFUSED_BY_SEND = {
    "missing environment variable": {"password": (relayed(username="ann", password="${POSTROOM_TEST_GONE}"), "POSTROOM_TEST_GONE is not set"), "with words of our own": (relayed(username="ann", password="${POSTROOM_TEST_GONE:?ask Zoe}"), "ask Zoe"),
                                     "host": (campaign() | {"campaign.yaml": CAMPAIGN.replace("host: 127.0.0.1", "host: ${POSTROOM_TEST_GONE}")}, "POSTROOM_TEST_GONE is not set")},
    "a line of .env that is none": {"no name": ({".env": "this is nothing\n"}, ".env, line 1"), "not UTF-8": ({".env": b"A=\xff\n"}, "not UTF-8")},
    "no relay": {"none": ({"campaign.yaml": CAMPAIGN.partition("smtp:")[0]}, "`smtp` is missing")},
}
# What is told and lets the mail go: `check` and a dry run say so.
WARNED = {
    "characters that nobody sees, in a name": {name: (cells(name=f"Zo{one}e"), f"recipients.csv, line 3, column first_name: the name holds an invisible character (U+{ord(one):04X}") for name, one in UNSEEN.items()},
    "homograph domain": {"Cyrillic": (cells("zoe@gmаil.com"), "looks like"), "mixed": (cells("zoe@exаmple-x.com"), "mixes")},
    "attachment": {"0 bytes": (attached("made", made=""), 'the attachment "made" is empty'), "same name twice": ({**campaign("attachments: [fine.pdf, a/fine.pdf]\n"), "fine.pdf": "x", "a/fine.pdf": "y"}, 'two attachments are called "fine.pdf"'),
                   "executable type": (attached("made.exe", **{"made.exe": "MZ"}), '"made.exe" is a program')},
    "a secret in sight": {"password": (relayed(username="ann", password="secret"), "the password stands in this file"), "password as a default": (relayed(username="ann", password="${POSTROOM_TEST_GONE:-secret}"), "the password stands in this file"),
                          "unsubscribe secret": (campaign("unsubscribe: {mailto: a@example.com, secret: long}\n"), "the secret that signs the unsubscribe links stands in this file"),
                          "world-readable .env": ({".env": ("A=b\n", 0o644)}, "others on this machine may read this file"), "group-readable .env": ({".env": ("A=b\n", 0o640)}, "chmod 600 .env")},
    "subject": {"over 200": (campaign(subject="x" * 201), "the subject has 201 characters")},
    "sender is not the login": {name: (relayed(provider=name, username="ann@example.org"), "`from` is at example.com, the login at example.org") for name in ("gmail", "icloud", "outlook", "yahoo")},
    "nobody to answer to": {name: (campaign(from_=f"{name}@example.com"), f'nobody reads what people answer to "{name}@example.com"') for name in ("noreply", "no-reply", "do-not-reply", "No_Reply", "donotreply+x")},
    "a link in the template": {"javascript": ({"digest.html": '<p><a href="javascript:void(0)">x</a>'}, 'digest.html, line 1: the link "javascript:void(0)"')},
}
# Rows whose inputs would be the same again: where their tests are. (Spreadsheets and suppression lists are not read yet.)
ELSEWHERE = {
    "jürgen@x without SMTPUTF8": ["cli/test_smtputf8.py"], "IDN domain as an A-label": ["check/test_bad_cells.py"], "commas, quotes, delimiters, rows and columns, binary files": ["cli/test_tables.py", "read/test_recipients.py"],
    "encodings": ["read/test_encoding.py", "cli/test_tables.py"], "larger than EHLO SIZE": ["cli/test_send.py"], "loop without end": ["compose/test_templates.py"]}


def inputs(rows):
    return [pytest.param(*rows[row][name], id=f"{row}: {name}") for row in rows for name in rows[row]]


@pytest.fixture(scope="module")
def listening():
    with Relay() as relay:
        yield relay


@pytest.fixture
def counting(listening):
    """A relay that must never be called."""
    listening.connections = 0
    return listening


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    with Typed(tmp_path_factory.mktemp("typed")) as typed:
        yield typed


@pytest.fixture
def made(tmp_path, counting):
    """A project with these files, whose relay is the counting one."""
    def make(files):
        folder = Folder(tmp_path)
        for name, content in {"campaign.yaml": CAMPAIGN, **files}.items():
            mode = 0o600 if name == ".env" else 0o644
            if isinstance(content, tuple):
                content, mode = content
            if callable(content):
                content(folder.path / name)
            elif content is None:
                (folder.path / name).unlink()
            else:
                octets = content.encode() if isinstance(content, str) else content
                folder.write(name, octets.replace(b"port: 2525", b"port: %d" % counting.port)).chmod(mode)
        return folder.path

    return make


def assert_refused(said, words, relay):
    lines = said.err.rstrip().split("\n")
    assert (said.exit, relay.connections) == (2, 0), said.err
    assert len(lines) <= MOST_LINES and max(map(len, lines)) < 800, said.err
    assert PLACE.search(said.err), said.err
    assert any(line.startswith("  ") and len(line) > 8 for line in lines), "what to do is missing"
    assert all(part in said.err for part in words.split("{}")), said.err
    assert "Nothing was sent" in said.err


@pytest.mark.parametrize(("files", "words"), inputs(REFUSED))
def test_bad_input_is_refused_before_any_connection(made, typed, counting, files, words):
    """reliability 4b and goal 11."""
    project = made(files)

    assert_refused(typed(project, "send", "campaign.yaml", "--yes"), words, counting)
    assert_refused(typed(project, "check", "campaign.yaml"), words, counting)
    assert typed(project, "check", "campaign.yaml", "--json").json["exit"] == 2


@pytest.mark.parametrize(("files", "words"), inputs(REFUSED_BY_SEND))
def test_what_a_connection_needs_is_missed_before_it(made, typed, counting, files, words):
    """reliability 4b and goal 11."""
    assert_refused(typed(made(files), "send", "campaign.yaml", "--yes"), words, counting)


@pytest.mark.parametrize(("files", "words"), inputs(WARNED))
def test_odd_input_is_told_and_lets_the_mail_go(made, typed, counting, files, words):
    """reliability 4b: what is only warned of."""
    project = made(files)

    said = typed(project, "check", "campaign.yaml")
    assert (said.exit, counting.connections) == (0, 0), said.err
    assert words in said.err and "Note: " in said.err
    dry = typed(project, "send", "campaign.yaml", "--dry-run")
    assert dry.exit == 0 and words in dry.err, dry.err


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_rows_that_others_test_are_there(row):
    for path in ELSEWHERE[row]:
        assert "def test_" in (Path(__file__).parent / path).read_text(encoding="utf-8")


def test_all_rows_are_looked_at_before_the_first_is_refused(made, typed, counting):
    """reliability 4b, attachments: collected for all rows."""
    project = made({**campaign(ATTACHED), "recipients.csv": "email,first_name\n" + "".join(f"p{number}@example.com,gone{number}.pdf\n" for number in range(4))})

    said = typed(project, "check", "campaign.yaml", "--json").json

    assert [(fault["where"]["row"], fault["what"]) for fault in said["errors"]] == [(2 + number, f'"gone{number}.pdf": there is no such file') for number in range(4)]
    assert counting.connections == 0


@pytest.mark.parametrize("word", ["=?utf-8?q?=0A?=", "=?utf-8?q?=0D=0ABcc:_eve=40evil=2Ecom?=", "=?utf-8?q?a=2C_b=40evil=2Ecom?=", "=?utf-8?b?YSwgYkBldmlsLmNvbQ==?= ü", "=?iso-8859-1?q?a?= =?utf-8?q?b?="])
def test_an_encoded_word_in_a_cell_reaches_people_as_it_is(folder, relay, word):
    """reliability 4b: treated as literal text and encoded again, never decoded."""
    folder.relay(relay.port)
    folder.write("recipients.csv", f'email,first_name\nann@example.com,"{word}"\n')

    assert postroom("send", "campaign.yaml", "--yes").exit == 0

    read = with_python(relay.taken[0].octets)
    assert relay.recipients() == ["ann@example.com"]
    assert (read.to, read.subject) == ([(word, "ann@example.com")], f"{word}, your November digest")
    assert "bcc" not in read.headers and read.headers.count("to") == 1


def test_yaml_keeps_what_was_typed(folder):
    """reliability 4b: `NO`, `1.10`, `0213`, `12:30` where text is meant."""
    folder.more("vars: {a: NO, b: 1.10, c: 0213, d: 12:30, e: 2026-11-24, f: 1_000, g: 0x1F, h: 1e5, i: yes}\n")
    folder.write("digest.txt", "{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }} {{ g }} {{ h }} {{ i }}")

    assert composed(folder)[1][0].text == "NO 1.10 0213 12:30 2026-11-24 1_000 0x1F 1e5 yes"


def test_html_is_escaped_whatever_its_file_is_called(folder):
    """reliability 4b: `.html.j2`, which Jinja2's own choice does not escape."""
    folder.campaign(CAMPAIGN.replace("digest.html", "digest.html.j2").replace("{{ first_name }} <{{ email }}>", "{{ email }}").replace("{{ first_name }}, your", "Your"))
    for name in ("digest.html.j2", "digest.txt"):
        folder.write(name, "<p>{{ first_name }}{% include 'part.txt' %}" if name.endswith("j2") else "{{ first_name }}")
    folder.write("part.txt", "{{ first_name }}")
    folder.write("recipients.csv", 'email,first_name\nann@example.com,<b>&"\n')

    rendered = composed(folder)[1][0]

    assert (rendered.html, rendered.text) == ("<p>" + "&lt;b&gt;&amp;&#34;" * 2, '<b>&"')
