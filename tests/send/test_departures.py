"""The messages of a run: in the order of the table, exactly what preflight saw, and again when they are due."""

import datetime

import pytest

from postroom.check.plan import LATE, ONCE_DUE
from postroom.check.preflight import Preflight
from postroom.compose.build import Composer
from postroom.errors import RecipientError
from postroom.read.campaign import load
from postroom.read.recipients import Table
from postroom.send.departures import PASS_SECONDS, Departures, in_turn
from postroom.steps import STEP, finished


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

    left = list(in_turn(composer, plan, lambda: next(clock)))

    assert [(one.key, one.row, one.date) for one in left] == [("a@example.com", 2, 1_795_000_000), ("b@example.com", 3, 1_795_000_060),
                                                              ("c@example.com", 4, 1_795_000_120)]


@pytest.mark.parametrize("table", ["email,first_name\na@example.com,A\nb@example.com,Bob\nc@example.com,C\n", "email,first_name\na@example.com,A\n",
                                   "email,first_name\na@example.com,A\nb@example.com\nc@example.com,C\n", "email,first_name\na@example.com,A\nc@example.com,C\nb@example.com,B\n"])
def test_what_leaves_is_what_was_checked(planned, table):
    folder, composer, plan = planned
    folder.write("recipients.csv", table)

    going = in_turn(composer, plan)

    assert next(going).key == "a@example.com"
    with pytest.raises(RecipientError, match="no longer what was checked") as error:
        next(going)
    assert error.value.where.line == 3


def test_a_repeat_keeps_the_date_of_the_mail_that_it_repeats(planned):
    _, composer, plan = planned
    first, *_ = plan.going()
    plan.goes(first._replace(date=1_794_000_000, utc_offset=8 * 3600))

    repeat = next(in_turn(composer, plan, lambda: 1_795_000_000))

    assert repeat.date == 1_794_000_000 and repeat.octets.startswith(b"Date: Sat, 07 Nov 2026 05:20:00 +0800\r\n")


def test_late_ones_leave_behind_everybody_else(planned):
    _, composer, plan = planned
    first, *_ = plan.going()
    plan.goes(first, LATE)

    assert [one.key for one in in_turn(composer, plan)] == ["b@example.com", "c@example.com", "a@example.com"]


def whole(departures):
    """The next message, in as many steps as it takes."""
    steps = departures.begin()
    return None if steps is None else finished(steps)


def test_a_message_takes_several_steps(planned):
    departures = Departures(planned[1], planned[2])

    steps = departures.begin()

    assert [*steps] == [STEP] * 4
    assert whole(departures).key == "b@example.com"


class Clock:
    def __init__(self):
        self.now = 1_795_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_what_was_put_off_goes_again_when_it_is_due_with_a_new_date(planned, clock):
    _, composer, plan = planned
    departures = Departures(composer, plan, clock)
    a, b, c = (whole(departures) for _ in range(3))
    departures.put_off(a, 300)
    departures.put_off(c, 200)

    early = whole(departures)
    first_due = departures.due_at
    clock.now += 250
    again = whole(departures)
    none_yet = whole(departures)
    clock.now += 50
    last = whole(departures)

    assert (early, first_due, none_yet) == (None, 1_795_000_200, None)
    assert (again.key, again.date, again.message_id) == (c.key, 1_795_000_250, c.message_id)
    assert (last.key, last.date, last.message_id) == (a.key, 1_795_000_300, a.message_id)
    assert whole(departures) is None and departures.due_at is None


def test_who_is_due_goes_before_the_rest_of_the_table_but_the_table_is_not_read_anew_each_time(planned, clock):
    _, composer, plan = planned
    departures = Departures(composer, plan, clock)
    a = whole(departures)
    departures.put_off(a, 10)
    clock.now += PASS_SECONDS - 1
    b = whole(departures)
    clock.now += 1

    assert [b.key] + [whole(departures).key for _ in range(2)] == ["b@example.com", "a@example.com", "c@example.com"]


def test_one_put_off_in_an_earlier_run_goes_once_in_this_one(planned, clock):
    """Its turn in the table's order comes after its time, and is not a second one."""
    _, composer, plan = planned
    third = list(plan.going())[2]
    plan.goes(third._replace(tries=1), ONCE_DUE, due=clock.now + 5)
    departures = Departures(composer, plan, clock)
    clock.now += PASS_SECONDS

    went = [whole(departures).key for _ in range(3)]

    assert went == ["c@example.com", "a@example.com", "b@example.com"] and whole(departures) is None
    assert plan.tries(third.line) == 1


def test_who_is_put_off_while_those_due_go_out_waits_for_the_next_time(planned, clock):
    _, composer, plan = planned
    departures = Departures(composer, plan, clock)
    everybody = [whole(departures) for _ in range(3)]
    for message in everybody:
        departures.put_off(message, 10)
    clock.now += 10
    again = whole(departures)
    departures.put_off(again, 30)

    assert [whole(departures).key for _ in range(2)] == [message.key for message in everybody[1:]]
    assert (whole(departures), departures.due_at, plan.tries(again.row)) == (None, clock.now + 30, 2)


def test_who_waited_has_the_date_of_the_moment_as_if_built_then(planned, clock):
    _, composer, plan = planned
    departures = Departures(composer, plan, clock)
    waiting = whole(departures)
    clock.now += 200 * 86_400  # over the end of daylight saving time somewhere

    fresh = departures.fresh(waiting)

    assert fresh == next(in_turn(composer, plan, clock)) != waiting


def test_a_repeat_that_waited_keeps_its_date(planned, clock):
    _, composer, plan = planned
    first, *_ = plan.going()
    plan.goes(first._replace(date=1_794_000_000, utc_offset=8 * 3600))
    departures = Departures(composer, plan, clock)
    repeat = whole(departures)
    clock.now += 3600

    assert departures.fresh(repeat) is repeat
