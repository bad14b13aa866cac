"""The shared encoder: pre-norm self-attention blocks over packed sets of any modality.

    x <- x + dropout(attention(norm(x)));   x <- x + dropout(feed_forward(norm(x)))

Sources: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762); pre-norm, Xiong et al. 2020
(https://arxiv.org/abs/2002.04745); rotary positions, Su et al. 2021 (https://arxiv.org/abs/2104.09864); gated
feed-forward, Shazeer 2020 (https://arxiv.org/abs/2002.05202). We differ in that rows are packed, that order
enters through rotation only, and that sets without positions are not rotated: they are sets.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multiseq.attention import AttentionPlan, attend, attention_weights
from multiseq.vectors import VectorSets

__all__ = ["PRESETS", "Encoder", "FeedForward", "Rotation"]

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"dim": 128, "depth": 4, "heads": 4},
    "small": {"dim": 256, "depth": 6, "heads": 8},
    "base": {"dim": 512, "depth": 8, "heads": 8},
    "large": {"dim": 1024, "depth": 16, "heads": 16},
}

Rotation = Tensor
"""Every row's angles as complex numbers of size 1, ``(vectors, 1, head_dim / 2)``."""


class Encoder(nn.Module):
    """Self-attention blocks over packed sets: lengths in, the same lengths out.

    Args:
        dim: Width of every vector.
        depth: Number of blocks.
        heads: Attention heads; ``dim`` must be a multiple of twice their number (rotation takes pairs).
        ff_dim: Inner width of the feed-forward; derived from ``dim`` where not given.
        gated: SwiGLU feed-forward, or a plain one with GELU.
        dropout: Probability of dropping an entry of a residual branch, in training only.

    Raises:
        ValueError: Sizes that do not divide, or input of another width.

    Example:
        >>> encoder = Encoder(dim=16, depth=2, heads=2)
        >>> encoder(VectorSets(torch.randn(5, 16), [2, 0, 3])).lengths
        (2, 0, 3)
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        *,
        ff_dim: int | None = None,
        gated: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if heads < 1 or depth < 0 or dim % (2 * heads):
            raise ValueError(
                f"dim: got {dim} for {heads} heads, expected a multiple of {2 * heads} (twice the heads)"
            )
        self.dim, self.depth, self.heads = dim, depth, heads
        self.gated, self.dropout = gated, dropout
        # A gate has three matrices instead of two: 8/3 keeps the number of weights of a plain one of 4.
        self.ff_dim = ff_dim or (-(-8 * dim // 24) * 8 if gated else 4 * dim)
        self.blocks = nn.ModuleList(Block(dim, heads, self.ff_dim, gated, dropout) for _ in range(depth))
        self.norm = RMSNorm(dim)
        self._initialise()

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Encoder:
        """An encoder of a named size; keyword arguments change what the name stands for."""
        if name not in PRESETS:
            raise ValueError(f"preset: got {name!r}, expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def forward(self, sets: VectorSets) -> VectorSets:
        """Encode every set on its own: what a set gets does not depend on what else is in the batch."""
        ordered, back = self._longest_first(sets)
        x, plan, rotation = self._enter(ordered)
        for block in self.blocks:
            x = block(x, plan, rotation)
        return ordered.with_values(self.norm(x)).select(back)

    @torch.no_grad()
    def attention(self, sets: VectorSets, layer: int = -1) -> list[Float[Tensor, "heads length length"]]:
        """The attention weights of one layer, ``(heads, length, length)`` for each set, computed anew."""
        if not -self.depth <= layer < self.depth:
            raise ValueError(f"layer: got {layer}, expected {-self.depth} to {self.depth - 1}")
        x, plan, rotation = self._enter(sets)
        layer %= self.depth
        for block in self.blocks[:layer]:
            x = block(x, plan, rotation)
        block = self.blocks[layer]
        assert isinstance(block, Block)
        q, k, _ = block.attention.project(block.attention_norm(x), rotation)
        return attention_weights(q, k, plan)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("dim", "depth", "heads", "ff_dim", "gated", "dropout")
        return {name: getattr(self, name) for name in names}

    def _enter(self, sets: VectorSets) -> tuple[Tensor, AttentionPlan, Rotation | None]:
        if sets.dim != self.dim:
            raise ValueError(
                f"sets: got vectors of width {sets.dim}, expected {self.dim}; "
                "build the adapter with the encoder's dim"
            )
        plan = AttentionPlan(sets.lengths, device=sets.device)
        return sets.values, plan, rotation_of(sets.positions, self.dim // self.heads)

    def _longest_first(self, sets: VectorSets) -> tuple[VectorSets, list[int]]:
        """Sets sorted as the grouped attention wants them, once for all layers, and the way back."""
        if sets.device.type != "cpu":
            return sets, list(range(sets.num_sets))
        order = sorted(range(sets.num_sets), key=lambda i: sets.lengths[i], reverse=True)
        return sets.select(order), sorted(range(len(order)), key=order.__getitem__)

    def _initialise(self) -> None:
        for block in self.blocks:
            assert isinstance(block, Block)
            # Residual branches start small, so that depth does not blow the sum up (GPT-2, section 2.3).
            for last in (block.attention.out, block.feed_forward.out):
                nn.init.normal_(last.weight, std=0.02 / (2 * self.depth) ** 0.5)


class Block(nn.Module):
    """One pre-norm block: self-attention, then feed-forward."""

    def __init__(self, dim: int, heads: int, ff_dim: int, gated: bool, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_norm = RMSNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.feed_forward_norm = RMSNorm(dim)
        self.feed_forward = FeedForward(dim, ff_dim, gated=gated)

    def forward(self, x: Tensor, plan: AttentionPlan, rotation: Rotation | None) -> Tensor:
        branch = self.attention(self.attention_norm(x), plan, rotation)
        x = x + F.dropout(branch, self.dropout, self.training)
        branch = self.feed_forward(self.feed_forward_norm(x))
        return x + F.dropout(branch, self.dropout, self.training)


class SelfAttention(nn.Module):
    """Multi-head attention of each vector to its own set; queries and keys are rotated by position."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``(vectors, heads, head_dim)``."""
        qk, v = self.qkv(x).unflatten(-1, (3 * self.heads, -1)).split([2 * self.heads, self.heads], dim=1)
        q, k = rotate(qk, rotation).chunk(2, dim=1)
        return q, k, v

    def forward(
        self, x: Tensor, plan: AttentionPlan, rotation: Rotation | None, *, causal: bool = False
    ) -> Tensor:
        """From ``(vectors, dim)`` to the same."""
        q, k, v = self.project(x, rotation)
        out: Tensor = self.out(attend(q, k, v, plan, causal=causal).flatten(1))
        return out


class FeedForward(nn.Module):
    """``out(silu(gate(x)) * inner(x))`` where gated, else ``out(gelu(inner(x)))``."""

    def __init__(self, dim: int, ff_dim: int, *, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated
        self.inner = nn.Linear(dim, 2 * ff_dim if gated else ff_dim, bias=False)
        self.out = nn.Linear(ff_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors dim"]:
        """From ``(vectors, dim)`` to the same."""
        inner = self.inner(x)
        out: Tensor = self.out(_SwiGLU.apply(inner) if self.gated else F.gelu(inner))
        return out


class RMSNorm(nn.RMSNorm):
    """``x / sqrt(mean(x^2) + eps) * weight``, row by row: torch's, with a faster gradient on the CPU.

    Source: Zhang and Sennrich 2019 (https://arxiv.org/abs/1910.07467).
    """

    def forward(self, x: Tensor) -> Tensor:
        """From ``(..., dim)`` to the same."""
        if x.device.type != "cpu":
            return super().forward(x)
        out: Tensor = _UnitRMS.apply(x, self.eps or torch.finfo(x.dtype).eps) * self.weight
        return out


class _UnitRMS(torch.autograd.Function):
    """Rows divided by their root mean square: torch's own takes a dozen passes over them on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        mean = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        scale = mean.add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        unit, scale = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, unit).unsqueeze(-1)
        return torch.addcmul(grad, unit, along, value=-1 / unit.shape[-1]).mul_(scale), None


class _SwiGLU(torch.autograd.Function):
    """``silu(gate) * value`` of rows that hold both; the gradients are written into one tensor, not joined."""

    @staticmethod
    def forward(ctx: Any, inner: Tensor) -> Tensor:
        gate, value = inner.chunk(2, dim=-1)
        opened = F.silu(gate)
        ctx.save_for_backward(inner, opened)
        return opened * value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        inner, opened = ctx.saved_tensors
        gate, value = inner.chunk(2, dim=-1)
        grads = torch.empty_like(inner)
        to_gate, to_value = grads.chunk(2, dim=-1)
        torch.mul(grad, opened, out=to_value)
        torch.ops.aten.silu_backward.grad_input(grad * value, gate, grad_input=to_gate)
        return grads


def rotation_of(
    positions: Int[Tensor, " vectors"] | None, head_dim: int, base: float = 10_000.0
) -> Rotation | None:
    """Position times frequency as an angle, for each pair of a head; None means no rotation."""
    if positions is None:
        return None
    frequencies = base ** -(torch.arange(0, head_dim, 2, device=positions.device) / head_dim)
    angles = positions[:, None] * frequencies  # (vectors, head_dim / 2)
    return torch.polar(torch.ones_like(angles), angles)[:, None]


def rotate(
    x: Float[Tensor, "vectors heads head_dim"], rotation: Rotation | None
) -> Float[Tensor, "vectors heads head_dim"]:
    """Rotate the pairs (2i, 2i + 1) of every head by the row's angles: one product of complex numbers."""
    if rotation is None:
        return x
    pairs = torch.view_as_complex(x.to(rotation.dtype.to_real()).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)
