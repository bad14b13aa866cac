"""What a training keeps from step to step: the running average, the optimiser's moments, patience."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import multiseq
from multiseq import ClassTarget, Encoder, Model, SetHead, Source, Task, load, train
from multiseq.bias import PairBias
from multiseq.linear import Linear
from multiseq.runlog import read_log

ROOT = Path(__file__).parents[1]
QUIET: dict[str, Any] = {"progress": False, "accelerator": "cpu", "devices": 1}
CLOUDS = [[[float((i * k) % 5), float(i), float(k)] for k in range(1 + i % 4)] for i in range(11)]
SIDES = ["odd" if i % 2 else "even" for i in range(11)]


def build(adapter: Any, **changes: Any) -> Model:
    torch.manual_seed(0)
    return Model(
        {"points": adapter(dim=16)},
        Encoder(dim=16, depth=2, heads=2, dropout=0.0, **changes),
        {"side": Task("points", SetHead(16, ClassTarget(["even", "odd"])))},
    )


def fit(model: Model, **changes: Any) -> Model:
    settings = {"steps": 12, "budget": 20, "lr": 5e-3, **QUIET}
    return train(model, [Source("points", CLOUDS, {"side": SIDES})], **{**settings, **changes})


def losses(folder: Path) -> list[float]:
    return [float(row["value"]) for row in read_log(folder / "metrics.csv") if row["task"] == "total"]


# --- the running average --------------------------------------------------------------------------


def classes_with_buffers() -> set[str]:
    """Of the library, by the text of its files."""
    found = set()
    for file in [*(ROOT / "multiseq").glob("*.py"), *(ROOT / "adapters").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and "register_buffer" in ast.unparse(node):
                found.add(node.name)
    return found


class Counting(nn.Module):
    """A part of a user's own with buffers of every kind, two of which change at each step."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.dim = inner.dim
        self.norm = nn.BatchNorm1d(16)
        self.register_buffer("table", torch.arange(7))
        self.register_buffer("flags", torch.tensor([True, False, True]), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, sets: Any) -> Any:
        self.steps += self.training
        encoded = self.inner(sets)
        return encoded.with_values(self.norm(encoded.values))


def test_no_buffer_is_averaged(point_adapter: Any) -> None:
    assert classes_with_buffers() == {PairBias.__name__}, "another module has buffers: put it into this test"
    model = build(point_adapter, relative=True, pair_codes=3)
    model.encoder = Counting(model.encoder)  # type: ignore[assignment]
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert {"encoder.inner.bias.buckets", "encoder.table", "encoder.flags"} <= set(before)
    fit(model, average=0.9, steps=7)
    after = dict(model.named_buffers())
    for name in ("inner.bias.buckets", "table", "flags"):
        assert torch.equal(after[f"encoder.{name}"], before[f"encoder.{name}"]), name
    assert after["encoder.steps"] == after["encoder.norm.num_batches_tracked"] == 7


def test_the_model_that_is_saved_is_the_one_that_was_judged(point_adapter: Any, tmp_path: Path) -> None:
    dev = [Source("points", CLOUDS, {"side": SIDES})]
    model = build(point_adapter, relative=True)
    fit(model, average=0.5, dev=dev, evaluate_every=4, out=tmp_path / "run")
    again = load(tmp_path / "run", adapters={"points": point_adapter})
    for (name, ours), theirs in zip(model.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert again.predict("side", CLOUDS) == model.predict("side", CLOUDS)


# --- layout in memory -----------------------------------------------------------------------------


def force_layout(monkeypatch: pytest.MonkeyPatch, column_by_column: bool) -> None:
    monkeypatch.setattr(multiseq.linear, "_is_faster", lambda: column_by_column)


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_where_weights_are_laid_out_otherwise(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, average: float
) -> None:
    changes: dict[str, Any] = {"steps": 12, "save_every": 5, "average": average}
    force_layout(monkeypatch, first)
    fit(build(point_adapter), out=tmp_path / "whole", **changes)
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(stopped_at(build(point_adapter), 7), out=tmp_path / "stopped", **changes)
    force_layout(monkeypatch, not first)
    fit(build(point_adapter), out=tmp_path / "stopped", resume=True, **changes)
    whole, resumed = losses(tmp_path / "whole"), losses(tmp_path / "stopped")
    assert len(resumed) == 12
    assert resumed == pytest.approx(whole, rel=1e-4)
    a, b = (load(tmp_path / name, adapters={"points": point_adapter}) for name in ("whole", "stopped"))
    torch.testing.assert_close(a.state_dict(), b.state_dict(), atol=1e-4, rtol=1e-3)


def stopped_at(model: Model, step: int) -> Model:
    """The same model, whose training fails at that step."""
    steps, loss = [0], model.loss

    def failing(batch: Any) -> Any:
        steps[0] += 1
        if steps[0] > step:
            raise RuntimeError("stopped here")
        return loss(batch)

    model.loss = failing  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("first", [False, True])
def test_a_saved_model_has_no_layout(
    point_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    force_layout(monkeypatch, first)
    model = build(point_adapter).eval()
    multiseq.save(model, tmp_path / "model")
    force_layout(monkeypatch, not first)
    again = load(tmp_path / "model", adapters={"points": point_adapter})
    wide = [m.weight for m in again.modules() if isinstance(m, Linear) and m.out_features > m.in_features]
    assert wide
    assert all(weight.is_contiguous() == first for weight in wide)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
