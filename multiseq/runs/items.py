"""Decide how a file is read, parse items, and write predictions for people or as JSON.

The adapter defines how an item is written (`multiseq.protocols.Extras`): a text, a path, a SMILES. If it
defines nothing, an item is JSON, or the path of a ``.json`` file.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.checks import no_such
from multiseq.data.conll import has_columns
from multiseq.data.conllu import is_conllu
from multiseq.data.formats import FORMATS, SPLITS, TEXT
from multiseq.data.kaldi import is_kaldi
from multiseq.data.readers.text import FASTTEXT, is_fasttext
from multiseq.data.recordings import AUDIO
from multiseq.data.records import DataError
from multiseq.data.tables import TABLES
from multiseq.data.text_files import json_item, json_of, lines_of, suffix_of
from multiseq.results import Label, LabelSet, Number, Spoken, Text, mean_distance, rounded, segments
from multiseq.runs.ipa import ipa_of
from multiseq.runs.recipe import resolve
from multiseq.runs.recipe_check import changed_options

if TYPE_CHECKING:
    from multiseq.model import Predictor
    from multiseq.runs.recipe import Recipe

__all__ = [
    "Reading",
    "check_files",
    "field_of",
    "has_times",
    "item_of",
    "json_value",
    "line_of",
    "reading_of",
    "record_of",
    "shown_item",
    "typed_items",
]

Pieces = Sequence[tuple[Any, Any]]
"""The (example, prediction) pairs of one item, as `Model.run` returns them."""

BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".conllu": "conllu",
    ".conll": "conll",
    ".sdf": "sdf",
    ".mol": "sdf",
    ".graphml": "graphml",
    ".textgrid": "textgrid",
}
"""Ending of a file -> its format, whatever the training files were."""

BY_LINE = ("conllu", "conll", "jsonl", "labelled")
"""Formats of training in which files of any other ending are read, too."""
TEXT_ENDINGS = (".txt", ".text", ".md", "")
"""Endings of lines of text. Only the content shows if they are words with tags."""
FIRST_LINES = 1000
"""The most lines that are looked at to know what a file is."""

RECORDING = "a recording"
KINDS = {
    **dict.fromkeys(AUDIO, RECORDING),
    **dict.fromkeys(TABLES, "a table"),
    **dict.fromkeys((".txt", ".md", ".html", ".pdf"), "a document"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "JSON"),
    **dict.fromkeys((".sdf", ".mol", ".smi"), "molecules"),
    ".conllu": "a treebank",
    ".conll": "words with tags",
    ".graphml": "networks",
}
"""Ending of a file -> what it is, for messages."""
TYPED = {"text": "texts", "speech": "recordings"}
"""Modalities whose items are not JSON when they are typed, and what these items are."""
LONGEST_NAME = 255
"""The most characters of a typed item that may name a file."""
MOST_NAMED = 5
"""Missing files that a message names."""

SHOWN = 40
"""The most characters of an item that are shown before its prediction."""


# --- read items -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How to read a file of items: by default like the training files of the run.

    Args:
        format: A format of recipes, or ``item`` (the file itself is the item), ``json`` (one item),
            ``text`` (one item per line), or ``smi`` (a SMILES and a name per line). ``folders`` means that
            all of the text of the file is one item.
        options: Options of the format's reader, as in a recipe.
        column: The column that holds the task's labels.
        labels: The labels that the task has learned. They show whether the lines of a file begin with labels.
        trained: The format of the training files; empty for a model that was saved from Python.
    """

    format: str
    options: Mapping[str, Any]
    column: str = ""
    labels: Collection[str] = ()
    trained: str = ""


def reading_of(
    file: Path,
    adapter: Any,
    recipe: Recipe | None,
    task: str,
    changes: Sequence[str] = (),
    labels: Collection[str] = (),
) -> Reading:
    """Decide how to read a file, from its name and from the run's recipe, if there is one.

    Args:
        file: The file.
        adapter: The adapter of the items.
        recipe: The run's recipe. None for a model that was saved from Python.
        task: The task. The file is read like the task's training data.
        changes: Options that differ from the recipe, for example ``encoding=latin-1`` or ``format=text``.
        labels: The labels that the task has learned.

    Raises:
        ValueError: A change is not a valid option, a file of edges is missing, or a text file may be of
            several formats.
    """
    spec = {} if recipe is None else recipe.tables["data"][recipe.tasks[task]["data"]]
    chosen = changed_options(changes)
    trained = str(spec.get("format", ""))
    options = {key: value for key, value in spec.items() if key in FORMATS[trained]} if trained else {}
    format_ = chosen.pop("format", "") or _format_of(file, adapter, trained, _suffixes(spec))
    if not format_:
        format_ = _format_by_content(file, trained, {**options, **chosen}, labels)
    options.pop("segments", None)  # these are labels, which new recordings do not have
    options.setdefault("input", "file" if format_ == "recordings" else "text")
    if recipe is None:
        return Reading(format_, options | chosen, labels=labels)
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
        options.pop("labels", None)  # new nodes have none
        if "ids" in options:
            options["ids"] = chosen.pop("ids", file.parent / Path(options["ids"]).name)
    column = recipe.tasks[task].get("column", "")
    return Reading(format_, options | chosen, column, labels, trained)


def _suffixes(spec: Mapping[str, Any]) -> set[str]:
    """The suffixes of the files that a run was trained on."""
    files = [spec[key] for key in ("file", *SPLITS) if isinstance(spec.get(key), str)]
    return {suffix_of(file) for file in files}


def _format_of(file: Path, adapter: Any, trained: str, suffixes: Collection[str]) -> str:
    """The format of a file by its ending and that of the training files; empty if they do not say it."""
    suffix = suffix_of(file)
    if suffix in getattr(adapter, "suffixes", ()):
        return "item"
    if is_kaldi(file):
        return "kaldi"
    if trained in ("npz", "planetoid", "tu"):
        return trained
    if suffix == ".xml" and trained in ("webnlg", "triples"):
        return "webnlg"
    if suffix in suffixes and trained not in ("rdkit-logp", "folders", "graphml", "kaldi", "timit"):
        return trained
    if suffix == ".smi" and adapter.modality == "graph":
        return "smi"
    if suffix in TABLES and trained == "webnlg":
        return "triples"
    if suffix in TABLES:
        return trained if trained in ("recordings", "networks", "triples") else "table"
    if trained == "folders" and not hasattr(adapter, "suffixes"):
        return BY_SUFFIX.get(suffix, "folders")
    return BY_SUFFIX.get(suffix, "") if trained != "conllu" else ""


def _format_by_content(file: Path, trained: str, options: Mapping[str, Any], labels: Collection[str]) -> str:
    """The format of a file whose ending does not say it: that of training, or lines of text.

    Raises:
        ValueError: It may be words with their tags as well as lines of text.
    """
    suffix = suffix_of(file)
    told = {key: value for key, value in options.items() if key in TEXT}
    try:
        lines = list(islice(lines_of(file, **told), FIRST_LINES)) if trained in BY_LINE else []
    except DataError:  # the reader raises the error
        lines = []
    if trained == "conllu" and is_conllu(lines):
        return trained
    if suffix in BY_SUFFIX or trained not in BY_LINE:
        return BY_SUFFIX.get(suffix, "text")
    if suffix not in TEXT_ENDINGS:
        return trained
    try:
        alike = trained == "conll" and has_columns(lines, labels)
    except ValueError as error:
        raise ValueError(f"{file}: {error}: --set format=conll, or --set format=text") from None
    if trained == "labelled" and any(str(label).startswith(FASTTEXT) for label in labels):
        alike = is_fasttext([line for line in lines if line.strip()])
    return trained if alike else "text"


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


def typed_items(
    adapter: Any, given: Sequence[str], command: str, errors: dict[int, str] | None = None
) -> tuple[list[Any], list[str]]:
    """Typed items in the form that the adapter takes, and the name of each in messages.

    Args:
        adapter: The adapter of the items.
        given: What was typed.
        command: As for `check_files`.
        errors: Gets the error of each item that has one, by its number. Without it, the first one is raised.

    Raises:
        ValueError: An item is invalid, or files are missing, and there is no ``errors``.
    """
    items: list[Any] = []
    names = [f"item {i}" for i in range(1, len(given) + 1)]
    try:
        if errors is None:
            check_files(adapter, given, command)
        for i, (one, name) in enumerate(zip(given, names, strict=True)):
            try:
                check_files(adapter, [one], command)
                items.append(item_of(adapter, one, location=name))
            except ValueError as error:
                if errors is None:
                    raise
                errors[i] = str(error)
                items.append(one)
    except ValueError as error:
        raise ValueError(f"{error}{' (--on-error skip goes on)' if len(given) > 1 else ''}") from None
    return items, names


def check_files(adapter: Any, files: Sequence[str], command: str) -> None:
    """Raise ValueError if a file is of another kind than the adapter's items; or if recordings are missing.

    Args:
        adapter: The adapter of the items.
        files: What was typed: items, or files of items.
        command: The beginning of a command that predicts, for an example.
    """
    suffixes = getattr(adapter, "suffixes", ())
    for given in files:
        kind = KINDS.get(suffix_of(given), "") if len(given) < LONGEST_NAME else ""
        fits = suffix_of(given) in suffixes or (suffix_of(given) == ".json" and adapter.modality not in TYPED)
        if kind and not fits and Path(given).is_file():
            takes = {**TYPED, "graph": "graphs"}.get(adapter.modality, "other items")
            example = _example(adapter)
            whole = "" if kind == RECORDING else f"; to read the file, use --input {given}"
            raise ValueError(
                f"{given}: got {kind}, but this run takes {takes}, as in: {command} "
                f"{shlex.quote(example)}{whole}"
            )
    missing = [given for given in files if suffixes and not Path(given).exists()]
    if missing:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise ValueError(f"{', '.join(missing[:MOST_NAMED])}{more}: no such file")


def _example(adapter: Any) -> str:
    """An item as one may type it."""
    form = getattr(adapter, "json_form", "")
    try:
        item = json.loads(form)
    except ValueError:  # a recording or a text
        item = ""
    return str(adapter.stand_in(item)) if hasattr(adapter, "stand_in") else form


def field_of(adapter: Any, value: Any, column: str, location: str) -> Any:
    """The item in a field of a JSON object, or the object if it is an item itself."""
    if not isinstance(value, dict) or getattr(adapter, "is_item", _never)(value):
        return value
    if column not in value:
        raise ValueError(f"{location}: {no_such('field', column, value)}: choose with --column")
    return value[column]


def _never(value: Any) -> bool:
    return False


def json_value(text: str, location: str, adapter: Any) -> Any:
    """Parse JSON. Raises ValueError with the location, and an example of the adapter."""
    try:
        return json_of(text, getattr(adapter, "json_form", ""))
    except ValueError as error:
        raise ValueError(f"{location}: {error}") from None


# --- write predictions ----------------------------------------------------------------------------


def record_of(model: Predictor, task: str, item: Any, pieces: Pieces) -> dict[str, Any]:
    """An item and its prediction as plain JSON values."""
    if model.task(task).head.level != "vector":
        return {"item": item, **_plain(_combined(pieces)), **_unlike(pieces)}
    results = [result for _, of_example in pieces for result in of_example]
    names = _names(model, task, pieces)
    record = {"item": item, "names": names, **_plain_list(results), **_unlike(pieces)}
    if _has_segments(model, task, results):
        ipa = ipa_of(model.task(task).head.target.labels)
        record["segments"] = [
            {"start": s.start, "end": s.end, "label": s.text, "probability": s.confidence}
            | ({"ipa": ipa.get(s.text, "")} if ipa else {})
            for s in _segments(model, task, pieces)
        ]
    return record


def line_of(model: Predictor, task: str, pieces: Pieces) -> str:
    """A prediction and its probability, for people. If vectors have times, one line per segment."""
    line = _line(model, task, pieces)
    if not _unlike(pieces).get("unlike_training"):
        return line
    return line + ("\n" if "\n" in line else "  ") + "(unlike the training data)"


def _line(model: Predictor, task: str, pieces: Pieces) -> str:
    if model.task(task).head.level != "vector":
        return _shown(_combined(pieces))
    results = [result for _, of_example in pieces for result in of_example]
    if _has_segments(model, task, results):
        ipa = ipa_of(model.task(task).head.target.labels)
        return "\n".join(
            f"{s.start:.2f}-{s.end:.2f} s  {s.text}{f' [{ipa[s.text]}]' if s.text in ipa else ''}  "
            f"({s.confidence:.0%})"
            for s in _segments(model, task, pieces)
        )
    names = _names(model, task, pieces)
    if getattr(model.adapter(model.task(task).adapter_name), "one_per_line", False):
        return "\n".join(f"{name}: {_shown(result)}" for name, result in zip(names, results, strict=True))
    line = " ".join(f"{n}/{_short(r)}" for n, r in zip(names, results, strict=True))
    if not results or not isinstance(results[0], Label):
        return line
    least = min(range(len(results)), key=lambda i: results[i].probability)
    return f"{line}  (least sure: {names[least]}, {results[least].probability:.0%})"


def shown_item(adapter: Any, item: Any) -> str:
    """An item before its prediction, shortened: ``a lovely quiet…:``. An empty item is not shown."""
    if getattr(adapter, "suffixes", ()):
        return f"{item}:"
    words = isinstance(item, list) and all(isinstance(word, str) for word in item)
    text = " ".join(item) if words else item if isinstance(item, str) else json.dumps(item, default=str)
    text = " ".join(text.split())
    short = text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
    return f"{short}:" if short else ""


def _combined(pieces: Pieces) -> Any:
    from multiseq.model import combine

    return combine([result for _, result in pieces])


def _unlike(pieces: Pieces) -> dict[str, Any]:
    """The distance of an item from the training data, as JSON values; empty if the model does not know it."""
    of_all = [one for _, result in pieces for one in (result if isinstance(result, list) else [result])]
    distance = mean_distance(of_all)
    if distance is None:
        return {}
    return {"distance": round(distance, 6), "unlike_training": distance > 1}


def _names(model: Predictor, task: str, pieces: Pieces) -> list[str]:
    names = model.adapter(model.task(task).adapter_name).names
    return [name for example, _ in pieces for name in names(example)]


def has_times(model: Predictor, task: str) -> bool:
    """Whether the texts of a task have words with times: a recording is recognised by CTC."""
    chosen = model.task(task)
    return hasattr(chosen.head, "align") and hasattr(model.adapter(chosen.adapter_name), "vector_seconds")


def _has_segments(model: Predictor, task: str, results: Sequence[Any]) -> bool:
    timed = hasattr(model.adapter(model.task(task).adapter_name), "vector_seconds")
    return timed and bool(results) and isinstance(results[0], Label)


def _segments(model: Predictor, task: str, pieces: Pieces) -> list[Spoken]:
    adapter: Any = model.adapter(model.task(task).adapter_name)
    results = [result for _, of_example in pieces for result in of_example]
    whole = sum(getattr(example, "seconds", math.inf) for example, _ in pieces)
    return segments(results, adapter.vector_seconds, whole)


def _plain(result: Any) -> dict[str, Any]:
    """A prediction as JSON values."""
    if isinstance(result, Label):
        shares = dict(result.probabilities)
        return {"label": result.label, "probability": result.probability, "probabilities": shares}
    if isinstance(result, LabelSet):
        return {"labels": list(result.labels), "probabilities": dict(result.probabilities)}
    if isinstance(result, Number):
        sure = {"interval": _interval(result)} if result.intervals else {}
        sure |= {"spread": _by_name(result, result.spreads)} if result.spreads else {}
        return {"value": _by_name(result, result.values), "unit": result.unit, **sure}
    record: dict[str, Any] = {"text": result.text, "score": result.score}
    if result.cut is not None:
        record["cut"] = result.cut
    if result.tokens:
        record["words"] = [_spoken(word) for word in result.words]
    if result.n_best:
        record["n_best"] = [{"text": text.text, "score": text.score} for text in result.n_best]
    return record


def _spoken(word: Spoken) -> dict[str, Any]:
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    return {"text": word.text, **times, "confidence": word.confidence}


def _plain_list(results: Sequence[Any]) -> dict[str, Any]:
    """The predictions for all vectors of an item as JSON values, with a list for each key."""
    if results and isinstance(results[0], Number):
        sure = {"intervals": [_interval(r) for r in results]} if results[0].intervals else {}
        sure |= {"spreads": [_by_name(r, r.spreads) for r in results]} if results[0].spreads else {}
        return {"values": [_by_name(r, r.values) for r in results], "unit": results[0].unit, **sure}
    labels = [list(r.labels) if isinstance(r, LabelSet) else r.label for r in results]
    return {"labels": labels, "probabilities": [dict(r.probabilities) for r in results]}


def _by_name(result: Number, given: Mapping[str, float]) -> Any:
    """A number of the result by name, or alone if it has a single one."""
    values = {name: rounded(value, result.scales.get(name)) for name, value in given.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def _interval(result: Number) -> Any:
    scales = result.scales
    ends = {name: [rounded(end, scales.get(name)) for end in e] for name, e in result.intervals.items()}
    return next(iter(ends.values())) if len(ends) == 1 else ends


def _shown(result: Any) -> str:
    if isinstance(result, Label):
        return f"{result.label} ({result.probability:.0%})"
    if isinstance(result, LabelSet):
        names = [f"{name} ({result.probabilities[name]:.0%})" for name in result.labels]
        return ", ".join(names) or "(none)"
    if isinstance(result, Text):
        others = [f"or  {text.text}  (log-probability {text.score:.1f})" for text in result.n_best[1:]]
        words = [f"{w.start:.2f}-{w.end:.2f} s  {w.text}  ({w.confidence:.0%})" for w in result.words]
        cut = "; may be cut off: it is as long as max_length allows" if result.cut else ""
        return "\n".join([f"{result.text}  (log-probability {result.score:.1f}{cut})", *others, *words])
    return str(result)


def _short(result: Any) -> str:
    return result.label if isinstance(result, Label) else str(result)
