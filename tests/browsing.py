"""A real browser, and an HTTP server on loopback that notes who calls it."""

import shutil
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler

from running import missing


class Listener:
    """An HTTP server on loopback that notes who calls, and who only connects."""

    def __enter__(self):
        calls = self.calls = []
        listener, self.connections = self, 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                calls.append(self.path)
                self.send_response(204)
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def process_request(self, request, client_address):
                listener.connections += 1
                super().process_request(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def chromium():
    """dump(address): what Chromium made of a page, with all that ran in it."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        missing("Chromium")

    def dump(address):
        done = subprocess.run([program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--virtual-time-budget=3000",
                               "--timeout=10000", "--dump-dom", address], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return dump
