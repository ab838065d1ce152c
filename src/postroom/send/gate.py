"""The relay gate: connect, log in, compare what this run's messages need with what the relay takes; before the first MAIL."""

import os
from collections.abc import Callable

from postroom.check.preflight import Preflight
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
                 meanings=meanings_of(smtp))


def clear_text_warnings(campaign) -> list[CampaignError]:
    """That the password can be read on the way, where the campaign allows it; said each time."""
    smtp = campaign.smtp
    if not (smtp.allow_plaintext_login and smtp.security == "plain" and smtp.username):
        return []
    return [CampaignError(f"the password goes to {smtp.host} in clear text: anybody on the way can read it (allow_plaintext_login)", None, None)]


def meanings_of(smtp) -> tuple[Meaning, ...]:
    """What the refusals of this relay, and of relays in general, mean; in the language of the terminal. smtp: the campaign's settings, or None."""
    language, provider = providers.language(), smtp and (smtp.provider or providers.name_of(smtp.host))
    return tuple(Meaning(refusal.phases, refusal.codes, refusal.enhanced, refusal.texts, refusal.action,
                         providers.words(refusal.what, language), providers.words(refusal.do, language))
                 for refusal in providers.refusals(provider))


def passed(open_session: Callable[[], Session], checked: Preflight) -> Session:
    """A session through which every message of this run can leave. Raises RelayRefused or RelayUnavailable."""
    session = open_session()
    try:
        _takes_addresses(session.capabilities, checked)
        _takes_largest(session.capabilities, checked)
    except RelayRefused:
        session.quit()
        raise
    return session


def _takes_addresses(capabilities, checked):
    # RFC 6531 section 3.1 (8): where there is SMTPUTF8 there must be 8BITMIME.
    missing = [extension for extension in ("SMTPUTF8", "8BITMIME") if extension not in capabilities]
    if checked.smtputf8 and missing:
        raise RelayRefused(f"the relay does not offer {missing[0]}, and there {'are' if checked.smtputf8 > 1 else 'is'} {checked.smtputf8_words()}",
                           Place(checked.table.file, checked.smtputf8_lines[0]),
                           "use a relay that offers it, or take those rows out; such an address cannot be written in another way")


def _takes_largest(capabilities, checked):
    largest = checked.largest
    try:
        most = int(capabilities.get("SIZE") or 0)
    except ValueError:
        most = 0
    # The bound is cheap; the exact octets are made only where it does not suffice (RFC 1870 section 4: 0 means no limit).
    if most > 0 and largest is not None and largest.size > most:
        octets = len(checked.composer.message(largest, date=0).content)
        if octets > most:
            raise RelayRefused(f"the message for this row has {octets:,} octets as encoded; the relay takes {most:,}",
                               Place(checked.table.file, largest.row), "make images and attachments smaller, or put them on the web")
