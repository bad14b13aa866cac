"""Heads that read a label per vector or a label per set from encoded sets.

What a label is (one class, several, numbers) belongs to the target; a head only brings a vector to the
target's size. The heads for sequences are in `multiseq.heads.decoder`.

Axes: vectors, sets, dim, size (numbers that the target wants for a label).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads.targets import target_from_config
from multiseq.protocols import Level, Packed, RowTarget
from multiseq.results import check_finite
from multiseq.vectors import VectorSets, to_device

__all__ = ["Pool", "SetHead", "VectorHead", "check_sets", "inference", "pool"]

Pool = Literal["mean", "sum", "attention"]


class VectorHead(nn.Module):
    """One label per vector: dropout, then a linear map to the target's size.

    Args:
        dim: Width of the encoded vectors.
        target: What a label is.
        dropout: On the encoded vectors, in training.
    """

    level: Level = "vector"

    def __init__(self, dim: int, target: RowTarget, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.target, self.dropout = dim, target, dropout
        self.read = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, target.size))

    def forward(self, sets: VectorSets) -> Float[Tensor, "vectors size"]:
        """The target's numbers for every vector."""
        logits: Tensor = self.read(sets.values)
        return logits

    def loss(self, sets: VectorSets, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses, and how many labels were there."""
        return self.target.loss(self(sets), targets)

    def decode(self, sets: VectorSets) -> list[list[Any]]:
        """For each set a list of one result per vector. Raises `NotFiniteError` on NaN and infinity."""
        with inference(self):
            logits = self(sets)
            check_finite(logits, sets.lengths)
            results = self.target.decode(logits)
        ends = [0, *accumulate(sets.lengths)]
        return [results[a:b] for a, b in pairwise(ends)]

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "vector", "dim": self.dim, "dropout": self.dropout, "target": self.target.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VectorHead:
        """The inverse of :meth:`config`."""
        return cls(config["dim"], target_from_config(config["target"]), dropout=config["dropout"])


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


def check_sets(sets: VectorSets, dim: int, targets: Packed | None = None) -> None:
    """Raises ValueError where sequence heads get another width, or not one target for each set."""
    if sets.dim != dim:
        raise ValueError(
            f"sets: got vectors of width {sets.dim}, expected {dim}; build the head with the encoder's dim"
        )
    if targets is not None and len(targets.lengths) != sets.num_sets:
        raise ValueError(
            f"targets: got {len(targets.lengths)} texts for {sets.num_sets} sets, "
            "expected one for each; leave out the sets that have none"
        )


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Without gradients and dropout; the mode is restored afterwards."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(training)
