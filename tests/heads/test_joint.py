"""The joint head: prefix scores are what enumeration says, and each part alone is what it was."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from multiseq.heads.joint import JointHead
from multiseq.heads.prefix_scores import CTCSteps
from multiseq.heads.search import beam_search
from multiseq.heads.text_target import TextTarget
from multiseq.protocols import Head
from multiseq.results import NotFiniteError, Text
from multiseq.vectors import VectorSets
from tests.reference import decoding as reference

DIM = 16
LENGTHS = [7, 0, 1, 11, 5, 13]
TARGET = TextTarget.fit(["abba", "cab"], unit="character")
LETTERS = [int(TARGET.encode(letter)) for letter in "abc"]
BLANK, END = 0, 2


def random_sets(lengths: list[int] = LENGTHS, seed: int = 0, dim: int = DIM) -> VectorSets:
    values = torch.randn(sum(lengths), dim, generator=torch.Generator().manual_seed(seed))
    return VectorSets(values, lengths)


def joint(target: TextTarget = TARGET, **options: Any) -> JointHead:
    """With weights large enough for sharp and varied texts."""
    torch.manual_seed(1)
    head = JointHead(DIM, target, heads=2, **options)
    with torch.no_grad():
        head.ctc.read[1].weight.mul_(4.0)
        head.decoder.out.weight.normal_()
        for block in head.decoder.blocks:
            block.cross_out.weight.normal_(std=0.5)  # type: ignore[union-attr]
    return head.eval()


# --- prefix scores --------------------------------------------------------------------------------


def log_probs_of(lengths: list[int], size: int = 5, seed: int = 0) -> VectorSets:
    """Token `END` is never said."""
    logits = random_sets(lengths, seed, size).values * 2
    logits[:, END] = -math.inf
    return VectorSets(logits.log_softmax(-1), lengths)


def begins(texts: dict[tuple[int, ...], float], prefix: tuple[int, ...]) -> float:
    """The probability of all texts that begin so, by enumeration."""
    return sum(share for text, share in texts.items() if text[: len(prefix)] == prefix)


@pytest.mark.parametrize("prefix", [(), (1,), (1, 1), (1, 3, 1), (3, 3, 4), (4, 1, 1, 3), (1, 3, 1, 3, 1, 3)])
def test_prefix_scores_are_those_of_enumeration(prefix: tuple[int, ...]) -> None:
    """Sets of several lengths at once, so that the padding counts for nothing."""
    log_probs = log_probs_of([6, 4, 1])
    steps = CTCSteps(log_probs, blank=BLANK, end=END)
    found = steps(torch.full((3, 1), -1).clamp(min=1))[:, 0]
    for token in prefix:
        steps.keep(torch.zeros(3, 1).long(), None)
        found = steps(torch.full((3, 1), token))[:, 0]
    for scores, frames in zip(found, log_probs.unpack(), strict=True):
        texts = reference.ctc_probabilities(frames, BLANK)
        if not (whole := begins(texts, prefix)):
            continue
        wanted = [begins(texts, (*prefix, token)) / whole for token in range(5)]
        wanted[BLANK], wanted[END] = 0.0, texts.get(prefix, 0.0) / whole
        assert scores.exp().tolist() == pytest.approx(wanted, abs=1e-6)
        assert scores.exp().sum().item() == pytest.approx(1.0)  # some token comes next, or the end


def test_beams_and_sets_that_leave() -> None:
    """The beams of a set that stays change places; one goes on in two ways."""
    log_probs = log_probs_of([5, 6, 3])
    steps = CTCSteps(log_probs, blank=BLANK, end=END)
    steps(torch.ones(3, 1).long())
    steps.keep(torch.zeros(3, 2).long(), None)
    steps(torch.tensor([[1, 3], [1, 3], [4, 1]]))
    steps.keep(torch.tensor([[1, 0, 1], [0, 0, 1]]), [0, 2])
    found = steps(torch.tensor([[3, 1, 1], [1, 3, 3]]))
    prefixes = [[(3, 3), (1, 1), (3, 1)], [(4, 1), (4, 3), (1, 3)]]
    for of_set, frames, rows in zip(prefixes, (log_probs.unpack()[i] for i in (0, 2)), found, strict=True):
        texts = reference.ctc_probabilities(frames, BLANK)
        for prefix, scores in zip(of_set, rows, strict=True):
            wanted = [begins(texts, (*prefix, token)) / begins(texts, prefix) for token in (1, 3, 4)]
            assert scores[[1, 3, 4]].exp().tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_search_by_prefix_scores_ranks_texts_as_ctc_does() -> None:
    log_probs = log_probs_of([4, 5])
    steps = CTCSteps(log_probs, blank=BLANK, end=END)
    found = beam_search(
        steps, 2, begin=1, end=END, max_length=5, num_beams=2000, n_best=20, length_penalty=0.0
    )
    for of_set, frames in zip(found, log_probs.unpack(), strict=True):
        texts = reference.ctc_probabilities(frames, BLANK)
        ranked = sorted(texts, key=texts.__getitem__, reverse=True)[:20]
        assert [tuple(one.tokens) for one in of_set] == ranked
        assert [math.exp(one.score) for one in of_set] == pytest.approx([texts[t] for t in ranked], abs=1e-6)


def test_many_frames_of_sure_tokens_lose_no_precision() -> None:
    """A token of probability e^-30 for 999 frames, then a sure one: P is that of the last frame."""
    logits = torch.full((1000, 4), -30.0)
    logits[:-1, BLANK], logits[-1, 3] = 0.0, 0.0
    steps = CTCSteps(VectorSets(logits, [1000]), blank=BLANK, end=END)
    assert steps(torch.ones(1, 1).long())[0, 0, 3].item() == pytest.approx(0.0, abs=1e-5)
    steps.keep(torch.zeros(1, 1).long(), None)
    scores = steps(torch.full((1, 1), 3))[0, 0]
    assert scores[END].item() == pytest.approx(0.0, abs=1e-5)
    assert scores[1].item() < -25


# --- the head -------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum() -> None:
    head, sets, targets = joint(ctc_weight=0.25), random_sets([4, 3, 5]), TARGET.batch(["ab", "", "cab"])
    total, count = head.loss(sets, targets)
    of_ctc, of_decoder = head.ctc.loss(sets, targets)[0], head.decoder.loss(sets, targets)[0]
    assert total.item() == pytest.approx(0.25 * of_ctc.item() + 0.75 * of_decoder.item())
    assert count.item() == 5 + 3  # tokens and ends


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_the_texts_are_those_of_enumeration(weight: float) -> None:
    head, sets = joint(ctc_weight=weight), random_sets([3, 0, 5])
    options: dict[str, Any] = {"num_beams": 100, "length_penalty": 0.0, "max_length": 3}
    found = head.decode(sets, n_best=4, **options)
    assert [replace(text, n_best=()) for text in found] == head.decode(sets, **options)
    for i in (0, 2):
        vectors = sets.unpack()[i]
        of_ctc = reference.ctc_probabilities(head.ctc(VectorSets(vectors, [len(vectors)])).detach(), BLANK)
        scores = {
            TARGET.decode_tokens(tokens): weight * math.log(of_ctc[tokens])
            + (1 - weight) * reference.teacher_forced(head.decoder, vectors, tokens)
            for tokens in reference.all_sequences(LETTERS, 3)
            if tokens in of_ctc
        }
        wanted = sorted(scores, key=scores.__getitem__, reverse=True)[:4]
        assert [text.text for text in found[i].n_best] == wanted
        assert [text.score for text in found[i].n_best] == pytest.approx(
            [scores[text] for text in wanted], abs=1e-4
        )
    assert found[1] == Text("", 0.0)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_ends_of_the_weight_are_the_parts(num_beams: int) -> None:
    head, sets = joint(), random_sets()
    options: dict[str, Any] = {"num_beams": num_beams, "n_best": 2}
    assert head.decode(sets, ctc_weight=0.0, **options) == head.decoder.decode(sets, **options)
    assert head.decode(sets, ctc_weight=1.0, **options) == head.ctc.decode(sets, **options)
    assert head.decode(sets, **options) == head.decode(sets, ctc_weight=0.3, **options)
    assert len({tuple(map(str, head.decode(sets, ctc_weight=w, **options))) for w in (0.0, 0.3, 1.0)}) == 3


@pytest.mark.parametrize("num_beams", [1, 3])
def test_together_is_as_alone(num_beams: int) -> None:
    head, lengths = joint(), [30, 2, 0, 17, 16, 3, 1, 9]
    together = head.decode(random_sets(lengths), num_beams=num_beams)
    for result, vectors in zip(together, random_sets(lengths).unpack(), strict=True):
        [alone] = head.decode(VectorSets(vectors, [len(vectors)]), num_beams=num_beams)
        assert result.text == alone.text
        assert result.score == pytest.approx(alone.score, abs=1e-4)


def test_times_come_from_ctc() -> None:
    head, sets = joint(), random_sets([9, 0, 7])
    found = head.decode(sets, num_beams=3, times=True)
    assert found == head.decode(sets, num_beams=3)
    for text, aligned in zip(found, head.align(sets, [text.text for text in found]), strict=True):
        assert (text.words, text.tokens) == (aligned.words, aligned.tokens)
        assert "".join(token.text for token in text.tokens) == text.text
    assert found[0].tokens
    # The decoder alone may write more tokens than there are vectors.
    with torch.no_grad():
        head.decoder.out.bias[TARGET.end] = -100.0
    long, short = head.decode(random_sets([2, 30]), ctc_weight=0.0, max_length=4, times=True)
    assert (len(long.text), long.tokens) == (4, ())
    assert len(short.tokens) == 4


def test_ctc_keeps_the_decoder_within_the_set() -> None:
    """A decoder that never ends: no path of CTC has more tokens than vectors."""
    head = joint()
    with torch.no_grad():
        head.decoder.out.bias[TARGET.end] = -50.0
    for text, length in zip(head.decode(random_sets(), num_beams=2), LENGTHS, strict=True):
        assert len(text.text) <= length
    alone = head.decode(random_sets(), ctc_weight=0.0)
    assert any(len(text.text) > length for text, length in zip(alone, LENGTHS, strict=True))


def test_a_language_model_orders_the_texts_found() -> None:
    target = TextTarget.fit(["ab ba", "cab a"], unit="character")
    head, sets = joint(target), random_sets([6, 0, 8])

    def long_words(before: tuple[str, ...], word: str | None) -> float:
        return 0.0 if word is None else -3.0 / len(word)

    options: dict[str, Any] = {"num_beams": 8, "ctc_weight": 0.4}
    every = head.decode(sets, n_best=8, **options)
    found = head.decode(sets, n_best=2, language_model=long_words, lm_weight=2.0, word_bonus=0.5, **options)
    assert found[1].text == ""
    for i in (0, 2):

        def value(text: Text) -> float:
            words = text.text.split()
            return text.score + sum(2.0 * -3.0 / len(word) + 0.5 for word in words)

        assert list(found[i].n_best) == sorted(every[i].n_best, key=value, reverse=True)[:2]
        assert found[i] == found[i].n_best[0]
    assert [t.text for t in found] != [t.text for t in every]
    assert head.decode(sets, language_model=long_words, num_beams=8, ctc_weight=1.0) == head.ctc.decode(
        sets, language_model=long_words, num_beams=8
    )
    with pytest.raises(ValueError, match="language_model: got num_beams 1, expected 2 or more"):
        head.decode(sets, language_model=long_words)


@pytest.mark.parametrize("unit", ["character", "piece"])
def test_overfits_ten_texts_exactly(unit: str) -> None:
    texts = ["a dog", "a cat", "the dog", "the cat sat", "", "sat", "aaa", "a a", "dog the dog", "s"]
    target = TextTarget.fit(texts, unit=unit)
    sets, targets = random_sets([13] * 10, dim=128), target.batch(texts)
    head = JointHead(128, target, depth=1, dropout=0.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.003)
    for _ in range(100):
        total, count = head.loss(sets, targets)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    for weight in (0.0, 0.3, 1.0):
        for num_beams in (1, 3):
            found = head.decode(sets, num_beams=num_beams, ctc_weight=weight)
            assert [text.text for text in found] == texts


def test_config_round_trip_decodes_the_same() -> None:
    options = {"ctc_weight": 0.4, "depth": 1, "dropout": 0.3, "label_smoothing": 0.1, "max_length": 7}
    head = joint(**options)
    assert isinstance(head, Head)
    config = json.loads(json.dumps(head.config()))
    assert config.items() >= {"kind": "joint", "heads": 2, **options}.items()
    again = JointHead.from_config(config)
    again.load_state_dict(head.state_dict())
    assert again.config() == config
    assert again.decode(random_sets(), num_beams=2) == head.decode(random_sets(), num_beams=2)


def test_nothing_in_nothing_out_and_the_mode_is_kept() -> None:
    head = joint(dropout=0.5).train()
    assert head.decode(random_sets([])) == []
    total, count = head.loss(random_sets([]), TARGET.batch([]))
    total.backward()
    assert (total.item(), count.item()) == (0.0, 0)
    assert head.decode(random_sets([0]), times=True) == [Text("", 0.0)]
    assert head.decode(random_sets(), num_beams=2) == head.decode(random_sets(), num_beams=2)
    assert all(module.training for module in head.modules())


def test_wrong_use_says_what_to_do() -> None:
    for weight in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match="expected a number between 0 and 1; for 0 use a DecoderHead"):
            JointHead(DIM, TARGET, ctc_weight=weight)
    with pytest.raises(ValueError, match="target: got one that copies, which CTC cannot"):
        JointHead(DIM, TextTarget.fit(["a b"], unit="piece", copy=True))
    with pytest.raises(ValueError, match=r"ctc_weight: got 1\.5, expected 0 up to 1"):
        joint().decode(random_sets(), ctc_weight=1.5)
    with pytest.raises(ValueError, match="num_beams"):
        joint().decode(random_sets(), num_beams=0)
    sets = random_sets([0, 3, 2, 5])
    values = sets.values.clone()
    values[4] = math.nan  # in the third set
    with pytest.raises(NotFiniteError) as error:
        joint().decode(sets.with_values(values))
    assert error.value.number == 2


@pytest.mark.gpu
def test_a_gpu_finds_the_same() -> None:
    head = joint()
    found = [head.decode(random_sets(), num_beams=num_beams) for num_beams in (1, 5)]
    head.cuda()
    for num_beams, texts in zip((1, 5), found, strict=True):
        for result, text in zip(
            head.decode(random_sets().to("cuda"), num_beams=num_beams), texts, strict=True
        ):
            assert result.text == text.text
            assert result.score == pytest.approx(text.score, abs=1e-3)
