"""The campaign file: YAML to a frozen Campaign, every key checked, every fault with its line and column.

Strict: a key that is not known is an error with the nearest known one. `${X}` is replaced once, after parsing, in
values only. What names the relay's account is wanted only by what connects to it: see load().
"""

import difflib
import os
import re
import zoneinfo
from collections import namedtuple
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, model_validator

from postroom.address import CONTROL, AddressError, parse_mailbox, shown
from postroom.errors import CampaignError, Faults, Place
from postroom.read.encoding import codec_name
from postroom.read.project import Project, Unset, display, is_readable
from postroom.read.settings import EXTENDS, Settings, gathered

MOST_FILE_OCTETS = 50 << 20
# RFC 5322 section 2.2: printable US-ASCII but the colon.
HEADER_NAME = re.compile(r"[!-9;-~]{1,64}")
# Those that postroom writes itself, or that only a server or a resending client may write.
OWN_HEADERS = {"from", "to", "cc", "bcc", "reply-to", "sender", "subject", "date", "message-id", "mime-version", "precedence",
               "auto-submitted", "list-unsubscribe", "list-unsubscribe-post", "return-path", "received", "dkim-signature"}
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
RATE = re.compile(r"([1-9][0-9]{0,8})\s*(?:/|\s+per\s+)\s*([1-9][0-9]{0,8})?\s*(second|minute|hour|day)s?")
PORTS = {"plain": 25, "starttls": 587, "tls": 465}
# What only a connection needs. A missing variable in one of these is no fault before that.
WANTED_TO_CONNECT = {("smtp", key) for key in ("username", "password", "password_command", "token_command", "host", "ca_file")}
NOT_SET = "not-set.invalid"
SECRETS = (("smtp", "password", "the password", "write `password: ${SMTP_PASSWORD}` and put it into .env at the project's root, or use `password_command`"),
           ("unsubscribe", "secret", "the secret that signs the unsubscribe links",
            "write `secret: ${UNSUBSCRIBE_SECRET}` and put it into .env at the project's root: who reads it can unsubscribe anybody"))
SECRET_PATHS = {secret[:2] for secret in SECRETS}
# Where a path may stand: it is relative to the file that it is written in.
# (An attachment's is a template: compose/build.py.)
PATHS = [("html",), ("text",), ("recipients", "file"), ("images", None), ("smtp", "ca_file"), ("allow_paths",), ("allow_paths", None)]

Window = namedtuple("Window", "count seconds")
Window.__doc__ = "At most `count` messages in any `seconds` (sliding)."


def _as_written(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (dict, list)):
        raise ValueError("a text is wanted here")
    return value


def _one_or_list(value):
    return value if isinstance(value, list) or value is None else [value]


def _command(value):
    # A line is a shell's line, as in the settings of other mailers; a list is a program and its words.
    return value if isinstance(value, list) else ["/bin/sh", "-c", _as_written(value)]


def _numbered(value):
    return {str(number): path for number, path in enumerate(value)} if isinstance(value, list) else value


def _window(value):
    found = RATE.fullmatch(str(value).strip().lower())
    if not found:
        raise ValueError(f'"{value}" is not a rate; write such as 10/second, 1 per 2 seconds or 400/day')
    return Window(int(found[1]), int(found[2] or 1) * UNITS[found[3]])


def _header_name(name):
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f'"{shown(name)}" is not a header name: letters, digits and hyphens')
    if name.lower() in OWN_HEADERS or name.lower().startswith("content-"):
        raise ValueError(f'postroom writes "{name}" itself')
    return name


def _content_id(name):
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise ValueError(f'"{shown(name)}" cannot be an image\'s name: letters, digits, dot, hyphen, underscore')
    return name


def _timezone(name):
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'"{shown(name)}" is not a time zone; write such as Europe/Berlin or Asia/Shanghai') from None
    return name


def _media_type(value):
    # RFC 6838 section 4.2 bounds both names.
    if not re.fullmatch(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}", str(value)):
        raise ValueError(f'"{shown(str(value))}" is not a media type such as application/pdf')
    if str(value).lower().startswith(("multipart/", "message/")):
        raise ValueError("attachments are single parts: neither multipart/ nor message/")
    return value


def _mailto(value):
    try:
        mailbox = parse_mailbox(str(value))
    except AddressError as error:
        raise ValueError(str(error)) from None
    if mailbox is None or mailbox.name:
        raise ValueError("a bare mail address is wanted here")
    return mailbox.address


def _plain_text(value):
    if CONTROL.search(value):
        raise ValueError("it holds a control character or a line break")
    return value


def _provider(value):
    from postroom.read import providers

    providers.provider(_as_written(value))
    return value


def _with_preset(value):
    """What `provider` fills in for all that is not given beside it."""
    if (name := value.get("provider")) is None:
        return value
    from postroom.read import providers

    try:
        preset = providers.provider(_as_written(name))
    except ValueError:
        # Told where it stands; nothing else that is missing is worth a word then.
        return {"host": NOT_SET, **value}
    if preset.host is None and not value.get("host"):
        raise ValueError(f"{preset.name} has no one host for everybody; give `host`, such as {preset.host_like}")
    filled = {"host": preset.host, "rate": list(preset.rate), "messages_per_session": preset.messages_per_session}
    ports, port, security = preset.ports, value.get("port"), value.get("security")
    if port is None:
        # The port for the security asked for; else the preset's first, which is an encrypted one.
        port = next((one for one, kind in ports.items() if security in (None, kind)), None)
    if security is None:
        security = ports.get(port)
    filled |= {"port": port, "security": security}
    return {**{key: one for key, one in filled.items() if one}, **value}


def _with_usual_port(value):
    security = value.get("security") or ("tls" if str(value.get("port")) == "465" else "starttls")
    return {"port": PORTS.get(str(security)), **value, "security": security}


def _host(value):
    if re.search(r"[\s/@\[\]\x00-\x1f\x7f]", str(value)) or str(value).count(":") == 1:
        raise ValueError(f'"{shown(str(value))}" is not the name of a host; the port has a key of its own')
    return value


Text = Annotated[str, BeforeValidator(_as_written)]
Name = Annotated[Text, Field(min_length=1)]
Command = Annotated[tuple[Name, ...], BeforeValidator(_command), Field(min_length=1)]
Mailboxes = Annotated[tuple[Name, ...], BeforeValidator(_one_or_list)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Column(_Strict):
    """What a column's empty cells mean: `default` stands in for them, or none may be empty. html: whether templates may pass it through `| safe`."""

    default: Text | None = None
    required: bool = False
    html: bool = False

    @model_validator(mode="after")
    def _one_meaning(self):
        if self.required and self.default is not None:
            raise ValueError("an empty cell is either filled by `default` or refused by `required`, not both")
        if not self.model_fields_set:
            raise ValueError("say `default: …`, `required: true` or `html: true`")
        return self


class Recipients(_Strict):
    """Which table, which column holds the address, which rows are mailed, and what makes two rows the same recipient."""

    file: Name
    email: Name = "email"
    key: Annotated[tuple[Name, ...], BeforeValidator(_one_or_list), Field(min_length=1)] | None = None
    duplicates: Literal["first", "error"] | None = None
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    encoding: Annotated[Text, BeforeValidator(codec_name)] | None = None
    where: Name | None = None
    columns: dict[Name, Column] = {}


class Attachment(_Strict):
    """A file to attach; `file` and `name` are templates."""

    file: Name
    name: Name | None = None
    type: Annotated[Text, BeforeValidator(_media_type)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value):
        return value if isinstance(value, dict) else {"file": value}


class Unsubscribe(_Strict):
    """How people leave (RFC 2369, RFC 8058): a mailbox, an https address, or both."""

    mailto: Annotated[Text, BeforeValidator(_mailto)] | None = None
    url: Name | None = None
    secret: Annotated[SecretStr, BeforeValidator(_as_written)] | None = None

    @model_validator(mode="after")
    def _one_way_out(self):
        if not (self.mailto or self.url):
            raise ValueError("give `mailto`, `url`, or both")
        return self


class Smtp(_Strict):
    """The relay and who we are there. security: never falls back to plain by itself.

    provider: a preset's name, which fills what is not given. The credential is `password`, what `password_command` or
    `token_command` prints (a token logs in by XOAUTH2), or else comes from the keyring or the terminal.
    """

    provider: Annotated[Text, BeforeValidator(_provider)] | None = None
    host: Annotated[Name, BeforeValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    security: Literal["plain", "starttls", "tls"] | None = None
    username: Text | None = None
    password: Annotated[SecretStr, BeforeValidator(_as_written)] | None = None
    password_command: Command | None = None
    token_command: Command | None = None
    rate: Annotated[tuple[Annotated[Window, BeforeValidator(_window)], ...], BeforeValidator(_one_or_list)] = ()
    messages_per_session: Annotated[int, Field(ge=1)] | None = None
    in_flight: Annotated[int, Field(ge=1, le=256)] | None = None
    ca_file: Name | None = None
    allow_plaintext_login: bool = False

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, value):
        return _with_usual_port(_with_preset(value)) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _login_is_whole(self):
        given = [key for key in ("password", "password_command", "token_command") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}` both say how to log in; keep one of them")
        if self.username is None and given:
            raise ValueError(f"`{given[0]}` without `username`: a login wants both")
        return self

    @property
    def account(self) -> str:
        """Who we are at the relay: what quotas belong to."""
        return f"{self.username}@{self.host}" if self.username else self.host


def _share(value):
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", str(value).strip())
    share = float(found[1]) / 100 if found else -1.0
    if not 0 <= share <= 1:
        raise ValueError(f'"{shown(str(value))}" is not a share; write such as 25%')
    return share


class StopAfter(_Strict):
    """A run ends once it has so many refusals, if they are this share (0 to 1) of all answers."""

    failures: Annotated[int, Field(ge=1)] = 20
    share: Annotated[float, BeforeValidator(_share)] = 0.25


class Delivery(_Strict):
    """How a run goes on, and when it does not."""

    stop_after: StopAfter = StopAfter()


class Campaign(_Strict):
    """Who sends what to whom through which relay. Paths are as written; `project` resolves them."""

    name: Annotated[Text, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    edition: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_plain_text), BeforeValidator(_as_written)] | None = None
    kind: Literal["newsletter", "personal", "notice"] = "personal"
    timezone: Annotated[Text, BeforeValidator(_timezone)] | None = None
    from_: Annotated[Name, Field(alias="from")]
    reply_to: Mailboxes = ()
    to: Annotated[Mailboxes, Field(min_length=1)] | None = None
    cc: Mailboxes = ()
    bcc: Mailboxes = ()
    subject: Name
    html: Name | None = None
    text: Name | None = None
    vars: dict[str, Any] = {}
    recipients: Recipients
    images: Annotated[dict[Annotated[str, BeforeValidator(_content_id)], Name], BeforeValidator(_numbered)] = {}
    attachments: Annotated[tuple[Attachment, ...], BeforeValidator(_one_or_list)] = ()
    headers: dict[Annotated[str, BeforeValidator(_header_name)], Text] = {}
    unsubscribe: Unsubscribe | None = None
    smtp: Smtp | None = None
    delivery: Delivery = Delivery()
    allow_paths: Annotated[tuple[Name, ...], BeforeValidator(_one_or_list)] = ()

    _project: Project = PrivateAttr()
    _settings: Settings = PrivateAttr()
    _unset: frozenset = PrivateAttr(frozenset())

    @property
    def project(self) -> Project:
        return self._project

    @property
    def file(self) -> str:
        """The campaign file's path as a person here would type it."""
        return self._settings.file

    def place(self, *path) -> Place:
        """Where a value such as ("smtp", "port") was written: in the campaign file, or one that it builds on."""
        return _place(self._settings, path)

    def folder_of(self, *path) -> str:
        """The folder of the file that a value was written in."""
        return self._settings.folder(path)

    @property
    def login(self) -> str | None:
        """The user name at the relay; None where there is none, or its variable is not set."""
        return self.smtp.username if self.smtp and ("smtp", "username") not in self._unset else None

    def warnings(self) -> list[CampaignError]:
        """What is no fault, but a person should know: secrets that others may read."""
        found = []
        for section, key, words, do in SECRETS:
            raw = (self._settings.value.get(section) or {}).get(key)
            if raw is not None and is_readable(str(raw)):
                found.append(CampaignError(f"{words} stands in this file", self.place(section, key), do))
        if self.smtp and self.smtp.provider and self.smtp.token_command is None and self.smtp.username:
            from postroom.read import providers

            preset = providers.provider(self.smtp.provider)
            if "password" not in preset.login.methods:
                found.append(CampaignError(f"{preset.name} takes no passwords", self.place("smtp", "password"),
                                           "name a command that prints an OAuth 2 token in `token_command`"))
        if self.smtp and self.smtp.provider and ("smtp", "host") not in self._unset:
            from postroom.read import providers

            preset = providers.provider(self.smtp.provider)
            if preset.host and preset.host != self.smtp.host:
                found.append(CampaignError(f"`host` is {self.smtp.host}, not {preset.name}'s {preset.host}", self.place("smtp", "host"),
                                           "remove `host` unless this is meant: what stands beside `provider` takes precedence"))
        env = os.path.join(self._project.root, ".env")
        if os.path.isfile(env) and os.stat(env).st_mode & 0o077:
            found.append(CampaignError("others on this machine may read this file", Place(display(env)), f"make it yours alone: chmod 600 {display(env)}"))
        return found

    @property
    def title(self) -> str:
        """Name and edition, as one word."""
        return "-".join(filter(None, (self.name, self.edition)))

    @property
    def folder_name(self) -> str:
        """The title as a folder may be called."""
        return "".join(character if character.isalnum() or character in "-._" else "_" for character in self.title)

    @property
    def zone(self):
        """The zone of Date and `now`; None: the machine's own."""
        return zoneinfo.ZoneInfo(self.timezone) if self.timezone else None


def load(path: str, secrets: bool) -> Campaign:
    """Read a campaign file.

    secrets: whether the relay's settings will be used. Where they are not (check, preview, a rehearsal), a missing
    variable in `smtp` is no fault. Raises Faults with every fault, or CampaignError for one that hides the others.
    """
    project = Project(path)
    settings = gathered(path, project)
    faults = []
    values, unset = _interpolated(settings, project, secrets, faults)
    campaign = _validated(values, settings, faults)
    if faults:
        raise Faults(sorted(faults, key=lambda fault: fault.where.line))
    campaign._project, campaign._settings, campaign._unset = project, settings, frozenset(unset)
    project.allow(campaign.allow_paths)
    return campaign


def _validated(values, settings, faults):
    try:
        campaign = Campaign.model_validate(values)
    except ValidationError as invalid:
        faulty = {(error.where.file, error.where.line) for error in faults}
        faults += [fault for fault in (_fault(error, settings) for error in invalid.errors(include_url=False))
                   if (fault.where.file, fault.where.line) not in faulty or fault.where.line == 1]
        return None
    faults += _sense(campaign, settings)
    return campaign


def _sense(campaign, settings):
    """What only shows in several keys together."""
    if campaign.html is None and campaign.text in (None, "none"):
        yield CampaignError("there is neither `html` nor `text`", settings.place(), "name the template of at least one")
    if campaign.kind == "newsletter" and campaign.unsubscribe is None:
        yield CampaignError("a newsletter must say how to unsubscribe", settings.place(("kind",)),
                            "add `unsubscribe` with a mailto, a url, or both; or `kind: personal`")
    for name in dict.fromkeys((campaign.recipients.email, *(campaign.recipients.key or ()))):
        if name in campaign.recipients.columns and campaign.recipients.columns[name].default is not None:
            yield CampaignError(f'"{shown(name)}" tells the recipients apart, so it can have no default', settings.place(("recipients", "columns", name)),
                                "say `required: true` instead")
    for name in campaign.vars:
        if not name.isidentifier():
            yield CampaignError(f'"{shown(name)}" cannot be a variable\'s name', settings.place(("vars", name)),
                                "use letters, digits and underscores")


def _interpolated(settings, project, secrets, faults):
    """(values, unset): ${X} replaced and paths made relative to the campaign's folder; the paths in the map of those whose variable is not set."""
    unset = set()

    def walk(value, path):
        if isinstance(value, dict):
            inner = {key: walk(one, (*path, key)) for key, one in value.items()}
            return {key: one for key, one in inner.items() if one is not _LEFT_OUT and (one is not None or path[:1] == ("vars",) or _is_unknown(path, key))}
        if isinstance(value, list):
            inner = [walk(one, (*path, number)) for number, one in enumerate(value)]
            return [one for one in inner if one is not _LEFT_OUT]
        if not isinstance(value, str):
            return value
        try:
            value = _from_campaign(project.interpolated(value), path, settings, project)
            # Wrapped at once: an error's traceback that shows the values of its frames shows no secret.
            return SecretStr(value) if path in SECRET_PATHS else value
        except Unset as error:
            unset.add(path)
            if path[:1] == ("smtp",) and path[:2] != ("smtp", "provider") and not secrets:
                return NOT_SET if path[:2] in WANTED_TO_CONNECT else _LEFT_OUT
            faults.append(CampaignError(str(error), settings.place(path), "set it, or write it into .env at the project's root"))
            return value

    return walk(settings.value, ()), unset


def _from_campaign(value, path, settings, project):
    """A path as it is called from the campaign's folder, where another file wrote it; any other value as it is."""
    if not any(len(path) == len(one) and all(mine in (None, theirs) for mine, theirs in zip(one, path, strict=True)) for one in PATHS):
        return value
    folder = settings.folder(path)
    if folder == project.folder or value.startswith("~") or path == ("text",) and value == "none":
        return value
    return os.path.join(os.path.relpath(folder, project.folder), value)


_LEFT_OUT = object()


def _place(settings, path):
    # Images written as a list are known by their numbers in it.
    if path[:1] == ("images",) and len(path) > 1 and isinstance(settings.value.get("images"), list):
        path = ("images", int(path[1]))
    return settings.place(path)


def _fault(error, settings):
    """One of pydantic's errors in our words. The input is never quoted: it may be a secret."""
    path = tuple("from" if part == "from_" else part for part in error["loc"] if part != "[key]")
    place = _place(settings, path)
    key = ".".join(str(part) for part in path)
    kind = error["type"]
    if kind == "extra_forbidden" and ":" in str(path[-1]):
        # What stands behind the colon may be a password.
        return CampaignError(f'the key "{shown(str(path[-1]).partition(":")[0])}:…" is not known', place, "write a blank behind the colon")
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = difflib.get_close_matches(str(path[-1]).lower(), known, 1)
        advice = f'did you mean "{near[0]}"?' if near else f"known keys here: {', '.join(known)}"
        return CampaignError(f'the key "{shown(str(path[-1]))}" is not known', place, advice)
    if kind == "missing":
        return CampaignError(f"`{key}` is missing", place, f"add `{path[-1]}:`")
    if kind == "value_error":
        return CampaignError(f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"]), place, "correct it")
    if kind == "literal_error":
        return CampaignError(f"`{key}` is none of the words it can be", place, f"write {error['ctx']['expected']}")
    if kind == "string_pattern_mismatch":
        return CampaignError(f"`{key}` may hold small letters, digits and hyphens only", place, "write such as november-digest")
    if kind in ("string_too_short", "too_short") or error["msg"].endswith("should be a valid string"):
        return CampaignError(f"`{key}` is empty", place, "give it a value, or remove the key")
    message = error["msg"].removeprefix("Input should be ").replace("a valid dictionary", "a map of keys")
    return CampaignError(f"`{key}` should be {message}" if error["msg"].startswith("Input") else f"`{key}`: {message}", place,
                         "correct it")


def _is_unknown(path, key):
    """Whether a key without a value is none of ours: those that are known may be left empty."""
    is_ours = path in ((), ("recipients",), ("unsubscribe",), ("smtp",)) or path[:1] == ("attachments",) or path[:2] == ("recipients", "columns") and len(path) == 3
    return is_ours and key not in _known_keys(path)


def _known_keys(path):
    models = {(): Campaign, ("recipients",): Recipients, ("unsubscribe",): Unsubscribe, ("smtp",): Smtp}
    model = Column if path[:2] == ("recipients", "columns") else models.get(path, Attachment)
    return sorted([field.alias or name for name, field in model.model_fields.items()] + [EXTENDS] * (model is Campaign))
