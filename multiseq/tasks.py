"""A task: what is read from the encoded sets of one adapter, by which head, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multiseq.protocols import Head
from multiseq.targets import ClassTarget, NumberTarget

__all__ = ["Source", "Task", "default_metric"]


@dataclass(frozen=True)
class Task:
    """One thing that the model learns to say about the items of one adapter.

    Args:
        adapter: The adapter's name in the model.
        head: Reads the prediction; owns the target.
        metric: A name from `multiseq.metrics`; chosen by the head where not given.
        weight: Of its mean loss in the sum over tasks.
    """

    adapter: str
    head: Head
    metric: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.metric:
            object.__setattr__(self, "metric", default_metric(self.head))


@dataclass
class Source:
    """Items of one adapter with their labels: an item that several tasks label is encoded once.

    Args:
        adapter: The adapter's name in the model.
        items: Raw items, as the adapter's ``prepare`` takes them.
        targets: Task name -> one label for each item; None where an item has none.
        weight: How often its items are drawn, against those of other sources.
        where: File and line of each item, for messages.

    Raises:
        ValueError: A number of labels that is not the number of items.
    """

    adapter: str
    items: Sequence[Any]
    targets: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    weight: float = 1.0
    where: Sequence[str] = ()

    def __post_init__(self) -> None:
        for task, labels in self.targets.items():
            if len(labels) != len(self.items):
                raise ValueError(f"targets[{task!r}]: got {len(labels)} labels for {len(self.items)} items")


def default_metric(head: Head) -> str:
    """Accuracy for classes, R² for numbers, exact match for sequences, F1 for several classes at once."""
    if head.level == "sequence":
        return "exact_match"
    if isinstance(head.target, NumberTarget):
        return "r2"
    return "accuracy" if isinstance(head.target, ClassTarget) else "f1"
