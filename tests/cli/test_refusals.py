"""What a known refusal does to a run, where the message has copies, the session is worn out, or the words mislead."""

import itertools

import pytest

from conftest import CAMPAIGN
from running import deliveries, postroom


@pytest.fixture
def six(folder, relay):
    """A campaign for six people through the relay; more(lines) adds to the campaign."""
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"r{number}@example.com,R\n" for number in range(6)))

    def send(more=""):
        folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {relay.port}") + more)
        return postroom("send", "campaign.yaml", "--yes", "--json")

    return send


def test_a_quota_told_at_the_own_address_holds_back_the_copies_too(six, relay):
    """Else the archive gets the mail again with each try, and the row counts as refused for good."""
    for number in range(6):
        relay.answers[f"RCPT TO:<r{number}@example.com>"] = "550 Connection frequency limited"

    said = six("bcc: archive@example.com\n")

    assert (said.exit, said.json["pending"], said.json["rejected"], relay.taken) == (3, 6, 0, [])


def test_a_mailbox_that_takes_no_mail_for_now_is_put_off_with_its_copies(six, relay):
    relay.answers["RCPT TO:<r0@example.com>"] = "550 Mailbox unavailable or access denied"

    said = six("bcc: archive@example.com\n")

    assert (said.exit, said.json["deferred"], said.json["rejected"], len(relay.taken)) == (1, 1, 0, 5)


@pytest.mark.parametrize("reply", ["550 User suspended", "550 User not found: ann@163.com", "550 5.1.1 Mailbox not found"])
def test_a_sender_who_does_not_exist_marks_nobody_as_refused(six, relay, reply):
    relay.answers["MAIL"] = reply

    said = six()

    assert (said.exit, said.json["pending"], said.json["rejected"]) == (2, 6, 0)


def test_a_worn_out_session_makes_way_for_a_new_one(six, relay):
    """reliability, section 6: 163's MI:DMC wants a reconnect, and the same message again."""
    counts = {}

    def mail(line):
        counts[relay.connections] = counts.get(relay.connections, 0) + 1
        return "450 MI:DMC 163 smtp8" if counts[relay.connections] > 2 else "250 2.1.0 OK"

    relay.answers["MAIL"] = mail

    said = six()

    assert (said.exit, said.json["sent"], relay.connections) == (0, 6, 3), said.err
    assert relay.recipients() == [f"r{number}@example.com" for number in range(6)]


@pytest.mark.parametrize("reply", ["550 5.1.1 <sendasdenied@example.com>: User unknown", "550 5.1.1 sendasdenied@spamcop.net: no such user"])
def test_a_word_in_a_repeated_address_stops_nobody_elses_mail(folder, six, relay, reply):
    numbers = itertools.count()
    relay.answers["RCPT"] = lambda line: reply if next(numbers) == 0 else "250 2.1.5 OK"

    said = six()

    assert (said.exit, said.json["rejected"], said.json["sent"]) == (1, 1, 5)
    assert deliveries(folder)["r0@example.com"] == "rejected"


def test_an_address_of_the_network_that_looks_like_a_code_is_none(six, relay):
    relay.answers["RCPT"] = "450 4.7.1 greylisted, 185.7.57.12"

    said = six()

    assert (said.exit, said.json["deferred"]) == (1, 6)
