"""Ctrl-C, SIGTERM and SIGHUP: the first lets the message in flight finish, the second stops at once."""

import os
import select
import signal
import time

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """While it is entered, a first signal sets `signal` and makes `wake` readable; a second raises KeyboardInterrupt."""

    def __init__(self):
        self.signal = None
        self.wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def __enter__(self):
        self._before = {number: signal.signal(number, self._came) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.wake)
        os.close(self._waker)

    def _came(self, number, frame):
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        os.write(self._waker, b"!")

    def pause(self, seconds: float) -> bool:
        """Sleep, less when a signal comes. Returns whether one came."""
        until = time.monotonic() + seconds
        while self.signal is None and (left := until - time.monotonic()) > 0:
            select.select([self.wake], [], [], left)
        return self.signal is not None
