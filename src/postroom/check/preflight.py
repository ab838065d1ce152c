"""Every recipient of this run read, rendered and checked before the first message leaves. Needs no network.

What it found is kept on disk, not in memory: a list has no upper bound.
"""

import re
from collections.abc import Callable

from postroom.address import folded, key_of, shown
from postroom.check import read_back
from postroom.check.crew import Crew, Share
from postroom.check.links import OTHERS
from postroom.check.markup import unescaped
from postroom.check.plan import LATE, NOW, ONCE_DUE, Going, Plan
from postroom.check.row import Found, RowCheck
from postroom.compose.build import Composer, Rendered
from postroom.errors import Faults, Place, PostroomError, RecipientError, TemplateError, WorkerLost
from postroom.outcome import DEFERRED, LEAVING, PENDING, REJECTED, REMOVED, SENT, SKIPPED, UNCERTAIN
from postroom.read.project import display
from postroom.words import count

MOST_FAULTS, MOST_WARNINGS, FIRST_LINES = 1000, 1000, 5
SHARE_ROWS, SHARE_CHARACTERS = 100, 1 << 18  # handed to a worker at a time
WRONG_CLOCK_SECONDS = 7 * 86_400  # no relay puts anybody off for longer
# Of the one person whom `only` names: why nothing goes to them, and what to do.
WHY_NOT = {SENT: ("was sent its mail before", "say --again to send a second mail"),
           REJECTED: ("was refused before", "say --again to try this address once more"),
           UNCERTAIN: ("may or may not have its mail", "add --uncertain resend (the same mail again), --uncertain skip, or --again (a new one)")}


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
        self._check = RowCheck(composer)
        self._first = self._largest = None  # the rows of those two, as render() wants them
        self._most_octets = self._foreseen = 0

    def run(self, seen: Callable[[int], None] = lambda rows: None) -> "Preflight":
        """Look at every row; faults are collected, not raised, but for WorkerLost. seen: told how many rows were looked at."""
        try:
            with Crew(self._check) as crew:
                for share, found in crew.through(self._shares()):
                    self._share(share, found)
                    seen(len(share.rows))
            if not self.faults:
                self.first, self.largest = (row and self._as_read(*row) for row in (self._first, self._largest))
        except WorkerLost:
            raise
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
            if len(self._warned) < MOST_WARNINGS:
                self._warned.add((field, what))
        if len(self.warnings) < MOST_WARNINGS:
            place = Place(self.table.file, line, ", ".join(columns)) if columns else self.composer.campaign.place(field)
            self.warnings.append(RecipientError(what, place, do))
        else:
            self.more_warnings += 1

    def _as_read(self, row, line, key):
        """A sample, rendered, once its mail was read again by another parser: that takes a millisecond, too long for every mail."""
        rendered = self.composer.render(row, line, key)
        read_back.check(self.composer.message(rendered, date=0), rendered, self.table.file)
        return rendered

    def _shares(self):
        """The table a few rows at a time; what is wrong with rows as such comes before what they hold, chunk by chunk."""
        reported = []
        try:
            for chunk in self.table.chunks(reported.append):
                yield Share([], [], reported.copy())
                reported.clear()
                yield from self._cut(chunk)
        except PostroomError as error:
            reported.append(error)
        yield Share([], [], reported)

    def _cut(self, chunk):
        share, size = Share([], [], []), 0
        for line, row, key, delivery, suppressed in self._known(chunk):
            share.rows.append((line, row, key, delivery, suppressed))
            mailed = not suppressed and self._is_next(line, delivery)
            if mailed or self.composer.files_vary and self.only is None:
                share.wanted.append((row, line, key, mailed))
                size += sum(map(len, row.values()))
            if len(share.rows) == SHARE_ROWS or size > SHARE_CHARACTERS:
                yield share
                share, size = Share([], [], []), 0
        yield share

    def _is_next(self, line, delivery):
        """Whether this row will be mailed as far as one can tell before those in front of it were looked at."""
        if self.only is not None or not self._goes(line, delivery):
            return False
        if self.limit is None:
            return True
        self._foreseen += 1
        return self._foreseen <= self.limit

    def _known(self, chunk):
        """(line, row, key, what the journal knows, whether it must not be mailed) of each."""
        keys = self._keys(chunk)
        renamed = self.suppression.renamed(keys, [row[self.table.email] for _, row in chunk]) if self.suppression else [None] * len(keys)
        keys = [name or key for name, key in zip(renamed, keys, strict=True)]
        known = self.states(keys)
        return [(line, row, key, known.get(key), name is not None) for (line, row), key, name in zip(chunk, keys, renamed, strict=True)]

    def _keys(self, chunk):
        """What makes each row the same recipient tomorrow."""
        columns = self.composer.campaign.recipients.key or (self.composer.campaign.recipients.email,)
        return [key_of([row[column] for column in columns]) for _, row in chunk]

    def _share(self, share, found):
        for fault in share.faults:
            self._fault(fault)
        found = {line: one for (_, line, *_), one in zip(share.wanted, found)}
        for line, row, key, delivery, suppressed in share.rows:
            try:
                self._row(line, row, key, delivery, suppressed, found.get(line, Found()))
            except PostroomError as error:
                if error.ends_it:
                    raise
                self._fault(error)

    def _row(self, line, row, key, delivery, suppressed, found):
        own = self.table.own(row, line)
        if not key:
            raise RecipientError("the key is empty", Place(self.table.file, line, ", ".join(self.composer.campaign.recipients.key)),
                                 "fill it in, or name other columns in `key`")
        self.recipients += 1
        if suppressed:
            return self._left_alone(line, key, own.address, delivery)
        files = _raised(found.files) if found.files is not None else self.composer.varying_files(row, line)
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
            return None if self.limit is not None else self._mailed(line, row, key, delivery, ONCE_DUE, found.looked)
        # Somebody at whose mail the relay closed must not hold up everybody behind.
        late = _is_late(delivery)
        if late or self.limit is None or self.going - self.late < self.limit:
            self._mailed(line, row, key, delivery, LATE if late else NOW, found.looked)

    def _left_alone(self, line, key, address, delivery):
        """Whoever was forgotten, or has asked for no more mail."""
        if self.only is not None and folded(address) == self.only:
            raise RecipientError(f'"{shown(address)}" must not be mailed again (postroom forget)', Place(self.table.file, line), "leave this person alone")
        if self.plan.add(line, key, "") is not None:
            self.duplicates += 1
            return
        self.suppressed += 1
        self.suppressed_unknown += delivery is None

    def _no_copy_to_suppressed(self, copies, line, row):
        """A copy is mail too. It is not left out in silence: whoever wrote the campaign counts on it."""
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
        for path, octets in self._check.sources.items():
            for line, column in unescaped(self.composer.html.environment.parse(octets.decode("utf-8-sig")), set(self.table.columns)):
                if column not in trusted:
                    self._fault(TemplateError(f'the column "{shown(column)}" is passed through as HTML, so whoever fills its cells writes the mail', Place(display(path), line),
                                              'take `| safe` out (line breaks: {{ note | replace("\\n", "<br>" | safe) }}), '
                                              f"or say `recipients: {{columns: {{{column}: {{html: true}}}}}}` if you alone write them"))
        for begin, (path, line) in self._check.links.written().items():
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

    def _mailed(self, line, row, key, delivery, turn, looked):
        looked = _raised(looked) if looked is not None else self._check.look(row, line, key)
        if self.suppression:
            self._no_copy_to_suppressed(looked.copies, line, row)
        if looked.fault:
            raise looked.fault
        self.plan.goes(self._next_mail(line, row, key, delivery, looked.digest), turn, delivery.due_at if turn == ONCE_DUE else None)
        self.going += turn != ONCE_DUE
        self.waiting += turn == ONCE_DUE
        self.late += turn == LATE
        for field, text, what, do in looked.remarks:
            self._warn(row, line, field, text, what, do)
        if looked.needs_smtputf8:
            self.smtputf8 += 1
            self.smtputf8_lines += [line] if self.smtputf8 <= FIRST_LINES else []
        if looked.size > self._most_octets:
            self._most_octets, self._largest = looked.size, (row, line, key)
        if turn != ONCE_DUE:
            # What the confirmation shows is about those who go now.
            self._first = self._first or (row, line, key)
            rows, first = self.file_counts.get(looked.attachments, (0, line))
            self.file_counts[looked.attachments] = (rows + 1, first)

    def _next_mail(self, line, row, key, delivery, digest):
        """The first mail, the same one again, or a second one of its own."""
        if delivery is None:
            return Going(line, key, digest)
        if self.again and delivery.state not in (PENDING, DEFERRED):
            self.renewed.append(key)
            return Going(line, key, digest, repeat=delivery.repeat + 1)
        going = Going(line, key, digest, repeat=delivery.repeat, tries=delivery.put_offs)
        if not (delivery.may_have_arrived or delivery.state == LEAVING):
            return going
        if delivery.row_digest != digest and not self.accept_changes:
            raise RecipientError(f'the mail to "{shown(self.table.own(row, line).address)}" may have arrived, and would differ if it went again now',
                                 Place(self.table.file, line), "put the row back as it was, or say --accept-changes" +
                                 (", or --uncertain skip" if delivery.state != PENDING else ""))
        return going._replace(date=delivery.date, utc_offset=delivery.utc_offset)



def _is_late(delivery):
    return delivery is not None and delivery.state == PENDING and delivery.attempts > 0


def _raised(found):
    """What was found; raises it where it is an error."""
    if isinstance(found, PostroomError):
        raise found
    return found
