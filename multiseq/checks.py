"""Checks of what is given to us: words out of a list, numbers in a range, training items, saved files."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

__all__ = [
    "MANY",
    "WIDEST",
    "asset",
    "check_number",
    "check_whole_number",
    "config_of",
    "json_asset",
    "nearest",
    "one_of",
    "reading",
    "training_items",
]

WIDEST = 1 << 16
"""Of a vector. A larger ``dim`` is a mistake, and takes all memory there is."""
MANY = 1000
"""Steps, rounds, hops: more would take for ever."""


def check_whole_number(name: str, value: Any, least: int, most: int | None = None, *, none: str = "") -> None:
    """Raise ValueError for anything but a whole number in a range, or None where that means something.

    Args:
        name: Of the argument.
        value: What was given.
        least: The lowest that may be.
        most: The highest that may be; None: there is none.
        none: What None does, where it is allowed.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    _check(name, value, whole, least, most, "a whole number", none)


def check_number(name: str, value: Any, least: float, most: float | None = None, *, none: str = "") -> None:
    """As :func:`check_whole_number`, for any finite number."""
    real = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    _check(name, value, real, least, most, "a number", none)


def _check(name: str, value: Any, fits: bool, least: Any, most: Any, kind: str, none: str) -> None:
    if value is None and none:
        return
    if not fits or value < least or (most is not None and value > most):
        low, high = (str(end) if isinstance(end, int) else f"{end:g}" for end in (least, most or 0))
        wanted = f"at least {low}" if most is None else f"from {low} to {high}"
        lifted = f", or None to {none}" if none else ""
        raise ValueError(f"{name}: got {value!r}, expected {wanted}, {kind}{lifted}")


def one_of(value: Any, allowed: Iterable[str], place: str) -> None:
    """Raise ValueError, with the nearest right word, for anything but one of those allowed."""
    allowed = list(allowed)
    if value not in allowed:
        near = nearest(str(value), allowed)
        raise ValueError(f"{place}: got {value!r}{near}; expected one of {', '.join(allowed)}")


def nearest(word: str, candidates: Iterable[str]) -> str:
    """What may have been meant, in brackets, or nothing.

    >>> nearest("trian", ["train", "test"])
    " (did you mean 'train'?)"
    """
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def training_items(items: Any) -> Iterable[Any]:
    """What was given to ``fit``. Raises ValueError for a single item, and what cannot be gone through."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise ValueError(
            f"items: got {type(items).__name__}, expected a list of training items; put a "
            "single one into a list"
        )
    return items


def asset(assets: Mapping[str, str], name: str) -> str:
    """A file of a checkpoint. Raises ValueError where it is missing."""
    text = assets.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name}: is missing, expected the files as they were saved; copy the model anew")
    return text


def json_asset(assets: Mapping[str, str], name: str, read: Callable[[Any], Any]) -> Any:
    """What ``read`` makes of a JSON file of a checkpoint. Raises ValueError where that fails."""
    with reading(name):
        return read(json.loads(asset(assets, name)))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Errors of Python's own, of a file with other contents than were saved, as ours."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, RuntimeError) as error:
        raise ValueError(
            f"{name}: got other contents than this library saves ({type(error).__name__}: {error}); "
            "copy the model anew"
        ) from error
    except ValueError as error:
        raise error if str(error).startswith(f"{name}: ") else ValueError(f"{name}: {error}") from error


def config_of(given: Any, names: Iterable[str]) -> dict[str, Any]:
    """The arguments of an adapter in a checkpoint. Raises ValueError for others than it takes."""
    if not isinstance(given, Mapping):
        raise ValueError(f"config: got {type(given).__name__}, expected an adapter's arguments by name")
    known = list(names)
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"config: got {unknown}, expected some of {', '.join(known)}")
    return dict(given)
