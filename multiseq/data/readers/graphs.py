"""Readers of graphs: networks, triples, molecules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.bad_rows import Reject, raw_of, stop
from multiseq.data.graphs.molecules import read_molecules
from multiseq.data.records import DataError, Places, Records
from multiseq.data.tables import open_table

__all__ = [
    "TRIPLE",
    "columns_of_triples",
    "read_graphml",
    "read_networks",
    "read_npz",
    "read_planetoid",
    "read_rdkit_logp",
    "read_sdf",
    "read_triples",
    "read_tu",
    "read_webnlg",
]

TRIPLE = ("head", "relation", "tail")
"""The usual names of the columns of a triple."""


def read_networks(
    path: Path,
    *,
    edges: Path,
    features: list[str] | None = None,
    ids: Path | None = None,
    labels: Path | None = None,
    encoding: str = "utf-8",
    separator: str | None = None,
    unpack_limit: int | None = None,
    decimal: str | None = None,
    kinds: Mapping[str, Mapping[str, str]] | None = None,
    reject: Reject = stop,
) -> Records:
    """Read graphs from two tables, for node and graph classification or regression.

    The columns are graph, node, … in the table of nodes, and graph, source, target, … in the table of edges.
    A single graph needs no column graph: the columns are then node, …, and source, target, …. If there is no
    column called node, the first is; if there are no columns source and target, the first two after the graph
    are. Nodes have any names, or numbers, that differ within a graph. An item is ``{"nodes": {column:
    values}, "edges": [(source, target)], "edge_columns": {column: values}}``, and ``"names"`` if nodes are
    not just numbered from 0. A column is numeric if all its cells are numbers. If cells are lists of whole
    numbers (``3 17 2045`` or ``[3, 17, 2045]``), these are ids, such as the words of a page; an empty cell is
    an empty list. Otherwise it is categorical. An empty cell in a numeric column is an error.

    Args:
        path: The table of nodes.
        edges: The table of edges. If its first line is an edge, it has no header. Blanks may separate cells.
        features: The columns of nodes that the model sees. The others are label columns: a list with one
            label for each node, None for an empty cell. Without features and ids, it is the number of edges.
        ids: A JSON file ``{"node": [3, 17, 2045], …}`` with the ids of each node of a single graph.
        labels: A table with the labels of a single graph: the name of a node, and label columns.
        encoding: The encoding of all files.
        separator: As for `read_table`, for both tables.
        unpack_limit: As for `read_table`, for both tables.
        decimal: The decimal mark of numbers, a point or a comma; the other one may group digits. Without it,
            a point, and ``51,494`` is no number because it may be two.
        kinds: For a trained model, ``{"nodes": {column: "numbers", "ids" or "categories"}, "edges": …}``. A
            column that was categorical in training is read as categorical, even if it contains only digits.
        reject: What to do about a bad row of either table, such as an edge to a node that does not exist.

    Raises:
        DataError: A table cannot be read, or its rows do not form graphs.
    """
    from multiseq.data.graphs import networks

    options: Any = {
        "encoding": encoding, "separator": separator, "unpack_limit": unpack_limit, "reject": reject
    }  # fmt: skip
    return networks.read_graphs(
        path,
        edges,
        open_table(path, **options),
        lambda names: networks.edge_list(edges, names, **options),
        features or [],
        kinds or {},
        decimal,
        reject,
        (ids, networks.read_ids(ids, encoding, unpack_limit)) if ids else None,
        (labels, open_table(labels, **options)) if labels else None,
    )


def read_triples(
    path: Path,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    sheet: str | None = None,
    unpack_limit: int | None = None,
    reject: Reject = stop,
) -> Records:
    """Read facts: a table with one triple in a row, for graph classification and graph to text.

    The first column is the name of the graph, the next three (or the columns called ``head``, ``relation``
    and ``tail``) are the triple. An item is the list of a graph's triples, in the order of the rows. Other
    columns are labels of the graph: one of its rows has the label, or all of them have the same. The name is
    a label column, too.

    Args:
        path: The table.
        encoding: As for `read_table`.
        separator: As for `read_table`.
        sheet: As for `read_table`.
        unpack_limit: As for `read_table`.
        reject: What to do about a row with an empty cell in its triple, or with another label, and about all
            other rows of its graph.

    Raises:
        DataError: The file is not a table, or a row does not fit the others.
    """
    table = open_table(
        path,
        encoding=encoding,
        separator=separator,
        sheet=sheet,
        unpack_limit=unpack_limit,
        reject=reject,
    )
    graph, triple = columns_of_triples(path, table.names)
    others = [name for name in table.names if name not in (graph, *triple)]
    graphs: dict[str, list[tuple[str, ...]]] = {}
    labels: dict[str, dict[str, Any]] = {}
    lines: dict[str, list[tuple[int, Any]]] = {}
    bad: dict[str, int] = {}
    for line, row in table.rows():
        name, cells = row[graph], tuple(row[column].strip() for column in triple)
        new = {column: row[column] for column in others if row[column]}
        other = next((c for c, v in new.items() if labels.get(name, {}).get(c, v) != v), None)
        if not all(cells) or other is not None:
            reason = (
                f"got {other} {new[other]!r} for graph {name!r}, expected {labels[name][other]!r} as before; "
                "several right texts for one graph are a list in JSON lines"
                if other is not None
                else f"got an empty cell in {', '.join(triple)}, expected a triple"
            )
            reject(f"{path}:{line}", reason, raw_of(row))
            bad.setdefault(name, line)
            continue
        graphs.setdefault(name, []).append(cells)
        labels.setdefault(name, {}).update(new)
        lines.setdefault(name, []).append((line, row))
    for name in [name for name in bad if name in graphs]:  # without all of its facts a graph is another graph
        for line, row in lines[name]:
            reject(f"{path}:{line}", f"graph {name!r} has a bad row, line {bad[name]}", raw_of(row))
        del graphs[name]
    places = Places(path, [lines[name][0][0] for name in graphs])
    records = Records(list(graphs.values()), {graph: list(graphs)}, places)
    records.columns |= {column: [labels[name].get(column) for name in graphs] for column in others}
    records.num_rows = sum(map(len, graphs.values()))
    return records


def columns_of_triples(path: Path, names: Sequence[str]) -> tuple[str, list[str]]:
    """The columns that hold the graph's name and the triple. Raises DataError without them."""
    graph, *others = names
    triple = list(TRIPLE) if set(TRIPLE) <= set(others) else others[:3]
    if len(triple) < 3 or graph in TRIPLE:
        raise DataError(
            f"{path}:1: got the columns {', '.join(names)}; expected the graph's name, then head, "
            "relation, tail"
        )
    return graph, triple


def read_webnlg(path: Path, *, unpack_limit: int | None = None, reject: Reject = stop) -> Records:
    """Read facts with texts about them as WebNLG has them, for graph to text.

    An item is a list of triples with readable names (`multiseq.data.graphs.webnlg`). The column ``text`` has
    the list of its texts, or None if there are none; ``category``, ``eid`` and ``split`` (``train``, ``dev``
    or ``test``, by the folder) are columns too.

    Args:
        path: The archive, the folder with the splits, or one file of XML.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about an entry with a fact that is no triple.

    Raises:
        DataError: It is no WebNLG data.
    """
    from multiseq.data.graphs import webnlg

    entries = list(webnlg.entries_of(path, unpack_limit, reject))
    columns: dict[str, list[Any]] = {
        name: [getattr(entry, name) for entry in entries] for name in ("category", "eid", "split")
    }
    columns["text"] = [entry.texts or None for entry in entries]
    return Records([entry.facts for entry in entries], columns, [entry.place for entry in entries])


def read_sdf(
    path: Path, *, encoding: str = "utf-8", unpack_limit: int | None = None, reject: Reject = stop
) -> Records:
    """Read molecules from an SDF file, with RDKit. Its properties are the label columns.

    An item is the SMILES of a molecule: coordinates are left out. The column ``title`` is the first line of
    its MOL block.

    Args:
        path: The file.
        encoding: The encoding of the file.
        unpack_limit: As for `multiseq.data.text_files.open_text`.
        reject: What to do about a molecule that RDKit cannot read.

    Raises:
        DataError: The file is no text in this encoding.
    """
    from multiseq.data.graphs import sdf

    places = Places(path)
    items: list[Any] = []
    properties: list[dict[str, str]] = []
    for entry in sdf.entries_of(path, encoding, unpack_limit):
        try:
            items.append(sdf.smiles_of(entry))
        except ValueError as error:
            reject(f"{path}:{entry.line}", str(error), entry.block)
            continue
        properties.append(entry.properties)
        places.lines.append(entry.line)
    names = dict.fromkeys(name for one in properties for name in one)
    return Records(items, {name: [one.get(name) or None for one in properties] for name in names}, places)


def read_graphml(path: Path, *, features: list[str], reject: Reject = stop) -> Records:
    """Read networks in GraphML, with networkx, for node and graph classification or regression.

    The attributes of a graph are label columns, and so are those of its nodes that are no features (a list
    with one label for each node). All attributes of edges are seen by the model.

    Args:
        path: A file, or a folder of files that end in ``.graphml``.
        features: The attributes of nodes that the model sees. ``degree``, the number of a node's edges, is
            always there.
        reject: What to do about a file or a graph that cannot be read.

    Raises:
        DataError: There is no file, or it is no GraphML, or a node lacks a feature.
    """
    from multiseq.data.graphs import graphml

    all_labels: list[dict[str, Any]] = []
    records = Records([])
    locations: list[str] = []
    for file in graphml.files_of_graphs(path):
        location = str(file)
        try:
            for location, graph in graphml.networks_of(file):
                item, labels = graphml.item_of(graph, features)
                records.items.append(item)
                all_labels.append(labels)
                locations.append(location)
        except ValueError as error:
            reject(location, str(error).removeprefix(f"{location}: "), "")
    records.locations = locations
    names = dict.fromkeys(name for one in all_labels for name in one)
    records.columns = {name: [one.get(name) for one in all_labels] for name in names}
    return records


def read_npz(path: Path) -> Records:
    """Read one network from an ``.npz`` of arrays, for node classification or regression.

    The arrays are ``node_features`` (nodes, columns), ``node_labels`` (the label column ``label``) and
    ``edges`` (edges, 2). With ``split_file``, the same file gives the splits: ``train_masks``, ``val_masks``
    and ``test_masks`` (folds, nodes). More than 64 columns of only zeros and ones are read as ids.

    Args:
        path: The file.

    Raises:
        DataError: It is no such file. A pickle inside is refused.
    """
    from multiseq.data.graphs import network_files

    item, labels = network_files.network_of(path)
    return Records([item], {"label": [labels]}, [str(path)])


def read_planetoid(path: Path) -> Records:
    """Read a citation network of planetoid, for node classification: Cora, CiteSeer, PubMed.

    The files are pickles. Arrays, dictionaries, lists and sparse matrices are accepted, and nothing that a
    pickle says is run. The label columns are ``label`` (``0``, ``1``, …) and ``split``, the public split.
    Nodes outside of it are only neighbours.

    Args:
        path: One of the files, or their common name: ``ind.cora``.

    Raises:
        DataError: A file is missing, or is not what it should be.
    """
    from multiseq.data.graphs import planetoid

    item, columns = planetoid.network_of(path)
    return Records([item], {name: [values] for name, values in columns.items()}, [str(path)])


def read_tu(path: Path) -> Records:
    """Read a folder of TU Dortmund, for graph classification or regression.

    ``DS_A.txt`` has the edges and ``DS_graph_indicator.txt`` the graph of each node. The label columns are
    ``label`` (``DS_graph_labels.txt``) and ``target`` (``DS_graph_attributes.txt``); the labels and
    attributes of nodes and edges are features.

    Args:
        path: The folder, or its file ``DS_A.txt``.

    Raises:
        DataError: A file is missing or has the wrong number of lines, or an edge leaves its graph.
    """
    from multiseq.data.graphs import network_files

    items, columns = network_files.graphs_of_folder(path)
    return Records(list(items), columns, [f"{path}: graph {i}" for i in range(1, len(items) + 1)])


def read_rdkit_logp(path: Path) -> Records:
    """Read SMILES from a file inside RDKit; see `multiseq.data.graphs.molecules.read_molecules`.

    The column ``logp`` is RDKit's estimate of the octanol-water logP (Crippen), for graph regression.
    """
    return read_molecules(path)
