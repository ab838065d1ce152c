"""Memory does not grow with the table."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from running import postroom, session_of

MOST_MORE_KIB = 20 * 1024


# A process counts its parent's memory at the fork as its own, so a small one stands between this and the one that is measured.
MEASURE = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def peak_kib(*words) -> int:
    """The most memory that one run of the command line held, in KiB."""
    done = subprocess.run([sys.executable, "-c", MEASURE, sys.executable, "-m", "postroom", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return peak // (1024 if sys.platform == "darwin" else 1)


MOST_TREE_KIB = 250 * 1024


def peak_tree_kib(*words) -> tuple[int, int]:
    """(the most memory that one run of the command line and its workers held at a moment, in KiB; the most processes that it was)."""
    process = subprocess.Popen([sys.executable, "-m", "postroom", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    most = most_processes = 0
    while process.poll() is None:
        pids = [process.pid, *session_of(process.pid)]
        most, most_processes = max(most, sum(map(resident_kib, pids))), max(most_processes, len(pids))
        time.sleep(0.02)
    assert process.returncode == 0, process.stderr.read()
    process.stderr.close()
    return most, most_processes


def resident_kib(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return 0


def people(count):
    return "email,first_name,city,note\n" + "".join(f"person{number}@example.com,Näme {number},City {number % 97},{'note ' * 8}\n" for number in range(count))


@pytest.mark.timeout(600)
def test_a_dry_run_of_200000_needs_20_mb_more_than_one_of_2000_at_most(folder, record_property):
    folder.write("recipients.csv", people(2_000))
    small = peak_kib("send", "campaign.yaml", "--dry-run")
    folder.write("recipients.csv", people(200_000))

    large = peak_kib("send", "campaign.yaml", "--dry-run")

    record_property("figure", f"peak memory: {small:,} KiB with 2,000 rows, {large:,} KiB with 200,000")
    assert large - small <= MOST_MORE_KIB


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no workers")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", [["check", "campaign.yaml"], ["preview", "campaign.yaml"], ["send", "campaign.yaml", "--dry-run"]], ids=lambda words: words[0])
def test_all_processes_together_need_20_mb_more_for_100000_than_for_2000_at_most(folder, record_property, words):
    """What a worker shares with us counts twice here; with it, a million recipients have 250 MB."""
    folder.write("recipients.csv", people(2_000))
    small, _ = peak_tree_kib(*words)
    folder.write("recipients.csv", people(100_000))

    large, processes = peak_tree_kib(*words)

    record_property("figure", f"peak memory of {words[0]}: {small:,} KiB with 2,000 rows, {large:,} KiB with 100,000 in {processes} processes")
    assert large - small <= MOST_MORE_KIB and large <= MOST_TREE_KIB


@pytest.mark.timeout(600)
def test_a_report_of_200000_needs_20_mb_more_than_one_of_2000_at_most(folder, relay, record_property):
    folder.relay(relay.port)
    peaks = {}
    for number in (2_000, 200_000):
        folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{one}@example.com,P\n" for one in range(number)))
        if number == 2_000:
            postroom("send", "campaign.yaml", "--yes", "--limit", "1")
        with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as journal, journal:
            journal.executemany("INSERT OR REPLACE INTO delivery(campaign, key, state, address, line, attempts) VALUES(1, ?, 'rejected', ?, ?, 1)",
                                ((f"p{one}@example.com", f"p{one}@example.com", one + 2) for one in range(number)))
            journal.executemany("INSERT INTO attempt(campaign, key, number, at, state, phase, code, text) VALUES(1, ?, 1, 1795000000, 'rejected', 'rcpt', 550, 'no')",
                                ((f"p{one}@example.com",) for one in range(number)))
        peaks[number] = peak_kib("report", "campaign.yaml", "--csv", "report.csv", "--failed", "failed.csv")
        assert len((folder.path / "failed.csv").read_bytes().splitlines()) == number + 1

    record_property("figure", f"peak memory of a report: {peaks[2_000]:,} KiB with 2,000 rows, {peaks[200_000]:,} KiB with 200,000")
    assert peaks[200_000] - peaks[2_000] <= MOST_MORE_KIB
