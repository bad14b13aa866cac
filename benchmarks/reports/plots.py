"""Pictures of a run: every ratio that was measured, and how cost grows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.reports.report import Report, Table, shown
from benchmarks.timing import Spread

__all__ = ["draw"]

GROWTH = "growth_"
COLUMNS = 2


def draw(report: Report, folder: Path) -> list[Path]:
    """``overview.png`` and ``growth.png``, of what the report has for them."""
    growth = [t for t in report.tables if t.name.startswith(GROWTH) and t.rows]
    ratios = [t for t in report.tables if t not in growth and _ratios(t)]
    title = "  ·  ".join(report.head_lines()[1:3])
    drawn = []
    for name, tables, picture in (("overview", ratios, _overview), ("growth", growth, _growth)):
        if tables:
            figure = picture(tables)
            figure.suptitle(title, fontsize=8)
            figure.savefig(folder / f"{name}.png", dpi=120)
            drawn.append(folder / f"{name}.png")
    return drawn


def _overview(tables: list[Table]) -> Figure:
    """A panel for each table, a bar for each ratio, with the range over the rounds."""
    bars = [len(t.rows) * len(_ratios(t)) for t in tables]
    panels = [tables[i::COLUMNS] for i in range(COLUMNS)]
    heights = [[2 + bars[tables.index(t)] for t in column] for column in panels]
    figure = Figure(figsize=(8 * COLUMNS, max(map(sum, heights)) * 0.22 + 0.5), layout="constrained")
    columns = figure.subfigures(1, COLUMNS, squeeze=False)[0]
    for column, of_column, sizes in zip(columns, panels, heights, strict=True):
        if of_column:
            axes = column.subplots(len(of_column), 1, height_ratios=sizes, squeeze=False)[:, 0]
            for one, table in zip(axes, of_column, strict=True):
                _bars(one, table)
    return figure


def _bars(axes: Any, table: Table) -> None:
    names = _ratios(table)
    labels, colours, spreads = [], [], []
    for row in table.rows:
        what = " ".join(str(v) for v in row.values() if isinstance(v, str) and v)
        for number, name in enumerate(names):
            value = row[name]
            spread = value if isinstance(value, Spread) else Spread.of([float(value or "nan")])
            if not math.isnan(spread.median):
                spreads.append(spread)
                labels.append(f"{what}: {name}" if len(names) > 1 else what)
                colours.append(f"C{number}")
    middle = [s.median for s in spreads]
    ranges = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
    # From 1 on: on a logarithmic axis twice as fast is as far away as twice as slow.
    widths = [value - 1 for value in middle]
    bars = axes.barh(range(len(spreads)), widths, left=1, xerr=ranges, color=colours, error_kw={"lw": 0.8})
    axes.bar_label(bars, [f" {shown(value)}" for value in middle], fontsize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.use_sticky_edges = False
    axes.margins(x=0.1)
    axes.set_yticks(range(len(spreads)), labels, fontsize=7)
    axes.set_title(table.title + (f" · {names[0]}" if len(names) == 1 else ""), fontsize=8)
    axes.axvline(1, color="black", lw=0.8)
    axes.tick_params(axis="x", labelsize=7)
    axes.invert_yaxis()


def _ratios(table: Table) -> list[str]:
    """The columns that have ratios: those with a spread, per cents aside, and those that say so."""
    columns = table.rows[0] if table.rows else ()
    return [
        name
        for name in columns
        if "×" in name
        or "÷" in name
        or ("%" not in name and any(isinstance(row[name], Spread) for row in table.rows))
    ]


def _growth(tables: list[Table]) -> Figure:
    """Seconds and MiB over the size, which is the first column, beside a straight line."""
    figure = Figure(figsize=(5 * len(tables), 7), layout="constrained")
    axes = figure.subplots(2, len(tables), squeeze=False)
    for column, table in enumerate(tables):
        size = next(iter(table.rows[0]))
        for row, what in enumerate(("seconds", "MiB")):
            _line(axes[row, column], table, size, what)
        axes[0, column].set_title(table.title.replace(":", "\n", 1), fontsize=8)
    return figure


def _line(axes: Any, table: Table, size: str, what: str) -> None:
    # A cell may hold a word as well; those of these two columns are numbers.
    points = [(float(r[size]), float(r[what])) for r in table.rows]  # type: ignore[arg-type]  # both are numbers
    sizes, values = zip(*points, strict=True)
    middle = len(points) // 2
    linear = [values[middle] / sizes[middle] * n for n in sizes]
    axes.loglog(sizes, linear, "--", color="grey", lw=1, label="linear")
    axes.loglog(sizes, values, "o-", ms=4, label="measured")
    axes.set(xlabel=size, ylabel=what)
    axes.set_xticks(sizes, [_short(n) for n in sizes])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")


def _short(number: float) -> str:
    """A size as a tick has it.

    >>> _short(128), _short(16_000), _short(1_000_000)
    ('128', '16k', '1M')
    """
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if number >= unit and number % unit == 0:
            return f"{number / unit:.0f}{name}"
    return f"{number:.0f}"
