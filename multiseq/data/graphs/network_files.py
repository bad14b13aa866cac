"""Networks in files of their publishers: ``.npz`` of node benchmarks, and folders of TU Dortmund."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseq.data.records import DataError
from multiseq.data.text_files import lines_of

__all__ = ["graphs_of_folder", "masks_of", "network_of"]

MOST_COLUMNS = 64
"""Features in more columns than these are ids of the columns if they are only zeros and ones."""

MASKS = {"train": "train_masks", "dev": "val_masks", "test": "test_masks"}


def network_of(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The network of an ``.npz`` as an item, and the label of each node.

    The arrays are ``node_features`` (nodes, columns), ``node_labels`` (nodes) and ``edges`` (edges, 2).

    Raises:
        DataError: It is no such file, a number is not finite, or an edge ends at a node that is not there.
    """
    arrays = _arrays(path, ("node_features", "node_labels", "edges"))
    features, labels, edges = (arrays[name] for name in ("node_features", "node_labels", "edges"))
    count = len(features)
    if features.ndim != 2 or labels.shape != (count,) or edges.ndim != 2 or edges.shape[1] != 2:
        raise DataError(
            f"{path}: got node_features {features.shape}, node_labels {labels.shape}, edges {edges.shape}, "
            "expected (nodes, columns), (nodes,) and (edges, 2)"
        )
    if (bad := ~np.isfinite(features)).any():
        node, column = np.argwhere(bad)[0]
        raise DataError(
            f"{path}: node {node} has {features[node, column]} in column {column} of node_features, expected "
            "finite numbers"
        )
    if (bad := ((edges < 0) | (edges >= count)).any(1)).any():
        row = int(bad.argmax())
        raise DataError(
            f"{path}: row {row} of edges is {tuple(edges[row].tolist())}, expected nodes from 0 to "
            f"{count - 1}"
        )
    return {"nodes": _columns(features, "feature"), "edges": edges}, labels.tolist()


def masks_of(path: Path) -> list[dict[str, Any]]:
    """The splits of the nodes in an ``.npz``: for each fold of ``{train,val,test}_masks`` the nodes.

    Raises:
        DataError: There are no such masks.
    """
    arrays = _arrays(path, tuple(MASKS.values()))
    masks = {split: np.atleast_2d(arrays[name]) for split, name in MASKS.items()}
    shapes = {split: mask.shape for split, mask in masks.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: got masks of shapes {shapes}, expected the same: (folds, nodes)")
    num, count = masks["train"].shape
    return [
        {
            **{split: np.flatnonzero(mask[i]).tolist() for split, mask in masks.items()},
            "rows": count,
            "of": "nodes",
        }
        for i in range(num)
    ]


def _arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz``. A pickle inside it is refused."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := sorted(set(names) - set(file.files)):
                raise DataError(f"{path}: no {', '.join(missing)}; there are {', '.join(sorted(file.files))}")
            return {name: file[name] for name in names}
    except DataError:
        raise
    except Exception as error:  # zipfile's, zlib's and NumPy's
        other = path.is_file() and not zipfile.is_zipfile(path)  # NumPy takes any other file for a pickle
        if not other and "allow_pickle" in str(error):
            raise DataError(
                f"{path}: has Python objects in a pickle, which could run code, so it is not loaded; "
                "expected arrays of numbers: save those with numpy.savez"
            ) from None
        reason = "expected a file that numpy.savez writes" if other else error
        raise DataError(f"{path}: cannot be read as .npz: {reason}") from None


def _columns(matrix: NDArray[Any], name: str) -> dict[str, Any]:
    if matrix.shape[1] > MOST_COLUMNS and bool(((matrix == 0) | (matrix == 1)).all()):
        return {"ids": [np.flatnonzero(row).tolist() for row in matrix]}
    numbers = matrix.astype(np.float64)
    return {f"{name} {i}": np.ascontiguousarray(numbers[:, i]) for i in range(matrix.shape[1])}


# --- folders of TU Dortmund -----------------------------------------------------------------------


def graphs_of_folder(path: Path) -> tuple[list[dict[str, Any]], dict[str, list[Any]]]:
    """The graphs of a folder ``MUTAG`` with ``MUTAG_A.txt`` and so on, and the label columns of each graph.

    What there is, of these: ``_graph_labels`` (the column ``label``), ``_graph_attributes`` (``target``, or
    ``target 0`` …), ``_node_labels`` (a category), ``_node_attributes`` (numbers), ``_edge_labels`` and
    ``_edge_attributes``. Nodes without any have their number of edges.

    Args:
        path: The folder, or its file ``…_A.txt``.

    Raises:
        DataError: A file is missing, has a wrong number of lines, or an edge leaves its graph.
    """
    adjacency = path if path.name.endswith("_A.txt") else next(iter(sorted(path.glob("*_A.txt"))), None)
    if adjacency is None or not adjacency.is_file():
        raise DataError(f"{path}: no file NAME_A.txt in it, expected a folder of TU Dortmund")
    stem = adjacency.with_name(adjacency.name.removesuffix("_A.txt"))

    def table(name: str, count: int | None = None) -> tuple[list[list[str]], Path] | None:
        file = stem.with_name(f"{stem.name}_{name}.txt")
        if not file.is_file():
            return None
        rows = [[cell.strip() for cell in line.split(",")] for line in lines_of(file) if line.strip()]
        if count is not None and len(rows) != count:
            raise DataError(f"{file}: got {len(rows)} lines, expected {count}")
        return rows, file

    indicator = table("graph_indicator")
    if indicator is None:
        raise DataError(f"{stem}_graph_indicator.txt: no such file; it says the graph of each node")
    graph_of = [int(row[0]) for row in _numbers(*indicator)]
    pairs = [(int(a) - 1, int(b) - 1) for a, b in _numbers(*(table("A") or ([], adjacency)), width=2)]
    count, num = len(graph_of), max(graph_of, default=0)
    first: list[int] = []
    for node, graph in enumerate(graph_of):
        if graph not in (len(first), len(first) + 1):
            raise DataError(
                f"{indicator[1]}:{node + 1}: got graph {graph}, expected {len(first)} or the next"
            )
        if graph == len(first) + 1:
            first.append(node)
    items: list[dict[str, Any]] = [{"nodes": {}, "edges": [], "edge_columns": {}} for _ in range(num)]
    edges_of: list[int] = []
    for line, (a, b) in enumerate(pairs, 1):
        if not (0 <= a < count and 0 <= b < count) or graph_of[a] != graph_of[b]:
            raise DataError(
                f"{adjacency}:{line}: got the edge {a + 1}, {b + 1}, expected two nodes of one "
                f"graph, from 1 to {count}"
            )
        graph = graph_of[a] - 1
        items[graph]["edges"].append((a - first[graph], b - first[graph]))
        edges_of.append(graph)
    nodes_of = [graph - 1 for graph in graph_of]
    for key, what, of in (("nodes", "node", nodes_of), ("edge_columns", "edge", edges_of)):
        for column, values in _features(what, table, len(of)):
            for graph, value in zip(of, values, strict=True):
                items[graph][key].setdefault(column, []).append(value)
    for item, start, end in zip(items, first, [*first[1:], count], strict=True):
        if not item["nodes"]:
            degrees = np.bincount([a for a, _ in item["edges"]], minlength=end - start)
            item["nodes"]["degree"] = degrees.astype(float).tolist()
    labels: dict[str, list[Any]] = {}
    if (of_graphs := table("graph_labels", num)) is not None:
        labels["label"] = [row[0] for row in of_graphs[0]]
    if (of_graphs := table("graph_attributes", num)) is not None:
        numbers = list(zip(*_numbers(*of_graphs), strict=True))
        names = ["target"] if len(numbers) == 1 else [f"target {i}" for i in range(len(numbers))]
        labels |= {name: list(column) for name, column in zip(names, numbers, strict=True)}
    return items, labels


def _features(what: str, table: Any, count: int) -> Iterator[tuple[str, list[Any]]]:
    """Columns of categories and of numbers, of nodes or of edges."""
    for name, kind in (("labels", "category"), ("attributes", "number")):
        if (found := table(f"{what}_{name}", count)) is not None:
            columns = list(zip(*(found[0] if kind == "category" else _numbers(*found)), strict=True))
            for i, column in enumerate(columns):
                yield (f"{kind} {i}" if len(columns) > 1 else kind), list(column)


def _numbers(rows: list[list[str]], file: Path, width: int | None = None) -> list[list[float]]:
    numbers = []
    for line, row in enumerate(rows, 1):
        try:
            numbers.append([float(cell) for cell in row])
        except ValueError:
            raise DataError(f"{file}:{line}: got {', '.join(row)}, expected numbers") from None
        if len(row) != (width or len(rows[0])) or not np.isfinite(numbers[-1]).all():
            raise DataError(
                f"{file}:{line}: got {', '.join(row)}, expected {width or len(rows[0])} finite numbers"
            )
    return numbers
