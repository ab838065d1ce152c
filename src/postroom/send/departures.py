"""The messages of a run, each built when it may leave: in the order of the table, and again once a time of its own has come."""

import time
from collections.abc import Callable, Generator, Iterator
from itertools import chain

from postroom.check.plan import LATE, NOW, Going, Plan
from postroom.compose.build import Composer
from postroom.errors import Place, RecipientError
from postroom.message import LocalError, Message
from postroom.steps import STEP, finished

# To find those who are due the table is read once more; not more often than this while others leave.
PASS_SECONDS = 60
FRESH_SECONDS = 1


class Departures:
    """The plan's messages. Raises PostroomError where a row is no longer what preflight saw: what leaves is what was checked."""

    def __init__(self, composer: Composer, plan: Plan, clock: Callable[[], float] = time.time):
        self._composer, self._plan, self._clock = composer, plan, clock
        self._main, self._again = _begun(composer, _in_order(plan), clock), iter(())
        self._exhausted, self._last_pass, self.due_at = False, clock(), plan.first_due()

    def begin(self) -> Generator | None:
        """Begin the next message that may leave now: the steps that it takes, which return it; None where there is none. due_at says when the first of
        the others may.
        """
        making = next(self._again, None)
        if making is None and self._pass_is_due():
            self._again = self._due()
            making = next(self._again, None)
        if making is None and not self._exhausted:
            making = next(self._main, None)
            self._exhausted = making is None
            if self._exhausted:
                return self.begin()
        return making

    def fresh(self, message: Message) -> Message:
        """The same message with the Date of this moment, should it have waited; one that repeats an earlier mail keeps that one's."""
        now = int(self._clock())
        if abs(now - message.date) <= FRESH_SECONDS or self._plan.repeats(message.row):
            return message
        return self._composer.dated(message, now)

    def tries(self, message: Message) -> int:
        """How often it was handed over and put off before."""
        return self._plan.tries(message.row)

    def put_off(self, message: Message, wait_seconds: float) -> None:
        """Have it handed out again after so many seconds, if the run is still under way then."""
        due = self._clock() + wait_seconds
        self._plan.put_off(message.row, due)
        self.due_at = min(due, self.due_at or due)

    def _pass_is_due(self):
        now = self._clock()
        return self.due_at is not None and self.due_at <= now and (self._exhausted or not 0 <= now - self._last_pass < PASS_SECONDS)

    def _due(self):
        now = self._last_pass = self._clock()
        yield from _begun(self._composer, self._plan.due(now), self._clock)
        self.due_at = self._plan.first_due()


def in_turn(composer: Composer, plan: Plan, clock: Callable[[], float] = time.time) -> Iterator[Message]:
    """The plan's messages in the order of the table, the late ones last, each with the Date of the moment at which it is wanted."""
    return map(finished, _begun(composer, _in_order(plan), clock))


def _in_order(plan):
    return chain(plan.going(NOW), plan.going(LATE))


def _begun(composer, going, clock):
    """Of each of those who go the steps that their message takes. The table is read once for as long as their lines ascend."""
    rows, last = iter(()), None
    for wanted in going:
        if last is None or wanted.line <= last:
            rows = composer.table.rows(_ignored)
        for line, row in rows:
            if line == wanted.line:
                break
        else:
            raise _changed(composer, wanted.line)
        last = wanted.line
        yield _making(composer, row, wanted, clock)


def _making(composer, row, wanted: Going, clock):
    rendered = yield from composer.rendering(row, wanted.line, wanted.key)
    if rendered.digest != wanted.digest:
        raise _changed(composer, wanted.line)
    yield STEP
    try:
        return (yield from composer.composing(rendered, int(clock()) if wanted.date is None else wanted.date, wanted.utc_offset, wanted.repeat))
    except LocalError as error:
        error.where = Place(composer.table.file, wanted.line)
        raise


def _ignored(error):
    """Rows that are too short or long stop preflight; should one appear since, its line is missing from the plan."""


def _changed(composer, line):
    return RecipientError("the mail for this row is no longer what was checked before sending began", Place(composer.table.file, line),
                          "files changed during the run: run again, which checks everything anew and goes on")
