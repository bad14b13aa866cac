"""Attention over packed sets (variable-length attention): a vector attends to vectors of its own set only.

    attend(q, k, v)_i = softmax(q_i k_j^T / sqrt(head_dim) + bias_ij) v_j,   j in the set of i

`attend` computes self-attention, causal self-attention, and cross-attention between two packed batches. It
chooses an implementation by device and dtype:

- CUDA in bf16 or fp16: torch's variable-length flash attention (https://arxiv.org/abs/2307.08691);
- CUDA with a bias, with chunks, or with a window that limits only some of the sets: FlexAttention
  (`multiseq.nn._flex`);
- elsewhere: ``scaled_dot_product_attention`` over groups of sets of similar length. Only this step pads, and
  it pads few rows; all other operations of the encoder see packed vectors. Long sequences with a window are
  cut into pieces, so that their cost grows linearly with their length (`multiseq.nn._masked`).

`attend_self` computes self-attention. On a CPU it can process several short sets as one bin.

Axes: q_vectors and k_vectors (rows of the two batches), heads, head_dim, pairs (a query and a key of the
same set).
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
from multiseq.nn._groups import Group, fill_group, groups_of, longest_first, to_dense, to_packed
from multiseq.nn._joint import attend_joint
from multiseq.nn._masked import (
    Chunks,
    Piece,
    Visible,
    Window,
    band,
    band_piece,
    group_piece,
    hides,
    is_long,
    mask_of,
    visible,
)
from multiseq.nn.bias import Bias, packed_bias
from multiseq.nn.rotation import Rotation, rotate_parts
from multiseq.vectors import rows_of, to_device

__all__ = ["AttentionPlan", "Chunks", "Window", "attend", "attend_self", "attention_weights", "flash"]


class AttentionPlan:
    """Offsets, groups and masks for one batch, computed once on the host and shared by all layers.

    Args:
        q_lengths: Number of queries in each set.
        k_lengths: Number of keys in each set. Default: ``q_lengths`` (self-attention).
        device: Device of the index tensors.
        sequences: For each set, whether a window applies to it. Default: to all sets.
        bins: For `attend_self` on a CPU without bias and window. Entry *i* lists the lengths of the short
            sets that are packed into bin *i*; ``q_lengths[i]`` is their sum. A vector still attends to its
            own set only.

    Raises:
        ValueError: The numbers of sets differ, or the bins do not add up to the lengths.
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
                "expected equal numbers; set i of the queries attends to set i of the keys"
            )
        if bins is not None and self.q_lengths != tuple(map(sum, bins)):
            raise ValueError(
                f"bins: got lengths that add up to {list(map(sum, bins))}, expected {list(self.q_lengths)}"
            )
        if bins is not None and not self.is_self:
            raise ValueError("bins: got queries and keys of different lengths, expected equal lengths")
        self.bins = bins if bins is not None and any(len(members) > 1 for members in bins) else None
        self.device = torch.device(device)
        self.sequences = (True,) * len(self.q_lengths) if sequences is None else tuple(sequences)
        # Results computed on demand; the keys are the settings (causal, window, dtype) that matter for each.
        self._groups: dict[Window | None, list[Group]] = {}
        self._masks: dict[torch.dtype, list[Tensor | None]] = {}
        self._pieces: dict[tuple[bool, Window | None], list[Piece]] = {}
        self._block_masks: dict[tuple[bool, Window | None], Any] = {}
        self._offsets: tuple[Tensor, Tensor] | None = None
        self._order: tuple[Tensor, Tensor, Tensor] | None = None
        self._in_order: bool | None = None

    @property
    def is_self(self) -> bool:
        """Whether queries and keys have the same lengths."""
        return self.q_lengths == self.k_lengths

    @property
    def longest(self) -> tuple[int, int]:
        """``(max_seqlen_q, max_seqlen_k)``: lengths of the longest set of queries and of keys."""
        return max(self.q_lengths, default=0), max(self.k_lengths, default=0)

    def offsets(self) -> tuple[Tensor, Tensor]:
        """``(cu_seqlens_q, cu_seqlens_k)`` for flash attention: int32, on the device."""
        if self._offsets is None:
            q, k = (
                torch.tensor([0, *accumulate(n)], dtype=torch.int32) for n in (self.q_lengths, self.k_lengths)
            )
            self._offsets = (to_device(q, self.device), to_device(k, self.device))
        return self._offsets

    def groups(self, window: Window | None = None) -> list[Group]:
        """Groups of sets of similar length, the longest first, for dense attention."""
        if window not in self._groups:
            cut = [s and is_long(n, window) for s, n in zip(self.sequences, self.q_lengths, strict=True)]
            self._groups[window] = groups_of(self.q_lengths, self.k_lengths, cut, self.device)
        return self._groups[window]

    def masks(self, dtype: torch.dtype) -> list[Tensor | None]:
        """The additive mask of each group, ``(sets, 1, 1 or longest, longest)``; None if nothing is hidden.

        It hides padded keys (key padding mask) and, in a bin, the keys of other sets.
        """
        if dtype not in self._masks:
            masks = [self._mask(group) for group in self.groups()]
            self._masks[dtype] = [m if m is None else torch.where(m, 0.0, -math.inf).to(dtype) for m in masks]
        return self._masks[dtype]

    def _mask(self, group: Group) -> Tensor | None:
        keys = group.keys
        bins = [] if self.bins is None else [self.bins[i] for i in group.sets]
        if all(len(members) < 2 for members in bins):
            return keys.mask
        sizes = torch.tensor([size for members in bins for size in members])
        sets = fill_group(torch.arange(len(sizes)).repeat_interleave(sizes), keys)
        same = (sets[:, :, None] == sets[:, None])[:, None]
        return same if keys.mask is None else same & keys.mask

    def pieces(self, causal: bool, window: Window | None) -> list[Piece]:
        """For each group, its queries, its keys, and which query sees which key."""
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

    def block_mask(self, causal: bool, window: Window | None) -> Any:
        """The ``BlockMask`` for FlexAttention."""
        if (causal, window) not in self._block_masks:
            self._block_masks[causal, window] = block_mask(self._visible(causal, window), self.device)
        return self._block_masks[causal, window]

    def cuts(self, window: Window | None) -> set[bool]:
        """Whether the window applies to the sets that are longer than it: ``{True}``, ``{False}`` or both.

        Empty if there is no window, or if it hides nothing in sets of these lengths.
        """
        if window is None:
            return set()
        return {s for s, n in zip(self.sequences, self.q_lengths, strict=True) if hides(window, n)}

    def _visible(self, causal: bool, window: Window | None) -> Visible:
        self.refuse_bins()
        return visible(self.q_lengths, self.k_lengths, causal=causal, window=window, sequences=self.sequences)

    def refuse_bins(self) -> None:
        """Raise ValueError if the plan has bins; for kernels that cannot separate the sets of a bin."""
        if self.bins is not None:
            raise ValueError(
                "plan: got a plan with bins, expected one without; bins work only in attend_self on a CPU, "
                "with the longest bins first, and without bias and window"
            )

    def order(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Row indices that sort the sets by length, for queries and for keys, and the inverse for queries.

        None if the sets are already sorted. The encoder sorts them, so this is the usual case.
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
    window: Window | None = None,
) -> Float[Tensor, "q_vectors heads head_dim"]:
    """Scaled dot-product attention within each set. A query whose set has no keys gets zeros.

    Args:
        q: Queries, the packed vectors of all sets.
        k: Keys, the packed vectors of all sets.
        v: Values, one for each key.
        plan: The lengths of the sets. All layers can share one plan.
        causal: Query *i* sees keys 0 … i of its set.
        bias: Added to the scaled products. Either learned tables (`multiseq.nn.bias`, for self-attention
            only), or one number for each pair and head: the (queries x keys) matrices of all sets, each
            flattened row by row, one after another. It may require a gradient.
        window: Query *i* sees only keys i - window … i + window of its set, in sets that are sequences; or
            those that `Chunks` let it see.

    Raises:
        ValueError: The vectors do not fit the plan, the plan has bins, or queries and keys differ in length
            while ``causal``, ``window`` or bias tables are given.

    Example:
        >>> plan = AttentionPlan([2, 3])  # two sets, of 2 and of 3 vectors
        >>> q, k, v = torch.randn(3, 5, 4, 8)  # 5 vectors, 4 heads of 8 numbers
        >>> attend(q, k, v, plan).shape
        torch.Size([5, 4, 8])
    """
    for name, packed, lengths in (
        ("q", q, plan.q_lengths),
        ("k", k, plan.k_lengths),
        ("v", v, plan.k_lengths),
    ):
        if packed.shape[0] != sum(lengths):
            raise ValueError(
                f"{name}: got {packed.shape[0]} rows, expected {sum(lengths)}, the sum of the plan's lengths"
            )
    plan.refuse_bins()
    if isinstance(window, int) and window < 0:
        raise ValueError(f"window: got {window}, expected 0 or more")
    if (causal or window is not None or isinstance(bias, Bias)) and not plan.is_self:
        raise ValueError(
            "causal, window, bias tables: got queries and keys of different lengths, expected equal lengths"
        )
    cuts = plan.cuts(window)
    if True not in cuts:
        window = None  # it hides nothing: each set fits into the window or is not a sequence
    if isinstance(bias, Tensor):
        # The bias holds a number for each pair, so dense attention needs no more memory than the bias.
        tables = packed_bias(bias, plan.q_lengths, plan.k_lengths)
        return _grouped(q, k, v, plan, causal=causal, bias=tables, window=window)
    if bias is None and len(cuts) < 2 and not isinstance(window, Chunks) and _flash_serves(q):
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
    window: Window | None = None,
) -> Float[Tensor, "vectors heads head_dim"]:
    """Self-attention on the output of a QKV projection; queries and keys get rotary positions.

    The result equals `rotate_parts` followed by `attend`. On a CPU, without bias and effective window, and
    with sets sorted by length, one fused function does both and overwrites ``rows``. Only that function
    supports a plan with bins.

    Args:
        rows: Queries, keys and values side by side, ``(vectors, 3 * dim)``.
        heads: Number of attention heads.
        rotation: Rotation for the positions of the vectors, or None for sets without order.
        plan: The lengths of the sets.
        bias: As in `attend`, tables only.
        window: As in `attend`.

    Raises:
        ValueError: As in `attend`.
    """
    dense = bias is None and True not in plan.cuts(window)
    if dense and rows.device.type == "cpu" and plan.order() is None:
        groups = [group.queries for group in plan.groups()]
        return attend_joint(rows, heads, rotation, groups, plan.masks(rows.dtype))
    # On a CPU torch's kernels are faster in fp32 than in bf16, many times so in the backward pass.
    exact = rows.float() if rows.device.type == "cpu" and rows.dtype == torch.bfloat16 else rows
    q, k, v = rotate_parts(exact.unflatten(-1, (3 * heads, -1)), rotation)
    return attend(q, k, v, plan, bias=bias, window=window).to(rows.dtype)


def attention_weights(
    q: Float[Tensor, "q_vectors heads head_dim"],
    k: Float[Tensor, "k_vectors heads head_dim"],
    plan: AttentionPlan,
    *,
    bias: Bias | None = None,
    window: Window | None = None,
) -> list[Float[Tensor, "heads queries keys"]]:
    """The attention weights, ``(heads, queries, keys)`` for each set. For inspection, not for training."""
    scale = q.shape[-1] ** -0.5
    qs, ks = q.split(list(plan.q_lengths)), k.split(list(plan.k_lengths))
    seen = plan._visible(False, window)
    weights = []
    for i, (a, b) in enumerate(zip(qs, ks, strict=True)):
        scores = torch.einsum("qhd,khd->hqk", a * scale, b)
        mask = mask_of(group_piece(plan.q_lengths, plan.k_lengths, [i], seen).to(q.device), bias, q.dtype)
        if mask is not None:
            mask = mask[0]
            scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, float("-inf"))
        weights.append(scores.softmax(-1))
    return weights


# --- the grouped path -----------------------------------------------------------------------------------


def _grouped(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: AttentionPlan,
    *,
    causal: bool,
    bias: Bias | None,
    window: Window | None,
) -> Tensor:
    order = plan.order()
    if order is not None:
        q, k, v = q[order[0]], k[order[1]], v[order[1]]
    groups = plan.groups(window)
    if bias is None and window is None:
        # Padding comes after the real keys of a set, so a causal query never sees it.
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
    """Torch's flash kernel needs half precision, a head_dim divisible by 8 up to 256, and Ampere or newer."""
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

    This function avoids cuDNN attention. Without a window, torch 2.14 on Hopper chooses cuDNN, which builds
    a plan on the host for each new combination of lengths; that takes milliseconds
    (https://github.com/pytorch/pytorch/pull/191576). So where no window is wanted, we pass one as long as
    the longest set. It hides nothing, and torch takes the flash kernels.

    Args:
        q: Queries, the packed vectors of all sets.
        k: Keys, likewise.
        v: Values, likewise.
        offsets: ``(cu_seqlens_q, cu_seqlens_k)``, int32, on the device.
        longest: ``(max_seqlen_q, max_seqlen_k)``.
        causal: A query sees no later key.
        window: A query sees no key at a greater distance than this.
    """
    from torch.nn.attention.varlen import varlen_attn

    if 0 in longest:
        return torch.zeros_like(q)
    reach = max(longest) if window is None else window
    # Torch recognises causal attention without a window only if it is given as (-1, 0).
    sides = (-1 if window is None else reach, 0) if causal else (reach, reach)
    out = varlen_attn(q, k, v, *offsets, *longest, window_size=sides)
    return out if isinstance(out, Tensor) else out[0]
