"""Settings of a training: how long, how fast, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiseq.tasks import Source

if TYPE_CHECKING:
    from multiseq.model import Model

__all__ = ["Settings", "check"]


@dataclass(frozen=True)
class Settings:
    """How long and how fast to learn.

    Args:
        steps: Optimiser steps in all; the learning rate falls to zero at the last one.
        budget: Vectors of one step's batch, over all tasks and processes.
        lr: Highest learning rate of AdamW (https://arxiv.org/abs/1711.05101).
        warmup: Steps over which it rises, as a fraction of all steps.
        weight_decay: Of matrices; biases and norms have none.
        clip: Largest norm of the gradient.
        temperature: 1 draws sources by their size, higher ones draw small sources more often.
        average: Decay of the running average of the weights that is evaluated and kept; 0 keeps the last.
        evaluate_every: Steps between evaluations on the dev part, of which the best weights are kept; where
            there is a dev part, one follows at the end in any case.
        patience: Evaluations without a better ``monitor`` before stopping; 0 never stops early.
        monitor: A task's name, or ``mean`` over the tasks' scores (1 is perfect).
        save_every: Steps between resume files.
        workers: Processes that augment and collate.
        seed: Of everything random.
        deterministic: The same seed gives the same weights on a GPU too, to the last bit, on one machine and
            version of torch. On a CPU it always does. It costs time: sums are made in a fixed order, learned
            biases are looked up outside the kernel, and the loss of CTC is computed on the CPU.
    """

    steps: int = 1000
    budget: int = 4096
    lr: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    clip: float = 1.0
    temperature: float = 1.0
    average: float = 0.0
    evaluate_every: int = 0
    patience: int = 0
    monitor: str = "mean"
    save_every: int = 100
    workers: int = 0
    seed: int = 0
    deterministic: bool = False


def check(settings: Settings, model: Model, dev: Sequence[Source]) -> None:
    """Raises ValueError where a value is out of range or does not fit the model and the dev part."""
    for name in ("steps", "budget", "save_every"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}: got {getattr(settings, name)}, expected 1 or more")
    for name in ("temperature", "clip"):
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name}: got {getattr(settings, name)}, expected a number above 0")
    if not 0 <= settings.average < 1:
        raise ValueError(f"average: got {settings.average}, expected 0 (none) up to below 1, as 0.99")
    if settings.monitor != "mean" and settings.monitor not in model.tasks:
        raise ValueError(
            f"monitor: got {settings.monitor!r}, expected mean or one of {', '.join(model.tasks)}"
        )
    labelled = {task for source in dev for task in source.targets}
    if dev and settings.monitor != "mean" and settings.monitor not in labelled:
        raise ValueError(f"monitor: got {settings.monitor!r}, which no dev source labels")
    if settings.patience and not (dev and settings.evaluate_every):
        raise ValueError("patience: needs a dev part and evaluate_every above 0")
