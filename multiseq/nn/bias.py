"""Attention bias between the vectors of one set: learned tables, looked up pair by pair.

    bias_ij = by_distance[bucket(position_j - position_i)] + by_code[code_ij]      (a number for each head)

There are two tables; an encoder can have either or both. One is indexed by the relative position in a
sequence, in the buckets of T5 (Raffel et al. 2020, section 2.1, https://arxiv.org/abs/1910.10683). The other
is indexed by codes that an adapter assigns to the pairs of a set, such as the distance between two nodes as
in Graphormer (Ying et al. 2021, https://arxiv.org/abs/2106.05234). As in both papers, all layers share the
tables. Only the code is stored for each pair: each attention path (dense groups, chunks, FlexAttention) looks
up the bias from the row numbers of queries and keys.

In a set without positions all positions are 0. Then a query has the same bias for all its keys, and softmax
cancels it. A pair without a code gets no bias from the code table.

Axes: vectors (rows of the batch), heads, pieces (the queries and keys of a dense call, cut to one size),
queries, keys.
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
"""All distances above this share one bucket for each direction."""

CodedBlock = tuple[int, int, int, int]
"""A rectangle of pairs with codes: first query row, number of queries, first key row, number of keys."""


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a batch. The code of rows (query, key) is ``codes[base[query] + key]``.

    Args:
        codes: ``(pairs,)`` integers; 0 means no code.
        base: ``(vectors,)``, the offset for each query row (see above).
        first, end: ``(vectors,)``; a query row has codes for the key rows from ``first`` to ``end - 1``.
    """

    codes: Tensor
    base: Tensor
    first: Tensor
    end: Tensor


@dataclass(eq=False)
class Bias:
    """The bias of one batch, shared by all layers: the tables, and the positions and codes that index them.

    Args:
        by_distance: ``(heads, 2 * furthest + 1)``, or None. The index is the key's position minus the query's
            position plus ``furthest``; further away, the entry is that of ``furthest``.
        positions: ``(vectors,)``, the position of each row. Required with ``by_distance``.
        by_code: ``(heads, 1 + codes)``, or None. The entry for code 0 is zero.
        codes: The codes of the pairs. Required with ``by_code``.
    """

    by_distance: Tensor | None
    positions: Tensor | None
    by_code: Tensor | None
    codes: Codes | None
    # Results that all layers share: the looked-up bias of each dense group, and FlexAttention's score_mods.
    dense: dict[Any, Tensor] = field(default_factory=dict)
    filled: dict[int, Any] = field(default_factory=dict)

    def between(
        self, q_rows: Int[Tensor, "pieces queries"], k_rows: Int[Tensor, "pieces keys"]
    ) -> Float[Tensor, "pieces heads queries keys"]:
        """The bias for each pair of a query and a key of a piece, given their row numbers in the batch."""
        rows, columns = q_rows[:, :, None], k_rows[:, None]
        total: Tensor | None = None
        if self.by_distance is not None:
            assert self.positions is not None
            apart, furthest = self.positions[columns] - self.positions[rows], self.by_distance.shape[1] // 2
            total = _look_up(self.by_distance, apart.clamp_(-furthest, furthest).add_(furthest))
        if self.by_code is not None:
            assert self.codes is not None
            added = _look_up(self.by_code, _codes_of(self.codes, rows, columns))
            total = added if total is None else total + added
        assert total is not None
        return total


class PairBias(nn.Module):
    """The learned bias tables. They start at zero, so at first there is no bias.

    Args:
        heads: Number of attention heads.
        relative: Whether to learn a table over relative positions.
        num_codes: The number of codes in the table over pair codes; 0 for no such table.
        buckets: The number of rows of the table over relative positions.
        furthest: The distance from which on all positions of a direction share one row.

    Raises:
        ValueError: In ``forward``, the sets have codes above ``num_codes``.
    """

    def __init__(
        self,
        heads: int,
        *,
        relative: bool,
        num_codes: int,
        buckets: int = BUCKETS,
        furthest: int = FURTHEST,
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.relative = nn.Parameter(torch.zeros(buckets, heads)) if relative else None
        self.codes = nn.Parameter(torch.zeros(num_codes, heads)) if num_codes else None
        distances = torch.arange(-furthest, furthest + 1)
        self.register_buffer("buckets", bucket_of(distances, buckets, furthest), persistent=False)
        self.buckets: Tensor

    def forward(self, sets: VectorSets) -> Bias | None:
        """The bias of a batch; None if the batch has no positions or codes for which there is a table."""
        pairs = sets.pairs
        if pairs is not None and pairs.num_codes > self.num_codes:
            raise ValueError(
                f"sets: got pairs with codes up to {pairs.num_codes}, but the encoder has a table for "
                f"{self.num_codes}; build it with pair_codes={pairs.num_codes} (the adapter's `pair_codes`)"
            )
        by_distance, by_code, codes = None, None, None
        if self.relative is not None and sets.positions is not None:
            by_distance = self.relative.t()[:, self.buckets]
        if self.codes is not None and pairs is not None:
            by_code = F.pad(self.codes.t(), (1, 0))
            starts = accumulate(sets.lengths, initial=0)
            blocks = [
                (start + first, size, start + first, size)
                for start, coded in zip(starts, pairs.parts, strict=False)
                for first, size in coded
            ]
            codes = _codes(pairs.codes, blocks, sets.num_vectors)
        if by_distance is None and by_code is None:
            return None
        return Bias(by_distance, sets.positions if by_distance is not None else None, by_code, codes)


def packed_bias(
    bias: Float[Tensor, "pairs heads"], q_lengths: Sequence[int], k_lengths: Sequence[int]
) -> Bias:
    """Make a `Bias` from one row of numbers for each pair, as `attend` takes it. Each pair gets its own code.

    Raises:
        ValueError: The number of rows is not the number of pairs.
    """
    if len(bias) != (pairs := sum(a * b for a, b in zip(q_lengths, k_lengths, strict=True))):
        raise ValueError(f"bias: got {len(bias)} rows, expected {pairs}: queries times keys of every set")
    starts = zip(accumulate(q_lengths, initial=0), accumulate(k_lengths, initial=0), strict=True)
    blocks = [(a, m, b, n) for (a, b), m, n in zip(starts, q_lengths, k_lengths, strict=False)]
    every = torch.arange(1, len(bias) + 1, device=bias.device)
    return Bias(None, None, F.pad(bias.t(), (1, 0)), _codes(every, blocks, sum(q_lengths)))


def bucket_of(
    distance: Int[Tensor, " distances"], buckets: int = BUCKETS, furthest: int = FURTHEST
) -> Int[Tensor, " distances"]:
    """T5's bucket for a relative position (key's minus query's); half the buckets for each direction.

    In each direction, the first half of the buckets hold one distance each. The others grow in equal steps on
    a logarithmic scale.

    >>> bucket_of(torch.tensor([0, -1, -7, -8, -127, -500, 1, 500])).tolist()
    [0, 1, 7, 8, 15, 15, 17, 31]
    """
    half, exact = buckets // 2, buckets // 4
    size = distance.abs()
    steps = (size.clamp(min=1) / exact).log() / math.log(furthest / exact) * (half - exact)
    far = (exact + steps.long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance > 0)


def _codes(codes: Tensor, blocks: Sequence[CodedBlock], num_rows: int) -> Codes:
    """Index the concatenated codes of the rectangles by row numbers."""
    # The lengths are on the host. So build the index there, and copy it to the device in one piece.
    index = torch.zeros(3, num_rows, dtype=torch.long)
    numbers = torch.tensor([b for b in blocks if b[1] * b[3]], dtype=torch.long).view(-1, 4)
    q_start, q_size, k_start, k_size = numbers.t()
    rectangle = torch.arange(len(numbers)).repeat_interleave(q_size)  # the rectangle that each row belongs to
    inner = order_of(q_size.tolist())
    before = (q_size * k_size).cumsum(0) - q_size * k_size
    base = before[rectangle] + inner * k_size[rectangle] - k_start[rectangle]
    index[:, q_start[rectangle] + inner] = torch.stack(
        [base, k_start[rectangle], (k_start + k_size)[rectangle]]
    )
    return Codes(codes, *to_device(index, codes.device))


def _codes_of(codes: Codes, rows: Tensor, columns: Tensor) -> Tensor:
    inside = (columns >= codes.first[rows]) & (columns < codes.end[rows])
    if not len(codes.codes):
        return inside.long()
    index = (codes.base[rows] + columns).masked_fill_(~inside, 0)
    return codes.codes[index].long().masked_fill_(~inside, 0)


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """From ``(heads, rows)`` and ``(pieces, queries, keys)`` to ``(pieces, heads, queries, keys)``."""
    return table.index_select(1, index.flatten()).view(len(table), *index.shape).transpose(0, 1)
