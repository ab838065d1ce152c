"""How many messages are in flight: few where the pace is slow, as many as the line needs where it is long, never more than allowed."""

import pytest

from postroom.send.window import Window


def sent(window, trip, rate=float("inf"), service=0.0, messages=400):
    """The most that were in flight, behind the first 50 and in all, over a line of `trip` seconds to a relay that takes `service` seconds for each."""
    now, leaves_at, free_at, answers, most = 0.0, 0.0, 0.0, [], []
    for _ in range(messages):
        while answers and (len(answers) >= window.size or answers[0] <= now):
            now = max(now, answers.pop(0))
            window.answered(1, now)
        now = max(now, leaves_at)
        while answers and answers[0] <= now:
            window.answered(1, answers.pop(0))
        leaves_at = now + 1 / rate
        window.left(1, now)
        free_at = max(free_at, now + trip / 2) + service
        answers.append(free_at + trip / 2)
        most.append(len(answers))
    return max(most[50:]), max(most)


@pytest.mark.parametrize(("rate", "trip", "most"), [(0.5, 0.05, 1), (2, 0.05, 1), (2, 0.2, 1), (14, 0.05, 2), (10, 0.2, 4), (99, 0.05, 10), (40, 0.0004, 1)])
def test_a_slow_pace_has_no_more_in_flight_than_twice_what_it_needs(rate, trip, most):
    window = Window(32)

    sent(window, trip, rate)

    assert window.size == most


def test_a_short_line_has_what_leaves_within_two_commits():
    window = Window(32)

    sent(window, 0.0004, 1000)

    assert (window.size, window.group) == (20, 10)


def test_at_two_a_second_nothing_is_ever_sent_ahead():
    assert sent(Window(32), 0.05, rate=2) == (1, 1)


@pytest.mark.parametrize("limit", [1, 7, 32, 256])
def test_a_long_line_to_a_fast_relay_is_filled_up_to_the_limit(limit):
    window = Window(limit)

    assert sent(window, 0.05, messages=2000)[1] == window.size == limit


def test_it_grows_from_one_and_doubles():
    window, sizes = Window(256), []
    for turn in range(6):
        sizes.append(window.size)
        window.left(sizes[-1], turn * 0.05)
        window.answered(sizes[-1], (turn + 1) * 0.05)

    assert sizes[:2] == [1, 2] and all(later >= earlier for earlier, later in zip(sizes, sizes[1:])) and sizes[-1] > 8


def test_a_session_that_ended_is_forgotten_and_the_pace_begins_anew():
    window = Window(32)
    sent(window, 0.05)
    window.ended()
    window.left(1, 5000.0)
    window.answered(1, 5000.05)

    assert window.size == 2


@pytest.mark.parametrize(("rate", "trip", "group"), [(2, 0.05, 1), (14, 0.05, 1), (300, 0.05, 3), (float("inf"), 0.05, 6)])
def test_a_commit_serves_what_leaves_in_a_moment_and_three_quarters_of_the_window_at_most(rate, trip, group):
    window = Window(32)

    sent(window, trip, rate, messages=1000)

    assert window.group == group <= max(1, window.size * 3 // 4)


def test_groups_leave_as_far_apart_as_spreads_the_window_over_a_round_trip():
    window = Window(32)

    sent(window, 0.05)

    assert window.size == 32 and window.gap == pytest.approx(0.8 * 0.05 / 32)


def test_nobody_waits_for_a_gap_where_the_relay_has_a_queue_of_its_own():
    """It is busy whatever we do, and takes a burst with less effort than one after the other."""
    window = Window(32)

    sent(window, 0.05, service=0.01)

    assert window.gap == 0
