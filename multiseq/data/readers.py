"""Readers: a file format -> `Records`. Every error names the file and the line.

A reader takes the path of a part and the format's own options as keyword arguments. Plain files may be
gzipped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from multiseq.data.records import DataError, Records, open_text

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


def read_conllu(path: Path) -> Records:
    """CoNLL-U treebanks (https://universaldependencies.org/format.html): an item is a list of words.

    Columns: ``upos``, ``xpos``, ``lemma``, ``deprel``, a list with one label for each word. Lines of
    multi-word tokens (1-2) and empty nodes (1.1) are no words of the tree and are passed over.
    """
    records = Records([], {"upos": [], "xpos": [], "lemma": [], "deprel": []})
    rows: list[list[str]] = []
    start = 1
    for number, line in enumerate([*open_text(path), ""], 1):
        line = line.rstrip("\n")
        if not line.strip():
            if rows:
                _add_sentence(records, rows, f"{path}:{start}")
            rows, start = [], number + 1
        elif not line.startswith("#"):
            fields = line.split("\t")
            if len(fields) != 10:
                raise DataError(
                    f"{path}:{number}: got {len(fields)} columns, expected the 10 of CoNLL-U, tab-separated"
                )
            if fields[0].isdigit():
                rows.append(fields)
    return records


def _add_sentence(records: Records, rows: list[list[str]], where: str) -> None:
    records.items.append([row[1] for row in rows])
    for name, column in {"lemma": 2, "upos": 3, "xpos": 4, "deprel": 7}.items():
        records.columns[name].append([None if row[column] == "_" else row[column] for row in rows])
    records.where.append(where)


def read_table(path: Path, *, input: str = "text", encoding: str = "utf-8") -> Records:
    """A table with a header: ``.csv`` with commas and quotes, else tabs without quoting.

    Args:
        path: The file.
        input: The column that holds the items; the others are label columns. Empty cells are missing.
        encoding: Of the file.
    """
    records = Records([], {})
    for number, row in _rows(path, encoding):
        if input not in row:
            names = ", ".join(row)
            if len(row) == 1 and "," in names:
                names += " (one column; where commas separate, name the file .csv)"
            raise DataError(f"{path}:1: no column {input!r} for the input; there are {names}")
        records.items.append(row[input])
        records.where.append(f"{path}:{number}")
        for name, value in row.items():
            if name != input:
                records.columns.setdefault(name, []).append(value or None)
    return records


def _rows(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column name) of a table with a header."""
    file = open_text(path, encoding)
    rows = (_commas if path.name.removesuffix(".gz").endswith(".csv") else _tabs)(path, file)
    _, header = next(rows, (1, []))
    if not any(header):
        raise DataError(f"{path}: empty, expected a header line")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}:1: got two columns {twice!r}, expected names that differ")
    for number, row in rows:
        if not any(row) and len(row) < 2:
            continue
        if len(row) != len(header):
            raise DataError(f"{path}:{number}: got {len(row)} cells, expected {len(header)} as in the header")
        yield number, dict(zip(header, row, strict=True))


def _commas(path: Path, file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of comma-separated values with the number of the line in which each begins."""
    csv.field_size_limit(2**31 - 1)  # of all readers, alas; Python's own 131,072 characters are a short book
    reader = csv.reader(file, strict=True)  # or a quote that is not closed takes in the rest of the file
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}:{number}: not comma-separated values: {error}; expected quotes in pairs, and lines "
                "that end in a newline"
            ) from None


def _tabs(path: Path, file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of tab-separated values with their line numbers."""
    return ((number, line.rstrip("\r\n").split("\t")) for number, line in enumerate(file, 1))


def read_lines(path: Path, *, target: Path, encoding: str = "utf-8") -> Records:
    """Two files of aligned lines, as for translation: items and the column ``target``."""
    items = [line.rstrip("\r\n") for line in open_text(path, encoding)]
    labels = [line.rstrip("\r\n") for line in open_text(target, encoding)]
    if len(items) != len(labels):
        raise DataError(f"{path}: {len(items)} lines, but {target} has {len(labels)}; expected aligned lines")
    return Records(items, {"target": list(labels)}, [f"{path}:{i + 1}" for i in range(len(items))])


def read_labelled(path: Path, *, separator: str = " ", encoding: str = "utf-8") -> Records:
    """Lines of a label, the separator, a text: columns ``label`` and ``coarse``, its part before a colon."""
    records = Records([], {"label": [], "coarse": []})
    for number, line in enumerate(open_text(path, encoding), 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        label, found, text = line.partition(separator)
        if not found:
            raise DataError(f"{path}:{number}: got {line[:40]!r}, expected a label, {separator!r} and a text")
        records.items.append(text)
        records.columns["label"].append(label)
        records.columns["coarse"].append(label.partition(":")[0])
        records.where.append(f"{path}:{number}")
    return records


def read_json_lines(path: Path, *, input: str = "text") -> Records:
    """One JSON object a line; the field ``input`` is the item, the others are label columns."""
    rows = []
    records = Records([], {})
    for number, line in enumerate(open_text(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict) or input not in row:
            raise DataError(f"{path}:{number}: expected an object with the field {input!r}")
        rows.append(row)
        records.items.append(row[input])
        records.where.append(f"{path}:{number}")
    names = dict.fromkeys(name for row in rows for name in row if name != input)
    records.columns = {name: [row.get(name) for row in rows] for name in names}
    return records


def read_recordings(
    path: Path, *, input: str = "file", audio: Path | None = None, segments: Path | None = None
) -> Records:
    """A table that names recordings, which lie in a folder or inside a tar file.

    Args:
        path: The table; one row a recording.
        input: The column with the file's name.
        audio: A folder or a ``.tar`` that holds the files; the table's own folder where not given.
        segments: A table whose columns are the file's name, start and end in seconds, and a label; it
            becomes the column ``segments``: a list of (start, end, label) for each recording.
    """
    from multiseq.adapters.speech import AudioFile

    records = read_table(path, input=input)
    audio = audio or path.parent
    if not audio.exists():
        raise DataError(f"{audio}: no such file or folder, expected the recordings")
    names = records.items
    inside = audio.is_file()
    records.items = [AudioFile(str(audio), name) if inside else str(audio / name) for name in names]
    if segments is not None:
        found = _segments(segments)
        records.columns["segments"] = [found.get(name) for name in names]
    return records


def _segments(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    found: dict[str, list[tuple[float, float, str]]] = {}
    for number, row in _rows(path):
        if len(row) != 4:
            raise DataError(f"{path}:1: got columns {', '.join(row)}, expected file, start, end, label")
        name, start, end, label = row.values()
        try:
            found.setdefault(name, []).append((float(start), float(end), label))
        except ValueError:
            raise DataError(f"{path}:{number}: got times {start!r} and {end!r}, expected seconds") from None
    return found


def read_networks(path: Path, *, edges: Path, features: list[str]) -> Records:
    """Graphs as two tables: nodes (graph, node, columns …) and edges (graph, source, target, columns …).

    Nodes are numbered from 0 within their graph. An item is ``{"nodes": {column: values}, "edges":
    [(source, target)], "edge_columns": {column: values}}``; a column of numbers only is a number, any
    other a category. Numbers with an empty cell among them are an error.

    Args:
        path: The table of nodes.
        edges: The table of edges.
        features: The nodes' columns that the model sees; the others are label columns, a list with one
            label for each node, None where the cell is empty.
    """
    from multiseq.data import networks

    return networks.read(path, edges, _rows(path), _rows(edges), features)


def read_rdkit_logp(path: Path) -> Records:
    """SMILES that ship inside RDKit, with RDKit's own octanol-water logP (Crippen) as the column ``logp``."""
    from multiseq.data import molecules

    return molecules.read(path)


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
"""Format name in a recipe -> reader."""
