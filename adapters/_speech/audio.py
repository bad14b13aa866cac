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
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from multiseq.adapters._speech.whole_audio import check_whole, expected_length
from multiseq.data.archives import AudioFile, member_of
from multiseq.data.recordings import AudioSegment
from multiseq.requires import need

__all__ = [
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "MOST_CHANNELS",
    "AudioFile",
    "AudioSegment",
    "Recording",
    "content_of",
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

OVERSHOOT = 0.5
"""Seconds by which a segment may end after its recording, and is cut (as Kaldi's extract-segments does)."""

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
    """Whether an item is a path, an archive member or a segment of one, and not samples."""
    return isinstance(item, str | os.PathLike | AudioFile | AudioSegment)


def content_of(item: Any) -> Any:
    """What an item's sound depends on, for digests: samples, or the bytes of a file and a segment's times.

    A file also has its name, because examples keep the name for messages. Raises OSError or ValueError if the
    file does not exist.
    """
    if not names_a_file(item):
        return item
    if isinstance(item, AudioSegment):
        # One file has many segments, so that its bytes are not read again for each.
        return [{"name": name_of(item), "bytes": _digest(*_version(item.file))}, item.start, item.end]
    if not isinstance(item, AudioFile):
        return {"name": name_of(item), "bytes": Path(item).read_bytes()}
    with member_of(item) as member:
        return {"name": name_of(item), "bytes": member.read()}


def _version(file: str | os.PathLike[str] | AudioFile) -> tuple[str | AudioFile, int, int]:
    """A file, and when it changed: what the cache of digests knows it by."""
    path = file.path if isinstance(file, AudioFile) else file
    status = os.stat(path)
    return file if isinstance(file, AudioFile) else os.fspath(file), status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4096)
def _digest(file: str | AudioFile, changed: int, size: int) -> str:
    digest = sha256()
    with member_of(file) if isinstance(file, AudioFile) else open(file, "rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_audio(item: Any) -> tuple[Float[Tensor, " samples"], int]:
    """Read a whole recording (:func:`open_audio`): one channel of samples in [-1, 1], and the rate in Hz."""
    recording = open_audio(item)
    return torch.cat([torch.zeros(0), *recording.blocks()]), recording.rate


def open_audio(item: Any, max_seconds: float | None = None, channel: int | None = None) -> Recording:
    """Open a recording, to read it block by block. Several channels are averaged, unless one is chosen.

    If channels cancel each other out (one is the other with its sign changed), the recording is the loudest
    channel, and a warning says so.

    Args:
        item: A path, an `AudioFile`, an `AudioSegment` of one of these, or ``(samples, rate)`` with the rate
            in Hz. Samples are floats in [-1, 1] or 16-bit integers, with one axis or two; the shorter axis
            counts channels.
        max_seconds: Longest recording in seconds; None: no limit.
        channel: The number of the channel to take of several.

    Raises:
        ValueError: The file is missing, unreadable or cut off; samples, rate or shape are invalid; a segment
            is not in its recording; or the recording is too long, or has fewer channels (but more than one).
    """
    source = _source_of(item)
    _check_seconds(source, source.length or 0, max_seconds)
    if channel is not None and source.channels > 1 and channel >= source.channels:
        raise ValueError(
            f"{source.name}: got {source.channels} channels, expected one with the number {channel} (the "
            "first is 0); choose another channel"
        )
    chosen = 0 if source.channels == 1 else channel
    if source.length is not None and chosen is not None:
        return Recording(source.name, source.rate, source.length, source, chosen, None)
    length, only = 0, None
    energies, of_mean = np.zeros(source.channels), 0.0
    for block in source.blocks():
        only = None if length else block  # keep a single block, so that it is not decoded twice
        length += len(block)
        _check_seconds(source, length, max_seconds)
        energies += np.square(block, dtype=np.float64).sum(0)
        of_mean += float(np.square(block.mean(1), dtype=np.float64).sum())
    if chosen is None:
        chosen = _chosen(energies, of_mean, source.name)
    return Recording(source.name, source.rate, length, source, chosen, only)


def _chosen(energies: NDArray[np.float64], of_mean: float, name: str) -> int | None:
    """The number of the channel to use, or None for the mean of all channels."""
    count = max(len(energies), 1)
    if of_mean >= CANCELLED * energies.sum() / count**2:  # unrelated channels have energies.sum() / count**2
        return None
    loudest = int(energies.argmax())
    warnings.warn(
        f"{name}: its channels are in opposite phase, their mean is next to silence; took channel "
        f"{loudest}, the loudest. Set channel of the speech adapter to choose yourself",
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
    if isinstance(item, AudioSegment):
        return _Segment(item)
    if names_a_file(item):
        return _File(item)
    raise ValueError(
        f"recording: got {type(item).__name__}, expected a path, an AudioFile(path, member), "
        "an AudioSegment(file, start, end) or a tuple (samples, rate)"
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
            self._seeks = sound.format != "MP3" and sound.subtype != "VORBIS"

    def _opened(self) -> Any:
        return member_of(self._item) if isinstance(self._item, AudioFile) else open(self._item, "rb")

    def _sound_file(self, file: Any) -> Any:
        """The file as soundfile opens it, to be read once from beginning to end."""
        return _stream_class()(file if isinstance(self._item, AudioFile) else os.fspath(self._item))

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[Block]:
        """As `_Source.blocks`, of the samples from ``first`` up to ``last``."""
        # libsndfile seeks inexactly in MP3, and by up to 128 samples wrong in the last page of Vorbis: there,
        # what is before the segment is decoded and dropped.
        skipped = first if self._seeks else 0
        read, step = skipped, _step(self)
        with _readable(self.name), self._opened() as file, self._sound_file(file) as sound:
            if skipped:
                sound.seek(skipped)
            while True:
                wanted = step if last is None else min(step, last - read)
                # Read floats: reading a float file as 16-bit integers gives zeros.
                block: Block = sound.read(wanted, dtype="float32", always_2d=True)
                new = block[max(first - read, 0) :]
                read += len(block)
                if len(block) < wanted:
                    self._check_end(read)
                if len(new):
                    yield _checked_samples(new, self.name)
                if len(block) < wanted or read == last:
                    return

    def _check_end(self, read: int) -> None:
        slack = 2 * 1152 if self.length is None else 0  # samples in two MP3 frames
        if self._expected is not None and read < self._expected - slack:
            raise ValueError(
                f"{self.name}: got {read / self.rate:.2f} s of sound, expected "
                f"{self._expected / self.rate:.2f} s as its header says; the file was cut off: copy it anew"
            )


class _Segment:
    """A part of an audio file. Of what is before it, nothing is decoded, except in MP3 files."""

    def __init__(self, item: AudioSegment) -> None:
        self.name, self._file = str(item), _File(item.file)
        self.rate, self.channels = self._file.rate, self._file.channels
        self._first = round(item.start * self.rate)
        last = None if item.end is None else round(item.end * self.rate)
        whole = self._file.length
        if whole is not None:
            beyond = 0 if last is None else last - whole
            if self._first >= whole or beyond > OVERSHOOT * self.rate:
                raise ValueError(
                    f"{self.name}: got a segment of a recording of {whole / self.rate:.2f} s, expected one "
                    f"that begins before that, and ends at most {OVERSHOOT:g} s after it"
                )
            last = whole if last is None else min(last, whole)
        if last is not None and last <= self._first:
            raise ValueError(f"{self.name}: got a segment without a sample, expected a longer one")
        self._last = last
        self.length = None if last is None or whole is None else last - self._first

    def blocks(self) -> Iterator[Block]:
        read = 0
        for block in self._file.blocks(self._first, self._last):
            read += len(block)
            yield block
        short = 0 if self._last is None else self._last - self._first - read
        if not read or short > OVERSHOOT * self.rate:
            raise ValueError(
                f"{self.name}: got {read / self.rate:.2f} s of sound, expected the whole segment; the "
                "recording is shorter"
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
