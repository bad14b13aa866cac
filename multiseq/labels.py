"""Labels in one canonical form, whether they come from a table, JSON, Python, numpy, torch or pandas.

    missing   None, NaN, pandas' NA and NaT, and an empty text (but the label of a text task may be empty)
    class     a name: a text without white space at its ends, in composed Unicode (NFC). Whole numbers have no
              decimal point: 1, 1.0, "1" and "1.0" are all the class "1" (pandas writes 1.0 if the column has
              missing entries). True and False are the classes "True" and "False"
    flag      whether a class is present: 1, 1.0, True, "1", "true" and "TRUE" mean yes; 0, False, "false" and
              so on mean no; "nan" is missing
    number    a float; "nan" is missing

Numbers of numpy or torch count as the Python value that they hold; so does a list or an array with one entry.
Columns are read by position; the index of a pandas Series is ignored.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any

__all__ = [
    "LIMITS",
    "MISSING_WORDS",
    "ROUNDING",
    "are_segments",
    "class_name",
    "composed",
    "decimal_mark",
    "flag",
    "in_order",
    "number",
    "plain",
    "with_point",
]

ROUNDING = 8 * sys.float_info.epsilon
"""Numbers count as equal if their range divided by their absolute value is at most this (rounding errors)."""

MISSING_WORDS = frozenset(
    ["-", "--", "—", "?", "n/a", "#n/a", "na", "n.a.", "nan", "nil", "none", "null", "missing"]
)
"""What people write, in small letters, in place of a missing label. As classes they are names."""

LIMITS = ("<", ">", "≤", "≥", "~")
"""How a limit begins: the number is only known to be below or above another one."""

FLAGS = {"1": True, "true": True, "0": False, "false": False}
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0")
_MARKED = {
    mark: re.compile(
        rf"[-+]?(\d+|[1-9]\d{{0,2}}(?P<group>[{other}'\s])\d{{3}}((?P=group)\d{{3}})*)?[{mark}]\d+"
        rf"|[-+]?[1-9]\d{{0,2}}(?P<only>[{other}'\s])\d{{3}}((?P=only)\d{{3}})*"
    )
    for mark, other in (",.", ".,")
}
"""Decimal mark -> numbers that have it (3,5 and 1.234,5), or digits in other groups (1.234.567)."""
_UNCLEAR = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def composed(text: str) -> str:
    """A text in composed Unicode (NFC). Half a character (a lone surrogate) becomes "�".

    JSON files contain such halves where a text was cut off inside an emoji. They cannot be written to a file.

    >>> composed("cafe\u0301") == "caf\u00e9", composed(chr(0xD83D))
    (True, '�')
    """
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return unicodedata.normalize("NFC", text)


def in_order(values: Any, what: str) -> Any:
    """Turn a column of pandas, polars or pyarrow, an array or a tensor into a list; a table into its rows.

    Args:
        values: Any sequence. Other sequences are returned unchanged.
        what: The name of the values in error messages.

    Raises:
        ValueError: ``values`` is a single text, or a collection without order.

    >>> import numpy
    >>> in_order(numpy.array([3, 1]), "labels") == [3, 1]
    True
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise ValueError(f"{what}: got {type(values).__name__}, expected a list or a column of a table")
    if hasattr(values, "to_dicts"):  # a table of polars
        return values.to_dicts()
    if hasattr(values, "columns") and hasattr(values, "to_dict"):  # a table of pandas
        return values.to_dict("records")
    if hasattr(values, "to_pylist"):  # a column of pyarrow
        return values.to_pylist()
    return list(values) if hasattr(values, "tolist") or hasattr(values, "to_list") else values


def plain(value: Any) -> Any:
    """A label as plain Python values: None for missing, a list for an array; texts stay as they are.

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
        values = value.tolist()
        return plain(values) if isinstance(values, list) else _known(values)
    return _known(value)


def _known(value: Any) -> Any:
    # Test pandas' NA by its type's name: comparing it with anything gives NA again.
    absent = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
    return None if absent else value


def class_name(value: Any) -> str | None:
    """The canonical name of a class; None if it is missing.

    Raises:
        ValueError: ``value`` holds several labels.

    >>> [class_name(v) for v in (1.0, "1.0", "cafe\u0301 ", True, math.nan, "")]
    ['1', '1', 'café', 'True', None, None]
    """
    if type(value) is str:  # the usual case, once for every vector: keep it fast
        return _name(value) or None
    value = _one(value)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _name(str(value))


@lru_cache(maxsize=10_000)  # few different names, but one call for every vector
def _name(text: str) -> str:
    name = composed(text).strip()
    whole = _WHOLE.fullmatch(name)
    return whole[1] if whole else name


def flag(value: Any) -> bool | None:
    """Whether a class is present (True or False); None if that is missing.

    Raises:
        ValueError: ``value`` means neither yes nor no.

    >>> [flag(v) for v in (1.0, "0", "TRUE", None)]
    [True, False, True, None]
    """
    name = class_name(value)
    if name is None or name.lower() == "nan":  # missing numbers may be written so
        return None
    if name.lower() not in FLAGS:
        raise ValueError(f"flag: got {value!r}, expected 1, 0, true, false, or nothing if it is missing")
    return FLAGS[name.lower()]


def number(value: Any) -> float:
    """A finite number as a float; NaN if it is missing.

    Raises:
        ValueError: ``value`` is no number, or is infinite.
    """
    given, value = value, _one(value)
    try:
        as_float = math.nan if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        is_limit = isinstance(value, str) and re.match(rf"\s*[{''.join(LIMITS)}]=?\s?[-+.,\d]", value)
        what = f"{given!r}, which is a limit" if is_limit else f"{given!r}"
        raise ValueError(f"number: got {what}, expected a number, or nothing if it is missing") from None
    if math.isinf(as_float):
        raise ValueError(f"number: got {given!r}, expected finite numbers")
    return as_float


def with_point(text: str, decimal: str | None = None) -> str:
    """A number of a table with a decimal point alone: without the marks that group its digits.

    Blanks and ' may group digits, and that of point and comma which is not the decimal mark.

    Args:
        text: The number.
        decimal: Its decimal mark, a point or a comma. None: a point, but one comma before three digits is an
            error, because ``51,494`` may be two numbers.

    Raises:
        ValueError: The text has another decimal mark, or it may mean two numbers.

    >>> [with_point(t, ",") for t in ("3,5", "1.234,5", "-1 234", "1.234", "7", "1,5e3", "")]
    ['3.5', '1234.5', '-1234', '1234', '7', '1.5e3', '']
    >>> [with_point(t) for t in ("3.5", "9,667.17", "3,506,033")], with_point("51,494", ".")
    (['3.5', '9667.17', '3506033'], '51494')
    """
    if decimal != ",":
        try:
            float(text)
        except ValueError:
            pass
        else:
            return text
    mark = decimal or "."
    mantissa, exponent, power = text.strip().partition("e" if "e" in text else "E")
    if decimal is None and "," in mantissa and _UNCLEAR.fullmatch(mantissa):
        grouped, comma = mantissa.replace(",", ""), mantissa.replace(",", ".")
        raise ValueError(
            f'number: got {text!r}, which may mean {grouped} or {comma}; expected decimal = "." for '
            f'{grouped}, decimal = "," for {comma}'
        )
    if _MARKED[mark].fullmatch(mantissa):
        return re.sub(rf"[^-+\d{mark}]", "", mantissa).replace(",", ".") + exponent + power
    if mark == "," and re.fullmatch(r"[-+\s\d]*\.\d+", mantissa):
        raise ValueError(
            f'number: got {text!r}, expected a decimal comma, as in 1,5 or 1.234,5, because of decimal = ","'
        )
    if mark == "." and _MARKED[","].fullmatch(mantissa):
        raise ValueError(
            f"number: got {text!r}, expected a number, or nothing if it is missing; numbers with a decimal "
            'comma need decimal = ","'
        )
    return text


def decimal_mark(text: str) -> str:
    """The decimal mark of a number, as far as it shows: "," or "."; "" if nothing shows.

    "?," and "?.": one comma or point before the last three digits. It may be the decimal mark, or group them.

    >>> [decimal_mark(t) for t in ("3,5", "1.234.567", "9,667.17", "0.123", "51,494", "4.474", "7", "1 234")]
    [',', ',', '.', '.', '?,', '?.', '', '']
    """
    mantissa, exponent, _ = text.strip().partition("e" if "e" in text else "E")
    marks: list[str] = re.findall("[.,]", mantissa)
    if not marks or not any(pattern.fullmatch(mantissa) for pattern in _MARKED.values()):
        return ""
    if _UNCLEAR.fullmatch(mantissa) and not exponent:
        return "?" + marks[0]
    only_groups = len(marks) > 1 and len(set(marks)) == 1
    return ".,"[marks[0] == "."] if only_groups else marks[-1]


def _one(value: Any) -> Any:
    """A single label as a plain Python value; None if missing. A list with one entry counts as the entry."""
    value = value if isinstance(value, str) else plain(value)
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        raise ValueError(
            f"label: got {value!r}, expected one label; use a MultiLabelTarget for several classes at once, "
            "or a VectorHead for a label for each vector"
        )
    return value


def are_segments(labels: Sequence[Any]) -> bool:
    """Whether labels are ``(start, end, label)``, all of them or none.

    Raises:
        ValueError: Some are and some are not.
    """
    flags = [_is_segment(label) for label in labels]
    if any(flags) and not all(flags):
        number = flags.index(False)
        raise ValueError(
            f"labels: got {labels[number]!r} as number {number} among segments, expected "
            "(start, end, label) in seconds for all"
        )
    return any(flags)


def _is_segment(label: Any) -> bool:
    if not isinstance(label, tuple | list) or len(label) != 3:
        return False
    return all(isinstance(t, Real) and not isinstance(t, bool) for t in label[:2])
