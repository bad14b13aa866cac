"""Tables: what a part of the benchmark hands back, printed in the terminal and kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.timing import Spread

__all__ = ["Table"]

Cell = str | int | float | Spread


@dataclass(frozen=True)
class Table:
    """Rows of one part.

    Args:
        name: Its key in the JSON file.
        title: Said above it.
        rows: Column to value; every row has the same columns.
        note: What a reader must know to read it, said below.
    """

    name: str
    title: str
    rows: list[dict[str, Cell]] = field(default_factory=list)
    note: str = ""
