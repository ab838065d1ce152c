"""`kill -9` before and after every commit, every write and every reply: what the journal says afterwards, exactly, and that the next run finishes."""

import collections
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import postroom

PEOPLE = ["ann@example.com", "bob@example.com", "zoe@example.com"]
DRIVER = Path(__file__).with_name("kill_at.py")
STATES = {"P": "pending", "L": "leaving", "S": "sent"}
# When, what, which one: the journal's states of the three people, and how many the relay has by then. The intent of each stands in one
# commit with the outcome of the one before.
POINTS = [
    ("before", "write EHLO", 1, "", 0),
    ("before", "commit", 0, "", 0),
    ("after", "commit", 0, "PPP", 0),
    ("before", "commit", 1, "PPP", 0),
    ("after", "commit", 1, "LPP", 0),
    ("before", "write MAIL", 1, "LPP", 0),
    ("before", "commit", 2, "LPP", 1),
    ("after", "commit", 2, "SLP", 1),
    *[(when, f"{way} {what}", 2, "SLP", 1) for what in ("MAIL", "RCPT", "DATA") for way in ("write", "reply") for when in ("before", "after")],
    ("before", "write end of data", 2, "SLP", 1),
    ("after", "write end of data", 2, "SLP", 2),
    ("before", "reply end of data", 2, "SLP", 2),
    ("after", "reply end of data", 2, "SLP", 2),
    ("before", "commit", 3, "SLP", 2),
    ("after", "commit", 3, "SSL", 2),
    ("after", "reply end of data", 3, "SSL", 3),
    ("before", "commit", 4, "SSL", 3),
    ("after", "commit", 4, "SSS", 3),
    ("before", "write QUIT", 1, "SSS", 3),
    ("after", "reply QUIT", 1, "SSS", 3),
]


def states_of(folder):
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as journal:
        if not journal.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return {}
        return dict(journal.execute("SELECT key, state FROM delivery"))


@pytest.mark.parametrize(("when", "what", "number", "states", "accepted"), POINTS, ids=lambda value: str(value).replace(" ", "-"))
def test_a_kill_at(folder, relay, when, what, number, states, accepted):
    """Reliability 3, goal 1, at each named point."""
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in PEOPLE))
    folder.relay(relay.port)

    done = subprocess.run([sys.executable, DRIVER, when, what, str(number), "send", "campaign.yaml", "--yes"], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr

    assert states_of(folder) == {address: STATES[state] for address, state in zip(PEOPLE, states)}
    relay.drain()
    before = collections.Counter(relay.recipients())
    assert before == dict.fromkeys(PEOPLE[:accepted], 1)

    campaign, uncertain = postroom.load("campaign.yaml"), [address for address, state in zip(PEOPLE, states) if state == "L"]
    said = campaign.send(yes=True, quiet=True)
    assert (said.exit_code, said.sent_in_all, said.remaining) == (len(uncertain), 3 - len(uncertain), 0)
    assert {address for address, state in states_of(folder).items() if state != "sent"} == set(uncertain)
    assert collections.Counter(relay.recipients()) == {address: before[address] or 1 for address in PEOPLE if address not in uncertain or before[address]}

    assert campaign.send(yes=True, quiet=True, uncertain="resend").exit_code == 0
    assert collections.Counter(relay.recipients()) == {address: 1 + (address in uncertain and before[address]) for address in PEOPLE}
    # The second copy of one that the relay had taken unseen is the first, octet for octet.
    assert len({(taken.recipients, taken.octets) for taken in relay.taken}) == 3
