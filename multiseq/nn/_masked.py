"""What a query of dense attention sees of its set, and with which bias: masks, and the band of a window.

Everything is found from the row numbers of queries and keys in the batch: a query sees the keys from
``first`` to ``last``, whatever cuts them there (its set, a causal order, a window).

A window costs what it shows: long sequences are not attended to whole. Their rows, one sequence after
another, are cut into chunks of queries, and each chunk meets its own keys and a window's length on either
side, as in Longformer (Beltagy et al. 2020, section 3.1, https://arxiv.org/abs/2004.05150).

Axes: vectors (rows of the batch), pieces (of queries and keys), queries, keys, heads, head_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.nn.bias import Bias
from multiseq.vectors import rows_of, to_device

__all__ = ["Piece", "Visible", "band", "band_piece", "group_piece", "is_long", "mask_of", "visible"]

CHUNK = 128
"""Queries of a chunk, unless the window is wider: fewer meet too many keys, more see too few of them."""


@dataclass(frozen=True, eq=False)
class Visible:
    """The first and the last key row that every query row sees, ``(vectors,)``; none where last < first."""

    first: Tensor
    last: Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """Queries and keys that meet in one dense call.

    Args:
        q_rows: ``(pieces, queries)`` row numbers in the batch; padding repeats a piece's last row.
        k_rows: ``(pieces, keys)``; padding is -1.
        seen: ``(pieces, 1, queries, keys)``: True where the query sees the key; None where all do.
    """

    q_rows: Tensor
    k_rows: Tensor
    seen: Tensor | None

    def to(self, device: torch.device) -> Piece:
        """On another device."""
        seen = None if self.seen is None else to_device(self.seen, device)
        return Piece(to_device(self.q_rows, device), to_device(self.k_rows, device), seen)


def visible(
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    *,
    causal: bool = False,
    window: int | None = None,
    sequences: Sequence[bool] | None = None,
) -> Visible:
    """What every query sees, on the host.

    Args:
        q_lengths: Vectors of each set of queries.
        k_lengths: Vectors of each set of keys.
        causal: No key after the query.
        window: No key further than this from the query, in the sets that are sequences.
        sequences: Which sets are; all where not given.
    """
    counts, ends = torch.tensor(q_lengths, dtype=torch.long), list(accumulate(k_lengths, initial=0))
    first = torch.tensor(ends[:-1], dtype=torch.long).repeat_interleave(counts)
    last = torch.tensor(ends[1:], dtype=torch.long).repeat_interleave(counts) - 1
    rows = torch.arange(len(first))
    if window is not None:
        cut = sequences or [True] * len(q_lengths)
        reach = torch.tensor([window if c else len(rows) for c in cut], dtype=torch.long)
        reach = reach.repeat_interleave(counts)
        first, last = torch.maximum(first, rows - reach), torch.minimum(last, rows + reach)
    return Visible(first, torch.minimum(last, rows) if causal else last)


def group_piece(
    q_lengths: Sequence[int], k_lengths: Sequence[int], sets: Sequence[int], seen: Visible
) -> Piece:
    """Whole sets of similar length, each a piece."""
    q_rows, _ = _rows(q_lengths, sets)
    k_rows, real = _rows(k_lengths, sets)
    return _piece(q_rows, torch.where(real, k_rows, -1), seen)


def band_piece(lengths: Sequence[int], sets: Sequence[int], window: int, seen: Visible) -> Piece:
    """Sequences cut into chunks, each a piece with the keys around it."""
    rows, chunk = rows_of(lengths, sets), _chunk(window)
    chunks = -(-len(rows) // chunk)
    queries = torch.arange(chunks * chunk).clamp_(max=len(rows) - 1).view(chunks, chunk)
    keys = torch.arange(chunks)[:, None] * chunk + torch.arange(-window, chunk + window)
    real = (keys >= 0) & (keys < len(rows))
    return _piece(rows[queries], torch.where(real, rows[keys.clamp(0, len(rows) - 1)], -1), seen)


def is_long(length: int, window: int | None) -> bool:
    """Whether a sequence is worth cutting: its queries see less than the chunks would show them."""
    return window is not None and length > _chunk(window) + 2 * window


def band(
    q: Float[Tensor, "rows heads head_dim"],
    k: Float[Tensor, "rows heads head_dim"],
    v: Float[Tensor, "rows heads head_dim"],
    window: int,
    mask: Tensor | None,
) -> Float[Tensor, "rows heads head_dim"]:
    """Attention of every chunk to its own rows and a window's length on either side."""
    rows, chunk = len(q), _chunk(window)
    more = -rows % chunk
    queries = F.pad(q, (0, 0, 0, 0, 0, more)).unflatten(0, (-1, chunk)).transpose(1, 2)
    keys, values = (
        # (chunks, heads, chunk + 2 * window, head_dim): overlapping views, no row is copied twice.
        F.pad(x, (0, 0, 0, 0, window, window + more)).unfold(0, chunk + 2 * window, chunk).transpose(2, 3)
        for x in (k, v)
    )
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return out.transpose(1, 2).flatten(0, 1)[:rows]


def mask_of(piece: Piece, bias: Bias | None, dtype: torch.dtype) -> Tensor | None:
    """What ``scaled_dot_product_attention`` takes as its mask."""
    if bias is None:
        return piece.seen
    if piece not in bias.dense:
        added = bias.between(piece.q_rows, piece.k_rows)
        bias.dense[piece] = added if piece.seen is None else added.masked_fill(~piece.seen, float("-inf"))
    return bias.dense[piece].to(dtype)


def _chunk(window: int) -> int:
    return max(CHUNK, window)


def _rows(lengths: Sequence[int], sets: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Row numbers of the sets as ``(sets, longest)``, the last row repeated, and which are real."""
    starts = list(accumulate(lengths, initial=0))
    first = torch.tensor([starts[i] for i in sets])[:, None]
    counts = torch.tensor([lengths[i] for i in sets])[:, None]
    inner = torch.arange(max(lengths[i] for i in sets))[None]
    return first + torch.minimum(inner, counts - 1), inner < counts


def _piece(q_rows: Tensor, k_rows: Tensor, visible: Visible) -> Piece:
    first, last = visible.first[q_rows][:, :, None], visible.last[q_rows][:, :, None]
    seen = (k_rows[:, None] >= first) & (k_rows[:, None] <= last)
    return Piece(q_rows, k_rows, None if bool(seen.all()) else seen[:, None])
