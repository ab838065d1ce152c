"""What several commands are told on the command line."""

import argparse
import os


def positive(text: str) -> int:
    """A count. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number, 1 or more")
    return int(text)


def journal_path(arguments, project) -> str:
    """Where this campaign's journal is: as asked, or at the project's root."""
    asked = getattr(arguments, "journal", None) or os.environ.get("POSTROOM_JOURNAL")
    return os.path.abspath(asked) if asked else os.path.join(project.state_folder, "journal.sqlite3")
