"""Several models of one recipe: all folds of a cross-validation, or the members of an ensemble.

Each is a run of its own in a sub-folder, ``fold-0`` … or ``member-0`` …, and is resumed like one. The model
of the whole is a `multiseq.Ensemble` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data.bad_rows import BadRows
from multiseq.data.formats import SPLITS
from multiseq.runs.build import settings
from multiseq.runs.evaluate import final_score, fold_report, without_bad_items
from multiseq.runs.folder import data_folder, finish, known_folder, read_json, read_scores
from multiseq.runs.recipe import Recipe, RecipeError, resolve
from multiseq.runs.recipe_check import wants_all_folds
from multiseq.runs.scoring import Report, Scored, shown, summary
from multiseq.runs.sources import read_split
from multiseq.runs.splits import FOLDER, num_folds, save_splits, saved_splits

if TYPE_CHECKING:
    from multiseq.ensemble import Ensemble

__all__ = ["combine_runs", "parts_of"]

Say = Callable[[str], None]


def parts_of(recipe: Recipe, data: str | Path | None = None) -> dict[str, Recipe]:
    """Sub-folder -> the recipe of its model; empty if a recipe trains one model.

    Raises:
        RecipeError: Two data tables have different numbers of folds.
        DataError: A ``split_file`` cannot be read.
    """
    tables = recipe.tables
    split = [name for name, spec in tables["data"].items() if wants_all_folds(spec)]
    if split:
        nums = {name: _num_folds(recipe, name, data) for name in split}
        if len(set(nums.values())) > 1:
            got = ", ".join(f"{num} of [data.{name}]" for name, num in nums.items())
            raise RecipeError(f"{recipe.name}: folds: got {got}; expected equally many")
        return {f"fold-{i}": _with_fold(recipe, split, i) for i in range(nums[split[0]])}
    training = {key: value for key, value in tables["training"].items() if key != "ensemble"}
    first, number = settings(recipe).seed, tables["training"].get("ensemble", 1)
    return {
        f"member-{i}": replace(recipe, tables={**tables, "training": {**training, "seed": first + i}})
        for i in range(number if number > 1 else 0)
    }


def _num_folds(recipe: Recipe, name: str, data: str | Path | None) -> int:
    spec = recipe.tables["data"][name]
    if "folds" in spec:
        return int(spec["folds"])
    base = data_folder(recipe, data)
    with known_folder(base):
        return num_folds(resolve(spec["split_file"], base))


def _with_fold(recipe: Recipe, split: Iterable[str], fold: int) -> Recipe:
    data = dict(recipe.tables["data"])
    data |= {name: {**data[name], "fold": fold} for name in split}
    return replace(recipe, tables={**recipe.tables, "data": data})


def combine_runs(
    recipe: Recipe,
    out: Path,
    names: Sequence[str],
    record: dict[str, Any],
    *,
    data: str | Path | None,
    cache: str | Path | None,
    say: Say,
) -> Report:
    """Make one model of finished runs, score it, and write everything to the folder of the whole.

    Args:
        recipe: The recipe of the whole.
        out: The folder of the whole.
        names: The sub-folders of the finished runs.
        record: What ``run.json`` will say.
        data: As for `multiseq.runs.run.train_run`.
        cache: As for `multiseq.runs.run.train_run`.
        say: Function that is called with each line for the user.

    Returns:
        The scores: those of an ensemble, or mean and standard deviation of the folds.
    """
    from multiseq.checkpoint import load, save
    from multiseq.ensemble import Ensemble

    members: list[Any] = [load(out / name / "model") for name in names]
    model = Ensemble(members)
    records = [read_json(out / name / "run.json") for name in names]
    record["weights"] = sum(one["weights"] for one in records)
    if all("training_seconds" in one for one in records):
        record["training_seconds"] = round(sum(one["training_seconds"] for one in records), 1)
    if names[0].startswith("fold-"):
        save(model, out / "model")
        report = summary([read_scores(out / name) or {} for name in names])
        finish(out, record, report)
        fold_report(out, data=data, cache=cache, say=say)
        return report
    record |= {split: records[0][split] for split in ("sources", "dev", "test") if split in records[0]}
    save_splits(saved_splits(out / names[0] / FOLDER), out / FOLDER)
    return _ensemble(model, recipe, out, names, record, data, cache, say)


def _ensemble(
    model: Ensemble,
    recipe: Recipe,
    out: Path,
    names: Sequence[str],
    record: dict[str, Any],
    data: str | Path | None,
    cache: str | Path | None,
    say: Say,
) -> Report:
    """Calibrate, save and score the ensemble, beside its members."""
    from multiseq.checkpoint import save
    from multiseq.runs.reports.page import Run, write_report
    from multiseq.training.confidence import calibrate
    from multiseq.training.item_cache import ItemCache

    base, drawn, bad, kept = (
        data_folder(recipe, data),
        saved_splits(out / FOLDER),
        BadRows(),
        ItemCache(cache),
    )
    networks: dict[str, Any] = {}
    with known_folder(base):
        splits = {split: read_split(recipe, split, base, model, drawn, bad, networks) for split in SPLITS}
    splits = {name: without_bad_items(recipe, model, of, name, kept, bad) for name, of in splits.items()}
    record["confidence"] = calibrate(model, splits["dev"], cache=kept)
    for task, what in record["confidence"].items():
        say(f"ensemble: {task}: {what}")
    save(model, out / "model")
    seen: dict[str, Scored] = {}
    scored = {"test": splits["test"], "dev": splits["dev"]}
    report = final_score(model, recipe, splits["train"], scored, kept, seen)
    alone = [read_scores(out / name) or {} for name in names]
    for task, entry in report.items():
        entry["members"] = [scores[task]["value"] for scores in alone if task in scores]
        together, *each = [shown(entry["metric"], value) for value in (entry["value"], *entry["members"])]
        say(f"ensemble: {task}: {entry['metric']} {together}, of its members {', '.join(each)}")
    finish(out, record, report)
    write_report(Run(model, recipe, report, seen, splits["train"], record, [], kept), out, say)
    return report
