"""From a graph as it was read to an example for each of its nodes, and from examples to a batch.

Axes: nodes, columns, sets, places (of a node set).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.examples import both_ways, encoded
from multiseq.adapters._graph.items import Graph
from multiseq.adapters._graph.structure import gather_hops

__all__ = ["Network", "NodeExample", "gather", "pack_nodes"]

MOST_VALUES = 1 << 30
"""Of the categories of all node sets of a graph, as ones and zeros: 4 GiB."""


@dataclass(frozen=True, eq=False)
class Network:
    """A graph in node sets: the features gathered for every node, shared by its examples."""

    names: list[str] | None
    features: Float[Tensor, "nodes places columns"]


@dataclass(frozen=True, eq=False)
class NodeExample:
    """One node of a network, with what was gathered around it."""

    network: Network
    node: int


def gather(graph: Graph, nodes: Columns, edges: Columns, num_hops: int, directed: bool) -> Network:
    """The features of every node and of its neighbourhood.

    How many neighbours *n* a node has rides along as ``log(1 + n)`` (out and in, where edges are directed),
    because a mean cannot count.

    Raises:
        ValueError: Edge features; so many categories that their ones and zeros would not fit into memory.
    """
    ways = 2 if directed else 1
    _check_categories(nodes, graph.nodes.count * (1 + num_hops * ways))
    codes, numbers = encoded(nodes, graph.nodes)
    edges.encode(graph.edges)  # complains about edge features, which the training graphs lack
    one_hot = torch.zeros(len(codes), sum(nodes.sizes)).scatter_(1, codes, 1.0)
    edge_index = graph.edge_index if directed else both_ways(graph, edges, directed)[0]
    ends = edge_index if directed else edge_index[:1]
    degrees = [torch.bincount(end, minlength=len(codes)).float().log1p() for end in ends]
    features = torch.cat([one_hot, numbers, torch.stack(degrees, dim=1)], dim=1)
    return Network(graph.names, gather_hops(features, edge_index, num_hops, reverses=directed))


def _check_categories(nodes: Columns, rows: int) -> None:
    """Every value of a category is a column of ones and zeros in a node set."""
    if rows * sum(nodes.sizes) > MOST_VALUES:
        names, sizes = list(nodes.vocabularies or {}), nodes.sizes
        most = max(range(len(sizes)), key=sizes.__getitem__)
        raise ValueError(
            f"num_hops: got {sum(sizes) - len(sizes)} different values of categories in {rows} rows of node "
            f"sets, {sizes[most] - 1} of them in {names[most]!r}, expected fewer than "
            f"{MOST_VALUES // max(rows, 1)}; leave out what names each node (an id), or use GraphAdapter"
        )


def pack_nodes(examples: Sequence[NodeExample]) -> Float[Tensor, "sets places columns"]:
    """What was gathered for the nodes of the batch, one indexing for each network in a row."""
    runs = [list(run) for _, run in groupby(examples, key=lambda e: id(e.network))]
    return torch.cat([run[0].network.features[[e.node for e in run]] for run in runs])
