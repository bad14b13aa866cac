"""Metrics by name, and the scoring of a task: predictions of a model against the labels of a source.

The arithmetic is torchmetrics'; here is only what turns results and labels into its inputs.
Accuracies, error rates and R² are fractions, BLEU is 0 to 100, RMSE and MAE are in the user's unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from multiseq.item_cache import ItemCache
from multiseq.results import Label, LabelSet, Number, Text
from multiseq.targets import NumberTarget, flags_of
from multiseq.tasks import Source

if TYPE_CHECKING:
    from multiseq.model import Model

__all__ = ["LOWER_IS_BETTER", "METRICS", "Score", "compute", "evaluate", "evaluate_all"]

Pair = tuple[Any, Any]
"""A result, and the user's label."""

LOWER_IS_BETTER = frozenset({"word_error_rate", "character_error_rate", "rmse", "mae"})


@dataclass(frozen=True)
class Score:
    """One figure: the metric's value on so many items (or vectors, for a task per vector)."""

    cell: str
    metric: str
    value: float
    num_items: int
    scale: float = 1.0  # what an error of 1 is measured by: the deviation of the training numbers

    @property
    def goodness(self) -> float:
        """The value on a scale where 1 is perfect and higher is better, for early stopping."""
        if self.metric == "bleu":
            return self.value / 100
        return 1 - self.value / self.scale if self.metric in LOWER_IS_BETTER else self.value


def evaluate(model: Model, task: str, *sources: Source, **options: Any) -> Score:
    """Score one task on the labels of sources; items and vectors without a label are left out.

    Args:
        model: Has the task and the source's adapter.
        task: The task's name.
        sources: Items with labels for that task.
        options: For the head's ``decode``.
    """
    found = [labelled_results(model, source, {task: options})[task] for source in sources]
    return _score(model, task, [pair for pairs in found for pair in pairs])


def evaluate_all(model: Model, sources: Sequence[Source], cache: ItemCache | None = None) -> dict[str, Score]:
    """Every task that the sources label, scored on all of them; items are encoded once for several tasks.

    Args:
        model: Has the tasks and the sources' adapters.
        sources: Items with labels.
        cache: What prepared items are looked up in.
    """
    pairs: dict[str, list[Pair]] = {}
    for source in sources:
        tasks: dict[str, dict[str, Any]] = {task: {} for task in source.targets}
        for task, found in labelled_results(model, source, tasks, cache).items():
            pairs.setdefault(task, []).extend(found)
    return {task: _score(model, task, found) for task, found in pairs.items()}


def _score(model: Model, task: str, pairs: Sequence[Pair]) -> Score:
    metric, target = model.task(task).metric, model.task(task).head.target
    value = compute(metric, [p for p, _ in pairs], [label for _, label in pairs])
    scale = sum(target.std) / target.size if isinstance(target, NumberTarget) else 1.0
    return Score(model.cell(task), metric, value, len(pairs), scale)


def labelled_results(
    model: Model,
    source: Source,
    tasks: Mapping[str, Mapping[str, Any]],
    cache: ItemCache | None = None,
) -> dict[str, list[Pair]]:
    """Of each task (with options for its head's ``decode``), everything that has a label, in pairs."""
    found = (cache or ItemCache()).examples(model.adapter(source.adapter), source.items, source.where)
    together: dict[tuple[bool, ...], list[str]] = {}  # tasks that label the same items share an encoding
    for task in tasks:
        together.setdefault(tuple(label is not None for label in source.targets[task]), []).append(task)
    pairs: dict[str, list[Pair]] = {}
    for labelled, names in together.items():
        pieces = [examples if known else [] for examples, known in zip(found, labelled, strict=True)]
        runs = model.run_prepared(source.adapter, pieces, {task: tasks[task] for task in names})
        pairs |= {task: list(_pairs(model, task, source.targets[task], runs[task])) for task in names}
    return pairs


def _pairs(
    model: Model, task: str, labels: Sequence[Any], runs: Sequence[Sequence[tuple[Any, Any]]]
) -> Iterator[Pair]:
    """(result, label) of everything that has a label: vectors for a task per vector, else items."""
    from multiseq.model import combine

    align = model.adapter(model.task(task).adapter).align
    for i, pieces in enumerate(runs):
        if labels[i] is None:
            continue
        if model.task(task).head.level != "vector":
            yield combine([result for _, result in pieces]), labels[i]
            continue
        for example, results in pieces:
            for result, label in zip(results, align(labels[i], example), strict=True):
                if label is not None:
                    yield result, label


def compute(metric: str, results: Sequence[Any], labels: Sequence[Any]) -> float:
    """A metric by name, of plain results against the user's labels. NaN where there is nothing to score.

    >>> compute("exact_match", [Text("a b", 0.0), Text("c", 0.0)], ["a b", "d"])
    0.5
    """
    if metric not in METRICS:
        raise ValueError(f"metric: got {metric!r}, expected one of {', '.join(METRICS)}")
    if results and isinstance(results[0], Text):
        labels = [_normalised(label) for label in labels]
    return METRICS[metric](results, labels) if results else math.nan


def _normalised(label: Any) -> Any:
    """White space and Unicode form of a text (or of several references) as targets learn them."""
    from multiseq.text_target import normalise

    return normalise(label) if isinstance(label, str) else [normalise(text) for text in label]


def _accuracy(results: Sequence[Label], labels: Sequence[Any]) -> float:
    return sum(r.label == str(label) for r, label in zip(results, labels, strict=True)) / len(labels)


def _f1(results: Sequence[Any], labels: Sequence[Any]) -> float:
    """Macro F1 of classes; micro F1 of several classes at once."""
    from torchmetrics.functional.classification import multiclass_f1_score

    if isinstance(results[0], LabelSet):
        flags, wanted = _label_flags(results, labels)
        hits = (flags & wanted).sum().item()
        return 2 * hits / max(1, flags.sum().item() + wanted.sum().item())
    names = sorted({str(v) for v in labels} | {r.label for r in results})
    found = torch.tensor([names.index(r.label) for r in results])
    known = torch.tensor([names.index(str(v)) for v in labels])
    # It refuses a single class; one that never occurs changes no other's score and is not averaged.
    return float(multiclass_f1_score(found, known, max(2, len(names)), average="macro"))


def _label_flags(results: Sequence[LabelSet], labels: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    found, known = [], []
    for result, label in zip(results, labels, strict=True):
        names = list(result.probabilities)
        for name, flag in zip(names, flags_of(label, names), strict=True):
            if flag is not None:
                found.append(name in result.labels)
                known.append(flag)
    return torch.tensor(found, dtype=torch.bool), torch.tensor(known, dtype=torch.bool)


def _roc_auc(results: Sequence[Any], labels: Sequence[Any]) -> float:
    """Of two classes, or the mean over several classes at once (those with both values present)."""
    from sklearn.metrics import roc_auc_score

    if isinstance(results[0], LabelSet):
        per_class = []
        for name in results[0].probabilities:
            flags = [flags_of(v, [name])[0] for v in labels]
            pairs = [(r.probabilities[name], f) for r, f in zip(results, flags, strict=True) if f is not None]
            if len({f for _, f in pairs}) == 2:
                per_class.append(roc_auc_score([f for _, f in pairs], [p for p, _ in pairs]))
        return sum(per_class) / len(per_class) if per_class else math.nan
    names = list(results[0].probabilities)
    if len(names) != 2:
        raise ValueError(f"roc_auc: got {len(names)} classes, expected two; use accuracy or f1")
    return float(
        roc_auc_score([str(v) == names[1] for v in labels], [r.probabilities[names[1]] for r in results])
    )


def _columns(results: Sequence[Number], labels: Sequence[Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each named number (prediction, label) of the items that have it."""
    columns = []
    for name in results[0].values:
        values = [v.get(name) if isinstance(v, Mapping) else v for v in labels]
        known = [
            (r.values[name], float(v))
            for r, v in zip(results, values, strict=True)
            if v is not None and v == v
        ]
        if known:
            found, wanted = torch.tensor(known, dtype=torch.float64).T
            columns.append((found, wanted))
    return columns


def _per_column(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., float]:
    def metric(results: Sequence[Number], labels: Sequence[Any]) -> float:
        values = [float(function(found, wanted)) for found, wanted in _columns(results, labels)]
        return sum(values) / len(values) if values else math.nan

    return metric


def _r2(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    from torchmetrics.functional.regression import r2_score

    return r2_score(found, wanted) if len(wanted) > 1 else torch.tensor(math.nan)


def _exact_match(results: Sequence[Text], labels: Sequence[str]) -> float:
    return sum(r.text == v for r, v in zip(results, labels, strict=True)) / len(labels)


def _references(labels: Sequence[Any]) -> list[list[str]]:
    return [[label] if isinstance(label, str) else list(label) for label in labels]


def _error_rate(name: str) -> Callable[..., float]:
    def metric(results: Sequence[Text], labels: Sequence[str]) -> float:
        from torchmetrics.functional import text

        function = getattr(text, name)
        return float(function([r.text for r in results], list(labels)))

    return metric


def _bleu(results: Sequence[Text], labels: Sequence[Any]) -> float:
    """SacreBLEU with its own tokenizer; characters of Chinese are told apart by ``zh``."""
    import sacrebleu

    references = _references(labels)
    most = max(len(r) for r in references)
    columns = [[r[i] if i < len(r) else r[0] for r in references] for i in range(most)]
    tokenizer = "zh" if any("\u4e00" <= c <= "\u9fff" for r in references[:50] for c in r[0]) else "13a"
    return sacrebleu.corpus_bleu([r.text for r in results], columns, tokenize=tokenizer).score


METRICS: dict[str, Callable[[Sequence[Any], Sequence[Any]], float]] = {
    "accuracy": _accuracy,
    "frame_accuracy": _accuracy,
    "f1": _f1,
    "roc_auc": _roc_auc,
    "r2": _per_column(_r2),
    "rmse": _per_column(lambda found, wanted: (found - wanted).square().mean().sqrt()),
    "mae": _per_column(lambda found, wanted: (found - wanted).abs().mean()),
    "exact_match": _exact_match,
    "word_error_rate": _error_rate("word_error_rate"),
    "character_error_rate": _error_rate("char_error_rate"),
    "bleu": _bleu,
}
"""Name -> function of (plain results, the user's labels)."""
