"""Pretraining by hidden words, in Python and in a recipe."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import ClassTarget, Encoder, GraphAdapter, Model, SetHead, Task, TextAdapter, load, pretrain
from multiseq.pretraining import masked_words
from multiseq.runs.recipe import read
from multiseq.runs.recipe_check import RecipeError
from multiseq.runs.run import check_run, train_run

COLOURS, FRUITS = ("red", "blue", "green"), ("pear", "plum", "fig")


def sentences(count: int, seed: int = 0) -> list[str]:
    """``the pear is green``: the fruit and the colour are drawn, but each fruit has its colour."""
    draw = random.Random(seed)
    return [f"the {FRUITS[i]} is {COLOURS[i]}" for i in (draw.randrange(3) for _ in range(count))]


def model_of(texts: Sequence[str], unit: Any = "word") -> Model:
    torch.manual_seed(0)
    adapter = TextAdapter.fit(texts, dim=16, unit=unit, vocab_size=300, word_dropout=0.0, dropout=0.0)
    task = Task("text", SetHead(16, ClassTarget(["a", "b"])))
    return Model({"text": adapter}, Encoder(dim=16, depth=1, heads=2, dropout=0.0), {"mood": task})


def test_hidden_words_are_learned_and_the_heads_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences(200)
    model = model_of(texts)
    head = {name: weight.clone() for name, weight in model.tasks["mood"].head.state_dict().items()}
    guessers: list[Model] = []
    train = masked_words.train
    monkeypatch.setattr(masked_words, "train", lambda m, *a, **k: guessers.append(m) or train(m, *a, **k))
    assert pretrain(model, "text", texts, steps=80, lr=1e-2, max_vectors=200, progress=False) is model
    assert all(
        torch.equal(weight, head[name]) for name, weight in model.tasks["mood"].head.state_dict().items()
    )
    [guesser] = guessers
    assert guesser.encoder is model.encoder
    assert guesser.adapter("text") is model.adapter("text")
    [words] = guesser.predict("word", [["the", "fig", "is", masked_words.MASK]])
    assert words[3].label == "green"
    [words] = guesser.predict("word", [["the", masked_words.MASK, "is", "red"]])
    assert words[1].label == "pear"


def test_the_seed_decides_what_is_learned() -> None:
    texts = sentences(30)

    def weights(seed: int) -> torch.Tensor:
        model = pretrain(model_of(texts), "text", texts, steps=3, seed=seed, progress=False)
        return torch.cat([weight.flatten() for weight in model.encoder.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.allclose(weights(1), weights(2))


def test_each_text_has_a_hidden_word_and_labels_only_there() -> None:
    known = {"a", "b", "c"}
    texts = [["A", "rare", "b"], ["c"], ["rare"]]
    items, labels = masked_words._hidden(texts, known, 0.15, torch.Generator().manual_seed(0))
    assert len(items) == 2 * masked_words.DRAWS  # no word of the third text is known
    for item, of_item in zip(items, labels, strict=True):
        [whole] = [words for words in texts if len(words) == len(item)][:1]
        hidden = [i for i, word in enumerate(item) if word == masked_words.MASK]
        assert hidden
        assert [i for i, label in enumerate(of_item) if label is not None] == hidden
        assert all(of_item[i] == whole[i].lower() for i in hidden)
        assert [word for word in item if word != masked_words.MASK] == [
            word for i, word in enumerate(whole) if i not in hidden
        ]


def test_other_adapters_and_texts_of_different_words_are_refused() -> None:
    texts = sentences(20)
    with pytest.raises(ValueError, match="expected a TextAdapter whose unit is word"):
        pretrain(model_of(texts, "piece"), "text", texts, steps=1)
    graphs = GraphAdapter.fit(["CC", "CO"], dim=16)
    model = Model(
        {"g": graphs}, Encoder(dim=16, depth=1, heads=2), {"t": Task("g", SetHead(16, ClassTarget("ab")))}
    )
    with pytest.raises(ValueError, match="got 'g', a GraphAdapter"):
        pretrain(model, "g", ["a a"], steps=1)
    with pytest.raises(ValueError, match="got 2 texts in which no word occurs twice"):
        pretrain(model_of(texts), "text", ["one two", "three"], steps=1)
    with pytest.raises(ValueError, match="mask: got 2"):
        pretrain(model_of(texts), "text", texts, mask=2.0, steps=1)


# --- in a recipe ----------------------------------------------------------------------------------

RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2

[pretrain]
steps = 4
texts = "more.txt"

[training]
steps = 4
max_vectors = 100

[data.lines]
adapter = "text"
format = "labelled"
train = "train.tsv"
dev = 0.2
test = 0.2

[tasks.mood]
data = "lines"
output = "set"
target = "class"
column = "label"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [f"{'ab'[i % 2]}\t{text} {i}\n" for i, text in enumerate(sentences(30))]
    (tmp_path / "train.tsv").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "more.txt").write_text("quince quince\n\nthe quince is yellow\n", encoding="utf-8")
    (tmp_path / "r.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def test_a_recipe_pretrains_on_its_texts_and_on_further_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[Any], dict[str, Any]]] = []
    original = pretrain
    monkeypatch.setattr(
        masked_words, "pretrain", lambda m, a, t, **k: seen.append((t, k)) or original(m, a, t, **k)
    )
    said: list[str] = []
    recipe = read(folder / "r.toml", [])
    train_run(recipe, folder / "run", say=said.append, progress=False)
    [(texts, options)] = seen
    assert len(texts) == 18 + 2
    assert texts[-2:] == ["quince quince", "the quince is yellow"]
    assert (options["settings"].steps, options["settings"].max_vectors) == (4, 100)
    assert "pretraining on 20 texts: their hidden words are predicted" in said
    assert "quince" in load(folder / "run").adapter("text").assets()["words.txt"].split()
    (folder / "run" / "test.json").unlink()
    train_run(
        read(folder / "run" / "recipe.toml", []), folder / "run", data=folder, resume=True, progress=False
    )
    assert len(seen) == 1  # a resumed run does not begin again


def test_check_reads_the_further_texts(folder: Path) -> None:
    (folder / "more.txt").unlink()
    with pytest.raises(ValueError, match=r"more\.txt"):
        check_run(read(folder / "r.toml", []), say=lambda line: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pretrain.mask=1.5", r"\[pretrain\] mask: got 1.5, expected 0 up to below 1"),
        ("pretrain.rate=1", r"\[pretrain\].*rate"),
        ("pretrain.texts=[1]", r"\[pretrain\] texts: got \[1\], expected a list of names of files"),
        ("adapters.text.unit=piece", r'got unit = "piece", expected "word"'),
        ("encoder.start=x", r"\[pretrain\]: got \[encoder\] start, too"),
        ("data.lines.adapter=graph", r"\[pretrain\]: got 0 adapters of texts, expected one"),
    ],
)
def test_wrong_recipes(folder: Path, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read(folder / "r.toml", [change])


def test_steps_are_needed(folder: Path) -> None:
    (folder / "r.toml").write_text(RECIPE.replace("steps = 4\ntexts", "texts"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"\[pretrain\]: steps is missing"):
        read(folder / "r.toml", [])
