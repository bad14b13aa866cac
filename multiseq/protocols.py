"""The parts that `Model` puts together, as protocols: adapter, encoder, target, head.

A class of ours or of yours that has these methods can be passed to `Model`; nothing is registered and
nothing is inherited. docs/adapters.md writes a fourth adapter step by step.

Words: an **item** is what a user has (a sentence, a recording, a molecule, a network). `prepare` turns it
into **examples**, one for each set of vectors that the encoder will see: mostly one, but a long document
makes one for each window and a network in node sets one for each node. `Model` puts the results of an
item's examples together again, in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from multiseq.vectors import VectorSets

__all__ = ["Adapter", "EncoderLike", "Head", "Inputs", "Level", "Packed", "RowTarget", "Target"]

Level = Literal["vector", "set", "sequence"]
"""What a head reads: a label per vector, a label per set, or a sequence."""


@dataclass
class Inputs:
    """Several examples, packed on the CPU by `collate` and moved to the device by the training loop.

    Args:
        lengths: Vectors of each set, after the stem. Plain integers.
        tensors: What the stem reads; moved with :meth:`to`.
        host: Plain Python values that the stem needs (lengths before subsampling, counts).
    """

    lengths: list[int]
    tensors: dict[str, Tensor]
    host: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Inputs:
        """The same inputs with their tensors on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Inputs:
        """The same inputs with their tensors in page-locked memory."""
        return self._map(lambda t: t.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> Inputs:
        return Inputs(self.lengths, {k: function(t) for k, t in self.tensors.items()}, self.host)


@dataclass
class Packed:
    """Target sequences of several sets, one after another: `values` (tokens,), `lengths` on the host."""

    values: Tensor
    lengths: list[int]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Packed:
        """The same sequences on another device."""
        return Packed(self.values.to(device, non_blocking=non_blocking), self.lengths)

    def pin_memory(self) -> Packed:
        """The same sequences in page-locked memory."""
        return Packed(self.values.pin_memory(), self.lengths)


@runtime_checkable
class Adapter(Protocol):
    """Turns items of one modality into sets of vectors. An ``nn.Module`` with these methods.

    `prepare`, `augment`, `num_vectors`, `align`, `names` and `collate` run on the CPU, in loader workers;
    `forward` holds everything that learns and runs where the model is.
    """

    modality: str
    dim: int

    def prepare(self, item: Any) -> list[Any]:
        """The examples of one item. Deterministic, so it can be cached. Raises ValueError on a bad item."""

    def augment(self, example: Any, generator: torch.Generator) -> Any:
        """A randomly changed copy for training; all randomness comes from ``generator``."""

    def num_vectors(self, example: Any) -> int:
        """How many vectors the set of this example will have: known before it is batched."""

    def align(self, labels: Any, example: Any) -> Sequence[Any]:
        """The labels of one item cut to this example: one for each vector that :meth:`read` gives.

        Raises ValueError where the number of labels does not fit. None stands for a missing label.
        """

    def names(self, example: Any) -> list[str]:
        """What each vector that :meth:`read` gives stands for: a word, a time in seconds, an atom."""

    def collate(self, examples: Sequence[Any]) -> Inputs:
        """Pack examples. What a set gets must not depend on what else is in the list."""

    def forward(self, inputs: Inputs) -> VectorSets:
        """The learned stem: one set of ``dim``-wide vectors for each example."""

    def read(self, sets: VectorSets) -> VectorSets:
        """What heads see of the encoded sets: mostly all; of a node set, its first vector."""

    def config(self) -> dict[str, Any]:
        """Plain JSON values from which ``from_config`` rebuilds the adapter."""

    def assets(self) -> dict[str, str]:
        """Vocabularies: file name -> text, written beside the weights."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> Adapter:
        """The inverse of :meth:`config` and :meth:`assets`, weights aside."""

    def __call__(self, inputs: Inputs) -> VectorSets:
        """``forward``, as ``nn.Module`` calls it."""


@runtime_checkable
class Keeps(Protocol):
    """What an `Adapter` has besides, where its prepared items can be kept in a folder.

    ``kept``: the dataclasses that its examples are made of, besides tensors, numbers, strings, lists, tuples
    and dictionaries with strings as keys.
    """

    kept: tuple[type, ...]

    def prepared_by(self) -> dict[str, Any]:
        """All that `prepare` depends on besides the item, as plain JSON values."""

    def content(self, item: Any) -> Any:
        """All of an item that `prepare` depends on: JSON values, bytes, arrays and tensors."""


@runtime_checkable
class EncoderLike(Protocol):
    """Sets in, sets of the same lengths out. Ours is `multiseq.Encoder`; a pretrained one can stand in."""

    dim: int

    def __call__(self, sets: VectorSets) -> VectorSets:
        """Encode every set on its own."""

    def config(self) -> dict[str, Any]:
        """Plain JSON values from which it is rebuilt."""


@runtime_checkable
class Target(Protocol):
    """What a label is: owns the vocabulary or the scale, the loss, and the way back to the user's words."""

    size: int
    """How many numbers a head gives for one label."""

    def batch(self, values: Sequence[Any]) -> Any:
        """The user's labels of a batch as what the loss takes. None is a missing label."""

    def config(self) -> dict[str, Any]:
        """Plain JSON values, with ``kind``, from which it is rebuilt."""


class RowTarget(Target, Protocol):
    """A target of one label a row: one for each vector or one for each set."""

    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """From ``(rows, size)``: the sum over labels that are there, and how many that is."""

    def decode(self, logits: Tensor) -> list[Any]:
        """From ``(rows, size)``: one plain result for each row."""


@runtime_checkable
class Head(Protocol):
    """Reads a prediction from encoded sets. An ``nn.Module`` with these methods."""

    level: Level
    target: Any

    def loss(self, sets: VectorSets, targets: Any) -> tuple[Tensor, Tensor]:
        """Sum of the losses and count of what was summed, so that shards of unequal size add up exactly."""

    def decode(self, sets: VectorSets, **options: Any) -> list[Any]:
        """One plain result for each set (for a vector head: a list with one result for each vector)."""

    def config(self) -> dict[str, Any]:
        """Plain JSON values, with ``kind``, from which it is rebuilt (its target included)."""
