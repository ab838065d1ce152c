"""The project around a campaign: its root, `.env` and ${...}, and which files may be read.

The root is the nearest folder at or above the campaign that holds `postroom.yaml`, else the campaign's own folder.
The journal lives there, and no path may lead out of it unless the campaign names it in `allow_paths`.
"""

import errno
import io
import os
import re
import stat

from postroom.errors import CampaignError, Place

MOST_DOTENV = 128 << 10  # characters
ROOT_FILE, STATE_FOLDER = "postroom.yaml", ".postroom"
# Linux opens a folder that may be entered but not listed with O_PATH alone.
FOLDER = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
# As Compose files have it: ${X}, ${X:-default}, ${X:?message}, and $$ for a dollar sign.
VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^{}]*))?\}|\{[^}]*\}?)")


class Unset(Exception):
    """A variable that neither the environment nor .env has; says so in words for people."""


class Project:
    """root: real path of the project's root. folder: real path of the campaign's folder. environment: .env and the
    real environment, which wins. allowed: real paths outside the root that the campaign names."""

    def __init__(self, campaign_file: str):
        self.folder = os.path.realpath(os.path.dirname(os.path.abspath(campaign_file)))
        self.root = self._find_root()
        self.allowed = ()
        self.environment = {**self._dotenv(), **os.environ}

    @property
    def state_folder(self) -> str:
        return os.path.join(self.root, STATE_FOLDER)

    def _find_root(self):
        above = self.folder
        between = []
        while True:
            if os.path.isfile(os.path.join(above, ROOT_FILE)):
                break
            between.append(above)
            if os.path.dirname(above) == above:
                return self.folder
            above = os.path.dirname(above)
        for folder in between:
            if os.path.isdir(os.path.join(folder, STATE_FOLDER)):
                raise CampaignError(f"there is a journal in {display(os.path.join(folder, STATE_FOLDER))}, but the project's "
                                    f"root is now {display(above)}: what was sent before would be forgotten",
                                    display(os.path.join(above, ROOT_FILE)),
                                    f"move the folder {STATE_FOLDER} beside {ROOT_FILE}, or remove {ROOT_FILE}")
        return above

    def _dotenv(self):
        path = os.path.join(self.root, ".env")
        if not os.path.isfile(path):
            return {}
        from dotenv.parser import parse_stream

        try:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read(MOST_DOTENV + 1)
            if len(text) > MOST_DOTENV:
                raise CampaignError(f"the file has more than {MOST_DOTENV:,} characters", Place(display(path)), "keep only settings in it")
            bindings = list(parse_stream(io.StringIO(text)))
        except UnicodeDecodeError:
            raise CampaignError("the file is not UTF-8", Place(display(path)), "save it as UTF-8") from None
        except OSError as error:
            raise CampaignError(reason(error), Place(display(path)), "make it readable") from None
        for binding in bindings:
            if binding.error:
                raise CampaignError("this line is not NAME=value", Place(display(path), binding.original.line),
                                    "put a value with blanks or quotes into quotes, and close them")
        # Values are taken as written: a password may hold a dollar sign.
        return {binding.key: binding.value for binding in bindings if binding.value is not None}

    def interpolated(self, text: str) -> str:
        """`text` with ${X} replaced once; what a variable brings is not looked at again. Raises Unset."""
        return VARIABLE.sub(self._variable, text) if "$" in text else text

    def _variable(self, found):
        if found[0] == "$$":
            return "$"
        name, operator, word = found[1], found[2], found[3]
        if name is None:
            # Not quoted: it may be part of a password.
            raise Unset('a "${" here begins no variable; write ${NAME}, or $$ for a dollar sign')
        value = self.environment.get(name)
        from postroom.address import is_text

        if value is not None and not is_text(value):
            raise Unset(f"the environment variable {name} is not UTF-8")
        # As in Compose: with a colon an empty variable counts as missing.
        if value or (value is not None and operator is None):
            return value
        if operator == "-":
            return word
        if operator == "?" and word:
            raise Unset(f"{name} is not set: {word}")
        raise Unset(f"the environment variable {name} is not set")

    def allow(self, paths):
        """Let the campaign read these too; relative to its folder."""
        self.allowed = tuple(os.path.realpath(os.path.join(self.folder, os.path.expanduser(path))) for path in paths)

    def resolve(self, path: str, place, shown_as: str | None = None) -> str:
        """The real path of a file that the campaign names, links and `..` resolved, below the root or allowed.

        path: from the campaign's folder. shown_as: as the person wrote it, where that is not `path`. Raises CampaignError where it leads elsewhere, is missing, or is not a regular file.
        """
        if "\0" in path:
            raise CampaignError("a path cannot hold a NUL character", place, "correct the path")
        real, path = os.path.realpath(os.path.join(self.folder, path)), shown_as or path
        if not any(_inside(real, folder) for folder in (self.root, *self.allowed)):
            raise CampaignError(f'{_quoted(path)} leads out of the project\'s root {display(self.root)}', place,
                                f"move the file, name it in `allow_paths`, or put an empty {ROOT_FILE} higher up to widen the root")
        if os.path.basename(real).startswith(".env") or _inside(real, self.state_folder) or ".git" in real.split(os.sep):
            raise CampaignError(f'{_quoted(path)} holds secrets or addresses and never goes into a mail', place, "name another file")
        try:
            mode = os.stat(real).st_mode
        except OSError as error:
            raise CampaignError(f'{_quoted(path)}: {reason(error)}', place, "correct the path or add the file") from None
        if not stat.S_ISREG(mode):
            raise CampaignError(f'{_quoted(path)} is not a regular file', place, "name a file")
        return real

    def read(self, path: str, place, most_octets: int) -> bytes:
        """The octets of a file that the campaign names. Raises CampaignError, also where it is larger than allowed."""
        real = self.resolve(path, place)
        try:
            with open_real(real) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise CampaignError(f'{_quoted(path)} is not a regular file', place, "name a file")
                octets = file.read(most_octets + 1)
        except OSError as error:
            why = "it became a link while it was used" if error.errno in (errno.ELOOP, errno.ENOTDIR) else reason(error)
            raise CampaignError(f'{_quoted(path)}: {why}', place, "make it readable") from None
        if len(octets) > most_octets:
            raise CampaignError(f'{_quoted(path)} is larger than {most_octets:,} octets', place, "make it smaller")
        return octets


def is_readable(text: str) -> bool:
    """Whether a secret stands in a text as it is: without a variable, or as the default of one."""
    variables = [found for found in VARIABLE.finditer(text) if found[1]]
    return not variables or any(found[2] == "-" and found[3] for found in variables)


def journal_path(asked: str | None, root: str) -> str:
    """Where the project's journal is: as asked, by POSTROOM_JOURNAL, or at the root. A real path, so that a link is the same journal."""
    asked = asked or os.environ.get("POSTROOM_JOURNAL")
    return os.path.realpath(asked) if asked else default_journal(root)


def default_journal(root: str) -> str:
    """The journal of the project with this root."""
    return os.path.join(root, STATE_FOLDER, "journal.sqlite3")


def display(path: str) -> str:
    """A path as a person here would type it: relative to where they stand if it is below, else in full."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir + os.sep + os.pardir) and os.path.isabs(path) else relative


def _quoted(path):
    # `status` names no file of a campaign, and opens at once.
    from postroom.address import shown

    return f'"{shown(path)}"'


def _inside(path, folder):
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def open_real(real: str):
    """The file at a real path, for reading octets, provided that no part of the path has become a link. Raises OSError.

    Between resolve() and here somebody may have put a link in the place of a file or folder: opened by its name alone, it would
    lead out of the root after all. So each folder is opened in the one before it, and none of them as a link.
    """
    folder = os.open(os.sep, FOLDER)
    try:
        *folders, name = real.strip(os.sep).split(os.sep)
        for part in folders:
            inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: should the file have become a pipe meanwhile, opening it must not wait for a writer.
        return open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb")
    finally:
        os.close(folder)


def reason(error: OSError) -> str:
    """Why a file cannot be read, in words for people."""
    return {FileNotFoundError: "there is no such file", PermissionError: "it may not be read",
            IsADirectoryError: "it is a folder"}.get(type(error), (error.strerror or "it cannot be read").lower())
