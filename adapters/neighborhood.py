"""Nodes of large networks: one short set for each node, of what is gathered in its neighbourhood.

    set of node i = [x_i, mean of x at 1 hop, at 2 hops …] · W + place

After NAGphormer (https://arxiv.org/abs/2206.04910). A graph that is small enough to attend over whole is one
set: `multiseq.adapters.graph`. Axes: nodes, columns, sets, places, dim.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.neighborhoods import Network, NodeExample, gather, pack_nodes
from multiseq.adapters._graph.stem import HopStem
from multiseq.adapters._graph.training import (
    JSON_FORMS,
    aligned,
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
from multiseq.checks import MANY, WIDEST, check_number, check_whole_number, config_of, reading
from multiseq.protocols import Inputs, Level
from multiseq.vectors import VectorSets

__all__ = ["NeighborhoodAdapter", "Network", "NodeExample"]

OPTIONS = ("kind", "dim", "num_hops", "directed", "dropout")
"""The constructor's arguments but columns."""


class NeighborhoodAdapter(nn.Module):
    """Each node of a network with its neighbourhood as a set; build it from networks with :meth:`fit`.

    An item is a network as `GraphAdapter` takes it: a torch-geometric `Data` or a table. The set of a node
    holds its features and those averaged over 1, 2 … ``num_hops`` steps along the edges (and against them,
    where edges are directed). All are computed once, in :meth:`prepare`, so sets train in mini-batches on
    networks of any size. They hold categories, numbers and how many neighbours a node has; they cannot hold
    texts and features of edges. Heads read the vector of the node itself.

    Args:
        kind: What the items are: "data" or "table".
        nodes, edges: What the columns hold; those of edges are none.
        dim: Width of the vectors.
        num_hops: Steps that a neighbourhood reaches; 0: the node alone.
        directed: Whether edges differ from their reverses. If not, an edge may be given once or both ways.
        dropout: Probability of dropping an entry of a vector in the stem, in training only.

    Raises:
        ValueError: Texts or features of edges; an unknown kind.

    Example:
        >>> network = {"nodes": {"age": [20, 30, 50]}, "edges": [(0, 1), (1, 2)]}
        >>> adapter = NeighborhoodAdapter.fit([network], dim=8, num_hops=2, directed=False)
        >>> adapter(adapter.collate(adapter.prepare(network)))
        VectorSets(3 sets, 9 vectors of 8, unordered)
    """

    modality = "graph"
    kept = (Network, NodeExample)

    def __init__(
        self,
        kind: str,
        nodes: Columns,
        edges: Columns,
        dim: int,
        *,
        num_hops: int = 2,
        directed: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_kind(kind)
        check_whole_number("dim", dim, 1, WIDEST)
        check_whole_number("num_hops", num_hops, 0, MANY)
        check_number("dropout", dropout, 0.0, 1.0)
        _check_columns(nodes, edges)
        self.kind, self.nodes, self.edges, self.dim = kind, nodes, edges, dim
        self.num_hops, self.directed, self.dropout = num_hops, directed, dropout
        ways = 2 if directed else 1
        width = sum(nodes.sizes) + nodes.width + ways  # with the degrees
        self.stem = HopStem(width, 1 + num_hops * ways, dim, dropout)

    @classmethod
    def fit(
        cls,
        items: Iterable[Any],
        *,
        dim: int,
        num_hops: int = 2,
        directed: bool | None = None,
        dropout: float = 0.1,
    ) -> NeighborhoodAdapter:
        """An adapter with vocabularies and scales of the training networks; ready to be trained.

        Args:
            items: Training networks of one kind, read once.
            dim: Width of the vectors.
            num_hops: As in the constructor.
            directed: None finds out: where every edge has its reverse, edges are not directed.
            dropout: Of the stem.

        Raises:
            ValueError: No items, items of two kinds, or a bad item; it is numbered.
        """
        learned = learn(items, directed)
        options: Any = {"num_hops": num_hops, "directed": learned.directed, "dropout": dropout}
        return cls(learned.kind, learned.nodes, learned.edges, dim, **options)

    # --- on the CPU, in loader workers ------------------------------------------------------------

    def prepare(self, item: Any) -> list[NodeExample]:
        """One example for each node; they share one tensor.

        Raises:
            ValueError: A bad item, with the node or edge; an item of another kind.
        """
        graph = read(item, self.kind)
        network = gather(graph, self.nodes, self.edges, self.num_hops, self.directed)
        return [NodeExample(network, node) for node in range(graph.nodes.count)]

    def augment(self, example: NodeExample, generator: torch.Generator) -> NodeExample:
        """The example as it is: the dropout of the stem has to do."""
        return example

    def num_vectors(self, example: NodeExample) -> int:
        """How many places the set has: the node itself, and each hop."""
        return int(example.network.features.shape[1])

    def align(self, labels: Any, example: NodeExample) -> list[Any]:
        """The label of this node, out of one for each node of the network."""
        return [aligned(labels, len(example.network.features), self.kind)[example.node]]

    def names(self, example: NodeExample) -> list[str]:
        """What the node is called, or its number."""
        names = example.network.names
        return [names[example.node] if names else str(example.node)]

    def collate(self, examples: Sequence[NodeExample]) -> Inputs:
        """Pack what was gathered for each node."""
        features = pack_nodes(examples) if examples else torch.zeros(0, *self.stem.shape)
        return Inputs([self.num_vectors(e) for e in examples], {"features": features})

    # --- for `multiseq.training.item_cache` ----------------------------------------------------------------

    def prepared_by(self) -> dict[str, Any]:
        """What `prepare` depends on besides the graph: vocabularies and scales of the training graphs too."""
        names = ("kind", "num_hops", "directed")
        return {**{name: getattr(self, name) for name in names}, "nodes": self.nodes.to_json()}

    def content(self, item: Any) -> Any:
        """The item, of a torch-geometric `Data` all that is read of it."""
        return content(item, self.kind)

    # --- for the command line and baselines --------------------------------------------------------

    @property
    def json_form(self) -> str:
        """A graph in JSON, for messages."""
        return JSON_FORMS[self.kind]

    def parse(self, text: str, folder: Path) -> Any:
        """JSON, or the path of a ``.json`` file."""
        return parse(text, folder, self.kind)

    def is_item(self, value: Mapping[str, Any]) -> bool:
        """A table of nodes is a graph itself."""
        return "nodes" in value

    @staticmethod
    def stand_in(item: Any) -> str:
        """What to show in place of a graph that nobody can type."""
        return stand_in(item)

    def reader_options(self) -> dict[str, Any]:
        """Which columns hold numbers, as in training."""
        return {"numeric": {"nodes": self.nodes.numeric, "edges": self.edges.numeric}}

    def baseline_vectors(self, example: NodeExample) -> list[Any]:
        """The node's own features, the first place of its set."""
        return [example.network.features[example.node, 0].numpy()]

    def baseline_item(self, item: Any, examples: Sequence[NodeExample], level: Level) -> Any:
        """Counts of nodes by category, and sums of their numbers; for texts, the words of nodes."""
        if level == "sequence":
            return word_bag(item, [name for example in examples for name in self.names(example)])
        rows = [row for example in examples for row in self.baseline_vectors(example)]
        return sums(rows, self.stem.shape[1])

    # --- on the device ----------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One set of ``dim``-wide vectors for each node, without positions."""
        return VectorSets(self.stem(inputs.tensors["features"]).flatten(0, 1), inputs.lengths)

    def read(self, sets: VectorSets) -> VectorSets:
        """The node itself, the first vector of its set."""
        return sets.first()

    # --- to disk and back -------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments without the columns."""
        return {name: getattr(self, name) for name in OPTIONS}

    def assets(self) -> dict[str, str]:
        """``columns.json``: vocabularies and scales."""
        columns = {"nodes": self.nodes.to_json(), "edges": self.edges.to_json()}
        return {"columns.json": json.dumps(columns, ensure_ascii=False)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> NeighborhoodAdapter:
        """The inverse of :meth:`config` and :meth:`assets`, weights aside."""
        options = config_of(config, OPTIONS)
        nodes, edges = columns_of(assets)
        with reading("config"):
            return cls(nodes=nodes, edges=edges, **options)


def _check_columns(nodes: Columns, edges: Columns) -> None:
    if nodes.text or edges.text:
        raise ValueError(
            "graphs: got texts, expected categories and numbers of nodes only; use GraphAdapter for texts"
        )
    if edges.sizes or edges.width:
        raise ValueError(
            "graphs: got features of edges, which the sets of nodes cannot hold; leave them out or use "
            "GraphAdapter"
        )
