"""Pictures of a run: the losses of every task, and the scores on the dev split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from multiseq.metric_names import LOWER_IS_BETTER
from multiseq.requires import need
from multiseq.system.files import write_whole

__all__ = ["draw_curves"]

LOSSES, SCORES, ERRORS = "loss in training", "dev split: more is better", "dev split: errors"

Log = Sequence[Mapping[str, str]]
Curve = list[tuple[int, float]]


def draw_curves(log: Log, path: str | Path) -> None:
    """Draw the lines of a ``metrics.csv`` and write the picture; a task has one colour throughout.

    Losses are smoothed by a running mean over a fiftieth of the run; ``total`` is left out. Scores of
    which more is better and errors have a panel each. BLEU is divided by 100, to fit among fractions.

    Args:
        log: As `multiseq.training.run_log.read_log` gives them.
        path: Of the picture; its ending says the format.
    """
    tasks = list(dict.fromkeys(row["task"] for row in log if row["task"] != "total"))
    panels = {title: curves for title, curves in _panels(log).items() if curves}
    # The object-oriented interface: pyplot would keep the figure and might want a display.
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
    """Title -> (task, label) -> (step, value) of every evaluation or step."""
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
    """The mean of each value and those before it, ``width`` at most.

    >>> _smooth([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    num = len(values)
    # Sums from the first of each block on and up to its last one: a window is the end of one and the start of
    # the next. Nothing is subtracted, so no rounding adds up and what is not finite stays where it is.
    blocks = np.zeros((-(-num // width), width))
    blocks.flat[:num] = values
    sums = blocks.cumsum(1).ravel()[:num]
    ends = blocks[:, ::-1].cumsum(1)[:, ::-1].ravel()
    starts = np.arange(num) - width + 1
    several = (starts > 0) & (starts % width > 0)
    sums[several] += ends[starts[several]]
    return list((sums / np.minimum(np.arange(1, num + 1), width)).tolist())
