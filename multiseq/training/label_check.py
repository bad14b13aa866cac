"""Labels that cannot be scored are found before training, not after it."""

from __future__ import annotations

from typing import Any

from multiseq.batch import place_of
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget, named_flags
from multiseq.heads.text_target import TextTarget
from multiseq.labels import class_name
from multiseq.model import Model
from multiseq.tasks import Source, Task
from multiseq.training.item_cache import ItemCache

__all__ = ["check_labels", "check_metric"]


def check_labels(model: Model, source: Source, cache: ItemCache) -> list[str]:
    """What would else be noticed after training, or never: items and labels that cannot be scored.

    Returns:
        For each task with such labels a line that names classes which no training item has: no prediction
        can be one of them.

    Raises:
        ValueError: A bad item, labels that do not fit its vectors or that a task's metric cannot judge, with
            the file and line.
    """
    adapter = model.adapter(source.adapter_name)
    found, notes = cache.examples(adapter, source.items, source.locations), []
    for name, labels in source.targets.items():
        task, unknown = model.task(name), list[str]()
        check_metric(task, f"tasks[{name!r}]")
        for number, examples in enumerate(found):
            place, label = place_of(source.locations, number), labels[number]
            if label is None:
                continue
            try:
                of_vectors = task.head.level == "vector"
                rows = [v for e in examples for v in adapter.align(label, e)] if of_vectors else [label]
                unknown += [f"{new!r} in {place}" for row in rows for new in _unknown(task, row)]
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
        if unknown:
            more = " …" if unknown[5:] else ""
            notes.append(
                f"{name}: {len(unknown):,} labels are of classes that no training item has, and count as "
                f"missed: {', '.join(unknown[:5])}{more}"
            )
    return notes


def check_metric(task: Task, place: str) -> None:
    """Raises ValueError, which begins with a place, where a metric cannot judge the classes of its task."""
    target = task.head.target
    if task.metric == "roc_auc" and isinstance(target, ClassTarget) and target.size != 2:
        raise ValueError(
            f"{place} metric: got 'roc_auc' for {target.size} classes, expected two; use accuracy or f1"
        )


def _unknown(task: Task, label: Any) -> list[str]:
    """Classes of a label that training lacks. Raises ValueError for a label that cannot be judged."""
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
