"""What can make much out of little, or take long over it: the filters and methods that templates have, each with its bound.

Everything that is given to them is within MOST_OUTPUT already, so what matters here is what one step can multiply: widths, separators,
replacements, fillings; and the few whose time grows faster than their text.
"""

import datetime
import functools
import re
from collections.abc import Mapping

from jinja2.filters import make_attrgetter

from postroom.meter import MOST_BITS, MOST_ELEMENTS, MOST_OUTPUT, TooMuch, weight

# Conversions of the % operator: key, flags, width, precision.
CONVERSION = re.compile(r"%(?:\([^()]*\))?[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?")
KEYED = re.compile(r"%\([^()]*\)")
MOST_SPEC = 200  # characters of one {:…} and of a date's format: the C library would make gigabytes of a width in it
MOST_PRECISION = 1000  # digits of a rounding: Python takes ten to this power
MOST_INDENT = 16  # of JSON: each level indents again
# These search a long word again from each of its characters.
MOST_TEXT, MOST_WORD = 100_000, 2_000
MOST_SPLIT = 1 << 20  # characters of a text that is taken apart
CODECS = {"utf8", "utf16", "utf32", "ascii", "latin1", "iso88591"}  # others, such as punycode, take a time that grows with the square


# Operators

def times(left, right) -> None:
    """left * right, before it is made."""
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MOST_BITS:
            raise TooMuch("* makes a number that is too large")
        return
    for value, count in ((left, right), (right, left)):
        if isinstance(count, int) and hasattr(value, "__len__") and weight(value) * count > MOST_OUTPUT:
            raise too_much("*")


def power(left, right) -> None:
    """left ** right, before it is made."""
    if isinstance(left, int) and isinstance(right, int) and right * left.bit_length() > MOST_BITS:
        raise TooMuch("** makes a number that is too large")


def percent(text, values) -> None:
    """text % values, before it is made."""
    if not isinstance(text, (str, bytes)):
        return
    text = text if isinstance(text, str) else text.decode("latin-1")
    widths = [width for found in CONVERSION.findall(text) for width in found if width]
    if text.count("%(") != len(KEYED.findall(text)) or any(width == "*" or len(width) > 6 for width in widths) or sum(map(int, widths)) > MOST_OUTPUT:
        raise too_much("a format's width")
    if isinstance(values, Mapping) and text.count("%(") * max(map(weight, values.values()), default=0) > MOST_OUTPUT:
        raise too_much("%")


def spec(text: str) -> None:
    """What stands behind the colon in {:…}."""
    if len(text) > MOST_SPEC or re.search(r"\d{7}", text):
        raise too_much("a format's width")


# Methods

def method(owner, name: str, arguments: tuple, named: dict) -> tuple:
    """A method of one of Python's own types, before it is called. Returns the arguments to call it with."""
    given = (*arguments, *named.values())
    if any(isinstance(one, int) and one > MOST_OUTPUT for one in given):
        raise too_much(name)
    if isinstance(owner, (datetime.date, datetime.time)) and any(isinstance(one, str) and len(one) > MOST_SPEC for one in given):
        raise TooMuch(f"a date's format has more than {MOST_SPEC} characters")
    if isinstance(owner, (str, bytes)) and name in METHODS:
        return METHODS[name](owner, *arguments, **named) or arguments
    return arguments


def _replace(text, old, new, *_, **__):
    if text.count(old) * len(new) > MOST_OUTPUT:
        raise too_much("replace")


def _expandtabs(text, tabsize=8):
    if text.count("\t" if isinstance(text, str) else b"\t") * tabsize > MOST_OUTPUT:
        raise too_much("expandtabs")


def _translate(text, table, *_, **__):
    values = table.values() if isinstance(table, Mapping) else ()
    if len(text) * max((len(value) for value in values if isinstance(value, str)), default=1) > MOST_OUTPUT:
        raise too_much("translate")


def _join(separator, values):
    return (joinable(separator, values),)


def _split(text, sep=None, maxsplit=-1):
    pieces = maxsplit if isinstance(maxsplit, int) and maxsplit >= 0 else text.count(sep) if sep else None
    if (len(text) > MOST_SPLIT) if pieces is None else pieces > MOST_ELEMENTS:
        raise TooMuch(f"split makes more than {MOST_ELEMENTS:,} pieces")


def _splitlines(text, *_, **__):
    _split(text)


def _encode(_, encoding="utf-8", errors="strict"):
    if str(encoding).lower().translate({ord("-"): "", ord("_"): ""}) not in CODECS:
        raise TooMuch(f"templates know the encodings {', '.join(sorted(CODECS))}")


METHODS = {"replace": _replace, "expandtabs": _expandtabs, "translate": _translate, "join": _join, "split": _split, "rsplit": _split, "splitlines": _splitlines,
           "encode": _encode, "decode": _encode}


def joinable(separator, values) -> list:
    """The values as a list, where they and the separators between them stay within the bound."""
    kept, room = [], MOST_OUTPUT
    for value in values:
        kept.append(value)
        room -= len(separator) + (len(value) if isinstance(value, str) else weight(value))
        if room < 0:
            raise too_much("join")
    return kept


# Filters

def filters(environment) -> dict:
    """The environment's filters that can grow, bounded. environment: has each(iterable, most), which ends an iteration, and add()."""
    known = environment.filters
    bounded = {name: _checked(known[name], check) for name, check in CHECKS.items()}
    for name in ("batch", "groupby", "list", "max", "min", "slice", "sort", "unique"):
        bounded[name] = _counted(environment, bounded.get(name, known[name]))
    return {**bounded, "join": _joined(environment, known["join"]), "sum": _summed(environment, known["sum"])}


def _checked(filter_, check):
    at = _first(filter_)

    @functools.wraps(filter_)
    def checked(*arguments, **named):
        check(*arguments[at:], **named)
        return filter_(*arguments, **named)

    return checked


def _counted(environment, filter_):
    """Of what is iterated over, so many elements at most; the time is looked at between them."""
    at = _first(filter_)

    @functools.wraps(filter_)
    def counted(*arguments, **named):
        return filter_(*arguments[:at], environment.each(arguments[at], MOST_ELEMENTS), *arguments[at + 1:], **named)

    return counted


def _joined(environment, join):
    @functools.wraps(join)
    def joined(context, values, d="", attribute=None):
        values = environment.each(_looked_up(environment, values, attribute), MOST_ELEMENTS)
        return join(context, joinable(str(d), values), d)

    return joined


def _summed(environment, sum_):
    """Each addition bounded by itself: lists can be summed too, and Python's own sum would copy what it has again for each."""
    @functools.wraps(sum_)
    def summed(_, iterable, attribute=None, start=0):
        for value in environment.each(_looked_up(environment, iterable, attribute), MOST_ELEMENTS):
            start = environment.add(start, value)
        return start

    return summed


def _looked_up(environment, values, attribute):
    return values if attribute is None else map(make_attrgetter(environment, attribute), values)


def _center(_, width=80):
    _at_most("center", width, MOST_OUTPUT)


def _batch(_, linecount=0, fill_with=None):
    _at_most("batch", linecount, MOST_ELEMENTS)


def _slice(_, slices=0, fill_with=None):
    _at_most("slice", slices, MOST_ELEMENTS)


def _round(_, precision=0, method="common"):
    _at_most("round", abs(precision) if isinstance(precision, int) else 0, MOST_PRECISION)


def _indent(text, width=4, first=False, blank=False):
    wide = len(width) if isinstance(width, str) else width
    _at_most("indent", wide, MOST_OUTPUT)
    if isinstance(text, str) and isinstance(wide, int) and wide * (len(text.splitlines()) + 1) > MOST_OUTPUT:
        raise too_much("indent")


def _tojson(value, indent=None):
    wide = len(indent) if isinstance(indent, str) else indent or 0
    _at_most("tojson", wide, MOST_INDENT)
    if wide and weight(value) > MOST_TEXT:
        raise TooMuch(f"tojson indents values of {MOST_TEXT:,} characters at most")


def _pprint(value):
    if weight(value) > MOST_TEXT:
        raise TooMuch(f"pprint takes values of {MOST_TEXT:,} characters at most")


def _replaced(text, old, new, count=None):
    _replace(str(text), str(old), str(new))


def _formatted(text, *arguments, **named):
    percent(str(text), named or arguments)


def _taken_apart(text, *_, **__):
    if isinstance(text, str) and len(text) > MOST_SPLIT:
        raise TooMuch(f"title and wordcount take texts of {MOST_SPLIT:,} characters at most")


def _of_words(name, text, *multiplied):
    """multiplied: what may stand in the result once for each word."""
    if not isinstance(text, str):
        return
    if len(text) > MOST_TEXT or max(map(len, text.split()), default=0) > MOST_WORD:
        raise TooMuch(f"{name} takes texts of {MOST_TEXT:,} characters at most, with words of {MOST_WORD:,}")
    if len(text) * sum(len(str(one)) for one in multiplied if one is not None) > MOST_OUTPUT:
        raise too_much(name)


def _wordwrap(text, width=79, break_long_words=True, wrapstring=None, break_on_hyphens=True):
    _of_words("wordwrap", text, wrapstring)


def _urlize(text, trim_url_limit=None, nofollow=False, target=None, rel=None, extra_schemes=None):
    _of_words("urlize", text, target, rel)
    if extra_schemes is not None and weight(extra_schemes) > MOST_SPEC:
        raise too_much("urlize")


CHECKS = {"batch": _batch, "center": _center, "format": _formatted, "indent": _indent, "pprint": _pprint, "replace": _replaced, "round": _round, "slice": _slice,
          "title": _taken_apart, "tojson": _tojson, "urlize": _urlize, "wordcount": _taken_apart, "wordwrap": _wordwrap}


def _first(filter_):
    """Where the filter's value stands: behind the context or environment that some get."""
    return int(hasattr(filter_, "jinja_pass_arg"))


def _at_most(name, number, most):
    if isinstance(number, int) and number > most:
        raise too_much(name) if most == MOST_OUTPUT else TooMuch(f"{name} takes {most:,} at most")


def too_much(name: str) -> TooMuch:
    return TooMuch(f"{name} makes more than {MOST_OUTPUT:,} characters")
