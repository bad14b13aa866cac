"""Runs of several models: all folds of a cross-validation, and ensembles, from files to a score and back."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from multiseq import Ensemble, load
from multiseq.cli import app
from multiseq.data import DataError
from multiseq.runs.build import settings
from multiseq.runs.evaluate import evaluate_run
from multiseq.runs.folder import check_folder, read_run
from multiseq.runs.many import parts_of
from multiseq.runs.publish import model_card
from multiseq.runs.recipe import RecipeError, read
from multiseq.runs.run import train_run
from multiseq.runs.scoring import markdown, summary

RECIPE = """
[data.reviews]
adapter = "text"
format = "table"
file = "reviews.csv"
input = "text"
dev = 0.3
{split}

[tasks.mood]
data = "reviews"
output = "set"
target = "class"
column = "mood"

[tasks.stars]
data = "reviews"
output = "set"
target = "number"
column = "stars"
metric = "rmse"

[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 3
save_every = 1
{training}
"""
WORDS = {"good": ["lovely", "great"], "bad": ["awful", "poor"]}


def recipe_in(folder: Path, split: str, training: str = "") -> Path:
    draw = random.Random(0)
    with (folder / "reviews.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "mood", "stars"])
        for i in range(90):
            mood = ("good", "bad")[i % 2]
            text = f"a {draw.choice(WORDS[mood])} {draw.choice(['lamp', 'table'])} {i}"
            rows.writerow([text, mood, round(5 * (i % 2) + draw.random(), 2)])
    path = folder / "reviews.toml"
    path.write_text(RECIPE.format(split=split, training=training))
    return path


def multiseq(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], prog_name="multiseq")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of an ensemble of two models, that was never stopped."""
    folder = tmp_path_factory.mktemp("ensemble")
    done = multiseq("train", recipe_in(folder, "test = 0.2", "ensemble = 2"), "--out", folder / "run")
    assert done.exit_code == 0, done.output
    for told in ("member-1:", "ensemble: mood: temperature", "of its members", "and this table (test.md)"):
        assert told in done.output
    return folder / "run"


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a cross-validation of two folds."""
    folder = tmp_path_factory.mktemp("folds")
    done = multiseq("train", recipe_in(folder, "folds = 2"), "--out", folder / "run")
    assert done.exit_code == 0, done.output
    assert "Values are the mean and the standard deviation over 2 folds." in done.output
    assert " ± " in done.output
    return folder / "run"


def tasks_in(run: Path) -> dict[str, Any]:
    tasks = json.loads((run / "test.json").read_text())["tasks"]
    return {task: {k: v for k, v in entry.items() if k != "seconds"} for task, entry in tasks.items()}


def weights_in(run: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((run / "model").rglob("*.safetensors"))]


# --- ensembles ------------------------------------------------------------------------------------


def test_an_ensemble_is_of_runs_with_other_seeds(ensemble: Path) -> None:
    assert [read_run(ensemble / f"member-{i}").tables["training"]["seed"] for i in (0, 1)] == [0, 1]
    assert read_run(ensemble).tables["training"]["ensemble"] == 2
    first, second = (tasks_in(ensemble / f"member-{i}")["mood"]["value"] for i in (0, 1))
    assert tasks_in(ensemble)["mood"]["members"] == [first, second]
    alone = [load(ensemble / f"member-{i}") for i in (0, 1)]
    together = load(ensemble)
    assert isinstance(together, Ensemble)
    items = ["a lovely table 3", "poor"]
    stars = [one.predict("stars", items) for one in (*alone, together)]
    for left, right, both in zip(*stars, strict=True):
        assert both.value == pytest.approx((left.value + right.value) / 2)
        assert set(both.intervals) == {"stars"}
    assert together.predict("mood", items)[0].distance is not None
    record = json.loads((ensemble / "run.json").read_text())
    assert record["weights"] == sum(p.numel() for one in alone for p in one.parameters())
    splits = json.loads((ensemble / "splits" / "reviews.json").read_text())
    assert [len(splits[part]) for part in ("train", "dev", "test")] == [45, 27, 18]


def test_an_ensemble_of_one_is_one_model(tmp_path: Path) -> None:
    recipe = read(recipe_in(tmp_path, "test = 0.2", "ensemble = 3"), ["training.ensemble=1"])
    assert parts_of(recipe) == {}
    assert settings(recipe).seed == 0


def test_the_members_are_runs_of_their_own(ensemble: Path, folds: Path) -> None:
    for run in (ensemble / "member-1", folds / "fold-1"):
        entry = evaluate_run(run)["stars"]
        assert {k: v for k, v in entry.items() if k != "seconds"} == tasks_in(run)["stars"]
        assert (run / "report.html").is_file()


@pytest.mark.parametrize("which", ["ensemble", "folds"])
def test_evaluate_repeats_the_scores(which: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(which)
    report = json.loads(multiseq("evaluate", run, "--json").stdout)["tasks"]
    for task, entry in tasks_in(run).items():
        assert report[task]["value"] == pytest.approx(entry["value"])
        assert report[task].get("value_spread") == pytest.approx(entry.get("value_spread"))
    assert multiseq("evaluate", run, "--split", "dev").exit_code == 0


@pytest.mark.parametrize("which", ["ensemble", "folds"])
def test_report_and_card(which: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(which)
    (run / "report.html").unlink()
    done = multiseq("report", run)
    assert done.stdout.strip() == str(run / "report.html")
    page = (run / "report.html").read_text()
    assert "could not be made" not in page
    assert "cannot be shown" not in page
    assert ("90 of 90" if which == "folds" else "18 of 18") in page  # every item of a cross-validation once
    card = model_card(run)
    assert ("cross-validation" in card) == (which == "folds")
    assert "import multiseq" in card


@pytest.mark.parametrize("which", ["ensemble", "folds"])
def test_predict(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run: Path = request.getfixturevalue(which)
    assert multiseq("predict", run, "a lovely lamp", "--task", "mood").stdout.startswith(("good", "bad"))
    out = tmp_path / "out.csv"
    source = run.parent / "reviews.csv"
    assert multiseq("predict", run, "--task", "stars", "--input", source, "--output", out).exit_code == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    wanted = load(run).predict("stars", [row["text"] for row in rows])
    assert [float(row["prediction"]) for row in rows] == pytest.approx([r.value for r in wanted])


# --- cross-validation -----------------------------------------------------------------------------


def test_all_folds_are_trained_and_summed_up(folds: Path) -> None:
    found = [tasks_in(folds / f"fold-{i}") for i in (0, 1)]
    for task, entry in tasks_in(folds).items():
        values, baselines = ([one[task][key] for one in found] for key in ("value", "baseline"))
        assert entry["folds"] == values
        assert (entry["value"], entry["value_spread"]) == pytest.approx((mean(values), stdev(values)))
        assert entry["baseline_spread"] == pytest.approx(stdev(baselines))
        assert entry["num_items"] == 90
    splits = [json.loads((folds / f"fold-{i}/splits/reviews.json").read_text()) for i in (0, 1)]
    assert sorted(splits[0]["test"] + splits[1]["test"]) == list(range(90))
    assert "±" in (folds / "test.md").read_text()
    model = load(folds)
    assert isinstance(model, Ensemble)
    assert len(model.models) == 2


def test_a_task_that_a_fold_cannot_score() -> None:
    entry = {"cell": "text/set", "metric": "r2", "baseline": None, "num_items": 1, "seconds": 0.1}
    reports = [{"size": {**entry, "value": value, "split": "test"}} for value in (0.5, None)]
    report = summary(reports)
    assert (report["size"]["value"], report["size"]["value_spread"]) == (0.5, None)
    assert "| – | 0.500 |" in markdown(report)


def test_the_folds_of_a_split_file(tmp_path: Path) -> None:
    path = recipe_in(tmp_path, 'split_file = "parts.json"')
    path.write_text(path.read_text().replace("dev = 0.3\n", ""))
    splits = [{"train": [3, 4, 5], "test": [0, 1]}, {"train": [0, 1], "test": [3]}, {"train": [1]}]
    (tmp_path / "parts.json").write_text(json.dumps({"splits": splits}))
    assert parts_of(read(path)) == {}  # the first fold is the default, as ever
    assert parts_of(read(path, ["data.reviews.fold=1"])) == {}
    found = parts_of(read(path, ["data.reviews.fold=all"]))
    assert [part.tables["data"]["reviews"]["fold"] for part in found.values()] == [0, 1, 2]
    assert list(found) == ["fold-0", "fold-1", "fold-2"]
    (tmp_path / "parts.json").write_text("[]")
    with pytest.raises(DataError, match=r"parts\.json: no splits in it; expected several of them under"):
        parts_of(read(path, ["data.reviews.fold=all"]))


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "line"), [("ensemble", "/member-1:"), ("folds", "mood: ")])
def test_a_stopped_run_goes_on(
    which: str, line: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two models, or between the training of one and its score."""
    monkeypatch.setattr("multiseq.runs.reports.page.page", lambda run: "")  # to save time
    whole: Path = request.getfixturevalue(which)
    split, training = ("folds = 2", "") if which == "folds" else ("test = 0.2", "ensemble = 2")
    recipe = read(recipe_in(tmp_path, split, training))
    out = tmp_path / "run"

    def stop(said: str) -> None:
        if said.removeprefix(str(out)).startswith(line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(recipe, out, progress=False, say=stop)
    assert not (out / "test.json").exists()
    with pytest.raises(ValueError, match="holds a run already"):
        train_run(recipe, out, progress=False, say=stop)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/test.json")}
    done = multiseq("train", "--resume", "--out", out)
    assert done.exit_code == 0, done.output
    assert tasks_in(out) == tasks_in(whole)
    assert weights_in(out) == weights_in(whole)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert "this run is finished" in multiseq("train", "--resume", "--out", out).output


def test_a_run_that_failed_before_its_first_step_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    path = recipe_in(tmp_path, "folds = 2")
    (tmp_path / "reviews.csv").write_text("text,mood,stars\na,good,1\n")
    done = multiseq("train", path, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"recipe.toml", "run.json"}
    check_folder(tmp_path / "run", read(path), resume=False)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "training", "message"),
    [
        (
            "folds = 2",
            "ensemble = 2",
            r"\[training\] ensemble: got all folds of \[data\.reviews\], too",
        ),
        ("test = 0.2", "ensemble = 0", r"\[training\] ensemble: got 0, expected 1 or more"),
        ("test = 0.2", "ensemble = true", r"\[training\] ensemble: got True, expected a whole number"),
        (
            'folds = 3\nfold = "al"',
            "",
            r"fold: got 'al', expected 0 to 2, the number of the fold that is",
        ),
        (
            'test = 0.2\nfold = "all"',
            "",
            r"\[data\.reviews\]: got fold, which goes with folds = 5, or",
        ),
    ],
)
def test_mistakes_in_a_recipe(split: str, training: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        read(recipe_in(tmp_path, split, training))


def test_two_tables_with_different_numbers_of_folds(tmp_path: Path) -> None:
    first = read(recipe_in(tmp_path, "folds = 2"))
    first.tables["data"]["others"] = {**first.tables["data"]["reviews"], "folds": 3}
    with pytest.raises(RecipeError, match=r"folds: got 2 of \[data\.reviews\], 3 of \[data\.others\]"):
        parts_of(first)


def test_several_devices_are_refused(tmp_path: Path) -> None:
    path = recipe_in(tmp_path, "test = 0.2", "ensemble = 2")
    done = multiseq("train", path, "--out", tmp_path / "run", "--devices", "2")
    assert done.exit_code == 1
    assert "got devices = 2 and num_nodes = 1 for 2 models, expected 1 of each" in done.output


def test_check_looks_at_the_first_model(tmp_path: Path) -> None:
    done = multiseq("check", recipe_in(tmp_path, "folds = 3"))
    assert done.exit_code == 0, done.output
    assert "3 models, fold-0 to fold-2. The first of them:" in done.output
    assert "fold 0 of 3" in done.output
