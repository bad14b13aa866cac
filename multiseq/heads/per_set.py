"""Set head: one label per set (sequence classification, graph classification, regression).

The target defines what a label is (a class, several classes, numbers). The head pools each set and maps it to
the numbers (logits) that the target needs.

Axes: vectors, sets, dim, size (the numbers that the target needs for one label).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads.margin import class_layer
from multiseq.heads.targets import target_from_config
from multiseq.nn.first_weights import repeatable
from multiseq.nn.inference import inference
from multiseq.nn.pool import Pool, pool
from multiseq.protocols import Level, RowTarget
from multiseq.results import check_finite
from multiseq.vectors import VectorSets

__all__ = ["SetHead"]


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

    Example:
        >>> from multiseq import ClassTarget, VectorSets
        >>> head = SetHead(8, ClassTarget(["bad", "good"]), pool="mean")
        >>> sets = VectorSets.from_list([torch.ones(3, 8), torch.ones(5, 8)])
        >>> head(sets).shape, len(head.decode(sets))
        (torch.Size([2, 2]), 2)
    """

    level: Level = "set"

    @repeatable
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
            class_layer(dim, target),
        )

    def forward(self, sets: VectorSets) -> Float[Tensor, "sets size"]:
        """The logits of each set."""
        logits: Tensor = self.read(self._pooled(sets))
        return logits

    def embed(self, sets: VectorSets) -> Float[Tensor, "sets dim"]:
        """The embedding of each set: what the last layer sees, scaled to length 1."""
        hidden: Tensor = self.read[:-1](self._pooled(sets))
        return F.normalize(hidden.float(), dim=-1)

    def _pooled(self, sets: VectorSets) -> Tensor:
        scores = None if self.score is None else self.score(sets.values)[:, 0]
        pooled = pool(sets, self.pool, scores)
        if self.pool == "sum":
            pooled = torch.cat([pool(sets, "mean"), pooled / 16], dim=-1)
        return pooled

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
