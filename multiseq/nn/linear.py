"""Linear: a matrix product by the library that does it fastest on this processor.

torch multiplies fp32 matrices on a CPU with Intel's MKL, which stays with 256-bit instructions on the
processors of other makers. oneDNN, which torch carries as well, takes 512-bit ones wherever they are: twice
the rate. It makes a kernel for every shape (about a millisecond each, then kept), so it serves products of
many rows, and `padded_rows` says to which number of rows a batch is best filled up; or of few rows, where the
same few numbers come again and again (`recurring_rows`).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Linear", "padded_rows", "recurring_rows"]

# Below this many rows a new kernel costs more than a slower product.
_FEWEST_ROWS = 256
# Below this many it is no faster, even with its kernels made.
_FEWEST_RECURRING_ROWS = 4

_recurring = ContextVar("recurring", default=False)


class Linear(nn.Linear):
    """``x @ weight.T + bias``, by default without a bias."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        if _is_faster() and out_features >= in_features:
            # Column by column in memory, as the gradient comes: nothing is transposed to add or to keep it.
            self.weight = nn.Parameter(self.weight.detach().t().contiguous().t())

    def forward(self, x: Tensor) -> Tensor:
        """From ``(rows, in_features)`` to ``(rows, out_features)``."""
        if not _serves(x) or self.weight.dtype != x.dtype:
            return super().forward(x)
        out: Tensor = _Product.apply(x, self.weight)
        return out if self.bias is None else out + self.bias


@contextmanager
def recurring_rows() -> Iterator[None]:
    """Within it the numbers of rows recur, as in the steps of a decoder, so that kernels for few rows pay."""
    before = _recurring.set(True)
    try:
        yield
    finally:
        _recurring.reset(before)


def padded_rows(rows: int) -> int:
    """The number of rows to fill a batch up to on the CPU, so that few distinct numbers come.

    At most a thirty-second more, or 15 rows; the number itself where torch's own product is taken.
    """
    if not _is_faster() or rows < _FEWEST_ROWS:
        return rows
    step = max(16, 1 << (rows.bit_length() - 6))
    return -(-rows // step) * step


class _Product(torch.autograd.Function):
    """``x @ weight.T`` and its two gradients by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x = _onednn(grad, weight.t()) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_x, None
        # Either product gives the gradient; the one whose second factor is the larger one is faster.
        wide = weight.shape[0] >= weight.shape[1]
        return to_x, _onednn(x.t(), grad.t()).t() if wide else _onednn(grad.t(), x.t())


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


def _serves(x: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.dim() == 2
        and x.shape[0] >= (_FEWEST_RECURRING_ROWS if _recurring.get() else _FEWEST_ROWS)
        and _is_faster()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _is_faster() -> bool:
    """Whether MKL holds this processor back: one with 512-bit instructions that is not Intel's."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    info = Path("/proc/cpuinfo")
    maker = info.read_text(errors="replace") if info.is_file() else platform.processor()
    return "GenuineIntel" not in maker and hasattr(torch.ops.mkldnn, "_linear_pointwise")
