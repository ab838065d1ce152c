"""How a recipient leaves: the signed token, and the List-Unsubscribe pair of headers.

The token says nothing to whoever reads it and is the same for years, because links in old mail must keep working.
"""

import base64
import hmac
from urllib.parse import quote

IN_MAILTO = "!$'*+-/=^_`{|}~@."  # of what an address may hold; the others mean something in a URI (RFC 6068 section 2)
TOKEN_VERSION = b"1"
TOKEN_OCTETS = 20  # 160 bits


def token(secret: str, name: str, key: str) -> str:
    """base64url of HMAC-SHA256(secret, version, campaign's name, recipient's key), cut to 20 octets (RFC 2104 section 5)."""
    signed = b"\0".join((TOKEN_VERSION, name.encode(), key.encode()))
    digest = hmac.digest(secret.encode(), signed, "sha256")[:TOKEN_OCTETS]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def uris(url: str | None, mailto: str | None, signed: str | None) -> list[str]:
    """The URIs of List-Unsubscribe as they stand in the header, the https one first (RFC 2369 section 2)."""
    subject = "unsubscribe" if signed is None else f"unsubscribe%20{signed}"
    found = [f"<{url}>"] if url else []
    if mailto:
        found.append(f"<mailto:{quote(mailto, safe=IN_MAILTO)}?subject={subject}>")
    return [uri + "," for uri in found[:-1]] + found[-1:]
