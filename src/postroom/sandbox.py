"""A mail server for practice on loopback: takes every message, delivers none, keeps its octets and shows them (aiosmtpd).

A message is kept as NNNN.eml, exactly the octets that came, with its envelope in NNNN.json beside it.
"""

import asyncio
import functools
import hmac
import json
import os
import re
import secrets
import shutil
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from postroom.errors import CampaignError, RelayUnavailable
from postroom.pages import MAIL_POLICY, Book, book_policy, words_policy
from postroom.preview import private_files

HOST = "127.0.0.1"
MARK = ".postroom-sandbox"
# What the page is made of; nothing else in the folder is shown. What a mail brought is shown with a policy that lets nothing run or call.
BOOK, WORDS = re.compile(r"(?:index\.html)?"), re.compile(r"messages/[0-9]+\.words\.html")
BROUGHT = re.compile(r"[0-9]+\.eml|messages/[0-9]+\.html|parts/[0-9a-f]{24}\.[a-z0-9]+")
BROUGHT_POLICY = "sandbox; " + MAIL_POLICY.format(pictures="'self' ") + "; frame-ancestors 'self'"
MOST_OCTETS = 1 << 28
START_SECONDS = 10


class Sandbox:
    """Runs while it is entered. directory: an existing mailbox. port, web_port: 0 takes a free one; web_port None shows nothing.

    Entering raises RelayUnavailable where a port is taken.
    """

    def __init__(self, directory: str, port: int = 0, web_port: int | None = None):
        self.directory, self._port, self._web_port, self._web = directory, port, web_port, None
        self._number = max((int(name) for name in _kept(directory)), default=0)

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)
        self._thread.start()
        try:
            self._server = self._run(self._listen())
            self.smtp_port = self._server.sockets[0].getsockname()[1]
            if self._web_port is not None:
                self._show()
        except OSError as error:
            self._stop()
            raise RelayUnavailable(f"the sandbox cannot listen there: {(error.strerror or str(error)).lower()}", HOST,
                                   "stop the program that has the port, or name others with --port and --web-port") from None
        return self

    def __exit__(self, *_):
        if self._web:
            self._web.shutdown()
            self._web.server_close()
        self._run(self._close())
        self._stop()

    @property
    def url(self) -> str | None:
        """The page's address, or None where it is not shown. It holds a secret: other people on this machine can call the port too."""
        return self._web and f"http://{HOST}:{self._web.server_port}/{_token(self.directory)}/"

    def keep(self, octets: bytes, sender: str, recipients: list[str]) -> None:
        """Write one message down; the envelope first, so that whoever sees the message can read it."""
        self._number += 1
        path = os.path.join(self.directory, f"{self._number:04}")
        envelope = {"sender": sender, "recipients": recipients, "received": time.time()}
        _write(f"{path}.json", json.dumps(envelope, ensure_ascii=False).encode())
        _write(f"{path}.eml", octets)

    def _run(self, step):
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(START_SECONDS)

    async def _listen(self):
        from aiosmtpd.smtp import SMTP

        def session():
            return SMTP(_Keeper(self), hostname="sandbox.test", ident="postroom sandbox", data_size_limit=MOST_OCTETS, enable_SMTPUTF8=True)

        return await asyncio.get_running_loop().create_server(session, HOST, self._port)

    async def _close(self):
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    def _stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    def _show(self):
        handler = functools.partial(_Page, Pages(self.directory), _token(self.directory), directory=self.directory)
        self._web = ThreadingHTTPServer((HOST, self._web_port), handler)
        threading.Thread(target=self._web.serve_forever, name="sandbox page", daemon=True).start()


class Pages:
    """The mailbox's page, which catches up with what came since."""

    def __init__(self, directory: str):
        self.directory, self._shown, self._guard = directory, set(), threading.Lock()
        with private_files():
            self._book = Book(directory, "Sandbox")

    def catch_up(self) -> str:
        """Show what came since the last time. Returns the page's path."""
        with self._guard, private_files():
            for name in sorted(set(_kept(self.directory)) - self._shown, key=int):
                self._shown.add(name)
                path = os.path.join(self.directory, name)
                with open(f"{path}.eml", "rb") as mail, open(f"{path}.json", "rb") as envelope:
                    said = json.load(envelope)
                    self._book.add(mail.read(), name, said["sender"], tuple(said["recipients"]))
            return self._book.bind()


class _Keeper:
    """aiosmtpd's side: what to do with a message."""

    def __init__(self, sandbox):
        self._sandbox = sandbox

    async def handle_DATA(self, server, session, envelope):
        self._sandbox.keep(envelope.original_content, envelope.mail_from or "", envelope.rcpt_tos)
        return "250 2.0.0 kept, delivered to nobody"


class _Page(SimpleHTTPRequestHandler):
    """The mailbox's folder over HTTP: to who knows its address, by its own name, to look at and nothing else."""

    protocol_version, server_version, sys_version = "HTTP/1.0", "postroom", ""
    policy = "default-src 'none'; frame-ancestors 'none'"

    def __init__(self, pages, token, *arguments, **options):
        self._pages, self._token = pages, token
        super().__init__(*arguments, **options)

    def parse_request(self):
        """Whatever the method: the request is looked at before any of it is done."""
        return super().parse_request() and self._passes()

    def _passes(self):
        port = self.server.server_port
        # A browser leaves the scheme's own port out.
        ours = {f"{name}{end}" for name in (HOST, "localhost") for end in ((f":{port}", "") if port == 80 else (f":{port}",))}
        hosts, origins = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        if len(hosts) != 1 or hosts[0].strip().lower() not in ours:
            # Another site's page may reach a loopback port under a name of its own (DNS rebinding).
            self.send_error(421, "Misdirected Request")
        elif self.command not in ("GET", "HEAD"):
            self.send_error(405)
        elif any(origin not in {f"http://{name}" for name in ours} for origin in origins):
            self.send_error(403)
        elif not (asked := self._asked()):
            self.send_error(404)
        else:
            self.path, self.policy = asked
            return True
        return False

    def _asked(self):
        """(path in the folder, the policy to show it with), or None."""
        _, token, path = [*self.path.split("/", 2), "", ""][:3]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        if BOOK.fullmatch(path):
            return "/", f"{book_policy()}; frame-ancestors 'none'"
        if WORDS.fullmatch(path):
            return f"/{path}", f"{words_policy()}; frame-ancestors 'self'"
        if BROUGHT.fullmatch(path):
            return f"/{path}", BROUGHT_POLICY
        return None

    def do_GET(self):
        if self.path == "/":
            self._pages.catch_up()
        return super().do_GET()

    do_HEAD = do_GET

    def guess_type(self, path):
        return "text/plain; charset=utf-8" if path.endswith(".eml") else super().guess_type(path)

    def end_headers(self):
        for name, value in (("Content-Security-Policy", self.policy), ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"),
                            ("Referrer-Policy", "no-referrer"), ("Cross-Origin-Opener-Policy", "same-origin")):
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_):
        """Nothing: what people look at is nobody's business."""


def fresh_mailbox(directory: str) -> str:
    """An empty folder for a rehearsal; an earlier one there is replaced. Raises CampaignError where something else is there."""
    if os.path.lexists(directory) and not os.path.exists(os.path.join(directory, MARK)):
        raise CampaignError("it exists and holds no earlier rehearsal", directory, "move it away")
    with private_files():
        shutil.rmtree(directory, ignore_errors=True)
        return mailbox(directory)


def mailbox(directory: str) -> str:
    """The folder, made where it is not there yet. Raises CampaignError where it cannot be, or holds something else."""
    mark = os.path.join(directory, MARK)
    try:
        if os.path.exists(directory) and not os.path.exists(mark) and os.listdir(directory):
            raise CampaignError("it exists and is no mailbox of a sandbox", directory, "name another folder")
        with private_files():
            os.makedirs(directory, exist_ok=True)
            open(mark, "a").close()
    except OSError as error:
        raise CampaignError((error.strerror or "it cannot be made").lower(), directory, "name another folder") from None
    return directory


def write_mailbox_page(directory: str) -> str:
    """A page with everything that a mailbox holds. Returns its path."""
    return Pages(directory).catch_up()


def _token(directory):
    """The mailbox's secret in the page's address: in its mark, so that an address that somebody noted still leads there tomorrow."""
    with open(os.path.join(directory, MARK), "r+", encoding="ascii") as mark:
        os.fchmod(mark.fileno(), 0o600)
        if len(token := mark.read()) < 22:
            mark.seek(0)
            mark.write(token := secrets.token_urlsafe(16))
    return token


def _kept(directory):
    return [name for name, ending in map(os.path.splitext, os.listdir(directory)) if ending == ".eml" and name.isdecimal()]


def _write(path, octets):
    with open(path, "wb", opener=functools.partial(os.open, mode=0o600)) as file:
        file.write(octets)
