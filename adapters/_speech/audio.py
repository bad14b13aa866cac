"""Reading audio: files, members of archives and arrays, as one channel of samples in [-1, 1].

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
"""Hz. A lower one is a mistake (kHz for Hz, mostly)."""
HIGHEST_RATE = 768_000
"""Hz, of the fastest converters. A higher one is a damaged header, and its filters take gigabytes."""
MOST_CHANNELS = 32
"""An array with more on its shorter axis is no audio (a spectrogram, mostly)."""
BLOCK = 1 << 20
"""Samples of all channels that are read at a time: 4 MiB."""
CANCELLED = 1 / 20
"""Of the energy that the mean of unrelated channels has: below it, channels cancel each other out."""

Block = NDArray[np.float32]
"""``(samples, channels)``."""


@runtime_checkable
class _Source(Protocol):
    """Sound as it was given.

    Args:
        name: For messages.
        rate: Hz.
        channels: How many.
        length: Samples of a channel; None where only reading tells.
    """

    name: str
    rate: int
    channels: int
    length: int | None

    def blocks(self) -> Iterator[Block]:
        """All samples, from the first one at each call; only the last block is shorter than `_step`."""


@dataclass(frozen=True)
class Recording:
    """One channel of a recording, to be read block by block.

    Args:
        name: For messages.
        rate: Hz.
        length: Samples that the blocks have in all.
    """

    name: str
    rate: int
    length: int
    _source: _Source
    _channel: int | None
    _only: Block | None

    def blocks(self) -> Iterator[Float[Tensor, " samples"]]:
        """Samples in [-1, 1], from the first one at each call.

        Raises:
            ValueError: Samples that cannot be, or fewer than the file announces.
        """
        for block in self._source.blocks() if self._only is None else [self._only]:
            channel = block.mean(1) if self._channel is None else block[:, self._channel]
            yield torch.from_numpy(np.ascontiguousarray(channel))


def name_of(item: Any) -> str:
    """What to call an item in messages."""
    return str(item) if names_a_file(item) else "samples"


def names_a_file(item: Any) -> bool:
    """Whether an item is a path or a member of an archive, not samples."""
    return isinstance(item, str | os.PathLike | AudioFile)


def bytes_of(item: str | os.PathLike[str] | AudioFile) -> bytes:
    """A file as it is on the disk. Raises OSError or ValueError where there is none."""
    if not isinstance(item, AudioFile):
        return Path(item).read_bytes()
    with member_of(item) as member:
        return member.read()


def read_audio(item: Any) -> tuple[Float[Tensor, " samples"], int]:
    """One channel of samples in [-1, 1], and their rate in Hz: :func:`open_audio`, read whole."""
    recording = open_audio(item)
    return torch.cat([torch.zeros(0), *recording.blocks()]), recording.rate


def open_audio(item: Any, max_seconds: float | None = None) -> Recording:
    """A recording to read block by block. Several channels are averaged.

    Where channels cancel each other out (one is the other with its sign changed), the loudest one is
    taken, with a warning.

    Args:
        item: A path, an `AudioFile`, or ``(samples, rate)`` with floats in [-1, 1] or 16-bit
            integers, of one axis or of two (the shorter one is the channels).
        max_seconds: How long a recording may be; None: as long as it likes.

    Raises:
        ValueError: Missing, unreadable or cut files, values that are no samples, rates and shapes
            that cannot be, a recording that is too long.
    """
    source = _source_of(item)
    _check_seconds(source, source.length or 0, max_seconds)
    if source.length is not None and source.channels == 1:
        return Recording(source.name, source.rate, source.length, source, 0, None)
    length, only = 0, None
    energies, of_mean = np.zeros(source.channels), 0.0
    for block in source.blocks():
        only = None if length else block  # is not decoded twice, where it is the only one
        length += len(block)
        _check_seconds(source, length, max_seconds)
        energies += np.square(block, dtype=np.float64).sum(0)
        of_mean += float(np.square(block.mean(1), dtype=np.float64).sum())
    channel = _chosen(energies, of_mean, source.name)
    return Recording(source.name, source.rate, length, source, channel, only)


def _chosen(energies: NDArray[np.float64], of_mean: float, name: str) -> int | None:
    """The channel to take, or None for the mean of all."""
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
    if not largest < 100:  # NaN too; floats a little above 1 are a loud recording
        raise ValueError(
            f"{name}: got samples up to {largest}, expected numbers in [-1, 1] and no NaN; "
            "divide integers by 32768, or give them as int16"
        )
    return block


def _step(source: _Source) -> int:
    return max(BLOCK // max(source.channels, 1), 1)


class _Samples:
    """An array or tensor given by a user."""

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
    except (TypeError, ValueError) as error:  # lists of different lengths, say
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
    """A file on the disk or in an archive."""

    def __init__(self, item: str | os.PathLike[str] | AudioFile) -> None:
        self.name, self._item = name_of(item), item
        if not isinstance(item, AudioFile) and not _is_file(item):
            raise ValueError(f"{self.name}: no such file; check the path and from where it is relative")
        with _readable(self.name), self._opened() as file, self._sound(file) as sound:
            self.rate = _checked_rate(sound.samplerate, self.name)
            self.channels = sound.channels
            check_whole(file, sound, self.name)
            self._expected = expected_length(file, sound)
            self.length = None if sound.format == "MP3" else self._expected

    def _opened(self) -> Any:
        return member_of(self._item) if isinstance(self._item, AudioFile) else open(self._item, "rb")

    def _sound(self, file: Any) -> Any:
        """The view of soundfile, to be read once from beginning to end."""
        return _stream_class()(file if isinstance(self._item, AudioFile) else os.fspath(self._item))

    def blocks(self) -> Iterator[Block]:
        read, step = 0, _step(self)
        with _readable(self.name), self._opened() as file, self._sound(file) as sound:
            while True:
                # As floats: 16-bit reads of float files come out as zeros.
                block: Block = sound.read(step, dtype="float32", always_2d=True)
                read += len(block)
                if len(block) < step:
                    self._check_end(read)
                if len(block):
                    yield _checked_samples(block, self.name)
                if len(block) < step:
                    return

    def _check_end(self, read: int) -> None:
        slack = 2 * 1152 if self.length is None else 0  # samples of two MP3 frames
        if self._expected is not None and read < self._expected - slack:
            raise ValueError(
                f"{self.name}: got {read / self.rate:.2f} s of sound, expected "
                f"{self._expected / self.rate:.2f} s as its header says; the file was cut off: copy it anew"
            )


def _is_file(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long for the system, or a NUL in it
        return False


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Errors of soundfile, which are RuntimeErrors, as ours."""
    try:
        yield
    except (RuntimeError, TypeError, OSError, MemoryError) as error:
        raise ValueError(
            f"{name}: not readable as audio ({error}); expected a whole wav, flac, ogg or mp3 file"
        ) from error


@lru_cache(maxsize=1)
def _stream_class() -> type[Any]:
    class Stream(need("soundfile").SoundFile):  # type: ignore[misc]  # imported when it is needed
        def seekable(self) -> bool:
            # Or soundfile seeks after every read, after which mp3 is decoded wrongly.
            return False

    return Stream
