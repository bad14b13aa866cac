"""A pretrained start in recipes: `[encoder] start = …`, and every modality through the same trunk."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from huggingface_hub import ModelCard

from multiseq import (
    ClassTarget,
    PretrainedEncoder,
    PretrainedTextAdapter,
    SetHead,
    TextAdapter,
    VectorSets,
    load,
    pretrained_text,
    train,
)
from multiseq.runs.build import adapter_class, check_options
from multiseq.runs.evaluate import evaluate_run
from multiseq.runs.folder import read_run
from multiseq.runs.publish import model_card
from multiseq.runs.recipe import Recipe, RecipeError, read
from multiseq.runs.run import check_run, train_run
from multiseq.training.resume import ResumeFile
from tests.cells import backward, batch_of
from tests.pretrained.tiny import model_of, three_modalities, write_folder

EXAMPLE = Path(__file__).parents[2] / "examples" / "text.py"

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


def test_text_speech_and_graphs_share_a_pretrained_trunk(folders: dict[str, Path]) -> None:
    model, sources = three_modalities(folders["bert"])
    losses = model.loss(batch_of(model, sources))
    assert set(losses) == set(model.adapters)
    backward(losses)
    for name, parameter in model.named_parameters():
        if not name.startswith("stems.[graph]"):  # which has tables for features that these facts lack
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert isinstance(model.encoder, PretrainedEncoder)
    before = model.encoder.positions.weight.clone()
    train(model, sources, steps=1, pretrained_lr=0.1, progress=False)
    assert not torch.equal(model.encoder.positions.weight, before)
    for source in sources:
        assert len(model.predict(source.adapter_name, source.items)) == 2


def test_a_set_among_sets_of_other_modalities_is_encoded_as_alone(folders: dict[str, Path]) -> None:
    for family in ("bert", "modernbert"):
        _, encoder = pretrained_text(folders[family])
        encoder.eval()
        words = VectorSets(torch.randn(30, 24), [30], torch.arange(30))
        nodes = VectorSets(torch.randn(20, 24), [20])
        together = encoder(VectorSets.cat([words, nodes])).unpack()
        torch.testing.assert_close(together[0], encoder(words).values, atol=1e-5, rtol=0)
        torch.testing.assert_close(together[1], encoder(nodes).values, atol=1e-5, rtol=0)
        order = torch.randperm(20)
        permuted = encoder(VectorSets(nodes.values[order], [20])).values
        torch.testing.assert_close(permuted, together[1][order], atol=1e-5, rtol=0)


def test_the_example_of_text_takes_a_file_and_a_pretrained_start(tmp_path: Path) -> None:
    example = runpy.run_path(str(EXAMPLE))
    table = tmp_path / "mine.csv"
    table.write_text("text,label\n" + "".join(f"the cat {i},{'ab'[i % 2]}\n" for i in range(10)))
    data = [example["sources"](part, str(table)) for part in ("train", "test")]
    assert [len(comments.items) for _, comments, _ in data] == [8, 2]
    model = example["build"](data[0], str(write_folder(tmp_path / "hf", "bert")))
    assert isinstance(model.encoder, PretrainedEncoder)
    assert model.predict("sentiment", ["the cat"])[0].label in ("a", "b")


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ([], None),
        (["encoder.lora_rank=2"], "lora"),
        (["training.frozen_layers=3"], "head"),
        (["encoder.lora_rank=2", "training.frozen_layers=3"], "head"),
    ],
)
def test_check_says_how_many_weights_are_trained(
    changes: list[str], trained: str | None, folder: Path
) -> None:
    lines: list[str] = []
    check_run(read(folder / "tiny.toml", [*changes, "adapters.text.word_shape=false"]), say=lines.append)
    said = [re.search(r"([\d,]+) weights(?: \(([\d,]+) of them are trained\))? on", line) for line in lines]
    [counts] = [[int(n.replace(",", "")) if n else None for n in one.groups()] for one in said if one]
    # of attention (24 to 72, and back) and feed-forward (24 to 40, and back), in three blocks
    terms = 3 * 2 * ((24 + 72) + (24 + 24) + (24 + 40) + (40 + 24))
    head = sum(p.numel() for p in SetHead(24, ClassTarget(["down", "up"])).parameters())
    assert counts[1] == {None: None, "lora": terms + head, "head": head}[trained]


@pytest.mark.parametrize("start", ["hf", "ada/bert"])
def test_a_run_and_its_card_say_what_it_began_as(
    start: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiseq.pretrained.files.download_files", lambda *given: folder / "hf")
    recipe = read(folder / "tiny.toml", [] if start == "hf" else [f"encoder.start={start}"])
    train_run(recipe, folder / "run", progress=False, say=lambda _: None)
    digest = hashlib.sha256((folder / "hf" / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads((folder / "run" / "run.json").read_text())["start"] == {
        "name": start,
        "on_hub": start == "ada/bert",
        "model_type": "bert",
        "sha256": {"model.safetensors": digest},
    }
    card = model_card(folder / "run")
    assert f"- it began as `{start}` (bert), SHA-256 {digest} (model.safetensors)" in card
    assert ModelCard(card).data.base_model == ("ada/bert" if start == "ada/bert" else None)
    assert str(folder) not in card


# --- a run that was stopped -----------------------------------------------------------------------

STEPS = ["training.steps=3", "training.save_every=1", "training.evaluate_every=0"]


def stopped(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train until the first resume file is written, as if Ctrl-C were pressed then."""

    def save(self: ResumeFile, *given: Any, **named: Any) -> None:
        write(self, *given, **named)
        raise KeyboardInterrupt

    write = ResumeFile.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(ResumeFile, "save_checkpoint", save)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_run(recipe, out, progress=False, say=lambda _: None)
    assert (out / "resume.ckpt").is_file()
    assert not (out / "model").exists()
    return out


@pytest.mark.parametrize("named", ["nothing", "the recipe", "the new place"])
def test_a_stopped_run_goes_on_without_its_start(
    named: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read(folder / "tiny.toml", STEPS)
    train_run(recipe, folder / "whole", progress=False, say=lambda _: None)
    run = stopped(recipe, folder / "run", monkeypatch)
    if named == "the new place":
        (folder / "hf").rename(folder / "moved")
    else:
        shutil.rmtree(folder / "hf")
    given = {
        "nothing": lambda: read_run(run),
        "the recipe": lambda: read(folder / "tiny.toml", STEPS),
        "the new place": lambda: read(folder / "tiny.toml", [*STEPS, f"encoder.start={folder / 'moved'}"]),
    }[named]()
    train_run(given, run, resume=True, progress=False, say=lambda _: None)
    weights = [(place / "model" / "model.safetensors").read_bytes() for place in (run, folder / "whole")]
    assert weights[0] == weights[1]
    begun = folder / ("moved" if named == "the new place" else "hf")
    assert read_run(run).tables["encoder"]["start"] == str(begun.resolve())


def test_a_stopped_run_from_the_hub_goes_on_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("multiseq.pretrained.files.download_files", lambda *given: folder / "hf")
        recipe = read(folder / "tiny.toml", [*STEPS, "encoder.start=ada/bert"])
        run = stopped(recipe, folder / "run", monkeypatch)
    monkeypatch.setattr("multiseq.pretrained.files.download_files", lambda *given: pytest.fail("downloads"))
    assert train_run(read_run(run), run, resume=True, progress=False, say=lambda _: None)["mood"]


def test_a_run_goes_on_from_no_other_start(
    folder: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(read(folder / "tiny.toml", STEPS), folder / "run", monkeypatch)
    shutil.copytree(folders["bert"], folder / "other")
    model_of("bert", seed=1).save_pretrained(folder / "other")  # the same sizes, other weights
    other = read(folder / "tiny.toml", [*STEPS, f"encoder.start={folder / 'other'}"])
    with pytest.raises(ValueError, match="its run has another recipe than the one given"):
        train_run(other, run, resume=True, say=lambda _: None)
    (run / "resume.ckpt").unlink()  # then it begins again, and needs the weights
    shutil.rmtree(folder / "hf")
    with pytest.raises(ValueError, match=r"\[encoder\] start: .*hf: no such folder"):
        train_run(read_run(run), run, resume=True, say=lambda _: None)


# --- longer than the positions --------------------------------------------------------------------

CLIPS = """
[encoder]
start = "hf"

[training]
steps = 2

[adapters.speech]
subsample = 1

[data.clips]
adapter = "speech"
format = "table"
train = "train.csv"
dev = "dev.csv"
test = "test.csv"
input = "path"

[tasks.tone]
data = "clips"
output = "set"
target = "class"
column = "tone"
"""


@pytest.fixture
def clips(folder: Path) -> Path:
    """A recipe of recordings of 0.3 s, which have 31 vectors or fewer. The encoder knows 48 positions."""
    (folder / "clips.toml").write_text(CLIPS)
    for name, seconds in (("low", 0.3), ("high", 0.3), ("long", 0.6)):
        samples = torch.sin(torch.arange(int(seconds * 8000)) / len(name))
        soundfile.write(folder / f"{name}.wav", samples.numpy(), 8000)
    for split in ("train", "dev", "test"):
        (folder / f"{split}.csv").write_text("path,tone\nlow.wav,low\nhigh.wav,high\nlow.wav,low\n")
    return folder / "clips.toml"


def lengthen(file: Path, num: int) -> None:
    with file.open("a") as table:
        table.write("long.wav,low\n" * num)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("way", ["check", "train"])
def test_items_longer_than_the_positions_are_named(split: str, way: str, clips: Path) -> None:
    lengthen(clips.parent / f"{split}.csv", 2)
    message = (
        rf"{split}\.csv:5: makes a sequence of \d\d vectors, expected at most 48, the positions that the "
        r"pretrained encoder knows \(2 of 5 items do\); cut .*`chunk_seconds`.*`subsample`.*on_error"
    )
    begin = {"check": check_run, "train": partial(train_run, out=clips.parent / "run", progress=False)}[way]
    with pytest.raises(ValueError, match=message):
        begin(read(clips), say=lambda _: None)
    assert not (clips.parent / "run" / "metrics.csv").exists()


@pytest.mark.parametrize(
    "change", ["adapters.speech.chunk_seconds=0.4", "adapters.speech.subsample=2", "data.clips.on_error=skip"]
)
def test_what_the_error_advises_helps(change: str, clips: Path) -> None:
    for split in ("train", "dev", "test"):
        lengthen(clips.parent / f"{split}.csv", 1)
    recipe, lines = read(clips, [change]), list[str]()
    check_run(recipe, say=lines.append)
    assert any("3 bad rows left out: makes a sequence of" in line for line in lines) == ("skip" in change)
    report = train_run(recipe, clips.parent / "run", progress=False, say=lambda _: None)
    assert report["tone"]["num_items"] == (3 if "skip" in change else 4)


def test_slower_speech_is_longer(clips: Path) -> None:
    check_run(read(clips, ["adapters.speech.speeds=[0.9, 1.0]"]), say=lambda _: None)
    with pytest.raises(
        ValueError, match=r"train\.csv:2: makes .* vectors at a speed of 0\.5, expected at most 48"
    ):
        check_run(read(clips, ["adapters.speech.speeds=[0.5, 1.0]"]), say=lambda _: None)


def test_sets_without_order_and_rotary_positions_have_no_longest(folders: dict[str, Path]) -> None:
    facts = [("Ada", "knows", f"friend {i}") for i in range(60)]
    for family in ("bert", "modernbert"):
        model, sources = three_modalities(folders[family])
        text, speech, graph = sources
        graph = replace(graph, items=[facts, facts])
        chosen = [text, graph]
        if family == "modernbert":
            chosen.append(replace(speech, items=[(torch.randn(160_000) / 10, 16000)] * 2))
        train(model, chosen, steps=1, progress=False)


def test_training_in_python_names_the_item(folders: dict[str, Path]) -> None:
    model, sources = three_modalities(folders["bert"])
    long = replace(sources[1], items=[sources[1].items[0], (torch.randn(160_000) / 10, 16000)])
    with pytest.raises(ValueError, match=r"^item 1: makes a sequence of 250 vectors, expected at most 48"):
        train(model, [sources[0], long], steps=1, progress=False)
    long.targets["speech"][1] = None  # type: ignore[index]
    train(model, [sources[0], long], steps=1, progress=False)  # without a label it is left out
