"""Recordings: spectrograms with segments, and the probabilities of tokens over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multiseq.plots.style import BLUE, COLOURS, INK, new_figure, styled, visible, write
from multiseq.requires import need

__all__ = ["posteriors", "spectrogram"]

SPIKE = 0.2
"""The least probability of a token that `posteriors` draws."""

Segments = Sequence[tuple[float, float, str]]


def spectrogram(log_mel: Any, seconds: float, rows: Mapping[str, Segments] | None = None) -> Any:
    """A log-mel spectrogram, with rows of segments under it.

    Args:
        log_mel: Log power ``(frames, mels)``.
        seconds: The duration that the frames show.
        rows: Name of a row -> its segments ``(start, end, label)`` in seconds.
    """
    rows = rows or {}
    with styled({"axes.grid": False}):
        height = 2.2 + 0.3 * len(rows)
        figure = new_figure(8.0, height, left=0.9, bottom=0.48)
        figure.subplots_adjust(hspace=0.12)
        heights = [1.7, *(0.3 for _ in rows)]
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        top, *strips = panels
        # Few colours and one pixel a frame: a page with many spectrograms stays small.
        colours = need("matplotlib").colormaps["magma"].resampled(48)
        if len(log_mel):
            extent = (0, seconds, 0, log_mel.shape[1])
            top.imshow(
                log_mel.T, origin="lower", aspect="auto", cmap=colours, extent=extent, interpolation="none"
            )
        top.set(ylabel="mel band", xlim=(0, max(seconds, 1e-3)))
        for axes, (name, segments) in zip(strips, rows.items(), strict=True):
            _strip(axes, name, segments, max(seconds, 1e-3))
        panels[-1].set_xlabel("time (s)")
    return figure


def _strip(axes: Any, name: str, segments: Segments, seconds: float) -> None:
    for number, (start, end, label) in enumerate(segments):
        shade = (BLUE, "#56B4E9")[number % 2]
        axes.axvspan(start, min(end, seconds), color=shade, alpha=0.25, lw=0)
        most = max(1, int((min(end, seconds) - start) / seconds * 100))  # characters that fit
        if start < seconds:
            middle = (start + min(end, seconds)) / 2
            write(axes, middle, 0.5, visible(label, most), ha="center", va="center", fontsize=7, clip_on=True)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [visible(name, 12)], fontsize=8)
    axes.tick_params(left=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def posteriors(
    probabilities: Any,
    tokens: Sequence[str],
    vector_seconds: float,
    rows: Mapping[str, Segments] | None = None,
    *,
    waveform: tuple[Any, int] | None = None,
) -> Any:
    """The probability of each token over time, as a CTC head gives it, under the waveform of a recording.

        _, tokens, shares = model.posteriors("text", "a.wav")
        plots.posteriors(shares, tokens, model.adapter("speech").vector_seconds)

    The blank is dotted. A token is written above its spikes; one that nowhere reaches 0.2 is not drawn.

    Args:
        probabilities: ``(vectors, tokens)``, a tensor or an array, from `Model.posteriors`.
        tokens: What each column stands for; the first is the blank.
        vector_seconds: Seconds from one vector to the next (`SpeechAdapter.vector_seconds`).
        rows: Name of a row under the plot -> its segments ``(start, end, label)`` in seconds.
        waveform: The samples of one channel, and their rate in Hz; None: no waveform.
    """
    import numpy as np

    rows = rows or {}
    shares = np.asarray(probabilities, dtype=float).reshape(-1, len(tokens))
    seconds = max(len(shares) * vector_seconds, 1e-3)
    heights = [*([0.8] if waveform else []), 1.5, *(0.3 for _ in rows)]
    with styled({"axes.grid": False}):
        figure = new_figure(8.0, sum(heights) + 0.6, left=0.9, bottom=0.48)
        figure.subplots_adjust(hspace=0.12)
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        panels[-1].set_xlabel("time (s)")
        if waveform:
            top, *panels = panels
            _waveform(top, *waveform)
        spikes, *strips = panels
        _spikes(spikes, shares, tokens, vector_seconds)
        spikes.set_xlim(0, seconds)
        for axes, (name, segments) in zip(strips, rows.items(), strict=True):
            _strip(axes, name, segments, seconds)
    return figure


def _spikes(axes: Any, shares: Any, tokens: Sequence[str], vector_seconds: float) -> None:
    import numpy as np

    times = (np.arange(len(shares)) + 0.5) * vector_seconds
    axes.plot(times, shares[:, 0], ":", color="#7F7F7F", lw=1)
    for first in shares[:1, 0].tolist():
        write(axes, times[0], first + 0.03, "blank", ha="left", fontsize=8, color="#7F7F7F")
    drawn = [token for token in range(1, len(tokens)) if (shares[:, token] >= SPIKE).any()]
    for number, token in enumerate(sorted(drawn, key=lambda token: int(shares[:, token].argmax()))):
        of_token = shares[:, token]
        axes.plot(times, of_token, color=COLOURS[number % len(COLOURS)], lw=1.2)
        before, after = np.r_[0.0, of_token[:-1]], np.r_[of_token[1:], 0.0]
        text = visible(tokens[token].lstrip(" ▁") or "␣", 12)
        for top in ((of_token >= SPIKE) & (of_token > before) & (of_token >= after)).nonzero()[0].tolist():
            write(axes, times[top], of_token[top] + 0.03, text, ha="center", fontsize=8, clip_on=True)
    axes.set(ylim=(0, 1.2), yticks=[0, 0.5, 1], ylabel="probability")


def _waveform(axes: Any, samples: Any, rate: int) -> None:
    """The lowest and the highest sample of each of at most 1,000 stretches: a page stays small."""
    import numpy as np

    known = np.asarray(samples, dtype=float)
    starts = np.arange(0, len(known), -(-len(known) // 1000) or 1)
    if len(known):
        low, high = np.minimum.reduceat(known, starts), np.maximum.reduceat(known, starts)
        axes.fill_between(starts / rate, low, high, color=INK, lw=0.5)
    axes.set(ylabel="amplitude", yticks=[0])
