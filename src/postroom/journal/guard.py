"""The journal's files are still those that were opened, and no older than what was last written to them.

SQLite goes on writing to a file that somebody deleted, and takes an older copy, or one whose -wal was lost, for the truth.
Both would mail people again: sqlite.org/howtocorrupt.html, sections 1 and 4, names both ways.
"""

import os
import zlib
from contextlib import suppress

from postroom.errors import JournalError

MARK = ".commits"  # beside the journal: which one it is and how many commits there were, as of the last
MOST_MARK = 200


class Guard:
    """Made once the journal stands open. salt: the journal's own octets, which no other has."""

    def __init__(self, path: str, salt: bytes):
        self.path, self._salt, self._file = path, salt, None
        self._opened = [(name, _identity(name)) for name in (path, path + "-wal")]

    def check(self) -> None:
        """Before anything is written. Raises JournalError where the journal, or its -wal, is no longer the file that is open."""
        for name, identity in self._opened:
            if _identity(name) != identity:
                raise JournalError("the journal was deleted or replaced while this run wrote to it", name,
                                   "put it back before you run again: without it nobody knows who had the mail already")

    def note(self, commits: int) -> None:
        """Behind a commit. Where it cannot be noted, an older count stands there, which is no reason to stop."""
        with suppress(OSError):
            if self._file is None:
                self._file = os.open(self.path + MARK, os.O_WRONLY | os.O_CREAT, 0o600)
            os.pwrite(self._file, _mark(self._salt, commits), 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def noted(path: str) -> bytes | None:
    """The mark beside the journal; None where there is none. Read it before the journal: another run may commit between the two."""
    with suppress(OSError), open(path + MARK, "rb") as file:
        return file.read(MOST_MARK)
    return None


def check_age(path: str, mark: bytes | None, salt: bytes, commits: int) -> None:
    """Raises JournalError where the mark says that this journal knew more than it does, or that another one was here.

    salt, commits: the journal's; b"" and 0 where nothing is in it.
    What is no whole mark says nothing: it is not synced, so a power cut may leave anything in it.
    """
    words = (mark or b"").split()
    if len(words) != 3 or not words[1].isdigit() or _mark(words[0], int(words[1]), hexed=True) != mark:
        return
    begin_anew = f"if this one is to count, remove {os.path.basename(path)}{MARK}: whom it does not know is mailed again"
    if not salt:
        raise JournalError(f"the journal is empty: of {int(words[1]):,} commits nothing is left", path, f"put back the one that was here, or its -wal; {begin_anew}")
    if words[0] != salt.hex().encode():
        raise JournalError("this is another journal than the one that was here before", path, f"put that one back; {begin_anew}")
    if int(words[1]) > commits:
        raise JournalError(f"the journal is older than the last run left it: {int(words[1]) - commits:,} of its commits are missing", path,
                           f"put back the newer one, or the {os.path.basename(path)}-wal that belongs to it; {begin_anew}")


def forget(path: str) -> None:
    """A new journal begins here: what was noted of an earlier one is over."""
    with suppress(FileNotFoundError):
        os.remove(path + MARK)


def _mark(salt, commits, hexed=False):
    # Of one length, so that no mark leaves a rest of another behind it.
    text = b"%s %020d" % (salt if hexed else salt.hex().encode(), commits)
    return b"%s %08x\n" % (text, zlib.crc32(text))


def _identity(name):
    try:
        state = os.stat(name)
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino
