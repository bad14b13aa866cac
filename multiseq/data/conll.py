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
    "ID",
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

NAMED_COMMENT = re.compile(r"#\s+(id|sent_id|text|newdoc|newpar)\b")
"""How a line before the first word of a sentence begins that is a comment, whatever its columns."""

COMMENT = re.compile(r"#(\s|$)")
"""How a line begins that may be a comment: before the first word of a sentence, and of other columns."""

SENTENCES, SENTENCE_LINES = 20, 100
"""The most sentences, and the most lines of each, that are looked at to know the columns of a file."""

FEWEST_LINES = 5
"""The fewest lines with known labels that are words of one sentence, and not texts of two words each."""


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
        """Whether a line before the first word of a sentence is a comment: ``# id``, or of other columns."""
        if NAMED_COMMENT.match(line):
            return True
        columns = line.split("\t") if self.tabs else columns_of_line(line)[::2]
        return bool(COMMENT.match(line)) and bool(self.names) and len(columns) != len(self.names)


def word_line(line: str) -> bool:
    """Whether a line may have a word: it is not empty, and no ``-DOCSTART-``."""
    return bool(line.strip()) and not line.startswith("-DOCSTART-")


def columns_of_line(line: str) -> list[str]:
    """The columns of a line and what separates them, in turn. Other blanks, such as U+00A0, are letters.

    >>> columns_of_line("EU NNP  B-ORG")
    ['EU', ' ', 'NNP', '  ', 'B-ORG']
    """
    line = line.rstrip("\r\n")
    return re.split("(\t)", line) if "\t" in line else re.split("( +)", line.strip(" "))


def layout_of(lines: Iterable[str], names: Sequence[str] = (), *, with_tags: bool = True) -> Layout:
    """The columns of a file, from its first line with a known number of columns.

    The words are numbered if the lines of all sentences that are looked at begin with 1, 2, 3 … These are
    several sentences, or one of three words at least. With tags there are three columns then, or more.

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
    lengths: list[int] = []  # of the sentences so far, whose lines all begin with 1, 2, 3 …
    for filled, block in groupby(lines, key=lambda line: bool(line.strip())):
        if not filled:
            continue
        some = [line for line in islice(block, SENTENCE_LINES) if word_line(line)]
        rows = [columns_of_line(line) for line in some if not NAMED_COMMENT.match(line)]
        fitting = [row for row in rows if len(row[::2]) in known]
        words = [row for row in fitting if not COMMENT.match(row[0])]
        found = [Layout(known[len(row[::2])], "\t" in row, bool(names)) for row in (words or fitting)[:1]]
        layout, hashes = layout or next(iter(found if words else []), None), hashes or next(iter(found), None)
        counts = [row[0] for row in words] == [str(i) for i in range(1, len(words) + 1)]
        if layout is not None and (names or not counts):
            return layout
        lengths += [len(words)] if words else []
        if len(lengths) == SENTENCES:
            break
    if layout is not None and max(lengths) > (1 if len(lengths) > 1 else 2):
        width = len(layout.names)
        if width > 2 or (width == 2 and not with_tags):
            return Layout(NUMBERED.get(width, ()), layout.tabs)
    return layout or hashes or Layout(names, is_given=bool(names))


def has_columns(lines: Iterable[str], labels: Collection[str]) -> bool:
    """Whether lines are words with tags, and not texts: they have the same columns, and in one are labels.

    Args:
        lines: The beginning of a file.
        labels: The labels that a tag may be.

    Raises:
        ValueError: They may be both: with the same columns and empty lines, but without such labels; or with
            such labels, but without sentences of several lines.
    """
    lines = list(lines)
    rows = [columns_of_line(line)[::2] for line in lines if word_line(line) and not COMMENT.match(line)]
    width, num = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
    if not rows or num < 0.9 * len(rows):
        return False
    columns = list(zip(*(row for row in rows if len(row) == width), strict=True))
    blocks = [len(list(block)) for filled, block in groupby(lines, lambda line: bool(line.strip())) if filled]
    has_sentences = len(blocks) > 1 and max(blocks) > 1
    known = [tags for tags in columns[1:] if sum(tag in labels for tag in tags) > num / 2]
    if has_sentences and known:
        return True
    # The last words of short texts, such as full stops, may be labels, too.
    if num >= FEWEST_LINES and any(set(tags) <= set(labels) and len(set(tags)) > 1 for tags in known):
        return True
    if known or (width in COLUMNS and has_sentences):
        what = "empty lines between them, but no known label"
        if known:
            what = "known labels, but no sentence of several lines before an empty line"
        raise ValueError(
            f"got lines of {width} column{'s' if width > 1 else ''} with {what}; "
            "expected words with their tags, or texts"
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
