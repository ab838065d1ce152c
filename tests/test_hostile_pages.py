"""Mail that would act where it is shown, in a real browser: nothing of it runs, and nobody is called (reliability, goal 17).

Each payload is a mail of its own, in a frame of its own on one page of the test's. A script that runs anywhere says so by
postMessage, which no Content-Security-Policy stops. The frames are shown twice: as our page makes them, and without the
attribute `sandbox`, so that the policy in the mail alone has to hold.
"""

import http.client
import re
from email.message import EmailMessage
from pathlib import Path

import pytest

from browsing import Listener
from payloads import CALLS, SCRIPTS
from postroom import sandbox as sandbox_module
from postroom.pages import Book
from postroom.sandbox import Sandbox, mailbox

HARNESS = "<!doctype html><title>ran:</title><script>addEventListener('message', (event) => { document.title += ' ' + event.data; });</script>"
AT_ONCE = 40
AS_OURS, BARE = 'sandbox="allow-same-origin"', ""


def payloads(listener) -> list[str]:
    """Each script says its number if it runs, each call has a path of its own."""
    scripts = [script.replace("CODE", f"top.postMessage({number},String.fromCharCode(42))") for number, script in enumerate(SCRIPTS)]
    return scripts + [call.replace("URL", f"{listener.url}/call{number}") for number, call in enumerate(CALLS)]


def mail_of(html) -> bytes:
    mail = EmailMessage()
    mail["Subject"], mail["To"] = "x", "ann@example.com"
    mail.set_content(f"<!doctype html><html><body>Hello\n{html}", subtype="html", charset="utf-8", cte="base64")
    return mail.as_bytes()


def harnesses(address, count, attributes=(AS_OURS, BARE)):
    """Pages with frames of the mails 1 to count, some on each."""
    for first in range(1, count + 1, AT_ONCE):
        yield HARNESS + "".join(f'<iframe {attribute} src="{address.format(number)}"></iframe>' for number in range(first, min(first + AT_ONCE, count + 1)) for attribute in attributes)


def what_ran(pages):
    return {number for page in pages for number in re.search(r"<title>ran:([^<]*)</title>", page)[1].split()}


def on_disk(browser, folder, pages):
    for page in pages:
        (folder / "all.html").write_text(page)
        yield browser((folder / "all.html").as_uri())


def test_there_are_enough_payloads():
    """Goal 17: 100 scripts and 20 ways out."""
    assert len(set(SCRIPTS)) >= 100 and len(set(CALLS)) >= 20


@pytest.mark.timeout(300)
def test_unguarded_the_payloads_act(browser, tmp_path, record_property):
    """The proof that the next tests can fail: the same mails as they came."""
    with Listener() as listener:
        mails = payloads(listener)
        for number, html in enumerate(mails, 1):
            (tmp_path / f"{number}.html").write_text(f"<!doctype html><html><body>Hello\n{html}", encoding="utf-8")

        ran = what_ran(on_disk(browser, tmp_path, harnesses("{}.html", len(mails), [BARE])))

    called = {call for call in listener.calls if call.startswith("/call")}
    record_property("figure", f"hostile pages: of {len(SCRIPTS)} scripts {len(ran)} run unguarded, of {len(CALLS)} ways out {len(called)} reach somebody")
    assert len(ran) > 60 and len(called) > 30


@pytest.mark.timeout(300)
def test_on_a_page_from_the_disk_no_mail_runs_or_calls(browser, tmp_path):
    with Listener() as listener:
        book = Book(str(tmp_path), "x")
        for number, html in enumerate(payloads(listener), 1):
            book.add(mail_of(html), f"{number:04}", "a@example.com", ("ann@example.com",))

        ran = what_ran(on_disk(browser, tmp_path, harnesses("messages/{:04}.html", len(book))))
        index = browser(f"{(tmp_path / book.bind()).as_uri()}#0002")

    assert ran == set() and (listener.calls, listener.connections) == ([], 0)
    assert 'src="messages/0002.html"' in index


@pytest.mark.timeout(300)
def test_on_the_sandboxs_page_no_mail_runs_or_calls(browser, tmp_path, monkeypatch):
    """The same over HTTP, where the policy stands in the header too."""
    class WithHarness(sandbox_module._Page):
        def _passes(self):
            if not self.path.startswith("/harness/"):
                return super()._passes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            super(sandbox_module._Page, self).end_headers()
            self.wfile.write(pages[int(self.path.removeprefix("/harness/"))].encode())
            return False

    monkeypatch.setattr(sandbox_module, "_Page", WithHarness)
    directory = mailbox(str(tmp_path / "mail"))
    with Listener() as listener, Sandbox(directory, web_port=0) as sandbox:
        mails = payloads(listener)
        for html in mails:
            sandbox.keep(mail_of(html), "a@example.com", ["ann@example.com"])
        pages = list(harnesses(sandbox.url + "messages/{:04}.html", len(mails)))
        index = browser(f"{sandbox.url}#{len(mails):04}")

        ran = what_ran([browser(f"{sandbox.url.rsplit('/', 2)[0]}/harness/{number}") for number in range(len(pages))])

    assert ran == set() and (listener.calls, listener.connections) == ([], 0)
    assert f'src="messages/{len(mails):04}.html"' in index


def test_a_mails_own_pictures_are_shown_over_http_and_from_the_disk(browser, tmp_path):
    """The policy must not be so strict that a mail cannot be seen."""
    svg_free_dot = bytes.fromhex("47494638396101000100800000ff000000000021f90401000000002c00000000010001000002024401003b")
    mail = EmailMessage()
    mail["Subject"] = "x"
    mail.set_content('<!doctype html><img src="cid:dot@x" width=7><p>x', subtype="html")
    mail.add_related(svg_free_dot, "image", "gif", cid="<dot@x>")
    with Sandbox(mailbox(str(tmp_path / "mail")), web_port=0) as sandbox:
        sandbox.keep(mail.as_bytes(), "a@example.com", ["ann@example.com"])
        with urlopened(sandbox, "") as answer:
            answer.read()
        with urlopened(sandbox, "messages/0001.html") as answer:
            source = re.search(r'<img src="\.\./(parts/[0-9a-f]+\.gif)"', answer.read().decode())[1]
            assert "img-src 'self' data:" in answer.headers["Content-Security-Policy"]
        with urlopened(sandbox, source) as answer:
            assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, "image/gif", svg_free_dot)
    assert "img-src 'self' file: data:" in (tmp_path / "mail" / "messages" / "0001.html").read_text()


def test_without_a_picture_of_its_own_a_mail_may_open_nothing_on_the_disk(tmp_path):
    """Opened on Windows, `//host/share/x.png` on a page from the disk would call that host."""
    book = Book(str(tmp_path), "x")
    book.add(mail_of("<img src='//evil.example/share/x.png'>"), "0001", "a@example.com", ("ann@example.com",))

    assert "img-src data:;" in (tmp_path / "messages" / "0001.html").read_text()


class urlopened:
    """One request to the sandbox's page, with these headers instead of the usual ones. path: behind the secret, or a whole one."""

    def __init__(self, sandbox, path, method="GET", **headers):
        address, secret = re.fullmatch(r"http://(127\.0\.0\.1:\d+)(/[\w-]+/)", sandbox.url).groups()
        self._line = http.client.HTTPConnection(address, timeout=10)
        self._line.putrequest(method, path if path.startswith(("/", "http")) else secret + path, skip_host=True)
        for name, values in {"Host": address, **headers}.items():
            for value in values if isinstance(values, list) else [values]:
                if value is not None:
                    self._line.putheader(name, value)
        self._line.endheaders()

    def __enter__(self):
        return self._line.getresponse()

    def __exit__(self, *_):
        self._line.close()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A sandbox that shows a mail of Zoe's, in the folder of a project that has secrets too."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "campaign.yaml").write_text("name: Zoe")
    with Sandbox(mailbox(str(folder / "mail")), web_port=0) as sandbox:
        sandbox.keep(mail_of("Zoe"), "news@example.com", ["zoe@example.com"])
        (folder / "mail" / "journal.sqlite3").write_text("Zoe")
        with urlopened(sandbox, "") as answer:
            assert answer.status == 200
        yield sandbox


@pytest.mark.parametrize("host", ["evil.example:PORT", "evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "localhost:1", "127.0.0.1.evil.example:PORT", "0.0.0.0:PORT", "[::1]:PORT",
                                  "127.0.0.2:PORT", "127.0.0.1:PORT@evil.example", "", None, ["127.0.0.1:PORT", "evil.example"], ["127.0.0.1:PORT", "127.0.0.1:PORT"]])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_another_host_is_answered_421(shown, host, method):
    """reliability 5a, DNS rebinding: Host must be a loopback name and the right port."""
    port = shown.url.split("/")[2].partition(":")[2]
    host = [one.replace("PORT", port) for one in host] if isinstance(host, list) else host and host.replace("PORT", port)

    with urlopened(shown, "", method, Host=host) as answer:
        assert answer.status == 421
        assert b"Zo" not in answer.read()


@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "localhost:PORT", "LOCALHOST:PORT"])
def test_our_own_names_are_answered(shown, host):
    with urlopened(shown, "", Host=host.replace("PORT", shown.url.split("/")[2].partition(":")[2])) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_nothing_but_looking_is_possible(shown, method):
    """reliability 5a, local pages: there is no state to change, so no method that could."""
    with urlopened(shown, "", method) as answer:
        assert answer.status == 405


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://", "", ["http://127.0.0.1:PORT", "https://evil.example"]])
def test_another_sites_script_reads_nothing(shown, origin):
    port = shown.url.split("/")[2].partition(":")[2]
    origin = [one.replace("PORT", port) for one in origin] if isinstance(origin, list) else origin

    with urlopened(shown, "0001.eml", Origin=origin) as answer:
        assert answer.status == 403
        assert not any(name.lower().startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize("path", ["/", "/index.html", "/messages/0001.html", "/0001.eml", "//", "/x/", "/x/0001.eml", "messages", "messages/", "parts/", ".postroom-sandbox", "%2epostroom-sandbox", "0001.json", "../campaign.yaml",
                                  "..%2fcampaign.yaml", "messages/../../campaign.yaml", "messages/0001.html/", "0001.eml?x", "http://127.0.0.1/0001.eml", "journal.sqlite3", "%00", "0001.eml%00.html", "%C3%A9"])
def test_who_does_not_know_the_address_or_asks_for_something_else_sees_nothing(shown, path):
    """Other people on this machine can call the port too; and the folder holds more than its page."""
    with urlopened(shown, path) as answer:
        assert answer.status == 404
        assert b"Zo" not in answer.read()


def test_every_answer_says_what_it_may_do(shown):
    """The mail, the page around it, and what is refused."""
    said = {}
    for path in ("", "messages/0001.words.html", "messages/0001.html", "0001.eml", "gone"):
        with urlopened(shown, path) as answer:
            answer.read()
            said[path] = answer.headers
    for headers in said.values():
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"], headers["Cache-Control"]) == ("nosniff", "no-referrer", "no-store")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "'unsafe-eval'" not in policy and not re.search(r"script-src[^;]*('unsafe|https?:|\*|'self')", policy)
        assert not any(name.lower().startswith("access-control-") for name in headers)
    for path in ("messages/0001.html", "0001.eml"):
        assert said[path]["Content-Security-Policy"] == ("sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
                                                         "frame-ancestors 'self'")
    for word in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "script-src 'sha256-"):
        assert word in said[""]["Content-Security-Policy"]
    assert said["0001.eml"]["Content-Type"] == "text/plain; charset=utf-8"


def test_the_pages_address_is_the_same_tomorrow_and_says_nothing(folder):
    """A page that somebody left open leads there again."""
    addresses = set()
    for name in ("a", "a", "b"):
        with Sandbox(mailbox(str(folder.path / name)), web_port=0) as sandbox:
            addresses.add(sandbox.url.split("/", 3)[3])

    assert len(addresses) == 2 and all(re.fullmatch(r"[\w-]{22}/", one) for one in addresses)
    assert (folder.path / "a" / ".postroom-sandbox").stat().st_mode & 0o077 == 0


def test_the_sandbox_listens_on_loopback_alone(folder):
    with Sandbox(mailbox(str(folder.path / "mail")), web_port=0) as sandbox:
        web = int(sandbox.url.split("/")[2].partition(":")[2])
        listening = {line.split()[1] for table in ("/proc/net/tcp", "/proc/net/tcp6") for line in Path(table).read_text().splitlines()[1:] if line.split()[3] == "0A"}

    for port in (sandbox.smtp_port, web):
        assert {address.partition(":")[0] for address in listening if address.endswith(f":{port:04X}")} == {"0100007F"}
