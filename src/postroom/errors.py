"""What can go wrong for a person: what it is, where, what to do about it, and the exit code that it means.

Modules raise these and only cli/ prints them. No message ever holds a secret. `status` imports this file, so it
stays free of dataclasses and pathlib.
"""

CHANGE_FIRST, TRY_LATER, LOCKED = 2, 3, 4


def signalled(number: int) -> int:
    """The exit code for a signal, as shells count: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


class Place:
    """Where a fault is: a file and, as known, the line in it, the column, and the row of the table it happened for.

    line: 1-based. column: 1-based number in a campaign or template, the column's name in a table.
    row: the physical line of the recipient's row in the table, 1-based, as editors count.
    """

    __slots__ = ("file", "line", "column", "row")

    def __init__(self, file, line=None, column=None, row=None):
        self.file, self.line, self.column, self.row = str(file), line, column, row

    def __str__(self):
        words = [self.file]
        if self.line is not None:
            words.append(f"line {self.line}")
        if self.column is not None:
            words.append(f"column {self.column}")
        if self.row is not None:
            words.append(f"row {self.row} of the recipients")
        return ", ".join(words)


class PostroomError(Exception):
    """One fault in words for people: `what` is wrong, `where` (a Place or a few words), what to `do`."""

    exit_code = CHANGE_FIRST
    more_rows = 0  # how many further rows have the very same fault
    ends_it = False  # whether no further row is looked at: each would take as long to fail

    def __init__(self, what, where=None, do=None):
        super().__init__(what)
        self.what, self.where, self.do = what, where, do

    def __str__(self):
        first = f"{self.where}: {self.what}" if self.where else self.what
        first = f"{first.rstrip('.')} (and so for {self.more_rows:,} more row{'s' * (self.more_rows > 1)})" if self.more_rows else first
        return first if first.endswith((".", "?", "!")) else first + "."


class CampaignError(PostroomError):
    """The campaign file, its settings or a file that it names."""


class TemplateError(PostroomError):
    """A template: syntax, a missing include, an undefined variable, a result that cannot be a message."""


class RecipientError(PostroomError):
    """The recipients' table or one of its rows."""


class Faults(PostroomError):
    """Several faults found in one go; `errors` holds each, in the order of the table."""

    def __init__(self, errors):
        self.errors = list(errors)
        super().__init__(self.errors[0].what, self.errors[0].where, self.errors[0].do)


class RelayRefused(PostroomError):
    """The relay answers, but something must change first: login, certificate, sender, a size over its limit."""


class LoginRefused(RelayRefused):
    """The relay does not accept the password or token."""


class RelayUnavailable(PostroomError):
    """The relay cannot be reached, or closes on us; the same command later may well work."""

    exit_code = TRY_LATER


class LoginPutOff(RelayUnavailable):
    """The relay takes no login for now; there is nothing wrong with the password as far as it says."""


class JournalError(PostroomError):
    """The journal cannot be used as it is: foreign, newer, broken, or it remembers another campaign."""


class JournalUnavailable(PostroomError):
    """The journal cannot be written now: a full disk, a read-only file, another process that holds it."""

    exit_code = TRY_LATER


class Locked(PostroomError):
    """Another run of this campaign is under way."""

    exit_code = LOCKED


class WorkerLost(PostroomError):
    """A process of this run was ended from outside, as a machine does that runs out of memory."""

    exit_code = TRY_LATER


def faults_of(error: PostroomError) -> list[PostroomError]:
    """One fault or several, as a list."""
    return error.errors if isinstance(error, Faults) else [error]
