"""Settings that follow from the data: batches, steps, evaluations, and a dev split made of training items."""

from __future__ import annotations

import json
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import ClassTarget, Encoder, Model, SetHead, Settings, Source, Task, TextAdapter, train
from multiseq.runs.recipe import read
from multiseq.runs.sources import draw_splits, read_split
from multiseq.training import budget
from multiseq.training.batching import BatchPlan
from multiseq.training.budget import MAX_EPOCHS, Fitted, chooses_weights, fitted, hold_out, vectors_per_batch
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.run_log import read_log


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold out a dev split of 50 items too."""
    monkeypatch.setattr(budget, "MIN_ITEMS", 50)


def plan_of(items: int, length: int, settings: Settings) -> BatchPlan:
    """The plan for a source of so many examples, each of that many vectors."""

    source = PreparedSource.__new__(PreparedSource)  # without items to prepare
    source.examples, source.sizes, source.weight = [None] * items, [length] * items, 1.0
    return BatchPlan([source], max_vectors=vectors_per_batch(settings, [source]))


def fit(items: int, length: int, has_dev: bool = True, **changes: Any) -> tuple[Fitted, int]:
    """The settings for such a source, and the number of steps of an epoch."""
    settings = Settings(**changes)
    plan = plan_of(items, length, settings)
    return fitted(settings, plan, has_dev=has_dev), len(plan.epoch(0))


@pytest.mark.parametrize(
    ("items", "length", "batch", "epochs"),
    [(300, 19, 604, 40), (3000, 13, 1580, 20), (30_000, 150, 4096, 10), (11, 7, 256, 40)],
)
def test_more_data_gets_larger_batches_and_fewer_epochs(
    items: int, length: int, batch: int, epochs: int
) -> None:
    found, per_epoch = fit(items, length)
    assert found.max_vectors == batch
    assert found.steps / per_epoch == pytest.approx(epochs, abs=0.5)
    assert found.steps % found.evaluate_every == 0
    assert 8 <= found.steps / found.evaluate_every <= 10
    assert found.patience > 0
    assert 0 <= found.ema_decay < 1


def test_a_million_long_items_do_not_train_for_ever() -> None:
    assert 19_000 <= fit(100_000, 2000)[0].steps <= 20_000


def test_what_the_user_gives_is_kept() -> None:
    given = {"max_vectors": 500, "evaluate_every": 7, "patience": 3, "ema_decay": 0.5, "lr": 0.25}
    found, _ = fit(300, 19, **given)
    assert {name: getattr(found, name) for name in given} == given
    assert found.steps % 7 == 0


def test_with_steps_everything_is_as_it_always_was() -> None:
    found, _ = fit(300, 19, steps=1000)
    assert found == Fitted(steps=1000, max_vectors=4096, ema_decay=0.0, evaluate_every=0, patience=0)


@pytest.mark.parametrize(("has_dev", "changes"), [(False, {}), (True, {"evaluate_every": 0})])
def test_without_evaluations_nothing_stops_early(has_dev: bool, changes: dict[str, int]) -> None:
    found, _ = fit(300, 19, has_dev, **changes)
    assert (found.evaluate_every, found.patience) == (0, 0)
    assert found.steps > 0


def test_the_dev_split_has_the_same_share_of_each_class_and_no_only_item_of_one() -> None:
    labels = ["a"] * 3000 + ["b"] * 900 + ["c"] * 99 + ["once"]
    source = Source("x", list(range(4000)), {"y": labels}, locations=[f"f:{i}" for i in range(4000)])
    kept, held = hold_out(source)
    assert held is not None
    assert sorted([*kept.items, *held.items]) == list(range(4000))
    counts = Counter(held.targets["y"])
    assert counts["once"] == 0
    assert [counts[c] for c in "abc"] == pytest.approx([300, 90, 9.9], abs=1)
    assert [labels[i] for i in held.items] == held.targets["y"]
    assert held.locations == [f"f:{i}" for i in held.items]
    assert hold_out(source)[1] == held


@pytest.mark.parametrize(
    "labels", [[i / 7 for i in range(2000)], [["N", "V"]] * 2000, [{"a", "b"}] * 2000, [None] * 2000]
)
def test_other_labels_are_held_out_at_random(labels: list[Any]) -> None:
    _, held = hold_out(Source("x", list(range(2000)), {"y": labels}))
    assert held is not None
    assert len(held.items) == 200
    assert max(held.items) > 1500 > 500 > min(held.items)


def test_a_few_items_are_all_for_training() -> None:
    source = Source("x", list(range(1999)), {"y": ["a", "b"] * 999 + ["a"]})
    assert hold_out(source) == (source, None)


@pytest.mark.parametrize(
    ("files", "changes", "sizes"),
    [
        ("train", [], (54, 6, 7)),
        ("train", ["training.steps=3"], (60, None, 7)),
        ("train", ["training.evaluate_every=0"], (60, None, 7)),
        ("train", ["data.texts.dev=test.csv"], (60, 7, 7)),
        ("column", [], (54, 6, 7)),
        ("column with dev", [], (60, 5, 7)),
        ("split file", [], (54, 6, 7)),
        ("split file with dev", [], (60, 5, 7)),
    ],
)
def test_a_recipe_without_steps_and_dev_holds_out_a_part_of_train(
    tmp_path: Path, few_are_enough: None, files: str, changes: list[str], sizes: tuple[int | None, ...]
) -> None:
    rows = {"train": 60, "dev": 5 if files.endswith("with dev") else 0, "test": 7}
    for name, num in rows.items():
        lines = [f"text {i},{'ab'[i % 2]}" for i in range(num)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    lines = [f"text {i},{'ab'[i % 2]},{name}" for name, num in rows.items() for i in range(num)]
    (tmp_path / "all.csv").write_text("\n".join(["text,label,split", *lines]))
    ends = list(accumulate(rows.values()))
    numbers = {name: list(range(end - rows[name], end)) for name, end in zip(rows, ends, strict=True)}
    (tmp_path / "rows.json").write_text(json.dumps({name: own for name, own in numbers.items() if own}))
    named = {
        "train": 'train = "train.csv"\ntest = "test.csv"',
        "column": 'file = "all.csv"\nsplit_column = "split"',
        "split file": 'file = "all.csv"\nsplit_file = "rows.json"',
    }[files.removesuffix(" with dev")]
    (tmp_path / "r.toml").write_text(
        f'[data.texts]\nadapter = "text"\nformat = "table"\ninput = "text"\n{named}\n'
        '[tasks.t]\ndata = "texts"\noutput = "set"\ntarget = "class"\ncolumn = "label"\n'
    )
    recipe = read(tmp_path / "r.toml", changes)
    found = []
    for split in ("train", "dev", "test"):
        sources = [] if split == "dev" and sizes[1] is None else read_split(recipe, split)
        found.append([item for source in sources for item in source.items])
    assert [len(items) for items in found] == [size or 0 for size in sizes]
    if sizes[1] == 6:
        assert not set(found[0]) & set(found[1])
        # A run that was too small to hold out a part does not get one later, when its file has grown.
        assert draw_splits(recipe, known={}) == {}
        grown = [[len(s.items) for s in read_split(recipe, part, splits={})] for part in ("train", "dev")]
        assert grown == [[60], []]


def test_a_training_without_steps_stops_early_and_says_why(
    tmp_path: Path, few_are_enough: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The labels are random, so that no weights are good on dev for long."""
    torch.manual_seed(0)
    texts = [f"{'ab'[i % 2]} {'cd'[i // 2 % 2]}" for i in range(60)]
    labels = ["yes" if hash((i * 7919) % 61) % 2 else "no" for i in range(60)]
    adapter = TextAdapter.fit(texts, dim=8, vocab_size=260)
    model = Model(
        {"text": adapter},
        Encoder(dim=8, depth=1, heads=2),
        {"mood": Task("text", SetHead(8, ClassTarget.fit(labels)))},
    )
    train(model, [Source("text", texts, {"mood": labels})], out=tmp_path, lr=3e-3, patience=2)
    said = capsys.readouterr().out
    assert "at most 40 steps of up to 256 vectors, 40 epochs; stops after 2 evaluations" in said
    rows = read_log(tmp_path / "metrics.csv")
    assert len({row["step"] for row in rows if row["task"] == "total"}) < MAX_EPOCHS
    monitored = [row for row in rows if row["task"] == "monitor"]
    assert {(row["split"], row["metric"]) for row in monitored} == {("dev", "mood: accuracy")}
    scores = [row["value"] for row in rows if row["split"] == "dev" and row["task"] == "mood"]
    assert scores == [row["value"] for row in monitored]


def test_a_small_dev_split_chooses_no_weights_unless_it_is_asked_to() -> None:
    small, large = ([Source("text", [f"text {i}" for i in range(num)])] for num in (199, 200))
    assert not chooses_weights(Settings(), small)
    assert chooses_weights(Settings(), large)
    for options in (
        {"patience": 3},
        {"evaluate_every": 10},
        {"monitor": "mood"},
        {"steps": 9, "evaluate_every": 3},
    ):
        assert chooses_weights(Settings(**options), small)
    assert not chooses_weights(Settings(steps=9), large)
    assert not chooses_weights(Settings(evaluate_every=0), large)
    assert not chooses_weights(Settings(), [])
