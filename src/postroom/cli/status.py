"""postroom status: what the journal knows. Needs neither the campaign's templates nor its secrets, and no network."""

import os

from postroom.cli.output import document, explain, say
from postroom.errors import PostroomError
from postroom.words import as_json, noted

MOST_LINES = 1 << 16  # octets of a campaign file that are looked at


def options(parser):
    parser.add_argument("campaign", metavar="CAMPAIGN", nargs="?", help="the campaign's YAML file; without it, every campaign of the project")
    parser.add_argument("--journal", metavar="PATH", help="the journal is there (POSTROOM_JOURNAL)")


def run(arguments) -> int:
    from postroom.journal import place
    from postroom.journal.sqlite import Journal
    from postroom.read.project import Project, journal_path

    try:
        project = Project(arguments.campaign or os.path.join(os.getcwd(), "campaign.yaml"))
        path = journal_path(arguments.journal, project.root)
        for warning in place.warnings(path):
            say(noted(warning))
        journal = Journal.open(path, create=False)
        try:
            wanted = _wanted(arguments.campaign, journal, project.root) if arguments.campaign else None
            found = editions(journal, path, wanted)
        finally:
            if journal:
                journal.close()
    except PostroomError as error:
        if arguments.json:
            document({"exit": error.exit_code, "error": as_json(error)})
        else:
            explain(error)
        return error.exit_code
    if arguments.json:
        shown_path = os.path.relpath(path)
        rows = [{"exit": 0, "error": None, **row, "this_run": None, "seconds": None, "journal": shown_path} for row in found]
        document(rows[0] if wanted else {"exit": 0, "error": None, "campaigns": rows, "journal": shown_path})
    elif not found:
        say("Nothing was sent from this project yet.")
    else:
        for row in found:
            show_counts(row)
        if lines := _told(found, arguments.campaign):
            print("", *lines, sep="\n")
    return 0


def _wanted(path, journal, root):
    """The name and edition of a campaign file: by its own lines and the journal where both agree, which needs no schema."""
    if journal and (written := _as_written(path, root)) and (*written, os.path.relpath(os.path.realpath(path), root)) in journal.editions():
        return written
    from postroom.read.campaign import load

    campaign = load(path, secrets=False)
    return campaign.name, campaign.edition or ""


def _as_written(path, root):
    """(name, edition) where the file says them as plain words and nothing can come from another file; else None."""
    from postroom.read.project import ROOT_FILE

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_LINES)
        shared = os.path.join(root, ROOT_FILE)
        if os.path.isfile(shared) and os.path.getsize(shared):
            return None
    except (OSError, ValueError):
        return None
    found, key = {}, None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith((" ", "\t", "- ")):
            # What goes on behind a word is no plain word; all else that is indented belongs to another key.
            if key in ("name", "edition"):
                return None
            continue
        key, colon, value = line.partition(":")
        if not colon or not key.replace("_", "").isalpha() or value[:1].strip() or key in found:
            return None
        value = value.split(" #")[0].strip()
        found[key] = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    name, edition = found.get("name", ""), found.get("edition", "")
    plain = all(word.replace("-", "").replace("_", "").isalnum() for word in (name, edition) if word)
    return (name, edition) if name and plain and "extends" not in found and len(text) < MOST_LINES and ("edition" not in found or edition) else None


def editions(journal, path: str, wanted: tuple[str, str] | None) -> list[dict]:
    """What the journal at `path` (None: there is none) knows of one (name, edition), or of every one, as the JSON documents have it."""
    from postroom.journal.lock import is_running
    from postroom.report.uncertain import uncertain_list

    if journal is None:
        names = []
    else:
        names = [(edition.name, edition.edition) for edition in journal.editions()]
    if wanted is not None:
        names = [wanted]
    rows = []
    for name, edition in names:
        running = is_running(path, name, edition)
        known = journal and journal.edition(name, edition)
        counts = known.counts(running) if known else _nothing()
        rows.append({"campaign": name, "edition": edition or None, **counts, "running": running,
                     "uncertain_list": uncertain_list(known, running) if known and counts["uncertain"] else []})
    return rows


def _nothing():
    return {**dict.fromkeys(("recipients", "sent", "rejected", "deferred", "uncertain", "skipped", "pending", "remaining"), 0),
            "skipped_reasons": {}, "due_at": None}


def _told(found: list[dict], campaign: str | None) -> list[str]:
    """Who is uncertain, where one campaign was asked for; else that asking for one names them."""
    from postroom.report.uncertain import uncertain_lines

    if campaign:
        return uncertain_lines(found[0]["uncertain_list"], campaign)
    return ["`postroom status CAMPAIGN` names those who are uncertain."] if any(row["uncertain"] for row in found) else []


def show_counts(row: dict) -> None:
    """How many recipients of an edition are in which state, on standard output."""
    name = " ".join(filter(None, (row["campaign"], row["edition"])))
    print(f"{name}{' (running)' if row['running'] else ''}")
    for state in ("recipients", "sent", "rejected", "deferred", "uncertain", "skipped", "pending"):
        if row[state] or state in ("recipients", "sent", "pending"):
            reasons = ", ".join(f"{number} {reason}" for reason, number in row["skipped_reasons"].items()) if state == "skipped" else ""
            due = f"due {row['due_at']}" if state == "deferred" and row["due_at"] else ""
            print(f"  {state:<12}{row[state]:>9,}  {reasons}{due}".rstrip())
