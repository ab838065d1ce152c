"""The command line in a process of its own, with the processor time and the memory that it took.

One process imports everything once and forks for each command, so that what is measured is the command and not the imports.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SERVER = """
import json, os, resource, sys, time
import jinja2, pydantic, yaml, email_validator, turbohtml
import postroom.cli.check, postroom.run
from postroom.cli.main import main
for line in sys.stdin:
    folder, words = json.loads(line)
    before, child = time.monotonic(), os.fork()
    if not child:
        os.chdir(folder)
        for number, name in ((0, os.devnull), (1, ".out"), (2, ".err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        # Should a defence be missing, the machine goes on.
        resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        sys.exit(main(words))
    _, status, used = os.wait4(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, time.monotonic() - before, used.ru_maxrss]), flush=True)
"""


@dataclass
class Took:
    """exit: its code, or minus the signal that ended it. seconds: of processor time. wall_seconds: of the clock. peak_mb: resident memory."""

    exit: int
    seconds: float
    wall_seconds: float
    peak_mb: float
    out: str
    err: str

    def assert_bounded(self):
        """The bounds of every hostile input: 10 seconds, 512 MB, and no traceback."""
        assert "Traceback" not in self.err and "fault of its own" not in self.err, self.err[-3000:]
        assert (self.seconds <= 10, self.peak_mb <= 512) == (True, True), self


class Measured:
    """A context manager; took(folder, words) runs one command."""

    def __enter__(self):
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def took(self, folder: Path, *words: str) -> Took:
        self.server.stdin.write(json.dumps([os.fspath(folder), words]) + "\n")
        self.server.stdin.flush()
        code, seconds, wall, peak = json.loads(self.server.stdout.readline())
        peak_mb = peak / (1 << 20 if sys.platform == "darwin" else 1024)
        return Took(code, seconds, wall, peak_mb, *(Path(folder, name).read_text("utf-8", "replace") for name in (".out", ".err")))
