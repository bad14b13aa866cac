"""Leave out items that a model cannot use: what ``on_error = "skip"`` does after reading."""

from __future__ import annotations

from dataclasses import replace

from multiseq.data.bad_rows import BadRows
from multiseq.model import Model
from multiseq.tasks import Source
from multiseq.training.item_cache import ItemCache
from multiseq.training.label_check import unknown_classes

__all__ = ["without_bad_items"]


def without_bad_items(
    model: Model, source: Source, cache: ItemCache, bad: BadRows, *, training: bool
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
    found = cache.examples(adapter, source.items, source.locations, reasons.setdefault)
    for name, labels in source.targets.items():
        task = model.task(name)
        for i, (label, examples) in enumerate(zip(labels, found, strict=True)):
            if i in reasons or label is None:
                continue
            try:
                unknown_classes(adapter, task, label, examples)
                if training and task.head.level != "vector":
                    task.head.target.batch([label])
            except ValueError as error:
                reasons[i] = f"{name}: {error}"
            if training and task.head.level == "sequence" and len(examples) > 1:
                reasons[i] = f"{name}: makes {len(examples)} sets, expected one for a text; raise the window"
    if not reasons:
        return source
    kept = bad.drop(reasons, source.items, source.locations, f"{', '.join(source.targets)} ({bad.split})")
    return replace(
        source,
        items=cache.select(adapter, source.items, kept),
        targets={name: [labels[i] for i in kept] for name, labels in source.targets.items()},
        locations=[source.locations[i] for i in kept] if source.locations else (),
    )
