"""The shared encoder: pre-norm self-attention blocks over packed sets of any modality.

    x <- x + dropout(attention(norm(x)));   x <- x + dropout(feed_forward(norm(x)))

Sources: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762); pre-norm, Xiong et al. 2020
(https://arxiv.org/abs/2002.04745); rotary positions, Su et al. 2021 (https://arxiv.org/abs/2104.09864); gated
feed-forward, Shazeer 2020 (https://arxiv.org/abs/2002.05202). We differ in that rows are packed, that order
enters through rotation only, and that sets without positions are not rotated: they are sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multiseq.attention import AttentionPlan, attend, attention_weights
from multiseq.bias import Bias, PairBias
from multiseq.dropout import dropout
from multiseq.linear import Linear, padded_rows
from multiseq.pairs import Pairs
from multiseq.vectors import VectorSets, rows_of

__all__ = ["PRESETS", "Encoder", "FeedForward", "Rotation"]

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"dim": 128, "depth": 4, "heads": 4},
    "small": {"dim": 256, "depth": 6, "heads": 8},
    "base": {"dim": 512, "depth": 8, "heads": 8},
    "large": {"dim": 1024, "depth": 16, "heads": 16},
}

# On a CPU a batch goes through the blocks in parts of about so many rows: larger tensors are asked of the
# system anew in every operation, and no cache holds them.
_MOST_ROWS = 4096

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
        window: A vector sees those so far before and after it only, in sets that are a sequence; a layer
            at a time, so the last one knows ``depth`` times as far. None: its whole set.
        relative: A learned bias over relative positions, for each head.
        pair_codes: A learned bias over so many codes of pairs, for each head: what an adapter says of
            the pairs of a set, as its `pair_codes` (distances of nodes); 0: none.

    Raises:
        ValueError: Sizes that do not divide, input of another width, or codes without a table.

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
        window: int | None = None,
        relative: bool = False,
        pair_codes: int = 0,
    ) -> None:
        super().__init__()
        if heads < 1 or depth < 0 or dim % (2 * heads):
            raise ValueError(
                f"dim: got {dim} for {heads} heads, expected a multiple of {2 * heads} (twice the heads)"
            )
        if window is not None and window < 1:
            raise ValueError(f"window: got {window}, expected 1 or more, or None for whole sets")
        self.dim, self.depth, self.heads = dim, depth, heads
        self.window, self.relative, self.pair_codes = window, relative, pair_codes
        self.gated, self.dropout = gated, dropout
        # A gate has three matrices instead of two: 8/3 keeps the number of weights of a plain one of 4.
        self.ff_dim = ff_dim or (-(-8 * dim // 24) * 8 if gated else 4 * dim)
        self.blocks = nn.ModuleList(
            Block(dim, heads, self.ff_dim, gated, dropout, window) for _ in range(depth)
        )
        self.bias = PairBias(heads, relative=relative, num_codes=pair_codes)
        self.norm = nn.LayerNorm(dim, bias=False)
        self._initialise()

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Encoder:
        """An encoder of a named size; keyword arguments change what the name stands for."""
        if name not in PRESETS:
            raise ValueError(f"preset: got {name!r}, expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def forward(self, sets: VectorSets) -> VectorSets:
        """Encode every set on its own: what a set gets does not depend on what else is in the batch."""
        if sets.device.type != "cpu":
            return sets.with_values(self._encode(sets))
        order = _Order.of(sets.lengths)
        parts = order.enter(sets).split([len(part) for part in order.parts])
        encoded = [self._encode(part) for part in parts]
        return sets.with_values(_Leave.apply(torch.cat(encoded), order))

    @torch.no_grad()
    def attention(self, sets: VectorSets, layer: int = -1) -> list[Float[Tensor, "heads length length"]]:
        """The attention weights of one layer, ``(heads, length, length)`` for each set, computed anew."""
        if not -self.depth <= layer < self.depth:
            raise ValueError(f"layer: got {layer}, expected {-self.depth} to {self.depth - 1}")
        x, plan, rotation, bias = self._enter(sets)
        layer %= self.depth
        for block in self.blocks[:layer]:
            x = block(x, plan, rotation, bias)
        block = self.blocks[layer]
        assert isinstance(block, Block)
        q, k, _ = block.attention.project(block.attention_norm(x), rotation)
        return attention_weights(q, k, plan, bias=bias, window=self.window)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("dim", "depth", "heads", "ff_dim", "gated", "dropout", "window", "relative", "pair_codes")
        return {name: getattr(self, name) for name in names}

    def _enter(self, sets: VectorSets) -> tuple[Tensor, AttentionPlan, Rotation | None, Bias | None]:
        if sets.dim != self.dim:
            raise ValueError(
                f"sets: got vectors of width {sets.dim}, expected {self.dim}; "
                "build the adapter with the encoder's dim"
            )
        plan = AttentionPlan(sets.lengths, device=sets.device, sequences=sets.sequences)
        return sets.values, plan, rotation_of(sets.positions, self.dim // self.heads), self.bias(sets)

    def _encode(self, sets: VectorSets) -> Tensor:
        x, plan, rotation, bias = self._enter(sets)
        for block in self.blocks:
            x = block(x, plan, rotation, bias)
        normed: Tensor = self.norm(x)
        return normed

    def _initialise(self) -> None:
        for block in self.blocks:
            assert isinstance(block, Block)
            # Residual branches start small, so that depth does not blow the sum up (GPT-2, section 2.3).
            for last in (block.attention.out, block.feed_forward.out):
                nn.init.normal_(last.weight, std=0.02 / (2 * self.depth) ** 0.5)


class Block(nn.Module):
    """One pre-norm block: self-attention, then feed-forward."""

    def __init__(
        self, dim: int, heads: int, ff_dim: int, gated: bool, dropout: float, window: int | None
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(dim, bias=False)
        self.attention = SelfAttention(dim, heads, window)
        self.feed_forward_norm = nn.LayerNorm(dim, bias=False)
        self.feed_forward = FeedForward(dim, ff_dim, gated=gated)

    def forward(self, x: Tensor, plan: AttentionPlan, rotation: Rotation | None, bias: Bias | None) -> Tensor:
        branch = self.attention(self.attention_norm(x), plan, rotation, bias)
        x = x + dropout(branch, self.dropout, self.training)
        branch = self.feed_forward(self.feed_forward_norm(x))
        return x + dropout(branch, self.dropout, self.training)


class SelfAttention(nn.Module):
    """Multi-head attention of each vector to its own set; queries and keys are rotated by position."""

    def __init__(self, dim: int, heads: int, window: int | None = None) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = Linear(dim, 3 * dim)
        self.out = Linear(dim, dim)

    def project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``(vectors, heads, head_dim)``."""
        rows = self.qkv(x).unflatten(-1, (3 * self.heads, -1))
        q, k, v = _Parts.apply(rows, rotation)
        return q, k, v

    def forward(
        self, x: Tensor, plan: AttentionPlan, rotation: Rotation | None, bias: Bias | None = None
    ) -> Tensor:
        """From ``(vectors, dim)`` to the same."""
        q, k, v = self.project(x, rotation)
        out: Tensor = self.out(attend(q, k, v, plan, bias=bias, window=self.window).flatten(1))
        return out


class FeedForward(nn.Module):
    """``out(silu(gate(x)) * inner(x))`` where gated, else ``out(gelu(inner(x)))``."""

    def __init__(self, dim: int, ff_dim: int, *, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated
        self.inner = Linear(dim, 2 * ff_dim if gated else ff_dim)
        self.out = Linear(ff_dim, dim)

    def forward(self, x: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors dim"]:
        """From ``(vectors, dim)`` to the same."""
        inner = self.inner(x)
        out: Tensor = self.out(_SwiGLU.apply(inner) if self.gated else F.gelu(inner))
        return out


class _Parts(torch.autograd.Function):
    """Queries, keys and values of the rows that hold all three, rotated; the gradients meet in one tensor."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rotation: Rotation | None) -> tuple[Tensor, ...]:
        ctx.rotation = rotation
        q, k, v = rows.chunk(3, dim=1)
        if rotation is not None:
            q, k = rotate(rows[:, : -v.shape[1]], rotation).chunk(2, dim=1)
        return q, k, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        back = None if ctx.rotation is None else ctx.rotation.conj()
        q, k, v = grads
        return torch.cat([rotate(q, back), rotate(k, back), v], dim=1), None


@dataclass(frozen=True)
class _Order:
    """How the encoder sees a batch on a CPU: the longest set first, in parts whose rows fit the caches.

    A part ends with the set that would take it beyond `_MOST_ROWS`, and holds one more set, which fills it up
    to one of few numbers of rows (`padded_rows`).
    """

    parts: list[list[int]]  # lengths
    sets: list[int]  # which set stands where; the number of sets for what only fills up
    rows: Tensor  # which row stands where; row 0 in what only fills up
    back: Tensor  # where every row stands
    filling: Tensor  # where the rows are that only fill up

    @classmethod
    def of(cls, lengths: Sequence[int]) -> _Order:
        num, sizes = sum(lengths), list(lengths)
        parts: list[list[int]] = [[]]
        total = 0
        for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            if parts[-1] and total + sizes[i] > _MOST_ROWS:
                parts.append([])
                total = 0
            parts[-1].append(i)
            total += sizes[i]
        for part in parts:
            total = sum(sizes[i] for i in part)
            if padded_rows(total) > total:
                part.append(len(sizes))
                sizes.append(padded_rows(total) - total)
                part.sort(key=sizes.__getitem__, reverse=True)
        sets = [i for part in parts for i in part]
        rows = rows_of(sizes, sets)
        back = torch.empty_like(rows)
        back[rows] = torch.arange(rows.numel())
        real = rows < num
        parts = [[sizes[i] for i in part] for part in parts]
        sets = [min(i, len(lengths)) for i in sets]
        return cls(parts, sets, rows.where(real, 0), back[:num], back[num:])

    def enter(self, sets: VectorSets) -> VectorSets:
        """The sets in this order, with those that only fill up."""
        pairs = None if sets.pairs is None else Pairs.cat([(sets.pairs, sets.num_sets), (None, 1)])
        return VectorSets(
            _Enter.apply(sets.values, self),
            [length for part in self.parts for length in part],
            None if sets.positions is None else sets.positions[self.rows],
            ordered=[(*sets.ordered, False)[i] for i in self.sets],
            joined=[(*sets.joined, False)[i] for i in self.sets],
            pairs=None if pairs is None else pairs.select(self.sets),
        )


class _Enter(torch.autograd.Function):
    """``rows[order.rows]``; the gradient is gathered too, where torch's own adds row after row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: _Order) -> Tensor:
        ctx.order = order
        return rows.index_select(0, order.rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(0, ctx.order.back), None


class _Leave(torch.autograd.Function):
    """``rows[order.back]``; rows that only filled up get no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: _Order) -> Tensor:
        ctx.order = order
        return rows.index_select(0, order.back)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(0, ctx.order.rows).index_fill_(0, ctx.order.filling, 0), None


class _SwiGLU(torch.autograd.Function):
    """``silu(gate) * value`` of rows that hold both; both gradients are written into one tensor."""

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
