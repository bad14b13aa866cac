"""The shared encoder: pre-norm self-attention blocks over packed sets of any modality.

    x <- x + dropout(attention(norm(x)));   x <- x + dropout(feed_forward(norm(x)))

Sources: Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762); pre-norm, Xiong et al. 2020
(https://arxiv.org/abs/2002.04745); rotary positions (RoPE), Su et al. 2021
(https://arxiv.org/abs/2104.09864); gated feed-forward, Shazeer 2020 (https://arxiv.org/abs/2002.05202). We
differ in three points: vectors are packed; the order of vectors enters only through rotary positions and, if
wanted, a learned bias or a window; and vectors of a set without positions are not rotated, so their order
does not matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from multiseq.checks import MANY, WIDEST, check_number, check_whole_number, config_of
from multiseq.nn._kernels import kernels_for
from multiseq.nn.attention import AttentionPlan, Chunks, Window, attend_self, attention_weights
from multiseq.nn.bias import Bias, PairBias
from multiseq.nn.dropout import dropout
from multiseq.nn.first_weights import repeatable
from multiseq.nn.linear import Linear, halved
from multiseq.nn.order import Order
from multiseq.nn.rotation import Rotation, rotate_parts, rotation_of
from multiseq.system.memory import check_fits
from multiseq.vectors import VectorSets

__all__ = ["PRESETS", "Encoder", "FeedForward", "Trunk", "inner_width"]

WIDEST_NORM = 8192
"""The largest ``dim`` for which the GPU's norm kernel can hold a row in registers."""

OPTIONS = (
    *("dim", "depth", "heads", "ff_dim", "gated", "dropout"),
    *("window", "chunk", "relative_bias", "pair_codes"),
)
"""The constructor's arguments."""

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"dim": 128, "depth": 4, "heads": 4},
    "small": {"dim": 256, "depth": 6, "heads": 8},
    "base": {"dim": 512, "depth": 8, "heads": 8},
    "large": {"dim": 1024, "depth": 16, "heads": 16},
}


class Trunk(nn.Module, ABC):
    """What encoders share: how the packed sets of a batch pass through the blocks.

    A subclass sets these attributes, and says how sets enter the first block.
    """

    dim: int
    depth: int
    heads: int
    blocks: nn.ModuleList
    norm: nn.Module

    @abstractmethod
    def _enter(self, sets: VectorSets) -> tuple[Tensor, Sequence[Rotation | None], Bias | None]:
        """The residual stream before the first block, the rotation of each block, and the bias of all."""

    @abstractmethod
    def _can_share_bins(self, sets: VectorSets) -> bool:
        """Whether several short sets can be processed as one bin; a bias or a window does not allow it."""

    def _check_width(self, sets: VectorSets) -> None:
        if sets.dim != self.dim:
            raise ValueError(
                f"sets: got vectors of width {sets.dim}, expected {self.dim}; "
                "build the adapter with the encoder's dim"
            )

    def forward(self, sets: VectorSets) -> VectorSets:
        """Encode each set independently: the output for a set does not depend on the rest of the batch."""
        if sets.device.type != "cpu":
            return sets.with_values(self._encode(sets, _plan_of(sets)))
        binned = self._can_share_bins(sets)
        encoded = self._encode_in(Order.of(sets.lengths, binned=binned), sets)
        if binned and not encoded.detach().isfinite().all():
            # Inf or NaN in one set spreads to the other sets of its bin: their attention weights for it are
            # 0, and 0 * inf is NaN. So encode again without bins. A gradient with inf or NaN spreads too, but
            # it spoils the gradients of all weights anyway.
            encoded = self._encode_in(Order.of(sets.lengths), sets)
        return sets.with_values(encoded)

    @torch.no_grad()
    def attention(self, sets: VectorSets, layer: int = -1) -> list[Float[Tensor, "heads length length"]]:
        """The attention weights of one layer, ``(heads, length, length)`` for each set; recomputed here."""
        if not -self.depth <= layer < self.depth:
            raise ValueError(f"layer: got {layer}, expected {-self.depth} to {self.depth - 1}")
        plan = _plan_of(sets)
        x, rotations, bias = self._enter(sets)
        branch, layer = None, layer % self.depth
        for block, rotation in zip(self.blocks[:layer], rotations, strict=False):
            x, branch = block(x, branch, plan, rotation, bias)
        block = self.blocks[layer]
        assert isinstance(block, Block)
        attention = block.attention
        if not isinstance(attention, SelfAttention):
            got = type(attention).__name__
            raise ValueError(f"layer: got {layer}, whose attention is a {got}, expected a SelfAttention")
        q, k, _ = attention.project(block.attention_norm(x, branch)[1], rotations[layer])
        return attention_weights(q, k, plan, bias=bias, window=attention.window)

    def _encode_in(self, order: Order, sets: VectorSets) -> Tensor:
        chunks = order.enter(sets).split([sum(map(len, bins)) for bins in order.chunks])
        encoded = []
        for chunk, bins in zip(chunks, order.chunks, strict=True):
            shared = any(len(lengths) > 1 for lengths in bins)
            sequences = None if shared else chunk.sequences
            plan = AttentionPlan([sum(lengths) for lengths in bins], sequences=sequences, bins=bins)
            encoded.append(self._encode(chunk, plan))
        return order.leave(torch.cat(encoded))

    def _encode(self, sets: VectorSets, plan: AttentionPlan) -> Tensor:
        x, rotations, bias = self._enter(sets)
        branch = None
        for block, rotation in zip(self.blocks, rotations, strict=True):
            x, branch = block(x, branch, plan, rotation, bias)
        # Under autocast the weights are in single precision, and so is the result, as on a CPU.
        dtype = torch.promote_types(x.dtype, next(self.parameters()).dtype)
        normed: Tensor = self.norm(x, branch, dtype=dtype)[1]
        return normed


class Encoder(Trunk):
    """A Transformer encoder over packed sets: the output has the same sets and lengths as the input.

    Args:
        dim: Width of every vector.
        depth: Number of blocks.
        heads: Number of attention heads. ``dim`` must be a multiple of ``2 * heads``, because rotary
            positions rotate pairs of entries.
        ff_dim: Inner width of the feed-forward network. Default: derived from ``dim``.
        gated: Whether the feed-forward network is SwiGLU; otherwise it is a plain one with GELU.
        dropout: Probability of dropping an entry of a residual branch, in training only.
        window: In sets that are sequences, a vector attends only to vectors at most this far away (sliding
            window). Each layer widens the view, so the output depends on vectors up to ``depth * window``
            away. None: a vector attends to its whole set.
        chunk: For streams (`multiseq.Stream`), with ``window``: sequences are cut into chunks of this many
            vectors. A vector attends to its chunk and to the ``window`` vectors before the chunk, and to
            nothing after it. As in Zhang et al. 2020 (https://arxiv.org/abs/2012.05481), with a chunk of one
            size.
        relative_bias: Whether to learn an attention bias over relative positions, for each head.
        pair_codes: The number of pair codes for which to learn an attention bias, for each head; 0 for none.
            An adapter assigns the codes (for example distances between nodes) and states their number as
            its attribute `pair_codes`.

    Raises:
        ValueError: Sizes do not divide, the input has another width, or the input has pair codes for which
            the encoder has no table.

    Example:
        >>> encoder = Encoder(dim=16, depth=2, heads=2)
        >>> encoder(VectorSets(torch.randn(5, 16), [2, 0, 3])).lengths
        (2, 0, 3)
    """

    @repeatable
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
        chunk: int | None = None,
        relative_bias: bool = False,
        pair_codes: int = 0,
    ) -> None:
        super().__init__()
        check_whole_number("dim", dim, 1, WIDEST)
        check_whole_number("depth", depth, 0, MANY)
        check_whole_number("heads", heads, 1, WIDEST)
        check_whole_number("ff_dim", ff_dim, 0, 16 * WIDEST, none="derive it from dim")
        check_whole_number("window", window, 1, none="attend to whole sets")
        check_whole_number("chunk", chunk, 1, none="attend to both sides")
        if chunk is not None and window is None:
            raise ValueError(
                f"chunk: got {chunk} without a window, expected both; set window to the number of vectors "
                "before its chunk that a vector attends to"
            )
        check_whole_number("pair_codes", pair_codes, 0, 1 << 15)
        check_number("dropout", dropout, 0.0, 1.0)
        if dim % (2 * heads):
            raise ValueError(
                f"dim: got {dim} for {heads} heads, expected a multiple of {2 * heads} (twice the heads)"
            )
        self.dim, self.depth, self.heads = dim, depth, heads
        self.window, self.chunk = window, chunk
        self.relative_bias, self.pair_codes = relative_bias, pair_codes
        self.gated, self.dropout = gated, dropout
        self.ff_dim = ff_dim or inner_width(dim, gated=gated)
        matrices = 4 * dim**2 + (3 if gated else 2) * dim * self.ff_dim
        check_fits(depth * matrices, f"dim: got {dim} with depth {depth} and ff_dim {self.ff_dim}")
        seen = window if window is None or chunk is None else Chunks(chunk, window)
        self.blocks = nn.ModuleList(
            Block(
                SelfAttention(dim, heads, seen),
                FeedForward(dim, self.ff_dim, gated=gated),
                AddNorm(dim, dropout),
                AddNorm(dim, dropout),
            )
            for _ in range(depth)
        )
        self.bias = PairBias(heads, relative=relative_bias, num_codes=pair_codes)
        self.norm = AddNorm(dim, dropout)
        self._initialise()

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Encoder:
        """An encoder of a named size (see `PRESETS`); keyword arguments override the values of the preset."""
        if name not in PRESETS:
            raise ValueError(f"preset: got {name!r}, expected one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain JSON values."""
        return {name: getattr(self, name) for name in OPTIONS}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Encoder:
        """The inverse of :meth:`config`."""
        return cls(**config_of(config, OPTIONS))

    def _enter(self, sets: VectorSets) -> tuple[Tensor, Sequence[Rotation | None], Bias | None]:
        self._check_width(sets)
        rotation = rotation_of(sets.positions, self.dim // self.heads)
        return sets.values, [rotation] * self.depth, self.bias(sets)

    def _can_share_bins(self, sets: VectorSets) -> bool:
        return self.window is None and not self.relative_bias and not self.pair_codes

    def _initialise(self) -> None:
        for block in self.blocks:
            # Residual branches start small, so that their sum does not grow with depth (GPT-2, section 2.3).
            for last in ("attention.out.weight", "feed_forward.out.weight"):
                nn.init.normal_(block.get_parameter(last), std=0.02 / (2 * self.depth) ** 0.5)


def _plan_of(sets: VectorSets) -> AttentionPlan:
    return AttentionPlan(sets.lengths, device=sets.device, sequences=sets.sequences)


class AddNorm(nn.LayerNorm):
    """Adds a branch to the residual stream; returns both the sum and its layer norm.

        x <- x + dropout(branch);   norm(x)

    Both steps are in one module, because a GPU kernel computes them in one pass over memory.
    """

    def __init__(self, dim: int, dropout: float, *, bias: bool = False) -> None:
        super().__init__(dim, bias=bias)
        self.dropout = dropout

    def forward(  # type: ignore[override]  # it takes the branch too
        self, x: Tensor, branch: Tensor | None = None, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """The sum and its norm; on a GPU the norm has ``dtype`` (default: autocast's, else that of x)."""
        fits = x.dim() == 2 and x.shape[1] <= WIDEST_NORM and self.bias is None
        kernels = kernels_for(x) if fits else None
        if kernels is None:
            if branch is not None:
                branch = branch.to(torch.promote_types(x.dtype, branch.dtype))  # faster than a mixed sum
                x = x + dropout(branch, self.dropout, self.training)
            return x, super().forward(x)
        if dtype is None:
            dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
        p = self.dropout if self.training else 0.0
        both: tuple[Tensor, Tensor] = kernels.add_norm(
            x, branch, self.weight, eps=self.eps, dropout=p, dtype=dtype
        )
        return both


class Block(nn.Module):
    """One pre-norm block: self-attention, then feed-forward. The next block's norm adds the last branch.

    Args:
        attention: Maps normed vectors, plan, rotation and bias to a branch of the same shape.
        feed_forward: Maps normed vectors to a branch.
        attention_norm: Maps the residual stream and a branch to their sum and its norm, like `AddNorm`.
        feed_forward_norm: The same, before the feed-forward.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        attention_norm: nn.Module,
        feed_forward_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward

    def forward(
        self,
        x: Tensor,
        branch: Tensor | None,
        plan: AttentionPlan,
        rotation: Rotation | None,
        bias: Bias | None,
    ) -> tuple[Tensor, Tensor]:
        """Map the residual stream and the branch still to be added to it to the next such pair."""
        x, normed = self.attention_norm(x, branch)
        x, normed = self.feed_forward_norm(x, self.attention(normed, plan, rotation, bias))
        return x, self.feed_forward(normed)


class SelfAttention(nn.Module):
    """Multi-head attention of each vector to its own set, with rotary positions on queries and keys."""

    def __init__(self, dim: int, heads: int, window: Window | None = None, *, bias: bool = False) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = Linear(dim, 3 * dim, bias=bias)
        self.out = Linear(dim, dim, bias=bias)

    def project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``(vectors, heads, head_dim)``."""
        return rotate_parts(self.qkv(x).unflatten(-1, (3 * self.heads, -1)), rotation)

    def forward(
        self, x: Tensor, plan: AttentionPlan, rotation: Rotation | None, bias: Bias | None = None
    ) -> Tensor:
        """Self-attention, from ``(vectors, dim)`` to ``(vectors, dim)``."""
        attended = attend_self(self.qkv(halved(x)), self.heads, rotation, plan, bias=bias, window=self.window)
        out: Tensor = self.out(attended.flatten(1))
        return out


class FeedForward(nn.Module):
    """``out(silu(gate(x)) * inner(x))`` if gated (SwiGLU), else ``out(gelu(inner(x)))``."""

    def __init__(self, dim: int, ff_dim: int, *, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated
        self.inner = Linear(dim, 2 * ff_dim if gated else ff_dim)
        self.out = Linear(ff_dim, dim)

    def forward(self, x: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors dim"]:
        """The feed-forward network, from ``(vectors, dim)`` to ``(vectors, dim)``."""
        inner = self.inner(halved(x))
        out: Tensor = self.out(_swiglu(inner) if self.gated else F.gelu(inner))
        return out


def inner_width(dim: int, *, gated: bool = True) -> int:
    """The usual width inside a feed-forward network.

    A gate has three matrices instead of two: 8/3 keeps the number of weights of a plain one of 4.

    >>> inner_width(96), inner_width(96, gated=False)
    (256, 384)
    """
    return -(-8 * dim // 24) * 8 if gated else 4 * dim


def _swiglu(inner: Tensor) -> Tensor:
    kernels = kernels_for(inner) if inner.dim() == 2 else None
    if kernels is not None:
        fused: Tensor = kernels.swiglu(inner)
        return fused
    if torch.compiler.is_compiling():  # torch fuses this, and its gradient, into one kernel each
        gate, value = inner.chunk(2, dim=-1)
        return F.silu(gate) * value
    out: Tensor = _SwiGLU.apply(inner)
    return out


class _SwiGLU(torch.autograd.Function):
    """``silu(gate) * value``, where a row holds gate and value; both gradients go into one tensor."""

    @staticmethod
    def forward(ctx: Any, inner: Tensor) -> Tensor:
        gate, value = inner.chunk(2, dim=-1)
        ctx.save_for_backward(inner)
        return F.silu(gate).mul_(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (inner,) = ctx.saved_tensors
        gate, value = inner.chunk(2, dim=-1)
        grads = torch.empty_like(inner)
        to_gate, to_value = grads.chunk(2, dim=-1)
        torch.ops.aten.silu.out(gate, out=to_value)  # recompute: storing it takes as long, and memory
        to_value.mul_(grad)
        torch.mul(grad, value, out=to_gate)
        torch.ops.aten.silu_backward.grad_input(to_gate, gate, grad_input=to_gate)
        return grads
