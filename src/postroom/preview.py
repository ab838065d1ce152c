"""Messages as files and as a page to look through; needs no network."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass

from postroom.errors import CampaignError
from postroom.message import Message
from postroom.pages import Book

MARK = ".postroom-preview"


@dataclass(frozen=True, slots=True)
class Preview:
    """directory: where it is. page: the file to open. messages: how many there are."""

    directory: str
    page: str
    messages: int


def write_preview(messages: Iterable[Message], directory: str, title: str) -> Preview:
    """Every message as NNNN.eml, its exact octets, and a page around them. Replaces an earlier preview in `directory`.

    Raises CampaignError where something else is there, or where it cannot be written; then an earlier one stays as it was.
    """
    if os.path.lexists(directory) and not os.path.exists(os.path.join(directory, MARK)) and not _is_empty(directory):
        raise CampaignError("it exists and is not an earlier preview", directory, "name another folder")
    fresh = None
    try:
        with private_files():
            above, name = os.path.split(os.path.abspath(directory))
            os.makedirs(above, exist_ok=True)
            fresh = tempfile.mkdtemp(prefix=f".{name}.", dir=above)
            open(os.path.join(fresh, MARK), "x").close()
            book = Book(fresh, title)
            for number, message in enumerate(messages, 1):
                with open(os.path.join(fresh, f"{number:04}.eml"), "wb") as file:
                    file.write(message.octets)
                book.add(message.octets, f"{number:04}", message.envelope.sender, message.envelope.recipients, message.row)
            book.bind()
        if os.path.exists(directory):
            shutil.rmtree(directory)
        os.rename(fresh, directory)
    except OSError as error:
        raise CampaignError(f"the preview cannot be written: {(error.strerror or str(error)).lower()}", directory,
                            "make room, or name another folder with --output") from None
    finally:
        if fresh:
            shutil.rmtree(fresh, ignore_errors=True)
    return Preview(directory, os.path.join(directory, "index.html"), len(book))


@contextmanager
def private_files():
    """What is made meanwhile can be read by its owner only: it holds names, addresses and what people are told."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _is_empty(directory):
    return os.path.isdir(directory) and not os.listdir(directory)
