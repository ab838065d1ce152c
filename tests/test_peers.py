"""A whole campaign to servers that are not ours: what they took, read by two parsers, is what went in."""

import ssl

import pytest
import trustme

from conftest import CAMPAIGN
from full_campaign import FULL, FULL_ROWS, FULL_TABLE, envelope_of, must_read, write_full
from parsers import with_python
from peers import Postfix, SecureServer, SmtpSink, have_postfix, have_smtp_sink
from running import missing, postroom

COPIES = 8
PASSWORD = "pässword %s $x"


@pytest.fixture
def campaign(folder):
    """The campaign that uses everything, for 24 people: write(port, smtp) points it to a relay."""
    write_full(folder)
    header, *lines = FULL_TABLE.splitlines()
    folder.write("recipients.csv", "\n".join([header, *(line.replace("@", f"+{copy}@", 1) for copy in range(COPIES) for line in lines)]) + "\n")

    def write(port, smtp="  security: plain\n"):
        folder.campaign(FULL.replace("  host: 127.0.0.1\n  port: 2525\n  security: plain\n", f"  host: localhost\n  port: {port}\n{smtp}"))

    return write


def expected():
    """Each row of the table as a dict, by its address."""
    return {row["email"].replace("@", f"+{copy}@"): {**row, "email": row["email"].replace("@", f"+{copy}@")}
            for copy in range(COPIES) for row in FULL_ROWS}


def sent_all(said):
    assert (said.exit, said.json["sent"], said.json["remaining"]) == (0, 3 * COPIES, 0), said.err


def as_they_went_in(mails, node):
    """Assert that every mail is one row's, complete and exact. Returns their rows' addresses."""
    rows, seen = expected(), []
    for mail in mails:
        python, other = with_python(mail.octets), node.parse(mail.octets)
        address = python.to[0][1]
        for read in (python, other):
            must_read(read, rows[address], mail.octets)
        seen.append(address)
    return seen


def test_smtp_sink_gets_every_message_as_it_went_in_over_one_connection(campaign, node):
    if not have_smtp_sink():
        missing("smtp-sink (Debian's package postfix)")
    with SmtpSink() as sink:
        campaign(sink.port)

        sent_all(postroom("send", "campaign.yaml", "--yes", "--json"))

        mails = sink.mails()
        assert sink.connections() == 1
    assert sorted(as_they_went_in(mails, node)) == sorted(expected())
    for mail in mails:
        assert (mail.sender, mail.recipients) == ("news@example.com", envelope_of(expected()[mail.recipients[0]]))


def test_postfix_delivers_every_message_as_it_went_in_over_one_connection(campaign, node):
    if not have_postfix():
        missing("Postfix, started as root")
    with Postfix() as postfix:
        campaign(postfix.port)

        sent_all(postroom("send", "campaign.yaml", "--yes", "--json"))

        copies = sum(len(envelope_of(row)) for row in expected().values())
        mails = postfix.wait_for(copies)
        assert postfix.connections() == 1
        assert "warning:" not in postfix.log()
    by_recipient = sorted((mail.recipients[0], address) for mail, address in zip(mails, as_they_went_in(mails, node), strict=True))
    assert by_recipient == sorted((recipient, address) for address, row in expected().items() for recipient in envelope_of(row))


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # over implicit TLS aiosmtpd does not see the TLS
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_with_tls_and_login_gets_every_message_as_it_went_in(campaign, folder, node, security, mechanism):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder.path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    folder.write(".env", f"RELAY_PASSWORD='{PASSWORD}'\n")
    with SecureServer(security, context, [mechanism], PASSWORD) as server:
        campaign(server.port, f"  security: {security}\n  username: ann@example.com\n  password: ${{RELAY_PASSWORD}}\n  ca_file: ca.pem\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json", "--debug")

        sent_all(said)
        assert (server.logins, server.connections()) == ([(mechanism, "ann@example.com", PASSWORD)], 1)
    assert sorted(as_they_went_in(server.mails(), node)) == sorted(expected())
    for mail in server.mails():
        assert mail.recipients == envelope_of(expected()[mail.recipients[0]])
    assert PASSWORD not in said.err and PASSWORD.encode() not in b"".join(path.read_bytes() for path in (folder.path / ".postroom").glob("*"))


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_a_wrong_password_is_exit_2_and_nothing_is_sent(folder):
    with SecureServer("plain", None, ["PLAIN"], PASSWORD) as server:
        folder.campaign(CAMPAIGN.replace("2525", str(server.port)) + "  username: ann\n  password: wr0ng-one\n  allow_plaintext_login: true\n")

        said = postroom("send", "campaign.yaml", "--yes")

        assert (said.exit, server.mails()) == (2, [])
    assert "does not accept this user name and password" in said.err and "535" in said.err and said.err.rstrip().endswith("Nothing was sent in this run.")
    assert "wr0ng-one" not in said.err
    assert "in clear text" in said.err


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_wrong_certificate_is_exit_2_and_nothing_is_sent(folder, security):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with SecureServer(security, context) as server:
        folder.campaign(CAMPAIGN.replace("2525", str(server.port)).replace("security: plain", f"security: {security}"))

        said = postroom("send", "campaign.yaml", "--yes")

        assert (said.exit, server.mails()) == (2, [])
    assert "certificate is not good" in said.err and said.err.rstrip().endswith("Nothing was sent in this run.")
