"""YAML with bounds, marks and text as written.

What PyYAML would turn into something else stays what the person typed: `007`, `NO`, `1.10`, `2026-11-23`, `1:30`.
Only `true`, `false`, `null` and numbers that print as they were written get a type, so `str()` of a value is its text.
Aliases, merge keys, depth and size are bounded before anything is built: a few lines of YAML can otherwise ask for
gigabytes. Two equal keys are an error, where PyYAML keeps the last in silence.
"""

import re

import yaml

from postroom.errors import CampaignError, Place

MOST_OCTETS, MOST_EVENTS, MOST_ALIASES, MOST_DEPTH, MOST_VALUES = 1 << 20, 20_000, 100, 40, 50_000
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
# What PyYAML guesses for values without a tag; any other tag was written by somebody.
TEXT_TAG = "tag:yaml.org,2002:str"
PLAIN_TAGS = {"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value"}
INTEGER, DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,17}"), re.compile(r"-?(0|[1-9][0-9]{0,11})\.[0-9]{1,6}")
QUOTES = "put quotes around the value: \"…\""


class Marked:
    """A document and where each of its values stands.

    value: dicts, lists and scalars. place(path): the Place of the value at a path such as ("smtp", "port"), of the
    nearest value above it where the path itself is not in the document.
    """

    def __init__(self, file, value, marks):
        self.file, self.value, self.marks = file, value, marks

    def place(self, path=()) -> Place:
        path = tuple(path)
        while path and path not in self.marks:
            path = path[:-1]
        line, column = self.marks.get(path, (1, 1))
        return Place(self.file, line, column)


def load(octets: bytes, file: str) -> Marked:
    """The one document in `octets`. file: its name for errors. Raises CampaignError with line and column."""
    text = _decoded(octets, file)
    try:
        _bounded(text, file)
        node = yaml.CSafeLoader(text).get_single_node()
    except yaml.YAMLError as error:
        raise _explained(error, text, file) from None
    if node is None:
        return Marked(file, None, {})
    builder = _Builder(file)
    return Marked(file, builder.value(node, ()), builder.marks)


def _decoded(octets, file):
    if len(octets) > MOST_OCTETS:
        raise CampaignError(f"the file has {len(octets):,} octets; at most {MOST_OCTETS:,} are read", Place(file),
                            "move long texts into templates")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise CampaignError(f"octet {error.start} (0x{octets[error.start]:02X}) is not UTF-8", Place(file, line),
                            "save the file as UTF-8") from None
    if "\0" in text:
        raise CampaignError("there is a NUL character in the file", Place(file, text.count("\n", 0, text.index("\0")) + 1),
                            "remove it; is this a text file?")
    return text


def _bounded(text, file):
    """Count what the parser sees before anything is built from it."""
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        place = Place(file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > MOST_DEPTH:
            raise CampaignError(f"values are nested more than {MOST_DEPTH} deep", place, "make the file flatter")
        if aliases > MOST_ALIASES:
            raise CampaignError(f"there are more than {MOST_ALIASES} aliases (*name)", place, "write the values out")
        if count > MOST_EVENTS:
            raise CampaignError("there are too many values in this file", place, "move data into the recipients' table")


def _explained(error, text, file):
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return CampaignError(" ".join(str(error).split()), Place(file), "correct the YAML")
    lines = text.split("\n")
    told = error.problem or error.context
    problem = f"this is not YAML: {f'{error.context} {told}' if told.startswith('but ') else told}"
    # The parser stumbles where a value goes on after "}}", often on the line below its start.
    for number in (mark.line, mark.line - 1):
        line = lines[number] if 0 <= number < len(lines) else ""
        if re.search(r":\s+\{\{", line):
            return CampaignError(problem, Place(file, number + 1, line.index("{{") + 1),
                                 "a value that begins with {{ needs quotes around it: \"{{ … }}\"")
        if re.search(r":\s+[@`%&*!|>{\[]", line):
            return CampaignError(problem, Place(file, number + 1, mark.column + 1), QUOTES)
    advice = "indent with spaces, not tabs" if "\t" in (lines[mark.line] if mark.line < len(lines) else "") else "correct the YAML"
    return CampaignError(problem, Place(file, mark.line + 1, mark.column + 1), advice)


class _Builder:
    """Nodes to values, with a mark for each path. Shared nodes are built anew, so their expanded size is counted."""

    def __init__(self, file):
        self.file, self.marks, self.count, self.above = file, {}, 0, []

    def value(self, node, path):
        self.count += 1
        place = self._place(node)
        if self.count > MOST_VALUES:
            raise CampaignError("aliases make this file too large", place, "write the values out")
        if any(node is other for other in self.above):
            raise CampaignError("an alias refers to what it stands in", place, "write the value out")
        self.marks.setdefault(path, (place.line, place.column))
        self.above.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            self._no_tag(node)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
            # Plain text that nothing guesses at, and what somebody marked as text with !!str, is text.
            return node.value if node.style or node.tag == TEXT_TAG else typed(node.value)
        finally:
            self.above.pop()

    def _mapping(self, node, path):
        self._no_tag(node)
        merged, own, lines = {}, {}, {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                if isinstance(key_node, yaml.SequenceNode):
                    raise CampaignError("a list cannot be a key", place, QUOTES)
                raise CampaignError("{{ … }} without quotes is not text in YAML", place, "put quotes around it: \"{{ … }}\"")
            self._no_tag(key_node)
            key = key_node.value
            if key == "<<" and not key_node.style:
                merged = {**self._merged(value_node, path), **merged}
                continue
            if key in own:
                raise CampaignError(f'the key "{key}" stands here and in line {lines[key]}', place, "keep one of them")
            lines[key] = place.line
            self.marks[(*path, key)] = (place.line, place.column)
            own[key] = self.value(value_node, (*path, key))
        return {**merged, **own}

    def _merged(self, node, path):
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(one, yaml.MappingNode) for one in nodes):
            raise CampaignError("<< merges maps only", self._place(node), "give it a map, such as *defaults")
        merged = {}
        for one in nodes:
            merged = {**self.value(one, path), **merged}
        return merged

    def _no_tag(self, node):
        if node.tag.removeprefix("tag:yaml.org,2002:") not in PLAIN_TAGS:
            raise CampaignError(f"tags such as {node.tag} are not allowed", self._place(node), "remove the tag")

    def _place(self, node):
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)


def typed(text: str):
    """A plain scalar's value: a word or a number only where its text is exactly how we would print it."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    return text
