"""Pairs: what kind of pair any two vectors of a set are, for a learned bias of attention.

A small integer for each pair of vectors, such as the distance of two nodes of a graph or the type of the
bond between two atoms. They cost the square of a set's length, so only sets that need them have them.

Axes: sets, pairs (of all coded parts of all sets), size (of a coded part).
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
    """Codes of the pairs of vectors of each set, for the sets that have them.

    Args:
        codes: ``(pairs,)`` integers from 0 to ``num_codes``; 0 stands for a pair of which nothing is known.
            Part after part the ``(size, size)`` matrix, row by row: what the column's vector is to the row's.
        parts: For each set the parts that have codes, as (first vector, size). Mostly none or the whole set;
            of a set that was joined from several, each its own.
        num_codes: The largest code that there is.

    Raises:
        ValueError: Codes that are no integers, or another number of them than the parts need.

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
                f"pairs: got {len(self.codes)} codes, expected {sum(self._counts)}: the square of every part"
            )

    @classmethod
    def from_list(cls, matrices: Sequence[Tensor | None], num_codes: int) -> Pairs:
        """From one ``(length, length)`` matrix a set, or None for a set without codes."""
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
        """Pairs of each set."""
        return [sum(size * size for _, size in own) for own in self.parts]

    # --- as the sets that they belong to are put together and taken apart -------------------------------

    @staticmethod
    def cat(batches: Sequence[tuple[Pairs | None, int]]) -> Pairs | None:
        """Of several batches in a row, each with its number of sets; None where none has codes."""
        found = [pairs for pairs, _ in batches if pairs is not None]
        if not found:
            return None
        parts = [own for pairs, sets in batches for own in (pairs.parts if pairs else ((),) * sets)]
        return Pairs(torch.cat([p.codes for p in found]), tuple(parts), max(p.num_codes for p in found))

    def split(self, counts: Sequence[int]) -> list[Pairs | None]:
        """The inverse of :meth:`cat`: one for each batch of ``counts`` sets, None where it has no codes."""
        ends = [0]
        for count in counts:
            ends.append(ends[-1] + count)
        numbers = self._counts
        codes = self.codes.split([sum(numbers[a:b]) for a, b in pairwise(ends)])
        own = [self.parts[a:b] for a, b in pairwise(ends)]
        return [replace(self, codes=c, parts=p) if any(p) else None for c, p in zip(codes, own, strict=True)]

    def select(self, chosen: Sequence[int]) -> Pairs | None:
        """Of the chosen sets, in the order in which they were chosen."""
        parts = tuple(self.parts[i] for i in chosen)
        if not any(parts):
            return None
        by_set = self.codes.split(self._counts)
        return replace(self, codes=torch.cat([by_set[i] for i in chosen]), parts=parts)

    def merge(self, counts: Sequence[int], lengths: Sequence[int]) -> Pairs:
        """Neighbouring sets become one; a pair across two of them has no code (no copy)."""
        merged, i = [], 0
        for count in counts:
            own, before = [], 0
            for _ in range(count):
                own += [(before + first, size) for first, size in self.parts[i]]
                before, i = before + lengths[i], i + 1
            merged.append(tuple(own))
        return replace(self, parts=tuple(merged))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Pairs:
        """On another device."""
        return replace(self, codes=self.codes.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Pairs:
        """In page-locked memory."""
        return replace(self, codes=self.codes.pin_memory())
