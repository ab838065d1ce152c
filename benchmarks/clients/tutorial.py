"""The script that a good tutorial teaches: csv, Jinja2, email.mime and smtplib; templates compiled once, one connection for all.

Runs in the folder of a work: python tutorial.py PORT
"""

import csv
import smtplib
import sys
from email.mime.application import MIMEApplication
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formatdate, make_msgid
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

SENDER = "news@example.com"
templates = Environment(loader=FileSystemLoader("."), autoescape=True)
html, text = templates.get_template("digest.html"), templates.get_template("digest.txt")
logo, pdf = Path("logo.png").read_bytes(), Path("terms.pdf")
terms = pdf.read_bytes() if pdf.exists() else None


def rows():
    with open("recipients.csv", encoding="utf-8", newline="") as table:
        yield from csv.DictReader(table)


def message(row):
    mail = related = MIMEMultipart("related")
    words = MIMEMultipart("alternative")
    words.attach(MIMEText(text.render(row), "plain", "utf-8"))
    words.attach(MIMEText(html.render(row), "html", "utf-8"))
    related.attach(words)
    image = MIMEImage(logo, "png")
    image.add_header("Content-ID", "<logo>")
    image.add_header("Content-Disposition", "inline", filename="logo.png")
    related.attach(image)
    if terms:
        mail = MIMEMultipart("mixed")
        mail.attach(related)
        attachment = MIMEApplication(terms, "pdf")
        attachment.add_header("Content-Disposition", "attachment", filename="terms.pdf")
        mail.attach(attachment)
    mail["From"], mail["To"] = f"News <{SENDER}>", row["email"]
    mail["Subject"] = f"{row['first_name']}, your November digest"
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="example.com")
    return mail


if __name__ == "__main__":
    with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as server:
        for row in rows():
            server.send_message(message(row))
