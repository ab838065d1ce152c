"""Two MIME parsers that share nothing with postroom: the standard library's, and postal-mime on Node."""

import base64
import email.header
import email.policy
import email.utils
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """
const {default: PostalMime, decodeWords} = require("postal-mime");
const lines = require("readline").createInterface({input: process.stdin});
const list = (one) => (one || []).map((a) => [a.name || "", a.address]);
lines.on("line", async (line) => {
  const mail = await PostalMime.parse(Buffer.from(line, "base64"), {attachmentEncoding: "arraybuffer"});
  const files = mail.attachments.map((a) => ({name: a.filename, type: a.mimeType, id: a.contentId || null,
    disposition: a.disposition, octets: Buffer.from(a.content).toString("base64")}));
  process.stdout.write(JSON.stringify({subject: mail.subject, from: list(mail.from ? [mail.from] : []), to: list(mail.to),
    cc: list(mail.cc), bcc: list(mail.bcc), reply_to: list(mail.replyTo), text: mail.text, html: mail.html,
    message_id: mail.messageId, headers: mail.headers.map((h) => h.key), values: mail.headers.map((h) => decodeWords(h.value)), files}) + "\\n");
});
"""


@dataclass
class Parsed:
    """What a parser made of a message. Addresses are (name, address); files are (name, type, content id, octets).

    headers: their names in order, lower case. values: what they say, encoded words decoded (by Python not where UTF-8 stands beside them:
    its decoder garbles that).
    """

    subject: str
    from_: list
    to: list
    cc: list
    reply_to: list
    text: str | None
    html: str | None
    message_id: str
    headers: list
    files: list
    values: list


class Utf8Headers(email.policy.Compat32):
    """Header values as the octets that they are, read as UTF-8 (RFC 6532)."""

    def header_fetch_parse(self, name, value):
        return value.encode("utf-8", "surrogateescape").decode()


def with_python(octets: bytes) -> Parsed:
    """The standard library's reading. Names are decoded by its older, separate decoder: the newer one puts blanks
    between two encoded words of one name."""
    mail = email.message_from_bytes(octets, policy=email.policy.default)
    old = email.message_from_bytes(octets, policy=Utf8Headers())
    for part in mail.walk():
        assert not part.defects, part.defects
    bodies = {kind: mail.get_body((kind,)) for kind in ("plain", "html")}
    # Not get_filename(), which takes the angle brackets off a file called <>.
    files = [(part["content-disposition"].params["filename"], part.get_content_type(), (part["content-id"] or "").strip("<>") or None, part.get_payload(decode=True))
             for part in mail.walk() if part.get_content_disposition() in ("attachment", "inline")]
    return Parsed(subject=_decoded(_unfolded(old["subject"])), from_=_addresses(old, "from"), to=_addresses(old, "to"), cc=_addresses(old, "cc"),
                  reply_to=_addresses(old, "reply-to"), message_id=mail["message-id"].strip("<>"), headers=[name.lower() for name in mail.keys()],
                  text=bodies["plain"] and _text(bodies["plain"]), html=bodies["html"] and _text(bodies["html"]), files=files,
                  values=[_decoded(line) if line.isascii() else line for line in map(_unfolded, old.values())])


class NodeParser:
    """postal-mime in one Node process; parse() hands it one message."""

    def __enter__(self):
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(["node", "-e", PROGRAM], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def parse(self, octets: bytes) -> Parsed:
        self._process.stdin.write(base64.b64encode(octets) + b"\n")
        self._process.stdin.flush()
        mail = json.loads(self._process.stdout.readline())
        files = [(one["name"], one["type"], (one["id"] or "").strip("<>") or None, base64.b64decode(one["octets"])) for one in mail["files"]]
        return Parsed(subject=mail["subject"], from_=_pairs(mail["from"]), to=_pairs(mail["to"]), cc=_pairs(mail["cc"]),
                      reply_to=_pairs(mail["reply_to"]), text=_ended_once(mail.get("text")), html=_ended_once(mail.get("html")), message_id=mail["message_id"].strip("<>"),
                      headers=mail["headers"], files=files, values=mail["values"])


def _ended_once(text):
    # postal-mime keeps the line end in front of a boundary, which belongs to the boundary (RFC 2046 section 5.1.1).
    return text and text.replace("\r\n", "\n").rstrip("\n") + "\n" * text.endswith("\n")


def _pairs(addresses):
    return [tuple(pair) for pair in addresses]


def _unfolded(value):
    return "".join(value.splitlines())


def _decoded(value):
    return str(email.header.make_header(email.header.decode_header(value)))


def _addresses(mail, name):
    # The raw header, unfolded: getaddresses() splits, then each name is decoded on its own.
    raw = _unfolded(mail[name] or "")
    return [(_decoded(shown), address) for shown, address in email.utils.getaddresses([raw])] if raw else []


def _text(part):
    return part.get_payload(decode=True).decode(part.get_content_charset()).replace("\r\n", "\n")
