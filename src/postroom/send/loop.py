"""The send loop: hand every message to the relay once, and write down what became of it."""

import time
from collections.abc import Callable

from postroom.errors import PostroomError, RelayUnavailable
from postroom.message import LocalError, Message
from postroom.outcome import NOT_BEGUN, PENDING, SENT, SESSION, Fate
from postroom.send.line import Line
from postroom.send.queue import Queue
from postroom.send.rate import PATIENCE_SECONDS, Pace
from postroom.send.turns import Turns
from postroom.smtp.reply import SLOW

FINISH_SECONDS = 30
# What was answered is written down together with what leaves next, or this much later: until then a crash makes it uncertain.
HELD_SECONDS = 0.05
# Why a queue closed, where it is no error.
INTERRUPTED, ALL_PUT_OFF = "interrupted", "all put off"


def send(queue: Queue, line: Line, journal, pace: Pace, told: Callable[[list[Fate], list[Message]], None], interrupted: Callable[[], bool],
         rest: Callable[[float, bool], PostroomError | str | None]) -> None:
    """Everything in the queue, one durable commit a turn: what was answered, and what leaves next, several at a time where they are in flight.
    A turn is written while those in flight are answered; what it names waits for it.

    journal: has turn(answered, leaving). told: hears what turn() has written down. interrupted: whether a signal
    came since it was last asked. rest: called while nothing may leave for long, with the time to come back (UTC seconds) and whether it is
    the account's quota; sleeps until then, or returns why the run ends instead.
    A body leaves only after the commit that names it, because its reply may never come (RFC 1047).
    Why it ended stands in queue.closed_by; only a journal that cannot be written raises.
    """
    fates: list[Fate] = []
    opens_at, held_until, began = None, 0.0, 0.0
    with Turns(journal) as turns:
        try:
            while turns.under_way or queue or queue.closed_by is None and (line.in_flight or queue.due_at is not None):
                if not turns.under_way:
                    back_at = _idle_until(queue, pace, opens_at)
                    if back_at is not None and not line.in_flight:
                        fates = _written(journal, fates, told)
                        # A relay hangs up on somebody who says nothing for minutes.
                        line.quit()
                        if (reason := rest(back_at, bool(queue))) is not None:
                            queue.close(reason)
                        opens_at = None
                        if interrupted():
                            queue.close(INTERRUPTED)
                        continue
                    began = time.monotonic()
                    free = pace.free(began) if back_at is None else 0
                    if free and queue:
                        line.ready()
                    taken = queue.take(min(free, line.room))
                    if taken or fates and not (line.in_flight and began < held_until):
                        turns.begin(fates, taken, beside=line.in_flight > 0)
                        fates = []
                leaving = []
                if turns.under_way and (not line.in_flight or turns.is_done):
                    leaving, opens_at, unbegun = _ended(turns, queue, told)
                    fates = unbegun + fates
                # A reconnect or the disk may have taken a while: what counts is when the mail leaves.
                now = time.monotonic()
                pace.left(len(leaving), now)
                # With no room it is a reply that we wait for, or the disk, else the moment at which the next may leave.
                full = line.room <= len(leaving) and (leaving or line.in_flight)
                until = None if turns.under_way or full or not queue else max(pace.next(now), now + _patience(opens_at))
                if fates and not turns.under_way:
                    until = min(held_until, until or held_until)
                begun = line.in_flight
                try:
                    answered = queue.settle(line.push(leaving, until, began, turns.done if turns.under_way else None))
                except LocalError:
                    # What was not begun never left; without a fate in the journal the next run would call it uncertain.
                    fates += [Fate(message, PENDING, NOT_BEGUN) for message in leaving[line.in_flight - begun:]]
                    raise
                held_until = held_until if fates else time.monotonic() + HELD_SECONDS
                fates += answered
                _heed(pace, answered)
                if interrupted():
                    queue.close(INTERRUPTED)
        except InterruptedError:
            interrupted()
            queue.close(INTERRUPTED)
        except RelayUnavailable as error:
            queue.close(INTERRUPTED if interrupted() else error)
        except PostroomError as error:
            queue.close(error)
        finally:
            if turns.under_way:
                queue.close(INTERRUPTED)
                fates = _ended(turns, queue, told)[2] + fates
            _written(journal, turns.unwritten + fates + queue.settle(line.finish(within=FINISH_SECONDS)), told)


def _ended(turns, queue, told):
    """The turn that was under way: the messages that leave now, when a quota opens for the others, and fates of those that may not leave after all."""
    answered, taken = turns.under_way
    left, opens_at = turns.end()
    leaving = taken[:left]
    queue.put_back(taken[left:])
    told(answered, leaving)
    if queue.closed_by is None:
        return leaving, opens_at, []
    return [], opens_at, queue.settle([Fate(message, PENDING, NOT_BEGUN, SESSION) for message in leaving])


def _idle_until(queue, pace, opens_at):
    """When the next message may leave, where that is longer than anybody waits in front of a terminal; UTC seconds."""
    if not queue:
        return queue.due_at
    now = time.monotonic()
    if quota := pace.quota(now):
        return time.time() + quota[1] - now
    return opens_at if opens_at is not None and opens_at > time.time() + PATIENCE_SECONDS else None


def _patience(opens_at):
    """How many seconds to wait for a quota in front of the terminal; 0 where it takes longer than that."""
    left = 0.0 if opens_at is None else opens_at - time.time()
    return max(0.0, left) if left <= PATIENCE_SECONDS else 0.0


def _heed(pace, fates):
    if any(fate.meaning is not None and fate.meaning.action == SLOW for fate in fates):
        pace.slow_down(time.monotonic())
    elif any(fate.state == SENT for fate in fates):
        pace.taken()


def _written(journal, fates, told):
    journal.turn(fates, [])
    told(fates, [])
    return []
