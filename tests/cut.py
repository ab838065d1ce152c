"""A wire between postroom and a real relay that breaks where a test wants it to: at the end of a message's data."""

import itertools
import socket
import socketserver
import threading
from collections.abc import Callable

PASSED = "passed"  # everything goes through
WITHHELD = "withheld"  # the server gets all of it and answers, and the answer does not come back
SHORT = "short"  # the server gets all but the last octet, then nobody is there any more
GONE = "gone"  # the server gets all of it, and at once nobody is there any more


class Cut:
    """Runs while it is entered; listens on `port` and speaks with the server on `behind`, both on loopback.

    fate: what becomes of each message, by its number from 0. fates: those that were used so far, in order. One command at a time: what
    would allow more is taken out of the server's EHLO.
    """

    def __init__(self, behind: int, fate: Callable[[int], str]):
        self._behind, self._fate, self._number, self.fates = behind, fate, itertools.count(), []

    def __enter__(self):
        cut = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                with socket.create_connection(("127.0.0.1", cut._behind)) as server, server.makefile("rb") as said:
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    cut._speak(self.rfile, self.wfile, server, said)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _speak(self, read, write, server, said):
        write.write(_reply(said))
        while line := read.readline():
            server.sendall(line)
            reply = _reply(said)
            if line.upper().startswith(b"EHLO"):
                reply = reply.replace(b"PIPELINING", b"X-NOTHING").replace(b"CHUNKING", b"X-NOTHING")
            write.write(reply)
            if line.upper().startswith(b"DATA") and reply.startswith(b"354"):
                fate = self._fate(next(self._number))
                self.fates.append(fate)
                octets = b"".join(iter(read.readline, b".\r\n")) + b".\r\n"
                server.sendall(octets[:-1] if fate == SHORT else octets)
                if fate in (SHORT, GONE):
                    return
                reply = _reply(said)
                if fate == WITHHELD:
                    return
                write.write(reply)


def _reply(said):
    lines = [said.readline()]
    while lines[-1][3:4] == b"-":
        lines.append(said.readline())
    return b"".join(lines)
