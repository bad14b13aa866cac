"""What pretrained encoders of speech read: scaled samples, or the log-mel frames of Whisper.

    samples:    (x - mean) / sqrt(variance + 1e-7), over the recording
    log-mel:    (max(m, max over the recording of m - 8) + 4) / 4,   m = log10(max(mel power, 1e-10))

The frames of Whisper are its own: windows of 25 ms centred at multiples of 10 ms, Slaney's mel scale and
filters. Before a recording they see its mirror image, after it silence, as if it were filled up to 30 seconds
(Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.2; and their code).

Axes: samples (of one channel), rows (samples, or frames), width (1, or mels).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.pretrained.stem import SpeechArchitecture
from multiseq.requires import need

__all__ = ["stem_features"]

WINDOW, HOP = 400, 160
"""Samples at 16 kHz."""


def stem_features(
    samples: Float[Tensor, " samples"], architecture: SpeechArchitecture
) -> Float[Tensor, "rows width"]:
    """The rows of a recording in [-1, 1] that a pretrained stem reads.

    There is a frame for each 10 ms that begin.
    """
    if architecture.num_mels:
        assert architecture.longest is not None
        return _log_mel(samples, architecture.num_mels, architecture.longest * HOP)
    if architecture.normalize and len(samples):
        samples = (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()
    return samples[:, None]


def _log_mel(samples: Tensor, num_mels: int, longest: int) -> Float[Tensor, "frames mels"]:
    if not len(samples):
        return torch.zeros(0, num_mels)
    # The adapter cuts recordings; one played more slowly may be some samples longer than 30 seconds.
    samples = samples[:longest]
    frames = -(-len(samples) // HOP)
    # Silence for the last windows; but none after 30 seconds, where Whisper sees a mirror image.
    silence = min(frames * HOP + WINDOW, longest) - len(samples)
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(F.pad(samples, (0, silence)), WINDOW, HOP, window=window, return_complex=True)
    power = spectrum[:, :frames].abs().square()
    mels = (_filters(num_mels).T @ power).clamp(min=1e-10).log10()
    return (mels.maximum(mels.max() - 8).T.contiguous() + 4) / 4


@lru_cache(maxsize=2)
def _filters(num_mels: int) -> Float[Tensor, "frequencies mels"]:
    scale = {"norm": "slaney", "mel_scale": "slaney"}
    filters: Tensor = need("torchaudio").functional.melscale_fbanks(
        WINDOW // 2 + 1, 0.0, 8000.0, num_mels, 16000, **scale
    )
    return filters
