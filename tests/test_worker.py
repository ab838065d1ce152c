"""A fork that works: in order, without a deadlock, and gone with us. Each in a process of its own, because only one without threads may fork."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no workers")
BEFORE = """
import os, signal, sys, threading, time
from postroom import worker
from postroom.errors import Place, RecipientError, WorkerLost
"""


def said(program):
    """What a program about `worker` prints. It ends within a minute and leaves nothing."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", BEFORE + program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_requests_and_answers_of_any_size_come_in_order_and_nobody_waits_for_the_other():
    """Far more than any pipe holds, in both directions, before the first answer is read."""
    assert said("""
one = worker.Worker(lambda requests: (request * 2 for request in requests))
for number in range(20):
    one.ask(bytes([number]) * 500_000)
print(all(one.answer() == bytes([number]) * 1_000_000 for number in range(20)), one.has_answer())
one.close()
one.close()
""") == ["True", "False"]


def test_what_the_work_raises_is_raised_behind_the_answers_before_it_as_it_was():
    assert said("""
def work(requests):
    yield "first"
    error = RecipientError("wrong", Place("recipients.csv", 7, "email", 9), "correct it")
    error.ends_it = True
    raise error
one = worker.Worker(work)
print(one.answer())
try:
    one.answer()
except RecipientError as error:
    print(error.what, error.where.line, error.where.column, error.where.row, error.do, error.ends_it)
one.close()
""") == ["first", "wrong", "7", "email", "9", "correct", "it", "True"]


@pytest.mark.parametrize("work", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)"])
def test_one_that_is_gone_is_told(work):
    assert said(f"""
def work(requests):
    for request in requests:
        {work}
        yield request
one = worker.Worker(work)
one.ask([bytes(1 << 20)])
try:
    one.answer()
except WorkerLost as error:
    print(error.exit_code)
one.close()
""") == ["3"]


def test_it_is_taken_away_when_it_is_closed_whatever_it_is_at():
    assert said("""
one = worker.Worker(lambda requests: iter(lambda: time.sleep(600), None))
one.ask(1)
one.close()
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("gone")
""") == ["gone"]


def test_no_process_is_forked_beside_a_thread_or_for_one_processor():
    assert said("""
free = worker.spare()
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
print(free == len(os.sched_getaffinity(0)) - 1, worker.spare())
stop.set()
thread.join()
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
print(worker.spare())
sys.platform = "darwin"
print(worker.spare())
""") == ["True", "0", "0", "0"]
