"""Targets: what a label is. Each owns its vocabulary or scale, its loss, and the way back to the user.

A task has one target, and every head of that task shares it: the vocabulary has one owner. When two labels
are the same, and what a missing one is, `multiseq.labels` says for all of them.

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

from multiseq.labels import ROUNDING, class_name, flag, number, plain
from multiseq.results import Label, LabelSet, Number, Shares

__all__ = [
    "ClassTarget",
    "LabelsTarget",
    "NumberTarget",
    "flags_of",
    "is_constant",
    "is_missing",
    "named_flags",
    "number_of",
    "target_from_config",
]

MISSING = -100
"""The class number of a label that is missing (torch's own convention); it takes no part in the loss."""


class ClassTarget:
    """One class out of several; a missing label takes no part in the loss.

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
        self._index = {class_name(label): i for i, label in enumerate(self.labels)}

    @classmethod
    def fit(cls, values: Iterable[Any]) -> ClassTarget:
        """The classes that occur in the training labels, sorted."""
        found = {name for name in map(class_name, values) if name is not None}
        if not found:
            raise ValueError("labels: got no label that is not missing, expected some to learn from")
        return cls(sorted(found))

    def knows(self, name: str) -> bool:
        """Whether training has a class of that canonical name."""
        return name in self._index

    def is_missing(self, label: Any) -> bool:
        """Whether a label names no class."""
        return class_name(label) is None

    def _number(self, value: Any) -> int:
        name = class_name(value)
        if name is None:
            return MISSING
        if name not in self._index:
            near = ", ".join(self.labels[:8])
            raise ValueError(f"label: got {name!r}, which no training item has; expected one of {near} …")
        return self._index[name]

    def batch(self, values: Sequence[Any]) -> Tensor:
        """``(rows,)`` class numbers of a batch's labels."""
        return torch.tensor([self._number(v) for v in values], dtype=torch.long)

    def loss(self, logits: Float[Tensor, "rows classes"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy, summed, and the number of labels that are there."""
        total = F.cross_entropy(logits.float(), targets, ignore_index=MISSING, reduction="sum")
        return total, (targets != MISSING).sum()

    def decode(self, logits: Float[Tensor, "rows classes"]) -> list[Label]:
        """The most probable class of each row."""
        table = logits.detach().float().softmax(-1).cpu()
        chosen = table.argmax(-1)
        highest = table.gather(1, chosen[:, None])[:, 0]
        rows = Shares.of_rows(self.labels, table.numpy())
        return [
            Label(self.labels[i], p, row)
            for i, p, row in zip(chosen.tolist(), highest.tolist(), rows, strict=True)
        ]

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
        self._known = {class_name(label) for label in self.labels}

    @classmethod
    def fit(cls, values: Iterable[Any]) -> LabelsTarget:
        """The classes that occur in the training labels, sorted."""
        return cls(sorted({name for v in values for name in named_flags(v)}))

    def knows(self, name: str) -> bool:
        """Whether training has a class of that canonical name."""
        return name in self._known

    def batch(self, values: Sequence[Any]) -> Tensor:
        """``(rows, classes)``: ones, zeros and NaN (missing)."""
        for value in values:
            unknown = [name for name in named_flags(value) if name not in self._known]
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
        table = logits.detach().float().sigmoid().cpu()
        there: list[list[str]] = [[] for _ in table]
        for row, column in (table >= 0.5).nonzero().tolist():
            there[row].append(self.labels[column])
        rows = Shares.of_rows(self.labels, table.numpy())
        return [LabelSet(tuple(names), row) for names, row in zip(there, rows, strict=True)]

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "labels", "labels": self.labels}


class NumberTarget:
    """One number or several, standardised on the training data and given back in the user's unit.

    Missing values take no part in the loss or in the scale. A number that never changes is measured by its
    size.

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
        columns = torch.tensor([_row(row, names) for row in rows], dtype=torch.float64).view(-1, len(names))
        scales = []
        for name, column in zip(names, columns.T, strict=True):
            known = column[~column.isnan()]
            if not len(known):
                raise ValueError(f"numbers: got no value for {name!r}, expected some to learn the scale from")
            scales.append(_scale_of(known))
        return cls(names, [mean for mean, _ in scales], [std for _, std in scales], unit=unit)

    def batch(self, values: Sequence[Any]) -> Tensor:
        """``(rows, columns)``: standardised numbers, NaN where one is missing."""
        rows = [_row(value, self.names) for value in values]
        raw = torch.tensor(rows, dtype=torch.float64).view(-1, self.size)
        mean, std = self._scale()
        return ((raw - mean) / std).float()

    def is_missing(self, label: Any) -> bool:
        """Whether a label has no number."""
        return all(map(math.isnan, _row(label, self.names)))

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
        scales = dict(zip(self.names, self.std, strict=True))
        rows = (logits.detach().cpu().double() * std + mean).tolist()  # Apple's GPUs have no double precision
        return [Number(dict(zip(self.names, row, strict=True)), self.unit, scales) for row in rows]

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "number", "names": self.names, "mean": self.mean, "std": self.std, "unit": self.unit}


def is_constant(numbers: Float[Tensor, " numbers"]) -> bool:
    """Whether numbers differ by no more than rounding, in whatever unit they are.

    >>> is_constant(torch.tensor([0.3, 0.1 + 0.2]).double()), is_constant(torch.tensor([1e-12, 2e-12]))
    (True, False)
    """
    low, high = numbers.aminmax()
    return bool(high - low <= ROUNDING * numbers.abs().amax())


def _scale_of(numbers: Float[Tensor, " numbers"]) -> tuple[float, float]:
    """Mean and deviation; of a number that never changes, its size instead (of zero, 1)."""
    mean = numbers.mean()
    if is_constant(numbers):
        return mean.item(), abs(mean.item()) or 1.0
    return mean.item(), (numbers - mean).square().mean().sqrt().item()


def is_missing(target: Any, label: Any) -> bool:
    """Whether a label says nothing to a target; a target without a word on that misses None alone."""
    if label is None:
        return True
    says_nothing = getattr(target, "is_missing", None)
    return says_nothing is not None and bool(says_nothing(label))


def flags_of(value: Any, labels: Sequence[str]) -> list[bool | None]:
    """For each class whether a value of `LabelsTarget` has it, None where that is missing."""
    named = named_flags(value)
    other = None if value is None or isinstance(value, Mapping) else False
    return [named.get(str(class_name(name)), other) for name in labels]


def named_flags(value: Any) -> dict[str, bool | None]:
    """The flags of the classes that a value of `LabelsTarget` names.

    Raises:
        ValueError: A text, or flags without names.
    """
    if value is None:
        return {}
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"labels: got {value!r}, expected a collection of class names, as [{value!r}]")
    if isinstance(value, Mapping):
        return {str(class_name(name)): flag(there) for name, there in value.items()}
    entries = plain(value if hasattr(value, "tolist") else list(value))
    names = [class_name(entry) for entry in entries]
    floats = all(isinstance(v, float) and v in (0, 1) for v in entries)
    flags = floats or any(isinstance(v, bool) for v in entries) or len(set(names)) < len(names)
    if entries and flags:
        raise ValueError(
            f"labels: got {entries}, expected a collection of class names, each once; "
            "for flags a mapping, as {'red': True, 'round': False}"
        )
    return {name: True for name in names if name is not None}


def number_of(value: Any, name: str) -> float:
    """The number of that name in a label, NaN where it is missing."""
    return number(value.get(name) if isinstance(value, Mapping) else value)


def _row(value: Any, names: Sequence[str]) -> list[float]:
    """The columns of one label, NaN where missing. Raises ValueError on what is no number."""
    if value is None:
        return [math.nan] * len(names)
    if set(value) - set(names) if isinstance(value, Mapping) else len(names) > 1:
        raise ValueError(f"number: got {value!r}, expected {len(names)} numbers named {list(names)}")
    return [number_of(value, name) for name in names]


def target_from_config(config: Mapping[str, Any]) -> Any:
    """Rebuild a target from its ``config()``. Only the kinds of this library are known."""
    from multiseq.heads.text_target import TextTarget

    options = {k: v for k, v in config.items() if k != "kind"}
    if config["kind"] == "text":
        return TextTarget.from_config(config)
    kinds = {"class": ClassTarget, "labels": LabelsTarget, "number": NumberTarget}
    if config["kind"] not in kinds:
        raise ValueError(
            f"target: got kind {config['kind']!r}, expected one of {', '.join([*kinds, 'text'])}"
        )
    return kinds[config["kind"]](**options)
