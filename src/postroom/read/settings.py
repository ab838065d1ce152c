"""A campaign's settings as a whole: `postroom.yaml`, then what `extends` names, then the file itself, one over the other.

Maps merge, lists replace, null removes. Each value remembers the file that it came from, so that an error names that file,
and a path is read as its author meant it: relative to the file it is written in.
"""

import os
from collections import namedtuple

from postroom.errors import CampaignError, Place
from postroom.read import marked_yaml
from postroom.read.project import ROOT_FILE, Project, display, reason

MOST_FILES = 10
EXTENDS = "extends"

_Mark = namedtuple("_Mark", "file line column folder")


class Settings:
    """file: the campaign file as a person here would type it. value: the merged map. marks: path -> where it was written."""

    def __init__(self, file: str, folder: str, value: dict, marks: dict):
        self.file, self.value = file, value
        self._folder, self._marks = folder, marks

    def place(self, path=()) -> Place:
        """Where the value at a path such as ("smtp", "port") was written; the nearest value above it where it was not."""
        mark = self._mark(path)
        return Place(mark.file, mark.line, mark.column) if mark else Place(self.file, 1, 1)

    def folder(self, path=()) -> str:
        """The real path of the folder whose file the value at `path` was written in."""
        mark = self._mark(path)
        return mark.folder if mark else self._folder

    def _mark(self, path):
        path = tuple(path)
        while path and path not in self._marks:
            path = path[:-1]
        return self._marks.get(path)


def gathered(path: str, project: Project) -> Settings:
    """The settings of the campaign file at `path`. Raises CampaignError for a file that cannot be read or is not a map."""
    file = os.path.realpath(path)
    shared = os.path.join(project.root, ROOT_FILE)
    value, marks = {}, {}
    layers = _layers(path, project, ())
    # The root's file may itself be what `extends` names, or even the campaign: nothing is merged over itself.
    if os.path.isfile(shared) and os.path.realpath(shared) not in [real for real, *_ in layers]:
        layers = _layers(shared, project, ()) + layers
    # From below, so that a null takes away whatever lies under it.
    for _, own, own_marks in layers:
        value, marks = _merged(value, own, marks, own_marks)
    marks.setdefault((), _Mark(display(path), 1, 1, os.path.dirname(file)))
    return Settings(display(path), os.path.dirname(file), value, marks)


def _layers(path, project, above):
    """(real path, value, marks) of the file that this one's `extends` names, and so on, then of the file itself."""
    marked = _load(path)
    folder = os.path.dirname(os.path.realpath(path))
    own = marked.value
    marks = {at: _Mark(marked.file, line, column, folder) for at, (line, column) in marked.marks.items()}
    base = own.pop(EXTENDS, None)
    itself = os.path.realpath(path)
    if base is None:
        return [(itself, own, marks)]
    place = marked.place((EXTENDS,))
    if not isinstance(base, str) or not base:
        raise CampaignError(f"`{EXTENDS}` names one file", place, "write such as extends: base.yaml")
    real = project.resolve(os.path.join(folder, base), place, shown_as=base)
    if real in above or real == itself:
        raise CampaignError(f'"{base}" extends this file again', place, f"remove one `{EXTENDS}`")
    if len(above) >= MOST_FILES:
        raise CampaignError(f"more than {MOST_FILES} files extend one another", place, "put them together")
    return [*_layers(real, project, (*above, itself)), (itself, own, marks)]


def _load(path):
    shown = display(path)
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            octets = file.read(marked_yaml.MOST_OCTETS + 1)
    except OSError as error:
        raise CampaignError(reason(error), Place(shown), "name the campaign's YAML file, or make it readable") from None
    marked = marked_yaml.load(octets, shown)
    if marked.value is None and os.path.basename(path) == ROOT_FILE:
        marked.value = {}
    if not isinstance(marked.value, dict):
        raise CampaignError("a campaign is a map of keys such as name, from, subject", Place(shown, 1),
                            "`postroom new DIR` writes one to start from")
    return marked


def _merged(base, over, base_marks, over_marks, path=()):
    """(value, marks) of the map `over` laid on the map `base`."""
    value, marks = dict(base), dict(base_marks)
    for key, new in over.items():
        here = (*path, key)
        old = value.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            value[key], marks = _merged(old, new, marks, over_marks, here)
            marks[here] = over_marks[here]
            continue
        marks = {at: mark for at, mark in marks.items() if at[:len(here)] != here}
        if new is None and key in base:
            del value[key]
            continue
        value[key] = new
        marks |= {at: mark for at, mark in over_marks.items() if at[:len(here)] == here}
    if not path and () in over_marks:
        marks[()] = over_marks[()]
    return value, marks
