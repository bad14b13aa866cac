"""Checks before training: find, or leave out, items and labels that could not be used or scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from multiseq.batch import place_of
from multiseq.data.bad_rows import BadRows
from multiseq.ensemble import Ensemble
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget, named_flags
from multiseq.heads.text_target import TextTarget, references
from multiseq.labels import class_name
from multiseq.model import Model, Predictor
from multiseq.pretrained.encoder import PretrainedEncoder
from multiseq.protocols import Adapter
from multiseq.tasks import Source, Task
from multiseq.training.item_cache import ItemCache
from multiseq.training.metrics import mark_spans
from multiseq.training.prepared_source import WHAT_TO_DO

__all__ = ["check_labels", "check_lengths", "check_metric", "without_bad_items"]


def check_labels(model: Predictor, source: Source, cache: ItemCache) -> list[str]:
    """Check that all items and labels of a source can be scored. Otherwise errors appear only after training.

    Returns:
        One line for each task whose labels have classes that no training item has. The line names these
        classes: the model can never predict them.

    Raises:
        ValueError: An item is invalid, its labels do not fit its vectors, or the task's metric cannot score
            its labels. The message names the file and line.
    """
    adapter = model.adapter(source.adapter_name)
    prepared, notes = cache.examples(adapter, source.items, source.locations), []
    for name, labels in source.targets.items():
        task, unknown = model.task(name), list[str]()
        check_metric(task, f"tasks[{name!r}]")
        for number, examples in enumerate(prepared):
            place, label = place_of(source.locations, number), labels[number]
            try:
                unknown += [f"{new!r} in {place}" for new in _unknown_classes(adapter, task, label, examples)]
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
        if unknown:
            more = " …" if unknown[5:] else ""
            notes.append(
                f"{name}: {len(unknown):,} labels have classes that no training item has; they count as "
                f"errors: {', '.join(unknown[:5])}{more}"
            )
    return notes


def check_lengths(model: Predictor, source: Source, cache: ItemCache, *, training: bool) -> None:
    """Check that no labelled item makes a longer sequence than a pretrained encoder has positions.

    Args:
        model: The model.
        source: Items and labels.
        cache: Cache of prepared items.
        training: Whether the items are trained on, where speech may be played more slowly (`speeds`).

    Raises:
        ValueError: Some do. The message names the file and line of the first, and says how many there are.
    """
    prepared = cache.examples(model.adapter(source.adapter_name), source.items, source.locations)
    long = _too_long(model, source, prepared, training=training)
    if long:
        first = min(long)
        more = f" ({len(long):,} of {len(prepared):,} items do)" if len(long) > 1 else ""
        raise ValueError(
            f"{place_of(source.locations, first)}: {long[first]}{more}; cut the item, or of speech let the "
            "adapter cut it (`chunk_seconds`) or make fewer vectors of it (a higher `subsample`); or leave "
            'such items out with on_error = "skip" in their [data] table'
        )


def _too_long(
    model: Predictor, source: Source, prepared: Sequence[Sequence[Any]], *, training: bool
) -> Mapping[int, str]:
    """The number of each labelled item that makes too long a sequence, and the reason."""
    one = model.models[0] if isinstance(model, Ensemble) else cast(Model, model)
    limit = one.encoder.max_length if isinstance(one.encoder, PretrainedEncoder) else None
    if limit is None:
        return {}
    adapter = one.adapter(source.adapter_name)
    speed = min(1.0, *getattr(adapter, "speeds", (1.0,))) if training else 1.0
    labelled = [
        any(labels[i] is not None for labels in source.targets.values()) for i in range(len(prepared))
    ]
    sizes = {
        (i, number): math.ceil(adapter.num_vectors(example) / speed)
        for i, examples in enumerate(prepared)
        if labelled[i]
        for number, example in enumerate(examples)
    }
    beyond = {place: size for place, size in sizes.items() if size > limit}
    if not beyond:
        return {}
    number, example = min(beyond, key=lambda place: beyond[place])
    with one.evaluating():  # the stem decides whether a set is a sequence: the nodes of a graph are none
        sets = adapter(adapter.collate([prepared[number][example]]).to(one.device))
    if not any(sets.ordered):
        return {}
    longest: dict[int, int] = {}
    for (number, _), size in beyond.items():
        longest[number] = max(size, longest.get(number, 0))
    slowly = f" at a speed of {speed:g}" if speed < 1 else ""
    return {
        number: f"makes a sequence of {size:,} vectors{slowly}, expected at most {limit:,}, the positions "
        "that the pretrained encoder knows"
        for number, size in longest.items()
    }


def _unknown_classes(adapter: Adapter, task: Task, label: Any, examples: Sequence[Any]) -> list[str]:
    """The classes of an item's label that no training item has.

    Raises:
        ValueError: The label does not fit the item's vectors, or cannot be scored.
    """
    if label is None:
        return []
    of_vectors = task.head.level == "vector"
    aligned = [v for e in examples for v in adapter.align(label, e)] if of_vectors else [label]
    return [new for one in aligned for new in _unknown(task, one)]


def without_bad_items(
    model: Predictor, source: Source, cache: ItemCache, bad: BadRows, *, training: bool
) -> Source:
    """The source without items that cannot be prepared, or whose labels do not fit their vectors.

    Args:
        model: The model.
        source: Items and labels. An item is left out with all of its labels.
        cache: Cache of prepared items. The remaining items are not prepared again.
        bad: Notes the bad items.
        training: Whether the source is for training, where an item with a text to learn must be one set.

    Raises:
        DataError: Most items are bad.
    """
    adapter, reasons = model.adapter(source.adapter_name), dict[int, str]()
    prepared = cache.examples(adapter, source.items, source.locations, reasons.setdefault)
    reasons = {**_too_long(model, source, prepared, training=training), **reasons}
    for name, labels in source.targets.items():
        task = model.task(name)
        for i, (label, examples) in enumerate(zip(labels, prepared, strict=True)):
            if i in reasons or label is None:
                continue
            try:
                _unknown_classes(adapter, task, label, examples)
                if training and task.head.level != "vector":
                    several = task.head.level == "sequence"
                    task.head.target.batch(references(label) if several else [label])
            except ValueError as error:
                reasons[i] = f"{name}: {error}"
            if training and task.head.level == "sequence" and len(examples) > 1:
                reasons[i] = f"{name}: makes {len(examples)} sets, expected one for a text; {WHAT_TO_DO}"
    if not reasons:
        return source
    kept = bad.drop(reasons, source.items, source.locations, f"{', '.join(source.targets)} ({bad.split})")
    return replace(
        source,
        items=cache.select(adapter, source.items, kept),
        targets={name: [labels[i] for i in kept] for name, labels in source.targets.items()},
        locations=[source.locations[i] for i in kept] if source.locations else (),
    )


def check_metric(task: Task, place: str) -> None:
    """Raise ValueError if a metric cannot score its task's classes. The message begins with ``place``."""
    target = task.head.target
    if task.metric == "roc_auc" and isinstance(target, ClassTarget) and target.size != 2:
        raise ValueError(
            f"{place} metric: got 'roc_auc' for {target.size} classes, expected two; use accuracy or f1"
        )
    if task.metric == "span_f1" and isinstance(target, ClassTarget) and not mark_spans(target.labels):
        raise ValueError(
            f"{place} metric: got 'span_f1' for the classes {', '.join(target.labels[:5])}, expected classes "
            "such as B-PER, I-PER and O; use accuracy or f1"
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
        if task.metric == "span_f1" and name != "O" and not mark_spans([name]):
            raise ValueError(f"label: got {name!r}, expected one such as B-PER, I-PER or O for span_f1")
        return [name]
    if isinstance(target, MultiLabelTarget):
        return [name for name, there in named_flags(label).items() if there and not target.knows(name)]
    if isinstance(target, TextTarget):
        for text in references(label):
            target.encode(text)
    elif isinstance(target, NumberTarget):
        target.batch([label])
    return []
