"""postroom send, as a person or a script runs it: what goes out, what is said, and which exit code."""

import email
import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from contextlib import closing

import pytest

from conftest import CAMPAIGN, HTML, TABLE
from relay import Hangup, Relay, free_port
from running import deliveries, postroom

ANN, ZOE = "ann@example.com", "zoe@example.com"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="wants setsid --ctty and /dev/full")


def send(*words, **more):
    return postroom("send", "campaign.yaml", "--yes", *words, **more)


def journal(folder, statement, *values):
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as rows, rows:
        return rows.execute(statement, values).fetchall()


def balanced(document):
    """The sums that scripts rely on."""
    states = ("sent", "rejected", "deferred", "uncertain", "skipped", "pending")
    assert document["recipients"] == sum(document[state] for state in states)
    assert document["remaining"] == document["pending"] + document["deferred"]
    return document


def test_everybody_gets_one_mail_over_one_connection(folder, relay):
    folder.relay(relay.port)

    said = send()

    assert said.exit == 0 and said.out == ""
    assert relay.recipients() == [ANN, ZOE] and relay.connections == 1
    assert "2 sent in this run; 2 of 2 sent in all." in said.err


def test_a_second_send_sends_nothing_and_says_so(folder, relay):
    folder.relay(relay.port)
    send()

    said = send()

    assert (said.exit, relay.connections, len(relay.taken)) == (0, 1, 2)
    assert "Nothing is left to send: 2 of 2 were sent before." in said.err


def test_the_json_document_is_flat_and_complete(folder, relay):
    folder.relay(relay.port)

    said = send("--json")

    document = balanced(said.json)
    assert document.pop("seconds") > 0
    assert document == {"version": 1, "exit": 0, "error": None, "campaign": "digest", "edition": "2026-11", "recipients": 2, "sent": 2, "rejected": 0,
                        "deferred": 0, "uncertain": 0, "skipped": 0, "skipped_reasons": {}, "pending": 0, "remaining": 0,
                        "this_run": {"sent": 2, "rejected": 0, "deferred": 0, "uncertain": 0}, "running": False, "due_at": None,
                        "uncertain_list": [], "journal": ".postroom/journal.sqlite3"}


@pytest.mark.parametrize(("name", "before", "after"), [("digest.html", "Hello", "Hallo"), ("digest.txt", "Hello", "Hallo"), ("foot.html", "foot", "feet"),
                                                       ("campaign.yaml", "November digest", "November news"), ("logo.png", "png", "PNG")])
def test_an_edition_that_changed_since_its_first_mail_stops(folder, relay, name, before, after):
    folder.write("digest.html", HTML + "{% include 'foot.html' %}")
    folder.write("foot.html", "foot")
    folder.write("logo.png", "png")
    folder.relay(relay.port, "images: {logo: logo.png}\n")
    send("--limit", "1")
    folder.write(name, (folder.path / name).read_text().replace(before, after))

    said = send()

    assert (said.exit, relay.connections) == (2, 1)
    assert f"{'`subject`' if name == 'campaign.yaml' else name} changed since this edition's first mail" in said.err
    assert said.err.rstrip().endswith("Nothing was sent in this run.")
    assert send("--accept-changes").exit == 0
    assert relay.recipients() == [ANN, ZOE]


def test_a_finished_edition_that_changed_stops_too(folder, relay):
    folder.relay(relay.port)
    send()
    folder.write("digest.html", HTML + "more")

    assert (send().exit, len(relay.taken)) == (2, 2)


def test_relay_rate_and_table_may_change_between_runs(folder, relay):
    folder.relay(relay.port)
    send("--limit", "1")
    folder.write("recipients.csv", "email,first_name,city\neve@example.com,Eve,Rome\nzoe@example.com,Zoë,Oslo\nann@example.com,Ann,Bern\n")
    with Relay() as other:
        folder.relay(other.port, "  rate: 1000/second\n")

        assert send().exit == 0
    assert (relay.recipients(), other.recipients()) == ([ANN], ["eve@example.com", ZOE])


def test_a_new_edition_mails_everyone_again(folder, relay):
    folder.relay(relay.port)
    send()
    folder.write("campaign.yaml", (folder.path / "campaign.yaml").read_text().replace("2026-11", "2026-12"))

    assert send().exit == 0
    assert relay.recipients() == [ANN, ZOE, ANN, ZOE]
    assert len({email.message_from_bytes(taken.octets)["Message-ID"] for taken in relay.taken}) == 4


def test_the_same_name_in_another_file_stops(folder, relay):
    folder.relay(relay.port)
    send()
    folder.write("other.yaml", (folder.path / "campaign.yaml").read_text())

    said = postroom("send", "other.yaml", "--yes")

    assert (said.exit, relay.connections) == (2, 1)
    assert 'from another file, "campaign.yaml"' in said.err


def test_limit_sends_to_the_next_n_and_is_done(folder, relay):
    folder.relay(relay.port)

    first = send("--limit", "1", "--json")
    second = send("--limit", "1", "--json")

    assert (first.exit, first.json["remaining"], second.exit, second.json["remaining"]) == (0, 1, 0, 0)
    assert relay.recipients() == [ANN, ZOE]


def test_a_dry_run_makes_no_connection_and_writes_nothing(folder, relay):
    folder.relay(relay.port)

    said = postroom("send", "campaign.yaml", "--dry-run", "--json")

    assert (said.exit, relay.connections) == (0, 0)
    assert not (folder.path / ".postroom").exists()
    assert balanced(said.json)["pending"] == 2
    for word in ("若水 <news@example.com>", f"127.0.0.1:{relay.port}, plain", "2 in recipients.csv", "Ann, your November digest → ann@example.com", "dry run"):
        assert word in said.err


def test_the_journal_is_where_one_says(folder, relay):
    folder.relay(relay.port)

    send("--journal", "one.sqlite3")
    send(environment={"POSTROOM_JOURNAL": str(folder.path / "two.sqlite3")})

    assert relay.recipients() == [ANN, ZOE, ANN, ZOE]
    assert (folder.path / "one.sqlite3").exists() and (folder.path / "two.sqlite3").exists()
    assert not (folder.path / ".postroom").exists()


def test_a_refused_recipient_is_told_and_not_tried_again(folder, relay):
    folder.relay(relay.port)
    relay.answers[f"RCPT TO:<{ANN}>"] = "550 5.1.1 no such mailbox"

    said = send("--json")
    again = send("--json")

    assert (said.exit, balanced(said.json)["rejected"], said.json["sent"], relay.connections) == (1, 1, 1, 1)
    assert "ann@example.com (row 2): rejected, 550 no such mailbox" in said.err
    assert (again.exit, again.json["rejected"], again.json["this_run"]["rejected"]) == (0, 1, 0)
    assert relay.recipients() == [ZOE]


def test_a_put_off_recipient_is_due_in_five_minutes_and_then_gets_the_same_mail_with_a_new_date(folder, relay):
    folder.relay(relay.port)
    relay.answers["end of data"] = lambda octets: "451 4.7.1 try later" if b"<ann@" in octets else "250 2.0.0 taken"

    first = send("--json")
    early = send("--json")
    relay.answers.clear()
    due_at, message_id, date = journal(folder, "SELECT due_at, message_id, date FROM delivery WHERE key = ?", ANN)[0]
    journal(folder, "UPDATE delivery SET due_at = ?, date = ? WHERE key = ?", time.time() - 1, date - 1000, ANN)
    late = send("--json")

    assert (first.exit, balanced(first.json)["deferred"], first.json["remaining"]) == (1, 1, 1)
    assert 298 < due_at - date < 365 and first.json["due_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due_at))
    assert (early.exit, early.json["this_run"]["deferred"], early.json["deferred"]) == (1, 0, 1)
    assert (late.exit, late.json["sent"], late.json["remaining"]) == (0, 2, 0)
    mail = email.message_from_bytes(relay.taken[-1].octets)
    assert mail["Message-ID"] == f"<{message_id}>"
    assert journal(folder, "SELECT date FROM delivery WHERE key = ?", ANN)[0][0] >= date


class LostReply:
    """Takes the first mail and hangs up instead of saying so."""

    def __init__(self):
        self.octets = []

    def __call__(self, octets):
        self.octets.append(octets)
        if len(self.octets) == 1:
            raise Hangup
        return "250 2.0.0 taken"


def test_where_the_reply_never_came_the_person_decides_and_a_repeat_is_the_same_octets(folder, relay):
    lost = relay.answers["end of data"] = LostReply()
    folder.relay(relay.port)

    first = send("--json")
    alone = send("--json")
    resent = send("--uncertain", "resend", "--json")

    assert (first.exit, balanced(first.json)["uncertain"], first.json["sent"]) == (1, 1, 1)
    assert "may or may not have arrived" in first.err and "--uncertain resend" in first.err
    assert (alone.exit, alone.json["this_run"], relay.recipients()[:1]) == (1, {"sent": 0, "rejected": 0, "deferred": 0, "uncertain": 0}, [ZOE])
    assert (resent.exit, resent.json["sent"], resent.json["uncertain"]) == (0, 2, 0)
    assert relay.recipients() == [ZOE, ANN]
    assert lost.octets[2] == lost.octets[0]


def test_an_uncertain_one_may_be_left_alone_for_good(folder, relay):
    relay.answers["end of data"] = LostReply()
    folder.relay(relay.port)
    send()

    skipped = send("--uncertain", "skip", "--json")

    assert (skipped.exit, balanced(skipped.json)["skipped_reasons"], skipped.json["sent"]) == (0, {"by choice": 1}, 1)
    assert relay.recipients() == [ZOE]


def test_a_repeat_that_would_differ_stops(folder, relay):
    relay.answers["end of data"] = LostReply()
    folder.relay(relay.port)
    send()
    folder.write("recipients.csv", TABLE.replace("Ann", "Anna"))

    said = send("--uncertain", "resend")

    assert (said.exit, relay.recipients()) == (2, [ZOE])
    assert "may have arrived, and would differ" in said.err and "recipients.csv, line 2" in said.err


def test_a_refused_sender_stops_everything_and_blames_nobody(folder, relay):
    folder.relay(relay.port)
    relay.answers["MAIL"] = "553 5.7.1 mail from must equal the login"

    said = send("--json")

    assert (said.exit, balanced(said.json)["pending"], said.json["rejected"]) == (2, 2, 0)
    assert said.json["error"]["what"] == 'the relay refuses every message: "553 mail from must equal the login"'
    assert sum(command.startswith("MAIL") for command in relay.commands) == 1
    assert "Nothing was sent in this run." in said.err
    relay.answers.clear()
    assert send("--json").json["sent"] == 2


def test_where_nobody_listens_it_is_exit_3(folder):
    folder.relay(free_port())

    said = send("--json")

    assert (said.exit, said.json["error"]["where"]["relay"], said.json["pending"]) == (3, f"127.0.0.1:{folder_port(folder)}", 2)
    assert "connection refused" in said.json["error"]["what"]


def folder_port(folder):
    return int((folder.path / "campaign.yaml").read_text().partition("port: ")[2].split()[0])


def test_a_relay_that_goes_away_is_tried_for_ten_seconds_then_exit_3(folder):
    with Relay() as relay:
        folder.relay(relay.port)

        def vanish(line):
            relay.stop_listening()
            raise Hangup

        relay.answers[f"RCPT TO:<{ZOE}>"] = vanish

        before = time.monotonic()
        said = send("--json")
        seconds = time.monotonic() - before

    assert (said.exit, balanced(said.json)["sent"], said.json["pending"], said.json["uncertain"]) == (3, 1, 1, 0)
    assert 8 < seconds < 40
    assert "Go on with: postroom send campaign.yaml" in said.err
    assert "Nothing was sent" not in said.err


def test_a_relay_that_closes_between_mails_costs_a_connection_and_nothing_else(folder, relay):
    counts = iter(range(100))
    relay.answers["MAIL"] = lambda line: "421 4.7.0 too many messages" if next(counts) == 1 else "250 2.1.0 OK"
    folder.relay(relay.port)

    said = send("--json")

    assert (said.exit, said.json["sent"], relay.connections) == (0, 2, 2)
    assert relay.recipients() == [ANN, ZOE]


@pytest.mark.parametrize("poison", ["421 4.7.0 not this one", None])
@pytest.mark.parametrize(("poisoned", "at_first"), [([1], 7), ([1, 2], 1)])
def test_a_recipient_at_whom_the_relay_closes_holds_up_nobody_else(folder, relay, poison, poisoned, at_first):
    def closing(line):
        if poison is None:
            raise Hangup
        return poison

    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(8)))
    for number in poisoned:
        relay.answers[f"RCPT TO:<p{number}@example.com>"] = closing
    folder.relay(relay.port)

    first = send("--json")
    second = send("--json")
    relay.answers.clear()
    last = send("--json")

    assert (first.exit, first.json["sent"]) == (3, at_first)
    assert (second.exit, balanced(second.json)["sent"], second.json["pending"]) == (3, 8 - len(poisoned), len(poisoned))
    assert (last.exit, last.json["sent"]) == (0, 8)
    assert sorted(relay.recipients()) == [f"p{number}@example.com" for number in range(8)]


def test_a_relay_that_closes_idle_lines_is_called_again_when_the_rate_allows(folder, relay):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(5)))
    folder.relay(relay.port, "  rate: 1/second\n")
    relay.idle_seconds = 0.2

    said = send("--json")

    assert (said.exit, said.json["sent"], relay.connections) == (0, 5, 5)


def test_a_repeat_keeps_its_date_where_the_zone_of_the_machine_changed(folder, relay):
    lost = relay.answers["end of data"] = LostReply()
    folder.relay(relay.port)
    send(environment={"TZ": "Europe/Berlin"})

    resent = send("--uncertain", "resend", environment={"TZ": "Asia/Shanghai"})

    assert resent.exit == 0 and lost.octets[2] == lost.octets[0]
    assert b" +0100\r\n" in lost.octets[0].partition(b"\r\n")[0] + b"\r\n"


def test_after_messages_per_session_a_new_connection_is_made(folder, relay):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(5)))
    folder.relay(relay.port, "  messages_per_session: 2\n")

    assert send().exit == 0
    assert (relay.connections, relay.commands.count("QUIT"), len(relay.taken)) == (3, 3, 5)


def test_a_second_run_at_the_same_time_is_refused(folder, relay):
    folder.relay(relay.port)
    said = []
    relay.answers["end of data"] = lambda octets: said.append(send("--json")) or "250 2.0.0 taken"

    first = send()

    assert (first.exit, relay.recipients()) == (0, [ANN, ZOE])
    assert [one.exit for one in said] == [4, 4]
    assert said[0].json["running"] is True and "another run of digest 2026-11 is under way (process " in said[0].json["error"]["what"]


def test_a_message_too_large_for_the_relay_stops_before_the_first_mail(folder):
    folder.write("large.bin", os.urandom(30_000))
    with Relay(capabilities=("SIZE 20000",)) as relay:
        folder.relay(relay.port, "attachments: [large.bin]\n")

        said = send()

    assert (said.exit, any(command.startswith("MAIL") for command in relay.commands)) == (2, False)
    assert "the relay takes 20,000" in said.err and "recipients.csv, line 3" in said.err
    assert said.err.rstrip().endswith("Nothing was sent in this run.")


def test_a_refused_copy_is_told_and_the_rest_gets_the_mail(folder, relay):
    folder.relay(relay.port, "cc: boss@example.com\n")
    relay.answers["RCPT TO:<boss@example.com>"] = "550 5.1.1 who?"

    said = send("--json")

    assert (said.exit, said.json["sent"], said.json["rejected"]) == (1, 2, 0)
    assert "sent, but refused for boss@example.com (550 who?)" in said.err
    assert [taken.recipients for taken in relay.taken] == [(ANN,), (ZOE,)]
    results = journal(folder, "SELECT address, accepted, code FROM address_result ORDER BY attempt, accepted")
    assert results == [("boss@example.com", 0, 550), (ANN, 1, 250), ("boss@example.com", 0, 550), (ZOE, 1, 250)]


def test_where_the_rows_own_address_is_refused_the_copies_do_not_make_it_sent(folder, relay):
    folder.relay(relay.port, "cc: boss@example.com\n")
    relay.answers[f"RCPT TO:<{ANN}>"] = "550 5.1.1 who?"

    said = send("--json")

    assert (said.exit, deliveries(folder, "key, state")) == (1, {ANN: "rejected", ZOE: "sent"})


def test_two_rows_of_one_person_are_one_mail_unless_the_key_says_more(folder, relay):
    folder.write("recipients.csv", "email,first_name,invoice\nann@example.com,Ann,1\nANN@example.com ,Ann,2\nann@example.com,Ann,1\n")
    folder.relay(relay.port)
    first = send("--json")
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("2026-11", "2026-12").replace("file: recipients.csv", "file: recipients.csv\n  key: [email, invoice]"))

    second = send("--json")

    assert (balanced(first.json)["sent"], first.json["skipped_reasons"]) == (1, {"duplicate": 2})
    assert (balanced(second.json)["sent"], second.json["skipped_reasons"]) == (2, {"duplicate": 1})
    assert "3 in recipients.csv, 2 duplicates left out" in first.err


def test_one_person_with_two_invoices_is_asked_about_not_guessed(folder, relay):
    """Sending only the first invoice would lose the second in silence."""
    folder.write("1.pdf", "one")
    folder.write("2.pdf", "two")
    folder.write("recipients.csv", "email,first_name,invoice\nann@example.com,Ann,1\nann@example.com,Ann,2\n")
    folder.relay(relay.port, 'attachments: ["{{ invoice }}.pdf"]\n')

    said = send()

    assert (said.exit, relay.connections) == (2, 0)
    assert "same recipient as in line 2, with other attachments" in said.err and "`key: [email, invoice]`" in said.err


def test_a_removed_row_is_skipped_and_comes_back_when_it_is_listed_again(folder, relay):
    folder.relay(relay.port)
    relay.answers[f"RCPT TO:<{ZOE}>"] = "450 4.2.0 later"
    send()
    relay.answers.clear()
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\n")
    gone = send("--json")
    folder.write("recipients.csv", TABLE)

    back = send("--json")

    assert (gone.exit, balanced(gone.json)["skipped_reasons"]) == (0, {"removed": 1})
    assert (back.exit, balanced(back.json)["sent"], relay.recipients()) == (0, 2, [ANN, ZOE])


def test_no_window_ever_holds_more_than_its_rate(folder, relay):
    """First burst included; two windows hold at once."""
    times = []
    relay.after = lambda taken: times.append(time.monotonic())
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(9)))
    folder.relay(relay.port, "  rate: [3 per 1 second, 5 per 2 seconds]\n")

    assert send().exit == 0

    # The relay sees a mail a moment after it left; 50 ms cover that.
    for first, last, seconds in [(index, index + count, seconds) for count, seconds in ((3, 1), (5, 2)) for index in range(9 - count)]:
        assert times[last] - times[first] > seconds - 0.05


def test_a_file_that_changes_during_the_run_stops_it(folder, relay):
    """Behind everybody whose mail was built already: it is the one that was checked."""
    for number in range(100):
        folder.write(f"P{number}.txt", f"for {number}")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P{number}\n" for number in range(100)))
    folder.relay(relay.port, 'attachments: ["{{ first_name }}.txt"]\n')
    relay.after = lambda taken: taken == 1 and folder.write("P99.txt", "for somebody else")

    said = send("--json")

    assert (said.exit, balanced(said.json)["sent"], said.json["pending"]) == (2, 99, 1)
    assert "no longer what was checked" in said.json["error"]["what"]
    assert "Nothing was sent" not in said.err


def test_a_table_that_changes_during_the_run_stops_it(folder, relay):
    rows = [f"p{number}@example.com,Person {number}\n" for number in range(2500)]
    folder.write("recipients.csv", "email,first_name\n" + "".join(rows))
    folder.relay(relay.port)
    relay.after = lambda taken: taken == 1 and folder.write("recipients.csv", "email,first_name\n" + "".join(reversed(rows)))

    said = send("--json")

    assert (said.exit, balanced(said.json)["remaining"] > 0) == (2, True)
    assert relay.recipients() == [row.partition(",")[0] for row in rows[:len(relay.taken)]]
    assert said.json["sent"] == len(relay.taken)


def in_a_terminal(words, answer):
    """Run the command line on a terminal of its own, answer its question. Returns (exit code, all that was shown)."""
    main, side = pty.openpty()
    termios.tcsetwinsize(main, (24, 100))
    process = subprocess.Popen([sys.executable, "-m", "postroom", *words], stdin=side, stdout=side, stderr=side)
    os.close(side)
    shown, until = b"", time.monotonic() + 60
    asked = False
    while time.monotonic() < until:
        if not select.select([main], [], [], 0.2)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            octets = os.read(main, 4096)
        except OSError:
            break
        if not octets:
            break
        shown += octets
        if not asked and b"now? [y/N]" in shown:
            asked = True
            os.write(main, answer)
    os.close(main)
    return process.wait(30), shown.decode()


def test_on_a_terminal_it_asks_first_and_shows_a_bar(folder, relay):
    folder.relay(relay.port)

    no = in_a_terminal(["send", "campaign.yaml"], b"n\n")
    before = len(relay.taken)
    yes = in_a_terminal(["send", "campaign.yaml"], b"y\n")

    assert (no[0], before) == (2, 0) and "Nothing was sent in this run." in no[1]
    assert yes[0] == 0 and "Send 2 messages now? [y/N]" in yes[1] and "2/2" in yes[1]
    assert relay.recipients() == [ANN, ZOE]


def test_a_signal_while_the_relay_thinks_ends_the_run_behind_its_reply(folder, relay):
    """The message in flight is finished, so it is no uncertain one."""
    process = []
    relay.answers["end of data"] = lambda octets: (process[0].terminate(), time.sleep(0.5)) and "250 2.0.0 taken"
    folder.relay(relay.port)
    process.append(subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes", "--json"], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    _, words = process[0].communicate(timeout=60)

    assert process[0].returncode == 143, words
    assert deliveries(folder) == {ANN: "sent", ZOE: "pending"}
    assert "1 sent in this run; 1 of 2 sent in all." in words


def test_a_second_signal_does_not_wait_for_a_relay_that_says_nothing(folder, relay):
    process, timers = [], []

    def silence(octets):
        process[0].terminate()
        timers.append(threading.Timer(1, process[0].terminate))
        timers[0].start()

    relay.answers["end of data"] = silence
    folder.relay(relay.port)
    process.append(subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))

    before = time.monotonic()
    _, words = process[0].communicate(timeout=60)

    assert (process[0].returncode, time.monotonic() - before < 20) == (143, True), words
    assert deliveries(folder) == {ANN: "uncertain", ZOE: "pending"}


def test_a_rehearsal_reaches_no_relay_and_wants_no_secret(folder, relay):
    folder.relay(relay.port, "  username: ann\n  password: ${POSTROOM_TEST_GONE}\n")

    first = postroom("send", "campaign.yaml", "--sandbox", "--json")
    second = postroom("send", "campaign.yaml", "--sandbox", "--json")

    assert (first.exit, second.exit, relay.connections) == (0, 0, 0)
    assert (second.json["sent"], second.json["this_run"]["sent"]) == (2, 2)
    mailbox = folder.path / ".postroom" / "sandbox" / "digest-2026-11"
    assert sorted(path.name for path in mailbox.glob("*.eml")) == ["0001.eml", "0002.eml"]
    assert (mailbox / "index.html").exists()
    assert not (folder.path / ".postroom" / "journal.sqlite3").exists()


def test_a_mailbox_of_a_person_is_told_from_one_of_another_campaign(folder, relay):
    """Two campaigns of one project share the journal, not the recipients."""
    folder.relay(relay.port)
    send()
    folder.write("other.yaml", CAMPAIGN.replace("name: digest", "name: other").replace("2525", str(relay.port)))

    assert postroom("send", "other.yaml", "--yes").exit == 0
    assert relay.recipients() == [ANN, ZOE, ANN, ZOE]
    assert [row["campaign"] for row in postroom("status", "--json").json["campaigns"]] == ["digest", "other"]


@on_linux
def test_a_terminal_that_is_closed_ends_the_run_like_a_signal(folder, relay):
    """SIGHUP: the message in flight is finished, the words have nowhere to go, the journal is right."""
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(200)))
    folder.relay(relay.port)
    main, side = pty.openpty()
    process = subprocess.Popen(["setsid", "--ctty", sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes"], stdin=side, stdout=side, stderr=side)
    os.close(side)
    relay.after = lambda taken: (taken == 20 and os.close(main)) or time.sleep(0.01)

    assert process.wait(60) == 129
    states = deliveries(folder)
    assert sorted(address for address, state in states.items() if state == "sent") == sorted(relay.recipients())
    assert set(states.values()) == {"sent", "pending"}
    relay.after = None
    assert send("--json").json["sent"] == 200 and len(set(relay.recipients())) == len(relay.taken) == 200


@on_linux
def test_a_log_on_a_full_disk_does_not_stop_the_mail(folder, relay):
    folder.relay(relay.port)

    with open("/dev/full", "wb") as full:
        process = subprocess.run([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL, stderr=full, timeout=60)

    assert (process.returncode, relay.recipients()) == (0, [ANN, ZOE])


@pytest.mark.parametrize("move", ["up", "down"])
def test_a_root_that_moved_does_not_mail_everybody_again(folder, relay, move):
    root = folder.path / "postroom.yaml"
    for name in ("digest.html", "digest.txt", "recipients.csv"):
        folder.write(f"campaigns/{name}", (folder.path / name).read_bytes())
    folder.relay(relay.port)
    folder.write("campaigns/digest.yaml", (folder.path / "campaign.yaml").read_bytes())
    root.touch()
    assert postroom("send", "campaigns/digest.yaml", "--yes").exit == 0
    if move == "up":
        root.unlink()
    else:
        folder.write("campaigns/postroom.yaml", "")

    said = postroom("send", "campaigns/digest.yaml", "--yes")
    dry = postroom("send", "campaigns/digest.yaml", "--dry-run")

    assert (said.exit, dry.exit, len(relay.taken)) == (2, 2, 2)
    assert "would be forgotten" in said.err


def test_a_link_to_the_journal_is_the_same_journal(folder, relay):
    (folder.path / "link.db").symlink_to("real.db")
    said = []
    relay.answers["end of data"] = lambda octets: said.append(send("--journal", "link.db").exit) or "250 taken"
    folder.relay(relay.port)

    assert send("--journal", "real.db").exit == 0
    assert (said, relay.recipients()) == ([4, 4], [ANN, ZOE])


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_a_reader_that_goes_away_changes_nothing_about_the_mail(folder, relay, words):
    folder.relay(relay.port)
    process = subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    process.stderr.close()

    assert process.wait(60) == 0
    assert relay.recipients() == [ANN, ZOE] and set(deliveries(folder).values()) == {"sent"}


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing(folder, relay, closed):
    folder.relay(relay.port)

    done = subprocess.run(f"{sys.executable} -m postroom send campaign.yaml --yes {closed}", shell=True, timeout=60, capture_output=True, text=True)

    assert (done.returncode, relay.recipients(), done.stdout) == (0, [ANN, ZOE], "")


def test_a_relay_that_greets_and_closes_in_one_breath_is_exit_3(folder, relay):
    relay.answers["greeting"] = "220 relay.test\r\n421 4.3.2 too busy"
    folder.relay(relay.port)

    said = send()

    assert said.exit == 3 and "421 4.3.2 too busy" in said.err


def test_ctrl_c_while_the_relay_says_goodbye_still_counts_right(folder, relay):
    process = []
    relay.answers["QUIT"] = lambda line: (process[0].send_signal(signal.SIGINT), time.sleep(1)) and "221 bye"
    folder.relay(relay.port)
    process.append(subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes", "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True))

    out, words = process[0].communicate(timeout=60)

    assert (process[0].returncode, json.loads(out)["sent"], json.loads(out)["remaining"]) == (0, 2, 0), words


@pytest.mark.parametrize("cell", ["../.env", "../campaign.yaml", "x/../../campaign.yaml"])
def test_a_cell_does_not_lead_out_of_the_folder_in_front_of_it(folder, relay, cell):
    folder.write(".env", "SMTP_PASSWORD=hunter2\n")
    folder.write("docs/a.txt", "fine")
    folder.write("recipients.csv", f"email,first_name,doc\nann@example.com,Ann,a.txt\nzoe@example.com,Zoe,{cell}\n")
    folder.relay(relay.port, 'attachments: ["docs/{{ doc }}"]\n')

    said = send()

    assert (said.exit, relay.connections) == (2, 0)
    assert "leads out of docs" in said.err and "row 3" in said.err


@pytest.mark.parametrize("cell", [".env", ".postroom/journal.sqlite3", "./docs/../.env", "link"])
def test_secrets_and_the_journal_never_go_into_a_mail(folder, cell):
    folder.write(".env", "SMTP_PASSWORD=hunter2\n")
    folder.write(".postroom/journal.sqlite3", "")
    folder.write("docs/a.txt", "x")
    (folder.path / "link").symlink_to(".env")
    folder.write("recipients.csv", f"email,first_name,doc\nann@example.com,Ann,{cell}\n")
    folder.more('attachments: ["{{ doc }}"]\n')

    said = postroom("preview", "campaign.yaml")

    assert said.exit == 2 and "holds secrets or addresses" in said.err and "row 2" in said.err


def test_escape_sequences_of_a_cell_do_not_reach_the_terminal(folder):
    folder.write("recipients.csv", "email,first_name,note\nann@example.com,Ann,\x1b[2Jx\n")
    folder.write("digest.html", "{{ row[note] }}")

    said = postroom("check", "campaign.yaml")

    assert said.exit == 2 and "\x1b" not in said.err and "\\x1b[2Jx" in said.err


@pytest.mark.parametrize("later", ["421 4.7.0 not now", "451 4.7.1 not now"])
def test_a_repeat_that_did_not_go_stays_the_same_mail(folder, relay, later):
    """The first copy may have arrived, whatever became of the second."""
    lost = relay.answers["end of data"] = LostReply()
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\n")
    folder.relay(relay.port)
    send()
    relay.answers["MAIL"] = later
    again = send("--uncertain", "resend", "--json")
    del relay.answers["MAIL"]
    if later.startswith("451"):
        journal(folder, "UPDATE delivery SET due_at = 0")
    folder.write("recipients.csv", "email,first_name\nann@example.com,Anna\n")

    changed = send("--uncertain", "resend")
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\n")
    same = send("--uncertain", "resend")

    assert balanced(again.json)["uncertain" if later.startswith("421") else "deferred"] == 1
    assert changed.exit == 2 and "may have arrived, and would differ" in changed.err
    assert same.exit == 0 and len(lost.octets) == 2 and lost.octets[0] == lost.octets[1]


def test_a_slow_reconnect_saves_up_no_burst(folder, relay):
    times, greetings = [], iter([0, 1.5, 0])
    relay.after = lambda taken: times.append(time.monotonic())
    relay.answers["greeting"] = lambda line: time.sleep(next(greetings, 0)) or "220 relay.test"
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(3)))
    folder.relay(relay.port, "  rate: 1 per 2 seconds\n  messages_per_session: 1\n")

    assert send().exit == 0
    assert all(later - earlier > 1.95 for earlier, later in zip(times, times[1:]))


def test_with_a_limit_too_one_recipient_holds_up_nobody(folder, relay):
    relay.answers[f"RCPT TO:<{ANN}>"] = "421 4.7.0 not this one"
    folder.relay(relay.port)

    first = send("--limit", "1", "--json")
    second = send("--limit", "1", "--json")

    assert (first.exit, first.json["sent"], second.exit, balanced(second.json)["sent"]) == (3, 0, 0, 1)
    assert relay.recipients() == [ZOE]


def test_nothing_is_skipped_before_the_person_agreed(folder, relay):
    relay.answers["end of data"] = LostReply()
    folder.relay(relay.port)
    send("--limit", "1")

    refused = postroom("send", "campaign.yaml", "--uncertain", "skip")

    assert refused.exit == 2 and "add --yes" in refused.err.lower()
    assert deliveries(folder)[ANN] == "uncertain"
    assert send("--uncertain", "skip").exit == 0
    assert deliveries(folder) == {ANN: "skipped", ZOE: "sent"}


def test_another_key_is_another_edition_whatever_one_accepts(folder, relay):
    """With another key the journal recognises nobody: to go on would mail everybody again."""
    folder.relay(relay.port)
    send()
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("file: recipients.csv", "file: recipients.csv\n  key: [email, first_name]"))

    said = send("--accept-changes")

    assert (said.exit, len(relay.taken)) == (2, 2)
    assert "`recipients.key`" in said.err and "new `edition`" in said.err


def test_ctrl_c_behind_the_last_word_changes_no_exit_code(folder, relay):
    folder.relay(relay.port)
    send()
    process = subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    said = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert said.startswith("Nothing is left to send") and process.returncode in (0, 130)


def test_ctrl_c_at_the_last_mail_leaves_nothing_to_go_on_with(folder, relay):
    process = []
    relay.answers["end of data"] = lambda octets: len(relay.taken) == 1 and process[0].send_signal(signal.SIGINT) or "250 taken"
    folder.relay(relay.port)
    process.append(subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))

    _, words = process[0].communicate(timeout=60)

    assert process[0].returncode == 0 and "2 of 2 sent in all" in words and "Go on with" not in words


@pytest.mark.parametrize("reply", ["451 4.3.0 later", "550 5.4.5 Daily user sending limit exceeded"])
def test_a_repeat_that_was_put_off_may_be_left_alone_too(folder, relay, reply):
    """The row was edited, so the same mail cannot go again; `--uncertain skip` is the way on that is told."""
    folder.relay(relay.port)
    relay.answers["end of data"] = LostReply()
    send()
    relay.answers["end of data"] = lambda octets: reply if b"<ann@" in octets else "250 2.0.0 taken"
    send("--uncertain", "resend")
    folder.write("recipients.csv", "email,first_name\nann@example.com,Anna\nzoe@example.com,Zoë\nbob@example.com,Bob\n")
    relay.answers.clear()

    blocked, skipped = send("--json"), send("--json", "--uncertain", "skip")

    assert (blocked.exit, skipped.exit) == (2 if reply.startswith("451") else 1, 0)
    assert (skipped.json["skipped_reasons"], skipped.json["sent"]) == ({"by choice": 1}, 2)


def test_skip_with_only_is_about_that_person(folder, relay):
    folder.relay(relay.port)
    lost = []

    def lose_all(octets):
        lost.append(octets)
        raise Hangup

    relay.answers["end of data"] = lose_all
    send()

    said = send("--json", "--only", ANN, "--uncertain", "skip")

    assert (said.json["skipped"], said.json["uncertain"]) == (1, 1)


def test_skip_leaves_whoever_the_log_showed_as_not_taken_to_be_sent(folder, relay):
    """What a relay's log proves is no more in doubt: only what still is can be left alone."""
    folder.relay(relay.port)
    relay.answers["end of data"] = LostReply()
    send()
    journal(folder, "UPDATE delivery SET state = 'pending' WHERE key = ?", ANN)

    said = send("--json", "--uncertain", "skip")

    assert (said.exit, said.json["sent"], said.json["skipped"]) == (0, 2, 0)
    assert relay.recipients().count(ANN) == 1
