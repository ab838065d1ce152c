"""Who is mailed in a run, row by row: on disk, not in memory, because a list has no upper bound."""

import sqlite3
from collections import namedtuple
from collections.abc import Iterator

NOW, LATE, ONCE_DUE = range(3)  # when somebody's turn is: in the table's order, behind everybody else, at a time of their own

Going = namedtuple("Going", "line key digest date utc_offset repeat tries", defaults=(None, None, 0, 0))
Going.__doc__ = """Who is mailed in this run: physical line, key, digest of all that was rendered.

date, utc_offset: those of the mail that this one repeats, or None. repeat: how many mails this person was meant to have before.
tries: how often it was handed over and put off.
"""


class Plan:
    """What this run will do, row by row, in a temporary database that goes when the plan does."""

    def __init__(self):
        # An empty name is SQLite's temporary file: it never spills into memory, and nothing of it outlives us.
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-4000; BEGIN;"
                                 "CREATE TABLE listed(line INTEGER PRIMARY KEY, key TEXT UNIQUE, files TEXT, digest TEXT, date INTEGER, utc_offset INTEGER, "
                                 "repeat INTEGER, tries INTEGER, turn INTEGER, due REAL)")

    def add(self, line: int, key: str, files: str) -> int | None:
        """List a recipient. Returns None, or the line that has the same key already."""
        added = self._rows.execute("INSERT OR IGNORE INTO listed(line, key, files) VALUES(?, ?, ?)", (line, key, files)).rowcount
        return None if added else self.line_of(key)

    def line_of(self, key: str) -> int | None:
        """The line of the recipient with this key; None where none is listed."""
        found = self._rows.execute("SELECT line FROM listed WHERE key = ?", (key,)).fetchone()
        return found and found[0]

    def files(self, line: int) -> str:
        return self._rows.execute("SELECT files FROM listed WHERE line = ?", (line,)).fetchone()[0]

    def goes(self, going: Going, turn: int = NOW, due: float | None = None) -> None:
        """Somebody is mailed in this run. due: for ONCE_DUE, UTC seconds."""
        self._rows.execute("UPDATE listed SET digest = ?, date = ?, utc_offset = ?, repeat = ?, tries = ?, turn = ?, due = ? WHERE line = ?",
                           (going.digest, going.date, going.utc_offset, going.repeat, going.tries, turn, due, going.line))

    def leave_out_late(self, count: int) -> None:
        """So many of the late ones, the last of the table, are not mailed in this run."""
        self._rows.execute("UPDATE listed SET digest = NULL WHERE line IN (SELECT line FROM listed WHERE digest IS NOT NULL AND turn = ? "
                           "ORDER BY line DESC LIMIT ?)", (LATE, count))

    def listed(self) -> Iterator[tuple[str, str]]:
        """(key, digest or "") of every recipient, by key: whoever has an index of them then adds to its end."""
        return self._rows.execute("SELECT key, coalesce(digest, '') FROM listed ORDER BY +key")

    def going(self, turn: int = NOW) -> Iterator[Going]:
        """Those whose turn this is, in the order of the table."""
        return self._going("turn = ?", turn)

    def due(self, now: float) -> Iterator[Going]:
        """Those who were put off and whose time has come, in the order of the table; each is no longer due once it was handed out."""
        for going in self._going("turn = ? AND due <= ?", ONCE_DUE, now):
            self._rows.execute("UPDATE listed SET due = NULL WHERE line = ?", (going.line,))
            yield going

    def first_due(self) -> float | None:
        """When the next of those who were put off is due, UTC seconds; None where nobody is."""
        return self._rows.execute("SELECT min(due) FROM listed WHERE turn = ? AND digest IS NOT NULL", (ONCE_DUE,)).fetchone()[0]

    def tries(self, line: int) -> int:
        """How often the mail for this line was handed over and put off."""
        return self._rows.execute("SELECT tries FROM listed WHERE line = ?", (line,)).fetchone()[0]

    def repeats(self, line: int) -> bool:
        """Whether the mail for this line repeats an earlier one, Date and all."""
        return self._rows.execute("SELECT date FROM listed WHERE line = ?", (line,)).fetchone()[0] is not None

    def put_off(self, line: int, due: float) -> None:
        """The relay put this one off once more."""
        self._rows.execute("UPDATE listed SET turn = ?, due = ?, tries = tries + 1 WHERE line = ?", (ONCE_DUE, due, line))

    def close(self):
        self._rows.close()

    def _going(self, which, *values):
        rows = self._rows.execute(f"SELECT line, key, digest, date, utc_offset, repeat, tries FROM listed WHERE digest IS NOT NULL AND {which} ORDER BY line", values)
        return map(Going._make, rows)
