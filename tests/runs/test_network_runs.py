"""Networks in files of their publishers: from `multiseq init` to predictions in a file."""

from __future__ import annotations

import csv
import json
import pickle
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from typer.testing import CliRunner

from multiseq.adapters import NeighborhoodAdapter
from multiseq.cli import app
from multiseq.init import networks as init_networks
from multiseq.runs import run

NUM = 24
CHEAP = tuple(
    word
    for change in ("training.steps=3", "encoder.dim=8", "encoder.depth=1", "encoder.heads=2")
    for word in ("--set", change)
)
LINE = [(i, i + 1) for i in range(NUM - 1)]
IDS = [[i % 2, 2 + i % 5, 100 + i] for i in range(NUM)]


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="multiseq")
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def musae(folder: Path) -> None:
    write_rows(
        folder / "x_target.csv", ["id", "page", "kind"], [(i, f"p{i}", "ab"[i % 2]) for i in range(NUM)]
    )
    write_rows(folder / "x_edges.csv", ["id_1", "id_2"], LINE)
    (folder / "x.json").write_text(json.dumps({str(i): ids for i, ids in enumerate(IDS)}))


def npz(folder: Path) -> None:
    masks = np.arange(NUM)[None] % 4 + np.zeros((2, 1))
    features = np.stack([np.arange(NUM) % 2, np.arange(NUM) / 7], axis=1)
    more = {"train_masks": masks < 2, "val_masks": masks == 2, "test_masks": masks == 3}
    labels = np.arange(NUM) % 2
    np.savez(folder / "net.npz", node_features=features, node_labels=labels, edges=np.array(LINE), **more)


def planetoid(folder: Path) -> None:
    words = scipy.sparse.csr_matrix(np.eye(NUM, dtype=np.float32)[:, :20] + np.eye(NUM)[:, 1:21])
    classes, known = np.eye(2)[np.arange(NUM) % 2], NUM - 6
    graph = {i: [j for j in (i - 1, i + 1) if 0 <= j < NUM] for i in range(NUM)}
    parts = {
        "x": words[:8], "y": classes[:8], "tx": words[known:], "ty": classes[known:], "allx": words[:known],
        "ally": classes[:known], "graph": graph,
    }  # fmt: skip
    for name, value in parts.items():
        (folder / f"ind.tiny.{name}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "ind.tiny.test.index").write_text("".join(f"{i}\n" for i in range(known, NUM)))


def tu(folder: Path) -> None:
    sizes = [3 + i % 3 for i in range(NUM)]
    starts = np.cumsum([0, *sizes])
    edges = [(a + k, a + k + 1) for a, size in zip(starts, sizes, strict=False) for k in range(1, size)]
    (folder / "DS_A.txt").write_text("".join(f"{a}, {b}\n{b}, {a}\n" for a, b in edges))
    indicator = [i + 1 for i, size in enumerate(sizes) for _ in range(size)]
    (folder / "DS_graph_indicator.txt").write_text("".join(f"{i}\n" for i in indicator))
    (folder / "DS_graph_labels.txt").write_text("".join(f"{i % 2}\n" for i in range(NUM)))


def write_rows(path: Path, header: list[str], rows: list[Any]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


Case = tuple[Callable[[Path], None], dict[str, Any], str, int]
CASES: dict[str, Case] = {
    "musae": (
        musae,
        {"file": "d/x_target.csv", "edges": "d/x_edges.csv", "ids": "d/x.json"},
        "x_target.csv",
        NUM,
    ),
    "npz": (npz, {"file": "d/net.npz", "split_file": "d/net.npz", "fold": 0}, "net.npz", NUM),
    "planetoid": (planetoid, {"file": "d/ind.tiny", "split_column": "split"}, "ind.tiny.x", NUM),
    "tu": (tu, {"train": "d"}, "DS_A.txt", NUM),
}


@pytest.mark.parametrize("case", CASES)
def test_from_files_to_predictions(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, keys, file, num = CASES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(init_networks, "LARGE", NUM - 1)  # node sets for one network, whole graphs for tu
    Path("d").mkdir()
    make(Path("d"))
    call("init", "d", "--out", "r.toml")
    recipe = tomllib.loads(Path("r.toml").read_text(encoding="utf-8"))
    assert keys.items() <= recipe["data"]["d"].items()
    assert ("num_hops" in recipe.get("adapters", {}).get("graph", {})) == (case != "tu")
    prepared: list[int] = []
    prepare = NeighborhoodAdapter.prepare
    monkeypatch.setattr(
        NeighborhoodAdapter, "prepare", lambda self, item: prepared.append(1) or prepare(self, item)
    )
    call("train", "r.toml", "--out", "run", *CHEAP)
    assert len(prepared) == (case != "tu")  # once for all splits and for the report
    assert json.loads(Path("run/test.json").read_text(encoding="utf-8"))
    call("predict", "run", "--input", Path("d", file), "--output", "p.csv")
    with Path("p.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == num
    assert {row["prediction"] for row in rows} <= {"a", "b", "0", "1"}


def test_a_class_that_only_test_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    npz(tmp_path)
    arrays = dict(np.load("net.npz"))
    arrays["node_labels"] = np.where(arrays["test_masks"][0], 7, arrays["node_labels"])
    np.savez("net.npz", **arrays)
    call("init", "net.npz", "--out", "r.toml")
    assert "7" in call("check", "r.toml").split("Odd", 1)[1]


def test_masks_that_overlap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    npz(tmp_path)
    arrays = dict(np.load("net.npz"))
    arrays["val_masks"][0, 3] = True
    np.savez("net.npz", **arrays)
    result = CliRunner().invoke(app, ["init", "net.npz"], prog_name="multiseq")
    assert result.exit_code == 1
    assert "net.npz: row 3 is in 'dev' and in 'test', expected one of them" in result.stderr


def test_several_networks_in_one_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    npz(tmp_path)
    planetoid(tmp_path)
    result = CliRunner().invoke(app, ["init", "."], prog_name="multiseq")
    assert result.exit_code == 1
    assert "got 2 networks (net.npz, ind.tiny), expected one; give one of them" in result.stderr
    call("init", "ind.tiny.graph", "--out", "r.toml")
    assert "ind.tiny" in Path("r.toml").read_text(encoding="utf-8")


def test_check_says_what_a_large_network_takes_before_it_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, edges = 5_000, 20_000
    random = np.random.default_rng(0)
    masks = np.arange(nodes)[None] % 4
    np.savez(
        tmp_path / "net.npz",
        node_features=random.normal(size=(nodes, 9)).astype(np.float32),
        node_labels=np.arange(nodes) % 2,
        edges=random.integers(nodes, size=(edges, 2)),
        train_masks=masks < 2,
        val_masks=masks == 2,
        test_masks=masks == 3,
    )
    monkeypatch.setattr(init_networks, "LARGE", nodes - 1)
    monkeypatch.setattr(run, "WORTH_SAYING", 0.0)
    call("init", tmp_path, "--out", tmp_path / "r.toml")
    lines = call("check", tmp_path / "r.toml").splitlines()
    [line] = [number for number, line in enumerate(lines) if "preparing the node sets takes about" in line]
    assert lines[line].endswith("takes about 0.0 GiB of memory")
    assert any("vectors" in later for later in lines[line:])
