"""The send loop beside a line and a journal that stand still when they are told to: what is done meanwhile, and that nothing leaves before its commit."""

import contextlib
import sqlite3
import time

import pytest

from postroom.cli.main import main as run
from postroom.errors import JournalUnavailable
from postroom.journal.sqlite import Edition, Turned
from postroom.message import Envelope, Message
from postroom.outcome import SENT, Fate
from postroom.read.campaign import StopAfter
from postroom.send import loop
from postroom.send.patience import Patience
from postroom.send.queue import Queue
from postroom.send.rate import Pace
from relay import Relay

PEOPLE = [f"p{number:03}@example.com" for number in range(200)]


class Source:
    """Messages by name, none of which is ever put off."""

    due_at = None

    def __init__(self, names, noted):
        self.left, self.noted = list(names), noted

    def begin(self):
        return self.making(self.left.pop(0)) if self.left else None

    def making(self, name):
        self.noted.append(f"built {name}")
        return Message(name, 2, Envelope("n@example.com", (name,), name), b"x\r\n", name, 0, "d")
        yield

    def fresh(self, message):
        return message


class Journal:
    """Notes what it is to write, in as many steps as it has rows. fails: the number of the turn that cannot be written."""

    def __init__(self, noted, fails=None):
        self.noted, self.fails, self.turns, self.answered, self.states = noted, fails, 0, [], {}

    def turn(self, answered, leaving):
        steps = self.turning(answered, leaving)
        with contextlib.suppress(StopIteration):
            while True:
                next(steps)

    def turning(self, answered, leaving):
        if not answered and not leaving:
            return Turned(0, None)
        self.turns += 1
        for _ in leaving:
            yield
        if self.turns == self.fails:
            raise JournalUnavailable("disk full", None, "make room")
        self.noted.append(f"wrote {''.join(message.key for message in leaving)}")
        self.answered += [fate.message.key for fate in answered]
        for name in leaving:
            self.states[name.key] = "leaving"
        for fate in answered:
            self.states[fate.message.key] = fate.state
        return Turned(len(leaving), None)


init = Journal.__init__


class Line:
    """Has so many in flight at most, and answers one at each push once all work was done that there is."""

    def __init__(self, noted, window=4, group=2):
        self.noted, self.window, self.group, self.out, self.untils = noted, window, group, [], []
        self.burst, self.opens_at = window, 0.0

    @property
    def in_flight(self):
        return len(self.out)

    @property
    def room(self):
        room = self.window - len(self.out)
        return room if room >= self.group or not self.out else 0

    def ready(self):
        pass

    def push(self, leaving, until, began, work):
        self.untils.append(float("inf") if until is None else until - time.monotonic())
        self.out += leaving
        assert len(self.out) <= self.window
        self.noted += [f"left {message.key}" for message in leaving]
        while self.out and next(work, None):
            pass
        return [Fate(self.out.pop(0), SENT, phase="end of data", code=250)] if self.out else []

    def finish(self, within):
        answered, self.out = [Fate(message, SENT, phase="end of data", code=250) for message in self.out], []
        return answered

    def quit(self):
        pass


def sent(names, fails=None, interrupted=lambda noted: False, told=lambda *turn: None, over=Line):
    """(what was done in order, the queue, the journal) once all of these were sent."""
    noted = []
    queue, journal = Queue(Source(names, noted), Patience(StopAfter())), Journal(noted, fails)
    loop.send(queue, over(noted), journal, Pace(()), told, lambda: interrupted(noted), None)
    return noted, queue, journal


def test_everybody_leaves_once_behind_the_commit_that_names_them():
    noted, queue, journal = sent("abcdefghij")

    assert [words.split()[1] for words in noted if words.startswith("left")] == list("abcdefghij") == journal.answered
    for name in "abcdefghij":
        wrote, = (at for at, words in enumerate(noted) if words.startswith("wrote ") and name in words.split(" ")[1])
        assert wrote < noted.index(f"left {name}")
    assert queue.closed_by is None


class SpreadLine(Line):
    """Two may leave at one moment, and the next two a while later."""

    def __init__(self, noted):
        super().__init__(noted)
        self.burst, self.left_at = 2, []

    def push(self, leaving, until, began, work):
        if leaving:
            self.left_at.append(time.monotonic())
            self.opens_at = self.left_at[-1] + 0.03
        answered = super().push(leaving, until, began, work)
        if not answered and until is not None:
            time.sleep(max(0, until - time.monotonic()))
        return answered


def test_groups_keep_their_distance():
    lines = []

    noted, *_ = sent("abcdefghij", over=lambda noted: lines.append(SpreadLine(noted)) or lines[0])

    left_at = lines[0].left_at
    assert [words.split()[1] for words in noted if words.startswith("left")] == list("abcdefghij")
    assert len(left_at) == 5 and all(later - earlier >= 0.03 for earlier, later in zip(left_at, left_at[1:]))


def test_while_the_relay_is_at_work_others_are_built_and_written_down():
    noted, *_ = sent("abcdefghij")

    assert noted.index("left a") < noted.index("built e") < noted.index("wrote ef") < noted.index("left e")
    # A commit serves a group; at first nobody is in flight, and the whole window is free.
    assert [words for words in noted if words.startswith("wrote ") and words != "wrote "] == ["wrote abcd", "wrote ef", "wrote gh", "wrote ij"]


def test_a_disk_that_fails_while_others_are_in_flight_loses_no_answer():
    noted, queue, journal = sent("abcdefghij", fails=3)

    left = [words.split()[1] for words in noted if words.startswith("left")]
    assert queue.closed_by.what == "disk full"
    assert journal.answered == left and 0 < len(left) < 10


def test_while_a_quota_is_shut_for_long_those_in_flight_are_waited_for():
    class Shut(Journal):
        def turning(self, answered, leaving):
            yield from super().turning(answered, leaving[:2])
            return Turned(2, time.time() + 3600)

    noted, rested = [], []
    queue, line = Queue(Source("abcd", noted), Patience(StopAfter())), Line(noted)

    loop.send(queue, line, Shut(noted), Pace(()), lambda *turn: None, lambda: False, lambda until, quota: rested.append(quota) or "shut")

    assert [words for words in noted if words.startswith("left")] == ["left a", "left b"]
    assert queue.closed_by == "shut" and len(rested) == 1
    # Once it is known, nobody comes back at once, which would be again and again.
    assert len(line.untils) > 1 and min(line.untils[1:]) > 0.01


class PatientLine(Line):
    """Comes back when the work ends, and else not before it is time, as a session does."""

    def push(self, leaving, until, began, work):
        self.out += leaving
        self.noted += [f"left {message.key}" for message in leaving]
        while worked := next(work, None):
            pass
        if self.out:
            return [Fate(self.out.pop(0), SENT, phase="end of data", code=250)]
        if worked is not None and until is not None:
            time.sleep(max(0.0, until - time.monotonic()))
        return []


def test_while_a_quota_is_shut_for_a_moment_the_journal_is_left_alone():
    """Another run of the account has used it up: only the journal knows of that one's departures."""
    opens_at, asked = time.time() + 0.5, []

    class Shut(Journal):
        def turning(self, answered, leaving):
            asked.append(leaving)
            is_open = time.time() >= opens_at
            yield from super().turning(answered, leaving if is_open else [])
            return Turned(len(leaving), None) if is_open else Turned(0, opens_at)

    noted = []

    loop.send(Queue(Source("abcd", noted), Patience(StopAfter())), PatientLine(noted), Shut(noted), Pace(()), lambda *turn: None, lambda: False, None)

    assert [words for words in noted if words.startswith("left")] == ["left a", "left b", "left c", "left d"]
    assert len(asked) <= 10 and time.time() >= opens_at


@pytest.mark.parametrize("words", ["left a", "built e", "built f", "wrote ef", "left f", "wrote gh", "left j"])
def test_once_a_signal_came_nobody_else_leaves_and_whoever_was_named_is_pending(words):
    left_before, counted = [], []

    def interrupted(noted):
        if words in noted and not left_before:
            left_before[:] = [len([one for one in noted if one.startswith("left")])]
            return True
        return False

    noted, queue, journal = sent("abcdefghij", interrupted=interrupted, told=lambda answered, leaving: counted.append(len(leaving) - len(answered)))

    left = [one.split()[1] for one in noted if one.startswith("left")]
    assert queue.closed_by == loop.INTERRUPTED and left_before == [len(left)]
    assert journal.states == {name: "sent" if name in left else "pending" for name in journal.states} and set(left) <= set(journal.states)
    assert sum(counted) == 0


def test_a_fault_of_ours_while_others_are_in_flight_loses_no_answer(monkeypatch):
    def failing(self):
        if self.left == ["h", "i", "j"]:
            raise ZeroDivisionError
        return begin(self)

    begin, journals = Source.begin, []
    monkeypatch.setattr(Source, "begin", failing)
    monkeypatch.setattr(Journal, "__init__", lambda self, *words: (init(self, *words), journals.append(self))[0])

    with pytest.raises(ZeroDivisionError):
        sent("abcdefghij")

    left = [one.split()[1] for one in journals[0].noted if one.startswith("left")]
    assert journals[0].states == {name: "sent" if name in left else "pending" for name in "abcdefg"} and len(left) > 4


@pytest.fixture
def pipelined(folder):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in PEOPLE))
    with Relay(capabilities=("PIPELINING", "8BITMIME", "SIZE 50000000")) as relay:
        folder.relay(relay.port)
        yield relay


def test_whoever_leaves_stands_in_the_journal_before_the_relay_has_the_body(folder, pipelined):
    states = []

    def look(octets):
        address = next(address for address in PEOPLE if f"To: P <{address}>".encode() in octets)
        with contextlib.closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as rows:
            states.append(rows.execute("SELECT state FROM delivery WHERE key = ?", (address,)).fetchone()[0])
        return "250 ok"

    pipelined.answers["end of data"] = look

    assert run(["send", "campaign.yaml", "--yes"]) == 0
    assert states == ["leaving"] * len(PEOPLE)


@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_journal_that_cannot_be_written_in_mid_run_stops_it_and_nobody_gets_two(folder, pipelined, monkeypatch, number):
    turning, turns = Edition.turning, []

    def failing(edition, answered, leaving):
        turns.append(leaving)
        if len(turns) == number:
            yield
            raise JournalUnavailable("the journal cannot be read or written: disk full", None, "make room")
        return (yield from turning(edition, answered, leaving))

    with monkeypatch.context() as patch:
        patch.setattr(Edition, "turning", failing)
        assert run(["send", "campaign.yaml", "--yes"]) == 3
    assert run(["send", "campaign.yaml", "--yes"]) == 0

    assert sorted(taken.recipients[0] for taken in pipelined.taken) == sorted(PEOPLE)
