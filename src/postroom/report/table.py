"""The recipients' table back, each row with what became of it, and the rows that were refused as the next table.

A file is written whole or not at all, and takes the place of nothing but an earlier one of its kind. Memory does not grow with the table.
"""

import contextlib
import csv
import io
import os
import shutil
import stat
import tempfile
from collections import namedtuple
from typing import BinaryIO

from postroom.address import key_of, key_parts
from postroom.check.plan import Plan
from postroom.errors import CampaignError, Faults
from postroom.journal.outcomes import all_outcomes, copies_went_out, outcomes_of, refused_copies
from postroom.journal.schema import FORGOTTEN
from postroom.journal.suppression import Suppression
from postroom.outcome import DUPLICATE, PENDING, REJECTED, SKIPPED, SUPPRESSED
from postroom.read.formulas import MARK, defused, is_formula
from postroom.read.project import display
from postroom.read.recipients import Table
from postroom.words import utc

OURS = ("outcome", "reason", "code", "enhanced", "text", "time", "message_id", "refused")
PREFIX = "postroom_"
ROWS_AT_ONCE, CHARACTERS_AT_ONCE, MOST_FAULTS, MOST_HEADER = 1000, 4 << 20, 1000, 1 << 20

Told = namedtuple("Told", "outcome reason code enhanced text time message_id refused", defaults=(None,) * 7)
Told.__doc__ = "What a row of the report says behind the table's own cells; None where there is nothing to say."
Written = namedtuple("Written", "columns rows unlisted forgotten failed held_back")
Written.__doc__ = """columns: what the report's own columns are called. rows: how many stand in it; unlisted: of these, at its end, those that the table lists
no more; forgotten: recipients whom nothing names any more, who are left out. failed: rows for another run. held_back: refused ones that are
none of them, because the mail, or a copy, may have arrived."""


def write(table: Table, campaign, edition, running: bool, report: str | BinaryIO | None, failed: str | BinaryIO | None) -> Written:
    """Write the report and the rows that failed, each to a path, an open binary file, or nowhere.

    edition: the journal's, or None where nothing was ever sent. running: whether a run is under way.
    Raises Faults for rows that cannot be read, CampaignError for a file that may not be replaced; then nothing is written.
    """
    names = _own_columns(table.columns)
    with _explained(report, failed), contextlib.ExitStack() as files:
        back = files.enter_context(_Sheet(report, table, is_report=True)) if report else None
        again = files.enter_context(_Sheet(failed, table, is_report=False)) if failed else None
        if back and again and back.path == again.path:
            raise CampaignError("both tables would be the same file", display(back.path), "name another file for one of them")
        files.enter_context(_moment(edition))
        if back:
            back.row([*table.columns[:table.cells], *names])
        spool = files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", newline=""))
        rows = _Rows(table, campaign, edition, running, back, csv.writer(spool))
        rows.all()
        spool.seek(0)
        if again:
            again.next_table(table.columns[:table.cells], csv.reader(spool), rows.has_formulas)
        for sheet in filter(None, (back, again)):
            sheet.done()
    return Written(names, rows.count, rows.unlisted, rows.forgotten, rows.failed, rows.held_back)


@contextlib.contextmanager
def _explained(*targets):
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = ", ".join(display(target) for target in targets if isinstance(target, str)) or "standard output"
        raise CampaignError(f"the table cannot be written: {(error.strerror or str(error)).lower()}", where,
                            "make the folder or room in it, or name another file") from None


@contextlib.contextmanager
def _moment(edition):
    """All of the journal as it is now, whatever a run writes meanwhile."""
    if edition is None:
        yield
        return
    rows = edition.journal.rows
    with edition.journal.explained():
        rows.execute("BEGIN")
    try:
        yield
    finally:
        rows.execute("ROLLBACK")


def _own_columns(columns):
    """Ours, under names that the table does not have: its own may be an earlier report."""
    taken, number = {column.casefold() for column in columns}, 1
    while True:
        names = [f"{PREFIX}{name}" + (f"_{number}" if number > 1 else "") for name in OURS]
        if taken.isdisjoint(names):
            return names
        number += 1


class _Rows:
    """Walks through the table once, then through what only the journal knows."""

    def __init__(self, table, campaign, edition, running, back, failed):
        self.table, self.edition, self.running, self.back, self._failed = table, edition, running, back, failed
        self.keys = campaign.recipients.key or (campaign.recipients.email,)
        self.suppression = Suppression(edition) if edition else None
        self.count = self.unlisted = self.forgotten = self.failed = self.held_back = 0
        self.has_formulas = any(map(is_formula, table.columns[:table.cells]))
        self.plan, self.faults = Plan(), []

    def all(self):
        try:
            for some in self._portions():
                self._portion(some)
            if self.faults:
                raise Faults(self.faults)
            if self.edition:
                self._no_longer_listed()
        finally:
            self.plan.close()

    def _portions(self):
        some, size = [], 0
        for line, cells, row in self.table.as_written(lambda fault: self.faults.append(fault) if len(self.faults) < MOST_FAULTS else None):
            some.append((line, cells, row))
            size += sum(map(len, cells))
            if len(some) == ROWS_AT_ONCE or size > CHARACTERS_AT_ONCE:
                yield some
                some, size = [], 0
        if some:
            yield some

    def _portion(self, some):
        wanted = [row for _, _, row in some if row is not None]
        keys = [key_of([row[column] for column in self.keys]) for row in wanted]
        renamed = self.suppression.renamed(keys, [row[self.table.email] for row in wanted]) if self.suppression else [None] * len(keys)
        names = iter([(name or key, name is not None) for name, key in zip(renamed, keys, strict=True)])
        known = outcomes_of(self.edition, [name or key for name, key in zip(renamed, keys, strict=True)], self.running) if self.edition else {}
        more = _More(self.edition, known.values())
        for line, cells, row in some:
            key, suppressed = next(names) if row is not None else (None, False)
            told, outcome = self._told(line, known, more, key, suppressed) if row is not None else (Told(SKIPPED, "where"), None)
            self._add(cells, told)
            if outcome is not None and outcome.state == REJECTED and not suppressed:
                self._failed_row(cells, outcome, more)

    def _told(self, line, known, more, key, suppressed):
        """(Told, Outcome or None) of one row of the table."""
        if (earlier := self.plan.add(line, key, "")) is not None:
            return Told(SKIPPED, f"{DUPLICATE} of line {earlier}"), None
        outcome = known.get(key)
        if outcome is None:
            return Told(SKIPPED, SUPPRESSED) if suppressed else Told(PENDING), None
        return more.told(outcome, SUPPRESSED if suppressed else None), outcome

    def _failed_row(self, cells, outcome, more):
        if outcome.may_have_arrived or outcome.attempt in more.copies_out:
            self.held_back += 1
            return
        self.failed += 1
        self.has_formulas = self.has_formulas or any(map(is_formula, cells))
        self._failed.writerow(cells)

    def _no_longer_listed(self):
        some = []
        for outcome in all_outcomes(self.edition, self.running):
            if self.plan.line_of(outcome.key) is not None:
                continue
            if outcome.key.startswith(FORGOTTEN):
                self.forgotten += 1
                continue
            some.append(outcome)
            if len(some) == ROWS_AT_ONCE:
                self._unlisted(some)
                some = []
        self._unlisted(some)

    def _unlisted(self, some):
        more = _More(self.edition, some)
        for outcome in some:
            cells = dict.fromkeys(self.table.columns[:self.table.cells], "")
            cells |= dict(zip(self.keys, key_parts(outcome.key), strict=False))
            if outcome.address:
                cells[self.table.email] = outcome.address
            self._add([cells[column] for column in self.table.columns[:self.table.cells]], more.told(outcome, "no longer listed"))
            self.unlisted += 1

    def _add(self, cells, told):
        self.count += 1
        if self.back:
            self.back.row([*cells, *("" if value is None else str(value) for value in told)])


class _More:
    """What stands about some outcomes in other tables of the journal."""

    def __init__(self, edition, outcomes):
        attempts = [outcome.attempt for outcome in outcomes if outcome.attempt is not None]
        self.refused = refused_copies(edition, attempts) if attempts else {}
        self.copies_out = copies_went_out(edition, attempts) if attempts else set()

    def told(self, outcome, why):
        """why: what is to be said beside the journal's own reason, or None."""
        reasons = "; ".join(dict.fromkeys(filter(None, (outcome.reason, why))))
        refused = "; ".join(f"{copy.address} ({copy.code} {copy.text})" for copy in self.refused.get(outcome.attempt, ()))
        return Told(outcome.state, reasons or None, outcome.code, outcome.enhanced, outcome.text, outcome.at and utc(outcome.at), outcome.message_id, refused or None)


class _Sheet:
    """A table in the making. It takes the place of `target` with done(), or leaves no trace.

    As a file it has a byte order mark, which spreadsheets want; only the next table is in the encoding that the campaign names, if it names
    one, to be read by the same campaign. Both have the table's own delimiter.
    """

    def __init__(self, target, table, is_report):
        self.target, self.table, self.is_report, self.fresh = target, table, is_report, None
        self.is_path = isinstance(target, str)
        self.path = os.path.realpath(target) if self.is_path else target
        if self.is_path:
            _may_be_replaced(self.path, display(target), table, is_report)

    def __enter__(self):
        encoding = "utf-8" if self.is_report else self.table.declared or "utf-8"
        if not self.is_path:
            self.file = io.TextIOWrapper(tempfile.TemporaryFile(), encoding=encoding, newline="")
        else:
            # Made readable by its owner alone: names and addresses are in it.
            descriptor, self.fresh = tempfile.mkstemp(prefix=f".{os.path.basename(self.path)}.", dir=os.path.dirname(self.path))
            self.file = open(descriptor, "w", encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        self._writer = csv.writer(self.file, delimiter=self.table.delimiter)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.file.close()
        if self.fresh:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.fresh)

    def row(self, cells):
        """Cells as a spreadsheet may open them."""
        self._writer.writerow(map(defused, cells))

    def next_table(self, columns, rows, has_formulas):
        """Rows as they are; where a spreadsheet would run any, made harmless, with a column that says so to whoever reads the table."""
        if has_formulas:
            self.row([*columns, MARK])
            for cells in rows:
                self.row([*cells, "yes" if any(map(is_formula, cells)) else ""])
            return
        self._writer.writerow(columns)
        self._writer.writerows(rows)

    def done(self):
        self.file.flush()
        if self.is_path:
            os.fsync(self.file.fileno())
            os.replace(self.fresh, self.path)
            self.fresh = None
        else:
            self.file.buffer.seek(0)
            shutil.copyfileobj(self.file.buffer, self.target)
            self.target.flush()


def _may_be_replaced(path, shown, table, is_report):
    """Raises CampaignError where something else than an earlier table of this kind would be lost."""
    kind = "report" if is_report else "table of refused rows"
    if ".postroom" in path.split(os.sep):
        raise CampaignError("a report does not belong beside the journal", shown, "name another file")
    if not os.path.lexists(path):
        return
    if os.path.samefile(path, table.real):
        raise CampaignError("these are the recipients themselves", shown, "name another file")
    if not stat.S_ISREG(os.stat(path).st_mode) or not _is_earlier(path, table, is_report):
        raise CampaignError(f"it exists and is not an earlier {kind}", shown, "name another file, or remove it")


def _is_earlier(path, table, is_report):
    columns = table.columns[:table.cells]
    try:
        with open(path, encoding="utf-8-sig" if is_report else table.declared or "utf-8-sig", newline="") as file:
            names = next(csv.reader(io.StringIO(file.read(MOST_HEADER), newline=""), delimiter=table.delimiter), [])
    except (OSError, ValueError, csv.Error):
        return False
    if is_report:
        return any(name.startswith(PREFIX + OURS[0]) for name in names)
    return names == columns or names[-1:] == [MARK]
