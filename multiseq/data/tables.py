"""Tables of any kind as text: delimited text, Parquet and Excel. Cells stay as they are written.

Delimited text is read by Python's `csv`, which alone knows the line of every row; Parquet by pyarrow, Excel
by openpyxl (``pip install 'multiseq[tables]'``). Figures: docs/decisions/0011-tables.md.
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

__all__ = ["TABLES", "Table", "open_table"]

EXCEL = (".xlsx", ".xlsm")
TABLES = (".csv", ".tsv", ".tab", ".parquet", *EXCEL)
"""Names that say that a file is a table."""

SEPARATORS = (",", ";", "\t", "|")
"""What may stand between the cells of a .csv file, the likeliest first."""

ROWS = 256
"""Rows that are read at a time: so few that Python's collector of cycles does not run for them, which would
take longer than reading."""

Batch = tuple[Sequence[int], list[Sequence[Any]]]
"""The line in which each row begins, and the cells of each column."""


@dataclass
class Table:
    """A table while it is read.

    Args:
        names: Of the columns, without blanks around them.
        batches: The rows, in their order, without those that have no cell filled in.
    """

    names: list[str]
    batches: Iterator[Batch]

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Row by row: the line, and the cells by name of the column."""
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
    """A table with a header.

    Args:
        path: ``.parquet`` and ``.xlsx`` say what they are. ``.csv`` has quotes, and the first of comma,
            semicolon, tab and bar that is in its header separates its cells. Any other file has tabs, and its
            quotes are letters.
        encoding: Of text.
        separator: Another one; with it, quotes are quotes in every text file.
        unpack_limit: As for `multiseq.data.text_files.lines_of`.

    Raises:
        DataError: A file that is no such table, with the line where there is one.
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
        raise DataError(f"{path}:1: got two columns {twice!r}, expected names that differ")
    return Table(names, batches)


# --- text -----------------------------------------------------------------------------------------


def _text(
    path: Path, encoding: str, separator: str | None, unpack_limit: int | None, quoted: bool
) -> Iterator[Any]:
    """The header, then batches."""
    with open_text(path, encoding, unpack_limit) as file:
        first = file.readline()
        lines = chain([first] if first else [], file)
        rows = _quoted(first, lines, separator) if quoted else _Tabs(lines)
        width, done = 0, 0  # cells, lines
        for batch, error in _batches(rows):
            starts, done = _starts(batch, done, None if error else rows.line_num)
            if width and batch:
                yield _columns(path, starts, batch, width)
            elif batch:
                yield batch[0]
                width = len(batch[0])
            if error:
                raise DataError(
                    f"{path}:{done + 1}: not comma-separated values: {error}; expected quotes in pairs, and "
                    "lines that end in a newline"
                )


def _quoted(first: str, lines: Iterable[str], separator: str | None) -> Any:
    bare = re.sub('"[^"]*"', "", first)
    found = separator or next((s for s in SEPARATORS if s in bare), ",")
    csv.field_size_limit(2**31 - 1)  # of all readers, alas; Python's own 131,072 characters are a short book
    return csv.reader(lines, strict=True, delimiter=found)  # or an open quote takes in the rest of the file


class _Tabs:
    """Tab-separated rows without quotes, as `csv.reader` gives rows."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines, self.line_num = iter(lines), 0

    def __iter__(self) -> _Tabs:
        return self

    def __next__(self) -> list[str]:
        line = next(self.lines)
        self.line_num += 1
        return line.rstrip("\r\n").split("\t")


def _batches(rows: Any) -> Iterator[tuple[list[list[str]], csv.Error | None]]:
    """The header alone, then the other rows; the last ones with the error that follows them, if one does."""
    size = 1
    while True:
        batch: list[list[str]] = []
        try:
            batch.extend(islice(rows, size))
        except csv.Error as error:  # what came before it is in the batch
            yield batch, error
            return
        if not batch:
            return
        yield batch, None
        size = ROWS


def _starts(batch: list[list[str]], done: int, end: int | None) -> tuple[Sequence[int], int]:
    """The line in which each row begins, and the number of lines so far."""
    if end == done + len(batch):
        return range(done + 1, end + 1), end
    lengths = [1 + sum(cell.count("\n") for cell in row) for row in batch]
    *starts, last = accumulate(lengths, initial=done + 1)
    return starts, last - 1


def _columns(path: Path, lines: Sequence[int], rows: list[Any], width: int) -> Batch:
    """Rows as columns, without those that have no cell filled in (what Excel leaves below a table)."""
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
    """Lines are numbers of rows, from 1."""
    parquet = need("pyarrow.parquet", package="multiseq[tables]")
    with _named_errors(path, "Parquet"), path.open("rb") as raw, parquet.ParquetFile(raw) as file:
        groups = range(file.metadata.num_row_groups)
        check_unpacked(path, sum(file.metadata.row_group(i).total_byte_size for i in groups), limit)
        yield file.schema_arrow.names
        done = 0
        for batch in file.iter_batches(ROWS):
            columns = [[_as_text(v) for v in column.to_pylist()] for column in batch.columns]
            rows = list(map(list, zip(*columns, strict=True)))
            yield _columns(path, range(done + 1, done + 1 + len(rows)), rows, len(columns))
            done += len(rows)


def _excel(path: Path, limit: int | None) -> Iterator[Any]:
    """The sheet that has cells; lines are Excel's numbers of rows."""
    openpyxl = need("openpyxl", package="multiseq[tables]")
    with _named_errors(path, "Excel"):
        raw = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(raw) as archive:
            check_unpacked(path, sum(info.file_size for info in archive.infolist()), limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and forms
            book = openpyxl.load_workbook(raw, read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if _has_cells(sheet)]
        if len(sheets) > 1:
            names = ", ".join(sheet.title for sheet in sheets)
            raise DataError(f"{path}: got the sheets {names}, expected one; save the one that is meant alone")
        found = (row for sheet in sheets for row in sheet.iter_rows(values_only=True))
        rows = ([_as_text(cell) for cell in row] for row in found)
        header = next(rows, [])
        width = max((i + 1 for i, name in enumerate(header) if name), default=0)
        yield header[:width]
        done = 1
        while batch := [_to_width(row, width) for row in islice(rows, ROWS)]:
            yield _columns(path, range(done + 1, done + 1 + len(batch)), batch, width)
            done += len(batch)


@contextmanager
def _named_errors(path: Path, kind: str) -> Iterator[None]:
    """Whatever a library says of a file that it cannot read, with the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from None


def _has_cells(sheet: Any) -> bool:
    return any(any(row) for row in islice(sheet.iter_rows(values_only=True), 100))


def _to_width(row: list[Any], width: int) -> list[Any]:
    """A row without the empty cells that Excel has beside a table, or with those that it leaves out."""
    while len(row) > width and not row[-1]:
        row.pop()
    return row + [""] * (width - len(row))


def _as_text(value: Any) -> Any:
    """A cell as text; a list, which Parquet can hold, as a list of them."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return [None if v is None else _as_text(v) for v in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)
