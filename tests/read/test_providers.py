"""The presets and what their refusals mean: the data's form, every rule met by a reply, and the names that people write."""

import re
from collections import Counter

import pytest
import yaml

from postroom.read import providers
from postroom.read.campaign import _window, load
from postroom.smtp.reply import Meaning, ReplyReader, meaning_of

with open(providers.FILE, "rb") as file:
    # Another reader than ours, and everything as text.
    RAW = yaml.load(file, Loader=yaml.BaseLoader)
ACTIONS = {"reject", "later", "slow", "reconnect", "quota", "busy", "login", "sender", "domain", "spam", "large"}
PHASES = {"greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "end of data"}
FACTS = {"host", "login", "sender", "limits", "session"}
CHINESE = re.compile("[\u4e00-\u9fff]")

# (rule, provider, phase, reply): the words are those of the rule's sources, one reply for each rule at least.
REPLIES = [
    ("netease-smtp-off", "163", "auth", "550 User has no permission"),
    ("netease-login", "163", "auth", "535 Error: authentication failed"),
    ("netease-login", "126", "auth", "535 Error: authentication failed"),
    ("netease-smtp-off", "126", "auth", "550 用户无权登陆"),
    ("netease-locked-out", "163", "greeting", "554 IP is rejected, smtp auth error limit exceed"),
    ("netease-no-login", "163", "mail", "553 authentication is required,smtp13,EcCowECZoy+xLGNU4LXrAQ--.2290S2 1415785650"),
    ("netease-from", "163", "end of data", "554 DT:SUM"),
    ("netease-day", "163", "mail", "554 MI:STC"),
    ("netease-day", "126", "rcpt", "550 RP:TRC"),
    ("netease-too-many-recipients", "163", "rcpt", "550 RP:RCL"),
    ("netease-not-allowed", "163", "mail", "554 MI:SPB"),
    ("netease-attachment", "163", "end of data", "552 Illegal Attachment"),
    ("netease-unknown", "163", "rcpt", "550 Invalid User"),
    ("netease-unknown", "126", "rcpt", "550 User suspended"),
    ("qq-no-login", "qq", "mail", "503 Error: need EHLO and AUTH first !"),
    ("qq-content", "qq", "end of data", "550 Error: content rejected;"),
    ("gmail-no-from", "gmail", "end of data", "550 5.7.1 [192.0.2.1 14] Messages missing a valid address in From: header, or having no From: header, are not accepted."),
    ("netease-logins-too-often", "163", "auth", "451 Requested mail action not taken: too much fail authentication"),
    ("netease-sender", "163", "mail", "553 Mail from must equal authorized user"),
    ("netease-sender", None, "mail", "553 Mail from must equal authorized user"),
    ("netease-local-user", "163", "mail", "553 Local user only,163 smtp5,HdxpCgA3f+63sTNhtiNZDA--.2001S2 1630777785"),
    ("netease-spam-for-now", "163", "end of data", "451 DT:SPM ,please try again"),
    ("netease-spam", "163", "end of data", "554 DT:SPM 163 smtp12,EMCowACnzwc_BjhcKMZmAQ--.20404S2 1547175487,please see "
                                           "http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.2&hostid=smtp12&time=1547175487"),
    ("netease-spam", "126", "end of data", "554 DT:SPM 126 smtp10,NuRpCgC3LP0tp3VdPt4LMQ--.5577S2 1567991603"),
    ("netease-spam", None, "end of data", "554 5.7.0 DT:SPM 163 smtp10"),
    ("netease-rate", "163", "greeting", "421 HL:IFC 163 smtp8,please see http://mail.163.com/help/help_spam_16.htm"),
    ("netease-rate", "126", "greeting", "421 HL:ICC 126 smtp8"),
    ("netease-reputation", "163", "greeting", "421 HL:REP 163 smtp8"),
    ("netease-reputation", "163", "greeting", "421 HL:MEP 163 smtp8"),
    ("netease-blocked", "163", "mail", "450 WM:BLI 163 smtp8"),
    ("netease-blocklist", "163", "mail", "450 DT:RBL 163 smtp8"),
    ("netease-session-full", "163", "mail", "450 MI:DMC 163 smtp8"),
    ("netease-session-full", "126", "rcpt", "450 RP:DRC 126 smtp8"),
    ("netease-quarter-hour", "163", "mail", "451 MI:SFQ 163 smtp7,C8CowAAnpFyamC9fa52cAg--.56912S2 1596954778"),
    ("netease-recipients", "163", "rcpt", "451 RP:QRC 163 smtp7"),
    ("netease-wrong-commands", "163", "mail", "450 MI:CEL 163 smtp7"),
    ("netease-unknown", "163", "rcpt", "550 User not found: nobody@163.com"),
    ("netease-large", "163", "mail", "552 Requested mail action aborted: exceeded mailsize limit"),
    ("qq-login", "qq", "auth", "535 Login Fail. Please enter your authorization code to login. More information in http://service.mail.qq.com/cgi-bin/help"),
    ("qq-login", "qq", "auth", "535 Login fail. Account is abnormal, service is not open, password is incorrect, login frequency limited, or system is busy."),
    ("exmail-login", "exmail", "auth", "535 Error: authentication failed, system busy"),
    ("qq-sender", "qq", "mail", "501 mail from address must be same as authorization user"),
    ("qq-sender", "exmail", "mail", "501 mail from address must be same as authorization user"),
    ("qq-from", "qq", "end of data", '550 The "From" header is missing or invalid. Please follow RFC5322, RFC2047, RFC822 standard protocol.'),
    ("qq-recipient-for-now", "qq", "rcpt", "550 Mailbox unavailable or access denied"),
    ("qq-frequency", "qq", "rcpt", "550 Ip frequency limited [OE75+tMkedpVWlvh26dD1Bfy3zC+vATnGfvCrmQlEX/k Blocked IP 192.0.2.51]"),
    ("qq-frequency", "qq", "end of data", "550 Domain frequency limited"),
    ("qq-frequency", "exmail", "mail", "550 Sender frequency limited"),
    ("qq-frequency", None, "mail", "550 Connection frequency limited"),
    ("qq-connection-denied", "qq", "mail", "550 Connection denied"),
    ("qq-content", "qq", "end of data", "550 Mail content denied"),
    ("qq-content", "qq", "end of data", "550 Spam is embedded in the email"),
    ("qq-unknown", "qq", "rcpt", "550 Mailbox not found. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728"),
    ("qq-address", "qq", "rcpt", "501 Bad address syntax. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000730"),
    ("qq-recipient-refuses", "qq", "end of data", "550 Mail is rejected by recipients"),
    ("qq-domain", "qq", "end of data", "550 SPF check failed"),
    ("qq-large", "qq", "end of data", "552 Message too large"),
    ("gmail-app-password", "gmail", "auth", "534-5.7.9 Application-specific password required. For more information, go to\r\n534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor"),
    ("gmail-browser", "gmail", "auth", "534-5.7.14 Please log in through your web browser and then try again.\r\n534 5.7.14 https://support.google.com/mail/answer/78754"),
    ("gmail-logins-too-often", "gmail", "auth", "454 4.7.0 Too many login attempts, please try again later."),
    ("gmail-login-for-now", "gmail", "auth", "454 4.7.0 Cannot authenticate due to temporary system problem. Try again later."),
    ("gmail-login", "gmail", "auth", "535-5.7.8 Username and Password not accepted. For more information, go to\r\n535 5.7.8  https://support.google.com/mail/?p=BadCredentials"),
    ("gmail-day", "gmail", "end of data", "550 5.4.5 Daily user sending limit exceeded."),
    ("gmail-day", "gmail-relay", "rcpt", "450 4.2.1 Peak SMTP relay limit exceeded for customer. This is a temporary error."),
    ("gmail-day", "gmail-relay", "rcpt", "550 5.7.1 Daily SMTP relay limit exceeded for customer."),
    ("gmail-day-code", "gmail", "end of data", "550 5.4.5 in other words"),
    ("recipient-too-fast", "gmail", "rcpt", "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend later."),
    ("recipient-too-fast", "yahoo", "rcpt", "450 User is receiving mail too quickly"),
    ("gmail-rate", "gmail-relay", "end of data", "421 4.7.28 Gmail has detected an unusual rate of mail originating from your DKIM domain."),
    ("gmail-domain", None, "end of data", "550-5.7.26 This mail has been blocked because the sender is unauthenticated.\r\n550 5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM."),
    ("gmail-domain", "gmail-relay", "end of data", "550 5.7.30 This mail has been blocked because DKIM does not pass. Gmail requires all large senders to authenticate with DKIM."),
    ("gmail-domain", None, "end of data", "421 4.7.32 Your email has been rate limited because the From: header isn't aligned with either the authenticated SPF or DKIM organizational domain."),
    ("gmail-domain", None, "end of data", "550 5.7.25 The IP address sending this message does not have a PTR record setup"),
    ("gmail-reputation", None, "end of data", "550 5.7.1 Our system has detected that this message is likely unsolicited mail."),
    ("gmail-reputation", None, "end of data", "550 5.7.1 This message is likely suspicious due to the very low reputation of the sending domain."),
    ("gmail-reputation", "gmail", "end of data", "550 5.7.28 There is an unusual rate of unsolicited mail originating from your IP address."),
    ("gmail-blocked-content", "gmail", "end of data", "552 5.7.0 This message was blocked because its content presents a potential security issue."),
    ("gmail-large", "gmail", "end of data", "552 5.3.4 Your message exceeded Google's message size limits."),
    ("gmail-relay-denied", "gmail-relay", "mail", "550 5.7.0 Mail relay denied <192.0.2.1>. Invalid credentials for relay for one of the domains in: example.com"),
    ("gmail-unknown", "gmail", "rcpt", "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n550 5.1.1 double-checking the address."),
    ("microsoft-smtp-off", "m365", "auth", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."),
    ("microsoft-security-defaults", "m365", "auth", "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy."),
    ("microsoft-no-passwords", "m365", "auth", "550 5.7.30 Basic authentication is not supported for Client Submission."),
    ("microsoft-no-passwords", "outlook", "auth", "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."),
    ("microsoft-connections-at-login", "m365", "auth", "432 4.3.2 Concurrent connections limit exceeded."),
    ("microsoft-login", "m365", "auth", "535 5.7.3 Authentication unsuccessful"),
    ("microsoft-not-logged-in", "m365", "mail", "530 5.7.57 Client not authenticated to send mail."),
    ("microsoft-send-as", "m365", "end of data", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    ("microsoft-send-as", "outlook", "end of data", "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied"),
    ("microsoft-sender-blocked", "m365", "mail", "550 5.1.8 Access denied, bad outbound sender"),
    ("microsoft-sender-blocked", "m365", "mail", "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains"),
    ("microsoft-day", "m365", "end of data", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
    ("microsoft-day", "m365", "end of data", "550 5.2.2 Submission quota exceeded"),
    ("microsoft-day-code", "m365", "end of data", "550 5.1.90 in other words"),
    ("microsoft-day-code", "m365", "mail", "550 5.7.705 in other words"),
    ("microsoft-connections", "m365", "mail", "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information."),
    ("microsoft-busy", "m365", "mail", "451 4.7.500 in other words"),
    ("microsoft-busy", "m365", "mail", "451 4.7.650 in other words"),
    ("microsoft-busy-words", None, "mail", "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation."),
    ("microsoft-reputation", None, "rcpt", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]."),
    ("microsoft-reputation", None, "mail", "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Part of their network is on our block list (S3150)."),
    ("microsoft-reputation-code", "m365", "mail", "550 5.7.511 in other words"),
    ("microsoft-domain", None, "end of data", "550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level."),
    ("microsoft-domain-code", "m365", "end of data", "550 5.7.509 in other words"),
    ("microsoft-unknown", None, "rcpt", "550 5.4.1 Recipient address rejected: Access denied."),
    ("yahoo-login", "yahoo", "auth", "535 5.7.0 (#AUTH005) Too many bad auth attempts."),
    ("yahoo-session-full", "yahoo", "mail", "421 Max message per connection reached, closing transmission channel"),
    ("yahoo-slow", None, "mail", "421 4.7.0 [TSS04] Messages from 192.0.2.25 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1"),
    ("yahoo-banned", None, "mail", "553 5.7.2 [TSS09] All messages from 192.0.2.25 will be permanently deferred; Retrying will NOT succeed."),
    ("yahoo-domain", "yahoo", "end of data", "550 5.7.9 This mail has been blocked because the sender is unauthenticated. Yahoo requires all senders to authenticate with either SPF or DKIM."),
    ("yahoo-policy", None, "end of data", "554 5.7.9 Message not accepted for policy reasons."),
    ("yahoo-unknown", None, "end of data", "554 delivery error: dd This user doesn't have a yahoo.com account (nobody@yahoo.com)"),
    ("icloud-login", "icloud", "auth", "535 5.7.8 Error: authentication failed"),
    ("icloud-day", "icloud", "end of data", "550 5.7.1 membername@icloud.com: You have exceeded your daily sending limit. Please try again later."),
    ("icloud-slow", None, "rcpt", "421 4.7.1 Messages to ann@icloud.com deferred due to excessive volume. Try again later"),
    ("icloud-domain", None, "end of data", "554 5.7.1 Your message was rejected due to example.jp's DMARC policy."),
    ("icloud-policy", None, "end of data", "550 5.7.1 [CS01] Message rejected due to local policy."),
    ("zoho-login", "zoho", "auth", "535 Authentication Failed"),
    ("zoho-sender", "zoho", "mail", "553 Relaying disallowed as news@example.com"),
    ("fastmail-login", "fastmail", "auth", "535 5.7.8 Incorrect username or password"),
    ("yandex-login", "yandex", "auth", "535 5.7.8 Error: authentication failed: Invalid format."),
    ("yandex-sender", "yandex", "mail", "553 5.7.1 Sender address rejected: not owned by auth user."),
    ("yandex-spam", "yandex", "end of data", "554 5.7.1 Message rejected under suspicion of SPAM"),
    ("yandex-tls", "yandex", "mail", "530 5.7.7 Email sending without SSL/TLS encryption is not allowed."),
    ("ses-rate", "ses", "end of data", "454 Throttling failure: Maximum sending rate exceeded"),
    ("ses-day", "ses", "end of data", "454 Throttling failure: Daily message quota exceeded"),
    ("ses-unverified", "ses", "end of data", "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: a@example.com"),
    ("ses-login", "ses", "auth", "535 Authentication Credentials Invalid"),
    ("sendgrid-login", "sendgrid", "auth", "535 Authentication failed: Bad username / password"),
    ("mailgun-login", "mailgun", "auth", "535 Authentication failed"),
    ("postmark-login", "postmark", "auth", "535 5.7.8 Error: authentication failed"),
    ("brevo-login", "brevo", "auth", "535 5.7.0 Invalid login or password"),
    ("directmail-login", "aliyun-dm", "auth", "535 Authentication failure."),
    ("directmail-sender", "aliyun-dm", "mail", "436 \"MAIL FROM\" doesn't conform with authentication [@sm060104] (Auth Account:a@example.com|Mail Account:b@example.com)"),
    ("directmail-sender", "aliyun-qiye", "mail", "440 mail from account doesn't conform with authentication"),
    ("directmail-quota", "aliyun-dm", "end of data", "552 Daily sending quota exceeded"),
    ("aliyun-spam", "aliyun-dm", "end of data", "554 Reject by content spam"),
    ("aliyun-spam", "aliyun-qiye", "end of data", "554 Reject by behaviour spam"),
    ("aliyun-slow", "aliyun-qiye", "end of data", "454 Transient reject by behaviour spam"),
    ("directmail-large", "aliyun-dm", "end of data", "557 The length of DATA content is achieved the maximum threshold"),
    ("directmail-unknown", "aliyun-dm", "rcpt", "559 Invalid rcptto"),
    ("directmail-recipients", "aliyun-dm", "rcpt", "556 The number of RCPTs is over size"),
    ("directmail-account", "aliyun-dm", "mail", "551 Main account unavailable"),
    ("qiye-logins-too-often", "aliyun-qiye", "auth", "526 Authentication failure[1]"),
    ("qiye-login", "aliyun-qiye", "auth", "526 Authentication failure[0]"),
    ("qiye-sender", "aliyun-qiye", "mail", '501 "MAIL FROM" is non-local account'),
    ("qiye-unknown", "aliyun-qiye", "rcpt", "554 RCPT (nobody@example.com) dosn't exist"),
    ("starttls-first", None, "mail", "530 5.7.0 Must issue a STARTTLS command first"),
    ("login-refused", None, "auth", "535 5.7.8 Error: authentication failed"),
    ("login-for-now", None, "auth", "454 4.7.0 Temporary authentication failure"),
    ("login-wanted", None, "mail", "530 5.7.0 Authentication required"),
    ("too-large", None, "mail", "552 5.3.4 Message size exceeds fixed limit"),
    ("mailbox-full-for-now", None, "rcpt", "452 4.2.2 The email account that you tried to reach is over quota."),
    ("mailbox-full", None, "rcpt", "552 5.2.2 user is over quota"),
    ("too-many-recipients", None, "rcpt", "452 4.5.3 Too many recipients"),
    ("recipient-for-now", None, "rcpt", "450 4.2.1 the mailbox is busy"),
    ("relay-denied", None, "rcpt", "554 5.7.1 <ann@example.com>: Relay access denied"),
    ("unknown-recipient", None, "rcpt", "550 5.1.1 <gone@example.com>: Recipient address rejected: User unknown"),
    ("unknown-recipient", "qq", "rcpt", "550 5.2.1 disabled"),
    ("unknown-recipient", None, "rcpt", "556 5.1.10 the domain takes no mail"),
    ("null-mx", None, "rcpt", "556 the domain takes no mail"),
    ("domain-not-authenticated", None, "end of data", "550 5.7.26 multiple authentication checks failed"),
    ("blocklist", None, "rcpt", "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.25, because the ip is in Spamhaus's list"),
    ("looks-like-spam", None, "end of data", "554 5.7.1 Spam message rejected"),
    ("too-fast", None, "mail", "451 4.7.1 Sending rate is too high"),
]
# Nothing here may claim these: their codes decide, in smtp/reply.py.
BY_CODE = [("163", "mail", "421 closing"), ("qq", "rcpt", "450 greylisted, come back in 5 minutes"), ("gmail", "rcpt", "451 4.3.0 Mail server temporarily rejected message"),
           (None, "end of data", "550 5.7.1 refused"), (None, "mail", "550 no such sender"), (None, "rcpt", "550 no such user here"), (None, "data", "503 bad sequence of commands")]


def meant(provider, phase, line):
    """What the house makes of this reply, through the reader and the judge that send uses."""
    reply, = ReplyReader().feed(line.encode() + b"\r\n")
    rules = providers.refusals(provider)
    found = meaning_of(reply, phase, tuple(Meaning(one.phases, one.codes, one.enhanced, one.texts, one.action, one, None) for one in rules))
    return found and found.what


@pytest.mark.parametrize(("rule", "provider", "phase", "line"), REPLIES, ids=[f"{rule}: {line[:40]}" for rule, _, _, line in REPLIES])
def test_a_reply_is_understood_by_the_rule_for_it(rule, provider, phase, line):
    """reliability 6, a row for each rule and provider. The judge is the real one, the words are those of the sources."""
    assert meant(provider, phase, line).id == rule


def test_every_rule_is_met_by_a_reply():
    """A rule that another one hides would be dead words."""
    assert {one["id"] for one in RAW["refusals"]} - {rule for rule, *_ in REPLIES} == set()


@pytest.mark.parametrize(("provider", "phase", "line"), BY_CODE)
def test_what_only_a_code_says_is_left_to_the_code(provider, phase, line):
    assert meant(provider, phase, line) is None


@pytest.mark.parametrize(("line", "actions"), [
    ("550 5.7.30 Basic authentication is not supported for Client Submission.", {"m365": "login"}),
    ("550 5.7.30 This mail has been blocked because DKIM does not pass. Gmail requires all large senders to authenticate with DKIM.", {"gmail": "domain"}),
    ("550 Sender frequency limited", {"qq": "quota", None: "quota"}), ("550 5.4.5 in other words", {"gmail": "quota", "163": None}),
    ("436 \"MAIL FROM\" doesn't conform with authentication", {"aliyun-dm": "sender"})])
def test_codes_that_lie_are_read_by_the_words(line, actions):
    """reliability 1, fact 8: QQ's 550 and Gmail's 550 5.4.5 are quotas, DirectMail's 436 is for good, 5.7.30 means two things."""
    assert {provider: (found := meant(provider, "end of data", line)) and found.action for provider in actions} == actions


@pytest.mark.parametrize(("name", "host", "ports"), [
    ("163", "smtp.163.com", {465: "tls", 994: "tls", 25: "plain"}), ("126", "smtp.126.com", {465: "tls", 25: "plain"}),
    ("qq", "smtp.qq.com", {465: "tls", 587: "starttls", 25: "plain"}), ("gmail", "smtp.gmail.com", {465: "tls", 587: "starttls"}),
    ("ses", None, {465: "tls", 2465: "tls", 587: "starttls", 2587: "starttls", 25: "starttls"}), ("icloud", "smtp.mail.me.com", {587: "starttls"}),
    ("postmark", "smtp.postmarkapp.com", {587: "starttls", 2525: "starttls", 25: "starttls"})])
def test_hosts_and_ports(name, host, ports):
    """reliability 8; the issue names those of 163, 126, QQ and Gmail."""
    found = providers.provider(name)

    assert (found.host, found.ports, next(iter(found.ports))) == (host, ports, next(iter(ports)))


@pytest.mark.parametrize("name", providers.names())
def test_a_preset_has_all_it_needs(name):
    raw, preset = RAW["providers"][name], providers.provider(name)

    assert set(raw) <= {"title", "aliases", "host", "host_like", "ports", "login", "sender", "domains", "rate", "messages_per_session", "limits", "sources"}
    assert set(raw["login"]) <= {"credential", "methods", "where", "username"} and raw["login"]["credential"] in RAW["credentials"]
    assert (preset.host is None) == (preset.host_like is not None)
    assert next(iter(preset.ports.values())) in ("tls", "starttls") and set(preset.ports.values()) <= {"tls", "starttls", "plain"}
    assert preset.sender in ("login", "alias", "free") and set(preset.login.methods) <= {"password", "token"} and preset.login.methods
    assert [_window(rate).count >= 1 for rate in preset.rate] == [True] * len(preset.rate)
    for texts in (preset.title, preset.login.credential, preset.login.where, preset.login.username, preset.limits):
        assert texts is None or set(texts) == {"en", "zh"} and all(texts.values())
    assert CHINESE.search(preset.login.where["zh"]) or name in ("fastmail", "sendgrid", "brevo", "postmark")


@pytest.mark.parametrize("name", providers.names())
def test_every_fact_of_a_preset_has_a_source(name):
    preset = providers.provider(name)

    facts = {"host", "login"} | ({"sender"} if preset.sender != "free" else set()) | ({"limits"} if preset.limits else set()) \
        | ({"session"} if preset.messages_per_session else set())
    assert set(preset.sources) == facts <= FACTS and all(preset.sources.values())


def test_a_source_has_an_address_and_one_day_and_is_used():
    used = {key for one in RAW["providers"].values() for keys in one["sources"].values() for key in keys} | {key for one in RAW["refusals"] for key in one["source"]}

    assert used == set(RAW["sources"])
    for key, source in RAW["sources"].items():
        assert set(source) in ({"what", "from", "date"}, {"what", "from", "read"}), key
        assert re.fullmatch(r"https?://\S+", source["from"]) and re.fullmatch(r"20\d\d(-\d\d){1,2}", source.get("date") or source["read"]), key


def test_no_two_presets_share_a_name():
    every = Counter(name for key, one in RAW["providers"].items() for name in (key, *one.get("aliases", ())))

    assert [name for name, count in every.items() if count > 1 or name != name.lower()] == []


@pytest.mark.parametrize("raw", RAW["refusals"], ids=lambda raw: raw["id"])
def test_a_refusal_has_all_it_needs(raw):
    assert set(raw) - {"provider", "anywhere", "phase", "code", "text", "enhanced"} == {"id", "action", "what", "do", "source"}
    assert raw["action"] in ACTIONS and set(raw.get("phase", ())) <= PHASES and set(raw.get("provider", ())) <= set(RAW["providers"])
    assert all(re.fullmatch(r"[45](\d\d|xx)", code) for code in raw.get("code", ()))
    assert all(re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}(-\d{1,3})?", code) for code in raw.get("enhanced", ()))
    assert all(text == text.lower().strip() and len(text) > 3 for text in raw.get("text", ()))
    # Words that any relay may say decide by themselves; a bare code would be too little.
    assert "anywhere" not in raw or raw["anywhere"] == "true" and raw["provider"] and raw["text"]
    assert raw.keys() & {"text", "enhanced", "phase"} or raw["provider"]
    for texts in (raw["what"], raw["do"]):
        assert set(texts) == {"en", "zh"} and texts["en"].endswith(".") and texts["zh"].endswith("。")
        assert re.match(r"[A-Z`]", texts["en"]) or texts is raw["what"] and texts["en"].startswith("iCloud")


def test_no_two_refusals_share_an_id():
    assert [one for one, count in Counter(one["id"] for one in RAW["refusals"]).items() if count > 1] == []


def test_a_providers_own_refusals_come_first_and_the_general_ones_last():
    found = providers.refusals("qq")

    whose = ["own" if "qq" in one.providers else "anywhere" if one.providers else "general" for one in found]
    assert whose == sorted(whose, key=["own", "anywhere", "general"].index) and set(whose) == {"own", "anywhere", "general"}
    assert all(one.anywhere for one, kind in zip(found, whose) if kind == "anywhere")
    assert not any("qq" in one.providers and not one.anywhere for one in providers.refusals(None))


def test_ranges_are_written_out():
    ban = next(one for one in providers.refusals("m365") if one.id == "microsoft-reputation-code")
    blocked = next(one for one in providers.refusals(None) if one.id == "blocklist")

    assert {"5.7.606", "5.7.649", "5.7.511"} <= ban.enhanced and not {"5.7.605", "5.7.650", "5.7.606-649"} & ban.enhanced
    assert blocked.codes == frozenset(range(500, 600))


@pytest.mark.parametrize(("written", "name"), [("qq", "qq"), ("foxmail", "qq"), ("Foxmail", "qq"), (" QQ ", "qq"), ("yeah.net", "yeah"), ("hotmail", "outlook"),
                                               ("office365", "m365"), ("sendinblue", "brevo")])
def test_names_and_aliases(written, name):
    assert providers.provider(written).name == name


@pytest.mark.parametrize(("written", "said"), [
    ("gmial", '"gmial" is no provider that postroom knows; did you mean "gmail"?'), ("qq.com", '"qq.com" is no provider that postroom knows; did you mean "qq"?'),
    ("smtp.163.com", '"smtp.163.com" is no provider that postroom knows; did you mean "163"?'), ("foxmial", '"foxmial" is no provider that postroom knows; did you mean "qq"?')])
def test_a_name_nearly_right_is_guessed(written, said):
    """A domain or a host is what people write first."""
    with pytest.raises(providers.UnknownProvider) as unknown:
        providers.provider(written)

    assert str(unknown.value) == said


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(ValueError, match="known are 163, 126, yeah, qq, .*, aliyun-qiye$") as unknown:
        providers.provider("\x1bxyzzy\n")

    assert "\x1b" not in str(unknown.value) and "\n" not in str(unknown.value)


@pytest.mark.parametrize(("environment", "language"), [
    ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_TW"}, "zh"), ({"LANG": "de_DE.UTF-8"}, "en"), ({}, "en"), ({"LC_ALL": "zh_CN.GB18030", "LANG": "C"}, "zh"),
    ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"), ({"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"), ({"LANG": "ZH_cn"}, "zh")])
def test_the_language_is_that_of_the_locale(environment, language, monkeypatch):
    """POSIX: LC_ALL before LC_MESSAGES before LANG; an empty one is unset."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert providers.language() == language


def test_words_fall_back_to_english():
    assert [providers.words({"en": "code", "zh": "码"}, language) for language in ("zh", "en", "fr")] == ["码", "code", "code"]
    assert providers.words({"en": "code"}, "zh") == "code"


@pytest.mark.parametrize("name", [name for name in providers.names() if name != "ses"])
def test_a_campaign_needs_no_more_than_the_name(name, folder):
    text = (folder.path / "campaign.yaml").read_text(encoding="utf-8")
    folder.campaign(text[:text.index("smtp:")] + f"smtp:\n  provider: {name}\n  username: a@example.com\n  password: secret\n")

    smtp = load(str(folder.path / "campaign.yaml"), secrets=True).smtp

    preset = providers.provider(name)
    port, security = next(iter(preset.ports.items()))
    assert (smtp.host, smtp.port, smtp.security, len(smtp.rate), smtp.messages_per_session) == \
        (preset.host, port, security, len(preset.rate), preset.messages_per_session)


@pytest.mark.parametrize(("host", "name"), [("smtp.qq.com", "qq"), ("SMTP.163.com.", "163"), ("smtp.example.com", None), ("email-smtp.eu-west-1.amazonaws.com", None)])
def test_a_host_written_by_hand_is_known_too(host, name):
    assert providers.name_of(host) == name
