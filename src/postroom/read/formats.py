"""What a file is that was named as the table and is no text: said by name, with the way to a CSV file."""

from postroom.errors import Place, RecipientError
from postroom.read.project import open_real

HEAD_OCTETS = 4096
EXCEL = "open it in its program, choose File > Save As > CSV UTF-8 (Comma delimited), and name that file"
OTHERS = "open it in its program, save or export it as CSV in UTF-8, and name that file"
ANY = "name a text file; spreadsheet programs write one with File > Save As > CSV (UTF-8)"
# Spreadsheets are zip files; what they are stands in the names of their parts, at the file's two ends.
ZIPPED = {b"xl/": ("an Excel workbook (.xlsx)", EXCEL), b"opendocument.spreadsheet": ("an OpenDocument spreadsheet (.ods)", OTHERS),
          b"Index/Document.iwa": ("a Numbers spreadsheet", OTHERS), b"": ("a zip file", "unpack it, and name the CSV file in it")}
SIGNATURES = {b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old Excel workbook (.xls) or another old Office file", EXCEL),
              b"%PDF-": ("a PDF", ANY), b"{\\rtf": ("a text document (RTF)", ANY), b"\x1f\x8b": ("a gzip file", "unpack it, and name the CSV file in it"),
              b"7z\xbc\xaf\x27\x1c": ("a 7z file", "unpack it, and name the CSV file in it"), b"SQLite format 3\0": ("an SQLite database", ANY),
              b"PAR1": ("a Parquet file", ANY), b"\x89PNG": ("a picture", ANY), b"\xff\xd8\xff": ("a picture", ANY), b"GIF8": ("a picture", ANY)}
# A page or XML under the name of a table, as some web programs call their exports .xls.
MARKUP = {b"<!doctype html": "an HTML page", b"<html": "an HTML page", b"<table": "an HTML page", b"<?xml": "an XML file"}
CONTROLS = bytes(number for number in range(32) if number not in b"\t\n\r\f\x1b")
MOST_CONTROLS = 0.05


def refuse_other_formats(path: str, file: str) -> bytes:
    """The first octets of a table at `path`. Raises RecipientError for what is another format, by its content alone. file: its name for errors."""
    with opened(path, file) as table:
        head = table.read(HEAD_OCTETS)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            table.seek(max(0, table.seek(0, 2) - (64 << 10)))
            ends = head + table.read()
            raise _is(file, *next(said for part, said in ZIPPED.items() if part in ends))
    for signature, said in SIGNATURES.items():
        if head.startswith(signature):
            raise _is(file, *said)
    begins = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    for markup, what in MARKUP.items():
        if begins.startswith(markup):
            raise _is(file, what, EXCEL)
    return head


def refuse_binary(head: bytes, file: str) -> None:
    """Raises RecipientError where octets of one octet a character are too full of control characters to be anybody's text."""
    if sum(map(head.count, (bytes([number]) for number in CONTROLS))) > MOST_CONTROLS * len(head):
        number = next(number for number, octet in enumerate(head) if octet in CONTROLS)
        raise RecipientError(f"this is no text: octet {number} is 0x{head[number]:02X}, and there are many like it", Place(file), ANY)


def opened(path: str, file: str):
    """The file at a real path, for reading octets. Raises RecipientError."""
    try:
        return open_real(path)
    except OSError as error:
        raise RecipientError((error.strerror or "it cannot be read").lower(), Place(file), "make it readable") from None


def _is(file, what, do):
    return RecipientError(f"this is {what}, not a table in text (CSV)", Place(file), do)
