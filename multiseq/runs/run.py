"""Training runs: train a recipe's model, or several of them, and write everything about it to a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data.bad_rows import BadRows
from multiseq.data.formats import NETWORKS, SPLITS
from multiseq.data.splits import first_equal
from multiseq.runs.build import build_model, check_options, keep_start, settings
from multiseq.runs.evaluate import digests, final_score, without_bad_items
from multiseq.runs.facts import facts_of
from multiseq.runs.folder import (
    BAD_ROWS,
    START,
    as_begun,
    check_folder,
    data_folder,
    finish,
    known_folder,
    read_json,
    read_scores,
    write_begin,
)
from multiseq.runs.many import combine_runs, parts_of
from multiseq.runs.recipe import Recipe
from multiseq.runs.scoring import Report, Scored
from multiseq.runs.sources import as_compared, as_written, draw_splits, read_split
from multiseq.runs.splits import FOLDER, Split, save_splits, saved_splits
from multiseq.system.lock import hold
from multiseq.system.machine import command, describe_machine, versions
from multiseq.system.processes import is_first_process
from multiseq.system.stopping import terminable

if TYPE_CHECKING:
    from multiseq.model import Model
    from multiseq.tasks import Source
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.settings import Settings

__all__ = ["check_run", "train_run"]

COUNTED = 50
"""Number of items that are prepared to estimate how many vectors a source has."""

WORTH_SAYING = 0.25
"""GiB that preparing a network takes from which on a run says so beforehand."""

NAMES = {"sources": "training split", "dev": "dev split", "test": "test split"}
"""Key of a split in ``run.json`` -> its name in messages."""

Say = Callable[[str], None]


def train_run(
    recipe: Recipe,
    out: str | Path,
    *,
    data: str | Path | None = None,
    resume: bool = False,
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    progress: bool = True,
    cache: str | Path | None = None,
    loggers: Sequence[str] = (),
    say: Say = print,
) -> Report:
    """Train a recipe's model, score it, and write everything to a folder.

    Each task is scored on the test split of its data, or on the dev split if there is no test split. A recipe
    with all folds or an ensemble trains several models, each in a sub-folder (`multiseq.runs.many`).

    Args:
        recipe: What to train.
        out: Folder of the run. A folder that already holds a run can only be used with ``resume``.
        data: Folder that the recipe's paths are relative to. Default: the folder of the recipe.
        resume: Continue where the run in ``out`` stopped. A finished run is not changed.
        devices: Passed to Lightning.
        num_nodes: Passed to Lightning.
        strategy: Passed to Lightning.
        progress: Show a progress bar. If the output is not a terminal, print a line from time to time.
        cache: Folder that stores prepared items for other runs. None keeps them for this run only.
        loggers: Names of Lightning's loggers (`multiseq.runs.loggers.LOGGERS`).
        say: Function that is called with each line for the user.

    Returns:
        The scores, see `evaluate_run`. In distributed training, only the first process
        returns them; the others return an empty dictionary.

    Raises:
        ValueError: The recipe, the data or the folder cannot be used.
        KeyboardInterrupt: The user stopped the run. It can be resumed.
    """
    out, first = Path(out), is_first_process()
    if not resume:  # a run that goes on has the recipe that was checked when it began
        check_options(recipe)
    if first:
        check_folder(out, recipe, resume)
    launch = {"devices": devices, "num_nodes": num_nodes, "strategy": strategy, "progress": progress}
    with hold(out) if first else nullcontext(), terminable():
        if first:
            check_folder(out, recipe, resume)  # again, because now no other run can write to it
            recipe = as_begun(out, recipe) if resume else recipe
        finished = read_scores(out) if resume else None
        if finished is not None:
            say(f"{out}: this run is finished")
            return finished
        recipes = parts_of(recipe, data)
        if recipes:
            return _train_many(recipe, recipes, out, data, resume, cache, loggers, say, launch)
        return _train(recipe, out, data, resume, cache, loggers, say, launch)


def _train_many(
    recipe: Recipe,
    recipes: Mapping[str, Recipe],
    out: Path,
    data: str | Path | None,
    resume: bool,
    cache: str | Path | None,
    loggers: Sequence[str],
    say: Say,
    launch: dict[str, Any],
) -> Report:
    """Train a run for each recipe, one after another, and make one model of them."""
    if str(launch["devices"]) != "1" or launch["num_nodes"] != 1:
        raise ValueError(
            f"{recipe.name}: got devices = {launch['devices']} and num_nodes = {launch['num_nodes']} for "
            f"{len(recipes)} models, expected 1 of each; or train each model by itself, by its fold or seed"
        )
    start = {} if resume else keep_start(recipe, out / START)
    more = {"parts": len(recipes), **start}
    record = _begin(out, recipe, data_folder(recipe, data), {"sources": []}, resume, **more)
    for name, one in recipes.items():
        place = out / name
        say(f"{place}:")
        begun = resume and (place / "run.json").is_file()
        train_run(one, place, data=data, resume=begun, cache=cache, loggers=loggers, say=say, **launch)
    return combine_runs(recipe, out, list(recipes), record, data=data, cache=cache, say=say)


def _train(
    recipe: Recipe,
    out: Path,
    data: str | Path | None,
    resume: bool,
    cache: str | Path | None,
    loggers: Sequence[str],
    say: Say,
    launch: dict[str, Any],
) -> Report:
    from multiseq.checkpoint import check_savable, save
    from multiseq.nn.precision import device_for
    from multiseq.runs.loggers import loggers_for
    from multiseq.runs.reports.page import Run, write_report
    from multiseq.training.confidence import calibrate
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.loop import train as fit
    from multiseq.training.optimizer import fix_stems
    from multiseq.training.resume import has_resume, read_resume
    from multiseq.training.run_log import read_log, seconds_of

    options = settings(recipe)
    base = data_folder(recipe, data)
    bad, networks = BadRows(), dict[str, Any]()
    if is_first_process():
        say(f"{recipe.name}: reading and preparing the data")
    with known_folder(base):
        saved = saved_splits(out / FOLDER) if resume else {}  # none if the run was killed before it drew
        drawn = draw_splits(recipe, base, saved or None)
        train, dev, test = (
            read_split(recipe, split, base, splits=drawn, bad=bad, networks=networks)
            for split in ("train", "dev", "test")
        )
    if options.evaluate_every and not dev:
        raise ValueError(f"{recipe.name}: evaluate_every needs data with a dev split, and none has")
    goes_on = resume and has_resume(out)
    model = build_model(recipe, train, out / START if goes_on and (out / START).is_dir() else None)
    fix_stems(model, options.frozen_layers, device_for(), partial(read_resume, out) if goes_on else None)
    for line in _memory_in_words(model, train):
        say(line)
    kept = ItemCache(cache, num_workers=options.num_workers)
    train = without_bad_items(recipe, model, train, "train", kept, bad)
    dev = without_bad_items(recipe, model, dev, "dev", kept, bad)
    test = without_bad_items(recipe, model, test, "test", kept, bad)
    precision = _precision(out, resume, options, model)
    options = replace(options, precision=precision["name"])
    record: dict[str, Any] = {}
    if is_first_process():
        if resume and not goes_on:
            _check_lost(out, options.save_every)
        splits = {"train": train, "dev": dev, "test": test}
        lines = [
            *_splits_in_words(recipe, splits, drawn),
            *_copies_in_words(recipe, as_compared(recipe, splits), drawn),
        ]
        for line in [*lines, *_check_scoring(recipe, model, [*dev, *test], kept)]:
            say(line)
        check_savable(model, out / "model")
        _announce(model, train, options, kept, out, say)
        say(f"precision {precision['name']}: {precision['reason']}")
        splits = {"sources": train, "dev": dev, "test": test}
        digested = {name: digests(model, split, kept) for name, split in splits.items()}
        save_splits(drawn, out / FOLDER)  # before run.json: a run that can be resumed has all of them
        start = {} if resume else keep_start(recipe, out / START)
        more = {"weights": _num_weights(model), "precision": precision, **start}
        record = _begin(out, recipe, base, digested, resume, **more)
        as_written(recipe, base, bad)
        _write_bad_rows(out, bad, say)
    launch["loggers"] = loggers_for(loggers, out, recipe.name)
    earlier = seconds_of(read_log(out / "metrics.csv")) if goes_on else 0.0
    began = time.perf_counter()
    with _plain_lightning():
        watched = dev if options.evaluates else []
        fit(model, train, dev=watched, out=out, settings=options, resume=goes_on, cache=kept, **launch)
    if not is_first_process():
        return {}
    record["training_seconds"] = round(earlier + time.perf_counter() - began, 1)
    say(f"{recipe.name}: calibrating and scoring")
    if bad.rows:
        record["bad_rows"] = bad.summary()
    record["confidence"] = calibrate(model, dev, sources=train, cache=kept)
    for task, what in record["confidence"].items():
        say(f"{task}: {what}")
    save(model, out / "model")
    seen: dict[str, Scored] = {}
    report = final_score(model, recipe, train, {"test": test, "dev": dev}, kept, seen)
    finish(out, record, report)
    log = read_log(out / "metrics.csv")
    write_report(Run(model, recipe, report, seen, train, record, log, kept), out, say)
    if bad.rows:
        say(f"The bad rows are listed in {out / BAD_ROWS}")
    return report


def check_run(
    recipe: Recipe,
    *,
    data: str | Path | None = None,
    cache: str | Path | None = None,
    say: Say = print,
) -> None:
    """Do everything that training does before its first step, and say what is in the data.

    Args:
        recipe: What would be trained.
        data: As for `train_run`.
        cache: As for `train_run`.
        say: Function that is called with each line for the user.

    Raises:
        ValueError: The recipe cannot be trained.
    """
    from multiseq.nn.precision import choose_precision, device_for
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.label_check import check_lengths
    from multiseq.training.optimizer import fix_stems
    from multiseq.training.prepared_source import PreparedSource

    check_options(recipe)
    recipes = parts_of(recipe, data)
    if recipes:
        say(f"{len(recipes)} models, {next(iter(recipes))} to {list(recipes)[-1]}. The first of them:")
        recipe = next(iter(recipes.values()))
    options, base, bad = settings(recipe), data_folder(recipe, data), BadRows()
    networks: dict[str, Any] = {}
    with known_folder(base):
        drawn = draw_splits(recipe, base)
        splits = {
            split: read_split(recipe, split, base, splits=drawn, bad=bad, networks=networks)
            for split in SPLITS
        }
    targets = {task: spec["target"] for task, spec in recipe.tasks.items()}
    facts = facts_of(as_compared(recipe, splits), targets, {task: recipe.metric(task) for task in targets})
    odd = (f"Odd: {line}" for line in facts.odd)
    for line in (*_splits_in_words(recipe, splits, drawn), *facts.lines(), *odd):
        say(line)
    model = build_model(recipe, splits["train"])
    fix_stems(model, options.frozen_layers, device_for())
    for line in _memory_in_words(model, splits["train"]):
        say(line)
    kept = ItemCache(cache, num_workers=options.num_workers)
    splits = {
        split: without_bad_items(recipe, model, sources, split, kept, bad)
        for split, sources in splits.items()
    }
    if bad.rows:
        say(bad.summary())
    for note in _check_scoring(
        recipe, model, [source for of_split in splits.values() for source in of_split], kept
    ):
        say(note)
    for source in splits["train"]:
        check_lengths(model, source, kept, training=True)
        PreparedSource(source, model.adapter(source.adapter_name), model.tasks, kept)
    _announce(model, splits["train"], options, kept, None, say)
    say(str(choose_precision(options.precision, device_for(), model.encoder.dim)))


# --- before training ------------------------------------------------------------------------------


def _write_bad_rows(out: Path, bad: BadRows, say: Say) -> None:
    if bad.rows:
        bad.write(out / BAD_ROWS)
        say(bad.summary())
    else:
        (out / BAD_ROWS).unlink(missing_ok=True)  # of a run that failed before its first step


def _memory_in_words(model: Model, sources: Sequence[Source]) -> Iterator[str]:
    """What preparing large networks takes, before it is done."""
    from multiseq.adapters import NeighborhoodAdapter

    for source in sources:
        adapter = model.adapter(source.adapter_name)
        if not isinstance(adapter, NeighborhoodAdapter):
            continue
        for item in source.items:
            with suppress(ValueError):  # a bad item; preparing it says where it is
                needed = adapter.memory_needed(item) / 2**30
                if needed >= WORTH_SAYING and is_first_process():
                    name = source.adapter_name
                    yield f"{name}: preparing the node sets takes about {needed:.1f} GiB of memory"


def _check_scoring(recipe: Recipe, model: Model, sources: Sequence[Source], cache: ItemCache) -> list[str]:
    """Find items and labels that cannot be scored now, not after hours of training.

    Returns notes for the user, see `multiseq.training.label_check.check_labels`.
    """
    from multiseq.training.label_check import check_labels, check_lengths, check_metric

    for name, task in model.tasks.items():
        check_metric(task, f"{recipe.name}: [tasks.{name}]")
    for source in sources:
        check_lengths(model, source, cache, training=False)
    return [note for source in sources for note in check_labels(model, source, cache)]


def _check_lost(out: Path, save_every: int) -> None:
    """Raise ValueError if the run must have had a resume file, which is missing now.

    A run that stopped before its first resume file starts again from the beginning.
    """
    from multiseq.training.resume import RESUME
    from multiseq.training.run_log import read_log

    log = out / "metrics.csv"
    steps = [int(row["step"]) for row in read_log(log)] if log.is_file() else []
    if steps and max(steps) >= save_every:
        raise ValueError(
            f"{out / RESUME}: missing, although this run reached step {max(steps)}; put it back, or start a "
            "new run with --out"
        )


def _precision(out: Path, resume: bool, options: Settings, model: Model) -> dict[str, str]:
    """The precision of the products and the reason, as in ``run.json``. A resumed run keeps its own."""
    from multiseq.nn.precision import choose_precision, device_for

    if resume and "precision" in (begun := read_json(out / "run.json")):
        kept: dict[str, str] = begun["precision"]
        return kept
    return asdict(choose_precision(options.precision, device_for(), model.encoder.dim))


def _begin(
    out: Path,
    recipe: Recipe,
    data: Path,
    digests: Mapping[str, list[dict[str, Any]]],
    resume: bool,
    **more: Any,
) -> dict[str, Any]:
    """Write the recipe and ``run.json``. Check that a resumed run has the same data as before."""
    record: dict[str, Any] = {
        "recipe": recipe.name,
        "data": str(data),
        **digests,
        **more,
        "versions": versions(),
        "machine": describe_machine(),
        "command": command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if resume:
        before = read_json(out / "run.json")
        for split, now in digests.items():
            if before.get(split) != now:
                raise ValueError(
                    f"{out}: the data is not what this run began with ({NAMES[split]}: then "
                    f"{before.get(split)}, now {now}); start a new run with --out"
                )
        record = {**before, "resumed": [*before.get("resumed", []), record["started"]]}
    write_begin(out, recipe, record)
    return record


def _splits_in_words(
    recipe: Recipe, splits: Mapping[str, Sequence[Source]], drawn: Mapping[str, Split]
) -> Iterator[str]:
    """A line for each data table: how many items each split has and how it was made."""
    for name, spec in recipe.tables["data"].items():
        ways = [f"by {key} {spec[key]!r}" for key in ("split_column", "split_file") if key in spec]
        how, what = next(iter(ways), "each from its file"), "items"
        counted: dict[str, Any] = _items_of(recipe, name, splits)
        if name in drawn:
            content = drawn[name].content
            how, what = content["how"], content.get("of", what)
            if what == "nodes":  # each split has all networks, with the labels of its nodes only
                counted = {split: content[split] for split in SPLITS if split in content}
        sizes = [f"{split} {len(counted[split]):,}" for split in SPLITS if split in counted]
        yield f"[data.{name}] {', '.join(sizes)} {what}: {how}"


def _copies_in_words(
    recipe: Recipe, splits: Mapping[str, Sequence[Source]], drawn: Mapping[str, Split]
) -> Iterator[str]:
    """A line for each split that has items of the training split, too."""
    for name, spec in recipe.tables["data"].items():
        of_nodes = name in drawn and drawn[name].content.get("of") == "nodes"
        if not of_nodes and spec["format"] not in NETWORKS:  # a network may be in several splits
            items = _items_of(recipe, name, splits)
            for split in ("dev", "test"):
                num = len(first_equal(items.get(split, []), items["train"]))
                if num:
                    copies = f"{num:,} items of {split} are also in train"
                    yield f"[data.{name}] {copies}: they make its score too good"


def _items_of(recipe: Recipe, data: str, splits: Mapping[str, Sequence[Source]]) -> dict[str, Any]:
    """Split -> the items of one data table."""
    tasks = {task for task, spec in recipe.tasks.items() if spec["data"] == data}
    return {k: s.items for k, sources in splits.items() for s in sources if tasks <= set(s.targets)}


def _announce(
    model: Model,
    train: Sequence[Source],
    options: Settings,
    cache: ItemCache,
    out: Path | None,
    say: Say,
) -> None:
    import torch

    from multiseq.training.optimizer import frozen

    for source in train:
        adapter = model.adapter(source.adapter_name)
        rows = range(0, len(source.items), -(-len(source.items) // COUNTED))
        sizes = cache.num_vectors(adapter, source, rows)
        vectors = round(sum(sizes) / len(sizes) * len(source.items))
        about = "" if len(sizes) == len(source.items) else "about "
        tasks = ", ".join(source.targets)
        say(f"{tasks}: {len(source.items):,} items, {about}{vectors:,} vectors ({source.adapter_name})")
    cpu = f"CPU (threads: {torch.get_num_threads()})"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    weights = _num_weights(model)
    with frozen(model, options.frozen_layers):
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = (
        weights * (1 + bool(options.ema_decay)) + 3 * trained
    )  # the running average; gradients, two moments
    size = f"{4 * kept / 2**20:,.1f} MiB with gradients and moments"
    what = f"{weights:,} weights" + (f" ({trained:,} of them are trained)" if trained < weights else "")
    say(f"{what} on {device}, {size}" + (f"; writing to {out}" if out else ""))


def _num_weights(model: Model) -> int:
    return sum(p.numel() for p in model.parameters())


@contextmanager
def _plain_lightning() -> Iterator[None]:
    """Turn Lightning's error for invalid settings into a ValueError."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
