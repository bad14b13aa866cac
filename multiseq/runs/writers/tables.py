"""Predictions as tables: CSV, TSV, JSON lines, Parquet and Excel."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from multiseq.data.tables import as_text
from multiseq.requires import need
from multiseq.runs.writers.base import Filled, as_bytes, chained
from multiseq.system.files import replace_file

__all__ = ["ExcelWriter", "ParquetWriter", "TextWriter", "shown"]

MOST_ROWS = 1_048_576
"""Rows of a sheet of Excel, with the header."""
MOST_CHARACTERS = 32_767
"""Characters of a cell of Excel."""


class TextWriter:
    """CSV, TSV or JSON lines.

    Lists in the added columns are joined in CSV and TSV: labels per vector by blanks, several labels of an
    item by commas. If a label has such a character in it, the cell is a JSON list.

    Args:
        ending: ``.csv``, ``.tsv`` or ``.jsonl``.
        columns: All columns, the added ones last.
        added: The added columns.
        joint: What stands between the entries of a list; None for a JSON list.
    """

    def __init__(self, ending: str, columns: Sequence[str], added: Sequence[str], joint: str | None) -> None:
        self.ending, self.columns, self.joint = ending, list(columns), joint
        self.added = set(added)

    def header(self) -> bytes:
        """The first line of a table. JSON lines have none."""
        return b"" if self.ending == ".jsonl" else self._table([self.columns])

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some rows."""
        if self.ending == ".jsonl":
            return b"".join(_json_line(cells) for cells in _cells(filled))
        return self._table([self._shown(cells) for cells in _cells(filled)])

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """The header, then all chunks."""
        replace_file(out, lambda fresh: chained(fresh, chunks, self.header()))

    def _shown(self, cells: Mapping[str, Any]) -> list[str]:
        row = []
        for name in self.columns:
            cell = cells.get(name, "")
            if type(cell) is not str:  # most cells are text
                cell = shown(cell, self.joint if name in self.added else None)
            row.append(cell)
        return row

    def _table(self, rows: Sequence[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        if self.ending == ".csv":
            # Python quotes a cell for the carriage return in it only if lines end in one.
            ends = csv.writer(text, lineterminator="\n"), csv.writer(text, lineterminator="\n", quoting=1)
            for row in rows:
                ends["\r" in "".join(row)].writerow(row)
        else:
            for row in rows:
                text.write("\t".join(self._plain(row)) + "\n")
        return as_bytes(text.getvalue())

    def _plain(self, row: Sequence[str]) -> Sequence[str]:
        for name, cell in zip(self.columns, row, strict=True):
            if any(c in cell for c in "\t\n\r"):
                raise ValueError(
                    f"column {name!r}: got {cell[:40]!r}, which has a tab or an end of line in it and so "
                    "cannot be a cell of .tsv; write .csv"
                )
        return row


def shown(value: Any, joint: str | None = None) -> str:
    """A value as a cell of text. Lists and objects are JSON, or joined.

    >>> shown(["DET", "NOUN"], " "), shown([0.5, None]), shown(None), shown(2.50)
    ('DET NOUN', '[0.5, null]', '', '2.5')
    """
    if isinstance(value, list) and joint is not None and not any(isinstance(v, list | dict) for v in value):
        return joint.join(map(as_text, value))
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=as_text)
    text: str = as_text(value)
    return text


def _cells(filled: Iterable[Filled]) -> Iterator[dict[str, Any]]:
    """All cells of each row. A network has a row for each node, if it has values for each."""
    for row, added in filled:
        if not row.members:
            yield {**row.cells, **added}
            continue
        for i, cells in enumerate(row.members):
            yield {**row.cells, **cells, **{name: _member(value, i) for name, value in added.items()}}


def _member(value: Any, i: int) -> Any:
    return value[i] if isinstance(value, list) else value


def _json_line(cells: Mapping[str, Any] | list[Any]) -> bytes:
    line = json.dumps(cells, ensure_ascii=False, default=as_text)
    try:
        return line.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can stand for
        return json.dumps(cells, default=as_text).encode() + b"\n"


class ParquetWriter:
    """Parquet. Each chunk is a file of its own.

    Args:
        columns: All columns, the added ones last.
        added: The added columns.
        types: The type of each column that comes from Parquet. Other columns are text.
    """

    def __init__(self, columns: Sequence[str], added: Sequence[str], types: Mapping[str, Any]) -> None:
        self.arrow = need("pyarrow", package="multiseq[tables]")
        self.parquet = need("pyarrow.parquet", package="multiseq[tables]")
        self.columns, self.added, self.types = list(columns), set(added), types

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some rows."""
        cells = list(_cells(filled))
        arrays = [self._array(name, [one.get(name) for one in cells]) for name in self.columns]
        raw = io.BytesIO()
        self.parquet.write_table(self.arrow.Table.from_arrays(arrays, self.columns), raw)
        return raw.getvalue()

    def _array(self, name: str, values: list[Any]) -> Any:
        if name in self.types:
            return self.arrow.array(values, self.types[name])
        if name in self.added:
            return self.arrow.array([v if _is_flat(v) else shown(v) for v in values])
        return self.arrow.array([None if v is None else shown(v) for v in values], self.arrow.string())

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """All chunks. Chunks may differ in a type: one without a value does not know it."""
        schemas = [self.parquet.read_schema(chunk) for chunk in chunks] or [self._empty()]
        schema = self.arrow.unify_schemas(schemas, promote_options="permissive")

        def write(fresh: Path) -> None:
            with self.parquet.ParquetWriter(fresh, schema) as file:
                for chunk in chunks:
                    file.write_table(self.parquet.read_table(chunk).cast(schema))

        replace_file(out, write)

    def _empty(self) -> Any:
        text = self.arrow.string()
        return self.arrow.schema([(name, self.types.get(name, text)) for name in self.columns])


def _is_flat(value: Any) -> bool:
    """Whether Parquet holds a value as it is: anything but objects and lists of lists."""
    return not isinstance(value, dict) and not (
        isinstance(value, list) and any(isinstance(v, list | dict) for v in value)
    )


class ExcelWriter:
    """Excel (``.xlsx``), one sheet. Numbers of the added columns are numbers, all other cells are texts.

    Args:
        columns: All columns, the added ones last.
        added: The added columns.
        joint: As for `TextWriter`.
    """

    def __init__(self, columns: Sequence[str], added: Sequence[str], joint: str | None) -> None:
        self.excel = need("openpyxl", package="multiseq[tables]")
        self.columns, self.added, self.joint = list(columns), set(added), joint

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some rows, each as a list in JSON."""
        rows = ([self._cell(name, cells.get(name)) for name in self.columns] for cells in _cells(filled))
        return b"".join(map(_json_line, rows))

    def _cell(self, name: str, value: Any) -> Any:
        if name in self.added and type(value) in (int, float) and math.isfinite(value):
            return value
        text = shown("" if value is None else value, self.joint if name in self.added else None)
        if len(text) > MOST_CHARACTERS:
            raise ValueError(
                f"column {name!r}: got a text of {len(text):,} characters, but a cell of Excel has at most "
                f"{MOST_CHARACTERS:,}; write .csv"
            )
        return text

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """A sheet of the header and all chunks."""
        if 1 + sum(len(chunk.read_bytes().splitlines()) for chunk in chunks) > MOST_ROWS:
            raise ValueError(f"{out}: a sheet of Excel has at most {MOST_ROWS:,} rows; write .csv")
        book = self.excel.Workbook(write_only=True)
        sheet = book.create_sheet("predictions")
        rows = (json.loads(line) for chunk in chunks for line in chunk.read_bytes().splitlines())
        for row in chain([self.columns], rows):
            sheet.append([self._as_cell(sheet, value) for value in row])
        replace_file(out, book.save)

    def _as_cell(self, sheet: Any, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        plain = self.excel.cell.cell.ILLEGAL_CHARACTERS_RE.sub("\ufffd", value)
        cell = self.excel.cell.WriteOnlyCell(sheet, plain)
        cell.data_type = "s"  # "=1+1" is a text, not a formula
        return cell
