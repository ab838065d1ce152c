"""Columns that are passed through as HTML: each is found, and nothing else is."""

import pytest

from conftest import CAMPAIGN
from postroom.check.markup import unescaped
from postroom.compose.templates import BoundedEnvironment
from running import postroom

COLUMNS = ["note", "name", "plan", "odd name"]


def found(source):
    return list(unescaped(BoundedEnvironment(autoescape=True).parse(source), COLUMNS))


@pytest.mark.parametrize("source", [
    "{{ note | safe }}", "{{ note|trim|safe }}", "{{ note | safe | upper }}", "{{ note | replace('\\n', '<br>') | safe }}", "{{ (note | striptags) | safe }}", "{{ ('<b>' ~ note ~ '</b>') | safe }}",
    "{{ ('<b>' + note) | safe }}", "{{ ('<b>%s' % note) | safe }}", "{{ ('<b>%s' | format(note)) | safe }}", "{{ '<b>{}'.format(note) | safe }}", "{{ note.upper() | safe }}", "{{ note[:9] | safe }}",
    "{{ (note or 'x') | safe }}", "{{ note | default('x') | safe }}", "{{ x | default(note) | safe }}", "{{ (note if plan == 'x' else '') | safe }}", "{{ row.note | safe }}", "{{ row['note'] | safe }}",
    "{% set x = note %}{{ x | safe }}", "{% for line in note.split('\\n') %}{{ line | safe }}{% endfor %}", "{% for line in note.split('\\n') %}{% set x = line %}{{ x | safe }}{% endfor %}", "{% autoescape false %}{{ note }}{% endautoescape %}",
    "{% autoescape false %}{% if plan %}{{ note | upper }}{% endif %}{% endautoescape %}", "{% if plan %}{{ note | safe }}{% endif %}", "{% block x %}{{ note | safe }}{% endblock %}", "{{ [note, 'x'] | join('<br>') | safe }}",
    "<a href='{{ note | safe }}'>", "{% macro m() %}{{ note | safe }}{% endmacro %}", "{% set x %}{{ note | safe }}{% endset %}", "{{ {'a': note}['a'] | safe }}"])
def test_a_column_that_is_passed_through_is_found(source):
    """reliability 5a: `|safe` on a column is a lint error; 4b: autoescape off in HTML."""
    assert found("\n" + source) == [(2, "note")]


@pytest.mark.parametrize("source", [
    "{{ note }}", "{{ '<br>' | safe }}", "{{ html_from_vars | safe }}", "{{ texts[plan] | safe }}", "{{ note | replace('\\n', '<br>' | safe) }}", "{{ note | e | replace('\\n', '<br>' | safe) }}", "{{ note | e | safe }}",
    "{{ ('<b>' if plan == 'x' else '<i>') | safe }}", "{{ (plan is defined) | safe }}", "{{ (note | length) | safe }}", "{{ note | int | safe }}", "{% set note = '<b>' %}{{ note | safe }}", "{% autoescape true %}{{ note }}{% endautoescape %}",
    "{% autoescape false %}{{ footer }}{% endautoescape %}{{ note }}", "{% for plan in plans %}{{ plan | safe }}{% endfor %}", "{% macro m(x) %}<b>{{ x }}</b>{% endmacro %}{{ m(note) | safe }}", "{% set x %}{{ note }}{% endset %}{{ x | safe }}",
    "{{ note | tojson | safe }}", "{% if note | length > 3 %}{{ footer | safe }}{% endif %}"])
def test_what_is_escaped_or_no_column_is_not(source):
    """A false fault keeps somebody's newsletter at home."""
    assert found(source) == []


@pytest.mark.parametrize(("source", "columns"), [("{{ row['odd name'] | safe }}", ["odd name"]), ("{{ row[plan] | safe }}", sorted(COLUMNS)), ("{{ row.values() | join | safe }}", sorted(COLUMNS)), ("{{ (note ~ name) | safe }}", ["name", "note"])])
def test_columns_are_named(source, columns):
    assert [column for _, column in found(source)] == columns


def test_it_is_a_fault_with_the_templates_line_also_in_an_include(folder):
    folder.write("digest.html", "<p>Hello</p>\n{% include 'part.html' %}\n")
    folder.write("part.html", "\n\n<p>{{ first_name | safe }}</p>\n")

    said = postroom("check", "campaign.yaml")

    assert said.exit == 2
    assert 'part.html, line 3: the column "first_name" is passed through as HTML' in said.err
    assert "columns: {first_name: {html: true}}" in said.err


def test_a_column_that_is_ours_may_be_passed_through(folder):
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  columns: {first_name: {html: true}}\n"))
    folder.write("digest.html", "<p>{{ first_name | safe }}</p>\n")

    said = postroom("check", "campaign.yaml")

    assert said.exit == 0, said.err


def test_the_advice_works(folder):
    """Line breaks of a cell, and nothing else of it."""
    from running import composed

    folder.write("digest.html", '<p>{{ first_name | replace("\\n", "<br>" | safe) }}</p>\n')
    folder.write("recipients.csv", 'email,first_name\nann@example.com,"a\n<b>"\n')
    folder.campaign(CAMPAIGN.replace("{{ first_name }} <{{ email }}>", "{{ email }}").replace("{{ first_name }}, your", "Your"))

    assert composed(folder)[1][0].html == "<p>a<br>&lt;b&gt;</p>\n"
    assert postroom("check", "campaign.yaml").exit == 0
