"""Graphs from two tables, nodes and edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError, Records

__all__ = ["read"]

Row = tuple[int, dict[str, str]]


def read(nodes: Path, edges: Path, node_rows: Iterable[Row], edge_rows: Iterable[Row], features: Sequence[str]) -> Records:
    """Put the rows of both tables together, graph by graph, in the order of the nodes' table.

    Args:
        nodes, edges: The files, for messages.
        node_rows: (line, row): the first column names the graph, the second numbers the node from 0.
        edge_rows: (line, row): graph, source, target, then columns of the edge.
        features: The nodes' columns that the model sees; all others are label columns.
    """
    graphs: dict[str, dict[str, list[str]]] = {}
    lines: dict[str, int] = {}
    for line, row in node_rows:
        (_, name), (_, node), *columns = row.items()
        unknown = [f for f in features if f not in dict(columns)]
        if unknown:
            raise DataError(f"{nodes}:1: no column {unknown[0]!r}; there are {', '.join(row)}")
        own = graphs.setdefault(name, {column: [] for column, _ in columns})
        lines.setdefault(name, line)
        if node != str(sum(1 for _ in next(iter(own.values())))):
            raise DataError(f"{nodes}:{line}: got node {node!r} of {name!r}, expected {len(next(iter(own.values())))}")
        for column, value in columns:
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


def _edges(path: Path, rows: Iterable[Row], graphs: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, Any]]:
    ties: dict[str, dict[str, Any]] = {name: {"edges": [], "edge_columns": {}} for name in graphs}
    for line, row in rows:
        (_, name), (_, source), (_, target), *columns = row.items()
        if name not in graphs:
            raise DataError(f"{path}:{line}: got graph {name!r}, which has no nodes")
        num = len(next(iter(graphs[name].values())))
        for end in (source, target):
            if not (end.isdigit() and int(end) < num):
                raise DataError(f"{path}:{line}: got node {end!r} of {name!r}, expected 0 to {num - 1}")
        ties[name]["edges"].append((int(source), int(target)))
        for column, value in columns:
            ties[name]["edge_columns"].setdefault(column, []).append(value)
    return ties


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
