"""Recipes: a short TOML file that defines the data, tasks, encoder and training of a model.

    [data.NAME]      the items and labels: adapter, format, train / dev / test files
    [tasks.NAME]     what to learn from them: data, output, target, column
    [adapters.NAME]  options of an adapter (the default modality is NAME)
    [encoder]        preset or sizes
    [training]       fields of `multiseq.training.settings.Settings`

An unknown key is an error; the message suggests the most similar key. A recipe cannot name code to import.
`multiseq.runs.sources` reads the data, and `multiseq.runs.build` builds the model.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from multiseq.checks import nearest
from multiseq.data.formats import PATHS, SPLITS
from multiseq.data.text_files import no_such_file, parse_toml, text_of
from multiseq.options import METRICS_OF
from multiseq.runs.recipe_check import SECTIONS, RecipeError, check, modality_of, value_of

__all__ = [
    "Recipe",
    "RecipeError",
    "names",
    "read",
    "read_together",
    "resolve",
]

LINE = re.compile(r"\(at line (\d+), ")
"""Where Python's parser of TOML says the line."""

UNQUOTED = re.compile(r"([\w.-]+)\s*=\s*([^\W\d][^\"'#\[\]{}=,]*?)\s*(?:#.*)?")
"""A key, and a text without quotes."""


@dataclass
class Recipe:
    """A recipe whose tables were read and checked.

    Args:
        name: Name of the file (without ``.toml``), or of the recipe in the package.
        folder: The folder that relative paths of data are relative to, unless a data folder is given.
        text: Text of the file.
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

    def adapter_name(self, task: str) -> str:
        """The name of the adapter that reads a task's data."""
        return str(self.tables["data"][self.tasks[task]["data"]]["adapter"])

    def modality(self, adapter_name: str) -> str:
        """text, speech or graph."""
        return modality_of(self.tables, adapter_name)

    def cell(self, task: str) -> str:
        """Modality and output of a task, for example ``text/vector``."""
        return f"{self.modality(self.adapter_name(task))}/{self.tasks[task]['output']}"

    def metric(self, task: str) -> str:
        """The metric of a task. Default: the first metric of its target."""
        spec = self.tasks[task]
        return str(spec.get("metric", METRICS_OF[spec["target"]][0]))


def names() -> list[str]:
    """The names of the recipes in the package."""
    suffix = ".toml"
    return sorted(p.name.removesuffix(suffix) for p in _shipped().iterdir() if p.name.endswith(suffix))


def read(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by its path or by its name in the package, and apply ``key=value`` changes.

    Args:
        recipe: ``my.toml`` or ``starter``.
        changes: For example ``training.steps=200`` or ``tasks.pos.weight=2``. Values are TOML or plain text.

    Raises:
        RecipeError: The recipe does not exist, is not TOML, or has an unknown key or an invalid value.
    """
    return read_together([recipe], changes)


def read_together(
    recipes: Sequence[str | Path], changes: Sequence[str] = (), data: Path | None = None
) -> Recipe:
    """Join several recipes to one model: one encoder, all their tasks, and all their data.

    Adapters with the same name become one adapter. If two recipes have different values for a key of
    ``encoder`` or ``training``, ``changes`` must give a value for it.

    Args:
        recipes: Paths or names, see `read`.
        changes: Changes, see `read`.
        data: The folder that all relative paths are relative to. If it is not given and the recipes are in
            different folders, their paths are made absolute.

    Raises:
        RecipeError: See `read`; also if data, tasks or settings of two recipes conflict.
    """
    parsed = [_parse(recipe) for recipe in recipes]
    whole = parsed[0] if len(parsed) == 1 else _merge(parsed, changes, data)
    for change in changes:
        _change(whole.tables, change)
    _find_start(whole.tables, Path())
    check(whole.name, whole.tables)
    return whole


def resolve(path: str, base: Path) -> Path:
    """The full path of a file. ``starter:pos/…`` is in the package; other paths are relative to ``base``."""
    if path.startswith("starter:"):
        return Path(str(files("multiseq") / "starter")) / path.removeprefix("starter:")
    return base / path


def _parse(recipe: str | Path) -> Recipe:
    path = Path(recipe)
    if path.is_dir() and str(recipe) not in names():
        raise RecipeError(_is_data(path))
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise RecipeError(str(no_such_file(path)))
        name, folder = path.stem, path.parent
    elif str(recipe) in names():
        name, folder = str(recipe), Path()
        path = _shipped() / f"{recipe}.toml"
    else:
        near = nearest(str(recipe), names())
        raise RecipeError(f"{recipe}: no such recipe{near}; there are {', '.join(names())}")
    text = ""
    try:
        text = text_of(path)
        tables = parse_toml(text)
    except ValueError as error:  # the file cannot be decoded, or it is not TOML
        wrong = _is_data(path) if path.suffix != ".toml" else _not_toml(str(recipe), text, str(error))
        raise RecipeError(wrong) from None
    if path.suffix != ".toml" and not set(SECTIONS) & set(tables):  # any text of comments is TOML
        raise RecipeError(_is_data(path))
    tables = {s: {} for s in SECTIONS} | tables
    _find_start(tables, folder)
    return Recipe(name, folder, text, tables)


def _is_data(path: Path) -> str:
    if (path / "recipe.toml").is_file():
        return f"{path}: is the folder of a run, expected a recipe, as {path / 'recipe.toml'}"
    make = shlex.join(["multiseq", "init", str(path)])
    return f"{path}: is data, expected a recipe (.toml); make one with: {make}"


def _not_toml(recipe: str, text: str, error: str) -> str:
    """Why a recipe is no TOML: its line, and what is usually wrong with it."""
    if not text:  # it cannot be decoded; the error names the file
        return error
    lines = text.rstrip().splitlines()
    number = int(found[1]) if (found := LINE.search(error)) else len(lines)
    if not 0 < number <= len(lines) or " (at " not in error:
        return f"{recipe}: not TOML: {error}"
    line = lines[number - 1].strip()
    reason = error.partition(" (at ")[0]
    if (unquoted := UNQUOTED.fullmatch(line)) is not None:
        reason = f'a text needs quotes: {unquoted[1]} = "{unquoted[2]}"'
    return f"{recipe}:{number}: not TOML: {reason}; got: {line}"


def _find_start(tables: Mapping[str, Any], base: Path) -> None:
    """Make folders of pretrained starts absolute, if they are in ``base``. A name on the Hub stays."""
    adapters = tables["adapters"]
    for part in (tables["encoder"], *(adapters.values() if isinstance(adapters, dict) else ())):
        start = part.get("start") if isinstance(part, dict) else None
        if isinstance(start, str) and "\0" not in start and (base / start).is_dir():
            part["start"] = str((base / start).resolve())


def _shipped() -> Any:
    return files("multiseq") / "recipes"


def _change(tables: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {change}: expected key=value, as in training.steps=200")
    *path, last = key.strip().split(".")
    for name in path:
        tables = tables.setdefault(name, {})
        if not isinstance(tables, dict):
            raise RecipeError(f"--set {change}: {name!r} is a value, not a table")
    tables[last] = value_of(value)


# --- join several recipes -------------------------------------------------------------------------


def _merge(recipes: Sequence[Recipe], changes: Sequence[str], data: Path | None) -> Recipe:
    settled = {change.partition("=")[0].strip() for change in changes}
    apart = data is None and len({r.folder.resolve() for r in recipes}) > 1
    merged: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    owners: dict[str, str] = {}
    for recipe in recipes:
        check(recipe.name, recipe.tables)
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
    """Raise RecipeError if two recipes give different options to the same adapter."""
    seen: dict[str, tuple[str, Any]] = {}
    for recipe in recipes:
        for adapter in {spec["adapter"] for spec in recipe.tables["data"].values()}:
            options = recipe.tables["adapters"].get(adapter, {})
            owner, others = seen.setdefault(adapter, (recipe.name, options))
            if options != others:
                raise RecipeError(_clash(owner, recipe.name, "adapters", adapter))


def _with_absolute_paths(recipe: Recipe) -> dict[str, dict[str, Any]]:
    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(v) for v in value]
        return str(resolve(value, recipe.folder.resolve())) if _is_path(value) else value

    data = {}
    for name, spec in recipe.tables["data"].items():
        keys = () if spec["format"] == "rdkit-logp" else ("file", "split_file", *SPLITS, *PATHS)
        data[name] = {k: absolute(v) if k in keys else v for k, v in spec.items()}
    return {**recipe.tables, "data": data}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and not value.startswith("starter:")
