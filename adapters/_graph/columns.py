"""Columns (features) of nodes and edges: vocabularies and scales, learned from the training graphs.

Axes: rows (nodes or edges of one graph), columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from multiseq.adapters._graph.items import Rows
from multiseq.labels import ROUNDING, composed

__all__ = ["Columns"]


class Columns:
    """The columns of all nodes or of all edges. Call :meth:`learn` for each graph, then :meth:`encode`.

    All category columns share one embedding table. Column *c* has the ``sizes[c]`` rows from ``starts[c]``
    on; its first row stands for values that no training graph has. Numbers are standardised with the mean
    and standard deviation of the training graphs. A column with only two values, such as a flag, becomes
    zeros and ones. A constant column becomes zeros.

    Args:
        row: "node" or "edge", for error messages.
    """

    def __init__(self, row: str) -> None:
        self.row = row
        self.vocabularies: dict[str, dict[Any, int]] | None = None
        self.scales: dict[str, _Scale] = {}
        self.text = False

    @property
    def sizes(self) -> list[int]:
        """The number of rows of the embedding table per category column, with the row for unknown values."""
        return [len(vocabulary) + 1 for vocabulary in (self.vocabularies or {}).values()]

    @property
    def starts(self) -> list[int]:
        """The first row of each category column in the embedding table: the row for unknown values."""
        return [0, *accumulate(self.sizes)][:-1]

    @property
    def width(self) -> int:
        """The number of number columns."""
        return sum(len(scale.mean) for scale in self.scales.values())

    @property
    def numeric(self) -> dict[str, bool]:
        """Column name -> True if it holds numbers, False if it holds categories."""
        return {**dict.fromkeys(self.vocabularies or {}, False), **dict.fromkeys(self.scales, True)}

    def learn(self, rows: Rows) -> None:
        """Learn from one training graph. A graph without rows changes nothing.

        Raises:
            ValueError: The graph has other columns than the graphs before it.
        """
        if rows.count == 0:
            return
        if self.vocabularies is None:
            self.vocabularies = {name: {} for name in rows.categories}
            self.scales = {name: _Scale(x.shape[1]) for name, x in rows.numbers.items()}
            self.text = rows.texts is not None
        self._check(rows)
        for name, vocabulary in self.vocabularies.items():
            for value in map(_category, rows.categories[name]):
                vocabulary.setdefault(value, len(vocabulary) + 1)
        for name, scale in self.scales.items():
            scale.learn(rows.numbers[name])

    def encode(self, rows: Rows) -> tuple[Int[Tensor, "rows columns"], Float[Tensor, "rows numbers"]]:
        """Row numbers in the embedding table, and standardised numbers.

        Raises:
            ValueError: The graph has other columns than the training graphs.
        """
        if rows.count == 0:
            return torch.zeros(0, len(self.sizes), dtype=torch.long), torch.zeros(0, self.width)
        self._check(rows)
        codes = [
            [start + vocabulary.get(_category(value), 0) for value in rows.categories[name]]
            for start, (name, vocabulary) in zip(self.starts, (self.vocabularies or {}).items(), strict=True)
        ]
        numbers = [scale.apply(rows.numbers[name]) for name, scale in self.scales.items()]
        return (
            torch.from_numpy(np.array(codes, dtype=np.int64)).view(len(codes), rows.count).t().contiguous(),
            torch.cat(numbers, dim=1) if numbers else torch.zeros(rows.count, 0),
        )

    def _check(self, rows: Rows) -> None:
        widths = {name: x.shape[1] for name, x in rows.numbers.items()}
        learned = {name: len(scale.mean) for name, scale in self.scales.items()}
        got = (set(rows.categories), widths, rows.texts is not None)
        expected = (set(self.vocabularies or {}), learned, self.text)
        if got != expected:
            raise ValueError(
                f"{self.row}s: got {_describe(*got)}; "
                f"expected {_describe(*expected)}, as in the training graphs"
            )

    def to_json(self) -> dict[str, Any]:
        """Vocabularies and scales as plain JSON values."""
        return {
            "categories": {name: list(v) for name, v in (self.vocabularies or {}).items()},
            "numbers": {
                name: {"mean": s.mean.tolist(), "std": s.std.tolist()} for name, s in self.scales.items()
            },
            "text": self.text,
        }

    @classmethod
    def from_json(cls, row: str, values: Mapping[str, Any]) -> Columns:
        """Rebuild the columns from :meth:`to_json`."""
        columns = cls(row)
        columns.vocabularies = {
            name: {value: i + 1 for i, value in enumerate(vocabulary)}
            for name, vocabulary in values["categories"].items()
        }
        columns.scales = {name: _Scale.of(s["mean"], s["std"]) for name, s in values["numbers"].items()}
        columns.text = values["text"]
        return columns


class _Scale:
    """Mean and standard deviation of a block of number columns, learned graph by graph.

    Means and squared deviations are merged as in Chan, Golub and LeVeque 1979. This method keeps its
    precision if the mean is large.
    """

    def __init__(self, width: int) -> None:
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.std = torch.ones(width, dtype=torch.float64)
        self._count = 0
        self._mean = torch.zeros(width, dtype=torch.float64)
        self._squares = torch.zeros(width, dtype=torch.float64)
        self._ends = torch.zeros(0, width, dtype=torch.float64)  # smallest and largest value
        self._two_values = torch.ones(width, dtype=torch.bool)  # no other value has occurred

    @classmethod
    def of(cls, mean: list[float], std: list[float]) -> _Scale:
        scale = cls(len(mean))
        scale.mean = torch.tensor(mean, dtype=torch.float64)
        scale.std = torch.tensor(std, dtype=torch.float64)
        return scale

    def learn(self, numbers: Tensor) -> None:
        x = numbers.double()
        new = self._count + len(x)
        step = x.mean(0) - self._mean
        self._squares += x.var(0, correction=0) * len(x) + step.square() * (self._count * len(x) / new)
        self._mean += step * (len(x) / new)
        self._count = new
        seen = torch.cat([self._ends, x])
        self._ends = low, high = torch.stack([seen.amin(0), seen.amax(0)])
        self._two_values &= ((seen == low) | (seen == high)).all(0)
        # Rounding errors can give a constant column a tiny deviation. Never divide by it.
        constant = high - low <= ROUNDING * self._ends.abs().amax(0)
        flags = self._two_values & ~constant
        size = torch.where(high == 0, 1.0, high.abs())  # other values get the relative difference
        self.mean = torch.where(constant, high, torch.where(flags, low, self._mean))
        deviation = torch.where(flags, high - low, (self._squares / new).sqrt())
        self.std = torch.where(constant, size, deviation)

    def apply(self, numbers: Tensor) -> Tensor:
        return ((numbers.double() - self.mean) / self.std).float()


def _category(value: Any) -> Any:
    return composed(value) if isinstance(value, str) else value


def _describe(categories: set[str], widths: Mapping[str, int], text: bool) -> str:
    numbers = [f"{name} ({width})" for name, width in sorted(widths.items())]
    return f"categories {sorted(categories)}, numbers {numbers}, {'texts' if text else 'no texts'}"
