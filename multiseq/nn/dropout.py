"""Dropout with fast random numbers on a CPU.

On processors that are not Intel's, torch draws the random numbers one by one on a single thread. For the
rows of an encoder this takes as long as a matrix product. Here one 64-bit random number serves four entries,
16 bits each, so the dropout probability is rounded to a multiple of 1/65536.
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
    """Set each entry to 0 with probability ``p``; divide the others by ``1 - p``.

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
    """:func:`dropout` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout to a tensor of any shape, in training mode only."""
        return dropout(x, self.p, self.training)


class _Dropout(torch.autograd.Function):
    """Zeroes the entries whose 16-bit random number is below ``least``."""

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
