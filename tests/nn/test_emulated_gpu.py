"""What is done on a GPU, on one that is emulated: all nine cells, in half precision and in single.

`tests/nn/test_gpu.py` asks the same of a real one.
"""

from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor

from multiseq.nn.attention import AttentionPlan, attend
from multiseq.training.evaluation import evaluate_all
from multiseq.vectors import to_device
from tests.cells import CELLS, assert_alike, assert_close_gradients, backward, batch_of, starter
from tests.emulated_gpu import WaitError, emulated_gpu, to_gpu, values_of, waiting_allowed
from tests.reference import attention as reference

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real GPU: tests/nn/test_gpu.py")


@pytest.fixture
def ctc_may_wait() -> Iterator[None]:
    """Torch's loss of CTC copies lengths to the GPU, for which the host waits; nothing else may."""
    real = torch.ctc_loss

    def loss(*args: object, **options: object) -> Tensor:
        with waiting_allowed():
            return real(*args, **options)

    with mock.patch("torch.ctc_loss", loss):
        yield


@pytest.mark.usefixtures("ctc_may_wait")
@pytest.mark.parametrize(
    "changes", [[], ["encoder.window=5"], ["encoder.relative_bias=true", "adapters.molecules.max_distance=3"]]
)
def test_losses_and_gradients_are_those_of_the_cpu_and_no_step_waits(changes: list[str]) -> None:
    model, sources = starter(changes)
    batch = batch_of(model, sources)
    wanted = model.loss(batch)
    backward(wanted)
    slow = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    with emulated_gpu():
        to_gpu(model)
        moved = batch.pin_memory().to("cuda", non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16):
            losses = model.loss(moved)
        backward(losses)
        assert all(weight.is_cuda for weight in model.parameters())
    assert set(losses) == set(CELLS)
    for task, (loss, count) in losses.items():
        assert values_of(count) == wanted[task][1], task
        torch.testing.assert_close(values_of(loss), wanted[task][0].detach(), rtol=0.02, atol=0.02)
    fast = {name: values_of(w.grad) for name, w in model.named_parameters() if w.grad is not None}
    assert_close_gradients(fast, slow, tolerance=0.05)


@pytest.mark.parametrize("task", CELLS)
def test_predictions_are_those_of_the_cpu(task: str) -> None:
    model, sources = starter()
    source = next(s for s in sources if task in s.targets)
    options = [{}, {"num_beams": 3}] if CELLS[task].endswith("sequence") else [{}]
    few = source.items[:2]
    wanted = [model.predict(task, few, **o) for o in options]
    with emulated_gpu(), waiting_allowed():
        to_gpu(model)
        found = [model.predict(task, few, **o) for o in options]
    for some, others in zip(found, wanted, strict=True):
        assert_alike(some, others)


def test_scores_in_half_precision_are_those_of_the_cpu() -> None:
    model, sources = starter()
    few = [
        replace(
            s, items=s.items[:2], targets={t: v[:2] for t, v in s.targets.items()}, locations=s.locations[:2]
        )
        for s in sources
    ]
    wanted = evaluate_all(model, few)
    with emulated_gpu(), waiting_allowed(), torch.autocast("cuda", torch.bfloat16):
        found = evaluate_all(to_gpu(model), few)
    assert set(found) == set(CELLS)
    for task, score in found.items():
        assert score.value == pytest.approx(wanted[task].value, abs=0.1), task


@pytest.mark.parametrize("modality", ["text", "speech", "molecules"])
def test_vectors_and_attention_are_those_of_the_cpu(modality: str) -> None:
    model, sources = starter()
    item = next(s for s in sources if s.adapter_name == modality).items[0]
    wanted, (names, weights) = model.embed(modality, [item])[0], model.attention(modality, item)
    with emulated_gpu(), waiting_allowed():
        to_gpu(model)
        embedded, (same_names, same_weights) = (
            model.embed(modality, [item])[0],
            model.attention(modality, item),
        )
    assert (embedded.names, same_names) == (wanted.names, names)
    torch.testing.assert_close(values_of(embedded.vectors), wanted.vectors, atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(same_weights, weights, strict=True):
        torch.testing.assert_close(values_of(ours), theirs, atol=1e-4, rtol=1e-4)


# Lengths of queries and keys: one vector, an empty set, more of the one or of the other.
SELF, CROSS = [5, 1, 0, 7, 3], [3, 2, 4, 11, 1]


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_is_told_what_it_needs(causal: bool, window: int | None) -> None:
    check_flash(SELF, SELF, causal=causal, window=window)


def test_flash_attention_between_sets_of_different_lengths() -> None:
    check_flash(SELF, CROSS, causal=False, window=None)


def check_flash(queries: list[int], keys: list[int], *, causal: bool, window: int | None) -> None:
    q, k, v = (torch.randn(sum(n), 2, 8, dtype=torch.float64) for n in (queries, keys, keys))
    slow = reference.attend(q, k, v, queries, keys, causal=causal, window=window)
    with emulated_gpu():
        halves = [to_device(x.bfloat16(), "cuda") for x in (q, k, v)]
        plan = AttentionPlan(queries, keys, device="cuda")
        with mock.patch("multiseq.nn.attention._grouped", side_effect=AssertionError):
            ours = attend(*halves, plan, causal=causal, window=window)
    torch.testing.assert_close(values_of(ours).double(), slow, atol=2e-2, rtol=2e-2)


def test_the_emulation_raises_where_a_host_would_wait() -> None:
    with emulated_gpu():
        x = torch.arange(3.0, device="cuda:0")
        assert (x + 1).device == torch.device("cuda:0")
        for waits in (
            x.tolist,
            lambda: bool(x.sum() > 0),
            lambda: x[x > 1],
            x.nonzero,
            x.cpu,
            lambda: torch.ones(3).to("cuda"),
            lambda: torch.ones(3).to("cuda", non_blocking=True),
            lambda: torch.ones(3).pin_memory().to("cuda"),
        ):
            with pytest.raises(WaitError):
                waits()
        assert torch.ones(3).pin_memory().to("cuda", non_blocking=True).is_cuda
        assert to_device(torch.ones(3), "cuda").is_cuda
        with pytest.raises(RuntimeError, match="on cuda:0 and on cpu"):
            x + torch.ones(3)
