"""A pretrained start in recipes: `[encoder] start = …`, and every modality through the same trunk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from multiseq import PretrainedEncoder, PretrainedTextAdapter, load
from multiseq.adapters import TextAdapter
from multiseq.runs.build import adapter_class, build_model, check_options
from multiseq.runs.evaluate import evaluate_run
from multiseq.runs.recipe import Recipe, RecipeError, read
from multiseq.runs.run import train_run
from tests.cells import CELLS, backward, batch_of, starter_sources
from tests.pretrained.tiny import model_of, word_pieces

RECIPE = """
[encoder]
start = "hf"

[training]
steps = 2

[data.lines]
adapter = "text"
format = "table"
train = "train.tsv"
test = "test.tsv"

[tasks.mood]
data = "lines"
output = "set"
target = "class"
column = "label"
"""


@pytest.fixture
def folder(tmp_path: Path, folders: dict[str, Path]) -> Path:
    shutil.copytree(folders["bert"], tmp_path / "hf")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    for split in ("train", "test"):
        rows = [f"{word} on the mat\t{label}" for word, label in (("cat", "up"), ("cats", "down"))]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["text\tlabel", *rows, ""]))
    return tmp_path


def test_a_recipe_trains_and_its_run_needs_no_folder(folder: Path) -> None:
    recipe = read(folder / "tiny.toml", ["adapters.text.piece_pooling=first"])
    train_run(recipe, folder / "run", progress=False, say=lambda _: None)
    shutil.rmtree(folder / "hf")
    model = load(folder / "run")
    adapter, encoder = model.adapters["text"], model.encoder
    assert isinstance(adapter, PretrainedTextAdapter)
    assert isinstance(encoder, PretrainedEncoder)
    assert (adapter.piece_pooling, adapter.window, encoder.dim, encoder.depth) == ("first", 48, 24, 3)
    trained = adapter.embedding.weight[6]
    pretrained = model_of("bert").embeddings
    before = pretrained.word_embeddings.weight[6] + pretrained.token_type_embeddings.weight[0]
    assert 0 < (trained - before).abs().max() < 0.1  # it began at the pretrained weights
    assert evaluate_run(folder / "run", say=lambda _: None)["mood"]


def test_the_folder_is_beside_the_recipe_or_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = str((folder / "hf").resolve())
    assert read(folder / "tiny.toml").tables["encoder"]["start"] == start
    monkeypatch.chdir(folder)
    assert read("tiny.toml").tables["encoder"]["start"] == start
    assert read("starter", ["encoder.start=hf"]).tables["encoder"]["start"] == start
    assert read("tiny.toml", ["encoder.start=ada/bert"]).tables["encoder"]["start"] == "ada/bert"


def test_without_a_start_texts_have_their_usual_adapter(folder: Path) -> None:
    recipe = read(folder / "tiny.toml")
    assert adapter_class(recipe, "text") is PretrainedTextAdapter
    del recipe.tables["encoder"]["start"]
    assert adapter_class(recipe, "text") is TextAdapter


def test_sizes_may_repeat_what_the_folder_says(folder: Path) -> None:
    check_options(read(folder / "tiny.toml", ["encoder.dim=24", "encoder.depth=3", "encoder.dropout=0.2"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("encoder.dim=16", r"\[encoder\] dim: got 16, but start has 24; leave dim out"),
        ("encoder.depth=2", r"\[encoder\] depth: got 2, but start has 3"),
        ("encoder.preset=small", r"got start and preset, which goes without start"),
        ("encoder.window=8", r"got start and window, which goes without start"),
        ("encoder.gatd=true", r"no key 'gatd' \(did you mean 'gated'"),
        ("encoder.start=3", r"\[encoder\] start: got 3, expected a folder, or a name on the Hub"),
        ("encoder.start=./nowhere", r"\[encoder\] start: \./nowhere: no such folder"),
        ("adapters.text.vocab_size=300", r"\[adapters\.text\]: no key 'vocab_size'"),
        ("adapters.text.piece_pooling=last", r"piece_pooling: got 'last', expected one of first, mean"),
    ],
)
def test_mistakes(change: str, message: str, folder: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        check_options(read(folder / "tiny.toml", [change]))


def starter_on(folder: Path) -> Recipe:
    """The starter recipe with a pretrained encoder."""
    recipe = read("starter")
    tables = {**recipe.tables, "encoder": {"start": str(folder)}}
    return replace(recipe, tables={**tables, "adapters": {**tables["adapters"], "text": {}}})


def test_text_speech_and_graphs_share_a_pretrained_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 96}
    config = transformers.BertConfig(vocab_size=64, max_position_embeddings=600, **sizes)
    transformers.BertModel(config).save_pretrained(tmp_path)
    word_pieces(tmp_path)
    sources = starter_sources()
    model = build_model(starter_on(tmp_path), sources)
    losses = model.loss(batch_of(model, sources))
    assert set(losses) == set(CELLS)
    backward(losses)
    for name, parameter in model.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
