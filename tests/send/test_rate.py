"""Windows over departures: never one message more, never later than needed. Given the time, so nothing waits."""

from hypothesis import given
from hypothesis import strategies as st

from postroom.read.campaign import Window
from postroom.send.rate import CLEAN_SECONDS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MOST_GAP_SECONDS, Pace

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


def run(pace, now, until, slow_at=()):
    """Departures from now on, each as soon as it may; the relay asks for less behind those whose number is in slow_at."""
    left = []
    while now < until:
        if pace.free(now):
            pace.left(1, now)
            left.append(now)
            if len(left) in slow_at:
                pace.slow_down(now)
            else:
                pace.taken()
        now = max(pace.next(now), now + 1 / 64)
    return left


def per_second(left, begin, end):
    return sum(begin <= at < end for at in left) / (end - begin)


def test_after_slow_down_the_pace_at_least_halves():
    """reliability, section 6; goal 9."""
    left = run(Pace((Window(10, 1),)), 0.0, 60.0, slow_at={100})

    before, after = per_second(left, 2, 9), per_second(left, 15, 60)
    assert 9 <= before <= 11 and 0.35 * before <= after <= 0.5 * before


def test_each_further_slow_down_halves_it_again():
    left = run(Pace((Window(10, 1),)), 0.0, 120.0, slow_at={100, 110})

    assert 0.15 * 10 <= per_second(left, 20, 60) <= 0.26 * 10


def test_it_recovers_by_a_tenth_for_each_clean_minute_until_it_is_as_before():
    left = run(Pace((Window(10, 1),)), 0.0, 900.0, slow_at={100})
    minutes = [per_second(left, begin, begin + 60) for begin in range(15, 800, 60)]

    assert all(later >= earlier - 0.1 for earlier, later in zip(minutes, minutes[1:]))
    assert minutes[0] < 5.1 and minutes[3] < 7 and minutes[-1] > 9.5


def test_the_pauses_grow_while_nothing_is_taken_and_are_short_again_afterwards():
    pace, now, pauses = Pace(()), 100.0, []
    for _ in range(14):
        pace.slow_down(now)
        assert pace.free(now) == 0
        pauses.append(pace.next(now) - now)
        now = pace.next(now)
    pace.taken()
    pace.slow_down(now)

    assert pauses[:4] == [FIRST_PAUSE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS and pace.next(now) - now == FIRST_PAUSE_SECONDS


def test_however_often_it_is_slowed_down_it_goes_on():
    pace, now = Pace(()), 0.0
    for _ in range(30):
        pace.left(1, now)
        pace.slow_down(now)
        pace.taken()
        now = pace.next(now)

    assert pace.next(now) - now <= MOST_GAP_SECONDS


@given(WINDOWS, st.sets(st.integers(1, 60), max_size=8))
def test_a_brake_never_loosens_a_window(windows, slow_at):
    left = run(Pace(tuple(windows)), 100.0, 100.0 + 2 * CLEAN_SECONDS, slow_at)

    for window in windows:
        for first, last in zip(left, left[window.count:]):
            assert last - first >= window.seconds
