"""What still has to go: in order, each once, what was put off again when it is due, and what closes it."""

from postroom.errors import RecipientError, RelayRefused, RelayUnavailable
from postroom.message import Envelope, Message
from postroom.outcome import CAMPAIGN as EVERYBODY
from postroom.outcome import BEHIND, DEFERRED, GAVE_UP, PENDING, REJECTED, SENT, SESSION, UNCERTAIN, Fate
from postroom.read.campaign import StopAfter
from postroom.send.patience import Patience
from postroom.send.queue import MOST_TRIES, Queue
from postroom.smtp.reply import SLOW, Meaning


def message(name):
    address = f"{name}@example.com"
    return Message(address, 2, Envelope("news@example.com", (address,), address), b"x\r\n", name, 0, "d")


class Source:
    """Messages in order; what was put off stands in `waits`: (name, seconds)."""

    def __init__(self, names):
        self.left, self.built, self.waits, self.tried, self.due_at = list(names), [], [], 0, None

    def begin(self):
        return self.making(self.left.pop(0)) if self.left else None

    def making(self, name):
        if name == "?":
            raise RecipientError("changed")
        self.built.append(name)
        return message(name)
        yield

    def fresh(self, message):
        return message

    def tries(self, message):
        return self.tried

    def put_off(self, message, wait_seconds):
        self.waits.append((message.message_id, wait_seconds))


def queue_of(names):
    source = Source(names)
    return Queue(source, Patience(StopAfter())), source


def names(messages):
    return [one.message_id for one in messages]


def test_messages_leave_in_order_and_what_came_back_goes_first():
    queue, _ = queue_of("abcde")
    a, b, c = queue.take(3)

    queue.settle([Fate(a, SENT), Fate(b, PENDING, scope=SESSION), Fate(c, PENDING, scope=SESSION)])

    assert names(queue.take(10)) == ["b", "c", "d", "e"]
    assert not queue and queue.closed_by is None


def test_so_many_are_built_ahead_and_no_more():
    queue, source = queue_of("abcdef")

    assert [queue.prepare(3) for _ in range(4)] == [True, True, True, False]
    assert (queue.ready, source.built) == (3, ["a", "b", "c"])
    assert (names(queue.take(2)), queue.prepare(3)) == (["a", "b"], True)
    assert names(queue.take(10)) == ["c", "d", "e", "f"] and not queue


def test_of_large_ones_few_are_built_ahead(monkeypatch):
    monkeypatch.setattr("postroom.send.queue.MOST_TAKEN_OCTETS", 6)
    queue, source = queue_of("abcdef")

    while queue.prepare(32):
        pass

    assert source.built == ["a", "b"]


def test_those_in_front_of_one_that_cannot_be_built_still_leave():
    queue, source = queue_of("ab?c")
    while queue.prepare(32):
        pass

    assert queue and names(queue.take(10)) == ["a", "b"]
    assert not queue and queue.closed_by.what == "changed" and source.left == ["c"]


def test_who_is_in_flight_while_another_is_left_for_the_next_run_may_still_go_again():
    queue, _ = queue_of("abc")
    a, b = queue.take(2)
    queue.settle([Fate(a, PENDING, scope=SESSION), Fate(b, PENDING, BEHIND, SESSION)])
    taken = queue.take(3)
    queue.settle([Fate(a, PENDING, scope=SESSION)])

    assert names(taken) == ["a", "b", "c"] and not queue and queue.closed_by is None
    queue.settle([Fate(b, PENDING, scope=SESSION), Fate(taken[2], PENDING, BEHIND, SESSION)])
    assert names(queue.take(3)) == ["b", "c"]
    queue.settle([Fate(b, SENT), Fate(taken[2], SENT)])
    assert not queue and "twice at each of 1 messages" in str(queue.closed_by)


def test_what_could_not_leave_yet_is_the_next():
    queue, _ = queue_of("abcd")
    a, b = queue.take(2)

    queue.put_back([a, b])

    assert names(queue.take(10)) == ["a", "b", "c", "d"]


def test_one_that_comes_back_twice_is_left_for_the_next_run_and_holds_up_nobody():
    """The relay may close at this one alone."""
    queue, _ = queue_of("abc")
    for _ in range(2):
        a, = queue.take(1)
        queue.settle([Fate(a, PENDING, scope=SESSION)])

    others = queue.take(5)
    queue.settle([Fate(one, SENT) for one in others])

    assert (names([a]), names(others)) == (["a"], ["b", "c"])
    assert not queue and isinstance(queue.closed_by, RelayUnavailable)


def test_it_never_hands_out_more_than_asked_and_builds_only_one_ahead():
    queue, source = queue_of("abcdef")

    assert bool(queue) and source.built == ["a"]
    assert names(queue.take(0)) == [] and names(queue.take(2)) == ["a", "b"]
    assert source.built == ["a", "b"]


def test_a_reply_that_would_hit_everybody_closes_it():
    queue, _ = queue_of("abc")
    a, = queue.take(1)

    queue.settle([Fate(a, PENDING, scope=EVERYBODY, phase="mail", code=550, text="no such sender")])

    assert isinstance(queue.closed_by, RelayRefused) and not queue and queue.take(5) == []


def test_a_refused_recipient_closes_nothing():
    queue, _ = queue_of("ab")
    a, = queue.take(1)

    queue.settle([Fate(a, REJECTED)])

    assert queue.closed_by is None and names(queue.take(5)) == ["b"]


def test_the_first_reason_to_close_counts():
    queue, _ = queue_of("a")
    queue.close("interrupted")
    queue.close("later")

    assert queue.closed_by == "interrupted"


def test_what_is_put_off_waits_longer_each_time_and_in_the_end_is_given_up():
    """reliability, section 6: 5 minutes, then 30, with jitter; the journal is told the time, or that it was too often."""
    queue, source = queue_of("a")
    a, = queue.take(1)
    waits = []
    for source.tried in range(MOST_TRIES):
        fate, = queue.settle([Fate(a, DEFERRED, code=451, text="later")])
        waits.append(fate.wait)

    assert (fate.state, fate.reason, fate.wait) == (REJECTED, GAVE_UP, None)
    assert source.waits == [("a", wait) for wait in waits[:-1]]
    for least, wait in zip([300, 1800, 3600, 7200] + [14_400] * 7, waits[:-1], strict=True):
        assert least <= wait <= 1.2 * least


def test_a_wait_that_is_known_is_not_shortened():
    queue, _ = queue_of("a")
    a, = queue.take(1)

    fate, = queue.settle([Fate(a, DEFERRED, code=450, wait=3600)])

    assert 3600 <= fate.wait <= 4320


SLOWLY = Meaning((), (), (), (), SLOW, "slowly", "wait")


def test_slow_down_is_nobodys_fault_and_the_same_one_goes_again():
    queue, source = queue_of("ab")
    for _ in range(2):
        a, = queue.take(1)
        assert queue.settle([Fate(a, PENDING, code=451, meaning=SLOWLY)])[0].state == PENDING

    assert names(queue.take(5)) == ["a", "b"] and source.waits == []


def test_one_at_whom_the_relay_always_says_slow_down_holds_up_nobody():
    """It goes behind the others, and is put off where it is the same there."""
    queue, source = queue_of("abc")
    order, states = [], []
    while queue:
        one, = queue.take(1)
        fate, = queue.settle([Fate(one, PENDING, code=450, meaning=SLOWLY) if one.message_id == "a" else Fate(one, SENT)])
        order.append(one.message_id)
        states.append(fate.state)

    assert order == list("aaaaabcaaaaa") and states[-1] == DEFERRED
    assert [name for name, _ in source.waits] == ["a"] and queue.closed_by is None


def test_of_those_that_a_closing_relay_did_not_answer_the_first_alone_is_left_when_it_happens_again():
    queue, _ = queue_of("abcd")

    def closed_at(first, *behind):
        queue.settle([Fate(first, PENDING, scope=SESSION, code=421), *(Fate(one, PENDING, BEHIND, SESSION) for one in behind)])

    closed_at(*queue.take(4))
    closed_at(*queue.take(4))

    assert names(queue.take(4)) == ["b", "c", "d"]


def test_behind_one_that_may_have_arrived_nobody_is_to_blame():
    queue, _ = queue_of("abcd")
    for _ in range(4):
        first, *behind = queue.take(4)
        queue.settle([Fate(first, UNCERTAIN, scope=SESSION), *(Fate(one, PENDING, BEHIND, SESSION) for one in behind)])

    assert not queue and queue.closed_by is None


def test_slow_down_at_all_that_is_in_flight_is_one_slow_down():
    queue, _ = queue_of([f"p{number}" for number in range(40)])
    for _ in range(5):
        taken = queue.take(32)
        queue.settle([Fate(one, PENDING, code=451, meaning=SLOWLY) for one in taken[:7]])
        queue.settle([Fate(one, PENDING, code=451, meaning=SLOWLY) for one in taken[7:]])

        again = queue.take(32)
        assert sorted(names(again)) == sorted(names(taken)) and queue.closed_by is None
        queue.put_back(again)
