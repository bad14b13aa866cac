"""Fused inputs (several modalities in one item): one set holds the vectors of all parts.

    set = join over parts p of (stem_p(item[p]) + source_p)
    heads see: join over parts p of read_p(encoded vectors of p)

The encoder attends over all parts together (early fusion), as in ViLT (Kim et al. 2021,
https://arxiv.org/abs/2102.03334). The learned source vectors are ViLT's "modal-type embedding". Unlike in
ViLT, any adapter can be a part, and each part keeps its stem and its positions.

Axes: parts, vectors, sets, dim.
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
from multiseq.nn.first_weights import repeatable
from multiseq.protocols import Adapter, Inputs, Mark, Part
from multiseq.vectors import VectorSets

__all__ = ["FusedAdapter", "FusedExample"]


@dataclass(frozen=True)
class FusedExample:
    """The examples of all parts that an item has, in the adapter's order of parts.

    Args:
        parts: Part name -> example of that part. A part that the item lacks has no entry.
        counts: Part name -> number of vectors that heads see, before augmentation. `augment` may change the
            speed of a recording, and with it this number.
    """

    parts: dict[str, Any]
    counts: dict[str, int]


class FusedAdapter(nn.Module):
    """Turns an item of several parts into one set, for example a molecule and a text about it.

    An item is a mapping from part names to the items of the parts. A part that is None or missing gives
    no vectors. Each part keeps its positions: words and frames both count from 0, and nodes have no
    order. A learned source vector marks the part that a vector comes from. If the same adapter has two
    names (two sentences to compare, for example), both parts share its stem. Of each part, heads
    see the same vectors as if the part were the whole item: of a text for a pretrained model, the words.

    Args:
        parts: Part name -> adapter, ready to be trained. All adapters must have the same ``dim``.

    Raises:
        ValueError: No parts, a name with other characters than letters, digits, ``_`` and ``-``, or adapters
            of different widths.

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

    @repeatable
    def __init__(self, parts: Mapping[str, Adapter]) -> None:
        super().__init__()
        _check_parts(parts)
        self.parts, self.dim = dict(parts), next(iter(parts.values())).dim
        # If an adapter has several names, it is trained and saved once, under the first name.
        first: dict[int, str] = {}
        self.owners = {name: first.setdefault(id(part), name) for name, part in parts.items()}
        # The brackets avoid a clash: a part may be called `type`, and every module has a method `type`.
        self.stems = nn.ModuleDict({f"[{n}]": cast(nn.Module, parts[n]) for n in first.values()})
        self.source = nn.Parameter(0.1 * torch.randn(len(parts), self.dim))

    @property
    def pair_codes(self) -> int:
        """The largest number of pair codes of any part. All parts share the encoder's table of pair codes."""
        return max(getattr(part, "pair_codes", 0) for part in self.parts.values())

    # --- on the CPU, in loader workers -----------------------------------------------------------

    def prepare(self, item: Any) -> list[FusedExample]:
        """A list with one example.

        Raises:
            ValueError: The item is not a mapping or has an unknown part; or a part is invalid or makes
                several sets.
        """
        if not isinstance(item, Mapping):
            raise ValueError(
                f"item: got {type(item).__name__}, expected a mapping from {', '.join(self.parts)} to items"
            )
        self._check_names(item, "item")
        parts = {name: self._prepare(name, item[name]) for name in self.parts if item.get(name) is not None}
        return [FusedExample(parts, {name: len(self.parts[name].names(e)) for name, e in parts.items()})]

    def _prepare(self, name: str, item: Any) -> Any:
        with _of_part(name):
            examples = self.parts[name].prepare(item)
            if len(examples) != 1:
                raise ValueError(
                    f"got {len(examples)} sets of one item, expected one; make the item shorter, or build "
                    "this part's adapter so that it does not cut items (window=None of a TextAdapter, "
                    "chunk_seconds=None, GraphAdapter for a network)"
                )
        return examples[0]

    def augment(self, example: FusedExample, generator: torch.Generator) -> FusedExample:
        """Augment each part with its adapter, one part after another."""
        changed = {name: self.parts[name].augment(e, generator) for name, e in example.parts.items()}
        return replace(example, parts=changed)

    def num_vectors(self, example: FusedExample) -> int:
        """The number of vectors, summed over the parts."""
        return sum(self.parts[name].num_vectors(e) for name, e in example.parts.items())

    def align(self, labels: Any, example: FusedExample) -> list[Any]:
        """One label per vector, part after part in the adapter's order. A missing label is None.

        Args:
            labels: One list for the vectors of all parts, or a mapping from part names to labels in the
                form that the part's adapter takes. A part that is None or missing has no labels.
            example: The example that the labels belong to.

        Raises:
            ValueError: The numbers of labels and vectors differ, or the item lacks a part with labels.
        """
        by_part = self._by_part(labels, example)
        aligned: list[Any] = []
        for name, inner in example.parts.items():
            part = self.parts[name]
            with _of_part(name):
                given = by_part.get(name)
                none = [None] * len(part.names(inner))
                aligned += none if given is None else part.align(given, inner)
        return aligned

    def _by_part(self, labels: Any, example: FusedExample) -> Mapping[str, Any]:
        if isinstance(labels, Mapping):
            self._check_names(labels, "labels")
            for name in labels:
                if labels[name] is not None and name not in example.parts:
                    raise ValueError(f"labels: got some for part {name!r}, which this item lacks; use None")
            return labels
        total, counts = sum(example.counts.values()), example.counts.items()
        shown = ", ".join(f"{name} {count}" for name, count in counts)
        check_labels(labels, total, "vector", f" ({shown}), or a mapping from parts to their labels")
        rest = iter(labels)
        return {name: [next(rest) for _ in range(count)] for name, count in counts}

    def names(self, example: FusedExample) -> list[str]:
        """The name of each vector: the name of its part, then what it stands for, as in "caption: cat"."""
        return self._names(example, "names")

    def encoded_names(self, example: FusedExample) -> list[str]:
        """As :meth:`names`, for the vectors in the encoder."""
        return self._names(example, "encoded_names")

    def _names(self, example: FusedExample, method: str) -> list[str]:
        named = []
        for name, inner in example.parts.items():
            part = self.parts[name]
            named += [f"{name}: {what}" for what in getattr(part, method, part.names)(inner)]
        return named

    def spellings(self, example: FusedExample) -> list[str]:
        """What a decoder may copy: words and names of the parts that have some, and "" for other vectors."""
        spelled: list[str] = []
        for name, inner in example.parts.items():
            part: Any = self.parts[name]
            none = [""] * len(part.names(inner))
            spelled += part.spellings(inner) if hasattr(part, "spellings") else none
        return spelled

    def collate(self, examples: Sequence[FusedExample]) -> Inputs:
        """Pack the examples of each part. The tensors are named ``part.name``."""
        lengths = [0] * len(examples)
        tensors: dict[str, Tensor] = {}
        host: dict[str, Any] = {}
        for name, part in self.parts.items():
            chosen = [i for i, e in enumerate(examples) if name in e.parts]
            # If no example has this part, skip it: not every adapter can collate an empty list.
            inner = part.collate([examples[i].parts[name] for i in chosen]) if chosen else Inputs([], {})
            tensors |= {f"{name}.{key}": tensor for key, tensor in inner.tensors.items()}
            host[name] = (chosen, inner.lengths, inner.host)
            for i, length in zip(chosen, inner.lengths, strict=True):
                lengths[i] += length
        return Inputs(lengths, tensors, host)

    # --- for `multiseq.training.item_cache` ---------------------------------------------------------------

    @property
    def kept(self) -> tuple[type, ...]:
        """The dataclasses in the examples of all parts. A part without ``kept`` raises AttributeError."""
        parts: list[Any] = list(self.parts.values())
        return tuple(dict.fromkeys([FusedExample, *(kind for part in parts for kind in part.kept)]))

    def prepared_by(self) -> dict[str, Any]:
        """The settings of each part that the result of `prepare` depends on."""
        parts: dict[str, Any] = self.parts
        return {name: part.prepared_by() for name, part in parts.items()}

    def content(self, item: Any) -> Any:
        """For each part, the content of its item that the part's adapter reads."""
        parts: dict[str, Any] = self.parts
        return {name: parts[name].content(inner) for name, inner in item.items() if inner is not None}

    # --- for the command line ---------------------------------------------------------------------

    def is_item(self, value: Mapping[str, Any]) -> bool:
        """True for every mapping, because an item is a mapping from part names to items."""
        return True

    def show(
        self, item: Any, examples: Sequence[FusedExample], marks: Sequence[Mark], focus: int | None
    ) -> list[Part]:
        """Each part as its adapter shows it; as text, if its adapter has no ``show``."""
        shown: list[Part] = []
        rest = list(marks)
        for name, example in examples[0].parts.items():
            part: Any = self.parts[name]
            count = len(part.names(example)) if marks else 0
            marked, rest = rest[:count], rest[count:]
            given = part.show(item[name], [example], marked, None) if hasattr(part, "show") else []
            words = " ".join(f"{mark.name} ({mark.text})" for mark in marked) or str(item[name])
            shown += [f"{name}:", *(given or [words])]
        return shown

    # --- on the device ---------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One set per example: the vectors of its parts, one part after another."""
        sources = zip(self.parts, self.source, strict=True)
        return VectorSets.join([self._part(name, source, inputs) for name, source in sources])

    def _part(self, name: str, source: Tensor, inputs: Inputs) -> VectorSets:
        """One set of this part per example. The set is empty if the example lacks the part."""
        inner = self._inputs_of(name, inputs)
        if inner is None:
            return VectorSets(source.new_zeros(0, self.dim), [0] * len(inputs.lengths))
        sets = self.parts[name](inner)
        return self._per_example(name, sets.with_values(sets.values + source), inputs)

    def _inputs_of(self, name: str, inputs: Inputs) -> Inputs | None:
        """The inputs of a part, for the examples that have it; None if none has."""
        chosen, lengths, host = inputs.host[name]
        return Inputs(lengths, under(f"{name}.", inputs.tensors), host) if chosen else None

    def _per_example(self, name: str, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """Sets of a part, with an empty, unordered set for each example that lacks it."""
        counts = [0] * len(inputs.lengths)
        for i in inputs.host[name][0]:
            counts[i] = 1
        return sets.merge(counts)

    def read(self, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """What heads see of each part, one part after another."""
        num = len(self.parts)
        lengths = [0] * (num * sets.num_sets)
        places = {}
        for place, name in enumerate(self.parts):
            chosen, counts, _ = inputs.host[name]
            places[name] = [i * num + place for i in chosen]
            for i, count in zip(places[name], counts, strict=True):
                lengths[i] = count
        ordered = [flag for flag in sets.ordered for _ in range(num)]
        alone = VectorSets(sets.values, lengths, sets.positions, ordered=ordered)
        encoded = {name: alone.select(chosen) for name, chosen in places.items()}
        seen = {}
        for name, part in encoded.items():
            inner = self._inputs_of(name, inputs)
            seen[name] = part if inner is None else self.parts[name].read(part, inner)
        if all(seen[name] is part for name, part in encoded.items()):
            return sets
        return VectorSets.join([self._per_example(name, part, inputs) for name, part in seen.items()])

    # --- to disk and back ------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """For each part its class and config, or the name of the earlier part with the same adapter."""
        return {"parts": {name: self._spec(name) for name in self.parts}}

    def _spec(self, name: str) -> dict[str, Any]:
        if (owner := self.owners[name]) != name:
            return {"same_as": owner}
        return {"class": type(self.parts[name]).__name__, "config": self.parts[name].config()}

    def assets(self) -> dict[str, str]:
        """The files of all parts, named ``part.file``."""
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
        """Rebuild the adapter from :meth:`config` and :meth:`assets`. Its weights are new.

        Args:
            config: The result of :meth:`config`.
            assets: The result of :meth:`assets`.
            adapters: Part name -> class, for parts whose class is not in this library.

        Raises:
            ValueError: The class of a part is not in this library, and ``adapters`` does not give it.
        """
        parts: dict[str, Adapter] = {}
        with reading("config"):
            for name, spec in config_of(config, ("parts",))["parts"].items():
                twin = spec.get("same_as")
                with _of_part(name):
                    parts[name] = (
                        parts[twin] if twin else _load(name, spec, under(f"{name}.", assets), adapters or {})
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
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):  # file names contain it
            raise ValueError(f"parts: got the name {name!r}, expected a word of letters, digits, _ and -")
    for name, part in parts.items():
        if not isinstance(part, Adapter) or not isinstance(part, nn.Module):
            raise ValueError(f"part {name!r}: got {type(part).__name__}, expected an adapter")
    dims = {name: part.dim for name, part in parts.items()}
    if len(set(dims.values())) > 1:
        raise ValueError(f"parts: got dims {dims}, expected one; build all parts with the encoder's dim")


def _load(
    name: str, spec: Mapping[str, Any], assets: Mapping[str, str], classes: Mapping[str, type]
) -> Adapter:
    part_class: Any = classes.get(name)
    if part_class is None:
        from multiseq.adapters.graph import GraphAdapter
        from multiseq.adapters.neighborhood import NeighborhoodAdapter
        from multiseq.adapters.pretrained_text import PretrainedTextAdapter
        from multiseq.adapters.speech import SpeechAdapter
        from multiseq.adapters.text import TextAdapter

        texts, graphs = (TextAdapter, PretrainedTextAdapter), (GraphAdapter, NeighborhoodAdapter)
        ours = {kind.__name__: kind for kind in (*texts, SpeechAdapter, *graphs, FusedAdapter)}
        part_class = ours.get(spec["class"])
    if part_class is None:
        raise ValueError(
            f"part {name!r} is a {spec['class']}, which is not in this library; pass your class as "
            f'load(…, adapters={{"NAME.{name}": {spec["class"]}}}), where NAME is the fused adapter\'s name'
        )
    deeper = under(f"{name}.", classes)  # for a part that is itself a FusedAdapter
    options = {"adapters": deeper} if deeper else {}
    loaded: Adapter = part_class.from_config(spec["config"], assets, **options)
    return loaded


@contextmanager
def _of_part(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(f"part {name!r}: {error}") from error
