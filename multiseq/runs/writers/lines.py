"""Predictions as lines of text: one answer a line, for tasks with one answer for each item."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.splits import is_empty
from multiseq.runs.rows import Row
from multiseq.runs.writers.base import Filled, as_bytes, chained
from multiseq.runs.writers.tables import shown
from multiseq.system.files import replace_file

__all__ = ["LineWriter"]

LINE_ENDS = re.compile(r"\r\n|[\r\n]")


class LineWriter:
    """A line for each row, in the order of the rows: the answer, and of fastText the text behind it.

    An item without content or with an error has no answer: its line is empty, or the text alone. Where an
    answer or a text has an end of line in it, the line has a blank. Several numbers are separated by tabs.

    Args:
        predictions: The added columns with the answer: one, or one for each of several numbers.
        joint: What stands between several labels; None for a JSON list.
        with_text: Whether the text stands behind its labels, as in files of fastText.
    """

    def __init__(self, predictions: Sequence[str], joint: str | None, with_text: bool = False) -> None:
        self.predictions, self.joint, self.with_text = list(predictions), joint, with_text

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some rows."""
        return as_bytes("".join(f"{self._line(row, added)}\n" for row, added in filled))

    def _line(self, row: Row, added: Mapping[str, Any]) -> str:
        cells = [added.get(name) for name in self.predictions]
        known = not is_empty(row.item) and None not in cells
        answer = "\t".join(shown(cell, self.joint) for cell in cells) if known else ""
        whole = f"{answer} {row.item or ''}".strip() if self.with_text else answer
        return LINE_ENDS.sub(" ", whole)

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """All chunks."""
        replace_file(out, lambda fresh: chained(fresh, chunks))
