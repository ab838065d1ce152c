"""Text out of HTML: what a newsletter shows, in reading order, and nothing of what it hides."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CAMPAIGN
from postroom.compose.plaintext import plain_text
from running import composed

FILLER = "&zwnj;&nbsp;" * 60 + "&#847; " * 60 + "&#8203;&#65279;&shy;" * 20
NEWSLETTER = f"""<!doctype html><html><head><title>News</title><style>.x {{ color: red }} @media (max-width: 600px) {{ .y {{ display: none }} }}</style></head>
<body><div style="DISPLAY: none !important; max-height:0">Only the inbox shows this.{FILLER}</div>
<span style="font-size:1px; opacity:0">And this.</span>{FILLER}
<table role="presentation" width="100%"><tr><td align="center"><table width="600" border="0"><tr><td>
  <table><tr><td><img src="cid:logo" alt="Kiln Street" style="display:block"></td><td>No. 31<br>November</td></tr></table>
  <h1>The beans came home</h1><p>&nbsp;</p><p>Dear Ann,</p><br><br><br>
  <p class="y">they are <a href="https://example.org/beans?a=1&amp;b=2">back</a>.</p>
  <table><tr><td><a href="https://example.org/choose" style="display:inline-block;mso-hide:all">Choose&nbsp;yours</a></td></tr></table>
</td></tr></table></td></tr></table>
<img src="https://example.org/open.gif?id=7" width="1" height="1" alt="open"></body></html>"""


def test_a_newsletter_reads_as_a_letter():
    """traps B9: no CSS, no preheader, no filler, no runs of blank lines, no pixel; link targets kept."""
    assert plain_text(NEWSLETTER) == (
        "Kiln Street\n\nNo. 31\nNovember\n\nThe beans came home\n\nDear Ann,\n\nthey are back[1].\n\nChoose\u00a0yours[2]\n\n"
        "[1] https://example.org/beans?a=1&b=2\n[2] https://example.org/choose\n")


@pytest.mark.parametrize("hidden", [
    '<div style="display:none">no</div>', "<div style='DISPLAY : NONE!important'>no</div>", '<p style="visibility:hidden">no</p>', "<p hidden>no</p>",
    '<div style="max-height:0px;overflow:hidden">no</div>', '<div style="font-size:0;opacity:0">no</div>', '<div style="opacity:0.0;font-size:1px">no</div>',
    "<style>.no{display:none}</style><p class='a no'>no</p>",
    "<style>/* .x{ */ p.no, #b {\n visibility : hidden !important }</style><p class=no>no</p><b id=b>no</b>",
    "<template>no</template><script>no</script><title>no</title>", "<!-- no --><!--[if mso]>no<![endif]-->"])
def test_what_no_program_shows_is_left_out(hidden):
    assert plain_text(f"<p>yes</p>{hidden}") == "yes\n"


@pytest.mark.parametrize("shown", [
    '<div style="font-size:0">yes</div>', '<div style="max-height:0">yes</div>', '<div style="mso-hide:all">yes</div>', '<div aria-hidden="true">yes</div>',
    "<style>@media print{.a{display:none}} @media x { p{} .a{display:none} }</style><p class=a>yes</p>",
    "<style>.a{display:none}.a{display:block}</style><p class=a>yes</p>",
    "<style media='(max-width:600px)'>.a{display:none}</style><p class=a>yes</p>", "<style>.b .a, .a:hover, [x] .a{display:none}</style><p class=a>yes</p>",
    "<style>.a{display:none}</style><p class=a style='display:block'>yes</p>", "<style>p.a{display:none}</style><div class=a>yes</div>",
    "<!--[if !mso]><!--><p>yes</p><!--<![endif]-->"])
def test_what_some_program_shows_is_kept(shown):
    """font-size:0 closes gaps between columns, mso-hide:all stands on buttons that Outlook has another drawing of."""
    assert plain_text(shown) == "yes\n"


@pytest.mark.parametrize("table", [
    "<table role=presentation><tr><td>one<td>two<tr><td>three<td>four</table>", "<table><tr><td>one<td>two</table>", "<table><tr><td>one<tr><td>two</table>",
    "<table><tr><td><p>one</p><td><p>two</p><tr><td><h2>three</h2><td>four</table>", "<table><tr><th><p>one</p><th><p>two</p><tr><th>three<th>four</table>",
    "<table><tr><td>one<td><table><tr><td>two</table><tr><td>three<td>four</table>", "<table><tr><td><img alt=one><td>two<tr><td>three<td>four</table>"])
def test_a_table_that_only_places_things_is_unfolded_in_reading_order(table):
    """traps B9."""
    words = ["one", "two", "three", "four"] if "three" in table else ["one", "two"]

    assert plain_text(table) == "\n\n".join(words) + "\n"


def test_long_columns_stand_one_below_the_other():
    left, right = "left " * 12, "right " * 12

    text = plain_text(f"<table><tr><td>{left}<td>{right}<tr><td>{left}<td>{right}</table>")

    assert text == "\n\n".join([left.strip(), right.strip()] * 2) + "\n"


@pytest.mark.parametrize("table", [
    "<table><tr><td>Beans<td>4.50<tr><td>Total<td>104.50</table>", "<table><tr><td>Beans<td>4.50<tr><th>Total<td>\n  <p>104.50</p>\n</table>",
    "<table role=table><tr><td><p>Beans<td>4.50<tr><td>Total<td>104.50</table>",
    "<table><thead><tr><th><div>Beans</div><th>4.50</thead><tr><td>Total<td>104.50</table>"])
def test_a_table_of_data_stays_one(table):
    assert plain_text(table) == "Beans  4.50\nTotal  104.50\n"


def test_a_caption_stands_in_front_of_its_table():
    assert plain_text("<table><caption>Order 7</caption><tr><td>Beans<td>4.50</table>") == "Order 7\n\nBeans  4.50\n"


def test_a_link_s_target_is_noted_once():
    html = ("<a href='https://a.test/'>one</a> <a href=' https://a.test/\n'>two</a> "
            "<a href='https://b.test/x y'>three</a> <a href='#top'>top</a> <a name=x>x</a>")

    assert plain_text(html) == "one[1] two[1] three[2] top x\n\n[1] https://a.test/\n[2] https://b.test/x%20y\n"


@pytest.mark.parametrize(("words", "target"), [
    ("https://a.test/b", "https://a.test/b"), ("www.a.test", "https://www.a.test/"), ("http://a.test", "http://a.test/"), ("ann@a.test", "mailto:ann@a.test"),
    ("+49 (30) 12-34", "tel:+49301234"), ("+49 30 1234", "tel:+49%2030%201234")])
def test_a_link_that_shows_its_target_needs_no_note(words, target):
    assert plain_text(f"<p>See <a href='{target}'>{words}</a>.</p>") == f"See {words}.\n"


@pytest.mark.parametrize(("target", "note"), [("mailto:ann@a.test", "ann@a.test"), ("mailto:ann@a.test?subject=leave%207",
    "mailto:ann@a.test?subject=leave%207"),
                                              ("tel:+4930", "tel:+4930"), ("https://a.test", "https://a.test")])
def test_a_link_with_other_words_has_its_target_below(target, note):
    assert plain_text(f"<a href='{target}'>a.test</a>") == f"a.test[1]\n\n[1] {note}\n"


def test_the_mark_stands_behind_the_last_words_of_a_link_around_blocks():
    html = "<a href='https://a.test'><table><tr><td><h2>Beans</h2><p>read <b>on</b>\n</p></td></tr></table></a><p><a href='https://b.test'> now\n</a>please</p>"

    assert plain_text(html) == "Beans\n\nread on[1]\n\nnow[2] please\n\n[1] https://a.test\n[2] https://b.test\n"


def test_a_picture_that_is_a_link_keeps_its_target():
    assert plain_text("<a href=u1><img alt='One'></a><a href=u2><img alt='Two'></a>") == "One[1] Two[2]\n\n[1] u1\n[2] u2\n"
    assert plain_text("<a href=u1><img alt=''></a>") == "[1]\n\n[1] u1\n"
    assert plain_text("<a href=u1><img alt=''></a><a href=u1>One</a>") == "One[1]\n\n[1] u1\n"
    assert plain_text("<a href=u1><table><tr><td><a href=u1>One</a></table></a>") == "One[1]\n\n[1] u1\n"


@pytest.mark.parametrize("pixel", ["<img src=x alt=''>", "<img src=x>", "<img src=x alt='o' width=1 height=1>",
    "<img src=x alt='o' style='width:1px;height:0'>"])
def test_pictures_that_say_nothing_leave_nothing(pixel):
    """traps B9."""
    assert plain_text(f"<p>a{pixel}</p>") == "a\n"


def test_letters_that_need_a_joiner_keep_it():
    words = "می\u200cخواهم 👩\u200d👩\u200d👧 ه\u200d ۱ a\u00a0b क\u094d\u200dष　　你好"

    assert plain_text(f"<p>x {words}</p>") == f"x {words}\n"
    assert plain_text("<p>do&shy;nau a&nbsp;&nbsp; b &zwnj; &zwnj; c</p><p>&nbsp;</p><p>&zwnj;</p><p>&nbsp;d</p><p>&nbsp; &nbsp;e</p>") == "donau a b c\n\nd\n\ne\n"


def test_code_keeps_its_indent_and_other_blocks_stand_apart():
    html = "<pre>if a:\n    b\n</pre><center>c</center>d<form>e</form><span style='display:block'>f</span>g"

    assert plain_text(html) == "if a:\n    b\n\nc\n\nd\n\ne\n\nf\n\ng\n"


PIECES = st.sampled_from([
    "<table>", "<table role=presentation>", "<tr>", "<td>", "<th>", "</td>", "</tr>", "</table>", "<caption>", "<thead>", "<p>", "</p>", "<div style='display:none'>", "</div>",
    "<a href='https://a.test'>", "<a href=b>", "</a>", "<img alt=x>", "<img width=1 height=1>", "<br>", "<ul>", "<li>", "</ul>", "<style>.a{display:none}", "</style>", "<i class=a>",
    "<template>", "<svg>", "<select>", "<!--", "-->", "<pre>", "&nbsp;", "&zwnj;", "&shy; ", "\u0000", "<center>", "<frameset>", "<title>", "<math><mi>", "<b hidden>", "{}", "word ", "日本"])


@settings(max_examples=400)
@given(st.lists(PIECES | st.text(max_size=8), max_size=40).map("".join))
def test_any_html_gives_a_text_without_runs_of_blank_lines(html):
    """traps B9."""
    text = plain_text(html)

    assert text.endswith("\n") and "\n\n\n" not in text
    assert not re.search("[\u00ad\ufeff]|[\u200c\u00a0]{2}|[ \u00a0]\n", text)
    assert plain_text(html) == text


@pytest.mark.parametrize("unit", ["<table><tr><td>", "<a href=x><table><tr><td>w", "<table><caption>", "<div style='a:b' class=x>", "<center>", "<li>",
                                  "<style>.a{display:none}</style><p class=a>", "<style>@{", "<style>/* ", "&zwnj;&nbsp;", "<table><tr><td>a<td>b<tr><td>c<td>d</table>"])
def test_depth_and_length_cost_no_more_than_their_share(unit):
    """Five thousand nested tables within a second."""
    for times, most_seconds in ((5_000, 1), (40_000, 5)):
        started = time.process_time()
        plain_text(unit * times)
        assert time.process_time() - started < most_seconds


def test_a_campaign_without_a_text_template_sends_this_text(folder):
    folder.campaign(CAMPAIGN.replace("text: digest.txt\n", ""))
    folder.write("digest.html", NEWSLETTER.replace("Ann", "{{ first_name }}"))

    assert [one.text for one in composed(folder)[1]] == [plain_text(NEWSLETTER), plain_text(NEWSLETTER.replace("Ann", "Zoë"))]
