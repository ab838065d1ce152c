"""What still has to go: in order, each once, what was put off once more when it is due, and why it closed."""

import random
from collections import deque

from postroom.address import shown
from postroom.errors import PostroomError, RelayUnavailable
from postroom.message import Message
from postroom.outcome import BEHIND, DEFERRED, GAVE_UP, NOT_BEGUN, PENDING, REJECTED, Fate
from postroom.send.departures import Departures
from postroom.send.patience import Patience
from postroom.smtp.reply import SLOW

# Longer each time (RFC 5321 section 4.5.4.1 wants 30 minutes between tries of a server; greylisting is over after the first).
RETRY_SECONDS = (300, 1800, 3600, 7200, 14_400)
JITTER = 0.2  # up to so much longer, so that not all come back at one moment
MOST_TRIES = 12  # about a day and a half
# So often "slow down" at one and the same message: perhaps it is about this one, so the others go first.
MOST_SLOW_AT_ONE = 5
MOST_TAKEN_OCTETS = 8 << 20  # at one time, and ready: they are held until they are answered


class Queue:
    """Messages to hand to the line, in order; one that came back unsent goes again at once, and is left for the next run
    when it comes back a second time: the relay may close at this one alone, and the others must not wait for it.

    closed_by: None while it is open, else the error or the signal that ended the run.
    """

    def __init__(self, departures: Departures, patience: Patience):
        self._departures, self._patience, self._again, self.closed_by = departures, patience, deque(), None
        self._making = self._fault = None  # the steps of the message that is being made; what went wrong with one
        self._returned, self._left_over, self._words = set(), 0, ""
        self._slow_at, self._stalled, self._waited = (None, 0), deque(), set()
        self._out, self._echoes = set(), set()

    def __bool__(self):
        """Whether there is something to hand out now; looks one message ahead."""
        while self.closed_by is None and not self._again and self.prepare(1):
            pass
        if self._fault is not None and not self._again:
            if not isinstance(self._fault, PostroomError):
                raise self._fault
            self.close(self._fault)
        if self.closed_by is None and not self._again and self._stalled:
            self._again.append(self._stalled.popleft())
        # Whoever is still out may come back unsent, and is to go again.
        if self.closed_by is None and not self._again and self._left_over and not self._out:
            self.close(RelayUnavailable(f"the relay closed the connection twice at each of {self._left_over:,} messages, which are left for the next run{self._words}",
                                        None, "run it again later; if it is the same ones again, ask who runs the relay"))
        return self.closed_by is None and bool(self._again)

    @property
    def ready(self) -> int:
        """How many are built already."""
        return len(self._again)

    def prepare(self, most: int) -> bool:
        """Do a step towards the next message, unless so many are ready or nothing is left. Returns whether there was one to do."""
        if self.closed_by is not None:
            return False
        try:
            if self._making is None:
                if self._fault is not None or not self._has_room(most):
                    return False
                self._making = self._departures.begin()
                if self._making is None:
                    return False
            next(self._making)
        except StopIteration as end:
            self._again.append(end.value)
            self._making = None
        except Exception as error:  # noqa: BLE001 - it is raised again
            # Those in front of it may still leave, and whoever asks may be at the line, with answers in hand.
            self._fault, self._making = error, None
            return False
        return True

    def _has_room(self, most):
        ready = len(self._again)
        # Most are of about the same length, so the last one tells.
        return ready < most and (not ready or ready * len(self._again[-1].content) < MOST_TAKEN_OCTETS)

    @property
    def due_at(self) -> float | None:
        """When the first of those who were put off may go again, UTC seconds; None where nobody was."""
        return self._departures.due_at

    def take(self, most: int) -> list[Message]:
        """At most so many messages that leave next."""
        taken = []
        octets = 0
        while len(taken) < most and octets < MOST_TAKEN_OCTETS and self:
            # Whoever waited here for a quota has a Date of hours ago.
            taken.append(self._departures.fresh(self._again.popleft()))
            self._out.add(taken[-1].key)
            octets += len(taken[-1].content)
        return taken

    def put_back(self, messages: list[Message]) -> None:
        """These could not leave yet; they are the next."""
        self._out.difference_update(message.key for message in messages)
        self._again.extendleft(reversed(messages))

    def settle(self, fates: list[Fate]) -> list[Fate]:
        """What certainly did not leave goes again, now or once it is due; a reply that would hit everybody closes the queue.

        Returns the fates as the journal is to have them: with the time to wait, or as refused where it was put off too often.
        """
        echoes = {fate.message.key for fate in fates if self._is_echo(fate)}
        settled = [fate if fate.message.key in echoes else self._slowed(fate) for fate in fates]
        settled = [self._put_off(fate) if fate.state == DEFERRED else fate for fate in settled]
        for fate in reversed(settled):
            if fate.message.key in echoes or fate.reason in (NOT_BEGUN, BEHIND):
                self._again.appendleft(fate.message)
            else:
                self._go_again(fate)
        for fate in settled:
            if fate.message.key not in echoes and (error := self._patience.heed(fate)) is not None:
                self.close(error)
        return settled

    def _is_echo(self, fate):
        """Whether it says "slow down" to what had left before the relay said so first."""
        key = fate.message.key
        self._out.discard(key)
        echo = _is_slow(fate) and key in self._echoes
        self._echoes.discard(key)
        if _is_slow(fate) and not echo:
            self._echoes = set(self._out)
        return echo

    def _slowed(self, fate):
        """"Slow down" says nothing of a recipient, unless it is said at the same one again and again while others are taken."""
        if not _is_slow(fate):
            self._slow_at = (None, 0)
            return fate
        key = fate.message.key
        self._slow_at = (key, self._slow_at[1] + 1 if self._slow_at[0] == key else 1)
        if self._slow_at[1] >= MOST_SLOW_AT_ONE and key in self._waited:
            return fate._replace(state=DEFERRED, reason="refused for now")
        return fate

    def _put_off(self, fate):
        tries = self._departures.tries(fate.message)
        if tries + 1 >= MOST_TRIES:
            return fate._replace(state=REJECTED, reason=GAVE_UP)
        wait = max(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)], fate.wait or 0) * (1 + JITTER * random.random())
        self._departures.put_off(fate.message, wait)
        return fate._replace(wait=wait)

    def _go_again(self, fate):
        if fate.state != PENDING:
            self._returned.discard(fate.message.key)
        elif _is_slow(fate) and self._slow_at == (fate.message.key, MOST_SLOW_AT_ONE):
            self._waited.add(fate.message.key)
            self._stalled.append(fate.message)
        elif _is_slow(fate):
            self._again.appendleft(fate.message)
        elif fate.message.key in self._returned:
            self._left_over += 1
            self._words = f'; it said "{fate.code} {shown(fate.text)}"' if fate.code else ""
        else:
            self._returned.add(fate.message.key)
            self._again.appendleft(fate.message)

    def close(self, reason) -> None:
        """Hand out nothing more; the first reason counts."""
        self.closed_by = self.closed_by or reason


def _is_slow(fate):
    return fate.meaning is not None and fate.meaning.action == SLOW
