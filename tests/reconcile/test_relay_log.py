"""When a log proves that a mail was taken, when that it was not, and when nothing."""

import datetime
import gzip
import itertools
import tracemalloc

import pytest

from postroom.errors import PostroomError
from postroom.journal.settle import Uncertain, Witness
from postroom.outcome import PENDING, SENT, UNCERTAIN
from postroom.reconcile import relay_log

START = int(datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC).timestamp())


def message_id(number):
    return f"{number:032x}@example.com"


BEFORE, CASE, AFTER, OTHER = (message_id(number) for number in range(4))


def case(**changes):
    """One uncertain mail that left at START and was given up ten seconds later, with a mail before it and one after."""
    usual = {"key": "ann@example.com", "message_id": CASE, "relay": "relay.test:25", "address": "ann@example.com", "line": 2, "began": START, "ended": START + 10,
             "before": Witness(BEFORE, START - 60, START - 60), "after": Witness(AFTER, START + 100, START + 100.5), "around": ()}
    return Uncertain(**usual | changes)


class Writer:
    """A relay's log. zone: its clock's, in seconds, whether or not the log tells it. wrong: by how much it is ahead besides."""

    def __init__(self, form, zone=0, wrong=0):
        self.form, self.zone, self._wrong, self._numbers = form, zone, wrong, itertools.count(1)

    def line(self, at, text, program="postfix/anvil[9]"):
        moment = datetime.datetime.fromtimestamp(START + at + self.zone + self._wrong, datetime.UTC)
        head = {"traditional": f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S} relay {program}: ", "rfc3339": f"{moment:%Y-%m-%dT%H:%M:%S}.5{_zone(self.zone, ':')} relay {program}: ",
                "exim": f"{moment:%Y-%m-%d %H:%M:%S} ", "exim zoned": f"{moment:%Y-%m-%d %H:%M:%S} {_zone(self.zone)} "}[self.form]
        return head + text + "\n"

    def some(self, at):
        return self.line(at, "Start queue run: pid=1" if self.is_exim else "statistics: max connection rate 1/60s")

    def took(self, at, message_id, address="ann@example.com"):
        number = next(self._numbers)
        if self.is_exim:
            queue_id = f"1xW8R4-{number:06d}-04"
            return "".join(self.line(at, f"{queue_id} {text}") for text in (
                f"<= x@example.com H=(a.test) [127.0.0.1] P=esmtp S=757 id={message_id}", f"=> box <{address}> R=all T=box", "Completed"))
        queue_id = f"{number:011X}"
        return "".join(self.line(at, f"{queue_id}: {text}", program) for program, text in (
            ("postfix/smtpd[1]", "client=unknown[127.0.0.1]"), ("postfix/cleanup[2]", f"message-id=<{message_id}>"),
            ("postfix/qmgr[3]", "from=<x@example.com>, size=819, nrcpt=1 (queue active)"),
            ("postfix/smtp[4]", f"to=<{address}>, relay=mx.test[192.0.2.1]:25, delay=0.03, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)"), ("postfix/qmgr[3]", "removed")))

    def broke(self, at, message_id, end="lost connection after DATA (617 bytes) from unknown[127.0.0.1]"):
        """A transaction that ended before its end of data. Seen of Postfix 3.7: cleanup may speak after smtpd."""
        queue_id = f"{next(self._numbers):011X}"
        return (self.line(at, f"{queue_id}: client=unknown[127.0.0.1]", "postfix/smtpd[1]") + (self.line(at, end, "postfix/smtpd[1]") if end else "")
                + self.line(at, f"{queue_id}: message-id=<{message_id}>", "postfix/cleanup[2]"))

    @property
    def is_exim(self):
        return self.form.startswith("exim")


def _zone(seconds, colon=""):
    return f"{'-' if seconds < 0 else '+'}{abs(seconds) // 3600:02d}{colon}{abs(seconds) % 3600 // 60:02d}"


@pytest.fixture(params=["traditional", "rfc3339", "exim", "exim zoned"])
def writer(request):
    return Writer(request.param, zone=-5 * 3600)


@pytest.fixture
def postfix():
    return Writer("traditional")


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """judged(case, log, older log, ...) is (state, text)."""
    monkeypatch.chdir(tmp_path)

    def judge(one, *logs):
        names = []
        for number, log in enumerate(logs):
            names.append(f"mail.log{f'.{number}' if number else ''}")
            (tmp_path / names[-1]).write_bytes(log.encode() if isinstance(log, str) else log)
        [verdict] = relay_log.judge(names, [one])
        assert verdict.uncertain is one
        return verdict.state, verdict.text

    return judge


def whole(writer, between=""):
    """A log that proves what it does not show: 190 seconds past the moment when the answer was lost."""
    return writer.took(-60, BEFORE) + between + writer.took(100, AFTER) + writer.some(200)


def test_what_the_relay_took_is_sent_and_the_journal_gets_the_place(writer, judged):
    state, text = judged(case(), whole(writer, writer.took(1, CASE)))

    assert state == SENT
    assert text.startswith("the relay took it: 1xW8R4-000001-04, 2026-11-25 03:00:01" if writer.is_exim else "the relay took it: 00000000001, ")
    assert text.endswith("in mail.log")


def test_what_was_taken_needs_no_whole_log(writer, judged):
    assert judged(case(before=None, after=None, began=None, ended=None), writer.took(1, CASE))[0] == SENT


def test_what_a_whole_log_does_not_show_was_not_taken(writer, judged):
    assert judged(case(), whole(writer)) == (PENDING, "the relay's log shows our mails before and after it, and not this one")


def test_packed_and_rotated_files_in_any_order_are_one_log(writer, judged):
    log = whole(writer, writer.some(3)).splitlines(keepends=True)
    third = len(log) // 3
    parts = ["".join(log[:third]), "".join(log[third:2 * third]), "".join(log[2 * third:])]

    assert judged(case(), parts[2], gzip.compress(parts[1].encode()), parts[0])[0] == PENDING


# Each of these logs lacks one thing that a proof needs.

@pytest.mark.parametrize("name", ["head", "tail", "before", "after"])
def test_a_log_that_begins_too_late_or_ends_too_soon_proves_nothing(writer, judged, name):
    log = {"head": writer.took(100, AFTER) + writer.some(200), "tail": writer.took(-60, BEFORE), "before": writer.some(-60) + writer.took(100, AFTER) + writer.some(200),
           "after": writer.took(-60, BEFORE) + writer.some(200)}[name]

    assert judged(case(), log) == (UNCERTAIN, relay_log.NOT_BEFORE if name in ("head", "before") else relay_log.NOT_AFTER)


@pytest.mark.parametrize(("last", "state"), [(189, UNCERTAIN), (190, PENDING)])
def test_the_log_must_reach_three_minutes_past_the_moment_when_the_answer_was_lost(writer, judged, last, state):
    """reliability.md, section 2: after kill -9 the kernel still delivers what it holds, so two minutes; and one for the clocks."""
    assert judged(case(), writer.took(-60, BEFORE) + writer.took(100, AFTER) + writer.some(last))[0] == state


def test_a_log_of_another_relay_proves_nothing(writer, judged):
    assert judged(case(), writer.took(-60, OTHER) + writer.took(100, message_id(9)) + writer.some(200))[0] == UNCERTAIN


def test_of_several_servers_behind_one_name_one_log_proves_nothing(writer, judged):
    """A mail of ours that was taken then, and not here, was taken elsewhere."""
    around = (Witness(OTHER, START + 20, START + 21),)

    assert judged(case(around=around), whole(writer)) == (UNCERTAIN, relay_log.GAPS)
    assert judged(case(around=around), whole(writer, writer.took(20, OTHER)))[0] == PENDING


@pytest.mark.parametrize("missing", ["before", "after"])
def test_where_the_journal_knows_no_mail_before_or_after_nothing_is_proven(writer, judged, missing):
    assert judged(case(**{missing: None}), whole(writer)) == (UNCERTAIN, relay_log.NO_BEFORE if missing == "before" else relay_log.NO_AFTER)


def test_where_the_journal_does_not_know_when_it_left_nothing_is_proven(writer, judged):
    assert judged(case(began=None), whole(writer)) == (UNCERTAIN, relay_log.NO_TIME)


def test_one_log_proves_nothing_of_what_went_by_several_relays(writer, judged):
    assert judged(case(relay=None), whole(writer)) == (UNCERTAIN, relay_log.MOVED)


def test_a_missing_file_between_two_rotated_ones_proves_nothing(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail.log.3").write_text(writer.took(-60, BEFORE))
    (tmp_path / "mail.log.1").write_text(writer.took(100, AFTER) + writer.some(200))
    (tmp_path / "mail.log.2").write_text(writer.some(0) + writer.some(50))

    [without] = relay_log.judge(["mail.log.3", "mail.log.1"], [case()])
    [whole] = relay_log.judge(["mail.log.3", "mail.log.1", "mail.log.2"], [case()])

    assert (without.state, without.text, whole.state) == (UNCERTAIN, relay_log.BROKEN, PENDING)


def test_a_long_silence_around_it_proves_nothing(writer, judged):
    """Files that somebody put together, with one missing."""
    late = case(after=Witness(AFTER, START + 7000, START + 7000))

    assert judged(late, writer.took(-60, BEFORE) + writer.took(7000, AFTER) + writer.some(7200)) == (UNCERTAIN, relay_log.SILENT)
    assert judged(late, writer.took(-60, BEFORE) + writer.some(195) + writer.took(7000, AFTER) + writer.some(7200))[0] == PENDING


def test_files_put_together_in_the_wrong_order_prove_nothing(writer, judged):
    newer = writer.took(100, AFTER) + writer.some(200)

    assert judged(case(before=Witness(BEFORE, START - 9000, START - 9000)), newer + writer.took(-9000, BEFORE) + writer.some(-8000))[0] == UNCERTAIN


def test_a_relay_whose_clock_was_set_meanwhile_proves_nothing(writer, judged):
    """How far its clock is from ours is known by the mails that both know, and must be the same before and after."""
    assert judged(case(), writer.took(-60, BEFORE) + writer.took(400, AFTER) + writer.some(700)) == (UNCERTAIN, relay_log.CLOCK)


def test_a_relay_whose_clock_is_wrong_all_the_time_is_understood(writer, judged):
    wrong = Writer(writer.form, writer.zone, wrong=86_400 * 20 + 77)

    assert judged(case(), whole(wrong))[0] == PENDING


@pytest.mark.parametrize("notice", ["rsyslogd: imuxsock[pid: 812, name: postfix/smtpd]: 12 messages lost due to rate-limiting",
                                    "systemd-journald[120]: Suppressed 917 messages from postfix.service"])
def test_a_logging_service_that_lost_lines_proves_nothing(postfix, judged, notice):
    program, text = notice.split(": ", 1)

    assert judged(case(), whole(postfix, postfix.line(30, text, program))) == (UNCERTAIN, relay_log.LOST)


def test_the_years_end_in_a_log_without_years_is_no_gap(judged):
    zone = int(datetime.datetime(2026, 12, 31, 23, 59, 50, tzinfo=datetime.UTC).timestamp()) - START

    assert judged(case(), whole(Writer("traditional", zone)))[0] == PENDING


def test_summer_time_that_begins_counts_as_a_silence(judged):
    """A log without zones leaps by an hour then, and seems to reach further than it does."""
    writer, summer = Writer("exim"), Writer("exim", 3600)
    log = writer.took(-60, BEFORE) + writer.took(100, AFTER) + writer.some(120)

    assert judged(case(), log + summer.some(121)) == (UNCERTAIN, relay_log.SILENT)


# What Postfix says of a mail that it began to take.

@pytest.mark.parametrize("end", ["lost connection after DATA (617 bytes) from unknown[127.0.0.1]", "timeout after DATA (617 bytes) from unknown[127.0.0.1]",
                                 "lost connection after BDAT (0 bytes) from unknown[127.0.0.1]"])
def test_a_mail_that_postfix_began_and_lost_was_not_taken(postfix, judged, end):
    assert judged(case(), whole(postfix, postfix.broke(1, CASE, end)))[0] == PENDING


def test_a_mail_that_postfix_began_and_lost_and_then_took_was_taken(postfix, judged):
    assert judged(case(), whole(postfix, postfix.broke(1, CASE) + postfix.took(30, CASE)))[0] == SENT


@pytest.mark.parametrize(("end", "state"), [
    ("postfix/cleanup[2]: {}: milter-reject: END-OF-MESSAGE from unknown[127.0.0.1]: 5.7.1 no", PENDING),
    ("postfix/cleanup[2]: {}: reject: header Subject: x from unknown[127.0.0.1]; from=<x@y>", PENDING),
    ("postfix/smtpd[1]: {}: reject: END-OF-MESSAGE from unknown[127.0.0.1]: 554 5.7.1", PENDING),
    # On hold it is taken, and thrown away it is taken too: what is not told stays open.
    ("postfix/cleanup[2]: {}: hold: header Subject: x from unknown[127.0.0.1]; from=<x@y>", UNCERTAIN),
    ("postfix/cleanup[2]: {}: discard: header Subject: x from unknown[127.0.0.1]; from=<x@y>", UNCERTAIN),
    ("postfix/smtpd[8]: lost connection after DATA (617 bytes) from elsewhere[127.0.0.1]", UNCERTAIN),
    ("postfix/smtpd[1]: disconnect from lost connection after DATA (617 bytes)", UNCERTAIN),
    ("postfix/smtpd[1]: {}: filter: RCPT from unknown[127.0.0.1]: reject: END-OF-MESSAGE", UNCERTAIN)])
def test_a_mail_that_postfix_began_is_not_taken_only_where_it_says_so(postfix, judged, end, state):
    begun = postfix.broke(1, CASE, end=None)
    queue_id = begun.rpartition("]: ")[2].partition(":")[0]
    program, text = end.format(queue_id).split(": ", 1)

    assert judged(case(), whole(postfix, begun + postfix.line(2, text, program)))[0] == state


def test_a_queue_id_that_is_used_again_is_another_mail(postfix, judged):
    log = postfix.line(1, "AAA: client=x", "postfix/smtpd[1]") + postfix.line(1, f"AAA: message-id=<{CASE}>", "postfix/cleanup[2]")
    log += postfix.line(2, "lost connection after DATA (5 bytes) from x", "postfix/smtpd[1]") + postfix.line(3, "AAA: client=y", "postfix/smtpd[1]")
    log += postfix.line(3, "AAA: message-id=<theirs@example.com>", "postfix/cleanup[2]") + postfix.line(3, "AAA: from=<x@y>, size=1, nrcpt=1 (queue active)", "postfix/qmgr[3]")

    assert judged(case(), whole(postfix, log))[0] == PENDING


def test_another_instance_of_postfix_has_queue_ids_of_its_own(postfix, judged):
    log = postfix.line(1, "AAA: client=x", "postfix/smtpd[1]") + postfix.line(1, f"AAA: message-id=<{CASE}>", "postfix/cleanup[2]")
    log += postfix.line(1, "AAA: from=<x@y>, size=1, nrcpt=1 (queue active)", "postfix-out/qmgr[3]") + postfix.line(2, "lost connection after DATA (5 bytes) from x", "postfix/smtpd[1]")

    assert judged(case(), whole(postfix, log))[0] == PENDING


# What a stranger puts into a log.

@pytest.mark.parametrize(("program", "text"), [
    ("postfix/smtpd[1]", "AAA: client=message-id=<{0}>"), ("postfix/cleanup[2]", "AAA: resent-message-id=<{0}>"),
    ("postfix/cleanup[2]", "AAA: warning: header Subject: message-id=<{0}> from x"), ("sshd[1]", "postfix/cleanup[2]: AAA: message-id=<{0}>"),
    ("postfix/smtpd[1]", "NOQUEUE: reject: RCPT from x[192.0.2.1]: 554; helo=<AAA: message-id=<{0}>>"), ("spamd[3]", "mid=<{0}>,autolearn=no")])
def test_a_mention_that_is_no_arrival_settles_nothing_either_way(postfix, judged, program, text):
    log = postfix.line(1, text.format(CASE), program) + postfix.line(1, "AAA: from=<x@y>, size=1, nrcpt=1 (queue active)", "postfix/qmgr[3]")

    assert judged(case(), whole(postfix, log)) == (UNCERTAIN, relay_log.UNREAD)


def test_a_subject_in_exims_log_settles_nothing(judged):
    exim = Writer("exim")
    log = exim.line(1, f'1xW8R4-0003xz-04 <= x@y H=(a) [192.0.2.1] P=esmtp S=7 id=theirs@example.com T="S=1 id={CASE}"')

    assert judged(case(), whole(exim, log)) == (UNCERTAIN, relay_log.UNREAD)


def test_a_mail_to_somebody_else_is_not_this_one(writer, judged):
    """Such as a test of the same mail to oneself, under the same Message-ID."""
    assert judged(case(), whole(writer, writer.took(1, CASE, "me@example.com"))) == (UNCERTAIN, relay_log.OTHERS)
    assert judged(case(), whole(writer, writer.took(1, CASE, "joann@example.com"))) == (UNCERTAIN, relay_log.OTHERS)
    assert judged(case(), whole(writer, writer.took(1, CASE, "me@example.com") + writer.took(30, CASE, "Ann@Example.com")))[0] == SENT


def test_an_address_that_the_relay_led_elsewhere_is_known_by_what_it_was(postfix, judged):
    log = postfix.took(1, CASE).replace("to=<ann@example.com>", "to=<box@store.test>, orig_to=<ann@example.com>")

    assert judged(case(), whole(postfix, log))[0] == SENT


def test_hostile_octets_are_read_over(postfix, judged):
    junk = b"\xff\x00\x1b]0;x\x07\n" + b"A" * 300_000 + b"\n" + b"Nov 99 99:99:99 relay postfix/smtpd[1]: x\n" + b"2026-13-45 08:00:00 x\n" * 3
    log = whole(postfix, postfix.took(1, CASE)).encode()

    assert judged(case(), junk + log + junk)[0] == SENT


def test_a_line_too_long_to_read_that_names_it_settles_nothing(postfix, judged):
    log = whole(postfix, postfix.line(1, "x" * 100_000 + f" <{CASE}>"))

    assert judged(case(), log) == (UNCERTAIN, relay_log.UNREAD)


def test_any_part_that_goes_missing_with_one_of_our_mails_in_it_makes_nobody_pending_wrongly(writer, judged):
    """Every piece of a log is cut out in turn. Only a piece without any other mail of ours is one that nobody could miss."""
    ids = [message_id(number) for number in range(10, 16)]
    log = "".join(writer.took(10 * number, one) for number, one in enumerate([BEFORE, *ids[:3], CASE, *ids[3:], AFTER])) + writer.some(400)
    lines = log.splitlines(keepends=True)
    here = case(began=START + 35, ended=START + 45, before=Witness(ids[2], START + 30, START + 31), after=Witness(ids[3], START + 50, START + 51),
                around=tuple(Witness(one, START + 10, START + 60) for one in ids))
    assert judged(here, log)[0] == SENT
    cuts = 0
    for begin, end in itertools.combinations(range(len(lines) + 1), 2):
        gone = "".join(lines[begin:end])
        if CASE in gone and any(one in gone for one in ids):
            cuts += 1
            assert judged(here, "".join(lines[:begin] + lines[end:]))[0] == UNCERTAIN
    assert cuts > 50


# Files that cannot be read.

@pytest.mark.parametrize(("content", "what"), [
    pytest.param(None, "there is no such file", id="missing"), pytest.param("folder", "it is a folder", id="folder"),
    pytest.param(b"hello\nworld\n", "no log of Postfix or Exim", id="other text"), pytest.param(b"\x00\xffLPKSHHRH\n", "no log of Postfix or Exim", id="binary"),
    pytest.param(b"Nov 25 08:00:00 relay cron[1]: hello\n", "no log of Postfix or Exim", id="other program"),
    pytest.param(gzip.compress(b"x" * 50_000)[:-20], "ends too soon or is damaged", id="cut gzip"),
    pytest.param(b"\x1f\x8b\x08\x00nonsense", "ends too soon or is damaged", id="broken gzip")])
def test_a_file_that_is_no_log_is_told_with_its_name(tmp_path, monkeypatch, content, what):
    monkeypatch.chdir(tmp_path)
    if content == "folder":
        (tmp_path / "mail.log").mkdir()
    elif content is not None:
        (tmp_path / "mail.log").write_bytes(content)

    with pytest.raises(PostroomError, match=what) as told:
        relay_log.judge(["mail.log"], [case()])

    assert (str(told.value.where), told.value.exit_code) == ("mail.log", 2) and told.value.do


def test_an_empty_file_that_was_just_rotated_is_no_fault(postfix, judged):
    assert judged(case(), "", whole(postfix))[0] == PENDING


def test_memory_does_not_grow_with_the_log(postfix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    day = "".join(postfix.took(number // 10, f"{number}@elsewhere.example", f"p{number}@example.com") for number in range(200))
    peaks = []
    for days in (1, 30):
        with gzip.open("mail.log.gz", "wt") as file:
            file.write(postfix.took(-60, BEFORE))
            file.writelines(itertools.repeat(day, days))
            file.write(postfix.took(100, AFTER) + postfix.some(200))
        tracemalloc.start()
        relay_log.judge(["mail.log.gz"], [case()])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + 100_000
