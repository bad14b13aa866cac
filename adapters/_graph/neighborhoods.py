"""Turn a graph into one example per node, and pack examples into a batch.

    x_k <- (x_k - mean_k) std_0 / std_k      at k hops, for each column

Means vary less than what they are the means of. So those of each place are spread as widely as the features
of the nodes themselves; without that, training hardly sees the far ones.

Axes: nodes, columns, sets, vectors, places (the node itself, one per hop and direction, its neighbours in one
direction), ways (along the edges, and against them if they are directed), chosen (neighbours of a set).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multiseq.adapters._graph.bags import Ids, ids_of
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.examples import encoded, with_reverses
from multiseq.adapters._graph.items import Graph
from multiseq.adapters._graph.structure import gather_bags, gather_hops
from multiseq.requires import need
from multiseq.system.memory import memory

__all__ = [
    "Neighbors",
    "Network",
    "NodeExample",
    "Packed",
    "Spread",
    "gather",
    "memory_needed",
    "pack_nodes",
    "spread_of",
]

MOST_IDS = 64
"""Ids that are kept of the mean of a neighbourhood: those with the largest weights. See decision 26."""

MOST_SPREAD = 1000.0
"""The most that the features of a place are spread. Those that differ less are rounding errors."""

AT_ONCE = 64
"""Columns whose spread is measured at once, so that this takes less memory than preparing."""

MOST_VALUES = 1 << 30
"""Most values of all one-hot categories in all node sets of a graph: 4 GiB."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The neighbours in one direction: those of node *i* are ``nodes[starts[i] : starts[i + 1]]``."""

    starts: Int[Tensor, " nodes_and_one"]
    nodes: Int[Tensor, " edges"]

    def some(
        self, of: Int[Tensor, " sets"], draws: Float[Tensor, "sets chosen"]
    ) -> tuple[Int[Tensor, "sets chosen"], Bool[Tensor, "sets chosen"]]:
        """Choose neighbours of some nodes: all, or one out of each of as many equal parts as there are draws.

        Args:
            of: Numbers of nodes.
            draws: Which neighbour of its part, from 0 (the first) to 1 (the last).

        Returns:
            The numbers of the neighbours, and True where there is one: the first columns of a row.
        """
        first, count = self.starts[of, None], (self.starts[of + 1] - self.starts[of])[:, None]
        most = draws.shape[1]
        parts, part = count.clamp(min=1, max=most), torch.arange(most)
        low, high = part * count // parts, (part + 1) * count // parts
        there = part < count
        place = first + low + (draws * (high - low)).long()
        chosen = torch.zeros_like(place)
        chosen[there] = self.nodes[place[there]].long()
        return chosen, there


@dataclass(frozen=True, eq=False)
class Spread:
    """What makes the features of all places equally wide, from the training networks."""

    means: Float[Tensor, "places columns"]
    factors: Float[Tensor, "places columns"]

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain JSON values."""
        return {"means": self.means.tolist(), "factors": self.factors.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Spread:
        """Rebuild it from :meth:`to_json`."""
        return cls(torch.tensor(values["means"]), torch.tensor(values["factors"]))


@dataclass(frozen=True, eq=False)
class Network:
    """A graph as node sets: the gathered features of every node. All examples of the graph share them."""

    names: list[str] | None
    features: Float[Tensor, "nodes places columns"]
    lengths: Int[Tensor, " nodes"]
    """Vectors of the set of each node."""
    bags: Ids | None = None
    """The ids of each place of the first node, then of the second …; None without columns of ids."""
    neighbors: tuple[Neighbors, ...] = ()
    """For each way. Empty if sets hold no neighbours."""


@dataclass(frozen=True, eq=False)
class NodeExample:
    """One node of a network: the network and the number of the node in it."""

    network: Network
    node: int
    draws: Float[Tensor, "ways chosen"] | None = None
    """Which neighbours the set holds, if there are more. None: those in the middle of each part."""


@dataclass(frozen=True, eq=False)
class Packed:
    """The node sets of a batch."""

    lengths: list[int]
    features: Float[Tensor, "vectors columns"]
    places: Int[Tensor, " vectors"]
    bags: list[Ids]


def gather(
    graph: Graph,
    nodes: Columns,
    edges: Columns,
    *,
    num_hops: int,
    num_neighbors: int,
    directed: bool,
    spread: Spread | None = None,
) -> Network:
    """Gather the features of every node and of its neighbourhood.

    ``log(1 + n)`` is a further feature of a node with *n* neighbours, because a mean cannot count. Directed
    graphs have two such features, for outgoing and incoming edges. ``spread`` is applied to the features.

    Raises:
        ValueError: Edge features, or so many categories that their one-hot columns would not fit into memory.
    """
    ways = 2 if directed else 1
    num_places = 1 + num_hops * ways
    _check_categories(nodes, graph.nodes.count * num_places)
    _check_memory(
        graph, nodes, num_places, memory_needed(graph, nodes, num_hops, num_neighbors, directed=directed)
    )
    features, edge_index = _features(graph, nodes, edges, directed)
    gathered = gather_hops(features, edge_index, num_hops, reverses=directed)
    if spread is not None:
        gathered.sub_(spread.means).mul_(spread.factors)
    neighbors = _neighbors(edge_index, len(features), ways) if num_neighbors else ()
    lengths = torch.full((len(features),), gathered.shape[1])
    for way in neighbors:
        lengths += way.starts.diff().clamp(max=num_neighbors)
    bags = _gathered_ids(graph, nodes, edge_index, num_hops, directed)
    return Network(graph.names, gathered, lengths, bags, neighbors)


def _features(graph: Graph, nodes: Columns, edges: Columns, directed: bool) -> tuple[Tensor, Tensor]:
    """The features of each node, with the number of its neighbours, and the edges to go along."""
    codes, numbers = encoded(nodes, graph.nodes)
    edges.encode(graph.edges)  # raises an error if there are edge features
    one_hot = torch.zeros(len(codes), sum(nodes.sizes)).scatter_(1, codes, 1.0)
    edge_index = graph.edge_index if directed else with_reverses(graph, edges, directed)[0]
    ends = edge_index if directed else edge_index[:1]
    degrees = [torch.bincount(end, minlength=len(codes)).float().log1p() for end in ends]
    return torch.cat([one_hot, numbers, torch.stack(degrees, dim=1)], dim=1), edge_index


def spread_of(
    graphs: Iterable[Graph], nodes: Columns, edges: Columns, *, num_hops: int, directed: bool
) -> Spread | None:
    """The spread of training graphs; None if they have no nodes. A few columns at once are gathered.

    Raises:
        ValueError: As in :func:`gather`.
    """
    counts, variances, averages = [], [], []
    for graph in graphs:
        _check_categories(nodes, graph.nodes.count * (1 + num_hops * (2 if directed else 1)))
        features, edge_index = _features(graph, nodes, edges, directed)
        if len(features):
            found = [
                torch.var_mean(
                    gather_hops(some, edge_index, num_hops, reverses=directed), dim=0, correction=0
                )
                for some in features.split(AT_ONCE, dim=1)
            ]
            counts.append(len(features))
            variances.append(torch.cat([variance for variance, _ in found], dim=1).double())
            averages.append(torch.cat([average for _, average in found], dim=1).double())
    if not counts:
        return None
    share = torch.tensor(counts, dtype=torch.float64)[:, None, None] / sum(counts)
    variance, average = torch.stack(variances), torch.stack(averages)
    means = (share * average).sum(0)
    deviations = ((share * (variance + average.square())).sum(0) - means.square()).clamp(min=0.0).sqrt()
    factors = deviations[:1] / deviations
    differ = (factors <= MOST_SPREAD) & (deviations[:1] > 0)
    return Spread(means.float(), torch.where(differ, factors, 1.0).float())


def _neighbors(edge_index: Tensor, num_nodes: int, ways: int) -> tuple[Neighbors, ...]:
    found = []
    for source, target in (edge_index, edge_index.flip(0))[:ways]:
        order = torch.argsort(source * num_nodes + target)
        starts = torch.bincount(source, minlength=num_nodes).cumsum(0)
        found.append(Neighbors(torch.cat([torch.zeros(1, dtype=torch.long), starts]), target[order].int()))
    return tuple(found)


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


def memory_needed(graph: Graph, nodes: Columns, num_hops: int, num_neighbors: int, *, directed: bool) -> int:
    """About how many bytes `gather` takes at most.

    The constants fit what was measured for 0.3 to 1 million nodes and 1 to 10 million edges. Encoding takes
    several times the memory of the features, and sorting edges several times that of the edges.
    """
    ways = 2 if directed else 1
    width, num_places = sum(nodes.sizes) + nodes.width + ways, 1 + num_hops * ways
    a_node = 4 * width * (num_places + 7) + 100 + (16 * MOST_IDS * num_places if nodes.ids else 0)
    an_edge = 110 if num_neighbors else 80
    return graph.nodes.count * a_node + graph.edge_index.shape[1] * an_edge


def _check_memory(graph: Graph, nodes: Columns, num_places: int, needed: int) -> None:
    """Raise ValueError if node sets need more than the memory of this machine."""
    limit = memory()
    if limit is not None and needed > limit:
        raise ValueError(
            f"num_hops: to prepare the sets of {graph.nodes.count:,} nodes, with {num_places} places of "
            f"{sum(nodes.sizes) + nodes.width:,} columns each, takes about {needed / 2**30:,.0f} GiB; this "
            f"machine has {limit / 2**30:,.0f} GiB of memory. Take fewer hops or columns, no intervals "
            "of numbers (bins = 0), or give columns with few values in each row as a column of ids"
        )


def pack_nodes(examples: Sequence[NodeExample], num_neighbors: int) -> Packed:
    """The sets of all examples: the places of the node, then its neighbours.

    Consecutive nodes of a network are indexed at once.
    """
    lengths, features, places, bags = [], [], [], []
    for _, run in groupby(examples, key=lambda e: id(e.network)):
        nodes = list(run)
        network, numbers = nodes[0].network, torch.tensor([e.node for e in nodes])
        own = torch.arange(network.features.shape[1])
        row = [numbers[:, None] * len(own) + own]  # of the features, flattened
        there = [torch.ones(len(nodes), len(own), dtype=torch.bool)]
        place = [own.expand(len(nodes), -1)]
        middle = torch.full((len(network.neighbors), num_neighbors), 0.5)
        draws = torch.stack([middle if e.draws is None else e.draws for e in nodes])
        for number, way in enumerate(network.neighbors):
            chosen, exists = way.some(numbers, draws[:, number])
            row.append(chosen * len(own))
            there.append(exists)
            place.append(torch.full_like(chosen, len(own) + number))
        exists = torch.cat(there, dim=1)
        rows = torch.cat(row, dim=1)[exists]
        lengths += exists.sum(1).tolist()
        features.append(network.features.flatten(0, 1)[rows])
        places.append(torch.cat(place, dim=1)[exists])
        if network.bags is not None:
            bags.append(network.bags.rows(rows))
    return Packed(lengths, torch.cat(features), torch.cat(places), bags)
