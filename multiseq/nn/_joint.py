"""Fused self-attention for packed vectors on a CPU, with a backward pass of its own.

The result equals `rotate_parts`, `to_dense`, torch's ``scaled_dot_product_attention`` and `to_packed` in this
order. The fused function has less overhead: it calls torch's flash kernel directly for each group, without
torch's dispatch and autograd records, and it writes the gradients of queries, keys and values into one
tensor.

Axes: vectors (rows of the batch), sets, longest (of a group), heads, head_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from multiseq.nn._groups import GroupRows, fill_group, pack, split
from multiseq.nn._half_attention import LONGEST, half_attention, half_attention_backward
from multiseq.nn.rotation import Rotation, rotate_

__all__ = ["attend_joint"]

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attend_joint(
    qkv: Float[Tensor, "vectors three_dim"],
    heads: int,
    rotation: Rotation | None,
    groups: Sequence[GroupRows],
    masks: Sequence[Tensor | None],
) -> Float[Tensor, "vectors heads head_dim"]:
    """Attention of each vector to its own set.

    Args:
        qkv: Queries, keys and values side by side, in the order of the groups. They are rotated in place,
            so their content changes. If another operation saved these vectors for its backward pass, torch
            raises an error.
        heads: Number of attention heads.
        rotation: Rotation for queries and keys, or None.
        groups: The groups of sets; one kernel call processes one group.
        masks: For each group the additive mask, or None.
    """
    # The kernel fails on groups of empty sets, so they are left out.
    full = [(group, mask) for group, mask in zip(groups, masks, strict=True) if group.num]
    out: Tensor = _Joint.apply(qkv, heads, rotation, full)
    return out


class _Joint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        heads: int,
        rotation: Rotation | None,
        groups: list[tuple[GroupRows, Tensor | None]],
    ) -> Tensor:
        ctx.rotation, ctx.groups, ctx.numbers = rotation, groups, []
        in_half = qkv.dtype == torch.bfloat16
        by_head = qkv.unflatten(-1, (3 * heads, -1))
        rotate_(by_head[:, : 2 * heads], rotation)
        out = qkv.new_empty(len(qkv), heads, by_head.shape[2])
        saved: list[Tensor] = []
        by_group = (split(x, [group for group, _ in groups]) for x in (by_head, out))
        for (group, mask), vectors, target in zip(groups, *by_group, strict=True):
            dense = fill_group(vectors, group)
            if in_half and ctx.needs_input_grad[0]:  # else torch's kernel in bf16: its forward pass is fast
                short = dense.shape[1] <= LONGEST
                result, kept = half_attention(dense, mask) if short else _attend(dense.float(), mask)
            else:
                result, kept = _attend(dense, mask)
            pack(result.to(out.dtype), group, target)
            saved += kept
            ctx.numbers.append(len(kept))
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        heads = grad.shape[1]
        grads = grad.new_empty(len(grad), 3 * heads, grad.shape[2])
        in_half, saved = grad.dtype == torch.bfloat16, iter(ctx.saved_tensors)
        by_group = (split(x, [group for group, _ in ctx.groups]) for x in (grad, grads))
        for number, (group, mask), vectors, targets in zip(ctx.numbers, ctx.groups, *by_group, strict=True):
            kept = list(islice(saved, number))
            to_out = fill_group(vectors, group, zeros=True)
            if in_half and to_out.shape[1] <= LONGEST:
                pack(half_attention_backward(to_out, kept), group, targets)
                continue
            for target, to_x in zip(
                targets.chunk(3, dim=1), _attend_backward(to_out, kept, mask), strict=True
            ):
                pack(_by_head(to_x).to(grads.dtype), group, target)
        rotate_(grads[:, : 2 * heads], None if ctx.rotation is None else ctx.rotation.conj())
        return grads.flatten(1), None, None, None


def _attend(dense: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Torch's flash kernel."""
    q, k, v = _by_head(dense).chunk(3, dim=1)
    attended, log_sums = _flash(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))
    return _by_head(attended), [q, k, v, attended, log_sums]


def _attend_backward(to_out: Tensor, kept: Sequence[Tensor], mask: Tensor | None) -> tuple[Tensor, ...]:
    dtype = kept[0].dtype
    mask = None if mask is None else mask.to(dtype)
    to_out = _by_head(to_out.to(dtype))
    grads: tuple[Tensor, ...] = _flash_backward(to_out, *kept, 0.0, False, attn_mask=mask)
    return grads


def _by_head(x: Tensor) -> Tensor:
    """``(sets, longest, heads, head_dim)`` to ``(sets, heads, longest, head_dim)``, and back."""
    return x.transpose(1, 2)
