"""Denormal numbers, those nearest to zero, make a CPU several times slower; training makes many of them."""

from __future__ import annotations

import ctypes
import os
import threading

import torch

__all__ = ["flush_denormals"]

SOFT = 1
"""As OpenMP calls it: threads end, settings stay."""

_done = threading.local()


def flush_denormals() -> None:
    """From now on this thread, and the threads that torch starts for it, take denormal numbers for zeros.

    A thread inherits the mode from the thread that starts it. OpenMP's threads that run already would keep
    the old one, so they are ended once; the next operation starts new ones.
    """
    if torch.set_flush_denormal(True) and not getattr(_done, "once", False):
        _done.once = True
        pause = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None) if os.name == "posix" else None
        if pause is not None:
            pause(SOFT)
