"""Protocols (interfaces) for the parts of a `Model`: adapter, encoder, target, head.

Any class with these methods can be passed to `Model`, ours or yours. There is no registry and no base class.
docs/adapters.md writes a new adapter step by step.

Terms: an **item** is what a user has (a sentence, a recording, a molecule, a network). `prepare` turns it
into **examples**; each example becomes one set of vectors for the encoder. Most items give one example, but a
long document gives one for each window, and a network as node sets gives one for each node. `Model` combines
the results of an item's examples into one result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from multiseq.vectors import VectorSets

__all__ = [
    "Adapter",
    "EncoderLike",
    "Extras",
    "Head",
    "Inputs",
    "Level",
    "Mark",
    "Packed",
    "Part",
    "Picture",
    "LongItem",
    "RowTarget",
    "Sound",
    "Target",
]

Level = Literal["vector", "set", "sequence"]
"""What a head predicts: a label per vector (token or node classification), a label per set (sequence or
graph classification), or a sequence (sequence to sequence). A label can be a number (regression)."""


@dataclass
class Inputs:
    """A batch of examples. `collate` packs it on the CPU, and the training loop moves it to the device.

    Args:
        lengths: The number of vectors in each set, after the stem. Plain integers.
        tensors: Input tensors of the stem, by name. :meth:`to` moves them.
        host: Other inputs of the stem, as plain Python values (lengths before subsampling, counts).
    """

    lengths: list[int]
    tensors: dict[str, Tensor]
    host: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Inputs:
        """A copy with the tensors on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Inputs:
        """A copy with the tensors in page-locked (pinned) memory."""
        return self._map(lambda t: t.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> Inputs:
        return Inputs(self.lengths, {k: function(t) for k, t in self.tensors.items()}, self.host)


@dataclass
class Packed:
    """Target sequences of several sets, packed: tokens ``values`` ``(tokens,)``, and plain ``lengths``."""

    values: Tensor
    lengths: list[int]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Packed:
        """A copy on another device."""
        return Packed(self.values.to(device, non_blocking=non_blocking), self.lengths)

    def pin_memory(self) -> Packed:
        """A copy in page-locked (pinned) memory."""
        return Packed(self.values.pin_memory(), self.lengths)


@dataclass(frozen=True)
class LongItem:
    """The examples of a long item, in order. They are made anew, one by one, each time it is iterated over.

    Args:
        make: Makes them.
    """

    make: Callable[[], Iterator[Any]]

    def __iter__(self) -> Iterator[Any]:
        return self.make()


@runtime_checkable
class Adapter(Protocol):
    """Turns items of one modality into sets of vectors. It must be an ``nn.Module`` with these methods.

    `prepare`, `augment`, `num_vectors`, `align`, `names` and `collate` run on the CPU, in loader workers.
    `forward` contains all learned layers and runs on the model's device.

    Attributes:
        modality: The kind of data: "text", "speech", "graph", or a name of your own.
        dim: The width of the vectors.
    """

    modality: str
    dim: int

    def prepare(self, item: Any) -> list[Any]:
        """The examples of one item. Must be deterministic, so that it can be cached.

        Raises ValueError for an invalid item.
        """

    def augment(self, example: Any, generator: torch.Generator) -> Any:
        """A randomly changed copy for training. All random numbers must come from ``generator``."""

    def num_vectors(self, example: Any) -> int:
        """The number of vectors that this example's set will have. Needed before batching."""

    def align(self, labels: Any, example: Any) -> Sequence[Any]:
        """From the labels of an item, those of this example: one for each vector that :meth:`read` gives.

        None stands for a missing label. Raises ValueError if the number of labels does not fit.
        """

    def names(self, example: Any) -> list[str]:
        """For each vector that :meth:`read` gives, what it stands for: a word, a time in seconds, an atom."""

    def collate(self, examples: Sequence[Any]) -> Inputs:
        """Pack examples into a batch. The result for one example must not depend on the others."""

    def forward(self, inputs: Inputs) -> VectorSets:
        """The learned stem (embedding layers): one set of vectors of width ``dim`` for each example."""

    def read(self, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """The vectors that heads see, from the encoded sets of a batch and its inputs.

        Usually all; for a node set only the first vector, that of the node; for words of several pieces one
        vector each.
        """

    def config(self) -> dict[str, Any]:
        """The adapter's settings as plain JSON values, for `from_config`."""

    def assets(self) -> dict[str, str]:
        """Vocabularies and the like: file name -> text. They are saved beside the weights."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> Adapter:
        """Rebuild the adapter, without its weights, from :meth:`config` and :meth:`assets`."""

    def __call__(self, inputs: Inputs) -> VectorSets:
        """Call ``forward``; every ``nn.Module`` has this method."""


@runtime_checkable
class Keeps(Protocol):
    """Further methods for an `Adapter` whose prepared items can be stored in a cache folder.

    ``kept`` lists the dataclasses that occur in its examples. Examples can also contain tensors, numbers,
    strings, lists, tuples, and dictionaries with strings as keys.
    """

    kept: tuple[type, ...]

    def prepared_by(self) -> dict[str, Any]:
        """Everything except the item on which the result of `prepare` depends, as plain JSON values."""

    def content(self, item: Any) -> Any:
        """Everything in an item on which `prepare` depends: JSON values, bytes, arrays and tensors."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The label and the prediction of one vector, or its contribution, to be shown with an item.

    Args:
        name: What the vector stands for: a word, a time, an atom.
        label: The true label as a text; empty if it has none.
        predicted: The prediction as a text.
        wrong: Whether they differ. A vector without a label is not wrong.
        contribution: What the vector contributes to the prediction for its item (`Model.contributions`).
    """

    name: str
    label: str
    predicted: str
    wrong: bool
    contribution: float | None = None

    @property
    def text(self) -> str:
        """Both in one text: ``NOUN`` if they agree or there is no label, otherwise ``NOUN → VERB``."""
        return f"{self.label} → {self.predicted}" if self.wrong else self.predicted


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing.

    Args:
        svg: The ``<svg>`` element. A page shows it as an image, so nothing in it can run.
        text: What it shows, for those who cannot see it.
    """

    svg: str
    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording.

    Args:
        data: The content of a sound file.
        kind: Its media type, for example ``audio/flac``.
        text: What it is.
    """

    data: bytes
    kind: str
    text: str


Part = str | Picture | Sound
"""What an item is shown as: a list of texts, drawings and recordings."""


class Extras(Protocol):
    """What an `Adapter` may have besides: all of it is optional, each member by itself.

    `multiseq train` asks the class before there is an adapter, so what is no method is a class attribute or a
    property. Our adapters show what each is for.
    """

    suffixes: tuple[str, ...]
    """Suffixes of files that are one item each, as ``(".wav",)``. Then an item is a path, and relative to the
    file that names it. Without it, items are not files."""

    vector_seconds: float
    """Seconds from one vector to the next. With it, labels may be segments (start, end, label) in seconds, as
    results are shown."""

    quick_to_prepare: bool
    """True: to prepare an item takes no longer than to read it back, so items are not kept in a folder."""

    one_per_line: bool
    """True: results of vectors are printed one a line, as those of the nodes of a network."""

    json_form: str
    """An item in JSON, for messages: ``[["Ada", "profession", "baker"]]``."""

    pair_codes: int
    """How many codes for pairs of vectors there are; the encoder of a recipe gets a table for them."""

    def parse(self, text: str, folder: Path) -> Any:
        """An item as a command line or a line of a file has it. Without it: JSON, or the path of a ``.json``.

        Paths are relative to ``folder``. Raises ValueError on what is no item.
        """

    def check_item(self, item: Any) -> None:
        """Raise ValueError for an item that cannot be read, whatever was learned. A static method.

        Where bad rows are left out, it finds them before the adapter is fitted.
        """

    def is_item(self, value: Mapping[str, Any]) -> bool:
        """Whether an object in JSON is an item itself. Without it, it holds the item in one of its fields."""

    def reader_options(self) -> dict[str, Any]:
        """What a reader of `multiseq.data` must know of training: what the columns of networks hold."""

    def encoded_names(self, example: Any) -> list[str]:
        """What each vector in the encoder stands for, if heads read others; for pictures of attention."""

    def without(self, example: Any, number: int) -> Any:
        """An example without one of its vectors. With it, `Model.contributions` explains predictions."""

    def stand_in(self, item: Any) -> str:
        """What to show in place of an item that nobody can type: ``YOUR.wav``. A static method."""

    def edges(self, example: Any) -> Sequence[float]:
        """Seconds at which each vector begins, and the last one ends. Without it, words have no seconds."""

    def baseline_vectors(self, example: Any) -> Sequence[Any]:
        """What a simple method sees of each vector that heads read: a word, or an array of numbers.

        Without it, the baseline is the most frequent label or the mean.
        """

    def baseline_item(self, item: Any, examples: Sequence[Any], level: Level) -> Any:
        """What a simple method sees of an item: a list of words, or an array of numbers.

        ``level``: "set" or "sequence". Without it, as above.
        """

    def in_pieces(self, item: Any) -> list[Any] | LongItem:
        """As `Adapter.prepare`, where a text is wanted; a long item as a `LongItem`, which needs less memory.

        Without it, every item is prepared as a whole.
        """

    def spellings(self, example: Any) -> list[str]:
        """For each vector that heads see, the text that it stands for, or "": what a decoder may copy.

        Without it, a target that copies is refused.
        """

    def show(
        self, item: Any, examples: Sequence[Any], marks: Sequence[Mark], focus: int | None
    ) -> Sequence[Part]:
        """An item as what it is, for the report of a run: texts, drawings, recordings.

        Args:
            item: The item.
            examples: Its examples.
            marks: For a task per vector, the label and the prediction of each vector of the item. For a label
                of the whole item, the contribution of each vector, if there is one.
            focus: The number of the vector that matters, if an item is too large to be shown as a whole.

        Without it, or if it returns nothing, the item is shown as JSON, and marks as words with labels under
        them.
        """


@runtime_checkable
class EncoderLike(Protocol):
    """Maps sets to sets of the same lengths. Ours is `multiseq.Encoder`; a pretrained one can replace it."""

    dim: int

    def __call__(self, sets: VectorSets) -> VectorSets:
        """Encode each set independently of the others."""

    def config(self) -> dict[str, Any]:
        """The encoder's settings as plain JSON values, from which ``from_config`` rebuilds it."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EncoderLike:
        """The inverse of :meth:`config`."""


@runtime_checkable
class Target(Protocol):
    """Defines what a label is: it holds the vocabulary or the scale and converts labels to tensors."""

    kind: str
    """A word for its class: "class", "multilabel", "number", "text", or one of yours."""

    size: int
    """The number of outputs (logits) that a head computes for one label."""

    def batch(self, values: Sequence[Any]) -> Any:
        """Convert the user's labels of a batch to the form that the loss takes. None is a missing label."""

    def config(self) -> dict[str, Any]:
        """The target's settings as plain JSON values, including ``kind``, that rebuild it."""


class RowTarget(Target, Protocol):
    """A target for `VectorHead` and `SetHead`: one label for each row (a vector or a set)."""

    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """From logits ``(rows, size)``: the loss summed over the labels that are there, and their number."""

    def decode(self, logits: Tensor) -> list[Any]:
        """From logits ``(rows, size)``: one result for each row."""


@runtime_checkable
class Head(Protocol):
    """Predicts from encoded sets. It must be an ``nn.Module`` with these methods.

    A head with a true attribute ``needs_names`` gets what each vector stands for (`Extras.spellings`) as
    ``names``: for each set a list, in ``target.batch`` and in :meth:`decode`.
    """

    level: Level
    target: Any

    def loss(self, sets: VectorSets, targets: Any) -> tuple[Tensor, Tensor]:
        """The sum of the losses and their number. Sums from batches of unequal size add up exactly."""

    def decode(self, sets: VectorSets, **options: Any) -> list[Any]:
        """One result for each set (for a vector head: a list with one result for each vector)."""

    def config(self) -> dict[str, Any]:
        """The settings of head and target as plain JSON values, including ``kind``, that rebuild the head."""
