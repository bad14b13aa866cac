"""Seconds of several contenders, taken in turn: A B A B …, so that what slows the machine slows them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

__all__ = ["Spread", "alternate", "median", "ratio", "seconds_of"]


@dataclass(frozen=True)
class Spread:
    """A figure over several rounds: the median, and the lowest and highest round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a round."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def seconds_of(step: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Seconds of one call, with what it left on the device."""
    synchronise(device)
    start = time.perf_counter()
    step()
    synchronise(device)
    return time.perf_counter() - start


def alternate(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device | str = "cpu",
    *,
    warm_up: int = 1,
) -> dict[str, list[float]]:
    """Seconds of every contender in every round, one call of each in turn; the first rounds only warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warm_up + rounds):
        for name, step in steps.items():
            taken = seconds_of(step, device)
            if turn >= warm_up:
                seconds[name].append(taken)
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times as long theirs took, round by round."""
    return Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])


def median(seconds: Sequence[float]) -> float:
    """The median, for where no ratio is meant."""
    return statistics.median(seconds)


def synchronise(device: torch.device | str) -> None:
    """Wait for what was started on a GPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
