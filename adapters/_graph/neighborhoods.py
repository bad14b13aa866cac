"""Turn a graph into one example per node, and pack examples into a batch.

Axes: nodes, columns, sets, places (the node itself, then one per hop and direction).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from multiseq.adapters._graph.bags import Ids, ids_of
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.examples import both_ways, encoded
from multiseq.adapters._graph.items import Graph
from multiseq.adapters._graph.structure import gather_bags, gather_hops
from multiseq.requires import need

__all__ = ["Network", "NodeExample", "gather", "pack_nodes"]

MOST_IDS = 64
"""Ids that are kept of the mean of a neighbourhood: those with the largest weights. See decision 26."""

MOST_VALUES = 1 << 30
"""Most values of all one-hot categories in all node sets of a graph: 4 GiB."""


@dataclass(frozen=True, eq=False)
class Network:
    """A graph as node sets: the gathered features of every node. All examples of the graph share them."""

    names: list[str] | None
    features: Float[Tensor, "nodes places columns"]
    bags: Ids | None = None
    """The ids of each place of the first node, then of the second …; None without columns of ids."""


@dataclass(frozen=True, eq=False)
class NodeExample:
    """One node of a network: the network and the number of the node in it."""

    network: Network
    node: int


def gather(graph: Graph, nodes: Columns, edges: Columns, num_hops: int, directed: bool) -> Network:
    """Gather the features of every node and of its neighbourhood.

    ``log(1 + n)`` is a further feature of a node with *n* neighbours, because a mean cannot count. Directed
    graphs have two such features, for outgoing and incoming edges.

    Raises:
        ValueError: Edge features, or so many categories that their one-hot columns would not fit into memory.
    """
    ways = 2 if directed else 1
    _check_categories(nodes, graph.nodes.count * (1 + num_hops * ways))
    codes, numbers = encoded(nodes, graph.nodes)
    edges.encode(graph.edges)  # raises an error if there are edge features
    one_hot = torch.zeros(len(codes), sum(nodes.sizes)).scatter_(1, codes, 1.0)
    edge_index = graph.edge_index if directed else both_ways(graph, edges, directed)[0]
    ends = edge_index if directed else edge_index[:1]
    degrees = [torch.bincount(end, minlength=len(codes)).float().log1p() for end in ends]
    features = torch.cat([one_hot, numbers, torch.stack(degrees, dim=1)], dim=1)
    gathered = gather_hops(features, edge_index, num_hops, reverses=directed)
    return Network(graph.names, gathered, _gathered_ids(graph, nodes, edge_index, num_hops, directed))


def _gathered_ids(
    graph: Graph, nodes: Columns, edge_index: Tensor, num_hops: int, directed: bool
) -> Ids | None:
    if not nodes.ids:
        return None
    given = nodes.encode_ids(graph.nodes)
    places = gather_bags(given, edge_index, num_hops, reverses=directed, most=MOST_IDS)
    node_major = np.arange(len(places) * graph.nodes.count).reshape(len(places), -1).T.ravel()
    return ids_of(need("scipy.sparse").vstack(places, format="csr")[node_major])


def _check_categories(nodes: Columns, num_rows: int) -> None:
    """Each value of a category needs one one-hot column. Raises ValueError if that needs too much memory."""
    if num_rows * sum(nodes.sizes) > MOST_VALUES:
        names, sizes = list(nodes.vocabularies or {}), nodes.sizes
        most = max(range(len(sizes)), key=sizes.__getitem__)
        raise ValueError(
            f"num_hops: got {sum(sizes) - len(sizes)} different values of categories in {num_rows} rows of "
            f"node sets, {sizes[most] - 1} of them in {names[most]!r}, expected fewer than "
            f"{MOST_VALUES // max(num_rows, 1)}; leave out a column that names each node (an id), or use "
            "GraphAdapter"
        )


def pack_nodes(examples: Sequence[NodeExample]) -> tuple[Float[Tensor, "sets places columns"], list[Ids]]:
    """The gathered features and ids of all nodes of a batch.

    Consecutive nodes of a network are indexed at once.
    """
    features, bags = [], []
    for _, run in groupby(examples, key=lambda e: id(e.network)):
        nodes = list(run)
        network, numbers = nodes[0].network, torch.tensor([e.node for e in nodes])
        features.append(network.features[numbers])
        if network.bags is not None:
            places = network.features.shape[1]
            bags.append(network.bags.rows((numbers[:, None] * places + torch.arange(places)).flatten()))
    return torch.cat(features), bags
