"""Who must not be mailed again. A forgotten person is known by a salted hash alone: it answers "is it you?", never "who is it?"."""

import hashlib
import hmac
from collections.abc import Iterable

from postroom.address import folded, key_parts
from postroom.errors import JournalError
from postroom.journal.schema import FORGOTTEN

LEAST_SALT = 16
NAMES_A_QUERY = 500


class Suppression:
    """What the journal says against mailing somebody in this edition. Every verb raises where the journal cannot be read: then nobody is mailed."""

    def __init__(self, edition):
        self.edition, self.salt = edition, salt_of(edition.journal)

    def settled(self) -> "Suppression":
        """Itself, once an erasure that is under way has ended. Called under the run's lock, which the next erasure respects."""
        with self.edition.journal.commit():
            return self

    def among(self, addresses: Iterable[str]) -> set[str]:
        """Those of these folded addresses that must not be mailed."""
        named = {hidden(self.salt, address): address for address in addresses} if self._anybody() else {}
        names, found, journal = list(named), set(), self.edition.journal
        with journal.explained():
            for start in range(0, len(names), NAMES_A_QUERY):
                some = names[start:start + NAMES_A_QUERY]
                found.update(named[name] for name, in journal.rows.execute(
                    f"SELECT address FROM suppression WHERE list = '' AND address IN ({', '.join('?' * len(some))})", some))
        return found

    def renamed(self, keys: list[str], cells: list[str]) -> list[str | None]:
        """For each row what its key is called in the journal if it must not be mailed, None if it may be.

        keys: the rows' keys. cells: their address cells. A row is left out where its own address was forgotten, where its key holds such an
        address, and where this edition knew its key under an address that was: whoever it names now, somebody had that mail.
        """
        if not self._anybody():
            return [None] * len(keys)
        people = [{folded(cell), *(part for part in key_parts(key) if "@" in part)} for key, cell in zip(keys, cells, strict=True)]
        gone = self.among(set().union(*people))
        names = [hidden(self.salt, key) for key in keys]
        known = self.edition.states(names)
        return [name if name in known or not gone.isdisjoint(those) else None for name, those in zip(names, people, strict=True)]

    def _anybody(self):
        journal = self.edition.journal
        with journal.explained():
            return journal.rows.execute("SELECT EXISTS(SELECT 1 FROM suppression)").fetchone()[0]


def salt_of(journal) -> bytes:
    """The journal's own salt. Raises JournalError where it is gone: nobody who was forgotten could be recognised."""
    with journal.explained():
        salt = journal.rows.execute("SELECT salt FROM meta").fetchone()[0]
    if not salt or len(salt) < LEAST_SALT:
        raise JournalError("the journal has lost its salt, so whoever was forgotten cannot be told from others", journal.path,
                           "restore it from a copy; nobody is mailed meanwhile")
    return salt


def hidden(salt: bytes, text: str) -> str:
    """A folded address or a key as the journal has it once its person was forgotten (HMAC-SHA256, RFC 2104)."""
    return FORGOTTEN + hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()
