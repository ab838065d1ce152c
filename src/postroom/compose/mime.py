"""Headers and parts to octets: encoding, folding, boundaries. Text in, US-ASCII out, CRLF line ends only; an address that only
SMTPUTF8 can carry stands in UTF-8.

Written by hand because the standard library's writer breaks what a bulk mailer needs most: it encodes long URLs in
List-Unsubscribe, loses quotes around folded names and writes IDN domains as encoded words.
Sources: RFC 5322 (format, folding), RFC 2045 (encodings), RFC 2047 (encoded words), RFC 2231 (parameters).
"""

import binascii
import re
import struct
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

from postroom.address import Mailbox

FOLD, LONGEST = 78, 998  # RFC 5322 section 2.1.1
ENCODED_WORD = 75  # RFC 2047 section 2, including the delimiters
ENCODED_LINE = 76  # the same section: a line that holds an encoded word
QUOTED_LINE = 76  # RFC 2045 section 6.7, rule 5
# The C encoder does not count what it makes of a blank at the end of a line.
OVERLONG = re.compile(rb"^(.{74,})(=20|=09)$", re.MULTILINE)
DOTTED = re.compile(rb"^\.(.*)$", re.MULTILINE)
ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
LINES = struct.Struct("76s" * 64)  # base64 cut in C (RFC 2045 section 6.8)
BEYOND_ASCII = bytes(range(128, 256))
ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"  # RFC 2231 section 7, without letters and digits
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def text_header(name: str, value: str) -> bytes:
    """An unstructured header such as Subject. value: no control characters; comes back equal after decoding."""
    if value.isascii() and 0 < len(value) <= FOLD - len(name) - 2 and "  " not in value and "=?" not in value and value == value.strip():
        return f"{name}: {value}\r\n".encode("ascii")
    tokens = re.findall(r"\s*\S+", value)
    plain = value.isascii() and "=?" not in value and len(name) + 2 + max(map(len, tokens), default=0) <= LONGEST
    return folded(name, tokens) if plain and "  " not in value else folded(name, encoded_words(value, len(name) + 2))


def literal_header(name: str, tokens: Iterable[str]) -> bytes:
    """A structured header of ASCII tokens that must never be encoded, such as the URIs of List-Unsubscribe.

    Folded only between tokens, never inside one and never before the first.
    """
    return folded(name, [token if number == 0 else " " + token for number, token in enumerate(tokens)])


def address_header(name: str, mailboxes: Iterable[Mailbox]) -> bytes:
    """From, To, Cc, Reply-To: only a name is ever encoded, never an address (RFC 5322 section 3.4).

    A local part beyond ASCII stands as it is, in UTF-8 (RFC 6532 section 3.2). Names are encoded words there too: every reader
    decodes those, also in a copy that was saved or forwarded by a program that knows nothing of UTF-8 in headers.
    """
    tokens: list[str] = []
    for mailbox in mailboxes:
        if tokens:
            tokens[-1] += ","
        words = phrase(mailbox.name)
        address = f"<{mailbox.address}>" if words else mailbox.address
        for word in [*words, address]:
            tokens.append(f" {word}" if tokens else word)
    return folded(name, tokens, "utf-8")


def phrase(name: str) -> list[str]:
    """A display name as tokens: atoms where they suffice, one quoted string, or encoded words."""
    if not name:
        return []
    words = name.split(" ")
    if all(ATOM.fullmatch(word) for word in words) and "=?" not in name and max(map(len, words)) <= FOLD - 4:
        return words
    # A long quoted string would have to be folded inside its quotes, which some readers do not undo.
    if name.isascii() and "=?" not in name and len(name) <= 60:
        return ['"' + re.sub(r'(["\\])', r"\\\1", name) + '"']
    return [word.strip() for word in encoded_words(name, 12, in_phrase=True)]


def encoded_words(value: str, first_column: int, in_phrase: bool = False) -> list[str]:
    """`value` as encoded words in UTF-8, each but the first with the blank before it (RFC 2047).

    No character is cut. Q or B for the whole value, whichever is shorter. first_column: where the first word starts.
    """
    lengths = Q_LENGTHS[in_phrase]
    q_length = sum(map(lengths.__getitem__, value.encode()))
    encode = _b_word if 4 * -(-len(value.encode()) // 3) < q_length else _q_word
    overhead = len("=?utf-8?q??=")
    words, run, room = [], "", min(ENCODED_WORD, ENCODED_LINE - first_column) - overhead
    size = 0
    for character in value:
        octets = character.encode()
        more = len(octets) if encode is _b_word else sum(map(lengths.__getitem__, octets))
        whole = 4 * -(-(size + more) // 3) if encode is _b_word else size + more
        if run and whole > room:
            words.append(encode(run, in_phrase))
            run, size, room = "", 0, ENCODED_WORD - overhead
        run += character
        size += more
    if run:
        words.append(encode(run, in_phrase))
    return [word if number == 0 else " " + word for number, word in enumerate(words)]


def folded(name: str, tokens: list[str], encoding: str = "ascii") -> bytes:
    """`Name: tokens` with a fold before a token where the line would pass 78 octets; the first stays with the name."""
    lines, line = [], f"{name}:"
    for number, token in enumerate(tokens):
        token = " " + token if number == 0 else token
        limit = ENCODED_LINE if "=?" in token or "=?" in line else FOLD
        if number and len(line) + len(token) > limit:
            lines.append(line)
            line = token
        else:
            line += token
    lines.append(line)
    return "\r\n".join(lines).encode(encoding) + b"\r\n"


def content_type(media_type: str, file_name: str) -> bytes:
    """Content-Type of a file, with the ASCII fallback of its name; the real name is in disposition()."""
    line, name = f"Content-Type: {media_type};", f' name="{ascii_fallback(file_name)}"'
    return (line + ("" if len(line) + len(name) <= FOLD else "\r\n") + name + "\r\n").encode("ascii")


def disposition(kind: str, file_name: str) -> bytes:
    """Content-Disposition with the file's name (RFC 2183), non-ASCII or long ones by RFC 2231.

    Where the name needs RFC 2231 no plain `filename` stands beside it: readers differ in which of the two they take.
    """
    # Readers decode an encoded word here too, though RFC 2047 section 5 (3) forbids it.
    plain = file_name.isascii() and not re.search(r'["\\%]|=\?', file_name) and len(file_name) <= 56
    if plain:
        return f'Content-Disposition: {kind}; filename="{file_name}"\r\n'.encode("ascii")
    quoted = [quote(octet, safe=ATTRIBUTE_CHARACTERS) for octet in (bytes([o]) for o in file_name.encode())]
    pieces, piece = [], "utf-8''"
    for octet in quoted:
        if len(piece) + len(octet) > 56:
            pieces.append(piece)
            piece = ""
        piece += octet
    pieces.append(piece)
    if len(pieces) == 1:
        lines = [f" filename*={pieces[0]}"]
    else:
        lines = [f" filename*{number}*={piece}" for number, piece in enumerate(pieces)]
    return (f"Content-Disposition: {kind};\r\n" + ";\r\n".join(lines) + "\r\n").encode("ascii")


def ascii_fallback(file_name: str) -> str:
    """The name for readers that know no RFC 2231: accents dropped, the rest left out, never empty."""
    stem, dot, ending = file_name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (file_name, "")
    letters = unicodedata.normalize("NFKD", stem)
    kept = re.sub(r'[^A-Za-z0-9 ()+,.=@_-]', "", letters).strip(" .")[:40]
    ending = re.sub(r"[^A-Za-z0-9.]", "", ending)[:12]
    return (kept or "attachment") + ending


def body(text: str) -> tuple[bytes, bytes]:
    """(transfer encoding, encoded octets) of a text part in UTF-8: quoted-printable or base64, whichever is shorter.

    Line ends become CRLF. The octets end with CRLF only if the text ended with a line end.
    """
    octets = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    if is_shorter_quoted(len(octets), beyond_ascii(octets)):
        return b"quoted-printable", quoted_printable(octets)
    return b"base64", base64_lines(octets.replace(b"\n", b"\r\n"))


def is_shorter_quoted(octets: int, beyond: int) -> bool:
    """Whether quoted-printable of a text is no longer than base64, before either is made. octets: how many it has in UTF-8, `beyond` of them beyond
    ASCII, each of which takes three.
    """
    return octets + 2 * beyond <= -(-octets // 3) * 4 * 78 // 76


def beyond_ascii(octets: bytes) -> int:
    """How many are beyond ASCII."""
    return 0 if octets.isascii() else len(octets) - len(octets.translate(None, BEYOND_ASCII))


def quoted_printable(octets: bytes) -> bytes:
    """RFC 2045 section 6.7 by the C encoder; octets: LF line ends. No line begins with a dot, which a careless relay would take away, or take
    for the end (RFC 2049 section 3).
    """
    encoded = binascii.b2a_qp(octets, quotetabs=False, istext=True)
    if b" \n" in octets or b"\t\n" in octets:
        encoded = OVERLONG.sub(rb"\1=\n\2", encoded)
    if encoded.startswith(b".") or b"\n." in encoded:
        encoded = DOTTED.sub(_without_dot, encoded)
    return encoded.replace(b"\n", b"\r\n")


def _without_dot(line):
    line = b"=2E" + line[1]
    if len(line) <= QUOTED_LINE:
        return line
    at = QUOTED_LINE - 1
    while b"=" in line[at - 2:at]:  # a letter may be three octets
        at -= 1
    rest = line[at:]
    return line[:at] + b"=\n" + (b"=2E" + rest[1:] if rest.startswith(b".") else rest)


def base64_lines(octets: bytes) -> bytes:
    """RFC 2045 section 6.8: lines of 76, CRLF between them and none at the end."""
    encoded = binascii.b2a_base64(octets, newline=False)
    whole = len(encoded) // LINES.size * LINES.size
    lines = [line for some in LINES.iter_unpack(memoryview(encoded)[:whole]) for line in some]
    return b"\r\n".join(lines + [encoded[at:at + 76] for at in range(whole, len(encoded), 76)])


def date(moment) -> str:
    """A datetime with a zone as RFC 5322 section 3.3 has it, in English whatever the locale says."""
    offset = int(moment.utcoffset().total_seconds()) // 60
    sign, offset = ("-", -offset) if offset < 0 else ("+", offset)
    return (f"{WEEKDAYS[moment.weekday()]}, {moment.day:02} {MONTHS[moment.month - 1]} {moment.year:04} "
            f"{moment:%H:%M:%S} {sign}{offset // 60:02}{offset % 60:02}")


def _q(octet: int, in_phrase: bool) -> str:
    # RFC 2047 section 5 (3): in a phrase only these may stand as they are.
    character = chr(octet)
    if character == " ":
        return "_"
    if character.isascii() and (character.isalnum() or character in "!*+-/"):
        return character
    if not in_phrase and 33 <= octet <= 126 and character not in "=?_":
        return character
    return f"={octet:02X}"


Q = [[_q(octet, in_phrase) for octet in range(256)] for in_phrase in (False, True)]
Q_LENGTHS = [[len(written) for written in table] for table in Q]


def _q_word(run: str, in_phrase: bool) -> str:
    return "=?utf-8?q?" + "".join(map(Q[in_phrase].__getitem__, run.encode())) + "?="


def _b_word(run: str, in_phrase: bool) -> str:
    return "=?utf-8?b?" + binascii.b2a_base64(run.encode(), newline=False).decode("ascii") + "?="
