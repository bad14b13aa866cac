"""Model: adapters, one shared encoder, and a head for each task.

raw items -> adapter.prepare -> examples -> adapter.collate -> inputs -> adapter -> vector sets
-> encoder (one call for all modalities) -> adapter.read -> head.loss or head.decode
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.batch import Batch, fill, place_of, prepare_all
from multiseq.heads.per_set import pool
from multiseq.labels import in_order
from multiseq.protocols import Adapter, EncoderLike, Inputs
from multiseq.results import NOT_FINITE, Label, LabelSet, NotFiniteError, Number, Text
from multiseq.system.memory import explain_full_memory
from multiseq.tasks import Task
from multiseq.vectors import VectorSets

__all__ = ["Embedding", "Model"]

# Denormal numbers make training on a CPU several times slower; this reaches all threads only before
# torch's first parallel operation, hence at import.
torch.set_flush_denormal(True)

_modes = threading.Lock()
"""Of all models, because a model that has a lock cannot be copied."""

BUDGET = 8192
"""Vectors of one batch in prediction."""
PREPARED = 4096
"""Items that are prepared at a time in prediction, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Embedding:
    """What the encoder makes of one item: its vectors, their mean, and what each vector stands for."""

    vectors: Float[Tensor, "vectors dim"]
    pooled: Float[Tensor, " dim"]
    names: list[str]


class Model(nn.Module):
    """Adapters, one encoder, tasks. Everything is passed in; nothing is looked up.

    Parts draw their first weights from torch's generator when they are built. Call ``torch.manual_seed``
    before, and the same script makes the same model.

    Args:
        adapters: Name -> adapter. All give vectors of the encoder's width.
        encoder: Shared by all tasks.
        tasks: Name -> task.

    Raises:
        ValueError: A task of an unknown adapter, widths that differ, a part that is in two places, or a
            weight that is no number.
    """

    def __init__(
        self, adapters: Mapping[str, Adapter], encoder: EncoderLike, tasks: Mapping[str, Task]
    ) -> None:
        super().__init__()
        for name, adapter in adapters.items():
            if adapter.dim != encoder.dim:
                raise ValueError(
                    f"adapters[{name!r}]: got dim {adapter.dim}, expected the encoder's {encoder.dim}"
                )
        for name, task in tasks.items():
            if task.adapter not in adapters:
                raise ValueError(
                    f"tasks[{name!r}]: got adapter {task.adapter!r}, expected one of {list(adapters)}"
                )
        for name, task in tasks.items():
            if not 0 <= task.weight < math.inf:
                raise ValueError(f"tasks[{name!r}]: got weight {task.weight}, expected 0 or more, and finite")
        _check_own([*adapters.values(), encoder, *(task.head for task in tasks.values())])
        self.adapters, self.tasks = dict(adapters), dict(tasks)
        self.encoder = encoder
        self.stems = nn.ModuleDict({_key(name): cast(nn.Module, a) for name, a in adapters.items()})
        self.heads = nn.ModuleDict({_key(name): cast(nn.Module, t.head) for name, t in tasks.items()})
        self._predictions = 0  # that are being made now, in several threads
        self._paused: list[nn.Module] = []  # what was in training mode before the first of them

    # --- parts ----------------------------------------------------------------------------------------

    def task(self, name: str) -> Task:
        """The task of that name. Raises ValueError naming the tasks there are."""
        if name not in self.tasks:
            raise ValueError(f"task: got {name!r}, expected one of {', '.join(self.tasks)}")
        return self.tasks[name]

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name."""
        if name not in self.adapters:
            raise ValueError(f"adapter: got {name!r}, expected one of {', '.join(self.adapters)}")
        return self.adapters[name]

    def cell(self, name: str) -> str:
        """Modality and output of a task: ``text/vector`` … ``graph/sequence``."""
        task = self.task(name)
        return f"{self.adapter(task.adapter).modality}/{task.head.level}"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    # --- training -------------------------------------------------------------------------------------

    def encode(self, parts: Sequence[tuple[str, Inputs]]) -> list[VectorSets]:
        """Inputs of several adapters through their stems and **one** call of the encoder."""
        stems = [self.adapter(name)(inputs) for name, inputs in parts]
        # Under autocast stems differ in dtype; the residual stream stays in single precision.
        dtype = next(self.parameters()).dtype
        together = VectorSets.cat([s.with_values(s.values.to(dtype)) for s in stems])
        encoded = self.encoder(together).split([s.num_sets for s in stems])
        return [self.adapter(name).read(sets) for (name, _), sets in zip(parts, encoded, strict=True)]

    def loss(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task of the batch the sum of its losses and the count of what was summed."""
        losses: dict[str, tuple[Tensor, Tensor]] = {}
        encoded = self.encode([(part.adapter, part.inputs) for part in batch.parts])
        for part, sets in zip(batch.parts, encoded, strict=True):
            for name, (chosen, targets) in part.targets.items():
                losses[name] = self.task(name).head.loss(sets.select(chosen), targets)
        return losses

    # --- prediction -----------------------------------------------------------------------------------

    def predict(self, task: str, items: Iterable[Any], *, budget: int = BUDGET, **options: Any) -> list[Any]:
        """One plain result for each raw item, in order, whatever else is in the list.

        Args:
            task: The task's name.
            items: Raw items, as in training.
            budget: Vectors of one batch.
            options: For the head's ``decode``: ``beam`` of a sequence.

        Returns:
            For each item a `Label`, `Number`, `LabelSet` or `Text`; a list of them, one for each vector,
            for a task per vector.
        """
        return [
            combine([result for _, result in pieces]) for pieces in self.run(task, items, budget, **options)
        ]

    def run(
        self,
        task: str,
        items: Iterable[Any],
        budget: int = BUDGET,
        *,
        where: Sequence[str] = (),
        **options: Any,
    ) -> list[list[tuple[Any, Any]]]:
        """For each item its examples, each with the head's result: what `predict` and scoring are made of.

        ``where`` says for each item what file and line an error is to name.
        """
        name, items = self.task(task).adapter, _listed(items)
        results = []
        for first in range(0, len(items), PREPARED):
            some = items[first : first + PREPARED]
            pieces = prepare_all(self.adapter(name), some, where, first)
            places = [place_of(where, first + i) for i in range(len(some))]
            results += self.run_prepared(name, pieces, {task: options}, budget, where=places)[task]
        return results

    def run_prepared(
        self,
        adapter: str,
        pieces: Sequence[Sequence[Any]],
        tasks: Mapping[str, Mapping[str, Any]],
        budget: int = BUDGET,
        *,
        where: Sequence[str] = (),
    ) -> dict[str, list[list[tuple[Any, Any]]]]:
        """As :meth:`run`, of items that are prepared, which are encoded once for several tasks.

        Args:
            adapter: Its name.
            pieces: The examples of each item.
            tasks: Task -> options for its head's ``decode``.
            budget: Vectors of one batch.
            where: What an error calls each item.
        """
        results: dict[str, list[list[tuple[Any, Any]]]] = {
            task: [[(example, None) for example in examples] for examples in pieces] for task in tasks
        }
        for chosen, sets in self._encoded(adapter, pieces, budget):
            for task, options in tasks.items():
                try:
                    decoded = self.task(task).head.decode(sets, **options)
                except NotFiniteError as error:
                    place = place_of(where, chosen[error.number][0])
                    raise ValueError(f"{place}: {task}: got {NOT_FINITE}") from error
                for (item, number), result in zip(chosen, decoded, strict=True):
                    results[task][item][number] = pieces[item][number], result
        return results

    def embed(self, adapter: str, items: Iterable[Any], *, budget: int = BUDGET) -> list[Embedding]:
        """The encoded vectors of each item, their mean, and what each vector stands for."""
        pieces = prepare_all(self.adapter(adapter), _listed(items))
        found: list[dict[int, Tensor]] = [{} for _ in pieces]
        for chosen, sets in self._encoded(adapter, pieces, budget):
            for (item, number), vectors in zip(chosen, sets.unpack(), strict=True):
                found[item][number] = vectors
        names = self.adapter(adapter).names
        embeddings = []
        for examples, by_number in zip(pieces, found, strict=True):
            vectors = torch.cat([by_number[i] for i in range(len(examples))])
            pooled = pool(VectorSets(vectors, [len(vectors)]))[0]
            embeddings.append(Embedding(vectors, pooled, [n for e in examples for n in names(e)]))
        return embeddings

    def attention(self, adapter: str, item: Any, *, layer: int = -1) -> tuple[list[str], list[Tensor]]:
        """Names of one item's vectors, and the encoder's weights ``(heads, length, length)`` for each set."""
        found = getattr(self.encoder, "attention", None)
        if found is None:
            raise ValueError("attention: this encoder has no method `attention` that gives its weights")
        part = self.adapter(adapter)
        examples = part.prepare(item)
        with self._evaluating():
            weights = found(part(part.collate(examples).to(self.device)), layer)
        return [n for e in examples for n in part.names(e)], weights

    def _encoded(
        self, adapter: str, pieces: Sequence[Sequence[Any]], budget: int
    ) -> Iterator[tuple[list[tuple[int, int]], VectorSets]]:
        """Batches of (item, example) numbers with their encoded sets, similar lengths together."""
        part = self.adapter(adapter)
        flat = [(i, k) for i, examples in enumerate(pieces) for k in range(len(examples))]
        sizes = [part.num_vectors(pieces[i][k]) for i, k in flat]
        order = sorted(range(len(flat)), key=sizes.__getitem__)
        for numbers in fill(order, sizes, budget):
            chosen = [flat[n] for n in numbers]
            with self._evaluating():
                inputs = part.collate([pieces[i][k] for i, k in chosen]).to(self.device)
                sets = self.encode([(adapter, inputs)])[0]
                yield chosen, sets

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode; the last prediction of several threads gives each part its own mode back."""
        with _modes:
            if not self._predictions:
                self._paused = [module for module in self.modules() if module.training]
                for module in self._paused:
                    module.training = False
            self._predictions += 1
        try:
            with torch.inference_mode(), explain_full_memory("lower budget, or predict on shorter items"):
                yield
        finally:
            with _modes:
                self._predictions -= 1
                if not self._predictions:
                    for module in self._paused:
                        module.training = True
                    self._paused = []


def _listed(items: Iterable[Any]) -> list[Any]:
    if isinstance(items, str):
        raise ValueError(f"items: got one string, expected a list of items; use [{items[:30]!r}]")
    return list(in_order(items, "items"))


def _key(name: str) -> str:
    """A name as torch takes it: a task may be called ``type``, which modules have too."""
    if not re.fullmatch(r"[\w -]+", name) or name in ("model", "config"):
        raise ValueError(
            f"name: got {name!r}, expected letters, digits, blanks, _ and -, and not model or config"
        )
    return f"[{name}]"


def _check_own(parts: Sequence[Any]) -> None:
    """A checkpoint holds every weight once, so none may belong to two parts."""
    seen: set[int] = set()
    for part in parts:
        own = {id(p) for p in part.parameters()}
        if own & seen:
            raise ValueError(
                f"parts: a {type(part).__name__} shares weights with another part; give each its own"
            )
        seen |= own


def combine(results: Sequence[Any]) -> Any:
    """The results of one item's examples put together: the one place where sets become an item again.

    Lists per vector are chained; classes and numbers are averaged; texts are joined by a space, their
    scores added.

    >>> combine([Label("a", 0.6, {"a": 0.6, "b": 0.4}), Label("b", 0.9, {"a": 0.1, "b": 0.9})]).label
    'b'
    """
    first = results[0] if results else []
    if isinstance(first, list):
        return [label for part in results for label in part]
    if len(results) == 1:
        return first
    if isinstance(first, Text):
        return Text(" ".join(r.text for r in results if r.text), sum(r.score for r in results))
    if isinstance(first, Number):
        mean = {k: sum(r.values[k] for r in results) / len(results) for k in first.values}
        return Number(mean, first.unit, first.scales)
    shares = {k: sum(r.probabilities[k] for r in results) / len(results) for k in first.probabilities}
    if isinstance(first, LabelSet):
        return LabelSet(tuple(k for k, p in shares.items() if p >= 0.5), shares)
    best = max(shares, key=shares.__getitem__)
    return Label(best, shares[best], shares)
