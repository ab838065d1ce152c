"""The recipients' table: a CSV file to rows in chunks, every cell the text of the file.

The standard `csv` reader splits, because it alone knows the physical line and sees a row that is too short or too
long; pandas holds the chunks for what works on whole columns. Memory does not grow with the table.
"""

import csv
import io
from collections.abc import Iterator

import pandas

from postroom.address import AddressError, Mailbox, parse_mailbox, shown
from postroom.errors import CampaignError, Place, RecipientError
from postroom.read.project import display

DELIMITERS = ",;\t|"
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}
MOST_CELL, MOST_COLUMNS, CHUNK_ROWS = 1 << 20, 1000, 1000
# What other formats begin with: the advice is better than "octet 0 is not UTF-8".
SIGNATURES = {b"PK\x03\x04": "a spreadsheet or zip file", b"\xd0\xcf\x11\xe0": "an old Excel file",
              b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text", b"%PDF": "a PDF"}


class Table:
    """An open table: its columns are known, its rows come with chunks().

    columns: the header's names, trimmed. email: the one that holds the address. notes: what a person should know, such as trimmed names.
    blank: rows without any text, left out; complete once chunks() has ended.
    """

    def __init__(self, campaign):
        settings = campaign.recipients
        self.email = settings.email
        self.place = campaign.place("recipients", "file")
        self.real = campaign.project.resolve(settings.file, self.place)
        self.file = display(self.real)
        self.notes, self.blank = [], 0
        self.delimiter = settings.delimiter or self._delimiter(settings.email)
        try:
            self.columns = self._columns(self._header(self.delimiter))
        except csv.Error as error:
            raise RecipientError(self._csv_words(error), Place(self.file, 1), "correct the quotes in the header") from None
        for column in dict.fromkeys((settings.email, *(settings.key or ()))):
            if column not in self.columns:
                raise RecipientError(f'there is no column "{shown(column)}"; the columns are: '
                                     f"{', '.join(map(shown, self.columns))}", Place(self.file, 1),
                                     f"name the column in the campaign's `recipients`, or `delimiter` if this is not a "
                                     f"{NAMES[self.delimiter]}-separated table")

    def chunks(self, report) -> Iterator[pandas.DataFrame]:
        """DataFrames of text, at most CHUNK_ROWS rows each, indexed by the physical line a row begins in.

        report: called with a RecipientError for each row that is too short or too long; the row is left out.
        Raises RecipientError where the file cannot be read on: bad quotes, octets that are not UTF-8, a huge cell.
        """
        lines, rows = [], []
        self.blank = 0
        for line, row in self._rows():
            if not any(cell.strip() for cell in row):
                self.blank += 1
            elif len(row) != len(self.columns):
                report(self._wrong_length(line, row))
            else:
                lines.append(line)
                rows.append(row)
            if len(rows) == CHUNK_ROWS:
                yield pandas.DataFrame(rows, index=lines, columns=self.columns, dtype=object)
                lines, rows = [], []
        if rows:
            yield pandas.DataFrame(rows, index=lines, columns=self.columns, dtype=object)

    def own(self, row: dict, line: int) -> Mailbox:
        """The mailbox in the row's address column. Raises RecipientError with line and column."""
        cell, place = row[self.email], Place(self.file, line, self.email)
        try:
            mailbox = parse_mailbox(cell)
        except AddressError as error:
            raise RecipientError(str(error), place, "correct it") from None
        if mailbox is None:
            raise RecipientError("the address is empty", place, "fill it in, or remove the row")
        if mailbox.name or "<" in cell:
            raise RecipientError(f'"{shown(cell)}" is a name and an address; a bare address is wanted here', place,
                                 "put the name into a column of its own, and write `to: \"{{ name }} <{{ email }}>\"`")
        return mailbox

    def faults(self, most: int) -> list[RecipientError]:
        """What is wrong with the table by itself, whatever the templates make of it; the first so many."""
        found = []
        try:
            for chunk in self.chunks(found.append):
                for line, row in zip(chunk.index.tolist(), chunk.to_dict("records"), strict=True):
                    try:
                        self.own(row, line)
                    except RecipientError as error:
                        found.append(error)
                if len(found) >= most:
                    break
        except RecipientError as error:
            found.append(error)
        return sorted(found[:most], key=lambda fault: fault.where.line)

    def _rows(self):
        """(line, cells) of each row behind the header."""
        csv.field_size_limit(MOST_CELL)
        with self._opened() as file:
            reader = csv.reader(_without_nul(file, self.file), delimiter=self.delimiter, strict=True)
            line = 1
            try:
                next(reader, None)
                line = reader.line_num + 1
                for row in reader:
                    yield line, row
                    line = reader.line_num + 1
            except csv.Error as error:
                raise RecipientError(self._csv_words(error), Place(self.file, line),
                                     'a cell with quotes, line breaks or separators is written "like ""this"""') from None
            except UnicodeDecodeError:
                raise self._undecodable() from None

    def _csv_words(self, error):
        words = str(error)
        if "field larger" in words:
            return f"a cell here has over {MOST_CELL:,} characters; is a quote never closed?"
        if "unexpected end of data" in words:
            return "a quote that opens in this row is never closed"
        return f"the quotes in this row do not match ({words})"

    def _wrong_length(self, line, row):
        wanted = len(self.columns)
        if len(row) < wanted:
            what = f"the row has {len(row)} cells, the header {wanted}: {shown(self.columns[len(row)])} and what follows is missing"
            do = "add the missing cells, empty ones too"
        else:
            what = f'the row has {len(row)} cells, the header {wanted}: "{shown(row[wanted])}" is too much'
            do = f"put a cell that holds a {NAMES[self.delimiter]} into quotes"
        return RecipientError(what, Place(self.file, line), do)

    def _opened(self):
        try:
            file = open(self.real, "rb")
        except OSError as error:
            raise RecipientError((error.strerror or "it cannot be read").lower(), Place(self.file), "make it readable") from None
        head = file.read(4)
        for signature, what in SIGNATURES.items():
            if head.startswith(signature):
                file.close()
                raise RecipientError(f"this is {what}, not a CSV file in UTF-8", Place(self.file), "save it as CSV (UTF-8)")
        file.seek(0)
        return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")

    def _header(self, delimiter):
        """The names as written; a name in quotes may span lines. Raises csv.Error where its quotes do not match."""
        try:
            with self._opened() as file:
                names = next(csv.reader(_without_nul(file, self.file), delimiter=delimiter, strict=True), [])
        except UnicodeDecodeError:
            raise self._undecodable() from None
        if not any(name.strip() for name in names):
            raise RecipientError("the table is empty: there is no header in its first line", Place(self.file, 1),
                                 "begin with a line of column names, such as email,first_name")
        return names

    def _delimiter(self, email):
        """The one that makes the header hold the address column; else the one with most columns, for a good error."""
        headers = {}
        for delimiter in DELIMITERS:
            try:
                headers[delimiter] = self._header(delimiter)
            except csv.Error:
                # Quotes around names end where another delimiter stands.
                continue
            if email in (name.strip() for name in headers[delimiter]):
                return delimiter
        return max(headers, key=lambda delimiter: len(headers[delimiter]), default=DELIMITERS[0])

    def _columns(self, names):
        place = Place(self.file, 1)
        if len(names) > MOST_COLUMNS:
            raise RecipientError(f"there are {len(names):,} columns; at most {MOST_COLUMNS:,} are read", place, "remove some")
        trimmed = [name.strip() for name in names]
        for number, (name, written) in enumerate(zip(trimmed, names, strict=True), 1):
            if not name:
                raise RecipientError("a column has no name", Place(self.file, 1, number), "give it a name, or remove the column")
            if name in trimmed[: number - 1]:
                raise RecipientError(f'two columns are called "{shown(name)}"', Place(self.file, 1, number), "rename one of them")
            if name != written:
                self.notes.append(CampaignError(f'blanks around the column name "{shown(name)}" were left out', place, "remove them"))
        return trimmed

    def _undecodable(self):
        """Where exactly the first octet stands that is not UTF-8: the decoder only knows its place in a block."""
        offset = line = 0
        with open(self.real, "rb") as file:
            for octets in file:
                line += 1
                try:
                    octets.decode()
                except UnicodeDecodeError as error:
                    return RecipientError(f"octet {offset + error.start} (0x{octets[error.start]:02X}) is not UTF-8",
                                          Place(self.file, line), "save the table as UTF-8")
                offset += len(octets)
        return RecipientError("the file changed while it was read", Place(self.file), "run again")


def _without_nul(lines, file):
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise RecipientError("there is a NUL character in this line; is this a text file?", Place(file, number), "save it as CSV (UTF-8)")
        yield line
