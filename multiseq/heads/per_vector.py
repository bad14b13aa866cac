"""Vector head: one label per vector (token classification, frame labelling, node classification).

The target defines what a label is (a class, several classes, numbers). The head maps each vector to the
numbers (logits) that the target needs.

Axes: vectors, sets, dim, size (the numbers that the target needs for one label).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads.margin import class_layer
from multiseq.heads.targets import missing_rows, target_from_config
from multiseq.nn.first_weights import repeatable
from multiseq.nn.inference import inference
from multiseq.protocols import Level, RowTarget
from multiseq.results import check_finite
from multiseq.vectors import VectorSets

__all__ = ["VectorHead"]


class VectorHead(nn.Module):
    """One label per vector: dropout, then a linear layer (of cosines, if the target has a margin).

    Args:
        dim: Width of the encoded vectors.
        target: Defines the labels and the loss.
        dropout: Dropout probability on the encoded vectors, in training only.

    Example:
        >>> import torch
        >>> from multiseq import ClassTarget, VectorSets
        >>> head = VectorHead(8, ClassTarget(["NOUN", "VERB"]))
        >>> sets = VectorSets.from_list([torch.ones(3, 8), torch.ones(1, 8)])
        >>> head(sets).shape, [len(labels) for labels in head.decode(sets)]
        (torch.Size([4, 2]), [3, 1])
    """

    level: Level = "vector"

    @repeatable
    def __init__(self, dim: int, target: RowTarget, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.target, self.dropout = dim, target, dropout
        self.read = nn.Sequential(nn.Dropout(dropout), class_layer(dim, target))

    def forward(self, sets: VectorSets) -> Float[Tensor, "vectors size"]:
        """The logits of each vector."""
        logits: Tensor = self.read(sets.values)
        return logits

    def loss(self, sets: VectorSets, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses, and the number of labels that are not missing.

        On a CPU logits are computed only where there are labels. A GPU would have to wait for their number.
        """
        if sets.device.type != "cpu":
            return self.target.loss(self(sets), targets)
        known = ~missing_rows(targets)
        logits: Tensor = self.read(sets.values if known.all() else sets.values[known])
        return self.target.loss(logits, targets[known])

    def decode(self, sets: VectorSets) -> list[list[Any]]:
        """For each set one result per vector. Raises `NotFiniteError` if a logit is NaN or infinite."""
        with inference(self):
            logits = self(sets)
            check_finite(logits, sets.lengths)
            results = self.target.decode(logits)
        ends = [0, *accumulate(sets.lengths)]
        return [results[a:b] for a, b in pairwise(ends)]

    def config(self) -> dict[str, Any]:
        """The head's settings as plain JSON values, for `from_config`."""
        return {"kind": "vector", "dim": self.dim, "dropout": self.dropout, "target": self.target.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VectorHead:
        """Rebuild the head, without its weights, from :meth:`config`."""
        return cls(config["dim"], target_from_config(config["target"]), dropout=config["dropout"])
