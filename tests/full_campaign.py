"""A campaign that uses everything at once, and what each of its messages must be read as."""

import email
import html
import random

from conftest import CAMPAIGN

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(3000)
TERMS = b"terms\nwith bare LF\r\nand CRLF\0\xff\n.\n..dots\n"
FILES = {"a.bin": random.Random(2).randbytes(100_000), "b.bin": b""}
FULL = CAMPAIGN + """\
kind: newsletter
reply_to: ["Ed Itor <editor@example.com>", "{{ second }}"]
cc: ["Boss, the <boss@münchen.de>", "{{ second }}"]
bcc: archive@example.com
images: {logo: logo.png}
attachments:
  - terms.txt
  - file: "{{ doc }}"
    name: "测试文档 {{ first_name }}.doc"
headers: {X-Campaign: "november {{ first_name }}"}
unsubscribe:
  mailto: leave@example.com
  url: "https://example.com/u/{{ unsubscribe_token }}"
  secret: s3cret
"""
FULL_TABLE = ('email,first_name,second,doc\nann@example.com,"O\'Neil, ""Ann"" <b>",,a.bin\nZoe@Example.com,Zoë,two@example.com,b.bin\n'
              "li@example.com,若水,two@example.com,a.bin\n")
FULL_ROWS = [dict(email="ann@example.com", name='O\'Neil, "Ann" <b>', second="", doc="a.bin"),
             dict(email="Zoe@example.com", name="Zoë", second="two@example.com", doc="b.bin"),
             dict(email="li@example.com", name="若水", second="two@example.com", doc="a.bin")]
FULL_HTML = "<!doctype html><p>Hello {{ first_name }}</p>\n.\n..\n<img src=\"cid:logo\"><a href='{{ unsubscribe_url }}'>x</a>" + "x" * 2000 + "\n"
FULL_TEXT = "Hello {{ first_name }}\n.\n..dots\nFrom here on ü\n" + "long " * 400 + "\n"


def write_full(folder) -> None:
    folder.campaign(FULL)
    folder.write("recipients.csv", FULL_TABLE)
    folder.write("digest.html", FULL_HTML)
    folder.write("digest.txt", FULL_TEXT)
    folder.write("logo.png", PNG)
    folder.write("terms.txt", TERMS)
    for name, octets in FILES.items():
        folder.write(name, octets)


def link_of(octets: bytes) -> str:
    """The https link in List-Unsubscribe."""
    return email.message_from_bytes(octets)["List-Unsubscribe"].partition("<")[2].partition(">")[0]


def must_read(read, row: dict, octets: bytes) -> None:
    """Assert that a parser found in `octets` exactly what went into the campaign for this row."""
    second = [("", row["second"])] * bool(row["second"])
    assert read.subject == f"{row['name']}, your November digest"
    assert read.from_ == [("若水", "news@example.com")]
    assert read.to == [(row["name"], row["email"])]
    assert read.cc == [("Boss, the", "boss@xn--mnchen-3ya.de"), *second]
    assert read.reply_to == [("Ed Itor", "editor@example.com"), *second]
    assert read.text == FULL_TEXT.replace("{{ first_name }}", row["name"])
    name = html.escape(row["name"]).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    assert read.html == FULL_HTML.replace("{{ first_name }}", name).replace("{{ unsubscribe_url }}", link_of(octets))
    assert read.files == [("logo.png", "image/png", "logo", PNG), ("terms.txt", "text/plain", None, TERMS),
                          (f"测试文档 {row['name']}.doc", "application/msword", None, FILES[row["doc"]])]
    assert "bcc" not in read.headers and b"archive@" not in octets


def envelope_of(row: dict) -> tuple[str, ...]:
    """Whom a row's message goes to: To, Cc and Bcc, each once."""
    return tuple(filter(None, (row["email"], "boss@xn--mnchen-3ya.de", row["second"], "archive@example.com")))
