"""How many messages may be in flight: as few as keep the line busy, because each is a person whom a lost connection makes uncertain.

ceil(2 × pace × round trip), the bandwidth-delay product of a transport with messages for octets, twice over so that it can grow: where the
line is what holds us, doubling it doubles the pace and so the next window, until the relay, the rate or the limit holds us instead. A round trip counts
as COMMIT_SECONDS at least: whoever leaves within that time is written down by one commit of the journal, because the disk would hold us otherwise.
"""

import math
from collections import deque

OBSERVED = 32  # round trips of which the shortest counts
COMMIT_SECONDS = 0.01


class Window:
    """most: the limit. Times are monotonic seconds, of messages in the order in which they left.

    group: how many of it must be free before it is filled again: what leaves in COMMIT_SECONDS, half of the window at most, because the line must
    not run dry.
    """

    def __init__(self, most: int):
        self._most, self.size, self.group = most, 1, 1
        self._left, self._answered, self._trips = deque(), deque(maxlen=most + 1), deque(maxlen=OBSERVED)

    def left(self, count: int, now: float) -> None:
        """`count` messages begin to leave at `now`."""
        if not self._answered:
            self._answered.append(now)
        self._left.extend([now] * count)

    def answered(self, count: int, now: float) -> None:
        """`count` more were answered."""
        for _ in range(count):
            self._trips.append(now - self._left.popleft())
            self._answered.append(now)
        # The pace is that of the last window.
        observed = min(self.size, len(self._answered) - 1)
        pace = observed / max(now - self._answered[-1 - observed], 1e-6)
        # The shortest trip is the one that waited least behind others.
        self.size = min(self._most, max(1, math.ceil(2 * pace * max(COMMIT_SECONDS, min(self._trips)))))
        self.group = max(1, min(self.size // 2, round(pace * COMMIT_SECONDS)))

    def ended(self) -> None:
        """The session is over; what it took to open the next one says nothing of the pace."""
        self._left.clear()
        self._answered.clear()
