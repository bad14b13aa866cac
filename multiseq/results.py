"""What `predict` gives back: plain Python values that print well and turn into JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Label", "LabelSet", "Number", "Text"]


@dataclass(frozen=True)
class Label:
    """A class and how probable the model holds it."""

    label: str
    probability: float
    probabilities: dict[str, float] = field(repr=False, compare=False, default_factory=dict)

    def __str__(self) -> str:
        return f"{self.label} ({self.probability:.0%})"


@dataclass(frozen=True)
class LabelSet:
    """Several classes at once: those at least half probable, and every class's probability."""

    labels: tuple[str, ...]
    probabilities: dict[str, float] = field(repr=False, compare=False, default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(self.labels) or "(none)"


@dataclass(frozen=True)
class Number:
    """One or several numbers in the user's unit, by name."""

    values: dict[str, float]
    unit: str = ""

    @property
    def value(self) -> float:
        """The number, where there is one."""
        if len(self.values) != 1:
            raise ValueError(f"value: there are several numbers, {list(self.values)}; use .values[name]")
        return next(iter(self.values.values()))

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if len(self.values) == 1:
            return f"{self.value:.4g}{unit}"
        return ", ".join(f"{name} {value:.4g}{unit}" for name, value in self.values.items())


@dataclass(frozen=True)
class Text:
    """A decoded sequence and its score: the log-probability of its tokens (natural logarithm)."""

    text: str
    score: float

    def __str__(self) -> str:
        return self.text
