"""Reading tables: CSV and other delimited text, Parquet and Excel. Cells are returned as text, unchanged.

Delimited text is read by Python's `csv`, because no other library tells the line of each row. Parquet is read
by pyarrow and Excel by openpyxl (``pip install 'multiseq[tables]'``). Measurements:
docs/decisions/0011-tables.md.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError
from multiseq.data.text_files import check_unpacked, open_text, suffix_of
from multiseq.requires import need

__all__ = ["TABLES", "Table", "as_text", "open_table"]

EXCEL = (".xlsx", ".xlsm")
TABLES = (".csv", ".tsv", ".tab", ".parquet", *EXCEL)
"""Suffixes of file names that mean a table."""

SEPARATORS = (",", ";", "\t", "|")
"""Possible separators in a .csv file, the most likely first."""

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
    unpack_limit: int | None = None,
) -> Table:
    """Open a table with a header.

    Args:
        path: The file; its suffix decides the format. ``.parquet``, ``.xlsx`` and ``.xlsm`` are Parquet and
            Excel. In ``.csv`` files, cells can be quoted, and the separator is the first of comma, semicolon,
            tab and bar that occurs in the header. In all other files, the separator is a tab, and quotes are
            ordinary characters.
        encoding: The encoding of a text file.
        separator: Another separator for a text file. If it is given, cells can be quoted in any text file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: The file is not such a table. The message names the line if there is one.
    """
    suffix = suffix_of(path)
    if suffix == ".parquet" or suffix in EXCEL:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        batches = (_parquet if suffix == ".parquet" else _excel)(path, unpack_limit)
    else:
        quoted = suffix == ".csv" or separator is not None
        batches = _text(path, encoding, separator, unpack_limit, quoted)
    names = [str(name).strip() for name in next(batches, [])]
    if not any(names):
        raise DataError(f"{path}: empty, expected a header line")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}:1: got two columns {twice!r}, expected different names")
    return Table(names, batches)


# --- text -----------------------------------------------------------------------------------------


def _text(
    path: Path, encoding: str, separator: str | None, unpack_limit: int | None, quoted: bool
) -> Iterator[Any]:
    """Yield the header, then batches of rows."""
    with open_text(path, encoding, unpack_limit) as file:
        first = file.readline()
        lines = chain([first] if first else [], file)
        rows = _quoted(first, lines, separator) if quoted else _Tabs(lines)
        width, done = 0, 0  # width: cells in a row; done: lines read so far
        for batch, error in _batches(rows):
            starts, done = _starts(batch, done, None if error else rows.line_num)
            if width and batch:
                yield _columns(path, starts, batch, width)
            elif batch:
                yield batch[0]
                width = len(batch[0])
            if error:
                raise DataError(
                    f"{path}:{done + 1}: not valid CSV: {error}; expected quotes in pairs, and "
                    "lines that end in a newline"
                )


def _quoted(first: str, lines: Iterable[str], separator: str | None) -> Any:
    bare = re.sub('"[^"]*"', "", first)
    found = separator or next((s for s in SEPARATORS if s in bare), ",")
    # A setting of the whole process. Python's default of 131,072 characters is too small for long texts.
    csv.field_size_limit(2**31 - 1)
    # Without `strict`, an open quote would swallow the rest of the file.
    return csv.reader(lines, strict=True, delimiter=found)


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
    """Yield the header alone, then batches of rows. If an error ends reading, the last batch carries it."""
    size = 1
    while True:
        batch: list[list[str]] = []
        try:
            batch.extend(islice(rows, size))
        except csv.Error as error:  # the rows before the error are in the batch
            yield batch, error
            return
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


def _columns(path: Path, lines: Sequence[int], rows: list[Any], width: int) -> RowBatch:
    """Turn rows into columns. Empty rows are left out (Excel leaves some below a table)."""
    empty = [""] * width
    if [] in rows or [""] in rows or empty in rows:
        kept = [i for i, row in enumerate(rows) if any(row)]
        lines, rows = [lines[i] for i in kept], [rows[i] for i in kept]
    if set(map(len, rows)) - {width}:
        bad = next(i for i, row in enumerate(rows) if len(row) != width)
        raise DataError(f"{path}:{lines[bad]}: got {len(rows[bad])} cells, expected {width} as in the header")
    return lines, list(zip(*rows, strict=True)) or [()] * width


# --- Parquet and Excel ----------------------------------------------------------------------------


def _parquet(path: Path, limit: int | None) -> Iterator[Any]:
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
            yield _columns(path, range(done + 1, done + 1 + len(rows)), rows, len(columns))
            done += len(rows)


def _excel(path: Path, limit: int | None) -> Iterator[Any]:
    """Read the only sheet with cells of an Excel file. Line numbers are Excel's row numbers."""
    openpyxl = need("openpyxl", package="multiseq[tables]")
    with _named_errors(path, "Excel"):
        raw = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(raw) as archive:
            check_unpacked(path, sum(info.file_size for info in archive.infolist()), limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about styles and forms do not matter
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if _has_cells(sheet)]
        if len(sheets) > 1:
            names = ", ".join(sheet.title for sheet in sheets)
            raise DataError(f"{path}: got the sheets {names}, expected one; save that one as its own file")
        found = (row for sheet in sheets for row in sheet.iter_rows(values_only=True))
        rows = ([as_text(cell) for cell in row] for row in found)
        header = next(rows, [])
        width = max((i + 1 for i, name in enumerate(header) if name), default=0)
        yield header[:width]
        done = 1
        while batch := [_to_width(row, width) for row in islice(rows, ROWS)]:
            yield _columns(path, range(done + 1, done + 1 + len(batch)), batch, width)
            done += len(batch)


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
