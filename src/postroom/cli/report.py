"""postroom report: what became of every recipient. Needs neither secrets nor the network."""

import sys

from postroom.cli.output import document, document_path, explain, say
from postroom.cli.status import editions, show_counts
from postroom.errors import CampaignError, PostroomError
from postroom.outcome import DEFERRED, REJECTED
from postroom.words import as_json, count, noted

STDOUT = "-"


def options(parser):
    parser.add_argument("campaign", metavar="CAMPAIGN", help="the campaign's YAML file")
    parser.add_argument("--csv", metavar="FILE", help="write the recipients' table with what became of each row (- for standard output)")
    parser.add_argument("--failed", metavar="FILE", help="write the rows that were refused for good, as the table of another run (- for standard output)")
    parser.add_argument("--journal", metavar="PATH", help="the journal is there (POSTROOM_JOURNAL)")


def run(arguments) -> int:
    facts, journal, error = {}, None, None
    try:
        _one_standard_output(arguments)
        from postroom.journal.sqlite import Journal
        from postroom.read.campaign import load
        from postroom.read.project import journal_path

        campaign = load(arguments.campaign, secrets=False)
        path = journal_path(arguments.journal, campaign.project.root)
        journal = Journal.open(path, create=False)
        facts = _known(journal, path, campaign)
        if arguments.csv or arguments.failed:
            facts |= _tables(arguments, journal, campaign, facts["running"])
    except PostroomError as failed:
        error = failed
    finally:
        if journal:
            journal.close()
    exit_code = error.exit_code if error else 0
    if arguments.json:
        document({"exit": exit_code, "error": as_json(error) if error else None, **facts})
    elif error:
        explain(error)
    elif arguments.csv or arguments.failed:
        for line in _written(arguments, facts):
            say(line)
    else:
        _show(arguments.campaign, facts)
    return exit_code


def _one_standard_output(arguments):
    asked = [name for name, there in (("--csv -", arguments.csv == STDOUT), ("--failed -", arguments.failed == STDOUT), ("--json", arguments.json)) if there]
    if len(asked) > 1:
        raise CampaignError(f"{' and '.join(asked)} would be mixed on standard output", None, "write one of them to a file")


def _known(journal, path, campaign):
    """The facts of `status`, and why mail was refused."""
    from postroom.report.summary import refusals
    from postroom.send.gate import meanings_of

    [facts] = editions(journal, path, (campaign.name, campaign.edition or ""))
    meanings = meanings_of(campaign.smtp) if facts["rejected"] or facts["deferred"] else ()
    edition = journal and journal.edition(campaign.name, campaign.edition or "")
    groups = {state: refusals(edition, facts["running"], state, meanings) if facts[state] else [] for state in (REJECTED, DEFERRED)}
    return {**facts, "rejected_groups": groups[REJECTED], "deferred_groups": groups[DEFERRED], "csv": None, "failed": None, "journal": document_path(path)}


def _tables(arguments, journal, campaign, running):
    from postroom.read.recipients import Table
    from postroom.report.table import write

    try:
        table = Table(campaign)
    except PostroomError as error:
        error.do = "; ".join(filter(None, (error.do, f"`postroom report {arguments.campaign}` alone shows what the journal knows")))
        raise
    if table.guess:
        say(noted(table.guess_words()))
    edition = journal and journal.edition(campaign.name, campaign.edition or "")
    targets = [sys.stdout.buffer if name == STDOUT else name for name in (arguments.csv, arguments.failed)]
    written = write(table, campaign, edition if edition and edition.id is not None else None, running, *targets)
    csv = {"file": arguments.csv, "columns": written.columns, "rows": written.rows, "no_longer_listed": written.unlisted, "forgotten": written.forgotten}
    failed = {"file": arguments.failed, "rows": written.failed, "held_back": written.held_back}
    return {"csv": csv if arguments.csv else None, "failed": failed if arguments.failed else None}


def _written(arguments, facts):
    csv, failed = facts["csv"], facts["failed"]
    if csv:
        yield f"{_name(csv['file'])}: {count(csv['rows'], 'row')}; what became of each stands from {csv['columns'][0]} on."
        if csv["no_longer_listed"]:
            yield f"  {csv['no_longer_listed']:,} of them, at the end, {_be(csv['no_longer_listed'])} no longer among the rows of the table."
        if csv["forgotten"]:
            yield f"  {count(csv['forgotten'], 'recipient')} whom nothing names any more (postroom forget) {_be(csv['forgotten'])} not in it."
    if failed:
        yield f"{_name(failed['file'])}: {count(failed['rows'], 'row')} refused for good; corrected, {'it is' if failed['rows'] == 1 else 'they are'} the table of another run."
        if failed["held_back"]:
            yield f"  {failed['held_back']:,} more {_be(failed['held_back'])} only in --csv: a copy of the mail went out, or an earlier try may have arrived."
        if facts["deferred"] or facts["uncertain"] or facts["pending"]:
            yield "  Who was put off, is uncertain or is not sent to yet is not in it; this campaign goes on with them."


def _be(number):
    return "is" if number == 1 else "are"


def _name(file):
    return "standard output" if file == STDOUT else document_path(file)


def _show(campaign, facts):
    from postroom.report.summary import refusal_lines
    from postroom.report.uncertain import uncertain_lines

    show_counts(facts)
    blocks = [*(refusal_lines(facts[f"{state}_groups"], state) for state in (REJECTED, DEFERRED)), uncertain_lines(facts["uncertain_list"], campaign)]
    for lines in filter(None, blocks):
        print("", *lines, sep="\n")
