"""Links of a mail: what a cell may begin one with, and what its template's author should look at."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CAMPAIGN
from postroom.check import links
from postroom.check.links import Links, odd_links
from running import postroom

PLAIN = CAMPAIGN.replace("{{ first_name }} <{{ email }}>", "{{ email }}").replace("{{ first_name }}, your", "Your")


def of_cells(template, html, **row):
    return [columns for columns, _ in Links({"digest.html": template.encode()}).of_cells(html, row)]


@pytest.mark.parametrize("cell", ["javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "\x01javascript:alert(1)", "java\nscript:alert(1)", "java\tscript:alert(1)", "vbscript:x", "data:text/html,<script>", "file:///etc/passwd",
                                  "blob:x", "intent://x", "ms-word:ofe|u|x", "search-ms:query=x", "view-source:x", "ftp://x", "sms:1", "example.com:80/x", "livescript:x", "about:blank"])
@pytest.mark.parametrize("template", ['<a href="{}">x</a>', "<a title=x href='{}?utm=1'>x</a>", '<svg><a xlink:href="{}">x</a></svg>', '<form action="{}"></form>', '<img src="{}">', '<!--[if mso]><v:rect href="{}"><![endif]-->'])
def test_a_cell_begins_a_link_only_as_mail_programs_open_them(template, cell):
    """reliability 5a: URL attributes, only http, https, mailto, tel, cid."""
    assert of_cells(template.format("{{ link }}"), template.format(cell), link=cell, name="Ann") == [["link"]]


@pytest.mark.parametrize("html", ['<a href="java&#115;cript:x">', '<a href="javascript&colon;x">', '<a href="java&Tab;script&colon;x">', '<p><a\nhref = javascript:x>'])
def test_a_cell_with_markup_of_its_own_is_read_as_a_browser_would(html):
    assert of_cells("{{ story | safe }}", html, story=html) == [["story"]]


@pytest.mark.parametrize("cell", ["https://example.com/a?b=c:d", "HTTP://EXAMPLE.COM", "mailto:a@example.com", "tel:+4930123", "cid:logo", "/a", "#a", "?a=b:c", "a/b", "", "//example.com/a:b", "*|UNSUB|*", "%%link%%", "[[link]]", "{link}", "./a:b", "ä:b", "1:2"])
def test_a_link_that_is_relative_a_placeholder_or_opened_is_none_of_them(cell):
    assert of_cells('<a href="{{ link }}">', f'<a href="{cell}">', link=cell) == []


@pytest.mark.parametrize(("template", "html", "row"), [
    ('<p>{{ note }}', "<p>javascript:alert(1) and href=javascript:x", {"note": "javascript:alert(1) and href=javascript:x"}),
    ('<a href="sms:{{ phone }}">', '<a href="sms:1">', {"phone": "1", "note": "call me: now"}),
    ('<a href="javascript:void(0)">{{ note }}', '<a href="javascript:void(0)">javascript: is a scheme', {"note": "javascript: is a scheme"}),
    ('<a title="{{ note }}" href="/x">', '<a title="javascript:x" href="/x">', {"note": "javascript:x"}),
    ('<!-- {{ note }} -->', '<!-- <a href="javascript:x"> -->', {"note": '<a href="javascript:x">'})])
def test_what_is_no_link_or_begins_in_the_template_is_no_fault(template, html, row):
    assert of_cells(template, html, **row) == []


SOUP = st.lists(st.sampled_from(["<a ", "<A\n", "<img/", "<!--[if mso]>", "<![endif]-->", "<!--", "-->", "<b>", "</a>", ">", "<", "/", "href", "HREF", "data-href", "xlink:href", "src", "style", "action", "=", "==",
                                 " = ", "\t=", '"', "'", '=" ', "javascript:", "JavaScript&colon;", "&#106;avascript:", "java\tscript:", "https://x", "HTTP:", "mailto:", "x:y", "&", "#", "\0", "\x01", " ", "é", "1", ":"]), max_size=14).map("".join)


@settings(max_examples=1000)
@given(SOUP, st.sampled_from(["", "<a href=", '<a href="', "<img src='", "<a x=1 HREF =", '<form action="\x02']))
def test_no_parser_is_asked_only_where_it_would_find_none(html, begin):
    html = f"{begin}{html}>"

    assert not list(links._odd(html)) or links.MAY_BE_ODD.search(html)


def test_a_newsletter_of_common_links_asks_no_parser():
    html = '<p style="color:red"><a href="https://x/?a=b">1</a><a href=\'mailto:a@b\'><img src="cid:logo" alt="Logo"><a href="#top"><img src=//x/y.png><a HREF="HTTP://x"></p>'

    assert not links.MAY_BE_ODD.search(html)


def test_the_row_and_the_column_are_named_and_nothing_is_sent(folder, relay):
    folder.campaign(PLAIN.replace("port: 2525", f"port: {relay.port}"))
    folder.write("digest.html", '<a href="{{ first_name }}">x</a>')
    folder.write("recipients.csv", "email,first_name\nann@example.com,https://example.com\nzoe@example.com,javascript:alert(1)\n")

    said = postroom("send", "campaign.yaml", "--yes")

    assert (said.exit, relay.connections) == (2, 0)
    assert 'recipients.csv, line 3, column first_name: "javascript:alert(1)" would be a link that begins with "javascript:".' in said.err


def test_in_the_template_itself_it_is_a_warning_once_with_its_line(folder):
    folder.campaign(PLAIN)
    folder.write("digest.html", '<p>\n<a href="javascript:void(0)">x</a> <a href="whatsapp://send?text={{ first_name }}">y</a>\n<a href="{{ first_name }}">z</a></p>')
    folder.write("recipients.csv", "email,first_name\nann@example.com,/a:b\nzoe@example.com,b\n")

    said = postroom("check", "campaign.yaml", "--json")

    assert said.exit == 0
    assert [(warning["where"]["file"], warning["where"]["line"], warning["what"].split('"')[1]) for warning in said.json["warnings"]] == [
        ("digest.html", 2, "javascript:void(0)"), ("digest.html", 2, "whatsapp://send?text=")]


def test_a_page_without_end_is_read_in_time_that_grows_with_its_length():
    assert list(odd_links("<a href='" * 200_000)) == [] and list(odd_links("<!--[if x]>" * 20_000)) == []
