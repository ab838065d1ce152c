"""postroom preview: every message as a file, and a page to look through them. Needs no network."""

import datetime
import os
import time

from postroom.cli.arguments import journal_path, positive
from postroom.cli.output import as_json, count, document, document_path, explain, note, say
from postroom.errors import Faults, PostroomError

FIRST = 100


def options(parser):
    parser.add_argument("campaign", metavar="CAMPAIGN", help="the campaign's YAML file")
    parser.add_argument("--limit", metavar="N", type=positive, default=FIRST, help=f"the first N messages ({FIRST})")
    parser.add_argument("--all", action="store_true", help="all messages")
    parser.add_argument("--output", metavar="DIR", help="write the page there, instead of into the project's .postroom folder")


def run(arguments) -> int:
    campaign = preview = error = None
    try:
        from postroom.read.campaign import load

        campaign = load(arguments.campaign, secrets=False)
        preview = _preview(arguments, campaign)
    except PostroomError as failed:
        error = failed
        if not arguments.json:
            explain(error, more=f"`postroom check {arguments.campaign}` shows all.")
    exit_code = error.exit_code if error else 0
    if arguments.json:
        document({"exit": exit_code, "error": as_json(error) if error else None, "campaign": campaign and campaign.name,
                  "edition": campaign and campaign.edition, "directory": preview and document_path(preview.directory),
                  "messages": preview and preview.messages, "page": preview and document_path(preview.page)})
    elif preview:
        say(f"{count(preview.messages, 'message')} in {document_path(preview.directory)}\nLook at them: {document_path(preview.page)}")
    return exit_code


def _preview(arguments, campaign):
    from postroom.compose.build import Composer
    from postroom.preview import write_preview
    from postroom.read.recipients import Table

    now = datetime.datetime.fromtimestamp(_now(arguments, campaign), campaign.zone).astimezone(campaign.zone)
    table = Table(campaign)
    if table.guess:
        note(table.guess_words())
    composer = Composer(campaign, table, now)
    directory = arguments.output or os.path.join(campaign.project.state_folder, "preview", campaign.folder_name)
    most = None if arguments.all else arguments.limit
    return write_preview(_messages(composer, most), directory, campaign.title)


def _messages(composer, most):
    """The first messages of the table, each exactly as `send` would make it now. Raises what is wrong with a row."""
    from postroom.check.preflight import Preflight

    checked = Preflight(composer, lambda keys: {}, time.time(), limit=most).run()
    if checked.faults:
        raise Faults(checked.faults)
    from postroom.send.queue import departures

    return departures(composer, checked.plan)


def _now(arguments, campaign):
    """The time of the edition's first mail where there was one: what `now` is in the templates."""
    from postroom.journal.sqlite import Journal

    journal = Journal.open(journal_path(arguments, campaign.project), create=False)
    if journal is None:
        return time.time()
    try:
        began = journal.edition(campaign.name, campaign.edition or "").began_at
        return time.time() if began is None else began
    finally:
        journal.close()
