"""Score a model and the baselines, and format the scores as a table."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multiseq.labels import class_name

if TYPE_CHECKING:
    from multiseq.model import Model
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
    "shown",
    "table_rows",
]

SILENCE = frozenset({"sil", "sp", "h#", "pau", "epi"})
"""Labels of frames without speech, in TIMIT and from the Montreal Forced Aligner. Such frames are easy and
frequent, so we also report the frame accuracy without them."""

Report = dict[str, dict[str, Any]]
"""Task -> its scores, as `multiseq.runs.run.evaluate_run` describes them."""


@dataclass(frozen=True)
class Scored:
    """A source and the predictions for its labelled items, for one task."""

    source: Source
    judged: Sequence[Judged]


HEADER = ("task", "cell", "metric", "baseline", "ours", "seconds")


def score(
    model: Model,
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
    model: Model,
    task: str,
    train: Source | None,
    source: Source,
    decode: Mapping[str, Any],
    cache: ItemCache,
    seen: dict[str, Scored] | None,
) -> dict[str, Any]:
    from multiseq.runs.baselines import baseline_results
    from multiseq.training.evaluation import judged_items
    from multiseq.training.metrics import compute

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
    figures |= {name: _finite(compute(metric, *side)) for name, side in sides.items()}
    if metric == "frame_accuracy":
        for name, (results, labels) in sides.items():
            spoken = [i for i, label in enumerate(labels) if class_name(label) not in SILENCE]
            chosen = [results[i] for i in spoken], [labels[i] for i in spoken]
            figures[f"{name}_without_silence"] = _finite(compute(metric, *chosen))
    return {**figures, "num_items": len(pairs), "seconds": seconds}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def table_rows(report: Report) -> list[tuple[str, ...]]:
    """The rows of the table below `HEADER`."""
    rows = []
    for task, entry in report.items():
        values = (shown(entry["metric"], entry[key]) for key in ("baseline", "value"))
        metric = entry["metric"].replace("_", " ")
        rows.append((task, entry["cell"], metric, *values, f"{entry['seconds']:.1f}"))
        if "value_without_silence" in entry:
            keys = ("baseline_without_silence", "value_without_silence")
            values = (shown(entry["metric"], entry.get(key)) for key in keys)
            rows.append(("", "", "… without silence", *values, ""))
    return rows


def shown(metric: str, value: float | None) -> str:
    """A metric's value as text: 3 decimals for a fraction, 1 decimal for BLEU, 4 digits for RMSE and MAE.

    >>> shown("accuracy", 0.91234), shown("bleu", 27.31), shown("rmse", 0.00091234), shown("rmse", None)
    ('0.912', '27.3', '0.0009123', '–')
    """
    if value is None:
        return "–"
    if metric == "bleu":
        return f"{value:.1f}"
    return f"{value:.4g}" if metric in ("rmse", "mae") or abs(value) >= 10 else f"{value:.3f}"


def markdown(report: Report) -> str:
    """The table as Markdown."""
    lines = [HEADER, tuple("---" for _ in HEADER), *table_rows(report)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
