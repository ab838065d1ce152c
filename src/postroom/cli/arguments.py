"""What several commands are told on the command line."""

import argparse


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
