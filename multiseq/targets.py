"""Targets: what a label is. Each owns its vocabulary or scale, its loss, and the way back to the user.

A task has one target, and every head of that task shares it: the vocabulary has one owner.

Axes: rows (labels of a batch: one a vector or one a set), classes, columns (several numbers at once).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.results import Label, LabelSet, Number

__all__ = ["ClassTarget", "LabelsTarget", "NumberTarget", "flags_of", "target_from_config"]

MISSING = -100
"""The class number of a label that is missing (torch's own convention); it takes no part in the loss."""


class ClassTarget:
    """One class out of several; a missing label (None) takes no part in the loss.

    Args:
        labels: The classes, in the order of the head's outputs.

    Example:
        >>> target = ClassTarget.fit(["yes", "no", "yes", None])
        >>> target.labels, target.batch(["yes", None]).tolist()
        (['no', 'yes'], [1, -100])
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if len(set(labels)) != len(labels) or not labels:
            raise ValueError(f"labels: got {list(labels)[:8]}, expected one or more, each once")
        self.labels = list(labels)
        self.size = len(self.labels)
        self._index = {label: i for i, label in enumerate(self.labels)}

    @classmethod
    def fit(cls, values: Iterable[Any]) -> ClassTarget:
        """The classes that occur in the training labels, sorted."""
        found = {str(v) for v in values if v is not None}
        if not found:
            raise ValueError("labels: got no label that is not missing, expected some to learn from")
        return cls(sorted(found))

    def _number(self, value: Any) -> int:
        if value is None:
            return MISSING
        if str(value) not in self._index:
            near = ", ".join(self.labels[:8])
            raise ValueError(f"label: got {value!r}, which no training item has; expected one of {near} …")
        return self._index[str(value)]

    def batch(self, values: Sequence[Any]) -> Tensor:
        """``(rows,)`` class numbers of a batch's labels."""
        return torch.tensor([self._number(v) for v in values], dtype=torch.long)

    def loss(self, logits: Float[Tensor, "rows classes"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy, summed, and the number of labels that are there."""
        total = F.cross_entropy(logits.float(), targets, ignore_index=MISSING, reduction="sum")
        return total, (targets != MISSING).sum()

    def decode(self, logits: Float[Tensor, "rows classes"]) -> list[Label]:
        """The most probable class of each row."""
        results = []
        for row in logits.float().softmax(-1).tolist():
            best = max(range(self.size), key=row.__getitem__)
            results.append(Label(self.labels[best], row[best], dict(zip(self.labels, row, strict=True))))
        return results

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "class", "labels": self.labels}


class LabelsTarget:
    """Several classes at once, each there or not; a class may be missing in some items.

    A value is a collection of class names (those named are there, all others not) or a mapping from class
    name to True, False or None (missing, like a class that it does not name).

    Example:
        >>> target = LabelsTarget(["red", "round", "small"])
        >>> target.batch([{"red", "small"}, {"round": True, "red": None}]).tolist()
        [[1.0, 0.0, 1.0], [nan, 1.0, nan]]
    """

    def __init__(self, labels: Sequence[str]) -> None:
        if len(set(labels)) != len(labels) or not labels:
            raise ValueError(f"labels: got {list(labels)[:8]}, expected one or more, each once")
        self.labels = list(labels)
        self.size = len(self.labels)

    @classmethod
    def fit(cls, values: Iterable[Any]) -> LabelsTarget:
        """The classes that occur in the training labels, sorted."""
        return cls(sorted({name for v in values if v is not None for name in _named(v)}))

    def batch(self, values: Sequence[Any]) -> Tensor:
        """``(rows, classes)``: ones, zeros and NaN (missing)."""
        for value in values:
            unknown = [name for name in _named(value or ()) if name not in self.labels]
            if unknown:
                known = f"expected some of {self.labels[:8]} …"
                raise ValueError(f"labels: got {unknown}, which no training item has; {known}")
        rows = [[math.nan if f is None else float(f) for f in flags_of(v, self.labels)] for v in values]
        return torch.tensor(rows, dtype=torch.float32).view(-1, self.size)

    def loss(self, logits: Float[Tensor, "rows classes"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy, summed over what is not missing, and how many that is."""
        known = ~targets.isnan()
        # By weights, for to pick the known ones out would make the host wait for a GPU.
        total = F.binary_cross_entropy_with_logits(
            logits.float(), targets.nan_to_num(), weight=known.float(), reduction="sum"
        )
        return total, known.sum()

    def decode(self, logits: Float[Tensor, "rows classes"]) -> list[LabelSet]:
        """The classes that are at least half probable."""
        rows = logits.float().sigmoid().tolist()
        return [
            LabelSet(
                tuple(name for name, p in zip(self.labels, row, strict=True) if p >= 0.5),
                dict(zip(self.labels, row, strict=True)),
            )
            for row in rows
        ]

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "labels", "labels": self.labels}


class NumberTarget:
    """One number or several, standardised on the training data and given back in the user's unit.

    Missing values (None or NaN) take no part in the loss or in the scale.

    Args:
        names: The numbers' names, one for each column.
        mean, std: Of each column, on the training data.
        unit: Of the numbers, as printed.

    Example:
        >>> target = NumberTarget.fit([1.0, 3.0, None], name="price", unit="euro")
        >>> target.batch([3.0]).tolist(), str(target.decode(torch.tensor([[1.0]]))[0])
        ([[1.0]], '3 euro')
    """

    def __init__(
        self, names: Sequence[str], mean: Sequence[float], std: Sequence[float], *, unit: str = ""
    ) -> None:
        if not len(names) == len(mean) == len(std):
            raise ValueError(
                f"names, mean, std: got {len(names)}, {len(mean)}, {len(std)} entries, expected as many"
            )
        self.names, self.unit, self.size = list(names), unit, len(names)
        self.mean, self.std = list(mean), list(std)

    @classmethod
    def fit(cls, values: Iterable[Any], *, name: str = "value", unit: str = "") -> NumberTarget:
        """Mean and standard deviation of every column; a value is a number or a mapping of numbers."""
        rows = [v for v in values if v is not None]
        names = sorted({k for row in rows if isinstance(row, Mapping) for k in row}) or [name]
        columns = torch.tensor([_numbers(row, names) for row in rows], dtype=torch.float64).view(
            -1, len(names)
        )
        known = ~columns.isnan()
        count = known.sum(0)
        if (count == 0).any():
            empty = [n for n, c in zip(names, count.tolist(), strict=True) if c == 0]
            raise ValueError(f"numbers: got no value for {empty}, expected some to learn the scale from")
        mean = columns.nan_to_num().sum(0) / count
        std = ((columns - mean).nan_to_num().square().sum(0) / count).sqrt()
        # A column that never changes has a deviation of rounding alone.
        flat = std <= 1e-9 * mean.abs().clamp(min=1)
        return cls(names, mean.tolist(), std.masked_fill(flat, 1.0).tolist(), unit=unit)

    def batch(self, values: Sequence[Any]) -> Tensor:
        """``(rows, columns)``: standardised numbers, NaN where one is missing."""
        rows = [[math.nan] * self.size if v is None else _numbers(v, self.names) for v in values]
        raw = torch.tensor(rows, dtype=torch.float64).view(-1, self.size)
        mean, std = self._scale()
        return ((raw - mean) / std).float()

    def _scale(self) -> tuple[Tensor, Tensor]:
        # In double precision: a time in seconds since 1970 has a large mean and a small deviation.
        return torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)

    def loss(self, logits: Float[Tensor, "rows columns"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error of the standardised numbers, summed over what is there, and how many that is."""
        known = ~targets.isnan()
        errors = (logits.float() - targets).masked_fill(~known, 0.0)
        return errors.square().sum(), known.sum()

    def decode(self, logits: Float[Tensor, "rows columns"]) -> list[Number]:
        """Back in the user's unit."""
        mean, std = self._scale()
        rows = (logits.cpu().double() * std + mean).tolist()  # Apple's GPUs have no double precision
        return [Number(dict(zip(self.names, row, strict=True)), self.unit) for row in rows]

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "number", "names": self.names, "mean": self.mean, "std": self.std, "unit": self.unit}


def flags_of(value: Any, labels: Sequence[str]) -> list[bool | None]:
    """For each class whether a value of `LabelsTarget` has it, None where that is missing."""
    if value is None:
        return [None] * len(labels)
    named, other = _named(value), None if isinstance(value, Mapping) else False
    return [named.get(name, other) for name in labels]


def _named(value: Any) -> dict[str, bool | None]:
    """Class names with their flags, as strings."""
    if isinstance(value, str):
        raise ValueError(
            f"labels: got the text {value!r}, expected a collection of class names, as [{value!r}]"
        )
    if isinstance(value, Mapping):
        return {str(k): None if flag is None else bool(flag) for k, flag in value.items()}
    return {str(name): True for name in value}


def _numbers(value: Any, names: Sequence[str]) -> list[float]:
    """The columns of one value, NaN where missing. Raises ValueError on what is no number."""
    row = [value.get(n) for n in names] if isinstance(value, Mapping) else [value]
    if len(row) != len(names) or (isinstance(value, Mapping) and set(value) - set(names)):
        raise ValueError(f"number: got {value!r}, expected {len(names)} numbers named {list(names)}")
    try:
        numbers = [math.nan if x is None else float(x) for x in row]
    except (TypeError, ValueError):
        raise ValueError(f"number: got {value!r}, expected a number or None where it is missing") from None
    if any(math.isinf(x) for x in numbers):
        raise ValueError(f"number: got {value!r}, expected finite numbers")
    return numbers


def target_from_config(config: Mapping[str, Any]) -> Any:
    """Rebuild a target from its ``config()``. Only the kinds of this library are known."""
    from multiseq.text_target import TextTarget

    options = {k: v for k, v in config.items() if k != "kind"}
    if config["kind"] == "text":
        return TextTarget.from_config(config)
    kinds = {"class": ClassTarget, "labels": LabelsTarget, "number": NumberTarget}
    if config["kind"] not in kinds:
        raise ValueError(
            f"target: got kind {config['kind']!r}, expected one of {', '.join([*kinds, 'text'])}"
        )
    return kinds[config["kind"]](**options)
