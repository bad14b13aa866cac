"""Data folders of Kaldi: ``wav.scp``, ``segments``, ``text``, ``utt2spk`` and the like.

Source: https://kaldi-asr.org/doc/data_prep.html
Nothing in them is executed: a recording that ``wav.scp`` gives as a command is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multiseq.data.archives import AudioFile
from multiseq.data.bad_rows import Reject, stop
from multiseq.data.recordings import AudioSegment, by_stem, recording_in, recording_of_name
from multiseq.data.records import DataError
from multiseq.data.text_files import lines_of

__all__ = ["RECORDING", "SPEAKER", "TEXT", "UTTERANCE", "Utterance", "folder_of", "is_kaldi", "labels_of"]
__all__ += ["utterances_of"]

UTTERANCE, RECORDING, SPEAKER, TEXT = "utterance", "recording", "speaker", "text"
"""Columns: the names of the utterance and, if there are segments, of its recording; and what files say."""

SCP, SEGMENTS, SPEAKERS = "wav.scp", "segments", "utt2spk"

OTHERS = ("spk2utt", SPEAKERS, "utt2uniq")
"""Files of the form ``utt2X`` and ``spk2X`` that are no columns called X."""

_RANGE = re.compile(r".*:\d+|(ark|scp)[,\w]*:.*")
"""A place in an archive of Kaldi: ``feats.ark:1042``."""

_TO_THE_END = -1
"""The end of a segment that ends with its recording."""


@dataclass(frozen=True)
class Utterance:
    """One utterance of a data folder.

    Args:
        name: Its identifier.
        item: Its recording, or the segment of it.
        location: File and line, for messages.
        cells: The columns that tell where it is from.
    """

    name: str
    item: str | AudioFile | AudioSegment
    location: str
    cells: Mapping[str, str] = field(default_factory=dict)


def is_kaldi(path: Path) -> bool:
    """Whether a path is a data folder, or the ``wav.scp`` of one."""
    folder = folder_of(path)
    names = (SCP, SEGMENTS, SPEAKERS)
    return (
        folder.is_dir() and (path.is_dir() or path.name == SCP) and any((folder / n).is_file() for n in names)
    )


def folder_of(path: Path) -> Path:
    """The data folder that a path means: itself, or the folder of its ``wav.scp``."""
    return path.parent if path.name == SCP and not path.is_dir() else path


def utterances_of(
    path: Path,
    audio: Path | None = None,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Iterator[Utterance]:
    """The utterances of a data folder: of ``segments``, else of ``wav.scp``, else of ``utt2spk`` or ``text``.

    Args:
        path: The folder.
        audio: Where recordings are that are not in the folder: what paths in ``wav.scp`` are relative to, and
            without a ``wav.scp``, the folder or the tar file that has recordings of the utterances' names.
        encoding: The encoding of all files.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a line that is no utterance.

    Raises:
        DataError: The folder has none of these files, or one cannot be read.
    """
    folder = folder_of(path)
    if not is_kaldi(path):
        expected = (
            f"expected a data folder of Kaldi, with {SCP} or {SEGMENTS}, and perhaps {TEXT}, {SPEAKERS}"
        )
        raise DataError(
            f"{path}: {'no such folder' if not folder.is_dir() else 'no list of recordings'}, {expected}"
        )

    def lines(name: str) -> Iterator[tuple[str, str, str]]:
        return _lines(folder / name, encoding, unpack_limit, reject)

    find = _finder(folder, audio or folder, lines, reject)
    if (folder / SEGMENTS).is_file():
        for location, name, rest in lines(SEGMENTS):
            try:
                recording, item = _segment(rest, find)
            except ValueError as error:
                reject(location, str(error), f"{name} {rest}")
                continue
            yield Utterance(name, item, location, {RECORDING: recording})
        return
    listed = next(name for name in (SCP, SPEAKERS, TEXT) if (folder / name).is_file())
    for location, name, rest in lines(listed):
        try:
            yield Utterance(name, find(name), location)
        except ValueError as error:
            reject(location, str(error), f"{name} {rest}")


Find = Callable[[str], "str | AudioFile"]
"""Gives the recording of a name. Raises ValueError if it cannot be used."""


def _finder(folder: Path, audio: Path, lines: Any, reject: Reject) -> Find:
    if not (folder / SCP).is_file():
        inside = by_stem(folder)
        outside = {} if audio == folder else by_stem(audio)
        return lambda name: (
            recording_of_name(inside, folder, name)
            if name in inside
            else recording_of_name(outside, audio, name)
        )
    if not audio.exists():
        raise DataError(f"{audio}: no such file or folder, expected the recordings")
    given = {name: (location, rest) for location, name, rest in lines(SCP)}

    def find(name: str) -> str | AudioFile:
        if name not in given:
            raise ValueError(f"got the recording {name!r}, expected one of {folder / SCP}")
        location, rest = given[name]
        try:
            path = _path(rest)
            beside = folder / path
            # Unlike Path.is_file, this is False for names that are too long for the system.
            return str(beside) if os.path.isfile(beside) else recording_in(audio, path)
        except ValueError as error:
            place = f" ({location})" if (folder / SEGMENTS).is_file() else ""
            raise ValueError(f"{error}{place}") from None

    return find


def _path(given: str) -> str:
    """The path in a line of ``wav.scp``. Raises ValueError for everything else that Kaldi takes there."""
    advice = "write the recording into a file first, and its path here"
    if "|" in (given[:1], given[-1:]):
        raise ValueError(f"got the command {given[:60]!r}, which is not executed, expected a path; {advice}")
    if _RANGE.fullmatch(given) or given == "-":
        raise ValueError(f"got {given[:60]!r}, a place in an archive of Kaldi, expected a path; {advice}")
    if not given:
        raise ValueError("got no path, expected that of a recording")
    return given


def _segment(rest: str, find: Find) -> tuple[str, AudioSegment]:
    fields = rest.split()
    if len(fields) != 3:
        raise ValueError(
            f"got {len(fields) + 1} fields, expected utterance, recording, start and end in seconds"
        )
    recording, *times = fields
    try:
        start, end = map(float, times)
    except ValueError:
        raise ValueError(f"got the times {times[0]!r} and {times[1]!r}, expected seconds") from None
    if not 0 <= start < (float("inf") if end == _TO_THE_END else end):
        raise ValueError(f"got a segment from {times[0]} to {times[1]} s, expected 0 <= start < end")
    return recording, AudioSegment(find(recording), start, None if end == _TO_THE_END else end)


def labels_of(
    path: Path, encoding: str = "utf-8", unpack_limit: int | None = None, reject: Reject = stop
) -> dict[str, dict[str, tuple[str, str]]]:
    """The label columns of a data folder: name of the column -> utterance -> (label, location).

    ``text``, ``speaker`` (of ``utt2spk``), and X for each file ``utt2X`` and ``spk2X``.
    """
    folder = folder_of(path)
    found: dict[str, dict[str, tuple[str, str]]] = {}

    def read(name: str) -> dict[str, tuple[str, str]]:
        lines = _lines(folder / name, encoding, unpack_limit, reject)
        return {key: (rest, location) for location, key, rest in lines}

    if (folder / TEXT).is_file():
        found[TEXT] = read(TEXT)
    speakers = read(SPEAKERS) if (folder / SPEAKERS).is_file() else {}
    if speakers:
        found[SPEAKER] = speakers
    for file in sorted(folder.glob("spk2*")):
        if file.is_file() and file.name not in OTHERS:
            of_speaker = read(file.name)
            known = {utt: of_speaker[spk] for utt, (spk, _) in speakers.items() if spk in of_speaker}
            found[file.name.removeprefix("spk2")] = known
    for file in sorted(folder.glob("utt2*")):
        if file.is_file() and file.name not in OTHERS:
            found[file.name.removeprefix("utt2")] = read(file.name)
    return found


def _lines(
    path: Path, encoding: str, unpack_limit: int | None, reject: Reject
) -> Iterator[tuple[str, str, str]]:
    """(location, first word, the rest) of each line. A word that comes twice is rejected."""
    seen = set()
    for number, line in enumerate(lines_of(path, encoding, unpack_limit), 1):
        name, *rest = line.split(maxsplit=1) or [""]
        if not name:
            continue
        location = f"{path}:{number}"
        if name in seen:
            reject(location, f"got {name!r} a second time, expected one line for each", line)
            continue
        seen.add(name)
        yield location, name, rest[0].strip() if rest else ""
