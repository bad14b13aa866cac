"""Whether two items are of one class: equal error by hand, calibration, and voices that are new."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import (
    ClassTarget,
    Encoder,
    Model,
    NumberTarget,
    SetHead,
    Source,
    SpeechAdapter,
    Task,
    TextAdapter,
    VectorHead,
    calibrate,
    load,
    save,
    train,
)
from multiseq.heads.verification import Verification, equal_error_rate, pairs_of
from multiseq.results import Similarity
from multiseq.training.confidence import forget_calibration

RATE = 8000


# --- numbers by hand ------------------------------------------------------------------------------


def rate_of(same: list[float], different: list[float]) -> tuple[float, float]:
    kinds = torch.tensor([True] * len(same) + [False] * len(different))
    return equal_error_rate(torch.tensor([*same, *different]), kinds)


@pytest.mark.parametrize(
    ("same", "different", "rate", "threshold"),
    [
        ([0.9, 0.8], [0.2, 0.1], 0.0, 0.5),
        ([0.9, 0.8, 0.7, 0.3], [0.6, 0.4, 0.2, 0.1], 0.25, 0.5),
        ([0.1, 0.2], [0.8, 0.9], 1.0, 0.5),  # the wrong way round
        # From 0.5 on: half of the different ones accepted, no same one rejected. Above: none, and half.
        ([0.9, 0.5], [0.5, 0.1], 0.25, 0.7),
        ([0.5, 0.5], [0.5, 0.5, 0.5], 0.5, 0.5),
        # 1/3 of the different ones and none of the same, then none and 1/2 : they meet at 1/5.
        ([0.9, 0.6], [0.6, 0.2, 0.1], 0.2, 0.4),
        # -1 and 1 are possible cosines.
        ([1.0], [-1.0], 0.0, 0.0),
    ],
)
def test_equal_error_by_hand(
    same: list[float], different: list[float], rate: float, threshold: float
) -> None:
    found = rate_of(same, different)
    assert found == (pytest.approx(rate), pytest.approx(threshold))


def test_equal_error_of_two_normal_distributions() -> None:
    """Means 0 and 2, deviation 1: the shares are equal at 1, and are P(z > 1) = 0.1587."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40_000, generator=generator)
    kinds = torch.arange(40_000) % 4 == 0  # another share of same pairs changes nothing
    rate, threshold = equal_error_rate(scores + 2 * kinds, kinds)
    assert (rate, threshold) == (pytest.approx(0.1587, abs=0.006), pytest.approx(1.0, abs=0.04))


def test_equal_error_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="same: got 2 same and 0 different pairs, expected both"):
        rate_of([0.5, 0.6], [])


def test_pairs() -> None:
    first, second, same = pairs_of(["a", "b", "a", "c", "a", "b"])
    classes = "abacab"
    assert [classes[i] == classes[j] for i, j in zip(first, second, strict=True)] == same.tolist()
    made = [tuple(pair) for pair in torch.stack([first, second], 1).tolist()]
    assert len(set(made)) == len(made) == 8  # a with a: 3, b with b: 1; and as many others
    assert {(0, 2), (0, 4), (2, 4), (1, 5)} == {p for p, s in zip(made, same, strict=True) if s}
    assert torch.equal(pairs_of(["a", "b", "a", "c", "a", "b"])[1], second)
    assert pairs_of("aab")[2].tolist() == [True, False]
    assert pairs_of("aaa")[2].tolist() == [True] * 3
    assert len(pairs_of("aab" * 20, most=5)[0]) == 10
    assert len(pairs_of([])[0]) == 0


def test_the_probability_by_hand() -> None:
    """Two cosines only, so that the logistic curve can pass through both shares."""
    cosines = torch.tensor([0.8] * 100 + [0.2] * 100)
    same = torch.tensor([True] * 90 + [False] * 10 + [True] * 10 + [False] * 90)
    fitted = Verification.fit(cosines, same)
    believed = 0.9 * 101 / 102 + 0.1 / 102
    assert fitted.similarity(0.8).probability == pytest.approx(believed, abs=1e-4)
    assert fitted.similarity(0.2).probability == pytest.approx(1 - believed, abs=1e-4)
    assert fitted.threshold == pytest.approx(0.5)
    logit = math.log(believed / (1 - believed))
    assert fitted.slope == pytest.approx(2 * logit / 0.6, rel=1e-3)
    assert fitted.intercept == pytest.approx(-fitted.slope / 2, rel=1e-3)


def test_cosines_that_separate_all_pairs_give_a_finite_slope() -> None:
    same = torch.arange(60) % 2 == 0
    fitted = Verification.fit(torch.where(same, 0.9, 0.1), same)
    assert 0 < fitted.slope < 100
    assert fitted.similarity(0.9).probability == pytest.approx(31 / 32, abs=1e-3)
    with pytest.raises(ValueError, match="verification: slope: got nan, expected a finite number"):
        Verification(math.nan, 0.0, 0.5)


def test_how_a_similarity_prints() -> None:
    assert str(Similarity(0.825)) == "cosine 0.82"
    assert str(Similarity(0.5, 0.9712, True)) == "same (P(same) = 97%)"
    assert str(Similarity(0.1, 0.031, False)) == "different (P(same) = 3%)"


# --- embeddings -----------------------------------------------------------------------------------


def texts() -> tuple[Model, list[str]]:
    items = [f"{a} {b}" for a in ("red", "blue", "green") for b in ("lamp", "chair", "wide old door", "cup")]
    model = Model(
        {"text": TextAdapter.fit(items, dim=16)},
        Encoder(dim=16, depth=1, heads=2),
        {
            "colour": Task("text", SetHead(16, ClassTarget(["blue", "red"], margin=0.2, scale=8.0))),
            "plain": Task("text", SetHead(16, ClassTarget(["blue", "red"]), pool="sum")),
            "words": Task("text", VectorHead(16, ClassTarget(["a", "b"]))),
            "price": Task("text", SetHead(16, NumberTarget.fit([1.0, 2.0]))),
        },
    )
    return model.eval(), items


def test_embeddings_are_what_the_last_layer_sees() -> None:
    model, items = texts()
    vectors = model.task_embeddings("colour", items, max_vectors=7)
    assert vectors.shape == (12, 16)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1.0] * 12)
    weight: Any = model.task("colour").head.read[-1].weight  # type: ignore[attr-defined]
    cosines = vectors @ torch.nn.functional.normalize(weight.detach(), dim=1).T
    shares = [label.probabilities["red"] for label in model.predict("colour", items)]
    assert shares == pytest.approx((8 * cosines).softmax(1)[:, 1].tolist(), rel=1e-4)


def test_an_embedding_does_not_depend_on_the_other_items() -> None:
    model, items = texts()
    for task in ("colour", "plain", "price"):
        together = model.task_embeddings(task, items)
        alone = torch.cat([model.task_embeddings(task, [item]) for item in items])
        assert torch.allclose(together, alone, atol=1e-5)
        assert not together.requires_grad


def test_comparing_without_calibration() -> None:
    model, items = texts()
    vectors = model.task_embeddings("colour", items)
    found = model.compare("colour", items[:3], items[3:6])
    by_hand = [float(vectors[i] @ vectors[i + 3]) for i in range(3)]
    assert [one.cosine for one in found] == pytest.approx(by_hand, abs=1e-5)
    assert {(one.probability, one.same) for one in found} == {(None, None)}
    assert model.compare("colour", [], []) == []


@pytest.mark.parametrize(
    ("first", "second", "task", "message"),
    [
        (["a", "b"], ["a"], "colour", "second: got 1 items for 2 first ones, expected as many"),
        (["a"], ["b"], "words", "task: got 'words' with a VectorHead, expected a SetHead"),
        ("a", ["b"], "colour", "items: got one string, expected a list of items"),
        (["a"], ["b"], "size", "task: got 'size', expected one of colour"),
    ],
)
def test_what_cannot_be_compared(first: Any, second: Any, task: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        texts()[0].compare(task, first, second)


# --- voices that training never heard ---------------------------------------------------------------


def voice(pitch: float, seed: int) -> tuple[torch.Tensor, int]:
    """Half a second of a 'speaker': harmonics of nearly the same pitch, of very different loudness."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(RATE // 2) / RATE
    heard = pitch * (1 + 0.01 * float(torch.randn((), generator=generator)))
    loud = 0.15 * 10 ** (-1.5 * torch.rand(6, generator=generator))
    tones = [loud[k] * torch.sin(2 * math.pi * (k + 1) * heard * times) for k in range(6)]
    return sum(tones) + 0.005 * torch.randn(len(times), generator=generator), RATE


def spoken(speakers: dict[str, float], num: int, seed: int) -> tuple[list[Any], list[str]]:
    pairs = [(name, i) for name in speakers for i in range(num)]
    items = [voice(speakers[name], seed + 100 * n + i) for n, (name, i) in enumerate(pairs)]
    return items, [name for name, _ in pairs]


@pytest.fixture(scope="module")
def voices() -> tuple[Model, dict[str, str]]:
    """A tiny model of twelve speakers by pitch, calibrated on three others."""
    torch.manual_seed(0)
    items, speakers = spoken({f"s{i}": 90.0 * 1.1**i for i in range(12)}, 6, 0)
    adapter = SpeechAdapter.fit(items, dim=24, n_mels=40, sample_rate=RATE, subsample=4, specaugment=False)
    head = SetHead(24, ClassTarget.fit(speakers, margin=0.2, scale=16.0))
    model = Model({"speech": adapter}, Encoder(dim=24, depth=1, heads=2), {"speaker": Task("speech", head)})
    source = Source("speech", items, {"speaker": speakers})
    train(model, [source], steps=60, lr=5e-3, progress=False)
    others, names = spoken({"d0": 100.0, "d1": 143.0, "d2": 205.0}, 7, 20_000)
    dev = Source("speech", [*others, *items[::6]], {"speaker": [*names, *speakers[::6]]})
    return model, calibrate(model, [dev], sources=[source])


def test_new_voices_are_verified(voices: tuple[Model, dict[str, str]]) -> None:
    model, _ = voices
    items, names = spoken({"t0": 115.0, "t1": 168.0, "t2": 240.0}, 8, 50_000)
    vectors = model.task_embeddings("speaker", items)
    first, second, same = pairs_of(names)
    rate, _ = equal_error_rate((vectors[first] * vectors[second]).sum(-1), same)
    assert rate < 0.1  # chance: 0.5
    found = model.compare("speaker", [items[i] for i in first], [items[i] for i in second])
    right = [one.same == bool(there) for one, there in zip(found, same, strict=True)]
    assert sum(right) / len(right) > 0.8
    likely = [one.probability for one in found]
    assert all(p is not None and 0 < p < 1 for p in likely)


def test_only_pairs_of_new_voices_are_calibrated_on(voices: tuple[Model, dict[str, str]]) -> None:
    """3 speakers with 7 recordings: 3 · 21 pairs, and as many others."""
    assert ": equal error rate" in voices[1]["speaker"]
    assert "on 126 pairs of dev items" in voices[1]["speaker"]
    assert "no distance from the training data, with 12 dev items" in voices[1]["speaker"]  # those known


def test_a_checkpoint_keeps_the_threshold(voices: tuple[Model, dict[str, str]], tmp_path: Path) -> None:
    model, _ = voices
    target: Any = model.task("speaker").head.target
    loaded: Any = load(save(model, tmp_path / "model"))
    assert loaded.task("speaker").head.target.verification == target.verification
    pair = [voice(120.0, 1)], [voice(120.0, 2)]
    assert loaded.compare("speaker", *pair)[0].same == model.compare("speaker", *pair)[0].same
    forget_calibration(loaded)
    assert loaded.compare("speaker", *pair)[0].probability is None


def test_known_classes_are_calibrated_on_with_a_margin_only() -> None:
    items = [f"{'red' if i % 2 else 'blue'} lamp {i}" for i in range(24)]
    labels = [item.split()[0] for item in items]
    said = []
    for margin in (0.0, 0.2):
        torch.manual_seed(0)
        head = SetHead(16, ClassTarget.fit(labels, margin=margin))
        model = Model(
            {"text": TextAdapter.fit(items, dim=16)}, Encoder(16, 1, 2), {"colour": Task("text", head)}
        )
        dev = Source("text", items, {"colour": labels})
        said.append((calibrate(model, [dev])["colour"], head.target.verification))
    assert "same class" not in said[0][0]
    assert said[0][1] is None
    assert "on 264 pairs of dev items" in said[1][0]  # 2 · 12 · 11 / 2, and as many others
    assert said[1][1] is not None
