"""YAML: text as written, bounded, every value with its place."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from postroom.errors import CampaignError
from postroom.read.marked_yaml import load


@pytest.mark.parametrize("text", ["007", "NO", "yes", "on", "1.10", "1:30", "2026-11-23", "0x10", "1_000", "1e5", ".5", "+1", "0o17", "12345678901234567890", "=", "<<",
                                  "True", "NULL", "-0", "1.", "2026-11-23 10:00:00"])
def test_a_value_prints_as_it_was_written(text):
    """PyYAML alone makes False, 7, 90, a date or a float of most of these."""
    assert str(load(f"x: {text}\n".encode(), "c.yaml").value["x"]) == text


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("null", None), ("~", None), ("", None), ("12", 12), ("-3", -3), ("2.5", 2.5),
                                             ('"12"', "12"), ("'true'", "true"), ("!!str 12", "12"), ("|\n  a\n  b\n", "a\nb\n")])
def test_what_is_plainly_a_number_or_a_word_gets_its_type(text, value):
    assert load(f"x: {text}\n".encode(), "c.yaml").value == {"x": value}


def test_every_value_has_its_line_and_column():
    marked = load(b"a: 1\nb:\n  - c: x\n    d: y\n", "c.yaml")

    assert [str(marked.place(path)) for path in (("a",), ("b", 0, "d"), ("b", 0, "gone"), ())] == [
        "c.yaml, line 1, column 1", "c.yaml, line 4, column 5", "c.yaml, line 3, column 5", "c.yaml, line 1, column 1"]


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
BAD = {
    "equal keys": ("a: 1\nb: 2\na: 3\n", "stands here and in line 1", 3),
    "equal keys inside": ("m:\n  a: 1\n  'a': 3\n", "stands here and in line 2", 3),
    "billion laughs": (LAUGHS, "too many values|aliases", None),
    "merge bomb": (MERGES, "too many|aliases|merge", None),
    "depth": ("[" * 5000, "nested more than", 1),
    "values": ("[" + "1," * 60000 + "]", "too many values", 1),
    "aliases": ("a: &a 1\nb: [" + "*a," * 200 + "]", "more than 100 aliases", 2),
    "itself": ("a: &a [*a]\n", "refers to what it stands in", 1),
    "tag": ("a: !!python/object/apply:os.system [ls]\n", "are not allowed", 1),
    "second document": ("a: 1\n---\nb: 2\n", "expected a single document in the stream but found another document", 2),
    "unquoted template": ("subject: {{ name }}\n", "{{ … }} without quotes", 1),
    "unquoted template with more": ("to: {{ name }} <{{ email }}>\n", "did not find expected key", 1),
    "tab": ("a:\n\tb: 1\n", "cannot start any token", 2),
    "unclosed": ("a: [1, 2\n", "not YAML", None),
    "nul": ("a: \0\n", "NUL", 1),
    "list as key": ("[1, 2]: x\n", "a list cannot be a key", 1),
    "alias to nothing": ("a: *gone\n", "undefined alias", 1),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_wrong_is_told_with_its_place_and_at_once(bad):
    text, words, line = BAD[bad]
    before = time.monotonic()

    with pytest.raises(CampaignError, match=words) as error:
        load(text.encode(), "c.yaml")

    assert error.value.where.file == "c.yaml" and error.value.do
    assert line is None or error.value.where.line == line
    assert time.monotonic() - before < 5


def test_octets_that_are_not_utf_8_name_their_line():
    with pytest.raises(CampaignError, match="0xE9.*not UTF-8") as error:
        load("a: 1\nb: é\n".encode("latin-1"), "c.yaml")

    assert error.value.where.line == 2


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    assert load(b"\xef\xbb\xbfa: 1\n", "c.yaml").value == {"a": 1}


def test_a_huge_file_is_refused_unread():
    with pytest.raises(CampaignError, match="at most"):
        load(b"#" * (1 << 20) + b"\n", "c.yaml")


@given(st.text(max_size=300))
def test_any_text_is_a_document_or_one_clear_error(text):
    try:
        load(text.encode("utf-8", "replace"), "c.yaml")
    except CampaignError as error:
        assert error.what and error.where


# PyYAML writes Unicode's own line breaks as they are, and YAML 1.1 folds them.
TEXTS = st.text(st.characters(exclude_characters="\x85\u2028\u2029", exclude_categories=["Cs"]))


@given(st.recursive(TEXTS | st.integers(-(10**15), 10**15) | st.booleans() | st.none(),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4), max_leaves=12))
def test_what_another_writer_wrote_comes_back(value):
    """Text is quoted by the writer wherever it could be taken for something else."""
    text = yaml.safe_dump({"x": value}, allow_unicode=True)

    assert load(text.encode("utf-8", "surrogatepass"), "c.yaml").value == {"x": value}
