"""Rows checked in other processes: nothing that anybody can see is otherwise, and no process outlives its run."""

import os
import re
import signal
import sys
import time
from collections import Counter
from email.utils import parsedate_to_datetime

import pytest

from conftest import CAMPAIGN
from running import deliveries, session_of, started_with_workers, with_workers

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no workers"), pytest.mark.timeout(300)]
PEOPLE = 60
ADDRESSES = [f"p{number:02}@example.com" for number in range(PEOPLE)]
LARGE = "x" * 75 + "\n"


@pytest.fixture
def campaign(folder, relay):
    """Each mail has an attachment of its own, so that only a few fit into what a worker may have ready."""
    folder.write("recipients.csv", "email,first_name,city\n" + "".join(f"{address},N{number},Köln\n" for number, address in enumerate(ADDRESSES)))
    for number in range(PEOPLE):
        folder.write(f"papers/N{number}.txt", f"for {number}\n" + LARGE * 1500)
    folder.write("digest.html", '<!doctype html><html><body><p>Hello {{ first_name }}</p>{% if first_name == "N41" %}{% include "part.html" %}{% endif %}</body></html>')
    folder.write("part.html", "<p>part of one mail</p>")
    folder.relay(relay.port, 'attachments: ["papers/{{ first_name }}.txt"]\n')
    return folder


def undated(octets):
    return re.sub(rb"(?m)^Date: .*\r\n", b"", octets, count=1)


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


# What arrives is the same

@pytest.mark.parametrize("words", [(), ("--limit", "7"), ("--only", ADDRESSES[5])])
def test_a_run_with_workers_sends_the_same_mails_in_the_same_order(campaign, relay, words):
    sent = {}
    for number in (0, 1, 2):
        relay.taken.clear()
        said = with_workers(number, "send", "campaign.yaml", "--yes", "--journal", f"{number}.sqlite3", "--json", *words)
        assert said.exit == 0, said.err
        sent[number] = [(taken.sender, taken.recipients, undated(taken.octets)) for taken in relay.taken]

    assert len(sent[0]) == (7 if "--limit" in words else 1 if words else PEOPLE)
    assert sent[0] == sent[1] == sent[2]


def test_a_repeat_is_the_same_octets_and_a_late_one_goes_last(campaign, relay):
    """Both from an earlier run: one whose reply never came, and one at which the relay closed twice."""
    relay.answers["end of data"] = lambda octets: None if b"Hello N3<" in octets else "250 2.0.0 taken"
    process = started_with_workers(1, "send", "campaign.yaml", "--yes")
    wait_for(lambda: len(relay.taken) == 3)
    wait_for(lambda: deliveries(campaign).get(ADDRESSES[3]) == "leaving")
    process.kill()
    process.communicate()
    relay.answers.clear()
    relay.drain()
    uncertain = {address for address, state in deliveries(campaign).items() if state == "leaving"}
    before = relay.recipients()

    said = with_workers(1, "send", "campaign.yaml", "--yes", "--uncertain", "resend", "--json")

    assert (said.exit, said.json["sent"]) == (0, PEOPLE), said.err
    assert set(before).isdisjoint(relay.recipients()[len(before):]) and ADDRESSES[3] in uncertain
    assert Counter(relay.recipients()) == Counter(ADDRESSES)


# What is found is the same

ODD_ROWS = ["", "ann@example.com,Ann,1,", "short@example.com,S", "bob@exa mple.com,Bob,2,", "cy@gmial.com,Cy,3,", "ann@example.com,Ann,1,", "dot@example.com,Dot,nothing,", ",Nobody,4,",
            "eve@example.com,Eve,5,javascript:alert(1)", "ann@example.com,Ann,2,", "jürgen@example.com,J,1,", "zwsp@example.com,Z\u200bZ,1,", "gone@example.com,Gone,1,", "long@example.com,a,b,c,d,e",
            "big@example.com,Big,1,", "raises@example.com,Raises,1,"] + [f"p{number}@example.com,P{number},1," for number in range(30)]
ODD = CAMPAIGN.replace('subject: "', 'subject: "{{ 1 // (first_name != \'Raises\') }} ') + 'attachments: ["papers/{{ paper }}.txt"]\n'


@pytest.mark.parametrize("reversed_", [False, True])
@pytest.mark.parametrize("rows", [ODD_ROWS, ["cy@gmial.com,Cy,1,", "ann@example.com,Ann,1,", "ann@example.com,Ann,1,", "big@example.com,Big,1,", "jürgen@example.com,J,1,"] * 5])
def test_check_says_the_same_faults_and_warnings_in_the_same_order(folder, rows, reversed_):
    folder.campaign(ODD)
    folder.write("digest.html", '<p>{{ first_name }}</p>{{ "x" * 5000 if first_name == "Big" }}<a href="{{ link }}">x</a>{{ oops if first_name == "Gone" }}')
    folder.write("papers/1.txt", "one")
    folder.write("papers/2.txt", "two")
    folder.write("recipients.csv", "email,first_name,paper,link\n" + "".join(f"{row}\n" for row in (rows[::-1] if reversed_ else rows)))

    said = [with_workers(number, "check", "campaign.yaml", "--json") for number in (0, 1, 2)]

    assert said[0].exit == (2 if rows is ODD_ROWS else 0) and (said[0].json["errors"] or said[0].json["warnings"])
    assert said[1].json == said[2].json == said[0].json
    dry = [with_workers(number, "send", "campaign.yaml", "--dry-run", "--limit", "6") for number in (0, 2)]
    assert (dry[1].exit, dry[1].out, dry[1].err) == (dry[0].exit, dry[0].out, dry[0].err)


def test_a_template_without_end_ends_preflight_soon(folder):
    """Forty rows, each of which would take two seconds of processor time to fail."""
    folder.write("digest.html", "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}{{ first_name }}")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in ADDRESSES[:40]))

    said = with_workers(2, "check", "campaign.yaml", "--json")

    assert (said.exit, len(said.json["errors"])) == (2, 1)
    assert "did not end within 2 seconds" in said.json["errors"][0]["what"]


def test_what_only_a_worker_has_read_belongs_to_the_edition(campaign, relay):
    """A part of the template that a single row includes: changed later, it is told."""
    relay.after = lambda taken: taken == 3 and os.kill(process.pid, signal.SIGTERM)
    process = started_with_workers(2, "send", "campaign.yaml", "--yes")
    process.communicate(timeout=60)
    campaign.write("part.html", "<p>another</p>")

    said = with_workers(0, "send", "campaign.yaml", "--yes")

    assert (said.exit, len(relay.taken)) == (2, 3) and "part.html changed since this edition's first mail" in said.err


# What goes wrong is told, and nobody is lost

@pytest.mark.parametrize(("content", "words"), [("another", "no longer what was checked"), (None, "there is no such file")])
def test_what_changed_in_mid_run_is_told_behind_the_messages_before_it(campaign, relay, content, words):
    paper = campaign.path / f"papers/N{PEOPLE - 1}.txt"
    relay.after = lambda taken: taken == 3 and (paper.unlink() if content is None else paper.write_text(content))

    said = with_workers(1, "send", "campaign.yaml", "--yes", "--json")

    error = said.json["error"]
    assert (said.exit, words in error["what"], PEOPLE + 1) == (2, True, error["where"].get("row") or error["where"]["line"]), said.err
    assert relay.recipients() == ADDRESSES[:-1]
    assert Counter(deliveries(campaign).values()) == {"sent": PEOPLE - 1, "pending": 1}


def test_a_worker_of_preflight_that_is_killed_is_one_clear_error(folder):
    folder.write("digest.html", "{% for a in range(3000) %}{{ loop.index }}{% endfor %}{{ first_name }}")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(20_000)))
    process = started_with_workers(1, "check", "campaign.yaml")
    wait_for(lambda: session_of(process.pid))
    os.kill(*session_of(process.pid), signal.SIGKILL)

    _, words = process.communicate(timeout=60)

    assert process.returncode == 3 and "a process of this run was ended from outside" in words and "Traceback" not in words


@pytest.fixture
def slow(folder, relay):
    """A campaign whose preflight takes long: (folder, a run of it, whose worker is there and at work)."""
    folder.write("digest.html", "{% for a in range(3000) %}{{ loop.index }}{% endfor %}{{ first_name }}")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(20_000)))
    folder.relay(relay.port)
    process = started_with_workers(1, "send", "campaign.yaml", "--yes")
    wait_for(lambda: session_of(process.pid))
    yield folder, process
    process.kill()
    process.communicate()
    wait_for(lambda: session_of(process.pid) == [])


def test_a_run_that_is_killed_leaves_no_worker_and_no_lock(slow):
    """The worker stands still meanwhile, so it can neither end nor let go of anything: the next run must not take it for a run."""
    folder, process = slow
    worker, = session_of(process.pid)
    os.kill(worker, signal.SIGSTOP)
    process.kill()
    process.communicate()
    folder.write("recipients.csv", "email,first_name\np@example.com,P\n")

    said = with_workers(1, "send", "campaign.yaml", "--yes", "--json")

    os.kill(worker, signal.SIGCONT)
    assert (said.exit, said.json["sent"]) == (0, 1), said.err


def test_a_worker_holds_nothing_of_ours(slow):
    """Not the lock; not the journal; not the terminal."""
    worker, = session_of(slow[1].pid)

    held = Counter(re.sub(r":\[.*", "", os.readlink(f"/proc/{worker}/fd/{number}")) for number in os.listdir(f"/proc/{worker}/fd"))

    assert held.pop("pipe") == 2 and held.pop(os.devnull) > 3 and all(name.endswith("recipients.csv") for name in held)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_its_processes_ends_a_run_as_ever(campaign, relay, number):
    """A Ctrl-C goes to everybody in front of the terminal."""
    relay.after = lambda taken: taken == 20 and os.killpg(process.pid, number)
    process = started_with_workers(1, "send", "campaign.yaml", "--yes")

    _, words = process.communicate(timeout=60)

    assert process.returncode == 128 + number, words
    assert (len(relay.taken), session_of(process.pid)) == (20, [])
    assert Counter(deliveries(campaign).values()) == {"sent": 20, "pending": PEOPLE - 20}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_preflight_ends_its_workers(folder, number):
    folder.write("digest.html", "{% for a in range(3000) %}{{ loop.index }}{% endfor %}{{ first_name }}")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(20_000)))
    process = started_with_workers(2, "check", "campaign.yaml")
    wait_for(lambda: len(session_of(process.pid)) == 2)
    os.killpg(process.pid, number)

    _, words = process.communicate(timeout=60)

    assert (process.returncode, session_of(process.pid)) == (128 + number, []) and "Traceback" not in words


@pytest.mark.parametrize("answer", ["550 5.7.1 you are not allowed to send", "535 5.7.8 authentication failed", "421 4.3.2 shutting down"])
def test_a_run_that_ends_early_leaves_no_process(campaign, relay, answer):
    relay.answers["MAIL"] = lambda line: "250 2.1.0 OK" if len(relay.taken) < 5 else answer

    said = with_workers(1, "send", "campaign.yaml", "--yes", "--json")

    assert said.exit in (1, 2, 3) and len(relay.taken) == 5
    assert "uncertain" not in deliveries(campaign).values()


# The Date is that of the moment

@pytest.mark.parametrize("number", [0, 1])
def test_a_mail_that_waits_for_the_rate_has_the_date_of_its_leaving(campaign, relay, number):
    campaign.write("recipients.csv", "email,first_name,city\n" + "".join(f"{address},N{number},Köln\n" for number, address in enumerate(ADDRESSES[:4])))
    campaign.relay(relay.port, "  rate: 1 per 3 seconds\n")
    late = []

    def taken(octets):
        date = re.search(rb"(?m)^Date: (.*)\r\n", octets)[1].decode()
        late.append(time.time() - parsedate_to_datetime(date).timestamp())
        return "250 2.0.0 taken"

    relay.answers["end of data"] = taken

    said = with_workers(number, "send", "campaign.yaml", "--yes")

    assert (said.exit, len(late)) == (0, 4), said.err
    assert max(late) < 3
