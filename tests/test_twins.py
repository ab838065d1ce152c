"""The twins of the providers: that they are what their sources say, met by a client that is not ours; then ours goes through them."""

import base64
import re
import smtplib
import ssl
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from conftest import CAMPAIGN
from running import deliveries, postroom
from twins import REFUSALS, ROLES, TWINS, Refusal, Twin, dialogue, twin_for

ANN, ZOE = "ann@example.com", "zoe@example.com"
TOKEN, NEXT_TOKEN = "ya29.first", "ya29.second"
SAID = [(f"{provider}-{name}", words["text"], words["source"]) for provider in TWINS for name, words in dialogue(provider)["said"].items()]
REFUSED = [(f"{refusal.provider}-{refusal.name}", refusal.text, refusal.source) for refusal in REFUSALS]


def offered(provider):
    """The logins that its list offers over TLS."""
    said = dialogue(provider)["said"]
    return re.search("(?m)^250.AUTH (.*)$", said.get("ehlo_in_tls", said["ehlo"])["text"])[1].split()


MECHANISMS = [(provider, mechanism) for provider in TWINS for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5") if mechanism in offered(provider)]


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


def secure(ca):
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@contextmanager
def connected(twin, ca):
    """smtplib behind EHLO, over TLS where the port has it."""
    if twin.role == "tls":
        client = smtplib.SMTP_SSL("127.0.0.1", twin.port, context=secure(ca), timeout=10)
    else:
        client = smtplib.SMTP("127.0.0.1", twin.port, timeout=10)
    try:
        if twin.role == "starttls":
            client.starttls(context=secure(ca))
        if (reply := client.ehlo())[0] != 250:
            raise smtplib.SMTPHeloError(*reply)
        yield client
    finally:
        client.close()


def log_in(client, twin, mechanism="LOGIN", code=None):
    client.user, client.password = twin.user, code or twin.code
    return client.auth(mechanism, getattr(client, "auth_" + mechanism.lower().replace("-", "_")), initial_response_ok=mechanism == "PLAIN")


def by_token(client, twin, token):
    """The replies to XOAUTH2 as https://developers.google.com/workspace/gmail/imap/xoauth2-protocol has it, the empty line behind a 334 included."""
    replies = [client.docmd("AUTH", "XOAUTH2 " + base64.b64encode(f"user={twin.user}\x01auth=Bearer {token}\x01\x01".encode()).decode())]
    while replies[-1][0] == 334:
        replies.append(client.docmd(""))
    return replies


def mail(sender, to=ZOE):
    return f"From: Ann <{sender}>\r\nTo: {to}\r\nSubject: hello\r\n\r\nhello\r\n"


def heard(text, encoding="utf-8"):
    """What smtplib makes of a reply: its code and its lines without code."""
    octets = text.encode(encoding).split(b"\n")
    return int(octets[0][:3]), b"\n".join(line[4:].strip() for line in octets)


def met(twin, ca):
    """(phase, (code, text)) of the first refusal that a mail meets, or None."""
    phase = "greeting"
    try:
        with connected(twin, ca) as client:
            phase = "AUTH"
            log_in(client, twin)
            steps = {"MAIL": lambda: client.mail(twin.user), "RCPT": lambda: client.rcpt(ZOE), "end of data": lambda: client.data(mail(twin.user))}
            for phase, step in steps.items():
                if (reply := step())[0] != 250:
                    return phase, reply
    except smtplib.SMTPHeloError as error:
        return "EHLO", (error.smtp_code, error.smtp_error)
    except smtplib.SMTPResponseException as error:
        return phase, (error.smtp_code, error.smtp_error)


# The texts

@pytest.mark.parametrize(("text", "source"), [pytest.param(text, source, id=name) for name, text, source in SAID + REFUSED])
def test_every_text_is_a_reply_and_has_a_public_source(text, source):
    lines = text.split("\n")

    assert all(re.match(r"[2-5][0-9][0-9] ", line) if line is lines[-1] else re.match(lines[0][:3] + "-", line) for line in lines)
    assert re.match(r"https?://|RFC \d|draft-|a (log|session) ", source) or "https://" in source
    assert not re.search(r"(?<![\d.])(?!192\.0\.2\.|4\.16\.)(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", text), "somebody's address"


def test_no_text_comes_from_our_presets():
    """A twin that was built from a preset would share its mistakes."""
    for module in ("twins", "test_twins"):
        assert not re.search(r"^\s*(?:from|import) postroom", Path(__file__).with_name(f"{module}.py").read_text("utf-8"), re.MULTILINE)


def test_chinese_words_leave_in_the_octets_that_people_saw():
    """QQ's were reported as octets, those of 126 as GBK read as UTF-8: what is left of them is what ours come to."""
    said = {provider: dialogue(provider)["refusals"][name].octets for provider, name in (("qq", "wrong_code_until_2020"), ("126", "smtp_not_enabled"))}

    assert said["qq"].startswith(b"535 Error: \xc7\xeb\xca\xb9\xd3\xc3\xca\xda\xc8\xa8\xc2\xeb\xb5\xc7\xc2\xbc\xa1\xa3\xcf\xea\xc7\xe9\xc7\xeb\xbf\xb4: http")
    assert said["126"].decode("utf-8", "replace") == "550 \ufffd\u00fb\ufffd\ufffd\ufffd\u0228\ufffd\ufffd\u00bd"


# The twins

@pytest.mark.parametrize(("provider", "role"), ROLES)
def test_a_mail_goes_through_each_port_of_each_provider(ca, provider, role):
    with Twin(provider, role, ca) as twin:
        assert met(twin, ca) is None

    assert [(taken.sender, taken.recipients) for taken in twin.taken] == [(twin.user, (ZOE,))]
    assert twin.taken[0].octets == mail(twin.user).encode()
    assert (twin.logins, twin.connections) == ([("LOGIN", twin.user, twin.code, role != "plain")], 1)


@pytest.mark.parametrize(("provider", "mechanism"), MECHANISMS)
def test_each_offered_login_takes_the_right_code_and_no_other(ca, provider, mechanism):
    with Twin(provider, ca=ca) as twin:
        with connected(twin, ca) as client:
            assert log_in(client, twin, mechanism) == heard(twin.words["said"]["logged_in"]["text"])
        with connected(twin, ca) as client, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            log_in(client, twin, mechanism, code="the password of the account")

    wrong_code = twin.words["refusals"]["wrong_code"]
    assert (refused.value.smtp_code, refused.value.smtp_error) == heard(wrong_code.text)
    assert [login[0] for login in twin.logins] == [mechanism] * 2


@pytest.mark.parametrize("refusal", REFUSALS, ids=[f"{refusal.provider}-{refusal.name}" for refusal in REFUSALS])
def test_each_refusal_comes_out_where_it_should_and_nothing_is_taken(ca, refusal):
    with Twin(twin_for(refusal), ca=ca) as twin:
        twin.say(refusal)

        assert met(twin, ca) == (refusal.phase, heard(refusal.text, refusal.encoding))
    assert twin.taken == []


def test_a_refusal_said_once_is_followed_by_what_the_twin_says_by_itself(ca):
    with Twin("gmail", ca=ca, refuse={"MAIL": None}) as twin:
        twin.say("too_many_logins", times=1)

        assert (met(twin, ca)[0], met(twin, ca), len(twin.taken)) == ("AUTH", None, 1)


def test_one_recipient_may_be_refused_and_the_others_taken(ca):
    with Twin("163", ca=ca) as twin, connected(twin, ca) as client:
        twin.say("unknown_recipient", f"RCPT TO:<{ZOE}>")
        log_in(client, twin)

        refused = client.sendmail(twin.user, [ANN, ZOE], mail(twin.user))

    assert refused == {ZOE: (550, b"Invalid User")}
    assert twin.recipients() == [ANN]


@pytest.mark.parametrize(("provider", "answer"), [("163", 553), ("126", 553), ("qq", 503), ("gmail", 530), ("m365", 530)])
def test_no_mail_without_a_login(ca, provider, answer):
    with Twin(provider, ca=ca) as twin, connected(twin, ca) as client:
        assert client.mail(twin.user)[0] == answer


@pytest.mark.parametrize(("provider", "code"), [("163", 553), ("126", 553), ("qq", 501), ("gmail", 250)])
def test_chinese_mailboxes_want_the_login_as_sender(ca, provider, code):
    with Twin(provider, ca=ca) as twin, connected(twin, ca) as client:
        log_in(client, twin)

        assert client.mail("news@example.com")[0] == code


@pytest.mark.parametrize(("provider", "words", "refusal"), [
    pytest.param("163", "From: Ann <news@example.com>\nTo: zoe@example.com\nSubject: hello", "from_is_not_sender", id="163, another From"),
    pytest.param("163", "To: zoe@example.com\nSubject: hello", "spam", id="163, no From"),
    pytest.param("163", "From: ann@163.com\nSubject: hello", "spam", id="163, no To"),
    pytest.param("126", "From: ann@126.com\nTo: zoe@example.com", "spam", id="126, no Subject"),
    pytest.param("qq", "From: Ann <news@example.com>\nTo: zoe@example.com\nSubject: hello", "from_header", id="qq, another From"),
    pytest.param("qq", "From: =?utf-8?q?12345678=40qq=2Ecom?=\nTo: zoe@example.com\nSubject: hello", "from_header", id="qq, the address encoded"),
    pytest.param("qq", "To: zoe@example.com", "from_header", id="qq, no From"),
    pytest.param("qq", "From: =?utf-8?b?6Iul5rC0?= <12345678@qq.com>", None, id="qq, the name encoded"),
    pytest.param("gmail", "To: zoe@example.com", "no_from", id="gmail, no From"),
    pytest.param("gmail", "From: Ann <news@example.com>", None, id="gmail, another From")])
def test_what_a_provider_wants_of_the_headers(ca, provider, words, refusal):
    """163 and 126: a mail without From, To or Subject is spam, as the readers of the tutorial met it. QQ: From is the login, its address bare."""
    with Twin(provider, ca=ca) as twin, connected(twin, ca) as client:
        log_in(client, twin)
        client.mail(twin.user)
        client.rcpt(ZOE)

        code, text = client.data(words + "\n\nhello\n")

    assert (code, text) == heard(twin.words["refusals"][refusal].text) if refusal else code == 250
    assert len(twin.taken) == (refusal is None)


def test_gmail_neither_offers_nor_takes_a_login_in_clear(ca):
    with Twin("gmail", "starttls", ca) as twin, smtplib.SMTP("127.0.0.1", twin.port, timeout=10) as client:
        client.ehlo()

        assert not client.has_extn("auth") and client.has_extn("starttls")
        assert client.docmd("AUTH", "PLAIN AGFubgBjb2Rl") == heard("530 5.7.0 Must issue a STARTTLS command first.")
        client.starttls(context=secure(ca))
        client.ehlo()
        assert client.has_extn("auth") and not client.has_extn("starttls")


def test_netease_offers_starttls_inside_tls_and_refuses_it(ca):
    with Twin("126", "tls", ca) as twin, connected(twin, ca) as client:
        assert client.has_extn("starttls")
        assert client.docmd("STARTTLS") == (454, b"Command not permitted when TLS active")


def test_a_size_over_the_limit_is_refused_at_mail(ca):
    with Twin("gmail", ca=ca) as twin, connected(twin, ca) as client:
        log_in(client, twin)

        assert client.mail(twin.user, ["SIZE=35882578"])[0] == 552
        assert client.mail(twin.user, ["SIZE=35882577"])[0] == 250


def test_chunks_are_taken_as_one_message(ca):
    """RFC 3030: Gmail and Microsoft offer CHUNKING, so their twins do it."""
    with Twin("gmail", ca=ca) as twin, connected(twin, ca) as client:
        log_in(client, twin)
        client.mail(twin.user)
        client.rcpt(ZOE)
        whole = mail(twin.user).encode()
        client.send(b"BDAT 10\r\n" + whole[:10])
        client.getreply()
        client.send(b"BDAT %d LAST\r\n" % (len(whole) - 10) + whole[10:])

        assert client.getreply()[0] == 250
    assert [taken.octets for taken in twin.taken] == [whole]


# Tokens

@pytest.mark.parametrize("provider", ["163", "126", "qq", "gmail", "m365"])
def test_a_token_that_counts_logs_in(ca, provider):
    with Twin(provider, ca=ca, tokens=[TOKEN]) as twin, connected(twin, ca) as client:
        assert by_token(client, twin, TOKEN)[-1][0] == 235

    assert twin.logins == [("XOAUTH2", twin.user, TOKEN, twin.role != "plain")]


def test_gmail_tells_why_it_refuses_a_token_before_it_refuses(ca):
    with Twin("gmail", ca=ca, tokens=[TOKEN]) as twin, connected(twin, ca) as client:
        (first, challenge), (second, words) = by_token(client, twin, "ya29.other")

    assert (first, base64.b64decode(challenge)) == (334, b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}\n')
    assert (second, words) == heard(twin.words["refusals"]["wrong_code"].text)


def test_microsoft_refuses_a_token_at_once(ca):
    with Twin("m365", ca=ca, tokens=[TOKEN]) as twin, connected(twin, ca) as client:
        assert [code for code, _ in by_token(client, twin, "other")] == [535]


@pytest.mark.parametrize(("provider", "words"), [("gmail", b"5.5.1 Authentication Required"), ("m365", b"5.7.57 Client not authenticated")])
def test_a_session_whose_token_ended_is_no_longer_logged_in(ca, provider, words):
    with Twin(provider, ca=ca, tokens=[TOKEN, NEXT_TOKEN]) as twin, connected(twin, ca) as client:
        by_token(client, twin, TOKEN)
        client.sendmail(twin.user, [ZOE], mail(twin.user))
        twin.expire()

        code, text = client.mail(twin.user)

        assert (code, text[:len(words)]) == (530, words)
        with connected(twin, ca) as again:
            assert by_token(again, twin, TOKEN)[-1][0] == 535
            assert by_token(again, twin, NEXT_TOKEN)[-1][0] == 235
            again.sendmail(twin.user, [ANN], mail(twin.user))
    assert twin.recipients() == [ZOE, ANN]


# Our own mailer, with what its options can say today

def campaign(folder, twin, ca, code=None):
    ca.cert_pem.write_to_path(folder.path / "ca.pem")
    words = CAMPAIGN.replace("news@example.com", twin.user).replace("2525", str(twin.port)).replace("security: plain", f"security: {twin.role}")
    clear = "  allow_plaintext_login: true\n" if twin.role == "plain" else "  ca_file: ca.pem\n"
    folder.campaign(words + f"  username: {twin.user}\n  password: {code or twin.code}\n" + clear)


@pytest.mark.parametrize(("provider", "role"), ROLES)
def test_a_campaign_goes_through_each_port_of_each_provider(folder, ca, provider, role):
    with Twin(provider, role, ca) as twin:
        campaign(folder, twin, ca)

        said = postroom("send", "campaign.yaml", "--yes")

        assert (said.exit, said.out) == (0, ""), said.err
        assert (twin.recipients(), twin.connections) == ([ANN, ZOE], 1)
        mechanism, user, secret, tls = twin.logins[0]
        assert (len(twin.logins), user, tls) == (1, twin.user, role != "plain")
        # In clear, a challenge is answered where one is offered: then the secret is not what crosses the line.
        assert (secret == twin.code) != (mechanism == "CRAM-MD5")
    assert deliveries(folder) == {ANN: "sent", ZOE: "sent"}


@pytest.mark.parametrize("provider", TWINS)
def test_a_wrong_code_is_exit_2_with_the_servers_words_and_one_try(folder, ca, provider):
    with Twin(provider, ca=ca) as twin:
        campaign(folder, twin, ca, code="the-password")

        said = postroom("send", "campaign.yaml", "--yes")

        assert (said.exit, twin.taken, len(twin.logins)) == (2, [], 1)
    words = twin.words["refusals"]["wrong_code"].text.split("\n")[0].split(" Learn")[0]
    assert " ".join([words[:3], words[4:]]) in " ".join(said.err.split())
    assert "the-password" not in said.err and said.err.rstrip().endswith("Nothing was sent in this run.")


def test_a_refusal_is_a_value_with_all_that_a_table_of_tests_wants():
    refusal = dialogue("163")["refusals"]["sender_is_not_login"]

    assert refusal == Refusal("163", "sender_is_not_login", "MAIL", "553 Mail from must equal authorized user",
                              "https://github.com/xuxueli/xxl-job/issues/3858, 2025-11-26, smtp.163.com:465")
