"""The samples that ship, in a folder of their own, and what a sandbox got of them."""

import json
import shutil
from pathlib import Path

from running import postroom

ROOT = Path(__file__).parents[1]
SAMPLES = ("newsletter", "invoices", "tea")
# What somebody who tries the samples may have set.
VARIABLES = ("QQ_ADDRESS", "QQ_AUTH_CODE", "SMTP_HOST", "SMTP_USERNAME", "SMTP_PASSWORD", "UNSUBSCRIBE_SECRET", "POSTROOM_JOURNAL")


def copied(folder: Path, monkeypatch) -> Path:
    """The samples as a user gets them, without anything of the tester's own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("campaigns", "templates"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "postroom.yaml", folder)
    return folder


def sandboxed(folder: Path, sample: str, environment=None) -> list[tuple[bytes, dict]]:
    """Send a sample to a sandbox: (octets, envelope with sender and recipients) of every mail that arrived."""
    said = postroom("send", "--sandbox", f"campaigns/{sample}.yaml", "--json", cwd=folder, environment=environment)
    assert said.exit == 0, said.err
    mailbox = (folder / said.json["journal"]).parent
    mails = [(path.read_bytes(), json.loads(path.with_suffix(".json").read_text())) for path in sorted(mailbox.glob("[0-9]*.eml"))]
    assert (said.json["sent"], said.json["remaining"], said.json["skipped"]) == (len(mails), 0, 0)
    return mails
