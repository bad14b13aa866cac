"""What several heads need: evaluation mode, and a check of what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from multiseq.protocols import Packed
from multiseq.vectors import VectorSets

__all__ = ["check_sets", "inference"]


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
