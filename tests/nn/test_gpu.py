"""What a GPU must give: the CPU's results, without waiting, and the same each time where that is asked for.

`tests/nn/test_emulated_gpu.py` asks much of this where there is none. Bias and windows by FlexAttention are
in `tests/nn/test_bias.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

import multiseq
from multiseq import ClassTarget, Encoder, GraphAdapter, Model, Task, VectorHead, VectorSets, train
from multiseq.adapters.neighborhood import NeighborhoodAdapter
from multiseq.checkpoint import save
from multiseq.nn.attention import AttentionPlan, attend
from multiseq.tasks import Source
from multiseq.training import step
from multiseq.training.batching import BatchPlan
from multiseq.training.optimizer import make_optimizer
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.settings import Settings
from tests.cells import CELLS, assert_a_step_is_the_cpus, assert_alike, backward, batch_of, starter
from tests.reference import attention as reference

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

HALF = 0.03
"""How far results in bfloat16 (8 bits) may be apart that are of size 1: what is batched and what is alone."""

CHANGES = [[], ["encoder.window=5"], ["encoder.relative_bias=true", "adapters.molecules.max_distance=3"]]

# Lengths of queries and keys: one vector, an empty set, more of the one or of the other, more than a tile.
SELF, CROSS = [5, 1, 0, 7, 3, 149], [3, 2, 4, 11, 1, 131]


@pytest.mark.parametrize(
    ("keys", "causal", "window"),
    [(SELF, False, None), (SELF, True, None), (CROSS, False, None), (SELF, False, 2), (SELF, True, 3)],
)
def test_flash_attention_and_its_gradients_match_the_reference(
    device: str, keys: list[int], causal: bool, window: int | None
) -> None:
    exact = [torch.randn(sum(n), 2, 16, dtype=torch.float64) for n in (SELF, keys, keys)]
    exact = [x.bfloat16().double().requires_grad_() for x in exact]
    slow = reference.attend(*exact, SELF, keys, causal=causal, window=window)
    weight = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weight).sum(), exact)
    halves = [x.detach().to(device, torch.bfloat16).requires_grad_() for x in exact]
    ours = attend(*halves, AttentionPlan(SELF, keys, device=device), causal=causal, window=window)
    found = torch.autograd.grad((ours.double() * weight.to(device)).sum(), halves)
    for close, far in zip((ours, *found), (slow, *wanted), strict=True):
        torch.testing.assert_close(close.double().cpu(), far, atol=HALF, rtol=HALF)


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("half", [False, True])
def test_losses_and_gradients_of_every_cell_are_those_of_the_cpu(
    device: str, half: bool, changes: list[str]
) -> None:
    model, sources = starter(changes)
    assert assert_a_step_is_the_cpus(model, sources, device, half=half) == set(CELLS)


@pytest.mark.parametrize("half", [False, True])
def test_bags_of_ids(device: str, half: bool) -> None:
    x = (torch.rand(30, 50) * (torch.rand(30, 50) > 0.8)).to_sparse()
    network = Data(x=x, edge_index=torch.randint(30, (2, 60)), num_nodes=30)
    adapters = {
        "plain": GraphAdapter.fit([network], dim=32),
        "hops": NeighborhoodAdapter.fit([network], dim=32, num_hops=2),
    }
    tasks = {name: Task(name, VectorHead(32, ClassTarget(["x", "y"]))) for name in adapters}
    model = Model(adapters, Encoder(dim=32, depth=1, heads=2), tasks).eval()
    sources = [Source(name, [network], {name: [["x", "y"] * 15]}) for name in adapters]
    assert_a_step_is_the_cpus(model, sources, device, half=half)


@pytest.mark.parametrize("modality", ["text", "speech", "molecules"])
def test_together_is_one_by_one_in_half_precision(device: str, modality: str) -> None:
    model, sources = starter()
    items = next(s for s in sources if s.adapter_name == modality).items
    model.to(device)
    with torch.autocast(device, torch.bfloat16):
        together = model.embed(modality, items)
        alone = [model.embed(modality, [item])[0] for item in items]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.vectors, b.vectors, atol=HALF, rtol=HALF)


@pytest.mark.parametrize("task", CELLS)
def test_predictions_in_single_precision_are_those_of_the_cpu(device: str, task: str) -> None:
    model, sources = starter()
    items = next(s for s in sources if task in s.targets).items[:4]
    options = [{}, {"num_beams": 3}] if CELLS[task].endswith("sequence") else [{}]
    wanted = [model.predict(task, items, **o) for o in options]
    model.to(device)
    for o, theirs in zip(options, wanted, strict=True):
        assert_alike(model.predict(task, items, **o), theirs)


def test_what_was_saved_on_a_gpu_is_loaded_anywhere(device: str, tmp_path: Path) -> None:
    model, sources = starter()
    items = next(s for s in sources if s.adapter_name == "text").items
    wanted = model.predict("sentiment", items)
    again = multiseq.load(save(model.to(device), tmp_path / "model"))
    assert again.predict("sentiment", items) == wanted
    assert again.to(device).predict("sentiment", items) == model.predict("sentiment", items)


# --- training -------------------------------------------------------------------------------------------


def short(model: multiseq.Model, sources: list[Source], device: str, **options: Any) -> dict[str, Tensor]:
    """The weights after a few steps with everything that is random."""
    settings = {"steps": 6, "max_vectors": 700, "deterministic": True, "progress": False, "devices": 1}
    train(model, sources, **{**settings, "accelerator": device, **options})
    return {name: value.cpu() for name, value in model.state_dict().items()}


def noisy() -> tuple[multiseq.Model, list[Source]]:
    """With dropout and learned biases, and so all that might add up in another order."""
    return starter([*CHANGES[2], "encoder.dropout=0.1", "tasks.facts.head.dropout=0.1"])


def test_the_same_seed_gives_the_same_weights(device: str) -> None:
    once, again = short(*noisy(), device), short(*noisy(), device)
    assert [name for name, value in once.items() if not value.equal(again[name])] == []


def test_a_run_that_was_stopped_goes_on_exactly(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = short(*noisy(), device, out=tmp_path / "whole", save_every=3)

    class StoppedError(Exception):
        pass

    made = step.Module.training_step

    def stop(self: Any, batch: Any, number: int) -> Tensor:
        if self.global_step == 4:
            raise StoppedError
        return made(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(step.Module, "training_step", stop)
        with pytest.raises(StoppedError):
            short(*noisy(), device, out=tmp_path / "run", save_every=3)
    found = short(*noisy(), device, out=tmp_path / "run", save_every=3, resume=True)
    assert [name for name, value in wanted.items() if not value.equal(found[name])] == []


def test_batches_that_lack_a_task(device: str) -> None:
    model, sources = starter()
    two = [s for s in sources if s.adapter_name in ("text", "molecules")]
    prepared = [PreparedSource(s, model.adapter(s.adapter_name), model.tasks) for s in two]
    plan = BatchPlan(prepared, max_vectors=30)
    assert any(len(plan.collate(n, chosen).parts) == 1 for n, chosen in enumerate(plan.epoch(0)))
    weights = short(model, two, device, max_vectors=30, deterministic=False)
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize("evaluate_every", [0, 2])
def test_dev_is_scored_where_the_model_is_trained(
    device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, evaluate_every: int
) -> None:
    model, sources = starter()
    text = [s for s in sources if s.adapter_name == "text"]
    score, devices = step.evaluate_all, []

    def spy(model: multiseq.Model, *args: Any) -> Any:
        devices.append((model.device.type, torch.is_autocast_enabled("cuda")))
        return score(model, *args)

    monkeypatch.setattr(step, "evaluate_all", spy)
    short(model, text, device, dev=text, steps=3, evaluate_every=evaluate_every, out=tmp_path / "run")
    assert devices == [(device, device == "cuda")] * (2 if evaluate_every else 1)
    assert model.device.type == device


@pytest.mark.parametrize("changes", CHANGES)
def test_nothing_in_a_step_waits(changes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model, sources = starter(changes)
    batch = batch_of(model, sources).pin_memory()
    model.cuda().train()
    optimizer = make_optimizer(model, Settings())
    monkeypatch.setattr("torch.ctc_loss", _ctc_may_wait(torch.ctc_loss))

    def step() -> None:
        moved = batch.to("cuda", non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16):
            losses = model.loss(moved)
        backward(losses)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()  # compiling may wait, and so may what a first call sets up
    step()
    torch.cuda.synchronize()
    with _no_waiting():
        step()


@contextmanager
def _no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class _Mode(torch.autograd.Function):
    """Changes nothing; sets the mode in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mode: int) -> Tensor:
        ctx.mode = mode
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        torch.cuda.set_sync_debug_mode(ctx.mode)
        return grad, None


def _ctc_may_wait(real: Any) -> Any:
    """Torch's own loss, which copies lengths to the GPU forward and backward: nothing else may wait."""

    def loss(log_probs: Tensor, *args: Any, **options: Any) -> Tensor:
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        out: Tensor = _Mode.apply(real(_Mode.apply(log_probs, mode), *args, **options), 0)
        torch.cuda.set_sync_debug_mode(mode)
        return out

    return loss


# --- memory ---------------------------------------------------------------------------------------------


def test_memory_grows_with_the_vectors_alone() -> None:
    model = Encoder(dim=128, depth=2, heads=4, dropout=0.0).to("cuda", torch.bfloat16)

    def peak(lengths: list[int]) -> int:
        values = torch.randn(sum(lengths), 128, device="cuda", dtype=torch.bfloat16)
        sets = VectorSets(values, lengths)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model(sets).values.sum().backward()
        return torch.cuda.max_memory_allocated() - before

    peak([8192])  # gradients of the weights, workspaces
    one, several, uneven, half = peak([8192]), peak([1024] * 8), peak([8000, *[8] * 24]), peak([4096])
    assert several == pytest.approx(one, rel=0.1)
    assert uneven == pytest.approx(one, rel=0.1)
    assert half == pytest.approx(one / 2, rel=0.1)
