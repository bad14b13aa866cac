"""Settings of a training: how long, how fast, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from multiseq.checks import one_of
from multiseq.options import check_range

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How long and how fast to learn.

    Args:
        steps: Optimiser steps in all; the learning rate falls to zero at the last one.
        max_vectors: Vectors of one step's batch, over all tasks and processes.
        lr: Highest learning rate of AdamW (https://arxiv.org/abs/1711.05101).
        warmup: Steps over which it rises, as a fraction of all steps.
        weight_decay: Of matrices; biases and norms have none.
        max_grad_norm: Largest norm of the gradient.
        temperature: 1 draws sources by their size, higher ones draw small sources more often.
        ema_decay: Decay of the running average of the weights that is evaluated and kept; 0 keeps the last.
        evaluate_every: Steps between evaluations on the dev split, of which the best weights are kept; where
            there is a dev split, one follows at the end in any case.
        patience: Evaluations without a better ``monitor`` before stopping; 0 never stops early.
        monitor: A task's name, or ``mean`` over the tasks' scores (1 is perfect).
        save_every: Steps between resume files.
        num_workers: Processes that augment and collate.
        seed: Of the order of the batches, of augmentation and of dropout. The first weights are drawn when
            the parts are built, by torch's generator: seed it with ``torch.manual_seed``, as recipes do.
        deterministic: The same seed gives the same weights on a GPU too, to the last bit, on one machine and
            version of torch. On a CPU it always does. It costs time: sums are made in a fixed order, learned
            biases are looked up outside the kernel, and the loss of CTC is computed on the CPU.

    Raises:
        ValueError: A value of the wrong type or out of range.
    """

    steps: int = 1000
    max_vectors: int = 4096
    lr: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    temperature: float = 1.0
    ema_decay: float = 0.0
    evaluate_every: int = 0
    patience: int = 0
    monitor: str = "mean"
    save_every: int = 100
    num_workers: int = 0
    seed: int = 0
    deterministic: bool = False

    def __new__(cls, *args: Any, **options: Any) -> Settings:
        """Refuse names that are no settings, with the nearest one or the one of today."""
        for name in options:
            one_of(name, [field.name for field in fields(cls)], "settings")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for field in fields(self):
            kind, value = type(field.default), getattr(self, field.name)
            if kind is bool and not isinstance(value, bool):
                raise ValueError(f"{field.name}: got {value!r}, expected True or False")
            if kind is int:
                _set(self, field.name, int(_number(field.name, value, Integral, "a whole number")))
            elif kind is float:
                _set(self, field.name, float(_number(field.name, value, Real, "a number")))
            try:
                check_range(field.name, getattr(self, field.name))
            except ValueError as error:
                raise ValueError(f"{field.name}: {error}") from None


_set = object.__setattr__  # the dataclass is frozen


def _number(name: str, value: Any, kind: type, expected: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return value
