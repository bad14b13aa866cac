"""A pretrained encoder on packed sets: the blocks of `multiseq.Encoder`, of other parts.

    BERT:        x <- norm(x + attention(x));       x <- norm(x + feed_forward(x))
    ModernBERT:  x <- x + attention(norm(x));       x <- x + feed_forward(norm(x))

Before the first block, BERT adds learned positions, and both normalise the vectors. So the vectors of every
adapter reach the first block at the scale that it was trained with. ModernBERT has rotary positions, with
another base in its local layers than in its global ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.checks import WIDEST, check_number, check_whole_number, config_of
from multiseq.nn.attention import AttentionPlan
from multiseq.nn.bias import Bias, PairBias
from multiseq.nn.dropout import dropout
from multiseq.nn.encoder import AddNorm, Block, SelfAttention, Trunk
from multiseq.nn.first_weights import repeatable
from multiseq.nn.linear import Linear, halved
from multiseq.nn.order import LONGEST_IN_BIN
from multiseq.nn.rotation import Rotation, rotation_of
from multiseq.pretrained.architecture import Architecture
from multiseq.pretrained.lora import add_lora, pretrained_weights
from multiseq.system.memory import check_fits
from multiseq.vectors import VectorSets

__all__ = ["PretrainedEncoder"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}
OPTIONS = ("architecture", "dropout", "pair_codes", "lora_rank")
"""The constructor's arguments."""


class PretrainedEncoder(Trunk):
    """An encoder of a pretrained architecture. :func:`multiseq.pretrained_text` makes one with its weights.

    Every adapter of its width can feed it, speech and graphs too. A vector of a set without order stands at
    position 0.

    Args:
        architecture: Sizes and variants.
        dropout: Probability of dropping an entry of a residual branch, in training only.
        pair_codes: The number of pair codes for which to learn an attention bias, as in `multiseq.Encoder`.
        lora_rank: The rank of low-rank terms (LoRA) beside the weights of all linear layers. With it, a
            training changes the terms and no pretrained weight. 0: no terms, all weights are trained.

    Raises:
        ValueError: The input has another width, or an ordered set is longer than the learned positions.
    """

    @repeatable
    def __init__(
        self, architecture: Architecture, *, dropout: float = 0.1, pair_codes: int = 0, lora_rank: int = 0
    ) -> None:
        super().__init__()
        check_number("dropout", dropout, 0.0, 1.0)
        check_whole_number("pair_codes", pair_codes, 0, 1 << 15)
        check_whole_number("lora_rank", lora_rank, 0, WIDEST)
        self.architecture, self.dropout = architecture, dropout
        self.pair_codes, self.lora_rank = pair_codes, lora_rank
        dim, depth, heads = architecture.dim, architecture.depth, architecture.heads
        matrices = 4 * dim**2 + (3 if architecture.gated else 2) * dim * architecture.ff_dim
        check_fits(depth * matrices, f"dim: got {dim} with depth {depth} and ff_dim {architecture.ff_dim}")
        self.dim, self.depth, self.heads = dim, depth, heads
        self.positions = (
            nn.Embedding(architecture.max_length, dim) if architecture.learned_positions else None
        )
        self.blocks = nn.ModuleList(
            Block(
                GatedBiasAttention(dim, heads)
                if architecture.buckets
                else SelfAttention(dim, heads, window, bias=architecture.bias),
                FeedForward(architecture),
                PostNorm(architecture, dropout)
                if not layer and architecture.entry_norm
                else _norm(architecture, dropout),
                _norm(architecture, dropout),
            )
            for layer, window in enumerate(architecture.windows or [None] * depth)
        )
        if lora_rank:
            add_lora(self.blocks, lora_rank)
        table = {"buckets": architecture.buckets, "furthest": architecture.furthest}
        relative = bool(architecture.buckets)
        self.bias = PairBias(heads, relative=relative, num_codes=pair_codes, **table if relative else {})
        self.norm = _norm(architecture, dropout)

    @property
    def max_length(self) -> int | None:
        """The longest sequence that can be encoded, in vectors. None if its length is not limited."""
        return None if self.positions is None else self.architecture.max_length

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain JSON values."""
        return {
            "architecture": self.architecture.config(),
            "dropout": self.dropout,
            "pair_codes": self.pair_codes,
            "lora_rank": self.lora_rank,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PretrainedEncoder:
        """The inverse of :meth:`config`. The weights are random."""
        options = config_of(config, OPTIONS)
        return cls(Architecture.from_config(options.pop("architecture", None)), **options)

    def layers(self) -> list[list[nn.Parameter]]:
        """The pretrained weights: those before the first layer, then each layer's, with the norm after it."""
        norms = [*(block.get_submodule("attention_norm") for block in self.blocks[1:]), self.norm]
        entry = list(self.blocks[0].get_submodule("attention_norm").parameters())
        if self.positions is not None:
            entry += self.positions.parameters()
        if self.bias.relative is not None:
            entry.append(self.bias.relative)
        layers = [
            [
                parameter
                for name in ("attention", "feed_forward_norm", "feed_forward")
                for parameter in pretrained_weights(block.get_submodule(name))
            ]
            + list(norm.parameters())
            for block, norm in zip(self.blocks, norms, strict=True)
        ]
        return [entry, *layers]

    def _enter(self, sets: VectorSets) -> tuple[Tensor, Sequence[Rotation | None], Bias | None]:
        self._check_width(sets)
        x, bases = sets.values, self.architecture.rotary_bases
        if self.positions is not None:
            self._check_lengths(sets)
            places = sets.positions
            x = x + (self.positions.weight[0] if places is None else self.positions(places))
        head_dim = self.dim // self.heads
        rotations = {base: rotation_of(sets.positions, head_dim, base) for base in dict.fromkeys(bases)}
        return x, [rotations[base] for base in bases] or [None] * self.depth, self.bias(sets)

    def _check_lengths(self, sets: VectorSets) -> None:
        longest = max((n for n, flag in zip(sets.lengths, sets.ordered, strict=True) if flag), default=0)
        if longest > self.architecture.max_length:
            raise ValueError(
                f"sets: got a sequence of {longest} vectors, expected at most "
                f"{self.architecture.max_length}, the positions that this model knows; cut long items "
                "(window for text, chunk_seconds for speech)"
            )

    def _can_share_bins(self, sets: VectorSets) -> bool:
        reaches = [window + 1 for window in self.architecture.windows if window is not None]
        longest = max((LONGEST_IN_BIN, *sets.lengths))
        biased = self.pair_codes or self.architecture.buckets
        return not biased and all(longest <= reach for reach in reaches)


class GatedBiasAttention(nn.Module):
    """Self-attention with a bias over relative positions that each query scales by a gate of its own (WavLM).

        bias_ij = (a_i (c b_i - 1) + 2) table[j - i],   (a_i, b_i) = sigmoid(W x_i + w)

    for each head, of which x_i is the part that belongs to it. All heads share W and w, all layers the table.

    Args:
        dim: Width of the vectors.
        heads: Number of attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim, bias=True)
        self.out = Linear(dim, dim, bias=True)
        self.gate = nn.Linear(dim // heads, 2)
        self.scale = nn.Parameter(torch.ones(heads))

    def forward(self, x: Tensor, plan: AttentionPlan, rotation: Rotation | None, bias: Bias | None) -> Tensor:
        """Self-attention, from ``(vectors, dim)`` to ``(vectors, dim)``. It does not rotate."""
        gates = self.gate(x.to(self.gate.weight.dtype).unflatten(-1, (self.heads, -1))).sigmoid()
        gate = gates[..., 0] * (gates[..., 1] * self.scale - 1) + 2  # (vectors, heads)
        qkv = self.qkv(halved(x)).unflatten(-1, (3, self.heads, -1)).to(gate.dtype)
        lengths = [length for length in plan.q_lengths if length]
        attended = [qkv[:0, 0]]
        # Set by set: every pair has a bias of its own, which no kernel for packed sets computes.
        for rows, factor in zip(qkv.split(lengths), gate.split(lengths), strict=True):
            q, k, v = rows.permute(1, 2, 0, 3)  # (heads, length, head_dim) each
            mask = None if bias is None else factor.t()[:, :, None] * _by_distance(bias, len(rows))
            attended.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1))
        out: Tensor = self.out(torch.cat(attended).flatten(1).to(x.dtype))
        return out


def _by_distance(bias: Bias, length: int) -> Float[Tensor, "heads queries keys"]:
    """The bias over relative positions between the vectors of one set."""
    assert bias.by_distance is not None
    furthest = bias.by_distance.shape[1] // 2
    distances = torch.arange(1 - length, length, device=bias.by_distance.device)
    diagonals = bias.by_distance[:, distances.clamp(-furthest, furthest) + furthest]
    return diagonals.unfold(1, length, 1).flip(1)


class PostNorm(nn.LayerNorm):
    """Adds a branch and normalises the sum, which is the new residual stream: ``norm(x + dropout(branch))``.

    It has the interface of `AddNorm`, so it can be a part of a `Block`.
    """

    def __init__(self, architecture: Architecture, dropout: float) -> None:
        super().__init__(architecture.dim, eps=architecture.norm_eps, bias=architecture.bias)
        self.dropout = dropout

    def forward(  # type: ignore[override]  # it takes the branch too
        self, x: Tensor, branch: Tensor | None = None, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """The norm of the sum, twice: as the residual stream, and as what the next branch reads."""
        if branch is not None:
            x = x + dropout(branch.to(x.dtype), self.dropout, self.training)
        normed = super().forward(x)
        return normed, normed


class FeedForward(nn.Module):
    """``out(activation(inner(x)))``, or gated: ``out(activation(value) * gate)``, where inner gives both."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        dim, ff_dim, bias = architecture.dim, architecture.ff_dim, architecture.bias
        self.gated, self.activation = architecture.gated, ACTIVATIONS[architecture.activation]
        self.inner = Linear(dim, 2 * ff_dim if self.gated else ff_dim, bias=bias)
        self.out = Linear(ff_dim, dim, bias=bias)

    def forward(self, x: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors dim"]:
        """The feed-forward network, from ``(vectors, dim)`` to ``(vectors, dim)``."""
        inner = self.inner(halved(x))
        if self.gated:
            value, gate = inner.chunk(2, dim=-1)
            inner = self.activation(value) * gate
        else:
            inner = self.activation(inner)
        out: Tensor = self.out(inner)
        return out


def _norm(architecture: Architecture, dropout: float) -> nn.LayerNorm:
    if not architecture.pre_norm:
        return PostNorm(architecture, dropout)
    norm = AddNorm(architecture.dim, dropout, bias=architecture.bias)
    norm.eps = architecture.norm_eps
    return norm
