"""The random numbers for initial weights: the same in every process, also if nobody has seeded torch.

Torch seeds its generator with a random number when it is imported. If the user (or a recipe) has seeded it
since, parts draw their initial weights from it, as everywhere in torch. If not, they draw from a stream of
their own, which starts with seed 0 in every process. docs/decisions/0016-defaults.md says why.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["repeatable"]

P = ParamSpec("P")
T = TypeVar("T")

_AT_IMPORT = torch.initial_seed()
_SEEDED_BELOW = 2**32
"""A smaller seed was chosen by a person: torch itself takes one of 64 random bits."""

_stream: Tensor | None = None  # the state of our stream after the last part that drew from it


def repeatable(build: Callable[P, T]) -> Callable[P, T]:
    """Decorate the constructor of a part that draws initial weights, so that every process draws the same.

    If torch is not seeded, the constructor draws from our stream, and torch's generator stays as it is. Parts
    that are built one after another get different weights, in every process the same ones.
    """

    @functools.wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.initial_seed() != _AT_IMPORT or torch.initial_seed() < _SEEDED_BELOW:
            return build(*args, **kwargs)
        global _stream
        with torch.random.fork_rng(devices=[]):
            if _stream is None:
                torch.default_generator.manual_seed(0)
            else:
                torch.set_rng_state(_stream)
            try:
                return build(*args, **kwargs)
            finally:
                _stream = torch.get_rng_state()

    return built
