"""A fourth adapter, exactly as docs/adapters.md writes it, goes wherever ours go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import (
    ClassTarget,
    DecoderHead,
    Encoder,
    FusedAdapter,
    Model,
    NumberTarget,
    SetHead,
    Source,
    Task,
    TextTarget,
    VectorHead,
    evaluate,
    train,
)
from multiseq.protocols import Adapter, Extras
from multiseq.runs.baselines import baseline_results
from multiseq.runs.items import item_of, line_of, record_of
from multiseq.runs.predict import open_inputs
from multiseq.runs.rows import items_of
from multiseq.training.item_cache import ItemCache
from multiseq.training.label_check import check_labels

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
DIM = 16
CLOUDS = [[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], [[0.0, 2.0, 1.0]], [[3.0, 0.0, 1.0]]]
LABELS: dict[str, list[Any]] = {
    "half": [["up", "down"], ["up"], ["up"]],
    "size": [1.0, 2.0, 6.0],
    "text": ["a b", "a", "a"],
}
NAMES = {name for name in vars(Extras) if not name.startswith("_")} | set(Extras.__annotations__)


def points() -> Any:
    """The adapter of the page."""
    [code, *_] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, Any] = {"__name__": "page"}
    exec(code, scope)
    return scope["PointAdapter"](DIM)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    heads = {
        "half": VectorHead(DIM, ClassTarget(["down", "up"])),
        "size": SetHead(DIM, NumberTarget.fit(LABELS["size"])),
        "text": DecoderHead(DIM, TextTarget.fit(LABELS["text"], unit="character"), depth=1, heads=2),
    }
    tasks = {name: Task("points", head) for name, head in heads.items()}
    return Model({"points": points()}, Encoder(DIM, 1, 2), tasks)


def test_it_has_what_is_needed_and_nothing_else() -> None:
    adapter = points()
    assert isinstance(adapter, Adapter)
    assert not [name for name in NAMES if hasattr(adapter, name)]


def test_the_page_names_all_that_is_optional() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(NAMES) == 19
    assert [name for name in NAMES if f"`{name}" not in page] == []


def test_it_is_trained_scored_and_predicted_with(model: Model, tmp_path: Path) -> None:
    source = Source("points", CLOUDS, LABELS)
    train(model, [source], steps=2, progress=False, accelerator="cpu", cache=tmp_path)
    assert check_labels(model, source, ItemCache(tmp_path)) == []
    for task in LABELS:
        assert evaluate(model, [source], task=task).num_items == (4 if task == "half" else 3)
        assert len(model.predict(task, CLOUDS)) == 3


def test_its_plain_baseline_is_the_most_frequent_label_or_the_mean(model: Model) -> None:
    source = Source("points", CLOUDS, LABELS)
    halves, labels = baseline_results(model, "half", source, source)
    assert [result.label for result in halves] == ["up"] * 4
    assert labels == ["up", "down", "up", "up"]
    sizes, _ = baseline_results(model, "size", source, source)
    assert [result.value for result in sizes] == [3.0] * 3
    texts, _ = baseline_results(model, "text", source, source)
    assert [result.text for result in texts] == ["a"] * 3


def test_parts_of_several_adapters_have_a_plain_baseline_too() -> None:
    fused = FusedAdapter({"one": points()})
    model = Model({"f": fused}, Encoder(DIM, 1, 2), {"t": Task("f", SetHead(DIM, ClassTarget(["a", "b"])))})
    source = Source("f", [{"one": cloud} for cloud in CLOUDS], {"t": ["a", "b", "b"]})
    assert [result.label for result in baseline_results(model, "t", source, source)[0]] == ["b"] * 3


def test_its_items_are_read_from_a_command_line_and_from_files(model: Model, tmp_path: Path) -> None:
    adapter = model.adapter("points")
    assert item_of(adapter, "[[0, 1, 2]]") == [[0, 1, 2]]
    with pytest.raises(ValueError, match=r"item 1: got '\(0, 1\)', expected JSON \("):
        item_of(adapter, "(0, 1)", location="item 1")
    with pytest.raises(ValueError, match=r"item 1: .*none\.json: no such file"):
        item_of(adapter, "none.json", tmp_path, "item 1")
    files = {
        "one.json": "[[0, 1, 2]]",
        "some.jsonl": '[[0, 1, 2]]\n{"text": [[0, 1, 2]]}\n',
        "some.txt": "[[0, 1, 2]]\none.json\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.write_text(text)
        with open_inputs(str(file), adapter, None, "half") as files:
            items, _ = items_of(files, adapter)
        assert items == [[[0, 1, 2]]] * (1 if name == "one.json" else 2)


def test_its_predictions_are_shown(model: Model) -> None:
    [pieces] = model.run("half", CLOUDS[:1])
    record = record_of(model, "half", CLOUDS[0], pieces)
    assert (record["item"], record["names"]) == (CLOUDS[0], ["point 0", "point 1"])
    assert "segments" not in record
    assert line_of(model, "half", pieces).startswith(f"point 0/{record['labels'][0]} ")
