"""A task: what is read from the encoded sets of one adapter, by which head, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multiseq.labels import in_order, plain
from multiseq.metric_names import METRICS_OF
from multiseq.protocols import Head

__all__ = ["Source", "Task"]


@dataclass(frozen=True)
class Task:
    """One thing that the model learns to say about the items of one adapter.

    Args:
        adapter: The adapter's name in the model.
        head: Reads the prediction; owns the target.
        metric: A name from `multiseq.training.metrics`; the usual one of the target where not given.
        weight: Of its mean loss in the sum over tasks.
    """

    adapter: str
    head: Head
    metric: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        fitting = METRICS_OF.get(self.head.target.config()["kind"])
        if not self.metric:
            object.__setattr__(self, "metric", fitting[0] if fitting else "accuracy")
        if fitting and self.metric not in fitting:
            raise ValueError(
                f"metric: got {self.metric!r}, expected one of {', '.join(fitting)} for this target"
            )


@dataclass
class Source:
    """Items of one adapter with their labels: an item that several tasks label is encoded once.

    Items and labels are paired by position: columns of pandas in their own order, whatever their index says.

    Args:
        adapter: The adapter's name in the model.
        items: Raw items, as the adapter's ``prepare`` takes them.
        targets: Task name -> one label for each item; None where an item has none. Kept as plain Python
            values (`multiseq.labels`).
        weight: How often its items are drawn, against those of other sources.
        where: File and line of each item, for messages.

    Raises:
        ValueError: A number of labels that is not the number of items, or what has no order.
    """

    adapter: str
    items: Sequence[Any]
    targets: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    weight: float = 1.0
    where: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.items = in_order(self.items, "items")
        self.targets = {
            task: [plain(label) for label in in_order(labels, f"targets[{task!r}]")]
            for task, labels in self.targets.items()
        }
        if self.where and len(self.where) != len(self.items):
            raise ValueError(f"where: got {len(self.where)} places for {len(self.items)} items")
        for task, labels in self.targets.items():
            if len(labels) != len(self.items):
                raise ValueError(f"targets[{task!r}]: got {len(labels)} labels for {len(self.items)} items")
