"""Graphs: molecules, networks and triples as unordered sets of nodes.

    nodes = message_passing(embed(categories, numbers, texts, walks), edges)
    bonds = gelu(norm(W [x_i + x_j; |x_i - x_j|; e_ij])), of encoded nodes x, for labels of bonds

Each graph is one set. If a network is too large for attention over all nodes, use
`multiseq.adapters.neighborhood`, which makes one short set for each node.

Axes: nodes, edges, pair (source and target), columns, dim.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from multiseq.adapters._graph.bags import FOLDED, IdEmbedding, Ids, some_ids
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.examples import (
    GraphExample,
    Preparation,
    bonds,
    pack_graphs,
    reverses,
    without_node,
)
from multiseq.adapters._graph.features import Features
from multiseq.adapters._graph.shown import show
from multiseq.adapters._graph.stem import BondMessages, BondReading, MessageStem, RowEmbedding
from multiseq.adapters._graph.training import (
    JSON_FORMS,
    aligned,
    check_item,
    check_kind,
    check_labelled,
    check_messages,
    columns_of,
    content,
    learn,
    parse,
    read,
    saved_features,
    stand_in,
    sums,
    word_bag,
)
from multiseq.adapters.text import TextExample
from multiseq.checks import (
    MANY,
    WIDEST,
    check_number,
    check_whole_number,
    config_of,
    reading,
    under,
)
from multiseq.data.graphs.molecules import SMILES
from multiseq.nn.first_weights import repeatable
from multiseq.pairs import Pairs
from multiseq.protocols import Inputs, Level, Mark, Part
from multiseq.vectors import VectorSets, rows_of

__all__ = ["GraphAdapter", "GraphExample"]

MOST_NODES = 4096
"""Most nodes of a graph with ``max_distance`` > 0: a pair of nodes takes two bytes, and more in attention."""

MOST_CODES = 32767
"""Most pair codes: a code is a signed 16-bit integer."""

OPTIONS = (
    *("kind", "dim", "num_layers", "walk_length", "max_distance", "directed", "dropout", "edge_dropout"),
    *("labels_of", "messages"),
)
"""The constructor's arguments except the columns and the text adapter."""


class GraphAdapter(nn.Module):
    """Turns each graph into an unordered set with one vector per node. :meth:`fit` builds the adapter.

    For node classification, graph classification, graph regression and graph to text. All items of an
    adapter have the same kind:

    - A SMILES string: one vector per atom. With numbers about the molecule: ``{"smiles": "CCO", "pH": 7.4}``;
      None is a blank.
    - A torch-geometric `Data` with `x` (float: numbers, integers: categories, sparse: ids), `x_category`,
      `text` (a list of strings), `edge_index`, `edge_attr`, `edge_category`, `edge_weight` and `edge_text`.
    - A torch-geometric `HeteroData`: the types of nodes and edges are categories.
    - A table ``{"nodes": {column: values}, "edges": [(source, target)], "edge_columns": {column:
      values}}``. Columns of strings are categories. A column of nodes may have a list of ids (whole numbers)
      for each node, or be a sparse matrix.
    - A list of (subject, relation, object) strings: one vector per entity, in order of appearance,
      then one vector per triple.

    Args:
        kind: The kind of the items: "molecule", "data", "hetero", "table" or "triples".
        nodes, edges: The columns (features) of nodes and edges.
        dim: Width of the vectors.
        text: A text adapter, if nodes or edges are described in words.
        num_layers: Number of message passing layers.
        walk_length: Number of steps of the random-walk positional encoding; 0 turns it off. For a large,
            well-connected network it costs too much: :meth:`prepare` then raises ValueError.
        directed: True: messages along an edge differ from messages against it. False: they are the same,
            and an edge may be given once or in both directions. Messages always run both ways.
            Molecules and triples always have their edges in both directions.
        max_distance: If > 0, attention learns one bias for each distance between two nodes in steps (larger
            distances count as ``max_distance``), one for unreachable nodes, and one for each kind of edge:
            its first category and, in directed graphs, its direction. The encoder needs a table for
            them: ``Encoder(..., pair_codes=adapter.pair_codes)``.
        dropout: Dropout probability in the stem, in training only.
        edge_dropout: Probability that :meth:`augment` leaves out an edge or a feature of a node.
        features: Numbers about whole molecules. A projection of them is added to the vector of each atom.
        messages: How message passing works. "gine" (Hu and others 2020): with other weights and norms in each
            layer. "dmpnn" (Yang and others 2019), for molecules only: messages go along bonds, never back,
            with the same weights in each layer and without norms. It generalises better from few molecules.
        labels_of: What heads see: vectors of the "nodes", or of the "edges": the bonds of a molecule, in
            RDKit's order, each once. All tasks of the adapter see the same. The encoder always sees nodes.

    Raises:
        ValueError: An unknown kind; ``max_distance`` and the kinds of edges need too many pair codes;
            ``labels_of="edges"`` for graphs that are no molecules.

    Example:
        >>> adapter = GraphAdapter.fit([[("Ada", "wrote", "notes"), ("Ada", "met", "Mary")]], dim=8)
        >>> [example] = adapter.prepare([("Ada", "wrote", "letters")])
        >>> adapter.names(example), adapter(adapter.collate([example]))
        (['Ada', 'letters', 'wrote'], VectorSets(1 sets, 3 vectors of 8, unordered))
    """

    modality = "graph"
    kept = (GraphExample, TextExample, Ids)

    @repeatable
    def __init__(
        self,
        kind: str,
        nodes: Columns,
        edges: Columns,
        dim: int,
        *,
        text: Any = None,
        num_layers: int = 3,
        walk_length: int = 8,
        max_distance: int = 0,
        directed: bool = True,
        dropout: float = 0.1,
        edge_dropout: float = 0.05,
        features: Features | None = None,
        labels_of: Literal["nodes", "edges"] = "nodes",
        messages: Literal["gine", "dmpnn"] = "gine",
    ) -> None:
        super().__init__()
        check_kind(kind)
        check_labelled(labels_of, kind)
        check_messages(messages, kind)
        check_whole_number("dim", dim, 1, WIDEST)
        for name, value in (
            ("num_layers", num_layers),
            ("walk_length", walk_length),
            ("max_distance", max_distance),
        ):
            check_whole_number(name, value, 0, MANY)
        check_number("dropout", dropout, 0.0, 1.0)
        check_number("edge_dropout", edge_dropout, 0.0, 1.0)
        self.kind, self.nodes, self.edges, self.dim, self.text = kind, nodes, edges, dim, text
        self.labels_of, self.messages = labels_of, messages
        self.num_layers, self.walk_length = num_layers, walk_length
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
        edge_sizes = [*edges.sizes, 2] if directed else edges.sizes
        self.node_embedding = RowEmbedding(nodes.sizes, nodes.width + walk_length, dim)
        self.edge_embedding = RowEmbedding(edge_sizes, edges.width, dim)
        stem = BondMessages if messages == "dmpnn" else MessageStem
        self.message_stem = stem(dim, num_layers, dropout)
        self.id_embedding = IdEmbedding(nodes.num_ids, dim) if nodes.ids else None
        self.features = features
        self.feature_embedding = None if features is None else _from_zero(features.width, dim)
        self.bond_reading = BondReading(dim) if labels_of == "edges" else None

    @classmethod
    def fit(
        cls,
        items: Iterable[Any],
        *,
        dim: int,
        num_layers: int = 3,
        walk_length: int = 8,
        max_distance: int = 0,
        directed: bool | None = None,
        dropout: float = 0.1,
        edge_dropout: float = 0.05,
        descriptors: bool = False,
        labels_of: Literal["nodes", "edges"] = "nodes",
        messages: Literal["gine", "dmpnn"] | None = None,
    ) -> GraphAdapter:
        """Build an adapter that is ready to be trained. Vocabularies and scales come from training graphs.

        Args:
            items: Training graphs of one kind. They are read once.
            dim: Width of the vectors.
            num_layers: As in the constructor.
            walk_length: As in the constructor.
            max_distance: As in the constructor.
            directed: As in the constructor. None: False if every edge has its reverse, otherwise True.
            dropout: As in the constructor.
            edge_dropout: As in the constructor.
            descriptors: Whether all descriptors that RDKit knows are features of molecules: weight, polar
                surface, counts of groups and many more. They take some milliseconds a molecule.
            labels_of: As in the constructor.
            messages: As in the constructor. None: "dmpnn" for molecules, "gine" for other graphs.

        Raises:
            ValueError: No items, items of two kinds, or an invalid item; the message gives its number.
        """
        learned = learn(items, directed, descriptors=descriptors)
        return cls(
            learned.kind,
            learned.nodes,
            learned.edges,
            dim,
            text=_fit_text(learned.texts, dim),
            num_layers=num_layers,
            walk_length=walk_length,
            max_distance=max_distance,
            directed=learned.directed,
            dropout=dropout,
            edge_dropout=edge_dropout,
            features=learned.features,
            labels_of=labels_of,
            messages=messages or ("dmpnn" if learned.kind == "molecule" else "gine"),
        )

    @property
    def pair_codes(self) -> int:
        """The number of codes for pairs of nodes. The encoder's table must have this size."""
        return self.preparation.pair_codes

    # --- on the CPU, in loader workers ------------------------------------------------------------

    def prepare(self, item: Any) -> list[GraphExample]:
        """A list with one example.

        Raises:
            ValueError: An invalid item (the message names the node, edge or triple), an item of another
                kind, or a graph that is too large for ``max_distance`` or ``walk_length``.
        """
        graph = read(item, self.kind)
        if self.max_distance and graph.nodes.count > MOST_NODES:
            raise ValueError(
                f"graph: got {graph.nodes.count} nodes, expected at most {MOST_NODES} with distances, whose "
                "cost grows with its square; use max_distance=0, or NeighborhoodAdapter"
            )
        example = self.preparation.whole(graph, self.walk_length)
        return [example if self.features is None else replace(example, features=self.features.encode(item))]

    def augment(self, example: GraphExample, generator: torch.Generator) -> GraphExample:
        """Leave out some edges and some features of nodes. Random walks and distances do not change.

        Molecules and triples never change: a molecule without one of its bonds is another molecule, and
        a missing triple changes the text.
        """
        if self.kind in ("molecule", "triples"):
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
            bags=None if example.bags is None else some_ids(example.bags, self.edge_dropout, generator),
        )

    def without(self, example: GraphExample, number: int) -> GraphExample:
        """The graph without a node and its edges. All other features stay as they were in the whole graph."""
        return without_node(example, number)

    def num_vectors(self, example: GraphExample) -> int:
        """The number of nodes."""
        return len(example.codes)

    def align(self, labels: Any, example: GraphExample) -> list[Any]:
        """The labels, one per node or bond. Raises ValueError for another number of labels."""
        count = len(bonds(example)) if self.labels_of == "edges" else len(example.codes)
        return aligned(labels, count, self.kind, labels_of=self.labels_of)

    def names(self, example: GraphExample) -> list[str]:
        """One name per vector that :meth:`read` gives: as :meth:`encoded_names`, or `C0-O1` … for bonds."""
        names = self.encoded_names(example)
        return [f"{names[a]}-{names[b]}" for a, b in bonds(example)] if self.labels_of == "edges" else names

    def encoded_names(self, example: GraphExample) -> list[str]:
        """One name per node: `C0`, `O5` … for atoms, otherwise the node's text or its number."""
        return list(example.names or map(str, range(len(example.codes))))

    def spellings(self, example: GraphExample) -> list[str]:
        """The names of the nodes, which a decoder may copy; "" for atoms, bonds, and nodes without names."""
        named = example.names is not None and self.kind != "molecule"
        return [name if named else "" for name in self.names(example)]

    def collate(self, examples: Sequence[GraphExample]) -> Inputs:
        """Pack examples. Node numbers in the edges then count through the whole batch."""
        lengths = [self.num_vectors(e) for e in examples]
        graphs = examples or [self.preparation.empty(self.walk_length)]
        tensors, host = pack_graphs(graphs), {}
        if self.messages == "dmpnn":
            tensors["reverse"] = reverses(graphs)
        if self.text is not None:
            inner = self.text.collate([text for g in graphs for text in g.texts])
            tensors |= {f"text.{name}": tensor for name, tensor in inner.tensors.items()}
            host = {"text_lengths": inner.lengths, "text_host": inner.host}
        if self.labels_of == "edges":
            host["bonds"] = [len(bonds(e)) for e in examples]
            ways = [count for count in host["bonds"] for _ in range(2)]
            tensors["bonds"] = rows_of(ways, range(0, len(ways), 2))
        return Inputs(lengths, tensors, host)

    # --- for `multiseq.training.item_cache` ----------------------------------------------------------------

    def prepared_by(self) -> dict[str, Any]:
        """The settings that the result of `prepare` depends on, with vocabularies and scales."""
        names = ("kind", "walk_length", "max_distance", "directed")
        columns = {"nodes": self.nodes.to_json(), "edges": self.edges.to_json()}
        text = None if self.text is None else self.text.prepared_by()
        more = {} if self.features is None else {"features": self.features.to_json()}
        return {**{name: getattr(self, name) for name in names}, **columns, "text": text, **more}

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
        """Parse an argument of the command line: a SMILES, JSON, or the path of a ``.json`` file."""
        return parse(text, folder, self.kind)

    def is_item(self, value: Mapping[str, Any]) -> bool:
        """True for a table with the key "nodes", and for a molecule with the features of training."""
        return "nodes" in value or bool(self.features and self.features.columns and SMILES in value)

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
        self, item: Any, examples: Sequence[GraphExample], marks: Sequence[Mark], focus: int | None
    ) -> list[Part]:
        """The drawing of a molecule, the facts of triples, or the surroundings of a node."""
        return show(item, self.kind, marks, focus, len(examples[0].codes), self.labels_of)

    def baseline_vectors(self, example: GraphExample) -> Sequence[Any]:
        """For each node its categories and numbers, without its neighbours; its text if nodes have texts.

        For each bond its categories, and the sum of those of its two atoms.
        """
        rows = self._baseline_nodes(example)
        if self.labels_of == "nodes":
            return rows
        pairs, num_columns = bonds(example), len(self.edges.sizes)
        kinds = _one_hot(example.edge_codes[: len(pairs), :num_columns], self.edges.sizes)
        return [np.append(rows[a] + rows[b], kind) for (a, b), kind in zip(pairs, kinds, strict=True)]

    def _baseline_nodes(self, example: GraphExample) -> Sequence[Any]:
        if self.nodes.text:
            return self.names(example)
        one_hot = _one_hot(example.codes, self.nodes.sizes)
        # Leave out the random walks, which come after the columns: they describe the neighbours too.
        features = [one_hot, example.numbers[:, : self.nodes.width].numpy()]
        if example.bags is not None:
            features.append(example.bags.folded(self.nodes.num_ids))
        return list(np.concatenate(features, axis=1))

    def baseline_item(self, item: Any, examples: Sequence[GraphExample], level: Level) -> Any:
        """Nodes counted by category, and sums of numbers; words if nodes have texts or for sequences."""
        if self.nodes.text or level == "sequence":
            return word_bag(item, [name for example in examples for name in self.names(example)])
        rows = [row for example in examples for row in self._baseline_nodes(example)]
        width = sum(self.nodes.sizes) + self.nodes.width + min(self.nodes.num_ids, FOLDED)
        return sums(rows, width)

    # --- on the device ----------------------------------------------------------------------------

    def forward(self, inputs: Inputs) -> VectorSets:
        """One unordered set per example, with one vector of width ``dim`` per node."""
        tensors = inputs.tensors
        nodes = self.node_embedding(tensors["codes"], tensors["numbers"])
        edges = self.edge_embedding(tensors["edge_codes"], tensors["edge_numbers"])
        if self.feature_embedding is not None and "features" in tensors:
            of_graph = self.feature_embedding(tensors["features"].to(nodes.dtype))
            nodes = nodes + of_graph[tensors["graph"]]
        if self.id_embedding is not None:
            nodes = nodes + self.id_embedding.of_batch(tensors)
        if self.text is not None:
            texts = self.text.pooled(_text_inputs(inputs))
            nodes = nodes + texts[tensors["node_text"]] if self.nodes.text else nodes
            edges = edges + texts[tensors["edge_text"]] if self.edges.text else edges
        reverse = [tensors["reverse"]] if self.messages == "dmpnn" else []
        values = self.message_stem(nodes, edges, tensors["edge_index"], *reverse)
        pairs = None
        if self.max_distance:
            parts = tuple(((0, length),) if length else () for length in inputs.lengths)
            pairs = Pairs(tensors["pairs"], parts, self.pair_codes)
        return VectorSets(values, inputs.lengths, pairs=pairs)

    def read(self, sets: VectorSets, inputs: Inputs) -> VectorSets:
        """All vectors: every node can have a label. Or one vector per bond, from its two atoms."""
        if self.bond_reading is None:
            return sets
        tensors, chosen = inputs.tensors, inputs.tensors["bonds"]
        edges = self.edge_embedding(tensors["edge_codes"][chosen], tensors["edge_numbers"][chosen])
        values = self.bond_reading(sets.values, tensors["edge_index"][:, chosen], edges)
        return VectorSets(values, inputs.host["bonds"])

    # --- to disk and back -------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments except the columns. "text" holds the config of the text adapter."""
        text = None if self.text is None else self.text.config()
        return {**{name: getattr(self, name) for name in OPTIONS}, "text": text}

    def assets(self) -> dict[str, str]:
        """``columns.json``: vocabularies and scales. Files of the text adapter begin with ``text-``."""
        columns = {"nodes": self.nodes.to_json(), "edges": self.edges.to_json()}
        if self.features is not None:
            columns["features"] = self.features.to_json()
        inner = {} if self.text is None else self.text.assets()
        return {
            "columns.json": json.dumps(columns, ensure_ascii=False),
            **{f"text-{name}": value for name, value in inner.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], assets: Mapping[str, str]) -> GraphAdapter:
        """Rebuild the adapter from :meth:`config` and :meth:`assets`. Its weights are new."""
        options = config_of(config, (*OPTIONS, "text"))
        nodes, edges = columns_of(assets)
        text = None
        if options.pop("text", None) is not None:
            from multiseq.adapters.text import TextAdapter

            with reading("text"):
                text = TextAdapter.from_config(config["text"], under("text-", assets))
        with reading("config"):
            features = saved_features(assets)
            return cls(nodes=nodes, edges=edges, text=text, features=features, **options)


def _one_hot(codes: Tensor, sizes: Sequence[int]) -> Any:
    one_hot = np.zeros((len(codes), sum(sizes)), dtype=np.float32)
    np.put_along_axis(one_hot, codes.numpy(), 1.0, axis=1)
    return one_hot


def _from_zero(width: int, dim: int) -> nn.Linear:
    """A projection that begins at zero: of many descriptors, only those that help become something."""
    projection = nn.Linear(width, dim, bias=False)
    nn.init.zeros_(projection.weight)
    return projection


def _text_inputs(inputs: Inputs) -> Inputs:
    return Inputs(inputs.host["text_lengths"], under("text.", inputs.tensors), inputs.host["text_host"])


def _fit_text(texts: list[str], dim: int) -> Any:
    if not texts:
        return None
    from multiseq.adapters.text import TextAdapter

    return TextAdapter.fit(texts, dim=dim, unit="word")
