"""Jinja2's sandbox with bounds: an expression cannot fill the machine before the length of its output is seen.

What gives another result each time (`random`, `lipsum`) is left out: a message that leaves must be the
one that was checked.
"""

import functools
import re

from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

MOST_OUTPUT = 5 << 20
# A width of seven digits, or one that comes from an argument.
WIDE_PERCENT = re.compile(r"%[^a-zA-Z%]*(?:\*|\d{7})")
WIDE_BRACES = re.compile(r"\{[^{}]*:[^{}]*(?:\{|\d{7})")
WIDENING_FILTERS = ("batch", "center", "indent", "slice", "tojson", "wordwrap")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Refuses, with SecurityError, what would build far more than a template may put out."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def __init__(self, **options):
        super().__init__(**options)
        for name in WIDENING_FILTERS:
            self.filters[name] = _narrow(self.filters[name])
        self.filters["format"] = _narrow_format(self.filters["format"])
        self.filters["replace"] = _narrow_replace(self.filters["replace"])
        del self.filters["random"], self.globals["lipsum"]

    def call_binop(self, context, operator, left, right):
        if operator == "%":
            _check_format(left, WIDE_PERCENT)
        for value, times in ((left, right), (right, left)):
            if operator == "*" and isinstance(times, int) and hasattr(value, "__len__") and len(value) * times > MOST_OUTPUT:
                raise _too_much("*")
        if operator == "**" and isinstance(left, int) and isinstance(right, int) and right * left.bit_length() > 10_000:
            raise SecurityError("** makes a number that is too large")
        return super().call_binop(context, operator, left, right)

    def call(self, context, called, *arguments, **named):  # noqa: PLR0913 - as the base class has it
        text = getattr(called, "__self__", None)
        if isinstance(text, str):
            if called.__name__ == "replace":
                _check_replace(text, *arguments)
            elif called.__name__ != "format":
                _check_widths(called.__name__, (*arguments, *named.values()))
        return super().call(context, called, *arguments, **named)

    def wrap_str_format(self, value):
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__, WIDE_BRACES)
        return wrapped


def _narrow(filter_):
    @functools.wraps(filter_)
    def narrow(*arguments, **named):
        _check_widths(filter_.__name__.removeprefix("do_"), (*arguments[1:], *named.values()))
        return filter_(*arguments, **named)

    return narrow


def _narrow_format(filter_):
    @functools.wraps(filter_)
    def narrow(value, *arguments, **named):
        _check_format(value, WIDE_PERCENT)
        return filter_(value, *arguments, **named)

    return narrow


def _narrow_replace(filter_):
    @functools.wraps(filter_)
    def narrow(context, text, old, new, count=None):
        _check_replace(str(text), str(old), str(new))
        return filter_(context, text, old, new, count)

    return narrow


def _check_format(text, wide):
    if isinstance(text, str) and wide.search(text):
        raise _too_much("a format's width")


def _check_widths(name, arguments):
    if any(isinstance(argument, int) and argument > MOST_OUTPUT for argument in arguments):
        raise _too_much(name)


def _check_replace(text, old, new, *_):
    if text.count(old) * len(new) > MOST_OUTPUT:
        raise _too_much("replace")


def _too_much(name):
    return SecurityError(f"{name} makes more than {MOST_OUTPUT:,} characters")
