"""Linear layers that use the fastest matrix product on this processor.

On a CPU, torch multiplies fp32 matrices with Intel's MKL. On processors of other makers MKL uses only 256-bit
instructions. oneDNN, which torch contains too, uses 512-bit instructions on all processors that have them
and is twice as fast there. But oneDNN compiles a kernel for each new shape, which takes about a millisecond.
So we use it for products with many rows; `padded_rows` rounds the number of rows up, so that few different
shapes occur. We use it for products with few rows only inside `recurring_rows`, where the same shapes recur.

Inside `half_products`, products with many rows are computed in bf16, which processors with AMX or AVX-512
BF16 multiply several times faster. The weights stay in fp32: each forward pass makes a copy in bf16, which
the backward pass uses again. `multiseq.nn.precision` decides whether that pays on this processor.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = [
    "Linear",
    "half_products",
    "halved",
    "padded_rows",
    "recurring_rows",
    "with_these_products",
]

# With fewer rows, compiling a kernel costs more time than the faster product saves.
_FEWEST_ROWS = 256
# With fewer rows, oneDNN is no faster even if its kernel is already compiled.
_FEWEST_RECURRING_ROWS = 4

# `padded_rows` gives so many numbers of rows between n and 2n.
_NUMBERS = 32
# In bf16 fewer: a kernel takes 3 to 5 ms to compile, and oneDNN keeps 1,024 of them, 12 for each number.
_HALF_NUMBERS = 16

_recurring = ContextVar("recurring", default=False)
_half = ContextVar("half", default=False)


class Linear(nn.Linear):
    """``x @ weight.T + bias``; without a bias by default."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        if _is_faster() and out_features >= in_features:
            # Store the weight column by column. Its gradient has this layout too, so nothing is transposed
            # when the gradient is added or stored.
            self.weight = nn.Parameter(self.weight.detach().t().contiguous().t())

    def forward(self, x: Tensor) -> Tensor:
        """From ``(rows, in_features)`` to ``(rows, out_features)``, with the dtype of ``x``."""
        out: Tensor
        if _in_half(x) and self.weight.dtype == torch.float32:
            out = _HalfProduct.apply(x, self.weight)
            return out if self.bias is None else out + self.bias.to(out.dtype)
        if not _serves(x) or self.weight.dtype != x.dtype:
            return super().forward(x)
        out = _Product.apply(x, self.weight)
        return out if self.bias is None else out + self.bias


@contextmanager
def recurring_rows() -> Iterator[None]:
    """Inside this context `Linear` uses oneDNN for few rows too. For loops whose shapes recur (decoding)."""
    before = _recurring.set(True)
    try:
        yield
    finally:
        _recurring.reset(before)


@contextmanager
def half_products(wanted: bool = True) -> Iterator[None]:
    """Inside this context, `Linear` multiplies many rows in bf16 on a CPU. No change if not ``wanted``.

    Products are summed up in fp32 and rounded to bf16. Weights and their gradients are in fp32.
    """
    before = _half.set(wanted or _half.get())
    try:
        yield
    finally:
        _half.reset(before)


def with_these_products(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function``, with products in the precision that is set now, also if it is called outside the context.

    The backward pass calls what it computes again (`torch.utils.checkpoint`) outside of it.
    """
    half = _half.get()

    def computed(*given: Any) -> Tensor:
        with half_products(half):
            return function(*given)

    return computed


def halved(x: Tensor) -> Tensor:
    """``x`` in bf16 if `Linear` will multiply it in bf16 (its output is then in bf16 too), else ``x``."""
    return x.to(torch.bfloat16) if _in_half(x) else x


def padded_rows(rows: int) -> int:
    """The number of rows to pad a batch to on a CPU, so that few different shapes occur.

    It adds at most 1/32 of the rows (in bf16 1/16) or 15 rows, whichever is more. It returns ``rows``
    unchanged if torch's own product is used.
    """
    if not (_is_faster() or _half.get()) or rows < _FEWEST_ROWS:
        return rows
    numbers = _HALF_NUMBERS if _half.get() else _NUMBERS
    step = max(16, (1 << rows.bit_length() - 1) // numbers)
    return -(-rows // step) * step


class _Product(torch.autograd.Function):
    """``x @ weight.T`` and both of its gradients, computed by oneDNN."""

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
        # Both products give the same gradient. The one with the larger second factor is faster.
        wide = weight.shape[0] >= weight.shape[1]
        return to_x, _onednn(x.t(), grad.t()).t() if wide else _onednn(grad.t(), x.t())


class _HalfProduct(torch.autograd.Function):
    """``x @ weight.T`` and both of its gradients in bf16. Each tensor is converted once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        half_x, half_weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(half_x, half_weight)
        ctx.dtype = x.dtype
        return torch.mm(half_x, half_weight.t()).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.to(torch.bfloat16)
        to_x = torch.mm(grad, weight).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_x, None
        # The gradient lies in memory as the weight does.
        by_column = weight.stride(0) == 1
        to_weight = torch.mm(x.t(), grad).t() if by_column else torch.mm(grad.t(), x)
        return to_x, to_weight.to(torch.float32)


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


def _in_half(x: Tensor) -> bool:
    return (
        _half.get()
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.dim() == 2
        and x.shape[0] >= _FEWEST_ROWS
    )


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
    """Whether oneDNN beats MKL here: the processor has AVX-512 and is not made by Intel."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    info = Path("/proc/cpuinfo")
    maker = info.read_text(errors="replace") if info.is_file() else platform.processor()
    return "GenuineIntel" not in maker and hasattr(torch.ops.mkldnn, "_linear_pointwise")
