"""The command that verifies voices of a run which training has never heard: its split, and its figures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks.speech import voices
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run

RECIPE = Path(voices.__file__).with_name("speechocean-voices.toml")
SMALL = ("encoder.dim=16", "encoder.depth=1", "encoder.heads=2", "training.steps=10")
SPEAKERS = [f"s{number}" for number in range(12) for _ in range(8)]


def test_speakers_are_kept_out() -> None:
    split = voices.split_of(SPEAKERS, kept=3, each=2)
    rows = {name: split[name] for name in ("train", "dev", "test")}
    assert sorted(row for numbers in rows.values() for row in numbers) == list(range(96))
    heard = {name: {SPEAKERS[i] for i in numbers} for name, numbers in rows.items()}
    assert {name: len(found) for name, found in heard.items()} == {"train": 6, "dev": 9, "test": 9}
    assert len(heard["dev"] - heard["train"]) == len(heard["test"] - heard["train"]) == 3
    assert heard["dev"] & heard["test"] == heard["train"]
    assert len(rows["train"]) == 6 * 4
    assert split == voices.split_of(SPEAKERS, kept=3, each=2)
    assert split != voices.split_of(SPEAKERS, kept=2, each=2)


def test_how_well_new_items_are_told_apart() -> None:
    assert voices.told_apart(torch.tensor([3.0, 2.0]), torch.tensor([1.0])) == 1.0
    assert voices.told_apart(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0])) == pytest.approx(2.5 / 4)


def test_the_figures_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import soundfile

    times = torch.arange(4000) / 8000
    lines = ["utt\tspeaker"]
    for number, speaker in enumerate(SPEAKERS):
        pitch = 150 * 1.15 ** int(speaker[1:]) + number % 8
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * (2 * math.pi * pitch * times).sin().numpy(), 8000)
        lines.append(f"{number}.wav\t{speaker}")
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    voices.split(tmp_path / "manifest.tsv", tmp_path / "voices.json", kept=3)
    assert json.loads((tmp_path / "voices.json").read_text())["rows"] == 96
    train_run(read(RECIPE, SMALL), tmp_path / "run", data=tmp_path, progress=False, say=lambda _: None)
    capsys.readouterr()
    voices.measure(tmp_path / "run", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 new speakers, 24 recordings, 168 pairs"  # 3 · 8 · 7 / 2, and as many others
    assert lines[1].startswith("equal error rate ")
    assert lines[2].startswith("threshold of dev ")
    assert [line.split(":")[0] for line in lines[3:]][-2:] == [
        "new told from known by probability",
        "new told from known by cosine to the nearest speaker",
    ]
