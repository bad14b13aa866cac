"""What a writer of predictions is: it turns a chunk of rows into bytes, and joins the chunks to one file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from multiseq.runs.rows import Row

__all__ = ["Filled", "Writer", "as_bytes", "chained"]

Filled = tuple[Row, Mapping[str, Any]]
"""A row, and what is added to it: column -> value. A label per vector has a list in each column."""


@runtime_checkable
class Writer(Protocol):
    """How predictions are written."""

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """A chunk: some rows, in their order. Raises ValueError for a cell that the format cannot hold."""

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """Write the file from all chunks. It appears when it is complete, and replaces an old one."""


def as_bytes(text: str) -> bytes:
    """Text in UTF-8. Half of a surrogate pair becomes an escape."""
    return text.encode(errors="backslashreplace")


def chained(out: Path, chunks: Sequence[Path], header: bytes = b"") -> None:
    """Write a header and the content of all chunks, one after another."""
    with out.open("wb") as file:
        file.write(header)
        for chunk in chunks:
            with chunk.open("rb") as opened:
                shutil.copyfileobj(opened, file)
