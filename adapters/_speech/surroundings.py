"""Noise and reverberation from folders of recordings: other places, for recordings in training.

    heard = room * said + g noise,   g so that the noise is 5 to 20 dB below what is said

Ko et al. 2017 (https://www.danielpovey.com/files/2017_icassp_reverberation.pdf) describe both.

Axes: samples (of one channel).
"""

from __future__ import annotations

import os
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from multiseq.adapters._speech.audio import read_audio
from multiseq.adapters._speech.log_mel import resample
from multiseq.data.recordings import is_audio

__all__ = ["add_noise", "check_folder", "drawn", "reverberate"]

DECIBELS = 5.0, 20.0
"""Lowest and highest ratio of signal to noise."""
KEPT = 256
"""Recordings that a process keeps in memory."""


@lru_cache(maxsize=8)
def _files(folder: str) -> tuple[str, ...]:
    root = Path(folder)
    return tuple(sorted(str(p) for p in root.rglob("*") if is_audio(p) and not p.name.startswith(".")))


@lru_cache(maxsize=KEPT)
def _samples(path: str, sample_rate: int) -> Float[Tensor, " samples"]:
    samples, rate = read_audio(path)
    return resample(samples, Fraction(rate, sample_rate)) if rate != sample_rate else samples


def check_folder(name: str, folder: str | os.PathLike[str]) -> None:
    """Raise ValueError if a folder holds no recording. ``name`` is the option's name, for the message."""
    if not _files(os.fspath(folder)):
        what = "no recording in it" if Path(folder).is_dir() else "no such folder"
        raise ValueError(f"{name}: {folder}: {what}, expected a folder of recordings, such as a.wav")


def drawn(folder: str, sample_rate: int, share: float) -> Float[Tensor, " samples"]:
    """One recording of a folder and of the folders in it, at ``sample_rate`` (Hz).

    Args:
        folder: The folder.
        sample_rate: Hz.
        share: A random number from 0 to 1, which chooses the recording.
    """
    files = _files(folder)
    return _samples(files[int(share * len(files))], sample_rate)


def add_noise(
    samples: Float[Tensor, " samples"], noise: Float[Tensor, " noise"], place: float, ratio: float
) -> Float[Tensor, " samples"]:
    """Add noise, which is repeated if it is too short, with the power that `DECIBELS` says.

    Args:
        samples: What is said.
        noise: The noise, at the same rate.
        place: From 0 to 1: where in the noise it begins.
        ratio: From 0 to 1: the ratio of signal to noise, between the two `DECIBELS`.
    """
    if not len(noise):
        return samples
    first = int(place * len(noise))
    chosen = noise.roll(-first).repeat(-(-len(samples) // len(noise)))[: len(samples)]
    power, of_noise = samples.square().mean(), chosen.square().mean()
    if not of_noise > 0:
        return samples
    decibels = DECIBELS[0] + ratio * (DECIBELS[1] - DECIBELS[0])
    gain: Tensor = (power / of_noise).sqrt() * 10 ** (-decibels / 20)
    return samples + gain * chosen


def reverberate(
    samples: Float[Tensor, " samples"], response: Float[Tensor, " response"]
) -> Float[Tensor, " samples"]:
    """What a room makes of samples, as loud as before. The direct sound keeps its time, and so do labels.

    Args:
        samples: What is said.
        response: The impulse response of the room, at the same rate. Its largest value is the direct sound.
    """
    if not len(response) or not len(samples):
        return samples
    direct = int(response.abs().argmax())
    size = len(samples) + len(response) - 1
    spectrum = torch.fft.rfft(samples, size) * torch.fft.rfft(response, size)
    heard: Tensor = torch.fft.irfft(spectrum, size)[direct : direct + len(samples)]
    loudness = heard.square().mean().sqrt()
    return heard * (samples.square().mean().sqrt() / loudness) if loudness > 0 else samples
