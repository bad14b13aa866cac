"""Graphs: nothing depends on the order of nodes or on the batch; bad data is named by its row."""

from __future__ import annotations

import copy
import csv
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GINEConv

from multiseq import Encoder, plots
from multiseq.adapters._graph import columns as columns_module
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.features import describe
from multiseq.adapters._graph.items import Rows, read_table
from multiseq.adapters._graph.neighborhoods import MOST_SPREAD
from multiseq.adapters._graph.stem import GINE, BondMessages
from multiseq.adapters._graph.structure import gather_hops, pair_codes, return_probabilities
from multiseq.adapters.graph import GraphAdapter
from multiseq.adapters.neighborhood import NeighborhoodAdapter
from multiseq.data.graphs.molecules import canonical, molecule_of, scaffold
from multiseq.protocols import Adapter, Inputs
from tests.reference import graph as reference

DIM = 13
SMILES = ["CCO", "c1ccccc1O", "C", "CC(=O)[O-].[Na+]", "F/C=C/F", "C[C@H](N)C(=O)O", "C1CC1C#N"]
TABLE = {
    "nodes": {"age": [30, 20.5, 61, 44, 18], "job": ["nurse", "clerk", "nurse", "clerk", "pilot"]},
    "edges": [(0, 1), (1, 2), (2, 0), (3, 1)],
    "edge_columns": {"kind": ["friend", "family", "friend", "family"], "years": [1, 2, 7, 4]},
}
STAR = {"nodes": {"age": [float(i) for i in range(9)]}, "edges": [(0, i) for i in range(1, 9)]}
TRIPLES = [("Ada", "wrote", "notes"), ("notes", "are about", "engine"), ("Ada", "wrote", "letters")]


def data(seed: int = 0, nodes: int = 7, edges: int = 11, **more: Any) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return Data(
        x=torch.randn(nodes, 3, generator=generator),
        edge_index=torch.randint(nodes, (2, edges), generator=generator),
        **more,
    )


def categories(seed: int = 0, nodes: int = 7, edges: int = 11) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return Data(
        x=torch.randint(5, (nodes, 2), generator=generator),
        edge_index=torch.randint(nodes, (2, edges), generator=generator),
        edge_attr=torch.randn(edges, 2, generator=generator),
    )


def described(seed: int = 0) -> Data:
    words = ["old town", "new town", "river", "harbour of the old town"]
    return Data(
        text=[words[i % 4] for i in range(seed, seed + 5)],
        edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]),
        edge_text=["road", "rail road", "road", "boat"],
    )


ITEMS: dict[str, list[Any]] = {
    "molecule": SMILES,
    "numbers": [data(0), data(1, 1, 0), data(2, 13, 29)],
    "categories": [categories(0), categories(1, 3, 2)],
    "described": [described(0), described(1)],
    "table": [TABLE, {**TABLE, "edges": [(0, 0), (4, 1), (1, 4), (1, 2)]}],
    "triples": [TRIPLES, TRIPLES[:1], [], [("Bo", "met", "Bo")]],
    "node sets": [data(0), data(1, 1, 0), data(2, 13, 29)],
    "node sets with neighbors": [data(0), data(1, 1, 0), data(2, 13, 29)],
    "node sets of categories": [Data(x=torch.tensor([0, 1, 1]), edge_index=torch.tensor([[0], [1]]))],
}


AnyAdapter = GraphAdapter | NeighborhoodAdapter


def fitted(name: str) -> AnyAdapter:
    if name.startswith("node sets"):
        most = 2 if "neighbors" in name else 0
        return NeighborhoodAdapter.fit(ITEMS[name], dim=DIM, num_hops=2, num_neighbors=most).eval()
    return GraphAdapter.fit(ITEMS[name], dim=DIM, num_layers=2, walk_length=5).eval()


def fitted_to(graph: Any, num_hops: int | None, directed: bool | None = None) -> AnyAdapter:
    """To one graph: whole, or its nodes with their neighborhoods."""
    if num_hops is None:
        return GraphAdapter.fit([graph], dim=DIM, directed=directed).eval()
    return NeighborhoodAdapter.fit([graph], dim=DIM, num_hops=num_hops, directed=directed).eval()


def vectors(adapter: AnyAdapter, item: Any) -> Tensor:
    return adapter(adapter.collate(adapter.prepare(item))).values


# --- every kind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ITEMS)
def test_every_kind_keeps_the_protocol(name: str) -> None:
    adapter = fitted(name)
    assert isinstance(adapter, Adapter)
    examples = [e for item in ITEMS[name] for e in adapter.prepare(item)]
    inputs = adapter.collate(examples)
    sets = adapter(inputs)
    assert list(sets.lengths) == [adapter.num_vectors(e) for e in examples]
    assert sets.dim == adapter.dim == DIM
    assert sets.positions is None
    read = adapter.read(sets, inputs)
    assert list(read.lengths) == [len(adapter.names(e)) for e in examples]
    assert all(isinstance(n, str) for e in examples for n in adapter.names(e))


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_gets_the_same_alone_and_in_any_company(name: str) -> None:
    adapter = fitted(name)
    examples = [e for item in ITEMS[name] for e in adapter.prepare(item)]
    together = adapter(adapter.collate(examples)).unpack()
    backwards = adapter(adapter.collate(examples[::-1])).unpack()[::-1]
    for example, one, other in zip(examples, together, backwards, strict=True):
        alone = adapter(adapter.collate([example])).values
        torch.testing.assert_close(alone, one)
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("name", ITEMS)
def test_from_config_gives_the_same_bits(name: str) -> None:
    adapter = fitted(name)
    again = type(adapter).from_config(adapter.config(), adapter.assets())
    again.load_state_dict(adapter.state_dict())
    again.eval()
    assert again.config() == adapter.config()
    assert again.assets() == adapter.assets()
    for item in ITEMS[name]:
        assert torch.equal(vectors(again, item), vectors(adapter, item))


@pytest.mark.parametrize("name", ITEMS)
def test_every_weight_learns(name: str) -> None:
    adapter = fitted(name)
    examples = [e for item in ITEMS[name] for e in adapter.prepare(item)]
    inputs = adapter.collate(examples)
    values = adapter.read(adapter(inputs), inputs).values
    (values * torch.randn_like(values)).sum().backward()
    idle = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", ITEMS)
def test_a_batch_of_nothing_is_empty(name: str) -> None:
    adapter = fitted(name)
    sets = adapter(adapter.collate([]))
    assert (sets.num_sets, sets.num_vectors, sets.dim) == (0, 0, DIM)


def test_the_shared_encoder_keeps_nodes_a_set() -> None:
    adapter, encoder = GraphAdapter.fit(SMILES, dim=16).eval(), Encoder(16, 2, 2).eval()
    sets = adapter(adapter.collate(adapter.prepare("CC(=O)[O-].[Na+]")))
    order = torch.randperm(sets.num_vectors)
    after = encoder(sets.with_values(sets.values[order])).values
    torch.testing.assert_close(after, encoder(sets).values[order])


# --- order of nodes, direction of edges -----------------------------------------------------------


def permuted(graph: Data, order: Tensor) -> Data:
    """Node ``order[i]`` of the graph becomes node i; its edges are shuffled too."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    shuffled = torch.randperm(graph.edge_index.shape[1])
    changed = Data(x=graph.x[order], edge_index=place[graph.edge_index[:, shuffled]])
    if graph.edge_attr is not None:
        changed.edge_attr = graph.edge_attr[shuffled]
    return changed


@pytest.mark.parametrize("name", ["numbers", "categories", "node sets"])
def test_permuting_the_nodes_permutes_the_outputs(name: str) -> None:
    adapter, graph = fitted(name), ITEMS[name][0]
    order = torch.randperm(7)
    inputs = [adapter.collate(adapter.prepare(network)) for network in (graph, permuted(graph, order))]
    rows = [adapter.read(adapter(batch), batch).values for batch in inputs]
    torch.testing.assert_close(rows[1], rows[0][order])
    assert not torch.allclose(rows[1], rows[0])


WRITTEN = {
    "turned round": ("OC(=O)[C@@H](N)C", "C[C@H](N)C(=O)O"),
    "stereo of a bond": ("C(/F)=C\\F", "F/C=C/F"),
    "without aromatic bonds": ("c1ccccc1O", "C1=CC=CC=C1O"),
    "explicit hydrogens": ("CCO", "[H]C([H])([H])[CH2]O[H]"),
    "hydrogens with a direction that says nothing": ("CC(C)=N", "[H]/N=C(C)/C"),
    "numbers of atoms": ("CCO", "[CH3:1][CH2:2][OH:3]"),
    "a name": ("CCO", " CCO\téthanol, 96 %"),
    "CXSMILES": ("CCO", "CCO |$A;B;C$|"),
    "CXSMILES and a name": ("CC[O]", "CC[O] |^1:2| éthoxyl"),
    "a salt": ("CC(=O)[O-].[Na+]", "[Na+].[O-]C(C)=O"),
    "a nitro group": ("CN(=O)=O", "C[N+](=O)[O-]"),
    "bonds to a metal": ("N->[Pt](<-N)(Cl)Cl", "[NH3][Pt]([NH3])(Cl)Cl"),
    "a racemate": ("C[C@H](N)O |&1:1|", "C[C@@H](N)O |&1:1|"),
    "either of two": ("C[C@H](N)[C@H](F)O |o1:1,3|", "C[C@@H](N)[C@@H](F)O |o1:1,3|"),
}


@pytest.mark.parametrize(("one", "other"), WRITTEN.values(), ids=WRITTEN)
def test_a_molecule_does_not_depend_on_how_it_is_written(one: str, other: str) -> None:
    adapter = GraphAdapter.fit([one, "CCO"], dim=DIM).eval()
    sums = vectors(adapter, one).sum(0), vectors(adapter, other).sum(0)
    torch.testing.assert_close(sums[0], sums[1])
    assert canonical(one) == canonical(other)
    assert scaffold(one) == scaffold(other)
    assert describe(one, ["MolWt"]) == pytest.approx(describe(other, ["MolWt"]))


DIFFERENT = {
    "R and S": ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"),
    "E and Z": ("F/C=C/F", "F/C=C\\F"),
    "charge": ("CCO", "CC[OH2+]"),
    "cis and trans on a ring": ("C[C@H]1CC[C@@H](C)CC1", "C[C@H]1CC[C@H](C)CC1"),
    "a racemate": ("C[C@H](N)O |&1:1|", "C[C@H](N)O"),
    "which of two is not known": ("C[C@H](N)[C@H](F)O |o1:1,3|", "C[C@H](N)[C@@H](F)O |o1:1,3|"),
    "isotope": ("CCO", "[13CH3]CO"),
    "deuterium": ("CCO", "CCO[2H]"),
    "radical": ("CCO", "CC[O]"),
    "salt": ("CC(=O)[O-].[Na+]", "CC(=O)[O-].[K+]"),
    "metal": ("C[Zn]C", "C[Hg]C"),
    "dummy atom": ("CC", "C*"),
    "numbers of dummy atoms": ("[1*]CC", "[2*]CC"),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_molecules_differ(one: str, other: str) -> None:
    adapter = GraphAdapter.fit([one, other], dim=DIM).eval()
    sums = vectors(adapter, one).sum(0), vectors(adapter, other).sum(0)
    assert not torch.allclose(*sums, atol=1e-3)
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("smiles", ["CCO |^1:2", "CCO |no CXSMILES|", "éthanol", "", 5])
def test_what_is_no_molecule_is_refused(smiles: Any) -> None:
    assert molecule_of(smiles) is None


def test_a_molecule_with_a_name_is_drawn() -> None:
    assert "<svg" in plots.molecule("CCO éthanol", [0.5, 0.0, -0.5])


@pytest.mark.parametrize("num_hops", [None, 2])
def test_direction_counts_only_where_edges_are_directed(num_hops: int | None) -> None:
    x = torch.randn(3, 2)
    chain = torch.tensor([[0, 1], [1, 2]])
    there, back = Data(x=x, edge_index=chain), Data(x=x, edge_index=chain.flip(0))
    both = Data(x=x, edge_index=torch.cat([chain, chain.flip(0)], dim=1))
    for directed, same in ((None, False), (True, False), (False, True)):
        adapter = fitted_to(there, num_hops, directed)
        assert torch.allclose(vectors(adapter, there), vectors(adapter, back)) is same
        if same:
            torch.testing.assert_close(vectors(adapter, there), vectors(adapter, both))
    assert GraphAdapter.fit([there], dim=DIM).directed
    assert not GraphAdapter.fit([both], dim=DIM).directed


def test_two_ties_of_different_kind_both_get_a_reverse() -> None:
    table = {
        "nodes": {"age": [1.0, 2.0]},
        "edges": [(0, 1), (1, 0), (1, 1)],
        "edge_columns": {"kind": ["friend", "family", "friend"]},
    }
    adapter = GraphAdapter.fit([table], dim=DIM, directed=False)
    [example] = adapter.prepare(table)
    edges = zip(*example.edge_index.tolist(), example.edge_codes[:, 0].tolist(), strict=True)
    assert sorted(edges) == [(0, 1, 1), (0, 1, 2), (1, 0, 1), (1, 0, 2), (1, 1, 1)]


# --- what is computed once ------------------------------------------------------------------------


def random_edges(nodes: int, edges: int) -> Tensor:
    return torch.randint(nodes, (2, edges), generator=torch.Generator().manual_seed(1))


def test_a_table_of_arrays_is_that_of_lists() -> None:
    lists = {"nodes": {"age": [30, 20.5, 61], "n": [1, 2, 3]}, "edges": [(0, 1), (1, 2)]}
    ages, counts = np.array([30, 20.5, 61], dtype=np.float32), np.array([1, 2, 3], dtype=np.uint8)
    arrays = {"nodes": {"age": ages, "n": counts}, "edges": np.array([[0, 1], [1, 2]], dtype=np.int32)}
    one, other = read_table(lists), read_table(arrays)
    assert torch.equal(one.edge_index, other.edge_index)
    assert {name: x.tolist() for name, x in one.nodes.numbers.items()} == {
        name: x.tolist() for name, x in other.nodes.numbers.items()
    }
    for wrong, message in (
        ({"edges": np.array([[0, 3]])}, "edge 0"),
        ({"nodes": {"age": np.array([1.0, np.nan]), "n": [1, 2]}}, "node 1: column 'age'"),
        ({"nodes": {"age": ages, "n": counts[:2]}}, "column 'n' has 2 values for 3 nodes"),
    ):
        with pytest.raises(ValueError, match=message):
            read_table({**arrays, **wrong})


def test_message_passing_is_that_of_torch_geometric() -> None:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(DIM, DIM), nn.GELU(), nn.Linear(DIM, DIM))
    ours, theirs = GINE(mlp), GINEConv(copy.deepcopy(mlp), train_eps=True)
    with torch.no_grad():
        ours.eps.fill_(0.3)
    theirs.load_state_dict(ours.state_dict())  # checkpoints had its names
    nodes, edges = torch.randn(7, DIM), torch.randn(11, DIM)
    edge_index = torch.randint(7, (2, 11))
    torch.testing.assert_close(ours(nodes, edge_index, edges), theirs(nodes, edge_index, edges))


def test_walks_match_the_reference() -> None:
    edges = random_edges(11, 23)
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    pairs = list(zip(*edges.tolist(), strict=True))
    slow = torch.tensor(reference.return_probabilities(pairs, 11, 5))
    torch.testing.assert_close(return_probabilities(edges, 11, 5), slow)


def test_walks_by_hand() -> None:
    """In a triangle one of two ways leads back in two steps; in a star's leaf the only one does."""
    triangle = torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])
    assert return_probabilities(triangle, 3, 3).tolist() == [[0.0, 0.5, 0.25]] * 3
    star = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]])
    assert return_probabilities(star, 4, 2).tolist() == [[0, 1], [0, 0.5], [0, 0.5], [0, 0]]


@pytest.mark.parametrize("nodes", [17, 601])
def test_sparse_and_dense_walks_agree(nodes: int) -> None:
    """601 nodes are more than a dense matrix is made for, and more than one block of columns."""
    edges = random_edges(nodes, 3 * nodes)
    matrix = torch.zeros(nodes, nodes).index_put_(tuple(edges), torch.ones(3 * nodes), accumulate=True)
    matrix = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    powers = [torch.linalg.matrix_power(matrix, k).diagonal() for k in (1, 2, 3)]
    torch.testing.assert_close(return_probabilities(edges, nodes, 3), torch.stack(powers, dim=1))


@pytest.mark.parametrize(("nodes", "ties", "furthest"), [(13, 9, 3), (29, 31, 1), (300, 290, 5), (1, 0, 2)])
def test_codes_of_pairs_match_the_reference(nodes: int, ties: int, furthest: int) -> None:
    generator = torch.Generator().manual_seed(nodes)
    one_way = torch.randint(nodes, (2, ties), generator=generator)
    edges = torch.cat([one_way, one_way.flip(0)], dim=1)
    kinds = torch.randint(4, (2 * ties,), generator=generator)
    found = pair_codes(edges, kinds, nodes, furthest)
    pairs = [(int(s), int(t)) for s, t in edges.t()]
    assert found.tolist() == reference.pair_codes(pairs, kinds.tolist(), nodes, furthest)
    by_distance = pair_codes(edges, None, nodes, furthest)
    assert int(by_distance.max()) <= 2 + furthest


def test_distances_move_with_the_nodes_into_the_attention() -> None:
    adapter = GraphAdapter.fit([TABLE], dim=12, max_distance=3).eval()
    assert adapter.pair_codes == 2 + 3 + 2 * 3  # edges of two kinds or an unknown one, either way
    encoder = Encoder(dim=12, depth=1, heads=2, pair_codes=adapter.pair_codes).eval()
    plain = encoder(adapter(adapter.collate(adapter.prepare(TABLE)))).values
    nn.init.normal_(encoder.bias.codes)
    order = [3, 0, 4, 2, 1]
    shuffled = {
        "nodes": {name: [values[i] for i in order] for name, values in TABLE["nodes"].items()},
        "edges": [(order.index(s), order.index(t)) for s, t in TABLE["edges"]][::-1],
        "edge_columns": {name: values[::-1] for name, values in TABLE["edge_columns"].items()},
    }
    examples = [adapter.prepare(item)[0] for item in (shuffled, {"nodes": {"age": [], "job": []}}, TABLE)]
    other, _, own = encoder(adapter(adapter.collate(examples))).unpack()
    torch.testing.assert_close(other, own[order])
    assert not torch.allclose(own, plain, atol=1e-3)


def test_distances_say_what_they_need() -> None:
    with pytest.raises(ValueError, match="max_distance: got -1, expected from 0 to 1000"):
        GraphAdapter.fit([data()], dim=DIM, max_distance=-1)
    adapter = GraphAdapter.fit([data()], dim=DIM, max_distance=2)
    with pytest.raises(ValueError, match=r"got 5000 nodes, expected at most 4096 .* use max_distance=0"):
        adapter.prepare(data(0, 5000, 10))
    small = GraphAdapter.fit([data()], dim=DIM + 1, max_distance=2)
    with pytest.raises(ValueError, match="pair_codes=6"):
        Encoder(dim=DIM + 1, depth=1, heads=1)(small(small.collate(small.prepare(data()))))


@pytest.mark.parametrize("reverses", [False, True])
def test_hops_match_the_reference(reverses: bool) -> None:
    edges, x = random_edges(11, 23), torch.randn(11, 3)
    pairs = list(zip(*edges.tolist(), strict=True))
    layers = reference.gather_hops(x.tolist(), pairs, 3)
    if reverses:
        layers += reference.gather_hops(x.tolist(), [(t, s) for s, t in pairs], 3)[1:]
    slow = torch.tensor(layers).transpose(0, 1)
    torch.testing.assert_close(gather_hops(x, edges, 3, reverses=reverses), slow)


def test_messages_along_bonds_equal_loops_over_atoms() -> None:
    """D-MPNN by its formulas, for two molecules in one batch, one with a ring, and an atom alone."""
    molecules = ["CC1CC1O", "C", "OCC"]
    adapter = GraphAdapter.fit(molecules, dim=DIM, num_layers=3, walk_length=0).eval()
    stem = adapter.message_stem
    assert isinstance(stem, BondMessages)
    inputs = adapter.collate([example for one in molecules for example in adapter.prepare(one)])
    given = inputs.tensors
    with torch.no_grad():
        x = adapter.node_embedding(given["codes"], given["numbers"])
        e = adapter.edge_embedding(given["edge_codes"], given["edge_numbers"])
        pairs = list(map(tuple, given["edge_index"].T.tolist()))
        assert [pairs[i] for i in given["reverse"].tolist()] == [(j, i) for i, j in pairs]
        first = {(i, j): stem.enter.weight @ torch.cat([x[i], e[n]]) for n, (i, j) in enumerate(pairs)}
        h = {pair: value.relu() for pair, value in first.items()}
        for _ in range(2):
            h = {
                (i, j): (
                    first[i, j]
                    + stem.hidden.weight @ sum((h[k, m] for k, m in h if m == i and k != j), x[0] * 0)
                ).relu()
                for i, j in pairs
            }
        total = [sum((h[k, m] for k, m in h if m == j), x[0] * 0) for j in range(len(x))]
        expected = [
            (stem.leave.weight @ torch.cat([x[j], t]) + stem.leave.bias).relu() for j, t in enumerate(total)
        ]
        torch.testing.assert_close(adapter(inputs).values, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_messages_along_bonds_are_for_molecules() -> None:
    with pytest.raises(
        ValueError, match="messages: got 'dmpnn' for graphs of the kind 'table', expected molecules or 'gine'"
    ):
        GraphAdapter.fit([TABLE], dim=DIM, messages="dmpnn")
    assert GraphAdapter.fit([TABLE], dim=DIM).messages == "gine"
    assert GraphAdapter.fit(["CO"], dim=DIM).messages == "dmpnn"
    assert GraphAdapter.fit(["CO"], dim=DIM, messages="gine").messages == "gine"


def test_a_model_of_molecules_from_before_there_was_a_choice_still_loads() -> None:
    adapter = GraphAdapter.fit(["CO", "CC"], dim=DIM, messages="gine")
    config = {name: value for name, value in adapter.config().items() if name != "messages"}
    rebuilt = GraphAdapter.from_config(config, adapter.assets())
    rebuilt.load_state_dict(adapter.state_dict())


def test_a_node_set_by_hand() -> None:
    """Two nodes of category 0 and 1 and an edge: one-hot after the unknown column, then degrees."""
    graph = Data(x=torch.tensor([0, 1]), edge_index=torch.tensor([[0], [1]]))
    adapter = NeighborhoodAdapter.fit([graph], dim=DIM, num_hops=1)
    adapter.spread = None
    features = adapter.collate(adapter.prepare(graph)).tensors["features"]
    one = math.log(2)
    own, other = [0, 1, 0, one, 0], [0, 0, 1, 0, one]
    expected = [own, other, [0] * 5, other, [0] * 5, own]  # of each itself, along, against
    torch.testing.assert_close(features, torch.tensor(expected))


def test_the_intervals_of_a_number_by_hand() -> None:
    """Nine numbers from 0 to 8 and four intervals of two: 5 fills two of them and half of the third."""
    adapter = NeighborhoodAdapter.fit([STAR], dim=DIM, num_hops=1, directed=False, bins=4)
    _, numbers = adapter.nodes.encode(Rows(1, numbers={"age": torch.tensor([[5.0]])}))
    torch.testing.assert_close(numbers[0, 1:], torch.tensor([1.0, 1.0, 0.5, 0.0]))
    _, far = adapter.nodes.encode(Rows(2, numbers={"age": torch.tensor([[-7.0], [70.0]])}))
    assert far[:, 1:].tolist() == [[0.0] * 4, [1.0] * 4]
    assert adapter.nodes.width == 5
    assert Columns.from_json("node", adapter.nodes.to_json()).to_json() == adapter.nodes.to_json()


def test_flags_and_few_values_have_as_many_intervals_as_steps() -> None:
    columns = Columns("node", bins=8)
    given = torch.tensor([[0.0, 1.0, 4.0], [1.0, 2.0, 4.0], [1.0, 5.0, 4.0]])
    columns.learn(Rows(3, numbers={"x": given}))
    _, numbers = columns.encode(Rows(3, numbers={"x": given}))
    assert columns.width == 3 + 2  # a flag, two steps, a constant
    assert numbers[:, 3:].tolist() == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]


def test_intervals_are_learned_from_all_graphs_however_many_rows_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(columns_module, "MOST_ROWS", 1000)
    values = torch.randperm(20_000, generator=torch.Generator().manual_seed(0)).double()[:, None]
    columns = Columns("node", bins=4)
    for part in values.split(777):
        columns.learn(Rows(len(part), numbers={"x": part}))
    [bounds] = columns.to_json()["numbers"]["x"]["bounds"]
    np.testing.assert_allclose(bounds, [0, 5000, 10_000, 15_000, 20_000], atol=600)


def test_every_hop_is_spread_as_widely_as_the_nodes() -> None:
    graph = data(2, 200, 2000)
    adapter = NeighborhoodAdapter.fit([graph], dim=DIM, num_hops=3)
    [first, *_] = adapter.prepare(graph)
    deviations = first.network.features.std(0)
    varied = deviations[0] > 0
    assert (deviations[1:, varied] / deviations[0, varied] - 1).abs().max() < 1e-3
    assert first.network.features.mean(0).abs().max() < 1e-4
    rebuilt = NeighborhoodAdapter.from_config(adapter.config(), adapter.assets())
    [again, *_] = rebuilt.prepare(graph)
    assert torch.equal(first.network.features, again.network.features)


def test_several_networks_and_empty_ones_are_spread_as_one() -> None:
    """Two networks apart are spread as both in one; one without nodes changes nothing."""
    first, second = data(2, 50, 300), data(3, 150, 700)
    joined = Data(
        x=torch.cat([first.x, second.x]),
        edge_index=torch.cat([first.edge_index, second.edge_index + 50], dim=1),
    )
    none = Data(x=torch.zeros(0, 3), edge_index=torch.zeros(2, 0, dtype=torch.long))
    apart = NeighborhoodAdapter.fit([first, none, second], dim=DIM, num_hops=2)
    [one], [other] = (
        [a.prepare(g)[0].network.features for g in [first]]
        for a in (apart, NeighborhoodAdapter.fit([joined], dim=DIM, num_hops=2))
    )
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert NeighborhoodAdapter.fit([none], dim=DIM).spread is None


def test_columns_that_hardly_differ_at_a_hop_are_not_blown_up() -> None:
    """Everyone's only neighbour is the same node: means differ by nothing but rounding."""
    table = {"nodes": {"x": [0.1 * i for i in range(30)]}, "edges": [(i, 0) for i in range(1, 30)]}
    adapter = NeighborhoodAdapter.fit([table], dim=DIM, num_hops=2)
    assert max(map(max, adapter.spread.to_json()["factors"])) <= MOST_SPREAD
    assert adapter.prepare(table)[3].network.features.abs().max() < 100


def neighbors_in(adapter: NeighborhoodAdapter, examples: list[Any]) -> list[list[int]]:
    """The numbers of the neighbours in each set: their ages, whose mean is 4 and standard deviation 2.58."""
    tensors = adapter.collate(examples).tensors
    ages = (tensors["features"][:, 0] * np.std(range(9)) + 4).round().int()
    places, found = tensors["places"].tolist(), []
    for age, place in zip(ages.tolist(), places, strict=True):
        if place == 0:
            found.append([])
        elif place > adapter.num_hops * adapter.ways:
            found[-1].append(age)
    return found


def test_a_set_holds_neighbors_by_hand() -> None:
    adapter = NeighborhoodAdapter.fit([STAR], dim=DIM, num_hops=1, num_neighbors=3, directed=False).eval()
    examples = adapter.prepare(STAR)
    assert [adapter.num_vectors(e) for e in examples] == [5] + [3] * 8
    # eight neighbours in the parts 1 2, 3 4 5 and 6 7 8, of each the one in the middle
    assert neighbors_in(adapter, examples) == [[2, 4, 7]] + [[0]] * 8
    assert neighbors_in(adapter, [examples[5], examples[0], examples[5]]) == [[0], [2, 4, 7], [0]]


def test_training_draws_other_neighbors_each_time() -> None:
    adapter = NeighborhoodAdapter.fit([STAR], dim=DIM, num_hops=1, num_neighbors=3, directed=False)
    generator = torch.Generator().manual_seed(0)
    hub, leaf, *_ = adapter.prepare(STAR)
    drawn = [adapter.augment(hub, generator) for _ in range(400)]
    assert {adapter.num_vectors(e) for e in drawn} == {5}
    sets = neighbors_in(adapter, drawn)
    assert all(len({*one}) == 3 for one in sets)  # each neighbour at most once
    counts = [sum(n in one for one in sets) for n in range(9)]
    assert counts[0] == 0
    assert all(160 < count < 240 for count in counts[1:3])  # 400 / 2
    assert all(95 < count < 175 for count in counts[3:])  # 400 / 3
    assert neighbors_in(adapter, [adapter.augment(leaf, generator)]) == [[0]]


def test_directed_networks_have_neighbors_either_way() -> None:
    adapter = NeighborhoodAdapter.fit([STAR], dim=DIM, num_hops=1, num_neighbors=2, directed=True).eval()
    examples = adapter.prepare(STAR)
    assert neighbors_in(adapter, examples) == [[3, 7]] + [[0]] * 8
    places = adapter.collate([examples[0], examples[1]]).tensors["places"]
    assert places.tolist() == [0, 1, 2, 3, 3, 0, 1, 2, 4]  # 3: along the edges, 4: against them


def test_neighbors_know_what_a_mean_hides() -> None:
    """Both hubs have neighbours with the mean 0; only those of the second differ."""
    alike = {"nodes": {"x": [0.0, 0.0, 0.0]}, "edges": [(0, 1), (0, 2)]}
    apart = {"nodes": {"x": [0.0, 3.0, -3.0]}, "edges": [(0, 1), (0, 2)]}
    for most, same in ((0, True), (2, False)):
        torch.manual_seed(0)
        adapter = NeighborhoodAdapter.fit(
            [alike, apart], dim=DIM, num_hops=1, num_neighbors=most, directed=False, bins=0
        )
        adapter.eval()
        read = []
        for network in (alike, apart):
            inputs = adapter.collate(adapter.prepare(network)[:1])
            read.append(adapter.read(adapter(inputs), inputs).values)
        assert torch.allclose(*read, atol=1e-5) is same


def test_node_sets_share_one_tensor_and_read_the_node_and_a_mean() -> None:
    adapter, graph = fitted("node sets"), data(2, 13, 29)
    examples = adapter.prepare(graph)
    assert len({id(e.network) for e in examples}) == 1
    assert [adapter.align(list(range(13)), e) for e in examples] == [[i] for i in range(13)]
    assert [adapter.names(e) for e in examples] == [[str(i)] for i in range(13)]
    inputs = adapter.collate(examples)
    sets = adapter(inputs)
    assert set(sets.lengths) == {5}
    values = sets.values.view(13, 5, DIM)
    torch.testing.assert_close(adapter.read(sets, inputs).values, (values[:, 0] + values.mean(1)) / 2)
    torch.nn.init.normal_(adapter.score.weight)
    torch.nn.init.constant_(adapter.gate, math.log(3))  # three quarters
    weights = (values @ adapter.score.weight[0]).softmax(1)
    expected = 0.75 * values[:, 0] + 0.25 * (weights[:, :, None] * values).sum(1)
    torch.testing.assert_close(adapter.read(sets, inputs).values, expected)
    mixed = [examples[3], adapter.prepare(data(0))[2], examples[0]]
    alone = torch.cat([adapter(adapter.collate([e])).values for e in mixed])
    torch.testing.assert_close(adapter(adapter.collate(mixed)).values, alone)


def test_a_large_graph_prepares_in_seconds() -> None:
    graph = Data(x=torch.randn(100_000, 17), edge_index=random_edges(100_000, 400_000))
    adapter = NeighborhoodAdapter.fit([graph], dim=DIM, num_hops=3)
    start = time.perf_counter()
    examples = adapter.prepare(graph)
    assert time.perf_counter() - start < 20  # about one second on a free core
    assert len(examples) == 100_000
    assert adapter(adapter.collate(examples[-3:])).lengths == (7, 7, 7)


# --- small graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("num_hops", [None, 2])
def test_empty_single_and_isolated_nodes(num_hops: int | None) -> None:
    adapter = fitted_to(data(), num_hops)
    for nodes in (0, 1, 5):
        graph = Data(x=torch.randn(nodes, 3), edge_index=torch.zeros(2, 0, dtype=torch.long))
        inputs = adapter.collate(adapter.prepare(graph))
        sets = adapter(inputs)
        assert adapter.read(sets, inputs).num_vectors == nodes
        assert sets.values.isfinite().all()


def test_a_graph_without_features_has_its_structure() -> None:
    path = Data(num_nodes=3, edge_index=torch.tensor([[0, 1], [1, 2]]))
    for num_hops in (None, 1):
        adapter = fitted_to(path, num_hops, directed=False)
        inputs = adapter.collate(adapter.prepare(path))
        values = adapter.read(adapter(inputs), inputs).values
        torch.testing.assert_close(values[0], values[2])
        assert not torch.allclose(values[0], values[1])


def test_tables_without_nodes_or_edges() -> None:
    adapter = fitted("table")
    empty = {
        "nodes": {"age": [], "job": []},
        "edges": [],
        "edge_columns": {"kind": [], "years": []},
    }
    assert vectors(adapter, empty).shape == (0, DIM)
    assert vectors(adapter, {"nodes": {"age": [3], "job": ["nurse"]}}).shape == (1, DIM)


# --- columns --------------------------------------------------------------------------------------


def test_numbers_are_standardised_over_all_graphs_and_indicators_left_alone() -> None:
    columns, blocks = Columns("node"), [torch.randn(n, 2) * 3 + 1e4 for n in (5, 1, 7)]
    flags = [torch.randint(2, (len(b), 1)).float() for b in blocks]
    rows = [
        Rows(len(b), numbers={"x": b, "flag": f, "same": torch.full((len(b), 1), 0.1)})
        for b, f in zip(blocks, flags, strict=True)
    ]
    for r in rows:
        columns.learn(r)
    encoded = torch.cat([columns.encode(r)[1] for r in rows])
    torch.testing.assert_close(encoded[:, :2].mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(encoded[:, :2].std(0, correction=0), torch.ones(2))
    assert torch.equal(encoded[:, 2:3], torch.cat(flags))
    torch.testing.assert_close(encoded[:, 3], torch.zeros(13))


def test_large_numbers_that_are_close_together_are_told_apart() -> None:
    """Seconds since 1970: single precision has one number for all of them."""
    times = [1.7e9 + 20 * i for i in range(3)]
    table = [{"nodes": {"age": [t]}} for t in times]
    data = [Data(x=torch.tensor([[t]], dtype=torch.float64), num_nodes=1) for t in times]
    for graphs in (table, data):
        adapter = GraphAdapter.fit(graphs, dim=DIM)
        found = [adapter.prepare(graph)[0].numbers[0, 0].item() for graph in graphs]
        assert found == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])


def test_composed_and_decomposed_texts_are_the_same() -> None:
    triples = [("caf\u00e9", "in", "Rome"), ("cafe\u0301", "near", "\ud83d")]
    [example] = GraphAdapter.fit([triples], dim=DIM).prepare(triples)
    assert example.names == ["caf\u00e9", "Rome", "\ufffd", "in", "near"]
    adapter = GraphAdapter.fit([{"nodes": {"city": ["Z\u00fcrich", "Bonn"]}}], dim=DIM)
    assert adapter.prepare({"nodes": {"city": ["Zu\u0308rich"]}})[0].codes.tolist() == [[1]]


def test_columns_of_two_values_are_flags_and_constant_ones_zeros() -> None:
    columns = Columns("node")
    for rows in ([[5.0, 5.0, 1.0], [5.0, 7.0, 1.0]], [[5.0, 7.0, 1.0]]):
        columns.learn(Rows(len(rows), numbers={"x": torch.tensor(rows).double()}))
    new = Rows(2, numbers={"x": torch.tensor([[5.0, 7.0, 1.0], [10.0, 5.0, 0.0]]).double()})
    assert columns.encode(new)[1].tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, -1.0]]


def test_an_unseen_category_is_the_unknown_one() -> None:
    adapter = fitted("table")
    changed = {**TABLE, "nodes": {**TABLE["nodes"], "job": ["nurse", "clerk", "x", "y", "pilot"]}}
    [example] = adapter.prepare(changed)
    assert example.codes[:, 0].tolist() == [1, 2, 0, 0, 3]
    assert not adapter.node_embedding.categories.weight[0].any()


def test_triples_are_a_levi_graph() -> None:
    adapter = fitted("triples")
    [example] = adapter.prepare(TRIPLES[:2])
    assert adapter.names(example) == ["Ada", "notes", "engine", "wrote", "are about"]
    kinds = list(adapter.edges.vocabularies["kind"])
    got = {
        (s, kinds[kind - 1], t)
        for s, t, kind in zip(*example.edge_index.tolist(), example.edge_codes[:, 0].tolist(), strict=True)
    }
    assert got == {
        (0, "subject to triple", 3), (3, "triple to object", 1),
        (3, "triple to subject", 0), (1, "object to triple", 3),
        (1, "subject to triple", 4), (4, "triple to object", 2),
        (4, "triple to subject", 1), (2, "object to triple", 4),
    }  # fmt: skip
    assert len(adapter.prepare([TRIPLES[0], TRIPLES[0]])[0].codes) == 4


def test_who_did_it_to_whom_counts() -> None:
    adapter = fitted("triples")
    one, other = vectors(adapter, [("Ada", "met", "Bo")]), vectors(adapter, [("Bo", "met", "Ada")])
    assert not torch.allclose(one[2], other[2], atol=1e-4)


def test_texts_of_nodes_and_edges_count() -> None:
    adapter, changed = fitted("described"), described()
    changed.edge_text = ["road", "boat", "road", "boat"]
    assert not torch.allclose(vectors(adapter, described(0)), vectors(adapter, described(1)))
    assert not torch.allclose(vectors(adapter, described(0)), vectors(adapter, changed))
    [example] = adapter.prepare(described(0))
    assert adapter.names(example)[0] == "old town"


# --- labels and augmentation ----------------------------------------------------------------------


def test_labels_are_one_a_node() -> None:
    adapter = fitted("molecule")
    [example] = adapter.prepare("CCOCCC")
    assert adapter.names(example) == ["C0", "C1", "O2", "C3", "C4", "C5"]
    assert adapter.align(["a", None, "b", "a", "a", "a"], example)[1:3] == [None, "b"]
    assert adapter.align(torch.arange(6), example) == list(range(6))
    for labels, message in ((["a"] * 5, "got 5 labels for 6 nodes"), ("abcdef", "got str")):
        with pytest.raises(ValueError, match=message):
            adapter.align(labels, example)
    triples = fitted("triples")
    [example] = triples.prepare(TRIPLES)
    with pytest.raises(ValueError, match="one an entity, then one a triple"):
        triples.align(["a"] * 3, example)


@pytest.mark.parametrize("name", ITEMS)
def test_augment_depends_on_the_generator_only(name: str) -> None:
    adapter = fitted(name)
    adapter.edge_dropout = 0.5
    examples = adapter.prepare(ITEMS[name][0])
    same = [adapter.augment(e, torch.Generator().manual_seed(3)) for e in (examples[0],) * 2]
    before, *after = (adapter(adapter.collate([e])).values for e in (examples[0], *same))
    assert torch.equal(after[0], after[1])
    changes = name in ("numbers", "categories", "described", "table")
    assert torch.equal(before, after[0]) is not changes
    assert torch.equal(before, adapter(adapter.collate([examples[0]])).values)


def test_augment_hides_features_and_keeps_walks() -> None:
    adapter = fitted("table")
    adapter.edge_dropout = 1.0
    [example] = adapter.prepare(TABLE)
    changed = adapter.augment(example, torch.Generator().manual_seed(0))
    assert changed.edge_index.shape == (2, 0)
    assert not changed.codes.any()
    assert not changed.numbers[:, 0].any()
    assert torch.equal(changed.numbers[:, 1:], example.numbers[:, 1:])


# --- wrong input ----------------------------------------------------------------------------------


def with_column(part: str, **columns: Any) -> dict[str, Any]:
    return {**TABLE, part: {**TABLE[part], **columns}}


NAN = torch.tensor([[0.0, 1.0], [math.nan, 1.0]])
PAIR = torch.tensor([[0, 1], [1, 0]])
WRONG: list[tuple[Any, str]] = [
    ("C1CC", "got 'C1CC', which RDKit cannot read"),
    ("", "got ''"),
    (3, "got int 3, expected a SMILES string"),
    (Data(x=NAN, edge_index=PAIR), "node 1: x has nan in column 0"),
    (
        Data(x=torch.ones(2), edge_index=PAIR, edge_attr=1 / torch.tensor([1, 0])),
        "edge 1: edge_attr has inf",
    ),
    (Data(x=torch.tensor([0, -1]), edge_index=PAIR), "node 1: x has a negative category"),
    (Data(x=torch.ones(2, 1, 1), edge_index=PAIR), "x: got shape"),
    (
        Data(x=torch.ones(2), edge_index=PAIR + 1),
        r"edge 0: got \(1, 2\), expected nodes from 0 to 1",
    ),
    (Data(x=torch.ones(0, 1), edge_index=PAIR), "no edge, as there is no node"),
    (Data(x=torch.ones(2), edge_index=PAIR.float()), "edge_index: got dtype torch.float32"),
    (Data(x=torch.ones(2), edge_index=PAIR[0]), "edge_index: got shape"),
    (Data(x=torch.ones(2), edge_index=PAIR, edge_attr=torch.ones(3)), "3,?.* for 2 edges"),
    (
        Data(text=["a"], num_nodes=2, x=torch.ones(2), edge_index=PAIR),
        "text: got 1 texts for 2 nodes",
    ),
    (
        Data(x=torch.ones(2), edge_index=PAIR, edge_text=["a"] * 3),
        "3 texts for 2 edges.* edge 2 on",
    ),
    (Data(text=["a", 5], edge_index=PAIR), "node 1: text is int 5"),
    (Data(text="ab", edge_index=PAIR), "text: got str 'ab', expected a list"),
    (Data(edge_index=PAIR), "set data.num_nodes"),
    ({"node": {}}, r"table: got \['node'\]"),
    ({"nodes": {}}, "nodes: got no column"),
    (
        with_column("nodes", age=[1, 2]),
        "nodes: column 'age' has 2 values|column 'job' has 5 values",
    ),
    (with_column("nodes", age=[1, 2, 3, "x", 5]), "node 3: column 'age' has str 'x'"),
    (with_column("nodes", job=["a", "b", 3.0, "d", "e"]), "node 2: column 'job' has float 3.0"),
    (with_column("nodes", age=[1, 2, math.inf, 4, 5]), "node 2: column 'age' has inf"),
    (with_column("edge_columns", kind=["a"]), "edges: column 'kind' has 1 values for 4 edges"),
    ({**TABLE, "edges": [(0, 1), (1, 2), (2, 5), (0, 0)]}, r"edge 2: got \(2, 5\)"),
    ({**TABLE, "edges": [(0, 1), (1, 2), (0.5, 1), (0, 0)]}, r"edge 2: got tuple \(0.5, 1\)"),
    ({**TABLE, "edges": [(0, 1), (1, 2), (2,), (0, 0)]}, r"edge 2: got tuple \(2,\)"),
    ([("a", "b", "c"), ("a", "b")], r"triple 1: got tuple \('a', 'b'\)"),
    ([("a", "b", None)], "triple 0"),
]


@pytest.mark.parametrize(("item", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_a_bad_item_is_named_by_its_row(item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"item 0: .*({message})"):
        GraphAdapter.fit([item], dim=DIM)


@pytest.mark.parametrize(
    ("name", "item", "message"),
    [
        ("molecule", TRIPLES, "got an item of kind 'triples', expected 'molecule'"),
        ("molecule", "CC(", "got 'CC\\('"),
        (
            "molecule",
            {"SMILES": "CCO", "pH": 7},
            r"got the keys \['SMILES', 'pH'\], expected the key 'smiles', in small letters",
        ),
        (
            "numbers",
            Data(x=torch.ones(2, 4), edge_index=PAIR),
            r"\['x \(4\)'\].* expected .*\['x \(3\)'\]",
        ),
        ("numbers", Data(x=torch.ones(2), text=["a", "b"], edge_index=PAIR), "texts; expected"),
        (
            "table",
            {"nodes": {"age": [1]}},
            r"nodes: no column 'job'; got categories \[\], .* expected categories \['job'\]",
        ),
        ("node sets", data(edge_attr=torch.ones(11)), "edges: got"),
    ],
)
def test_an_item_unlike_the_training_items(name: str, item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(name).prepare(item)


def test_fit_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="got no graph"):
        GraphAdapter.fit([], dim=DIM)
    with pytest.raises(ValueError, match="item 1: graph: got an item of kind 'table'"):
        GraphAdapter.fit(["CC", TABLE], dim=DIM)
    with pytest.raises(ValueError, match=r"item 1: nodes: got .*x \(2\).* expected .*x \(3\)"):
        GraphAdapter.fit([data(), Data(x=torch.ones(2, 2), edge_index=PAIR)], dim=DIM)
    with pytest.raises(ValueError, match="num_hops: got -1"):
        NeighborhoodAdapter.fit([data()], dim=DIM, num_hops=-1)
    with pytest.raises(ValueError, match=r"got texts, expected categories and numbers .* use GraphAdapter"):
        NeighborhoodAdapter.fit([TRIPLES], dim=DIM, num_hops=1)
    with pytest.raises(ValueError, match=r"got features or several types of edges, .* use GraphAdapter"):
        NeighborhoodAdapter.fit([TABLE], dim=DIM, num_hops=1)
    with pytest.raises(ValueError, match="kind: got 'graph'"):
        GraphAdapter("graph", Columns("node"), Columns("edge"), DIM)


def test_rdkit_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="C1CC"):
        fitted("molecule").prepare("C1CC")
    assert capfd.readouterr() == ("", "")


def test_triples_and_data_do_not_load_rdkit() -> None:
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GINEConv
from multiseq.adapters.graph import GraphAdapter
for item in ([("a", "b", "c")], Data(x=torch.ones(2, 1), edge_index=torch.zeros(2, 0).long())):
    adapter = GraphAdapter.fit([item], dim=8)
    adapter(adapter.collate(adapter.prepare(item)))
print("rdkit" in sys.modules)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# --- it learns ------------------------------------------------------------------------------------


def predict(model: nn.ModuleList, inputs: Inputs) -> Tensor:
    """A number a set: adapter, and a small network on the sum over the set."""
    adapter, project = model
    sets = adapter.read(adapter(inputs), inputs)
    sums = sets.values.new_zeros(sets.num_sets, sets.dim).index_add(0, sets.set_index, sets.values)
    return project(sums).squeeze(1)


@pytest.mark.parametrize("name", ["molecule", "triples", "node sets"])
def test_it_can_learn_a_few_graphs_by_heart(name: str) -> None:
    adapter = fitted(name)
    project = nn.Sequential(nn.Linear(DIM, 61), nn.GELU(), nn.Linear(61, 1))
    model = nn.ModuleList([adapter, project])
    inputs = adapter.collate([e for item in ITEMS[name] for e in adapter.prepare(item)])
    wanted = torch.randn(len(inputs.lengths))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        loss = (predict(model, inputs) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(predict(model.eval(), inputs), wanted, atol=0.5, rtol=0)


# --- real data ------------------------------------------------------------------------------------


def test_real_molecules(data_dir: Path) -> None:
    with open(data_dir / "graph_mol" / "ESOL" / "delaney.csv", newline="") as file:
        smiles = [row["smiles"] for row in csv.DictReader(file)][:300]
    adapter = GraphAdapter.fit(smiles, dim=DIM).eval()
    examples = [adapter.prepare(s)[0] for s in smiles]
    sets = adapter(adapter.collate(examples))
    assert sets.num_sets == 300
    assert sets.values.isfinite().all()
    torch.testing.assert_close(sets.unpack()[7], vectors(adapter, smiles[7]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("num_hops", [None, 2])
def test_a_real_network(data_dir: Path, num_hops: int | None) -> None:
    file = np.load(data_dir / "graph_node" / "heterophilous" / "chameleon_filtered.npz")
    graph = Data(
        x=torch.from_numpy(file["node_features"]).float(),
        edge_index=torch.from_numpy(file["edges"]).t().contiguous(),
    )
    adapter = fitted_to(graph, num_hops, directed=False)
    examples = adapter.prepare(graph)
    labels = file["node_labels"]
    assert len(examples) == (890 if num_hops else 1)
    assert sum(len(adapter.align(labels, e)) for e in examples) == 890
    inputs = adapter.collate(examples)
    assert adapter.read(adapter(inputs), inputs).num_vectors == 890
