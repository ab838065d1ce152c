"""Forget a person: what the journal keeps of them afterwards is that somebody was mailed, not who."""

import re
import unicodedata
from collections import namedtuple

from postroom.address import key_parts, unicode_domain
from postroom.errors import JournalUnavailable
from postroom.journal.lock import refuse_while_anybody_runs
from postroom.journal.suppression import hidden, salt_of
from postroom.outcome import DEFERRED, LEAVING, PENDING, REMOVED, SKIPPED, SUPPRESSED, UNCERTAIN

FORGOTTEN_REASON = "forgotten"
# Words of relays and of ours, which may repeat an address.
TEXTS = (("attempt", "text"), ("address_result", "text"), ("delivery", "reason"))

Forgotten = namedtuple("Forgotten", "before deliveries editions stopped copies")
Forgotten.__doc__ = """What one forget() did.

before: whether they were forgotten already. deliveries, editions: how many name nobody any more, and in how many editions. stopped: of
these the ones that might still have been sent. copies: how often they had been named as a further recipient of somebody else's mail.
"""


def forget(journal, address: str) -> Forgotten:
    """Erase a person from every edition, and keep a salted hash so that they are not mailed again.

    address: folded. What was sent to them still counts; what was not will not be. The file is written anew, so that no page and no log
    of the database holds the address any more. Raises Locked while a run is under way, JournalUnavailable where it cannot be written.
    """
    salt, rows = salt_of(journal), journal.rows
    theirs, mention = _person(address)
    with journal.explained():
        rows.execute("PRAGMA secure_delete = ON")
        rows.create_function("is_theirs", 1, theirs)
        rows.create_function("without_them", 1, lambda text: text and mention.sub("***", text))
    with journal.commit():
        # Within the transaction: a run that begins from here on waits for its end before it asks who may be mailed.
        refuse_while_anybody_runs(journal.path)
        before = not rows.execute("INSERT OR IGNORE INTO suppression VALUES('', ?, ?, ?)", (hidden(salt, address), FORGOTTEN_REASON, journal.clock())).rowcount
        rows.execute("DELETE FROM suppression WHERE is_theirs(address)")
        keys = rows.execute("SELECT campaign, key FROM delivery WHERE is_theirs(key) OR is_theirs(address) UNION "
                            "SELECT campaign, key FROM attempt WHERE is_theirs(key) UNION SELECT campaign, key FROM account_use WHERE is_theirs(key)").fetchall()
        named = rows.execute("SELECT a.campaign, a.key FROM address_result r JOIN attempt a ON a.id = r.attempt WHERE is_theirs(r.address)")
        copies = sum(of not in keys for of in named)
        done = [_hide(rows, campaign, key, hidden(salt, key)) for campaign, key in keys]
        rows.execute("DELETE FROM address_result WHERE is_theirs(address)")
        for table, column in TEXTS:
            rows.execute(f"UPDATE {table} SET {column} = without_them({column}) WHERE {column} != without_them({column})")
    _leave_no_trace(journal)
    hit = [campaign for (campaign, _), (deliveries, _) in zip(keys, done, strict=True) if deliveries]
    return Forgotten(before, sum(deliveries for deliveries, _ in done), len(set(hit)), sum(stopped for _, stopped in done), copies)


def _hide(rows, campaign, key, name):
    """Returns (deliveries, of these the ones that were open)."""
    still_open = (PENDING, LEAVING, DEFERRED, UNCERTAIN)
    stopped = rows.execute("UPDATE delivery SET state = ?, reason = ? WHERE campaign = ? AND key = ? AND (state IN (?, ?, ?, ?) OR reason = ?)",
                           (SKIPPED, SUPPRESSED, campaign, key, *still_open, REMOVED)).rowcount
    # A Message-ID and a row's digest can be made again by whoever knows the address, and so compared.
    deliveries = rows.execute("UPDATE delivery SET key = ?, row_digest = '', message_id = NULL, address = NULL, line = NULL, date = NULL, utc_offset = NULL, "
                              "due_at = NULL WHERE campaign = ? AND key = ?", (name, campaign, key)).rowcount
    rows.execute("UPDATE attempt SET key = ?, text = NULL WHERE campaign = ? AND key = ?", (name, campaign, key))
    rows.execute("UPDATE account_use SET key = ? WHERE campaign = ? AND key = ?", (name, campaign, key))
    return deliveries, stopped


def _person(address):
    """(whether a key or an address is theirs, a pattern for the address in a text) of a folded address."""
    local, _, domain = address.rpartition("@")
    spellings = "|".join(re.escape(f"{local}@{one}") for one in dict.fromkeys((domain, unicode_domain(domain))))

    def theirs(text):
        return text is not None and any(unicodedata.normalize("NFC", part.lower()) == address for part in key_parts(text))

    # Not as the end of a longer local part, nor the beginning of a longer domain: that is somebody else.
    return theirs, re.compile(rf"(?<![\w.+=-])(?:{spellings})(?![\w-]|\.\w)", re.IGNORECASE)


def _leave_no_trace(journal):
    """Write the file anew and empty its log: rows that were deleted or changed earlier stay in unused parts of its pages."""
    with journal.explained():
        journal.rows.execute("VACUUM")
        busy = journal.rows.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise JournalUnavailable("the address is erased, but another program reads the journal, so its log may still hold it", journal.path,
                                 "run this again once that has ended")

