"""What people and scripts read: words on stderr, one JSON document on stdout. The only place that prints results."""

import os
import sys
from contextlib import suppress

from postroom.errors import Place, PostroomError, faults_of

CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}

MOST_SHOWN = 10


def say(text: str = "", end: str = "\n") -> None:
    """Words on stderr. A reader or terminal that was closed meanwhile must not change what happens to the mail."""
    with suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def explain(error: PostroomError, nothing_sent: bool = False, more: str = "") -> None:
    """An error in words for people: what is wrong and where, then what to do.

    nothing_sent: add that nothing was sent in this run, where that is true. more: how to see the faults left out.
    """
    faults = faults_of(error)
    for fault in faults[:MOST_SHOWN]:
        say(visible(str(fault)))
        end = "Nothing was sent in this run." if nothing_sent and fault is faults[-1] else ""
        advice = " ".join(word for word in (sentence(fault.do) if fault.do else "", end) if word)
        if advice:
            say(f"  {visible(advice)}")
    if len(faults) > MOST_SHOWN:
        end = " Nothing was sent in this run." if nothing_sent else ""
        say(f"… and {len(faults) - MOST_SHOWN:,} more faults.{' ' + more if more else ''}{end}")


def note(warning: PostroomError) -> None:
    """What is no fault, but a person should know, and what to do about it."""
    say(visible(f"Note: {warning}" + (f" {sentence(warning.do)}" if warning.do else "")))


def visible(text: str) -> str:
    """A text that cannot steer the terminal: a cell or a server may have brought part of it."""
    return text.translate(CONTROL)


def sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!", "…")) else text + "."


def interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def document(values: dict) -> None:
    """The one JSON document of a command."""
    import json

    # UTF-8 whatever the terminal speaks; half a character, from a file's odd name, becomes an escape as JSON has it.
    octets = json.dumps({"version": 1, **values}, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n"
    try:
        sys.stdout.buffer.write(octets)
        sys.stdout.flush()
    except OSError:
        # Nobody reads it any more; what the command did still decides its exit code.
        sys.stdout = open(os.devnull, "w")


def as_json(error: PostroomError) -> dict:
    where = error.where
    if isinstance(where, Place):
        where = {"file": where.file, "line": where.line, "column": where.column, "row": where.row}
    elif where is not None:
        where = {"file": None, "line": None, "column": None, "row": None, "relay": str(where)}
    return {"what": error.what, "where": where, "do": error.do}


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def left_out(checked) -> list[str]:
    """What a Preflight did not count among the recipients, such as "2 duplicates"."""
    table = checked.composer.table
    numbers = ((checked.duplicates, "duplicate"), (table.blank, "blank row"), (table.left_out, "row"))
    said = [count(number, noun) for number, noun in numbers if number]
    if table.left_out:
        said[-1] += " by `where`"
    return said


def duration(seconds: float) -> str:
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}s"
    return f"about {max(1, round(seconds))} s"


def document_path(path: str) -> str:
    """A path as a person here would type it."""
    from postroom.read.project import display

    return display(path)
