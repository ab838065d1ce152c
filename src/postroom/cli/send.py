"""postroom send: preflight, gate, confirmation, sends; or goes on where it stopped."""

import signal
import sys

from postroom.cli.arguments import positive
from postroom.cli.output import ask, document, explain, interactive, say
from postroom.errors import CHANGE_FIRST, PostroomError, signalled


def options(parser):
    parser.add_argument("campaign", metavar="CAMPAIGN", help="the campaign's YAML file")
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show what would be sent; no connection")
    parser.add_argument("--limit", metavar="N", type=positive, help="send to the next N only")
    parser.add_argument("--only", metavar="ADDRESS", help="send to this one person only")
    parser.add_argument("--again", action="store_true", help="with --only: also if the person was sent it before; it is a second mail")
    parser.add_argument("--at-most", metavar="N", type=positive, help="refuse a table with more recipients than expected")
    parser.add_argument("--wait", action="store_true", help="sleep until a quota opens or those put off are due, until all is done")
    parser.add_argument("--new", action="store_true", help="begin a journal where CI is set and there is none")
    parser.add_argument("--uncertain", choices=("resend", "skip"), help="decide for those whose mail may or may not have arrived")
    parser.add_argument("--accept-changes", action="store_true", help="go on although the campaign changed since its first mail")
    parser.add_argument("--journal", metavar="PATH", help="keep the journal there (POSTROOM_JOURNAL)")
    parser.add_argument("--sandbox", action="store_true", help="rehearse: to a mail server of its own; nobody gets mail")
    parser.add_argument("--debug", action="store_true", help="show the dialogue with the relay, without secrets")


def run(arguments) -> int:
    if arguments.again and arguments.only is None:
        say("--again wants --only ADDRESS: who gets the second mail?")
        return CHANGE_FIRST
    from postroom.run import Desk, Options, Run
    from postroom.send.secrets import asked

    words = {field: value for field, value in vars(arguments).items() if field in Options.__dataclass_fields__}
    there = interactive()
    run = Run(Options(**words, quiet=arguments.json), Desk(say, ask if there else None, asked if there else None, passing=sys.stderr.isatty()))
    try:
        exit_code = run.rehearse() if arguments.sandbox else run.send()
    except PostroomError as error:
        exit_code, run.error = error.exit_code, error
        if not arguments.json:
            explain(error, nothing_sent=run.nothing_sent, more=f"`postroom check {arguments.campaign}` shows all.")
    except KeyboardInterrupt as interrupt:
        exit_code = signalled(*interrupt.args or (signal.SIGINT,))
        say("Interrupted. Nothing was sent in this run." if run.nothing_sent else "Interrupted.")
    if arguments.json:
        document(run.result(exit_code))
    return exit_code
