"""A proxy on loopback that makes a server far away: every octet arrives half a round trip later, in either direction, and nothing else changes.

It limits no bandwidth and holds back no reading: each block is stamped when it comes and written when it is due, however much is on its
way. It works in a process of its own, with one select() whose wait is exact to microseconds (epoll's is to milliseconds, and a client
in lockstep would pay the rounding at each reply). Opening a connection is not delayed: a client that connects for each message is spared
the handshake's round trip.

    python benchmarks/delay.py PORT MILLISECONDS    prints its own port, and ends when its standard input does
"""

import collections
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

BLOCK_OCTETS = 1 << 18


class Delay:
    """The proxy in front of a port while it is entered; `port` is its own. milliseconds: of a whole round trip."""

    def __init__(self, port: int, milliseconds: float):
        self._words = [sys.executable, "-I", str(Path(__file__)), str(port), str(milliseconds)]

    def __enter__(self):
        self._process = subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Direction:
    """One direction of one connection. `open`: more may come. `blocked`: the receiver takes nothing now, though something is due."""

    def __init__(self, source, sink, seconds):
        self.source, self.sink, self.open, self.blocked = source, sink, True, False
        self._seconds, self._on_the_way = seconds, collections.deque()

    def read(self, now):
        try:
            block = self.source.recv(BLOCK_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            block = b""  # a reset arrives as an end
        self.open = bool(block)
        self._on_the_way.append((now + self._seconds, memoryview(block)))

    def write(self, now):
        """Hand over all that is due."""
        self.blocked = False
        while self._on_the_way and self._on_the_way[0][0] <= now and not self.blocked:
            due, block = self._on_the_way.popleft()
            try:
                rest = block[self.sink.send(block):] if block else self.sink.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                rest = block
            except OSError:
                # Nobody is there any more to take it; the other direction says so to the sender.
                self.open, rest = False, None
                self._on_the_way.clear()
            if rest:
                self._on_the_way.appendleft((due, rest))
                self.blocked = True

    @property
    def due(self) -> float | None:
        return self._on_the_way[0][0] if self._on_the_way and not self.blocked else None

    @property
    def over(self) -> bool:
        return not self.open and not self._on_the_way


def serve(listener: socket.socket, port: int, seconds: float, end) -> None:
    """Pass on every connection to `port`, each direction later by so many seconds, until `end` can be read."""
    connections = []
    while True:
        directions = [one for pair in connections for one in pair]
        now, dues = time.monotonic(), [one.due for one in directions if one.due is not None]
        readable, _, _ = select.select([listener, end, *(one.source for one in directions if one.open)], [one.sink for one in directions if one.blocked], [],
                                       max(0, min(dues) - now) if dues else None)
        if end in readable:
            return
        now, ready = time.monotonic(), set(readable)
        if listener in ready and (pair := _pair(listener.accept()[0], port, seconds)):
            connections.append(pair)
        for one in directions:
            if one.source in ready:
                one.read(now)
            one.write(now)
        for pair in [pair for pair in connections if all(one.over for one in pair)]:
            connections.remove(pair)
            for one in pair:
                one.source.close()


def _pair(client, port, seconds):
    """Both directions of a connection; None where the server takes none."""
    try:
        server = socket.create_connection(("127.0.0.1", port))
    except OSError:
        client.close()
        return None
    for line in (client, server):
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Direction(client, server, seconds), Direction(server, client, seconds)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, int(sys.argv[1]), float(sys.argv[2]) / 2000, sys.stdin)
