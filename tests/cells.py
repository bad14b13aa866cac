"""The nine starter tasks in little: one small model and ten items of each, for tests on any device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from multiseq.batch import Batch
from multiseq.model import Model
from multiseq.results import Label, Number, Text
from multiseq.runs import build
from multiseq.runs import recipe as recipes
from multiseq.runs.sources import read_split
from multiseq.tasks import Source
from multiseq.training.batching import BatchPlan
from multiseq.training.prepared_source import PreparedSource

CELLS = {
    "pos": "text/vector",
    "sentiment": "text/set",
    "translation": "text/sequence",
    "phonemes": "speech/vector",
    "speaker": "speech/set",
    "recognition": "speech/sequence",
    "buyers": "graph/vector",
    "hydrophilicity": "graph/set",
    "facts": "graph/sequence",
}

CHANGES = [
    "encoder.dim=64",
    "encoder.depth=2",
    "encoder.dropout=0.0",
    *(f"adapters.{name}.dropout=0.0" for name in ("text", "speech", "networks", "molecules", "triples")),
    "adapters.text.word_dropout=0.0",
    "adapters.speech.specaugment=false",
    "adapters.networks.edge_dropout=0.0",
    *(f"tasks.{name}.head.dropout=0.0" for name in CELLS),
]


def ten(source: Source) -> Source:
    """Ten items; of the networks two, for each has many members."""
    few = slice(0, 2 if source.adapter_name == "networks" else 10)
    return replace(
        source,
        items=source.items[few],
        targets={task: labels[few] for task, labels in source.targets.items()},
        locations=source.locations[few],
        weight=1.0,
    )


@cache
def starter_sources() -> list[Source]:
    """Ten items of each kind of data."""
    return [ten(source) for source in read_split(recipes.read("starter"), "train")]


def starter(changes: Sequence[str] = ()) -> tuple[Model, list[Source]]:
    """A model with the nine heads, the same weights each time, and what it learns from."""
    torch.manual_seed(0)
    sources = starter_sources()
    model = build.build_model(recipes.read("starter", [*CHANGES, *changes]), sources)
    names: Any = model.adapter("triples")
    names.text.dropout.p = 0.0  # no option of the recipe
    return model, sources


def batch_of(model: Model, sources: Sequence[Source]) -> Batch:
    """All items of the sources in one batch."""
    prepared = [PreparedSource(s, model.adapter(s.adapter_name), model.tasks) for s in sources]
    plan = BatchPlan(prepared, max_vectors=100_000)
    return plan.collate(0, plan.epoch(0)[0])


def backward(losses: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """As a training step does: the sum of the tasks' mean losses."""
    torch.stack([loss / count for loss, count in losses.values()]).sum().backward()


def assert_close_gradients(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], *, tolerance: float
) -> None:
    """All together by their size, and each by its direction: half precision leaves small ones noisy."""
    assert set(ours) == set(theirs)
    apart = torch.cat([(ours[name] - theirs[name]).flatten() for name in theirs])
    assert apart.norm() < tolerance * torch.cat([x.flatten() for x in theirs.values()]).norm()
    for name, gradient in theirs.items():
        length = ours[name].norm() * gradient.norm()
        assert (ours[name] * gradient).sum() >= (1 - 2 * tolerance) * length - 1e-6, name


def assert_a_step_is_the_cpus(
    model: Model, sources: Sequence[Source], device: str, *, half: bool, noise: float = 1.0
) -> set[str]:
    """Losses and gradients of one batch, in single or half precision; the names of its tasks.

    `noise` is how much noisier than usual the model is in half precision.
    """
    batch = batch_of(model, sources)
    wanted = model.loss(batch)
    backward(wanted)
    slow = gradients(model)
    model.zero_grad()
    model.to(device)
    with torch.autocast(device, torch.bfloat16, enabled=half):
        losses = model.loss(batch.to(device))
    backward(losses)
    close = dict.fromkeys(("rtol", "atol"), 0.02 * noise if half else 1e-3)
    for task, (loss, count) in losses.items():
        assert count.cpu() == wanted[task][1], task
        torch.testing.assert_close(loss.detach().cpu(), wanted[task][0].detach(), **close)
    assert_close_gradients(gradients(model), slow, tolerance=0.05 * noise if half else 5e-3)
    return set(losses)


def gradients(model: Model) -> dict[str, Tensor]:
    """Those that there are, on the CPU."""
    return {name: w.grad.cpu() for name, w in model.named_parameters() if w.grad is not None}


def assert_alike(some: list[Any], others: list[Any]) -> None:
    """The same labels and strings, scores within 1e-4."""
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        if isinstance(a, list):
            assert_alike(a, b)
        elif isinstance(a, Label):
            assert a.label == b.label
            assert a.probability == pytest.approx(b.probability, abs=1e-4)
        elif isinstance(a, Number):
            assert a.value == pytest.approx(b.value, abs=1e-4)
        else:
            assert isinstance(a, Text)
            assert a.text == b.text
            assert a.score == pytest.approx(b.score, abs=1e-4)
