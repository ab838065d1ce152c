"""`provider: NAME` against the provider's twin: a campaign goes through, and each refusal leads to the right words and exit code.

What must come of a refusal is written down here by its name; neither the twins nor this file read a preset.
"""

import re

import pytest
import trustme

from conftest import CAMPAIGN
from relay import Relay
from running import postroom, quick
from twins import REFUSALS, ROLES, Twin, dialogue, twin_for

PEOPLE = [f"{name}@example.com" for name in ("ann", "ben", "eve", "zoe")]
REFUSED, PUT_OFF = {"rejected": 4}, {"deferred": 4}
NOBODY = {"pending": 4}  # nobody is marked: it is about all mail, not about one recipient
# name of the refusal -> exit code, what became of the four
CHANGE_FIRST, TRY_LATER, SOME_OPEN = 2, 3, 1
OUTCOMES = {
    **dict.fromkeys(("wrong_code", "wrong_code_until_2024", "wrong_code_until_2020", "smtp_not_enabled", "app_password_wanted", "no_login", "must_start_tls",
                     "passwords_disabled", "passwords_ended"), (CHANGE_FIRST, NOBODY)),
    **dict.fromkeys(("sender_is_not_login", "sender_of_another_provider", "from_is_not_sender", "from_header", "sender_not_allowed", "no_from"), (CHANGE_FIRST, NOBODY)),
    **dict.fromkeys(("too_many_wrong_logins", "locked_out", "too_many_logins", "no_login_for_now"), (TRY_LATER, NOBODY)),
    **dict.fromkeys(("too_many_recipients_for_now", "too_many_recipients_today", "too_many_mails_today", "too_many_connections", "too_many_mails_of_the_address",
                     "too_many_unknown_recipients", "forged_senders", "suspended_address", "connection_used_up", "connection_used_up_for_recipients", "later"),
                    (TRY_LATER, NOBODY)),
    # Three of them, one after the other, and the run stops before the account's name is spoilt.
    **dict.fromkeys(("spam", "content_rejected"), (TRY_LATER, {"deferred": 3, "pending": 1})),
    # Slower each time, and in the end not now; nobody is to blame.
    **dict.fromkeys(("too_many_mails_in_15_minutes", "too_fast"), (TRY_LATER, NOBODY)),
    **dict.fromkeys(("unknown_recipient", "suspended_recipient", "too_many_recipients_in_one_mail", "too_large", "kind_of_attachment", "refused"), (SOME_OPEN, REFUSED)),
    **dict.fromkeys(("spam_for_now", "recipient_gets_too_much", "trouble_of_its_own"), (SOME_OPEN, PUT_OFF)),
    ("gmail", "trouble_of_its_own"): (TRY_LATER, NOBODY),  # a 421
    ("yahoo", "too_many_wrong_logins"): (CHANGE_FIRST, NOBODY),  # a 535
    ("aliyun-qiye", "spam_for_now"): (TRY_LATER, NOBODY),  # for the way of sending
}
# What a person must read beside the server's own words, in the terminal's language.
WORDS = {
    ("163", "wrong_code"): ("authorization code (授权码)", "授权码"), ("126", "wrong_code"): ("authorization code (授权码)", "授权码"),
    ("qq", "wrong_code"): ("authorization code (授权码)", "授权码"), ("gmail", "wrong_code"): ("app password", "应用专用密码"),
    ("gmail", "app_password_wanted"): ("app password", "应用专用密码"), ("163", "spam"): ("spam", "垃圾邮件"), ("163", "sender_is_not_login"): ("mailbox that logs in", "登录的邮箱"),
    ("qq", "sender_is_not_login"): ("mailbox that logs in", "登录的邮箱"), ("qq", "from_header"): ("From", "From"), ("qq", "too_many_mails_of_the_address"): ("limit", "限制"),
    ("163", "too_many_connections"): ("Too many", "太多"), ("gmail", "too_many_logins"): ("too many logins", "登录"), ("gmail", "too_many_mails_today"): ("limit for a day", "每天"),
    ("163", "unknown_recipient"): ("no such mailbox", "不存在"), ("m365", "passwords_ended"): ("no passwords", "密码"), ("m365", "smtp_not_enabled"): ("switched off", "没有开启"),
    ("163", "smtp_not_enabled"): ("not switched on", "没有开启"), ("163", "too_many_mails_today"): ("tomorrow", "明天"), ("ses", "too_many_mails_today"): ("24 hours", "24小时"),
}
NAMED = [pytest.param(refusal, id=f"{refusal.provider}-{refusal.name}") for refusal in REFUSALS if refusal.provider != "hoster"]


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


def campaign(folder, ca, provider, twin, more=""):
    """A preset by its name; only host, port and CA lead to this machine."""
    ca.cert_pem.write_to_path(folder.path / "ca.pem")
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},{address[:3]}\n" for address in PEOPLE))
    smtp = (f"smtp:\n  provider: {provider}\n  host: localhost\n  port: {twin.port}\n  security: {twin.role}\n  ca_file: ca.pem\n  username: {twin.user}\n"
            f"  password: ${{POSTROOM_TEST_CODE:-{twin.code}}}\n  rate: 1000/second\n")
    folder.campaign(CAMPAIGN.partition("smtp:")[0].replace("news@example.com", twin.user) + smtp + more)


def best_role(provider):
    """The provider's port with TLS, where its twin has one."""
    return next((role for role in ("tls", "starttls", "plain") if (provider, role) in ROLES))


def first_words(refusal):
    """The first words of the server's text that are neither a code nor an address of a page."""
    return " ".join(re.sub(r"\[[^]]*\]|[0-9.]{5,}|https?:\S+", " ", refusal.text.split("\n")[0][4:]).split()[:2])


def told(said):
    """Everything that a person reads of one run."""
    error = said.json["error"] or {"what": "", "do": ""}
    return " ".join(f"{said.err} {error['what']} {error['do']}".split())


@pytest.mark.parametrize(("provider", "role"), [role for role in ROLES if role[0] not in ("hoster", "m365")])
def test_a_campaign_goes_through_each_port_of_the_provider(folder, ca, provider, role):
    with Twin(provider, role, ca) as twin:
        campaign(folder, ca, provider, twin, "  allow_plaintext_login: true\n" if role == "plain" else "")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, said.json["sent"], twin.connections) == (0, 4, 1), said.err
        assert twin.recipients() == PEOPLE
    assert ("clear text" in said.err) == (role == "plain")


def test_foxmail_is_the_other_name_of_qq(folder, ca):
    with Twin("qq", "tls", ca, user="ruoshui@foxmail.com") as twin:
        campaign(folder, ca, "foxmail", twin)

        assert (postroom("send", "campaign.yaml", "--yes").exit, len(twin.taken)) == (0, 4)


@pytest.mark.parametrize("refusal", NAMED)
def test_a_refusal_leads_to_the_right_exit_code_and_words(folder, ca, refusal, monkeypatch):
    exit_code, became = OUTCOMES.get((refusal.provider, refusal.name)) or OUTCOMES[refusal.name]
    english, chinese = WORDS.get((refusal.provider, refusal.name), ("", ""))
    name = twin_for(refusal)
    with Twin(name, best_role(name), ca) as twin:
        twin.say(refusal)
        campaign(folder, ca, refusal.provider, twin, "  allow_plaintext_login: true\n" if twin.role == "plain" else "")

        said = quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, twin.taken) == (exit_code, []), said.err
        assert {state: said.json[state] for state in ("pending", "rejected", "deferred") if said.json[state]} == became
        assert said.json["uncertain"] == 0
        assert first_words(refusal) in told(said)
        assert english in told(said)
        if chinese:
            folder.campaign((folder.path / "campaign.yaml").read_text().replace('"2026-11"', '"2026-12"'))
            monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
            again = quick(monkeypatch, "send", "campaign.yaml", "--yes", "--json")
            assert again.exit == exit_code and chinese in told(again), told(again)


@pytest.mark.parametrize("provider", ["163", "126", "qq", "foxmail", "yeah"])
def test_a_sender_who_is_not_the_login_is_found_before_any_connection(folder, provider):
    with Relay() as relay:
        folder.campaign(CAMPAIGN.partition("smtp:")[0] + f"smtp: {{provider: {provider}, host: 127.0.0.1, port: {relay.port}, security: plain, username: ann@{provider}.com, password: x}}\n")

        said = postroom("send", "campaign.yaml", "--yes", "--json")

        assert (said.exit, relay.connections) == (2, 0)
    assert 'its own login only: `from` is "news@example.com"' in said.json["error"]["what"]
    assert (said.json["error"]["where"]["line"], said.json["error"]["where"]["row"]) == (3, 2)


def test_a_login_without_a_domain_is_the_mailbox_of_the_provider(folder, ca):
    with Twin("163", "tls", ca, user="ann") as twin:
        campaign(folder, ca, "163", twin)
        text = (folder.path / "campaign.yaml").read_text()
        folder.campaign(text.replace("<ann>", "<ann@126.com>"))
        assert "its own login only" in postroom("check", "campaign.yaml").err
        folder.campaign(text.replace("<ann>", "<ann@163.com>"))

        assert postroom("check", "campaign.yaml").exit == 0


def test_the_twins_accounts_are_their_own(ca):
    """No address of a person stands in a dialogue."""
    for provider, role in ROLES:
        assert dialogue(provider)["account"]["user"].split("@")[0].isalnum()
