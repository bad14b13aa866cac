"""Batches filled to a budget of vectors, mixed over sources, as a pure function of (seed, epoch, step).

Nothing depends on the order of calls: the batches of an epoch follow from the seed and the epoch's number,
and what is random in an example follows from the seed, the step and the example. So the whole state of the
loader is the number of steps consumed, and a training that was killed goes on exactly where it was.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from multiseq.heads.ctc import TOO_SHORT, CTCHead
from multiseq.protocols import Adapter, Inputs, Level
from multiseq.tasks import Source, Task
from multiseq.training.item_cache import ItemCache, place_of

__all__ = [
    "Batch",
    "BatchPlan",
    "Loader",
    "Part",
    "PreparedSource",
    "fill",
    "seed_of",
]


def seed_of(*parts: int | str) -> int:
    """A seed that follows from its parts alone, the same on every machine.

    >>> seed_of(0, "step", 7) == seed_of(0, "step", 7) != seed_of(0, "step", 8)
    True
    """
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # torch takes 63 bits


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


class PreparedSource:
    """A source's examples, prepared once, with the labels of the item that each comes from.

    Args:
        source: Items and labels.
        adapter: Prepares the items.
        tasks: Those that the source labels, and others.
        cache: What prepared items are looked up in; one of its own where not given.

    Raises:
        ValueError: A bad item, labels that do not fit it, or a sequence target for an item that makes
            several sets; the message names the item's file and line where the source knows them.
    """

    def __init__(
        self, source: Source, adapter: Adapter, tasks: Mapping[str, Task], cache: ItemCache | None = None
    ) -> None:
        self.adapter, self.adapter_name, self.weight = adapter, source.adapter, source.weight
        for name in source.targets:
            if name not in tasks or tasks[name].adapter != source.adapter:
                of_adapter = [t for t in tasks if tasks[t].adapter == source.adapter]
                raise ValueError(
                    f"targets: got {name!r} for a source of {source.adapter!r}, expected one of {of_adapter}"
                )
        self.tasks = {name: tasks[name] for name in source.targets}
        pieces = (cache or ItemCache()).examples(adapter, source.items, source.where)
        for name, task in self.tasks.items():
            several = [i for i, p in enumerate(pieces) if len(p) > 1 and source.targets[name][i] is not None]
            if task.head.level == "sequence" and several:
                place, sets = place_of(source.where, several[0]), len(pieces[several[0]])
                raise ValueError(
                    f"{place}: makes {sets} sets, but task {name!r} learns a sequence from one; "
                    "raise the adapter's window, or cut the item and its text"
                )
        self.examples = [example for examples in pieces for example in examples]
        self._item = [i for i, examples in enumerate(pieces) for _ in examples]
        self._labels, self._where = {t: list(labels) for t, labels in source.targets.items()}, source.where
        # An empty set costs something too, or a batch would hold them without end.
        self.sizes = [max(1, adapter.num_vectors(example)) for example in self.examples]
        self._short: dict[str, list[str]] = {}
        self._drop_unlabelled()
        for name, items in self._short.items():
            warnings.warn(
                f"task {name!r}: {len(items)} of {len(pieces)} items are too short for their text and left "
                f"out ({'; '.join(items[:5])}). {TOO_SHORT}",
                stacklevel=2,
            )

    def _drop_unlabelled(self) -> None:
        """Leave out examples that no task has a label for (nodes of another part in node sets)."""
        kept = []
        for i in range(len(self.examples)):
            found = [self._has(i, name) for name in self.tasks]  # all, so that all labels are checked
            if any(found):
                kept.append(i)
        self.examples = [self.examples[i] for i in kept]
        self.sizes = [self.sizes[i] for i in kept]
        self._item = [self._item[i] for i in kept]

    def _has(self, number: int, name: str) -> bool:
        """Whether an example has a label for a task; one that does not fit is an error now, not later."""
        labels, head = self._labels[name][self._item[number]], self.tasks[name].head
        if labels is None:
            return False
        try:
            if head.level != "vector":
                head.target.batch([labels])
                return not self._is_too_short(number, name)
            aligned = self.adapter.align(labels, self.examples[number])
            head.target.batch(aligned)
        except ValueError as error:
            raise ValueError(f"{place_of(self._where, self._item[number])}: {error}") from error
        return any(v is not None for v in aligned)

    def _is_too_short(self, number: int, name: str) -> bool:
        """Whether an example has no path for its text (CTC); then it has no label from now on."""
        head, item, example = self.tasks[name].head, self._item[number], self.examples[number]
        if not isinstance(head, CTCHead):
            return False
        sizes = head.too_short(self.adapter.num_vectors(example), self._labels[name][item])
        if sizes:
            place = ", ".join(filter(None, (place_of(self._where, item), getattr(example, "source", ""))))
            self._short.setdefault(name, []).append(f"{place}: {sizes}")
            self._labels[name][item] = None
        return bool(sizes)

    def __len__(self) -> int:
        return len(self.examples)

    def example(self, number: int, generator: torch.Generator) -> tuple[Any, dict[str, Any]]:
        """One randomly augmented example with its labels by task."""
        example = self.adapter.augment(self.examples[number], generator)
        labels = {name: self._labels[name][self._item[number]] for name in self.tasks}
        for name, task in self.tasks.items():
            if task.head.level == "vector" and labels[name] is not None:
                labels[name] = self.adapter.align(labels[name], example)
        return example, labels


class BatchPlan:
    """Which examples make up the batch of each step.

    In an epoch a source of V vectors is drawn as often as its share ``(weight * V) ** (1 / temperature)``
    says: temperature 1 shows everything once, a higher one shows small sources more often (Arivazhagan et
    al. 2019, https://arxiv.org/abs/1907.05019, section 4.2). All draws are shuffled together and batches
    are filled to the budget, so every batch holds every source in about its share.
    """

    def __init__(
        self, sources: Sequence[PreparedSource], *, budget: int, seed: int = 0, temperature: float = 1.0
    ) -> None:
        unseen = [s for s in sources if not 0 < s.weight < math.inf]
        if unseen:
            raise ValueError(
                f"weight: got {unseen[0].weight} for a source of {unseen[0].adapter_name!r}, expected a "
                "number above 0"
            )
        empty = [s.adapter_name for s in sources if not len(s)]
        if empty or not sources:
            raise ValueError(
                f"sources: got none or an empty one {empty}, expected at least one labelled item in each"
            )
        self.sources, self.budget, self.seed, self.temperature = list(sources), budget, seed, temperature
        self._epochs: dict[int, list[list[tuple[int, int]]]] = {}

    def epoch(self, number: int) -> list[list[tuple[int, int]]]:
        """Batches of (source, example) numbers."""
        if number not in self._epochs:
            flat = [pair for s, draws in enumerate(self._draws()) for pair in self._draw(s, draws, number)]
            sizes = [self.sources[s].sizes[i] for s, i in flat]
            order = torch.randperm(len(flat), generator=self._generator("order", number)).tolist()
            batches = [[flat[n] for n in batch] for batch in fill(order, sizes, self.budget)]
            self._epochs = {number: batches}  # one epoch is kept: steps come in order
        return self._epochs[number]

    def steps(self, first: int = 0) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """(step, its batch) from step ``first`` on, without end."""
        epoch = step = 0
        while True:
            batches = self.epoch(epoch)
            if step + len(batches) > first:
                for offset, batch in enumerate(batches):
                    if step + offset >= first:
                        yield step + offset, batch
            step, epoch = step + len(batches), epoch + 1

    def _draws(self) -> list[int]:
        """How many examples of each source an epoch shows."""
        vectors = [max(1, sum(s.sizes)) * s.weight for s in self.sources]
        shares = [v ** (1 / self.temperature) for v in vectors]
        total = sum(sum(s.sizes) for s in self.sources)
        wanted = [total * share / sum(shares) for share in shares]
        return [
            max(1, round(w / max(1, sum(s.sizes)) * len(s)))
            for w, s in zip(wanted, self.sources, strict=True)
        ]

    def _draw(self, source: int, draws: int, epoch: int) -> list[tuple[int, int]]:
        num = len(self.sources[source])
        generator = self._generator("draw", epoch, source)
        rounds = [torch.randperm(num, generator=generator).tolist() for _ in range(-(-draws // num))]
        return [(source, i) for i in [i for r in rounds for i in r][:draws]]

    def _generator(self, *parts: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, *parts))

    def collate(self, step: int, chosen: Sequence[tuple[int, int]]) -> Batch:
        """The chosen examples, augmented and packed: one part for each adapter."""
        by_adapter: dict[str, list[tuple[PreparedSource, Any, dict[str, Any]]]] = {}
        for s, i in chosen:
            source = self.sources[s]
            example, labels = source.example(i, self._generator("item", step, s, i))
            by_adapter.setdefault(source.adapter_name, []).append((source, example, labels))
        return Batch([_part(name, rows) for name, rows in by_adapter.items()])


def _part(name: str, rows: Sequence[tuple[PreparedSource, Any, dict[str, Any]]]) -> Part:
    inputs = rows[0][0].adapter.collate([example for _, example, _ in rows])
    tasks = {task: source.tasks[task] for source, _, _ in rows for task in source.tasks}
    targets = {}
    for task, owner in tasks.items():
        chosen = [i for i, (_, _, labels) in enumerate(rows) if labels.get(task) is not None]
        if chosen:
            labels = [rows[i][2][task] for i in chosen]
            targets[task] = (chosen, owner.head.target.batch(_rows_of(labels, owner.head.level)))
    return Part(name, inputs, targets)


def _rows_of(labels: Sequence[Any], level: Level) -> Sequence[Any]:
    return [label for of_set in labels for label in of_set] if level == "vector" else labels


class Loader(DataLoader[Batch]):
    """The batches of a plan, one for each step, from where ``load_state_dict`` said.

    With several processes each takes every ``world``-th example of a step's batch, so that together they
    see what one process alone would.

    Args:
        plan: Which examples each step has.
        steps: How many there are in all.
        workers: Processes that augment and collate; 0 does it in the training process.
        rank, world: This process and how many there are.
    """

    def __init__(
        self,
        plan: BatchPlan,
        *,
        steps: int,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.consumed = 0
        stream = _Stream(plan, steps, rank, world)
        super().__init__(stream, batch_size=None, num_workers=workers, pin_memory=pin_memory)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names a class, not Iterator
        assert isinstance(self.dataset, _Stream)
        self.dataset.first = self.consumed
        for batch in super().__iter__():
            self.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The number of steps consumed: all there is."""
        return {"consumed": self.consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many steps."""
        self.consumed = state["consumed"]


class _Stream(IterableDataset[Batch]):
    def __init__(self, plan: BatchPlan, num_steps: int, rank: int, world: int) -> None:
        self.plan, self.num_steps, self.rank, self.world, self.first = plan, num_steps, rank, world, 0

    def __len__(self) -> int:
        # With a length known, Lightning fetches no batch ahead, so `consumed` is what was trained on.
        return self.num_steps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        num, own = (worker.num_workers, worker.id) if worker else (1, 0)
        for step, chosen in self.plan.steps(self.first):
            if step >= self.num_steps:
                return
            if (step - self.first) % num == own:
                yield self.plan.collate(step, chosen[self.rank :: self.world])
