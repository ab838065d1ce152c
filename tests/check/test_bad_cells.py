"""The rows of reliability section 4b about cells and addresses: refused with row, column and code point before anything leaves."""

import datetime

import pytest

from conftest import CAMPAIGN
from parsers import with_python
from postroom.check.preflight import Preflight
from postroom.compose.build import Composer
from postroom.errors import Faults, PostroomError
from postroom.read.campaign import load
from postroom.read.recipients import Table
from running import messages_of

EVERYWHERE = CAMPAIGN + ('headers: {X-Note: "{{ note }}"}\ncc: "{{ copy }}"\nattachments: [{file: data.bin, name: "{{ file }}.bin"}]\n')
CELLS = {"email": "zoe@example.com", "first_name": "Zoe", "note": "note", "copy": "copy@example.com", "file": "file"}
LINE_BREAKS = {"CR": "\r", "LF": "\n", "CRLF": "\r\n", "NEL": "\x85", "U+2028": "\u2028", "U+2029": "\u2029"}
CONTROLS = {"VT": "\x0b", "FF": "\x0c", "FS": "\x1c", "GS": "\x1d", "RS": "\x1e", "US": "\x1f", "BEL": "\x07", "ESC": "\x1b", "TAB": "\t", "DEL": "\x7f", "C1 80": "\x80", "C1 9B": "\x9b"}


def faults(folder, **cells):
    """What is wrong with a table whose third line has these cells."""
    row = ",".join('"' + cell.replace('"', '""') + '"' for cell in (CELLS | cells).values())
    folder.campaign(EVERYWHERE)
    folder.write("data.bin", "data")
    folder.write("recipients.csv", f"{','.join(CELLS)}\nann@example.com,Ann,n,c@example.com,f\n{row}\n".encode("utf-8", "surrogatepass"))
    try:
        campaign = load(str(folder.path / "campaign.yaml"), secrets=False)
        return Preflight(Composer(campaign, Table(campaign), datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)), lambda keys: {}, 0.0).run().faults
    except PostroomError as error:
        return error.errors if isinstance(error, Faults) else [error]


def only_fault(folder, **cells):
    fault, = faults(folder, **cells)
    assert "\n" not in str(fault) and fault.do
    return fault


@pytest.mark.parametrize("column", ["first_name", "note", "file", "email", "copy"])
@pytest.mark.parametrize("name", [*LINE_BREAKS, *CONTROLS])
def test_a_control_character_is_named_with_row_column_and_code_point(folder, name, column):
    """reliability 4b: CR, LF, CRLF, VT, FF, FS/GS/RS, NEL, U+2028, U+2029, other C0/C1 in a header, name, file name or envelope."""
    character = (LINE_BREAKS | CONTROLS)[name]
    cell = CELLS[column]

    fault = only_fault(folder, **{column: cell[:2] + character + cell[2:]})

    assert (fault.where.file, fault.where.line, fault.where.column) == ("recipients.csv", 3, column)
    assert f"(U+{ord(character[0]):04X}" in fault.what


def test_nul_is_named_with_its_line(folder):
    """reliability 4b: NUL in a cell."""
    fault = only_fault(folder, note="a\0b")

    assert ("NUL" in fault.what, str(fault.where)) == (True, "recipients.csv, line 3")


@pytest.mark.parametrize("name", [*LINE_BREAKS, "VT", "FF", "FS", "GS", "RS", "TAB"])
def test_what_stands_at_a_cells_end_is_trimmed(folder, name, node):
    """reliability 4b: trailing ones may be trimmed."""
    character = (LINE_BREAKS | CONTROLS)[name]

    assert faults(folder, email=f"zoe@example.com{character}", note=f"note{character}", copy=f"copy@example.com{character}") == []
    message = messages_of(folder)[1]
    for read in (with_python(message.octets), node.parse(message.octets)):
        assert (read.to, read.cc, read.values[read.headers.index("x-note")]) == ([("Zoe", "zoe@example.com")], [("", "copy@example.com")], "note")


def test_a_no_break_space_at_the_end_is_trimmed(folder):
    """traps D11: non-breaking space at the end of an address."""
    assert faults(folder, email="zoe@example.com\xa0", copy="\xa0copy@example.com\u3000") == []
    assert messages_of(folder)[1].envelope.recipients == ("zoe@example.com", "copy@example.com")


@pytest.mark.parametrize("word", ["=?utf-8?q?=0A?=", "=?utf-8?q?a=2C_b=40evil=2Ecom?=", "=?utf-8?b?Cg==?=", "=?utf-8?q?=0D=0ABcc:_x=40evil=2Ecom?= é"])
def test_an_encoded_word_in_a_cell_is_text(folder, node, word):
    """reliability 4b: encoded words in a cell are encoded again, never decoded."""
    assert faults(folder, first_name=word, note=word, file=word) == []
    message = messages_of(folder)[1]

    assert message.envelope.recipients == ("zoe@example.com", "copy@example.com")
    for read in (with_python(message.octets), node.parse(message.octets)):
        assert (read.to, read.cc) == ([(word, "zoe@example.com")], [("", "copy@example.com")])
        assert read.subject == f"{word}, your November digest" and read.values[read.headers.index("x-note")] == word
        assert "bcc" not in read.headers
    assert with_python(message.octets).files[0][0] == f"{word}.bin"


@pytest.mark.parametrize(("name", "character"), [
    ("zero width space", "\u200b"), ("zero width joiner", "\u200d"), ("zero width non-joiner", "\u200c"), ("byte order mark", "\ufeff"), ("right-to-left override", "\u202e"),
    ("right-to-left mark", "\u200f"), ("isolate", "\u2066"), ("Arabic letter mark", "\u061c"), ("soft hyphen", "\xad"), ("word joiner", "\u2060"), ("Hangul filler", "\u3164"),
    ("variation selector", "\ufe0f"), ("tag", "\U000e0041")])
@pytest.mark.parametrize("at", [1, 5, 15])
def test_an_invisible_character_in_an_address_is_named_with_row_column_and_code_point(folder, name, character, at):
    """reliability 4b: bidi controls, zero width and a byte order mark are refused in addresses."""
    address = CELLS["email"]

    fault = only_fault(folder, email=address[:at] + character + address[at:])

    assert (fault.where.file, fault.where.line, fault.where.column) == ("recipients.csv", 3, "email")
    assert f"an invisible character (U+{ord(character):04X} " in fault.what


def test_half_a_character_is_refused_with_its_line(folder):
    """reliability 4b: a lone surrogate."""
    fault = only_fault(folder, first_name="Z\ud800oe")

    assert (fault.where.file, fault.where.line) == ("recipients.csv", 3)
    assert "half a character" in fault.what


@pytest.mark.parametrize(("cell", "words"), [
    ("Doe, John", "not a mail address"), ("a@x.com, b@y.com", "more than one address"), ("a@x.com;b@y.com", "more than one address"), ("<a@x.com>", "a bare address is wanted"),
    ("Bob <a@x.com>", "a bare address is wanted"), ("a@x.com\r\nRSET", "U+000D"), ('"a@evil x"@y.com', "more than one address"), ('"a b"@y.com', "not a mail address"),
    ("a" * 65 + "@x.com", "1 character too many"), ("ü" * 33 + "@x.com", "66 octets stand before the @-sign, 64 at most may"), ("a@" + "b." * 130 + "com", "too long after the @-sign"),
    ("a@" + "b" * 64 + ".com", "1 character too many"), ("a@localhost", "should have a period"), ("a@[127.0.0.1]", "not a mail address"), ("a@127.0.0.1", "not a mail address"),
    ("a..b@x.com", "two periods in a row"), ("a@@x.com", "not a mail address"), ("a@x_y.com", "not a mail address"), ("a b@x.com", "not a mail address"), ("ann", "not a mail address")])
@pytest.mark.parametrize("column", ["email", "copy"])
def test_a_cell_is_one_address_or_refused_with_row_and_column(folder, column, cell, words):
    """reliability 4b and traps D11: one address only, and what is none is told."""
    if column == "copy" and cell in ("<a@x.com>", "Bob <a@x.com>"):
        assert faults(folder, copy=cell) == []  # a mailbox may have a name where no bare address is wanted
        return

    fault = only_fault(folder, **{column: cell})

    assert words in fault.what
    assert fault.where.line == 3 and fault.where.column == column or fault.where.row == 3 and "@" not in cell


@pytest.mark.parametrize("address", ["o'neil@x.com", "a+b@x.museum"])
def test_an_odd_address_is_one_all_the_same(folder, address):
    """traps D11: valid, valid."""
    assert faults(folder, email=address, copy=address) == []


def test_an_international_domain_goes_out_as_a_labels(folder, node):
    """reliability 4b and traps H8: an A-label in envelope and header."""
    assert faults(folder, email="soren@münchen.de") == []
    message = messages_of(folder)[1]

    assert message.envelope.recipients[0] == message.envelope.own == "soren@xn--mnchen-3ya.de"
    for read in (with_python(message.octets), node.parse(message.octets)):
        assert read.to == [("Zoe", "soren@xn--mnchen-3ya.de")]
    assert message.octets.isascii() and not message.needs_smtputf8


@pytest.mark.parametrize("name", ['"X-A\\rBcc"', '"X-A\\nBcc: eve@example.com"', '"X-A: b"', '"X A"', '"X-Ä"', '""', "Bcc", "To"])
def test_a_header_name_that_is_none_or_ours_is_refused(folder, name):
    """reliability 4b: a header name from the campaign with CR, colon, space."""
    folder.more(f"headers:\n  {name}: x\n")

    with pytest.raises(PostroomError) as error:
        load(str(folder.path / "campaign.yaml"), secrets=False)

    assert (error.value.where.file, error.value.where.line) == ("campaign.yaml", 15)
