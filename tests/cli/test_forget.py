"""postroom forget: nothing here names the person any more, and nobody mails them again."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from conftest import CAMPAIGN
from relay import Hangup, Relay
from running import deliveries, postroom, started

ANN, ZOE, BOSS = "ann@example.com", "zoe@example.com", "boss@example.org"
STATES = ("sent", "rejected", "deferred", "uncertain", "skipped", "pending")


def send(*words, **more):
    return postroom("send", "campaign.yaml", "--yes", *words, **more)


def counts(folder):
    status = postroom("status", "campaign.yaml", "--json").json
    assert status["recipients"] == sum(status[state] for state in STATES)
    return {state: status[state] for state in STATES if status[state]}


def rows(folder, statement):
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as journal:
        return journal.execute(statement).fetchall()


def everything(folder):
    """All that is in the files of .postroom, in small letters."""
    return b"\n".join(path.read_bytes() for path in (folder.path / ".postroom").rglob("*") if path.is_file()).decode("utf-8", "replace").lower()


def test_what_was_sent_still_counts_and_nothing_names_the_person(folder, relay):
    folder.relay(relay.port)
    relay.answers["end of data"] = lambda octets: f"250 2.0.0 taken for <{ANN}>"
    send()
    before = rows(folder, f"SELECT message_id, row_digest FROM delivery WHERE key = '{ANN}'")[0]
    assert ANN in everything(folder)

    said = postroom("forget", ANN, "--json")

    assert said.exit == 0 and said.json == {
        "version": 1, "exit": 0, "error": None, "address": ANN, "already_forgotten": False, "deliveries": 1, "editions": 1, "stopped": 0, "copies": 0,
        "mail_folders": [], "journal": ".postroom/journal.sqlite3"}
    left = everything(folder)
    assert not [word for word in (ANN, *before) if word in left]
    assert ZOE in left
    assert counts(folder) == {"sent": 2}
    [(key, text)] = rows(folder, "SELECT key, text FROM attempt WHERE key GLOB 'FORGOTTEN:*'")
    assert text is None and rows(folder, f"SELECT count(*) FROM account_use WHERE key = '{key}'") == [(1,)]


def test_a_forgotten_person_is_left_out_counted_and_never_written_down_again(folder, relay):
    folder.relay(relay.port)
    send()
    postroom("forget", "Ann@Example.COM")
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("2026-11", "2026-12"))

    dry = postroom("send", "campaign.yaml", "--dry-run", "--json")
    said = send("--json")

    assert relay.recipients() == [ANN, ZOE, ZOE]
    assert "1 suppressed left out" in said.err and "1 suppressed left out" in dry.err
    assert (said.exit, said.json["recipients"], said.json["sent"], said.json["skipped_reasons"]) == (0, 2, 1, {"suppressed": 1})
    assert (dry.json["recipients"], dry.json["pending"], dry.json["skipped_reasons"]) == (2, 1, {"suppressed": 1})
    assert ANN not in everything(folder)
    assert "1 suppressed" in postroom("status", "campaign.yaml").out
    assert send("--json").json["skipped_reasons"] == {"suppressed": 1}


@pytest.mark.parametrize("spelled", ["ann@example.com", "ANN@EXAMPLE.COM", " Ann@example.com ", "Ann Lee <ann@Example.com>"])
def test_all_spellings_are_one_person(folder, relay, spelled):
    """traps D10: one key, and a suppression list matches all of them."""
    folder.write("recipients.csv", "email,first_name\nAnn@Example.com,Ann\nzoe@example.com,Zoë\n")
    folder.relay(relay.port)
    send("--limit", "1")

    postroom("forget", spelled)

    assert ANN not in everything(folder)
    assert send().exit == 0 and relay.recipients() == ["Ann@example.com", ZOE]


def test_a_domain_beyond_ascii_is_the_same_person_in_both_its_spellings(folder, relay):
    folder.write("recipients.csv", "email,first_name\nann@münchen.example,Ann\nzoe@example.com,Zoë\n")
    folder.relay(relay.port)
    relay.answers["RCPT TO:<ann@xn--mnchen-3ya.example>"] = "550 5.1.1 <Ann@MÜNCHEN.example> unknown, as is ann@xn--mnchen-3ya.example."
    send()
    assert "münchen" in everything(folder)

    postroom("forget", "ann@xn--mnchen-3ya.example")

    assert "nchen-3ya" not in everything(folder) and "nchen.example" not in everything(folder)
    assert counts(folder) == {"sent": 1, "rejected": 1}


@pytest.mark.parametrize(("answer", "was"), [("451 4.7.1 come back", "deferred"), (None, "uncertain"), ("", "pending")])
def test_what_was_still_open_is_skipped_and_sent_no_more(folder, relay, answer, was):
    def hang_up(octets):
        raise Hangup

    folder.relay(relay.port)
    if answer:
        relay.answers[f"RCPT TO:<{ANN}>"] = answer
    elif answer is None:
        relay.answers["end of data"] = hang_up
    if answer == "":
        folder.write("recipients.csv", "email,first_name\nzoe@example.com,Zoë\nann@example.com,Ann\n")
    send("--limit", "1")
    assert deliveries(folder)[ANN] == was

    said = postroom("forget", ANN, "--json")
    relay.answers.clear()
    again = send("--uncertain", "resend", "--json")

    assert said.json["stopped"] == 1
    assert (again.exit, again.json["sent"], again.json["skipped_reasons"]) == (0, 1, {"suppressed": 1})
    assert ANN not in relay.recipients() and ANN not in everything(folder)


def test_every_edition_and_every_key_of_a_person_is_found(folder, relay):
    """Two invoices are two recipients; both are hers, and both still count."""
    table = "email,invoice,first_name\nAnn@example.com,1,Ann\nann@example.com,2,Ann\nzoe@example.com,3,Zoë\n"
    folder.write("recipients.csv", table)
    for edition in ("2026-11", "2026-12"):
        folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {relay.port}").replace("2026-11", edition)
                        .replace("file: recipients.csv", "file: recipients.csv\n  key: [email, invoice]"))
        send()

    said = postroom("forget", ANN, "--json")

    assert (said.json["deliveries"], said.json["editions"]) == (4, 2)
    assert ANN not in everything(folder)
    assert counts(folder) == {"sent": 3}
    again = send("--json")
    assert (again.exit, again.json["recipients"], again.json["sent"], len(relay.taken)) == (0, 3, 3, 6)


def test_a_person_behind_a_key_without_an_address_is_found_by_the_address_that_was_mailed(folder, relay):
    folder.write("recipients.csv", "email,id,first_name\nann@example.com,c1,Ann\nzoe@example.com,c2,Zoë\n")
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("file: recipients.csv", "file: recipients.csv\n  key: id"))
    send()

    postroom("forget", ANN)

    assert ANN not in everything(folder) and counts(folder) == {"sent": 2}
    folder.write("recipients.csv", "email,id,first_name\nnew@example.com,c1,Ann\nzoe@example.com,c2,Zoë\n")
    said = send("--json")
    assert (said.exit, len(relay.taken)) == (0, 2), "c1 had this edition already, under the address that was forgotten"


def test_who_was_only_a_copy_is_erased_too(folder, relay):
    folder.relay(relay.port, f"bcc: {BOSS}\n")
    relay.answers[f"RCPT TO:<{BOSS}>"] = f"550 5.1.1 {BOSS}: no such mailbox"
    send()
    assert BOSS in everything(folder)

    said = postroom("forget", BOSS, "--json")

    assert (said.json["deliveries"], said.json["copies"]) == (0, 2)
    assert BOSS not in everything(folder) and counts(folder) == {"sent": 2}


def test_a_text_that_names_the_person_in_somebody_elses_row_is_masked_and_the_rest_of_it_stays(folder, relay):
    folder.relay(relay.port)
    relay.answers[f"RCPT TO:<{ZOE}>"] = f"550 5.1.1 {ZOE} moved, ask <{ANN.upper()}> or jo{ANN}"
    send()

    postroom("forget", ANN)

    texts = [text for text, in rows(folder, f"SELECT text FROM attempt WHERE key = '{ZOE}' UNION ALL SELECT text FROM address_result WHERE address = '{ZOE}'")]
    assert texts == [f"{ZOE} moved, ask <***> or jo{ANN}"] * 2


def test_what_was_deleted_before_leaves_no_octets_behind(folder, relay):
    """Deleted rows stay in unused parts of a database's pages, where SQLite was not built to overwrite them."""
    folder.write("recipients.csv", "email,first_name\nzoe@example.com,Zoë\n" + "".join(f"p{number}@example.com,P\n" for number in range(30)) + "ann@example.com,Ann\n")
    folder.relay(relay.port)
    send("--limit", "1")
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3", isolation_level=None)) as journal:
        journal.executescript(f"PRAGMA secure_delete = OFF; DELETE FROM delivery WHERE key = '{ANN}'")
    assert ANN not in deliveries(folder) and ANN in everything(folder)

    assert postroom("forget", ANN).exit == 0

    assert ANN not in everything(folder)


@pytest.mark.parametrize(("lines", "table", "where"), [
    (f"cc: Boss <{BOSS}>\n", "email,first_name\nann@example.com,Ann\nzoe@example.com,Zoë\n", "campaign.yaml, line 14"),
    ('bcc: "{{ chief }}"\n', f"email,first_name,chief\nann@example.com,Ann,Boss@Example.org\nzoe@example.com,Zoë,other@example.com\n", "recipients.csv, line 2, column chief"),
    ('cc: "{{ chief }} <{{ chief }}>"\n', f"email,first_name,chief\nann@example.com,Ann,{BOSS}\nzoe@example.com,Zoë,\n", "recipients.csv, line 2, column chief")])
def test_a_forgotten_person_gets_no_copy_either_and_the_place_is_named(folder, relay, lines, table, where):
    folder.write("recipients.csv", table)
    folder.relay(relay.port, lines)
    postroom("forget", BOSS)

    said = send()

    assert (said.exit, relay.connections) == (2, 0)
    assert where in said.err and "must not be mailed again (postroom forget)" in said.err
    assert said.err.rstrip().endswith("Nothing was sent in this run.")


def test_it_refuses_while_a_run_is_under_way_even_before_its_first_mail(folder):
    with Relay({"EHLO": lambda line: time.sleep(20)}) as relay:
        folder.relay(relay.port)
        process = started("send", "campaign.yaml", "--yes")
        while not relay.commands:
            time.sleep(0.02)

        said = postroom("forget", ANN, "--json")
        words = postroom("forget", ANN)
        process.kill()
        process.communicate()

    assert (said.exit, said.json["exit"], said.json["deliveries"]) == (4, 4, None)
    assert "a run is under way (process" in words.err
    assert rows(folder, "SELECT count(*) FROM suppression") == [(0,)]


def test_a_run_that_begins_meanwhile_waits_and_then_leaves_the_person_out(folder, relay):
    folder.relay(relay.port)
    postroom("forget", "nobody@example.com")
    holding = """
import sys, time
from postroom.journal import erase
erase.refuse_while_anybody_runs = lambda path: (print("now", flush=True), time.sleep(3))
from postroom.cli.main import main
sys.exit(main(["forget", "ann@example.com"]))
"""
    erasing = subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert erasing.stdout.readline() == "now\n"

    said = send("--json")

    erasing.communicate(timeout=30)
    assert (said.exit, said.json["skipped_reasons"], relay.recipients()) == (0, {"suppressed": 1}, [ZOE])
    assert ANN not in everything(folder)


def test_an_unknown_address_is_suppressed_from_now_on_and_says_so(folder, relay):
    folder.relay(relay.port)

    first = postroom("forget", ANN)
    second = postroom("forget", ANN)
    send()

    assert (first.exit, second.exit) == (0, 0)
    assert f"did not know {ANN}" in first.err and f"had forgotten {ANN} already" in second.err
    assert "Take them out of your tables too" in first.err
    assert relay.recipients() == [ZOE]


@pytest.mark.parametrize("spoil", ["DROP TABLE suppression", "UPDATE meta SET salt = NULL"])
def test_where_the_suppression_cannot_be_read_nothing_is_sent(folder, relay, spoil):
    """reliability.md, section 4b: never send to all when the list cannot be read."""
    folder.relay(relay.port)
    postroom("forget", ANN)
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as journal, journal:
        journal.execute(spoil)

    said = send()

    assert (said.exit, relay.connections) == (2, 0)
    assert "Nothing was sent in this run." in said.err and "journal" in said.err


def test_all_suppressed_is_said_and_nothing_is_sent(folder, relay):
    folder.relay(relay.port)
    postroom("forget", ANN)
    postroom("forget", ZOE)

    said = send()

    assert (said.exit, relay.connections) == (0, 0)
    assert "2 suppressed left out of 2 rows." in said.err


def test_taken_out_of_the_table_a_person_who_got_nothing_counts_no_more(folder, relay):
    folder.relay(relay.port)
    postroom("forget", ANN)
    send()
    folder.write("recipients.csv", "email,first_name\nzoe@example.com,Zoë\n")

    said = send("--json")

    assert (said.json["recipients"], said.json["sent"], said.json["skipped"]) == (1, 1, 0)


def test_mails_in_previews_are_pointed_at(folder, relay):
    folder.relay(relay.port)
    postroom("preview", "campaign.yaml")

    said = postroom("forget", ANN)

    assert "Mails to them may still lie in .postroom/preview" in said.err
    assert postroom("forget", ANN, "--json").json["mail_folders"] == [".postroom/preview"]


@pytest.mark.parametrize(("words", "said"), [(["ann"], "not a mail address"), ([""], "no address is given"), (["a@x.org, b@x.org"], "more than one address")])
def test_what_is_no_address_is_exit_2_and_changes_nothing(folder, words, said):
    answer = postroom("forget", *words)

    assert answer.exit == 2 and said in answer.err
    assert not (folder.path / ".postroom").exists()


def test_outside_of_a_project_it_says_so_and_begins_no_journal(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()

    said = postroom("forget", ANN, cwd=tmp_path / "elsewhere")

    assert said.exit == 2 and "there is no journal here" in said.err
    assert not os.listdir(tmp_path / "elsewhere")


def test_another_journal_can_be_named(folder, relay, tmp_path):
    folder.relay(relay.port)
    path = tmp_path / "kept" / "j.sqlite3"
    send("--journal", path)

    said = postroom("forget", ANN, "--journal", path, "--json")

    assert said.json["deliveries"] == 1
    assert ANN.encode() not in b"".join(one.read_bytes() for one in path.parent.iterdir())


def test_a_reader_that_holds_the_log_back_is_told_and_a_second_call_cleans_up(folder, relay):
    """SQLite empties a log only when nobody reads what is in it."""
    folder.relay(relay.port)
    send()
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM delivery").fetchone()
        impatient = "import sys\nfrom postroom.journal import sqlite\nsqlite.BUSY_SECONDS = 0.2\nfrom postroom.cli.main import main\nsys.exit(main(['forget', 'ann@example.com', '--json']))"
        done = subprocess.run([sys.executable, "-c", impatient], capture_output=True, text=True, timeout=60)

    assert done.returncode == 3 and "run this again" in json.loads(done.stdout)["error"]["do"]
    assert postroom("forget", ANN).exit == 0
    assert ANN not in everything(folder)
