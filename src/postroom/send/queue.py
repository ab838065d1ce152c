"""What still has to go, what goes again, and why the queue closed."""

import time
from collections import deque
from collections.abc import Iterator

from postroom.address import shown
from postroom.check.preflight import Plan
from postroom.compose.build import Composer
from postroom.errors import Place, PostroomError, RecipientError, RelayRefused, RelayUnavailable
from postroom.message import Message
from postroom.outcome import CAMPAIGN, PENDING, Fate
from postroom.smtp.protocol import check_octets
from postroom.smtp.reply import LATER_WORKS, SLOW, SPAM

# So many refusals as spam, or for haste, among the last replies: going on would only harm the account's name.
MOST_ALIKE, RECENT = 3, 20


def departures(composer: Composer, plan: Plan, clock=time.time) -> Iterator[Message]:
    """The plan's messages in the order of the table, the late ones last, each built when it is wanted, with the Date of that moment.

    Raises PostroomError where a row is no longer what preflight saw: what leaves is what was checked.
    """
    for late in (False, True):
        going = plan.going(late)
        wanted = next(going, None)
        if wanted is None:
            continue
        for line, row in _rows(composer.table):
            if line != wanted[0]:
                continue
            yield _message(composer, line, row, wanted, clock)
            if (wanted := next(going, None)) is None:
                break
        if wanted is not None:
            raise _changed(composer, wanted[0])


def _rows(table):
    for chunk in table.chunks(_ignored):
        yield from zip(chunk.index.tolist(), chunk.to_dict("records"), strict=True)


def _message(composer, line, row, wanted, clock):
    _, key, digest, date, utc_offset = wanted
    rendered = composer.render(row, line, key)
    if rendered.digest != digest:
        raise _changed(composer, line)
    message = composer.message(rendered, int(clock()) if date is None else date, utc_offset)
    try:
        # Also guarded where it is written to the wire; here nothing is noted as leaving yet.
        check_octets(message.octets)
    except PostroomError as error:
        error.where = Place(composer.table.file, line)
        raise
    return message


class Queue:
    """Messages to hand to the line, in order; one that came back unsent goes again at once, and is left for the next run
    when it comes back a second time: the relay may close at this one alone, and the others must not wait for it.

    closed_by: None while it is open, else the error or the signal that ended the run.
    """

    def __init__(self, messages: Iterator[Message]):
        self._messages, self._again, self.closed_by = messages, deque(), None
        self._returned, self._left_over, self._words = set(), 0, ""
        self._recent = deque(maxlen=RECENT)  # what was meant by the last replies

    def __bool__(self):
        """Whether there is something to hand out; looks one message ahead."""
        if self.closed_by is None and not self._again:
            try:
                self._again.extend(message for message in (next(self._messages, None),) if message is not None)
            except PostroomError as error:
                self.close(error)
        if self.closed_by is None and not self._again and self._left_over:
            self.close(RelayUnavailable(f"the relay closed the connection twice at each of {self._left_over:,} messages, which are left for the next run{self._words}",
                                        None, "run it again later; if it is the same ones again, ask who runs the relay"))
        return self.closed_by is None and bool(self._again)

    def take(self, most: int) -> list[Message]:
        """At most so many messages that leave next."""
        taken = []
        while len(taken) < most and self:
            taken.append(self._again.popleft())
        return taken

    def settle(self, fates: list[Fate]) -> None:
        """What certainly did not leave goes again; a reply that would hit everybody closes the queue."""
        for fate in reversed(fates):
            if fate.state != PENDING:
                self._returned.discard(fate.message.key)
            elif fate.message.key in self._returned:
                self._left_over += 1
                self._words = f'; it said "{fate.code} {shown(fate.text)}"' if fate.code else ""
            else:
                self._returned.add(fate.message.key)
                self._again.appendleft(fate.message)
            self._heed(fate)

    def _heed(self, fate):
        """Close where a reply is about all messages: at once, or because the relay keeps saying so of one after the other."""
        said, meaning = f'"{fate.code} {shown(fate.text)}"', fate.meaning
        if fate.scope == CAMPAIGN and meaning is None:
            self.close(RelayRefused(f"the relay refuses every message: {said}", f"reply to {fate.phase}",
                                    "correct `from` or the login; nobody was marked as refused"))
        self._recent.append(meaning and meaning.action)
        again = meaning is not None and meaning.action in (SPAM, SLOW) and self._recent.count(meaning.action) >= MOST_ALIKE
        if meaning is not None and (fate.scope == CAMPAIGN or again):
            kind = RelayUnavailable if meaning.action in LATER_WORKS else RelayRefused
            self.close(kind(f"{meaning.what.rstrip('.。')} ({said})", f"reply to {fate.phase}", meaning.do))

    def close(self, reason) -> None:
        """Hand out nothing more; the first reason counts."""
        self.closed_by = self.closed_by or reason


def _ignored(error):
    """Rows that are too short or long stop preflight; should one appear since, its line is missing from the plan."""


def _changed(composer, line):
    return RecipientError("the mail for this row is no longer what was checked before sending began", Place(composer.table.file, line),
                          "files changed during the run: run again, which checks everything anew and goes on")
