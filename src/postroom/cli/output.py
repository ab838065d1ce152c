"""What people and scripts read: words on stderr, one JSON document on stdout. The only place that prints results."""

import os
import sys
from contextlib import suppress

from postroom.errors import PostroomError
from postroom.words import explained


def say(text: str = "", end: str = "\n") -> None:
    """Words on stderr. A reader or terminal that was closed meanwhile must not change what happens to the mail."""
    with suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def explain(error: PostroomError, nothing_sent: bool = False, more: str = "") -> None:
    """An error in words for people; see words.explained()."""
    for line in explained(error, nothing_sent, more):
        say(line)


def interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """A question on the terminal; only a yes is a yes."""
    say(question, end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def document(values: dict) -> None:
    """The one JSON document of a command."""
    import json

    # UTF-8 whatever the terminal speaks; half a character, from a file's odd name, becomes an escape as JSON has it.
    octets = json.dumps({"version": 1, **values}, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n"
    try:
        sys.stdout.buffer.write(octets)
        sys.stdout.flush()
    except OSError as error:
        # Nobody reads it any more, or there is no room; what the command did still decides its exit code.
        if not isinstance(error, BrokenPipeError):
            say(f"The JSON document cannot be written: {(error.strerror or str(error)).lower()}.")
        sys.stdout = open(os.devnull, "w")


def document_path(path: str) -> str:
    """A path as a person here would type it."""
    from postroom.read.project import display

    return display(path)
