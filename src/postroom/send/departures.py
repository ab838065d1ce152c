"""The messages of a run, each built when it may leave: in the order of the table, and again once a time of its own has come.

Of many messages, those in the table's order are built by a worker, a little ahead of the line, so that rendering overlaps with the network.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice

from postroom import worker
from postroom.check.plan import LATE, NOW, Going, Plan
from postroom.compose.build import Composer
from postroom.errors import Place, PostroomError, RecipientError
from postroom.message import Envelope, LocalError, Message

# To find those who are due the table is read once more; not more often than this while others leave.
PASS_SECONDS = 60
# Fewer messages, or slower ones, are built as fast by ourselves.
LEAST_AHEAD, SLOW_SECONDS = 200, 0.02
SHARE = 50  # who goes is told to the worker in lists of so many, of which it has two
FRESH_SECONDS = 1


class Departures:
    """The plan's messages. Raises PostroomError where a row is no longer what preflight saw: what leaves is what was checked.

    ahead: whether a worker builds them; see pays(). Raises WorkerLost where it was ended from outside. wake: a descriptor; once it is readable
    nobody waits for the worker any more: InterruptedError.
    """

    def __init__(self, composer: Composer, plan: Plan, clock: Callable[[], float] = time.time, ahead: bool = False, wake: int | None = None):
        self._composer, self._plan, self._clock, self._wake = composer, plan, clock, wake
        self._builder = worker.started(lambda going: map(_packed, _built(composer, chain.from_iterable(going), clock))) if ahead else None
        self._main = self._from_builder(in_order(plan)) if self._builder else in_turn(composer, plan, clock)
        self._again, self._exhausted, self._last_pass, self.due_at = iter(()), False, clock(), plan.first_due()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._builder:
            self._builder.close()

    def next(self) -> Message | None:
        """The next message that may leave now; None where there is none. due_at says when the first of the others may."""
        message = next(self._again, None)
        if message is None and self._pass_is_due():
            self._again = self._due()
            message = next(self._again, None)
        if message is None and not self._exhausted:
            message = next(self._main, None)
            self._exhausted = message is None
            if self._exhausted:
                return self.next()
        return message

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
        yield from _built(self._composer, self._plan.due(now), self._clock)
        self.due_at = self._plan.first_due()

    def _from_builder(self, going):
        asked = deque()  # how many answers are to come for each list that it was given
        while True:
            while len(asked) < 2 and (share := list(islice(going, SHARE))):
                self._builder.ask(share)
                asked.append(len(share))
            if not asked:
                return
            for _ in range(asked[0]):
                yield _unpacked(self._builder.answer(self._wake))
            asked.popleft()


def pays(messages: int, seconds: float) -> bool:
    """Whether a worker should build so many messages, which take so many seconds at least by the rate."""
    return messages >= LEAST_AHEAD and seconds < messages * SLOW_SECONDS and worker.spare() > 0


def in_turn(composer: Composer, plan: Plan, clock: Callable[[], float] = time.time) -> Iterator[Message]:
    """The plan's messages in the order of the table, the late ones last, each with the Date of the moment at which it is wanted."""
    return _built(composer, in_order(plan), clock)


def in_order(plan: Plan) -> Iterator[Going]:
    """Who goes, the late ones last."""
    return chain(plan.going(NOW), plan.going(LATE))


def _built(composer, going, clock):
    """The messages of those who go. The table is read once for as long as their lines ascend."""
    rows, last = iter(()), None
    for wanted in going:
        if last is None or wanted.line <= last:
            rows = _rows(composer.table)
        row = next((row for line, row in rows if line == wanted.line), None)
        if row is None:
            raise _changed(composer, wanted.line)
        last = wanted.line
        yield _message(composer, row, wanted, clock)


def _rows(table):
    for chunk in table.chunks(_ignored):
        yield from chunk


def _message(composer, row, wanted: Going, clock):
    rendered = composer.render(row, wanted.line, wanted.key)
    if rendered.digest != wanted.digest:
        raise _changed(composer, wanted.line)
    try:
        return composer.message(rendered, int(clock()) if wanted.date is None else wanted.date, wanted.utc_offset, wanted.repeat)
    except LocalError as error:
        error.where = Place(composer.table.file, wanted.line)
        raise


def _packed(message):
    """A message as plain values, which cross from one process to the other in a third of the time."""
    envelope = message.envelope
    return (message.key, message.row, (envelope.sender, envelope.recipients, envelope.own), message.octets, message.message_id, message.date, message.digest,
            message.utc_offset)


def _unpacked(values):
    key, row, envelope, *others = values
    return Message(key, row, Envelope(*envelope), *others)


def _ignored(error):
    """Rows that are too short or long stop preflight; should one appear since, its line is missing from the plan."""


def _changed(composer, line):
    return RecipientError("the mail for this row is no longer what was checked before sending began", Place(composer.table.file, line),
                          "files changed during the run: run again, which checks everything anew and goes on")
