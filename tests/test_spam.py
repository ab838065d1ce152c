"""SpamAssassin's local rules find nothing in the samples' mails: neither in their words nor in the shape of their MIME.

`-L`: no network, no Bayes; `-x` and a HOME of its own: nothing of the tester's settings. Every mail is judged twice:
- as it leaves us, without any Received line;
- as the filter of the reader's server gets it: with the envelope sender in Return-Path and the Received line of that server,
  because many rules ask for a mail that came straight from outside. Two things there are the path's and not the mail's, and are
  kept out: the relay has an address of RFC 3849, as the filter calls those of RFC 5737 illegal; and the sender is at example.org,
  as a mail from qq.com that no server of QQ's brought is rightly called spoofed.
"""

import re
import shutil
import subprocess

import pytest

from running import missing
from samples import SAMPLES, copied, sandboxed

MOST_POINTS = 0.1
SHAPE = re.compile(r"MIME|MPART|MULTIPART|BASE64|CTYPE|CHARSET|BOUND|_QP_|LONG_?LINE|MSGID|MISSING_|_HDR|HEADER")
WAYS = {"as it leaves us": "", "as it reaches the reader's server": """\
Return-Path: <{sender}>
Received: from smtp.example.org (smtp.example.org [IPv6:2001:db8::25])
\tby mx.example.com (Postfix) with ESMTPS id 4F1c2D3e5Fz9
\tfor <{recipient}>; {date}
"""}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """judged(mails): each mail's rules with their points, in the order of the mails."""
    program = shutil.which("spamassassin")
    if program is None:
        missing("SpamAssassin (Debian's package spamassassin)")
    home = tmp_path_factory.mktemp("spamassassin")

    def judge(mails):
        folder = tmp_path_factory.mktemp("mails")
        for number, octets in enumerate(mails):
            # A filter gets mail with the line ends of its machine. The number is for us: the filter may change the order.
            (folder / f"{number:04}").write_bytes(f"X-Number: {number}\n".encode() + octets.replace(b"\r\n", b"\n"))
        settings = ["report_safe 0", "fold_headers 0", "use_bayes 0", "clear_headers", "add_header all Judged _TESTSSCORES(,)_"]
        done = subprocess.run([program, "-L", "-x", *(f"--cf={setting}" for setting in settings), *map(str, sorted(folder.iterdir()))],
                              capture_output=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}, timeout=110)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
        found = {int(number): dict(one.split("=") for one in rules.decode().split(",") if "=" in one)
                 for rules, number in re.findall(rb"^X-Spam-Judged: (\S*)\n(?:.+\n)*?X-Number: (\d+)$", done.stdout, re.MULTILINE)}
        assert sorted(found) == list(range(len(mails)))
        return [{rule: float(points) for rule, points in found[number].items()} for number in range(len(mails))]

    return judge


def on_its_way(octets, envelope, way):
    head = WAYS[way].format(sender=envelope["sender"], recipient=envelope["recipients"][0],
                            date=re.search(rb"^Date: (.+?)\r\n", octets, re.MULTILINE)[1].decode())
    return head.replace("\n", "\r\n").encode() + octets


def told(octets, rules):
    """A mail's rules as they should stand in a failure."""
    message_id = re.search(rb"^Message-ID: (\S+)", octets, re.MULTILINE)
    return f"{message_id and message_id[1].decode()}: " + ", ".join(f"{rule} {points:+}" for rule, points in sorted(rules.items()))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_no_mail_of_a_sample_gets_more_than_a_tenth_of_a_point(sample, way, judged, tmp_path, monkeypatch):
    """What speaks for a mail (negative points) is not counted."""
    address = {"QQ_ADDRESS": "post@example.org"} if WAYS[way] else {}
    mails = [on_its_way(*mail, way) for mail in sandboxed(copied(tmp_path, monkeypatch), sample, address)]
    assert len(mails) >= 8

    for octets, rules in zip(mails, judged(mails), strict=True):
        assert sum(points for points in rules.values() if points > 0) <= MOST_POINTS, told(octets, rules)
        assert not [rule for rule in rules if SHAPE.search(rule)], told(octets, rules)


def test_the_filter_would_find_what_is_wrong(judged):
    """The proof that the other test can fail: a mail as careless programs make it."""
    octets = (b"From: a@example.org\r\nTo: ann@example.com\r\nSubject: hello\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
              b'<p>Hello</p><div style="font-size:1px">hidden words</div>\r\n')

    rules, = judged([octets])

    assert sum(rules.values()) > 1 and [rule for rule in rules if SHAPE.search(rule)], told(octets, rules)
