"""How long a training may take, from the size of its data: for settings that name no number of steps.

Little data gets small batches, so that an epoch has several steps; more data gets fewer epochs. If there is a
dev split, the best weights on it are kept, and the training stops when they do not improve. Without one, a
share of train is held out if it is large enough to judge by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from multiseq.data.splits import split
from multiseq.labels import class_name
from multiseq.tasks import Source
from multiseq.training.batching import BatchPlan
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.settings import Settings

__all__ = ["Fitted", "chooses_weights", "describe", "dev_share", "fitted", "hold_out", "vectors_per_batch"]

FIXED = {"ema_decay": 0.0, "evaluate_every": 0, "patience": 0}
"""What these settings are if the number of steps is given."""
MAX_VECTORS = 4096
"""The largest batch, and the batch if the number of steps is given."""
MIN_VECTORS = 256
MAX_EPOCHS = 40
MIN_EPOCHS = 10
MAX_STEPS = 20_000
EVALUATIONS = 10
"""Evaluations on dev of a training that does not stop early. Few, because scores are noisy: the best of many
is often an early one, of weights that have hardly learned anything."""
PATIENCE = 3

MIN_DEV_ITEMS = 200
"""A smaller dev split does not choose the weights, unless the user says so. It still calibrates."""
MIN_ITEMS = 2000
"""A source with fewer items holds nothing out: its tenth could not tell good weights from lucky ones
(benchmarks/results/2026-11-26-defaults)."""


@dataclass(frozen=True)
class Fitted(Settings):
    """Settings in which everything that follows from the data has a value."""

    steps: int = 1
    max_vectors: int = 1
    ema_decay: float = 0.0
    evaluate_every: int = 0
    patience: int = 0


def vectors_per_batch(settings: Settings, sources: Sequence[PreparedSource]) -> int:
    """The setting ``max_vectors``; if it follows from the data, it grows with the root of the data's size.

    A batch then has room for four examples of mean size.
    """
    if settings.max_vectors is not None:
        return settings.max_vectors
    if settings.steps is not None:
        return MAX_VECTORS
    vectors, examples = sum(sum(s.sizes) for s in sources), sum(map(len, sources))
    wanted = max(8 * math.sqrt(vectors), 4 * vectors / max(1, examples), MIN_VECTORS)
    return round(min(wanted, MAX_VECTORS))


def fitted(settings: Settings, plan: BatchPlan, *, has_dev: bool) -> Fitted:
    """The settings with a value for everything that follows from the data.

    Args:
        settings: Settings of the user. What they give is kept.
        plan: The batches of the training.
        has_dev: Whether there is a dev split. Without one, nothing is evaluated and nothing stops early.
    """
    given = {f.name: value for f in fields(settings) if (value := getattr(settings, f.name)) is not None}
    given["max_vectors"] = plan.max_vectors
    if settings.steps is not None:
        return Fitted(**FIXED | given)
    per_epoch = len(plan.epoch(0))
    vectors = sum(sum(source.sizes) for source in plan.sources)
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, round(MAX_EPOCHS * math.sqrt(10_000 / vectors))))
    steps = min(epochs * per_epoch, MAX_STEPS)
    derived: dict[str, Any] = {"ema_decay": round(max(0.0, 1 - 20 / steps), 4)}
    if has_dev and settings.evaluate_every != 0:
        every = min(settings.evaluate_every or -(-steps // EVALUATIONS), steps)
        steps -= steps % every  # so that the last step is followed by an evaluation
        derived |= {"evaluate_every": every, "patience": PATIENCE}
    else:
        derived |= {"evaluate_every": 0, "patience": 0}
    return Fitted(**derived | given | {"steps": steps})


def describe(settings: Fitted, plan: BatchPlan) -> str:
    """A line for the user: how long the training takes at most, and when it stops."""
    per_epoch = len(plan.epoch(0))
    epochs = settings.steps / per_epoch
    number = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.1f}"
    least = "at most " if settings.patience else ""
    line = f"{least}{settings.steps:,} steps of up to {settings.max_vectors:,} vectors, {number} epochs"
    if settings.patience:
        line += (
            f"; stops after {settings.patience} evaluations without a better score on dev "
            f"(one every {settings.evaluate_every:,} steps)"
        )
    return line


# --- the dev split --------------------------------------------------------------------------------


def chooses_weights(settings: Settings, dev: Sequence[Source]) -> bool:
    """Whether the scores on dev choose the weights and stop the training.

    If the steps follow from the data, a small dev split does so only if ``evaluate_every``, ``patience`` or
    ``monitor`` is set: the best of many scores on few items is often an early one.
    """
    if not dev or not settings.evaluates:
        return False
    wished = (
        settings.evaluate_every is not None or settings.patience is not None or settings.monitor != "mean"
    )
    return not settings.follows_data or wished or sum(len(source.items) for source in dev) >= MIN_DEV_ITEMS


def dev_share(num: int) -> float:
    """The share of ``num`` items to hold out as dev split: a tenth, at most 5,000 items; of few items none.

    >>> dev_share(1999), dev_share(3000), dev_share(1_000_000)
    (0.0, 0.1, 0.005)
    """
    return 0.0 if num < MIN_ITEMS else min(0.1, 5000 / num)


def hold_out(source: Source) -> tuple[Source, Source | None]:
    """Divide a source into one for training and one for dev, which has about the same share of each class.

    A source with few items is not divided.
    """
    share = dev_share(len(source.items))
    if not share:
        return source, None
    names = [
        class_name(label) if _is_single(label) else None for label in next(iter(source.targets.values()), ())
    ]
    labels = names if 0 < len(set(names)) <= len(names) // 5 else None  # texts and numbers hardly repeat
    drawn = split(source.items, labels=labels, dev=share)
    return _subset(source, drawn["train"]), _subset(source, drawn["dev"])


def _is_single(label: Any) -> bool:
    return not isinstance(label, list | dict | tuple | set | frozenset)


def _subset(source: Source, numbers: Sequence[int]) -> Source:
    return replace(
        source,
        items=[source.items[i] for i in numbers],
        targets={task: [labels[i] for i in numbers] for task, labels in source.targets.items()},
        locations=[source.locations[i] for i in numbers] if source.locations else (),
    )
