"""Attachments and images: found, checked, read once, encoded once.

A File is what preflight needs to know of one: which octets, under which name. Its encoded part is made when a message
wants it; the last ones are kept, so that the same file for many recipients is read once and never are all held.
"""

import functools
import hashlib
import mimetypes
import os
from collections import OrderedDict, namedtuple

from postroom.address import CONTROL, code_point, shown
from postroom.compose import mime
from postroom.errors import CampaignError
from postroom.message import Block, checked, joined, vouched
from postroom.read.campaign import MOST_FILE_OCTETS

MOST_KEPT_OCTETS = 64 << 20
MOST_NAME = 255  # what file systems take

File = namedtuple("File", "path name media_type content_id sha256 size octets", defaults=[None])
File.__doc__ = """One file as it goes into a message: real path, name for the reader, media type, Content-ID (None for an
attachment), hex SHA-256 and size in octets of what was read. octets: what a template held itself; then there is no path."""


class Files:
    """The files of one campaign."""

    def __init__(self, project):
        self.project = project
        self._looked = OrderedDict()  # (path, inode, size, mtime) -> sha256
        self._parts = OrderedDict()  # File -> encoded part
        self._kept = 0

    def look(self, path: str, place, name: str | None = None, media_type: str | None = None, content_id: str | None = None) -> File:
        """Find and hash a file that the campaign names. Raises CampaignError where it is missing, outside, too large."""
        real = self.project.resolve(path, place)
        name = file_name(name if name is not None else os.path.basename(path), place)
        media_type = media_type or guessed_type(name if name.rpartition(".")[0] else real)
        state = os.stat(real)
        identity = (real, state.st_ino, state.st_size, state.st_mtime_ns)
        if identity not in self._looked:
            self._looked[identity] = hashlib.sha256(self.project.read(path, place, MOST_FILE_OCTETS)).hexdigest()
            if len(self._looked) > 10_000:
                self._looked.popitem(last=False)
        return File(real, name, media_type, content_id, self._looked[identity], state.st_size)

    def part(self, file: File, place) -> Block:
        """Headers and base64 body of a file's MIME part, in whole lines: checked once however many mails it goes into.

        Raises CampaignError where the file is no longer the one that was looked at.
        """
        if file.octets is not None:
            return _part(file, file.octets)
        if file in self._parts:
            self._parts.move_to_end(file)
            return self._parts[file]
        octets = self.project.read(file.path, place, MOST_FILE_OCTETS)
        if hashlib.sha256(octets).hexdigest() != file.sha256:
            raise CampaignError(f'"{shown(file.name)}" changed while it was used', place, "run again when it is at rest")
        part = self._parts[file] = _part(file, octets)
        self._kept += len(part)
        while self._kept > MOST_KEPT_OCTETS and len(self._parts) > 1:
            self._kept -= len(self._parts.popitem(last=False)[1])
        return part


def encoded_size(file: File) -> int:
    """Octets of the file's part as it stands in a message."""
    return len(part_head(file)) + -(-file.size // 3) * 4 * 78 // 76 + 2


def _part(file, octets):
    # Of what base64 is made of nothing needs a look.
    return joined([checked(part_head(file)), vouched(mime.base64_lines(octets) + b"\r\n")])


def part_head(file: File) -> bytes:
    return _part_head(file.media_type, file.name, file.content_id)


@functools.lru_cache(maxsize=1024)
def _part_head(media_type, name, content_id):
    lines = [mime.content_type(media_type, name), b"Content-Transfer-Encoding: base64\r\n", mime.disposition("inline" if content_id else "attachment", name)]
    if content_id:
        lines.append(f"Content-ID: <{content_id}>\r\n".encode("ascii"))
    return b"".join(lines) + b"\r\n"


def file_name(name: str, place) -> str:
    """A name that a reader's mail program can save under. Raises CampaignError for control characters or an empty one."""
    name = name.replace("\\", "/").rpartition("/")[2].strip()
    if found := CONTROL.search(name):
        raise CampaignError(f'the file name "{shown(name)}" holds a control character ({code_point(found[0])})', place, "correct the name")
    if len(name) > MOST_NAME:
        raise CampaignError(f"the attachment's name has {len(name):,} characters; {MOST_NAME} at most", place, "make it shorter")
    if not name:
        raise CampaignError("the attachment's name is empty", place, "give it a name")
    return name


def guessed_type(name: str) -> str:
    media_type, compression = mimetypes.guess_type(name, strict=False)
    # A multipart or message type would be read as mail inside the mail, and base64 is not allowed there (RFC 2046 section 5.2.1).
    if media_type is None or compression or media_type.startswith(("multipart/", "message/")):
        return "application/octet-stream"
    return media_type
