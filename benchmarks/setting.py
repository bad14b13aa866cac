"""What all parts of the benchmark share: the device, the size of the encoder, and how often to draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Setting"]

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """One run's settings.

    Args:
        device: Where models and vectors are.
        dtype: Of weights and vectors.
        dim: Width of every vector.
        depth: Number of blocks.
        heads: Attention heads.
        sets: Sets of a batch.
        draws: How many batches are drawn of every workload; each is timed in every contender.
        lengths: A user's own lengths, which become the one workload; None for those that are built in.
        only: Which of these; all where empty.
        half: Whether bf16 is measured beside fp32. For a CPU; on a GPU ``dtype`` says it.
    """

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    dim: int = 256
    depth: int = 4
    heads: int = 8
    sets: int = 64
    draws: int = 3
    lengths: tuple[int, ...] | None = None
    only: tuple[str, ...] = ()
    half: bool = False

    @property
    def ff_dim(self) -> int:
        """Inner width of a plain feed-forward."""
        return 4 * self.dim
