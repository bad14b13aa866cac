"""The function `calibrate`: fit a model's confidence to how often it is right on the dev split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from multiseq.batch import prepare_all
from multiseq.ensemble import Ensemble
from multiseq.heads.per_set import SetHead
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget, is_missing, named_flags
from multiseq.heads.verification import Verification, equal_error_rate, pairs_of
from multiseq.labels import class_name
from multiseq.model import Model, Predictor
from multiseq.nn.distance import TrainingDistance
from multiseq.nn.pool import pool
from multiseq.results import check_finite, digits
from multiseq.tasks import Source, listed
from multiseq.training.item_cache import ItemCache

__all__ = ["COVERAGE", "DECIDING", "calibrate", "forget_calibration"]

COVERAGE = 0.9
"""The share of true numbers that their intervals hold."""
LIKE_TRAINING = 0.99
"""The share of dev items that are not unlike the training data."""
DECIDING = 199
"""With fewer dev items, the farthest of them alone is the limit: 0.99 (n + 1) is above n - 1."""
MIN_ITEMS = 20
"""With fewer dev labels or items, probabilities and distances are not calibrated."""
MAX_ITEMS = 2000
"""The most dev items that are used of a source: they determine a few numbers only."""
MAX_ROWS = 20_000
"""The most labels that are used: a source of recordings has one for each 20 ms."""
MAX_EXAMPLES = 1000
"""The most training examples that a checkpoint keeps for a task: 1 MB at width 256."""
TEMPERATURES = (0.05, 20.0)
"""The range of temperatures. At its ends nearly all probabilities are 0 and 1, or all are equal."""


def calibrate(
    model: Predictor, dev: Sequence[Source], *, sources: Sequence[Source] = (), cache: ItemCache | None = None
) -> dict[str, str]:
    """Calibrate a trained model, in place, on items that it was not trained on. `save` keeps it.

    It changes no weight and no predicted class (only which of several classes at once are present):

    - *Classes*: the logits are divided by the temperature T that minimises the mean of -log p(label) on the
      dev labels (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Each of n labels is believed by
      (n + 1)/(n + 2) only (Platt 1999), so few labels that are all predicted correctly do not give T = 0.
    - *Several classes at once*: the same with the binary cross-entropy. For the metric F1, the threshold with
      the best micro F1 is chosen. It is one for all classes, as is optimal for micro F1 (Lipton et al. 2014,
      https://arxiv.org/abs/1402.1892).
    - *Numbers*: an interval around each prediction, which holds the true number with a probability of 90 %
      (split conformal prediction, Lei et al. 2018, https://arxiv.org/abs/1604.04173). Half its width is the
      ceil(0.9 (n + 1))-th smallest error on n dev labels. With n < 9 there is none.
    - *Pairs of items* (one class per set, with a ``margin``): what the cosine of two embeddings means
      (`Model.compare`), by logistic regression, and the threshold with the equal error rate. All pairs of dev
      items of one class count, and as many others. If dev has classes that training lacks, only their items
      count, with or without a margin: training has not turned their embeddings towards each other.
    - *Distance from the training data* (all tasks): see `multiseq.nn.distance.TrainingDistance`. The
      ceil(0.99 (n + 1))-th smallest distance of n dev items (the largest, if n < 99) counts as 1. Items of
      classes that training lacks do not count.

    A task with fewer than 20 dev labels keeps its probabilities; with fewer than 20 dev items or training
    examples, it gets no distance. The guarantees hold if the dev items are like the items to predict. If they
    chose the best weights before, intervals are slightly too narrow. Labels of vectors in one set resemble
    each other, so intervals of a task per vector need many sets.

    Of an ensemble, the combined predictions are calibrated, not the members: calibrated members that disagree
    are not sure enough together (Rahaman & Thiery 2021, https://arxiv.org/abs/2007.08792). Its distance from
    the training data stays the mean of its members' distances.

    Args:
        model: A trained model, or an ensemble.
        dev: Items with labels that were not trained on. At most 2,000 of each source are used.
        sources: The training sources. At most 1,000 examples are kept for each task. Without them, results
            have no distance.
        cache: Cache of prepared items, if training used one.

    Returns:
        Task -> what was set, in words.

    Raises:
        ValueError: A source does not fit the model, or an item or a label is invalid.

    Example:
        ``calibrate(model, [dev], sources=[source])``, then ``model.predict("mood", texts)[0].probability``
    """
    dev, sources = listed("dev", dev), listed("sources", sources)
    for task in {task for source in (*dev, *sources) for task in source.targets}:
        model.task(task)  # raises an error for an unknown one
    forget_calibration(model)
    by_task = {task: _Dev() for task in model.tasks}
    if isinstance(model, Model):
        for task, pooled in _pooled(model, sources, cache).items():
            model.set_distance(task, TrainingDistance.fit(pooled))
    for source in dev:
        if isinstance(model, Ensemble):
            _collect_combined(model, source, by_task, cache)
        elif isinstance(model, Model):
            _collect(model, source, by_task, cache)
    return {task: "; ".join(_fit_task(model, task, by_task[task])) for task in model.tasks}


def forget_calibration(model: Predictor) -> None:
    """Undo `calibrate`, in place. Training does so, because a calibration belongs to the weights."""
    for name, task in model.tasks.items():
        if isinstance(model, Model):
            model.set_distance(name, None)
        target = task.head.target
        if isinstance(target, ClassTarget | MultiLabelTarget):
            target.temperature = 1.0
        if isinstance(target, ClassTarget):
            target.verification = None
        if isinstance(target, MultiLabelTarget):
            target.threshold = 0.5
        if isinstance(target, NumberTarget):
            target.half_widths = []


# --- what the model says about the dev split ------------------------------------------------------


@dataclass
class _Dev:
    """A task's dev labels, and what the model says about them.

    Args:
        logits: The logits of labelled sets or vectors, ``(rows, size)`` each.
        labels: The label of each row.
        groups: A number for each row. The examples of one item share it, because `predict` averages them.
        distances: The distance of each item from the training data; of each set, if vectors have labels.
        embeddings: For one class per set, the embedding of each item, ``(items, dim)`` each.
        classes: The class of each of these items.
    """

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)


def _collect(model: Model, source: Source, by_task: dict[str, _Dev], cache: ItemCache | None) -> None:
    """Encode the items of a source once, and add what its tasks need to ``by_task``."""
    chosen = _spread(len(source.items), MAX_ITEMS)
    pieces = _prepared(model, source, chosen, cache)
    given = {task: [labels[i] for i in chosen] for task, labels in source.targets.items()}
    first = {task: max(by_task[task].groups, default=-1) + 1 for task in given}
    distances: dict[str, dict[tuple[int, int], list[float]]] = {task: {} for task in given}
    compared = {
        task: torch.zeros(len(chosen), model.encoder.dim) for task in given if _has_classes(model, task)
    }
    num_vectors = model.adapter(source.adapter_name).num_vectors
    every = sum(num_vectors(example) for examples in pieces for example in examples) // MAX_ROWS + 1
    for places, sets in model.encoded(source.adapter_name, pieces):
        for task, labels in given.items():
            head: Any = model.task(task).head
            if (distance := model.distance(task)) is not None:
                for (item, number), value in zip(places, distance(sets).tolist(), strict=True):
                    if task in compared and _is_new(head.target, labels[item]):
                        continue
                    # As in results: each set's, or the mean over an item's.
                    key = item, number if head.level == "vector" else 0
                    distances[task].setdefault(key, []).append(value)
            if task in compared:
                compared[task].index_add_(0, torch.tensor([i for i, _ in places]), head.embed(sets).cpu())
            if not isinstance(head.target, ClassTarget | MultiLabelTarget | NumberTarget):
                continue
            one_each = head.level == "set"
            chosen_labels = list(_labelled(model, task, labels, pieces, places))
            chosen_labels = chosen_labels[:: 1 if one_each else every]
            logits = head(sets)
            check_finite(logits, [1] * sets.num_sets if one_each else sets.lengths)
            dev = by_task[task]
            dev.logits.append(logits[[row for row, _, _ in chosen_labels]].double().cpu())
            dev.labels += [label for _, label, _ in chosen_labels]
            fresh = range(len(dev.groups), len(dev.groups) + len(chosen_labels))
            dev.groups += [first[task] + item for _, _, item in chosen_labels] if one_each else fresh
    for task, by_place in distances.items():
        by_task[task].distances += [sum(values) / len(values) for values in by_place.values()]
    for task, vectors in compared.items():
        by_task[task].embeddings.append(F.normalize(vectors, dim=-1))
        by_task[task].classes += map(class_name, given[task])


def _collect_combined(
    model: Ensemble, source: Source, by_task: dict[str, _Dev], cache: ItemCache | None
) -> None:
    """Like `_collect`, of the combined predictions of an ensemble."""
    chosen = _spread(len(source.items), MAX_ITEMS)
    pieces = _prepared(model, source, chosen, cache)
    places = [(item, number) for item, examples in enumerate(pieces) for number in range(len(examples))]
    kinds = ClassTarget | MultiLabelTarget | NumberTarget
    tasks: dict[str, dict[str, Any]] = {
        task: {} for task in source.targets if isinstance(model.task(task).head.target, kinds)
    }
    for task, runs in model.run_prepared(source.adapter_name, pieces, tasks).items():
        one_each = model.task(task).head.level == "set"
        results = [one for run in runs for _, result in run for one in ([result] if one_each else result)]
        labels = [source.targets[task][i] for i in chosen]
        chosen_labels = list(_labelled(model, task, labels, pieces, places))
        chosen_labels = chosen_labels[:: 1 if one_each else len(results) // MAX_ROWS + 1]
        dev = by_task[task]
        dev.logits.append(model.logits(task, [results[row] for row, _, _ in chosen_labels]))
        dev.labels += [label for _, label, _ in chosen_labels]
        first = max(dev.groups, default=-1) + 1
        dev.groups += [
            first + (item if one_each else number) for number, (_, _, item) in enumerate(chosen_labels)
        ]


def _labelled(
    model: Predictor,
    task: str,
    labels: Sequence[Any],
    pieces: Sequence[Sequence[Any]],
    places: Sequence[tuple[int, int]],
) -> Iterator[tuple[int, Any, int]]:
    """(row among the logits, label, item number) of everything whose label is there and known."""
    head, align = model.task(task).head, model.adapter(model.task(task).adapter_name).align
    names = model.adapter(model.task(task).adapter_name).names
    row = 0
    for item, number in places:
        label, example = labels[item], pieces[item][number]
        if head.level == "set":
            aligned: Sequence[Any] = [label]
        else:
            aligned = [None] * len(names(example)) if label is None else align(label, example)
        for one in aligned:
            if not is_missing(head.target, one) and _knows_classes(head.target, one):
                yield row, one, item
            row += 1


def _has_classes(model: Model, task: str) -> bool:
    """Whether a task has one class per set, so that its items can be compared."""
    head: Any = model.task(task).head
    return isinstance(head, SetHead) and isinstance(head.target, ClassTarget)


def _is_new(target: ClassTarget, label: Any) -> bool:
    """Whether training lacks the class of a label."""
    name = class_name(label)
    return name is not None and not target.knows(name)


def _knows_classes(target: Any, label: Any) -> bool:
    """Whether training has all classes of a label."""
    if isinstance(target, ClassTarget):
        return target.knows(str(class_name(label)))
    return not isinstance(target, MultiLabelTarget) or all(map(target.knows, named_flags(label)))


def _pooled(model: Model, sources: Sequence[Source], cache: ItemCache | None) -> dict[str, Tensor]:
    """Task -> the pooled training sets, ``(sets, dim)``; only for tasks that have enough of them."""
    vectors: dict[str, list[Tensor]] = {}
    for source in sources:
        pieces = _prepared(model, source, _spread(len(source.items), MAX_EXAMPLES), cache)
        flat = [example for examples in pieces for example in examples]
        some = [[flat[i]] for i in _spread(len(flat), MAX_EXAMPLES)]
        pooled = [pool(sets) for _, sets in model.encoded(source.adapter_name, some)]
        for task in source.targets:
            vectors.setdefault(task, []).extend(pooled)
    joined = {task: torch.cat(of_task) for task, of_task in vectors.items() if of_task}
    return {
        task: table[_spread(len(table), MAX_EXAMPLES)]
        for task, table in joined.items()
        if len(table) >= MIN_ITEMS
    }


def _prepared(
    model: Predictor, source: Source, chosen: Sequence[int], cache: ItemCache | None
) -> list[list[Any]]:
    adapter = model.adapter(source.adapter_name)
    if cache is not None:  # it has prepared all of them
        examples = cache.examples(adapter, source.items, source.locations)
        return [examples[i] for i in chosen]
    locations = [source.locations[i] for i in chosen] if source.locations else [f"item {i}" for i in chosen]
    return prepare_all(adapter, [source.items[i] for i in chosen], locations)


def _spread(num: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``num``, evenly spread.

    >>> _spread(3, 5), _spread(10, 4)
    ([0, 1, 2], [0, 2, 5, 7])
    """
    return list(range(num)) if num <= most else [i * num // most for i in range(most)]


# --- fitting --------------------------------------------------------------------------------------


def _fit_task(model: Predictor, task: str, dev: _Dev) -> Iterator[str]:
    """Set what the dev labels of a task determine; say what it was."""
    target = model.task(task).head.target
    if isinstance(target, ClassTarget | MultiLabelTarget | NumberTarget):
        yield _fit_target(target, dev, model.task(task).metric)
    if isinstance(target, ClassTarget) and dev.embeddings:
        yield from _fit_verification(target, torch.cat(dev.embeddings), dev.classes)
    if not isinstance(model, Model):
        return
    distance = model.distance(task)
    if distance is not None and len(dev.distances) >= MIN_ITEMS:
        limit = quantile(torch.tensor(dev.distances), LIKE_TRAINING)
        # The largest of fewer than 99 distances. Copies of training items in dev would make the limit 0.
        distance.limit.fill_(max(max(dev.distances) if limit is None else limit, 1e-3))
        few = (
            f", up to the farthest of {len(dev.distances)} dev items" if len(dev.distances) < DECIDING else ""
        )
        yield f"distances from {len(distance.examples):,} training examples{few}"
    else:
        model.set_distance(task, None)
        yield f"no distance from the training data, with {len(dev.distances)} dev items"


def _fit_target(target: ClassTarget | MultiLabelTarget | NumberTarget, dev: _Dev, metric: str) -> str:
    groups, group = torch.unique(torch.tensor(dev.groups, dtype=torch.long), return_inverse=True)
    by_group = dict(zip(group.tolist(), dev.labels, strict=True))
    labels = target.batch([by_group[i] for i in range(len(groups))])
    logits = torch.cat(dev.logits) if dev.logits else torch.zeros(0, target.size)
    if isinstance(target, NumberTarget):
        return _fit_intervals(target, _mean(logits, group, len(groups)), labels.double())
    if len(groups) < MIN_ITEMS:
        return f"not calibrated, with {len(groups)} dev labels (at least {MIN_ITEMS} are needed)"
    if isinstance(target, ClassTarget):
        target.temperature = class_temperature(logits, labels, group)
        return f"temperature {target.temperature:.2f} from {len(groups):,} dev labels"
    target.temperature = flag_temperature(logits, labels, group)
    if metric == "f1":
        target.threshold = f1_threshold(
            _mean((logits / target.temperature).sigmoid(), group, len(groups)), labels
        )
    return (
        f"temperature {target.temperature:.2f} and threshold {target.threshold:.2f} from {len(groups):,} "
        "dev labels"
    )


def _fit_verification(
    target: ClassTarget, vectors: Float[Tensor, "items dim"], classes: Sequence[str | None]
) -> Iterator[str]:
    """Set what cosines mean, from pairs of classes that training lacks, or of all if there is a margin."""
    new = [row for row, name in enumerate(classes) if _is_new(target, name)]
    known = [row for row, name in enumerate(classes) if name is not None] if target.margin else []
    for rows in (new, known):
        some = [rows[i] for i in _spread(len(rows), MAX_ITEMS)]
        first, second, same = pairs_of([classes[row] for row in some], most=MAX_ROWS)
        num_same = int(same.sum())
        if min(num_same, len(same) - num_same) >= MIN_ITEMS:
            cosines = (vectors[some][first] * vectors[some][second]).sum(-1)
            rate, _ = equal_error_rate(cosines, same)
            target.verification = Verification.fit(cosines, same)
            yield (
                f"same class from a cosine of {target.verification.threshold:.2f}: equal error rate "
                f"{rate:.1%} on {len(same):,} pairs of dev items"
            )
            return


def _fit_intervals(target: NumberTarget, predicted: Tensor, labels: Tensor) -> str:
    errors = [column[~column.isnan()] for column in (predicted - labels).abs().T]
    halves = [quantile(column, COVERAGE) for column in errors]
    known = [half for half in halves if half is not None]
    if len(known) < len(halves):
        return f"no intervals, with {min(map(len, errors))} dev labels (at least 9 are needed)"
    target.half_widths = known
    widths = [digits(half * std, std) for half, std in zip(known, target.std, strict=True)]
    unit = f" {target.unit}" if target.unit else ""
    return f"{COVERAGE:.0%} intervals of ± {', '.join(widths)}{unit} from {len(labels):,} dev labels"


def class_temperature(
    logits: Float[Tensor, "rows classes"], labels: Int[Tensor, " labels"], group: Int[Tensor, " rows"]
) -> float:
    """The temperature with the smallest cross-entropy; the rows of a group are averaged as probabilities.

    Args:
        logits: The logits.
        labels: The class number of each label.
        group: For each row the number of its label.
    """
    doubt = 1 / (len(labels) + 2)

    def loss(temperature: float) -> float:
        table = _log_mean((logits / temperature).log_softmax(1), group, len(labels))
        right = table.gather(1, labels[:, None])[:, 0]
        return -float(((1 - doubt) * right + doubt * table.mean(1)).mean())

    return _best_temperature(loss)


def flag_temperature(
    logits: Float[Tensor, "rows classes"], flags: Float[Tensor, "labels classes"], group: Int[Tensor, " rows"]
) -> float:
    """Like `class_temperature`, with the binary cross-entropy of flags: 1, 0, or NaN if missing."""
    known = ~flags.isnan()
    doubt = 1 / (int(known.sum()) + 2)
    believed = flags.double() * (1 - doubt) + doubt / 2

    def loss(temperature: float) -> float:
        present, absent = (
            _log_mean(F.logsigmoid(sign * logits / temperature), group, len(flags)) for sign in (1, -1)
        )
        return -float((believed * present + (1 - believed) * absent)[known].mean())

    return _best_temperature(loss)


def _best_temperature(loss: Callable[[float], float]) -> float:
    """The minimum by golden section over log T. For one row a label, the loss is convex in 1/T."""
    low, high = map(math.log, TEMPERATURES)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(30):  # 6 * 0.618^30: an error of 0.0003 % of T
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(math.exp(left)) < loss(math.exp(right)):
            high = right
        else:
            low = left
    best = math.exp((low + high) / 2)
    return best if loss(best) < loss(1.0) else 1.0


def f1_threshold(shares: Float[Tensor, "labels classes"], flags: Float[Tensor, "labels classes"]) -> float:
    """The threshold of probabilities with the best micro F1: 2 hits / (predicted + present).

    It lies halfway between two probabilities. It is 0.5 if there are fewer than 20 flags of either kind, or
    if no other threshold is better.
    """
    known = ~flags.isnan()
    shares, order = shares[known].double().sort(descending=True)
    present = flags[known][order].double()
    if min(int(present.sum()), int((1 - present).sum())) < MIN_ITEMS:
        return 0.5
    numbers = torch.arange(1, len(shares) + 1)
    f1 = 2 * present.cumsum(0) / (numbers + present.sum())
    f1[:-1][shares[:-1] == shares[1:]] = 0  # a threshold cannot separate equal probabilities
    best = int(f1.argmax())
    taken = int((shares >= 0.5).sum())
    if taken and f1[best] <= f1[taken - 1]:
        return 0.5
    return float(shares[best : best + 2].mean())


def quantile(values: Float[Tensor, " values"], share: float) -> float | None:
    """The value that a further one does not exceed with a probability of at least ``share``.

    It is number ceil(share * (n + 1)) of n values, counted from the smallest. None if there are too few.

    >>> quantile(torch.arange(1.0, 10.0), 0.9), quantile(torch.arange(8.0), 0.9)
    (9.0, None)
    """
    number = math.ceil(share * (len(values) + 1) - 1e-9)  # 0.9 * 10 may be 9.000000000000002
    return float(values.kthvalue(number).values) if number <= len(values) else None


def _mean(rows: Tensor, group: Tensor, num: int) -> Tensor:
    """The mean of the rows of each group, ``(num, columns)``."""
    counts = torch.bincount(group, minlength=num)[:, None]
    return rows.new_zeros(num, rows.shape[1]).index_add(0, group, rows) / counts


def _log_mean(logs: Tensor, group: Tensor, num: int) -> Tensor:
    """The logarithm of the mean of ``exp(logs)`` of each group; no number becomes infinite."""
    index = group[:, None].expand_as(logs)
    highest = logs.new_full((num, logs.shape[1]), -math.inf).scatter_reduce(0, index, logs, "amax")
    return _mean((logs - highest[group]).exp(), group, num).log() + highest
