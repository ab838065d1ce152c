"""Octets to replies, and what a reply means for whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message import Envelope, Message
from postroom.outcome import CAMPAIGN, DEFERRED, PENDING, RECIPIENT, REJECTED, SENT, SESSION, UNCERTAIN
from postroom.smtp.reply import Answer, ProtocolError, Reply, ReplyReader, judged, printable

MESSAGE = Message("ann@example.com", 2, Envelope("news@example.com", ("ann@example.com", "boss@example.com"), "ann@example.com"), b"a: b\r\n\r\n",
                  "id@example.com", 0, "00")
SEVERAL = b"250-relay.test\r\n250-SIZE 1000\r\n250 8BITMIME\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n354\r\n"


def reply(text):
    return next(ReplyReader().feed(text.encode() + b"\r\n"))


@given(st.lists(st.integers(0, len(SEVERAL)), max_size=20))
def test_replies_are_the_same_however_the_octets_are_cut(cuts):
    reader, edges = ReplyReader(), [0, *sorted(cuts), len(SEVERAL)]

    replies = [one for start, end in zip(edges, edges[1:]) for one in reader.feed(SEVERAL[start:end])]

    assert replies == [Reply(250, None, ("relay.test", "SIZE 1000", "8BITMIME")), Reply(550, (5, 1, 1), ("no", "such user")), Reply(354, None, ("",))]
    assert reader.is_empty


@pytest.mark.parametrize("octets", [b"hello\r\n", b"25 short\r\n", b"199 low\r\n", b"600 high\r\n", b"250-a\r\n251 b\r\n", b"2500 ok\r\n", b"\r\n",
                                    b"250-more\r\n" * 2000, b"x" * 100_000])
def test_what_is_no_reply_ends_the_session(octets):
    with pytest.raises(ProtocolError):
        list(ReplyReader().feed(octets))


def test_an_enhanced_code_counts_only_where_its_class_fits():
    """RFC 2034 section 4: the class of the enhanced code is that of the reply."""
    assert reply("550 5.7.1 no").enhanced == (5, 7, 1)
    assert reply("550 2.0.0 odd").enhanced is None
    assert reply("250 5 things").enhanced is None


def test_control_characters_of_a_server_cannot_forge_a_line():
    assert reply("550 \x1b[2Jgone\x07").text == "\\x1b[2Jgone\\x07"


@pytest.mark.parametrize(("phase", "text", "state", "scope"), [
    ("end of data", "250 2.0.0 queued", SENT, RECIPIENT),
    ("end of data", "554 5.7.1 spam", REJECTED, RECIPIENT),
    ("end of data", "451 4.7.1 later", DEFERRED, RECIPIENT),
    ("end of data", "552 5.3.4 too big", REJECTED, RECIPIENT),
    ("end of data", "421 4.3.2 closing", PENDING, SESSION),
    ("rcpt", "550 5.1.1 no such mailbox", REJECTED, RECIPIENT),
    ("rcpt", "450 4.2.1 greylisted", DEFERRED, RECIPIENT),
    ("mail", "550 5.1.8 sender unknown", PENDING, CAMPAIGN),
    ("mail", "552 5.3.4 message too large", REJECTED, RECIPIENT),
    ("mail", "451 4.3.0 later", DEFERRED, RECIPIENT),
    ("mail", "530 5.7.0 authentication required", PENDING, CAMPAIGN),
    ("data", "451 4.3.0 later", DEFERRED, RECIPIENT),
])
def test_a_reply_means_one_thing_for_one_scope(phase, text, state, scope):
    fate, = judged([Answer(MESSAGE, phase, reply(text), phase == "end of data", ())])

    assert (fate.state, fate.scope, fate.code, fate.phase) == (state, scope, int(text[:3]), phase)


@pytest.mark.parametrize(("left", "state"), [(True, UNCERTAIN), (False, PENDING)])
def test_without_a_reply_it_counts_whether_the_last_octet_left(left, state):
    """RFC 1047: the relay may have kept what it had in full."""
    assert judged([Answer(MESSAGE, "end of data", None, left, ())])[0].state == state


@pytest.mark.parametrize(("own", "other", "state"), [("250 ok", "550 no", SENT), ("550 no", "250 ok", REJECTED), ("250 ok", "250 ok", SENT)])
def test_with_several_recipients_the_rows_own_address_decides(own, other, state):
    addresses = (("ann@example.com", reply(own)), ("boss@example.com", reply(other)))

    fate, = judged([Answer(MESSAGE, "end of data", reply("250 taken"), True, addresses)])

    assert fate.state == state
    assert [result.accepted for result in fate.addresses] == [own.startswith("2"), other.startswith("2")]


def test_words_in_gbk_can_be_read():
    """QQ and 126 told in GBK that they want an authorization code."""
    assert printable("请使用授权码登录".encode("gbk")) == "请使用授权码登录"
    assert printable("déjà".encode("latin-1")) == "d\ufffdj\ufffd"
    assert printable("授权码 ü".encode()) == "授权码 ü"
