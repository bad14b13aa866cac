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

_running: dict[int, tuple[int, bool]] = {}
"""Id of a module -> number of running predictions, and whether it was in training mode before the first."""


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Compute without gradients and dropout. The last of several threads restores the mode of each part."""
    parts = list(module.modules())
    with _lock:
        for part in parts:
            count, training = _running.get(id(part), (0, part.training))
            _running[id(part)] = count + 1, training
            part.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        with _lock:
            for part in parts:
                count, part.training = _running.pop(id(part))
                if count > 1:
                    _running[id(part)] = count - 1, part.training
                    part.training = False
