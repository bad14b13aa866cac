"""One canonical form of a label, whatever gave it: a table, JSON, Python, numpy, torch or pandas.

    missing   None, NaN, pandas' NA and NaT, an empty text (a text that is to be learned may be empty)
    a class   its name: a text without white space at its ends, Unicode composed (NFC). Whole numbers have
              no point: 1, 1.0, "1" and "1.0" (pandas writes a column with a gap so) are the class "1".
              True and False are the classes "True" and "False", as Python and pandas write them
    a flag    whether a class is there: 1, 1.0, True, "1", "true" and "TRUE" say yes, 0 and so on no; "nan" is
              missing
    a number  a float; "nan" is missing

A number of numpy or torch counts as the Python value that it holds, and so does a list or an array with one
entry. Columns are read by position: what the index of a pandas Series says is not looked at.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["ROUNDING", "class_name", "composed", "flag", "in_order", "number", "plain"]

ROUNDING = 8 * sys.float_info.epsilon
"""Numbers whose range is no greater than this, against their size, differ by rounding alone."""

FLAGS = {"1": True, "true": True, "0": False, "false": False}
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0")
_SURROGATE = re.compile("[\ud800-\udfff]")


def composed(text: str) -> str:
    """A text in Unicode's composed form (NFC); half an emoji, which no file can hold, becomes "�".

    JSON of texts that were cut off has such halves (lone surrogates).

    >>> composed("cafe\u0301") == "caf\u00e9", composed(chr(0xD83D))
    (True, '�')
    """
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", text)


def in_order(values: Any, what: str) -> Any:
    """A column of pandas or polars, an array or a tensor as a list by position; a table as its rows.

    Args:
        values: Any sequence. What is none of the above is given back as it is.
        what: Its name in messages.

    Raises:
        ValueError: One text, or a collection that has no order.

    >>> import numpy
    >>> in_order(numpy.array([3, 1]), "labels") == [3, 1]
    True
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise ValueError(f"{what}: got {type(values).__name__}, expected a list or a column of a table")
    if hasattr(values, "to_dicts"):  # a table of polars
        return values.to_dicts()
    if hasattr(values, "columns") and hasattr(values, "to_dict"):  # and of pandas
        return values.to_dict("records")
    return list(values) if hasattr(values, "tolist") or hasattr(values, "to_list") else values


def plain(value: Any) -> Any:
    """A label in Python's own values: None where it is missing, a list for an array; texts as they are.

    >>> import numpy
    >>> plain(numpy.array([2.5, math.nan])), plain({"a": numpy.int64(3)})
    ([2.5, None], {'a': 3})
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if hasattr(value, "tolist"):
        found = value.tolist()
        return plain(found) if isinstance(found, list) else _known(found)
    return _known(value)


def _known(value: Any) -> Any:
    # NaN differs from itself. Of pandas' NA that cannot be asked: the answer is NA again.
    absent = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
    return None if absent else value


def class_name(value: Any) -> str | None:
    """The name of a class, None where it is missing.

    Raises:
        ValueError: Several labels.

    >>> [class_name(v) for v in (1.0, "1.0", "cafe\u0301 ", True, math.nan, "")]
    ['1', '1', 'café', 'True', None, None]
    """
    if type(value) is str:  # as nearly all are, one for every vector
        return _name(value) or None
    value = _one(value)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _name(str(value))


@lru_cache(maxsize=10_000)  # the same few names come once for every vector
def _name(text: str) -> str:
    name = composed(text).strip()
    whole = _WHOLE.fullmatch(name)
    return whole[1] if whole else name


def flag(value: Any) -> bool | None:
    """Whether a class is there, None where that is missing.

    Raises:
        ValueError: Neither yes nor no.

    >>> [flag(v) for v in (1.0, "0", "TRUE", None)]
    [True, False, True, None]
    """
    name = class_name(value)
    if name is None or name.lower() == "nan":  # as numbers may be written that are missing
        return None
    if name.lower() not in FLAGS:
        raise ValueError(f"flag: got {value!r}, expected 1, 0, true, false or None where it is missing")
    return FLAGS[name.lower()]


def number(value: Any) -> float:
    """A finite number, NaN where it is missing.

    Raises:
        ValueError: No number, or infinity.
    """
    given, value = value, _one(value)
    try:
        found = math.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"number: got {given!r}, expected a number or None where it is missing") from None
    if math.isinf(found):
        raise ValueError(f"number: got {given!r}, expected finite numbers")
    return found


def _one(value: Any) -> Any:
    """A label as Python's own value, None where it is missing; of a list its one entry."""
    value = value if isinstance(value, str) else plain(value)
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        raise ValueError(
            f"label: got {value!r}, expected one; several classes at once are for a LabelsTarget, "
            "a label for each vector is for a VectorHead"
        )
    return value
