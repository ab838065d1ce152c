"""What became of each recipient, as the journal has it: for whoever asks after a run, or during one."""

from collections import namedtuple
from collections.abc import Iterator

from postroom.outcome import LEAVING, PENDING, UNCERTAIN

KEYS_A_QUERY = 500

Outcome = namedtuple("Outcome", "key state reason address line message_id may_have_arrived due_at attempt phase code enhanced text at")
Outcome.__doc__ = """One recipient of an edition and the last try to reach them.

state: as people are told it: one that is leaving counts as pending while a run is under way, else as uncertain.
address, line: the row's own address and its line in the table when the last mail left; None before. message_id: without angle brackets.
attempt: the last try's number in the journal; phase, code, enhanced, text: the reply that decided it; None where there was no try.
at, due_at: UTC seconds. at: when the reply came; of an uncertain one when it left, as nothing came.
"""
RefusedCopy = namedtuple("RefusedCopy", "address code enhanced text")
RefusedCopy.__doc__ = "A further address of a message (To, Cc, Bcc) that the relay refused while the message went to others."

# An attempt's time is when its outcome was known, for a run that died when the next one began: what left says when it left.
SELECT = """
WITH wanted AS (SELECT * FROM delivery WHERE campaign = :campaign AND {which}),
     left_at AS (SELECT key, max(at) AS at FROM account_use WHERE campaign = :campaign
                 AND key IN (SELECT key FROM wanted WHERE state IN ('uncertain', 'leaving')) GROUP BY key)
SELECT d.key, d.state, d.reason, d.address, d.line, d.message_id, d.may_have_arrived, d.due_at,
       a.id, a.phase, a.code, a.enhanced, a.text, coalesce(left_at.at, a.at, d.date)
FROM wanted d LEFT JOIN left_at USING (key)
LEFT JOIN attempt a ON a.id = (SELECT max(id) FROM attempt WHERE campaign = d.campaign AND key = d.key AND variant = d.variant)
"""


def outcomes_of(edition, keys: list[str], running: bool) -> dict[str, Outcome]:
    """What is known of these recipients, by key; the unknown are left out. running: whether a run is under way."""
    found = {}
    for start in range(0, len(keys), KEYS_A_QUERY):
        some = {f"k{number}": key for number, key in enumerate(keys[start:start + KEYS_A_QUERY])}
        which = f"key IN ({', '.join(f':{name}' for name in some)})"
        found |= {outcome.key: outcome for outcome in _outcomes(edition, which, "", running, some)}
    return found


def all_outcomes(edition, running: bool, state: str | None = None) -> Iterator[Outcome]:
    """Every recipient that the journal knows of this edition, or those in one state, by line of the table as far as known."""
    states = [state]
    if state == (PENDING if running else UNCERTAIN):
        states.append(LEAVING)
    which = "true" if state is None else f"state IN ({', '.join(map(repr, states))})"
    return _outcomes(edition, which, " ORDER BY d.line, d.key" if state else "", running, {})


def refused_copies(edition, attempts: list[int]) -> dict[int, list[RefusedCopy]]:
    """Who else was refused in these tries, by try: the further addresses of a message, not the row's own."""
    found, journal = {}, edition.journal
    with journal.explained():
        for start in range(0, len(attempts), KEYS_A_QUERY):
            some = attempts[start:start + KEYS_A_QUERY]
            for attempt, *said in journal.rows.execute(
                    "SELECT r.attempt, r.address, r.code, r.enhanced, r.text FROM address_result r JOIN attempt a ON a.id = r.attempt "
                    "JOIN delivery d ON d.campaign = a.campaign AND d.key = a.key AND d.variant = a.variant "
                    f"WHERE NOT r.accepted AND lower(r.address) != lower(coalesce(d.address, d.key)) AND r.attempt IN ({', '.join('?' * len(some))})", some):
                found.setdefault(attempt, []).append(RefusedCopy(*said))
    return found


def copies_went_out(edition, attempts: list[int]) -> set[int]:
    """Those of these tries in which the row's own address was refused, but the message went to its further addresses."""
    found, journal = set(), edition.journal
    with journal.explained():
        for start in range(0, len(attempts), KEYS_A_QUERY):
            some = attempts[start:start + KEYS_A_QUERY]
            # Had the message itself been refused, that would have decided, and not the reply to RCPT.
            found.update(attempt for attempt, in journal.rows.execute(
                "SELECT DISTINCT a.id FROM attempt a JOIN address_result r ON r.attempt = a.id "
                f"WHERE a.state = 'rejected' AND a.phase = 'rcpt' AND r.accepted AND a.id IN ({', '.join('?' * len(some))})", some))
    return found


def _outcomes(edition, which, order, running, values):
    leaving = PENDING if running else UNCERTAIN
    with edition.journal.explained():
        for row in edition.journal.rows.execute(SELECT.format(which=which) + order, {"campaign": edition.id, **values}):
            yield Outcome(row[0], leaving if row[1] == LEAVING else row[1], *row[2:])
