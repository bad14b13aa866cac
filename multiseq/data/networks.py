"""Graphs from two tables, nodes and edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError, Records

__all__ = ["read"]

Row = tuple[int, dict[str, str]]


def read(
    nodes: Path, edges: Path, node_rows: Iterable[Row], edge_rows: Iterable[Row], features: Sequence[str]
) -> Records:
    """Put the rows of both tables together, graph by graph, in the order of the nodes' table.

    Args:
        nodes: The nodes' file, for messages.
        edges: The edges' file, for messages.
        node_rows: (line, row): the first column names the graph, ``node`` numbers its nodes from 0.
        edge_rows: (line, row): the graph, ``source``, ``target``, and columns of the edge.
        features: The nodes' columns that the model sees; all others are label columns.
    """
    graphs: dict[str, dict[str, list[str]]] = {}
    lines: dict[str, int] = {}
    for line, row in node_rows:
        name, columns = _name(nodes, row, ("node", *features))
        node = columns.pop("node")
        own = graphs.setdefault(name, {column: [] for column in columns})
        lines.setdefault(name, line)
        num = len(next(iter(own.values()), []))
        if node != str(num):
            raise DataError(
                f"{nodes}:{line}: got node {node!r} of {name!r}, expected {num}: nodes count from 0"
            )
        for column, value in columns.items():
            own[column].append(value)
    ties = _edges(edges, edge_rows, graphs)
    numeric = {f for f in features if all(_is_number(v) for own in graphs.values() for v in own[f])}
    records = Records([], {}, [f"{nodes}:{lines[name]}" for name in graphs])
    for name, own in graphs.items():
        seen = {f: [float(v) for v in own[f]] if f in numeric else own[f] for f in features}
        records.items.append({"nodes": seen, **ties[name]})
        for column in own.keys() - set(features):
            records.columns.setdefault(column, []).append([v or None for v in own[column]])
    return records


def _edges(
    path: Path, rows: Iterable[Row], graphs: dict[str, dict[str, list[str]]]
) -> dict[str, dict[str, Any]]:
    ties: dict[str, dict[str, Any]] = {name: {"edges": [], "edge_columns": {}} for name in graphs}
    for line, row in rows:
        name, columns = _name(path, row, ("source", "target"))
        source, target = columns.pop("source"), columns.pop("target")
        if name not in graphs:
            raise DataError(f"{path}:{line}: got graph {name!r}, which has no nodes")
        num = len(next(iter(graphs[name].values())))
        for end in (source, target):
            if not (end.isdigit() and int(end) < num):
                raise DataError(f"{path}:{line}: got node {end!r} of {name!r}, expected 0 to {num - 1}")
        ties[name]["edges"].append((int(source), int(target)))
        for column, value in columns.items():
            ties[name]["edge_columns"].setdefault(column, []).append(value)
    return ties


def _name(path: Path, row: dict[str, str], needed: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The graph's name, which is the first column, and the other columns."""
    for column in needed:
        if column not in row:
            raise DataError(f"{path}:1: no column {column!r}; there are {', '.join(row)}")
    name, *_ = row.values()
    return name, dict(list(row.items())[1:])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
