"""Readers: one function for each file format, which returns `Records`. Errors name the file and the line.

A reader takes a path, and the options of the format as keyword arguments. `multiseq.data.text_files`
describes how text files are unpacked and decoded, and `multiseq.data.tables` how tables are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from multiseq.data.recordings import find_recordings
from multiseq.data.records import DataError, Places, Records
from multiseq.data.tables import open_table
from multiseq.data.text_files import lines_of, parse_json

__all__ = [
    "READERS",
    "read_conllu",
    "read_json_lines",
    "read_labelled",
    "read_lines",
    "read_networks",
    "read_rdkit_logp",
    "read_recordings",
    "read_table",
]

FASTTEXT = "__label__"
"""The prefix of each label in files of fastText."""

RECURRING = 4096
"""Up to this number of different cells in a column, equal cells share one string."""


ROW = re.compile(r"[0-9]+([-.][0-9]+)?")
"""The first column of a row in a treebank."""


def read_conllu(path: Path, *, encoding: str = "utf-8", unpack_limit: int | None = None) -> Records:
    """Read a CoNLL-U treebank (https://universaldependencies.org/format.html), for token classification.

    An item is a sentence, as a list of words. The label columns are ``upos``, ``xpos``, ``lemma`` and
    ``deprel``: lists with one label for each word. Multi-word tokens (1-2) and empty nodes (1.1) are skipped,
    because they are not words of the tree.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: A line is not CoNLL-U.
    """
    places = Places(path)
    records = Records([], {"upos": [], "xpos": [], "lemma": [], "deprel": []}, places)
    rows: list[list[str]] = []
    start = 1
    for number, line in enumerate(chain(lines_of(path, encoding, unpack_limit), [""]), 1):
        line = line.rstrip("\r\n")
        if not line.strip(" "):
            if rows:
                _add_sentence(records, rows)
                places.lines.append(start)
            rows, start = [], number + 1
        elif not line.startswith("#"):
            fields = line.split("\t")
            if len(fields) != 10:
                raise DataError(
                    f"{path}:{number}: got {len(fields)} columns, expected the 10 of CoNLL-U, tab-separated"
                )
            if not ROW.fullmatch(fields[0]):
                raise DataError(
                    f"{path}:{number}: got {fields[0]!r} in the first column, expected the number of a word "
                    "(1), of a multi-word token (1-2) or of an empty node (1.1)"
                )
            if fields[0].isdigit():
                rows.append(fields)
    return records


def _add_sentence(records: Records, rows: list[list[str]]) -> None:
    records.items.append([row[1] for row in rows])
    for name, column in {"lemma": 2, "upos": 3, "xpos": 4, "deprel": 7}.items():
        records.columns[name].append([None if row[column] == "_" else row[column] for row in rows])


def read_table(
    path: Path,
    *,
    input: str = "text",
    encoding: str = "utf-8",
    separator: str | None = None,
    unpack_limit: int | None = None,
    columns: Collection[str] = (),
) -> Records:
    """Read a table with a header (CSV, TSV, Parquet or Excel; see `multiseq.data.tables.open_table`).

    Args:
        path: The file.
        input: The column that holds the items. The others are label columns, in which an empty cell is a
            missing label.
        encoding: The encoding of a text file.
        separator: The separator between cells. Default: derived from the file's name and header.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        columns: The label columns to keep. All are kept if it is empty or names a column that does not exist.

    Raises:
        DataError: The file is not a table, or has no column ``input``.
    """
    table = open_table(path, encoding=encoding, separator=separator, unpack_limit=unpack_limit)
    if input not in table.names:
        names = ", ".join(table.names)
        if len(table.names) == 1 and "," in names:
            names += " (one column; if commas separate the cells, name the file .csv)"
        raise DataError(f"{path}:1: no column {input!r} for the input; there are {names}")
    kept = {input, *columns} if columns and set(columns) <= set(table.names) else set(table.names)
    numbers = [i for i, name in enumerate(table.names) if name in kept]
    found = {table.names[i]: _Column("" if table.names[i] == input else None) for i in numbers}
    places = Places(path)
    for lines, cells in table.batches:
        places.lines.extend(lines)
        for i, column in zip(numbers, found.values(), strict=True):
            column.extend(cells[i])
    values = {name: column.values for name, column in found.items()}
    return Records(values.pop(input), values, places)


class _Column:
    """The cells of a column. Equal cells share one string, and an empty cell becomes ``empty``."""

    def __init__(self, empty: str | None) -> None:
        self.values: list[Any] = []
        self.empty = empty
        self.known: dict[str, Any] = {"": empty}

    def extend(self, cells: Sequence[Any]) -> None:
        if len(self.known) <= RECURRING and set(map(type, cells)) == {str}:
            self.values.extend(map(self.known.setdefault, cells, cells))
        else:
            self.values.extend(
                cells if "" not in cells else (self.empty if cell == "" else cell for cell in cells)
            )


def read_lines(
    path: Path, *, target: Path, encoding: str = "utf-8", unpack_limit: int | None = None
) -> Records:
    """Read two text files with aligned lines, for sequence to sequence (translation).

    Args:
        path: The file of items, one for each line.
        target: The file of target texts, which become the column ``target``.
        encoding: The encoding of both files.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: The files differ in their number of lines.
    """
    items, labels = (
        [line.rstrip("\r\n") for line in lines_of(file, encoding, unpack_limit)] for file in (path, target)
    )
    if len(items) != len(labels):
        raise DataError(f"{path}: {len(items)} lines, but {target} has {len(labels)}; expected aligned lines")
    return Records(items, {"target": list(labels)}, Places(path, range(1, len(items) + 1)))


def read_labelled(
    path: Path, *, separator: str = " ", encoding: str = "utf-8", unpack_limit: int | None = None
) -> Records:
    """Read lines of the form label, separator, text (text classification).

    The label columns are ``label`` and ``coarse``, which is the label up to its first colon. If a line begins
    with several labels in fastText's form (``__label__a __label__b text``), both columns hold lists.

    Args:
        path: The file.
        separator: The separator between label and text.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: A line has no separator.
    """
    places = Places(path)
    records = Records([], {"label": [], "coarse": []}, places)
    for number, line in enumerate(lines_of(path, encoding, unpack_limit), 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        label, found, text = line.partition(separator)
        if not found:
            raise DataError(f"{path}:{number}: got {line[:40]!r}, expected a label, {separator!r} and a text")
        labels = [label]
        while labels[0].startswith(FASTTEXT) and text.startswith(FASTTEXT):
            label, _, text = text.partition(separator)
            labels.append(label)
        records.items.append(text)
        coarse = [label.partition(":")[0] for label in labels]
        records.columns["label"].append(labels if len(labels) > 1 else labels[0])
        records.columns["coarse"].append(coarse if len(coarse) > 1 else coarse[0])
        places.lines.append(number)
    return records


def read_json_lines(
    path: Path, *, input: str = "text", encoding: str = "utf-8", unpack_limit: int | None = None
) -> Records:
    """Read JSON lines: one JSON object in each line. Fields other than ``input`` are label columns.

    Args:
        path: The file.
        input: The field that holds the item.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: A line is not a JSON object with the field ``input``.
    """
    rows = []
    places = Places(path)
    for number, line in enumerate(lines_of(path, encoding, unpack_limit), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict) or input not in row:
            raise DataError(f"{path}:{number}: expected an object with the field {input!r}")
        rows.append(row)
        places.lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row if name != input)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return Records([row[input] for row in rows], columns, places)


def read_recordings(
    path: Path,
    *,
    input: str = "file",
    audio: Path | None = None,
    segments: Path | None = None,
    encoding: str = "utf-8",
    separator: str | None = None,
    unpack_limit: int | None = None,
) -> Records:
    """Read a table that names recordings, which are in a folder or in a tar file.

    Args:
        path: The table, with one row for each recording.
        input: The column with the name of the audio file, with its ending or without.
        audio: The folder or the ``.tar`` with the audio files. Default: the folder of the table.
        segments: A table with four columns: the file's name, start and end in seconds, and a label. It
            becomes the column ``segments``: a list of (start, end, label) for each recording. An empty label
            is missing.
        encoding: The encoding of both tables.
        separator: As for `read_table`, for both tables.
        unpack_limit: As for `read_table`, for both tables.

    Raises:
        DataError: A table cannot be read, the audio does not exist, or a time is not a number.
    """
    options: dict[str, Any] = {"encoding": encoding, "separator": separator, "unpack_limit": unpack_limit}
    records = read_table(path, input=input, **options)
    audio = audio or path.parent
    if not audio.exists():
        raise DataError(f"{audio}: no such file or folder, expected the recordings")
    names = records.items
    records.items = list[Any](find_recordings(audio, names))
    if segments is not None:
        found = _segments(segments, options)
        records.columns["segments"] = [found.get(name) for name in names]
    return records


def _segments(path: Path, options: Mapping[str, Any]) -> dict[str, list[tuple[float, float, str | None]]]:
    found: dict[str, list[tuple[float, float, str | None]]] = {}
    table = open_table(path, **options)
    if len(table.names) != 4:
        raise DataError(f"{path}:1: got columns {', '.join(table.names)}, expected file, start, end, label")
    for number, row in table.rows():
        name, start, end, label = row.values()
        try:
            found.setdefault(name, []).append((float(start), float(end), label or None))
        except ValueError:
            raise DataError(f"{path}:{number}: got times {start!r} and {end!r}, expected seconds") from None
    return found


def read_networks(
    path: Path,
    *,
    edges: Path,
    features: list[str],
    encoding: str = "utf-8",
    separator: str | None = None,
    unpack_limit: int | None = None,
    numeric: Mapping[str, Mapping[str, bool]] | None = None,
) -> Records:
    """Read graphs from two tables, for node and graph classification or regression.

    The columns are graph, node, … in the table of nodes, and graph, source, target, … in the table of edges.
    Nodes are numbered from 0 within their graph. An item is ``{"nodes": {column: values}, "edges":
    [(source, target)], "edge_columns": {column: values}}``. A column is numeric if all its cells are numbers,
    and categorical otherwise. An empty cell in a numeric column is an error.

    Args:
        path: The table of nodes.
        edges: The table of edges.
        features: The columns of nodes that the model sees. The others are label columns: a list with one
            label for each node, None for an empty cell.
        encoding: The encoding of both tables.
        separator: As for `read_table`, for both tables.
        unpack_limit: As for `read_table`, for both tables.
        numeric: For a trained model, ``{"nodes": {column: whether it is numeric}, "edges": …}``. A column
            that was categorical in training is then read as categorical, even if it contains only digits.

    Raises:
        DataError: A table cannot be read, or its rows do not form graphs.
    """
    from multiseq.data import networks

    node_rows, edge_rows = (
        open_table(file, encoding=encoding, separator=separator, unpack_limit=unpack_limit).rows()
        for file in (path, edges)
    )
    return networks.read_graphs(path, edges, node_rows, edge_rows, features, numeric or {})


def read_rdkit_logp(path: Path) -> Records:
    """Read SMILES from a file inside RDKit; see `multiseq.data.molecules.read_molecules`.

    The column ``logp`` is RDKit's estimate of the octanol-water logP (Crippen), for graph regression.
    """
    from multiseq.data import molecules

    return molecules.read_molecules(path)


READERS: dict[str, Callable[..., Records]] = {
    "conllu": read_conllu,
    "table": read_table,
    "lines": read_lines,
    "labelled": read_labelled,
    "jsonl": read_json_lines,
    "recordings": read_recordings,
    "networks": read_networks,
    "rdkit-logp": read_rdkit_logp,
}
"""Name of a format in a recipe -> its reader."""
