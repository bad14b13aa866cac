"""Attention in bf16 on a CPU, by batched products.

Torch's flash kernel for a CPU is fast in fp32. Its backward pass in bf16 is not: it calls oneDNN for every
block of 32 rows, and takes up to fifteen times as long as in fp32 (torch 2.14). Products of all heads and
sets of a group at once use the processor's instructions for bf16. They need the attention weights in memory,
so longer sets go through the flash kernel in fp32. Without a backward pass, the flash kernel in bf16 is the
fastest, at every length.

Axes: sets, longest (of a group), heads, head_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LONGEST", "half_attention", "half_attention_backward"]

LONGEST = 512
"""The longest sets that are served here."""
_STEP = 16
"""Lengths are padded to a multiple of this, so that oneDNN compiles few kernels."""
_MOST_WEIGHTS = 1 << 20
"""Attention weights of a chunk of sets, so that they stay in the caches."""


def half_attention(parts: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Self-attention of a group: ``(sets, longest, heads, head_dim)``, and what the backward pass needs.

    Args:
        parts: Queries, keys and values in bf16, ``(sets, longest, 3 * heads, head_dim)``.
        mask: The additive mask, ``(sets, 1, 1 or longest, longest)``, or None.
    """
    num_sets, longest, heads = *parts.shape[:2], parts.shape[2] // 3
    out = parts.new_empty(num_sets, longest, heads, parts.shape[3])
    saved = []
    for start, end in _chunks(num_sets, longest, heads):
        own = _by_head(parts[start:end])
        q, k, v = (part.flatten(0, 1) for part in own.chunk(3))
        weights = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=_scale(q))
        hidden = _padded_mask(None if mask is None else mask[start:end], longest, own)
        if hidden is not None:
            weights.view(heads, -1, *weights.shape[1:]).add_(hidden)
        weights = weights.softmax(-1)
        out[start:end] = _by_set(torch.bmm(weights, v).view_as(own[:heads]))[: end - start, :longest]
        saved += [own, weights]
    return out, saved


def half_attention_backward(grad: Tensor, saved: Sequence[Tensor]) -> Tensor:
    """The gradient of ``parts`` of :func:`half_attention`; ``grad`` is that of its result."""
    num_sets, longest, heads = grad.shape[:3]
    grads = grad.new_empty(num_sets, longest, 3 * heads, grad.shape[3])
    chunks = _chunks(num_sets, longest, heads)
    for (start, end), own, weights in zip(chunks, saved[::2], saved[1::2], strict=True):
        q, k, v = (part.flatten(0, 1) for part in own.chunk(3))
        to_out, to_own = _by_head(grad[start:end]).flatten(0, 1), torch.empty_like(own)
        to_q, to_k, to_v = (part.flatten(0, 1) for part in to_own.chunk(3))
        torch.bmm(weights.transpose(1, 2), to_out, out=to_v)
        to_weights = torch.bmm(to_out, v.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
        torch.baddbmm(q.new_empty(1), to_scores, k, beta=0, alpha=_scale(q), out=to_q)
        torch.baddbmm(q.new_empty(1), to_scores.transpose(1, 2), q, beta=0, alpha=_scale(q), out=to_k)
        grads[start:end] = _by_set(to_own)[: end - start, :longest]
    return grads


def _scale(q: Tensor) -> float:
    return 1 / math.sqrt(q.shape[-1])


def _chunks(num_sets: int, longest: int, heads: int) -> list[tuple[int, int]]:
    """The first set and the end of each chunk. A chunk has a power of two of sets, the last one fewer."""
    most = max(1, _MOST_WEIGHTS // (heads * longest**2))
    size = 1 << most.bit_length() - 1
    return [(start, min(start + size, num_sets)) for start in range(0, num_sets, size)]


def _by_head(rows: Tensor) -> Tensor:
    """``(sets, longest, heads, head_dim)`` to ``(heads, sets, longest, head_dim)``, padded with zeros.

    The padding makes few shapes: lengths are multiples of `_STEP`, numbers of sets have two binary digits.
    """
    num_sets, longest = rows.shape[:2]
    step = 1 << max(0, num_sets.bit_length() - 2)
    more_sets, more = -num_sets % step, -longest % _STEP
    if more_sets or more:
        rows = F.pad(rows, (0, 0, 0, 0, 0, more, 0, more_sets))
    return rows.permute(2, 0, 1, 3).contiguous()


def _by_set(dense: Tensor) -> Tensor:
    return dense.permute(1, 2, 0, 3)


def _padded_mask(mask: Tensor | None, longest: int, own: Tensor) -> Tensor | None:
    """The mask, ``(sets, 1 or longest, longest)``, for padded queries, keys and values."""
    _, num_sets, padded, _ = own.shape
    if mask is None:
        if padded == longest:
            return None
        mask = own.new_zeros(1, 1, 1, longest)
    mask = F.pad(mask[:, 0], (0, padded - longest), value=float("-inf"))
    rows, sets = mask.shape[1], mask.shape[0]
    # Padded queries and sets see something, because a query without keys would be nan.
    more = (0, 0, 0, padded - rows if rows > 1 else 0, 0, num_sets - sets if sets > 1 else 0)
    return F.pad(mask, more)
