"""Items as people give them on a command line or in a file, and predictions as they read them.

An item of a text adapter is a text; of speech a path; of molecules a SMILES; of networks and
triples JSON, or the path of a ``.json`` file; of several parts a JSON object of their items.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.results import Label, LabelSet, Number, Text

if TYPE_CHECKING:
    from multiseq.model import Model

__all__ = ["item_of", "line_of", "read_items", "record_of"]

AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")

FORMS = {
    "text": '"I saw it" or {"text": "I saw it"}',
    "speech": '"a.wav" or {"file": "a.wav"}',
    "molecule": '"CCO" or {"smiles": "CCO"}',
    "triples": '[["Ada", "profession", "baker"]]',
    "table": '{"nodes": {"age": [20, 30]}, "edges": [[0, 1]]}',
    "fused": '{"NAME OF A PART": "ITEM OF THAT PART"}',
}
"""Modality, or kind of graph -> an item in JSON, for messages."""

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

    kind = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix
    if adapter.modality == "speech" and kind.lower() in AUDIO:
        return [str(file)], [str(file)]
    if kind in (".csv", ".tsv"):
        records = read_table(file, input=column)
        raw, where = records.items, records.where
    elif kind == ".json":
        raw, where = [_json(_text(adapter, file), str(file), adapter)], [str(file)]
    else:
        lines = [line.rstrip("\r\n") for line in StringIO(_text(adapter, file), newline="\n")]
        # An empty line of text is an empty item, one between objects is nothing.
        kept = [i for i, line in enumerate(lines) if line.strip() or kind != ".jsonl"]
        raw, where = [lines[i] for i in kept], [f"{file}:{i + 1}" for i in kept]
        if kind == ".jsonl":
            raw = [_json(v, w, adapter) for v, w in zip(raw, where, strict=True)]
            if adapter.modality != "fused":
                raw = [_field(v, column, w) for v, w in zip(raw, where, strict=True)]
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
    kind = "fused" if adapter.modality == "fused" else getattr(adapter, "kind", "molecule")
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
        return _json(_text(adapter, path), str(path), adapter)
    return _json(given, where, adapter)


def _field(value: Any, column: str, where: str) -> Any:
    """The field of an object that holds the item; a network is an object itself."""
    if not isinstance(value, dict) or "nodes" in value:
        return value
    if column not in value:
        raise ValueError(f"{where}: no field {column!r}; there are {', '.join(value)}: choose with --column")
    return value[column]


def _text(adapter: Any, file: Path) -> str:
    from multiseq.data.records import DataError, open_text

    try:
        return open_text(file).read()
    except DataError as error:
        if adapter.modality == "speech" and file.is_file():
            kinds = " ".join(AUDIO)
            raise ValueError(f"{file}: is no text, and no audio that is read: {kinds}; convert it") from error
        raise


def _json(text: str, where: str, adapter: Any) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        form = FORMS.get(getattr(adapter, "kind", adapter.modality), FORMS["text"])
        raise ValueError(f"{where}: got {text[:40]!r}, expected JSON, as in {form} ({error})") from None


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
        shares = dict(result.probabilities)
        return {"label": result.label, "probability": result.probability, "probabilities": shares}
    if isinstance(result, LabelSet):
        return {"labels": list(result.labels), "probabilities": dict(result.probabilities)}
    if isinstance(result, Number):
        return {"value": _value(result), "unit": result.unit}
    return {"text": result.text, "score": result.score}


def _plain_list(results: Sequence[Any]) -> dict[str, Any]:
    """The results of all vectors of an item as JSON values, a list for each key."""
    if results and isinstance(results[0], Number):
        return {"values": [_value(r) for r in results], "unit": results[0].unit}
    labels = [list(r.labels) if isinstance(r, LabelSet) else r.label for r in results]
    return {"labels": labels, "probabilities": [dict(r.probabilities) for r in results]}


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
