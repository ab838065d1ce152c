"""Where the pictures are in a piece of HTML: the same that an independent tokenizer finds, in a time that the length bounds."""

import re
import time

import pytest
import turbohtml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.compose.img_src import begins_picture, local_sources, may_be_local, sources, value_of

CONDITIONAL = re.compile(r"[\t\n\f ]*\[if[^\]]*\]>", re.IGNORECASE)
# Pieces that tokenizers stumble over, joined at random.
PIECES = ["<img", "<IMG", "<iMg ", "<img\n", "<img/", "<image ", "<imgs ", " src=", " SRC = ", "\nsrc\n=\n", " src ", "src=", " data-src=", " srcset=", " src:", "\"", "'", " alt='src=x.png'",
          " alt=\"a > b\"", " alt=<img ", " =src=", "/", "/>", ">", "<", "<!", "<?", "</", "</p>", "</img src=a>", "<p title=\"<img src=b.png>\">", "<a href='x>y'>", "<b c=d'e>",
          "<!--", "-->", "--!>", "<!-->", "<!--->", "--", "-", "<![CDATA[", "]]>", "<!doctype html PUBLIC \"a>b\">", "<!--[if mso]>", "<![endif]-->", "<!--[if !mso]><!-->",
          "<!--<![endif]-->", "<!--[IF gte mso 9]>", "<![if !mso]>", "[if x]>", "<style>", "</style>", "</STYLE x>", "</styles>", "<style/>", "<title>", "</title>", "<textarea>",
          "</textarea>", "<xmp>", "</xmp>", "<iframe>", "</iframe>", "a.png", "\"a.png\"", "'b c.png'", "\"\"", "cid:logo", "\"http://x.example/y\"",
          "&amp;", "&copy", "&copy=", "&#46;", "&#x2e", "若水😀", " ", "\n", "\t", "\f", "=", "x", "\"data:image/png;base64,AA==\""]
WHOLE = ["<img src=a.png>", "<img src='c > d'>", '<img src="e > f">', "<img alt='>' src='b.png'>", "<img src=http://x.example/y>", "<img alt='", "<img title=\"", "'>", "\">", " -- "]
OPENS = ["<!--", "<!--[if mso]>", "<!-- [IF x]>", "<style>", "<TITLE a='>'>", "<textarea/>", "<xmp>", "<iframe>", "<noembed>", "<noframes>", "<p title='", "<p title=\"", "<p title=", "</p a=\"",
         "<!", "<?", "</", "</ "]
CLOSES = ["-->", "--!>", "--->", "<![endif]-->", "</style>", "</title x>", "</TEXTAREA\n>", "</xmp/>", "</iframe>", "</noembed>", "</noframes>", "'>", "\">", ">"]
INNER = st.lists(st.sampled_from(WHOLE + OPENS + PIECES), max_size=4).map("".join)
BLOCK = st.tuples(st.sampled_from(OPENS), INNER, st.sampled_from(CLOSES), st.sampled_from(WHOLE)).map("".join)
HTML = st.lists(st.one_of(BLOCK, INNER, st.sampled_from(WHOLE)), min_size=1, max_size=8).map("".join)
LETTERS = st.text("<>!-/=\"' \nimgsrcIMG[]f&;", max_size=80)


def found_by_another(html, conditions=True):
    """Every picture's src as turbohtml's tokenizer reads it; a conditional comment is read again, as Outlook does."""
    for token in turbohtml.tokenize(html):
        if token.type == turbohtml.TokenType.START_TAG and token.tag == "img":
            yield token.attr("src")
        elif token.type == turbohtml.TokenType.COMMENT and conditions and (inner := CONDITIONAL.match(token.data)):
            yield from found_by_another(token.data[inner.end():], conditions=False)


def agrees(html):
    ours = [value_of(html[start:end]) for start, end in sources(html)]
    assert list(filter(None, ours)) == list(filter(None, found_by_another(html)))
    local = [html[start:end] for start, end in sources(html) if not re.match("cid:|https?:|//", html[start:end], re.IGNORECASE)]
    assert [html[start:end] for start, end in local_sources(html)] == local


@settings(max_examples=1000)
@given(HTML)
@example("<!--[if mso]><img src=a.png><![endif]--><img src=b.png>")
@example("<img src='<img src=http://x/>' src=\"b.png\"><!-- <img src=c.png> -->")
@example('<img alt="--> <img src=a.png>" src="//x"><img alt="&quot;" src=b.png/>')
@example('<img alt="x src=http:y <" src="b.png">')
@example("<img alt=a src=http:y<b src=c.png><img alt='<' src=d.png>")
def test_an_independent_tokenizer_finds_the_same_pictures(html):
    agrees(html)


@settings(max_examples=500)
@given(LETTERS)
def test_it_finds_the_same_in_any_heap_of_letters(html):
    agrees(html)


@settings(max_examples=500)
@given(st.lists(LETTERS | st.sampled_from(['<img src="a.png">', '<img src="cid:a">', "<img alt='", "<IMG ", "<i", "<", "mg src=a.png>", "' src=https://x>", 'src="b.png">']), min_size=1, max_size=7))
@example(["<", "img src=a.png>"])
@example(["<p><im", "G src=a.png>"])
@example(["<img alt=", "x src=a.png>"])
@example(["<img src='cid:a'>", "<img src=", "a.png>"])
def test_where_no_piece_begins_a_local_picture_the_whole_has_none(pieces):
    """Every second piece stands in the template and is looked at by itself; the others are gaps."""
    gaps = "\0".join(pieces[1::2]).encode()
    if not any(map(may_be_local, pieces[::2])) and not begins_picture(gaps):
        assert local_sources("".join(pieces)) == []


@pytest.mark.parametrize(("html", "found"), [
    ('<img src="a.png">', ["a.png"]), ("<img src='a.png'>", ["a.png"]), ("<img src=a.png>", ["a.png"]), ("<IMG SRC=a.png>", ["a.png"]), ("<img\nalt=x\n src\n=\n'a\nb.png'\n/>", ["a\nb.png"]),
    ('<img/src="a.png"/>', ["a.png"]), ('<img alt="x"src="a.png">', ["a.png"]), ('<img data-src="a.png">', []), ('<img alt="src=a.png">', []), ('<img alt="a > b" src="c.png">', ["c.png"]),
    ('<img src src="a.png">', []), ('<img src="a.png" src="b.png">', ["a.png"]), ("<img src=>", []), ("<img src=a.png", []), ('<img src=a.png alt="b>', []), ('<img src="a.png', []), ("<image src=a.png>", []),
    ("<!-- <img src=a.png> --><img src=b.png>", ["b.png"]), ("<!--[if mso]><img src=a.png><![endif]-->", ["a.png"]), ("<!--[if !mso]><!--><img src=a.png><!--<![endif]-->", ["a.png"]),
    ("<![if !mso]><img src=a.png><![endif]>", ["a.png"]), ("<style><img src=a.png></style>", []), ("<title><img src=a.png></title><img src=b.png>", ["b.png"]),
    ("<p title='<img src=a.png>'>", []), ("<script>'<img src=a.png>'</script><img src=b.png>", ["b.png"]), ("<noscript><img src=a.png></noscript>", ["a.png"]), ("<!--[if mso]><!-- <img src=a.png> --><img src=b.png>", ["b.png"]),
    ("<v:image src=a.png>", []), ("a < b <img src=a.png>", ["a.png"]), ("<img src=a.png/>", ["a.png/"])])
def test_a_src_is_found_as_it_is_written(html, found):
    assert [html[start:end] for start, end in sources(html)] == found


@pytest.mark.parametrize(("written", "value"), [("a&amp;b", "a&b"), ("a&copy=1", "a&copy=1"), ("a&copy.png", "a©.png"), ("a&copyright", "a&copyright"), ("&#46;&#x2F;a", "./a"), ("a&b", "a&b")])
def test_character_references_are_read_as_in_an_attribute(written, value):
    assert value_of(written) == value == turbohtml.parse(f'<img src="{written}">').select("img")[0].attrs["src"]


@pytest.mark.parametrize("piece", ["<img ", "<img src=http:a ", "<img x='", "<img src='a' <", "<b ", "<!--", "<!--[if x]>", "-", "<", "<title>", "</title ", "<script></scrip", "<a \"'=", "<img a       ",
                                   "<img src=\"data:", "<img =", "</", "<!", "--!"])
@pytest.mark.parametrize("before", ["", "<img src=a>", "<!--[if x]>"])
def test_no_html_takes_longer_than_its_length(before, piece):
    """A scan that gives back what it took needs hours for a megabyte of these; five seconds leave room for a busy machine."""
    html = before + piece * (1_000_000 // len(piece))

    began = time.process_time()
    local_sources(html)

    assert time.process_time() - began < 5
