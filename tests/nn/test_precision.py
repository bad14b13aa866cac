"""Products in bf16 on a CPU: what is in bf16, how near the results are, and how ``auto`` decides."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multiseq import (
    ClassTarget,
    DecoderHead,
    Encoder,
    Ensemble,
    Model,
    SetHead,
    Source,
    Task,
    TextAdapter,
    TextTarget,
    load,
    save,
    train,
)
from multiseq.heads import decoder
from multiseq.nn import _half_attention, _joint, linear, precision
from multiseq.nn.linear import Linear, half_products, padded_rows
from multiseq.nn.precision import Precision, choose_precision, computing_in
from multiseq.runs import run
from multiseq.training import loop
from multiseq.training.resume import ResumeError, read_resume
from multiseq.training.run_log import read_log
from multiseq.training.settings import Settings
from multiseq.vectors import VectorSets, order_of

NEAR = 0.03
"""How far results in bf16 may be from others, as a share of their norm. A number in bf16 has 8 bits, so each
rounding changes it by up to 1/256; a block rounds about ten times."""

TEXTS = ["a red lamp", "a blue lamp", "red and red", "blue again", "the red one"]
COLOURS = ["red", "blue", "red", "blue", "red"]


@pytest.fixture
def every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply any number of rows in bf16, not only many."""
    monkeypatch.setattr(linear, "_FEWEST_ROWS", 1)


def far(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((got - expected).norm() / expected.norm()).detach())


def build() -> Model:
    torch.manual_seed(0)
    return Model(
        {"text": TextAdapter.fit(TEXTS, dim=8)},
        Encoder(dim=8, depth=1, heads=2),
        {"colour": Task("text", SetHead(8, ClassTarget(["blue", "red"])))},
    )


def fit(out: Path | None, model: Model | None = None, **changes: Any) -> Model:
    settings = {
        "steps": 6,
        "max_vectors": 20,
        "save_every": 2,
        "progress": False,
        "accelerator": "cpu",
        "precision": "auto",
    }
    sources = [Source("text", TEXTS, {"colour": COLOURS})]
    return train(model or build(), sources, out=out, **{**settings, **changes})


def losses(folder: Path) -> list[str]:
    return [row["value"] for row in read_log(folder / "metrics.csv") if row["task"] == "total"]


# --- products -------------------------------------------------------------------------------------------


def test_a_loss_in_blocks_is_recomputed_in_the_same_precision(
    every_row: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backward pass, which runs outside the context, computes the logits of each block again."""
    target = TextTarget.fit(["a red lamp", "the blue one"], unit="character")
    head = DecoderHead(8, target, depth=1, heads=2, dropout=0.0).train()
    sets = VectorSets(torch.randn(9, 8, generator=torch.Generator().manual_seed(0)), [4, 5], order_of([4, 5]))
    texts = target.batch(["a red one", "the lamp"])

    def gradient() -> torch.Tensor:
        with half_products():
            total, _ = head.loss(sets, texts)
        [of_weights] = torch.autograd.grad(total, [head.out.weight])
        return of_weights

    whole = gradient()
    monkeypatch.setattr(decoder, "BLOCK", 7 * target.size)
    assert far(gradient(), whole) < NEAR


@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize(("inner", "outer"), [(24, 13), (13, 24)])
@pytest.mark.parametrize("faster", [False, True])  # with weights row by row, and column by column
def test_a_product_and_its_gradients(
    inner: int, outer: int, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "_is_faster", lambda: faster)
    layer = Linear(inner, outer, bias=True)
    x, grad = torch.randn(300, inner), torch.randn(300, outer)
    results = []
    for half in (False, True):
        own, layer.weight.grad = x.clone().requires_grad_(), None
        with half_products(half):
            out = layer(own)
        out.backward(grad)
        results.append((out, own.grad, layer.weight.grad))
    assert [tensor.dtype for tensor in results[1]] == [torch.float32] * 3
    assert results[1][2].stride() == layer.weight.stride()
    for single, half in zip(*results, strict=True):
        assert 1e-4 < far(half, single) < NEAR


def test_few_rows_stay_in_fp32() -> None:
    layer, x = Linear(8, 8), torch.randn(linear._FEWEST_ROWS - 1, 8)
    with half_products():
        torch.testing.assert_close(layer(x), x @ layer.weight.t())


def test_the_context_ends_and_another_within_does_not_end_it() -> None:
    assert padded_rows(1050) in (1050, 1056)
    with half_products():
        with computing_in("fp32", "cpu"):
            assert padded_rows(1050) == 1088  # a multiple of 1024 / 16
        assert padded_rows(1050) == 1088
    assert padded_rows(1050) in (1050, 1056)


# --- the encoder ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("options", [{}, {"gated": False}, {"window": 5}, {"relative_bias": True}])
@pytest.mark.parametrize("longest", [0, 60, 512])  # of the sets whose attention is in bf16
def test_the_encoder_is_near_fp32(
    options: dict[str, Any], longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_joint, "LONGEST", longest)
    monkeypatch.setattr(_half_attention, "_MOST_WEIGHTS", 20_000)  # several chunks
    lengths = [3, 50, 0, 41, 7, 90, 97, 70, 71, 72]
    torch.manual_seed(0)
    model = Encoder(dim=32, depth=2, heads=2, dropout=0.0, **options)
    values, grad = torch.randn(sum(lengths), 32), torch.randn(sum(lengths), 32)
    results = []
    for half in (False, True):
        own = values.clone().requires_grad_()
        model.zero_grad()
        with half_products(half):
            out = model(VectorSets(own, lengths, order_of(lengths))).values
        out.backward(grad)
        weights = torch.cat([p.grad.flatten() for p in model.parameters()])
        results.append((out, own.grad, weights))
    for single, half in zip(*results, strict=True):
        assert half.dtype == torch.float32
        assert 1e-4 < far(half, single) < NEAR


@pytest.mark.usefixtures("every_row")
def test_together_is_one_by_one() -> None:
    lengths = [3, 50, 41, 7, 90]
    torch.manual_seed(0)
    model = Encoder(dim=32, depth=2, heads=2).eval()
    sets = VectorSets(torch.randn(sum(lengths), 32), lengths, order_of(lengths))
    with half_products(), torch.inference_mode():
        together = model(sets).unpack()
        alone = [model(one).values for one in sets.split([1] * len(lengths))]
    for got, expected in zip(together, alone, strict=True):
        assert far(got, expected) < NEAR


@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("window", [None, 5])
def test_without_gradients_attention_is_the_kernel_in_bf16(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [3, 50, 0, 41, 7, 90]
    torch.manual_seed(0)
    model = Encoder(dim=32, depth=2, heads=2, window=window).eval()
    sets = VectorSets(torch.randn(sum(lengths), 32), lengths, order_of(lengths))
    with half_products():
        expected = model(sets).values
    dtypes, flash = set(), _joint._flash

    def spy(q: torch.Tensor, *args: Any, **options: Any) -> Any:
        dtypes.add(q.dtype)
        return flash(q, *args, **options)

    monkeypatch.setattr(_joint, "_flash", spy)
    monkeypatch.delattr(_joint, "half_attention")  # it would fail
    with half_products(), torch.no_grad():
        got = model(sets).values
    assert dtypes == ({torch.bfloat16} if window is None else set())  # windows stay in fp32
    assert far(got, expected) < NEAR


@pytest.mark.parametrize("num_sets", [1, 5, 6, 9])
@pytest.mark.parametrize("longest", [16, 21])
@pytest.mark.parametrize("masked", [None, "keys", "pairs"])
def test_attention_of_a_group(num_sets: int, longest: int, masked: str | None) -> None:
    parts = torch.randn(num_sets, longest, 3 * 2, 8).bfloat16()
    mask, grad = None, torch.randn(num_sets, longest, 2, 8).bfloat16()
    if masked is not None:
        hidden = torch.rand(num_sets, 1, longest if masked == "pairs" else 1, longest) < 0.3
        hidden[..., 0] = False
        mask = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))
    exact = parts.float().requires_grad_()
    q, k, v = exact.transpose(1, 2).chunk(3, dim=1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2)
    expected.backward(grad.float())
    got, saved = _half_attention.half_attention(parts, None if mask is None else mask.bfloat16())
    assert far(got.float(), expected) < NEAR
    assert far(_half_attention.half_attention_backward(grad, saved).float(), exact.grad) < NEAR


# --- the choice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "seconds", "name", "reason"),
    [
        ({"avx2": True}, (9.0, 1.0), "fp32", "no AMX-BF16 and no AVX512-BF16"),
        ({"amx_bf16": True, "avx512_bf16": True}, (9.0, 1.0), "bf16", "AMX-BF16"),
        ({"amx_bf16": False, "avx512_bf16": True}, (9.0, 1.0), "bf16", "AVX512-BF16"),
        ({"amx_bf16": True}, (1.2, 1.0), "fp32", "1.2e+03 in fp32"),
    ],
)
def test_auto_looks_at_the_processor_and_at_the_clock(
    flags: dict[str, bool],
    seconds: tuple[float, float],
    name: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    monkeypatch.setattr(precision, "_seconds", lambda dim: seconds)
    chosen = choose_precision("auto", "cpu", 256)
    assert chosen.name == name
    assert reason in chosen.reason
    assert choose_precision("fp32", "cpu", 256).name == "fp32"
    assert choose_precision("auto", "cpu", 64).name == "fp32"


def test_the_timed_product_takes_milliseconds_and_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert all(0 < seconds < 1 for seconds in precision._seconds(48))
    assert torch.equal(torch.rand(2), expected)


def test_a_precision_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"precision: got 'fp16'.*expected one of auto, fp32, bf16"):
        choose_precision("fp16", "cpu", 256)
    with pytest.raises(ValueError, match="precision: got 'half', expected one of auto, fp32, bf16"):
        fit(None, precision="half")


# --- training and prediction ----------------------------------------------------------------------------


@pytest.mark.usefixtures("every_row")
def test_a_resumed_run_keeps_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(tmp_path / "single", precision="fp32")
    monkeypatch.setattr(loop, "choose_precision", lambda *given: Precision("bf16", "a test"))
    fit(tmp_path / "whole")
    assert losses(tmp_path / "whole") != losses(tmp_path / "single")

    model, steps = build(), iter(range(4))
    loss = model.loss

    def failing(batch: Any) -> Any:
        if next(steps, None) is None:
            raise RuntimeError("stopped here")
        return loss(batch)

    monkeypatch.setattr(model, "loss", failing)
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(tmp_path / "run", model)
    state = read_resume(tmp_path / "run")
    assert state["multiseq"]["precision"] == "bf16"
    assert {w.dtype for w in state["state_dict"].values() if w.is_floating_point()} == {torch.float32}

    monkeypatch.setattr(loop, "choose_precision", lambda *given: Precision("fp32", "another clock"))
    with pytest.raises(ResumeError, match=r"got settings.precision 'fp32', but the run began with 'auto'"):
        fit(tmp_path / "run", resume=True, precision="fp32")
    fit(tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}


def test_a_resumed_run_keeps_what_its_record_says(tmp_path: Path) -> None:
    kept = {"name": "bf16", "reason": "a product of width 8 took less time then"}
    (tmp_path / "run.json").write_text(json.dumps({"precision": kept}))
    assert run._precision(tmp_path, True, Settings(), build()) == kept
    assert run._precision(tmp_path, False, Settings(), build())["name"] == "fp32"


def test_the_default_is_fp32_on_a_cpu_and_bf16_on_a_gpu() -> None:
    assert [choose_precision(None, device, 256).name for device in ("cpu", "cuda")] == ["fp32", "bf16"]
    assert Settings().precision is None


def test_the_training_says_what_auto_chose_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    fit(None, progress=True)
    assert "precision fp32: " in capsys.readouterr().out


@pytest.mark.usefixtures("every_row")
def test_predictions_in_bf16(tmp_path: Path) -> None:
    model = fit(None, precision="fp32")
    folder = save(model, tmp_path / "model")
    results = {name: load(folder, precision=name).predict("colour", TEXTS) for name in ("fp32", "bf16")}
    pairs = [(a.probabilities["red"], b.probabilities["red"]) for a, b in zip(*results.values(), strict=True)]
    assert any(single != half for single, half in pairs)
    assert all(abs(single - half) < NEAR for single, half in pairs)
    with pytest.raises(ValueError, match=r"precision: got 'bf61' .did you mean 'bf16'"):
        load(folder, precision="bf61")

    together = Ensemble([model, build()])
    assert together.precision == "fp32"
    together.precision = "bf16"
    assert [member.precision for member in together.models] == ["bf16", "bf16"]
