"""Read tables as spreadsheets, other systems and people write them: CSV in many dialects.

The encoding, the delimiter and the order of the columns are found out. Cells are stripped of
blanks, and every fault has the number of its line.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_FILE_BYTES = 64 * 2**20
"""The largest file that is read; the roster of a million students is smaller."""

_DELIMITERS = ",;\t|"
_TEXT_FORMULA = re.compile(r'="(.*)"')
_FORMULA_PREFIX = ("=", "+", "-", "@")


class TableError(Exception):
    """A file cannot be read as a table. ``faults`` has one sentence for each reason."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a kind of table; the first is required.

    synonyms: what other systems call each, in small letters, without blanks and accents.
    substitute: a header that names the first column where there is no better one.
    """

    synonyms: Mapping[str, Collection[str]]
    substitute: str | None = None

    @property
    def required(self) -> str:
        return next(iter(self.synonyms))

    def find(self, cell: str) -> str | None:
        """Return the column that a cell of the header names; None when it is no column."""
        simple = _simplify(cell)
        return next((column for column, names in self.synonyms.items() if simple in names), None)


@dataclass(slots=True)
class Table:
    """The rows of a table, each with its line and its cells by column; no cell is None.

    Columns that the file has not are not among the cells. notes: what was odd and yet accepted.
    """

    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def raise_faults(self) -> None:
        """Raise TableError with all faults, in the order of their lines, if there are any."""
        if self.faults:
            raise TableError(*(fault for _, fault in sorted(self.faults)))


def read_file(path: Path) -> bytes:
    """Return the content of a file. Raises TableError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise TableError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes; is it the right file?")
    return content


def read_table(content: bytes, columns: Columns, encoding: str | None = None) -> Table:
    """Return the table in a file. Raises TableError when it has no header that can be used.

    Faults of single rows are in the result, for the caller to add to.

    encoding: the file's; by default it is found out.
    """
    table = Table()
    text = _decode(content, encoding, table.notes)
    if "\0" in text:
        raise TableError("this is not a text file: save it as 'CSV UTF-8'")
    delimiter, header_line, header = _find_header(text, columns)
    places = _find_columns(table, columns, header_line, header)
    for line, row in _read_rows(text, delimiter, table.faults):
        if line <= header_line:
            continue
        if any(row[len(header) :]):
            fault = (
                f"line {line} has {len(row)} fields, the header {len(header)}: put a text with "
                "the delimiter in it into quotation marks"
            )
            table.faults.append((line, fault))
            continue
        # Excel leaves out delimiters at the end of some rows.
        row += [""] * (len(header) - len(row))
        table.rows.append((line, {column: _unwrap(row[place]) for column, place in places.items()}))
    return table


def escape_formula(cell: str) -> str:
    """Return a cell with an apostrophe before what a spreadsheet would read as a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA_PREFIX) else cell


def _unwrap(cell: str) -> str:
    """Return a cell without the marks that keep a spreadsheet from changing it."""
    if match := _TEXT_FORMULA.fullmatch(cell):
        return match[1].strip()
    if cell.startswith("'") and cell[1:].startswith(_FORMULA_PREFIX):
        return cell[1:]
    return cell


def _decode(content: bytes, encoding: str | None, notes: list[str]) -> str:
    """Return the text of a file, and add a note when its encoding had to be guessed."""
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise TableError("this is a workbook, not CSV: save it as 'CSV UTF-8'")
    known = encoding or _detect_encoding(content)
    try:
        if known is not None:
            return content.decode(known).removeprefix("\ufeff")
    except LookupError as error:
        raise TableError(f"there is no encoding {known!r}") from error
    except UnicodeError as error:
        raise TableError(f"the file is not {known}; save it as 'CSV UTF-8'") from error
    notes.append(
        "the file is not UTF-8 and was read as Windows-1252; if accented letters are wrong, save "
        "it as 'CSV UTF-8'"
    )
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _detect_encoding(content: bytes) -> str | None:
    """Return the encoding of a file; None when it is one of those with one byte per character."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    # In ASCII as UTF-16 every other byte is zero, and a header is ASCII in most languages.
    sample = content[:200]
    for start, name in ((0, "UTF-16-BE"), (1, "UTF-16-LE")):
        zeros = sample[start::2]
        if len(zeros) > 2 and zeros.count(0) > 0.9 * len(zeros):
            return name
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return "UTF-8"


def _find_header(text: str, columns: Columns) -> tuple[str, int, list[str]]:
    """Return the delimiter, and the line and the cells of the header. Raises TableError."""
    delimiters = _DELIMITERS
    # Excel writes and reads a first line that states the delimiter.
    if stated := re.match(r'\s*"?sep=(.)"?\r?$', text, re.MULTILINE):
        delimiters = stated[1]
    faults: list[tuple[int, str]] = []
    candidates = []
    for delimiter in delimiters:
        rows = _read_rows(text, delimiter, faults)
        if stated:
            next(rows, None)
        if first := next(rows, None):
            candidates.append((delimiter, *first))
    if not candidates:
        raise TableError(faults[0][1] if faults else "the file is empty")
    return max(candidates, key=lambda each: sum(columns.find(cell) is not None for cell in each[2]))


def _find_columns(table: Table, columns: Columns, line: int, header: list[str]) -> dict[str, int]:
    """Return the place of each column that the header names. Raises TableError without the first.

    Two columns of one meaning are a fault, and other columns a note.
    """
    places: dict[str, int] = {}
    others: dict[int, str] = {}
    for place, cell in enumerate(header):
        column = columns.find(cell)
        if column is None:
            if cell:
                others[place] = cell
        elif column in places:
            fault = (
                f"line {line}: the columns {header[places[column]]!r} and {cell!r} may both be "
                f"the {column}; remove one"
            )
            table.faults.append((line, fault))
        else:
            places[column] = place
    if columns.required not in places:
        substitutes = [at for at, cell in others.items() if _simplify(cell) == columns.substitute]
        if not substitutes:
            raise TableError(
                f"line {line} has no column {columns.required}: the first line names the columns, "
                f"as in {','.join(columns.synonyms)}"
            )
        places[columns.required] = substitutes[0]
        del others[substitutes[0]]
    if others:
        names = ", ".join(map(repr, others.values()))
        table.notes.append(f"line {line}: columns that are not used: {names}")
    return places


def _read_rows(
    text: str, delimiter: str, faults: list[tuple[int, str]]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the number of its first line.

    Faults of the CSV format are added to ``faults``.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    while True:
        line = reader.line_num + 1
        try:
            row = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            faults.append((line, f"line {line}: {_explain(error)}"))
            continue
        if any(row):
            yield line, row


def _simplify(cell: str) -> str:
    """Return the letters of a header in small and without accents, for a comparison."""
    decomposed = unicodedata.normalize("NFKD", cell.casefold())
    return "".join(char for char in decomposed if char.isalnum())


def _explain(error: csv.Error) -> str:
    """Return the sentence for an error of the CSV format."""
    text = str(error)
    if "unexpected end of data" in text:
        return "a quotation mark opens here and is never closed"
    if "expected after" in text:
        return (
            "text follows a closing quotation mark; inside a quoted text, write a quotation mark "
            "twice"
        )
    return f"it is not CSV ({text})"
