"""Baselines, on data so small that one knows what a simple method must answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from multiseq.adapters import GraphAdapter, NeighborhoodAdapter, SpeechAdapter, TextAdapter
from multiseq.heads.ctc import CTCHead
from multiseq.heads.per_set import SetHead
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
from multiseq.heads.text_target import TextTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.runs import baselines
from multiseq.runs.baselines import baseline, baseline_results
from multiseq.tasks import Source, Task
from multiseq.training.item_cache import ItemCache

DIM = 4
FITS: dict[str, Any] = {
    "text": TextAdapter.fit,
    "speech": SpeechAdapter.fit,
    "graph": GraphAdapter.fit,
    "neighborhood": partial(NeighborhoodAdapter.fit, num_hops=2),
}
RATE = 16_000


def results(
    modality: str, head: Any, train: tuple[Any, Any], test: tuple[Any, Any], **options: Any
) -> list[Any]:
    """What the baseline says about the test items."""
    adapter = FITS[modality](train[0], dim=DIM, **options)
    model = Model({"a": adapter}, Encoder(DIM, 1, 2), {"t": Task("a", head)})
    sources = (Source("a", items, {"t": labels}) for items, labels in (train, test))
    return baseline_results(model, "t", *sources)[0]


def labels_of(found: Sequence[Any]) -> list[str]:
    return [result.label for result in found]


def tone(hertz: float, seconds: float = 0.2) -> tuple[torch.Tensor, int]:
    return torch.sin(torch.arange(seconds * RATE) / RATE * 2 * math.pi * hertz), RATE


# --- text -----------------------------------------------------------------------------------------


def test_the_most_frequent_label_of_each_word_and_of_all_for_an_unknown_one() -> None:
    head = VectorHead(DIM, ClassTarget(["N", "V"]))
    train = ([["a", "saw"], ["a", "saw"], ["to", "saw"]], [["N", "V"], ["N", "V"], ["V", "N"]])
    found = results("text", head, train, ([["saw", "a", "new"]], [["V", None, "N"]]))
    assert labels_of(found) == ["V", "N"]  # of "saw" and "new": what has no label is left out
    assert [r.probability for r in found] == [2 / 3, 0.5]


def test_the_mean_number_of_each_word() -> None:
    head = VectorHead(DIM, NumberTarget(["value"], [0.0], [1.0], unit="kg"))
    train = ([["a", "b"], ["a", "b"]], [[1.0, 4.0], [3.0, 4.0]])
    found = results("text", head, train, ([["a", "b", "c"]], [[0.0, 0.0, 0.0]]))
    assert [r.value for r in found] == [2.0, 4.0, 3.0]
    assert found[0].unit == "kg"


def test_bags_of_words() -> None:
    head = SetHead(DIM, ClassTarget(["bad", "good"]))
    train = (["Very good!", "so good", "very bad", "so bad"], ["good", "good", "bad", "bad"])
    found = results("text", head, train, (["GOOD so", ["very", "bad"]], ["good", "bad"]))
    assert labels_of(found) == ["good", "bad"]
    assert sum(found[0].probabilities.values()) == pytest.approx(1)


def test_several_labels_one_by_one_with_some_missing() -> None:
    head = SetHead(DIM, MultiLabelTarget(["big", "red"]))
    items = ["red big", "red", "big", "none of it"]
    flags = [{"red": True, "big": None}, {"red": True, "big": False}, {"red": False, "big": True}, set()]
    [found, other] = results("text", head, (items * 3, flags * 3), (["red", "big"], [{"red"}, {"big"}]))
    assert found.labels == ("red",)
    assert other.labels == ("big",)


def test_the_target_of_the_nearest_text_is_copied() -> None:
    head = CTCHead(DIM, TextTarget.fit(["x"], unit="character"))
    train = (["the cat sat", "a dog ran"], ["die Katze", ["ein Hund", "der Hund"]])
    found = results("text", head, train, (["the dog ran", "my cat"], ["", ""]))
    assert [r.text for r in found] == ["ein Hund", "die Katze"]


def test_copied_texts_are_normalised_as_labels_are() -> None:
    """And the texts themselves are composed before their words are compared."""
    adapter = TextAdapter.fit(["cafe\u0301 x", "b x"], dim=DIM)
    head = CTCHead(DIM, TextTarget.fit(["x"], unit="character"))
    model = Model({"a": adapter}, Encoder(DIM, 1, 2), {"t": Task("a", head)})
    train = Source("a", ["cafe\u0301 x", "b x"], {"t": ["ein  Cafe\u0301 ", "b"]})
    test = Source("a", ["caf\u00e9 y"], {"t": ["ein Caf\u00e9"]})
    assert baseline(model, "t", train, test) == 1.0


def test_labels_are_compared_in_their_canonical_form() -> None:
    head = SetHead(DIM, ClassTarget(["0", "1"]))
    model = Model({"a": TextAdapter.fit(["a", "b"], dim=DIM)}, Encoder(DIM, 1, 2), {"t": Task("a", head)})
    train = Source("a", ["a a", "a", "b", "b b", "b"], {"t": [1, 1.0, 0, "0.0 ", math.nan]})
    assert baseline(model, "t", train, Source("a", ["a", "b", "b"], {"t": ["1.0", 0.0, ""]})) == 1.0


# --- speech ---------------------------------------------------------------------------------------

TONES = [tone(300), tone(330), tone(3000), tone(3300)]


def test_logistic_regression_on_the_average_frame_of_clips() -> None:
    head = SetHead(DIM, ClassTarget(["high", "low"]))
    train = (TONES, ["low", "low", "high", "high"])
    found = results("speech", head, train, ([tone(310), tone(3100)], ["low", "high"]))
    assert labels_of(found) == ["low", "high"]


@pytest.mark.parametrize("subsample", [1, 2, 4])
def test_logistic_regression_on_frames(subsample: int) -> None:
    def both(first: float, second: float) -> tuple[torch.Tensor, int]:
        return torch.cat([tone(first)[0], tone(second)[0]]), RATE

    head = VectorHead(DIM, ClassTarget(["high", "low"]))
    segments = [(0.0, 0.2, "low"), (0.2, 0.4, "high")]
    train = ([both(300, 3000), both(330, 3300)], [segments, segments])
    found = results("speech", head, train, ([both(310, 3100)], [segments]), subsample=subsample)
    num = 20 // subsample
    wrong = sum(a != b for a, b in zip(labels_of(found), ["low"] * num + ["high"] * num, strict=True))
    assert wrong <= 1  # the frame at the border hears both


def test_the_transcript_of_the_nearest_clip_is_copied() -> None:
    head = CTCHead(DIM, TextTarget.fit(["x"], unit="character"))
    train = (TONES, ["a", "b", "c", "d"])
    found = results("speech", head, train, ([tone(332), tone(2990)], ["", ""]))
    assert [r.text for r in found] == ["b", "c"]


def test_a_number_of_a_clip() -> None:
    head = SetHead(DIM, NumberTarget(["hertz"], [0.0], [1.0]))
    train = (TONES, [{"hertz": f} for f in (300.0, 330.0, 3000.0, None)])
    low, high = results("speech", head, train, ([tone(310), tone(3000)], [300.0, 3000.0]))
    assert low.value < 1500 < high.value


# --- graphs ---------------------------------------------------------------------------------------


def test_ridge_regression_on_atom_counts() -> None:
    head = SetHead(DIM, NumberTarget(["carbons"], [0.0], [1.0]))
    chains = ["C" * n + "O" * m for n in range(1, 8) for m in range(1, 4)]
    train = (chains, [float(smiles.count("C")) for smiles in chains])
    model = Model(
        {"a": GraphAdapter.fit(chains, dim=DIM)}, Encoder(DIM, 1, 2), {"t": Task("a", head, metric="r2")}
    )
    sources = Source("a", train[0], {"t": train[1]}), Source("a", ["CCCCCCO", "COO"], {"t": [6.0, 1.0]})
    assert baseline(model, "t", *sources) > 0.98


def test_own_features_of_nodes_do_not_know_the_neighbours() -> None:
    def ring(colours: Sequence[str], ages: Sequence[float]) -> dict[str, Any]:
        num = len(colours)
        nodes = {"colour": list(colours), "age": list(ages)}
        return {"nodes": nodes, "edges": [(i, (i + 1) % num) for i in range(num)]}

    head = VectorHead(DIM, ClassTarget(["no", "yes"]))
    train = ([ring("rgrgb", [1, 1, 5, 5, 5])] * 3, [["yes", "no", "yes", "no", None]] * 3)
    test = ([ring("ggr", [1, 5, 5])], [["no", "no", "yes"]])
    for name in ("graph", "neighborhood"):
        found = results(name, head, train, test)
        assert labels_of(found) == ["no", "no", "yes"]
    same, other, _ = results("graph", head, train, test)
    assert same.probability == pytest.approx(other.probability, abs=0.2)


def test_nodes_that_are_described_in_words() -> None:
    head = VectorHead(DIM, ClassTarget(["person", "place"]))
    graph = [("Ada", "in", "Rome"), ("Ada", "in", "Oslo")]
    train = ([graph], [["person", "place", "place", None, None]])
    found = results("graph", head, train, ([[("Ada", "in", "Lima")]], [["person", "place", None]]))
    assert labels_of(found) == ["person", "place"]


def test_the_text_of_the_nearest_graph_is_copied() -> None:
    head = CTCHead(DIM, TextTarget.fit(["x"], unit="character"))
    graphs = [[("Ada", "job", "baker")], [("Bo", "home", "Rome"), ("Bo", "hobby", "chess")]]
    found = results("graph", head, (graphs, ["baker", "Rome"]), ([[("Cy", "home", "Rome")]], [""]))
    assert [r.text for r in found] == ["Rome"]
    found = results("graph", head, (["CCO", "c1ccccc1"], ["spirit", "ring"]), (["c1ccccc1C"], [""]))
    assert [r.text for r in found] == ["ring"]


def test_classes_of_graphs() -> None:
    head = SetHead(DIM, ClassTarget(["acid", "not"]))
    train = (["CC(=O)O", "OC=O", "CC", "CCC"], ["acid", "acid", "not", "not"])
    assert labels_of(results("graph", head, train, (["CCC(=O)O", "CCCC"], ["acid", "not"]))) == [
        "acid",
        "not",
    ]


# --- edges ----------------------------------------------------------------------------------------


def test_one_class_alone_is_always_the_answer() -> None:
    head = SetHead(DIM, ClassTarget(["only"]))
    [found] = results("text", head, (["a", "b"], ["only", "only"]), (["c"], ["only"]))
    assert (found.label, found.probability) == ("only", 1.0)


def test_no_labels() -> None:
    head = SetHead(DIM, ClassTarget(["a", "b"]))
    assert results("text", head, (["a", "b"], ["a", "b"]), (["c"], [None])) == []
    with pytest.raises(ValueError, match=r"task 't': got no label in the training data"):
        results("text", head, (["a", "b"], [None, None]), (["c"], ["a"]))


def test_a_class_that_thinning_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_ROWS", 2)  # every second row of four
    head = SetHead(DIM, ClassTarget(["high", "low", "rare"]))
    found = results("speech", head, (TONES, ["low", "rare", "high", "rare"]), (TONES[:1], ["low"]))
    assert set(found[0].probabilities) == {"high", "low"}
    assert sum(found[0].probabilities.values()) == pytest.approx(1)
    head = SetHead(DIM, ClassTarget(["bad", "good"]))
    [found] = results("text", head, (["a", "b", "c", "d"], ["good", "bad"] * 2), (["b"], ["bad"]))
    assert (found.label, found.probability) == ("good", 1.0)


@pytest.mark.parametrize(("modality", "items"), [("text", ["a b", "c d"]), ("speech", TONES[:2])])
def test_a_column_that_is_never_known(modality: str, items: list[Any]) -> None:
    head = SetHead(DIM, MultiLabelTarget(["big", "red"]))
    flags = [{"red": True, "big": None}, {"red": False, "big": None}]
    [found] = results(modality, head, (items, flags), (items[:1], [{"red"}]))
    assert found.probabilities["big"] == 0.0
    head = SetHead(DIM, NumberTarget(["a", "b"], [0.0, 0.0], [1.0, 1.0]))
    numbers = [{"a": 1.0, "b": None}, {"a": 1.0, "b": math.nan}]
    [found] = results(modality, head, (items, numbers), (items[:1], [{"a": 1.0, "b": 1.0}]))
    assert found.values == {"a": pytest.approx(1.0), "b": 0.0}


@pytest.mark.parametrize("name", ["graph", "neighborhood"])
def test_a_graph_without_nodes(name: str) -> None:
    full = {"nodes": {"age": [1, 5], "city": ["A", "B"]}, "edges": [(0, 1)]}
    none: dict[str, Any] = {"nodes": {"age": [], "city": []}, "edges": []}
    head = SetHead(DIM, ClassTarget(["empty", "full"]))
    train = ([full, none, full, none], ["full", "empty", "full", "empty"])
    test = ([none, full], ["empty", "full"])
    assert labels_of(results(name, head, train, test)) == ["empty", "full"]


def test_tasks_of_one_source_prepare_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = SpeechAdapter.fit(TONES, dim=DIM)
    heads = {name: SetHead(DIM, ClassTarget(["high", "low"])) for name in ("one", "two")}
    model = Model({"a": adapter}, Encoder(DIM, 1, 2), {n: Task("a", h) for n, h in heads.items()})
    labels = ["low", "low", "high", "high"]
    source = Source("a", TONES, dict.fromkeys(heads, labels))
    seen: list[Any] = []
    prepare = adapter.prepare
    monkeypatch.setattr(adapter, "prepare", lambda item: seen.append(item) or prepare(item))
    cache = ItemCache()
    for task in heads:
        assert labels_of(baseline_results(model, task, source, source, cache)[0]) == labels
    assert len(seen) == len(TONES)
