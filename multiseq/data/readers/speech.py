"""Readers of recordings: tables of them, TextGrids, Kaldi, TIMIT."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from multiseq.checks import no_such
from multiseq.data.bad_rows import Reject, raw_of, stop
from multiseq.data.readers.tables import read_table
from multiseq.data.recordings import TIMES, by_stem, find_recordings, recording_of_name, segment_of
from multiseq.data.records import DataError, Records
from multiseq.data.tables import open_table

__all__ = [
    "read_kaldi",
    "read_recordings",
    "read_textgrids",
    "read_timit",
    "with_times",
]


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
