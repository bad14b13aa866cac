"""Recipes: one short TOML file says which data, tasks, encoder and training make a model.

    [data.NAME]      where items and labels come from: adapter, format, train / dev / test files
    [tasks.NAME]     what is learned from them: data, output, target, column
    [adapters.NAME]  options of an adapter (modality = its name where not given)
    [encoder]        preset or sizes
    [training]       as in `multiseq.training.Settings`

Unknown keys are errors with the nearest right name. Nothing that a recipe names is imported.
"""

from __future__ import annotations

import difflib
import inspect
import json
import random
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiseq.data import Records
    from multiseq.model import Model
    from multiseq.tasks import Source
    from multiseq.training import Settings

__all__ = ["PARTS", "Recipe", "RecipeError", "build_model", "names", "read", "read_part", "settings"]

PARTS = ("train", "dev", "test")
MODALITIES = {"text": "TextAdapter", "speech": "SpeechAdapter", "graph": "GraphAdapter"}

DATA_KEYS = ("adapter", "format", "file", *PARTS, "part_column", "split", "fold", "weight")
TASK_KEYS = (
    "data", "output", "target", "column", "columns", "unit", "tokens", "vocab_size", "metric", "weight", "head", "decode",
)  # fmt: skip
OUTPUTS = ("vector", "set", "sequence")
TARGETS = ("class", "labels", "number", "text")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the file, the section and the key."""


@dataclass
class Recipe:
    """A recipe as read, its tables checked.

    Args:
        name: Of the file, or of the recipe in the package.
        folder: What relative paths of data are relative to, unless a data folder is given.
        text: The file as written.
        tables: ``data``, ``tasks``, ``adapters``, ``encoder``, ``training``.
    """

    name: str
    folder: Path
    text: str
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The tables of the tasks."""
        return self.tables["tasks"]

    def modality(self, adapter: str) -> str:
        """text, speech or graph."""
        return str(self.tables["adapters"].get(adapter, {}).get("modality", adapter))

    def cell(self, task: str) -> str:
        """Modality and output of a task, as in ``text/vector``."""
        spec = self.tasks[task]
        return f"{self.modality(self.tables['data'][spec['data']]['adapter'])}/{spec['output']}"


def names() -> list[str]:
    """The recipes of the package."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def read(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by path, or by name where the package has it, with ``key=value`` changes.

    Args:
        recipe: ``my.toml`` or ``starter``.
        changes: As in ``training.steps=200`` or ``tasks.pos.weight=2``; values are TOML, or plain text.

    Raises:
        RecipeError: No such recipe, not TOML, an unknown key, or a value that does not fit.
    """
    path = Path(recipe)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise RecipeError(f"{path}: no such file")
        name, folder, text = path.stem, path.parent, path.read_text(encoding="utf-8")
    elif str(recipe) in names():
        name, folder = str(recipe), Path()
        text = (_shipped() / f"{recipe}.toml").read_text(encoding="utf-8")
    else:
        raise RecipeError(f"{recipe}: no such recipe{_nearest(str(recipe), names())}; there are {', '.join(names())}")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name}: not TOML: {error}") from None
    for change in changes:
        _change(tables, change)
    found = Recipe(name, folder, text, {k: tables.pop(k, {}) for k in ("data", "tasks", "adapters", "encoder", "training")})
    _check(found, tables)
    return found


def _shipped() -> Any:
    return files("multiseq") / "recipes"


def _change(tables: dict[str, Any], change: str) -> None:
    key, found, value = change.partition("=")
    if not found or not key:
        raise RecipeError(f"--set {change}: expected key=value, as in training.steps=200")
    *path, last = key.strip().split(".")
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise RecipeError(f"--set {change}: {part!r} is a value, not a table")
    try:
        tables[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        tables[last] = value


# --- checking: light, so that a typo is found before anything heavy is imported ---------------------------


def _check(recipe: Recipe, rest: Mapping[str, Any]) -> None:
    where = recipe.name
    _known(rest, (), where, ("data", "tasks", "adapters", "encoder", "training"))
    if not recipe.tasks or not recipe.tables["data"]:
        raise RecipeError(f"{where}: expected at least one [tasks.NAME] and one [data.NAME]")
    for name, spec in recipe.tables["data"].items():
        _check_data(recipe, name, spec)
    for name, spec in recipe.tasks.items():
        place = f"{where}: [tasks.{name}]"
        _known(spec, TASK_KEYS, place)
        _need(spec, ("data", "output", "target"), place)
        _one_of(spec["data"], recipe.tables["data"], f"{place} data")
        _one_of(spec["output"], OUTPUTS, f"{place} output")
        _one_of(spec["target"], TARGETS, f"{place} target")
        if (spec["output"] == "sequence") != (spec["target"] == "text"):
            raise RecipeError(f"{place}: got output {spec['output']!r} with target {spec['target']!r}; text goes with sequence")
        if "column" not in spec and "columns" not in spec:
            raise RecipeError(f"{place}: expected column = \"…\" (or columns = […]), the labels' name in the data")


def _check_data(recipe: Recipe, name: str, spec: Mapping[str, Any]) -> None:
    from multiseq.data.formats import FORMATS

    place = f"{recipe.name}: [data.{name}]"
    _need(spec, ("adapter", "format"), place)
    _one_of(spec["format"], FORMATS, f"{place} format")
    _known(spec, (*DATA_KEYS, *FORMATS[spec["format"]]), place)
    adapter = spec["adapter"]
    _one_of(recipe.modality(adapter), MODALITIES, f"{place} adapter {adapter!r}: modality")
    if "file" in spec and not ({"part_column", "split"} & set(spec)):
        raise RecipeError(f"{place}: with file, expected part_column or split to tell train, dev and test apart")
    if "file" not in spec and "train" not in spec:
        raise RecipeError(f"{place}: expected train = \"…\" (and test), or file = \"…\"")


def _known(spec: Mapping[str, Any], allowed: Iterable[str], place: str, shown: Iterable[str] = ()) -> None:
    allowed = list(allowed)
    for key in spec:
        if key not in allowed:
            candidates = allowed or list(shown)
            raise RecipeError(f"{place}: no key {key!r}{_nearest(key, candidates)}; there are {', '.join(candidates)}")


def _need(spec: Mapping[str, Any], keys: Iterable[str], place: str) -> None:
    for key in keys:
        if key not in spec:
            raise RecipeError(f"{place}: {key} is missing")


def _one_of(value: Any, allowed: Iterable[str], place: str) -> None:
    allowed = list(allowed)
    if value not in allowed:
        raise RecipeError(f"{place}: got {value!r}{_nearest(str(value), allowed)}; expected one of {', '.join(allowed)}")


def _nearest(word: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


# --- reading the data -----------------------------------------------------------------------------------


def read_part(recipe: Recipe, part: str, data: Path | None = None) -> list[Source]:
    """The sources of one part, each with the labels of all tasks that read it.

    Args:
        recipe: Which data.
        part: train, dev or test.
        data: What relative paths are relative to; the recipe's folder where not given.

    Returns:
        One source for each data table that has this part.
    """
    from multiseq.tasks import Source

    sources = []
    for name, spec in recipe.tables["data"].items():
        records = _read_records(recipe, name, spec, part, data)
        tasks = {t: s for t, s in recipe.tasks.items() if s["data"] == name}
        if records is not None and tasks:
            targets = {t: _labels(records, s) for t, s in tasks.items()}
            sources.append(Source(spec["adapter"], records.items, targets, spec.get("weight", 1.0), records.where))
    return sources


def _read_records(
    recipe: Recipe, name: str, spec: Mapping[str, Any], part: str, data: Path | None
) -> Records | None:
    from multiseq.data.formats import FORMATS, PATHS

    base = data or recipe.folder
    options = {k: v for k, v in spec.items() if k in FORMATS[spec["format"]]}
    options |= {k: _resolve(v, base) for k, v in options.items() if k in PATHS}
    if "file" in spec:
        records = _run_reader(spec["format"], spec["file"], base, options)
        return records.select(_rows_of_part(recipe, name, spec, records, part, base))
    share = spec.get("dev", 0)
    if isinstance(share, float) and part in ("train", "dev"):
        records = _run_reader(spec["format"], spec["train"], base, options)
        held = set(random.Random(0).sample(range(len(records.items)), round(share * len(records.items))))
        return records.select([i for i in range(len(records.items)) if (i in held) == (part == "dev")])
    return _run_reader(spec["format"], spec[part], base, options) if part in spec else None


def _run_reader(name: str, paths: Any, base: Path, options: dict[str, Any]) -> Records:
    from multiseq.data import READERS

    if name == "rdkit-logp":
        return READERS[name](Path(paths))
    if name == "lines":
        first, second = (_resolve(p, base) for p in paths)
        return READERS[name](first, target=second, **options)
    return READERS[name](_resolve(paths, base), **options)


def _resolve(path: str, base: Path) -> Path:
    """``starter:pos/train.conllu`` lies in the package; anything else relative to the data folder."""
    if path.startswith("starter:"):
        return Path(str(files("multiseq") / "starter")) / path.removeprefix("starter:")
    return base / path


def _rows_of_part(
    recipe: Recipe, name: str, spec: Mapping[str, Any], records: Records, part: str, base: Path
) -> list[int]:
    everything = range(len(records.items))
    if "split" in spec:
        return _rows_of_split(_resolve(spec["split"], base), spec.get("fold", 0), part, len(everything))
    found = [v[0] if isinstance(v, list) else v for v in records.column(spec["part_column"])]
    rows = [i for i in everything if found[i] == part]
    share = spec.get("dev", 0)
    if isinstance(share, float) and share and part in ("train", "dev"):
        train = [i for i in everything if found[i] == "train"]
        held = set(random.Random(0).sample(train, round(share * len(train))))
        rows = [i for i in train if (i in held) == (part == "dev")]
    if not rows:
        place = f"{recipe.name}: [data.{name}] part_column {spec['part_column']!r}"
        raise RecipeError(f"{place}: no row is of part {part!r}; there are {', '.join(sorted(set(map(str, found))))}")
    return rows


def _rows_of_split(path: Path, fold: int, part: str, num: int) -> list[int]:
    """Row numbers from a JSON file: ``{"train": […], …}`` or ``{"splits": [{…}, …]}`` with a fold for each."""
    from multiseq.data import DataError

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    split = json.loads(path.read_text(encoding="utf-8"))
    split = split["splits"][fold] if "splits" in split else split
    rows = split.get(part, split.get("val", split.get("valid")) if part == "dev" else None)
    if rows is None or any(not 0 <= i < num for i in rows):
        raise DataError(f"{path}: expected row numbers from 0 to {num - 1} under {part!r}")
    return list(rows)


def _labels(records: Records, spec: Mapping[str, Any]) -> list[Any]:
    """One label for each item, as the target takes it."""
    if "columns" in spec:
        columns = {name: records.column(name) for name in spec["columns"]}
        return [{n: _label(c[i], spec) for n, c in columns.items()} for i in range(len(records.items))]
    return [_label(v, spec, where) for v, where in zip(records.column(spec["column"]), records.where, strict=True)]


def _label(value: Any, spec: Mapping[str, Any], where: str = "") -> Any:
    from multiseq.data import DataError

    if isinstance(value, list) and spec["output"] == "vector":
        return [_label(v, spec, where) if not isinstance(v, tuple) else v for v in value]
    if value is None or spec["target"] not in ("number", "labels"):
        return value
    try:
        if spec["target"] == "number":
            return float(value)
        return bool(float(value)) if "columns" in spec else {v for v in str(value).split() if v}
    except ValueError:
        raise DataError(f"{where}: got {value!r}, expected a number") from None


# --- building the model ---------------------------------------------------------------------------------


def settings(recipe: Recipe) -> Settings:
    """The training settings. Raises RecipeError on an unknown key."""
    from multiseq.training import Settings

    _known(recipe.tables["training"], inspect.signature(Settings).parameters, f"{recipe.name}: [training]")
    return Settings(**recipe.tables["training"])


def build_model(recipe: Recipe, train: Sequence[Source]) -> Model:
    """Adapters and targets fitted to the training sources, a fresh encoder, and the heads.

    The weights follow from ``training.seed``.
    """
    import torch

    from multiseq.encoder import Encoder
    from multiseq.model import Model
    from multiseq.tasks import Task

    torch.manual_seed(recipe.tables["training"].get("seed", 0))
    encoder = _encoder(recipe, Encoder)
    adapters = {}
    for name in dict.fromkeys(source.adapter for source in train):
        items = [item for source in train if source.adapter == name for item in source.items]
        adapters[name] = _adapter(recipe, name, items, encoder.dim)
    labels = {task: values for source in train for task, values in source.targets.items()}
    tasks = {}
    for name, spec in recipe.tasks.items():
        head = _head(recipe, name, spec, labels[name], encoder.dim)
        adapter = recipe.tables["data"][spec["data"]]["adapter"]
        tasks[name] = Task(adapter, head, spec.get("metric", ""), spec.get("weight", 1.0))
    return Model(adapters, encoder, tasks)


def _encoder(recipe: Recipe, kind: Any) -> Any:
    options = dict(recipe.tables["encoder"])
    allowed = ["preset", *inspect.signature(kind).parameters]
    _known(options, allowed, f"{recipe.name}: [encoder]")
    preset = options.pop("preset", "tiny")
    return kind.preset(preset, **options)


def _adapter(recipe: Recipe, name: str, items: Sequence[Any], dim: int) -> Any:
    import multiseq.adapters

    kind = getattr(multiseq.adapters, MODALITIES[recipe.modality(name)])
    options = {k: v for k, v in recipe.tables["adapters"].get(name, {}).items() if k != "modality"}
    allowed = [p for p in inspect.signature(kind.fit).parameters if p not in ("items", "dim")]
    _known(options, ["modality", *allowed], f"{recipe.name}: [adapters.{name}]")
    return kind.fit(items, dim=dim, **options)


def _head(recipe: Recipe, name: str, spec: Mapping[str, Any], labels: Sequence[Any], dim: int) -> Any:
    from multiseq.heads import SetHead, VectorHead
    from multiseq.sequence import CTCHead, DecoderHead

    place = f"{recipe.name}: [tasks.{name}] head"
    options = dict(spec.get("head", {}))
    kind: Any = {"vector": VectorHead, "set": SetHead}.get(spec["output"])
    if kind is None:
        chosen = options.pop("kind", "decoder")
        _one_of(chosen, ("ctc", "decoder"), f"{place} kind")
        kind = CTCHead if chosen == "ctc" else DecoderHead
    allowed = [p for p in inspect.signature(kind).parameters if p not in ("dim", "target")]
    _known(options, allowed, place)
    return kind(dim, _target(spec, labels), **options)


def _target(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    from multiseq.targets import ClassTarget, LabelsTarget, NumberTarget
    from multiseq.text_target import TextTarget

    rows = labels
    if spec["output"] == "vector":
        rows = [label[2] if isinstance(label, tuple) else label for v in labels if v is not None for label in v]
    if spec["target"] == "class":
        return ClassTarget.fit(rows)
    if spec["target"] == "labels":
        return LabelsTarget.fit(rows)
    if spec["target"] == "number":
        return NumberTarget.fit(rows, name=spec.get("column", "value"), unit=spec.get("unit", ""))
    options = {"vocab_size": spec["vocab_size"]} if "vocab_size" in spec else {}
    return TextTarget.fit([r for r in rows if r is not None], unit=spec.get("tokens", "character"), **options)
