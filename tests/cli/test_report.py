"""postroom report: the table back with what became of each row, and the refused ones as the next table."""

import csv
import email
import io
import os
import stat
import subprocess
import sys

import pytest

from relay import Hangup
from running import postroom

ANN, BOB, EVE, ZOE, BOSS = "ann@example.com", "bob@example.com", "eve@example.com", "zoe@example.com", "boss@example.org"
FOUR = f"email,first_name,phone\n{ANN},Ann,030 1\n{BOB},Bob,030 2\n{EVE},Eve,030 3\n{ZOE},Zoë,030 4\n"
OURS = ["postroom_outcome", "postroom_reason", "postroom_code", "postroom_enhanced", "postroom_text", "postroom_time", "postroom_message_id", "postroom_refused"]


def send(*words):
    return postroom("send", "campaign.yaml", "--yes", *words)


def report(*words):
    return postroom("report", "campaign.yaml", *words)


def table(folder, name="report.csv", delimiter=",", encoding="utf-8-sig"):
    with open(folder.path / name, encoding=encoding, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter, strict=True))


def dicts(folder, name="report.csv"):
    names, *rows = table(folder, name)
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture
def four(folder, relay):
    """Sent, refused, put off, lost: one of each."""
    folder.write("recipients.csv", FOUR)
    relay.answers |= {f"RCPT TO:<{BOB}>": f"550 5.1.1 <{BOB}>: no such mailbox", f"RCPT TO:<{EVE}>": "451 4.7.1 greylisted"}

    def last_one_lost(octets):
        if b"Zo=C3=AB" in octets or b"Zo\xc3\xab" in octets or b"zoe@" in octets:
            raise Hangup
        return "250 2.0.0 queued as 4F"

    relay.answers["end of data"] = last_one_lost
    folder.relay(relay.port)
    assert send().exit == 1
    return folder


def test_every_row_comes_back_with_what_became_of_it_behind_its_own_cells(four):
    said = report("--csv", "report.csv")

    names, *rows = table(four)
    status = postroom("status", "campaign.yaml", "--json").json
    assert said.exit == 0 and said.out == "" and "report.csv: 4 rows" in said.err
    assert names == ["email", "first_name", "phone", *OURS]
    assert [row[:3] for row in rows] == [line.split(",") for line in FOUR.splitlines()[1:]]
    assert [row[3:8] for row in rows] == [
        ["sent", "", "250", "2.0.0", "queued as 4F"], ["rejected", "address refused", "550", "5.1.1", f"<{BOB}>: no such mailbox"],
        ["deferred", "refused for now", "451", "4.7.1", "greylisted"], ["uncertain", "connection lost", "", "", ""]]
    ids = [row[9] for row in rows]
    assert len(set(ids)) == 4 and all(one.endswith("@example.com") for one in ids)
    assert [rows[3][8], ids[3]] == [status["uncertain_list"][0]["time"], status["uncertain_list"][0]["message_id"]]


def test_the_report_is_private_whole_and_written_over_an_earlier_one(four):
    report("--csv", "report.csv")
    before = (four.path / "report.csv").read_bytes()

    assert report("--csv", "report.csv").exit == 0

    assert (four.path / "report.csv").read_bytes() == before and before.startswith(b"\xef\xbb\xbf")
    assert stat.S_IMODE(os.stat(four.path / "report.csv").st_mode) == 0o600
    assert not [name for name in os.listdir(four.path) if name.startswith(".report")]


def test_a_dash_is_standard_output_and_nothing_else_is_there(four):
    said = report("--csv", "-")

    assert said.exit == 0 and said.out.splitlines()[0] == ",".join(["email", "first_name", "phone", *OURS])
    assert len(list(csv.reader(io.StringIO(said.out)))) == 5
    assert "standard output: 4 rows" in said.err


@pytest.mark.parametrize("words", [["--csv", "-", "--json"], ["--csv", "-", "--failed", "-"], ["--failed", "-", "--json"]])
def test_two_things_on_standard_output_are_refused(four, words):
    assert report(*words).exit == 2


def test_the_refused_are_an_input_for_another_run_that_mails_nobody_twice(four, relay):
    """Who was put off, is uncertain or has it already is not among them."""
    said = report("--failed", "failed.csv")

    assert "failed.csv: 1 row refused for good" in said.err and "put off, is uncertain" in said.err
    assert table(four, "failed.csv") == [["email", "first_name", "phone"], [BOB, "Bob", "030 2"]]
    relay.answers.clear()
    four.write("again.yaml", (four.path / "campaign.yaml").read_text().replace("name: digest", "name: digest-again").replace("recipients.csv", "failed.csv"))
    assert postroom("send", "again.yaml", "--yes").exit == 0
    assert relay.recipients() == [ANN, BOB]


def test_one_whose_copy_went_out_is_held_back_and_said(folder, relay):
    """Its copies would come a second time."""
    relay.answers[f"RCPT TO:<{ANN}>"] = "550 5.1.1 no such mailbox"
    folder.relay(relay.port, f"cc: {BOSS}\n")
    send()

    said = report("--failed", "failed.csv", "--csv", "report.csv")

    assert relay.recipients() == [BOSS, ZOE, BOSS]
    assert table(folder, "failed.csv") == [["email", "first_name"]]
    assert "1 more is only in --csv: a copy of the mail went out" in said.err
    assert dicts(folder)[0]["postroom_outcome"] == "rejected"


def test_one_whose_first_try_may_have_arrived_is_held_back(folder, relay):
    def lost(octets):
        raise Hangup

    folder.write("recipients.csv", f"email,first_name\n{ANN},Ann\n")
    relay.answers["end of data"] = lost
    folder.relay(relay.port)
    send()
    relay.answers["end of data"] = "550 5.1.1 no such mailbox"
    send("--uncertain", "resend")

    document = report("--failed", "failed.csv", "--json").json

    assert document["rejected"] == 1
    assert document["failed"] == {"file": "failed.csv", "rows": 0, "held_back": 1}
    assert table(folder, "failed.csv") == [["email", "first_name"]]


def test_refused_copies_show_beside_a_mail_that_was_sent(folder, relay):
    """traps S11: a partial refusal is recorded."""
    relay.answers[f"RCPT TO:<{BOSS}>"] = "550 5.1.1 gone"
    folder.relay(relay.port, f"cc: {BOSS}\nbcc: archive@example.com\n")
    send()

    report("--csv", "report.csv")

    assert [(row["postroom_outcome"], row["postroom_code"], row["postroom_refused"]) for row in dicts(folder)] == [("sent", "250", f"{BOSS} (550 gone)")] * 2


def test_duplicates_and_rows_left_out_say_so(folder, relay):
    folder.write("recipients.csv", f"email,first_name,plan\n{ANN},Ann,pro\n{ZOE},Zoë,free\nAnn@Example.com,Ann,pro\n\n{BOB},Bob,pro\n")
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("file: recipients.csv", "file: recipients.csv\n  where: plan == 'pro'"))
    send("--limit", "1")

    report("--csv", "report.csv")

    assert [(row["email"], row["postroom_outcome"], row["postroom_reason"]) for row in dicts(folder)] == [
        (ANN, "sent", ""), (ZOE, "skipped", "where"), ("Ann@Example.com", "skipped", "duplicate of line 2"), (BOB, "pending", "")]


def test_who_is_no_longer_in_the_table_stands_at_its_end(four):
    four.write("recipients.csv", f"email,first_name,phone\n{BOB},Bob,030 2\nnew@example.com,New,\n")

    said = report("--csv", "report.csv")

    rows = [(row["email"], row["first_name"], row["postroom_outcome"], row["postroom_reason"]) for row in dicts(four)]
    assert rows == [(BOB, "Bob", "rejected", "address refused"), ("new@example.com", "New", "pending", ""), (ANN, "", "sent", "no longer listed"),
                    (EVE, "", "deferred", "refused for now; no longer listed"), (ZOE, "", "uncertain", "connection lost; no longer listed")]
    assert "3 of them, at the end, are no longer among the rows of the table" in said.err


def test_a_forgotten_person_is_not_named_by_the_report_unless_the_table_does(four):
    postroom("forget", BOB)
    listed = report("--csv", "report.csv", "--failed", "failed.csv")
    row = dicts(four)[1]
    words = report().out
    four.write("recipients.csv", FOUR.replace(f"{BOB},Bob,030 2\n", ""))
    unlisted = report("--csv", "report.csv")

    assert (row["email"], row["postroom_outcome"], row["postroom_reason"], row["postroom_text"], row["postroom_message_id"]) == (
        BOB, "rejected", "address refused; suppressed", "", "")
    assert listed.exit == 0 and len(table(four, "failed.csv")) == 1
    assert "FORGOTTEN" not in words and BOB not in words
    assert "1 recipient whom nothing names any more (postroom forget) is not in it." in unlisted.err
    assert BOB not in (four.path / "report.csv").read_text() and "FORGOTTEN" not in (four.path / "report.csv").read_text()


def test_before_the_first_send_everybody_is_pending(folder):
    assert report("--csv", "report.csv").exit == 0

    assert [row["postroom_outcome"] for row in dicts(folder)] == ["pending", "pending"]
    assert not (folder.path / ".postroom").exists()


def test_a_column_of_the_tables_own_keeps_its_name_and_ours_give_way(folder, relay):
    """A report may be the next table."""
    folder.relay(relay.port)
    send()
    report("--csv", "first.csv")
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("recipients.csv", "first.csv"))

    assert report("--csv", "second.csv").exit == 0

    names = table(folder, "second.csv")[0]
    assert names == ["email", "first_name", *OURS, *(f"{name}_2" for name in OURS)]


@pytest.mark.parametrize(("name", "said"), [("recipients.csv", "these are the recipients themselves"), ("link.csv", "these are the recipients themselves"),
                                            ("campaign.yaml", "not an earlier"), ("digest.html", "not an earlier"), ("other.csv", "not an earlier"), (".", "not an earlier"),
                                            (".postroom/journal.sqlite3", "beside the journal"), (".postroom/new.csv", "beside the journal"),
                                            ("gone/report.csv", "cannot be written")])
@pytest.mark.parametrize("option", ["--csv", "--failed"])
def test_nothing_but_an_earlier_table_of_its_kind_is_replaced(four, name, said, option):
    four.write("other.csv", "name,number\nx,1\n")
    os.symlink("recipients.csv", four.path / "link.csv")
    before = {path.name: path.read_bytes() for path in four.path.iterdir() if path.is_file()}

    answer = report(option, name)

    assert answer.exit == 2 and said in answer.err
    assert {path.name: path.read_bytes() for path in four.path.iterdir() if path.is_file()} == before
    assert report(option, name, "--json").json["error"]["do"]


def test_both_tables_in_one_file_are_refused(four):
    assert "both tables would be the same file" in report("--csv", "one.csv", "--failed", "./one.csv").err
    assert not (four.path / "one.csv").exists()


def test_where_the_table_cannot_be_read_the_journal_is_still_told(four):
    (four.path / "recipients.csv").unlink()

    words, rows = report(), report("--csv", "report.csv")

    assert words.exit == 0 and "Refused for good:" in words.out
    assert rows.exit == 2 and "`postroom report campaign.yaml` alone shows what the journal knows" in rows.err.replace("\n", " ")


def test_a_row_that_cannot_be_read_is_named_and_an_earlier_report_stays(four):
    report("--csv", "report.csv")
    before = (four.path / "report.csv").read_bytes()
    four.write("recipients.csv", FOUR + "x@example.com,X\n")

    said = report("--csv", "report.csv")

    assert said.exit == 2 and "recipients.csv, line 6: the row has 2 cells" in said.err
    assert (four.path / "report.csv").read_bytes() == before
    assert report("--csv", "-").out == ""


def test_the_summary_groups_refusals_by_what_they_mean(folder, relay):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"p{number}@example.com,P\n" for number in range(8)))
    for number in range(5):
        relay.answers[f"RCPT TO:<p{number}@example.com>"] = f"550 5.1.1 <p{number}@example.com>: unknown, id {number}x{number}" if number < 4 else "550 5.4.0 odd \x1b[2J words"
    relay.answers["RCPT TO:<p5@example.com>"] = "451 4.7.1 wait 12 seconds"
    relay.answers["RCPT TO:<p6@example.com>"] = "451 4.7.1 wait 99 seconds"
    folder.relay(relay.port)
    send()

    said, document = report().out, report("--json").json

    assert max(map(len, said.splitlines())) <= 80 and "\x1b" not in said
    first, second = document["rejected_groups"]
    assert (first["count"], first["code"], first["enhanced"], first["text"]) == (4, 550, "5.1.1", "<p0@example.com>: unknown, id 0x0")
    assert first["what"] and first["do"] and first["examples"] == [{"row": row, "address": f"p{row - 2}@example.com"} for row in (2, 3, 4)]
    assert (second["count"], second["what"]) == (1, None)
    [later] = document["deferred_groups"]
    assert (later["count"], later["due_at"]) == (2, document["due_at"])
    assert f"Put off, the first until {document['due_at']}:" in said
    assert "      4  550 5.1.1 <p0@example.com>: unknown" in said
    assert "p0@example.com (row 2), p1@example.com (row 3), p2@example.com (row 4), …" in " ".join(said.split())
    assert document["csv"] is None and document["failed"] is None and document["uncertain_list"] == []


def test_very_many_kinds_of_replies_stay_a_short_list(folder, relay):
    """A server may put anything into its replies."""
    words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(10, 60)]
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{word}@example.com,P\n" for word in words))
    relay.answers |= {f"RCPT TO:<{word}@example.com>": f"550 5.4.0 {word}{word}" for word in words}
    folder.relay(relay.port, "delivery: {stop_after: {failures: 100}}\n")
    send()

    groups = report("--json").json["rejected_groups"]

    assert (len(groups), sum(group["count"] for group in groups)) == (21, 50)
    assert groups[-1]["code"] is None and groups[-1]["count"] == 30


def test_it_needs_neither_secrets_nor_templates_nor_the_network(four, relay):
    connections = relay.connections
    four.campaign((four.path / "campaign.yaml").read_text() + "  username: ${GONE}\n  password: ${GONE}\n")
    (four.path / "digest.html").unlink()

    assert report("--csv", "report.csv", "--failed", "failed.csv").exit == 0
    assert report().exit == 0 and relay.connections == connections


def test_it_can_be_asked_while_a_run_is_under_way(folder, relay):
    said = []
    relay.answers["end of data"] = lambda octets: said.append(report("--csv", "-").out) or "250 taken"
    folder.relay(relay.port)

    send()

    assert [[row.split(",")[2] for row in one.splitlines()[1:]] for one in said] == [["pending", "pending"], ["sent", "pending"]]


HOSTILE = ["=1+1", "+49 30 123", "-5", "@x", "\tx", " =1", '"=1"', "'=1", "'plain", "plain", "=cmd|'/c calc'!A0", "'", "＝1"]


def hostile_table(delimiter=","):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["email", "first_name", "=odd"])
    writer.writerows([f"p{number}@example.com", f"P{number}", cell] for number, cell in enumerate(HOSTILE))
    return file.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_that_a_spreadsheet_would_run_are_defused_and_the_next_run_mails_them_as_they_were(folder, relay, delimiter):
    """The rows refused are the next table: harmless to open, and restored when they are read."""
    folder.write("recipients.csv", hostile_table(delimiter))
    folder.write("digest.txt", "[{{ row['=odd'] }}]")
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("html: digest.html\n", ""))
    relay.answers["RCPT"] = "550 5.1.1 =HYPERLINK(1)"
    send()

    report("--csv", "report.csv", "--failed", "failed.csv")

    for name in ("report.csv", "failed.csv"):
        assert not [cell for row in table(folder, name, delimiter) for cell in row if cell.lstrip(" \"'")[:1] in tuple("=+-@\t＝") and not cell.startswith("'")]
    names, *rows = table(folder, "failed.csv", delimiter)
    assert names == ["email", "first_name", "'=odd", "postroom_defused"]
    assert [row[2] for row in rows[:4]] == ["'=1+1", "'+49 30 123", "'-5", "'@x"] and rows[8][2:] == ["'plain", ""]
    assert table(folder, "report.csv", delimiter)[1][7] == "'=HYPERLINK(1)"
    relay.answers.clear()
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("name: digest", "name: again").replace("recipients.csv", "failed.csv"))
    assert send().exit == 0
    texts = [email.message_from_bytes(taken.octets).get_payload(decode=True).decode() for taken in relay.taken]
    assert [text.rstrip("\r\n") for text in texts] == [f"[{cell}]" for cell in HOSTILE]


def test_the_next_table_is_read_by_a_campaign_that_names_an_encoding(folder, relay):
    folder.write("recipients.csv", "email;first_name\nann@example.com;若水\n".encode("gb18030"))
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("file: recipients.csv", "file: recipients.csv\n  encoding: gb18030"))
    relay.answers["RCPT"] = "550 5.1.1 no"
    send()

    report("--failed", "failed.csv", "--csv", "report.csv")

    assert table(folder, "failed.csv", ";", "gb18030") == [["email", "first_name"], [ANN, "若水"]]
    assert table(folder, "report.csv", ";")[1][:2] == [ANN, "若水"]
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("recipients.csv", "failed.csv"))
    assert postroom("check", "campaign.yaml").exit == 0


def test_defaults_do_not_change_the_tables_own_cells(folder, relay):
    folder.write("recipients.csv", f"email,first_name\n{ANN},\n{ZOE}\n")
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("file: recipients.csv",
                    "file: recipients.csv\n  columns: {first_name: {default: friend}, city: {default: Rome}}"))
    relay.answers["RCPT"] = "550 5.1.1 no"
    send()

    report("--csv", "report.csv", "--failed", "failed.csv")

    assert [row[:3] for row in table(folder)[1:]] == [[ANN, "", "rejected"], [ZOE, "", "rejected"]]
    assert table(folder, "failed.csv") == [["email", "first_name"], [ANN, ""], [ZOE, ""]]


@pytest.mark.parametrize("option", ["--csv", "--failed"])
def test_where_there_is_no_room_the_earlier_table_stays_and_it_is_said(four, option):
    report(option, "report.csv")
    before = (four.path / "report.csv").read_bytes()
    four.write("recipients.csv", FOUR.replace("030 2", "x" * 100_000))
    with_64_kib = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); from postroom.cli.main import main; sys.exit(main(sys.argv[1:]))"

    done = subprocess.run([sys.executable, "-c", with_64_kib, "report", "campaign.yaml", option, "report.csv"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2 and done.stderr.startswith("report.csv: the table cannot be written: file too large.")
    assert (four.path / "report.csv").read_bytes() == before
    assert not [name for name in os.listdir(four.path) if name.startswith(".report")]
