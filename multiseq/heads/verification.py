"""Verification: whether two items are of one class, also of classes that training has not seen.

Speaker and face verification compare the embeddings of two items (`Model.compare`). What a cosine means is
learned from pairs of dev items.

Axes: items, pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multiseq.results import Similarity

__all__ = ["Verification", "equal_error_rate", "pairs_of"]


@dataclass(frozen=True)
class Verification:
    """What the cosine of two embeddings says about their classes.

    ``P(same class) = sigmoid(slope * cosine + intercept)``; from ``threshold`` on, they count as the same.

    Args:
        slope: Logistic regression's weight of the cosine.
        intercept: Its constant.
        threshold: The lowest cosine that counts as the same class.

    Raises:
        ValueError: A number is not finite.
    """

    slope: float
    intercept: float
    threshold: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise ValueError(f"verification: {name}: got {value}, expected a finite number")

    @classmethod
    def fit(cls, cosines: Float[Tensor, " pairs"], same: Bool[Tensor, " pairs"]) -> Verification:
        """From the cosines of pairs, and whether each pair is of one class; at least one pair of each kind.

        The threshold is that of `equal_error_rate`. Of n pairs of a kind, each is believed by (n + 1)/(n + 2)
        only (Platt 1999), so that the slope stays finite if a cosine separates all of them.
        """
        x, there = cosines.double().cpu(), same.cpu()
        most, least = ((int(kind.sum()) + 1) / (int(kind.sum()) + 2) for kind in (there, ~there))
        believed = torch.where(there, most, 1 - least).double()
        mean, std = x.mean(), x.std().clamp(min=1e-6)
        line = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # of standardised cosines
        search = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            logits = line[0] * (x - mean) / std + line[1]
            value = F.binary_cross_entropy_with_logits(logits, believed)
            value.backward()
            return value

        search.step(loss)
        slope = float(line[0].detach() / std)
        intercept = float(line[1].detach()) - slope * float(mean)
        return cls(slope, intercept, equal_error_rate(cosines, same)[1])

    def similarity(self, cosine: float) -> Similarity:
        """What a cosine says about two items."""
        logit = torch.tensor(self.slope * cosine + self.intercept, dtype=torch.float64)
        return Similarity(cosine, logit.sigmoid().item(), cosine >= self.threshold)

    def config(self) -> dict[str, Any]:
        """The numbers as plain JSON values; ``Verification(**config)`` is the inverse."""
        return asdict(self)


def equal_error_rate(scores: Float[Tensor, " pairs"], same: Bool[Tensor, " pairs"]) -> tuple[float, float]:
    """The error where as large a share of different pairs is accepted as of same pairs is rejected (EER).

    A pair is accepted if its score is at least a threshold. Equal scores are accepted or rejected together;
    if the two shares are not equal at any threshold, the rate is interpolated between the nearest two.

    Args:
        scores: The score of each pair; higher ones are for the same class.
        same: Whether each pair is of one class.

    Returns:
        The rate, from 0 to 1, and the threshold with the most equal shares: halfway between two scores.

    Raises:
        ValueError: There is no pair of one of the two kinds.

    Example:
        >>> scores = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.6, 0.4, 0.2, 0.1])
        >>> same = torch.tensor([True] * 4 + [False] * 4)
        >>> rate, threshold = equal_error_rate(scores, same)
        >>> rate, round(threshold, 2)  # 0.6 is accepted, and 0.3 rejected
        (0.25, 0.5)
    """
    scores, same = scores.double().cpu(), same.cpu()
    num_same, num_different = int(same.sum()), int((~same).sum())
    if not num_same or not num_different:
        raise ValueError(f"same: got {num_same} same and {num_different} different pairs, expected both")
    distinct, place = scores.unique(return_inverse=True)
    counts = torch.zeros(2, len(distinct), dtype=torch.float64)
    counts.index_put_((same.long(), place), torch.ones(len(scores), dtype=torch.float64), accumulate=True)
    # Entry i: the i lowest scores are rejected.
    rejected = F.pad(counts.cumsum(1), (1, 0))
    accepts, rejects = 1 - rejected[0] / num_different, rejected[1] / num_same
    gap = accepts - rejects  # falls from 1 to -1
    after = int((gap <= 0).nonzero()[0])
    part = gap[after - 1] / (gap[after - 1] - gap[after])
    rate = accepts[after - 1] + part * (accepts[after] - accepts[after - 1])
    best = after if -gap[after] <= gap[after - 1] else after - 1
    around = distinct[max(best - 1, 0) : best + 1]  # at the ends there is one score only
    return float(rate), float(around.mean()) if best < len(distinct) else math.nextafter(float(around[-1]), 2)


def pairs_of(
    classes: Sequence[Any], *, most: int | None = None
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], Bool[Tensor, " pairs"]]:
    """Pairs of items: all of one class, and as many random ones of two classes (seed 0), if there are.

    Args:
        classes: The class of each item.
        most: At most so many pairs of each kind; which ones is random. Default: no limit.

    Returns:
        For each pair the number of its first and of its second item, and whether they are of one class.

    >>> first, second, same = pairs_of(["a", "b", "a"])
    >>> first.tolist(), second.tolist(), same.tolist()
    ([0, 0], [2, 1], [True, False])
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(classes))}
    of_item = torch.tensor([numbers[name] for name in classes], dtype=torch.long)
    first, second = torch.triu_indices(len(of_item), len(of_item), 1)
    same = of_item[first] == of_item[second]
    generator = torch.Generator().manual_seed(0)
    alike, apart = (kind.nonzero()[:, 0] for kind in (same, ~same))
    alike = _some(alike, len(alike) if most is None else most, generator)
    chosen = torch.cat([alike, _some(apart, len(alike), generator)])
    return first[chosen], second[chosen], same[chosen]


def _some(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:most]]
