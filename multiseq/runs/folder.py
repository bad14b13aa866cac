"""The folder of a run: its files, and whether a new run may be written there.

recipe.toml   the recipe with all changes    run.json     versions, machine, command, time, memory
metrics.csv   losses and dev scores          curves.png   a plot of them
model/        the best weights               resume.ckpt  the state from which training continues
test.json     the scores on the test split   test.md      the same scores as a table
report.html   a page to look at
splits/       the splits that were drawn, in files that a recipe can use as split_file
start/        the configs and the tokenizer of pretrained starts, without which a run could not be resumed
bad_rows.csv  rows that were left out, if any

Without a test split, dev.json and dev.md have the scores on the dev split instead.

A run of several models has no metrics.csv of its own, but a run for each: fold-0 … or member-0 …
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from multiseq.data import DataError
from multiseq.data.bad_rows import BadRowError
from multiseq.data.text_files import NoSuchFileError
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.scoring import Report, markdown, scores_name
from multiseq.runs.splits import FOLDER
from multiseq.system.files import is_leftover, write_whole
from multiseq.system.lock import LOCK
from multiseq.system.memory import peak_gpu_memory, peak_memory

__all__ = [
    "BAD_ROWS",
    "START",
    "as_begun",
    "check_folder",
    "data_folder",
    "finish",
    "known_folder",
    "parts_in",
    "read_json",
    "read_run",
    "read_scores",
    "write_begin",
    "write_json",
]

BAD_ROWS = "bad_rows.csv"
"""The rows that ``on_error = "skip"`` left out, in a run's folder."""

START = "start"
"""What a run keeps of its pretrained start, in its folder."""

SCORED = ("test", "dev")
"""The splits that scores files may be called after."""


# --- before training ------------------------------------------------------------------------------


def check_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    """Raise ValueError if the folder has files that must not be overwritten.

    Only the files of a run that failed before its first step may be overwritten.
    """
    if resume:
        as_begun(out, recipe)
        return
    there = {p.name for p in out.iterdir()} if out.is_dir() else {""} if out.exists() else set()
    places = [out, *parts_in(out)]
    if any((place / name).exists() for place in places for name in ("metrics.csv", "resume.ckpt", "model")):
        raise ValueError(
            f"{out}: holds a run already; choose another folder with --out, or go on with --resume"
        )
    there = {name for name in there if not is_leftover(name)} - {place.name for place in places}
    if there - {"recipe.toml", "run.json", BAD_ROWS, FOLDER, START, LOCK}:
        raise ValueError(f"{out}: exists and is not a run; choose another folder with --out")


def as_begun(out: Path, recipe: Recipe) -> Recipe:
    """The recipe with which the run in ``out`` goes on: its pretrained start may have moved, or be gone.

    Raises:
        ValueError: The run began with another recipe, or from other pretrained weights.
    """
    before, now = read_run(out).tables, recipe.tables
    start, began = now["encoder"].get("start"), before["encoder"].get("start")
    if isinstance(start, str) and isinstance(began, str) and _is_same(start, began, recipe.folder, out):
        before = {**before, "encoder": {**before["encoder"], "start": start}}
    if before != now:
        raise ValueError(
            f"{out}: its run has another recipe than the one given; resume it without naming "
            "a recipe or changes, or choose another folder with --out"
        )
    if not isinstance(start, str) or Path(start).is_dir():
        return recipe
    return replace(recipe, tables={**now, "encoder": {**now["encoder"], "start": began}})


def _is_same(start: str, began: str, folder: Path, out: Path) -> bool:
    """Whether two starts are the same by name, by place (even if it is gone), or by their weights."""
    names = [{one, *(str((base / one).resolve()) for base in (folder, Path()))} for one in (start, began)]
    if names[0] & names[1]:
        return True
    from multiseq.starts.text import Pretrained

    known = read_json(out / "run.json").get("start")
    return bool(known) and Path(start).is_dir() and Pretrained.read(start).digests() == known["sha256"]


def parts_in(out: Path, kinds: str = "fold|member") -> list[Path]:
    """The folders of the runs inside a run of several models, in their order."""
    folders = [(m, path) for path in out.glob("*-*") if (m := re.fullmatch(rf"(?:{kinds})-(\d+)", path.name))]
    return [path for m, path in sorted(folders, key=lambda entry: int(entry[0][1])) if path.is_dir()]


def data_folder(recipe: Recipe, data: str | Path | None) -> Path:
    """The folder that relative paths of data are relative to. Raises ValueError if it is not there."""
    if data is not None and not Path(data).is_dir():
        raise ValueError(f"{data}: no such folder; say where the data is with --data")
    return Path(data if data is not None else recipe.folder).resolve()


@contextmanager
def known_folder(base: Path) -> Iterator[None]:
    """Clearer errors about data that cannot be read: what to do about a bad row, a missing file or folder."""
    try:
        yield
    except BadRowError as error:
        skip = 'on_error = "skip" in the [data] table leaves out such rows and lists them'
        raise BadRowError(f"{error}; {skip}") from None
    except DataError as error:
        if base.is_dir():
            if not isinstance(error, NoSuchFileError):
                raise
            there = f"paths of data are relative to {base}; give another folder of the files with --data"
            raise NoSuchFileError(f"{error}; {there}") from None
        raise DataError(f"{base}: no such folder; say where the data is with --data") from error


# --- reading and writing --------------------------------------------------------------------------


def read_run(folder: str | Path) -> Recipe:
    """The recipe of a run, with its original name and the folder of its data.

    Raises:
        ValueError: The folder is not a run.
    """
    folder = Path(folder)
    if not (folder / "recipe.toml").is_file() or not (folder / "run.json").is_file():
        what = "is not a run (no recipe.toml and run.json in it)" if folder.exists() else "is not there"
        raise ValueError(f"{folder}: {what}; expected a folder that `multiseq train` wrote")
    record = read_json(folder / "run.json", "recipe", "data", "sources")
    recipe = read(folder / "recipe.toml")
    return replace(recipe, name=record["recipe"], folder=Path(record["data"]))


def read_scores(out: Path) -> Report | None:
    """The scores of a finished run; None if the run is not finished."""
    file = next((path for name in SCORED if (path := out / f"{name}.json").is_file()), None)
    return None if file is None else read_json(file, "tasks")["tasks"]


def write_begin(out: Path, recipe: Recipe, record: dict[str, Any]) -> None:
    """Write the recipe and ``run.json``."""
    import tomli_w

    out.mkdir(parents=True, exist_ok=True)
    tables = {section: table for section, table in recipe.tables.items() if table}
    write_whole(out / "recipe.toml", tomli_w.dumps(tables))
    write_json(out / "run.json", record)


def finish(out: Path, record: dict[str, Any], report: Report) -> None:
    """Write the scores and what ``run.json`` says at the end, and the curves if there is a log."""
    from multiseq.plots import curves, png
    from multiseq.training.run_log import read_log

    name = scores_name(report)
    if (out / "metrics.csv").is_file():
        write_whole(out / "curves.png", png(curves(read_log(out / "metrics.csv"))))
    write_whole(out / f"{name}.md", markdown(report))
    began = datetime.fromisoformat([record["started"], *record.get("resumed", [])][-1])
    record["seconds"] = round((datetime.now(UTC) - began).total_seconds(), 1)
    record["peak_memory_mib"], record["peak_gpu_memory_mib"] = peak_memory(), peak_gpu_memory()
    write_json(out / "run.json", record)
    write_json(out / f"{name}.json", {"tasks": report})  # written last: a run with this file is finished


def read_json(path: Path, *keys: str) -> Any:
    """Read a JSON object. Raises ValueError if one of the keys is missing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise ValueError(f"{path}: damaged: expected an object with {', '.join(missing)}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a JSON object."""
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
