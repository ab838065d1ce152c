"""Run the parts under test: the command line in a process of its own, a campaign down to its messages."""

import contextlib
import datetime
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass

import pytest

from postroom.compose.build import Composer
from postroom.read.campaign import load
from postroom.read.recipients import Table


# postroom behaves otherwise on a build machine; the tests are about a person's, wherever they run.
IN_CI = bool(os.environ.pop("CI", ""))
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # So it is behind a shell's &, and whoever is started here would inherit it: a Ctrl-C must mean something.
    signal.signal(signal.SIGINT, signal.default_int_handler)


WITH_WORKERS = os.path.join(os.path.dirname(__file__), "with_workers.py")


@dataclass
class Said:
    """What one run of the command line said. json: its document on stdout, where it was asked for one."""

    exit: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def postroom(*words, cwd=None, environment=None, seconds=60) -> Said:
    """Run the command line as a person would, in a process of its own, without a terminal."""
    done = subprocess.run([sys.executable, "-m", "postroom", *map(str, words)], capture_output=True, text=True, encoding="utf-8", cwd=cwd,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}, timeout=seconds)
    assert "Traceback" not in done.stderr and "fault of its own" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def composed(folder, now=datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC)):
    """The Composer of the folder's campaign, and a Rendered for each of its rows."""
    campaign = load(str(folder.path / "campaign.yaml"), secrets=False)
    composer = Composer(campaign, Table(campaign), now)
    rows = [(line, row) for chunk in composer.table.chunks(pytest.fail) for line, row in chunk]
    return composer, [composer.render(row, line, row[campaign.recipients.email].lower()) for line, row in rows]


def messages_of(folder, date=1_795_000_000):
    """Every Message of the folder's campaign."""
    composer, rendered = composed(folder)
    return [composer.message(one, date) for one in rendered]


def missing(what: str) -> None:
    if IN_CI:
        pytest.fail(f"not installed: {what}")
    pytest.skip(f"not installed: {what}")


def quick(monkeypatch, *words) -> Said:
    """The command line in this process, with pauses of a minute and more cut to moments."""
    from postroom import run
    from postroom.cli import main
    from postroom.send import line, rate

    for module, name, seconds in ((run, "LOGIN_WAIT_SECONDS", 0.05), (line, "FRUITLESS_WAIT", 0.01), (rate, "FIRST_PAUSE_SECONDS", 0.002), (rate, "LONGEST_PAUSE_SECONDS", 0.01), (rate, "MOST_GAP_SECONDS", 0.004)):
        monkeypatch.setattr(module, name, seconds)
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exit_code = main.run(list(map(str, words)))
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return Said(exit_code, *texts)


def started(*words) -> subprocess.Popen:
    """The command line in a process of its own that a test wants to disturb; its words are on `stderr`."""
    return subprocess.Popen([sys.executable, "-m", "postroom", *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, encoding="utf-8")


def started_with_workers(number, *words, **more) -> subprocess.Popen:
    """The same with so many workers, however few recipients there are; in a session of its own, so that all its processes can be told."""
    return subprocess.Popen([sys.executable, WITH_WORKERS, str(number), *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True, **more)


def with_workers(number, *words, seconds=60) -> Said:
    """What that says. No process is left of it."""
    process = started_with_workers(number, *words)
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in err and "fault of its own" not in err, err
    assert session_of(process.pid) == []
    return Said(process.returncode, out, err)


def session_of(leader: int) -> list[int]:
    """The processes that live in a session, its leader not counted (proc(5), /proc/pid/stat)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            state, _, _, session = file.read().rpartition(")")[2].split()[:4]
            if int(session) == leader != int(pid) and state not in "ZX":
                found.append(int(pid))
    return found


def deliveries(folder, columns="key, state"):
    """What the journal has, read by SQLite alone: a dict where two columns are asked for, else rows."""
    with contextlib.closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as journal:
        rows = journal.execute(f"SELECT {columns} FROM delivery ORDER BY key").fetchall()
    return dict(rows) if columns.count(",") == 1 else rows
