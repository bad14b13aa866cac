"""Check a recipe's tables. This imports no heavy library, so a typo is reported at once.

Every error names the recipe, the section and the key, and suggests the most similar name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from multiseq import checks
from multiseq.checks import nearest, no_such
from multiseq.data.formats import FORMATS, NETWORKS, ON_ERROR, PATHS, SEVERAL, SPLITS
from multiseq.data.text_files import check_encoding, parse_toml
from multiseq.options import METRICS_OF, NUMBER, OPTIONS, RESERVED, TAKES, check_range

__all__ = [
    "SECTIONS",
    "RecipeError",
    "changed_options",
    "check",
    "fits",
    "known",
    "modality_of",
    "one_of",
    "search_options",
    "value_of",
    "wants_all_folds",
]

SECTIONS = ("data", "tasks", "adapters", "encoder", "training")
MODALITIES = ("text", "speech", "graph")
OUTPUTS = ("vector", "set", "sequence")


DATA_KEYS: dict[str, Any] = {
    "adapter": str, "format": str, "file": (str, list), "train": (str, list), "dev": (str, list, float),
    "test": (str, list, float), "split_column": str, "split_names": dict, "split_file": str, "folds": int,
    "fold": (int, str), "group": str, "time": str, "scaffold": bool, "split_seed": int, "weight": NUMBER,
    "decimal": str, "on_error": str,
}  # fmt: skip
READER_KEYS: dict[str, Any] = {
    "input": str, "encoding": str, "separator": str, "sheet": str, "unpack_limit": int,
    "audio": str, "segments": str, "silence": str, "edges": str, "features": list, "ids": str,
    "labels": str, "classes": list, "column_names": list,
    "decimal": str, "phones": int, "sa": bool, "test_of": list, "dev_of": list,
}  # fmt: skip
"""Options of readers. Each format has some of them."""
TASK_KEYS: dict[str, Any] = {
    "data": str, "output": str, "target": str, "column": str, "columns": list, "unit": str,
    "tokens": str, "vocab_size": int, "copy": bool, "metric": str, "weight": NUMBER,
    "head": dict, "decode": dict, "class_weight": str, "label_smoothing": NUMBER, "stress": bool,
    "margin": NUMBER, "scale": NUMBER,
}  # fmt: skip

WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    NUMBER: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    (int, str): 'a whole number, or "all"',
    (str, list): "a path, or a list of paths for the formats 'lines' and 'files'",
    (str, list, float): "a path, or the fraction of the items to hold out, for example 0.1",
}
FOR_TARGET = {
    "unit": ("number",), "tokens": ("text",), "vocab_size": ("text",), "copy": ("text",),
    "label_smoothing": ("class",), "class_weight": ("class", "multilabel"), "stress": ("class",),
    "margin": ("class",), "scale": ("class",),
}  # fmt: skip
"""Key of a task -> the targets that it is valid for."""


Tables = Mapping[str, Mapping[str, Any]]
"""The tables of a recipe: section -> key -> value."""


class RecipeError(ValueError):
    """A recipe cannot be used. The message names the recipe, the section and the key."""


def check(recipe: str, tables: Tables) -> None:
    """Check all tables of a recipe, as far as possible without other libraries. Raises RecipeError."""
    _check_strings(tables, recipe)
    known(tables, SECTIONS, recipe)
    for section in SECTIONS:
        _typed(tables[section], dict, f"{recipe}: [{section}]")
    for section in ("data", "tasks", "adapters"):
        for name, spec in tables[section].items():
            _typed(spec, dict, f"{recipe}: [{section}.{name}]")
    for section, what in (("data", "which files to read"), ("tasks", "what to learn from them")):
        if not tables[section]:
            raise RecipeError(f"{recipe}: no [{section}.NAME], expected at least one: {what}")
    for section in ("tasks", "adapters"):
        for name in tables[section]:
            if not re.fullmatch(r"[\w -]+", name) or name in RESERVED:
                expected = (
                    f"a name of letters, digits, - and _, and none of {', '.join(RESERVED)}: files and lines "
                    "of metrics.csv are called after it"
                )
                raise RecipeError(f"{recipe}: [{section}.{name!r}]: expected {expected}")
    _check_misspelled(tables, "data", ("adapter", "format"), recipe)
    _check_misspelled(tables, "tasks", ("data", "output", "target"), recipe)
    for name, spec in tables["data"].items():
        _check_data(tables, spec, f"{recipe}: [data.{name}]")
    for name, spec in tables["tasks"].items():
        _check_task(tables, spec, f"{recipe}: [tasks.{name}]")
    _check_ensemble(tables, recipe)
    adapters = {spec["adapter"] for spec in tables["data"].values()}
    for name in tables["adapters"]:
        one_of(name, adapters, f"{recipe}: [adapters.{name}] is used by no data")
    for name in tables["data"]:
        data = {spec["data"] for spec in tables["tasks"].values()}
        one_of(name, data, f"{recipe}: [data.{name}] is used by no task")


def wants_all_folds(spec: Mapping[str, Any]) -> bool:
    """Whether a data table asks for a model of every fold, not of one."""
    return bool(spec.get("fold", "all" if "folds" in spec else 0) == "all")


def modality_of(tables: Tables, adapter: str) -> str:
    """The modality of an adapter: text, speech or graph."""
    return str(tables["adapters"].get(adapter, {}).get("modality", adapter))


def _check_misspelled(tables: Tables, section: str, needs: Sequence[str], recipe: str) -> None:
    """Raise RecipeError for a table that has none of the keys it needs, and a name much like another's."""
    whole = [name for name, spec in tables[section].items() if set(needs) & set(spec)]
    for name in tables[section]:
        if name not in whole and (near := nearest(name, whole)):
            raise RecipeError(f"{recipe}: [{section}.{name}]{near}: {', '.join(needs)} are missing")


def _check_ensemble(tables: Tables, recipe: str) -> None:
    if "ensemble" in tables["training"]:
        _check_value("ensemble", tables["training"]["ensemble"], int, f"{recipe}: [training]")
        split = [name for name, spec in tables["data"].items() if wants_all_folds(spec)]
        if split and tables["training"]["ensemble"] > 1:
            raise RecipeError(
                f"{recipe}: [training] ensemble: got all folds of [data.{split[0]}], too; expected one of "
                "them, as the models of all folds are an ensemble already"
            )


def _check_strings(value: Any, place: str) -> None:
    """Raise RecipeError for a NUL character, which is not allowed in paths and names."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_strings(inner, f"{place}: {key}")
            _check_strings(key, place)
    elif isinstance(value, str) and "\0" in value:
        raise RecipeError(f"{place}: got {value!r} with a NUL character, expected text without one")


def _check_data(tables: Tables, spec: Mapping[str, Any], place: str) -> None:
    _need(spec, ("adapter", "format"), place)
    one_of(spec["format"], FORMATS, f"{place} format")
    options = FORMATS[spec["format"]]
    known(spec, (*DATA_KEYS, *options), place)
    _need(spec, [key for key, must in options.items() if must], place)
    for key, value in spec.items():
        _check_value(key, value, {**DATA_KEYS, **READER_KEYS}[key], place)
        _check_option(key, value, spec["format"], f"{place} {key}")
    modality = modality_of(tables, spec["adapter"])
    one_of(modality, MODALITIES, f"{place} adapter {spec['adapter']!r}: modality")
    if spec["format"] == "table" and "features" in spec:
        adapter = tables["adapters"].get(spec["adapter"], {})
        if modality != "graph" or "num_hops" in adapter:
            raise RecipeError(f"{place} features: got items of {modality}, expected molecules; leave it out")
        if "smiles" in spec["features"]:
            raise RecipeError(f"{place} features: got 'smiles', expected columns of numbers beside it")
    _check_splits(spec, place)
    for key in ("file", *SPLITS):
        _check_paths(spec, key, f"{place} {key}")


def _check_option(key: str, value: Any, format_: str, place: str) -> None:
    """Check an option of a reader, as far as possible without the file."""
    if key in ("features", "classes"):
        what = {"features": "columns", "folders": "sub-folders"}
        _check_names(value, place, what.get(key) or what.get(format_, "classes"))
    if key == "column_names":
        _check_names(value, place)
        if value.count("word") != 1 or len(set(value)) < len(value):
            raise RecipeError(f'{place}: got {value!r}, expected different names, and "word" among them')
    if key == "decimal":
        one_of(value, (".", ","), place)
    if key == "on_error":
        one_of(value, ON_ERROR, place)
    if key == "encoding":
        try:
            check_encoding(value)
        except ValueError as error:
            raise RecipeError(f"{place}: {error}") from None
    if key == "separator" and (not value or (format_ != "labelled" and (len(value) > 1 or value in '"\r\n'))):
        expected = (
            "one character or more" if format_ == "labelled" else "one character, no quote and no line end"
        )
        raise RecipeError(f"{place}: got {value!r}, expected {expected}")


def changed_options(changes: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` options of a reader, or ``format=…``. Paths are relative to the current folder.

    >>> changed_options(["encoding=latin-1"])
    {'encoding': 'latin-1'}
    """
    options: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        place = f"--set {change}"
        if not equals:
            raise RecipeError(f"{place}: expected key=value, as in encoding=latin-1")
        one_of(key, ("format", *READER_KEYS), place)
        options[key] = value_of(value)
        _check_value(key, options[key], READER_KEYS.get(key, str), "--set")
        _check_option(key, options[key], "labelled", f"--set {key}")
    if "format" in options:
        formats = [name for name in FORMATS if name not in (*SEVERAL, "rdkit-logp")]
        one_of(options["format"], ("text", "json", *formats), "--set format")
    return {key: Path(value) if key in PATHS else value for key, value in options.items()}


def search_options(changes: Sequence[str], head: str) -> dict[str, Any]:
    """Parse ``key=value`` options for the ``decode`` of a head, by the name of its class.

    >>> search_options(["num_beams=8"], "CTCHead")
    {'num_beams': 8}
    """
    options = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise RecipeError(f"--decode {change}: expected key=value, as in num_beams=8")
        options[key] = value_of(value)
    if options:
        fits(options, f"{head}.decode", "--decode")
    return options


def value_of(text: str) -> Any:
    """Parse a value in TOML notation. Anything else is plain text.

    >>> value_of("0.5"), value_of("latin-1")
    (0.5, 'latin-1')
    """
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _check_splits(spec: Mapping[str, Any], place: str) -> None:
    """Check that there is a file for each split, or one file and one way to divide it into splits."""
    shares = {split: spec[split] for split in ("test", "dev") if isinstance(spec.get(split), float)}
    files = [key for key in SPLITS if key in spec and key not in shares]
    ways = [key for key in ("split_column", "split_file") if key in spec]
    if "file" not in spec:
        if spec["format"] in NETWORKS:
            raise RecipeError(f'{place}: expected file = "…": one network, or table of nodes, for all splits')
        if "train" not in spec:
            raise RecipeError(f'{place}: expected train = "…" (and test), or file = "…"')
        if ways:
            raise RecipeError(f'{place}: got train and {ways[0]}, which goes with file = "…"')
    elif files:
        raise RecipeError(
            f"{place}: got file and {files[0]}; expected one file for all splits, or one for each"
        )
    elif len(ways) > 1 or not (ways or shares or "folds" in spec):
        raise RecipeError(
            f"{place}: with file, expected test = 0.2 (and dev = 0.1), split_column or split_file, to divide "
            "it into splits"
        )
    if "split_names" in spec:
        if "split_column" not in spec:
            raise RecipeError(f"{place}: got split_names, which goes with split_column")
        for word, split in spec["split_names"].items():
            one_of(split, SPLITS, f"{place} split_names: {word}")
    if "split_file" in spec and shares:
        split, share = next(iter(shares.items()))
        raise RecipeError(
            f"{place}: got split_file and {split} = {share}; expected the {split} rows in the split"
        )
    _check_drawn(spec, shares, place)


def _check_drawn(spec: Mapping[str, Any], shares: Mapping[str, float], place: str) -> None:
    """Check the keys that say how the library divides the items."""
    if len(shares) > 1 and sum(shares.values()) > 1 - 1e-9:
        got = f"test = {shares['test']} and dev = {shares['dev']}"
        raise RecipeError(f"{place}: got {got}; expected a sum below 1, as the rest is train")
    if "folds" in spec:
        if spec["folds"] < 2:
            raise RecipeError(f"{place} folds: got {spec['folds']}, expected 2 or more")
        for key in ("test", "split_column", "split_file", "time"):
            if key in spec:
                raise RecipeError(f"{place}: got folds and {key}; every fold has a test split")
        if not wants_all_folds(spec) and spec["fold"] not in range(spec["folds"]):
            expected = f'0 to {spec["folds"] - 1}, the number of the fold that is test, or "all"'
            raise RecipeError(f"{place} fold: got {spec['fold']!r}, expected {expected}")
    elif "split_file" not in spec and "fold" in spec:
        raise RecipeError(f"{place}: got fold, which goes with folds = 5, or with a split_file of several")
    elif isinstance(spec.get("fold"), str) and not wants_all_folds(spec):
        raise RecipeError(f'{place} fold: got {spec["fold"]!r}, expected 0 or more, or "all"')
    for key in ("group", "time", "scaffold", "split_seed"):
        if key in spec and not shares and "folds" not in spec:
            raise RecipeError(f"{place}: got {key}, which goes with test = 0.2, dev = 0.1 or folds")
    for one, other in combinations([key for key in ("group", "time", "scaffold") if spec.get(key)], 2):
        raise RecipeError(f"{place}: got {one} and {other}, expected one of them")
    if spec.get("split_seed", 0) < 0:
        raise RecipeError(f"{place} split_seed: got {spec['split_seed']}, expected 0 or more")


def _check_paths(spec: Mapping[str, Any], key: str, place: str) -> None:
    value = spec.get(key)
    if isinstance(value, float):
        if not 0 < value < 1:
            raise RecipeError(f"{place}: got {value}, expected a fraction between 0 and 1")
    elif value is not None and isinstance(value, list) != (spec["format"] in SEVERAL):
        raise RecipeError(f"{place}: got {value!r}, expected {_FILES.get(spec['format'], 'one path')}")
    elif isinstance(value, list):
        num = len(spec["classes"]) if spec["format"] == "files" else 2
        if [type(v) for v in value] != [str] * num:
            raise RecipeError(f"{place}: got {value!r}, expected {_FILES[spec['format']]}")


_FILES = {"lines": "[input, target], two files", "files": "a list of files, one for each of the classes"}
"""Format -> what a split is a list of."""


def _check_task(tables: Tables, spec: Mapping[str, Any], place: str) -> None:
    known(spec, TASK_KEYS, place)
    _need(spec, ("data", "output", "target"), place)
    for key, value in spec.items():
        _check_value(key, value, TASK_KEYS[key], place)
    one_of(spec["data"], tables["data"], f"{place} data")
    one_of(spec["output"], OUTPUTS, f"{place} output")
    one_of(spec["target"], METRICS_OF, f"{place} target")
    if (spec["output"] == "sequence") != (spec["target"] == "text"):
        raise RecipeError(
            f"{place}: got output {spec['output']!r} with target {spec['target']!r}; "
            "the target text goes with the output sequence, all others with vector or set"
        )
    if "columns" in spec and spec["target"] not in ("number", "multilabel"):
        raise RecipeError(f"{place}: columns go with the target number or multilabel; use column")
    if ("column" in spec) == ("columns" in spec):
        raise RecipeError(f'{place}: expected column = "…" or columns = […], the labels\' name in the data')
    _check_names(spec.get("columns"), f"{place} columns")
    features = tables["data"][spec["data"]].get("features") or []
    seen = [name for name in spec.get("columns") or [spec["column"]] if name in features]
    if seen:
        raise RecipeError(
            f"{place}: got the label {seen[0]!r}, which is one of the features of [data.{spec['data']}]: the "
            "model would see its own label; take it out of the features"
        )
    for key, targets in FOR_TARGET.items():
        if key in spec and spec["target"] not in targets:
            raise RecipeError(
                f"{place}: {key} goes with the target {' or '.join(targets)}, got {spec['target']}"
            )
    if "class_weight" in spec:
        one_of(spec["class_weight"], ("balanced",), f"{place} class_weight")
    if "scale" in spec and not spec.get("margin"):
        raise RecipeError(f"{place}: scale goes with a margin, for example margin = 0.2")
    if "metric" in spec:
        one_of(spec["metric"], METRICS_OF[spec["target"]], f"{place} metric")
        if spec["metric"] == "span_f1" and spec["output"] != "vector":
            raise RecipeError(
                f'{place}: metric span_f1 goes with output = "vector": it scores spans of labels; use f1'
            )
    kind = spec.get("head", {}).get("kind", "decoder")
    if spec.get("copy") and kind != "decoder":
        raise RecipeError(f'{place}: copy goes with a decoder, got head kind "{kind}", which copies nothing')
    if "tokens" in spec:
        one_of(spec["tokens"], ("character", "piece"), f"{place} tokens")


# --- checks that several sections share -----------------------------------------------------------


def known(spec: Iterable[str], allowed: Iterable[str], place: str) -> None:
    """Raise RecipeError if a key is not allowed."""
    allowed = list(allowed)
    for key in spec:
        if key not in allowed:
            raise RecipeError(f"{place}: {no_such('key', key, allowed)}")


def one_of(value: Any, allowed: Iterable[str], place: str) -> None:
    """Like `multiseq.checks.one_of`, but raises RecipeError."""
    try:
        checks.one_of(value, allowed, place)
    except ValueError as error:
        raise RecipeError(str(error)) from None


def fits(options: Mapping[str, Any], takes: str, place: str, *, also: Iterable[str] = ()) -> None:
    """Raise RecipeError if a class does not have an option, or if a value has a wrong type or range.

    Args:
        options: Key -> value, from the recipe.
        takes: Name of the class or method, as in `multiseq.options.TAKES`.
        place: What the message begins with.
        also: Other allowed keys, which are checked elsewhere.
    """
    if options and takes.endswith(".decode") and not TAKES[takes]:
        raise RecipeError(
            f"{place}: got {next(iter(options))!r} for a task that predicts classes or numbers; leave it "
            "out: only texts are searched for"
        )
    known(options, (*also, *TAKES[takes]), place)
    for key, value in options.items():
        if key in TAKES[takes]:
            _check_value(key, value, OPTIONS[key].type, place)
            for entry in value if isinstance(value, list) else ():
                _typed(entry, NUMBER, f"{place} {key}")


def _check_value(key: str, value: Any, kind: Any, place: str) -> None:
    """Raise RecipeError if a value has a wrong type, or is out of the range for its key."""
    _typed(value, kind, f"{place} {key}")
    try:
        check_range(key, value)
    except ValueError as error:
        raise RecipeError(f"{place} {key}: {error}") from None


def _typed(value: Any, kind: Any, place: str) -> None:
    # In Python, True is an int. In a recipe, it is not a number.
    allowed = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        expected = WORDS.get(kind) or " or ".join(WORDS[k] for k in allowed)
        raise RecipeError(f"{place}: got {value!r}, expected {expected}")


def _check_names(value: Any, place: str, what: str = "columns") -> None:
    if value is not None and not (value and all(isinstance(name, str) for name in value)):
        raise RecipeError(f"{place}: got {value!r}, expected a list of names of {what}")


def _need(spec: Mapping[str, Any], keys: Iterable[str], place: str) -> None:
    for key in keys:
        if key not in spec:
            raise RecipeError(f"{place}: {key} is missing")
