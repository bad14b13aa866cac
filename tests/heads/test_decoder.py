"""CTC and decoder heads: the loss is what enumeration says, decoding does not depend on company."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from multiseq.heads import decoder as decoder_module
from multiseq.heads import key_value_cache as caches
from multiseq.heads.ctc import CTCHead
from multiseq.heads.decoder import DecoderHead
from multiseq.heads.key_value_cache import SetMemory, TokenCache
from multiseq.heads.text_target import TextTarget
from multiseq.nn.attention import attend
from multiseq.protocols import Head, Packed
from multiseq.results import NotFiniteError, Text
from multiseq.vectors import VectorSets, order_of
from tests.reference import decoding as reference

DIM = 16
LENGTHS = [7, 0, 1, 11, 5, 13]
TARGET = TextTarget.fit(["abba", "cab"], unit="character")


def random_sets(lengths: list[int] = LENGTHS, seed: int = 0, dim: int = DIM) -> VectorSets:
    values = torch.randn(sum(lengths), dim, generator=torch.Generator().manual_seed(seed))
    return VectorSets(values, lengths)


def mixed_sets(lengths: list[int]) -> VectorSets:
    """Every second set has an order, as after `VectorSets.cat` of sentences and graphs."""
    ordered = [i % 2 == 0 for i in range(len(lengths))]
    flags = torch.tensor(ordered).repeat_interleave(torch.tensor(lengths))
    values, positions = random_sets(lengths).values, order_of(lengths) * flags
    return VectorSets(values, lengths, positions, ordered=ordered)


def decoder(**options: Any) -> DecoderHead:
    """With weights large enough for sharp and varied texts."""
    torch.manual_seed(1)
    head = DecoderHead(DIM, TARGET, heads=2, **options)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(2.0)
        head.out.weight.normal_()
        for block in head.blocks:
            block.cross_out.weight.normal_(std=0.5)  # type: ignore[union-attr]
            block.attention.out.weight.normal_(std=0.5)  # type: ignore[union-attr]
    return head


def ctc() -> CTCHead:
    torch.manual_seed(1)
    head = CTCHead(DIM, TARGET)
    with torch.no_grad():
        head.read[1].weight.mul_(4.0)
    return head


HEADS = {"ctc": ctc, "decoder": decoder}


# --- losses ---------------------------------------------------------------------------------------


def test_ctc_loss_is_the_sum_over_all_paths() -> None:
    sets, texts = random_sets([4, 3, 0, 5, 1]), ["ab", "", "", "aa", "c"]
    head = ctc().eval()
    total, count = head.loss(sets, TARGET.batch(texts))
    wanted = 0.0
    for log_probs, text in zip(sets.with_values(head(sets)).unpack(), texts, strict=True):
        probabilities = reference.ctc_probabilities(log_probs.detach(), TARGET.blank)
        wanted -= math.log(probabilities[tuple(TARGET.encode(text).tolist())])
    assert total.item() == pytest.approx(wanted, rel=1e-5)
    assert count.item() == 5


@pytest.mark.parametrize("layer", [0, -1])
def test_attention_is_what_the_decoder_uses(layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights times the values are the result of the cross-attention of that layer."""
    sets, targets = mixed_sets([5, 1, 3]), TARGET.batch(["ab", "", "cab"])
    head = decoder(depth=2).eval()
    crossed: list[tuple[torch.Tensor, torch.Tensor]] = []

    def noted(q: Any, k: Any, v: Any, plan: Any, **options: Any) -> Any:
        result = attend(q, k, v, plan, **options)
        if not options.get("causal"):
            crossed.append((v, result))
        return result

    monkeypatch.setattr(decoder_module, "attend", noted)
    weights = head.attention(sets, targets, layer)
    assert [tuple(one.shape) for one in weights] == [(2, 3, 5), (2, 1, 1), (2, 4, 3)]
    values, result = crossed[layer]
    by_hand = [
        torch.einsum("hqk,khd->qhd", one, v)
        for one, v in zip(weights, values.split(sets.lengths), strict=True)
    ]
    torch.testing.assert_close(torch.cat(by_hand), result)
    with pytest.raises(ValueError, match="layer: got 2, expected -2 to 1"):
        head.attention(sets, targets, 2)


def test_a_loss_in_blocks_is_the_loss_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with many target tokens: its logits never stand in memory together."""
    head = decoder(dropout=0.2, label_smoothing=0.1).train()
    texts = TARGET.batch(["abba" * 5, "cab", "", "ab" * 11, "c" * 17, "ba" * 6])
    most: list[int] = []
    head.out.register_forward_hook(lambda module, inputs, logits: most.append(len(logits)))

    def loss_and_gradients() -> list[torch.Tensor]:
        sets = random_sets()
        values = sets.values.requires_grad_()
        torch.manual_seed(3)
        total, count = head.loss(sets, texts)
        gradients = torch.autograd.grad(total, [values, *head.parameters()])
        return [total.detach(), count, *gradients]

    whole = loss_and_gradients()
    tokens = sum(texts.lengths) + len(LENGTHS)
    assert len(most) == 1
    assert most[0] >= tokens
    most.clear()
    monkeypatch.setattr(decoder_module, "BLOCK", 7 * TARGET.size + 3)
    blocks = loss_and_gradients()
    assert max(most) == 7
    assert len(most) >= 2 * -(-tokens // 7)  # once forward, once backward
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert head.loss(random_sets(), texts)[0] > 0


def test_sets_too_short_for_their_text_are_named_and_left_out() -> None:
    """ "abb" needs four vectors: a blank stands between the two b."""
    head = ctc().eval()
    sets = random_sets([3, 4, 0])
    with pytest.warns(UserWarning, match="2 of 3 sets are too short") as record:
        total, count = head.loss(sets, TARGET.batch(["abb", "abb", "a"]))
    message = str(record[0].message)
    assert "set 0: 3 vectors, 3 tokens, 1 repetitions; set 2: 0 vectors, 1 tokens" in message
    alone, number = head.loss(sets.select([1]), TARGET.batch(["abb"]))
    assert (total.item(), count.item()) == (pytest.approx(alone.item()), number.item())
    assert count.item() == 3
    with pytest.warns(UserWarning, match="1 of 1 sets"):
        nothing, zero = head.loss(random_sets([2]), TARGET.batch(["abc"]))
    nothing.backward()
    assert (nothing.item(), zero.item()) == (0.0, 0)


def test_decoder_loss_is_teacher_forcing_token_by_token() -> None:
    """Each token's log-probability from a call that has seen only the tokens before it."""
    sets, texts = random_sets(), ["ab", "cab", "", "c", "abba", "a"]
    head = decoder().eval()
    total, count = head.loss(sets, TARGET.batch(texts))
    wanted = 0.0
    for vectors, text in zip(sets.unpack(), texts, strict=True):
        tokens = TARGET.encode(text).tolist()
        for i, token in enumerate([*tokens, TARGET.end]):
            before = Packed(torch.tensor(tokens[:i]).long(), [i])
            last = head(VectorSets(vectors, [len(vectors)]), before)[-1]
            wanted -= last.log_softmax(-1)[token].item()
    assert total.item() == pytest.approx(wanted, rel=1e-5)
    assert count.item() == sum(len(text) + 1 for text in texts)


@pytest.mark.parametrize("name", HEADS)
def test_loss_adds_up_over_shards_with_its_gradients(name: str) -> None:
    sets, texts = random_sets(), ["ab", "", "a", "abba", "", "cab"]
    head = HEADS[name]().eval()
    together, count = head.loss(sets, TARGET.batch(texts))
    together.backward()
    gradients = [p.grad.clone() for p in head.parameters() if p.grad is not None]
    head.zero_grad()
    parts = [head.loss(sets.select([i]), TARGET.batch([t])) for i, t in enumerate(texts)]
    total = torch.stack([p[0] for p in parts]).sum()
    total.backward()
    torch.testing.assert_close(total, together)
    assert sum(p[1] for p in parts) == count
    torch.testing.assert_close([p.grad for p in head.parameters()], gradients, atol=1e-4, rtol=1e-4)


def test_label_smoothing_is_for_training_only() -> None:
    sets, targets = random_sets([3]), TARGET.batch(["ab"])
    plain, smooth = decoder(dropout=0.0), decoder(dropout=0.0, label_smoothing=0.2)
    assert smooth.loss(sets, targets)[0] != plain.loss(sets, targets)[0]
    assert smooth.eval().loss(sets, targets)[0] == plain.loss(sets, targets)[0]


# --- decoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_beams", [1, 2, 5])
@pytest.mark.parametrize("name", HEADS)
def test_a_set_is_decoded_the_same_alone_and_in_any_company(name: str, num_beams: int) -> None:
    head, lengths = HEADS[name](), [*LENGTHS, 2, 3, 3, 17, 0]
    sets = mixed_sets(lengths)
    together = head.decode(sets, num_beams=num_beams)
    assert len({result.text for result in together}) > 3
    order = torch.randperm(len(lengths)).tolist()
    shuffled = head.decode(sets.select(order), num_beams=num_beams)
    for place, i in enumerate(order):
        (alone,) = head.decode(sets.select([i]), num_beams=num_beams)
        for result in (together[i], shuffled[place]):
            assert result.text == alone.text
            assert result.score == pytest.approx(alone.score, abs=1e-4)


def test_sets_in_many_groups_are_decoded_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    head, lengths = decoder(), [30, 17, 16, 3, 2, 0, 0]
    whole = SetMemory(head._remember(random_sets(lengths)), lengths)
    texts = head.decode(random_sets(lengths), num_beams=3)
    monkeypatch.setitem(caches._WASTE, "cpu", 2)
    parts = SetMemory(head._remember(random_sets(lengths)), lengths)
    assert [group.sets for group in whole._groups] == [7]
    assert [group.sets for group in parts._groups] == [1, 2, 2, 2]
    assert [group.keys_and_values[0].shape[1] for group in parts._groups] == [30, 17, 3, 1]
    for result, text in zip(head.decode(random_sets(lengths), num_beams=3), texts, strict=True):
        assert result.text == text.text
        assert result.score == pytest.approx(text.score, abs=1e-4)


def test_tokens_of_hypotheses_that_were_given_up_are_forgotten() -> None:
    """Two rows that go on in one: of 2 * 40 tokens, 40 are seen, and one of each other row's."""
    cache = TokenCache(torch.zeros(1, 2, 1, 1, 16, 2))
    rows = torch.tensor([[0, 0]])
    for step in range(40):
        count = 1 if step == 0 else 2
        cache.grow(count)
        values = torch.full((count, 1, 2), float(step))
        out = cache.look(0, values * 0, values, values)
        assert out[:, 0, 0].tolist() == pytest.approx([step / 2] * count)  # the mean of 0 ... step
        cache.keep(rows, None)
    assert cache.kept.shape[4] < 2 * 40 < 2 * cache.kept.shape[4]


def test_the_cache_changes_nothing() -> None:
    """More tokens than the cache has room for at first, so that it grows."""
    head, sets = decoder(max_length=19).eval(), random_sets()
    results = head.decode(sets)
    assert max(len(result.text) for result in results) > 16
    for vectors, result in zip(sets.unpack(), results, strict=True):
        tokens = reference.greedy_without_cache(head, vectors, 19) if len(vectors) else []
        assert result.text == TARGET.decode_tokens(tokens)


def test_a_set_with_order_is_read_in_order_and_one_without_is_a_set() -> None:
    head, values, backwards = decoder().eval(), random_sets([7]).values, torch.arange(6, -1, -1)
    targets = TARGET.batch(["abba"])

    def loss(rows: torch.Tensor, positions: torch.Tensor | None) -> float:
        return head.loss(VectorSets(rows, [7], positions), targets)[0].item()

    order = torch.arange(7)
    assert loss(values[backwards], None) == pytest.approx(loss(values, None), rel=1e-5)
    assert loss(values[backwards], backwards) == pytest.approx(loss(values, order), rel=1e-5)
    assert abs(loss(values[backwards], order) - loss(values, order)) > 1e-2
    together = mixed_sets([7, 7])
    apart = [VectorSets(together.unpack()[0], [7], order), VectorSets(together.unpack()[1], [7])]
    total = sum(head.loss(sets, targets)[0].item() for sets in apart)
    assert head.loss(together, TARGET.batch(["abba"] * 2))[0].item() == pytest.approx(total)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_scores_are_those_of_teacher_forcing(num_beams: int) -> None:
    head, sets = decoder(max_length=21).eval(), random_sets()
    for vectors, result in zip(sets.unpack(), head.decode(sets, num_beams=num_beams), strict=True):
        if not len(vectors):
            continue
        tokens = tuple(TARGET.encode(result.text).tolist())
        assert result.score == pytest.approx(reference.teacher_forced(head, vectors, tokens), abs=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_of_everything_finds_the_best_text(length_penalty: float) -> None:
    head, sets = decoder().eval(), random_sets([3, 1, 5])
    letters = [TARGET.encode(letter).item() for letter in "abc"]
    found = head.decode(sets, num_beams=100, length_penalty=length_penalty, max_length=3)
    for vectors, result in zip(sets.unpack(), found, strict=True):
        tokens, score = reference.best_sequence(
            lambda t, v=vectors: reference.teacher_forced(head, v, t), letters, 3, length_penalty
        )
        assert result.text == TARGET.decode_tokens(tokens)
        assert result.score == pytest.approx(score, abs=1e-4)


def test_the_n_best_texts_are_those_of_enumeration() -> None:
    head, sets = decoder().eval(), random_sets([3, 0, 5])
    letters = [TARGET.encode(letter).item() for letter in "abc"]
    options: dict[str, Any] = {"num_beams": 100, "length_penalty": 0.0, "max_length": 3}
    found = head.decode(sets, n_best=4, **options)
    assert [replace(text, n_best=()) for text in found] == head.decode(sets, **options)
    for i in (0, 2):
        scores = {
            TARGET.decode_tokens(tokens): reference.teacher_forced(head, sets.unpack()[i], tokens)
            for tokens in reference.all_sequences(letters, 3)
        }
        wanted = sorted(scores, key=scores.__getitem__, reverse=True)[:4]
        assert [text.text for text in found[i].n_best] == wanted
        assert [text.score for text in found[i].n_best] == pytest.approx(
            [scores[text] for text in wanted], abs=1e-4
        )
        assert found[i].n_best[0] == found[i]
    assert found[1].n_best == ()  # an empty set has one text, the empty one


def test_ctc_scores_are_the_texts_probabilities() -> None:
    head, sets = ctc().eval(), random_sets([3, 0, 5])
    for num_beams in (1, 50):
        found = head.decode(sets, num_beams=num_beams)
        for log_probs, result in zip(sets.with_values(head(sets)).unpack(), found, strict=True):
            texts = reference.ctc_probabilities(log_probs.detach(), TARGET.blank)
            special = {TARGET.begin, TARGET.end, TARGET.unknown}
            sayable = {t: p for t, p in texts.items() if not special & set(t)}
            tokens = tuple(TARGET.encode(result.text).tolist())
            assert math.exp(result.score) == pytest.approx(texts[tokens], rel=1e-4)
            if num_beams > 1:
                assert tokens == max(sayable, key=sayable.__getitem__)


def test_the_limit_holds_and_is_half_more_than_the_longest_training_text() -> None:
    head = decoder()
    assert head.max_length == 4 * 3 // 2 + 10
    with torch.no_grad():
        head.out.bias[TARGET.end] = -100.0  # the end is never the best
    for num_beams in (1, 3):
        texts = [
            r.text for r in head.decode(random_sets(), num_beams=num_beams, max_length=2, length_penalty=5.0)
        ]
        assert max(map(len, texts)) == 2
    assert all(r.cut for r in head.decode(random_sets(), max_length=2) if r.text)
    assert decoder(max_length=3).max_length == 3


@pytest.mark.parametrize("name", HEADS)
def test_decoding_keeps_the_mode_and_has_no_dropout(name: str) -> None:
    head, sets = HEADS[name](), random_sets()
    for training in (True, False):
        head.train(training)
        first = head.decode(sets)
        assert head.training is training
        assert head.read[0].training is training if name == "ctc" else True
        assert head.decode(sets) == first
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("name", HEADS)
def test_nothing_in_nothing_out(name: str) -> None:
    head = HEADS[name]()
    assert head.decode(random_sets([])) == []
    total, count = head.loss(random_sets([]), TARGET.batch([]))
    total.backward()
    assert (total.item(), count.item()) == (0.0, 0)
    assert head.decode(random_sets([0])) == [Text("", 0.0)]
    some = head.decode(random_sets([0, 5, 0]))
    assert (some[0], some[2]) == (Text("", 0.0), Text("", 0.0))
    assert some[1].score < 0
    total, count = head.loss(random_sets([0, 2]), TARGET.batch(["", ""]))
    total.backward()
    assert count.item() == (0 if name == "ctc" else 2)
    assert total.item() > 0


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["character", "piece"])
@pytest.mark.parametrize("name", HEADS)
def test_overfits_ten_texts_exactly(name: str, unit: str) -> None:
    """The sets are random vectors; nothing but the head learns."""
    texts = [
        "a dog",
        "a cat",
        "the dog",
        "the cat sat",
        "",
        "sat",
        "aaa",
        "a a",
        "dog the dog",
        "s",
    ]
    target = TextTarget.fit(texts, unit=unit)
    dim, steps = (128, 60) if name == "ctc" else (32, 60)
    sets, targets = random_sets([13] * 10, dim=dim), target.batch(texts)
    make = CTCHead if name == "ctc" else DecoderHead
    head = make(dim, target, dropout=0.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(steps):
        total, count = head.loss(sets, targets)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    for num_beams in (1, 3):
        assert [r.text for r in head.decode(sets, num_beams=num_beams)] == texts


@pytest.mark.parametrize("unit", ["character", "piece"])
@pytest.mark.parametrize("make", [CTCHead, DecoderHead])
def test_config_round_trip_decodes_the_same(make: Any, unit: str) -> None:
    options = {"dropout": 0.3}
    if make is DecoderHead:
        options |= {"depth": 1, "heads": 2, "label_smoothing": 0.1, "max_length": 7}
    head = make(DIM, TextTarget.fit(["the cat", "the dog"], unit=unit), **options)
    assert isinstance(head, Head)
    config = json.loads(json.dumps(head.config()))
    assert config.items() >= {"kind": "ctc" if make is CTCHead else "decoder", **options}.items()
    again = make.from_config(config)
    again.load_state_dict(head.state_dict())
    assert again.config() == config
    assert again.decode(random_sets(), num_beams=2) == head.decode(random_sets(), num_beams=2)


@pytest.mark.parametrize("name", HEADS)
def test_a_prediction_that_is_not_finite_is_an_error(name: str) -> None:
    head, sets = HEADS[name](), random_sets([0, 3, 2, 5])
    values = sets.values.clone()
    values[4] = math.nan  # in the third set
    with pytest.raises(NotFiniteError, match="set 2: got a prediction that is NaN or infinite") as error:
        head.decode(sets.with_values(values))
    assert error.value.number == 2
    with torch.no_grad():
        (head.read[1] if name == "ctc" else head.out).weight[0, 0] = math.nan
    with pytest.raises(NotFiniteError) as error:
        head.decode(sets)
    assert error.value.number in (1, 3)  # the first, or the longest


@pytest.mark.parametrize("name", HEADS)
def test_wrong_input_says_what_to_do(name: str) -> None:
    head, wide = HEADS[name](), VectorSets(torch.zeros(3, 5), [3])
    with pytest.raises(ValueError, match="width 5, expected 16; build the head"):
        head.decode(wide)
    with pytest.raises(ValueError, match="width 5, expected 16; build the head"):
        head.loss(wide, TARGET.batch(["a"]))
    with pytest.raises(ValueError, match="got 2 texts for 1 sets, expected one for each"):
        head.loss(random_sets([4]), TARGET.batch(["a", "b"]))
    for num_beams in (0, -1):
        with pytest.raises(ValueError, match="num_beams"):
            head.decode(random_sets([4]), num_beams=num_beams)


def test_a_width_that_heads_do_not_divide() -> None:
    with pytest.raises(ValueError, match="got 16 for 3 heads, expected a multiple of 6"):
        DecoderHead(16, TARGET, heads=3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", HEADS)
def test_a_gpu_finds_the_same(name: str) -> None:
    head, sets = HEADS[name](), mixed_sets(LENGTHS)
    targets = TARGET.batch(["ab", "", "", "abba", "a", "cab"])
    loss = head.eval().loss(sets, targets)[0].item()
    found = [head.decode(sets, num_beams=num_beams) for num_beams in (1, 5)]
    head.cuda()
    there = sets.to("cuda")
    on_gpu = Packed(targets.values.cuda(), targets.lengths)
    assert head.loss(there, on_gpu)[0].item() == pytest.approx(loss, rel=1e-4)
    for num_beams, texts in zip((1, 5), found, strict=True):
        for result, text in zip(head.decode(there, num_beams=num_beams), texts, strict=True):
            assert result.text == text.text
            assert result.score == pytest.approx(text.score, abs=1e-3)
