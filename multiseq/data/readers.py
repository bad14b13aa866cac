"""Readers: one function for each file format, which returns `Records`. Errors name the file and the line.

A reader takes a path, and the options of the format as keyword arguments. `multiseq.data.text_files`
describes how text files are unpacked and decoded, and `multiseq.data.tables` how tables are read.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.checks import nearest, no_such
from multiseq.data.bad_rows import Reject, raw_of, stop
from multiseq.data.conll import COLUMNS, Sentence, conll_sentences, sentences_of
from multiseq.data.graphs.molecules import read_molecules, with_features
from multiseq.data.recordings import TIMES, by_stem, find_recordings, recording_of_name, segment_of
from multiseq.data.records import DataError, Places, Records
from multiseq.data.tables import open_table
from multiseq.data.text_files import lines_of, parse_json, suffix_of, text_of

__all__ = [
    "READERS",
    "read_conll",
    "read_conllu",
    "read_files",
    "read_folders",
    "read_graphml",
    "read_json_lines",
    "read_kaldi",
    "read_labelled",
    "read_lines",
    "read_networks",
    "read_npz",
    "read_planetoid",
    "read_rdkit_logp",
    "read_recordings",
    "read_sdf",
    "read_table",
    "read_textgrids",
    "read_timit",
    "read_triples",
    "read_webnlg",
    "read_tu",
]

FASTTEXT = "__label__"
"""The prefix of each label in files of fastText."""

TRIPLE = ("head", "relation", "tail")
"""The usual names of the columns of a triple."""

RECURRING = 4096
"""Up to this number of different cells in a column, equal cells share one string."""


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


def read_table(
    path: Path,
    *,
    input: str = "text",
    features: Sequence[str] = (),
    encoding: str = "utf-8",
    separator: str | None = None,
    sheet: str | None = None,
    unpack_limit: int | None = None,
    columns: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read a table with a header (CSV, TSV, Parquet or Excel; see `multiseq.data.tables.open_table`).

    Args:
        path: The file.
        input: The column that holds the items. The others are label columns, in which an empty cell is a
            missing label.
        features: Columns with numbers about the item, a molecule, that the model sees too. An item is then
            ``{"smiles": …, column: cell}``.
        encoding: The encoding of a text file.
        separator: The separator between cells. Default: derived from the file's name and header.
        sheet: The sheet of an Excel file that has several with cells. Other files have none.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        columns: The label columns to keep. All are kept if it is empty or names a column that does not exist.
        reject: What to do about a row with a wrong number of cells.

    Raises:
        DataError: The file is not a table, or has no column ``input``.
    """
    table = open_table(
        path,
        encoding=encoding,
        separator=separator,
        sheet=sheet,
        unpack_limit=unpack_limit,
        reject=reject,
    )
    if input not in table.names:
        missing = no_such("column", input, table.names, " for the input")
        if len(table.names) == 1 and "," in table.names[0]:
            missing += " (one column; if commas separate the cells, name the file .csv)"
        raise DataError(f"{path}:1: {missing}")
    for name in features:
        if name not in table.names:
            raise DataError(f"{path}:1: {no_such('column', name, table.names, ' for the features')}")
    kept = {input, *features, *columns} if columns and set(columns) <= set(table.names) else set(table.names)
    numbers = [i for i, name in enumerate(table.names) if name in kept]
    columns_read = {table.names[i]: _Column("" if table.names[i] == input else None) for i in numbers}
    places = Places(path)
    for lines, cells in table.batches:
        places.lines.extend(lines)
        for i, column in zip(numbers, columns_read.values(), strict=True):
            column.extend(cells[i])
    values = {name: column.values for name, column in columns_read.items()}
    items = values.pop(input)
    if features:
        rows = zip(*(values[name] for name in features), strict=True)
        items = [
            with_features(item, dict(zip(features, cells, strict=True)), features)
            for item, cells in zip(items, rows, strict=True)
        ]
    return Records(items, values, places)


class _Column:
    """The cells of a column. Equal cells share one string, and an empty cell becomes ``empty``."""

    def __init__(self, empty: str | None) -> None:
        self.values: list[Any] = []
        self.empty = empty
        self.known: dict[str, Any] = {"": empty}

    def extend(self, cells: Sequence[Any]) -> None:
        if len(self.known) <= RECURRING and set(map(type, cells)) == {str}:
            self.values.extend(map(self.known.setdefault, cells, cells))
        else:
            self.values.extend(
                cells if "" not in cells else (self.empty if cell == "" else cell for cell in cells)
            )


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


def read_json_lines(
    path: Path,
    *,
    input: str = "text",
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read JSON lines: one JSON object in each line. Fields other than ``input`` are label columns.

    Args:
        path: The file.
        input: The field that holds the item.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a line that is not such an object.

    Raises:
        DataError: A line is not a JSON object with the field ``input``.
    """
    objects = []
    places = Places(path)
    for number, line in enumerate(lines_of(path, encoding, unpack_limit), 1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except ValueError as error:
            reject(f"{path}:{number}", f"not JSON: {error}", line)
            continue
        if not isinstance(entry, dict) or input not in entry:
            near = nearest(input, entry) if isinstance(entry, dict) else ""
            reject(f"{path}:{number}", f"expected an object with the field {input!r}{near}", line)
            continue
        objects.append(entry)
        places.lines.append(number)
    names = dict.fromkeys(name for entry in objects for name in entry if name != input)
    columns = {name: [entry.get(name) for entry in objects] for name in names}
    return Records([entry[input] for entry in objects], columns, places)


def read_recordings(
    path: Path,
    *,
    input: str = "file",
    audio: Path | None = None,
    segments: Path | None = None,
    encoding: str = "utf-8",
    separator: str | None = None,
    sheet: str | None = None,
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read a table that names recordings, which are in a folder or in a tar file.

    If the table has the columns ``start`` and ``end``, an item is this part of its recording, in seconds.

    Args:
        path: The table, with one row for each recording.
        input: The column with the name of the audio file, with its ending or without.
        audio: The folder or the ``.tar`` with the audio files. Default: the folder of the table.
        segments: A table with four columns: the file's name, start and end in seconds, and a label. It
            becomes the column ``segments``: a list of (start, end, label) for each recording. An empty label
            is missing. It does not go with ``start`` and ``end`` in the table.
        encoding: The encoding of both tables.
        separator: As for `read_table`, for both tables.
        sheet: As for `read_table`, of the table of recordings.
        unpack_limit: As for `read_table`, for both tables.
        reject: What to do about a bad row of either table.

    Raises:
        DataError: A table cannot be read, the audio does not exist, or a time is not a number.
    """
    options: dict[str, Any] = {
        "encoding": encoding, "separator": separator, "unpack_limit": unpack_limit, "reject": reject
    }  # fmt: skip
    records = read_table(path, input=input, sheet=sheet, **options)
    audio = audio or path.parent
    if not audio.exists():
        raise DataError(f"{audio}: no such file or folder, expected the recordings")
    names = records.items
    records.items = list[Any](find_recordings(audio, names))
    if segments is not None and set(TIMES) <= set(records.columns):
        raise DataError(f"{path}:1: got columns start and end, and segments; expected one of the two")
    if segments is not None:
        by_name = _read_segments(segments, options)
        records.columns["segments"] = [by_name.get(name) for name in names]
        records.num_rows = len(names) + sum(map(len, by_name.values()))
    return with_times(records, reject)


def with_times(records: Records, reject: Reject) -> Records:
    """Recordings, or the parts of them that the columns ``start`` and ``end`` say, if there are both."""
    if not set(TIMES) <= set(records.columns):
        return records
    kept, items = [], []
    times = zip(*(records.columns[name] for name in TIMES), strict=True)
    for i, (item, (start, end)) in enumerate(zip(records.items, times, strict=True)):
        try:
            items.append(segment_of(item, start, end))
            kept.append(i)
        except ValueError as error:
            reject(records.locations[i], str(error), raw_of(item))
    num_rows, records = records.num_rows, records.select(kept)
    records.items, records.num_rows = items, num_rows
    return records


def _read_segments(
    path: Path, options: Mapping[str, Any]
) -> dict[str, list[tuple[float, float, str | None]]]:
    by_name: dict[str, list[tuple[float, float, str | None]]] = {}
    table = open_table(path, **options)
    if len(table.names) != 4:
        raise DataError(f"{path}:1: got columns {', '.join(table.names)}, expected file, start, end, label")
    for number, row in table.rows():
        name, start, end, label = row.values()
        try:
            by_name.setdefault(name, []).append((float(start), float(end), label or None))
        except ValueError:
            reason = f"got times {start!r} and {end!r}, expected seconds"
            options["reject"](f"{path}:{number}", reason, raw_of(row))
    return by_name


def read_textgrids(
    path: Path,
    *,
    audio: Path | None = None,
    silence: str | None = None,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    columns: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read recordings with TextGrids of Praat, whose intervals are labels.

    An item is the recording with the name of a TextGrid: ``anna/01.wav`` for ``anna/01.TextGrid``. The label
    columns have the names of the tiers: for each recording, the intervals as ``(start, end, label)``. The
    columns ``file`` and ``folder`` hold the name without ending (``anna/01``) and the folder (``anna``).

    Args:
        path: A folder of TextGrids, with all folders in it; an archive of them (``.tar``, packed or not); or
            one TextGrid.
        audio: The folder or the ``.tar`` with the recordings. Default: the folder of the TextGrids.
        silence: The label of intervals without text. Default: they have no label, which is missing.
        encoding: The encoding of TextGrids that have no byte order mark.
        unpack_limit: As for `multiseq.data.text_files.open_text`, for a packed archive.
        columns: The tiers to read. Default: all that have intervals.
        reject: What to do about a TextGrid that cannot be read, or has no recording or no such tier.

    Raises:
        DataError: There is no TextGrid, or one cannot be used.
    """
    from multiseq.data import textgrids

    audio = audio or (path if path.is_dir() else path.parent)
    known: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    records = Records([])
    locations: list[str] = []
    for grid in textgrids.grids_of(path, encoding, unpack_limit):
        known = known or by_stem(audio)
        folder, _, _ = grid.name.rpartition("/")
        row: dict[str, Any] = {"file": grid.name, "folder": folder or None}
        try:
            item = recording_of_name(known, audio, grid.name)
            tiers = grid.tiers(encoding)
            wanted = columns or [tier.name for tier in tiers if tier.intervals is not None]
            for name in dict.fromkeys(wanted):
                if name not in row:
                    row[name] = textgrids.segments_of(tiers, name, silence) or None
        except textgrids.GridError as error:
            place = f"{grid.location}:{error.line}" if error.line else grid.location
            reject(place, error.reason, "")
            continue
        except ValueError as error:
            reject(grid.location, str(error), "")
            continue
        records.items.append(item)
        rows.append(row)
        locations.append(grid.location)
    records.locations = locations
    names = dict.fromkeys(name for row in rows for name in row)
    records.columns = {name: [row.get(name) for row in rows] for name in names}
    return records


def read_kaldi(
    path: Path,
    *,
    audio: Path | None = None,
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    columns: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read a data folder of Kaldi: ``wav.scp``, and perhaps ``segments``, ``text``, ``utt2spk`` and the like.

    An item is an utterance: a recording, or a part of it if there are ``segments``. The label columns are
    ``text``, ``speaker`` (of ``utt2spk``), X for each file ``utt2X`` or ``spk2X``, ``utterance`` (its name),
    and ``recording`` if there are segments. Nothing is executed: commands in ``wav.scp`` are refused.

    Args:
        path: The folder.
        audio: Where recordings are that are not in ``path``: the folder that paths in ``wav.scp`` are
            relative to, or, without a ``wav.scp``, a folder or ``.tar`` with recordings of these names.
        encoding: The encoding of all files.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        columns: The columns that are used. An utterance without ``text`` or ``speaker`` is only rejected if
            it is used. Default: all.
        reject: What to do about a line that cannot be used.

    Raises:
        DataError: The folder is none of Kaldi, or a line cannot be used.
    """
    from multiseq.data import kaldi

    labels = kaldi.labels_of(path, encoding, unpack_limit, reject)
    needed = [
        name for name in (kaldi.TEXT, kaldi.SPEAKER) if name in labels and (name in columns or not columns)
    ]
    records = Records([], {})
    locations: list[str] = []
    names: list[str] = []
    more: list[Mapping[str, str]] = []
    seen = set[str]()

    def refuse(location: str, reason: str, raw: str = "") -> None:
        seen.add(raw.split(maxsplit=1)[0] if raw.strip() else "")
        reject(location, reason, raw)

    for one in kaldi.utterances_of(path, audio, encoding, unpack_limit, refuse):
        seen.add(one.name)
        lacks = next((name for name in needed if one.name not in labels[name]), None)
        if lacks is not None:
            file = {kaldi.SPEAKER: "utt2spk"}.get(lacks, lacks)
            reject(
                one.location,
                f"utterance {one.name!r} is not in the file {file}, expected a line for each",
                "",
            )
            continue
        records.items.append(one.item)
        locations.append(one.location)
        names.append(one.name)
        more.append(one.cells)
    for name in needed:
        for utterance, (_, location) in labels[name].items():
            if utterance not in seen:
                reject(location, f"got the utterance {utterance!r}, expected one that has a recording", "")
    records.locations = locations
    records.columns = {kaldi.UTTERANCE: names}
    if any(more):
        records.columns[kaldi.RECORDING] = [cells[kaldi.RECORDING] for cells in more]
    for name, of_utterance in labels.items():
        records.columns[name] = [of_utterance.get(one, ("", ""))[0] or None for one in names]
    return records


def read_timit(
    path: Path,
    *,
    phones: int = 39,
    sa: bool = True,
    test_of: Collection[str] = (),
    dev_of: Collection[str] = (),
    columns: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read TIMIT: recordings with ``.phn`` files, and perhaps ``.wrd`` and ``.txt`` files, beside them.

    An item is a recording. The label columns are ``phones`` and ``words`` (segments in seconds), ``text``,
    ``speaker``, ``dialect``, ``sentence``, ``file`` (the name without ending) and ``split``. The split is
    that of the folder (TRAIN or TEST), or of ``test_of`` and ``dev_of``.

    Args:
        path: The folder of the corpus, or any folder of it.
        phones: How many different sounds: 61 as in the corpus, or folded to 48 or 39 by the table of Lee &
            Hon 1989. Both leave out the glottal stop q: its time has no label.
        sa: Whether to read sa1 and sa2, two sentences that all speakers read. false is usual.
        test_of: Dialects (``dr7``) or speakers (``fvmh0``) whose recordings are test.
        dev_of: Dialects or speakers whose recordings are dev.
        columns: The columns that are used. Default: all.
        reject: What to do about an utterance that cannot be used.

    Raises:
        DataError: There is no ``.phn`` file, a dialect or speaker does not exist, or an utterance cannot be
            used.
    """
    from multiseq.data import timit

    records = Records([], {})
    rows: list[dict[str, Any]] = []
    locations: list[str] = []
    known = set[str]()
    for one in timit.utterances_of(path):
        if isinstance(one, tuple):
            reject(str(one[0]), one[1], "")
            continue
        known |= {one.dialect, one.speaker}
        if not sa and one.sentence in ("sa1", "sa2"):
            continue
        row: dict[str, Any] = {"file": one.name, "speaker": one.speaker, "dialect": one.dialect or None}
        row |= {"sentence": one.sentence, "split": timit.split_of(one, test_of, dev_of)}
        row["text"] = timit.text_of_prompt(one.phones)
        words = one.phones.with_suffix(".WRD" if one.phones.suffix.isupper() else ".wrd")
        try:
            row["phones"] = timit.segments_of(one.phones, timit.FOLDED[phones])
            row["words"] = (timit.segments_of(words) or None) if words.is_file() else None
        except DataError as error:
            location, _, reason = str(error).partition(": ")
            reject(location, reason, "")
            continue
        records.items.append(one.item)
        rows.append(row)
        locations.append(str(one.phones))
    for key, names in (("test_of", test_of), ("dev_of", dev_of)):
        missing = [name for name in names if name not in known]
        if missing:
            raise DataError(
                f"{path}: {key}: {no_such('dialect or speaker', missing[0], sorted(known - {''}))}"
            )
    records.locations = locations
    names = dict.fromkeys(name for row in rows for name in row if not columns or name in (*columns, "split"))
    records.columns = {name: [row[name] for row in rows] for name in names}
    return records


def read_folders(
    path: Path,
    *,
    classes: Collection[str] = (),
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
    suffixes: Collection[str] = (),
    reject: Reject = stop,
) -> Records:
    """Read a folder with a sub-folder for each class, in which each file is an item.

    An item is the text of a file, or its path if ``suffixes`` are given. The label column ``label`` is the
    name of the sub-folder, ``file`` the path of the file in the folder, for example ``pos/0_9.txt``. Files
    of deeper folders belong to the sub-folder too. Items are sorted by path. Hidden files are ignored.

    Args:
        path: The folder.
        classes: The sub-folders to read. Default: all.
        encoding: The encoding of texts.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        suffixes: The endings of files that are items. A warning names files with others.
        reject: What to do about a file that is no text.

    Raises:
        DataError: No such folder, no sub-folder with items in it, or a class without a sub-folder.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder, expected one with a sub-folder for each class")
    folders = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    missing = [name for name in classes if name not in folders]
    if missing:
        raise DataError(f"{path}: {no_such('sub-folder', missing[0], folders)}")
    records = Records([], {"label": [], "file": []}, [])
    others = [p.name for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    locations = []
    for name in sorted(classes) or folders:
        for file in sorted(_files_in(path / name)):
            if suffixes and suffix_of(file) not in suffixes:
                others.append(file.relative_to(path).as_posix())
                continue
            try:
                item = str(file) if suffixes else text_of(file, encoding, unpack_limit).strip()
            except DataError as error:
                location, _, reason = str(error).partition(": ")
                reject(location, reason, "")
                continue
            records.items.append(item)
            locations.append(str(file))
            records.columns["label"].append(name)
            records.columns["file"].append(file.relative_to(path).as_posix())
    if not records.items:
        raise DataError(f"{path}: got no file in a sub-folder, expected a sub-folder for each class")
    if others:
        shown = ", ".join(sorted(others)[:5]) + (" …" if others[5:] else "")
        warnings.warn(f"{path}: {len(others)} other files are left out: {shown}", stacklevel=2)
    records.locations = locations
    return records


def read_files(
    path: Path,
    *,
    others: Sequence[Path],
    classes: list[str],
    encoding: str = "utf-8",
    unpack_limit: int | None = None,
) -> Records:
    """Read a text file for each class, in which each line is an item (text classification).

    The label column is ``label``. Lines of blanks are skipped.

    Args:
        path: The file of the first class.
        others: The files of the other classes.
        classes: The names of the classes, in the order of the files.
        encoding: The encoding of all files.
        unpack_limit: As for `multiseq.data.text_files.open_text`.

    Raises:
        DataError: There is not one name for each file.
    """
    files = [path, *others]
    if len(files) != len(classes):
        raise DataError(f"{path}: got {len(files)} files, expected one for each class: {', '.join(classes)}")
    records = Records([], {"label": []}, locations := [])
    for file, name in zip(files, classes, strict=True):
        for number, line in enumerate(lines_of(file, encoding, unpack_limit), 1):
            if line.strip():
                records.items.append(line.strip())
                records.columns["label"].append(name)
                locations.append(f"{file}:{number}")
    return records


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder and of the folders in it, without hidden ones."""
    files = []
    for inner, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(inner, name) for name in names if not name.startswith(".")]
    return files


def read_networks(
    path: Path,
    *,
    edges: Path,
    features: list[str] | None = None,
    ids: Path | None = None,
    labels: Path | None = None,
    encoding: str = "utf-8",
    separator: str | None = None,
    unpack_limit: int | None = None,
    decimal: str = ".",
    kinds: Mapping[str, Mapping[str, str]] | None = None,
    reject: Reject = stop,
) -> Records:
    """Read graphs from two tables, for node and graph classification or regression.

    The columns are graph, node, … in the table of nodes, and graph, source, target, … in the table of edges.
    A single graph needs no column graph: the columns are then node, …, and source, target, …. If there is no
    column called node, the first is; if there are no columns source and target, the first two after the graph
    are. Nodes have any names, or numbers, that differ within a graph. An item is ``{"nodes": {column:
    values}, "edges": [(source, target)], "edge_columns": {column: values}}``, and ``"names"`` if nodes are
    not just numbered from 0. A column is numeric if all its cells are numbers. If cells are lists of whole
    numbers (``3 17 2045`` or ``[3, 17, 2045]``), these are ids, such as the words of a page; an empty cell is
    an empty list. Otherwise it is categorical. An empty cell in a numeric column is an error.

    Args:
        path: The table of nodes.
        edges: The table of edges. If its first line is an edge, it has no header. Blanks may separate cells.
        features: The columns of nodes that the model sees. The others are label columns: a list with one
            label for each node, None for an empty cell. Without features and ids, it is the number of edges.
        ids: A JSON file ``{"node": [3, 17, 2045], …}`` with the ids of each node of a single graph.
        labels: A table with the labels of a single graph: the name of a node, and label columns.
        encoding: The encoding of all files.
        separator: As for `read_table`, for both tables.
        unpack_limit: As for `read_table`, for both tables.
        decimal: The decimal separator of numbers: a point or a comma.
        kinds: For a trained model, ``{"nodes": {column: "numbers", "ids" or "categories"}, "edges": …}``. A
            column that was categorical in training is read as categorical, even if it contains only digits.
        reject: What to do about a bad row of either table, such as an edge to a node that does not exist.

    Raises:
        DataError: A table cannot be read, or its rows do not form graphs.
    """
    from multiseq.data.graphs import networks

    options: Any = {
        "encoding": encoding, "separator": separator, "unpack_limit": unpack_limit, "reject": reject
    }  # fmt: skip
    return networks.read_graphs(
        path,
        edges,
        open_table(path, **options),
        lambda names: networks.edge_list(edges, names, **options),
        features or [],
        kinds or {},
        decimal,
        reject,
        (ids, networks.read_ids(ids, encoding, unpack_limit)) if ids else None,
        (labels, open_table(labels, **options)) if labels else None,
    )


def read_triples(
    path: Path,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    sheet: str | None = None,
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read facts: a table with one triple in a row, for graph classification and graph to text.

    The first column is the name of the graph, the next three (or the columns called ``head``, ``relation``
    and ``tail``) are the triple. An item is the list of a graph's triples, in the order of the rows. Other
    columns are labels of the graph: one of its rows has the label, or all of them have the same. The name is
    a label column, too.

    Args:
        path: The table.
        encoding: As for `read_table`.
        separator: As for `read_table`.
        sheet: As for `read_table`.
        unpack_limit: As for `read_table`.
        reject: What to do about a row with an empty cell in its triple, or with another label.

    Raises:
        DataError: The file is not a table, or a row does not fit the others.
    """
    table = open_table(
        path,
        encoding=encoding,
        separator=separator,
        sheet=sheet,
        unpack_limit=unpack_limit,
        reject=reject,
    )
    graph, triple = columns_of_triples(path, table.names)
    others = [name for name in table.names if name not in (graph, *triple)]
    graphs: dict[str, list[tuple[str, ...]]] = {}
    labels: dict[str, dict[str, Any]] = {}
    places = Places(path)
    for line, row in table.rows():
        name, cells = row[graph], tuple(row[column].strip() for column in triple)
        new = {column: row[column] for column in others if row[column]}
        other = next((c for c, v in new.items() if labels.get(name, {}).get(c, v) != v), None)
        if not all(cells) or other is not None:
            reason = (
                f"got {other} {new[other]!r} for graph {name!r}, expected {labels[name][other]!r} as before"
                if other is not None
                else f"got an empty cell in {', '.join(triple)}, expected a triple"
            )
            reject(f"{path}:{line}", reason, raw_of(row))
            continue
        if name not in graphs:
            places.lines.append(line)
        graphs.setdefault(name, []).append(cells)
        labels.setdefault(name, {}).update(new)
    records = Records(list(graphs.values()), {graph: list(graphs)}, places)
    records.columns |= {column: [labels[name].get(column) for name in graphs] for column in others}
    records.num_rows = sum(map(len, graphs.values()))
    return records


def read_webnlg(path: Path, *, unpack_limit: int | None = None, reject: Reject = stop) -> Records:
    """Read facts with texts about them as WebNLG has them, for graph to text.

    An item is a list of triples with readable names (`multiseq.data.graphs.webnlg`). The column ``text`` has
    the list of its texts, or None if there are none; ``category``, ``eid`` and ``split`` (``train``, ``dev``
    or ``test``, by the folder) are columns too.

    Args:
        path: The archive, the folder with the splits, or one file of XML.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about an entry with a fact that is no triple.

    Raises:
        DataError: It is no WebNLG data.
    """
    from multiseq.data.graphs import webnlg

    entries = list(webnlg.entries_of(path, unpack_limit, reject))
    columns: dict[str, list[Any]] = {
        name: [getattr(entry, name) for entry in entries] for name in ("category", "eid", "split")
    }
    columns["text"] = [entry.texts or None for entry in entries]
    return Records([entry.facts for entry in entries], columns, [entry.place for entry in entries])


def columns_of_triples(path: Path, names: Sequence[str]) -> tuple[str, list[str]]:
    """The columns that hold the graph's name and the triple. Raises DataError without them."""
    graph, *others = names
    triple = list(TRIPLE) if set(TRIPLE) <= set(others) else others[:3]
    if len(triple) < 3 or graph in TRIPLE:
        raise DataError(
            f"{path}:1: got the columns {', '.join(names)}; expected the graph's name, then head, "
            "relation, tail"
        )
    return graph, triple


def read_sdf(
    path: Path, *, encoding: str = "utf-8", unpack_limit: int | None = None, reject: Reject = stop
) -> Records:
    """Read molecules from an SDF file, with RDKit. Its properties are the label columns.

    An item is the SMILES of a molecule: coordinates are left out. The column ``title`` is the first line of
    its MOL block.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a molecule that RDKit cannot read.

    Raises:
        DataError: The file is no text in this encoding.
    """
    from multiseq.data.graphs import sdf

    places = Places(path)
    items: list[Any] = []
    properties: list[dict[str, str]] = []
    for entry in sdf.entries_of(path, encoding, unpack_limit):
        try:
            items.append(sdf.smiles_of(entry))
        except ValueError as error:
            reject(f"{path}:{entry.line}", str(error), entry.block)
            continue
        properties.append(entry.properties)
        places.lines.append(entry.line)
    names = dict.fromkeys(name for one in properties for name in one)
    return Records(items, {name: [one.get(name) or None for one in properties] for name in names}, places)


def read_graphml(path: Path, *, features: list[str], reject: Reject = stop) -> Records:
    """Read networks in GraphML, with networkx, for node and graph classification or regression.

    The attributes of a graph are label columns, and so are those of its nodes that are no features (a list
    with one label for each node). All attributes of edges are seen by the model.

    Args:
        path: A file, or a folder of files that end in ``.graphml``.
        features: The attributes of nodes that the model sees. ``degree``, the number of a node's edges, is
            always there.
        reject: What to do about a file or a graph that cannot be read.

    Raises:
        DataError: There is no file, or it is no GraphML, or a node lacks a feature.
    """
    from multiseq.data.graphs import graphml

    all_labels: list[dict[str, Any]] = []
    records = Records([])
    locations: list[str] = []
    for file in graphml.files_of_graphs(path):
        location = str(file)
        try:
            for location, graph in graphml.networks_of(file):
                item, labels = graphml.item_of(graph, features)
                records.items.append(item)
                all_labels.append(labels)
                locations.append(location)
        except ValueError as error:
            reject(location, str(error).removeprefix(f"{location}: "), "")
    records.locations = locations
    names = dict.fromkeys(name for one in all_labels for name in one)
    records.columns = {name: [one.get(name) for one in all_labels] for name in names}
    return records


def read_npz(path: Path) -> Records:
    """Read one network from an ``.npz`` of arrays, for node classification or regression.

    The arrays are ``node_features`` (nodes, columns), ``node_labels`` (the label column ``label``) and
    ``edges`` (edges, 2). With ``split_file``, the same file gives the splits: ``train_masks``, ``val_masks``
    and ``test_masks`` (folds, nodes). More than 64 columns of only zeros and ones are read as ids.

    Args:
        path: The file.

    Raises:
        DataError: It is no such file. A pickle inside is refused.
    """
    from multiseq.data.graphs import network_files

    item, labels = network_files.network_of(path)
    return Records([item], {"label": [labels]}, [str(path)])


def read_planetoid(path: Path) -> Records:
    """Read a citation network of planetoid, for node classification: Cora, CiteSeer, PubMed.

    The files are pickles. Arrays, dictionaries, lists and sparse matrices are accepted, and nothing that a
    pickle says is run. The label columns are ``label`` (``0``, ``1``, …) and ``split``, the public split.
    Nodes outside of it are only neighbours.

    Args:
        path: One of the files, or their common name: ``ind.cora``.

    Raises:
        DataError: A file is missing, or is not what it should be.
    """
    from multiseq.data.graphs import planetoid

    item, columns = planetoid.network_of(path)
    return Records([item], {name: [values] for name, values in columns.items()}, [str(path)])


def read_tu(path: Path) -> Records:
    """Read a folder of TU Dortmund, for graph classification or regression.

    ``DS_A.txt`` has the edges and ``DS_graph_indicator.txt`` the graph of each node. The label columns are
    ``label`` (``DS_graph_labels.txt``) and ``target`` (``DS_graph_attributes.txt``); the labels and
    attributes of nodes and edges are features.

    Args:
        path: The folder, or its file ``DS_A.txt``.

    Raises:
        DataError: A file is missing or has the wrong number of lines, or an edge leaves its graph.
    """
    from multiseq.data.graphs import network_files

    items, columns = network_files.graphs_of_folder(path)
    return Records(list(items), columns, [f"{path}: graph {i}" for i in range(1, len(items) + 1)])


def read_rdkit_logp(path: Path) -> Records:
    """Read SMILES from a file inside RDKit; see `multiseq.data.graphs.molecules.read_molecules`.

    The column ``logp`` is RDKit's estimate of the octanol-water logP (Crippen), for graph regression.
    """
    return read_molecules(path)


READERS: dict[str, Callable[..., Records]] = {
    "conllu": read_conllu,
    "conll": read_conll,
    "table": read_table,
    "lines": read_lines,
    "labelled": read_labelled,
    "jsonl": read_json_lines,
    "recordings": read_recordings,
    "folders": read_folders,
    "files": read_files,
    "textgrid": read_textgrids,
    "kaldi": read_kaldi,
    "timit": read_timit,
    "networks": read_networks,
    "triples": read_triples,
    "webnlg": read_webnlg,
    "sdf": read_sdf,
    "graphml": read_graphml,
    "npz": read_npz,
    "planetoid": read_planetoid,
    "tu": read_tu,
    "rdkit-logp": read_rdkit_logp,
}
"""Name of a format in a recipe -> its reader."""
