"""Evaluation mode for predictions. Several threads may use the same modules at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["inference"]

_lock = threading.Lock()
"""One lock for all modules: a lock inside a module would make the module impossible to copy."""

_running: dict[int, tuple[int, list[nn.Module]]] = {}
"""Id of a module -> number of running predictions, and the parts that were in training mode before."""


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Compute without gradients and dropout. The last of several threads restores the mode of each part."""
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
