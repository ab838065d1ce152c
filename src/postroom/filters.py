"""What templates may call beside Jinja2's own filters: dates, numbers, a default for empty cells, plurals.

Cells are text, so each takes text as well as values, and says what it cannot read. The same input gives the same output on
every machine, whatever its locale: names of months and days are English, and other orders are written out, `%Y年%-m月%-d日`.
"""

import datetime
import decimal
import re

import jinja2

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# The year first leaves no doubt; 03/04/2026 does.
YEAR_FIRST = re.compile(r"(\d{4})(?:-|/|\.|年)(\d{1,2})(?:-|/|\.|月)(\d{1,2})日?(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?")
DIRECTIVE = re.compile(r"%(-?.|$)", re.DOTALL)
DATE_FORMAT = "%-d %B %Y"
PLAIN_NUMBER = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?")
MOST_DIGITS, MOST_FORMAT, MOST_SHOWN = 12, 200, 40


def install(environment: jinja2.Environment) -> None:
    """Give these filters to an environment; `default` and its short name `d` take the place of Jinja2's own."""
    environment.filters.update(date=date, number=number, default=default, d=default, plural=plural)


def date(value, format: str = DATE_FORMAT, source: str | None = None) -> str:
    """A moment as people write it: {{ now | date }}, {{ due | date("%d.%m.%Y") }}.

    value: a date or datetime, or text with the year first (2026-11-24, 2026/11/24 18:30, 2026年11月24日). format: as strftime has it,
    %-d and %-m without a leading zero. source: how a text is written that has the year elsewhere, such as "%d/%m/%Y".
    """
    moment = _moment(value, source)
    if len(format) > MOST_FORMAT:
        raise ValueError(f"a date's format has {MOST_FORMAT} characters at most")
    return DIRECTIVE.sub(lambda found: _directive(found[1], moment), format)


def number(value, digits: int | None = None, separators: str = ",.", source: str | None = None) -> str:
    """A number with its thousands grouped: {{ total | number(2) }} is 1,234.50; {{ total | number(2, ".,") }} is 1.234,50.

    digits: behind the point, rounded half up as invoices are; None: as many as there are. separators: the one between thousands
    (a blank for none) and the one in front of the digits. source: the two separators that the text is written with; by default a
    point in front of the digits and nothing between thousands.
    """
    exact = _number(value, source)
    if digits is not None:
        if not isinstance(digits, int) or not 0 <= digits <= MOST_DIGITS:
            raise ValueError(f"number() takes 0 to {MOST_DIGITS} digits")
        exact = exact.quantize(decimal.Decimal(1).scaleb(-digits), decimal.ROUND_HALF_UP, decimal.Context(prec=100))
    group, point = _separators(separators)
    whole, _, rest = f"{abs(exact):,f}".partition(".")
    sign = "-" if exact < 0 else ""
    return sign + whole.replace(",", group) + (point + rest if rest else "")


def default(value, default_value="", boolean: bool = False):
    """The value, or `default_value` where it is not defined, None, or a cell without any text; with `boolean` for every false value."""
    empty = isinstance(value, jinja2.Undefined) or value is None or isinstance(value, str) and not value.strip()
    return default_value if empty or boolean and not value else value


def plural(value, one: str, many: str) -> str:
    """The word that goes with a number: {{ seats }} {{ seats | plural("seat", "seats") }}."""
    return one if abs(_number(value, None)) == 1 else many


def _moment(value, source):
    _defined(value)
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value
    text = str(value).strip()
    if not text:
        raise ValueError("there is no date in an empty cell; put {% if %} around it, or give a default")
    if source is not None:
        try:
            return datetime.datetime.strptime(text, source)
        except ValueError:
            raise ValueError(f'"{text[:MOST_SHOWN]}" is not a date written as {source[:MOST_SHOWN]}') from None
    found = YEAR_FIRST.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text[:MOST_SHOWN]}" is no date that is plain to everybody; write 2026-11-24, or say how it is written: date(source="%d/%m/%Y")')
    *parts, zone = found.groups()
    try:
        moment = datetime.datetime(*(int(part or 0) for part in parts))
    except ValueError:
        raise ValueError(f'"{text[:MOST_SHOWN]}" is no day of the calendar') from None
    return moment.replace(tzinfo=datetime.datetime.strptime(zone, "%z").tzinfo) if zone else moment


def _directive(letters, moment):
    bare, letter = letters.startswith("-"), letters[-1:]
    clock = moment if isinstance(moment, datetime.datetime) else datetime.datetime(moment.year, moment.month, moment.day)
    numbers = {"d": (moment.day, 2), "m": (moment.month, 2), "H": (clock.hour, 2), "I": (clock.hour % 12 or 12, 2), "M": (clock.minute, 2),
               "S": (clock.second, 2), "y": (moment.year % 100, 2), "j": (moment.timetuple().tm_yday, 3), "Y": (moment.year, 4)}
    words = {"B": MONTHS[moment.month - 1], "b": MONTHS[moment.month - 1][:3], "A": DAYS[moment.weekday()], "a": DAYS[moment.weekday()][:3],
             "p": "AM" if clock.hour < 12 else "PM", "Z": clock.tzname() or "", "%": "%"}
    if letter in numbers:
        value, width = numbers[letter]
        return str(value) if bare else f"{value:0{width}}"
    if letter in words and not bare:
        return words[letter]
    raise ValueError(f'a date\'s format knows no "%{letters}"; it knows %{" %".join((*numbers, *words))}, and %-d %-m without a leading zero')


def _number(value, source):
    _defined(value)
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    text = repr(value) if isinstance(value, float) else str(value).strip()
    plain = text
    if source is not None:
        group, point = _separators(source)
        plain = (plain.replace(group, "") if group else plain).replace(point, ".")
    if not PLAIN_NUMBER.fullmatch(plain):
        if not text:
            raise ValueError("there is no number in an empty cell; put {% if %} around it, or give a default")
        advice = "" if source else '; write it as 1234.5, or say how it is written: number(source=".,")'
        raise ValueError(f'"{text[:MOST_SHOWN]}" is not a number{advice}')
    return decimal.Decimal(plain)


def _separators(text):
    if not isinstance(text, str) or len(text) != 2 or text[1].isdigit() or text[0] == text[1] or text[1] == " ":
        raise ValueError('separators are two characters: the one between thousands (a blank for none), and the one in front of the digits, such as ".,"')
    return text[0].strip(" "), text[1]


def _defined(value):
    if isinstance(value, jinja2.Undefined):
        # Says which name it is.
        str(value)
