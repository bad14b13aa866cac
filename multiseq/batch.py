"""Batch: what one step, or one call in prediction, hands to the model; and how items become examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from multiseq.protocols import Adapter, Inputs

__all__ = ["Batch", "Part", "fill", "place_of", "prepare", "prepare_all"]


@dataclass
class Part:
    """What one adapter contributes to a batch.

    ``targets``: task name -> (the sets that have a label, their labels as the head's loss takes them).
    """

    adapter: str
    inputs: Inputs
    targets: dict[str, tuple[list[int], Any]]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Part:
        """The same part on another device."""
        moved = {k: (c, t.to(device, non_blocking=non_blocking)) for k, (c, t) in self.targets.items()}
        return Part(self.adapter, self.inputs.to(device, non_blocking=non_blocking), moved)

    def pin_memory(self) -> Part:
        """The same part in page-locked memory."""
        pinned = {k: (c, t.pin_memory()) for k, (c, t) in self.targets.items()}
        return Part(self.adapter, self.inputs.pin_memory(), pinned)


@dataclass
class Batch:
    """One step's examples of all adapters."""

    parts: list[Part]

    @property
    def num_vectors(self) -> int:
        """Vectors that the encoder will see."""
        return sum(sum(part.inputs.lengths) for part in self.parts)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return Batch([part.to(device, non_blocking=non_blocking) for part in self.parts])

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return Batch([part.pin_memory() for part in self.parts])


def fill(order: Sequence[int], sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Take numbers in order and close a batch before its sizes exceed the budget.

    >>> list(fill([0, 1, 2, 3], [3, 4, 9, 1], budget=8))
    [[0, 1], [2], [3]]
    """
    batch: list[int] = []
    used = 0
    for number in order:
        if batch and used + sizes[number] > budget:
            yield batch
            batch, used = [], 0
        batch.append(number)
        used += sizes[number]
    if batch:
        yield batch


def place_of(where: Sequence[str], number: int) -> str:
    """What a message calls an item: its file and line where they are known, else its number."""
    return where[number] if where else f"item {number}"


def prepare_all(
    adapter: Adapter, items: Sequence[Any], where: Sequence[str] = (), first: int = 0
) -> list[list[Any]]:
    """The examples of every item; an error names its file and line, or its number from ``first`` on."""
    return [prepare(adapter, item, place_of(where, first + i)) for i, item in enumerate(items)]


def prepare(adapter: Adapter, item: Any, place: str) -> list[Any]:
    """The examples of one item; an error names its ``place``."""
    try:
        return adapter.prepare(item)
    except (ValueError, OSError) as error:
        raise ValueError(f"{place}: {error}") from error
