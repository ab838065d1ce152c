"""Reliability 4a, the row of the journal: whatever befalls it, no further mail leaves, the exit code is 2 or 3, and nothing is overwritten."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

import postroom as library
from postroom.errors import JournalError, JournalUnavailable
from postroom.journal.sqlite import Journal
from postroom.message import Envelope, Message
from postroom.outcome import SENT, Fate
from relay import Relay
from running import deliveries, postroom, started

PEOPLE = 300
ADDRESSES = [f"p{number:03}@example.com" for number in range(PEOPLE)]
# In a namespace of its own a test may mount, and the mount is gone when the command ends.
MOUNTING = ["unshare", "--map-root-user", "--mount"]
SMALL_DISK = 'mount -t tmpfs -o size=1400k none "$1" && shift; "$@"; code=$?; cp -a disk/. kept; exit $code'
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
IMPATIENT = "import sys, postroom.journal.sqlite as journal\njournal.BUSY_SECONDS = 1\nfrom postroom.cli.main import main\nsys.exit(main(sys.argv[1:]))"
may_mount = pytest.mark.skipif(sys.platform != "linux" or subprocess.run([*MOUNTING, "true"], capture_output=True).returncode != 0,
                               reason="wants a mount namespace of its own")


@pytest.fixture
def campaign(folder, relay):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in ADDRESSES))
    folder.relay(relay.port)
    return folder


@pytest.fixture
def journal(campaign):
    """Where the project's journal is."""
    return campaign.path / ".postroom" / "journal.sqlite3"


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert "Traceback" not in done.stderr and "fault of its own" not in done.stderr, done.stderr
    return done


def finishes(campaign, relay, *words):
    """The next run sends to everybody else; the one in flight is uncertain, and the relay had it. Nobody has two."""
    relay.after = None
    before = relay.recipients()

    said = postroom("send", "campaign.yaml", "--yes", "--json", *words)

    assert (said.exit, said.json["remaining"], said.json["uncertain"]) == (1, 0, 1), said.err
    assert Counter(relay.recipients()) == Counter(ADDRESSES) and before[-1] not in relay.recipients()[len(before):]


@may_mount
def test_a_full_disk_stops_before_the_next_mail(campaign, relay):
    """Full disk: the whole command, on a disk of its own that holds the mail of some."""
    for name in ("disk", "kept"):
        (campaign.path / name).mkdir()

    done = run(*MOUNTING, "sh", "-c", SMALL_DISK, "sh", "disk", sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes", "--journal", "disk/journal.sqlite3")

    assert done.returncode == 3 and "full" in done.stderr and "Make room" in done.stderr, done.stderr
    assert 0 < len(relay.taken) < PEOPLE
    with closing(sqlite3.connect("kept/journal.sqlite3")) as rows:
        found = Counter(state for state, in rows.execute("SELECT state FROM delivery"))
    assert found == {"sent": len(relay.taken) - 1, "leaving": 1, "pending": PEOPLE - len(relay.taken)}
    finishes(campaign, relay, "--journal", "kept/journal.sqlite3")


def test_an_error_of_the_disk_stops_before_the_next_mail(campaign, relay):
    """I/O error in mid-run: no file may grow any more (RLIMIT_FSIZE), which SQLite takes for a fault of the disk."""
    process = []
    relay.after = lambda taken: taken == 20 and resource.prlimit(process[0].pid, resource.RLIMIT_FSIZE, (0, 0))
    process.append(started("send", "campaign.yaml", "--yes"))

    _, words = process[0].communicate(timeout=60)

    assert (process[0].returncode, len(relay.taken)) == (3, 20), words
    assert "disk I/O error" in words and "Traceback" not in words
    finishes(campaign, relay)


@may_mount
@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_folder_stops_before_the_first_mail(campaign, journal, relay, begun):
    if begun:
        postroom("send", "campaign.yaml", "--yes", "--limit", "1")
    (campaign.path / ".postroom").mkdir(exist_ok=True)
    before = {path.name: path.read_bytes() for path in journal.parent.iterdir()}

    done = run(*MOUNTING, "sh", "-c", READ_ONLY, "sh", ".postroom", sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes")

    assert done.returncode == 3 and "read-only" in done.stderr and "writable" in done.stderr, done.stderr
    assert len(relay.taken) == begun
    assert {path.name: path.read_bytes() for path in journal.parent.iterdir()} == before


def hold(path, ready, release):
    with closing(sqlite3.connect(path, isolation_level=None)) as rows:
        rows.execute("BEGIN IMMEDIATE")
        ready.set()
        release.wait(60)


def test_a_journal_that_another_process_holds_is_waited_for_and_then_exit_3(campaign, journal, relay):
    """Locked by another: 30 seconds, here one."""
    ready, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold, args=(journal, ready, release))
    relay.after = lambda taken: taken == 20 and (holder.start() or ready.wait(60))

    done = run(sys.executable, "-c", IMPATIENT, "send", "campaign.yaml", "--yes")
    release.set()
    holder.join()

    assert (done.returncode, len(relay.taken)) == (3, 20), done.stderr
    assert "database is locked" in done.stderr
    finishes(campaign, relay)


def test_a_journal_that_is_held_for_a_moment_only_costs_the_moment(campaign, journal, relay):
    ready, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold, args=(journal, ready, release))
    relay.after = lambda taken: taken == 20 and (holder.start() or ready.wait(60) and threading.Timer(0.5, release.set).start())

    assert postroom("send", "campaign.yaml", "--yes").exit == 0
    holder.join()
    assert Counter(relay.recipients()) == Counter(ADDRESSES)


def deleted(journal):
    journal.unlink()


def folder_gone(journal):
    shutil.rmtree(journal.parent)


def wal_gone(journal):
    journal.with_name("journal.sqlite3-wal").unlink()


def replaced(journal):
    with closing(Journal.open(str(journal.parent / "other"), create=True)):
        pass
    os.replace(journal.parent / "other", journal)


def copied_back(journal):
    """As a program does that synchronises."""
    shutil.copy(journal, journal.parent / "copy")
    os.replace(journal.parent / "copy", journal)


@pytest.mark.parametrize("away", [deleted, folder_gone, wal_gone, replaced, copied_back])
def test_a_journal_taken_away_in_mid_run_stops_before_the_next_mail(campaign, journal, relay, away):
    """Deleted under us. SQLite itself goes on writing to a file that nobody will find again. What the run knew is kept."""
    relay.after = lambda taken: taken == 20 and away(journal)

    said = postroom("send", "campaign.yaml", "--yes", "--json")

    assert (said.exit, len(relay.taken)) == (2, 20)
    assert "deleted or replaced while this run wrote to it" in said.json["error"]["what"]
    saved, = journal.parent.glob("*.saved")
    assert str(saved) in said.json["error"]["do"] and saved.stat().st_mode & 0o777 == 0o600
    # As told.
    for name in ("", "-wal", "-shm", ".commits"):
        journal.with_name(journal.name + name).unlink(missing_ok=True)
    saved.rename(journal)
    finishes(campaign, relay)


def foreign(path):
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("CREATE TABLE songs(title TEXT)")


def newer(path):
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("UPDATE meta SET version = 99")


def a_text(path):
    path.write_text("dear diary " * 1000)


def emptied(path):
    path.write_bytes(b"")


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def page_of_zeros(path):
    octets = bytearray(path.read_bytes())
    octets[8192:12288] = bytes(4096)
    path.write_bytes(octets)


def of_another_project(path):
    path.unlink()
    Journal.open(str(path.parent / "new"), create=True).close()
    (path.parent / "new").rename(path)


WORDS = {foreign: "not a postroom journal", newer: "version 99", a_text: "not a postroom journal", emptied: "the journal is empty",
         cut_in_half: "damaged", page_of_zeros: "damaged", of_another_project: "another journal than the one that was here"}


@pytest.mark.parametrize("make", WORDS)
def test_a_journal_that_cannot_be_trusted_stops_before_the_relay_is_called(campaign, journal, relay, make):
    """Newer schema, foreign file, corrupt page, replaced: exit 2, left as it is."""
    postroom("send", "campaign.yaml", "--yes", "--limit", "2")
    if make is foreign:
        journal.unlink()
    make(journal)
    before, connections = journal.read_bytes(), relay.connections

    said = postroom("send", "campaign.yaml", "--yes")

    assert (said.exit, relay.connections, len(relay.taken)) == (2, connections, 2), said.err
    assert WORDS[make] in said.err and "Nothing was sent in this run." in said.err and said.err.count("\n") <= 3
    assert journal.read_bytes() == before


def killed_in_mid_run(relay):
    process = started("send", "campaign.yaml", "--yes")
    while len(relay.taken) < 20:
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    relay.drain()


@pytest.mark.parametrize(("first", "words"), [(False, "the journal is empty: of "), (True, "older than the last run left it")])
def test_a_wal_that_was_lost_after_a_crash_is_noticed(campaign, journal, relay, first, words):
    """-wal missing: with it went who had the mail already. The file without it is a whole database, so only the mark beside it tells."""
    if first:
        postroom("send", "campaign.yaml", "--yes", "--limit", "5")
    killed_in_mid_run(relay)
    wal = journal.with_name("journal.sqlite3-wal")
    wal.rename("wal")
    taken = len(relay.taken)

    said = postroom("send", "campaign.yaml", "--yes")
    for name in ("-wal", "-shm"):
        journal.with_name(journal.name + name).unlink(missing_ok=True)
    Path("wal").rename(wal)

    assert (said.exit, len(relay.taken)) == (2, taken), said.err
    assert words in said.err and "-wal" in said.err
    last = postroom("send", "campaign.yaml", "--yes", "--json")
    assert last.json["remaining"] == 0 and max(Counter(relay.recipients()).values()) == 1


def test_a_wal_of_another_journal_is_refused(campaign, journal, relay):
    """SQLite plays any whole log into the file beside it."""
    killed_in_mid_run(relay)
    shutil.copytree(journal.parent, "other")
    shutil.rmtree(journal.parent)
    postroom("send", "campaign.yaml", "--yes", "--limit", "30")
    shutil.copy("other/journal.sqlite3-wal", journal.with_name("journal.sqlite3-wal"))
    taken = len(relay.taken)

    said = postroom("send", "campaign.yaml", "--yes")

    assert (said.exit, len(relay.taken)) == (2, taken), said.err
    assert "another journal" in said.err or "damaged" in said.err


def test_an_older_copy_of_the_journal_is_noticed_and_can_be_taken_at_its_word(campaign, journal, relay):
    postroom("send", "campaign.yaml", "--yes", "--limit", "2")
    shutil.copy(journal, "backup")
    postroom("send", "campaign.yaml", "--yes", "--limit", "2")
    shutil.copy("backup", journal)

    said = postroom("send", "campaign.yaml", "--yes", "--limit", "2")
    journal.with_name("journal.sqlite3.commits").unlink()
    again = postroom("send", "campaign.yaml", "--yes", "--limit", "2")

    assert (said.exit, "remove journal.sqlite3.commits: whom it does not know is mailed again" in said.err) == (2, True), said.err
    assert (again.exit, relay.recipients()) == (0, ADDRESSES[:4] + ADDRESSES[2:4])


@pytest.fixture
def finished(tmp_path):
    """A journal that knows half of its recipients as sent."""
    path = tmp_path / "journal.sqlite3"
    messages = [Message(key, 2, Envelope("news@example.com", (key,), key), b"", f"id-{key}", 1_795_000_000, "d" * 64) for key in ADDRESSES]
    with closing(Journal.open(str(path), create=True)) as journal:
        edition = journal.edition("digest", "")
        edition.enrol([(key, "d" * 64) for key in ADDRESSES], duplicates=0, file="c.yaml", content={"t.html": "1"})
        edition.begin_run("relay:25", "me@relay", 1_795_000_000.0)
        edition.turn([], messages[:150])
        edition.turn([Fate(message, SENT, phase="end of data", code=250, text="taken") for message in messages[:150]], [])
    path.with_name(path.name + ".commits").unlink()
    return path


def test_a_damaged_page_is_found_before_the_first_mail_wherever_it_is(finished):
    """Corrupt page: also one that nothing would read before the message that needs it."""
    good, opened = finished.read_bytes(), []
    for at in range(0, len(good), 4096):
        finished.write_bytes(good[:at] + bytes(4096) + good[at + 4096:])
        try:
            Journal.open(str(finished), create=True).close()
            opened.append(at)
        except JournalError as error:
            assert error.do
    assert len(good) > 20 * 4096 and opened == []


def test_damage_anywhere_is_a_sentence_or_nothing(finished, record_property):
    """Bits, runs of octets and whole pages, at random."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, path, found, good = random.Random(seed), finished, Counter(), finished.read_bytes()

    for _ in range(300):
        bad = bytearray(good)
        at, length = chance.randrange(len(bad)), chance.choice([1, 40, 4096])
        bad[at:at + length] = chance.randbytes(length) if length > 1 else bytes([bad[at] ^ 1 << chance.randrange(8)])
        for file in path.parent.iterdir():
            file.unlink()
        path.write_bytes(bad[:len(good)])
        try:
            with closing(Journal.open(str(path), create=True)) as journal:
                edition = journal.edition("digest", "")
                edition.recover(), edition.states(ADDRESSES), edition.counts(running=False), journal.editions()
            found["opened"] += 1
        except (JournalError, JournalUnavailable) as error:
            assert error.do
            found["refused"] += 1

    record_property("figure", f"300 damaged journals: {found['refused']} refused with a sentence, {found['opened']} opened, no crash")
    assert found["refused"] > 50


def test_new_folders_are_on_disk_before_the_first_mail(folder, relay, monkeypatch):
    """Reliability 2: a power cut may take a new folder with all that is in it."""
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.path.realpath(f"/proc/self/fd/{file}")), fsync(file)))
    relay.answers["EHLO"] = lambda line: synced.append("the relay") or "250 relay.test"
    folder.relay(relay.port)

    assert library.load("campaign.yaml").send(yes=True, quiet=True).exit_code == 0

    before = synced[:synced.index("the relay")]
    assert str(folder.path / ".postroom") in before and str(folder.path) in before
