"""Lines of Postfix and Exim: what they are about, and that nothing a stranger puts into them is taken for it."""

import datetime

import pytest

from postroom.reconcile.log_lines import EXIM, LOCAL, OTHER, POSTFIX, UTC, YEARLESS, Line, Reader, exim_arrival, mentioned

MORNING = int(datetime.datetime(2026, 11, 25, 8, 33, 10, tzinfo=datetime.UTC).timestamp())
OURS = b"0123456789abcdef0123456789abcdef@example.com"


@pytest.mark.parametrize(("octets", "line"), [
    (b"Nov 25 08:33:10 relay postfix/cleanup[15540]: 0778427E66B: message-id=<a@b>",
     Line(MORNING, YEARLESS, b"relay", POSTFIX, (b"postfix", b"cleanup"), b"15540", b"0778427E66B: message-id=<a@b>")),
    (b"2026-11-25T09:33:10.123456+01:00 relay postfix/submission/smtpd[7]: connect from x",
     Line(MORNING, UTC, b"relay", POSTFIX, (b"postfix", b"smtpd"), b"7", b"connect from x")),
    (b"2026-11-25T08:33:10+0000 relay postfix-out/qmgr[7]: 4fK: removed", Line(MORNING, UTC, b"relay", POSTFIX, (b"postfix-out", b"qmgr"), b"7", b"4fK: removed")),
    (b"2026-11-25 08:33:10 1xW8R4-0003xz-04 <= x@y", Line(MORNING, LOCAL, b"", EXIM, None, None, b"1xW8R4-0003xz-04 <= x@y")),
    (b"2026-11-25 03:33:10.250 -0500 [812] 1xW8R4-00000003xzA-0004 <= x@y",
     Line(MORNING, UTC, b"", EXIM, None, None, b"1xW8R4-00000003xzA-0004 <= x@y")),
    (b"Nov 25 08:33:10 relay cron[1]: postfix/qmgr[1]: 4fK: from=<>, size=1, nrcpt=1 (queue active)",
     Line(MORNING, YEARLESS, b"relay", OTHER, None, None, b"cron[1]: postfix/qmgr[1]: 4fK: from=<>, size=1, nrcpt=1 (queue active)")),
    (b"Foo 25 08:33:10 relay postfix/qmgr[1]: x", None), (b"Feb 30 08:33:10 relay postfix/qmgr[1]: x", None),
    (b" relay postfix/qmgr[1]: x", None), (b"", None), (b"\x00\xff\x1b[31m", None)])
def test_a_line_is_when_where_who_and_what(octets, line):
    assert Reader(2026).read(octets) == line


HEAD = b"x@example.com H=(a.test) [127.0.0.1] P=esmtp S=757 "


@pytest.mark.parametrize(("text", "message_id"), [
    (HEAD + b"id=" + OURS, OURS),
    (HEAD + b"M8S=0 id=" + OURS + b' T="hello" from <x@example.com> for ann@example.com', OURS),
    (b"<> R=1xW8R4-0003xz-04 U=Debian-exim P=local S=900 id=" + OURS, OURS),
    # Seen of Exim 4.96: a sender whose local part is quoted, a Message-ID likewise.
    (b'"a S=1 id=' + OURS + b'"@example.com H=([127.0.0.1]) [127.0.0.1] P=esmtp S=788 id=quoted@example.com', b"quoted@example.com"),
    (HEAD + b'id="a id=' + OURS + b' b"@example.com', b'"a id=' + OURS + b' b"@example.com'),
    (HEAD + b'id=other@example.com T="S=1 id=' + OURS + b'"', b"other@example.com"),
    (HEAD + b'T="\\" S=1 id=' + OURS + b'" id=other@example.com', b"other@example.com"),
    # What is not quoted and holds a space makes a second one: no answer then.
    (b"x@example.com H=(a S=1 id=" + OURS + b") [127.0.0.1] P=esmtp S=788 id=other@example.com", None),
    (b"x@example.com U=x S=1 id=" + OURS + b" P=esmtp S=788 id=other@example.com", None),
    (b"x@example.com H=(a id=" + OURS + b") [127.0.0.1] P=esmtp S=788", None),
    (b'x@example.com H=(a"b) [127.0.0.1] P=esmtp S=788 id=' + OURS, None),
    (b"x@example.com H=(a.test) [127.0.0.1] P=esmtp S=788", None), (b"", None)])
def test_exims_line_of_arrival_tells_one_message_id_or_none(text, message_id):
    assert exim_arrival(text) == message_id


def test_a_line_of_quotes_and_backslashes_costs_no_time():
    """A pattern that tried every way to pair them would never end."""
    assert exim_arrival(b'"\\' * 20_000 + b'"' * 20_001) is None


def test_a_message_id_of_our_kind_is_seen_wherever_it_stands():
    assert mentioned(b"spamd: result: mid=<" + OURS + b">,bayes; other <" + OURS + b".evil>") == [OURS, OURS + b".evil"]
    assert mentioned(b"message-id=<somebody@example.com>") == []
