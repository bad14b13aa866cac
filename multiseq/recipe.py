"""Recipes: one short TOML file says which data, tasks, encoder and training make a model.

    [data.NAME]      where items and labels come from: adapter, format, train / dev / test files
    [tasks.NAME]     what is learned from them: data, output, target, column
    [adapters.NAME]  options of an adapter (modality = its name where not given)
    [encoder]        preset or sizes
    [training]       as in `multiseq.training.Settings`

Unknown keys are errors with the nearest right name. Nothing that a recipe names is imported.
"""

from __future__ import annotations

import inspect
import json
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.recipe_check import (
    METRICS_OF,
    SECTIONS,
    RecipeError,
    check,
    fits,
    nearest,
    one_of,
)

if TYPE_CHECKING:
    from multiseq.data import Records
    from multiseq.model import Model
    from multiseq.tasks import Source
    from multiseq.training import Settings

__all__ = [
    "PARTS",
    "Recipe",
    "RecipeError",
    "build_model",
    "check_options",
    "locate",
    "names",
    "read",
    "read_part",
    "read_together",
    "settings",
]

PARTS = ("train", "dev", "test")
ADAPTERS = {"text": "TextAdapter", "speech": "SpeechAdapter", "graph": "GraphAdapter"}


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

    def adapter(self, task: str) -> str:
        """The name of the adapter that reads a task's data."""
        return str(self.tables["data"][self.tasks[task]["data"]]["adapter"])

    def modality(self, adapter: str) -> str:
        """text, speech or graph."""
        return str(self.tables["adapters"].get(adapter, {}).get("modality", adapter))

    def cell(self, task: str) -> str:
        """Modality and output of a task, as in ``text/vector``."""
        return f"{self.modality(self.adapter(task))}/{self.tasks[task]['output']}"

    def metric(self, task: str) -> str:
        """The metric of a task, the default of its target where it names none."""
        spec = self.tasks[task]
        return str(spec.get("metric", METRICS_OF[spec["target"]][0]))


def names() -> list[str]:
    """The recipes of the package."""
    suffix = ".toml"
    return sorted(p.name.removesuffix(suffix) for p in _shipped().iterdir() if p.name.endswith(suffix))


def read(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by path, or by name where the package has it, with ``key=value`` changes.

    Args:
        recipe: ``my.toml`` or ``starter``.
        changes: As in ``training.steps=200`` or ``tasks.pos.weight=2``; values are TOML, or plain
            text.

    Raises:
        RecipeError: No such recipe, not TOML, an unknown key, or a value that does not fit.
    """
    return read_together([recipe], changes)


def read_together(
    recipes: Sequence[str | Path], changes: Sequence[str] = (), data: Path | None = None
) -> Recipe:
    """Several recipes as one joint model: one encoder, all their tasks, and all their data.

    Adapters of one name are one adapter. Where two recipes set a key of ``encoder`` or ``training``
    differently, ``changes`` has to settle it.

    Args:
        recipes: Paths or names, as for `read`.
        changes: As for `read`.
        data: The folder that all relative paths will be relative to. Where it is not given and the
            recipes lie in different folders, their paths are made absolute.

    Raises:
        RecipeError: As for `read`, or two recipes with data, tasks or settings that clash.
    """
    parsed = [_parse(recipe) for recipe in recipes]
    found = parsed[0] if len(parsed) == 1 else _merge(parsed, changes, data)
    for change in changes:
        _change(found.tables, change)
    check(found)
    return found


def _parse(recipe: str | Path) -> Recipe:
    path = Path(recipe)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise RecipeError(f"{path}: no such file")
        name, folder, raw = path.stem, path.parent, path.read_bytes()
    elif str(recipe) in names():
        name, folder = str(recipe), Path()
        raw = (_shipped() / f"{recipe}.toml").read_bytes()
    else:
        near = nearest(str(recipe), names())
        raise RecipeError(f"{recipe}: no such recipe{near}; there are {', '.join(names())}")
    try:
        text = raw.decode("utf-8")
        tables = tomllib.loads(text)
    except ValueError as error:  # of either kind
        raise RecipeError(f"{name}: not TOML: {error}") from None
    return Recipe(name, folder, text, {s: {} for s in SECTIONS} | tables)


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


# --- several recipes in one -----------------------------------------------------------------------


def _merge(recipes: Sequence[Recipe], changes: Sequence[str], data: Path | None) -> Recipe:
    settled = {change.partition("=")[0].strip() for change in changes}
    apart = data is None and len({r.folder.resolve() for r in recipes}) > 1
    merged: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    owners: dict[str, str] = {}
    for recipe in recipes:
        check(recipe)
        tables = _with_absolute_paths(recipe) if apart else recipe.tables
        for section, key in [(s, k) for s in SECTIONS for k in tables[s]]:
            place, value = f"{section}.{key}", tables[section][key]
            other = owners.setdefault(place, recipe.name)
            alike = section not in ("data", "tasks") and merged[section].get(key, value) == value
            if key in merged[section] and not alike and place not in settled:
                raise RecipeError(_clash(other, recipe.name, section, key))
            merged[section].setdefault(key, value)
    _check_shared_adapters(recipes)
    name = "+".join(r.name for r in recipes)
    return Recipe(name, recipes[0].folder, "\n".join(r.text for r in recipes), merged)


def _clash(first: str, second: str, section: str, key: str) -> str:
    if section in ("encoder", "training"):
        choose = f"choose one with --set {section}.{key}=…"
        return f"{first} and {second}: their [{section}] {key} differ; {choose}"
    both = "both have" if section != "adapters" else "each has its own"
    return f"{first} and {second}: {both} [{section}.{key}]; rename one of them"


def _check_shared_adapters(recipes: Sequence[Recipe]) -> None:
    """An adapter that two recipes use must not get options behind the back of one of them."""
    seen: dict[str, tuple[str, Any]] = {}
    for recipe in recipes:
        for adapter in {spec["adapter"] for spec in recipe.tables["data"].values()}:
            options = recipe.tables["adapters"].get(adapter, {})
            owner, others = seen.setdefault(adapter, (recipe.name, options))
            if options != others:
                raise RecipeError(_clash(owner, recipe.name, "adapters", adapter))


def _with_absolute_paths(recipe: Recipe) -> dict[str, dict[str, Any]]:
    from multiseq.data.formats import PATHS

    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(v) for v in value]
        return str(_resolve(value, recipe.folder.resolve())) if _is_path(value) else value

    data = {}
    for name, spec in recipe.tables["data"].items():
        keys = () if spec["format"] == "rdkit-logp" else ("file", "split", *PARTS, *PATHS)
        data[name] = {k: absolute(v) if k in keys else v for k, v in spec.items()}
    return {**recipe.tables, "data": data}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and not value.startswith("starter:")


# --- reading the data -----------------------------------------------------------------------------


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
        if records is not None and records.items and tasks:
            targets = {t: _labels(records, s) for t, s in tasks.items()}
            sources.append(
                Source(spec["adapter"], records.items, targets, spec.get("weight", 1.0), records.where)
            )
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
        return records.select(_held_out(range(len(records.items)), share, part))
    return _run_reader(spec["format"], spec[part], base, options) if part in spec else None


def _held_out(rows: Sequence[int], share: float, part: str) -> list[int]:
    """Of the rows of train those that stay there, or the share that makes the dev part."""
    held = set(random.Random(0).sample(rows, round(share * len(rows))))
    return [i for i in rows if (i in held) == (part == "dev")]


def _run_reader(name: str, paths: Any, base: Path, options: dict[str, Any]) -> Records:
    from multiseq.data import READERS

    if name == "rdkit-logp":
        return READERS[name](Path(paths))
    if name == "lines":
        first, second = (_resolve(p, base) for p in paths)
        return READERS[name](first, target=second, **options)
    return READERS[name](_resolve(paths, base), **options)


def _resolve(path: str, base: Path) -> Path:
    """``starter:pos/…`` lies in the package; anything else is relative to the data folder."""
    if path.startswith("starter:"):
        return Path(str(files("multiseq") / "starter")) / path.removeprefix("starter:")
    return base / path


def _rows_of_part(
    recipe: Recipe, name: str, spec: Mapping[str, Any], records: Records, part: str, base: Path
) -> list[int]:
    num = len(records.items)
    if "split" in spec:
        return _rows_of_split(_resolve(spec["split"], base), spec.get("fold", 0), part, num)
    found = [v[0] if isinstance(v, list) else v for v in records.column(spec["part_column"])]
    share = spec.get("dev", 0)
    if isinstance(share, float) and part in ("train", "dev"):
        return _held_out([i for i in range(num) if found[i] == "train"], share, part)
    rows = [i for i in range(num) if found[i] == part]
    if not rows and part != "dev":
        place = f"{recipe.name}: [data.{name}] part_column {spec['part_column']!r}"
        parts = ", ".join(sorted(set(map(str, found))))
        raise RecipeError(f"{place}: no row is of part {part!r}; there are {parts}")
    return rows


def _rows_of_split(path: Path, fold: int, part: str, num: int) -> list[int]:
    """Row numbers from JSON: ``{"train": […], …}``, or ``{"splits": [{…}, …]}``, one a fold."""
    from multiseq.data import DataError

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        split = split["splits"][fold] if "splits" in split else split
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise DataError(f"{path}: no fold {fold} of row numbers in it: {error}") from None
    rows = split.get(part, split.get("val", split.get("valid")) if part == "dev" else None)
    if rows is None or any(not 0 <= i < num for i in rows):
        raise DataError(f"{path}: expected row numbers from 0 to {num - 1} under {part!r}")
    return list(rows)


def _labels(records: Records, spec: Mapping[str, Any]) -> list[Any]:
    """One label for each item, as the target takes it."""
    if "columns" in spec:
        columns = {name: records.column(name) for name in spec["columns"]}
        return [{n: _label(c[i], spec) for n, c in columns.items()} for i in range(len(records.items))]
    return [
        _label(v, spec, where) for v, where in zip(records.column(spec["column"]), records.where, strict=True)
    ]


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


# --- building the model ---------------------------------------------------------------------------


def settings(recipe: Recipe) -> Settings:
    """The training settings. Raises RecipeError on an unknown key or a value of the wrong type."""
    from multiseq.training import Settings

    fits(recipe.tables["training"], [Settings], f"{recipe.name}: [training]")
    return Settings(**recipe.tables["training"])


def check_options(recipe: Recipe) -> None:
    """Everything that a recipe hands to encoder, adapters and heads, before any data is read.

    Raises:
        RecipeError: An unknown key, with the nearest right name, or a value of the wrong type.
    """
    from multiseq.encoder import Encoder

    name, tables = recipe.name, recipe.tables
    fits(tables["encoder"], [Encoder], f"{name}: [encoder]", also=("preset",))
    for adapter, spec in tables["adapters"].items():
        kind = _adapter_class(recipe, adapter)
        own = ("items", "dim", "mean", "std", "parts", "kind", "nodes", "edges", "text")
        functions = [kind.fit, kind] if "options" in inspect.signature(kind.fit).parameters else [kind.fit]
        place = f"{name}: [adapters.{adapter}]"
        fits(spec, functions, place, without=own, also=("modality",))
    for task, spec in tables["tasks"].items():
        place = f"{name}: [tasks.{task}]"
        kind, options = _head_class(spec, f"{place} head")
        fits(options, [kind], f"{place} head", without=("dim", "target"))
        fits(spec.get("decode", {}), [kind.decode], f"{place} decode", without=("self", "sets"))


def build_model(recipe: Recipe, train: Sequence[Source]) -> Model:
    """Adapters and targets fitted to the training sources, a fresh encoder, and the heads.

    The weights follow from ``training.seed``.
    """
    import torch

    from multiseq.encoder import Encoder
    from multiseq.model import Model
    from multiseq.tasks import Task

    check_options(recipe)
    torch.manual_seed(recipe.tables["training"].get("seed", 0))
    options = dict(recipe.tables["encoder"])
    encoder = Encoder.preset(options.pop("preset", "tiny"), **options)
    adapters = {}
    for name in dict.fromkeys(source.adapter for source in train):
        own = [source for source in train if source.adapter == name]
        adapters[name] = _adapter(recipe, name, own, encoder.dim)
    labels = {task: values for source in train for task, values in source.targets.items()}
    tasks = {}
    for name, spec in recipe.tasks.items():
        kind, options = _head_class(spec, name)
        try:
            head = kind(encoder.dim, _target(spec, labels[name]), **options)
        except ValueError as error:
            raise RecipeError(f"{recipe.name}: [tasks.{name}]: {error}") from error
        weight = spec.get("weight", 1.0)
        tasks[name] = Task(recipe.adapter(name), head, spec.get("metric", ""), weight)
    return Model(adapters, encoder, tasks)


def _adapter_class(recipe: Recipe, name: str) -> Any:
    import multiseq.adapters

    return getattr(multiseq.adapters, ADAPTERS[recipe.modality(name)])


def _adapter(recipe: Recipe, name: str, sources: Sequence[Source], dim: int) -> Any:
    items = [item for source in sources for item in source.items]
    options = {k: v for k, v in recipe.tables["adapters"].get(name, {}).items() if k != "modality"}
    try:
        return _adapter_class(recipe, name).fit(items, dim=dim, **options)
    except ValueError as error:
        where = [place for source in sources for place in source.where]
        place = f"{recipe.name}: [adapters.{name}]"
        raise RecipeError(f"{place}: {locate(error, where)}") from error


def locate(error: ValueError, where: Sequence[str]) -> str:
    """An error's message with the file and line of the item that it numbers.

    >>> locate(ValueError("item 1: no words"), ["a.txt:1", "a.txt:2"])
    'a.txt:2: no words'
    """
    message = str(error)
    numbered = re.match(r"item (\d+): ", message)
    if numbered is None or int(numbered[1]) >= len(where):
        return message
    return f"{where[int(numbered[1])]}: {message[numbered.end() :]}"


def _head_class(spec: Mapping[str, Any], place: str) -> tuple[Any, dict[str, Any]]:
    """The class of a task's head, and the options that it takes."""
    from multiseq.ctc import CTCHead
    from multiseq.heads import SetHead, VectorHead
    from multiseq.sequence import DecoderHead

    options = dict(spec.get("head", {}))
    if spec["output"] != "sequence":
        return {"vector": VectorHead, "set": SetHead}[spec["output"]], options
    chosen = options.pop("kind", "decoder")
    one_of(chosen, ("ctc", "decoder"), f"{place} kind")
    return {"ctc": CTCHead, "decoder": DecoderHead}[chosen], options


def _target(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    from multiseq.targets import ClassTarget, LabelsTarget, NumberTarget
    from multiseq.text_target import TextTarget

    rows = labels
    if spec["output"] == "vector":
        rows = [
            label[2] if isinstance(label, tuple) else label for v in labels if v is not None for label in v
        ]
    if spec["target"] == "class":
        return ClassTarget.fit(rows)
    if spec["target"] == "labels":
        return LabelsTarget.fit(rows)
    if spec["target"] == "number":
        return NumberTarget.fit(rows, name=spec.get("column", "value"), unit=spec.get("unit", ""))
    options = {"vocab_size": spec["vocab_size"]} if "vocab_size" in spec else {}
    return TextTarget.fit([r for r in rows if r is not None], unit=spec.get("tokens", "character"), **options)
