"""Pairs: integer codes for the pairs of vectors in a set, for a learned attention bias.

A code is a small integer for each pair of vectors, such as the distance between two nodes of a graph or the
type of the bond between two atoms. Memory grows with the square of the length, so only sets that need codes
have them.

Axes: sets, pairs (of all coded parts of all sets), size (the number of vectors in a coded part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["Pairs"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Codes for the pairs of vectors within each set, for the sets that have codes.

    Args:
        codes: ``(pairs,)`` integers from 0 to ``num_codes``; 0 means that nothing is known about the pair. It
            holds the ``(size, size)`` matrix of each part, flattened row by row, one after another. An entry
            describes the relation of the column's vector to the row's vector.
        parts: For each set the parts that have codes, as (first vector, size). Usually no part, or the whole
            set. In a set that was joined from several sets, each of them is a part.
        num_codes: The largest possible code.

    Raises:
        ValueError: The codes are not integers, or their number does not fit the parts.

    Example:
        >>> chain = torch.tensor([[1, 2, 3], [2, 1, 2], [3, 2, 1]])  # distance + 1 in a chain of three
        >>> pairs = Pairs.from_list([chain, None], num_codes=3)
        >>> pairs.parts, pairs.codes.tolist()
        ((((0, 3),), ()), [1, 2, 3, 2, 1, 2, 3, 2, 1])
    """

    codes: Tensor
    parts: tuple[tuple[tuple[int, int], ...], ...]
    num_codes: int

    def __post_init__(self) -> None:
        if self.codes.dim() != 1 or self.codes.is_floating_point() or self.codes.dtype == torch.bool:
            got = f"{self.codes.dtype} of shape {tuple(self.codes.shape)}"
            raise ValueError(f"pairs: got codes in {got}, expected integers in (pairs,)")
        if len(self.codes) != sum(self._counts):
            raise ValueError(
                f"pairs: got {len(self.codes)} codes, expected {sum(self._counts)}: size * size of every part"
            )

    @classmethod
    def from_list(cls, matrices: Sequence[Tensor | None], num_codes: int) -> Pairs:
        """Build from one ``(length, length)`` matrix for each set, or None for a set without codes.

        Raises:
            ValueError: A matrix is not square.
        """
        for i, matrix in enumerate(matrices):
            if matrix is not None and (matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]):
                raise ValueError(
                    f"pairs: got shape {tuple(matrix.shape)} for set {i}, expected (length, length)"
                )
        parts = tuple(((0, len(m)),) if m is not None and len(m) else () for m in matrices)
        codes = [m.flatten() for m in matrices if m is not None]
        return cls(torch.cat(codes) if codes else torch.zeros(0, dtype=torch.int16), parts, num_codes)

    @property
    def _counts(self) -> list[int]:
        """The number of pairs in each set."""
        return [sum(size * size for _, size in coded) for coded in self.parts]

    # --- the operations of VectorSets, for the codes ----------------------------------------------------

    @staticmethod
    def cat(batches: Sequence[tuple[Pairs | None, int]]) -> Pairs | None:
        """Concatenate batches, given as (pairs or None, number of sets). None if no batch has codes."""
        filled = [pairs for pairs, _ in batches if pairs is not None]
        if not filled:
            return None
        parts = [coded for pairs, sets in batches for coded in (pairs.parts if pairs else ((),) * sets)]
        return Pairs(torch.cat([p.codes for p in filled]), tuple(parts), max(p.num_codes for p in filled))

    def split(self, counts: Sequence[int]) -> list[Pairs | None]:
        """The inverse of :meth:`cat`, for batches of ``counts`` sets; None for a batch without codes."""
        ends = [0]
        for count in counts:
            ends.append(ends[-1] + count)
        numbers = self._counts
        codes = self.codes.split([sum(numbers[a:b]) for a, b in pairwise(ends)])
        by_batch = [self.parts[a:b] for a, b in pairwise(ends)]
        return [
            replace(self, codes=c, parts=p) if any(p) else None for c, p in zip(codes, by_batch, strict=True)
        ]

    def select(self, chosen: Sequence[int]) -> Pairs | None:
        """The codes of the chosen sets, in the order of ``chosen``; None if none of them has codes."""
        parts = tuple(self.parts[i] for i in chosen)
        if not any(parts):
            return None
        by_set = self.codes.split(self._counts)
        return replace(self, codes=torch.cat([by_set[i] for i in chosen]), parts=parts)

    def merge(self, counts: Sequence[int], lengths: Sequence[int]) -> Pairs:
        """Merge neighbouring sets, without a copy. A pair of vectors from two different sets has no code."""
        merged, i = [], 0
        for count in counts:
            together, before = [], 0
            for _ in range(count):
                together += [(before + first, size) for first, size in self.parts[i]]
                before, i = before + lengths[i], i + 1
            merged.append(tuple(together))
        return replace(self, parts=tuple(merged))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Pairs:
        """A copy on another device."""
        return replace(self, codes=self.codes.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Pairs:
        """A copy in page-locked (pinned) memory."""
        return replace(self, codes=self.codes.pin_memory())
