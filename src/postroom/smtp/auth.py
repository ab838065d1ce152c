"""Logins: from a user name, a password or token and the relay's challenges to the lines to write. No I/O.

PLAIN: RFC 4616. LOGIN: draft-murchison-sasl-login-00, as Microsoft and many others speak it. CRAM-MD5: RFC 2195.
XOAUTH2: https://developers.google.com/workspace/gmail/imap/xoauth2-protocol, which Microsoft speaks too.
"""

import base64
import binascii
import hmac
from collections.abc import Generator

from postroom.errors import RelayRefused

# In order of preference. Behind TLS a password as it is lets the relay keep it hashed; in clear CRAM-MD5 does not show it.
BEHIND_TLS, IN_CLEAR, BY_TOKEN = ("PLAIN", "LOGIN", "CRAM-MD5"), ("CRAM-MD5", "PLAIN", "LOGIN"), ("XOAUTH2",)
CANCEL = b"*"  # RFC 4954 section 4


def chosen(offered: str, token: bool, encrypted: bool) -> str:
    """The mechanism to use among those that EHLO offered.

    token: whether the credential is an OAuth 2 access token instead of a password. Raises RelayRefused where none fits.
    """
    names = offered.upper().split()
    spoken = BY_TOKEN if token else BEHIND_TLS if encrypted else IN_CLEAR
    for name in spoken:
        if name in names:
            return name
    what = f"the relay offers the logins {', '.join(names) or '(none)'}; with a {'token' if token else 'password'} postroom speaks {', '.join(spoken)}"
    if token:
        raise RelayRefused(what, None, "give a `password` or `password_command`, or ask the provider for the port that takes tokens")
    if BY_TOKEN[0] in names:
        raise RelayRefused(what, None, "this relay wants a token: name the command that prints one in `token_command`")
    raise RelayRefused(what, None, "ask the provider for one of these, or for another port")


def dialogue(mechanism: str, username: str, secret: str) -> Generator[bytes, str, None]:
    """The lines to write, each but the first in answer to the text of a 334 that is sent in.

    The generator ends where the relay asks for more than the mechanism has; then CANCEL is the right line.
    """
    if mechanism == "PLAIN":
        yield b"AUTH PLAIN " + _plain(username, secret)
    elif mechanism == "LOGIN":
        yield b"AUTH LOGIN"
        yield base64.b64encode(username.encode())
        yield base64.b64encode(secret.encode())
    elif mechanism == "CRAM-MD5":
        challenge = yield b"AUTH CRAM-MD5"
        yield base64.b64encode(username.encode() + b" " + _cram_md5(secret, challenge))
    else:
        yield b"AUTH XOAUTH2 " + _xoauth2(username, secret)
        # The challenge says in JSON what is wrong with the token; an empty line brings the reply that counts.
        yield b""


def secrets(username: str, secret: str) -> list[bytes]:
    """Each form in which a server may repeat the password or token, the longest first."""
    octets = secret.encode()
    forms = {octets, base64.b64encode(octets), _plain(username, secret), _xoauth2(username, secret)}
    forms |= {form.rstrip(b"=") for form in forms if form != octets}
    return sorted(filter(None, forms), key=len, reverse=True)


def _plain(username, secret):
    return base64.b64encode(b"\0".join((b"", username.encode(), secret.encode())))


def _xoauth2(username, token):
    return base64.b64encode(f"user={username}\x01auth=Bearer {token}\x01\x01".encode())


def _cram_md5(secret, challenge):
    try:
        text = base64.b64decode(challenge, validate=True)
    except (binascii.Error, ValueError):
        raise RelayRefused("the relay's challenge for CRAM-MD5 is not base64", None, "ask who runs the relay") from None
    return hmac.new(secret.encode(), text, "md5").hexdigest().encode("ascii")
