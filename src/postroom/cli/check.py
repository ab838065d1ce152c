"""postroom check: preflight with every fault at once; with --relay the relay gate too."""

import datetime

from postroom.cli.output import document, explain, interactive, say
from postroom.errors import Faults, Place, PostroomError, RecipientError, faults_of
from postroom.words import all_noted, as_json, count


def options(parser):
    parser.add_argument("campaign", metavar="CAMPAIGN", help="the campaign's YAML file")
    parser.add_argument("--relay", action="store_true", help="also connect and log in to the relay; still sends nothing")


def run(arguments) -> int:
    errors, warnings, exit_code, checked, campaign, reached = [], [], 0, None, None, None
    try:
        from postroom.check.preflight import MOST_FAULTS, Preflight
        from postroom.compose.build import Composer
        from postroom.read.campaign import load
        from postroom.read.recipients import Table

        campaign = load(arguments.campaign, secrets=arguments.relay)
        table = Table(campaign)
        warnings += [table.guess_words()] if table.guess else []
        now = datetime.datetime.now(campaign.zone).astimezone(campaign.zone)
        try:
            composer = Composer(campaign, table, now)
        except PostroomError as error:
            # Without templates no row can be rendered; the table can be looked at all the same.
            raise Faults(faults_of(error) + table.faults(MOST_FAULTS)) from None
        checked = Preflight(composer, lambda keys: {}, now.timestamp()).run()
        warnings += campaign.warnings() + table.notes + composer.warnings() + _of_rows(checked, arguments.relay)
        checked.passed()
        if arguments.relay:
            from postroom.send.gate import clear_text_warnings, passed, relay_of
            from postroom.send.line import logged_in
            from postroom.send.secrets import asked

            relay = relay_of(campaign, asked if interactive() else None)
            warnings += clear_text_warnings(campaign)
            passed(lambda: logged_in(relay), checked).quit()
            reached = f"{relay.name}{f' as {relay.username}' if relay.username else ', without a login'}"
    except PostroomError as error:
        errors, exit_code = faults_of(error), error.exit_code
    return _answer(arguments, campaign, checked, errors, warnings, exit_code, reached)


def _of_rows(checked, asks_relay):
    """What preflight found in the rows that is no fault."""
    found = list(checked.warnings)
    if checked.more_warnings:
        found.append(RecipientError(f"{checked.more_warnings:,} more warnings like these", Place(checked.table.file), "correct those first"))
    if checked.smtputf8 and not asks_relay:
        found.append(RecipientError(f"there {'are' if checked.smtputf8 > 1 else 'is'} {checked.smtputf8_words()}, which only a relay with SMTPUTF8 takes",
                                    Place(checked.table.file, checked.smtputf8_lines[0]), "`check --relay` asks it"))
    return found


def _answer(arguments, campaign, checked, errors, warnings, exit_code, reached):
    if arguments.json:
        document({"exit": exit_code, "error": as_json(errors[0]) if errors else None, "campaign": campaign and campaign.name,
                  "edition": campaign and campaign.edition, "recipients": checked and checked.recipients,
                  "duplicates": checked and checked.duplicates, "errors": [as_json(error) for error in errors],
                  "warnings": [as_json(warning) for warning in warnings]})
        return exit_code
    for fault in errors:
        explain(fault)
    for note in all_noted(warnings):
        say(note)
    if errors:
        more = f" (and {checked.more_faults:,} more like these)" if checked and checked.more_faults else ""
        say(f"\n{count(len(errors), 'fault')}{more}. Nothing was sent.")
    else:
        said = checked.left_out()
        say(f"{count(checked.going, 'message')} checked, no fault found" + (f"; {', '.join(said)} left out." if said else "."))
        if reached:
            say(f"The relay lets us in: {reached}.")
    return exit_code
