"""Check arguments and files from users: words from a list, numbers in a range, labels, saved files."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, TypeVar

__all__ = [
    "MANY",
    "RENAMED",
    "WIDEST",
    "asset",
    "check_labels",
    "check_list",
    "check_number",
    "check_whole_number",
    "config_of",
    "json_asset",
    "nearest",
    "no_such",
    "one_of",
    "reading",
    "training_items",
    "under",
]

T = TypeVar("T")

WIDEST = 1 << 16
"""The largest ``dim`` of a vector. A larger one is a mistake and would use up the memory."""
MANY = 1000
"""The most steps, layers or hops. More would take too long."""

RENAMED = {
    # training
    "average": "ema_decay",
    "budget": "max_vectors",
    "clip": "max_grad_norm",
    "workers": "num_workers",
    # encoder and adapters
    "distances": "max_distance",
    "drop": "edge_dropout",
    "hops": "num_hops",
    "mels": "n_mels",
    "rate": "sample_rate",
    "relative": "relative_bias",
    "rounds": "num_layers",
    "walk_steps": "walk_length",
    # data and tasks
    "alpha": "length_penalty",
    "beam": "num_beams",
    "labels": "multilabel",
    "part_column": "split_column",
    "split": "split_file",
}
"""Old name -> new name, in recipes, settings and options of parts. Errors name the new one."""


def check_whole_number(name: str, value: Any, least: int, most: int | None = None, *, none: str = "") -> None:
    """Raise ValueError unless ``value`` is a whole number in a range (or None, if that is allowed).

    Args:
        name: The argument's name, for the message.
        value: The value to check.
        least: The lowest allowed number.
        most: The highest allowed number; None for no limit.
        none: What the value None does, for the message. Empty: None is not allowed.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    _check(name, value, whole, least, most, "a whole number", none)


def check_number(name: str, value: Any, least: float, most: float | None = None, *, none: str = "") -> None:
    """Like :func:`check_whole_number`, for any finite number."""
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
    """Raise ValueError unless ``value`` is one of ``allowed``; the message suggests the most similar word."""
    allowed = list(allowed)
    if value not in allowed:
        near = nearest(str(value), allowed)
        raise ValueError(f"{place}: got {value!r}{near}; expected one of {', '.join(allowed)}")


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A suggestion in brackets with the candidate most similar to ``word``, or an empty string.

    >>> nearest("trian", ["train", "test"])
    " (did you mean 'train'?)"
    >>> nearest("budget", ["steps", "max_vectors"])
    " (it is called 'max_vectors' now)"
    >>> nearest("smiles", ["SMILES"])
    " (did you mean 'SMILES'?)"
    """
    candidates = list(candidates)
    if RENAMED.get(word) in candidates:
        return f" (it is called {RENAMED[word]!r} now)"
    near = [name for name in candidates if name.casefold() == word.casefold()]
    near = near or difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def no_such(kind: str, name: str, names: Iterable[str], what: str = "") -> str:
    """What is missing, the most similar name, and all names there are: for messages.

    >>> no_such("column", "star", ["text", "stars"])
    "no column 'star' (did you mean 'stars'?); there are text, stars"
    """
    names = list(names)
    return f"no {kind} {name!r}{nearest(name, names)}{what}; there are {', '.join(names) or 'no others'}"


def training_items(items: Any) -> Iterable[Any]:
    """The items given to ``fit``. Raises ValueError for a single item and for anything not iterable."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise ValueError(
            f"items: got {type(items).__name__}, expected a list of training items; put a "
            "single item into a list"
        )
    return items


def asset(assets: Mapping[str, str], name: str) -> str:
    """The text of a file in a checkpoint. Raises ValueError if it is missing."""
    text = assets.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name}: is missing, expected all files that were saved; copy the model again")
    return text


def json_asset(assets: Mapping[str, str], name: str, read: Callable[[Any], Any]) -> Any:
    """Parse a JSON file of a checkpoint and apply ``read`` to it. Raises ValueError if that fails."""
    with reading(name):
        return read(json.loads(asset(assets, name)))


@contextmanager
def reading(
    name: str, expected: str = "this library saves", advice: str = "copy the model again"
) -> Iterator[None]:
    """Turn Python's errors about wrong file contents into ValueErrors that name the file.

    Args:
        name: The file.
        expected: What it should hold: "got other contents than" comes before it.
        advice: What to do.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, RuntimeError) as error:
        raise ValueError(
            f"{name}: got other contents than {expected} ({type(error).__name__}: {error}); {advice}"
        ) from error
    except ValueError as error:
        raise error if str(error).startswith(f"{name}: ") else ValueError(f"{name}: {error}") from error


def check_labels(labels: Any, count: int, what: str, more: str = "", place: str = "labels") -> None:
    """Raise ValueError unless ``labels`` is a list of ``count`` labels.

    Args:
        labels: The labels of one item.
        count: The expected number of labels.
        what: What each label belongs to, for example "word".
        more: Text at the end of the message.
        place: What the message begins with.
    """
    check_list(labels, f"a list with a label for each {what}", place)
    if len(labels) != count:
        raise ValueError(
            f"{place}: got {len(labels)} labels for {count} {what}s, expected one for each {what}{more}"
        )


def check_list(labels: Any, expected: str, place: str = "labels") -> None:
    """Raise ValueError unless ``labels`` is a list. The message contains ``expected``."""
    if isinstance(labels, str | Mapping) or not hasattr(labels, "__len__"):
        raise ValueError(f"{place}: got {type(labels).__name__}, expected {expected}")


def under(prefix: str, things: Mapping[str, T]) -> dict[str, T]:
    """The entries whose name begins with ``prefix``, by the rest of their name.

    >>> under("a.", {"a.x": 1, "b.x": 2})
    {'x': 1}
    """
    return {name.removeprefix(prefix): thing for name, thing in things.items() if name.startswith(prefix)}


def config_of(given: Any, names: Iterable[str]) -> dict[str, Any]:
    """The arguments of an adapter or encoder from a checkpoint. Raises ValueError for unknown arguments."""
    if not isinstance(given, Mapping):
        raise ValueError(f"config: got {type(given).__name__}, expected arguments by name")
    known = list(names)
    if unknown := [name for name in given if name not in known]:
        near = nearest(str(unknown[0]), known)
        raise ValueError(f"config: got {unknown}{near}, expected some of {', '.join(known)}")
    return dict(given)
