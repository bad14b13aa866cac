"""Files with a word and its tags on each line, and an empty line after each sentence: CoNLL-2003."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from multiseq.data.bad_rows import Reject, stop
from multiseq.data.text_files import lines_of

__all__ = ["COLUMNS", "Sentence", "columns_of_line", "conll_sentences", "sentences_of", "word_line"]

Sentence = tuple[int, list[str], list[list[str]]]
"""The line where a sentence begins, all lines of the file up to its end, and the fields of each word."""

COLUMNS = {1: (), 2: ("tag",), 3: ("pos", "tag"), 4: ("pos", "chunk", "ner")}
"""Columns of a file -> the label columns after the word: two-column files, CoNLL-2000, CoNLL-2003."""

NO_WORD = re.compile(r"-DOCSTART-|#\s*(id|sent_id|text|newdoc|newpar)\b")
"""How a line begins that is no word: a new document, or a comment. A lone ``#`` may be a word."""


def word_line(line: str) -> bool:
    """Whether a line has a word: it is not empty, no comment and no ``-DOCSTART-``."""
    return bool(line.strip()) and not NO_WORD.match(line)


def columns_of_line(line: str) -> list[str]:
    """The columns of a line and what separates them, in turn. Other blanks, such as U+00A0, are letters.

    >>> columns_of_line("EU NNP  B-ORG")
    ['EU', ' ', 'NNP', '  ', 'B-ORG']
    """
    line = line.rstrip("\r\n")
    return re.split("(\t)", line) if "\t" in line else re.split("( +)", line.strip(" "))


def conll_sentences(
    path: Path,
    *,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
    with_tags: bool = True,
) -> Iterator[Sentence]:
    """The sentences of a file as `multiseq.data.readers.read_conll` describes it, one after another.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a sentence with a line that has a wrong number of columns.
        with_tags: Whether there must be tags. Otherwise there may be words alone.
    """
    width = 0

    def fields_of(line: str) -> list[str] | None:
        nonlocal width
        if not word_line(line):
            return None
        fields = columns_of_line(line)[::2]
        if len(fields) not in COLUMNS or (with_tags and len(fields) == 1):
            raise ValueError(
                f"got {len(fields)} columns, expected a word and its tag, or word, pos, chunk and ner, with "
                "a tab or blanks between them"
            )
        if not fields[0]:
            raise ValueError("got no word in the first column")
        if width not in (0, len(fields)):
            raise ValueError(f"got {len(fields)} columns, expected {width} as in the lines before")
        width = len(fields)
        return fields

    return sentences_of(path, fields_of, encoding=encoding, unpack_limit=unpack_limit, reject=reject)


def sentences_of(
    path: Path,
    fields_of: Callable[[str], list[str] | None],
    *,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Iterator[Sentence]:
    """The sentences of a file with a word on each line and an empty line after each sentence.

    Args:
        path: The file.
        fields_of: The fields of a line; None if it is no word. It raises ValueError for a bad line.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a sentence with a bad line.

    Yields:
        Each sentence. Its lines include comments and empty lines; those of rejected sentences come with the
        next one. The last sentence has the rest of the file.
    """
    words: list[list[str]] = []
    lines: list[str] = []
    before: Sentence | None = None
    start, broken = 1, False
    for number, line in enumerate(chain(lines_of(path, encoding, unpack_limit), [""]), 1):
        lines.append(line)
        line = line.rstrip("\r\n")
        if not line.strip(" "):
            if words and not broken:
                if before:
                    yield before
                before, lines = (start, lines, words), []
            words, start, broken = [], number + 1, False
        elif not broken:
            try:
                fields = fields_of(line)
            except ValueError as error:
                reject(f"{path}:{number}", str(error), line)
                broken = True
                continue
            if fields is not None:
                words.append(fields)
    if before:
        yield before[0], before[1] + lines, before[2]
