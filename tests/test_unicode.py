"""Anything in a table's cells: two parsers read what went in, or the row is refused with its place.

Each case is a row of a real CSV file on its way through the table, the templates, the message and the SMTP dialogue. 2,000 cases;
POSTROOM_CASES=100000 sets another number. The share of printable rows that went through is printed.
"""

import csv
import datetime
import html
import os
import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handed_out import handed_out
from parsers import with_python
from postroom.compose.build import Composer
from postroom.errors import PostroomError
from postroom.read.campaign import load
from postroom.read.recipients import Table
from postroom.smtp.protocol import Protocol

CASES = int(os.environ.get("POSTROOM_CASES", "2000"))
LEAST_THROUGH = 0.95
CAMPAIGN = """\
name: any
from: "若水 <news@example.com>"
to: "{{ name }} <{{ email }}>"
cc: '"{{ other }}" <copy@example.com>'
subject: "{{ subject }}"
html: any.html
text: any.txt
recipients: {file: any.csv}
headers: {X-Note: "{{ note }}"}
attachments: [{file: data.bin, name: "{{ file }}.bin"}]
"""
TEXT, HTML = "Hello {{ words }}.\n", "<p title='{{ words }}'>{{ words }}</p>\n"
CELLS = ("name", "other", "subject", "note", "words", "file")
HEADERS = ["date", "from", "to", "cc", "subject", "message-id", "x-note", "mime-version", "content-type"]
# Categories whose characters section 4b refuses in whatever reaches a header or a file name: controls, line and paragraph separators.
REFUSED_CATEGORIES = {"Cc", "Zl", "Zp"}
ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=")

# What other mailers break at, or readers; put together with anything else.
PIECES = ["\r\nBcc: eve@example.com", "\n", "\r", "\0", "\x0b", "\x1c", "\x7f", "\x85", "\u2028", "\t", "=?utf-8?q?=0A?=", "=?utf-8?b?Cg==?=", "=?x?q?", "?=", "=?", "_", "=",
          '"', '""', "\\", "\\\"", ",", ";", ":", "<", ">", "<eve@example.com>", "eve@example.com, ", "(", ")", "[", "]", "@", ".", "..", " ", "  ", "\xa0", "\u3000", "\u200b", "\u200d",
          "\ufeff", "\u202e", "\u2066", "\xad", "{{ 7 * 7 }}", "{% if %}", "{#", "${HOME}", "&amp;", "<b>", "'", "%0d%0a", "%", "*", "/", "\r\n.\r\n", "\n.\n", ".\r\nQUIT\r\n", "é", "e\u0301",
          "若水", "Łukasz", "علی‌رضا", "שלום", "ไทย", "नमस्ते", "👩‍💻", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\U0010ffff", "\ue000", "\u0378", "x" * 70, "若" * 30, "ü" * 40, "a b " * 15]


def bounded(pieces):
    """Below every bound of length, which have tests of their own: a file name has 255 characters at most."""
    return "".join(pieces)[:200]


PRINTABLE = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
PRINTABLE_PIECES = st.sampled_from([piece for piece in PIECES if not {unicodedata.category(one) for one in piece} & REFUSED_CATEGORIES])
PRINTABLE_CELLS = (st.text(PRINTABLE, max_size=40) | st.text(PRINTABLE, min_size=30, max_size=90)
                   | st.lists(PRINTABLE_PIECES | st.text(PRINTABLE, min_size=1, max_size=20), min_size=2, max_size=10).map(bounded))
ANY_CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map(bounded)
PRINTABLE_ROWS = st.fixed_dictionaries(dict.fromkeys(CELLS, PRINTABLE_CELLS) | {"subject": PRINTABLE_CELLS.filter(str.strip)})
PLAIN = dict.fromkeys(CELLS, "x")
LETTERS = st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=20)
ADDRESSES = (st.builds("{}@{}".format, LETTERS, st.sampled_from(["example.com", "münchen.de", "例え.jp"])) | st.builds("ann@{}.com".format, LETTERS)
             | st.builds("{}ann@example.com{}".format, st.sampled_from(PIECES), st.sampled_from(PIECES)) | st.builds("an{}n@example.com".format, st.sampled_from(PIECES)))
ANY_ROWS = st.builds(lambda row, cell, text: row | {cell: text}, PRINTABLE_ROWS, st.sampled_from(CELLS), ANY_CELLS)


class Street:
    """One campaign compiled once; every case brings a table of its own."""

    def __init__(self, folder):
        for name, content in (("any.yaml", CAMPAIGN), ("any.html", HTML), ("any.txt", TEXT), ("data.bin", "data"), ("any.csv", "email," + ",".join(CELLS) + "\n")):
            (folder / name).write_text(content, encoding="utf-8")
        self.path, self.campaign = folder / "any.csv", load(str(folder / "any.yaml"), secrets=False)
        self.composer = Composer(self.campaign, Table(self.campaign), datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC))

    def walked(self, row, email="ann@example.com"):
        """The row's Message. Raises PostroomError where the row is refused."""
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("email", *CELLS), (email, *(row[cell] for cell in CELLS))])
        self.composer.table = table = Table(self.campaign)
        (line, found), = (row for chunk in table.chunks(pytest.fail) for row in chunk)
        return self.composer.message(self.composer.render(found, line, email), 1_795_000_000)


@pytest.fixture
def street(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Street(tmp_path)


def holds_refused(text):
    return any(unicodedata.category(one) in REFUSED_CATEGORIES for one in text)


def refusal(row):
    """(words, column) of why section 4b wants this row refused; None where it must go through. The list is closed."""
    if any("\0" in row[cell] for cell in CELLS):
        return "NUL character", None
    for cell, field, text in (("name", "to", row["name"].strip()), ("other", "cc", row["other"].strip()), ("subject", "subject", row["subject"].strip()),
                              ("note", "headers.X-Note", row["note"].strip()), ("file", "attachments", row["file"].strip())):
        if cell == "subject" and not text:
            return "the subject is empty", None
        if holds_refused(text):
            return f"would reach {field}", cell
    return None


def named(cell):
    """A display name as it must be read: trimmed, and without quotes around all of it."""
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', cell.strip())
    return re.sub(r"\\(.)", r"\1", quoted[1]).strip() if quoted else cell.strip()


def file_named(cell):
    """A file name as it must be read: trimmed (the cell too where a line break ends it), and what a path would lead to."""
    name = f"{cell}.bin".strip()
    return (f"{cell.strip()}.bin" if holds_refused(name) else name).replace("\\", "/").split("/")[-1].strip()


def one_line_end(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Exactly:
    """How Python's parser is compared: it gives back what went in."""

    @staticmethod
    def text(text):
        return text

    @staticmethod
    def file(name, wanted):
        return name


class ByPostalMime:
    """How postal-mime is compared: as Exactly, but for two faults of its own that are no fault of the message."""

    @staticmethod
    def text(text):
        # It loses U+FEFF at the start of each encoded word, for it decodes with a WHATWG decoder that takes it for a byte order mark. An
        # encoded word names its charset (RFC 2047 section 2), and where UTF-8 is known, U+FEFF is a character (RFC 3629 section 6).
        return text and text.replace("\ufeff", "")

    @staticmethod
    def file(name, wanted):
        # It decodes encoded words in a file name that RFC 2231 brought: there are none (section 4: percent-encoded octets, no more).
        return wanted if ENCODED_WORD.search(wanted) else name


def must_read(read, row, compared=Exactly):
    """Assert that a parser found in the message what went into the table."""
    words = one_line_end(row["words"])
    text, file_name = compared.text, file_named(row["file"])
    escaped = html.escape(words).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    assert [(text(name), address) for name, address in read.to] == [(text(named(row["name"])), "ann@example.com")]
    assert [(text(name), address) for name, address in read.cc] == [(text(named(row["other"])), "copy@example.com")]
    assert read.from_ == [("若水", "news@example.com")] and read.reply_to == []
    assert text(read.subject) == text(row["subject"].strip())
    assert text(dict(zip(read.headers, read.values, strict=True)).get("x-note")) == text(row["note"].strip() or None)
    assert read.text == f"Hello {words}.\n"
    assert read.html == f"<p title='{escaped}'>{escaped}</p>\n"
    files = [(text(compared.file(name, file_name)), *rest) for name, *rest in read.files]
    assert files == [(text(file_name), "application/octet-stream", None, b"data")]


def must_be_well_formed(octets, row):
    """Assert the rules of the wire by the octets alone, without any parser."""
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n") and b"\0" not in octets and octets.endswith(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998 and octets.isascii()
    lines = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    names = [line.partition(b":")[0].decode().lower() for line in lines if line[:1] not in b" \t"]
    assert all(line.strip() for line in lines)
    assert names == [name for name in HEADERS if name != "x-note" or row["note"].strip()]


def must_be_said(message, own="ann@example.com", parameters=""):
    """Assert that the dialogue is the one of RFC 5321 section 3.3: two recipients, one body, one end."""
    core, said = Protocol(), []
    for reply in (b"220 relay.test\r\n", *[b"250 OK\r\n"] * 3, b"354 go ahead\r\n", b"250 taken\r\n"):
        core.receive(reply)
        if not said:
            core.begin(message, {"SMTPUTF8": "", "8BITMIME": ""})
        written = [octets for _, octets in handed_out(core)]
        core.wrote(sum(map(len, written)))
        said += written
    *commands, body = said
    assert [command.decode() for command in commands] == [f"MAIL FROM:<news@example.com>{parameters}\r\n", f"RCPT TO:<{own}>\r\n", "RCPT TO:<copy@example.com>\r\n", "DATA\r\n"]
    assert body.endswith(b"\r\n.\r\n") and body.count(b"\r\n.\r\n") == 1 and not body.startswith(b".\r\n")
    assert b"\r\n".join(line.removeprefix(b".") for line in body[:-3].split(b"\r\n")) == message.octets


@pytest.mark.timeout(120 + CASES // 10)
def test_any_row_comes_back_from_two_parsers_or_is_refused_with_its_place(street, node, record_property):
    seen = Counter()

    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(PRINTABLE_ROWS | ANY_ROWS)
    # What the random rows found, each once a fault of ours: a file name decoded as an encoded word, one that lost its first blank, a name
    # that lost quotes which were no pair, a line break at a cell's end.
    @example(PLAIN | {"file": "=??Q?=00"})
    @example(PLAIN | {"file": "=?utf-8?q?=0A?="})
    @example(PLAIN | {"file": "/ "})
    @example(PLAIN | {"name": '"a" and "b"', "other": '"a" and "b"'})
    @example(PLAIN | {"name": '" a "', "other": '"'})
    @example(PLAIN | {"name": "Ann\n", "file": "list\r\n"})
    def walk(row):
        printable = not any(holds_refused(text) for text in row.values())
        seen["rows"] += 1
        seen["printable"] += printable
        expected = refusal(row)
        try:
            message = street.walked(row)
        except PostroomError as error:
            assert expected, f"refused, and no class of section 4b: {error}"
            words, column = expected
            seen[words] += 1
            assert words in error.what
            assert (error.where.file, error.where.line or error.where.row) == ("any.csv", 2) or words in ("NUL character", "the subject is empty")
            assert error.where.row == 2 or error.where.file == "any.csv" and error.where.line >= 2
            assert column is None or column in error.where.column.split(", ") and re.search(r"\(U\+[0-9A-F]{4,6}\)", error.what)
            return
        assert not expected, f"went through, and must be refused: {expected}"
        seen["through"] += printable
        must_be_well_formed(message.octets, row)
        assert message.envelope.recipients == ("ann@example.com", "copy@example.com")
        must_read(with_python(message.octets), row)
        must_read(node.parse(message.octets), row, ByPostalMime)
        must_be_said(message)

    walk()

    share = seen["through"] / seen["printable"]
    refused = ", ".join(f"{number:,} {words}" for words, number in seen.items() if words not in ("rows", "printable", "through"))
    record_property("figure", f"{seen['rows']:,} rows of any Unicode: {share:.2%} of {seen['printable']:,} printable ones went through; refused: {refused}")
    assert share >= LEAST_THROUGH and seen["rows"] >= CASES


@pytest.mark.timeout(120 + CASES // 10)
def test_any_address_is_one_recipient_or_refused_with_its_place(street, node):
    """Also beyond ASCII: what goes out is what was in the cell but for NFC and the domain's A-labels, and no parser sees another."""
    seen = Counter()

    @settings(max_examples=CASES // 10, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(ADDRESSES | ANY_CELLS)
    def walk(cell):
        try:
            message = street.walked(PLAIN, cell)
        except PostroomError as error:
            seen["refused"] += 1
            assert (error.where.file, error.where.column) == ("any.csv", "email") and error.where.line == 2 or "\0" in cell and "NUL" in error.what
            return
        own = message.envelope.own
        seen["plain" if own.isascii() else "beyond ASCII"] += 1
        assert message.envelope.recipients == (own, "copy@example.com") and own.isprintable() and own.count("@") == 1
        local, _, domain = own.partition("@")
        assert local == unicodedata.normalize("NFC", cell.strip().rpartition("@")[0]) and domain.isascii()
        assert message.octets.isascii() == own.isascii() and max(map(len, message.octets.split(b"\r\n"))) <= 998
        must_be_said(message, own, "" if own.isascii() else " BODY=8BITMIME SMTPUTF8")
        for read in (with_python(message.octets), node.parse(message.octets)):
            assert (read.to, read.cc, read.headers) == ([("x", own)], [("x", "copy@example.com")], HEADERS)

    walk()

    assert len(seen) == 3
