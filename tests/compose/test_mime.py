"""Headers and bodies to octets, read back by parsers that are not ours."""

import base64
import datetime
import email
import email.header
import email.policy
import email.utils
import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.address import Mailbox
from postroom.compose import mime

# What a header's value can be once composing has refused control characters and trimmed it.
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200).map(lambda text: " ".join(text.split())).filter(bool)
ADDRESS = "ann@xn--mnchen-3ya.de"


def decoded(octets):
    raw = email.message_from_bytes(octets + b"\r\n", policy=email.policy.compat32)
    (name, value), = raw.items()
    return name, str(email.header.make_header(email.header.decode_header("".join(value.splitlines()))))


def lines_of(octets):
    assert octets.endswith(b"\r\n") and octets.isascii()
    lines = octets[:-2].split(b"\r\n")
    assert all(line[:1] in b" \t" and line.strip() for line in lines[1:])
    return lines


@given(WORDS)
def test_any_subject_comes_back_equal(value):
    octets = mime.text_header("Subject", value)

    assert decoded(octets) == ("Subject", value)
    for line in lines_of(octets):
        assert len(line) <= (76 if b"=?" in line else 998)
    assert b"=??=" not in octets and b"?q??=" not in octets


@given(WORDS)
def test_encoded_words_cut_no_character_and_keep_their_bounds(value):
    """RFC 2047 section 2: at most 75 octets a word; section 5: no character in two words."""
    for word in mime.encoded_words(value, 9):
        found = re.fullmatch(r" ?(=\?utf-8\?([qb])\?([^ ?]+)\?=)", word)
        assert found and len(found[1]) <= 75
        octets = base64.b64decode(found[3]) if found[2] == "b" else quopri.decodestring(found[3].encode(), header=True)
        octets.decode()


@given(st.lists(WORDS.filter(lambda name: not (name[0] == name[-1] == '"')), min_size=1, max_size=5))
def test_any_names_come_back_and_never_add_an_address(names):
    octets = mime.address_header("To", [Mailbox(name, "ann", "xn--mnchen-3ya.de") for name in names])

    raw = "".join(email.message_from_bytes(octets + b"\r\n")["To"].splitlines())
    found = email.utils.getaddresses([raw])
    assert [address for _, address in found] == [ADDRESS] * len(names)
    assert [str(email.header.make_header(email.header.decode_header(name))) for name, _ in found] == names
    assert all(len(line) <= 998 for line in lines_of(octets))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=120).map(str.strip).filter(bool))
def test_any_file_name_comes_back(name):
    octets = mime.disposition("attachment", name)

    part = email.message_from_bytes(octets + b"\r\n")
    assert part.get_filename() == name
    assert all(len(line) <= 78 for line in lines_of(octets))


@given(st.text(max_size=120))
def test_the_fallback_of_a_name_is_plain_and_never_empty(name):
    assert re.fullmatch(r"[A-Za-z0-9 ()+,.=@_-]{1,60}", mime.ascii_fallback(name))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3000))
def test_any_body_comes_back_with_its_line_ends_as_crlf(text):
    encoding, octets = mime.body(text)

    assert max(map(len, octets.split(b"\r\n"))) <= 76
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    back = quopri.decodestring(octets) if encoding == b"quoted-printable" else base64.b64decode(octets)
    assert back.decode().replace("\r\n", "\n") == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(("text", "encoding"), [("Hello =3D http://x/?a=b\n", b"quoted-printable"), ("若水" * 40, b"base64"), ("Zoë says hello to all of you\n", b"quoted-printable")])
def test_the_shorter_encoding_is_taken(text, encoding):
    assert mime.body(text)[0] == encoding


@given(st.integers(0, 12_000))
def test_base64_is_in_lines_of_76(size):
    octets = bytes(range(256)) * (size // 256 + 1)

    lines = mime.base64_lines(octets[:size]).split(b"\r\n")

    assert b"".join(lines) == base64.b64encode(octets[:size])
    assert {len(line) for line in lines[:-1]} <= {76} and (0 < len(lines[-1]) <= 76 or size == 0)


def test_a_long_unsubscribe_link_is_never_encoded_or_cut():
    """Gmail ignores List-Unsubscribe as an encoded word, which the standard library would write."""
    url = "https://example.com/u/" + "x" * 400

    octets = mime.literal_header("List-Unsubscribe", [f"<{url}>,", "<mailto:leave@example.com?subject=unsubscribe>"])

    assert octets == f"List-Unsubscribe: <{url}>,\r\n <mailto:leave@example.com?subject=unsubscribe>\r\n".encode()


@pytest.mark.parametrize("name", ["Doe, John", 'Ann "Nan" Lee', "back\\slash", "a@b", "=?utf-8?q?x?=", "若水 李", "Zoë", "O'Brien", "Ann B. Lee", "x" * 200])
def test_names_that_other_mailers_break(name):
    octets = mime.address_header("From", [Mailbox(name, "a", "example.com")])

    (shown, address), = email.utils.getaddresses(["".join(email.message_from_bytes(octets + b"\r\n")["From"].splitlines())])
    assert (str(email.header.make_header(email.header.decode_header(shown))), address) == (name, "a@example.com")


@pytest.mark.parametrize(("moment", "said"), [
    (datetime.datetime(2026, 1, 5, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))), "Mon, 05 Jan 2026 03:04:05 -0330"),
    (datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC), "Tue, 24 Nov 2026 12:00:00 +0000"),
    (datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=8))), "Tue, 24 Nov 2026 12:00:00 +0800"),
])
def test_a_date_reads_back(moment, said):
    assert mime.date(moment) == said
    assert email.utils.parsedate_to_datetime(said) == moment
