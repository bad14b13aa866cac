"""Predictions for words with tags: CoNLL-U, and columns as in CoNLL-2003."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.conll import COLUMNS, columns_of_line, word_line
from multiseq.runs.rows import Row
from multiseq.runs.writers.base import Filled, as_bytes, chained
from multiseq.system.files import replace_file

__all__ = ["CONLLU", "ConllWriter", "ConlluWriter"]

CONLLU = {name: i for i, name in enumerate(("id", "form", "lemma", "upos", "xpos", "feats", "head"))}
CONLLU |= {"deprel": 7, "deps": 8, "misc": 9}
"""Column of CoNLL-U -> its number."""


class ConlluWriter:
    """CoNLL-U: the lines of the input, with the predicted column.

    Args:
        column: The column to fill in, as in recipes. If CoNLL-U has no such column, ``misc`` gets
            ``column=label``.
        prediction: The added column with the labels.
    """

    def __init__(self, column: str, prediction: str) -> None:
        self.column, self.prediction = column, prediction

    def encode(self, filled: Sequence[Filled]) -> bytes:
        """Some sentences. Each ends in an empty line."""
        return as_bytes("".join(self._sentence(row, added) for row, added in filled))

    def _sentence(self, row: Row, added: Mapping[str, Any]) -> str:
        labels = iter(added.get(self.prediction) or [])
        text = "".join(self._line(line, labels) for line in row.lines)
        if next(labels, None) is not None:
            raise ValueError(
                f"{row.location}: got more labels than words; only a run with a label for each word writes "
                "this format"
            )
        if not text.endswith("\n"):
            text += "\n"
        last = next(line for line in reversed(row.lines) if line)  # a reader may add "" at the end
        return text + "\n" if self._is_word(last) else text

    def _is_word(self, line: str) -> bool:
        return line[:1].isdigit()

    def _line(self, line: str, labels: Iterator[Any]) -> str:
        fields = line.split("\t")
        label = next(labels, None) if fields[0].isdigit() else None
        if label is None:  # a comment, a multi-word token, an empty line, or a sentence without labels
            return line
        place = CONLLU.get(self.column, CONLLU["misc"])
        end = fields[-1][len(fields[-1].rstrip("\r\n")) :]
        fields[-1] = fields[-1].rstrip("\r\n")
        fields[place] = (
            str(label) if self.column in CONLLU else _with_misc(fields[place], f"{self.column}={label}")
        )
        return "\t".join(fields) + end

    def join(self, chunks: Sequence[Path], out: Path) -> None:
        """All chunks."""
        replace_file(out, lambda fresh: chained(fresh, chunks))


class ConllWriter(ConlluWriter):
    """Words and tags as in CoNLL-2003: the lines of the input, with the predicted column.

    Args:
        column: The column to fill in, as in recipes. If the file has no such column, the last one is filled
            in; a file of words gets a second column.
        prediction: The added column with the labels.
    """

    def _is_word(self, line: str) -> bool:
        return word_line(line)

    def _line(self, line: str, labels: Iterator[Any]) -> str:
        label = next(labels, None) if self._is_word(line) else None
        if label is None:
            return line
        fields, end = columns_of_line(line), line[len(line.rstrip("\r\n")) :]
        if len(fields) == 1:
            fields += [" ", ""]
        if set(" \t" if fields[1] != "\t" else "\t") & set(str(label)):
            raise ValueError(f"got the label {label!r}, whose blank would end the column; write .jsonl")
        names = COLUMNS[len(fields[::2])]
        fields[2 * names.index(self.column) + 2 if self.column in names else -1] = str(label)
        return "".join(fields) + end


def _with_misc(misc: str, more: str) -> str:
    return more if misc == "_" else f"{misc}|{more}"
