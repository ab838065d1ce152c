"""Work for another processor: a fork of this process that takes requests and hands back answers, both in order, over two pipes.

A fork has all that was read and compiled, and shares its memory. It keeps nothing else of ours: not the relay's line, not the journal,
not the run's lock. It ends with us, however we end, and holds nothing that would be lost with it.
"""

import fcntl
import gc
import os
import pickle
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from postroom.errors import WorkerLost

# What a worker may have finished before anybody asks for it; the most that Linux gives to a pipe of anybody's.
AHEAD_OCTETS = 1 << 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIZE = struct.Struct("=Q")


def spare() -> int:
    """How many workers the machine has a processor for, beside this process; 0 where a fork is not safe.

    A thread's locks stay held in a fork for ever, and system libraries of macOS start threads unseen.
    """
    if sys.platform != "linux":
        return 0
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        return 0
    return len(os.sched_getaffinity(0)) - 1 if threads == 1 else 0


def started(work: Callable[[Iterator], Iterable]) -> "Worker | None":
    """A Worker; None where the machine has no room for a process more."""
    try:
        return Worker(work)
    except OSError:
        return None


class Worker:
    """One fork. work: gets an iterator of what is asked, and yields answers: one for each request, or as many as it likes.

    Both have to be picklable. A Ctrl-C means nothing to it: whoever made it closes it. Raises OSError where the machine has no room for a process.
    """

    def __init__(self, work: Callable[[Iterator], Iterable]):
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        with suppress(OSError):
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, AHEAD_OCTETS)
        os.set_blocking(self._requests, False)
        self._unsent = bytearray()
        # No signal may reach our handlers in the fork, where they would speak for us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _serve(work, requests, answers)
        except OSError:
            self._pid = None
            self.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(requests)
            os.close(answers)

    def ask(self, request) -> None:
        """Hand over a request. Never waits: what the pipe does not take yet goes while we wait for answers."""
        octets = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        self._unsent += SIZE.pack(len(octets)) + octets
        self._send()

    def has_answer(self) -> bool:
        """Whether the next answer has come, or there is none to come any more."""
        self._send()
        return bool(self._wait({self._answers: select.POLLIN}, 0))

    def answer(self):
        """The next answer; waits for it. Raises what the work raised, behind all answers before; WorkerLost where the process is gone."""
        size, = SIZE.unpack(self._read(SIZE.size))
        raised, answer = pickle.loads(self._read(size))
        if raised:
            raise answer
        return answer

    def close(self) -> None:
        """End it, whatever it is at."""
        if self._requests is None:
            return
        os.close(self._requests)
        os.close(self._answers)
        self._requests = None
        if self._pid is not None:
            # Somebody who embeds us may have its dead children taken away unasked.
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    @staticmethod
    def _wait(events, milliseconds=None):
        poll = select.poll()
        for number, event in events.items():
            poll.register(number, event)
        return poll.poll(milliseconds)

    def _send(self):
        with suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                del self._unsent[:os.write(self._requests, self._unsent)]

    def _read(self, size):
        octets = bytearray(size)
        left = memoryview(octets)
        while left:
            # It may be waiting for the rest of a request, or for room for its answer.
            ready = dict(self._wait({self._answers: select.POLLIN, **({self._requests: select.POLLOUT} if self._unsent else {})}))
            self._send()
            if self._answers not in ready:
                continue
            number = os.readv(self._answers, [left])
            if not number:
                raise WorkerLost("a process of this run was ended from outside; perhaps the machine ran out of memory", None, "run it again to go on")
            left = left[number:]
        return octets


def _serve(work, requests, answers):
    """The whole life of a fork. It ends without cleaning up: what it has is ours."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # What is garbage already may hold the journal open: to collect it here would close it under us.
        gc.freeze()
        _let_go(requests, answers)
        try:
            for answer in work(_asked(requests)):
                _write(answers, (False, answer))
        except BrokenPipeError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where it was asked for
            _write(answers, (True, error))
    finally:
        os._exit(0)


def _asked(requests):
    with open(requests, "rb") as file:
        while len(head := file.read(SIZE.size)) == SIZE.size:
            yield pickle.loads(file.read(SIZE.unpack(head)[0]))


def _write(answers, answer):
    octets = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    left = [memoryview(SIZE.pack(len(octets))), memoryview(octets)]
    while left:
        number = os.writev(answers, left)
        while left and number >= len(left[0]):
            number -= len(left.pop(0))
        if left:
            left[0] = left[0][number:]


def _let_go(*kept):
    """Close what was inherited: a lock of flock's holds, and a line stands, as long as anybody has it open.

    The numbers stay taken, by nothing: an object that comes to its end later must not close a file that got its number.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in (nothing, *kept):
            os.dup2(nothing, number)
