"""Another network in the place of the encoder, on data of speech: it trains and is scored, on a few items."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy import word_times
from benchmarks.accuracy.beside import Plan
from benchmarks.accuracy.timit_lstm import lstm
from benchmarks.speech import conformer, ecapa, whisper
from multiseq import pretrained_speech
from multiseq.pretrained.stem import PretrainedStem
from multiseq.results import Spoken, Text
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run
from multiseq.vectors import VectorSets
from tests.pretrained.speech_tiny import noise, write_speech_folder

RECIPE = Path(word_times.__file__).with_name("timit-words.toml")
SMALL = ("encoder.dim=24", "encoder.depth=1", "encoder.heads=2", "training.steps=2")


def test_an_lstm_in_the_place_of_the_encoder(data_dir: Path) -> None:
    plan = Plan("timit", data_dir / "speech_phones/timit_sample_nltk", quick=True)
    assert 0 <= lstm(plan, {"train": None, "dev": None, "test": None}) < 1


def test_a_conformer_in_the_place_of_the_encoder(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan("mboshi", data_dir / "speech_asr/mboshi", quick=True)
    rate = conformer.conformer(plan, {"train": None, "dev": None, "test": None})
    assert f"ConformerEncoder: character_error_rate {rate:.4f}, word_error_rate" in capsys.readouterr().out
    assert rate > 0


def test_a_conformer_reads_each_set_by_its_length() -> None:
    """Attention does not see padding, and a set that is not padded is as alone."""
    torch.manual_seed(0)
    encoder = conformer.ConformerEncoder(8, 1, 2).eval()
    long, short = torch.randn(90, 8), torch.randn(40, 8)
    together = encoder(VectorSets.from_list([long, short])).unpack()
    torch.testing.assert_close(together[0], encoder(VectorSets.from_list([long])).values)
    alone = encoder(VectorSets.from_list([short])).values
    torch.testing.assert_close(together[1][:25], alone[:25])  # further than the kernel from the padding
    assert conformer.ConformerEncoder.from_config(encoder.config()).config() == encoder.config()


def test_whisper_of_transformers_in_the_place_of_ours(tmp_path: Path, data_dir: Path) -> None:
    folder = write_speech_folder(tmp_path, "whisper")
    adapter = pretrained_speech(folder, dim=10).eval()
    assert isinstance(adapter.stem, PretrainedStem)
    theirs = whisper.PaddedWhisper(adapter.stem, whisper.encoder_of(str(folder))).eval()
    features = [adapter.prepare((noise(30 * 16000, seed), 16000))[0].log_mel for seed in (0, 1)]
    rows, lengths = torch.cat(features), [len(of_one) for of_one in features]
    with torch.no_grad():
        got, expected = theirs.encode(rows, lengths), adapter.stem.encode(rows, lengths)
        short = theirs.encode(rows[:500], [300, 200])
    torch.testing.assert_close(got.values, expected.values, atol=1e-4, rtol=0)
    assert list(short.lengths) == [150, 100]
    assert len(theirs.layers()) == len(adapter.stem.layers())
    changes = (*whisper.CHANGES, f"adapters.speech.start={folder}")
    plan = Plan(whisper.RECIPE, data_dir / "speech_phones/timit_sample_nltk", quick=True, changes=changes)
    assert 0 <= whisper.padded(plan, {"train": None, "dev": None, "test": None}) < 1


def test_ecapa_in_the_place_of_stem_and_encoder(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan("speechocean-speakers", data_dir / "speech_speaker/speechocean762", quick=True)
    assert 0 <= ecapa.ecapa(plan, {"train": None, "dev": None, "test": None}) <= 1
    assert "EcapaTDNN: equal error rate on new speakers" in capsys.readouterr().out


def test_ecapa_does_not_see_padding() -> None:
    torch.manual_seed(0)
    network = ecapa.EcapaTDNN(20, 8).eval()
    sets = [torch.randn(length, 20) for length in (31, 50, 7)]
    together = network(VectorSets.from_list(sets))
    assert list(together.lengths) == [1, 1, 1]
    for row, one in zip(together.values, sets, strict=True):
        torch.testing.assert_close(row, network(VectorSets.from_list([one])).values[0])


def test_statistics_by_hand() -> None:
    """1 and 3 with weights 0.75 and 0.25: the mean is 1.5, the variance 0.75 * 0.25 + 0.25 * 2.25."""
    mean, deviation = ecapa.statistics(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[0.75, 0.25]]]))
    assert mean.item() == pytest.approx(1.5)
    assert deviation.item() == pytest.approx(0.75**0.5)


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
