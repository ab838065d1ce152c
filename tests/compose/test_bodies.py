"""Texts encoded in segments: the same octets whatever was encoded before, a line as RFC 2045 wants it, the text back."""

import binascii
import quopri

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import CAMPAIGN
from postroom.compose import bodies, mime
from postroom.compose.bodies import Body, Forms
from postroom.compose.build import Composer
from postroom.message import checked
from running import composed

LETTERS = st.text(st.sampled_from("ab  \t\n\n..==éü若😀x"), max_size=12) | st.builds(lambda letter, times: letter * times, st.sampled_from(["a", " ", ".", "=", "é", "ab ", "a\n", " \n"]), st.integers(60, 160))
PIECES = st.lists(LETTERS, max_size=12)


def body(pieces, written=(), forms=None):
    return Body(pieces, forms or Forms(set(written)))


@settings(max_examples=1000)
@given(PIECES, st.sets(st.integers(0, 11)), st.integers(1, 80), PIECES)
@example(["a" * 75, " ", "\n"], {0, 1, 2}, 1, [])
@example(["a" * 74, " ", "\nb\n.", "\n", ".", "\n "], {0, 2, 3, 4, 5}, 1, [])
@example(["x\n", ".", "", "\n"], {1}, 1, [])
@example(["é" * 13, "é" * 13, "a"], {0, 1}, 1, [])
@example(["ab", ".", "ab", " ", "ab", "", "ab", "c\n", "ab", "=", " "], {0, 2, 4, 6, 8}, 2, ["ab"])
def test_any_text_comes_back_from_its_lines_and_is_the_same_whatever_was_encoded_before(pieces, which, least, others):
    written = {pieces[at] for at in which if at < len(pieces)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LEAST", least)
        forms = Forms(written)
        for earlier in (others, pieces, pieces[::-1]):
            body(earlier, forms=forms).encoded()

        encoding, octets = body(pieces, written).encoded()
        again, plain = body(pieces, forms=forms), body(pieces)

        assert again.encoded() == plain.encoded() == (encoding, octets)
        assert again.identity() == plain.identity() == body(pieces, written).identity()
        assert again.text == "".join(pieces) and again.is_blank == (not again.text.strip())
    plainly_encoding, plainly = mime.body("".join(pieces))
    assert encoding == plainly_encoding
    assert not checked(bytes(octets)).dotted and not octets.dotted and bytes(octets).endswith(b"\r\n")
    octets = bytes(octets)[:-2]
    if encoding == b"base64":
        assert octets == plainly
        return
    assert quopri.decodestring(octets).replace(b"\r\n", b"\n") == "".join(pieces).encode()
    lines = octets.split(b"\r\n")
    assert max(map(len, lines)) <= 76 and octets.isascii()
    assert not any(line.endswith((b" ", b"\t")) or line == b"." for line in lines)
    assert octets.count(b"\r") == octets.count(b"\n") == len(lines) - 1
    assert len(octets) <= len(plainly) + 8 * (2 * len(pieces) + 1)


@given(PIECES, PIECES, st.integers(1, 40))
@example(["a\rb"], ["['a\\rb']"], 40)
def test_two_texts_that_differ_have_identities_that_differ(pieces, others, least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LEAST", least)
        forms = Forms({*pieces[::2], *others[::2]})

        same = body(pieces, forms=forms).identity() == body(others, forms=forms).identity()

    assert not same or "".join(pieces) == "".join(others)


@given(PIECES)
def test_a_text_without_a_long_piece_is_encoded_as_a_whole(pieces):
    encoding, octets = mime.body("".join(pieces))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LEAST", 10_000)
        found, block = body(pieces, pieces).encoded()
    assert (found, bytes(block)) == (encoding, octets + b"\r\n")


@given(st.lists(LETTERS | st.sampled_from(["\r", "\r\n"]), max_size=12))
def test_line_ends_of_any_kind_become_crlf_also_where_pieces_cut_them(pieces):
    encoding, octets = mime.body("".join(pieces))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LEAST", 1)
        found, block = body(pieces, pieces).encoded()
    assert (found, bytes(block)) == (encoding, octets + b"\r\n") or "\r" not in "".join(pieces)


@settings(max_examples=500)
@given(PIECES, st.booleans())
@example(["w" * 76], False)
@example(["w" * 74, "é"], False)
@example(["w" * 73 + "="], True)
@example(["w" * 75, "=" * 76, "w"], True)
@example(["b" * 75 + "."], False)
@example(["A" * 200 + "\n", "b" * 75 + "."], True)
def test_a_text_that_is_the_whole_mail_ends_with_a_line_end_and_is_not_changed_by_it(pieces, in_segments):
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LEAST", 1 if in_segments else 10_000)
        encoding, block = body(pieces, pieces).encoded(is_alone=True)

    octets = bytes(block)
    assert octets.endswith(b"\r\n") and not block.dotted and not checked(octets).dotted
    if encoding == b"quoted-printable":
        assert max(map(len, octets.split(b"\r\n"))) <= 76
        assert quopri.decodestring(octets).replace(b"\r\n", b"\n") == text.encode()


@given(st.text(st.sampled_from("a =é若😀\n"), max_size=200))
def test_the_quick_look_at_which_encoding_is_shorter_is_right(text):
    octets = text.encode()
    base64_length = -(-len(octets) // 3) * 4 * 78 // 76

    assert mime.beyond_ascii(octets) == sum(octet > 127 for octet in octets)
    assert mime.is_shorter_quoted(len(octets), mime.beyond_ascii(octets)) == (len(octets) + 2 * sum(octet > 127 for octet in octets) <= base64_length)


@settings(max_examples=500)
@given(st.text(st.sampled_from("ab \t\n.=é"), max_size=300) | st.builds("{}{}{}\nb".format, st.sampled_from(["", ".", "..", "\n."]), st.integers(70, 80).map("a".__mul__), st.sampled_from([" ", "  ", "\t", " \t", ".", "..", "é."]))
       | st.builds("{}{}".format, st.text("ab=é", min_size=70, max_size=80), st.integers(1, 200).map(".".__mul__)))
def test_quoted_printable_is_what_the_c_encoder_makes_but_for_lines_that_it_lets_grow_and_dots_that_begin_one(text):
    """RFC 2045 section 6.7, rule 5: binascii does not count what it makes of a blank at the end of a line."""
    by_c = binascii.b2a_qp(text.encode(), istext=True)

    octets = mime.quoted_printable(text.encode())

    lines, lines_by_c = octets.split(b"\r\n"), by_c.split(b"\n")
    assert max(map(len, lines)) <= 76 and not any(line.startswith(b".") for line in lines)
    assert lines == lines_by_c or max(map(len, lines_by_c)) > 76 or any(line.startswith(b".") for line in lines_by_c)
    assert quopri.decodestring(octets).replace(b"\r\n", b"\n") == text.encode()


@given(st.lists(st.text("ab", max_size=6), max_size=8), st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=6), st.data())
def test_spans_are_replaced_wherever_pieces_cut_the_text(pieces, gaps, data):
    text, spans, at, expected = "".join(pieces), [], 0, ""
    for before, length in gaps:
        if at + before + length > len(text):
            break
        spans.append((at + before, at + before + length, f"<{length}>"))
        expected += f"{text[at:at + before]}<{length}>"
        at += before + length
    written = set(data.draw(st.lists(st.sampled_from(pieces or [""]))))

    found = body(pieces, forms=Forms(known := set(written))).replaced(spans)

    assert found.text == "".join(found.pieces) == expected + text[at:]
    assert len(found.pieces) == len(pieces) and known - written <= set(found.pieces)


TEMPLATE = ("{% macro button(words) %}<a style=\"" + "color:red;" * 20 + "\">{{ words }}</a>{% endmacro %}<p>Hello {{ note }}</p>\n" + "<p>" + "A paragraph. " * 30 + "</p> \n"
            "{% for number in range(3) %}<td>" + "x=1 " * 40 + "{{ number }}</td>{% endfor %}{{ button(note) }}{% if note != 'Ann' %}{% include 'foot.html' %}{% endif %}\n")


def test_a_message_is_the_same_from_a_fresh_and_from_a_used_composer(folder):
    """What one recipient leaves behind must not show in another's mail; whoever is tried again gets the same octets from another run."""
    folder.campaign(CAMPAIGN)
    folder.write("digest.html", TEMPLATE)
    folder.write("foot.html", "<p>" + "Nobody likes a footer. " * 20 + "</p>")
    notes = ["Ann", "Zoë", "若水", "A=B", "Bo\r\nLee", ".", " ", "😀" * 60, "<b>" * 30, "x" * 200]
    folder.write("recipients.csv", "email,first_name,note\n" + "".join(f'p{number}@example.com,Ann,"{note}"\n' for number, note in enumerate(notes)))

    used, rendered = composed(folder)
    rows = [row for chunk in used.table.chunks(pytest.fail) for row in chunk]

    for (line, row), one in zip(rows, rendered, strict=True):
        fresh = Composer(used.campaign, used.table, used.now)
        assert fresh.message(fresh.render(row, line, one.key), 1_795_000_000) == used.message(one, 1_795_000_000)
