"""Inputs of several modalities: one set that holds the vectors of several parts.

    set = join over parts p of (stem_p(item[p]) + source_p)

The encoder attends over all parts together (early fusion, as in ViLT: Kim et al. 2021,
https://arxiv.org/abs/2102.03334, whose "modal-type embedding" the learned source vectors are; here any
adapters are parts, each with a stem and positions of its own). Axes: parts, vectors, sets, dim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from multiseq.checks import check_labels, config_of, reading, under
from multiseq.protocols import Adapter, Inputs
from multiseq.vectors import VectorSets

__all__ = ["FusedAdapter", "FusedExample"]


@dataclass(frozen=True)
class FusedExample:
    """The examples of the parts that an item has, in the adapter's order.

    Args:
        parts: Part name -> that part's example; a missing part is not there.
        counts: Vectors of each, as prepared: `augment` may change the speed, and with it the number.
    """

    parts: dict[str, Any]
    counts: dict[str, int]


class FusedAdapter(nn.Module):
    """Items of several parts as one set each: a molecule and words about it, a clip and its transcript.

    An item is a mapping from the names of the parts to their items. A part that is None or not there
    gives no vectors. Parts keep their own positions: words and frames count from 0 each, nodes stay
    unordered; a learned source vector tells them apart. One adapter under two names has one stem (two
    sentences to compare).

    Args:
        parts: Name -> adapter, ready to be trained; all of one width.

    Raises:
        ValueError: No parts, names that are no plain words, widths that differ, or an adapter whose
            heads do not read every vector (`NeighborhoodAdapter`).

    Example:
        >>> from multiseq import TextAdapter
        >>> text = TextAdapter.fit(["a cat sat", "it sat"], dim=8, vocab_size=270)
        >>> adapter = FusedAdapter({"premise": text, "claim": text})
        >>> [example] = adapter.prepare({"premise": "a cat sat", "claim": "it sat"})
        >>> adapter.names(example)
        ['premise: a', 'premise: cat', 'premise: sat', 'claim: it', 'claim: sat']
    """

    modality = "fused"
    json_form = '{"NAME OF A PART": "ITEM OF THAT PART"}'

    def __init__(self, parts: Mapping[str, Adapter]) -> None:
        super().__init__()
        _check_parts(parts)
        self.parts, self.dim = dict(parts), next(iter(parts.values())).dim
        # An adapter under several names is trained and saved once, under the first of them.
        first: dict[int, str] = {}
        self.owners = {name: first.setdefault(id(part), name) for name, part in parts.items()}
        # In brackets, for a part may be called `type`, which modules have too.
        self.stems = nn.ModuleDict({f"[{n}]": cast(nn.Module, parts[n]) for n in first.values()})
        self.source = nn.Parameter(0.1 * torch.randn(len(parts), self.dim))

    @property
    def pair_codes(self) -> int:
        """How many codes for pairs of vectors the parts have at most; parts share the encoder's table."""
        return max(getattr(part, "pair_codes", 0) for part in self.parts.values())

    # --- on the CPU, in loader workers -----------------------------------------------------------

    def prepare(self, item: Any) -> list[FusedExample]:
        """One example.

        Raises:
            ValueError: No mapping, an unknown part, or a part that is bad or makes several sets.
        """
        if not isinstance(item, Mapping):
            raise ValueError(
                f"item: got {type(item).__name__}, expected a mapping from {', '.join(self.parts)} to items"
            )
        self._check_names(item, "item")
        parts = {name: self._prepare(name, item[name]) for name in self.parts if item.get(name) is not None}
        return [FusedExample(parts, {name: self.parts[name].num_vectors(e) for name, e in parts.items()})]

    def _prepare(self, name: str, item: Any) -> Any:
        with _of_part(name):
            examples = self.parts[name].prepare(item)
            if len(examples) != 1:
                raise ValueError(
                    f"got {len(examples)} sets of one item, expected one; build this part's adapter so that "
                    "it cuts nothing (window=None, chunk_seconds=None), or cut the item"
                )
        return examples[0]

    def augment(self, example: FusedExample, generator: torch.Generator) -> FusedExample:
        """Each part as its own adapter does it, one after another."""
        changed = {name: self.parts[name].augment(e, generator) for name, e in example.parts.items()}
        return replace(example, parts=changed)

    def num_vectors(self, example: FusedExample) -> int:
        """The sum over the parts."""
        return sum(self.parts[name].num_vectors(e) for name, e in example.parts.items())

    def align(self, labels: Any, example: FusedExample) -> list[Any]:
        """One label for each vector of all parts, in the adapter's order of parts.

        Args:
            labels: One list for the vectors of all parts, or a mapping from parts to labels as their
                adapters take them; a part that is None or not there has no labels.
            example: What they belong to.

        Raises:
            ValueError: Another number of labels than of vectors, or labels of a part that is missing.
        """
        by_part = self._by_part(labels, example)
        aligned: list[Any] = []
        for name, own in example.parts.items():
            part = self.parts[name]
            with _of_part(name):
                given = by_part.get(name)
                aligned += [None] * part.num_vectors(own) if given is None else part.align(given, own)
        return aligned

    def _by_part(self, labels: Any, example: FusedExample) -> Mapping[str, Any]:
        if isinstance(labels, Mapping):
            self._check_names(labels, "labels")
            for name in labels:
                if labels[name] is not None and name not in example.parts:
                    raise ValueError(f"labels: got some for part {name!r}, which this item has not; use None")
            return labels
        total, counts = sum(example.counts.values()), example.counts.items()
        shown = ", ".join(f"{name} {count}" for name, count in counts)
        check_labels(labels, total, "vector", f" ({shown}), or a mapping from parts to their labels")
        rest = iter(labels)
        return {name: [next(rest) for _ in range(count)] for name, count in counts}

    def names(self, example: FusedExample) -> list[str]:
        """What each vector stands for, after the name of its part: "caption: cat"."""
        own = {name: self.parts[name].names(e) for name, e in example.parts.items()}
        return [f"{name}: {what}" for name, names in own.items() for what in names]

    def collate(self, examples: Sequence[FusedExample]) -> Inputs:
        """Pack each part's own examples; tensors are called ``part.name``."""
        lengths = [0] * len(examples)
        tensors: dict[str, Tensor] = {}
        host: dict[str, Any] = {}
        for name, part in self.parts.items():
            chosen = [i for i, e in enumerate(examples) if name in e.parts]
            # A part that no example has is not packed: not every adapter can pack nothing.
            inner = part.collate([examples[i].parts[name] for i in chosen]) if chosen else Inputs([], {})
            tensors |= {f"{name}.{key}": tensor for key, tensor in inner.tensors.items()}
            host[name] = (chosen, inner.lengths, inner.host)
            for i, length in zip(chosen, inner.lengths, strict=True):
                lengths[i] += length
        return Inputs(lengths, tensors, host)

    # --- for `multiseq.training.item_cache` ---------------------------------------------------------------

    @property
    def kept(self) -> tuple[type, ...]:
        """Where every part's examples can be kept, those of all parts."""
        parts: list[Any] = list(self.parts.values())
        return tuple(dict.fromkeys([FusedExample, *(kind for part in parts for kind in part.kept)]))

    def prepared_by(self) -> dict[str, Any]:
        """What `prepare` depends on besides the item, part by part."""
        parts: dict[str, Any] = self.parts
        return {name: part.prepared_by() for name, part in parts.items()}

    def content(self, item: Any) -> Any:
        """What the parts' adapters read of their items."""
        parts: dict[str, Any] = self.parts
        return {name: parts[name].content(own) for name, own in item.items() if own is not None}

    # --- for the command line ---------------------------------------------------------------------

    def is_item(self, value: Mapping[str, Any]) -> bool:
        """A mapping from parts to their items is an item."""
        return True

    # --- on the device ---------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One set for each example: the vectors of its parts, one part after another."""
        sources = zip(self.parts, self.source, strict=True)
        return VectorSets.join([self._part(name, source, inputs) for name, source in sources])

    def _part(self, name: str, source: Tensor, inputs: Inputs) -> VectorSets:
        """The sets of one part, empty where an example has not got it."""
        chosen, own_lengths, host = inputs.host[name]
        if not chosen:
            return VectorSets(source.new_zeros(0, self.dim), [0] * len(inputs.lengths))
        sets = self.parts[name](Inputs(own_lengths, under(f"{name}.", inputs.tensors), host))
        # An item without this part gets an empty set, which has no order, whatever else is in the batch.
        counts = [0] * len(inputs.lengths)
        for i in chosen:
            counts[i] = 1
        return sets.with_values(sets.values + source).merge(counts)

    def read(self, sets: VectorSets) -> VectorSets:
        """Every vector has a label."""
        return sets

    # --- to disk and back ------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Class and config of every part, or the earlier part whose adapter it shares."""
        return {"parts": {name: self._spec(name) for name in self.parts}}

    def _spec(self, name: str) -> dict[str, Any]:
        if (owner := self.owners[name]) != name:
            return {"same_as": owner}
        return {"class": type(self.parts[name]).__name__, "config": self.parts[name].config()}

    def assets(self) -> dict[str, str]:
        """Those of the parts, called ``part.file``."""
        return {
            f"{name}.{file}": text
            for name, part in self.parts.items()
            if self.owners[name] == name
            for file, text in part.assets().items()
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        assets: Mapping[str, str],
        adapters: Mapping[str, type] | None = None,
    ) -> FusedAdapter:
        """The inverse of :meth:`config` and :meth:`assets`, weights aside.

        Args:
            config: Of :meth:`config`.
            assets: Of :meth:`assets`.
            adapters: Your own classes by the names of their parts.

        Raises:
            ValueError: A part of a class that is neither this library's nor given.
        """
        parts: dict[str, Adapter] = {}
        with reading("config"):
            for name, spec in config_of(config, ("parts",))["parts"].items():
                own = spec.get("same_as")
                with _of_part(name):
                    parts[name] = (
                        parts[own] if own else _load(name, spec, under(f"{name}.", assets), adapters or {})
                    )
            return cls(parts)

    def _check_names(self, given: Mapping[str, Any], what: str) -> None:
        if unknown := [name for name in given if name not in self.parts]:
            raise ValueError(f"{what}: got parts {unknown}, expected some of {', '.join(self.parts)}")


def _check_parts(parts: Mapping[str, Adapter]) -> None:
    if not isinstance(parts, Mapping):
        raise ValueError(f"parts: got {type(parts).__name__}, expected a mapping from names to adapters")
    if not parts:
        raise ValueError("parts: got none, expected a name and an adapter for each part of an item")
    for name in parts:
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):  # it is part of file names
            raise ValueError(f"parts: got the name {name!r}, expected a word of letters, digits, _ and -")
    for name, part in parts.items():
        if not isinstance(part, Adapter) or not isinstance(part, nn.Module):
            raise ValueError(f"part {name!r}: got {type(part).__name__}, expected an adapter")
    dims = {name: part.dim for name, part in parts.items()}
    if len(set(dims.values())) > 1:
        raise ValueError(f"parts: got dims {dims}, expected one; build all parts with the encoder's dim")
    for name, part in parts.items():
        sets = VectorSets(torch.eye(2, part.dim), [2])
        seen = part.read(sets)
        if seen.lengths != sets.lengths or not torch.equal(seen.values, sets.values):
            raise ValueError(
                f"part {name!r}: heads do not read every vector of this adapter (of a node's "
                "neighbourhood they read the node), expected one whose read gives back all; use GraphAdapter"
            )


def _load(name: str, spec: Mapping[str, Any], assets: Mapping[str, str], own: Mapping[str, type]) -> Adapter:
    found: Any = own.get(name)
    if found is None:
        from multiseq.adapters.graph import GraphAdapter
        from multiseq.adapters.speech import SpeechAdapter
        from multiseq.adapters.text import TextAdapter

        ours = {kind.__name__: kind for kind in (TextAdapter, SpeechAdapter, GraphAdapter, FusedAdapter)}
        found = ours.get(spec["class"])
    if found is None:
        raise ValueError(
            f"part {name!r} is a {spec['class']}, which is not of this library; pass your class as "
            f'load(…, adapters={{"NAME.{name}": {spec["class"]}}}), NAME being the fused adapter\'s'
        )
    deeper = under(f"{name}.", own)  # of parts that have parts
    options = {"adapters": deeper} if deeper else {}
    loaded: Adapter = found.from_config(spec["config"], assets, **options)
    return loaded


@contextmanager
def _of_part(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(f"part {name!r}: {error}") from error
