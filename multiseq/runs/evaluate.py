"""Score the model of a run's folder, and write its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiseq.data import DataError
from multiseq.data.bad_rows import BadRows
from multiseq.runs.build import settings
from multiseq.runs.folder import data_folder, known_folder, parts_in, read_json, read_run, read_scores
from multiseq.runs.recipe import Recipe
from multiseq.runs.scoring import Report, Scored, score, summary
from multiseq.runs.sources import draw_splits, read_split
from multiseq.runs.splits import FOLDER, saved_splits
from multiseq.system.files import write_whole

if TYPE_CHECKING:
    from multiseq.model import Predictor
    from multiseq.tasks import Source
    from multiseq.training.item_cache import ItemCache

__all__ = [
    "digests",
    "evaluate_run",
    "final_score",
    "fold_report",
    "report_run",
    "scored",
    "without_bad_items",
]

Say = Callable[[str], None]


def evaluate_run(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    split: str | None = None,
    cache: str | Path | None = None,
    say: Say = print,
) -> Report:
    """Score a run's model, and the baselines, on one split of its recipe's data.

    Of a cross-validation, each fold's model is scored on its own split.

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
        ``value_without_silence`` and ``baseline_without_silence``; for numbers and BLEU ``value_spearman``
        and so on, all metrics of the same target; for BLEU the ``signature`` of SacreBLEU. For numbers,
        ``value_coverage`` is the share of the labels that lie in their predicted interval. Of several
        numbers it is the mean over them, and ``value_coverage_NAME`` is that of each. A value that is
        undefined is None, as the coverage is without intervals. On dev, ``dev_chose_weights`` is True if the
        weights are those with the best score on dev, which makes the score optimistic. Of a cross-validation,
        ``value`` and ``baseline`` are means over the folds, ``value_spread`` and ``baseline_spread`` their
        standard deviations, and ``folds`` the values.

    Raises:
        ValueError: The folder is not a run, or no data has this split.
    """
    from multiseq.training.item_cache import ItemCache

    read_run(folder)
    folds = parts_in(Path(folder), "fold")
    if folds:
        return summary([evaluate_run(fold, data=data, split=split, cache=cache, say=say) for fold in folds])
    _, _, report, _ = scored(folder, data, split, ItemCache(cache), say, {}, {})
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

    Of a cross-validation, the page shows the predictions of all folds, each by the model of that fold.

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
    from multiseq.runs.reports.page import REPORT, Run, page
    from multiseq.training.item_cache import ItemCache
    from multiseq.training.run_log import read_log

    folder, kept = Path(folder), ItemCache(cache)
    whole = read_run(folder)
    folds = parts_in(folder, "fold")
    by_fold, reports = [], []
    for place in folds or [folder]:
        known = (read_scores(place) or {}) if split is None else {}
        seen: dict[str, Scored] = {}
        model, recipe, report, train = scored(place, data, split, kept, say, seen, known)
        by_fold.append(seen)
        reports.append(report)
    if folds:
        recipe, report, seen = whole, summary(reports), _all_folds(by_fold)
    log = read_log(folder / "metrics.csv") if (folder / "metrics.csv").is_file() else []
    record = read_json(folder / "run.json")
    write_whole(folder / REPORT, page(Run(model, recipe, report, seen, train, record, log, kept), folder))
    return folder / REPORT


def fold_report(folder: Path, *, data: str | Path | None, cache: str | Path | None, say: Say) -> None:
    """Write the report of a cross-validation. A failure is told, never raised: the run is worth more."""
    try:
        report_run(folder, data=data, cache=cache, say=say)
    except Exception as error:
        say(f"{folder}: no report: {error}; `multiseq report {folder}` tries again")


def _all_folds(by_fold: Sequence[Mapping[str, Scored]]) -> dict[str, Scored]:
    """The predictions of all folds, as if they were of one source."""
    from multiseq.tasks import Source

    joined = {}
    for task in by_fold[0]:
        sources = [seen[task].source for seen in by_fold if task in seen]
        judged, first = [], 0
        for seen in by_fold:
            if task in seen:
                judged += [replace(one, item=first + one.item) for one in seen[task].judged]
                first += len(seen[task].source.items)
        items = [item for source in sources for item in source.items]
        labels = [label for source in sources for label in source.targets[task]]
        places = [place for source in sources for place in source.locations]
        joined[task] = Scored(Source(sources[0].adapter_name, items, {task: labels}, 1.0, places), judged)
    return joined


def scored(
    folder: str | Path,
    data: str | Path | None,
    split: str | None,
    cache: ItemCache,
    say: Say,
    seen: dict[str, Scored],
    known: Report,
) -> tuple[Predictor, Recipe, Report, Sequence[Source]]:
    """Score a run's model: its model, its recipe, the scores, and the training data.

    Fills ``seen`` with the predictions. The baselines are not fitted again if ``known`` has their scores.
    """
    from multiseq.checkpoint import load

    recipe = read_run(folder)
    model = load(Path(folder) / "model")
    base = data_folder(recipe, data)
    bad, networks = BadRows(), dict[str, Any]()
    with known_folder(base):
        # A run of an older version has drawn other splits and kept none: the check below says so.
        drawn = draw_splits(recipe, base, saved_splits(Path(folder) / FOLDER))
        first = split or "test"
        sources = {first: read_split(recipe, first, base, model, drawn, bad, networks)}
        if split is None and not _tasks_in(sources["test"]) >= set(recipe.tasks):
            sources["dev"] = read_split(recipe, "dev", base, model, drawn, bad, networks)
    if not any(sources.values()):
        names = " or ".join(map(repr, sources))
        raise ValueError(f"split: got {names}, but no data of {recipe.name} has it")
    try:
        train = read_split(recipe, "train", base, model, drawn, bad, networks)
    except DataError as error:
        train = []
        say(f"no baselines, because the training data cannot be used: {error}")
    sources = {
        name: without_bad_items(recipe, model, of_split, name, cache, bad)
        for name, of_split in sources.items()
    }
    train = without_bad_items(recipe, model, train, "train", cache, bad)
    if bad.rows:
        say(bad.summary())
    if drawn:
        _check_changed(Path(folder), model, {**sources, "sources": train}, cache, say)
    report = final_score(model, recipe, [] if known else train, sources, cache, seen)
    for task, entry in report.items():
        entry |= {name: v for name, v in known.get(task, {}).items() if name.startswith("baseline")}
    return model, recipe, report, train


def _check_changed(
    folder: Path, model: Predictor, splits: Mapping[str, Sequence[Source]], cache: ItemCache, say: Say
) -> None:
    """Say if the data is not what the run was trained on: its drawn splits are row numbers."""
    record = read_json(folder / "run.json")
    for name, sources in splits.items():
        if record.get(name) and record[name] != digests(model, sources, cache):
            say(
                f"the data is not what this run was trained on, and {folder / FOLDER} goes by row "
                "numbers: items of the split that is scored may have been in training"
            )
            return


# --- scoring --------------------------------------------------------------------------------------


def final_score(
    model: Predictor,
    recipe: Recipe,
    train: Sequence[Source],
    splits: Mapping[str, Sequence[Source]],
    cache: ItemCache,
    seen: dict[str, Scored],
) -> Report:
    """Score each task on the first of the splits that has labels for it. Fills ``seen`` with predictions."""
    from multiseq.training.budget import chooses_weights

    report: Report = {}
    for name, sources in splits.items():
        left = [source for source in sources if not set(source.targets) <= set(report)]
        scores = score(model, recipe, train, left, name, cache, seen)
        if name == "dev" and chooses_weights(settings(recipe), sources):
            scores = {task: {**entry, "dev_chose_weights": True} for task, entry in scores.items()}
        report |= scores
    return {task: report[task] for task in recipe.tasks if task in report}


def _tasks_in(sources: Sequence[Source]) -> set[str]:
    return {task for source in sources for task in source.targets}


def without_bad_items(
    recipe: Recipe, model: Predictor, sources: Sequence[Source], split: str, cache: ItemCache, bad: BadRows
) -> list[Source]:
    """The sources of a split. Those of data with ``on_error = "skip"`` lose the items that cannot be used."""
    from multiseq.training.label_check import without_bad_items

    kept = []
    for source in sources:
        data = recipe.tables["data"][recipe.tasks[next(iter(source.targets))]["data"]]
        if data.get("on_error") == "skip":
            source = without_bad_items(model, source, cache, bad.of(split), training=split == "train")
        kept.append(source)
    return kept


def digests(model: Predictor, sources: Sequence[Source], cache: ItemCache) -> list[dict[str, Any]]:
    """Digests that identify a run's data: items and labels in their order, independent of their folder."""
    return [
        {
            "tasks": list(s.targets),
            "items": len(s.items),
            "digest": cache.digest(model.adapter(s.adapter_name), s),
        }
        for s in sources
    ]
