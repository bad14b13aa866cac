"""Writers of predictions: CSV, TSV, JSON lines, Parquet, CoNLL and TextGrid, by the ending of a file.

A writer turns a chunk of rows into bytes, and joins the files of the chunks to one. A prediction that was
killed keeps its chunks.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from multiseq.data.conll import COLUMNS, columns_of_line, word_line
from multiseq.data.recordings import is_audio
from multiseq.data.tables import as_text
from multiseq.requires import need
from multiseq.runs.rows import Row
from multiseq.system.files import put, replace_file, replace_folder, write_whole

__all__ = ["ENDINGS", "ConllWriter", "ConlluWriter", "GridWriter", "ParquetWriter", "TextWriter", "Writer"]

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".conllu", ".conll", ".TextGrid")
"""The endings of a file of predictions."""

CONLLU = {name: i for i, name in enumerate(("id", "form", "lemma", "upos", "xpos", "feats", "head"))}
CONLLU |= {"deprel": 7, "deps": 8, "misc": 9}
"""Column of CoNLL-U -> its number."""

Filled = tuple[Row, Mapping[str, Any]]
"""A row, and what is added to it: column -> value. A label per vector has a list in each column."""


@runtime_checkable
class Writer(Protocol):
    """How predictions are written."""

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """A chunk: some rows, in their order. Raises ValueError for a cell that the format cannot hold."""

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """Write the file from all chunks. It appears when it is complete, and replaces an old one."""


# --- tables ---------------------------------------------------------------------------------------


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
        replace_file(out, lambda fresh: _chain(fresh, chunks, self.header()))

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
        return _bytes(text.getvalue())

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


def _json_line(cells: Mapping[str, Any]) -> bytes:
    line = json.dumps(cells, ensure_ascii=False, default=as_text)
    try:
        return line.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can stand for
        return json.dumps(cells, default=as_text).encode() + b"\n"


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _chain(out: Path, chunks: Sequence[Path], header: bytes = b"") -> None:
    with out.open("wb") as file:
        file.write(header)
        for chunk in chunks:
            with chunk.open("rb") as opened:
                shutil.copyfileobj(opened, file)


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


# --- formats of a field ---------------------------------------------------------------------------


class ConlluWriter:
    """CoNLL-U: the lines of the input, with the predicted column.

    Args:
        column: The column to fill in, as in recipes. If CoNLL-U has no such column, ``misc`` gets
            ``column=label``.
        prediction: The added column with the labels.
    """

    def __init__(self, column: str, prediction: str) -> None:
        self.column, self.prediction = column, prediction

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some sentences. Each ends in an empty line."""
        return _bytes("".join(self._sentence(row, added) for row, added in filled))

    def _sentence(self, row: Row, added: Mapping[str, Any]) -> str:
        labels = iter(added.get(self.prediction) or [])
        text = "".join(self._line(line, labels) for line in row.lines)
        if next(labels, None) is not None:
            raise ValueError(
                f"{row.location}: got more labels than words; only a run with a label for each word writes "
                "this format"
            )
        if not text.endswith("\n"):
            text += "\n"
        last = next(line for line in reversed(row.lines) if line)  # a reader may add "" at the end
        return text + "\n" if self._is_word(last) else text

    def _is_word(self, line: str) -> bool:
        return line[:1].isdigit()

    def _line(self, line: str, labels: Iterator[Any]) -> str:
        fields = line.split("\t")
        label = next(labels, None) if fields[0].isdigit() else None
        if label is None:  # a comment, a multi-word token, an empty line, or a sentence without labels
            return line
        place = CONLLU.get(self.column, CONLLU["misc"])
        end = fields[-1][len(fields[-1].rstrip("\r\n")) :]
        fields[-1] = fields[-1].rstrip("\r\n")
        fields[place] = (
            str(label) if self.column in CONLLU else _with_misc(fields[place], f"{self.column}={label}")
        )
        return "\t".join(fields) + end

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """All chunks."""
        replace_file(out, lambda fresh: _chain(fresh, chunks))


class ConllWriter(ConlluWriter):
    """Words and tags as in CoNLL-2003: the lines of the input, with the predicted column.

    Args:
        column: The column to fill in, as in recipes. If the file has no such column, the last one is filled
            in; a file of words gets a second column.
        prediction: The added column with the labels.
    """

    def _is_word(self, line: str) -> bool:
        return word_line(line)

    def _line(self, line: str, labels: Iterator[Any]) -> str:
        label = next(labels, None) if self._is_word(line) else None
        if label is None:
            return line
        fields, end = columns_of_line(line), line[len(line.rstrip("\r\n")) :]
        if len(fields) == 1:
            fields += [" ", ""]
        if set(" \t" if fields[1] != "\t" else "\t") & set(str(label)):
            raise ValueError(f"got the label {label!r}, whose blank would end the column; write .jsonl")
        names = COLUMNS[len(fields[::2])]
        fields[2 * names.index(self.column) + 2 if self.column in names else -1] = str(label)
        return "".join(fields) + end


def _with_misc(misc: str, more: str) -> str:
    return more if misc == "_" else f"{misc}|{more}"


class GridWriter:
    """TextGrids of Praat (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html), in UTF-8.

    A recording has two tiers: the labels, and their confidence. A chunk has a JSON line for each recording.

    Args:
        tier: The name of the first tier.
        segments: The added column with the segments.
        confidence: The added column with the confidence of each.
        folder: Whether the result is a folder, with a file for each recording. Otherwise it is one file.
    """

    def __init__(self, tier: str, segments: str, confidence: str, folder: bool) -> None:
        self.tier, self.segments, self.confidence, self.folder = tier, segments, confidence, folder

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some recordings."""
        lines = []
        for row, added in filled:
            if not row.name:
                continue  # a row of the table that cannot be read names no recording
            segments, shares = added.get(self.segments) or [], added.get(self.confidence) or []
            sure = [(start, end, p) for (start, end, _), p in zip(segments, shares, strict=True)]
            grid = text_grid([(self.tier, segments), ("confidence", sure)])
            lines.append(json.dumps({"name": _stem(row.name), "grid": grid}) + "\n")
        return "".join(lines).encode()

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """The file of the only recording, or the folder. Recordings of the same name get a number."""
        if self.folder:
            replace_folder(out, lambda fresh: self._fill(fresh, chunks))
            return
        grids = [grid for _, grid in _grids(chunks)]
        if len(grids) != 1:
            raise ValueError(
                f"{out}: got {len(grids)} recordings, expected one; give a folder for several: "
                f"--output {out.with_suffix('')}/"
            )
        write_whole(out, _bytes(grids[0]))

    def _fill(self, folder: Path, chunks: Sequence[Path]) -> None:
        seen: dict[str, int] = {}
        for name, grid in _grids(chunks):
            path, number = folder / f"{name}.TextGrid", seen.get(name, 1)
            while path.exists():  # a recording may also be called a-2
                number += 1
                path = folder / f"{name}-{number}.TextGrid"
            seen[name] = number
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, _bytes(grid))


def _grids(chunks: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for chunk in chunks:
        with chunk.open(encoding="utf-8") as lines:
            for line in lines:
                recording = json.loads(line)
                yield recording["name"], recording["grid"]


def _stem(name: str) -> str:
    """The name of a recording without its ending, and without folders that lead out of the output."""
    path = Path(name).with_suffix("") if is_audio(name) else Path(name)  # utterances may be called a.1
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def text_grid(tiers: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> str:
    """A TextGrid in Praat's long form.

    Args:
        tiers: (name, intervals) of each; an interval is (start, end, text), in seconds and without gaps.
    """
    ends = [interval[1] for _, intervals in tiers for interval in intervals]
    end = max(ends, default=0.0)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers, 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
        ]
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
        for i, (first, last, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{i}]:",
                f"            xmin = {first}",
                f"            xmax = {last}",
            ]
            lines.append(f"            text = {_quoted(text)}")
    return "\n".join(lines) + "\n"


def _quoted(text: Any) -> str:
    doubled = str(text).replace('"', '""')
    return f'"{doubled}"'
