"""Fuzz every target of fuzz/targets.py, or the named ones: by coverage (atheris, where it is installed), then by hypothesis for a tenth of the time.

    python fuzz/run.py SECONDS [TARGET ...]

As many targets at once as there are cores. A find leaves its octets in fuzz/found/; the exit code is 1 where there is one.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]
FOUND = HERE / "found"


def main(seconds, *names):
    from targets import TARGETS

    with ThreadPoolExecutor(os.cpu_count()) as several:
        clean = list(several.map(lambda name: fuzzed(name, int(seconds)), names or TARGETS))
    sys.exit(0 if all(clean) else 1)


def fuzzed(name, seconds):
    """Both engines on one target. Prints a line for each; returns whether there was no find."""
    with_atheris = importlib.util.find_spec("atheris") is not None
    if not with_atheris:
        print(f"{name}: no atheris here, hypothesis alone")
    return all([one_engine(name, engine, time_for) for engine, time_for in
                ([("atheris", seconds), ("hypothesis", max(1, seconds // 10))] if with_atheris else [("hypothesis", seconds)])])


def one_engine(name, engine, seconds):
    began = time.monotonic()
    done = subprocess.run([sys.executable, __file__, "--one", name, engine, str(seconds)], capture_output=True, text=True, errors="replace")
    executions = re.findall(r"^(?:Done |#)(\d+)", done.stderr, re.MULTILINE)
    print(f"{name:<12}{engine:<12}{int(executions[-1]) if executions else 0:>12,} executions {time.monotonic() - began:>6.0f} s  {'no find' if not done.returncode else 'A FIND:'}", flush=True)
    if done.returncode:
        print(done.stderr[-3000:], flush=True)
    return not done.returncode


def one_with_atheris(name, seconds):
    import atheris

    with atheris.instrument_imports(include=["postroom", "yaml"]):
        import targets
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.SEEDS[name]):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([name, f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=1024", "-timeout=60", f"-artifact_prefix={FOUND}/{name}-", corpus],
                      lambda octets: targets.timed(targets.TARGETS[name], octets))
        atheris.Fuzz()


def one_with_hypothesis(name, seconds):
    import targets
    from hypothesis import HealthCheck, given, settings, strategies

    ends, executions = time.monotonic() + seconds, 0

    @settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategies.lists(strategies.binary(max_size=200) | strategies.sampled_from([seed[at:at + 40] for seed in targets.SEEDS[name] for at in range(0, len(seed), 40)]), max_size=20))
    def look(pieces):
        nonlocal executions
        if time.monotonic() < ends:
            executions += 1
            targets.timed(targets.TARGETS[name], b"".join(pieces))

    while time.monotonic() < ends:
        look()
    print(f"Done {executions}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        {"atheris": one_with_atheris, "hypothesis": one_with_hypothesis}[sys.argv[3]](sys.argv[2], int(sys.argv[4]))
    else:
        main(*sys.argv[1:])
