"""postroom reconcile: what it says, in words, JSON and exit codes."""

import contextlib
import datetime
import sqlite3
import time

import pytest

from conftest import Folder
from postroom.journal.lock import RunLock
from relay import Hangup, Relay
from running import deliveries, postroom

JOURNAL = ".postroom/journal.sqlite3"


def lost():
    raise Hangup


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Zoë is uncertain, a quarter of an hour ago; Ann had hers before and Cid after."""
    folder = Folder(tmp_path_factory.mktemp("wreck"))
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\nzoe@example.com,Zoë\ncid@example.com,Cid\n")
    answers = iter(("250 taken", None, "250 taken"))
    with Relay({"end of data": lambda octets: next(answers) or lost()}) as relay:
        folder.relay(relay.port)
        postroom("send", "campaign.yaml", "--yes", cwd=folder.path)
    for key, minutes in (("ann", 20), ("zoe", 15), ("cid", 10)):
        at = int(time.time()) - 60 * minutes
        change(folder, "UPDATE delivery SET date = ? WHERE key = ?", at, f"{key}@example.com")
        change(folder, "UPDATE attempt SET at = ? WHERE key = ?", at, f"{key}@example.com")
    assert deliveries(folder) == {"ann@example.com": "sent", "zoe@example.com": "uncertain", "cid@example.com": "sent"}
    return {path.relative_to(folder.path).as_posix(): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.fixture
def wreck(folder, files):
    for name, octets in files.items():
        folder.write(name, octets)
    return folder


def change(folder, statement, *values):
    with contextlib.closing(sqlite3.connect(folder.path / JOURNAL)) as journal:
        journal.execute(statement, values)
        journal.commit()


def log_of(folder, *names, until_minutes=0):
    """Exim's log of these people's mails, and of a run of its queue so many minutes ago."""
    known = {key: (message_id, date) for key, message_id, date in deliveries(folder, "key, message_id, date")}
    lines = []
    for number, name in enumerate(names):
        message_id, date = known[f"{name}@example.com"]
        at = datetime.datetime.fromtimestamp(date).strftime("%Y-%m-%d %H:%M:%S")
        lines += [f"{at} 1xW8R{number}-0003xz-04 <= news@example.com H=(a) [127.0.0.1] P=esmtp S=9 id={message_id}", f"{at} 1xW8R{number}-0003xz-04 Completed"]
    at = datetime.datetime.fromtimestamp(time.time() - 60 * until_minutes).strftime("%Y-%m-%d %H:%M:%S")
    return folder.write("mainlog", "\n".join([*lines, f"{at} Start queue run: pid=1", ""]))


def test_a_mail_that_the_log_shows_is_sent_and_nothing_is_left(wreck):
    log_of(wreck, "ann", "zoe", "cid")

    said = postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog")

    assert (said.exit, said.err, said.out) == (0, "1 mail was uncertain:\n        1 found: the relay took it, so it is sent\n", "")
    assert deliveries(wreck)["zoe@example.com"] == "sent"
    assert postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog").err == "Nothing is uncertain.\n"


def test_a_mail_that_a_whole_log_does_not_show_goes_with_the_next_run(wreck, relay):
    log_of(wreck, "ann", "cid")
    before = deliveries(wreck, "key, message_id, date")

    said = postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog")
    wreck.relay(relay.port)
    sent = postroom("send", "campaign.yaml", "--yes", "--json")

    assert (said.exit, said.err) == (0, "1 mail was uncertain:\n        1 certainly not taken: the next `postroom send` sends it\n")
    assert (sent.exit, sent.json["this_run"]["sent"], sent.json["sent"]) == (0, 1, 3)
    assert deliveries(wreck, "key, message_id, date") == before


def test_a_mail_that_a_cut_log_does_not_show_stays_uncertain_and_says_why(wreck):
    log_of(wreck, "ann")

    said = postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog")

    assert (said.exit, deliveries(wreck)["zoe@example.com"]) == (1, "uncertain")
    assert "1 still uncertain: the log does not show the mail that the relay took just after it" in said.err
    assert "--uncertain resend" in said.err and "twice" in said.err and "--uncertain skip" in said.err
    assert len(said.err.splitlines()) == 5


def test_the_json_document_tells_each_mail_and_why(wreck):
    log_of(wreck, "ann", "zoe")

    said = postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog", "--json")

    document = said.json
    [zoe] = document.pop("deliveries")
    assert document.pop("seconds") >= 0
    assert document == {"version": 1, "exit": 0, "error": None, "campaign": "digest", "edition": "2026-11", "found": 1, "not_found": 0, "uncertain": 0, "journal": JOURNAL}
    assert zoe.pop("evidence").startswith("the relay took it: 1xW8R1-0003xz-04, 20")
    assert zoe == {"line": 3, "address": "zoe@example.com", "message_id": deliveries(wreck, "key, message_id")["zoe@example.com"], "state": "sent"}


@pytest.mark.parametrize(("words", "told"), [
    ([], "there is nothing to look into"), (["--relay-log", "nowhere.log"], "nowhere.log: the log cannot be read: there is no such file"),
    (["--relay-log", "."], "it is a folder"), (["--relay-log", "digest.html"], "digest.html: this is no log of Postfix or Exim"),
    (["--relay-log", "mainlog", "--journal", "other.sqlite3"], "there is no journal"), (["--imap"], "the campaign has no login"),
    (["--imap-host", "host:x"], "give a host, or host:port")])
def test_what_cannot_be_looked_into_is_exit_2_and_changes_nothing(wreck, words, told):
    log_of(wreck, "ann", "cid")

    said = postroom("reconcile", "campaign.yaml", *words)

    assert (said.exit, deliveries(wreck)["zoe@example.com"]) == (2, "uncertain")
    assert told in said.err and not (wreck.path / "other.sqlite3").exists()


def test_a_campaign_that_the_journal_does_not_know_is_exit_2(wreck):
    log_of(wreck, "ann", "cid")
    wreck.campaign((wreck.path / "campaign.yaml").read_text().replace("2026-11", "2026-12"))

    said = postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog", "--json")

    assert (said.exit, said.json["error"]["what"], said.json["found"]) == (2, "the journal knows nothing of digest 2026-12", None)


def test_while_a_run_is_under_way_it_is_exit_4(wreck):
    log_of(wreck, "ann", "zoe", "cid")

    with RunLock(str(wreck.path / JOURNAL), "digest", "2026-11"):
        said = postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog")

    assert (said.exit, deliveries(wreck)["zoe@example.com"]) == (4, "uncertain")


def test_what_was_leaving_when_a_run_died_is_looked_for_too(wreck):
    change(wreck, "UPDATE delivery SET state = 'leaving' WHERE key = 'zoe@example.com'")
    log_of(wreck, "ann", "zoe", "cid")

    assert postroom("reconcile", "campaign.yaml", "--relay-log", "mainlog").exit == 0
    assert deliveries(wreck)["zoe@example.com"] == "sent"


def test_a_file_name_cannot_steer_the_terminal(wreck):
    name = "\x1b]0;gone\x07.log"
    wreck.write(name, "nothing\n")

    said = postroom("reconcile", "campaign.yaml", "--relay-log", name)

    assert said.exit == 2 and "\x1b" not in said.err and "\\x1b]0;gone\\x07.log" in said.err
