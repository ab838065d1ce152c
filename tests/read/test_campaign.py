"""The campaign file: every key checked, every fault with its place, no secret in any."""

import pytest

from conftest import CAMPAIGN
from postroom.errors import Faults, PostroomError
from postroom.read.campaign import Window, load


def read(folder, text, secrets=True):
    folder.campaign(text)
    return load("campaign.yaml", secrets=secrets)


def faults(folder, text, secrets=True):
    with pytest.raises(PostroomError) as error:
        read(folder, text, secrets)
    return error.value.errors if isinstance(error.value, Faults) else [error.value]


@pytest.mark.parametrize(("number", "right"), [("1", True), ("256", True), ("0", False), ("257", False), ("many", False)])
def test_how_many_may_be_in_flight_has_bounds(folder, number, right):
    text = CAMPAIGN.replace("smtp:\n", f"smtp:\n  in_flight: {number}\n")

    if right:
        assert read(folder, text).smtp.in_flight == int(number)
    else:
        fault, = faults(folder, text)
        assert "in_flight" in str(fault) and fault.where.line == 11


@pytest.mark.parametrize(("rate", "windows"), [("10/second", [(10, 1)]), ("10 / second", [(10, 1)]), ("1 per 2 seconds", [(1, 2)]), ("30 per minute", [(30, 60)]),
                                               ("[10/second, 100 per 5 minutes]", [(10, 1), (100, 300)]), ("[1 per 2 seconds, 400/day, 50/hour]", [(1, 2), (400, 86400), (50, 3600)])])
def test_rates_are_windows(folder, rate, windows):
    assert read(folder, CAMPAIGN + f"  rate: {rate}\n").smtp.rate == tuple(Window(*window) for window in windows)


@pytest.mark.parametrize("rate", ["0/second", "fast", "500/week", "-1/second", "1.5/second", "10", "[]extra"])
def test_a_rate_that_cannot_be_kept_is_refused(folder, rate):
    fault = faults(folder, CAMPAIGN + f"  rate: {rate}\n")[0]

    assert fault.where.line == 14


@pytest.mark.parametrize(("security", "port"), [("plain", 25), ("starttls", 587), ("tls", 465)])
def test_the_port_follows_the_security(folder, security, port):
    assert read(folder, CAMPAIGN.replace("  port: 2525\n", "").replace("plain", security)).smtp.port == port


def test_text_stays_as_it_was_written(folder):
    campaign = read(folder, CAMPAIGN.replace('"2026-11"', "2026-11-23").replace("name: digest", "name: 007") + "headers: {X-Code: 0012, X-No: NO, X-Version: 1.10}\n")

    assert (campaign.name, campaign.edition, dict(campaign.headers)) == ("007", "2026-11-23", {"X-Code": "0012", "X-No": "NO", "X-Version": "1.10"})


def test_what_a_variable_brings_is_not_replaced_again(folder, monkeypatch):
    monkeypatch.setenv("SUBJECT", "costs ${PRICE} and {{ 1 + 1 }}")

    assert read(folder, CAMPAIGN.replace('"{{ first_name }}, your November digest"', '"${SUBJECT}"')).subject == "costs ${PRICE} and {{ 1 + 1 }}"


def test_secrets_are_wanted_only_by_what_uses_them(folder, monkeypatch):
    monkeypatch.delenv("GONE", raising=False)
    text = CAMPAIGN + "  username: ${GONE}\n  password: ${GONE}\n"

    assert read(folder, text, secrets=False).name == "digest"
    assert [fault.where.line for fault in faults(folder, text)] == [14, 15]


def test_no_fault_and_no_repr_shows_the_password(folder):
    text = CAMPAIGN + "  username: ann\n  password: [s3cret-one]\n"

    assert "s3cret" not in " ".join(map(str, faults(folder, text)))
    assert "s3cret" not in repr(read(folder, CAMPAIGN + "  username: ann\n  password: s3cret-one\n"))


BAD = {
    "headers: {Bcc: eve@example.com}\n": ("writes", 14),
    'headers: {"X-Foo\\r\\nBcc": v}\n': ("header name", 14),
    'headers: {"X:Y": v}\n': ("header name", 14),
    "headers: {Content-Type: text/plain}\n": ("writes", 14),
    "images: {'a b': x.png}\n": ("image's name", 14),
    "images:\n  - a.png\n  - [b.png]\n": ("images.1: a text is wanted", 16),
    "images:\n  - a.png\n  -\n": ("`images.1` is empty", 16),
    "images: logo.png\n": ("map", 14),
    "timezone: Mars/Olympus\n": ("time zone", 14),
    "kind: spam\n": ("none of the words", 14),
    "attachments:\n  - {file: a.pdf, type: pdf}\n": ("media type", 15),
    "attachments:\n  - {file: a.pdf, nmae: x}\n": ('"nmae" is not known', 15),
    "attachments:\n  - {file: a.eml, type: message/rfc822}\n": ("single parts", 15),
    "unsubscribe: {}\n": ("", 14),
    "unsubscribe: {mailto: nobody}\n": ("not a mail address", 14),
    "vars: {a-b: 1}\n": ("variable's name", 14),
    "vars: [1]\n": ("map", 14),
    "allow_paths: {a: 1}\n": ("", 14),
}


@pytest.mark.parametrize("line", BAD)
def test_a_wrong_value_is_told_with_its_place(folder, line):
    words, number = BAD[line]

    found = faults(folder, CAMPAIGN + line)

    assert any(words in fault.what and fault.where.line == number and fault.do for fault in found), [str(fault) for fault in found]


@pytest.mark.parametrize("lines", ["images:\n  - a.png\n  - b.png\n", "images:\n  0: a.png\n  1: b.png\n", "images:\n  '0': a.png\n  \"1\": b.png\n"])
def test_images_by_number_are_a_list_or_a_map_and_keep_their_places(folder, lines):
    campaign = read(folder, CAMPAIGN + lines)

    assert campaign.images == {"0": "a.png", "1": "b.png"}
    assert [(place.line, place.column) for place in map(campaign.place, ("images", "images"), "01")] in ([(15, 5), (16, 5)], [(15, 3), (16, 3)])


@pytest.mark.parametrize("port", ["0", "65536", "smtp", "-1"])
def test_a_port_that_is_none_is_told(folder, port):
    assert faults(folder, CAMPAIGN.replace("2525", port))[0].where.line == 12


@pytest.mark.parametrize("key", ["name", "from", "subject", "recipients"])
def test_a_missing_key_is_named(folder, key):
    import re
    text = re.sub(rf"(?m)^{key}:.*\n(  .*\n)*", "", CAMPAIGN)

    assert any(fault.what == f"`{key}` is missing" for fault in faults(folder, text))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "hello\n", "42\n"])
def test_a_file_that_is_no_map_is_told(folder, text):
    assert "a campaign is a map" in faults(folder, text)[0].what


def test_a_name_is_small_letters_digits_and_hyphens(folder):
    for name in ("Digest", "a b", "a/b", "../x", "a_b", "é"):
        assert faults(folder, CAMPAIGN.replace("name: digest", f"name: {name}"))[0].where.line == 1


PRESET = CAMPAIGN.partition("smtp:")[0]


@pytest.mark.parametrize(("smtp", "host", "port", "security"), [
    ("{provider: qq}", "smtp.qq.com", 465, "tls"), ("{provider: qq, port: 587}", "smtp.qq.com", 587, "starttls"), ("{provider: 163, port: 25}", "smtp.163.com", 25, "plain"),
    ("{provider: gmail, security: starttls}", "smtp.gmail.com", 587, "starttls"), ("{provider: '126', host: localhost, port: 2525, security: plain}", "localhost", 2525, "plain"),
    ("{provider: foxmail}", "smtp.qq.com", 465, "tls"), ("{provider: ses, host: email-smtp.eu-west-1.amazonaws.com}", "email-smtp.eu-west-1.amazonaws.com", 465, "tls"),
    ("{provider: qq, port: 2525}", "smtp.qq.com", 2525, "starttls")])
def test_a_preset_fills_what_is_not_given(folder, smtp, host, port, security):
    found = read(folder, PRESET + f"smtp: {smtp}\n").smtp

    assert (found.host, found.port, found.security) == (host, port, security)


def test_a_preset_brings_its_rate_and_gives_way_to_ours(folder):
    assert read(folder, PRESET + "smtp: {provider: qq}\n").smtp.rate == (Window(1, 2),)
    assert read(folder, PRESET + "smtp: {provider: qq, rate: 5/minute}\n").smtp.rate == (Window(5, 60),)


@pytest.mark.parametrize(("smtp", "words"), [("{provider: qqq}", 'did you mean "qq"?'), ("{provider: ses}", "give `host`, such as email-smtp."),
                                             ("{provider: qq, username: a, password: x, token_command: y}", "`password` and `token_command` both"),
                                             ("{provider: qq, password: x}", "`password` without `username`")])
def test_what_a_preset_cannot_do_is_told(folder, smtp, words):
    fault, = faults(folder, PRESET + f"smtp: {smtp}\n")

    assert words in fault.what


@pytest.mark.parametrize(("more", "words"), [("  username: a\n  password: secret\n", ["the password stands in this file"]), ("  username: a\n  password: ${POSTROOM_TEST_X:-y}\n", ["the password stands in this file"]),
                                             ("  username: a\n  password: x$${y}\n", ["the password stands in this file"]), ("  username: a\n  password: ${HOME}\n", []),
                                             ("  username: a\n  password: ${HOME:?set it}\n", []), ("  username: a\n  password: ${HOME:-}\n", []),
                                             ("unsubscribe: {mailto: a@example.com, secret: long}\n", ["the secret that signs the unsubscribe links stands in this file"]),
                                             ("unsubscribe: {mailto: a@example.com, secret: '${HOME}'}\n", []),
                                             ("  provider: outlook\n  username: a@outlook.com\n  password_command: x\n",
                                              ["outlook takes no passwords", "`host` is 127.0.0.1, not outlook's smtp-mail.outlook.com"])])
def test_secrets_in_sight_are_warned_of(folder, more, words):
    assert [warning.what for warning in read(folder, CAMPAIGN + more).warnings()] == words


def test_an_env_file_that_others_may_read_is_warned_of(folder):
    folder.write(".env", "A=b\n").chmod(0o644)
    assert [str(warning.where) for warning in read(folder, CAMPAIGN).warnings()] == [".env"]
    (folder.path / ".env").chmod(0o600)
    assert not read(folder, CAMPAIGN).warnings()


@pytest.mark.parametrize("edition", ["2026", "1.5", "true"])
def test_an_edition_may_look_like_a_number(folder, edition):
    assert read(folder, CAMPAIGN.replace('"2026-11"', edition)).edition == edition


def test_a_run_stops_after_20_refusals_that_are_a_quarter_unless_the_campaign_says_otherwise(folder):
    usual, own = read(folder, CAMPAIGN), read(folder, CAMPAIGN + "delivery: {stop_after: {failures: 3, share: 12.5%}}\n")

    assert (usual.delivery.stop_after.failures, usual.delivery.stop_after.share) == (20, 0.25)
    assert (own.delivery.stop_after.failures, own.delivery.stop_after.share) == (3, 0.125)


@pytest.mark.parametrize("share", ["0.5", "120%", "half", "-3%"])
def test_a_share_is_a_percentage(folder, share):
    fault, = faults(folder, CAMPAIGN + f"delivery:\n  stop_after:\n    share: {share}\n")

    assert f'"{share}" is not a share; write such as 25%' in fault.what
