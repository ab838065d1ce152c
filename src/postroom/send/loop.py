"""The send loop: hand every message to the relay once, and write down what became of it."""

import datetime
import time
from collections.abc import Callable

from postroom.errors import PostroomError, RelayUnavailable
from postroom.message import Message
from postroom.outcome import PENDING, Fate
from postroom.send.line import Line
from postroom.send.queue import Queue
from postroom.send.rate import Pace, window_words
from postroom.smtp.protocol import LocalError

FINISH_SECONDS = 30
INTERRUPTED = "interrupted"


def send(queue: Queue, line: Line, journal, pace: Pace, told: Callable[[list[Fate], list[Message]], None], interrupted: Callable[[], bool]) -> None:
    """Everything in the queue, one durable commit a turn: what was answered, and what leaves next.

    journal: has turn(answered, leaving). told: hears what turn() has written down. interrupted: whether a signal
    came since it was last asked.
    A body leaves only after the commit that names it, because its reply may never come (RFC 1047).
    Why it ended stands in queue.closed_by; only a journal that cannot be written raises.
    """
    fates: list[Fate] = []
    try:
        while queue or line.in_flight and queue.closed_by is None:
            free = pace.free(time.monotonic())
            if not free and (quota := pace.quota(time.monotonic())):
                queue.close(_used_up(*quota))
                continue
            if free:
                line.ready()
            leaving = queue.take(min(free, line.room))
            journal.turn(fates, leaving)
            answered, fates = fates, []
            told(answered, leaving)
            # A reconnect or the disk may have taken a while: what counts is when the mail leaves.
            now = time.monotonic()
            pace.left(len(leaving), now)
            # With no room it is a reply that we wait for, else the moment at which the next may leave.
            full = line.room <= len(leaving) and (leaving or line.in_flight)
            until = None if full or not queue else pace.next(now)
            begun = line.in_flight
            try:
                fates = line.push(leaving, until)
            except LocalError:
                # What was not begun never left; without a fate in the journal the next run would call it uncertain.
                fates = [Fate(message, PENDING, "not written") for message in leaving[line.in_flight - begun:]]
                raise
            queue.settle(fates)
            if interrupted():
                queue.close(INTERRUPTED)
    except RelayUnavailable as error:
        queue.close(INTERRUPTED if interrupted() else error)
    except PostroomError as error:
        queue.close(error)
    finally:
        fates += line.finish(within=FINISH_SECONDS)
        journal.turn(fates, [])
        told(fates, [])


def _used_up(window, opens):
    at = datetime.datetime.fromtimestamp(time.time() + opens - time.monotonic()).astimezone()
    return RelayUnavailable(f"the account's {window_words(window)} are used up; the next message may leave at {at:%Y-%m-%d %H:%M %Z}", None,
                            "run it again then to go on")
