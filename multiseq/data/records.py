"""Records: items read from files, their label columns, and where each came from."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        """The rows whose ``column`` says ``part``; a list there, as of a network's members, counts as one."""
        return self.select([i for i, value in enumerate(self.column(column)) if _first(value) == part])

    def column(self, name: str) -> list[Any]:
        """A label column. Raises DataError naming those there are."""
        if name not in self.columns:
            place = self.where[0].rsplit(":", 1)[0] if self.where else "data"
            raise DataError(f"{place}: no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def open_text(path: Path, encoding: str = "utf-8") -> io.TextIOBase:
    """A text file, unpacked where its name ends in .gz. Raises DataError where it cannot be read."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        # Newlines are kept as they are, or a lone carriage return inside a line would count as one.
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(encoding)
        return io.StringIO(text, newline="\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path}: not {encoding} (byte {error.start}); give its encoding, as in encoding = "latin-1"'
        ) from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
