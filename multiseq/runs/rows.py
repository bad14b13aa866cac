"""Rows of files to predict: each with its item and all its columns, read one after another.

Tables, JSON lines, lines of text and CoNLL-U are streamed: memory does not grow with the file. Networks,
triples and lines with labels are read as a whole.
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from multiseq.checks import no_such
from multiseq.data import READERS as READERS_OF_FILES
from multiseq.data import DataError, Records
from multiseq.data.bad_rows import Reject, stop
from multiseq.data.conll import WORD, Sentence, conll_sentences, layout_of
from multiseq.data.conllu import FIELDS
from multiseq.data.formats import TEXT
from multiseq.data.graphs.graphml import item_of as graph_item_of
from multiseq.data.graphs.graphml import networks_of
from multiseq.data.graphs.molecules import named_molecules, with_features
from multiseq.data.graphs.networks import columns_of_nodes
from multiseq.data.graphs.sdf import Entry, entries_of, smiles_of
from multiseq.data.graphs.webnlg import readable_facts
from multiseq.data.kaldi import UTTERANCE, is_kaldi
from multiseq.data.readers.graphs import columns_of_triples
from multiseq.data.readers.text import FASTTEXT, conllu_sentences, fasttext_line
from multiseq.data.recordings import TIMES, by_stem, finder, recording_of_name, segment_of
from multiseq.data.tables import Table, as_text, open_table
from multiseq.data.text_files import lines_of, no_such_file, suffix_of, text_of
from multiseq.data.textgrids import grids_of
from multiseq.labels import class_name
from multiseq.requires import need
from multiseq.runs.items import Reading, field_of, item_of, json_value
from multiseq.runs.sources import read_records, reader_options

__all__ = [
    "Input",
    "Row",
    "columns_of_input",
    "inputs_of",
    "items_of",
    "num_rows",
    "rows_of",
    "schema_of",
    "spooled",
]

ITEM, FILE, NETWORK, NODE, SMILES, NAME = "item", "file", "network", "node", "smiles", "name"
"""Names of columns that a file lacks: of lines, of files, of networks and nodes, of molecules and names."""

FILES = ("npz", "planetoid", "tu")
"""Formats of networks that others publish."""

ENDINGS = {
    "table": ".csv",
    "recordings": ".csv",
    "jsonl": ".jsonl",
    "json": ".json",
    "conllu": ".conllu",
    "conll": ".conll",
}
"""Format -> the ending that stands for it where standard input has no name."""


@dataclass(frozen=True)
class Input:
    """A file of rows to predict.

    Args:
        path: The file.
        reading: How to read it, from `multiseq.runs.items.reading_of`.
        folder: The folder that paths in the file are relative to.
        name: What the file is called in messages and in the column that names it.
        short: The same, without the folder that was given as input.
    """

    path: Path
    reading: Reading
    folder: Path
    name: str
    short: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its item, and what has to come out unchanged.

    Args:
        cells: Column -> cell, as the file has it.
        item: The item, in the form that the adapter takes.
        location: File and line, for messages.
        name: The name of a recording, as its file or table has it.
        lines: The lines of a sentence in CoNLL-U or CoNLL-2003, and those before it that are of no sentence.
        places: The number of the line of each word, in ``lines``.
        names: The names of the columns in these lines.
        members: For a network, the cells of each node in its order.
        error: Why the row has no item. Empty if it has one.
    """

    cells: Mapping[str, Any]
    item: Any
    location: str
    name: str = ""
    lines: Sequence[str] = ()
    places: Sequence[int] = ()
    names: Sequence[str] = ()
    members: Sequence[Mapping[str, Any]] = field(default=())
    error: str = ""


# --- files ----------------------------------------------------------------------------------------


def inputs_of(given: str, adapter: Any) -> list[tuple[Path, str]]:
    """The files that ``--input`` names: a file, all files of a folder, or those that match a pattern.

    Of a folder of recordings, only the files with an ending of the adapter are taken. Hidden files are not. A
    data folder of Kaldi is one input.

    Returns:
        Each path, and its name without the folder that was given.

    Raises:
        ValueError: There is no file.
    """
    folder = Path(given)
    if folder.is_dir() and is_kaldi(folder) and hasattr(adapter, "suffixes"):
        return [(folder, folder.name)]
    if folder.is_dir():
        paths = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
        paths = [path for path in paths if not any(name.startswith(".") for name in path.parts)]
        of_adapter = [path for path in paths if suffix_of(path) in getattr(adapter, "suffixes", ())]
        files = [(folder / path, path.as_posix()) for path in sorted(of_adapter or paths)]
    elif folder.exists() or not glob.has_magic(given):
        return [(folder, folder.name)]
    else:
        matches = sorted(path for path in glob.glob(given, recursive=True) if Path(path).is_file())
        files = [(Path(path), path) for path in matches]
    if not files:
        raise ValueError(f"{given}: no file in it, expected files to predict")
    return files


def spooled(folder: Path, suffix: str) -> Path:
    """Standard input as a file in ``folder``: some readers look at a file twice."""
    path = folder / f"stdin{suffix}"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def columns_of_input(file: Input, vector: bool) -> list[str]:
    """The columns of a file, in its order.

    Args:
        file: The file.
        vector: Whether a network has a row for each node, or one row.
    """
    kind, path = file.reading.format, file.path
    if kind in ("item", "folders"):
        return [FILE]
    if kind in ("table", "recordings"):
        return schema_of(path).names if suffix_of(path) == ".parquet" else _open(file).names
    if kind == "networks":
        names = _open(file).names
        graph, _ = columns_of_nodes(names)
        return names if vector else [graph or NETWORK]
    if kind == "triples":
        names = _open(file).names
        graph, triple = columns_of_triples(path, names)
        return [name for name in names if name not in triple]
    if kind == "webnlg":
        return ["category", "eid", "split", "text"]
    if kind == "labelled":
        return ["label", "text"]
    if kind in FILES:
        labels = READERS_OF_FILES[kind](path).columns
        return [NETWORK, NODE, *labels] if vector else [NETWORK]
    if kind == "graphml":
        return [NETWORK, NODE, *_attributes(file)] if vector else [NETWORK]
    if kind == "textgrid":
        return [FILE]
    if kind == "kaldi":
        return list(_kaldi(file, None)[0].columns)
    if kind == "sdf":
        return [SMILES, *dict.fromkeys(name for entry in _entries(file) for name in entry.properties)]
    if kind == "smi":
        return [SMILES, NAME]
    if kind != "jsonl":
        return [ITEM]
    fields: dict[str, None] = {}
    for line in _lines(file):
        if line.strip():
            try:
                value = json_value(line, path.name, None)
            except ValueError:  # `rows_of` says it, with the line
                value = None
            fields.update(dict.fromkeys(value if isinstance(value, dict) else [ITEM]))
    return list(fields)


def num_rows(file: Input) -> int | None:
    """About how many rows a file has. None where only reading it tells."""
    kind, suffix = file.reading.format, suffix_of(file.path)
    if suffix == ".parquet":
        with file.path.open("rb") as raw:
            number: int = need("pyarrow.parquet", package="multiseq[tables]").read_metadata(raw).num_rows
            return number
    if kind in ("table", "recordings", "text", "smi", "jsonl") and not suffix.startswith(".xls"):
        return sum(1 for _ in _lines(file)) - (kind in ("table", "recordings"))
    return 1 if kind in ("item", "json", "folders") else None


def items_of(
    files: Sequence[Input], adapter: Any, errors: dict[int, str] | None = None
) -> tuple[list[Any], list[str]]:
    """The items of all files, and the location (file and line) of each.

    Args:
        files: The files.
        adapter: The adapter of the items.
        errors: Gets the error of each item that has one, by its number. Without it, the first one is raised.

    Raises:
        ValueError: A file or an item is invalid; the message has the line.
    """
    items: list[Any] = []
    locations: list[str] = []
    for row in (row for file in files for row in rows_of(file, adapter)):
        if row.error:
            if errors is None:
                raise ValueError(row.error)
            errors[len(items)] = row.error
        items.append(row.item)
        locations.append(row.location)
    return items, locations


# --- rows -----------------------------------------------------------------------------------------


def rows_of(file: Input, adapter: Any) -> Iterator[Row]:
    """The rows of a file, in its order. A row whose item cannot be read has an error in its place.

    Raises:
        ValueError: The file cannot be read; the message has the line.
    """
    read = READERS.get(file.reading.format, _of_lines)
    return read(file, adapter)


def _of_item(file: Input, adapter: Any) -> Iterator[Row]:
    yield Row({FILE: file.name}, str(file.path), str(file.path), file.short)


def _of_file(file: Input, adapter: Any) -> Iterator[Row]:
    """A file as the reader of folders reads it: all of its text is one item."""
    options = {key: value for key, value in file.reading.options.items() if key in TEXT}
    try:
        item, error = text_of(file.path, **options).strip(), ""
    except DataError as wrong:
        item, error = "", str(wrong)
    yield Row({FILE: file.name}, item, str(file.path), file.short, error=error)


def _of_table(file: Input, adapter: Any) -> Iterator[Row]:
    column = file.reading.options.get("input", "text")
    make = _maker(file, adapter)
    names, lines = _parquet_cells(file) if suffix_of(file.path) == ".parquet" else _table_cells(file)
    for name in _features(file):
        if name not in names:
            raise DataError(f"{file.path}:1: {no_such('column', name, names, ' for the features')}")
    if column not in names:
        missing = f"{no_such('column', column, names, ' for the input')}: choose with --column"
        takes = "; this run takes recordings, which the column must name" if _takes_files(adapter) else ""
        raise DataError(f"{file.path}:1: {missing}{takes}")
    for line, cells in lines:
        location = f"{file.name}:{line}"
        if isinstance(cells, str):
            yield Row({}, None, location, error=f"{location}: {cells}")
        else:
            yield make(cells, cells[column], location)


def _features(file: Input) -> Sequence[str]:
    """The columns of a table that are a part of each item. Of networks, the reader takes them."""
    of_table: Sequence[str] = file.reading.options.get("features", ())
    return of_table if file.reading.format == "table" else ()


def _takes_files(adapter: Any) -> bool:
    return bool(getattr(adapter, "suffixes", ()))


Lines = Iterator[tuple[int, dict[str, Any] | str]]
"""Number of a line, and its cells; or why it has none."""


def _table_cells(file: Input) -> tuple[list[str], Lines]:
    bad: deque[tuple[int, str]] = deque()

    def reject(location: str, reason: str, raw: str = "") -> None:
        line = int(location.rpartition(":")[2])
        bad.append((line, f"{reason}; the row: {raw.rstrip()}" if raw else reason))

    def lines() -> Lines:
        for line, cells in table.rows():
            while bad and bad[0][0] < line:  # those of a batch are known before its rows
                yield bad.popleft()
            yield line, cells
        yield from bad

    table = _open(file, reject)
    return table.names, lines()


def _parquet_cells(file: Input) -> tuple[list[str], Lines]:
    """Like `Table.rows`, but cells keep the types that Parquet has."""
    names = schema_of(file.path).names

    def lines() -> Lines:
        parquet = need("pyarrow.parquet", package="multiseq[tables]")
        numbers = count(1)
        with file.path.open("rb") as raw, parquet.ParquetFile(raw) as opened:
            for batch in opened.iter_batches(1024):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    yield next(numbers), dict(zip(names, cells, strict=True))

    return names, lines()


def schema_of(path: Path) -> Any:
    """The columns of a Parquet file and their types."""
    parquet = need("pyarrow.parquet", package="multiseq[tables]")
    if not path.is_file():
        raise no_such_file(path)
    try:
        return parquet.read_schema(path)
    except Exception as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from None


def _maker(file: Input, adapter: Any) -> Callable[[dict[str, Any], Any, str], Row]:
    """A function that makes a row of cells and an item as the file has it. It finds recordings."""
    features = _features(file)
    audio = Path(file.reading.options.get("audio", file.folder))
    are_listed = file.reading.format == "recordings"
    if not are_listed:
        audio = file.folder
    if not audio.exists():
        raise DataError(f"{audio}: no such file or folder, expected the recordings")
    are_files = _takes_files(adapter)
    find = finder(audio)
    of_training = not audio.resolve().is_relative_to(file.folder.resolve())  # the recordings' folder

    def make(cells: dict[str, Any], given: Any, location: str) -> Row:
        value = given if isinstance(given, str | list) else as_text(given)
        if are_files and isinstance(value, str):
            try:
                beside = file.folder / value
                is_beside = not are_listed or (of_training and beside.is_file())
                item = str(beside) if is_beside else find(value)
            except DataError as error:
                return Row(cells, None, location, value, error=f"{location}: {error}")
            if not are_listed and isinstance(item, str) and not os.path.isfile(item):
                takes = "this run takes recordings, which the column must name"
                there = f"there are {', '.join(cells)}: choose with --column"
                missing = f"{location}: {item[:80]}: no such file; {takes}; {there}"
                return Row(cells, None, location, value, error=missing)
            return _cut(Row(cells, item, location, value))
        value = with_features(value, cells, features) if features else value
        return _row(cells, value, location, file, adapter)

    return make


def _of_lines(file: Input, adapter: Any) -> Iterator[Row]:
    for number, line in enumerate(_lines(file, adapter), 1):
        text = line.rstrip("\r\n")
        yield _row({ITEM: text}, text, f"{file.name}:{number}", file, adapter)


def _of_named_molecules(file: Input, adapter: Any) -> Iterator[Row]:
    for number, smiles, name in named_molecules(_lines(file, adapter)):
        location = f"{file.name}:{number}"
        yield _row({SMILES: smiles, NAME: name}, f"{smiles} {name}".rstrip(), location, file, adapter)


def _of_json_lines(file: Input, adapter: Any) -> Iterator[Row]:
    column = file.reading.options.get("input", "text")
    for number, line in enumerate(_lines(file, adapter), 1):
        if not line.strip():
            continue
        location = f"{file.name}:{number}"
        cells: Mapping[str, Any] = {ITEM: line.rstrip("\r\n")}
        try:
            value = json_value(line.rstrip("\r\n"), location, adapter)
            cells = value if isinstance(value, dict) else {ITEM: value}
            item = field_of(adapter, value, column, location)
        except ValueError as error:
            yield Row(cells, None, location, error=str(error))
            continue
        row = _row(cells, item, location, file, adapter)
        yield _cut(row) if getattr(adapter, "suffixes", ()) else row


def _cut(row: Row) -> Row:
    """A row of a recording, or of the part of it that its cells ``start`` and ``end`` say."""
    if not set(TIMES) <= set(row.cells) or row.error:
        return row
    try:
        return replace(row, item=segment_of(row.item, *(row.cells[name] for name in TIMES)))
    except ValueError as error:
        return replace(row, item=None, error=f"{row.location}: {error}")


def _of_json(file: Input, adapter: Any) -> Iterator[Row]:
    value = json_value("".join(_lines(file, adapter)), file.name, adapter)
    yield _row({ITEM: value}, value, file.name, file, adapter)


def _of_conllu(file: Input, adapter: Any) -> Iterator[Row]:
    options = {key: value for key, value in file.reading.options.items() if key in TEXT}
    sentences = conllu_sentences(file.path, **options, reject=_not_words)
    yield from _of_sentences(file, sentences, FIELDS, "form")


def _of_conll(file: Input, adapter: Any) -> Iterator[Row]:
    options = {key: value for key, value in file.reading.options.items() if key in TEXT}
    names = file.reading.options.get("column_names", ())
    layout = layout_of(lines_of(file.path, **options), names, with_tags=False)
    sentences = conll_sentences(file.path, layout, **options, reject=_not_words)
    yield from _of_sentences(file, sentences, layout.names, WORD)


def _not_words(location: str, reason: str, raw: str = "") -> None:
    """Raise BadRowError. A file may be read as words with tags because training was, whatever its ending."""
    known = suffix_of(location.rpartition(":")[0]) in (".conllu", ".conll")
    stop(location, reason if known else f"{reason}; where the lines are texts, give --set format=text")


def _of_sentences(
    file: Input, sentences: Iterable[Sentence], names: Sequence[str], word: str
) -> Iterator[Row]:
    """A row for each sentence. ``word`` is the name of the column with the word."""
    for start, lines, words, places in sentences:
        item = [fields[names.index(word)] for fields in words]
        place = f"{file.name}:{start}"
        yield Row({ITEM: " ".join(item)}, item, place, lines=lines, places=places, names=names)


def _of_grids(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for the recording of each TextGrid. What the TextGrids say does not matter."""
    options = file.reading.options
    audio = options.get("audio", file.path if file.path.is_dir() else file.path.parent)
    chosen = {key: options[key] for key in TEXT if key in options}
    known: Mapping[str, Any] = {}
    for grid in grids_of(file.path, **chosen):
        known = known or by_stem(audio)
        try:
            item, error = recording_of_name(known, audio, grid.name), ""
        except ValueError as wrong:
            item, error = "", f"{grid.location}: {wrong}"
        yield Row({FILE: grid.name}, item or None, grid.location, grid.name, error=error)


def _of_kaldi(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each utterance, in the order of the data folder; lines that are none have an error."""
    records, bad = _kaldi(file, adapter)
    locations = [*records.locations, *(row.location for row in bad)]
    # Lines of other files, which say something of an utterance, are no rows.
    rows = [row for row in bad if row.location.rpartition(":")[0] == locations[0].rpartition(":")[0]]
    for i, (item, location) in enumerate(zip(records.items, records.locations, strict=True)):
        cells = {name: values[i] for name, values in records.columns.items()}
        rows.append(Row(cells, item, location, cells[UTTERANCE]))
    yield from sorted(rows, key=lambda row: int(row.location.rpartition(":")[2]))


def _kaldi(file: Input, adapter: Any) -> tuple[Records, list[Row]]:
    """The utterances of a data folder, and a row with an error for each line that is none."""
    bad: list[Row] = []

    def reject(location: str, reason: str, raw: str = "") -> None:
        name = "".join(raw.split()[:1])
        bad.append(Row({UTTERANCE: name}, None, location, error=f"{location}: {reason}"))

    options = {**file.reading.options, "columns": [UTTERANCE], "reject": reject}
    return read_records("kaldi", file.path, options, adapter), bad


def _of_labelled(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each line with a label. If training had labels of fastText, for each line, with or without.

    Raises:
        ValueError: The first word of a line is not a known label: it may belong to the text.
    """
    known, separator = file.reading.labels, file.reading.options.get("separator")
    of_fasttext = known and all(str(label).startswith(FASTTEXT) for label in known)
    if of_fasttext and (separator is None or separator.isspace()) and not _takes_files(adapter):
        for number, line in enumerate(_lines(file, adapter), 1):
            labels, text = fasttext_line(line.rstrip("\r\n"))
            cells = {"label": labels[0] if len(labels) == 1 else labels or "", "text": text}
            yield _labelled_row(cells, f"{file.name}:{number}", file, adapter)
        return
    bad: list[Row] = []

    def reject(location: str, reason: str, raw: str = "") -> None:
        location = f"{file.name}:{location.rpartition(':')[2]}"
        bad.append(Row({"label": "", "text": raw}, None, location, error=f"{location}: {reason}"))

    records = read_records("labelled", file.path, {**file.reading.options, "reject": reject}, adapter)
    rows = bad
    for item, label, place in zip(records.items, records.columns["label"], records.locations, strict=True):
        location = f"{file.name}:{place.rpartition(':')[2]}"
        given = label if isinstance(label, list) else [label]
        if file.reading.column == "coarse":
            given = [one.partition(":")[0] for one in given]
        new = [one for one in given if class_name(one) not in known]
        if known and new:
            raise ValueError(
                f"{location}: got the label {new[0]!r}, which training has not seen; where the lines are "
                "texts without labels, give --set format=text"
            )
        rows.append(_labelled_row({"label": label, "text": item}, location, file, adapter))
    yield from sorted(rows, key=lambda row: int(row.location.rpartition(":")[2]))


def _labelled_row(cells: dict[str, Any], location: str, file: Input, adapter: Any) -> Row:
    item = cells["text"]
    return Row(cells, item, location) if _takes_files(adapter) else _row(cells, item, location, file, adapter)


def _of_networks(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each graph, after one with an error for each line that does not fit the others."""
    bad, reject = _bad_rows()
    options = {**file.reading.options, **reader_options(adapter), "reject": reject}
    records = read_records("networks", file.path, options, adapter)
    yield from bad
    left_out = {row.location for row in bad}
    table = _open(file, lambda *_: None)
    graph, _ = columns_of_nodes(table.names)
    nodes: dict[str, list[dict[str, str]]] = {}
    for line, cells in table.rows():
        if f"{file.path}:{line}" not in left_out:
            nodes.setdefault(cells[graph] if graph else file.path.stem, []).append(cells)
    for item, location, (name, members) in zip(records.items, records.locations, nodes.items(), strict=True):
        yield Row({graph or NETWORK: name}, item, location, members=members)


def _bad_rows() -> tuple[list[Row], Reject]:
    """A list of rows with errors, and what adds to it."""
    bad: list[Row] = []

    def reject(location: str, reason: str, raw: str = "") -> None:
        bad.append(Row({}, None, location, error=f"{location}: {reason}"))

    return bad, reject


def _of_graphml(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each graph, or for each node with its attributes."""
    for location, graph in networks_of(file.path):
        name = str(graph.graph.get("name") or file.path.stem)
        members = [
            {NETWORK: name, NODE: str(node), **attributes} for node, attributes in graph.nodes(data=True)
        ]
        try:
            item, _ = graph_item_of(graph, file.reading.options.get("features", ()))
            yield Row({NETWORK: name}, item, location, members=members)
        except ValueError as error:
            yield Row({NETWORK: name}, None, location, members=members, error=f"{location}: {error}")


def _of_network_files(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each graph, or for each node with its labels, of ``npz``, ``planetoid`` and ``tu``."""
    records = READERS_OF_FILES[file.reading.format](file.path)
    for i, (item, location) in enumerate(zip(records.items, records.locations, strict=True)):
        name = file.path.stem if len(records.items) == 1 else f"{file.path.stem} {i + 1}"
        labels = {key: values[i] for key, values in records.columns.items()}
        num = len(next(iter(item["nodes"].values())))
        members = [
            {NETWORK: name, NODE: str(node), **{k: v[node] for k, v in labels.items() if isinstance(v, list)}}
            for node in range(num)
        ]
        yield Row({NETWORK: name}, item, location, members=members)


def _attributes(file: Input) -> list[str]:
    graphs = (graph for _, graph in networks_of(file.path))
    return list(
        dict.fromkeys(
            key for graph in graphs for _, attributes in graph.nodes(data=True) for key in attributes
        )
    )


def _of_sdf(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each molecule: its SMILES and its properties."""
    for entry in _entries(file):
        location = f"{file.name}:{entry.line}"
        try:
            smiles = smiles_of(entry)
            yield Row({SMILES: smiles, **entry.properties}, smiles, location)
        except ValueError as error:
            yield Row(entry.properties, None, location, error=f"{location}: {error}")


def _entries(file: Input) -> Iterator[Entry]:
    options = {key: value for key, value in file.reading.options.items() if key in TEXT}
    return entries_of(file.path, **options)


def _of_triples(file: Input, adapter: Any) -> Iterator[Row]:
    """A row for each graph: its name, and its labels if there are some; after one for each bad line."""
    bad, reject = _bad_rows()
    records = read_records(
        file.reading.format, file.path, {**file.reading.options, "reject": reject}, adapter
    )
    yield from bad
    for i, (item, location) in enumerate(zip(records.items, records.locations, strict=True)):
        cells = {name: values[i] for name, values in records.columns.items()}
        yield Row(cells, readable_facts(item) if file.reading.trained == "webnlg" else item, location)


def _row(cells: Mapping[str, Any], given: Any, location: str, file: Input, adapter: Any) -> Row:
    try:
        return Row(cells, item_of(adapter, given, file.folder, location), location, str(given))
    except ValueError as error:
        return Row(cells, None, location, error=str(error))


def _open(file: Input, reject: Reject = stop) -> Table:
    options = file.reading.options
    keys = ("encoding", "separator", "sheet", "unpack_limit")
    chosen = {key: options[key] for key in keys if key in options}
    return open_table(file.path, **chosen, reject=reject)


def _lines(file: Input, adapter: Any = None) -> Iterator[str]:
    options = {key: value for key, value in file.reading.options.items() if key in TEXT}
    try:
        yield from lines_of(file.path, **options)
    except DataError as error:
        suffixes = " ".join(getattr(adapter, "suffixes", ()))
        if suffixes and file.path.is_file():
            raise ValueError(
                f"{file.path}: is not a text file; expected text or a file of {suffixes}; convert it"
            ) from error
        raise


READERS: dict[str, Callable[[Input, Any], Iterator[Row]]] = {
    "item": _of_item,
    "folders": _of_file,
    "table": _of_table,
    "recordings": _of_table,
    "jsonl": _of_json_lines,
    "json": _of_json,
    "conllu": _of_conllu,
    "conll": _of_conll,
    "labelled": _of_labelled,
    "networks": _of_networks,
    "triples": _of_triples,
    "webnlg": _of_triples,
    "textgrid": _of_grids,
    "kaldi": _of_kaldi,
    "sdf": _of_sdf,
    "smi": _of_named_molecules,
    "graphml": _of_graphml,
    **dict.fromkeys(FILES, _of_network_files),
}
"""Format -> its rows. Any other format is lines of text."""
