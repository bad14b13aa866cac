"""Read the data of a recipe: items and the labels of all tasks, for each split."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data import READERS, DataError, Records
from multiseq.data.bad_rows import LONGEST, BadRows, raw_of, shortened, stop
from multiseq.data.conllu import labels_in
from multiseq.data.formats import FORMATS, NETWORKS, PATHS, SPLITS, TEXT
from multiseq.data.graphs.molecules import compared, smiles_of
from multiseq.data.readers.speech import with_times
from multiseq.data.readers.text import check_features
from multiseq.data.splits import is_empty
from multiseq.data.tables import BINARY, open_table
from multiseq.data.text_files import json_of, lines_of, suffix_of
from multiseq.labels import are_segments, flag, number, with_point
from multiseq.runs.build import adapter_class, settings
from multiseq.runs.facts import odd_marks
from multiseq.runs.recipe import Recipe, resolve
from multiseq.runs.splits import (
    Split,
    deciding_task,
    draw,
    is_drawn,
    read_split_file,
    selected,
    without_wrong_cells,
)

if TYPE_CHECKING:
    from multiseq.model import Predictor
    from multiseq.tasks import Source

__all__ = [
    "EMPTY",
    "as_compared",
    "as_written",
    "draw_splits",
    "read_records",
    "read_split",
    "reader_options",
]

TOLD = {
    "lines": ("target",),
    "files": ("others",),
    "table": ("columns", "reject"),
    "conllu": ("columns", "reject"),
    "networks": ("kinds", "reject"),
    **dict.fromkeys(("textgrid", "kaldi", "timit"), ("columns", "reject")),
    "webnlg": ("reject",),
    **dict.fromkeys(
        ("conll", "labelled", "jsonl", "recordings", "folders", "triples", "sdf", "graphml"), ("reject",)
    ),
}
"""Format -> arguments of its reader that are no options of a recipe."""

WITH_FOLDER = ("recordings", "folders", "textgrid", "kaldi", "timit")
"""Formats whose readers add the folder to the paths of recordings."""

STRESSED = re.compile(r"([A-Za-z]{2})[012]")
"""A vowel of ARPAbet, and its stress: none, primary or secondary."""

ROW_PER_LINE = ("jsonl", "labelled", "recordings", "table")
"""Formats in which an item and its labels are a row of the file."""

EMPTY = "got an empty item"

Fail = Callable[[int, str], Any]
"""Called with the number of an item and the reason why it cannot be used."""


def read_split(
    recipe: Recipe,
    split: str,
    data: Path | None = None,
    model: Predictor | None = None,
    splits: Mapping[str, Split] | None = None,
    bad: BadRows | None = None,
    networks: dict[str, Records] | None = None,
) -> list[Source]:
    """The sources of one split. Each has the labels of all tasks that use it.

    Args:
        recipe: The recipe that describes the data.
        split: train, dev or test.
        data: Folder that relative paths are relative to. Default: the folder of the recipe.
        model: A trained model, if there is one. It knows which columns of a graph's nodes hold numbers.
            Without it, this is guessed from the data.
        splits: What `draw_splits` returned. Without it, they are drawn again, with the same result if the
            data is the same.
        bad: Notes the rows that data with ``on_error = "skip"`` leaves out.
        networks: Holds each network that has been read for another split, and gets those read now: the same
            network is in several splits.

    Returns:
        One source for each data table that has this split.

    Raises:
        DataError: A file cannot be read, labels do not fit the task, or there is no item to train on. Where
            bad rows are left out: most of them are bad.
    """
    from multiseq.tasks import Source

    sources = []
    for name, spec in recipe.tables["data"].items():
        kind = adapter_class(recipe, spec["adapter"])
        known = {} if model is None else reader_options(model.adapter(spec["adapter"]))
        tasks, base = _tasks_of(recipe, name, split), data or recipe.folder
        used = _columns_used(spec, tasks.values())
        drawn = _drawn(recipe, name, base, splits)
        noted = (bad or BadRows()).of(split) if spec.get("on_error") == "skip" else None
        shared = "file" in spec or (drawn is not None and split in drawn.content)  # one file, several splits
        options = {"columns": used, **known, "bad": noted and noted.of("" if shared else split)}
        records = _records({**spec, **options, "name": name}, split, base, kind, drawn, networks)
        if records is None:
            continue
        if not records.items:
            if split == "train" or "file" not in spec:
                what = spec.get("file", spec.get(split, spec.get("train")))
                raise DataError(f"{recipe.name}: [data.{name}]: no item of the split {split!r} in {what}")
            continue
        if split == "train" and spec["format"] == "conllu":
            check_features(records, _columns_used({}, tasks.values()))
        wrong: dict[int, list[str]] = {}
        fail = None if noted is None else _into(wrong)
        targets = {task: _labels(records, task_spec, kind, fail) for task, task_spec in tasks.items()}
        odd = {task: line for task, task_spec in tasks.items() if (line := _odd_numbers(records, task_spec))}
        if noted is not None:
            reasons = {row: "; ".join(of_row) for row, of_row in wrong.items()}
            labelled = {row for row in reasons if _is_labelled(row, targets)}
            _check_items(records.items, kind, partial(_of_row, reasons, labelled))
            what = f"{recipe.name}: [data.{name}]: {split}"
            kept = noted.drop(reasons, records.items, records.locations, what, labelled)
            records = records.select(kept)
            targets = {task: [labels[i] for i in kept] for task, labels in targets.items()}
        sources.append(
            Source(spec["adapter"], records.items, targets, spec.get("weight", 1.0), records.locations, odd)
        )
    return sources


def draw_splits(
    recipe: Recipe, data: Path | None = None, known: Mapping[str, Split] | None = None
) -> dict[str, Split]:
    """The splits that the recipe leaves to the library, by the name of their data table.

    Args:
        recipe: The recipe that describes the data.
        data: Folder that relative paths are relative to. Default: the folder of the recipe.
        known: Splits that a run has drawn, and that stay as they are. If they are given, a table whose recipe
            names no fraction, and which had no dev split, gets none.

    Raises:
        DataError: A file cannot be read, or its items cannot be divided as the recipe says.
    """
    splits = {}
    for name in recipe.tables["data"]:
        drawn = _drawn(recipe, name, data or recipe.folder, known)
        if drawn is not None:
            splits[name] = drawn
    return splits


def _drawn(recipe: Recipe, name: str, base: Path, known: Mapping[str, Split] | None) -> Split | None:
    """The splits of a data table, drawn if they are not known; None if its files or columns name them."""
    spec = recipe.tables["data"][name]
    options = settings(recipe)
    makes_dev = options.follows_data and options.evaluates and "dev" not in spec
    if not makes_dev and not is_drawn(spec):
        return None
    if known is not None and (name in known or not is_drawn(spec)):
        return known.get(name)
    kind, tasks = adapter_class(recipe, spec["adapter"]), _tasks_of(recipe, name).values()
    whole = _read({**spec, "columns": _columns_used(spec, tasks)}, _divided_file(spec), base, kind)
    given = None
    if "split_file" in spec:
        given = read_split_file(resolve(spec["split_file"], base), spec.get("fold", 0))
    if makes_dev:
        spec = _with_dev(spec, whole, given)
        if not is_drawn(spec):
            return None
    task = deciding_task(spec, tasks)
    fail: Fail | None = (lambda row, reason: None) if spec.get("on_error") == "skip" else None
    labels = None if task is None else _labels(whole, task, kind, fail)
    if recipe.modality(spec["adapter"]) == "graph" and not spec.get("scaffold"):
        whole = replace(whole, items=compared(whole.items))
    return draw(whole, spec, task, labels, f"{recipe.name}: [data.{name}]", given)


def as_compared(recipe: Recipe, splits: Mapping[str, Sequence[Source]]) -> dict[str, list[Source]]:
    """The sources of all splits with molecules in one form, to look for equal items."""

    def form(source: Source) -> Source:
        graphs = recipe.modality(source.adapter_name) == "graph"
        molecules = graphs and any(isinstance(smiles_of(item), str) for item in source.items[:1])
        return replace(source, items=compared(source.items)) if molecules else source

    return {split: [form(source) for source in sources] for split, sources in splits.items()}


def _with_dev(spec: Mapping[str, Any], whole: Records, given: Split | None) -> Mapping[str, Any]:
    """A data table that has no dev split, with the fraction of train to hold out as one."""
    from multiseq.training.budget import dev_share

    train = whole
    if given is not None:
        if selected(whole, given, "dev").items:
            return spec
        train = selected(whole, given, "train")
    elif "split_column" in spec:
        if whole.of_split("dev", spec["split_column"]).items:
            return spec
        train = whole.of_split("train", spec["split_column"])
    share = dev_share(len(train.items))
    return {**spec, "dev": share} if share else spec


def _tasks_of(recipe: Recipe, data: str, split: str = "train") -> dict[str, dict[str, Any]]:
    """The tasks of a data table, and what reading the labels of a split needs to know of it."""
    of_data = recipe.tables["data"][data]
    more = {"decimal": of_data.get("decimal"), "format": of_data["format"], "split": split}
    if "input" in FORMATS[of_data["format"]]:
        default = signature(READERS[of_data["format"]]).parameters["input"].default
        more["input"] = of_data.get("input", default)
    return {task: {**spec, **more} for task, spec in recipe.tasks.items() if spec["data"] == data}


def _columns_used(spec: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that the tasks and the splits need. A table may have many more."""
    named = [name for task in tasks for name in task.get("columns", [task.get("column")])]
    return [*named, *(spec[key] for key in ("split_column", "group", "time") if key in spec)]


# --- items ----------------------------------------------------------------------------------------


def _records(
    spec: Mapping[str, Any],
    split: str,
    base: Path,
    kind: Any,
    drawn: Split | None,
    networks: dict[str, Records] | None,
) -> Records | None:
    if drawn is not None and ("file" in spec or split in drawn.content):
        return selected(_whole(spec, base, kind, networks), drawn, split)
    if split in spec:
        return _read(spec, spec[split], base, kind)
    if "file" not in spec:
        return None
    whole = _whole(spec, base, kind, networks)
    if "split_file" in spec:
        chosen = read_split_file(resolve(spec["split_file"], base), spec.get("fold", 0))
        return selected(whole, chosen, split)
    return whole.of_split(split, spec["split_column"])


def _whole(spec: Mapping[str, Any], base: Path, kind: Any, networks: dict[str, Records] | None) -> Records:
    """The file that is divided into splits. A network is read only once."""
    if networks is None or spec["format"] not in NETWORKS or spec["bad"] is not None:
        return _read(spec, _divided_file(spec), base, kind)
    name = spec["name"]
    if name not in networks:
        networks[name] = _read(spec, _divided_file(spec), base, kind)
    return networks[name]


def _divided_file(spec: Mapping[str, Any]) -> Any:
    return spec.get("file", spec.get("train"))


def _read(spec: Mapping[str, Any], paths: Any, base: Path, kind: Any) -> Records:
    name = spec["format"]
    bad = spec.get("bad") or (BadRows() if spec.get("on_error") == "skip" else None)
    if name == "rdkit-logp":
        return READERS[name](Path(paths))
    path, *more = [resolve(p, base) for p in (paths if isinstance(paths, list) else [paths])]
    options = {k: resolve(v, base) if k in PATHS else v for k, v in spec.items()}
    if more:
        options |= {"target": more[0], "others": more}
    if bad is None:
        return _with_split_names(read_records(name, path, options, kind), spec)
    before = len(bad.rows)
    records = _with_split_names(read_records(name, path, {**options, "reject": bad.add}, kind), spec)
    records = without_wrong_cells(records, spec, bad.add)
    bad.check(before, max(len(records.items), records.num_rows), str(path))
    return records


def _with_split_names(records: Records, spec: Mapping[str, Any]) -> Records:
    """The records with our words for splits, where the data has others."""
    if "split_names" in spec:
        name, ours = spec["split_column"], spec["split_names"]
        records.columns[name] = [
            [ours.get(str(cell), cell) for cell in value]
            if isinstance(value, list)
            else ours.get(str(value), value)
            for value in records.column(name)
        ]
    return records


def as_written(recipe: Recipe, base: Path, bad: BadRows) -> None:
    """Put the rows of the files into the bad rows, in place of the items alone.

    Bad rows of formats without a row for each item stay as they are.

    Args:
        recipe: The recipe that describes the data.
        base: Folder that relative paths are relative to.
        bad: The bad rows.
    """
    specs = [spec for spec in recipe.tables["data"].values() if spec["format"] in ROW_PER_LINE]
    files = {spec[key]: spec for spec in specs for key in ("file", *SPLITS) if isinstance(spec.get(key), str)}
    for name, spec in files.items():
        path = resolve(name, base)
        numbers: dict[int, int] = {}  # number of the bad row -> its line in the file
        for i, row in enumerate(bad.rows):
            file, _, line = row.location.rpartition(":")
            if file == str(path) and line.isdigit():
                numbers[i] = int(line)
        if numbers:
            rows = _rows_at(set(numbers.values()), path, spec)
            for i, start in numbers.items():
                bad.rows[i] = bad.rows[i]._replace(raw=shortened(rows.get(start, bad.rows[i].raw)))


def _rows_at(numbers: set[int], path: Path, spec: Mapping[str, Any]) -> dict[int, str]:
    """The rows of a file that begin at some lines. Of Parquet and Excel, their cells as JSON."""
    if suffix_of(path) in BINARY:
        table = open_table(path, sheet=spec.get("sheet"))
        return {line: raw_of(cells) for line, cells in table.rows() if line in numbers}
    lines = enumerate(lines_of(path, **{key: value for key, value in spec.items() if key in TEXT}), 1)
    rows = {}
    for start, line in lines:
        if start in numbers:
            while suffix_of(path) == ".csv" and line.count('"') % 2 and len(line) < LONGEST:
                _, more = next(lines, (0, ""))  # an open quote: the row goes on in the next line
                if not more:
                    break
                line += more
            rows[start] = line
        if start >= max(numbers):
            break
    return rows


def _check_items(items: Sequence[Any], kind: Any, fail: Fail) -> None:
    """Find empty items, and items that the adapter cannot read, whatever it learns from the others."""
    check = getattr(kind, "check_item", None)
    for i, item in enumerate(items):
        if is_empty(item):
            fail(i, EMPTY)
        elif check is not None:
            try:
                check(item)
            except (ValueError, OSError) as error:
                fail(i, str(error))


def _stop(locations: Sequence[str], row: int, reason: str) -> None:
    stop(locations[row], reason)


def reader_options(adapter: Any) -> dict[str, Any]:
    """Options for the reader that a trained adapter determines, if any."""
    known: dict[str, Any] = getattr(adapter, "reader_options", dict)()
    return known


def read_records(name: str, path: Path, options: Mapping[str, Any], kind: Any) -> Records:
    """Read a file. If its items are paths, they are relative to the folder of the file.

    Args:
        name: Name of the format.
        path: The file.
        options: Options for the reader. Options of other readers are ignored. ``reject`` is what to do about
            a bad row (`multiseq.data.bad_rows`); by default it is an error.
        kind: The adapter of the items, or its class.
    """
    more = TOLD.get(name, ())
    chosen = {k: v for k, v in options.items() if k in FORMATS[name] or k in more}
    suffixes = getattr(kind, "suffixes", ())
    records = READERS[name](path, **chosen, **({"suffixes": suffixes} if name == "folders" else {}))
    if suffixes and name not in WITH_FOLDER:
        items = records.items
        records.items = [str(path.parent / item) if isinstance(item, str) else item for item in items]
        records = with_times(records, options.get("reject", stop))
    return records


# --- labels ---------------------------------------------------------------------------------------


def _into(reasons: dict[int, list[str]]) -> Fail:
    """What adds the reason why a label of a row cannot be used."""
    return lambda row, reason: reasons.setdefault(row, []).append(reason)


def _of_row(reasons: dict[int, str], labelled: set[int], row: int, reason: str) -> None:
    """Note why a row cannot be used at all, whatever its labels are."""
    labelled.discard(row)
    reasons.setdefault(row, reason)


def _is_labelled(row: int, targets: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a row has a label for one of the tasks."""
    return any(_says_something(labels[row]) for labels in targets.values())


def _says_something(label: Any) -> bool:
    if isinstance(label, dict | list | tuple):
        inner = label.values() if isinstance(label, dict) else label
        return not label or any(map(_says_something, inner))  # no class at all is a label, too
    return label is not None and label == label and label != ""  # NaN is not equal to itself


def _labels(records: Records, spec: Mapping[str, Any], kind: Any, fail: Fail | None = None) -> list[Any]:
    """One label for each item, in the form that the target takes. ``fail`` is called for wrong ones."""
    fail = fail or partial(_stop, records.locations)
    if "columns" not in spec:
        return _column(records, spec["column"], spec, kind, fail)
    columns = [_column(records, name, spec, kind, fail) for name in spec["columns"]]
    by_item = list(zip(*columns, strict=True))
    if spec["output"] != "vector":
        return [dict(zip(spec["columns"], cells, strict=True)) for cells in by_item]
    return [_by_vector(spec["columns"], cells, partial(fail, i)) for i, cells in enumerate(by_item)]


def _by_vector(
    names: Sequence[str], row: Sequence[Any], fail: Callable[[str], Any]
) -> list[dict[str, Any]] | None:
    """One item's labels for each vector, by name, from one list of labels for each column."""
    lengths = {len(labels) for labels in row if labels is not None}
    if len(lengths) > 1:
        fail(f"got lists of {sorted(lengths)} labels in {list(names)}, expected equal lengths")
        return None
    lists = [[None] * max(lengths, default=0) if labels is None else labels for labels in row]
    return [dict(zip(names, labels, strict=True)) for labels in zip(*lists, strict=True)] if lengths else None


def _column(records: Records, name: str, spec: Mapping[str, Any], kind: Any, fail: Fail) -> list[Any]:
    values = _values(records, name, spec)
    vectors = spec["output"] == "vector"
    plain = spec["target"] == "class" and not vectors and spec.get("stress", True)
    if plain and set(map(type, values)) <= {str, type(None)}:
        return values  # nothing to convert, as in every table of text
    labels = []
    for i, value in enumerate(values):
        try:
            several = vectors and value is not None
            labels.append(_of_vectors(value, spec, kind) if several else _label(value, spec))
        except ValueError as error:
            what = str(error).removeprefix("flag: ").removeprefix("number: ")  # we name the column instead
            fail(i, f"{name}: {what}")
            labels.append(None)
    return labels


def _odd_numbers(records: Records, spec: Mapping[str, Any]) -> str | None:
    if spec["target"] != "number" or spec["decimal"] is None:
        return None
    values = (value for name in spec.get("columns", [spec.get("column")]) for value in records.column(name))
    return odd_marks(
        (cell for value in values for cell in (value if isinstance(value, list) else [value])),
        spec["decimal"],
    )


def _values(records: Records, name: str, spec: Mapping[str, Any]) -> list[Any]:
    """The cells of a label column. The error for a column that is not there says which may be meant."""
    try:
        return records.column(name)
    except DataError as error:
        message = str(error)
    input = spec.get("input")
    place, others = message.partition(": no column")[0], ", ".join(records.columns)
    if name == input:
        there = f"there are {others}" if others else "there is no other"
        message = f"{place}: {name!r} is the input, expected a column with labels; {there}"
    elif input is not None and not others:
        message = f"{place}: no column {name!r}; there is only the input, {input!r}"
    if spec["split"] != "train" and name != input:
        message += f"; {spec['split']} needs labels, and a file without them goes to `multiseq predict`"
    raise DataError(message)


def _of_vectors(value: Any, spec: Mapping[str, Any], kind: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):  # in a cell of a table
        value = json_of(value, "[0.1, null, -0.3]")
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
        names = value if several else _names_in(str(_one_label(value)), spec)
        return sorted({str(_one_label(name)).strip() for name in names} - {""})
    if target == "text":
        if not all(isinstance(text, str) for text in (value if several else [value])):
            raise ValueError(f"got {value!r}, expected a text")
        return value  # a list has several correct texts
    value = _one_label(value)
    if target == "class":
        stressed = None if spec.get("stress", True) else STRESSED.fullmatch(str(value))
        return stressed[1] if stressed else value
    if target == "multilabel":
        return flag(value)
    return number(with_point(value, spec.get("decimal")) if isinstance(value, str) else value)


def _names_in(cell: str, spec: Mapping[str, Any]) -> list[str]:
    """The labels in a cell of text: a treebank has its own way to write several."""
    return labels_in(cell, spec["column"]) if spec.get("format") == "conllu" else cell.split(",")


def _one_label(value: Any) -> Any:
    if isinstance(value, list | dict) or value is None:
        lists = (
            'several go with target = "multilabel", a list with one for each vector with output = "vector"'
        )
        raise ValueError(f"got {value!r}, expected one label; {lists}")
    return value
