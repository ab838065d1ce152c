"""What names and addresses hold that is no fault: told with row, column and code point, and never where nothing is odd."""

import datetime

import pytest

from conftest import CAMPAIGN
from postroom.address import parse_mailbox
from postroom.check.addresses import WELL_KNOWN, domain_remark, out_of_place, suggestion
from postroom.check.preflight import MOST_WARNINGS, Preflight
from postroom.compose.build import Composer
from postroom.read.campaign import load
from postroom.read.recipients import Table
from running import postroom


def checked(folder):
    campaign = load(str(folder.path / "campaign.yaml"), secrets=False)
    return Preflight(Composer(campaign, Table(campaign), datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)), lambda keys: {}, 0.0).run()


def warned(folder):
    return [(warning.where.file, warning.where.line, warning.where.column, warning.what) for warning in checked(folder).warnings]


@pytest.mark.parametrize(("typed", "meant"), [
    ("gmial.com", "gmail.com"), ("gamil.com", "gmail.com"), ("gmal.com", "gmail.com"), ("gmaill.com", "gmail.com"), ("gmai1.com", "gmail.com"), ("gmail.con", "gmail.com"),
    ("gmail.co", "gmail.com"), ("gmial.con", "gmail.com"), ("hotmial.com", "hotmail.com"), ("outlok.com", "outlook.com"), ("yahooo.com", "yahoo.com"), ("yahho.co.uk", "yahoo.co.uk"),
    ("iclould.com", "icloud.com"), ("foxmial.com", "foxmail.com"), ("qq.con", "qq.com"), ("163.cmo", "163.com"), ("yandx.ru", "yandex.ru"), ("googlemial.com", "googlemail.com")])
def test_a_mistyped_domain_is_told_with_the_one_that_was_meant(typed, meant):
    """traps D11: `a@gmial.com` gets a suggestion."""
    assert suggestion(typed) == meant
    assert meant in domain_remark(typed)[0]


@pytest.mark.parametrize("domain", [
    *WELL_KNOWN, "example.com", "mail.com", "ymail.com", "email.com", "tmail.com", "hmail.com", "gmx.at", "gmx.info", "gmail.de", "mail.de", "mail.uk", "qq.co", "me.co", "cloud.com",
    "web.com", "live.be", "outlook.be", "yahoo.com.mx", "fastmail.fm", "yandex.kz", "company.com", "university.edu", "136.com", "165.com", "aal.com", "a.io", "g.com"])
def test_a_domain_that_is_plainly_another_is_left_alone(domain):
    assert domain_remark(domain) is None


@pytest.mark.parametrize(("domain", "words"), [
    ("gmаil.com", 'looks like "gmail.com"'), ("gmaíl.com", 'looks like "gmail.com"'), ("yаhoo.com", 'looks like "yahoo.com"'), ("exаmple.com", "mixes Cyrillic and Latin letters"),
    ("аррӏе.com", 'Cyrillic letters that look like the Latin "apple"'), ("xn--80ak6aa92e.com", 'look like the Latin "apple"'), ("νοκια.com", 'Greek letters that look like the Latin "nokia"'),
    ("tоkyo-東京.jp", "mixes")])
def test_a_domain_that_looks_like_another_is_told(domain, words):
    """reliability 4b: a homograph domain gets a note."""
    assert words in domain_remark(parse_mailbox(f"a@{domain}").domain)[0]


@pytest.mark.parametrize("domain", ["münchen.de", "faß.de", "例え.jp", "東京tokyoタワー.jp", "пример.com", "хо.рф", "παράδειγμα.gr", "한국shop.kr", "مثال.com", "उदाहरण.com", "straße-24.de"])
def test_a_domain_in_one_script_is_no_look_alike(domain):
    assert domain_remark(parse_mailbox(f"a@{domain}").domain) is None


@pytest.mark.parametrize(("text", "character"), [
    ("Ann\u200bLee", "\u200b"), ("\ufeffAnn", "\ufeff"), ("A\u202enn", "\u202e"), ("\u2066Ann\u2069", "\u2066"), ("Zo\xadë", "\xad"), ("a\u200db", "\u200d"), ("a\u200cb", "\u200c"),
    ("Ann\u3164", "\u3164"), ("x\U000e0041y", "\U000e0041"), ("\ufe0fAnn", "\ufe0f"), ("Ann\u200b\ufe0f", "\u200b")])
def test_a_character_that_nobody_sees_is_found(text, character):
    assert out_of_place(text) == character


@pytest.mark.parametrize("text", ["Zoë", "علی‌رضا", "क्‍ष", "👩‍💻 Ann", "👨🏽‍🚀", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "渡邉\U000e0100", "ไทย", "e\u0301"])
def test_what_belongs_to_how_people_write_is_not_told(text):
    assert out_of_place(text) is None


@pytest.mark.parametrize("character", ["\u200b", "\u200e", "\u202e", "\u2066", "\ufeff", "\xad", "\u2060"])
def test_invisible_characters_in_names_are_told_with_row_column_and_code_point(folder, character):
    """reliability 4b: bidi controls, zero width and a byte order mark are warned of in names."""
    folder.write("recipients.csv", f"email,first_name\nann@example.com,Ann\nzoe@example.com,Zo{character}ë\n")

    assert [(file, line, column) for file, line, column, _ in warned(folder)] == [("recipients.csv", 3, "first_name")] * 2
    assert all(f"(U+{ord(character):04X} " in what for *_, what in warned(folder))
    assert [what.partition(" holds")[0] for *_, what in warned(folder)] == ["the name", "the subject"]


def test_a_mistyped_domain_is_told_with_row_and_column(folder):
    """traps D11: `a@gmial.com` gets a suggestion."""
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\nzoe@GMIAL.com,Zoe\n")

    assert warned(folder) == [("recipients.csv", 3, "email", '"gmial.com" is one slip away from "gmail.com"')]


def test_what_the_campaign_itself_holds_is_told_once(folder):
    folder.campaign(CAMPAIGN.replace("news@example.com", "news@gmial.com").replace("your November", "your\u200b November"))

    assert [(file, line) for file, line, *_ in warned(folder)] == [("campaign.yaml", 3), ("campaign.yaml", 5)]


def test_warnings_are_bounded_and_the_rest_is_counted(folder):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"a{number}@gmial.com,Ann\n" for number in range(MOST_WARNINGS + 20)))

    found = checked(folder)

    assert (len(found.warnings), found.more_warnings, found.going) == (MOST_WARNINGS, 20, MOST_WARNINGS + 20)


def test_check_tells_one_kind_of_warning_once_and_send_in_a_line(folder):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"a{number}@gmial.com,Ann\n" for number in range(30)) + "li@example.com,L\u202ei\n")

    said, document, sent = postroom("check", "campaign.yaml"), postroom("check", "campaign.yaml", "--json").json, postroom("send", "campaign.yaml", "--dry-run")

    assert said.exit == document["exit"] == 0
    assert said.err.splitlines() == [
        'Note: recipients.csv, line 2, column email: "gmial.com" is one slip away from "gmail.com". Write "gmail.com" if that is meant.',
        "  29 more like this, in lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ….",
        "Note: recipients.csv, line 32, column first_name: the name holds an invisible character (U+202E RIGHT-TO-LEFT OVERRIDE). Take it out if nobody meant it.",
        "  1 more like this, in line 32.",
        "31 messages checked, no fault found."]
    assert [warning["where"]["line"] for warning in document["warnings"]] == [*range(2, 32), 32, 32]
    assert 'Note: recipients.csv, line 2, column email: "gmial.com" is one slip away from "gmail.com". `postroom check campaign.yaml` shows 31 more like this.' in sent.err
