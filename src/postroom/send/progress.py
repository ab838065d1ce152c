"""How a run goes, for a person who waits: a bar on a terminal, a line now and then elsewhere (tqdm)."""

import sys
import time
from contextlib import suppress

from postroom.message import Message
from postroom.outcome import DEFERRED, PENDING, REJECTED, SENT, UNCERTAIN, Fate

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
                continue
            self.this_run[fate.state] += 1
            refused = fate.state == SENT and not all(result.accepted for result in fate.addresses)
            self.partial += refused
            if (refused or fate.state != SENT) and len(self.examples) < MOST_EXAMPLES:
                self.examples.append(fate)
            if self._bar is not None:
                if failed := self.done - self.this_run[SENT]:
                    self._bar.set_postfix_str(f"{failed} failed", refresh=False)
                self._bar.update()
        if self._bar is None and not self._quiet and time.monotonic() - self._shown > LINE_SECONDS:
            self._line()

    def _line(self):
        self._shown = time.monotonic()
        pace = self.done / (self._shown - self._started)
        left = f", about {(self.total - self.done) / pace:,.0f} s left" if pace else ""
        # Whether somebody can still read it must not change what happens to the mail.
        with suppress(OSError):
            print(f"{self.this_run[SENT]:,} sent, {self.done - self.this_run[SENT]:,} failed of {self.total:,}, "
                  f"{pace:,.1f}/second{left}", file=sys.stderr, flush=True)

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
