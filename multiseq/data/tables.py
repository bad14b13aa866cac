"""Reading tables: CSV and other delimited text, Parquet and Excel. Cells are returned as text, unchanged.

Delimited text is read by Python's `csv`, because no other library tells the line of each row. Parquet is read
by pyarrow and Excel by openpyxl (``pip install 'multiseq[tables]'``). Measurements:
docs/decisions/0011-tables.md.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

from multiseq.checks import no_such
from multiseq.data.bad_rows import Reject, stop
from multiseq.data.records import DataError
from multiseq.data.text_files import check_unpacked, no_such_file, open_text, suffix_of
from multiseq.requires import need

__all__ = ["BINARY", "SEPARATORS", "TABLES", "Table", "as_text", "open_table", "sheet_sizes"]

EXCEL = (".xlsx", ".xlsm")
BINARY = (".parquet", *EXCEL)
TABLES = (".csv", ".tsv", ".tab", *BINARY)
"""Suffixes of file names that mean a table."""

SEPARATORS = (";", "\t", "|", ",")
"""Possible separators in a text file. If two fit equally well, the first is taken: it may be that the others
stand in names or in decimal numbers."""

SAMPLE = 50
"""Lines that are looked at to find the separator."""

_NAMED = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
"""A line before the header that names the separator, as Excel writes and reads it."""

NONE = "\0"
"""The separator of a table with one column: a character that no text file contains."""

ROWS = 256
"""Rows that are read at a time. With so few, Python's garbage collector does not start, which would take
longer than reading."""

RowBatch = tuple[Sequence[int], list[Sequence[Any]]]
"""The line number at which each row begins, and the cells of each column."""


@dataclass
class Table:
    """A table that is being read.

    Args:
        names: The names of the columns, without blanks at their ends.
        batches: The rows in batches, in the order of the file. Rows without a filled cell are left out.
    """

    names: list[str]
    batches: Iterator[RowBatch]

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Row by row: (line number, {column: cell})."""
        for lines, columns in self.batches:
            for line, *row in zip(lines, *columns, strict=True):
                yield line, dict(zip(self.names, row, strict=True))


def open_table(
    path: Path,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    sheet: str | None = None,
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Table:
    """Open a table with a header.

    Args:
        path: The file; its suffix decides the format. ``.parquet``, ``.xlsx`` and ``.xlsm`` are Parquet and
            Excel. In ``.tsv`` and ``.tab`` files, tabs separate the cells. In other text files it is the
            comma, semicolon, tab or bar of the header that divides the first rows most evenly; a header
            without any of them is a table with one column. Cells can be quoted, except between tabs: there
            quotes are ordinary characters, unless all names in the header are quoted.
        encoding: The encoding of a text file.
        separator: Another separator for a text file. If it is given, cells can be quoted in any text file.
            A first line ``sep=;``, as Excel writes it, gives it too, and is not read as the header.
        sheet: The sheet of an Excel file that has several with cells. Other files have none.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a row with too few or too many cells, or with wrong quotes.

    Raises:
        DataError: The file is not such a table. The message names the line if there is one.
    """
    suffix = suffix_of(path)
    if suffix in BINARY:
        if not path.is_file():
            raise no_such_file(path)
        parquet = suffix == ".parquet"
        batches = (
            _parquet(path, unpack_limit, reject) if parquet else _excel(path, sheet, unpack_limit, reject)
        )
    else:
        batches = _text(path, encoding, separator, unpack_limit, reject)
    names = [str(name).strip() for name in next(batches, [])]
    if not any(names):
        raise DataError(f"{path}: empty, expected a header line")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}:1: got two columns {twice!r}, expected different names")
    return Table(names, batches)


# --- text -----------------------------------------------------------------------------------------


def _text(
    path: Path, encoding: str, separator: str | None, unpack_limit: int | None, reject: Reject
) -> Iterator[Any]:
    """Yield the header, then batches of rows."""
    with open_text(path, encoding, unpack_limit) as file:
        sample = list(islice(file, SAMPLE))
        named = _NAMED.fullmatch(sample[0]) if sample else None
        if named:
            separator = separator or named[1]
            del sample[0]
        skipped = 1 if named else 0
        lines = chain(sample, file)
        layout = _layout(sample, suffix_of(path), separator)
        # A setting of the whole process. Python's default of 131,072 characters is too small for long texts.
        csv.field_size_limit(2**31 - 1)
        # Without `strict`, an open quote would swallow the rest of the file.
        rows: Any = _Tabs(lines) if layout is None else csv.reader(lines, strict=True, **layout)
        between = "\t" if layout is None else layout["delimiter"]
        width, done = 0, skipped  # width: cells in a row; done: lines read so far
        for batch, error in _batches(rows):
            starts, done = _starts(batch, done, None if error else skipped + rows.line_num)
            if width and batch:
                yield _columns(path, starts, batch, width, reject, between)
            elif batch:
                yield batch[0]
                width = len(batch[0])
            if error:
                reason = f"not valid CSV: {error}; expected quotes in pairs, and lines that end in a newline"
                open_quote = "unexpected end" in str(error)  # it has swallowed all rows after it
                if open_quote or not width:
                    raise DataError(f"{path}:{done + 1}: {reason}")
                reject(f"{path}:{done + 1}", reason, "")
                done = skipped + rows.line_num


def _layout(sample: list[str], suffix: str, separator: str | None) -> dict[str, Any] | None:
    """How `csv` must read a table. None: tabs separate the cells, and a quote is an ordinary character."""
    first = sample[0] if sample else ""
    bare = re.sub('"[^"]*"', "", first)
    if separator is None and (suffix in (".tsv", ".tab") or (suffix != ".csv" and "\t" in bare)):
        names = first.strip().split("\t")
        return {"delimiter": "\t"} if all(re.fullmatch('"[^"]*"', name) for name in names) else None
    given = [s for s in SEPARATORS if s in bare] if separator is None else [separator]
    if not given:
        return {"delimiter": NONE} if suffix == ".csv" else None
    best = max(given, key=lambda s: _evenness(sample, s))
    # Blanks between a separator and a quote: a, "b, c"
    blanks = f'{best} "' in first or _evenness(sample, best, True) > _evenness(sample, best)
    return {"delimiter": best, "skipinitialspace": blanks}


def _evenness(sample: list[str], separator: str, blanks: bool = False) -> tuple[float, int]:
    """The share of rows that have as many cells as the header, and the number of these cells."""
    try:
        rows = list(csv.reader(sample, delimiter=separator, skipinitialspace=blanks))
    except csv.Error:
        return 0.0, 0
    sizes = [len(row) for row in (rows[:-1] if len(sample) == SAMPLE else rows) if any(row)]
    return (sizes.count(sizes[0]) / len(sizes), sizes[0]) if sizes else (0.0, 0)


class _Tabs:
    """Tab-separated rows without quotes, with the interface of `csv.reader`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines, self.line_num = iter(lines), 0

    def __iter__(self) -> _Tabs:
        return self

    def __next__(self) -> list[str]:
        line = next(self.lines)
        self.line_num += 1
        return line.rstrip("\r\n").split("\t")


def _batches(rows: Any) -> Iterator[tuple[list[list[str]], csv.Error | None]]:
    """Yield the header alone, then batches of rows. If a row is an error, the batch before it carries it."""
    size = 1
    while True:
        batch: list[list[str]] = []
        try:
            batch.extend(islice(rows, size))
        except csv.Error as error:  # the rows before the error are in the batch
            yield batch, error
            size = ROWS
            continue
        if not batch:
            return
        yield batch, None
        size = ROWS


def _starts(batch: list[list[str]], done: int, end: int | None) -> tuple[Sequence[int], int]:
    """The line number at which each row begins, and the number of lines read so far."""
    if end == done + len(batch):
        return range(done + 1, end + 1), end
    lengths = [1 + sum(cell.count("\n") for cell in row) for row in batch]
    *starts, last = accumulate(lengths, initial=done + 1)
    return starts, last - 1


def _columns(
    path: Path, lines: Sequence[int], rows: list[Any], width: int, reject: Reject, between: str = " "
) -> RowBatch:
    """Turn rows into columns. Empty rows are left out (Excel leaves some below a table)."""
    empty = [""] * width
    if [] in rows or [""] in rows or empty in rows:
        kept = [i for i, row in enumerate(rows) if any(row)]
        lines, rows = [lines[i] for i in kept], [rows[i] for i in kept]
    if set(map(len, rows)) - {width}:
        for line, row in zip(lines, rows, strict=True):
            if len(row) != width:
                reason = f"got {len(row)} cells, expected {width} as in the header"
                if between == "\t" and any(cell.startswith('"') for cell in row):
                    reason += '; if quotes enclose cells, give separator = "\\t"'
                reject(f"{path}:{line}", reason, between.join(map(str, row)))
        kept = [i for i, row in enumerate(rows) if len(row) == width]
        lines, rows = [lines[i] for i in kept], [rows[i] for i in kept]
    return lines, list(zip(*rows, strict=True)) or [()] * width


# --- Parquet and Excel ----------------------------------------------------------------------------


def _parquet(path: Path, limit: int | None, reject: Reject) -> Iterator[Any]:
    """Read Parquet. The number of a row, from 1, serves as its line number."""
    parquet = need("pyarrow.parquet", package="multiseq[tables]")
    with _named_errors(path, "Parquet"), path.open("rb") as raw, parquet.ParquetFile(raw) as file:
        groups = range(file.metadata.num_row_groups)
        check_unpacked(path, sum(file.metadata.row_group(i).total_byte_size for i in groups), limit)
        yield file.schema_arrow.names
        done = 0
        for batch in file.iter_batches(ROWS):
            columns = [[as_text(v) for v in column.to_pylist()] for column in batch.columns]
            rows = list(map(list, zip(*columns, strict=True)))
            yield _columns(path, range(done + 1, done + 1 + len(rows)), rows, len(columns), reject)
            done += len(rows)


def sheet_sizes(path: Path) -> dict[str, int]:
    """The sheets of an Excel file that have cells -> their numbers of rows."""
    openpyxl = need("openpyxl", package="multiseq[tables]")
    with _named_errors(path, "Excel"):
        book = _book(openpyxl, path, None)
        return {sheet.title: sheet.max_row or 0 for sheet in book.worksheets if _has_cells(sheet)}


def _excel(path: Path, name: str | None, limit: int | None, reject: Reject) -> Iterator[Any]:
    """Read a sheet of an Excel file. Line numbers are Excel's row numbers."""
    openpyxl = need("openpyxl", package="multiseq[tables]")
    with _named_errors(path, "Excel"):
        book = _book(openpyxl, path, limit)
        sheets = [sheet for sheet in book.worksheets if _has_cells(sheet)]
        names = [sheet.title for sheet in sheets]
        if name is not None:
            if name not in names:
                raise DataError(f"{path}: {no_such('sheet', name, names)}")
            sheets = [sheets[names.index(name)]]
        if len(sheets) > 1:
            chosen = json.dumps(names[0], ensure_ascii=False)
            raise DataError(
                f"{path}: got {len(sheets)} sheets ({', '.join(names)}), expected one; choose it with "
                f"sheet = {chosen} in a recipe, or {shlex.join(['--set', f'sheet={names[0]}'])} for "
                "`multiseq predict`"
            )
        raw_rows = (row for sheet in sheets for row in sheet.iter_rows(values_only=True))
        rows = ([as_text(cell) for cell in row] for row in raw_rows)
        header = next(rows, [])
        width = max((i + 1 for i, cell in enumerate(header) if cell), default=0)
        yield header[:width]
        done = 1
        while batch := [_to_width(row, width) for row in islice(rows, ROWS)]:
            yield _columns(path, range(done + 1, done + 1 + len(batch)), batch, width, reject)
            done += len(batch)


def _book(openpyxl: Any, path: Path, limit: int | None) -> Any:
    raw = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(raw) as archive:
        check_unpacked(path, sum(info.file_size for info in archive.infolist()), limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about styles and forms do not matter
        return openpyxl.load_workbook(raw, read_only=True, data_only=True)


@contextmanager
def _named_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn any error of a library into a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from None


def _has_cells(sheet: Any) -> bool:
    return any(any(row) for row in islice(sheet.iter_rows(values_only=True), 100))


def _to_width(row: list[Any], width: int) -> list[Any]:
    """A row with ``width`` cells: drop empty cells beside the table, add those that Excel leaves out."""
    while len(row) > width and not row[-1]:
        row.pop()
    return row + [""] * (width - len(row))


def as_text(value: Any) -> Any:
    """A cell as text. A list (Parquet can contain lists) becomes a list of texts."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return [None if v is None else as_text(v) for v in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)
