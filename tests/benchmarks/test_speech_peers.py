"""Another network in the place of the encoder, on data of speech: it trains and is scored, on a few items."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.accuracy import word_times
from benchmarks.accuracy.beside import Plan
from benchmarks.accuracy.timit_lstm import lstm
from multiseq.results import Spoken, Text
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run

RECIPE = Path(word_times.__file__).with_name("timit-words.toml")
SMALL = ("encoder.dim=24", "encoder.depth=1", "encoder.heads=2", "training.steps=2")


def test_an_lstm_in_the_place_of_the_encoder(data_dir: Path) -> None:
    plan = Plan("timit", data_dir / "speech_phones/timit_sample_nltk", quick=True)
    assert 0 <= lstm(plan, {"train": None, "dev": None, "test": None}) < 1


def test_word_times_beside_marks_by_hand(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_dir / "speech_phones/timit_sample_nltk"
    train_run(read(RECIPE, SMALL), tmp_path / "run", data=data, progress=False, say=lambda _: None)
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["word_times", str(tmp_path / "run"), "--data", str(data)])
    word_times.main()
    counts, _, _, ours, theirs = capsys.readouterr().out.strip().splitlines()
    assert counts.split()[1] == "recordings,"
    assert ours.split("|")[2:7] == theirs.split("|")[2:7]  # the same paths


def test_distances_of_words() -> None:
    text = Text("a b", 0.0, (Spoken("a", 1.0, 2.0, 1.0), Spoken("b", 3.0, 3.5, 1.0)))
    starts, ends = word_times.distances([text], [[(1.25, 2.0, "a"), (2.5, 4.0, "b")]])
    assert (starts, ends) == ([0.25, 0.5], [0.0, 0.5])
