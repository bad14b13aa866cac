"""Evaluation: compare a model's predictions with the labels of sources."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multiseq.checks import one_of
from multiseq.heads.targets import NumberTarget, is_missing
from multiseq.model import Predictor, combine
from multiseq.options import LOWER_IS_BETTER, PERCENT
from multiseq.results import Number
from multiseq.tasks import Source, listed
from multiseq.training.item_cache import ItemCache
from multiseq.training.metrics import columns_of, compute

__all__ = ["Judged", "Score", "evaluate", "evaluate_all", "judged_items", "labelled_results", "value_of"]

Pair = tuple[Any, Any]
"""A prediction and the user's label."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The predictions for one item beside its labels.

    Args:
        item: The number of the item in its source.
        results: For a task per vector a prediction for each vector of the item, otherwise one prediction.
        labels: The user's label of each; None if it is missing.
    """

    item: int
    results: Sequence[Any]
    labels: Sequence[Any]

    @property
    def pairs(self) -> list[Pair]:
        """The pairs (prediction, label) of everything that has a label."""
        pairs = zip(self.results, self.labels, strict=True)
        return [(result, label) for result, label in pairs if label is not None]


@dataclass(frozen=True)
class Score:
    """The score of one task: the value of its metric.

    Args:
        cell: Modality and output of the task, for example ``text/vector``.
        metric: Name of the metric.
        value: Value of the metric. NaN if it is undefined, for example R² of one item.
        num_items: Number of items that were scored (for a task per vector: number of vectors).
        error: For regression: the error in units of the standard deviation of the training labels. It is the
            mean absolute error for the metric MAE, otherwise the root mean square error. NaN for other tasks.
    """

    cell: str
    metric: str
    value: float
    num_items: int
    error: float = math.nan

    @property
    def goodness(self) -> float:
        """The score on a scale without unit where 1 is perfect and higher is better. For early stopping.

        R² divides by the variance of the scored labels. If that is zero, we divide by the variance of the
        training labels instead.
        """
        if self.metric in PERCENT:
            return self.value / 100
        if self.metric in ("rmse", "mae"):
            return 1 - self.error
        if self.metric == "r2" and math.isnan(self.value):
            return 1 - self.error**2
        return 1 - self.value if self.metric in LOWER_IS_BETTER else self.value

    @property
    def goodness_name(self) -> str:
        """What :attr:`goodness` is, in terms of the metric.

        >>> Score("graph/set", "rmse", 2.0, 9, error=0.5).goodness_name
        '1 - rmse / standard deviation'
        """
        name = self.metric.replace("_", " ")
        if self.metric in ("rmse", "mae"):
            return f"1 - {name} / standard deviation"
        if self.metric in PERCENT:
            return f"{name} / 100"
        return f"1 - {name}" if self.metric in LOWER_IS_BETTER else name


def evaluate(model: Predictor, sources: Sequence[Source], *, task: str, **options: Any) -> Score:
    """Score one task on labelled sources. Items and vectors without a label are skipped.

    Args:
        model: A model with the task and the sources' adapter.
        sources: A list of sources with labels for that task, like the one for `train`.
        task: The task's name.
        options: Options for the head's ``decode``, for example ``num_beams`` for a sequence.

    Raises:
        ValueError: The task does not exist, a source has no labels for it, or ``sources`` is not a list.

    Example:
        >>> from multiseq import ClassTarget, Encoder, Model, SetHead, Task, TextAdapter
        >>> texts, labels = ["red lamp", "blue lamp"], ["red", "blue"]
        >>> head = SetHead(16, ClassTarget.fit(labels))
        >>> parts = {"text": TextAdapter.fit(texts, dim=16)}, Encoder(dim=16, depth=1, heads=2)
        >>> score = evaluate(
        ...     Model(*parts, {"colour": Task("text", head)}),
        ...     [Source("text", texts, {"colour": labels})],
        ...     task="colour",
        ... )
        >>> score.metric, score.num_items
        ('accuracy', 2)
    """
    of_sources = []
    for source in listed("sources", sources):
        one_of(task, source.targets, "task")
        of_sources.append(judged_items(model, source, {task: options})[task])
    return _score(model, task, [one for judged in of_sources for one in judged])


def evaluate_all(
    model: Predictor, sources: Sequence[Source], cache: ItemCache | None = None
) -> dict[str, Score]:
    """Score every task for which the sources have labels. Tasks that label the same items share one encoding.

    Args:
        model: A model with the tasks and the sources' adapters.
        sources: Items with labels.
        cache: Cache of prepared items.
    """
    judged: dict[str, list[Judged]] = {}
    for source in sources:
        tasks: dict[str, dict[str, Any]] = {task: {} for task in source.targets}
        for task, new in judged_items(model, source, tasks, cache).items():
            judged.setdefault(task, []).extend(new)
    return {task: _score(model, task, of_task) for task, of_task in judged.items()}


def _score(model: Predictor, task: str, judged: Sequence[Judged]) -> Score:
    metric, target = model.task(task).metric, model.task(task).head.target
    pairs = [pair for one in judged for pair in one.pairs]
    results, labels = [result for result, _ in pairs], [label for _, label in pairs]
    error = _mean_error(metric, target, results, labels) if isinstance(target, NumberTarget) else math.nan
    value = value_of(metric, judged, results)
    return Score(model.cell(task), metric, value, len(pairs), error)


def value_of(metric: str, judged: Sequence[Judged], results: Sequence[Any]) -> float:
    """The value of a metric for predictions of everything in some items that has a label.

    Args:
        metric: Its name.
        judged: The items, with all their labels.
        results: A prediction for each label that is not missing, one after another.
    """
    labels = [label for one in judged for label in one.labels]
    rest = iter(results)
    aligned = [None if label is None else next(rest) for label in labels]
    return compute(metric, aligned, labels, [len(one.labels) for one in judged])


def _mean_error(metric: str, target: NumberTarget, results: Sequence[Number], labels: Sequence[Any]) -> float:
    """The mean error of all columns, each in units of the standard deviation of its training labels."""
    off = [
        (predicted - wanted) / target.std[target.names.index(name)]
        for name, predicted, wanted in columns_of(results, labels)
    ]
    if not off:
        return math.nan
    if metric == "mae":
        return sum(float(x.abs().mean()) for x in off) / len(off)
    return sum(float(x.square().mean().sqrt()) for x in off) / len(off)


def labelled_results(
    model: Predictor,
    source: Source,
    tasks: Mapping[str, Mapping[str, Any]],
    cache: ItemCache | None = None,
) -> dict[str, list[Pair]]:
    """For each task, the pairs (prediction, label) of everything that has a label.

    ``tasks`` maps a task's name to options for its head's ``decode``.
    """
    by_task = judged_items(model, source, tasks, cache)
    return {task: [pair for one in judged for pair in one.pairs] for task, judged in by_task.items()}


def judged_items(
    model: Predictor,
    source: Source,
    tasks: Mapping[str, Mapping[str, Any]],
    cache: ItemCache | None = None,
) -> dict[str, list[Judged]]:
    """Like `labelled_results`, item by item: for each task the items that have labels."""
    prepared = (cache or ItemCache()).examples(
        model.adapter(source.adapter_name), source.items, source.locations
    )
    together: dict[tuple[bool, ...], list[str]] = {}  # tasks that label the same items share an encoding
    for task in tasks:
        together.setdefault(tuple(label is not None for label in source.targets[task]), []).append(task)
    judged: dict[str, list[Judged]] = {}
    for labelled, names in together.items():
        pieces = [examples if known else [] for examples, known in zip(prepared, labelled, strict=True)]
        options = {task: tasks[task] for task in names}
        runs = model.run_prepared(source.adapter_name, pieces, options, locations=source.locations)
        judged |= {task: list(_judged(model, task, source.targets[task], runs[task])) for task in names}
    return judged


def _judged(
    model: Predictor, task: str, labels: Sequence[Any], runs: Sequence[Sequence[tuple[Any, Any]]]
) -> Iterator[Judged]:
    """The labelled items: with results of all vectors for a task per vector, otherwise of the item."""
    align, head = model.adapter(model.task(task).adapter_name).align, model.task(task).head
    for item, (label, pieces) in enumerate(zip(labels, runs, strict=True)):
        if label is None:
            continue
        if head.level != "vector":
            if not is_missing(head.target, label):
                yield Judged(item, [combine([result for _, result in pieces])], [label])
            continue
        results: list[Any] = []
        aligned: list[Any] = []
        for example, of_example in pieces:
            results += of_example
            aligned += align(label, example)
        yield Judged(item, results, [None if is_missing(head.target, one) else one for one in aligned])
