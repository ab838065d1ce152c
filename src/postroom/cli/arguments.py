"""What several commands are told on the command line."""

import argparse
import os


def positive(text: str) -> int:
    """A count. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number, 1 or more")
    return int(text)


def port(text: str) -> int:
    """A port to listen on; 0 takes a free one. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("give a port, 1 to 65535, or 0 for a free one")
    return int(text)


def journal_path(arguments, project) -> str:
    """Where this campaign's journal is: as asked, or at the project's root. A real path, so that a link is the same journal."""
    asked = getattr(arguments, "journal", None) or os.environ.get("POSTROOM_JOURNAL")
    return os.path.realpath(asked) if asked else default_journal(project.root)


def default_journal(root: str) -> str:
    """The journal of the project with this root."""
    return os.path.join(root, ".postroom", "journal.sqlite3")
