"""The relay gate: connect, log in, compare the largest message with what the relay takes; before the first MAIL."""

import os
from collections.abc import Callable

from postroom.compose.build import Composer, Rendered
from postroom.errors import CampaignError, Place, RelayRefused
from postroom.read import providers
from postroom.send.secrets import credential_of
from postroom.smtp.reply import Meaning
from postroom.smtp.session import Relay, Session


def relay_of(campaign, ask: Callable[[str], str] | None = None) -> Relay:
    """The campaign's relay. ask: asks for a password on the terminal, where there is one. Raises CampaignError where it names none."""
    smtp = campaign.smtp
    if smtp is None:
        raise CampaignError("`smtp` is missing: there is no relay to send through", campaign.place(),
                            "add `smtp` with host, port, security, username and password; or rehearse with --sandbox")
    ca_file = None
    if smtp.ca_file:
        # Exempt from the path rules: a company's CA lives with the machine, not with the campaign.
        ca_file = os.path.join(campaign.project.folder, os.path.expanduser(smtp.ca_file))
        if not os.path.isfile(ca_file):
            raise CampaignError(f'"{smtp.ca_file}": there is no such file', campaign.place("smtp", "ca_file"), "correct the path")
    return Relay(host=smtp.host, port=smtp.port, security=smtp.security, username=smtp.username, password=credential_of(campaign, ask),
                 ca_file=ca_file, allow_plaintext_login=smtp.allow_plaintext_login, token=smtp.token_command is not None,
                 meanings=_meanings(smtp.provider))


def _meanings(provider):
    """What the refusals of this provider, and of relays in general, mean; in the language of the terminal."""
    language = providers.language()
    return tuple(Meaning(refusal.phases, refusal.codes, refusal.enhanced, refusal.texts, refusal.action,
                         providers.words(refusal.what, language), providers.words(refusal.do, language))
                 for refusal in providers.refusals(provider))


def passed(open_session: Callable[[], Session], composer: Composer, largest: Rendered | None) -> Session:
    """A session through which every message of this run can leave. Raises RelayRefused or RelayUnavailable."""
    session = open_session()
    try:
        most = int(session.capabilities.get("SIZE") or 0)
    except ValueError:
        most = 0
    # The bound is cheap; the exact octets are made only where it does not suffice (RFC 1870 section 4: 0 means no limit).
    if most > 0 and largest is not None and largest.size > most:
        octets = len(composer.message(largest, date=0).octets)
        if octets > most:
            session.quit()
            raise RelayRefused(f"the message for this row has {octets:,} octets as encoded; the relay takes {most:,}",
                               Place(composer.table.file, largest.row), "make images and attachments smaller, or put them on the web")
    return session
