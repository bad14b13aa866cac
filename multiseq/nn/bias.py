"""Attention bias between the vectors of one set: learned tables, looked up pair by pair.

    bias_ij = by_distance[bucket(position_j - position_i)] + by_code[code_ij]      (a number for each head)

Two tables, either or both: relative positions of a sequence, in the buckets of T5 (Raffel et al. 2020,
section 2.1, https://arxiv.org/abs/1910.10683), and codes that an adapter gave the pairs of a set, such as the
distance of two nodes as in Graphormer (Ying et al. 2021, https://arxiv.org/abs/2106.05234). As in both, one
table serves all layers. Nothing is kept for each pair but its code: what attends (dense groups, a window's
band, FlexAttention) looks up what it needs from the row numbers of queries and keys.

Sets without positions have position 0 throughout, so each of their queries sees one bias for all keys, which
softmax takes out; pairs without a code have none at all.

Axes: vectors (rows of the batch), heads, pieces (of queries and keys), queries, keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.vectors import VectorSets, order_of, to_device

__all__ = ["Bias", "PairBias", "bucket_of", "packed_bias"]

BUCKETS = 32
FURTHEST = 128
"""Positions further apart than this share a bucket for each direction."""

Block = tuple[int, int, int, int]
"""A coded rectangle: its first query row, number of queries, first key row, number of keys."""


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a batch, found from row numbers: that of (query, key) is ``codes[base[query] + key]``.

    Args:
        codes: ``(pairs,)`` integers; 0 stands for none.
        base, first, end: ``(vectors,)`` of every query: see above, and the keys for which it has codes.
    """

    codes: Tensor
    base: Tensor
    first: Tensor
    end: Tensor


@dataclass(eq=False)
class Bias:
    """The bias of one batch, shared by all layers: tables, and what finds the row of a pair in them.

    Args:
        by_distance: ``(heads, 2 * FURTHEST + 1)``, by key's minus query's position plus FURTHEST, or None.
        positions: ``(vectors,)``, with it.
        by_code: ``(heads, 1 + codes)``, zero for code 0, or None.
        codes: With it.
    """

    by_distance: Tensor | None
    positions: Tensor | None
    by_code: Tensor | None
    codes: Codes | None
    # What was looked up for the dense groups of a plan, and what FlexAttention takes: shared by all layers.
    dense: dict[Any, Tensor] = field(default_factory=dict)
    filled: dict[int, Any] = field(default_factory=dict)

    def between(
        self, q_rows: Int[Tensor, "pieces queries"], k_rows: Int[Tensor, "pieces keys"]
    ) -> Float[Tensor, "pieces heads queries keys"]:
        """The bias of every query of a piece to every key of it, by their row numbers in the batch."""
        rows, columns = q_rows[:, :, None], k_rows[:, None]
        total: Tensor | None = None
        if self.by_distance is not None:
            assert self.positions is not None
            apart = self.positions[columns] - self.positions[rows]
            total = _look_up(self.by_distance, apart.clamp_(-FURTHEST, FURTHEST).add_(FURTHEST))
        if self.by_code is not None:
            assert self.codes is not None
            own = _look_up(self.by_code, _codes_of(self.codes, rows, columns))
            total = own if total is None else total + own
        assert total is not None
        return total


class PairBias(nn.Module):
    """The learned tables. Both begin at zero: no bias.

    Args:
        heads: Attention heads.
        relative: Whether there is a table over relative positions.
        num_codes: Rows of the table over codes of pairs; 0: there is none.

    Raises:
        ValueError: Sets with codes that the table has no rows for.
    """

    def __init__(self, heads: int, *, relative: bool, num_codes: int) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.relative = nn.Parameter(torch.zeros(BUCKETS, heads)) if relative else None
        self.codes = nn.Parameter(torch.zeros(num_codes, heads)) if num_codes else None
        buckets = bucket_of(torch.arange(-FURTHEST, FURTHEST + 1))
        self.register_buffer("buckets", buckets, persistent=False)
        self.buckets: Tensor

    def forward(self, sets: VectorSets) -> Bias | None:
        """The bias of a batch, None where it has neither positions nor codes that need one."""
        pairs = sets.pairs
        if pairs is not None and pairs.num_codes > self.num_codes:
            raise ValueError(
                f"sets: got pairs with codes up to {pairs.num_codes}, and the encoder has a table for "
                f"{self.num_codes}; build it with pair_codes={pairs.num_codes} (an adapter's `pair_codes`)"
            )
        by_distance, by_code, codes = None, None, None
        if self.relative is not None and sets.positions is not None:
            by_distance = self.relative.t()[:, self.buckets]
        if self.codes is not None and pairs is not None:
            by_code = F.pad(self.codes.t(), (1, 0))
            starts = accumulate(sets.lengths, initial=0)
            blocks = [
                (start + first, size, start + first, size)
                for start, parts in zip(starts, pairs.parts, strict=False)
                for first, size in parts
            ]
            codes = _codes(pairs.codes, blocks, sets.num_vectors)
        if by_distance is None and by_code is None:
            return None
        return Bias(by_distance, sets.positions if by_distance is not None else None, by_code, codes)


def packed_bias(
    bias: Float[Tensor, "pairs heads"], q_lengths: Sequence[int], k_lengths: Sequence[int]
) -> Bias:
    """A bias given for each pair, ``(queries x keys)`` of set after set: a table with a row for each.

    Raises:
        ValueError: Another number of rows.
    """
    if len(bias) != (pairs := sum(a * b for a, b in zip(q_lengths, k_lengths, strict=True))):
        raise ValueError(f"bias: got {len(bias)} rows, expected {pairs}: queries times keys of every set")
    starts = zip(accumulate(q_lengths, initial=0), accumulate(k_lengths, initial=0), strict=True)
    blocks = [(a, m, b, n) for (a, b), m, n in zip(starts, q_lengths, k_lengths, strict=False)]
    every = torch.arange(1, len(bias) + 1, device=bias.device)
    return Bias(None, None, F.pad(bias.t(), (1, 0)), _codes(every, blocks, sum(q_lengths)))


def bucket_of(distance: Int[Tensor, " distances"]) -> Int[Tensor, " distances"]:
    """The bucket of a key's position minus the query's: T5's, half of them for each direction.

    Of a direction's, the first half has one distance each, the others grow in equal steps of the logarithm.

    >>> bucket_of(torch.tensor([0, -1, -7, -8, -127, -500, 1, 500])).tolist()
    [0, 1, 7, 8, 15, 15, 17, 31]
    """
    half, exact = BUCKETS // 2, BUCKETS // 4
    size = distance.abs()
    steps = (size.clamp(min=1) / exact).log() / math.log(FURTHEST / exact) * (half - exact)
    far = (exact + steps.long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance > 0)


def _codes(codes: Tensor, blocks: Sequence[Block], num_rows: int) -> Codes:
    """How the codes of the rectangles, one after another, are found from row numbers."""
    # Built on the host, for the lengths are there, and sent in one piece.
    found = torch.zeros(3, num_rows, dtype=torch.long)
    numbers = torch.tensor([b for b in blocks if b[1] * b[3]], dtype=torch.long).view(-1, 4)
    q_start, q_size, k_start, k_size = numbers.t()
    own = torch.arange(len(numbers)).repeat_interleave(q_size)  # the block of each coded row
    inner = order_of(q_size.tolist())
    before = (q_size * k_size).cumsum(0) - q_size * k_size
    base = before[own] + inner * k_size[own] - k_start[own]
    found[:, q_start[own] + inner] = torch.stack([base, k_start[own], (k_start + k_size)[own]])
    return Codes(codes, *to_device(found, codes.device))


def _codes_of(codes: Codes, rows: Tensor, columns: Tensor) -> Tensor:
    inside = (columns >= codes.first[rows]) & (columns < codes.end[rows])
    if not len(codes.codes):
        return inside.long()
    index = (codes.base[rows] + columns).masked_fill_(~inside, 0)
    return codes.codes[index].long().masked_fill_(~inside, 0)


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """From ``(heads, rows)`` and ``(pieces, queries, keys)`` to ``(pieces, heads, queries, keys)``."""
    return table.index_select(1, index.flatten()).view(len(table), *index.shape).transpose(0, 1)
