"""Files with a word and its tags on each line, and an empty line after each sentence: CoNLL-2003."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from typing import NamedTuple

from multiseq.data.bad_rows import Reject, stop
from multiseq.data.text_files import lines_of

__all__ = [
    "COLUMNS",
    "COMMENT",
    "WORD",
    "Layout",
    "Sentence",
    "columns_of_line",
    "conll_sentences",
    "has_columns",
    "layout_of",
    "sentences_of",
    "word_line",
]


class Sentence(NamedTuple):
    """A sentence of a file with a word on each line.

    Args:
        start: The line where it begins, from 1.
        lines: All lines of the file up to its end, from the end of the sentence before.
        words: The fields of each word.
        places: The number of the line of each word, in ``lines``.
    """

    start: int
    lines: list[str]
    words: list[list[str]]
    places: list[int]


WORD, ID = "word", "id"

COLUMNS: dict[int, tuple[str, ...]] = {
    1: (WORD,),
    2: (WORD, "tag"),
    3: (WORD, "pos", "tag"),
    4: (WORD, "pos", "chunk", "ner"),
    5: (WORD, "lemma", "pos", "chunk", "ner"),
}
"""Number of columns -> their names: words alone, CoNLL-2000, CoNLL-2003 in English and in German."""

NUMBERED: dict[int, tuple[str, ...]] = {
    2: (ID, WORD),
    3: (ID, WORD, "tag"),
    4: (ID, WORD, "ner", "nested"),
}
"""The same for files that number the words of each sentence in the first column, such as GermEval 2014."""

NO_WORD = re.compile(r"-DOCSTART-|#\s*(id|sent_id|text|newdoc|newpar)\b")
"""How a line begins that is no word: a new document, or a comment. A lone ``#`` may be a word."""

COMMENT = re.compile(r"#(\s|$)")
"""How a line begins that may be a comment: before the first word of a sentence, and of other columns."""

LOOK = 100
"""The most lines of a sentence that are looked at to know the columns of a file."""


@dataclass(frozen=True)
class Layout:
    """The columns of a file.

    Args:
        names: Their names: ``word``, ``id`` (its number in the sentence), and label columns. Empty if no line
            has columns of a known number.
        tabs: Whether tabs separate them, and not blanks.
        is_given: Whether the names were given, and not found by the number of columns.
    """

    names: Sequence[str]
    tabs: bool = False
    is_given: bool = False

    @property
    def labels(self) -> list[str]:
        """The names of the label columns."""
        return [name for name in self.names if name not in (WORD, ID)]

    @property
    def is_numbered(self) -> bool:
        """Whether the number of each word is in the first column."""
        return list(self.names[:1]) == [ID]

    def is_comment(self, line: str) -> bool:
        """Whether a line before the first word of a sentence is a comment: ``# …`` in other columns."""
        columns = line.split("\t") if self.tabs else columns_of_line(line)[::2]
        return bool(COMMENT.match(line)) and bool(self.names) and len(columns) != len(self.names)


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


def layout_of(lines: Iterable[str], names: Sequence[str] = (), *, with_tags: bool = True) -> Layout:
    """The columns of a file, from its first line with a known number of columns.

    The words are numbered if the first sentence of two words or more begins its lines with 1, 2, 3 …

    Args:
        lines: The lines of the file. No more are taken than are needed.
        names: The names of all columns, if they are given.
        with_tags: Whether there must be tags. Otherwise there may be words alone.
    """
    known = {len(names): tuple(names)} if names else dict(COLUMNS)
    known |= {} if with_tags else {1: (WORD,)}
    if with_tags and not names:
        del known[1]
    hashes: Layout | None = None  # what lines that begin with # say, where there are no others
    layout: Layout | None = None
    for filled, block in groupby(lines, key=lambda line: bool(line.strip())):
        rows = [columns_of_line(line) for line in islice(block, LOOK) if filled and word_line(line)]
        fitting = [row for row in rows if len(row[::2]) in known]
        words = [row for row in fitting if not row[0].startswith("#")]
        found = [Layout(known[len(row[::2])], "\t" in row, bool(names)) for row in (words or fitting)[:1]]
        layout, hashes = layout or next(iter(found if words else []), None), hashes or next(iter(found), None)
        if layout is not None and (names or len(words) > 1):
            counts = [row[0] for row in words] == [str(i) for i in range(1, len(words) + 1)]
            if counts and not names:
                numbered = Layout(NUMBERED.get(len(layout.names), ()), layout.tabs)
                return numbered if numbered.labels or not with_tags else Layout(())
            return layout
    return layout or hashes or Layout(names, is_given=bool(names))


def has_columns(lines: Iterable[str], labels: Collection[str]) -> bool:
    """Whether lines are words with tags, and not texts: they have the same columns, and in one are labels.

    Args:
        lines: The beginning of a file.
        labels: The labels that a tag may be.

    Raises:
        ValueError: They may be both: with the same columns and empty lines, but without such labels.
    """
    lines = list(lines)
    rows = [columns_of_line(line)[::2] for line in lines if word_line(line) and not COMMENT.match(line)]
    width, num = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    if not rows or num < 0.9 * len(rows):
        return False
    columns = list(zip(*(row for row in rows if len(row) == width), strict=True))
    if any(sum(tag in labels for tag in tags) > num / 2 for tags in columns[1:]):
        return True
    blocks = [len(list(block)) for filled, block in groupby(lines, lambda line: bool(line.strip())) if filled]
    if width in COLUMNS and len(blocks) > 1 and max(blocks) > 1:
        raise ValueError(
            f"got lines of {width} column{'s' if width > 1 else ''} with empty lines between them, but no "
            "known label; expected words with their tags, or texts"
        )
    return False


def conll_sentences(
    path: Path,
    layout: Layout,
    *,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Iterator[Sentence]:
    """The sentences of a file as `multiseq.data.readers.read_conll` describes it, one after another.

    Args:
        path: The file.
        layout: Its columns, from `layout_of`.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a sentence with a line that has a wrong number of columns.
    """

    def fields_of(line: str, is_first: bool) -> list[str] | None:
        if not word_line(line) or (is_first and layout.is_comment(line)):
            return None
        fields = columns_of_line(line)[::2]
        if len(fields) != len(layout.names):
            raise ValueError(_wrong_number(len(fields), layout))
        if not fields[layout.names.index(WORD)]:
            which = {0: "first", 1: "second"}.get(layout.names.index(WORD), WORD)
            raise ValueError(f"got no word in the {which} column")
        return fields

    return sentences_of(path, fields_of, encoding=encoding, unpack_limit=unpack_limit, reject=reject)


def _wrong_number(got: int, layout: Layout) -> str:
    if layout.is_given:
        return f"got {got} columns, expected the {len(layout.names)} of column_names"
    if layout.names and 1 < got <= len(COLUMNS):
        return f"got {got} columns, expected {len(layout.names)} as in the lines before"
    return (
        f"got {got} columns, expected a word and its tag, or word, pos, chunk and ner, with a tab or blanks "
        'between them; column_names = ["word", …] names other columns'
    )


def sentences_of(
    path: Path,
    fields_of: Callable[[str, bool], list[str] | None],
    *,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Iterator[Sentence]:
    """The sentences of a file with a word on each line and an empty line after each sentence.

    Args:
        path: The file.
        fields_of: The fields of a line; None if it is no word. It is told whether the line is before the
            first word of its sentence, and raises ValueError for a bad line.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a sentence with a bad line.

    Yields:
        Each sentence. Its lines include comments and empty lines; those of rejected sentences come with the
        next one. The last sentence has the rest of the file.
    """
    words: list[list[str]] = []
    places: list[int] = []
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
                before, lines = Sentence(start, lines, words, places), []
            words, places, start, broken = [], [], number + 1, False
        elif not broken:
            try:
                fields = fields_of(line, not words)
            except ValueError as error:
                reject(f"{path}:{number}", str(error), line)
                broken = True
                continue
            if fields is not None:
                words.append(fields)
                places.append(len(lines) - 1)
    if before:
        yield before._replace(lines=before.lines + lines)
