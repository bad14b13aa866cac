"""Which values the keys of a recipe may have: one list, as a name means one thing in all its tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["check_range"]


@dataclass(frozen=True)
class Range:
    """Numbers from ``least`` to ``most``, with these two or, where they are ``open``, without."""

    least: int | float
    most: int | float = math.inf
    open: tuple[bool, bool] = (False, False)

    def __contains__(self, value: int | float) -> bool:
        above = value > self.least if self.open[0] else value >= self.least
        return above and (value < self.most if self.open[1] else value <= self.most)

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"a number above {self.least}" if self.open[0] else f"{self.least} or more"
        return f"{self.least} up to {'below ' if self.open[1] else ''}{self.most}"


SHARE = Range(0, 1, (False, True))
"""Of what is left out: not all of it."""
POSITIVE = Range(0, open=(True, False))
COUNT = Range(0)
AT_LEAST_ONE = Range(1)

RANGES: dict[str, Range] = {
    # sizes
    "dim": AT_LEAST_ONE,
    "ff_dim": AT_LEAST_ONE,
    "heads": AT_LEAST_ONE,
    "depth": Range(0, 1000),
    "window": AT_LEAST_ONE,
    "pair_codes": COUNT,
    "vocab_size": AT_LEAST_ONE,
    "min_count": AT_LEAST_ONE,
    "max_length": AT_LEAST_ONE,
    # training
    "weight": POSITIVE,
    "dropout": SHARE,
    "word_dropout": SHARE,
    "drop": SHARE,
    "label_smoothing": SHARE,
    "lr": COUNT,
    "weight_decay": COUNT,
    "steps": AT_LEAST_ONE,
    "max_vectors": AT_LEAST_ONE,
    "save_every": AT_LEAST_ONE,
    "evaluate_every": COUNT,
    "patience": COUNT,
    "num_workers": COUNT,
    "warmup": Range(0, 1),
    "average": SHARE,
    "temperature": POSITIVE,
    "clip": POSITIVE,
    "seed": Range(-(2**63), 2**64, (False, True)),
    # speech and graphs
    "rate": Range(1000),
    "n_mels": AT_LEAST_ONE,
    "chunk_seconds": POSITIVE,
    "speeds": POSITIVE,
    "gain": COUNT,
    "num_hops": COUNT,
    "num_layers": COUNT,
    "walk_length": COUNT,
    "max_distance": COUNT,
    # reading off texts
    "num_beams": AT_LEAST_ONE,
    "alpha": COUNT,
    # files
    "unpack_limit": COUNT,
    "fold": COUNT,
}
CHOICES: dict[str, tuple[Any, ...]] = {"pool": ("mean", "sum", "attention"), "subsample": (1, 2, 4)}


def check_range(key: str, value: Any) -> None:
    """Raises ValueError where a value, or one of a list, is not what its key may have.

    >>> check_range("num_beams", 5)
    >>> check_range("num_beams", 0)
    Traceback (most recent call last):
    ValueError: got 0, expected 1 or more
    """
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"got {one}, expected a finite number")
        if isinstance(one, int | float) and key in RANGES and one not in RANGES[key]:
            raise ValueError(f"got {one}, expected {RANGES[key]}")
        if key in CHOICES and one not in CHOICES[key]:
            raise ValueError(f"got {one!r}, expected one of {', '.join(map(str, CHOICES[key]))}")
