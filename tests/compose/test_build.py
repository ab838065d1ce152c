"""A campaign and a row to octets: what went in is what two independent parsers read."""

import email
import email.policy
import hashlib

import pytest

from conftest import CAMPAIGN
from full_campaign import FULL, FULL_ROWS, PNG, envelope_of, must_read, write_full
from parsers import with_python
from postroom.errors import Faults, PostroomError
from postroom.message import checked
from running import composed, messages_of


@pytest.fixture
def full(folder):
    write_full(folder)
    return folder


def readings(message, node):
    return with_python(message.octets), node.parse(message.octets)


def test_two_parsers_read_what_went_in(full, node):
    for row, message in zip(FULL_ROWS, messages_of(full), strict=True):
        for read in readings(message, node):
            must_read(read, row, message.octets)
            assert read.message_id == message.message_id
        assert message.envelope.recipients == envelope_of(row)


def test_parts_nest_as_mail_programs_expect(full):
    """mixed( related( alternative( plain, html ), image ), files ): with another nesting Apple Mail shows the body twice."""
    mail = email.message_from_bytes(messages_of(full)[0].octets)

    def shape(part):
        inner = f"({' '.join(map(shape, part.get_payload()))})" if part.is_multipart() else ""
        return part.get_content_subtype() + inner

    assert shape(mail) == "mixed(related(alternative(plain html) png) plain msword)"


@pytest.mark.parametrize(("more", "drop", "shape"), [
    ("", None, "multipart/alternative"), ("", "text", "multipart/alternative"), ("text: none\n", "text", "text/html"), ("", "html", "text/plain"),
    ("images: {logo: logo.png}\n", None, "multipart/related"), ("attachments: logo.png\n", None, "multipart/mixed")])
def test_a_level_that_would_hold_one_part_is_left_out(folder, more, drop, shape):
    folder.write("logo.png", PNG)
    folder.campaign(CAMPAIGN.replace(f"{drop}: digest.{'txt' if drop == 'text' else 'html'}\n", "") + more)

    assert [email.message_from_bytes(one.octets).get_content_type() for one in messages_of(folder)] == [shape, shape]


def test_the_octets_keep_every_rule_of_the_wire(full):
    for message in messages_of(full):
        checked(bytes(message.octets))
        head = message.octets.partition(b"\r\n\r\n")[0]
        assert max(map(len, head.split(b"\r\n"))) <= 78
        assert message.octets.isascii()


def test_what_two_messages_have_in_common_is_held_once(folder):
    folder.write("logo.png", PNG * 100)
    folder.campaign(CAMPAIGN + "images: {logo: logo.png}\n")

    first, second = messages_of(folder)

    of_both = [piece for piece in first.content.pieces if any(piece is other for other in second.content.pieces)]
    assert len(PNG) * 100 < sum(map(len, of_both)) < len(first.octets) == len(first.content)


def test_the_same_input_gives_the_same_octets_and_each_row_its_own_id(full):
    first, second = messages_of(full), messages_of(full)

    assert [one.octets for one in first] == [one.octets for one in second]
    assert len({one.message_id for one in first}) == len(first)
    later = messages_of(full, date=1_795_000_060)
    assert [one.message_id for one in later] == [one.message_id for one in first]
    assert [one.digest for one in later] == [one.digest for one in first]
    assert later[0].octets != first[0].octets


@pytest.mark.parametrize("change", [("campaign.yaml", "digest\"", "digest!\""), ("digest.html", "Hello", "Hallo"), ("digest.txt", "Hello", "Hallo"),
                                    ("terms.txt", "terms", "Terms"), ("campaign.yaml", "november", "december"), ("campaign.yaml", "name: digest", "name: other")])
def test_whatever_a_reader_could_see_changes_the_digest(full, change):
    name, before, after = change
    first = messages_of(full)

    content = (full.path / name).read_bytes()
    assert before.encode() in content
    full.write(name, content.replace(before.encode(), after.encode()))

    assert all(new.digest != old.digest for new, old in zip(messages_of(full), first, strict=True))


def test_the_headers_say_once_what_must_be_said(full):
    mail = email.message_from_bytes(messages_of(full)[0].octets, policy=email.policy.default)

    for name in ("Date", "Message-ID", "From", "To", "Cc", "Subject", "MIME-Version", "Precedence", "List-Unsubscribe", "List-Unsubscribe-Post"):
        assert len(mail.get_all(name)) == 1, name
    assert mail["Message-ID"].endswith("@example.com>")
    assert mail["Precedence"] == "bulk"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["X-Campaign"] == 'november O\'Neil, "Ann" <b>'


def test_the_way_out_stands_in_the_header_and_in_the_templates(full, node):
    read = node.parse(messages_of(full)[0].octets)
    raw = email.message_from_bytes(messages_of(full)[0].octets)["List-Unsubscribe"]

    link = raw.partition("<")[2].partition(">")[0]
    assert link.startswith("https://example.com/u/") and len(link) == len("https://example.com/u/") + 27
    assert f"href='{link}'" in read.html
    assert raw.replace("\r\n", "").endswith(f", <mailto:leave@example.com?subject=unsubscribe%20{link[-27:]}>")


def test_the_token_is_the_same_for_years_and_another_for_everybody(full):
    def tokens():
        return [email.message_from_bytes(one.octets)["List-Unsubscribe"].split(">")[0] for one in messages_of(full)]

    first = tokens()
    full.campaign(FULL.replace("2026-11", "2027-03"))

    assert tokens() == first and len(set(first)) == 3
    full.campaign(FULL.replace("s3cret", "other"))
    assert not set(tokens()) & set(first)


@pytest.mark.parametrize(("kind", "header", "value"), [("personal", "Precedence", None), ("notice", "Auto-Submitted", "auto-generated")])
def test_the_kind_says_what_machines_should_know(full, kind, header, value):
    full.campaign(FULL.replace("kind: newsletter", f"kind: {kind}"))

    assert email.message_from_bytes(messages_of(full)[0].octets)[header] == value


def test_the_envelope_names_each_address_once(full):
    full.write("recipients.csv", "email,first_name,second,doc\nann@example.com,Ann,ANN@example.com,a.bin\n")

    assert messages_of(full)[0].envelope.recipients == ("ann@example.com", "boss@xn--mnchen-3ya.de", "archive@example.com")


def test_a_cell_is_data_and_never_a_template_or_a_variable(folder, node):
    folder.write("recipients.csv", 'email,first_name\nann@example.com,"{{ 7*7 }} ${HOME} <b> & {% x %}"\n')

    for read in readings(messages_of(folder)[0], node):
        assert read.text.strip() == "Hello {{ 7*7 }} ${HOME} <b> & {% x %}"
        assert "Hello {{ 7*7 }} ${HOME} &lt;b&gt; &amp; {% x %}" in read.html
        assert read.subject == "{{ 7*7 }} ${HOME} <b> & {% x %}, your November digest"


@pytest.mark.parametrize("name", ["O'Leary", "A & B", "1 < 2", '"Ann"', "a &amp; b"])
def test_a_name_is_raw_in_subject_and_text_and_escaped_once_in_html(folder, node, name):
    """traps B7."""
    folder.write("recipients.csv", f'email,first_name\nann@example.com,"{name.replace(chr(34), chr(34) * 2)}"\n')

    for read in readings(messages_of(folder)[0], node):
        assert (read.subject, read.text) == (f"{name}, your November digest", f"Hello {name}\n")
        escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;").replace('"', "&#34;")
        assert read.html == f"<!doctype html><html><body><p>Hello {escaped}</p></body></html>\n"


@pytest.mark.parametrize("page", ["<p>" + "word " * 400 + "</p>\n", "x" * 2000 + "\n", '<a href="https://example.com/' + "a" * 2000 + '">x</a>\n', "<p>" + "若水" * 1000 + "</p>\n"])
def test_a_long_line_of_html_is_short_on_the_wire_and_reads_the_same(folder, node, page):
    """traps B1: mail sent with 8 bits had line breaks put into its links."""
    folder.write("digest.html", page)

    message = messages_of(folder)[0]

    assert max(map(len, message.octets.split(b"\r\n"))) <= 78
    assert [read.html for read in readings(message, node)] == [page, page]


@pytest.mark.parametrize("link", ["https://example.com/?a=b&c=3D&d==3D=20=", "https://example.com/?q==C3=A9=\u00e9", "https://example.com/=?utf-8?q?x?=", "https://example.com/%3D=0D=0A"])
def test_a_link_with_equals_signs_is_the_same_when_it_is_decoded(folder, node, link):
    """traps B2."""
    folder.write("digest.html", f'<a href="{link}">x</a> ' + "=3D=" * 100 + "\n")
    folder.write("digest.txt", f"{link}\n")

    for read in readings(messages_of(folder)[0], node):
        assert (read.html, read.text) == (f'<a href="{link}">x</a> ' + "=3D=" * 100 + "\n", f"{link}\n")


def test_html_is_escaped_by_its_role_not_by_its_file_name(folder):
    folder.write("page.tmpl", "<p>{{ first_name }}</p>")
    folder.write("digest.txt.html", "{{ first_name }}")
    folder.campaign(CAMPAIGN.replace("digest.html", "page.tmpl").replace("digest.txt", "digest.txt.html"))
    folder.write("recipients.csv", "email,first_name\nann@example.com,A & B\n")

    rendered = composed(folder)[1][0]

    assert (rendered.html, rendered.text) == ("<p>A &amp; B</p>", "A & B")


def test_without_a_text_template_the_text_is_made_with_its_links(folder):
    folder.campaign(CAMPAIGN.replace("text: digest.txt\n", ""))
    folder.write("digest.html", '<style>p{}</style><div style="display:none">hidden</div><table role="presentation"><tr><td><p>Hello {{ first_name }}</p></td>'
                 '<td><a href="https://example.com/?a=b&amp;c=d">Read on</a></td></tr></table>')

    text = composed(folder)[1][0].text

    assert "Hello Ann" in text and "Read on" in text and "https://example.com/?a=b&c=d" in text
    assert "hidden" not in text and "p{}" not in text and "|" not in text


def test_templates_include_and_inherit_from_beside_them(folder):
    folder.write("parts/base.html", "<main>{% block body %}{% endblock %}{% include 'parts/foot.html' %}</main>")
    folder.write("parts/foot.html", "<i>{{ first_name }}</i>")
    folder.write("digest.html", "{% extends 'parts/base.html' %}{% block body %}<p>hello</p>{% endblock %}")

    assert composed(folder)[1][0].html == "<main><p>hello</p><i>Ann</i></main>"


@pytest.mark.parametrize("template", ["{{ 'x' * 9999999999 }}", "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
                                      "{{ ''.__class__.__mro__ }}", "{{ 9 ** (9 ** 9) }}", "{% include 'digest.html' %}", "{{ self.__init__.__globals__ }}",
                                      "{{ first_name.format.__globals__ }}", "{{ '%999999999d' % 1 }}", "{{ '%*d' % (999999999, 1) }}", "{{ '%999999999d'|format(1) }}",
                                      "{{ '{:>999999999}'.format(1) }}", "{{ '{:>{w}}'.format(1, w=999999999) }}", "{{ 'x'.center(999999999) }}",
                                      "{{ 'x'|center(999999999) }}", "{{ 'a\nb'|indent(999999999) }}", "{{ '1'.zfill(width) }}", "{{ [1]|batch(99999999, 0)|list }}",
                                      "{{ ('x' * 999999).replace('x', 'y' * 999) }}", "{{ ('x' * 999999)|replace('x', 'y' * 999) }}", "{{ lipsum(9999999) }}",
                                      "{{ [1, 2]|random }}", "{{ now.__class__.__base__ }}"])
def test_a_template_can_neither_break_out_nor_fill_the_machine(folder, template):
    folder.more("vars: {width: 999999999}\n")
    folder.write("digest.html", template)

    with pytest.raises(PostroomError) as error:
        composed(folder)
    assert error.value.where.file == "digest.html"


def test_an_undefined_attribute_of_row_names_the_column(folder):
    folder.write("digest.html", '{{ row["Last Name"] }}')

    with pytest.raises(PostroomError, match='there is no column "Last Name"'):
        composed(folder)


def test_columns_with_odd_names_are_reached_by_row(folder):
    folder.write("recipients.csv", "email,first_name,Last Name,none,class\nann@example.com,Ann,Lee,x,y\n")
    folder.write("digest.html", '{{ row["Last Name"] }}{{ row["none"] }}{{ row["class"] }}')

    composer, (rendered,) = composed(folder)

    assert rendered.html == "Leexy"
    assert [warning.what for warning in composer.warnings()] == [f'the column "{name}" is no plain name in templates' for name in ("Last Name", "none", "class")]


def test_a_column_that_is_also_a_var_is_a_fault(folder):
    folder.more("vars: {first_name: x}\n")

    with pytest.raises(Faults, match="both a column and in `vars`"):
        composed(folder)


def test_a_file_that_changes_under_our_hands_stops_the_message(full):
    composer, rendered = composed(full)
    full.write("terms.txt", "other terms")
    composer.files._parts.clear()

    with pytest.raises(PostroomError, match="changed while it was used"):
        composer.message(rendered[0], 0)


def test_now_is_a_moment_with_the_campaigns_zone(folder):
    folder.more("timezone: Asia/Shanghai\n")
    folder.write("digest.txt", "{{ now.isoformat() }}")

    composer, rendered = composed(folder)

    assert composer.message(rendered[0], 1_795_000_000).octets.startswith(b"Date: Wed, 18 Nov 2026 19:06:40 +0800\r\n")


def test_the_digest_covers_the_file_that_is_attached_not_its_name(full):
    before = messages_of(full)
    full.write("a.bin", b"other")

    after = messages_of(full)

    assert [new.digest == old.digest for new, old in zip(after, before, strict=True)] == [False, True, False]
    assert hashlib.sha256(b"other").hexdigest() == composed(full)[1][0].files[1].sha256


@pytest.mark.parametrize("word", ["a", "ü", "若", "😀", "a ", "若 a "])
def test_the_size_told_beforehand_is_never_too_small(full, word):
    """The relay gate compares it with what the relay takes; too small, and the message would be refused in mid-run."""
    full.campaign(FULL.replace("your November digest", word * 2400).replace("november {{ first_name }}", word * 2400 + "x"))
    full.write("digest.txt", word * 5000)

    composer, rendered = composed(full)

    assert all(len(composer.message(one, 0).octets) <= one.size for one in rendered)


def test_a_long_link_to_unsubscribe_stays_as_it_is_on_its_first_line(folder, node):
    """traps H1 and H2: an encoded URL ends one-click at Gmail; a fold behind the colon breaks DKIM at some signers; no blank inside the URL."""
    link = "https://example.com/u/" + "a" * 118
    folder.more(f"unsubscribe: {{url: '{link}', mailto: leave@example.com}}\n")

    octets = messages_of(folder)[0].octets
    head = octets.partition(b"\r\n\r\n")[0]

    assert len(link) == 140 and f"\r\nList-Unsubscribe: <{link}>,\r\n <mailto:leave@example.com?subject=unsubscribe>\r\n".encode() in head
    assert head.count(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click") == 1
    assert email.message_from_bytes(octets, policy=email.policy.default)["List-Unsubscribe"].split(",")[0] == f"<{link}>"
    assert "list-unsubscribe" in node.parse(octets).headers
