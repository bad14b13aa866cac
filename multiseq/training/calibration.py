"""Calibration: whether predictions with a probability of 80 % are right in 80 % of the cases.

The bins are the points of a reliability diagram, and the calibration error sums up how far they are from its
diagonal. Source: Guo et al. 2017, "On calibration of modern neural networks",
https://arxiv.org/abs/1706.04599.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["NUM_BINS", "ReliabilityBin", "calibration_error", "reliability_bins"]

NUM_BINS = 15
"""The number of bins in Guo et al. 2017."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of similar confidence: one point of a reliability diagram.

    Args:
        confidence: The mean of their probabilities, from 0 to 1.
        accuracy: The share of them that are correct, from 0 to 1.
        count: Their number.
    """

    confidence: float
    accuracy: float
    count: int


def reliability_bins(
    confidence: Sequence[float] | Float[Tensor, " predictions"],
    correct: Sequence[bool] | Tensor,
    num_bins: int = NUM_BINS,
) -> list[ReliabilityBin]:
    """Group predictions by confidence into bins of equally many predictions, from low to high.

    Bins of equal mass, not of equal width as in Guo et al.: a trained model is nearly sure of most items, so
    nearly all of them would be in the last bin, and the others would hold a few items each. The calibration
    error of few items is too high, and bins of equal mass lessen that (Roelofs et al. 2022,
    https://arxiv.org/abs/2012.08668). Predictions of equal confidence share a bin, so the order of the
    predictions changes nothing; there may be fewer than ``num_bins`` bins.

    Args:
        confidence: The probability of each predicted class, from 0 to 1. For several classes at once
            (multi-label): the probability of every class of every item.
        correct: Whether each prediction is correct. Multi-label: whether the item has the class.
        num_bins: The largest number of bins.

    Raises:
        ValueError: The lengths differ, a confidence is not from 0 to 1, or there is less than one bin.

    Example:
        >>> reliability_bins([0.9, 0.5, 0.7, 0.5], [True, False, True, True], num_bins=2)
        ... # doctest: +NORMALIZE_WHITESPACE
        [ReliabilityBin(confidence=0.5, accuracy=0.5, count=2),
         ReliabilityBin(confidence=0.8, accuracy=1.0, count=2)]
    """
    shares = torch.as_tensor(confidence, dtype=torch.float64).cpu()
    right = torch.as_tensor(correct).cpu().double()
    if len(shares) != len(right):
        raise ValueError(f"correct: got {len(right)} for {len(shares)} confidences, expected one for each")
    if num_bins < 1:
        raise ValueError(f"num_bins: got {num_bins}, expected 1 or more")
    if not bool(((shares >= 0) & (shares <= 1)).all()):
        raise ValueError("confidence: got a number outside of 0 to 1 or NaN, expected probabilities")
    if not len(shares):
        return []
    shares, order = shares.sort()
    right = right[order]
    cuts = [-(-len(shares) * i // num_bins) for i in range(1, num_bins + 1)]
    values = shares[[cut - 1 for cut in cuts]]
    low, high = (torch.searchsorted(shares, values, right=side).tolist() for side in (False, True))
    # A cut among equal confidences moves to the nearer end of them.
    moved = [b if b - cut <= cut - a else a for cut, a, b in zip(cuts, low, high, strict=True)]
    ends = sorted({*moved, len(shares)} - {0})
    sizes = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    pairs = zip(shares.split(sizes), right.split(sizes), strict=True)
    return [ReliabilityBin(p.mean().item(), c.mean().item(), len(p)) for p, c in pairs]


def calibration_error(
    confidence: Sequence[float] | Float[Tensor, " predictions"],
    correct: Sequence[bool] | Tensor,
    num_bins: int = NUM_BINS,
) -> float:
    """The expected calibration error: how far confidence is from accuracy, from 0 (best) to 1.

    ECE = sum over bins b of (count_b / count) * |accuracy_b - confidence_b|  (Guo et al. 2017, equation 5),
    with the bins of `reliability_bins`; arguments and errors as there. Of few predictions it is too high: for
    100 predictions of a perfectly calibrated model 0.12 on average.

    Returns:
        The error; NaN without predictions.

    Example:
        >>> round(calibration_error([0.9, 0.5, 0.7, 0.5], [True, False, True, True], num_bins=2), 3)
        0.1
    """
    bins = reliability_bins(confidence, correct, num_bins)
    count = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / count if count else math.nan
