"""Templates that cannot be compiled: what the error says about braces that were never meant for Jinja2."""

import pytest

from postroom.compose.templates import Templates
from postroom.errors import Place, TemplateError
from postroom.read.campaign import load
from running import composed

CODE = "where the braces belong to the {}, write a space behind the first, or put it all between {{% raw %}} and {{% endraw %}}"
RAW = "correct the template; what shall stand there as it is goes between {% raw %} and {% endraw %}"
OF_JINJA = "Jinja2 writes {{ name }}, {% if name %}…{% endif %} and {% for one in list %}…{% endfor %}"


def refusal(folder, html):
    folder.write("digest.html", html)
    with pytest.raises(TemplateError) as caught:
        Templates(load(str(folder.path / "campaign.yaml"), secrets=False).project).file(str(folder.path / "digest.html"), Place("campaign.yaml"), True)
    return caught.value


@pytest.mark.parametrize(("css", "what"), [
    ("a{#x}", '"a{#x}" in the CSS reads as a Jinja2 comment: the comment has no end'),
    ("@media screen{#header{width:100%}}", '"screen{#header{width:100%}}" in the CSS reads as a Jinja2 comment: the comment has no end'),
    ("a{width:{%}", '"a{width:{%}" in the CSS reads as a Jinja2 tag: "}" has no meaning here'),
    ("@keyframes a{0%{%{top:0}}", '"a{0%{%{top:0}}" in the CSS reads as a Jinja2 tag: the name of a tag is missing'),
    (".a{%color:red%}", '".a{%color:red%}" in the CSS reads as a Jinja2 tag: there is no tag "color"'),
    (".a{{color:red}}", '".a{{color:red}}" in the CSS reads as a Jinja2 expression: ":" stands where }} should'),
    ("b{}x{color:{{#fff}}", '"x{color:{{#fff}}" in the CSS reads as a Jinja2 expression: "#" has no meaning here')])
def test_braces_of_css_are_explained_with_their_line(folder, css, what):
    """traps B8."""
    error = refusal(folder, f"<!doctype html>\n<style>\np {{ margin: 0 }}\n{css}\n</style>\n<p>{{{{ first_name }}}}</p>\n")

    assert str(error) == f"digest.html, line 4: template syntax: {what}."
    assert error.do == CODE.format("CSS")


@pytest.mark.parametrize(("script", "what"), [
    ('{{"@type": "Event"}}', '"{{"@type": "Event"}}" in the script reads as a Jinja2 expression: ":" stands where }} should'),
    ("x={{}}", '"x={{}}" in the script reads as a Jinja2 expression: an expression is missing before }}'),
    ("if(a){{b();}}", '"if(a){{b();}}" in the script reads as a Jinja2 expression: ";" stands where }} should')])
def test_braces_of_a_script_are_explained_with_their_line(folder, script, what):
    """traps B8."""
    error = refusal(folder, f"<p>{{{{ first_name }}}}</p>\n<script type='application/ld+json'>\n{script}\n</script>")

    assert str(error) == f"digest.html, line 3: template syntax: {what}."
    assert error.do == CODE.format("script")


def test_css_that_a_later_comment_would_swallow_without_a_word_is_refused(folder):
    """traps B8: {# up to the next #} is a comment, here with half of the page in it."""
    error = refusal(folder, "<style>\r\na{#x}\r\n</style>\r\n<p>Hello</p>{# greeting #}")

    assert str(error) == 'digest.html, line 2: "a{#x}" in the CSS reads as a Jinja2 comment, which swallows </style> and all up to the next #}.'
    assert error.do == CODE.format("CSS")


@pytest.mark.parametrize("style", ["<style>{% raw %}a{#x}{% endraw %}</style>", "<style>a{ #x}</style>", "<style>a{color:{{ colour }}}</style>",
                                   "<style>{# for Outlook #}a{}</style>", "{# <style>a{}</style> #}"])
def test_the_remedies_and_what_is_meant_for_jinja2_pass(folder, style):
    folder.write("digest.html", style + "{# the end #}Hello")
    folder.more("vars: {colour: red}\n")

    assert composed(folder)[1][0].html == style.replace("{% raw %}", "").replace("{% endraw %}", "").replace("{{ colour }}", "red").replace(
        "{# for Outlook #}", "").replace("{# <style>a{}</style> #}", "") + "Hello"


def test_a_style_sheet_that_is_included_is_css_too(folder):
    """An include is compiled when the first row is rendered; its file has no <style> of its own."""
    folder.write("digest.html", "<style>{% include 'look.css' %}</style>")
    folder.write("look.css", "p{}\n\na{#x}\n")

    with pytest.raises(TemplateError) as caught:
        composed(folder)

    assert str(caught.value).startswith('look.css, line 3, row 2 of the recipients: template syntax: "a{#x}" in the CSS reads as a Jinja2 comment')


@pytest.mark.parametrize(("source", "what", "do"), [
    ("{{ first name }}", '"name" stands where }} should, in "{{ first name }}"', 'a column whose name has a blank is reached by {{ row["first name"] }}'),
    ("{{ name </p>", '"/" has no meaning here, in "{{ name </p>"', RAW), ("{{ 'a }}", 'a quote is never closed, in "{{ \'a }}"', RAW),
    ("{{ x | datum }}", 'there is no filter "datum", in "{{ x | datum }}"', RAW), ("{% fi x %}", 'there is no tag "fi", in "{% fi x %}"', RAW),
    ("{% if x %}a", "a {% if %} is never closed", "correct the template"), ("{% raw %}a", "a {% raw %} is never closed", "correct the template"),
    ("{% endif %}", 'nothing is open that {% endif %} belongs to, in "{% endif %}"', RAW),
    ("{% if x %}{% endfor %}", '{% endfor %} comes while a {% if %} is open, in "{% endfor %}"', RAW),
    ("{% if x %}{% else if y %}{% endif %}", '"if" stands where %} should, in "{% else if y %}"', RAW),
    ("{{ a }} {{ b ? c }} {{ d }}", '"?" has no meaning here, in "{{ b ? c }}"', RAW), ("{# note", 'the comment has no end, in "{# note"', RAW),
    ("{{#if name}}Hi{{/if}}", '"#" has no meaning here, in "{{#if name}}"', OF_JINJA), ("{{{ name }}}", '"}" stands where : should, in "{{{ name }}}"',
    OF_JINJA)])
def test_an_error_outside_code_quotes_what_stands_there(folder, source, what, do):
    error = refusal(folder, f"<p>one</p>\n<p>{source}")

    assert (str(error), error.do) == (f"digest.html, line 2: template syntax: {what}.", do)


def test_the_error_of_a_small_template_is_explained_too():
    with pytest.raises(TemplateError) as caught:
        Templates(None).text("Hello {{ first name }}", Place("campaign.yaml", 5, 10))

    assert str(caught.value) == 'campaign.yaml, line 5, column 10: template syntax: "name" stands where }} should, in "{{ first name }}".'


def test_the_line_is_right_however_much_stands_before_it(folder):
    error = refusal(folder, "<style>a{}</style>{{ x -}} \r\n{#- y #}{% raw %}{{ {% endraw %}\r\n" * 1_000 + "<style>a{#x}</style>")

    assert str(error).startswith('digest.html, line 2001: template syntax: "a{#x}" in the CSS')
