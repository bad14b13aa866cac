"""Reading audio: files, members of archives and arrays, as one channel of samples in [-1, 1].

Axes: samples (of one channel).
"""

from __future__ import annotations

import math
import os
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from multiseq.requires import need

__all__ = ["LOWEST_RATE", "AudioFile", "bytes_of", "name_of", "names_a_file", "read_audio"]

LOWEST_RATE = 1000
"""Hz. A lower one is a mistake (kHz for Hz, mostly)."""
MOST_CHANNELS = 32
"""An array with more on its shorter axis is no audio (a spectrogram, mostly)."""


@dataclass(frozen=True)
class AudioFile:
    """A file inside an uncompressed .tar archive, read without unpacking.

    Args:
        path: The archive.
        member: The file's name in it, as ``tar tf`` prints it.
    """

    path: str | Path
    member: str

    def __str__(self) -> str:
        return f"{self.path}: {self.member}"


def name_of(item: Any) -> str:
    """What to call an item in messages."""
    return str(item) if names_a_file(item) else "samples"


def names_a_file(item: Any) -> bool:
    """Whether an item is a path or a member of an archive, not samples."""
    return isinstance(item, str | os.PathLike | AudioFile)


def bytes_of(item: str | os.PathLike[str] | AudioFile) -> bytes:
    """A file as it is on the disk. Raises OSError or ValueError where there is none."""
    return _member(item).getvalue() if isinstance(item, AudioFile) else Path(item).read_bytes()


def read_audio(item: Any) -> tuple[Float[Tensor, " samples"], int]:
    """One channel of samples in [-1, 1], and their rate in Hz. Several channels are averaged.

    Args:
        item: A path, an `AudioFile`, or ``(samples, rate)`` with floats in [-1, 1] or 16-bit
            integers, of one axis or of two (the shorter one is the channels).

    Raises:
        ValueError: Missing or unreadable files, values that are no samples, rates and shapes
            that cannot be.
    """
    name = name_of(item)
    if isinstance(item, tuple) and len(item) == 2:
        channels, rate = _channels_last(item[0]), item[1]
    elif names_a_file(item):
        channels, rate = _decode(_member(item) if isinstance(item, AudioFile) else item, name)
    else:
        raise ValueError(
            f"recording: got {type(item).__name__}, expected a path, an AudioFile(path, member) "
            "or a tuple (samples, rate)"
        )
    real = isinstance(rate, int | float | np.integer | np.floating)
    if not real or not LOWEST_RATE <= rate < math.inf or rate != int(rate):
        raise ValueError(
            f"{name}: got a rate of {rate!r}, expected samples per second, a whole number of at "
            f"least {LOWEST_RATE} (16000, say)"
        )
    return torch.from_numpy(_mono(channels, name)), int(rate)


def _decode(file: Any, name: str) -> tuple[NDArray[np.float32], int]:
    if not isinstance(file, BytesIO) and not Path(file).is_file():
        raise ValueError(f"{name}: no such file; check the path and from where it is relative")
    try:
        # As floats: 16-bit reads of float files come out as zeros.
        samples, rate = need("soundfile").read(file, dtype="float32", always_2d=True)
    except (RuntimeError, TypeError) as error:  # soundfile's own errors are RuntimeErrors
        raise ValueError(
            f"{name}: not readable as audio ({error}); expected a whole wav, flac, ogg or mp3 file"
        ) from error
    return samples, rate


def _channels_last(samples: Any) -> NDArray[np.float32]:
    """``(samples, channels)`` floats of an array or tensor given by a user."""
    if isinstance(samples, Tensor):
        samples = samples.float() if samples.is_floating_point() else samples
        samples = samples.detach().cpu().numpy()
    array = np.asarray(samples)
    if array.dtype != np.int16 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"samples: got dtype {array.dtype}, expected floats in [-1, 1] or 16-bit integers")
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > MOST_CHANNELS):
        raise ValueError(
            f"samples: got shape {array.shape}, expected (samples,), (channels, samples) "
            f"or (samples, channels) with at most {MOST_CHANNELS} channels"
        )
    scale = np.float32(32768 if array.dtype == np.int16 else 1)
    scaled: NDArray[np.float32] = array.astype(np.float32) / scale
    if array.ndim == 1:
        return scaled[:, None]
    return scaled.T if array.shape[0] <= array.shape[1] else scaled


def _mono(channels: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """The mean of the channels, ``(samples,)``, of ``(samples, channels)``."""
    if channels.size == 0:
        return np.zeros(0, dtype=np.float32)
    largest = np.abs(channels).max()
    if not largest < 100:  # NaN too; floats a little above 1 are a loud recording
        raise ValueError(
            f"{name}: got samples up to {largest}, expected numbers in [-1, 1] and no NaN; "
            "divide integers by 32768, or give them as int16"
        )
    return np.ascontiguousarray(channels.mean(1))


def _member(file: AudioFile) -> BytesIO:
    """The bytes of an archive's member. No handle stays open that a forked worker would share."""
    if not Path(file.path).is_file():
        raise ValueError(f"{file}: no such archive {file.path}; check the path")
    status = os.stat(file.path)
    places = _index(str(file.path), status.st_mtime_ns, status.st_size)
    if file.member not in places:
        some = ", ".join(list(places)[:3]) or "none"
        raise ValueError(f"{file}: the archive has no such member; got {len(places)}: {some} …")
    start, size = places[file.member]
    with open(file.path, "rb") as archive:
        archive.seek(start)
        return BytesIO(archive.read(size))


@lru_cache(maxsize=8)
def _index(path: str, changed: int, size: int) -> dict[str, tuple[int, int]]:
    """Where each member begins, and its size; read anew when the archive has changed."""
    try:
        with tarfile.open(path, "r:") as archive:
            return {m.name: (m.offset_data, m.size) for m in archive if m.isfile()}
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: not an uncompressed .tar ({error}); decompress it first (gunzip, unxz)"
        ) from error
