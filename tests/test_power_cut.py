"""A power cut at random instants: the files as the disk may have them, cut at every frame, torn, mixed, with parts missing.

A stopped process stands still as a machine without power does; what differs is the page cache. A cut keeps what was synced and may lose
or tear the rest, so the write-ahead log is cut behind the last commit that came back (sqlite.org/fileformat2.html, section 4, has its
layout, sqlite.org/walformat.html that of the -shm, which tells how far that was).
"""

import os
import random
import shutil
import signal
import struct
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

import postroom
from postroom.errors import JournalError, JournalUnavailable
from postroom.journal.sqlite import Journal
from relay import Relay
from running import started

PEOPLE, CUTS = 400, 12
ADDRESSES = [f"person{number}@example.com" for number in range(PEOPLE)]
NAME = "journal.sqlite3"
WAL, SHM, MARK = f"{NAME}-wal", f"{NAME}-shm", f"{NAME}.commits"
HEADER, FRAME_HEADER = 32, 24
pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="wants Linux's /proc")]


class Cut:
    """The journal's files at one instant, and whom the relay had taken by then. files: name -> octets."""

    def __init__(self, folder, accepted):
        self.files = {name: (folder / name).read_bytes() for name in (NAME, WAL, SHM, MARK) if (folder / name).exists()}
        self.accepted = accepted
        self.wal = self.files[WAL]
        self.page, = struct.unpack(">I", self.wal[8:12])
        self.salts = self.wal[16:24]

    @property
    def frame(self):
        return FRAME_HEADER + self.page

    @property
    def synced(self):
        """Octets of the log up to the end of the last commit that was synced."""
        shm = self.files[SHM]
        last, = struct.unpack("=I", shm[16:20])
        return HEADER + last * self.frame if shm[32:40] == self.salts else HEADER


def stopped(process):
    """Wait until the process stands still."""
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


def quiet(relay):
    """Whom the relay has taken, once it has read what was on its way."""
    before, still = -1, 0
    while still < 5:
        still = still + 1 if len(relay.commands) == before else 0
        before = len(relay.commands)
        time.sleep(0.002)
    return relay.recipients()


@pytest.fixture
def chance():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def cuts(folder, relay, chance):
    """A run that was stopped at random instants, and went on each time."""
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},Person\n" for address in ADDRESSES))
    folder.relay(relay.port)
    process, found = started("send", "campaign.yaml", "--yes"), []
    for number in range(CUTS):
        until = (number + 1) * PEOPLE // (CUTS + 2) + chance.randrange(10)
        while len(relay.taken) < until and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.003)
        process.send_signal(signal.SIGSTOP)
        stopped(process)
        accepted = quiet(relay)
        found.append(Cut(folder.path / ".postroom", accepted))
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    return found


@pytest.fixture
def disk():
    """Where the many copies are opened: in memory, where there is such a place."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


def laid_out(disk, files):
    """A folder with these files; returns the journal's path."""
    shutil.rmtree(disk / "cut", ignore_errors=True)
    (disk / "cut").mkdir()
    for name, octets in files.items():
        (disk / "cut" / name).write_bytes(octets)
    return str(disk / "cut" / NAME)


def found_in(path):
    """What the next run finds: key -> state, with those that were leaving as uncertain."""
    with closing(Journal.open(path, create=True)) as journal:
        edition = journal.edition("digest", "2026-11")
        edition.recover()
        return {key: delivery.state for key, delivery in edition.states(ADDRESSES).items()}


def must_be_true(states, accepted):
    """Nobody is lost and nobody will be mailed twice: accepted is sent or uncertain, sent is accepted, and everybody is known."""
    assert set(states) == set(ADDRESSES)
    assert {address for address in accepted if states[address] == "pending"} == set()
    assert {address for address, state in states.items() if state == "sent"} <= set(accepted)
    assert list(states.values()).count("uncertain") <= 1


def lost_tails(cut, chance):
    """The log as a cut may leave it behind what was synced: ended at each frame and inside one, torn, or with zeros."""
    wal, synced = cut.wal, cut.synced
    ends = {min(len(wal), end + odd) for end in range(synced, len(wal) + 1, cut.frame) for odd in (0, 1, 23, 24, 25, 24 + cut.page // 2, cut.frame - 1)}
    # Behind the last commit there may be a thousand frames of an earlier turn of the log: those next to it suffice.
    for end in sorted(ends)[:60]:
        yield wal[:end]
    for fill in (bytes(cut.frame), chance.randbytes(cut.frame), wal[HEADER:HEADER + cut.frame]):
        yield wal[:synced] + fill
        yield wal[:synced] + wal[synced:synced + cut.frame // 2] + fill


def test_after_a_power_cut_nobody_is_lost_and_nobody_gets_two(cuts, disk, chance, record_property):
    """Reliability 3, goal 6."""
    opened = 0
    for number, cut in enumerate(cuts):
        variants = [cut.files, {name: octets for name, octets in cut.files.items() if name != SHM}, {**cut.files, MARK: b""}, {**cut.files, MARK: bytes(62)},
                    {name: octets for name, octets in cut.files.items() if name != MARK}]
        variants += [{**cut.files, WAL: wal} for wal in lost_tails(cut, chance)]
        earlier = cuts[number - 1]
        if number and earlier.salts == cut.salts:
            # A checkpoint was under way: of the pages that it wrote, any may be on the disk or not, as long as the log stands.
            pages = max(len(earlier.files[NAME]), len(cut.files[NAME])) // cut.page
            for _ in range(4):
                sources = [chance.choice((earlier, cut)).files[NAME] for _ in range(pages)]
                main = b"".join(source[at * cut.page:(at + 1) * cut.page] or bytes(cut.page) for at, source in enumerate(sources))
                variants.append({**cut.files, NAME: main})
        for files in variants:
            must_be_true(found_in(laid_out(disk, files)), cut.accepted)
            opened += 1
    assert any(len(cut.accepted) for cut in cuts) and len({cut.salts for cut in cuts}) > 1, "the log was never begun anew"
    record_property("figure", f"power cut: {len(cuts)} instants, {opened} copies opened, 0 lost, 0 twice")


def test_a_log_that_lost_what_was_synced_is_refused_or_read_and_never_a_crash(cuts, disk, chance, record_property):
    """A disk that lies, or somebody who cut the file. What is noted beside the journal tells it from the truth."""
    cut = max(cuts, key=lambda one: one.synced)
    frames = range(HEADER, cut.synced, cut.frame)
    ends = [*chance.sample(frames, min(len(frames), 60)), *(chance.randrange(cut.synced) for _ in range(60)), 0, 1, 31, 32, *frames[-8:]]
    refused = 0
    for end in ends:
        short = {**cut.files, WAL: cut.wal[:end]}
        try:
            must_be_true(found_in(laid_out(disk, short)), cut.accepted)
        except JournalError as error:
            # Older than the last run left it; empty; or damaged, where a checkpoint had begun to write what the log has lost.
            assert error.do
            refused += 1
        del short[MARK]
        try:
            assert set(found_in(laid_out(disk, short))) <= set(ADDRESSES)
        except (JournalError, JournalUnavailable) as error:
            assert error.do
    record_property("figure", f"log cut before what was synced: {len(ends)} copies, {refused} refused, the others true")


def test_a_run_goes_on_after_the_cut(folder, cuts, disk):
    """What follows a cut is an ordinary next run; the uncertain one is the person's to decide."""
    cut = cuts[len(cuts) // 2]
    for name, octets in {**cut.files, WAL: cut.wal[:cut.synced]}.items():
        (folder.path / ".postroom" / name).write_bytes(octets)
    (folder.path / ".postroom" / SHM).unlink()
    with Relay() as again:
        folder.relay(again.port)

        said = postroom.load("campaign.yaml").send(yes=True, quiet=True)

    everybody = cut.accepted + again.recipients()
    assert (said.remaining, len(set(everybody)) - len(everybody)) == (0, 0)
    assert said.sent_in_all == PEOPLE - said.exit_code and len(everybody) in (PEOPLE - 1, PEOPLE)
