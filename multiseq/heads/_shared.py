"""A check of their input that several heads share."""

from __future__ import annotations

from multiseq.protocols import Packed
from multiseq.vectors import VectorSets

__all__ = ["check_sets"]


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
