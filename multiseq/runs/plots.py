"""Plots of a run: the losses of every task, and the scores on the dev split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from multiseq.metric_names import LOWER_IS_BETTER
from multiseq.requires import need
from multiseq.system.files import write_whole
from multiseq.training.run_log import MONITOR

__all__ = ["draw_curves"]

LOSSES, SCORES, ERRORS = "loss in training", "dev split: more is better", "dev split: errors"

Log = Sequence[Mapping[str, str]]
Curve = list[tuple[int, float]]


def draw_curves(log: Log, path: str | Path) -> None:
    """Plot the lines of a ``metrics.csv`` and write the picture. A task has the same colour in all panels.

    Losses are smoothed by a running mean over 1/50 of the run; ``total`` is not drawn. Scores (higher is
    better) and errors (lower is better) have separate panels. BLEU is divided by 100, like the other scores.

    Args:
        log: The lines, from `multiseq.training.run_log.read_log`.
        path: File of the picture. Its suffix determines the format.
    """
    log = [row for row in log if row["task"] != MONITOR]  # a task's score, or the mean of them
    panels = {title: curves for title, curves in _panels(log).items() if curves}
    tasks = list(dict.fromkeys(row["task"] for row in log if row["task"] != "total"))
    # We use the object-oriented interface: pyplot would keep the figure and may need a display.
    width = 11 if len(panels) < 3 else 16
    figure = need("matplotlib.figure").Figure(figsize=(width, 4.5), layout="constrained")
    for number, (title, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        for (task, label), points in curves.items():
            _draw(axes, points, label, tasks.index(task), smooth=title == LOSSES)
        axes.set(xlabel="step", title=title)
        positive = any(value > 0 for points in curves.values() for _, value in points)
        if title != SCORES and positive:
            axes.set_yscale("log")  # losses and errors of tasks differ by orders of magnitude
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    picture = BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:], dpi=120)
    write_whole(path, picture.getvalue())


def _panels(log: Log) -> dict[str, dict[tuple[str, str], Curve]]:
    """Title of the panel -> (task, label) -> list of (step, value)."""
    panels: dict[str, dict[tuple[str, str], Curve]] = {LOSSES: {}, SCORES: {}, ERRORS: {}}
    for row in log:
        task, metric, value = row["task"], row["metric"], float(row["value"])
        title, label = LOSSES, task
        if row["split"] == "dev":
            title = ERRORS if metric in LOWER_IS_BETTER else SCORES
            label = f"{task}: {metric.replace('_', ' ')}"
        if metric == "bleu":
            label, value = f"{label} / 100", value / 100
        if task != "total":
            panels[title].setdefault((task, label), []).append((int(row["step"]), value))
    return panels


def _draw(axes: Any, points: Curve, label: str, number: int, *, smooth: bool) -> None:
    steps, values = [step for step, _ in points], [value for _, value in points]
    if smooth:
        values = _smooth(values, max(1, len(points) // 50))
    line = ("-", "--", ":", "-.")[number // 10 % 4]  # there are ten colours
    axes.plot(steps, values, line, color=f"C{number}", label=label, marker="" if smooth else "o", ms=4)


def _smooth(values: Sequence[float], width: int) -> list[float]:
    """Running mean: the mean of each value and up to ``width - 1`` values before it.

    >>> _smooth([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
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
