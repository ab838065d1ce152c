"""Every recipient of this run read, rendered and checked before the first message leaves. Needs no network.

What it found is kept on disk, not in memory: a list has no upper bound.
"""

import re
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator

from postroom.address import folded, key_of, shown
from postroom.check.addresses import remarks
from postroom.check.links import OTHERS, Links
from postroom.check.markup import unescaped
from postroom.compose.build import Composer, Rendered
from postroom.errors import Faults, Place, PostroomError, RecipientError, TemplateError
from postroom.outcome import DEFERRED, LEAVING, PENDING, REJECTED, REMOVED, SENT, SKIPPED, UNCERTAIN
from postroom.read.project import display
from postroom.read.providers import provider
from postroom.words import count

MOST_FAULTS, MOST_WARNINGS, FIRST_LINES = 1000, 1000, 5
WRONG_CLOCK_SECONDS = 7 * 86_400  # no relay puts anybody off for longer
NOW, LATE, ONCE_DUE = range(3)  # when somebody's turn is: in the table's order, behind everybody else, at a time of their own

Going = namedtuple("Going", "line key digest date utc_offset repeat tries", defaults=(None, None, 0, 0))
Going.__doc__ = """Who is mailed in this run: physical line, key, digest of all that was rendered.

date, utc_offset: those of the mail that this one repeats, or None. repeat: how many mails this person was meant to have before.
tries: how often it was handed over and put off.
"""

# Of the one person whom `only` names: why nothing goes to them, and what to do.
WHY_NOT = {SENT: ("was sent its mail before", "say --again to send a second mail"),
           REJECTED: ("was refused before", "say --again to try this address once more"),
           UNCERTAIN: ("may or may not have its mail", "add --uncertain resend (the same mail again), --uncertain skip, or --again (a new one)")}


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
        """(key, digest or "") of every recipient."""
        return self._rows.execute("SELECT key, coalesce(digest, '') FROM listed")

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

    def put_off(self, line: int, due: float) -> None:
        """The relay put this one off once more."""
        self._rows.execute("UPDATE listed SET turn = ?, due = ?, tries = tries + 1 WHERE line = ?", (ONCE_DUE, due, line))

    def close(self):
        self._rows.close()

    def _going(self, which, *values):
        rows = self._rows.execute(f"SELECT line, key, digest, date, utc_offset, repeat, tries FROM listed WHERE digest IS NOT NULL AND {which} ORDER BY line", values)
        return (Going(*row) for row in rows)


class Preflight:
    """Looks at every row once. After run(): the counts, the plan, the faults and the warnings.

    states: keys to what the journal knows of them (state, reason, row_digest, date, utc_offset, may_have_arrived, attempts, due_at); empty where there is none.
    warnings: what is no fault but should be looked at; more_warnings: how many beyond the first MOST_WARNINGS. smtputf8: how many rows
    only a relay with SMTPUTF8 takes, smtputf8_lines the first of them.
    going: how many are mailed in this run, `late` of them behind the others; waiting: how many more, once they are due.
    unknown: recipients that the journal has never seen. renewed: keys of those who get a second mail of their own.
    looked_at: keys of the rows that `only` is about.
    suppression: who must not be mailed: has renamed(keys, cells) and among(addresses); None where nothing is sent. suppressed: recipients
    left out for it, suppressed_unknown those of them that the journal has never seen.
    limit: at most so many are mailed. only: the folded address of the one person who is mailed; again: also if it was mailed before.
    resend: whether uncertain ones go again; skip: whether whoever may have the mail is left alone. accept_changes: whether a repeat may differ from the mail that it repeats.
    now: seconds since the epoch, for what is due.
    """

    def __init__(self, composer: Composer, states: Callable[[list[str]], dict], now: float, limit: int | None = None, resend: bool = False,
                 accept_changes: bool = False, only: str | None = None, again: bool = False, suppression=None, skip: bool = False):
        self.composer, self.table, self.states, self.now = composer, composer.table, states, now
        self.limit, self.resend, self.accept_changes, self.only, self.again, self.suppression, self.skip = limit, resend, accept_changes, only, again, suppression, skip
        self.plan, self.faults, self.more_faults = Plan(), [], 0
        self.warnings, self.more_warnings, self._warned = [], 0, set()
        self.smtputf8, self.smtputf8_lines = 0, []
        self.recipients = self.duplicates = self.unknown = self.going = self.late = self.waiting = self.suppressed = self.suppressed_unknown = 0
        self.renewed: list[str] = []
        self.looked_at: list[str] = []
        self._was = None
        self._found = only is None
        self.first: Rendered | None = None
        self.largest: Rendered | None = None
        self.file_counts: dict[int, tuple[int, int]] = {}  # attachments -> (rows, the first such row)
        self._alike: dict[tuple, PostroomError] = {}
        self._senders, self._domains = _senders(composer.campaign)
        self._sources = composer.html.environment.loader.sources if composer.html else {}
        self._links = Links(self._sources)

    def run(self, seen: Callable[[int], None] = lambda rows: None) -> "Preflight":
        """Look at every row; faults are collected, not raised. seen: told how many rows were looked at."""
        try:
            for chunk in self.table.chunks(self._fault):
                self._chunk(chunk)
                seen(len(chunk))
        except PostroomError as error:
            self._fault(error)
        if not self.recipients and not self.faults:
            self._fault(self._nobody())
        elif not self._found and not self.faults:
            self._fault(RecipientError(f'no row has the address "{shown(self.only)}"', Place(self.table.file), "correct the address after --only, or add the row"))
        elif not self.faults:
            self._about_only()
        self._look_at_templates()
        if self.limit is not None and self.going > self.limit:
            self.plan.leave_out_late(self.going - self.limit)
            self.going = self.limit
        return self

    def left_out(self) -> list[str]:
        """What does not count among the recipients, such as "2 duplicates"."""
        numbers = ((self.duplicates, "duplicate"), (self.table.blank, "blank row"), (self.table.left_out, "row"))
        said = [count(number, noun) for number, noun in numbers if number]
        if self.table.left_out:
            said[-1] += " by `where`"
        return [*said, *([f"{self.suppressed:,} suppressed"] if self.suppressed else [])]

    def passed(self) -> "Preflight":
        """Itself, or raises Faults."""
        if self.faults:
            self.plan.close()
            raise Faults(self.faults)
        return self

    def _nobody(self):
        if self.table.left_out:
            return RecipientError(f"`where` is true for none of the {self.table.left_out:,} rows", self.table.where.place, "correct `where`, or the cells")
        return RecipientError("the table has no rows", Place(self.table.file, 2), "add one line for each recipient")

    def _fault(self, error):
        place = error.where
        if isinstance(place, Place) and place.row is not None:
            # The template or the campaign is to blame, not the row.
            alike = (error.what, place.file, place.line, place.column)
            first = self._alike.setdefault(alike, error) if len(self._alike) < MOST_FAULTS else self._alike.get(alike)
            if first is not None and first is not error:
                first.more_rows += 1
                return
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(error)
        else:
            self.more_faults += 1

    def smtputf8_words(self) -> str:
        """Which rows need a relay with SMTPUTF8, as the subject of a sentence."""
        lines = ", ".join(map(str, self.smtputf8_lines)) + (", …" if self.smtputf8 > len(self.smtputf8_lines) else "")
        return f"{count(self.smtputf8, 'row')} ({lines}) with letters beyond ASCII before the @ of an address"

    def _warn(self, row, line, field, text, what, do):
        columns = [column for column, cell in row.items() if text in cell]
        if not columns:
            # The campaign's own words: the same for every row.
            if (field, what) in self._warned:
                return
            self._warned.add((field, what))
        if len(self.warnings) < MOST_WARNINGS:
            place = Place(self.table.file, line, ", ".join(columns)) if columns else self.composer.campaign.place(field)
            self.warnings.append(RecipientError(what, place, do))
        else:
            self.more_warnings += 1

    def _chunk(self, chunk):
        keys = self._keys(chunk)
        renamed = self.suppression.renamed(keys, [row[self.table.email] for _, row in chunk]) if self.suppression else [None] * len(keys)
        keys = [name or key for name, key in zip(renamed, keys, strict=True)]
        known = self.states(keys)
        for (line, row), key, name in zip(chunk, keys, renamed, strict=True):
            try:
                self._row(line, row, key, known.get(key), name is not None)
            except PostroomError as error:
                if error.ends_it:
                    raise
                self._fault(error)

    def _keys(self, chunk):
        """What makes each row the same recipient tomorrow."""
        columns = self.composer.campaign.recipients.key or (self.composer.campaign.recipients.email,)
        return [key_of([row[column] for column in columns]) for _, row in chunk]

    def _row(self, line, row, key, delivery, suppressed):
        own = self.table.own(row, line)
        if not key:
            raise RecipientError("the key is empty", Place(self.table.file, line, ", ".join(self.composer.campaign.recipients.key)),
                                 "fill it in, or name other columns in `key`")
        self.recipients += 1
        if suppressed:
            return self._left_alone(line, key, own.address, delivery)
        files = self.composer.varying_files(row, line)
        if (earlier := self.plan.add(line, key, files)) is not None:
            return self._duplicate(line, own.address, earlier, files)
        self.unknown += delivery is None
        if self.only is not None and folded(own.address) != self.only:
            return
        self._found = True
        if self.only is not None:
            self.looked_at.append(key)
        if not self._goes(line, delivery):
            return
        if self.only is None and self._waits(delivery):
            # It is checked now, because its time may come while others leave; a limit is about those who are next.
            return None if self.limit is not None else self._mailed(line, row, key, delivery, ONCE_DUE)
        # Somebody at whose mail the relay closed must not hold up everybody behind.
        late = delivery is not None and delivery.state == PENDING and delivery.attempts > 0
        if late or self.limit is None or self.going - self.late < self.limit:
            self._mailed(line, row, key, delivery, LATE if late else NOW)

    def _left_alone(self, line, key, address, delivery):
        """Whoever was forgotten, or has asked for no more mail."""
        if self.only is not None and folded(address) == self.only:
            raise RecipientError(f'"{shown(address)}" must not be mailed again (postroom forget)', Place(self.table.file, line), "leave this person alone")
        if self.plan.add(line, key, "") is not None:
            self.duplicates += 1
            return
        self.suppressed += 1
        self.suppressed_unknown += delivery is None

    def _no_copy_to_suppressed(self, rendered, line, row):
        """A copy is mail too. It is not left out in silence: whoever wrote the campaign counts on it."""
        copies = {folded(mailbox.address): (field, mailbox.address) for field in ("to", "cc", "bcc") for mailbox in getattr(rendered, field)
                  if mailbox.address.lower() != rendered.own.lower()}
        for address in self.suppression.among(copies) if copies else ():
            field, written = copies[address]
            columns = [column for column, cell in row.items() if "@" in cell and address in map(folded, re.split(r"[\s<>,;]+", cell))]
            place = self.composer.campaign.place(field)
            raise RecipientError(f'"{shown(written)}" must not be mailed again (postroom forget), and would get a copy by `{field}`',
                                 Place(self.table.file, line, ", ".join(columns)) if columns else Place(place.file, place.line, place.column, line),
                                 "take the address out")

    def _duplicate(self, line, address, earlier, files):
        self.duplicates += 1
        rule = self.composer.campaign.recipients.duplicates
        if rule == "error" or rule is None and files != self.plan.files(earlier):
            why = "with other attachments" if rule is None else "and `duplicates: error` allows none"
            raise RecipientError(f'"{shown(address)}" is the same recipient as in line {earlier}, {why}', Place(self.table.file, line),
                                 "name the columns that tell them apart, such as `key: [email, invoice]`, or say `duplicates: first`")

    def _look_at_templates(self):
        """What their authors should know: columns that are not escaped, and links that few programs open."""
        trusted = {name for name, column in self.composer.campaign.recipients.columns.items() if column.html}
        for path, octets in self._sources.items():
            for line, column in unescaped(self.composer.html.environment.parse(octets.decode("utf-8-sig")), set(self.table.columns)):
                if column not in trusted:
                    self._fault(TemplateError(f'the column "{shown(column)}" is passed through as HTML, so whoever fills its cells writes the mail', Place(display(path), line),
                                              'take `| safe` out (line breaks: {{ note | replace("\\n", "<br>" | safe) }}), '
                                              f"or say `recipients: {{columns: {{{column}: {{html: true}}}}}}` if you alone write them"))
        for begin, (path, line) in self._links.written().items():
            self.warnings.append(TemplateError(f'the link "{shown(begin)}" does not begin as mail programs open them', Place(display(path), line), OTHERS))

    def _waits(self, delivery):
        # A time that is too far off was written down by a clock that was wrong.
        return delivery is not None and delivery.state == DEFERRED and self.now < (delivery.due_at or 0) < self.now + WRONG_CLOCK_SECONDS

    def _about_only(self):
        """What is wrong with sending to one person: everything was sent, or a second mail would go where a first one is still open."""
        address = f'"{shown(self.only or "")}"'
        if self._was is not None and not (self.going or self.waiting):
            line, was, do = self._was
            self._fault(RecipientError(f"{address} {was}", Place(self.table.file, line), do))
        elif self.renewed and self.going > len(self.renewed):
            self._fault(RecipientError(f"of the rows of {address} {self.going - len(self.renewed)} were not sent yet, and --again would send the others a second time",
                                       Place(self.table.file), "say --only without --again first"))

    def _goes(self, line, delivery):
        if delivery is not None and self.skip and delivery.may_have_arrived and delivery.state in (DEFERRED, UNCERTAIN):
            return False
        if delivery is None or delivery.state in (PENDING, DEFERRED) or self.again:
            return True
        if delivery.state in (UNCERTAIN, LEAVING) and self.resend:
            return True
        if delivery.state == SKIPPED and delivery.reason == REMOVED:
            return True
        if self.only is not None:
            self._was = line, *WHY_NOT.get(delivery.state, ("was left out by choice", "say --again to send a new mail"))
        return False

    def _mailed(self, line, row, key, delivery, turn):
        rendered = self.composer.render(row, line, key)
        if self._senders and rendered.from_.address.lower() not in self._senders:
            place = self.composer.campaign.place("from")
            raise RecipientError(f'{self.composer.campaign.smtp.provider} takes mail from its own login only: `from` is "{rendered.from_.address}", the login '
                                 f'"{self.composer.campaign.login}"', Place(place.file, place.line, place.column, line), "make them the same mailbox; use `reply_to` for another")
        if self.suppression:
            self._no_copy_to_suppressed(rendered, line, row)
        for columns, what in self._links.of_cells(rendered.html, row) if rendered.html else ():
            raise RecipientError(what, Place(self.table.file, line, ", ".join(columns)), f"{OTHERS}; another beginning belongs into the template")
        self.plan.goes(self._next_mail(line, key, delivery, rendered), turn, delivery.due_at if turn == ONCE_DUE else None)
        self.going += turn != ONCE_DUE
        self.waiting += turn == ONCE_DUE
        self.late += turn == LATE
        for field, text, what, do in remarks(rendered):
            self._warn(row, line, field, text, what, do)
        if self._domains and rendered.from_.domain not in self._domains:
            self._warn(row, line, "from", f"@{rendered.from_.domain}", f'`from` is at {rendered.from_.domain}, the login at {" or ".join(sorted(self._domains))}',
                       f"make sure that it is an alias of the account: {self.composer.campaign.smtp.provider} refuses or rewrites any other")
        if rendered.needs_smtputf8:
            self.smtputf8 += 1
            self.smtputf8_lines += [line] if self.smtputf8 <= FIRST_LINES else []
        if self.largest is None or rendered.size > self.largest.size:
            self.largest = rendered
        if turn != ONCE_DUE:
            # What the confirmation shows is about those who go now.
            self.first = self.first or rendered
            rows, first = self.file_counts.get(len(rendered.files), (0, line))
            self.file_counts[len(rendered.files)] = (rows + 1, first)

    def _next_mail(self, line, key, delivery, rendered):
        """The first mail, the same one again, or a second one of its own."""
        if delivery is None:
            return Going(line, key, rendered.digest)
        if self.again and delivery.state not in (PENDING, DEFERRED):
            self.renewed.append(key)
            return Going(line, key, rendered.digest, repeat=delivery.repeat + 1)
        going = Going(line, key, rendered.digest, repeat=delivery.repeat, tries=delivery.put_offs)
        if not (delivery.may_have_arrived or delivery.state == LEAVING):
            return going
        if delivery.row_digest != rendered.digest and not self.accept_changes:
            raise RecipientError(f'the mail to "{shown(rendered.own)}" may have arrived, and would differ if it went again now',
                                 Place(self.table.file, line), "put the row back as it was, or say --accept-changes" +
                                 (", or --uncertain skip" if delivery.state != PENDING else ""))
        return going._replace(date=delivery.date, utc_offset=delivery.utc_offset)


def _senders(campaign):
    """(addresses, domains) of which `from` must be one, and should be at one; empty where the provider does not mind, or the login is not known."""
    if not campaign.login or not campaign.smtp.provider:
        return frozenset(), frozenset()
    preset = provider(campaign.smtp.provider)
    login = campaign.login.lower()
    known = frozenset([login] if "@" in login else [f"{login}@{domain}" for domain in preset.domains])
    if preset.sender == "login":
        return known, frozenset()
    return frozenset(), frozenset(address.rpartition("@")[2] for address in known) if preset.sender == "alias" else frozenset()
