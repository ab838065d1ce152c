"""Who is compared: how each is started, and whether what it sends is what was asked for.

All but postroom stand in clients/, each a script that a good user of that library would write, from its documentation; `make bench`
installs them under .peers/ and clients/node_modules/, in pinned versions. None of them checks the list before it sends or writes
down whom it has sent to.
"""

import email
import email.policy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import work as works
from targets import peers
from wire import Wire

HERE = Path(__file__).parent
PYTHON = HERE / ".peers" / "bin" / "python"
NODE_MODULES = HERE / "clients" / "node_modules"
MOST_SECONDS = 3600
RECIPIENTS_OF_A_PROOF = 3


@dataclass(frozen=True)
class Client:
    """One contestant. words: its command line; `{port}`, `{mails}`, `{octets}` and `{sender}` are filled in.

    does: what a reader must know to compare it. more: of postroom's smtp settings. renders: each mail is made for its recipient.
    fast: it is sent as many mails as postroom.
    """

    name: str
    does: str
    words: tuple[str, ...]
    more: str | None = None
    renders: bool = True
    fast: bool = False

    @property
    def is_ours(self) -> bool:
        return self.more is not None

    @property
    def missing(self) -> str | None:
        """What is not installed, if anything."""
        if self.words[0] == str(PYTHON):
            return None if PYTHON.exists() else "benchmarks/.peers"
        if self.words[0] == "node" and not NODE_MODULES.is_dir():
            return "benchmarks/clients/node_modules"
        return None if shutil.which(self.words[0]) else self.words[0]


def _script(name):
    return str(PYTHON), str(HERE / "clients" / name), "{port}"


_POSTROOM = (sys.executable, "-m", "postroom", "send", "campaign.yaml", "--yes", "--json")
CLIENTS = {client.name: client for client in (
    Client("postroom", "default settings; preflight of every recipient; a durable journal", _POSTROOM, more="", fast=True),
    Client("postroom, in_flight 64", "the same with a larger window", _POSTROOM, more=", in_flight: 64", fast=True),
    Client("tutorial", "smtplib, email.mime, Jinja2; one connection", _script("tutorial.py")),
    Client("nodemailer", "one pooled connection, nunjucks", ("node", str(HERE / "clients" / "nodemailer.mjs"), "{port}")),
    Client("aiosmtplib", "one connection; mails as the tutorial's", _script("with_aiosmtplib.py")),
    Client("redmail", "one connection", _script("with_redmail.py")),
    Client("emails", "one connection", _script("with_emails.py")),
    Client("yagmail", "connects for each mail; its text part is the HTML's source", _script("with_yagmail.py")),
    Client("mailmerge", "connects for each mail; parses the HTML to embed the picture", _script("with_mailmerge.py")),
    Client("smtp-source", "C, part of Postfix; one connection; renders nothing: one letter, repeated",
           ("smtp-source", "-s", "1", "-d", "-N", "-m", "{mails}", "-l", "{octets}", "-f", "{sender}", "-t", "person@example.com", "127.0.0.1:{port}"),
           renders=False, fast=True),
    Client("libcurl", "C, by pycurl; one connection; renders nothing: one mail, repeated", _script("with_pycurl.py"), renders=False, fast=True),
    Client("streamed", "a bare socket in 70 lines of our own; pipelined or chunked; renders nothing: one mail, repeated; what a connection can take at most", _script("streamed.py"),
           renders=False, fast=True))}


@dataclass(frozen=True)
class Run:
    """One run. seconds: of the whole process. send_seconds: from the first MAIL to QUIT, None where the wire cannot be watched."""

    seconds: float
    send_seconds: float | None


class Failed(Exception):
    """A client did not do what it was asked to; the words say what."""


def run(client: Client, folder: Path, work: works.Work, mails: int, port: int) -> Run:
    """Send a laid work of so many mails to a port, under one clock.

    Raises Failed where the process ends with an error.
    """
    if client.is_ours:
        works.campaign(folder, work, port, client.more)
        shutil.rmtree(folder / ".postroom", ignore_errors=True)  # a fresh journal for each run
    words = [word.format(port=port, mails=mails, octets=work.octets, sender=works.SENDER) for word in client.words]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _watched(port) as wire:
        before = time.monotonic()
        process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        limit = threading.Timer(MOST_SECONDS, process.kill)
        limit.start()
        try:
            code = process.wait()  # a timeout of its own would look only every 50 ms
            seconds = time.monotonic() - before
        finally:
            limit.cancel()
            process.kill()
        out.seek(0)
        err.seek(0)
        if code:
            raise Failed(f"{client.name} ended with {code}: {err.read()[-2000:].decode(errors='replace')}")
        if client.is_ours and (said := json.load(out))["sent"] != mails:
            raise Failed(f"{client.name} sent {said['sent']} of {mails}")
    return Run(seconds, wire and wire.seconds)


def prove(client: Client, work: works.Work) -> int:
    """Let a client send to a sink that keeps everything, and look whether it is what every client must send; how many octets a mail has.

    Raises Failed where a part is missing, differs, or the mail is much smaller.
    """
    with tempfile.TemporaryDirectory() as path, peers.SmtpSink() as sink:
        folder = works.lay(Path(path, "work"), work, RECIPIENTS_OF_A_PROOF)
        run(client, folder, work, RECIPIENTS_OF_A_PROOF, sink.port)
        taken = {mail.recipients: mail.octets for mail in sink.mails()}
        if len(taken) != RECIPIENTS_OF_A_PROOF:
            raise Failed(f"{client.name}: {len(taken)} of {RECIPIENTS_OF_A_PROOF} recipients got a mail")
        size = min(map(len, taken.values()))
        if client.renders:
            for row in works.rows(folder):
                if differs := _difference(taken.get((row["email"],)), works.expected(folder, row), row):
                    raise Failed(f"{client.name}, {work.name} work: {differs}")
        elif size < work.octets:
            raise Failed(f"{client.name}, {work.name} work: only {size:,} octets")
        if client.is_ours and abs(size - work.octets) > 0.03 * work.octets:
            raise Failed(f"{client.name}, {work.name} work: {size:,} octets, smtp-source would send {work.octets:,}")
    return size


def _difference(octets, expected, row):
    """What of a mail is not as it must be; None where all is."""
    if octets is None:
        return f"no mail for {row['email']} alone"
    parts = [part for part in email.message_from_bytes(octets, policy=email.policy.default).walk() if not part.is_multipart()]
    texts = {kind: "".join(part.get_content() for part in parts if part.get_content_type() == kind) for kind in ("text/plain", "text/html")}
    files = [part.get_payload(decode=True) for part in parts if part.get_content_maintype() != "text"]
    texts["text/html"] = unescape(texts["text/html"])
    for kind, words in (("text/plain", expected.text), ("text/html", expected.html)):
        if len(texts[kind]) < 0.97 * len(words) or f"Hello {row['first_name']} {row['last_name']}" not in texts[kind]:
            return f"its {kind} is not the template's"
    if texts["text/html"].count(f"c={row['code']}") != expected.html.count(f"c={row['code']}"):
        return "its links are not the template's"
    if not re.search(r'<img[^>]* src="cid:', texts["text/html"]):
        return "its HTML shows no picture"
    if sorted(files) != sorted(filter(None, (expected.logo, expected.pdf))):
        return "its files are not those that were given"
    if len(octets) < expected.least_octets:
        return f"only {len(octets):,} octets"
    return None


def _watched(port):
    return Wire(port) if os.geteuid() == 0 else nullcontext()
