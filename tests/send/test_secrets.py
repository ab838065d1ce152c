"""Where a password or token comes from, when it is asked for, and that it is never shown."""

import sys
import time

import pytest

from conftest import CAMPAIGN
from postroom.errors import CampaignError, RelayUnavailable
from postroom.read.campaign import load
from postroom.send import secrets
from postroom.send.secrets import Credential, credential_of


def credential(folder, lines, ask=None):
    folder.campaign(CAMPAIGN + "  username: ann\n" + lines)
    return credential_of(load("campaign.yaml", secrets=True), ask)


def test_without_a_user_name_there_is_no_login(folder):
    assert credential_of(load("campaign.yaml", secrets=True), None) is None


def test_a_password_is_the_one_of_the_campaign(folder, monkeypatch):
    monkeypatch.setenv("POSTROOM_TEST_PASSWORD", "pä$$ {x}")

    assert credential(folder, "  password: ${POSTROOM_TEST_PASSWORD}\n").get_secret_value() == "pä$$ {x}"


def test_a_command_prints_the_password_and_runs_once_in_the_campaigns_folder(folder):
    found = credential(folder, "  password_command: echo x >> runs; echo 'pass word '; echo more\n")

    assert not (folder.path / "runs").exists()
    assert [found.get_secret_value(), found.get_secret_value()] == ["pass word ", "pass word "]
    assert (folder.path / "runs").read_text() == "x\n"


def test_a_command_of_the_shared_settings_runs_in_their_folder(folder):
    folder.write("postroom.yaml", "smtp: {username: ann, password_command: cat secret}\n")
    folder.write("secret", "s3cret\n")
    folder.write("campaigns/campaign.yaml", CAMPAIGN)

    assert credential_of(load("campaigns/campaign.yaml", secrets=True), None).get_secret_value() == "s3cret"


def test_a_command_may_be_a_list_of_words(folder):
    assert credential(folder, f"  password_command: ['{sys.executable}', -c, 'print(\"$HOME\")']\n").get_secret_value() == "$HOME"


def test_what_a_command_leaves_behind_is_not_waited_for(folder):
    before = time.monotonic()

    assert credential(folder, "  password_command: sleep 15 & echo x\n").get_secret_value() == "x"
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(("command", "words"), [("printf 'caf\\351\\n'", "not UTF-8"), ("'false'", "failed with exit code 1"), ("echo", "printed nothing"), ("[/no/such/program]", "cannot be run: no such file"),
                                                ("[a/b, c]", "cannot be run")])
def test_a_command_that_fails_is_told_with_its_place(folder, command, words):
    found = credential(folder, f"  password_command: {command}\n")

    with pytest.raises(CampaignError, match=words) as error:
        found.get_secret_value()

    assert str(error.value.where) == "campaign.yaml, line 15, column 3"


@pytest.mark.parametrize("command", ["[sleep, '60']", "sleep 20; echo x", "sleep 20 | cat"])
def test_a_command_that_waits_for_ever_is_ended(folder, monkeypatch, command):
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)
    before = time.monotonic()

    with pytest.raises(RelayUnavailable, match="did not end within"):
        credential(folder, f"  password_command: {command}\n").get_secret_value()

    assert time.monotonic() - before < 10


def test_what_a_failing_command_printed_is_not_shown(folder):
    with pytest.raises(CampaignError) as error:
        credential(folder, "  password_command: echo s3cret; exit 3\n").get_secret_value()

    assert "s3cret" not in f"{error.value} {error.value.do}"


def test_a_token_that_worked_is_renewed_once_and_one_that_never_worked_is_not():
    tokens = iter(["one", "two"])
    found = Credential(lambda: next(tokens), renewable=True)

    assert (found.get_secret_value(), found.renew()) == ("one", False)
    found.worked()
    assert (found.renew(), found.get_secret_value(), found.renew()) == (True, "two", False)


def test_a_password_is_never_renewed():
    found = Credential(lambda: "x")
    found.get_secret_value()
    found.worked()

    assert not found.renew()


def test_without_password_or_keyring_the_terminal_is_asked_once(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    questions = []

    found = credential(folder, "", lambda question: questions.append(question) or "typed")

    assert (found.get_secret_value(), found.get_secret_value()) == ("typed", "typed")
    assert questions == ["Password or authorization code of ann at 127.0.0.1: "]


def test_without_a_terminal_the_ways_to_give_a_password_are_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)

    with pytest.raises(CampaignError, match='no password for "ann" at 127.0.0.1') as error:
        credential(folder, "").get_secret_value()

    assert "password_command" in error.value.do and "keyring set 127.0.0.1 ann" in error.value.do


def test_the_keyring_is_asked_before_the_terminal(folder):
    """With the library itself, and a backend that keeps secrets in memory."""
    import keyring
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        priority = 1
        kept = {("127.0.0.1", "ann"): "from the keyring"}

        def get_password(self, service, username):
            return self.kept.get((service, username))

        def set_password(self, service, username, password):
            self.kept[service, username] = password

        def delete_password(self, service, username):
            del self.kept[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    try:
        assert credential(folder, "", lambda question: "typed").get_secret_value() == "from the keyring"
        Memory.kept.clear()
        assert credential(folder, "", lambda question: "typed").get_secret_value() == "typed"
    finally:
        keyring.set_keyring(before)


def test_a_machine_without_a_keyring_asks_the_terminal(folder):
    """On a server the library finds no backend and says NoKeyringError."""
    import keyring
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        assert credential(folder, "", lambda question: "typed").get_secret_value() == "typed"
    finally:
        keyring.set_keyring(before)


def test_a_credential_is_not_shown_by_accident():
    assert "s3cret" not in repr(Credential(lambda: "s3cret"))


def test_a_secret_that_was_renewed_is_known_still():
    """A relay may repeat an expired token, and it is nobody else's business either."""
    tokens = iter(["one", "two"])
    found = Credential(lambda: next(tokens), renewable=True)
    found.get_secret_value()
    found.worked()
    found.renew()
    found.get_secret_value()

    assert found.known() == ["one", "two"]
