"""Contributions of atoms and nodes: what leaving one out changes, in predictions and in pictures."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from multiseq import (
    ClassTarget,
    Encoder,
    Ensemble,
    GraphAdapter,
    Model,
    MultiLabelTarget,
    NumberTarget,
    SetHead,
    Task,
    TextAdapter,
    VectorHead,
    plots,
)

DIM = 12
MOLECULES = ["CCO", "c1ccccc1O", "CC(=O)[O-]", "CN", "N#CC"]


def model_of(target: Any, items: Any = MOLECULES, seed: int = 0, **options: Any) -> Model:
    adapter = GraphAdapter.fit(items, dim=DIM, num_layers=1, **options)
    torch.manual_seed(seed)
    encoder = Encoder(DIM, 1, 2, pair_codes=adapter.pair_codes)
    model = Model({"graph": adapter}, encoder, {"task": Task("graph", SetHead(DIM, target, pool="sum"))})
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.4)
    return model


def test_the_contributions_of_atoms_that_add_up_are_found() -> None:
    """A model that adds a number for each element, whatever is beside it: each atom has this number."""
    adapter = GraphAdapter.fit(["CCO", "CN"], dim=3, num_layers=0, walk_length=0)

    class Elements(nn.Module):
        """A stem and an encoder that know the element of each atom alone, a column for each."""

        dim = 3

        def forward(self, sets: Any) -> Any:
            return sets

        def config(self) -> dict[str, Any]:
            return {}

        @classmethod
        def from_config(cls, config: Any) -> Elements:
            return cls()

    def elements(inputs: Any) -> Any:
        from multiseq import VectorSets

        start = inputs.tensors["codes"][:, 0]  # 1 carbon, 2 oxygen, 3 nitrogen
        return VectorSets(torch.eye(3)[start - 1], inputs.lengths)

    adapter.forward = elements  # type: ignore[method-assign]
    head = SetHead(3, NumberTarget(["x"], [10.0], [2.0], unit="points"), pool="sum")
    head.read = nn.Linear(6, 1)  # of the mean and of 1/16 of the sum
    with torch.no_grad():
        head.read.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 16.0, -32.0, 48.0]]))
        head.read.bias.zero_()
    model = Model({"graph": adapter}, Elements(), {"task": Task("graph", head)})
    [ethanol, amine] = model.contributions("task", ["OCC", "CN"])
    assert ethanol.result.value == pytest.approx(10 + 2 * (1 + 1 - 2))
    assert ethanol.names == ["O0", "C1", "C2"]
    assert ethanol.values == pytest.approx([-4, 2, 2])
    assert (ethanol.of, ethanol.unit, str(ethanol)) == ("x", "points", "O0 -4, C1 +2, C2 +2 points")
    assert amine.values == pytest.approx([2, 6])
    assert sum(amine.values) == pytest.approx(amine.result.value - 10)
    assert amine.strongest(1) == [("N1", pytest.approx(6))]


NETWORK = {
    "nodes": {
        "job": ["baker", "nurse", "baker", "judge"], "age": [20.0, 30.0, 45.0, 70.0],
        "likes": [[1], [], [2, 1], [3]],
    },
    "edges": [(0, 1), (1, 2), (2, 3)],
    "edge_columns": {"kind": ["friend", "boss", "friend"]},
}  # fmt: skip
FACTS = [("Ada", "wrote", "notes"), ("Ada", "met", "Mary")]


@pytest.mark.parametrize("item", [NETWORK, FACTS, "CC(=O)[O-]"])
@pytest.mark.parametrize("max_distance", [0, 3])
def test_a_node_is_left_out_with_its_edges(item: Any, max_distance: int) -> None:
    adapter = GraphAdapter.fit([item], dim=DIM, max_distance=max_distance)
    [example] = adapter.prepare(item)
    num = adapter.num_vectors(example)
    for node in range(num):
        less = adapter.without(example, node)
        kept = [i for i in range(num) if i != node]
        if example.names is not None:
            assert adapter.names(less) == [example.names[i] for i in kept]
        assert torch.equal(less.codes, example.codes[kept])
        ends = [
            (kept.index(a), kept.index(b)) for a, b in example.edge_index.t().tolist() if node not in (a, b)
        ]
        assert list(map(tuple, less.edge_index.t().tolist())) == ends
        assert len(less.edge_codes) == len(ends)
        if max_distance:
            assert torch.equal(less.pairs, example.pairs[kept][:, kept])
        if less.bags is not None:
            assert less.bags.counts.tolist() == [example.bags.counts[i] for i in kept]
        vectors = adapter(adapter.collate([less])).values
        assert vectors.shape == (num - 1, DIM)


@pytest.mark.parametrize("max_vectors", [5, 8192])
def test_a_value_is_the_difference_that_an_atom_makes(max_vectors: int) -> None:
    model = model_of(NumberTarget(["a", "b"], [0.0, 1.0], [1.0, 3.0]))
    adapter: Any = model.adapter("graph")
    [why] = model.contributions("task", ["CC(=O)[O-]"], of="b", max_vectors=max_vectors)
    [example] = adapter.prepare("CC(=O)[O-]")
    for number, value in enumerate(why.values):
        rest = [[adapter.without(example, number)]]
        [[(_, other)]] = model.run_prepared("graph", rest, {"task": {}})["task"]
        assert value == pytest.approx(why.result.values["b"] - other.values["b"], abs=1e-5)
    assert max(map(abs, why.values)) > 0.01


def test_of_a_class_the_log_odds_are_explained() -> None:
    model = model_of(ClassTarget(["bad", "good"], temperature=2.0))
    [likely] = model.contributions("task", ["c1ccccc1O"])
    assert (likely.of, likely.unit) == (likely.result.label, "log-odds")
    other = {"bad": "good", "good": "bad"}[likely.of]
    [against] = model.contributions("task", ["c1ccccc1O"], of=other)
    assert against.values == pytest.approx([-value for value in likely.values], abs=1e-3)
    [one] = model_of(MultiLabelTarget(["red", "round"])).contributions("task", ["CCO"], of="round")
    assert (one.of, len(one.values)) == ("round", 3)
    sure = ClassTarget(["bad", "good"], temperature=1e-3)
    [certain] = model_of(sure).contributions("task", ["CCO"])
    assert all(math.isfinite(value) for value in certain.values)


def test_a_single_atom_and_nothing() -> None:
    model, edges = model_of(NumberTarget(["x"], [0.0], [1.0]), [NETWORK]), {"kind": []}
    [alone, nothing] = model.contributions("task", [
        {"nodes": {"job": ["baker"], "age": [20.0], "likes": [[1]]}, "edges": [], "edge_columns": edges},
        {"nodes": {"job": [], "age": [], "likes": []}, "edges": [], "edge_columns": edges},
    ])  # fmt: skip
    assert alone.values == pytest.approx([alone.result.value - nothing.result.value])
    assert (nothing.values, nothing.names, str(nothing)) == ([], [], "")


def test_an_ensemble_explains_its_mean() -> None:
    members = [model_of(NumberTarget(["x"], [0.0], [1.0]), seed=seed) for seed in (1, 2)]
    members.append(model_of(NumberTarget(["x"], [0.0], [1.0]), MOLECULES[:3], seed=3))  # fewer elements
    each = [member.contributions("task", ["CCO"])[0].values for member in members]
    [why] = Ensemble(members).contributions("task", ["CCO"])
    assert why.values == pytest.approx([sum(of) / 3 for of in zip(*each, strict=True)], abs=1e-5)


def test_what_cannot_be_explained() -> None:
    numbers = model_of(NumberTarget(["a", "b"], [0.0, 0.0], [1.0, 1.0]))
    with pytest.raises(ValueError, match="of: got no name, expected one of the numbers a, b"):
        numbers.contributions("task", ["CCO"])
    with pytest.raises(ValueError, match="of: got 'c'; expected one of a, b"):
        numbers.contributions("task", ["CCO"], of="c")
    with pytest.raises(ValueError, match="item 0: molecule: got 'C1'"):
        numbers.contributions("task", ["C1"], of="a")
    with pytest.raises(ValueError, match="items: got one string"):
        numbers.contributions("task", "CCO")
    target = ClassTarget(["a"])
    adapters: Any = {"atoms": GraphAdapter.fit(["CCO"], dim=DIM), "words": TextAdapter.fit(["a b"], dim=DIM)}
    tasks = {"atom": Task("atoms", VectorHead(DIM, target)), "text": Task("words", SetHead(DIM, target))}
    model = Model(adapters, Encoder(DIM, 1, 2), tasks)
    for task, item, cell in (("atom", "CCO", "graph/vector"), ("text", "a b", "text/set")):
        with pytest.raises(
            ValueError, match=f"got the task '{task}' of the kind {cell}, expected one with a"
        ):
            model.contributions(task, [item])


def test_a_molecule_is_drawn_in_the_colours_of_its_values() -> None:
    drawing = plots.molecule("OCC", [-2.0, 1.0, 0.0], legend="O0 <b>")
    assert drawing.startswith("<svg")
    assert drawing._repr_svg_() == drawing
    assert "O0 &lt;b&gt;" in drawing.replace("</text>\n", "") or "<b>" not in drawing
    shown = [part.split("'")[0].upper() for part in drawing.split("fill:")[1:]]
    colours = [part[:7] for part in shown if part.startswith("#")]
    assert "#0072B2" in colours  # the largest: all of the colour
    assert "#EAAE7F" in colours  # half as large: half of it
    weaker = plots.molecule("OCC", [-2.0, 1.0, 0.0], scale=4.0)
    assert "#0072B2" not in weaker
    assert "#7FB8D8" in weaker
    with pytest.raises(ValueError, match="got 'CCO' with 3 atoms, expected one for each of the 2 values"):
        plots.molecule("CCO", [1.0, 2.0])
    with pytest.raises(ValueError, match="got 'C1' with no atoms"):
        plots.molecule("C1")
