"""Numbers about whole molecules, of a table or by RDKit: from the file to the prediction."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from multiseq import (
    Encoder,
    GraphAdapter,
    Model,
    NeighborhoodAdapter,
    NumberTarget,
    SetHead,
    Task,
    load,
    save,
)
from multiseq.adapters._graph.features import Features, _described, describe
from multiseq.cli import app
from multiseq.data.graphs.molecules import scaffold
from multiseq.runs.recipe import RecipeError, read
from multiseq.runs.run import train_run
from multiseq.runs.sources import read_split

ITEMS = [
    {"smiles": "CCO", "pH": 2.0, "dose": "10"},
    {"smiles": "CCC", "pH": 6.0, "dose": ""},
    {"smiles": "CN", "pH": 4.0, "dose": 30},
    {"smiles": "CCCC", "pH": 4.0, "dose": None},
]


def test_numbers_are_standardised_and_blanks_are_the_mean_with_a_flag() -> None:
    features = GraphAdapter.fit(ITEMS, dim=8).features
    assert features is not None
    assert features.scales["pH"] == pytest.approx((4, math.sqrt(2)))
    assert features.scales["dose"] == pytest.approx((20, 10))
    encoded = [features.encode(item).tolist() for item in ITEMS]
    assert encoded[0] == pytest.approx([-math.sqrt(2), -1, 0, 0])
    assert encoded[1] == pytest.approx([math.sqrt(2), 0, 0, 1])
    far = features.encode({"smiles": "C", "pH": 1e300, "dose": -1e300, "id": "is not asked for"})
    assert far.tolist() == [5, -5, 0, 0]
    again = Features.from_json(json.loads(json.dumps(features.to_json())))
    assert again.encode(ITEMS[1]).tolist() == encoded[1]


def test_constant_and_blank_columns_are_zeros() -> None:
    rows = [{"a": 3.0, "b": math.nan, "c": 1e300}, {"a": 3.0, "b": math.nan, "c": -1e300}]
    features = Features.learn(rows, [{}, {}])
    assert features is not None
    assert features.encode({"smiles": "C", "a": 3, "b": None, "c": 0}).tolist() == [0, 0, 0, 0, 1, 0]
    assert features.encode({"smiles": "C", "a": 3, "b": None, "c": 1e300})[2] == 1


def changed(model: Any, items: list[Any]) -> list[float]:
    return [result.value for result in model.predict("y", items)]


def model_of(items: list[Any], **options: Any) -> Model:
    adapter = GraphAdapter.fit(items, dim=8, num_layers=1, **options)
    torch.manual_seed(0)
    assert adapter.feature_embedding is not None
    torch.nn.init.normal_(adapter.feature_embedding.weight)
    head = SetHead(8, NumberTarget(["x"], [0.0], [1.0]))
    return Model({"m": adapter}, Encoder(8, 1, 2), {"y": Task("m", head)})


def test_the_prediction_follows_them_alone_and_in_company(tmp_path: Path) -> None:
    model = model_of(ITEMS)
    low, high, same = ({**ITEMS[0], "pH": value} for value in (2.0, 6.0, 2.0))
    one, other, again = changed(model, [low, high, same])
    assert one == pytest.approx(again, abs=1e-6)
    assert abs(one - other) > 1e-3
    assert changed(model, [high]) == pytest.approx([other], abs=1e-6)
    save(model, tmp_path / "model")
    assert changed(load(tmp_path / "model"), [low, high]) == pytest.approx([one, other], abs=1e-6)
    [why] = model.contributions("y", [low])
    assert why.names == ["C0", "C1", "O2"]
    assert model.adapter("m").collate([]).lengths == []


def test_an_adapter_without_features_has_no_new_weights() -> None:
    plain = GraphAdapter.fit(["CCO"], dim=8)
    assert plain.features is None
    assert not [name for name in plain.state_dict() if "feature" in name]
    assert "features" not in plain.assets()["columns.json"]
    assert "features" not in plain.prepared_by()


def test_descriptors_are_those_of_rdkit() -> None:
    row = describe("CCO")
    assert row["MolWt"] == pytest.approx(46.07, abs=0.01)
    assert row["TPSA"] == pytest.approx(20.23)
    assert len(row) > 150
    assert math.isnan(describe("[Au]")["BCUT2D_MWHI"])
    model = model_of(["CCO", "CCC", "c1ccccc1"], descriptors=True)
    adapter: Any = model.adapter("m")
    assert adapter.features.descriptors == list(row)
    [example] = adapter.prepare("CCN")
    assert example.features.shape == (2 * len(row),)
    assert example.features.isfinite().all()
    assert math.isfinite(changed(model, ["[Au]"])[0])
    both = GraphAdapter.fit(ITEMS, dim=8, descriptors=True).features
    assert both is not None
    assert both.columns == ["pH", "dose"]
    with pytest.raises(ValueError, match="this RDKit has no Magic, with which the model was trained; in"):
        describe("C", ["MolWt", "Magic"])


def test_descriptors_of_training_molecules_are_computed_once() -> None:
    computed: Any = _described
    computed.cache_clear()
    adapter = GraphAdapter.fit(["CCO", "CCC"], dim=8, descriptors=True)
    for _ in range(2):
        adapter.prepare("CCO")
        adapter.prepare("CCC")
    assert computed.cache_info().misses == 2


def test_what_is_wrong_is_named() -> None:
    adapter = GraphAdapter.fit(ITEMS, dim=8)
    with pytest.raises(
        ValueError, match=r'molecule: got no pH, expected \{"smiles": "CCO", "pH": 1.5, "dose": 1.5\}; '
    ):
        adapter.prepare("CCO")
    with pytest.raises(ValueError, match="molecule: dose: got 'much', expected a number, or nothing if it i"):
        adapter.prepare({**ITEMS[0], "dose": "much"})
    with pytest.raises(ValueError, match="item 1: molecule: got the columns pH, expected the columns pH, do"):
        GraphAdapter.fit([ITEMS[0], {"smiles": "C", "pH": 1}], dim=8)
    with pytest.raises(ValueError, match="item 1: molecule: got no columns beside the SMILES, expected the"):
        GraphAdapter.fit([ITEMS[0], "C"], dim=8)
    with pytest.raises(ValueError, match="got the column MolWt, which is a descriptor; give it another name"):
        GraphAdapter.fit([{"smiles": "C", "MolWt": 1}], dim=8, descriptors=True)
    with pytest.raises(ValueError, match="descriptors: got items of the kind 'triples', expected molecules"):
        GraphAdapter.fit([[("a", "b", "c")]], dim=8, descriptors=True)
    with pytest.raises(ValueError, match="got features of whole molecules, expected none; use GraphAdapter"):
        NeighborhoodAdapter.fit(ITEMS, dim=8)
    with pytest.raises(ValueError, match="molecule: got 5, which RDKit cannot read"):
        adapter.prepare({"smiles": 5, "pH": 1, "dose": 1})


# --- from the file to the prediction ---------------------------------------------------------------

RECIPE = """
[encoder]
dim = 8
depth = 1
heads = 2

[training]
steps = 2
max_vectors = 60

[adapters.molecules]
modality = "graph"

[data.molecules]
adapter = "molecules"
format = "table"
file = "table.csv"
input = "structure"
features = ["pH", "dose"]
test = 0.25
scaffold = true

[tasks.y]
data = "molecules"
output = "set"
target = "number"
column = "y"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    smiles = ["CCO", "CC", "CO", "CN", "CCC", "CCCC", "C1CC1", "c1ccccc1"]
    rows = [[i, one, i / 2, 2 + i % 3, "" if i == 3 else 5 * i] for i, one in enumerate(smiles)]
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "structure", "y", "pH", "dose"], *rows])
    (folder / "mine.toml").write_text(RECIPE)
    train_run(read(folder / "mine.toml"), folder / "run", progress=False, say=lambda line: None)
    return folder


def test_a_table_is_read_with_its_features(folder: Path) -> None:
    [source] = read_split(read(folder / "mine.toml"), "train")
    assert source.items[3] == {"smiles": "CN", "pH": "2", "dose": None}
    [held_out] = read_split(read(folder / "mine.toml"), "test")
    assert [scaffold(item["smiles"]) for item in held_out.items] == ["C1CC1", "c1ccccc1"]
    assert "pH 2" in (folder / "run" / "report.html").read_text()


def predicted(*arguments: Any) -> Any:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_predict_takes_the_columns_of_a_table_and_typed_json(folder: Path) -> None:
    predicted(folder / "run", "--input", folder / "table.csv", "--output", folder / "out.csv")
    out = list(csv.DictReader((folder / "out.csv").read_text().splitlines()))
    assert [row["id"] for row in out] == list("01234567")
    [typed] = json.loads(predicted(folder / "run", '{"smiles": "CN", "pH": 2, "dose": null}', "--json"))
    assert float(out[3]["prediction"]) == pytest.approx(typed["value"], abs=1e-4)
    (folder / "short.csv").write_text("structure,pH\nCCO,1\n")
    result = CliRunner().invoke(
        app, ["predict", str(folder / "run"), "--input", str(folder / "short.csv"), "--output", "x.csv"]
    )
    assert result.exit_code != 0
    assert "no column 'dose' for the features" in result.output


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'modality = "graph"',
            'modality = "graph"\nnum_hops = 2',
            "features: got items of graph, expected molecules",
        ),
        (
            'modality = "graph"',
            'modality = "text"',
            "features: got items of text, expected molecules; leave it",
        ),
        ('["pH", "dose"]', '["smiles"]', "features: got 'smiles', expected columns of numbers beside it"),
    ],
)
def test_mistakes_in_a_recipe(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=message):
        read(tmp_path / "mine.toml")
