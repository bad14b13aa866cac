"""Copying: names of the input are found in texts, become tokens, and come out again."""

from __future__ import annotations

import math

import pytest
import torch

from multiseq import (
    DecoderHead,
    Encoder,
    FusedAdapter,
    GraphAdapter,
    Model,
    Source,
    SpeechAdapter,
    Task,
    TextAdapter,
    TextTarget,
    train,
)
from multiseq.heads.copying import Copied, Pointer, can_be_copied, common_words, find_names
from multiseq.heads.decoder import CachedSteps
from multiseq.vectors import VectorSets

TEXTS = ["the city of Ulm", "the city of Bonn,", "the town of Ulm"]


def test_names_are_found_as_whole_words_and_the_longer_one_first() -> None:
    names = ["York", "New York", "in", "New"]
    assert find_names("in New York, New Yorkers in Yorkshire", names, {"in"}) == [
        Copied(3, 11, 1),
        Copied(13, 16, 3),
    ]


def test_a_name_of_several_vectors_is_that_of_the_first() -> None:
    assert find_names("Ulm and Ulm", ["Ulm", "x", "Ulm"], set()) == [Copied(0, 3, 0), Copied(8, 11, 0)]


@pytest.mark.parametrize("text", ["湯姆Tom来了", "(Tom)", "Tom's", "Tom"])
def test_a_word_ends_where_another_script_or_a_sign_begins(text: str) -> None:
    [found] = find_names(text, ["Tom"], set())
    assert text[found.start : found.end] == "Tom"


@pytest.mark.parametrize("text", ["Tomas", "aTom", "Tom2", "tom", ""])
def test_a_part_of_a_word_is_not_copied(text: str) -> None:
    assert find_names(text, ["Tom", "", "-"], set()) == []


def test_a_word_is_common_if_one_in_two_hundred_texts_has_it() -> None:
    texts = ["two red", "two blue"] + ["a"] * 198 + ["two"] * 199
    assert common_words(texts) == ["a", "two"]  # 399 texts: two of them are enough, red and blue have one
    assert common_words(["a b", "b c"]) == ["b"]
    assert can_be_copied("a b", {"a", "b"})


@pytest.mark.parametrize("unit", ["character", "piece"])
def test_a_text_with_copied_names_comes_out_as_it_went_in(unit: str) -> None:
    target = TextTarget.fit(TEXTS, unit=unit, vocab_size=60, copy=True)
    names = ["Grünwald-Süd", "is", "the"]
    for text in ("the city of Grünwald-Süd", "Grünwald-Süd, the city", "Grünwald-Süd", "of Ulm"):
        tokens = target.encode(text, names).tolist()
        assert (target.size in tokens) == ("Grünwald" in text)
        assert target.size + 2 not in tokens  # "the" is common
        assert target.decode_tokens(tokens, names) == text
        assert target.unknown not in tokens
    again = TextTarget.from_config(target.config())
    assert again.encode(text, names).tolist() == tokens
    assert again.common == target.common == {"city", "of", "the", "Ulm"}


def test_a_target_that_does_not_copy_is_as_it_was() -> None:
    target = TextTarget.fit(TEXTS, unit="character")
    assert "common" not in target.config()
    assert int(target.encode("Ulm", ["Ulm"]).max()) < target.size
    assert not DecoderHead(8, target, depth=1, heads=2).needs_names


def head_and_sets() -> tuple[DecoderHead, VectorSets, list[list[str]]]:
    torch.manual_seed(1)
    target = TextTarget.fit(TEXTS, unit="piece", vocab_size=40, copy=True)
    head = DecoderHead(16, target, depth=2, heads=2, max_length=6).eval()
    torch.nn.init.normal_(head.out.weight)
    sets = VectorSets.from_list([torch.randn(n, 16) for n in (3, 1, 5)])
    return head, sets, [["Kehl", "in", "Au"], ["Kehl"], ["a", "b", "-", "Hof", "the"]]


@torch.no_grad()
def test_the_loss_is_that_of_the_steps_of_decoding() -> None:
    """-log P of a text with copied names, by the loss and by the probabilities that the search sees."""
    head, sets, names = head_and_sets()
    texts = ["the city of Au", "Kehl", "Hof of b"]
    targets = head.target.batch(texts, names)
    loss, count = head.loss(sets, targets)
    total = 0.0
    for i, tokens in enumerate(targets.values.split(targets.lengths)):
        steps = CachedSteps(head, sets.select([i]), [names[i]])
        before = head.target.begin
        for token in [*tokens.tolist(), head.target.end]:
            log_probs = steps(torch.tensor([[before]]))
            # What may never be decoded has a probability in the loss.
            total -= float(log_probs[0, 0, token])
            before = token
    assert int(count) == sum(targets.lengths) + 3
    assert float(loss) == pytest.approx(total, rel=1e-4)


@torch.no_grad()
def test_probabilities_of_a_step_sum_to_one_but_for_what_is_never_written() -> None:
    head, sets, names = head_and_sets()
    steps = CachedSteps(head, sets, names)
    log_probs = steps(torch.full((3, 1), head.target.begin))
    assert log_probs.shape == (3, 1, head.target.size + 5)
    copied = log_probs[:, 0, head.target.size :]
    assert torch.isinf(copied[1, 1:]).all()  # the second set has one vector
    assert torch.isinf(copied[2, [2, 4]]).all()  # a sign, and a common word
    assert not torch.isinf(copied[2, [0, 1, 3]]).any()
    pointer, memory = head.pointer, head.pointer.remember(sets)  # type: ignore[union-attr]
    assert isinstance(pointer, Pointer)
    shares = pointer(torch.randn(3, 16), torch.arange(3), memory).exp()
    assert torch.allclose(shares.sum(1), torch.ones(3))


def test_a_batch_is_decoded_as_each_set_alone() -> None:
    head, sets, names = head_and_sets()
    together = head.decode(sets, num_beams=4, n_best=3, names=names)
    for i in range(3):
        [alone] = head.decode(sets.select([i]), num_beams=4, n_best=3, names=[names[i]])
        assert alone.text == together[i].text
        assert [t.text for t in alone.n_best] == [t.text for t in together[i].n_best]
        assert math.isclose(alone.score, together[i].score, rel_tol=1e-4)


def test_attention_and_tokens_of_a_text_know_copied_names() -> None:
    torch.manual_seed(0)
    target = TextTarget.fit(TEXTS, unit="piece", vocab_size=40, copy=True)
    adapter = GraphAdapter.fit([[("I", "home", "Ulm")]], dim=16)
    task = Task("facts", DecoderHead(16, target, depth=1, heads=2))
    model = Model({"facts": adapter}, Encoder(16, depth=1, heads=2), {"text": task})
    facts = [("I", "home", "Kehl am Rhein")]
    names, tokens, weights = model.cross_attention("text", facts, "the city of Kehl am Rhein")
    assert names == ["I", "Kehl am Rhein", "home"]
    assert tokens[-3:] == ["␣", "Kehl am Rhein", "(end)"]
    assert weights.shape == (2, len(tokens), 3)
    assert torch.allclose(weights.sum(-1), torch.ones(2, len(tokens)), atol=1e-5)


def test_pieces_are_copied_as_words_are() -> None:
    target = TextTarget.fit(TEXTS, unit="character", copy=True)
    names = [" the", " Zedburg", "x", " New  York "]
    tokens = target.encode("Zedburg the New York", names).tolist()
    assert [token - target.size for token in tokens if token >= target.size] == [1, 3]
    assert target.decode_tokens(tokens, names) == "Zedburg the New York"
    assert [target.can_copy(name) for name in names] == [False, True, True, True]


def test_a_name_that_stands_twice_side_by_side_is_found() -> None:
    assert find_names("x1 1 1", ["1 1"], set()) == [Copied(3, 6, 0)]


def test_only_empty_sets_can_be_trained_and_decoded() -> None:
    head, _, _ = head_and_sets()
    sets = VectorSets.from_list([torch.zeros(0, 16)] * 2)
    loss, count = head.loss(sets, head.target.batch(["the", "of"], [[], []]))
    assert torch.isfinite(loss)
    assert int(count) > 2
    assert [text.text for text in head.decode(sets, names=[[], []])] == ["", ""]


def test_an_adapter_whose_vectors_stand_for_no_text_is_refused() -> None:
    head = DecoderHead(16, TextTarget.fit(TEXTS, unit="piece", vocab_size=40, copy=True), depth=1, heads=2)
    speech = SpeechAdapter.fit([([0.0, 0.5] * 4000, 16_000)], dim=16)
    with pytest.raises(ValueError, match=r"tasks\['said'\]: its target copies .* SpeechAdapter has none"):
        Model({"speech": speech}, Encoder(16, depth=1, heads=2), {"said": Task("speech", head)})


def test_atoms_and_numbers_of_nodes_are_no_names_and_parts_of_fused_items_have_theirs() -> None:
    molecules = GraphAdapter.fit(["CCO"], dim=8)
    [example] = molecules.prepare("CO")
    assert (molecules.names(example), molecules.spellings(example)) == (["C0", "O1"], ["", ""])
    fused = FusedAdapter({"text": TextAdapter.fit(["a cap"], dim=8), "drug": molecules})
    [both] = fused.prepare({"text": "red cap", "drug": "CO"})
    assert fused.spellings(both) == ["red", "cap", "", ""]


def test_missing_names_say_what_is_needed() -> None:
    head, sets, names = head_and_sets()
    with pytest.raises(ValueError, match="names: got none, expected one for each of 9 vectors of 3 sets"):
        head.decode(sets)
    with pytest.raises(ValueError, match="names: got 4 for 2 sets"):
        head.decode(sets, names=names[:2])


def test_names_that_training_never_saw_are_written_from_texts_and_from_facts() -> None:
    places = [f"{a}{b}" for a in ("Al", "Ber", "Cor", "Dun", "El", "Fal") for b in ("ham", "ton", "mouth")]
    seen, unseen = places[:-3], places[-3:]

    def sentence(place: str) -> str:
        return f"my home is {place} now"

    def facts(place: str) -> list[tuple[str, str, str]]:
        return [("I", "home", place)]

    texts = [f"I live in {place}" for place in seen]
    adapters = {
        "text": TextAdapter.fit(texts, dim=32),
        "facts": GraphAdapter.fit([facts(place) for place in seen], dim=32),
    }
    wanted = [sentence(place) for place in seen]
    tasks = {
        name: Task(
            name, DecoderHead(32, TextTarget.fit(wanted, unit="piece", vocab_size=80, copy=True), depth=1)
        )
        for name in adapters
    }
    model = Model(adapters, Encoder(32, depth=1, heads=2), tasks)
    data = [
        Source("text", texts, {"text": wanted}),
        Source("facts", [facts(place) for place in seen], {"facts": wanted}),
    ]
    train(model, data, steps=150, lr=5e-3, max_vectors=200, progress=False)
    wanted = [sentence(place) for place in unseen]
    written = model.predict("text", [f"I live in {place}" for place in unseen])
    assert [text.text for text in written] == wanted
    assert [t.text for t in model.predict("facts", [facts(place) for place in unseen])] == wanted
