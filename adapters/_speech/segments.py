"""From segments ``(start, end, label)`` in seconds to one label for each point in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["labels_at"]

Times = NDArray[np.float64]

TOUCHING = 1e-3
"""Seconds by which neighbouring segments may overlap, because times in files are rounded."""


def labels_at(times: Times, segments: Sequence[Sequence[Any]], seconds: float, source: str) -> list[Any]:
    """For each time the label of the segment with ``start <= time < end``; None between segments.

    Args:
        times: Seconds.
        segments: ``(start, end, label)`` in seconds, in any order.
        seconds: Duration of the recording. A segment may end a little later.
        source: The recording's name in messages.

    Raises:
        ValueError: Segments overlap, end before they start, or reach far beyond the recording.

    Example:
        >>> labels_at(np.array([0.1, 0.2, 0.5]), [(0.0, 0.2, "a"), (0.2, 0.4, "b")], 0.6, "clip")
        ['a', 'b', None]
    """
    ordered = sorted(segments, key=lambda s: (s[0], s[1]))
    starts = np.array([s[0] for s in ordered], dtype=np.float64)
    ends = np.array([s[1] for s in ordered], dtype=np.float64)
    _check(starts, ends, ordered, seconds, source)
    latest = np.searchsorted(starts, times, side="right") - 1
    held = (latest >= 0) & (times < ends[latest])
    return [ordered[i][2] if h else None for i, h in zip(latest.tolist(), held.tolist(), strict=True)]


def _check(starts: Times, ends: Times, ordered: Sequence[Any], seconds: float, source: str) -> None:
    backward = ~((starts >= 0) & (starts <= ends))  # also catches NaN
    if backward.any():
        segment = ordered[int(backward.argmax())]
        raise ValueError(f"{source}: got segment {tuple(segment)}, expected 0 <= start <= end")
    overlap = starts[1:] < ends[:-1] - TOUCHING
    if overlap.any():
        number = int(overlap.argmax())
        raise ValueError(
            f"{source}: got segments {tuple(ordered[number])} and {tuple(ordered[number + 1])}, "
            "which overlap; expected one label at a time"
        )
    if seconds > 0 and ends[-1] > 2 * seconds + 1:
        raise ValueError(
            f"{source}: got segments up to {ends[-1]} in a recording of {seconds:.2f} s, expected "
            "seconds; divide sample numbers by the rate"
        )
