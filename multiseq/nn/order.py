"""The order in which the encoder processes the sets of a batch on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from multiseq.nn.linear import padded_rows
from multiseq.pairs import Pairs
from multiseq.vectors import VectorSets, rows_of

__all__ = ["LONGEST_IN_BIN", "Order"]

# On a CPU a batch passes through the blocks in chunks of about this many rows. Larger tensors fit into no
# cache, and their memory is requested from the system anew in every operation.
_MOST_ROWS = 4096
# Bins are filled to a multiple of this length. Torch's attention kernel is fastest with multiples of 16 and
# with products of at least 32 x 32.
_STEP = 32
LONGEST_IN_BIN = 64
"""A set longer than this gets a bin of its own, and several sets share a bin of at most this length."""


@dataclass(frozen=True)
class Order:
    """The order of sets and rows in which the encoder processes a batch on a CPU.

    Sets are packed into bins, and bins, the longest first, into chunks whose rows fit into the processor's
    caches. A bin holds one set, or several short sets that attention processes together (each attends only
    to itself). A chunk has at most `_MOST_ROWS` rows or a single bin, and one more bin of padding rows that
    rounds its size up (`padded_rows`).
    """

    chunks: list[list[list[int]]]  # for each chunk and bin the lengths of the sets
    sets: list[int]  # set number of each entry; padding entries hold the number of sets
    rows: Tensor  # the number of each entry's vector in the batch; padding entries hold 0
    back: Tensor  # for each row of the batch its place in this order
    filling: Tensor  # the places of padding vectors

    @classmethod
    def of(cls, lengths: Sequence[int], *, binned: bool = False) -> Order:
        """The order for a batch. Without ``binned`` every bin holds one set."""
        num, sizes = sum(lengths), list(lengths)  # sizes of the sets, followed by those of padding entries
        bins = _bins_of(sizes) if binned else [[i] for i in range(len(sizes))]
        numbers = _chunks_of(bins, sizes)
        sets = [i for chunk in numbers for members in chunk for i in members]
        rows = rows_of(sizes, sets)
        back = torch.empty_like(rows)
        back[rows] = torch.arange(rows.numel())
        real = rows < num
        chunks = [[[sizes[i] for i in members] for members in chunk] for chunk in numbers]
        sets = [min(i, len(lengths)) for i in sets]
        return cls(chunks, sets, rows.where(real, 0), back[:num], back[num:])

    def enter(self, sets: VectorSets) -> VectorSets:
        """The sets in this order, padding sets included."""
        ordered, joined = (*sets.ordered, False), (*sets.joined, False)
        pairs = None if sets.pairs is None else Pairs.cat([(sets.pairs, sets.num_sets), (None, 1)])
        return VectorSets(
            _Gather.apply(sets.values, self.rows, self.back, None),
            [length for chunk in self.chunks for members in chunk for length in members],
            None if sets.positions is None else sets.positions[self.rows],
            ordered=[ordered[i] for i in self.sets],
            joined=[joined[i] for i in self.sets],
            pairs=None if pairs is None else pairs.select(self.sets),
        )

    def leave(self, vectors: Tensor) -> Tensor:
        """Vectors in this order, moved back to the order of the batch, without padding vectors."""
        left: Tensor = _Gather.apply(vectors, self.back, self.rows, self.filling)
        return left


class _Gather(torch.autograd.Function):
    """``rows[index]``. The gradient is ``grad[back]``, zero for the rows that were dropped.

    Torch's own gradient would add row by row, which is slower.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor, dropped: Tensor | None) -> Tensor:
        ctx.back, ctx.dropped = back, dropped
        return rows.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = grad.index_select(0, ctx.back)
        if ctx.dropped is not None:
            grads.index_fill_(0, ctx.dropped, 0)
        return grads, None, None, None


def _chunks_of(bins: list[list[int]], sizes: list[int]) -> list[list[list[int]]]:
    """Cut bins into chunks of few rows. Padding is one more bin of a chunk; its size is appended to sizes."""
    chunks: list[list[list[int]]] = [[]]
    total = 0
    for members in _longest_first(bins, sizes):
        size = sum(sizes[i] for i in members)
        if chunks[-1] and total + size > _MOST_ROWS:
            chunks.append([])
            total = 0
        chunks[-1].append(members)
        total += size
    for n, chunk in enumerate(chunks):
        total = sum(sizes[i] for members in chunk for i in members)
        if padded_rows(total) > total:
            chunk.append([len(sizes)])
            sizes.append(padded_rows(total) - total)
            chunks[n] = _longest_first(chunk, sizes)
    return chunks


def _longest_first(bins: list[list[int]], sizes: Sequence[int]) -> list[list[int]]:
    return sorted(bins, key=lambda members: sum(sizes[i] for i in members), reverse=True)


def _bins_of(sizes: list[int]) -> list[list[int]]:
    """Pack sets into bins: take the longest set left and the sets that best fill the rest of its bin; repeat.

    A bin that is not full gets a padding set, whose size is appended to ``sizes``. All padding together is at
    most 1/64 of the rows, plus what `padded_rows` would add anyway to a batch of one chunk. The remaining
    bins stay short.
    """
    num = sum(sizes)
    spare = num // 64 + (padded_rows(num) - num if num <= _MOST_ROWS else 0)
    bins: list[list[int]] = []
    left: dict[int, list[int]] = {}  # length -> its sets, the longest first
    for i in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if 0 < sizes[i] <= LONGEST_IN_BIN:
            left.setdefault(sizes[i], []).append(i)
        else:
            bins.append([i])
    for longest, waiting in left.items():
        width = -(-longest // _STEP) * _STEP
        while waiting:
            members = [waiting.pop()]
            chosen = _fullest([(size, len(sets)) for size, sets in left.items()], width - longest)
            members += [left[size].pop() for size in chosen]
            lacking = width - longest - sum(chosen)
            if 0 < lacking <= spare:
                spare -= lacking
                members.append(len(sizes))
                sizes.append(lacking)
            bins.append(members)
    return bins


def _fullest(sizes: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Choose from sizes, given as (size, how many) with the largest first, those that best fill ``room``.

    The algorithm is subset sum: bit *n* of ``sums`` says whether the sizes so far can add up to *n*.
    """
    fitting = [size for size, count in sizes for _ in range(min(count, room // size))]
    sums, before = 1, []
    for size in fitting:
        if sums >> room & 1:
            break
        before.append(sums)
        sums |= sums << size
    total = (sums & (2 << room) - 1).bit_length() - 1
    chosen = []
    for size, reached in reversed(list(zip(fitting, before, strict=False))):
        if not reached >> total & 1:
            chosen.append(size)
            total -= size
    return chosen
