"""What the mails are sent to, each an instance of its own on loopback: smtp-sink, a Postfix that discards, and that Postfix far away.

Each is entered, then has `port`; settle() waits until nothing is under way in it and gives how many mails it ever took. Nothing of the
system's own mail service is touched.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import peers  # noqa: E402 - the tests' servers are used here too
from relay import free_port  # noqa: E402

from delay import Delay  # noqa: E402

SETTLE_SECONDS = 300


class Sink:
    """smtp-sink: takes everything, keeps nothing, says how much it took. `pid`: its process."""

    def __enter__(self):
        self._counters = tempfile.TemporaryFile()
        self.port = free_port()
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(["smtp-sink", "-c", *as_nobody, f"127.0.0.1:{self.port}", "64"], stdout=self._counters, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
        peers.greeted(self.port)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        self._counters.close()

    def settle(self) -> int:
        size = os.fstat(self._counters.fileno()).st_size
        counted = re.findall(rb"mesg=(\d+)", os.pread(self._counters.fileno(), 200, max(0, size - 200)))
        return int(counted[-1]) if counted else 0


class Postfix(peers.Postfix):
    """Postfix takes a mail as it takes any, onto its disk, and then discards it. in_flow_delay would slow down a sender faster than the discarding."""

    def __init__(self, chunking: bool = True):
        self._chunking, self._read, self._discarded = chunking, 0, 0

    def _settings(self):
        return super()._settings() + "virtual_transport = discard:\nin_flow_delay = 0\n" + ("" if self._chunking else "smtpd_discard_ehlo_keywords = chunking\n")

    def settle(self) -> int:
        until = time.monotonic() + SETTLE_SECONDS
        while any(files for queue in ("maildrop", "incoming", "active", "deferred") for _, _, files in os.walk(self.root / "queue" / queue)):
            if time.monotonic() > until:
                raise TimeoutError("Postfix is still at it")
            time.sleep(0.05)
        with open(self.root / "mail.log", "rb") as log:
            while True:
                time.sleep(0.1)  # the log is written by a process of its own, which may be behind
                log.seek(self._read)
                octets = log.read()
                if not octets:
                    return self._discarded
                self._read += len(octets)
                self._discarded += octets.count(b" status=sent (")


class Far:
    """A server behind a delay of so many milliseconds a round trip."""

    def __init__(self, server, milliseconds: int):
        self._server, self._milliseconds = server, milliseconds

    def __enter__(self):
        self._server.__enter__()
        try:
            self._delay = Delay(self._server.port, self._milliseconds).__enter__()
        except BaseException:
            self._server.__exit__(*sys.exc_info())
            raise
        self.port = self._delay.port
        return self

    def __exit__(self, *details):
        try:
            self._delay.__exit__(*details)
        finally:
            self._server.__exit__(*details)

    def settle(self) -> int:
        return self._server.settle()
