"""Ctrl-C, SIGTERM and SIGHUP while mail leaves: the first lets the message in flight finish, the second does not wait."""

import os
import select
import signal
import threading
import time
from contextlib import contextmanager

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """`signal`: the first that came, or None. `wake`: a descriptor that is readable when one came.

    Nothing is raised while signals are held, so no turn of the journal is cut in two.
    """

    def __init__(self):
        self.signal = None
        self.wake, self._waker = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._waker, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.wake)
        os.close(self._waker)

    @contextmanager
    def held(self):
        """Signals are noted here instead of ending the process. In another thread than the main one none arrives, so none is held."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        # What was ignored before (SIGHUP under nohup) stays ignored.
        before = {number: signal.signal(number, self._came) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _came(self, number, frame):
        self.signal = self.signal or number
        os.write(self._waker, b"!")

    def came(self) -> bool:
        """Whether a signal came since this was last asked; `wake` is quiet again until the next."""
        try:
            return bool(os.read(self.wake, 1024))
        except BlockingIOError:
            return False

    def pause(self, seconds: float) -> bool:
        """Sleep, less when a signal comes. Returns whether one came."""
        until = time.monotonic() + seconds
        while self.signal is None and (left := until - time.monotonic()) > 0:
            select.select([self.wake], [], [], left)
        return self.signal is not None
