"""One run of a campaign at a time: a lock that dies with its process."""

import os
import subprocess
import sys
import time

import pytest

from postroom.errors import Locked
from postroom.journal.lock import RunLock, is_running

HOLD = ("import sys, time\nfrom postroom.journal.lock import RunLock\n"
        "with RunLock(sys.argv[1], 'digest', ''):\n    print('held', flush=True)\n    time.sleep(60)\n")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "j")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


def test_a_second_run_is_told_who_has_it_within_two_seconds(holder, tmp_path):
    before = time.monotonic()

    with pytest.raises(Locked, match=f"process {holder.pid} on "):
        RunLock(str(tmp_path / "j"), "digest", "").__enter__()

    assert time.monotonic() - before < 2


def test_the_lock_dies_with_its_process(holder, tmp_path):
    assert is_running(str(tmp_path / "j"), "digest", "")

    holder.kill()
    holder.wait(10)

    assert not is_running(str(tmp_path / "j"), "digest", "")
    with RunLock(str(tmp_path / "j"), "digest", ""):
        pass


def test_another_campaign_or_edition_is_not_held_up(holder, tmp_path):
    for name, edition in (("digest", "2"), ("other", ""), ("digest-2", "")):
        with RunLock(str(tmp_path / "j"), name, edition):
            assert is_running(str(tmp_path / "j"), name, edition)


def test_asking_leaves_no_lock_and_no_file(tmp_path):
    assert not is_running(str(tmp_path / "j"), "digest", "")
    assert os.listdir(tmp_path) == []


def test_a_status_that_looks_just_now_does_not_refuse_a_run(tmp_path):
    """is_running() holds the lock for a moment; the run that begins in it waits."""
    program = ("import sys, time\nfrom postroom.journal.lock import is_running\nprint('go', flush=True)\nuntil = time.monotonic() + 2\n"
               "while time.monotonic() < until:\n    is_running(sys.argv[1], 'digest', '')\n")
    with RunLock(str(tmp_path / "j"), "digest", ""):
        pass
    looking = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "j")], stdout=subprocess.PIPE)
    looking.stdout.readline()

    entered = 0
    for _ in range(20):
        with RunLock(str(tmp_path / "j"), "digest", ""):
            entered += 1

    assert (entered, looking.wait(10)) == (20, 0)
    looking.stdout.close()


def test_a_program_that_a_run_started_does_not_inherit_the_lock(tmp_path):
    """It may live on when the run is dead."""
    with RunLock(str(tmp_path / "j"), "digest", "") as lock:
        assert not os.get_inheritable(lock._file)
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert not is_running(str(tmp_path / "j"), "digest", "")
    finally:
        child.kill()
        child.wait(10)
