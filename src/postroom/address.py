"""A mailbox: a display name and one address, parsed once, folded to a key, with its domain as an A-label."""

import functools
import re
from dataclasses import dataclass

# Unicode's own line breaks are as good as CR and LF to some reader on the way (RFC 5322 section 2.2 allows neither).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Mail to these stays inside a company or a test bench; email-validator would refuse them as undeliverable.
INTRANET_DOMAINS = ("local", "test")


class AddressError(ValueError):
    """Why a text is not one mailbox, in words for people; the caller knows the place."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox (RFC 5322 section 3.4).

    name: the display name as people read it, may be "". local: the part before @ as written, ASCII.
    domain: A-labels, lower case (RFC 5890).
    """

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"


def parse_mailbox(text: str) -> Mailbox | None:
    """`Name <address>` or a bare address; None where no address is given (`""`, `<>`, `Name <>`).

    All before the last `<...>` is the display name, commas included, so no name can ever add an address.
    Raises AddressError with the reason.
    """
    text = text.strip()
    name, address = "", text
    if text.endswith(">") and "<" in text:
        name, address = text[:-1].rsplit("<", 1)
    name, address = name.strip(), address.strip()
    if not address:
        return None
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    if found := CONTROL.search(name):
        raise AddressError(f"the name holds a control character ({code_point(found[0])})")
    local, domain = checked_address(address)
    return Mailbox(name, local, domain)


@functools.lru_cache(maxsize=1024)
def checked_address(address: str) -> tuple[str, str]:
    """Local part as written and A-label domain of one bare address. Raises AddressError with the reason."""
    if address.count("@") > 1 and re.search(r"[,;\s]", address):
        raise AddressError(f'"{shown(address)}" holds more than one address; one mailbox each (write a list: [a, b])')
    validate, refused = _validator()
    try:
        valid = validate(address, check_deliverability=False, strict=True)
    except refused as error:
        raise AddressError(f'"{shown(address)}" is not a mail address: {_first_sentence(str(error))}') from None
    if valid.ascii_email is None:
        raise AddressError(f'"{shown(address)}" has letters before the @ that only SMTPUTF8 can carry, '
                           "which postroom does not speak yet")
    return valid.local_part, valid.ascii_domain.lower()


def folded(text: str) -> str:
    """A cell as part of a key: trimmed, lower case, and the domain of an address as an A-label."""
    text = text.strip()
    if "@" in text:
        try:
            text = "@".join(checked_address(text))
        except AddressError:
            pass
    return text.lower()


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair, as an escape or a file's odd name brings it, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def shown(text: str) -> str:
    """A value as an error may quote it: one line, bounded, control characters visible."""
    text = CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text if len(text) <= 80 else text[:77] + "..."


@functools.cache
def _validator():
    import email_validator

    names = [name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name not in INTRANET_DOMAINS]
    email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = names
    return email_validator.validate_email, email_validator.EmailNotValidError


def _first_sentence(reason: str) -> str:
    reason = " ".join(reason.split()).rstrip(".")
    return reason[:1].lower() + reason[1:]
