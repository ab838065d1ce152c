"""What changed in a campaign since its edition's first mail left: two people of one edition get the same mail."""

import hashlib
import os


def changed(kept: dict[str, str], composer) -> list[str]:
    """The names in `kept` (name -> hex SHA-256, as Composer.content() gave it) that stand for something else today."""
    today = composer.content()
    root = composer.campaign.project.root
    return [name for name, digest in kept.items() if digest != (today.get(name) or _of_file(os.path.join(root, name)))]


def _of_file(path):
    # An include is read when a row first needs it, so a resumed run may not have read it yet.
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None
