"""What every client sends: a folder with a newsletter's two templates, its picture, its attachment and a table of 12 columns.

Two works: `small` is 17 KB of HTML, 3 KB of text and a picture of 15 KB in the HTML, 43 KB as a mail; `large` is the same with a PDF of 200 KB,
317 KB as a mail. The folder is the same octets each time.
"""

import csv
import random
from dataclasses import dataclass
from pathlib import Path

import jinja2

SENDER = "news@example.com"
SUBJECT = "{{ first_name }}, your November digest"
COLUMNS = "email,first_name,last_name,city,points,code,language,segment,company,phone,joined,note"
WORDS = "the quick autumn sale brings warm coats scarves boots and teas to every reader of our monthly digest with stories from the valley".split()
CAMPAIGN = """\
name: digest
edition: "2026-11"
from: News <{sender}>
subject: "{subject}"
html: digest.html
text: digest.txt
images: {{logo: logo.png}}
{attachments}recipients: {{file: recipients.csv, email: email}}
smtp: {{host: 127.0.0.1, port: {port}, security: plain{more}}}
"""


@dataclass(frozen=True)
class Work:
    """What is sent. octets: of one mail, about; what smtp-source is told to send."""

    name: str
    octets: int
    pdf: bool


WORKS = {work.name: work for work in (Work("small", 43_000, False), Work("large", 317_000, True))}


def lay(folder: Path, work: Work, recipients: int) -> Path:
    """Write the work for so many recipients into an empty folder."""
    chance = random.Random(1)
    folder.mkdir(parents=True)
    (folder / "digest.html").write_text(_html(chance), "utf-8")
    (folder / "digest.txt").write_text(_text(chance), "utf-8")
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chance.randbytes(15 * 1024 - 8))
    if work.pdf:
        (folder / "terms.pdf").write_bytes(b"%PDF-1.4\n" + chance.randbytes(200 * 1024 - 9))
    with open(folder / "recipients.csv", "w", encoding="utf-8") as table:
        table.write(COLUMNS + "\n")
        for number in range(recipients):
            table.write(f"person{number}@example.com,Ann{number},Müller{number},Köln,{number % 1000},c{number:08d},en,gold,Acme {number % 97} Ltd,"
                        f"+49 221 {number:07d},2021-03-{number % 28 + 1:02d},a reader\n")
    return folder


def campaign(folder: Path, work: Work, port: int, more: str = "") -> None:
    """Write postroom's campaign for a relay on this port. more: of its smtp settings."""
    attachments = "attachments: [terms.pdf]\n" if work.pdf else ""
    (folder / "campaign.yaml").write_text(CAMPAIGN.format(sender=SENDER, subject=SUBJECT, attachments=attachments, port=port, more=more))


def rows(folder: Path) -> list[dict]:
    with open(folder / "recipients.csv", encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@dataclass(frozen=True)
class Expected:
    """What one recipient must get, before any encoding."""

    html: str
    text: str
    logo: bytes
    pdf: bytes | None

    @property
    def least_octets(self) -> int:
        return len(self.html.encode()) + len(self.text.encode()) + (len(self.logo) + len(self.pdf or b"")) * 4 // 3


def expected(folder: Path, row: dict) -> Expected:
    html, text = (jinja2.Template((folder / name).read_text("utf-8")).render(row) for name in ("digest.html", "digest.txt"))
    pdf = folder / "terms.pdf"
    return Expected(html, text, (folder / "logo.png").read_bytes(), pdf.read_bytes() if pdf.exists() else None)


def _html(chance):
    parts = ['<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Our digest</title></head><body style="margin:0;font-family:Arial">\n'
             '<table width="600"><tr><td><img src="cid:logo" alt="Logo" width="200"></td></tr>\n'
             "<tr><td><h1>Hello {{ first_name }} {{ last_name }}</h1><p>You live in {{ city }}, and have {{ points }} points.</p></td></tr>\n"]
    while sum(map(len, parts)) < 16_800:
        parts.append(f'<tr><td style="padding:8px 0;color:#333333"><h2>{_sentence(chance, 5).title()}</h2><p>{_sentence(chance, 40)}.</p>'
                     f'<p><a href="https://example.com/a/{len(parts)}?c={{{{ code }}}}">{_sentence(chance, 3)}</a></p></td></tr>\n')
    return "".join(parts) + "</table></body></html>\n"


def _text(chance):
    text = "Hello {{ first_name }} {{ last_name }}\n\nYou live in {{ city }}, and have {{ points }} points.\n\n"
    while len(text) < 2_950:
        text += _sentence(chance, 11) + "\n"
    return text


def _sentence(chance, words):
    return " ".join(chance.choice(WORDS) for _ in range(words))
