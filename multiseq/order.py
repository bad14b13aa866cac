"""The order in which the encoder takes the sets of a batch on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from multiseq.linear import padded_rows
from multiseq.pairs import Pairs
from multiseq.vectors import VectorSets, rows_of

__all__ = ["Order"]

# On a CPU a batch goes through the blocks in parts of about so many rows: larger tensors are asked of the
# system anew in every operation, and no cache holds them.
_MOST_ROWS = 4096


@dataclass(frozen=True)
class Order:
    """How the encoder sees a batch on a CPU: the longest set first, in parts whose rows fit the caches.

    A part ends with the set that would take it beyond `_MOST_ROWS`, and holds one more set, which fills it up
    to one of few numbers of rows (`padded_rows`).
    """

    parts: list[list[int]]  # lengths
    sets: list[int]  # which set stands where; the number of sets for what only fills up
    rows: Tensor  # which row stands where; row 0 in what only fills up
    back: Tensor  # where every row stands
    filling: Tensor  # where the rows are that only fill up

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Order:
        """The order of a batch."""
        num, sizes = sum(lengths), list(lengths)
        parts: list[list[int]] = [[]]
        total = 0
        for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            if parts[-1] and total + sizes[i] > _MOST_ROWS:
                parts.append([])
                total = 0
            parts[-1].append(i)
            total += sizes[i]
        for part in parts:
            total = sum(sizes[i] for i in part)
            if padded_rows(total) > total:
                part.append(len(sizes))
                sizes.append(padded_rows(total) - total)
                part.sort(key=sizes.__getitem__, reverse=True)
        sets = [i for part in parts for i in part]
        rows = rows_of(sizes, sets)
        back = torch.empty_like(rows)
        back[rows] = torch.arange(rows.numel())
        real = rows < num
        parts = [[sizes[i] for i in part] for part in parts]
        sets = [min(i, len(lengths)) for i in sets]
        return cls(parts, sets, rows.where(real, 0), back[:num], back[num:])

    def enter(self, sets: VectorSets) -> VectorSets:
        """The sets in this order, with those that only fill up."""
        pairs = None if sets.pairs is None else Pairs.cat([(sets.pairs, sets.num_sets), (None, 1)])
        return VectorSets(
            _Enter.apply(sets.values, self),
            [length for part in self.parts for length in part],
            None if sets.positions is None else sets.positions[self.rows],
            ordered=[(*sets.ordered, False)[i] for i in self.sets],
            joined=[(*sets.joined, False)[i] for i in self.sets],
            pairs=None if pairs is None else pairs.select(self.sets),
        )

    def leave(self, rows: Tensor) -> Tensor:
        """Rows in this order, back in the order of the batch; those that only filled up are dropped."""
        left: Tensor = _Leave.apply(rows, self)
        return left


class _Enter(torch.autograd.Function):
    """``rows[order.rows]``; the gradient is gathered too, where torch's own adds row after row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Order) -> Tensor:
        ctx.order = order
        return rows.index_select(0, order.rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(0, ctx.order.back), None


class _Leave(torch.autograd.Function):
    """``rows[order.back]``; rows that only filled up get no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Order) -> Tensor:
        ctx.order = order
        return rows.index_select(0, order.back)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.index_select(0, ctx.order.rows).index_fill_(0, ctx.order.filling, 0), None
