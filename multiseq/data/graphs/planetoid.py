"""Files of planetoid (``ind.cora.x``, ``ind.cora.graph``, …): citation networks in pickles of Python 2.

A pickle can name any function, and loading it calls that function. These files need a few names only: arrays,
dictionaries, lists and sparse matrices. Each of these names is replaced by a plain class from here, so
neither NumPy nor SciPy reads what a stranger wrote; every other name is an error, before anything is called.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multiseq.data.records import DataError
from multiseq.data.text_files import text_of
from multiseq.requires import need

__all__ = ["name_of", "network_of"]

PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph")
DEV = 500
"""Nodes of the public dev split: those after the training nodes."""


def network_of(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The network as an item, and its label columns ``label`` and ``split``, with a value for each node.

    Args:
        path: Any of the files, or their common name: ``ind.cora``.

    Raises:
        DataError: A file is missing, or has something else in it.
    """
    parts = {name: _load(_beside(path, name), name) for name in PARTS}
    index = _beside(path, "test.index")
    try:
        test = [int(line) for line in text_of(index).split()]
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{index}: {error}") from None
    known, num = parts["allx"].shape[0], len(test)
    count = max([known, *(node + 1 for node in test)])
    fits = len(set(test)) == num == parts["tx"].shape[0] and min(test, default=known) >= known
    if not fits or parts["ally"].shape[0] != known or len(parts["ty"]) != num:
        raise DataError(f"{index}: got {num} test nodes, expected those of tx and ty, numbered after allx")
    words = need("scipy.sparse").lil_matrix((count, parts["allx"].shape[1]))
    words[:known], words[test] = parts["allx"], parts["tx"]
    classes: list[str | None] = [None] * count  # of a node without a class, as 15 of CiteSeer
    for node, row in zip([*range(known), *test], [*parts["ally"], *parts["ty"]], strict=True):
        classes[node] = str(int(row.argmax())) if row.any() else None
    splits: list[str | None] = [None] * count
    for name, nodes in (("train", range(len(parts["y"]))), ("test", test)):
        for node in nodes:
            splits[node] = name
    for node in range(len(parts["y"]), min(len(parts["y"]) + DEV, known)):
        splits[node] = "dev"
    matrix = words.tocsr()
    ids = [matrix.indices[a:b].tolist() for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)]
    columns = {"words": ids if bool((matrix.data == 1).all()) else matrix}
    edges = _edges(parts["graph"], count, _beside(path, "graph"))
    return {"nodes": columns, "edges": edges}, {"label": classes, "split": splits}


def name_of(path: Path) -> str:
    """The common name of the files that this is one of.

    >>> name_of(Path("data/ind.cora.test.index"))
    'ind.cora'
    """
    endings = (f".{part}" for part in (*PARTS, "test.index"))
    ending = next((ending for ending in endings if path.name.endswith(ending)), "")
    return path.name.removesuffix(ending)


def _beside(path: Path, part: str) -> Path:
    return path.with_name(f"{name_of(path)}.{part}")


def _edges(graph: Any, count: int, path: Path) -> list[tuple[int, int]]:
    """Each pair of neighbours once."""
    pairs: dict[tuple[int, int], None] = {}
    for node, others in graph.items():
        for other in others if isinstance(others, list) else [others]:
            if not all(type(end) is int and 0 <= end < count for end in (node, other)):
                raise DataError(
                    f"{path}: got the edge {node!r}, {other!r}, expected nodes from 0 to {count - 1}"
                )
            pairs[min(node, other), max(node, other)] = None
    return list(pairs)


# --- pickles --------------------------------------------------------------------------------------


class _Dtype:
    """Stands for `numpy.dtype`: its name, and the order of its bytes."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name, self.order = str(name), "|"

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])


class _Array:
    """Stands for an array of NumPy, whose numbers are read from its bytes."""

    values: NDArray[Any]

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, raw = state
        kind = np.dtype(f"{dtype.order}{dtype.name}".replace("|", "="))
        if kind.kind not in "biuf" or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"got an array of {kind}, expected one of numbers")
        data = np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, dtype=kind)
        self.values = data.reshape(shape, order="F" if by_columns else "C")


class _Matrix:
    """Stands for a sparse matrix of SciPy."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state)

    def built(self) -> Any:
        data, indices, indptr = (self.state[name].values for name in ("data", "indices", "indptr"))
        shape = self.state.get("_shape", self.state.get("shape"))
        matrix = need("scipy.sparse").csr_matrix((data, indices, indptr), shape=shape)
        matrix.check_format(full_check=True)
        return matrix


def _made(kind: Any, *_: Any) -> Any:
    if kind is not _Matrix:
        raise pickle.UnpicklingError("got an object, expected a sparse matrix")
    return _Matrix()


def _mapping(*_: Any) -> dict[Any, Any]:
    return {}


def _bytes(text: str, encoding: str) -> bytes:
    return text.encode("latin-1")


NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("scipy.sparse.csr", "csr_matrix"): _Matrix,
    ("scipy.sparse._csr", "csr_matrix"): _Matrix,
    ("copy_reg", "_reconstructor"): _made,
    ("copyreg", "_reconstructor"): _made,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("collections", "defaultdict"): _mapping,
    ("_codecs", "encode"): _bytes,
}
"""Every name that a pickle may use -> what is taken in its place."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, but only arrays, dictionaries, lists and sparse matrices are "
                "accepted; nothing of it was run"
            )
        return NAMES[module, name]


def _load(path: Path, part: str) -> Any:
    """An array, a sparse matrix or a dictionary, as the part must be."""
    if not path.is_file():
        raise DataError(
            f"{path}: no such file, expected the files x, y, tx, ty, allx, ally, graph, test.index"
        )
    try:
        value = _Reader(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
        value = value.built() if isinstance(value, _Matrix) else value
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: refused: {error}") from None
    value = value.values if isinstance(value, _Array) and hasattr(value, "values") else value
    kind = "dictionary" if part == "graph" else "sparse matrix" if part.endswith("x") else "array"
    fits = {"dictionary": isinstance(value, dict), "sparse matrix": hasattr(value, "tocsr")}
    if not fits.get(kind, isinstance(value, np.ndarray) and value.ndim == 2):
        raise DataError(f"{path}: got {type(value).__name__}, expected a {kind}")
    return value
