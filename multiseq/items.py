"""Items as people give them on a command line or in a file, and predictions as they read them.

An item of a text adapter is a text; of speech a path; of molecules a SMILES; of networks and
triples JSON, or the path of a ``.json`` file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.results import Label, LabelSet, Number, Text

if TYPE_CHECKING:
    from multiseq.model import Model

__all__ = ["item_of", "line_of", "read_items", "record_of"]

AUDIO = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au"})

Pieces = Sequence[tuple[Any, Any]]
"""The (example, result) pairs of one item, as `Model.run` gives them."""


# --- in -------------------------------------------------------------------------------------------


def read_items(adapter: Any, file: Path, column: str) -> tuple[list[Any], list[str]]:
    """The items of a file, and where in it each of them stands.

    Args:
        adapter: What will read them.
        file: A table with a header (``.csv``, ``.tsv``), ``.jsonl``, one ``.json`` item, one audio
            file, or plain text with an item a line. Paths in it are relative to its folder.
        column: The column of a table, or field of the objects of ``.jsonl``, that holds the items.

    Raises:
        ValueError: A bad file or item, with its line.
    """
    from multiseq.data.readers import read_table
    from multiseq.data.records import open_text

    kind = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix
    if adapter.modality == "speech" and kind.lower() in AUDIO:
        return [str(file)], [str(file)]
    if kind in (".csv", ".tsv"):
        records = read_table(file, input=column)
        raw, where = records.items, records.where
    elif kind == ".json":
        raw, where = [_json(open_text(file).read(), str(file))], [str(file)]
    else:
        raw = [line.rstrip("\r\n") for line in open_text(file)]
        where = [f"{file}:{i}" for i in range(1, len(raw) + 1)]
        if kind == ".jsonl":
            raw = [_field(_json(v, w), column, w) for v, w in zip(raw, where, strict=True)]
    return [item_of(adapter, v, file.parent, w) for v, w in zip(raw, where, strict=True)], where


def item_of(adapter: Any, given: Any, folder: Path = Path(), where: str = "item") -> Any:
    """An item as its adapter takes it.

    Args:
        adapter: What will read it.
        given: A string, or what JSON says.
        folder: What paths are relative to.
        where: For messages.

    Raises:
        ValueError: Bad JSON, or items that have no written form.
    """
    if not isinstance(given, str) or adapter.modality == "text":
        return given
    if adapter.modality == "speech":
        return str(folder / given)
    kind = getattr(adapter, "kind", "molecule")
    if kind == "data":
        raise ValueError(
            "this model was trained on torch-geometric Data, which a command line cannot hold; "
            "use multiseq.load(…).predict(…) in Python"
        )
    if kind == "molecule":
        return given.strip()
    if given.strip().endswith(".json"):
        path = folder / given.strip()
        if not path.is_file():
            raise ValueError(f"{where}: {path}: no such file")
        return _json(path.read_text(encoding="utf-8"), str(path))
    return _json(given, where)


def _field(value: Any, column: str, where: str) -> Any:
    """The field of an object that holds the item; a network is an object itself."""
    if not isinstance(value, dict) or "nodes" in value:
        return value
    if column not in value:
        raise ValueError(f"{where}: no field {column!r}; there are {', '.join(value)}: choose with --column")
    return value[column]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{where}: got {text[:40]!r}, expected JSON, as in "
            '[["Ada", "profession", "baker"]] or {"nodes": {…}, "edges": […]}'
            f" ({error})"
        ) from None


# --- out ------------------------------------------------------------------------------------------


def record_of(model: Model, task: str, item: Any, pieces: Pieces) -> dict[str, Any]:
    """A prediction as plain JSON values, with the item."""
    if model.task(task).head.level != "vector":
        return {"item": item, **_plain(_combined(pieces))}
    results = [result for _, of_example in pieces for result in of_example]
    record = {"item": item, "names": _names(model, task, pieces), **_plain_list(results)}
    if _has_segments(model, task, results):
        keys = ("start", "end", "label", "probability")
        segments = _segments(model, task, pieces)
        record["segments"] = [dict(zip(keys, segment, strict=True)) for segment in segments]
    return record


def line_of(model: Model, task: str, pieces: Pieces) -> str:
    """A prediction as people read it, with how sure the model is; of speech a line a segment."""
    if model.task(task).head.level != "vector":
        return _shown(_combined(pieces))
    results = [result for _, of_example in pieces for result in of_example]
    if _has_segments(model, task, results):
        return "\n".join(
            f"{start:.2f}-{end:.2f} s  {label}  ({share:.0%})"
            for start, end, label, share in _segments(model, task, pieces)
        )
    names = _names(model, task, pieces)
    line = " ".join(f"{n}/{_short(r)}" for n, r in zip(names, results, strict=True))
    if not results or not isinstance(results[0], Label):
        return line
    least = min(range(len(results)), key=lambda i: results[i].probability)
    return f"{line}  (least sure: {names[least]}, {results[least].probability:.0%})"


def _combined(pieces: Pieces) -> Any:
    from multiseq.model import combine

    return combine([result for _, result in pieces])


def _names(model: Model, task: str, pieces: Pieces) -> list[str]:
    names = model.adapter(model.task(task).adapter).names
    return [name for example, _ in pieces for name in names(example)]


def _has_segments(model: Model, task: str, results: Sequence[Any]) -> bool:
    modality = model.adapter(model.task(task).adapter).modality
    return modality == "speech" and bool(results) and isinstance(results[0], Label)


def _segments(model: Model, task: str, pieces: Pieces) -> list[tuple[float, float, str, float]]:
    """Neighbouring vectors of one label as (start, end, label, mean probability), in seconds."""
    adapter: Any = model.adapter(model.task(task).adapter)
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
    """A result as JSON values."""
    if isinstance(result, Label):
        shares = result.probabilities
        return {"label": result.label, "probability": result.probability, "probabilities": shares}
    if isinstance(result, LabelSet):
        return {"labels": list(result.labels), "probabilities": result.probabilities}
    if isinstance(result, Number):
        return {"value": _value(result), "unit": result.unit}
    return {"text": result.text, "score": result.score}


def _plain_list(results: Sequence[Any]) -> dict[str, Any]:
    """The results of all vectors of an item as JSON values, a list for each key."""
    if results and isinstance(results[0], Number):
        return {"values": [_value(r) for r in results], "unit": results[0].unit}
    labels = [list(r.labels) if isinstance(r, LabelSet) else r.label for r in results]
    return {"labels": labels, "probabilities": [r.probabilities for r in results]}


def _value(result: Number) -> Any:
    return result.value if len(result.values) == 1 else result.values


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
