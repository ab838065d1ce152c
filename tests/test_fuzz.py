"""The fuzzed functions still work, and a few seconds of each find nothing. `make fuzz SECONDS=600` looks longer, and by coverage."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"


@pytest.mark.parametrize("target", ["replies", "protocol", "campaigns", "recipients", "headers", "templates"])
def test_three_seconds_of_a_target_find_nothing(target):
    """reliability.md 3, row 13."""
    done = subprocess.run([sys.executable, FUZZ / "run.py", "--one", target, "hypothesis", "3"], capture_output=True, text=True, timeout=110)

    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stderr.split()[-1]) > 0
