"""When two labels are the same, and what a missing one is: for all targets and wherever they come from."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget, is_missing
from multiseq.heads.text_target import TextTarget
from multiseq.labels import class_name, composed, flag, in_order, number, plain
from multiseq.results import Label, LabelSet, Number
from multiseq.tasks import Source
from multiseq.training.metrics import compute


class NAType:
    """As pandas' NA: whatever it is compared with, the answer is NA, which is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    def __ne__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


class Column:
    """As a pandas Series: ``[i]`` looks i up in the index, iteration and ``tolist`` go by position."""

    def __init__(self, values: list[Any], index: list[int]) -> None:
        self._values, self._index = values, index

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Any:
        return iter(self._values)

    def __getitem__(self, key: int) -> Any:
        return self._values[self._index.index(key)]

    def tolist(self) -> list[Any]:
        return list(self._values)


MISSING = [None, math.nan, np.float32("nan"), torch.tensor(math.nan), NAType(), "", " "]


@pytest.mark.parametrize(
    ("same", "name"),
    [
        (
            [
                1,
                1.0,
                "1",
                "1.0",
                " 1 ",
                np.int64(1),
                np.float32(1),
                torch.tensor(1),
                torch.tensor([1.0]),
                [1],
            ],
            "1",
        ),
        ([0, 0.0, "0", "0.0", torch.tensor(0)], "0"),
        ([-3, -3.0, "-3.0"], "-3"),
        ([True, "True", np.bool_(True), torch.tensor(True)], "True"),
        (["pos", "pos ", "\tpos"], "pos"),
        (["caf\u00e9", "cafe\u0301"], "caf\u00e9"),
        ([1.5, "1.5", np.float64(1.5)], "1.5"),
        (["007"], "007"),  # a code, not a number
        (["1.10"], "1.10"),
        (["half \ud83d"], "half \ufffd"),
    ],
)
def test_labels_that_are_the_same(same: list[Any], name: str) -> None:
    assert {class_name(value) for value in same} == {name}
    target = ClassTarget.fit([*same, "other"])
    assert sorted(target.labels) == sorted([name, "other"])
    assert set(target.batch(same).tolist()) == {target.labels.index(name)}
    results = [Label(name, 1.0, {name: 1.0, "other": 0.0})] * len(same)
    assert compute("accuracy", results, same) == compute("f1", results, same) == 1.0
    sets = MultiLabelTarget.fit([{value if isinstance(value, str) else name} for value in same])
    assert sets.labels == [name]


@pytest.mark.parametrize("value", MISSING)
def test_what_is_missing_is_missing_everywhere(value: Any) -> None:
    assert class_name(value) is None
    assert flag(value) is None
    assert math.isnan(number(value))
    assert ClassTarget.fit(["a", value]).batch([value, "a"]).tolist() == [-100, 0]
    assert MultiLabelTarget(["a"]).batch([{"a": value}]).isnan().all()
    target = NumberTarget.fit([1.0, 3.0, value])
    assert target.mean == [2.0]
    assert target.batch([value]).isnan().all()
    assert is_missing(ClassTarget(["a"]), value)
    assert is_missing(target, value)
    assert compute("accuracy", [Label("a", 1.0)] * 2, ["a", value]) == 1.0
    assert compute("mae", [Number({"value": 1.0})] * 2, [3.0, value]) == 2.0
    flags = [{"a": True}, {"a": value}]
    assert compute("f1", [LabelSet(("a",), {"a": 1.0})] * 2, flags) == 1.0


def test_a_text_may_be_empty_but_an_empty_list_of_texts_is_missing() -> None:
    target = TextTarget.fit(["a"], unit="character")
    assert not is_missing(target, "")
    assert is_missing(target, None)
    assert is_missing(target, [])
    assert is_missing(target, math.nan)
    assert TextTarget.fit(["a", None, math.nan], unit="character").longest == 1


def test_flags() -> None:
    assert [flag(v) for v in (1, 1.0, True, "1", "1.0", "true", "TRUE", np.bool_(True))] == [True] * 8
    assert [flag(v) for v in (0, 0.0, False, "0", "0.0", "false", "False")] == [False] * 7
    assert MultiLabelTarget(["a", "b"]).batch([{"a": "0", "b": "1"}]).tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match="got 'yes', expected 1, 0, true, false, or nothing"):
        flag("yes")


def test_numbers() -> None:
    assert [number(v) for v in (1, "2.5", True, Decimal("0.1"), torch.tensor([3.0]))] == [1, 2.5, 1, 0.1, 3]
    with pytest.raises(ValueError, match="got 'x', expected a number, or nothing"):
        number("x")
    with pytest.raises(ValueError, match="expected finite numbers"):
        number(math.inf)


@pytest.mark.parametrize("value", [["a", "b"], {"a": True}, torch.tensor([1, 2])])
def test_several_labels_are_not_one(value: Any) -> None:
    with pytest.raises(ValueError, match="one label; use a MultiLabelTarget for several classes at once"):
        ClassTarget.fit([value])


@pytest.mark.parametrize("value", [[1.0, 0.0, 1.0], torch.tensor([1.0, 0.0]), [True, False], ["a", "a"]])
def test_flags_without_names_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="for flags use a mapping"):
        MultiLabelTarget.fit([value])


@pytest.mark.usefixtures("unchecked")
def test_columns_are_paired_by_position() -> None:
    """A shuffled table: the index says where a row once was."""
    source = Source("text", Column(["b", "a"], [1, 0]), {"t": Column(["B", "A"], [1, 0])})  # type: ignore[arg-type]
    assert (source.items, source.targets["t"]) == (["b", "a"], ["B", "A"])
    assert ClassTarget.fit(source.targets["t"]).batch(source.targets["t"]).tolist() == [1, 0]


@pytest.mark.usefixtures("unchecked")
def test_labels_of_a_source_are_plain_values() -> None:
    targets = {
        "number": torch.tensor([[1.5], [math.nan]]),
        "vectors": [torch.tensor([2, 0]), np.array([1.0, math.nan])],
        "segments": [[(0.0, 0.1, math.nan)], None],
        "named": [{"a": np.int64(1), "b": math.nan}, {"a": NAType(), "b": 2}],
        "text": ["", " x "],
    }
    source = Source("a", ["x", "y"], targets)  # type: ignore[arg-type]
    assert source.targets == {
        "number": [[1.5], [None]],
        "vectors": [[2, 0], [1.0, None]],
        "segments": [[(0.0, 0.1, None)], None],
        "named": [{"a": 1, "b": None}, {"a": None, "b": 2}],
        "text": ["", " x "],
    }
    with pytest.raises(ValueError, match=r"targets\['t'\]: got set, expected a list or a column"):
        Source("a", ["x"], {"t": {"b"}})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="items: got str, expected a list"):
        Source("a", "x", {"t": ["b"]})


def test_tensor_labels() -> None:
    assert ClassTarget.fit(torch.tensor([2, 0, 1])).labels == ["0", "1", "2"]
    assert ClassTarget.fit(torch.tensor([[0], [1]])).labels == ["0", "1"]


def test_a_table_is_its_rows() -> None:
    class Table:
        columns = ("a", "b")

        def to_dict(self, orient: str) -> list[dict[str, int]]:
            assert orient == "records"
            return [{"a": 1, "b": 2}]

    assert in_order(Table(), "labels") == [{"a": 1, "b": 2}]


@pytest.mark.usefixtures("unchecked")
def test_real_tables() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"x": ["b", "a", "c"], "y": [1, 0, None]}).sample(frac=1, random_state=2)
    source = Source("text", table["x"], {"t": table["y"]})
    wanted = {"b": "1", "a": "0", "c": None}
    assert [class_name(v) for v in source.targets["t"]] == [wanted[x] for x in source.items]
    assert plain(pandas.NA) is None
    assert plain(pandas.NaT) is None
    assert Source("text", table["x"], {"t": table[["y"]]}).targets["t"][0].keys() == {"y"}


def test_halves_of_emoji() -> None:
    assert composed("\ud83d\ude00 \ud83d \ude00") == "\U0001f600 \ufffd \ufffd"
