"""Heads per vector and per set, and what their targets mean by a label, a loss and a result."""

import copy
import json
import math
import pickle
import sys
from typing import Any

import pytest
import torch

from multiseq.heads.per_set import SetHead
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget, target_from_config
from multiseq.nn.pool import pool
from multiseq.results import NotFiniteError
from multiseq.vectors import VectorSets

SETS = VectorSets(torch.randn(10, 5, generator=torch.Generator().manual_seed(0)), [3, 0, 7])


def test_pooling_by_hand() -> None:
    sets = VectorSets(torch.tensor([[1.0], [3.0], [5.0]]), [2, 0, 1])
    assert pool(sets, "mean").tolist() == [[2.0], [0.0], [5.0]]
    assert pool(sets, "sum").tolist() == [[4.0], [0.0], [5.0]]
    scores = torch.tensor([0.0, math.log(3.0), 9.0])
    torch.testing.assert_close(pool(sets, "attention", scores), torch.tensor([[2.5], [0.0], [5.0]]))
    with pytest.raises(ValueError, match="needs scores"):
        pool(sets, "attention")


@pytest.mark.parametrize("how", ["mean", "sum", "attention"])
def test_set_head_is_the_same_alone_and_in_a_batch(how: str) -> None:
    head = SetHead(5, ClassTarget(["a", "b", "c"]), pool=how).eval()  # type: ignore[arg-type]
    together = head(SETS)
    assert together.shape == (3, 3)
    for i in range(3):
        torch.testing.assert_close(head(SETS.select([i]))[0], together[i])


def test_order_of_vectors_does_not_matter_to_a_set_head() -> None:
    head = SetHead(5, ClassTarget(["a", "b"])).eval()
    sets = SETS.select([2])
    shuffled = sets.with_values(sets.values[torch.randperm(7, generator=torch.Generator().manual_seed(1))])
    torch.testing.assert_close(head(shuffled), head(sets))


def test_class_loss_by_hand_leaves_missing_labels_out() -> None:
    target = ClassTarget(["no", "yes"])
    total, count = target.loss(torch.zeros(3, 2), target.batch(["yes", None, "no"]))
    assert count.item() == 2
    torch.testing.assert_close(total, torch.tensor(2 * math.log(2)))


def test_shards_of_unequal_size_add_up() -> None:
    head = VectorHead(5, ClassTarget(["a", "b", "c"])).eval()
    labels = head.target.batch([["a", "b", "c", None][i % 4] for i in range(10)])
    whole, count = head.loss(SETS, labels)
    parts = [head.loss(SETS.select([0]), labels[:3]), head.loss(SETS.select([2]), labels[3:])]
    torch.testing.assert_close(whole, parts[0][0] + parts[1][0])
    assert count == parts[0][1] + parts[1][1]


def test_numbers_come_back_in_the_users_unit() -> None:
    target = NumberTarget.fit([10.0, 20.0, None, 30.0], unit="euro")
    batch = target.batch([20.0, None])
    assert batch[0].item() == pytest.approx(0.0)
    assert batch[1].isnan().all()
    total, count = target.loss(torch.tensor([[1.0], [5.0]]), batch)
    assert (total.item(), count.item()) == (pytest.approx(1.0), 1)
    result = target.decode(torch.zeros(1, 1))[0]
    assert (result.value, str(result)) == (20.0, "20 euro")


def test_numbers_keep_their_digits() -> None:
    """Seconds since 1970: a large mean, a small deviation."""
    times = [1.7e9, 1.7e9 + 1, 1.7e9 + 2]
    target = NumberTarget.fit(times)
    assert [r.value for r in target.decode(target.batch(times))] == pytest.approx(times, abs=0.01)
    assert [str(r) for r in target.decode(target.batch(times))] == ["1700000000", "1700000001", "1700000002"]
    flat = NumberTarget.fit([0.1, 0.1, 0.1])
    assert flat.batch([0.1]).abs().item() < 1e-6
    with pytest.raises(ValueError, match="expected finite numbers"):
        NumberTarget.fit([1.0, math.inf])


def test_several_numbers_with_missing_ones() -> None:
    target = NumberTarget.fit([{"a": 1.0, "b": None}, {"a": 3.0, "b": 5.0}, {"a": 5.0, "b": 7.0}])
    assert target.names == ["a", "b"]
    assert (target.mean, target.std[1]) == ([3.0, 6.0], 1.0)
    total, count = target.loss(torch.zeros(1, 2), target.batch([{"a": 3.0, "b": None}]))
    assert (total.item(), count.item()) == (0.0, 1)
    with pytest.raises(ValueError, match="expected 2 numbers named"):
        target.batch([{"a": 1.0, "c": 2.0}])
    with pytest.raises(ValueError, match="several numbers"):
        _ = target.decode(torch.zeros(1, 2))[0].value


def test_several_classes_at_once_with_missing_ones() -> None:
    target = MultiLabelTarget.fit([{"red", "round"}, {"small"}])
    batch = target.batch([{"red"}, {"round": True, "red": None}])
    assert batch[0].tolist() == [1.0, 0.0, 0.0]
    total, count = target.loss(torch.zeros(2, 3), batch)
    assert count.item() == 4  # red of the second and small, which it does not name, are missing
    torch.testing.assert_close(total, torch.tensor(4 * math.log(2)))
    assert MultiLabelTarget.fit([{1: True, 2: False}]).batch([{1}]).tolist() == [[1.0, 0.0]]
    with pytest.raises(ValueError, match="expected a collection of class names"):
        MultiLabelTarget.fit(["red", "blue"])
    result = target.decode(torch.tensor([[5.0, -5.0, 5.0]]))[0]
    assert (result.labels, str(result)) == (("red", "small"), "red, small")


def test_every_head_and_target_is_rebuilt_from_json() -> None:
    targets = [
        ClassTarget(["a", "b"]),
        MultiLabelTarget(["x", "y"]),
        NumberTarget(["v"], [1.0], [2.0], unit="m"),
    ]
    for target in targets:
        again = target_from_config(json.loads(json.dumps(target.config())))
        assert again.config() == target.config()
        assert target.kind == target.config()["kind"]
        for kind in (VectorHead, SetHead):
            head = kind(5, target).eval()
            rebuilt = kind.from_config(json.loads(json.dumps(head.config()))).eval()
            rebuilt.load_state_dict(head.state_dict())
            assert rebuilt.decode(SETS) == head.decode(SETS)


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (ClassTarget(["a", "b", "c"]), [None, "a", None, "c", None]),
        (
            NumberTarget(["x", "y"], [0.0, 0.0], [1.0, 1.0]),
            [None, {"x": 1.0, "y": None}, None, None, {"x": 2.0, "y": 3.0}],
        ),
        (ClassTarget(["a", "b", "c"]), [None] * 5),
    ],
)
def test_a_vector_head_computes_logits_only_where_there_are_labels(target: Any, labels: list[Any]) -> None:
    torch.manual_seed(0)
    head = VectorHead(4, target, dropout=0.0)
    sets = VectorSets(torch.randn(5, 4), [2, 3])
    targets = target.batch(labels)
    rows: list[int] = []
    head.read[-1].register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    total, count = head.loss(sets, targets)
    expected, number = target.loss(head(sets), targets)
    assert rows == [sum(label is not None for label in labels), 5]
    torch.testing.assert_close(total, expected)
    assert count == number


def test_vector_head_gives_a_list_for_each_set() -> None:
    results = VectorHead(5, ClassTarget(["a", "b"])).eval().decode(SETS)
    assert [len(r) for r in results] == [3, 0, 7]
    assert sum(results[0][0].probabilities.values()) == pytest.approx(1.0)


TARGETS = [ClassTarget(["a", "b"]), MultiLabelTarget(["x", "y"]), NumberTarget(["v"], [1.0], [2.0])]


@pytest.mark.parametrize("target", TARGETS)
def test_a_prediction_that_is_not_finite_is_an_error(target: Any) -> None:
    for kind in (VectorHead, SetHead):
        values = SETS.values.clone()
        values[7] = math.inf  # in the third set
        with pytest.raises(NotFiniteError, match="set 2: got a prediction that is NaN or infinite") as error:
            kind(5, target).decode(SETS.with_values(values))
        assert error.value.number == 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ClassTarget([]), "expected one or more"),
        (lambda: ClassTarget.fit([None]), "got only missing labels"),
        (lambda: ClassTarget(["a"]).batch(["b"]), "which no training item has"),
        (lambda: MultiLabelTarget(["a", "a"]), "each once"),
        (lambda: MultiLabelTarget(["a"]).batch([{"b"}]), "which no training item has"),
        (lambda: NumberTarget.fit([None]), "expected some to compute a scale"),
        (lambda: NumberTarget.fit(["x"]), "expected a number, or nothing"),
        (lambda: NumberTarget(["a"], [], []), "expected equally many"),
        (lambda: SetHead(5, ClassTarget(["a"]), pool="max"), "expected mean, sum or attention"),  # type: ignore[arg-type]
        (lambda: target_from_config({"kind": "colour"}), "expected one of class"),
    ],
)
def test_wrong_input_says_what_was_got(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_probabilities_are_a_mapping_over_one_table() -> None:
    """For each row what its numbers take, in single precision, and little more; not a dictionary."""
    names = [f"class {i}" for i in range(101)]
    logits = torch.randn(13, 101)
    for target in (ClassTarget(names), MultiLabelTarget(names)):
        results = target.decode(logits)
        wanted = logits.softmax(-1) if isinstance(target, ClassTarget) else logits.sigmoid()
        for result, row in zip(results, wanted.tolist(), strict=True):
            shares = result.probabilities
            assert dict(shares) == dict(zip(names, row, strict=True))
            assert (len(shares), list(shares), shares["class 7"]) == (101, names, row[7])
            assert sys.getsizeof(shares) + sys.getsizeof(result) < 250
            assert shares == dict(shares)
            assert pickle.loads(pickle.dumps(result)) == result
            assert type(copy.deepcopy(shares)) is dict
    tied = ClassTarget(["b", "a"]).decode(torch.zeros(1, 2))[0]
    assert (tied.label, tied.probability) == ("b", 0.5)  # the first of equals
