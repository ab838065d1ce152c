"""What one row is by itself: rendered, and looked at from all sides. Knows no other row, so any process can do it."""

from collections import namedtuple

from postroom.address import folded
from postroom.check.addresses import remarks
from postroom.check.links import OTHERS, Links
from postroom.compose.build import Composer
from postroom.errors import Place, PostroomError, RecipientError
from postroom.read.providers import provider

Looked = namedtuple("Looked", "digest size needs_smtputf8 attachments copies remarks fault")
Looked.__doc__ = """Of one row: what Rendered has of it, the number of its attachments, (field, address) of each who gets a copy, by the folded address;
what should be looked at once more (see addresses.remarks); a link that no mail program should open, as an error, or None."""
Found = namedtuple("Found", "files looked", defaults=(None, None))
Found.__doc__ = """What tells a row's attachments apart (see Composer.varying_files), and its Looked where it was wanted; in place of either an error."""


class RowCheck:
    """The checks of one campaign's rows."""

    def __init__(self, composer: Composer):
        self.composer = composer
        self.sources = composer.html.environment.loader.sources if composer.html else {}
        self.links = Links(self.sources)
        self._senders, self._domains = _senders(composer.campaign)

    def look(self, row: dict, line: int, key: str) -> Looked:
        """Raises PostroomError where the row cannot be mailed."""
        rendered = self.composer.render(row, line, key)
        sender = rendered.from_
        if self._senders and sender.address.lower() not in self._senders:
            place = self.composer.campaign.place("from")
            raise RecipientError(f'{self.composer.campaign.smtp.provider} takes mail from its own login only: `from` is "{sender.address}", the login '
                                 f'"{self.composer.campaign.login}"', Place(place.file, place.line, place.column, line), "make them the same mailbox; use `reply_to` for another")
        copies = {folded(mailbox.address): (field, mailbox.address) for field in ("to", "cc", "bcc") for mailbox in getattr(rendered, field)
                  if mailbox.address.lower() != rendered.own.lower()}
        odd = list(remarks(rendered))
        if self._domains and sender.domain not in self._domains:
            odd.append(("from", f"@{sender.domain}", f'`from` is at {sender.domain}, the login at {" or ".join(sorted(self._domains))}',
                        f"make sure that it is an alias of the account: {self.composer.campaign.smtp.provider} refuses or rewrites any other"))
        return Looked(rendered.digest, rendered.size, rendered.needs_smtputf8, len(rendered.files), copies, odd, self._odd_link(rendered.html, row, line))

    def find(self, wanted: list[tuple[dict, int, str, bool]]) -> list[Found]:
        """What is found of each (row, line, key, whether it is mailed), in order; ends behind an error that ends it."""
        found = []
        for row, line, key, mailed in wanted:
            files = looked = None
            try:
                files = self.composer.varying_files(row, line)
                looked = self.look(row, line, key) if mailed else None
            except PostroomError as error:
                files, looked = (error, None) if files is None else (files, error)
            found.append(Found(files, looked))
            if getattr(looked or files, "ends_it", False):
                break
        return found

    def _odd_link(self, html, row, line):
        for columns, what in self.links.of_cells(html, row) if html else ():
            return RecipientError(what, Place(self.composer.table.file, line, ", ".join(columns)), f"{OTHERS}; another beginning belongs into the template")
        return None


def _senders(campaign):
    """(addresses, domains) of which `from` must be one, and should be at one; empty where the provider does not mind, or the login is not known."""
    if not campaign.login or not campaign.smtp.provider:
        return frozenset(), frozenset()
    preset = provider(campaign.smtp.provider)
    login = campaign.login.lower()
    known = frozenset([login] if "@" in login else [f"{login}@{domain}" for domain in preset.domains])
    if preset.sender == "login":
        return known, frozenset()
    return frozenset(), frozenset(address.rpartition("@")[2] for address in known) if preset.sender == "alias" else frozenset()
