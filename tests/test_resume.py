"""A run that is stopped at random instants goes on where it was: nobody gets two mails, nobody is forgotten. kill -9 is in test_chaos.py."""

import collections
import random
import signal
import time
from pathlib import Path

import pytest

from relay import Hangup, Relay
from running import deliveries, postroom, started

PEOPLE, STOPS = 500, 20
ADDRESSES = [f"person{number}@example.com" for number in range(PEOPLE)]
SECONDS = 60
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def chance():
    """Another seed each time, told where a test fails."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def campaign(folder):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},Person\n" for address in ADDRESSES))
    return folder


def finish_and_count(folder, relay, stops):
    """Run to the end. Assert that each recipient was accepted once, save the uncertain ones, at most one a stop."""
    last = postroom("send", "campaign.yaml", "--yes", "--json")
    states = deliveries(folder)
    accepted = collections.Counter(relay.recipients())
    uncertain = [address for address, state in states.items() if state == "uncertain"]
    assert set(states) == set(ADDRESSES)
    assert set(states.values()) <= {"sent", "uncertain"}
    assert {address: accepted[address] for address, state in states.items() if state == "sent" and accepted[address] != 1} == {}
    assert all(accepted[address] <= 1 for address in uncertain)
    assert len(uncertain) <= stops
    assert last.exit == (1 if uncertain else 0), last.err
    assert (last.json["sent"], last.json["uncertain"], last.json["remaining"]) == (PEOPLE - len(uncertain), len(uncertain), 0)
    return uncertain


def wait_for(relay, taken, process):
    until = time.monotonic() + SECONDS
    while len(relay.taken) < taken and process.poll() is None and time.monotonic() < until:
        time.sleep(0.0005)


class Closing:
    """A relay that hangs up at a random line or octet of its next connection, and takes nothing more until reopened."""

    def __init__(self, chance):
        self.chance, self.left, self.closed = chance, None, False

    def reopen(self):
        self.left, self.closed = self.chance.randrange(1, 100), False

    def line(self, line):
        """Hang up instead of the reply to some command."""
        if self.closed:
            return "421 4.3.2 closing"
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.closed = True
                raise Hangup
        return {"DATA": "354 go ahead"}.get(line, "250 2.0.0 OK")

    def end(self, octets):
        """Hang up behind the whole body, before it is taken: nobody but the relay can know."""
        return self.line("end of data")

    def after(self, taken):
        """Hang up behind a body that was taken, before the reply."""
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.closed = True
                raise Hangup


def test_a_relay_that_closes_at_random_instants_costs_nobody_a_mail(campaign, chance):
    closing = Closing(chance)
    with Relay({verb: closing.line for verb in ("MAIL", "RCPT", "DATA")} | {"end of data": closing.end}, after=closing.after) as relay:
        campaign.relay(relay.port)
        for _ in range(STOPS):
            closing.reopen()

            said = postroom("send", "campaign.yaml", "--yes")

            assert said.exit == 3, said.err
            assert "ends every session" in said.err and "Go on with: postroom send campaign.yaml" in said.err
        closing.left, closing.closed = None, False
        uncertain = finish_and_count(campaign, relay, STOPS)
    assert len(relay.taken) == PEOPLE - len(uncertain) + sum(address in relay.recipients() for address in uncertain)


def test_after_ctrl_c_at_random_instants_everybody_gets_one_mail(campaign, chance):
    """The message in flight is finished first, so nobody is uncertain."""
    # Slow enough that the signal comes before the last mail, however busy the machine is.
    with Relay({"MAIL": lambda line: time.sleep(0.01) or "250 2.1.0 OK"}) as relay:
        campaign.relay(relay.port)
        for _ in range(STOPS):
            process = started("send", "campaign.yaml", "--yes")
            wait_for(relay, len(relay.taken) + chance.randrange(1, 20), process)
            time.sleep(chance.random() * 0.005)
            number = chance.choice([signal.SIGINT, signal.SIGTERM])
            process.send_signal(number)
            words = process.communicate(timeout=SECONDS)[1]
            assert process.returncode == 128 + number, words
            assert "Go on with: postroom send campaign.yaml" in words and "Traceback" not in words
        assert finish_and_count(campaign, relay, STOPS) == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="wants Linux's /proc")
def test_ctrl_c_before_the_first_mail_leaves_nothing_behind(campaign, chance):
    with Relay() as relay:
        campaign.relay(relay.port)
        for _ in range(5):
            process = started("send", "campaign.yaml", "--yes")
            # Before that it is Python that starts, not postroom.
            while "yaml" not in Path(f"/proc/{process.pid}/maps").read_text() and process.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.random() * 0.4)
            process.send_signal(signal.SIGINT)
            words = process.communicate(timeout=SECONDS)[1]
            # Interrupted inside eval(), as imports of others use it, Python ends itself by the signal; a shell calls both 130.
            assert process.returncode in (0, 130, -signal.SIGINT), words
            assert "Traceback" not in words
        finish_and_count(campaign, relay, 0)
