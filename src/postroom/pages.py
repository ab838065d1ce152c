"""Our HTML pages: a folder of messages, and a page to walk through them. One look for preview and sandbox.

The pages open from the disk: no network, no fetch. A mail stands in a frame of its own without scripts, forms or
links that lead anywhere: a click on somebody's real unsubscribe link would unsubscribe them.
"""

import base64
import email
import email.errors
import email.header
import email.policy
import email.utils
import functools
import hashlib
import html
import json
import os
import re
import urllib.parse
from dataclasses import dataclass
from email.message import Message as Part

from jinja2 import Environment, PackageLoader

# Of a mail without pictures of its own; those are files beside the page, which `self` means over HTTP only.
MAIL_POLICY = "default-src 'none'; img-src {pictures}data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
DOCTYPE = re.compile(r"<!doctype[^<>]*>", re.IGNORECASE)
DOCTYPE_WITHIN = 10_000
# A tag's name ends at a blank, "/" or ">" (HTML section 13.2.5.8).
REACHING = re.compile(r"<(/?)(link|meta|base|iframe|frame|frameset|object|embed|applet|portal|fencedframe)(?=[\s/>])", re.IGNORECASE)
COLOR_SCHEME = re.compile(r"""<meta\s+name=["']color-scheme["']\s+content=["']([a-z ]{1,30})["']""", re.IGNORECASE)
CID = re.compile(r"cid:([^\"'\s<>)]+)", re.IGNORECASE)
REMOTE = re.compile(r"""(?:src|background)\s*=\s*["']?https?:|url\(\s*["']?https?:""", re.IGNORECASE)
# What keeps its ending: no browser and no desktop runs what is in these when they are opened from the disk.
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".ico", ".avif"}
INERT = PICTURES | {".pdf", ".txt", ".csv", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".zip", ".gz", ".ics", ".vcf",
                    ".mp3", ".mp4", ".wav"}
ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "application/pdf": ".pdf"}
# Neighbours are one text (RFC 2047 section 6.2).
ENCODED_WORDS = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=(?:\s+=\?[^?\s]+\?[bBqQ]\?[^?]*\?=)*")
ADDRESS_HEADERS = ("from", "reply-to", "to", "cc")
FIRST_HEADERS = ("From", "Reply-To", "To", "Cc", "Subject", "Date")


@dataclass(frozen=True, slots=True)
class File:
    """A part that is no body. name: as its header says, may be "". content_id: without angle brackets, or None."""

    name: str
    type: str
    content_id: str | None
    octets: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """A message as a mail program would read it. headers: (name, decoded value) in order. to: (name, address) of the first
    To mailbox. html, text: None where absent."""

    headers: list[tuple[str, str]]
    to: tuple[str, str]
    html: str | None
    text: str | None
    files: list[File]

    def header(self, name: str) -> str:
        return next((value for given, value in self.headers if given.lower() == name.lower()), "")


class _Headers(email.policy.Compat32):
    """Header values as plain text: 8-bit octets are UTF-8 (RFC 6532), where the parser's own reading has question marks."""

    def header_fetch_parse(self, name, value):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_message(octets: bytes) -> Reading:
    """Any message, however broken, as far as it can be read; with the standard library's parser, which is not our builder."""
    try:
        return _read(octets)
    except Exception:  # noqa: BLE001 - the parser raises whatever a hostile mail makes it raise; then its source is shown
        return Reading([("Subject", "(this message cannot be read)")], ("", ""), None, octets.decode("utf-8", "replace"), [])


def _read(octets):
    mail = email.message_from_bytes(octets, policy=_Headers())
    bodies, files = {}, []
    for part in _leaves(mail):
        kind, name = part.get_content_type(), part.get_filename()
        if kind in ("text/html", "text/plain") and kind not in bodies and not name and part.get_content_disposition() != "attachment":
            bodies[kind] = _text(part)
        else:
            files.append(File(_decoded(name or ""), kind, (part["content-id"] or "").strip().strip("<>") or None, _octets(part)))
    headers = [(name, _people(value) if name.lower() in ADDRESS_HEADERS else _decoded(value)) for name, value in mail.items()]
    return Reading(headers, next(iter(_mailboxes(mail["To"] or "")), ("", "")), bodies.get("text/html"), bodies.get("text/plain"), files)


class Book:
    """A folder of messages with a page. add() each, then bind() writes the page; more may be added after that.

    directory: exists. title: what the page is called.
    """

    def __init__(self, directory: str, title: str):
        self.directory, self.title, self._rows = directory, title, []
        for folder in ("messages", "parts"):
            os.makedirs(os.path.join(directory, folder), exist_ok=True)

    def __len__(self):
        return len(self._rows)

    def add(self, octets: bytes, name: str, sender: str, recipients: tuple[str, ...], row: int | None = None) -> None:
        """Show one message. name: its file without the ending. sender, recipients: the envelope. row: its line in the table."""
        reading = read_message(octets)
        links = {file: self._keep(file) for file in reading.files}
        by_id = {file.content_id: link for file, link in links.items() if file.content_id}
        shown = _framed(reading.html, by_id) if reading.html is not None else None
        if shown is not None:
            self._write(f"messages/{name}.html", shown)
        attached = [(file, link) for file, link in links.items() if not file.content_id or f"cid:{file.content_id}" not in (reading.html or "")]
        first = [(wanted, reading.header(wanted)) for wanted in FIRST_HEADERS if reading.header(wanted)]
        words = _template("words.html").render(
            style=_page_file("page.css"), first=first, headers=reading.headers, text=reading.text, attached=attached, name=name, sender=sender,
            recipients=recipients, row=row, octets=len(octets), remote=len(REMOTE.findall(reading.html or "")), policy=words_policy())
        self._write(f"messages/{name}.words.html", words)
        to, address = reading.to if reading.to[1] else ("", ", ".join(recipients))
        self._rows.append([name, to, address, reading.header("Subject"), int(shown is not None)])

    def bind(self) -> str:
        """Write the page that shows them all. Returns its path."""
        style, script = _page_file("page.css"), _page_file("page.js")
        data = json.dumps(self._rows, ensure_ascii=False).replace("<", "\\u003c")
        page = _template("index.html").render(title=self.title, count=len(self._rows), style=style, script=script, data=data, policy=book_policy())
        return self._write("index.html", page)

    def _keep(self, file):
        """A part as a file of its own, once however many messages have it. Returns the link from a message's page."""
        ending = os.path.splitext(file.name)[1].lower()
        if ending not in INERT:
            ending = ENDINGS.get(file.type, ".txt" if file.type.startswith("text/") else ".bin")
        name = hashlib.sha256(file.octets).hexdigest()[:24] + ending
        path = os.path.join(self.directory, "parts", name)
        if not os.path.exists(path):
            with open(path, "wb") as kept:
                kept.write(file.octets)
        return f"../parts/{name}"

    def _write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
        return path


def _framed(source, by_id):
    """A mail's HTML for its frame: pictures from files, nothing from the network, no link that leads anywhere.

    The policy stops what would load; what opens a connection without loading anything, or leads away by itself, no policy
    stops (`preconnect`, frames, refresh), so those elements are made into ones that mean nothing.
    """
    def link(found):
        return by_id.get(urllib.parse.unquote(html.unescape(found[1]))) or found[0]

    # In front of all that the mail brings. The mail's own doctype decides how it is laid out, so a copy of it comes first;
    # where it stands itself it is one too many, which browsers skip.
    doctype = found[0] if (found := DOCTYPE.search(source[:DOCTYPE_WITHIN])) else ""
    # Opened from the disk, only `file:` lets a picture be shown; without one of its own a mail has no business with the disk.
    policy = MAIL_POLICY.format(pictures="'self' file: " if by_id else "")
    guard = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><base target="_blank">'
    if found := COLOR_SCHEME.search(source):
        guard += f'<meta name="color-scheme" content="{found[1]}">'
    return doctype + guard + REACHING.sub(r"<\1x-\2", CID.sub(link, source))


@functools.cache
def book_policy() -> str:
    """What the page itself may do: its own style and script, and frames from its own folder."""
    return f"default-src 'none'; frame-src 'self' file:; base-uri 'none'; form-action 'none'; {_own('style-src', 'page.css')}; {_own('script-src', 'page.js')}"


@functools.cache
def words_policy() -> str:
    """What the page of headers and plain text may do: have its own style."""
    return f"default-src 'none'; base-uri 'none'; form-action 'none'; {_own('style-src', 'page.css')}"


def _own(what, file):
    # The very text, not where it is from: what a mail brought lies in the same folder.
    return f"{what} 'sha256-{base64.b64encode(hashlib.sha256(_page_file(file).encode()).digest()).decode()}'"


@functools.cache
def _templates():
    return Environment(loader=PackageLoader("postroom", "page_files"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _template(name):
    return _templates().get_template(name)


@functools.cache
def _page_file(name):
    return _templates().loader.get_source(_templates(), name)[0]


def _leaves(part: Part):
    # message/rfc822 counts as one part here: it is an attachment, not more of this message.
    if part.get_content_maintype() == "multipart" and isinstance(part.get_payload(), list):
        for child in part.get_payload():
            yield from _leaves(child)
    else:
        yield part


def _octets(part):
    if part.is_multipart():
        return b"".join(child.as_bytes() for child in part.get_payload())
    return part.get_payload(decode=True) or b""


def _text(part):
    octets, charset = _octets(part), part.get_content_charset() or "utf-8"
    try:
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


def _mailboxes(value):
    # Split first, decode each name then: an encoded comma parts nobody.
    return [(_decoded(name), address) for name, address in email.utils.getaddresses(["".join(str(value).splitlines())])]


def _people(value):
    return ", ".join(f"{name} <{address}>" if name else address for name, address in _mailboxes(value))


def _decoded(value):
    # Only the encoded words go to the decoder: beside them it garbles letters beyond Latin-1 that stand as they are.
    return ENCODED_WORDS.sub(_words_decoded, "".join(str(value).splitlines()))


def _words_decoded(found):
    try:
        return str(email.header.make_header(email.header.decode_header(found[0])))
    except (LookupError, UnicodeError, ValueError, email.errors.HeaderParseError):
        return found[0]
