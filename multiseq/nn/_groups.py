"""Groups of sets of similar length, for dense attention on packed rows.

Sets stand one after another, the longest first, and are cut into groups, in each of which all sets are filled
up to the longest. Which cut costs least is found by dynamic programming (`_cheapest`). `to_dense` and
`to_packed` bring rows into groups and back.

Axes: vectors (rows of the batch), sets, longest (of a group), heads, head_dim.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from multiseq.vectors import to_device

__all__ = [
    "Group",
    "Rows",
    "fill",
    "groups_of",
    "longest_first",
    "pack",
    "split",
    "to_dense",
    "to_packed",
]

# What a dense call and the copy of a padded row cost, in pairs of a query and a key (on two CPU cores).
_CALL = 4000
_COPY = 15


@dataclass(frozen=True)
class Rows:
    """The rows of a group's queries, or of its keys: where they stand, and how they fill (sets, longest)."""

    start: int
    lengths: list[int]
    fill: Tensor | None  # row of the group for each of (sets * longest), None where no length differs
    real: Tensor | None  # which of (sets * longest) are rows of the group
    padding: Tensor | None  # and which are not
    mask: Tensor | None  # (sets, 1, 1, longest): True on real ones

    @property
    def num(self) -> int:
        return sum(self.lengths)

    @property
    def end(self) -> int:
        return self.start + self.num

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.lengths), max(self.lengths)


@dataclass(frozen=True)
class Group:
    """Neighbouring sets (after sorting) of similar length, attended to in one dense call."""

    sets: list[int]  # their numbers before sorting
    queries: Rows
    keys: Rows
    cut: bool  # long sequences under a window: their rows, one after another, are attended to in chunks


def longest_first(q_lengths: Sequence[int], k_lengths: Sequence[int]) -> list[int]:
    """The numbers of the sets in the order in which they are grouped."""
    lengths = list(zip(q_lengths, k_lengths, strict=True))
    return sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)


def groups_of(
    q_lengths: Sequence[int], k_lengths: Sequence[int], cut: Sequence[bool], device: torch.device
) -> list[Group]:
    """The groups of a batch.

    Args:
        q_lengths: Queries of each set, in any order.
        k_lengths: Keys of each set.
        cut: Sets that are not attended to densely; such neighbours are one group.
        device: Where index tensors go.
    """
    groups: list[Group] = []

    def add(members: list[int], is_cut: bool) -> None:
        q_own, k_own = ([n[i] for i in members] for n in (q_lengths, k_lengths))
        q_start, k_start = (groups[-1].queries.end, groups[-1].keys.end) if groups else (0, 0)
        queries = _rows(q_start, [sum(q_own)] if is_cut else q_own, device)
        keys = queries if q_lengths == k_lengths else _rows(k_start, k_own, device)
        groups.append(Group(members, queries, keys, is_cut))

    for is_cut, run in groupby(longest_first(q_lengths, k_lengths), key=cut.__getitem__):
        order = list(run)
        if is_cut:
            add(order, True)
            continue
        kinds = Counter((q_lengths[i], k_lengths[i]) for i in order)
        rest = iter(order)
        for together in _cheapest(sorted(kinds.items(), reverse=True)):
            add(list(islice(rest, sum(num for _, num in together))), False)
    return groups


def _cheapest(kinds: list[tuple[tuple[int, int], int]]) -> list[list[tuple[tuple[int, int], int]]]:
    """Cut kinds of sets, ((queries, keys), how many), into runs whose dense calls cost least in all.

    A run costs its call, the pairs of its padded sets, and, where lengths differ, a copy of its padded rows.
    """
    best = [(0.0, 0)]  # of the first n kinds: their cost, and where the last run begins
    for end in range(1, len(kinds) + 1):
        found = (math.inf, 0)
        q, k = kinds[end - 1][0]
        empty = (q == 0, k == 0)
        num, queries, keys, apart = 0, 0, 0, 0
        for start in range(end - 1, -1, -1):
            (q, k), count = kinds[start]
            if (q == 0, k == 0) != empty:
                break  # nothing can be attended to in an empty set, padded or not
            num, queries, keys = num + count, max(queries, q), max(keys, k)
            cost = _CALL + num * queries * keys
            apart += _CALL + count * q * k
            if start < end - 1:
                cost += _COPY * num * (queries + keys)
            if cost > apart + 4 * _CALL:
                break
            found = min(found, (best[start][0] + cost, start))
        best.append(found)
    runs = []
    end = len(kinds)
    while end:
        start = best[end][1]
        runs.append(kinds[start:end])
        end = start
    return runs[::-1]


def to_dense(rows: Tensor, groups: list[Rows]) -> tuple[Tensor, ...]:
    """Packed rows to one ``(sets, longest, heads, head_dim)`` a group: a view where no length differs.

    Padding repeats rows: it is masked as keys and dropped as queries.
    """
    dense: tuple[Tensor, ...] = _Dense.apply(rows, groups)
    return dense


def to_packed(dense: Sequence[Tensor], groups: list[Rows]) -> Tensor:
    """The inverse of :func:`to_dense`."""
    rows: Tensor = _Packed.apply(groups, *dense)
    return rows


class _Dense(torch.autograd.Function):
    """Its gradient is `_Packed`, whose gradient it is: every row is copied once each way.

    torch's own split, index and cat would copy it three times.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: list[Rows]) -> tuple[Tensor, ...]:
        ctx.groups = groups
        return tuple(fill(own, group) for group, own in zip(groups, split(rows, groups), strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _packed(grads, ctx.groups), None


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, groups: list[Rows], *dense: Tensor) -> Tensor:
        ctx.groups = groups
        return _packed(dense, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        parts = split(grad, ctx.groups)
        return None, *(fill(own, group, zeros=True) for group, own in zip(ctx.groups, parts, strict=True))


def _packed(dense: Sequence[Tensor], groups: Sequence[Rows]) -> Tensor:
    rows = dense[0].new_empty(sum(g.num for g in groups), *dense[0].shape[2:])
    for group, own, target in zip(groups, dense, split(rows, groups), strict=True):
        pack(own, group, target)
    return rows


def split(rows: Tensor, groups: Sequence[Rows]) -> tuple[Tensor, ...]:
    """The rows of each group: views."""
    return torch.split(rows, [group.num for group in groups])


def fill(rows: Tensor, group: Rows, *, zeros: bool = False) -> Tensor:
    """A group's rows as ``(sets, longest, …)``; what fills up repeats rows or, for gradients, is zero."""
    if group.fill is not None and group.padding is not None:
        rows = rows.index_select(0, group.fill)
        if zeros:
            rows.index_fill_(0, group.padding, 0)
    return rows.view(*group.shape, *rows.shape[1:])


def pack(dense: Tensor, group: Rows, target: Tensor) -> None:
    """The inverse of :func:`fill`, written into the rows of the group."""
    if group.real is None:
        target.view(dense.shape).copy_(dense)
    else:
        torch.index_select(dense.flatten(0, 1), 0, group.real, out=target)


def _rows(start: int, lengths: list[int], device: torch.device) -> Rows:
    longest = max(lengths)
    if min(lengths) == longest:
        return Rows(start, lengths, None, None, None, None)
    counts = torch.tensor(lengths)[:, None]
    starts = torch.tensor([0, *accumulate(lengths)][:-1])[:, None]
    inner = torch.arange(longest)[None]
    mask = inner < counts
    fill = (starts + torch.minimum(inner, counts - 1)).flatten()
    real, padding = (m.flatten().nonzero().flatten() for m in (mask, ~mask))
    return Rows(start, lengths, *(to_device(x, device) for x in (fill, real, padding, mask[:, None, None])))
