"""Readers of texts: treebanks, CoNLL, aligned lines, labelled lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from multiseq.data.bad_rows import Reject, stop
from multiseq.data.conll import WORD, Sentence, conll_sentences, layout_of, sentences_of
from multiseq.data.conllu import COLUMNS, LABELS, LISTS, NONE, ROW, annotation, value_of
from multiseq.data.records import DataError, Places, Records
from multiseq.data.text_files import lines_of

__all__ = [
    "FASTTEXT",
    "conllu_sentences",
    "read_conll",
    "read_conllu",
    "read_labelled",
    "read_lines",
]

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
            becomes a label column too, with ``_`` for the words that lack it.
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
    for name in LISTS:
        if not _has_entries(records.columns[name]):
            records.columns[name] = [[None] * len(labels) for labels in records.columns[name]]
    for key in keys:
        if not _has_entries(records.columns[key]):
            del records.columns[key]  # no word has it, so the name is wrong
            _refuse_entry_of_misc(records, key)
    return records


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
    records.items.append([word[COLUMNS.index("form")] for word in words])
    feats, misc = ([word[COLUMNS.index(name)] for word in words] for name in LISTS)
    for name in LABELS:
        cells = [word[COLUMNS.index(name)] for word in words]
        records.columns[name].append([None if cell == NONE else cell for cell in cells])
    records.columns["feats"][-1] = feats
    records.columns["misc"][-1] = [annotation(cell) for cell in misc]
    for key in keys:
        cells, name = (misc, key[len("misc.") :]) if key.startswith("misc.") else (feats, key)
        records.columns[key].append([value_of(cell, name) for cell in cells])


def _has_entries(column: Sequence[Sequence[str]]) -> bool:
    return any(label != NONE for labels in column for label in labels)


def _refuse_entry_of_misc(records: Records, key: str) -> None:
    """Raise DataError if a feature that no word has is an entry of MISC."""
    misc = records.columns["misc"]
    if any(value_of(cell or NONE, key) != NONE for cells in misc for cell in cells):
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
    first column counts the words of each sentence, the second is the word, and two more are ``ner`` and
    ``nested`` (GermEval 2014). A label ``_`` is missing.

    Lines that begin with ``-DOCSTART-`` and comments (``# id``, ``# text``) are skipped. So is any line that
    begins with ``#`` and a blank before the first word of a sentence, unless it has as many columns as the
    file: then ``#`` is a word.

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
