"""Training steps and the loader in the benchmark: the parts of a step compute what the step does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import limits, loader, steps
from benchmarks.modalities import MODALITIES, make
from benchmarks.setting import Setting
from multiseq.training.batching import BatchPlan
from multiseq.training.prepared_source import PreparedSource

TINY = Setting(dim=16, depth=1, heads=2, sets=3, draws=1, lengths=(2, 5, 3))


@pytest.mark.parametrize("name", MODALITIES)
def test_a_step_in_parts_is_the_step(name: str) -> None:
    weights = []
    for kind in ("step", "step_in_parts"):
        modality = make(name, TINY, 3)
        plan = BatchPlan(
            [PreparedSource(modality.source, modality.model.adapter(name), modality.model.tasks)],
            max_vectors=1,
        )
        trainer = steps.Trainer(modality.model, TINY)
        torch.manual_seed(0)
        getattr(trainer, kind)(plan.collate(0, [(0, 0), (0, 1), (0, 2)]))
        weights.append(modality.model.state_dict())
    first, second = weights
    for key in first:
        torch.testing.assert_close(first[key], second[key], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", MODALITIES)
def test_items_have_the_lengths_of_the_workload(name: str, tmp_path: Path) -> None:
    modality = make(name, TINY, 40, tmp_path)
    adapter = modality.model.adapter(name)
    lengths = [sum(map(adapter.num_vectors, adapter.prepare(item))) for item in modality.source.items]
    assert set(lengths) <= set(range(2, 7))  # of molecules the one of the nearest size
    if name != "graph":
        assert set(lengths) == {2, 3, 5}


def test_a_row_for_each_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ROUNDS", 1)
    [table] = steps.measure(TINY)
    assert [row["modality"] for row in table.rows] == list(MODALITIES)
    for row in table.rows:
        shares = [row[f"{part}, %"].median for part in steps.PARTS]
        assert sum(shares) == pytest.approx(100, abs=1)


def test_a_step_in_bf16_beside_the_one_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ROUNDS", 1)
    monkeypatch.setattr(steps, "MODALITIES", {"text": "sentences"})
    [row] = steps.measure(replace(TINY, half=True))[0].rows
    assert row["fp32 ÷ bf16"].median > 0
    [row] = limits.measure(replace(TINY, half=True))[0].rows
    assert row["fp32 ÷ bf16"].median > 0
    assert row["ms in bf16"] > 0


def test_the_loader_feeds_every_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SHARE": 10**9, "EPOCHS": 2, "STEPS": 1}.items():
        monkeypatch.setattr(loader, name, value)
    monkeypatch.setattr(loader, "in_fresh_process", lambda function, *args: function(*args))
    [table] = loader.measure(TINY)
    assert [row["modality"] for row in table.rows] == list(MODALITIES)
    for row in table.rows:
        assert row["first epoch"] > 0
        assert row["another run"] > 0
        assert row["further epochs"] > 0
