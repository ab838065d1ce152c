"""A campaign compiled once; per recipient the words are rendered, and the parts joined to a Message.

Structure, boundaries, static headers, images and shared attachments are encoded when the campaign is compiled. What is
left per message: the two bodies, the headers that vary, and one join.
"""

import datetime
import hashlib
import json
import os
import re
from collections import namedtuple
from collections.abc import Generator

from postroom.address import CONTROL, AddressError, Mailbox, code_point, parse_mailbox, shown
from postroom.compose import mime, unsubscribe
from postroom.compose.bodies import Body, plain_body
from postroom.compose.embed import Embedder
from postroom.compose.files import File, Files, encoded_size
from postroom.compose.plaintext import plain_text
from postroom.compose.templates import Row, Templates, variables
from postroom.errors import CampaignError, Faults, Place, PostroomError, RecipientError, TemplateError
from postroom.message import Envelope, Message, begun, checked, joined
from postroom.steps import STEP, finished

ADDRESS_FIELDS = ("to", "cc", "bcc", "reply_to")
NO_FIELDS = dict.fromkeys(ADDRESS_FIELDS, ())
# What, when changed, makes another mail of it; smtp, rate and the table itself may change between two runs.
CONTENT_KEYS = ("kind", "timezone", "from_", "reply_to", "to", "cc", "bcc", "subject", "html", "text", "vars", "images", "attachments", "headers")
# Servers cut longer headers off in silence (Postfix at 100 KB); a URL cannot be folded, and a line ends at 998 octets.
MOST_HEADER, MOST_URL = 10_000, 900
MOST_FRAMES = 100
MOST_TAGS = 100_000  # a parsed element takes some 400 octets
PRECEDENCE = {"newsletter": b"Precedence: bulk\r\n", "notice": b"Auto-Submitted: auto-generated\r\n", "personal": b""}


class Rendered(namedtuple("Rendered", "key row own from_ to cc bcc reply_to subject headers unsubscribe html_body text_body files pictures digest size")):
    """One recipient's words and files; not encoded yet. digest: hex SHA-256 over all of it, Date apart.

    own: the row's own address. from_ and the address fields: Mailboxes. headers: (name, value) of each. unsubscribe: the URIs of List-Unsubscribe. html_body,
    text_body: a Body, or None. files: attachments. pictures: those that only this row's HTML names. size: an upper bound of the message's octets.
    """

    __slots__ = ()

    @property
    def html(self) -> str | None:
        return self.html_body and self.html_body.text

    @property
    def text(self) -> str | None:
        return self.text_body and self.text_body.text

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only a relay with SMTPUTF8 can take it: an address has letters beyond ASCII before the @ (RFC 6531)."""
        mailboxes = (self.from_, *self.to, *self.cc, *self.bcc, *self.reply_to)
        return not all(mailbox.local.isascii() for mailbox in mailboxes)


class Composer:
    """A compiled campaign: render(row) gives the words, message(rendered) the octets.

    columns: the table's. now: what templates see as `now`, a datetime with a zone.
    Raises Faults with everything that is wrong before any row is looked at.
    """

    def __init__(self, campaign, table, now: datetime.datetime):
        self.campaign, self.table, self.now = campaign, table, now
        self.templates, self.files = Templates(campaign.project), Files(campaign.project)
        faults = []

        def attempt(step, *arguments):
            try:
                return step(*arguments)
            except PostroomError as error:
                faults.append(error)

        self.small = {name: attempt(self.templates.text, source, place) for name, source, place in self._small_templates()}
        self.html = campaign.html and attempt(self.templates.file, campaign.html, campaign.place("html"), True)
        named_text = campaign.text if campaign.text != "none" else None
        self.text = named_text and attempt(self.templates.file, named_text, campaign.place("text"), False)
        self.images = [attempt(self._image, name) for name in campaign.images]
        self.written_in = [os.path.relpath(campaign.folder_of("attachments", number, "file"), campaign.project.folder) for number in range(len(campaign.attachments))]
        self.shared = {number: attempt(self._attachment, number, {"row": Row()}, 0) for number in self._shared_attachments()}
        faults += self._unusable_settings()
        if faults:
            raise Faults(faults)
        self.embedder = self.html and Embedder(self.files, self.html, self.images)
        self.columns = variables(campaign, table.columns)
        self.base = {**campaign.vars, "now": now}
        self._compile()

    def warnings(self):
        """What is no fault, but a person should know."""
        hidden = [name for name in self.table.columns if name not in self.columns]
        return [CampaignError(f'the column "{shown(name)}" is no plain name in templates', Place(self.table.file, 1),
                              f'write row["{shown(name)}"]') for name in hidden]

    def content(self) -> dict[str, str]:
        """Hex SHA-256 of everything that makes this edition what it is, by a name that people understand."""
        files = {os.path.relpath(path, self.campaign.project.root): hashlib.sha256(octets).hexdigest()
                 for path, octets in self.templates.sources().items()}
        for file in (*self.images, *self.shared.values()):
            files[os.path.relpath(file.path, self.campaign.project.root)] = file.sha256
        # Not those whose src a cell had a part in: they are a row's, as its attachments are.
        for path, sha256 in self.embedder.unvarying.items() if self.embedder else ():
            files[os.path.relpath(path, self.campaign.project.root)] = sha256
        settings = self.campaign.model_dump(mode="json", include=set(CONTENT_KEYS))
        settings["recipients.key"] = self.campaign.recipients.key or [self.campaign.recipients.email]
        if self.campaign.unsubscribe:
            # Without the secret: not even its hash belongs into the journal.
            settings["unsubscribe"] = [self.campaign.unsubscribe.mailto, self.campaign.unsubscribe.url]
        words = {f"`{name.rstrip('_')}`": hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
                 for name, value in settings.items()}
        return {**files, **words}

    def attachments(self, row: dict, line: int) -> tuple[File, ...]:
        """The files that go with one row. Raises for a missing one, with its row."""
        ahead, self._ahead = self._ahead, (None, ())
        if ahead[0] is row:
            return ahead[1]
        files = [self.shared.get(number) or self._attachment(number, self._context(row), line)
                 for number in range(len(self.campaign.attachments))]
        return tuple(file for file in files if file is not None)

    @property
    def files_vary(self) -> bool:
        """Whether rows have attachments of their own."""
        return len(self.shared) < len(self.campaign.attachments)

    def read_so_far(self) -> list[dict]:
        """All that compiling and rendering has read of templates, and of pictures that stand in them; for learn() in another process."""
        return [*(loader.sources for loader in self.templates.loaders), *([self.embedder.unvarying] if self.embedder else [])]

    def learn(self, read: list[dict]) -> None:
        """What another process read of this campaign counts as if it had been read here."""
        for mine, theirs in zip(self.read_so_far(), read, strict=True):
            for name, value in theirs.items():
                mine.setdefault(name, value)

    def varying_files(self, row: dict, line: int) -> str:
        """What tells two rows' attachments apart, as a short text; "" where all rows get the same."""
        if not self.files_vary:
            return ""
        files = self.attachments(row, line)
        # Whoever asks renders the row next.
        self._ahead = row, files
        return repr([file[:3] for file in files])

    def render(self, row: dict, line: int, key: str) -> Rendered:
        """A row's words. Raises TemplateError, RecipientError or CampaignError with the row."""
        return finished(self.rendering(row, line, key))

    def rendering(self, row: dict, line: int, key: str) -> Generator:
        """render(), a step at a time. Only one of these may be under way."""
        context = self._context(row)
        links = self._add_unsubscribe(context, key, line)
        own = self.table.own(row, line)
        fields = {**NO_FIELDS, **{name: self._mailboxes(names, context, line) for name, names in self._names.items()}}
        if not self.campaign.to:
            fields["to"] = (own,)
        elif own.address.lower() not in {mailbox.address.lower() for mailbox in fields["to"]}:
            raise RecipientError(f'the row\'s own address "{own.address}" is not among `to`', self._place_of(("to",), line),
                                 f"write {{{{ {self.campaign.recipients.email} }}}} into `to`")
        sender = self._mailbox(("from",), context, line)
        if sender is None:
            raise RecipientError("`from` is empty", self._place_of(("from",), line), "give it an address")
        subject = self._header(("subject",), context, line)
        if not subject:
            raise RecipientError("the subject is empty", self._place_of(("subject",), line), "give every row a subject")
        headers = tuple((name, value) for name in self.campaign.headers if (value := self._header(("headers", name), context, line)))
        html, pictures = self.embedder.embed(self.templates.body(self.html, context, line), line) if self.html else (None, ())
        yield STEP
        text = self.templates.body(self.text, context, line) if self.text else self._text_of(html, line)
        self._not_empty(html, text, line)
        files = self.attachments(row, line)
        head = _head(key, own, ((sender,), *fields.values()), subject, headers, links, (*files, *pictures))
        return Rendered(key, line, own.address, sender, **fields, subject=subject, headers=headers, unsubscribe=links, html_body=html,
                        text_body=text, files=files, pictures=pictures, digest=self._digest(head, html, text),
                        size=self._most_octets(head, html, text, (*files, *pictures)))

    def message_id(self, key: str, domain: str, repeat: int = 0) -> str:
        """One per recipient and edition: a repeat of the same mail is recognised by whoever has it already."""
        identity = f"{self.identity}, {json.dumps(key)}, {repeat}]"
        return f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}@{domain}"

    def message(self, rendered: Rendered, date: int, utc_offset: int | None = None, repeat: int = 0) -> Message:
        """The finished octets. Same input, same octets.

        date: seconds since the epoch, for Date. utc_offset: its zone, for the repeat of an earlier mail; None: the campaign's.
        """
        return finished(self.composing(rendered, date, utc_offset, repeat))

    def composing(self, rendered: Rendered, date: int, utc_offset: int | None = None, repeat: int = 0) -> Generator:
        """message(), a step at a time."""
        message_id = self.message_id(rendered.key, rendered.from_.domain, repeat)
        date_header, offset = self._date_header(date, utc_offset)
        # Date is the first line: dated() writes another in its place.
        head = [date_header, self._from_header(rendered.from_)]
        for name, mailboxes in (("Reply-To", rendered.reply_to), ("To", rendered.to), ("Cc", rendered.cc)):
            if mailboxes:
                head.append(mime.address_header(name, mailboxes))
        head += [mime.text_header("Subject", rendered.subject), f"Message-ID: <{message_id}>\r\n".encode("ascii")]
        if rendered.unsubscribe:
            head.append(mime.literal_header("List-Unsubscribe", rendered.unsubscribe))
            if rendered.unsubscribe[0].startswith("<https:"):
                head.append(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
        head += [mime.text_header(name, value) for name, value in rendered.headers]
        content = yield from self._content([*head, self.static_head], rendered)
        envelope = Envelope(rendered.from_.address, _recipients(rendered), rendered.own)
        return Message(rendered.key, rendered.row, envelope, content, message_id, date, rendered.digest, offset)

    def dated(self, message: Message, date: int) -> Message:
        """The same message as message() makes it for another date."""
        header, offset = self._date_header(date, None)
        # The head is the first piece.
        head = message.content.pieces[0]
        head = checked(header + head[head.index(b"\r\n") + 2:])
        return message._replace(content=begun(head, message.content), date=date, utc_offset=offset)

    # Compiling

    def _small_templates(self):
        campaign = self.campaign
        yield ("from",), _without_quotes(campaign.from_), campaign.place("from")
        yield ("subject",), campaign.subject, campaign.place("subject")
        for field in ADDRESS_FIELDS:
            for number, source in enumerate(getattr(campaign, field) or ()):
                yield (field, number), _without_quotes(source), campaign.place(field, number)
        for name, source in campaign.headers.items():
            yield ("headers", name), source, campaign.place("headers", name)
        for number, attachment in enumerate(campaign.attachments):
            for key in ("file", "name"):
                if (source := getattr(attachment, key)) is not None:
                    yield ("attachments", number, key), source, campaign.place("attachments", number, key)
        if campaign.unsubscribe and campaign.unsubscribe.url:
            yield ("unsubscribe", "url"), campaign.unsubscribe.url, campaign.place("unsubscribe", "url")

    def _image(self, name):
        return self.files.look(self.campaign.images[name], self.campaign.place("images", name), content_id=name)

    def _shared_attachments(self):
        return [number for number in range(len(self.campaign.attachments))
                if all(isinstance(self.small.get(("attachments", number, key), ""), str) for key in ("file", "name"))]

    def _unusable_settings(self):
        campaign = self.campaign
        for name in campaign.vars:
            if name in self.table.columns:
                yield CampaignError(f'"{shown(name)}" is both a column and in `vars`', campaign.place("vars", name), "rename one of them")
        if campaign.images and not campaign.html:
            yield CampaignError("`images` are shown in HTML, but there is no `html`", campaign.place("images"),
                                "add the HTML template, or attach the files")
        url = campaign.unsubscribe and campaign.unsubscribe.url
        if url and not url.startswith("https://"):
            yield CampaignError("the address to unsubscribe must begin with https://", campaign.place("unsubscribe", "url"),
                                "mail programs offer one click only over https (RFC 8058)")
        if url and "unsubscribe_token" in url and not campaign.unsubscribe.secret:
            yield CampaignError("the unsubscribe token needs a secret to sign it", campaign.place("unsubscribe"),
                                "add `secret: ${UNSUBSCRIBE_SECRET}` and set it to a long random text, the same for years")

    def _compile(self):
        identity = json.dumps([self.campaign.name, self.campaign.edition])
        self.identity = identity[:-1]
        mark = hashlib.sha256(identity.encode()).hexdigest()[:24]
        # "=_" can stand in no quoted-printable and no base64 body, so no text can hold a boundary.
        self.boundaries = {level: f"=_{mark}_{level}".encode("ascii") for level in ("mixed", "related", "alternative")}
        self.static_head = PRECEDENCE[self.campaign.kind] + b"MIME-Version: 1.0\r\n"
        self.image_parts = [self.files.part(file, self.campaign.place("images", file.content_id)) for file in self.images]
        self.static_digest = hashlib.sha256(repr((self.campaign.name, self.campaign.edition, self.campaign.kind,
                                                  [file[1:5] for file in self.images])).encode()).digest()
        self.image_octets = sum(map(len, self.image_parts)) + 100 * len(self.image_parts)
        self._frames = {}
        self._names = {field: [(field, number) for number in range(len(values))] for field in ADDRESS_FIELDS if (values := getattr(self.campaign, field))}
        self._unvarying = {}  # a small template without any tag -> its mailbox, parsed once
        self._ahead, self._made = (None, ()), (None, None)
        self._dated = self._from = (None, None)  # the last Date and From, which many messages share

    # Rendering

    def _context(self, row):
        if self.columns == self.table.columns:
            return {**self.base, **row, "row": Row(row)}
        return {**self.base, **{name: row[name] for name in self.columns}, "row": Row(row)}

    def _trimmed(self, context):
        row = {column: cell.strip() for column, cell in context["row"].items()}
        return {**context, **{name: row[name] for name in self.columns}, "row": Row(row)}

    def _add_unsubscribe(self, context, key, line):
        settings = self.campaign.unsubscribe
        if settings is None:
            return ()
        signed = unsubscribe.token(settings.secret.get_secret_value(), self.campaign.name, key) if settings.secret else None
        if signed:
            context["unsubscribe_token"] = signed
        url = None
        if settings.url:
            url = self._header(("unsubscribe", "url"), context, line)
            if len(url) > MOST_URL:
                raise TemplateError(f"the address to unsubscribe has {len(url):,} characters; {MOST_URL} at most fit into a line of mail",
                                    self._place_of(("unsubscribe", "url"), line), "make it shorter")
            if not url.isascii() or any(character in url for character in " <>,\""):
                raise TemplateError(f'the address to unsubscribe "{shown(url)}" holds characters that no URL may hold',
                                    self._place_of(("unsubscribe", "url"), line), "pass the cell through | urlencode")
        links = unsubscribe.uris(url, settings.mailto, signed)
        context["unsubscribe_url"] = url or links[0].strip("<>,")
        return tuple(links)

    def _mailboxes(self, names, context, line):
        return tuple([mailbox for name in names if (mailbox := self._mailbox(name, context, line)) is not None])

    def _mailbox(self, name, context, line):
        if name in self._unvarying:
            return self._unvarying[name]
        value = self._header(name, context, line)
        try:
            mailbox = parse_mailbox(value)
        except AddressError as error:
            guilty = [column for column, cell in context["row"].items() if "@" in cell and cell.strip() in value]
            place = Place(self.table.file, line, ", ".join(guilty)) if guilty else self._place_of(name, line)
            raise RecipientError(str(error), place, "correct the cell or the campaign") from None
        if isinstance(self.small[name], str):
            self._unvarying[name] = mailbox
        return mailbox

    def _header(self, name, context, line):
        """A value for a header: rendered, trimmed, without any line break or control character."""
        value = self.templates.render(self.small[name], context, line).strip()
        if CONTROL.search(value) and context["row"]:
            # A line break behind a cell's last letter, as spreadsheets leave it, means nothing.
            value = self.templates.render(self.small[name], self._trimmed(context), line).strip()
        if found := CONTROL.search(value):
            holding = {column: cell.strip() for column, cell in context["row"].items() if CONTROL.search(cell)}
            # A filter may have changed what the cell brought; then every cell that holds such a character is named.
            guilty = [column for column, cell in holding.items() if CONTROL.search(cell) and cell in value] or list(holding)
            what = "line break" if found[0] in "\r\n\u2028\u2029\x85" else "control character"
            words = f"a {what} ({code_point(found[0])}) would reach {'.'.join(map(str, name))}"
            place = Place(self.table.file, line, ", ".join(guilty)) if guilty else self._place_of(name, line)
            raise RecipientError(words, place, "remove it from the cell" if guilty else "remove it from the campaign")
        if len(value) > MOST_HEADER:
            raise RecipientError(f"{'.'.join(map(str, name))} has {len(value):,} characters; a header holds {MOST_HEADER:,} at most",
                                 self._place_of(name, line), "make it shorter")
        return value

    def _attachment(self, number, context, line):
        setting, place = self.campaign.attachments[number], self._place_of(("attachments", number), line)
        path = self.templates.render(self.small["attachments", number, "file"], context, line).strip()
        if not path:
            return None
        # A cell names a file; it does not lead out of the folder that the campaign wrote in front of it.
        folder = os.path.dirname(setting.file.partition("{")[0])
        if folder and not os.path.normpath(path).startswith(os.path.join(os.path.normpath(folder), "")):
            raise RecipientError(f'"{shown(path)}" leads out of {folder}', place, "correct the cell")
        written_in = self.written_in[number]
        path = os.path.normpath(os.path.join(written_in, path)) if written_in != os.curdir else path
        name = None
        if setting.name is not None:
            name = self._header(("attachments", number, "name"), context, line)
        return self.files.look(path, place, name, setting.type)

    def _text_of(self, html, line):
        """The text made from the HTML, None where the campaign wants none."""
        if self.campaign.text == "none":
            return None
        if self._made[0] == html.text:
            # Where no cell reaches the HTML it is the same for everybody.
            return self._made[1]
        if (tags := html.text.count("<")) > MOST_TAGS:
            raise TemplateError(f"the HTML has {tags:,} tags; text is made from {MOST_TAGS:,} at most", self._place_of(("html",), line),
                                "make it smaller, add a `text` template, or say `text: none`")
        self._made = html.text, plain_body(plain_text(html.text))
        return self._made[1]

    def _not_empty(self, html, text, line):
        if self.text is None and text is not None and text.is_blank and not html.is_blank:
            raise TemplateError("the plain text made from the HTML is empty for this row", self._place_of(("html",), line),
                                "give its images an alt text, add a `text` template, or say `text: none`")
        for what, body in (("html", html), ("text", text)):
            if body is not None and body.is_blank:
                raise TemplateError(f"the {what} part is empty for this row", self._place_of((what,), line), "correct the template")

    def _place_of(self, path, line):
        place = self.campaign.place(*path)
        return Place(place.file, place.line, place.column, line or None)

    # Octets

    def _digest(self, head, html, text):
        head = head.encode("utf-8", "surrogatepass")
        said = [b"%d " % len(head), head, *(b"-" if body is None else body.identity() for body in (html, text))]
        return hashlib.sha256(b"".join([self.static_digest, *said])).hexdigest()

    def _most_octets(self, head, html, text, files):
        # Base64 is the longest that a body can become, as the shorter encoding is taken. A character of a header becomes at most
        # six octets and its share of the encoded words' frames.
        bodies = sum(body.most_octets * 4 // 3 * 78 // 76 + 400 for body in (html, text) if body is not None)
        return 4000 + 10 * len(head) + bodies + self.image_octets + sum(encoded_size(file) + 100 for file in files)

    def _date_header(self, date, utc_offset):
        """The header, and its zone's seconds east of UTC."""
        known, header = self._dated
        if known != (date, utc_offset):
            zone = self.campaign.zone if utc_offset is None else datetime.timezone(datetime.timedelta(seconds=utc_offset))
            moment = datetime.datetime.fromtimestamp(date, zone) if zone else datetime.datetime.fromtimestamp(date).astimezone()
            header = f"Date: {mime.date(moment)}\r\n".encode("ascii"), int(moment.utcoffset().total_seconds())
            self._dated = (date, utc_offset), header
        return header

    def _from_header(self, sender):
        known, header = self._from
        if known is not sender:
            header = mime.address_header("From", [sender])
            self._from = sender, header
        return header

    def _content(self, head, rendered):
        """The whole message: mixed(related(alternative(text, html), images), files). What was checked before is not looked at again.
        A generator of steps.
        """
        known = [(kind, body) for kind, body in (("plain", rendered.text_body), ("html", rendered.html_body)) if body is not None]
        is_alone = len(known) == 1 and not (self.image_parts or rendered.pictures or rendered.files)
        bodies = []
        for kind, body in known:
            bodies.append((kind, *body.encoded(is_alone)))
            yield STEP
        shape = tuple([(kind, encoding) for kind, encoding, _ in bodies]), len(rendered.pictures), len(rendered.files)
        frame = self._frames.get(shape)
        if frame is None:
            if len(self._frames) > MOST_FRAMES:
                self._frames.clear()
            frame = self._frames[shape] = self._frame(*shape)
        leaves = [octets for *_, octets in bodies]
        leaves += [self.files.part(file, self._place_of(("html",), rendered.row)) for file in rendered.pictures]
        leaves += [self.files.part(file, self._place_of(("attachments",), rendered.row)) for file in rendered.files]
        blocks, holes = frame
        blocks = [checked(b"".join(head)), *blocks]
        for at, leaf in zip(holes, leaves, strict=True):
            blocks[at] = leaf
        return joined(blocks)

    def _frame(self, bodies, pictures, files):
        """A message of this shape, from the first Content-Type on: Blocks, with None in the place of each body, of each of the row's pictures and of each
        file; and where these are behind the head.
        """
        levels = [[f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: ".encode("ascii") + encoding + b"\r\n\r\n", None] for kind, encoding in bodies]
        level, kind = levels[0], b"text/" + bodies[0][0].encode("ascii")
        if len(levels) > 1:
            level, kind = self._multipart("alternative", levels), b"multipart/alternative"
        if self.image_parts or pictures:
            level = self._multipart("related", [level, *([part] for part in (*self.image_parts, *[None] * pictures))], b'; type="' + kind + b'"')
        if files:
            level = self._multipart("mixed", [level, *[[None]] * files])
        blocks, lines = [], []
        for octets in [*level, None]:
            if type(octets) is bytes:
                lines.append(octets)
                continue
            if lines:
                blocks.append(checked(b"".join(lines)))
            blocks.append(octets)
            lines = []
        del blocks[-1]
        return blocks, [at + 1 for at, block in enumerate(blocks) if block is None]

    def _multipart(self, level, parts, more=b""):
        boundary = self.boundaries[level]
        lines = [b"Content-Type: multipart/", level.encode("ascii"), more, b';\r\n boundary="', boundary, b'"\r\n\r\n']
        for part in parts:
            lines += [b"--", boundary, b"\r\n", *part]
        return [*lines, b"--", boundary, b"--\r\n"]


def _without_quotes(source):
    """`"{{ name }}" <{{ email }}>` without its quotes: they are the campaign's, so that quotes in the cell are the cell's own."""
    found = re.fullmatch(r'\s*"(.*\{.*)"\s*(<.*)', source, re.DOTALL)
    written = found and re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", found[1], flags=re.DOTALL)
    return source if found is None or '"' in written or "\\" in written else f"{found[1]} {found[2]}"


def _head(key, own, fields, subject, headers, links, files):
    """All but the bodies, without a doubt about where one value ends: for the digest, and as a measure of the headers' length."""
    mailboxes = [[*map(tuple, field)] for field in fields]
    return repr((key, own.address, mailboxes, subject, headers, links, [file[1:5] for file in files]))


def _recipients(rendered):
    """The envelope's. The row's own address first: where a relay takes only so many in a transaction, the copies are the ones who wait."""
    if len(rendered.to) == 1 and not rendered.cc and not rendered.bcc:
        return (rendered.own,)
    first = rendered.own.lower()
    written = {mailbox.address.lower(): mailbox.address for mailbox in (*rendered.bcc, *rendered.cc, *rendered.to)}
    written[first] = rendered.own
    order = dict.fromkeys([first, *(mailbox.address.lower() for mailbox in (*rendered.to, *rendered.cc, *rendered.bcc))])
    return tuple(written[address] for address in order)
