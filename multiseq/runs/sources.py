"""Read the data of a recipe: items and the labels of all tasks, for each split."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data import READERS, DataError, Records
from multiseq.data.formats import FORMATS, PATHS, SPLIT_NAMES
from multiseq.data.text_files import parse_json, text_of
from multiseq.labels import are_segments, flag, number
from multiseq.runs.build import adapter_class, settings
from multiseq.runs.recipe import Recipe, resolve

if TYPE_CHECKING:
    from multiseq.model import Model
    from multiseq.tasks import Source

__all__ = [
    "read_split",
    "read_records",
    "reader_options",
]


def read_split(
    recipe: Recipe, split: str, data: Path | None = None, model: Model | None = None
) -> list[Source]:
    """The sources of one split. Each has the labels of all tasks that use it.

    Args:
        recipe: The recipe that describes the data.
        split: train, dev or test.
        data: Folder that relative paths are relative to. Default: the folder of the recipe.
        model: A trained model, if there is one. It knows which columns of a graph's nodes hold numbers.
            Without it, this is guessed from the data.

    Returns:
        One source for each data table that has this split.

    Raises:
        DataError: A file cannot be read, labels do not fit the task, or there is no item to train on.
    """
    from multiseq.tasks import Source

    sources, makes_dev = [], settings(recipe).follows_data and settings(recipe).evaluates
    for name, spec in recipe.tables["data"].items():
        kind = adapter_class(recipe, spec["adapter"])
        known = {} if model is None else reader_options(model.adapter(spec["adapter"]))
        tasks = {task: own for task, own in recipe.tasks.items() if own["data"] == name}
        spec = {**spec, "columns": _columns_used(spec, tasks.values()), **known}
        if makes_dev and split != "test":
            spec = _with_dev(spec, data or recipe.folder, kind)
        records = _records(spec, split, data or recipe.folder, kind)
        if records is None:
            continue
        if not records.items:
            if split == "train" or "file" not in spec:
                what = spec.get("file", spec.get(split, spec.get("train")))
                raise DataError(f"{recipe.name}: [data.{name}]: no item of the split {split!r} in {what}")
            continue
        targets = {task: _labels(records, own, kind) for task, own in tasks.items()}
        sources.append(
            Source(spec["adapter"], records.items, targets, spec.get("weight", 1.0), records.locations)
        )
    return sources


def _columns_used(spec: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that the tasks and the splits need. A table may have many more."""
    named = [name for task in tasks for name in task.get("columns", [task.get("column")])]
    return [*named, spec["split_column"]] if "split_column" in spec else named


# --- items ----------------------------------------------------------------------------------------


def _records(spec: Mapping[str, Any], split: str, base: Path, kind: Any) -> Records | None:
    share = spec["dev"] if isinstance(spec.get("dev"), float) else 0
    own = "train" if share and split == "dev" else split
    if "split_file" in spec:
        whole = _read(spec, spec["file"], base, kind)
        rows = _rows_of_split(resolve(spec["split_file"], base), spec.get("fold", 0), split, len(whole.items))
        return whole.select(rows)
    if "file" in spec:
        whole, column = _read(spec, spec["file"], base, kind), spec["split_column"]
        if share and whole.of_split("dev", column).items:
            raise DataError(f"{spec['file']}: {column} has rows of the split dev; leave out dev = {share}")
        records = whole.of_split(own, column)
    elif own in spec:
        records = _read(spec, spec[own], base, kind)
    else:
        return None
    if not share or split == "test":
        return records
    num = len(records.items)
    held = set(random.Random(0).sample(range(num), round(share * num)))
    return records.select([i for i in range(num) if (i in held) == (split == "dev")])


def _with_dev(spec: Mapping[str, Any], base: Path, kind: Any) -> Mapping[str, Any]:
    """A table of data that has no dev split, with the share of train to hold out as one."""
    from multiseq.training.budget import dev_share

    if "split_file" in spec or "dev" in spec:
        return spec
    dev, train = (_records(spec, split, base, kind) for split in ("dev", "train"))
    share = dev_share(len(train.items)) if train is not None else 0.0
    return spec if (dev is not None and dev.items) or not share else {**spec, "dev": share}


def _read(spec: Mapping[str, Any], paths: Any, base: Path, kind: Any) -> Records:
    name = spec["format"]
    if name == "rdkit-logp":
        return READERS[name](Path(paths))
    path, *target = [resolve(p, base) for p in (paths if isinstance(paths, list) else [paths])]
    options = {k: resolve(v, base) if k in PATHS else v for k, v in spec.items()}
    return read_records(name, path, options | ({"target": target[0]} if target else {}), kind)


def reader_options(adapter: Any) -> dict[str, Any]:
    """Options for the reader that a trained adapter determines, if any."""
    known: dict[str, Any] = getattr(adapter, "reader_options", dict)()
    return known


def read_records(name: str, path: Path, options: Mapping[str, Any], kind: Any) -> Records:
    """Read a file. If its items are paths, they are relative to the folder of the file.

    Args:
        name: Name of the format.
        path: The file.
        options: Options for the reader. Options of other readers are ignored.
        kind: The adapter of the items, or its class.
    """
    more = {"lines": "target", "table": "columns", "networks": "numeric"}.get(name)
    chosen = {k: v for k, v in options.items() if k in FORMATS[name] or k == more}
    records = READERS[name](path, **chosen)
    if getattr(kind, "suffixes", ()) and name != "recordings":  # that reader adds the folder itself
        items = records.items
        records.items = [str(path.parent / item) if isinstance(item, str) else item for item in items]
    return records


def _rows_of_split(path: Path, fold: int, split: str, num: int) -> list[int]:
    """A split's row numbers, from JSON: ``{"train": […], …}``, or ``{"splits": [{…}, …]}`` with folds."""
    try:
        found = parse_json(text_of(path))
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: not JSON: {error}") from None
    splits = found.get("splits", [found]) if isinstance(found, dict) else None
    if not isinstance(splits, list) or fold >= len(splits) or not isinstance(splits[fold], dict):
        form = '{"train": [row numbers], …}, or several of them under "splits"'
        raise DataError(f"{path}: no fold {fold} in it; expected {form}")
    return _rows_by_split(path, splits[fold], num).get(split, [])


def _rows_by_split(path: Path, given: Mapping[str, Any], num: int) -> dict[str, list[int]]:
    """Split -> row numbers. Other keys are ignored, unless they hold a list: this is an error."""
    chosen: dict[str, list[int]] = {}
    owners: dict[int, str] = {}
    for name, rows in given.items():
        if name not in SPLIT_NAMES:
            if isinstance(rows, list):
                raise DataError(
                    f"{path}: got the split {name!r}, expected train, dev (or val, valid) or test"
                )
            continue
        if not isinstance(rows, list) or not all(type(i) is int and 0 <= i < num for i in rows):
            raise DataError(f"{path}: expected row numbers from 0 to {num - 1} under {name!r}")
        split = SPLIT_NAMES[name]
        if split in chosen:
            raise DataError(
                f"{path}: got the split {split} twice, once as {name!r}; expected one list for each"
            )
        chosen[split] = rows
        for row in rows:
            if owners.setdefault(row, name) != name:
                raise DataError(
                    f"{path}: row {row} is in {owners[row]!r} and in {name!r}, expected one of them"
                )
    return chosen


# --- labels ---------------------------------------------------------------------------------------


def _labels(records: Records, spec: Mapping[str, Any], kind: Any) -> list[Any]:
    """One label for each item, in the form that the target takes."""
    if "columns" not in spec:
        return _column(records, spec["column"], spec, kind)
    columns = [_column(records, name, spec, kind) for name in spec["columns"]]
    rows = list(zip(*columns, strict=True))
    if spec["output"] != "vector":
        return [dict(zip(spec["columns"], row, strict=True)) for row in rows]
    return [
        _by_vector(spec["columns"], row, location)
        for row, location in zip(rows, records.locations, strict=True)
    ]


def _by_vector(names: Sequence[str], row: Sequence[Any], location: str) -> list[dict[str, Any]] | None:
    """One item's labels for each vector, by name, from one list of labels for each column."""
    lengths = {len(labels) for labels in row if labels is not None}
    if len(lengths) > 1:
        raise DataError(
            f"{location}: got lists of {sorted(lengths)} labels in {list(names)}, expected equal lengths"
        )
    lists = [[None] * max(lengths, default=0) if labels is None else labels for labels in row]
    return [dict(zip(names, labels, strict=True)) for labels in zip(*lists, strict=True)] if lengths else None


def _column(records: Records, name: str, spec: Mapping[str, Any], kind: Any) -> list[Any]:
    values = records.column(name)
    vectors = spec["output"] == "vector"
    if spec["target"] == "class" and not vectors and set(map(type, values)) <= {str, type(None)}:
        return values  # nothing to convert, as in every table of text
    labels = []
    for i, value in enumerate(values):
        try:
            several = vectors and value is not None
            labels.append(_of_vectors(value, spec, kind) if several else _label(value, spec))
        except ValueError as error:
            what = str(error).removeprefix("flag: ").removeprefix("number: ")  # we name the column instead
            raise DataError(f"{records.locations[i]}: {name}: {what}") from None
    return labels


def _of_vectors(value: Any, spec: Mapping[str, Any], kind: Any) -> list[Any]:
    if not isinstance(value, list):
        one = 'one label for the whole item goes with output = "set"'
        raise ValueError(f"got {value!r}, expected a list with a label for each vector; {one}")
    if hasattr(kind, "vector_seconds") and are_segments(value):
        return [(start, end, _label(label, spec)) for start, end, label in value]
    return [_label(label, spec) for label in value]


def _label(value: Any, spec: Mapping[str, Any]) -> Any:
    target, several = spec["target"], isinstance(value, list)
    if value is None or value != value:  # NaN is not equal to itself; JSON can contain it
        return None
    if target == "multilabel" and "columns" not in spec:
        names = value if several else str(_plain(value)).split(",")
        return sorted({str(_plain(name)).strip() for name in names} - {""})
    if target == "text":
        if not all(isinstance(text, str) for text in (value if several else [value])):
            raise ValueError(f"got {value!r}, expected a text")
        return value  # a list has several correct texts, for scoring
    value = _plain(value)
    if target == "class":
        return value
    return flag(value) if target == "multilabel" else number(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict) or value is None:
        lists = (
            'several go with target = "multilabel", a list with one for each vector with output = "vector"'
        )
        raise ValueError(f"got {value!r}, expected one label; {lists}")
    return value
