"""The table: every cell is the text of the file, every fault names the physical line."""

import csv
import gzip
import io
import random
import re
import subprocess
import sys
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CAMPAIGN
from postroom.errors import RecipientError
from postroom.read.campaign import load
from postroom.read.recipients import Table


def table(folder, content, more=""):
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", f"  file: recipients.csv\n{more}"))
    folder.write("recipients.csv", content)
    return Table(load("campaign.yaml", secrets=False))


def rows(opened, report=pytest.fail):
    return [row for chunk in opened.chunks(report) for row in chunk]


def cells(opened):
    return [list(row.values()) for _, row in rows(opened)]


def test_cells_stay_the_text_of_the_file(folder):
    odd = ["007", "1E5", "NA", "nan", "", "None", "true", "1.10", "2026-11-23", " x ", "NULL", "-", "1,5", "inf", "<NA>", "ü", "若水", "\u00a0", "'", "=1+1"]
    header = ",".join(f"c{number}" for number in range(len(odd)))
    opened = table(folder, f"email,{header}\na@example.com," + ",".join(f'"{cell}"' if "," in cell else cell for cell in odd) + "\n")

    assert cells(opened) == [["a@example.com", *odd]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_found_with_and_without_a_byte_order_mark(folder, delimiter, mark, end):
    line = delimiter.join
    opened = table(folder, mark + line(["email", "first_name"]) + end + line(["a@example.com", "Ann"]) + end)

    assert (opened.delimiter, opened.columns, cells(opened)) == (delimiter, ["email", "first_name"], [["a@example.com", "Ann"]])


def test_one_column_is_a_table_too(folder):
    assert cells(table(folder, "email\na@example.com\nb@example.com\n")) == [["a@example.com"], ["b@example.com"]]


def test_other_separators_inside_cells_do_not_mislead(folder):
    """reliability 4b: two delimiters."""
    opened = table(folder, 'email;"a, b, c, d, e";x|y|z\na@example.com;1,2;3|4\n')

    assert (opened.delimiter, opened.columns) == (";", ["email", "a, b, c, d, e", "x|y|z"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_names_in_quotes_are_split_by_the_right_delimiter(folder, delimiter):
    line = delimiter.join
    opened = table(folder, line(['"email"', '"first, name"']) + "\n" + line(['"a@example.com"', '"Ann; | "']) + "\n")

    assert (opened.columns, cells(opened)) == (["email", "first, name"], [["a@example.com", "Ann; | "]])


def test_a_header_whose_quotes_do_not_match_is_told(folder):
    with pytest.raises(RecipientError, match="quotes in this row do not match|never closed") as error:
        table(folder, '"email" x,b\na@example.com,Ann\n')

    assert error.value.where.line == 1


def test_a_delimiter_may_be_given(folder):
    assert table(folder, "email;a|b\nx;1|2\n", '  email: "email;a"\n  delimiter: "|"\n').columns == ["email;a", "b"]


def test_cells_may_span_lines_and_rows_are_named_by_the_line_they_begin_in(folder):
    opened = table(folder, 'email,note\na@example.com,"one\ntwo ""2"", three"\nb@example.com,x\n\nc@example.com,y\n')

    assert rows(opened) == [(2, {"email": "a@example.com", "note": 'one\ntwo "2", three'}), (4, {"email": "b@example.com", "note": "x"}),
                            (6, {"email": "c@example.com", "note": "y"})]


def test_header_names_are_trimmed_with_a_note(folder):
    opened = table(folder, " email ,First Name \na@example.com,Ann\n")

    assert opened.columns == ["email", "First Name"]
    assert [note.what for note in opened.notes] == ['blanks around the column name "email" were left out', 'blanks around the column name "First Name" were left out']


@pytest.mark.parametrize(("header", "words", "column"), [("email,name,name", 'two columns are called "name"', 3), ("email,a,email ", 'two columns are called "email"', 3),
                                                         ("email,,x", "a column has no name", 2), ("email,a,", "a column has no name", 3)])
def test_a_header_that_names_nothing_or_twice_is_refused(folder, header, words, column):
    """reliability 4b: duplicate or empty column name."""
    with pytest.raises(RecipientError, match=words) as error:
        table(folder, header + "\na,b,c\n")

    assert (error.value.where.line, error.value.where.column) == (1, column)


def test_blank_rows_are_counted_and_left_out(folder):
    opened = table(folder, "email,a\na@example.com,1\n,\n \n  ,  \nb@example.com,2\n\n\n,\n")

    assert [line for line, _ in rows(opened)] == [2, 6]
    assert opened.blank == 6


def test_rows_too_long_or_too_short_are_all_told_with_their_line(folder):
    """traps D3, D4; reliability 4b: short or long row, unquoted comma."""
    faults = []

    found = rows(table(folder, "email,a\nx@example.com\nb@example.com,2\nc@example.com,3,4\nd@example.com,5\n"), faults.append)

    assert [line for line, _ in found] == [3, 5]
    assert [(str(fault.where), fault.what) for fault in faults] == [
        ("recipients.csv, line 2", "the row has 1 cells, the header 2: a and what follows is missing"),
        ("recipients.csv, line 4", 'the row has 3 cells, the header 2: "4" is too much')]


@pytest.mark.parametrize(("content", "words", "line"), [
    ('email,a\nx@example.com,"open\nb@example.com,1\n', "never closed", 2), ('email,a\nx@example.com,1\nb@example.com,"x"y\n', "quotes in this row do not match", 3),
    ("email,a\nx@example.com,1\0\n", "NUL", 2), ("email,a\nx@example.com," + "y" * (1 << 20) + "z\n", "over 1,048,576 characters", 2),
    ("email,a\nx@example.com," + "y" * (9 << 20), "over 1,048,576 characters", 2), ("email,a\nx@example.com," + "y," * (5 << 20), "at most 1,000 columns", 2),
    ('email,a\nx@example.com,"' + "y\n" * (1 << 20), "over 1,048,576 characters", 2), ("email,a\nx@example.com" + ("," + "y" * (1 << 19)) * 20, "over 8,388,608 characters", 2)],
    ids=["never closed", "stray quote", "NUL", "a cell over 1 MiB", "a line without end", "ten million cells", "a quote never closed", "a row over 8 MiB"])
def test_what_cannot_be_read_is_told_with_its_line(folder, content, words, line):
    """reliability 4b: unclosed quote, NUL, limits of 1 MiB a cell and 1,000 columns."""
    with pytest.raises(RecipientError, match=words) as error:
        rows(table(folder, content))

    assert error.value.where.line == line and error.value.do


def zipped(*names):
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet" if name == "mimetype" else "x" * 100)
    return octets.getvalue()


@pytest.mark.parametrize(("octets", "words", "do"), [
    (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (.xlsx)", "CSV UTF-8"), (zipped("mimetype", "content.xml"), "an OpenDocument spreadsheet (.ods)", "CSV in UTF-8"),
    (zipped(*(f"big{number}" for number in range(2000)), "xl/workbook.xml"), "an Excel workbook (.xlsx)", "CSV UTF-8"), (zipped("Index/Document.iwa"), "a Numbers spreadsheet", "CSV in UTF-8"),
    (zipped("recipients.csv"), "a zip file", "unpack it"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel workbook (.xls)", "CSV UTF-8"), (b"%PDF-1.7\n", "a PDF", "CSV (UTF-8)"),
    (gzip.compress(b"email\na@example.com\n", mtime=0), "a gzip file", "unpack it"), (b"{\\rtf1\\ansi", "a text document", "CSV (UTF-8)"), (b"\n<!DOCTYPE HTML><table>", "an HTML page", "CSV UTF-8"),
    (b"\xef\xbb\xbf<?xml version='1.0'?><Workbook>", "an XML file", "CSV UTF-8"), (random.Random(1).randbytes(5000), "no text: octet", "CSV (UTF-8)"), (b"\x89PNG\r\n\x1a\n\0\0", "a picture", "CSV (UTF-8)")])
def test_another_format_is_called_by_its_name(folder, octets, words, do):
    """reliability 4b: binary file."""
    with pytest.raises(RecipientError, match=re.escape(words)) as error:
        table(folder, octets)

    assert do in error.value.do and error.value.where.file == "recipients.csv"


def test_a_thousand_and_one_columns_are_too_many(folder):
    with pytest.raises(RecipientError, match="at most 1,000"):
        table(folder, "email," + ",".join(f"c{number}" for number in range(1000)) + "\n")


def test_chunks_hold_a_thousand_rows_at_most_and_miss_none(folder):
    opened = table(folder, "email,a\n" + "".join(f"p{number}@example.com,{number}\n" for number in range(2500)))

    assert [len(chunk) for chunk in opened.chunks(pytest.fail)] == [1000, 1000, 500]
    assert [row["a"] for _, row in rows(opened)] == [str(number) for number in range(2500)]


@pytest.mark.parametrize(("content", "words"), [("email," + ",".join(f"c{number}" for number in range(1_000_000)) + "\n", "there are over|at most 1,000"),
                                                ("x" * 9_000_000, "over 1,048,576 characters"), ("email,a\0b\n", "NUL"), ("email;x\0", "NUL")])
def test_a_header_without_bounds_is_refused(folder, content, words):
    """reliability 4b: 10⁶ columns, NUL."""
    with pytest.raises(RecipientError, match=words) as error:
        table(folder, content)

    assert error.value.where.line == 1


# A process counts its parent's memory at the fork as its own, so a small one measures and one below it reads.
MEASURE = """
import resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run([sys.executable, "-m", "postroom", "check", "campaign.yaml"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // (1024 if sys.platform == "darwin" else 1) // 1024, time.monotonic() - began, done.stderr)
"""


@pytest.mark.parametrize("opening", [b"", b'"', b"\xe9", b'"\xe9'])
def test_a_cell_of_300_mb_has_its_answer_in_10_s_and_512_mb(folder, opening):
    """reliability 4b and goal 16: 300 MB cell."""
    with open(folder.path / "recipients.csv", "wb") as file:
        file.write(b"email,first_name\nann@example.com," + opening)
        for _ in range(300):
            file.write(b"x" * (1 << 20))

    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)

    code, mebibytes, seconds, words = done.stdout.split(maxsplit=3)
    print(f"300 MB cell ({opening}): {mebibytes} MiB, {seconds} s")
    assert (code, "recipients.csv, line 2: a cell here has over 1,048,576 characters" in words) == ("2", True)
    assert int(mebibytes) <= 512 and float(seconds) <= 10


ROWS = """
import resource
from postroom.read.campaign import load
from postroom.read.recipients import Table
table = Table(load("campaign.yaml", secrets=False))
print(sum(map(len, table.chunks(print))), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_million_rows_stream(folder):
    """traps D13."""
    def peak(rows):
        with open(folder.path / "recipients.csv", "w") as file:
            file.write("email,first_name\n")
            file.writelines(f"p{number}@example.com,Ann\n" for number in range(rows))
        launcher = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {ROWS!r}]))"
        done = subprocess.run([sys.executable, "-c", launcher], capture_output=True, text=True, check=True)
        read, mebibytes = map(int, done.stdout.split())
        assert read == rows
        return mebibytes

    small, large = peak(2_000), peak(1_000_000)

    print(f"peak memory: {small} MiB with 2,000 rows, {large} MiB with 1,000,000")
    assert large - small <= 20


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "gb18030", "cp932"])
def test_right_rows_stay_right_with_every_line_end_and_quoted_breaks(folder, end, codec):
    """reliability 4b: no row is cut or joined."""
    opened = table(folder, end.join(["email,note", f'a@example.com,"一{end}二 ""2"", 三"', "b@example.com,x", f'c@example.com,"{end}{end}"', ""]).encode(codec), f"  encoding: {codec}\n")

    assert rows(opened) == [(2, {"email": "a@example.com", "note": f'一{end}二 "2", 三'}), (4, {"email": "b@example.com", "note": "x"}), (5, {"email": "c@example.com", "note": f"{end}{end}"})]


TRAPS = {
    "D1 a byte order mark": ("\ufeffemail,name\na@example.com,Ann\n", [{"email": "a@example.com", "name": "Ann"}]),
    "D5 blanks around a name": ("email, name \na@example.com,Ann\n", [{"email": "a@example.com", "name": "Ann"}]),
    "D6 commas and blank lines at the end": ("email,name\na@example.com,Ann\n,\n\n , \n", [{"email": "a@example.com", "name": "Ann"}]),
    "D7 what looks like a number": ("email,zip,phone,id,agent\na@example.com,02138,0041441234567,1E5,007\n",
                                    [{"email": "a@example.com", "zip": "02138", "phone": "0041441234567", "id": "1E5", "agent": "007"}]),
    "D9 what looks like nothing": ("email,a,b,c,d\na@example.com,,NA,NULL,nan\n", [{"email": "a@example.com", "a": "", "b": "NA", "c": "NULL", "d": "nan"}])}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_other_mailers_made_of_a_table_comes_out_right(folder, trap):
    content, expected = TRAPS[trap]

    assert [row for _, row in rows(table(folder, content))] == expected


@pytest.mark.parametrize(("trap", "row", "line", "words"), [
    ("D3 a short row", "a@example.com", 2, "name and what follows is missing"), ("D4 a comma without quotes", "a@example.com,Doe, John", 2, '" John" is too much')])
def test_a_row_of_another_length_is_told_with_its_line(folder, trap, row, line, words):
    faults = []

    assert rows(table(folder, f"email,name\n{row}\n"), faults.append) == []

    assert [(fault.where.line, words in fault.what) for fault in faults] == [(line, True)]


@pytest.mark.parametrize(("cell", "address"), [("o'neil@example.com", "o'neil@example.com"), ("a+b@x.museum", "a+b@x.museum"), ("ann@example.com\u00a0", "ann@example.com"), (" Ann@EXAMPLE.com ", "Ann@example.com"),
                                               ("a..b@example.com", None), ("a@example.com;b@example.com", None)])
def test_addresses_are_valid_trimmed_or_told_with_their_place(folder, cell, address):
    """traps D11, but for what looks misspelt."""
    opened = table(folder, f'email,name\n"{cell}",Ann\n')
    (line, row), = rows(opened)

    if address is None:
        with pytest.raises(RecipientError) as error:
            opened.own(row, line)
        assert str(error.value.where) == "recipients.csv, line 2, column email"
    else:
        assert opened.own(row, line).address == address


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory):
    from conftest import Folder
    return Folder(tmp_path_factory.mktemp("table"))


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=6), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_what_another_writer_wrote_comes_back(anywhere, found, delimiter, end):
    """Each row keeps something visible, or it would be a blank one."""
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["email", "a", "b", "c"], *(["x", *row] for row in found)])
    anywhere.campaign()
    anywhere.write("recipients.csv", written.getvalue())

    opened = Table(load(str(anywhere.path / "campaign.yaml"), secrets=False))

    assert cells(opened) == [["x", *row] for row in found]
