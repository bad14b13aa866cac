"""Finding the recordings that a table names, in a folder or a tar file, and parts of recordings."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from multiseq.data.archives import AudioFile, members_of
from multiseq.data.records import DataError

__all__ = [
    "AUDIO",
    "TIMES",
    "AudioSegment",
    "by_stem",
    "find_recordings",
    "finder",
    "is_audio",
    "recording_in",
    "recording_of_name",
    "segment_of",
]

AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")
"""Suffixes of audio files."""

TIMES = ("start", "end")
"""Columns that say which part of a recording an item is, if a table has both."""


@dataclass(frozen=True)
class AudioSegment:
    """A part of a recording, from ``start`` to ``end``. Only this part of the file is decoded.

    Args:
        file: A path, or an `AudioFile` in an archive.
        start: Seconds from the beginning of the recording.
        end: Seconds from the beginning of the recording; None is its end.

    Raises:
        ValueError: Not ``0 <= start < end``.

    Example:
        >>> str(AudioSegment("talk.wav", 61.5, 64.0))
        'talk.wav, 61.5 to 64 s'
    """

    file: str | os.PathLike[str] | AudioFile
    start: float
    end: float | None = None

    def __post_init__(self) -> None:
        end = math.inf if self.end is None else self.end
        if not 0 <= self.start < end or math.isinf(self.start):
            raise ValueError(f"{self}: expected times in seconds, 0 <= start < end")

    def __str__(self) -> str:
        end = "the end" if self.end is None else f"{self.end:g} s"
        return f"{self.file}, {self.start:g} to {end}"


def is_audio(name: str | Path) -> bool:
    """Whether a file's name ends like that of an audio file."""
    return str(name).lower().endswith(AUDIO)


def find_recordings(audio: Path, names: Sequence[str]) -> list[str | AudioFile]:
    """The recordings that a table names.

    A name with an ending (``a/1.wav``) is a path in ``audio``. A name without one (``1``) is the file of that
    name with any ending of audio files, in ``audio``, or in a folder or tar file in it.

    Args:
        audio: A folder or a tar file.
        names: As in the table.

    Raises:
        DataError: Two files have a name that the table gives without an ending.
    """
    return list(map(finder(audio), names))


def finder(audio: Path) -> Callable[[str], str | AudioFile]:
    """A function from a name in a table to the recording, as :func:`find_recordings` says.

    It looks through the folder or tar file once, when it meets the first name without an ending.
    """
    known = cache(partial(by_stem, audio))

    def find(name: str) -> str | AudioFile:
        if "\\" in name and not (audio / name).exists():  # a list from Windows
            name = name.replace("\\", "/")
        places = [] if is_audio(name) else known().get(name, [])
        if len(places) > 1:
            raise DataError(
                f"{audio}: {name!r} could be {places[0]} or {places[1]}, expected one; add the ending"
            )
        return places[0] if places else recording_in(audio, name)

    return find


def by_stem(audio: Path) -> dict[str, list[str | AudioFile]]:
    """Name without ending -> the recordings of that name, in a tar file or anywhere in a folder.

    The tar files of a folder are looked into as well.
    """
    known: dict[str, list[str | AudioFile]] = {}
    if not audio.exists():
        raise DataError(f"{audio}: no such file or folder, expected the recordings")
    names = members_of(audio) if audio.is_file() else _names_in(audio)
    for name in names:
        if is_audio(name):
            known.setdefault(PurePosixPath(name).stem, []).append(recording_in(audio, name))
        elif name.lower().endswith(".tar") and not audio.is_file():
            for stem, places in by_stem(audio / name).items():
                known.setdefault(stem, []).extend(places)
    return known


def recording_of_name(
    known: Mapping[str, Sequence[str | AudioFile]], audio: Path, name: str
) -> str | AudioFile:
    """The recording called ``name``, which may have folders before it: ``anna/01`` is ``anna/01.wav``.

    Args:
        known: What `by_stem` says of ``audio``.
        audio: The folder or the tar file.
        name: A name without ending. The folders in it decide if several recordings have the same last name.

    Raises:
        ValueError: There is no such recording, or there are several.
    """
    places = {place: _name_in(audio, place) for place in known.get(PurePosixPath(name).name, [])}
    exact = [place for place, found in places.items() if found == name]
    # A name without folders, and a recording without folders, fit any folder of the other.
    near = [p for p, found in places.items() if "/" not in found or f"/{found}".endswith(f"/{name}")]
    fitting = exact or near
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise ValueError(f"no recording {name!r} in {audio}, expected one with an ending such as .wav")
    raise ValueError(f"{name!r} could be {fitting[0]} or {fitting[1]}, expected one; rename one of them")


def _name_in(audio: Path, place: str | AudioFile) -> str:
    """The path of a recording in the folder or the archive, without its ending."""
    if isinstance(place, AudioFile):
        return PurePosixPath(place.member).with_suffix("").as_posix()
    return Path(place).relative_to(audio).with_suffix("").as_posix()


def segment_of(file: Any, start: Any, end: Any) -> Any:
    """A part of a recording, from cells of a table; the whole recording if both are empty.

    Raises:
        ValueError: The cells are no times in seconds.

    >>> segment_of("a.wav", "0.5", "2"), segment_of("a.wav", "", None)
    (AudioSegment(file='a.wav', start=0.5, end=2.0), 'a.wav')
    """
    if start in ("", None) and end in ("", None):
        return file
    try:
        return AudioSegment(file, float(start or 0), None if end in ("", None) else float(end))
    except (TypeError, ValueError):
        raise ValueError(
            f"got {start!r} in the column start and {end!r} in the column end, expected seconds with "
            "start < end: the part of the recording; rename these columns if they mean something else"
        ) from None


def recording_in(audio: Path, name: str) -> str | AudioFile:
    """The recording at a path in a folder, or the member of an archive."""
    return AudioFile(str(audio), name) if audio.is_file() else str(audio / name)


def _names_in(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        inner = Path(root).relative_to(folder)
        yield from ((inner / name).as_posix() for name in sorted(names))
