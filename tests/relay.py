"""A relay on loopback that says what a test wants it to say, and counts what a person would get."""

import socket
import socketserver
import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Taken:
    """A message that the relay took responsibility for: its envelope and its octets, dots undone."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes


class Hangup(Exception):
    """Raised by an answer to close the connection on the spot."""


class Relay:
    """Runs while it is entered.

    answers: command line, or its verb, to a reply without CRLF, or a function of the line that returns one; "greeting" and
    "end of data" likewise (the latter's function gets the octets). None says nothing at all. A function may raise Hangup.
    taken: what it accepted. connections: how many were opened; lines: how many stand. commands: every line it got, of all connections.
    idle_seconds: closes a line on which nothing was said for so long.
    after: called with the number of messages taken so far, before the reply leaves; may raise Hangup.
    """

    def __init__(self, answers=None, capabilities=("8BITMIME", "SIZE 50000000"), tls=None, after=None):
        self.answers, self.capabilities, self.tls, self.after = answers or {}, capabilities, tls, after
        self.taken, self.commands, self.connections, self.lines = [], [], 0, 0
        self.guard, self.idle_seconds = threading.Lock(), None

    def __enter__(self):
        relay = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                self.accepted = self.request
                with relay.guard:
                    relay.connections += 1
                    relay.lines += 1
                try:
                    if relay.tls:
                        self.secure(relay.tls)
                    self.request.settimeout(relay.idle_seconds)
                    relay.speak(self)
                except TimeoutError:
                    self.wfile.write(b"421 4.4.2 you said nothing for too long\r\n")
                except (Hangup, OSError):
                    pass
                finally:
                    with relay.guard:
                        relay.lines -= 1

            def secure(self, context):
                """From here on the line is TLS; what was read ahead in clear is forgotten."""
                self.request = context.wrap_socket(self.request, server_side=True)
                self.setup()

            def finish(self):
                super().finish()
                if self.request is not self.accepted:
                    self.request.close()  # the server closes what it accepted, which TLS took the place of

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def stop_listening(self) -> None:
        """From now on connections are refused; those that stand go on."""
        self._server.socket.close()

    def drain(self, seconds: float = 10) -> None:
        """Wait until no connection stands: what a killed process had handed to the kernel still comes."""
        until = time.monotonic() + seconds
        while self.lines:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.lines} connections still stand")
            time.sleep(0.002)

    def recipients(self) -> list[str]:
        """Every envelope recipient of every message taken, in order."""
        return [address for taken in self.taken for address in taken.recipients]

    def take(self, sender, recipients, octets) -> None:
        """Take responsibility for a message."""
        with self.guard:
            self.taken.append(Taken(sender, tuple(recipients), octets))
        if self.after:
            self.after(len(self.taken))

    def speak(self, line):
        """Serve one connection: `line` has rfile, wfile and secure(context)."""
        read, write = line.rfile, line.wfile

        def reply(text):
            if text is not None:
                write.write(text.encode() + b"\r\n")
                write.flush()

        reply(self._answer("greeting", "greeting", "220 relay.test ready"))
        sender, recipients = None, []
        while line := read.readline():
            line = line.decode("utf-8", "replace").rstrip("\r\n")
            self.commands.append(line)
            verb = line.split(" ")[0].upper()
            if verb in ("EHLO", "HELO", "RSET", "MAIL"):
                sender, recipients = None, []
            if verb == "DATA" and not recipients and "DATA" not in self.answers:
                reply("503 5.5.1 no valid recipients")
                continue
            said = self._answer(line, verb, self._usual(line, verb))
            reply(said)
            if verb == "QUIT":
                return
            if said is None or said[0] not in "23":
                continue
            if verb == "MAIL":
                sender = line.partition("<")[2].partition(">")[0]
            elif verb == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
            elif verb == "DATA":
                octets = self._body(read)
                said = self._answer("end of data", "end of data", "250 2.0.0 taken", octets)
                if said and said.startswith("2"):
                    self.take(sender, recipients, octets)
                sender, recipients = None, []
                reply(said)

    def _answer(self, line, verb, usual, argument=None):
        said = self.answers.get(line, self.answers.get(verb, usual))
        return said(argument if argument is not None else line) if callable(said) else said

    def _usual(self, line, verb):
        if verb == "EHLO":
            return "\r\n".join(f"250-{word}" for word in ("relay.test", *self.capabilities)) + "\r\n250 HELP"
        return {"DATA": "354 go ahead", "QUIT": "221 2.0.0 bye"}.get(verb, "250 2.0.0 OK")

    def _body(self, read):
        lines = []
        while (line := read.readline()) != b".\r\n":
            if not line:
                raise Hangup
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


def free_port() -> int:
    """A port on loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
