"""Progress of a training: a bar in a terminal and in a notebook, lines elsewhere (a file, a pipe, CI)."""

from __future__ import annotations

import time
from typing import Any

from multiseq.requires import needed

with needed("lightning"):
    from lightning.pytorch.callbacks import Callback, RichProgressBar

__all__ = ["Bar", "Lines", "has_bar", "span"]

FIRST = 5.0
"""Seconds of training before the first line, which says how long all of it takes."""
EVERY = 30.0
"""Seconds between lines."""


def has_bar() -> bool:
    """Whether a bar can be drawn where this process prints."""
    from rich import get_console

    return get_console().is_terminal or get_console().is_jupyter


class Bar(RichProgressBar):
    """Lightning's bar, which shows the seconds left too."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"  # not "Epoch 0/0": for Lightning the run is one epoch


class Lines(Callback):
    """Prints the step, the loss and the time left, and once how long the whole training will take.

    The time is measured, from the end of the first step on: that one starts workers and fills caches.
    """

    def __init__(self) -> None:
        self.began: float | None = None
        self.first, self.due = 0, 0.0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Called by Lightning when a step is done."""
        now, step, steps = time.monotonic(), trainer.global_step, trainer.max_steps
        if self.began is None:
            self.began, self.first, self.due = now, step, now + FIRST
            return
        if now < self.due or step == steps or not trainer.is_global_zero:
            return
        seconds = (now - self.began) / (step - self.first)
        if self.due == self.began + FIRST:
            whole = steps - self.first + 1
            print(f"training takes about {span(seconds * whole)} for {whole:,} steps")
        loss = float(module.record.total)  # waits for a GPU, hence not at every step
        left = span(seconds * (steps - step))
        print(f"step {step:,} of {steps:,}: loss {loss:.4g}, about {left} left", flush=True)
        self.due = now + EVERY


def span(seconds: float) -> str:
    """A time as people say it.

    >>> span(0.2), span(80.0), span(250.0), span(9000.0)
    ('1 second', '80 seconds', '4 minutes', '2.5 hours')
    """
    if seconds >= 6000:
        return f"{seconds / 3600:.1f} hours"
    if seconds >= 100:
        return f"{seconds / 60:.0f} minutes"
    number = max(1, round(seconds))
    return f"{number} second{'s' if number > 1 else ''}"
