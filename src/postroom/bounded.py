"""Jinja2's sandbox with bounds: an expression cannot fill the machine, nor hold it, before the length of its output is seen.

The sandbox says what templates may reach; this says how much. The generated code asks the environment around every expression that
makes or compares something, loops ask between their elements, and one step makes little more than it is given (see `growing`).
What gives another result each time (`random`, `lipsum`) is left out: a message that leaves must be the one that was checked.
"""

import re
import types
from collections.abc import Iterable, Iterator
from itertools import islice
from time import monotonic

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.environment import TemplateModule
from jinja2.lexer import TokenStream
from jinja2.runtime import LoopContext, escape, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from jinja2.utils import Namespace
from markupsafe import Markup

from postroom import growing
from postroom.meter import MOST_OUTPUT, Meter, TooMuch, weight

MOST_TOKENS = 50_000  # of one template: so many take about a second and 160 MB to compile
METHODS = types.MethodType, types.BuiltinMethodType
MOST_DIGITS = 10_000  # of a number; the lexer takes 300 octets for each
ENDLESS = re.compile(rf"\d[\d_]{{{MOST_DIGITS}}}|0[box][\da-f_]{{{MOST_DIGITS}}}", re.IGNORECASE)
OF_THE_CODE = {"_loop_vars", "_block_vars"}  # the generated code's own arguments, which Context.call takes away
EACH = " each"  # no template can write this name
MOST_ESCAPED, MOST_REMEMBERED = 1_000, 200  # how many escaped values are kept, and of how many characters
COUNTED_AT_ONCE = 4096
ESCAPES = str.maketrans({character: str(escape(character)) for character in "&<>'\""})  # in a text that is no Markup


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Raises TooMuch where a template makes far more than it may put out, and TooLong, which is one, where it has no end.

    meter: shared by the environments of one rendering; whoever renders starts it. Without one each environment has its own.
    """

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, meter: Meter | None = None, **options):
        # Without the optimizer, which computes what is constant while it compiles.
        super().__init__(optimized=False, **options)
        self.meter = meter or Meter()
        self.written: set[str] = set()  # what stands in its templates outside of all tags, as rendering puts it out
        self.escaped = _Escaped(self)
        self.code_generator_class, self.template_class = _Code, _Template
        self.filters |= growing.filters(self)
        self.filters[EACH] = self.each
        self.globals["namespace"] = _Namespace
        del self.filters["random"], self.globals["lipsum"]

    def fit(self, value):
        """Itself, if it is within the bounds."""
        kind = type(value)
        if kind is str or kind is Markup:
            # Nearly always; what make() does, without the call.
            size, meter = len(value), self.meter
            meter.left -= size
            if size > MOST_OUTPUT or meter.left < 0 or monotonic() > meter.deadline:
                meter.make(size)
        elif value is not None and kind is not bool:
            self.meter.make(weight(value))
        return value

    def ticked(self, value):
        """Itself, if there is time left."""
        self.meter.tick()
        return value

    def each(self, iterable: Iterable, most: int | None = None) -> "_Each":
        """What a loop goes over, with a look at the time between two elements. most: so many at most."""
        return _Each(iterable, self.meter, most)

    def join(self, context, values: tuple) -> str:
        """The operator ~."""
        if sum(len(value) if isinstance(value, str) else weight(value) for value in values) > MOST_OUTPUT:
            raise growing.too_much("~")
        return self.fit((markup_join if context.eval_ctx.autoescape else str_join)(values))

    def concat(self, parts: Iterable[str]) -> str:
        """What a macro, a block or a template has put out, in one piece."""
        return "".join(self.parts(parts))

    def make_globals(self, d: dict | None) -> dict:
        """A template's globals. A plain dict: Jinja2's own ChainMap takes longer to copy, for each rendering, than a short template takes to render."""
        return {**self.globals, **(d or {})}

    def parts(self, parts: Iterable[str], room: int = MOST_OUTPUT) -> list[str]:
        """The parts as a list; together they are within the bound, or what is left of it."""
        kept = []
        for part in parts:
            room -= len(part)
            if room < 0:
                fault = TooMuch(f"it makes more than {MOST_OUTPUT:,} characters")
                # Raised where the template stands, so that its line is told.
                getattr(parts, "throw", self._raised)(fault)
            kept.append(part)
        return kept

    @staticmethod
    def _raised(fault):
        raise fault

    def add(self, left, right):
        """The operator +."""
        value = left + right
        if isinstance(value, (list, tuple)):
            # What it holds was made before.
            if weight(value) > MOST_OUTPUT:
                raise growing.too_much("+")
            self.meter.make(len(value))
            return value
        return self.fit(value)

    def call_binop(self, context, operator, left, right):
        if operator == "+":
            return self.add(left, right)
        {"*": growing.times, "**": growing.power, "%": growing.percent}[operator](left, right)
        return self.fit(super().call_binop(context, operator, left, right))

    def call(self, context, called, /, *arguments, **named):
        self.meter.tick()
        held = 0
        for value in (*arguments, *named.values()):
            if type(value) is not str and isinstance(value, (list, tuple)):
                held += weight(value)
        if held > MOST_OUTPUT:
            raise growing.too_much("a call")
        owner = getattr(called, "__self__", None)
        if owner is not None:
            given = {name: value for name, value in named.items() if name not in OF_THE_CODE}
            arguments = growing.method(owner, called.__name__, arguments, given)
        elif isinstance(called, LoopContext):
            arguments = tuple(map(self.each, arguments))
        return self.fit(super().call(context, called, *arguments, **named))

    def call_filter(self, *arguments, **named):
        return self.fit(super().call_filter(*arguments, **named))

    def call_test(self, *arguments, **named):
        return self.ticked(super().call_test(*arguments, **named))

    def getitem(self, obj, argument):
        self.meter.tick()
        return super().getitem(obj, argument)

    def wrap_str_format(self, value):
        if not isinstance(value, METHODS) or super().wrap_str_format(value) is None:
            return None
        text = value.__self__
        formatter = _EscapeFormatter(self, escape=text.escape) if isinstance(text, Markup) else _Formatter(self)

        def formatted(*arguments, **named):
            if value.__name__ == "format_map":
                arguments, (named,) = (), arguments
            return type(text)(formatter.vformat(text, arguments, named))

        return formatted

    def _load_template(self, name, globals):
        self.meter.tick()
        return super()._load_template(name, globals)

    def check_source(self, source: str) -> None:
        """Raises TooMuch for what the lexer itself would take a gigabyte for."""
        if found := ENDLESS.search(source):
            raise TooMuch(f"{found[0][:20]}... has more than {MOST_DIGITS:,} digits")

    def _tokenize(self, source, name, filename=None, state=None):
        self.check_source(source)
        return TokenStream(_few(super()._tokenize(source, name, filename, state)), name, filename)

    def _generate(self, source, name, filename, defer_init=False):
        for loop in list(source.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, EACH, [], [], None, None, lineno=loop.iter.lineno, environment=self)
        return super()._generate(source, name, filename, defer_init)


class _Code(CodeGenerator):
    """The generated Python, with a question to the environment around what makes or compares something."""

    def visit_Filter(self, node, frame):
        self._asked("fit" if node.name != EACH else None, super().visit_Filter, node, frame)

    def visit_Test(self, node, frame):
        self._asked("ticked", super().visit_Test, node, frame)

    def visit_Compare(self, node, frame):
        self._asked("ticked", super().visit_Compare, node, frame)

    def visit_List(self, node, frame):
        self._asked("fit", super().visit_List, node, frame)

    def visit_Dict(self, node, frame):
        self._asked("fit", super().visit_Dict, node, frame)

    def visit_Tuple(self, node, frame):
        self._asked("fit" if node.ctx == "load" else None, super().visit_Tuple, node, frame)

    def visit_Getitem(self, node, frame):
        self._asked("fit" if isinstance(node.arg, nodes.Slice) else None, super().visit_Getitem, node, frame)

    def visit_Concat(self, node, frame):
        self.write("environment.join(context, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def _asked(self, question, visit, node, frame):
        if question is None:
            return visit(node, frame)
        self.write(f"environment.{question}(")
        visit(node, frame)
        self.write(")")
        return None

    def _output_const_repr(self, group):
        text = "".join(group)
        self.environment.written.add(text)
        return super()._output_const_repr([text])

    def _output_child_to_const(self, node, frame, finalize):
        # Anything else would be computed while it compiles, at no place that an error could name.
        if not isinstance(node, (nodes.TemplateData, nodes.Const)):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, node, frame, finalize):
        # What goes into a buffer is held until its end; what is put out is counted where it arrives.
        if frame.buffer is not None:
            self.write("environment.fit(")
        # Only what is text and nothing else may be looked up: a Markup is equal to the text that it was made of.
        if self._escapes(frame, finalize) and isinstance(node, nodes.Name):
            name = frame.symbols.ref(node.name)
            self.write(f"(environment.escaped[{name}] if type({name}) is str else escape(")
        elif self._escapes(frame, finalize):
            self.write("(environment.escaped[_put_out] if type(_put_out := ")
        else:
            super()._output_child_pre(node, frame, finalize)

    def _output_child_post(self, node, frame, finalize):
        if self._escapes(frame, finalize):
            self.write("))" if isinstance(node, nodes.Name) else ") is str else escape(_put_out))")
        else:
            super()._output_child_post(node, frame, finalize)
        if frame.buffer is not None:
            self.write(")")

    @staticmethod
    def _escapes(frame, finalize):
        return frame.eval_ctx.autoescape and not frame.eval_ctx.volatile and finalize.src is None


class _Escaped(dict):
    """A text to what is put out of it in HTML. The same cell stands in a message often, and a Markup of it takes longer than all else that is done with it."""

    def __init__(self, environment):
        super().__init__()
        self._environment = environment

    def __missing__(self, text):
        escaped = text.translate(ESCAPES)
        if len(text) > MOST_REMEMBERED:
            return self._environment.fit(escaped)
        if len(self) >= MOST_ESCAPED:
            self.clear()
        self[text] = escaped
        return escaped


class _Template(jinja2.Template):
    """A template whose output is bounded as it comes; as a module too: an import runs it and holds what it puts out."""

    def pieces(self, variables: dict) -> list[str]:
        """What it puts out, as it came. Raises whatever a template may, with a traceback in its own lines."""
        try:
            parts, kept, room = self._parts(variables), [], MOST_OUTPUT
            while True:
                some = list(islice(parts, COUNTED_AT_ONCE))
                room -= sum(map(len, some))
                if room < 0:
                    break
                kept += some
                if len(some) < COUNTED_AT_ONCE:
                    return kept
            if len(some) < COUNTED_AT_ONCE:
                # It came to its end: once more, one by one, so that the line is told at which it is too much.
                parts = self._parts(variables)
            return self.environment.parts(parts, room=0 if len(some) == COUNTED_AT_ONCE else MOST_OUTPUT)
        except Exception:  # noqa: BLE001 - it is raised again, with the template's lines
            self.environment.handle_exception()

    def _parts(self, variables):
        # As new_context() has it, with half as many steps: our templates' globals are all the same.
        environment = self.environment
        return self.root_render_func(environment.context_class(environment, {**self.globals, **variables}, self.name, self.blocks))

    def make_module(self, vars=None, shared=False, locals=None):
        context = self.new_context(vars, shared, locals)
        return TemplateModule(self, context, self.environment.parts(self.root_render_func(context)))


class _Each:
    __slots__ = ("iterable", "meter", "most")

    def __init__(self, iterable, meter, most):
        self.iterable, self.meter, self.most = iterable, meter, most

    def __iter__(self) -> Iterator:
        meter, now, left = self.meter, monotonic, self.most
        for element in self.iterable:
            if now() > meter.deadline:
                meter.tick()
            if left is not None:
                left -= 1
                if left < 0:
                    raise TooMuch(f"a list has more than {self.most:,} elements")
            yield element

    def __len__(self):
        return len(self.iterable)


class _Namespace(Namespace):
    def __repr__(self):
        # Each may hold others, and those others again: written out it can be any length.
        return "<namespace>"


class _Formatter(SandboxedFormatter):
    def format_field(self, value, format_spec):
        growing.spec(format_spec)
        return self._env.fit(super().format_field(value, format_spec))


class _EscapeFormatter(_Formatter, SandboxedEscapeFormatter):
    pass


def _few(stream):
    for count, token in enumerate(stream):
        if count > MOST_TOKENS:
            raise TooMuch(f"there are more than {MOST_TOKENS:,} words and signs in its tags")
        yield token
