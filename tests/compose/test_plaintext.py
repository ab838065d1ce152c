"""Text made from HTML: what a person would read."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.compose.plaintext import plain_text

NEWSLETTER = """<!doctype html><html><head><title>Digest</title><style>.a{color:red}</style></head><body>
<div style="display:none;max-height:0;overflow:hidden">Read me first&#847;&zwnj;&nbsp;&#847;&zwnj;&nbsp;</div>
<span style="opacity: 0; font-size:1px">and me</span><p hidden>nor me</p>
<div style="max-height:0px; overflow: hidden">nor this</div><div style="mso-hide:all">nor that</div>
<table width="600"><tr><td><table role="presentation"><tr><td style="font-size:0px"><div style="font-size:16px">Left</div></td><td>Right</td></tr></table></td></tr>
<tr><td><h1>Hello Ann</h1><p>Come <a href="https://example.com/a?b=1&amp;c=2">and see</a>.</p></td></tr>
<tr><td><img src="t.gif" width="1" height="1" alt=""><img src="x.gif" width="1" height="1" alt="beacon"><img src="logo.png" alt="Kiln Street"></td></tr>
<tr><td>&nbsp;</td></tr><tr><td>&nbsp;</td></tr><tr><td>&nbsp;</td></tr></table>
<table><tr><th>Seat</th><th>Price</th></tr><tr><td>A1</td><td>12</td></tr></table>
<p><a href="https://example.com/">example.com</a> <a href="mailto:ann@example.com">ann@example.com</a> <a href="#top">top</a> <a href="https://example.com/pixel"><img src="p.gif" alt=""></a></p>
</body></html>"""


def test_a_newsletter_is_read_from_top_to_bottom():
    """traps B9: no CSS, no preheader filler, no blank-line runs, links keep their targets."""
    assert plain_text(NEWSLETTER) == (
        "Left\n\nRight\n\nHello Ann\n\nCome and see[1].\n\nKiln Street\n\nSeat  Price\nA1    12\n\nexample.com ann@example.com top\n\n[1] https://example.com/a?b=1&c=2\n")


@pytest.mark.parametrize(("html", "text"), [
    ("<table><tr><td>Total</td><td>12</td></tr><tr><td>Due</td><td>now</td></tr></table>", "Total  12\nDue    now\n"),
    ("<table border=1><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", None),
    ("<table border=0><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", "a\n\nb\n"),
    ("<table><tr><td>one</td></tr><tr><td>two</td></tr></table>", "one\n\ntwo\n"),
    ("<p>Sehr\u200cgut می\u200cخواهم</p>", "Sehr\u200cgut می\u200cخواهم\n"),
    ("<p>a&shy;&shy;&#847;&zwnj;&nbsp;&#847; b</p>", None),
    ("<p>x</p><br><br><br><br><br><p>y</p>", "x\n\ny\n"),
    ("<a href=https://example.com/x><img src=a alt='See more'></a>", "See more[1]\n\n[1] https://example.com/x\n"),
    ("", "\n")])
def test_small_things_come_out_right(html, text):
    found = plain_text(html)

    assert text is None or found == text
    assert "\u034f" not in found and "\n\n\n" not in found


@given(st.text(alphabet=st.sampled_from("<>/=\"' abtdrp&#;:-\n\u00a0\u200c"), max_size=300) | st.lists(st.sampled_from(
    ["<table>", "</table>", "<tr>", "<td>", "</td>", "<th>", "<div style='display:none'>", "</div>", "<a href='x'>", "</a>", "<img alt=i>", "text ", "<p>", "<style>", "</style>"]),
    max_size=60).map("".join))
def test_no_html_makes_it_fail_and_no_run_of_blank_lines_comes_out(html):
    text = plain_text(html)

    assert text.endswith("\n") and "\n\n\n" not in text


def test_tables_a_thousand_deep_take_no_time():
    before = time.monotonic()

    assert plain_text("<table><tr><td>" * 1000 + "deep" + "</td></tr></table>" * 1000) == "deep\n"

    assert time.monotonic() - before < 10
