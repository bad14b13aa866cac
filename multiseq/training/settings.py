"""Settings of a training (its hyperparameters)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from multiseq.checks import one_of
from multiseq.options import NUMBER, OPTIONS, check_range

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """Settings of a training. A recipe gives them in ``[training]``, `train` takes them as arguments.

    If ``steps`` is None, the number of steps follows from the data, and so does each other setting that is
    None (`multiseq.training.budget`): small batches for little data, a limit of epochs, evaluations on a dev
    split (of large data without one, a share is held out), and a stop when the score does not improve.

    Args:
        steps: Total number of optimiser steps. The learning rate falls to zero at the last step. None: it
            follows from the data.
        max_vectors: Largest number of vectors in one step's batch, over all tasks and processes. A larger
            example gets a batch of its own. None: 4096 if ``steps`` is given.
        lr: Highest learning rate of AdamW (https://arxiv.org/abs/1711.05101).
        pretrained_lr: Highest learning rate of the last layer of a pretrained encoder or stem (`start` in a
            recipe).
        layer_lr_decay: For each layer below the last, its learning rate is multiplied by this again. 1 gives
            all pretrained layers one learning rate. Low-rank terms (LoRA) have `lr` in the last layer.
        frozen_layers: The number of layers of a pretrained encoder or stem, from the first, that are not
            trained; nor are the embeddings or convolutions then. 0 trains everything.
        warmup: Fraction of all steps in which the learning rate rises, at the beginning.
        weight_decay: Weight decay of matrices. Biases and norms have none.
        max_grad_norm: Gradient clipping: a gradient with a larger norm is scaled down to this norm.
        temperature: 1 draws sources in proportion to their size. Higher values draw small sources more often.
        ema_decay: Decay of the running average of the weights (EMA), which is evaluated and kept. 0 turns the
            average off. None: 0 if ``steps`` is given.
        evaluate_every: Number of steps between evaluations on the dev split. The weights with the best score
            are kept. If there is a dev split, it is always evaluated at the end; 0 means only then. A recipe
            with 0 uses the dev split for calibration only. None: 0 if ``steps`` is given.
        patience: Early stopping: stop after so many evaluations without a better ``monitor``. 0 turns it off.
            None: 0 if ``steps`` is given.
        monitor: The score that chooses the best weights: a task's name, or ``mean`` for the mean over tasks.
            Scores are converted to a scale where 1 is perfect.
        save_every: Number of steps between resume files.
        num_workers: Number of processes that augment and collate. 0 does it in the training process.
        seed: Seed for the order of the batches, for augmentation and for dropout. In Python it does not
            initialise the weights (`multiseq.nn.first_weights`): for others, call ``torch.manual_seed``
            before you build the parts. A recipe does that for you.
        deterministic: Whether the same seed gives exactly the same weights on a GPU, on one machine and
            version of torch. On a CPU it always does. It makes training slower: sums have a fixed order,
            learned biases are looked up outside the attention kernel, and the CTC loss runs on the CPU.
        precision: Of matrix products: ``fp32``, ``bf16``, or ``auto``, which is bf16 on a GPU, and on a CPU
            that multiplies bf16 matrices faster. Weights, optimiser and losses are always in fp32. A resumed
            run keeps its precision. None: bf16 on a GPU, fp32 on a CPU.

    Raises:
        ValueError: A value has the wrong type or is out of range.
    """

    steps: int | None = None
    max_vectors: int | None = None
    lr: float = 1e-3
    pretrained_lr: float = 5e-5
    layer_lr_decay: float = 1.0
    frozen_layers: int = 0
    warmup: float = 0.1
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    temperature: float = 1.0
    ema_decay: float | None = None
    evaluate_every: int | None = None
    patience: int | None = None
    monitor: str = "mean"
    save_every: int = 100
    num_workers: int = 0
    seed: int = 0
    deterministic: bool = False
    precision: str | None = None

    def __new__(cls, *args: Any, **options: Any) -> Settings:
        """Raise ValueError for an unknown setting. The message suggests the most similar or the new name."""
        for name in options:
            one_of(name, [field.name for field in fields(cls)], "settings")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for field in fields(self):
            kind, value = OPTIONS[field.name].type, getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if kind is bool and not isinstance(value, bool):
                raise ValueError(f"{field.name}: got {value!r}, expected True or False")
            if kind is int:
                _set(self, field.name, int(_checked_number(field.name, value, Integral, "a whole number")))
            elif kind is NUMBER:
                _set(self, field.name, float(_checked_number(field.name, value, Real, "a number")))
            try:
                check_range(field.name, getattr(self, field.name))
            except ValueError as error:
                raise ValueError(f"{field.name}: {error}") from None

    @property
    def evaluates(self) -> bool:
        """Whether the dev split is evaluated during the training, if there is one."""
        return self.follows_data if self.evaluate_every is None else self.evaluate_every > 0

    @property
    def follows_data(self) -> bool:
        """Whether the number of steps follows from the data."""
        return self.steps is None


_set = object.__setattr__  # the dataclass is frozen


def _checked_number(name: str, value: Any, kind: type, expected: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return value
