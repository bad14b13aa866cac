"""Loggers and callbacks of Lightning get what `metrics.csv` has."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from typer.testing import CliRunner

from multiseq import ClassTarget, Encoder, Model, SetHead, Settings, Source, Task, TextAdapter, train
from multiseq.cli import app
from multiseq.options import MONITOR
from multiseq.runs.loggers import LOGGERS, loggers_for
from multiseq.training.run_log import read_log
from tests.runs.test_publish import RECIPE, ROWS


class Collected(Logger):
    """Collects what it is told."""

    name, version = "collected", 0

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[tuple[int, str], float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told |= {(step or 0, name): value for name, value in metrics.items()}

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


class Counts(Callback):
    steps = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1


def test_loggers_and_callbacks_are_handed_through(tmp_path: Path) -> None:
    texts, labels = ["good", "bad"], ["up", "down"]
    model = Model(
        {"text": TextAdapter.fit(texts, dim=8)},
        Encoder(dim=8, depth=1, heads=2),
        {"mood": Task("text", SetHead(8, ClassTarget.fit(labels)))},
    )
    data, logger, counts = [Source("text", texts, {"mood": labels})], Collected(), Counts()
    settings = Settings(steps=3, evaluate_every=2)
    train(model, data, dev=data, out=tmp_path, settings=settings, loggers=[logger], callbacks=[counts])
    assert counts.steps == 3
    for row in read_log(tmp_path / "metrics.csv"):
        if row["task"] == MONITOR:
            continue
        name = f"{row['split']}/{row['task']}/{row['metric']}"
        assert logger.told[int(row["step"]), name] == float(row["value"])
    assert {step for step, name in logger.told if name == "dev/mood/accuracy"} == {1, 2}
    assert {step for step, name in logger.told if name == "lr"} == {0, 1, 2}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.tsv").write_text(ROWS)
    Path("mine.toml").write_text(RECIPE.format(test="train.tsv"))
    return "mine.toml"


def test_a_logger_by_name_writes_into_the_run(recipe: str) -> None:
    done = CliRunner().invoke(app, ["train", recipe, "--logger", "csv"])
    assert done.exit_code == 0, done.output
    with Path("runs", "mine", "csv", "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/mood/loss"]]
    assert [row["step"] for row in rows] == ["0", "1"]


def test_an_unknown_logger_names_the_known(recipe: str) -> None:
    done = CliRunner().invoke(app, ["train", recipe, "--logger", "tensorbord"])
    assert done.exit_code == 1
    assert "--logger: got 'tensorbord' (did you mean 'tensorboard'?)" in done.output


def test_a_missing_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch.loggers as lightnings

    def missing(**_: Any) -> None:
        raise ModuleNotFoundError("No module named 'mlflow'")

    for name, kind in LOGGERS.items():
        monkeypatch.setattr(lightnings, kind, missing)
        with pytest.raises(ImportError, match=f"pip install {name}"):
            loggers_for([name], tmp_path, "mine")
