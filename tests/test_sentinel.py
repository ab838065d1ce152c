"""A password, a token and the secret of the unsubscribe links appear nowhere but on the wire (reliability, goal 15)."""

import base64
import functools
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from conftest import CAMPAIGN
from relay import Hangup, Relay
from running import quick, postroom, started

USER, PASSWORD, TOKEN, SIGNING = "ann@example.com", "sentinel-Passw0rd-7c1f", "sentinel-T0ken-93ab", "sentinel-S1gning-5d2e"
LOGIN = CAMPAIGN.replace('"若水 <news@example.com>"', USER) + f"  username: {USER}\n  password: ${{SMTP_PASSWORD}}\n  allow_plaintext_login: true\n"
UNSUBSCRIBE = 'unsubscribe: {url: "https://example.com/u/{{ unsubscribe_token }}", secret: "${SIGNING}"}\n'


def forms(secret):
    """A secret as it is, in base64, and as PLAIN and XOAUTH2 have it, each without its last letters too, which may differ."""
    plain, xoauth2 = f"\0{USER}\0{secret}", f"user={USER}\x01auth=Bearer {secret}\x01\x01"
    encoded = [base64.b64encode(text.encode()).decode().rstrip("=")[:-2] for text in (secret, plain, xoauth2)]
    return [secret, *encoded, secret[9:]]


FORMS = [form for secret in (PASSWORD, TOKEN, SIGNING) for form in forms(secret)]


def assert_nowhere(*said, folder=None):
    texts = list(map(str, said))
    for path in folder.rglob("*") if folder else ():
        if path.is_file() and path.name not in (".env", "token.sh", "tokens"):
            texts.append(path.read_bytes().decode("latin-1"))
    assert texts
    for text in texts:
        for form in FORMS:
            assert form not in text, f"{form} in: {text[max(0, text.find(form) - 200):][:400]}"


@pytest.fixture
def project(folder):
    folder.write(".env", f"SMTP_PASSWORD={PASSWORD}\nSIGNING={SIGNING}\n").chmod(0o600)
    folder.campaign(LOGIN + UNSUBSCRIBE)
    return folder


def through(project, relay, text=LOGIN):
    project.campaign(text.replace("port: 2525", f"port: {relay.port}") + UNSUBSCRIBE)


def repeating(line):
    """A relay that repeats, in every form, what it was told."""
    secret = base64.b64decode(line.split()[2]).decode().rpartition("\0")[2] if "PLAIN" in line else PASSWORD
    every = [secret, base64.b64encode(secret.encode()).decode(), line.split()[-1], f"\0{USER}\0{secret}"]
    return "\r\n".join(f"535-5.7.8 {form} is wrong" for form in every) + "\r\n535 5.7.8 no"


CAPABILITIES = ("AUTH PLAIN", "8BITMIME")
ANSWERS = {
    "taken": {"AUTH": "235 2.7.0 fine"}, "refused and repeated": {"AUTH": repeating}, "closed in mid-login": {"AUTH": lambda line: (_ for _ in ()).throw(Hangup)},
    "nonsense that repeats it": {"AUTH": lambda line: f"{PASSWORD} {line}"}, "asks for more": {"AUTH": "334 " + base64.b64encode(PASSWORD.encode()).decode()},
    "repeated when a recipient is refused": {"AUTH": "235 fine", "RCPT": f"550 5.1.1 {PASSWORD} {base64.b64encode(PASSWORD.encode()).decode()}"},
    "repeated when the mail is taken": {"AUTH": "235 fine", "end of data": f"250 2.0.0 {PASSWORD}"}, "repeated when it closes": {"AUTH": "235 fine", "MAIL": f"421 4.3.2 {PASSWORD}"},
    "put off": {"AUTH": f"454 4.7.0 {PASSWORD} later"}}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_password_stays_on_the_wire_whatever_the_relay_says(project, case, monkeypatch):
    """Through check --relay, preview, a rehearsal, send with --debug and with --json, status and report; then in every file that they left."""
    with Relay({**ANSWERS[case], "": "535 5.7.8 no", "*": "501 5.7.0 cancelled"}, capabilities=CAPABILITIES) as relay:
        through(project, relay)

        # A login that is put off is tried again after a minute.
        run = functools.partial(quick, monkeypatch) if case == "put off" else postroom
        said = [run(*words.split()) for words in ("check campaign.yaml --relay", "check campaign.yaml --relay --json", "preview campaign.yaml", "send campaign.yaml --sandbox", "send campaign.yaml --dry-run",
                                                                    "send campaign.yaml --yes --debug", "send campaign.yaml --yes --json", "status campaign.yaml", "status campaign.yaml --json",
                                                                    "report campaign.yaml", "report campaign.yaml --json", "report campaign.yaml --csv all.csv")]

        assert any(PASSWORD in base64.b64decode(line.split()[-1] + "==").decode("utf-8", "replace") for line in relay.commands if line.startswith("AUTH")), "it must have been on the wire"
    assert "C: AUTH PLAIN ***" in said[5].err
    assert_nowhere(*(word for one in said for word in (one.out, one.err)), folder=project.path)


def test_an_expired_token_is_not_repeated_either(project):
    """The relay learns the first token, and repeats it in its greeting and refusals once it has the second."""
    project.write("tokens", f"{TOKEN}-one\n{TOKEN}-two\n")
    project.write("token.sh", "head -n 1 tokens; sed -i 1d tokens\n")
    told, sessions = [], []

    def login(line):
        told.append(base64.b64decode(line.split()[2]).decode())
        return "235 fine"

    def mail(line):
        return "250 fine" if len(sessions) > 1 else "530 5.7.0 Authentication expired"

    def greeting(line):
        sessions.append(1)
        return f"220 hello again {TOKEN}-one" if len(sessions) > 1 else "220 hello"

    with Relay({"AUTH": login, "MAIL": mail, "greeting": greeting, "RCPT": f"550 5.1.1 {TOKEN}-one and {TOKEN}-two"}, capabilities=("AUTH XOAUTH2", "8BITMIME")) as relay:
        through(project, relay, LOGIN.replace("password: ${SMTP_PASSWORD}", "token_command: sh token.sh"))

        said = postroom("send", "campaign.yaml", "--yes", "--debug")

        assert [re.search("-(one|two)", one)[1] for one in told] == ["one", "two"]
    assert "hello again ***" in said.err and "550 5.1.1 *** and ***" in said.err
    assert_nowhere(said.out, said.err, folder=project.path)


def test_a_crash_shows_no_secret(project, tmp_path_factory):
    """A fault of our own, in the middle of the login: one line, no traceback, no values."""
    program = ("import postroom.smtp.auth as auth, postroom.cli.main as main\n"
               "def broken(*words): raise RuntimeError('a fault of our own')\n"
               "auth.dialogue = broken\nraise SystemExit(main.main(['send', 'campaign.yaml', '--yes']))\n")
    with Relay({"AUTH": "235 fine"}, capabilities=CAPABILITIES) as relay:
        through(project, relay)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2 and "a fault of our own" in done.stderr and "Traceback" not in done.stderr
    assert_nowhere(done.stdout, done.stderr, folder=project.path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_login_shows_no_secret_and_no_process_list_has_it(project, number):
    with Relay({"AUTH": None}, capabilities=CAPABILITIES) as relay:
        through(project, relay)
        process = started("send", "campaign.yaml", "--yes", "--debug")
        until = time.monotonic() + 30
        while not any(line.startswith("AUTH") for line in relay.commands) and time.monotonic() < until:
            time.sleep(0.02)
        lists = [path.read_bytes().decode("latin-1") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        process.send_signal(number)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 128 + number
    assert any("campaign.yaml" in one for one in lists)
    assert_nowhere(err, *lists, folder=project.path)


@pytest.mark.parametrize("case", ["refused and repeated", "closed in mid-login", "asks for more", "nonsense that repeats it"])
def test_an_error_in_python_shows_no_secret_even_with_the_values_of_its_frames(project, case):
    """What a notebook shows, and what programs that report crashes collect."""
    import postroom as package

    with Relay({**ANSWERS[case], "": "535 no", "*": "501 5.7.0 cancelled"}, capabilities=CAPABILITIES) as relay:
        through(project, relay)
        campaign = package.load("campaign.yaml")
        with pytest.raises(package.PostroomError) as caught:
            campaign.send(yes=True, quiet=True)

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "_log_in" in shown or "relay" in shown
    assert_nowhere(shown, repr(caught.value), str(caught.value), repr(campaign), repr(campaign._load()), vars(campaign), folder=project.path)


def test_a_faulty_campaign_shows_no_secret_with_the_values_of_its_frames(project):
    import postroom as package

    project.campaign(LOGIN + UNSUBSCRIBE + "subjct: x\nvars: {a b: c}\n")
    with pytest.raises(package.PostroomError) as caught:
        package.load("campaign.yaml")

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "values = {" in shown
    assert_nowhere(shown)


def test_a_command_that_fails_shows_nothing_that_it_printed(project):
    import postroom as package

    with Relay(capabilities=CAPABILITIES) as relay:
        through(project, relay, LOGIN.replace("password: ${SMTP_PASSWORD}", "password_command: cat .env; exit 3"))
        campaign = package.load("campaign.yaml")
        with pytest.raises(package.PostroomError, match="failed with exit code 3") as caught:
            campaign.send(yes=True, quiet=True)

    assert_nowhere("".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()))


@pytest.mark.skipif(not Path("/proc/sys/kernel/core_pattern").exists() or Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core", reason="core dumps go elsewhere on this machine")
def test_a_process_that_dies_leaves_no_core_dump(project):
    """It would hold the password."""
    import resource

    def allowed():
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def dies(program):
        done = subprocess.run([sys.executable, "-c", program], preexec_fn=allowed, capture_output=True, timeout=60)
        assert done.returncode == -signal.SIGABRT
        return list(project.path.glob("core*"))

    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the system allows no core dumps")
    main = "import os, postroom.cli.main as main\nmain.run = lambda words: os.abort()\nmain.main([])"
    assert dies(main) == []
    assert dies("import os; os.abort()"), "the proof that this test can fail"


def test_what_a_run_writes_can_be_read_by_its_owner_only(project):
    """reliability 5a, journal privacy: also -wal and -shm, locks, previews and mailboxes, whatever the umask says."""
    def modes():
        return {str(path.relative_to(project.path)): path.stat().st_mode & 0o077 for path in (project.path / ".postroom", *(project.path / ".postroom").rglob("*"))}

    before, seen = os.umask(0), {}
    try:
        with Relay({"AUTH": "235 fine"}, capabilities=CAPABILITIES, after=lambda count: seen.update(modes())) as relay:
            through(project, relay)
            for words in ("send --sandbox campaign.yaml", "preview campaign.yaml", "send --yes campaign.yaml"):
                assert postroom(*words.split()).exit == 0
    finally:
        os.umask(before)

    seen.update(modes())
    assert {"journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm"} <= {os.path.basename(path) for path in seen} and any(path.endswith(".lock") for path in seen)
    assert {path: mode for path, mode in seen.items() if mode} == {}
