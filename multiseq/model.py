"""Model: adapters, one shared encoder, and a head for each task.

Data flow: raw items -> adapter.prepare -> examples -> adapter.collate -> inputs -> adapter -> vector sets
-> encoder (one call for all modalities) -> adapter.read -> head.loss or head.decode.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.batch import Batch, fill_batches, named, place_of, prepare, prepare_all, prepare_long
from multiseq.checks import one_of
from multiseq.labels import in_order
from multiseq.nn.distance import TrainingDistance
from multiseq.nn.inference import inference
from multiseq.nn.pool import pool
from multiseq.nn.precision import choose_precision, computing_in
from multiseq.options import RESERVED
from multiseq.protocols import Adapter, EncoderLike, Inputs, LongItem
from multiseq.results import (
    NOT_FINITE,
    Contributions,
    Label,
    LabelSet,
    NotFiniteError,
    Number,
    Similarity,
    Text,
    at_distance,
    joined_texts,
    timed,
)
from multiseq.system.denormals import flush_denormals
from multiseq.system.memory import explain_full_memory
from multiseq.tasks import Task
from multiseq.vectors import VectorSets

__all__ = ["Embedding", "Model", "Predictor", "Whole"]

MAX_VECTORS = 8192
"""The most vectors in a batch for prediction."""
PREPARED = 4096
"""Items that prediction prepares at a time. The limit keeps memory constant for any number of items."""

CERTAIN = 1e-6
"""The smallest probability, of a class or of all others, that contributions to it can show."""


@dataclass(frozen=True)
class Embedding:
    """The encoder's output for one item: its vectors, their mean, and what each vector stands for."""

    vectors: Float[Tensor, "vectors dim"]
    pooled: Float[Tensor, " dim"]
    names: list[str]


@dataclass(frozen=True)
class Whole:
    """Stands for the examples of a long item, which are not kept; ``seconds``: how long they are together."""

    seconds: float


class Predictor(nn.Module, ABC):
    """What predicts: a `Model`, or several of them as a `multiseq.Ensemble`. It has adapters and tasks."""

    adapters: dict[str, Adapter]
    tasks: dict[str, Task]
    precision: str = "fp32"
    """Precision of the products in predictions: ``fp32``, ``bf16`` or ``auto``. A checkpoint has none."""

    def task(self, name: str) -> Task:
        """The task called ``name``. Raises ValueError, which lists all tasks, if it does not exist."""
        if name not in self.tasks:
            raise ValueError(f"task: got {name!r}, expected one of {', '.join(self.tasks)}")
        return self.tasks[name]

    def adapter(self, name: str) -> Adapter:
        """The adapter called ``name``. Raises ValueError, which lists all adapters, if it does not exist."""
        if name not in self.adapters:
            raise ValueError(f"adapter: got {name!r}, expected one of {', '.join(self.adapters)}")
        return self.adapters[name]

    def cell(self, name: str) -> str:
        """The modality and the output level of a task: ``text/vector`` … ``graph/sequence``."""
        task = self.task(name)
        return f"{self.adapter(task.adapter_name).modality}/{task.head.level}"

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    # --- prediction -----------------------------------------------------------------------------------

    def predict(
        self, task: str, items: Iterable[Any], *, max_vectors: int = MAX_VECTORS, **options: Any
    ) -> list[Any]:
        """Predict one result for each raw item, in order. A result does not depend on the other items.

        Args:
            task: The task's name.
            items: Raw items, as in training.
            max_vectors: The most vectors in a batch.
            options: Passed to the head's ``decode``, for example ``num_beams`` for sequences.

        Returns:
            For each item a `Label`, `Number`, `LabelSet` or `Text`. For a task with a label per vector: a
            list of these, one for each vector.

        Raises:
            ValueError: The task is unknown, an item cannot be prepared, or a result is NaN or infinite.
        """
        return [
            combine([result for _, result in pieces])
            for pieces in self.run(task, items, max_vectors, **options)
        ]

    def run(
        self,
        task: str,
        items: Iterable[Any],
        max_vectors: int = MAX_VECTORS,
        *,
        locations: Sequence[str] = (),
        **options: Any,
    ) -> list[list[tuple[Any, Any]]]:
        """For each item, the list of (example, result of the head). `predict` and scoring build on this.

        Arguments as in :meth:`predict`, and ``locations``: file and line of each item, for error messages.
        """
        items, results = _listed(items), []
        for first in range(0, len(items), PREPARED):
            some = items[first : first + PREPARED]
            places = [place_of(locations, first + i) for i in range(len(some))]
            pieces = [self.prepare(task, *one) for one in zip(some, places, strict=True)]
            results += self.run_task(task, pieces, max_vectors, locations=places, **options)
        return results

    def prepare(
        self, task: str, item: Any, place: str, fail: Callable[[str], Any] | None = None
    ) -> list[Any] | LongItem:
        """The examples of an item for :meth:`run_task`. If the task gives a text, it may be a `LongItem`.

        Args:
            task: The task's name.
            item: A raw item.
            place: Its name in messages.
            fail: As for `multiseq.batch.prepare`.
        """
        adapter = self.adapter(self.task(task).adapter_name)
        function = prepare_long if self.task(task).head.level == "sequence" else prepare
        return function(adapter, item, place, fail)

    def run_task(
        self,
        task: str,
        pieces: Sequence[list[Any] | LongItem],
        max_vectors: int = MAX_VECTORS,
        *,
        locations: Sequence[str] = (),
        **options: Any,
    ) -> list[list[tuple[Any, Any]]]:
        """Like :meth:`run`, for items of :meth:`prepare`.

        Long items are read and decoded in batches, so only their results stay in memory. Those are
        combined: such an item has one result, and a `Whole` in place of its examples.
        """
        name = self.task(task).adapter_name
        places = [place_of(locations, i) for i in range(len(pieces))]
        lists = {i: examples for i, examples in enumerate(pieces) if not isinstance(examples, LongItem)}
        prepared, named_lists = [*lists.values()], [places[i] for i in lists]
        of_lists = self.run_prepared(name, prepared, {task: options}, max_vectors, locations=named_lists)
        results = dict(zip(lists, of_lists[task], strict=True))
        for i, examples in enumerate(pieces):
            if isinstance(examples, LongItem):
                results[i] = [self._run_pieces(task, examples, max_vectors, places[i], options)]
        return [results[i] for i in range(len(pieces))]

    def _run_pieces(
        self, task: str, pieces: LongItem, max_vectors: int, place: str, options: Mapping[str, Any]
    ) -> tuple[Whole, Any]:
        """The combined result of one long item."""
        name, results, seconds = self.task(task).adapter_name, [], 0.0
        examples = iter(pieces)
        while batch := list(_up_to(max_vectors, self.adapter(name).num_vectors, examples, place)):
            [done] = self.run_prepared(name, [batch], {task: options}, max_vectors, locations=[place])[task]
            results += [result for _, result in done]
            seconds += sum(getattr(example, "seconds", 0.0) for example in batch)
        return Whole(seconds), combine(results)

    def contributions(
        self, task: str, items: Iterable[Any], *, of: str = "", max_vectors: int = MAX_VECTORS
    ) -> list[Contributions]:
        """Explain the predictions for whole items: how much each atom or node contributes.

        The value of a vector is the prediction less the prediction for the item without that vector, as in
        RDKit's similarity maps (Riniker and Landrum 2013, https://doi.org/10.1186/1758-2946-5-43). For a
        class it is the difference in log-odds (Robnik-Sikonja and Kononenko 2008,
        https://doi.org/10.1109/TKDE.2007.190734). One prediction is made for each vector.

        Args:
            task: The name of a task with a number or classes for each item.
            items: Raw items, as in training.
            of: The number or the class to explain. Default: the only number, or the most probable class.
            max_vectors: The most vectors in a batch.

        Raises:
            ValueError: The task has another output, its adapter cannot leave vectors out (a `GraphAdapter`
                can), or ``of`` is unknown.

        Example:
            >>> from multiseq import Encoder, GraphAdapter, NumberTarget, SetHead
            >>> adapter = GraphAdapter.fit(["CCO", "CCN"], dim=16)
            >>> head = SetHead(16, NumberTarget.fit([0.5, 1.5]))
            >>> model = Model({"molecules": adapter}, Encoder(16, 1, 2), {"logp": Task("molecules", head)})
            >>> [why] = model.contributions("logp", ["CCO"])
            >>> why.names, len(why.values)
            (['C0', 'C1', 'O2'], 3)
        """
        adapter = self.adapter(self.task(task).adapter_name)
        pieces = prepare_all(adapter, _listed(items))
        return [self.contributions_of(task, examples, of=of, max_vectors=max_vectors) for examples in pieces]

    def contributions_of(
        self, task: str, examples: Sequence[Any], *, of: str = "", max_vectors: int = MAX_VECTORS
    ) -> Contributions:
        """Like :meth:`contributions`, for the prepared examples of one item."""
        name, level = self.task(task).adapter_name, self.task(task).head.level
        adapter = self.adapter(name)
        without = getattr(adapter, "without", None)
        if without is None or level != "set":
            raise ValueError(
                f"contributions: got the task {task!r} of the kind {self.cell(task)}, expected one with a "
                "label for each whole graph"
            )
        [example] = examples
        [[(_, result)]] = self.run_prepared(name, [[example]], {task: {}}, max_vectors)[task]
        of = _explained(result, of)
        names = getattr(adapter, "encoded_names", adapter.names)(example)
        whole, values = _evidence(result, of), []
        for numbers in fill_batches(range(len(names)), [len(names)] * len(names), max_vectors):
            rest = [[without(example, number)] for number in numbers]
            predicted = self.run_prepared(name, rest, {task: {}}, max_vectors)[task]
            values += [whole - _evidence(other, of) for [(_, other)] in predicted]
        unit = result.unit if isinstance(result, Number) else "log-odds"
        return Contributions(names, values, of, unit, result)

    @abstractmethod
    def run_prepared(
        self,
        adapter_name: str,
        pieces: Sequence[Sequence[Any]],
        tasks: Mapping[str, Mapping[str, Any]],
        max_vectors: int = MAX_VECTORS,
        *,
        locations: Sequence[str] = (),
    ) -> dict[str, list[list[tuple[Any, Any]]]]:
        """Like :meth:`run`, for prepared items. They are encoded once, for several tasks.

        Args:
            adapter_name: The adapter's name.
            pieces: The examples of each item.
            tasks: Task's name -> options for the ``decode`` of its head.
            max_vectors: The most vectors in a batch.
            locations: The name of each item in error messages.

        Returns:
            Task's name -> for each item the list of (example, result).
        """


class Model(Predictor):
    """Adapters, one shared encoder, and tasks. All parts are passed in; there is no registry.

    Each part draws its initial weights when it is built, and the model never changes them. If torch is not
    seeded, every process draws the same weights. For others, seed torch before you build the parts.

    Args:
        adapters: Name -> adapter. The width (``dim``) of each must be that of the encoder.
        encoder: The encoder, shared by all tasks.
        tasks: Name -> task.

    Raises:
        ValueError: A task names an unknown adapter, widths differ, two parts share weights, a task's weight
            is negative or not finite, or a name cannot be used.

    Example:
        >>> from multiseq import ClassTarget, Encoder, SetHead, TextAdapter
        >>> model = Model(
        ...     adapters={"text": TextAdapter.fit(["red lamp", "blue lamp"], dim=16)},
        ...     encoder=Encoder(dim=16, depth=1, heads=2),
        ...     tasks={"colour": Task("text", SetHead(16, ClassTarget(["blue", "red"])))},
        ... )
        >>> [label] = model.predict("colour", ["a red lamp"])
        >>> sorted(label.probabilities)
        ['blue', 'red']
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
            if task.adapter_name not in adapters:
                raise ValueError(
                    f"tasks[{name!r}]: got adapter {task.adapter_name!r}, expected one of {list(adapters)}"
                )
            if getattr(task.head, "needs_names", False):
                _check_spellings(name, adapters[task.adapter_name])
        for name, task in tasks.items():
            if not 0 <= task.weight < math.inf:
                raise ValueError(f"tasks[{name!r}]: got weight {task.weight}, expected 0 or more, and finite")
        _check_unshared([*adapters.values(), encoder, *(task.head for task in tasks.values())])
        self.adapters, self.tasks = dict(adapters), dict(tasks)
        self.encoder = encoder
        self.stems = nn.ModuleDict({_key(name): cast(nn.Module, a) for name, a in adapters.items()})
        self.heads = nn.ModuleDict({_key(name): cast(nn.Module, t.head) for name, t in tasks.items()})
        self.distances = nn.ModuleDict()
        """For each calibrated task the distance from its training data (`multiseq.calibrate`)."""

    # --- parts ----------------------------------------------------------------------------------------

    def distance(self, name: str) -> TrainingDistance | None:
        """How far sets are from the training data of a task; None if the task was not calibrated."""
        key = _key(name)
        return cast(TrainingDistance, self.distances[key]) if key in self.distances else None

    def set_distance(self, name: str, distance: TrainingDistance | None) -> None:
        """Set what :meth:`distance` returns. `multiseq.calibrate` and loading a checkpoint do."""
        key = _key(name)
        self.distances.pop(key) if key in self.distances else None
        if distance is not None:
            self.distances[key] = distance.to(self.device)

    # --- training -------------------------------------------------------------------------------------

    def encode(self, parts: Sequence[tuple[str, Inputs]]) -> list[VectorSets]:
        """Encode the inputs of several adapters: each passes its stem, then all share **one** encoder call.

        Args:
            parts: (adapter's name, its inputs) for each adapter.

        Returns:
            For each part the encoded sets, as the heads see them.
        """
        stems = [self.adapter(name)(inputs) for name, inputs in parts]
        # With autocast the outputs of stems differ in dtype. The residual stream has that of the weights.
        dtype = next(self.parameters()).dtype
        together = VectorSets.cat([s.with_values(s.values.to(dtype)) for s in stems])
        encoded = self.encoder(together).split([s.num_sets for s in stems])
        return [
            self.adapter(name).read(sets, inputs) for (name, inputs), sets in zip(parts, encoded, strict=True)
        ]

    def loss(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task in the batch, the sum of its losses and the number of losses in the sum."""
        losses: dict[str, tuple[Tensor, Tensor]] = {}
        encoded = self.encode([(part.adapter_name, part.inputs) for part in batch.parts])
        for part, sets in zip(batch.parts, encoded, strict=True):
            for name, (chosen, targets) in part.targets.items():
                losses[name] = self.task(name).head.loss(sets.select(chosen), targets)
        return losses

    # --- prediction -----------------------------------------------------------------------------------

    def run_prepared(
        self,
        adapter_name: str,
        pieces: Sequence[Sequence[Any]],
        tasks: Mapping[str, Mapping[str, Any]],
        max_vectors: int = MAX_VECTORS,
        *,
        locations: Sequence[str] = (),
    ) -> dict[str, list[list[tuple[Any, Any]]]]:
        """As `Predictor` says. The items are encoded once for all tasks."""
        results: dict[str, list[list[tuple[Any, Any]]]] = {
            task: [[(example, None) for example in examples] for examples in pieces] for task in tasks
        }
        adapter: Any = self.adapter(adapter_name)
        edges = getattr(adapter, "edges", None)
        for chosen, sets in self.encoded(adapter_name, pieces, max_vectors):
            for task, options in tasks.items():
                head = self.task(task).head
                if getattr(head, "needs_names", False):
                    options = {**options, "names": [adapter.spellings(pieces[i][k]) for i, k in chosen]}
                try:
                    decoded = head.decode(sets, **options)
                except NotFiniteError as error:
                    place = place_of(locations, chosen[error.number][0])
                    raise ValueError(f"{place}: {task}: got {NOT_FINITE}") from error
                if (distance := self.distance(task)) is not None:
                    decoded = list(map(at_distance, decoded, distance(sets).tolist()))
                for (item, number), result in zip(chosen, decoded, strict=True):
                    example = pieces[item][number]
                    if edges is not None and isinstance(result, Text) and result.tokens:
                        result = timed(result, edges(example))
                    results[task][item][number] = example, result
        return results

    def embed(
        self, adapter_name: str, items: Iterable[Any], *, max_vectors: int = MAX_VECTORS
    ) -> list[Embedding]:
        """For each raw item its encoded vectors, their mean, and what each vector stands for.

        Args:
            adapter_name: The adapter's name.
            items: Raw items.
            max_vectors: The most vectors in a batch.
        """
        pieces = prepare_all(self.adapter(adapter_name), _listed(items))
        by_item: list[dict[int, Tensor]] = [{} for _ in pieces]
        for chosen, sets in self.encoded(adapter_name, pieces, max_vectors):
            for (item, number), vectors in zip(chosen, sets.unpack(), strict=True):
                by_item[item][number] = vectors
        names = self.adapter(adapter_name).names
        embeddings = []
        for examples, by_number in zip(pieces, by_item, strict=True):
            vectors = torch.cat([by_number[i] for i in range(len(examples))])
            pooled = pool(VectorSets(vectors, [len(vectors)]))[0]
            embeddings.append(Embedding(vectors, pooled, [n for e in examples for n in names(e)]))
        return embeddings

    def task_embeddings(
        self, task: str, items: Iterable[Any], *, max_vectors: int = MAX_VECTORS
    ) -> Float[Tensor, "items dim"]:
        """The embedding of each item for a task with one label per set: what the last layer sees.

        Items of one class have embeddings in similar directions, also of classes that training has not seen,
        such as the voices of other people (x-vectors, Snyder et al. 2018,
        https://www.danielpovey.com/files/2018_icassp_xvectors.pdf). Train with a ``margin``
        (`multiseq.ClassTarget`) for it. Each has length 1. An item of several sets has the mean of theirs.

        Args:
            task: The name of a task with a `SetHead`.
            items: Raw items.
            max_vectors: The most vectors in a batch.

        Raises:
            ValueError: The head of the task is no `SetHead`, or an item cannot be prepared.
        """
        head: Any = self.task(task).head
        if not hasattr(head, "embed"):
            raise ValueError(f"task: got {task!r} with a {type(head).__name__}, expected a SetHead")
        name = self.task(task).adapter_name
        pieces = prepare_all(self.adapter(name), _listed(items))
        total = torch.zeros(len(pieces), head.dim)
        for chosen, sets in self.encoded(name, pieces, max_vectors):
            total.index_add_(0, torch.tensor([item for item, _ in chosen]), head.embed(sets).cpu())
        return F.normalize(total, dim=-1)

    def compare(
        self, task: str, first: Iterable[Any], second: Iterable[Any], *, max_vectors: int = MAX_VECTORS
    ) -> list[Similarity]:
        """How similar pairs of items are, and whether they are of one class, also of a new one.

        It is the cosine of :meth:`task_embeddings`. `multiseq.calibrate` learns from pairs of dev items what
        a cosine means.

        Args:
            task: The name of a task with a `SetHead`.
            first: The first raw item of each pair.
            second: The second raw item of each pair.
            max_vectors: The most vectors in a batch.

        Raises:
            ValueError: The head of the task is no `SetHead`, there are not as many second items as first
                ones, or an item cannot be prepared.

        Example:
            >>> from multiseq import ClassTarget, Encoder, SetHead, TextAdapter
            >>> adapter = TextAdapter.fit(["red lamp", "blue lamp"], dim=16)
            >>> head = SetHead(16, ClassTarget(["blue", "red"], margin=0.2))
            >>> model = Model({"text": adapter}, Encoder(16, 1, 2), {"colour": Task("text", head)})
            >>> [similarity] = model.compare("colour", ["red lamp"], ["red lamp"])
            >>> print(similarity)
            cosine 1.00
        """
        one, other = _listed(first), _listed(second)
        if len(one) != len(other):
            raise ValueError(f"second: got {len(other)} items for {len(one)} first ones, expected as many")
        vectors = self.task_embeddings(task, [*one, *other], max_vectors=max_vectors)
        cosines = (vectors[: len(one)] * vectors[len(one) :]).sum(-1).clamp(-1, 1).tolist()
        verification = getattr(self.task(task).head.target, "verification", None)
        return [verification.similarity(c) if verification else Similarity(c) for c in cosines]

    def encoded(
        self, adapter_name: str, pieces: Sequence[Sequence[Any]], max_vectors: int = MAX_VECTORS
    ) -> Iterator[tuple[list[tuple[int, int]], VectorSets]]:
        """Encode prepared items in batches, sorted by length, as :meth:`run_prepared` does.

        Args:
            adapter_name: The adapter's name.
            pieces: The examples of each item.
            max_vectors: The most vectors in a batch.

        Returns:
            For each batch its (item number, example number) pairs, and the encoded set of each.
        """
        adapter = self.adapter(adapter_name)
        flat = [(i, k) for i, examples in enumerate(pieces) for k in range(len(examples))]
        sizes = [adapter.num_vectors(pieces[i][k]) for i, k in flat]
        order = sorted(range(len(flat)), key=sizes.__getitem__)
        for numbers in fill_batches(order, sizes, max_vectors):
            chosen = [flat[n] for n in numbers]
            with self.evaluating():
                inputs = adapter.collate([pieces[i][k] for i, k in chosen]).to(self.device)
                sets = self.encode([(adapter_name, inputs)])[0]
                yield chosen, sets

    def attention(self, adapter_name: str, item: Any, *, layer: int = -1) -> tuple[list[str], list[Tensor]]:
        """The attention weights of one layer for one item.

        Args:
            adapter_name: The adapter's name.
            item: A raw item.
            layer: The number of the layer; negative numbers count from the last layer.

        Returns:
            What each vector stands for, and for each set the weights ``(heads, length, length)``.

        Raises:
            ValueError: The encoder cannot give its attention weights, or there is no such layer.
        """
        attention = getattr(self.encoder, "attention", None)
        if attention is None:
            raise ValueError("attention: this encoder has no method `attention` that returns its weights")
        adapter = self.adapter(adapter_name)
        examples = adapter.prepare(item)
        with self.evaluating():
            weights = attention(adapter(adapter.collate(examples).to(self.device)), layer)
        names = getattr(adapter, "encoded_names", adapter.names)
        return [name for example in examples for name in names(example)], weights

    def cross_attention(
        self, task: str, item: Any, text: str, *, layer: int = -1
    ) -> tuple[list[str], list[str], Float[Tensor, "heads tokens_and_end vectors"]]:
        """What the tokens of a text attend to in an item, in one layer of a task's decoder.

        Args:
            task: The name of a task with a `DecoderHead` or a `JointHead`.
            item: A raw item.
            text: A text about the item: a predicted one, or any other.
            layer: The number of the layer; negative numbers count from the last layer.

        Returns:
            What each vector of the item stands for; the tokens of the text and ``(end)``; and the weights.
            Row *i* is what predicts token *i*.

        Raises:
            ValueError: The head of the task has no cross-attention, there is no such layer, or the item
                is so long that it is cut into several sets.
        """
        head: Any = self.task(task).head
        if not hasattr(head, "attention"):
            raise ValueError(f"task: got {task!r} with a {type(head).__name__}, expected a DecoderHead")
        name = self.task(task).adapter_name
        examples = self.adapter(name).prepare(item)
        adapter: Any = self.adapter(name)
        if len(examples) != 1:
            longest = getattr(adapter, "longest", None)
            wanted = f"expected at most {longest}" if longest else "expected a shorter one"
            raise ValueError(
                f"item: got one that was cut into {len(examples)} windows; {wanted}, which the model reads "
                "at once: give a part of it"
            )
        spellings = list(adapter.spellings(examples[0])) if getattr(head, "needs_names", False) else []
        tokens = [*head.target.token_texts(text, spellings), "(end)"]
        [(_, sets)] = self.encoded(name, [examples])
        with self.evaluating():
            [weights] = head.attention(sets, head.target.batch([text], [spellings]).to(self.device), layer)
        return list(adapter.names(examples[0])), tokens, weights

    def posteriors(
        self, task: str, item: Any
    ) -> tuple[list[str], list[str], Float[Tensor, "vectors tokens"]]:
        """The probability of each token at each vector of an item, by CTC (`CTCHead`, `JointHead`).

        `multiseq.plots.posteriors` draws them: mostly blank, with a spike where a token is emitted.

        Args:
            task: The name of the task.
            item: A raw item.

        Returns:
            What each vector of the item stands for; the tokens, with ``(blank)`` first; and the
            probabilities. Each row sums to 1.

        Raises:
            ValueError: The head of the task has no CTC.
        """
        head: Any = self.task(task).head
        if not hasattr(head, "posteriors"):
            raise ValueError(f"task: got {task!r} with a {type(head).__name__}, expected a CTCHead")
        name = self.task(task).adapter_name
        examples = self.adapter(name).prepare(item)
        by_number: dict[int, Tensor] = {}
        for chosen, sets in self.encoded(name, [examples]):
            rows = head.posteriors(sets).split(list(sets.lengths))
            by_number |= {number: of_set for (_, number), of_set in zip(chosen, rows, strict=True)}
        names = [vector for example in examples for vector in self.adapter(name).names(example)]
        return names, head.target.tokens, torch.cat([by_number[i] for i in range(len(examples))])

    def align(
        self, task: str, items: Iterable[Any], texts: Iterable[str], *, max_vectors: int = MAX_VECTORS
    ) -> list[Text]:
        """When each word of a known text was said: forced alignment by CTC (`CTCHead`, `JointHead`).

        The method is in `multiseq.heads.alignment`. `predict` gives such times for the text that it found.

        Args:
            task: The name of the task.
            items: Raw items: recordings.
            texts: What is said in each.
            max_vectors: The most vectors in a batch.

        Returns:
            The texts with ``words`` and ``tokens``: start and end in seconds, and confidence. The score is
            log P(text | recording).

        Raises:
            ValueError: The head has no CTC, an item becomes several sets (``chunk_seconds``), the number
                of texts is not that of the items, or an item is too short for its text.
        """
        head: Any = self.task(task).head
        if not hasattr(head, "align"):
            raise ValueError(f"task: got {task!r} with a {type(head).__name__}, expected a CTCHead")
        name, spoken = self.task(task).adapter_name, list(texts)
        adapter: Any = self.adapter(name)
        pieces = prepare_all(adapter, _listed(items))
        if len(pieces) != len(spoken):
            raise ValueError(f"texts: got {len(spoken)} for {len(pieces)} items, expected one for each")
        for number, examples in enumerate(pieces):
            if len(examples) != 1:
                raise ValueError(
                    f"item {number}: makes {len(examples)} sets, expected one; give a part of it"
                )
        found: dict[int, Text] = {}
        for chosen, sets in self.encoded(name, pieces, max_vectors):
            aligned = head.align(sets, [spoken[item] for item, _ in chosen])
            for (item, number), text in zip(chosen, aligned, strict=True):
                edges = adapter.edges(pieces[item][number]) if hasattr(adapter, "edges") else None
                found[item] = text if edges is None else timed(text, edges)
        return [found[number] for number in range(len(pieces))]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients, on a CPU with denormal numbers as zeros."""
        flush_denormals()
        precision = choose_precision(self.precision, self.device, self.encoder.dim).name
        advice = "lower max_vectors, or predict on shorter items"
        with inference(self), computing_in(precision, self.device), explain_full_memory(advice):
            yield


def _up_to(most: int, size: Callable[[Any], int], examples: Iterator[Any], place: str) -> Iterator[Any]:
    """The next examples, until their vectors are ``most`` or more. An error names the item."""
    vectors = 0
    while vectors < most:
        try:
            example = next(examples, None)
        except (ValueError, OSError) as error:
            raise named(error, place) from error
        if example is None:
            return
        vectors += size(example)
        yield example


def _listed(items: Iterable[Any]) -> list[Any]:
    if isinstance(items, str):
        raise ValueError(f"items: got one string, expected a list of items; use [{items[:30]!r}]")
    return list(in_order(items, "items"))


def _explained(result: Any, of: str) -> str:
    """The name of the number or class to explain."""
    given = result.values if isinstance(result, Number) else result.probabilities
    if of:
        one_of(of, given, "of")
    elif isinstance(result, Number) and len(given) > 1:
        raise ValueError(f"of: got no name, expected one of the numbers {', '.join(given)}")
    return of or max(given, key=given.__getitem__)


def _evidence(result: Any, of: str) -> float:
    """A predicted number, or the log-odds of a class. These are limited where a probability rounds to 1."""
    if isinstance(result, Number):
        return result.values[of]
    share = min(max(result.probabilities[of], CERTAIN), 1 - CERTAIN)
    return math.log(share / (1 - share))


def _key(name: str) -> str:
    """The name of a part in torch's ModuleDict. Brackets avoid clashes with attributes such as ``type``."""
    if not re.fullmatch(r"[\w -]+", name) or name in RESERVED:
        raise ValueError(
            f"name: got {name!r}, expected letters, digits, blanks, _ and -, and none of "
            f"{', '.join(RESERVED)}, which are names of files and of lines in metrics.csv"
        )
    return f"[{name}]"


def _check_spellings(task: str, adapter: Adapter) -> None:
    """Raise ValueError if the vectors of an adapter stand for no texts that a decoder could copy."""
    if not hasattr(adapter, "spellings"):
        raise ValueError(
            f"tasks[{task!r}]: its target copies words and names of its input, but a "
            f"{type(adapter).__name__} has none (no method `spellings`); leave copy out"
        )


def _check_unshared(parts: Sequence[Any]) -> None:
    """Raise ValueError if two parts share weights; a checkpoint stores each weight once."""
    seen: set[int] = set()
    for part in parts:
        ids = {id(p) for p in part.parameters()}
        if ids & seen:
            raise ValueError(
                f"parts: a {type(part).__name__} shares weights with another part; give each its own"
            )
        seen |= ids


def combine(results: Sequence[Any]) -> Any:
    """Combine the results of one item's examples into one result.

    Lists of results per vector are concatenated. For classes the probabilities are averaged, and numbers and
    distances are averaged too. Texts are joined with spaces, and their scores are added.

    >>> combine([Label("a", 0.6, {"a": 0.6, "b": 0.4}), Label("b", 0.9, {"a": 0.1, "b": 0.9})]).label
    'b'
    """
    first = results[0] if results else []
    if isinstance(first, list):
        return [label for of_example in results for label in of_example]
    if len(results) == 1:
        return first
    num = len(results)
    distance = None if first.distance is None else sum(r.distance for r in results) / num
    if isinstance(first, Text):
        return replace(joined_texts(results), distance=distance)
    if isinstance(first, Number):
        mean = {k: sum(r.values[k] for r in results) / num for k in first.values}
        ends = {
            k: (sum(r.intervals[k][0] for r in results) / num, sum(r.intervals[k][1] for r in results) / num)
            for k in first.intervals
        }
        spreads = {k: sum(r.spreads[k] for r in results) / num for k in first.spreads}
        return Number(mean, first.unit, first.scales, ends, spreads, distance=distance)
    shares = {k: sum(r.probabilities[k] for r in results) / num for k in first.probabilities}
    if isinstance(first, LabelSet):
        present = tuple(k for k, p in shares.items() if p >= first.threshold)
        return LabelSet(present, shares, first.threshold, distance=distance)
    best = max(shares, key=shares.__getitem__)
    return Label(best, shares[best], shares, distance=distance)
