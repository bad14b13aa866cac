"""The angular margin of classes: logits, loss and gradients by hand; in a config and in a recipe."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from multiseq import ClassTarget, SetHead, VectorHead, VectorSets
from multiseq.heads.margin import CosineLinear, with_margin
from multiseq.heads.targets import target_from_config
from multiseq.runs.recipe import RecipeError, read


def at(*angles: float, scale: float = 10.0) -> torch.Tensor:
    """A row of logits for a vector at these angles to the classes."""
    return scale * torch.tensor([[math.cos(angle) for angle in angles]])


def test_logits_are_scaled_cosines() -> None:
    layer = CosineLinear(2, 3, scale=10.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, -1.0]]))
    by_hand = [[10 * 0.6, 10 * 0.8, -10 * 1.4 / math.sqrt(2)], [0.0, 0.0, 0.0]]
    assert layer(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist() == [pytest.approx(row) for row in by_hand]
    assert dict(layer.named_parameters()).keys() == {"weight"}


def test_the_loss_by_hand() -> None:
    """The angle 0.7 to the true class counts as 0.9; that to the other class stays."""
    target = ClassTarget(["a", "b"], margin=0.2, scale=10.0)
    total, count = target.loss(at(0.7, 1.1), target.batch(["a"]))
    by_hand = math.log(1 + math.exp(10 * math.cos(1.1) - 10 * math.cos(0.9)))
    assert (total.item(), count.item()) == (pytest.approx(by_hand, rel=1e-4), 1)
    assert target.decode(at(0.7, 1.1))[0].probability == pytest.approx(  # predictions have no margin
        1 / (1 + math.exp(10 * math.cos(1.1) - 10 * math.cos(0.7))), rel=1e-5
    )


def test_a_larger_angle_is_never_better() -> None:
    angles = torch.linspace(0.0, math.pi, 1001)
    logits = 10 * angles.cos()[:, None]
    for margin in (0.2, 0.5, 1.0):
        moved = with_margin(logits, torch.zeros(1001, dtype=torch.long), margin=margin, scale=10.0)[:, 0]
        assert (moved.diff() <= 1e-5).all()
        inside = angles < math.pi - margin - 0.01
        assert torch.allclose(moved[inside], 10 * (angles[inside] + margin).cos(), atol=0.02)
        assert moved[-1].item() == pytest.approx(-10 - 10 * margin * math.sin(margin), rel=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 1.0, math.pi - 1e-4, math.pi])
def test_gradients_are_finite_at_every_angle(angle: float) -> None:
    layer = CosineLinear(2, 2, scale=30.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    x = torch.tensor([[3 * math.cos(angle), 3 * math.sin(angle)]], requires_grad=True)
    target = ClassTarget(["a", "b"], margin=0.2)
    target.loss(layer(x), target.batch(["a"]))[0].backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert x.grad.isfinite().all()
    assert layer.weight.grad.isfinite().all()
    assert x.grad.norm() < 40  # |d cos / d x| is at most 1 / |x|, and the logit's slope at most 30 times


def test_gradients_agree_with_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=generator)
    layer, target = CosineLinear(3, 4, scale=10.0), ClassTarget(list("abcd"), margin=0.3, scale=10.0)
    labels = target.batch(["a", "b", None, "d", "c"])
    x.requires_grad_()
    target.loss(layer(x), labels)[0].backward()
    assert x.grad is not None
    step = torch.zeros_like(x)
    step[3, 1] = 1e-2
    with torch.no_grad():
        up, down = (target.loss(layer(x + sign * step), labels)[0].item() for sign in (1, -1))
    assert x.grad[3, 1].item() == pytest.approx((up - down) / 2e-2, rel=2e-2, abs=1e-3)


def test_a_missing_label_counts_nothing() -> None:
    target = ClassTarget(["a", "b"], margin=0.2, scale=10.0)
    logits = torch.cat([at(0.7, 1.1), at(0.1, 2.0)]).requires_grad_()
    total, count = target.loss(logits, target.batch(["a", None]))
    alone, _ = target.loss(logits[:1], target.batch(["a"]))
    total.backward()
    assert (total.item(), count.item()) == (pytest.approx(alone.item()), 1)
    assert logits.grad is not None
    assert logits.grad[1].tolist() == [0.0, 0.0]


def test_with_class_weights_and_label_smoothing() -> None:
    """Both apply to the logits that have the margin."""
    logits = torch.cat([at(0.7, 1.1), at(1.0, 0.3)])
    target = ClassTarget(["a", "b"], weights=[0.5, 2.0], label_smoothing=0.2, margin=0.2, scale=10.0)
    moved = torch.cat([at(0.9, 1.1), at(1.0, 0.5)]).log_softmax(1)
    share = torch.tensor([[0.9, 0.1], [0.1, 0.9]]) * torch.tensor([0.5, 2.0])
    total, _ = target.loss(logits, target.batch(["a", "b"]))
    assert total.item() == pytest.approx(-(share * moved).sum().item(), rel=1e-4)


def test_without_a_margin_all_is_as_before() -> None:
    target, logits = ClassTarget(["a", "b"]), torch.randn(3, 2)
    labels = target.batch(["a", "b", "a"])
    assert torch.equal(target.loss(logits, labels)[0], F.cross_entropy(logits, labels, reduction="sum"))
    assert not {"margin", "scale"} & set(target.config())
    assert type(SetHead(4, target).read[-1]) is torch.nn.Linear


@pytest.mark.parametrize("kind", [SetHead, VectorHead])
def test_a_head_and_its_config_keep_the_margin(kind: Any) -> None:
    head = kind(4, ClassTarget.fit(["a", "b", "c"], margin=0.3, scale=16.0))
    again = kind.from_config(json.loads(json.dumps(head.config())))
    again.load_state_dict(head.state_dict())
    assert (again.target.margin, again.target.scale) == (0.3, 16.0)
    assert target_from_config(again.target.config()).margin == 0.3
    sets = VectorSets.from_list([torch.randn(3, 4), torch.randn(2, 4)])
    again.eval(), head.eval()
    assert torch.equal(again(sets), head(sets))
    assert head(sets).abs().max() <= 16.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, r"margin: got -0\.1, expected from 0 to 1"),
        ({"margin": 2.0}, r"margin: got 2\.0, expected from 0 to 1"),
        ({"margin": 0.2, "scale": 0.0}, r"scale: got 0\.0, expected a positive number"),
    ],
)
def test_what_cannot_be(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassTarget(["a", "b"], **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["tasks.sentiment.margin=1.0"], r"\[tasks\.sentiment\] margin: got 1\.0, expected 0 up to below 1"),
        (["tasks.sentiment.scale=20"], r"\[tasks\.sentiment\]: scale goes with a margin"),
        (
            ["tasks.sentiment.margin=0.2", "tasks.sentiment.scale=0"],
            r"scale: got 0, expected a number",
        ),
        (["tasks.hydrophilicity.margin=0.2"], r"margin goes with the target class, got number"),
    ],
)
def test_a_recipe_that_cannot_be(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read("starter", changes)


def test_a_recipe_gives_it_to_its_target() -> None:
    from multiseq.runs.build import _target

    changes = ["tasks.sentiment.margin=0.2", "tasks.sentiment.scale=20"]
    target = _target(read("starter", changes).tasks["sentiment"], ["a", "b"])
    assert (target.margin, target.scale) == (0.2, 20)
