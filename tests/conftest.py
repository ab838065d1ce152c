"""What every test may use: a small project on disk, a relay, and two parsers that are not ours."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from browsing import chromium
from parsers import NodeParser
from relay import Relay
from running import missing

# Machines are noisy: how long an example takes says nothing about it. pytest's own limit ends what hangs.
settings.register_profile("noisy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy")

CAMPAIGN = """\
name: digest
edition: "2026-11"
from: "若水 <news@example.com>"
to: "{{ first_name }} <{{ email }}>"
subject: "{{ first_name }}, your November digest"
html: digest.html
text: digest.txt
recipients:
  file: recipients.csv
smtp:
  host: 127.0.0.1
  port: 2525
  security: plain
"""
HTML = "<!doctype html><html><body><p>Hello {{ first_name }}</p></body></html>\n"
TEXT = "Hello {{ first_name }}\n"
TABLE = "email,first_name\nann@example.com,Ann\nzoe@example.com,Zoë\n"


class Folder:
    """A project's folder; write() and campaign() change it, load() reads it."""

    def __init__(self, path: Path):
        self.path = path
        self.write("campaign.yaml", CAMPAIGN)
        self.write("digest.html", HTML)
        self.write("digest.txt", TEXT)
        self.write("recipients.csv", TABLE)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def campaign(self, text: str = CAMPAIGN) -> Path:
        return self.write("campaign.yaml", text)

    def more(self, lines: str) -> Path:
        """The usual campaign with more lines at its end."""
        return self.campaign(CAMPAIGN + lines)

    def relay(self, port: int, more: str = "") -> Path:
        """The usual campaign, sent through 127.0.0.1:port."""
        return self.campaign(CAMPAIGN.replace("port: 2525", f"port: {port}") + more)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project with two recipients, and the test standing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POSTROOM_JOURNAL", raising=False)
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def node():
    """The second parser. A contributor without Node sees a named skip; in CI that is a failure."""
    if not shutil.which("node") or not (Path(__file__).parents[1] / "node_modules" / "postal-mime").is_dir():
        missing("Node with postal-mime (the second MIME parser)")
    with NodeParser() as parser:
        yield parser


@pytest.fixture(scope="session")
def browser():
    """dump(address): what a real browser made of a page."""
    return chromium()


@pytest.fixture
def relay():
    """A relay that accepts everything until the test tells it otherwise."""
    with Relay() as relay:
        yield relay


def pytest_terminal_summary(terminalreporter):
    """What tests counted, such as shares of cases, stands at the end, whichever process ran them."""
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(value)
