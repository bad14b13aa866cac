"""TIMIT: its folders, its labels, what is folded, what is refused, and the recipe that `init` writes."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from multiseq.cli import app
from multiseq.data import DataError
from multiseq.data.readers import read_timit
from multiseq.data.timit import FOLDED

LEE_HON = (
    "aa ae ah aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh sil t th uh uw v w y z"
)


def utterance(stem: Path, phones: str = "0 800 h#\n800 2400 ix\n2400 3200 q\n", suffix: str = ".wav") -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(stem.with_suffix(suffix), np.zeros(3200, dtype=np.float32), 16000)
    stem.with_suffix(".phn").write_text(phones)
    stem.with_suffix(".wrd").write_text("800 3200 in\n")
    stem.with_suffix(".txt").write_text("0 3200 In.\n")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """As NLTK has it: a folder for each speaker."""
    for name in ("dr1-fvmh0/sa1", "dr1-fvmh0/sx9", "dr7-madd0/si3"):
        utterance(tmp_path / name, suffix=".flac")
    return tmp_path


def test_the_folds_of_lee_and_hon() -> None:
    assert [len({label for label in FOLDED[n].values() if label}) for n in (61, 48, 39)] == [61, 48, 39]
    assert {label for label in FOLDED[39].values() if label} == set(LEE_HON.split())
    together = {
        39: "ao aa, ax-h ah, axr er, em m, en n, eng ng, el l, ux uw, zh sh, ix ih, hv hh, nx n, h# sil"
    }
    together[48] = (
        "ao ao, ax-h ax, axr er, em m, en en, eng ng, el el, ux uw, zh zh, ix ix, hv hh, epi epi, bcl vcl"
    )
    for num, pairs in together.items():
        assert [FOLDED[num][a] for a, _ in map(str.split, pairs.split(", "))] == [
            b for _, b in map(str.split, pairs.split(", "))
        ]
    assert (FOLDED[48]["q"], FOLDED[39]["q"], FOLDED[61]["q"]) == (None, None, "q")
    assert [FOLDED[39][label] for label in ("bcl", "tcl", "epi", "pau")] == ["sil"] * 4


def test_what_is_read(corpus: Path) -> None:
    records = read_timit(corpus)
    assert [Path(item).relative_to(corpus).as_posix() for item in records.items] == [
        "dr1-fvmh0/sa1.flac",
        "dr1-fvmh0/sx9.flac",
        "dr7-madd0/si3.flac",
    ]
    assert records.column("phones")[0] == [(0.0, 0.05, "sil"), (0.05, 0.15, "ih"), (0.15, 0.2, None)]
    assert read_timit(corpus, phones=61).column("phones")[0][1:] == [(0.05, 0.15, "ix"), (0.15, 0.2, "q")]
    assert records.column("words")[0] == [(0.05, 0.2, "in")]
    assert records.column("text") == ["In."] * 3
    assert records.column("speaker") == ["fvmh0", "fvmh0", "madd0"]
    assert records.column("dialect") == ["dr1", "dr1", "dr7"]
    assert records.column("split") == ["train"] * 3
    assert records.locations[2] == str(corpus / "dr7-madd0" / "si3.phn")
    chosen = read_timit(corpus, sa=False, test_of=["dr7"], dev_of=["fvmh0"])
    assert chosen.column("sentence") == ["sx9", "si3"]
    assert chosen.column("split") == ["dev", "test"]
    assert set(read_timit(corpus, columns=["phones"]).columns) == {"phones", "split"}
    with pytest.raises(DataError, match="test_of: no dialect or speaker 'dr9'"):
        read_timit(corpus, test_of=["dr9"])


def test_the_folders_of_the_corpus(tmp_path: Path) -> None:
    """TRAIN/DR1/FCJF0/SA1.PHN, with a copy of the recording that every program reads."""
    folder = tmp_path / "TEST" / "DR2" / "MDAB0"
    utterance(folder / "sx1")
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.upper())
    os.rename(folder / "SX1.WAV", folder / "SX1.WAV.wav")
    (folder / "SX1.WAV").write_bytes(b"NIST_1A\n")
    records = read_timit(tmp_path)
    assert records.items == [str(folder / "SX1.WAV.wav")]
    cells = {name: values[0] for name, values in records.columns.items()}
    assert (cells["speaker"], cells["dialect"], cells["split"]) == ("mdab0", "dr2", "test")
    assert (cells["text"], cells["words"]) == ("In.", [(0.05, 0.2, "in")])
    assert read_timit(folder).column("speaker") == ["mdab0"]


def test_what_is_wrong(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"no \.phn file in it, expected TIMIT"):
        read_timit(_empty(corpus))
    utterance(corpus / "dr1-fvmh0" / "sx9", "0 800 h#\n800 2400 xx\n", ".flac")
    with pytest.raises(DataError, match=r"sx9\.phn:2: got the sound 'xx', expected one of TIMIT's 61"):
        read_timit(corpus)
    utterance(corpus / "dr1-fvmh0" / "sx9", "0 0.5 h#\n", ".flac")
    with pytest.raises(DataError, match=r"sx9\.phn:1: got '0 0\.5 h#', expected first sample"):
        read_timit(corpus)
    (corpus / "dr7-madd0" / "si3.flac").unlink()
    bad: list[str] = []
    records = read_timit(corpus, reject=lambda location, reason, raw: bad.append(f"{location}: {reason}"))
    assert len(records.items) == 1
    assert "no recording of this name beside it" in bad[1]


def _empty(corpus: Path) -> Path:
    (corpus / "empty").mkdir()
    return corpus / "empty"


@pytest.mark.skipif("MULTISEQ_DATA" not in os.environ, reason="MULTISEQ_DATA is not set")
def test_the_sample_of_nltk() -> None:
    folder = Path(os.environ["MULTISEQ_DATA"]) / "speech_phones" / "timit_sample_nltk"
    records = read_timit(folder, sa=False, test_of=["dr7", "dr8"], dev_of=["fapb0", "mbma1"])
    splits = records.column("split")
    assert [splits.count(split) for split in ("train", "dev", "test")] == [80, 16, 32]
    labels = {label for segments in records.column("phones") for _, _, label in segments}
    assert labels == {*LEE_HON.split(), None}


def test_init_recognises_it(corpus: Path) -> None:
    for name in ("dr2-faem0", "dr3-falk0", "dr4-maeb0", "dr5-mbgt0", "dr6-mbma1"):
        utterance(corpus / name / "sx1", suffix=".flac")
    result = CliRunner().invoke(app, ["init", str(corpus), "--out", str(corpus / "new.toml")])
    assert result.exit_code == 0, result.output
    tables = tomllib.loads((corpus / "new.toml").read_text())
    [spec] = tables["data"].values()
    assert (spec["format"], spec["sa"], spec["group"]) == ("timit", False, "speaker")
    assert tables["tasks"]["phones"]["column"] == "phones"
    assert tables["adapters"]["speech"]["subsample"] == 1
