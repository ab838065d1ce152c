"""postroom new: a campaign that works at once, with comments."""

import shutil
from importlib import resources
from pathlib import Path

from postroom.cli.output import document, explain, say
from postroom.errors import CampaignError, PostroomError

RENAMED = {"gitignore": ".gitignore", "env.example": ".env.example"}  # a wheel's builder would take these for its own


def options(parser):
    parser.add_argument("directory", metavar="DIR", help="the folder to write; must be new or empty")


def run(arguments) -> int:
    directory = Path(arguments.directory)
    try:
        written = _write(directory)
    except PostroomError as error:
        if arguments.json:
            document({"exit": error.exit_code, "error": {"what": error.what, "where": str(directory), "do": error.do}})
        else:
            explain(error)
        return error.exit_code
    if arguments.json:
        document({"exit": 0, "error": None, "directory": str(directory), "files": written})
        return 0
    campaign = directory / "campaign.yaml"
    say(f"Wrote {', '.join(written)} to {directory}.\n\n"
        f"Look at every message:          postroom preview {campaign}\n"
        f"Rehearse, nobody gets mail:     postroom send --sandbox {campaign}\n"
        f"Then fill in from and smtp in {campaign}, and\n"
        f"send:                           postroom send {campaign}")
    return 0


def _write(directory):
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CampaignError("it exists and is not empty", str(directory), "name a new folder")
    source = resources.files("postroom.cli") / "scaffold"
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for item in sorted(source.iterdir(), key=lambda item: item.name):
            with resources.as_file(item) as path:
                name = RENAMED.get(item.name, item.name)
                shutil.copyfile(path, directory / name)
                written.append(name)
    except OSError as error:
        raise CampaignError((error.strerror or "it cannot be written").lower(), str(directory), "name a folder that you may write") from None
    return written
