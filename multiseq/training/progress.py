"""Show the progress of a training: a bar in a terminal or a notebook, lines in a file, a pipe or CI."""

from __future__ import annotations

import time
from typing import Any

from multiseq.requires import needed
from multiseq.system.memory import peak_memory
from multiseq.system.progress import EVERY, FIRST, span

with needed("lightning"):
    from lightning.pytorch.callbacks import Callback, RichProgressBar

__all__ = ["Bar", "Lines", "has_bar", "span"]


def has_bar() -> bool:
    """Whether the output of this process can show a progress bar."""
    from rich import get_console

    return get_console().is_terminal or get_console().is_jupyter


class Bar(RichProgressBar):
    """Lightning's progress bar, which also shows the remaining time."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"  # not "Epoch 0/0": for Lightning the run is one epoch


class Lines(Callback):
    """Prints the step, the loss and the remaining time; once, also an estimate for the whole training.

    The estimate does not count the first step, which is slow because it starts workers and fills caches.
    """

    def __init__(self) -> None:
        self.began: float | None = None
        self.first, self.due, self.said = 0, 0.0, -EVERY

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Lightning calls this after each step."""
        now, step, steps = time.monotonic(), trainer.global_step, trainer.max_steps
        if self.began is None:
            self.began, self.first, self.due = now, step, now + FIRST
            return
        if now < self.due or step == steps or not trainer.is_global_zero:
            return
        seconds = (now - self.began) / (step - self.first)
        if self.due == self.began + FIRST:
            whole = steps - self.first + 1
            least = "at most " if module.settings.patience else ""
            peak = peak_memory()
            memory = "" if peak is None else f"; {peak:,} MiB of memory so far"
            print(f"training takes {least}about {span(seconds * whole)} for {whole:,} steps{memory}")
        loss = float(module.record.total)  # this waits for the GPU, so it is not done at every step
        left = span(seconds * (steps - step))
        print(f"step {step:,} of {steps:,}: loss {loss:.4g}, about {left} left", flush=True)
        self.due = now + EVERY

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Lightning calls this after each evaluation on the dev split."""
        if trainer.is_global_zero and time.monotonic() >= self.said + EVERY:
            name, value, best = module.judged
            chosen = ", the best so far" if best else ""
            print(f"step {trainer.global_step:,}: dev {name} {value:.3f}{chosen}", flush=True)
            self.said = time.monotonic()
