"""Two runs of one campaign at once: one sends, the other leaves. Traps S9; reliability 3, goal 7."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from relay import Relay
from running import deliveries, postroom, started

PEOPLE = 100
ADDRESSES = [f"p{number:02}@example.com" for number in range(PEOPLE)]


@pytest.fixture
def campaign(folder, relay):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in ADDRESSES))
    folder.relay(relay.port)
    return folder


def test_of_two_runs_started_at_once_one_sends_and_the_other_leaves_within_two_seconds(campaign, relay, record_property):
    runs, seconds, left = [], {}, threading.Event()
    relay.after = lambda taken: left.wait(60)
    began = time.monotonic()
    postroom("send", "campaign.yaml", "--dry-run")
    starting = time.monotonic() - began
    began = time.monotonic()
    runs += [started("send", "campaign.yaml", "--yes") for _ in range(2)]
    while len(seconds) < 2:
        for run in runs:
            if run.pid not in seconds and run.poll() is not None:
                seconds[run.pid] = time.monotonic() - began
                left.set()
        time.sleep(0.005)

    loser, winner = sorted(runs, key=lambda run: seconds[run.pid])
    words = loser.communicate(timeout=60)[1]
    winner.communicate(timeout=60)

    assert (loser.returncode, winner.returncode) == (4, 0), words
    assert f"another run of digest 2026-11 is under way (process {winner.pid} on " in words
    assert Counter(relay.recipients()) == Counter(ADDRESSES)
    record_property("figure", f"two runs at once: the second left after {seconds[loser.pid]:.1f} s, of which a run takes {starting:.1f} to start")
    # To start both on a machine that has other work is not the lock's doing.
    assert seconds[loser.pid] < 2 + 3 * starting


def test_a_lock_left_by_kill_9_blocks_nobody_though_a_child_of_the_run_lives_on(folder):
    """What password_command left behind has inherited nothing."""
    with Relay({"AUTH": "235 2.7.0 welcome"}, capabilities=("AUTH PLAIN",)) as relay:
        folder.relay(relay.port, '  username: ann\n  password_command: "sleep 60 >/dev/null 2>&1 & echo $! >child; echo secret"\n  allow_plaintext_login: true\n')
        relay.answers["end of data"] = lambda octets: None
        run = started("send", "campaign.yaml", "--yes")
        while "DATA" not in relay.commands and run.poll() is None:
            time.sleep(0.005)
        run.kill()
        run.communicate(timeout=60)
        child = int((folder.path / "child").read_text())
        try:
            relay.answers["end of data"] = "250 2.0.0 taken"
            relay.drain()
            said = postroom("send", "campaign.yaml", "--yes", "--json")
        finally:
            for process in (child, int((folder.path / "child").read_text())):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    assert (said.exit, said.json["sent"], said.json["uncertain"]) == (1, 1, 1), said.err


def test_even_where_somebody_removes_the_lock_nobody_gets_two(campaign, relay):
    """The journal itself lets a message leave only once: whoever is second stops."""
    second = []

    def unlocked(taken):
        if taken == 20:
            for lock in (campaign.path / ".postroom").glob("*.lock"):
                lock.unlink()
            second.append(started("send", "campaign.yaml", "--yes"))
        time.sleep(0.02)

    relay.after = unlocked
    first = postroom("send", "campaign.yaml", "--yes")
    words = second[0].communicate(timeout=60)[1]

    assert {first.exit, second[0].returncode} <= {0, 1, 2} and "Traceback" not in words
    assert max(Counter(relay.recipients()).values()) == 1
    relay.after = None
    last = postroom("send", "campaign.yaml", "--yes", "--json")
    states = deliveries(campaign)
    assert last.json["remaining"] == 0 and {address for address, state in states.items() if state == "sent"} <= set(relay.recipients())
    assert max(Counter(relay.recipients()).values()) == 1
