"""Pooling: one vector for each set, by mean, sum or attention weights. Axes: vectors, sets, dim."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from multiseq.vectors import VectorSets, to_device

__all__ = ["Pool", "pool"]

Pool = Literal["mean", "sum", "attention"]


def pool(
    sets: VectorSets, how: Pool = "mean", scores: Float[Tensor, " vectors"] | None = None
) -> Float[Tensor, "sets dim"]:
    """Combine the vectors of each set into one vector. An empty set gets zeros.

    Args:
        sets: The sets.
        how: ``mean``, ``sum``, or ``attention``: a weighted sum. Its weights are the softmax over the scores
            of a set.
        scores: A score for each vector; only for ``attention``.

    Raises:
        ValueError: ``attention`` without scores.

    >>> pool(VectorSets(torch.tensor([[1.0], [3.0], [5.0]]), [2, 0, 1])).tolist()
    [[2.0], [0.0], [5.0]]
    """
    index = sets.set_index
    values = sets.values
    if how == "attention":
        if scores is None:
            raise ValueError("pool: attention needs scores, one for each vector")
        values = values * _softmax_per_set(scores.float(), index, sets.num_sets).to(values.dtype)[:, None]
    total = values.new_zeros(sets.num_sets, sets.dim).index_add(0, index, values)
    if how != "mean":
        return total
    lengths = to_device(torch.tensor(sets.lengths, dtype=total.dtype).clamp(min=1), total.device)
    return total / lengths[:, None]


def _softmax_per_set(scores: Tensor, index: Tensor, num_sets: int) -> Tensor:
    highest = scores.new_full((num_sets,), float("-inf")).scatter_reduce(0, index, scores.detach(), "amax")
    weights = (scores - highest[index]).exp()
    return weights / weights.new_zeros(num_sets).index_add(0, index, weights)[index]
