"""A mail that would be read otherwise than it was rendered is found before it leaves."""

import pytest

from conftest import CAMPAIGN
from postroom.check import read_back
from postroom.errors import PostroomError
from postroom.message import Message, checked
from running import composed

HARD = CAMPAIGN + "images: {logo: logo.png}\nattachments: [{file: terms.pdf}]\n"


@pytest.fixture
def made(folder):
    folder.write("logo.png", bytes(range(256)) * 9)
    folder.write("terms.pdf", b"")
    folder.write("digest.html", "<p>.\n..\nZoë =3D {{ first_name }} \u2028</p><img src=cid:logo alt=''>\n \n")
    folder.write("digest.txt", "From here\n.\n\t \nZoë =\n{{ first_name }}")
    folder.campaign(HARD)
    composer, (rendered, *_) = composed(folder)
    return rendered, composer.message(rendered, 0)


def test_what_the_composer_makes_is_read_as_it_was_rendered(made):
    rendered, message = made

    assert read_back.differences(message, rendered) == []


@pytest.mark.parametrize(("was", "is_", "found"), [
    (b"Subject: ", b"Subject: No, ", "the subject"), (b"From here", b"Form here", "the text part"), (b"=3D3D", b"=3D2D", "the html part"),
    (b'boundary="=_', b'boundary="=!', "the structure"), (b"MIME-Version", b"Bcc: x@example.com\r\nMIME-Version", "a copy that must not be seen"),
    (b"Content-Disposition: attachment", b"X-Disposition: attachment", 'the file "terms.pdf"')])
def test_what_differs_is_named(made, was, is_, found):
    rendered, message = made
    assert was in message.octets
    spoilt = Message(message.key, message.row, message.envelope, checked(message.octets.replace(was, is_, 1)), message.message_id, 0, message.digest)

    assert found in read_back.differences(spoilt, rendered)
    with pytest.raises(PostroomError, match="would not be read as it was rendered"):
        read_back.check(spoilt, rendered, "recipients.csv")
