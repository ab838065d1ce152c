"""The template pair and the campaign's small templates, rendered for one row: words, not yet a message.

Sandboxed Jinja2 that knows no environment and no file but those beside a template. HTML is autoescaped because it is
the HTML part, whatever its file is called; text, subject and headers are not. What a cell brings is data: it is
rendered into a template once and never rendered itself. An undefined variable is an error with its place.
"""

import keyword
import os

import jinja2

from postroom import filters
from postroom.address import shown
from postroom.bounded import BoundedEnvironment
from postroom.compose import syntax
from postroom.compose.bodies import Body, Forms
from postroom.errors import Place, PostroomError, TemplateError
from postroom.meter import Meter, TooMuch
from postroom.read.project import display

MOST_SOURCE = 2 << 20
MOST_WORDS = 300  # characters of what Python says of a fault; some of it quotes the value
DEEP = "something is nested too deeply"
# Names that Jinja2 takes for itself: a column called so is reached by row["..."] alone.
JINJA_WORDS = {"none", "true", "false", "loop", "self", "super", "caller", "varargs", "kwargs", "not", "and", "or", "in", "is",
               "if", "else", "elif", "for", "import", "include", "range", "dict", "lipsum", "cycler", "joiner", "namespace"}
OURS = ("row", "now", "unsubscribe_url", "unsubscribe_token")


class Undefined(jinja2.StrictUndefined):
    """An undefined variable's message says which name, and how a column with odd letters is reached."""

    @property
    def _undefined_message(self):
        if isinstance(self._undefined_obj, Row):
            return f'there is no column "{self._undefined_name}"'
        if self._undefined_hint or self._undefined_obj is not jinja2.utils.missing:
            return super()._undefined_message
        return f'"{self._undefined_name}" is neither a column nor in `vars`'


class Row(dict):
    """A row's cells by column name, as templates see it."""


class Loader(jinja2.BaseLoader):
    """Templates beside the first one, by names without `..`; remembers what it has read, for the content digest."""

    def __init__(self, project, folder: str):
        self.project, self.folder, self.sources = project, folder, {}

    def get_source(self, environment, name):
        if ".." in name.split("/") or os.path.isabs(name) or "\\" in name:
            raise TemplateError(f'"{name}" leads out of the template\'s folder', None, "name a file beside the template")
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            raise jinja2.TemplateNotFound(name)
        place = Place(display(path))
        octets = self.project.read(path, place, MOST_SOURCE)
        try:
            source = octets.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = octets.count(b"\n", 0, error.start) + 1
            raise TemplateError(f"octet {error.start} (0x{octets[error.start]:02X}) is not UTF-8", Place(place.file, line),
                                "save the template as UTF-8") from None
        environment.check_source(source)
        syntax.check_comments(source, lambda line: Place(place.file, line), environment)
        self.sources[path] = octets
        return source, place.file, None


class Templates:
    """Compiles and renders a campaign's templates, one at a time, so that a caller can collect the faults of all."""

    def __init__(self, project):
        self.project, self.meter = project, Meter()
        self.loaders, self._forms = [], {}  # a template file's environment -> Forms
        self.small = self._environment(autoescape=False)
        self.places = {}

    def file(self, path: str, place, html: bool):
        """Compile a template file of the campaign. place: where the campaign names it."""
        real = self.project.resolve(path, place)
        loader = Loader(self.project, os.path.dirname(real))
        self.loaders.append(loader)
        environment = self._environment(autoescape=html, loader=loader)
        self._forms[environment] = Forms(environment.written)
        return self._compiled(lambda: environment.get_template(os.path.basename(real)), Place(display(real)))

    def text(self, source: str, place):
        """Compile a small template of the campaign file, or return it as it is where nothing in it varies."""
        if "{" not in source:
            return source
        # The place's text is the code's file name, so that a traceback leads back here.
        filename = f"<{place}>"
        self.places[filename] = place
        code = self._compiled(lambda: self.small.compile(source, filename=filename), place)
        return self.small.template_class.from_code(self.small, code, self.small.make_globals(None))

    def render(self, template, context: dict, row: int) -> str:
        """One template's output for one row. Raises TemplateError with template, line and row."""
        if isinstance(template, str):
            return template
        return self._finished(template, context, row, _whole)

    def body(self, template, context: dict, row: int) -> Body:
        """The output of a template file. Raises as render()."""
        forms = self._forms[template.environment]
        return self._finished(template, context, row, lambda pieces: Body(pieces, forms))

    def _finished(self, template, context, row, finish):
        """What `finish` makes of the output's pieces."""
        self.meter.start()
        try:
            return finish(template.pieces(context))
        except PostroomError as error:
            found = error
        except Exception as error:  # noqa: BLE001 - a template's own mistake (a filter on the wrong type) can raise anything
            found = self._fault(error, template, row)
        found.ends_it = self.meter.failed()
        found.where = found.where or self._place(found, template)
        found.where.row = row
        raise found from None

    def _fault(self, error, template, row):
        place = self._place(error, template, row)
        if isinstance(error, TooMuch):
            return TemplateError(str(error), place, "make it smaller")
        if isinstance(error, jinja2.TemplateError):
            return self._explained(error, place, row)
        if isinstance(error, RecursionError):
            return TemplateError("it includes or calls itself without end, or is nested too deeply", place, "end the recursion")
        if isinstance(error, SyntaxError):
            return TemplateError(f"{DEEP} in what it includes", place, "make it simpler")
        if isinstance(error, MemoryError):
            return TemplateError("it needs more memory than there is", place, "make it smaller")
        if isinstance(error, UnicodeEncodeError):
            return TemplateError("the result holds half a character (an escape such as \\ud800)", place, "write the character itself")
        words = str(error) or type(error).__name__
        return TemplateError(words if len(words) <= MOST_WORDS else words[:MOST_WORDS] + "...", place, "correct the cell or the expression")

    def _compiled(self, compile_, place):
        self.meter.start()
        try:
            return compile_()
        except jinja2.TemplateError as error:
            raise self._explained(error, place, None) from None
        except (RecursionError, SyntaxError, MemoryError):
            # Python's own compiler allows 20 loops in each other, and 100 of anything.
            raise TemplateError(DEEP, place, "make it simpler") from None
        except (TooMuch, ValueError, OverflowError) as error:
            # A number of thousands of digits.
            raise TemplateError(str(error), place, "make it smaller") from None

    def _environment(self, **options):
        environment = BoundedEnvironment(self.meter, undefined=Undefined, keep_trailing_newline=True, **options)
        filters.install(environment)
        return environment

    def sources(self) -> dict[str, bytes]:
        """Every template file read so far, includes too: path to octets."""
        return {path: octets for loader in self.loaders for path, octets in loader.sources.items()}

    def _place(self, error, template, row=None):
        """The deepest template line that the traceback names."""
        named = self.places.get(template.filename) or Place(template.filename)
        place = Place(named.file, named.line, named.column, row)
        files = {display(path) for path in self.sources()}
        trace = error.__traceback__ if error else None
        while trace is not None:
            filename = trace.tb_frame.f_code.co_filename
            if filename in files:
                place = Place(filename, trace.tb_lineno, row=row)
            trace = trace.tb_next
        return place

    def _explained(self, error, place, row):
        if isinstance(error, jinja2.TemplateSyntaxError):
            # The lexer's own errors have the file's name as `name`.
            file = error.filename or error.name
            if file and file not in self.places:
                place = Place(file, error.lineno)
            place.row = row
            what, do = syntax.explain(error, self.small)
            return TemplateError(f"template syntax: {what}", place, do)
        place.row = row
        if isinstance(error, jinja2.TemplateNotFound):
            return TemplateError(f'there is no template "{shown(str(error.message))}" beside this one', place, "correct the name or add the file")
        if isinstance(error, jinja2.UndefinedError):
            return TemplateError(error.message, place, "correct the name, add the column, or give a default: {{ name | default('…') }}")
        return TemplateError(error.message or type(error).__name__, place, "correct the template")


def _whole(pieces):
    text = "".join(pieces)
    text.encode()  # raises for half a character, as a Body does
    return text


def variables(campaign, columns) -> list[str]:
    """The columns that templates can name directly; the others are reached by row["..."] alone."""
    return [name for name in columns if name.isidentifier() and not keyword.iskeyword(name)
            and name not in JINJA_WORDS and name not in OURS and name not in campaign.vars]

