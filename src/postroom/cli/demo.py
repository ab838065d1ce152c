"""postroom demo: the sample newsletter through the sandbox, end to end, with nobody on the other side."""

import argparse
import os
import shutil
from pathlib import Path

from postroom.cli.output import document, explain, say
from postroom.errors import CampaignError, PostroomError
from postroom.words import as_json

MARK = ".postroom-demo"
CAMPAIGN = os.path.join("campaigns", "newsletter.yaml")


def options(parser):
    parser.add_argument("directory", metavar="DIR", nargs="?", default="postroom-demo", help="where the copy is written (postroom-demo)")


def run(arguments) -> int:
    from postroom.cli import send

    try:
        campaign = _fresh_copy(Path(arguments.directory)) / CAMPAIGN
    except PostroomError as error:
        if arguments.json:
            document({"exit": error.exit_code, "error": as_json(error)})
        else:
            explain(error)
        return error.exit_code
    parser = argparse.ArgumentParser()
    send.options(parser)
    parser.add_argument("--json", action="store_true")
    say(f"postroom send --sandbox {campaign}\n")
    words = ["--sandbox", str(campaign)] + (["--json"] if arguments.json else [])
    return send.run(parser.parse_args(words))


def _fresh_copy(directory):
    """The sample in a folder of its own; an earlier copy there is replaced, anything else is left alone."""
    if directory.exists() and not (directory / MARK).is_file() and (not directory.is_dir() or any(directory.iterdir())):
        raise CampaignError("it exists and is not an earlier demo", str(directory), "name another folder")
    sample = _sample()
    try:
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        (directory / MARK).touch()
        (directory / "postroom.yaml").touch()
        for folder in ("campaigns", "templates"):
            shutil.copytree(sample / folder, directory / folder, ignore=shutil.ignore_patterns(".*"))
    except OSError as error:
        raise CampaignError((error.strerror or "it cannot be written").lower(), str(directory), "name a folder that you may write") from None
    return directory


def _sample():
    """The samples beside the package where it was installed from a wheel, else at the root of the checkout."""
    package = Path(__file__).parents[1]
    return package / "sample" if (package / "sample").is_dir() else package.parents[1]
