"""Readers of texts: treebanks, CoNLL, aligned lines, labelled lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from multiseq.data.bad_rows import Reject, stop
from multiseq.data.conll import WORD, Sentence, conll_sentences, layout_of, sentences_of
from multiseq.data.conllu import EMPTY, FIELDS, LABELS, LISTS, ROW, annotation, value_of
from multiseq.data.records import DataError, Places, Records
from multiseq.data.text_files import lines_of

__all__ = [
    "FASTTEXT",
    "check_features",
    "conllu_sentences",
    "fasttext_line",
    "is_fasttext",
    "labelled_line",
    "read_conll",
    "read_conllu",
    "read_labelled",
    "read_lines",
]

FEATURE = re.compile(r"[A-Z][A-Za-z0-9]*(\[[a-z0-9]+\])?")
"""The name of a feature in UD: ``Case``, ``Number[psor]``."""

FASTTEXT = "__label__"
"""The prefix of each label in files of fastText."""


def read_conllu(
    path: Path,
    *,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    columns: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read a CoNLL-U treebank (https://universaldependencies.org/format.html), for token classification.

    An item is a sentence, as a list of words. The label columns are ``lemma``, ``upos``, ``xpos``, ``feats``
    (``Case=Nom|Number=Sing``), ``deprel`` and ``misc``: lists with one label for each word. Multi-word tokens
    (1-2) and empty nodes (1.1) are skipped, because they are not words of the tree.

    ``_`` is a missing label. In FEATS and MISC it means that a word has no features, and is a label, too; but
    if no word of the file has any, the column is not annotated, and its labels are missing. Entries of MISC
    that describe the text, such as ``SpaceAfter=No``, are no part of the label ``misc``.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        columns: Names of features, such as ``Case``, and of entries of MISC, such as ``misc.Gloss``: each
            becomes a label column too, with ``_`` for the words that lack it. So it does if no word of the
            file has it, but FEATS (or MISC) is annotated: a file may be small (see `check_features`).
        reject: What to do about a sentence with a line that is not CoNLL-U.

    Raises:
        DataError: A line is not CoNLL-U, or no word has a feature, but an entry of MISC has its name.
    """
    keys = [name for name in columns if name not in LABELS]
    records = Records([], {name: [] for name in (*LABELS, *keys)}, places := Places(path))
    sentences = conllu_sentences(path, encoding=encoding, unpack_limit=unpack_limit, reject=reject)
    for sentence in sentences:
        _add_sentence(records, sentence.words, keys)
        places.lines.append(sentence.start)
    annotated = [name for name in LISTS if _has_entries(records.columns[name])]
    for name in LISTS:
        if name not in annotated:
            records.columns[name] = [[None] * len(labels) for labels in records.columns[name]]
    for key in keys:
        if not _has_entries(records.columns[key]):
            _refuse_entry_of_misc(records, key)
            place = "misc" if key.startswith("misc.") else "feats" if FEATURE.fullmatch(key) else ""
            if place not in annotated:
                del records.columns[key]
    return records


def check_features(records: Records, columns: Collection[str]) -> None:
    """Raise DataError if no word of a treebank has a feature, or an entry of MISC, that is to be learned.

    Args:
        records: What `read_conllu` has read.
        columns: The columns that are to be learned.
    """
    for key in columns:
        if key in LABELS or _has_entries(records.column(key)):
            continue
        cells = [
            cell for row in records.columns["misc" if key.startswith("misc.") else "feats"] for cell in row
        ]
        names = sorted({entry.partition("=")[0] for cell in cells for entry in (cell or EMPTY).split("|")})
        prefix = "misc." if key.startswith("misc.") else ""
        known = ", ".join(f"{prefix}{name}" for name in names if name != EMPTY)
        file = records.locations[0].rpartition(":")[0]
        raise DataError(f"{file}: no word to train on has {key!r}; there are {known}")


def conllu_sentences(
    path: Path, *, encoding: str = "utf-8", unpack_limit: int | None = None, reject: Reject = stop
) -> Iterator[Sentence]:
    """The sentences of a CoNLL-U treebank, one after another. Arguments and errors as for `read_conllu`.

    Yields:
        As `multiseq.data.conll.sentences_of`. The lines include multi-word tokens.
    """

    def fields_of(line: str, is_first: bool) -> list[str] | None:
        if line.startswith("#"):
            return None
        fields = line.split("\t")
        if wrong := _not_conllu(fields):
            raise ValueError(wrong)
        return fields if fields[0].isdigit() else None

    return sentences_of(path, fields_of, encoding=encoding, unpack_limit=unpack_limit, reject=reject)


def _not_conllu(fields: Sequence[str]) -> str:
    """What is wrong with a line; empty if nothing is."""
    if len(fields) != 10:
        return f"got {len(fields)} columns, expected the 10 of CoNLL-U, tab-separated"
    if not ROW.fullmatch(fields[0]):
        return (
            f"got {fields[0]!r} in the first column, expected the number of a word "
            "(1), of a multi-word token (1-2) or of an empty node (1.1)"
        )
    return ""


def _add_sentence(records: Records, words: list[list[str]], keys: Sequence[str]) -> None:
    records.items.append([word[FIELDS.index("form")] for word in words])
    feats, misc = ([word[FIELDS.index(name)] for word in words] for name in LISTS)
    for name in LABELS:
        cells = [word[FIELDS.index(name)] for word in words]
        records.columns[name].append([None if cell == EMPTY else cell for cell in cells])
    records.columns["feats"][-1] = feats
    records.columns["misc"][-1] = [annotation(cell) for cell in misc]
    for key in keys:
        cells, name = (misc, key[len("misc.") :]) if key.startswith("misc.") else (feats, key)
        records.columns[key].append([value_of(cell, name) for cell in cells])


def _has_entries(column: Sequence[Sequence[str]]) -> bool:
    return any(label != EMPTY for labels in column for label in labels)


def _refuse_entry_of_misc(records: Records, key: str) -> None:
    """Raise DataError if a feature that no word has is an entry of MISC."""
    misc = records.columns["misc"]
    if any(value_of(cell or EMPTY, key) != EMPTY for cells in misc for cell in cells):
        raise DataError(
            f"{records.locations[0].rpartition(':')[0]}: no word has the feature {key!r} in FEATS, but some "
            f'have it in MISC; expected "misc.{key}"'
        )


def read_conll(
    path: Path,
    *,
    column_names: Sequence[str] = (),
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read a word and its tags a line, as in CoNLL-2003, for token classification (tagging).

    A tab or blanks separate the columns, and an empty line ends a sentence. An item is a sentence, as a list
    of words. The label columns are lists with one label for each word. Their names follow from the number of
    columns (`multiseq.data.conll.COLUMNS`): ``tag`` if there are two, ``pos`` and ``tag`` if there are three,
    ``pos``, ``chunk`` and ``ner`` if there are four, ``lemma`` and these three if there are five. If the
    first column counts the words of all sentences, the second is the word, and then comes ``tag``, or ``ner``
    and ``nested`` (GermEval 2014). A label ``_`` is missing.

    Lines that begin with ``-DOCSTART-`` are skipped. So are comments before the first word of a sentence:
    ``# id …``, ``# text …``, and any other line that begins with ``#`` and a blank, unless it has as many
    columns as the file: then ``#`` is a word. ``#text`` is a word.

    Args:
        path: The file.
        column_names: The names of all columns of the file, one of which is ``word``. Default: they follow
            from the number of columns.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a sentence with a line that has a wrong number of columns.

    Raises:
        DataError: A line has more columns or fewer than the lines before, or is not of two to five columns.
    """
    layout = layout_of(lines_of(path, encoding, unpack_limit), column_names)
    records = Records([], {name: [] for name in layout.labels}, places := Places(path))
    sentences = conll_sentences(path, layout, encoding=encoding, unpack_limit=unpack_limit, reject=reject)
    for sentence in sentences:
        columns = dict(zip(layout.names, zip(*sentence.words, strict=True), strict=True))
        records.items.append(list(columns[WORD]))
        for name in layout.labels:
            records.columns[name].append([None if label in ("", "_") else label for label in columns[name]])
        places.lines.append(sentence.start)
    return records


def read_lines(
    path: Path, *, target: Path, encoding: str = "utf-8", unpack_limit: int | None = None
) -> Records:
    """Read two text files with aligned lines, for sequence to sequence (translation).

    Args:
        path: The file of items, one for each line.
        target: The file of target texts, which become the column ``target``.
        encoding: The encoding of both files.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: The files differ in their number of lines.
    """
    items, labels = (
        [line.rstrip("\r\n") for line in lines_of(file, encoding, unpack_limit)] for file in (path, target)
    )
    if len(items) != len(labels):
        raise DataError(f"{path}: {len(items)} lines, but {target} has {len(labels)}; expected aligned lines")
    return Records(items, {"target": list(labels)}, Places(path, range(1, len(items) + 1)))


def read_labelled(
    path: Path,
    *,
    separator: str | None = None,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read lines of the form label, separator, text (text classification), or lines of fastText.

    The label columns are ``label`` and ``coarse``, which is the label up to its first colon.

    Files of fastText (`is_fasttext`) are read as fastText reads them: blanks and tabs separate words, and
    each word that begins with ``__label__`` is a label, wherever it stands. The other words are the text. If
    a line has several labels, both columns hold lists.

    Args:
        path: The file.
        separator: The separator between label and text. Default: a tab if nine of ten lines have one,
            otherwise the first blank or tab. Lines of fastText are read alike with any blank or tab.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a line without a label or without a text.

    Raises:
        DataError: A line has no separator; in fastText, no label or no text.
    """
    records = Records([], {"label": [], "coarse": []}, places := Places(path))
    lines = [line.rstrip("\r\n") for line in lines_of(path, encoding, unpack_limit)]
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    split = labelled_line(separator, [line for _, line in filled])
    for number, line in filled:
        try:
            labels, text = split(line)
        except ValueError as error:
            reject(f"{path}:{number}", str(error), line)
            continue
        records.items.append(text)
        coarse = [label.partition(":")[0] for label in labels]
        records.columns["label"].append(labels if len(labels) > 1 else labels[0])
        records.columns["coarse"].append(coarse if len(coarse) > 1 else coarse[0])
        places.lines.append(number)
    return records


def is_fasttext(lines: Sequence[str]) -> bool:
    """Whether lines are of fastText: one begins with a label of fastText, or half of them have one anywhere.

    A text about fastText, in lines of another form, may have such a word, too.

    >>> is_fasttext(["__label__up so good", "no label"]), is_fasttext(["so good __label__up"])
    (True, True)
    >>> is_fasttext(["ask what is __label__", "ask what is a word", "say a word"])
    False
    """
    having = [line for line in lines if fasttext_line(line)[0]]
    return any(line.startswith(FASTTEXT) for line in having) or 2 * len(having) >= max(1, len(lines))


def fasttext_line(line: str) -> tuple[list[str], str]:
    r"""The labels of a line of fastText (https://fasttext.cc/docs/en/supervised-tutorial.html), and its text.

    Blanks between the words of the text stay as they are.

    >>> fasttext_line("__label__a how\tto  bake __label__b bread")
    (['__label__a', '__label__b'], 'how\tto  bake bread')
    """
    return _LABEL.findall(line), _WITH_BLANKS.sub("", line).strip(_BLANKS)


_BLANKS = " \t\v\f\r\0"
"""What separates words in fastText; other blanks of Unicode do not."""

_LABEL = re.compile(rf"(?<![^{_BLANKS}]){FASTTEXT}[^{_BLANKS}]+")
_WITH_BLANKS = re.compile(rf"{_LABEL.pattern}[{_BLANKS}]*")


def labelled_line(separator: str | None, lines: Sequence[str]) -> Callable[[str], tuple[list[str], str]]:
    """How the lines of a file are divided: a function that returns the labels and the text of a line.

    Args:
        separator: As for `read_labelled`.
        lines: The lines of the file that are not empty.

    Returns:
        The function. It raises ValueError for a line without a label or without a text.
    """
    if (separator is None or separator.isspace()) and is_fasttext(lines):
        return _checked_fasttext
    if separator is None and sum("\t" in line for line in lines) >= 0.9 * len(lines):
        separator = "\t"

    def split(line: str) -> tuple[list[str], str]:
        label, *text = line.split(separator, 1) if separator else re.split("[ \t]", line, maxsplit=1)
        if not (label.strip() and text and text[0].strip()):
            expected = repr(separator) if separator else "a blank or a tab"
            raise ValueError(f"got {line[:40]!r}, expected a label, {expected} and a text")
        return [label], text[0]

    return split


def _checked_fasttext(line: str) -> tuple[list[str], str]:
    labels, text = fasttext_line(line)
    if not labels or not text:
        lacks = "text" if labels else "label"
        raise ValueError(
            f"got {line[:40]!r} without a {lacks}, expected labels and a text, as in {FASTTEXT}NAME a text"
        )
    return labels, text
