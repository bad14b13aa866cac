"""Attention over packed sets: a vector attends to its own set only, and nothing is padded around it.

    attend(q, k, v)_i = softmax(q_i k_j^T / sqrt(head_dim) + bias_ij) v_j,   j in the set of i

One entry point, `attend`, for self-attention, causal self-attention and cross-attention between two packed
batches. It chooses the path by device and dtype:

- CUDA in bf16 or fp16: torch's variable-length flash attention (https://arxiv.org/abs/2307.08691);
- CUDA with a bias, or with a window of some sets only: FlexAttention (`multiseq.nn._flex`);
- elsewhere: ``scaled_dot_product_attention`` over groups of sets of similar length, so that a group wastes
  a few rows at most and every other operation of the encoder sees packed rows only. Long sequences
  under a window are cut into chunks, whose cost grows with their length alone (`multiseq.nn._masked`).

Self-attention has an entry of its own, `attend_self`, which on a CPU can take short sets in bins.

Axes: q_vectors and k_vectors (rows of the two batches), heads, head_dim, pairs (query and key of one set).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.nn._flex import attend_flex, block_mask, flex_serves
from multiseq.nn._groups import Group, fill, groups_of, longest_first, to_dense, to_packed
from multiseq.nn._joint import attend_joint
from multiseq.nn._masked import (
    Piece,
    Visible,
    band,
    band_piece,
    group_piece,
    is_long,
    mask_of,
    visible,
)
from multiseq.nn.bias import Bias, packed_bias
from multiseq.nn.rotation import Rotation, rotate_parts
from multiseq.vectors import rows_of, to_device

__all__ = ["AttentionPlan", "attend", "attend_self", "attention_weights", "flash"]


class AttentionPlan:
    """What attention needs to know of a batch, worked out once on the host and shared by all layers.

    Args:
        q_lengths: Vectors of each set of queries.
        k_lengths: Vectors of each set of keys; the queries' own where not given (self-attention).
        device: Where the index tensors go.
        sequences: Which sets a window cuts; all where not given.
        bins: For `attend_self` on a CPU, without bias and window: the lengths of the sets that one of the
            lengths stands for. A vector still attends to its own set only.

    Raises:
        ValueError: Different numbers of sets, or bins that do not add up to the lengths.
    """

    def __init__(
        self,
        q_lengths: Sequence[int],
        k_lengths: Sequence[int] | None = None,
        *,
        device: torch.device | str = "cpu",
        sequences: Sequence[bool] | None = None,
        bins: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.q_lengths = tuple(q_lengths)
        self.k_lengths = self.q_lengths if k_lengths is None else tuple(k_lengths)
        if len(self.q_lengths) != len(self.k_lengths):
            raise ValueError(
                f"plan: got {len(self.q_lengths)} sets of queries and {len(self.k_lengths)} sets of keys, "
                "expected as many; every set of queries attends to the set of keys of the same number"
            )
        if bins is not None and self.q_lengths != tuple(map(sum, bins)):
            raise ValueError(
                f"bins: got lengths that add up to {list(map(sum, bins))}, expected {list(self.q_lengths)}"
            )
        if bins is not None and not self.is_self:
            raise ValueError("bins: got queries and keys of different lengths, expected the same sets")
        self.bins = bins if bins is not None and any(len(own) > 1 for own in bins) else None
        self.device = torch.device(device)
        self.sequences = (True,) * len(self.q_lengths) if sequences is None else tuple(sequences)
        # By causal order and window, as far as they matter.
        self._groups: dict[int | None, list[Group]] = {}
        self._masks: dict[torch.dtype, list[Tensor | None]] = {}
        self._pieces: dict[tuple[bool, int | None], list[Piece]] = {}
        self._block_masks: dict[tuple[bool, int | None], Any] = {}
        self._offsets: tuple[Tensor, Tensor] | None = None
        self._order: tuple[Tensor, Tensor, Tensor] | None = None
        self._in_order: bool | None = None

    @property
    def is_self(self) -> bool:
        """Whether queries and keys have the same lengths."""
        return self.q_lengths == self.k_lengths

    @property
    def longest(self) -> tuple[int, int]:
        """Vectors of the longest set of queries, and of keys."""
        return max(self.q_lengths, default=0), max(self.k_lengths, default=0)

    def offsets(self) -> tuple[Tensor, Tensor]:
        """``cu_seqlens`` of queries and keys, int32 on the device, for the flash path."""
        if self._offsets is None:
            q, k = (
                torch.tensor([0, *accumulate(n)], dtype=torch.int32) for n in (self.q_lengths, self.k_lengths)
            )
            self._offsets = (to_device(q, self.device), to_device(k, self.device))
        return self._offsets

    def groups(self, window: int | None = None) -> list[Group]:
        """Groups of similar length, longest first, for the grouped path."""
        if window not in self._groups:
            cut = [s and is_long(n, window) for s, n in zip(self.sequences, self.q_lengths, strict=True)]
            self._groups[window] = groups_of(self.q_lengths, self.k_lengths, cut, self.device)
        return self._groups[window]

    def masks(self, dtype: torch.dtype) -> list[Tensor | None]:
        """What is added to the products of a group, ``(sets, 1, 1 or longest, longest)``, if anything.

        It hides keys that fill up and, in a bin, those of other sets.
        """
        if dtype not in self._masks:
            masks = [self._mask(group) for group in self.groups()]
            self._masks[dtype] = [m if m is None else torch.where(m, 0.0, -math.inf).to(dtype) for m in masks]
        return self._masks[dtype]

    def _mask(self, group: Group) -> Tensor | None:
        rows = group.keys
        bins = [] if self.bins is None else [self.bins[i] for i in group.sets]
        if all(len(own) < 2 for own in bins):
            return rows.mask
        sizes = torch.tensor([size for own in bins for size in own])
        sets = fill(torch.arange(len(sizes)).repeat_interleave(sizes), rows)
        same = (sets[:, :, None] == sets[:, None])[:, None]
        return same if rows.mask is None else same & rows.mask

    def pieces(self, causal: bool, window: int | None) -> list[Piece]:
        """What queries and keys of each group see of each other."""
        if (causal, window) not in self._pieces:
            seen = self._visible(causal, window)
            self._pieces[causal, window] = [
                (
                    band_piece(self.q_lengths, group.sets, window, seen)
                    if group.cut and window is not None
                    else group_piece(self.q_lengths, self.k_lengths, group.sets, seen)
                ).to(self.device)
                for group in self.groups(window)
            ]
        return self._pieces[causal, window]

    def block_mask(self, causal: bool, window: int | None) -> Any:
        """The mask of FlexAttention."""
        if (causal, window) not in self._block_masks:
            self._block_masks[causal, window] = block_mask(self._visible(causal, window), self.device)
        return self._block_masks[causal, window]

    def cuts(self, window: int | None) -> set[bool]:
        """Whether the window cuts sets: of those that it could cut, all, none, or some."""
        if window is None:
            return set()
        return {s for s, n in zip(self.sequences, self.q_lengths, strict=True) if n > window + 1}

    def _visible(self, causal: bool, window: int | None) -> Visible:
        self.refuse_bins()
        return visible(self.q_lengths, self.k_lengths, causal=causal, window=window, sequences=self.sequences)

    def refuse_bins(self) -> None:
        """Raise a ValueError where the plan has bins: of what cannot tell the sets of a bin apart."""
        if self.bins is not None:
            raise ValueError(
                "plan: got one with bins, expected one without; bins serve attend_self on a CPU, "
                "the longest first, without bias and window"
            )

    def order(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Row orders that bring the sets into the groups' order: queries, keys, and queries back again.

        None where the sets stand in that order already, as the encoder sees to.
        """
        if self._in_order is None:
            order = longest_first(self.q_lengths, self.k_lengths)
            self._in_order = order == list(range(len(order)))
        if self._in_order:
            return None
        if self._order is None:
            order = longest_first(self.q_lengths, self.k_lengths)
            q, k = rows_of(self.q_lengths, order), rows_of(self.k_lengths, order)
            back = torch.empty_like(q)
            back[q] = torch.arange(q.numel())
            self._order = (to_device(q, self.device), to_device(k, self.device), to_device(back, self.device))
        return self._order


def attend(
    q: Float[Tensor, "q_vectors heads head_dim"],
    k: Float[Tensor, "k_vectors heads head_dim"],
    v: Float[Tensor, "k_vectors heads head_dim"],
    plan: AttentionPlan,
    *,
    causal: bool = False,
    bias: Bias | Float[Tensor, "pairs heads"] | None = None,
    window: int | None = None,
) -> Float[Tensor, "q_vectors heads head_dim"]:
    """Scaled dot-product attention within each set. A query whose set has no keys gets zeros.

    Args:
        q: Packed rows of all sets of queries.
        k: Packed rows of all sets of keys.
        v: The keys' values.
        plan: The lengths of the sets; one plan serves all layers.
        causal: Query *i* sees keys 0 … i of its set.
        bias: Added to the scaled products: learned tables (`multiseq.nn.bias`), for self-attention, or for
            each set its (queries x keys) matrix, row by row, set after set, for each head. It may need a
            gradient.
        window: Query *i* sees keys i - window … i + window of its set only, where that is a sequence.

    Raises:
        ValueError: Rows that do not fit the plan, a plan with bins, or ``causal``, ``window`` or tables
            between different lengths.
    """
    for name, rows, lengths in (("q", q, plan.q_lengths), ("k", k, plan.k_lengths), ("v", v, plan.k_lengths)):
        if rows.shape[0] != sum(lengths):
            raise ValueError(
                f"{name}: got {rows.shape[0]} rows, expected {sum(lengths)} as the plan's lengths add up to"
            )
    plan.refuse_bins()
    if window is not None and window < 0:
        raise ValueError(f"window: got {window}, expected 0 or more")
    if (causal or window is not None or isinstance(bias, Bias)) and not plan.is_self:
        raise ValueError(
            "causal, window, bias tables: got queries and keys of different lengths, expected the same sets"
        )
    cuts = plan.cuts(window)
    if True not in cuts:
        window = None  # every set is shorter, or no sequence
    if isinstance(bias, Tensor):
        # A number for each pair is dense already.
        tables = packed_bias(bias, plan.q_lengths, plan.k_lengths)
        return _grouped(q, k, v, plan, causal=causal, bias=tables, window=window)
    if bias is None and len(cuts) < 2 and _flash_serves(q):
        return flash(q, k, v, plan.offsets(), plan.longest, causal=causal, window=window)
    if (bias is not None or window is not None) and len(q) and flex_serves(q):
        return attend_flex(q, k, v, plan.block_mask(causal, window), bias)
    return _grouped(q, k, v, plan, causal=causal, bias=bias, window=window)


def attend_self(
    rows: Float[Tensor, "vectors three_dim"],
    heads: int,
    rotation: Rotation | None,
    plan: AttentionPlan,
    *,
    bias: Bias | None = None,
    window: int | None = None,
) -> Float[Tensor, "vectors heads head_dim"]:
    """Self-attention of rows that hold queries, keys and values, a third each; the first two are rotated.

    What `rotate_parts` and `attend` give; on a CPU, where sets stand in the groups' order, by one function,
    which overwrites the rows. Only that one serves a plan with bins.

    Raises:
        ValueError: As `attend`.
    """
    dense = bias is None and True not in plan.cuts(window)
    if dense and rows.device.type == "cpu" and plan.order() is None:
        groups = [group.queries for group in plan.groups()]
        return attend_joint(rows, heads, rotation, groups, plan.masks(rows.dtype))
    q, k, v = rotate_parts(rows.unflatten(-1, (3 * heads, -1)), rotation)
    return attend(q, k, v, plan, bias=bias, window=window)


def attention_weights(
    q: Float[Tensor, "q_vectors heads head_dim"],
    k: Float[Tensor, "k_vectors heads head_dim"],
    plan: AttentionPlan,
    *,
    bias: Bias | None = None,
    window: int | None = None,
) -> list[Float[Tensor, "heads queries keys"]]:
    """The weights themselves, ``(heads, queries, keys)`` for each set: to look at, not to train with."""
    scale = q.shape[-1] ** -0.5
    qs, ks = q.split(list(plan.q_lengths)), k.split(list(plan.k_lengths))
    seen = plan._visible(False, window)
    found = []
    for i, (a, b) in enumerate(zip(qs, ks, strict=True)):
        scores = torch.einsum("qhd,khd->hqk", a * scale, b)
        mask = mask_of(group_piece(plan.q_lengths, plan.k_lengths, [i], seen).to(q.device), bias, q.dtype)
        if mask is not None:
            mask = mask[0]
            scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, float("-inf"))
        found.append(scores.softmax(-1))
    return found


# --- the grouped path -----------------------------------------------------------------------------------


def _grouped(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: AttentionPlan,
    *,
    causal: bool,
    bias: Bias | None,
    window: int | None,
) -> Tensor:
    order = plan.order()
    if order is not None:
        q, k, v = q[order[0]], k[order[1]], v[order[1]]
    groups = plan.groups(window)
    if bias is None and window is None:
        # Padding stands at the end of a set, so a causal query never sees it.
        masks = [None] * len(groups) if causal else plan.masks(q.dtype)
    else:
        masks = [mask_of(piece, bias, q.dtype) for piece in plan.pieces(causal, window)]
    queries, keys = [g.queries for g in groups], [g.keys for g in groups]
    outputs = []
    for group, mask, q_rows, k_rows, v_rows in zip(
        groups, masks, to_dense(q, queries), to_dense(k, keys), to_dense(v, keys), strict=True
    ):
        if k_rows.shape[1] == 0:
            outputs.append(torch.zeros_like(q_rows))
            continue
        if group.cut and window is not None:
            outputs.append(band(q_rows[0], k_rows[0], v_rows[0], window, mask)[None])
            continue
        out = F.scaled_dot_product_attention(
            q_rows.transpose(1, 2),
            k_rows.transpose(1, 2),
            v_rows.transpose(1, 2),
            attn_mask=mask,
            is_causal=causal and mask is None,
        )
        outputs.append(out.transpose(1, 2))
    result = to_packed(outputs, queries) if outputs else q
    return result if order is None else result[order[2]]


# --- the flash path -------------------------------------------------------------------------------------


def _flash_serves(q: Tensor) -> bool:
    """What torch's kernel asks for: half precision, heads of a multiple of 8 up to 256, Ampere or newer."""
    return (
        q.is_cuda
        and q.dtype in (torch.bfloat16, torch.float16)
        and q.shape[-1] % 8 == 0
        and q.shape[-1] <= 256
        and torch.cuda.get_device_capability(q.device) >= (8, 0)
    )


def flash(
    q: Float[Tensor, "q_vectors heads head_dim"],
    k: Float[Tensor, "k_vectors heads head_dim"],
    v: Float[Tensor, "k_vectors heads head_dim"],
    offsets: tuple[Tensor, Tensor],
    longest: tuple[int, int],
    *,
    causal: bool = False,
    window: int | None = None,
) -> Float[Tensor, "q_vectors heads head_dim"]:
    """Torch's variable-length flash attention, on CUDA in half precision.

    Never cuDNN's, which torch 2.14 takes on Hopper where it is given no window: that one makes a plan for
    every shape of a batch, on the host, and batches of other lengths are other shapes
    (https://github.com/pytorch/pytorch/pull/191576 has milliseconds). So "no window" is said as one that
    reaches beyond the longest set, which the flash kernels take as none.

    Args:
        q: Packed rows of all sets: queries,
        k: keys,
        v: and values.
        offsets: ``cu_seqlens`` of queries and keys, int32, on the device.
        longest: Vectors of the longest set of queries, and of keys.
        causal: No key after the query.
        window: No key further than this from the query.
    """
    from torch.nn.attention.varlen import varlen_attn

    if 0 in longest:
        return torch.zeros_like(q)
    reach = max(longest) if window is None else window
    # Torch knows the causal order without a window as (-1, 0), and only as that.
    sides = (-1 if window is None else reach, 0) if causal else (reach, reach)
    out = varlen_attn(q, k, v, *offsets, *longest, window_size=sides)
    return out if isinstance(out, Tensor) else out[0]
