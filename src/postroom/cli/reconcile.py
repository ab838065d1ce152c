"""postroom reconcile: settle what is uncertain by evidence, the relay's own log or a Sent folder."""

import argparse
import time

from postroom.cli.output import document, document_path, explain, interactive, say
from postroom.errors import CampaignError, JournalError, PostroomError
from postroom.outcome import PENDING, SENT, UNCERTAIN
from postroom.words import as_json, count, visible

MOST_NAMED = 5


def options(parser):
    parser.add_argument("campaign", metavar="CAMPAIGN", help="the campaign's YAML file")
    parser.add_argument("--relay-log", metavar="FILE", action="append", default=[],
                        help="the relay's log, of Postfix or Exim; give it again for each rotated file, .gz as they are")
    parser.add_argument("--imap", action="store_true", help="look into the account's Sent folder")
    parser.add_argument("--imap-host", metavar="HOST[:PORT]", type=_server, help="the server for that, where smtp's name does not tell it")
    parser.add_argument("--folder", metavar="NAME", help="the folder for sent mail, where the server does not mark it")
    parser.add_argument("--journal", metavar="PATH", help="the journal is there (POSTROOM_JOURNAL)")


def run(arguments) -> int:
    result = {"campaign": None, "edition": None, "found": None, "not_found": None, "uncertain": None, "deliveries": None, "seconds": None, "journal": None}
    began = time.monotonic()
    try:
        exit_code = _reconcile(arguments, result)
        error = None
    except PostroomError as refused:
        exit_code, error = refused.exit_code, as_json(refused)
        if not arguments.json:
            explain(refused)
    if arguments.json:
        document({"exit": exit_code, "error": error, **result, "seconds": round(time.monotonic() - began, 3)})
    return exit_code


def _reconcile(arguments, result):
    from postroom.journal.lock import RunLock
    from postroom.journal.settle import Verdict, settle, uncertain
    from postroom.journal.sqlite import Journal
    from postroom.read.campaign import load
    from postroom.read.project import journal_path
    from postroom.reconcile import relay_log

    imap = arguments.imap or arguments.imap_host is not None or arguments.folder is not None
    if not arguments.relay_log and not imap:
        raise CampaignError("there is nothing to look into", None, "say --relay-log FILE with the relay's log, or --imap for the account's Sent folder")
    campaign = load(arguments.campaign, secrets=imap)
    name, edition_name = campaign.name, campaign.edition or ""
    path = journal_path(arguments.journal, campaign.project.root)
    result |= {"campaign": name, "edition": campaign.edition, "journal": document_path(path)}
    journal = _known(Journal.open(path, create=False), name, edition_name, path)
    try:
        with RunLock(path, name, edition_name):
            edition = journal.edition(name, edition_name)
            edition.recover()
            verdicts = [Verdict(case, UNCERTAIN, "") for case in uncertain(edition)]
            if arguments.relay_log:
                verdicts = relay_log.judge(arguments.relay_log, [one.uncertain for one in verdicts])
                settle(edition, verdicts)
            open_ones = [one.uncertain for one in verdicts if one.state == UNCERTAIN]
            if imap and open_ones:
                seen = _in_sent_folder(arguments, campaign, open_ones)
                settle(edition, seen)
                verdicts = _together(verdicts, seen)
    finally:
        journal.close()
    result |= _counted(verdicts)
    if not arguments.json:
        _tell(verdicts, result, arguments.campaign)
    return 1 if any(one.state == UNCERTAIN for one in verdicts) else 0


def _known(journal, name, edition, path):
    label = " ".join(filter(None, (name, edition)))
    if journal is not None:
        if any((one.name, one.edition) == (name, edition) for one in journal.editions()):
            return journal
        journal.close()
    raise JournalError(f"the journal knows nothing of {label}" if journal else "there is no journal, so nothing is known to be uncertain", document_path(path),
                       "name the journal that the campaign was sent with (--journal), or correct `name` and `edition`")


def _together(verdicts, seen):
    """What the Sent folder has counts; where it has nothing, why the log did not tell is the better word."""
    by_key = {one.uncertain.key: one for one in seen if one.state == SENT or not any(two.text for two in verdicts)}
    return [by_key.get(one.uncertain.key, one) for one in verdicts]


def _in_sent_folder(arguments, campaign, cases):
    from postroom.reconcile import sent_folder
    from postroom.send.gate import relay_of
    from postroom.send.secrets import asked

    relay = relay_of(campaign, asked if interactive() else None)
    if relay.username is None:
        raise CampaignError("the campaign has no login, and a Sent folder wants one", campaign.place("smtp"),
                            "give `username` under `smtp`, or use --relay-log")
    host, port = arguments.imap_host or (sent_folder.host_of(relay.host), sent_folder.TLS_PORT)
    if host is None:
        raise CampaignError(f'which IMAP server belongs to "{relay.host}" is not known', campaign.place("smtp", "host"), "name it: --imap-host HOST")
    return sent_folder.judge(cases, host, port, relay.username, relay.password.get_secret_value, token=relay.token, ca_file=relay.ca_file,
                             folder=arguments.folder)


def _counted(verdicts):
    states = [one.state for one in verdicts]
    return {"found": states.count(SENT), "not_found": states.count(PENDING), "uncertain": states.count(UNCERTAIN),
            "deliveries": [{"line": one.uncertain.line, "address": one.uncertain.address, "message_id": one.uncertain.message_id, "state": one.state,
                            "evidence": one.text} for one in verdicts]}


def _tell(verdicts, result, campaign):
    if not verdicts:
        say("Nothing is uncertain.")
        return
    say(f"{count(len(verdicts), 'mail')} {'was' if len(verdicts) == 1 else 'were'} uncertain:")
    found, absent = result["found"], result["not_found"]
    if found:
        say(f"  {found:>7,} found: the relay took {_it(found)}, so {'it is' if found == 1 else 'they are'} sent")
    if absent:
        say(f"  {absent:>7,} certainly not taken: the next `postroom send` sends {_it(absent)}")
    reasons = {}
    for one in verdicts:
        if one.state == UNCERTAIN:
            reasons.setdefault(one.text, []).append(one.uncertain)
    for text, cases in sorted(reasons.items(), key=lambda item: -len(item[1])):
        say(f"  {len(cases):>7,} still uncertain: {visible(text)}")
        some = [f"{case.address or case.key} (row {case.line})" for case in cases[:MOST_NAMED]]
        say(f"          {visible(', '.join(some))}{', …' if len(cases) > MOST_NAMED else ''}")
    if reasons:
        say(f"Try again with more of the log, or decide: `postroom send {campaign} --uncertain resend` (somebody may get it twice)\n"
            "or `--uncertain skip` (somebody may get nothing).")


def _it(number):
    return "it" if number == 1 else "them"


def _server(text):
    """HOST or HOST:PORT as (host, port). Raises ArgumentTypeError."""
    from postroom.reconcile.sent_folder import TLS_PORT

    host, colon, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    if colon and not (port.isdecimal() and 1 <= int(port) <= 65_535) or not host or any(character.isspace() or character in "/@" for character in host):
        raise argparse.ArgumentTypeError("give a host, or host:port")
    return host, int(port) if colon else TLS_PORT
