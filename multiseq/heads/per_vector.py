"""A head that reads a label per vector from encoded sets.

What a label is (one class, several, numbers) belongs to the target; the head only brings a vector to the
target's size.

Axes: vectors, sets, dim, size (numbers that the target wants for a label).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads._shared import inference
from multiseq.heads.targets import target_from_config
from multiseq.protocols import Level, RowTarget
from multiseq.results import check_finite
from multiseq.vectors import VectorSets

__all__ = ["VectorHead"]


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
