"""What one rendering may use: time, and how much it makes on the way to its result.

No signal and no process of its own: whoever runs templates in a thread is bounded as well. So every step that takes time or makes
something asks the meter, and no single step may be large: see weight() and `growing`.
"""

import collections.abc
import time

MOST_OUTPUT = 5 << 20  # characters of one value, and of a result
MOST_MADE = 8 * MOST_OUTPUT  # characters of all values that one rendering makes
MOST_ELEMENTS = 200_000  # of a list
MOST_BITS = 10_000  # of a whole number
MOST_DEPTH = 100  # of lists in lists; hashing a tuple follows it on the C stack, which has no guard
MOST_SECONDS = 2
ELEMENT = 25  # what an element of a list weighs beside its own characters: MOST_ELEMENTS of them are MOST_OUTPUT


class TooMuch(Exception):
    """A template or an expression asks for more than it may use; says what, in words for people."""


class TooLong(TooMuch):
    """It has no end, or one too far away."""


class Meter:
    """One rendering at a time. Nothing is measured before start()."""

    __slots__ = ("deadline", "left", "_began", "_processor_seconds", "_lost_seconds")

    def __init__(self):
        self.deadline, self.left, self._began, self._processor_seconds, self._lost_seconds = float("inf"), MOST_MADE, 0, None, 0

    def start(self) -> None:
        """A rendering begins."""
        # The wall's clock is cheap to ask. A machine that sleeps or is busy elsewhere takes nothing from a template: see _overdue().
        self._began = time.monotonic()
        self.deadline = self._began + MOST_SECONDS / 2
        self.left, self._processor_seconds = MOST_MADE, None

    def failed(self) -> bool:
        """The rendering failed. Returns whether those that did have taken so long together that no further row should be tried."""
        self._lost_seconds += time.monotonic() - self._began
        return self._lost_seconds > MOST_SECONDS / 2

    def tick(self) -> None:
        """Raises TooLong once the time is over."""
        if time.monotonic() > self.deadline:
            self._overdue()

    def make(self, characters: int) -> None:
        """So much was made. Raises TooMuch where it is too much by itself, or with all that came before; TooLong as tick()."""
        if time.monotonic() > self.deadline:
            self._overdue()
        self.left -= characters
        if self.left < 0 or characters > MOST_OUTPUT:
            raise TooMuch(f"it makes more than {MOST_OUTPUT if characters > MOST_OUTPUT else MOST_MADE:,} characters")

    def _overdue(self):
        """The first half is by the wall's clock, the second by this thread's processor time."""
        used = time.thread_time()
        if self._processor_seconds is None:
            self._processor_seconds = used
        elif used - self._processor_seconds >= MOST_SECONDS / 2:
            raise TooLong(f"it did not end within {MOST_SECONDS} seconds")
        self.deadline = time.monotonic() + MOST_SECONDS / 20


def weight(value, depth: int = 0) -> int:
    """About how many characters `value` has when it is written out, with all that it holds, as often as it holds it; an upper bound
    for every walk through it. Counts no further than MOST_OUTPUT. Raises TooMuch for numbers and depths that no step could bear.
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise TooMuch("it makes a number that is too large")
        return value.bit_length() // 3 + 1
    if isinstance(value, (list, tuple, set, frozenset, collections.abc.ValuesView, collections.abc.KeysView)):
        held = value
    elif isinstance(value, (dict, collections.abc.ItemsView)):
        held = (part for pair in (value.items() if isinstance(value, dict) else value) for part in pair)
    else:
        # A template that was imported is its text.
        held = getattr(value, "_body_stream", ()) if hasattr(type(value), "__html__") else ()
    if depth > MOST_DEPTH:
        raise TooMuch(f"it nests lists more than {MOST_DEPTH} deep")
    total = ELEMENT
    for part in held:
        total += ELEMENT + (len(part) if isinstance(part, str) else weight(part, depth + 1))
        if total > MOST_OUTPUT:
            break
    return total
