"""What is uncertain and what the journal knows around it, and the verdicts that settle it by evidence.

Times are UTC seconds since the epoch by our clock.
"""

from collections import namedtuple
from contextlib import contextmanager

from postroom.errors import JournalError
from postroom.outcome import MAY_FOLLOW, PENDING, SENT, UNCERTAIN

RECONCILED = "reconcile"  # the phase of an attempt that was none: a verdict by evidence
MOST_TEXT = 500
# After kill -9 the kernel still delivers what it holds, so what was on the way may be taken for so long.
SETTLED_SECONDS = 120
AROUND_SECONDS, MOST_AROUND = 600, 100

Witness = namedtuple("Witness", "message_id began ended")
Witness.__doc__ = "A mail that the relay certainly took, by its own reply: between `began` and `ended`."

Uncertain = namedtuple("Uncertain", "key message_id relay address line began ended before after around")
Uncertain.__doc__ = """One uncertain delivery. It may have left between `began` and `ended` and at no other time, and was taken within
SETTLED_SECONDS from then or never; None where the journal cannot say.

relay: host:port that it went to; None where it went by several accounts in turn. address, line: the row's own, or None.
before, after: the nearest Witness of the same relay that was done before it began, or that began after it ended, or None.
around: the nearest Witnesses at about the same time, at most MOST_AROUND.
"""

Verdict = namedtuple("Verdict", "uncertain state text")
Verdict.__doc__ = "What the evidence says of one Uncertain: SENT, PENDING (it was not taken) or UNCERTAIN; text: by what, or why not."


def uncertain(edition) -> list[Uncertain]:
    """Every uncertain delivery of this edition, in the order of the table."""
    with edition.journal.commit() as rows:
        # A repeat keeps the Date of the first mail that may have arrived. What an earlier verdict found not to be taken is over.
        found = rows.execute("SELECT d.key, d.message_id, d.relay, d.address, d.line, max(d.date, "
                             "ifnull((SELECT max(at) FROM attempt a WHERE a.campaign = d.campaign AND a.key = d.key AND a.variant = d.variant "
                             "AND a.phase = ? AND a.state = ?), 0)), max(a.at), max(a.id) "
                             "FROM delivery d LEFT JOIN attempt a ON a.campaign = d.campaign AND a.key = d.key AND a.variant = d.variant "
                             "WHERE d.campaign = ? AND d.state = ? GROUP BY d.key, d.variant ORDER BY d.line, d.key",
                             (RECONCILED, PENDING, edition.id, UNCERTAIN)).fetchall()
        moved = {key for key, in rows.execute("SELECT key FROM account_use WHERE campaign = ? GROUP BY key HAVING count(DISTINCT account) > 1",
                                              (edition.id,))}
        witnesses, cases = {}, []
        for relay in {row[2] for row in found}:
            with _witnesses_of(rows, relay):
                cases += [Uncertain(row[0], row[1], None if row[0] in moved else relay, *row[3:7], *_around(rows, *row[5:], witnesses))
                          for row in found if row[2] == relay]
    order = {row[0]: number for number, row in enumerate(found)}
    return sorted(cases, key=lambda case: order[case.key])


def settle(edition, verdicts: list[Verdict]) -> None:
    """Write down what is no longer uncertain, all of it in one durable commit.

    One found not to be taken becomes pending, so that the next run sends it. That it may have arrived stays noted: evidence of absence
    is never as good as a reply, and the same Message-ID, Date and octets let whoever has it recognise the repeat. It costs a stale Date.
    """
    now = edition.journal.clock()
    with edition.journal.commit() as rows:
        for case, state, text in verdicts:
            if state == UNCERTAIN:
                continue
            if state not in MAY_FOLLOW[UNCERTAIN]:
                raise JournalError(f'"{state}" cannot become of what is uncertain', edition.journal.path, "report this as a fault")
            changed = rows.execute("UPDATE delivery SET state = ?, reason = NULL, due_at = NULL WHERE campaign = ? AND key = ? AND variant = '' "
                                   "AND state = ? AND message_id IS ?", (state, edition.id, case.key, UNCERTAIN, case.message_id))
            if changed.rowcount != 1:
                raise JournalError("a delivery is no longer uncertain", edition.journal.path, "run it again")
            rows.execute("INSERT INTO attempt(campaign, key, number, at, state, phase, text) SELECT campaign, key, attempts, ?, ?, ?, ? FROM delivery "
                         "WHERE campaign = ? AND key = ? AND variant = ''", (now, state, RECONCILED, text[:MOST_TEXT], edition.id, case.key))


@contextmanager
def _witnesses_of(rows, relay):
    """A temporary table of what this relay took, of all campaigns. What was settled by evidence bears no witness, nor what went twice."""
    rows.execute("CREATE TEMP TABLE witness AS SELECT d.message_id, d.date AS began, max(a.at) AS ended, max(a.id) AS number FROM delivery d "
                 "JOIN attempt a ON a.campaign = d.campaign AND a.key = d.key AND a.variant = d.variant "
                 "WHERE d.relay = ? AND d.state = ? AND NOT d.may_have_arrived AND d.message_id IS NOT NULL AND d.date IS NOT NULL "
                 "AND a.state = ? AND a.phase IS NOT ? GROUP BY d.campaign, d.key, d.variant", (relay, SENT, SENT, RECONCILED))
    rows.execute("CREATE INDEX temp.witness_ended ON witness(ended)")
    rows.execute("CREATE INDEX temp.witness_began ON witness(began)")
    try:
        yield
    finally:
        rows.execute("DROP TABLE temp.witness")


def _around(rows, began, ended, number, known):
    """The Witnesses before, after and around these times. known: keeps one of each, since neighbours share them.

    number: of the last attempt; attempts are in order whatever the clock said.
    """
    if began is None or ended is None:
        return None, None, ()

    def found(words, *values):
        some = [Witness(*row) for row in rows.execute(f"SELECT message_id, began, ended FROM temp.witness WHERE {words}", values)]
        return [known.setdefault(one, one) for one in some]

    before = found("ended <= ? AND number < ? ORDER BY ended DESC LIMIT 1", began, number)
    after = found("began >= ? AND number > ? ORDER BY began LIMIT 1", ended, number)
    until = ended + SETTLED_SECONDS
    # What began by then has ended soon after: nobody waits longer for a reply. The second bound lets an index answer.
    around = found("ended BETWEEN ? AND ? AND began <= ? ORDER BY abs(ended - ?) LIMIT ?",
                   began - AROUND_SECONDS, until + AROUND_SECONDS, until, began, MOST_AROUND)
    return before[0] if before else None, after[0] if after else None, tuple(around)
