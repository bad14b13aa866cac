"""Helpers that several heads share: inference mode, and a check of their input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from multiseq.protocols import Packed
from multiseq.vectors import VectorSets

__all__ = ["check_sets", "inference"]


def check_sets(sets: VectorSets, dim: int, targets: Packed | None = None) -> None:
    """Raise ValueError unless the vectors have width ``dim`` and there is one target for each set."""
    if sets.dim != dim:
        raise ValueError(
            f"sets: got vectors of width {sets.dim}, expected {dim}; build the head with the encoder's dim"
        )
    if targets is not None and len(targets.lengths) != sets.num_sets:
        raise ValueError(
            f"targets: got {len(targets.lengths)} texts for {sets.num_sets} sets, "
            "expected one for each set; leave out the sets without a text"
        )


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Switch gradients and dropout off inside the block; restore the module's mode afterwards."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(training)
