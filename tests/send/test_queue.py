"""What still has to go: in the order of the table, exactly what preflight saw, each once."""

import datetime

import pytest

from postroom.check.preflight import Preflight
from postroom.compose.build import Composer
from postroom.errors import RecipientError, RelayRefused, RelayUnavailable
from postroom.message import Envelope, Message
from postroom.outcome import CAMPAIGN as EVERYBODY
from postroom.outcome import PENDING, REJECTED, SENT, SESSION, Fate
from postroom.read.campaign import load
from postroom.read.recipients import Table
from postroom.send.queue import Queue, departures


def message(name):
    address = f"{name}@example.com"
    return Message(address, 2, Envelope("news@example.com", (address,), address), b"x\r\n", name, 0, "d")


def names(messages):
    return [one.message_id for one in messages]


def test_messages_leave_in_order_and_what_came_back_goes_first():
    queue = Queue(iter([message(name) for name in "abcde"]))
    a, b, c = queue.take(3)

    queue.settle([Fate(a, SENT), Fate(b, PENDING, scope=SESSION), Fate(c, PENDING, scope=SESSION)])

    assert names(queue.take(10)) == ["b", "c", "d", "e"]
    assert not queue and queue.closed_by is None


def test_one_that_comes_back_twice_is_left_for_the_next_run_and_holds_up_nobody():
    """The relay may close at this one alone."""
    queue = Queue(iter([message(name) for name in "abc"]))
    for _ in range(2):
        a, = queue.take(1)
        queue.settle([Fate(a, PENDING, scope=SESSION)])

    others = queue.take(5)
    queue.settle([Fate(one, SENT) for one in others])

    assert (names([a]), names(others)) == (["a"], ["b", "c"])
    assert not queue and isinstance(queue.closed_by, RelayUnavailable)


def test_it_never_hands_out_more_than_asked_and_builds_only_one_ahead():
    built = []

    def messages():
        for name in "abcdef":
            built.append(name)
            yield message(name)

    queue = Queue(messages())

    assert bool(queue) and built == ["a"]
    assert names(queue.take(0)) == [] and names(queue.take(2)) == ["a", "b"]
    assert built == ["a", "b"]


def test_a_reply_that_would_hit_everybody_closes_it():
    queue = Queue(iter([message(name) for name in "abc"]))
    a, = queue.take(1)

    queue.settle([Fate(a, PENDING, scope=EVERYBODY, phase="mail", code=550, text="no such sender")])

    assert isinstance(queue.closed_by, RelayRefused) and not queue and queue.take(5) == []


def test_a_refused_recipient_closes_nothing():
    queue = Queue(iter([message(name) for name in "ab"]))
    a, = queue.take(1)

    queue.settle([Fate(a, REJECTED)])

    assert queue.closed_by is None and names(queue.take(5)) == ["b"]


def test_the_first_reason_to_close_counts():
    queue = Queue(iter([message("a")]))
    queue.close("interrupted")
    queue.close("later")

    assert queue.closed_by == "interrupted"


@pytest.fixture
def planned(folder):
    """A composer and the plan of its preflight, for three people of whom the second is not mailed."""
    folder.write("recipients.csv", "email,first_name\na@example.com,A\nb@example.com,B\nc@example.com,C\n")
    campaign = load("campaign.yaml", secrets=False)
    composer = Composer(campaign, Table(campaign), datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC))
    checked = Preflight(composer, lambda keys: {}, 0.0).run().passed()
    return folder, composer, checked.plan


def test_departures_are_the_plan_with_the_date_of_their_moment(planned):
    _, composer, plan = planned
    clock = iter([1_795_000_000, 1_795_000_060, 1_795_000_120])

    left = list(departures(composer, plan, lambda: next(clock)))

    assert [(one.key, one.row, one.date) for one in left] == [("a@example.com", 2, 1_795_000_000), ("b@example.com", 3, 1_795_000_060),
                                                              ("c@example.com", 4, 1_795_000_120)]


@pytest.mark.parametrize("table", ["email,first_name\na@example.com,A\nb@example.com,Bob\nc@example.com,C\n", "email,first_name\na@example.com,A\n",
                                   "email,first_name\na@example.com,A\nb@example.com\nc@example.com,C\n", "email,first_name\na@example.com,A\nc@example.com,C\nb@example.com,B\n"])
def test_what_leaves_is_what_was_checked(planned, table):
    folder, composer, plan = planned
    folder.write("recipients.csv", table)

    going = departures(composer, plan)

    assert next(going).key == "a@example.com"
    with pytest.raises(RecipientError, match="no longer what was checked") as error:
        next(going)
    assert error.value.where.line == 3


def test_a_repeat_keeps_the_date_of_the_mail_that_it_repeats(planned):
    _, composer, plan = planned
    (line, _, digest, _, _), *_ = plan.going(late=False)
    plan.goes(line, digest, 1_794_000_000, 8 * 3600)

    repeat = next(departures(composer, plan, lambda: 1_795_000_000))

    assert repeat.date == 1_794_000_000 and repeat.octets.startswith(b"Date: Sat, 07 Nov 2026 05:20:00 +0800\r\n")


def test_late_ones_leave_behind_everybody_else(planned):
    _, composer, plan = planned
    (line, _, digest, _, _), *_ = plan.going(late=False)
    plan.goes(line, digest, late=True)

    assert [one.key for one in departures(composer, plan)] == ["b@example.com", "c@example.com", "a@example.com"]


