"""Whole campaigns to smtp-sink on loopback, side by side: postroom and what people use instead. Prints ratios, judges nothing.

    .venv/bin/python benchmarks/throughput.py [MESSAGES] [ROUNDS]

The peers: a tutorial's script (Jinja2, the email package, smtplib) with one connection for all, and the same with a
connection for each message, as command-line mergers do. Both forget whom they sent to; postroom commits every departure
and every reply to disk. They take turns in each round, because machines drift; times are of whole processes.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import Folder  # noqa: E402 - the tests' campaign and servers are used here too
from peers import SmtpSink  # noqa: E402

SCRIPT = """
import csv, smtplib, sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
import jinja2
port, each = int(sys.argv[1]), sys.argv[2] == "each"
html, text = (jinja2.Template(open(name).read()) for name in ("digest.html", "digest.txt"))
server = None
for row in csv.DictReader(open("recipients.csv", encoding="utf-8")):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "news@example.com", row["email"], row["first_name"] + ", your November digest"
    mail["Date"], mail["Message-ID"] = formatdate(localtime=True), make_msgid(domain="example.com")
    mail.set_content(text.render(row))
    mail.add_alternative(html.render(row), subtype="html")
    if server is None or each:
        server = smtplib.SMTP("127.0.0.1", port)
    server.send_message(mail)
    if each:
        server.quit()
if not each:
    server.quit()
"""
HTML = "<!doctype html><html><body><h1>Hello {{ first_name }}</h1>\n" + "<p>A paragraph of some length, as newsletters have them, for you.</p>\n" * 200 + "</body></html>\n"


def main(messages=1000, rounds=3):
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        folder.write("digest.html", HTML)
        folder.write("script.py", SCRIPT)
        folder.write("recipients.csv", "email,first_name\n" + "".join(f"person{number}@example.com,Person {number}\n" for number in range(messages)))
        seconds = {"postroom": [], "one connection": [], "a connection each": []}
        for number in range(rounds):
            for name in seconds:
                with SmtpSink() as sink:
                    seconds[name].append(timed(folder, name, sink.port, f"{number}.sqlite3"))
                    assert sink.recipients_seen() == messages, name
    ours = statistics.median(seconds["postroom"])
    for name, found in seconds.items():
        median = statistics.median(found)
        print(f"{name:<20}{messages / median:>8,.0f} messages/s  ({median:.2f} s, {min(found):.2f} to {max(found):.2f})  {median / ours:.2f} × postroom's time")


def timed(folder, name, port, journal):
    folder.relay(port)
    words = ["-m", "postroom", "send", "campaign.yaml", "--yes", "--journal", journal]
    if name != "postroom":
        words = ["script.py", str(port), "each" if name == "a connection each" else "one"]
    before = time.monotonic()
    subprocess.run([sys.executable, *words], cwd=folder.path, check=True, capture_output=True, timeout=600)
    return time.monotonic() - before


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
