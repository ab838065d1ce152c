"""Which columns a template passes through as HTML: for them nothing is escaped, so whoever fills the cell writes the mail."""

from collections.abc import Iterator

from jinja2 import nodes

# What these make of a cell is escaped, a number or a date: no markup comes through.
HARMLESS = {"e", "escape", "forceescape", "urlencode", "tojson", "int", "float", "round", "length", "count", "wordcount", "number", "date"}
# Their result is true or false, whatever they look at.
QUESTIONS = (nodes.Compare, nodes.Test, nodes.Not)


def unescaped(template: nodes.Template, columns) -> Iterator[tuple[int, str]]:
    """(line, column) of each `| safe` on a column, and of each column inside `{% autoescape false %}`.

    Follows `set` and `for`, not the arguments of a macro. template: parsed. columns: the table's.
    """
    yield from _Walk(columns).through(template, escaping=True)


class _Walk:
    """bound: what `set` and `for` have put into a name, as the columns that it comes from."""

    def __init__(self, columns):
        self.columns, self.bound = set(columns), {}

    def through(self, node, escaping):
        if isinstance(node, nodes.Filter) and node.name == "safe" or isinstance(node, nodes.Output) and not escaping:
            for column in sorted(self._of_all(node.nodes if isinstance(node, nodes.Output) else [node.node])):
                yield node.lineno, column
        elif isinstance(node, nodes.ScopedEvalContextModifier):
            off = (option.value for option in node.options if option.key == "autoescape")
            escaping = not any(isinstance(value, nodes.Const) and not value.value for value in off)
        elif isinstance(node, nodes.For):
            self._bind(node.target, self.flows(node.iter))
        for child in node.iter_child_nodes():
            yield from self.through(child, escaping)
        if isinstance(node, nodes.Assign):
            self._bind(node.target, self.flows(node.node))
        elif isinstance(node, nodes.AssignBlock):
            self._bind(node.target, set())

    def _bind(self, target, found):
        for name in [target] if isinstance(target, nodes.Name) else target.find_all(nodes.Name):
            self.bound[name.name] = found

    def flows(self, node) -> set[str]:
        """The columns whose text may come out of an expression as it is."""
        if isinstance(node, nodes.Name):
            return self.bound.get(node.name, {node.name} & self.columns)
        if isinstance(node, QUESTIONS) or isinstance(node, nodes.Filter) and node.name in HARMLESS:
            return set()
        if isinstance(node, (nodes.Getattr, nodes.Getitem)):
            return self._of_row(node) if isinstance(node.node, nodes.Name) and node.node.name == "row" else self.flows(node.node)
        if isinstance(node, nodes.CondExpr):
            return self._of_all(filter(None, (node.expr1, node.expr2)))
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
            return set()  # a macro's result is escaped already
        return self._of_all(node.iter_child_nodes())

    def _of_row(self, node):
        name = node.attr if isinstance(node, nodes.Getattr) else node.arg.value if isinstance(node.arg, nodes.Const) else None
        # A method such as row.values(), or a name that only the row knows: it may be any of them.
        return {name} if name in self.columns else self.columns

    def _of_all(self, several):
        return set().union(*map(self.flows, several))
