"""Windows over departures: never one message more, never later than needed. Given the time, so nothing waits."""

from hypothesis import given
from hypothesis import strategies as st

from postroom.read.campaign import Window
from postroom.send.rate import Pace

WINDOWS = st.lists(st.builds(Window, st.integers(1, 6), st.integers(1, 10)), min_size=1, max_size=3)


def departures(windows, messages, start=100.0, batch=1000):
    """When each of so many messages leaves where each goes as soon as it may."""
    pace, now, left = Pace(tuple(windows)), start, []
    while len(left) < messages:
        count = min(pace.free(now), messages - len(left), batch)
        pace.left(count, now)
        left += [now] * count
        following = pace.next(now)
        assert following > now or count
        now = following
    return left


@given(WINDOWS, st.integers(1, 40), st.integers(1, 3))
def test_no_window_ever_holds_more_than_its_count(windows, messages, batch):
    left = departures(windows, messages, batch=batch)

    for window in windows:
        for first, last in zip(left, left[window.count:]):
            assert last - first >= window.seconds


@given(WINDOWS, st.integers(1, 40))
def test_each_leaves_at_the_first_moment_that_all_windows_allow(windows, messages):
    left = departures(windows, messages)

    for number, moment in enumerate(left):
        earliest = [left[number - window.count] + window.seconds for window in windows if number >= window.count]
        assert moment == max([100.0, *earliest])


@given(WINDOWS, st.integers(1, 40))
def test_the_time_told_beforehand_is_not_less_than_one_window_takes_alone(windows, messages):
    told = Pace(tuple(windows)).seconds_for(messages)

    assert told == max(departures([window], messages)[-1] - 100.0 for window in windows)


def test_the_first_burst_counts():
    assert departures([Window(3, 10)], 4) == [100.0, 100.0, 100.0, 110.0]


def test_without_windows_all_may_leave_at_once():
    pace = Pace(())

    assert pace.free(5.0) > 10**6 and pace.next(5.0) == 5.0 and pace.seconds_for(1000) == 0


def test_a_slow_relay_does_not_save_up_a_burst():
    """The window slides: messages that left late count until their own second is over."""
    pace = Pace((Window(2, 1),))
    pace.left(1, 0.0)
    pace.left(1, 0.9)

    assert (pace.free(1.0), pace.free(1.89), pace.free(1.9)) == (1, 1, 2) and pace.next(0.9) == 1.0
