"""A pretrained start: its outputs are those of `transformers`, and words keep one vector each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import tokenizers
import torch
import transformers
from torch import Tensor

import multiseq
from multiseq import (
    ClassTarget,
    DecoderHead,
    FusedAdapter,
    GraphAdapter,
    Model,
    PretrainedEncoder,
    PretrainedTextAdapter,
    SetHead,
    Task,
    TextTarget,
    VectorHead,
    VectorSets,
    load,
    pretrained_text,
    save,
    train,
)
from multiseq.nn.linear import half_products
from multiseq.protocols import Adapter, EncoderLike
from multiseq.tasks import Source
from multiseq.training.optimizer import make_optimizer
from multiseq.training.settings import Settings
from multiseq.vectors import order_of
from tests.pretrained.tiny import FAMILIES, model_of

LENGTHS = [2, 7, 1, 0, 31, 40, 5, 33]
TEXT = "the unbelievable cats sat , on a mat ."


def start(folder: Path, **options: Any) -> tuple[PretrainedTextAdapter, PretrainedEncoder]:
    adapter, encoder = pretrained_text(folder, **options)
    return adapter.eval(), encoder.eval()


@torch.no_grad()
def encoded(adapter: PretrainedTextAdapter, encoder: PretrainedEncoder, ids: list[Tensor]) -> list[Tensor]:
    lengths = [len(pieces) for pieces in ids]
    sets = VectorSets(adapter.embedding(torch.cat(ids)), lengths, order_of(lengths))
    return encoder(sets).unpack()


def random_ids(lengths: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, 23, (length,), generator=generator) for length in lengths]


# --- the outputs of transformers ---------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_transformers_and_batched_is_alone(
    family: str, folders: dict[str, Path]
) -> None:
    parts, reference = start(folders[family]), model_of(family)
    ids = random_ids(LENGTHS)
    together = encoded(*parts, ids)
    for pieces, vectors in zip(ids, together, strict=True):
        assert vectors.shape == (len(pieces), 24)
        if len(pieces):
            with torch.no_grad():
                expected = reference(pieces[None]).last_hidden_state[0]
            torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(vectors, encoded(*parts, [pieces])[0], atol=1e-5, rtol=0)


def test_a_window_of_modernbert_hides_something(folders: dict[str, Path]) -> None:
    adapter, encoder = start(folders["modernbert"])
    narrow = encoded(adapter, encoder, random_ids([40]))[0]
    for block in encoder.blocks:
        block.attention.window = None  # type: ignore[union-attr]
    assert (encoded(adapter, encoder, random_ids([40]))[0] - narrow).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_outputs_are_near(family: str, folders: dict[str, Path]) -> None:
    adapter, encoder = start(folders[family])
    ids = random_ids([40, 33, 7] * 4)  # enough vectors for products in bf16
    exact = torch.cat(encoded(adapter, encoder, ids))
    with half_products():
        half = torch.cat(encoded(adapter, encoder, ids))
    assert 1e-4 < float((half - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_transformers(family: str, folders: dict[str, Path]) -> None:
    (adapter, encoder), reference = start(folders[family]), model_of(family)
    [pieces] = random_ids([11])
    weights = torch.linspace(-1, 1, 11 * 24).view(11, 24)
    sets = VectorSets(adapter.embedding(pieces), [11], order_of([11]))
    (encoder(sets).values * weights).sum().backward()
    (reference(pieces[None]).last_hidden_state[0] * weights).sum().backward()
    ours, theirs = adapter.embedding.weight.grad, reference.get_input_embeddings().weight.grad
    assert ours is not None
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_tokenizer_is_the_models_own(folders: dict[str, Path]) -> None:
    adapter, encoder = start(folders["bert"])
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folders["bert"] / "tokenizer.json"))
    ids = theirs(TEXT, truncation=False, padding=False)["input_ids"]
    [example] = adapter.prepare(TEXT)
    assert example.pieces.tolist() == ids
    inputs = adapter.collate([example])
    with torch.no_grad():
        expected = model_of("bert")(torch.tensor([ids])).last_hidden_state[0]
        ours = encoder(adapter(inputs))
    torch.testing.assert_close(ours.values, expected, atol=1e-5, rtol=0)


def test_weights_of_a_model_with_a_head_and_of_the_first_bert(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["bert"], tmp_path / "old"))
    weights = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): w
        for name, w in load_file(folder / "model.safetensors").items()
    }
    save_file({**weights, "cls.predictions.bias": torch.zeros(64)}, folder / "model.safetensors")
    ids = random_ids([9])
    assert torch.equal(encoded(*start(folder), ids)[0], encoded(*start(folders["bert"]), ids)[0])


def test_weights_in_several_files(folders: dict[str, Path], tmp_path: Path) -> None:
    model_of("distilbert").save_pretrained(tmp_path, max_shard_size="10KB")
    shutil.copy(folders["distilbert"] / "tokenizer.json", tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    ids = random_ids([9])
    assert torch.equal(encoded(*start(tmp_path), ids)[0], encoded(*start(folders["distilbert"]), ids)[0])


def test_an_old_folder_with_vocab_txt(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "old"))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    texts = [TEXT, "UNBELIEVABLE cåts .", "", "猫 cat\u200b, [SEP] \t\n the"]
    for text in texts:
        [old], [new] = start(folder)[0].prepare(text), start(folders["bert"])[0].prepare(text)
        if "[SEP]" not in text:  # the tokenizer of the tests does not know that this is a special piece
            assert old.pieces.tolist() == new.pieces.tolist()
    theirs = transformers.BertTokenizer(str(folder / "vocab.txt"))
    assert [start(folder)[0].prepare(t)[0].pieces.tolist() for t in texts] == theirs(texts)["input_ids"]


# --- words and pieces --------------------------------------------------------------------------------


def test_words_get_one_vector_each(folders: dict[str, Path]) -> None:
    for pooling in ("first", "mean"):
        adapter, encoder = start(folders["bert"], piece_pooling=pooling)
        [example] = adapter.prepare(TEXT)
        assert adapter.names(example) == TEXT.split()
        assert adapter.num_vectors(example) == 2 + 7 + 3 + 2  # unbelievable has three pieces, cats has two
        [empty] = adapter.prepare("")
        inputs = adapter.collate([empty, example, empty])
        with torch.no_grad():
            sets = encoder(adapter(inputs))
            read = adapter.read(sets, inputs)
        assert read.lengths == (0, len(TEXT.split()), 0)
        pieces = sets.unpack()[1]
        of_word = pieces[2:5]
        expected = of_word[0] if pooling == "first" else of_word.mean(0)
        torch.testing.assert_close(read.values[1], expected)
        torch.testing.assert_close(read.values[-1], pieces[-2])  # the full stop; [SEP] is not seen


def test_a_list_of_words_and_a_string_are_alike(folders: dict[str, Path]) -> None:
    adapter, _ = start(folders["bert"])
    [one], [other] = adapter.prepare(TEXT), adapter.prepare(TEXT.split())
    assert torch.equal(one.pieces, other.pieces)
    assert torch.equal(one.first, other.first)
    assert torch.equal(one.counts, other.counts)


@pytest.mark.parametrize("mark", [*"\u00ad\u200b\u200e\u202b\u2060\ufeff"], ids=ascii)
@pytest.mark.parametrize("unit", ["word", "piece"])
def test_invisible_marks_change_nothing(unit: str, mark: str, folders: dict[str, Path]) -> None:
    adapter, _ = start(folders["bert"], unit=unit)
    marked = mark + mark.join(TEXT) + mark
    [one], [other] = adapter.prepare(TEXT), adapter.prepare(marked)
    assert adapter.names(one) == adapter.names(other)
    assert torch.equal(one.pieces, other.pieces)
    assert torch.equal(one.counts, other.counts)


def test_a_word_that_the_tokenizer_drops_has_a_vector(folders: dict[str, Path]) -> None:
    adapter, _ = start(folders["bert"])
    [example] = adapter.prepare(["\u200b", "the", "\ufeff", "cat"])
    assert example.first.tolist() == [0, 1, 1, 2]  # [CLS], the, the, cat
    assert example.counts.tolist() == [1, 1, 1, 1]
    assert adapter.align(["a", "b", "c", "d"], example) == ["a", "b", "c", "d"]


def test_words_of_pieces_that_begin_with_a_space(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["roberta"], tmp_path / "bytes"))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=60, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat", "a cat", "cats ?!", "?!"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    adapter, _ = start(folder)
    [example] = adapter.prepare("the cats ?!")
    pieces = adapter.encoded_names(example)
    words = {
        name: pieces[first : first + count]
        for name, first, count in zip(example.names, example.first, example.counts, strict=True)
    }
    assert words["the"] == ["the"]
    assert "".join(words["cats"]) == "Ġcats"
    assert words["?"] == words["!"] == [pieces[-1]]  # one piece belongs to two words


@pytest.fixture
def captioned(folders: dict[str, Path]) -> tuple[FusedAdapter, Any]:
    text, encoder = start(folders["bert"])
    molecule = GraphAdapter.fit(["CCO", "C"], dim=text.dim, num_layers=1, walk_length=2)
    return FusedAdapter({"caption": text, "molecule": molecule}).eval(), encoder


CAPTIONED: list[dict[str, Any]] = [
    {"caption": "the cats sat", "molecule": "CCO"},
    {"molecule": "C"},
    {"caption": "cats"},
    {},
]


def test_heads_see_the_words_of_a_text_and_the_atoms_of_a_molecule(captioned: Any) -> None:
    adapter, encoder = captioned
    examples = [example for item in CAPTIONED for example in adapter.prepare(item)]
    inputs = adapter.collate(examples)
    sets = encoder(adapter(inputs))
    assert sets.lengths == (6 + 3, 1, 4, 0)  # [CLS] the cat ##s sat [SEP] C C O; C; [CLS] cat ##s [SEP]
    seen = adapter.read(sets, inputs)
    assert seen.lengths == (3 + 3, 1, 1, 0)
    assert seen.ordered == sets.ordered
    x = sets.values
    expected = [x[1], (x[2] + x[3]) / 2, x[4], x[6], x[7], x[8], x[9], (x[11] + x[12]) / 2]
    torch.testing.assert_close(seen.values, torch.stack(expected))
    alone = []
    for example in examples[:3]:
        of_one = adapter.collate([example])
        alone.append(adapter.read(encoder(adapter(of_one)), of_one).values)
    torch.testing.assert_close(torch.cat(alone), seen.values, atol=1e-5, rtol=1e-5)


def test_a_fused_item_with_a_pretrained_text_has_names_and_labels_of_words(captioned: Any) -> None:
    adapter, _ = captioned
    [example] = adapter.prepare(CAPTIONED[0])
    names = ["caption: the", "caption: cats", "caption: sat", "molecule: C0", "molecule: C1", "molecule: O2"]
    assert adapter.names(example) == names
    assert adapter.encoded_names(example)[:4] == [
        "caption: [CLS]",
        "caption: the",
        "caption: cat",
        "caption: ##s",
    ]
    assert len(adapter.encoded_names(example)) == adapter.num_vectors(example) == 9
    assert adapter.align(list("abcdef"), example) == list("abcdef")
    assert adapter.align({"molecule": [1, 2, 3]}, example) == [None, None, None, 1, 2, 3]
    with pytest.raises(ValueError, match=r"expected one for each vector \(caption 3, molecule 3\)"):
        adapter.align(list("abcd"), example)


def test_a_fused_item_with_a_pretrained_text_trains_and_is_saved(captioned: Any, tmp_path: Path) -> None:
    adapter, encoder = captioned
    tasks = {
        "kind": Task("item", VectorHead(adapter.dim, ClassTarget(["a", "b"]))),
        "say": Task("item", DecoderHead(adapter.dim, TextTarget.fit(["yes", "no"], unit="character"))),
    }
    model = Model({"item": adapter}, encoder, tasks).train()
    labels = {"kind": [list("aababb"), ["a"], ["b"], []], "say": ["yes", "no", "no", None]}
    train(model, [Source("item", CAPTIONED, labels)], steps=2, progress=False)
    loaded = load(save(model, tmp_path / "model"))
    assert [len(labels) for labels in loaded.predict("kind", CAPTIONED)] == [6, 1, 1, 0]
    assert loaded.predict("say", CAPTIONED[:3]) == model.predict("say", CAPTIONED[:3])


# --- what an uncased model does not see ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("normalizer", "has"),
    [
        (tokenizers.normalizers.BertNormalizer(lowercase=True), True),
        (tokenizers.normalizers.BertNormalizer(lowercase=False), False),
        (None, False),
    ],
)
def test_an_uncased_model_gets_word_shapes(folders: dict[str, Path], normalizer: Any, has: bool) -> None:
    file = folders["bert"] / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["normalizer"] = normalizer and json.loads(normalizer.__getstate__())
    given = json.dumps(tokenizer), 24, 64, 48
    assert (PretrainedTextAdapter(*given).shapes is not None) == has
    assert PretrainedTextAdapter(*given, word_shape=False).shapes is None
    assert PretrainedTextAdapter(*given, word_shape=True).shapes is not None


def test_the_shape_of_a_word_is_added_to_its_first_piece(folders: dict[str, Path]) -> None:
    adapter, _ = start(folders["bert"])
    assert adapter.shapes is not None
    examples = [adapter.prepare(text)[0] for text in ("the cats", "the Cats sat")]
    inputs = adapter.collate(examples)
    untrained = adapter(inputs).values
    torch.testing.assert_close(untrained, adapter.embedding(inputs.tensors["pieces"]))
    with torch.no_grad():
        adapter.shapes.weight.normal_(generator=torch.Generator().manual_seed(0))
    added = adapter(inputs).values - untrained
    names = [name for example in examples for name in adapter.encoded_names(example)]
    assert names == ["[CLS]", "the", "cat", "##s", "[SEP]", "[CLS]", "the", "cat", "##s", "sat", "[SEP]"]
    small, large = (adapter.shapes.weight[crc32(shape) % 512] for shape in (b"x", b"Xx"))
    expected = torch.zeros_like(added)
    expected[[1, 2, 6, 9]], expected[7] = small, large  # the, cats, the, sat; Cats
    torch.testing.assert_close(added, expected, atol=1e-5, rtol=1e-5)


def test_every_word_that_begins_in_a_window_has_its_shape(folders: dict[str, Path]) -> None:
    """Also one that heads read from another window."""
    adapter, _ = start(folders["bert"], window=10)
    with pytest.warns(UserWarning, match="cut into windows"):
        first, second, *_ = adapter.prepare("the Cats sat " * 3)
    assert adapter.names(first) == ["the", "Cats", "sat", "the", "Cats"]
    assert adapter.encoded_names(first) == ["[CLS]", *("the", "cat", "##s", "sat") * 2, "[SEP]"]
    small, large = (crc32(shape) % 512 for shape in (b"x", b"Xx"))
    assert first.begins.tolist() == [1, 2, 4, 5, 6, 8]
    assert first.shapes.tolist() == [small, large, small, small, large, small]
    assert adapter.encoded_names(second)[1:4] == ["##s", "sat", "the"]
    assert second.begins.tolist()[:2] == [2, 3]
    assert not len(start(folders["bert"], word_shape=False)[0].prepare("the cats")[0].begins)


def test_low_rank_terms_train_with_word_shapes_and_frozen_layers_without(folders: dict[str, Path]) -> None:
    for options, frozen_layers, learned in (({"lora_rank": 2}, 0, True), ({}, 1, False)):
        adapter, encoder = start(folders["bert"], **options)
        head = SetHead(adapter.dim, ClassTarget(["a", "b"]))
        model = Model({"text": adapter}, encoder, {"t": Task("text", head)}).train()
        sources = [Source("text", ["the cats", "The cats"], {"t": ["a", "b"]})]
        train(model, sources, steps=2, frozen_layers=frozen_layers, progress=False)
        assert adapter.shapes is not None
        assert bool(adapter.shapes.weight.any()) == learned


def test_word_shapes_are_saved_and_older_checkpoints_have_none(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    adapter, encoder = start(folders["bert"])
    head = SetHead(adapter.dim, ClassTarget(["a", "b"]))
    model = Model({"text": adapter}, encoder, {"t": Task("text", head)})
    loaded: Any = load(save(model, tmp_path / "model")).adapters["text"]
    assert loaded.shapes.weight.shape == (512, 24)
    config = {name: value for name, value in adapter.config().items() if name != "word_shape"}
    assert PretrainedTextAdapter.from_config(config, adapter.assets()).shapes is None


def test_the_weights_of_a_pretrained_part_learn_slowly(captioned: Any) -> None:
    adapter, encoder = captioned
    text = adapter.parts["caption"]
    head = SetHead(adapter.dim, ClassTarget(["a", "b"]))
    model = Model({"item": adapter}, encoder, {"t": Task("item", head)})
    optimizer = make_optimizer(model, Settings(lr=1e-3, pretrained_lr=1e-5, layer_lr_decay=0.5))
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    lowest = pytest.approx(1e-5 * 0.5 ** len(encoder.layers()[1:]))
    assert rates[id(text.embedding.weight)] == lowest
    assert rates[id(text.shapes.weight)] == lowest
    assert rates[id(head.read[0].weight)] == rates[id(adapter.source)] == 1e-3


def test_pieces_as_unit(folders: dict[str, Path]) -> None:
    adapter, encoder = start(folders["bert"], unit="piece")
    [example] = adapter.prepare("the cats")
    assert adapter.names(example) == ["the", "cat", "s"]
    inputs = adapter.collate([example])
    sets = encoder(adapter(inputs))
    assert torch.equal(adapter.read(sets, inputs).values, sets.values[1:-1])
    with pytest.raises(ValueError, match="got list, expected a string"):
        adapter.prepare(["the"])


# --- long texts --------------------------------------------------------------------------------------


def test_a_long_text_is_cut_into_windows_that_overlap(folders: dict[str, Path]) -> None:
    adapter, _ = start(folders["bert"], window=14)  # room for 12 pieces
    words = [["the", "cats", "sat"][i % 3] for i in range(100)]
    with pytest.warns(
        UserWarning, match=r"133 pieces, and the model reads 12 at once.*into 15.*overlap by 3"
    ):
        examples = adapter.prepare(words)
    assert adapter.prepare(words)[0].total == 100  # said once: a second warning would be an error here
    assert [name for e in examples for name in e.names] == words
    assert [adapter.align(words, e) for e in examples] == [list(e.names) for e in examples]
    assert max(map(adapter.num_vectors, examples)) == 14
    vocabulary = {"the": [5], "cats": [6, 13], "sat": [7]}
    for number, example in enumerate(examples):
        for name, first, count in zip(example.names, example.first, example.counts, strict=True):
            assert example.pieces[first : first + count].tolist() == vocabulary[name][: int(count)]
            # Inside a text, a word is read with at least one piece beside it on both sides.
            assert number == 0 or first > 1
            assert number == len(examples) - 1 or first < 13


def test_a_word_that_is_longer_than_a_window_costs_one_vector(folders: dict[str, Path]) -> None:
    adapter, _ = start(folders["bert"], window=10)
    with pytest.warns(UserWarning, match="windows"):
        examples = adapter.prepare(["the", "cat" + "s" * 40, "sat"])
    assert [name for e in examples for name in e.names] == ["the", "cat" + "s" * 40, "sat"]
    for example in examples:
        assert all(example.first + example.counts < len(example.pieces))


def test_results_of_windows_are_joined(folders: dict[str, Path]) -> None:
    adapter, encoder = start(folders["bert"], window=14)
    tasks = {
        "tag": Task("text", VectorHead(24, ClassTarget(["x", "y"]))),
        "kind": Task("text", SetHead(24, ClassTarget(["x", "y"]))),
    }
    model = Model({"text": adapter}, encoder, tasks)
    words = ["the", "cats"] * 50
    with pytest.warns(UserWarning, match="windows"):
        [tags], [kind] = model.predict("tag", [words]), model.predict("kind", [words])
    assert len(tags) == 100
    assert sum(kind.probabilities.values()) == pytest.approx(1)


# --- a model of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_checkpoint_loads_without_the_folder(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[family], tmp_path / "hf"))
    adapter, encoder = start(folder, piece_pooling="first", dropout=0.2)
    assert isinstance(adapter, Adapter)
    assert isinstance(encoder, EncoderLike)
    model = Model({"text": adapter}, encoder, {"kind": Task("text", SetHead(24, ClassTarget(["x", "y"])))})
    before = model.predict("kind", [TEXT])[0].probabilities
    save(model, tmp_path / "saved")
    shutil.rmtree(folder)
    loaded = load(tmp_path / "saved")
    assert loaded.predict("kind", [TEXT])[0].probabilities == before
    assert loaded.adapters["text"].config() == adapter.config()
    assert loaded.encoder.config() == encoder.config()


def test_attention_of_a_layer(folders: dict[str, Path]) -> None:
    adapter, encoder = start(folders["bert"])
    reference = model_of("bert")
    [example] = adapter.prepare(TEXT)
    weights = encoder.attention(adapter(adapter.collate([example])), layer=1)[0]
    with torch.no_grad():
        expected = reference(example.pieces[None].long(), output_attentions=True).attentions[1][0]
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=0)
    model = Model({"text": adapter}, encoder, {"kind": Task("text", SetHead(24, ClassTarget(["x", "y"])))})
    names, [weights] = model.attention("text", "the cats", layer=1)
    assert names == ["[CLS]", "the", "cat", "##s", "[SEP]"]
    assert weights.shape == (3, 5, 5)


# --- what cannot be read -----------------------------------------------------------------------------


def test_a_pickle_is_not_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "old"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors; copy the whole folder"):
        pretrained_text(folder)
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(ValueError, match=r"has pytorch_model\.bin but no.*Convert it with.*save_pretrained"):
        pretrained_text(folder)


def test_weights_that_are_not_whole(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "cut"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut: model\.safetensors: not a whole.*download it again"):
        pretrained_text(folder)
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    pointer = "only a pointer of git-lfs; fetch the file with `git lfs pull`"
    with pytest.raises(ValueError, match=r"model\.safetensors: " + pointer):
        pretrained_text(folder)
    shutil.copy(weights, folder / "tokenizer.json")
    with pytest.raises(ValueError, match=r"tokenizer\.json: " + pointer):
        pretrained_text(folder)
    shutil.copy(folders["bert"] / "tokenizer.json", folder)
    weights.rename(folder / "model-1-of-2.safetensors")
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (folder / "model-1-of-2.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model-1-of-2\.safetensors: no such file; copy the whole folder"):
        pretrained_text(folder)


def test_a_model_of_the_hub_with_a_pickle_only(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = Path(shutil.copytree(folders["bert"], tmp_path / "snapshot"))
    (downloaded / "model.safetensors").unlink()  # the pickle is not downloaded
    monkeypatch.setattr("multiseq.pretrained.files.download_files", lambda name, patterns: downloaded)
    with pytest.raises(ValueError, match=r"^ada/old: has no model\.safetensors on the Hub.*Convert it with"):
        pretrained_text("ada/old")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, r"config\.json: got model_type 'gpt2', expected one of bert, roberta"),
        ({"model_type": None}, "got model_type None, expected one of"),
        ({"hidden_act": "tanh"}, "activation: got 'tanh'"),
        ({"position_embedding_type": "relative_key"}, "expected 'absolute'"),
        ({"num_attention_heads": 5}, "dim: got 24 for 5 heads, expected a multiple of 5"),
        ({"num_hidden_layers": 4}, r"its weights lack 'encoder\.layer\.3"),
        ({"hidden_size": 30}, "size mismatch.*all files are of one model"),
        ({"vocab_size": None}, "other contents than a model of its family has"),
        ({"vocab_size": 10}, r"changed: tokenizer: got \d+ pieces, expected at most 10"),
    ],
)
def test_a_config_that_does_not_fit(
    change: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "changed"))
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        pretrained_text(folder)


def test_files_that_are_missing_or_damaged(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "bad"))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer"):
        pretrained_text(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"has neither tokenizer\.json nor vocab\.txt.*AutoTokenizer"):
        pretrained_text(folder)
    (folder / "vocab.txt").write_text("the\ncat\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: has no piece '\[UNK\]'"):
        pretrained_text(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="got list, expected a table"):
        pretrained_text(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        pretrained_text(folder)


def test_options_out_of_range(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="window: got 49, expected from 1 to 48"):
        pretrained_text(folders["bert"], window=49)
    with pytest.raises(ValueError, match="window: got 5, expected at least 6"):
        pretrained_text(folders["bert"], window=5)
    with pytest.raises(ValueError, match="piece_pooling: got 'last'"):
        pretrained_text(folders["bert"], piece_pooling="last")


def test_a_sequence_longer_than_the_positions(folders: dict[str, Path]) -> None:
    _, encoder = start(folders["bert"])
    ordered = VectorSets(torch.randn(49, 24), [49], order_of([49]))
    with pytest.raises(ValueError, match=r"got a sequence of 49 vectors, expected at most 48.*chunk_seconds"):
        encoder(ordered)
    assert encoder(VectorSets(torch.randn(49, 24), [49])).lengths == (49,)  # a graph has no positions


# --- by name -----------------------------------------------------------------------------------------


def test_a_name_on_the_hub(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(folders["bert"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    adapter, _ = pretrained_text("ada/tiny-bert")
    assert adapter.dim == 24
    assert asked["name"] == "ada/tiny-bert"
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])


def test_a_name_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(
        ValueError, match=r"bert-tiny: neither a folder here nor a model on.*: no route to host"
    ):
        pretrained_text("bert-tiny")
    for path in ("./bert", Path("ada/bert")):
        with pytest.raises(ValueError, match="bert: no such folder"):
            pretrained_text(path)
    with pytest.raises(ValueError, match="a bert: neither a folder here"):
        pretrained_text("a bert")


def test_the_public_names() -> None:
    assert {"pretrained_text", "PretrainedEncoder", "PretrainedTextAdapter"} <= set(multiseq.__all__)
