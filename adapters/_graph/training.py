"""Shared code of the two graph adapters: read an item, learn columns from training graphs, align labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.examples import one_way
from multiseq.adapters._graph.features import Features, describe, features_of
from multiseq.adapters._graph.items import (
    DATA_NAMES,
    Graph,
    is_sparse,
    kind_of,
    read_data,
    read_hetero,
    read_table,
    read_triples,
    sparse,
)
from multiseq.adapters._graph.molecules import read_molecule
from multiseq.adapters._text.words import bag_of_words
from multiseq.checks import check_labels, json_asset, one_of, training_items
from multiseq.data.graphs.molecules import SMILES, smiles_of
from multiseq.data.text_files import json_item

__all__ = [
    "JSON_FORMS",
    "Learned",
    "aligned",
    "check_item",
    "check_kind",
    "check_labelled",
    "check_messages",
    "columns_of",
    "content",
    "learn",
    "parse",
    "read",
    "saved_features",
    "stand_in",
    "sums",
    "word_bag",
]

READERS: dict[str, Callable[[Any], Graph]] = {
    "molecule": read_molecule,
    "data": read_data,
    "hetero": read_hetero,
    "table": read_table,
    "triples": read_triples,
}


def check_kind(kind: Any) -> None:
    """Raise ValueError if ``kind`` is not a kind of graph."""
    one_of(kind, READERS, "kind")


def check_labelled(labels_of: Any, kind: str) -> None:
    """Raise ValueError unless graphs of that kind can have labels of their "nodes" or "edges"."""
    one_of(labels_of, ("nodes", "edges"), "labels_of")
    if labels_of == "edges" and kind != "molecule":
        raise ValueError(
            f"labels_of: got 'edges' for graphs of the kind {kind!r}, expected 'nodes': only the bonds of "
            "molecules can have labels; for other edges make a node of each edge, between its two ends"
        )


def check_messages(messages: Any, kind: str) -> None:
    """Raise ValueError unless messages can be passed in that way in graphs of that kind."""
    one_of(messages, ("gine", "dmpnn"), "messages")
    if messages == "dmpnn" and kind != "molecule":
        raise ValueError(
            f"messages: got 'dmpnn' for graphs of the kind {kind!r}, expected molecules or 'gine'"
        )


def read(item: Any, kind: str) -> Graph:
    """Read a graph of that kind. Raises ValueError if it is invalid or of another kind."""
    got = kind_of(item)
    if kind == "molecule" and isinstance(item, Mapping) and not {SMILES, "nodes"} & set(item):
        keys = list(map(str, item))
        raise ValueError(f"molecule: got the keys {keys}, expected the key {SMILES!r}, in small letters")
    if got != kind:
        raise ValueError(f"graph: got an item of kind {got!r}, expected {kind!r} as the first training item")
    return READERS[kind](item)


def check_item(item: Any) -> None:
    """Raise ValueError if an item is not a graph of any kind."""
    READERS[kind_of(item)](item)


@dataclass(frozen=True)
class Learned:
    """The result of :func:`learn`.

    Args:
        kind: "molecule", "data", "hetero", "table" or "triples".
        nodes, edges: The columns of nodes and edges.
        texts: All texts of nodes and edges.
        directed: Whether an edge differs from its reverse.
        features: The numbers about whole molecules, if there are any.
    """

    kind: str
    nodes: Columns
    edges: Columns
    texts: list[str]
    directed: bool
    features: Features | None = None


def learn(
    items: Iterable[Any], directed: bool | None, *, descriptors: bool = False, bins: int = 0
) -> Learned:
    """Learn kind, columns and direction from the training graphs.

    Args:
        items: Training graphs of one kind. They are read once.
        directed: Whether an edge differs from its reverse. None: False if every edge has its reverse,
            otherwise True.
        descriptors: Whether RDKit's descriptors are features of molecules.
        bins: The most intervals of a column of numbers of nodes, see `Columns`.

    Raises:
        ValueError: No items, items of two kinds, or an invalid item; the message gives its number.
    """
    given: list[dict[str, float]] = []
    described: list[dict[str, float]] = []
    kind, nodes, edges, symmetric = None, Columns("node", bins), Columns("edge"), True
    texts: list[str] = []
    for i, item in enumerate(training_items(items)):
        try:
            kind = kind or kind_of(item)
            graph = read(item, kind)
            nodes.learn(graph.nodes)
            edges.learn(graph.edges)
            if kind == "molecule":
                given.append(features_of(item))
                described.append(describe(smiles_of(item)) if descriptors else {})
        except ValueError as error:
            raise ValueError(f"item {i}: {error}") from None
        texts += [*(graph.nodes.texts or []), *(graph.edges.texts or [])]
        if directed is None and symmetric and not graph.both_ways:
            symmetric = len(one_way(graph, edges)) == 0
    if kind is None:
        raise ValueError("items: got no graph, expected training graphs to learn columns from")
    if descriptors and kind != "molecule":
        raise ValueError(f"descriptors: got items of the kind {kind!r}, expected molecules")
    features = Features.learn(given, described) if given else None
    differs = not symmetric if directed is None else directed and not graph.both_ways
    return Learned(kind, nodes, edges, texts, differs, features)


def columns_of(assets: Mapping[str, str]) -> list[Columns]:
    """The columns of nodes and edges, read from the file ``columns.json`` of a checkpoint."""
    columns: list[Columns] = json_asset(
        assets,
        "columns.json",
        lambda given: [Columns.from_json(row, given[f"{row}s"]) for row in ("node", "edge")],
    )
    return columns


def content(item: Any, kind: str) -> Any:
    """The content of an item that its examples depend on. For a `Data` only the attributes that are read."""
    if kind == "hetero":
        return {of: _contents(values) for of, values in item.to_dict().items()}
    return _contents({name: getattr(item, name, None) for name in DATA_NAMES}) if kind == "data" else item


def saved_features(assets: Mapping[str, str]) -> Features | None:
    """The features of a checkpoint's ``columns.json``; None without them."""
    features: Features | None = json_asset(
        assets,
        "columns.json",
        lambda given: Features.from_json(given["features"]) if "features" in given else None,
    )
    return features


def _contents(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _content_of(value, name) if is_sparse(value) else value for name, value in values.items()}


def _content_of(matrix: Any, name: str) -> list[Any]:
    """The same for equal sparse matrices of torch and scipy, however they are stored."""
    rows = sparse(matrix, name)
    return [rows.shape, rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data]


JSON_FORMS = {
    "molecule": '"CCO" or {"smiles": "CCO"}',
    "data": '{"nodes": {"age": [20, 30]}, "edges": [[0, 1]]}',
    "hetero": '{"nodes": {"age": [20, 30]}, "edges": [[0, 1]]}',
    "table": '{"nodes": {"age": [20, 30]}, "edges": [[0, 1]]}',
    "triples": '[["Ada", "profession", "baker"]]',
}


def parse(text: str, folder: Path, kind: str) -> Any:
    """Parse a graph on the command line: a SMILES, JSON, or the path of a ``.json`` file.

    Raises:
        ValueError: Invalid JSON, or the kind "data" or "hetero", which has no text form.
    """
    if kind in ("data", "hetero"):
        raise ValueError(
            "this model was trained on torch-geometric Data, which a command line cannot hold; "
            "use multiseq.load(…).predict(…) in Python"
        )
    if kind == "molecule" and not text.strip().startswith("{"):
        return text.strip()
    return json_item(text, folder, JSON_FORMS[kind])


def stand_in(item: Any) -> str:
    """A short stand-in for a graph in an example of a command."""
    if isinstance(item, Mapping) and SMILES in item:
        return json.dumps({**item, SMILES: "CCO"})
    return "CCO" if isinstance(item, str) else "YOUR.json"  # ethanol


def word_bag(item: Any, names: Iterable[str]) -> list[str]:
    """For baselines: the words of nodes, or the character n-grams (1 to 3) of a SMILES."""
    if isinstance(item, str):
        return [item[i : i + n] for n in (1, 2, 3) for i in range(len(item) - n + 1)]
    return bag_of_words(" ".join(names))


def sums(rows: Sequence[Any], width: int) -> Any:
    """For baselines: the sum of the features over all nodes, and the number of nodes, which may be 0."""
    return np.append(np.array(rows).reshape(-1, width).sum(0), len(rows))


def aligned(
    labels: Any, count: int, kind: str, node: int | None = None, *, labels_of: str = "nodes"
) -> list[Any]:
    """The labels of a graph's nodes or bonds, or of one node. Raises ValueError for another number."""
    more = {"triples": ": one an entity, then one a triple", "molecule": '; for bonds use labels_of="edges"'}
    if labels_of == "edges":
        check_labels(labels, count, "bond", ": in RDKit's order, each once")
    else:
        check_labels(labels, count, "node", more.get(kind, ""))
    chosen = labels if node is None else [labels[node]]
    return [label.item() if hasattr(label, "item") else label for label in chosen]
