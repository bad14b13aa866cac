"""Finding the recordings that a table names without their ending, in a folder or a tar file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from multiseq.data.archives import AudioFile, members_of
from multiseq.data.records import DataError

__all__ = ["AUDIO", "by_stem", "find_recordings", "is_audio"]

AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")
"""Suffixes of audio files."""


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
    known = by_stem(audio) if not all(map(is_audio, names)) else {}
    recordings = []
    for name in names:
        places = [] if is_audio(name) else known.get(name, [])
        if len(places) > 1:
            raise DataError(
                f"{audio}: {name!r} could be {places[0]} or {places[1]}, expected one; add the ending"
            )
        recordings.append(places[0] if places else _in(audio, name))
    return recordings


def by_stem(audio: Path) -> dict[str, list[str | AudioFile]]:
    """Name without ending -> the recordings of that name, in a tar file or anywhere in a folder.

    The tar files of a folder are looked into as well.
    """
    known: dict[str, list[str | AudioFile]] = {}
    names = members_of(audio) if audio.is_file() else _names_in(audio)
    for name in names:
        if is_audio(name):
            known.setdefault(PurePosixPath(name).stem, []).append(_in(audio, name))
        elif name.lower().endswith(".tar") and not audio.is_file():
            for stem, places in by_stem(audio / name).items():
                known.setdefault(stem, []).extend(places)
    return known


def _in(audio: Path, name: str) -> str | AudioFile:
    return AudioFile(str(audio), name) if audio.is_file() else str(audio / name)


def _names_in(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        inner = Path(root).relative_to(folder)
        yield from ((inner / name).as_posix() for name in sorted(names))
