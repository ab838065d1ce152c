"""A mailbox: a display name and one address, parsed once, folded to a key, with its domain as an A-label."""

import functools
import json
import re
import unicodedata
from collections import namedtuple

# Unicode's own line breaks are as good as CR and LF to some reader on the way (RFC 5322 section 2.2 allows neither).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What no screen shows, or what turns around how its neighbours are shown: Default_Ignorable_Code_Point of Unicode 16 (bidi controls,
# zero widths, the byte order mark among them), the annotation marks U+FFF9..FFFB, and halves of surrogate pairs.
INVISIBLE = re.compile("[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
                       "\uffa0\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")
# Of these what would turn an error's own words around on the screen (UAX #9).
TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MOST_LOCAL = 64  # octets; RFC 5321 section 4.5.3.1.1
MOST_ADDRESS = 1000  # characters that are looked at: far more than the 254 of an address, before anything takes longer over more of them
MOST_OCTETS = 254  # of an address; RFC 5321 section 4.5.3.1.3 (erratum 1690)
# Nearly every address there is: atoms with dots between them (RFC 5322 section 3.2.3), at a domain of plain letters.
ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
PLAIN = re.compile(rf"({ATOMS}(?:\.{ATOMS})*+)@([A-Za-z0-9.-]++)")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')  # RFC 5322 section 3.2.4

# Mail to these stays inside a company or a test bench; email-validator would refuse them as undeliverable.
INTRANET_DOMAINS = ("local", "test")


class AddressError(ValueError):
    """Why a text is not one mailbox, in words for people; the caller knows the place."""


class Mailbox(namedtuple("Mailbox", "name local domain")):
    """One mailbox (RFC 5322 section 3.4).

    name: the display name as people read it, may be "". local: the part before @ as written; beyond ASCII in NFC, and then only
    SMTPUTF8 can carry it (RFC 6531). domain: A-labels, lower case (RFC 5890).
    """

    __slots__ = ()

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"


def parse_mailbox(text: str) -> Mailbox | None:
    """`Name <address>` or a bare address; None where no address is given (`""`, `<>`, `Name <>`).

    All before the last `<...>` is the display name, commas included, so no name can ever add an address. A name that is one
    quoted string as a whole loses its quotes. Raises AddressError with the reason.
    """
    text = text.strip()
    name, address = "", text
    if text.endswith(">") and "<" in text:
        name, address = text[:-1].rsplit("<", 1)
    name, address = name.strip(), address.strip()
    if not address:
        return None
    if name and (quoted := QUOTED.fullmatch(name)):
        name = unescaped(quoted[1]).strip()
    if name and (found := CONTROL.search(name)):
        raise AddressError(f"the name holds a control character ({code_point(found[0])})")
    local, domain = checked_address(address)
    return Mailbox(name, local, domain)


@functools.lru_cache(maxsize=1024)
def checked_address(address: str) -> tuple[str, str]:
    """Local part as written (NFC) and A-label domain of one bare address. Raises AddressError with the reason."""
    if plain := PLAIN.fullmatch(address):
        # The validator takes 35 µs, and would say no more than this of whoever is at a domain that it has seen.
        local, domain = plain.groups()
        if len(local) <= MOST_LOCAL and len(address) <= MOST_OCTETS and local.lower() not in _roles() and (known := _plain_domain(domain)):
            return local, known
    if len(address) > MOST_ADDRESS:
        raise AddressError(f'"{shown(address)}" is not a mail address: it has {len(address):,} characters, 254 at most may')
    if found := CONTROL.search(address) or INVISIBLE.search(address):
        what = "a control character" if CONTROL.match(found[0]) else "an invisible character"
        raise AddressError(f'"{shown(address)}" holds {what} ({described(found[0])}), which no mail address may')
    if address.count("@") > 1 and re.search(r"[,;\s]", address):
        raise AddressError(f'"{shown(address)}" holds more than one address; one mailbox each (write a list: [a, b])')
    validate, refused = _validator()
    try:
        valid = validate(address, check_deliverability=False, strict=True)
    except refused as error:
        raise AddressError(f'"{shown(address)}" is not a mail address: {_first_sentence(str(error))}') from None
    if (octets := len(valid.local_part.encode())) > MOST_LOCAL:
        raise AddressError(f'"{shown(address)}" is not a mail address: {octets} octets stand before the @-sign, {MOST_LOCAL} at most may')
    return valid.local_part, valid.ascii_domain.lower()


def folded(text: str) -> str:
    """A cell as part of a key: trimmed, lower case, and the domain of an address as an A-label."""
    text = text.strip()
    if "@" in text:
        try:
            text = "@".join(checked_address(text))
        except AddressError:
            pass
        else:
            # The lower case of a composed letter may be a decomposed one; nothing of this touches ASCII.
            return unicodedata.normalize("NFC", text.lower())
    return text.lower()


def key_of(cells: list[str]) -> str:
    """What makes a row the same recipient tomorrow: the cells of its key columns, folded; a list as JSON where there are several."""
    parts = [folded(cell) for cell in cells]
    return parts[0] if len(parts) == 1 else json.dumps(parts, ensure_ascii=False)


def key_parts(key: str) -> list[str]:
    """The folded cells that a key was made of."""
    if key.startswith("["):
        try:
            parts = json.loads(key)
        except ValueError:
            return [key]
        if all(isinstance(part, str) for part in parts):
            return parts
    return [key]


def unicode_domain(domain: str) -> str:
    """A domain of A-labels as people read it (RFC 3492)."""
    return ".".join(label[4:].encode("ascii").decode("punycode") if label.startswith("xn--") else label for label in domain.split("."))


def unescaped(quoted: str) -> str:
    """The inside of a quoted string without its backslashes (RFC 5322 section 3.2.4)."""
    return re.sub(r"\\(.)", r"\1", quoted)


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair, as an escape or a file's odd name brings it, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def described(character: str) -> str:
    """The code point and its name, for what cannot be seen."""
    return f"{code_point(character)} {unicodedata.name(character, '')}".rstrip()


def shown(text: str) -> str:
    """A value as an error may quote it: one line, bounded; control characters and what turns text around are visible."""
    if not text.isprintable():
        text = TURNING.sub(_escaped, CONTROL.sub(_escaped, text))
    return text if len(text) <= 80 else text[:77] + "..."


@functools.lru_cache(maxsize=4096)
def _plain_domain(domain):
    """A domain of ASCII letters as the validator has it, None where that refuses it or may read other letters in it."""
    validate, refused = _validator()
    try:
        return None if "xn--" in domain.lower() else validate(f"a@{domain}", check_deliverability=False, strict=True).ascii_domain.lower()
    except refused:
        return None


@functools.cache
def _roles():
    """Names, such as `postmaster`, whose case the validator takes away (RFC 2142)."""
    from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

    return frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)


@functools.cache
def _validator():
    import email_validator

    names = [name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name not in INTRANET_DOMAINS]
    email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = names
    return email_validator.validate_email, email_validator.EmailNotValidError


def _escaped(found):
    return f"\\u{ord(found[0]):04x}"


def _first_sentence(reason: str) -> str:
    reason = " ".join(reason.split()).rstrip(".")
    return reason[:1].lower() + reason[1:]
