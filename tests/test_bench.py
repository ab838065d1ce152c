"""The benchmark measures what it says: whom it compares sends what it must, and the server far away is far away and nothing else."""

import hashlib
import os
import random
import socket
import sys
import threading
import time
from dataclasses import replace

import pytest

import clients
import compare
import results
import work as works
from clients import CLIENTS, Failed, prove
from delay import Delay
from peers import have_smtp_sink
from relay import free_port
from running import missing
from targets import Sink

SCRIPT = compare.Row("in small", works.WORKS["small"], Sink, ("postroom", "tutorial"), fast=(4, 12), others=(4, 12))


@pytest.fixture
def here(monkeypatch):
    """The peers' own environment is not needed for the script: the tests' has all that it imports."""
    if not have_smtp_sink():
        missing("smtp-sink")
    monkeypatch.delenv("POSTROOM_JOURNAL", raising=False)
    monkeypatch.setitem(CLIENTS, "tutorial", replace(CLIENTS["tutorial"], words=(sys.executable, *CLIENTS["tutorial"].words[1:])))


def test_every_client_gets_its_figures_and_every_mail_arrives(here):
    found = compare.measure(SCRIPT, rounds=1, tell=lambda words: None)

    assert {name: (one["few"], one["many"], len(one["runs"])) for name, one in found.items()} == {"postroom": (4, 12, 1), "tutorial": (4, 12, 1)}
    for one in found.values():
        for seconds, send_seconds in (run for pair in one["runs"] for run in pair):
            assert 0 < seconds
            assert send_seconds is None and os.geteuid() or 0 < send_seconds < seconds
    text = results.table({"clients": found})
    assert [line.split(" | ")[0] for line in text.splitlines()[2:]] == ["| postroom", "| tutorial"]


def test_a_client_that_leaves_something_out_is_refused(here, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text((clients.HERE / "clients" / "tutorial.py").read_text().replace("        mail.attach(attachment)\n", ""))
    client = replace(CLIENTS["tutorial"], words=(CLIENTS["tutorial"].words[0], str(script), "{port}"))

    prove(client, works.WORKS["small"])
    with pytest.raises(Failed, match="tutorial, large work: its files are not those that were given"):
        prove(client, works.WORKS["large"])


def test_figures_are_those_of_the_run_of_3000_or_scaled_to_it():
    quick = results.figures(3000, 30_000, [[[4.0, 2.0], [31.0, 27.0]]])
    far = results.figures(30, 150, [[[6.5, 6.0], [30.5, 30.0]]])

    assert (quick.send.median, quick.marginal.median, quick.whole.median, quick.whole.scaled) == (1500, 1000, 750, False)
    assert (far.send.median, far.marginal.median, far.whole.median, far.whole.scaled) == (5, 5, pytest.approx(3000 / 600.5), True)


@pytest.fixture
def far():
    """(near, distant): the two ends of one connection through a proxy of 100 ms a round trip."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Delay(listener.getsockname()[1], 100) as delay:
        near = socket.create_connection(("127.0.0.1", delay.port))
        distant, _ = listener.accept()
        with near, distant:
            near.settimeout(20)
            distant.settimeout(20)
            yield near, distant


def test_each_direction_is_late_by_half_a_round_trip(far):
    near, distant = far

    for sender, receiver in ((near, distant), (distant, near)):
        before = time.monotonic()
        sender.sendall(b"250 2.0.0 OK\r\n")
        assert receiver.recv(100) == b"250 2.0.0 OK\r\n"
        assert time.monotonic() - before >= 0.05


def test_no_reading_is_held_back_while_the_octets_are_on_their_way(far):
    """More than all buffers of the kernel hold, and nobody reads yet."""
    near, distant = far
    octets = random.Random(1).randbytes(40_000_000)

    near.sendall(octets)

    assert received(distant, len(octets)) == hashlib.sha256(octets).digest()


def test_octets_pass_unchanged_both_ways_at_once_and_a_half_close_passes(far):
    near, distant = far
    octets = [random.Random(seed).randbytes(8_000_000) for seed in (1, 2)]
    digests = {}

    def speak(line, said, heard, name):
        sender = threading.Thread(target=lambda: (line.sendall(said), line.shutdown(socket.SHUT_WR)))
        sender.start()
        digests[name] = received(line, len(heard)), line.recv(1)
        sender.join()

    other = threading.Thread(target=speak, args=(distant, octets[1], octets[0], "distant"))
    other.start()
    speak(near, octets[0], octets[1], "near")
    other.join()

    assert digests == {"near": (hashlib.sha256(octets[1]).digest(), b""), "distant": (hashlib.sha256(octets[0]).digest(), b"")}


def test_a_half_close_leaves_the_other_direction_open(far):
    near, distant = far

    near.shutdown(socket.SHUT_WR)

    assert distant.recv(1) == b""
    distant.sendall(b"221 2.0.0 bye\r\n")
    assert near.recv(100) == b"221 2.0.0 bye\r\n"


def test_a_server_that_is_not_there_closes_the_connection():
    with Delay(free_port(), 20) as delay, socket.create_connection(("127.0.0.1", delay.port), 20) as line:
        assert line.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", delay.port), 20)


def received(line, count):
    digest = hashlib.sha256()
    while count:
        block = line.recv(min(count, 1 << 20))
        assert block
        digest.update(block)
        count -= len(block)
    return digest.digest()
