"""The journal: what it says after a crash is the truth, and it never touches a file that is not its own."""

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from postroom.errors import JournalError, JournalUnavailable
from postroom.journal.sqlite import Journal, Turned
from postroom.message import Envelope, Message
from postroom.outcome import DEFERRED, PENDING, REJECTED, SENT, UNCERTAIN, AddressResult, Fate

NOW = 1_795_000_000.0


def message(key, digest="d1", date=1_795_000_000):
    return Message(key, 2, Envelope("news@example.com", (key,), key), b"", f"{key}-id", date, digest)


def fate(key, state, **said):
    return Fate(message(key), state, **said)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "folder" / "journal.sqlite3")


@pytest.fixture
def journal(path):
    journal = Journal.open(path, create=True, clock=lambda: NOW)
    yield journal
    journal.close()


@pytest.fixture
def edition(journal):
    """A run of five recipients under way."""
    edition = journal.edition("digest", "")
    edition.enrol([(key, "d1") for key in "abcde"], duplicates=0, file="c.yaml", content={"t.html": "1"})
    edition.begin_run("relay:25", "me@relay", NOW - 5)
    return edition


def states(edition):
    return {key: delivery.state for key, delivery in edition.states(list("abcdefgh")).items()}


def test_a_turn_writes_what_was_answered_and_what_leaves_in_one_commit(journal, edition):
    edition.turn([], [message("a"), message("b")])
    edition.turn([fate("a", SENT, phase="end of data", code=250, text="taken"), fate("b", DEFERRED, code=451, wait=330)], [message("c")])

    assert states(edition) == {"a": SENT, "b": DEFERRED, "c": "leaving", "d": PENDING, "e": PENDING}
    assert edition.states(["b"])["b"].due_at == NOW + 330
    used = journal.rows.execute("SELECT account, at, key FROM account_use").fetchall()
    assert used == [("me@relay", NOW, "a"), ("me@relay", NOW, "b"), ("me@relay", NOW, "c")]
    assert edition.began_at == NOW - 5


def test_a_turn_that_cannot_be_written_whole_is_not_written_at_all(journal, edition):
    edition.turn([], [message("a")])

    with pytest.raises(JournalError):
        edition.turn([fate("a", SENT)], [message("b"), message("unknown")])

    assert states(edition) == {"a": "leaving", "b": PENDING, "c": PENDING, "d": PENDING, "e": PENDING}


def test_what_was_settled_can_neither_leave_again_nor_be_answered_twice(edition):
    edition.turn([], [message("a"), message("b")])
    edition.turn([fate("a", SENT), fate("b", REJECTED)], [])

    for answered, leaving in (([fate("a", SENT)], []), ([], [message("a")]), ([], [message("b")]), ([fate("c", SENT)], []), ([fate("c", "skipped")], [])):
        with pytest.raises(JournalError):
            edition.turn(answered, leaving)


def test_what_never_left_does_not_count_for_the_account(journal, edition):
    edition.turn([], [message("a"), message("b")])
    edition.turn([fate("a", PENDING, code=421), fate("b", UNCERTAIN)], [])

    assert journal.rows.execute("SELECT key FROM account_use").fetchall() == [("b",)]


def test_each_address_and_each_attempt_is_kept(journal, edition):
    results = (AddressResult("a", True, 250, "2.1.5", "ok"), AddressResult("boss", False, 550, "5.1.1", "who " * 500))
    edition.turn([], [message("a")])
    edition.turn([fate("a", DEFERRED, phase="end of data", code=451, enhanced="4.2.0", text="later " * 500, wait=300)], [])
    edition.turn([], [message("a")])
    edition.turn([fate("a", SENT, phase="end of data", code=250, addresses=results)], [])

    attempts = journal.rows.execute("SELECT number, state, phase, code, length(text) FROM attempt").fetchall()
    assert attempts == [(1, DEFERRED, "end of data", 451, 500), (2, SENT, "end of data", 250, 0)]
    assert journal.rows.execute("SELECT address, accepted, code, length(text) FROM address_result").fetchall() == [("a", 1, 250, 2), ("boss", 0, 550, 500)]


def test_after_a_crash_exactly_those_that_were_leaving_are_uncertain(path):
    """kill -9 behind the commit: what the file says is all that the next run has."""
    program = textwrap.dedent("""
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from test_sqlite import SENT, fate, message
        from postroom.journal.sqlite import Journal
        edition = Journal.open(sys.argv[1], create=True).edition("digest", "")
        edition.enrol([(key, "d1") for key in "abcde"], duplicates=0, file="c.yaml", content={})
        edition.begin_run("relay:25", "me@relay", 0)
        edition.turn([], [message("a"), message("b")])
        edition.turn([fate("a", SENT)], [message("c")])
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", program, path, os.path.dirname(__file__)], timeout=60).returncode == -9
    with closing(Journal.open(path, create=False)) as journal:
        edition = journal.edition("digest", "")

        assert edition.recover() == 2
        assert states(edition) == {"a": SENT, "b": UNCERTAIN, "c": UNCERTAIN, "d": PENDING, "e": PENDING}
        assert [delivery.message_id for delivery in edition.states(list("abcde")).values() if delivery.state == UNCERTAIN] == ["b-id", "c-id"]


def test_counts_always_add_up(journal, edition):
    edition.turn([], [message(key) for key in "abcd"])
    edition.turn([fate("a", SENT), fate("b", DEFERRED, wait=300), fate("c", REJECTED)], [])

    at_rest, running = edition.counts(running=False), edition.counts(running=True)

    assert (at_rest["uncertain"], at_rest["pending"], running["uncertain"], running["pending"]) == (1, 1, 0, 2)
    for counts in (at_rest, running):
        assert counts["recipients"] == 5 == sum(counts[state] for state in ("sent", "rejected", "deferred", "uncertain", "skipped", "pending"))


def test_enrolling_again_knows_the_new_the_gone_and_the_returned(edition):
    edition.turn([], [message("a"), message("b")])
    edition.turn([fate("a", SENT), fate("b", DEFERRED, wait=300)], [])

    edition.enrol([("f", "d9"), ("c", "d2")], duplicates=3, file="c.yaml", content={})
    gone = states(edition)
    counts = edition.counts(running=False)
    edition.enrol([(key, "d1") for key in "abcdef"], duplicates=0, file="c.yaml", content={})

    # What was never tried is forgotten with its row; what was tried stays on record.
    assert gone == {"a": SENT, "b": "skipped", "c": PENDING, "f": PENDING}
    assert counts["skipped_reasons"] == {"removed": 1, "duplicate": 3}
    assert states(edition) == {"a": SENT, "b": PENDING, "c": PENDING, "d": PENDING, "e": PENDING, "f": PENDING}


def test_the_content_of_the_first_mail_is_kept(edition):
    edition.enrol([("a", "d1")], duplicates=0, file="c.yaml", content={"t.html": "2"})
    before = dict(edition.content)
    edition.turn([], [message("a")])
    edition.enrol([("a", "d1")], duplicates=0, file="c.yaml", content={"t.html": "3", "new.html": "1"})
    after = dict(edition.content)
    edition.enrol([("a", "d1")], duplicates=0, file="c.yaml", content={"t.html": "4"}, accept_changes=True)

    assert (before, after, edition.content) == ({"t.html": "2"}, {"t.html": "2", "new.html": "1"}, {"t.html": "4"})


def test_only_its_owner_can_read_it(journal, path, edition):
    edition.turn([], [message("a")])

    files = os.listdir(os.path.dirname(path))
    assert {"journal.sqlite3", "journal.sqlite3-wal"} <= set(files)
    for name in files:
        assert stat.S_IMODE(os.stat(os.path.join(os.path.dirname(path), name)).st_mode) == 0o600, name
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_every_commit_is_durable(journal):
    assert journal.rows.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
    assert journal.rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def foreign(path):
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("CREATE TABLE songs(title TEXT)")


def newer(path):
    Journal.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("UPDATE meta SET version = 99")


def text(path):
    Path(path).write_text("dear diary " * 100)


@pytest.mark.parametrize("make", [foreign, newer, text])
def test_a_file_that_is_not_our_journal_is_left_as_it_is(tmp_path, make):
    path = str(tmp_path / "journal.sqlite3")
    make(path)
    before = Path(path).read_bytes()

    with pytest.raises(JournalError):
        Journal.open(path, create=True)

    assert Path(path).read_bytes() == before


def test_an_empty_file_is_a_journal_that_was_not_begun(path):
    """A run that was killed between making the file and its tables must not lock the person out."""
    os.makedirs(os.path.dirname(path))
    Path(path).touch()

    assert Journal.open(path, create=False) is None
    Journal.open(path, create=True).close()
    assert Journal.open(path, create=False) is not None


def test_without_create_nothing_is_made(path):
    assert Journal.open(path, create=False) is None
    assert not os.path.exists(os.path.dirname(path))


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(JournalUnavailable, match="cannot be"):
        Journal.open(str(tmp_path / "file" / "journal.sqlite3"), create=True)


def test_a_full_disk_stops_before_the_next_mail(journal, edition):
    """A journal that cannot take the intent must not let the mail leave."""
    journal.rows.execute(f"PRAGMA max_page_count = {journal.rows.execute('PRAGMA page_count').fetchone()[0]}")
    keys = [f"key{number:05}" for number in range(3000)]

    with pytest.raises(JournalUnavailable, match="full"):
        edition.enrol([(key, "d1") for key in keys], duplicates=0, file="c.yaml", content={})

    assert states(edition) == dict.fromkeys("abcde", PENDING)


def columns(path):
    """Every table's columns by name, as SQLite tells them."""
    with closing(sqlite3.connect(path)) as rows:
        tables = [name for name, in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: {name: kind for _, name, kind, *_ in rows.execute(f"PRAGMA table_info({table})")} for table in tables}


def test_a_journal_of_version_1_is_brought_up_to_date_with_all_that_it_knows(tmp_path):
    path, fresh = str(tmp_path / "journal.sqlite3"), str(tmp_path / "fresh.sqlite3")
    with closing(sqlite3.connect(path)) as rows:
        rows.executescript((Path(__file__).parent / "version_1.sql").read_text())
    Journal.open(fresh, create=True).close()

    journal = Journal.open(path, create=False)
    with closing(journal):
        known = journal.edition("digest", "2026-11").states(["ann@example.com", "zoe@example.com"])
        salt, = journal.rows.execute("SELECT salt FROM meta").fetchone()

    assert {key: delivery.state for key, delivery in known.items()} == {"ann@example.com": SENT, "zoe@example.com": DEFERRED}
    assert columns(path) == columns(fresh)
    assert len(salt) == 16
    Journal.open(path, create=False).close()


@pytest.mark.parametrize("damage", ["UPDATE meta SET version = NULL", "UPDATE meta SET version = 'x'", "UPDATE meta SET salt = NULL", "UPDATE meta SET salt = 'x'",
                                    "UPDATE meta SET commits = NULL", "UPDATE meta SET commits = 'x'", "DELETE FROM meta"])
def test_a_journal_that_makes_no_sense_of_itself_is_refused(tmp_path, damage):
    """A flipped bit in a record's header makes a value of another kind; SQLite does not mind."""
    path = str(tmp_path / "journal.sqlite3")
    Journal.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("PRAGMA writable_schema = ON")
        rows.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'meta'")
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute(damage)

    with pytest.raises(JournalError, match="damaged"):
        Journal.open(path, create=True)
