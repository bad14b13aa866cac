"""Readers for any modality: tables, JSON lines, folders and files by class."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from multiseq.checks import nearest, no_such
from multiseq.data.bad_rows import Reject, stop
from multiseq.data.graphs.molecules import with_features
from multiseq.data.records import DataError, Places, Records
from multiseq.data.tables import open_table
from multiseq.data.text_files import WITH_PANDAS, lines_of, parse_json, suffix_of, text_of

__all__ = [
    "RECURRING",
    "read_files",
    "read_folders",
    "read_json_lines",
    "read_table",
]

RECURRING = 4096
"""Up to this number of different cells in a column, equal cells share one string."""

FIRST_LINES = 20
"""So many lines show whether a file is JSON lines."""

SHOWN = 60
"""So many characters of a line that is something else are shown."""


def read_table(
    path: Path,
    *,
    input: str = "text",
    features: Sequence[str] = (),
    encoding: str = "utf-8",
    separator: str | None = None,
    sheet: str | None = None,
    unpack_limit: int | None = None,
    columns: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read a table with a header (CSV, TSV, Parquet or Excel; see `multiseq.data.tables.open_table`).

    Args:
        path: The file.
        input: The column that holds the items. The others are label columns, in which an empty cell is a
            missing label.
        features: Columns with numbers about the item, a molecule, that the model sees too. An item is then
            ``{"smiles": …, column: cell}``.
        encoding: The encoding of a text file.
        separator: The separator between cells. Default: derived from the file's name and header.
        sheet: The sheet of an Excel file that has several with cells. Other files have none.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        columns: The label columns to keep. All are kept if it is empty or names another column.
        reject: What to do about a row with a wrong number of cells.

    Raises:
        DataError: The file is not a table, or has no column ``input``.
    """
    table = open_table(
        path,
        encoding=encoding,
        separator=separator,
        sheet=sheet,
        unpack_limit=unpack_limit,
        reject=reject,
    )
    if input not in table.names:
        missing = no_such("column", input, table.names, " for the input")
        if len(table.names) == 1 and "," in table.names[0]:
            missing += " (one column; if commas separate the cells, name the file .csv)"
        raise DataError(f"{path}:1: {missing}")
    for name in features:
        if name not in table.names:
            raise DataError(f"{path}:1: {no_such('column', name, table.names, ' for the features')}")
    labels = set(table.names) - {input}
    kept = {input, *features, *columns} if columns and set(columns) <= labels else set(table.names)
    numbers = [i for i, name in enumerate(table.names) if name in kept]
    columns_read = {table.names[i]: _Column("" if table.names[i] == input else None) for i in numbers}
    places = Places(path)
    for lines, cells in table.batches:
        places.lines.extend(lines)
        for i, column in zip(numbers, columns_read.values(), strict=True):
            column.extend(cells[i])
    values = {name: column.values for name, column in columns_read.items()}
    items = values.pop(input)
    if features:
        rows = zip(*(values[name] for name in features), strict=True)
        items = [
            with_features(item, dict(zip(features, cells, strict=True)), features)
            for item, cells in zip(items, rows, strict=True)
        ]
    return Records(items, values, places)


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


def read_json_lines(
    path: Path,
    *,
    input: str = "text",
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read JSON lines: one JSON object in each line. Fields other than ``input`` are label columns.

    Args:
        path: The file.
        input: The field that holds the item.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a line that is not such an object.

    Raises:
        DataError: The file is no JSON lines, or a line is not a JSON object with the field ``input``.
    """
    objects = []
    places = Places(path)
    lines = lines_of(path, encoding, unpack_limit)
    first = list(islice(lines, FIRST_LINES))
    _check_json_lines(path, [line.strip() for line in first if line.strip()])
    for number, line in enumerate(chain(first, lines), 1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except ValueError as error:
            reject(f"{path}:{number}", f"not JSON: {error}", line)
            continue
        if not isinstance(entry, dict) or input not in entry:
            near = nearest(input, entry) if isinstance(entry, dict) else ""
            reject(f"{path}:{number}", f"expected an object with the field {input!r}{near}", line)
            continue
        objects.append(entry)
        places.lines.append(number)
    names = dict.fromkeys(name for entry in objects for name in entry if name != input)
    columns = {name: [entry.get(name) for entry in objects] for name in names}
    return Records([entry[input] for entry in objects], columns, places)


def _check_json_lines(path: Path, first: Sequence[str]) -> None:
    """Raise DataError if the file is of another kind: then no row is bad, and leaving rows out is no help."""
    expected = "expected a JSON object in each line (JSON lines)"
    if first and re.match(r"\[\s*(\{|$)", first[0]):
        raise DataError(f"{path}: got one JSON array, {expected}; write it so, {WITH_PANDAS}")
    if first and not any(line.startswith("{") or _is_json(line) for line in first):
        table = 'a table with a header (CSV, TSV) is read by format = "table"'
        raise DataError(f"{path}: got {first[0][:SHOWN]!r} in its first line, {expected}; {table}")


def _is_json(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def read_folders(
    path: Path,
    *,
    classes: Collection[str] = (),
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    suffixes: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read a folder with a sub-folder for each class, in which each file is an item.

    An item is the text of a file, or its path if ``suffixes`` are given. The label column ``label`` is the
    name of the sub-folder, ``file`` the path of the file in the folder, for example ``pos/0_9.txt``. Files
    of deeper folders belong to the sub-folder too. Items are sorted by path. Hidden files are ignored.

    Args:
        path: The folder.
        classes: The sub-folders to read. Default: all.
        encoding: The encoding of texts.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        suffixes: The endings of files that are items. A warning names files with others.
        reject: What to do about a file that is no text.

    Raises:
        DataError: No such folder, no sub-folder with items in it, or a class without a sub-folder.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder, expected one with a sub-folder for each class")
    folders = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    missing = [name for name in classes if name not in folders]
    if missing:
        raise DataError(f"{path}: {no_such('sub-folder', missing[0], folders)}")
    records = Records([], {"label": [], "file": []}, [])
    others = [p.name for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    locations = []
    for name in sorted(classes) or folders:
        for file in sorted(_files_in(path / name)):
            if suffixes and suffix_of(file) not in suffixes:
                others.append(file.relative_to(path).as_posix())
                continue
            try:
                item = str(file) if suffixes else text_of(file, encoding, unpack_limit).strip()
            except DataError as error:
                location, _, reason = str(error).partition(": ")
                reject(location, reason, "")
                continue
            records.items.append(item)
            locations.append(str(file))
            records.columns["label"].append(name)
            records.columns["file"].append(file.relative_to(path).as_posix())
    if not records.items:
        raise DataError(f"{path}: got no file in a sub-folder, expected a sub-folder for each class")
    if others:
        shown = ", ".join(sorted(others)[:5]) + (" …" if others[5:] else "")
        files = "1 other file is" if len(others) == 1 else f"{len(others)} other files are"
        warnings.warn(f"{path}: {files} left out: {shown}", stacklevel=2)
    records.locations = locations
    return records


def read_files(
    path: Path,
    *,
    others: Sequence[Path],
    classes: list[str],
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
) -> Records:
    """Read a text file for each class, in which each line is an item (text classification).

    The label column is ``label``. Lines of blanks are skipped.

    Args:
        path: The file of the first class.
        others: The files of the other classes.
        classes: The names of the classes, in the order of the files.
        encoding: The encoding of all files.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: There is not one name for each file.
    """
    files = [path, *others]
    if len(files) != len(classes):
        raise DataError(f"{path}: got {len(files)} files, expected one for each class: {', '.join(classes)}")
    records = Records([], {"label": []}, locations := [])
    for file, name in zip(files, classes, strict=True):
        for number, line in enumerate(lines_of(file, encoding, unpack_limit), 1):
            if line.strip():
                records.items.append(line.strip())
                records.columns["label"].append(name)
                locations.append(f"{file}:{number}")
    return records


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder and of the folders in it, without hidden ones."""
    files = []
    for inner, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(inner, name) for name in names if not name.startswith(".")]
    return files
