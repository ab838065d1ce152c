"""One `send` from the campaign file to the exit code: the steps in their order, and what is known when it ends.

What is said goes to a Desk, which the command line and the Python API each have of their own.
"""

import datetime
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from postroom.address import AddressError, folded, parse_mailbox, shown
from postroom.check.changes import changed
from postroom.check.preflight import Preflight
from postroom.compose.build import Composer
from postroom.errors import CHANGE_FIRST, CampaignError, JournalError, Locked, Place, PostroomError, RecipientError, RelayUnavailable, signalled
from postroom.journal import place
from postroom.journal.lock import RunLock
from postroom.journal.sqlite import Journal
from postroom.journal.suppression import Suppression
from postroom.message import Message
from postroom.outcome import DEFERRED, DUPLICATE, PENDING, REJECTED, SENT, SKIPPED, SUPPRESSED, UNCERTAIN
from postroom.read.campaign import Campaign, load
from postroom.read.project import default_journal, display, journal_path
from postroom.read.recipients import Table
from postroom.report.uncertain import uncertain_lines, uncertain_list
from postroom.send import gate, loop
from postroom.send.departures import Departures, in_turn
from postroom.send.interrupt import Interrupt
from postroom.send.line import MOST_IN_FLIGHT, Line, logged_in
from postroom.send.patience import Patience
from postroom.send.progress import Progress
from postroom.send.queue import Queue
from postroom.send.rate import QUOTA_SECONDS, Pace, window_words
from postroom.smtp.protocol import CHUNKED
from postroom.smtp.session import Relay
from postroom.smtp.transcript import Transcript
from postroom.words import as_json, count, duration, explained, noted, sentence, utc, visible

STATES = (SENT, REJECTED, DEFERRED, UNCERTAIN, SKIPPED, PENDING)
KEY = "`recipients.key`"
REST_SECONDS, LOGIN_WAIT_SECONDS = 30, 60
COUNTS = ("recipients", *STATES, "skipped_reasons", "remaining", "due_at")


@dataclass(frozen=True, slots=True)
class Options:
    """What one `send` was asked for; the words are those of the command line."""

    campaign: str
    yes: bool = False
    dry_run: bool = False
    limit: int | None = None
    only: str | None = None
    again: bool = False
    at_most: int | None = None
    wait: bool = False
    new: bool = False
    uncertain: str | None = None
    accept_changes: bool = False
    journal: str | None = None
    sandbox: bool = False
    debug: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Desk:
    """Who is told and asked. say: takes a text and `end`. ask: a question to yes or no; None where nobody is there to answer.

    secret: asks for a password, unseen; None where nobody is there. passing: whether a line may be shown that the next one replaces.
    """

    say: Callable[..., None]
    ask: Callable[[str], bool] | None = None
    secret: Callable[[str], str] | None = None
    passing: bool = False


class Run:
    """Fields become known as the run goes on; result() tells all of them, also when it failed half-way.

    before: the edition's counts when the run began. counts, uncertain_list: when it ended. checked: the Preflight. page: what a rehearsal shows.
    """

    def __init__(self, options: Options, desk: Desk):
        self.options, self.desk = options, desk
        self.campaign = self.checked = self.before = self.counts = self.progress = self.journal_path = self.error = self.page = None
        self._login_asked, self.opens_at = False, None
        self.uncertain_list = None
        self.started = time.monotonic()

    @property
    def nothing_sent(self) -> bool:
        """Whether it is certain that the relay has nothing from this run."""
        return self.progress is None or self.progress.may_have_gone == 0

    def send(self) -> int:
        """To the campaign's relay. Returns the exit code; raises PostroomError where something must change first."""
        self.campaign = load(self.options.campaign, secrets=True)
        relay = gate.relay_of(self.campaign, self.desk.secret)
        path = journal_path(self.options.journal, self.campaign.project.root)
        for warning in (*gate.clear_text_warnings(self.campaign), *place.warnings(path)):
            self.desk.say(noted(warning))
        return self._with_journal(relay, self.campaign.smtp.account, path)

    def rehearse(self) -> int:
        """The same to a sandbox of its own, with a journal of its own that starts anew each time."""
        from postroom.sandbox import Sandbox, fresh_mailbox, write_mailbox_page

        self.campaign = load(self.options.campaign, secrets=False)
        mailbox = os.path.join(self.campaign.project.state_folder, "sandbox", self.campaign.folder_name)
        # Two rehearsals share the folder, so the second waits outside.
        with RunLock(mailbox, self.campaign.name, self.campaign.edition or ""):
            with Sandbox(fresh_mailbox(mailbox)) as sandbox:
                relay = Relay(host="127.0.0.1", port=sandbox.smtp_port, security="plain", username=None, password=None)
                exit_code = self._with_journal(relay, "sandbox", os.path.join(mailbox, "journal.sqlite3"))
            self.page = page = write_mailbox_page(mailbox)
        self.desk.say(f"Nobody got mail: it is all in {display(mailbox)}\nLook at it: {display(page)}")
        return exit_code

    def result(self, exit_code: int) -> dict:
        """The JSON document of `send`; what is not known is None."""
        campaign, counts = self.campaign, self.counts or self._foreseen()
        this_run = self.progress.this_run if self.progress else dict.fromkeys((SENT, REJECTED, DEFERRED, UNCERTAIN), 0)
        path = self.journal_path and display(self.journal_path)
        if self.opens_at is not None:
            counts = {**counts, "due_at": counts["due_at"] or utc(self.opens_at)}
        return {"exit": exit_code, "error": as_json(self.error) if self.error else None, "campaign": campaign and campaign.name,
                "edition": campaign and campaign.edition, **counts, "this_run": this_run,
                "running": isinstance(self.error, Locked), "uncertain_list": self.uncertain_list,
                "seconds": round(time.monotonic() - self.started, 3), "journal": path}

    # The steps

    def _with_journal(self, relay, account, path):
        self.journal_path = path
        name, edition = self.campaign.name, self.campaign.edition or ""
        if self.options.dry_run:
            journal = Journal.open(path, create=False)
            try:
                return self._dry_run(journal and journal.edition(name, edition), relay, account)
            finally:
                if journal:
                    journal.close()
        if not self.options.sandbox:
            self._not_begun_by_accident(path)
        with RunLock(path, name, edition):
            journal = Journal.open(path, create=True)
            try:
                return self._run(journal.edition(name, edition), relay, account)
            finally:
                journal.close()

    def _not_begun_by_accident(self, path):
        """A build machine is made anew each time: without its journal it would mail everybody again."""
        if not self.options.yes or self.options.new or os.environ.get("CI", "").lower() in ("", "0", "false"):
            return
        journal = Journal.open(path, create=False)
        known = journal is not None and journal.editions()
        if journal:
            journal.close()
        if not known:
            raise JournalError("there is no journal, and CI is set: on a machine that is made anew each time, everybody would be mailed again", display(path),
                               "keep the journal between the runs (--journal), or say --new for the very first one")

    def _dry_run(self, edition, relay, account):
        self.before = edition.counts(running=False) if edition else None
        composer = self._composer(edition)
        self._preflight(composer, edition.states if edition else lambda keys: {}, Suppression(edition) if edition else None)
        self._confirmation(edition, composer, relay, account)
        self.desk.say("This was a dry run: no connection was made, nothing was sent.")
        return 0

    def _run(self, edition, relay, account):
        edition.recover()
        self.before = edition.counts(running=False)
        composer = self._composer(edition)
        self._preflight(composer, edition.states, Suppression(edition).settled())
        if not self.checked.going and not (self.checked.waiting and self.options.wait):
            if self.checked.suppressed:
                self.desk.say(f"{', '.join(self.checked.left_out())} left out of {count(self.checked.recipients, 'row')}.")
            self._enrol(edition, composer)
            return self._finished(edition, None)
        if not self._needs_no_answer() and self.desk.ask is None:
            raise CampaignError("there is no terminal to ask on", None, "add --yes to send without being asked")
        transcript = Transcript(self.desk.say) if self.options.debug else None
        with Interrupt() as interrupt:

            def session(mode=CHUNKED):
                return logged_in(relay, transcript, interrupt.wake, mode=mode, put_off=lambda error: self._login_put_off(error, interrupt))

            line = Line(session, gate.passed(session, self.checked), self._of_smtp("messages_per_session"), interrupt.pause, relay,
                        self._of_smtp("in_flight") or MOST_IN_FLIGHT, self._note)
            try:
                self._confirmation(edition, composer, relay, account)
                self._ask()
                self._enrol(edition, composer)
                edition.send_again(self.checked.renewed)
                edition.begin_run(relay.name, account, composer.now.timestamp(), tuple(window for window in self._rate() if window.seconds >= QUOTA_SECONDS))
                with interrupt.held():
                    closed_by, number = self._loop(edition, composer, line, interrupt), interrupt.signal
                    line.quit()
                    return self._finished(edition, closed_by, number)
            finally:
                line.quit()

    def _composer(self, edition):
        campaign = self.campaign
        composer = composer_of(campaign, edition and edition.began_at, self._confirm)
        if edition is not None and edition.began_at is not None:
            self._same_as_before(edition, changed(edition.content, composer))
        elif not self.options.accept_changes and self.journal_path == default_journal(campaign.project.root):
            self._not_forgotten()
        return composer

    def _confirm(self, guess):
        """The table's encoding is a guess: whoever knows the people in it says whether it is right. Mail to them cannot be taken back."""
        if self.options.dry_run or self.options.sandbox:
            self.desk.say(noted(guess))
            return
        if self.options.yes or self.desk.ask is None:
            raise guess
        for line in explained(guess):
            self.desk.say(line)
        if not self.desk.ask("Are these cells right? [y/N] "):
            raise CampaignError("the table's encoding was not confirmed", guess.where, "name the right one with `encoding:` under `recipients`")

    def _not_forgotten(self):
        """A project's root that moved down leaves its journal above: to begin a new one would mail everybody again."""
        folder = self.campaign.project.root
        while (above := os.path.dirname(folder)) != folder:
            folder, path = above, default_journal(above)
            journal = Journal.open(path, create=False) if os.path.isfile(path) else None
            if journal is None:
                continue
            try:
                known = journal.edition(self.campaign.name, self.campaign.edition or "")
            finally:
                journal.close()
            if known.began_at is not None and known.file == self._file(folder):
                raise JournalError("this journal knows the campaign: the project's root was here, and what was sent would be forgotten",
                                   display(path), "put postroom.yaml back beside it, or say --accept-changes to begin anew")

    def _same_as_before(self, edition, names):
        if KEY in names:
            # No journal could tell any more who had this edition already.
            raise CampaignError("what makes a recipient the same one (`recipients.key`) changed since this edition's first mail", Place(self.campaign.file),
                                "put it back, or give the campaign a new `edition`, which mails everyone again")
        if self.options.accept_changes:
            return
        if edition.file != self._file():
            raise JournalError(f'the journal knows this name and edition from another file, "{edition.file}"', self.campaign.place("name"),
                               "give this campaign another name or edition; --accept-changes if the file was moved")
        if names:
            raise CampaignError(f"{', '.join(names)} changed since this edition's first mail", Place(self.campaign.file),
                                "put it back, give the campaign a new `edition` (which mails everyone again), or say --accept-changes")

    def _preflight(self, composer, states, suppression):
        shows = self.desk.passing
        seen = 0

        def tell(rows):
            nonlocal seen
            seen += rows
            if shows and seen >= 2000:
                self.desk.say(f"\rchecked {seen:,} rows", end="")

        self.checked = Preflight(composer, states, time.time(), self.options.limit, self.options.uncertain == "resend",
                                 self.options.accept_changes, self._only(), self.options.again, suppression, self.options.uncertain == "skip").run(tell)
        if shows and seen >= 2000:
            self.desk.say("\r\033[K", end="")
        for note in (*self.campaign.warnings(), *composer.table.notes, *composer.warnings()):
            self.desk.say(noted(note))
        self._look_again()
        self.checked.passed()
        if self.options.at_most is not None and self.checked.recipients > self.options.at_most:
            raise RecipientError(f"there are {count(self.checked.recipients, 'recipient')}, more than the {self.options.at_most:,} that --at-most allows",
                                 Place(composer.table.file), "look whether this is the right table")

    def _only(self):
        if self.options.only is None:
            return None
        try:
            mailbox = parse_mailbox(self.options.only)
        except AddressError as error:
            raise RecipientError(f"--only: {error}", None, "give one mail address") from None
        return folded(mailbox.address if mailbox else self.options.only)

    def _enrol(self, edition, composer):
        if self.options.uncertain == "skip":
            if number := edition.skip_uncertain(None if self.options.only is None else self.checked.looked_at):
                self.desk.say(f"{count(number, 'uncertain message')} left as they are (skipped, by choice); `--only ADDRESS --again` would send one a new mail.")
        edition.enrol(self.checked.plan.listed(), duplicates=self.checked.duplicates, file=self._file(), content=composer.content(),
                      accept_changes=self.options.accept_changes)

    def _loop(self, edition, composer, line, interrupt):
        going = self.checked.going

        def rest(until, quota):
            return self._rest(until, quota, interrupt)

        def came():
            signalled_now = interrupt.came()
            if signalled_now and line.in_flight:
                self.progress.note(f"Stopping: waiting for the answer to the mail in flight, {loop.FINISH_SECONDS} s at most. Ctrl-C again stops at once and leaves it uncertain.")
            return signalled_now

        self.progress = Progress(going, quiet=self.options.quiet or self.options.debug)
        queue = Queue(Departures(composer, self.checked.plan), Patience(self.campaign.delivery.stop_after, self.options.wait))
        try:
            loop.send(queue, line, edition, self._pace(edition, self._rate()), self.progress.told, came, rest)
        finally:
            self.progress.close()
        return queue.closed_by

    def _rest(self, until, quota, interrupt):
        """Nothing may leave before `until`: sleep where the person said so, else why the run ends."""
        at = datetime.datetime.fromtimestamp(until).astimezone()
        windows = ", ".join(window_words(window) for window in self._rate() if window.seconds >= QUOTA_SECONDS)
        if not self.options.wait:
            self.opens_at = until if quota else None
            return loop.ALL_PUT_OFF if not quota else RelayUnavailable(
                f"the account's {windows} are used up; the next message may leave at {at:%Y-%m-%d %H:%M %Z}", None, "run it again then to go on, or have it --wait")
        self.progress.note(f"Waiting until {at:%Y-%m-%d %H:%M %Z}: {f'{windows} are used up' if quota else 'all that is left was put off by the relay'}. Ctrl-C ends it.")
        # In portions, because the clock may be set meanwhile.
        while (left := until - time.time()) > 0 and not interrupt.pause(min(left, REST_SECONDS)):
            pass
        return None

    def _login_put_off(self, error, interrupt):
        """The relay takes no login for now: it is asked once more a minute later, never in a loop."""
        if self._login_asked:
            return False
        self._login_asked = True
        self.desk.say(visible(f"{error} Trying once more in {LOGIN_WAIT_SECONDS} seconds."))
        return not interrupt.pause(LOGIN_WAIT_SECONDS)

    def _rate_words(self, edition, rate):
        going, quotas = self.checked.going, tuple(window for window in rate if window.seconds >= QUOTA_SECONDS)
        now = min(going, self._pace(edition, quotas).free(time.monotonic()))
        shorter = tuple(window for window in rate if window not in quotas)
        when = "once it opens again" if self.options.wait else "in a later run"
        later = f"; {now:,} of {going:,} may leave before it is used up, the others {when}" if now < going else ""
        return f"{', '.join(map(window_words, rate))}: {duration(Pace(shorter).seconds_for(now))}{later}"

    def _rate(self):
        return self.campaign.smtp.rate if self.campaign.smtp and not self.options.sandbox else ()

    def _pace(self, edition, rate):
        """These windows, with what the journal knows of the account: an hour's or a day's count survives a restart."""
        longest = max((window.seconds for window in rate), default=0)
        if longest < QUOTA_SECONDS or edition is None:
            return Pace(rate)
        now, here = time.time(), time.monotonic()
        earlier = edition.departed(self.campaign.smtp.account, now - longest, max(window.count for window in rate))
        return Pace(rate, [here - max(0.0, now - at) for at in earlier])

    def _of_smtp(self, setting):
        return getattr(self.campaign.smtp, setting) if self.campaign.smtp and not self.options.sandbox else None

    def _note(self, text):
        (self.progress.note if self.progress else self.desk.say)(text)

    def _file(self, root=None):
        path = os.path.relpath(os.path.realpath(self.options.campaign), root or self.campaign.project.root)
        return path.encode("utf-8", "backslashreplace").decode()

    # Words

    def _look_again(self):
        """What the names and addresses hold that is no fault, in a line; `check` shows each."""
        if warnings := self.checked.warnings:
            first = visible(str(warnings[0]))
            number = len(warnings) + self.checked.more_warnings
            self.desk.say(f"Note: {first}" + (f" `postroom check {self.options.campaign}` shows {number - 1:,} more like this." if number > 1 else ""))

    def _confirmation(self, edition, composer, relay, account):
        campaign, checked = self.campaign, self.checked
        said = checked.left_out()
        rows = [("from", shown(checked.first.from_.name + " <" + checked.first.from_.address + ">") if checked.first else campaign.from_),
                ("relay", f"{relay.host}:{relay.port}, {relay.security}"), ("account", account),
                ("recipients", f"{checked.recipients:,} in {composer.table.file}" + (f", {', '.join(said)} left out" if said else "")),
                ("to send", f"{checked.going:,} now" + _before(self.before or {}))]
        if len(checked.file_counts) > 1:
            fewest, (number, first) = min(checked.file_counts.items())
            rows.append(("attachments", f"{count(number, 'row')} with only {fewest}, the first in line {first}"))
        if checked.first:
            rows.append(("first", f"{shown(checked.first.subject)} → {checked.first.own}"))
        if rate := self._rate():
            rows.append(("rate", self._rate_words(edition, rate)))
        self.desk.say(" ".join(filter(None, (campaign.name, campaign.edition))))
        for name, words in rows:
            self.desk.say(f"  {name:<12}{words}")

    def _ask(self):
        if self._needs_no_answer():
            return
        if not self.desk.ask(f"Send {count(self.checked.going, 'message')} now? [y/N] "):
            raise CampaignError("not confirmed", None, "answer y to send")

    def _needs_no_answer(self):
        return self.options.yes or self.options.sandbox

    def _finished(self, edition, closed_by, number=None):
        self.counts = counts = edition.counts(running=False)
        if self.progress is None:
            self.progress = Progress(0, quiet=True)
        this_run = self.progress.this_run
        explained_already = {closed_by.what.partition(' ("')[0]} if isinstance(closed_by, PostroomError) else set()
        for fate in self.progress.examples:
            self.desk.say(f"  {fate.message.envelope.own} (row {fate.message.row}): {_fate_words(fate)}")
            if fate.meaning and fate.meaning.what.rstrip(".。") not in explained_already:
                explained_already.add(fate.meaning.what.rstrip(".。"))
                self.desk.say(f"    {fate.meaning.what} {sentence(fate.meaning.do)}")
        if isinstance(closed_by, PostroomError):
            self.error = closed_by
            for line in explained(closed_by, nothing_sent=self.nothing_sent):
                self.desk.say(line)
        self.desk.say(_summary(this_run, counts))
        again = f"postroom send {self.options.campaign}"
        self.uncertain_list = uncertain_list(edition, running=False)
        for line in uncertain_lines(self.uncertain_list, self.options.campaign):
            self.desk.say(line)
        # A signal that came while the last of them was finished left nothing to go on with.
        if self.error or closed_by == loop.INTERRUPTED and counts["remaining"]:
            self.desk.say(f"{'Then' if self.error and self.error.exit_code == CHANGE_FIRST else 'Go on with'}: {again}")
            return self.error.exit_code if self.error else signalled(number)
        if counts["pending"]:
            self.desk.say(f"{counts['pending']:,} are still to be sent: {again}")
        if counts["deferred"]:
            self.desk.say(f"{counts['deferred']:,} {'was' if counts['deferred'] == 1 else 'were'} put off by the relay, the first until {counts['due_at']}. Then: {again}")
        open_ones = counts["deferred"] or counts["uncertain"] or this_run[REJECTED] or self.progress.partial
        return 1 if open_ones else 0

    def _foreseen(self):
        """The counts where nothing was sent: those from before, and the table's rows that the journal does not know yet."""
        counts = self.before or dict.fromkeys(COUNTS, 0) | {"skipped_reasons": {}, "due_at": None}
        if self.checked is None or self.checked.faults:
            return counts if counts["recipients"] else dict.fromkeys(COUNTS)
        reasons = {reason: number for reason, number in counts["skipped_reasons"].items() if reason != DUPLICATE}
        reasons |= {DUPLICATE: self.checked.duplicates} if self.checked.duplicates else {}
        if self.checked.suppressed_unknown:
            reasons[SUPPRESSED] = reasons.get(SUPPRESSED, 0) + self.checked.suppressed_unknown
        counts = {**counts, "skipped_reasons": reasons, "skipped": sum(reasons.values()), "pending": counts["pending"] + self.checked.unknown}
        return {**counts, "recipients": sum(counts[state] for state in STATES), "remaining": counts["pending"] + counts["deferred"]}


def composer_of(campaign: Campaign, began_at: float | None, guessed: Callable[[CampaignError], None]) -> Composer:
    """The campaign compiled.

    began_at: when the edition's first mail left, which is `now` in the templates; None: now. guessed: told where the table's encoding is a guess.
    """
    now = datetime.datetime.fromtimestamp(time.time() if began_at is None else began_at, campaign.zone).astimezone(campaign.zone)
    table = Table(campaign)
    if table.guess:
        guessed(table.guess_words())
    return Composer(campaign, table, now)


def foreseen(campaign: Campaign, journal: str | None, limit: int | None, guessed: Callable[[CampaignError], None]) -> Iterator[Message]:
    """The first messages of the table, each exactly as `send` would make it now, but for Date. Raises Faults; touches no network.

    journal: as asked for; None: the project's own. limit: how many at most; None: all. guessed: told where the table's encoding is a guess.
    """
    known = Journal.open(journal_path(journal, campaign.project.root), create=False)
    try:
        composer = composer_of(campaign, known and known.edition(campaign.name, campaign.edition or "").began_at, guessed)
    finally:
        if known:
            known.close()
    checked = Preflight(composer, lambda keys: {}, time.time(), limit=limit).run().passed()
    return in_turn(composer, checked.plan)


def _before(counts):
    said = [f"{counts[state]:,} {words}" for state, words in ((SENT, "sent before"), (REJECTED, "refused before"), (DEFERRED, "put off"),
                                                             (UNCERTAIN, "uncertain")) if counts.get(state)]
    return f"; {', '.join(said)}" if said else ""


def _fate_words(fate):
    if fate.state == UNCERTAIN:
        return "uncertain: all of it had left, and no answer came"
    if fate.state == SENT:
        return "sent, but refused for " + ", ".join(f"{result.address} ({result.code} {shown(result.text)})"
                                                   for result in fate.addresses if not result.accepted)
    return f"{'put off' if fate.state == DEFERRED else fate.state}, {fate.code} {shown(fate.text)}"


def _summary(this_run, counts):
    said = [f"{number:,} {state}" for state, number in this_run.items() if number]
    if not said and not counts["remaining"] and not counts["uncertain"]:
        others = [f"{number:,} {words}" for number, words in ((counts[REJECTED], "refused"), *((number, f"skipped ({reason})") for reason, number in
                                                                                            counts["skipped_reasons"].items())) if number]
        return f"Nothing is left to send: {counts['sent']:,} of {counts['recipients']:,} were sent before{''.join(f', {words}' for words in others)}."
    return f"{', '.join(said) or 'Nothing sent'} in this run; {counts['sent']:,} of {counts['recipients']:,} sent in all."
