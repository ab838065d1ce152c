"""Which encoding a table is in: what is certain, and what can only be guessed.

Certain are a byte order mark, the NULs of UTF-16 and UTF-32, and UTF-8 that is valid over the whole file. All else is a guess, made of
the lines that are not ASCII: each encoding says how usual its characters are in names and places, and the likeliest one that can
read the whole file is taken. Guesses are shown to a person before they count.
"""

import codecs
import io
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from postroom.errors import Place, RecipientError
from postroom.read import formats

BLOCK_OCTETS, SAMPLE_OCTETS, MOST_OF_LINE = 1 << 20, 64 << 10, 4096
# UTF-32 first: its little-endian mark begins with that of UTF-16.
MARKS = {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be", codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le",
         codecs.BOM_UTF16_BE: "utf-16-be", "\ufeff".encode("gb18030"): "gb18030"}
WITH_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
# Text codecs by Python's word, but ways of writing in ASCII (or the machine's own encoding, another on each) rather than files of people.
NO_FILES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7", "undefined", "charmap", "mbcs", "oem"}
SUCH_AS = "write such as utf-8, gb18030, shift_jis or cp1252"
# Programs write the wider one under the older name (WHATWG Encoding Standard, section 4.2, reads them so too).
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
CSV_UTF_8 = "save the table as CSV UTF-8"


class Found(NamedTuple):
    """encoding: Python's name of it. guessed: whether it needs somebody's confirmation. is_utf_8_too: whether `encoding` says
    another one of a file whose every octet is UTF-8, and some are not ASCII."""

    encoding: str
    guessed: bool = False
    is_utf_8_too: bool = False


class Script(NamedTuple):
    """What an encoding is used for. usual: whether a character is an everyday one there. size: among how many everyday ones.
    bonus: how much likelier it is from the start, in nats. alphabet: "latin", "other" or "wide" (two octets a character)."""

    usual: Callable[[str], bool]
    size: int
    bonus: float
    alphabet: str


PLAINLY_UTF_8 = re.compile(rb"(?:[\xe1-\xef][\x80-\xbf]{2}){2}")
HALF_CHARACTER = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")  # a surrogate, which UTF-8 has not (RFC 3629 section 3)


def codec_name(name: str) -> str:
    """Python's own name of an encoding of text files. Raises ValueError, in words for people, where it is none."""
    try:
        codec = codecs.lookup(str(name))
        "".encode(codec.name)
    except (LookupError, ValueError):
        raise ValueError(f"this is no encoding of text that Python knows; {SUCH_AS}") from None
    if codec.name.replace("_", "-") in NO_FILES:
        raise ValueError(f"{codec.name} is no encoding of files; {SUCH_AS}")
    return WIDER.get(codec.name, codec.name)


def label(encoding: str) -> str:
    """An encoding as people call it."""
    names = {"cp932": "Shift-JIS", "big5": "Big5", "cp950": "Big5", "cp949": "EUC-KR", "utf-8": "UTF-8"}
    windows = encoding.startswith("cp125") and f"Windows-{encoding[2:]}"
    return names.get(encoding) or windows or encoding.upper().replace("_", "-").replace("ISO8859", "ISO-8859")


def find(path: str, file: str, declared: str | None) -> Found:
    """The encoding of the table at `path`, which is read once or twice in blocks.

    file: its name for errors. declared: Python's name of what the campaign says, or None.
    Raises RecipientError: another format, octets that cannot be what they should be, two encodings in one file.
    """
    head = formats.refuse_other_formats(path, file)
    mark = next((encoding for octets, encoding in MARKS.items() if head.startswith(octets)), None)
    certain = mark or _by_nuls(head)
    with formats.opened(path, file) as table:
        if declared is not None:
            return _declared(table, file, declared, certain, "a byte order mark" if mark else "the NULs")
        encoding = certain or "utf-8"
        wrong = first_wrong(table, encoding)
        if wrong is None:
            return Found(encoding)
        if certain is not None:
            raise _undecodable(table, file, encoding, wrong, "as its first octets say", CSV_UTF_8)
        formats.refuse_binary(head, file)
        return Found(_guess(table, file, wrong), guessed=True)


def first_wrong(table, encoding: str) -> int | None:
    """Offset of the first octet that the encoding does not have there, None where there is none. table: an open file."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    fed = table.seek(0)
    while True:
        block = table.read(BLOCK_OCTETS)
        fed += len(block)
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            # What it complains about is the block behind the octets that it still held.
            return fed - len(error.object) + error.start
        if not block:
            return None


def _by_nuls(head):
    """ASCII, which every header of a table has some of, leaves NULs in UTF-16 and UTF-32, always in the same places."""
    units = len(head) // 4
    if not units:
        return None
    nuls = [head[place:4 * units:4].count(0) for place in range(4)]
    few = units // 20
    if nuls[2] + nuls[3] >= 2 * units - few and nuls[0] + nuls[1] <= units + few and nuls[0] <= few:
        return "utf-32-le"
    if nuls[0] + nuls[1] >= 2 * units - few and nuls[3] <= few:
        return "utf-32-be"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    if max(even, odd) > max(3, units // 5) and max(even, odd) > 4 * min(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _declared(table, file, declared, certain, why):
    encoding = declared
    if declared in WITH_MARK:
        encoding = certain if certain and certain.startswith(WITH_MARK[declared][:6].rstrip("-")) else WITH_MARK[declared]
    if certain is not None and certain != encoding:
        raise RecipientError(f"`encoding` says {label(declared)}, but {why} at the file's beginning says {label(certain)}", Place(file, 1),
                             "remove `encoding`: this file's is certain")
    wrong = first_wrong(table, encoding)
    if encoding.startswith("utf"):
        is_utf_8_too = False
    else:
        is_utf_8_too = first_wrong(table, "utf-8") is None and first_wrong(table, "ascii") is not None
    if wrong is not None:
        do = "remove `encoding`: all of the file is UTF-8" if is_utf_8_too else "correct `encoding`, or remove it to have the encoding found"
        raise _undecodable(table, file, encoding, wrong, "which `encoding` says", do)
    return Found(encoding, is_utf_8_too=is_utf_8_too)


def _undecodable(table, file, encoding, offset, why, do):
    table.seek(offset)
    octet = table.read(1)
    line = _line_of(table, encoding, offset)
    return RecipientError(f"octet {offset} (0x{octet[0]:02X}) is not {label(encoding)}, {why}", Place(file, line), do)


def _line_of(table, encoding, offset):
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    line, left = 1, offset - table.seek(0)
    while left:
        block = table.read(min(left, BLOCK_OCTETS))
        left = left - len(block) if block else 0
        line += decoder.decode(block, final=not left).count("\n")
    return line


# The guess

def _guess(table, file, wrong):
    table.seek(wrong)
    if HALF_CHARACTER.fullmatch(table.read(3)):
        raise _undecodable(table, file, "utf-8", wrong, "but half a character, as programs leave it that cut a text", "write the character anew")
    sample, valid, plain, invalid = _sample(table)
    mixed = _undecodable(table, file, "utf-8", wrong, f"but {valid:,} of the {valid + invalid:,} lines that are not ASCII are: the table mixes encodings",
                         f"correct this line and those like it, or {CSV_UTF_8} from where it comes")
    if valid >= invalid:
        raise mixed
    for encoding in ranked(sample):
        if first_wrong(table, encoding) is None:
            # Text of one octet a character is hardly ever valid UTF-8 by chance, that of two octets sometimes, but not with two
            # characters of three octets in a row.
            if plain or valid > 0.05 * invalid and SCRIPTS[encoding].alphabet != "wide":
                raise mixed
            return encoding
    raise _undecodable(table, file, "utf-8", wrong, "and nothing else that is known fits all of the file",
                       f"{CSV_UTF_8}, or say which it is with `encoding:` under `recipients`")


def _sample(table):
    """(the first lines that are not ASCII, how many of all such lines are UTF-8, how many of those plainly, how many are not)."""
    sample, size, valid, plain, invalid = [], 0, 0, 0, 0
    for line in _lines(table):
        if line.isascii():
            continue
        try:
            line.decode()
            valid += 1
            plain += bool(PLAINLY_UTF_8.search(line))
        except UnicodeDecodeError:
            invalid += 1
        if size < SAMPLE_OCTETS:
            sample.append(line[:MOST_OF_LINE])
            size += len(sample[-1])
    return b"".join(sample), valid, plain, invalid


def _lines(table):
    """The lines as octets, whatever ends them; of an endless one only its pieces."""
    rest = b""
    table.seek(0)
    while block := table.read(BLOCK_OCTETS):
        *lines, rest = (rest + block).splitlines(keepends=True)
        yield from lines
        if len(rest) >= BLOCK_OCTETS:
            yield rest
            rest = b""
    yield rest


def ranked(sample: bytes) -> list[str]:
    """The encodings that most of the sample's characters are usual in, the likeliest first."""
    scores = {}
    for encoding, script in SCRIPTS.items():
        score, share = _score(sample.decode(encoding, "replace"), script)
        if share > 0.5:
            scores[encoding] = score
    return sorted(scores, key=scores.get, reverse=True)


def _score(text, script):
    """(how likely the text is, in nats; the share of its characters beyond ASCII that are usual)."""
    usual, symbol, unusual = (math.log(share / size) for share, size in ((0.95, script.size), (0.02, len(SYMBOLS)),
                                                                         (0.03, 20_000 if script.alphabet == "wide" else 128)))
    score, seen, known, before = script.bonus, 0, 0, " "
    for character in text:
        here, there = character > "\x7f", before > "\x7f"
        if here:
            seen += 1
            found = usual if script.usual(character) else symbol if character in SYMBOLS else unusual
            known += found is not unusual
            score += found
        if (here or there) and character.isalpha() and before.isalpha():
            # Accents stand between plain letters; in other alphabets words are of one piece. And no capital follows a small letter.
            if (here == there) == (script.alphabet == "latin") or before.islower() and character.isupper():
                score -= 3
        before = character
    return score, known / seen if seen else 0


def _among(letters):
    known = frozenset(letters + letters.upper())
    return known.__contains__


def _between(encoding, low, high):
    """The characters that the standard put first because they are the everyday ones, as their two octets tell."""
    def usual(character):
        try:
            octets = character.encode(encoding)
        except UnicodeEncodeError:
            return False
        return len(octets) == 2 and low <= int.from_bytes(octets, "big") <= high

    return usual


def _japanese(character):
    return "\u3041" <= character <= "\u3096" or "\u30a1" <= character <= "\u30fc" or character == "々" or _JIS_LEVEL_1(character)


SYMBOLS = frozenset("’‘“”„–—…«»€£§°©®·№、。，（）・")
WEST = _among("àáâãäåæçèéêëìíîïñòóôõöøùúûüßœ")
EAST = _among("áäąâăčćçďđéęëěíîłľĺňńóôöőřŕšśşťţúůüűýžźżß")
CYRILLIC = _among("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўј")
GREEK = _among("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ")
_JIS_LEVEL_1 = _between("cp932", 0x889F, 0x9872)
# Level 1 of GB 2312 (rows 16 to 55), of Big5 (A440 to C67E), of JIS X 0208 (rows 16 to 47); the Hangul of KS X 1001 (rows 16 to 40).
SCRIPTS = {"gb18030": Script(_between("gb2312", 0xB0A1, 0xD7F9), 3755, 4, "wide"), "cp1252": Script(WEST, 33, 4, "latin"),
           "cp932": Script(_japanese, 3135, 2, "wide"), "big5": Script(_between("big5", 0xA440, 0xC67E), 5401, 1, "wide"),
           "cp949": Script(_between("euc_kr", 0xB0A1, 0xC8FE), 2350, 1, "wide"), "cp1251": Script(CYRILLIC, 40, 1, "other"),
           "cp1250": Script(EAST, 40, 0.5, "latin"), "cp1254": Script(_among("çğıöşüâîûİ"), 20, 0, "latin"), "cp1253": Script(GREEK, 40, 0, "other"),
           "cp1255": Script(lambda character: "\u05d0" <= character <= "\u05ea", 27, 0, "other"),
           "cp1256": Script(lambda character: "\u0621" <= character <= "\u064a" or character in "پچژگی", 40, 0, "other"),
           "cp874": Script(lambda character: "\u0e01" <= character <= "\u0e4e", 50, -2, "other"),
           "euc_jp": Script(_japanese, 3135, 0, "wide"),
           "koi8-r": Script(CYRILLIC, 40, -1, "other"), "cp866": Script(CYRILLIC, 40, -2, "other"), "mac-cyrillic": Script(CYRILLIC, 40, -4, "other"),
           "iso8859-2": Script(EAST, 40, -6, "latin"), "cp850": Script(WEST, 33, -8, "latin"), "mac-roman": Script(WEST, 33, -8, "latin"),
           # Those that can read more than the first ones, for a file in which these fail.
           "cp950": Script(_between("big5", 0xA440, 0xC67E), 5401, 0, "wide"), "big5hkscs": Script(_between("big5", 0xA440, 0xC67E), 5401, -1, "wide"),
           "iso8859-1": Script(WEST, 33, -1, "latin")}
