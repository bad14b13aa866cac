"""A recording for people: its spectrogram with labels under it, and its sound, as the model gets them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from itertools import groupby
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from multiseq import plots
from multiseq.adapters._speech.audio import name_of, open_audio
from multiseq.adapters._speech.log_mel import hop_of, resample, to_int16
from multiseq.protocols import Mark, Part, Picture, Sound
from multiseq.requires import need

__all__ = ["show"]

LONGEST = 6.0
"""Seconds that are shown of a longer recording."""


def show(
    item: Any,
    log_mel: Float[Tensor, "frames mels"],
    marks: Sequence[Mark],
    focus: int | None,
    *,
    sample_rate: int,
    vector_seconds: float,
    channel: int | None,
) -> list[Part]:
    """The spectrogram and the sound of a recording; of a long one, which 6 seconds, around a vector.

    Args:
        item: The recording.
        log_mel: Its frames of 10 ms.
        marks: The label and the prediction of each vector.
        focus: The vector to show, in a long recording.
        sample_rate: Hz, of the sound.
        vector_seconds: Seconds from one vector to the next.
        channel: The channel that the model gets; None: their mean.
    """
    frames = log_mel.numpy()
    hop = hop_of(sample_rate) / sample_rate
    whole = len(frames) * hop
    middle = 0.0 if focus is None else focus * vector_seconds
    start = max(0.0, min(middle - LONGEST / 2, whole - LONGEST))
    end = min(whole, start + LONGEST)
    name = PurePath(name_of(item).rpartition(": ")[2]).name
    seconds = "" if end - start >= whole - hop else f"{start:.1f} to {end:.1f} s of {whole:.1f} s"
    title = f"{name}, {seconds}" if seconds else name
    marked = {
        "true": _segments([mark.label for mark in marks], vector_seconds, start, end),
        "predicted": _segments([mark.predicted for mark in marks], vector_seconds, start, end),
    }
    chosen = frames[round(start / hop) : round(end / hop)]
    drawing = plots.svg(plots.spectrogram(chosen, end - start, marked if marks else {}))
    words = f"Log-mel spectrogram of {title}"
    if marks:
        said = [" ".join(label for _, _, label in row) for row in marked.values()]
        words += f". True: {said[0]}. Predicted: {said[1]}"
    shown: list[Part] = [Picture(drawing, words), _sound(item, start, end, sample_rate, title, channel)]
    return [seconds, *shown] if seconds else shown


def _segments(labels: Sequence[str], step: float, start: float, end: float) -> list[tuple[float, float, str]]:
    """Runs of the same label between two times, counted in seconds from ``start``."""
    segments, first = [], 0
    for label, run in groupby(labels):
        last = first + len(list(run))
        begin, stop = first * step - start, last * step - start
        if label and stop > 0 and begin < end - start:
            segments.append((max(begin, 0.0), min(stop, end - start), label))
        first = last
    return segments


def _sound(item: Any, start: float, end: float, sample_rate: int, text: str, channel: int | None) -> Sound:
    """A stretch of the item at the model's rate. FLAC: half the size of WAV, and every browser plays it."""
    recording = open_audio(item, channel=channel)
    first, last, passed, blocks = int(start * recording.rate), round(end * recording.rate), 0, []
    for block in recording.blocks():
        blocks.append(block[max(0, first - passed) : max(0, last - passed)])
        passed += len(block)
        if passed >= last:
            break
    samples = torch.cat([torch.zeros(0), *blocks])
    if recording.rate != sample_rate and len(samples):
        samples = resample(samples, Fraction(recording.rate, sample_rate))
    file = BytesIO()
    values = to_int16(samples).numpy() if len(samples) else np.zeros(1, dtype=np.int16)
    need("soundfile").write(file, values, sample_rate, format="FLAC")
    return Sound(file.getvalue(), "audio/flac", text)
