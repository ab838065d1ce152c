"""The journal's side of evidence: what was uncertain when, what bears witness around it, and what a verdict writes down."""

from dataclasses import dataclass

import pytest

from postroom.errors import JournalError
from postroom.journal.settle import SETTLED_SECONDS, Uncertain, Verdict, Witness, settle, uncertain
from postroom.journal.sqlite import Journal
from postroom.message import Envelope, Message
from postroom.outcome import DEFERRED, PENDING, REJECTED, SENT, SESSION, UNCERTAIN, Fate

NOON = 1_795_000_000


@dataclass
class Clock:
    now: float = NOON

    def __call__(self):
        return self.now


class Run:
    """An edition whose mails leave and come to an end at times that a test sets, as seconds from noon."""

    def __init__(self, path, clock, name="digest"):
        self.clock, self.journal = clock, Journal.open(str(path), create=True, clock=clock)
        self.edition = self.journal.edition(name, "")
        self.edition.begin_run("relay.test:25", "account", NOON)

    def enrol(self, *names):
        self.edition.enrol([(f"{name}@example.com", "digest") for name in names], duplicates=0, file="campaign.yaml", content={})

    def mail(self, name, left, ended, state, relay="relay.test:25"):
        message = Message(f"{name}@example.com", 2, Envelope("news@example.com", (f"{name}@example.com",), f"{name}@example.com"), b"", f"{name}@id", NOON + left, "digest")
        self.edition.relay = relay
        self.clock.now = NOON + left
        self.edition.turn([], [message])
        self.clock.now = NOON + ended
        self.edition.turn([Fate(message, state, "reason", SESSION, "end of data", text="words", wait=300)], [])

    def attempts(self, name):
        return self.journal.rows.execute("SELECT state, phase, text, number FROM attempt WHERE key = ? ORDER BY id", (f"{name}@example.com",)).fetchall()

    def delivery(self, name, columns="state, may_have_arrived, date"):
        return self.journal.rows.execute(f"SELECT {columns} FROM delivery WHERE key = ?", (f"{name}@example.com",)).fetchone()


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "journal.sqlite3", Clock())
    run.enrol("ann", "bob", "cid", "dan", "eve", "fay")
    yield run
    run.journal.close()


def test_an_uncertain_mail_has_the_times_between_which_it_left_and_the_nearest_witnesses(run):
    run.mail("ann", 0, 1, SENT)
    run.mail("bob", 10, 11, SENT)
    run.mail("cid", 20, 30, UNCERTAIN)
    run.mail("dan", 40, 41, SENT)
    run.mail("eve", 50, 51, SENT)

    assert uncertain(run.edition) == [
        Uncertain("cid@example.com", "cid@id", "relay.test:25", "cid@example.com", 2, NOON + 20, NOON + 30, Witness("bob@id", NOON + 10, NOON + 11),
                  Witness("dan@id", NOON + 40, NOON + 41), tuple(Witness(f"{name}@id", NOON + at, NOON + at + 1) for name, at in (("bob", 10), ("ann", 0), ("dan", 40), ("eve", 50))))]


def test_only_what_the_same_relay_took_for_sure_bears_witness(run):
    """Not what another relay took, was refused, put off, uncertain, sent twice, or was itself settled by evidence; but any campaign's."""
    other = Run(run.journal.path, run.clock, "invoices")
    other.enrol("gus")
    other.mail("gus", 0, 1, SENT)
    run.mail("ann", 2, 3, SENT, relay="other.test:25")
    run.mail("bob", 4, 5, UNCERTAIN)
    run.mail("bob", 4, 7, SENT)
    run.mail("dan", 8, 9, REJECTED)
    run.mail("eve", 8, 9, DEFERRED)
    run.mail("fay", 8, 9, UNCERTAIN)
    settle(run.edition, [Verdict(case, SENT, "found") for case in uncertain(run.edition)])
    run.mail("cid", 20, 30, UNCERTAIN)

    [case] = uncertain(run.edition)

    assert (case.before, case.after, case.around) == (Witness("gus@id", NOON, NOON + 1), None, (Witness("gus@id", NOON, NOON + 1),))
    other.journal.close()


def test_a_mail_that_was_under_way_at_the_same_time_is_neither_before_nor_after(run):
    run.mail("ann", 19, 25, SENT)
    run.mail("bob", 20, 30, UNCERTAIN)
    run.mail("cid", 29, 31, SENT)
    run.mail("dan", 30 + SETTLED_SECONDS, 31 + SETTLED_SECONDS, SENT)
    run.mail("eve", 31 + SETTLED_SECONDS, 32 + SETTLED_SECONDS, SENT)

    [case] = uncertain(run.edition)

    assert (case.before, case.after.message_id) == (None, "dan@id")
    assert [one.message_id for one in case.around] == ["ann@id", "cid@id", "dan@id"]


def test_a_repeat_may_have_left_since_the_first_mail_and_until_the_last(run):
    run.mail("ann", 0, 5, UNCERTAIN)
    run.mail("ann", 0, 500, UNCERTAIN)  # a repeat has the Date of the first

    [case] = uncertain(run.edition)

    assert (case.began, case.ended) == (NOON, NOON + 500)


def test_what_went_by_several_accounts_in_turn_has_no_relay(run):
    """One log would tell of one of them."""
    run.mail("ann", 0, 5, UNCERTAIN)
    run.edition.account = "another account"
    run.mail("ann", 0, 15, UNCERTAIN)

    assert [case.relay for case in uncertain(run.edition)] == [None]


def test_a_clock_that_was_wrong_for_a_while_makes_no_witness(run):
    """Attempts are in order whatever the clock said: what was written before it is not after it."""
    run.mail("ann", 100, 101, SENT)
    run.mail("bob", 20, 30, UNCERTAIN)
    run.mail("cid", 5, 6, SENT)

    [case] = uncertain(run.edition)

    assert (case.before, case.after) == (None, None)


def test_what_was_leaving_when_a_run_died_may_have_left_until_it_was_found(run):
    message = Message("ann@example.com", 2, Envelope("news@example.com", ("ann@example.com",), "ann@example.com"), b"", "ann@id", NOON, "digest")
    run.edition.turn([], [message])
    run.clock.now = NOON + 900
    run.edition.recover()

    [case] = uncertain(run.edition)

    assert (case.began, case.ended) == (NOON, NOON + 900)


def test_an_earlier_verdict_that_it_was_not_taken_is_not_asked_again(run):
    run.mail("ann", 0, 5, UNCERTAIN)
    run.clock.now = NOON + 400
    settle(run.edition, [Verdict(case, PENDING, "not there") for case in uncertain(run.edition)])
    run.mail("ann", 0, 600, UNCERTAIN)

    [case] = uncertain(run.edition)

    assert (case.began, case.ended) == (NOON + 400, NOON + 600)


def test_a_verdict_is_written_down_with_its_evidence(run):
    for name in ("ann", "bob", "cid"):
        run.mail(name, 0, 5, UNCERTAIN)
    states = {"ann@id": (SENT, "queue ID 4711"), "bob@id": (PENDING, "not there"), "cid@id": (UNCERTAIN, "the log is cut")}

    settle(run.edition, [Verdict(case, *states[case.message_id]) for case in uncertain(run.edition)])

    assert run.attempts("ann")[-1] == (SENT, "reconcile", "queue ID 4711", 1)
    assert run.attempts("bob")[-1] == (PENDING, "reconcile", "not there", 1)
    assert run.attempts("cid") == [(UNCERTAIN, "end of data", "words", 1)]
    # The next mail to bob is the same again, in case the evidence was wrong after all: same Message-ID, Date and octets.
    assert [run.delivery(name) for name in ("ann", "bob", "cid")] == [(SENT, 1, NOON), (PENDING, 1, NOON), (UNCERTAIN, 1, NOON)]


def test_verdicts_are_written_all_or_none(run):
    run.mail("ann", 0, 5, UNCERTAIN)
    run.mail("bob", 0, 5, UNCERTAIN)
    cases = uncertain(run.edition)
    settle(run.edition, [Verdict(cases[1], SENT, "found")])

    with pytest.raises(JournalError):
        settle(run.edition, [Verdict(case, PENDING, "not there") for case in cases])

    assert (run.delivery("ann")[0], run.delivery("bob")[0]) == (UNCERTAIN, SENT)


def test_a_verdict_that_may_not_follow_is_refused(run):
    run.mail("ann", 0, 5, UNCERTAIN)

    with pytest.raises(JournalError, match="rejected"):
        settle(run.edition, [Verdict(case, REJECTED, "no") for case in uncertain(run.edition)])
