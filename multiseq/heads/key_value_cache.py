"""KV cache of a decoder: keys and values of the tokens so far (`TokenCache`) and of the sets (`SetMemory`).

Both are dense tensors: in one step all hypotheses have the same number of tokens, and sets are grouped by
length. The hypotheses of one set share the keys of the set, and the keys of the tokens with which they begin.

Axes: layers, sets, beams (hypotheses of one set), heads, head_dim, nodes (tokens of the hypotheses of one
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

# The padding vectors that a group may have before a further group is cheaper. Reading so many vectors takes
# about as long as one more call. The figure for CPUs was measured on two cores; that for GPUs is a guess.
_WASTE = {"cpu": 200, "cuda": 16_384}


class TokenCache:
    """Keys and values of the tokens of all hypotheses. Each is written once, in place.

    The hypotheses of a set form a tree, in which each token is a node. When the search continues with some
    hypotheses, or with one hypothesis several times, no key is copied. Only `seen` changes, the attention
    mask between beams and nodes: ``(sets, 1, beams, nodes)``, 0 if the node belongs to the beam and -inf
    otherwise; None as long as every beam sees every node (greedy search). Keys and values have the shape
    ``(layers, 2, sets, heads, room, head_dim)``. When the room is full, nodes that no beam sees any more are
    dropped, and the room is enlarged.

    Args:
        room: An uninitialised tensor of that shape.
    """

    def __init__(self, room: Tensor) -> None:
        self.kept, self.nodes = room, 0
        self.seen: Tensor | None = None
        self._keys_and_values: Sequence[
            Tensor
        ] = ()  # keys, values of each layer: (sets * heads, nodes, head_dim)
        self._newest: Sequence[Tensor] = ()  # views of their newest nodes

    def grow(self, num_beams: int) -> None:
        """Make room for one more token in each beam of every set; `look` writes it, layer by layer."""
        if self.nodes + num_beams > self.kept.shape[4]:
            if self.seen is not None:
                self._forget()
            self.kept = F.pad(self.kept, (0, 0, 0, 2 * (self.nodes + num_beams) - self.kept.shape[4]))
        self.nodes += num_beams
        filled = _layers(self.kept).narrow(2, 0, self.nodes)
        self._keys_and_values = filled.unbind()
        self._newest = filled.narrow(2, self.nodes - num_beams, num_beams).unbind()
        if self.seen is not None:
            mask = self.seen.new_full((num_beams, num_beams), -math.inf).fill_diagonal_(0.0)
            self.seen = torch.cat([self.seen, mask.expand(len(self.seen), 1, num_beams, num_beams)], dim=-1)

    def look(
        self,
        layer: int,
        q: Float[Tensor, "sets_beams heads head_dim"],
        k: Float[Tensor, "sets_beams heads head_dim"],
        v: Float[Tensor, "sets_beams heads head_dim"],
    ) -> Float[Tensor, "sets_beams heads head_dim"]:
        """Attention from each beam's newest token to itself and to the earlier tokens of the beam."""
        num_beams = self._newest[0].shape[1]
        for new, kept in zip((k, v), self._newest[2 * layer :], strict=False):
            kept.copy_(_by_set(new, num_beams))
        keys, values = self._keys_and_values[2 * layer : 2 * layer + 2]
        return _attend(q, keys, values, num_beams, self.seen)

    def keep(self, beams: Int[Tensor, "sets beams"], sets: Sequence[int] | None) -> None:
        """Continue with these beams of the last step; ``sets`` are the sets that stay (None: all)."""
        if sets is not None:
            chosen = torch.tensor(sets).to(self.kept.device)
            self.kept = self.kept.index_select(2, chosen)
            self.seen = None if self.seen is None else self.seen.index_select(0, chosen)
        if self.seen is not None:
            index = beams[:, None, :, None].expand(-1, -1, -1, self.nodes)
            self.seen = self.seen.gather(2, index)
        elif beams.shape[1] > 1:
            self.seen = self.kept.new_zeros(len(beams), 1, beams.shape[1], self.nodes)

    def _forget(self) -> None:
        """Drop nodes that no beam sees. All sets keep the same number, so some keep a few unseen nodes."""
        assert self.seen is not None
        wanted = (self.seen == 0).any(2)[:, 0]  # (sets, nodes)
        self.nodes = int(wanted.sum(1).max())
        order = wanted.int().argsort(dim=1, descending=True, stable=True)[:, : self.nodes]
        layers, two, sets, heads, _, head_dim = self.kept.shape
        index = order[:, None, :, None].expand(layers, two, sets, heads, self.nodes, head_dim)
        self.kept = self.kept.gather(4, index)
        self.seen = self.seen.gather(3, order[:, None, None].expand(-1, -1, self.seen.shape[2], -1))


class SetMemory:
    """Keys and values for cross-attention to the sets, computed once.

    Neighbouring sets of similar length form a dense group ``(layers, 2, sets, heads, longest, head_dim)``,
    with a mask if their lengths differ. All beams of a set attend to the same keys.

    Args:
        keys_and_values: For each layer the keys and the values, each ``(vectors, heads, head_dim)``.
        lengths: Number of vectors in each set. Sorting with the longest first gives the fewest groups.
    """

    def __init__(self, keys_and_values: Sequence[tuple[Tensor, Tensor]], lengths: Sequence[int]) -> None:
        packed = torch.stack([torch.stack(pair) for pair in keys_and_values])
        # Append a row of zeros. It is the only key and value of an empty set, whose output is then zero.
        self.packed = F.pad(packed, (0, 0, 0, 0, 0, 1))
        self._starts, self._lengths = list(accumulate(lengths, initial=0))[:-1], list(lengths)
        self._groups = list(self._group())

    def look(
        self, layer: int, q: Float[Tensor, "sets_beams heads head_dim"]
    ) -> Float[Tensor, "sets_beams heads head_dim"]:
        """Cross-attention from each beam to its set, in one layer."""
        num_beams = len(q) // len(self._lengths)
        attended = []
        by_group = q.split([group.sets * num_beams for group in self._groups])
        for queries, group in zip(by_group, self._groups, strict=True):
            keys, values = group.keys_and_values[2 * layer : 2 * layer + 2]
            attended.append(_attend(queries, keys, values, num_beams, group.mask))
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def keep(self, sets: Sequence[int]) -> None:
        """Continue with some of the sets."""
        self._starts, self._lengths = ([x[i] for i in sets] for x in (self._starts, self._lengths))
        self._groups = list(self._group())

    def _group(self) -> Iterator[_MemoryGroup]:
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

    def _dense(self, first: int, end: int) -> _MemoryGroup:
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
        return _MemoryGroup(end - first, _layers(kept).unbind(), mask)


@dataclass(frozen=True)
class _MemoryGroup:
    """Neighbouring sets of similar length, which one dense attention call processes."""

    sets: int
    keys_and_values: Sequence[Tensor]  # keys, values of each layer: (sets * heads, longest, head_dim)
    mask: Tensor | None  # (sets, 1, 1, longest): 0 on real vectors, -inf elsewhere


def _layers(kept: Tensor) -> Tensor:
    """From ``(layers, 2, sets, heads, room, head_dim)`` to ``(layers * 2, sets * heads, room, head_dim)``."""
    return kept.view(-1, kept.shape[2] * kept.shape[3], *kept.shape[4:])


def _by_set(x: Tensor, num_beams: int) -> Tensor:
    """From ``(sets * beams, heads, head_dim)`` to ``(sets * heads, beams, head_dim)``."""
    if num_beams == 1:
        return x.reshape(-1, 1, x.shape[2])
    return x.view(-1, num_beams, *x.shape[1:]).transpose(1, 2).reshape(-1, num_beams, x.shape[2])


def _attend(q: Tensor, k: Tensor, v: Tensor, num_beams: int, mask: Tensor | None) -> Tensor:
    """Attention from packed queries to keys and values by set; result ``(sets * beams, heads, head_dim)``."""
    heads, head_dim = q.shape[1:]
    by_set = _by_set(q, num_beams)
    four = (-1, heads, num_beams, head_dim)
    if q.is_cuda or q.dtype != torch.float32:
        k, v = (x.view(-1, heads, *x.shape[1:]) for x in (k, v))
        out = F.scaled_dot_product_attention(by_set.view(four), k, v, attn_mask=mask)
    else:
        # A step has few queries. On a CPU these products are up to three times as fast as torch's attention.
        products = torch.bmm(by_set * head_dim**-0.5, k.transpose(1, 2))
        if mask is not None:
            products.view(-1, heads, *products.shape[1:]).add_(mask)
        out = torch.bmm(products.softmax(-1), v).view(four)
    return out.transpose(1, 2).flatten(0, 1)
