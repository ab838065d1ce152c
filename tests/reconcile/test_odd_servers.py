"""IMAP servers that are not to be trusted: what they say is bounded, scrubbed, and never a traceback."""

import socketserver
import ssl
import threading

import pytest
import trustme

from postroom.errors import PostroomError
from postroom.journal.settle import Uncertain
from postroom.reconcile.sent_folder import judge

PASSWORD = "s3cr3t-Pw"


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


class Server:
    """Logs in whoever comes; `says`: command to the lines of its answer, {tag} in them."""

    def __init__(self, ca, says):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(context)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                line = context.wrap_socket(self.request, server_side=True)
                try:
                    line.sendall(b"* OK ready\r\n")
                    for octets in line.makefile("rb"):
                        tag, verb = octets.decode().split()[:2]
                        usual = {"CAPABILITY": "* CAPABILITY IMAP4rev1\r\n"}.get(verb, "") + "{tag} OK done\r\n"
                        line.sendall(says.get(verb, usual).replace("{tag}", tag).encode())
                except OSError:
                    pass
                finally:
                    line.close()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


FOUND = "* SEARCH 1\r\n{tag} OK done\r\n"


@pytest.mark.parametrize("says", [
    {"EXAMINE": f"* BYE \x1b[31mgo {PASSWORD}\r\n"}, {"EXAMINE": f"{{tag}} NO {PASSWORD}\r\n"}, {"LOGIN": f"{{tag}} NO {PASSWORD}\r\n"}, {"LOGIN": f"* BYE {PASSWORD}\r\n"},
    {"UID": "* 1 FETCH (BODY[] {99999999999}\r\n"}, {"UID": "* 1 FETCH (BODY[] {99999999999999999999999}\r\n"}, {"UID": "* SEARCH x y\r\n{tag} OK\r\n"},
    {"EXAMINE": "nonsense\r\n"}], ids=str)
def test_what_an_odd_server_says_is_told_without_the_password(ca, tmp_path, says):
    """reliability, goal 15."""
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    case = Uncertain(**{field: None for field in Uncertain._fields} | {"message_id": "a@example.com"})
    with Server(ca, says) as server:
        try:
            told = str(judge([case], "localhost", server.port, "ann", lambda: PASSWORD, ca_file=str(tmp_path / "ca.pem"), folder="Sent"))
        except PostroomError as error:
            told = f"{error} {error.do}"

    assert PASSWORD not in told and "\x1b" not in told


def test_a_server_without_capabilities_after_the_login_is_searched_all_the_same(ca, tmp_path):
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    case = Uncertain(**{field: None for field in Uncertain._fields} | {"message_id": "a@example.com"})
    asked = {"CAPABILITY": "{tag} OK done\r\n", "UID": "* SEARCH\r\n{tag} OK done\r\n"}
    with Server(ca, asked) as server, pytest.raises(PostroomError, match="no IMAP|breaks off"):
        judge([case], "localhost", server.port, "ann", lambda: PASSWORD, ca_file=str(tmp_path / "ca.pem"), folder="Sent")
