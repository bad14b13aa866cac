"""Set head: one label per set (sequence classification, graph classification, regression).

The target defines what a label is (a class, several classes, numbers). The head pools each set and maps it to
the numbers (logits) that the target needs.

Axes: vectors, sets, dim, size (the numbers that the target needs for one label).
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
    """One label per set: pool the vectors of a set, then apply a small feed-forward network.

    Pooling is one of three. ``mean`` averages the vectors. ``sum`` concatenates the mean and 1/16 of the sum,
    which start with a similar size; it suits quantities that grow with the set, such as a molecule's
    solubility. ``attention`` is a weighted sum with learned weights ``softmax_i(w · x_i)`` within the set
    (Lee et al. 2019, https://arxiv.org/abs/1810.00825, with one learned query and one head). An empty set
    gives zeros.

    Args:
        dim: Width of the encoded vectors.
        target: Defines the labels and the loss.
        pool: ``mean``, ``sum`` or ``attention``.
        dropout: Dropout probability inside the network, in training only.

    Raises:
        ValueError: ``pool`` is none of the three.
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
        """The logits of each set."""
        scores = None if self.score is None else self.score(sets.values)[:, 0]
        pooled = pool(sets, self.pool, scores)
        if self.pool == "sum":
            pooled = torch.cat([pool(sets, "mean"), pooled / 16], dim=-1)
        logits: Tensor = self.read(pooled)
        return logits

    def loss(self, sets: VectorSets, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses, and the number of labels that are not missing."""
        return self.target.loss(self(sets), targets)

    def decode(self, sets: VectorSets) -> list[Any]:
        """One result for each set. Raises `NotFiniteError` if a logit is NaN or infinite."""
        with inference(self):
            logits = self(sets)
            check_finite(logits, [1] * sets.num_sets)
            return self.target.decode(logits)

    def config(self) -> dict[str, Any]:
        """The head's settings as plain JSON values, for `from_config`."""
        target = self.target.config()
        return {"kind": "set", "dim": self.dim, "pool": self.pool, "dropout": self.dropout, "target": target}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SetHead:
        """Rebuild the head, without its weights, from :meth:`config`."""
        target = target_from_config(config["target"])
        return cls(config["dim"], target, pool=config["pool"], dropout=config["dropout"])


def pool(
    sets: VectorSets, how: Pool = "mean", scores: Float[Tensor, " vectors"] | None = None
) -> Float[Tensor, "sets dim"]:
    """Pool each set to one vector: mean, sum, or a sum weighted by the softmax of ``scores`` (attention).

    An empty set gives zeros.

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
