"""Treat denormal numbers (extremely close to 0) as 0: they make CPUs slow, and training produces many."""

from __future__ import annotations

import ctypes
import os
import threading

import torch

__all__ = ["flush_denormals"]

SOFT = 1
"""OpenMP's ``omp_pause_soft``: end the threads, but keep the settings."""

_done = threading.local()


def flush_denormals() -> None:
    """Treat denormal numbers as zeros in this thread and in the threads that torch starts for it.

    A new thread inherits this mode from the thread that starts it. OpenMP threads that already run would keep
    their old mode. So the first call ends them, and the next operation starts new ones.
    """
    if torch.set_flush_denormal(True) and not getattr(_done, "once", False):
        _done.once = True
        pause = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None) if os.name == "posix" else None
        if pause is not None:
            pause(SOFT)
