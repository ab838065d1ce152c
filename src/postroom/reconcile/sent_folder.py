"""What the account's Sent folder shows of uncertain deliveries, over IMAP. Found there: the provider took it. Absence proves nothing.

Providers keep their copy late, not at all, or for some time only, and people tidy up; so what is not found stays uncertain.
"""

import re
import time
from collections.abc import Callable

from postroom.errors import LoginRefused, PostroomError, RelayRefused, RelayUnavailable
from postroom.journal.settle import Uncertain, Verdict
from postroom.outcome import SENT, UNCERTAIN
from postroom.smtp import auth
from postroom.smtp.reply import printable

TLS_PORT, STARTTLS_PORT = 993, 143  # RFC 8314 section 3.2, RFC 3501 section 6.2.1
ANSWER_SECONDS, ALL_SECONDS = 60, 1800
MOST_FOUND = 20  # messages with the ID in them that are looked at
MOST_HEADER = 65_536
MOST_LITERAL = 1 << 20  # octets; we ask for headers and for names of folders
NOT_FOUND = "it is not in the Sent folder, which proves nothing: not every mail is kept there"
# Hosts whose IMAP server is not called after the SMTP server. Microsoft's list of settings for POP, IMAP and SMTP
# (support.microsoft.com 8361e398-8af4-4e97-b147-6c6c4ac95353, as cited by thunderbird/thunderbird-android#6115, July 2022).
OTHER_NAMES = {"smtp.office365.com": "outlook.office365.com", "smtp-mail.outlook.com": "outlook.office365.com"}
LISTED = re.compile(rb'\(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.*)', re.DOTALL)
MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^<>\s]+)>\s*$", re.IGNORECASE | re.MULTILINE)


def host_of(smtp_host: str) -> str | None:
    """The IMAP server that belongs to an SMTP server, where its name tells; else None."""
    name = smtp_host.lower().rstrip(".")
    return OTHER_NAMES.get(name) or ("imap." + name.removeprefix("smtp.") if name.startswith("smtp.") else None)


def judge(cases: list[Uncertain], host: str, port: int, username: str, secret: Callable[[], str], *, token: bool = False,
          ca_file: str | None = None, folder: str | None = None) -> list[Verdict]:
    """A verdict for each case: SENT where the folder holds its Message-ID, else UNCERTAIN.

    port: 143 goes by STARTTLS, every other is TLS from the start; there is no way without. secret: brings the password, or the access
    token where `token` is true. folder: its name as people write it; None: the one marked as \\Sent (RFC 6154).
    Raises PostroomError in words for people where the folder cannot be read; nothing is changed in it.
    """
    import imaplib

    where, mailbox = f"{host}:{port}", None
    try:
        mailbox = _Mailbox(_connected(imaplib, host, port, ca_file), where)
        try:
            mailbox.log_in(username, secret(), token)
            mailbox.open(folder)
            return mailbox.verdicts(cases)
        finally:
            mailbox.leave()
    except imaplib.IMAP4.error as error:
        said = mailbox.without_secrets(_words(error)) if mailbox else _words(error)
        raise RelayUnavailable(f"the IMAP server breaks off: {said}", where, "run it again later") from None
    except TimeoutError:
        raise RelayUnavailable("the IMAP server does not answer in time", where, "check host and port, or run it again later") from None
    except OSError as error:
        raise RelayUnavailable(f"the IMAP server cannot be reached: {(error.strerror or str(error)).lower()}", where,
                               "check host and port, or run it again later") from None
    except (ValueError, TypeError, AttributeError, LookupError):
        # imaplib takes for granted that a server answers as RFC 3501 says.
        raise RelayUnavailable("the IMAP server answers in a way that is no IMAP", where, "check host and port") from None


def _connected(imaplib, host, port, ca_file):
    import ssl

    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise RelayRefused(f"the CA file holds no certificate that can be used ({error})", ca_file, "give it as PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    where = f"{host}:{port}"
    try:
        if port != STARTTLS_PORT:
            return _bounded(imaplib.IMAP4_SSL)(host, port, ssl_context=context, timeout=ANSWER_SECONDS)
        line = _bounded(imaplib.IMAP4)(host, port, timeout=ANSWER_SECONDS)
        try:
            if "STARTTLS" not in line.capabilities:
                raise RelayRefused("the IMAP server does not offer STARTTLS, so nothing was sent in clear", where, "give the port for TLS, usually 993")
            line.starttls(context)
        except BaseException:
            line.shutdown()
            raise
        return line
    except ssl.SSLCertVerificationError as error:
        raise RelayRefused(f"the IMAP server's certificate is not good: {error.verify_message}", where,
                           "correct the host's name, or name the CA's file in `ca_file`") from None
    except ssl.SSLError as error:
        raise RelayRefused(f"TLS did not come about ({error.reason or error})", where, "give the port for TLS, usually 993") from None


def _bounded(kind):
    """imaplib's class, which would read whatever size the server announces."""

    class Bounded(kind):
        def read(self, size):
            if size > MOST_LITERAL:
                raise self.abort(f"it announces {size:,} octets")
            return super().read(size)

    return Bounded


class _Mailbox:
    """A connection to the server. line: imaplib's. Nothing that the server repeats of the secret is told."""

    def __init__(self, line, where):
        self._line, self._where, self._secrets = line, where, []

    def log_in(self, username, secret, token):
        line = self._line
        self._secrets = [form.decode() for form in auth.secrets(username, secret)]
        try:
            if token:
                line.authenticate("XOAUTH2", lambda challenge: b"" if challenge else f"user={username}\1auth=Bearer {secret}\1\1".encode())
            elif "AUTH=PLAIN" in line.capabilities:
                # RFC 4616, in UTF-8; IMAP's own LOGIN is for ASCII.
                line.authenticate("PLAIN", lambda challenge: f"\0{username}\0{secret}".encode())
            elif "LOGINDISABLED" in line.capabilities or not re.fullmatch(r"[\x20-\x7e]+", username + secret):
                raise RelayRefused("the IMAP server offers no login that this password can go by", self._where, "use a password in ASCII, or `token_command`")
            else:
                line.login(_quoted(username.encode()).decode(), secret)
        except line.abort:
            raise
        except line.error as error:
            raise LoginRefused(f'the IMAP server does not accept this user name and password: "{self.without_secrets(_words(error))}"', self._where,
                               "check that IMAP is switched on for the mailbox; many providers want an app password or authorization code") from None
        if b"ID" in (line.capability()[1][-1] or b"").upper().split():
            # NetEase (163, 126) lets nobody open a folder who has not said a name (RFC 2971; emersion/go-imap#524, May 2023).
            line.xatom("ID", '("name" "postroom")')

    def open(self, folder):
        name = _quoted(_utf7(folder)) if folder else self._marked_as_sent()
        kind, said = self._line.select(name, readonly=True)
        if kind != "OK":
            raise PostroomError(f'the folder {folder or printable(name)} cannot be opened: "{self.without_secrets(printable(said[-1] or b""))}"', self._where,
                                "name another with --folder")

    def verdicts(self, cases):
        until = time.monotonic() + ALL_SECONDS
        verdicts = []
        for case in cases:
            if time.monotonic() > until:
                raise RelayUnavailable("the IMAP server is too slow for so many", self._where, "run it again later")
            number = case.message_id and self._number_of(case.message_id.encode())
            verdicts.append(Verdict(case, SENT, f"the Sent folder at {self._where} has it, as number {printable(number)}") if number
                            else Verdict(case, UNCERTAIN, NOT_FOUND))
        return verdicts

    def leave(self):
        try:
            self._line.logout()
        except Exception:  # noqa: BLE001 - what we came for is done; a closing line may raise anything
            self._line.shutdown()

    def _marked_as_sent(self):
        """The folder with \\Sent among its attributes, as the server wrote its name (RFC 6154 section 2)."""
        kind, found = self._line.list()
        for entry in found if kind == "OK" else ():
            # A name with odd characters comes as a literal, in two parts.
            entry = entry[0].rsplit(b" ", 1)[0] + b" " + _quoted(entry[1]) if isinstance(entry, tuple) else entry
            parts = LISTED.fullmatch(entry or b"")
            if parts and rb"\sent" in parts[1].lower().split():
                return parts[2]
        raise PostroomError("the IMAP server marks no folder as the one for sent mail", self._where, 'name it, such as --folder "Sent Items"')

    def _number_of(self, message_id):
        """The UID of a message with exactly this Message-ID; None where there is none."""
        # Servers look for a part of the header, some for words of it, so what they found is read.
        kind, found = self._line.uid("SEARCH", "HEADER", "Message-ID", _quoted(message_id))
        for number in (found[0] or b"").split()[:MOST_FOUND] if kind == "OK" else ():
            kind, parts = self._line.uid("FETCH", number, f"(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]<0.{MOST_HEADER}>)")
            headers = b"".join(part[1] for part in parts if isinstance(part, tuple)) if kind == "OK" else b""
            if MESSAGE_ID.findall(headers) == [message_id]:
                return number
        return None

    def without_secrets(self, words: str) -> str:
        """The server's words, with *** in place of whatever it repeats of the secret."""
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words


def _quoted(name):
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _utf7(name):
    """A folder's name in IMAP's own UTF-7 (RFC 3501 section 5.1.3)."""
    import base64

    if re.search(r"[\x00-\x1f\x7f]", name):
        raise PostroomError("a folder's name holds no control characters", None, "correct --folder")

    def coded(found):
        octets = base64.b64encode(found[0].encode("utf-16-be", "surrogatepass")).rstrip(b"=").replace(b"/", b",")
        return "&" + octets.decode() + "-"

    return re.sub(r"[^\x20-\x7e]+", coded, name.replace("&", "&-")).encode()


def _words(error):
    said = error.args[0] if error.args else ""
    return printable(said if isinstance(said, bytes) else str(said).encode())[:300]
