"""Masks and biases for dense attention, and sliding-window attention for long sequences.

All masks follow from the row numbers of queries and keys in the batch: a query sees the keys from row
``first`` to row ``last``. The limits come from its set, from the causal order and from the window.

With a window, long sequences are not attended to as a whole. Their vectors, one sequence after another, are
cut into pieces of queries. Each piece sees its own keys and those that the window reaches on either side, as
in Longformer (Beltagy et al. 2020, section 3.1, https://arxiv.org/abs/2004.05150). A window is the same
distance on both sides, or it follows the chunks of a stream (`Chunks`).

Axes: vectors (rows of the batch), pieces (the queries and keys of one dense call are cut into pieces of equal
size), queries, keys, heads, head_dim.
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

__all__ = [
    "Chunks",
    "Piece",
    "Visible",
    "Window",
    "band",
    "band_piece",
    "group_piece",
    "hides",
    "is_long",
    "mask_of",
    "visible",
]

QUERIES = 128
"""Queries in a piece, unless the window is wider. Smaller pieces read more keys for each query, because each
piece adds the window on both sides; larger pieces mask more of their products."""


@dataclass(frozen=True)
class Chunks:
    """The window of a stream: a sequence arrives in chunks, and nothing waits for the next chunk.

    Args:
        size: Vectors in a chunk. A query sees all keys of its chunk, and none after it.
        before: How many keys before its chunk a query sees.
    """

    size: int
    before: int


Window = int | Chunks
"""The farthest key that a query sees on either side; or the chunks of a stream."""


@dataclass(frozen=True, eq=False)
class Visible:
    """First and last key row that each query row sees, ``(vectors,)``; it sees none if last < first."""

    first: Tensor
    last: Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """The row numbers of queries and keys for one dense call, and its mask.

    Args:
        q_rows: ``(pieces, queries)`` row numbers in the batch. Padding repeats the last row of a piece.
        k_rows: ``(pieces, keys)`` row numbers in the batch. Padding is -1.
        seen: ``(pieces, 1, queries, keys)``: True where the query sees the key. None if every query sees
            every key.
    """

    q_rows: Tensor
    k_rows: Tensor
    seen: Tensor | None

    def to(self, device: torch.device) -> Piece:
        """A copy on another device."""
        seen = None if self.seen is None else to_device(self.seen, device)
        return Piece(to_device(self.q_rows, device), to_device(self.k_rows, device), seen)


def visible(
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    *,
    causal: bool = False,
    window: Window | None = None,
    sequences: Sequence[bool] | None = None,
) -> Visible:
    """The range of keys that each query sees, computed on the host.

    Args:
        q_lengths: Number of queries in each set.
        k_lengths: Number of keys in each set.
        causal: A query sees no later key.
        window: In sets that are sequences, a query sees only the keys in its window.
        sequences: For each set, whether it is a sequence. Default: all are.
    """
    counts, ends = torch.tensor(q_lengths, dtype=torch.long), list(accumulate(k_lengths, initial=0))
    first = torch.tensor(ends[:-1], dtype=torch.long).repeat_interleave(counts)
    last = torch.tensor(ends[1:], dtype=torch.long).repeat_interleave(counts) - 1
    numbers = torch.arange(len(first))
    if window is not None:
        cut = torch.tensor(sequences or [True] * len(q_lengths), dtype=torch.bool).repeat_interleave(counts)
        if isinstance(window, Chunks):
            begin = numbers - (numbers - first) % window.size  # of the query's chunk
            low, high = begin - window.before, begin + window.size - 1
        else:
            low, high = numbers - window, numbers + window
        first = torch.where(cut, torch.maximum(first, low), first)
        last = torch.where(cut, torch.minimum(last, high), last)
    return Visible(first, torch.minimum(last, numbers) if causal else last)


def group_piece(
    q_lengths: Sequence[int], k_lengths: Sequence[int], sets: Sequence[int], seen: Visible
) -> Piece:
    """Sets of similar length for one dense call; each set is one piece."""
    q_rows, _ = _padded_numbers(q_lengths, sets)
    k_rows, real = _padded_numbers(k_lengths, sets)
    return _piece(q_rows, torch.where(real, k_rows, -1), seen)


def band_piece(lengths: Sequence[int], sets: Sequence[int], window: Window, seen: Visible) -> Piece:
    """Long sequences for one dense call; each piece has some queries, and the keys around them."""
    numbers, size, (left, right) = rows_of(lengths, sets), _queries(window), _reach(window)
    pieces = -(-len(numbers) // size)
    queries = torch.arange(pieces * size).clamp_(max=len(numbers) - 1).view(pieces, size)
    keys = torch.arange(pieces)[:, None] * size + torch.arange(-left, size + right)
    real = (keys >= 0) & (keys < len(numbers))
    return _piece(numbers[queries], torch.where(real, numbers[keys.clamp(0, len(numbers) - 1)], -1), seen)


def is_long(length: int, window: Window | None) -> bool:
    """Whether pieces make a sequence cheaper: it is longer than the keys that one piece sees."""
    return window is not None and length > _queries(window) + sum(_reach(window))


def hides(window: Window, length: int) -> bool:
    """Whether a window hides any key in a sequence of this length."""
    return length > (window.size if isinstance(window, Chunks) else window + 1)


def band(
    q: Float[Tensor, "rows heads head_dim"],
    k: Float[Tensor, "rows heads head_dim"],
    v: Float[Tensor, "rows heads head_dim"],
    window: Window,
    mask: Tensor | None,
) -> Float[Tensor, "rows heads head_dim"]:
    """Attention of each piece of queries to the keys of the piece and those that the window reaches."""
    num, size, (left, right) = len(q), _queries(window), _reach(window)
    more = -num % size
    queries = F.pad(q, (0, 0, 0, 0, 0, more)).unflatten(0, (-1, size)).transpose(1, 2)
    keys, values = (
        # (pieces, heads, left + size + right, head_dim): overlapping views, which copy no row twice.
        F.pad(x, (0, 0, 0, 0, left, right + more)).unfold(0, left + size + right, size).transpose(2, 3)
        for x in (k, v)
    )
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return out.transpose(1, 2).flatten(0, 1)[:num]


def mask_of(piece: Piece, bias: Bias | None, dtype: torch.dtype) -> Tensor | None:
    """``attn_mask`` for ``scaled_dot_product_attention``: boolean without a bias, additive with one."""
    if bias is None:
        return piece.seen
    if piece not in bias.dense:
        added = bias.between(piece.q_rows, piece.k_rows)
        bias.dense[piece] = added if piece.seen is None else added.masked_fill(~piece.seen, float("-inf"))
    return bias.dense[piece].to(dtype)


def _reach(window: Window) -> tuple[int, int]:
    """How far a query may see to the left and to the right, wherever in its chunk it is."""
    if isinstance(window, Chunks):
        return window.before + window.size - 1, window.size - 1
    return window, window


def _queries(window: Window) -> int:
    return max(QUERIES, _reach(window)[0])


def _padded_numbers(lengths: Sequence[int], sets: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Row numbers of the sets, ``(sets, longest)``, padded with each set's last row; and which are real."""
    starts = list(accumulate(lengths, initial=0))
    first = torch.tensor([starts[i] for i in sets])[:, None]
    counts = torch.tensor([lengths[i] for i in sets])[:, None]
    inner = torch.arange(max(lengths[i] for i in sets))[None]
    return first + torch.minimum(inner, counts - 1), inner < counts


def _piece(q_rows: Tensor, k_rows: Tensor, visible: Visible) -> Piece:
    first, last = visible.first[q_rows][:, :, None], visible.last[q_rows][:, :, None]
    seen = (k_rows[:, None] >= first) & (k_rows[:, None] <= last)
    return Piece(q_rows, k_rows, None if bool(seen.all()) else seen[:, None])
