"""What people really write renders as in Jinja2 itself, whatever the bounds around it."""

import datetime

import jinja2
import pytest

from postroom.compose.templates import Row, Templates
from postroom.errors import Place
from postroom.meter import MOST_MADE, MOST_OUTPUT, MOST_SECONDS, Meter, TooLong, TooMuch, weight
from postroom.read.project import Project

CONTEXT = {"a": "Ann & Bo", "n": 3, "now": datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC), "row": Row({"First Name": "Ann"}),
           "products": [{"name": "Tea", "price": 2.5, "kind": "leaf", "parts": [1, 2]}, {"name": "Cup", "price": 4, "kind": "ware", "parts": [3]}, {"name": "Pot", "price": 9, "kind": "ware", "parts": []}],
           "tree": [{"name": "x", "below": [{"name": "y", "below": []}, {"name": "z", "below": []}]}]}
USUAL = [
    "{% for p in products %}{{ loop.index }}/{{ loop.length }}/{{ loop.revindex }}{{ ', ' if not loop.last }}{{ loop.cycle('odd', 'even') }}{% else %}none{% endfor %}",
    "{% for p in products if p.price > 3 %}{{ loop.length }}{{ loop.previtem.name if not loop.first }}{{ p.name }}{% endfor %}",
    "{% for p in products | selectattr('kind', 'eq', 'ware') %}{{ loop.length }}{{ p.name }}{% endfor %}", "{% for x in [] %}{% else %}none{% endfor %}", "{% for c in 'abc' %}{{ c }}{% endfor %}",
    "{% for k, v in {'x': 1, 'y': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", "{% for k, v in {'x': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}",
    "{% for one in tree recursive %}<{{ one.name }}{{ loop(one.below) if one.below }}>{% endfor %}", "{% for k, g in products | groupby('kind') %}{{ k }}: {{ g | map(attribute='name') | join(', ') }};{% endfor %}",
    "{{ products | sum(attribute='price') }}", "{{ products | map(attribute='parts') | sum(start=[]) }}", "{{ [1, 2, 3] | sum }}", "{{ products | join('|', attribute='name') }}", "{{ ['<', a] | join('&') }}",
    "{{ 'x' * 20 ~ '-' * n }}", "{{ '%s has %d%%' % (a, n) }}", "{{ '%(x)05.1f' % {'x': 2} }}", "{{ '%s' | format(a) }}", "{{ '{:>8,.2f}|{0}|{x!r}'.format(1234.5, x=a) if false else '{0}{1:>8,.2f}|{x!r}'.format(a, 1234.5, x='y') }}",
    "{{ '{a} {b[0]}'.format_map({'a': 1, 'b': [2]}) }}", "{{ ('<b>{}</b>' | safe).format(a) }}", "{{ a.replace('n', 'm', 1) }}{{ a | replace('n', 'm') }}{{ a.split(' ') | last }}{{ ', '.join(a.split()) }}",
    "{{ a.center(20) }}{{ a | center(20) }}{{ a.encode('utf-8') }}{{ 'a\tb'.expandtabs(4) }}{{ 'ab'.translate({97: 'x'}) }}", "{{ range(7) | batch(3, '-') | list }}{{ range(7) | slice(3, '-') | list }}",
    "{{ a | indent(4, true) }}{{ 'a b c' | wordwrap(3) }}{{ 'see www.a.example.' | urlize(target='_blank') }}{{ {'x': 1} | tojson }}{{ {'x': [1]} | tojson(indent=2) }}{{ {'class': 'x'} | xmlattr }}",
    "{{ [3, 1, 2] | sort }}{{ [3, 1] | max }}{{ [3, 1] | min }}{{ [1, 1] | unique | list }}{{ 'abc' | list }}{{ 'a-b c' | title }}{{ 'a b' | wordcount }}{{ 2.567 | round(1) }}{{ [1] | pprint }}{{ '7' | int + 1 }}",
    "{% set ns = namespace(total=0, items=[]) %}{% for p in products %}{% set ns.total = ns.total + p.price %}{% set ns.items = ns.items + [p.name] %}{% endfor %}{{ ns.total }}{{ ns.items }}",
    "{% macro m(x, y='d', caller=none) %}{{ x }}{{ y }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}{{ m(1, 2, z=4) }}{% call m(a) %}<i>{{ a }}</i>{% endcall %}",
    "{% set block %}<b>{{ a }}</b>{% endset %}{{ block }}{% filter upper %}{{ a }} x{% endfilter %}{% with x = 1 %}{{ x }}{% endwith %}", "{% block b %}{{ a }}{% endblock %}{{ self.b() }}",
    "{{ now.strftime('%d.%m.%Y') }}{{ '{:%Y}'.format(now) }}{{ now.date() }}", "{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ -n }}{{ n * 2.5 }}{{ 'n' in a }}{{ 1 < n <= 3 }}{{ n is odd }}{{ x is defined }}",
    "{{ a[1:] }}{{ a[::-1] }}{{ row['First Name'] }}{{ row.items() | list }}{{ (1, 2) }}{{ [1, [2]] }}{{ {'x': (1,)} }}{{ true }}{{ none }}", "{% set j = joiner(', ') %}{% set c = cycler('x', 'y') %}{{ j() }}{{ c.next() }}{{ j() }}{{ c.next() }}",
    # What is equal to a text that was put out before, and is none, must not be taken for it.
    "{% set t = '<b>' %}{{ t }}{{ t | safe }}{{ t }}{{ t | e }}{% set m %}{{ t }}{{ t | safe }}{% endset %}{{ m }}{{ 1 }}{{ true }}{{ 1.0 }}{{ '1' }}",
    "{% macro m(x) %}{{ x | safe }}{{ x }}{{ caller() if caller is defined }}{% endmacro %}{{ m('<i>') }}{{ '<i>' }}{{ '<i>' | safe }}{% call m('<u>') %}{{ '<u>' }}{% endcall %}{{ ('<' * 300) }}{{ ('<' * 300) | safe }}",
    "{% autoescape false %}{{ a }}{% endautoescape %}{{ a | e }}{{ a | safe }}{{ a | forceescape }}{{ dict(x=1) }}{{ {}.fromkeys([1], 2) }}", "{% if a and n == 3 or false %}y{% elif x is defined %}z{% endif %}{{ 'p' if n > 3 else 'q' }}",
]


@pytest.mark.parametrize("source", USUAL)
def test_it_renders_as_jinja2_does(tmp_path, source):
    (tmp_path / "t.html").write_text(source)
    templates = Templates(Project(str(tmp_path / "campaign.yaml")))
    plain = jinja2.Environment(autoescape=True, keep_trailing_newline=True)

    rendered = templates.render(templates.file(str(tmp_path / "t.html"), Place("campaign.yaml"), True), CONTEXT, 2)

    assert rendered == plain.from_string(source).render(CONTEXT)


def test_a_machine_that_sleeps_takes_no_time_from_a_template(monkeypatch):
    """A laptop closed in mid-rendering, a process that is stopped: the clock goes on, the processor's time does not."""
    meter, later = Meter(), iter(range(1000, 100_000, 1000))
    meter.start()
    monkeypatch.setattr("postroom.meter.time.monotonic", lambda: next(later))

    for _ in range(20):
        meter.tick()

    assert next(later) > 20 * 1000 and meter.left == MOST_MADE


def test_what_takes_the_processor_too_long_is_ended(monkeypatch):
    meter, seconds = Meter(), iter([10.0, 10.5, 11.2])
    meter.start()
    monkeypatch.setattr("postroom.meter.time.thread_time", lambda: next(seconds))
    monkeypatch.setattr("postroom.meter.time.monotonic", lambda: 1e12)

    meter.deadline = 0
    meter.tick()
    meter.deadline = 0
    meter.tick()
    meter.deadline = 0
    with pytest.raises(TooLong, match=f"within {MOST_SECONDS} seconds"):
        meter.tick()


def test_failed_renderings_that_took_long_end_the_look_at_further_rows(monkeypatch):
    meter, clock = Meter(), iter([0, 0.4, 1, 1.4, 2, 2.4])
    monkeypatch.setattr("postroom.meter.time.monotonic", lambda: next(clock))

    told = [(meter.start(), meter.failed())[1] for _ in range(3)]

    assert told == [False, False, True]


@pytest.mark.parametrize(("value", "least", "most"), [("abc", 3, 3), (7, 1, 2), ([], 1, 30), (["abc"] * 3, 9, 150), ({"a": "b"}, 2, 100), ("x" * 7, 7, 7), (range(10**9), 1, 30), ([["x" * 1000] * 100] * 1000, MOST_OUTPUT, MOST_OUTPUT + 200_000)])
def test_a_weight_is_an_upper_bound_of_what_is_written(value, least, most):
    assert least <= weight(value) <= most


@pytest.mark.parametrize("value", [1 << 20_000, [1 << 20_000]], ids=["alone", "in a list"])
def test_a_number_that_no_step_could_bear_has_no_weight(value):
    with pytest.raises(TooMuch, match="too large"):
        weight(value)
