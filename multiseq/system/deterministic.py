"""Deterministic computation: the same results to the last bit every time, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["deterministic_sums"]


@contextmanager
def deterministic_sums(wanted: bool = True) -> Iterator[None]:
    """Inside this context, a GPU computes the same results to the last bit every time. Off if not ``wanted``.

    For matrix products this works only if the process has not used cuBLAS (NVIDIA's library for them) before.
    """
    import torch

    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    checks: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), checks.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    checks.fill_uninitialized_memory = False  # it only helps to find reads of unwritten memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        checks.fill_uninitialized_memory = filled
