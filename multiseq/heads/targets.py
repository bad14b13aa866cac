"""Targets define what a label is: a class, several classes at once, or numbers (regression).

A target holds the vocabulary or the scale, computes the loss, and converts predictions back to the user's
labels. A task has one target, which its head holds, so only one object holds the vocabulary.
`multiseq.labels` decides when two labels are equal and when a label is missing.

Axes: rows (labels of a batch, one for each vector or set), classes, columns (several numbers at once).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from multiseq.checks import check_number, one_of
from multiseq.heads.margin import with_margin
from multiseq.heads.verification import Verification
from multiseq.labels import ROUNDING, class_name, flag, number, plain
from multiseq.results import Label, LabelSet, Number, Shares

__all__ = [
    "ClassTarget",
    "MultiLabelTarget",
    "NumberTarget",
    "flags_of",
    "is_constant",
    "is_missing",
    "missing_rows",
    "named_flags",
    "number_of",
    "target_from_config",
]

MISSING = -100
"""The class number of a missing label (torch's ``ignore_index``). The loss ignores it."""
SCALE = 30.0
"""The scale of cosines, with a margin, that is usual for speakers."""


class ClassTarget:
    """One class out of several (single-label classification). The loss ignores missing labels.

    Args:
        labels: The names of the classes, in the order of the head's outputs.
        weights: The weight of each class in the training loss. Default: 1 for all.
        label_smoothing: The share of each label that the training loss spreads evenly over all classes.
        margin: Angular margin between classes in the loss, in radians; 0.2 is usual for speakers, 0.5 for
            faces. Logits are then scaled cosines (`multiseq.heads.margin`). Weights and label smoothing apply
            as without it. Default: none, and ordinary logits.
        scale: With a margin, the largest logit, that of an angle of 0.
        temperature: The logits of predictions are divided by it; `multiseq.calibrate` sets it.
        verification: What cosines of embeddings mean, for `Model.compare`; `multiseq.calibrate` sets it.

    Raises:
        ValueError: No classes, a class twice, not one weight for each class, or a number out of its range.

    Example:
        >>> target = ClassTarget.fit(["yes", "no", "yes", None])
        >>> target.labels, target.batch(["yes", None]).tolist()
        (['no', 'yes'], [1, -100])
    """

    kind = "class"

    def __init__(
        self,
        labels: Sequence[str],
        *,
        weights: Sequence[float] = (),
        label_smoothing: float = 0.0,
        margin: float = 0.0,
        scale: float = SCALE,
        temperature: float = 1.0,
        verification: Verification | None = None,
    ) -> None:
        if len(set(labels)) != len(labels) or not labels:
            raise ValueError(f"labels: got {list(labels)[:8]}, expected one or more, each once")
        check_number("label_smoothing", label_smoothing, 0.0, 1.0)
        check_number("margin", margin, 0.0, 1.0)
        self.labels = list(labels)
        self.temperature = _positive("temperature", temperature)
        self.size = len(self.labels)
        self.weights = _checked_weights(weights, self.size)
        self.label_smoothing = label_smoothing
        self.margin, self.scale = margin, _positive("scale", scale)
        self.verification = verification
        self._index = {class_name(label): i for i, label in enumerate(self.labels)}

    @classmethod
    def fit(
        cls,
        values: Iterable[Any],
        *,
        class_weight: str = "",
        label_smoothing: float = 0.0,
        margin: float = 0.0,
        scale: float = SCALE,
    ) -> ClassTarget:
        """A target with the classes that occur in the training labels, sorted.

        Args:
            values: Training labels.
            class_weight: ``balanced`` gives a class that has n_c of the n labels the weight n / (k · n_c),
                with k classes, as in scikit-learn. So all classes count equally. Default: no weights.
            label_smoothing: See the class.
            margin: See the class.
            scale: See the class.

        Raises:
            ValueError: All labels are missing, or ``class_weight`` is another word.
        """
        counts = Counter(name for name in map(class_name, values) if name is not None)
        if not counts:
            raise ValueError("labels: got only missing labels, expected some labels to learn from")
        labels = sorted(counts)
        weights = _class_weights([counts[label] for label in labels], class_weight)
        return cls(labels, weights=weights, label_smoothing=label_smoothing, margin=margin, scale=scale)

    def knows(self, name: str) -> bool:
        """Whether training has a class of that canonical name."""
        return name in self._index

    def is_missing(self, label: Any) -> bool:
        """Whether a label is missing."""
        return class_name(label) is None

    def _number(self, value: Any) -> int:
        name = class_name(value)
        if name is None:
            return MISSING
        if name not in self._index:
            near = ", ".join(self.labels[:8])
            raise ValueError(f"label: got {name!r}, which no training item has, expected one of {near} …")
        return self._index[name]

    def batch(self, values: Sequence[Any]) -> Tensor:
        """The class numbers of a batch of labels, ``(rows,)``; ``MISSING`` for a missing label.

        Raises:
            ValueError: A class that no training item has.
        """
        return torch.tensor([self._number(v) for v in values], dtype=torch.long)

    def loss(self, logits: Float[Tensor, "rows classes"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy, each label times the weight of its class; and the number of labels."""
        if self.margin:
            logits = with_margin(logits, targets, margin=self.margin, scale=self.scale)
        total = F.cross_entropy(
            logits.float(),
            targets,
            weight=torch.tensor(self.weights, device=logits.device) if self.weights else None,
            ignore_index=MISSING,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        # The labels are counted, not their weights: otherwise a batch with one class would have no weights.
        # Balanced weights have the mean 1 over the training labels, so the loss keeps its size.
        return total, (targets != MISSING).sum()

    def decode(self, logits: Float[Tensor, "rows classes"]) -> list[Label]:
        """The most probable class of each row, whatever the temperature."""
        logits = logits.detach().float()
        table = (logits / self.temperature).softmax(-1).cpu()
        chosen = logits.argmax(-1).cpu()
        highest = table.gather(1, chosen[:, None])[:, 0]
        shares = Shares.of_rows(self.labels, table.numpy())
        return [
            Label(self.labels[i], p, row)
            for i, p, row in zip(chosen.tolist(), highest.tolist(), shares, strict=True)
        ]

    def config(self) -> dict[str, Any]:
        """The target's settings as plain JSON values, for `target_from_config`."""
        smoothing = {"label_smoothing": self.label_smoothing} if self.label_smoothing else {}
        angular = {"margin": self.margin, "scale": self.scale} if self.margin else {}
        compared = {"verification": self.verification.config()} if self.verification else {}
        options = {**_weights_config(self.weights), **smoothing, **angular, "temperature": self.temperature}
        return {"kind": self.kind, "labels": self.labels, **options, **compared}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ClassTarget:
        """The inverse of :meth:`config`."""
        options = ("weights", "label_smoothing", "margin", "scale", "temperature")
        known = config.get("verification")
        verification = None if known is None else Verification(**known)
        given = {key: config[key] for key in options if key in config}
        return cls(config["labels"], **given, verification=verification)


class MultiLabelTarget:
    """Several classes at once, each present or absent (multi-label classification).

    A label is either a collection of class names (these are present, all others absent), or a mapping from
    class name to True, False or None. In a mapping, a class with None or without an entry is missing, and the
    loss ignores it.

    Args:
        labels: The names of the classes, in the order of the head's outputs.
        weights: For each class the weights of absent and of present in the training loss. Default: 1 for all.
        temperature: The logits of predictions are divided by it; `multiseq.calibrate` sets it.
        threshold: The lowest probability of a class that is present; `multiseq.calibrate` sets it.

    Raises:
        ValueError: No classes, a class twice, not a pair of weights for each class, or a number that is not
            positive.

    Example:
        >>> target = MultiLabelTarget(["red", "round", "small"])
        >>> target.batch([{"red", "small"}, {"round": True, "red": None}]).tolist()
        [[1.0, 0.0, 1.0], [nan, 1.0, nan]]
    """

    kind = "multilabel"

    def __init__(
        self,
        labels: Sequence[str],
        *,
        weights: Sequence[Sequence[float]] = (),
        temperature: float = 1.0,
        threshold: float = 0.5,
    ) -> None:
        if len(set(labels)) != len(labels) or not labels:
            raise ValueError(f"labels: got {list(labels)[:8]}, expected one or more, each once")
        self.labels = list(labels)
        self.temperature = _positive("temperature", temperature)
        self.threshold = _positive("threshold", threshold)
        self.size = len(self.labels)
        self.weights = [_checked_weights(pair, 2) for pair in _checked_number(weights, self.size)]
        self._known = {class_name(label) for label in self.labels}

    @classmethod
    def fit(cls, values: Iterable[Any], *, class_weight: str = "") -> MultiLabelTarget:
        """A target with the classes that occur in the training labels, sorted.

        Args:
            values: Training labels.
            class_weight: ``balanced`` gives a flag (present or absent) that n_f of the n labels of a class
                have the weight n / (2 · n_f). So both count equally in each class. Default: no weights.
        """
        values = list(values)
        labels = sorted({name for v in values for name in named_flags(v)})
        target = cls(labels)
        if class_weight:
            flags = target.batch([v for v in values if v is not None])
            counts = [[int((column == there).sum()) for there in (0, 1)] for column in flags.T]
            target.weights = [_class_weights(pair, class_weight) for pair in counts]
        return target

    def knows(self, name: str) -> bool:
        """Whether training has a class of that canonical name."""
        return name in self._known

    def batch(self, values: Sequence[Any]) -> Tensor:
        """The labels of a batch, ``(rows, classes)``: 1 (present), 0 (absent) or NaN (missing).

        Raises:
            ValueError: A class that no training item has.
        """
        for value in values:
            unknown = [name for name in named_flags(value) if name not in self._known]
            if unknown:
                known = f"expected some of {self.labels[:8]} …"
                raise ValueError(f"labels: got {unknown}, which no training item has, {known}")
        rows = [[math.nan if f is None else float(f) for f in flags_of(v, self.labels)] for v in values]
        return torch.tensor(rows, dtype=torch.float32).view(-1, self.size)

    def loss(self, logits: Float[Tensor, "rows classes"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """The binary cross-entropy summed over all flags that are not missing, and their number."""
        known = ~targets.isnan()
        # Use weights of 0 for missing flags. Selecting the others would make the host wait for the GPU.
        there, weight = targets.nan_to_num(), known.float()
        if self.weights:
            absent, present = torch.tensor(self.weights, device=logits.device).T
            weight = weight * torch.where(there > 0, present, absent)
        total = F.binary_cross_entropy_with_logits(logits.float(), there, weight=weight, reduction="sum")
        return total, known.sum()

    def decode(self, logits: Float[Tensor, "rows classes"]) -> list[LabelSet]:
        """For each row the classes with a probability of at least ``threshold``."""
        table = (logits.detach().float() / self.temperature).sigmoid().cpu()
        there: list[list[str]] = [[] for _ in table]
        for row, column in (table >= self.threshold).nonzero().tolist():
            there[row].append(self.labels[column])
        shares = Shares.of_rows(self.labels, table.numpy())
        return [LabelSet(tuple(n), row, self.threshold) for n, row in zip(there, shares, strict=True)]

    def config(self) -> dict[str, Any]:
        """The target's settings as plain JSON values, for `target_from_config`."""
        calibration = {"temperature": self.temperature, "threshold": self.threshold}
        return {"kind": self.kind, "labels": self.labels, **_weights_config(self.weights), **calibration}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MultiLabelTarget:
        """The inverse of :meth:`config`."""
        options = ("weights", "temperature", "threshold")
        return cls(config["labels"], **{key: config[key] for key in options if key in config})


class NumberTarget:
    """One number or several (regression).

    The model learns standardised numbers, ``(number - mean) / std`` of the training data; predictions are in
    the user's unit. Missing values count neither in the loss nor in mean and std. If a column is constant in
    training, its absolute value takes the place of the standard deviation.

    Args:
        names: The name of each column.
        mean: The mean of each column in the training data.
        std: The standard deviation of each column in the training data.
        unit: The unit of the numbers, for printing.
        half_widths: Half the width of the interval of each column, in standard deviations of the training
            data; `multiseq.calibrate` sets it. Empty: predictions have no intervals.

    Raises:
        ValueError: ``names``, ``mean`` and ``std`` differ in length, or ``half_widths`` has another one.

    Example:
        >>> target = NumberTarget.fit([1.0, 3.0, None], name="price", unit="euro")
        >>> target.batch([3.0]).tolist(), str(target.decode(torch.tensor([[1.0]]))[0])
        ([[1.0]], '3 euro')
    """

    kind = "number"

    def __init__(
        self,
        names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        unit: str = "",
        half_widths: Sequence[float] = (),
    ) -> None:
        if not len(names) == len(mean) == len(std):
            raise ValueError(
                f"names, mean, std: got {len(names)}, {len(mean)}, {len(std)} entries, expected equally many"
            )
        if len(half_widths) not in (0, len(names)):
            raise ValueError(f"half_widths: got {len(half_widths)} entries, expected none or {len(names)}")
        self.names, self.unit, self.size = list(names), unit, len(names)
        self.mean, self.std = list(mean), list(std)
        self.half_widths = list(half_widths)

    @classmethod
    def fit(cls, values: Iterable[Any], *, name: str = "value", unit: str = "") -> NumberTarget:
        """A target with mean and standard deviation of the training labels.

        Args:
            values: Training labels: each a number, or a mapping from column name to number.
            name: The name of the number if the labels are plain numbers.
            unit: The unit of the numbers, for printing.

        Raises:
            ValueError: A column has no values, or a label is no number.
        """
        given = [v for v in values if v is not None]
        names = sorted({k for row in given if isinstance(row, Mapping) for k in row}) or [name]
        columns = torch.tensor([_row(row, names) for row in given], dtype=torch.float64).view(-1, len(names))
        scales = []
        for name, column in zip(names, columns.T, strict=True):
            known = column[~column.isnan()]
            if not len(known):
                raise ValueError(f"numbers: got no value for {name!r}, expected some to compute a scale")
            scales.append(_scale_of(known))
        return cls(names, [mean for mean, _ in scales], [std for _, std in scales], unit=unit)

    def batch(self, values: Sequence[Any]) -> Tensor:
        """The standardised numbers of a batch, ``(rows, columns)``; NaN for a missing number."""
        rows = [_row(value, self.names) for value in values]
        raw = torch.tensor(rows, dtype=torch.float64).view(-1, self.size)
        mean, std = self._scale()
        return ((raw - mean) / std).float()

    def is_missing(self, label: Any) -> bool:
        """Whether all numbers of a label are missing."""
        return all(map(math.isnan, _row(label, self.names)))

    def _scale(self) -> tuple[Tensor, Tensor]:
        # Double precision, because the mean can be much larger than the deviation (seconds since 1970, say).
        return torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)

    def loss(self, logits: Float[Tensor, "rows columns"], targets: Tensor) -> tuple[Tensor, Tensor]:
        """The squared error of the standardised numbers that are not missing, summed; and their number."""
        known = ~targets.isnan()
        errors = (logits.float() - targets).masked_fill(~known, 0.0)
        return errors.square().sum(), known.sum()

    def decode(self, logits: Float[Tensor, "rows columns"]) -> list[Number]:
        """One result for each row, in the user's unit."""
        mean, std = self._scale()
        scales = dict(zip(self.names, self.std, strict=True))
        rows = (logits.detach().cpu().double() * std + mean).tolist()  # Apple's GPUs have no double precision
        return [
            Number(dict(zip(self.names, row, strict=True)), self.unit, scales, self._intervals(row))
            for row in rows
        ]

    def _intervals(self, row: Sequence[float]) -> dict[str, tuple[float, float]]:
        if not self.half_widths:
            return {}
        halves = [half * std for half, std in zip(self.half_widths, self.std, strict=True)]
        return {n: (v - half, v + half) for n, v, half in zip(self.names, row, halves, strict=True)}

    def config(self) -> dict[str, Any]:
        """The target's settings as plain JSON values, for `target_from_config`."""
        scale = {"mean": self.mean, "std": self.std, "half_widths": self.half_widths}
        return {"kind": self.kind, "names": self.names, "unit": self.unit, **scale}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NumberTarget:
        """The inverse of :meth:`config`."""
        known = config.get("half_widths", ())
        return cls(config["names"], config["mean"], config["std"], unit=config["unit"], half_widths=known)


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: got {value}, expected a positive number")
    return value


def _class_weights(counts: Sequence[int], class_weight: str) -> list[float]:
    """Balanced weights, n / (k · n_c) for each of the k classes; 1 for a class without labels."""
    if not class_weight:
        return []
    one_of(class_weight, ("balanced",), "class_weight")
    known = [count for count in counts if count]
    return [sum(known) / (len(known) * count) if count else 1.0 for count in counts]


def _checked_number(weights: Sequence[Any], num: int) -> Sequence[Any]:
    if len(weights) not in (0, num):
        raise ValueError(f"weights: got {len(weights)}, expected {num}, one for each class")
    return weights


def _checked_weights(weights: Sequence[float], num: int) -> list[float]:
    bad = [weight for weight in weights if not 0 < weight < math.inf]
    if bad:
        raise ValueError(f"weights: got {bad[0]}, expected finite numbers above 0")
    return list(_checked_number(weights, num))


def _weights_config(weights: Sequence[Any]) -> dict[str, Any]:
    return {"weights": weights} if weights else {}


def is_constant(numbers: Float[Tensor, " numbers"]) -> bool:
    """Whether numbers are equal up to rounding errors. The result does not depend on their unit.

    >>> is_constant(torch.tensor([0.3, 0.1 + 0.2]).double()), is_constant(torch.tensor([1e-12, 2e-12]))
    (True, False)
    """
    low, high = numbers.aminmax()
    return bool(high - low <= ROUNDING * numbers.abs().amax())


def _scale_of(numbers: Float[Tensor, " numbers"]) -> tuple[float, float]:
    """Mean and standard deviation. If the numbers are constant, their absolute value instead (1 for zero)."""
    mean = numbers.mean()
    if is_constant(numbers):
        return mean.item(), abs(mean.item()) or 1.0
    return mean.item(), (numbers - mean).square().mean().sqrt().item()


def missing_rows(targets: Tensor) -> Bool[Tensor, " rows"]:
    """Which labels of a batch are missing: ``MISSING`` for a class, NaN in all columns for numbers."""
    missing = targets.isnan() if targets.is_floating_point() else targets == MISSING
    return missing.all(1) if missing.dim() > 1 else missing


def is_missing(target: Any, label: Any) -> bool:
    """Whether a label is missing: None, or what the target's method ``is_missing`` (if it has one) says."""
    if label is None:
        return True
    says_nothing = getattr(target, "is_missing", None)
    return says_nothing is not None and bool(says_nothing(label))


def flags_of(value: Any, labels: Sequence[str]) -> list[bool | None]:
    """For each class whether a label of `MultiLabelTarget` has it: True, False, or None if missing."""
    named = named_flags(value)
    other = None if value is None or isinstance(value, Mapping) else False
    return [named.get(str(class_name(name)), other) for name in labels]


def named_flags(value: Any) -> dict[str, bool | None]:
    """The classes that a label of `MultiLabelTarget` names, each with its flag.

    Raises:
        ValueError: The label is a single text, or it has flags without class names.
    """
    if value is None:
        return {}
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"labels: got {value!r}, expected a collection of class names, such as [{value!r}]")
    if isinstance(value, Mapping):
        return {str(class_name(name)): flag(there) for name, there in value.items()}
    entries = plain(value if hasattr(value, "tolist") else list(value))
    names = [class_name(entry) for entry in entries]
    floats = all(isinstance(v, float) and v in (0, 1) for v in entries)
    flags = floats or any(isinstance(v, bool) for v in entries) or len(set(names)) < len(names)
    if entries and flags:
        raise ValueError(
            f"labels: got {entries}, expected a collection of class names, each once; "
            "for flags use a mapping, such as {'red': True, 'round': False}"
        )
    return {name: True for name in names if name is not None}


def number_of(value: Any, name: str) -> float:
    """The number called ``name`` in a label; NaN if it is missing."""
    return number(value.get(name) if isinstance(value, Mapping) else value)


def _row(value: Any, names: Sequence[str]) -> list[float]:
    """The numbers of one label by column, NaN if missing. Raises ValueError for anything but numbers."""
    if value is None:
        return [math.nan] * len(names)
    if set(value) - set(names) if isinstance(value, Mapping) else len(names) > 1:
        raise ValueError(f"number: got {value!r}, expected {len(names)} numbers named {list(names)}")
    return [number_of(value, name) for name in names]


def target_from_config(config: Mapping[str, Any]) -> Any:
    """Rebuild a target from its ``config()``. Works only for the targets of this library."""
    from multiseq.heads.text_target import TextTarget

    kinds: dict[str, Any] = {
        "class": ClassTarget,
        "multilabel": MultiLabelTarget,
        "number": NumberTarget,
        "text": TextTarget,
    }
    one_of(config["kind"], kinds, "target: kind")
    return kinds[config["kind"]].from_config(config)
