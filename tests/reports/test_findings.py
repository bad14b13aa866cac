"""Findings of a report: scores by class, ranks of items, and suspected label errors."""

from __future__ import annotations

import math

import pytest

from multiseq.results import Label, LabelSet, Number, Text
from multiseq.runs.reports.findings import (
    Unit,
    badness,
    by_class,
    doubt,
    is_wrong,
    label_text,
    suspects,
    units,
)
from multiseq.training.evaluation import Judged


def label(**shares: float) -> Label:
    best = max(shares, key=shares.__getitem__)
    return Label(best, shares[best], shares)


def unit(result: object, wanted: object) -> Unit:
    return Unit(Judged(0, [result], [wanted]))


def test_precision_recall_and_f1_by_hand() -> None:
    wanted = [["a"], ["a"], ["a"], ["b"], ["b", "c"]]
    found = [["a"], ["a"], ["b"], ["b"], ["c"]]
    a, b, c = by_class(wanted, found)
    assert (a.name, a.count, a.precision, a.recall, a.f1) == ("a", 3, 1.0, 2 / 3, 0.8)
    assert (b.name, b.count, b.precision, b.recall, b.f1) == ("b", 2, 0.5, 0.5, 0.5)
    assert (c.precision, c.recall) == (1.0, 1.0)
    assert by_class([], []) == []


def test_badness_of_each_kind_of_prediction() -> None:
    assert badness(unit(label(a=0.25, b=0.75), "a")) == pytest.approx(-math.log(0.25))
    assert badness(unit(label(a=1.0, b=0.0), "unseen")) == pytest.approx(-math.log(1e-12))
    several = LabelSet(("a",), {"a": 0.5, "b": 0.25})
    assert badness(unit(several, ["a"])) == pytest.approx((math.log(2) - math.log(0.75)) / 2)
    number = Number({"x": 3.0, "y": 1.0}, "m", {"x": 2.0, "y": 1.0})
    assert badness(unit(number, {"x": 7.0, "y": None})) == pytest.approx(2.0)
    assert badness(unit(Text("abcd", -1.0), ["wxyz", "abcx"])) == pytest.approx(0.25)


def test_one_wrong_word_is_not_worse_than_ten() -> None:
    wrong = label(a=0.9, b=0.1)
    one, ten = (Unit(Judged(0, [wrong] * n, ["b"] * n), several=True) for n in (1, 10))
    more = Unit(Judged(0, [wrong, label(a=0.1, b=0.9)], ["b", None]), several=True)
    assert badness(one) == badness(more) == pytest.approx(-math.log(0.1) / 3)
    assert badness(ten) == pytest.approx(-math.log(0.1) * 10 / 12)


def test_doubt_is_that_of_the_least_sure_vector() -> None:
    assert doubt(Unit(Judged(0, [label(a=0.9, b=0.1), label(a=0.6, b=0.4)], ["a", "b"]))) == pytest.approx(
        0.4
    )
    assert doubt(unit(LabelSet((), {"a": 0.1, "b": 0.45}), [])) == pytest.approx(0.45)
    assert doubt(unit(Text("abc", -2.0), "x")) == pytest.approx(0.5)
    assert doubt(unit(Number({"x": 1.0}), 1.0)) is None  # without intervals nobody knows


def test_what_is_wrong() -> None:
    assert not is_wrong(label(**{"1": 1.0}), 1.0)
    assert is_wrong(label(a=1.0), "b")
    assert is_wrong(LabelSet(("a",), {"a": 0.9}), ["b"])
    assert not is_wrong(Text("yes", 0.0), ["no", "yes"])
    assert [label_text(v) for v in (1.0, "a ", ["x", "y"], {"n": 2.0})] == ["1", "a", "x, y", "n: 2.0"]


def test_few_items_are_ranked_by_their_vectors() -> None:
    network = Judged(0, [label(a=1.0)] * 5, ["a", None, "a", "b", None])
    assert [u.vector for u in units([network], "vector", 100)] == [0, 2, 3]
    assert [(u.vector, u.several) for u in units([network] * 8, "vector", 100)] == [(None, True)] * 8
    items = [Judged(i, [label(a=1.0)], ["a"]) for i in range(10)]
    assert [u.judged.item for u in units(items, "set", 5)] == [0, 2, 4, 6, 8]


def test_flipped_labels_are_suspected_first() -> None:
    # Twenty confident items of two classes; the labels of two are flipped, and one item is unclear.
    results = [label(a=0.9, b=0.1)] * 10 + [label(a=0.1, b=0.9)] * 10 + [label(a=0.55, b=0.45)]
    labels = ["a"] * 10 + ["b"] * 10 + ["b"]
    labels[3], labels[12] = "b", "a"
    # t_a = (9 · 0.9 + 0.1) / 10 = 0.82: 0.55 is not sure enough, although a is more probable than b.
    found = suspects(results, labels)
    assert [(s.place, s.label, s.better) for s in found] == [(3, "b", "a"), (12, "a", "b")]
    assert [s.probability for s in found] == [0.9, 0.9]


def test_no_label_is_suspected_where_nothing_can_be_compared() -> None:
    assert suspects([], []) == []
    assert suspects([label(a=1.0)], ["a"]) == []  # one class
    assert suspects([label(a=0.9, b=0.1)], ["unseen"]) == []
    assert suspects([label(a=0.1, b=0.9)] * 3, ["a"] * 3) == []  # no item is labelled b: how sure is sure?
