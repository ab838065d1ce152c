"""Relays by name: where they are, how to log in, what they allow, and what their refusals mean.

All of it is data in providers.yaml, with the source of every fact; read once, when it is first asked for.
"""

import difflib
import functools
import os
import re
from dataclasses import dataclass

from postroom.address import shown
from postroom.read import marked_yaml

FILE = os.path.join(os.path.dirname(__file__), "providers.yaml")
# A code such as 554 or 5xx; an enhanced code such as 5.7.1, or 5.7.606-649 for all from the first to the last.
CODES, ENHANCED = re.compile(r"([45])xx"), re.compile(r"([45]\.\d{1,3}\.)(\d{1,3})-(\d{1,3})")


class UnknownProvider(ValueError):
    """No preset has this name, in words for people; the caller knows the place."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact is from. date: the day that it names itself, or None; read: the day we read one that names none, or None."""

    what: str
    address: str
    date: str | None
    read: str | None

    @property
    def as_of(self) -> str:
        return self.date or self.read


@dataclass(frozen=True, slots=True)
class Login:
    """credential: what to write as the password. where: the path to it. username: what to write, None for the whole address.

    methods: "password", "token" or both, the better one first. All words are {language: text}.
    """

    credential: dict[str, str]
    where: dict[str, str]
    username: dict[str, str] | None
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Provider:
    """A preset.

    host: None where each account has its own, of the form `host_like`. ports: {port: security}, the default first.
    sender: "login" (From must be the login's address), "alias" (an alias of the account passes) or "free". domains: what an
    account without "@" may stand for. rate: as a campaign writes it. limits: what is known of them, or None.
    sources: {fact: Sources}, the facts being host, login, sender, limits and session (messages_per_session).
    """

    name: str
    title: dict[str, str]
    aliases: tuple[str, ...]
    host: str | None
    host_like: str | None
    ports: dict[int, str]
    login: Login
    sender: str
    domains: tuple[str, ...]
    rate: tuple[str, ...]
    messages_per_session: int | None
    limits: dict[str, str] | None
    sources: dict[str, tuple[Source, ...]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a certain reply means. An empty one of phases, codes, enhanced and texts fits any reply.

    providers: whose words these are; none for any relay's. anywhere: unmistakable whoever says them. enhanced: such as "5.7.1".
    texts: parts of the reply as it came, in lower case. action: see providers.yaml. what, do: {language: text}.
    """

    id: str
    providers: tuple[str, ...]
    anywhere: bool
    phases: tuple[str, ...]
    codes: frozenset[int]
    enhanced: frozenset[str]
    texts: tuple[str, ...]
    action: str
    what: dict[str, str]
    do: dict[str, str]
    sources: tuple[Source, ...]


def names() -> tuple[str, ...]:
    """Every preset's name, in the order to show them in; aliases left out."""
    return tuple(_presets())


def provider(name: str) -> Provider:
    """The preset with this name or alias. Raises UnknownProvider, with the nearest name."""
    wanted = name.strip().lower()
    known = {one: preset for preset in _presets().values() for one in (preset.name, *preset.aliases)}
    if wanted in known:
        return known[wanted]
    # Whoever writes a domain or a host means the preset that it belongs to.
    near = known | {one: preset for preset in _presets().values() for one in (*preset.domains, preset.host) if one}
    found = difflib.get_close_matches(wanted, near, 1)
    advice = f'did you mean "{near[found[0]].name}"?' if found else f"known are {', '.join(names())}"
    raise UnknownProvider(f'"{shown(name)}" is no provider that postroom knows; {advice}')


def name_of(host: str) -> str | None:
    """The preset whose host this is, for whoever wrote the host by hand."""
    return next((preset.name for preset in _presets().values() if preset.host == host.lower().rstrip(".")), None)


def refusals(name: str | None) -> tuple[Refusal, ...]:
    """What replies mean, in order of judgement: the provider's own, then what is unmistakable from any relay, the general last."""
    wanted = provider(name).name if name is not None else None
    own = [one for one in _refusals() if wanted in one.providers]
    return (*own, *(one for one in _refusals() if wanted not in one.providers and (one.anywhere or not one.providers)))


def language() -> str:
    """The language for hints: "zh" where the locale is Chinese, else "en"."""
    chosen = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "zh" if chosen.lower().startswith("zh") else "en"


def words(mapping: dict[str, str], language: str) -> str:
    """The text in this language, in English where there is none."""
    return mapping.get(language) or mapping["en"]


@functools.cache
def _document():
    with open(FILE, "rb") as file:
        return marked_yaml.load(file.read(), "providers.yaml").value


@functools.cache
def _sources():
    return {key: Source(one["what"], one["from"], one.get("date"), one.get("read")) for key, one in _document()["sources"].items()}


@functools.cache
def _presets():
    return {name: _preset(name, values) for name, values in _document()["providers"].items()}


@functools.cache
def _refusals():
    return tuple(_refusal(values) for values in _document()["refusals"])


def _preset(name, values):
    login = values["login"]
    return Provider(
        name=name, title=values["title"], aliases=tuple(values.get("aliases", ())), host=values.get("host"), host_like=values.get("host_like"),
        ports={int(port): security for port, security in values["ports"].items()},
        login=Login(_document()["credentials"][login["credential"]], login["where"], login.get("username"), tuple(login["methods"])),
        sender=values["sender"], domains=tuple(values["domains"]), rate=tuple(values.get("rate", ())),
        messages_per_session=values.get("messages_per_session"), limits=values.get("limits"),
        sources={fact: tuple(_sources()[key] for key in keys) for fact, keys in values["sources"].items()})


def _refusal(values):
    return Refusal(
        id=values["id"], providers=tuple(values.get("provider", ())), anywhere=values.get("anywhere", False), phases=tuple(values.get("phase", ())),
        codes=frozenset(code for written in values.get("code", ()) for code in _codes(written)),
        enhanced=frozenset(code for written in values.get("enhanced", ()) for code in _enhanced(written)),
        texts=tuple(values.get("text", ())), action=values["action"], what=values["what"], do=values["do"],
        sources=tuple(_sources()[key] for key in values["source"]))


def _codes(written):
    if found := CODES.fullmatch(str(written)):
        return range(int(found[1]) * 100, int(found[1]) * 100 + 100)
    return [int(written)]


def _enhanced(written):
    if found := ENHANCED.fullmatch(str(written)):
        return [f"{found[1]}{last}" for last in range(int(found[2]), int(found[3]) + 1)]
    return [str(written)]
