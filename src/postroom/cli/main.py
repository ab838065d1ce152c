"""The command line's front door: which command, its options, its errors in words, its exit code.

Only the named command's options and modules are loaded, so that --help and status answer at once.
"""

import argparse
import errno
import importlib
import os
import resource
import signal
import sys
from contextlib import suppress

from postroom import __version__
from postroom.errors import CHANGE_FIRST, signalled

COMMANDS = {
    "new": "Write a campaign that works at once, to start from.",
    "check": "Look for every fault in a campaign; sends nothing.",
    "preview": "Make every message and a page to look through them; sends nothing.",
    "send": "Send what is not sent yet; run it again to go on where it stopped.",
    "status": "Show what was sent and what is left.",
    "reconcile": "Settle by the relay's own log, or a Sent folder, what may or may not have arrived.",
    "report": "Show what became of every recipient, in words or as a table.",
    "forget": "Erase a person from the journal, and mail them no more.",
    "providers": "Show the mailboxes and relays that are known by name, and what their refusals mean.",
    "sandbox": "Run a mail server for practice that shows what it gets in the browser.",
    "demo": "Send the sample newsletter through the sandbox and show it.",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Closed by whoever started us; a socket must not get its number.
            setattr(sys, name, open(os.devnull, mode))
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _ended)
    sys.stdout.reconfigure(errors="backslashreplace")
    # A core dump would write the password to the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt as interrupt:
        return signalled(*interrupt.args or (signal.SIGINT,))
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from complaining about it at exit.
        sys.stdout = None
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG) or error.filename is not None:
            return _own_fault(error)
        with suppress(OSError):
            print(f"The output cannot be written: {error.strerror.lower()}.", file=sys.stderr)
        sys.stdout = None
        return CHANGE_FIRST
    except Exception as error:
        return _own_fault(error)
    finally:
        # What there was to do is done: a Ctrl-C while Python cleans up must not take the place of the exit code.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(words: list[str]) -> int:
    """One command, as main() does it but for what belongs to a process: signals, streams, the last resort."""
    if not words or words[0] not in COMMANDS:
        # Every parser takes a millisecond to make, so a named command makes its own alone.
        _front_door().parse_args(words)
    name, *words = words
    module = importlib.import_module(f"postroom.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"postroom {name}", description=COMMANDS[name], formatter_class=_formatter)
    module.options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    return module.run(parser.parse_args(words))


def _formatter(prog):
    """Help as wide as the terminal; argparse would import the archive modules of shutil to learn that, for every option that is added."""
    try:
        width = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (OSError, ValueError):
        width = 80
    return argparse.HelpFormatter(prog, width=max(width, 40) - 2)


def _front_door():
    """The parser of what names no command: it helps, tells the version, or explains; each ends the process."""
    parser = argparse.ArgumentParser(prog="postroom", description="Campaigns as code: write, look, send, go on.", formatter_class=_formatter)
    parser.add_argument("--version", action="version", version=f"postroom {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        commands.add_parser(name, help=line, description=line)
    return parser


def _own_fault(error):
    """The last resort: what nobody foresaw, in one line that can be reported."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno}"
    print(f"postroom has met a fault of its own: {type(error).__name__}: {error} ({place}).\n"
          "  Please report it. `postroom status` shows what was sent.", file=sys.stderr)
    return CHANGE_FIRST


def _ended(number, frame):
    """A polite kill ends us as Ctrl-C does, so that everything is closed on the way out."""
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    sys.exit(main())
