"""Runs: train a recipe's model and write everything about it to a folder; score the model of a folder.

recipe.toml   the recipe with all changes    run.json     versions, machine, command, time, memory
metrics.csv   losses and dev scores          curves.png   a plot of them
model/        the best weights               resume.ckpt  the state from which training continues
test.json     the scores on the test split   test.md      the same scores as a table
report.html   a page to look at
splits/       the splits that were drawn, in files that a recipe can use as split_file
bad_rows.csv  rows that were left out, if any

Without a test split, dev.json and dev.md have the scores on the dev split instead.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data import DataError
from multiseq.data.bad_rows import BadRowError, BadRows
from multiseq.data.formats import SPLITS
from multiseq.data.splits import num_shared
from multiseq.runs.build import build_model, check_options, settings
from multiseq.runs.facts import facts_of
from multiseq.runs.machine import command, describe_machine, versions
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.scoring import Report, Scored, markdown, score, scores_name
from multiseq.runs.sources import draw_splits, read_split
from multiseq.runs.splits import FOLDER, Split, save_splits, saved_splits
from multiseq.system.files import is_leftover, write_whole
from multiseq.system.lock import LOCK, hold
from multiseq.system.memory import peak_gpu_memory, peak_memory
from multiseq.system.processes import is_first_process
from multiseq.system.stopping import terminable

if TYPE_CHECKING:
    from multiseq.model import Model
    from multiseq.tasks import Source
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.settings import Settings

__all__ = ["check_run", "evaluate_run", "read_run", "read_scores", "report_run", "train_run"]

COUNTED = 50
"""Number of items that are prepared to estimate how many vectors a source has."""

BAD_ROWS = "bad_rows.csv"
"""The rows that ``on_error = "skip"`` left out, in a run's folder."""

NAMES = {"sources": "training split", "dev": "dev split", "test": "test split"}
"""Key of a split in ``run.json`` -> its name in messages."""

SCORED = ("test", "dev")
"""The splits that scores files may be called after."""

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

    Each task is scored on the test split of its data, or on the dev split if there is no test split.

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
    if first:
        _check_folder(out, recipe, resume)
    launch = {"devices": devices, "num_nodes": num_nodes, "strategy": strategy, "progress": progress}
    with hold(out) if first else nullcontext(), terminable():
        if first:
            _check_folder(out, recipe, resume)  # again, because now no other run can write to it
        finished = read_scores(out) if resume else None
        if finished is not None:
            say(f"{out}: this run is finished")
            return finished
        return _train(recipe, out, data, resume, cache, loggers, say, launch)


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
    from multiseq.runs.loggers import loggers_for
    from multiseq.runs.report import Run, write_report
    from multiseq.training.confidence import calibrate
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.loop import train as fit
    from multiseq.training.resume import has_resume
    from multiseq.training.run_log import read_log

    check_options(recipe)
    options = settings(recipe)
    base = _data_folder(recipe, data)
    bad = BadRows()
    with _known_folder(base):
        saved = saved_splits(out / FOLDER) if resume else {}  # none if the run was killed before it drew
        drawn = draw_splits(recipe, base, saved or None)
        train, dev, test = (
            read_split(recipe, split, base, splits=drawn, bad=bad) for split in ("train", "dev", "test")
        )
    if options.evaluate_every and not dev:
        raise ValueError(f"{recipe.name}: evaluate_every needs data with a dev split, and none has")
    chooses = dev if options.evaluates else []
    model = build_model(recipe, train)
    kept = ItemCache(cache, num_workers=options.num_workers)
    train = _without_bad_items(recipe, model, train, "train", kept, bad)
    dev = _without_bad_items(recipe, model, dev, "dev", kept, bad)
    test = _without_bad_items(recipe, model, test, "test", kept, bad)
    goes_on = resume and has_resume(out)
    record: dict[str, Any] = {}
    if is_first_process():
        if resume and not goes_on:
            _check_lost(out, options.save_every)
        splits = {"train": train, "dev": dev, "test": test}
        lines = [*_splits_in_words(recipe, splits, drawn), *_copies_in_words(recipe, splits, drawn)]
        for line in [*lines, *_check_scoring(recipe, model, [*dev, *test], kept)]:
            say(line)
        check_savable(model, out / "model")
        _announce(model, train, options, out, say)
        splits = {"sources": train, "dev": dev, "test": test}
        digests = {name: _digests(model, split, kept) for name, split in splits.items()}
        save_splits(drawn, out / FOLDER)  # before run.json: a run that can be resumed has all of them
        record = _begin(out, recipe, base, model, digests, resume)
        _write_bad_rows(out, bad, say)
    launch["loggers"] = loggers_for(loggers, out, recipe.name)
    began = time.perf_counter()
    with _plain_lightning():
        fit(model, train, dev=chooses, out=out, settings=options, resume=goes_on, cache=kept, **launch)
    if not is_first_process():
        return {}
    record["training_seconds"] = round(time.perf_counter() - began, 1)
    for task, what in calibrate(model, dev, sources=train, cache=kept).items():
        say(f"{task}: {what}")
    save(model, out / "model")
    seen: dict[str, Scored] = {}
    report = _final_score(model, recipe, train, {"test": test, "dev": dev}, kept, seen)
    _finish(out, record, report)
    log = read_log(out / "metrics.csv")
    write_report(Run(model, recipe, report, seen, train, record, log, kept), out, say)
    if bad.rows:
        say(f"{bad.summary()}; all of them are in {out / BAD_ROWS}")
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
    from multiseq.training.item_cache import ItemCache

    check_options(recipe)
    options, base, bad = settings(recipe), _data_folder(recipe, data), BadRows()
    with _known_folder(base):
        drawn = draw_splits(recipe, base)
        splits = {split: read_split(recipe, split, base, splits=drawn, bad=bad) for split in SPLITS}
    facts = facts_of(splits, {task: spec["target"] for task, spec in recipe.tasks.items()})
    odd = (f"Odd: {line}" for line in facts.odd)
    for line in (*_splits_in_words(recipe, splits, drawn), *facts.lines(), *odd):
        say(line)
    model = build_model(recipe, splits["train"])
    kept = ItemCache(cache, num_workers=options.num_workers)
    splits = {
        split: _without_bad_items(recipe, model, sources, split, kept, bad)
        for split, sources in splits.items()
    }
    if bad.rows:
        say(bad.summary())
    for note in _check_scoring(recipe, model, [source for own in splits.values() for source in own], kept):
        say(note)
    _announce(model, splits["train"], options, None, say)


def evaluate_run(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str | None = None,
    cache: str | Path | None = None,
    say: Say = print,
) -> Report:
    """Score a run's model, and the baselines, on one split of its recipe's data.

    Args:
        folder: Folder of the run.
        data: Folder of the data, if it has moved since training.
        split: train, dev or test. Default: as after training, the test split of a task's data, or the dev
            split if it has no test split.
        cache: Folder that stores prepared items, as in training.
        say: Function that is called with a message if there is no training data for the baselines.

    Returns:
        ``{task: {"cell", "metric", "value", "baseline", "num_items", "seconds", "split"}}``.
        Accuracies, error rates and R² are fractions, BLEU is from 0 to 100, RMSE and MAE are in the user's
        unit. ``seconds`` is the time that the model took to predict. For frame accuracy there are also
        ``value_without_silence`` and ``baseline_without_silence``. A value that is undefined is None. On dev,
        ``dev_chose_weights`` is True if the weights are those with the best score on dev, which makes the
        score optimistic.

    Raises:
        ValueError: The folder is not a run, or no data has this split.
    """
    from multiseq.training.item_cache import ItemCache

    _, _, report, _ = _scored(folder, data, split, ItemCache(cache), say, {}, {})
    return report


def report_run(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str | None = None,
    cache: str | Path | None = None,
    say: Say = print,
) -> Path:
    """Predict one split of a run's data anew, and write ``report.html`` into its folder.

    Args:
        folder: Folder of the run.
        data: Folder of the data, if it has moved since training.
        split: train, dev or test. None: the split that was scored after training.
        cache: Folder that stores prepared items, as in training.
        say: Function that is called with a message if there is no training data for the baselines.

    Returns:
        The file.

    Raises:
        ValueError: The folder is not a run, or no data has this split.
    """
    from multiseq.runs.report import REPORT, Run, page
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.run_log import read_log

    folder, kept = Path(folder), ItemCache(cache)
    read_run(folder)
    known = (read_scores(folder) or {}) if split is None else {}
    seen: dict[str, Scored] = {}
    model, recipe, report, train = _scored(folder, data, split, kept, say, seen, known)
    log = read_log(folder / "metrics.csv") if (folder / "metrics.csv").is_file() else []
    record = _read_json(folder / "run.json")
    write_whole(folder / REPORT, page(Run(model, recipe, report, seen, train, record, log, kept)))
    return folder / REPORT


def _scored(
    folder: str | Path,
    data: str | Path | None,
    split: str | None,
    cache: ItemCache,
    say: Say,
    seen: dict[str, Scored],
    known: Report,
) -> tuple[Model, Recipe, Report, Sequence[Source]]:
    """Score a run's model: its model, its recipe, the scores, and the training data.

    Fills ``seen`` with the predictions. The baselines are not fitted again if ``known`` has their scores.
    """
    from multiseq.checkpoint import load

    recipe = read_run(folder)
    model = load(Path(folder) / "model")
    base = _data_folder(recipe, data)
    bad = BadRows()
    with _known_folder(base):
        # A run of an older version has drawn other splits and kept none: the check below says so.
        drawn = draw_splits(recipe, base, saved_splits(Path(folder) / FOLDER))
        first = split or "test"
        sources = {first: read_split(recipe, first, base, model, drawn, bad)}
        if split is None and not _tasks_in(sources["test"]) >= set(recipe.tasks):
            sources["dev"] = read_split(recipe, "dev", base, model, drawn, bad)
    if not any(sources.values()):
        names = " or ".join(map(repr, sources))
        raise ValueError(f"split: got {names}, but no data of {recipe.name} has it")
    try:
        train = read_split(recipe, "train", base, model, drawn, bad)
    except DataError as error:
        train = []
        say(f"no baselines, because the training data cannot be used: {error}")
    sources = {
        name: _without_bad_items(recipe, model, found, name, cache, bad) for name, found in sources.items()
    }
    train = _without_bad_items(recipe, model, train, "train", cache, bad)
    if bad.rows:
        say(bad.summary())
    if drawn:
        _check_changed(Path(folder), model, {**sources, "sources": train}, cache, say)
    report = _final_score(model, recipe, [] if known else train, sources, cache, seen)
    for task, entry in report.items():
        entry |= {name: v for name, v in known.get(task, {}).items() if name.startswith("baseline")}
    return model, recipe, report, train


def _check_changed(
    folder: Path, model: Model, splits: Mapping[str, Sequence[Source]], cache: ItemCache, say: Say
) -> None:
    """Say if the data is not what the run was trained on: its drawn splits are row numbers."""
    record = _read_json(folder / "run.json")
    for name, sources in splits.items():
        if record.get(name) and record[name] != _digests(model, sources, cache):
            say(
                f"the data is not what this run was trained on, and {folder / FOLDER} goes by row "
                "numbers: items of the split that is scored may have been in training"
            )
            return


def read_run(folder: str | Path) -> Recipe:
    """The recipe of a run, with its original name and the folder of its data.

    Raises:
        ValueError: The folder is not a run.
    """
    folder = Path(folder)
    if not (folder / "recipe.toml").is_file() or not (folder / "run.json").is_file():
        what = "is not a run (no recipe.toml and run.json in it)" if folder.exists() else "is not there"
        raise ValueError(f"{folder}: {what}; expected a folder that `multiseq train` wrote")
    record = _read_json(folder / "run.json", "recipe", "data", "sources")
    found = read(folder / "recipe.toml")
    return replace(found, name=record["recipe"], folder=Path(record["data"]))


# --- before training ------------------------------------------------------------------------------


def _check_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    """Raise ValueError if the folder has files that must not be overwritten.

    Only the files of a run that failed before its first step may be overwritten.
    """
    if resume:
        if read_run(out).tables != recipe.tables:
            raise ValueError(
                f"{out}: its run has another recipe than the one given; resume it without naming "
                "a recipe or changes, or choose another folder with --out"
            )
        return
    there = {p.name for p in out.iterdir()} if out.is_dir() else {""} if out.exists() else set()
    if {"metrics.csv", "resume.ckpt", "model"} & there:
        raise ValueError(
            f"{out}: holds a run already; choose another folder with --out, or go on with --resume"
        )
    there = {name for name in there if not is_leftover(name)}
    if there - {"recipe.toml", "run.json", BAD_ROWS, FOLDER, LOCK}:
        raise ValueError(f"{out}: exists and is not a run; choose another folder with --out")


def _data_folder(recipe: Recipe, data: str | Path | None) -> Path:
    if data is not None and not Path(data).is_dir():
        raise ValueError(f"{data}: no such folder; say where the data is with --data")
    return Path(data if data is not None else recipe.folder).resolve()


@contextmanager
def _known_folder(base: Path) -> Iterator[None]:
    """Clearer errors about data that cannot be read: what to do about a bad row or a missing folder."""
    try:
        yield
    except BadRowError as error:
        skip = 'on_error = "skip" in the [data] table leaves out such rows and lists them'
        raise BadRowError(f"{error}; {skip}") from None
    except DataError as error:
        if base.is_dir():
            raise
        raise DataError(f"{base}: no such folder; say where the data is with --data") from error


def _without_bad_items(
    recipe: Recipe, model: Model, sources: Sequence[Source], split: str, cache: ItemCache, bad: BadRows
) -> list[Source]:
    """The sources of a split. Those of data with ``on_error = "skip"`` lose the items that cannot be used."""
    from multiseq.training.label_check import without_bad_items

    found = []
    for source in sources:
        data = recipe.tables["data"][recipe.tasks[next(iter(source.targets))]["data"]]
        if data.get("on_error") == "skip":
            source = without_bad_items(model, source, cache, bad.of(split), training=split == "train")
        found.append(source)
    return found


def _write_bad_rows(out: Path, bad: BadRows, say: Say) -> None:
    if bad.rows:
        bad.write(out / BAD_ROWS)
        say(f"{bad.summary()}; all of them are in {out / BAD_ROWS}")
    else:
        (out / BAD_ROWS).unlink(missing_ok=True)  # of a run that failed before its first step


def _check_scoring(recipe: Recipe, model: Model, sources: Sequence[Source], cache: ItemCache) -> list[str]:
    """Find items and labels that cannot be scored now, not after hours of training.

    Returns notes for the user, see `multiseq.training.label_check.check_labels`.
    """
    from multiseq.training.label_check import check_labels, check_metric

    for name, task in model.tasks.items():
        check_metric(task, f"{recipe.name}: [tasks.{name}]")
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


def _digests(model: Model, sources: Sequence[Source], cache: ItemCache) -> list[dict[str, Any]]:
    """Digests that identify a run's data: items and labels in their order, independent of their folder."""
    return [
        {
            "tasks": list(s.targets),
            "items": len(s.items),
            "digest": cache.digest(model.adapter(s.adapter_name), s),
        }
        for s in sources
    ]


def _begin(
    out: Path,
    recipe: Recipe,
    data: Path,
    model: Model,
    digests: Mapping[str, list[dict[str, Any]]],
    resume: bool,
) -> dict[str, Any]:
    """Write the recipe and ``run.json``. Check that a resumed run has the same data as before."""
    import tomli_w

    record: dict[str, Any] = {
        "recipe": recipe.name,
        "data": str(data),
        **digests,
        "weights": _num_weights(model),
        "versions": versions(),
        "machine": describe_machine(),
        "command": command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if resume:
        before = _read_json(out / "run.json")
        for split, now in digests.items():
            if before.get(split) != now:
                raise ValueError(
                    f"{out}: the data is not what this run began with ({NAMES[split]}: then "
                    f"{before.get(split)}, now {now}); start a new run with --out"
                )
        record = {**before, "resumed": [*before.get("resumed", []), record["started"]]}
    out.mkdir(parents=True, exist_ok=True)
    tables = {section: table for section, table in recipe.tables.items() if table}
    write_whole(out / "recipe.toml", tomli_w.dumps(tables))
    _write_json(out / "run.json", record)
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
        if not of_nodes and spec["format"] != "networks":  # a network may be in several splits
            items = _items_of(recipe, name, splits)
            for split in ("dev", "test"):
                num = num_shared(items.get(split, []), items["train"])
                if num:
                    copies = f"{num:,} items of {split} are also in train"
                    yield f"[data.{name}] {copies}: they make its score too good"


def _items_of(recipe: Recipe, data: str, splits: Mapping[str, Sequence[Source]]) -> dict[str, Any]:
    """Split -> the items of one data table."""
    tasks = {task for task, own in recipe.tasks.items() if own["data"] == data}
    return {k: s.items for k, sources in splits.items() for s in sources if tasks <= set(s.targets)}


def _announce(model: Model, train: Sequence[Source], options: Settings, out: Path | None, say: Say) -> None:
    import torch

    for source in train:
        adapter = model.adapter(source.adapter_name)
        items = source.items[:: -(-len(source.items) // COUNTED)]
        sizes = [sum(map(adapter.num_vectors, adapter.prepare(item))) for item in items]
        vectors = round(sum(sizes) / len(items) * len(source.items))
        about = "" if len(items) == len(source.items) else "about "
        tasks = ", ".join(source.targets)
        say(f"{tasks}: {len(source.items):,} items, {about}{vectors:,} vectors ({source.adapter_name})")
    cpu = f"CPU (threads: {torch.get_num_threads()})"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    weights = _num_weights(model)
    kept = 4 + bool(options.ema_decay)  # weights, gradients, two moments, and the running average
    size = f"{4 * kept * weights / 2**20:,.1f} MiB with gradients and moments"
    say(f"{weights:,} weights on {device}, {size}" + (f"; writing to {out}" if out else ""))


def _num_weights(model: Model) -> int:
    return sum(p.numel() for p in model.parameters())


@contextmanager
def _plain_lightning() -> Iterator[None]:
    """Turn Lightning's errors into Python's: ValueError for invalid settings, KeyboardInterrupt for Ctrl-C.

    At Ctrl-C, Lightning would exit with code 1, and it ignores the signal from then on.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from None


# --- after training -------------------------------------------------------------------------------


def _final_score(
    model: Model,
    recipe: Recipe,
    train: Sequence[Source],
    splits: Mapping[str, Sequence[Source]],
    cache: ItemCache,
    seen: dict[str, Scored],
) -> Report:
    """Score each task on the first of the splits that has labels for it. Fills ``seen`` with predictions."""
    found: Report = {}
    for name, sources in splits.items():
        left = [source for source in sources if not set(source.targets) <= set(found)]
        scores = score(model, recipe, train, left, name, cache, seen)
        if name == "dev" and settings(recipe).evaluates:
            scores = {task: {**entry, "dev_chose_weights": True} for task, entry in scores.items()}
        found |= scores
    return {task: found[task] for task in recipe.tasks if task in found}


def _tasks_in(sources: Sequence[Source]) -> set[str]:
    return {task for source in sources for task in source.targets}


def read_scores(out: Path) -> Report | None:
    """The scores of a finished run; None if the run is not finished."""
    found = next((path for name in SCORED if (path := out / f"{name}.json").is_file()), None)
    return None if found is None else _read_json(found, "tasks")["tasks"]


def _finish(out: Path, record: dict[str, Any], report: Report) -> None:
    from multiseq.plots import curves, png
    from multiseq.training.run_log import read_log

    name = scores_name(report)
    write_whole(out / "curves.png", png(curves(read_log(out / "metrics.csv"))))
    write_whole(out / f"{name}.md", markdown(report))
    began = datetime.fromisoformat([record["started"], *record.get("resumed", [])][-1])
    record["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 1)
    record["peak_memory_mib"], record["peak_gpu_memory_mib"] = peak_memory(), peak_gpu_memory()
    _write_json(out / "run.json", record)
    _write_json(out / f"{name}.json", {"tasks": report})  # written last: a run with this file is finished


def _read_json(path: Path, *keys: str) -> Any:
    """Read a JSON object. Raises ValueError if one of the keys is missing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise ValueError(f"{path}: damaged: expected an object with {', '.join(missing)}")
    return value


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
