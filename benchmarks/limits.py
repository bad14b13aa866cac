"""How near the encoder comes to what its matrix products alone would take.

The limit of a batch is the time of its matrix products, run alone in the same run: for every block the four
products of the projections and the feed-forward with both gradients, and for every set the two products of
attention with their four gradients, all sets of one length at once and nothing padded. They are run by
torch's own product and, on a CPU, by oneDNN's; the limit is the faster of the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.process import in_fresh_process
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import Spread, alternate, median, seconds_of
from benchmarks.workloads import draw, sets_of, workloads
from multiseq import Encoder
from multiseq.nn.linear import half_products
from multiseq.system.memory import keep_memory

__all__ = ["encoder_step", "flops", "measure", "rate_note", "square_rate"]

ROUNDS, VECTORS = 4, 16_000
"""How often a draw is timed at least; as often as takes so many vectors, where that is more."""
SQUARE = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product whose rate is that of the machine. A GPU is done with small ones before the
host has asked for the next."""

Product = Callable[[torch.Tensor, torch.Tensor], object]


def measure(setting: Setting) -> list[Table]:
    """Forward and backward of the encoder as times its limit, and the share of the machine's rate.

    In a process of its own, as a training is: what peers did before leaves the memory of this one in pieces.
    """
    rate, rows = in_fresh_process(_measure, setting)
    note = f"{rate_note(rate, setting)} 'of that rate': the encoder's own products, forward and backward, by "
    title = "Encoder, forward and backward, beside its matrix products alone"
    return [Table("limits", title, rows, note + "its time.")]


def _measure(setting: Setting) -> tuple[float, list[dict[str, Cell]]]:
    keep_memory()
    torch.manual_seed(0)
    model = Encoder(setting.dim, setting.depth, setting.heads, dropout=0.0)
    model.to(setting.device, setting.dtype)
    rate, rows = square_rate(setting), []
    for workload in workloads(setting):
        draws = [draw(workload, setting.sets, seed, setting.lengths) for seed in range(setting.draws)]
        rows.append(_row(workload, draws, model, setting, rate))
    return rate, rows


def _row(
    workload: str, draws: list[list[int]], model: Encoder, setting: Setting, rate: float
) -> dict[str, Cell]:
    ours, products, torchs, shares, milliseconds = [], [], [], [], []
    halves, gains = [], []
    for lengths in draws:
        steps = {"ours": encoder_step(model, lengths, setting)}
        if setting.half:
            steps["bf16"] = partial(_in_half, steps["ours"])
        if setting.device.type == "cpu":  # elsewhere attention is one kernel, and no product of its own
            steps |= {name: products_step(lengths, setting, by) for name, by in _products(setting).items()}
        seconds = alternate(steps, max(ROUNDS, VECTORS // sum(lengths)), setting.device)
        encoder = seconds.pop("ours")
        if setting.half:
            in_half = seconds.pop("bf16")
            halves.append(1e3 * median(in_half))
            gains.append(median(encoder) / median(in_half))
        milliseconds.append(1e3 * median(encoder))
        shares.append(flops(lengths, setting) / median(encoder) / rate)
        if seconds:
            limit = min(seconds.values(), key=median)
            ours.append(median(encoder) / median(limit))
            torchs.append(median(encoder) / median(seconds["torch"]))
            products.append(1e3 * median(limit))
    row: dict[str, Cell] = {
        "workload": workload,
        "vectors": round(sum(map(sum, draws)) / len(draws)),
        "ms": round(median(milliseconds), 1),
    }
    if products:
        row |= {
            "limit ms": round(median(products), 1),
            "× of the limit": Spread.of(ours),
            "× of torch's products": Spread.of(torchs),
        }
    row["of that rate"] = Spread.of(shares)
    return row | {"ms in bf16": round(median(halves), 1), "fp32 ÷ bf16": Spread.of(gains)} if halves else row


def _in_half(step: Callable[[], None]) -> None:
    with half_products():
        step()


def encoder_step(model: Encoder, lengths: Sequence[int], setting: Setting) -> Callable[[], None]:
    """One forward and backward of the encoder, down to the gradient of its input."""
    sets = sets_of(lengths, setting)
    sets.values.requires_grad_()
    grad = torch.full_like(sets.values, 1e-3)

    def step() -> None:
        model.zero_grad()
        sets.values.grad = None
        model(sets).values.backward(grad)

    return step


def products_step(lengths: Sequence[int], setting: Setting, product: Product) -> Callable[[], None]:
    """The matrix products of one forward and backward, and nothing else."""
    vectors, dim, head_dim = sum(lengths), setting.dim, setting.dim // setting.heads
    options: dict[str, Any] = {"device": setting.device, "dtype": setting.dtype}
    ff = Encoder(dim, 1, setting.heads).ff_dim
    linear = [
        (torch.randn(vectors, i, **options), torch.randn(o, i, **options), torch.randn(vectors, o, **options))
        for i, o in ((dim, 3 * dim), (dim, dim), (dim, 2 * ff), (ff, dim))
    ]
    attention = [
        (
            torch.randn(num * setting.heads, length, head_dim, **options),
            torch.randn(num * setting.heads, length, length, **options),
        )
        for length, num in Counter(lengths).items()
    ]

    def step() -> None:
        for _ in range(setting.depth):
            for x, weight, grad in linear:
                product(x, weight.t())
                product(grad, weight)
                # Either gives the weights' gradient; the larger factor stands second, where it is faster.
                product(x.t(), grad) if grad.shape[1] >= x.shape[1] else product(grad.t(), x)
            for q, weights in attention:
                for _ in range(2):  # q k^T, and the gradient of the weights
                    torch.bmm(q, q.transpose(1, 2))
                for _ in range(2):  # weights v, and the gradient of q
                    torch.bmm(weights, q)
                for _ in range(2):  # the gradients of k and v
                    torch.bmm(weights.transpose(1, 2), q)

    return step


def square_rate(setting: Setting) -> float:
    """FLOP/s of one large square product, by the fastest library there is."""
    size = SQUARE[setting.device.type]
    a = torch.randn(size, size, device=setting.device, dtype=setting.dtype)
    rates = []
    for product in _products(setting).values():
        taken = [seconds_of(partial(product, a, a), setting.device) for _ in range(6)]
        rates.append(2 * size**3 / median(taken[1:]))
    return max(rates)


def rate_note(rate: float, setting: Setting) -> str:
    """What is said of the rate under a table."""
    size = SQUARE[setting.device.type]
    return f"One product of {size} x {size} matrices: {rate / 1e9:,.0f} GFLOP/s."


def _products(setting: Setting) -> dict[str, Product]:
    """Two ways to multiply: torch's own, and oneDNN's where torch carries it."""
    products: dict[str, Product] = {"torch": torch.mm}
    if setting.device.type == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        products["oneDNN"] = _onednn
    return products


def _onednn(a: torch.Tensor, b: torch.Tensor) -> object:
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


def flops(lengths: Sequence[int], setting: Setting) -> float:
    """Forward and backward: 2 for a product's multiplication and addition, times 3 for both gradients."""
    ff = Encoder(setting.dim, 1, setting.heads).ff_dim
    weights = setting.dim * (4 * setting.dim + 3 * ff)
    pairs = sum(n * n for n in lengths)
    return 6.0 * setting.depth * (sum(lengths) * weights + 2 * pairs * setting.dim)
