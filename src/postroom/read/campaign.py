"""The campaign file: YAML to a frozen Campaign, every key checked, every fault with its line and column.

Strict: a key that is not known is an error with the nearest known one. `${X}` is replaced once, after parsing, in
values only. What names the relay's account is wanted only by what connects to it: see load().
"""

import difflib
import re
import zoneinfo
from collections import namedtuple
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, model_validator

from postroom.address import CONTROL, AddressError, parse_mailbox, shown
from postroom.errors import CampaignError, Faults, Place
from postroom.read import marked_yaml
from postroom.read.project import Project, Unset, display

MOST_FILE_OCTETS = 50 << 20
# RFC 5322 section 2.2: printable US-ASCII but the colon.
HEADER_NAME = re.compile(r"[!-9;-~]{1,64}")
# Those that postroom writes itself, or that only a server or a resending client may write.
OWN_HEADERS = {"from", "to", "cc", "bcc", "reply-to", "sender", "subject", "date", "message-id", "mime-version", "precedence",
               "auto-submitted", "list-unsubscribe", "list-unsubscribe-post", "return-path", "received", "dkim-signature"}
UNITS = {"second": 1, "minute": 60}
RATE = re.compile(r"([1-9][0-9]{0,8})\s*(?:/|\s+per\s+)\s*([1-9][0-9]{0,8})?\s*(second|minute|hour|day)s?")
PORTS = {"plain": 25, "starttls": 587, "tls": 465}
SECRETS = {("smtp", "username"), ("smtp", "password"), ("smtp", "host"), ("smtp", "ca_file")}

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


def _numbered(value):
    return {str(number): path for number, path in enumerate(value)} if isinstance(value, list) else value


def _window(value):
    found = RATE.fullmatch(str(value).strip().lower())
    if not found:
        raise ValueError(f'"{value}" is not a rate; write such as 10/second or 1 per 2 seconds')
    if found[3] not in UNITS:
        raise ValueError(f"rates are per second or per minute; windows of a {found[3]} come with a later release")
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


def _host(value):
    if re.search(r"[\s/@\[\]\x00-\x1f\x7f]", str(value)) or str(value).count(":") == 1:
        raise ValueError(f'"{shown(str(value))}" is not the name of a host; the port has a key of its own')
    return value


Text = Annotated[str, BeforeValidator(_as_written)]
Name = Annotated[Text, Field(min_length=1)]
Mailboxes = Annotated[tuple[Name, ...], BeforeValidator(_one_or_list)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Recipients(_Strict):
    """Which table, which column holds the address, and what makes two rows the same recipient."""

    file: Name
    email: Name = "email"
    key: Annotated[tuple[Name, ...], BeforeValidator(_one_or_list), Field(min_length=1)] | None = None
    duplicates: Literal["first", "error"] | None = None
    delimiter: Literal[",", ";", "\t", "|"] | None = None


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
    """The relay and who we are there. security: never falls back to plain by itself."""

    host: Annotated[Name, BeforeValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    security: Literal["plain", "starttls", "tls"] | None = None
    username: Text | None = None
    password: Annotated[SecretStr, BeforeValidator(_as_written)] | None = None
    rate: Annotated[tuple[Annotated[Window, BeforeValidator(_window)], ...], BeforeValidator(_one_or_list)] = ()
    messages_per_session: Annotated[int, Field(ge=1)] | None = None
    ca_file: Name | None = None
    allow_plaintext_login: bool = False

    @model_validator(mode="before")
    @classmethod
    def _usual_port(cls, value):
        if isinstance(value, dict):
            security = value.get("security") or ("tls" if str(value.get("port")) == "465" else "starttls")
            value = {"port": PORTS.get(str(security)), **value, "security": security}
        return value

    @model_validator(mode="after")
    def _login_is_whole(self):
        if (self.username is None) != (self.password is None):
            raise ValueError("a login wants both `username` and `password`")
        return self

    @property
    def account(self) -> str:
        """Who we are at the relay: what quotas belong to."""
        return f"{self.username}@{self.host}" if self.username else self.host


class Campaign(_Strict):
    """Who sends what to whom through which relay. Paths are as written; `project` resolves them."""

    name: Annotated[Text, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    edition: Annotated[Text, Field(min_length=1, max_length=64), BeforeValidator(_plain_text)] | None = None
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
    allow_paths: Annotated[tuple[Name, ...], BeforeValidator(_one_or_list)] = ()

    _project: Project = PrivateAttr()
    _marked: marked_yaml.Marked = PrivateAttr()

    @property
    def project(self) -> Project:
        return self._project

    @property
    def file(self) -> str:
        """The campaign file's path as a person here would type it."""
        return self._marked.file

    def place(self, *path) -> Place:
        """Where a value such as ("smtp", "port") stands in the campaign file."""
        return _place(self._marked, path)

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
    shown_path = display(path)
    try:
        with open(path, "rb") as file:
            octets = file.read(marked_yaml.MOST_OCTETS + 1)
    except OSError as error:
        raise CampaignError((error.strerror or "it cannot be read").lower(), Place(shown_path),
                            "name the campaign's YAML file") from None
    marked = marked_yaml.load(octets, shown_path)
    if not isinstance(marked.value, dict):
        raise CampaignError("a campaign is a map of keys such as name, from, subject", Place(shown_path, 1),
                            "`postroom new DIR` writes one to start from")
    project = Project(path)
    faults = []
    values = _interpolated(marked, project, secrets, faults)
    campaign = _validated(values, marked, faults)
    if faults:
        raise Faults(sorted(faults, key=lambda fault: fault.where.line))
    campaign._project, campaign._marked = project, marked
    project.allow(campaign.allow_paths)
    return campaign


def _validated(values, marked, faults):
    try:
        campaign = Campaign.model_validate(values)
    except ValidationError as invalid:
        faulty = {error.where.line for error in faults}
        faults += [fault for fault in (_fault(error, marked) for error in invalid.errors(include_url=False))
                   if fault.where.line not in faulty or fault.where.line == 1]
        return None
    faults += _sense(campaign, marked)
    return campaign


def _sense(campaign, marked):
    """What only shows in several keys together."""
    if campaign.html is None and campaign.text in (None, "none"):
        yield CampaignError("there is neither `html` nor `text`", marked.place(), "name the template of at least one")
    if campaign.kind == "newsletter" and campaign.unsubscribe is None:
        yield CampaignError("a newsletter must say how to unsubscribe", marked.place(("kind",)),
                            "add `unsubscribe` with a mailto, a url, or both; or `kind: personal`")
    for name in campaign.vars:
        if not name.isidentifier():
            yield CampaignError(f'"{shown(name)}" cannot be a variable\'s name', marked.place(("vars", name)),
                                "use letters, digits and underscores")


def _interpolated(marked, project, secrets, faults):
    def walk(value, path):
        if isinstance(value, dict):
            inner = {key: walk(one, (*path, key)) for key, one in value.items()}
            return {key: one for key, one in inner.items() if one is not _LEFT_OUT and (one is not None or path[:1] == ("vars",))}
        if isinstance(value, list):
            inner = [walk(one, (*path, number)) for number, one in enumerate(value)]
            return [one for one in inner if one is not _LEFT_OUT]
        if not isinstance(value, str):
            return value
        try:
            return project.interpolated(value)
        except Unset as error:
            if path[:1] == ("smtp",) and not secrets:
                return value if path in SECRETS else _LEFT_OUT
            faults.append(CampaignError(str(error), marked.place(path), "set it, or write it into .env at the project's root"))
            return value

    return walk(marked.value, ())


_LEFT_OUT = object()


def _place(marked, path):
    # Images written as a list are known by their numbers in it.
    if path[:1] == ("images",) and len(path) > 1 and isinstance(marked.value.get("images"), list):
        path = ("images", int(path[1]))
    return marked.place(path)


def _fault(error, marked):
    """One of pydantic's errors in our words. The input is never quoted: it may be a secret."""
    path = tuple("from" if part == "from_" else part for part in error["loc"] if part != "[key]")
    place = _place(marked, path)
    key = ".".join(str(part) for part in path)
    kind = error["type"]
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


def _known_keys(path):
    models = {(): Campaign, ("recipients",): Recipients, ("unsubscribe",): Unsubscribe, ("smtp",): Smtp}
    model = models.get(path, Attachment)
    return sorted(field.alias or name for name, field in model.model_fields.items())
