"""Real mail servers for the tests: smtp-sink, Postfix, Exim, OpenSMTPD, Dovecot and aiosmtpd, each an instance of its own on loopback.

Each is entered, then has `port`; mails() gives what it took so far (Taken, CRLF line ends), connections() how many there were.
Nothing of the system's own mail service is touched. Postfix, Exim, OpenSMTPD and aiosmtpd know nobody whose address begins with `gone`.
"""

import imaplib
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from relay import Taken, free_port

START_SECONDS = 20
POSTFIX = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/mail.log
maillog_file_prefixes = {root}
myhostname = relay.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
default_transport = virtual
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{user}
virtual_gid_maps = static:{group}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 50000000
smtpd_peername_lookup = no
smtpd_recipient_restrictions = check_recipient_access regexp:{{ {{/^gone/ 550 5.1.1 nobody of that name}} }}
smtpd_tls_security_level = none
"""
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
discard unix - - n - - discard
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
EXIM = """\
primary_hostname = relay.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = {root}/spool
log_file_path = {root}/%slog
pid_file_path = {root}/exim.pid
keep_environment =
disable_ipv6
tls_advertise_hosts =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
exim_user = Debian-exim
exim_group = Debian-exim
deliver_drop_privilege
acl_smtp_rcpt = known
acl_smtp_data = accept
begin acl
known:
  deny local_parts = ^gone
       message = 5.1.1 nobody of that name
  accept
begin routers
everybody:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {root}/mail/box
  maildir_format
  return_path_add
  envelope_to_add
  user = Debian-exim
"""
OPENSMTPD = """\
listen on 127.0.0.1 port {port} hostname relay.test
smtp max-message-size 50M
table everybody {{ "@" = "nobody" }}
table unknown {{ "^gone.*" }}
match from any for rcpt-to regex <unknown> reject
action "box" maildir "/mail/box" virtual <everybody>
match from any for any action "box"
"""
PEERS = Path(__file__).parents[1] / ".peers"  # unpack_peers.sh fills it
EXIM_PROGRAM, OPENSMTPD_ROOT = PEERS / "exim" / "exim4", PEERS / "opensmtpd"
DOVECOT = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{root}/certificate.pem
ssl_key = <{root}/key.pem
auth_mechanisms = plain
disable_plaintext_auth = yes
mail_location = maildir:{root}/mail
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {root}/passwords
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={root}/mail
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox "{folder}" {{
    auto = create
    {special}
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {starttls_port}
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
"""


def have_smtp_sink() -> bool:
    return shutil.which("smtp-sink") is not None


def have_postfix() -> bool:
    """Postfix's master must start as root, also for an instance of its own."""
    return shutil.which("postfix") is not None and os.geteuid() == 0


def have_exim() -> bool:
    return EXIM_PROGRAM.exists() and os.geteuid() == 0 and "Debian-exim" in (user.pw_name for user in pwd.getpwall())


def have_opensmtpd() -> bool:
    """It must start as root, in a root of its own."""
    return OPENSMTPD_ROOT.exists() and os.geteuid() == 0


def have_dovecot() -> bool:
    return shutil.which("dovecot") is not None and os.geteuid() == 0


class SmtpSink:
    """Postfix's sink for tests: takes everything and dumps it, with the envelope in front. options: further ones of its own."""

    def __init__(self, *options):
        self._options = options

    def __enter__(self):
        self.root = Path(tempfile.mkdtemp(prefix="sink-"))
        self.root.chmod(0o777)
        self.port = free_port()
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._log, self._read, self._ends = open(self.root / "log", "wb"), 0, 0
        self._process = subprocess.Popen(["smtp-sink", "-v", *self._options, *as_nobody, "-R", self.root, "-D", "mail.", f"127.0.0.1:{self.port}", "64"],
                                         stdout=self._log, stderr=subprocess.STDOUT)
        greeted(self.port)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
        shutil.rmtree(self.root)

    def connections(self) -> int:
        return (self.root / "log").read_text().count(": connect ") - 1  # ours, to see whether it is ready

    def recipients_seen(self) -> int:
        """How many RCPT commands it took."""
        return (self.root / "log").read_text().lower().count(": rcpt to:")

    def accepted(self) -> int:
        """How many mails it took so far; cheap, to be asked often."""
        with open(self.root / "log", "rb") as log:
            log.seek(self._read)
            lines = log.read().split(b"\n")
        self._read += sum(map(len, lines[:-1])) + len(lines) - 1
        self._ends += lines[:-1].count(b"smtp-sink: .")
        return self._ends

    def drained(self) -> list[Taken]:
        """What it took, once every line to it is closed and nothing is added any more: the kernel delivers what a killed process had handed over."""
        before, until = None, time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            log = (self.root / "log").read_bytes()
            if log == before and log.count(b": connect (") == log.count(b": disconnect"):
                return self.mails()
            before = log
            time.sleep(0.02)
        raise TimeoutError("smtp-sink is still at it")

    def mails(self) -> list[Taken]:
        dumps = b"".join(path.read_bytes() for path in self.root.glob("mail.*"))
        return [_dumped(dump) for dump in re.split(rb"(?m)^(?=X-Client-Addr: )", dumps) if dump]


class Delivering:
    """A server that takes a mail first and delivers it into a Maildir a moment later. queues: folders where mail waits until then."""

    def mails(self) -> list[Taken]:
        """One for each recipient, as delivered."""
        return [_delivered(path.read_bytes()) for path in (self.root / "mail" / "box" / "new").glob("*")]

    def wait_for(self, mails: int, seconds: float = 30) -> list[Taken]:
        """What was delivered, once it is so many."""
        until = time.monotonic() + seconds
        while len(self.mails()) < mails and time.monotonic() < until:
            time.sleep(0.05)
        return self.mails()

    def drained(self, seconds: float = 60) -> list[Taken]:
        """What was delivered, once nothing waits in the queue any more."""
        until = time.monotonic() + seconds
        while any(path.is_file() for folder in self.queues for path in (self.root / folder).rglob("*")):
            if time.monotonic() > until:
                raise TimeoutError(f"{type(self).__name__} still has mail to deliver")
            time.sleep(0.02)
        return self.mails()


class Postfix(Delivering):
    """A whole Postfix with its own configuration, queue, log and port, that delivers every mail into one Maildir."""

    queues = ("queue/incoming", "queue/active", "queue/deferred")

    def __enter__(self):
        self.root = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.root.chmod(0o755)
        for name, owner in (("etc", None), ("queue", None), ("data", "postfix"), ("mail", "nobody")):
            (self.root / name).mkdir()
            if owner:
                shutil.chown(self.root / name, owner)
        self.port = free_port()
        (self.root / "etc" / "main.cf").write_text(self._settings())
        (self.root / "etc" / "master.cf").write_text(SERVICES.format(port=self.port))
        self._command("start")
        greeted(self.port)
        return self

    def __exit__(self, *_):
        try:
            master = int((self.root / "queue" / "pid" / "master.pid").read_text())
            self._command("stop")
            until = time.monotonic() + START_SECONDS
            while Path(f"/proc/{master}").exists() and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            shutil.rmtree(self.root)

    def _settings(self):
        nobody = pwd.getpwnam("nobody")
        places = {name: subprocess.check_output(["postconf", "-d", "-h", name], text=True).strip() for name in ("command_directory", "daemon_directory")}
        return POSTFIX.format(root=self.root, user=nobody.pw_uid, group=nobody.pw_gid, commands=places["command_directory"], daemons=places["daemon_directory"])

    def _command(self, word):
        subprocess.run(["postfix", "-c", str(self.root / "etc"), word], check=True, capture_output=True, timeout=60)

    def log(self) -> str:
        return (self.root / "mail.log").read_text()

    def connections(self) -> int:
        return len(re.findall(r"smtpd\[\d+\]: connect from ", self.log())) - 1


class Exim(Delivering):
    """A whole Exim with its own configuration, spool, log and port, that delivers every mail into one Maildir. It never is root."""

    queues = ("spool/input",)

    def __enter__(self):
        self.root, self.port = Path(tempfile.mkdtemp(prefix="exim-")), free_port()
        self.root.chmod(0o755)
        # Its user need not be able to reach the checkout.
        program = shutil.copy(EXIM_PROGRAM, self.root / "exim4")
        (self.root / "exim.conf").write_text(EXIM.format(root=self.root, port=self.port))
        shutil.chown(self.root, "Debian-exim", "Debian-exim")
        self._process = subprocess.Popen([program, "-C", self.root / "exim.conf", "-bdf"], user="Debian-exim", group="Debian-exim", extra_groups=[],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        greeted(self.port)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(START_SECONDS)
        shutil.rmtree(self.root)

    def log(self) -> str:
        return (self.root / "mainlog").read_text()


class OpenSmtpd(Delivering):
    """A whole OpenSMTPD in a root of its own, that delivers every mail into one Maildir."""

    queues = ("var/spool/smtpd/incoming", "var/spool/smtpd/queue")

    def __enter__(self):
        self.root, self.port = Path(tempfile.mkdtemp(prefix="opensmtpd-")), free_port()
        shutil.copytree(OPENSMTPD_ROOT, self.root, dirs_exist_ok=True)
        self.root.chmod(0o755)
        (self.root / "etc" / "smtpd.conf").write_text(OPENSMTPD.format(port=self.port))
        (self.root / "mail").mkdir()
        shutil.chown(self.root / "mail", "nobody")
        with open(self.root / "log", "wb") as log:
            self._process = subprocess.Popen(["chroot", self.root, "/usr/sbin/smtpd", "-d"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        greeted(self.port)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(START_SECONDS)
        shutil.rmtree(self.root)

    def log(self) -> str:
        return (self.root / "log").read_text()


class Dovecot:
    """An IMAP server with a folder for sent mail, whose certificate is for localhost.

    authority: a trustme.CA. folder: its name, and as IMAP writes it. special: whether it is marked as \\Sent.
    """

    def __init__(self, authority, password: str, folder: tuple[str, str] = ("Sent", "Sent"), special: bool = True):
        self._authority, self._password, self._special = authority, password, special
        self.folder, self._coded = folder[0], f'"{folder[1]}"'

    def __enter__(self):
        self.root = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.root.chmod(0o755)
        (self.root / "mail").mkdir()
        shutil.chown(self.root / "mail", "nobody", "nogroup")
        certificate = self._authority.issue_cert("localhost")
        certificate.cert_chain_pems[0].write_to_path(self.root / "certificate.pem")
        certificate.private_key_pem.write_to_path(self.root / "key.pem")
        (self.root / "passwords").write_text(f"ann@example.com:{self._password}\n")
        self.port, self.starttls_port = free_port(), free_port()
        (self.root / "dovecot.conf").write_text(DOVECOT.format(root=self.root, folder=self.folder, port=self.port,
                                                               starttls_port=self.starttls_port,
                                                               special="special_use = \\Sent" if self._special else ""))
        self._process = subprocess.Popen(["dovecot", "-F", "-c", self.root / "dovecot.conf"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        greeted(self.starttls_port, b"* OK")
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(START_SECONDS)
        shutil.rmtree(self.root)

    def keep(self, octets: bytes) -> None:
        """Put a mail into the folder for sent mail, as a submission server does."""
        line = self._line()
        try:
            kind, said = line.append(self._coded, r"(\Seen)", None, octets)
            assert kind == "OK", said
        finally:
            line.logout()

    def flags(self) -> list[bytes]:
        """Every mail's flags in that folder."""
        line = self._line()
        try:
            line.select(self._coded, readonly=True)
            return line.fetch("1:*", "(FLAGS)")[1]
        finally:
            line.logout()

    def log(self) -> str:
        return (self.root / "log").read_text()

    def _line(self):
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        line = imaplib.IMAP4_SSL("localhost", self.port, ssl_context=context, timeout=START_SECONDS)
        line.authenticate("PLAIN", lambda challenge: f"\0ann@example.com\0{self._password}".encode())
        return line


class SecureServer:
    """aiosmtpd behind TLS, with a login.

    security: "starttls", "tls" or "plain". context: its SSLContext. mechanisms: the logins that it offers; none wants no login.
    logins: what each said, (mechanism, user name, password).
    """

    def __init__(self, security: str, context=None, mechanisms=(), password: str = ""):
        self._security, self._context, self._mechanisms, self._password = security, context, mechanisms, password
        self.logins, self._taken, self._connections = [], [], 0

    def __enter__(self):
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import SMTP

        server = self
        secured = {"tls": {"ssl_context": self._context}, "starttls": {"tls_context": self._context, "require_starttls": True}, "plain": {}}

        class Counting(SMTP):
            def connection_made(self, transport):
                # STARTTLS makes the connection anew on the same socket.
                server._connections += self.transport is None
                super().connection_made(transport)

        class Listening(Controller):
            def factory(self):
                return Counting(self.handler, **self.SMTP_kwargs)

        self._controller = Listening(self, hostname="127.0.0.1", port=free_port(), authenticator=self._authenticate, auth_required=bool(self._mechanisms),
                                     auth_require_tls=self._security == "starttls", data_size_limit=50_000_000,
                                     auth_exclude_mechanism=[name for name in ("PLAIN", "LOGIN") if name not in self._mechanisms],
                                     **secured[self._security])
        self._controller.start()
        self.port, self._connections = self._controller.port, 0
        return self

    def __exit__(self, *_):
        self._controller.stop()

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("gone"):
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        self._taken.append(Taken(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 kept"

    def _authenticate(self, server, session, envelope, mechanism, data):
        from aiosmtpd.smtp import AuthResult

        self.logins.append((mechanism, data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == self._password, handled=False)

    def connections(self) -> int:
        return self._connections

    def mails(self) -> list[Taken]:
        return list(self._taken)

    drained = mails


def context_for(authority, name: str = "localhost"):
    """A server's TLS with a certificate of a trustme.CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def greeted(port: int, words: bytes = b"220") -> None:
    """Wait until a server on this port says its greeting."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as line:
                if line.recv(100).startswith(words):
                    return
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"nobody greets on port {port}")
        time.sleep(0.05)


def stop(process: subprocess.Popen) -> None:
    """End a process that a test started, whatever it does."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(10)


def _dumped(dump):
    head, _, octets = dump.partition(b"\nReceived: ")
    octets = re.split(rb"\n(?![ \t])", octets, maxsplit=1)[1]
    values = {name: re.findall(rb"(?m)^X-%s-Args: <([^>]*)>" % name, head) for name in (b"Mail", b"Rcpt")}
    # The dump ends with a line end of its own.
    return Taken(values[b"Mail"][0].decode(), tuple(value.decode() for value in values[b"Rcpt"]), octets[:-1].replace(b"\n", b"\r\n"))


def _delivered(octets):
    """What a server added in front, up to its Received, says for whom a mail is."""
    added, octets = re.split(rb"\nReceived: (?:.*\n[ \t])*.*\n", b"\n" + octets, maxsplit=1)
    said = {name.lower(): value for name, value in re.findall(r"(?m)^([\w-]+): <?([^>\n]*)", added.decode())}
    recipient = next(said[name] for name in ("x-original-to", "envelope-to", "delivered-to") if name in said)
    return Taken(said["return-path"], (recipient,), octets.replace(b"\n", b"\r\n"))
