"""Data folders of Kaldi: what each file says, segments, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from multiseq.data.bad_rows import BadRows
from multiseq.data.readers import read_kaldi, read_recordings
from multiseq.data.recordings import AudioSegment
from multiseq.data.records import DataError

FILES = {
    "wav.scp": "u1 audio/1.wav\nu2\taudio/two words.wav\n",
    "text": "u1 call me  back\nu2\n",
    "utt2spk": "u1 ann\nu2 ben\n",
    "spk2utt": "ann u1\nben u2\n",
    "spk2gender": "ann f\n",
    "utt2dur": "u2 1.5\n",
}


def folder(path: Path, **changes: str | None) -> Path:
    """A data folder. ``wav_scp`` is its wav.scp; None leaves a file out."""
    named = {name.replace("wav_scp", "wav.scp"): content for name, content in changes.items()}
    for name, content in {**FILES, **named}.items():
        if content is not None:
            (path / name).write_text(content, encoding="utf-8")
    return path


def test_each_file_is_a_column(tmp_path: Path) -> None:
    records = read_kaldi(folder(tmp_path))
    assert records.items == [str(tmp_path / "audio/1.wav"), str(tmp_path / "audio/two words.wav")]
    assert records.columns == {
        "utterance": ["u1", "u2"], "text": ["call me  back", None], "speaker": ["ann", "ben"],
        "gender": ["f", None], "dur": [None, "1.5"],
    }  # fmt: skip
    assert records.locations == [f"{tmp_path / 'wav.scp'}:1", f"{tmp_path / 'wav.scp'}:2"]
    assert read_kaldi(tmp_path / "wav.scp", audio=tmp_path.parent).items[0] == str(
        tmp_path.parent / "audio/1.wav"
    )


def test_segments_are_parts_of_recordings(tmp_path: Path) -> None:
    folder(tmp_path, wav_scp="r /x/r.flac\n", segments="u1 r 0.5 1.25\nu2 r 2 -1\n")
    records = read_kaldi(tmp_path)
    assert records.items == [AudioSegment("/x/r.flac", 0.5, 1.25), AudioSegment("/x/r.flac", 2.0, None)]
    assert records.columns["recording"] == ["r", "r"]
    assert records.locations[1] == f"{tmp_path / 'segments'}:2"


def test_without_wav_scp_recordings_have_the_names_of_utterances(tmp_path: Path) -> None:
    folder(tmp_path, wav_scp=None)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann/u1.opus").touch()
    (tmp_path / "u2.wav").touch()
    assert read_kaldi(tmp_path).items == [str(tmp_path / "ann/u1.opus"), str(tmp_path / "u2.wav")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"wav_scp": "u1 sox a.mp3 -t wav - |\nu2 b.wav\n"},
            r"wav\.scp:1: got the command 'sox .*, which is not exec",
        ),
        ({"wav_scp": "u1 |cat a.wav\nu2 b.wav\n"}, r"wav\.scp:1: got the command"),
        (
            {"wav_scp": "u1 raw.ark:1042\nu2 b.wav\n"},
            r"wav\.scp:1: got 'raw\.ark:1042', a place in an archive",
        ),
        ({"wav_scp": "u1 ark,t:x\nu2 b.wav\n"}, r"wav\.scp:1: .*a place in an archive"),
        ({"wav_scp": "u1 -\nu2 b.wav\n"}, r"wav\.scp:1: "),
        ({"wav_scp": "u1\nu2 b.wav\n"}, r"wav\.scp:1: got no path"),
        ({"wav_scp": "u1 a.wav\nu1 b.wav\n"}, r"wav\.scp:2: got 'u1' a second time"),
        (
            {"text": "u1 yes\n"},
            r"wav\.scp:2: utterance 'u2' is not in the file text, expected a line for each",
        ),
        ({"utt2spk": "u1 ann\n"}, r"wav\.scp:2: utterance 'u2' is not in the file utt2spk"),
        (
            {"text": FILES["text"] + "u3 no\n"},
            r"text:3: got the utterance 'u3', expected one that has a recording",
        ),
        (
            {"segments": "u1 u1 1 1\nu2 u2 0 1\n"},
            r"segments:1: got a segment from 1 to 1 s, expected 0 <= start < end",
        ),
        ({"segments": "u1 u1 2 1\nu2 u2 0 1\n"}, r"segments:1: got a segment from 2 to 1 s"),
        ({"segments": "u1 u1 -1 1\nu2 u2 0 1\n"}, r"segments:1: got a segment from -1 to 1 s"),
        ({"segments": "u1 u1 nan 1\nu2 u2 0 1\n"}, r"segments:1: got a segment from nan to 1 s"),
        ({"segments": "u1 u1 a b\nu2 u2 0 1\n"}, r"segments:1: got the times 'a' and 'b', expected seconds"),
        (
            {"segments": "u1 u1 0 1 A\nu2 u2 0 1\n"},
            r"segments:1: got 5 fields, expected utterance, recording",
        ),
        (
            {"segments": "u1 x 0 1\nu2 u2 0 1\n"},
            r"segments:1: got the recording 'x', expected one of .*wav\.scp",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_kaldi(folder(tmp_path, **changes))
    bad = BadRows()
    kept = len(read_kaldi(tmp_path, reject=bad.add).items)
    assert kept == (2 if "text:3" in message else 1)
    assert re.search(message, f"{bad.rows[0].location}: {bad.rows[0].reason}")


def test_a_command_behind_segments_names_its_line(tmp_path: Path) -> None:
    folder(tmp_path, wav_scp="r sph2pipe r.sph |\n", segments="u1 r 0 1\nu2 r 1 2\n")
    with pytest.raises(DataError, match=r"segments:1: got the command .*\(.*wav\.scp:1\)"):
        read_kaldi(tmp_path)


def test_labels_that_are_not_used_may_be_missing(tmp_path: Path) -> None:
    records = read_kaldi(folder(tmp_path, text="u1 yes\nu9 no\n"), columns=["speaker"])
    assert records.columns["text"] == ["yes", None]


@pytest.mark.skipif(
    "MULTISEQ_DATA" not in os.environ, reason="MULTISEQ_DATA names no folder with speechocean762"
)
def test_a_real_data_folder() -> None:
    folder = Path(os.environ["MULTISEQ_DATA"], "speech_speaker/speechocean762")
    records = read_kaldi(folder / "test", audio=folder)
    assert len(records.items) == 2500
    assert {name: len(set(values)) for name, values in records.columns.items() if name != "text"} == {
        "utterance": 2500, "speaker": 125, "age": 28, "gender": 2,
    }  # fmt: skip
    assert str(records.items[0]).startswith(str(folder / "audio_test_opus.tar"))


def test_a_folder_that_is_none_of_kaldi(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no list of recordings, expected a data folder of Kaldi, with wav\.scp"
    ):
        read_kaldi(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_kaldi(tmp_path / "x")


def test_a_table_with_start_and_end_has_parts_of_recordings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("file,start,end,label\na.wav,0.5,1,x\na.wav,,,y\na.wav,2,,z\na.wav,2,1,z\n")
    with pytest.raises(DataError, match=r"a\.csv:5: got '2' in the column start and '1' in the column end"):
        read_recordings(path)
    bad = BadRows()
    records = read_recordings(path, reject=bad.add)
    file = str(tmp_path / "a.wav")
    assert records.items == [AudioSegment(file, 0.5, 1.0), file, AudioSegment(file, 2.0)]
    assert records.columns["label"] == ["x", "y", "z"]
    assert len(bad.rows) == 1
