"""Nodes of large networks: each node becomes one short set, made from the features of its neighbourhood.

    set of node i = [x_i, mean of x at 1 hop, at 2 hops …, x of some neighbours] · W + place
    x             = [categories, numbers, which intervals of each number are filled, number of neighbours]
    heads see:      g · (vector of the node) + (1 - g) · sum over all vectors v of softmax(w · v) v

The intervals are those of Gorishniy and others 2022 (https://arxiv.org/abs/2203.05556); their mean over
neighbours is a histogram. The columns at each hop are spread as widely as those of the nodes themselves. The
means, and reading a set by attention, are those of NAGphormer (https://arxiv.org/abs/2206.04910).
Neighbours are sampled as in GraphSAGE (https://arxiv.org/abs/1706.02216). If a graph is small enough for
attention over all its nodes, use `multiseq.adapters.graph`, which makes one set of the whole graph.

Axes: nodes, columns, sets, places (the node, one per hop and direction, one for neighbours), dim.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.adapters._graph.bags import FOLDED, Ids, ids_of, pack_ids
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.items import Rows
from multiseq.adapters._graph.neighborhoods import (
    Neighbors,
    Network,
    NodeExample,
    Spread,
    gather,
    memory_needed,
    pack_nodes,
    spread_of,
)
from multiseq.adapters._graph.shown import show
from multiseq.adapters._graph.stem import HopStem
from multiseq.adapters._graph.training import (
    JSON_FORMS,
    aligned,
    check_item,
    check_kind,
    columns_of,
    content,
    learn,
    parse,
    read,
    stand_in,
    sums,
    word_bag,
)
from multiseq.checks import (
    MANY,
    WIDEST,
    check_number,
    check_whole_number,
    config_of,
    json_asset,
    reading,
    training_items,
)
from multiseq.nn.first_weights import repeatable
from multiseq.nn.pool import pool
from multiseq.protocols import Inputs, Level, Mark, Part
from multiseq.vectors import VectorSets

__all__ = ["NeighborhoodAdapter", "Network", "NodeExample"]

OPTIONS = ("kind", "dim", "num_hops", "num_neighbors", "directed", "dropout")
"""The constructor's arguments except the columns and their spread."""

OF_NETWORKS = ("num_hops", "num_neighbors", "directed")
"""The options that `prepare` depends on."""

BINS = 8
"""The most intervals of a column of numbers, unless told otherwise."""


class NeighborhoodAdapter(nn.Module):
    """Turns each node of a network and its neighbourhood into one set, for node classification.

    Build it from training networks with :meth:`fit`. An item is a network as `GraphAdapter` takes it: a
    torch-geometric `Data` or a table. The set of a node holds its features, then the averages of the
    features after 1, 2 … ``num_hops`` steps along the edges and, if ``directed``, also against them.
    :meth:`prepare` computes them once, so networks of any size train in mini-batches. The features are
    categories, numbers, ids and the number of neighbours. Of the averaged ids, each place keeps those 64 with
    the largest weights. Texts and features of edges are not possible.

    A mean hides which neighbours there are. With ``num_neighbors``, the set also holds so many neighbours
    themselves, and attention compares them. Of more, training draws others each time; a prediction takes
    always the same. Heads read the node's vector and a weighted mean of the set, each half at first; how much
    of each is learned. The mean helps where few nodes have labels.

    Args:
        kind: The kind of the items: "data", "hetero" or "table".
        nodes, edges: The columns (features) of nodes and edges; edges must have none.
        dim: Width of the vectors.
        num_hops: Steps that a neighbourhood reaches; 0: only the node itself.
        num_neighbors: The most neighbours in a set, for each direction if ``directed``; 0: none.
        directed: Whether edges differ from their reverses. If not, an edge may be given once or in both
            directions.
        dropout: Dropout probability of ids and vectors in the stem, in training only.
        spread: What makes the features of all places equally wide. None: they stay as they are.

    Raises:
        ValueError: Texts, features of edges, or an unknown kind.

    Example:
        >>> network = {"nodes": {"age": [20, 30, 50]}, "edges": [(0, 1), (1, 2)]}
        >>> adapter = NeighborhoodAdapter.fit([network], dim=8, num_hops=2, directed=False)
        >>> adapter(adapter.collate(adapter.prepare(network)))
        VectorSets(3 sets, 9 vectors of 8, unordered)
    """

    modality = "graph"
    kept = (Network, NodeExample, Ids, Neighbors)

    @repeatable
    def __init__(
        self,
        kind: str,
        nodes: Columns,
        edges: Columns,
        dim: int,
        *,
        num_hops: int = 2,
        num_neighbors: int = 0,
        directed: bool = True,
        dropout: float = 0.1,
        spread: Spread | None = None,
    ) -> None:
        super().__init__()
        check_kind(kind)
        check_whole_number("dim", dim, 1, WIDEST)
        check_whole_number("num_hops", num_hops, 0, MANY)
        check_whole_number("num_neighbors", num_neighbors, 0, MANY)
        check_number("dropout", dropout, 0.0, 1.0)
        _check_columns(nodes, edges)
        self.kind, self.nodes, self.edges, self.dim = kind, nodes, edges, dim
        self.num_hops, self.num_neighbors = num_hops, num_neighbors
        self.directed, self.dropout, self.spread = directed, dropout, spread
        self.ways = 2 if directed else 1
        width = sum(nodes.sizes) + nodes.width + self.ways  # the last columns hold the degrees
        places = 1 + (num_hops + (num_neighbors > 0)) * self.ways
        self.stem = HopStem(width, places, dim, dropout, nodes.num_ids)
        self.score = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # so that training begins with the mean
        self.gate = nn.Parameter(torch.zeros(1))

    @classmethod
    def fit(
        cls,
        items: Iterable[Any],
        *,
        dim: int,
        num_hops: int = 2,
        num_neighbors: int = 0,
        directed: bool | None = None,
        dropout: float = 0.1,
        bins: int = BINS,
    ) -> NeighborhoodAdapter:
        """Build an adapter that is ready to be trained. Vocabularies and scales come from training networks.

        Args:
            items: Training networks of one kind.
            dim: Width of the vectors.
            num_hops: As in the constructor.
            num_neighbors: As in the constructor.
            directed: As in the constructor. None: False if every edge has its reverse, otherwise True.
            dropout: As in the constructor.
            bins: The most intervals of a column of numbers; 0: none. Each is a column of its own, so eight of
                them take up to nine times the memory.

        Raises:
            ValueError: No items, items of two kinds, or an invalid item; the message gives its number.
        """
        check_whole_number("bins", bins, 0, MANY)
        items = list(training_items(items))
        learned = learn(items, directed, bins=bins)
        if learned.features is not None:
            raise ValueError("graphs: got features of whole molecules, expected none; use GraphAdapter")
        adapter = cls(
            learned.kind,
            learned.nodes,
            learned.edges,
            dim,
            num_hops=num_hops,
            num_neighbors=num_neighbors,
            directed=learned.directed,
            dropout=dropout,
        )
        graphs = (read(item, adapter.kind) for item in items)
        adapter.spread = spread_of(
            graphs, adapter.nodes, adapter.edges, num_hops=num_hops, directed=adapter.directed
        )
        return adapter

    # --- on the CPU, in loader workers ------------------------------------------------------------

    def prepare(self, item: Any) -> list[NodeExample]:
        """One example per node. All examples of a network share its tensors.

        Raises:
            ValueError: An invalid item (the message names the node or edge), or an item of another kind.
        """
        graph = read(item, self.kind)
        options: Any = {name: getattr(self, name) for name in OF_NETWORKS}
        network = gather(graph, self.nodes, self.edges, spread=self.spread, **options)
        return [NodeExample(network, node) for node in range(graph.nodes.count)]

    def memory_needed(self, item: Any) -> int:
        """About how many bytes :meth:`prepare` takes at most. Raises ValueError for an invalid item."""
        graph = read(item, self.kind)
        return memory_needed(graph, self.nodes, self.num_hops, self.num_neighbors, directed=self.directed)

    def augment(self, example: NodeExample, generator: torch.Generator) -> NodeExample:
        """Draw which neighbours the set holds, if there may be some."""
        if not self.num_neighbors:
            return example
        return replace(example, draws=torch.rand(self.ways, self.num_neighbors, generator=generator))

    def num_vectors(self, example: NodeExample) -> int:
        """The number of vectors in the set: the node itself, one per hop and direction, and neighbours."""
        return int(example.network.lengths[example.node])

    def align(self, labels: Any, example: NodeExample) -> list[Any]:
        """The label of this node. ``labels`` has one label per node of the network."""
        return aligned(labels, len(example.network.features), self.kind, example.node)

    def names(self, example: NodeExample) -> list[str]:
        """The name of the node, or its number if nodes have no names."""
        names = example.network.names
        return [names[example.node] if names else str(example.node)]

    def collate(self, examples: Sequence[NodeExample]) -> Inputs:
        """Pack the gathered features of all examples and of their neighbours."""
        if not examples:
            none = [ids_of(self.nodes.encode_ids(Rows(0)))] if self.nodes.ids else []
            empty = {"features": torch.zeros(0, self.stem.width), "places": torch.zeros(0, dtype=torch.long)}
            return Inputs([], {**empty, **pack_ids(none)})
        packed = pack_nodes(examples, self.num_neighbors)
        tensors = {"features": packed.features, "places": packed.places, **pack_ids(packed.bags)}
        return Inputs(packed.lengths, tensors)

    # --- for `multiseq.training.item_cache` ----------------------------------------------------------------

    def prepared_by(self) -> dict[str, Any]:
        """The settings that the result of `prepare` depends on, with vocabularies and scales."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in OF_NETWORKS}, **self._learned()}

    def content(self, item: Any) -> Any:
        """The item; for a torch-geometric `Data` only the attributes that the adapter reads."""
        return content(item, self.kind)

    # --- for the command line and baselines --------------------------------------------------------

    @property
    def one_per_line(self) -> bool:
        """True for networks, whose nodes are named by the user."""
        return self.kind in ("data", "hetero", "table")

    @property
    def json_form(self) -> str:
        """An example of a graph in JSON, for messages."""
        return JSON_FORMS[self.kind]

    def parse(self, text: str, folder: Path) -> Any:
        """Parse an argument of the command line: JSON, or the path of a ``.json`` file."""
        return parse(text, folder, self.kind)

    def is_item(self, value: Mapping[str, Any]) -> bool:
        """True if the mapping has the key "nodes": then it is a table, which is a graph."""
        return "nodes" in value

    @staticmethod
    def check_item(item: Any) -> None:
        """Raise ValueError if an item is not a graph of any kind."""
        check_item(item)

    @staticmethod
    def stand_in(item: Any) -> str:
        """A short stand-in for a graph in an example of a command."""
        return stand_in(item)

    def reader_options(self) -> dict[str, Any]:
        """What each column holds, as in training."""
        return {"kinds": {"nodes": self.nodes.kinds, "edges": self.edges.kinds}}

    def show(
        self, item: Any, examples: Sequence[NodeExample], marks: Sequence[Mark], focus: int | None
    ) -> list[Part]:
        """The drawing of a molecule, the facts of triples, or the surroundings of a node."""
        return show(item, self.kind, marks, focus, len(examples))

    def baseline_vectors(self, example: NodeExample) -> list[Any]:
        """The features of the node without its neighbours: the first place of its set."""
        features, bags = example.network.features, example.network.bags
        seen = features[example.node, 0].numpy()
        if bags is not None:
            of_node = bags.rows(torch.tensor([example.node * features.shape[1]]))
            seen = np.append(seen, of_node.folded(self.nodes.num_ids)[0])
        return [seen]

    def baseline_item(self, item: Any, examples: Sequence[NodeExample], level: Level) -> Any:
        """Nodes counted by category, and sums of their numbers; words of the nodes for sequences."""
        if level == "sequence":
            return word_bag(item, [name for example in examples for name in self.names(example)])
        rows = [row for example in examples for row in self.baseline_vectors(example)]
        return sums(rows, self.stem.width + min(self.nodes.num_ids, FOLDED))

    # --- on the device ----------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One unordered set per node, of vectors of width ``dim``."""
        return VectorSets(self.stem(inputs.tensors), inputs.lengths)

    def read(self, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """One vector per node: its own, and a mean of its set that is weighted by attention."""
        scores: Float[Tensor, " vectors"] = self.score(sets.values)[:, 0]
        own, mean = sets.first().values, pool(sets, "attention", scores)
        return VectorSets(torch.lerp(mean, own, self.gate.sigmoid().to(own.dtype)), [1] * sets.num_sets)

    # --- to disk and back -------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments except the columns."""
        return {name: getattr(self, name) for name in OPTIONS}

    def assets(self) -> dict[str, str]:
        """``columns.json`` with vocabularies and scales."""
        columns = {**self._learned(), "edges": self.edges.to_json()}
        return {"columns.json": json.dumps(columns, ensure_ascii=False)}

    def _learned(self) -> dict[str, Any]:
        spread = None if self.spread is None else self.spread.to_json()
        return {"nodes": self.nodes.to_json(), "spread": spread}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> NeighborhoodAdapter:
        """Rebuild the adapter from :meth:`config` and :meth:`assets`. Its weights are new."""
        options = config_of(config, OPTIONS)
        nodes, edges = columns_of(assets)
        spread = json_asset(assets, "columns.json", lambda given: given.get("spread"))
        with reading("config"):
            spread = None if spread is None else Spread.from_json(spread)
            return cls(nodes=nodes, edges=edges, spread=spread, **options)


def _check_columns(nodes: Columns, edges: Columns) -> None:
    if nodes.text or edges.text:
        raise ValueError(
            "graphs: got texts, expected categories and numbers of nodes only; use GraphAdapter for texts"
        )
    if edges.sizes or edges.width:
        raise ValueError(
            "graphs: got features or several types of edges, which the sets of nodes cannot hold; leave them "
            "out or use GraphAdapter"
        )
