"""Predictions for words with tags: CoNLL-U, and columns as in CoNLL-2003."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.conll import ID, WORD, columns_of_line
from multiseq.data.conllu import fill
from multiseq.runs.rows import Row
from multiseq.runs.writers.base import Filled, as_bytes, chained
from multiseq.system.files import replace_file

__all__ = ["ConllWriter", "ConlluWriter"]


class ConlluWriter:
    """CoNLL-U: the lines of the input, with the predicted column.

    Args:
        column: The column to fill in, as for `multiseq.data.conllu.fill`.
        prediction: The added column with the labels.
    """

    def __init__(self, column: str, prediction: str) -> None:
        self.column, self.prediction = column, prediction
        self.end = "\n"  # the line end of the file, as far as it has been seen

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some sentences. Each ends in an empty line."""
        return as_bytes("".join(self._sentence(row, added) for row, added in filled))

    def _sentence(self, row: Row, added: Mapping[str, Any]) -> str:
        labels, lines = added.get(self.prediction) or [], list(row.lines)
        if len(labels) > len(row.places):
            raise ValueError(
                f"{row.location}: got more labels than words; only a run with a label for each word writes "
                "this format"
            )
        for place, label in zip(row.places, labels, strict=False):
            if label is not None:
                line = lines[place].rstrip("\r\n")
                lines[place] = self._line(line, row.names, label) + lines[place][len(line) :]
        ends = (line[len(line.rstrip("\r\n")) :] for line in lines)
        self.end = next(filter(None, ends), self.end)
        text = "".join(lines)
        if not text.endswith(("\n", "\r")):
            text += self.end
        after = lines[row.places[-1] + 1 :]
        return text if any(line and not line.strip() for line in after) else text + self.end

    def _line(self, line: str, names: Sequence[str], label: Any) -> str:
        fields = line.split("\t")
        fill(fields, self.column, label)
        return "\t".join(fields)

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """All chunks."""
        replace_file(out, lambda fresh: chained(fresh, chunks))


class ConllWriter(ConlluWriter):
    """Words and tags as in CoNLL-2003: the lines of the input, with the predicted column.

    Args:
        column: The label column to fill in, as in recipes. If the file has no such column, its only label
            column is filled in where that is ``tag``; otherwise the lines get one more column.
        prediction: The added column with the labels.
    """

    def _line(self, line: str, names: Sequence[str], label: Any) -> str:
        label = ",".join(map(str, label)) or "_" if isinstance(label, list) else str(label)
        fields = columns_of_line(line)
        labels = [name for name in names if name not in (WORD, ID)]
        column = "tag" if labels == ["tag"] else self.column
        if column not in labels:
            fields += [fields[1] if len(fields) > 1 else " ", ""]
        if set(" \t" if fields[1] != "\t" else "\t") & set(label):
            raise ValueError(f"got the label {label!r}, whose blank would end the column; write .jsonl")
        fields[2 * names.index(column) if column in labels else -1] = label
        return "".join(fields)
