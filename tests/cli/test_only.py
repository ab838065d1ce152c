"""Who is mailed can be narrowed down to one person, a number, or a list no longer than expected."""

import contextlib
import email
import sqlite3

import pytest

from running import postroom, quick


@pytest.fixture
def send(folder, relay, monkeypatch):
    folder.relay(relay.port)
    return lambda *words: quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json", *words)


def message_ids(relay):
    return [email.message_from_bytes(taken.octets)["Message-ID"] for taken in relay.taken]


def test_only_one_person_is_mailed_and_later_the_others(send, relay):
    first, rest = send("--only", "Zoe@Example.COM"), send()

    assert (first.exit, first.json["sent"], first.json["pending"]) == (0, 1, 1)
    assert (rest.exit, relay.recipients()) == (0, ["zoe@example.com", "ann@example.com"])


def test_one_who_was_sent_it_is_refused_unless_again_which_is_a_second_mail(send, relay):
    send()

    refused, again, after = send("--only", "ann@example.com"), send("--only", "ann@example.com", "--again"), send()

    assert (refused.exit, refused.json["error"]["what"]) == (2, '"ann@example.com" was sent its mail before')
    assert (again.exit, again.json["this_run"]["sent"], again.json["sent"]) == (0, 1, 2)
    assert (after.exit, after.json["this_run"]["sent"]) == (0, 0)
    assert relay.recipients() == ["ann@example.com", "zoe@example.com", "ann@example.com"]
    assert len(set(message_ids(relay))) == 3


def test_each_further_mail_has_a_message_id_of_its_own(send, relay):
    for _ in range(3):
        send("--only", "ann@example.com", "--again")

    assert len(set(message_ids(relay))) == 3


def test_a_second_mail_that_did_not_go_is_sent_by_the_next_run_with_the_same_message_id(send, relay):
    send()
    relay.answers["end of data"] = "451 4.3.0 later"
    send("--only", "ann@example.com", "--again")
    relay.answers.clear()
    with contextlib.closing(sqlite3.connect(".postroom/journal.sqlite3")) as rows, rows:
        rows.execute("UPDATE delivery SET due_at = 0 WHERE state = 'deferred'")
        expected, = rows.execute("SELECT message_id FROM delivery WHERE key = 'ann@example.com'").fetchone()

    said = send()

    assert (said.exit, said.json["this_run"]["sent"]) == (0, 1)
    assert message_ids(relay)[-1] == f"<{expected}>" not in message_ids(relay)[:2]


def test_an_address_that_no_row_has_is_told(send, relay):
    said = send("--only", "nobody@example.com")

    assert (said.exit, relay.connections) == (2, 0)
    assert said.json["error"]["what"] == 'no row has the address "nobody@example.com"'


def test_again_without_a_person_is_a_wrong_command_line(send, relay):
    said = send("--again")

    assert (said.exit, relay.connections) == (2, 0) and "--only" in said.err


def test_a_refused_person_may_be_tried_once_more(send, relay):
    relay.answers["RCPT TO:<ann@example.com>"] = "550 5.1.1 no such mailbox"
    send()
    relay.answers.clear()

    said = send("--only", "ann@example.com", "--again")

    assert (said.exit, said.json["sent"], said.json["rejected"]) == (0, 2, 0)


@pytest.mark.parametrize(("most", "exit_code"), [("1", 2), ("2", 0), ("3", 0)])
def test_a_list_longer_than_expected_is_refused(send, relay, most, exit_code):
    said = send("--at-most", most)

    assert said.exit == exit_code and len(relay.taken) == (0 if exit_code else 2)
    if exit_code:
        assert said.json["error"]["what"] == "there are 2 recipients, more than the 1 that --at-most allows"
        assert relay.connections == 0


def test_a_build_machine_without_a_journal_does_not_start_over_by_accident(folder, relay):
    folder.relay(relay.port)

    lost = postroom("send", "campaign.yaml", "--yes", "--json", environment={"CI": "true"})
    new = postroom("send", "campaign.yaml", "--yes", "--json", "--new", environment={"CI": "true"})
    kept = postroom("send", "campaign.yaml", "--yes", "--json", environment={"CI": "true"})

    assert (lost.exit, new.exit, kept.exit, len(relay.taken)) == (2, 0, 0, 2)
    assert "--new" in lost.json["error"]["do"] and relay.connections == 1


def test_a_forgotten_person_is_not_mailed_by_name_either(send, relay):
    quick_forget = postroom("forget", "ann@example.com")

    said = send("--only", "ann@example.com")

    assert (quick_forget.exit, said.exit, relay.taken) == (0, 2, [])
    assert "must not be mailed again" in said.json["error"]["what"]


@pytest.fixture
def invoices(folder, relay):
    """Two rows of one person, told apart by their invoices."""
    folder.relay(relay.port)
    campaign = folder.path / "campaign.yaml"
    campaign.write_text(campaign.read_text().replace("  file: recipients.csv\n", "  file: recipients.csv\n  key: [email, invoice]\n"))
    folder.write("recipients.csv", "email,first_name,invoice\nann@example.com,Ann,1\n")
    return folder


def test_only_sends_the_row_that_is_new_and_never_the_other_one_twice(invoices, relay, monkeypatch):
    def send(*words):
        return quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json", *words)

    send()
    invoices.write("recipients.csv", "email,first_name,invoice\nann@example.com,Ann,1\nann@example.com,Ann,2\n")

    mixed, new, done = send("--only", "ann@example.com", "--again"), send("--only", "ann@example.com"), send("--only", "ann@example.com")

    assert (mixed.exit, new.exit, new.json["this_run"]["sent"], done.exit, len(relay.taken)) == (2, 0, 1, 2, 2)
    assert "would send the others a second time" in mixed.json["error"]["what"]


def test_a_second_mail_that_did_not_leave_is_remembered_though_its_row_is_gone_for_a_while(send, relay, folder):
    send()
    relay.answers["MAIL"] = "550 5.4.5 Daily user sending limit exceeded"
    send("--only", "ann@example.com", "--again")
    relay.answers.clear()
    table = (folder.path / "recipients.csv").read_text()
    folder.write("recipients.csv", table.replace("ann@example.com,Ann\n", ""))
    send()
    folder.write("recipients.csv", table)

    send()

    assert relay.recipients().count("ann@example.com") == 2 and len(set(message_ids(relay))) == len(relay.taken)
