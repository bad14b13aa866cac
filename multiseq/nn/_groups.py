"""Groups of sets of similar length, for dense attention on packed vectors.

Sets are sorted by length, the longest first, and neighbours form groups. In a group all sets are padded to
the longest. Dynamic programming finds the cheapest groups (`_cheapest`). `to_dense` copies packed vectors
into groups, and `to_packed` copies them back.

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
    "GroupRows",
    "fill_group",
    "groups_of",
    "longest_first",
    "pack",
    "split",
    "to_dense",
    "to_packed",
]

# The costs of a dense call and of copying a padded row, measured in query-key pairs (on two CPU cores).
_CALL = 4000
_COPY = 15


@dataclass(frozen=True)
class GroupRows:
    """The queries or keys of a group: which packed vectors they are, and how to pad and unpad them."""

    start: int
    lengths: list[int]
    fill: Tensor | None  # row in the group for each of (sets * longest) entries; None if all lengths agree
    real: Tensor | None  # indices of the entries that are real vectors
    padding: Tensor | None  # indices of the entries that are padding
    mask: Tensor | None  # (sets, 1, 1, longest): True on real vectors

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
    """Neighbouring sets (after sorting) of similar length, which one dense attention call processes."""

    sets: list[int]  # set numbers before sorting
    queries: GroupRows
    keys: GroupRows
    cut: bool  # True for long sequences with a window: attention runs over chunks of all their vectors


def longest_first(q_lengths: Sequence[int], k_lengths: Sequence[int]) -> list[int]:
    """Set numbers sorted by length, the longest first: the order in which sets are grouped."""
    lengths = list(zip(q_lengths, k_lengths, strict=True))
    return sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)


def groups_of(
    q_lengths: Sequence[int], k_lengths: Sequence[int], cut: Sequence[bool], device: torch.device
) -> list[Group]:
    """The groups of a batch.

    Args:
        q_lengths: Number of queries in each set, in any order.
        k_lengths: Number of keys in each set.
        cut: For each set, whether it is attended to in chunks. Such neighbours form one group.
        device: Device of the index tensors.
    """
    groups: list[Group] = []

    def add(members: list[int], is_cut: bool) -> None:
        q_sizes, k_sizes = ([n[i] for i in members] for n in (q_lengths, k_lengths))
        q_start, k_start = (groups[-1].queries.end, groups[-1].keys.end) if groups else (0, 0)
        queries = _group_rows(q_start, [sum(q_sizes)] if is_cut else q_sizes, device)
        keys = queries if q_lengths == k_lengths else _group_rows(k_start, k_sizes, device)
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
    """Partition the kinds of sets, ((queries, keys), how many), into runs with the lowest total cost.

    The cost of a run is its call, the query-key pairs of its padded sets, and, if lengths differ, the copying
    of its padded vectors.
    """
    best = [(0.0, 0)]  # best[n], for the first n kinds: the lowest cost, and the start of the last run
    for end in range(1, len(kinds) + 1):
        cheapest = (math.inf, 0)
        q, k = kinds[end - 1][0]
        empty = (q == 0, k == 0)
        num, queries, keys, apart = 0, 0, 0, 0
        for start in range(end - 1, -1, -1):
            (q, k), count = kinds[start]
            if (q == 0, k == 0) != empty:
                break  # an empty set has no vector that padding could repeat
            num, queries, keys = num + count, max(queries, q), max(keys, k)
            cost = _CALL + num * queries * keys
            apart += _CALL + count * q * k
            if start < end - 1:
                cost += _COPY * num * (queries + keys)
            if cost > apart + 4 * _CALL:
                break
            cheapest = min(cheapest, (best[start][0] + cost, start))
        best.append(cheapest)
    runs = []
    end = len(kinds)
    while end:
        start = best[end][1]
        runs.append(kinds[start:end])
        end = start
    return runs[::-1]


def to_dense(packed: Tensor, groups: list[GroupRows]) -> tuple[Tensor, ...]:
    """From packed vectors to one ``(sets, longest, heads, head_dim)`` tensor for each group.

    If all lengths of a group agree, the tensor is a view. Otherwise padding repeats real vectors; padded keys
    are masked, and the outputs of padded queries are dropped.
    """
    dense: tuple[Tensor, ...] = _Dense.apply(packed, groups)
    return dense


def to_packed(dense: Sequence[Tensor], groups: list[GroupRows]) -> Tensor:
    """The inverse of :func:`to_dense`."""
    packed: Tensor = _Packed.apply(groups, *dense)
    return packed


class _Dense(torch.autograd.Function):
    """`_Dense` and `_Packed` are each other's backward pass. Each copies every vector once.

    Torch's own split, index and cat would copy each vector three times.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor, groups: list[GroupRows]) -> tuple[Tensor, ...]:
        ctx.groups = groups
        return tuple(
            fill_group(vectors, group) for group, vectors in zip(groups, split(packed, groups), strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _packed(grads, ctx.groups), None


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, groups: list[GroupRows], *dense: Tensor) -> Tensor:
        ctx.groups = groups
        return _packed(dense, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_group = split(grad, ctx.groups)
        return None, *(
            fill_group(vectors, group, zeros=True)
            for group, vectors in zip(ctx.groups, by_group, strict=True)
        )


def _packed(dense: Sequence[Tensor], groups: Sequence[GroupRows]) -> Tensor:
    packed = dense[0].new_empty(sum(g.num for g in groups), *dense[0].shape[2:])
    for group, filled, target in zip(groups, dense, split(packed, groups), strict=True):
        pack(filled, group, target)
    return packed


def split(packed: Tensor, groups: Sequence[GroupRows]) -> tuple[Tensor, ...]:
    """The vectors of each group, as views."""
    return torch.split(packed, [group.num for group in groups])


def fill_group(vectors: Tensor, group: GroupRows, *, zeros: bool = False) -> Tensor:
    """A group's vectors as ``(sets, longest, …)``; padding repeats vectors or, for gradients, is zero."""
    if group.fill is not None and group.padding is not None:
        vectors = vectors.index_select(0, group.fill)
        if zeros:
            vectors.index_fill_(0, group.padding, 0)
    return vectors.view(*group.shape, *vectors.shape[1:])


def pack(dense: Tensor, group: GroupRows, target: Tensor) -> None:
    """The inverse of :func:`fill_group`: writes the real vectors to ``target``."""
    if group.real is None:
        target.view(dense.shape).copy_(dense)
    else:
        torch.index_select(dense.flatten(0, 1), 0, group.real, out=target)


def _group_rows(start: int, lengths: list[int], device: torch.device) -> GroupRows:
    longest = max(lengths)
    if min(lengths) == longest:
        return GroupRows(start, lengths, None, None, None, None)
    counts = torch.tensor(lengths)[:, None]
    starts = torch.tensor([0, *accumulate(lengths)][:-1])[:, None]
    inner = torch.arange(longest)[None]
    mask = inner < counts
    fill = (starts + torch.minimum(inner, counts - 1)).flatten()
    real, padding = (m.flatten().nonzero().flatten() for m in (mask, ~mask))
    return GroupRows(
        start, lengths, *(to_device(x, device) for x in (fill, real, padding, mask[:, None, None]))
    )
