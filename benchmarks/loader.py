"""What the loader alone can feed with two workers, beside what a training step of that modality consumes."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.modalities import MODALITIES, Modality, make
from benchmarks.process import in_fresh_process
from benchmarks.reports.report import Table
from benchmarks.setting import Setting
from benchmarks.steps import Trainer
from benchmarks.timing import Spread, median, seconds_of
from multiseq.system.memory import keep_memory
from multiseq.training.batching import BatchPlan, Loader
from multiseq.training.item_cache import ItemCache
from multiseq.training.prepared_source import PreparedSource

__all__ = ["measure"]

ITEMS = {"text": 4096, "speech": 1024, "graph": 2048}
"""At least; two batches in any case."""
SHARE = 16 if os.environ.get("MULTISEQ_QUICK") else 1
EPOCHS = 2 if os.environ.get("MULTISEQ_QUICK") else 5
STEPS = 1 if os.environ.get("MULTISEQ_QUICK") else 3
WORKERS = 2
NOTE = (
    "Vectors a second, and how many times what a step consumes. First epoch: items are read and prepared, "
    "and processes started. Another run: the same, with the prepared items kept in a folder. Further epochs: "
    "batches of items that are in memory."
)


def measure(setting: Setting) -> list[Table]:
    """A row for each modality, measured in a process of its own: a large one takes long to fork."""
    rows = in_fresh_process(_rows, setting)
    return [Table("loader", f"What the loader feeds with {WORKERS} workers", rows, NOTE)]


def _rows(setting: Setting) -> list[dict[str, Any]]:
    keep_memory()
    rows = []
    for name in MODALITIES:
        with TemporaryDirectory() as folder:
            items = max(ITEMS[name] // SHARE, 2 * setting.sets)
            modality = make(name, setting, items, Path(folder))
            rows.append(_row(modality, setting, Path(folder) / "kept"))
    return rows


def _row(modality: Modality, setting: Setting, folder: Path) -> dict[str, Any]:
    first, further = _fed(modality, setting, folder)
    again, _ = _fed(modality, setting, folder)
    needed = _consumed(modality, setting)
    fed = {"first epoch": first, "another run": again, "further epochs": further}
    rates: dict[str, Any] = {name: round(rate) for name, rate in fed.items()}
    ratios = {f"{name} ÷ a step": Spread.of([rate / n for n in needed]) for name, rate in fed.items()}
    return {"modality": modality.name, "a step": round(median(needed)), **rates, **ratios}


def _fed(modality: Modality, setting: Setting, folder: Path) -> tuple[float, float]:
    """Vectors a second of the first epoch, from raw items on, and of those after it."""
    start = time.perf_counter()
    plan = _plan(modality, setting, ItemCache(folder, num_workers=WORKERS))
    batches = len(plan.epoch(0))
    loader = Loader(plan, steps=EPOCHS * batches, num_workers=WORKERS)
    vectors, ends = [0], [start]
    for number, batch in enumerate(loader, start=1):
        vectors[-1] += batch.num_vectors
        if number % batches == 0:
            ends.append(time.perf_counter())
            vectors.append(0)
    return vectors[0] / (ends[1] - ends[0]), sum(vectors[1:]) / (ends[-1] - ends[1])


def _consumed(modality: Modality, setting: Setting) -> list[float]:
    """Vectors a second of training steps, one each."""
    trainer, plan = Trainer(modality.model, setting), _plan(modality, setting, ItemCache())
    rates = []
    for number, chosen in enumerate(plan.epoch(0)[: 1 + STEPS]):
        batch = plan.collate(number, chosen).to(setting.device)
        rates.append(batch.num_vectors / seconds_of(partial(trainer.step, batch), setting.device))
    return rates[1:]  # the first one warms up


def _plan(modality: Modality, setting: Setting, cache: ItemCache) -> BatchPlan:
    """Batches of about as many vectors as the sets of one batch of the workload have."""
    adapter = modality.model.adapter(modality.name)
    source = PreparedSource(modality.source, adapter, modality.model.tasks, cache)
    return BatchPlan([source], max_vectors=sum(source.sizes) * setting.sets // len(source))
