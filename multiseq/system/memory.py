"""Memory: whether weights fit into it, what to do where it is full, and how much was in use."""

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

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def memory() -> int | None:
    """Bytes of this machine's memory; None where the system does not say."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(weights: int, what: str) -> None:
    """Raises ValueError, before anything is allocated, where so many weights do not fit into memory."""
    limit = memory()
    if limit is not None and 4 * weights > limit:
        raise ValueError(
            f"{what}, whose weights take {4 * weights / 2**30:,.0f} GiB; this machine has "
            f"{limit / 2**30:,.0f} GiB of memory"
        )


@contextmanager
def explain_full_memory(advice: str) -> Iterator[None]:
    """Where memory ends within the block, say what to do about it.

    Raises:
        MemoryError: With the advice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        # torch has a class for it on a GPU only.
        signs = ("can't allocate memory", "out of memory", "insufficient shared memory")
        if isinstance(error, MemoryError) or any(sign in line.lower() for sign in signs):
            raise MemoryError(f"memory is full; {advice} ({line or 'no more memory'})") from error
        raise


def peak_memory() -> int | None:
    """MiB of this process at its highest, loader workers not counted; None on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def peak_gpu_memory() -> int | None:
    """MiB of the first GPU that this process held at its highest; None where there is no GPU."""
    import torch

    return torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None


def keep_memory() -> None:
    """From now on memory that is freed stays with this process, where its C library is glibc.

    glibc gives the largest tensors of a step back to the system, which clears every page of them before the
    next step gets it again: on a CPU up to a fifth of the step.
    """
    if (mallopt := _of_c_library("mallopt")) is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, -1)


def give_back_memory() -> None:
    """Hand memory that was freed back to the system."""
    if (trim := _of_c_library("malloc_trim")) is not None:
        trim(0)


def _of_c_library(function: str) -> Any:
    """None where it is not glibc."""
    return getattr(ctypes.CDLL(None), function, None) if os.name == "posix" else None
