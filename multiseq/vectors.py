"""VectorSets: a packed (ragged) batch of sets of vectors. Adapters, encoder and heads exchange this type.

Nothing is padded between an adapter and a loss. The vectors of all sets are concatenated, and the lengths
tell where each set begins and ends. FlashAttention (``cu_seqlens``, https://arxiv.org/abs/2205.14135),
torch-geometric (``ptr``) and torch's jagged nested tensors use the same layout.

Axes in the whole library: vectors (all rows of a batch), sets, dim, heads, head_dim, classes, longest (the
longest set), tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multiseq.pairs import Pairs

if TYPE_CHECKING:
    from torch_geometric.data import Batch

__all__ = ["VectorSets", "order_of", "rows_of", "to_device"]


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor from the host to a device without making the host wait for the GPU.

    A copy to a GPU is asynchronous only from page-locked (pinned) memory. From other memory, the host waits
    until the GPU has finished all queued work.
    """
    if torch.device(device).type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def order_of(lengths: Sequence[int], device: torch.device | None = None) -> Int[Tensor, " vectors"]:
    """The position of each row in its set: 0 … length - 1 for each set in turn.

    >>> order_of([2, 0, 3]).tolist()
    [0, 1, 0, 1, 2]
    """
    starts = torch.tensor([0, *accumulate(lengths)][:-1], dtype=torch.long)
    counts = torch.tensor(lengths, dtype=torch.long)
    order = torch.arange(sum(lengths)) - starts.repeat_interleave(counts)
    return to_device(order, device) if device is not None else order


def rows_of(lengths: Sequence[int], chosen: Sequence[int]) -> Int[Tensor, " rows"]:
    """The row numbers of the chosen sets, in the order of ``chosen``.

    >>> rows_of([2, 1, 3], [2, 0]).tolist()
    [3, 4, 5, 0, 1]
    """
    starts = [0, *accumulate(lengths)]
    counts = [lengths[i] for i in chosen]
    first = torch.tensor([starts[i] for i in chosen], dtype=torch.long)
    return first.repeat_interleave(torch.tensor(counts, dtype=torch.long)) + order_of(counts)


class VectorSets:
    """A packed batch of sets: ``values[offsets[i]:offsets[i + 1]]`` are the vectors of set *i*.

    Sets can be empty everywhere in the library. The number of sets is stored, so that empty sets at the end
    are not lost. ``lengths`` are plain integers on the host, so no shape has to be read from the GPU.

    Args:
        values: The vectors of all sets, ``(vectors, dim)``.
        lengths: The number of vectors in each set.
        positions: The position of each vector in its set, ``(vectors,)``; None if the sets have no order.
        ordered: For each set, whether it has an order. Default: all sets if there are positions, else none.
        joined: For each set, whether it was joined from several parts. Default: none was.
        pairs: Codes for the pairs of vectors within each set; None if no set has codes.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit together.

    Example:
        >>> sets = VectorSets(torch.arange(6.0).view(3, 2), [1, 0, 2])
        >>> sets.num_sets, sets.offsets.tolist()
        (3, [0, 1, 1, 3])
    """

    def __init__(
        self,
        values: Tensor,  # no shape here: the constructor itself checks shapes, not only pytest
        lengths: Sequence[int],
        positions: Tensor | None = None,
        *,
        ordered: Sequence[bool] | None = None,
        joined: Sequence[bool] | None = None,
        pairs: Pairs | None = None,
    ) -> None:
        if values.dim() != 2:
            raise ValueError(
                f"values: got shape {tuple(values.shape)}, expected (vectors, dim); "
                "for padded input use VectorSets.from_padded"
            )
        if not values.is_floating_point():
            raise ValueError(
                f"values: got dtype {values.dtype}, expected a floating dtype; use values.float()"
            )
        if any(n < 0 for n in lengths):
            raise ValueError(f"lengths: got a negative length in {list(lengths)}, expected 0 or more")
        if sum(lengths) != values.shape[0]:
            raise ValueError(
                f"lengths: got a sum of {sum(lengths)} for {values.shape[0]} rows of values; "
                "expected every row to belong to one set"
            )
        if positions is not None:
            _check_positions(positions, values)
        for name, flags in (("ordered", ordered), ("joined", joined)):
            if flags is not None and len(flags) != len(lengths):
                raise ValueError(f"{name}: got {len(flags)} entries for {len(lengths)} sets")
        if pairs is not None:
            _check_pairs(pairs, lengths, values)
        self.values = values
        self.lengths = tuple(lengths)
        self.positions = positions
        # Remember which sets have an order, so that `split` restores what was there before `cat`.
        self.ordered = tuple(ordered) if ordered is not None else (positions is not None,) * len(lengths)
        self.joined = tuple(joined) if joined is not None else (False,) * len(lengths)
        self.pairs = pairs

    # --- properties -----------------------------------------------------------------------------------

    @property
    def num_sets(self) -> int:
        """The number of sets, including empty ones."""
        return len(self.lengths)

    @property
    def num_vectors(self) -> int:
        """The number of vectors of all sets."""
        return self.values.shape[0]

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.values.shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the values."""
        return self.values.device

    @property
    def sequences(self) -> tuple[bool, ...]:
        """For each set, whether it is a sequence: it has an order and was not joined from several parts."""
        return tuple(o and not j for o, j in zip(self.ordered, self.joined, strict=True))

    @property
    def offsets(self) -> Int[Tensor, " sets_and_one"]:
        """``(sets + 1,)``, like ``cu_seqlens``: the first row of each set, and the end of the last set."""
        return to_device(torch.tensor([0, *accumulate(self.lengths)], dtype=torch.long), self.device)

    @property
    def set_index(self) -> Int[Tensor, " vectors"]:
        """``(vectors,)``: for each row the number of its set."""
        counts = torch.tensor(self.lengths, dtype=torch.long)
        return to_device(torch.arange(self.num_sets).repeat_interleave(counts), self.device)

    def __len__(self) -> int:
        return self.num_sets

    def __repr__(self) -> str:
        order = "ordered" if self.positions is not None else "unordered"
        return f"VectorSets({self.num_sets} sets, {self.num_vectors} vectors of {self.dim}, {order})"

    # --- in and out -----------------------------------------------------------------------------------

    @classmethod
    def from_list(cls, sets: Sequence[Tensor], *, ordered: bool = False) -> VectorSets:
        """Pack a list of ``(length, dim)`` tensors; with ``ordered``, positions count from 0.

        >>> VectorSets.from_list([torch.zeros(2, 4), torch.zeros(0, 4)]).lengths
        (2, 0)
        """
        if not sets:
            raise ValueError(
                "sets: got an empty list, so the width is unknown; use VectorSets(zeros(0, dim), [])"
            )
        widths = {tuple(s.shape[1:]) for s in sets}
        if len(widths) != 1 or sets[0].dim() != 2:
            raise ValueError(
                f"sets: got shapes {[tuple(s.shape) for s in sets][:8]}, expected (length, dim) of one dim"
            )
        lengths = [s.shape[0] for s in sets]
        values = torch.cat(list(sets))
        return cls(values, lengths, order_of(lengths, values.device) if ordered else None)

    @classmethod
    def from_offsets(
        cls,
        values: Float[Tensor, "vectors dim"],
        offsets: Int[Tensor, " sets_and_one"],
        positions: Int[Tensor, " vectors"] | None = None,
    ) -> VectorSets:
        """Build from packed vectors and offsets (``cu_seqlens``, ``ptr``), which are copied to the host."""
        ends: list[int] = offsets.tolist()
        if offsets.dim() != 1 or not ends or ends[0] != 0:
            raise ValueError(f"offsets: got {ends}, expected a tensor with one axis that begins with 0")
        if any(b < a for a, b in pairwise(ends)):
            raise ValueError(
                f"offsets: got {ends}, which decrease, expected each offset to be at least the one before"
            )
        return cls(values, [b - a for a, b in pairwise(ends)], positions)

    def unpack(self) -> list[Float[Tensor, "_ dim"]]:
        """One ``(length, dim)`` tensor for each set (views, not copies)."""
        return list(self.values.split(list(self.lengths))) if self.lengths else []

    @classmethod
    def from_padded(cls, padded: Tensor, lengths: Sequence[int], *, ordered: bool = False) -> VectorSets:
        """Build from a padded ``(sets, longest, dim)`` tensor; the padding is dropped."""
        if padded.dim() != 3 or padded.shape[0] != len(lengths) or max(lengths, default=0) > padded.shape[1]:
            raise ValueError(
                f"padded: got shape {tuple(padded.shape)} for lengths {list(lengths)[:8]}, "
                "expected (sets, longest, dim) with a length for each set, none above longest"
            )
        rows = to_device(_padded_rows(lengths, padded.shape[1]), padded.device)
        values = padded.flatten(0, 1).index_select(0, rows)
        return cls(values, lengths, order_of(lengths, values.device) if ordered else None)

    def to_padded(
        self, value: float = 0.0
    ) -> tuple[Float[Tensor, "sets longest dim"], Bool[Tensor, "sets longest"]]:
        """A tensor ``(sets, longest, dim)`` padded with ``value``, and a mask that is True on real vectors.

        The mask is the inverse of torch's ``key_padding_mask``.
        """
        longest = max(self.lengths, default=0)
        rows = to_device(_padded_rows(self.lengths, longest), self.device)
        padded = self.values.new_full((self.num_sets * longest, self.dim), value)
        mask = torch.arange(longest)[None] < torch.tensor(self.lengths, dtype=torch.long).view(-1, 1)
        filled = padded.index_copy(0, rows, self.values).view(self.num_sets, longest, self.dim)
        return filled, to_device(mask, self.device)

    def to_nested(self) -> Tensor:
        """Convert to a torch nested tensor of jagged layout, which shares the values."""
        return torch.nested.nested_tensor_from_jagged(self.values, self.offsets)

    @classmethod
    def from_nested(cls, nested: Tensor) -> VectorSets:
        """Build from a torch nested tensor of jagged layout; the values are shared."""
        if not nested.is_nested or nested.layout != torch.jagged:
            raise ValueError("nested: expected a nested tensor of jagged layout; use layout=torch.jagged")
        jagged: Any = nested  # torch has no type for it
        return cls.from_offsets(jagged.values(), jagged.offsets())

    def to_batch(self) -> Batch:
        """Convert to a torch-geometric ``Batch`` (without edges) with these ``x``, ``batch`` and ``ptr``."""
        from torch_geometric.data import Batch

        return Batch(x=self.values, batch=self.set_index, ptr=self.offsets)

    @classmethod
    def from_batch(cls, batch: Any) -> VectorSets:
        """Build from ``x`` and ``ptr`` of a torch-geometric ``Batch``; empty graphs at the end are kept."""
        return cls.from_offsets(batch.x, batch.ptr)

    # --- combining and splitting ----------------------------------------------------------------------

    @classmethod
    def cat(cls, batches: Sequence[VectorSets]) -> VectorSets:
        """Concatenate batches. If some have positions, sets without positions get zeros."""
        _check_alike(batches, "cat")
        lengths = [n for b in batches for n in b.lengths]
        return cls(
            torch.cat([b.values for b in batches]),
            lengths,
            _cat_positions(batches),
            ordered=[flag for b in batches for flag in b.ordered],
            joined=[flag for b in batches for flag in b.joined],
            pairs=Pairs.cat([(b.pairs, b.num_sets) for b in batches]),
        )

    def split(self, counts: Sequence[int]) -> list[VectorSets]:
        """The inverse of :meth:`cat`: split into batches of ``counts`` sets, with the original positions."""
        if sum(counts) != self.num_sets:
            raise ValueError(
                f"counts: got a sum of {sum(counts)}, expected {self.num_sets}, the number of sets"
            )
        batches, first, row = [], 0, 0
        pairs = [None] * len(counts) if self.pairs is None else self.pairs.split(counts)
        for count, coded in zip(counts, pairs, strict=True):
            lengths = self.lengths[first : first + count]
            end = row + sum(lengths)
            ordered = self.ordered[first : first + count]
            keeps = self.positions is not None and (any(ordered) or not ordered)
            positions = self.positions[row:end] if keeps and self.positions is not None else None
            joined = self.joined[first : first + count]
            values = self.values[row:end]
            batches.append(
                VectorSets(values, lengths, positions, ordered=ordered, joined=joined, pairs=coded)
            )
            first, row = first + count, end
        return batches

    @classmethod
    def join(cls, parts: Sequence[VectorSets]) -> VectorSets:
        """Join parts set by set: set *i* of the result has the vectors of set *i* of each part, in order."""
        _check_alike(parts, "join")
        if len({p.num_sets for p in parts}) != 1:
            raise ValueError(
                f"join: got parts of {[p.num_sets for p in parts]} sets, expected equal numbers of sets"
            )
        together, num = cls.cat(parts), parts[0].num_sets
        interleaved = [part * num + i for i in range(num) for part in range(len(parts))]
        return together.select(interleaved).merge([len(parts)] * num)

    def select(self, chosen: Sequence[int]) -> VectorSets:
        """The chosen sets, in the order of ``chosen`` (their vectors are copied)."""
        if list(chosen) == list(range(self.num_sets)):
            return self
        if any(not 0 <= i < self.num_sets for i in chosen):
            raise ValueError(
                f"chosen: got {list(chosen)[:8]}, expected set numbers from 0 to {self.num_sets - 1}"
            )
        rows = to_device(rows_of(self.lengths, chosen), self.device)
        positions = None if self.positions is None else self.positions[rows]
        return VectorSets(
            self.values[rows],
            [self.lengths[i] for i in chosen],
            positions,
            ordered=[self.ordered[i] for i in chosen],
            joined=[self.joined[i] for i in chosen],
            pairs=None if self.pairs is None else self.pairs.select(chosen),
        )

    def merge(self, counts: Sequence[int]) -> VectorSets:
        """Merge neighbouring sets: the first ``counts[0]`` sets, the next ``counts[1]`` sets … (no copy)."""
        if sum(counts) != self.num_sets:
            raise ValueError(
                f"counts: got a sum of {sum(counts)}, expected {self.num_sets}, the number of sets"
            )
        ends = [0, *accumulate(counts)]
        spans = list(pairwise(ends))
        return VectorSets(
            self.values,
            [sum(self.lengths[a:b]) for a, b in spans],
            self.positions,
            ordered=[any(self.ordered[a:b]) for a, b in spans],
            joined=[any(self.joined[a:b]) or sum(n > 0 for n in self.lengths[a:b]) > 1 for a, b in spans],
            pairs=None if self.pairs is None else self.pairs.merge(counts, self.lengths),
        )

    def first(self) -> VectorSets:
        """The first vector of every set; an empty set stays empty."""
        starts = [s for s, n in zip(accumulate(self.lengths, initial=0), self.lengths, strict=False) if n]
        rows = to_device(torch.tensor(starts, dtype=torch.long), self.device)
        return VectorSets(self.values[rows], [min(n, 1) for n in self.lengths])

    def with_values(self, values: Float[Tensor, "vectors other_dim"]) -> VectorSets:
        """The same sets with other values, one for each row; their width can differ."""
        return self._with(values, self.positions, self.pairs)

    # --- devices --------------------------------------------------------------------------------------

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> VectorSets:
        """A copy on another device."""
        positions = None if self.positions is None else self.positions.to(device, non_blocking=non_blocking)
        pairs = None if self.pairs is None else self.pairs.to(device, non_blocking=non_blocking)
        return self._with(self.values.to(device, non_blocking=non_blocking), positions, pairs)

    def pin_memory(self) -> VectorSets:
        """A copy in page-locked (pinned) memory, from which copies to a GPU are asynchronous."""
        positions = None if self.positions is None else self.positions.pin_memory()
        pairs = None if self.pairs is None else self.pairs.pin_memory()
        return self._with(self.values.pin_memory(), positions, pairs)

    def _with(self, values: Tensor, positions: Tensor | None, pairs: Pairs | None) -> VectorSets:
        return VectorSets(
            values, self.lengths, positions, ordered=self.ordered, joined=self.joined, pairs=pairs
        )


def _padded_rows(lengths: Sequence[int], longest: int) -> Int[Tensor, " vectors"]:
    """For each vector its row among the ``sets * longest`` rows of the padded batch."""
    counts = torch.tensor(lengths, dtype=torch.long)
    return order_of(lengths) + longest * torch.arange(len(lengths)).repeat_interleave(counts)


def _check_positions(positions: Tensor, values: Tensor) -> None:
    if positions.shape != values.shape[:1]:
        raise ValueError(
            f"positions: got shape {tuple(positions.shape)}, expected ({values.shape[0]},), one per vector"
        )
    if positions.is_floating_point():
        raise ValueError(f"positions: got dtype {positions.dtype}, expected integers; use positions.long()")
    if positions.device != values.device:
        raise ValueError(
            f"positions: got device {positions.device}, expected {values.device}, the values' device"
        )


def _check_pairs(pairs: Pairs, lengths: Sequence[int], values: Tensor) -> None:
    if len(pairs.parts) != len(lengths):
        raise ValueError(f"pairs: got pairs for {len(pairs.parts)} sets, expected {len(lengths)}")
    for i, (coded, length) in enumerate(zip(pairs.parts, lengths, strict=True)):
        if any(first < 0 or first + size > length for first, size in coded):
            raise ValueError(
                f"pairs: got parts {coded} (first, size), expected parts inside the {length} rows of set {i}"
            )
    if pairs.codes.device != values.device:
        raise ValueError(
            f"pairs: got device {pairs.codes.device}, expected {values.device}, the values' device"
        )


def _check_alike(batches: Sequence[VectorSets], name: str) -> None:
    if not batches:
        raise ValueError(f"{name}: got no batches, expected one or more")
    for what in ("dim", "device"):
        kinds = {str(getattr(b, what)) for b in batches}
        if len(kinds) > 1:
            raise ValueError(f"{name}: got batches of {what} {sorted(kinds)}, expected one {what}")
    dtypes = {b.values.dtype for b in batches}
    if len(dtypes) > 1:
        raise ValueError(f"{name}: got batches of dtype {sorted(map(str, dtypes))}, expected one dtype")


def _cat_positions(batches: Sequence[VectorSets]) -> Tensor | None:
    if all(b.positions is None for b in batches):
        return None
    return torch.cat(
        [
            torch.zeros(b.num_vectors, dtype=torch.long, device=b.device)
            if b.positions is None
            else b.positions
            for b in batches
        ]
    )
