"""postroom preview: every message as a file, and a page to look through them. Needs no network."""

import os

from postroom.cli.arguments import positive
from postroom.cli.output import document, document_path, explain, say
from postroom.errors import PostroomError
from postroom.words import as_json, count, noted

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
    from postroom.preview import write_preview
    from postroom.run import foreseen

    directory = arguments.output or os.path.join(campaign.project.state_folder, "preview", campaign.folder_name)
    messages = foreseen(campaign, None, None if arguments.all else arguments.limit, lambda guess: say(noted(guess)))
    return write_preview(messages, directory, campaign.title)
