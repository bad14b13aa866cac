"""Labels of the bonds of molecules: their order, both ends alike, learning, files and drawings."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rdkit import Chem
from typer.testing import CliRunner

from multiseq import (
    ClassTarget,
    Encoder,
    Ensemble,
    FusedAdapter,
    GraphAdapter,
    Model,
    NumberTarget,
    SetHead,
    Source,
    Task,
    TextAdapter,
    VectorHead,
    load,
    save,
    train,
)
from multiseq.cli import app
from multiseq.protocols import Mark, Picture
from multiseq.runs.build import check_options
from multiseq.runs.recipe import RecipeError, read

SMILES = ["CC(=O)Nc1ccc(O)cc1", "C1CC1C#N", "OCC=C", "C", "[Na+].[Cl-]"]
ITEMS: dict[str, Any] = {
    "table": {"nodes": {"age": [20, 30]}, "edges": [(0, 1)]},
    "triples": [("Ada", "wrote", "notes")],
}


def bonds_of(smiles: str) -> list[Any]:
    return list(Chem.MolFromSmiles(smiles).GetBonds())


def model_of(items: list[Any], **options: Any) -> Model:
    torch.manual_seed(0)
    adapter = GraphAdapter.fit(items, dim=16, num_layers=2, labels_of="edges", **options)
    encoder = Encoder(16, 1, 2, pair_codes=adapter.pair_codes)
    length = VectorHead(16, NumberTarget(["length"], [0.0], [1.0]))
    mean = SetHead(16, NumberTarget(["mean"], [0.0], [1.0]))
    return Model({"m": adapter}, encoder, {"length": Task("m", length), "mean": Task("m", mean)})


def predicted(model: Model, items: list[Any]) -> list[list[float]]:
    return [[number.value for number in of_item] for of_item in model.predict("length", items)]


@pytest.mark.parametrize("smiles", [*SMILES, "C1CC2CCC1C2", "[H]OC([H])([H])[H]"])
def test_bonds_are_those_of_rdkit_in_its_order(smiles: str) -> None:
    adapter = GraphAdapter.fit(SMILES, dim=8, labels_of="edges")
    [example] = adapter.prepare(smiles)
    ends = [(bond.GetBeginAtom(), bond.GetEndAtom()) for bond in bonds_of(smiles)]
    expected = [f"{a.GetSymbol()}{a.GetIdx()}-{b.GetSymbol()}{b.GetIdx()}" for a, b in ends]
    assert adapter.names(example) == expected
    assert adapter.align(list(range(len(expected))), example) == list(range(len(expected)))
    num_atoms = Chem.MolFromSmiles(smiles).GetNumAtoms()
    assert adapter.num_vectors(example) == len(adapter.encoded_names(example)) == num_atoms
    inputs = adapter.collate([example])
    sets = adapter(inputs)
    assert sets.lengths == (num_atoms,)
    assert adapter.read(sets, inputs).lengths == (len(expected),)


def test_names_by_hand() -> None:
    adapter = GraphAdapter.fit(["C1CC1O"], dim=8, labels_of="edges")
    assert adapter.names(adapter.prepare("C1CC1O")[0]) == ["C0-C1", "C1-C2", "C2-O3", "C2-C0"]


@pytest.mark.parametrize("max_distance", [0, 3])
def test_the_same_bond_has_the_same_value_however_the_molecule_is_written(max_distance: int) -> None:
    model = model_of(SMILES, max_distance=max_distance)
    molecule = Chem.MolFromSmiles(SMILES[0])
    [values] = predicted(model, SMILES[:1])
    by_ends = {
        frozenset((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())): value
        for bond, value in zip(molecule.GetBonds(), values, strict=True)
    }
    assert max(values) - min(values) > 0.01
    for first in range(molecule.GetNumAtoms()):
        written = Chem.MolToSmiles(molecule, rootedAtAtom=first, canonical=False)
        order = json.loads(molecule.GetProp("_smilesAtomOutputOrder").replace(",]", "]"))
        [again] = predicted(model, [written])
        expected = [
            by_ends[frozenset((order[bond.GetBeginAtomIdx()], order[bond.GetEndAtomIdx()]))]
            for bond in bonds_of(written)
        ]
        assert again == pytest.approx(expected, abs=1e-5)


def test_packed_is_alone_also_with_atoms_alone(tmp_path: Path) -> None:
    model = model_of(SMILES, max_distance=2)
    together = predicted(model, SMILES)
    assert [len(values) for values in together] == [11, 5, 3, 0, 0]
    for one, values in zip(SMILES, together, strict=True):
        assert predicted(model, [one])[0] == pytest.approx(values, abs=1e-5)
    assert predicted(model, ["C"]) == [[]]
    assert model.embed("m", ["C", "CO"])[0].vectors.shape == (0, 16)
    assert model.embed("m", ["C", "CO"])[1].names == ["C0-O1"]
    assert model.adapter("m").collate([]).lengths == []
    save(model, tmp_path / "model")
    assert [v for values in predicted(load(tmp_path / "model"), SMILES) for v in values] == pytest.approx(
        [v for values in together for v in values], abs=1e-6
    )


def test_a_bond_is_read_from_both_ends_and_its_features() -> None:
    adapter = GraphAdapter.fit(["CC=C"], dim=8, labels_of="edges").eval()
    inputs = adapter.collate(adapter.prepare("CC=C") + adapter.prepare("C") + adapter.prepare("CC"))
    sets = adapter(inputs)
    x, layers = sets.values, adapter.bond_reading.layers  # type: ignore[union-attr]
    edges = adapter.edge_embedding(inputs.tensors["edge_codes"], inputs.tensors["edge_numbers"])
    # The edges of the batch: 0-1, 1-2 and both reversed; of the last molecule (atoms 4 and 5) 4-5 and 5-4.
    rows = [(x[1], x[0], edges[0]), (x[2], x[1], edges[1]), (x[5], x[4], edges[4])]
    expected = torch.stack([layers(torch.cat([a + b, (a - b).abs(), edge])) for a, b, edge in rows])
    read = adapter.read(sets, inputs)
    assert (read.lengths, read.positions) == ((2, 0, 1), None)
    torch.testing.assert_close(read.values, expected)


def kind_of(bond: Any) -> str:
    first, second = sorted([bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()])
    return f"{first}-{second} {bond.GetBondType()}"


def test_it_learns_what_a_bond_joins_from_few_molecules() -> None:
    known = ["CCO", "CC=O", "NCC=C", "CC(=O)N", "OCCN", "CNC", "COC", "C", "CC(=O)O", "NC=O", "C=CCO"]
    held_out = ["NCCO", "CC(=O)NC", "C=CCN", "OCC(=O)OC", "O"]
    labels = [[kind_of(bond) for bond in bonds_of(one)] for one in known]
    labels[0] = [labels[0][0], None]  # type: ignore[list-item]
    torch.manual_seed(0)
    target = ClassTarget.fit([label for of_item in labels for label in of_item])
    adapter = GraphAdapter.fit(known, dim=16, num_layers=1, labels_of="edges")
    model = Model({"m": adapter}, Encoder(16, 1, 2), {"kind": Task("m", VectorHead(16, target))})
    train(model, [Source("m", known, {"kind": labels})], steps=120, lr=5e-3, progress=False)
    results = model.predict("kind", held_out)
    got = [label.label for of_item in results for label in of_item]
    expected = [kind_of(bond) for one in held_out for bond in bonds_of(one)]
    assert [len(of_item) for of_item in results] == [3, 4, 3, 5, 0]
    assert sum(a == b for a, b in zip(got, expected, strict=True)) / len(expected) > 0.95


def test_a_label_of_the_whole_molecule_and_what_its_atoms_contribute() -> None:
    model = model_of(["CCO", "C"])
    [why] = model.contributions("mean", ["CCO"])
    assert (why.names, len(why.values)) == (["C0", "C1", "O2"], 3)
    [alone] = model.contributions("mean", ["C"])
    assert alone.names == ["C0"]
    other = model_of(["CN", "CCO"])  # knows other elements, so its examples differ
    [both] = Ensemble([model, other]).contributions("mean", ["CCO"])
    mean = [
        (a + b) / 2 for a, b in zip(why.values, other.contributions("mean", ["CCO"])[0].values, strict=True)
    ]
    assert (both.names, both.values) == (why.names, pytest.approx(mean, abs=1e-5))
    names, weights = model.attention("m", "CCO")
    assert names == ["C0", "C1", "O2"]
    assert weights[0].shape[1:] == (3, 3)


def test_beside_a_text() -> None:
    parts = {"m": GraphAdapter.fit(SMILES, dim=8, labels_of="edges"), "text": TextAdapter.fit(["a b"], dim=8)}
    adapter = FusedAdapter(parts)
    items: list[Any] = [{"m": "CCO", "text": "a"}, {"m": "C", "text": "b a"}, {"text": "b"}]
    examples = [example for item in items for example in adapter.prepare(item)]
    assert adapter.names(examples[0]) == ["m: C0-C1", "m: C1-O2", "text: a"]
    assert adapter.align({"m": [1, 2]}, examples[0]) == [1, 2, None]
    inputs = adapter.collate(examples)
    assert adapter.read(adapter(inputs), inputs).lengths == (3, 2, 1)


def test_old_configs_and_what_is_wrong() -> None:
    adapter = GraphAdapter.fit(["CCO"], dim=8)
    config = {name: value for name, value in adapter.config().items() if name != "labels_of"}
    old = GraphAdapter.from_config(config, adapter.assets())
    assert (old.labels_of, old.bond_reading) == ("nodes", None)
    assert GraphAdapter.fit(["CCO"], dim=8, labels_of="edges").config()["labels_of"] == "edges"
    with pytest.raises(ValueError, match='expected one for each node; for bonds use labels_of="edges"'):
        adapter.align([1, 2], adapter.prepare("CCO")[0])
    bonds = GraphAdapter.fit(["CCO"], dim=8, labels_of="edges")
    with pytest.raises(
        ValueError, match="got 3 labels for 2 bonds, expected one for each bond: in RDKit's o"
    ):
        bonds.align([1, 2, 3], bonds.prepare("CCO")[0])
    assert bonds.align([], bonds.prepare("C")[0]) == []
    for kind, item in ITEMS.items():
        with pytest.raises(ValueError, match=f"'edges' for graphs of the kind '{kind}', expected 'nodes'"):
            GraphAdapter.fit([item], dim=8, labels_of="edges")


def test_wrong_bonds_are_marked_and_contributions_colour_atoms() -> None:
    adapter = GraphAdapter.fit(["CCO"], dim=8, labels_of="edges")
    examples = adapter.prepare("CCO")
    marks = [Mark("C0-C1", "single", "single", False), Mark("C1-O2", "single", "double", True)]
    _, marked = adapter.show("CCO", examples, marks, None)
    _, plain = adapter.show("CCO", examples, [], None)
    assert isinstance(marked, Picture)
    assert isinstance(plain, Picture)
    red = "#FF7F7F"  # RDKit draws a highlighted bond as a filled shape in its class of the bond
    shapes = [line for line in marked.svg.splitlines() if red in line]
    assert shapes
    assert all("bond-1" in line for line in shapes)
    assert red not in plain.svg
    assert "<ellipse" not in marked.svg
    whys = [
        Mark(f"{name}", "", "", False, value) for name, value in zip("CCO", (1.0, 0.0, -1.0), strict=True)
    ]
    _, coloured = adapter.show("CCO", examples, whys, None)
    assert isinstance(coloured, Picture)
    assert coloured.svg.count("<ellipse") == 3


# --- from the file to the prediction ---------------------------------------------------------------

RECIPE = """
[encoder]
dim = 8
depth = 1
heads = 2

[training]
steps = 4
max_vectors = 60

[adapters.molecules]
modality = "graph"
labels_of = "edges"

[data.molecules]
adapter = "molecules"
format = "table"
file = "bonds.csv"
input = "smiles"
split_column = "split"

[tasks.length]
data = "molecules"
output = "vector"
target = "number"
column = "lengths"
unit = "A"

[tasks.ring]
data = "molecules"
output = "vector"
target = "class"
column = "rings"
"""
ROWS = [
    ["CCO", "[1.53, 1.42]", '["no", "no"]', "train"],
    ["C=O", "[1.21]", '["no"]', "train"],
    ["C1CC1", "[1.5, null, 1.5]", '["yes", "yes", "yes"]', "train"],
    ["C", "[]", "[]", "train"],
    ["CC1CC1", "[1.52, 1.5, 1.5, 1.5]", '["no", "yes", "yes", "yes"]', "dev"],
    ["C", "[]", "[]", "dev"],
    ["CO", "[1.42]", '["no"]', "test"],
    ["O", "", "", "test"],
    ["C1CO1", "[1.47, 1.43, null]", '["yes", "yes", "yes"]', "test"],
]


def call(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="multiseq")
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["smiles", "lengths", "rings", "split"], *rows])


def test_from_a_table_to_predictions(tmp_path: Path) -> None:
    write_rows(tmp_path / "bonds.csv", ROWS)
    (tmp_path / "mine.toml").write_text(RECIPE)
    call("check", tmp_path / "mine.toml")
    run = tmp_path / "run"
    call("train", tmp_path / "mine.toml", "--out", run)
    assert "C0-C1" in (run / "report.html").read_text()
    tasks = json.loads(call("evaluate", run, "--json"))["tasks"]
    assert {name: found["num_items"] for name, found in tasks.items()} == {"length": 3, "ring": 4}
    [typed] = json.loads(call("predict", run, "C1CO1", "--task", "ring", "--json"))
    assert typed["names"] == ["C0-C1", "C1-O2", "O2-C0"]
    table, out_file = tmp_path / "bonds.csv", tmp_path / "out.csv"
    call("predict", run, "--input", table, "--output", out_file, "--task", "length")
    out = list(csv.DictReader(out_file.read_text().splitlines()))
    assert [len(row["prediction"].split()) for row in out] == [2, 1, 3, 0, 4, 0, 1, 0, 3]


def test_a_wrong_word_in_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.replace('"edges"', '"bonds"'))
    with pytest.raises(RecipeError, match=r"adapters.molecules\] labels_of: got 'bonds', expected .*edges"):
        check_options(read(tmp_path / "mine.toml"))


def test_a_wrong_number_of_labels_in_a_table_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "bonds.csv", [["CCO", "[1.5, 1.4, 1.0]", '["no", "no"]', "train"], *ROWS[1:]])
    (tmp_path / "mine.toml").write_text(RECIPE)
    result = CliRunner().invoke(app, ["check", str(tmp_path / "mine.toml")])
    assert result.exit_code != 0
    assert "bonds.csv:2" in result.output
    assert "got 3 labels for 2 bonds" in result.output
