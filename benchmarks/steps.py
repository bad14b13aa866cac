"""Whole training steps of each modality, and the shares of adapter, encoder, head and optimiser in them.

The step is cut where one part hands over to the next: a part's outputs are detached, and its backward pass is
begun with the gradient that the next part left on them. That computes the same gradients, and every part is
timed inside the step. Beside it, in turn, the same step in one piece.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import torch

from benchmarks.modalities import MODALITIES, make
from benchmarks.reports.report import Table
from benchmarks.setting import Setting
from benchmarks.timing import Spread, alternate, median, synchronise
from multiseq import Model, VectorSets
from multiseq.batch import Batch
from multiseq.nn.precision import computing_in
from multiseq.training.batching import BatchPlan
from multiseq.training.optimizer import make_optimizer
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.settings import Settings

__all__ = ["PARTS", "Trainer", "measure"]

ROUNDS = 1 if os.environ.get("MULTISEQ_QUICK") else 2
PARTS = ("adapter", "encoder", "head and loss", "optimiser")
NOTE = (
    "Forward, backward and update of {sets} sets. The optimiser: clipping, AdamW, forgetting the gradients. "
    "Seconds, vectors a second and fp32 ÷ bf16 are those of the step in one piece."
)


def measure(setting: Setting) -> list[Table]:
    """A row for each modality."""
    rows = [_row(name, setting) for name in MODALITIES]
    return [Table("steps", "Training step: per cent of each part", rows, NOTE.format(sets=setting.sets))]


def _row(name: str, setting: Setting) -> dict[str, Any]:
    modality = make(name, setting, setting.draws * setting.sets)
    adapter, tasks = modality.model.adapter(name), modality.model.tasks
    plan = BatchPlan([PreparedSource(modality.source, adapter, tasks)], max_vectors=1)
    trainer = Trainer(modality.model, setting)
    shares: dict[str, list[float]] = {part: [] for part in PARTS}
    rates, whole, gains = [], [], []
    for number in range(setting.draws):
        chosen = [(0, i) for i in range(number * setting.sets, (number + 1) * setting.sets)]
        batch = plan.collate(number, chosen).to(setting.device)
        ways = {"step": partial(trainer.step, batch)}
        if setting.half:
            ways["bf16"] = partial(trainer.step, batch, "bf16")
        for way in ways.values():  # with new shapes
            way()
        for _ in range(ROUNDS):
            taken = trainer.step_in_parts(batch)
            for part in PARTS:
                shares[part].append(100 * taken[part] / sum(taken.values()))
            seconds = {
                name: taken[0] for name, taken in alternate(ways, 1, setting.device, warm_up=0).items()
            }
            whole.append(seconds["step"])
            rates.append(batch.num_vectors / seconds["step"])
            if setting.half:
                gains.append(seconds["step"] / seconds["bf16"])
    row: dict[str, Any] = {
        "modality": name,
        "seconds": median(whole),
        "vectors a second": round(median(rates)),
    }
    row |= {"fp32 ÷ bf16": Spread.of(gains)} if gains else {}
    return row | {f"{part}, %": Spread.of(shares[part]) for part in PARTS}


class Trainer:
    """A model with its optimiser, as `multiseq.training.loop` makes it."""

    def __init__(self, model: Model, setting: Setting) -> None:
        self.model, self.device = model.train(), setting.device
        self.settings = Settings()
        self.optimizer = make_optimizer(model, self.settings)

    def step(self, batch: Batch, precision: str = "fp32") -> None:
        """One step in one piece; on a CPU in that precision."""
        with self._precision(precision):
            [(total, count)] = self.model.loss(batch).values()
        (total / count).backward()
        self._update()

    def step_in_parts(self, batch: Batch) -> dict[str, float]:
        """The same step; seconds of each of its parts."""
        [part] = batch.parts
        [(name, (chosen, targets))] = part.targets.items()
        adapter, head = self.model.adapter(part.adapter_name), self.model.task(name).head
        clock = _Clock(self.device)
        with self._precision("fp32"):
            stem = adapter(part.inputs)
            entered = _cut(stem)
            clock.tick("adapter")
            encoded = self.model.encoder(entered)
            left = _cut(encoded)
            clock.tick("encoder")
            total, count = head.loss(adapter.read(left, part.inputs).select(chosen), targets)
        (total / count).backward()
        clock.tick("head and loss")
        _go_back(encoded, left)
        clock.tick("encoder")
        _go_back(stem, entered)
        clock.tick("adapter")
        self._update()
        clock.tick("optimiser")
        return clock.seconds

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _precision(self, on_cpu: str) -> Any:
        """On a GPU mixed precision, as in training."""
        return computing_in("bf16" if self.device.type == "cuda" else on_cpu, self.device)


def _cut(sets: VectorSets) -> VectorSets:
    """The same sets in single precision, as in training; no gradient goes back to what made them."""
    return sets.with_values(sets.values.detach().float().requires_grad_())


def _go_back(sets: VectorSets, cut: VectorSets) -> None:
    """The backward pass of what made the sets, from the gradient that came to where they were cut."""
    gradient = cut.values.grad
    assert gradient is not None
    sets.values.backward(gradient.to(sets.values.dtype))


class _Clock:
    """Seconds since the last tick, added to a name."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.device = device
        synchronise(device)
        self.last = time.perf_counter()

    def tick(self, name: str) -> None:
        synchronise(self.device)
        now = time.perf_counter()
        self.seconds[name] += now - self.last
        self.last = now
