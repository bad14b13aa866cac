"""Ensembles: their predictions are the mean of their members', and they are used like one model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multiseq import (
    ClassTarget,
    CTCHead,
    Encoder,
    Ensemble,
    Label,
    Model,
    MultiLabelTarget,
    Number,
    NumberTarget,
    SetHead,
    Source,
    Task,
    Text,
    TextAdapter,
    TextTarget,
    VectorHead,
    calibrate,
    evaluate,
    load,
    save,
)
from multiseq.checkpoint import CheckpointError
from multiseq.ensemble import _consensus
from multiseq.model import combine
from multiseq.runs.columns import columns_of
from multiseq.runs.items import record_of

pytestmark = pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")

TEXTS = ["red lamp", "blue lamp on a table", "green", "red table"]
DIM = 14


def member(seed: int, texts: list[str] = TEXTS, classes: tuple[str, ...] = ("bad", "good", "so")) -> Model:
    torch.manual_seed(seed)
    heads = {
        "mood": SetHead(DIM, ClassTarget(classes)),
        "tags": SetHead(DIM, MultiLabelTarget(classes)),
        "size": SetHead(DIM, NumberTarget(["cm", "kg"], [100.0 + seed, 3.0], [10.0, 1.0 + seed])),
        "word": VectorHead(DIM, ClassTarget(classes)),
        "said": SetHead(DIM, ClassTarget(["only"])),
    }
    tasks = {name: Task("text", head) for name, head in heads.items()}
    tasks["written"] = Task("text", CTCHead(DIM, TextTarget.fit(["ab"], unit="character")))
    return Model({"text": TextAdapter.fit(texts, dim=DIM)}, Encoder(dim=DIM, depth=1, heads=1), tasks)


@pytest.fixture(scope="module", params=["one vocabulary", "two vocabularies"])
def members(request: pytest.FixtureRequest) -> list[Model]:
    other = TEXTS if request.param == "one vocabulary" else ["red lamp", "chairs"]
    return [member(0), member(1, other), member(2)]


def test_probabilities_are_the_mean(members: list[Model]) -> None:
    ensemble = Ensemble(members)
    for task in ("mood", "tags"):
        found = ensemble.predict(task, TEXTS)
        alone = [one.predict(task, TEXTS) for one in members]
        for i, result in enumerate(found):
            for name, share in result.probabilities.items():
                assert share == pytest.approx(sum(own[i].probabilities[name] for own in alone) / 3, abs=1e-6)
    best = ensemble.predict("mood", TEXTS)[0]
    assert best.label == max(best.probabilities, key=lambda name: best.probabilities[name])
    words = ensemble.predict("word", TEXTS)
    assert [len(row) for row in words] == [len(text.split()) for text in TEXTS]
    alone = [one.predict("word", TEXTS)[1][2].probabilities["so"] for one in members]
    assert words[1][2].probabilities["so"] == pytest.approx(sum(alone) / 3, abs=1e-6)


def test_numbers_are_the_mean(members: list[Model]) -> None:
    [found] = Ensemble(members).predict("size", ["red lamp"])
    alone = [one.predict("size", ["red lamp"])[0].values for one in members]
    for name in ("cm", "kg"):
        assert found.values[name] == pytest.approx(sum(own[name] for own in alone) / 3)
        assert found.spreads[name] == pytest.approx(np.std([own[name] for own in alone], ddof=1))
    assert not found.intervals
    assert not members[0].predict("size", ["red lamp"])[0].spreads


def test_the_spread_of_an_ensemble_is_written(members: list[Model]) -> None:
    ensemble = Ensemble(members)
    pieces = ensemble.run("size", ["red lamp"])[0]
    record = record_of(ensemble, "size", "red lamp", pieces)
    assert record["spread"] == pytest.approx(pieces[0][1].spreads, rel=1e-5)
    columns = columns_of(record, 0)
    assert record["spread"] == {name: columns[f"spread_{name}"] for name in record["spread"]}
    number = Number({"cm": 2.0}, "cm", {"cm": 1.0}, {"cm": (1.0, 3.0)}, {"cm": 0.25})
    halves = [replace(number, values={"cm": 4.0}, spreads={"cm": 0.75}), number]
    assert combine(halves).spreads == {"cm": 0.5}


def test_intervals_are_the_mean_until_the_ensemble_is_calibrated() -> None:
    first, second = member(0), member(0)
    first.task("size").head.target.half_widths = [1.0, 1.0]
    second.task("size").head.target.half_widths = [3.0, 1.0]
    ensemble = Ensemble([first, second])
    [found] = ensemble.predict("size", ["red lamp"])
    low, high = found.intervals["cm"]
    assert (high - low) / 2 == pytest.approx(20.0)  # of 10 and 30
    ensemble.task("size").head.target.half_widths = [0.5, 0.5]
    [found] = ensemble.predict("size", ["red lamp"])
    assert found.intervals["cm"] == pytest.approx((found.values["cm"] - 5, found.values["cm"] + 5))


def test_a_class_that_a_member_does_not_know_has_no_share_there() -> None:
    models = [member(0, classes=("bad", "good")), member(1, classes=("good", "so"))]
    [found] = Ensemble(models).predict("mood", ["red lamp"])
    first, second = (one.predict("mood", ["red lamp"])[0].probabilities for one in models)
    wanted = {"bad": first["bad"] / 2, "good": (first["good"] + second["good"]) / 2, "so": second["so"] / 2}
    assert dict(found.probabilities) == pytest.approx(wanted, abs=1e-6)


def test_the_text_nearest_to_the_others() -> None:
    texts = [Text("a cat", -9.0), Text("the cat", -5.0), Text("the cats", -7.0), Text("dog", -1.0)]
    assert _consensus(texts).text == "the cat"
    assert _consensus([Text("one", -2.0), Text("two", -1.0)]).text == "two"  # as near: the more probable
    assert _consensus([Text("", -2.0), Text("", -3.0), Text("x", -1.0)]) == Text("", -2.0)


def test_texts_are_predicted(members: list[Model]) -> None:
    found = Ensemble(members).predict("written", TEXTS)
    alone = [{one.predict("written", [text])[0].text for one in members} for text in TEXTS]
    assert all(result.text in texts for result, texts in zip(found, alone, strict=True))


def test_results_do_not_depend_on_other_items(members: list[Model]) -> None:
    ensemble = Ensemble(members)
    assert ensemble.predict("mood", []) == []
    together = ensemble.predict("size", [*TEXTS, ""])
    for text, result in zip([*TEXTS, ""], together, strict=True):
        assert ensemble.predict("size", [text])[0].values == pytest.approx(result.values, rel=1e-5)


def test_embeddings_are_those_of_the_first_member(members: list[Model]) -> None:
    ensemble = Ensemble(members)
    assert torch.equal(ensemble.embed("text", TEXTS)[1].pooled, members[0].embed("text", TEXTS)[1].pooled)
    names, weights = ensemble.attention("text", TEXTS[1])
    assert (names, len(weights)) == (TEXTS[1].split(), 1)


# --- calibration ----------------------------------------------------------------------------------


def labelled(num: int) -> Source:
    texts = [TEXTS[i % 4] for i in range(num)]
    targets: dict[str, list[Any]] = {
        "mood": ["good" if i % 3 else "bad" for i in range(num)],
        "tags": [["good"] if i % 3 else ["bad", "so"] for i in range(num)],
        "size": [{"cm": 100.0 + i % 7, "kg": 3.0} for i in range(num)],
        "word": [["good"] * len(text.split()) for text in texts],
    }
    return Source("text", texts, targets)


def loss(model: Any, source: Source) -> float:
    results: list[Label] = model.predict("mood", source.items)
    shares = [r.probabilities[label] for r, label in zip(results, source.targets["mood"], strict=True)]
    return -sum(map(math.log, shares)) / len(shares)


def test_the_combined_predictions_are_calibrated(members: list[Model]) -> None:
    ensemble, dev = Ensemble(members), labelled(40)
    before, raw = loss(ensemble, dev), ensemble.predict("mood", ["red lamp"])[0].probabilities
    said = calibrate(ensemble, [dev])
    assert said["mood"].startswith("temperature")
    assert said["size"].startswith("90% intervals of ± ")
    assert said["written"] == ""
    assert loss(ensemble, dev) < before
    temperature = ensemble.task("mood").head.target.temperature
    flatter = {name: share ** (1 / temperature) for name, share in raw.items()}
    wanted = {name: share / sum(flatter.values()) for name, share in flatter.items()}
    assert dict(ensemble.predict("mood", ["red lamp"])[0].probabilities) == pytest.approx(wanted, abs=1e-6)
    assert all(one.task("mood").head.target.temperature == 1 for one in members)
    held = []
    for result, label in zip(ensemble.predict("size", dev.items), dev.targets["size"], strict=True):
        low, high = result.intervals["cm"]
        held.append(low <= label["cm"] <= high)
    assert sum(held) / len(held) >= 0.9
    after = calibrate(ensemble, [dev])
    assert after == said


def test_the_distance_is_the_mean() -> None:
    models, source = [member(0), member(1)], labelled(40)
    for one in models:
        calibrate(one, [source], sources=[source])
    ensemble = Ensemble(models)
    for task in ("mood", "size"):
        found = ensemble.predict(task, ["some new words"])[0].distance
        alone = [one.predict(task, ["some new words"])[0].distance for one in models]
        assert found == pytest.approx(sum(alone) / 2)


def test_evaluate(members: list[Model]) -> None:
    ensemble, source = Ensemble(members), labelled(12)
    right = [r.label == label for r, label in zip(
        ensemble.predict("mood", source.items), source.targets["mood"], strict=True
    )]  # fmt: skip
    score = evaluate(ensemble, [source], task="mood")
    assert (score.value, score.num_items) == (sum(right) / 12, 12)
    assert evaluate(ensemble, [source], task="word").num_items == sum(len(t.split()) for t in source.items)


# --- on disk --------------------------------------------------------------------------------------


def everything(model: Any) -> list[Any]:
    return [repr(model.predict(task, TEXTS)) for task in model.tasks]


def test_a_checkpoint_holds_all_of_it(members: list[Model], tmp_path: Path) -> None:
    ensemble = Ensemble(members)
    calibrate(ensemble, [labelled(40)])
    place = save(ensemble, tmp_path / "model", extra={"name": "mine"})
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert {"config.json", "member-0/config.json", "member-2/model.safetensors"} <= names
    loaded = load(place)
    assert isinstance(loaded, Ensemble)
    assert everything(loaded) == everything(ensemble)
    save(Ensemble(members[:2]), place)  # a smaller one takes its place
    again = load(place)
    assert isinstance(again, Ensemble)
    assert len(again.models) == 2
    assert everything(load(place / "member-1")) == everything(members[1])
    save(members[0], place)
    assert isinstance(load(place), Model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["members"].update({"member-1": "0" * 64}), r"member-1/config\.json: damaged"),
        (lambda c: c["members"].update({"member-7": "0" * 64}), r"member-7/config\.json: missing"),
        (lambda c: c["members"].update({"../x": "0" * 64}), r"got '\.\./x' among its files"),
        (lambda c: c.update(members=["member-0"]), r"damaged: no valid format or list of files"),
        (lambda c: c.update(members={"member-0": c["members"]["member-0"]}), r"expected two models or more"),
        (lambda c: c["tasks"]["mood"].update(temperature=-1.0), r"temperature: got -1"),
        (lambda c: c["tasks"].pop("mood"), r"its config\.json does not fit its files: KeyError\('mood'\)"),
    ],
)
def test_damage_is_found(tmp_path: Path, change: Any, message: str) -> None:
    place = save(Ensemble([member(0), member(1)]), tmp_path / "model")
    config = json.loads((place / "config.json").read_text())
    change(config)
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load(place)


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="exists and is not a checkpoint"):
        save(Ensemble([member(0), member(1)]), tmp_path)


# --- errors ---------------------------------------------------------------------------------------


def test_members_must_fit() -> None:
    first = member(0)
    with pytest.raises(ValueError, match="members: got Model, expected two models or more"):
        Ensemble([first])
    with pytest.raises(ValueError, match="members: got Model, Ensemble, expected two models"):
        Ensemble([first, Ensemble([member(1), member(2)])])
    other = Model(first.adapters, first.encoder, {"mood": first.task("mood")})
    with pytest.raises(
        ValueError, match=r"members\[1\]: got the tasks \['mood'\], expected \['mood', 'tags'"
    ):
        Ensemble([first, other])
    tasks = {**first.tasks, "mood": Task("text", SetHead(DIM, NumberTarget(["x"], [0.0], [1.0])))}
    expected = r"a number x per set, metric r2, expected adapter text, a class per set, metric accuracy"
    with pytest.raises(ValueError, match=rf"members\[1\]: its task 'mood' has adapter text, {expected}"):
        Ensemble([first, Model(first.adapters, first.encoder, tasks)])
    with pytest.raises(ValueError, match=r"task: got 'moods', expected one of mood"):
        Ensemble([first, member(1)]).predict("moods", TEXTS)


def test_members_that_cut_an_item_differently() -> None:
    def windowed(window: int) -> Model:
        parts = {"text": TextAdapter.fit(TEXTS, dim=DIM, window=window)}
        task = Task("text", SetHead(DIM, ClassTarget(["a", "b"])))
        return Model(parts, Encoder(dim=DIM, depth=1, heads=1), {"mood": task})

    ensemble = Ensemble([windowed(2), windowed(9)])
    with pytest.raises(ValueError, match=r"item 0: got 3, 1 sets from the members of the ensemble, expected"):
        ensemble.predict("mood", ["blue lamp on a table"])
