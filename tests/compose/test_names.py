"""The Headers rows of the traps: what bit users of other mailers, read back by two parsers."""

import email
import email.utils

import pytest

from conftest import CAMPAIGN
from parsers import with_python
from postroom.errors import PostroomError
from running import composed, messages_of

ACCENTS = "L’été à Orléans : où dînerons-nous ? Déjà vingt ans d’amitié, de fêtes et de pêche à la ligne sur les bords du fleuve Loire"
NAMES = ["Doe, John", 'Ann "Nan" Lee', '"a" and "b"', "back\\slash", "a@b", "a@b.com, c@d.com", "Ann; Bob", "Ann (boss)", "Ann B. Lee", "Team: All", "<Ann>", "[Ann]", "=?utf-8?q?x?=", "O'Brien",
         "若水 李", "Zoë", "Łukasz Żółć", "Мария Ивановна", "Μαρία", "สมชาย", "नमस्ते", "שלום לוי", "علی‌رضا", "김민수", "たなか はなこ", "👩‍💻 Ann", "e\u0301", "x" * 200, "若" * 100, "a  b", "ann@example.com"]


def both(message, node):
    return with_python(message.octets), node.parse(message.octets)


def table(folder, *rows):
    folder.write("recipients.csv", "email,first_name\n" + "".join(f'{address},"{name.replace(chr(34), chr(34) * 2)}"\n' for address, name in rows))


def test_a_subject_that_ends_with_a_line_break_is_trimmed(folder, node):
    """traps H3: no stray line end, no header pushed into the body."""
    folder.campaign(CAMPAIGN.replace("{{ first_name }}, your November digest", "{{ first_name }}"))
    table(folder, ("ann@example.com", "Hello\n"))

    for read in both(messages_of(folder)[0], node):
        assert (read.subject, read.to) == ("Hello", [("Hello", "ann@example.com")])
        assert read.headers == ["date", "from", "to", "subject", "message-id", "mime-version", "content-type"]


@pytest.mark.parametrize("cell", ["Hi\r\nBcc: x@evil.com", "Hi\nBcc: x@evil.com", "Hi\rBcc: x@evil.com", "é\r\n\r\nbody"])
def test_a_line_break_in_a_subject_is_an_error_that_names_the_column(folder, cell):
    """traps H4: no extra header."""
    table(folder, ("ann@example.com", cell))

    with pytest.raises(PostroomError, match=r"a line break \(U\+000[AD]\) would reach") as error:
        composed(folder)
    assert str(error.value.where) == "recipients.csv, line 2, column first_name"


@pytest.mark.parametrize("cell", ["Hi=?utf-8?q?=0A?=Bcc: x@evil.com", "Zoë =?utf-8?q?=0A?=Bcc: x@evil.com"])
def test_an_encoded_line_break_stays_text(folder, node, cell):
    """traps H4: the encoded form makes no header either."""
    table(folder, ("ann@example.com", cell))

    for read in both(messages_of(folder)[0], node):
        assert read.subject == f"{cell}, your November digest" and "bcc" not in read.headers


@pytest.mark.parametrize("length", range(75, len(ACCENTS) + 1))
def test_a_long_subject_with_accents_comes_back(folder, node, length):
    """traps H5: adjacent encoded words parted by a fold, none of them empty."""
    folder.campaign(CAMPAIGN.replace("{{ first_name }}, your November digest", ACCENTS[:length]))
    message = messages_of(folder)[0]

    assert all(read.subject == ACCENTS[:length].strip() for read in both(message, node))
    lines = message.octets.partition(b"\r\n\r\n")[0].split(b"\r\nSubject:")[1].split(b"\r\nMessage-ID")[0].split(b"\r\n")
    assert max(map(len, lines)) <= 76 and not any(b"?==?" in line for line in lines) and b"?q??=" not in message.octets


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_recipients_name_whatever_it_holds(folder, node, name):
    """traps H6 and H7: one recipient, the name as it was, only the phrase encoded, never the address."""
    table(folder, ("ann@example.com", name))
    folder.more('cc: \'"{{ first_name }}" <boss@münchen.de>\'\n')
    message = messages_of(folder)[0]

    python, postal = both(message, node)
    assert (python.to, python.cc) == ([(name, "ann@example.com")], [(name, "boss@xn--mnchen-3ya.de")])
    # postal-mime leaves out a name that is the address itself.
    assert (postal.to, postal.cc) == ([("" if name == "ann@example.com" else name, "ann@example.com")], [(name, "boss@xn--mnchen-3ya.de")])
    assert message.envelope.recipients == ("ann@example.com", "boss@xn--mnchen-3ya.de")
    assert b"ann@example.com" in message.octets and b"boss@xn--mnchen-3ya.de" in message.octets


def test_a_sender_in_any_script_has_its_address_in_the_clear(folder, node):
    """traps H7: Thai and Cyrillic names."""
    for name in ("ร้านดอกไม้", "Цветочный магазин"):
        folder.campaign(CAMPAIGN.replace("若水", name))
        message = messages_of(folder)[0]

        assert all(read.from_ == [(name, "news@example.com")] for read in both(message, node))
        assert b" <news@example.com>\r\n" in message.octets


@pytest.mark.parametrize(("written", "name"), [
    ('"{{ first_name }}" <{{ email }}>', 'Ann "Nan" \\ Lee'), ("{{ first_name }} <{{ email }}>", 'Ann "Nan" \\ Lee'), ('"{{ first_name }}, of Leeds" <{{ email }}>', 'Ann "Nan" \\ Lee, of Leeds'),
    ("\"{{ first_name | default('x') }}\" <{{ email }}>", 'Ann "Nan" \\ Lee'), ('"Lee \\"X\\"" <{{ email }}>', 'Lee "X"'), ('"" <{{ email }}>', "")])
def test_quotes_that_the_campaign_writes_are_no_part_of_the_name(folder, node, written, name):
    folder.campaign(CAMPAIGN.replace('"{{ first_name }} <{{ email }}>"', "'" + written.replace("'", "''") + "'"))
    table(folder, ("ann@example.com", 'Ann "Nan" \\ Lee'))

    assert all(read.to == [(name, "ann@example.com")] for read in both(messages_of(folder)[0], node))


def test_a_bcc_of_the_campaign_is_on_no_wire(folder):
    """traps H10: in the envelope alone."""
    folder.more("bcc: [Archive <archive@example.com>, 'x-{{ first_name }}@example.com']\n")

    for message in messages_of(folder):
        assert {"archive@example.com"} < set(message.envelope.recipients) and len(message.envelope.recipients) == 3
        assert b"archive@" not in message.octets.lower() and b"\nbcc" not in message.octets.lower()


def test_an_empty_cell_leaves_its_header_out(folder, node):
    """traps H11: neither `Cc:` nor `Cc: undefined`."""
    folder.more('cc: "{{ boss }}"\nreply_to: ["{{ boss }}", "{{ first_name }} <{{ boss }}>"]\nheaders: {X-Note: "{{ boss }}"}\n')
    folder.write("recipients.csv", "email,first_name,boss\nann@example.com,Ann,\nzoe@example.com,Zoe,\xa0 \n")

    for message in messages_of(folder):
        assert len(message.envelope.recipients) == 1
        for read in both(message, node):
            assert read.headers == ["date", "from", "to", "subject", "message-id", "mime-version", "content-type"]


def test_date_and_message_id_stand_there_once_with_the_zone_and_the_senders_domain(folder):
    """traps H12: a local offset, and the domain of From, not the host's name."""
    folder.campaign(CAMPAIGN.replace("news@example.com", "news@bücher.example.com") + "timezone: America/New_York\n")

    mail = email.message_from_bytes(messages_of(folder)[0].octets)

    assert len(mail.get_all("Date")) == len(mail.get_all("Message-ID")) == 1
    assert mail["Date"].endswith(" -0500")
    assert mail["Message-ID"].endswith("@xn--bcher-kva.example.com>")


def test_every_row_has_its_own_message_id_and_keeps_it(folder):
    """traps H13: the same row tried again has the same one."""
    first, again = messages_of(folder), messages_of(folder, date=1_795_999_999)

    assert len({message.message_id for message in first}) == 2
    assert [message.message_id for message in first] == [message.message_id for message in again]


@pytest.mark.parametrize("name", ["Prüfbericht Q1.pdf", "测试文档.pdf", "=?utf-8?q?=0A?=.pdf", " x.pdf", 'a"b.pdf', "100%.pdf", "👩‍💻.pdf", "x" * 120 + ".pdf", "若" * 60 + ".pdf"])
def test_a_file_keeps_its_name(folder, node, name):
    """traps H14, and names that look like encoded words."""
    folder.write("data.pdf", "data")
    table(folder, ("ann@example.com", name))
    folder.more('attachments: [{file: data.pdf, name: "{{ first_name }}"}]\n')
    octets = messages_of(folder)[0].octets

    assert with_python(octets).files[0][0] == name.strip()
    assert node.parse(octets).files[0][0] == ("\n.pdf" if "=?" in name else name.strip())  # postal-mime decodes what RFC 2231 brought
    assert b' name="' in octets and b"noname" not in octets
