"""Building graphs from two tables: one of nodes and one of edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.checks import nearest
from multiseq.data.bad_rows import Reject
from multiseq.data.records import DataError, Places, Records
from multiseq.data.tables import Table
from multiseq.labels import with_point

__all__ = ["columns_of_nodes", "read_graphs"]

GraphColumns = dict[str, dict[str, list[str]]]
"""Graph's name -> column -> cells."""
Lines = dict[str, list[int]]
"""Graph's name -> the line number of each of its rows."""
Names = dict[str, dict[str, int]]
"""Graph's name -> name of a node -> its number, from 0."""

SEARCHED = 1000
"""In larger graphs, messages do not search for the most similar name of a node."""


def read_graphs(
    nodes: Path,
    edges: Path,
    node_table: Table,
    edge_table: Table,
    features: Sequence[str],
    numeric: Mapping[str, Mapping[str, bool]],
    decimal: str,
    reject: Reject,
) -> Records:
    """Build the graphs from the rows of both tables, in the order of the table of nodes.

    Args:
        nodes: The file of nodes, for error messages.
        edges: The file of edges, for error messages.
        node_table: The table of nodes, see `multiseq.data.readers.read_networks`.
        edge_table: The table of edges.
        features: The columns of nodes that the model sees. All others are label columns.
        numeric: As for `multiseq.data.readers.read_networks`. For other columns, it is decided by the cells.
        decimal: The decimal separator of numbers.
        reject: What to do about a row that does not fit the others.

    Raises:
        DataError: A column is missing, or a node or a number is wrong; the message names the line.
    """
    names, graphs, lines, grouped = _nodes(nodes, node_table, features, reject)
    pairs, ties, tie_lines = _edges(edges, edge_table, names, grouped, reject)
    seen = _values(nodes, graphs, lines, features, numeric.get("nodes", {}), decimal)
    edge_columns = _values(
        edges, ties, tie_lines, next(iter(ties.values()), {}), numeric.get("edges", {}), decimal
    )
    records = Records([], {}, Places(nodes, [numbers[0] for numbers in lines.values()]))
    records.num_rows = sum(map(len, [*lines.values(), *tie_lines.values()]))
    for name, columns in graphs.items():
        item = {"nodes": seen[name], "edges": pairs.get(name, []), "edge_columns": edge_columns.get(name, {})}
        if list(names[name]) != [str(i) for i in range(len(names[name]))]:
            item["names"] = list(names[name])
        records.items.append(item)
        for column in columns:
            if column not in features:
                records.columns.setdefault(column, []).append([v or None for v in columns[column]])
    return records


def columns_of_nodes(names: Sequence[str]) -> tuple[str | None, str]:
    """The columns that hold the name of the graph, None if there is a single graph, and the name of the node.

    >>> columns_of_nodes(["person", "age"]), columns_of_nodes(["club", "node", "age"])
    ((None, 'person'), ('club', 'node'))
    """
    node = "node" if "node" in names else names[0]
    return (names[0] if names[0] != node else None), node


def _nodes(
    path: Path, table: Table, features: Sequence[str], reject: Reject
) -> tuple[Names, GraphColumns, Lines, bool]:
    """The nodes, their columns and lines; and whether the first column is the name of the graph."""
    graph, node = columns_of_nodes(table.names)
    others = [name for name in table.names if name not in (graph, node)]
    if not set(features) <= set(others):
        raise DataError(
            f"{path}:1: got the columns {', '.join(table.names)}; expected the graph's name, then "
            f"{', '.join(('node', *features))} (a single graph needs no name)"
        )
    names: Names = {}
    graphs: GraphColumns = {}
    lines: Lines = {}
    for line, row in table.rows():
        name, node_name = row[graph] if graph else "", row[node].strip()
        known = names.setdefault(name, {})
        if not node_name or node_name in known:
            several = "" if graph else "; if there are several, name the graph in the first column"
            reason = f"got node {node_name!r} twice" if node_name else "got a node without a name"
            reject(f"{path}:{line}", f"{reason}, expected different names in a graph{several}", _raw(row))
            continue
        known[node_name] = len(known)
        _add_cells(graphs, lines, name, line, {column: row[column] for column in others})
    return names, graphs, lines, graph is not None


def _edges(
    path: Path, table: Table, nodes: Names, grouped: bool, reject: Reject
) -> tuple[dict[str, list[tuple[int, int]]], GraphColumns, Lines]:
    graph, *others = table.names if grouped else ("", *table.names)
    ends = ["source", "target"] if {"source", "target"} <= set(others) else others[:2]
    if len(ends) < 2 or graph in ("source", "target"):
        expected = "the graph's name, then source, target" if grouped else "source, target"
        raise DataError(f"{path}:1: got the columns {', '.join(table.names)}; expected {expected}")
    pairs: dict[str, list[tuple[int, int]]] = {}
    ties: GraphColumns = {}
    lines: Lines = {}
    for line, row in table.rows():
        name = row[graph] if graph else ""
        if name not in nodes:
            reason = f"got graph {name!r}, which has no nodes, expected one with nodes"
            reject(f"{path}:{line}", reason, _raw(row))
            continue
        pair = [row[end].strip() for end in ends]
        new = next((end for end in pair if end not in nodes[name]), None)
        if new is not None:
            of = f" of {name!r}" if graph else ""
            near = nearest(new, nodes[name]) if len(nodes[name]) < SEARCHED else ""
            reason = f"got node {new!r}{of}, expected one of its {len(nodes[name]):,} nodes{near}"
            reject(f"{path}:{line}", reason, _raw(row))
            continue
        pairs.setdefault(name, []).append((nodes[name][pair[0]], nodes[name][pair[1]]))
        _add_cells(ties, lines, name, line, {column: row[column] for column in others if column not in ends})
    return pairs, ties, lines


def _raw(row: Mapping[str, Any]) -> str:
    return ",".join(map(str, row.values()))


def _add_cells(table: GraphColumns, lines: Lines, name: str, line: int, columns: dict[str, str]) -> None:
    lines.setdefault(name, []).append(line)
    cells = table.setdefault(name, {column: [] for column in columns})
    for column, value in columns.items():
        cells[column].append(value)


def _values(
    path: Path,
    table: GraphColumns,
    lines: Lines,
    columns: Iterable[str],
    known: Mapping[str, bool],
    decimal: str,
) -> dict[str, dict[str, Any]]:
    """The chosen columns of each graph; a column is numeric if all its cells are numbers, or categorical."""
    numeric = {
        column: _is_numeric(path, table, lines, column, known.get(column), decimal) for column in columns
    }
    return {
        name: {
            c: [_parse_number(v, decimal) for v in by_column[c]] if flag else by_column[c]
            for c, flag in numeric.items()
        }
        for name, by_column in table.items()
    }


def _is_numeric(
    path: Path, table: GraphColumns, lines: Lines, column: str, known: bool | None, decimal: str
) -> bool:
    """Whether a column is numeric. For a trained model this is ``known`` already."""
    if known is False:
        return False
    cells = [cell for by_column in table.values() for cell in by_column[column]]
    numbers = [_parse_number(cell, decimal) for cell in cells]
    finite = [number is not None and math.isfinite(number) for number in numbers]
    if known is None and (None in numbers or not any(finite)):
        return False
    if not all(finite):
        bad = finite.index(False)
        line = [line for of_graph in lines.values() for line in of_graph][bad]
        raise DataError(
            f"{path}:{line}: column {column!r} has {cells[bad]!r} among numbers, expected finite numbers"
            + ("; fill in the missing cells or drop their rows" if known is None else ", as in training")
        )
    return True


def _parse_number(cell: str, decimal: str) -> float | None:
    """The number in a cell; NaN for an empty cell, None for anything but a number."""
    try:
        return float((with_point(cell) if decimal == "," else cell).strip() or "nan")
    except ValueError:
        return None
