"""Graphs: molecules, networks and triples as sets of nodes, which have no order.

    nodes = message_passing(embed(categories, numbers, texts, walks), edges)

A graph is one set, or, where it is too large to attend over whole, one short set for each of its
nodes (`num_hops`). Axes: nodes, edges, pair (source and target), columns, sets, places, dim.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.examples import (
    GraphExample,
    Network,
    NodeExample,
    Preparation,
    one_way,
    pack_graphs,
    pack_nodes,
)
from multiseq.adapters._graph.items import (
    DATA_NAMES,
    Graph,
    dense,
    is_sparse,
    kind_of,
    read_data,
    read_table,
    read_triples,
)
from multiseq.adapters._graph.molecules import read_molecule
from multiseq.adapters._graph.stem import HopStem, MessageStem, RowEmbedding
from multiseq.adapters.text import TextExample
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
from multiseq.pairs import Pairs
from multiseq.protocols import Inputs
from multiseq.vectors import VectorSets

__all__ = ["GraphAdapter", "GraphExample", "Network", "NodeExample"]

MOST_NODES = 4096
"""Of a graph whose distances are wanted: they cost two bytes a pair, and attention that uses them more."""

MOST_CODES = 32767
"""For pairs of nodes: codes have 16 bits."""

OPTIONS = (
    "kind",
    "dim",
    "num_hops",
    "num_layers",
    "walk_length",
    "max_distance",
    "directed",
    "dropout",
    "edge_dropout",
)
"""The constructor's arguments but columns and text."""

READERS: dict[str, Callable[[Any], Graph]] = {
    "molecule": read_molecule,
    "data": read_data,
    "table": read_table,
    "triples": read_triples,
}


class GraphAdapter(nn.Module):
    """Graphs as sets of nodes; build it from training graphs with :meth:`fit`.

    An item is one of (an adapter takes one kind only):

    - a SMILES string: one vector an atom;
    - a torch-geometric `Data`: `x` (float: numbers, integers: categories), `x_category`, `text` (a
      list of strings), `edge_index`, `edge_attr`, `edge_category`, `edge_weight`, `edge_text`;
    - a table ``{"nodes": {column: values}, "edges": [(source, target)], "edge_columns": {column:
      values}}``, where strings are categories and numbers numbers;
    - a list of (subject, relation, object) strings: one vector an entity, in order of appearance,
      then one a triple.

    With ``num_hops=K`` each node becomes a set of its own: its features and those averaged over 1, 2 …
    K steps along the edges (and as many against them, where edges are directed), computed once in
    `prepare`. Such node sets train in mini-batches on graphs of any size. They hold category and
    number features and degrees; texts and edge features they cannot hold.

    Args:
        kind: What the items are: "molecule", "data", "table" or "triples".
        nodes, edges: What the columns hold.
        dim: Width of the vectors.
        text: The stem of nodes and edges that are described in words.
        num_hops: Steps of a node set, or None: the whole graph is one set.
        num_layers: Rounds of message passing (whole graphs).
        walk_length: Return probabilities of so many steps as structural encodings (whole graphs).
            On networks of many thousand nodes that are well connected they cost too much and are refused:
            0 turns them off.
        directed: Messages run both ways, and against an edge they differ from along it. If not, a
            tie may be given once or both ways. Molecules and triples know their edges themselves.
        max_distance: Attention learns a bias for each number of steps between two nodes up to this one,
            for none (unreachable), and for neighbours by the first category of their edge and, where
            edges are directed, its direction (whole graphs). The encoder needs a table for them:
            ``Encoder(..., pair_codes=adapter.pair_codes)``. 0: no such codes.
        dropout: Probability of dropping an entry of a vector in the stem, in training only.
        edge_dropout: Probability with which :meth:`augment` leaves out an edge or a feature of a node.

    Raises:
        ValueError: Texts, edge features or ``max_distance`` together with ``num_hops``; an unknown kind.

    Example:
        >>> adapter = GraphAdapter.fit([[("Ada", "wrote", "notes"), ("Ada", "met", "Mary")]], dim=8)
        >>> [example] = adapter.prepare([("Ada", "wrote", "letters")])
        >>> adapter.names(example), adapter(adapter.collate([example]))
        (['Ada', 'letters', 'wrote'], VectorSets(1 sets, 3 vectors of 8, unordered))
    """

    modality = "graph"
    kept = (GraphExample, Network, NodeExample, TextExample)

    def __init__(
        self,
        kind: str,
        nodes: Columns,
        edges: Columns,
        dim: int,
        *,
        text: Any = None,
        num_hops: int | None = None,
        num_layers: int = 3,
        walk_length: int = 8,
        max_distance: int = 0,
        directed: bool = True,
        dropout: float = 0.1,
        edge_dropout: float = 0.05,
    ) -> None:
        super().__init__()
        if not isinstance(kind, str) or kind not in READERS:
            raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(READERS)}")
        check_whole_number("dim", dim, 1, WIDEST)
        check_whole_number("num_hops", num_hops, 0, MANY, none="make one set of each graph")
        for name, value in (
            ("num_layers", num_layers),
            ("walk_length", walk_length),
            ("max_distance", max_distance),
        ):
            check_whole_number(name, value, 0, MANY)
        check_number("dropout", dropout, 0.0, 1.0)
        check_number("edge_dropout", edge_dropout, 0.0, 1.0)
        self.kind, self.nodes, self.edges, self.dim, self.text = kind, nodes, edges, dim, text
        self.num_hops, self.num_layers, self.walk_length = num_hops, num_layers, walk_length
        self.max_distance, self.directed, self.dropout, self.edge_dropout = (
            max_distance,
            directed,
            dropout,
            edge_dropout,
        )
        self.preparation = Preparation(nodes, edges, directed, text, max_distance)
        if self.pair_codes > MOST_CODES:
            raise ValueError(
                f"max_distance: got {max_distance} with {edges.sizes[:1]} kinds of edges, {self.pair_codes} "
                f"codes for pairs of nodes, expected at most {MOST_CODES}; use max_distance=0 or fewer kinds"
            )
        if num_hops is not None:
            _check_hops(num_hops, nodes, edges, max_distance)
            ways = 2 if directed else 1
            width = sum(nodes.sizes) + nodes.width + ways  # with the degrees
            self.hop_stem = HopStem(width, 1 + num_hops * ways, dim, dropout)
            return
        edge_sizes = [*edges.sizes, 2] if directed else edges.sizes
        self.node_embedding = RowEmbedding(nodes.sizes, nodes.width + walk_length, dim)
        self.edge_embedding = RowEmbedding(edge_sizes, edges.width, dim)
        self.message_stem = MessageStem(dim, num_layers, dropout)

    @classmethod
    def fit(
        cls,
        items: Iterable[Any],
        *,
        dim: int,
        num_hops: int | None = None,
        num_layers: int = 3,
        walk_length: int = 8,
        max_distance: int = 0,
        directed: bool | None = None,
        dropout: float = 0.1,
        edge_dropout: float = 0.05,
    ) -> GraphAdapter:
        """An adapter with vocabularies and scales of the training graphs; ready to be trained.

        Args:
            items: Training graphs of one kind, read once.
            dim: Width of the vectors.
            num_hops: As in the constructor, like all below.
            num_layers: Rounds of message passing.
            walk_length: Steps of the structural encodings.
            max_distance: Up to which attention tells them apart.
            directed: None finds out: where every edge has its reverse, edges are not directed.
            dropout: Of the stem.
            edge_dropout: Of :meth:`augment`.

        Raises:
            ValueError: No items, items of two kinds, or a bad item; it is numbered.
        """
        kind, nodes, edges, symmetric = None, Columns("node"), Columns("edge"), True
        texts: list[str] = []
        for i, item in enumerate(training_items(items)):
            try:
                kind = kind or kind_of(item)
                graph = _read(item, kind)
                nodes.learn(graph.nodes)
                edges.learn(graph.edges)
            except ValueError as error:
                raise ValueError(f"item {i}: {error}") from None
            texts += [*(graph.nodes.texts or []), *(graph.edges.texts or [])]
            symmetric = symmetric and (graph.both_ways or len(one_way(graph, edges)) == 0)
        if kind is None:
            raise ValueError("items: got no graph, expected training graphs to learn columns from")
        return cls(
            kind,
            nodes,
            edges,
            dim,
            text=_fit_text(texts, dim),
            num_hops=num_hops,
            num_layers=num_layers,
            walk_length=walk_length,
            max_distance=max_distance,
            directed=not symmetric if directed is None else directed and not graph.both_ways,
            dropout=dropout,
            edge_dropout=edge_dropout,
        )

    @property
    def pair_codes(self) -> int:
        """How many codes this adapter has for pairs of nodes: what the encoder's table must hold."""
        return self.preparation.pair_codes

    # --- on the CPU, in loader workers ------------------------------------------------------------

    def prepare(self, item: Any) -> list[Any]:
        """One example, or one for each node where there are `num_hops`: these share one tensor.

        Raises:
            ValueError: A bad item, with the node, edge or triple; an item of another kind; a graph too
                large for ``max_distance``.
        """
        graph = _read(item, self.kind)
        if self.max_distance and graph.nodes.count > MOST_NODES:
            raise ValueError(
                f"graph: got {graph.nodes.count} nodes, expected at most {MOST_NODES} with distances, which "
                "cost the square of that; use max_distance=0, or node sets (num_hops)"
            )
        if self.num_hops is None:
            return [self.preparation.whole(graph, self.walk_length)]
        network = self.preparation.network(graph, self.num_hops)
        return [NodeExample(network, node) for node in range(graph.nodes.count)]

    def augment(self, example: Any, generator: torch.Generator) -> Any:
        """Leave out some edges and some features of nodes; walks and distances stay as they are.

        Molecules and triples are never changed (without a bond it is another molecule, without a
        relation another text), and for node sets the dropout of the stem has to do.
        """
        if isinstance(example, NodeExample) or self.kind in ("molecule", "triples"):
            return example
        width = self.nodes.width
        kept = torch.rand(example.edge_index.shape[1], generator=generator) >= self.edge_dropout
        hidden = torch.rand(example.codes.shape, generator=generator) < self.edge_dropout
        zeroed = torch.rand(example.numbers.shape, generator=generator) < self.edge_dropout
        zeroed[:, width:] = False
        unknown = torch.tensor(self.nodes.starts, dtype=torch.long)
        edge_text = example.edge_text
        return replace(
            example,
            codes=torch.where(hidden, unknown, example.codes),
            numbers=example.numbers.masked_fill(zeroed, 0.0),
            edge_index=example.edge_index[:, kept],
            edge_codes=example.edge_codes[kept],
            edge_numbers=example.edge_numbers[kept],
            edge_text=edge_text[kept] if len(edge_text) else edge_text,
            texts=[self.text.augment(text, generator) for text in example.texts],
        )

    def num_vectors(self, example: Any) -> int:
        """How many nodes, or how many places a node set has."""
        if isinstance(example, NodeExample):
            return int(example.network.features.shape[1])
        return len(example.codes)

    def align(self, labels: Any, example: Any) -> list[Any]:
        """The labels of the nodes, one each; of a node set, the label of its node."""
        one = isinstance(example, NodeExample)
        count = len(example.network.features) if one else len(example.codes)
        if isinstance(labels, str) or not hasattr(labels, "__len__"):
            got = type(labels).__name__
            raise ValueError(f"labels: got {got}, expected a list with a label for each node")
        if len(labels) != count:
            raise ValueError(
                f"labels: got {len(labels)} labels for {count} nodes, expected one a node"
                + (": one an entity, then one a triple" if self.kind == "triples" else "")
            )
        chosen = [labels[example.node]] if one else labels
        return [label.item() if hasattr(label, "item") else label for label in chosen]

    def names(self, example: Any) -> list[str]:
        """Atoms as `C0`, `O5` …, texts of nodes, or their numbers."""
        if isinstance(example, NodeExample):
            names = example.network.names
            return [names[example.node] if names else str(example.node)]
        return list(example.names or map(str, range(len(example.codes))))

    def collate(self, examples: Sequence[Any]) -> Inputs:
        """Pack examples; edges get the node numbers of the batch."""
        lengths = [self.num_vectors(e) for e in examples]
        if self.num_hops is not None:
            none = torch.zeros(0, *self.hop_stem.shape)
            return Inputs(lengths, {"features": pack_nodes(examples) if examples else none})
        graphs = examples or [self.preparation.empty(self.walk_length)]
        tensors, host = pack_graphs(graphs), {}
        if self.text is not None:
            inner = self.text.collate([text for g in graphs for text in g.texts])
            tensors |= {f"text.{name}": tensor for name, tensor in inner.tensors.items()}
            host = {"text_lengths": inner.lengths, "text_host": inner.host}
        return Inputs(lengths, tensors, host)

    # --- for `multiseq.training.item_cache` ----------------------------------------------------------------

    def prepared_by(self) -> dict[str, Any]:
        """What `prepare` depends on besides the graph: vocabularies and scales of the training graphs too."""
        names = ("kind", "num_hops", "walk_length", "max_distance", "directed")
        columns = {"nodes": self.nodes.to_json(), "edges": self.edges.to_json()}
        text = None if self.text is None else self.text.prepared_by()
        return {**{name: getattr(self, name) for name in names}, **columns, "text": text}

    def content(self, item: Any) -> Any:
        """The item, of a torch-geometric `Data` all that is read of it."""
        if self.kind != "data":
            return item
        values = {name: getattr(item, name, None) for name in DATA_NAMES}
        return {name: dense(value, name) if is_sparse(value) else value for name, value in values.items()}

    # --- on the device ----------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One set of ``dim``-wide vectors for each example, without positions."""
        tensors = inputs.tensors
        if self.num_hops is not None:
            return VectorSets(self.hop_stem(tensors["features"]).flatten(0, 1), inputs.lengths)
        nodes = self.node_embedding(tensors["codes"], tensors["numbers"])
        edges = self.edge_embedding(tensors["edge_codes"], tensors["edge_numbers"])
        if self.text is not None:
            texts = self.text.pooled(_text_inputs(inputs))
            nodes = nodes + texts[tensors["node_text"]] if self.nodes.text else nodes
            edges = edges + texts[tensors["edge_text"]] if self.edges.text else edges
        values = self.message_stem(nodes, edges, tensors["edge_index"])
        pairs = None
        if self.max_distance:
            parts = tuple(((0, length),) if length else () for length in inputs.lengths)
            pairs = Pairs(tensors["pairs"], parts, self.pair_codes)
        return VectorSets(values, inputs.lengths, pairs=pairs)

    def read(self, sets: VectorSets) -> VectorSets:
        """Every node; of a node set, the node itself."""
        return sets if self.num_hops is None else sets.first()

    # --- to disk and back -------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments without the columns; the text adapter's under "text"."""
        text = None if self.text is None else self.text.config()
        return {**{name: getattr(self, name) for name in OPTIONS}, "text": text}

    def assets(self) -> dict[str, str]:
        """``columns.json``: vocabularies and scales; the text adapter's begin with ``text-``."""
        columns = {"nodes": self.nodes.to_json(), "edges": self.edges.to_json()}
        inner = {} if self.text is None else self.text.assets()
        return {
            "columns.json": json.dumps(columns, ensure_ascii=False),
            **{f"text-{name}": value for name, value in inner.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> GraphAdapter:
        """The inverse of :meth:`config` and :meth:`assets`, weights aside."""
        options = config_of(config, (*OPTIONS, "text"))
        nodes, edges = json_asset(
            assets,
            "columns.json",
            lambda given: [Columns.from_json(row, given[f"{row}s"]) for row in ("node", "edge")],
        )
        text = None
        if options.pop("text", None) is not None:
            from multiseq.adapters.text import TextAdapter

            inner = {k.removeprefix("text-"): v for k, v in assets.items() if k.startswith("text-")}
            with reading("text"):
                text = TextAdapter.from_config(config["text"], inner)
        with reading("config"):
            return cls(nodes=nodes, edges=edges, text=text, **options)


def _read(item: Any, kind: str) -> Graph:
    if (got := kind_of(item)) != kind:
        raise ValueError(f"graph: got an item of kind {got!r}, expected {kind!r} as the first training item")
    return READERS[kind](item)


def _check_hops(num_hops: int, nodes: Columns, edges: Columns, max_distance: int) -> None:
    if max_distance:
        raise ValueError(
            f"max_distance: got {max_distance} with num_hops={num_hops}, expected whole graphs; "
            "use num_hops=None"
        )
    if nodes.text or edges.text:
        raise ValueError(
            "num_hops: got graphs with texts, expected categories and numbers only; use num_hops=None"
        )
    if edges.sizes or edges.width:
        raise ValueError(
            "num_hops: got graphs with edge features, which node sets cannot hold; "
            "leave them out or use num_hops=None"
        )


def _text_inputs(inputs: Inputs) -> Inputs:
    tensors = inputs.tensors.items()
    inner = {name.removeprefix("text."): t for name, t in tensors if name.startswith("text.")}
    return Inputs(inputs.host["text_lengths"], inner, inputs.host["text_host"])


def _fit_text(texts: list[str], dim: int) -> Any:
    if not texts:
        return None
    from multiseq.adapters.text import TextAdapter

    return TextAdapter.fit(texts, dim=dim, unit="word")
