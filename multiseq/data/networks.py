"""Building graphs from two tables: one of nodes and one of edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError, Places, Records

__all__ = ["read_graphs"]

Row = tuple[int, dict[str, str]]
GraphColumns = dict[str, dict[str, list[str]]]
"""Graph's name -> column -> cells."""
Lines = dict[str, list[int]]
"""Graph's name -> the line number of each of its rows."""


def read_graphs(
    nodes: Path,
    edges: Path,
    node_rows: Iterable[Row],
    edge_rows: Iterable[Row],
    features: Sequence[str],
    numeric: Mapping[str, Mapping[str, bool]],
) -> Records:
    """Build the graphs from the rows of both tables, in the order of the table of nodes.

    Args:
        nodes: The file of nodes, for error messages.
        edges: The file of edges, for error messages.
        node_rows: (line number, row). The first column is the graph's name, and ``node`` is the number of the
            node in its graph, from 0.
        edge_rows: (line number, row). The first column is the graph's name; ``source`` and ``target`` are
            numbers of nodes. Further columns describe the edge.
        features: The columns of nodes that the model sees. All others are label columns.
        numeric: As for `multiseq.data.readers.read_networks`. For other columns, it is decided by the cells.

    Raises:
        DataError: A column is missing, or a node's number or a number is wrong; the message names the line.
    """
    graphs, lines = _nodes(nodes, node_rows, features)
    pairs, ties, tie_lines = _edges(edges, edge_rows, lines)
    seen = _values(nodes, graphs, lines, features, numeric.get("nodes", {}))
    names = next(iter(ties.values()), {})
    edge_columns = _values(edges, ties, tie_lines, names, numeric.get("edges", {}))
    records = Records([], {}, Places(nodes, [own[0] for own in lines.values()]))
    for name, own in graphs.items():
        known = {"edges": pairs.get(name, []), "edge_columns": edge_columns.get(name, {})}
        records.items.append({"nodes": seen[name], **known})
        for column in own:
            if column not in features:
                records.columns.setdefault(column, []).append([v or None for v in own[column]])
    return records


def _nodes(path: Path, rows: Iterable[Row], features: Sequence[str]) -> tuple[GraphColumns, Lines]:
    graphs: GraphColumns = {}
    lines: Lines = {}
    for line, row in rows:
        name, (node,), columns = _parse(path, row, ("node",), features)
        num = len(lines.setdefault(name, []))
        if node != str(num):
            raise DataError(
                f"{path}:{line}: got node {node!r} of {name!r}, expected {num}: nodes are numbered from 0"
            )
        _add(graphs, lines, name, line, columns)
    return graphs, lines


def _edges(path: Path, rows: Iterable[Row], nodes: Lines) -> tuple[dict[str, Any], GraphColumns, Lines]:
    pairs: dict[str, list[tuple[int, int]]] = {}
    ties: GraphColumns = {}
    lines: Lines = {}
    for line, row in rows:
        name, ends, columns = _parse(path, row, ("source", "target"), ())
        if name not in nodes:
            raise DataError(f"{path}:{line}: got graph {name!r}, which has no nodes, expected one with nodes")
        for end in ends:
            if not (end.isdecimal() and int(end) < len(nodes[name])):
                last = len(nodes[name]) - 1
                raise DataError(f"{path}:{line}: got node {end!r} of {name!r}, expected 0 to {last}")
        pairs.setdefault(name, []).append((int(ends[0]), int(ends[1])))
        _add(ties, lines, name, line, columns)
    return pairs, ties, lines


def _parse(
    path: Path, row: dict[str, str], numbers: Sequence[str], needed: Sequence[str]
) -> tuple[str, list[str], dict[str, str]]:
    """Split a row into the graph's name (the first column), the node numbers, and the other columns."""
    (_, name), *others = row.items()
    columns = dict(others)
    found = [columns.pop(column, None) for column in numbers]
    if None in found or not columns.keys() >= set(needed):
        expected = ", ".join((*numbers, *needed))
        raise DataError(
            f"{path}:1: got the columns {', '.join(row)}; expected the graph's name, then {expected}"
        )
    return name, [number for number in found if number is not None], columns


def _add(table: GraphColumns, lines: Lines, name: str, line: int, columns: dict[str, str]) -> None:
    lines.setdefault(name, []).append(line)
    own = table.setdefault(name, {column: [] for column in columns})
    for column, value in columns.items():
        own[column].append(value)


def _values(
    path: Path, table: GraphColumns, lines: Lines, columns: Iterable[str], known: Mapping[str, bool]
) -> dict[str, dict[str, Any]]:
    """The chosen columns of each graph; a column is numeric if all its cells are numbers, or categorical."""
    numeric = {column: _is_numeric(path, table, lines, column, known.get(column)) for column in columns}
    return {
        name: {c: list(map(_number, own[c])) if flag else own[c] for c, flag in numeric.items()}
        for name, own in table.items()
    }


def _is_numeric(path: Path, table: GraphColumns, lines: Lines, column: str, known: bool | None) -> bool:
    """Whether a column is numeric. For a trained model this is ``known`` already."""
    if known is False:
        return False
    cells = [cell for own in table.values() for cell in own[column]]
    numbers = list(map(_number, cells))
    finite = [number is not None and math.isfinite(number) for number in numbers]
    if known is None and (None in numbers or not any(finite)):
        return False
    if not all(finite):
        bad = finite.index(False)
        line = [line for own in lines.values() for line in own][bad]
        raise DataError(
            f"{path}:{line}: column {column!r} has {cells[bad]!r} among numbers, expected finite numbers"
            + ("; fill in the missing cells or drop their rows" if known is None else ", as in training")
        )
    return True


def _number(cell: str) -> float | None:
    """The number in a cell; NaN for an empty cell, None for anything but a number."""
    try:
        return float(cell.strip() or "nan")
    except ValueError:
        return None
