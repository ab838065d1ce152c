"""How many messages may be in flight: as few as keep the line busy, because each is a person whom a lost connection makes uncertain.

ceil(2 × pace × round trip), the bandwidth-delay product of a transport with messages for octets, twice over so that it can grow: where the
line is what holds us, doubling it doubles the pace and so the next window, until the relay, the rate or the limit holds us instead. A round trip counts
as COMMIT_SECONDS at least: whoever leaves within that time is written down by one commit of the journal, because the disk would hold us otherwise.
"""

import math
from collections import deque

OBSERVED = 32  # round trips of which the shortest counts
COMMIT_SECONDS = 0.01
# What leaves in one burst is answered in one: Postfix holds its replies back for as long as it has something to read, so a burst of ten waits
# for the tenth. So groups leave as far from each other as spreads the window over a round trip, and somewhat closer, so that it is this that never holds us.
SPREAD = 0.8
# A round trip so many times the shortest that there was is spent in the relay's own queue: it is busy whatever we do, and takes a burst with less effort.
QUEUED = 1.5


class Window:
    """most: the limit. Times are monotonic seconds, of messages in the order in which they left.

    group: how many of it must be free before it is filled again: what leaves in COMMIT_SECONDS, three quarters of the window at most, because the line
    must not run dry. gap: how many seconds behind a group the next may leave, for each message of the first; 0 where it need not wait.
    """

    def __init__(self, most: int):
        self._most, self.size, self.group, self.gap = most, 1, 1, 0.0
        self._shortest = math.inf
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
        trip = min(self._trips)
        self._shortest = min(self._shortest, trip)
        self.size = min(self._most, max(1, math.ceil(2 * pace * max(COMMIT_SECONDS, trip))))
        self.gap = SPREAD * trip / self.size if trip < QUEUED * self._shortest else 0.0
        self.group = max(1, min(self.size * 3 // 4, round(pace * COMMIT_SECONDS)))

    def ended(self) -> None:
        """The session is over; what it took to open the next one says nothing of the pace."""
        self._left.clear()
        self._answered.clear()
