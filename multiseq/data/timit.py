"""TIMIT: recordings with ``.phn`` and ``.wrd`` files beside them, in folders by dialect and speaker.

A line of these files is ``first sample, sample after the last one, label``, at 16 kHz. The 61 labels of
sounds are folded to 48 or 39 by the table of Lee & Hon 1989 (https://doi.org/10.1109/29.46546).

Source: https://catalog.ldc.upenn.edu/LDC93S1 (phoncode.doc and readme.doc of the corpus).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiseq.data.recordings import is_audio
from multiseq.data.records import DataError

__all__ = ["FOLDED", "RATE", "SETS", "Utterance", "is_timit", "segments_of", "split_of", "text_of_prompt"]
__all__ += ["utterances_of"]

RATE = 16_000
"""Hz. Times in the files are numbers of samples at this rate."""

SETS = (61, 48, 39)
"""How many different sounds there may be."""

Segments = list[tuple[float, float, str | None]]

_TO_48 = {"ax-h": "ax", "axr": "er", "em": "m", "eng": "ng", "hv": "hh", "nx": "n", "ux": "uw", "q": None}
_TO_48 |= dict.fromkeys(("bcl", "dcl", "gcl"), "vcl")
_TO_48 |= dict.fromkeys(("pcl", "tcl", "kcl"), "cl")
_TO_48 |= dict.fromkeys(("h#", "pau"), "sil")
_TO_39 = {"ao": "aa", "ax": "ah", "el": "l", "en": "n", "ix": "ih", "zh": "sh"}
_TO_39 |= dict.fromkeys(("cl", "vcl", "epi"), "sil")

_PLAIN = """
aa ae ah ao aw ax ay b ch d dh dx eh el en epi er ey f g hh ih ix iy jh k l m n ng ow oy p r s sh t th uh uw v
w y z zh
"""

FOLDED: dict[int, dict[str, str | None]] = {61: {label: label for label in (*_PLAIN.split(), *_TO_48)}}
"""Number of sounds -> label of the corpus -> label; None for the glottal stop ``q``, which both leave out."""
FOLDED[48] = {label: _TO_48.get(label, label) for label in FOLDED[61]}
FOLDED[39] = {label: _TO_39.get(to, to) if to else None for label, to in FOLDED[48].items()}

_DIALECT = re.compile(r"dr\d", re.IGNORECASE)


@dataclass(frozen=True)
class Utterance:
    """One sentence of one speaker.

    Args:
        item: The recording.
        phones: The ``.phn`` file.
        name: Its path in the corpus, without ending.
        sentence: ``sa1``, ``sx116`` …
        speaker: ``fvmh0`` …; the first letter is f or m.
        dialect: ``dr1`` to ``dr8``; empty if no folder says it.
        given: ``train`` or ``test``, if a folder says so.
    """

    item: str
    phones: Path
    name: str
    sentence: str
    speaker: str
    dialect: str
    given: str


def is_timit(path: Path, most: int = 5000) -> bool:
    """Whether there is a ``.phn`` file among the first files of a folder."""
    count = 0
    for _, _, names in os.walk(path):
        if any(name.lower().endswith(".phn") for name in names):
            return True
        count += len(names)
        if count > most:
            return False
    return False


def utterances_of(path: Path) -> Iterator[Utterance | tuple[Path, str]]:
    """The utterances of a folder, sorted by their names; or a ``.phn`` file, and why it has no recording.

    Raises:
        DataError: There is no ``.phn`` file.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder, expected TIMIT: recordings with .phn files")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() == ".phn" and not p.name.startswith("."))
    if not files:
        raise DataError(f"{path}: no .phn file in it, expected TIMIT: recordings with .phn files")
    for file in files:
        folders = file.parent.relative_to(path.parent if file.parent == path else path).parts
        words = [word for folder in folders for word in folder.lower().split("-")]
        stem = file.stem.lower()
        beside = [p for p in file.parent.iterdir() if is_audio(p) and p.name.lower().split(".")[0] == stem]
        if not beside:
            yield file, "no recording of this name beside it, expected one with an ending such as .wav"
            continue
        # Some copies have SA1.WAV (SPHERE) and SA1.WAV.wav, of which every program reads the second.
        item = max(beside, key=lambda p: (len(p.name), p.name))
        dialect = next((word for word in words if _DIALECT.fullmatch(word)), "")
        given = next((word for word in words if word in ("train", "test")), "")
        name = file.relative_to(path).with_suffix("").as_posix()
        yield Utterance(str(item), file, name, stem, words[-1] if words else "", dialect, given)


def segments_of(file: Path, fold: dict[str, str | None] | None = None) -> Segments:
    """The segments of a ``.phn`` or ``.wrd`` file, in seconds.

    Args:
        file: The file.
        fold: Label -> label; None: labels stay. A label that becomes None is missing.

    Raises:
        DataError: A line is no segment, or has an unknown label. The message has the line.
    """
    segments: Segments = []
    for number, line in enumerate(file.read_text(encoding="latin-1").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
            raise DataError(
                f"{file}:{number}: got {line[:60]!r}, expected first sample, last sample and label"
            )
        label = fields[2]
        if fold is not None and label not in fold:
            raise DataError(f"{file}:{number}: got the sound {label!r}, expected one of TIMIT's 61")
        segments.append(
            (int(fields[0]) / RATE, int(fields[1]) / RATE, label if fold is None else fold[label])
        )
    return segments


def text_of_prompt(file: Path) -> str | None:
    """The sentence in a ``.txt`` file, after its two numbers; None if there is no such file."""
    beside = [p for p in (file.with_suffix(".txt"), file.with_suffix(".TXT")) if p.is_file()]
    if not beside:
        return None
    words = beside[0].read_text(encoding="latin-1").split()
    return " ".join(words[2:] if all(word.isdigit() for word in words[:2]) else words)


def split_of(utterance: Utterance, test: Collection[str], dev: Collection[str]) -> str:
    """The split of an utterance, by its dialect or speaker; otherwise as its folder says, or train."""
    names: set[Any] = {utterance.dialect, utterance.speaker}
    if names & set(dev):
        return "dev"
    return "test" if names & set(test) else utterance.given or "train"
