"""What a decoder keeps from one step to the next: keys and values of the tokens so far, and of the sets.

Both are dense, for all rows of a step have as many tokens, and sets are grouped by length. Beams of one set
share what they have in common: the set's keys, and the keys of the tokens they begin with.

Axes: layers, sets, rows (hypotheses of one set), heads, head_dim, nodes (tokens of the hypotheses of one
set), vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["SetMemory", "TokenCache"]

# Vectors that a group of sets may waste on padding before another group is cheaper: what is read in about the
# time of one more call. Measured on two CPU cores; for a GPU, where it is kernels that are dear, a guess.
_WASTE = {"cpu": 200, "cuda": 16_384}


class TokenCache:
    """Keys and values of the tokens of every hypothesis, each written once and in place.

    The hypotheses of a set are a tree, and a token is a node of it: when a search goes on with some of them,
    or with one of them twice, no key is copied; only `seen` changes, which says whose tokens are whose. It is
    ``(sets, 1, rows, nodes)``, 0 where the node belongs to the row and -inf elsewhere, and None as long as
    every row sees every node (greedy search). Keys and values are
    ``(layers, 2, sets, heads, room, head_dim)``. When the room is used up, nodes that no row sees any more
    are forgotten and the room is doubled.

    Args:
        room: Empty, of the shape said above.
    """

    def __init__(self, room: Tensor) -> None:
        self.kept, self.nodes = room, 0
        self.seen: Tensor | None = None
        self._keys_and_values: Sequence[
            Tensor
        ] = ()  # of layer after layer, each (sets * heads, nodes, head_dim)
        self._newest: Sequence[Tensor] = ()  # their last nodes

    def grow(self, rows: int) -> None:
        """One more token for each of the rows of every set; `look` fills it in, layer by layer."""
        if self.nodes + rows > self.kept.shape[4]:
            if self.seen is not None:
                self._forget()
            self.kept = F.pad(self.kept, (0, 0, 0, 2 * (self.nodes + rows) - self.kept.shape[4]))
        self.nodes += rows
        filled = _layers(self.kept).narrow(2, 0, self.nodes)
        self._keys_and_values = filled.unbind()
        self._newest = filled.narrow(2, self.nodes - rows, rows).unbind()
        if self.seen is not None:
            own = self.seen.new_full((rows, rows), -math.inf).fill_diagonal_(0.0)
            self.seen = torch.cat([self.seen, own.expand(len(self.seen), 1, rows, rows)], dim=-1)

    def look(
        self,
        layer: int,
        q: Float[Tensor, "sets_rows heads head_dim"],
        k: Float[Tensor, "sets_rows heads head_dim"],
        v: Float[Tensor, "sets_rows heads head_dim"],
    ) -> Float[Tensor, "sets_rows heads head_dim"]:
        """Attention of every row's newest token to itself and to the row's tokens before it."""
        rows = self._newest[0].shape[1]
        for new, kept in zip((k, v), self._newest[2 * layer :], strict=False):
            kept.copy_(_by_set(new, rows))
        keys, values = self._keys_and_values[2 * layer : 2 * layer + 2]
        return _attend(q, keys, values, rows, self.seen)

    def keep(self, rows: Int[Tensor, "sets rows"], sets: Sequence[int] | None) -> None:
        """Go on with these rows of the last step, of all sets or of some."""
        if sets is not None:
            chosen = torch.tensor(sets).to(self.kept.device)
            self.kept = self.kept.index_select(2, chosen)
            self.seen = None if self.seen is None else self.seen.index_select(0, chosen)
        if self.seen is not None:
            index = rows[:, None, :, None].expand(-1, -1, -1, self.nodes)
            self.seen = self.seen.gather(2, index)
        elif rows.shape[1] > 1:
            self.seen = self.kept.new_zeros(len(rows), 1, rows.shape[1], self.nodes)

    def _forget(self) -> None:
        """Drop the nodes that no row sees; sets with fewer others keep some of them, still unseen."""
        assert self.seen is not None
        wanted = (self.seen == 0).any(2)[:, 0]  # (sets, nodes)
        self.nodes = int(wanted.sum(1).max())
        order = wanted.int().argsort(dim=1, descending=True, stable=True)[:, : self.nodes]
        layers, two, sets, heads, _, head_dim = self.kept.shape
        index = order[:, None, :, None].expand(layers, two, sets, heads, self.nodes, head_dim)
        self.kept = self.kept.gather(4, index)
        self.seen = self.seen.gather(3, order[:, None, None].expand(-1, -1, self.seen.shape[2], -1))


class SetMemory:
    """Keys and values of the sets, computed once, in dense groups of neighbouring sets of similar length.

    A group is ``(layers, 2, sets, heads, longest, head_dim)`` with a mask where lengths differ. Rows of one
    set are queries to the same keys.

    Args:
        keys_and_values: Those of every layer, each ``(vectors, heads, head_dim)``.
        lengths: Vectors of each set; longest first makes the fewest groups.
    """

    def __init__(self, keys_and_values: Sequence[tuple[Tensor, Tensor]], lengths: Sequence[int]) -> None:
        packed = torch.stack([torch.stack(pair) for pair in keys_and_values])
        # A row of zeros at the end: the one key of an empty set, so that what it says is zeros too.
        self.packed = F.pad(packed, (0, 0, 0, 0, 0, 1))
        self._starts, self._lengths = list(accumulate(lengths, initial=0))[:-1], list(lengths)
        self._groups = list(self._group())

    def look(
        self, layer: int, q: Float[Tensor, "sets_rows heads head_dim"]
    ) -> Float[Tensor, "sets_rows heads head_dim"]:
        """Attention of every row to its set."""
        rows = len(q) // len(self._lengths)
        found = []
        parts = q.split([group.sets * rows for group in self._groups])
        for part, group in zip(parts, self._groups, strict=True):
            keys, values = group.keys_and_values[2 * layer : 2 * layer + 2]
            found.append(_attend(part, keys, values, rows, group.mask))
        return found[0] if len(found) == 1 else torch.cat(found)

    def keep(self, sets: Sequence[int]) -> None:
        """Go on with some sets."""
        self._starts, self._lengths = ([x[i] for i in sets] for x in (self._starts, self._lengths))
        self._groups = list(self._group())

    def _group(self) -> Iterator[_Group]:
        first, longest, waste = 0, 0, 0
        limit = _WASTE.get(self.packed.device.type, _WASTE["cuda"])
        for i, length in enumerate(self._lengths):
            wider = max(longest, length)
            waste += (wider - longest) * (i - first) + wider - length
            if waste > limit:
                yield self._dense(first, i)
                first, wider, waste = i, length, 0
            longest = wider
        if self._lengths:
            yield self._dense(first, len(self._lengths))

    def _dense(self, first: int, end: int) -> _Group:
        starts = torch.tensor(self._starts[first:end])[:, None]
        lengths = torch.tensor(self._lengths[first:end])[:, None]
        inner = torch.arange(max(1, int(lengths.max())))
        real = inner < lengths
        index = torch.where(real, starts + inner, self.packed.shape[2] - 1).to(self.packed.device)
        kept = self.packed[:, :, index].transpose(3, 4).contiguous()
        mask = None
        if not real.all():
            mask = torch.zeros(real.shape, dtype=kept.dtype).masked_fill_(~real & (inner > 0), -math.inf)
            mask = mask[:, None, None].to(kept.device)
        return _Group(end - first, _layers(kept).unbind(), mask)


@dataclass(frozen=True)
class _Group:
    """Neighbouring sets of similar length."""

    sets: int
    keys_and_values: Sequence[Tensor]  # of layer after layer, each (sets * heads, longest, head_dim)
    mask: Tensor | None  # (sets, 1, 1, longest): 0 on real vectors, -inf elsewhere


def _layers(kept: Tensor) -> Tensor:
    """From ``(layers, 2, sets, heads, room, head_dim)`` to ``(layers * 2, sets * heads, room, head_dim)``."""
    return kept.view(-1, kept.shape[2] * kept.shape[3], *kept.shape[4:])


def _by_set(x: Tensor, rows: int) -> Tensor:
    """From ``(sets * rows, heads, head_dim)`` to ``(sets * heads, rows, head_dim)``."""
    if rows == 1:
        return x.reshape(-1, 1, x.shape[2])
    return x.view(-1, rows, *x.shape[1:]).transpose(1, 2).reshape(-1, rows, x.shape[2])


def _attend(q: Tensor, k: Tensor, v: Tensor, rows: int, mask: Tensor | None) -> Tensor:
    """Of packed queries to keys and values by set; packed again, ``(sets * rows, heads, head_dim)``."""
    heads, head_dim = q.shape[1:]
    by_set = _by_set(q, rows)
    four = (-1, heads, rows, head_dim)
    if q.is_cuda or q.dtype != torch.float32:
        k, v = (x.view(-1, heads, *x.shape[1:]) for x in (k, v))
        out = F.scaled_dot_product_attention(by_set.view(four), k, v, attn_mask=mask)
    else:
        # For the few queries of a step, up to three times as fast on the CPU as the kernel for long sets.
        products = torch.bmm(by_set * head_dim**-0.5, k.transpose(1, 2))
        if mask is not None:
            products.view(-1, heads, *products.shape[1:]).add_(mask)
        out = torch.bmm(products.softmax(-1), v).view(four)
    return out.transpose(1, 2).flatten(0, 1)
