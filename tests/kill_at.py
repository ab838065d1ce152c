"""The command line, killed with `kill -9` at a named point: python kill_at.py WHEN WHAT NUMBER send campaign.yaml --yes

WHEN: before or after. WHAT: "commit" (the NUMBER-th turn of the journal; 0 is the enrolling before them), or which one of the relay's
dialogue: "write MAIL", "reply RCPT", "write end of data" and so on. Before the write of an end of data all of it but the last octet leaves.
"""

import itertools
import os
import signal
import socket
import sys
from contextlib import contextmanager

from postroom.cli.main import main
from postroom.journal.sqlite import Edition, Journal

END = "end of data"


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_commit(when, number):
    commit, turning, turns, now = Journal.commit, Edition.turning, itertools.count(1), []

    def counted(self, answered, leaving, *more):
        now[:] = [next(turns)] if answered or leaving else []
        return turning(self, answered, leaving, *more)

    def enrolled(self, *words, **more):
        now[:] = [0]
        return enrol(self, *words, **more)

    @contextmanager
    def killing(self):
        with commit(self) as rows:
            yield rows
            if (when, now) == ("before", [number]):
                die()
        if (when, now) == ("after", [number]):
            die()
        now.clear()

    enrol = Edition.enrol
    Journal.commit, Edition.turning, Edition.enrol = killing, counted, enrolled


def at_dialogue(when, way, what, number):
    """way: "write" or "reply"."""
    send, recv, counts, said = socket.socket.send, socket.socket.recv, dict.fromkeys(("write", "reply"), 0), [None]

    def here(way_now):
        if (way_now, said[0]) == (way, what):
            counts[way_now] += 1
            return counts[way_now] == number
        return False

    def killing_send(self, octets, *flags):
        said[0] = END if said[0] == "DATA" else bytes(octets[:4]).decode()
        hit = here("write")
        if hit and when == "before":
            if what == END:
                send(self, octets[:-1], *flags)
            die()
        sent = send(self, octets, *flags)
        assert sent == len(octets)
        if hit:
            die()
        return sent

    def killing_sendmsg(self, pieces):
        return killing_send(self, b"".join(pieces))

    def killing_recv(self, *size):
        octets = recv(self, *size)
        if here("reply"):
            die()
        return octets

    socket.socket.send, socket.socket.sendmsg, socket.socket.recv = killing_send, killing_sendmsg, killing_recv


if __name__ == "__main__":
    when, point, number, *words = sys.argv[1:]
    if point == "commit":
        at_commit(when, int(number))
    else:
        at_dialogue(when, *point.split(" ", 1), int(number))
    sys.exit(main(words))
