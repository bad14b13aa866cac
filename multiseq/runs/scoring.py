"""Score a model and the baselines, and format the scores as a table."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from multiseq.labels import class_name
from multiseq.options import LOWER_IS_BETTER, METRICS_OF, PERCENT

if TYPE_CHECKING:
    from multiseq.model import Predictor
    from multiseq.runs.recipe import Recipe
    from multiseq.tasks import Source
    from multiseq.training.evaluation import Judged
    from multiseq.training.item_cache import ItemCache

__all__ = [
    "HEADER",
    "SILENCE",
    "Report",
    "Scored",
    "markdown",
    "score",
    "scored_on",
    "scores_name",
    "shown",
    "summary",
    "table_rows",
    "with_spread",
]

SILENCE = frozenset({"sil", "sp", "h#", "pau", "epi"})
"""Labels of frames without speech, in TIMIT and from the Montreal Forced Aligner. Such frames are easy and
frequent, so we also report the frame accuracy without them."""

Report = dict[str, dict[str, Any]]
"""Task -> its scores, as `multiseq.runs.evaluate.evaluate_run` describes them."""


@dataclass(frozen=True)
class Scored:
    """A source and the predictions for its labelled items, for one task."""

    source: Source
    judged: Sequence[Judged]


HEADER = ("task", "cell", "metric", "baseline", "ours", "seconds")


def score(
    model: Predictor,
    recipe: Recipe,
    train: Sequence[Source],
    sources: Sequence[Source],
    split: str,
    cache: ItemCache,
    seen: dict[str, Scored] | None = None,
) -> Report:
    """Score every task that the sources have labels for, in the order of the recipe.

    Args:
        model: The model. It is moved to a GPU if there is one.
        recipe: The recipe, for the order of the tasks and their options for decoding.
        train: Training data for the baselines. Without it, there are no baselines.
        sources: Items with labels.
        split: Name of the split that the sources are.
        cache: Cache of prepared items.
        seen: If given, the predictions are put into it, by task, so that nobody has to predict again.
    """
    import torch

    from multiseq.training.label_check import check_labels

    model.to("cuda" if torch.cuda.is_available() else "cpu")
    for source in sources:
        check_labels(model, source, cache)
    training = {task: source for source in train for task in source.targets}
    scored = {task: source for source in sources for task in source.targets}
    return {
        task: {
            "cell": model.cell(task),
            "metric": model.task(task).metric,
            **_figures(model, task, training.get(task), scored[task], spec.get("decode", {}), cache, seen),
            "split": split,
        }
        for task, spec in recipe.tasks.items()
        if task in scored
    }


def _figures(
    model: Predictor,
    task: str,
    train: Source | None,
    source: Source,
    decode: Mapping[str, Any],
    cache: ItemCache,
    seen: dict[str, Scored] | None,
) -> dict[str, Any]:
    from multiseq.runs.baselines import baseline_results
    from multiseq.training.evaluation import judged_items, value_of
    from multiseq.training.metrics import compute, coverage, sacre_score

    started = time.perf_counter()
    judged = judged_items(model, source, {task: decode}, cache)[task]
    seconds = round(time.perf_counter() - started, 2)
    pairs = [pair for one in judged for pair in one.pairs]
    if seen is not None:
        seen[task] = Scored(source, judged)
    sides = {"value": ([result for result, _ in pairs], [label for _, label in pairs])}
    if train is not None:
        sides["baseline"] = baseline_results(model, task, train, source, cache)
    metric = model.task(task).metric
    figures: dict[str, Any] = {"value": None, "baseline": None}
    figures |= {name: _finite(value_of(metric, judged, side[0])) for name, side in sides.items()}
    if metric == "frame_accuracy":
        for name, (results, labels) in sides.items():
            spoken = [i for i, label in enumerate(labels) if class_name(label) not in SILENCE]
            chosen = [results[i] for i in spoken], [labels[i] for i in spoken]
            figures[f"{name}_without_silence"] = _finite(compute(metric, *chosen))
    for other in _also(metric):
        figures |= {f"{name}_{other}": _finite(compute(other, *side)) for name, side in sides.items()}
    if metric in METRICS_OF["number"]:
        held = coverage(*sides["value"])
        known = [share for share in held.values() if math.isfinite(share)]
        figures["value_coverage"] = mean(known) if known else None
        if len(held) > 1:
            figures |= {f"value_coverage_{name}": _finite(share) for name, share in held.items()}
    if metric in PERCENT:
        texts = [[label] if isinstance(label, str) else label for label in sides["value"][1]]
        figures["signature"] = sacre_score(metric, sides["value"][0], texts)[1]
    return {**figures, "num_items": len(pairs), "seconds": seconds}


def _also(metric: str) -> list[str]:
    """The other metrics of numbers, or of translations."""
    groups = [group for group in (METRICS_OF["number"], sorted(PERCENT)) if metric in group]
    return [other for group in groups for other in group if other != metric]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def table_rows(report: Report) -> list[tuple[str, ...]]:
    """The rows of the table below `HEADER`."""
    rows = []
    for task, entry in report.items():
        values = (with_spread(entry, key) for key in ("baseline", "value"))
        metric = entry["metric"].replace("_", " ")
        rows.append((task, entry["cell"], metric, *values, f"{entry['seconds']:.1f}"))
        if "value_without_silence" in entry:
            keys = ("baseline_without_silence", "value_without_silence")
            values = (with_spread(entry, key) for key in keys)
            rows.append(("", "", "… without silence", *values, ""))
    return rows


def with_spread(entry: Mapping[str, Any], key: str) -> str:
    """A value, with the standard deviation over the folds if there are several."""
    value, spread = entry.get(key), entry.get(f"{key}_spread")
    text = shown(entry["metric"], value)
    return text if spread is None else f"{text} ± {shown(entry['metric'], spread)}"


def summary(reports: Sequence[Report]) -> Report:
    """The mean and the standard deviation (of a sample) of each value over the folds of a cross-validation.

    >>> of_fold = {"cell": "text/set", "metric": "accuracy", "baseline": 0.5, "num_items": 9, "seconds": 1.0}
    >>> folds = [{"mood": {**of_fold, "value": value, "split": "test"}} for value in (0.75, 0.25)]
    >>> entry = summary(folds)["mood"]
    >>> entry["value"], round(entry["value_spread"], 3), entry["folds"], entry["num_items"]
    (0.5, 0.354, [0.75, 0.25], 18)
    """
    joined: Report = {}
    for task in dict.fromkeys(task for report in reports for task in report):
        entries = [report[task] for report in reports if task in report]
        entry = dict(entries[0])
        for key in [key for key in entry if key.split("_")[0] in ("value", "baseline")]:
            values = [one[key] for one in entries if one.get(key) is not None]
            entry[key] = mean(values) if values else None
            entry[f"{key}_spread"] = stdev(values) if len(values) > 1 else None
        entry["num_items"] = sum(one["num_items"] for one in entries)
        entry["seconds"] = round(sum(one["seconds"] for one in entries), 2)
        entry["folds"] = [one["value"] for one in entries]
        joined[task] = entry
    return joined


def shown(metric: str, value: float | None) -> str:
    """A metric's value as text: 3 decimals for a fraction, 1 decimal for BLEU, 4 digits for RMSE and MAE.

    >>> shown("accuracy", 0.91234), shown("bleu", 27.31), shown("rmse", 0.00091234), shown("rmse", None)
    ('0.912', '27.3', '0.0009123', '–')
    """
    if value is None:
        return "–"
    if metric in PERCENT:
        return f"{value:.1f}"
    return f"{value:.4g}" if metric in ("rmse", "mae") or abs(value) >= 10 else f"{value:.3f}"


def markdown(report: Report) -> str:
    """The table as Markdown, and below it what the scores are of."""
    lines = [HEADER, tuple("---" for _ in HEADER), *table_rows(report)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{table}\n{scored_on(report)}\n"


def scores_name(report: Report) -> str:
    """The name of the files that hold a report: dev if no task is scored on another split, otherwise test."""
    return "dev" if {entry["split"] for entry in report.values()} == {"dev"} else "test"


def scored_on(report: Report) -> str:
    """Which split each task is scored on, in words; what to do if there is none."""
    if not report:
        return (
            "Nothing is scored, because no data has a test or a dev split: add test = 0.2 to [data.NAME] to "
            "hold out a fifth of the items."
        )
    tasks: dict[str, list[str]] = {}
    for task, entry in report.items():
        tasks.setdefault(entry["split"], []).append(task)
    text = f"Scores on the {next(iter(tasks))} split."
    if len(tasks) > 1:
        text = " ".join(f"Scores on the {split} split: {', '.join(names)}." for split, names in tasks.items())
    folds = max(len(entry.get("folds", ())) for entry in report.values())
    if folds:
        text += f" Values are the mean and the standard deviation over {folds} folds."
    if any(entry.get("dev_chose_weights") for entry in report.values()):
        text += (
            " Those on dev are optimistic, because the weights are the ones with the best score on dev; "
            "test = 0.2 in [data.NAME] holds out items for a fair score."
        )
    worse = [task for task, entry in report.items() if _below_baseline(entry)]
    if worse:
        text += (
            f" Worse than the baseline, which is a simple method: {', '.join(worse)}. If the loss in "
            "training (curves.png) still falls at the end, more steps may help; if it is low, the model "
            "knows the training items by heart, and fewer steps, more dropout or more data may."
        )
    return text


def _below_baseline(entry: Mapping[str, Any]) -> bool:
    """Whether a simple method is better."""
    value, baseline = entry.get("value"), entry.get("baseline")
    if value is None or baseline is None:
        return False
    return bool(value > baseline if entry["metric"] in LOWER_IS_BETTER else value < baseline)
