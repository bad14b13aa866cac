"""Columns (features) of nodes and edges: vocabularies and scales, learned from the training graphs.

Axes: rows (nodes or edges of one graph), columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from multiseq.adapters._graph.items import Bags, Rows
from multiseq.labels import ROUNDING, composed
from multiseq.requires import need

__all__ = ["Columns"]

MOST_ROWS = 100_000
"""Rows from which the intervals of numbers are learned; of more, every second, fourth … row."""


class Columns:
    """The columns of all nodes or of all edges. Call :meth:`learn` for each graph, then :meth:`encode`.

    All category columns share one embedding table. Column *c* has the ``sizes[c]`` rows from ``starts[c]``
    on; its first row stands for values that no training graph has. Numbers are standardised with the mean
    and standard deviation of the training graphs. A column with only two values, such as a flag, becomes
    zeros and ones. A constant column becomes zeros. A column of ids has a vocabulary of the ids that the
    training graphs have; other ids count as nothing, and rare ones less than frequent ones.

    With ``bins``, each number is also given as the parts of that many intervals which it fills (piecewise
    linear encoding, Gorishniy and others 2022, https://arxiv.org/abs/2203.05556). The intervals hold about
    equally many training numbers. So a linear layer can bend where it likes, and the mean of the parts over
    many rows says how the numbers are distributed.

    Args:
        row: "node" or "edge", for error messages.
        bins: The most intervals of a column of numbers; 0: none.
    """

    def __init__(self, row: str, bins: int = 0) -> None:
        self.row, self.bins = row, bins
        self.vocabularies: dict[str, dict[Any, int]] | None = None
        self.scales: dict[str, _Scale] = {}
        self.ids: dict[str, NDArray[np.int64]] = {}  # in rising order
        self.id_rows: dict[str, NDArray[np.int64]] = {}  # how many rows have each of them
        self.text = False
        self._codes: dict[str, _Codes] | None = None

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
        """The number of number columns, with the intervals of each."""
        return sum(len(scale.mean) + scale.num_parts for scale in self.scales.values())

    @property
    def num_ids(self) -> int:
        """The number of different ids in all columns of ids."""
        return sum(map(len, self.ids.values()))

    @property
    def kinds(self) -> dict[str, str]:
        """Column name -> "categories", "numbers" or "ids"."""
        names: dict[str, Iterable[str]] = {
            "categories": self.vocabularies or {}, "numbers": self.scales, "ids": self.ids
        }  # fmt: skip
        return {name: kind for kind, columns in names.items() for name in columns}

    def learn(self, rows: Rows) -> None:
        """Learn from one training graph. A graph without rows changes nothing.

        Raises:
            ValueError: The graph has other columns than the graphs before it.
        """
        if rows.count == 0:
            return
        self._codes = None
        if self.vocabularies is None:
            self.vocabularies = {name: {} for name in rows.categories}
            self.scales = {name: _Scale(x.shape[1], self.bins) for name, x in rows.numbers.items()}
            self.ids = {name: np.zeros(0, dtype=np.int64) for name in rows.bags}
            self.id_rows = dict(self.ids)
            self.text = rows.texts is not None
        rows = self._as_learned(rows)
        self._check(rows)
        for name, vocabulary in self.vocabularies.items():
            for value in map(_category, rows.categories[name]):
                vocabulary.setdefault(value, len(vocabulary) + 1)
        for name, scale in self.scales.items():
            scale.learn(rows.numbers[name])
        for name, ids in self.ids.items():
            found, counts = np.unique(rows.bags[name].indices.astype(np.int64), return_counts=True)
            self.ids[name] = known = np.union1d(ids, found)
            merged = np.zeros(len(known), dtype=np.int64)
            merged[np.searchsorted(known, ids)] = self.id_rows[name]
            merged[np.searchsorted(known, found)] += counts
            self.id_rows[name] = merged

    def encode(self, rows: Rows) -> tuple[Int[Tensor, "rows columns"], Float[Tensor, "rows numbers"]]:
        """Row numbers in the embedding table, and standardised numbers, then the intervals that they fill.

        Raises:
            ValueError: The graph has other columns than the training graphs.
        """
        if rows.count == 0:
            return torch.zeros(0, len(self.sizes), dtype=torch.long), torch.zeros(0, self.width)
        rows = self._as_learned(rows)
        self._check(rows)
        if self._codes is None:
            learned = zip(self.starts, (self.vocabularies or {}).items(), strict=True)
            self._codes = {name: _Codes(vocabulary, start) for start, (name, vocabulary) in learned}
        codes = [[*map(of.__getitem__, rows.categories[name])] for name, of in self._codes.items()]
        numbers = [scale.apply(rows.numbers[name]) for name, scale in self.scales.items()]
        numbers += [scale.parts(rows.numbers[name]) for name, scale in self.scales.items()]
        return (
            torch.from_numpy(np.array(codes, dtype=np.int64)).view(len(codes), rows.count).t().contiguous(),
            torch.cat(numbers, dim=1) if numbers else torch.zeros(rows.count, 0),
        )

    def encode_ids(self, rows: Rows) -> Bags:
        """The ids of each row as a sparse matrix ``(rows, num_ids)``.

        The ids of a column have length 1 together, so that a row with many ids does not have larger vectors
        than one with few. Then an id that *n* training rows have is multiplied by ``sqrt(n / mean n)``: see
        decision 38.
        """
        sparse = need("scipy.sparse")
        rows, blocks = self._as_learned(rows), [sparse.csr_matrix((rows.count, 0), dtype=np.float32)]
        for name, ids in self.ids.items() if rows.count else ():
            given = rows.bags[name]
            place = np.searchsorted(ids, given.indices)
            known = np.append(ids, -1)[place] == given.indices
            row = np.repeat(np.arange(rows.count), np.diff(given.indptr))[known]
            length = np.sqrt(np.bincount(row, weights=given.data[known] ** 2, minlength=rows.count))
            counts = self.id_rows[name]
            often = np.sqrt(counts * len(counts) / max(counts.sum(), 1))  # training may have had no id at all
            weights = (given.data[known] / length[row] * often[place[known]]).astype(np.float32)
            shape = (rows.count, len(ids))
            blocks.append(sparse.csr_matrix((weights, (row, place[known])), shape=shape))
        return sparse.hstack(blocks, format="csr")

    def _as_learned(self, rows: Rows) -> Rows:
        """The rows with each matrix sparse or filled, as it was in the first training graph."""
        filled = {n: torch.from_numpy(x.toarray()) for n, x in rows.bags.items() if n in self.scales}
        emptied = {n: _sparse(x) for n, x in rows.numbers.items() if n in self.ids}
        numbers = {n: x for n, x in rows.numbers.items() if n not in emptied} | filled
        bags = {n: x for n, x in rows.bags.items() if n not in filled} | emptied
        return replace(rows, numbers=numbers, bags=bags) if filled or emptied else rows

    def _check(self, rows: Rows) -> None:
        widths = {name: x.shape[1] for name, x in rows.numbers.items()}
        learned = {name: len(scale.mean) for name, scale in self.scales.items()}
        got = (set(rows.categories), widths, set(rows.bags), rows.texts is not None)
        expected = (set(self.vocabularies or {}), learned, set(self.ids), self.text)
        if got != expected:
            given, names = ({*of[0], *of[1], *of[2]} for of in (got, expected))
            lacking = "".join(f"no column {name!r}; " for name in sorted(names - given))
            raise ValueError(
                f"{self.row}s: {lacking}got {_describe(*got)}; "
                f"expected {_describe(*expected)}, as in the training graphs"
            )

    def to_json(self) -> dict[str, Any]:
        """Vocabularies and scales as plain JSON values."""
        return {
            "categories": {name: list(v) for name, v in (self.vocabularies or {}).items()},
            "numbers": {name: scale.to_json() for name, scale in self.scales.items()},
            "text": self.text,
            **({"ids": _listed(self.ids), "id_rows": _listed(self.id_rows)} if self.ids else {}),
        }

    @classmethod
    def from_json(cls, row: str, values: Mapping[str, Any]) -> Columns:
        """Rebuild the columns from :meth:`to_json`."""
        columns = cls(row)
        columns.vocabularies = {
            name: {value: i + 1 for i, value in enumerate(vocabulary)}
            for name, vocabulary in values["categories"].items()
        }
        columns.scales = {name: _Scale.from_json(scale) for name, scale in values["numbers"].items()}
        columns.text = values["text"]
        given = values.get("ids", {})
        columns.ids = {name: np.array(ids, dtype=np.int64) for name, ids in given.items()}
        rows = values.get("id_rows", {})  # models from before decision 38: all weigh alike
        alike = {name: [1] * len(ids) for name, ids in given.items()}
        columns.id_rows = {name: np.array(of, dtype=np.int64) for name, of in {**alike, **rows}.items()}
        return columns


class _Codes(dict[Any, int]):
    """Category -> its row in the embedding table. It keeps what it found, as most values occur often."""

    def __init__(self, vocabulary: Mapping[Any, int], start: int) -> None:
        super().__init__()
        self.vocabulary, self.start = vocabulary, start

    def __missing__(self, value: Any) -> int:
        number = self.vocabulary.get(_category(value), 0)
        if number:  # others may be without end
            self[value] = self.start + number
        return self.start + number


class _Scale:
    """Mean and standard deviation of a block of number columns, and their intervals, learned graph by graph.

    Means and squared deviations are merged as in Chan, Golub and LeVeque 1979. This method keeps its
    precision if the mean is large.
    """

    def __init__(self, width: int, bins: int = 0) -> None:
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.std = torch.ones(width, dtype=torch.float64)
        self.bins = bins
        self._sample, self._every = [torch.zeros(0, width, dtype=torch.float64)], 1
        self._kept = 0
        self._bounds: list[Tensor] | None = None
        self._count = 0
        self._mean = torch.zeros(width, dtype=torch.float64)
        self._squares = torch.zeros(width, dtype=torch.float64)
        self._ends = torch.zeros(0, width, dtype=torch.float64)  # smallest and largest value
        self._two_values = torch.ones(width, dtype=torch.bool)  # no other value has occurred

    @property
    def num_parts(self) -> int:
        """The number of intervals of all columns."""
        return sum(len(bounds) - 1 for bounds in self.bounds)

    @property
    def bounds(self) -> list[Tensor]:
        """The ends of the intervals of each column; a single one for a flag, which has no interval."""
        if self._bounds is None:
            columns = torch.cat(self._sample).T if self.bins else ()
            self._bounds = [_bounds(column, self.bins) for column in columns]
        return self._bounds

    def to_json(self) -> dict[str, Any]:
        bounds = {"bounds": [of_column.tolist() for of_column in self.bounds]} if self.bins else {}
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), **bounds}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> _Scale:
        bounds = values.get("bounds", [])
        scale = cls(len(values["mean"]), len(bounds))
        scale.mean = torch.tensor(values["mean"], dtype=torch.float64)
        scale.std = torch.tensor(values["std"], dtype=torch.float64)
        scale._bounds = [torch.tensor(of_column, dtype=torch.float64) for of_column in bounds]
        return scale

    def learn(self, numbers: Tensor) -> None:
        x = numbers.double()
        self._sample_of(x)
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

    def _sample_of(self, x: Tensor) -> None:
        """Keep every row at first, then every second, every fourth …, so that few enough are kept."""
        if not self.bins:
            return
        self._bounds = None
        start = -self._count % self._every
        self._sample.append(x[start :: self._every].clone())
        self._kept += len(self._sample[-1])
        while self._kept > MOST_ROWS:
            self._sample, self._every = [torch.cat(self._sample)[::2].clone()], 2 * self._every
            self._kept = len(self._sample[0])

    def apply(self, numbers: Tensor) -> Tensor:
        return ((numbers.double() - self.mean) / self.std).float()

    def parts(self, numbers: Tensor) -> Float[Tensor, "rows parts"]:
        """For each interval of each column the part of it that lies below the number, from 0 to 1."""
        filled = [torch.zeros(len(numbers), 0)]
        for i, bounds in enumerate(self.bounds):
            parts = (numbers[:, i, None].double() - bounds[:-1]) / bounds.diff()
            filled.append(parts.clamp(0.0, 1.0).float())
        return torch.cat(filled, dim=1)


def _bounds(column: Float[Tensor, " rows"], bins: int) -> Float[Tensor, " bounds"]:
    """Quantiles without those that are equal; one alone if there are only two values."""
    values: Tensor = column.unique()
    if len(values) <= 2:
        values = values[:1]
    elif len(values) > bins:
        values = torch.quantile(column, torch.linspace(0, 1, bins + 1, dtype=torch.float64)).unique()
    return values


def _listed(columns: Mapping[str, NDArray[np.int64]]) -> dict[str, list[int]]:
    return {name: column.tolist() for name, column in columns.items()}


def _category(value: Any) -> Any:
    return composed(value) if isinstance(value, str) else value


def _sparse(numbers: Tensor) -> Bags:
    matrix = need("scipy.sparse").csr_matrix(numbers.numpy())
    matrix.eliminate_zeros()
    return matrix


def _describe(categories: set[str], widths: Mapping[str, int], ids: set[str], text: bool) -> str:
    numbers = [f"{name} ({width})" for name, width in sorted(widths.items())]
    of_ids = f"ids {sorted(ids)}, " if ids else ""
    texts = "texts" if text else "no texts"
    return f"categories {sorted(categories)}, numbers {numbers}, {of_ids}{texts}"
