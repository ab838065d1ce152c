"""Attachments of any type, name and size: their octets come back equal, and none is taken for the mail itself."""

import email
import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CAMPAIGN, TEXT
from parsers import with_python
from postroom.errors import Faults, PostroomError
from postroom.message import checked
from running import composed, messages_of

ALL = bytes(range(256)) * 3
EML = b"From: eve@example.com\r\nSubject: inner\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nfirst\r\n.\r\n--x--\r\n"
KINDS = {"page.html": (b"<p>not the body</p>\n", "text/html"), "notes.txt": (b"not the text\nbare LF\r\nCRLF\rbare CR", "text/plain"), "table.csv": ("name;größe\r\nAnn;1\n".encode("utf-16"), "text/csv"),
         "mail.eml": (EML, "application/octet-stream"), "mail.mht": (EML, "application/octet-stream"), "setup.exe": (b"MZ" + ALL, None), "terms.pdf": (b"%PDF-1.7\n" + ALL, "application/pdf"),
         "README": (ALL, "application/octet-stream"), "data.xyzzy": (ALL, "application/octet-stream"), ".profile": (b"x=1\n", "application/octet-stream"), "backup.tar.gz": (ALL, "application/octet-stream"),
         # With LF: postal-mime hands calendars on as text and takes the CR away.
         "event.ics": (b"BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar"), "photo.JPG": (ALL, "image/jpeg"),
         "key.p7s": (ALL, None), "empty.txt": (b"", "text/plain")}
NAMES = ["Prüfbericht Q1.pdf", "测试文档.doc", "отчёт.pdf", "דוח.pdf", "تقرير.pdf", "รายงาน.pdf", "😀 smile.png", "é.txt", 'a "quoted" name.txt', "semi;colon=x.txt", "100%.txt", "it's.txt",
         "a'b''c.txt", "若" * 80 + ".txt", "a" * 250 + ".txt", "two  blanks.txt", "no ending", "comma, dot..txt", "(comment).txt", "<>", "<a>.txt", "a@b.txt", "utf-8''x.txt"]


def attached(message, node):
    """(name, type, octets) of every file, as both parsers read them; and that the bodies are still what they were."""
    checked(bytes(message.octets))
    one, two = with_python(message.octets), node.parse(message.octets)
    assert (one.text, one.html) == (two.text, two.html) and one.text == TEXT.replace("{{ first_name }}", "Ann") and "<p>Hello Ann</p>" in one.html
    assert one.files == two.files
    return [(name, kind, octets) for name, kind, _, octets in one.files]


@pytest.mark.parametrize("name", KINDS)
def test_any_type_comes_back_with_its_octets_and_never_as_the_body(folder, node, name):
    """traps B6: .html, .txt and .csv were merged into the body, line ends changed."""
    octets, kind = KINDS[name]
    folder.write(f"files/{name}", octets)
    folder.more(f"attachments: files/{name}\n")

    (found, found_kind, found_octets), = attached(messages_of(folder)[0], node)

    assert (found, found_octets) == (name, octets)
    assert kind is None or found_kind == kind


@pytest.mark.parametrize("drop", ["html", "text", None])
def test_files_of_text_and_html_are_no_bodies_whatever_bodies_there_are(folder, node, drop):
    """traps B6: text alone, HTML alone, both."""
    names = {"html": "digest.html", "text": "digest.txt"}
    folder.write("page.html", "<p>not the body</p>")
    folder.write("notes.txt", "not the text")
    lines = CAMPAIGN.replace(f"{drop}: {names.get(drop)}\n", "text: none\n" if drop == "text" else "")
    folder.campaign(lines + "attachments: [page.html, notes.txt]\n")

    message = messages_of(folder)[0]

    for read in (with_python(message.octets), node.parse(message.octets)):
        assert [file[0] for file in read.files] == ["page.html", "notes.txt"]
        assert (bool(read.html), bool(read.text)) == (drop != "html", drop != "text")
        assert "not the" not in f"{read.html}{read.text}"


def test_every_row_gets_its_own_files_renamed_and_retyped(folder, node):
    folder.write("recipients.csv", "email,first_name,invoice,extra\nann@example.com,Ann,7,a.csv\nann2@example.com,Ann,8,\n")
    for number in "78":
        folder.write(f"invoices/{number}.bin", f"invoice {number}")
    folder.write("a.csv", "x\n")
    folder.more('attachments:\n  - {file: "invoices/{{ invoice }}.bin", name: "Rechnung {{ invoice }} für {{ first_name }}.pdf", type: application/x-invoice}\n'
                '  - "{{ extra }}"\n  - {file: "invoices/{{ invoice }}.bin", name: "{{ invoice }}.txt"}\n')

    first, second = (attached(message, node) for message in messages_of(folder))

    assert first == [("Rechnung 7 für Ann.pdf", "application/x-invoice", b"invoice 7"), ("a.csv", "text/csv", b"x\n"), ("7.txt", "text/plain", b"invoice 7")]
    assert second == [("Rechnung 8 für Ann.pdf", "application/x-invoice", b"invoice 8"), ("8.txt", "text/plain", b"invoice 8")]


def test_two_files_of_one_name_are_both_kept(folder, node):
    folder.write("a/terms.txt", "one")
    folder.write("b/terms.txt", "two")
    folder.more("attachments: [a/terms.txt, b/terms.txt, a/terms.txt]\n")

    assert attached(messages_of(folder)[0], node) == [("terms.txt", "text/plain", octets) for octets in (b"one", b"two", b"one")]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_comes_back(folder, node, name):
    """traps H14: shown as "noname", "ATT00001" or "untitled" otherwise."""
    folder.write("file.bin", ALL)
    folder.more(f"attachments:\n  - file: file.bin\n    name: {name!r}\n" if "'" not in name else f"attachments:\n  - file: file.bin\n    name: \"{name}\"\n")

    (found, _, octets), = attached(messages_of(folder)[0], node)

    assert (found, octets) == (name, ALL)


def test_a_name_that_looks_like_an_encoded_word_stays_as_it_is(folder):
    """With the standard library alone: postal-mime decodes even what came by RFC 2231 once more."""
    folder.write("file.bin", ALL)
    folder.more('attachments: {file: file.bin, name: "=?utf-8?q?x?=.txt"}\n')

    assert [name for name, *_ in with_python(messages_of(folder)[0].octets).files] == ["=?utf-8?q?x?=.txt"]


def test_a_name_that_is_not_ascii_has_both_forms(folder):
    """traps H14: filename* (RFC 2231), and a name in ASCII for readers that do not know it."""
    folder.write("file.pdf", ALL)
    folder.more('attachments: {file: file.pdf, name: "Prüfbericht Q1.pdf"}\n')

    part = email.message_from_bytes(messages_of(folder)[0].octets).get_payload()[1]

    assert part["Content-Disposition"] == "attachment;\r\n filename*=utf-8''Pr%C3%BCfbericht%20Q1.pdf"
    assert part["Content-Type"] == 'application/pdf; name="Prufbericht Q1.pdf"'


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\"), min_size=1, max_size=80).map(str.strip).filter(bool))
def test_any_name_comes_back_from_both_parsers_or_is_refused_with_its_place(folder, node, name):
    """traps H14."""
    folder.write("file.bin", ALL)
    folder.more("vars: {}\nattachments: {file: file.bin, name: \"{{ row['name'] }}\"}\n")
    folder.write("recipients.csv", 'email,first_name,name\nann@example.com,Ann,"' + name.replace('"', '""') + '"\n')

    try:
        (found, _, octets), = attached(messages_of(folder)[0], node)
    except PostroomError as error:
        assert "control character" in error.what or "characters" in error.what
    else:
        assert (found, octets) == (name, ALL)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 114, 998, 65_537, 3_000_000])
def test_any_size_comes_back(folder, node, size):
    octets = random.Random(size).randbytes(size)
    folder.write("file.bin", octets)
    folder.more("attachments: file.bin\n")

    assert attached(messages_of(folder)[0], node) == [("file.bin", "application/octet-stream", octets)]


def test_the_same_file_for_10000_is_read_and_encoded_once_and_kept_once(folder, monkeypatch):
    """traps B14."""
    folder.write("terms.pdf", random.Random(1).randbytes(5 << 20))
    folder.more("attachments: terms.pdf\n")
    composer, (rendered, _) = composed(folder)
    composer.message(rendered, 0)
    part = composer.files.part(rendered.files[0], None)
    monkeypatch.setattr(composer.files.project, "read", lambda *_: pytest.fail("read again"))

    for number in range(10_000):
        again = composer.render({"email": f"p{number}@example.com", "first_name": "P"}, number + 2, f"p{number}@example.com")
        assert composer.files.part(again.files[0], None) is part
    tracemalloc.start()
    for _ in range(10):
        composer.message(again, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 20 << 20


@pytest.mark.parametrize(("lines", "words", "place"), [
    ("attachments: gone.pdf\n", "no such file", "campaign.yaml, line 14, column 1"), ("attachments:\n  - a.pdf\n  - b\n", '"b" is not a regular file', "campaign.yaml, line 16, column 5"),
    ("attachments: ../a.pdf\n", "leads out", "campaign.yaml, line 14, column 1")])
def test_a_file_that_cannot_be_attached_is_told_with_its_place(folder, lines, words, place):
    folder.write("a.pdf", b"")
    folder.write("b/c", b"")
    folder.more(lines)

    with pytest.raises(Faults) as faults:
        composed(folder)
    assert words in faults.value.what and str(faults.value.where) == place
