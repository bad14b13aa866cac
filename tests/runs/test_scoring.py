"""What is said about labels before hours of training, and how scores are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq.adapters import TextAdapter
from multiseq.heads.ctc import CTCHead
from multiseq.heads.per_set import SetHead
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
from multiseq.heads.text_target import TextTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.runs.recipe import Recipe
from multiseq.runs.scoring import score, scored_on, shown, summary
from multiseq.tasks import Source, Task
from multiseq.training.evaluation import evaluate
from multiseq.training.item_cache import ItemCache
from multiseq.training.label_check import check_labels

DIM = 4


def model_of(head: Any, metric: str = "") -> Model:
    adapter = TextAdapter.fit(["a b", "c"], dim=DIM)
    return Model({"a": adapter}, Encoder(DIM, 1, 2), {"t": Task("a", head, metric=metric)})


def check(head: Any, labels: list[Any], metric: str = "") -> list[str]:
    source = Source(
        "a", ["a b"] * len(labels), {"t": labels}, locations=[f"f:{i + 1}" for i in range(len(labels))]
    )
    return check_labels(model_of(head, metric), source, ItemCache())


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        (SetHead(DIM, ClassTarget(["a"])), ["a", "b ", None], "t: 1 labels have classes .*: 'b' in f:2"),
        (VectorHead(DIM, ClassTarget(["a"])), [["b", "c"]], "t: 2 labels .*: 'b' in f:1, 'c' in f:1"),
        (SetHead(DIM, MultiLabelTarget(["a"])), [["a"], {"c": 1, "d": 0}], "t: 1 labels .*: 'c' in f:2"),
    ],
)
def test_classes_that_training_lacks_are_named(head: Any, labels: list[Any], message: str) -> None:
    [note] = check(head, labels)
    assert re.fullmatch(message, note)


@pytest.mark.parametrize(
    ("head", "labels", "metric", "message"),
    [
        (
            SetHead(DIM, ClassTarget(["a", "b"])),
            ["a", "c"],
            "roc_auc",
            "f:2: label: got 'c', expected a or b",
        ),
        (SetHead(DIM, NumberTarget(["v"], [0.0], [1.0])), ["x"], "", "f:1: number: got 'x', expected a num"),
        (CTCHead(DIM, TextTarget.fit(["a"], unit="character")), [["a", 3]], "", "f:1: text: got 3, expected"),
        (VectorHead(DIM, ClassTarget(["a"])), [["a"]], "", "f:1: labels: got 1 labels for 2 words"),
        (
            SetHead(DIM, MultiLabelTarget(["a"])),
            [{"a": "maybe"}],
            "",
            "f:1: flag: got 'maybe', expected 1, 0",
        ),
    ],
)
def test_labels_that_cannot_be_judged_are_refused(
    head: Any, labels: list[Any], metric: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(head, labels, metric)


def test_good_labels_are_passed_over_in_silence() -> None:
    assert check(SetHead(DIM, ClassTarget(["1"])), [1.0, "1.0 ", None, ""]) == []
    assert check(CTCHead(DIM, TextTarget.fit(["a"], unit="character")), ["a", ["a", "b"], []]) == []


def test_an_item_without_a_reference_is_left_out() -> None:
    model = model_of(CTCHead(DIM, TextTarget.fit(["a"], unit="character")))
    score = evaluate(model, [Source("a", ["", "b"], {"t": [["x", ""], []]})], task="t")
    assert (score.value, score.num_items) == (1.0, 1)  # of an empty set the text is empty


@pytest.mark.usefixtures("unchecked")
def test_which_sources_are_scored() -> None:
    model, source = model_of(SetHead(DIM, ClassTarget(["x"]))), Source("a", ["b"], {"t": ["x"]})
    with pytest.raises(ValueError, match=r"sources: got one Source, expected a list of them; use \[source\]"):
        evaluate(model, source, task="t")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"task: got 'u'; expected one of t"):
        evaluate(model, [source], task="u")


def test_errors_are_printed_with_their_digits() -> None:
    assert [shown("rmse", v) for v in (1.23456e-7, 0.5, 1234567.0)] == ["1.235e-07", "0.5", "1.235e+06"]
    assert [shown("r2", v) for v in (0.12345, -123.456)] == ["0.123", "-123.5"]


def test_a_score_below_the_baseline_is_said() -> None:
    entry = {"split": "test", "metric": "accuracy", "value": 0.5, "baseline": 0.6}
    error = {"split": "test", "metric": "rmse", "value": 0.5, "baseline": 0.6}
    assert "simple method: mood. If the loss in training" in scored_on({"mood": entry, "size": error})
    assert "Worse" not in scored_on({"mood": {**entry, "value": 0.6}, "size": {**error, "baseline": None}})


# --- intervals ------------------------------------------------------------------------------------


def scores_of(names: list[str], half_widths: list[float], labels: list[Any]) -> dict[str, Any]:
    """The scores of a model that predicts 0 for each number."""
    num = len(names)
    head = SetHead(DIM, NumberTarget(names, [0.0] * num, [2.0] * num, half_widths=half_widths))
    model = model_of(head)
    for weights in head.parameters():
        torch.nn.init.zeros_(weights)
    recipe = Recipe("r", Path(), "", {"tasks": {"t": {"data": "d"}}})
    source = Source("a", ["a b"] * len(labels), {"t": labels})
    return score(model, recipe, [], [source], "test", ItemCache())["t"]


def test_scores_of_numbers_say_how_many_labels_are_in_their_interval() -> None:
    entry = scores_of(["value"], [0.5], [-1.0, 0.5, 1.5, None])  # the interval is -1 to 1
    assert entry["value_coverage"] == pytest.approx(2 / 3)
    assert not [key for key in entry if "baseline_coverage" in key or "value_coverage_" in key]
    assert scores_of(["value"], [], [0.5])["value_coverage"] is None  # not calibrated


def test_the_coverage_of_several_numbers_is_their_mean_and_that_of_each() -> None:
    labels = [{"x": 0.5, "y": 3.0}, {"x": 2.0}, {"x": None, "y": 9.0}, {"x": 1, "y": -4}, {"x": 5, "y": 0}]
    entry = scores_of(["x", "y"], [0.5, 2.0], labels)  # -1 to 1, and -4 to 4
    names = ("value_coverage", "value_coverage_x", "value_coverage_y")
    assert [entry[name] for name in names] == pytest.approx([0.625, 0.5, 0.75])
    other = {**entry, "value_coverage_x": 0.7, "value_coverage": None}  # as a fold without intervals
    of_folds = summary([{"t": entry}, {"t": other}])["t"]
    assert of_folds["value_coverage_x"] == pytest.approx(0.6)
    assert of_folds["value_coverage"] == pytest.approx(0.625)
