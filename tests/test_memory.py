"""Memory does not grow with the table."""

import subprocess
import sys

import pytest

MOST_MORE_KIB = 20 * 1024


# A process counts its parent's memory at the fork as its own, so a small one stands between this and the one that is measured.
MEASURE = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def peak_kib(*words) -> int:
    """The most memory that one run of the command line held, in KiB."""
    done = subprocess.run([sys.executable, "-c", MEASURE, sys.executable, "-m", "postroom", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    code, peak = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return peak // (1024 if sys.platform == "darwin" else 1)


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
