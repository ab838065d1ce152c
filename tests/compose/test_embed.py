"""Pictures in the HTML: by path and as data: they travel as parts, and two independent parsers read them back."""

import base64
import email
import os
import random
import re
import tracemalloc

import pytest

from conftest import CAMPAIGN
from parsers import with_python
from postroom.errors import Faults, PostroomError
from postroom.message import checked
from running import composed, messages_of, postroom

LOGO, OTHER = (b"\x89PNG\r\n\x1a\n" + random.Random(seed).randbytes(3000) for seed in (1, 2))
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><rect fill='#fff'/></svg>"
CID = re.compile(r'cid:([^"\' >]+)')


def html(folder, body, more=""):
    folder.write("digest.html", f"<!doctype html>\n<p>Hello {{{{ first_name }}}}</p>\n{body}\n")
    folder.more(more)
    return folder


def pictures(message, node):
    """(content id in the HTML, name, type, octets) in the order of the HTML; both parsers must read the same."""
    for read in (with_python(message.octets), node.parse(message.octets)):
        parts = {content_id: (name, kind, octets) for name, kind, content_id, octets in read.files if content_id}
        found = [(content_id, *parts[content_id]) for content_id in CID.findall(read.html)]
        assert set(parts) == {content_id for content_id, *_ in found}
    checked(bytes(message.octets))
    return found


def fault(folder):
    with pytest.raises(PostroomError) as error:
        composed(folder)
    return error.value


def test_a_local_src_travels_and_nothing_else_changes(folder, node):
    folder.write("art/logo.png", LOGO)
    html(folder, '<img alt="x &amp; y" src="art/logo.png" width=1><img src=https://example.com/a.png>')

    for message in messages_of(folder):
        (content_id, *part), = pictures(message, node)
        assert part == ["logo.png", "image/png", LOGO]
        body = node.parse(message.octets).html.partition("</p>\n")[2]
        assert body == f'<img alt="x &amp; y" src="cid:{content_id}" width=1><img src=https://example.com/a.png>\n'


def test_the_path_is_relative_to_the_template_as_in_a_browser(folder, node):
    folder.write("postroom.yaml", "")
    folder.write("mails/art/logo.png", LOGO)
    folder.write("art/logo.png", OTHER)
    folder.write("mails/digest.html", '<img src="art/logo.png"><img src="../art/logo.png">')
    folder.campaign(CAMPAIGN.replace("digest.html", "mails/digest.html"))

    assert [octets for *_, octets in pictures(messages_of(folder)[0], node)] == [LOGO, OTHER]


def test_a_cell_may_name_the_picture(folder, node):
    folder.write("photos/Ann & co. 50%.png", LOGO)
    folder.write("photos/若水?.png", OTHER)
    folder.write("recipients.csv", "email,first_name,photo\nann@example.com,Ann,Ann & co. 50%.png\nzoe@example.com,Zoë,若水?.png\n")
    html(folder, '<img src="photos/{{ photo }}">')

    assert [pictures(message, node)[0][1:] for message in messages_of(folder)] == [("Ann & co. 50%.png", "image/png", LOGO), ("若水?.png", "image/png", OTHER)]


@pytest.mark.parametrize("src", ["my%20logo.png", "my logo.png", " my logo.png\n", "./my%20logo.png", "x/../my%20logo.png", "my&#32;logo.png", "%6Dy logo.png"])
def test_a_path_is_read_as_browsers_read_it(folder, node, src):
    folder.write("my logo.png", LOGO)
    html(folder, f'<img src="{src}">')

    assert pictures(messages_of(folder)[0], node)[0][1:] == ("my logo.png", "image/png", LOGO)


@pytest.mark.parametrize("src", ["", " ", "cid:logo", "CID:logo", "http://example.com/a.png", "HTTPS://example.com/a", "//example.com/a.png", "blob:x", "about:blank", "x-any:y"])
def test_what_is_elsewhere_stays_as_it_is(folder, src):
    html(folder, f'<img src="{src}">')

    composer, (rendered, _) = composed(folder)

    assert f'<img src="{src}">' in rendered.html and rendered.pictures == ()
    assert email.message_from_bytes(composer.message(rendered, 0).octets).get_content_type() == "multipart/alternative"


@pytest.mark.parametrize("src", [f"data:image/png;base64,{base64.b64encode(LOGO).decode()}", "DATA:image/PNG;a=b; Base64," + base64.encodebytes(LOGO).decode(),
                                 "data:image/png;base64," + base64.b64encode(LOGO).decode().rstrip("=").replace("+", "%2B"),
                                 "data:image/png," + "".join(f"%{octet:02x}" for octet in LOGO)])
def test_a_data_uri_becomes_a_part(folder, node, src):
    """traps B5: Gmail drops data: URIs."""
    html(folder, f"<img src='{src}'>")

    for message in messages_of(folder):
        assert [part[1:] for part in pictures(message, node)] == [("image.png", "image/png", LOGO)]


def test_a_data_uri_may_be_text(folder, node):
    """traps B5."""
    html(folder, '<img src="data:image/svg+xml;charset=utf-8,' + SVG.replace("#", "%23") + '">')

    assert pictures(messages_of(folder)[0], node)[0][1:] == ("image.svg", "image/svg+xml", SVG.encode())


@pytest.mark.parametrize(("src", "words"), [
    ("data:image/png;base64,AAA*", "not base64"), ("data:image/png;base64,AAAAA", "not base64"), ("data:image/png;base64,", "is empty"), ("data:image/png", "is no picture"),
    ("data:,hello", "is no picture"), ("data:text/html;base64,AAAA", "is no picture"), ("data:image/svg+xml,<svg fill='#fff'/>", "holds a #"), ("data:image/a b,x", "is no picture"),
    ("data:image/png\r\nX-Evil: 1,x", "is no picture")])
def test_a_data_uri_that_is_no_picture_is_told(folder, src, words):
    """traps B5; such as "is no picture" with the template's line and the row."""
    html(folder, f'<img src="{src}">')

    error = fault(folder)

    assert words in error.what and error.do and len(error.what) < 200
    assert str(error.where) == "digest.html, line 3, row 2 of the recipients"


@pytest.mark.parametrize(("src", "words"), [
    ("gone.png", '"gone.png": there is no such file'), ("file:///etc/logo.png", "no path inside the project"), ("file:logo.png", "no path inside the project"), ("/logo.png", "no path inside"),
    ("%2Flogo.png", "no path inside"), (r"C:\logo.png", "no path inside"), ("c:/logo.png", "no path inside"), (r"\\server\logo.png", "no path inside"), (r"art\logo.png", "no path inside"),
    ("../logo.png", "leads out of the project's root"), ("out.png", "leads out of the project's root"), (".env", "holds secrets"), (".postroom/a.png", "holds secrets"), ("digest.txt", "is no picture"),
    ("logo", "is no picture"), ("art", "is not a regular file"), ("logo.png?v=2", '"logo.png?v=2"; in the name of a file ? and #'), ("logo.png#top", "in the name of a file"), ("a%00b.png", "no path inside")])
def test_a_src_that_leads_nowhere_or_out_is_told_with_its_line_and_row(folder, tmp_path_factory, src, words):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.write_bytes(LOGO)
    folder.write("logo.png", LOGO)
    folder.write("logo", LOGO)
    folder.write("art/logo.png", LOGO)
    folder.write(".env", "A=1\n")
    folder.write(".postroom/a.png", LOGO)
    os.symlink(outside, folder.path / "out.png")
    html(folder, f'<img src="{src}">')

    error = fault(folder)

    assert words in error.what and error.do
    assert str(error.where) == "digest.html, line 3, row 2 of the recipients"


def test_a_src_that_a_cell_brought_is_told_with_its_row(folder):
    folder.write("recipients.csv", "email,first_name,photo\nann@example.com,Ann,\nzoe@example.com,Zoë,gone.png\n")
    html(folder, '{% if photo %}<img src="{{ photo }}">{% endif %}')

    assert str(fault(folder).where) == "digest.html, row 3 of the recipients"


def test_a_src_in_an_include_is_told_with_the_includes_line(folder):
    folder.write("parts/foot.html", '\n\n<img data-src="gone.png"\nsrc="gone.png">')
    html(folder, '<i>src="gone.png.bak"</i>{% include "parts/foot.html" %}')

    assert str(fault(folder).where) == "parts/foot.html, line 4, row 2 of the recipients"


def test_check_tells_a_missing_picture_and_sends_nothing(folder):
    html(folder, '<img src="gone.png">')

    said = postroom("check", "campaign.yaml")

    assert said.exit == 2 and 'digest.html, line 3, row 2 of the recipients: "gone.png": there is no such file (and so for 1 more row).' in said.err


def test_the_same_picture_twice_is_one_part(folder, node):
    folder.write("logo.png", LOGO)
    html(folder, '<img src="logo.png"><img src="./logo.png"><IMG SRC=\'logo%2Epng\'>')

    message = messages_of(folder)[0]

    assert len({content_id for content_id, *_ in pictures(message, node)}) == 1 and message.octets.count(b"Content-ID:") == 1


def test_two_pictures_of_one_name_are_two_parts(folder, node):
    folder.write("a/logo.png", LOGO)
    folder.write("b/logo.png", OTHER)
    html(folder, '<img src="a/logo.png"><img src="b/logo.png">')

    first, second = pictures(messages_of(folder)[0], node)

    assert (first[1:], second[1:]) == (("logo.png", "image/png", LOGO), ("logo.png", "image/png", OTHER)) and first[0] != second[0]


def test_a_picture_in_images_keeps_its_name_there(folder, node):
    folder.write("logo.png", LOGO)
    folder.write("foot.png", OTHER)
    html(folder, '<img src="foot.png"><img src="cid:logo"><img src="logo.png">', "images: {logo: logo.png}\n")

    message = messages_of(folder)[0]

    (foot, *_), *named = pictures(message, node)
    assert named == [("logo", "logo.png", "image/png", LOGO)] * 2 and foot.endswith("@embedded")
    assert [part["content-id"] for part in email.message_from_bytes(message.octets).walk() if part["content-id"]] == ["<logo>", f"<{foot}>"]


@pytest.mark.parametrize("images", ["[a.png, b.png]", "{0: a.png, 1: b.png}"])
def test_images_by_number_are_shown_by_number(folder, node, images):
    folder.write("a.png", LOGO)
    folder.write("b.png", OTHER)
    html(folder, '<img src="cid:1"><img src="cid:0">', f"images: {images}\n")

    assert pictures(messages_of(folder)[0], node) == [("1", "b.png", "image/png", OTHER), ("0", "a.png", "image/png", LOGO)]


@pytest.mark.parametrize(("lines", "place"), [("images:\n  - a.png\n  - gone.png\n", "line 16, column 5"), ("images: {0: a.png, logo: gone.png}\n", "line 14, column 20")])
def test_an_image_that_is_missing_is_told_with_its_line_and_column(folder, lines, place):
    folder.write("a.png", LOGO)
    folder.more(lines)

    with pytest.raises(Faults) as faults:
        composed(folder)
    assert [str(error) for error in faults.value.errors] == [f'campaign.yaml, {place}: "gone.png": there is no such file.']


def test_images_without_html_are_refused(folder):
    folder.write("a.png", LOGO)
    folder.campaign(CAMPAIGN.replace("html: digest.html\n", "") + "images: [a.png]\n")

    with pytest.raises(Faults, match="`images` are shown in HTML, but there is no `html`"):
        composed(folder)


def test_a_row_without_pictures_has_no_level_for_them(folder):
    folder.write("logo.png", LOGO)
    html(folder, '{% if first_name == "Ann" %}<img src="logo.png">{% endif %}')

    assert [email.message_from_bytes(one.octets).get_content_type() for one in messages_of(folder)] == ["multipart/related", "multipart/alternative"]


def test_html_and_text_and_a_picture_and_a_file_nest_as_they_should(folder):
    """traps B4: mixed(related(alternative(plain, html), image), pdf), the body once."""
    folder.write("logo.png", LOGO)
    folder.write("terms.pdf", b"%PDF")
    html(folder, '<img src="logo.png">', "attachments: terms.pdf\n")

    def shape(part):
        inner = f"({' '.join(map(shape, part.get_payload()))})" if part.is_multipart() else ""
        return part.get_content_subtype() + inner

    octets = messages_of(folder)[0].octets
    assert shape(email.message_from_bytes(octets)) == "mixed(related(alternative(plain html) png) pdf)"
    assert octets.count(b"Hello Ann") == 2


def test_the_same_input_gives_the_same_octets_and_another_picture_another_digest(folder):
    folder.write("logo.png", LOGO)
    html(folder, '<img src="logo.png">')
    first, again = messages_of(folder)[0], messages_of(folder)[0]

    folder.write("logo.png", OTHER)

    assert first == again and messages_of(folder)[0].digest != first.digest


@pytest.mark.parametrize("cell", ["logo.png", "data:image/png;base64," + base64.b64encode(random.Random(3).randbytes(70_000)).decode()])
def test_the_size_told_beforehand_holds_the_pictures(folder, cell):
    folder.write("logo.png", random.Random(4).randbytes(90_000))
    html(folder, f'<img src="{cell}">')

    composer, rendered = composed(folder)

    for one in rendered:
        assert 70_000 < len(composer.message(one, 0).octets) <= one.size


def test_an_edition_stops_when_a_picture_of_everybody_changed(folder, relay):
    """Half of the people would get another picture. What a cell brought may change, as the rest of its row may."""
    folder.write("logo.png", LOGO)
    folder.write("zoe.png", LOGO)
    folder.write("ann.png", LOGO)
    folder.write("recipients.csv", "email,first_name,photo\nann@example.com,Ann,ann.png\nzoe@example.com,Zoë,zoe.png\n")
    html(folder, '<img src="logo.png"><img src="{{ photo }}">')
    folder.relay(relay.port)
    assert postroom("send", "campaign.yaml", "--yes", "--limit", "1").exit == 0
    folder.write("zoe.png", OTHER)
    folder.write("logo.png", OTHER)

    said = postroom("send", "campaign.yaml", "--yes")

    assert (said.exit, len(relay.taken)) == (2, 1) and "logo.png changed since this edition's first mail" in said.err and "zoe.png" not in said.err
    folder.write("logo.png", LOGO)
    assert postroom("send", "campaign.yaml", "--yes").exit == 0 and len(relay.taken) == 2


def test_a_picture_that_changes_under_our_hands_stops_the_message(folder):
    folder.write("logo.png", LOGO)
    html(folder, '<img src="logo.png">')
    composer, (rendered, _) = composed(folder)
    folder.write("logo.png", OTHER)

    with pytest.raises(PostroomError, match="changed while it was used"):
        composer.message(rendered, 0)


def test_a_picture_of_everybody_is_read_once(folder, monkeypatch):
    folder.write("logo.png", LOGO)
    html(folder, '<img src="logo.png">')
    composer, (rendered, _) = composed(folder)
    reads = []
    monkeypatch.setattr(composer.files.project, "read", lambda path, *_: reads.append(path) or LOGO)

    for _ in range(5):
        composer.message(rendered, 0)

    assert len(reads) == 1


def test_a_picture_for_each_is_not_kept_for_all(folder):
    """A code for each of a million: what is kept of data: URIs is bounded."""
    html(folder, '<img src="{{ code }}">')
    folder.write("recipients.csv", "email,first_name,code\nann@example.com,Ann,cid:none\n")
    composer, _ = composed(folder)

    tracemalloc.start()
    for number in range(400):
        row = {"email": "p@example.com", "first_name": "P", "code": "data:image/png;base64," + base64.b64encode(random.Random(number).randbytes(60_000)).decode()}
        composer.message(composer.render(row, number + 2, "p"), 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 24 << 20


def test_the_preview_shows_the_picture(folder):
    folder.write("logo.png", LOGO)
    html(folder, '<img src="logo.png">')

    assert postroom("preview", "campaign.yaml", "--output", "seen").exit == 0

    shown = (folder.path / "seen" / "messages" / "0001.html").read_text()
    link, = re.findall(r'<img src="([^"]+)"', shown)
    assert (folder.path / "seen" / "messages" / link).read_bytes() == LOGO
