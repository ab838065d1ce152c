"""Words for people: counts, durations, and an error as the lines that explain it."""

import time

from postroom.errors import Place, PostroomError, faults_of

CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}
MOST_SHOWN = 10


def explained(error: PostroomError, nothing_sent: bool = False, more: str = "") -> list[str]:
    """An error as lines: what is wrong and where, then what to do.

    nothing_sent: add that nothing was sent in this run, where that is true. more: how to see the faults left out.
    """
    faults, lines = faults_of(error), []
    for fault in faults[:MOST_SHOWN]:
        lines.append(visible(str(fault)))
        end = "Nothing was sent in this run." if nothing_sent and fault is faults[-1] else ""
        advice = " ".join(word for word in (sentence(fault.do) if fault.do else "", end) if word)
        if advice:
            lines.append(f"  {visible(advice)}")
    if len(faults) > MOST_SHOWN:
        end = " Nothing was sent in this run." if nothing_sent else ""
        lines.append(f"… and {len(faults) - MOST_SHOWN:,} more faults.{' ' + more if more else ''}{end}")
    return lines


def noted(warning: PostroomError) -> str:
    """What is no fault, but a person should know, and what to do about it."""
    return visible(f"Note: {warning}" + (f" {sentence(warning.do)}" if warning.do else ""))


def all_noted(warnings: list[PostroomError]) -> list[str]:
    """Warnings as lines: of those in one column with one advice the first is told, and in which lines the others are."""
    groups = {}
    for warning in warnings:
        place = warning.where if isinstance(warning.where, Place) else Place(warning.where)
        groups.setdefault((place.file, place.column, warning.do or warning), []).append((warning, place.line))
    lines = []
    for (first, _), *others in groups.values():
        lines.append(noted(first))
        if others:
            some = ", ".join(str(line) for _, line in others[:MOST_SHOWN]) + (", …" if len(others) > MOST_SHOWN else "")
            lines.append(f"  {len(others):,} more like this, in {'line' if len(others) == 1 else 'lines'} {some}.")
    return lines


def as_json(error: PostroomError) -> dict:
    """An error as the JSON documents have it."""
    where = error.where
    if isinstance(where, Place):
        where = {"file": where.file, "line": where.line, "column": where.column, "row": where.row}
    elif where is not None:
        where = {"file": None, "line": None, "column": None, "row": None, "relay": str(where)}
    return {"what": error.what, "where": where, "do": error.do}


def visible(text: str) -> str:
    """A text that cannot steer the terminal: a cell or a server may have brought part of it."""
    return text.translate(CONTROL)


def sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!", "…", "。", "？", "！")) else text + "."


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def utc(seconds: float) -> str:
    """A time as the JSON documents have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def duration(seconds: float) -> str:
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}s"
    return f"about {max(1, round(seconds))} s"
