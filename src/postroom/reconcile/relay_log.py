"""What the relay's own log says of uncertain deliveries: taken, not taken, or not told.

Presence is simple: the relay notes the Message-ID of what it takes. Absence is told only by a log that provably covers the time, so it
must show our mails that it took before and after, unbroken in between, and reach well past the moment when the answer was lost.
"""

import gzip
import itertools
import re
import time
import zlib
from collections import namedtuple

from postroom.errors import Place, PostroomError
from postroom.journal import settle
from postroom.journal.settle import Uncertain, Verdict
from postroom.outcome import PENDING, SENT, UNCERTAIN
from postroom.read.project import display, reason
from postroom.reconcile.log_lines import EXIM, EXIM_ID, LINES_LOST, OTHER, POSTFIX, YEARLESS, Reader, exim_arrival, mentioned

CLOCK_SECONDS = 60  # by how much two clocks may drift apart between two mails
# A log that says nothing for so long may have lost something. Below an hour, so that the change to summer time, which a log without zones
# shows as a leap of an hour, counts as silence too; above half an hour, which is how often Debian's Exim runs its queue and says so.
SILENCE_SECONDS = 2700
JOIN_SECONDS = 60  # a rotated file that goes on so soon after another is its continuation, whatever they are called
BACK_SECONDS = 3660  # lines may be out of order, and winter time comes
A_YEAR, HALF_A_YEAR = 365 * 86_400, 180 * 86_400
LOST_SECONDS = 1800  # a logging service tells later that it threw lines away
MOST_LINE = 65_536
MOST_KEPT, MOST_HOSTS, MOST_FIRST_LINES = 10_000, 1_000, 1_000
MOST_MAILS, MOST_TOLD = 50, 200

# The queue ID is hexadecimal, or with `enable_long_queue_ids` of letters and digits (postconf(5)).
POSTFIX_CLIENT = re.compile(rb"([0-9A-Za-z]+): client=")
# Seen of Postfix 3.7: a client that is gone before the end of data leaves such a line of smtpd's, one that is gone behind it leaves none.
POSTFIX_BROKEN = re.compile(rb"(?:lost connection|timeout) after (?:DATA|BDAT) \(")
POSTFIX_MESSAGE_ID = re.compile(rb"([0-9A-Za-z]+): message-id=<([^<>\s]+)>")
POSTFIX_REFUSED = re.compile(rb"([0-9A-Za-z]+): (?:milter-)?reject: (?:header |body |END-OF-MESSAGE )")
POSTFIX_QUEUED = re.compile(rb"([0-9A-Za-z]+): from=<.*>, size=\d+, nrcpt=\d+ \(queue active\)")
POSTFIX_TO = re.compile(rb"([0-9A-Za-z]+): (to=<.*?), relay=")
POSTFIX_REMOVED = re.compile(rb"([0-9A-Za-z]+): removed")
EXIM_ARRIVED = re.compile(rb"(%s) <= (.*)" % EXIM_ID)
EXIM_TO = re.compile(rb"(%s) (?:[=-]>|>>|\*>|\*\*|==) (.*?)(?: R=| T=|$)" % EXIM_ID)
EXIM_DONE = re.compile(rb"(%s) Completed" % EXIM_ID)
ROTATED = re.compile(r"(.*?)(?:\.(\d{1,9}))?(?:\.gz)?", re.DOTALL)

# Why what the log does not show stays uncertain all the same.
NO_TIME = "the journal does not know when it left"
MOVED = "it went to several relays or accounts in turn, and one log tells of one"
NO_BEFORE = "the journal knows no mail that the relay took before it, which the log would have to show as well"
NO_AFTER = "the journal knows no mail that the relay took after it, which the log would have to show as well; send another, then try again"
NOT_BEFORE = "the log does not show the mail that the relay took just before it: it begins too late, has a gap, or is another relay's"
NOT_AFTER = "the log does not show the mail that the relay took just after it: it ends too soon, has a gap, or is another relay's"
BROKEN = "the log breaks off between the mails before and after it; give the rotated files as well"
SILENT = f"the log is silent for {SILENCE_SECONDS // 60} minutes or more around it, so something may be missing there"
LOST = "the logging service says that it lost lines around then"
GAPS = "the log lacks other mails that the relay took around then"
CLOCK = "the relay's clock was set between the mails before and after it"
TOO_SOON = "the log does not reach three minutes past the moment when its answer was lost, and so long it may have been on the way; try again with a newer log"
BEGUN = "the log shows that the relay began to take it, and not what came of it"
UNREAD = "the log names its Message-ID in a line that does not tell whether it was taken"
OTHERS = "the relay took a mail with its Message-ID, and not for this address"

Sighting = namedtuple("Sighting", "track stretch ordinal at")


def judge(paths: list[str], cases: list[Uncertain]) -> list[Verdict]:
    """A verdict for each case, from these files of one relay (plain or .gz, in any order).

    Memory does not grow with the log. Raises PostroomError for a file that cannot be read or is no log of Postfix or Exim.
    """
    log = _Log(cases)
    files = [_File(path, log.year) for path in paths]
    for file in _in_order(files):
        log.read(file)
    return [log.verdict(case) for case in cases]


class _Mail:
    """One transaction in the log. place: the queue's name for it and when, as written. told: recipients, as written."""

    __slots__ = ("place", "taken", "ended", "told")

    def __init__(self, place, taken=False, ended=False):
        self.place, self.taken, self.ended, self.told = place, taken, ended, []


class _Log:
    """All files as one."""

    def __init__(self, cases):
        self.year = time.gmtime(max((case.ended or 0 for case in cases), default=0)).tm_year
        self._mails = {case.message_id.encode(): [] for case in cases if case.message_id}
        self._unread = set()
        witnesses = {one.message_id.encode() for case in cases for one in (case.before, case.after, *case.around) if one}
        self._sightings = dict.fromkeys(witnesses)
        self._tracks, self._ordinal, self._at = {}, 0, None
        # Postfix: whose transaction a server process is in, which ones ended without being taken, and those we want to know more of.
        self._current, self._ended, self._queue = {}, {}, {}

    def read(self, file):
        recognised = size = 0
        for octets, whole in file:
            size += len(octets)
            self._ordinal += 1
            line = file.reader.read(octets) if whole else None
            understood = None
            if line is not None:
                recognised += line.kind != OTHER
                self._time(line, file)
                if line.kind == POSTFIX:
                    understood = self._postfix(line, octets, file)
                elif line.kind == EXIM:
                    understood = self._exim(line, octets, file)
            if named := mentioned(octets):
                self._unread.update(one for one in named if one != understood and one in self._mails)
        if size and not recognised:
            raise PostroomError("this is no log of Postfix or Exim", Place(file.name), "give the relay's mail log, such as /var/log/mail.log or Exim's mainlog")

    def verdict(self, case):
        mails = self._mails.get((case.message_id or "").encode(), [])
        taken = [mail for mail in mails if mail.taken]
        for mail in taken:
            if not mail.told or _is_for(case.address, mail.told):
                return Verdict(case, SENT, f"the relay took it: {mail.place}")
        if taken:
            return Verdict(case, UNCERTAIN, OTHERS)
        if any(not mail.ended for mail in mails):
            return Verdict(case, UNCERTAIN, BEGUN)
        if (case.message_id or "").encode() in self._unread:
            return Verdict(case, UNCERTAIN, UNREAD)
        if why := self._why_incomplete(case):
            return Verdict(case, UNCERTAIN, why)
        return Verdict(case, PENDING, "the relay's log shows our mails before and after it, and not this one")

    def _why_incomplete(self, case):
        """What is missing for the log to prove that a mail it does not show was not taken; None where nothing is."""
        if case.began is None or case.ended is None or not case.message_id:
            return NO_TIME
        if case.relay is None:
            return MOVED
        if case.before is None or case.after is None:
            return NO_BEFORE if case.before is None else NO_AFTER
        before, after = (self._sightings[one.message_id.encode()] for one in (case.before, case.after))
        if before is None or after is None:
            return NOT_BEFORE if before is None else NOT_AFTER
        if any(self._sightings[one.message_id.encode()] is None for one in case.around):
            return GAPS
        if (before.track, before.stretch) != (after.track, after.stretch) or before.ordinal > after.ordinal:
            return BROKEN
        # How far the log's clock is ahead of ours, by what both know of the same mail: its zone and year come out here as well.
        least, most = before.at - case.before.ended, before.at - case.before.began
        if after.at - case.after.began < least - CLOCK_SECONDS or after.at - case.after.ended > most + CLOCK_SECONDS:
            return CLOCK
        until = case.ended + most + settle.SETTLED_SECONDS + CLOCK_SECONDS
        if before.track.end(before.stretch) < until:
            return TOO_SOON
        return before.track.missing(before.stretch, max(before.at, case.began + least - CLOCK_SECONDS), until)

    def _time(self, line, file):
        if line.host not in self._tracks and len(self._tracks) < MOST_HOSTS:
            self._tracks[line.host] = _Track()
        track = self._tracks.get(line.host)
        self._at = track and (track, track.saw(line, file))
        if track and line.kind == OTHER and LINES_LOST.match(line.text):
            track.hole(track.last - LOST_SECONDS, track.last, LOST)

    def _postfix(self, line, octets, file):
        """Follow what Postfix says of a mail. Returns the Message-ID that this line is understood to be about, or None."""
        (instance, daemon), text = line.program, line.text
        if daemon == b"smtpd":
            process = line.host, line.pid
            if found := POSTFIX_CLIENT.match(text):
                key = line.host, instance, found[1]
                self._ended.pop(key, None)
                self._queue.pop(key, None)
                _keep(self._current, process, key)
                return None
            if POSTFIX_BROKEN.match(text) and process in self._current:
                self._not_taken(self._current.pop(process))
                return None
        if daemon == b"cleanup" and (found := POSTFIX_MESSAGE_ID.fullmatch(text)):
            key = line.host, instance, found[1]
            if found[2] in self._mails or found[2] in self._sightings:
                _keep(self._queue, key, (found[2], self._begun(found[2], found[1], line, octets, file, ended=key in self._ended)))
            return found[2]
        if daemon in (b"cleanup", b"smtpd") and (found := POSTFIX_REFUSED.match(text)):
            key = line.host, instance, found[1]
            self._not_taken(key)
            return self._queue[key][0] if key in self._queue else None
        if not self._queue:
            return None
        if daemon == b"qmgr":
            if found := POSTFIX_QUEUED.fullmatch(text):
                self._taken(self._queue.get((line.host, instance, found[1])))
            elif found := POSTFIX_REMOVED.fullmatch(text):
                self._queue.pop((line.host, instance, found[1]), None)
        elif found := POSTFIX_TO.match(text):
            self._told(self._queue.get((line.host, instance, found[1])), found[2])
        return None

    def _exim(self, line, octets, file):
        """The same for Exim, which notes a mail when it takes it and never before."""
        text = line.text
        if found := EXIM_ARRIVED.match(text):
            message_id = exim_arrival(found[2])
            if message_id in self._mails or message_id in self._sightings:
                known = message_id, self._begun(message_id, found[1], line, octets, file)
                _keep(self._queue, found[1], known)
                self._taken(known)
            return message_id
        if self._queue:
            if found := EXIM_TO.match(text):
                self._told(self._queue.get(found[1]), found[2])
            elif found := EXIM_DONE.match(text):
                self._queue.pop(found[1], None)
        return None

    def _begun(self, message_id, queue_id, line, octets, file, ended=False):
        when = octets[:15 if line.sure == YEARLESS else 19].decode("ascii", "replace")
        mail = _Mail(f"{queue_id.decode('ascii', 'replace')}, {when}, in {file.name}", ended=ended)
        mails = self._mails.get(message_id)
        if mails is not None and len(mails) < MOST_MAILS:
            mails.append(mail)
        return mail

    def _not_taken(self, key):
        _keep(self._ended, key, True)
        if key in self._queue:
            self._queue[key][1].ended = True

    def _taken(self, known):
        if known is None:
            return
        message_id, mail = known
        mail.taken = True
        if self._at and self._sightings.get(message_id, ()) is None:
            track, at = self._at
            self._sightings[message_id] = Sighting(track, track.stretch, self._ordinal, at)
            track.sighted.add(track.stretch)

    def _told(self, known, text):
        if known is not None and len(known[1].told) < MOST_TOLD:
            known[1].told.append(text.lower())


class _Track:
    """One host's lines, one after the other. A stretch is what hangs together; `last` is when its last line was."""

    def __init__(self):
        self.last = self._sure = self._file = None
        self.stretch, self._years = 0, 0
        self.sighted, self._ends, self._holes = set(), {}, []

    def saw(self, line, file):
        """Note the next line. Returns its time, counted on over the year's end where a log names no year."""
        at = line.at
        if line.sure == YEARLESS:
            at += self._years
            if self.last is not None and at < self.last - HALF_A_YEAR:
                self._years += A_YEAR
                at += A_YEAR
        if self.last is not None:
            gap = at - self.last
            continues = file is self._file or 0 <= gap <= JOIN_SECONDS or _follows(self._file, file)
            if not continues or line.sure != self._sure or gap < -BACK_SECONDS:
                self._break()
            elif gap > SILENCE_SECONDS:
                self.hole(self.last, at, SILENT)
        self.last, self._sure, self._file = at, line.sure, file
        return at

    def hole(self, begins, ends, why):
        """Something may be missing between these times."""
        if len(self._holes) < MOST_KEPT:
            self._holes.append((self.stretch, begins, ends, why))
        else:
            self._break()

    def end(self, stretch):
        """When a stretch with a sighting ended."""
        return self._ends.get(stretch, self.last)

    def missing(self, stretch, begins, ends):
        """Why something may be missing between these times; None where nothing is."""
        return next((why for where, begun, ended, why in self._holes if where == stretch and ended > begins and begun < ends), None)

    def _break(self):
        if self.stretch in self.sighted:
            self._ends[self.stretch] = self.last
        self.stretch += 1


class _File:
    """One file's lines, as (octets, whether they are a whole line), opened and unpacked as they are read."""

    def __init__(self, path, year):
        self.path, self.name, self.reader = path, display(path), Reader(year)
        self._lines = self._read()
        self._ahead, self.first = [], None
        for octets, whole in itertools.islice(self._lines, MOST_FIRST_LINES):
            self._ahead.append((octets, whole))
            if whole and (line := self.reader.read(octets)):
                self.first = line
                break

    def __iter__(self):
        return itertools.chain(self._ahead, self._lines)

    def _read(self):
        try:
            with open(self.path, "rb") as file:
                packed = file.peek(2)[:2] == b"\x1f\x8b"
                yield from _pieces(gzip.GzipFile(fileobj=file) if packed else file)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise PostroomError("the packed file ends too soon or is damaged", Place(self.name), "copy it once more") from None
        except OSError as error:
            raise PostroomError(f"the log cannot be read: {reason(error)}", Place(self.name),
                                "correct the path, or ask who runs the relay for a copy") from None


def _pieces(file):
    whole = True
    while octets := file.readline(MOST_LINE):
        ended = octets.endswith(b"\n")
        yield octets.rstrip(b"\r\n"), whole and (ended or len(octets) < MOST_LINE)
        whole = ended


def _in_order(files):
    """The oldest first: by the times at their beginnings, and within one second by how rotation has numbered them."""
    latest = max((file.first.at for file in files if file.first), default=0)

    def begun(file):
        at = file.first.at if file.first else latest
        # Where no year is told, December comes before January.
        next_year = file.first and file.first.sure == YEARLESS and latest - at > HALF_A_YEAR
        return at + (A_YEAR if next_year else 0), -_rotation(file)[1]

    return sorted(files, key=begun)


def _follows(older, newer):
    """Whether rotation has named two files as neighbours: mail.log.2.gz, mail.log.1, mail.log."""
    (base, number), (other, next_number) = _rotation(older), _rotation(newer)
    return base == other and number == next_number + 1


def _rotation(file):
    base, number = ROTATED.fullmatch(file.path).groups()
    return base, int(number or 0)


def _is_for(address, told):
    """Whether a mail's recipients, as the log has them, hold this address; what it spells in its own way counts as yes."""
    if address is None or not address.isascii():
        return True
    own = re.compile(rb"(?<![^\s<(,])" + re.escape(address.lower().encode()) + rb"(?![^\s>),])")
    return any(own.search(text) for text in told)


def _keep(known, key, value):
    """Remember, and forget the oldest beyond what a log in order needs."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MOST_KEPT:
        del known[next(iter(known))]

