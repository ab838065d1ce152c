"""The journal: what happened to every recipient, in a SQLite file at the project's root.

Durable before fast: synchronous=FULL, one commit a turn. A crash leaves open only what was really in flight.
`status` imports this file, so it stays free of dataclasses, pathlib and json at the top.
"""

import os
import sqlite3
import time
from collections import namedtuple
from collections.abc import Generator
from contextlib import contextmanager, suppress

from postroom.errors import JournalError, JournalUnavailable
from postroom.journal import guard
from postroom.journal.lock import private_folder
from postroom.journal.schema import APPLICATION_ID, FORGOTTEN, MIGRATIONS, TABLES, VERSION
from postroom.outcome import (BY_CHOICE, DEFERRED, DUPLICATE, LEAVING, MAY_FOLLOW, PENDING, REJECTED, REMOVED, SENT, SKIPPED,
                              SUPPRESSED, UNCERTAIN)
from postroom.steps import STEP, finished
from postroom.words import utc

WRONG_CLOCK_SECONDS = 86_400  # what left more than a day from now was written down by a clock that was wrong
BUSY_SECONDS = 30
MOST_TEXT = 500
KEYS_A_QUERY = 500
ROWS_A_STEP = 4
RESTORE = "restore it from a copy; it was left as it is"

COLUMNS = "key state reason row_digest date utc_offset message_id may_have_arrived repeat attempts put_offs due_at"
Delivery = namedtuple("Delivery", COLUMNS)
Delivery.__doc__ = "What the journal knows of one recipient of an edition; times in UTC seconds."
Turned = namedtuple("Turned", "left opens_at")
Turned.__doc__ = "What one turn allowed: how many of the messages leave, and when the account's quota opens for the others (UTC seconds), or None."
EditionName = namedtuple("EditionName", "name edition file")


# A message leaves: from the states that allow it.
LEAVES = (f"UPDATE delivery SET state = '{LEAVING}', reason = NULL, date = ?, utc_offset = ?, message_id = ?, row_digest = ?, attempts = attempts + 1, "
          "due_at = NULL, relay = ?, address = ?, line = ? WHERE campaign = ? AND key = ? AND variant = '' "
          f"AND state IN ({', '.join(repr(state) for state, followers in MAY_FOLLOW.items() if LEAVING in followers)})")
# And is answered. A repeat that did not leave is as uncertain as before: the first copy may have arrived.
ANSWERED = (f"UPDATE delivery SET state = CASE WHEN :state = '{PENDING}' AND may_have_arrived THEN '{UNCERTAIN}' ELSE :state END, reason = :reason, due_at = :due_at, "
            f"put_offs = put_offs + (:state = '{DEFERRED}'), may_have_arrived = may_have_arrived OR :state = '{UNCERTAIN}' "
            f"WHERE campaign = :campaign AND key = :key AND variant = '' AND state = '{LEAVING}'")


ATTEMPTED = ("INSERT INTO attempt(campaign, key, number, at, state, phase, code, enhanced, text) SELECT campaign, key, attempts, ?, ?, ?, ?, ?, ? "
             "FROM delivery WHERE campaign = ? AND key = ? AND variant = ''")


class Journal:
    """The file. Open it with open(); edition() gives the verbs of a run."""

    def __init__(self, path: str, rows: sqlite3.Connection, clock=time.time):
        self.path, self.rows, self.clock = path, rows, clock
        self._guard = guard.Guard(path, rows.execute("SELECT salt FROM meta").fetchone()[0])

    @classmethod
    def open(cls, path: str, *, create: bool, clock=time.time) -> "Journal | None":
        """The journal at `path`; None where there is none and `create` is False.

        create: a run begins, so a missing one is made, and every page of one that is there is looked at.
        Raises JournalError for a file that is not a journal of this version, is damaged, or is older than what was last written
        here (never overwritten), JournalUnavailable where it cannot be read or written now.
        """
        mark = guard.noted(path)
        if not os.path.exists(path):
            if not create:
                return None
            _make_private(path)
            mark = None
        if os.path.exists(path) and not os.path.getsize(path):
            # Before SQLite looks: it removes the -wal that it finds beside an empty file.
            guard.check_age(path, mark, b"", 0)
        with _explained(path):
            rows = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            with _explained(path):
                empty = not _is_ours(rows) and not rows.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                if empty:
                    guard.check_age(path, mark, b"", 0)
                if empty and not create:
                    rows.close()
                    return None
                _prepare(rows, path, empty)
                guard.check_age(path, mark, *_of_meta(rows, path, salt=bytes, commits=int))
                if create:
                    _whole(rows, path)
                return cls(path, rows, clock)
        except BaseException:
            rows.close()
            raise

    def editions(self) -> list[EditionName]:
        """Every campaign and edition that was ever sent from here, the latest last."""
        with _explained(self.path):
            return [EditionName(*row) for row in self.rows.execute("SELECT name, edition, file FROM campaign ORDER BY id")]

    def edition(self, name: str, edition: str) -> "Edition":
        """One campaign's edition ("" where it has none); nothing is written before enrol()."""
        return Edition(self, name, edition)

    def close(self) -> None:
        self.rows.close()
        self._guard.close()

    def explained(self):
        """A context that says SQLite's errors in words for people, for whoever reads `rows`."""
        return _explained(self.path)

    @contextmanager
    def commit(self):
        """One durable transaction: all of it or nothing. Raises JournalError where the file is no longer the one that was opened."""
        with _explained(self.path):
            self._check()
            self.rows.execute("BEGIN IMMEDIATE")
            try:
                yield self.rows
                self.rows.execute("UPDATE meta SET commits = commits + 1")
                commits, = self.rows.execute("SELECT commits FROM meta").fetchone()
                self.rows.execute("COMMIT")
            except BaseException:
                if self.rows.in_transaction:
                    self.rows.execute("ROLLBACK")
                raise
        self._guard.note(commits)

    def _check(self):
        try:
            self._guard.check()
        except JournalError as error:
            if saved := self._saved():
                error.do = f"what this run knew of it is in {saved}: rename that to {os.path.basename(self.path)} before you run again, or people get two mails"
            raise

    def _saved(self):
        """Where the journal is kept that is open here and has no name any more; None where it cannot be."""
        path = f"{self.path}.{int(self.clock())}.saved"
        try:
            _make_private(path)
            copy = sqlite3.connect(path)
            try:
                self.rows.backup(copy)
            finally:
                copy.close()
        except (JournalUnavailable, sqlite3.Error):
            return None
        return path


class Edition:
    """One edition of a campaign within the journal. began_at, content and file are None, {} and None before its first run."""

    def __init__(self, journal: Journal, name: str, edition: str):
        self.journal, self.name, self.edition = journal, name, edition
        self.relay = self.account = self.started_at = None
        self.quotas = ()
        self._load()

    @property
    def content(self) -> dict[str, str]:
        """Hex SHA-256 of what made the edition's first mail what it was, by name."""
        import json

        return json.loads(self._content)

    def _load(self):
        with _explained(self.journal.path):
            row = self.journal.rows.execute("SELECT id, file, began_at, content, duplicates FROM campaign WHERE name = ? AND edition = ?",
                                            (self.name, self.edition)).fetchone()
        self.id, self.file, self.began_at, self._content, self.duplicates = row or (None, None, None, "{}", 0)

    def states(self, keys: list[str]) -> dict[str, Delivery]:
        """What is known of these recipients, by key; the unknown are left out."""
        found = {}
        with _explained(self.journal.path):
            for start in range(0, len(keys) if self.id is not None else 0, KEYS_A_QUERY):
                some = keys[start:start + KEYS_A_QUERY]
                marks = ",".join("?" * len(some))
                for row in self.journal.rows.execute(f"SELECT {COLUMNS.replace(' ', ', ')} FROM delivery WHERE campaign = ? AND key IN ({marks})",
                                                     (self.id, *some)):
                    found[row[0]] = Delivery(*row)
        return found

    def enrol(self, listed, *, duplicates: int, file: str, content: dict[str, str], accept_changes: bool = False) -> None:
        """Make the journal know exactly the recipients that the table lists now; one transaction, constant memory.

        listed: (key, row digest or "") of each. New ones become pending, and so do removed ones that are back. Pending ones that
        are listed no more are forgotten where nothing was ever tried, else they and deferred ones are skipped as removed.
        content: kept from the first mail on; later only added to, unless accept_changes.
        """
        import json

        with self.journal.commit() as rows:
            rows.execute("INSERT OR IGNORE INTO campaign(name, edition) VALUES(?, ?)", (self.name, self.edition))
            self._load()
            kept = content if self.began_at is None or accept_changes else {**content, **self.content}
            rows.execute("UPDATE campaign SET file = ?, content = ?, duplicates = ? WHERE id = ?",
                         (file, json.dumps(kept, sort_keys=True), duplicates, self.id))
            rows.execute("DELETE FROM temp.listed")
            rows.executemany("INSERT OR IGNORE INTO temp.listed VALUES(?, ?)", listed)
            rows.execute("INSERT INTO delivery(campaign, key, state, row_digest) SELECT ?, key, ?, digest FROM temp.listed WHERE true "
                         "ON CONFLICT DO UPDATE SET row_digest = excluded.row_digest WHERE excluded.row_digest != '' AND NOT may_have_arrived AND state IN (?, ?)",
                         (self.id, PENDING, PENDING, DEFERRED))
            gone = "campaign = ? AND key NOT IN (SELECT key FROM temp.listed)"
            rows.execute(f"DELETE FROM delivery WHERE {gone} AND state = ? AND attempts = 0 AND repeat = 0", (self.id, PENDING))
            rows.execute(f"UPDATE delivery SET state = ?, reason = ? WHERE {gone} AND state IN (?, ?)",
                         (SKIPPED, REMOVED, self.id, PENDING, DEFERRED))
            rows.execute("UPDATE delivery SET state = ?, reason = NULL WHERE campaign = ? AND state = ? AND reason = ? "
                         "AND key IN (SELECT key FROM temp.listed)", (PENDING, self.id, SKIPPED, REMOVED))
            self._leave_out_forgotten(rows)
            rows.execute("DELETE FROM temp.listed")
        self._load()

    def _leave_out_forgotten(self, rows):
        """Whoever was forgotten is listed under a name that says nobody: they are skipped, and go when they are listed no more."""
        theirs = f"campaign = ? AND key GLOB '{FORGOTTEN}*'"
        rows.execute(f"UPDATE delivery SET state = ?, reason = ? WHERE {theirs} AND state = ?", (SKIPPED, SUPPRESSED, self.id, PENDING))
        rows.execute(f"DELETE FROM delivery WHERE {theirs} AND state = ? AND attempts = 0 AND key NOT IN (SELECT key FROM temp.listed)", (self.id, SKIPPED))

    def recover(self) -> int:
        """At the start of a run, under its lock: what was leaving when the last run died is uncertain. Returns how many."""
        return self._settle_all("state = ?", [LEAVING], UNCERTAIN, "the run ended before the reply came")

    def skip_uncertain(self, keys: list[str] | None = None) -> int:
        """The person decided to leave alone whoever may have the mail already: all of them, or those with these keys. Returns how many.

        Among them are those whose repeat the relay put off. Whom the relay's log shows as not taken is pending, and is sent to.
        """
        states = (UNCERTAIN, DEFERRED)
        which, values = f"may_have_arrived AND state IN ({_marks(states)})", list(states)
        if keys is None:
            return self._settle_all(which, values, SKIPPED, BY_CHOICE)
        return sum(self._settle_all(f"{which} AND key = ?", [*values, key], SKIPPED, BY_CHOICE) for key in keys)

    def begin_run(self, relay: str, account: str, started_at: float, quotas: tuple = ()) -> None:
        """What turn() writes beside outcomes, and keeps to.

        started_at: `now` of the templates, kept when the first mail leaves. quotas: (count, seconds) of each window that
        holds over restarts and over every campaign of the account.
        """
        self.relay, self.account, self.started_at, self.quotas = relay, account, started_at, quotas

    def turn(self, answered: list, leaving: list) -> Turned:
        """One durable commit for a turn of the loop: what was answered (Fates), and which Messages leave next.

        Of `leaving` only the first may leave as the account's quotas have room: two runs that ask at once are one after the
        other here. Raises JournalUnavailable where it cannot be written: then nothing may leave.
        """
        return finished(self.turning(answered, leaving))

    def turning(self, answered: list, leaving: list) -> Generator:
        """turn(), a few rows at a time, for whoever has something else to do between them: a generator that ends with what turn() returns.
        Nothing is written before its end, and nothing at all where it is closed before; until then nobody else may write.
        """
        if not answered and not leaving:
            return Turned(0, None)
        now = self.journal.clock()
        with self.journal.commit() as rows:
            for some in _few(answered):
                self._answered(rows, some, now)
                yield STEP
            free, opens_at = self._quota(rows, now, len(leaving))
            for some in _few(leaving[:free]):
                self._leave(rows, some, now)
                yield STEP
            if free and self.began_at is None:
                rows.execute("UPDATE campaign SET began_at = ? WHERE id = ?", (self.started_at, self.id))
        if free and self.began_at is None:
            self.began_at = self.started_at
        return Turned(free, opens_at)

    def send_again(self, keys: list[str]) -> None:
        """The person wants a second mail for each of these: whatever became of the first, another one is to be sent, with a Message-ID of its own."""
        if not keys:
            return
        with self.journal.commit() as rows:
            rows.executemany("UPDATE delivery SET state = ?, reason = NULL, due_at = NULL, may_have_arrived = 0, attempts = 0, put_offs = 0, repeat = repeat + 1 "
                             "WHERE campaign = ? AND key = ?", [(PENDING, self.id, key) for key in keys])

    def _quota(self, rows, now, wanted):
        """How many of so many may leave now, and when the next may, where some may not."""
        free, opens_at = wanted, None
        for count, seconds in self.quotas if wanted else ():
            # What left far in the future was written down by a clock that was wrong.
            since = (self.account, now - seconds, now + WRONG_CLOCK_SECONDS)
            room = count - rows.execute("SELECT count(*) FROM account_use WHERE account = ? AND at > ? AND at < ?", since).fetchone()[0]
            free = min(free, max(0, room))
            if room < wanted:
                oldest = rows.execute("SELECT at FROM account_use WHERE account = ? AND at > ? AND at < ? ORDER BY at DESC LIMIT 1 OFFSET ?",
                                      (*since, count - 1)).fetchone()
                opens_at = max(opens_at or 0.0, oldest[0] + seconds if oldest else now)
        return free, opens_at if free < wanted else None

    def departed(self, account: str, since: float, most: int) -> list[float]:
        """When the account's last messages left, whichever campaign they belonged to: UTC seconds after `since`, ascending, at most so many."""
        with _explained(self.journal.path):
            rows = self.journal.rows.execute("SELECT at FROM account_use WHERE account = ? AND at > ? AND at < ? ORDER BY at DESC LIMIT ?",
                                             (account, since, self.journal.clock() + WRONG_CLOCK_SECONDS, most))
            return [at for at, in rows][::-1]

    def counts(self, running: bool) -> dict:
        """How many recipients are in which state, as the JSON documents have it.

        running: whether a run is under way: those leaving then count as pending, else as uncertain.
        """
        with _explained(self.journal.path):
            found = self.journal.rows.execute("SELECT state, CASE state WHEN ? THEN reason END, count(*), min(due_at) FROM delivery "
                                              "WHERE campaign = ? GROUP BY 1, 2", (SKIPPED, self.id)).fetchall()
        number, reasons = dict.fromkeys((SENT, REJECTED, DEFERRED, UNCERTAIN, SKIPPED, PENDING), 0), {}
        due_at = None
        for state, reason, count, due in found:
            number[(PENDING if running else UNCERTAIN) if state == LEAVING else state] += count
            if state == SKIPPED:
                reasons[reason] = reasons.get(reason, 0) + count
            elif state == DEFERRED:
                due_at = due
        if self.duplicates:
            number[SKIPPED] += self.duplicates
            reasons[DUPLICATE] = self.duplicates
        return {"recipients": sum(number.values()), **number, "skipped_reasons": reasons,
                "remaining": number[PENDING] + number[DEFERRED], "due_at": due_at and utc(due_at)}

    def _settle_all(self, which, values, after, words):
        """The same becomes of all that `which`, a condition with its values, is true for; from then on each may have arrived."""
        if self.id is None:
            return 0
        with self.journal.commit() as rows:
            rows.execute("INSERT INTO attempt(campaign, key, variant, number, at, state, phase, text) "
                         f"SELECT campaign, key, variant, attempts, ?, ?, 'end of data', ? FROM delivery WHERE campaign = ? AND {which}",
                         (self.journal.clock(), after, words, self.id, *values))
            return rows.execute(f"UPDATE delivery SET state = ?, reason = ?, may_have_arrived = 1 WHERE campaign = ? AND {which}",
                                (after, words, self.id, *values)).rowcount

    def _leave(self, rows, leaving, now):
        changed = rows.executemany(LEAVES, [(message.date, message.utc_offset, message.message_id, message.digest, self.relay, message.envelope.own, message.row,
                                             self.id, message.key) for message in leaving])
        if changed.rowcount < len(leaving):
            found = self.states([message.key for message in leaving])
            settled = next((message for message in leaving if message.key not in found or found[message.key].state != LEAVING), leaving[0])
            raise JournalError(f"row {settled.row} may not leave: the journal has it as settled", self.journal.path, "run again")
        rows.executemany("INSERT INTO account_use VALUES(?, ?, ?, ?)", [(self.account, now, self.id, message.key) for message in leaving])

    def _answered(self, rows, fates, now):
        for fate in fates:
            if fate.state not in MAY_FOLLOW[LEAVING]:
                raise JournalError(f'"{fate.state}" cannot become of a message that was leaving', self.journal.path, "report this as a fault")
        changed = rows.executemany(ANSWERED, [{"state": fate.state, "reason": fate.reason, "due_at": now + fate.wait if fate.state == DEFERRED else None,
                                               "campaign": self.id, "key": fate.message.key} for fate in fates])
        if changed.rowcount < len(fates):
            raise JournalError(f"of the rows {', '.join(str(fate.message.row) for fate in fates)} one was answered but had not left", self.journal.path,
                               "report this as a fault")
        attempts = [(now, fate.state, fate.phase, fate.code, fate.enhanced, fate.text[:MOST_TEXT], self.id, fate.message.key) for fate in fates]
        if not any(map(_tells_of_addresses, fates)):
            rows.executemany(ATTEMPTED, attempts)
        else:
            for fate, attempt in zip(fates, attempts):
                number = rows.execute(ATTEMPTED, attempt).lastrowid
                if _tells_of_addresses(fate):
                    rows.executemany("INSERT INTO address_result VALUES(?, ?, ?, ?, ?, ?)",
                                     [(number, result.address, result.accepted, result.code, result.enhanced, result.text[:MOST_TEXT]) for result in fate.addresses])
        # What never left does not count for the account.
        rows.executemany("DELETE FROM account_use WHERE rowid = (SELECT max(rowid) FROM account_use WHERE account = ? AND campaign = ? AND key = ?)",
                         [(self.account, self.id, fate.message.key) for fate in fates if fate.state == PENDING])


def _few(rows):
    return (rows[start:start + ROWS_A_STEP] for start in range(0, len(rows), ROWS_A_STEP))


def _tells_of_addresses(fate):
    return len(fate.addresses) > 1 or any(not result.accepted for result in fate.addresses)


def _prepare(rows, path, empty):
    """Check whose file it is before anything is written to it, then set it up."""
    rows.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    if not _is_ours(rows):
        if not empty:
            raise JournalError("this is not a postroom journal", path, "choose another path with --journal; the file was left as it is")
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("BEGIN IMMEDIATE")
        # Another campaign's first run may have made the tables while we waited.
        if not _is_ours(rows):
            for statement in TABLES.split(";"):
                rows.execute(statement)
            rows.execute("INSERT INTO meta(version, salt) VALUES(?, randomblob(16))", (VERSION,))
            rows.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        rows.execute("COMMIT")
    _migrate(rows, path)
    # EXTRA: should it not be in WAL mode, the folder is synced too behind each commit (sqlite.org/pragma.html#pragma_synchronous).
    rows.executescript("PRAGMA synchronous = EXTRA; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA foreign_keys = ON; "
                       "PRAGMA temp_store = FILE; PRAGMA cache_size = -4000; "
                       "CREATE TEMP TABLE listed(key TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID;")


def _whole(rows, path):
    """Raises JournalError where a page is damaged: found now, not at the person on it."""
    said, = rows.execute("PRAGMA quick_check(1)").fetchone()
    if said == "ok":
        strange = rows.execute(f"SELECT state FROM delivery WHERE state NOT IN ({_marks(MAY_FOLLOW)}) LIMIT 1", list(MAY_FOLLOW)).fetchone()
        if strange is None:
            return
        said = f"{strange[0]!r} is no state"
    raise JournalError(f"the journal is damaged ({said.splitlines()[-1]})", path, RESTORE)


def _migrate(rows, path):
    """Bring an older journal to today's version; a newer one is left as it is."""
    version = _version(rows, path)
    if version > VERSION:
        raise JournalError(f"the journal has version {version}, this postroom knows {VERSION}", path, "install the postroom that wrote it, or a newer one")
    if version == VERSION:
        return
    rows.execute("BEGIN IMMEDIATE")
    # Another run may have migrated it while we waited.
    for number in range(_version(rows, path), VERSION):
        for statement in MIGRATIONS[number].split(";"):
            rows.execute(statement)
    rows.execute("UPDATE meta SET version = ?", (VERSION,))
    rows.execute("COMMIT")


def _version(rows, path):
    version, = _of_meta(rows, path, version=int)
    return version


def _of_meta(rows, path, **kinds):
    """The journal's values about itself. Raises JournalError where one is not of its kind: SQLite would keep anything in any column."""
    found = rows.execute(f"SELECT {', '.join(kinds)} FROM meta").fetchone()
    if found is None or not all(map(isinstance, found, kinds.values())):
        raise JournalError("the journal is damaged (what it says about itself makes no sense)", path, RESTORE)
    return found


def _is_ours(rows):
    return rows.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def _make_private(path):
    """An empty file that only its owner can read, before SQLite opens it: names and addresses are in it."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        private_folder(folder)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        guard.forget(path)
        _sync_folders(folder)
    except FileExistsError:
        pass
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be written: {(error.strerror or str(error)).lower()}", path,
                                 "make the folder writable, or choose another with --journal") from None


def _sync_folders(folder):
    """Have the folders on disk as well: SQLite syncs its own files, and a power cut may take a new folder with all that is in it (fsync(2))."""
    while True:
        with suppress(OSError):  # somebody else's folder above ours may not be read, and is not new either
            file = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        if (above := os.path.dirname(folder)) == folder:
            return
        folder = above


@contextmanager
def _explained(path):
    """SQLite's errors in words for people."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_SCHEMA")) or "decode" in str(error):
            do = "choose another path with --journal; the file was left as it is" if name == "SQLITE_NOTADB" else RESTORE
            raise JournalError(f"this is not a postroom journal, or it is damaged ({error})", path, do) from None
        raise JournalUnavailable(f"the journal cannot be read or written: {error}", path,
                                 "make room or make it writable, then run again; what is in it is safe") from None
    except UnicodeDecodeError:
        raise JournalError("the journal is damaged (a text in it is not UTF-8)", path, RESTORE) from None


def _marks(values):
    return ",".join("?" * len(values))
