"""The six mails of the tutorial that people come from, each with a campaign of its own, through a relay, read by two parsers."""

import random

import pytest

from parsers import with_python
from running import postroom

HEAD = """\
name: tutorial
from: "若水 <sender@example.com>"
subject: Python 邮件测试
recipients: {file: people.csv}
smtp: {host: 127.0.0.1, port: %d, security: plain}
"""
TEXT, HTML = "你好, {{ name }}!\n", "<html><body><h1>你好, {{ name }}!</h1>%s</body></html>\n"
PICTURE, DOCUMENT = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(2000), random.Random(2).randbytes(5000)


@pytest.fixture
def send(folder, relay, node):
    """Send a campaign with these lines to Ann alone; what the relay took, as each parser reads it."""
    folder.write("people.csv", "email,name\nann@example.com,Ann\n")
    folder.write("mail.txt", TEXT)
    folder.write("mail.html", HTML % "")
    folder.write("art/picture.png", PICTURE)
    folder.write("测试文档.doc", DOCUMENT)

    def sent(lines):
        folder.campaign(HEAD % relay.port + lines)
        said = postroom("send", "campaign.yaml", "--yes")
        assert said.exit == 0, said.err
        taken, = relay.taken
        readings = with_python(taken.octets), node.parse(taken.octets)
        for read in readings:
            assert (read.subject, read.from_) == ("Python 邮件测试", [("若水", "sender@example.com")])
        return taken, readings

    return sent


def test_mail_1_plain_text_alone(send):
    taken, readings = send("text: mail.txt\n")

    assert (taken.sender, taken.recipients) == ("sender@example.com", ("ann@example.com",))
    for read in readings:
        assert (read.text, read.html, read.files) == ("你好, Ann!\n", None, [])
        assert read.to == [("", "ann@example.com")]


def test_mail_2_html_alone(send):
    _, readings = send("html: mail.html\ntext: none\n")

    for read in readings:
        assert (read.html, read.text, read.files) == ("<html><body><h1>你好, Ann!</h1></body></html>\n", None, [])


def test_mail_3_with_an_attachment(send):
    _, readings = send("text: mail.txt\nattachments: 测试文档.doc\n")

    for read in readings:
        assert (read.text, read.html, read.files) == ("你好, Ann!\n", None, [("测试文档.doc", "application/msword", None, DOCUMENT)])


@pytest.mark.parametrize(("lines", "shown"), [("images: [art/picture.png]\n", '<img src="cid:0">'), ("", '<img src="art/picture.png">'),
                                              ("images: [art/picture.png]\n", '<img src="cid:0"><img src="art/picture.png">')], ids=["by number", "by path", "both"])
def test_mail_4_a_picture_as_attachment_and_in_the_body_two_ways(send, folder, lines, shown):
    folder.write("mail.html", HTML % shown)

    _, readings = send("html: mail.html\ntext: none\nattachments: art/picture.png\n" + lines)

    for read in readings:
        (*name_and_type, content_id, octets), attached = read.files
        assert (name_and_type, octets) == (["picture.png", "image/png"], PICTURE)
        assert attached == ("picture.png", "image/png", None, PICTURE)
        assert read.html == "<html><body><h1>你好, Ann!</h1>" + f'<img src="cid:{content_id}">' * shown.count("<img") + "</body></html>\n"
        assert content_id == "0" or "images" not in lines


def test_mail_5_plain_text_and_html(send):
    _, readings = send("text: mail.txt\nhtml: mail.html\n")

    for read in readings:
        assert (read.text, read.html, read.files) == ("你好, Ann!\n", "<html><body><h1>你好, Ann!</h1></body></html>\n", [])


def test_mail_6_to_several_people(send):
    taken, readings = send('text: mail.txt\nto: ["{{ email }}", "Bob, the <bob@example.com>"]\ncc: [cho@example.com, "戴 <dai@example.com>"]\nbcc: eve@example.com\n')

    assert taken.recipients == tuple(f"{name}@example.com" for name in ("ann", "bob", "cho", "dai", "eve"))
    for read in readings:
        assert read.to == [("", "ann@example.com"), ("Bob, the", "bob@example.com")]
        assert read.cc == [("", "cho@example.com"), ("戴", "dai@example.com")]
        assert "bcc" not in read.headers and b"eve@" not in taken.octets
