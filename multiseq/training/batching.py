"""Batches of mixed sources, each filled up to a number of vectors; a function of seed, epoch and step alone.

Nothing depends on the order of calls. The seed and the number of the epoch determine the batches of an epoch.
The seed, the step and the example determine the random augmentation of an example. So the whole state of the
loader is the number of steps consumed, and a training that was killed continues exactly where it stopped.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from multiseq.batch import Batch, Part, fill_batches
from multiseq.protocols import Level
from multiseq.training.prepared_source import PreparedSource

__all__ = [
    "BatchPlan",
    "Loader",
    "seed_of",
]


def seed_of(*values: int | str) -> int:
    """A seed made from ``values`` alone: the same values give the same seed on every machine.

    >>> seed_of(0, "step", 7) == seed_of(0, "step", 7) != seed_of(0, "step", 8)
    True
    """
    digest = blake2b(repr(values).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # torch takes 63 bits


class BatchPlan:
    """Chooses the examples of each step's batch.

    In an epoch, a source with V vectors is drawn in proportion to ``(weight * V) ** (1 / temperature)``.
    Temperature 1 shows every example once (if all weights are equal); a higher temperature shows small
    sources more often (Arivazhagan et al. 2019, https://arxiv.org/abs/1907.05019, section 4.2). The examples
    of all sources are shuffled together, and each batch is filled up to ``max_vectors``. So every batch holds
    about the same proportion of each source.
    """

    def __init__(
        self, sources: Sequence[PreparedSource], *, max_vectors: int, seed: int = 0, temperature: float = 1.0
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
                f"sources: got no source or empty ones {empty}, expected at least one labelled item in each"
            )
        self.sources, self.max_vectors = list(sources), max_vectors
        self.seed, self.temperature = seed, temperature
        self._epochs: dict[int, list[list[tuple[int, int]]]] = {}

    def epoch(self, number: int) -> list[list[tuple[int, int]]]:
        """The batches of an epoch: lists of (number of the source, number of the example)."""
        if number not in self._epochs:
            flat = [pair for s, draws in enumerate(self._draws()) for pair in self._draw(s, draws, number)]
            sizes = [self.sources[s].sizes[i] for s, i in flat]
            order = torch.randperm(len(flat), generator=self._generator("order", number)).tolist()
            batches = [[flat[n] for n in batch] for batch in fill_batches(order, sizes, self.max_vectors)]
            self._epochs = {number: batches}  # keep only one epoch: steps come in order
        return self._epochs[number]

    def steps(self, first: int = 0) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yield (step, its batch) from step ``first`` on, without end."""
        epoch = step = 0
        while True:
            batches = self.epoch(epoch)
            if step + len(batches) > first:
                for offset, batch in enumerate(batches):
                    if step + offset >= first:
                        yield step + offset, batch
            step, epoch = step + len(batches), epoch + 1

    def _draws(self) -> list[int]:
        """How many examples an epoch draws from each source."""
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

    def _generator(self, *values: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, *values))

    def collate(self, step: int, chosen: Sequence[tuple[int, int]]) -> Batch:
        """Augment the chosen examples and pack them: one part of the batch for each adapter."""
        by_adapter: dict[str, list[tuple[PreparedSource, Any, dict[str, Any]]]] = {}
        for s, i in chosen:
            source = self.sources[s]
            example, labels = source.example(i, self._generator("item", step, s, i))
            by_adapter.setdefault(source.adapter_name, []).append((source, example, labels))
        return Batch([_collated(name, entries) for name, entries in by_adapter.items()])


def _collated(name: str, entries: Sequence[tuple[PreparedSource, Any, dict[str, Any]]]) -> Part:
    inputs = entries[0][0].adapter.collate([example for _, example, _ in entries])
    tasks = {task: source.tasks[task] for source, _, _ in entries for task in source.tasks}
    targets = {}
    for task, owner in tasks.items():
        chosen = [i for i, (_, _, labels) in enumerate(entries) if labels.get(task) is not None]
        if chosen:
            labels = _flat([entries[i][2][task] for i in chosen], owner.head.level)
            options = {}
            if getattr(owner.head, "needs_names", False):
                options["names"] = [_spellings(*entries[i][:2]) for i in chosen]
            targets[task] = (chosen, owner.head.target.batch(labels, **options))
    return Part(name, inputs, targets)


def _spellings(source: PreparedSource, example: Any) -> list[str]:
    adapter: Any = source.adapter  # `Model` has checked that it has the method
    return list(adapter.spellings(example))


def _flat(labels: Sequence[Any], level: Level) -> Sequence[Any]:
    return [label for of_set in labels for label in of_set] if level == "vector" else labels


class Loader(DataLoader[Batch]):
    """Loads the batches of a plan, one for each step, starting at the step that ``load_state_dict`` sets.

    In distributed training, each process takes every ``world``-th example of a step's batch. Together the
    processes see the same examples as one process alone.

    Args:
        plan: Chooses the examples of each step.
        steps: Total number of steps.
        num_workers: Number of processes that augment and collate; 0 does it in the training process.
        rank, world: Number of this process, and number of all processes.
        pin_memory: Whether to put batches into page-locked memory, for faster copies to a GPU.
    """

    def __init__(
        self,
        plan: BatchPlan,
        *,
        steps: int,
        num_workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.consumed = 0
        stream = _Stream(plan, steps, rank, world)
        super().__init__(
            stream,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=pin_memory,
            worker_init_fn=_ignore_sigterm,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names a class, not Iterator
        assert isinstance(self.dataset, _Stream)
        self.dataset.first = self.consumed
        batches: Any = super().__iter__()
        try:
            for batch in batches:
                self.consumed += 1
                yield batch
        finally:
            # The workers ignore SIGTERM, with which torch and Python would end them.
            if self.num_workers:
                batches._shutdown_workers()
                for worker in batches._workers:
                    if worker.is_alive():
                        worker.kill()

    def state_dict(self) -> dict[str, int]:
        """The number of steps consumed, which is the whole state."""
        return {"consumed": self.consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the number of steps in ``state``."""
        self.consumed = state["consumed"]


def _ignore_sigterm(worker: int) -> None:
    """Ignore SIGTERM. Clusters send it to all processes; the training saves, then ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Stream(IterableDataset[Batch]):
    def __init__(self, plan: BatchPlan, num_steps: int, rank: int, world: int) -> None:
        self.plan, self.num_steps, self.rank, self.world, self.first = plan, num_steps, rank, world, 0

    def __len__(self) -> int:
        # If the length is known, Lightning fetches no batch ahead. So `consumed` counts the steps trained on.
        return self.num_steps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        num, number = (worker.num_workers, worker.id) if worker else (1, 0)
        for step, chosen in self.plan.steps(self.first):
            if step >= self.num_steps:
                return
            if (step - self.first) % num == number:
                yield self.plan.collate(step, chosen[self.rank :: self.world])
