"""How fast messages may leave: sliding windows over departures, and a brake for relays that ask for less.

Is given the time, so it never waits itself.

pyrate-limiter was tried for this: it costs 70 ms to import and refuses lists in which a longer window allows less than
a shorter one (`1000/second, 50/minute`), which are just what people write.
"""

import sys
from collections import deque
from collections.abc import Iterable

from postroom.read.campaign import Window


# A window of so many seconds is a quota: nobody waits in front of the terminal until it opens.
QUOTA_SECONDS = 3600
PATIENCE_SECONDS = 60
NAMES = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
# After "slow down" nothing leaves for a moment, longer each time that nothing was taken in between.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 900.0
# Then twice as long between two messages as before, and a tenth more of them after each clean minute.
LEAST_GAP_SECONDS, MOST_GAP_SECONDS = 0.002, 30.0
CLEAN_SECONDS, RECOVERY = 60.0, 1.1
OBSERVED = 20  # departures that tell how fast we were


class Pace:
    """All windows hold at once, from the first message on. Times are monotonic seconds.

    earlier: departures before this one began, which count as well; ascending.
    """

    def __init__(self, windows: tuple[Window, ...], earlier: Iterable[float] = ()):
        # The last `count` departures suffice: if the oldest of them is out of the window, one more may leave.
        earlier = list(earlier)
        self._windows = [(window, deque(earlier, maxlen=window.count)) for window in windows]
        self._recent = deque(maxlen=OBSERVED)
        self._gap = self._gap_before = self._pause = self._clean_since = 0.0
        self._resumes = float("-inf")

    def free(self, now: float) -> int:
        """How many may leave at this moment."""
        if now < self._braked_until(now):
            return 0
        return min([1 if self._gap else sys.maxsize,
                    *(window.count - len(departures) + _over(departures, window.seconds, now) for window, departures in self._windows)])

    def next(self, now: float) -> float:
        """The earliest moment, not before `now`, at which one more may leave."""
        return max([now, self._braked_until(now), *(opens for _, opens in self._full())])

    def quota(self, now: float) -> tuple[Window, float] | None:
        """The hour's or day's window that is used up for longer than anybody waits, and when it opens; None where there is none."""
        closed = [(opens, window) for window, opens in self._full() if window.seconds >= QUOTA_SECONDS and opens > now + PATIENCE_SECONDS]
        return max(closed)[::-1] if closed else None

    def left(self, count: int, now: float) -> None:
        """`count` messages left at `now`."""
        for _, departures in (*self._windows, (None, self._recent)):
            departures.extend([now] * count)

    def slow_down(self, now: float) -> None:
        """The relay asks for less: a pause, and from then on half as many as before. What it says during the pause is about mail that left before."""
        if now < self._resumes:
            return
        recent = [at for at in self._recent if at > now - CLEAN_SECONDS]
        # A window lets its messages go in bursts: its average counts, a quota's apart.
        observed = max([(now - recent[0]) / len(recent) if recent else 0.0,
                        *(window.seconds / window.count for window, _ in self._windows if window.seconds < QUOTA_SECONDS)])
        if not self._gap:
            self._gap_before = observed
        self._gap = min(MOST_GAP_SECONDS, 2 * max(self._gap, observed, LEAST_GAP_SECONDS))
        self._pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pause or FIRST_PAUSE_SECONDS)
        self._resumes = self._clean_since = now + self._pause

    def taken(self) -> None:
        """The relay took a message: the next pause is a short one again."""
        self._pause = 0.0

    def _braked_until(self, now):
        while self._gap and now - self._clean_since >= CLEAN_SECONDS:
            self._clean_since += CLEAN_SECONDS
            self._gap /= RECOVERY
            if self._gap <= max(self._gap_before, LEAST_GAP_SECONDS):
                self._gap = 0.0
        last = self._recent[-1] if self._recent and self._gap else float("-inf")
        return max(self._resumes, last + self._gap)

    def seconds_for(self, messages: int) -> float:
        """How long so many messages take at least, for the confirmation."""
        return max(((messages - 1) // window.count * window.seconds for window, _ in self._windows if messages), default=0.0)

    def _full(self):
        """Each window that holds its count, and when its oldest departure leaves it."""
        return [(window, departures[0] + window.seconds) for window, departures in self._windows if len(departures) == window.count]


def window_words(window: Window) -> str:
    """A window as a person would write it: 400/day, 1 per 2 seconds."""
    if name := NAMES.get(window.seconds):
        return f"{window.count}/{name}"
    size = next(size for size in sorted(NAMES, reverse=True) if window.seconds % size == 0)
    return f"{window.count} per {window.seconds // size} {NAMES[size]}s"


def _over(departures, seconds, now):
    """How many departures, oldest first, are out of a window of so many seconds."""
    return next((number for number, at in enumerate(departures) if at + seconds > now), len(departures))
