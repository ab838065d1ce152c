"""Signals, sleep and the clock while mail leaves. Reliability 4a: SIGTERM, SIGINT twice, SIGHUP, SIGPIPE, terminal closed; laptop sleep, clock.

The rest of that row is elsewhere: kill -9, which is what an OOM kill is, in test_chaos.py; a closed terminal or stream in cli/test_send.py.
"""

import datetime
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

import pytest

from postroom.compose import mime
from running import deliveries, postroom, started

PEOPLE = 60
ADDRESSES = [f"p{number:02}@example.com" for number in range(PEOPLE)]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# Every time that it is asked, the wall clock is an hour off in another direction; twice a year it does so by law, and NTP does it at any time.
JUMPING = ("import itertools, sys, time\nreal, jumps = time.time, itertools.cycle((3600, -3600, 0, 90000, -90000))\ntime.time = lambda: real() + next(jumps)\n"
           "from postroom.cli.main import main\nsys.exit(main(sys.argv[1:]))")
AT_ONCE = "import sys, postroom.send.loop as loop\nloop.FINISH_SECONDS = 1\nfrom postroom.cli.main import main\nsys.exit(main(sys.argv[1:]))"


@pytest.fixture
def campaign(folder, relay):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in ADDRESSES))
    folder.relay(relay.port)
    return folder


@pytest.fixture
def process():
    """Where a test puts its process, so that the relay's answers can reach it."""
    processes = []
    yield processes
    for one in processes:
        if one.poll() is None:
            one.kill()
        one.communicate(timeout=60)


def finishes(campaign, relay, uncertain=0):
    relay.after = None
    relay.answers.clear()

    said = postroom("send", "campaign.yaml", "--yes", "--json")

    assert (said.exit, said.json["remaining"], said.json["uncertain"]) == (1 if uncertain else 0, 0, uncertain), said.err
    assert max(Counter(relay.recipients()).values()) == 1 and len(relay.taken) == PEOPLE - uncertain


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_begins_no_message_more_and_leaves_none_uncertain(campaign, relay, process, number):
    """Reliability 3, goal 5."""
    relay.after = lambda taken: taken == 20 and process[0].send_signal(number)
    process.append(started("send", "campaign.yaml", "--yes"))

    _, words = process[0].communicate(timeout=60)

    assert process[0].returncode == 128 + number, words
    assert sum(command.startswith("MAIL") for command in relay.commands) == len(relay.taken) == 20
    assert Counter(deliveries(campaign).values()) == {"sent": 20, "pending": PEOPLE - 20}
    assert "20 sent in this run; 20 of 60 sent in all." in words and "Go on with: postroom send campaign.yaml" in words
    finishes(campaign, relay)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_rate_makes_us_wait_ends_the_run_within_a_second(campaign, relay, process, number):
    campaign.relay(relay.port, "  rate: 1 per 30 seconds\n")
    process.append(started("send", "campaign.yaml", "--yes"))
    while not relay.taken:
        time.sleep(0.005)
    time.sleep(0.3)

    before = time.monotonic()
    process[0].send_signal(number)
    while relay.lines and time.monotonic() < before + 30:
        time.sleep(0.005)
    said_goodbye = time.monotonic() - before
    process[0].communicate(timeout=60)

    assert process[0].returncode == 128 + number
    assert said_goodbye < 1 and Counter(deliveries(campaign).values()) == {"sent": 1, "pending": PEOPLE - 1}


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)])
def test_a_second_signal_stops_at_once_and_the_one_in_flight_is_uncertain(campaign, relay, process, first, second):
    """The exit code is the first one's."""
    times = []

    def silence(octets):
        if len(relay.taken) == 5:
            process[0].send_signal(first)
            time.sleep(0.5)
            times.append(time.monotonic())
            process[0].send_signal(second)
            return None
        return "250 2.0.0 taken"

    relay.answers["end of data"] = silence
    process.append(started("send", "campaign.yaml", "--yes"))

    _, words = process[0].communicate(timeout=60)

    assert (process[0].returncode, time.monotonic() - times[0] < 5) == (128 + first, True), words
    assert Counter(deliveries(campaign).values()) == {"sent": 5, "uncertain": 1, "pending": PEOPLE - 6}
    assert "may or may not have arrived" in words and "Go on with: postroom send campaign.yaml" in words
    finishes(campaign, relay, uncertain=1)


def test_a_relay_that_stays_silent_behind_the_first_signal_is_not_waited_for_for_ever(campaign, relay, process):
    """30 seconds, here one; then the one in flight is uncertain, and everything is written down."""
    relay.answers["end of data"] = lambda octets: len(relay.taken) < 5 and "250 2.0.0 taken" or process[0].terminate()
    process.append(subprocess.Popen([sys.executable, "-c", AT_ONCE, "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))

    _, words = process[0].communicate(timeout=60)

    assert process[0].returncode == 143, words
    assert Counter(deliveries(campaign).values()) == {"sent": 5, "uncertain": 1, "pending": PEOPLE - 6}
    finishes(campaign, relay, uncertain=1)


def test_signals_that_mean_nothing_to_us_change_nothing(campaign, relay, process):
    """SIGPIPE comes as an error of the write; SIGHUP is ignored under nohup; the size of a window is none of our business."""
    relay.after = lambda taken: taken in (5, 10, 15) and [process[0].send_signal(number) for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGWINCH)]
    process.append(subprocess.Popen(["nohup", sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))

    _, words = process[0].communicate(timeout=60)

    assert (process[0].returncode, relay.recipients()) == (0, ADDRESSES), words


def test_a_laptop_that_sleeps_loses_its_line_and_no_mail(campaign, relay, process):
    """Laptop sleep, traps S14: the process stands still, the relay gives up the idle line meanwhile."""
    relay.idle_seconds = 0.3
    process.append(started("send", "campaign.yaml", "--yes"))
    for enough in (10, 25, 40):
        while len(relay.taken) < enough and process[0].poll() is None:
            time.sleep(0.001)
        process[0].send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        process[0].send_signal(signal.SIGCONT)

    _, words = process[0].communicate(timeout=60)

    states = deliveries(campaign)
    uncertain = [address for address, state in states.items() if state == "uncertain"]
    assert process[0].returncode == bool(uncertain), words
    assert relay.connections > 1 and Counter(states.values()) == Counter({"sent": PEOPLE - len(uncertain), "uncertain": len(uncertain)})
    assert Counter(relay.recipients()) <= Counter(ADDRESSES) and {address for address, state in states.items() if state == "sent"} <= set(relay.recipients())


def test_a_clock_that_jumps_in_mid_run_changes_no_pace(campaign, relay):
    """Clock, an hour and a day either way: the pace counts monotonic seconds, so neither a burst nor a standstill follows."""
    campaign.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in ADDRESSES[:9]))
    campaign.relay(relay.port, "  rate: 3 per 1 second\n")
    times = []
    relay.after = lambda taken: times.append(time.monotonic())

    done = subprocess.run([sys.executable, "-c", JUMPING, "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert all(later - earlier > 0.95 for earlier, later in zip(times, times[3:])) and times[-1] - times[0] < 6


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_where_the_clocks_are_put_back_every_second_is_told_apart(zone):
    """DST: what the journal keeps is UTC, so the hour that comes twice is two hours, and the Date says which."""
    seen = set()
    for hour in range(365 * 24):
        at = 1_767_225_600 + hour * 3600
        local = datetime.datetime.fromtimestamp(at, ZoneInfo(zone))
        # As compose/build.py makes it from what the journal keeps.
        offset = datetime.timezone(local.utcoffset())
        written = mime.date(datetime.datetime.fromtimestamp(at, offset))
        assert parsedate_to_datetime(written).timestamp() == at
        seen.add(written)
    assert len(seen) == 365 * 24


@pytest.mark.parametrize(("seconds", "goes"), [(-60, True), (3600, False), (365 * 86_400, True)])
def test_who_was_put_off_by_a_clock_that_was_wrong_does_not_wait_for_years(campaign, relay, seconds, goes):
    """Clock set back between two runs: what was written as due next year is due now."""
    relay.answers[f"RCPT TO:<{ADDRESSES[0]}>"] = "451 4.3.0 later"
    postroom("send", "campaign.yaml", "--yes", "--limit", "1")
    relay.answers.clear()
    with closing(sqlite3.connect(campaign.path / ".postroom" / "journal.sqlite3")) as journal, journal:
        assert journal.execute("UPDATE delivery SET due_at = ? WHERE state = 'deferred'", (time.time() + seconds,)).rowcount == 1

    said = postroom("send", "campaign.yaml", "--yes", "--json")

    assert (said.exit, said.json["deferred"], ADDRESSES[0] in relay.recipients()) == ((0, 0, True) if goes else (1, 1, False))
