"""How fast messages may leave: sliding windows over departures. Is given the time, so it never waits itself.

pyrate-limiter was tried for this: it costs 70 ms to import and refuses lists in which a longer window allows less than
a shorter one (`1000/second, 50/minute`), which are just what people write.
"""

import sys
from collections import deque

from postroom.read.campaign import Window


class Pace:
    """All windows hold at once, from the first message on. Times are monotonic seconds."""

    def __init__(self, windows: tuple[Window, ...]):
        # The last `count` departures suffice: if the oldest of them is out of the window, one more may leave.
        self._windows = [(window, deque(maxlen=window.count)) for window in windows]

    def free(self, now: float) -> int:
        """How many may leave at this moment."""
        return min((window.count - sum(1 for at in departures if at + window.seconds > now) for window, departures in self._windows),
                   default=sys.maxsize)

    def next(self, now: float) -> float:
        """The earliest moment, not before `now`, at which one more may leave."""
        full = [departures[0] + window.seconds for window, departures in self._windows if len(departures) == window.count]
        return max([now, *full])

    def left(self, count: int, now: float) -> None:
        """`count` messages left at `now`."""
        for _, departures in self._windows:
            departures.extend([now] * count)

    def seconds_for(self, messages: int) -> float:
        """How long so many messages take at least, for the confirmation."""
        return max(((messages - 1) // window.count * window.seconds for window, _ in self._windows), default=0.0)
