"""Memory: whether weights fit, what to do if it is full, and how much was in use."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "check_fits",
    "explain_full_memory",
    "give_back_memory",
    "keep_memory",
    "memory",
    "peak_gpu_memory",
    "peak_memory",
]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # constants from glibc's malloc.h


def memory() -> int | None:
    """The size of this machine's memory in bytes; None if the system does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(weights: int, what: str) -> None:
    """Raise ValueError if ``weights`` numbers in float32 do not fit into memory. Nothing is allocated.

    Args:
        weights: The number of weights.
        what: What needs them; the message begins with it.
    """
    limit = memory()
    if limit is not None and 4 * weights > limit:
        raise ValueError(
            f"{what}, whose weights take {4 * weights / 2**30:,.0f} GiB; this machine has "
            f"{limit / 2**30:,.0f} GiB of memory, so choose smaller sizes"
        )


@contextmanager
def explain_full_memory(advice: str) -> Iterator[None]:
    """If memory runs out inside the block, raise an error that says what to do.

    Raises:
        MemoryError: The message contains ``advice``.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        # torch has its own class for this error only on a GPU. On a CPU, the message must tell.
        signs = ("can't allocate memory", "out of memory", "insufficient shared memory")
        if isinstance(error, MemoryError) or any(sign in line.lower() for sign in signs):
            raise MemoryError(f"memory is full; {advice} ({line or 'no more memory'})") from error
        raise


def peak_memory() -> int | None:
    """The peak memory of this process in MiB, without its loader workers; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def peak_gpu_memory() -> int | None:
    """The peak memory of this process on its GPU in MiB; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None


def keep_memory() -> None:
    """Keep freed memory in this process from now on (if the C library is glibc).

    By default, glibc returns the memory of large tensors to the system. The system then clears each page
    before the next training step gets it again, which takes up to a fifth of a step on a CPU.
    """
    if (mallopt := _of_c_library("mallopt")) is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, -1)


def give_back_memory() -> None:
    """Return freed memory to the system (if the C library is glibc)."""
    if (trim := _of_c_library("malloc_trim")) is not None:
        trim(0)


def _of_c_library(function: str) -> Any:
    """A function of the C library; None if the library does not have it (only glibc does)."""
    return getattr(ctypes.CDLL(None), function, None) if os.name == "posix" else None
