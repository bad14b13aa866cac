"""Findings in predictions: scores by class, the worst and the least sure items, suspected label errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from multiseq.heads.targets import flags_of, named_flags, number_of
from multiseq.labels import class_name
from multiseq.plots import spread
from multiseq.results import Label, LabelSet, Number, Text

if TYPE_CHECKING:
    from multiseq.training.evaluation import Judged

__all__ = [
    "ClassScore",
    "Suspect",
    "Unit",
    "badness",
    "by_class",
    "doubt",
    "flags",
    "is_wrong",
    "label_text",
    "numbers",
    "suspects",
    "units",
]

FEW_ITEMS = 8
"""With fewer items than this, single vectors are ranked: a network is one item of thousands of nodes."""

MOST = 50_000
"""Predictions that are searched for label errors. A table of their probabilities is in memory at once."""


# --- scores by class ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is predicted.

    Args:
        name: The class.
        count: Items (or vectors) that have it.
        predicted: Items that are predicted to have it.
        right: Items for which both are true.
    """

    name: str
    count: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        """Right / predicted; NaN if it is never predicted."""
        return self.right / self.predicted if self.predicted else math.nan

    @property
    def recall(self) -> float:
        """Right / count; NaN if no item has it."""
        return self.right / self.count if self.count else math.nan

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall: 2 right / (count + predicted)."""
        return 2 * self.right / max(1, self.count + self.predicted)


def by_class(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> list[ClassScore]:
    """The scores of each class, the most frequent class first. An item has one class or several.

    >>> [(s.name, s.count, s.precision, s.recall) for s in by_class([["a"], ["a"]], [["a"], ["b"]])]
    [('a', 2, 1.0, 0.5), ('b', 0, 0.0, nan)]
    """
    wanted, given, right = Counter[str](), Counter[str](), Counter[str]()
    for true, predicted in zip(labels, predictions, strict=True):
        wanted.update(true)
        given.update(predicted)
        right.update(set(true) & set(predicted))
    scores = [ClassScore(name, wanted[name], given[name], right[name]) for name in {**wanted, **given}]
    return sorted(scores, key=lambda score: (-score.count, score.name))


# --- what is judged -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """What is ranked and shown: an item, or one vector of an item.

    Args:
        judged: The predictions for the item.
        vector: The number of the vector; None for the whole item.
        several: Whether a whole item has a label for each of its vectors.
    """

    judged: Judged
    vector: int | None = None
    several: bool = False

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Its pairs (prediction, label)."""
        if self.vector is None:
            return self.judged.pairs
        return [(self.judged.results[self.vector], self.judged.labels[self.vector])]


def units(judged: Sequence[Judged], level: str, most: int) -> list[Unit]:
    """The items that have a label, or their labelled vectors if there are few items; at most ``most``."""
    if level == "vector" and len(judged) < FEW_ITEMS:
        every = [Unit(one, i) for one in judged for i, label in enumerate(one.labels) if label is not None]
    else:
        known = [one for one in judged if any(label is not None for label in one.labels)]
        every = [Unit(one, several=level == "vector") for one in known]
    return [every[i] for i in spread(len(every), most)]


def is_wrong(result: Any, label: Any) -> bool:
    """Whether a predicted class, set of classes or text differs from the label. A number is never wrong."""
    if isinstance(result, Label):
        return class_name(result.label) != class_name(label)
    if isinstance(result, LabelSet):
        return any(predicted != wanted for predicted, wanted, _ in flags(result, label))
    return isinstance(result, Text) and result.text not in ([label] if isinstance(label, str) else label)


def label_text(label: Any) -> str:
    """A user's label as a text. Of several correct texts, the first."""
    if isinstance(label, list | tuple | set):
        label = list(label)
        return str(label[0]) if len(label) == 1 else ", ".join(map(str, label))
    if isinstance(label, dict):
        return ", ".join(f"{name}: {value}" for name, value in label.items())
    return f"{label:.6g}" if isinstance(label, float) else str(class_name(label) or "")


def flags(result: LabelSet, label: Any) -> list[tuple[bool, bool, str]]:
    """(predicted, true, name) for every class whose flag is known."""
    predicted = {class_name(name) for name in result.labels}
    names = list(dict.fromkeys([*map(str, map(class_name, result.probabilities)), *named_flags(label)]))
    wanted = zip(names, flags_of(label, names), strict=True)
    return [(name in predicted, flag, name) for name, flag in wanted if flag is not None]


def numbers(result: Number, label: Any) -> dict[str, tuple[float, float]]:
    """Name -> (predicted, measured) for every number with a label."""
    pairs = {name: (value, number_of(label, name)) for name, value in result.values.items()}
    return {name: pair for name, pair in pairs.items() if not math.isnan(pair[1])}


def badness(unit: Unit) -> float:
    """How bad a prediction is, to rank items. Higher is worse; 0 is perfect.

    A class: the logarithm of the probability of the true class, with its sign changed. Several classes: the
    mean of that over the classes. Numbers: the error in standard deviations of the training labels. A text:
    the share of characters that differ. Of vectors: the mean over an item's vectors, as if there were two
    perfect ones more (so that one wrong word does not rank above ten).
    """
    worst = [_badness(result, label) for result, label in unit.pairs]
    return sum(worst) / max(1, len(worst) + 2 * unit.several)


def _badness(result: Any, label: Any) -> float:
    if isinstance(result, Label):
        shares = {class_name(name): p for name, p in result.probabilities.items()}
        return -math.log(max(shares.get(class_name(label), 0.0), 1e-12))
    if isinstance(result, LabelSet):
        shares = {str(class_name(name)): p for name, p in result.probabilities.items()}
        known = [(shares.get(name, 0.0), wanted) for _, wanted, name in flags(result, label)]
        losses = [-math.log(max(p if wanted else 1 - p, 1e-12)) for p, wanted in known]
        return sum(losses) / max(1, len(losses))
    if isinstance(result, Number):
        off = [abs(a - b) / (result.scales.get(n) or 1.0) for n, (a, b) in numbers(result, label).items()]
        return sum(off) / max(1, len(off))
    if isinstance(result, Text):
        from difflib import SequenceMatcher

        texts = [label] if isinstance(label, str) else label
        return min(1 - SequenceMatcher(None, text, result.text, autojunk=False).ratio() for text in texts)
    return float(result != label)


def doubt(unit: Unit) -> float | None:
    """How unsure the model is, from 0; None if its predictions do not say.

    1 - the lowest probability of a predicted class; the width of the widest interval of a number; of a text,
    the negative log-probability for each character.
    """
    known = [value for result, _ in unit.pairs if (value := _doubt(result)) is not None]
    return max(known, default=None)


def _doubt(result: Any) -> float | None:
    if isinstance(result, Label):
        return 1 - result.probability
    if isinstance(result, LabelSet):
        return max((0.5 - abs(p - 0.5) for p in result.probabilities.values()), default=None)
    if isinstance(result, Number):
        ends = getattr(result, "intervals", None) or {}
        return max((high - low for low, high in ends.values()), default=None)
    return -result.score / (len(result.text) + 1) if isinstance(result, Text) else None


# --- suspected label errors -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is probably wrong.

    Args:
        place: Its number among the given ones.
        label: The given label.
        better: The class that the model takes for the true one.
        probability: The probability of that class.
    """

    place: int
    label: str
    better: str
    probability: float


def suspects(results: Sequence[Label], labels: Sequence[Any]) -> list[Suspect]:
    """Labels that are probably wrong, by confident learning; the most suspicious first.

    A label i is suspected if the probability of another class j is at least t_j = the mean probability of j
    among the items that are labelled j: so sure is the model of a typical item of that class. Of several such
    classes, the most probable one counts; i itself counts too. They are sorted by the probability of j minus
    that of i. Source: Northcutt et al. 2021, "Confident learning", https://arxiv.org/abs/1911.00068, section
    3.1, without the estimate of how many errors there are. The predictions must be for items that were not
    trained on.

    >>> sure = {"a": 0.9, "b": 0.1}
    >>> results = [Label("a", 0.9, sure), Label("a", 0.9, sure), Label("b", 0.8, {"a": 0.2, "b": 0.8})]
    >>> suspects([*results, results[0]], ["a", "a", "b", "b"])
    [Suspect(place=3, label='b', better='a', probability=0.9)]
    """
    if not results or len(results[0].probabilities) < 2:
        return []
    names = [str(class_name(name)) for name in results[0].probabilities]
    number = {name: i for i, name in enumerate(names)}
    places = [i for i, label in enumerate(labels) if str(class_name(label)) in number]
    if not places:
        return []
    table = np.array([list(results[i].probabilities.values()) for i in places], dtype=np.float32)
    given = np.array([number[str(class_name(labels[i]))] for i in places])
    counts = np.bincount(given, minlength=len(names))
    confidence = np.bincount(given, weights=table[np.arange(len(given)), given], minlength=len(names))
    least = np.where(counts > 0, confidence / counts.clip(1), np.inf)  # nobody knows how sure is sure enough
    sure = np.where(table >= least - 1e-6, table, -1.0)
    best = sure.argmax(1)
    doubtful = np.flatnonzero((best != given) & (sure.max(1) >= 0))
    margins = table[doubtful, best[doubtful]] - table[doubtful, given[doubtful]]
    return [
        Suspect(places[i], names[given[i]], names[best[i]], float(round(float(table[i, best[i]]), 6)))
        for i in doubtful[np.argsort(-margins, kind="stable")].tolist()
    ]
