"""The journal is written while the line goes on, and yet nothing leaves before the commit that names it."""

import contextlib
import sqlite3
import threading

import pytest

from postroom.cli.main import run
from postroom.errors import JournalUnavailable
from postroom.journal.sqlite import Edition, Turned
from postroom.message import Envelope, Message
from postroom.outcome import SENT, Fate
from postroom.read.campaign import StopAfter
from postroom.send import loop
from postroom.send.patience import Patience
from postroom.send.queue import Queue
from postroom.send.rate import Pace
from postroom.send.turns import Turns
from relay import Relay

PEOPLE = [f"p{number}@example.com" for number in range(60)]


class Journal:
    """turn() waits until it may, then says what it was asked."""

    def __init__(self):
        self.may, self.asked = threading.Event(), []

    def turn(self, answered, leaving):
        assert self.may.wait(10)
        self.asked.append((answered, leaving))
        if leaving == ["fails"]:
            raise JournalUnavailable("the disk is full")
        return len(leaving)


def test_a_turn_is_written_beside_what_its_maker_does():
    journal = Journal()
    with Turns(journal) as turns:
        turns.begin([], ["a", "b"], beside=True)
        assert (turns.is_done, turns.under_way, journal.asked) == (False, ([], ["a", "b"]), [])
        journal.may.set()

        assert turns.end() == 2
        assert (turns.under_way, journal.asked) == (None, [([], ["a", "b"])])


@pytest.mark.parametrize("beside", [True, False])
def test_what_a_turn_raises_is_raised_where_it_ends_and_what_was_answered_is_kept(beside):
    journal = Journal()
    journal.may.set()
    with Turns(journal) as turns:
        turns.begin(["answered"], ["fails"], beside)
        with pytest.raises(JournalUnavailable):
            turns.end()
        assert (turns.under_way, turns.unwritten) == (None, ["answered"])


def test_it_ends_with_the_turn_that_is_under_way_and_leaves_no_thread():
    journal, before = Journal(), threading.active_count()
    journal.may.set()
    with Turns(journal) as turns:
        turns.begin([], ["a"], beside=True)

    assert journal.asked == [([], ["a"])] and threading.active_count() == before


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


class Waiting(Journal):
    """Beside the line, a turn is written only once somebody was answered meanwhile."""

    def turn(self, answered, leaving):
        if threading.current_thread() is not threading.main_thread():
            assert self.may.wait(10), "nobody was answered meanwhile"
            self.may.clear()
        self.asked.append((answered, leaving))
        return Turned(len(leaving), None)


class Ten:
    """Ten messages, none of which is ever put off."""

    due_at = None

    def __init__(self):
        self.left = [Message(name, 2, Envelope("n@example.com", (name,), name), b"x\r\n", name, 0, "d") for name in "abcdefghij"]

    def next(self):
        return self.left.pop(0) if self.left else None

    def fresh(self, message):
        return message


class Two:
    """A line that has two in flight at most, and answers one at each push."""

    def __init__(self, journal):
        self.journal, self.out = journal, []

    @property
    def in_flight(self):
        return len(self.out)

    @property
    def room(self):
        return 2 - len(self.out)

    def ready(self):
        pass

    def push(self, leaving, until, began, beside=None):
        self.out += leaving
        assert len(self.out) <= 2
        fate = Fate(self.out.pop(0), SENT, phase="end of data", code=250)
        if beside is not None:
            self.journal.may.set()
        return [fate]

    def finish(self, within):
        return [Fate(self.out.pop(0), SENT, phase="end of data", code=250) for _ in [*self.out]]


def test_while_the_disk_takes_its_time_those_in_flight_are_answered():
    journal = Waiting()

    loop.send(Queue(Ten(), Patience(StopAfter())), Two(journal), journal, Pace(()), lambda *turn: None, lambda: False, None)

    assert [message.message_id for _, leaving in journal.asked for message in leaving] == list("abcdefghij")
    assert [fate.message.message_id for answered, _ in journal.asked for fate in answered] == list("abcdefghij")


def test_a_disk_that_fails_beside_the_line_stops_the_run_and_nobody_gets_two(folder, pipelined, monkeypatch):
    turn, turns = Edition.turn, []

    def failing(edition, answered, leaving):
        turns.append(leaving)
        if len(turns) == 4:
            raise JournalUnavailable("the journal cannot be read or written: disk full", None, "make room")
        return turn(edition, answered, leaving)

    with monkeypatch.context() as patch:
        patch.setattr(Edition, "turn", failing)
        assert run(["send", "campaign.yaml", "--yes"]) == 3
    assert run(["send", "campaign.yaml", "--yes"]) == 0

    assert sorted(taken.recipients[0] for taken in pipelined.taken) == sorted(PEOPLE)
