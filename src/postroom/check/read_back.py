"""A finished message read again by a parser that is not ours, and compared with what was meant: on samples, before anything leaves."""

import hashlib

from postroom.compose.build import Rendered
from postroom.errors import Place, RecipientError
from postroom.message import Message


def differences(message: Message, rendered: Rendered) -> list[str]:
    """What the standard library reads otherwise than it was rendered: "the subject", "the text"; empty where all came back."""
    import email
    from email.header import decode_header, make_header

    def words(value):
        return str(make_header(decode_header("".join(value.splitlines()))))

    mail = email.message_from_bytes(message.octets)
    parts = [part for part in mail.walk() if not part.is_multipart()]
    bodies = {part.get_content_subtype(): part for part in parts if part.get_content_maintype() == "text" and not part.get_content_disposition()}
    files = {hashlib.sha256(part.get_payload(decode=True)).hexdigest() for part in parts if part.get_content_disposition()}
    found = [] if words(str(mail["Subject"])) == rendered.subject else ["the subject"]
    found += [f"the {name} part" for name, text, kind in (("text", rendered.text, "plain"), ("html", rendered.html, "html"))
              if (None if text is None else _lines(text)) != _text(bodies.get(kind))]
    found += [f'the file "{file.name}"' for file in (*rendered.files, *rendered.pictures) if file.sha256 not in files]
    return [*found, *(["a copy that must not be seen"] if "Bcc" in mail else []), *(["the structure"] if any(part.defects for part in mail.walk()) else [])]


def check(message: Message, rendered: Rendered, file: str) -> None:
    """Raises RecipientError where a mail would be read otherwise than it was meant. file: the table, as a person types it."""
    if found := differences(message, rendered):
        raise RecipientError(f"{', '.join(found)} of this mail would not be read as it was rendered", Place(file, rendered.row), "report this as a fault of postroom")


def _text(part):
    return part and _lines(part.get_payload(decode=True).decode("utf-8", "replace"))


def _lines(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")
