"""A guessed encoding is confirmed by a person before mail leaves; what `where` leaves out is counted."""

import os
import pty
import select
import subprocess
import sys

import pytest

from conftest import CAMPAIGN
from running import postroom

CHINESE = "email,first_name\nli@example.com,若水\nwang@example.com,王小明\nzhang@example.com,张伟\nchen@example.com,陈静\n".encode("gb18030")
WORDS = 'recipients.csv: read as GB18030, which is a guess: line 2, first_name: "若水"; line 3, first_name: "王小明"; line 4, first_name: "张伟".'


@pytest.fixture
def chinese(folder, relay):
    folder.relay(relay.port)
    folder.write("recipients.csv", CHINESE)
    return folder


def declare(folder, relay, name):
    folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {relay.port}").replace("  file: recipients.csv\n", f"  file: recipients.csv\n  encoding: {name}\n"))


@pytest.mark.parametrize("words", [["--yes"], [], ["--yes", "--json"]])
def test_a_guess_stops_send_where_nobody_can_confirm_it(chinese, relay, words):
    said = postroom("send", "campaign.yaml", *words)

    assert (said.exit, relay.connections) == (2, 0)
    if "--json" in words:
        assert WORDS.removeprefix("recipients.csv: ").removesuffix(".") == said.json["error"]["what"]
    assert "encoding: gb18030" in said.err + said.out


@pytest.mark.parametrize(("command", "exit_code"), [(["send", "campaign.yaml", "--dry-run"], 0), (["send", "campaign.yaml", "--sandbox"], 0), (["check", "campaign.yaml"], 0), (["preview", "campaign.yaml"], 0)])
def test_a_guess_is_a_note_where_no_mail_leaves(chinese, relay, command, exit_code):
    said = postroom(*command)

    assert (said.exit, relay.connections) == (exit_code, 0)
    assert f"Note: {WORDS} If that is right, say `encoding: gb18030` under `recipients`" in said.err


def test_check_lists_a_guess_among_the_warnings(chinese):
    warning, = postroom("check", "campaign.yaml", "--json").json["warnings"]

    assert "read as GB18030, which is a guess" in warning["what"] and warning["where"]["file"] == "recipients.csv"


def test_what_encoding_says_is_sent_without_a_question(chinese, relay):
    declare(chinese, relay, "gbk")

    said = postroom("send", "campaign.yaml", "--yes")

    assert (said.exit, len(relay.taken), "guess" in said.err) == (0, 4, False)


@pytest.mark.parametrize(("answer", "exit_code", "sent"), [("n\n", 2, 0), ("\n", 2, 0), ("y\ny\n", 0, 4), ("y\nn\n", 2, 0)])
def test_on_a_terminal_the_guess_is_asked_about_first(chinese, relay, answer, exit_code, sent):
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "postroom", "send", "campaign.yaml"], stdin=slave, stdout=subprocess.DEVNULL, stderr=slave, close_fds=True)
    os.close(slave)
    os.write(master, answer.encode())
    said = b""
    while select.select([master], [], [], 60)[0]:
        try:
            said += os.read(master, 4096)
        except OSError:
            break
        if process.poll() is not None and not select.select([master], [], [], 0.2)[0]:
            break
    os.close(master)

    assert (process.wait(60), len(relay.taken)) == (exit_code, sent)
    assert "Are these cells right? [y/N]" in said.decode()


def test_what_where_leaves_out_is_counted(folder, relay):
    folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {relay.port}").replace("  file: recipients.csv\n", "  file: recipients.csv\n  where: first_name != 'Bob'\n"))
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\nANN@example.com,Ann\nbob@example.com,Bob\n,\nbo@example.com,Bob\n")

    assert "1 message checked, no fault found; 1 duplicate, 1 blank row, 2 rows by `where` left out." in postroom("check", "campaign.yaml").err
    said = postroom("send", "campaign.yaml", "--yes")

    assert "2 in recipients.csv, 1 duplicate, 1 blank row, 2 rows by `where` left out" in said.err
    assert (said.exit, len(relay.taken)) == (0, 1)


def test_one_address_in_three_spellings_is_one_mail(folder, relay):
    """traps D10."""
    folder.relay(relay.port)
    folder.write("recipients.csv", "email,first_name\nAnn@Example.com,Ann\nann@example.com ,Ann\nann@EXAMPLE.COM,Ann\n")

    said = postroom("send", "campaign.yaml", "--yes", "--json").json

    assert (said["sent"], said["skipped_reasons"], len(relay.taken)) == (1, {"duplicate": 2}, 1)


def test_a_where_that_is_true_for_nobody_is_a_fault_of_the_campaign(folder):
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  where: first_name == 'Bob'\n"))

    said = postroom("check", "campaign.yaml")

    assert said.exit == 2
    assert "campaign.yaml, line 10, column 3: `where` is true for none of the 2 rows" in said.err
