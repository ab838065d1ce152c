"""One run of a campaign at a time: a lock that dies with its process.

Made with flock, which Linux, macOS and the BSDs have; Windows would want msvcrt.locking here.
"""

import fcntl
import glob
import os
import time

from postroom.errors import JournalUnavailable, Locked

# `status` holds the lock for a moment to see whether anybody else does.
PATIENCE_SECONDS = 0.5
PAUSE_SECONDS = 0.05


class RunLock:
    """Entered for the length of a run. Raises Locked with the other run's process and host."""

    def __init__(self, journal_path: str, name: str, edition: str):
        self.path, self.label = _path(journal_path, name, edition), " ".join(filter(None, (name, edition)))

    def __enter__(self):
        try:
            private_folder(os.path.dirname(self.path))
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalUnavailable(f"no lock can be kept beside the journal: {(error.strerror or str(error)).lower()}", self.path,
                                     "make the folder writable, or choose another with --journal") from None
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not _taken(self._file, fcntl.LOCK_EX):
            if time.monotonic() > give_up:
                holder = _holder(self._file)
                os.close(self._file)
                raise Locked(f"another run of {self.label} is under way ({holder})", None, "wait for it, or stop it with Ctrl-C there")
            time.sleep(PAUSE_SECONDS)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        return self

    def __exit__(self, *_):
        # The file stays: removing it would let a third run lock a new file while a second waits for this one.
        os.close(self._file)


def private_folder(path: str) -> None:
    """Make a folder and those above it that are missing, for their owner alone: names and addresses will be in it."""
    before = os.umask(0o077)
    try:
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(before)


def is_running(journal_path: str, name: str, edition: str) -> bool:
    """Whether a run of this campaign holds its lock now."""
    # First whether any with this name is held: nearly always none is, and nothing need be hashed.
    held = [path for path in _locks(journal_path, name) if _is_held(path)]
    return bool(held) and _path(journal_path, name, edition) in held


def refuse_while_anybody_runs(journal_path: str) -> None:
    """Raises Locked if a run of any campaign with this journal is under way, also one that has written nothing yet."""
    for path in _locks(journal_path):
        file = os.open(path, os.O_RDONLY)
        try:
            if not _taken(file, fcntl.LOCK_SH):
                raise Locked(f"a run is under way ({_holder(file)})", journal_path, "wait for it, or stop it with Ctrl-C there")
        finally:
            os.close(file)


def _holder(file):
    return os.pread(file, 200, 0).decode("utf-8", "replace").strip() or "another process"


def _taken(file, kind):
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locks(journal_path, name=None):
    begin = journal_path + "." + (f"{name}-" if name else "")
    return glob.glob(glob.escape(begin) + "*.lock")


def _is_held(path):
    file = os.open(path, os.O_RDONLY)
    try:
        return not _taken(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _path(journal_path, name, edition):
    import hashlib

    mark = hashlib.sha256(f"{name}\0{edition}".encode()).hexdigest()[:12]
    return f"{journal_path}.{name}-{mark}.lock"
