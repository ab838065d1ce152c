"""postroom from Python: the same steps, promises and errors as on the command line, for scripts and notebooks.

    import postroom

    campaign = postroom.load("campaign.yaml")
    campaign.recipients().head()
    campaign.preview()
    campaign.send(dry_run=True)
    campaign.send(yes=True)

Whatever must change first is raised as a PostroomError with `what`, `where` and `do`, before anything leaves.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postroom.errors import PostroomError
from postroom.message import Message
from postroom.outcome import DEFERRED, REJECTED, SENT, UNCERTAIN
from postroom.preview import Preview, write_preview
from postroom.read import campaign as files
from postroom.read.recipients import Table
from postroom.run import Desk, Options, Run, foreseen
from postroom.words import noted

if TYPE_CHECKING:
    import pandas

__all__ = ["Campaign", "Message", "PostroomError", "Preview", "Result", "load"]
FIRST = 100


@dataclass(frozen=True, slots=True)
class Result:
    """What one send() did and how the edition stands now.

    sent, rejected, deferred, uncertain: in this run. recipients, sent_in_all, remaining: of the whole edition; None where it is
    not known. exit_code: as the command line has it, 0 where nothing is open. error: why the run ended early, or None.
    page: of a rehearsal, the page that shows its mail.
    """

    exit_code: int
    sent: int
    rejected: int
    deferred: int
    uncertain: int
    recipients: int | None
    sent_in_all: int | None
    remaining: int | None
    error: PostroomError | None = None
    page: str | None = None
    document: dict = field(default_factory=dict, repr=False)


class Campaign:
    """One campaign file. It is read anew by each call, so an edit between two cells of a notebook counts."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._load()

    def __repr__(self):
        return f"<postroom campaign {self.path}>"

    def recipients(self) -> "pandas.DataFrame":
        """The table as it is read: every cell is text, the index is the physical line of each row. All of it is held in memory.

        Raises Faults for rows that are too short or too long.
        """
        # Here alone: it takes longer to load than a short list takes to send.
        import pandas

        table, faults = Table(self._load()), []
        if table.guess:
            _warn(table.guess_words())
        chunks = [pandas.DataFrame([[*row.values()] for _, row in chunk], [line for line, _ in chunk], table.columns, dtype=object)
                  for chunk in table.chunks(faults.append)]
        if faults:
            from postroom.errors import Faults

            raise Faults(faults)
        return pandas.concat(chunks) if chunks else pandas.DataFrame(columns=table.columns)

    def messages(self, limit: int | None = None) -> Iterator[Message]:
        """Every message of the table, one by one, each exactly as it would leave now but for its Date.

        All rows are checked before the first is handed out. Raises Faults.
        """
        return foreseen(self._load(), None, limit, _warn)

    def preview(self, limit: int | None = FIRST, output: str | os.PathLike | None = None) -> Preview:
        """Write the first messages (None: all) as .eml files and a page to look through. Returns where they are.

        output: the folder; by default one in the project's `.postroom`.
        """
        campaign = self._load()
        directory = os.fspath(output) if output else os.path.join(campaign.project.state_folder, "preview", campaign.folder_name)
        return write_preview(foreseen(campaign, None, limit, _warn), directory, campaign.title)

    def send(self, *, yes: bool = False, dry_run: bool = False, sandbox: bool = False, limit: int | None = None, uncertain: str | None = None,
             accept_changes: bool = False, journal: str | os.PathLike | None = None, quiet: bool = False) -> Result:
        """Send what is not sent yet, or go on where it stopped; nobody gets two.

        yes: the confirmation; without it nothing leaves, unless it is a dry_run (no connection) or for the sandbox (nobody gets
        mail). The other words are those of `postroom send`. quiet: say nothing and show no progress.
        A Ctrl-C, or the notebook's stop button, lets the message in flight finish; run it again to go on.
        Raises PostroomError where nothing could begin; a run that began and ended early says why in Result.error.
        """
        if limit is not None and limit < 1:
            raise ValueError("limit is 1 or more")
        if uncertain not in (None, "resend", "skip"):
            raise ValueError('uncertain is "resend" or "skip"')
        options = Options(self.path, yes=yes, dry_run=dry_run, limit=limit, uncertain=uncertain, accept_changes=accept_changes,
                          journal=os.fspath(journal) if journal else None, sandbox=sandbox, quiet=quiet)
        run = Run(options, Desk(_silent if quiet else print))
        exit_code = run.rehearse() if sandbox else run.send()
        document = run.result(exit_code)
        this_run = document["this_run"]
        return Result(exit_code, *(this_run[state] for state in (SENT, REJECTED, DEFERRED, UNCERTAIN)), document["recipients"], document["sent"],
                      document["remaining"], run.error, run.page, document)

    def _load(self):
        return files.load(self.path, secrets=False)


def load(path: str | os.PathLike) -> Campaign:
    """Read a campaign file. Raises Faults with every fault in it, each with its line and column."""
    return Campaign(path)


def _warn(guess):
    warnings.warn(noted(guess), stacklevel=4)


def _silent(text, end="\n"):
    """Nobody wants to hear it."""
