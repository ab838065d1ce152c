"""Quotas of hours and days: counted in the journal, over restarts, clocks and campaigns of one account."""

import contextlib
import random
import signal
import sqlite3
import threading
import time

import pytest

from conftest import CAMPAIGN
from postroom.journal.sqlite import Journal
from postroom.message import Envelope, Message
from postroom.outcome import SENT, Fate
from peers import stop
from running import postroom, quick, started


def campaign(folder, relay, name, people, rate):
    """One of several campaigns of one project and account."""
    folder.write(f"{name}.csv", "email,first_name\n" + "".join(f"{name}{number:03}@example.com,R\n" for number in range(people)))
    text = CAMPAIGN.replace("port: 2525", f"port: {relay.port}\n  rate: {rate}").replace("name: digest", f"name: {name}").replace("recipients.csv", f"{name}.csv")
    return folder.write(f"{name}.yaml", text)


def used(folder, text, *values):
    with contextlib.closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as rows, rows:
        return rows.execute(text, values).fetchall()


def test_a_day_quota_of_50_over_three_restarts_and_two_campaigns_is_50_and_no_more(folder, relay, monkeypatch):
    """traps S8, for a day."""
    campaign(folder, relay, "one", 40, "50/day")
    campaign(folder, relay, "two", 40, "50/day")

    first = quick(monkeypatch, "send", "one.yaml", "--yes", "--json", "--limit", "15")
    second = quick(monkeypatch, "send", "two.yaml", "--yes", "--json", "--limit", "20")
    third = quick(monkeypatch, "send", "one.yaml", "--yes", "--json")
    fourth = quick(monkeypatch, "send", "two.yaml", "--yes", "--json")

    assert [(said.exit, said.json["this_run"]["sent"]) for said in (first, second, third, fourth)] == [(0, 15), (0, 20), (3, 15), (3, 0)]
    assert len(relay.taken) == len(set(relay.recipients())) == 50
    assert "50/day are used up; the next message may leave at" in third.json["error"]["what"]
    assert "have it --wait" in third.json["error"]["do"]


def test_two_campaigns_at_the_same_time_keep_one_quota(folder, relay):
    """Both may begin with the whole quota in sight; the journal lets each mail leave or not."""
    for name in ("one", "two"):
        campaign(folder, relay, name, 40, "50/day")
    relay.answers["MAIL"] = lambda line: time.sleep(0.005) or "250 2.1.0 OK"
    said = {}
    runs = [threading.Thread(target=lambda name=name: said.update({name: postroom("send", f"{name}.yaml", "--yes", "--json")})) for name in ("one", "two")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert sum(one.json["this_run"]["sent"] for one in said.values()) == len(relay.taken) == 50
    assert 3 in {one.exit for one in said.values()}


def test_where_it_waits_the_run_goes_on_when_the_quota_opens(folder, relay, monkeypatch):
    campaign(folder, relay, "one", 5, "3/hour")
    quick(monkeypatch, "send", "one.yaml", "--yes", "--limit", "3")
    monkeypatch.setattr("postroom.send.loop.PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("postroom.send.rate.PATIENCE_SECONDS", 0.5)
    used(folder, "UPDATE account_use SET at = ?", time.time() - 3600 + 3)
    before = time.monotonic()

    said = quick(monkeypatch, "send", "one.yaml", "--yes", "--json", "--wait")

    assert (said.exit, said.json["sent"], time.monotonic() - before > 2) == (0, 5, True)


@pytest.mark.parametrize("jump", [-7200, -600, 600])
def test_a_clock_that_was_set_lets_no_more_leave(folder, relay, monkeypatch, jump):
    """traps S14: what left in the journal's future counts, as long as it may be true."""
    campaign(folder, relay, "one", 30, "10/day")
    first = quick(monkeypatch, "send", "one.yaml", "--yes", "--json", "--limit", "6")
    monkeypatch.setitem(Journal.open.__func__.__kwdefaults__, "clock", lambda: time.time() + jump)
    second = quick(monkeypatch, "send", "one.yaml", "--yes", "--json")
    monkeypatch.setitem(Journal.open.__func__.__kwdefaults__, "clock", time.time)
    third = quick(monkeypatch, "send", "one.yaml", "--yes", "--json")

    assert (first.exit, second.exit, third.exit, len(relay.taken), third.json["this_run"]["sent"]) == (0, 3, 3, 10, 0)


class Clock:
    def __init__(self):
        self.now = 1_795_000_000.0

    def __call__(self):
        return self.now


def test_no_sliding_window_ever_holds_more_than_its_count_in_ten_thousand_departures(tmp_path):
    """reliability, goal 10: two campaigns, restarts and clocks that jump ahead, one account; the windows are looked at from outside."""
    chance, clock, windows = random.Random(10), Clock(), ((40, 3600), (300, 86_400))
    journal = Journal.open(str(tmp_path / "journal.sqlite3"), create=True, clock=clock)
    with contextlib.closing(journal):
        left, numbers, editions = [], {"one": 0, "two": 0}, {}
        journal.rows.execute("PRAGMA synchronous = OFF")  # the disk is not what is tested
        for name in numbers:
            journal.edition(name, "").enrol([(f"{name}{number}", "d") for number in range(12_000)], duplicates=0, file="c", content={})
        while len(left) < 10_000:
            name = chance.choice(("one", "two"))
            if name not in editions or chance.random() < 0.01:
                editions[name] = journal.edition(name, "")
                editions[name].begin_run("relay:25", "me@relay", clock.now, windows)
            going = [Message(f"{name}{numbers[name] + more}", 2, Envelope("a@b", ("c@d",), "c@d"), b"", "id", 0, "d") for more in range(chance.randrange(1, 30))]
            turned = editions[name].turn([], going)
            editions[name].turn([Fate(message, SENT, code=250) for message in going[:turned.left]], [])
            left += [clock.now] * turned.left
            numbers[name] += turned.left
            assert (turned.opens_at is None) == (turned.left == len(going))
            clock.now = turned.opens_at if turned.opens_at and chance.random() < 0.7 else clock.now + chance.choice((1, 60, 600, 7200))

    for count, seconds in windows:
        assert min(later - earlier for earlier, later in zip(left, left[count:])) >= seconds
    assert max(numbers.values()) < 12_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_ends_at_once_on_a_signal(folder, relay, number):
    campaign(folder, relay, "one", 5, "3/hour")
    process = started("send", "one.yaml", "--yes", "--wait")
    try:
        words = process.stderr.readline()
        while "Waiting until" not in words and words:
            words = process.stderr.readline()
        process.send_signal(number)
        rest = process.communicate(timeout=20)[1]
    finally:
        stop(process)

    assert (process.returncode, len(relay.taken), relay.commands[-1]) == (128 + number, 3, "QUIT")
    assert "Go on with: postroom send one.yaml" in rest
