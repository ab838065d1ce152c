"""Campaigns killed with `kill -9` at random moments and resumed until done: nobody is lost, nobody gets two mails that the journal called sent.

`make chaos` runs 200 of them, a third in each mode of the session. POSTROOM_CHAOS_RUNS: how many. POSTROOM_CHAOS_SEED: the seed that a failed one printed.
"""

import collections
import os
import random
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from peers import SmtpSink, have_smtp_sink
from running import deliveries, missing, postroom, started
from scripted import Scripted

PEOPLE = 300
ADDRESSES = [f"person{number}@example.com" for number in range(PEOPLE)]
RUNS = int(os.environ.get("POSTROOM_CHAOS_RUNS", 10))
LANES = 2  # halves of each mode's runs, so that both cores have one
WINDOW = 32


class Chunking(Scripted):
    """smtp-sink takes no mail in chunks; this does, and checks the order of the commands besides."""

    def __init__(self):
        super().__init__(capabilities=("8BITMIME", "SIZE 50000000", "PIPELINING", "CHUNKING"))

    def accepted(self):
        return sum(len(wire.dialogue.accepted) for wire in self.wires)

    def drained(self):
        until = time.monotonic() + SECONDS
        while any(wire.socket.fileno() >= 0 for wire in self.wires):
            assert time.monotonic() < until, "a connection still stands"
            time.sleep(0.002)
        return self.taken


# How messages leave: the server that offers it, and how many may be in flight.
MODES = {"lockstep": (lambda: SmtpSink("-p"), 1), "pipelined": (SmtpSink, WINDOW), "chunked": (Chunking, WINDOW)}
SHARES = [(mode, lane) for mode in MODES for lane in range(LANES)]
MOST_KILLS = 50
SECONDS = 60


class Chaos:
    """One campaign under fire. figures: counts over all runs."""

    def __init__(self, folder, sink, mode, chance, figures):
        self.window = MODES[mode][1]
        self.folder, self.sink, self.chance, self.figures, self.caught = folder, sink, chance, figures, set()
        shutil.rmtree(folder.path / ".postroom", ignore_errors=True)
        folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},Person\n" for address in ADDRESSES))
        folder.relay(sink.port)

    def leaving(self):
        """Whom the journal has as leaving, read from a copy: SQLite would tidy up what the killed process left behind."""
        state, copy = self.folder.path / ".postroom", self.folder.path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for name in ("journal.sqlite3", "journal.sqlite3-wal"):
            if (state / name).exists():
                shutil.copy(state / name, copy)
        if not (copy / "journal.sqlite3").exists():
            return set()
        with closing(sqlite3.connect(copy / "journal.sqlite3")) as rows:
            if not rows.execute("SELECT count(*) FROM sqlite_master WHERE name = 'delivery'").fetchone()[0]:
                return set()
            return {key for key, in rows.execute("SELECT key FROM delivery WHERE state = 'leaving'")}

    def killed(self, *words):
        """Start a run and kill it. Returns its exit code, which is not -9 where it was done before."""
        process = started("send", "campaign.yaml", "--yes", *words)
        if self.chance.random() < 0.75:
            enough = self.sink.accepted() + self.chance.randrange(1, 200)
            until = time.monotonic() + SECONDS
            while self.sink.accepted() < enough and process.poll() is None and time.monotonic() < until:
                time.sleep(0.0005)
            time.sleep(self.chance.random() * 0.005)
        else:
            # Anywhere: the start of the process, preflight and the login too.
            time.sleep(self.chance.random() * 1.2)
        process.kill()
        assert "Traceback" not in process.communicate(timeout=SECONDS)[1]
        if process.returncode == -9:
            before, self.caught = self.caught, self.leaving()
            assert len(self.caught) <= self.window
            self.figures["kills"] += 1
            # A run killed at its very start leaves what the one before it left.
            self.figures["kills with mail in flight"] += bool(self.caught - before)
            self.figures["in flight then"] += len(self.caught - before)
        return process.returncode

    def until_done(self):
        for _ in range(MOST_KILLS):
            if (code := self.killed()) != -9:
                return code
        return postroom("send", "campaign.yaml", "--yes").exit

    def rows(self):
        return {key: (state, arrived) for key, state, arrived in deliveries(self.folder, "key, state, may_have_arrived")}


def accepted(mails):
    """The octets of each copy, by recipient."""
    copies = collections.defaultdict(list)
    for mail in mails:
        assert len(mail.recipients) == 1
        copies[mail.recipients[0]].append(mail.octets)
    return copies


def one_run(chaos, figures):
    code = chaos.until_done()

    rows, copies = chaos.rows(), accepted(chaos.sink.drained())
    uncertain = {address for address, (state, _) in rows.items() if state == "uncertain"}
    assert set(rows) == set(ADDRESSES) and {state for state, _ in rows.values()} <= {"sent", "uncertain"}
    assert all(len(copies[address]) == 1 for address in ADDRESSES if address not in uncertain)
    assert all(len(copies[address]) <= 1 for address in uncertain)
    assert code == (1 if uncertain else 0)
    listed = postroom("status", "campaign.yaml", "--json").json
    assert (listed["sent"], listed["uncertain"], listed["remaining"]) == (PEOPLE - len(uncertain), len(uncertain), 0)

    if chaos.chance.random() < 0.25:
        chaos.killed("--uncertain", "resend")
    while (said := postroom("send", "campaign.yaml", "--yes", "--json", "--uncertain", "resend")).exit:
        assert said.exit == 1, said.err

    rows, after = chaos.rows(), accepted(chaos.sink.drained())
    assert {state for state, _ in rows.values()} == {"sent"} and set(after) == set(ADDRESSES)
    assert [address for address, (_, arrived) in rows.items() if not arrived and len(after[address]) != 1] == []
    # Message-ID, Date and every other octet: most stores take the second copy for the first.
    assert [address for address, octets in after.items() if len(set(octets)) != 1] == []
    figures["runs"] += 1
    figures["uncertain"] += sum(arrived for _, arrived in rows.values())
    figures["of them accepted unseen"] += sum(len(copies[address]) for address in uncertain)
    figures["twice after resend"] += sum(len(octets) > 1 for octets in after.values())
    figures["accepted"] += sum(map(len, after.values()))


@pytest.mark.timeout(60 + 60 * RUNS)
@pytest.mark.parametrize(("mode", "lane"), SHARES)
def test_kill_9_at_random_moments_loses_nobody_and_sends_nobody_two(folder, mode, lane, record_property):
    """Traps S1; reliability 3, goals 1 and 2."""
    if not have_smtp_sink():
        missing("smtp-sink (Debian's package postfix)")
    seed = os.environ.get("POSTROOM_CHAOS_SEED") or str(random.randrange(1 << 32))
    print(f"POSTROOM_CHAOS_SEED={seed}")
    chance, figures, share = random.Random(f"{seed} {mode} {lane}"), collections.Counter(), SHARES.index((mode, lane))

    for _ in range(RUNS * share // len(SHARES), RUNS * (share + 1) // len(SHARES)):
        with MODES[mode][0]() as sink:
            one_run(Chaos(folder, sink, mode, chance, figures), figures)

    record_property("figure", f"chaos, {mode}, lane {lane}, seed {seed}: " + ", ".join(f"{number:,} {what}" for what, number in figures.items()))
    assert figures["runs"] < 3 or figures["kills"] > 0
