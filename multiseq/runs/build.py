"""Check and build what a recipe describes: adapters, encoder, heads and training settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.options import TAKES
from multiseq.runs.recipe import resolve
from multiseq.runs.recipe_check import RecipeError, fits, one_of

if TYPE_CHECKING:
    from multiseq.model import Model
    from multiseq.nn.encoder import Encoder
    from multiseq.pretrained.encoder import PretrainedEncoder
    from multiseq.runs.recipe import Recipe
    from multiseq.starts.speech import PretrainedSpeech
    from multiseq.starts.text import Pretrained
    from multiseq.tasks import Source
    from multiseq.training.settings import Settings

__all__ = ["adapter_class", "build_model", "check_options", "keep_start", "settings"]

ADAPTERS = {"text": "TextAdapter", "speech": "SpeechAdapter", "graph": "GraphAdapter"}
SPLIT = {"graph": ("num_hops", "NeighborhoodAdapter")}
"""Modality -> (option, adapter class that is used if the recipe has the option)."""
PRESET = "tiny"
SIZES = ("dim", "depth", "heads", "ff_dim")
"""Keys of ``[encoder]`` that a pretrained start decides. A recipe may repeat them."""


def settings(recipe: Recipe) -> Settings:
    """The training settings of a recipe. Raises RecipeError for an unknown key or an invalid value."""
    from multiseq.training.settings import Settings

    place = f"{recipe.name}: [training]"
    fits(recipe.tables["training"], "Settings", place, also=("ensemble",))
    given = {key: value for key, value in recipe.tables["training"].items() if key != "ensemble"}
    try:
        chosen = Settings(**given)
    except ValueError as error:
        raise RecipeError(f"{place} {error}") from None
    one_of(chosen.monitor, ("mean", *recipe.tasks), f"{place} monitor")
    if chosen.patience and not chosen.evaluates:
        raise RecipeError(f"{place} patience: needs evaluate_every above 0, got {chosen.evaluate_every or 0}")
    return chosen


def check_options(recipe: Recipe, kept: Path | None = None) -> None:
    """Check the options of encoder, adapters and heads in a recipe before any data is read.

    Args:
        recipe: The recipe.
        kept: As for `build_model`.

    Raises:
        RecipeError: A key is unknown (the message suggests the most similar one), or a value is invalid.
    """
    import torch

    from multiseq.heads.targets import ClassTarget
    from multiseq.heads.text_target import TextTarget
    from multiseq.nn.encoder import PRESETS
    from multiseq.training.optimizer import check_frozen

    name, tables = recipe.name, recipe.tables
    start = _start(recipe, kept)
    if start is None:
        fits(tables["encoder"], "Encoder", f"{name}: [encoder]", also=("preset",))
        one_of(tables["encoder"].get("preset", PRESET), PRESETS, f"{name}: [encoder] preset")
    for adapter, spec in tables["adapters"].items():
        place = f"{name}: [adapters.{adapter}]"
        also = ("modality", "start") if recipe.modality(adapter) == "speech" else ("modality",)
        fits(spec, adapter_class(recipe, adapter).__name__, place, also=also)
    frozen, stems = settings(recipe).frozen_layers, _stems(recipe, kept)
    depths = [stem.architecture.encoder.depth for stem in stems.values()]
    depths += [] if start is None else [start.architecture.depth]
    try:
        check_frozen(frozen, max(depths, default=None))
    except ValueError as error:
        raise RecipeError(f"{name}: [training] {error}") from error
    with torch.device("meta"):  # build the parts without memory, to see whether it works
        dim = _encoder(recipe, start).dim
        for adapter in tables["adapters"]:
            if adapter in stems or (start is not None and recipe.modality(adapter) == "text"):
                _adapter(recipe, adapter, [], dim, stems.get(adapter, start))
        for task, spec in tables["tasks"].items():
            place = f"{name}: [tasks.{task}]"
            kind, options = _head_class(spec, f"{place} head")
            fits(options, kind.__name__, f"{place} head")
            fits(spec.get("decode", {}), f"{kind.__name__}.decode", f"{place} decode")
            stand_in = (
                TextTarget.fit(["a"], unit="character") if spec["target"] == "text" else ClassTarget(["a"])
            )
            _head(kind, dim, stand_in, options, place)


def build_model(recipe: Recipe, train: Sequence[Source], kept: Path | None = None) -> Model:
    """Build an untrained model: fit adapters and targets to the training sources, add encoder and heads.

    The initial weights depend on ``training.seed``.

    Args:
        recipe: The recipe.
        train: The training sources.
        kept: The folder with what a run has kept of its pretrained starts. If it is given, the starts
            themselves are not needed, and their weights are not read: they come from the resume file.
    """
    import torch

    from multiseq.adapters import PretrainedTextAdapter
    from multiseq.model import Model
    from multiseq.pretrained.encoder import PretrainedEncoder
    from multiseq.tasks import Task

    check_options(recipe, kept)
    torch.manual_seed(recipe.tables["training"].get("seed", 0))
    start = _start(recipe, kept)
    encoder, stems = _encoder(recipe, start), _stems(recipe, kept)
    adapters = {}
    for name in dict.fromkeys(source.adapter_name for source in train):
        of_adapter = [source for source in train if source.adapter_name == name]
        adapters[name] = _adapter(recipe, name, of_adapter, encoder.dim, stems.get(name, start))
        if name in stems and kept is None:
            stems[name].fill(adapters[name])
    pair_codes = max((getattr(adapter, "pair_codes", 0) for adapter in adapters.values()), default=0)
    if pair_codes > encoder.pair_codes:
        encoder = _encoder(recipe, start, pair_codes=pair_codes)
    if isinstance(encoder, PretrainedEncoder) and start is not None and kept is None:
        texts = [adapter for adapter in adapters.values() if isinstance(adapter, PretrainedTextAdapter)]
        start.fill(encoder, texts)
    labels = {task: values for source in train for task, values in source.targets.items()}
    locations = {task: source.locations for source in train for task in source.targets}
    tasks = {}
    for name, spec in recipe.tasks.items():
        kind, options = _head_class(spec, name)
        place = f"{recipe.name}: [tasks.{name}]"
        try:
            target = _target(spec, labels[name])
        except ValueError as error:
            columns = ", ".join(map(repr, spec.get("columns", [spec.get("column")])))
            files = "".join(f" in {place.rsplit(':', 1)[0]}" for place in locations[name][:1])
            raise RecipeError(f"{place}: column {columns}{files}: {error}") from error
        head = _head(kind, encoder.dim, target, options, place)
        weight = spec.get("weight", 1.0)
        tasks[name] = Task(recipe.adapter_name(name), head, spec.get("metric", ""), weight)
    return Model(adapters, encoder, tasks)


def keep_start(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Keep the configs and the tokenizer of a recipe's pretrained starts in a folder.

    Returns:
        For ``run.json``: of the encoder's start the name, whether that is a name on the Hub, its family, and
        the digests of its weights; and of the starts of adapters the same, by adapter. Empty if the recipe
        has no start.
    """
    facts: dict[str, Any] = {}
    if (start := _start(recipe)) is not None:
        start.keep(folder)
        facts["start"] = _facts(start, recipe.tables["encoder"]["start"])
    for name, stem in _stems(recipe).items():
        stem.keep(folder / name)
        adapters = facts.setdefault("adapter_starts", {})
        adapters[name] = _facts(stem, recipe.tables["adapters"][name]["start"])
    return facts


def _facts(start: Pretrained | PretrainedSpeech, given: str) -> dict[str, Any]:
    local = Path(given).is_dir()
    return {
        "name": Path(given).resolve().name if local else given,
        "on_hub": not local,
        "model_type": start.family,
        "sha256": start.digests(),
    }


def _stems(recipe: Recipe, kept: Path | None = None) -> dict[str, PretrainedSpeech]:
    """The pretrained models that stems of speech begin as, by adapter."""
    from multiseq.starts.speech import PretrainedSpeech

    found = {}
    for name, spec in recipe.tables["adapters"].items():
        place = f"{recipe.name}: [adapters.{name}]"
        if "start" not in spec or recipe.modality(name) != "speech":
            continue
        if not isinstance(spec["start"], str):
            raise RecipeError(
                f"{place} start: got {spec['start']!r}, expected a folder, or a name on the Hub"
            )
        if "n_mels" in spec:
            raise RecipeError(f"{place}: got start and n_mels, which goes without start; leave n_mels out")
        try:
            found[name] = (
                PretrainedSpeech.read(spec["start"])
                if kept is None
                else PretrainedSpeech.read_kept(kept / name)
            )
        except ValueError as error:
            raise RecipeError(f"{place} start: {error}") from error
    return found


def _start(recipe: Recipe, kept: Path | None = None) -> Pretrained | None:
    """The pretrained model that the encoder begins as, if the recipe names one."""
    from multiseq.starts.text import Pretrained

    given, place = recipe.tables["encoder"], f"{recipe.name}: [encoder]"
    if "start" not in given:
        return None
    fits(given, "PretrainedEncoder", place, also=("start", *TAKES["Encoder"], "preset"))
    if not isinstance(given["start"], str):
        raise RecipeError(f"{place} start: got {given['start']!r}, expected a folder, or a name on the Hub")
    try:
        start = Pretrained.read(given["start"]) if kept is None else Pretrained.read_kept(kept)
    except ValueError as error:
        raise RecipeError(f"{place} start: {error}") from error
    for key, value in given.items():
        if key in SIZES and value != getattr(start.architecture, key):
            has = getattr(start.architecture, key)
            raise RecipeError(f"{place} {key}: got {value}, but start has {has}; leave {key} out")
        if key not in ("start", *SIZES, *TAKES["PretrainedEncoder"]):
            raise RecipeError(f"{place}: got start and {key}, which goes without start; leave {key} out")
    return start


def _encoder(recipe: Recipe, start: Pretrained | None, **more: Any) -> Encoder | PretrainedEncoder:
    from multiseq.nn.encoder import Encoder

    options = {"preset": PRESET, **recipe.tables["encoder"], **more}
    try:
        if start is not None:
            return start.encoder(**{k: v for k, v in options.items() if k in TAKES["PretrainedEncoder"]})
        return Encoder.preset(options.pop("preset"), **options)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: [encoder]: {error}") from error


def adapter_class(recipe: Recipe, name: str) -> Any:
    """The class of the adapter that has this name in a recipe."""
    import multiseq.adapters

    modality, options = recipe.modality(name), recipe.tables["adapters"].get(name, {})
    if modality == "text" and "start" in recipe.tables["encoder"]:
        return multiseq.adapters.PretrainedTextAdapter
    key, other = SPLIT.get(modality, ("", ""))
    return getattr(multiseq.adapters, other if key in options else ADAPTERS[modality])


def _adapter(
    recipe: Recipe,
    name: str,
    sources: Sequence[Source],
    dim: int,
    start: Pretrained | PretrainedSpeech | None,
) -> Any:
    from multiseq.starts.speech import PretrainedSpeech

    items = [item for source in sources for item in source.items]
    options = {
        k: v for k, v in recipe.tables["adapters"].get(name, {}).items() if k not in ("modality", "start")
    }
    options |= {k: str(resolve(options[k], recipe.folder)) for k in ("noise", "rooms") if k in options}
    try:
        if isinstance(start, PretrainedSpeech):
            return start.adapter(dim=dim, **options)
        if start is not None and recipe.modality(name) == "text":
            return start.adapter(**options)
        return adapter_class(recipe, name).fit(items, dim=dim, **options)
    except ValueError as error:
        locations = [place for source in sources for place in source.locations]
        place = f"{recipe.name}: [adapters.{name}]"
        raise RecipeError(f"{place}: {_located(error, locations)}") from error


def _located(error: ValueError, locations: Sequence[str]) -> str:
    """An error's message with an item's number replaced by the item's file and line.

    >>> _located(ValueError("item 1: no words"), ["a.txt:1", "a.txt:2"])
    'a.txt:2: no words'
    """
    message = str(error)
    numbered = re.match(r"item (\d+): ", message)
    if numbered is None or int(numbered[1]) >= len(locations):
        return message
    return f"{locations[int(numbered[1])]}: {message[numbered.end() :]}"


def _head_class(spec: Mapping[str, Any], place: str) -> tuple[Any, dict[str, Any]]:
    """The class of a task's head, and the options for its constructor."""
    from multiseq.heads.ctc import CTCHead
    from multiseq.heads.decoder import DecoderHead
    from multiseq.heads.joint import JointHead
    from multiseq.heads.per_set import SetHead
    from multiseq.heads.per_vector import VectorHead

    options = dict(spec.get("head", {}))
    if spec["output"] != "sequence":
        return {"vector": VectorHead, "set": SetHead}[spec["output"]], options
    chosen = options.pop("kind", "decoder")
    kinds = {"ctc": CTCHead, "decoder": DecoderHead, "joint": JointHead}
    one_of(chosen, kinds, f"{place} kind")
    return kinds[chosen], options


def _head(kind: Any, dim: int, target: Any, options: Mapping[str, Any], place: str) -> Any:
    try:
        return kind(dim, target, **options)
    except ValueError as error:
        raise RecipeError(f"{place} head: {error}") from error


def _target(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
    from multiseq.heads.text_target import TextTarget

    flat = labels
    if spec["output"] == "vector":
        flat = [
            label[2] if isinstance(label, tuple) else label for v in labels if v is not None for label in v
        ]
    if spec["target"] == "class":
        numbers = {key: float(spec[key]) for key in ("label_smoothing", "margin", "scale") if key in spec}
        return ClassTarget.fit(flat, class_weight=spec.get("class_weight", ""), **numbers)
    if spec["target"] == "multilabel":
        return MultiLabelTarget.fit(flat, class_weight=spec.get("class_weight", ""))
    if spec["target"] == "number":
        return NumberTarget.fit(flat, name=spec.get("column", "value"), unit=spec.get("unit", ""))
    options = {key: spec[key] for key in ("vocab_size", "copy") if key in spec}
    return TextTarget.fit([r for r in flat if r is not None], unit=spec.get("tokens", "character"), **options)
