"""A source's examples, prepared once, with labels that are checked before training starts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from multiseq.batch import place_of
from multiseq.heads.ctc import TOO_SHORT
from multiseq.heads.targets import is_missing
from multiseq.heads.text_target import references
from multiseq.protocols import Adapter
from multiseq.tasks import Source, Task
from multiseq.training.item_cache import ItemCache

__all__ = ["WHAT_TO_DO", "PreparedSource"]

WHAT_TO_DO = (
    "cut the item and its text, or let the adapter cut later (`window` of texts, `chunk_seconds` of speech; "
    "a pretrained model has a largest window)"
)
"""What to do about an item that makes several sets although its label is a text."""


class PreparedSource:
    """The examples of a source, prepared once. Each example has the labels of its item.

    Args:
        source: Items and labels.
        adapter: Prepares the items.
        tasks: All tasks by name; the source may have labels for only some of them.
        cache: Cache of prepared items. Default: a new one.

    Raises:
        ValueError: An item is invalid, its labels do not fit, or it makes several sets although its label
            is a sequence. The message names the item's file and line if the source knows them.
    """

    def __init__(
        self, source: Source, adapter: Adapter, tasks: Mapping[str, Task], cache: ItemCache | None = None
    ) -> None:
        self.adapter, self.adapter_name, self.weight = adapter, source.adapter_name, source.weight
        for name in source.targets:
            if name not in tasks or tasks[name].adapter_name != source.adapter_name:
                of_adapter = [t for t in tasks if tasks[t].adapter_name == source.adapter_name]
                raise ValueError(
                    f"targets: got {name!r} for a source of {source.adapter_name!r}, "
                    f"expected one of {of_adapter}"
                )
        self.tasks = {name: tasks[name] for name in source.targets}
        pieces = (cache or ItemCache()).examples(adapter, source.items, source.locations)
        self._labels = {name: self._known(name, labels) for name, labels in source.targets.items()}
        for name, task in self.tasks.items():
            several = [i for i, p in enumerate(pieces) if len(p) > 1 and self._labels[name][i] is not None]
            if task.head.level == "sequence" and several:
                place, sets = place_of(source.locations, several[0]), len(pieces[several[0]])
                more = f" ({len(several):,} of {len(pieces):,} items make several)" if several[1:] else ""
                raise ValueError(
                    f"{place}: makes {sets} sets, but task {name!r} learns a sequence from one{more}; "
                    f"{WHAT_TO_DO}"
                )
        self.examples = [example for examples in pieces for example in examples]
        self._item = [i for i, examples in enumerate(pieces) for _ in examples]
        self._locations = source.locations
        # An empty set counts as one vector. Otherwise a batch could hold any number of empty sets.
        self.sizes = [max(1, adapter.num_vectors(example)) for example in self.examples]
        self._short: dict[str, list[str]] = {}
        self._long: dict[str, list[tuple[int, str]]] = {}
        self._drop_unlabelled()
        for name, items in self._short.items():
            warnings.warn(
                f"task {name!r}: {len(items)} of {len(pieces)} items are too short for their text and left "
                f"out ({'; '.join(items[:5])}). {TOO_SHORT}",
                stacklevel=2,
            )
        for name, texts in self._long.items():
            longest, place = max(texts, key=lambda text: text[0])
            limit = cast(Any, self.tasks[name].head).max_length
            warnings.warn(
                f"task {name!r}: {len(texts):,} of {len(pieces):,} texts to learn are longer than the "
                f"{limit:,} tokens of its head's max_length, where the model stops writing. The longest has "
                f"{longest:,} ({place}): set max_length to this or more, or leave it out",
                stacklevel=2,
            )

    def _known(self, name: str, labels: Sequence[Any]) -> list[Any]:
        """The labels of a task, with None for a text that is missing, such as an empty list of texts."""
        head = self.tasks[name].head
        if head.level != "sequence":
            return list(labels)
        return [None if is_missing(head.target, label) else label for label in labels]

    def _drop_unlabelled(self) -> None:
        """Remove examples without a label for any task (for example nodes of another split in node sets)."""
        kept = []
        for i in range(len(self.examples)):
            labelled = [self._has(i, name) for name in self.tasks]  # a list, so that all labels are checked
            if any(labelled):
                kept.append(i)
        self.examples = [self.examples[i] for i in kept]
        self.sizes = [self.sizes[i] for i in kept]
        self._item = [self._item[i] for i in kept]

    def _has(self, number: int, name: str) -> bool:
        """Whether an example has a label for a task. Raises ValueError for a label that does not fit."""
        labels, head = self._labels[name][self._item[number]], self.tasks[name].head
        if labels is None:
            return False
        try:
            if head.level != "vector":
                if head.level != "sequence":
                    head.target.batch([labels])
                    return True
                self._check_length(number, name, references(labels))
                return not self._is_too_short(number, name)
            aligned = self.adapter.align(labels, self.examples[number])
            head.target.batch(aligned)
        except ValueError as error:
            raise ValueError(f"{place_of(self._locations, self._item[number])}: {error}") from error
        return any(v is not None for v in aligned)

    def _check_length(self, number: int, name: str, texts: Sequence[str]) -> None:
        """Note an item whose text has more tokens than a decoder may write. Raises ValueError as `_has`."""
        head, adapter = self.tasks[name].head, cast(Any, self.adapter)
        tokens = head.target.batch(texts)
        limit = getattr(head, "max_length", None)
        if limit is None or max(tokens.lengths) <= limit:
            return
        if getattr(head, "needs_names", False):  # a copied name is one token
            names = list(adapter.spellings(self.examples[number]))
            tokens = head.target.batch(texts, [names] * len(texts))
        if (longest := max(tokens.lengths)) > limit:
            place = place_of(self._locations, self._item[number])
            self._long.setdefault(name, []).append((longest, place))

    def _is_too_short(self, number: int, name: str) -> bool:
        """Whether an example has too few vectors for its text (CTC). If so, its label is removed.

        Of several texts those that fit are kept.
        """
        head: Any = self.tasks[name].head
        item, example = self._item[number], self.examples[number]
        if not hasattr(head, "too_short"):
            return False
        length = self.adapter.num_vectors(example)
        texts = references(self._labels[name][item])
        of_each = [head.too_short(length, text) for text in texts]
        fitting = [text for text, sizes in zip(texts, of_each, strict=True) if not sizes]
        if fitting and len(fitting) < len(texts):
            self._labels[name][item] = fitting
        sizes = "" if fitting else of_each[0]
        if sizes:
            place = ", ".join(filter(None, (place_of(self._locations, item), getattr(example, "source", ""))))
            self._short.setdefault(name, []).append(f"{place}: {sizes}")
            self._labels[name][item] = None
        return bool(sizes)

    def __len__(self) -> int:
        return len(self.examples)

    def example(self, number: int, generator: torch.Generator) -> tuple[Any, dict[str, Any]]:
        """One example, randomly augmented, and its labels by task: of several texts one at random."""
        example = self.adapter.augment(self.examples[number], generator)
        labels = {name: self._labels[name][self._item[number]] for name in self.tasks}
        for name, task in self.tasks.items():
            if task.head.level == "vector" and labels[name] is not None:
                labels[name] = self.adapter.align(labels[name], example)
            elif task.head.level == "sequence" and isinstance(labels[name], list | tuple):
                chosen = int(torch.randint(len(labels[name]), (), generator=generator))
                labels[name] = labels[name][chosen]
        return example, labels
