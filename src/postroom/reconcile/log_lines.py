"""Lines of a mail server's log, as Postfix and Exim write them: when, on which host, by whom, and the text.

All that a stranger can put into a log (addresses, HELO names, subjects, headers) stands behind what is matched here from the line's
beginning. Postfix through syslog or its own postlogd (postlogd(8)); Exim's main log (its specification, chapter "Log files").
"""

import datetime
import re
from collections import namedtuple

UTC, LOCAL, YEARLESS = "utc", "local", "yearless"  # how sure a time is: with its zone, without it, without year and zone
POSTFIX, EXIM, OTHER = "postfix", "exim", "other"

Line = namedtuple("Line", "at sure host kind program pid text")
Line.__doc__ = """One line. at: seconds since the epoch where it has a zone, else of its own wall clock, comparable with its neighbours only.

sure: UTC, LOCAL or YEARLESS. program: (instance, daemon) of Postfix, such as (b"postfix", b"cleanup"). text: octets after the prefix.
"""

MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
# RFC 3164 as syslogd writes it, and RFC 3339 as rsyslog and journalctl do.
TRADITIONAL = re.compile(rb"([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\S+) ")
RFC3339 = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d) (\S+) ")
EXIM_TIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.\d+)? (?:([+-]\d{4}) )?(?:\[\d+\] )?")
# `syslog_name` may be "postfix/submission", and an instance has a name of its own such as "postfix-out".
POSTFIX_TAG = re.compile(rb"(postfix[\w.-]*)(?:/[\w.-]+)*/([\w-]+)\[(\d+)\]: ")
EXIM_ID = rb"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})"
EXIM_TEXT = re.compile(rb"(?:%s |exim \d|Start queue run|End queue run|SMTP |no host name found|Warning: |TLS |H=|unexpected |rejected )" % EXIM_ID)
# rsyslog and journald say so themselves where they threw lines away.
LINES_LOST = re.compile(rb"(?:rsyslogd|systemd-journald?)[^\s:]*: .*(?:messages lost due to rate-limiting|Suppressed \d+ messages|Missed \d+ )")
# A token of Exim's: what holds spaces is quoted.
TOKEN = re.compile(rb'(?:[^\s"\\]|\\.|"(?:[^"\\]|\\.)*")+')
MESSAGE_ID = re.compile(rb"[0-9a-f]{32}@[A-Za-z0-9.-]+")  # as compose/build.py makes them


class Reader:
    """Octets to Lines. year: what to begin with where the log names none."""

    def __init__(self, year: int):
        self._year, self._days = year, {}

    def read(self, octets: bytes) -> Line | None:
        """One line without its line end; None for what has no time at its beginning."""
        if found := EXIM_TIME.match(octets):
            return self._exim(found, octets)
        if found := TRADITIONAL.match(octets):
            at, sure, host = self._seconds(self._year, MONTHS.get(found[1]), found[2], found, 3), YEARLESS, found[6]
        elif found := RFC3339.match(octets):
            at, sure, host = self._seconds(found[1], found[2], found[3], found, 4), UTC, found[8]
            if at is not None:
                at -= _offset(found[7])
        else:
            return None
        if at is None:
            return None
        if tag := POSTFIX_TAG.match(octets, found.end()):
            return Line(at, sure, host, POSTFIX, (tag[1], tag[2]), tag[3], octets[tag.end():])
        return Line(at, sure, host, OTHER, None, None, octets[found.end():])

    def _exim(self, found, octets):
        at = self._seconds(found[1], found[2], found[3], found, 4)
        if at is None:
            return None
        text = octets[found.end():]
        kind = EXIM if EXIM_TEXT.match(text) else OTHER
        if found[7]:
            return Line(at - _offset(found[7]), UTC, b"", kind, None, None, text)
        return Line(at, LOCAL, b"", kind, None, None, text)

    def _seconds(self, year, month, day, found, first):
        date = year, month, day
        if date not in self._days:
            if len(self._days) > 1000:
                self._days.clear()
            try:
                self._days[date] = datetime.date(int(year), int(month or 0), int(day)).toordinal() - 719_163
            except ValueError:
                self._days[date] = None
        days = self._days[date]
        return None if days is None else days * 86_400 + int(found[first]) * 3600 + int(found[first + 1]) * 60 + int(found[first + 2])


def mentioned(octets: bytes) -> list[bytes]:
    """Every Message-ID of the kind that we make, wherever it stands in a line."""
    return MESSAGE_ID.findall(octets) if b"@" in octets else []


def exim_arrival(text: bytes) -> bytes | None:
    """The Message-ID of Exim's line about a mail that it took ("<="); None where it is not told without doubt.

    The sender's address, HELO name and ident come before `id=` and the subject (`T="..."`) after it: one of them that holds spaces is
    quoted, and one that is not makes a second `id=`, which is no answer.
    """
    position, found, sized = 0, [], False
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None or token.end() < len(text) and text[token.end():token.end() + 1] != b" ":
            return None
        if token[0].startswith(b"id="):
            found.append((token[0][3:], sized))
        sized = sized or token[0].startswith(b"S=")
        position = token.end() + 1
    return found[0][0] if len(found) == 1 and found[0][1] else None


def _offset(zone):
    if zone == b"Z":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return -seconds if zone[:1] == b"-" else seconds
