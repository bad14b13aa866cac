"""TextGrids of Praat: both text forms, encodings, archives, and one clear error for each mistake."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from multiseq.adapters.speech import SpeechAdapter
from multiseq.data.archives import AudioFile
from multiseq.data.bad_rows import BadRows
from multiseq.data.readers import read_textgrids
from multiseq.data.records import DataError
from multiseq.data.textgrids import GridError, segments_of, tiers_of
from multiseq.runs.writers import text_grid

LONG = text_grid(
    [("phones", [(0.0, 0.25, "h#"), (0.25, 0.5, 'say "a"'), (0.5, 1.0, "")]), ("words", [(0.0, 1.0, "ä")])]
)
"""Praat's long form, as this library writes it: line 12 is the class of the first tier."""

SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1
<exists>
2
"IntervalTier"
"phones"
0
1
3
0
0.25
"h#"
0.25
0.5
"say ""a\"""
0.5
1
""
"IntervalTier"
"words"
0 1 1
0 1 "ä" ! a comment with "quotes
"""
PHONES = [(0.0, 0.25, "h#"), (0.25, 0.5, 'say "a"'), (0.5, 1.0, None)]

POINTS = """"ooTextFile" "TextGrid" 0 1 <exists> 2
"TextTier" "clicks" 0 1 1 0.5 "x"
"IntervalTier" "p" 0 1 1 0 1 "a"
"""


def write(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return path


def one(tmp_path: Path, content: str, encoding: str = "utf-8") -> Path:
    """A folder with a recording and its TextGrid."""
    (tmp_path / "a.wav").write_bytes(b"")
    write(tmp_path / "a.TextGrid", content, encoding)
    return tmp_path


@pytest.mark.parametrize("content", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_both_forms_in_all_encodings(tmp_path: Path, content: str, encoding: str, end: str) -> None:
    if end == "\r":
        content = content.replace(' ! a comment with "quotes', "")  # a comment ends with a line feed
    records = read_textgrids(one(tmp_path, content.replace("\n", end), encoding))
    assert records.items == [str(tmp_path / "a.wav")]
    assert records.columns == {
        "file": ["a"], "folder": [None], "phones": [PHONES], "words": [[(0.0, 1.0, "ä")]],
    }  # fmt: skip
    assert records.locations == [str(tmp_path / "a.TextGrid")]


def test_latin_1_is_named(tmp_path: Path) -> None:
    folder = one(tmp_path, LONG, "latin-1")
    with pytest.raises(
        DataError,
        match=r'a\.TextGrid:36: got text that is not utf-8; give its encoding, as in encoding = "latin-1"',
    ):
        read_textgrids(folder)
    assert read_textgrids(folder, encoding="latin-1").columns["words"] == [[(0.0, 1.0, "ä")]]


def test_empty_intervals_are_silence_by_choice(tmp_path: Path) -> None:
    records = read_textgrids(one(tmp_path, LONG), silence="sil", columns=["phones"])
    assert records.columns["phones"][0][-1] == (0.5, 1.0, "sil")
    assert "words" not in records.columns


def test_recordings_have_the_same_name_in_folders_or_archives(tmp_path: Path) -> None:
    for name in ("ann/1", "ben/1", "ben/2"):
        write(tmp_path / "grids" / f"{name}.TextGrid", LONG)
        write(tmp_path / "sound" / f"{name}.flac", "")
    records = read_textgrids(tmp_path / "grids", audio=tmp_path / "sound")
    names = ["ann/1", "ben/1", "ben/2"]
    assert records.items == [str(tmp_path / "sound" / f"{name}.flac") for name in names]
    assert records.columns["folder"] == ["ann", "ben", "ben"]
    with tarfile.open(tmp_path / "g.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "grids", "./")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "sound", "./")
    packed = read_textgrids(tmp_path / "g.tar.xz", audio=tmp_path / "s.tar")
    assert packed.items == [AudioFile(str(tmp_path / "s.tar"), f"{name}.flac") for name in names]
    assert packed.columns == records.columns
    assert packed.locations[0] == f"{tmp_path / 'g.tar.xz'}: ann/1.TextGrid"


def test_a_recording_of_another_folder_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "grids/ann/1.TextGrid", LONG)
    write(tmp_path / "sound/ben/1.wav", "")
    with pytest.raises(
        DataError, match=r"ann/1\.TextGrid: no recording 'ann/1' in .*sound, expected one with"
    ):
        read_textgrids(tmp_path / "grids", audio=tmp_path / "sound")
    write(tmp_path / "sound/1.wav", "")
    flat = read_textgrids(tmp_path / "grids", audio=tmp_path / "sound")
    assert flat.items == [str(tmp_path / "sound/1.wav")]
    write(tmp_path / "sound/1.flac", "")
    with pytest.raises(DataError, match=r"'ann/1' could be .*1\.flac or .*1\.wav, expected one; rename one"):
        read_textgrids(tmp_path / "grids", audio=tmp_path / "sound")


def cut(content: str, line: str) -> str:
    return content[: content.index(line)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            cut(LONG, '            text = "say'),
            r":22: ends in number 2 of 3 of tier 'phones', expected the text of",
        ),
        (LONG[: LONG.index('say "') + 3], r":22: got a quote that is never closed; the file was cut off"),
        (
            LONG.replace("xmax = 0.5", "xmax = half"),
            r":22: got 'say \"a\"' in number 2 of 3 .*expected a time in sec",
        ),
        (
            LONG.replace("xmin = 0.25", "xmin = 0.2"),
            r":20: tier 'phones': the interval from 0\.2 s overlaps the one",
        ),
        (
            LONG.replace("xmin = 0.25", "xmin = 0.3"),
            r":20: tier 'phones': .* leaves a gap before it, which ends at 0",
        ),
        (
            LONG.replace("xmax = 0.5", "xmax = 0.1"),
            r":20: .*got an interval from 0\.25 to 0\.1 s, expected start <=",
        ),
        (LONG.replace('"phones"', '"Phones"'), r"no tier 'phones', expected one of 'Phones', 'words'"),
        (LONG.replace('"words"', '"phones"'), r"got 2 tiers 'phones', expected one"),
        (POINTS.replace("clicks", "phones"), r"tier 'phones' has points in time.*; tiers of intervals: 'p'"),
        ("[data]\n", r':1: expected File type = "ooTextFile"'),
        ('"ooTextFile" "Pitch 1"', r':1: expected File type = "ooTextFile" and Object class = "TextGrid"'),
        (
            "ooBinaryFile\bTextGrid",
            ":1: got a binary TextGrid, expected an ordinary text file; open it in Praat, and",
        ),
        (
            '"Praat chronological TextGrid text file"',
            ":1: got a chronological TextGrid, expected an ordinary text file",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=r"a\.TextGrid:? ?" + message):
        read_textgrids(one(tmp_path, content), columns=["phones"])


def test_points_are_read_over() -> None:
    tiers = tiers_of(POINTS)
    assert [(tier.name, tier.intervals is None) for tier in tiers] == [("clicks", True), ("p", False)]
    assert segments_of(tiers, "p") == [(0.0, 1.0, "a")]
    assert tiers_of('"ooTextFile" "TextGrid" 0 1 <absent>') == []
    with pytest.raises(GridError, match="no tier 'p', expected one of none"):
        segments_of([], "p")


def test_bad_files_are_left_out_and_counted(tmp_path: Path) -> None:
    one(tmp_path, LONG)
    write(tmp_path / "b.TextGrid", LONG)  # without a recording
    write(tmp_path / "c.TextGrid", LONG[:250])
    (tmp_path / "c.wav").touch()
    bad = BadRows()
    assert len(read_textgrids(tmp_path, reject=bad.add).items) == 1
    assert [row.reason.split(",")[0] for row in bad.rows] == [
        f"no recording 'b' in {tmp_path}", "ends in number 1 of 3 of tier 'phones'",
    ]  # fmt: skip


@pytest.mark.skipif("MULTISEQ_DATA" not in os.environ, reason="MULTISEQ_DATA names no folder with LJSpeech")
def test_the_last_interval_of_a_real_textgrid_is_cut() -> None:
    """LJ001-0042 ends 0.78 s before its TextGrid does."""
    folder = Path(os.environ["MULTISEQ_DATA"], "speech_asr/LJSpeech_part1")
    records = read_textgrids(
        folder / "textgrids_mfa.tar.xz", audio=folder / "audio_flac16k.tar", silence="sil", columns=["phones"]
    )
    assert len(records.items) == 385
    number = records.columns["file"].index("LJ001-0042")
    segments = records.columns["phones"][number]
    adapter = SpeechAdapter([0.0] * 5, [1.0] * 5, 8)
    [example] = adapter.prepare(records.items[number])
    labels = adapter.align(segments, example)
    assert len(labels) == adapter.num_vectors(example) == 334  # 6.67 s
    assert segments[-1][1] == 7.45
    assert None not in labels


def test_a_folder_without_textgrids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no TextGrid in it, expected TextGrids of Praat"):
        read_textgrids(tmp_path)
    with pytest.raises(DataError, match=r"x\.tar: cannot be read .*expected a folder of TextGrids"):
        read_textgrids(write(tmp_path / "x.tar", "nothing"))
    with pytest.raises(DataError, match="no such file or folder"):
        read_textgrids(tmp_path / "y", audio=tmp_path)
