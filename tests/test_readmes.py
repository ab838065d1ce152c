"""Both READMEs as a new user would follow them: nothing is typed or written but what they print.

Only the relay is another: the project's shared settings turn the host and port to a twin on this machine, which knows the login.
"""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from peers import SecureServer, context_for

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # the TLS is around all of it
ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^(?:`([^`\n]+)`：?:?\n\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(readme, heading):
    """The text below a heading, up to the next of the same level."""
    text = (ROOT / readme).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    assert text, f"{readme} has no {heading}"
    return text.partition("\n## ")[0]


def typed(command, cwd, environment, seconds=60):
    """A command in a terminal of its own, answered with y where it asks. Returns (exit code, what the terminal showed)."""
    parent, child = pty.openpty()
    process = subprocess.Popen(["sh", "-c", command], cwd=cwd, env=environment, stdin=child, stdout=child, stderr=child, start_new_session=True)
    os.close(child)
    shown, answered, until = b"", False, time.monotonic() + seconds
    while time.monotonic() < until:
        if select.select([parent], [], [], 0.2)[0]:
            try:
                octets = os.read(parent, 65536)
            except OSError:
                break
            if not octets:
                break
            shown += octets
            if not answered and b"[y/N]" in shown:
                answered = os.write(parent, b"y\n")
        elif process.poll() is not None:
            break
    else:
        process.kill()
    os.close(parent)
    return process.wait(10), shown.decode("utf-8", "replace")


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    """A new user's folder, with `postroom` on the path as after installing."""
    monkeypatch.delenv("POSTROOM_JOURNAL", raising=False)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONUTF8": "1"}
    return tmp_path, environment


def relay_for(folder, port, authority):
    """Point the project to a twin on this machine; everything else stays as the README has it."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "postroom.yaml").write_text(f"smtp: {{host: localhost, port: {port}, security: tls, ca_file: ca.pem}}\n")


def test_the_chinese_readme_leads_from_nothing_to_the_first_mail(somewhere):
    folder, environment = somewhere
    environment |= {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8"}
    steps = FENCE.findall(section("README.zh-CN.md", "## 五分钟发出第一封信"))
    code, authority = "你的授权码", trustme.CA()
    with SecureServer("tls", context_for(authority), mechanisms=("LOGIN", "PLAIN"), password=code) as twin:
        for name, kind, content in steps:
            if name:
                (folder / name).write_text(content, encoding="utf-8")
            for command in content.splitlines() if kind == "sh" else ():
                if "venv" in command or "pip" in command:
                    continue
                if command.startswith("cd "):
                    folder = folder / command.split()[1]
                    relay_for(folder, twin.port, authority)
                    continue
                exit_code, shown = typed(command, folder, environment)
                assert exit_code == 0, f"{command}\n{shown}"
        mails = twin.mails()
    assert [mail.recipients for mail in mails] == [("ann@example.com",), ("ruoshui@example.com",)]
    assert {login[1:] for login in twin.logins} == {("12345678@qq.com", code)}


def test_the_english_readme_leads_from_nothing_to_the_first_mail(somewhere):
    folder, environment = somewhere
    text = section("README.md", "## A first campaign in five minutes")
    blocks = re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    authority = trustme.CA()
    (folder / ".secret").write_text("")
    with SecureServer("tls", context_for(authority), mechanisms=("PLAIN",), password="app password") as twin:
        for block in blocks:
            lines = [line[4:] for line in block.splitlines()]
            if lines[0].startswith("email,"):
                (folder / "recipients.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
                continue
            for command in (line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith(("postroom ", "cd "))):
                if command.startswith("cd "):
                    folder = folder / command.split()[1]
                    # Step 5 says in words: fill in your relay, and the login in .env.
                    relay_for(folder, twin.port, authority)
                    (folder / "campaign.yaml").write_text(re.sub(r"  host: .*\n  port: .*\n  security: .*\n", "", (folder / "campaign.yaml").read_text()))
                    (folder / ".env").write_text((folder / ".env.example").read_text().replace("SMTP_PASSWORD=", "SMTP_PASSWORD='app password'"))
                    (folder / ".env").chmod(0o600)
                    continue
                exit_code, shown = typed(command, folder, environment)
                assert exit_code == 0, f"{command}\n{shown}"
        mails = twin.mails()
    assert [mail.recipients for mail in mails] == [("ann@example.com",), ("ruoshui@example.com",)]
