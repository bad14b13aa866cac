"""Graphs that are large, sparse, or written in other ways: right, or refused by what is wrong."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch_geometric.data import Data

from multiseq.adapters._graph import examples as _graph_examples
from multiseq.adapters._graph import items as _graph_items
from multiseq.adapters._graph import structure as _graph_structure
from multiseq.adapters._graph.structure import return_probabilities
from multiseq.adapters.graph import GraphAdapter
from multiseq.adapters.neighborhood import NeighborhoodAdapter

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
    adapter = NeighborhoodAdapter.fit([table], dim=DIM, num_hops=1)
    message = (
        r"num_hops: got 40000 different values .* 40000 of them in 'id', "
        r".* leave out a column that names each node"
    )
    with pytest.raises(ValueError, match=message):
        adapter.prepare(table)


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


@pytest.mark.parametrize("kind", ["coo", "csr", "scipy"])
def test_sparse_features_are_those_features(kind: str) -> None:
    x = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    sparse = {"coo": x.to_sparse(), "csr": _csr(x), "scipy": scipy.sparse.csr_matrix(x.numpy())}[kind]
    edge_index = torch.tensor([[0], [1]])
    plain, given = (Data(x=v, edge_index=edge_index, num_nodes=2) for v in (x, sparse))
    adapter = GraphAdapter.fit([plain], dim=DIM)
    [expected], [found] = adapter.prepare(plain), adapter.prepare(given)
    torch.testing.assert_close(found.numbers, expected.numbers)
    torch.testing.assert_close(adapter.content(given)["x"], x)  # what a cache compares
    assert GraphAdapter.fit([given], dim=DIM).nodes.width == 3


def _csr(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x.to_sparse_csr()


def test_sparse_features_too_large_to_fill_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_graph_items, "MOST_VALUES", 5)
    data = Data(x=torch.ones(2, 3).to_sparse(), edge_index=torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match=r"got a sparse matrix of shape \(2, 3\), expected at most 5 values"):
        GraphAdapter.fit([data], dim=DIM)


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
