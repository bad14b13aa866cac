"""Graphs that are large, sparse, or written in other ways: right, or refused by what is wrong."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from multiseq import ClassTarget, Encoder, Model, Source, Task, VectorHead, train
from multiseq.adapters._graph import examples as _graph_examples
from multiseq.adapters._graph import items as _graph_items
from multiseq.adapters._graph import neighborhoods as _graph_neighborhoods
from multiseq.adapters._graph import structure as _graph_structure
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.items import Rows, read_hetero
from multiseq.adapters._graph.structure import return_probabilities
from multiseq.adapters.graph import GraphAdapter
from multiseq.adapters.neighborhood import NeighborhoodAdapter
from multiseq.training.digest import digest_of

DIM = 8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(side: int) -> Tensor:
    """Edges both ways between neighbours of a square of ``side`` x ``side`` nodes."""
    number = torch.arange(side * side).view(side, side)
    across = torch.stack([number[:, :-1].flatten(), number[:, 1:].flatten()])
    down = torch.stack([number[:-1].flatten(), number[1:].flatten()])
    pairs = torch.cat([across, down], dim=1)
    return torch.cat([pairs, pairs.flip(0)], dim=1)


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


# --- walks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 8])
@pytest.mark.parametrize("kind", ["grid", "random", "one way", "no edges"])
def test_sparse_walks_are_dense_walks(monkeypatch: pytest.MonkeyPatch, kind: str, steps: int) -> None:
    pairs = torch.randint(0, 53, (2, 101), generator=seeded(0))  # loops and parallel edges too
    edges = {
        "grid": grid(7),
        "random": torch.cat([pairs, pairs.flip(0)], dim=1),
        "one way": pairs,
        "no edges": pairs[:, :0],
    }[kind]
    expected = return_probabilities(edges, 53, steps)
    monkeypatch.setattr(_graph_structure, "FEW_PRODUCTS", -1)
    monkeypatch.setattr(_graph_structure, "SPARSE_COST", 0)
    monkeypatch.setattr(_graph_structure, "BLOCK_VALUES", 53 * 11)
    torch.testing.assert_close(return_probabilities(edges, 53, steps), expected, atol=1e-6, rtol=1e-5)


def test_walks_on_a_large_grid_take_seconds() -> None:
    start = time.process_time()
    walks = return_probabilities(grid(131), 131 * 131, 8)
    assert time.process_time() - start < 15
    # By hand: an inner node has four neighbours of four each: back in two steps with 4 x 1/4 x 1/4.
    assert walks[65 * 131 + 65, :3].tolist() == pytest.approx([0, 1 / 4, 0])


def test_a_molecule_of_ten_thousand_atoms() -> None:
    adapter = GraphAdapter.fit(["CCO", "C" * 10_000], dim=DIM)
    [example] = adapter.prepare("C" * 10_000)
    assert adapter.num_vectors(example) == 10_000
    assert adapter(adapter.collate([example])).values.isfinite().all()
    near = GraphAdapter.fit(["CCO"], dim=DIM, max_distance=4)
    with pytest.raises(ValueError, match=r"got 10000 nodes, expected at most \d+ with distances"):
        near.prepare("C" * 10_000)


def test_walks_that_would_take_minutes_are_refused() -> None:
    start = time.process_time()
    pairs = torch.randint(0, 50_000, (2, 2_500_000), generator=seeded(0))
    message = r"got 8 steps on 50000 nodes and 2500000 edges, .* \(walk_length=0\), or NeighborhoodAdapter"
    with pytest.raises(ValueError, match=message):
        return_probabilities(pairs, 50_000, 8)
    assert return_probabilities(pairs, 50_000, 0).shape == (50_000, 0)
    assert time.process_time() - start < 15


# --- node sets ------------------------------------------------------------------------------------


def test_a_category_that_names_each_node_is_refused_before_anything_is_allocated() -> None:
    table = {"nodes": {"id": [f"n{i}" for i in range(40_000)], "age": [1.0] * 40_000}, "edges": [(0, 1)]}
    message = (
        r"num_hops: got 40000 different values .* 40000 of them in 'id', "
        r".* leave out a column that names each node"
    )
    with pytest.raises(ValueError, match=message):
        NeighborhoodAdapter.fit([table], dim=DIM, num_hops=1)


def test_node_sets_larger_than_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Data(x=torch.zeros(1000, 62), edge_index=torch.tensor([[0], [1]]))
    adapter = NeighborhoodAdapter.fit([graph], dim=DIM, num_hops=1)
    needed = adapter.memory_needed(graph)
    monkeypatch.setattr(_graph_neighborhoods, "memory", lambda: needed - 1)
    with pytest.raises(ValueError, match="1,000 nodes, with 3 places of 62 columns each, takes about 0 GiB"):
        adapter.prepare(graph)
    monkeypatch.setattr(_graph_neighborhoods, "memory", lambda: needed)
    assert len(adapter.prepare(graph)) == 1000


def test_memory_needed_grows_with_nodes_columns_and_edges() -> None:
    def needed(nodes: int, columns: int, edges: int, **more: Any) -> int:
        graph = Data(x=torch.zeros(nodes, columns), edge_index=torch.zeros(2, edges, dtype=torch.long))
        adapter = NeighborhoodAdapter.fit([graph], dim=DIM, num_hops=1, directed=True, **more)
        return adapter.memory_needed(graph)

    assert needed(10, 2, 5) == 10 * (4 * 4 * 10 + 100) + 5 * 80  # 2 columns and 2 degrees, 3 places
    assert needed(10, 2, 5, num_neighbors=3) == 10 * (4 * 4 * 10 + 100) + 5 * 110


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_node_sets_in_other_precisions(dtype: torch.dtype) -> None:
    data = Data(x=torch.randn(5, 3), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]))
    adapter = NeighborhoodAdapter.fit([data], dim=DIM, num_hops=2).eval()
    inputs = adapter.collate(adapter.prepare(data))
    expected = adapter(inputs).values
    found = adapter.to(dtype)(inputs).values
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.1)


def test_more_codes_for_pairs_than_16_bits_hold_are_refused() -> None:
    kinds = [f"k{i}" for i in range(33_000)]
    table = {"nodes": {"a": [1, 2]}, "edges": [(0, 1)] * 33_000, "edge_columns": {"kind": kinds}}
    with pytest.raises(ValueError, match="codes for pairs of nodes, expected at most 32767"):
        GraphAdapter.fit([table], dim=DIM, max_distance=2)


# --- sparse features ------------------------------------------------------------------------------


KINDS = {
    "coo": lambda x: x.to_sparse(),
    "csr": lambda x: _csr(x),
    "scipy": lambda x: scipy.sparse.csr_matrix(x.numpy()),
}
EDGES = torch.tensor([[0, 1], [1, 2]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sparse_matrix_is_ids_with_weights(kind: str) -> None:
    x = torch.tensor([[0.0, 3.0, 0.0], [4.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    data = Data(x=KINDS[kind](x), edge_index=EDGES, num_nodes=3)
    adapter = GraphAdapter.fit([data], dim=DIM, num_layers=0).eval()
    [example] = adapter.prepare(data)
    assert example.bags.counts.tolist() == [1, 2, 0]
    assert example.bags.ids.tolist() == [1, 0, 2]
    torch.testing.assert_close(example.bags.weights, torch.tensor([1.0, 0.8, 0.6]))  # all equally frequent
    torch.nn.init.normal_(adapter.id_embedding.weight)
    embedded = adapter.id_embedding.of_batch(adapter.collate([example, example]).tensors)
    expected = torch.nn.functional.normalize(x) @ adapter.id_embedding.weight
    torch.testing.assert_close(embedded, expected.repeat(2, 1))
    assert adapter.content(data)["x"][1].tolist() == [0, 1, 3, 3]  # what a cache compares


def test_a_matrix_is_filled_or_sparse_as_in_training() -> None:
    x = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
    plain, sparse = (Data(x=v, edge_index=EDGES, num_nodes=3) for v in (x, x.to_sparse()))
    for first, second in ((plain, sparse), (sparse, plain)):
        adapter = GraphAdapter.fit([first], dim=DIM).eval()
        if adapter.id_embedding is not None:
            torch.nn.init.normal_(adapter.id_embedding.weight)
        expected, found = (adapter(adapter.collate(adapter.prepare(item))) for item in (first, second))
        torch.testing.assert_close(found.values, expected.values)


IDS = {"nodes": {"words": [[7, 9], [9], [], [2**40]]}, "edges": [(0, 1), (0, 2), (2, 3)]}


def test_hops_average_the_ids_and_keep_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = NeighborhoodAdapter.fit([IDS], dim=DIM, num_hops=2, directed=False).eval()
    x = torch.tensor([[0.5**0.5, 0.5**0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    x *= torch.tensor([0.75, 1.5, 0.75]).sqrt()  # 9 is in two of the rows, the others in one
    walk = torch.tensor([[0, 0.5, 0.5, 0], [1, 0, 0, 0], [0.5, 0, 0, 0.5], [0, 0, 1, 0]])
    examples = adapter.prepare(IDS)
    expected = torch.stack([x, walk @ x, walk @ walk @ x], dim=1)[[3, 0]].flatten(0, 1)
    inputs = adapter.collate([examples[3], examples[0]])
    table = torch.nn.init.normal_(adapter.stem.ids.weight)
    torch.testing.assert_close(adapter.stem.ids.of_batch(inputs.tensors), expected @ table)
    monkeypatch.setattr(_graph_neighborhoods, "MOST_IDS", 1)
    [network] = {example.network for example in adapter.prepare(IDS)}
    assert int(network.bags.counts.max()) == 2  # of the node itself all are kept
    assert network.bags.counts.view(4, 3)[:, 1:].max() == 1


def test_an_id_weighs_by_the_rows_of_all_training_graphs() -> None:
    """Decision 38. A model from before it has no counts, and weighs all ids alike."""
    more = {"nodes": {"words": [[9], [3], [3, 9]]}, "edges": [(0, 1)]}
    columns = NeighborhoodAdapter.fit([IDS, more], dim=DIM).nodes
    assert columns.id_rows["words"].tolist() == [2, 1, 4, 1]  # of 3, 7, 9 and 2**40
    saved = json.loads(json.dumps(columns.to_json()))
    again = Columns.from_json("node", saved)
    rows = Rows(2, bags={"words": scipy.sparse.csr_matrix(([1.0, 1.0], [7, 9], [0, 1, 2]), (2, 10))})
    expected = np.sqrt([1 / 2, 4 / 2])
    np.testing.assert_allclose(again.encode_ids(rows).data, expected, rtol=1e-6)
    del saved["id_rows"]
    np.testing.assert_allclose(Columns.from_json("node", saved).encode_ids(rows).data, [1.0, 1.0])
    none = Columns("node")
    none.learn(Rows(2, bags={"words": scipy.sparse.csr_matrix((2, 10))}))
    assert none.encode_ids(rows).shape == (2, 0)  # and no warning, which would be an error here


@pytest.mark.parametrize("kind", [GraphAdapter, NeighborhoodAdapter])
def test_ids_are_saved_learned_and_unknown_ones_count_nothing(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    adapter = kind.fit([IDS], dim=DIM)
    embedding = adapter.id_embedding if kind is GraphAdapter else adapter.stem.ids
    torch.nn.init.normal_(embedding.weight)
    again = kind.from_config(adapter.config(), json.loads(json.dumps(adapter.assets())))
    again.load_state_dict(adapter.state_dict())
    new = {**IDS, "nodes": {"words": [[7, 9], [9, 10], [], [2**40]]}}
    expected, found = (a.eval()(a.collate(a.prepare(i))) for a, i in ((adapter, IDS), (again, new)))
    torch.testing.assert_close(found.values, expected.values)
    assert len(adapter.baseline_vectors(adapter.prepare(IDS)[0])[0]) >= 3
    assert adapter(adapter.collate([])).values.shape[1] == DIM
    classes = [["a", "a", "b", "b"]]
    adapter.train()
    model = Model(
        {"net": adapter},
        Encoder(dim=DIM, depth=1, heads=2),
        {"kind": Task("net", VectorHead(DIM, ClassTarget(["a", "b"])))},
    )
    train(model, [Source("net", [IDS], {"kind": classes})], steps=30, lr=1e-2, progress=False)
    assert [label.label for label in model.predict("kind", [IDS])[0]] == classes[0]


def test_a_wide_matrix_stays_sparse() -> None:
    """Filled with zeros, it would have 8 GB."""
    ids = [[i, 1_000_000 + i] for i in range(1000)]
    table = {"nodes": {"words": ids}, "edges": [(i, i + 1) for i in range(999)]}
    [*_, example] = NeighborhoodAdapter.fit([table], dim=DIM, num_hops=2).prepare(table)
    assert example.network.bags.ids.nbytes < 1e5


WRONG_IDS = {
    "text": ([[1], ["x"]], "node 1: column 'words' has the id str 'x', expected whole numbers from 0"),
    "negative": ([[1], [-1]], "node 1: column 'words' has the id int -1, expected whole numbers"),
    "fraction": ([[1], [2.5]], "node 1: column 'words' has the id float 2.5, expected whole numbers"),
    "number": ([[1], 2], "node 1: column 'words' has int 2, expected a list of ids as in its other rows"),
}


@pytest.mark.parametrize("case", WRONG_IDS)
def test_what_is_no_list_of_ids_is_refused(case: str) -> None:
    words, message = WRONG_IDS[case]
    with pytest.raises(ValueError, match=message):
        GraphAdapter.fit([{"nodes": {"words": words}, "edges": []}], dim=DIM)


def test_a_sparse_matrix_with_nan_is_refused() -> None:
    data = Data(x=torch.tensor([[0.0, 1.0], [math.nan, 0.0]]).to_sparse(), edge_index=EDGES[:, :1])
    with pytest.raises(ValueError, match="node 1: x has nan in column 0, expected finite numbers"):
        GraphAdapter.fit([data], dim=DIM)


def test_sparse_features_of_edges_too_large_to_fill_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_graph_items, "MOST_VALUES", 5)
    data = Data(x=torch.ones(3, 1), edge_index=EDGES, edge_attr=torch.ones(2, 3).to_sparse())
    with pytest.raises(ValueError, match=r"got a sparse matrix of shape \(2, 3\), expected at most 5 values"):
        GraphAdapter.fit([data], dim=DIM)


# --- types of nodes and edges ---------------------------------------------------------------------


def typed(**changed: Any) -> HeteroData:
    data = HeteroData()
    data["paper"].x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    data["author"].num_nodes = 3
    data["author", "wrote", "paper"].edge_index = torch.tensor([[0, 2, 1], [0, 1, 1]])
    data["paper", "cites", "paper"].edge_index = changed.get("cites", torch.tensor([[0], [1]]))
    return data


def test_types_are_categories() -> None:
    graph = read_hetero(typed())
    assert graph.nodes.categories == {"type": ["paper"] * 2 + ["author"] * 3}
    assert graph.nodes.numbers["paper x"].tolist() == [[1, 2], [3, 4], [0, 0], [0, 0], [0, 0]]
    assert graph.edge_index.tolist() == [[2, 4, 3, 0], [0, 1, 1, 1]]
    assert graph.edges.categories == {"type": ["author wrote paper"] * 3 + ["paper cites paper"]}
    adapter = GraphAdapter.fit([typed()], dim=DIM)
    [example] = adapter.prepare(typed())
    assert adapter(adapter.collate([example])).values.shape == (5, DIM)
    assert adapter.names(example) == ["paper 0", "paper 1", "author 0", "author 1", "author 2"]
    assert digest_of([adapter.content(typed())]) == digest_of([adapter.content(typed())])
    with pytest.raises(ValueError, match=r"'cites', .* got an edge to node 2 of the 2 of 'paper'"):
        adapter.prepare(typed(cites=torch.tensor([[0], [2]])))


@pytest.mark.parametrize("num_hops", [None, 2])
def test_ids_of_one_type_are_none_for_others(num_hops: int | None) -> None:
    words = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 1.0]])
    data = HeteroData()
    data["author"].num_nodes = 2
    data["paper"].x = words.to_sparse()
    data["venue"].num_nodes = 1
    data["author", "wrote", "paper"].edge_index = torch.tensor([[0, 1], [0, 1]])
    found = read_hetero(data).nodes.bags["paper x"].toarray()
    assert found.tolist() == [[0, 0, 0], [0, 0, 0], [0, 2, 0], [1, 0, 1], [0, 0, 0]]
    dense = data.clone()
    dense["paper"].x = words
    if num_hops is None:
        adapter: Any = GraphAdapter.fit([data], dim=DIM).eval()
    else:
        adapter = NeighborhoodAdapter.fit([data], dim=DIM, num_hops=num_hops).eval()
    rows = [adapter(adapter.collate(adapter.prepare(given))).values for given in (data, dense)]
    torch.testing.assert_close(rows[0], rows[1])
    assert adapter.nodes.num_ids == 3
    assert digest_of([adapter.content(data)]) != digest_of([adapter.content(typed())])


def _csr(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x.to_sparse_csr()


# --- other ways to write a graph ------------------------------------------------------------------

NODES = {"age": [20, 30]}
WRONG: list[tuple[Any, str]] = [
    ({"nodes": [{"age": 20}, {"age": 30}]}, "nodes: got list .*, expected a mapping from each column"),
    ({"nodes": None}, "nodes: got NoneType None, expected a mapping"),
    ({"nodes": 3}, "nodes: got int 3, expected a mapping"),
    ({"nodes": {"age": 20}}, "nodes: column 'age': got int 20, expected a list"),
    ({"nodes": {"age": "20, 30"}}, "nodes: column 'age': got str '20, 30', expected a list"),
    ({"nodes": {"age": None}}, "nodes: column 'age': got NoneType None"),
    ({"nodes": {"age": {"a": 1}}}, "nodes: column 'age': got dict"),
    ({"nodes": {"age": np.array(3)}}, "nodes: column 'age': got ndarray"),
    ({"nodes": {1: [1]}}, "nodes: got the column int 1, expected a name"),
    ({"nodes": {"age": [20, None]}}, "node 1: column 'age' has NoneType None"),
    ({"nodes": {"age": [20, float("1e999")]}}, r"node 1: column 'age' has inf .* up to 1e\+150"),
    ({"nodes": {"age": [20, 1e200]}}, "node 1: column 'age' has (inf|1e+)"),
    ({"nodes": {"age": [20, 10**400]}}, "node 1: column 'age' has inf"),
    ({"nodes": {"age": [20, deep(100_000)]}}, r"node 1: column 'age' has list \[\[\[\[\[\.\.\.\]"),
    (
        {"nodes": NODES, "edges": [{"source": 0, "target": 1}]},
        "edge 0: got dict .* expected .source, tar",
    ),
    ({"nodes": NODES, "edges": {"0": 1}}, "edges: got dict .*, expected a list"),
    ({"nodes": NODES, "edges": 1}, "edges: got int 1, expected a list"),
    ({"nodes": NODES, "edges": "01"}, "edges: got str '01', expected a list"),
    ({"nodes": NODES, "edges": [None]}, "edge 0: got NoneType None"),
    ({"nodes": NODES, "edges": [[0, math.inf]]}, r"edge 0: got list \[0, inf\]"),
    ({"nodes": NODES, "edges": [[0, 10**30]]}, "edge 0: got list"),
    ({"nodes": NODES, "edges": [deep(100_000)]}, "edge 0: got list"),
    (
        {"nodes": NODES, "edges": [[0, 1]], "edge_columns": [1]},
        "edge_columns: got list .* expected a map",
    ),
    ({"nodes": NODES, "edges": [[0, 1]], "edge_columns": {"a": 1}}, "edge_columns: column 'a': got int 1"),
    ([deep(100_000)], "triple 0: got list"),
    (deep(100_000), "triple 0: got list"),
    (Data(x="ab", edge_index=torch.zeros(2, 0)), "x: got str 'ab', expected a tensor of numbers"),
    (
        Data(x=[[1.0], [2.0, 3.0]], edge_index=torch.zeros(2, 0)),
        "x: got list .* expected a tensor of num",
    ),
    (Data(x=torch.ones(2, 1), edge_index="ab"), "edge_index: got str 'ab', expected a tensor of numbers"),
    (Data(num_nodes=-1, edge_index=torch.zeros(2, 0)), "num_nodes: got int -1"),
    (Data(x=torch.tensor(3.0), edge_index=torch.zeros(2, 0)), "x: got Tensor"),
]


@pytest.mark.parametrize(("item", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_what_is_written_in_another_way_says_how_to_write_it(item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"item 0: .*{message}"):
        GraphAdapter.fit([item], dim=DIM)


def test_edges_that_are_null_are_none() -> None:
    null = {"nodes": NODES, "edges": None, "edge_columns": None}
    adapter = GraphAdapter.fit([null], dim=DIM)
    assert adapter.prepare(null)[0].edge_index.shape == (2, 0)


def test_numbers_far_from_training_are_refused_by_node_and_column() -> None:
    def table(last: float) -> dict[str, Any]:
        return {"nodes": {"age": [20.0, 30.0, last]}, "edges": [[0, 1]]}

    adapter = GraphAdapter.fit([table(40.0)], dim=DIM)
    assert adapter.prepare(table(1e9))[0].numbers.isfinite().all()
    assert _graph_examples.FURTHEST == 1e15
    with pytest.raises(ValueError, match=r"node 2: age is 1e\+29 standard deviations from the mean"):
        adapter.prepare(table(1e30))
