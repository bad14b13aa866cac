"""Building graphs from two tables: one of nodes and one of edges. Ids and labels may be in further files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.checks import nearest, no_such
from multiseq.data.bad_rows import Reject
from multiseq.data.records import DataError, Places, Records
from multiseq.data.tables import BINARY, SEPARATORS, Table, open_table
from multiseq.data.text_files import lines_of, parse_json, suffix_of, text_of
from multiseq.labels import with_point

__all__ = ["DEGREE", "columns_of_nodes", "edge_list", "read_graphs", "read_ids"]

DEGREE = "degree"
"""A feature that every node has: the number of its edges. It is the feature of nodes without any."""

GraphColumns = dict[str, dict[str, list[str]]]
"""Graph's name -> column -> cells."""
Lines = dict[str, list[int]]
"""Graph's name -> the line number of each of its rows."""
Names = dict[str, dict[str, int]]
"""Graph's name -> name of a node -> its number, from 0."""

IDS = re.compile(r"\s*(\d+(\s+\d+)*)?\s*|\s*\[\s*(\d+(\s*,\s*\d+)*)?\s*\]\s*")
"""A cell with ids: ``3 17 2045``, or a list in JSON."""
SEVERAL_IDS = re.compile(r"\s*(\d+\s+\d|\[)")

MOSTLY = 0.9
"""A column holds ids if at least this share of its cells are lists of ids. The others are then errors."""

SEARCHED = 1000
"""In larger graphs, messages do not search for the most similar name of a node."""


def read_graphs(
    nodes: Path,
    edges: Path,
    node_table: Table,
    edge_table: Callable[[Names], Table],
    features: Sequence[str],
    kinds: Mapping[str, Mapping[str, str]],
    decimal: str | None,
    reject: Reject,
    ids: tuple[Path, dict[str, Any]] | None = None,
    labels: tuple[Path, Table] | None = None,
) -> Records:
    """Build the graphs from the rows of both tables, in the order of the table of nodes.

    Args:
        nodes: The file of nodes, for error messages.
        edges: The file of edges, for error messages.
        node_table: The table of nodes, see `multiseq.data.readers.read_networks`.
        edge_table: Opens the table of edges, when the names of the nodes are known.
        features: The columns of nodes that the model sees. All others are label columns.
        kinds: As for `multiseq.data.readers.read_networks`. For other columns, it is decided by the cells.
        decimal: The decimal separator of numbers.
        reject: What to do about a row that does not fit the others.
        ids: A file of ids and what it has: name of a node -> its ids, which become the column ``ids``.
        labels: A file of labels and its table.

    Raises:
        DataError: A column is missing, or a node or a number is wrong; the message names the line.
    """
    names, graphs, lines, grouped = _nodes(nodes, node_table, features, reject)
    pairs, ties, tie_lines = _edges(edges, edge_table(names), names, grouped, reject)
    more = [given[0] for given in (ids, labels) if given is not None]
    if more and (grouped or len(names) != 1):
        raise DataError(f"{more[0]}: {nodes} has several graphs, expected a single one, without their names")
    of_labels = {} if labels is None else _labels_of(*labels, names, reject)
    of_ids = None if ids is None else _ids_of(*ids, names[""])
    twice = [name for name in of_labels if name in node_table.names]
    if twice:
        raise DataError(f"{more[-1]}:1: got the column {twice[0]!r}, which {nodes} has, too; rename it")
    seen = _values(nodes, graphs, lines, features, kinds.get("nodes", {}), decimal)
    edge_columns = _values(
        edges, ties, tie_lines, next(iter(ties.values()), {}), kinds.get("edges", {}), decimal
    )
    records = Records([], {}, Places(nodes, [numbers[0] for numbers in lines.values()]))
    records.num_rows = sum(map(len, [*lines.values(), *tie_lines.values()]))
    for name, columns in graphs.items():
        of_nodes = seen[name]
        if of_ids is not None:
            of_nodes["ids"] = of_ids
        if not of_nodes:
            of_nodes[DEGREE] = _degrees(pairs.get(name, []), len(names[name]))
        item = {"nodes": of_nodes, "edges": pairs.get(name, []), "edge_columns": edge_columns.get(name, {})}
        if list(names[name]) != [str(i) for i in range(len(names[name]))]:
            item["names"] = list(names[name])
        records.items.append(item)
        for column in columns:
            if column not in features:
                records.columns.setdefault(column, []).append([v or None for v in columns[column]])
        for column, given in of_labels.items():
            records.columns.setdefault(column, []).append([given.get(node) for node in names[name]])
    return records


def _ids_of(path: Path, content: Any, nodes: Mapping[str, int]) -> list[list[int]]:
    """The ids of each node. Raises DataError for other names of nodes, and for ids that are no numbers."""
    for node, ids in content.items():
        if node not in nodes:
            raise DataError(f"{path}: got node {node!r}{_unknown(node, nodes)}")
        wrong = [ids] if not isinstance(ids, list) else [i for i in ids if type(i) is not int or i < 0]
        if wrong:
            got = json.dumps(wrong[0])[:40]
            raise DataError(f"{path}: node {node!r} has {got}, expected a list of ids: whole numbers from 0")
    return [content.get(node, []) for node in nodes]


def read_ids(path: Path, encoding: str, unpack_limit: int | None) -> dict[str, Any]:
    """A JSON file ``{"name of a node": [3, 17, 2045], …}``, as in MUSAE. Raises DataError for others."""
    try:
        content = parse_json(text_of(path, encoding, unpack_limit))
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f'{path}: got no object, expected {{"name of a node": [ids], …}}')
    return content


def _labels_of(path: Path, table: Table, names: Names, reject: Reject) -> dict[str, dict[str, str | None]]:
    """Label column -> name of a node -> its label."""
    _, node = columns_of_nodes(table.names)
    columns: dict[str, dict[str, str | None]] = {name: {} for name in table.names if name != node}
    known, [nodes] = set(), names.values()
    for line, row in table.rows():
        name = row[node].strip()
        if name in known or name not in nodes:
            reason = f"got node {name!r}" + (" twice" if name in known else _unknown(name, nodes))
            reject(f"{path}:{line}", reason, _raw(row))
            continue
        known.add(name)
        for column, labels in columns.items():
            labels[name] = row[column] or None
    return columns


def _unknown(name: str, nodes: Mapping[str, int]) -> str:
    numbered = any(map(str.isdigit, name))  # another number is another node
    near = nearest(name, nodes) if len(nodes) < SEARCHED and not numbered else ""
    return f", expected one of its {len(nodes):,} nodes{near}"


def edge_list(
    path: Path,
    nodes: Names,
    *,
    encoding: str,
    separator: str | None,
    unpack_limit: int | None,
    reject: Reject,
) -> Table:
    """The table of edges. A file of edges may have no header, and blanks may separate its cells.

    There is no header if the first two cells of the file are names of nodes. Then lines that begin with ``#``
    or ``%`` are comments, as in SNAP and KONECT.
    """
    options: Any = {"encoding": encoding, "unpack_limit": unpack_limit}
    if suffix_of(path) in BINARY:
        return open_table(path, reject=reject, **options)
    _, first = next(_filled(path, options), (1, ""))
    blank = " " if " " in first and not any(s in first for s in SEPARATORS) else None
    chosen = separator or blank or next((s for s in SEPARATORS if s in first), None)
    cells = _cells(first, chosen)
    known = {name for of_graph in nodes.values() for name in of_graph}
    if len(cells) < 2 or not set(cells[:2]) <= known:
        return open_table(path, separator=separator or blank, reject=reject, **options)
    names = ["source", "target", *(f"column {i}" for i in range(3, len(cells) + 1))]
    return Table(names, _rows_without_header(path, chosen, len(cells), options, reject))


def _rows_without_header(
    path: Path, separator: str | None, width: int, options: Mapping[str, Any], reject: Reject
) -> Iterator[Any]:
    for number, line in _filled(path, options):
        cells = _cells(line, separator)
        if len(cells) == width:
            yield [number], [[cell] for cell in cells]
        else:
            reject(f"{path}:{number}", f"got {len(cells)} cells, expected {width} as in the first line", line)


def _filled(path: Path, options: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The lines of an edge list with their numbers, without empty lines and comments."""
    for number, line in enumerate(lines_of(path, **options), 1):
        if line.strip() and line[0] not in "#%":
            yield number, line


def _cells(line: str, separator: str | None) -> list[str]:
    """The cells of a line. A blank means any number of them, and None a single cell."""
    if separator is None:
        return [line.strip()]
    return [cell.strip().strip('"') for cell in line.split(None if separator == " " else separator)]


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
    for name in features:
        if name not in others:
            raise DataError(
                f"{path}:1: {no_such('feature', name, others)}; expected the graph's name, then "
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
            unknown = _unknown(new, nodes[name])
            more = "; a node without labels needs a row in the table of nodes, too, with empty cells"
            reject(f"{path}:{line}", f"got node {new!r}{of}{unknown}{more}", _raw(row))
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
    known: Mapping[str, str],
    decimal: str | None,
) -> dict[str, dict[str, Any]]:
    """The chosen columns of each graph: of numbers if all cells are numbers, of ids, or of categories."""
    kinds = {column: _kind(path, table, lines, column, known.get(column), decimal) for column in columns}
    read: dict[str, Callable[[str], Any]] = {
        "numbers": lambda cell: _parse_number(cell, decimal),
        "ids": lambda cell: [int(number) for number in re.findall(r"\d+", cell)],
    }
    return {
        name: {
            c: list(map(read[kind], by_column[c])) if kind in read else by_column[c]
            for c, kind in kinds.items()
        }
        for name, by_column in table.items()
    }


def _kind(
    path: Path, table: GraphColumns, lines: Lines, column: str, known: str | None, decimal: str | None
) -> str:
    """What a column holds: "numbers", "ids" or "categories". A trained model has ``known`` it before."""
    if known == "categories":
        return known
    cells = [cell for by_column in table.values() for cell in by_column[column]]

    def check(good: list[bool], among: str, advice: str) -> None:
        if not all(good):
            bad = good.index(False)
            line = [line for of_graph in lines.values() for line in of_graph][bad]
            raise DataError(
                f"{path}:{line}: column {column!r} has {cells[bad]!r} among {among}"
                + (", as in training" if known else advice)
            )

    numbers = [_parse_number(cell, decimal) for cell in cells]
    finite = [number is not None and math.isfinite(number) for number in numbers]
    if known == "ids" or (known is None and None in numbers and any(map(SEVERAL_IDS.match, cells))):
        are_ids = [IDS.fullmatch(cell) is not None for cell in cells]
        if known is None and sum(are_ids) < MOSTLY * len(are_ids):
            return "categories"
        check(are_ids, "ids, expected whole numbers with blanks between them", "; correct or empty it")
        return "ids"
    if known is None and (None in numbers or not any(finite)):
        return "categories"
    check(finite, "numbers, expected finite numbers", "; fill in the missing cells or drop their rows")
    return "numbers"


def _parse_number(cell: str, decimal: str | None) -> float | None:
    """The number in a cell; NaN for an empty cell, None for anything but a number."""
    try:
        return float(with_point(cell, decimal).strip() or "nan")
    except ValueError:
        return None


def _degrees(pairs: Sequence[tuple[int, int]], count: int) -> list[float]:
    degrees = [0.0] * count
    for pair in pairs:
        for end in pair:
            degrees[end] += 1
    return degrees
