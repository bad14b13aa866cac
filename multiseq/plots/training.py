"""The curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multiseq.options import LOWER_IS_BETTER, MONITOR, PERCENT, TOTAL
from multiseq.plots.style import COLOURS, new_figure, styled, visible

__all__ = ["curves"]

LOSSES, SCORES, ERRORS = "loss in training", "dev split: more is better", "dev split: errors"

Log = Sequence[Mapping[str, str]]
Curve = list[tuple[int, float]]


def curves(log: Log) -> Any:
    """The losses of every task, and the scores on the dev split. A task has the same colour in all panels.

    Losses are smoothed by a running mean over 1/50 of the run; ``total`` is not drawn. Scores (higher is
    better) and errors (lower is better) have separate panels. BLEU is divided by 100, like the other scores.

    Args:
        log: The lines of a ``metrics.csv``, from `multiseq.training.run_log.read_log`.
    """
    log = [row for row in log if row["task"] not in (TOTAL, MONITOR)]
    tasks = list(dict.fromkeys(row["task"] for row in log))
    panels = {title: curves for title, curves in _panels(log).items() if curves}
    with styled({}):
        figure = new_figure(11 if len(panels) < 3 else 16, 4.5)
        for number, (title, curves) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), number)
            for (task, label), points in curves.items():
                _draw(axes, points, label, tasks.index(task), smooth=title == LOSSES)
            axes.set(xlabel="step", title=title)
            positive = any(value > 0 for points in curves.values() for _, value in points)
            if title != SCORES and positive:
                axes.set_yscale("log")  # losses and errors of tasks differ by orders of magnitude
            for text in axes.legend(frameon=True, edgecolor="none").get_texts():
                text.set_parse_math(False)
    return figure


def _panels(log: Log) -> dict[str, dict[tuple[str, str], Curve]]:
    """Title of the panel -> (task, label) -> list of (step, value)."""
    panels: dict[str, dict[tuple[str, str], Curve]] = {LOSSES: {}, SCORES: {}, ERRORS: {}}
    for row in log:
        task, metric, value = row["task"], row["metric"], float(row["value"])
        title, label = LOSSES, visible(task, 40)
        if row["split"] == "dev":
            title = ERRORS if metric in LOWER_IS_BETTER else SCORES
            label = f"{label}: {metric.replace('_', ' ')}"
        if metric in PERCENT:
            label, value = f"{label} / 100", value / 100
        panels[title].setdefault((task, label), []).append((int(row["step"]), value))
    return panels


def _draw(axes: Any, points: Curve, label: str, number: int, *, smooth: bool) -> None:
    steps, values = [step for step, _ in points], [value for _, value in points]
    if smooth:
        values = _smooth(values, max(1, len(points) // 50))
    line = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(steps, values, line, color=colour, label=label, marker="" if smooth else "o", ms=4)


def _smooth(values: Sequence[float], width: int) -> list[float]:
    """Running mean: the mean of each value and up to ``width - 1`` values before it.

    >>> _smooth([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    import numpy as np

    num = len(values)
    # Cut the values into blocks. Sum each block from its start on, and back from its end. A window is the end
    # of one block plus the start of the next. Nothing is subtracted, so rounding errors do not add up, and an
    # infinite value or NaN affects only the windows that contain it.
    blocks = np.zeros((-(-num // width), width))
    blocks.flat[:num] = values
    sums = blocks.cumsum(1).ravel()[:num]
    ends = blocks[:, ::-1].cumsum(1)[:, ::-1].ravel()
    starts = np.arange(num) - width + 1
    several = (starts > 0) & (starts % width > 0)
    sums[several] += ends[starts[several]]
    return list((sums / np.minimum(np.arange(1, num + 1), width)).tolist())
