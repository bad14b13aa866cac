"""The columns that predictions add to a row, made of the prediction as JSON values."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["columns_of"]

SHARE_DIGITS = 6
"""Digits of a probability behind the point."""

KNOWN = {"item", "names", "label", "labels", "probability", "probabilities", "value", "values", "text"}
KNOWN |= {"score", "segments", "words", "n_best"}
"""What `columns_of` knows of a record."""


def columns_of(record: Mapping[str, Any], n_best: int) -> dict[str, Any]:
    """The columns that are added to a row, from what `record_of` says of its item.

    ``prediction`` and, where there are probabilities, ``confidence`` and ``n_best``. For a label per vector
    each is a list. For several numbers there is ``prediction_NAME`` for each. The ends of an interval are
    ``interval_low`` and ``interval_high``, or ``interval_low_NAME`` and so on, as with ``spread``. Segments
    have their labels, and times in ``segments``; a text may have words with times in ``words``. What else the
    record has becomes a column of the same name.

    Args:
        record: The prediction as JSON values.
        n_best: The number of classes in ``n_best``; 0 for no such column.

    >>> columns_of({"item": "x", "label": "a", "probability": 0.9, "probabilities": {"b": 0.1, "a": 0.9}}, 2)
    {'prediction': 'a', 'confidence': 0.9, 'n_best': {'a': 0.9, 'b': 0.1}}
    """
    rest = {key: value for key, value in record.items() if key not in KNOWN and value not in ("", None)}
    if "segments" in record:
        segments = record["segments"]
        return {
            "prediction": [s["label"] for s in segments],
            "confidence": [_share(s["probability"]) for s in segments],
            "segments": [[s["start"], s["end"], s["label"]] for s in segments],
            **rest,
        }
    if "text" in record:
        return {
            "prediction": record["text"],
            "confidence": _share(math.exp(record["score"])),
            **_of_text(record),
            **rest,
        }
    for key in ("value", "values"):
        if key in record:
            around = _around(rest.pop("interval", None), rest.pop("spread", None))
            return {**_numbers(record[key]), **around, **rest}
    label = record["label"] if "label" in record else record["labels"]
    shares = record["probabilities"]
    if isinstance(shares, list):
        sure: Any = [_confidence(one, of) for one, of in zip(label, shares, strict=True)]
        best: Any = [_best(of, n_best) for of in shares]
    else:
        sure, best = _confidence(label, shares), _best(shares, n_best)
    return {"prediction": label, "confidence": sure, **({"n_best": best} if n_best else {}), **rest}


def _of_text(record: Mapping[str, Any]) -> dict[str, Any]:
    """The other texts and the words of a text, if they were asked for."""
    columns: dict[str, Any] = {}
    if "n_best" in record:
        columns["n_best"] = {text["text"]: _share(math.exp(text["score"])) for text in record["n_best"]}
    if "words" in record:
        columns["words"] = [{**word, "confidence": _share(word["confidence"])} for word in record["words"]]
    return columns


def _confidence(label: Any, shares: Mapping[str, float]) -> float:
    """The probability of a class. Of several classes at once: of the least sure yes or no among all."""
    if isinstance(label, list):
        return _share(min((max(p, 1 - p) for p in shares.values()), default=1.0))
    return _share(shares[label])


def _best(shares: Mapping[str, float], n_best: int) -> dict[str, float]:
    best = heapq.nlargest(n_best, shares.items(), key=lambda pair: pair[1])
    return {name: _share(p) for name, p in best}


def _share(p: float) -> float:
    return round(p, SHARE_DIGITS)


def _numbers(value: Any) -> dict[str, Any]:
    """A number, or several by name; or lists of those."""
    if isinstance(value, dict):
        return {f"prediction_{name}": number for name, number in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {f"prediction_{name}": [one[name] for one in value] for name in value[0]}
    return {"prediction": value}


def _around(interval: Any, spread: Any) -> dict[str, float]:
    """The ends of an interval and the spread of an ensemble, or those of several numbers by name."""
    columns: dict[str, float] = {}
    for name, (low, high) in _by_name(interval):
        columns |= {f"interval_low{name}": low, f"interval_high{name}": high}
    return columns | {f"spread{name}": number for name, number in _by_name(spread)}


def _by_name(given: Any) -> list[tuple[str, Any]]:
    """What is given for each name, which follows ``_``; for a single one, whose name is not said, alone."""
    if isinstance(given, dict):
        return [(f"_{name}", one) for name, one in given.items()]
    return [] if given is None else [("", given)]
