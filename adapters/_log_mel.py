"""From samples to log-mel frames, and what training changes in them.

    frame t = log(1e-6 + mel power of the 25 ms Hann window centred at (t + 0.5) * 10 ms)

The mel scale is HTK's, 2595 log10(1 + f / 700), with triangular filters of height 1 from 20 Hz to
half the rate (torchaudio's MelSpectrogram). Samples are in [-1, 1]; what a window lacks at either
end is silence. Every 10 ms that begin in a recording make a frame; no samples make none.

Axes: samples (of one channel), frames (one each 10 ms), mels (filters).
"""

from __future__ import annotations

import warnings
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor

from multiseq.requires import need

__all__ = ["from_int16", "hop_of", "log_mel", "resample", "spec_augment", "to_int16"]

FLOOR = 1e-6
"""Added to the power before the logarithm: white noise 85 dB below full scale."""


def resample(samples: Float[Tensor, " samples"], ratio: Fraction) -> Float[Tensor, " resampled"]:
    """Windowed-sinc resampling by old rate / new rate; the length becomes ceil(samples / ratio).

    The ratio is met to one part in a million: for 44101 to 16000 an exact filter has gigabytes.
    """
    ratio = ratio.limit_denominator(1000)
    if ratio == 1 or not len(samples):
        return samples
    resampled: Tensor = _resampler(ratio.numerator, ratio.denominator)(samples)
    return resampled


@lru_cache(maxsize=16)
def _resampler(old: int, new: int) -> Any:
    return need("torchaudio").transforms.Resample(old, new)


def hop_of(rate: int) -> int:
    """Samples from one frame to the next: 10 ms."""
    return round(rate / 100)


def log_mel(samples: Float[Tensor, " samples"], rate: int, mels: int) -> Float[Tensor, "frames mels"]:
    """Log-mel frames, as the top of this module defines them.

    >>> log_mel(torch.zeros(321), rate=16000, mels=40).shape
    torch.Size([3, 40])
    """
    hop, mel = hop_of(rate), _mel_transform(rate, mels)
    frames = -(-len(samples) // hop)
    if not frames:
        return samples.new_zeros(0, mels)
    before = mel.n_fft // 2 - hop // 2
    after = (frames - 1) * hop + mel.n_fft - before - len(samples)
    power: Tensor = mel(F.pad(samples, (before, after)))
    return (power.T.contiguous() + FLOOR).log()


@lru_cache(maxsize=8)
def _mel_transform(rate: int, mels: int) -> Any:
    """Samples to mel power. Raises ValueError for more filters than the spectrum has lines for."""
    window = round(rate * 0.025)
    # Not below 512, or the lowest filters fall between the lines at low rates.
    lines = 1 << (max(window, 512) - 1).bit_length()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")  # is our error below
        mel = need("torchaudio").transforms.MelSpectrogram(
            rate, lines, window, hop_of(rate), f_min=20.0, n_mels=mels, center=False
        )
    if not mel.mel_scale.fb.any(0).all():
        raise ValueError(f"mels: got {mels} at {rate} Hz, which leaves filters empty; use fewer")
    return mel


def to_int16(samples: Float[Tensor, " samples"]) -> Int16[Tensor, " samples"]:
    """Rounded to 16 bits: half the memory of floats, exact for 16-bit files."""
    return (samples * 32768).round().clamp(-32768, 32767).to(torch.int16)


def from_int16(samples: Int16[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """The inverse of `to_int16`."""
    return samples.float() / 32768


def spec_augment(
    features: Float[Tensor, "frames mels"], generator: torch.Generator
) -> Float[Tensor, "frames mels"]:
    """Two stretches of time and two bands set to 0, the mean of normalised features.

    Widths are uniform up to 70 frames or a fifth of the recording, and up to 15 of 80 mels.
    """
    features = features.clone()
    frames, mels = features.shape
    draws = torch.rand(4, 2, generator=generator).tolist()
    widest = [min(70, frames // 5)] * 2 + [round(mels * 15 / 80)] * 2
    for (width, place), most, axis in zip(draws, widest, (0, 0, 1, 1), strict=True):
        hidden = int(width * (most + 1))
        first = int(place * (features.shape[axis] - hidden + 1))
        features.narrow(axis, first, hidden).zero_()
    return features
