"""The distance of sets from the training data, which shows what a model cannot know. Axes: sets, dim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.nn.pool import pool
from multiseq.vectors import VectorSets

__all__ = ["TrainingDistance"]


class TrainingDistance(nn.Module):
    """How far encoded sets are from those of the training data.

    ``distance(x) = min_i |W (z(x) - z_i)| / limit``, where ``z`` is the mean of a set's encoded vectors,
    ``i`` runs over the training sets, and ``W`` makes their covariance the identity (1 % of its mean diagonal
    is added first, so that it can be inverted). It is the distance to the nearest neighbour (Sun et al. 2022,
    https://arxiv.org/abs/2204.06507) in the metric of Mahalanobis (Lee et al. 2018,
    https://arxiv.org/abs/1807.03888). Sun et al. scale ``z`` to length 1 and take the k-th neighbour. We do
    not: texts of unknown words differ in length, and small data has small groups.

    Its tensors are buffers, not weights: training does not change them.

    Args:
        examples: The number of training sets.
        dim: The width of the encoded vectors.
    """

    examples: Tensor
    mean: Tensor
    whiten: Tensor
    limit: Tensor

    def __init__(self, examples: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("examples", torch.zeros(examples, dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("whiten", torch.zeros(dim, dim))
        self.register_buffer("limit", torch.ones(()))

    @classmethod
    def fit(cls, pooled: Float[Tensor, "sets dim"]) -> TrainingDistance:
        """From the mean vectors of the training sets. The ``limit`` is 1, until someone changes it."""
        fitted = cls(*pooled.shape)
        rows = pooled.double().cpu()
        mean = rows.mean(0)
        rows = rows - mean
        covariance = rows.T @ rows / len(rows)
        shrink = 0.01 * covariance.diagonal().mean().clamp(min=1e-12)
        factor = torch.linalg.cholesky(covariance + shrink * torch.eye(len(covariance), dtype=rows.dtype))
        whiten = torch.linalg.inv(factor)
        fitted.mean.copy_(mean)
        fitted.whiten.copy_(whiten)
        fitted.examples.copy_(rows @ whiten.T)
        return fitted

    def forward(self, sets: VectorSets) -> Float[Tensor, " sets"]:
        """The distance of each set: above 1 it is unlike the training data."""
        # Without the mean, no number is large, and a matrix product is precise enough for the distances.
        rows = (pool(sets).float() - self.mean) @ self.whiten.T
        apart = torch.cdist(rows, self.examples, compute_mode="use_mm_for_euclid_dist")
        return apart.amin(dim=1) / self.limit

    def config(self) -> dict[str, Any]:
        """The sizes as plain JSON values, for `from_config`."""
        return {"examples": self.examples.shape[0], "dim": self.examples.shape[1]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TrainingDistance:
        """The inverse of :meth:`config`, without its tensors."""
        return cls(config["examples"], config["dim"])
