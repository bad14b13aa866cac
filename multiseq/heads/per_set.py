"""A head that reads a label per set from encoded sets.

What a label is (one class, several, numbers) belongs to the target; the head only brings a set to the
target's size.

Axes: vectors, sets, dim, size (numbers that the target wants for a label).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads._shared import inference
from multiseq.heads.targets import target_from_config
from multiseq.protocols import Level, RowTarget
from multiseq.results import check_finite
from multiseq.vectors import VectorSets, to_device

__all__ = ["Pool", "SetHead", "pool"]

Pool = Literal["mean", "sum", "attention"]


class SetHead(nn.Module):
    """One label per set: pool the vectors, then a small network to the target's size.

    ``mean`` is that of the vectors. ``sum`` puts their sum beside it, in sixteenths, so that both are of
    one size at first; it suits quantities that grow with the set (a molecule's solubility). ``attention``
    weighs every vector by a learned score, ``softmax_i(w · x_i)`` within the set (Lee et al. 2019,
    https://arxiv.org/abs/1810.00825, with one learned query and one head). An empty set pools to zeros.

    Args:
        dim: Width of the encoded vectors.
        target: What a label is.
        pool: How the vectors of a set become one.
        dropout: On the pooled vector, in training.
    """

    level: Level = "set"

    def __init__(self, dim: int, target: RowTarget, *, pool: str = "attention", dropout: float = 0.1) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ValueError(f"pool: got {pool!r}, expected mean, sum or attention")
        self.dim, self.target, self.dropout = dim, target, dropout
        self.pool = cast(Pool, pool)
        self.score = nn.Linear(dim, 1) if pool == "attention" else None
        self.read = nn.Sequential(
            nn.Linear(2 * dim if pool == "sum" else dim, dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(dim, target.size),
        )

    def forward(self, sets: VectorSets) -> Float[Tensor, "sets size"]:
        """The target's numbers for every set."""
        scores = None if self.score is None else self.score(sets.values)[:, 0]
        pooled = pool(sets, self.pool, scores)
        if self.pool == "sum":
            pooled = torch.cat([pool(sets, "mean"), pooled / 16], dim=-1)
        logits: Tensor = self.read(pooled)
        return logits

    def loss(self, sets: VectorSets, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses, and how many labels were there."""
        return self.target.loss(self(sets), targets)

    def decode(self, sets: VectorSets) -> list[Any]:
        """One result for each set. Raises `NotFiniteError` on NaN and infinity."""
        with inference(self):
            logits = self(sets)
            check_finite(logits, [1] * sets.num_sets)
            return self.target.decode(logits)

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        target = self.target.config()
        return {"kind": "set", "dim": self.dim, "pool": self.pool, "dropout": self.dropout, "target": target}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SetHead:
        """The inverse of :meth:`config`."""
        target = target_from_config(config["target"])
        return cls(config["dim"], target, pool=config["pool"], dropout=config["dropout"])


def pool(
    sets: VectorSets, how: Pool = "mean", scores: Float[Tensor, " vectors"] | None = None
) -> Float[Tensor, "sets dim"]:
    """One vector for each set; zeros for an empty one.

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
