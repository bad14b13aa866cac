"""Splits of a recipe's data: drawn as the recipe says, or read from a file. A run keeps what it drew."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from multiseq.data import DataError, Records
from multiseq.data.bad_rows import Reject, raw_of
from multiseq.data.formats import NETWORKS, SPLIT_NAMES, SPLITS
from multiseq.data.graphs.molecules import scaffold, smiles_of
from multiseq.data.records import splits_of
from multiseq.data.splits import ClassesError, folds, moment
from multiseq.data.splits import split as divide
from multiseq.data.text_files import parse_json, text_of
from multiseq.labels import class_name
from multiseq.system.files import write_whole

__all__ = [
    "FOLDER",
    "Split",
    "deciding_task",
    "draw",
    "fractions",
    "is_drawn",
    "num_folds",
    "read_split_file",
    "save_splits",
    "saved_splits",
    "selected",
    "without_wrong_cells",
]

FOLDER = "splits"
"""The folder of a run that holds its drawn splits."""

NODES = "\0split"
"""Name of a column for the splits of the nodes. No file has a column of that name."""

SHOWN = 5
"""So many classes are named in a line for the user."""


@dataclass(frozen=True)
class Split:
    """Which rows of a data table are in which split.

    Args:
        location: Where this is from, for error messages.
        content: ``{"train": [row numbers from 0], "dev": […], "test": […]}``, as in a ``split_file``. It may
            also have ``rows`` (the number of all rows), ``of = "nodes"`` (rows are nodes of networks, counted
            through all of them), and ``how`` (how it was made, for people).
    """

    location: str
    content: Mapping[str, Any]


def fractions(spec: Mapping[str, Any]) -> dict[str, float]:
    """The fractions that a data table gives in place of files."""
    return {split: spec[split] for split in ("test", "dev") if isinstance(spec.get(split), float)}


def is_drawn(spec: Mapping[str, Any]) -> bool:
    """Whether a data table leaves a split to the library."""
    return "folds" in spec or bool(fractions(spec))


# --- drawing --------------------------------------------------------------------------------------


def deciding_task(spec: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The task whose labels each split has in proportion: the first with classes, else with numbers.

    A label for each vector does not count, unless nodes of networks are divided; nor does a text.
    """
    kinds, output = ("class", "multilabel", "number"), "vector" if _of_nodes(spec) else "set"
    fitting = [task for task in tasks if task["output"] == output and task["target"] in kinds]
    return min(fitting, key=lambda task: kinds.index(task["target"]), default=None)


def draw(
    whole: Records,
    spec: Mapping[str, Any],
    task: Mapping[str, Any] | None,
    labels: Any,
    place: str,
    given: Split | None = None,
) -> Split:
    """Draw the splits of a data table.

    Args:
        whole: All records that are divided.
        spec: The data table of the recipe.
        task: See `deciding_task`.
        labels: The labels of this task, one for each record; None without a task.
        place: What an error message begins with.
        given: The splits that a ``split_file`` has. Only what it calls train is divided.

    Raises:
        DataError: The records cannot be divided in this way.
    """
    items: Sequence[Any] = whole.items
    locations = whole.locations
    columns = {key: whole.column(spec[key]) for key in ("split_column", "group", "time") if key in spec}
    if spec.get("scaffold"):
        columns["scaffold"] = _scaffolds(items, locations, skip=spec.get("on_error") == "skip")
    if labels is not None and "time" not in spec and ("scaffold" not in columns or "folds" in spec):
        columns["labels"] = labels
    of_nodes = _of_nodes(spec) or any(isinstance(value, list) for value in columns.get("split_column", ()))
    if of_nodes:
        lengths = _num_nodes(whole)
        columns = {key: [v for values in column for v in values] for key, column in columns.items()}
        items = range(sum(lengths))
        locations = [place for place, num in zip(locations, lengths, strict=True) for _ in range(num)]
        if "group" not in spec and "time" not in spec and len(lengths) > 1:
            columns["group"] = [number for number, num in enumerate(lengths) for _ in range(num)]
    if "labels" in columns:
        columns["labels"] = [_stratum(label, task or {}) for label in columns["labels"]]
    if "time" in columns:
        columns["time"] = _moments(columns["time"], locations, spec["time"])
    content: dict[str, Any] = {"train": list(range(len(items)))}
    if "split_column" in columns:
        content = _by_column(columns.pop("split_column"), locations, spec, of_nodes)
    if given is not None:
        content = {"train": [], **_rows_by_split(given.location, given.content, len(items))}
    try:
        content |= _divided(items, content["train"], spec, columns)
    except ValueError as error:
        named = f"{place}: {_column(task or {})!r}" if isinstance(error, ClassesError) else place
        raise DataError(f"{named}: {error}") from None
    how = _how(spec, task, columns, [content[split] for split in SPLITS if split in content])
    note = {"of": "nodes"} if of_nodes else {}
    return Split(place, {**content, "rows": len(items), **note, "how": how})


def _column(task: Mapping[str, Any]) -> str:
    """The first label column of a task."""
    return str(task["column"] if "column" in task else task["columns"][0])


def _of_nodes(spec: Mapping[str, Any]) -> bool:
    """Whether nodes are divided: of networks from tables and arrays, and of one network in GraphML."""
    return spec["format"] in NETWORKS or (spec["format"] == "graphml" and "file" in spec)


def _num_nodes(whole: Records) -> list[int]:
    """The number of nodes of each network: that of the labels in any column that has one for each."""
    columns = zip(*whole.columns.values(), strict=True)
    return [max((len(v) for v in row if isinstance(v, list)), default=0) for row in columns]


def _stratum(label: Any, task: Mapping[str, Any]) -> Any:
    """A label as `multiseq.split` takes it: of several columns the first number, or the flags."""
    if not isinstance(label, dict):
        return label
    if task["target"] == "number":
        return label[task["columns"][0]]
    return [name for name, there in label.items() if there]


def without_wrong_cells(records: Records, spec: Mapping[str, Any], reject: Reject) -> Records:
    """The records without those whose cell in the column of splits or times says nothing."""
    wrong: dict[int, str] = {}
    for key in ("split_column", "time"):
        values = records.columns.get(spec.get(key, ""), ())
        for row, (value, location) in enumerate(zip(values, records.locations, strict=bool(values))):
            try:
                splits_of(value, location) if key == "split_column" else _moments(
                    [value], [location], spec[key]
                )
            except DataError as error:
                wrong.setdefault(row, str(error).removeprefix(f"{location}: "))
    for row, reason in wrong.items():
        reject(records.locations[row], reason, raw_of(records.items[row]))
    kept = [row for row in range(len(records.items)) if row not in wrong]
    return records.select(kept) if wrong else records


def _moments(values: Sequence[Any], locations: Sequence[str], column: str) -> list[Any]:
    moments: list[Any] = []
    for value, location in zip(values, locations, strict=True):
        try:
            if value is None:
                raise ValueError("got no time, expected one for each item; fill it in or remove the row")
            moments.append(moment(value))
            if type(moments[-1]) is not type(moments[0]):
                raise ValueError(f"got {value!r} after {values[0]!r}, expected only numbers or only dates")
        except ValueError as error:
            raise DataError(f"{location}: {column}: {error}") from None
    return moments


def _scaffolds(items: Sequence[Any], locations: Sequence[str], *, skip: bool) -> list[str | None]:
    """The scaffold of each molecule; None for a bad one that is left out later."""
    names: list[str | None] = []
    for item, location in zip(items, locations, strict=True):
        try:
            names.append(scaffold(smiles_of(item)))
        except ValueError as error:
            if not skip:
                raise DataError(f"{location}: {error}") from None
            names.append(None)
    return names


def _by_column(
    values: Sequence[Any], locations: Sequence[str], spec: Mapping[str, Any], of_nodes: bool
) -> dict[str, Any]:
    """The rows of each split as the split column has them. What is drawn must not be there already."""
    numbers: dict[str, Any] = {"train": []}
    for row, (value, location) in enumerate(zip(values, locations, strict=True)):
        for name in filter(None, splits_of([value] if of_nodes else value, location)):
            numbers.setdefault(name, []).append(row)
    for split, share in fractions(spec).items():
        if split in numbers:
            column = spec["split_column"]
            raise DataError(
                f"{spec['file']}: {column} has rows of the split {split}; leave out {split} = {share}"
            )
    return numbers


def _divided(
    items: Sequence[Any],
    numbers: Sequence[int],
    spec: Mapping[str, Any],
    columns: Mapping[str, Any],
) -> dict[str, list[int]]:
    """The chosen rows, divided into splits. Molecules without a scaffold are no items: they are in train."""
    unread = [i for i in numbers if "scaffold" in columns and columns["scaffold"][i] is None]
    numbers = sorted(set(numbers) - set(unread))
    given: dict[str, Any] = {key: [values[i] for i in numbers] for key, values in columns.items()}
    given |= {**fractions(spec), "seed": spec.get("split_seed", 0)}
    kept, in_folds = [items[i] for i in numbers], "folds" in spec
    if "scaffold" in given:
        scaffolds = given.pop("scaffold")
        given |= {"group": scaffolds} if in_folds else {"scaffold": True}
    splits = folds(kept, spec["folds"], **given)[spec["fold"]] if in_folds else divide(kept, **given)
    divided = {split: [numbers[i] for i in places] for split, places in splits.items()}
    return {**divided, "train": sorted(divided["train"] + unread)}


def _how(
    spec: Mapping[str, Any],
    task: Mapping[str, Any] | None,
    columns: Mapping[str, Sequence[Any]],
    splits: Sequence[Sequence[int]],
) -> str:
    """How the splits were made, in words."""
    if "time" in spec:
        return f"the latest by {spec['time']!r} are held out"
    if "scaffold" in columns and "folds" not in spec:
        return "the rarest scaffolds are held out"
    words = [f"fold {spec['fold']} of {spec['folds']}"] if "folds" in spec else []
    words.append(f"drawn with split_seed = {spec.get('split_seed', 0)}")
    if task is not None and "labels" in columns:
        words.append(f"in proportion to {_column(task)!r}")
    if "group" in columns:
        words.append(f"no {spec.get('group', 'network')!r} in two splits")
    elif "scaffold" in columns:
        words.append("no scaffold in two splits")
    elif not _of_nodes(spec):
        words.append("equal items in one split")
    if task is not None and "labels" in columns and task["target"] != "number":
        rare = _rare(columns["labels"], splits)
        more = " …" if rare[SHOWN:] else ""
        words += [f"too few for every split: {', '.join(rare[:SHOWN])}{more}"] if rare else []
    return ", ".join(words)


def _rare(labels: Sequence[Any], splits: Sequence[Sequence[int]]) -> list[str]:
    """The classes that a split lacks."""
    classes: list[dict[str | None, None]] = []
    for numbers in splits:
        given = (labels[i] if isinstance(labels[i], list) else [labels[i]] for i in numbers)
        classes.append(dict.fromkeys(class_name(name) for names in given for name in names))
    everywhere = set.intersection(*map(set, classes))
    names = dict.fromkeys(name for of_split in classes for name in of_split)
    return [name for name in names if name and name not in everywhere]


# --- using a split --------------------------------------------------------------------------------


def selected(whole: Records, split: Split, name: str) -> Records:
    """The records of a split. Of networks whose nodes are divided, the labels of all other nodes are hidden.

    A node that is in no split is only a neighbour.

    Raises:
        DataError: The split was made for other data.
    """
    of_nodes = split.content.get("of") == "nodes"
    lengths = _num_nodes(whole) if of_nodes else []
    num = sum(lengths) if of_nodes else len(whole.items)
    if split.content.get("rows", num) != num:
        raise DataError(
            f"{split.location}: divides {split.content['rows']} rows, but the data has {num}; expected the "
            "data that it was made for"
        )
    numbers = _rows_by_split(split.location, split.content, num)
    if not of_nodes:
        return whole.select(numbers.get(name, []))
    names: list[Any] = [None] * num
    for split_name, of_split in numbers.items():
        for row in of_split:
            names[row] = split_name
    ends = accumulate(lengths)
    column = [names[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    with_splits = Records(whole.items, {**whole.columns, NODES: column}, whole.locations)
    return with_splits.of_split(name, NODES)


def num_folds(path: Path) -> int:
    """How many splits a file has. Raises DataError if it has none."""
    splits = _splits_in(path)
    if not isinstance(splits, list) or not splits:
        raise DataError(f'{path}: no splits in it; expected several of them under "splits"')
    return len(splits)


def _splits_in(path: Path) -> Any:
    if path.suffix == ".npz":
        from multiseq.data.graphs.network_files import masks_of

        return masks_of(path)
    try:
        content = parse_json(text_of(path))
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: not JSON: {error}") from None
    return content.get("splits", [content]) if isinstance(content, dict) else None


def read_split_file(path: Path, fold: int = 0) -> Split:
    """Read one split of a file: ``{"train": […], …}``, or one of several under ``"splits"``; or masks.

    Raises:
        DataError: The file is not JSON of that form, or has no such fold.
    """
    splits = _splits_in(path)
    if not isinstance(splits, list) or fold >= len(splits) or not isinstance(splits[fold], dict):
        form = '{"train": [row numbers], …}, or several of them under "splits"'
        raise DataError(f"{path}: no fold {fold} in it; expected {form}")
    return Split(str(path), splits[fold])


def _rows_by_split(location: str, given: Mapping[str, Any], num: int) -> dict[str, list[int]]:
    """Split -> row numbers. Other keys are left out: with a warning, if they hold row numbers.

    Raises:
        DataError: A key is nearly the name of a split, rows are none of the data, or in two splits.
    """
    chosen: dict[str, list[int]] = {}
    owners: dict[int, str] = {}
    for name, numbers in given.items():
        if name not in SPLIT_NAMES:
            if isinstance(numbers, list) and numbers:
                expected = "train, dev (or val, valid) or test"
                if meant := _nearly_a_split(name):
                    raise DataError(
                        f"{location}: got the split {name!r} (did you mean {meant!r}?), expected {expected}"
                    )
                rows = "1 row" if len(numbers) == 1 else f"{len(numbers):,} rows"
                warnings.warn(
                    f"{location}: left out {rows} of {name!r}, which is not {expected}", stacklevel=2
                )
            continue
        if not isinstance(numbers, list) or not all(type(i) is int and 0 <= i < num for i in numbers):
            raise DataError(f"{location}: expected row numbers from 0 to {num - 1} under {name!r}")
        split = SPLIT_NAMES[name]
        if split in chosen:
            raise DataError(
                f"{location}: got the split {split} twice, once as {name!r}; expected one list for each"
            )
        chosen[split] = numbers
        for row in numbers:
            if owners.setdefault(row, name) != name:
                raise DataError(
                    f"{location}: row {row} is in {owners[row]!r} and in {name!r}, expected one of them"
                )
    return chosen


def _nearly_a_split(name: str) -> str:
    """The split that a name was probably meant to be; empty for the name of other rows.

    >>> [_nearly_a_split(name) for name in ("Train", "tset", "test_idx", "invalid", "unused")]
    ['train', 'test', 'test', '', '']
    """
    given = name.casefold()
    near = [split for split in SPLIT_NAMES if given.startswith(split)]
    if not any(split in given for split in SPLIT_NAMES):  # "invalid" is not valid
        near = get_close_matches(given, SPLIT_NAMES, n=1, cutoff=0.75)
    return near[0] if near else ""


def save_splits(splits: Mapping[str, Split], folder: Path) -> None:
    """Write each split as ``NAME.json``, which a recipe can use as its ``split_file``."""
    if splits:
        folder.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        plain = quote(name, safe=" ").replace(".", "%2E")  # no hidden file
        write_whole(folder / f"{plain}.json", json.dumps(split.content, ensure_ascii=False))


def saved_splits(folder: Path) -> dict[str, Split]:
    """The splits that `save_splits` wrote; none without the folder. Raises DataError for a damaged file."""
    return {unquote(path.stem): read_split_file(path) for path in sorted(folder.glob("[!.]*.json"))}
