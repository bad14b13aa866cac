"""Long recordings are cut at pauses, while they are read from beginning to end.

A piece ends where it is quietest in its second half:

    loudness(t) = mean power of the samples from t - 0.15 s to t + 0.15 s

Only where somebody speaks without any pause can a cut fall into a word.

Axes: samples (of one channel).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.adapters._speech.log_mel import Stretches

__all__ = ["cut_at_pauses", "quietest"]

AROUND = 0.3
"""Seconds of sound whose mean power is the loudness of the place in their middle."""


def cut_at_pauses(
    stretch: Stretches, length: int, *, longest: int, step: int, sample_rate: int
) -> Iterator[tuple[int, Float[Tensor, " samples"]]]:
    """Cut a recording into pieces: for each its first sample, and its samples.

    Args:
        stretch: The samples.
        length: Their number.
        longest: The most samples in a piece, a multiple of ``step``.
        step: Cuts are at multiples of so many samples.
        sample_rate: Hz.
    """
    first = 0
    while first < length:
        ahead = stretch(first, min(first + longest, length))
        if first + longest < length:
            ahead = ahead[: quietest(ahead, step, round(AROUND * sample_rate / step))]
        yield first, ahead
        first += len(ahead)


def quietest(samples: Float[Tensor, " samples"], step: int, around: int) -> int:
    """The quietest place in the second half of some samples, the last one if there are several.

    Args:
        samples: The samples, a multiple of ``step``.
        step: The place is a multiple of it.
        around: How many steps around a place count, at least 2.

    >>> import torch
    >>> quietest(torch.tensor([0.0, 0, 0, 0, 9, 9, 9, 1, 1, 9, 9, 9]), step=1, around=2)
    8
    """
    power = samples.view(-1, step).square().mean(1)
    around = min(max(around // 2, 1) * 2, len(power))
    loudness = F.avg_pool1d(power[None], around, 1)[0]  # its first entry is that of the place around / 2
    begin = max(len(power) // 2 - around // 2, 0)
    places = loudness[begin:]
    last = len(places) - 1 - int(places.flip(0).argmin())
    return max(begin + last + around // 2, 1) * step
