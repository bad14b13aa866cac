"""Networks of networkx, also those in GraphML, as the items of `multiseq.data.graphs.networks`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError
from multiseq.data.text_files import suffix_of
from multiseq.requires import need

__all__ = ["DEGREE", "Network", "files_of_graphs", "item_of", "networks_of"]

DEGREE = "degree"
"""A feature that every node has: the number of its edges."""

Network = Any
"""A graph of networkx."""


def files_of_graphs(path: Path) -> list[Path]:
    """The file, or all GraphML files of a folder and of the folders in it.

    Raises:
        DataError: There is none.
    """
    files = [path]
    if path.is_dir():
        files = sorted(
            p for p in path.rglob("*") if suffix_of(p) == ".graphml" and not p.name.startswith(".")
        )
    if not files or not files[0].is_file():
        raise DataError(f"{path}: no GraphML file there, expected one, or a folder of them")
    return files


def networks_of(file: Path) -> Iterator[tuple[str, Network]]:
    """The graphs of a file, each with its location.

    Raises:
        DataError: The file is no GraphML.
    """
    networkx: Any = need("networkx")
    try:
        with file.open("rb") as opened:
            graphs = list(networkx.readwrite.graphml.GraphMLReader()(path=opened))
    except Exception as error:  # the parser's, or networkx's for types and names that it does not know
        raise DataError(f"{file}: cannot be read as GraphML: {error}") from None
    if not graphs:
        raise DataError(f"{file}: no graph in it")
    for number, graph in enumerate(graphs, 1):
        yield (f"{file}:{number}" if len(graphs) > 1 else str(file)), graph


def item_of(graph: Network, features: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A graph as an item, and its label columns.

    An edge without direction is two edges, one for each direction.

    Args:
        graph: The graph.
        features: The attributes of nodes that the model sees. The others are labels, one for each node; those
            of the graph are its own labels.

    Raises:
        ValueError: A node lacks a feature, or a feature or an attribute of edges is text and number.
    """
    names = list(graph)
    number = {name: i for i, name in enumerate(names)}
    nodes = [dict(graph.nodes[name]) for name in names]
    for name, attributes in zip(names, nodes, strict=True):
        attributes.setdefault(DEGREE, graph.degree(name))
    edges = list(graph.edges(data=True))
    if not graph.is_directed():
        edges += [(target, source, attributes) for source, target, attributes in edges if source != target]
    keys = list(dict.fromkeys(key for *_, attributes in edges for key in attributes if key != "id"))
    item = {
        "nodes": {key: _attribute(nodes, key, "node", names) for key in features},
        "edges": [(number[source], number[target]) for source, target, _ in edges],
        "edge_columns": {
            key: _attribute(
                [attributes for *_, attributes in edges], key, "edge", [edge[:2] for edge in edges]
            )
            for key in keys
        },
        "names": list(map(str, names)),
    }
    labels = {key: value for key, value in graph.graph.items() if key not in ("node_default", "edge_default")}
    for key in dict.fromkeys(key for attributes in nodes for key in attributes):
        if key not in features and key != DEGREE:
            labels[key] = [attributes.get(key) for attributes in nodes]
    return item, labels


def _attribute(
    attributes: Sequence[Mapping[str, Any]], key: str, what: str, names: Sequence[Any]
) -> list[Any]:
    """The values of an attribute: all texts, or all finite numbers."""
    values = [one.get(key) for one in attributes]
    for name, value, one in zip(names, values, attributes, strict=True):
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            bare = "; perhaps only an edge names it" if set(one) == {DEGREE} and one[DEGREE] else ""
            raise ValueError(f"{what} {name!r} has no {key!r}, expected a value for each {what}{bare}")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return list(map(float, values))  # type: ignore[arg-type]  # all() narrows no list
    return list(map(str, values))
