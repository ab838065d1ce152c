"""The pages: everything that a mail says is there to read, and nothing that it brings can act."""

import base64
import hashlib
import html
import json
import re
import urllib.request
from pathlib import Path

import pytest

from browsing import Listener
from full_campaign import FILES, FULL_ROWS, PNG, TERMS, write_full
from postroom.errors import CampaignError
from postroom.pages import Book, read_message
from postroom.preview import write_preview
from postroom.sandbox import Sandbox, mailbox
from running import messages_of, postroom


@pytest.fixture
def preview(folder):
    write_full(folder)
    return folder, write_preview(messages_of(folder), str(folder.path / "seen"), "digest-2026-11")


def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_message_is_a_file_of_its_exact_octets(preview):
    folder, written = preview

    assert written.messages == 3
    assert [path.read_bytes() for path in sorted((folder.path / "seen").glob("*.eml"))] == [message.octets for message in messages_of(folder)]


def test_the_words_of_a_message_are_all_on_its_page(preview):
    folder, _ = preview
    for number, row in enumerate(FULL_ROWS, 1):
        said = html.unescape(page(folder.path / "seen" / "messages" / f"{number:04}.words.html"))
        for word in (f"{row['name']}, your November digest", row["email"], "若水 <news@example.com>", "boss@xn--mnchen-3ya.de", "archive@example.com", "..dots",
                     f"测试文档 {row['name']}.doc", "terms.txt", "X-Campaign", f"Row {number + 1}", "List-Unsubscribe"):
            assert word in said, word


def test_pictures_and_attachments_are_files_beside_the_page(preview):
    folder, _ = preview
    parts = folder.path / "seen" / "parts"

    assert {path.read_bytes() for path in parts.iterdir()} == {PNG, TERMS, *FILES.values()}
    source = re.search(r'<img src="([^"]+)"', page(folder.path / "seen" / "messages" / "0001.html"))[1]
    assert (folder.path / "seen" / "messages" / source).read_bytes() == PNG


def test_the_page_may_run_its_own_script_and_no_other(preview):
    index = page(Path(preview[1].page))
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', index)[1])
    script = index.rpartition("<script>")[2].partition("</script>")[0]
    style = index.partition("<style>")[2].partition("</style>")[0]

    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for name, text in (("script-src", script), ("style-src", style)):
        assert f"{name} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_no_word_of_a_mail_ends_the_page_early(folder):
    bad = "</script><script>alert(1)</script><!--"
    folder.write("recipients.csv", f'email,first_name\nann@example.com,"{bad}"\n')
    written = write_preview(messages_of(folder), str(folder.path / "seen"), "x")

    index = page(Path(written.page))

    data = re.search(r'<script type="application/json" id="messages">(.*?)</script>', index, re.DOTALL)[1]
    assert json.loads(data)[0][1:4] == [bad, "ann@example.com", f"{bad}, your November digest"]
    assert index.count("<script") == 2 and "<!--" not in index.partition("<body")[2]


def test_a_broken_mail_of_another_program_can_be_read_too():
    reading = read_message(b"Subject: =?bad?q?x?= =?utf-8?b?!!?=\r\nTo: =?utf-8?q?a=2C?= <a@b>\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html; charset=no-such\r\n\r\n"
                           b"<p>\xff\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\r\n")

    assert (reading.html.strip(), reading.to, len(reading.files)) == ("<p>\ufffd", ("a,", "a@b"), 1)


def test_headers_in_utf_8_are_read_as_they_are():
    """RFC 6532: addresses, names and other headers beyond ASCII, beside encoded words."""
    read = read_message("From: =?utf-8?q?J=C3=BCrgen?= <jürgen@example.com>\r\nTo: 若水 李 <若水@xn--r8jz45g.jp>, \"Lee, Ann\" <ann@example.com>\r\n"
                        "Subject: 若水 =?utf-8?b?4pyT?=\r\n =?utf-8?q?_x?= y\r\n\r\nx\r\n".encode())

    assert read.headers == [("From", "Jürgen <jürgen@example.com>"), ("To", "若水 李 <若水@xn--r8jz45g.jp>, Lee, Ann <ann@example.com>"), ("Subject", "若水 ✓ x y")]
    assert read.to == ("若水 李", "若水@xn--r8jz45g.jp")
    assert read_message("To: J\xe9 <j@x>\r\n\r\n".encode("latin-1")).header("To") == "J\ufffd <j@x>"


@pytest.mark.parametrize("octets", [
    b"Content-Type: text/plain; charset=undefined\r\n\r\nx\xff\r\n", b"Content-Type: text/html; charset=idna\r\n\r\n\xff\r\n",
    b"Content-Type: text/plain; charset*=utf-8''a%00b\r\n\r\nx\r\n", b"Content-Disposition: attachment; filename*0*=undefined''a%FF\r\n\r\nx\r\n",
    b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1200)) + b"\r\nx\r\n", b"", b"\0\xff" * 99])
def test_no_mail_keeps_the_page_from_being_shown(octets, tmp_path):
    book = Book(str(tmp_path), "x")

    book.add(octets, "0001", "a@example.com", ("b@example.com",))
    book.add(b"Subject: good\r\n\r\nx\r\n", "0002", "a@example.com", ("b@example.com",))

    assert "good" in page(Path(book.bind()))


@pytest.mark.parametrize(("name", "kind", "ending"), [("p.shtml", "text/plain", ".txt"), ("x.html", "image/png", ".png"), ("a.svg", "image/svg+xml", ".bin"),
                                                      ("a.xsl", "text/xml", ".txt"), ("run.exe", "application/x-dosexec", ".bin"), ("a.PDF", "application/pdf", ".pdf"),
                                                      ("a.png", "image/png", ".png"), ("noending", "image/jpeg", ".jpg")])
def test_nothing_that_could_run_keeps_its_ending(tmp_path, name, kind, ending):
    book = Book(str(tmp_path), "x")
    book.add(f'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n\r\n'
             "<script>alert(1)</script>\r\n--b--\r\n".encode(), "0001", "a@example.com", ("b@example.com",))

    assert [path.suffix for path in (tmp_path / "parts").iterdir()] == [ending]


def test_a_folder_that_is_no_preview_is_left_alone(folder):
    folder.write("mine/letter.txt", "dear diary")

    with pytest.raises(CampaignError, match="not an earlier preview"):
        write_preview(messages_of(folder), str(folder.path / "mine"), "x")

    assert [path.name for path in (folder.path / "mine").iterdir()] == ["letter.txt"]


def test_a_folder_beside_the_preview_is_left_alone(folder):
    folder.write("seen.new/precious", "x")

    write_preview(messages_of(folder), str(folder.path / "seen"), "x")

    assert (folder.path / "seen.new" / "precious").read_text() == "x"
    assert sorted(path.name for path in folder.path.glob("*seen*")) == ["seen", "seen.new"] and not list(folder.path.glob(".seen*"))


def test_a_folder_that_is_no_mailbox_is_left_alone(folder):
    folder.write("site/index.html", "mine")

    with pytest.raises(CampaignError, match="no mailbox of a sandbox"):
        mailbox(str(folder.path / "site"))

    assert [path.name for path in (folder.path / "site").iterdir()] == ["index.html"]


def test_a_new_preview_replaces_the_old_one_whole_or_not_at_all(folder):
    write_preview(messages_of(folder), str(folder.path / "seen"), "x")
    first = messages_of(folder)

    def failing():
        yield first[0]
        raise CampaignError("a row went wrong")

    with pytest.raises(CampaignError, match="a row went wrong"):
        write_preview(failing(), str(folder.path / "seen"), "x")
    before = sorted(path.name for path in (folder.path / "seen").glob("*.eml"))
    write_preview(first[:1], str(folder.path / "seen"), "x")

    assert (before, sorted(path.name for path in (folder.path / "seen").glob("*.eml"))) == (["0001.eml", "0002.eml"], ["0001.eml"])
    assert not list(folder.path.glob("*.new"))


def test_a_message_opened_by_itself_leads_nowhere(browser, folder):
    """Somebody may open the file of one message instead of the page."""
    with Listener() as listener:
        folder.write("digest.html", f"{{% raw %}}<meta http-equiv=refresh content='0;url={listener.url}/away'><link rel=preconnect href='{listener.url}'>{{% endraw %}}Hello")
        written = write_preview(messages_of(folder), str(folder.path / "seen"), "x")

        seen = browser((Path(written.directory) / "messages" / "0001.html").as_uri())

    assert "Hello" in seen and (listener.calls, listener.connections) == ([], 0)


def test_the_listener_would_hear_a_page_that_calls(browser, tmp_path):
    """The proof that the next test can fail."""
    with Listener() as listener:
        (tmp_path / "page.html").write_text(f"<img src='{listener.url}/image'><script>fetch('{listener.url}/fetch', {{mode: 'no-cors'}})</script>")

        browser((tmp_path / "page.html").as_uri())

    assert sorted(listener.calls) == ["/fetch", "/image"] and listener.connections


def test_the_sandbox_shows_what_it_took(folder):
    with Sandbox(mailbox(str(folder.path / "mail")), web_port=0) as sandbox:
        folder.relay(sandbox.smtp_port)
        empty = fetched(sandbox.url)
        assert postroom("send", "campaign.yaml", "--yes").exit == 0

        assert "0 messages" in empty and "2 messages" in fetched(sandbox.url) and "Zoë" in fetched(sandbox.url)
        assert "Hello Ann" in fetched(sandbox.url + "messages/0001.html") and "zoe@example.com" in fetched(sandbox.url + "0002.eml")


def fetched(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_the_sandbox_keeps_the_exact_octets_and_the_envelope(folder):
    write_full(folder)
    with Sandbox(mailbox(str(folder.path / "mail"))) as sandbox:
        folder.campaign((folder.path / "campaign.yaml").read_text().replace("2525", str(sandbox.smtp_port)))
        assert postroom("send", "campaign.yaml", "--yes").exit == 0

    kept = [path.read_bytes() for path in sorted((folder.path / "mail").glob("*.eml"))]
    date = re.compile(rb"Date: [^\r]*\r\n")
    assert [date.sub(b"", octets) for octets in kept] == [date.sub(b"", message.octets) for message in messages_of(folder)]
    envelope = json.loads((folder.path / "mail" / "0002.json").read_text())
    assert envelope["recipients"] == ["Zoe@example.com", "boss@xn--mnchen-3ya.de", "two@example.com", "archive@example.com"]


def test_what_is_kept_can_be_read_by_its_owner_only(preview):
    folder, _ = preview

    for path in [folder.path / "seen", *(folder.path / "seen").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
