"""Another network in the place of the encoder, on data of speech: it trains and is scored, on a few items."""

from __future__ import annotations

from pathlib import Path

from benchmarks.accuracy.beside import Plan
from benchmarks.accuracy.timit_lstm import lstm


def test_an_lstm_in_the_place_of_the_encoder(data_dir: Path) -> None:
    plan = Plan("timit", data_dir / "speech_phones/timit_sample_nltk", quick=True)
    assert 0 <= lstm(plan, {"train": None, "dev": None, "test": None}) < 1
