"""The order in which the encoder takes the sets of a batch on a CPU."""

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

__all__ = ["Order"]

# On a CPU a batch goes through the blocks in parts of about so many rows: larger tensors are asked of the
# system anew in every operation, and no cache holds them.
_MOST_ROWS = 4096
# Bins are filled to a multiple of this: torch's attention kernel is at its best with a multiple of 16, and
# with products no smaller than 32 x 32.
_STEP = 32
# Sets longer than this stand alone.
_LONGEST_IN_BIN = 64


@dataclass(frozen=True)
class Order:
    """How the encoder sees a batch on a CPU: in bins, the longest first, in parts whose rows fit the caches.

    A bin holds one set, or short sets that attention takes together, each seeing itself only. A part ends
    before the bin that would take it beyond `_MOST_ROWS`, and holds one more, which fills it up to one of few
    numbers of rows (`padded_rows`).
    """

    parts: list[list[list[int]]]  # lengths of the sets of each bin
    sets: list[int]  # which set stands where; the number of sets for what only fills up
    rows: Tensor  # which row stands where; row 0 in what only fills up
    back: Tensor  # where every row stands
    filling: Tensor  # where the rows are that only fill up

    @classmethod
    def of(cls, lengths: Sequence[int], *, binned: bool = False) -> Order:
        """The order of a batch; where it is not binned every bin holds one set."""
        num, sizes = sum(lengths), list(lengths)  # sizes: of sets, then of what only fills up
        bins = _bins_of(sizes) if binned else [[i] for i in range(len(sizes))]
        numbers = _parts_of(bins, sizes)
        sets = [i for part in numbers for own in part for i in own]
        rows = rows_of(sizes, sets)
        back = torch.empty_like(rows)
        back[rows] = torch.arange(rows.numel())
        real = rows < num
        parts = [[[sizes[i] for i in own] for own in part] for part in numbers]
        sets = [min(i, len(lengths)) for i in sets]
        return cls(parts, sets, rows.where(real, 0), back[:num], back[num:])

    def enter(self, sets: VectorSets) -> VectorSets:
        """The sets in this order, with those that only fill up."""
        ordered, joined = (*sets.ordered, False), (*sets.joined, False)
        pairs = None if sets.pairs is None else Pairs.cat([(sets.pairs, sets.num_sets), (None, 1)])
        return VectorSets(
            _Gather.apply(sets.values, self.rows, self.back, None),
            [length for part in self.parts for own in part for length in own],
            None if sets.positions is None else sets.positions[self.rows],
            ordered=[ordered[i] for i in self.sets],
            joined=[joined[i] for i in self.sets],
            pairs=None if pairs is None else pairs.select(self.sets),
        )

    def leave(self, rows: Tensor) -> Tensor:
        """Rows in this order, back in the order of the batch; those that only filled up are dropped."""
        left: Tensor = _Gather.apply(rows, self.back, self.rows, self.filling)
        return left


class _Gather(torch.autograd.Function):
    """``rows[index]``; the gradient is gathered too, where torch's own adds row after row.

    It is ``grad[back]``, zero in the rows that were dropped.
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


def _parts_of(bins: list[list[int]], sizes: list[int]) -> list[list[list[int]]]:
    """Cut bins into parts of few rows; what fills a part up is a bin of it, and appended to the sizes."""
    parts: list[list[list[int]]] = [[]]
    total = 0
    for own in _longest_first(bins, sizes):
        size = sum(sizes[i] for i in own)
        if parts[-1] and total + size > _MOST_ROWS:
            parts.append([])
            total = 0
        parts[-1].append(own)
        total += size
    for n, part in enumerate(parts):
        total = sum(sizes[i] for own in part for i in own)
        if padded_rows(total) > total:
            part.append([len(sizes)])
            sizes.append(padded_rows(total) - total)
            parts[n] = _longest_first(part, sizes)
    return parts


def _longest_first(bins: list[list[int]], sizes: Sequence[int]) -> list[list[int]]:
    return sorted(bins, key=lambda own: sum(sizes[i] for i in own), reverse=True)


def _bins_of(sizes: list[int]) -> list[list[int]]:
    """Put sets into bins: the longest left, with those that fill its bin best, again and again.

    What a bin then lacks is filled up, and appended to the sizes, as long as all of it is a 64th of the rows
    at most, beside what `padded_rows` would add anyway to a batch of one part. Other bins stay short.
    """
    num = sum(sizes)
    spare = num // 64 + (padded_rows(num) - num if num <= _MOST_ROWS else 0)
    bins: list[list[int]] = []
    left: dict[int, list[int]] = {}  # sets by length, the longest first
    for i in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        if 0 < sizes[i] <= _LONGEST_IN_BIN:
            left.setdefault(sizes[i], []).append(i)
        else:
            bins.append([i])
    for longest, waiting in left.items():
        width = -(-longest // _STEP) * _STEP
        while waiting:
            own = [waiting.pop()]
            chosen = _fullest([(size, len(sets)) for size, sets in left.items()], width - longest)
            own += [left[size].pop() for size in chosen]
            lacking = width - longest - sum(chosen)
            if 0 < lacking <= spare:
                spare -= lacking
                own.append(len(sizes))
                sizes.append(lacking)
            bins.append(own)
    return bins


def _fullest(sizes: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Of the sizes, (size, how many) and the largest first, those that fill so much room best.

    By subset sums: bit *n* says whether the sizes seen so far can add up to *n*.
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
