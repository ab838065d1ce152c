"""Addresses that only SMTPUTF8 can carry: refused at the gate with their rows, else carried as they are (RFC 6531, 6532)."""

import email
import email.policy
import json
import sqlite3
from contextlib import closing

import pytest

from conftest import TABLE
from parsers import with_python
from relay import Relay
from running import deliveries, postroom

JURGEN, RUOSHUI = "jürgen@example.com", "若水@xn--r8jz45g.jp"
MIXED = TABLE + "jürgen@example.com,Jürgen\n若水@例え.jp,若水\n"
UTF8 = ("8BITMIME", "SMTPUTF8", "SIZE 50000000")


def send(*words, **more):
    return postroom("send", "campaign.yaml", "--yes", *words, **more)


def mails(commands):
    return [command for command in commands if command.startswith(("MAIL", "RCPT"))]


def test_a_relay_without_smtputf8_is_refused_before_the_first_mail_with_the_rows(folder, relay):
    """traps H9 and reliability 4b: `jürgen@example.com` on a server without SMTPUTF8 is exit 2 at the gate; a local part is never punycoded."""
    folder.write("recipients.csv", MIXED)
    folder.relay(relay.port)

    said, document = send(), send("--json").json

    assert (said.exit, mails(relay.commands), relay.taken) == (2, [], [])
    assert "recipients.csv, line 4: the relay does not offer SMTPUTF8, and there are 2 rows (4, 5) with letters beyond ASCII before the @ of an address" in said.err
    assert said.err.rstrip().endswith("Nothing was sent in this run.")
    assert "xn--jrgen" not in said.err and document["error"]["where"]["line"] == 4
    assert "QUIT" in relay.commands


def test_smtputf8_without_8bitmime_is_refused_too(folder):
    """RFC 6531 section 3.1 (8): a server that offers the one must offer the other; headers in UTF-8 want both."""
    folder.write("recipients.csv", MIXED)
    with Relay(capabilities=("SMTPUTF8",)) as relay:
        folder.relay(relay.port)

        said = send()

    assert (said.exit, mails(relay.commands)) == (2, [])
    assert "does not offer 8BITMIME" in said.err


def test_only_messages_that_need_smtputf8_ask_for_it(folder, relay, node):
    """RFC 6531 section 3.4: MUST where it is needed, SHOULD NOT elsewhere."""
    relay.capabilities = UTF8
    folder.write("recipients.csv", MIXED)
    folder.relay(relay.port)

    said = send()

    assert said.exit == 0
    asked = [command.partition("> ")[2].partition(" ")[2] for command in relay.commands if command.startswith("MAIL")]
    assert asked == ["", "", "BODY=8BITMIME SMTPUTF8", "BODY=8BITMIME SMTPUTF8"]
    assert relay.recipients() == ["ann@example.com", "zoe@example.com", JURGEN, RUOSHUI]
    assert [taken.octets.isascii() for taken in relay.taken] == [True, True, False, False]
    for taken, to in zip(relay.taken[2:], [("Jürgen", JURGEN), ("若水", RUOSHUI)]):
        head, _, body = taken.octets.partition(b"\r\n\r\n")
        assert body.isascii() and [line[:3] for line in head.split(b"\r\n") if not line.isascii()] == [b"To:"]
        assert with_python(taken.octets).to == node.parse(taken.octets).to == [to]
        newest = email.message_from_bytes(taken.octets, policy=email.policy.default)["to"].addresses
        assert [address.addr_spec.partition("@")[2] for address in newest] == [to[1].partition("@")[2]]
    assert set(deliveries(folder)) == {"ann@example.com", "zoe@example.com", JURGEN, RUOSHUI}
    assert send().exit == 0 and len(relay.taken) == 4


@pytest.mark.parametrize(("more", "asked", "ascii"), [
    ("bcc: jürgen@example.com\n", "SMTPUTF8", True), ("cc: jürgen@example.com\n", "BODY=8BITMIME SMTPUTF8", False), ("reply_to: jürgen@example.com\n", "BODY=8BITMIME SMTPUTF8", False)])
def test_every_field_of_addresses_counts(folder, relay, more, asked, ascii):
    relay.capabilities = UTF8
    folder.relay(relay.port, more)

    assert send().exit == 0

    assert [command.partition("> ")[2].partition(" ")[2] for command in relay.commands if command.startswith("MAIL")] == [asked] * 2
    assert [taken.octets.isascii() for taken in relay.taken] == [ascii] * 2


def test_a_sender_beyond_ascii_stands_in_the_envelope(folder, relay):
    relay.capabilities = UTF8
    folder.relay(relay.port)
    folder.campaign((folder.path / "campaign.yaml").read_text().replace("news@example.com", "nachrichten-für@example.com"))

    assert send().exit == 0

    assert {taken.sender for taken in relay.taken} == {"nachrichten-für@example.com"}


def test_a_session_that_lost_smtputf8_ends_the_run_and_leaves_nobody_uncertain(folder, relay):
    """The fault matrix: EHLO loses an extension on the second session. What was never written never left."""
    relay.capabilities = UTF8
    folder.write("recipients.csv", MIXED)
    folder.relay(relay.port, "  messages_per_session: 3\n")

    def loses(taken):
        relay.capabilities = ("8BITMIME",)

    relay.after = loses
    said = send("--json")

    assert (said.exit, said.json["sent"], said.json["uncertain"], said.json["pending"]) == (2, 3, 0, 1)
    assert "the relay does not offer SMTPUTF8" in said.json["error"]["what"] and "row 5" in said.json["error"]["where"]["relay"]
    assert deliveries(folder)[RUOSHUI] == "pending"
    relay.capabilities, relay.after = UTF8, None
    assert send().exit == 0 and relay.recipients().count(RUOSHUI) == 1


def test_a_relay_that_refuses_such_a_recipient_refuses_only_this_one(folder, relay):
    """RFC 6531 section 3.5: 553 5.6.7 to RCPT."""
    relay.capabilities = UTF8
    relay.answers[f"RCPT TO:<{JURGEN}>"] = "553 5.6.7 non-ASCII addresses are not permitted"
    folder.write("recipients.csv", MIXED)
    folder.relay(relay.port)

    said = send("--json")

    assert (said.exit, said.json["sent"], said.json["rejected"]) == (1, 3, 1)


def test_one_person_written_in_two_ways_is_one_recipient(folder, relay):
    """traps D10. A key folds: composed and decomposed letters, capitals and the domain's form are the same person."""
    relay.capabilities = UTF8
    folder.write("recipients.csv", "email,first_name\njürgen@münchen.de,J\nJu\u0308rgen@XN--MNCHEN-3YA.de,J\nJÜRGEN@münchen.de,J\n")
    folder.relay(relay.port)

    said = send("--json")

    assert (said.exit, said.json["sent"], said.json["skipped_reasons"]) == (0, 1, {"duplicate": 2})
    assert relay.recipients() == ["jürgen@xn--mnchen-3ya.de"]


def test_check_notes_it_and_asks_the_relay_where_one_says_so(folder, relay):
    folder.write("recipients.csv", MIXED)
    folder.relay(relay.port)

    said, asked = postroom("check", "campaign.yaml", "--json"), postroom("check", "campaign.yaml", "--relay")

    warning, = said.json["warnings"]
    assert said.exit == 0 and warning["where"]["line"] == 4
    assert warning["what"] == "there are 2 rows (4, 5) with letters beyond ASCII before the @ of an address, which only a relay with SMTPUTF8 takes"
    assert (asked.exit, "the relay does not offer SMTPUTF8" in asked.err) == (2, True)


def test_a_rehearsal_takes_such_addresses_and_shows_them(folder):
    folder.write("recipients.csv", MIXED)

    said = postroom("send", "campaign.yaml", "--sandbox")

    assert said.exit == 0
    mailbox = next((folder.path / ".postroom" / "sandbox").iterdir())
    assert json.loads((mailbox / "0003.json").read_text())["recipients"] == [JURGEN]
    assert "Jürgen &lt;jürgen@example.com&gt;" in (mailbox / "messages" / "0003.words.html").read_text()
    assert '"若水", "若水@xn--r8jz45g.jp"' in (mailbox / "index.html").read_text()


def test_several_recipients_come_from_columns_and_empty_ones_are_left_out(folder, relay, node):
    """traps H10, H11, S11: Bcc in the envelope alone, no empty header, each refused address written down."""
    folder.relay(relay.port, 'cc: ["{{ boss }}", "{{ team }}"]\nbcc: ["{{ archive }}", audit@example.com]\nreply_to: "{{ boss }}"\n')
    folder.write("recipients.csv", "email,first_name,boss,team,archive\nann@example.com,Ann,Bo Ss <boss@example.com>,team@example.com,old@example.com\nzoe@example.com,Zoë,, ,\n")
    relay.answers["RCPT TO:<team@example.com>"] = "550 5.1.1 no such team"
    relay.answers["RCPT TO:<old@example.com>"] = "452 4.2.2 full"

    said = send("--json")

    assert (said.exit, said.json["sent"]) == (1, 2)
    assert [taken.recipients for taken in relay.taken] == [("ann@example.com", "boss@example.com", "audit@example.com"), ("zoe@example.com", "audit@example.com")]
    reads = [(with_python(taken.octets), node.parse(taken.octets)) for taken in relay.taken]
    for read in reads[0]:
        assert (read.cc, read.reply_to) == ([("Bo Ss", "boss@example.com"), ("", "team@example.com")], [("Bo Ss", "boss@example.com")])
    for read in reads[1]:
        assert not {"cc", "reply-to"} & set(read.headers)
    for read in (*reads[0], *reads[1]):
        assert "bcc" not in read.headers
    assert not any(b"audit@" in taken.octets or b"old@" in taken.octets for taken in relay.taken)
    with closing(sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3")) as rows:
        results = rows.execute("SELECT address, accepted, code, enhanced FROM address_result ORDER BY attempt, rowid").fetchall()
    assert results == [("ann@example.com", 1, 250, "2.0.0"), ("boss@example.com", 1, 250, "2.0.0"), ("team@example.com", 0, 550, "5.1.1"), ("old@example.com", 0, 452, "4.2.2"),
                       ("audit@example.com", 1, 250, "2.0.0"), ("zoe@example.com", 1, 250, "2.0.0"), ("audit@example.com", 1, 250, "2.0.0")]


@pytest.mark.parametrize("column", ["boss", "email"])
def test_a_cell_holds_one_address_wherever_it_stands(folder, relay, column):
    """reliability 4b: `a@x, b@y` in a cell is an error with row and column, not two recipients."""
    folder.relay(relay.port, 'cc: "{{ boss }}"\n')
    folder.write("recipients.csv", "email,first_name,boss\n" + ('"a@example.com, b@example.com",Ann,' if column == "email" else 'ann@example.com,Ann,"a@example.com, b@example.com"') + "\n")

    said = send()

    assert (said.exit, relay.connections) == (2, 0)
    assert f"recipients.csv, line 2, column {column}" in said.err and "more than one address" in said.err


@pytest.mark.parametrize(("mailto", "uri"), [("austragen-für-alle@example.com", "austragen-f%C3%BCr-alle@example.com"), ("a#b%c&d?e@example.com", "a%23b%25c%26d%3Fe@example.com")])
def test_a_mail_address_to_unsubscribe_at_is_a_uri(folder, relay, mailto, uri):
    """RFC 6068 section 2: whatever an address holds, the header stays ASCII, so no message needs SMTPUTF8 for it."""
    folder.relay(relay.port, f"unsubscribe: {{mailto: '{mailto}'}}\n")

    assert send().exit == 0

    assert f"List-Unsubscribe: <mailto:{uri}?subject=unsubscribe>\r\n".encode() in relay.taken[0].octets
