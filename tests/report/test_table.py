"""The table that comes back is the table that was given, but for an apostrophe in front of what a spreadsheet would run."""

import csv
import io
from types import SimpleNamespace

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CAMPAIGN, HTML, TEXT
from postroom.journal.sqlite import Journal
from postroom.message import Envelope, Message
from postroom.outcome import REJECTED, Fate
from postroom.read.campaign import load
from postroom.read.formulas import defused, is_formula, restored
from postroom.read.recipients import Table
from postroom.report.table import write

PEOPLE = 4
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
LETTERS = st.one_of(st.sampled_from("=+-@\t\r\n'\" ;,|aé若＝"), st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
CELLS = st.text(LETTERS, max_size=8)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A campaign in whose journal everybody was refused, and a way to give it a table of these cells."""
    folder = tmp_path_factory.mktemp("project")
    for name, content in (("digest.html", HTML), ("digest.txt", TEXT)):
        (folder / name).write_text(content)
    journal = Journal.open(str(folder / "j.sqlite3"), create=True)
    edition = journal.edition("digest", "2026-11")
    keys = [f"p{number}@example.com" for number in range(PEOPLE)]
    edition.enrol([(key, "") for key in keys], duplicates=0, file="campaign.yaml", content={})
    edition.begin_run("relay:25", "me", 1_795_000_000)
    messages = [Message(key, 2, Envelope("n@example.com", (key,), key), b"", f"{key}-id", 1_795_000_000, "d") for key in keys]
    edition.turn([], messages)
    edition.turn([Fate(message, REJECTED, "address refused", phase="rcpt", code=550, text="no") for message in messages], [])

    def opened(name, octets=None):
        if octets is not None:
            (folder / name).write_bytes(octets)
        (folder / "campaign.yaml").write_text(CAMPAIGN.replace("recipients.csv", name))
        campaign = load(str(folder / "campaign.yaml"), secrets=False)
        return Table(campaign), campaign

    yield SimpleNamespace(folder=folder, edition=edition, keys=keys, opened=opened)
    journal.close()


def written(keys, cells, delimiter):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["email", "a", "b"])
    rows = [[key, *pair] for key, pair in zip(keys, cells, strict=True)]
    writer.writerows(rows)
    return file.getvalue().encode(), rows


@given(cells=st.lists(st.tuples(CELLS, CELLS), min_size=PEOPLE, max_size=PEOPLE), delimiter=st.sampled_from(",;\t|"))
def test_two_readers_that_are_not_ours_read_every_cell_back_but_for_the_apostrophe(project, cells, delimiter):
    octets, rows = written(project.keys, cells, delimiter)
    report = io.BytesIO()

    write(*project.opened("recipients.csv", octets), project.edition, False, report, None)

    text = report.getvalue().decode()
    read = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    assert [row[:3] for row in read[1:]] == [[defused(cell) for cell in row] for row in rows]
    assert [[restored(cell) for cell in row[:3]] for row in read[1:]] == rows
    assert not [cell for row in read for cell in row if cell.startswith(STARTS) or cell.lstrip(" \"'\xa0").startswith(STARTS) and not cell.startswith("'")]
    frame = pandas.read_csv(io.StringIO(text, newline=""), sep=delimiter, dtype=str, keep_default_na=False)
    assert frame[["email", "a", "b"]].values.tolist() == [row[:3] for row in read[1:]]


@given(cells=st.lists(st.tuples(CELLS, CELLS), min_size=PEOPLE, max_size=PEOPLE), delimiter=st.sampled_from(",;\t|"))
def test_the_refused_rows_are_harmless_to_open_and_the_same_when_they_are_the_table(project, cells, delimiter):
    octets, rows = written(project.keys, cells, delimiter)
    target = project.folder / "failed.csv"
    target.unlink(missing_ok=True)

    write(*project.opened("recipients.csv", octets), project.edition, False, None, str(target))

    read = list(csv.reader(io.StringIO(target.read_bytes().decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))
    assert not [cell for row in read for cell in row if is_formula(cell) and not cell.startswith("'")]
    assert read[0] == ["email", "a", "b"] + ["postroom_defused"] * any(is_formula(cell) for row in rows for cell in row)
    again, _ = project.opened("failed.csv")
    assert again.columns == ["email", "a", "b"]
    assert [cells for _, cells, _ in again.as_written(pytest.fail)] == rows


@given(st.text(st.one_of(LETTERS, st.just("\0")), max_size=12))
def test_an_apostrophe_is_taken_away_only_where_one_was_added(cell):
    assert restored(defused(cell)) == cell
    assert not defused(cell).startswith(STARTS)
    assert defused(cell) in (cell, f"'{cell}")
