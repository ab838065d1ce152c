"""Work done a step at a time, for whoever has something else to look at between two of them: a generator that yields STEP, and returns what came of it."""

from collections.abc import Generator

STEP = object()


def finished(steps: Generator):
    """What it returns, once all of its steps are done."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
