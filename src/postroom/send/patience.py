"""When to stop although mail is left: a reply that would hit everybody, and a wall that one message after the other runs into."""

import re
from collections import deque

from postroom.address import shown
from postroom.errors import PostroomError, RelayRefused, RelayUnavailable
from postroom.outcome import CAMPAIGN, DEFERRED, REJECTED, SENT, Fate
from postroom.read.campaign import StopAfter
from postroom.smtp.reply import LATER_WORKS, REPEATED, SLOW, SPAM

# So many refusals as spam among the last replies: going on would only harm the account's name.
MOST_SPAM, RECENT = 3, 20
# So often "slow down" without a message taken in between: eight minutes of waiting did not help.
MOST_SLOW = 10
# So many refusals in a row in the very same words that nobody knows: it is hardly the recipients.
MOST_ALIKE = 5
# So many put off in a row: greylisting looks like that for one domain, not for a whole list.
MOST_PUT_OFF = 20


class Patience:
    """Hears every fate of a run and says when it is enough.

    stop_after: the campaign's own limit. waits: whether the run waits for the relay however long it takes.
    """

    def __init__(self, stop_after: StopAfter, waits: bool = False):
        self._stop_after, self._waits = stop_after, waits
        self._recent = deque(maxlen=RECENT)  # what was meant by the last replies
        self._answered = self._refused = self._slow = self._put_off = self._alike = 0
        self._words = None

    def heed(self, fate: Fate) -> PostroomError | None:
        """Why to stop now, or None."""
        self._count(fate)
        if fate.state == SENT:
            return None
        said, meaning = f'"{fate.code} {shown(fate.text)}"', fate.meaning
        action = meaning and meaning.action
        if meaning is not None and (fate.scope == CAMPAIGN or action == SPAM and self._recent.count(SPAM) >= MOST_SPAM
                                    or action == SLOW and self._slow >= MOST_SLOW and not self._waits):
            kind = RelayUnavailable if action in LATER_WORKS else RelayRefused
            return kind(f"{meaning.what.rstrip('.。')} ({said})", f"reply to {fate.phase}", meaning.do)
        if fate.scope == CAMPAIGN:
            return RelayRefused(f"the relay refuses every message: {said}", f"reply to {fate.phase}", "correct `from` or the login; nobody was marked as refused")
        return self._wall(fate, said)

    def _count(self, fate):
        if fate.state == SENT:
            self._recent.append(None)
            self._slow = self._put_off = self._alike = 0
            self._answered += 1
            self._words = None
            return
        action = fate.meaning and fate.meaning.action
        self._recent.append(action)
        self._slow += action == SLOW
        self._put_off = self._put_off + 1 if fate.state == DEFERRED else 0 if fate.state == REJECTED else self._put_off
        self._answered += fate.state == REJECTED
        self._refused += fate.state == REJECTED
        if fate.state in (REJECTED, DEFERRED):
            words = _alike(fate) if fate.state == REJECTED and fate.meaning is None else None
            self._alike = self._alike + 1 if words is not None and words == self._words else int(words is not None)
            self._words = words

    def _wall(self, fate, said):
        failures, share = self._stop_after.failures, self._stop_after.share
        if fate.state == REJECTED and self._refused >= failures and self._refused >= share * self._answered:
            return RelayUnavailable(f"{self._refused:,} of {self._answered:,} were refused in this run, which is the limit ({failures} and {share:.0%}); the last: {said}", None,
                                    "look at the refusals with `postroom report`, then run it again to go on; `delivery: stop_after` sets the limit")
        if self._alike >= MOST_ALIKE:
            return RelayUnavailable(f"the relay refuses one after the other in the same words: {said}", f"reply to {fate.phase}",
                                    "find out what it means; run it again to go on with the others")
        if self._put_off >= MOST_PUT_OFF and not self._waits:
            return RelayUnavailable(f"the relay put off {self._put_off} in a row; the last: {said}", f"reply to {fate.phase}", "run it again later; nobody is lost")
        return None


def _alike(fate):
    """A reply's text without what differs from one recipient to the next."""
    return fate.code, re.sub(r"\d+", "", REPEATED.sub("", fate.text.lower()))
