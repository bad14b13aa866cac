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
    """Compute without gradients and dropout. The last of several threads restores the mode of each module."""
    modules = list(module.modules())
    with _lock:
        for each in modules:
            count, training = _running.get(id(each), (0, each.training))
            _running[id(each)] = count + 1, training
            each.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        with _lock:
            for each in modules:
                count, each.training = _running.pop(id(each))
                if count > 1:
                    _running[id(each)] = count - 1, each.training
                    each.training = False
