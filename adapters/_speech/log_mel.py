"""From samples to log-mel spectrogram frames, and their augmentation in training (SpecAugment).

    frame t = log(1e-6 + mel power of the 25 ms Hann window centred at (t + 0.5) * 10 ms)

The mel scale is that of HTK, 2595 log10(1 + f / 700), with f in Hz. The filters are triangles of height 1
from 20 Hz to half the sample rate (torchaudio's MelSpectrogram). Samples are in [-1, 1]. Beyond both ends of
a recording, windows see silence (zeros). The number of frames is ceil(seconds / 10 ms).

Axes: samples (of one channel), frames (one per 10 ms), mels (filters).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor

from multiseq.requires import need

__all__ = [
    "Stretches",
    "filter_reach",
    "from_int16",
    "hop_of",
    "log_mel",
    "log_mel_blocks",
    "log_mel_of",
    "resample",
    "resample_blocks",
    "resampled_length",
    "simple_ratio",
    "spec_augment",
    "to_int16",
]

FLOOR = 1e-6
"""Power that is added before the logarithm: like white noise at 85 dB below full scale."""
BLOCK = 1 << 20
"""Number of samples or spectrum values that are processed at a time: 4 MiB."""
FILTER_WEIGHTS = 4_000_000
"""Approximate limit for the number of weights in a resampling filter."""
FILTER_WIDTH = 7
"""Half the width of torchaudio's filter, in samples of the lower rate: 6 / 0.99, rounded up."""


def resample(samples: Float[Tensor, " samples"], ratio: Fraction) -> Float[Tensor, " resampled"]:
    """Resample with a windowed sinc, to ceil(samples / ratio) samples. ``ratio`` is old rate / new rate."""
    ratio = simple_ratio(ratio)
    if ratio == 1 or not len(samples):
        return samples
    resampled: Tensor = _resampler(ratio.numerator, ratio.denominator)(samples)
    return resampled


def resampled_length(length: int, ratio: Fraction) -> int:
    """The number of samples in the result of :func:`resample` for ``length`` samples."""
    ratio = simple_ratio(ratio)
    return -(-length * ratio.denominator // ratio.numerator)


def resample_blocks(
    blocks: Iterable[Float[Tensor, " samples"]], length: int, ratio: Fraction
) -> Iterator[Float[Tensor, " resampled"]]:
    """Resample block by block, with the result of :func:`resample`.

    Args:
        blocks: The samples.
        length: Number of samples in all blocks together.
        ratio: Old rate / new rate.
    """
    ratio = simple_ratio(ratio)
    if ratio == 1:
        yield from blocks
        return
    old, new = ratio.numerator, ratio.denominator
    stretches, around = Stretches(blocks), filter_reach(ratio)
    step = max(BLOCK // max(old, new), 1) * old
    for first in range(0, length, step):
        begin, last = max(first - around, 0), min(first + step, length)
        resampled = resample(stretches(begin, min(last + around, length)), ratio)
        skipped = (first - begin) // old * new
        yield resampled[skipped : skipped + -(-(last - first) * new // old)]


class Stretches:
    """Gives stretches of samples that come in blocks. No stretch may begin before the previous one."""

    def __init__(self, blocks: Iterable[Float[Tensor, " samples"]]) -> None:
        self._blocks, self._held, self._begin = iter(blocks), torch.zeros(0), 0

    def __call__(self, first: int, last: int) -> Float[Tensor, " samples"]:
        """Samples ``first`` to ``last``, without ``last``. Fewer if the blocks end before."""
        while self._begin + len(self._held) < last:
            block = next(self._blocks, None)
            if block is None:
                break
            kept = self._held[first - self._begin :] if first > self._begin else self._held
            self._begin += len(self._held) - len(kept)
            self._held = torch.cat([kept, block]) if len(kept) else block
        return self._held[first - self._begin : last - self._begin]


def filter_reach(ratio: Fraction) -> int:
    """Samples at the old rate, at most, that the filter for a simple ratio sees to each side.

    It is a multiple of the numerator; 0 if nothing is resampled.
    """
    old, new = ratio.numerator, ratio.denominator
    # The filter reaches FILTER_WIDTH samples of the lower rate to each side.
    return 0 if old == new else (-(-FILTER_WIDTH * max(old, new) // (new * old)) + 2) * old


def simple_ratio(ratio: Fraction) -> Fraction:
    """The nearest ratio of small numbers, because the filter has about numerator x denominator weights.

    An exact filter from 44101 to 16000 Hz would take gigabytes. Rates that differ by less than 0.1 % may
    become equal.
    """
    return ratio.limit_denominator(min(1000, max(int((FILTER_WEIGHTS / ratio) ** 0.5), 1)))


@lru_cache(maxsize=16)
def _resampler(old: int, new: int) -> Any:
    return need("torchaudio").transforms.Resample(old, new)


def hop_of(sample_rate: int) -> int:
    """Number of samples from one frame to the next (10 ms). ``sample_rate`` is in Hz."""
    return round(sample_rate / 100)


def log_mel(
    samples: Float[Tensor, " samples"], sample_rate: int, n_mels: int
) -> Float[Tensor, "frames mels"]:
    """The log-mel spectrogram of samples in [-1, 1]. The docstring of this module gives the formula.

    >>> log_mel(torch.zeros(321), sample_rate=16000, n_mels=40).shape
    torch.Size([3, 40])
    """
    return log_mel_of(lambda first, last: samples[first:last], len(samples), sample_rate, n_mels)


def log_mel_of(
    stretch: Callable[[int, int], Tensor], length: int, sample_rate: int, n_mels: int
) -> Float[Tensor, "frames mels"]:
    """The result of :func:`log_mel`, for samples that are requested one stretch after another.

    Args:
        stretch: ``stretch(first, last)`` returns the samples from ``first`` to ``last``, without ``last``.
        length: Number of samples.
        sample_rate: Hz.
        n_mels: Number of mel bands per frame.
    """
    blocks = log_mel_blocks(stretch, length, sample_rate, n_mels)
    count, first = -(-length // hop_of(sample_rate)), next(blocks, torch.zeros(0, n_mels))
    if len(first) == count:
        return first
    frames = first.new_empty(count, n_mels)  # torch.cat would need the memory twice
    place = 0
    for block in chain([first], blocks):
        frames[place : place + len(block)] = block
        place += len(block)
    return frames


def log_mel_blocks(
    stretch: Callable[[int, int], Tensor], length: int, sample_rate: int, n_mels: int
) -> Iterator[Float[Tensor, "frames mels"]]:
    """The frames of :func:`log_mel_of`, in blocks."""
    hop, mel = hop_of(sample_rate), _mel_transform(sample_rate, n_mels)
    frames, lead = -(-length // hop), mel.n_fft // 2 - hop // 2
    step = max(BLOCK // mel.n_fft, 1)
    for first in range(0, frames, step):
        last = min(first + step, frames)
        begin, end = first * hop - lead, (last - 1) * hop - lead + mel.n_fft
        inside = stretch(max(begin, 0), min(end, length))
        power: Tensor = mel(F.pad(inside, (max(-begin, 0), max(end - length, 0))))
        yield (power.T.contiguous() + FLOOR).log()


@lru_cache(maxsize=8)
def _mel_transform(sample_rate: int, n_mels: int) -> Any:
    """The transform from samples to mel power. Raises ValueError if some filters would be empty."""
    window = round(sample_rate * 0.025)
    # At least 512: otherwise, at low rates, the lowest filters would fall between two lines of the spectrum.
    lines = 1 << (max(window, 512) - 1).bit_length()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")  # the error below replaces it
        mel = need("torchaudio").transforms.MelSpectrogram(
            sample_rate, lines, window, hop_of(sample_rate), f_min=20.0, n_mels=n_mels, center=False
        )
    if not mel.mel_scale.fb.any(0).all():
        raise ValueError(f"n_mels: got {n_mels} at {sample_rate} Hz, which leaves filters empty; use fewer")
    return mel


def to_int16(samples: Float[Tensor, " samples"]) -> Int16[Tensor, " samples"]:
    """Round samples in [-1, 1] to 16 bits: half the memory of floats, and exact for 16-bit files."""
    return (samples * 32768).round().clamp(-32768, 32767).to(torch.int16)


def from_int16(samples: Int16[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """Samples in [-1, 1] from 16-bit integers: the inverse of `to_int16`."""
    return samples.float() / 32768


def spec_augment(
    features: Float[Tensor, "frames mels"], generator: torch.Generator, widest_stretch: int = 70
) -> Float[Tensor, "frames mels"]:
    """SpecAugment: set two stretches of time and two frequency bands to 0, the mean of normalised features.

    The width of a stretch is uniform from 0 to ``widest_stretch`` frames, but at most a fifth of the
    recording. The width of a band is uniform from 0 to 15 of 80 mels. Park et al. 2019
    (https://arxiv.org/abs/1904.08779).
    """
    features = features.clone()
    frames, n_mels = features.shape
    draws = torch.rand(4, 2, generator=generator).tolist()
    widest = [min(widest_stretch, frames // 5)] * 2 + [round(n_mels * 15 / 80)] * 2
    for (width, place), most, axis in zip(draws, widest, (0, 0, 1, 1), strict=True):
        hidden = int(width * (most + 1))
        first = int(place * (features.shape[axis] - hidden + 1))
        features.narrow(axis, first, hidden).zero_()
    return features
