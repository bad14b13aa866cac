"""Spoken strings of digits: clips of the Free Spoken Digit Dataset, joined without a pause.

    python -m benchmarks.accuracy.digit_strings --data FOLDER_OF_THE_DATASET --out FOLDER
    multiseq train digit-strings --data FOLDER

The folder gets ``strings.tar`` and ``manifest.tsv`` (columns file, split, speaker, text, clips), an ordinary
table of recordings. A string has 1 to 7 digits of one speaker; its text is ``7 0 3``. Strings of test are
made of the clips of the official test split alone (indices 0 to 4), those of dev of the indices 5 to 9, and
those of train of the others, so that no clip is in two splits. The same strings are drawn everywhere.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

__all__ = ["SPLITS", "write"]

SPLITS = {"train": (range(10, 50), 500), "dev": (range(5, 10), 50), "test": (range(5), 50)}
"""Split -> the indices of its clips, and the number of strings of each speaker."""
LONGEST = 7
"""Most digits of a string."""

Clip = tuple[str, NDArray[np.int16], int]
"""The digit, the samples, and their rate in Hz."""


def write(data: Path, out: Path, num: dict[str, int] | None = None) -> None:
    """Write the strings.

    Args:
        data: The data set, with ``recordings_flac.tar``: ``DIGIT_SPEAKER_INDEX.flac``.
        out: A new folder.
        num: Split -> the number of strings of each speaker. Default: that of `SPLITS`.
    """
    clips = dict(_clips(data / "recordings_flac.tar"))
    speakers = sorted({speaker for speaker, _, _ in clips})
    draw = random.Random(0).random  # Python promises the same numbers everywhere
    out.mkdir(parents=True)
    manifest = out / "manifest.tsv"
    with tarfile.open(out / "strings.tar", "w") as archive, manifest.open("w", encoding="utf-8") as table:
        rows = csv.writer(table, delimiter="\t", lineterminator="\n")
        rows.writerow(["file", "split", "speaker", "text", "clips"])
        for split, (indices, usual) in SPLITS.items():
            for speaker in speakers:
                names = sorted(name for name in clips if name[0] == speaker and name[2] in indices)
                for number in range((num or {}).get(split, usual)):
                    chosen = [names[int(draw() * len(names))] for _ in range(1 + int(draw() * LONGEST))]
                    file = f"{split}_{speaker}_{number}.flac"
                    _add(archive, file, [clips[name] for name in chosen])
                    text = " ".join(clips[name][0] for name in chosen)
                    used = " ".join(f"{digit}_{speaker}_{index}" for _, digit, index in chosen)
                    rows.writerow([file, split, speaker, text, used])


def _clips(path: Path) -> Iterator[tuple[tuple[str, str, int], Clip]]:
    """Speaker, digit and index -> the clip."""
    with tarfile.open(path) as archive:
        for member in archive:
            digit, speaker, index = Path(member.name).stem.split("_")
            content: Any = archive.extractfile(member)
            samples, rate = soundfile.read(io.BytesIO(content.read()), dtype="int16")
            yield (speaker, digit, int(index)), (digit, samples, rate)


def _add(archive: tarfile.TarFile, name: str, clips: list[Clip]) -> None:
    file = io.BytesIO()
    [rate] = {rate for _, _, rate in clips}
    soundfile.write(file, np.concatenate([samples for _, samples, _ in clips]), rate, format="FLAC")
    member = tarfile.TarInfo(name)
    member.size = len(file.getvalue())
    file.seek(0)
    archive.addfile(member, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    write(**vars(parser.parse_args()))
