"""Writers of predictions, by the ending of a file.

A writer turns a chunk of rows into bytes, and joins the files of the chunks to one. A prediction that was
killed keeps its chunks.
"""

from __future__ import annotations

from multiseq.runs.writers.base import Writer
from multiseq.runs.writers.lines import LineWriter
from multiseq.runs.writers.tables import ExcelWriter, ParquetWriter, TextWriter
from multiseq.runs.writers.timed import CtmWriter, TimedWriter, srt, text_grid, vtt, word_grid
from multiseq.runs.writers.words import ConlluWriter, ConllWriter

__all__ = [
    "ENDINGS",
    "TIMED",
    "ConllWriter",
    "ConlluWriter",
    "CtmWriter",
    "ExcelWriter",
    "LineWriter",
    "ParquetWriter",
    "TextWriter",
    "TimedWriter",
    "Writer",
    "srt",
    "text_grid",
    "vtt",
    "word_grid",
]

TIMED = (".TextGrid", ".srt", ".vtt", ".ctm")
"""The endings of a file of words or segments with times."""

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx", ".txt", ".conllu", ".conll", *TIMED)
"""The endings of a file of predictions."""
