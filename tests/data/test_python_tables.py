"""Sources from tables and columns of other libraries: by position, with missing labels as None."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from multiseq import Source

COLUMNS: dict[str, list[Any]] = {
    "review": ["good", "bad", "so so"],
    "stars": [5.0, 1.0, None],
    "mood": ["up", None, "up"],
    "funny": [True, False, True],
}


def pandas(columns: dict[str, list[Any]]) -> Any:
    return need("pandas").DataFrame(columns, index=[7, 7, 0])


def need(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else pytest.skip(f"needs {name}")


TABLES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "lists": dict,
    "pandas": pandas,
    "polars": lambda columns: need("polars").DataFrame(columns),
    "pyarrow": pyarrow.table,
    "datasets": lambda columns: need("datasets").Dataset.from_dict(columns),
}


@pytest.mark.parametrize("library", TABLES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_table_of_any_library(library: str, unchecked: None) -> None:
    table = TABLES[library](COLUMNS)
    targets = {"stars": "stars", "mood": "mood", "both": ["stars", "funny"]}
    source = Source.from_table("text", table, input="review", targets=targets, weight=2.0)
    assert source == Source(
        "text",
        ["good", "bad", "so so"],
        {
            "stars": [5.0, 1.0, None],
            "mood": ["up", None, "up"],
            "both": [
                {"stars": 5.0, "funny": True},
                {"stars": 1.0, "funny": False},
                {"stars": None, "funny": True},
            ],
        },
        2.0,
    )
    with pytest.raises(
        ValueError, match=r"table: got 0 columns 'text', expected one; there are review, stars"
    ):
        Source.from_table("text", table, input="text", targets={})
    # Single columns are the same.
    one = Source("text", table["review"], {"mood": table["mood"], "stars": table["stars"]})
    assert list(one.items) == source.items
    assert one.targets == {name: source.targets[name] for name in ("mood", "stars")}


def test_two_columns_of_one_name() -> None:
    table = need("pandas").DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(ValueError, match=r"table: got 2 columns 'text', expected one"):
        Source.from_table("text", table, input="text", targets={})


@pytest.mark.parametrize("labels", [np.array([1, 0, 1]), torch.tensor([1, 0, 1]), (1, 0, 1)])
def test_arrays_and_tensors(labels: Any, unchecked: None) -> None:
    source = Source("text", np.array(["a", "b", "c"]), {"mood": labels})
    assert (list(source.items), source.targets) == (["a", "b", "c"], {"mood": [1, 0, 1]})
