"""A template's syntax error in words for people: what stands there, what Jinja2 takes it for, what to do.

CSS and JavaScript have braces too: a{#top} begins a comment, {{"a": 1}} an expression, {% a tag. Jinja2's own message says
what its parser missed, not that these braces were never meant for it.
"""

import bisect
import itertools
import re

import jinja2

from postroom.address import shown
from postroom.errors import TemplateError
from postroom.meter import TooMuch

NEW_LINE = re.compile(r"\r\n|\r|\n")
CODE_TAG = re.compile(r"<(/?)(style|script)\b", re.IGNORECASE)
LANGUAGES = {"style": "CSS", "script": "script"}
TAKEN_FOR = {"{#": "comment", "{{": "expression", "{%": "tag"}
CLOSING = {"{#": "#}", "{{": "}}", "{%": "%}"}
MOST_PIECES = 200_000  # of what the lexer finds; a template with more is refused when it compiles
MOST_TRIED = 1000
BEFORE, AFTER = 24, 36  # characters around an opening that an error quotes
# A column's name with a blank in it, as people write it first.
TWO_WORDS = re.compile(r"\{\{-?\s*([^\W\d]\w*(?: \w+)+)\s*(?:\||-?\}\})")
# Jinja2's words, and ours.
REASONS = [(re.compile(pattern), words) for pattern, words in (
    (r"Unexpected end of template\..*closed is '(\w+)'\.", r"a {% \1 %} is never closed"),
    (r"Encountered unknown tag '(end\w+|else|elif)'\..*closed is '(\w+)'\.", r"{% \1 %} comes while a {% \2 %} is open"),
    (r"Encountered unknown tag '(end\w+|else|elif)'\.", r"nothing is open that {% \1 %} belongs to"),
    (r"Encountered unknown tag '(\w+)'\..*", r'there is no tag "\1"'),
    (r"No (filter|test) named '(\w+)'\.", r'there is no \1 "\2"'),
    (r"expected token '(.+)', got '(.+)'", r'"\2" stands where \1 should'),
    (r"Expected an expression, got '(.+)'", r"an expression is missing before \1"),
    (r"unexpected char (?:\"'\"|'\"') at \d+", "a quote is never closed"),
    (r"unexpected char '(.+)' at \d+", r'"\1" has no meaning here'),
    (r"unexpected '(.+)'", r'"\1" has no meaning here'),
    (r"tag name expected", "the name of a tag is missing"),
    (r"Missing end of comment tag", "the comment has no end"),
    (r"Missing end of raw directive", "a {% raw %} is never closed"))]


def explain(error, environment) -> tuple[str, str]:
    """What is wrong, and what to do. error: a TemplateSyntaxError that has its source."""
    reason = _in_our_words(error.message)
    source = "\n".join(NEW_LINE.split(error.source or ""))
    block = _culprit(environment, source, error)
    if block is None or reason.endswith("%} is never closed"):
        return reason, "correct the template"
    begin, end = block
    code = _language(source, begin, error.name or "")
    quoted = _around(source, begin, end, code is not None)
    if code:
        return f'"{quoted}" in the {code} reads as a Jinja2 {TAKEN_FOR[source[begin:begin + 2]]}: {reason}', _advice_for(code)
    if found := TWO_WORDS.match(source, begin):
        return f'{reason}, in "{quoted}"', f'a column whose name has a blank is reached by {{{{ row["{found[1]}"] }}}}'
    if source.startswith(("{{#", "{{/", "{{>", "{{{", "{{^"), begin):
        return f'{reason}, in "{quoted}"', "Jinja2 writes {{ name }}, {% if name %}…{% endif %} and {% for one in list %}…{% endfor %}"
    return f'{reason}, in "{quoted}"', "correct the template; what shall stand there as it is goes between {% raw %} and {% endraw %}"


def check_comments(source, place_of_line, environment) -> None:
    """A comment that swallows the end of a <style> or <script> was none: without a word, Jinja2 would leave out all up to the next #}.

    place_of_line: gives the Place of a line. Raises TemplateError. Syntax errors are no business of this check.
    """
    source = "\n".join(NEW_LINE.split(source))
    tags = list(CODE_TAG.finditer(source)) if "{#" in source else []
    for begin, end in _blocks(environment, source):
        tag = CODE_TAG.search(source, begin, end or begin) if source.startswith("{#", begin) else None
        before = bisect.bisect_right(tags, begin, key=re.Match.end) if tag and tag[1] else 0
        if before and (code := _opened(tags[before - 1])):
            what = f'"{_around(source, begin, end, True)}" in the {code} reads as a Jinja2 comment, which swallows {tag[0]}> and all up to the next #}}'
            raise TemplateError(what, place_of_line(source.count("\n", 0, begin) + 1), _advice_for(code))


def _advice_for(code):
    return f"where the braces belong to the {code}, write a space behind the first, or put it all between {{% raw %}} and {{% endraw %}}"


def _in_our_words(message):
    for pattern, words in REASONS:
        if found := pattern.fullmatch(message):
            return found.expand(words).replace("end of print statement", "}}").replace("end of statement block", "%}")
    return message


def _blocks(environment, source):
    """Where each comment, expression, tag and raw block begins and ends; one that the lexer fails in has the end None."""
    found, position = [], 0
    try:
        for _, token, value in itertools.islice(environment.lex(source), MOST_PIECES):
            # A dash strips white space, which then is in no token.
            position = source.find(value, position)
            if token.endswith("_begin"):
                found.append((position, None))
            position += len(value)
            if token.endswith("_end"):
                found[-1] = (found[-1][0], position)
    except jinja2.TemplateSyntaxError:
        pass
    return found


def _culprit(environment, source, error):
    """The block that the error is about: on its line, and wrong in the same way when it stands alone or in an {% if %}."""
    before = "\n".join(source.split("\n", error.lineno)[:error.lineno])
    line_begins, line_ends = before.rfind("\n") + 1, len(before)
    blocks = [(begin, end) for begin, end in _blocks(environment, source) if begin <= line_ends and (end is None or end > line_begins)]
    for begin, end in blocks[:MOST_TRIED]:
        block = source[begin:end]
        for alone in (block, "{% if x %}" + block + "{% endif %}"):
            try:
                environment.parse(alone)
            except jinja2.TemplateSyntaxError as fault:
                if fault.message == error.message:
                    return begin, end
            except (RecursionError, ValueError, TooMuch):
                # Faulty in a way of its own, which the whole template never came to.
                continue
    return blocks[-1] if blocks else None


def _language(source, position, name=""):
    """CSS or script, where the position is inside such an element or a file of its own that a template includes."""
    if name.endswith((".css", ".js")):
        return LANGUAGES["style" if name.endswith(".css") else "script"]
    tag = None
    for tag in CODE_TAG.finditer(source, 0, position):
        pass
    return tag and _opened(tag)


def _opened(tag):
    return None if tag[1] else LANGUAGES[tag[2].lower()]


def _around(source, begin, end, in_code):
    """The block as an error quotes it, in code with what stands directly before it."""
    start = begin
    while in_code and begin - start < BEFORE and start and not source[start - 1].isspace() and source[start - 1] not in ";}>":
        start -= 1
    if end is None:
        closing = source.find(CLOSING[source[begin:begin + 2]], begin)
        end = closing + 2 if closing >= 0 else len(source)
    line = source[start:min(end, begin + AFTER)].split("\n")[0]
    return shown((line.split("</")[0] if in_code else line).rstrip())
