"""The journal's turns, written while the line goes on: a commit waits for the disk, and the relay need not wait with it."""

import os
import select
import threading
from queue import SimpleQueue

from postroom.message import Message
from postroom.outcome import Fate


class Turns:
    """One turn at a time. A context manager; ends with the turn that is under way.

    journal: has turn(answered, leaving), as the loop wants it. While a turn is under way nobody else may use the journal.
    under_way: what it was begun with, or None. unwritten: what was answered and could not be written down. done: a descriptor that is readable
    once the turn is written.
    """

    def __init__(self, journal):
        self._journal, self._asked, self._told, self._thread = journal, SimpleQueue(), SimpleQueue(), None
        self.done, self._done = os.pipe()
        self.under_way: tuple[list[Fate], list[Message]] | None = None
        self.unwritten: list[Fate] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
        os.close(self.done)
        os.close(self._done)

    @property
    def is_done(self) -> bool:
        """Whether end() need not wait."""
        poll = select.poll()
        poll.register(self.done, select.POLLIN)
        return bool(poll.poll(0))

    def begin(self, answered: list[Fate], leaving: list[Message], beside: bool) -> None:
        """Have a turn written. beside: in a thread, while we do something else; False: now."""
        self.under_way = answered, leaving
        if not beside:
            return self._write()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, daemon=True)
            self._thread.start()
        self._asked.put(True)
        return None

    def end(self):
        """What the turn that is under way returned, or raise what it raised; waits for it."""
        os.read(self.done, 1)
        (answered, _), self.under_way = self.under_way, None
        raised, result = self._told.get()
        if raised:
            self.unwritten = answered
            raise result
        return result

    def _serve(self):
        while self._asked.get():
            self._write()

    def _write(self):
        try:
            self._told.put((False, self._journal.turn(*self.under_way)))
        except BaseException as error:  # noqa: BLE001 - it is raised where the turn is ended
            self._told.put((True, error))
        os.write(self._done, b".")
