"""What `predict` gives back: plain Python values that print well and turn into JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["NOT_FINITE", "Label", "LabelSet", "NotFiniteError", "Number", "Shares", "Text", "check_finite"]


class NotFiniteError(ValueError):
    """A prediction that is NaN or infinite: not given back as if it were one.

    Args:
        number: Of which set.
        message: What happened, where it is not simply that.
    """

    def __init__(self, number: int, message: str = "") -> None:
        self.number = number
        super().__init__(message or f"set {number}: got {NOT_FINITE}")


NOT_FINITE = (
    "a prediction that is NaN or infinite, expected finite numbers; look for huge numbers in the item, and "
    "for NaN among the weights"
)


def check_finite(rows: Tensor, lengths: Sequence[int]) -> None:
    """Raises `NotFiniteError` for the first set with a row that is not finite; every set has so many rows."""
    bad = ~rows.isfinite().all(-1)
    if bad.any():
        row = int(bad.nonzero()[0])
        ends = accumulate(lengths)
        raise NotFiniteError(next(number for number, end in enumerate(ends) if row < end))


class Shares(Mapping[str, float]):
    """The probability of every class: a row of a table that all results of a batch have in common.

    A dictionary for each vector would take many times the memory of its numbers. Pickled or copied, it
    becomes one.

    >>> import numpy
    >>> [row] = Shares.of_rows(["no", "yes"], numpy.array([[0.25, 0.75]]))
    >>> row["yes"], dict(row)
    (0.75, {'no': 0.25, 'yes': 0.75})
    """

    __slots__ = ("_index", "_row", "_table")

    def __init__(self, index: dict[str, int], table: NDArray[Any], row: int) -> None:
        self._index, self._table, self._row = index, table, row

    @classmethod
    def of_rows(cls, names: Sequence[str], table: NDArray[Any]) -> list[Shares]:
        """One for each row of ``(rows, classes)``."""
        index = {name: i for i, name in enumerate(names)}
        return [cls(index, table, row) for row in range(len(table))]

    def __getitem__(self, name: str) -> float:
        return float(self._table[self._row, self._index[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def items(self) -> Any:
        """As of a dictionary; all numbers are read at once."""
        return self._dict().items()

    def values(self) -> Any:
        """Likewise."""
        return self._dict().values()

    def _dict(self) -> dict[str, float]:
        return dict(zip(self._index, self._table[self._row].tolist(), strict=True))

    def __repr__(self) -> str:
        return repr(self._dict())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._dict(),)


@dataclass(frozen=True, slots=True)
class Label:
    """A class and how probable the model holds it."""

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(repr=False, compare=False, default_factory=dict)

    def __str__(self) -> str:
        return f"{self.label} ({self.probability:.0%})"


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Several classes at once: those at least half probable, and every class's probability."""

    labels: tuple[str, ...]
    probabilities: Mapping[str, float] = field(repr=False, compare=False, default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(self.labels) or "(none)"


@dataclass(frozen=True)
class Number:
    """One or several numbers in the user's unit, by name.

    Args:
        values: The numbers.
        unit: Of all of them.
        scales: Of each the deviation of the training numbers, which says how many digits are printed.
    """

    values: dict[str, float]
    unit: str = ""
    scales: dict[str, float] = field(repr=False, compare=False, default_factory=dict)

    @property
    def value(self) -> float:
        """The number, where there is one."""
        if len(self.values) != 1:
            raise ValueError(f"value: there are several numbers, {list(self.values)}; use .values[name]")
        return next(iter(self.values.values()))

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        shown = {name: digits(value, self.scales.get(name)) for name, value in self.values.items()}
        if len(shown) == 1:
            return f"{next(iter(shown.values()))}{unit}"
        return ", ".join(f"{name} {value}{unit}" for name, value in shown.items())


def digits(value: float, scale: float | None = None) -> str:
    """A number in four significant digits, or as many as show a thousandth of a scale.

    The unit changes nothing: neither a factor nor a large number that is added hides a difference.

    >>> digits(3.14159), digits(1700000012.345, 20.0), digits(2.5e-9, 1e-9), digits(0.00004, 1.0)
    ('3.142', '1700000012.35', '2.5e-09', '0')
    """
    if not scale or not value or not math.isfinite(value):
        return f"{value:.4g}"
    wanted = min(17, 4 + _exponent(value) - _exponent(scale))
    return f"{value:.{wanted}g}" if wanted > 0 else "0"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)) + 1e-9)  # the logarithm of 1000 may be 2.9999999999999996


@dataclass(frozen=True)
class Text:
    """A decoded sequence and its score: the log-probability of its tokens (natural logarithm)."""

    text: str
    score: float

    def __str__(self) -> str:
        return self.text
