"""Logins from the command line: tokens that expire in mid-run, challenges, commands, and what counts for an account."""

import base64
import hashlib
import hmac
import sqlite3
import time

import pytest

from conftest import CAMPAIGN
from relay import Relay
from running import postroom

PEOPLE = [f"{name}@example.com" for name in "abcdefgh"]
USER, PASSWORD = "ann@example.com", "s3cret pass"


def table(folder, people=PEOPLE):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},{address[0].upper()}\n" for address in people))


def campaign(folder, port, lines):
    return folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {port}") + f"  username: {USER}\n  allow_plaintext_login: true\n{lines}")


class Tokens:
    """A relay that takes tokens one after the other, each for so many messages; `printed` is the command's file of tokens."""

    def __init__(self, folder, messages, *more):
        self.folder, self.messages, self.taken, self.logins = folder, messages, 0, []
        folder.write("token.sh", "n=$(cat count 2>/dev/null || echo 0); n=$((n+1)); echo $n > count; echo token-$n\n")
        self.relay = Relay({"AUTH": self.login, "": "535 5.7.8 Username and Password not accepted", "MAIL": self.mail}, capabilities=("AUTH XOAUTH2 PLAIN", "8BITMIME", *more))

    @property
    def good(self):
        return f"token-{1 + self.taken // self.messages}"

    def login(self, line):
        said = base64.b64decode(line.split()[2]).decode()
        self.logins.append(said)
        return "235 2.7.0 Accepted" if said == f"user={USER}\x01auth=Bearer {self.good}\x01\x01" else "334 eyJzdGF0dXMiOiI0MDAifQ=="

    def mail(self, line):
        if self.logins[-1].partition("Bearer ")[2].strip("\x01") != self.good:
            return "530 5.7.0 Authentication expired"
        self.taken += 1
        return "250 2.1.0 OK"


def test_a_token_that_expires_in_mid_run_is_renewed_and_the_same_mail_goes_once(folder):
    """traps S18, and the last row of the fault matrix."""
    table(folder)
    tokens = Tokens(folder, messages=3)
    with tokens.relay as relay:
        campaign(folder, relay.port, "  token_command: sh token.sh\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, said.json["sent"], said.json["uncertain"]) == (0, 8, 0), said.err
        assert relay.recipients() == PEOPLE
    assert (folder.path / "count").read_text() == "3\n" and relay.connections == 3


def test_a_token_that_expires_with_many_in_flight_is_renewed_once_for_all_of_them(folder):
    people = [f"p{number:02}@example.com" for number in range(60)]
    table(folder, people)
    tokens = Tokens(folder, 25, "PIPELINING")
    with tokens.relay as relay:
        campaign(folder, relay.port, "  token_command: sh token.sh\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, said.json["sent"], said.json["uncertain"]) == (0, 60, 0), said.err
        # A lone dot ends what nobody was to get.
        assert sorted(taken.recipients[0] for taken in relay.taken if taken.octets) == people
    assert (folder.path / "count").read_text() == "3\n" and relay.connections == 3


def test_a_token_that_expired_before_a_reconnect_is_renewed(folder):
    table(folder)
    tokens = Tokens(folder, messages=4)
    with tokens.relay as relay:
        campaign(folder, relay.port, "  token_command: sh token.sh\n  messages_per_session: 4\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, relay.recipients()) == (0, PEOPLE), said.err
    # One login with each token, and the one that showed that the first had expired.
    assert len(tokens.logins) == 3


def test_a_token_that_is_refused_from_the_start_is_asked_for_once(folder):
    table(folder)
    folder.write("token.sh", "echo x >> runs; echo wrong\n")
    with Relay({"AUTH": "334 eyJzdGF0dXMiOiI0MDAifQ==", "": "535 5.7.8 Username and Password not accepted"}, capabilities=("AUTH XOAUTH2",)) as relay:
        campaign(folder, relay.port, "  token_command: sh token.sh\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, said.json["sent"], relay.taken, relay.connections) == (2, 0, [], 1)
    assert "Username and Password not accepted" in said.json["error"]["what"]
    assert (folder.path / "runs").read_text() == "x\n"


def test_a_relay_that_never_takes_the_new_token_stops_the_run_without_a_login_loop(folder):
    table(folder)
    folder.write("token.sh", "echo x >> runs; echo token\n")
    with Relay({"AUTH": "235 2.7.0 Accepted", "MAIL": "530 5.7.0 Authentication required"}, capabilities=("AUTH XOAUTH2",)) as relay:
        campaign(folder, relay.port, "  token_command: sh token.sh\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, said.json["pending"], said.json["rejected"], relay.connections) == (2, 8, 0, 2), said.err
    assert (folder.path / "runs").read_text() == "x\nx\n"


def test_in_clear_the_password_answers_a_challenge_and_is_not_shown(folder):
    challenge = b"<1.2@relay.test>"
    answers = []

    def login(line):
        answers.append(line)
        return "334 " + base64.b64encode(challenge).decode()

    digest = hmac.new(PASSWORD.encode(), challenge, hashlib.md5).hexdigest()
    right = base64.b64encode(f"{USER} {digest}".encode()).decode()
    with Relay({"AUTH": login, right: "235 2.7.0 welcome"}, capabilities=("AUTH LOGIN PLAIN CRAM-MD5",)) as relay:
        campaign(folder, relay.port, f"  password: {PASSWORD}\n")

        said = postroom("send", "campaign.yaml", "--yes", "--debug")

        assert said.exit == 0 and len(relay.taken) == 2
        assert not any(PASSWORD in line or base64.b64encode(PASSWORD.encode()).decode() in line for line in relay.commands)
    assert answers == ["AUTH CRAM-MD5"] and right not in said.err and "allow_plaintext_login" in said.err


@pytest.mark.parametrize("lines", ["  password_command: printf '%s\\n' 's3cret pass'\n", "  password: s3cret pass\n"])
def test_a_secret_from_anywhere_stays_out_of_everything_that_is_written(folder, lines):
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    with Relay({f"AUTH PLAIN {plain}": f"535 5.7.8 no: {PASSWORD} {plain}"}, capabilities=("AUTH PLAIN",)) as relay:
        campaign(folder, relay.port, lines)

        said = postroom("send", "campaign.yaml", "--yes", "--debug", "--json")

    assert said.exit == 2
    for secret in (PASSWORD, plain):
        assert secret not in said.err + said.out


def departed(folder, seconds_ago):
    """Let everything that the journal counts for the account have left so long ago."""
    with sqlite3.connect(folder.path / ".postroom" / "journal.sqlite3") as journal:
        journal.execute("UPDATE account_use SET at = ?", (time.time() - seconds_ago,))
    journal.close()


def test_a_days_quota_holds_over_restarts_and_ends_the_run_with_the_time(folder, relay):
    table(folder)
    folder.relay(relay.port, "  rate: [100/second, 3/day]\n")

    first, second = (postroom("send", "campaign.yaml", "--yes", "--json") for _ in range(2))

    assert [(said.exit, said.json["this_run"]["sent"], said.json["pending"]) for said in (first, second)] == [(3, 3, 5), (3, 0, 5)]
    assert "the account's 3/day are used up; the next message may leave at 20" in second.json["error"]["what"]
    assert "3 of 8 may leave before it is used up" in first.err
    departed(folder, 86_401)
    assert postroom("send", "campaign.yaml", "--yes", "--json").json["this_run"]["sent"] == 3


def test_an_hours_quota_counts_what_another_campaign_sent(folder, relay):
    table(folder)
    folder.relay(relay.port, "  rate: 10/hour\n")
    assert postroom("send", "campaign.yaml", "--yes").exit == 0
    folder.write("other.yaml", (folder.path / "campaign.yaml").read_text().replace("name: digest", "name: other"))

    said = postroom("send", "other.yaml", "--yes", "--json")

    assert (said.exit, said.json["this_run"]["sent"], len(relay.taken)) == (3, 2, 10)
    departed(folder, 3_590)
    # In ten seconds there is room again: nobody is sent away for that.
    assert postroom("send", "other.yaml", "--yes", "--json", seconds=60).json["remaining"] == 0
