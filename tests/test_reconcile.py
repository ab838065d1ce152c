"""Uncertain mails, made by cutting the wire to a real relay, are settled by that relay's own log; what it delivered is the truth."""

import gzip
import random
import time
from dataclasses import dataclass

import pytest

from conftest import Folder
from cut import GONE, PASSED, SHORT, WITHHELD, Cut
from peers import Exim, Postfix, have_exim, have_postfix
from postroom.cli.main import run
from postroom.journal import settle
from postroom.reconcile import relay_log
from running import deliveries, missing, postroom

PEOPLE = 132
AT_THE_ENDS = 2  # before and after the cuts go people whose mail passes
# What a test cannot wait for: two minutes for the kernel's sake and one for the clocks.
SETTLED_SECONDS, CLOCK_SECONDS, PAUSE_SECONDS = 1, 1, 4
# Half of what is cut is taken by the relay and half is not; what passes in between lets the run go on.
RELAYS = {"Postfix": (Postfix, have_postfix, "Postfix, started as root", [WITHHELD, SHORT, GONE, SHORT]),
          "Exim": (Exim, have_exim, "Exim in .peers (tests/unpack_peers.sh)", [WITHHELD, SHORT, WITHHELD, GONE])}


@dataclass(frozen=True)
class Wreck:
    """A campaign with half of its mails uncertain: its files, the relay's log, and who of the uncertain has the mail."""

    name: str
    files: dict[str, bytes]
    log: str
    uncertain: set[str]
    taken: set[str]

    def reconciled(self, folder, *logs: str | bytes) -> dict[str, str]:
        """What the journal says of each uncertain one after `reconcile` with these logs, mail.log and older, from the wreck anew."""
        for name, octets in self.files.items():
            folder.write(name, octets)
        words = ["reconcile", "campaign.yaml"]
        for number, log in enumerate(logs):
            name = f"mail.log{f'.{number}' if number else ''}{'.gz' if isinstance(log, bytes) else ''}"
            folder.write(name, log)
            words += ["--relay-log", name]
        left = run(words)
        states = {key: state for key, state in deliveries(folder).items() if key in self.uncertain}
        assert left == (1 if "uncertain" in states.values() else 0)
        return states

    def wrong(self, states) -> list[str]:
        """Who was settled, and wrongly so."""
        return [key for key, state in states.items() if state not in ("sent" if key in self.taken else "pending", "uncertain")]


@pytest.fixture(autouse=True)
def no_time_to_wait(monkeypatch):
    monkeypatch.setattr(settle, "SETTLED_SECONDS", SETTLED_SECONDS)
    monkeypatch.setattr(relay_log, "CLOCK_SECONDS", CLOCK_SECONDS)


@pytest.fixture(scope="module", params=RELAYS)
def wreck(request, tmp_path_factory):
    peer, have, name, cuts = RELAYS[request.param]
    if not have():
        missing(name)
    folder = Folder(tmp_path_factory.mktemp("wreck"))
    people = [f"person{number}@example.com" for number in range(PEOPLE)]
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},Ann\n" for address in people))
    middle = range(AT_THE_ENDS, PEOPLE - AT_THE_ENDS)
    with peer() as relay, Cut(relay.port, lambda number: cuts[number // 2 % len(cuts)] if number in middle and number % 2 else PASSED) as cut:
        folder.relay(cut.port)
        sent_in_runs(folder, AT_THE_ENDS, len(middle), AT_THE_ENDS)
        states = deliveries(folder)
        delivered = [mail.recipients[0] for mail in relay.mails()]
        log = relay.log()
    assert len(set(delivered)) == len(delivered)
    uncertain = {key for key, state in states.items() if state == "uncertain"}
    assert {key for key, state in states.items() if state == "sent"} == set(people) - uncertain
    files = {path.relative_to(folder.path).as_posix(): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    return Wreck(request.param, files, log, uncertain, uncertain & set(delivered))


def sent_in_runs(folder, *limits):
    """Send to so many in a run of their own each, with a pause after it that the clocks' seconds can tell."""
    for limit in limits:
        postroom("send", "campaign.yaml", "--yes", "--limit", limit, cwd=folder.path)
        time.sleep(PAUSE_SECONDS)


def test_the_log_of_a_real_relay_settles_every_uncertain_mail_and_none_wrongly(wreck, folder, record_property):
    """reliability.md, goal 3: Postfix keeps what came whole though nobody waited for the answer, Exim throws it away."""
    assert len(wreck.uncertain) >= 50 and len(wreck.taken) == len(wreck.uncertain) // 2

    states = wreck.reconciled(folder, wreck.log)

    settled = [key for key, state in states.items() if state != "uncertain"]
    record_property("figure", f"reconcile with the log of a real {wreck.name}: {len(settled)} of {len(states)} uncertain settled "
                              f"({len(wreck.taken)} had been taken), {len(wreck.wrong(states))} wrongly")
    assert (len(settled), wreck.wrong(states)) == (len(wreck.uncertain), [])


def test_a_log_in_rotated_parts_is_one_log_when_all_are_there(wreck, folder):
    lines = wreck.log.splitlines(keepends=True)
    third = len(lines) // 3
    oldest, older, newest = ("".join(part) for part in (lines[:third], lines[third:2 * third], lines[2 * third:]))

    whole = wreck.reconciled(folder, newest, older, gzip.compress(oldest.encode()))
    without_the_oldest = wreck.reconciled(folder, newest, older)

    assert ("uncertain" in whole.values(), wreck.wrong(whole)) == (False, [])
    assert (set(without_the_oldest.values()), wreck.wrong(without_the_oldest)) == ({"sent", "uncertain"}, [])


def test_what_a_cut_log_does_not_show_stays_uncertain(wreck, folder, record_property):
    """A head, a tail or a middle is missing: whoever's line went with it is never called not sent."""
    lines, chance = wreck.log.splitlines(keepends=True), random.Random(5)
    last, least = len(lines), 24  # lines: less than two mails could be a cut that nobody can see
    cuts = [(0, last // 2), (last // 2, last), (last // 3, 2 * last // 3), (0, least), (last - least, last)]
    while len(cuts) < 15:
        begin, end = sorted(chance.sample(range(last), 2))
        cuts += [(begin, end)] if end - begin >= least else []
    wrong, still = [], 0
    for begin, end in cuts:
        log = "".join(lines[:begin] + lines[end:])

        states = wreck.reconciled(folder, log)

        wrong += wreck.wrong(states)
        still += list(states.values()).count("uncertain")
        assert "uncertain" in states.values(), (begin, end)
        assert begin or "pending" not in states.values()
    record_property("figure", f"reconcile with the log of a real {wreck.name}, {len(cuts)} times with a part cut out: {len(wrong)} settled wrongly, "
                              f"{still} of {len(cuts) * len(wreck.uncertain)} stay uncertain")
    assert wrong == []


def test_what_was_not_taken_goes_with_the_next_run_and_everybody_has_it_once(folder):
    """The whole way: cut, reconcile, send; the mail that goes again is the same, Message-ID, Date and all."""
    if not have_postfix():
        missing("Postfix, started as root")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,Ann\n" for number in range(6)))
    fates = {1: SHORT, 3: WITHHELD}
    with Postfix() as relay, Cut(relay.port, lambda number: fates.get(number, PASSED)) as cut:
        folder.relay(cut.port)
        sent_in_runs(folder, 1, 3, 2)
        dates = dict(deliveries(folder, "key, date"))
        log = folder.write("mail.log", relay.log())

        left = run(["reconcile", "campaign.yaml", "--relay-log", str(log)])
        sent = postroom("send", "campaign.yaml", "--yes", "--json")

        mails = relay.wait_for(6)
    assert (left, sent.exit, sent.json["this_run"]["sent"], sent.json["sent"]) == (0, 0, 1, 6)
    assert sorted(mail.recipients[0] for mail in mails) == [f"p{number}@example.com" for number in range(6)]
    assert dict(deliveries(folder, "key, date")) == dates
