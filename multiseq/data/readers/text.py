"""Readers of texts: treebanks, CoNLL, aligned lines, labelled lines."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from multiseq.data.bad_rows import Reject, stop
from multiseq.data.conll import COLUMNS, Sentence, conll_sentences, sentences_of
from multiseq.data.records import DataError, Places, Records
from multiseq.data.text_files import lines_of

__all__ = [
    "CONLLU",
    "FASTTEXT",
    "ROW",
    "conllu_sentences",
    "read_conll",
    "read_conllu",
    "read_labelled",
    "read_lines",
]

FASTTEXT = "__label__"
"""The prefix of each label in files of fastText."""

CONLLU = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
"""Label column -> number of the column in a treebank."""

ROW = re.compile(r"[0-9]+([-.][0-9]+)?")
"""The first column of a row in a treebank."""


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
    (all features as one label, ``Case=Nom|Number=Sing``) and ``deprel``: lists with one label for each word.
    Multi-word tokens (1-2) and empty nodes (1.1) are skipped, because they are not words of the tree.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        columns: Names of features, such as ``Case``: each becomes a label column too. The label is missing
            for words that do not have the feature.
        reject: What to do about a sentence with a line that is not CoNLL-U.

    Raises:
        DataError: A line is not CoNLL-U.
    """
    keys = [name for name in columns if name not in CONLLU]
    records = Records([], {name: [] for name in (*CONLLU, *keys)}, places := Places(path))
    sentences = conllu_sentences(path, encoding=encoding, unpack_limit=unpack_limit, reject=reject)
    for start, _, words in sentences:
        _add_sentence(records, words, keys)
        places.lines.append(start)
    for key in keys:
        if not any(any(labels) for labels in records.columns[key]):
            del records.columns[key]  # no word has it, so the name is wrong
    return records


def conllu_sentences(
    path: Path, *, encoding: str = "utf-8", unpack_limit: int | None = None, reject: Reject = stop
) -> Iterator[Sentence]:
    """The sentences of a CoNLL-U treebank, one after another. Arguments and errors as for `read_conllu`.

    Yields:
        As `multiseq.data.conll.sentences_of`. The lines include multi-word tokens.
    """

    def fields_of(line: str) -> list[str] | None:
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
    records.items.append([word[1] for word in words])
    for name, column in CONLLU.items():
        records.columns[name].append([None if word[column] == "_" else word[column] for word in words])
    if keys:
        features_of = [dict(pair.partition("=")[::2] for pair in word[5].split("|")) for word in words]
        for key in keys:
            records.columns[key].append([features.get(key) for features in features_of])


def read_conll(
    path: Path, *, encoding: str = "utf-8", unpack_limit: int | None = None, reject: Reject = stop
) -> Records:
    """Read a word and its tags a line, as in CoNLL-2003, for token classification (tagging).

    A tab or blanks separate the columns, and an empty line ends a sentence. An item is a sentence, as a list
    of words. The label columns are lists with one label for each word: ``tag`` if there are two columns,
    ``pos`` and ``tag`` if there are three, ``pos``, ``chunk`` and ``ner`` if there are four. A label ``_`` is
    missing. Lines that begin with ``-DOCSTART-`` and comments (``# id``, ``# text``) are skipped.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a sentence with a line that has a wrong number of columns.

    Raises:
        DataError: A line has more columns or fewer than the lines before, or is not of two to four columns.
    """
    records = Records([], {}, places := Places(path))
    for start, _, words in conll_sentences(path, encoding=encoding, unpack_limit=unpack_limit, reject=reject):
        word_column, *tags = zip(*words, strict=True)
        records.items.append(list(word_column))
        for name, labels in zip(COLUMNS[len(tags) + 1], tags, strict=True):
            column = records.columns.setdefault(name, [])
            column.append([None if label in ("", "_") else label for label in labels])
        places.lines.append(start)
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
    separator: str = " ",
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read lines of the form label, separator, text (text classification).

    The label columns are ``label`` and ``coarse``, which is the label up to its first colon. If a line begins
    with several labels in fastText's form (``__label__a __label__b text``), both columns hold lists.

    Args:
        path: The file.
        separator: The separator between label and text.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a line without a separator.

    Raises:
        DataError: A line has no separator.
    """
    places = Places(path)
    records = Records([], {"label": [], "coarse": []}, places)
    for number, line in enumerate(lines_of(path, encoding, unpack_limit), 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        label, separated, text = line.partition(separator)
        if not separated:
            reason = f"got {line[:40]!r}, expected a label, {separator!r} and a text"
            reject(f"{path}:{number}", reason, line)
            continue
        labels = [label]
        while labels[0].startswith(FASTTEXT) and text.startswith(FASTTEXT):
            label, _, text = text.partition(separator)
            labels.append(label)
        records.items.append(text)
        coarse = [label.partition(":")[0] for label in labels]
        records.columns["label"].append(labels if len(labels) > 1 else labels[0])
        records.columns["coarse"].append(coarse if len(coarse) > 1 else coarse[0])
        places.lines.append(number)
    return records
