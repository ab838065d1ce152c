"""One mailbox out of a text, and nothing that hides in it."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroom import address
from postroom.address import INVISIBLE, AddressError, checked_address, folded, parse_mailbox


@pytest.mark.parametrize(("text", "name", "address"), [
    ("ann@example.com", "", "ann@example.com"), ("  Ann <ann@example.com> ", "Ann", "ann@example.com"), ('"Lee, Ann" <ann@example.com>', "Lee, Ann", "ann@example.com"),
    ("Lee, Ann <ann@example.com>", "Lee, Ann", "ann@example.com"), ("a@x.com, b@y.com <ann@example.com>", "a@x.com, b@y.com", "ann@example.com"),
    ('"Ann \\"A\\" \\\\" <ann@example.com>', 'Ann "A" \\', "ann@example.com"), ("若水 <li@例え.jp>", "若水", "li@xn--r8jz45g.jp"), ("Ann@Example.COM", "", "Ann@example.com"),
    ("<ann@example.com>", "", "ann@example.com"), ("a <b> <ann@example.com>", "a <b>", "ann@example.com"), ("x@faß.de", "", "x@xn--fa-hia.de"),
    ("ann+tag@mail.intranet.local", "", "ann+tag@mail.intranet.local"), ("=?utf-8?q?a=2C_b=40evil?= <ann@example.com>", "=?utf-8?q?a=2C_b=40evil?=", "ann@example.com"),
    ('"a" and "b" <ann@example.com>', '"a" and "b"', "ann@example.com"), ('" Ann " <ann@example.com>', "Ann", "ann@example.com"), ("ann@example.com\xa0", "", "ann@example.com"),
    ("Jürgen <jürgen@münchen.de>", "Jürgen", "jürgen@xn--mnchen-3ya.de"), ("ju\u0308rgen@example.com", "", "jürgen@example.com"), ("若水@例え.jp", "", "若水@xn--r8jz45g.jp"),
    ("ü" * 32 + "@example.com", "", "ü" * 32 + "@example.com")])
def test_a_mailbox_is_its_name_and_one_address(text, name, address):
    mailbox = parse_mailbox(text)

    assert (mailbox.name, mailbox.address) == (name, address)


@pytest.mark.parametrize("text", ["", "  ", "<>", "Ann <>", " < > "])
def test_where_no_address_is_given_there_is_no_mailbox(text):
    assert parse_mailbox(text) is None


@pytest.mark.parametrize("text", [
    "ann", "ann@", "@example.com", "ann@@example.com", "a@x.com, b@y.com", "a@x.com;b@y.com", "a@x.com b@y.com", "a@x.com\r\nRSET", "ann@example.com\r\nBcc: eve@example.com",
    "Ann\nBcc: x <ann@example.com>", "An\u2028n <ann@example.com>", '"a@evil x"@example.com', "a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@" + "b." * 130 + "com",
    "a@localhost", "a@[127.0.0.1]", "a..b@example.com", ".a@example.com", "a@-example.com", "a@exam ple.com", "a\u200b@example.com", "a@exam\u202eple.com", "ü" * 33 + "@example.com", "\u0301a@example.com", "a\u3000b@example.com",
    "a@example..com", "ann@example.com>", "<ann@example.com", "a@b@example.com", "ann@example.com\0", "mailto:ann@example.com", "a@example.com (comment)"])
def test_what_is_not_one_address_is_refused_with_a_reason(text):
    with pytest.raises(AddressError) as error:
        parse_mailbox(text)

    assert "\n" not in str(error.value) and "\r" not in str(error.value) and len(str(error.value)) > 10


@pytest.mark.parametrize(("text", "key"), [(" Ann@Example.COM ", "ann@example.com"), ("li@例え.jp", "li@xn--r8jz45g.jp"), ("LI@XN--R8JZ45G.JP", "li@xn--r8jz45g.jp"),
                                           ("INV-7", "inv-7"), ("a@b@c", "a@b@c"), ("JU\u0308RGEN@Example.com", "jürgen@example.com"), ("J\u030c@example.com", "ǰ@example.com"),
                                           ("ANN@LOCALHOST", "ann@localhost")])
def test_a_key_is_the_same_however_it_was_written(text, key):
    assert folded(text) == key == folded(key)


@given(st.text(max_size=60) | st.builds("{} <{}@{}>".format, st.text(max_size=20), st.text(max_size=20), st.text(max_size=20)))
def test_any_text_is_one_safe_address_or_none(text):
    try:
        mailbox = parse_mailbox(text)
    except AddressError:
        return
    if mailbox is not None:
        assert mailbox.domain.isascii() and mailbox.address.isprintable() and mailbox.address.count("@") == 1
        assert not set(mailbox.address) & set(" <>,;:\\\"()[]") and not INVISIBLE.search(mailbox.address)
        assert len(mailbox.local.encode()) <= 64 and mailbox.local == unicodedata.normalize("NFC", mailbox.local)
        assert not any(character in mailbox.name for character in "\r\n\0\u2028\u2029\x85")
        assert folded(folded(mailbox.address)) == folded(mailbox.address)


LOCALS = st.text(st.sampled_from("aZ09.!#$%&'*+/=?^_`{|}~-@\" ü"), max_size=8) | st.sampled_from(["Postmaster", "INFO", "infos", "a" * 64, "a" * 65])
DOMAINS = (st.text(st.sampled_from("aZ09.-_ü"), max_size=12) | st.builds("{}.{}".format, st.from_regex("[a-zA-Z0-9-]{1,8}", fullmatch=True), st.sampled_from(["com", "De", "test", "invalid", "c0m", "1"]))
           | st.sampled_from(["example.com", "Example.COM", "xn--r8jz45g.jp", "XN--R8JZ45G.jp", "localhost", "mail.local", "b." * 125 + "com", "a" * 63 + ".com", "a" * 64 + ".com", "127.0.0.1"]))


@given(LOCALS, DOMAINS)
@example("a" * 64, ".".join(["b" * 60] * 3) + ".example")
def test_a_plain_address_is_read_as_the_validator_reads_it(local, domain):
    def read():
        checked_address.cache_clear()
        try:
            return checked_address(f"{local}@{domain}")
        except AddressError as error:
            return str(error)

    quick = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address, "PLAIN", re.compile("(?!)"))
        assert quick == read()


def test_every_invisible_character_of_unicode_is_known():
    """Default_Ignorable_Code_Point: every format character is one or more, but for those that are seen (Arabic signs and the like)."""
    unknown = {character for character in map(chr, range(0x110000)) if unicodedata.category(character) == "Cf" and not INVISIBLE.match(character)}

    assert all(unicodedata.name(character).startswith(("ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN")) for character in unknown)
    assert all(INVISIBLE.match(character) for character in "\xad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\u3164\ufe0f\ufeff\U000e0001\ud800")
    assert not any(INVISIBLE.match(character) for character in map(chr, range(0xAD)))
