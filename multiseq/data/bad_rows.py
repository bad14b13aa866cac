"""Bad rows: rows and items that cannot be used, and why. ``on_error = "skip"`` in a recipe leaves them out.

Whatever reads or prepares items calls ``reject(location, reason, raw)`` for a bad one.
`stop` raises an error; `BadRows.add` notes the row, and the caller goes on without it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multiseq.data.records import DataError
from multiseq.system.files import write_whole

__all__ = ["LONGEST", "BadRow", "BadRowError", "BadRows", "Reject", "raw_of", "shortened", "stop"]

Reject = Callable[[str, str, str], None]
"""Called with the location of a bad row, the reason, and the row itself as far as it is known."""

LONGEST = 2000
"""Characters of a bad row that are kept."""

SHOWN = 3
"""Reasons that `BadRows.summary` shows."""


class BadRowError(DataError):
    """A row is bad, while other rows may be good."""


def stop(location: str, reason: str, raw: str = "") -> None:
    """Raise BadRowError: the first bad row is an error."""
    raise BadRowError(f"{location}: {reason}")


class BadRow(NamedTuple):
    """One bad row. ``split`` is empty if the row could not be read, and so belongs to no split.

    ``left_out`` is "row", or "label" if the row has other labels and is used for these.
    """

    split: str
    location: str
    reason: str
    raw: str
    left_out: str = "row"


class BadRows:
    """Notes bad rows. A location is noted once for each split, however often its file is read.

    >>> bad = BadRows("train")
    >>> bad.add("a.csv:7", "got 3 cells, expected 2", "x,y,z")
    >>> bad.summary()
    '1 bad row left out: got 3 cells, expected 2 (a.csv:7)'
    """

    def __init__(self, split: str = "") -> None:
        self.split = split
        self.rows: list[BadRow] = []
        self._known: set[tuple[str, str, str]] = set()

    def of(self, split: str) -> BadRows:
        """Notes bad rows of another split into the same list."""
        other = BadRows(split)
        other.rows, other._known = self.rows, self._known
        return other

    def add(self, location: str, reason: str, raw: str = "", left_out: str = "row") -> None:
        """Note a bad row."""
        if (self.split, location, left_out) not in self._known:
            self._known.add((self.split, location, left_out))
            self.rows.append(BadRow(self.split, location, reason, shortened(raw), left_out))

    def drop(
        self,
        reasons: Mapping[int, str],
        items: Sequence[Any],
        locations: Sequence[str],
        what: str,
        labelled: Collection[int] = (),
    ) -> list[int]:
        """Note the items that ``reasons`` has a reason for, by number. Returns the numbers of those to keep.

        They are the others, and those of ``labelled``, of which only a label is left out.

        Raises:
            DataError: As `check`.
        """
        before = len(self.rows)
        for i in sorted(reasons):
            left_out = "label" if i in labelled else "row"
            self.add(locations[i] if locations else f"item {i}", reasons[i], raw_of(items[i]), left_out)
        self.check(before, len(items) - len(reasons), what)
        return [i for i in range(len(items)) if i not in reasons or i in labelled]

    def check(self, before: int, kept: int, what: str) -> None:
        """Raise DataError if most rows are bad: then something else is wrong than a few of them.

        Args:
            before: The number of bad rows before these were read.
            kept: How many good ones there are.
            what: What was read, for the message.
        """
        new = self.rows[before:]
        if len(new) > kept:
            row, num = _frequent(new)[0]
            raise DataError(
                f"{what}: {len(new):,} of {len(new) + kept:,} rows cannot be used, expected at "
                f'most half of them with on_error = "skip". {num:,} of them are like this one: '
                f"{row.location}: {row.reason}"
            )

    def counts(self) -> str:
        """How many there are: "2 bad rows, 1 bad label"."""
        return ", ".join(_number(rows) for rows in self._by_kind()) or "no bad rows"

    def summary(self) -> str:
        """One line for the user: how many rows and labels were left out, and the most frequent reasons."""
        return "; ".join(_summary(rows) for rows in self._by_kind()) or "no bad rows"

    def _by_kind(self) -> Iterator[list[BadRow]]:
        for left_out in ("row", "label"):
            rows = [row for row in self.rows if row.left_out == left_out]
            if rows:
                yield rows

    def write(self, path: Path) -> None:
        """Write all bad rows as CSV, with a column for each field of `BadRow`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(BadRow._fields)
        writer.writerows(self.rows)
        write_whole(path, text.getvalue().encode("utf-8", "replace"))


def _number(rows: Sequence[BadRow]) -> str:
    return f"{len(rows):,} bad {rows[0].left_out}{'' if len(rows) == 1 else 's'}"


def _summary(rows: Sequence[BadRow]) -> str:
    groups = _frequent(rows)
    shown = [
        f"{row.reason} ({row.location}{f' and {num - 1:,} more' if num > 1 else ''})"
        for row, num in groups[:SHOWN]
    ]
    num = len(groups) - SHOWN
    more = f"; {num} other reason{'s' if num > 1 else ''}" if num > 0 else ""
    return f"{_number(rows)} left out: {'; '.join(shown)}{more}"


def _frequent(rows: Sequence[BadRow]) -> list[tuple[BadRow, int]]:
    """The first row of each reason, and how many rows have it, the most frequent first.

    Reasons that differ only in quoted values and in numbers count as one.
    """
    kinds = [re.sub(r"'[^']*'|\d+", "…", row.reason) for row in rows]
    first: dict[str, BadRow] = {}
    for kind, row in zip(kinds, rows, strict=True):
        first.setdefault(kind, row)
    return [(first[kind], num) for kind, num in Counter(kinds).most_common()]


def shortened(raw: str) -> str:
    """A row without its line end, cut at `LONGEST` characters."""
    return raw.rstrip("\r\n")[:LONGEST]


def raw_of(item: Any) -> str:
    """An item as text, for people."""
    if isinstance(item, str):
        return item
    try:
        return json.dumps(item, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(item)
