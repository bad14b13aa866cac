"""Recipes whose speech adapter begins as a pretrained model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from multiseq import load
from multiseq.pretrained.stem import PretrainedStem
from multiseq.runs.folder import read_run
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.recipe_check import RecipeError
from multiseq.runs.run import train_run
from multiseq.training.resume import ResumeFile
from tests.pretrained.speech_tiny import noise, write_speech_folder

RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2

[adapters.speech]
start = "hf"
subsample = 1

[training]
steps = 3
save_every = 1
evaluate_every = 0
frozen_layers = 3

[data.clips]
adapter = "speech"
format = "recordings"
file = "clips.tsv"
input = "clip"
audio = "clips"
split_column = "split"

[tasks.voice]
data = "clips"
output = "set"
target = "class"
column = "voice"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe, its recordings and a tiny pretrained model."""
    write_speech_folder(tmp_path / "hf", "wavlm")
    (tmp_path / "clips").mkdir()
    rows = ["clip\tvoice\tsplit"]
    for number in range(6):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", noise(3000, number).numpy(), 16000)
        rows.append(f"{number}.wav\t{'ab'[number % 2]}\t{'train' if number < 4 else 'test'}")
    (tmp_path / "clips.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def run(recipe: Recipe, out: Path, *, resume: bool = False) -> None:
    """Train without a word."""
    train_run(recipe, out, resume=resume, progress=False, say=lambda _: None)


def test_a_run_begins_with_the_weights_and_needs_them_no_more(folder: Path) -> None:
    run(read(folder / "tiny.toml"), folder / "run")
    record = json.loads((folder / "run" / "run.json").read_text())["adapter_starts"]["speech"]
    assert record["name"] == "hf"
    assert record["model_type"] == "wavlm"
    assert list(record["sha256"]) == ["model.safetensors"]
    begun = write_speech_folder(folder / "again", "wavlm")
    shutil.rmtree(folder / "hf")
    model = load(folder / "run")
    stem = model.adapter("speech").stem  # type: ignore[union-attr]
    assert isinstance(stem, PretrainedStem)
    from safetensors.torch import load_file

    theirs = load_file(begun / "model.safetensors")["encoder.layers.2.attention.out_proj.weight"]
    assert stem.encoder.blocks[2].get_parameter("attention.out.weight").equal(theirs)  # frozen: unchanged
    [result] = model.predict("voice", [str(folder / "clips" / "5.wav")])
    assert result.label in ("a", "b")


@pytest.mark.parametrize("specaugment", ["true", "false"])
def test_a_stopped_run_goes_on_without_its_start(
    specaugment: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the outputs of the frozen stem are computed once: its weights are in the resume file only."""

    def save(self: ResumeFile, *given: object, **named: object) -> None:
        write(self, *given, **named)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    recipe = read(folder / "tiny.toml", [f"adapters.speech.specaugment={specaugment}"])
    run(recipe, folder / "whole")
    write = ResumeFile.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(ResumeFile, "save_checkpoint", save)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(recipe, folder / "run")
    shutil.rmtree(folder / "hf")
    run(read_run(folder / "run"), folder / "run", resume=True)
    weights = [(folder / name / "model" / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("adapters.speech.start=3", r"\[adapters\.speech\] start: got 3, expected a folder, or a name"),
        ("adapters.speech.start=./none", r"\[adapters\.speech\] start: \./none: no such folder"),
        ("adapters.speech.n_mels=40", "got start and n_mels, which goes without start; leave n_mels out"),
        ("adapters.speech.sample_rate=8000", "sample_rate: got 8000, but the pretrained model has 16000"),
        ("training.frozen_layers=4", r"\[training\] frozen_layers: got 4, expected at most 3"),
    ],
)
def test_what_a_recipe_may_not_say(change: str, message: str, folder: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run(read(folder / "tiny.toml", [change]), folder / "run")
