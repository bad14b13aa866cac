"""Class weights and label smoothing of targets: in the loss, in a checkpoint's config, in a recipe."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from multiseq import ClassTarget, MultiLabelTarget
from multiseq.heads.targets import target_from_config
from multiseq.runs.recipe import RecipeError, read

RARE = ["a", "a", "a", "b", None]
FLAGS = [
    {"x": True, "y": None},
    {"x": False},
    {"x": False, "y": True},
    ["x", "y"],
    None,
    {"x": True, "y": True},
]


def test_balanced_weights_by_hand() -> None:
    """4 labels, 2 classes: 4 / (2 * 3) and 4 / (2 * 1). Their mean over the labels is 1."""
    target = ClassTarget.fit(RARE, class_weight="balanced")
    assert target.weights == pytest.approx([2 / 3, 2.0])
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)], [5.0, 7.0]])  # probabilities 1/4 and 3/4
    total, count = target.loss(logits, target.batch(["a", "b", None]))
    assert total.item() == pytest.approx(2 / 3 * math.log(4) + 2 * math.log(4 / 3))
    assert count.item() == 2


def test_balanced_classes_and_no_weights_are_the_same() -> None:
    labels, logits = ["a", "b", "b", "a"], torch.randn(4, 2)
    plain, balanced = ClassTarget.fit(labels), ClassTarget.fit(labels, class_weight="balanced")
    targets = plain.batch(labels)
    assert plain.weights == []
    assert torch.equal(plain.loss(logits, targets)[0], balanced.loss(logits, targets)[0])


def test_balanced_flags_by_hand() -> None:
    """x: 3 present, 2 absent. y: 3 present, and no label says absent, so its weight is 1."""
    target = MultiLabelTarget.fit(FLAGS, class_weight="balanced")
    assert target.labels == ["x", "y"]
    assert target.weights == [pytest.approx([5 / 4, 5 / 6]), [1.0, 1.0]]
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])  # x is present with probability 3/4
    total, count = target.loss(logits, target.batch([{"x": True}, {"x": False}]))
    assert total.item() == pytest.approx(5 / 6 * math.log(4 / 3) + 5 / 4 * math.log(4))
    assert count.item() == 2


def test_label_smoothing_by_hand() -> None:
    """A fifth of the label goes to all four classes evenly: 0.85 for the right one, 0.05 for each other."""
    target = ClassTarget(list("abcd"), label_smoothing=0.2)
    logits = torch.tensor([[0.0, 0.0, math.log(2), 0.0]])  # probabilities 1/5, 1/5, 2/5, 1/5
    total, count = target.loss(logits, target.batch(["c"]))
    assert total.item() == pytest.approx(-0.85 * math.log(0.4) - 3 * 0.05 * math.log(0.2))
    assert count.item() == 1


@pytest.mark.parametrize(
    "target",
    [
        ClassTarget.fit(RARE, class_weight="balanced", label_smoothing=0.1),
        MultiLabelTarget.fit(FLAGS, class_weight="balanced"),
        ClassTarget.fit(RARE),
    ],
)
def test_a_checkpoint_keeps_them(target: Any) -> None:
    again = target_from_config(json.loads(json.dumps(target.config())))
    assert again.weights == target.weights
    assert getattr(again, "label_smoothing", 0) == getattr(target, "label_smoothing", 0)


def test_the_config_of_a_target_without_them_does_not_mention_them() -> None:
    for target in (ClassTarget(["a"]), MultiLabelTarget(["a"])):
        assert not {"weights", "label_smoothing"} & set(target.config())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: ClassTarget.fit("ab", class_weight="even"),
            r"class_weight: got 'even'; expected one of balanced",
        ),
        (lambda: ClassTarget(["a", "b"], weights=[1.0]), r"weights: got 1, expected 2, one for each class"),
        (lambda: ClassTarget(["a"], weights=[-1.0]), r"weights: got -1\.0, expected finite numbers above 0"),
        (lambda: MultiLabelTarget(["a"], weights=[[1.0]]), r"weights: got 1, expected 2"),
        (lambda: ClassTarget(["a"], label_smoothing=2.0), r"label_smoothing: got 2\.0, expected from 0 to 1"),
    ],
)
def test_what_cannot_be(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tasks.sentiment.class_weight=even", r"\[tasks\.sentiment\] class_weight: got 'even'"),
        (
            "tasks.hydrophilicity.class_weight=balanced",
            r"class_weight goes with the target class or multilabel",
        ),
        (
            "tasks.hydrophilicity.label_smoothing=0.1",
            r"label_smoothing goes with the target class, got number",
        ),
        ("tasks.sentiment.label_smoothing=1.0", r"label_smoothing: got 1\.0, expected 0 up to below 1"),
    ],
)
def test_a_recipe_that_cannot_be(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read("starter", [change])


def test_a_recipe_gives_them_to_its_target() -> None:
    from multiseq.runs.build import _target

    changes = ["tasks.sentiment.class_weight=balanced", "tasks.sentiment.label_smoothing=0.1"]
    target = _target(read("starter", changes).tasks["sentiment"], RARE)
    assert (target.weights, target.label_smoothing) == (pytest.approx([2 / 3, 2.0]), 0.1)
