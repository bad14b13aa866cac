"""Callbacks for Lightning: the running average of the weights (EMA), early stopping, resume files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from multiseq.requires import needed
from multiseq.system.stopping import Stop, Terminated
from multiseq.training.budget import Fitted
from multiseq.training.resume import RESUME

with needed("lightning"):
    from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging

__all__ = ["callbacks_for"]

AGREED = 10
"""In distributed training, the processes tell each other about SIGTERM once in so many steps."""


def callbacks_for(settings: Fitted, folder: Path | None, has_dev: bool, stop: Stop) -> list[Callback]:
    """The callbacks that the settings need. Resume files are written to ``folder``, if there is one."""
    callbacks: list[Callback] = []
    if settings.ema_decay:
        # A buffer (a table of buckets, a count) is not a weight: it is copied, not averaged.
        callbacks.append(EMAWeightAveraging(decay=settings.ema_decay, use_buffers=False))
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
    """Writes the resume file, and ends the run after SIGTERM.

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
        if self.folder is not None and (stopped or trainer.global_step % self.every == 0):
            trainer.save_checkpoint(self.folder / RESUME)
        if stopped:
            saved = "nothing is saved" if self.folder is None else f"saved to {self.folder / RESUME}"
            raise Terminated(f"stopped by SIGTERM after step {trainer.global_step}; {saved}")

    def _stopped(self, trainer: Any) -> bool:
        """Whether any process got SIGTERM. All processes get the same answer and stop after the same step."""
        if trainer.world_size == 1:
            return self.stop.asked
        if trainer.global_step % AGREED:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(self.stop.asked, all=False))
