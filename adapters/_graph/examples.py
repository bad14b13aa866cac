"""Turn a whole graph into an example, and pack examples into a batch.

Axes: nodes, edges, pair (source and target), columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multiseq.adapters._graph.bags import Ids, ids_of, pack_ids
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.items import Graph, Rows
from multiseq.adapters._graph.structure import (
    UNREACHABLE,
    missing_reverses,
    pair_codes,
    return_probabilities,
)

__all__ = [
    "GraphExample",
    "Preparation",
    "bonds",
    "both_ways",
    "encoded",
    "one_way",
    "pack_graphs",
    "reverses",
    "with_reverses",
    "without_node",
]


FURTHEST = 1e15
"""Largest number, in standard deviations from the mean. Squares of larger ones can overflow when summed."""


@dataclass(frozen=True, eq=False)
class GraphExample:
    """A whole graph, ready to be batched. Every edge has its reverse.

    Args:
        names: The name of each node; None: nodes are called by their numbers.
        codes, numbers: For each node its row numbers in the embedding table; its standardised numbers,
            then its random-walk probabilities.
        edge_index: Source and target of every edge.
        edge_codes, edge_numbers: The same for each edge, without random walks.
        texts: The distinct texts of nodes and edges, as examples of the text adapter.
        node_text, edge_text: For each node or edge the number of its text; empty if there are no texts.
        pairs: The code of each pair of nodes; empty if ``max_distance`` is 0.
        bags: The ids of the nodes, see `multiseq.adapters._graph.bags`; None without columns of ids.
        features: The numbers about the whole graph, see `multiseq.adapters._graph.features`; None without.
    """

    names: list[str] | None
    codes: Int[Tensor, "nodes columns"]
    numbers: Float[Tensor, "nodes numbers"]
    edge_index: Int[Tensor, "pair edges"]
    edge_codes: Int[Tensor, "edges edge_columns"]
    edge_numbers: Float[Tensor, "edges edge_numbers"]
    texts: list[Any]
    node_text: Int[Tensor, " nodes_or_none"]
    edge_text: Int[Tensor, " edges_or_none"]
    pairs: Int[Tensor, "coded coded"]
    bags: Ids | None = None
    features: Float[Tensor, " features"] | None = None


@dataclass(frozen=True)
class Preparation:
    """Turns graphs into examples.

    Args:
        nodes, edges: The columns of nodes and edges.
        directed: Whether an edge and its added reverse get different codes.
        text: The text adapter, if nodes or edges have texts.
        max_distance: Largest distance in steps with a code for itself; 0: no distances are computed.
    """

    nodes: Columns
    edges: Columns
    directed: bool
    text: Any
    max_distance: int = 0

    @property
    def pair_codes(self) -> int:
        """The number of codes for pairs of nodes: self, unreachable, each distance, each kind of edge."""
        return UNREACHABLE + self.max_distance + self._num_kinds if self.max_distance else 0

    @property
    def _num_kinds(self) -> int:
        """The number of kinds of edges: values of the first category column, twice if directed."""
        kinds = self.edges.sizes[0] if self.edges.sizes else 1
        kinds = 2 * kinds if self.directed else kinds
        return kinds if kinds > 1 else 0

    def whole(self, graph: Graph, walk_length: int) -> GraphExample:
        """One example that holds the whole graph."""
        codes, numbers = encoded(self.nodes, graph.nodes)
        texts = _different_texts(graph)
        edge_index, origin, reverse = both_ways(graph, self.edges, self.directed)
        edge_codes, edge_numbers = encoded(self.edges, graph.edges)
        if not graph.both_ways:
            edge_codes, edge_numbers = edge_codes[origin], edge_numbers[origin]
        if self.directed:
            way = sum(self.edges.sizes) + reverse.long()
            edge_codes = torch.cat([edge_codes, way.unsqueeze(1)], dim=1)
        walks = return_probabilities(edge_index, graph.nodes.count, walk_length)
        pairs = torch.zeros(0, 0, dtype=torch.short)
        if self.max_distance:
            kinds = self._kinds(edge_codes, reverse)
            pairs = pair_codes(edge_index, kinds, graph.nodes.count, self.max_distance)
        edge_text = _which(texts, graph.edges.texts)
        return GraphExample(
            names=graph.names,
            codes=codes,
            numbers=torch.cat([numbers, walks], dim=1),
            edge_index=edge_index,
            edge_codes=edge_codes,
            edge_numbers=edge_numbers,
            texts=[example for text in texts for example in self.text.prepare(text)],
            node_text=_which(texts, graph.nodes.texts),
            edge_text=edge_text[origin] if len(edge_text) else edge_text,
            pairs=pairs,
            bags=ids_of(self.nodes.encode_ids(graph.nodes)) if self.nodes.ids else None,
        )

    def _kinds(self, edge_codes: Tensor, reverse: Tensor) -> Tensor | None:
        if not self._num_kinds:
            return None
        sizes = self.edges.sizes
        way = reverse.long() * (sizes[0] if sizes else 1)
        return edge_codes[:, 0] + way if sizes else way

    def empty(self, walk_length: int) -> GraphExample:
        """A graph without nodes."""
        return self.whole(Graph(Rows(0), Rows(0), torch.zeros(2, 0, dtype=torch.long)), walk_length)


def both_ways(graph: Graph, edges: Columns, directed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All edges and their reverses, for each the number of the given edge, and whether it was added."""
    edge_index, added = with_reverses(graph, edges, directed)
    given = torch.arange(graph.edge_index.shape[1])
    origin = torch.cat([given, added])
    return edge_index, origin, torch.arange(len(origin)) >= len(given)


def with_reverses(graph: Graph, edges: Columns, directed: bool) -> tuple[Tensor, Tensor]:
    """All edges and the reverses that were missing, and the numbers of the edges that got one."""
    if graph.both_ways:
        return graph.edge_index, torch.zeros(0, dtype=torch.long)
    added = torch.arange(graph.edge_index.shape[1]) if directed else one_way(graph, edges)
    return torch.cat([graph.edge_index, graph.edge_index[:, added].flip(0)], dim=1), added


def encoded(columns: Columns, rows: Rows) -> tuple[Tensor, Tensor]:
    """Encode the rows. Raises ValueError for numbers so far from the mean that sums would overflow."""
    codes, numbers = columns.encode(rows)
    if not numbers.shape[1]:
        return codes, numbers
    far = ~(numbers.abs() <= FURTHEST)  # also catches NaN
    if far.any():
        row, column = far.nonzero()[0].tolist()
        names = [name for name, scale in columns.scales.items() for _ in scale.mean]
        raise ValueError(
            f"{columns.row} {row}: {names[column]} is {numbers[row, column].item():.0e} standard deviations "
            f"from the mean of the training graphs, expected at most {FURTHEST:.0e}; correct or leave out "
            "such numbers"
        )
    return codes, numbers


def one_way(graph: Graph, columns: Columns) -> Int[Tensor, " missing"]:
    """Numbers of the edges whose reverse, with the same features and text, is missing."""
    codes, numbers = columns.encode(graph.edges)
    attributes = torch.cat([codes.double(), numbers.double()], dim=1)
    if graph.edges.texts:
        text = _which(_different_texts(graph), graph.edges.texts)
        attributes = torch.cat([attributes, text.double().unsqueeze(1)], dim=1)
    return missing_reverses(graph.edge_index, attributes, graph.nodes.count)


def pack_graphs(graphs: Sequence[GraphExample]) -> dict[str, Tensor]:
    """Concatenate the rows of all graphs. Edges and texts get numbers that count through the batch."""
    names = ("codes", "numbers", "edge_codes", "edge_numbers")
    packed = {name: torch.cat([getattr(g, name) for g in graphs]) for name in names}
    edges = [g.edge_index for g in graphs]
    shift = _shift([len(g.codes) for g in graphs], [e.shape[1] for e in edges])
    packed["edge_index"] = torch.cat(edges, dim=1) + shift
    for name in ("node_text", "edge_text"):
        which = [getattr(g, name) for g in graphs]
        shift = _shift([len(g.texts) for g in graphs], [len(w) for w in which])
        packed[name] = torch.cat(which) + shift
    packed["pairs"] = torch.cat([g.pairs.flatten() for g in graphs])
    features = [g.features for g in graphs if g.features is not None]
    if features:
        packed["features"] = torch.stack(features)
        lengths = torch.tensor([len(g.codes) for g in graphs])
        packed["graph"] = torch.arange(len(graphs)).repeat_interleave(lengths)
    return packed | pack_ids([g.bags for g in graphs if g.bags is not None])


def bonds(example: GraphExample) -> list[tuple[int, int]]:
    """The two atoms of each bond of a molecule. Its edges are all bonds, then all of them reversed."""
    begins, ends = example.edge_index[:, : example.edge_index.shape[1] // 2].tolist()
    return list(zip(begins, ends, strict=True))


def reverses(graphs: Sequence[GraphExample]) -> Int[Tensor, " edges"]:
    """For each edge of a batch of molecules, the number of the one in the other direction."""
    halves = [g.edge_index.shape[1] // 2 for g in graphs]
    steps = torch.tensor([step for half in halves for step in (half, -half)], dtype=torch.long)
    steps = steps.repeat_interleave(torch.tensor(halves, dtype=torch.long).repeat_interleave(2))
    return torch.arange(len(steps)) + steps


def without_node(example: GraphExample, node: int) -> GraphExample:
    """The example without a node and its edges. Walks and distances stay those of the whole graph."""
    kept = torch.arange(len(example.codes)) != node
    edges = kept[example.edge_index].all(0)
    number = kept.cumsum(0) - 1
    names, pairs, bags = example.names, example.pairs, example.bags
    return replace(
        example,
        names=None if names is None else [*names[:node], *names[node + 1 :]],
        codes=example.codes[kept],
        numbers=example.numbers[kept],
        edge_index=number[example.edge_index[:, edges]],
        edge_codes=example.edge_codes[edges],
        edge_numbers=example.edge_numbers[edges],
        node_text=example.node_text[kept] if len(example.node_text) else example.node_text,
        edge_text=example.edge_text[edges] if len(example.edge_text) else example.edge_text,
        pairs=pairs[kept][:, kept] if len(pairs) else pairs,
        bags=None if bags is None else bags.rows(kept.nonzero()[:, 0]),
    )


def _different_texts(graph: Graph) -> dict[str, int]:
    every = [*(graph.nodes.texts or []), *(graph.edges.texts or [])]
    return {text: i for i, text in enumerate(dict.fromkeys(every))}


def _which(texts: Mapping[str, int], names: Sequence[str] | None) -> Tensor:
    return torch.tensor([texts[text] for text in names or []], dtype=torch.long)


def _shift(counts: Sequence[int], num_rows: Sequence[int]) -> Tensor:
    """For each row of each graph the offset to add: the sum of ``counts`` of all graphs before it."""
    before = torch.tensor([0, *counts[:-1]]).cumsum(0)
    return before.repeat_interleave(torch.tensor(num_rows))
