"""The other commands, as a new user meets them."""

import json
import os
import signal
import smtplib
import subprocess
import sys
import urllib.request

import pytest

from conftest import CAMPAIGN
from parsers import with_python
from relay import Relay, free_port
from running import postroom


def test_new_writes_a_campaign_that_works_at_once(folder):
    said = postroom("new", "first")

    assert said.exit == 0 and "postroom preview first/campaign.yaml" in said.err
    assert postroom("check", "first/campaign.yaml").exit == 0
    assert postroom("preview", "first/campaign.yaml", "--json").json["messages"] > 1
    assert postroom("send", "first/campaign.yaml", "--sandbox", "--json").json["sent"] > 1
    # What it names as missing is just what a person must fill in.
    told = postroom("send", "first/campaign.yaml", "--yes")
    assert told.exit == 2 and "SMTP_USERNAME is not set" in told.err


@pytest.mark.parametrize("name", ["full", "file"])
def test_new_overwrites_nothing(folder, name):
    folder.write("full/letter.txt", "dear diary")
    folder.write("file", "dear diary")

    said = postroom("new", name)

    assert (said.exit, (folder.path / "full" / "letter.txt").read_text(), (folder.path / "file").read_text()) == (2, "dear diary", "dear diary")
    assert sorted(path.name for path in (folder.path / "full").iterdir()) == ["letter.txt"]


def test_the_demo_sends_the_sample_to_25_people_and_does_so_again(folder, node):
    for _ in range(2):
        said = postroom("demo", "--json")

        assert said.exit == 0 and (said.json["sent"], said.json["remaining"]) == (25, 0)
        assert "Look at it: postroom-demo" in said.err and "Nobody got mail" in said.err
    mails = [path.read_bytes() for path in (folder.path / "postroom-demo").rglob("*.eml")]
    assert len(mails) == 25
    for octets in mails:
        python, other = with_python(octets), node.parse(octets)
        for field in ("subject", "from_", "to", "text", "html", "message_id"):
            assert getattr(python, field) == getattr(other, field)
        assert [(name, len(file) > 500) for _, _, name, file in python.files] == [(name, True) for _, _, name, _ in other.files] and len(python.files) == 2
        assert "list-unsubscribe-post" in python.headers and "precedence" in python.headers
        for _, _, name, _ in python.files:
            assert f"cid:{name}" in python.html


def test_preview_writes_what_send_would_send(folder, relay):
    folder.relay(relay.port)

    said = postroom("preview", "campaign.yaml", "--json")

    assert said.exit == 0
    document = said.json
    assert document == {"version": 1, "exit": 0, "error": None, "campaign": "digest", "edition": "2026-11", "directory": ".postroom/preview/digest-2026-11", "messages": 2,
                        "page": ".postroom/preview/digest-2026-11/index.html"}
    postroom("send", "campaign.yaml", "--yes")
    previewed = [(folder.path / document["directory"] / f"{number:04}.eml").read_bytes() for number in (1, 2)]
    without_date = [b"".join(line for line in octets.splitlines(True) if not line.startswith(b"Date:")) for octets in previewed]
    assert without_date == [b"".join(line for line in taken.octets.splitlines(True) if not line.startswith(b"Date:")) for taken in relay.taken]
    assert relay.connections == 1


def test_preview_shows_the_first_hundred_unless_told(folder):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(130)))

    counts = [postroom("preview", "campaign.yaml", "--json", *words).json["messages"] for words in ([], ["--limit", "7"], ["--all"])]

    assert counts == [100, 7, 130]


def test_preview_goes_where_one_says_and_never_over_other_files(folder):
    folder.write("mine/letter.txt", "dear diary")

    assert postroom("preview", "campaign.yaml", "--output", "seen").exit == 0
    assert (folder.path / "seen" / "index.html").exists()
    assert postroom("preview", "campaign.yaml", "--output", "mine").exit == 2
    assert [path.name for path in (folder.path / "mine").iterdir()] == ["letter.txt"]


def test_a_preview_of_a_faulty_row_names_it(folder):
    folder.write("digest.html", "{{ last_name }}")

    said = postroom("preview", "campaign.yaml")

    assert said.exit == 2 and '"last_name" is neither a column nor in `vars`' in said.err and "digest.html, line 1, row 2" in said.err


def test_status_tells_of_one_campaign_or_of_all(folder, relay):
    assert "Nothing was sent" in postroom("status").err
    folder.relay(relay.port)
    postroom("send", "campaign.yaml", "--yes", "--limit", "1")

    one = postroom("status", "campaign.yaml", "--json").json
    every = postroom("status", "--json").json
    shown = postroom("status")

    assert (one["sent"], one["pending"], one["remaining"], one["running"], one["this_run"]) == (1, 1, 1, False, None)
    assert [{**row, "version": 1} for row in every["campaigns"]] == [one]
    assert shown.exit == 0 and "digest 2026-11" in shown.out and "sent" in shown.out


def test_while_a_run_is_under_way_status_counts_those_leaving_as_pending(folder, relay):
    found = []
    relay.answers["end of data"] = lambda octets: found.append(postroom("status", "campaign.yaml", "--json").json) or "250 taken"
    folder.relay(relay.port)

    postroom("send", "campaign.yaml", "--yes")

    assert [(one["running"], one["sent"], one["pending"], one["uncertain"]) for one in found] == [(True, 0, 2, 0), (True, 1, 1, 0)]
    assert postroom("status", "campaign.yaml", "--json").json["running"] is False


def test_status_needs_neither_templates_nor_secrets(folder, relay):
    folder.relay(relay.port)
    postroom("send", "campaign.yaml", "--yes")
    folder.campaign(CAMPAIGN + "  username: ${GONE}\n  password: ${GONE}\n")
    (folder.path / "digest.html").unlink()
    (folder.path / "recipients.csv").unlink()

    assert postroom("status", "campaign.yaml", "--json").json["sent"] == 2


def test_check_passes_a_sound_campaign_without_a_connection(folder, relay):
    folder.relay(relay.port)

    said = postroom("check", "campaign.yaml")

    assert (said.exit, relay.connections) == (0, 0) and "2 messages checked, no fault found." in said.err
    assert not (folder.path / ".postroom").exists()


def test_check_with_relay_logs_in_and_sends_nothing(folder, relay):
    folder.relay(relay.port)

    assert postroom("check", "campaign.yaml", "--relay").exit == 0
    assert [command.split()[0] for command in relay.commands] == ["EHLO", "QUIT"]


def test_check_with_relay_tells_of_a_relay_that_is_not_there_or_too_small(folder):
    folder.relay(free_port())
    refused = postroom("check", "campaign.yaml", "--relay")
    folder.write("large.bin", b"\0" * 5000)
    with Relay(capabilities=("SIZE 3000",)) as relay:
        folder.relay(relay.port, "attachments: [large.bin]\n")

        small = postroom("check", "campaign.yaml", "--relay", "--json")

    assert refused.exit == 3 and "connection refused" in refused.err
    assert small.exit == 2 and "the relay takes 3,000" in small.json["errors"][0]["what"]


def test_check_warns_of_what_is_no_fault(folder):
    folder.write("recipients.csv", " email,first_name,Last Name\nann@example.com,Ann,Lee\nann@example.com,Ann,Lee\n\n")

    said = postroom("check", "campaign.yaml", "--json")
    words = postroom("check", "campaign.yaml")

    assert said.exit == 0 and said.json["duplicates"] == 1
    assert [warning["what"] for warning in said.json["warnings"]] == ['blanks around the column name "email" were left out', 'the column "Last Name" is no plain name in templates']
    assert 'Write row["Last Name"]' in words.err
    assert "1 duplicate, 1 blank row left out" in words.err


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_takes_mail_until_it_is_ended(folder, end):
    process = subprocess.Popen([sys.executable, "-m", "postroom", "sandbox", "--port", "0", "--web-port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        said = json.loads(text)
        with smtplib.SMTP(said["host"], said["port"]) as client:
            client.sendmail("a@example.com", ["b@example.com"], "Subject: hello\r\n\r\n.hello\r\n")
        with urllib.request.urlopen(said["url"], timeout=10) as page:
            assert "hello" in page.read().decode()
        process.send_signal(end)
        _, words = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait(10)

    assert process.returncode == 0 and "Traceback" not in words
    assert (folder.path / "sandbox-mail" / "0001.eml").read_bytes() == b"Subject: hello\r\n\r\n.hello\r\n"


def test_a_sandbox_whose_port_is_taken_says_so(folder, relay):
    said = postroom("sandbox", "--port", relay.port, "--web-port", "0")

    assert said.exit == 3 and "cannot listen" in said.err


@pytest.mark.parametrize("words", [["demo", "file"], ["demo", "file/below"], ["sandbox", "--directory", "file/below"], ["sandbox", "--directory", "."]])
def test_a_place_that_cannot_be_written_is_one_clear_message(folder, words):
    folder.write("file", "x")

    said = postroom(*words)
    document = postroom(*words, "--json").json

    assert said.exit == 2 and said.err
    assert document["exit"] == 2 and document["error"]["what"] and (folder.path / "file").read_text() == "x"


@pytest.mark.parametrize("number", ["-1", "65536", "smtp"])
def test_a_port_that_is_none_is_exit_2(folder, number):
    assert postroom("sandbox", f"--port={number}").exit == 2


def test_a_campaign_whose_name_is_no_text_is_sent_all_the_same(folder, relay):
    folder.relay(relay.port)
    os.rename(folder.path / "campaign.yaml", os.fsencode(folder.path) + b"/caf\xe9.yaml")

    first = postroom("send", b"caf\xe9.yaml".decode("utf-8", "surrogateescape"), "--yes")
    second = postroom("send", b"caf\xe9.yaml".decode("utf-8", "surrogateescape"), "--yes")

    assert (first.exit, second.exit, len(relay.taken)) == (0, 0, 2)


@pytest.mark.parametrize("words", [["send", "gone.yaml", "--yes"], ["check", "gone.yaml"], ["preview", "gone.yaml"], ["status", "gone.yaml"]])
def test_a_campaign_that_is_not_there_is_one_clear_message(folder, words):
    said = postroom(*words)
    document = postroom(*words, "--json").json

    assert said.exit == 2 and "gone.yaml: there is no such file" in said.err
    assert document["exit"] == 2 and document["error"]["where"]["file"] == "gone.yaml"


def test_the_version_is_told(folder):
    from postroom import __version__

    assert postroom("--version").out == f"postroom {__version__}\n"


def test_a_terminal_that_does_not_speak_utf_8_gets_its_words_too(folder):
    folder.campaign(CAMPAIGN.replace("2026-11", "Frühling 春"))
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}

    document = postroom("send", "campaign.yaml", "--dry-run", "--json", environment=ascii_only)
    words = postroom("status", "campaign.yaml", environment=ascii_only)

    assert (document.exit, document.json["edition"]) == (0, "Frühling 春")
    assert words.exit == 0 and "digest Fr\\xfchling" in words.out


def test_a_reader_that_goes_away_is_no_error(folder, relay):
    folder.relay(relay.port)
    postroom("send", "campaign.yaml", "--yes")

    done = subprocess.run(f"{sys.executable} -m postroom status | true", shell=True, capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
