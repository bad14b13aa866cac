"""Records: items read from files, their label columns, and where each came from."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multiseq.data.formats import PART_NAMES

__all__ = ["DataError", "Records", "open_text"]


class DataError(ValueError):
    """Bad data; the message names the file and, where there is one, the line."""


@dataclass
class Records:
    """Items in the order of the file.

    Args:
        items: As an adapter's ``prepare`` takes them.
        columns: Label columns by name, one entry for each item; None where an item has none.
        where: File and line of each item, for messages.
    """

    items: list[Any]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    where: list[str] = field(default_factory=list)

    def select(self, rows: Sequence[int]) -> Records:
        """The chosen rows, in the order in which they were chosen."""
        columns = {name: [values[i] for i in rows] for name, values in self.columns.items()}
        return Records([self.items[i] for i in rows], columns, [self.where[i] for i in rows])

    def of_part(self, part: str, column: str = "part") -> Records:
        """The rows whose ``column`` says ``part``, in whichever of its names (val, valid for dev).

        Where it has a list, as of a network's members, the item is in every part that a member is of; the
        labels of members of other parts are None there.

        Raises:
            DataError: Not the name of a part, or members of several parts with one label for all of them.
        """
        found = [_parts(value, where) for value, where in zip(self.column(column), self.where, strict=True)]
        rows = [i for i, parts in enumerate(found) if part in parts]
        chosen = self.select(rows)
        for i, row in enumerate(rows):
            if set(found[row]) != {part}:
                for name, values in chosen.columns.items():
                    values[i] = _of_members(values[i], found[row], part, f"{chosen.where[i]}: {name}")
        return chosen

    def column(self, name: str) -> list[Any]:
        """A label column. Raises DataError naming those there are."""
        if name not in self.columns:
            place = self.where[0].rsplit(":", 1)[0] if self.where else "data"
            raise DataError(f"{place}: no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]


def _parts(value: Any, where: str) -> list[str]:
    names = list(map(str, value if isinstance(value, list) else [value]))
    for name in names:
        if name not in PART_NAMES:
            raise DataError(f"{where}: got the part {name!r}, expected train, dev (or val, valid) or test")
    return [PART_NAMES[name] for name in names]


def _of_members(labels: Any, parts: Sequence[str], part: str, place: str) -> list[Any] | None:
    if labels is None:
        return None
    if not isinstance(labels, list) or len(labels) != len(parts):
        raise DataError(
            f"{place}: got one value for members of the parts {', '.join(sorted(set(parts)))}, "
            "expected a list with one for each member, or members of one part"
        )
    return [label if own == part else None for label, own in zip(labels, parts, strict=True)]


def open_text(path: Path, encoding: str = "utf-8") -> io.TextIOBase:
    """A text file, unpacked where its name ends in .gz. Raises DataError where it cannot be read."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        # Newlines are kept as they are, or a lone carriage return inside a line would count as one.
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(encoding)
        return io.StringIO(text.removeprefix("\ufeff"), newline="\n")  # a byte order mark is no text
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path}: not {encoding} (byte {error.start}); give its encoding, as in encoding = "latin-1"'
        ) from None
    except LookupError:
        raise DataError(f"{path}: got the encoding {encoding!r}, expected utf-8, latin-1, …") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
