"""The table: every cell is the text of the file, every fault names the physical line."""

import csv
import io

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
    return [(line, row) for chunk in opened.chunks(report) for line, row in zip(chunk.index.tolist(), chunk.to_dict("records"), strict=True)]


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
    with pytest.raises(RecipientError, match=words) as error:
        table(folder, header + "\na,b,c\n")

    assert (error.value.where.line, error.value.where.column) == (1, column)


def test_blank_rows_are_counted_and_left_out(folder):
    opened = table(folder, "email,a\na@example.com,1\n,\n \n  ,  \nb@example.com,2\n\n\n,\n")

    assert [line for line, _ in rows(opened)] == [2, 6]
    assert opened.blank == 6


def test_rows_too_long_or_too_short_are_all_told_with_their_line(folder):
    faults = []

    found = rows(table(folder, "email,a\nx@example.com\nb@example.com,2\nc@example.com,3,4\nd@example.com,5\n"), faults.append)

    assert [line for line, _ in found] == [3, 5]
    assert [(str(fault.where), fault.what) for fault in faults] == [
        ("recipients.csv, line 2", "the row has 1 cells, the header 2: a and what follows is missing"),
        ("recipients.csv, line 4", 'the row has 3 cells, the header 2: "4" is too much')]


@pytest.mark.parametrize(("content", "words", "line"), [
    ('email,a\nx@example.com,"open\nb@example.com,1\n', "never closed", 2), ('email,a\nx@example.com,1\nb@example.com,"x"y\n', "quotes in this row do not match", 3),
    ("email,a\nx@example.com,1\0\n", "NUL", 2), ("email,a\nx@example.com," + "y" * (1 << 20) + "z\n", "over 1,048,576 characters", 2),
    ("email,a\nx@example.com,é\n".encode("latin-1"), "octet 22 \\(0xE9\\) is not UTF-8", 2), ("email,é\n".encode("latin-1"), "octet 6 \\(0xE9\\)", 1)])
def test_what_cannot_be_read_is_told_with_its_line(folder, content, words, line):
    with pytest.raises(RecipientError, match=words) as error:
        rows(table(folder, content))

    assert error.value.where.line == line and error.value.do


@pytest.mark.parametrize(("octets", "words"), [(b"PK\x03\x04abc", "a spreadsheet"), ("email\na".encode("utf-16"), "UTF-16"), (b"\xd0\xcf\x11\xe0abc", "old Excel")])
def test_another_format_is_called_by_its_name(folder, octets, words):
    with pytest.raises(RecipientError, match=words):
        table(folder, octets)


def test_a_thousand_and_one_columns_are_too_many(folder):
    with pytest.raises(RecipientError, match="at most 1,000"):
        table(folder, "email," + ",".join(f"c{number}" for number in range(1000)) + "\n")


def test_chunks_hold_a_thousand_rows_at_most_and_miss_none(folder):
    opened = table(folder, "email,a\n" + "".join(f"p{number}@example.com,{number}\n" for number in range(2500)))

    assert [len(chunk) for chunk in opened.chunks(pytest.fail)] == [1000, 1000, 500]
    assert [row["a"] for _, row in rows(opened)] == [str(number) for number in range(2500)]


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
