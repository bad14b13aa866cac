"""Evaluation mode, which several threads may want of the same modules at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["inference"]

_lock = threading.Lock()
"""For all modules, because a module that has a lock cannot be copied."""

_running: dict[int, tuple[int, list[nn.Module]]] = {}
"""Of a module how many predictions are being made, and which parts were in training mode before the first."""


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Without gradients and dropout; the last of several threads gives each part its own mode back."""
    key = id(module)
    with _lock:
        count, paused = _running.get(key) or (0, [part for part in module.modules() if part.training])
        _running[key] = count + 1, paused
        for part in paused:
            part.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        with _lock:
            count, paused = _running.pop(key)
            if count > 1:
                _running[key] = count - 1, paused
            else:
                for part in paused:
                    part.training = True
