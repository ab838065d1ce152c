"""`recipients.where`: an expression over a row's cells, in the templates' own language and with its bounds."""

import difflib

import jinja2.meta
from jinja2 import nodes

from postroom import filters
from postroom.address import shown
from postroom.bounded import BoundedEnvironment
from postroom.errors import CampaignError, Place
from postroom.meter import Meter, TooMuch

ADVICE = 'write an expression over the columns, such as plan == "pro" or row["First Name"] != ""'


class Where:
    """A compiled expression; matches(row) says whether a row is mailed.

    place: where the expression stands in the campaign. columns, variables: the names that it may use, columns by plain names or as row["…"].
    Raises CampaignError for its syntax and for names that are neither.
    """

    def __init__(self, source: str, place: Place, columns: list[str], variables: dict):
        self.place, self.variables, self.meter = place, variables, Meter()
        environment = BoundedEnvironment(self.meter, undefined=jinja2.StrictUndefined)
        filters.install(environment)
        try:
            self.expression = environment.compile_expression(source, undefined_to_none=False)
            # It compiled as one expression, so it ends where the braces close.
            parsed = environment.parse("{{ " + source + " }}")
            names = jinja2.meta.find_undeclared_variables(parsed)
        except jinja2.TemplateError as error:
            raise self._error(error.message) from None
        except (RecursionError, SyntaxError):
            raise self._error("the expression is nested too deeply") from None
        except (TooMuch, ValueError) as error:
            # Without end, or with a number of thousands of digits.
            raise self._error(str(error)) from None
        asked = [*sorted(names - {"row"} - set(variables)), *_asked_of_row(parsed)]
        for name in asked:
            if name not in columns:
                near = difflib.get_close_matches(name, columns, 1)
                raise self._error(f'there is no column "{shown(name)}"', f'did you mean "{near[0]}"?' if near else
                                  f"the columns are: {', '.join(map(shown, columns))}")

    def matches(self, row: dict, line: int) -> bool:
        """Raises CampaignError, naming the row, where the expression fails for it or is neither true nor false."""
        self.meter.start()
        try:
            return self._is_true(row, line)
        except CampaignError as error:
            error.ends_it = self.meter.failed()
            raise

    def _is_true(self, row, line):
        try:
            value = self.expression({**self.variables, **row, "row": row})
            if value is True or not value:
                return bool(value)
        except TooMuch as error:
            raise self._error(f"the expression asks for too much: {error}", line=line) from None
        except RecursionError:
            raise self._error("the expression is nested too deeply", line=line) from None
        except MemoryError:
            raise self._error("the expression needs more memory than there is", line=line) from None
        except Exception as error:  # noqa: BLE001 - an expression's own mistake (text compared with a number) can raise anything
            raise self._error(shown(str(error)) or type(error).__name__, 'cells are text: compare them with text, or write amount | float > 5', line) from None
        # "no" in a cell would count as true.
        raise self._error(f'the expression gives "{_told(value)}" for this row, which is neither true nor false',
                          'compare it: vip == "yes", or vip != "" for any text', line)

    def _error(self, what, do=ADVICE, line=None):
        return CampaignError(f"`where`: {what}", Place(self.place.file, self.place.line, self.place.column, line), do)


def _told(value):
    try:
        return shown(str(value))
    except Exception:  # noqa: BLE001 - numbers of thousands of digits, lists in lists
        return type(value).__name__


def _asked_of_row(parsed):
    """The names written as row["…"] and row.name."""
    for node in parsed.find_all((nodes.Getitem, nodes.Getattr)):
        if not isinstance(node.node, nodes.Name) or node.node.name != "row":
            continue
        if isinstance(node, nodes.Getattr) and not hasattr(dict, node.attr):
            yield node.attr
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            yield node.arg.value
