"""Sums that are the same to the last bit each time, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["deterministic_sums"]


@contextmanager
def deterministic_sums(wanted: bool = True) -> Iterator[None]:
    """Within it what is computed on a GPU is the same to the last bit each time, if that is wanted.

    The products of cuBLAS are so only where it has not been used in this process before.
    """
    import torch

    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    checks: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), checks.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    checks.fill_uninitialized_memory = False  # which finds memory that is read before it is written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        checks.fill_uninitialized_memory = filled
