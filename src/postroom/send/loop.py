"""The send loop: hand every message to the relay once, and write down what became of it."""

import time
from collections.abc import Callable

from postroom.errors import PostroomError, RelayUnavailable
from postroom.message import LocalError, Message
from postroom.outcome import NOT_BEGUN, PENDING, SENT, SESSION, Fate
from postroom.send.line import Line
from postroom.send.queue import Queue
from postroom.send.rate import PATIENCE_SECONDS, Pace
from postroom.smtp.reply import SLOW

FINISH_SECONDS = 30
# What was answered is written down together with what leaves next, or this much later: until then a crash makes it uncertain.
HELD_SECONDS = 0.05
# Why a queue closed, where it is no error.
INTERRUPTED, ALL_PUT_OFF = "interrupted", "all put off"


def send(queue: Queue, line: Line, journal, pace: Pace, told: Callable[[list[Fate], list[Message]], None], interrupted: Callable[[], bool],
         rest: Callable[[float, bool], PostroomError | str | None]) -> None:
    """Everything in the queue, one durable commit a turn: what was answered, and what leaves next, several at a time where they are in flight.

    journal: has turn(answered, leaving) and turning(). told: hears what turn() has written down. interrupted: whether a signal
    came since it was last asked. rest: called while nothing may leave for long, with the time to come back (UTC seconds) and whether it is
    the account's quota; sleeps until then, or returns why the run ends instead.
    A body leaves only after the commit that names it, because its reply may never come (RFC 1047).
    Why it ended stands in queue.closed_by; only a journal that cannot be written raises.
    """
    loop = _Loop(queue, line, journal, pace, told)
    try:
        while queue or queue.closed_by is None and (loop.turn or line.in_flight or queue.due_at is not None):
            back_at = loop.idle_until()
            if back_at is None or line.in_flight or loop.turn:
                loop.go_on(may_leave=back_at is None)
            else:
                loop.settle_down()
                if (reason := rest(back_at, bool(queue))) is not None:
                    queue.close(reason)
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
        loop.end()


class _Loop:
    """fates: what was answered and is not being written down yet; since held_until less HELD_SECONDS. turn: the _Turn that is under way, or None.
    short: whether those who would leave next are not built yet. opens_at: when the account's quota does, UTC seconds, or None. free: how many the rate
    let leave when it was last asked.
    """

    def __init__(self, queue, line, journal, pace, told):
        self.queue, self.line, self.journal, self.pace, self.told = queue, line, journal, pace, told
        self.fates, self.held_until, self.turn, self.short, self.opens_at, self.free = [], 0.0, None, False, None, 0

    def go_on(self, may_leave):
        """Hand over whoever may leave now, and hear of those who left before."""
        line, pace = self.line, self.pace
        if self.turn is None:
            self._begin_turn(time.monotonic(), may_leave)
        began, leaving = self._end_turn() if self.turn and (self.turn.is_done or not line.in_flight) else (0.0, [])
        # A reconnect or the disk may have taken a while: what counts is when the mail leaves.
        now = time.monotonic()
        pace.left(len(leaving), now)
        before = line.in_flight
        try:
            answered = self.queue.settle(line.push(leaving, self._until(now, len(leaving), may_leave), began, self._work()))
        except LocalError:
            # What was not begun never left; without a fate in the journal the next run would call it uncertain.
            self.fates += [Fate(message, PENDING, NOT_BEGUN) for message in leaving[line.in_flight - before:]]
            raise
        if answered:
            self.held_until = self.held_until if self.fates else time.monotonic() + HELD_SECONDS
            self.fates += answered
            _heed(pace, answered)

    def settle_down(self):
        """Nothing leaves for long: a relay hangs up on somebody who says nothing for minutes."""
        self._write_down()
        self.opens_at = None
        self.line.quit()

    def end(self):
        """Write down what became of everybody. Whom a turn has named that is written, and who has not left, may not leave any more."""
        turn, unbegun = self.turn, []
        if turn is not None and turn.is_written:
            _, leaving = self._end_turn()
            unbegun = [Fate(message, PENDING, NOT_BEGUN, SESSION) for message in leaving]
        elif turn is not None:
            turn.steps.close()
            self.fates = turn.answered + self.fates
        self.fates += self.queue.settle(unbegun + self.line.finish(within=FINISH_SECONDS))
        self._write_down()

    def _write_down(self):
        self.journal.turn(self.fates, [])
        fates, self.fates = self.fates, []
        self.told(fates, [])

    def idle_until(self):
        """When the next message may leave, where that is longer than anybody waits in front of a terminal; UTC seconds."""
        if not self.queue:
            return self.queue.due_at
        now = time.monotonic()
        if quota := self.pace.quota(now):
            return time.time() + quota[1] - now
        return self.opens_at if self.opens_at is not None and self.opens_at > time.time() + PATIENCE_SECONDS else None

    def _work(self):
        """What there is to do while the relay is at work: write the turn down, and build who leaves next. A little at each step, which says
        whether it was anything; ends where somebody may leave.
        """
        while not (self.turn.is_done if self.turn else self.short and not self._is_short()):
            # The group that leaves next, and some behind it: while those who are in flight are many there is nothing else to do.
            worked = self.turn.step() if self.turn else self.queue.prepare(self.line.window * 3 // 2)
            # Once all are built nobody waits for others.
            if not worked and (self.short or self._is_open()):
                return
            yield worked

    def _is_open(self):
        """Whether somebody may leave at this moment, and is built."""
        return (self.free > 0 and self.line.room > 0 and self.queue.ready > 0 and self.queue.closed_by is None
                and time.monotonic() >= self.line.opens_at and not _patience(self.opens_at))

    def _begin_turn(self, now, may_leave):
        free = self.free = self.pace.free(now) if may_leave else 0
        if free and self.queue:
            self.line.ready()
        # A commit serves a whole group: while others are in flight there is time to build one.
        self.short = free >= self.line.group and self._is_short() and self.queue.prepare(self.line.window)
        most = min(free, self.line.room, self.line.burst) if now >= self.line.opens_at else 0
        taken = [] if self.short else self.queue.take(min(most, self.queue.ready) if self.line.in_flight else most)
        if taken or self.fates and (now >= self.held_until or not self.line.in_flight):
            self.turn = _Turn(self.journal, self.fates, taken, now)
            self.fates = []

    def _is_short(self):
        """Whether there is room at the line for more than are built."""
        return self.line.in_flight > 0 and self.queue.ready < min(self.line.room, self.line.group)

    def _end_turn(self):
        """When the turn was begun, and those who leave now that it is written down."""
        turn = self.turn
        left, self.opens_at = turn.result()
        self.turn = None
        self.queue.put_back(turn.taken[left:])
        self.told(turn.answered, turn.taken[:left])
        return turn.began, turn.taken[:left]

    def _until(self, now, leaving, may_leave):
        """When to come back: with no room, or while something is to be done first, it is a reply that we wait for, else the moment at which the next may leave."""
        line, queue = self.line, self.queue
        if self.turn is not None:
            return None
        waits = (leaving or line.in_flight) and (line.room <= leaving or not may_leave)
        until = None if waits or self.short or not queue else max(self.pace.next(now), line.opens_at, now + _patience(self.opens_at))
        return min(self.held_until, until or self.held_until) if self.fates else until


class _Turn:
    """One turn of the journal, a step at a time. answered, taken: what it writes. began: when, monotonic."""

    def __init__(self, journal, answered, taken, began):
        self.answered, self.taken, self.began = answered, taken, began
        self.steps, self.is_done, self._turned, self._error = journal.turning(answered, taken), False, None, None

    @property
    def is_written(self):
        return self._turned is not None

    def step(self):
        """Always true. What goes wrong is told by result(): whoever is at the line now has answers in hand."""
        try:
            next(self.steps)
        except StopIteration as end:
            self.is_done, self._turned = True, end.value
        except Exception as error:  # noqa: BLE001 - it is raised again
            self.is_done, self._error = True, error
        return True

    def result(self):
        """What the journal's turn() returns, once it is written; raises what went wrong."""
        while not self.is_done:
            self.step()
        if self._error is not None:
            raise self._error
        return self._turned


def _patience(opens_at):
    """How many seconds to wait for a quota in front of the terminal; 0 where it takes longer than that."""
    left = 0.0 if opens_at is None else opens_at - time.time()
    return max(0.0, left) if left <= PATIENCE_SECONDS else 0.0


def _heed(pace, fates):
    if any(fate.meaning is not None and fate.meaning.action == SLOW for fate in fates):
        pace.slow_down(time.monotonic())
    elif any(fate.state == SENT for fate in fates):
        pace.taken()
