"""Graphs from two tables, nodes and edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError, Places, Records

__all__ = ["read"]

Row = tuple[int, dict[str, str]]
Table = dict[str, dict[str, list[str]]]
"""Graph -> column -> cells."""
Lines = dict[str, list[int]]
"""Graph -> the line of each of its rows."""


def read(
    nodes: Path,
    edges: Path,
    node_rows: Iterable[Row],
    edge_rows: Iterable[Row],
    features: Sequence[str],
    numeric: Mapping[str, Mapping[str, bool]],
) -> Records:
    """Put the rows of both tables together, graph by graph, in the order of the nodes' table.

    Args:
        nodes: The nodes' file, for messages.
        edges: The edges' file, for messages.
        node_rows: (line, row): the first column names the graph, ``node`` numbers its nodes from 0.
        edge_rows: (line, row): the graph, ``source``, ``target``, and columns of the edge.
        features: The nodes' columns that the model sees; all others are label columns.
        numeric: As for `multiseq.data.readers.read_networks`; what it does not name is guessed.
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


def _nodes(path: Path, rows: Iterable[Row], features: Sequence[str]) -> tuple[Table, Lines]:
    graphs: Table = {}
    lines: Lines = {}
    for line, row in rows:
        name, (node,), columns = _parse(path, row, ("node",), features)
        num = len(lines.setdefault(name, []))
        if node != str(num):
            raise DataError(
                f"{path}:{line}: got node {node!r} of {name!r}, expected {num}: nodes count from 0"
            )
        _add(graphs, lines, name, line, columns)
    return graphs, lines


def _edges(path: Path, rows: Iterable[Row], nodes: Lines) -> tuple[dict[str, Any], Table, Lines]:
    pairs: dict[str, list[tuple[int, int]]] = {}
    ties: Table = {}
    lines: Lines = {}
    for line, row in rows:
        name, ends, columns = _parse(path, row, ("source", "target"), ())
        if name not in nodes:
            raise DataError(f"{path}:{line}: got graph {name!r}, which has no nodes")
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
    """The graph's name, which is the first column, the node numbers, and the other columns."""
    (_, name), *others = row.items()
    columns = dict(others)
    found = [columns.pop(column, None) for column in numbers]
    if None in found or not columns.keys() >= set(needed):
        expected = ", ".join((*numbers, *needed))
        raise DataError(
            f"{path}:1: got the columns {', '.join(row)}; expected the graph's name, then {expected}"
        )
    return name, [number for number in found if number is not None], columns


def _add(table: Table, lines: Lines, name: str, line: int, columns: dict[str, str]) -> None:
    lines.setdefault(name, []).append(line)
    own = table.setdefault(name, {column: [] for column in columns})
    for column, value in columns.items():
        own[column].append(value)


def _values(
    path: Path, table: Table, lines: Lines, columns: Iterable[str], known: Mapping[str, bool]
) -> dict[str, dict[str, Any]]:
    """The chosen columns of each graph: numbers where all cells of a column are, else categories."""
    numeric = {column: _is_numeric(path, table, lines, column, known.get(column)) for column in columns}
    return {
        name: {c: list(map(_number, own[c])) if flag else own[c] for c, flag in numeric.items()}
        for name, own in table.items()
    }


def _is_numeric(path: Path, table: Table, lines: Lines, column: str, known: bool | None) -> bool:
    """Whether a column holds numbers. That of a trained model is ``known``, and is not guessed."""
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
            + ("; fill in or leave out what is missing" if known is None else ", as in training")
        )
    return True


def _number(cell: str) -> float | None:
    """NaN of an empty cell, None of words."""
    try:
        return float(cell.strip() or "nan")
    except ValueError:
        return None
