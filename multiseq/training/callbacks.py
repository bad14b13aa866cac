"""Callbacks for Lightning: running average (EMA), early stopping, resume files, and the progress shown."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from multiseq.requires import needed
from multiseq.system.memory import peak_memory
from multiseq.system.progress import EVERY, FIRST, span
from multiseq.system.stopping import Stop
from multiseq.training.budget import Fitted
from multiseq.training.resume import RESUME

with needed("lightning"):
    from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar, WeightAveraging

__all__ = ["Bar", "BusyCores", "Lines", "callbacks_for", "has_bar"]

AGREED = 10
"""In distributed training, the processes tell each other about signals once in so many steps."""

WATCHED, HAD = 5.0, 0.8
"""Seconds that `BusyCores` watches after the first step; the share of a core's time that is too little."""


def callbacks_for(settings: Fitted, folder: Path | None, has_dev: bool, stop: Stop) -> list[Callback]:
    """The callbacks that the settings need. Resume files are written to ``folder``, if there is one."""
    callbacks: list[Callback] = []
    if settings.ema_decay:
        # A buffer (a table of buckets, a count) is not a weight: it is copied, not averaged.
        # All weights in one call: one call for each takes twice as long.
        average = get_ema_multi_avg_fn(settings.ema_decay)
        callbacks.append(WeightAveraging(use_buffers=False, multi_avg_fn=average))
    if settings.patience:
        callbacks.append(_Patience("monitor", mode="max", patience=settings.patience))
    return [*callbacks, _Saver(folder, settings, has_dev, stop)]


class _Patience(EarlyStopping):
    """Early stopping that does not count evaluations without a finite score."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if math.isfinite(trainer.callback_metrics[self.monitor]):
            super().on_validation_end(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # The run may have been killed between its early stop and its end. Then it must stop again.
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class _Saver(Callback):
    """Writes the resume file, and ends the run after SIGTERM or Ctrl-C.

    If a step has an evaluation, the file is written after it, so that the evaluation is not lost.
    """

    def __init__(self, folder: Path | None, settings: Fitted, has_dev: bool, stop: Stop) -> None:
        self.folder, self.every, self.stop = folder, settings.save_every, stop
        self.evaluates = settings.evaluate_every if has_dev else 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.stop.waits = True
        self.stop.install()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not (self.evaluates and trainer.global_step % self.evaluates == 0):
            self._save(trainer)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self._save(trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.stop.waits = False

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.stop.waits = False

    def _save(self, trainer: Any) -> None:
        stopped = self._stopped(trainer)
        over = trainer.should_stop or trainer.global_step >= trainer.max_steps
        if self.folder is not None and (stopped or over or trainer.global_step % self.every == 0):
            trainer.save_checkpoint(self.folder / RESUME)
        if stopped:
            saved = "nothing is saved" if self.folder is None else f"saved to {self.folder / RESUME}"
            raise self.stop.ended(trainer.global_step, saved)

    def _stopped(self, trainer: Any) -> bool:
        """Whether any process got a signal. All processes get the same answer and stop at the same step."""
        if trainer.world_size == 1:
            return bool(self.stop.asked)
        if trainer.global_step % AGREED:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(bool(self.stop.asked), all=False))


# --- progress -------------------------------------------------------------------------------------


def has_bar() -> bool:
    """Whether the output of this process can show a progress bar."""
    from rich import get_console

    return get_console().is_terminal or get_console().is_jupyter


class BusyCores(Callback):
    """Says once if other processes keep the threads of this one waiting.

    Threads that share the work of an operation wait for the slowest of them, so that a step may take many
    times as long on busy cores. The signs: more processes want a core than there are cores, and this one had
    less than one core's time since its first step. Workers that prepare items would look the same.
    """

    def __init__(self) -> None:
        self.began: tuple[float, float] | None = None
        self.done = not hasattr(os, "getloadavg") or torch.get_num_threads() == 1

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Lightning calls this after each step."""
        if self.done:
            return
        now = time.monotonic(), time.process_time()
        if self.began is None:
            self.began = now
            self.done = module.device.type != "cpu" or bool(module.settings.num_workers)
            return
        seconds, worked = (b - a for a, b in zip(self.began, now, strict=True))
        if seconds < WATCHED:
            return
        self.done = True
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        if load > cores and worked < HAD * seconds and trainer.is_global_zero:
            print(
                f"other processes use the cores (load {load:.1f} on {cores}), so {torch.get_num_threads()} "
                "threads wait for each other; OMP_NUM_THREADS=1 before the command may be faster",
                flush=True,
            )


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
