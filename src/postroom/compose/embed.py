"""Pictures that the HTML names by a path, or holds as a data: URI, become parts of the message, shown by cid: (RFC 2392).

A path is relative to the HTML template, so that a browser which opens the template shows the same picture. No mail program
can load a file from the sender's disk, and Gmail drops data: URIs.
"""

import binascii
import hashlib
import os
import re
from collections import OrderedDict
from urllib.parse import unquote, unquote_to_bytes

from postroom.address import CONTROL, shown
from postroom.compose.bodies import Body
from postroom.compose.files import File, Files, guessed_type
from postroom.compose.img_src import local_sources, value_of
from postroom.errors import Place, PostroomError, TemplateError
from postroom.read.project import display

MOST_KEPT, ENTRY = 16 << 20, 500  # octets that are kept, and about what an entry takes without its texts
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
SRC_BEFORE, SRC_WITHIN = re.compile(rb"""(?<=[\t\n\f\r "'/])src[\t\n\f\r ]*=[\t\n\f\r ]*["']?\Z""", re.IGNORECASE), 100
# RFC 6838 section 4.2 bounds the names of media types.
IMAGE_TYPE = re.compile(r"image/([a-z0-9!#$&^_.+-]{1,127})")


class Embedder:
    """The pictures in one campaign's HTML.

    template: the compiled HTML template. images: the campaign's own, which keep their names.
    unvarying: real path to hex SHA-256 of every picture so far whose src no cell had a part in.
    """

    def __init__(self, files: Files, template, images: list[File]):
        self.files, self.template, self.loader = files, template, template.environment.loader
        self.named = {file.path: file for file in images}
        self.unvarying = {}
        self._known = OrderedDict()  # src as written -> File, or None where it stays as it is
        self._kept = 0

    def embed(self, body: Body, row: int) -> tuple[Body, tuple[File, ...]]:
        """The HTML with cid: in place of every local src and nothing else changed, and the pictures that it needs, each once.

        Those in `images` are not among them. The rendered HTML does not tell which part of a path a cell brought, so a cell
        may name any picture that the project may read, not only those in the folder that the template wrote in front of it.
        Raises TemplateError or CampaignError with the row, and with the template's line where the src stands there as it is.
        """
        if not body.may_hold_local_pictures:
            return body, ()
        html, spans, found = body.text, [], {}
        for start, end in local_sources(html):
            file = self._file(html[start:end], row)
            if file is None:
                continue
            spans.append((start, end, f"cid:{file.content_id}"))
            if file.path not in self.named:
                found.setdefault(file.content_id, file)
        return body.replaced(spans) if spans else body, tuple(found.values())

    def _file(self, written, row):
        if written in self._known:
            self._known.move_to_end(written)
            return self._known[written]
        file = self._known[written] = self._looked(written, row)
        self._kept += _weight(written, file)
        while self._kept > MOST_KEPT and len(self._known) > 1:
            self._kept -= _weight(*self._known.popitem(last=False))
        return file

    def _looked(self, written, row):
        # As browsers read a URL: blanks around it and line breaks in it are no part of it.
        value = re.sub(r"[\t\n\r]", "", value_of(written).strip(" \t\n\f\r"))
        scheme = found[1].lower() if (found := SCHEME.match(value)) else ""
        if not value or value.startswith("//") or len(scheme) > 1 and scheme not in ("data", "file"):
            return None
        try:
            file = _from_data(value) if scheme == "data" else self._from_disk(value)
        except PostroomError as error:
            error.where = self._place(written, row)
            raise
        if file.path and self._place(written, row).line is not None:
            self.unvarying[file.path] = file.sha256
        return file

    def _from_disk(self, value):
        decoded = unquote(value)
        # One letter in front of a colon is a drive.
        if SCHEME.match(value) or "\\" in value or decoded.startswith("/") or CONTROL.search(decoded):
            raise TemplateError(f'the picture\'s src "{shown(value)}" is no path inside the project', None,
                                "write a path relative to the HTML template, with / between its parts")
        # The name as it is comes second: a cell may bring a percent sign that nobody encoded.
        on_disk = [os.path.join(self.loader.folder, name) for name in (decoded, value)]
        found = next(filter(os.path.exists, on_disk), None)
        if found is None and (cut := re.split("[?#]", value)[0]) != value:
            raise TemplateError(f'there is no picture "{shown(value)}"; in the name of a file ? and # mean themselves', None, f'write "{shown(cut)}"')
        # As the campaign would name it, which is how the project's errors show it.
        path = os.path.relpath(found or on_disk[0], self.files.project.folder)
        self.files.project.resolve(path, None)
        if not (media_type := guessed_type(os.path.basename(path))).startswith("image/"):
            raise TemplateError(f'"{shown(value)}" is no picture by its name, but {media_type}', None,
                                "name a picture such as .png, .jpg or .gif; other files go into `attachments`")
        file = self.files.look(path, None)
        return self.named.get(file.path) or file._replace(content_id=_content_id(file.sha256, file.name))

    def _place(self, written, row):
        """Where this src stands in a template as it is; without a line where a cell had a part in it."""
        for path, octets in self.loader.sources.items():
            octets, wanted, at = octets.replace(b"\r\n", b"\n"), written.encode(), -1  # line ends as in what was rendered
            while (at := octets.find(wanted, at + 1)) >= 0:
                if (found := SRC_BEFORE.search(octets[max(0, at - SRC_WITHIN):at])) and octets[at + len(wanted):at + len(wanted) + 1] in b"\t\n\f\r \"'>":
                    return Place(display(path), octets.count(b"\n", 0, at - len(found[0])) + 1, row=row)
        return Place(self.template.filename, row=row)


def _from_data(value):
    """The picture in a data: URI (RFC 2397), read as browsers do: percent signs first, then base64 without its blanks."""
    head, comma, body = value[len("data:"):].partition(",")
    media_type, *more = (word.strip().lower() for word in head.split(";"))
    kind = IMAGE_TYPE.fullmatch(media_type)
    if not comma or not kind:
        raise TemplateError(f'the picture\'s src "{shown(value[:40])}" is no picture: it does not begin as data:image/…,', None,
                            "write such as data:image/png;base64,… or name a file")
    if "#" in body:
        raise TemplateError(f'the picture\'s src "{shown(value[:40])}" holds a #, where the URI ends for browsers', None, "write %23 for it")
    octets = unquote_to_bytes(body)
    if "base64" in more[-1:]:
        octets = _from_base64(b"".join(octets.split()), value)
    if not octets:
        raise TemplateError(f'the picture\'s src "{shown(value[:40])}" is empty', None, "put the picture into it, or name a file")
    name = "image." + {"jpeg": "jpg"}.get(kind[1], kind[1].partition("+")[0])
    sha256 = hashlib.sha256(octets).hexdigest()
    return File(None, name, media_type, _content_id(sha256, name), sha256, len(octets), octets)


def _from_base64(octets, value):
    bare = octets.rstrip(b"=")
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        raise TemplateError(f'the picture\'s src "{shown(value[:40])}" is not whole: what follows base64, is not base64', None,
                            "copy it again, or name a file") from None


def _content_id(sha256, name):
    # With an @, as RFC 2045 section 7 wants it and as no name in `images` has it.
    return hashlib.sha256(f"{sha256} {name}".encode()).hexdigest()[:32] + "@embedded"


def _weight(written, file):
    return ENTRY + len(written) + (len(file.octets) if file and file.octets else 0)
