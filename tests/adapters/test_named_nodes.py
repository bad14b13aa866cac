"""Nodes are called in results as the user calls them in tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multiseq import load
from multiseq.cli import app
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run

RECIPE = """
[encoder]
dim = 8
depth = 1
heads = 1

[training]
steps = 2
max_vectors = 60

[data.people]
adapter = "graph"
format = "networks"
file = "people.csv"
edges = "friends.csv"
features = ["age", "city"]
split_column = "split"
decimal = ","

[tasks.buys]
data = "people"
output = "vector"
target = "class"
column = "buys"
"""
PEOPLE = "node;age;city;buys;split\nAda;20,5;Rome;yes;train\nBob;30;Oslo;no;train\nCy;40;Rome;yes;test\n"
FRIENDS = "source;target\nAda;Bob\nBob;Cy\n"


@pytest.fixture(scope="module", params=["", "[adapters.graph]\nnum_hops = 1\n"], ids=["graph", "hops"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    (folder / "people.csv").write_text(PEOPLE)
    (folder / "friends.csv").write_text(FRIENDS)
    (folder / "mine.toml").write_text(RECIPE + request.param)
    train_run(read(folder / "mine.toml"), folder / "run", progress=False, say=lambda _: None)
    return folder / "run"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_predict_reads_the_tables_of_training_and_names_the_nodes(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("node;age;city\nDee;18;Oslo\nEve;33,3;Rome\n")
    (tmp_path / "friends.csv").write_text("source;target\nEve;Dee\n")
    arguments = ["predict", str(run), "--input", str(tmp_path / "new.csv")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    lines = result.output.strip().splitlines()
    assert [line.partition(":")[0] for line in lines[-2:]] == ["Dee", "Eve"]
    assert all(line.partition(": ")[2].startswith(("yes (", "no (")) for line in lines[-2:])
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    [record] = json.loads(result.output)
    assert record["names"] == ["Dee", "Eve"]
    assert len(record["labels"]) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_names_do_not_change_what_is_predicted(run: Path) -> None:
    model = load(run)
    graph = {
        "nodes": {"age": [1.0, 2.0], "city": ["Rome", "Oslo"]},
        "edges": [(0, 1)],
    }
    [plain], [named] = (model.predict("buys", [item]) for item in (graph, {**graph, "names": ["Ada", "Bob"]}))
    assert [r.probabilities for r in plain] == [r.probabilities for r in named]
    with pytest.raises(ValueError, match=r"names: got 1 texts for 2 nodes"):
        model.predict("buys", [{**graph, "names": ["Ada"]}])
