"""What a person should look at once more in names and addresses: characters that nobody sees, domains that look like others.

Nothing here is refused: a ZWNJ is spelling in Persian, and somebody may well live at gmial.com. Scripts are told by the Unicode
names of letters, which the standard library has; a library of confusables weighs megabytes and would say no more about a domain.
"""

import functools
import os
import re
import unicodedata
from collections.abc import Iterator

from postroom.address import INVISIBLE, described, unicode_domain
from postroom.compose.build import Rendered

# Domains that many people's mailboxes are at: what is one slip away from one of them is a slip. A domain on this list is never one itself.
WELL_KNOWN = tuple("""
gmail.com googlemail.com outlook.com outlook.de outlook.fr outlook.es outlook.it outlook.jp outlook.com.br
hotmail.com hotmail.co.uk hotmail.de hotmail.fr hotmail.es hotmail.it live.com live.co.uk live.de live.fr live.nl live.cn msn.com
yahoo.com yahoo.co.uk yahoo.co.jp yahoo.co.in yahoo.com.br yahoo.com.cn yahoo.de yahoo.fr yahoo.es yahoo.it yahoo.ca ymail.com rocketmail.com
icloud.com me.com mac.com aol.com mail.com email.com zoho.com fastmail.com proton.me protonmail.com pm.me
qq.com foxmail.com 163.com 126.com yeah.net 139.com sina.com sina.cn sohu.com aliyun.com
gmx.com gmx.net gmx.de gmx.at gmx.ch web.de t-online.de freenet.de posteo.de mailbox.org orange.fr free.fr laposte.net libero.it
mail.ru bk.ru list.ru inbox.ru yandex.ru yandex.com ya.ru rambler.ru seznam.cz wp.pl onet.pl
naver.com daum.net hanmail.net rediffmail.com comcast.net verizon.net
""".split())
COM_SLIPS = frozenset("con cmo ocm vom xom cim cpm comm coom ccom comn coml".split())
COM_COUNTRIES = frozenset("co cm om".split())  # also the domains of Colombia, Cameroon and Oman, where short names are somebody's own
LONG_SUBJECT = 200
# What Gmail and Outlook take from nobody (their lists of blocked types), the common ones.
PROGRAMS = {".exe", ".bat", ".cmd", ".com", ".scr", ".js", ".jse", ".vbs", ".vbe", ".msi", ".jar", ".ps1", ".lnk", ".hta", ".apk", ".dll"}
# Nobody reads what is written to such a mailbox.
NO_REPLY = re.compile(r"(?:no|do_?not|dont)_?reply(?:_.*)?")
LONG_ENOUGH = 5  # letters; every short name is one slip away from another

# Letters that most typefaces draw as the Latin one beside them (the closest of Unicode's confusables, UTS #39).
LOOK_ALIKES = str.maketrans("аԁсеһіјӏорԛѕуѵхԝ" "αγικνορυ", "adcehijlopqsyvxw" "ayiknopu")
# What writers of East Asia mix in one word (UTS #39 section 5.2).
EAST_ASIAN = ({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}, {"LATIN", "CJK", "HANGUL"}, {"LATIN", "CJK", "BOPOMOFO"})


def remarks(rendered: Rendered) -> Iterator[tuple[str, str, str, str]]:
    """(field of the campaign, text to find in a cell, what is odd, what to do about it), of one recipient's names and addresses."""
    mailboxes = [("from", rendered.from_)]
    for field in ("to", "cc", "bcc", "reply_to"):
        mailboxes += [(field, mailbox) for mailbox in getattr(rendered, field)]
    for field, mailbox in mailboxes:
        if said := domain_remark(mailbox.domain):
            yield field, f"{mailbox.local}@", *said
    sender = rendered.from_
    if NO_REPLY.fullmatch(re.sub(r"[.+-]", "_", sender.local.lower())) and not rendered.reply_to:
        yield "from", f"{sender.local}@", f'nobody reads what people answer to "{sender.address}"', "name somebody who does in `reply_to`"
    yield from _of_files(rendered)
    if len(rendered.subject) > LONG_SUBJECT:
        yield "subject", rendered.subject, f"the subject has {len(rendered.subject)} characters; most programs show 60", "make it shorter"
    words = [(field, "the name", mailbox.name) for field, mailbox in mailboxes]
    words += [("subject", "the subject", rendered.subject)]
    words += [("headers", f"the header {name}", value) for name, value in rendered.headers]
    words += [("attachments", "the file name", file.name) for file in rendered.files]
    for field, what, text in words:
        if not text.isascii() and (character := out_of_place(text)):
            yield field, character, f"{what} holds an invisible character ({described(character)})", "take it out if nobody meant it"


def _of_files(rendered):
    names = [file.name for file in rendered.files]
    for number, file in enumerate(rendered.files):
        if not file.size:
            yield "attachments", file.name, f'the attachment "{file.name}" is empty', "see whether it was written to its end"
        if file.name in names[:number]:
            yield "attachments", file.name, f'two attachments are called "{file.name}"', "give one of them another `name`"
        if os.path.splitext(file.name)[1].lower() in PROGRAMS:
            yield "attachments", file.name, f'"{file.name}" is a program, which most mailboxes refuse', "put it on the web, and its link into the mail"


def out_of_place(text: str) -> str | None:
    """The first invisible character that is no part of how its neighbours are written; None where there is none."""
    for found in INVISIBLE.finditer(text):
        if not _belongs(found[0], text[:found.start()], text[found.end():]):
            return found[0]
    return None


def _belongs(character, before, after):
    if not before:
        return False
    if character in "\u200c\u200d" and after:
        # Spelling in the scripts from Hebrew to Khmer (RFC 5892 appendix A.1 and A.2), glue in emoji (UTS #51).
        if all("\u0590" <= one < "\u2000" and unicodedata.category(one)[0] in "LM" for one in (before[-1], after[0])):
            return True
        return character == "\u200d" and unicodedata.category(before[-1]) in ("So", "Sk", "Mn") and unicodedata.category(after[0]) == "So"
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef" or "\u180b" <= character <= "\u180d" or character == "\u180f":
        return not INVISIBLE.match(before[-1])  # which shape of the letter before it
    if "\U000e0020" <= character <= "\U000e007f":
        return before.rstrip("".join(map(chr, range(0xE0020, 0xE007F))))[-1:] == "\U0001f3f4"  # which flag
    return False


@functools.lru_cache(maxsize=4096)
def domain_remark(domain: str) -> tuple[str, str] | None:
    """(what is odd about a domain of A-labels, what to do about it); None where nothing is."""
    if domain in WELL_KNOWN:
        return None
    readable = unicode_domain(domain)
    if readable != domain:
        return _look_alike(domain, readable)
    meant = suggestion(domain)
    return meant and (f'"{domain}" is one slip away from "{meant}"', f'write "{meant}" if that is meant')


def _look_alike(domain, readable):
    do = f"make sure that this very domain is meant, {domain} to machines"
    if (latin := _in_latin(readable)) in WELL_KNOWN:
        return f'"{readable}" looks like "{latin}", which it is not', do
    *labels, top = readable.split(".")
    for label in labels:
        scripts = _scripts(label)
        if len(scripts) > 1 and not any(scripts <= mixed for mixed in EAST_ASIAN):
            return f'"{readable}" mixes {" and ".join(sorted(map(str.capitalize, scripts)))} letters in one word', do
        # Under a country's own letters nobody takes them for Latin ones.
        if scripts & {"CYRILLIC", "GREEK"} and _scripts(top) != scripts and (latin := label.translate(LOOK_ALIKES)).isascii():
            return f'"{readable}" has {scripts.pop().capitalize()} letters that look like the Latin "{latin}"', do
    return None


def _in_latin(text):
    return "".join(one for one in unicodedata.normalize("NFKD", text.translate(LOOK_ALIKES)) if not unicodedata.combining(one))


def _scripts(label):
    # Modifier letters (Lm) such as the iteration marks of Japanese are common to several.
    return {unicodedata.name(one, "").split(" ")[0] for one in label if unicodedata.category(one) in ("Ll", "Lo")} - {""}


def suggestion(domain: str) -> str | None:
    """The well-known domain that somebody mistyped, by one letter of its name or by the letters of `com`; None where it is plainly another."""
    name, _, rest = domain.partition(".")
    if rest in COM_SLIPS or rest in COM_COUNTRIES and len(name) >= LONG_ENOUGH:
        rest = "com"
        if f"{name}.com" in WELL_KNOWN:
            return f"{name}.com"
    for known in WELL_KNOWN:
        known_name, _, known_rest = known.partition(".")
        # Nearly nobody mistypes a first letter, but a whole trade calls itself x-mail.
        if rest == known_rest and len(known_name) >= LONG_ENOUGH and name[:1] == known_name[0] and _one_slip(name, known_name):
            return known
    return None


def _one_slip(typed, meant):
    """Whether one letter is missing, too much or another, or two neighbours changed places."""
    if abs(len(typed) - len(meant)) > 1 or typed == meant:
        return False
    start = next((at for at, (one, other) in enumerate(zip(typed, meant)) if one != other), min(len(typed), len(meant)))
    one, other = typed[start:], meant[start:]
    return one[1:] == other or one == other[1:] or one[1:] == other[1:] or one[:2] == other[1::-1] and one[2:] == other[2:]
