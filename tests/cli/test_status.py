"""postroom status: who is uncertain, by name, and what can be done about it."""

import re
import sqlite3
import time
from contextlib import closing

import pytest

from conftest import TABLE
from relay import Hangup, Relay
from running import postroom, started

ANN, ZOE = "ann@example.com", "zoe@example.com"


def hang_up(octets):
    raise Hangup


@pytest.fixture
def lost(folder, relay):
    """A campaign whose first mail got no answer, its second went well."""
    answers = iter([hang_up])
    relay.answers["end of data"] = lambda octets: next(answers, lambda octets: "250 2.0.0 taken")(octets)
    folder.relay(relay.port)
    return folder


def people(count):
    return "email,first_name\n" + "".join(f"p{number:02}@example.com,P\n" for number in range(count))


def every_reply_lost(folder, count):
    """A journal in which so many are uncertain, each from a run of its own."""
    folder.write("recipients.csv", people(count))
    with Relay({"end of data": hang_up}) as relay:
        folder.relay(relay.port)
        for _ in range(count):
            said = postroom("send", "campaign.yaml", "--yes", "--json")
            if said.json["uncertain"] == count:
                return
    pytest.fail("not all became uncertain")


def test_an_uncertain_one_is_named_with_row_address_time_phase_and_message_id(lost):
    """reliability.md, section 2: shown to the user."""
    before = time.time()
    sent = postroom("send", "campaign.yaml", "--yes", "--json")
    [one] = postroom("status", "campaign.yaml", "--json").json["uncertain_list"]

    message_id = one.pop("message_id")
    moment = one.pop("time")
    assert one == {"row": 2, "address": ANN, "phase": "end of data"}
    assert re.fullmatch(r"[0-9a-f]{32}@example\.com", message_id)
    assert moment in {time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before + second)) for second in range(30)}
    assert sent.json["uncertain_list"] == [{**one, "message_id": message_id, "time": moment}]


def test_the_list_is_a_table_of_80_columns_with_three_ways_on_and_their_risks(lost):
    sent = postroom("send", "campaign.yaml", "--yes")

    said = postroom("status", "campaign.yaml").out

    [one] = postroom("status", "campaign.yaml", "--json").json["uncertain_list"]
    assert max(map(len, said.splitlines())) <= 80
    table = said[said.index("1 message may"):]
    assert table in sent.err
    assert f"""\
     row  left at (UTC)        phase        address, Message-ID
       2  {one['time'].replace('T', ' ').rstrip('Z')}  end of data  {ANN}
          {one['message_id']}
""" in table
    assert "the server had all of each" in table.replace("\n", " ") and "the mail is there or it is not" in table.replace("\n", " ")
    for way in ("postroom reconcile campaign.yaml --relay-log FILE", "postroom send campaign.yaml --uncertain resend", "postroom send campaign.yaml --uncertain skip"):
        assert way in table
    assert "somebody may get it twice" in table and "somebody may never get it" in table


def test_of_many_uncertain_ones_twenty_are_shown_and_json_has_all(folder):
    every_reply_lost(folder, 23)

    said = postroom("status", "campaign.yaml").out
    every = postroom("status", "campaign.yaml", "--json").json["uncertain_list"]

    assert sum("@example.com" in line and "end of data" in line for line in said.splitlines()) == 20
    assert "… and 3 more; all of them: postroom report campaign.yaml --json" in said
    assert [one["row"] for one in every] == list(range(2, 25))


def test_what_a_killed_run_had_leaving_is_uncertain_and_has_the_time_when_it_left(folder):
    """Its outcome is only written down by the next run, which may come days later."""
    with Relay({"end of data": lambda octets: None}) as relay:
        folder.relay(relay.port)
        process = started("send", "campaign.yaml", "--yes")
        while not any(command.startswith("DATA") for command in relay.commands):
            time.sleep(0.02)
        under_way = postroom("status", "campaign.yaml", "--json").json
        process.kill()
        process.communicate()
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as journal, journal:
        journal.execute("UPDATE account_use SET at = 1795000000")

    dead = postroom("status", "campaign.yaml", "--json").json
    with Relay() as relay:
        folder.relay(relay.port)
        postroom("send", "campaign.yaml", "--yes")
    settled = postroom("status", "campaign.yaml", "--json").json

    assert (under_way["running"], under_way["uncertain"], under_way["uncertain_list"]) == (True, 0, [])
    assert (dead["uncertain"], settled["uncertain"]) == (1, 1)
    assert dead["uncertain_list"] == settled["uncertain_list"]
    assert {key: value for key, value in dead["uncertain_list"][0].items() if key != "message_id"} == {
        "row": 2, "address": ANN, "time": "2026-11-18T11:06:40Z", "phase": "end of data"}


def test_where_nobody_is_uncertain_nothing_is_said_of_it(folder, relay):
    folder.relay(relay.port)
    postroom("send", "campaign.yaml", "--yes")

    assert "may or may not" not in postroom("status", "campaign.yaml").out
    assert postroom("status", "campaign.yaml", "--json").json["uncertain_list"] == []


def test_of_all_campaigns_status_says_how_they_are_named(lost):
    postroom("send", "campaign.yaml", "--yes")

    assert "`postroom status CAMPAIGN` names those who are uncertain." in postroom("status").out


def test_a_cell_cannot_steer_the_terminal_that_shows_it(lost):
    """A key is any cell; an older journal has only that."""
    lost.write("recipients.csv", TABLE)
    postroom("send", "campaign.yaml", "--yes")
    with closing(sqlite3.connect(lost.path / ".postroom" / "journal.sqlite3")) as journal, journal:
        journal.execute("UPDATE delivery SET address = 'ann' || char(27) || '[2J@example.com', line = NULL WHERE key = ?", (ANN,))

    said = postroom("status", "campaign.yaml").out

    assert "ann\\x1b[2J@example.com" in said and "\n       ?  " in said and "\x1b" not in said


@pytest.mark.parametrize("lines", ["edition: two", 'edition: "two"', '"edition": two', "'edition': two", "edition : two", '"\\x65dition": two', "? edition\n: two", "edition:\n  two",
                                   "# " + "x" * 70_000 + "\nedition: two"])
def test_the_edition_is_the_campaigns_own_however_it_is_written(folder, relay, lines):
    text = folder.relay(relay.port).read_text().replace('edition: "2026-11"\n', "")
    folder.campaign(text)
    assert postroom("send", "campaign.yaml", "--yes").exit == 0
    before = postroom("status", "campaign.yaml", "--json").json

    folder.campaign(f"{text}{lines}\n")
    after = postroom("status", "campaign.yaml", "--json").json

    assert [(said["edition"], said["sent"]) for said in (before, after)] == [(None, 2), ("two", 0)]


def test_a_name_that_goes_on_in_the_next_line_is_another_campaign(folder, relay):
    text = folder.relay(relay.port).read_text()
    assert postroom("send", "campaign.yaml", "--yes").exit == 0
    folder.campaign(text.replace("name: digest\n", "name: digest\n  spring\n"))

    assert postroom("status", "campaign.yaml", "--json").json.get("campaign") != "digest"
