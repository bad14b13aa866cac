"""Pictures of a run: the losses of every task, and the scores on the dev part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from multiseq.requires import need

__all__ = ["draw_curves"]


def draw_curves(log: Sequence[Mapping[str, str]], path: str | Path) -> None:
    """Draw the lines of a ``metrics.csv`` and write the picture.

    Losses are smoothed by a running mean over a fiftieth of the run; ``total`` is left out.

    Args:
        log: As `multiseq.runlog.read_log` gives them.
        path: Of the picture; its ending says the format.
    """
    # The object-oriented interface: pyplot would keep the figure and might want a display.
    figure = need("matplotlib.figure").Figure(figsize=(11, 4.5), layout="constrained")
    curves = {part: _curves(log, part) for part in ("train", "dev")}
    shown = [part for part, found in curves.items() if found]
    for number, part in enumerate(shown, 1):
        axes = figure.add_subplot(1, len(shown), number)
        for name, points in curves[part].items():
            width = max(1, len(points) // 50) if part == "train" else 1
            steps, values = [s for s, _ in points], _smooth([v for _, v in points], width)
            axes.plot(steps, values, label=name, marker="o" if part == "dev" else None)
        axes.set(xlabel="step", ylabel="loss" if part == "train" else "score", title=part)
        if part == "train":
            axes.set_yscale("log")  # tasks differ by orders of magnitude
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _curves(log: Sequence[Mapping[str, str]], part: str) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in log:
        if row["part"] == part and row["task"] != "total":
            name = row["task"] if part == "train" else f"{row['task']}: {row['metric']}"
            found.setdefault(name, []).append((int(row["step"]), float(row["value"])))
    return found


def _smooth(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and those before it, ``width`` at most.

    >>> _smooth([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    return [sum(values[max(0, i - width + 1) : i + 1]) / min(width, i + 1) for i in range(len(values))]
