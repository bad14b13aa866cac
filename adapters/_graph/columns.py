"""What the columns of nodes and edges hold, learned from training graphs: vocabularies and scales.

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
    """The columns of all nodes or of all edges: :meth:`learn` them, then :meth:`encode` rows.

    All categories share one table of embeddings: column *c* owns ``sizes[c]`` rows of it from
    ``starts[c]`` on, and the first of them stands for a value that no training graph has. Numbers
    are standardised by training mean and standard deviation. A column of two values, as of flags,
    becomes zeros and ones, and one that never changes becomes zeros: in whatever unit they are.

    Args:
        row: What a row is, for errors: "node" or "edge".
    """

    def __init__(self, row: str) -> None:
        self.row = row
        self.vocabularies: dict[str, dict[Any, int]] | None = None
        self.scales: dict[str, _Scale] = {}
        self.text = False

    @property
    def sizes(self) -> list[int]:
        """Rows of the embedding table that each category column owns, the unknown one included."""
        return [len(vocabulary) + 1 for vocabulary in (self.vocabularies or {}).values()]

    @property
    def starts(self) -> list[int]:
        """Where the rows of each category column begin: there stands the unknown one."""
        return [0, *accumulate(self.sizes)][:-1]

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return sum(len(scale.mean) for scale in self.scales.values())

    @property
    def numeric(self) -> dict[str, bool]:
        """Whether each column holds numbers; the others hold categories."""
        return {**dict.fromkeys(self.vocabularies or {}, False), **dict.fromkeys(self.scales, True)}

    def learn(self, rows: Rows) -> None:
        """Take one training graph in; a graph without rows teaches nothing."""
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
        """Rows of the embedding table, and standardised numbers."""
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
        own_widths = {name: len(scale.mean) for name, scale in self.scales.items()}
        got = (set(rows.categories), widths, rows.texts is not None)
        expected = (set(self.vocabularies or {}), own_widths, self.text)
        if got != expected:
            raise ValueError(
                f"{self.row}s: got {_describe(*got)}; "
                f"expected {_describe(*expected)}, as in the training graphs"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "categories": {name: list(v) for name, v in (self.vocabularies or {}).items()},
            "numbers": {
                name: {"mean": s.mean.tolist(), "std": s.std.tolist()} for name, s in self.scales.items()
            },
            "text": self.text,
        }

    @classmethod
    def from_json(cls, row: str, values: Mapping[str, Any]) -> Columns:
        """The inverse of :meth:`to_json`."""
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

    Means and squared deviations are merged as by Chan, Golub and LeVeque 1979, which does not lose
    digits where the mean is large.
    """

    def __init__(self, width: int) -> None:
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.std = torch.ones(width, dtype=torch.float64)
        self._count = 0
        self._mean = torch.zeros(width, dtype=torch.float64)
        self._squares = torch.zeros(width, dtype=torch.float64)
        self._ends = torch.zeros(0, width, dtype=torch.float64)  # least and greatest
        self._two_values = torch.ones(width, dtype=torch.bool)  # there is none but these

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
        # Rounding leaves a constant column a tiny deviation, by which nothing must be divided.
        constant = high - low <= ROUNDING * self._ends.abs().amax(0)
        flags = self._two_values & ~constant
        size = torch.where(high == 0, 1.0, high.abs())  # of a constant: by what another value differs
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
