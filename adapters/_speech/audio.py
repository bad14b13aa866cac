"""Read audio from files, archive members and arrays as one channel of samples in [-1, 1].

Recordings are read block by block, so that an hour of sound takes no more memory than a minute.

Axes: samples (of one channel), channels.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from multiseq.adapters._speech.whole_audio import check_whole, expected_length
from multiseq.data.archives import AudioFile, member_of
from multiseq.requires import need

__all__ = [
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "AudioFile",
    "Recording",
    "bytes_of",
    "name_of",
    "names_a_file",
    "open_audio",
    "read_audio",
]

LOWEST_RATE = 1000
"""Lowest sample rate in Hz. A lower rate is a mistake, mostly kHz instead of Hz."""
HIGHEST_RATE = 768_000
"""Highest sample rate in Hz, of the fastest converters. A higher rate means a damaged header, and the filters
for resampling would take gigabytes."""
MOST_CHANNELS = 32
"""Most channels. An array whose shorter axis is longer is not audio, but mostly a spectrogram."""
BLOCK = 1 << 20
"""Number of samples, over all channels, that are read at a time: 4 MiB."""
CANCELLED = 1 / 20
"""Channels cancel each other out if their mean has less than this share of the energy that the mean of
unrelated channels would have."""

Block = NDArray[np.float32]
"""``(samples, channels)``."""


@runtime_checkable
class _Source(Protocol):
    """The sound that a user gave: an array or a file.

    Args:
        name: Name in messages.
        rate: Sample rate in Hz.
        channels: Number of channels.
        length: Samples per channel; None if only reading the whole file can tell.
    """

    name: str
    rate: int
    channels: int
    length: int | None

    def blocks(self) -> Iterator[Block]:
        """All samples; each call starts at the first one. Only the last block is shorter than `_step`."""


@dataclass(frozen=True)
class Recording:
    """One channel of a recording, to be read block by block.

    Args:
        name: Name in messages.
        rate: Sample rate in Hz.
        length: Number of samples in all blocks together.
    """

    name: str
    rate: int
    length: int
    _source: _Source
    _channel: int | None
    _only: Block | None

    def blocks(self) -> Iterator[Float[Tensor, " samples"]]:
        """Samples in [-1, 1]; each call starts at the first one.

        Raises:
            ValueError: Invalid samples, or fewer samples than the header of the file announces.
        """
        for block in self._source.blocks() if self._only is None else [self._only]:
            channel = block.mean(1) if self._channel is None else block[:, self._channel]
            yield torch.from_numpy(np.ascontiguousarray(channel))


def name_of(item: Any) -> str:
    """The name of an item in messages."""
    return str(item) if names_a_file(item) else "samples"


def names_a_file(item: Any) -> bool:
    """Whether an item is a path or an archive member, and not samples."""
    return isinstance(item, str | os.PathLike | AudioFile)


def bytes_of(item: str | os.PathLike[str] | AudioFile) -> bytes:
    """The bytes of a file or archive member. Raises OSError or ValueError if it does not exist."""
    if not isinstance(item, AudioFile):
        return Path(item).read_bytes()
    with member_of(item) as member:
        return member.read()


def read_audio(item: Any) -> tuple[Float[Tensor, " samples"], int]:
    """Read a whole recording (:func:`open_audio`): one channel of samples in [-1, 1], and the rate in Hz."""
    recording = open_audio(item)
    return torch.cat([torch.zeros(0), *recording.blocks()]), recording.rate


def open_audio(item: Any, max_seconds: float | None = None) -> Recording:
    """Open a recording, to read it block by block. Several channels are averaged.

    If channels cancel each other out (one is the other with its sign changed), the recording is the loudest
    channel, and a warning says so.

    Args:
        item: A path, an `AudioFile`, or ``(samples, rate)`` with the rate in Hz. Samples are floats in
            [-1, 1] or 16-bit integers, with one axis or two; the shorter axis counts channels.
        max_seconds: Longest recording in seconds; None: no limit.

    Raises:
        ValueError: The file is missing, unreadable or cut off; samples, rate or shape are invalid; or the
            recording is too long.
    """
    source = _source_of(item)
    _check_seconds(source, source.length or 0, max_seconds)
    if source.length is not None and source.channels == 1:
        return Recording(source.name, source.rate, source.length, source, 0, None)
    length, only = 0, None
    energies, of_mean = np.zeros(source.channels), 0.0
    for block in source.blocks():
        only = None if length else block  # keep a single block, so that it is not decoded twice
        length += len(block)
        _check_seconds(source, length, max_seconds)
        energies += np.square(block, dtype=np.float64).sum(0)
        of_mean += float(np.square(block.mean(1), dtype=np.float64).sum())
    channel = _chosen(energies, of_mean, source.name)
    return Recording(source.name, source.rate, length, source, channel, only)


def _chosen(energies: NDArray[np.float64], of_mean: float, name: str) -> int | None:
    """The number of the channel to use, or None for the mean of all channels."""
    count = max(len(energies), 1)
    if of_mean >= CANCELLED * energies.sum() / count**2:  # unrelated channels have energies.sum() / count**2
        return None
    loudest = int(energies.argmax())
    warnings.warn(
        f"{name}: its channels are in opposite phase, their mean is next to silence; took channel "
        f"{loudest}, the loudest. Give (samples, rate) with one channel to choose yourself",
        stacklevel=3,
    )
    return loudest


def _check_seconds(source: _Source, length: int, max_seconds: float | None) -> None:
    if max_seconds is not None and length > max_seconds * source.rate:
        raise ValueError(
            f"{source.name}: got a recording of {length / source.rate:.0f} s or more, expected at most "
            f"{max_seconds:g} s; cut it, or set max_seconds higher (in Python, None lifts the limit)"
        )


def _source_of(item: Any) -> _Source:
    if isinstance(item, tuple) and len(item) == 2:
        return _Samples(item[0], item[1])
    if names_a_file(item):
        return _File(item)
    raise ValueError(
        f"recording: got {type(item).__name__}, expected a path, an AudioFile(path, member) "
        "or a tuple (samples, rate)"
    )


def _checked_rate(rate: Any, name: str) -> int:
    real = isinstance(rate, int | float | np.integer | np.floating)
    if not real or not LOWEST_RATE <= rate <= HIGHEST_RATE or rate != int(rate):
        raise ValueError(
            f"{name}: got a rate of {rate!r}, expected samples per second, a whole number of at "
            f"least {LOWEST_RATE} and at most {HIGHEST_RATE} (16000, say)"
        )
    return int(rate)


def _checked_samples(block: Block, name: str) -> Block:
    largest = np.abs(block).max(initial=0)
    if not largest < 100:  # also catches NaN; floats a little above 1 occur in loud recordings
        raise ValueError(
            f"{name}: got samples up to {largest}, expected numbers in [-1, 1] and no NaN; "
            "divide integers by 32768, or give them as int16"
        )
    return block


def _step(source: _Source) -> int:
    return max(BLOCK // max(source.channels, 1), 1)


class _Samples:
    """Samples in an array or tensor."""

    name = "samples"

    def __init__(self, samples: Any, rate: Any) -> None:
        self.rate = _checked_rate(rate, self.name)
        if isinstance(samples, Tensor):
            floats = samples.is_floating_point() and samples.dtype != torch.float64
            samples = (samples.float() if floats else samples).detach().cpu().numpy()
        self._array = _channels_last(_array_of(samples))
        self.length, self.channels = self._array.shape

    def blocks(self) -> Iterator[Block]:
        scale = np.float32(32768 if self._array.dtype == np.int16 else 1)
        for first in range(0, self.length, _step(self)):
            block = self._array[first : first + _step(self)].astype(np.float32) / scale
            yield _checked_samples(block, self.name)


def _array_of(samples: Any) -> NDArray[Any]:
    try:
        return np.asarray(samples)
    except (TypeError, ValueError) as error:  # for example lists of different lengths
        raise ValueError(
            f"samples: got {type(samples).__name__}, expected an array of numbers ({error})"
        ) from None


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype != np.int16 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"samples: got dtype {array.dtype}, expected floats in [-1, 1] or 16-bit integers")
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > MOST_CHANNELS):
        raise ValueError(
            f"samples: got shape {array.shape}, expected (samples,), (channels, samples) "
            f"or (samples, channels) with at most {MOST_CHANNELS} channels"
        )
    if array.ndim == 1 or array.size == 0:
        return array.reshape(-1, 1)
    return array.T if array.shape[0] <= array.shape[1] else array


class _File:
    """An audio file on the disk or in an archive."""

    def __init__(self, item: str | os.PathLike[str] | AudioFile) -> None:
        self.name, self._item = name_of(item), item
        if not isinstance(item, AudioFile) and not _is_file(item):
            raise ValueError(f"{self.name}: no such file; check the path and the folder it is relative to")
        with _readable(self.name), self._opened() as file, self._sound_file(file) as sound:
            self.rate = _checked_rate(sound.samplerate, self.name)
            self.channels = sound.channels
            check_whole(file, sound, self.name)
            self._expected = expected_length(file, sound)
            self.length = None if sound.format == "MP3" else self._expected

    def _opened(self) -> Any:
        return member_of(self._item) if isinstance(self._item, AudioFile) else open(self._item, "rb")

    def _sound_file(self, file: Any) -> Any:
        """The file as soundfile opens it, to be read once from beginning to end."""
        return _stream_class()(file if isinstance(self._item, AudioFile) else os.fspath(self._item))

    def blocks(self) -> Iterator[Block]:
        read, step = 0, _step(self)
        with _readable(self.name), self._opened() as file, self._sound_file(file) as sound:
            while True:
                # Read floats: reading a float file as 16-bit integers gives zeros.
                block: Block = sound.read(step, dtype="float32", always_2d=True)
                read += len(block)
                if len(block) < step:
                    self._check_end(read)
                if len(block):
                    yield _checked_samples(block, self.name)
                if len(block) < step:
                    return

    def _check_end(self, read: int) -> None:
        slack = 2 * 1152 if self.length is None else 0  # samples in two MP3 frames
        if self._expected is not None and read < self._expected - slack:
            raise ValueError(
                f"{self.name}: got {read / self.rate:.2f} s of sound, expected "
                f"{self._expected / self.rate:.2f} s as its header says; the file was cut off: copy it anew"
            )


def _is_file(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # the path is too long for the system or contains NUL
        return False


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn errors of soundfile into ValueErrors with our message."""
    try:
        yield
    except (RuntimeError, TypeError, OSError, MemoryError) as error:
        raise ValueError(
            f"{name}: not readable as audio ({error}); expected a whole wav, flac, ogg or mp3 file"
        ) from error


@lru_cache(maxsize=1)
def _stream_class() -> type[Any]:
    class Stream(need("soundfile").SoundFile):  # type: ignore[misc]  # imported only when needed
        def seekable(self) -> bool:
            # Otherwise soundfile seeks after every read, and then decodes mp3 wrongly.
            return False

    return Stream
