"""Read items from a command line or a file, and write predictions for people or as JSON.

The adapter defines how an item is written (`multiseq.protocols.Extras`): a text, a path, a SMILES. If it
defines nothing, an item is JSON, or the path of a ``.json`` file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data import DataError, Records
from multiseq.data.formats import FORMATS, SPLITS, TEXT
from multiseq.data.tables import TABLES
from multiseq.data.text_files import json_item, json_of, lines_of, suffix_of
from multiseq.labels import class_name
from multiseq.results import Label, LabelSet, Number, Text
from multiseq.runs.recipe import resolve
from multiseq.runs.recipe_check import changed_options
from multiseq.runs.sources import read_records, reader_options

if TYPE_CHECKING:
    from multiseq.model import Model
    from multiseq.runs.recipe import Recipe

__all__ = ["Reading", "item_of", "line_of", "read_items", "reading_of", "record_of"]

Pieces = Sequence[tuple[Any, Any]]
"""The (example, prediction) pairs of one item, as `Model.run` returns them."""


# --- read items -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How to read a file of items: by default like the training files of the run.

    Args:
        format: A format of recipes, or ``item`` (the file itself is the item), ``json`` (one item), or
            ``text`` (one item per line).
        options: Options of the format's reader, as in a recipe.
        column: The column that holds the task's labels.
        labels: The labels that the task has learned. They show whether the lines of a file begin with labels.
    """

    format: str
    options: Mapping[str, Any]
    column: str = ""
    labels: Collection[str] = ()


def reading_of(
    file: Path, adapter: Any, recipe: Recipe | None, task: str, changes: Sequence[str] = ()
) -> Reading:
    """Decide how to read a file, from its name and from the run's recipe, if there is one.

    Args:
        file: The file.
        adapter: The adapter of the items.
        recipe: The run's recipe. None for a model that was saved from Python.
        task: The task. The file is read like the task's training data.
        changes: Options that differ from the recipe, for example ``encoding=latin-1`` or ``format=text``.

    Raises:
        ValueError: A change is not a valid option, or a file of edges is missing.
    """
    spec = {} if recipe is None else recipe.tables["data"][recipe.tasks[task]["data"]]
    chosen = changed_options(changes)
    trained = str(spec.get("format", ""))
    format_ = chosen.pop("format", "") or _format_of(file, adapter, trained, _suffixes(spec))
    options = {key: value for key, value in spec.items() if key in FORMATS[trained]} if trained else {}
    options.pop("segments", None)  # these are labels, which new recordings do not have
    options.setdefault("input", "file" if format_ == "recordings" else "text")
    if recipe is None:
        return Reading(format_, options | chosen)
    # Other files that belong to it are beside it, with the same names as in training.
    if "audio" in options:
        beside = file.parent / options["audio"]
        options["audio"] = beside if beside.exists() else resolve(options["audio"], recipe.folder)
    if format_ == "networks":
        options["edges"] = chosen.pop("edges", file.parent / Path(options.get("edges", "edges")).name)
        if not options["edges"].is_file():
            raise ValueError(
                f"{options['edges']}: no such file; give the edges of {file} by --set edges=FILE"
            )
    return Reading(format_, options | chosen, recipe.tasks[task].get("column", ""))


def _suffixes(spec: Mapping[str, Any]) -> set[str]:
    """The suffixes of the files that a run was trained on."""
    files = [spec[key] for key in ("file", *SPLITS) if isinstance(spec.get(key), str)]
    return {suffix_of(file) for file in files}


def _format_of(file: Path, adapter: Any, trained: str, suffixes: Collection[str]) -> str:
    suffix = suffix_of(file)
    if suffix in getattr(adapter, "suffixes", ()):
        return "item"
    if suffix in suffixes and trained != "rdkit-logp":
        return trained
    if suffix in TABLES:
        return trained if trained in ("recordings", "networks") else "table"
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".conllu": "conllu"}.get(suffix, "text")


def read_items(adapter: Any, file: Path, reading: Reading) -> tuple[list[Any], Sequence[str]]:
    """The items of a file, and the location (file and line) of each.

    Args:
        adapter: The adapter of the items.
        file: The file. Paths in it are relative to its folder.
        reading: How to read it, from `reading_of`.

    Raises:
        ValueError: The file or an item is invalid; the message has the line.
    """
    kind = reading.format
    if kind == "item":
        return [str(file)], [str(file)]
    if kind in FORMATS and kind not in ("jsonl", "lines"):
        return _records(adapter, file, reading)
    if kind == "json":
        raw, locations = [_json("".join(_lines(adapter, file, reading)), str(file), adapter)], [str(file)]
    else:
        lines = [line.rstrip("\r\n") for line in _lines(adapter, file, reading)]
        # An empty line of text is an empty item. In JSON Lines it is skipped.
        kept = [i for i, line in enumerate(lines) if line.strip() or kind != "jsonl"]
        raw, locations = [lines[i] for i in kept], [f"{file}:{i + 1}" for i in kept]
        if kind == "jsonl":
            raw = [_json(v, w, adapter) for v, w in zip(raw, locations, strict=True)]
            column = reading.options.get("input", "text")
            raw = [_field(adapter, v, column, w) for v, w in zip(raw, locations, strict=True)]
    return [item_of(adapter, v, file.parent, w) for v, w in zip(raw, locations, strict=True)], locations


def _records(adapter: Any, file: Path, reading: Reading) -> tuple[list[Any], Sequence[str]]:
    records = read_records(reading.format, file, {**reading.options, **reader_options(adapter)}, adapter)
    if reading.format == "labelled":
        _check_labelled(records, reading)
    items, locations = records.items, records.locations
    if not getattr(adapter, "suffixes", ()):  # items that are files have their full path already
        items = [item_of(adapter, v, file.parent, w) for v, w in zip(items, locations, strict=True)]
    return items, locations


def _check_labelled(records: Records, reading: Reading) -> None:
    """Raise ValueError if the first word of a line is not a known label: it may belong to the text."""
    for label, location in zip(records.columns.get(reading.column, []), records.locations, strict=True):
        given = label if isinstance(label, list) else [label]
        new = [one for one in given if class_name(one) not in reading.labels]
        if reading.labels and new:
            raise ValueError(
                f"{location}: got the label {new[0]!r}, which training has not seen; where the lines are "
                "texts without labels, give --set format=text"
            )


def item_of(adapter: Any, given: Any, folder: Path = Path(), location: str = "item") -> Any:
    """Convert an item to the form that its adapter takes.

    Args:
        adapter: The adapter of the item.
        given: A string, or a value from JSON.
        folder: The folder that paths are relative to.
        location: Where the item is, for error messages.

    Raises:
        ValueError: The JSON or another written form is invalid.
    """
    if not isinstance(given, str):
        return given
    try:
        if hasattr(adapter, "parse"):
            return adapter.parse(given, folder)
        return json_item(given, folder, getattr(adapter, "json_form", ""))
    except ValueError as error:
        raise ValueError(f"{location}: {error}") from None


def _field(adapter: Any, value: Any, column: str, location: str) -> Any:
    """The item in a field of a JSON object, or the object if it is an item itself."""
    if not isinstance(value, dict) or getattr(adapter, "is_item", _never)(value):
        return value
    if column not in value:
        raise ValueError(
            f"{location}: no field {column!r}; there are {', '.join(value)}: choose with --column"
        )
    return value[column]


def _lines(adapter: Any, file: Path, reading: Reading) -> Iterator[str]:
    options = {key: value for key, value in reading.options.items() if key in TEXT}
    try:
        yield from lines_of(file, **options)
    except DataError as error:
        suffixes = " ".join(getattr(adapter, "suffixes", ()))
        if suffixes and file.is_file():
            raise ValueError(
                f"{file}: is not a text file; expected text or a file of {suffixes}; convert it"
            ) from error
        raise


def _never(value: Any) -> bool:
    return False


def _json(text: str, location: str, adapter: Any) -> Any:
    try:
        return json_of(text, getattr(adapter, "json_form", ""))
    except ValueError as error:
        raise ValueError(f"{location}: {error}") from None


# --- write predictions ----------------------------------------------------------------------------


def record_of(model: Model, task: str, item: Any, pieces: Pieces) -> dict[str, Any]:
    """An item and its prediction as plain JSON values."""
    if model.task(task).head.level != "vector":
        return {"item": item, **_plain(_combined(pieces)), **_unlike(pieces)}
    results = [result for _, of_example in pieces for result in of_example]
    names = _names(model, task, pieces)
    record = {"item": item, "names": names, **_plain_list(results), **_unlike(pieces)}
    if _has_segments(model, task, results):
        keys = ("start", "end", "label", "probability")
        segments = _segments(model, task, pieces)
        record["segments"] = [dict(zip(keys, segment, strict=True)) for segment in segments]
    return record


def line_of(model: Model, task: str, pieces: Pieces) -> str:
    """A prediction and its probability, for people. If vectors have times, one line per segment."""
    line = _line(model, task, pieces)
    if not _unlike(pieces).get("unlike_training"):
        return line
    return line + ("\n" if "\n" in line else "  ") + "(unlike the training data)"


def _line(model: Model, task: str, pieces: Pieces) -> str:
    if model.task(task).head.level != "vector":
        return _shown(_combined(pieces))
    results = [result for _, of_example in pieces for result in of_example]
    if _has_segments(model, task, results):
        return "\n".join(
            f"{start:.2f}-{end:.2f} s  {label}  ({share:.0%})"
            for start, end, label, share in _segments(model, task, pieces)
        )
    names = _names(model, task, pieces)
    if getattr(model.adapter(model.task(task).adapter_name), "one_per_line", False):
        return "\n".join(f"{name}: {_shown(result)}" for name, result in zip(names, results, strict=True))
    line = " ".join(f"{n}/{_short(r)}" for n, r in zip(names, results, strict=True))
    if not results or not isinstance(results[0], Label):
        return line
    least = min(range(len(results)), key=lambda i: results[i].probability)
    return f"{line}  (least sure: {names[least]}, {results[least].probability:.0%})"


def _combined(pieces: Pieces) -> Any:
    from multiseq.model import combine

    return combine([result for _, result in pieces])


def _unlike(pieces: Pieces) -> dict[str, Any]:
    """The distance of an item from the training data, as JSON values; empty if the model does not know it."""
    firsts = [result[0] if isinstance(result, list) else result for _, result in pieces if result != []]
    known = [result.distance for result in firsts if result.distance is not None]
    if not known:
        return {}
    distance = sum(known) / len(known)
    return {"distance": distance, "unlike_training": distance > 1}


def _names(model: Model, task: str, pieces: Pieces) -> list[str]:
    names = model.adapter(model.task(task).adapter_name).names
    return [name for example, _ in pieces for name in names(example)]


def _has_segments(model: Model, task: str, results: Sequence[Any]) -> bool:
    timed = hasattr(model.adapter(model.task(task).adapter_name), "vector_seconds")
    return timed and bool(results) and isinstance(results[0], Label)


def _segments(model: Model, task: str, pieces: Pieces) -> list[tuple[float, float, str, float]]:
    """Runs of vectors with the same label: (start, end, label, mean probability); times in seconds."""
    adapter: Any = model.adapter(model.task(task).adapter_name)
    results = [result for _, of_example in pieces for result in of_example]
    step, segments, first = adapter.vector_seconds, [], 0
    for last in range(len(results)):
        if last + 1 == len(results) or results[last + 1].label != results[first].label:
            run = results[first : last + 1]
            share = sum(r.probability for r in run) / len(run)
            start, end = (round(t * step, 3) for t in (first, last + 1))
            segments.append((start, end, run[0].label, share))
            first = last + 1
    return segments


def _plain(result: Any) -> dict[str, Any]:
    """A prediction as JSON values."""
    if isinstance(result, Label):
        shares = dict(result.probabilities)
        return {"label": result.label, "probability": result.probability, "probabilities": shares}
    if isinstance(result, LabelSet):
        return {"labels": list(result.labels), "probabilities": dict(result.probabilities)}
    if isinstance(result, Number):
        interval = {"interval": _interval(result)} if result.intervals else {}
        return {"value": _value(result), "unit": result.unit, **interval}
    return {"text": result.text, "score": result.score}


def _plain_list(results: Sequence[Any]) -> dict[str, Any]:
    """The predictions for all vectors of an item as JSON values, with a list for each key."""
    if results and isinstance(results[0], Number):
        intervals = {"intervals": [_interval(r) for r in results]} if results[0].intervals else {}
        return {"values": [_value(r) for r in results], "unit": results[0].unit, **intervals}
    labels = [list(r.labels) if isinstance(r, LabelSet) else r.label for r in results]
    return {"labels": labels, "probabilities": [dict(r.probabilities) for r in results]}


def _value(result: Number) -> Any:
    return result.value if len(result.values) == 1 else result.values


def _interval(result: Number) -> Any:
    ends = {name: list(ends) for name, ends in result.intervals.items()}
    return next(iter(ends.values())) if len(ends) == 1 else ends


def _shown(result: Any) -> str:
    if isinstance(result, Label):
        return f"{result.label} ({result.probability:.0%})"
    if isinstance(result, LabelSet):
        found = [f"{name} ({result.probabilities[name]:.0%})" for name in result.labels]
        return ", ".join(found) or "(none)"
    if isinstance(result, Text):
        return f"{result.text}  (log-probability {result.score:.1f})"
    return str(result)


def _short(result: Any) -> str:
    return result.label if isinstance(result, Label) else str(result)
