"""How a run goes, for a person who waits: a bar on a terminal, a line now and then elsewhere (tqdm)."""

import sys
import time
from contextlib import suppress

from postroom.address import shown
from postroom.message import Message
from postroom.outcome import DEFERRED, PENDING, REJECTED, SENT, UNCERTAIN, Fate
from postroom.smtp.reply import SLOW

LINE_SECONDS = 10
MOST_EXAMPLES = 10


class Progress:
    """Counts fates and shows them on stderr.

    this_run: state -> how many. may_have_gone: how many the relay may have taken. partial: messages sent whose relay refused one of several addresses.
    examples: the first few fates that are not plainly sent.
    """

    def __init__(self, total: int, quiet: bool = False):
        self.this_run = dict.fromkeys((SENT, REJECTED, DEFERRED, UNCERTAIN), 0)
        self.may_have_gone, self.partial, self.examples, self.total = 0, 0, [], total
        self._put_off, self._slowed = set(), False
        self._bar, self._quiet = None, quiet
        self._started = self._shown = time.monotonic()
        if not quiet and (bar := _bar()):
            self._bar = bar(total=total, unit=" messages", file=sys.stderr, dynamic_ncols=True, mininterval=0.2,
                            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix} [{rate_fmt}, {remaining} left]")

    def told(self, answered: list[Fate], leaving: list[Message]) -> None:
        """Hear what became of some messages, and which leave next."""
        self.may_have_gone += len(leaving)
        for fate in answered:
            self.may_have_gone -= fate.state not in (SENT, UNCERTAIN)
            if fate.state == PENDING:
                self._slow_down(fate)
                continue
            self._count(fate)
            refused = fate.state == SENT and not all(result.accepted for result in fate.addresses)
            self.partial += refused
            if (refused or fate.state != SENT) and len(self.examples) < MOST_EXAMPLES:
                self.examples.append(fate)
        if self._bar is not None and answered:
            self._bar.set_postfix_str(self._not_sent(), refresh=False)
            self._bar.update(self.done - self._bar.n)
        if self._bar is None and not self._quiet and time.monotonic() - self._shown > LINE_SECONDS:
            self._line()

    def _count(self, fate):
        """Whoever is put off and sent later in the same run was sent."""
        row = fate.message.row
        if row in self._put_off:
            self.this_run[DEFERRED] -= 1
            self._put_off.discard(row)
            self.examples = [earlier for earlier in self.examples if earlier.message.row != row]
        self.this_run[fate.state] += 1
        if fate.state == DEFERRED:
            self._put_off.add(row)

    def _slow_down(self, fate):
        if not self._slowed and fate.meaning is not None and fate.meaning.action == SLOW:
            self._slowed = True
            self.note(f'The relay asks for fewer messages ("{fate.code} {shown(fate.text)}"): they leave more slowly from now on.')

    def note(self, text: str) -> None:
        """A line that a person should see while the run goes on."""
        if self._quiet:
            return
        with suppress(OSError):
            if self._bar is not None:
                self._bar.write(text, file=sys.stderr)
            else:
                print(text, file=sys.stderr, flush=True)

    def _line(self):
        self._shown = time.monotonic()
        pace = self.done / (self._shown - self._started)
        left = f", about {(self.total - self.done) / pace:,.0f} s left" if pace else ""
        # Whether somebody can still read it must not change what happens to the mail.
        with suppress(OSError):
            print(f"{', '.join(filter(None, (f'{self.this_run[SENT]:,} sent', self._not_sent())))} of {self.total:,}, "
                  f"{pace:,.1f}/second{left}", file=sys.stderr, flush=True)

    def _not_sent(self):
        words = {REJECTED: "refused", DEFERRED: "put off", UNCERTAIN: "uncertain"}
        return ", ".join(f"{self.this_run[state]:,} {word}" for state, word in words.items() if self.this_run[state])

    @property
    def done(self) -> int:
        return sum(self.this_run.values())

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar():
    """tqdm's bar where somebody can see it move: on a terminal and in a notebook."""
    if in_notebook():
        try:
            import ipywidgets  # noqa: F401 - without it tqdm's own notebook bar cannot be drawn
            from tqdm.notebook import tqdm
        except ImportError:
            from tqdm import tqdm
        return tqdm
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm


def in_notebook() -> bool:
    """Whether a notebook's kernel runs us, which shows what a terminal would."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"
