"""Metrics by name: each on numbers that one can work out by hand."""

import math
from typing import Any

import pytest

from multiseq.metrics import METRICS, Score, compute
from multiseq.recipe_check import METRICS_OF
from multiseq.results import Label, LabelSet, Number, Text


def labels(*names: str, positive: float = 0.9) -> list[Label]:
    found = []
    for name in names:
        p = positive if name == "yes" else 1 - positive
        found.append(Label(name, max(p, 1 - p), {"no": 1 - p, "yes": p}))
    return found


def numbers(*values: float) -> list[Number]:
    return [Number({"v": value}) for value in values]


@pytest.mark.parametrize(
    ("metric", "results", "wanted", "value"),
    [
        ("accuracy", labels("yes", "no", "yes", "no"), ["yes", "no", "no", "no"], 0.75),
        ("frame_accuracy", labels("yes", "no"), ["yes", "yes"], 0.5),
        # yes: precision 1/2, recall 1, F1 2/3; no: precision 1, recall 2/3, F1 4/5.
        ("f1", labels("yes", "no", "yes", "no"), ["yes", "no", "no", "no"], (2 / 3 + 4 / 5) / 2),
        ("f1", labels("yes", "yes"), ["yes", "yes"], 1.0),
        ("roc_auc", labels("yes", "no", "yes"), ["yes", "no", "no"], 0.75),
        ("rmse", numbers(1.0, 5.0), [1.0, 2.0], math.sqrt(4.5)),
        ("mae", numbers(1.0, 5.0, 7.0), [1.0, 2.0, None], 1.5),
        ("r2", numbers(1.0, 2.0, 3.0), [1.0, 2.0, 3.0], 1.0),
        ("r2", numbers(2.0, 2.0, 2.0), [1.0, 2.0, 3.0], 0.0),
        ("exact_match", [Text("a b", 0.0), Text("café", 0.0)], ["a  b", "cafe\u0301"], 1.0),
        ("word_error_rate", [Text("a b", 0.0), Text("c", 0.0)], ["a x", "c d"], 0.5),
        ("word_error_rate", [Text("café", 0.0)], ["cafe\u0301"], 0.0),
        ("character_error_rate", [Text("abcd", 0.0)], ["abxd"], 0.25),
        ("bleu", [Text("the cat sat on the mat", 0.0)], [["a dog", "the cat sat on the mat"]], 100.0),
        ("bleu", [Text("我喜欢吃苹果。", 0.0)], ["我喜欢吃苹果。"], 100.0),
    ],
)
def test_by_hand(metric: str, results: list[Any], wanted: list[Any], value: float) -> None:
    assert compute(metric, results, wanted) == pytest.approx(value)


def test_several_classes_at_once() -> None:
    results = [LabelSet(("a",), {"a": 0.9, "b": 0.2}), LabelSet(("a", "b"), {"a": 0.6, "b": 0.7})]
    # Of a: right, wrong; of b: missing, right. Two right, three found, two there: F1 = 4 / 5.
    wanted = [{"a": True, "b": None}, {"a": False, "b": True}]
    assert compute("f1", results, wanted) == pytest.approx(0.8)
    assert compute("roc_auc", results, [{"a"}, {"b"}]) == 1.0
    assert compute("f1", results, [{"a": None}, {}]) == 0.0  # nothing to score


def test_several_numbers_are_averaged() -> None:
    results = [Number({"a": 1.0, "b": 0.0}), Number({"a": 3.0, "b": 2.0})]
    assert compute("mae", results, [{"a": 1.0, "b": None}, {"a": 5.0, "b": 6.0}]) == pytest.approx(
        (1 + 4) / 2
    )


def test_every_metric_has_a_target_and_nothing_to_score_is_nan() -> None:
    assert {m for metrics in METRICS_OF.values() for m in metrics} == set(METRICS)
    assert all(math.isnan(compute(metric, [], [])) for metric in METRICS)
    with pytest.raises(ValueError, match="expected one of accuracy"):
        compute("acuracy", [], [])
    with pytest.raises(ValueError, match="got 3 classes, expected two"):
        compute("roc_auc", [Label("a", 1.0, {"a": 1.0, "b": 0.0, "c": 0.0})], ["a"])


def test_goodness_is_one_for_the_best_and_higher_is_better() -> None:
    assert Score("", "bleu", 100.0, 1).goodness == 1.0
    assert Score("", "word_error_rate", 0.25, 1).goodness == 0.75
    assert Score("", "accuracy", 0.25, 1).goodness == 0.25
    # An error of half the deviation of the training numbers, whatever their unit.
    assert Score("", "rmse", 500.0, 1, scale=1000.0).goodness == 0.5
