"""Batches: the input of the model in one training step, and functions that prepare items and fill batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from multiseq.protocols import Adapter, Inputs, LongItem

__all__ = ["Batch", "Part", "fill_batches", "named", "place_of", "prepare", "prepare_all", "prepare_long"]


@dataclass
class Part:
    """The examples of one adapter in a batch, with their labels.

    Args:
        adapter: The adapter's name in the model.
        inputs: The packed examples; each becomes one set.
        targets: Task name -> (numbers of the sets that have a label, the labels in the form that the loss
            of the task's head takes).
    """

    adapter_name: str
    inputs: Inputs
    targets: dict[str, tuple[list[int], Any]]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Part:
        """A copy on another device."""
        moved = {k: (c, t.to(device, non_blocking=non_blocking)) for k, (c, t) in self.targets.items()}
        return Part(self.adapter_name, self.inputs.to(device, non_blocking=non_blocking), moved)

    def pin_memory(self) -> Part:
        """A copy in page-locked (pinned) memory."""
        pinned = {k: (c, t.pin_memory()) for k, (c, t) in self.targets.items()}
        return Part(self.adapter_name, self.inputs.pin_memory(), pinned)


@dataclass
class Batch:
    """The examples of all adapters for one step."""

    parts: list[Part]

    @property
    def num_vectors(self) -> int:
        """The number of vectors that the encoder will process."""
        return sum(sum(part.inputs.lengths) for part in self.parts)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """A copy on another device."""
        return Batch([part.to(device, non_blocking=non_blocking) for part in self.parts])

    def pin_memory(self) -> Batch:
        """A copy in page-locked (pinned) memory."""
        return Batch([part.pin_memory() for part in self.parts])


def fill_batches(order: Sequence[int], sizes: Sequence[int], max_vectors: int) -> Iterator[list[int]]:
    """Split item numbers, in the given order, into batches whose sizes add up to at most ``max_vectors``.

    An item that is larger than the budget gets a batch of its own.

    >>> list(fill_batches([0, 1, 2, 3], [3, 4, 9, 1], max_vectors=8))
    [[0, 1], [2], [3]]
    """
    batch: list[int] = []
    used = 0
    for number in order:
        if batch and used + sizes[number] > max_vectors:
            yield batch
            batch, used = [], 0
        batch.append(number)
        used += sizes[number]
    if batch:
        yield batch


def place_of(locations: Sequence[str], number: int) -> str:
    """The name of an item in messages: its file and line if they are known, otherwise its number."""
    return locations[number] if locations else f"item {number}"


def prepare_all(
    adapter: Adapter,
    items: Sequence[Any],
    locations: Sequence[str] = (),
    first: int = 0,
    fail: Callable[[int, str], Any] | None = None,
) -> list[list[Any]]:
    """Prepare all items. An error names the item's file and line, or its number counted from ``first``.

    If there is a function ``fail``, there is no error: it is called with the number of the item and the
    reason, and the item has no examples.
    """
    return [
        prepare(adapter, item, place_of(locations, first + i), fail and partial(fail, first + i))
        for i, item in enumerate(items)
    ]


def prepare(adapter: Adapter, item: Any, place: str, fail: Callable[[str], Any] | None = None) -> list[Any]:
    """Prepare one item: return its examples. An error begins with ``place``.

    If there is a function ``fail``, there is no error: it is called with the reason.
    """
    examples: list[Any] = _prepare(adapter.prepare, item, place, fail)
    return examples


def prepare_long(
    adapter: Adapter, item: Any, place: str, fail: Callable[[str], Any] | None = None
) -> list[Any] | LongItem:
    """As :func:`prepare`, for a text; but an item may be so long that it is read in pieces."""
    examples: list[Any] | LongItem = _prepare(
        getattr(adapter, "in_pieces", adapter.prepare), item, place, fail
    )
    return examples


def _prepare(function: Callable[[Any], Any], item: Any, place: str, fail: Callable[[str], Any] | None) -> Any:
    try:
        return function(item)
    except (ValueError, OSError) as error:
        if fail is None:
            raise named(error, place) from error
        fail(str(error))
        return []


def named(error: Exception, place: str) -> ValueError:
    """An error that begins with the place of its item, which some messages (of recordings) already do."""
    return ValueError(str(error) if str(error).startswith(place) else f"{place}: {error}")
