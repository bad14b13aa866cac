"""Records: items read from files, their label columns, and the file and line of each item."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from multiseq.checks import no_such
from multiseq.data.formats import SPLIT_NAMES

__all__ = ["DataError", "Places", "Records", "splits_of"]


class DataError(ValueError):
    """Invalid data. The message names the file and, if possible, the line."""


class Places(Sequence[str]):
    """File and line of each item. Lines are stored as numbers, because tables can have millions of rows."""

    def __init__(self, path: Path | str, lines: Sequence[int] = ()) -> None:
        self.path, self.lines = path, array("q", lines)

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Places: ...
    def __getitem__(self, i: int | slice) -> str | Places:
        if isinstance(i, slice):
            return Places(self.path, self.lines[i])
        return f"{self.path}:{self.lines[i]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # like lists, it is not hashable

    def select(self, rows: Sequence[int]) -> Places:
        """The places of the chosen items."""
        return Places(self.path, [self.lines[i] for i in rows])


@dataclass
class Records:
    """Items and their labels, in the order of the file.

    Args:
        items: The items, in the form that an adapter's ``prepare`` takes.
        columns: Name of a label column -> one label for each item; None if an item has none.
        locations: File and line of each item, for error messages.
    """

    items: list[Any]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    locations: Sequence[str] = field(default_factory=list)
    num_rows: int = 0
    """For items made of many rows: the number of rows."""

    def select(self, rows: Sequence[int]) -> Records:
        """The chosen rows, in the order of ``rows``."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        locations = (
            self.locations.select(rows)
            if isinstance(self.locations, Places)
            else [self.locations[i] for i in rows]
        )
        return Records([self.items[i] for i in rows], columns, locations)

    def of_split(self, split: str, column: str = "split") -> Records:
        """The rows that belong to ``split`` according to ``column`` (val, valid and validation mean dev).

        The column can hold a list, with one split for each member (node) of the item. Then the item is in all
        splits of its members, and the labels of members that belong to other splits are None.

        Raises:
            DataError: The column has another word than the names of splits, or an item has members of several
                splits but a single label.
        """
        named = [
            splits_of(value, location)
            for value, location in zip(self.column(column), self.locations, strict=True)
        ]
        rows = [i for i, splits in enumerate(named) if split in splits]
        chosen = self.select(rows)
        for i, row in enumerate(rows):
            if set(named[row]) != {split}:
                for name, values in chosen.columns.items():
                    values[i] = _of_members(values[i], named[row], split, f"{chosen.locations[i]}: {name}")
        return chosen

    def column(self, name: str) -> list[Any]:
        """The label column called ``name``. Raises DataError, which lists all columns, if there is none."""
        if name not in self.columns:
            place = self.locations[0].rsplit(":", 1)[0] if self.locations else "data"
            raise DataError(f"{place}: {no_such('column', name, self.columns)}")
        return self.columns[name]


def splits_of(value: Any, location: str) -> list[str]:
    """The split that a cell names, or those of a list. Raises DataError for any other word.

    A member of a list without a split (None) is in none, which is ``""``: it is there for the others.
    """
    given = ["" if v is None else v for v in value] if isinstance(value, list) else [value]
    names = list(map(str, given))
    for name in names:
        if name not in SPLIT_NAMES and (name or not isinstance(value, list)):
            raise DataError(
                f"{location}: got the split {name!r}, expected train, dev (or val, valid) or test"
            )
    return [SPLIT_NAMES.get(name, "") for name in names]


def _of_members(labels: Any, splits: Sequence[str], split: str, place: str) -> list[Any] | None:
    if labels is None:
        return None
    if not isinstance(labels, list) or len(labels) != len(splits):
        raise DataError(
            f"{place}: got one value for members of the splits {', '.join(sorted(set(splits)))}, "
            "expected a list with one value for each member, or all members in one split"
        )
    return [label if of == split else None for label, of in zip(labels, splits, strict=True)]
