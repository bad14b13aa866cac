"""Predictions beside labels: confusion, reliability, predicted against measured, how often values occur."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from multiseq.plots.style import BLUE, INK, SHADE, name_ticks, new_figure, styled, visible, write

__all__ = ["confusion", "histogram", "measured", "reliability", "spread"]

MOST_POINTS = 800
"""Points that `measured` draws. More would hide one another, and a page would become large."""


@runtime_checkable
class Bin(Protocol):
    """A point of a reliability diagram, like `multiseq.training.calibration.ReliabilityBin`."""

    @property
    def confidence(self) -> float:
        """The mean confidence of its predictions."""

    @property
    def accuracy(self) -> float:
        """The share of them that are right."""

    @property
    def count(self) -> int:
        """Their number."""


def confusion(labels: Sequence[str], predictions: Sequence[str], *, most: int = 25) -> Any:
    """The confusion matrix: a row for each true class, which says what its items were taken for.

    The colour is the share of the row; the numbers are counts. The classes are sorted by frequency.

    Args:
        labels: The true class of each item.
        predictions: The predicted class of each item.
        most: If there are more classes than this, the rarest ones are taken together as one.

    Raises:
        ValueError: The lengths differ.
    """
    import numpy as np

    if len(labels) != len(predictions):
        raise ValueError(f"predictions: got {len(predictions)} for {len(labels)} labels, expected as many")
    counted = Counter(labels)
    counted.update(dict.fromkeys(predictions, 0))
    names = [name for name, _ in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))]
    kept = names if len(names) <= most else names[: most - 1]
    numbers = {name: number for number, name in enumerate(kept)}
    shown = kept if len(kept) == len(names) else [*kept, f"{len(names) - len(kept)} other classes"]
    table = np.zeros((len(shown), len(shown)), dtype=int)
    for pair, count in Counter(zip(labels, predictions, strict=True)).items():
        row, column = (numbers.get(name, len(kept)) for name in pair)
        table[row, column] += count
    shares = table / table.sum(1, keepdims=True).clip(1)
    with styled({"axes.grid": False}):
        side = min(9.0, max(3.4, 2.2 + 0.36 * len(shown)))
        figure = new_figure(side + 0.9, side)
        axes = figure.add_subplot()
        if not shown:
            axes.set(xlabel="predicted", ylabel="true", xticks=[], yticks=[])
            return figure
        picture = axes.imshow(shares, cmap=SHADE, vmin=0, vmax=1, interpolation="nearest")
        size = min(9.0, 150 / max(len(shown), 1))
        name_ticks(
            axes.xaxis, shown, rotation=60, ha="right", rotation_mode="anchor", fontsize=max(size, 6.5)
        )
        if all(len(name) <= 3 for name in kept):  # phonemes
            for label in axes.get_xticklabels()[: len(kept)]:
                label.set(rotation=0, ha="center")
        name_ticks(axes.yaxis, shown, fontsize=max(size, 6.5))
        for row, column in zip(*(ends.tolist() for ends in table.nonzero()), strict=True):
            colour = "white" if shares[row, column] > 0.6 else "#111111"
            text = f"{table[row, column]}" if table[row, column] < 10_000 else f"{table[row, column]:.0e}"
            width = size * min(1.0, 3.5 / len(text))
            write(axes, column, row, text, ha="center", va="center", color=colour, fontsize=width)
        axes.set(xlabel="predicted", ylabel="true")
        figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.7)
    return figure


def reliability(bins: Sequence[Bin]) -> Any:
    """The reliability diagram: of the predictions with 80 % confidence, are 80 % right?

    Points below the diagonal: the model is too sure. The lines are 95 % intervals (Wilson) of the accuracy,
    wide where a bin has few predictions.

    Args:
        bins: Predictions of similar confidence, from `multiseq.training.calibration.reliability_bins`.
    """
    with styled({}):
        figure = new_figure(4.4, 4.3, left=0.6, bottom=0.5)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], "--", color=INK, lw=1, alpha=0.7, label="perfectly calibrated")
        spans = [_wilson(one.accuracy, one.count) for one in bins]
        x, y = [one.confidence for one in bins], [one.accuracy for one in bins]
        below = [max(0.0, a - low) for a, (low, _) in zip(y, spans, strict=True)]
        above = [max(0.0, high - a) for a, (_, high) in zip(y, spans, strict=True)]
        axes.errorbar(
            x, y, (below, above), fmt="o-", color=BLUE, lw=1, ms=4, elinewidth=1, label="this model"
        )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="share that is right")
        axes.set_aspect("equal")
        axes.legend(loc="upper left")
    return figure


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share. Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.

    >>> [round(end, 3) for end in _wilson(0.5, 100)]
    [0.404, 0.596]
    """
    z = 1.96
    middle, wide = (
        share + z * z / (2 * count),
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)),
    )
    return (middle - wide) / (1 + z * z / count), (middle + wide) / (1 + z * z / count)


def measured(
    labels: Sequence[float],
    predictions: Sequence[float],
    *,
    intervals: Sequence[tuple[float, float]] | None = None,
    unit: str = "",
) -> Any:
    """Predicted against measured numbers. Perfect predictions lie on the diagonal.

    Of many points, some are drawn, evenly spaced in the given order; the title says how many.

    Args:
        labels: The measured numbers.
        predictions: The predicted numbers.
        intervals: The lower and the upper end of each prediction's interval.
        unit: The unit of all numbers.

    Raises:
        ValueError: The lengths differ.
    """
    for name, given in (("predictions", predictions), ("intervals", intervals)):
        if given is not None and len(given) != len(labels):
            raise ValueError(f"{name}: got {len(given)} for {len(labels)} labels, expected as many")
    chosen = spread(len(labels), MOST_POINTS)
    x, y = [labels[i] for i in chosen], [predictions[i] for i in chosen]
    with styled({}):
        figure = new_figure(4.6, 4.4)
        axes = figure.add_subplot()
        if intervals is not None:
            ends = [intervals[i] for i in chosen]
            axes.vlines(
                x, [low for low, _ in ends], [high for _, high in ends], color=BLUE, lw=0.8, alpha=0.3
            )
        axes.plot(x, y, "o", color=BLUE, ms=4, alpha=0.6, mec="none")
        if x:
            low, high = min(*x, *y), max(*x, *y)
            room = 0.05 * (high - low) or 1.0
            axes.plot([low, high], [low, high], "--", color=INK, lw=1, alpha=0.7)
            axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room), aspect="equal")
        of = f" ({visible(unit, 40)})" if unit else ""
        for put, text in ((axes.set_xlabel, f"measured{of}"), (axes.set_ylabel, f"predicted{of}")):
            put(text, parse_math=False)
        if len(chosen) < len(labels):
            axes.set_title(f"{len(chosen):,} of {len(labels):,} points")
    return figure


def spread(count: int, most: int) -> Sequence[int]:
    """At most ``most`` numbers from 0 to ``count - 1``, evenly spaced.

    >>> list(spread(3, 5)), list(spread(10, 4))
    ([0, 1, 2], [0, 2, 5, 7])
    """
    return range(count) if count <= most else [number * count // most for number in range(most)]


def histogram(values: Sequence[float] | Sequence[int], label: str) -> Any:
    """How often values occur.

    Args:
        values: The values.
        label: What they are, for the axis.
    """
    with styled({}):
        figure = new_figure(4.6, 2.4, left=0.7, bottom=0.5)
        axes = figure.add_subplot()
        whole = all(float(value).is_integer() for value in values)
        low, high = (min(values), max(values)) if values else (0, 0)
        edges: Any = 30
        if whole and high - low < 30:  # a bar for each whole number
            edges = [low - 0.5 + i for i in range(int(high - low) + 2)]
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.hist(values, bins=edges, color=BLUE)
        axes.set_xlabel(visible(label, 60), parse_math=False)
        axes.set_ylabel("count")
    return figure
