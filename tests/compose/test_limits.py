"""Templates and conditions that would fill the machine or hold it: each is answered in 10 seconds and 512 MB, with its place, before any connection.

reliability.md 4b: template, loop without end, result > limit; traps C: bombs.
"""

import pytest

from conftest import CAMPAIGN
from measured import Measured

BIG = "{% set big = 'x' * 5000000 %}"
SIZE, TIME, LARGE = "5,242,880 characters", "did not end within 2 seconds", "too large"
EITHER = " "  # whichever of time and size is used up first: that depends on the machine
MADE = "41,943,040 characters"


def doubling(step, start="'x'", times=200):
    """A value that a step makes larger again and again."""
    return f"{{% set ns = namespace(v={start}) %}}{{% for i in range({times}) %}}{{% set ns.v = {step} %}}{{% endfor %}}{{{{ ns.v | length }}}}"


LOOP = "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}"
# A hostile template -> words of the one message about it.
TEMPLATES = {
    "nested loops that put nothing out": (LOOP, TIME),
    "nested loops that put much out": ("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", SIZE),
    "loops over what a condition leaves out": ("{% set t = 'x' * 1000000 %}{% for a in range(100000) if t ~ a == t ~ 'y' %}{% endfor %}", MADE),
    "loops in a macro": ("{% macro m() %}" + LOOP + "{% endmacro %}{{ m() }}", TIME),
    "a macro that calls itself twice": ("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", TIME),
    "a macro that calls itself without end": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "without end"),
    "a caller that calls itself twice": ("{% macro m(n) %}{% if n %}{% call m(n - 1) %}{% endcall %}{{ caller() }}{% call m(n - 1) %}{% endcall %}{% endif %}{% endmacro %}"
                                         "{% call m(60) %}{% endcall %}", TIME),
    "a block that is shown in itself": ("{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}", "without end"),
    "a loop that calls itself": ("{% for a in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}", TIME),
    "a loop that calls itself over much": ("{% for a in range(3) recursive %}{{ loop(range(100000)) if loop.depth < 60 }}{% endfor %}", TIME),
    "a template that includes itself": ("{% include 'digest.html' %}", "without end"),
    "a template that includes itself twice": ("{% if n is not defined %}{% set n = 60 %}{% endif %}{% if n %}{% set n = n - 1 %}{% include 'digest.html' %}{% include 'digest.html' %}{% endif %}", TIME),
    "a template that imports itself": ("{% import 'digest.html' as d %}", "without end"),
    "doubling by ~": (doubling("ns.v ~ ns.v"), SIZE),
    "doubling by +": (doubling("ns.v + ns.v"), SIZE),
    "doubling by *": (doubling("ns.v * 2"), SIZE),
    "doubling lists by +": (doubling("ns.v + ns.v", "[1]"), SIZE),
    "doubling lists by *": (doubling("ns.v * 2", "[1]"), SIZE),
    "doubling by a macro": ("{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}" + doubling("m(ns.v)"), SIZE),
    "doubling by a set block": ("{% set ns = namespace(v='x') %}{% for i in range(200) %}{% set v %}{{ ns.v }}{{ ns.v }}{% endset %}{% set ns.v = v %}{% endfor %}", SIZE),
    "doubling by a filter block": ("{% set ns = namespace(v='x') %}{% for i in range(200) %}{% set v %}{% filter upper %}{{ ns.v }}{{ ns.v }}{% endfilter %}{% endset %}{% set ns.v = v %}{% endfor %}", SIZE),
    "doubling by lists in lists": (doubling("[ns.v, ns.v]"), SIZE),
    "doubling by tuples in tuples": (doubling("(ns.v, ns.v)") + "{{ ns.v == ns.v }}", SIZE),
    "doubling by maps": (doubling("{1: ns.v, 2: ns.v}"), SIZE),
    "doubling by what a macro was given": ("{% macro m() %}{{ varargs }}{% endmacro %}" + doubling("cycler(ns.v, ns.v).items"), "a call makes more"),
    "doubling by a filling": (doubling("[0] | batch(2, ns.v) | list"), "more than 100 deep"),
    "doubling by keys": (doubling("{}.fromkeys('ab', ns.v)"), SIZE),
    "doubling by namespaces": ("{% set ns = namespace(v=1) %}{% for i in range(200) %}{% set ns.v = namespace(a=ns.v, b=ns.v) %}{% endfor %}{{ ns.v }}" + LOOP, TIME),
    "lists ever deeper": (doubling("(ns.v,)", times=100000), "more than 100 deep"),
    "escaping again and again": (doubling("ns.v | forceescape", "'&' * 1000"), MADE),
    "capitals of letters that grow": (doubling("((ns.v | upper) ~ 'ΐ' * 1000)"), MADE),
    "squaring a number": (doubling("ns.v * ns.v", "3"), LARGE),
    "a power of a power": ("{{ 9 ** (9 ** 9) }}", LARGE),
    "a power in a loop": (doubling("ns.v ** 9", "9"), LARGE),
    "a number from text": ("{{ ('0x' ~ 'f' * 5000000) | int(0, 16) }}", LARGE),
    "a number as octets": ("{{ (5).to_bytes(1000000000, 'big') }}", SIZE),
    "a rounding to many digits": ("{{ 5 | round(-1000000000) }}", "round takes 1,000 at most"),
    "text times a number": ("{{ 'x' * 999999999 }}", SIZE),
    "a width": ("{{ 'x'.center(999999999) }}", SIZE),
    "a width in a filter": ("{{ 'x' | center(999999999) }}", SIZE),
    "a width for %": ("{{ '%999999999d' % 1 }}", "format's width"),
    "a width for % behind a name": ("{{ '%(a)999999999d' % {'a': 1} }}", "format's width"),
    "a width for % behind a name in brackets": ("{{ '%(a(b)c)999999999d' % {'a(b)c': 1} }}", "format's width"),
    "many widths for %": ("{{ '%999999d' * 1000 % ((1,) * 1000) }}", "format's width"),
    "a width from an argument": ("{{ '%*d' % (999999999, 1) }}", "format's width"),
    "a name again and again": ("{{ ('%(a)s' * 100000) % {'a': 'x' * 1000000} }}", "% makes more than"),
    "a width for format": ("{{ '{:999999999}'.format(1) }}", "format's width"),
    "a width for format from an argument": ("{{ '{:{}}'.format(1, 999999999) }}", "format's width"),
    "an argument of format again and again": ("{{ ('{0}' * 100000).format('x' * 1000000) }}", MADE),
    "a width for the filter": ("{{ '%999999999d' | format(1) }}", "format's width"),
    "a date's width": ("{{ '{:%1000000000Y}'.format(now) }}", "format's width"),
    "a date's format": ("{{ now.strftime('%Y' * 1000000) }}", "a date's format has more than 200"),
    "our date's format": ("{{ now | date('%Y' * 1000000) }}", "200 characters at most"),
    "our number's digits": ("{{ 1 | number(1000000000) }}", "takes 0 to 12 digits"),
    "our number's exponent": ("{{ '1e999999999' | number }}", "is not a number"),
    "a long separator": ("{{ range(100000) | join('x' * 100000) }}", "join makes more"),
    "a long separator, by method": ("{{ ('x' * 100000).join('a' * 100000) }}", "join makes more"),
    "a replacement": ("{{ ('a' * 100000).replace('a', 'b' * 100000) }}", "replace makes more"),
    "a replacement in a filter": ("{{ ('a' * 100000) | replace('a', 'b' * 100000) }}", "replace makes more"),
    "a replacement of nothing": ("{{ ('a' * 100000) | replace('', 'b' * 100000) }}", "replace makes more"),
    "a translation": ("{{ ('a' * 100000).translate({97: 'b' * 100000}) }}", "translate makes more"),
    "tabs": ("{{ ('\\t' * 100000).expandtabs(100000) }}", "expandtabs makes more"),
    "an indent": ("{{ ('\\n' * 100000) | indent(100000, blank=true) }}", "indent makes more"),
    "an indent of text": ("{{ ('a\\n' * 100000) | indent('x' * 100000) }}", "indent makes more"),
    "an indent of JSON": ("{{ range(1000) | list | tojson(indent=1000000) }}", "tojson takes 16 at most"),
    "a wrapping": ("{{ ('a ' * 50000) | wordwrap(1, wrapstring='x' * 100000) }}", "wordwrap makes more"),
    "a wrapping of one word": ("{{ ('a' * 5000000) | wordwrap(1) }}", "wordwrap takes texts of"),
    "a wrapping of signs": ("{{ ('!' * 100000) | wordwrap }}", "with words of 2,000"),
    "links with long targets": ("{{ ('www.a.example ' * 5000) | urlize(target='x' * 100000) }}", "urlize makes more"),
    "brackets for links": ("{{ (')' * 100000 ~ '.') | urlize }}", "with words of 2,000"),
    "attributes": ("{{ {'a': '&' * 5000000} | xmlattr }}", SIZE),
    "a filling of a batch": ("{{ [1] | batch(1000000000, 'x') | list | length }}", "batch takes 200,000"),
    "slices": ("{{ [1] | slice(1000000000) | list | length }}", "slice takes 200,000"),
    "characters as a list": (BIG + "{{ big | list | length }}", "more than 200,000 elements"),
    "characters sorted": (BIG + "{{ big | sort | length }}", "more than 200,000 elements"),
    "words of a text": (BIG + "{{ big.split() | length }}", "split makes more than"),
    "pieces of a text": (BIG + "{{ big.split('x') | length }}", "split makes more than"),
    "a punycode": ("{{ ('äöü' * 1000000).encode('punycode') }}", "templates know the encodings"),
    "octets of a text in a loop": ("{% for i in range(100) %}{% set a = ('x' * 1000000).encode('utf-32') %}{% endfor %}", MADE),
    "lists summed": ("{{ ([[1, 2, 3]] * 20000) | sum(start=[]) | length }}", TIME),
    "a sorting again and again": ("{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | sort(reverse=true) %}{% endfor %}", EITHER),
    "a grouping again and again": ("{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | groupby('real') | length %}{% endfor %}", SIZE),
    "the least again and again": ("{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | min %}{% endfor %}", TIME),
    "maps of maps": ("{{ range(100000) | map('string') | map('center', 100) | map('upper') | map('replace', ' ', 'xxxxxxxx') | list | length }}", "characters"),
    "a long attribute": ("{% set l = range(100000) | list %}{{ l | map(attribute='real.' * 100000 ~ 'real') | list | length }}", TIME),
    "large texts compared in a loop": (BIG + "{% set other = 'x' * 5000000 %}{% for i in range(100000) %}{% if big == other %}{% endif %}{% endfor %}", TIME),
    "a large text cut in a loop": (BIG + "{% for i in range(100000) %}{% set x = big[1:] %}{% endfor %}", MADE),
    "a large text in a large one": ("{% set t = 'ab' * 2000000 %}{% for i in range(100000) %}{% if ('ba' * 1000 ~ 'c') in t %}{% endif %}{% endfor %}", TIME),
    "buffers held": (BIG + "".join(f"{{% set v{number} %}}{{{{ big }}}}{{% endset %}}" for number in range(500)), MADE),
    "one buffer filled": (BIG + "{% set v %}" + "{{ big }}" * 500 + "{% endset %}", "characters"),
    "a result of many pieces": (BIG + "{{ big }}" * 500, "41,943,040 characters"),
    "an escape of quotes": ("{% set q = '\"' * 5000000 %}{{ q }}", SIZE),
    "a joiner": ("{% set j = joiner('x' * 5000000) %}{{ j() }}{% for i in range(100) %}{{ j() }}{% endfor %}", "41,943,040 characters"),
    "a range of ranges": ("{{ range(10 ** 18) }}", "ange"),
}
# What is refused while it compiles has no row.
SOURCES = {
    "brackets": ("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}", "nested too deeply"),
    "loops in loops": ("{% for a in x %}" * 30 + "{% endfor %}" * 30, "nested too deeply"),
    "conditions in conditions": ("{% if x %}" * 20_000 + "{% endif %}" * 20_000, "deeply"),
    "a long sum": ("{{ 1" + " + 1" * 20_000 + " }}", "deeply"),
    "filters on filters": ("{{ 'a'" + " | upper" * 20_000 + " }}", "deeply"),
    "two megabytes of brackets": ("{{ " + "(" * 2_000_000, "deeply"),
    "two megabytes of expressions": ("{{ a }}" * 290_000, "words and signs"),
    "two megabytes of loops": ("{% for a in b %}{% endfor %}" * 70_000, "words and signs"),
    "two megabytes of a list": ("{{ [" + "1," * 900_000 + "] }}", "words and signs"),
    "two megabytes of comments that end a style": ("{#</style>#}" * 170_000, "empty"),
    "two megabytes of faults in a line": ("{{ a b }}" * 200_000, "template syntax"),
    "a number of two million digits": ("{{ " + "9" * 2_000_000 + " }}", "digits"),
    "a hexadecimal number of two million digits": ("{{ 0x" + "f" * 2_000_000 + " }}", "digits"),
    "a fault before nested braces (found by fuzzing)": ("{% macro m(x) %}{% endif %}" + "{{ " * 200 + "}} " * 200 + "{% endmacro %}", "template syntax"),
    "two megabytes of escapes": ("{{ '" + "\\n" * 900_000 + "' }}", "empty"),
    "constants to fold": ("{{ range(99999) | list | sort | join('x' * 20) | length }}" * 2_000, MADE),
    "constants to fold in a tag": ("{% autoescape 'x' | center(5000000) %}{% endautoescape %}" * 2_000 + LOOP, "digest.html"),
    "three megabytes": ("x" * 3_000_000, "larger than"),
}
WHERES = {
    "doubling": ("(first_name * 5000000) ~ (first_name * 5000000) == ''", SIZE),
    "a product of ranges": ("range(100000) | map('string') | map('list') | map('map', 'upper') | map('join') | map('center', 1000) | join == ''", "characters"),
    "a sum that grows": ("(range(100000) | map('pprint') | map('indent', 50, true) | sum(start='')) == ''", ""),
    "brackets": ("(" * 20000 + "1" + ")" * 20000, "nested too deeply"),
    "a number without end": ("9" * 100000 + " == 1", "digits"),
}


@pytest.fixture(scope="module")
def measured():
    with Measured() as measured:
        yield measured


def check(folder, measured, name, record_property):
    took = measured.took(folder.path, "check", "campaign.yaml")
    record_property("measured", f"{name}: {took.seconds:.1f} s, {took.peak_mb:.0f} MB")
    took.assert_bounded()
    assert took.exit == 2, took
    return took.out + took.err


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_hostile_template_is_ended_and_named_with_line_and_row(folder, measured, name, record_property):
    source, words = TEMPLATES[name]
    folder.write("digest.html", "<p>\n" + source)

    said = check(folder, measured, name, record_property)

    assert words in said
    assert "digest.html, line 2, row 2 of the recipients" in said
    assert len(said) < 2000


@pytest.mark.parametrize("name", SOURCES)
def test_a_hostile_template_is_ended_while_it_compiles(folder, measured, name, record_property):
    source, words = SOURCES[name]
    folder.write("digest.html", source)

    said = check(folder, measured, name, record_property)

    assert words in said
    assert "digest.html" in said or "campaign.yaml, line 6" in said
    assert len(said) < 2000


@pytest.mark.parametrize("name", WHERES)
def test_a_hostile_condition_is_ended_and_named(folder, measured, name, record_property):
    source, words = WHERES[name]
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", f"  file: recipients.csv\n  where: '{source.replace(chr(39), chr(39) * 2)}'\n"))

    said = check(folder, measured, name, record_property)

    assert words in said and "campaign.yaml, line 10" in said


@pytest.mark.parametrize("where", [True, False])
def test_a_thousand_rows_fail_no_slower_than_one(folder, measured, where, record_property):
    """Two seconds for each of a list's rows would be no end either."""
    rows = "".join(f"p{number}@example.com,{'x' * 50}\n" for number in range(1000))
    folder.write("recipients.csv", "email,first_name\n" + rows)
    endless = "range(100000) | map('string') | map('list') | map('map', 'upper') | map('list') | map('sort') | list | length | string == first_name * 20000000"
    if where:
        folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", f'  file: recipients.csv\n  where: "{endless}"\n'))
    else:
        folder.write("digest.html", LOOP)

    said = check(folder, measured, f"1000 rows, where {where}", record_property)

    assert "row 2 of the recipients" in said
