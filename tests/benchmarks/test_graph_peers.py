"""Other systems beside ours on molecules and networks: each trains and is scored, on a few items."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.accuracy import chemprop, coverage, networks
from benchmarks.accuracy.beside import Plan, System
from multiseq.results import Number
from tests.first_lines import first_lines

STAND_IN = """\
import csv, sys
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
if sys.argv[1] == "train":
    with open(given["--data-path"]) as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "val", "test"}, rows[:3]
    mean = sum(float(row[given["--target-columns"]]) for row in rows) / len(rows)
    open(given["--save-dir"], "w").write(str(mean))
else:
    mean = open(given["--model-paths"]).read()
    with open(given["--test-path"]) as file, open(given["--preds-path"], "w") as out:
        print("smiles,value", file=out)
        for row in csv.DictReader(file):
            print(row[given["--smiles-columns"]], mean, sep=",", file=out)
"""
"""Answers as chemprop's command does, with the mean of all values."""


@pytest.mark.parametrize("system", [networks.gcn, networks.gat, networks.gps])
def test_networks(system: System, data_dir: Path) -> None:
    plan = Plan("cora", data_dir / "graph_node/planetoid", quick=True)
    score = system(plan, {split: plan.items(split) for split in ("train", "dev", "test")})
    assert 0.1 < score <= 1


def test_the_features_of_a_network_with_ids() -> None:
    item = {"nodes": {"age": [1.0, 3.0, 2.0], "words": [[7], [3, 7], []]}, "edges": [(0, 1), (1, 2)]}
    network = networks.network_of(item)
    assert network.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    ids = network.features[:, -2:]
    rare, often = (1 / 1.5) ** 0.5, (2 / 1.5) ** 0.5  # 3 is in one row, 7 in two
    expected = [[0.0, often], [0.5**0.5 * rare, 0.5**0.5 * often], [0.0, 0.0]]
    torch.testing.assert_close(ids, torch.tensor(expected))


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    command = tmp_path / "chemprop"
    command.write_text(f"#!{sys.executable}\n{STAND_IN}")
    command.chmod(0o755)
    return command


def beside(data: Path, command: Path, recipe: str, epochs: int | None = None) -> list[dict[str, Any]]:
    """The rows of ours and of the stand-in, after two steps of a small model."""
    small = ["encoder.dim=24", "encoder.depth=1", "encoder.heads=2", "training.steps=2"]
    return chemprop.compare(
        argparse.Namespace(
            data=data,
            chemprop=command,
            recipe=recipe,
            set=[*small, "training.evaluate_every=0"],
            ensemble=1,
            epochs=epochs,
            molecules=200,
        )
    )


def test_chemprop_beside_ours(data_dir: Path, stand_in: Path) -> None:
    ours, theirs = beside(data_dir / "graph_mol/ESOL", stand_in, "esol")
    assert (ours["system"], theirs["system"]) == ("multiseq", "chemprop")
    assert theirs["rmse"] == pytest.approx(2.1, abs=0.3)  # the standard deviation of the values
    assert ours["rmse"] > 0
    assert ours["MiB"] > theirs["MiB"] > 0


def test_two_classes_beside_ours(data_dir: Path, stand_in: Path) -> None:
    ours, theirs = beside(data_dir / "graph_mol/BBBP", stand_in, "bbbp", epochs=3)
    assert 0 < ours["roc_auc"] < 1
    assert theirs["roc_auc"] == 0.5  # it says the same of all
    assert chemprop.score("roc_auc", [0.1, 0.7, 0.6], ["0", "1", "0"], ["0", "1"]) == 1
    assert chemprop.score("roc_auc", [0.1, 0.6, 0.7], ["0", "1", "0"], ["0", "1"]) == 0.5


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        chemprop.run(sys.executable, "-c", "raise SystemExit('no such thing')")


def test_the_table_for_chemprop(tmp_path: Path) -> None:
    splits = {"train": (["C", "CC"], [0.5, 1.5]), "dev": (["CO"], [2.0]), "test": (["N"], [3.0])}
    chemprop.write_splits(tmp_path / "splits.csv", splits)
    with (tmp_path / "splits.csv").open(newline="") as file:
        rows = [(row["smiles"], float(row["value"]), row["split"]) for row in csv.DictReader(file)]
    assert rows == [("C", 0.5, "train"), ("CC", 1.5, "train"), ("CO", 2.0, "val"), ("N", 3.0, "test")]


def test_coverage_over_five_splits(
    data_dir: Path,
    tmp_path: Path,
    stand_in: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = first_lines(data_dir / "graph_mol/AqSolDB", tmp_path / "data", 151)
    small = ["encoder.dim=8", "encoder.depth=1", "encoder.heads=2", "training.steps=2"]
    options = [part for change in (*small, "training.evaluate_every=0") for part in ("--set", change)]
    given = ["--data", str(data), "--recipe", "aqsoldb", "--out", str(tmp_path / "out"), *options]
    monkeypatch.setattr(sys, "argv", ["coverage", *given, "--chemprop", str(stand_in)])
    coverage.main()
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-9] == "chemprop:"
    for *folds, all_of_them in (lines[-16:-10], lines[-6:]):
        assert [fold.split("|")[2].strip() for fold in folds] == ["15"] * 5
        assert 0.5 < float(all_of_them.split("|")[4]) <= 1
    rows = coverage.splits_of(150, 3)
    assert sorted(row for split in rows.values() for row in split) == list(range(150))


def test_numbers_that_their_intervals_hold() -> None:
    results = [
        Number({"x": 0.0}, intervals={"x": (-1.0, 1.0)}),
        Number({"x": 0.0}, intervals={"x": (0.0, 4.0)}),
    ]
    assert coverage.held(results, [1.0, 5.0]) == (1, 3.0)
