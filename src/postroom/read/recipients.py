"""The recipients' table: a CSV file to rows in chunks, every cell the text of the file.

The standard `csv` reader splits, because it alone knows the physical line and sees a row that is too short or too
long. Memory does not grow with the table.
"""

import csv
import difflib
import io
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from postroom.address import AddressError, Mailbox, parse_mailbox, shown
from postroom.errors import CampaignError, Place, RecipientError
from postroom.read import encoding, formats, formulas
from postroom.read.project import display
from postroom.read.where import Where

DELIMITERS = ",;\t|"
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}
# A row is bounded too, so that a file without line ends, or without a closing quote, is told and not read whole.
MOST_CELL, MOST_ROW, MOST_COLUMNS, CHUNK_ROWS = 1 << 20, 8 << 20, 1000, 1000
CHUNK_CHARACTERS = 4 << 20
SHOWN_CELLS = 3


class Guess(NamedTuple):
    """An encoding that is not certain, and (line, column, text) of the first cells that would be read otherwise in another one."""

    encoding: str
    cells: tuple[tuple[int, str, str], ...]


class Table:
    """An open table: its columns are known, its rows come with chunks().

    columns: the header's names, trimmed, and those that `columns` gives a default for all rows. email: the one that holds the address.
    encoding: Python's name of it; declared: as the campaign says, or None. guess: a Guess where it is not certain, else None; guess_words() says it to a person.
    notes: what a person should know, such as trimmed names.
    blank: rows without any text, left out; left_out: rows that `where` is not true for; both complete once chunks() has ended.
    """

    def __init__(self, campaign):
        settings = campaign.recipients
        self.email = settings.email
        self.place = campaign.place("recipients", "file")
        self.real = campaign.project.resolve(settings.file, self.place)
        self.file = display(self.real)
        self.notes, self.blank, self.left_out = [], 0, 0
        found = encoding.find(self.real, self.file, settings.encoding)
        self.encoding = found.encoding
        if found.is_utf_8_too:
            self.notes.append(CampaignError(f"`encoding` says {encoding.label(self.encoding)}, yet all of the file is UTF-8 too",
                                            campaign.place("recipients", "encoding"), "remove `encoding` if letters come out wrong"))
        self.declared = settings.encoding
        self.delimiter = settings.delimiter or self._delimiter(settings.email)
        try:
            names = self._header(self.delimiter)
        except csv.Error as error:
            raise RecipientError(self._csv_words(error), Place(self.file, 1), "correct the quotes in the header") from None
        # What `report --failed` wrote with cells that a spreadsheet would run.
        self.is_defused = names[-1].strip() == formulas.MARK
        self.columns = self._columns([formulas.restored(name) for name in names[:-1]] if self.is_defused else names)
        self.cells = len(self.columns)
        for column in dict.fromkeys((settings.email, *(settings.key or ()))):
            if column not in self.columns:
                raise RecipientError(f'there is no column "{shown(column)}"; the columns are: '
                                     f"{', '.join(map(shown, self.columns))}", Place(self.file, 1),
                                     f"name the column in the campaign's `recipients`, or `delimiter` if this is not a "
                                     f"{NAMES[self.delimiter]}-separated table")
        self._meanings(campaign)
        self.where = Where(settings.where, campaign.place("recipients", "where"), self.columns, campaign.vars) if settings.where else None
        self.guess = Guess(self.encoding, tuple(itertools.islice(self._telling_cells(), SHOWN_CELLS))) if found.guessed else None

    def chunks(self, report) -> Iterator[list[tuple[int, dict[str, str]]]]:
        """The rows in lists, at most CHUNK_ROWS rows each. report, raises: as of rows()."""
        rows, size = [], 0
        for line, row in self.rows(report):
            rows.append((line, row))
            size += sum(map(len, row.values()))
            if len(rows) == CHUNK_ROWS or size > CHUNK_CHARACTERS:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def rows(self, report) -> Iterator[tuple[int, dict[str, str]]]:
        """(physical line that the row begins in, its text by column) of each row.

        report: called with a RecipientError or CampaignError for each row that is too short or too long, lacks a required cell, or
        that `where` fails for; the row is left out. Raises RecipientError where the file cannot be read on: bad quotes, a huge cell; and
        CampaignError where `where` has no end.
        """
        self.blank = self.left_out = 0
        for line, row in self._rows():
            if not any(map(str.strip, row)):
                self.blank += 1
                continue
            try:
                whole = self._whole(line, row)
            except (RecipientError, CampaignError) as error:
                if error.ends_it:
                    raise
                report(error)
                continue
            if whole is None:
                self.left_out += 1
                continue
            yield line, dict(zip(self.columns, whole, strict=True))

    def as_written(self, report) -> Iterator[tuple[int, list[str], dict | None]]:
        """(line, cells as they stand in the file, the row by its columns or None where `where` leaves it out) of each row with any text.

        Too few cells are filled up with empty ones where the campaign has defaults. report, raises: as of chunks().
        """
        for line, row in self._rows():
            if not any(cell.strip() for cell in row):
                continue
            try:
                filled = self._filled(line, [*row])
                wanted = self._is_wanted(line, filled)
            except (RecipientError, CampaignError) as error:
                report(error)
                continue
            yield line, row + [""] * (self.cells - len(row)), dict(zip(self.columns, filled, strict=True)) if wanted else None

    def guess_words(self) -> CampaignError:
        """What the guessed encoding makes of the table, and how it is settled."""
        cells = "; ".join(f'line {line}, {shown(column)}: "{shown(cell)}"' for line, column, cell in self.guess.cells)
        return CampaignError(f"read as {encoding.label(self.encoding)}, which is a guess" + (f": {cells}" if cells else ""), Place(self.file),
                             f"if that is right, say `encoding: {self.encoding}` under `recipients`; if not, name the right one, "
                             "or save the table as CSV UTF-8")

    def own(self, row: dict, line: int) -> Mailbox:
        """The mailbox in the row's address column. Raises RecipientError with line and column."""
        cell = row[self.email]
        try:
            mailbox = parse_mailbox(cell)
        except AddressError as error:
            raise RecipientError(str(error), Place(self.file, line, self.email), "correct it") from None
        if mailbox is None:
            raise RecipientError("the address is empty", Place(self.file, line, self.email), "fill it in, or remove the row")
        if mailbox.name or "<" in cell:
            raise RecipientError(f'"{shown(cell)}" is a name and an address; a bare address is wanted here', Place(self.file, line, self.email),
                                 "put the name into a column of its own, and write `to: \"{{ name }} <{{ email }}>\"`")
        return mailbox

    def faults(self, most: int) -> list[RecipientError | CampaignError]:
        """What is wrong with the table by itself, whatever the templates make of it; the first so many."""
        found = []
        try:
            for chunk in self.chunks(found.append):
                for line, row in chunk:
                    try:
                        self.own(row, line)
                    except RecipientError as error:
                        found.append(error)
                if len(found) >= most:
                    break
        except (RecipientError, CampaignError) as error:
            found.append(error)
        return sorted(found[:most], key=lambda fault: fault.where.row or fault.where.line)

    # Rows

    def _whole(self, line, row):
        """The row with its defaults, None where `where` leaves it out. Raises RecipientError, CampaignError."""
        row = self._filled(line, row)
        if not self._is_wanted(line, row):
            return None
        for place in self.required:
            if not row[place].strip():
                raise RecipientError("the cell is empty, and the campaign says that it is required", Place(self.file, line, self.columns[place]),
                                     "fill it in, or leave the row out with `where`")
        return row

    def _filled(self, line, row):
        if len(row) != self.cells and (len(row) > self.cells or any(place not in self.defaults for place in range(len(row), self.cells))):
            raise self._wrong_length(line, row)
        row += [""] * (len(self.columns) - len(row))
        for place, default in self.defaults.items():
            if not row[place].strip():
                row[place] = default
        return row

    def _is_wanted(self, line, row):
        return self.where is None or self.where.matches(dict(zip(self.columns, row, strict=True)), line)

    def _wrong_length(self, line, row):
        if len(row) < self.cells:
            what = f"the row has {len(row)} cells, the header {self.cells}: {shown(self.columns[len(row)])} and what follows is missing"
            do = "add the missing cells, empty ones too; or give each a `default` under `columns`"
        else:
            what = f'the row has {len(row)} cells, the header {self.cells}: "{shown(row[self.cells])}" is too much'
            do = f"put a cell that holds a {NAMES[self.delimiter]} into quotes"
        return RecipientError(what, Place(self.file, line), do)

    def _rows(self):
        """(line, cells) of each row behind the header."""
        csv.field_size_limit(MOST_CELL)
        with self._opened() as file:
            lines = _Lines(file, self.file, self.delimiter)
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            line = 1
            try:
                next(reader, None)
                line = lines.next_row()
                for row in reader:
                    yield line, self._restored(row) if self.is_defused else row
                    line = lines.next_row()
            except csv.Error as error:
                raise RecipientError(self._csv_words(error), Place(self.file, line),
                                     'a cell with quotes, line breaks or separators is written "like ""this"""') from None
            except UnicodeDecodeError:
                raise self._changed() from None

    def _restored(self, row):
        if len(row) != self.cells + 1:
            return row
        return [formulas.restored(cell) for cell in row[:-1]] if row[-1].strip() else row[:-1]

    def _telling_cells(self):
        """(line, column, text) of cells that are not ASCII, each text once; the header's own come last."""
        seen = set()
        rows = itertools.chain(self._rows(), [(1, self.columns[:self.cells])])
        try:
            for line, row in rows:
                for column, cell in zip(self.columns, row):
                    if not cell.isascii() and cell not in seen:
                        seen.add(cell)
                        yield line, column, cell
        except RecipientError:
            # Whoever reads the rows is told of it.
            return

    def _csv_words(self, error):
        words = str(error)
        if "field larger" in words:
            return _TOO_LONG
        if "unexpected end of data" in words:
            return "a quote that opens in this row is never closed"
        return f"the quotes in this row do not match ({words})"

    def _opened(self):
        return io.TextIOWrapper(formats.opened(self.real, self.file), encoding=self.encoding, newline="")

    def _changed(self):
        return RecipientError("the file changed while it was read", Place(self.file), "run again")

    # The header

    def _header(self, delimiter):
        """The names as written; a name in quotes may span lines. Raises csv.Error where its quotes do not match."""
        csv.field_size_limit(MOST_CELL)
        try:
            with self._opened() as file:
                names = next(csv.reader(_Lines(file, self.file, delimiter), delimiter=delimiter, strict=True), [])
        except UnicodeDecodeError:
            raise self._changed() from None
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

    def _meanings(self, campaign):
        """What the campaign's `columns` say, by a column's place in the row; those that only have a default are added."""
        self.defaults, self.required = {}, []
        for name, column in campaign.recipients.columns.items():
            place, near = campaign.place("recipients", "columns", name), difflib.get_close_matches(name, self.columns, 1)
            if name not in self.columns:
                if column.default is None:
                    raise CampaignError(f'there is no column "{shown(name)}"; the columns are: {", ".join(map(shown, self.columns))}', place,
                                        f'did you mean "{near[0]}"?' if near else "correct the name, or give it a `default`")
                self.notes.append(CampaignError(f'the table has no column "{shown(name)}": it is "{shown(column.default)}" for every row', place,
                                                f'did you mean "{near[0]}"?' if near else None))
                self.columns = [*self.columns, name]
            if column.default is not None:
                self.defaults[self.columns.index(name)] = column.default
            elif column.required:
                self.required.append(self.columns.index(name))


_TOO_LONG = f"a cell here has over {MOST_CELL:,} characters; is a quote never closed?"


class _Lines:
    """The physical lines of a file for the csv reader, as many characters of them for one row as a row may have."""

    def __init__(self, file, name, delimiter):
        self.file, self.name, self.delimiter = file, name, delimiter
        self.line, self.row, self.left = 0, 1, MOST_ROW

    def next_row(self) -> int:
        """The line that the next row begins in; said before it is read."""
        self.row, self.left = self.line + 1, MOST_ROW
        return self.row

    def __iter__(self):
        return self

    def __next__(self):
        line = self.file.readline(self.left)
        self.line += 1
        if self.line == 1:
            line = line.lstrip("\ufeff")
        room, self.left = self.left, self.left - len(line)
        if not line and room:
            raise StopIteration
        if not line or not self.left and line[-1] not in "\r\n":
            raise self._too_long(line)
        if "\0" in line:
            raise RecipientError("there is a NUL character in this line; is this a text file?", Place(self.name, self.line), formats.ANY)
        return line

    def _too_long(self, line):
        cells, place = line.count(self.delimiter) + 1, Place(self.name, self.row)
        if cells == 1 or len(line) // cells > MOST_CELL:
            return RecipientError(_TOO_LONG, place, "close the quote, end the lines, or make the cell shorter")
        if cells > MOST_COLUMNS:
            return RecipientError(f"there are over {cells:,} cells in this row; at most {MOST_COLUMNS:,} columns are read", place, "remove some")
        return RecipientError(f"this row has over {MOST_ROW:,} characters; is a line end missing?", place, "make it shorter")
