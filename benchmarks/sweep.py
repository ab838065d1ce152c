"""What a recipient costs however many there are: `.venv/bin/python benchmarks/sweep.py [--write] [RECIPIENTS ...]`

Whole campaigns of the small work to smtp-sink on loopback, postroom as released; the table has 12 columns. Time is of the whole process.
Memory is the peak of the sum over the process and all that it started, sampled ten times a second: PSS counts a page that several of them
hold once, and is what the machine had to find; RSS counts it for each.
"""

import argparse
import datetime
import os
import sys
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

import results
import work as works
from clients import CLIENTS, Failed, run
from targets import Sink

RECIPIENTS = (1_000, 10_000, 100_000, 1_000_000)
SAMPLE_SECONDS = 0.1


class Memory:
    """Watches what all that this process started holds while it is entered, a server apart. pss_mb and rss_mb: the peaks of the sums."""

    def __init__(self, apart: int):
        self._apart, self.pss_mb, self.rss_mb = apart, 0.0, 0.0

    def __enter__(self):
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(SAMPLE_SECONDS):
            held = [_held(process) for process in _descendants(os.getpid()) if process != self._apart]
            self.pss_mb = max(self.pss_mb, sum(pss for pss, _ in held) / 1024)
            self.rss_mb = max(self.rss_mb, sum(rss for _, rss in held) / 1024)


def _descendants(root):
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found[1:]


def _held(process):
    """PSS and RSS in KiB."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    held = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return held["Pss"], held["Rss"]


def swept(recipients: int) -> dict:
    """One campaign. Raises Failed where not every mail arrived."""
    with tempfile.TemporaryDirectory(prefix="postroom-sweep-") as path, Sink() as sink:
        folder = works.lay(Path(path, "work"), works.WORKS["small"], recipients)
        with Memory(apart=sink.pid) as memory:
            done = run(CLIENTS["postroom"], folder, works.WORKS["small"], recipients, sink.port)
        if (taken := sink.settle()) != recipients:
            raise Failed(f"{taken:,} of {recipients:,} mails arrived")
    return {"recipients": recipients, "seconds": done.seconds, "pss_mb": memory.pss_mb, "rss_mb": memory.rss_mb}


def main(words=None):
    parser = argparse.ArgumentParser(description="Measure what a recipient costs however many there are.")
    parser.add_argument("recipients", nargs="*", type=int, default=RECIPIENTS, metavar="RECIPIENTS")
    parser.add_argument("--write", action="store_true", help="put the figures into results.json, RESULTS.md and its picture")
    asked = parser.parse_args(words)
    sweep = {"date": datetime.date.today().isoformat(), "postroom": version("postroom"), "runs": []}
    for recipients in asked.recipients:
        sweep["runs"].append(swept(recipients))
        print(results.sweep_table({**sweep, "runs": sweep["runs"][-1:]}).splitlines()[-1], file=sys.stderr, flush=True)
    print(results.sweep_table(sweep))
    if asked.write:
        results.store("sweep", None, sweep)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"{failed}")
