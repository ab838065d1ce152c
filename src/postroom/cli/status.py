"""postroom status: what the journal knows. Needs neither the campaign's templates nor its secrets, and no network."""

import os

from postroom.cli.output import document, explain, say
from postroom.errors import PostroomError
from postroom.words import as_json, noted


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
        wanted = _wanted(arguments.campaign) if arguments.campaign else None
        for warning in place.warnings(path):
            say(noted(warning))
        journal = Journal.open(path, create=False)
        try:
            found = _editions(journal, path, wanted)
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
            _show(row)
    return 0


def _wanted(path):
    from postroom.read.campaign import load

    campaign = load(path, secrets=False)
    return campaign.name, campaign.edition or ""


def _editions(journal, path, wanted):
    from postroom.journal.lock import is_running

    if journal is None:
        names = []
    else:
        names = [(edition.name, edition.edition) for edition in journal.editions()]
    if wanted is not None:
        names = [wanted]
    rows = []
    for name, edition in names:
        running = is_running(path, name, edition)
        counts = journal.edition(name, edition).counts(running) if journal else _nothing()
        rows.append({"campaign": name, "edition": edition or None, **counts, "running": running})
    return rows


def _nothing():
    return {**dict.fromkeys(("recipients", "sent", "rejected", "deferred", "uncertain", "skipped", "pending", "remaining"), 0),
            "skipped_reasons": {}, "due_at": None}


def _show(row):
    name = " ".join(filter(None, (row["campaign"], row["edition"])))
    print(f"{name}{' (running)' if row['running'] else ''}")
    for state in ("recipients", "sent", "rejected", "deferred", "uncertain", "skipped", "pending"):
        if row[state] or state in ("recipients", "sent", "pending"):
            reasons = ", ".join(f"{number} {reason}" for reason, number in row["skipped_reasons"].items()) if state == "skipped" else ""
            due = f"due {row['due_at']}" if state == "deferred" and row["due_at"] else ""
            print(f"  {state:<12}{row[state]:>9,}  {reasons}{due}".rstrip())
