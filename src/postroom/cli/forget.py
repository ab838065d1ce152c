"""postroom forget: a person is erased from the project's journal, and not mailed from here again."""

import glob
import os

from postroom.cli.output import document, explain, say
from postroom.errors import CampaignError, PostroomError
from postroom.words import as_json, count, visible

# Where mails lie beside the journal; both are made anew by the command that made them.
MAIL_FOLDERS = ("preview", "sandbox")


def options(parser):
    parser.add_argument("address", metavar="ADDRESS", help="the person's mail address")
    parser.add_argument("--journal", metavar="PATH", help="the journal is there (POSTROOM_JOURNAL)")


def run(arguments) -> int:
    from postroom.read.project import Project, journal_path

    address = done = path = error = None
    folders = []
    try:
        address = _address(arguments.address)
        project = Project(os.path.join(os.getcwd(), "campaign.yaml"))
        path = journal_path(arguments.journal, project.root)
        done = _forget(path, project, address)
        folders = [os.path.relpath(folder) for name in MAIL_FOLDERS if os.path.isdir(folder := os.path.join(project.state_folder, name)) and os.listdir(folder)]
    except PostroomError as failed:
        error = failed
    exit_code = error.exit_code if error else 0
    if arguments.json:
        document({"exit": exit_code, "error": as_json(error) if error else None, "address": address, **_facts(done),
                  "mail_folders": folders, "journal": path and os.path.relpath(path)})
    elif error:
        explain(error)
    else:
        for line in _words(address, done, folders):
            say(visible(line))
    return exit_code


def _address(text):
    from postroom.address import AddressError, folded, parse_mailbox

    try:
        mailbox = parse_mailbox(text)
    except AddressError as error:
        raise CampaignError(str(error), None, "give the address that is to be forgotten") from None
    if mailbox is None:
        raise CampaignError("no address is given", None, "give the address that is to be forgotten")
    return folded(mailbox.address)


def _forget(path, project, address):
    from postroom.journal.erase import forget
    from postroom.journal.sqlite import Journal

    # A journal that is begun in a wrong folder would protect nobody.
    if not os.path.exists(path) and not glob.glob(os.path.join(glob.escape(project.root), "*.y*ml")):
        raise CampaignError("there is no journal here, and no campaign", os.path.relpath(path), "go to the project's folder, or name its journal with --journal")
    journal = Journal.open(path, create=True)
    try:
        return forget(journal, address)
    finally:
        journal.close()


def _facts(done):
    """What was done as the JSON document has it; None where nothing was."""
    if done is None:
        return dict.fromkeys(("already_forgotten", "deliveries", "editions", "stopped", "copies"))
    return {"already_forgotten": done.before, "deliveries": done.deliveries, "editions": done.editions, "stopped": done.stopped, "copies": done.copies}


def _words(address, done, folders):
    if done.deliveries or done.copies:
        yield f"The journal names {address} no more; what it counted, it still counts:"
        if done.deliveries:
            yield f"  {count(done.deliveries, 'recipient')} in {count(done.editions, 'edition')}" + (f", {done.stopped:,} of them still open: left out from now on" if done.stopped else "")
        if done.copies:
            yield f"  named {count(done.copies, 'time')} beside the recipient of another mail"
    else:
        yield f"The journal {'had forgotten' if done.before else 'did not know'} {address}{' already' if done.before else ''}."
    yield "Nobody with this address is mailed again from here; a salted hash is kept for that."
    yield "There is no way back. Take them out of your tables too: a row that still lists them is skipped as suppressed."
    if folders:
        yield f"Mails to them may still lie in {' and '.join(folders)}: remove these folders."
