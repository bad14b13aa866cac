"""Read the graphs of users into one form: torch-geometric `Data`, tables and triples.

Nothing is learned or standardised here. Errors name the invalid node or edge.

Axes: nodes, edges, pair (source and target), columns.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from multiseq.data.graphs.molecules import SMILES
from multiseq.labels import composed
from multiseq.requires import need

__all__ = [
    "DATA_NAMES",
    "Bags",
    "Graph",
    "Rows",
    "is_sparse",
    "kind_of",
    "read_data",
    "read_hetero",
    "read_table",
    "read_triples",
    "sparse",
]

Bags = Any
"""A `scipy.sparse.csr_matrix` ``(rows, ids)``: the ids of each row, and how much each of them counts."""

NODE_NAMES = ("x", "x_category")
EDGE_NAMES = ("edge_attr", "edge_category", "edge_weight")
DATA_NAMES = (*NODE_NAMES, "text", "num_nodes", "edge_index", *EDGE_NAMES, "edge_text")
"""The attributes that are read from a torch-geometric `Data`."""


LARGEST_ID = 1 << 62
"""Largest id in a list of ids."""
LARGEST = 1e150
"""Largest number that is accepted: the square of a much larger one is infinite."""
MOST_VALUES = 1 << 30
"""Most values of a sparse matrix, including zeros: 4 GiB."""


@dataclass(frozen=True)
class Rows:
    """All nodes, or all edges, of a graph.

    Args:
        count: The number of nodes or edges.
        categories: Column name -> the value of each row (strings or integers).
        numbers: Name of a column or block of columns -> a tensor ``(count, columns)`` in double precision,
            because numbers may be large and close together.
        texts: One text per row, or None.
        bags: Column name -> a sparse matrix with the ids of each row, and how much each of them counts.
    """

    count: int
    categories: dict[str, list[Any]] = field(default_factory=dict)
    numbers: dict[str, Tensor] = field(default_factory=dict)
    texts: list[str] | None = None
    bags: dict[str, Bags] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A graph as it was read, with the edges as they were given.

    Args:
        nodes, edges: Their features and texts.
        edge_index: Source and target of every edge.
        names: The name of each node; None: nodes are called by their numbers.
        both_ways: True if the reader already added the reverse of every edge.
    """

    nodes: Rows
    edges: Rows
    edge_index: Int[Tensor, "pair edges"]
    names: list[str] | None = None
    both_ways: bool = False


def kind_of(item: Any) -> str:
    """The kind of a graph by its type: `molecule`, `data`, `hetero`, `table` or `triples`, or ValueError."""
    if isinstance(item, str):
        return "molecule"
    if hasattr(item, "edge_types") and hasattr(item, "node_types"):
        return "hetero"
    if hasattr(item, "edge_index"):
        return "data"
    if hasattr(item, "adj"):
        raise ValueError(
            "graph: got a graph of networkx, expected an item that says which attributes are features; use "
            "multiseq.data.graphs.graphml.item_of(graph, features)"
        )
    if isinstance(item, Mapping):
        return "molecule" if SMILES in item and "nodes" not in item else "table"
    if isinstance(item, Sequence):
        return "triples"
    raise ValueError(
        f"graph: got {_short(item)}, expected a SMILES string, a torch-geometric Data, a mapping "
        "with 'nodes' and 'edges', or a list of (subject, relation, object) strings"
    )


# --- torch-geometric ------------------------------------------------------------------------------


def read_data(data: Any) -> Graph:
    """Read a torch-geometric `Data`.

    It reads the attributes `x` (float: numbers, integers: categories, sparse: ids), `x_category` (integers),
    `text`, `edge_index`, `edge_attr` (float or integers), `edge_category` (integers), `edge_weight` and
    `edge_text`.

    Raises:
        ValueError: An invalid attribute, or neither `x` nor `x_category` nor `text` nor `num_nodes`.
    """
    count = _num_nodes(data)
    edge_index = _edge_index(getattr(data, "edge_index", None), count)
    nodes = _attributes(data, "node", count, NODE_NAMES, "text")
    edges = _attributes(data, "edge", edge_index.shape[1], EDGE_NAMES, "edge_text")
    return Graph(nodes, edges, edge_index, nodes.texts)


def read_hetero(data: Any) -> Graph:
    """Read a torch-geometric `HeteroData`: the types of nodes and edges are categories.

    Nodes are numbered through all types, in the order of ``data.node_types``. The `x` of each type is a block
    of numbers (zeros for nodes of other types), or of ids if it is sparse (none for others). `edge_attr` is a
    block, too. With one type of edges, edges have no category.

    Raises:
        ValueError: An invalid attribute; the message names its type.
    """
    counts = {kind: _in_type(kind, _num_nodes, data[kind]) for kind in data.node_types}
    starts = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
    nodes = [_in_type(kind, _attributes, data[kind], "node", count, ("x",), "text")
             for kind, count in counts.items()]  # fmt: skip
    ends, edges = [], []
    for kind in data.edge_types:
        source, _, target = kind
        index = _tensor(getattr(data[kind], "edge_index", None), "edge_index").long()
        for end, of in zip(index, (source, target), strict=True):
            if bool(((end < 0) | (end >= counts[of])).any()):
                raise ValueError(
                    f"{kind}: got an edge to node {int(end.max())} of the {counts[of]} of {of!r}"
                )
        ends.append(index + torch.tensor([[starts[source]], [starts[target]]]))
        edges.append(_in_type(kind, _attributes, data[kind], "edge", index.shape[1], ("edge_attr",), "text"))
    kinds = [" ".join(kind) for kind in data.edge_types]
    edge_index = torch.cat(ends, dim=1) if ends else torch.zeros(2, 0, dtype=torch.long)
    names = [f"{kind} {i}" for kind, count in counts.items() for i in range(count)]
    return Graph(_joined(list(counts), nodes, True), _joined(kinds, edges, len(kinds) > 1), edge_index, names)


def _in_type(kind: Any, read: Any, *given: Any) -> Any:
    try:
        return read(*given)
    except ValueError as error:
        raise ValueError(f"{kind}: {error}") from None


def _joined(kinds: Sequence[str], parts: Sequence[Rows], typed: bool) -> Rows:
    """The rows of all types, one type after another."""
    count = sum(part.count for part in parts)
    categories: dict[str, list[Any]] = {}
    numbers: dict[str, Tensor] = {}
    bags: dict[str, Bags] = {}
    if typed:
        categories["type"] = [
            kind for kind, part in zip(kinds, parts, strict=True) for _ in range(part.count)
        ]
    start = 0
    for kind, part in zip(kinds, parts, strict=True):
        if part.texts is not None:
            raise ValueError(f"{kind}: got texts, expected numbers, categories or a sparse matrix")
        rows = slice(start, start := start + part.count)
        for name, values in part.categories.items():
            categories[f"{kind} {name}"] = ["" for _ in range(count)]
            categories[f"{kind} {name}"][rows] = map(str, values)
        for name, matrix in part.numbers.items():
            numbers[f"{kind} {name}"] = matrix.new_zeros(count, matrix.shape[1])
            numbers[f"{kind} {name}"][rows] = matrix
        for name, matrix in part.bags.items():
            ends = np.pad(matrix.indptr, (rows.start, count - rows.stop), mode="edge")
            shape = (count, matrix.shape[1])
            bags[f"{kind} {name}"] = type(matrix)((matrix.data, matrix.indices, ends), shape=shape)
    return Rows(count, categories, numbers, bags=bags)


def _num_nodes(data: Any) -> int:
    for name in (*NODE_NAMES, "text"):
        value = getattr(data, name, None)
        if value is not None:
            return len(_tensor(value, name)) if name != "text" else len(value)
    if "num_nodes" in data:
        count = data.num_nodes
        if not isinstance(count, Integral) or count < 0:
            raise ValueError(f"num_nodes: got {_short(count)}, expected the number of nodes")
        return int(count)
    raise ValueError("data: got neither x nor text nor num_nodes, expected one of them; set data.num_nodes")


def _attributes(data: Any, row: str, count: int, names: Sequence[str], text: str) -> Rows:
    categories: dict[str, list[Any]] = {}
    numbers: dict[str, Tensor] = {}
    bags: dict[str, Bags] = {}
    for name in names:
        value = getattr(data, name, None)
        if value is None:
            continue
        if row == "node" and is_sparse(value):
            bags[name] = _checked(sparse(value, name), name, row, count)
            continue
        matrix = _matrix(value, name, row, count)
        if matrix.is_floating_point():
            numbers[name] = _finite(matrix, name, row)
            continue
        if matrix.numel() and int(matrix.min()) < 0:
            place = int((matrix < 0).any(1).nonzero()[0])
            raise ValueError(f"{row} {place}: {name} has a negative category, expected integers from 0")
        categories |= {f"{name}[{i}]": column for i, column in enumerate(matrix.t().tolist())}
    return Rows(count, categories, numbers, _texts(getattr(data, text, None), text, row, count), bags)


def _matrix(value: Any, name: str, row: str, count: int) -> Tensor:
    """A matrix ``(rows, columns)`` of floats or integers."""
    tensor = _dense(value, name)
    tensor = tensor.unsqueeze(1) if tensor.dim() == 1 else tensor
    if tensor.dim() != 2 or tensor.shape[0] != count:
        raise ValueError(
            f"{name}: got shape {tuple(tensor.shape)} for {count} {row}s, expected ({count}, columns)"
        )
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        return tensor.double()
    if tensor.is_complex():
        raise ValueError(
            f"{name}: got dtype {tensor.dtype}, expected float (numbers) or integers (categories)"
        )
    return tensor.long()


def _dense(value: Any, name: str) -> Tensor:
    """A matrix of a torch-geometric `Data` as a dense tensor. It may be sparse (torch or scipy).

    Raises:
        ValueError: Not a matrix, or a sparse matrix that would be too large when dense.
    """
    if is_sparse(value) and math.prod(value.shape) > MOST_VALUES:
        raise ValueError(
            f"{name}: got a sparse matrix of shape {tuple(value.shape)}, expected at most {MOST_VALUES} "
            "values when it is filled with zeros; take fewer columns"
        )
    tensor = _tensor(value.toarray() if hasattr(value, "toarray") else value, name)
    return tensor.to_dense() if tensor.layout != torch.strided else tensor


def is_sparse(value: Any) -> bool:
    """Whether ``value`` is a sparse matrix of torch or scipy."""
    return hasattr(value, "toarray") or getattr(value, "layout", torch.strided) != torch.strided


def sparse(value: Any, name: str) -> Bags:
    """A sparse matrix of torch or scipy as rows of ids with numbers, without zeros.

    Raises:
        ValueError: It does not have two axes, or its numbers are not real.
    """
    if len(value.shape) != 2:
        raise ValueError(f"{name}: got a sparse tensor of shape {tuple(value.shape)}, expected (rows, ids)")
    if not hasattr(value, "toarray"):
        pairs = value.detach().cpu().to_sparse_coo().coalesce()
        ends, numbers = pairs.indices().numpy(), pairs.values().numpy()
        value = need("scipy.sparse").coo_matrix((numbers, (ends[0], ends[1])), shape=tuple(value.shape))
    if value.dtype.kind not in "biuf":
        raise ValueError(f"{name}: got dtype {value.dtype} in a sparse matrix, expected real numbers")
    matrix = need("scipy.sparse").csr_matrix(value).astype(np.float64)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _checked(matrix: Bags, name: str, row: str, count: int) -> Bags:
    if matrix.shape[0] != count:
        raise ValueError(f"{name}: got shape {matrix.shape} for {count} {row}s, expected ({count}, columns)")
    bad = ~(np.abs(matrix.data) <= LARGEST)  # also catches NaN
    if bad.any():
        entry = int(bad.argmax())
        place = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
        raise ValueError(
            f"{row} {place}: {name} has {matrix.data[entry]} in column {matrix.indices[entry]}, "
            f"expected finite numbers up to {LARGEST:g}; fill in or leave out what is missing"
        )
    return matrix


def _tensor(value: Any, name: str) -> Tensor:
    if hasattr(value, "toarray"):  # a sparse matrix of scipy, which has no len()
        return torch.empty(value.shape, device="meta")
    try:
        tensor = torch.as_tensor(value)
        if not tensor.dim():
            raise ValueError("a single number")
        return tensor
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name}: got {_short(value)}, expected a tensor of numbers ({error})") from None


def _finite(matrix: Tensor, name: str, row: str) -> Tensor:
    bad = ~matrix.isfinite() | (matrix.double().abs() > LARGEST)
    if bad.any():
        place, column = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{row} {place}: {name} has {matrix[place, column].item()} in column {column}, "
            f"expected finite numbers up to {LARGEST:g}; fill in or leave out what is missing"
        )
    return matrix


def _texts(texts: Any, name: str, row: str, count: int) -> list[str] | None:
    if texts is None:
        return None
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ValueError(f"{name}: got {_short(texts)}, expected a list with a text for each {row}")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{row} {i}: {name} is {_short(text)}, expected a string")
    if len(texts) != count:
        row_at = f"{row} {min(len(texts), count)}"
        raise ValueError(
            f"{name}: got {len(texts)} texts for {count} {row}s, expected as many; they differ "
            f"from {row_at} on"
        )
    return list(map(composed, texts))


def _edge_index(value: Any, count: int) -> Int[Tensor, "pair edges"]:
    pairs = torch.zeros(2, 0, dtype=torch.long) if value is None else _tensor(value, "edge_index")
    if pairs.dim() != 2 or pairs.shape[0] != 2:
        raise ValueError(
            f"edge_index: got shape {tuple(pairs.shape)}, expected (2, edges): sources and targets"
        )
    if pairs.is_floating_point() and pairs.numel():
        raise ValueError(f"edge_index: got dtype {pairs.dtype}, expected integers: the numbers of nodes")
    pairs = pairs.long()
    bad = ((pairs < 0) | (pairs >= count)).any(0)
    if bad.any():
        place = int(bad.nonzero()[0])
        expected = f"nodes from 0 to {count - 1}" if count else "no edge, as there is no node"
        raise ValueError(f"edge {place}: got {tuple(pairs[:, place].tolist())}, expected {expected}")
    return pairs


# --- tables ---------------------------------------------------------------------------------------


def read_table(table: Mapping[str, Any]) -> Graph:
    """Read a table: a mapping with "nodes", "edges", "edge_columns" and "names".

    "nodes" and "edge_columns" map column names to values. Columns of strings are categories. A column of
    nodes may hold a list of ids for each node, or be a sparse matrix (nodes, ids). "edges" is a list or an
    array (edges, 2) of source and target, node numbers that count from 0. "names" are the names of the nodes
    in results; the model does not see them.

    Raises:
        ValueError: Unknown keys, no columns of nodes, or an invalid value; the message names its row.
    """
    unknown = set(table) - {"nodes", "edges", "edge_columns", "names"}
    if unknown or "nodes" not in table:
        raise ValueError(
            f"table: got {sorted(map(str, table))}, expected 'nodes', 'edges', 'edge_columns' and 'names'"
        )
    columns = _lists(table["nodes"], "nodes")
    if not columns:
        raise ValueError("nodes: got no column, expected one or more; a column of ones will do")
    first = next(iter(columns.values()))
    count = first.shape[0] if is_sparse(first) else len(first)
    nodes = _columns(columns, "node", count)
    pairs = _pairs(table.get("edges"))
    edge_index = _edge_index(pairs.t().contiguous(), count)
    given = table.get("edge_columns")
    ties = _columns({} if given is None else _lists(given, "edge_columns"), "edge", len(pairs))
    return Graph(nodes, ties, edge_index, _texts(table.get("names"), "names", "node", count))


def _lists(columns: Any, name: str) -> dict[str, Any]:
    if not isinstance(columns, Mapping):
        raise ValueError(
            f"{name}: got {_short(columns)}, expected a mapping from each column to the list of its "
            'values, as in {"age": [20, 30], "job": ["baker", "smith"]}'
        )
    for column in columns:
        if not isinstance(column, str):
            raise ValueError(f"{name}: got the column {_short(column)}, expected a name, a string")
    return {
        column: values
        if is_sparse(values) or _are_numbers(values)
        else _list(values, f"{name}: column {column!r}")
        for column, values in columns.items()
    }


def _list(given: Any, name: str) -> list[Any]:
    values = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"{name}: got {_short(given)}, expected a list")
    return list(values)


def _are_numbers(values: Any) -> bool:
    """Whether this is a column in an array. For millions of nodes, a list would take much more memory."""
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "fiu"


def _pairs(given: Any) -> Tensor:
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu" and given.shape[1:] == (2,):
        return torch.from_numpy(given.astype(np.int64))
    pairs = [_pair(i, pair) for i, pair in enumerate([] if given is None else _list(given, "edges"))]
    return torch.tensor(pairs, dtype=torch.long).view(-1, 2)


def _pair(i: int, pair: Any) -> tuple[int, int]:
    try:
        source, target = (_whole(end) for end in pair)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"edge {i}: got {_short(pair)}, expected (source, target): the numbers of two nodes, counted "
            'from 0; tables of nodes and edges may have names (format = "networks")'
        ) from None
    return source, target


def _whole(number: Any) -> int:
    if isinstance(number, str) or int(number) != number or not abs(number) < 1 << 62:
        raise ValueError
    return int(number)


def _columns(columns: Mapping[str, Any], row: str, count: int) -> Rows:
    categories: dict[str, list[Any]] = {}
    numbers: dict[str, Tensor] = {}
    bags: dict[str, Bags] = {}
    for name, values in columns.items():
        if is_sparse(values):
            matrix = sparse(values, f"column {name!r}")
            bags[name] = _checked(matrix, f"column {name!r}", row, count)
            continue
        if len(values) != count:
            raise ValueError(
                f"{row}s: column {name!r} has {len(values)} values for {count} {row}s, expected as many"
            )
        if _are_numbers(values):
            column = torch.from_numpy(values.astype(np.float64))
            numbers[name] = _finite(column.view(-1, 1), f"column {name!r}", row)
        elif values and isinstance(values[0], str):
            categories[name] = _all_of(str, values, name, row, "a string")
        elif values and isinstance(values[0], list | tuple):
            bags[name] = _ids(values, name, row)
        else:
            real = [_float(v) for v in _all_of(Real, values, name, row, "a number")]
            column = torch.tensor(real, dtype=torch.double)
            numbers[name] = _finite(column.view(-1, 1), f"column {name!r}", row)
    if bags and row == "edge":
        raise ValueError(f"edges: column {next(iter(bags))!r} has lists of ids, which only nodes can have")
    return Rows(count, categories, numbers, bags=bags)


def _ids(values: Sequence[Any], name: str, row: str) -> Bags:
    """The lists of ids of a column as a sparse matrix. An id that a list has twice counts twice."""
    for i, ids in enumerate(values):
        if not isinstance(ids, list | tuple):
            raise ValueError(
                f"{row} {i}: column {name!r} has {_short(ids)}, expected a list of ids as in its other rows"
            )
        wrong = [v for v in ids if type(v) is not int and not isinstance(v, np.integer)]
        wrong = wrong or [v for v in ids if not 0 <= v <= LARGEST_ID]
        if wrong:
            raise ValueError(
                f"{row} {i}: column {name!r} has the id {_short(wrong[0])}, expected whole numbers from 0"
            )
    ids = np.fromiter(chain.from_iterable(values), dtype=np.int64)
    ends = np.array([0, *accumulate(map(len, values))], dtype=np.int64)
    shape = (len(values), int(ids.max(initial=-1)) + 1)
    matrix = need("scipy.sparse").csr_matrix((np.ones(len(ids)), ids, ends), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer with hundreds of digits
        return math.inf


def _all_of(kind: Any, values: list[Any], name: str, row: str, expected: str) -> list[Any]:
    for i, value in enumerate(values):
        if not isinstance(value, kind):
            raise ValueError(
                f"{row} {i}: column {name!r} has {_short(value)}, expected {expected} as in its other rows"
            )
    return values


# --- triples --------------------------------------------------------------------------------------


def read_triples(triples: Sequence[Any]) -> Graph:
    """Read triples as a Levi graph: one node per entity, in order of appearance, then one per triple.

    Edges go subject → triple → object and back, so there are four kinds of edges. A triple that occurs
    twice has two nodes. Levi graphs for graph-to-text: https://arxiv.org/abs/1806.09835.

    Raises:
        ValueError: A triple that is not three strings.
    """
    for i, triple in enumerate(triples):
        if not _is_triple(triple):
            raise ValueError(
                f"triple {i}: got {_short(triple)}, expected (subject, relation, object): three strings"
            )
    triples = [[composed(string) for string in triple] for triple in triples]
    entities = {e: i for i, e in enumerate(dict.fromkeys(e for s, _, o in triples for e in (s, o)))}
    first, count = len(entities), len(triples)
    subjects = torch.tensor([entities[s] for s, _, _ in triples], dtype=torch.long)
    objects = torch.tensor([entities[o] for _, _, o in triples], dtype=torch.long)
    triple_nodes = torch.arange(first, first + count)
    ends = {
        "subject to triple": (subjects, triple_nodes),
        "triple to object": (triple_nodes, objects),
        "triple to subject": (triple_nodes, subjects),
        "object to triple": (objects, triple_nodes),
    }
    edge_index = torch.cat([torch.stack(pair) for pair in ends.values()], dim=1)
    texts = [*entities, *(relation for _, relation, _ in triples)]
    nodes = Rows(first + count, {"kind": ["entity"] * first + ["triple"] * count}, texts=texts)
    edges = Rows(4 * count, {"kind": [name for name in ends for _ in range(count)]})
    return Graph(nodes, edges, edge_index, texts, both_ways=True)


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(isinstance(string, str) for string in value)
    )


class _Repr(reprlib.Repr):
    """A short ``repr`` for values that may be nested very deeply or be gigabytes long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 60, 60, 60
        self.maxlist = self.maxtuple = self.maxdict = 20


def _short(value: Any) -> str:
    text = _Repr().repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
