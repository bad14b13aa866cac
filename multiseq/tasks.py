"""Tasks (what the model learns to predict) and sources (training items with their labels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multiseq.checks import nearest
from multiseq.labels import in_order, plain
from multiseq.options import METRICS_OF
from multiseq.protocols import Head

__all__ = ["Source", "Task", "listed"]


@dataclass(frozen=True)
class Task:
    """One thing that the model learns to predict for the items of one adapter.

    Args:
        adapter_name: The adapter's name in the model.
        head: The head that predicts; it holds the target.
        metric: The name of a metric (`multiseq.options`). Default: the first one for the target.
        weight: The factor of this task's mean loss in the sum over tasks.

    Raises:
        ValueError: The metric does not fit the target.

    Example:
        >>> from multiseq import ClassTarget, SetHead
        >>> task = Task("text", SetHead(64, ClassTarget(["bad", "good"])), metric="f1")
        >>> task.adapter_name, task.metric
        ('text', 'f1')
    """

    adapter_name: str
    head: Head
    metric: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        fitting = METRICS_OF.get(self.head.target.kind)
        if not self.metric:
            object.__setattr__(self, "metric", fitting[0] if fitting else "accuracy")
        if fitting and self.metric not in fitting:
            raise ValueError(
                f"metric: got {self.metric!r}, expected one of {', '.join(fitting)} for this target"
            )


@dataclass
class Source:
    """Items for one adapter, with their labels. An item that has labels for several tasks is encoded once.

    Items and labels are paired by position; the index of a pandas column is ignored.

    Args:
        adapter_name: The adapter's name in the model.
        items: Raw items, in the form that the adapter's ``prepare`` takes.
        targets: Task's name -> one label for each item; None if an item has none. Labels are converted to
            plain Python values (`multiseq.labels.plain`).
        weight: How often its items are drawn, relative to those of other sources.
        locations: File and line of each item, for error messages.
        odd: Task's name -> what is odd about the way in which its labels were read.

    Raises:
        ValueError: The numbers of items and labels differ, or a collection has no order.

    Example:
        >>> texts = ["what a lovely lamp", "it broke at once"]
        >>> source = Source("text", texts, {"mood": ["good", None], "stars": [5, 1]})
        >>> list(source.targets)
        ['mood', 'stars']
    """

    adapter_name: str
    items: Sequence[Any]
    targets: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    weight: float = 1.0
    locations: Sequence[str] = ()
    odd: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.items = in_order(self.items, "items")
        self.targets = {
            task: [plain(label) for label in in_order(labels, f"targets[{task!r}]")]
            for task, labels in self.targets.items()
        }
        if self.locations and len(self.locations) != len(self.items):
            raise ValueError(
                f"locations: got {len(self.locations)} for {len(self.items)} items, expected one for each"
            )
        for task, labels in self.targets.items():
            if len(labels) != len(self.items):
                raise ValueError(f"targets[{task!r}]: got {len(labels)} labels for {len(self.items)} items")

    @classmethod
    def from_table(
        cls,
        adapter_name: str,
        table: Any,
        *,
        input: str,
        targets: Mapping[str, str | Sequence[str]],
        weight: float = 1.0,
    ) -> Source:
        """Items and labels from the columns of a table. Rows are paired by position, never by an index.

        Args:
            adapter_name: The adapter's name in the model.
            table: A table of pandas, polars, pyarrow or Hugging Face's datasets, or a mapping from names to
                lists.
            input: The column with the items.
            targets: Task's name -> the column with its labels; or several columns, whose labels are a mapping
                from the name of each column to its value.
            weight: As for the constructor.

        Raises:
            ValueError: There is no such column, or there are several of that name.

        >>> table = {"review": ["good", "bad"], "stars": [5, 1]}
        >>> Source.from_table("text", table, input="review", targets={"mood": "stars"}).targets
        {'mood': [5, 1]}
        """
        labels = {
            task: _column(table, names)
            if isinstance(names, str)
            else [
                dict(zip(names, row, strict=True))
                for row in zip(*(_column(table, name) for name in names), strict=True)
            ]
            for task, names in targets.items()
        }
        return cls(adapter_name, _column(table, input), labels, weight)


def _column(table: Any, name: str) -> list[Any]:
    """A column of a table as a list. Raises ValueError if there is not exactly one of that name."""
    columns = getattr(table, "column_names", None) or getattr(table, "columns", table)
    names = [str(column) for column in columns]
    if names.count(name) != 1:
        named = f"{name!r}{'' if name in names else nearest(name, names)}"
        raise ValueError(
            f"table: got {names.count(name)} columns {named}, expected one; there are {', '.join(names)}"
        )
    return list(in_order(table[name], name))


def listed(name: str, sources: Any) -> list[Source]:
    """Several sources as a list. Raises ValueError for a single one, and for anything else among them."""
    if isinstance(sources, Source):
        raise ValueError(f"{name}: got one Source, expected a list of them; use [source]")
    chosen = list(sources)
    for source in chosen:
        if not isinstance(source, Source):
            raise ValueError(f"{name}: got a {type(source).__name__} in it, expected Source(adapter, …)")
    return chosen
