"""postroom sandbox: a mail server for practice that keeps what it gets and shows it in the browser."""

from postroom.cli.arguments import port
from postroom.cli.output import document, document_path, explain, say
from postroom.errors import PostroomError
from postroom.send.interrupt import Interrupt
from postroom.words import as_json


def options(parser):
    parser.add_argument("--port", metavar="N", type=port, default=2525, help="the SMTP port on 127.0.0.1 (2525)")
    parser.add_argument("--web-port", metavar="N", type=port, default=8025, help="the page's port on 127.0.0.1 (8025)")
    parser.add_argument("--directory", metavar="DIR", default="sandbox-mail", help="where the mail is kept (sandbox-mail)")


def run(arguments) -> int:
    from postroom.sandbox import Sandbox, mailbox

    try:
        mailbox(arguments.directory)
        with Interrupt() as interrupt, interrupt.held(), Sandbox(arguments.directory, port=arguments.port, web_port=arguments.web_port) as sandbox:
            if arguments.json:
                document({"exit": None, "error": None, "host": "127.0.0.1", "port": sandbox.smtp_port, "url": sandbox.url,
                          "directory": document_path(arguments.directory)})
            say(f"SMTP on 127.0.0.1:{sandbox.smtp_port}, without TLS and login. Mail is kept in {document_path(arguments.directory)}.\n"
                f"Look at it: {sandbox.url}\nCtrl-C ends it.")
            while not interrupt.pause(3600):
                pass
    except PostroomError as error:
        if arguments.json:
            document({"exit": error.exit_code, "error": as_json(error), "host": None, "port": None, "url": None, "directory": None})
        else:
            explain(error)
        return error.exit_code
    return 0
