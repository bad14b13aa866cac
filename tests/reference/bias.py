"""The bias of learned tables the slow, obvious way: pair by pair, in Python integers."""

import torch
from torch import Tensor


def bucket(distance: int) -> int:
    """T5's 32 buckets: for each direction 8 of one distance, and 8 in equal steps of the logarithm to 128."""
    size = abs(distance)
    # size >= 8 * 16 ** (step / 8), without rounding
    steps = [step for step in range(8) if size**8 >= 8**8 * 16**step]
    return (size if size < 8 else 8 + steps[-1]) + (16 if distance > 0 else 0)


def packed(
    lengths: list[int],
    heads: int,
    positions: list[int] | None,
    relative: Tensor | None,
    matrices: list[Tensor | None],
    codes: Tensor | None,
) -> Tensor:
    """``(pairs, heads)``: for each set its (queries x keys) matrix, row by row, set after set."""
    rows, start = [], 0
    for length, matrix in zip(lengths, matrices, strict=True):
        for i in range(length):
            for j in range(length):
                bias = torch.zeros(heads, dtype=torch.float64)
                if positions is not None and relative is not None:
                    bias = bias + relative[bucket(positions[start + j] - positions[start + i])]
                if matrix is not None and codes is not None and matrix[i, j]:
                    bias = bias + codes[int(matrix[i, j]) - 1]
                rows.append(bias)
        start += length
    return torch.stack(rows)
