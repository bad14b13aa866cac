"""Checks before training: find items and labels that could not be scored after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiseq.batch import place_of
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget, named_flags
from multiseq.heads.text_target import TextTarget
from multiseq.labels import class_name
from multiseq.model import Model
from multiseq.protocols import Adapter
from multiseq.tasks import Source, Task
from multiseq.training.item_cache import ItemCache

__all__ = ["check_labels", "check_metric", "unknown_classes"]


def check_labels(model: Model, source: Source, cache: ItemCache) -> list[str]:
    """Check that all items and labels of a source can be scored. Otherwise errors appear only after training.

    Returns:
        One line for each task whose labels have classes that no training item has. The line names these
        classes: the model can never predict them.

    Raises:
        ValueError: An item is invalid, its labels do not fit its vectors, or the task's metric cannot score
            its labels. The message names the file and line.
    """
    adapter = model.adapter(source.adapter_name)
    found, notes = cache.examples(adapter, source.items, source.locations), []
    for name, labels in source.targets.items():
        task, unknown = model.task(name), list[str]()
        check_metric(task, f"tasks[{name!r}]")
        for number, examples in enumerate(found):
            place, label = place_of(source.locations, number), labels[number]
            try:
                unknown += [f"{new!r} in {place}" for new in unknown_classes(adapter, task, label, examples)]
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
        if unknown:
            more = " …" if unknown[5:] else ""
            notes.append(
                f"{name}: {len(unknown):,} labels have classes that no training item has; they count as "
                f"errors: {', '.join(unknown[:5])}{more}"
            )
    return notes


def unknown_classes(adapter: Adapter, task: Task, label: Any, examples: Sequence[Any]) -> list[str]:
    """The classes of an item's label that no training item has.

    Raises:
        ValueError: The label does not fit the item's vectors, or cannot be scored.
    """
    if label is None:
        return []
    of_vectors = task.head.level == "vector"
    rows = [v for e in examples for v in adapter.align(label, e)] if of_vectors else [label]
    return [new for row in rows for new in _unknown(task, row)]


def check_metric(task: Task, place: str) -> None:
    """Raise ValueError if a metric cannot score its task's classes. The message begins with ``place``."""
    target = task.head.target
    if task.metric == "roc_auc" and isinstance(target, ClassTarget) and target.size != 2:
        raise ValueError(
            f"{place} metric: got 'roc_auc' for {target.size} classes, expected two; use accuracy or f1"
        )


def _unknown(task: Task, label: Any) -> list[str]:
    """The classes of a label that training lacks. Raises ValueError if the label cannot be scored."""
    target = task.head.target
    if isinstance(target, ClassTarget):
        name = class_name(label)
        if name is None or target.knows(name):
            return []
        if task.metric == "roc_auc":
            raise ValueError(f"label: got {name!r}, expected {' or '.join(target.labels)} for roc_auc")
        return [name]
    if isinstance(target, MultiLabelTarget):
        return [name for name, there in named_flags(label).items() if there and not target.knows(name)]
    if isinstance(target, TextTarget):
        for text in [label] if isinstance(label, str) else label:
            target.encode(text)
    elif isinstance(target, NumberTarget):
        target.batch([label])
    return []
