"""What a run does where the relay asks for patience, and when it has had enough."""

import itertools
import random

import pytest

from conftest import CAMPAIGN
from postroom.send import queue as queues
from relay import Hangup
from running import deliveries, quick

SLOW = "454 4.7.0 Throttling failure: Maximum sending rate exceeded."


def people(number):
    return [f"r{one:04}@example.com" for one in range(number)]


@pytest.fixture
def campaign(folder, relay, monkeypatch):
    """campaign(people, more) writes it and returns what sends it."""

    def written(number, more=""):
        folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},R\n" for address in people(number)))
        folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {relay.port}") + more)
        return lambda *words: quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json", *words)

    return written


def states(said):
    return {state: said.json[state] for state in ("sent", "rejected", "deferred", "uncertain", "skipped", "pending") if said.json[state]}


@pytest.mark.parametrize("reply", [SLOW, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation."])
def test_a_throttling_storm_loses_and_rejects_nobody(campaign, relay, reply, record_property):
    """reliability, goal 9; traps S4: 30 % of 1,000 are told to slow down."""
    chance = random.Random(451)
    relay.answers["MAIL"] = lambda line: reply if chance.random() < 0.3 else "250 2.1.0 OK"
    send = campaign(1000)

    said = send()

    assert (said.exit, states(said)) == (0, {"sent": 1000}), said.err
    assert sorted(relay.recipients()) == people(1000)
    slowed = sum(command.startswith("MAIL") for command in relay.commands) - 1000
    assert slowed > 200 and relay.connections == 1
    record_property("figure", f"throttling storm: {slowed} of {slowed + 1000} answered \"{reply[:9]}\", 1,000 sent, none lost, none rejected")


def test_a_storm_of_plain_451_puts_off_and_sends_all_in_the_end(campaign, relay, folder, monkeypatch):
    """traps S4: nobody is consumed."""
    refused = set(random.Random(1).sample(people(1000), 300))
    relay.answers["RCPT"] = lambda line: "451 4.3.0 try again" if line[9:-1] in refused else "250 2.1.5 OK"
    send = campaign(1000)

    first = send()
    refused.clear()
    monkeypatch.setattr("time.time", lambda real=__import__("time").time: real() + 400)
    second = send()

    assert (first.exit, states(first)) == (1, {"sent": 700, "deferred": 300})
    assert (second.exit, states(second)) == (0, {"sent": 1000})
    assert sorted(relay.recipients()) == people(1000)


def test_who_is_put_off_goes_again_in_the_same_run_while_others_leave(campaign, relay, monkeypatch, folder):
    monkeypatch.setattr(queues, "RETRY_SECONDS", (0.05,))
    monkeypatch.setattr("postroom.send.departures.PASS_SECONDS", 0.2)
    tries = itertools.count()
    relay.answers["RCPT TO:<r0000@example.com>"] = lambda line: "450 4.2.0 greylisted" if next(tries) == 0 else "250 2.1.5 OK"
    send = campaign(100)
    campaign_file = (folder.path / "campaign.yaml")
    campaign_file.write_text(campaign_file.read_text().replace("security: plain", "security: plain\n  rate: 40/second"))

    said = send()

    assert (said.exit, states(said), said.json["this_run"]["deferred"]) == (0, {"sent": 100}, 0), said.err
    assert relay.recipients()[-1] != "r0000@example.com" and sorted(relay.recipients()) == people(100)


def test_where_only_put_off_ones_are_left_the_run_ends_with_the_time_unless_it_waits(campaign, relay, monkeypatch):
    monkeypatch.setattr(queues, "RETRY_SECONDS", (2.0,))
    greylisted = set(people(3))

    def once(line):
        seen = line[9:-1] in greylisted
        greylisted.discard(line[9:-1])
        return "450 4.2.0 greylisted" if seen else "250 2.1.5 OK"

    relay.answers["RCPT"] = once
    send = campaign(3)

    first = send()
    second = send("--wait")

    assert (first.exit, states(first)) == (1, {"deferred": 3})
    assert "put off by the relay, the first until" in first.err
    assert (second.exit, states(second)) == (0, {"sent": 3})
    assert sorted(relay.recipients()) == people(3)


def test_a_relay_that_only_says_slow_down_ends_the_run_and_blames_nobody(campaign, relay):
    relay.answers["MAIL"] = SLOW
    send = campaign(10)

    said = send()

    assert (said.exit, states(said)) == (3, {"pending": 10})
    assert "slow" in said.json["error"]["what"].lower() or "rate" in said.json["error"]["what"].lower()
    assert len([command for command in relay.commands if command.startswith("MAIL")]) == 10


def test_a_relay_that_closes_with_slow_down_is_called_again_more_slowly(campaign, relay):
    tries = itertools.count(1)
    relay.answers["MAIL"] = lambda line: "421 4.7.0 [TSS04] Messages from 192.0.2.25 temporarily deferred due to unexpected volume" if next(tries) in (3, 7) else "250 2.1.0 OK"
    send = campaign(8)

    said = send()

    assert (said.exit, states(said), relay.connections) == (0, {"sent": 8}, 3), said.err


def test_a_campaign_that_goes_wrong_ends_at_its_own_limit(campaign, relay):
    """design: stop when both are passed in this run; a second run goes on with the others."""
    relay.answers["RCPT"] = lambda line: "550 5.1.1 no such mailbox" if int(line[10:14]) % 2 else "250 2.1.5 OK"
    send = campaign(100, "delivery: {stop_after: {failures: 10, share: 40%}}\n")

    said = send()

    assert (said.exit, states(said)) == (3, {"sent": 10, "rejected": 10, "pending": 80})
    assert "10 of 20 were refused in this run, which is the limit (10 and 40%)" in said.json["error"]["what"]


def test_a_few_bad_addresses_in_a_long_list_stop_nothing(campaign, relay):
    relay.answers["RCPT"] = lambda line: "550 5.1.1 no such mailbox" if int(line[10:14]) % 5 == 0 else "250 2.1.5 OK"

    said = campaign(200)()

    assert (said.exit, states(said)) == (1, {"sent": 160, "rejected": 40})


def test_by_default_a_run_into_a_wall_ends_after_twenty(campaign, relay):
    relay.answers["RCPT"] = "550 5.1.1 no such mailbox"

    said = campaign(100)()

    assert (said.exit, states(said)) == (3, {"rejected": 20, "pending": 80})


def test_five_refusals_in_a_row_in_words_that_nobody_knows_end_the_run(campaign, relay):
    """reliability, section 6: it is hardly the recipients."""
    numbers = itertools.count()
    relay.answers["RCPT"] = lambda line: f"550 5.7.1 policy {next(numbers)} says no to <{line[9:-1]}>"

    said = campaign(30)()

    assert (said.exit, states(said)) == (3, {"rejected": 5, "pending": 25})
    assert "one after the other in the same words" in said.json["error"]["what"]


def test_a_wall_of_451_ends_the_run_after_twenty_and_loses_nobody(campaign, relay):
    relay.answers["RCPT"] = "451 4.3.0 not today"

    said = campaign(60)()

    assert (said.exit, states(said)) == (3, {"deferred": 20, "pending": 40})


def test_how_many_messages_a_session_takes_is_learned(campaign, relay):
    """traps S3: 421 after 10 messages; nobody is lost, nobody gets two, and the limit is remembered."""
    counts = {}

    def mail(line):
        counts[relay.connections] = counts.get(relay.connections, 0) + 1
        return "421 4.7.0 too many messages" if counts[relay.connections] > 10 else "250 2.1.0 OK"

    relay.answers["MAIL"] = mail

    said = campaign(55)()

    assert (said.exit, states(said)) == (0, {"sent": 55})
    assert sorted(relay.recipients()) == people(55)
    # Twice it was told; from then on it knew.
    assert sum(count > 10 for count in counts.values()) == 2 and relay.connections == 6


def test_a_login_that_is_put_off_is_tried_once_more_and_never_in_a_loop(campaign, relay, folder, monkeypatch):
    """reliability, 4a: 454 4.7.0 at AUTH: wait once, then stop."""
    send = campaign(2)
    campaign_file = folder.path / "campaign.yaml"
    campaign_file.write_text(campaign_file.read_text().replace("security: plain", "security: plain\n  username: ann\n  password: x\n  allow_plaintext_login: true"))
    relay.capabilities = ("AUTH PLAIN",)
    replies = iter(["454 4.7.0 temporary authentication failure", "235 2.7.0 OK"])
    relay.answers["AUTH"] = lambda line: next(replies)

    once = send()
    relay.answers["AUTH"] = "454 4.7.0 temporary authentication failure"
    campaign_file.write_text(campaign_file.read_text().replace("2026-11", "2026-12"))
    before = len(relay.commands)
    never = send()

    assert (once.exit, states(once)) == (0, {"sent": 2})
    assert "Trying once more in" in once.err
    assert (never.exit, states(never)) == (3, {"pending": 2})
    assert sum(command.startswith("AUTH") for command in relay.commands[before:]) == 2


def test_the_last_try_of_many_is_a_refusal_with_its_reason(campaign, relay, folder, monkeypatch):
    """design: a deferred one that has used up its tries becomes rejected with the reason gave_up."""
    monkeypatch.setattr(queues, "RETRY_SECONDS", (0.01,))
    relay.answers["RCPT TO:<r0000@example.com>"] = "450 4.2.0 not now"

    said = campaign(1)("--wait")

    assert (said.exit, states(said)) == (1, {"rejected": 1})
    assert deliveries(folder, "reason, attempts, state") == [("gave_up", queues.MOST_TRIES, "rejected")]


def test_one_at_whom_the_relay_hangs_up_is_left_while_put_off_ones_wait(campaign, relay):
    def rcpt(line):
        if "r0001" in line:
            raise Hangup
        return "450 4.2.0 not now" if "r0002" in line else "250 2.1.5 OK"

    relay.answers["RCPT"] = rcpt

    said = campaign(5)()

    assert (said.exit, states(said)) == (3, {"sent": 3, "deferred": 1, "pending": 1})


def test_only_what_was_put_off_counts_towards_giving_up(campaign, relay, folder):
    """A day's quota and a line that breaks are nobody's refusals, however often a run met them."""
    send = campaign(1)
    relay.answers["MAIL"] = "550 5.4.5 Daily user sending limit exceeded"
    for _ in range(queues.MOST_TRIES):
        send()
    relay.answers["MAIL"] = "451 4.7.1 Greylisted"

    said = send()

    assert (said.exit, states(said)) == (1, {"deferred": 1})
    assert deliveries(folder, "attempts, put_offs, state") == [(queues.MOST_TRIES + 1, 1, "deferred")]


def test_one_recipient_who_is_throttled_holds_up_nobody_else(campaign, relay):
    relay.answers["RCPT TO:<r0001@example.com>"] = "450 4.7.1 rate limit for this recipient exceeded"

    said = campaign(5)()

    assert (said.exit, states(said)) == (1, {"sent": 4, "deferred": 1})


def test_the_rows_own_address_is_the_first_of_a_transaction(campaign, relay, folder):
    """Where a relay takes one recipient at a time and breaks off at a copy, the row has its mail and nobody gets two."""
    taken = []

    def after(count):
        taken.append(count)
        if count == 2:
            raise Hangup

    relay.answers["RCPT"] = lambda line: "552 Too many recipients" if relay.commands[-2].startswith("RCPT") else "250 2.1.5 OK"
    relay.after = after
    send = campaign(1)
    text = (folder.path / "campaign.yaml").read_text()
    folder.campaign(text.replace('to: "{{ first_name }} <{{ email }}>"', 'to: ["boss@example.com", "{{ email }}"]'))

    said = send()

    assert (said.exit, states(said), relay.recipients()) == (1, {"sent": 1}, ["r0000@example.com", "boss@example.com"])


def test_the_confirmation_shows_somebody_who_goes_now(campaign, relay):
    """One who was put off is looked at as well, but is not the first."""
    relay.answers["RCPT TO:<r0000@example.com>"] = "450 4.2.0 not now"
    send = campaign(3)
    send("--limit", "1")

    said = send()

    assert (said.exit, states(said)) == (1, {"sent": 2, "deferred": 1})
    assert "to send     2 now" in said.err and "→ r0001@example.com" in said.err
