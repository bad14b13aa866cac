"""Check that an audio file holds all the sound that its header announces.

libsndfile reads a file that was cut off without an error. It writes its findings about the header into a
log, ``extra_info``, which we read.
"""

from __future__ import annotations

import re
from os import SEEK_END
from typing import Any

__all__ = ["check_whole", "expected_length"]

UNKNOWN = 1 << 62
"""From this number of frames on, libsndfile means that the header gives no length."""
STREAM = 0x7FFFF000
"""From this size in bytes on, a header was written by a stream, which did not know the size."""
MISSING = 0.01
"""Seconds. A file counts as cut off if more is missing. Some programs include the header in the size."""

SIZES = {
    "WAV": "data",
    "WAVEX": "data",
    "RF64": "Riff size",
    "W64": "riff",
    "AIFF": "SSND",
    "AU": "Data Size",
}
"""Container format -> name of its data size in libsndfile's log."""

KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
"""Whether a frame is MPEG 1 (32 kHz and above) -> kilobits per second for each number in its header."""

LAST_PAGE = 1 << 17
"""Bytes at the end of an Ogg file that contain its last page: twice the largest size of a page."""


def check_whole(file: Any, sound: Any, name: str) -> None:
    """Compare the header of a file with its size.

    Args:
        file: The file, open for reading.
        sound: The same file opened by soundfile, with nothing read yet.
        name: The file's name in messages.

    Raises:
        ValueError: The file was cut off, or its header was never completed.
    """
    if sound.format in SIZES:
        _check_sizes(sound, name)
    elif sound.format == "OGG":
        _keeping_place(_check_pages, file, name)
    elif sound.format == "MP3" and not _keeping_place(_has_tag, file):
        _keeping_place(_check_frames, file, sound, name)


def expected_length(file: Any, sound: Any) -> int | None:
    """The samples per channel that the header announces; None if it does not say."""
    if sound.format == "MP3" and not _keeping_place(_has_tag, file):
        return None  # libsndfile only guesses, from the first frame and the file size
    return None if sound.frames >= UNKNOWN else int(sound.frames)


def _check_sizes(sound: Any, name: str) -> None:
    log = sound.extra_info
    size = re.search(rf"^\s*{SIZES[sound.format]}\s*: (\d+)(?: \(should be (\d+)\))?", log, re.MULTILINE)
    if size is None:
        return
    said, there = int(size[1]), int(size[2] or size[1])
    riff = re.search(r"^RIFF : (\d+)", log, re.MULTILINE)
    length = re.search(r"^Length : (\d+)", log, re.MULTILINE)
    if said == 0 and riff and length and int(riff[1]) + 8 < int(length[1]):
        raise ValueError(
            f"{name}: got a header that says there is no sound and {length[1]} bytes, expected a whole file; "
            "a recorder was stopped before it wrote the size: repair it, for example with "
            "sox --ignore-length OLD NEW, or with ffmpeg -i OLD NEW"
        )
    if said <= there or said >= STREAM:
        return
    seconds = sound.frames / sound.samplerate
    whole = seconds * said / there if there else float("inf")
    if whole - seconds > MISSING:
        raise ValueError(
            f"{name}: got {seconds:.2f} s of sound in {there} bytes, expected {said} bytes as its header "
            "says; the file was cut off: copy it anew"
        )


def _keeping_place(function: Any, file: Any, *more: Any) -> Any:
    place = file.tell()
    try:
        return function(file, *more)
    finally:
        file.seek(place)


def _check_pages(file: Any, name: str) -> None:
    """The last page must be complete and be marked as the end of the stream. Raises ValueError."""
    file.seek(max(file.seek(0, SEEK_END) - LAST_PAGE, 0))
    tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    segments = page[26] if len(page) > 26 else 0
    size = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < 27 or not page[5] & 4 or len(page) < size:
        raise ValueError(
            f"{name}: got an Ogg file without its end, expected a last page that is marked as such; the "
            "file was cut off: copy it anew (ffmpeg -i OLD NEW marks the end of what is there)"
        )


def _check_frames(file: Any, sound: Any, name: str) -> None:
    """Raise ValueError if libsndfile guesses too short a length from the first frame: it reads no further."""
    frames = _mp3_frames(file, sound.samplerate)
    each = 1152 if sound.samplerate >= 32000 else 576
    if sound.frames < (frames - 3) * each:
        raise ValueError(
            f"{name}: got an MP3 file of {frames * each / sound.samplerate:.2f} s without a tag that says "
            f"so, of which {sound.frames / sound.samplerate:.2f} s can be read; convert it: ffmpeg -i OLD NEW"
        )


def _mp3_frames(file: Any, rate: int) -> int:
    """The number of consecutive layer III frames, found by their headers. ``rate`` is in Hz."""
    place, count = _first_frame(file), 0
    while True:
        file.seek(place)
        head = file.read(4)
        if len(head) < 4 or head[0] != 255 or head[1] & 0xE6 != 0xE2:
            return count
        kilobits = KILOBITS[head[1] >> 3 & 3 == 3][head[2] >> 4]
        if not kilobits:
            return count
        place += (144 if rate >= 32000 else 72) * 1000 * kilobits // rate + (head[2] >> 1 & 1)
        count += 1


def _first_frame(file: Any) -> int:
    """The byte at which the sound of an MP3 file begins: after the ID3 tag with names and pictures."""
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    sizes = zip(head[6:], (21, 14, 7, 0), strict=True)  # seven bits per byte
    return 10 + int(sum((byte & 127) << shift for byte, shift in sizes))


def _has_tag(file: Any) -> bool:
    """Whether the first frame of an MP3 file gives the number of frames (Xing or Info tag)."""
    file.seek(_first_frame(file))
    frame = file.read(256)
    return b"Xing" in frame or b"Info" in frame
