"""Twins of mail providers on loopback: each says what the provider says, word for word, and refuses what it refuses.

The words are in dialogues/, each beside its public source. They come from those sources alone: nothing here or there was
taken from postroom's own presets, so that a mistake in a preset meets a server that does not share it.
"""

import base64
import hashlib
import hmac
import itertools
import re
import ssl
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import parseaddr
from functools import cache
from pathlib import Path

import yaml

from relay import Hangup, Relay

DIALOGUES = Path(__file__).parent / "dialogues"
SIZE = re.compile(r" SIZE=(\d+)", re.IGNORECASE)
# What a twin says where no source was found for the provider's own words.
NEUTRAL = {"starttls": "220 ready to start TLS", "username": "334 VXNlcm5hbWU6", "password": "334 UGFzc3dvcmQ6", "plain": "334 ",
           "logged_in": "235 OK", "mail": "250 OK", "rcpt": "250 OK", "data": "354 go ahead", "taken": "250 OK", "quit": "221 bye"}


@dataclass(frozen=True)
class Refusal:
    """One thing that a provider says no with.

    phase: "greeting", a verb, "AUTH" for the reply that ends a login, or "end of data". text: the whole reply, lines apart by LF.
    """

    provider: str
    name: str
    phase: str
    text: str
    source: str
    encoding: str = "utf-8"

    @property
    def octets(self) -> bytes:
        return self.text.replace("\n", "\r\n").encode(self.encoding)


@cache
def dialogue(provider: str) -> dict:
    """All that is known of a provider: host, ports, account, said, rules, and refusals by name."""
    found = yaml.safe_load((DIALOGUES / f"{provider}.yaml").read_text(encoding="utf-8"))
    own = {name: Refusal(provider, name, **words) for name, words in found["refusals"].items()}
    if base := found.pop("like", None):
        like = dialogue(base)
        own = {name: Refusal(**{**vars(words), "provider": provider}) for name, words in like["refusals"].items()} | own
        found = {**like, **found, "said": like["said"] | found["said"]}
    return {"rules": {}, **found, "refusals": own}


def _others():
    for provider, refusals in yaml.safe_load((DIALOGUES / "others.yaml").read_text(encoding="utf-8")).items():
        yield from (Refusal(provider, name, **words) for name, words in refusals.items())


TWINS = ["163", "126", "qq", "gmail", "m365", "hoster"]
REFUSALS = [refusal for provider in TWINS for refusal in dialogue(provider)["refusals"].values()] + list(_others())
ROLES = [(provider, role) for provider in TWINS for role in dict.fromkeys(itertools.chain(*dialogue(provider)["ports"].values()))]


def twin_for(refusal: Refusal) -> str:
    """The twin out of which this refusal comes."""
    return refusal.provider if refusal.provider in TWINS else "hoster"


class Twin(Relay):
    """Runs while it is entered; plays one of the provider's ports, by default the first.

    role: "plain", "starttls" or "tls". ca: a trustme.CA, which signs for localhost, 127.0.0.1 and the provider's own host.
    user, code: its one account, by default the dialogue's. tokens: what it accepts by XOAUTH2; see expire().
    refuse: phase or command line -> as for say().
    logins: (mechanism, user, secret, whether over TLS) of every login that was tried to its end. taken, connections and
    commands: as of Relay.
    """

    def __init__(self, provider, role=None, ca=None, user=None, code=None, tokens=(), refuse=None, after=None):
        self.words = dialogue(provider)
        self.role = role or next(iter(self.words["ports"].values()))[0]
        assert (provider, self.role) in ROLES, f"{provider} has no port that is {self.role}"
        self.context = _context(ca, self.words["host"]) if ca else None
        super().__init__(tls=self.context if self.role == "tls" else None, after=after)
        self.user, self.code, self.tokens = user or self.words["account"]["user"], code or self.words["account"]["code"], set(tokens)
        self.logins = []
        for phase, said in (refuse or {}).items():
            self.say(said, phase)

    def say(self, said, phase=None, times=None) -> None:
        """From now on refuse, always or so many times.

        said: the name of one of the provider's refusals, a Refusal, whole replies as text, or a function of the line (at the
        end of data: of the octets) that returns one, or None for what the twin says by itself. phase: where, if not where the
        refusal says.
        """
        if isinstance(said, str):
            said = self.words["refusals"].get(said, said)
            assert isinstance(said, Refusal) or said[:3].isdigit(), f"{said} is neither a refusal of this provider nor a reply"
        left = itertools.repeat(said) if times is None else iter([said] * times)

        def next_one(argument):
            words = next(left, None)
            return words(argument) if callable(words) else words

        self.answers[phase or said.phase] = next_one

    def expire(self, token=None) -> None:
        """End a token, by default the one of the last login: sessions that logged in with it are no longer logged in."""
        self.tokens.discard(token or next(secret for mechanism, _, secret, _ in reversed(self.logins) if mechanism == "XOAUTH2"))

    def speak(self, line):
        _Conversation(self, line).hold()


class _Conversation:
    """One connection. login: who logged in, or None; token: with which token, if with one."""

    def __init__(self, twin, line):
        self.twin, self.line, self.in_tls = twin, line, twin.role == "tls"
        self.login = self.token = None
        self._own = {"EHLO": self._ehlo, "HELO": self._ok, "STARTTLS": self._starttls, "AUTH": self._auth, "MAIL": self._mail, "RCPT": self._rcpt,
                     "DATA": self._data, "BDAT": self._bdat, "RSET": self._ok, "NOOP": lambda line: "250 OK", "QUIT": lambda line: self._said("quit")}
        self._forget()

    def hold(self):
        refused = self._refusal("greeting", "greeting")
        self._reply(refused or self._said("greeting"))
        if refused:
            raise Hangup
        while octets := self.line.rfile.readline():
            line = octets.decode("utf-8", "replace").rstrip("\r\n")
            self.twin.commands.append(line)
            verb = line.split(" ")[0].upper()
            line = verb + line[len(verb):]
            refused = self._refusal(line, verb) if verb != "AUTH" else None  # what is refused at AUTH is the login, at its end
            self._reply(refused or self._own.get(verb, self._unknown)(line))
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and not refused and self.twin.context and not self.in_tls:
                self.line.secure(self.twin.context)
                self.in_tls, self.login = True, None
                self._forget()

    def _ehlo(self, line):
        self._forget()
        return self._list()

    def _ok(self, line):
        self._forget()
        return "250 OK"

    def _starttls(self, line):
        if self._offers("STARTTLS") is None or not self.twin.context:
            return "502 5.5.1 STARTTLS is not offered here"
        # https://github.com/cnodejs/nodeclub/pull/853, 2016-06-09: 126 offers it inside TLS, and does not do it.
        return "454 Command not permitted when TLS active" if self.in_tls else self._said("starttls")

    def _auth(self, line):
        mechanism, _, initial = line[len("AUTH "):].partition(" ")
        speak = {"PLAIN": self._by_plain, "LOGIN": self._by_login, "CRAM-MD5": self._by_cram_md5, "XOAUTH2": self._by_xoauth2}.get(mechanism.upper())
        if self._offers("AUTH") is None:
            return self._named("must_start_tls") or "503 5.5.1 AUTH is not offered here"
        if speak is None or mechanism.upper() not in self._offers("AUTH").split():
            return "504 5.5.4 unrecognized authentication type"
        try:
            user, secret, good = speak(initial)
        except ValueError:
            return "501 5.5.2 cannot decode that"
        self.twin.logins.append((mechanism.upper(), user, secret, self.in_tls))
        if refused := self._refusal("AUTH", "AUTH"):
            return refused
        if not good or user.casefold() != self.twin.user.casefold():
            if mechanism.upper() == "XOAUTH2" and "token_refused" in self.twin.words["said"]:
                self._ask(self._said("token_refused"))
            return self._named("wrong_code")
        self.login, self.token = user, secret if mechanism.upper() == "XOAUTH2" else None
        return self._said("logged_in")

    def _by_plain(self, initial):
        _, user, code = _decoded(initial or self._ask(self._said("plain"))).split("\0")
        return user, code, code == self.twin.code

    def _by_login(self, initial):
        user = _decoded(initial or self._ask(self._said("username")))
        code = _decoded(self._ask(self._said("password")))
        return user, code, code == self.twin.code

    def _by_cram_md5(self, initial):
        challenge = self._said("cram")
        user, _, digest = _decoded(self._ask(challenge)).rpartition(" ")
        wanted = hmac.new(self.twin.code.encode(), base64.b64decode(challenge.split()[1]), hashlib.md5).hexdigest()
        return user, digest, hmac.compare_digest(digest, wanted)

    def _by_xoauth2(self, initial):
        found = re.fullmatch("user=(.*)\x01auth=Bearer (.*)\x01\x01", _decoded(initial or self._ask("334 ")))
        return (*found.groups(), found[2] in self.twin.tokens) if found else ("", "", False)

    def _mail(self, line):
        self._forget()
        rules, sender, size = self.twin.words["rules"], _path(line), SIZE.search(line)
        if self.login is None:
            return self._named("no_login") or "530 5.7.0 Authentication required"
        if self.token is not None and self.token not in self.twin.tokens:
            self.login = self.token = None
            return self._named(rules["token_ended"])
        if "mail_is_login" in rules and sender.casefold() != self.login.casefold():
            return self._named(rules["mail_is_login"])
        if size and 0 < int(self._offers("SIZE") or 0) < int(size[1]):
            return self._named("too_large") or "552 5.3.4 too large"
        self.sender = sender
        return self._said("mail")

    def _rcpt(self, line):
        if self.sender is None:
            return "503 5.5.1 MAIL first"
        self.recipients.append(_path(line))
        return self._said("rcpt")

    def _data(self, line):
        if not self.recipients:
            return "503 5.5.1 RCPT first"
        self._reply(self._said("data"))
        return self._judged(self.twin._body(self.line.rfile))

    def _bdat(self, line):
        """RFC 3030: the octets follow the command, whatever becomes of it."""
        words = line.split()
        self.chunks.append(self.line.rfile.read(int(words[1])))
        if not self.recipients:
            return "503 5.5.1 RCPT first"
        return self._judged(b"".join(self.chunks)) if words[-1].upper() == "LAST" else "250 OK"

    def _judged(self, octets):
        rules, mail, sender, recipients = self.twin.words["rules"], message_from_bytes(octets), self.sender, self.recipients
        self._forget()
        if refused := self._refusal("end of data", "end of data", octets):
            return refused
        wanted = rules.get("headers_wanted", {"names": []})
        if not all(mail[name] for name in wanted["names"]):
            return self._named(wanted["refusal"])
        if "from_is_login" in rules and parseaddr(mail["From"])[1].casefold() != self.login.casefold():
            return self._named(rules["from_is_login"])
        self.twin.take(sender, recipients, octets)
        return self._said("taken")

    def _unknown(self, line):
        return "502 5.5.1 unknown command"

    def _forget(self):
        self.sender, self.recipients, self.chunks = None, [], []

    def _refusal(self, line, verb, argument=None):
        return self.twin._answer(line, verb, None, argument)

    def _named(self, name):
        return self.twin.words["refusals"].get(name)

    def _said(self, name):
        words = self.twin.words["said"].get(name)
        return words["text"] if words else NEUTRAL[name]

    def _list(self):
        return self._said("ehlo_in_tls" if self.in_tls and "ehlo_in_tls" in self.twin.words["said"] else "ehlo")

    def _offers(self, keyword):
        """The parameters with which the present EHLO list offers a keyword: "" where it has none, None where it is not offered."""
        for line in self._list().splitlines():
            if line[4:].split(" ")[0] == keyword:
                return line[4:].removeprefix(keyword).strip()
        return None

    def _ask(self, said):
        self._reply(said)
        return self.line.rfile.readline().decode().rstrip("\r\n")

    def _reply(self, said):
        octets = said.octets if isinstance(said, Refusal) else said.replace("\n", "\r\n").encode()
        self.line.wfile.write(octets + b"\r\n")
        self.line.wfile.flush()
        if octets.startswith(b"421"):
            raise Hangup  # RFC 5321 section 3.8


def _context(ca, host):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1", host).configure_cert(context)
    return context


def _decoded(words):
    return base64.b64decode(words).decode()


def _path(line):
    return line.partition("<")[2].partition(">")[0]
