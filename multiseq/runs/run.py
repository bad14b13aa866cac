"""Runs: train a recipe's model and write everything about it to a folder; score the model of a folder.

recipe.toml   the recipe with all changes    run.json     versions, machine, command, time, memory
metrics.csv   losses and dev scores          curves.png   a plot of them
model/        the best weights               resume.ckpt  the state from which training continues
test.json     the scores on the test split   test.md      the same scores as a table
report.html   a page to look at
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
from multiseq.runs.build import build_model, check_options, settings
from multiseq.runs.machine import command, describe_machine, versions
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.scoring import Report, Scored, markdown, score
from multiseq.runs.sources import read_split
from multiseq.system.files import is_leftover, write_whole
from multiseq.system.lock import LOCK, hold
from multiseq.system.memory import peak_gpu_memory, peak_memory
from multiseq.system.processes import is_first_process
from multiseq.training.stopping import terminable

if TYPE_CHECKING:
    from multiseq.model import Model
    from multiseq.tasks import Source
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.settings import Settings

__all__ = ["evaluate_run", "read_run", "report_run", "train_run"]

COUNTED = 50
"""Number of items that are prepared to estimate how many vectors a source has."""

NAMES = {"sources": "training split", "dev": "dev split", "test": "test split"}

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
    say: Say = print,
) -> Report:
    """Train a recipe's model, score it on the test split, and write everything to a folder.

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
        say: Function that is called with each line for the user.

    Returns:
        The scores on the test split, see `evaluate_run`. In distributed training, only the first process
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
        if resume and (out / "test.json").is_file():
            say(f"{out}: this run is finished")
            return _finished(out)
        return _train(recipe, out, data, resume, cache, say, launch)


def _train(
    recipe: Recipe,
    out: Path,
    data: str | Path | None,
    resume: bool,
    cache: str | Path | None,
    say: Say,
    launch: dict[str, Any],
) -> Report:
    from multiseq.checkpoint import check_savable
    from multiseq.runs.report import Run, write_report
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.loop import train as fit
    from multiseq.training.resume import has_resume
    from multiseq.training.run_log import read_log

    check_options(recipe)
    options = settings(recipe)
    base = _data_folder(recipe, data)
    train, test = _read_split(recipe, "train", base), _read_split(recipe, "test", base)
    dev = _read_split(recipe, "dev", base) if options.evaluate_every else []
    if options.evaluate_every and not dev:
        raise ValueError(f"{recipe.name}: evaluate_every needs data with a dev split, and none has")
    model = build_model(recipe, train)
    kept = ItemCache(cache, num_workers=options.num_workers)
    goes_on = resume and has_resume(out)
    record: dict[str, Any] = {}
    if is_first_process():
        if resume and not goes_on:
            _check_lost(out, options.save_every)
        for note in _check_scoring(recipe, model, [*dev, *test], kept):
            say(note)
        check_savable(model, out / "model")
        _announce(model, train, options, out, say)
        splits = {"sources": train, "dev": dev, "test": test}
        digests = {name: _digests(model, split, kept) for name, split in splits.items()}
        record = _begin(out, recipe, base, model, digests, resume)
    began = time.perf_counter()
    with _plain_lightning():
        fit(model, train, dev=dev, out=out, settings=options, resume=goes_on, cache=kept, **launch)
    if not is_first_process():
        return {}
    record["training_seconds"] = round(time.perf_counter() - began, 1)
    seen: dict[str, Scored] = {}
    report = score(model, recipe, train, test, "test", kept, seen)
    _finish(out, record, report)
    log = read_log(out / "metrics.csv")
    write_report(Run(model, recipe, report, seen, train, record, log, kept), out, say)
    return report


def evaluate_run(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    cache: str | Path | None = None,
    say: Say = print,
) -> Report:
    """Score a run's model, and the baselines, on one split of its recipe's data.

    Args:
        folder: Folder of the run.
        data: Folder of the data, if it has moved since training.
        split: train, dev or test.
        cache: Folder that stores prepared items, as in training.
        say: Function that is called with a message if there is no training data for the baselines.

    Returns:
        ``{task: {"cell", "metric", "value", "baseline", "num_items", "seconds", "split"}}``.
        Accuracies, error rates and R² are fractions, BLEU is from 0 to 100, RMSE and MAE are in the user's
        unit. ``seconds`` is the time that the model took to predict. For frame accuracy there are also
        ``value_without_silence`` and ``baseline_without_silence``. A value that is undefined is None.

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

    folder = Path(folder)
    read_run(folder)
    known = _finished(folder) if (folder / "test.json").is_file() else {}
    scored = next((entry["split"] for entry in known.values()), "test")
    if split not in (None, scored):
        known = {}
    split = split or scored
    seen: dict[str, Scored] = {}
    kept = ItemCache(cache)
    model, recipe, report, train = _scored(folder, data, split, kept, say, seen, known)
    log = read_log(folder / "metrics.csv") if (folder / "metrics.csv").is_file() else []
    record = _read_json(folder / "run.json")
    write_whole(folder / REPORT, page(Run(model, recipe, report, seen, train, record, log, kept)))
    return folder / REPORT


def _scored(
    folder: str | Path,
    data: str | Path | None,
    split: str,
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
    sources = _read_split(recipe, split, base, model)
    if not sources:
        raise ValueError(f"split: got {split!r}, but no data of {recipe.name} has it")
    try:
        train = read_split(recipe, "train", base, model)
    except DataError as error:
        train = []
        say(f"no baselines, because the training data cannot be used: {error}")
    report = score(model, recipe, [] if known else train, sources, split, cache, seen)
    for task, entry in report.items():
        entry |= {name: v for name, v in known.get(task, {}).items() if name.startswith("baseline")}
    return model, recipe, report, train


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
    if there - {"recipe.toml", "run.json", LOCK}:
        raise ValueError(f"{out}: exists and is not a run; choose another folder with --out")


def _data_folder(recipe: Recipe, data: str | Path | None) -> Path:
    if data is not None and not Path(data).is_dir():
        raise ValueError(f"{data}: no such folder; say where the data is with --data")
    return Path(data if data is not None else recipe.folder).resolve()


def _read_split(recipe: Recipe, split: str, base: Path, model: Model | None = None) -> list[Source]:
    """Like `read_split`, with a clearer error if the data folder does not exist."""
    try:
        return read_split(recipe, split, base, model)
    except DataError as error:
        if base.is_dir():
            raise
        raise DataError(f"{base}: no such folder; say where the data is with --data") from error


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


def _announce(model: Model, train: Sequence[Source], options: Settings, out: Path, say: Say) -> None:
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
    say(f"{weights:,} weights on {device}, {size}; writing to {out}")


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


def _finish(out: Path, record: dict[str, Any], report: Report) -> None:
    from multiseq.plots import curves, png
    from multiseq.training.run_log import read_log

    write_whole(out / "curves.png", png(curves(read_log(out / "metrics.csv"))))
    write_whole(out / "test.md", markdown(report))
    began = datetime.fromisoformat([record["started"], *record.get("resumed", [])][-1])
    record["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 1)
    record["peak_memory_mib"], record["peak_gpu_memory_mib"] = peak_memory(), peak_gpu_memory()
    _write_json(out / "run.json", record)
    _write_json(out / "test.json", {"tasks": report})  # written last: a run with this file is finished


def _finished(out: Path) -> Report:
    report: Report = _read_json(out / "test.json", "tasks")["tasks"]
    return report


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
