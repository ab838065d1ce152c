"""Logins: from a user name, a password and the relay's challenge to the answer. No I/O.

PLAIN: RFC 4616. LOGIN: draft-murchison-sasl-login-00, as Microsoft and many others speak it.
"""

import base64
from collections.abc import Iterator

from postroom.errors import RelayRefused

SPOKEN = ("PLAIN", "LOGIN")


def chosen(offered: str) -> str:
    """The mechanism to use among those that EHLO offered. Raises RelayRefused where we speak none of them."""
    names = offered.upper().split()
    for name in SPOKEN:
        if name in names:
            return name
    raise RelayRefused(f"the relay offers the logins {', '.join(names) or '(none)'}; postroom speaks {' and '.join(SPOKEN)}", None,
                       "ask the provider for one of these, or for another port")


def lines(mechanism: str, username: str, password: str) -> Iterator[bytes]:
    """The lines to write, each after the 334 to the one before it."""
    if mechanism == "PLAIN":
        yield b"AUTH PLAIN " + base64.b64encode(b"\0".join((b"", username.encode(), password.encode())))
    else:
        yield b"AUTH LOGIN"
        yield base64.b64encode(username.encode())
        yield base64.b64encode(password.encode())


def secrets(username: str, password: str) -> list[bytes]:
    """Each form in which a server may repeat the password, the longest first."""
    plain = base64.b64encode(b"\0".join((b"", username.encode(), password.encode())))
    return sorted({form for form in (password.encode(), base64.b64encode(password.encode()), plain) if form}, key=len, reverse=True)
