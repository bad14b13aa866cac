"""Calibrated confidence: temperatures, thresholds, intervals, and the distance from the training data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multiseq import (
    ClassTarget,
    Encoder,
    Label,
    Model,
    MultiLabelTarget,
    Number,
    NumberTarget,
    SetHead,
    Source,
    Task,
    TextAdapter,
    TextTarget,
    VectorHead,
    calibrate,
    load,
    save,
    train,
)
from multiseq.heads.ctc import CTCHead
from multiseq.heads.targets import target_from_config
from multiseq.model import combine
from multiseq.nn.distance import TrainingDistance
from multiseq.results import LabelSet, rounded
from multiseq.runs.items import line_of, record_of
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run
from multiseq.training.confidence import (
    TEMPERATURES,
    class_temperature,
    f1_threshold,
    flag_temperature,
    forget_calibration,
    quantile,
)
from multiseq.vectors import VectorSets

pytestmark = pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")

# --- numbers by hand ------------------------------------------------------------------------------


def two_classes(right: int, wrong: int, gap: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that say class 0 by ``gap``, and labels that agree ``right`` times."""
    logits = torch.tensor([[gap, 0.0]] * (right + wrong)).double()
    return logits, torch.tensor([0] * right + [1] * wrong)


@pytest.mark.parametrize(("right", "wrong"), [(80, 20), (97, 3), (30, 0)])
def test_temperature_by_hand(right: int, wrong: int) -> None:
    logits, labels = two_classes(right, wrong, 4.0)
    num = right + wrong
    doubt = 1 / (num + 2)
    share = right / num * (1 - doubt) + doubt / 2  # what the softmax of 4 / T must be
    by_hand = 4 / math.log(share / (1 - share))
    assert class_temperature(logits, labels, torch.arange(num)) == pytest.approx(by_hand, rel=1e-4)
    flags = (labels == 0).double()[:, None]
    assert flag_temperature(logits[:, :1], flags, torch.arange(num)) == pytest.approx(by_hand, rel=1e-4)


def test_temperatures_have_bounds() -> None:
    logits, labels = two_classes(20, 20, 4.0)  # knows nothing: all probabilities should be equal
    assert class_temperature(logits, labels, torch.arange(40)) == pytest.approx(TEMPERATURES[1], rel=1e-4)
    logits, labels = two_classes(10**4, 0, 1e-3)  # is always right, and hardly dares to say so
    assert class_temperature(logits, labels, torch.arange(10**4)) == pytest.approx(TEMPERATURES[0], rel=1e-4)
    assert class_temperature(0 * logits, labels, torch.arange(10**4)) == 1.0  # no temperature is better


def test_extreme_logits_give_a_temperature() -> None:
    logits, labels = two_classes(90, 10, 1e4)
    assert class_temperature(logits, labels, torch.arange(100)) == pytest.approx(TEMPERATURES[1], rel=1e-4)


def test_the_examples_of_an_item_are_averaged() -> None:
    logits, labels = two_classes(80, 20, 4.0)
    twice, group = logits.repeat_interleave(2, 0), torch.arange(100).repeat_interleave(2)
    alone = class_temperature(logits, labels, torch.arange(100))
    assert class_temperature(twice, labels, group) == pytest.approx(alone, rel=1e-4)
    apart = torch.stack([logits, logits * 3], 1).flatten(0, 1)  # examples of one item that differ
    best = class_temperature(apart, labels, group)

    def loss(temperature: float) -> float:
        shares = (apart / temperature).softmax(1).view(100, 2, 2).mean(1)
        shares = shares.log()
        right = shares.gather(1, labels[:, None])[:, 0]
        return -float(((1 - 1 / 102) * right + shares.mean(1) / 102).mean())

    assert loss(best) <= min(loss(best * 1.01), loss(best / 1.01))


def test_missing_flags_do_not_count() -> None:
    logits = torch.tensor([[4.0, 9.0]] * 50).double()
    flags = torch.tensor([[1.0, math.nan]] * 40 + [[0.0, math.nan]] * 10).double()
    alone = flag_temperature(logits[:, :1], flags[:, :1], torch.arange(50))
    assert flag_temperature(logits, flags, torch.arange(50)) == pytest.approx(alone)


def test_threshold_by_hand() -> None:
    shares = torch.tensor([0.9] * 15 + [0.4] * 10 + [0.2] * 40 + [0.3])[:, None]
    flags = torch.tensor([1.0] * 15 + [1.0] * 8 + [0.0] * 2 + [0.0] * 40 + [math.nan])[:, None]
    # F1 from 0.9 on: 2 * 15 / (15 + 23). From 0.4 on: 2 * 23 / (25 + 23), the best. Of all: 46 / 88.
    assert f1_threshold(shares, flags) == pytest.approx(0.3)  # halfway to 0.2
    assert f1_threshold(shares[::2], flags[::2]) == 0.5  # too few flags that are 1
    good = torch.tensor([0.9] * 25 + [0.1] * 25)[:, None]
    assert f1_threshold(good, (good > 0.5).float()) == 0.5  # none is better
    same = torch.full((60, 1), 0.4)
    assert f1_threshold(same, torch.arange(60)[:, None] % 2.0) == pytest.approx(0.4)  # all or none


def test_quantiles_cover_what_they_promise() -> None:
    assert quantile(torch.arange(1.0, 20.0), 0.9) == 18  # 18 of 19: (19 + 1) * 0.9
    assert quantile(torch.arange(8.0), 0.9) is None
    assert quantile(torch.empty(0), 0.9) is None
    errors = torch.randn(4000, 20, generator=torch.Generator().manual_seed(0)).abs()
    inside = [bool(row[19] <= quantile(row[:19], 0.9)) for row in errors]  # type: ignore[operator]
    assert sum(inside) / len(inside) == pytest.approx(0.9, abs=0.015)


# --- targets and results --------------------------------------------------------------------------


def test_a_temperature_changes_probabilities_and_no_class() -> None:
    logits = torch.tensor([[3.0, 1.0, -2.0], [0.1, 0.1, 0.1], [1e4, 0.0, 1e4 - 1e-3]])
    plain, cooler, hotter = (
        ClassTarget(["a", "b", "c"], temperature=t).decode(logits) for t in (1.0, 0.05, 20.0)
    )
    assert [r.label for r in plain] == [r.label for r in cooler] == [r.label for r in hotter]
    assert cooler[0].probability > plain[0].probability > hotter[0].probability
    assert hotter[0].probability == pytest.approx(float((logits[0] / 20).softmax(0)[0]))


def test_the_loss_knows_no_temperature() -> None:
    logits = torch.randn(5, 3)
    plain, hot = ClassTarget(["a", "b", "c"]), ClassTarget(["a", "b", "c"], temperature=7.0)
    labels = plain.batch(["a", "c", None, "b", "a"])
    assert torch.equal(plain.loss(logits, labels)[0], hot.loss(logits, labels)[0])


def test_a_threshold_decides_what_is_present() -> None:
    target = MultiLabelTarget(["a", "b"], threshold=0.3)
    [found] = target.decode(torch.tensor([[-0.5, -1.5]]))  # probabilities 0.38 and 0.18
    assert found.labels == ("a",)
    assert found.threshold == 0.3
    both = [LabelSet((), {"a": 0.2, "b": 0.35}, 0.3), LabelSet(("a",), {"a": 0.5, "b": 0.2}, 0.3)]
    assert combine(both).labels == ("a",)
    assert combine(both).threshold == 0.3


def test_an_interval_is_in_the_unit_of_the_number() -> None:
    target = NumberTarget(["v"], [10.0], [2.0], unit="m", half_widths=[0.5])
    [number] = target.decode(torch.tensor([[1.0]]))
    assert number.intervals == {"v": (11.0, 13.0)}
    assert str(number) == "12 (11 to 13) m"
    two = NumberTarget(["v", "w"], [0.0, 0.0], [1.0, 10.0], half_widths=[0.5, 0.25])
    assert str(two.decode(torch.tensor([[1.0, 2.0]]))[0]) == "v 1 (0.5 to 1.5), w 20 (17.5 to 22.5)"
    mean = combine([number, Number({"v": 14.0}, "m", {"v": 2.0}, {"v": (13.0, 15.0)})])
    assert mean.intervals == {"v": (12.0, 14.0)}
    with pytest.raises(ValueError, match="half_widths: got 1 entries, expected none or 2"):
        NumberTarget(["v", "w"], [0.0, 0.0], [1.0, 10.0], half_widths=[0.5])


@pytest.mark.parametrize(
    "target",
    [
        ClassTarget(["a", "b"], temperature=1.5),
        MultiLabelTarget(["a", "b"], temperature=0.5, threshold=0.25),
        NumberTarget(["v"], [1.0], [2.0], half_widths=[0.125]),
    ],
)
def test_a_config_keeps_the_calibration_and_an_old_one_has_none(target: Any) -> None:
    config = json.loads(json.dumps(target.config()))
    assert target_from_config(config).config() == config
    for key in ("temperature", "threshold", "half_widths"):
        config.pop(key, None)
    old = target_from_config(config).config()
    assert (old.get("temperature", 1.0), old.get("threshold", 0.5), old.get("half_widths", [])) == (
        1,
        0.5,
        [],
    )


def test_a_temperature_and_a_threshold_are_positive() -> None:
    with pytest.raises(ValueError, match=r"temperature: got 0\.0, expected a positive number"):
        ClassTarget(["a", "b"], temperature=0.0)
    with pytest.raises(ValueError, match=r"threshold: got -1\.0, expected a positive number"):
        MultiLabelTarget(["a", "b"], threshold=-1.0)


# --- the distance from the training data ----------------------------------------------------------


def one_vector_each(rows: torch.Tensor) -> VectorSets:
    return VectorSets(rows, [1] * len(rows))


def test_distance_by_hand() -> None:
    distance = TrainingDistance.fit(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -3.0]]))
    # The variances are 0.5 and 4.5, and 1 % of their mean is added to each.
    sets = VectorSets(torch.tensor([[0.0, 3.0], [4.0, 1.0], [2.0, -1.0]]), [1, 2, 0])
    expected = [0.0, math.sqrt(2**2 / 0.525), math.sqrt(1 / 0.525)]  # means: (0, 3), (3, 0), (0, 0)
    assert distance(sets).tolist() == pytest.approx(expected, abs=1e-3)
    distance.limit.fill_(2.0)
    assert distance(sets).tolist() == pytest.approx([x / 2 for x in expected], abs=1e-3)


def test_distance_does_not_depend_on_scale_and_offset() -> None:
    rows, other = torch.randn(2, 31, 5, generator=torch.Generator().manual_seed(1))
    here = TrainingDistance.fit(rows)(one_vector_each(other))
    there = TrainingDistance.fit(rows * 1e3 + 7e3)(one_vector_each(other * 1e3 + 7e3))
    assert torch.allclose(here, there, rtol=1e-2)
    assert not TrainingDistance.fit(torch.ones(23, 5))(one_vector_each(torch.ones(2, 5))).isnan().any()


# --- a model --------------------------------------------------------------------------------------

WORDS = ["lamp", "red", "blue", "table", "good", "bad", "chair", "old"]
DIM = 16


def texts_of(num: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 7, (num,), generator=generator).tolist()
    return [
        " ".join(WORDS[i] for i in torch.randint(8, (length,), generator=generator)) for length in lengths
    ]


def source_of(num: int, seed: int, unit: Callable[[float], float] = float) -> Source:
    """Texts with labels of every kind. Each third label is a matter of chance."""
    texts = texts_of(num, seed)
    noisy = [len(text) % 3 == 0 for text in texts]
    odd = ["good" in t if not n else i % 2 == 0 for i, (t, n) in enumerate(zip(texts, noisy, strict=True))]
    return Source(
        "text",
        texts,
        {
            "mood": ["yes" if flag else "no" for flag in odd],
            "words": [{w for w in ("red", "blue") if w in t.split()} for t in texts],
            "length": [unit(len(text.split()) + n) for text, n in zip(texts, noisy, strict=True)],
            "tags": [["good" if w == "good" else "other" for w in t.split()] for t in texts],
            "copy": ["a" if len(t.split()) <= 4 else None for t in texts],  # of texts in one window
        },
    )


def build(source: Source) -> Model:
    torch.manual_seed(0)
    targets = source.targets
    heads = {
        "mood": SetHead(DIM, ClassTarget.fit(targets["mood"])),
        "words": SetHead(DIM, MultiLabelTarget.fit(targets["words"])),
        "length": SetHead(DIM, NumberTarget.fit(targets["length"], unit="words"), pool="sum"),
        "tags": VectorHead(DIM, ClassTarget(["good", "other"])),
        "copy": CTCHead(DIM, TextTarget.fit(["a"], unit="character")),
    }
    tasks = {name: Task("text", head) for name, head in heads.items()}  # type: ignore[arg-type]
    adapter = TextAdapter.fit(source.items, dim=DIM, window=4)  # longer texts are in several windows
    return Model({"text": adapter}, Encoder(dim=DIM, depth=1, heads=2), tasks)


TRAIN, DEV, TEST = source_of(150, 0), source_of(101, 1), source_of(97, 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with tasks of every kind, trained and not calibrated."""
    model = train(build(TRAIN), [TRAIN], steps=60, lr=1e-2, max_vectors=300, progress=False)
    return save(model, tmp_path_factory.mktemp("trained") / "model")


def nll(model: Model, source: Source) -> float:
    found = model.predict("mood", source.items)
    pairs = zip(found, source.targets["mood"], strict=True)
    return -sum(math.log(r.probabilities[label]) for r, label in pairs) / len(found)


def everything(model: Model) -> list[Any]:
    found = [r for task in model.tasks for results in model.predict(task, TEST.items[:9]) for r in [results]]
    flat = [one for r in found for one in (r if isinstance(r, list) else [r])]
    return [(r, r.distance, getattr(r, "probabilities", 0), getattr(r, "intervals", 0)) for r in flat]


def test_calibrate(trained: Path) -> None:
    model = load(trained)
    before, classes = nll(model, DEV), [r.label for r in model.predict("mood", DEV.items)]
    assert model.predict("mood", ["red lamp"])[0].unlike_training is None
    said = calibrate(model, [DEV], sources=[TRAIN])
    assert said["mood"].startswith("temperature ")
    assert "from 101 dev labels; distances from 150" not in said["mood"]  # long texts are two examples
    assert "threshold" in said["words"]
    assert "90% intervals of ± " in said["length"]
    assert said["copy"].startswith("distances from ")
    assert said["copy"].endswith(" training examples, up to the farthest of 101 dev items")
    assert nll(model, DEV) < before
    assert [r.label for r in model.predict("mood", DEV.items)] == classes
    numbers = model.predict("length", DEV.items)
    inside = [
        low <= label <= high
        for (low, high), label in zip(
            [n.intervals["value"] for n in numbers], DEV.targets["length"], strict=True
        )
    ]
    assert sum(inside) == 92  # ceil(0.9 * 102)
    unlike = [r.unlike_training for r in model.predict("mood", DEV.items)]
    assert sum(map(bool, unlike)) == 0  # ceil(0.99 * 102) = 101 of 101 dev items are within the limit
    strange = model.predict("mood", ["qwertz asdf qwertz asdf"])[0]
    assert strange.distance > max(r.distance for r in model.predict("mood", TRAIN.items))
    first, second = model.predict("tags", ["red lamp"])[0]
    assert first.distance == second.distance is not None


def test_a_checkpoint_keeps_the_calibration(trained: Path, tmp_path: Path) -> None:
    model = load(trained)
    calibrate(model, [DEV], sources=[TRAIN])
    again = load(save(model, tmp_path / "model"))
    assert everything(again) == everything(model)
    size = sum(
        t.numel() for name, t in load_file(tmp_path / "model" / "model.safetensors").items() if "dist" in name
    )
    assert 0 < size <= 5 * (1000 * DIM + DIM**2 + DIM + 1)


def test_calibrating_twice_is_calibrating_once(trained: Path) -> None:
    model = load(trained)
    said = calibrate(model, [DEV], sources=[TRAIN])
    once = everything(model)
    assert calibrate(model, [DEV], sources=[TRAIN]) == said
    assert everything(model) == once


def test_training_forgets_the_calibration(trained: Path) -> None:
    model, plain = load(trained), everything(load(trained))
    calibrate(model, [DEV], sources=[TRAIN])
    assert everything(model) != plain
    forget_calibration(model)
    assert everything(model) == plain
    calibrate(model, [DEV], sources=[TRAIN])
    train(model.train(), [TRAIN], steps=1, lr=1e-9, progress=False)
    assert model.predict("mood", ["red lamp"])[0].distance is None
    assert model.task("mood").head.target.temperature == 1.0


def test_an_old_checkpoint_has_no_calibration(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    for task in config["tasks"].values():
        del task["distance"]
        for key in ("temperature", "threshold", "half_widths"):
            task["head"]["target"].pop(key, None)
    old = trained.parent / "old"
    old.mkdir()
    (old / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    for file in config["files"]:
        (old / file).write_bytes((trained / file).read_bytes())
    (old / "config.json").write_text(json.dumps(config))
    assert everything(load(old)) == everything(load(trained))


def test_without_dev_items_nothing_is_calibrated(trained: Path) -> None:
    model, plain = load(trained), everything(load(trained))
    said = calibrate(model, [], sources=[TRAIN])
    assert said["mood"].startswith("not calibrated, with 0 dev labels (at least 20 are needed)")
    assert said["length"].startswith("no intervals, with 0 dev labels (at least 9 are needed)")
    assert everything(model) == plain


def test_an_unknown_task_is_an_error(trained: Path) -> None:
    with pytest.raises(ValueError, match="task: got 'weather', expected one of mood, words"):
        calibrate(load(trained), [Source("text", ["red"], {"weather": ["sun"]})])


def test_few_dev_items(trained: Path) -> None:
    model = load(trained)
    few = Source("text", DEV.items[:9], {task: labels[:9] for task, labels in DEV.targets.items()})
    said = calibrate(model, [few], sources=[TRAIN])
    assert said["mood"] == (
        "not calibrated, with 9 dev labels (at least 20 are needed); "
        "no distance from the training data, with 9 dev items"
    )
    assert "90% intervals" in said["length"]
    assert model.task("mood").head.target.temperature == 1.0


def test_labels_that_are_missing_or_new_do_not_count(trained: Path) -> None:
    model, other = load(trained), load(trained)
    calibrate(model, [DEV])
    strange = Source(
        "text",
        [*DEV.items, "red", "blue lamp", "good"],
        {
            "mood": [*DEV.targets["mood"], None, "perhaps", "never"],
            "words": [*DEV.targets["words"], None, {"green"}, {"red", "green"}],
            "length": [*DEV.targets["length"], None, None, math.nan],
            "tags": [*DEV.targets["tags"], None, ["new", "new"], [None]],
        },
    )
    calibrate(other, [strange])
    for task in ("mood", "words", "length", "tags"):
        mine, theirs = (m.task(task).head.target.config() for m in (model, other))
        for key in ("temperature", "threshold", "half_widths"):
            assert theirs.get(key) == pytest.approx(mine.get(key)), task
    assert model.distance("mood") is None  # no training items were given


@pytest.mark.parametrize("factor", [1e-12, 1e12])
@pytest.mark.parametrize("more", [0.0, 1e9])
def test_intervals_do_not_depend_on_the_unit(trained: Path, factor: float, more: float) -> None:
    def unit(value: float) -> float:
        return (value + more) * factor

    model, other = load(trained), load(trained)
    target = other.task("length").head.target
    target.mean = [unit(target.mean[0])]
    target.std = [target.std[0] * factor]
    calibrate(model, [Source("text", DEV.items, {"length": DEV.targets["length"]})])
    calibrate(other, [Source("text", DEV.items, {"length": [unit(v) for v in DEV.targets["length"]]})])
    here, there = (m.predict("length", ["red lamp"])[0].intervals["value"] for m in (model, other))
    assert (there[1] - there[0]) / factor == pytest.approx(here[1] - here[0], rel=1e-5)


def test_predictions_are_marked(trained: Path) -> None:
    model = load(trained)
    for task in model.tasks:
        [pieces] = model.run(task, ["red lamp"])
        assert "unlike_training" not in record_of(model, task, "red lamp", pieces)
        assert "unlike" not in line_of(model, task, pieces)
    calibrate(model, [DEV], sources=[TRAIN])
    for task in model.tasks:
        distance: Any = model.distance(task)
        [pieces] = model.run(task, ["red lamp old chair good table"])
        record = record_of(model, task, "red lamp", pieces)
        assert record["unlike_training"] == (record["distance"] > 1)
        distance.limit.fill_(1e-3)
        [pieces] = model.run(task, ["qwertz"])
        assert record_of(model, task, "qwertz", pieces)["unlike_training"] is True
        assert line_of(model, task, pieces).endswith("  (unlike the training data)")
        json.dumps(record)
    [pieces] = model.run("length", ["red lamp"])
    [number] = model.predict("length", ["red lamp"])
    assert record_of(model, "length", "", pieces)["interval"] == [
        rounded(end, number.scales["value"]) for end in number.intervals["value"]
    ]
    assert " to " in line_of(model, "length", pieces)


def test_results_compare_by_what_they_say() -> None:
    assert Label("a", 0.5, distance=3.0) == Label("a", 0.5)
    assert Label("a", 0.5, distance=3.0).unlike_training is True
    assert Label("a", 0.5, distance=1.0).unlike_training is False


# --- runs -----------------------------------------------------------------------------------------

RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 20
max_vectors = 200
lr = 1e-2

[data.texts]
adapter = "text"
format = "table"
input = "text"
file = "texts.csv"
split_column = "split"

[tasks.mood]
data = "texts"
output = "set"
target = "class"
column = "mood"
"""


def test_a_run_is_calibrated_once(tmp_path: Path) -> None:
    rows = [
        f"{text},{label},{split}\n"
        for split, source in (("train", TRAIN), ("dev", DEV), ("test", TEST))
        for text, label in zip(source.items, source.targets["mood"], strict=True)
    ]
    (tmp_path / "texts.csv").write_text("text,mood,split\n" + "".join(rows))
    (tmp_path / "r.toml").write_text(RECIPE)
    said: list[str] = []
    run, out = read(tmp_path / "r.toml"), tmp_path / "run"
    report = train_run(run, out, progress=False, say=said.append)
    [line] = [line for line in said if line.startswith("mood: temperature")]
    model = load(out)
    assert f"temperature {model.task('mood').head.target.temperature:.2f} " in line
    assert model.predict("mood", ["red lamp"])[0].distance is not None
    weights, config = ((out / "model" / name).read_bytes() for name in ("model.safetensors", "config.json"))
    (out / "test.json").unlink()  # as if it was stopped before the end
    again = train_run(run, out, progress=False, resume=True, say=said.append)
    assert again["mood"]["value"] == report["mood"]["value"]
    assert (out / "model" / "model.safetensors").read_bytes() == weights
    assert (out / "model" / "config.json").read_bytes() == config
    (out / "model" / "model.safetensors").touch()
    train_run(run, out, progress=False, resume=True, say=said.append)
    assert said[-1].endswith("this run is finished")


def test_a_run_without_a_dev_split_says_so(tmp_path: Path) -> None:
    rows = [
        f"{text},{label},{'test' if i % 5 == 0 else 'train'}\n"
        for i, (text, label) in enumerate(zip(TRAIN.items, TRAIN.targets["mood"], strict=True))
    ]
    (tmp_path / "texts.csv").write_text("text,mood,split\n" + "".join(rows))
    (tmp_path / "r.toml").write_text(RECIPE.replace("steps = 20", "steps = 2"))
    said: list[str] = []
    train_run(read(tmp_path / "r.toml"), tmp_path / "run", progress=False, say=said.append)
    assert any(line.startswith("mood: not calibrated, with 0 dev labels") for line in said)
    assert load(tmp_path / "run").predict("mood", ["red lamp"])[0].distance is None
