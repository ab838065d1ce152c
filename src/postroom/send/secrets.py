"""The password or token of an account: from the campaign, a command, the system's keyring or the terminal.

It is asked for when a login first needs it, and kept in memory alone: never in an argument, a log or an error.
"""

import os
import select
import subprocess
import time
from collections.abc import Callable

from postroom.errors import CampaignError, PostroomError, RelayUnavailable

COMMAND_SECONDS = 60  # a password manager may ask its owner for something
MOST_SECRET = 16_384  # octets; Microsoft's tokens have two thousand


class Credential:
    """One account's secret. obtain: brings it. renewable: whether asking again may bring another one."""

    def __init__(self, obtain: Callable[[], str], renewable: bool = False):
        self._obtain, self._renewable = obtain, renewable
        self._secret, self._worked, self._known = None, False, []

    def __repr__(self):
        return "Credential(***)"

    def get_secret_value(self) -> str:
        """The secret, obtained once. Raises CampaignError or RelayUnavailable where it cannot be had."""
        if self._secret is None:
            try:
                self._secret, self._worked = self._obtain(), False
            except PostroomError as error:
                # The frames below may hold what a command printed, and some programs show what the frames of an error hold.
                raise error.with_traceback(None) from None
            self._known.append(self._secret)
        return self._secret

    def known(self) -> list[str]:
        """Every secret that a relay has heard from us, or is about to hear: an expired token is nobody else's business either."""
        return self._known

    def worked(self) -> None:
        """The relay took it."""
        self._worked = True

    def renew(self) -> bool:
        """Whether the next login has another secret: a token that once worked has expired. One that never worked is not asked for again."""
        if not (self._renewable and self._worked):
            return False
        self._secret, self._worked = None, False
        return True


def credential_of(campaign, ask: Callable[[str], str] | None) -> Credential | None:
    """The credential of the campaign's relay; None where it wants no login.

    ask: puts a question on the terminal and returns the answer unseen; None where there is no terminal.
    """
    smtp = campaign.smtp
    if smtp.username is None:
        return None
    if smtp.password is not None:
        return Credential(smtp.password.get_secret_value)
    for key in ("password_command", "token_command"):
        if (command := getattr(smtp, key)) is not None:
            place, folder = campaign.place("smtp", key), campaign.folder_of("smtp", key)
            return Credential(lambda: _printed(command, key, place, folder), renewable=key == "token_command")
    return Credential(lambda: _kept_or_asked(campaign, ask))


def _printed(command, key, place, folder):
    """The first line that the command prints; its words on stderr go to the person."""
    until = time.monotonic() + COMMAND_SECONDS
    try:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
    except OSError as error:
        raise CampaignError(f"`{key}` cannot be run: {(error.strerror or str(error)).lower()}", place, "correct the command") from None
    with process.stdout as output:
        try:
            printed = _until_line_end(output, until)
            code = process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            # What it started may go on and hold the pipe: nobody waits for that.
            process.kill()
            process.wait()
            raise RelayUnavailable(f"`{key}` did not end within {COMMAND_SECONDS} seconds", place, "see what it waits for, then run again") from None
    if code:
        raise CampaignError(f"`{key}` failed with exit code {code}", place, "run it by hand to see why")
    try:
        lines = printed[:MOST_SECRET].decode().splitlines()
    except UnicodeDecodeError:
        raise CampaignError(f"`{key}` printed something that is not UTF-8", place, "have it print the secret in UTF-8") from None
    if not lines or not lines[0].strip():
        raise CampaignError(f"`{key}` printed nothing", place, "it must print the secret in its first line")
    return lines[0].strip() if key == "token_command" else lines[0]


def _until_line_end(output, until):
    """What comes before the first line end, or all of it. Raises TimeoutExpired."""
    octets = b""
    while b"\n" not in octets and len(octets) < MOST_SECRET:
        if not select.select([output], [], [], max(0.0, until - time.monotonic()))[0]:
            raise subprocess.TimeoutExpired("", COMMAND_SECONDS)
        more = os.read(output.fileno(), 4096)
        if not more:
            break
        octets += more
    return octets


def _kept_or_asked(campaign, ask):
    smtp, place = campaign.smtp, campaign.place("smtp", "username")
    if kept := _from_keyring(smtp.host, smtp.username):
        return kept
    if ask is None:
        raise CampaignError(f'there is no password for "{smtp.username}" at {smtp.host}, and no terminal to ask on', place,
                            f"give `password: ${{SMTP_PASSWORD}}` or `password_command`, or keep it in the keyring: keyring set {smtp.host} {smtp.username}")
    if not (answer := ask(f"Password or authorization code of {smtp.username} at {smtp.host}: ")):
        raise CampaignError("no password was given", place, "run it again and type it, or give `password_command`")
    return answer


def _from_keyring(service, username):
    """What the system's keyring keeps (`pip install 'postroom[keyring]'`); None where there is no keyring or nothing in it."""
    try:
        import keyring
    except ImportError:
        return None
    try:
        return keyring.get_password(service, username)
    except Exception:  # noqa: BLE001 - on a server there is often no keyring, and each backend says so in a way of its own
        return None


def asked(question: str) -> str:
    """Ask on the terminal, unseen. Whoever closes the terminal instead answers nothing."""
    import getpass

    try:
        return getpass.getpass(question)
    except EOFError:
        return ""
