"""Dropout whose random numbers do not hold a CPU up.

torch draws the numbers one after another, on one thread, where the processor is not Intel's; for the
width of an encoder's rows that takes as long as a product. Here one draw serves four entries, of 16 bits
each: the probability is met to 1/65536.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Dropout", "dropout"]

BITS = 16


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Each entry is 0 with probability ``p``, else divided by ``1 - p``.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.

    >>> dropout(torch.ones(3), 0.5, training=False).tolist()
    [1.0, 1.0, 1.0]
    """
    least = round(p * 2**BITS)
    plain = x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < least < 2**BITS
    if not training or plain:
        return F.dropout(x, p, training)
    out: Tensor = _Dropout.apply(x, least)
    return out


class Dropout(nn.Dropout):
    """The same as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Of a tensor of any shape."""
        return dropout(x, self.p, self.training)


class _Dropout(torch.autograd.Function):
    """Zero where a number of 16 bits is below ``least``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, least: int) -> Tensor:
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.int16)[: x.numel()].view(x.shape) >= least - 2 ** (BITS - 1)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - least / 2**BITS)
        out: Tensor = (x * kept).mul_(ctx.scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(ctx.scale), None
