"""Networks as others publish them: further files of ids and labels, edge lists, npz, planetoid, TU."""

from __future__ import annotations

import json
import os
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse

from multiseq import GraphAdapter
from multiseq.data import DataError
from multiseq.data.graphs.graphml import item_of
from multiseq.data.readers import read_graphml, read_networks, read_npz, read_planetoid, read_tu
from multiseq.runs.splits import read_split_file

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_one(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_one


# --- tables with further files --------------------------------------------------------------------

PAGES = "id,name,kind\n0,A,shop\n1,B,club\n2,C,\n"
LINKS = "id_1,id_2\n0,2\n1,2\n"


def test_ids_and_labels_have_files_of_their_own(write: Write) -> None:
    """The layout of MUSAE, and labels apart from the nodes."""
    ids = write("ids.json", json.dumps({"0": [5, 3], "2": [], "1": [3]}))
    nodes, edges = write("pages.csv", PAGES), write("links.csv", LINKS)
    labels = write("labels.csv", "id,likes\n2,9\n0,\n")
    records = read_networks(nodes, edges=edges, ids=ids, labels=labels)
    assert records.items == [
        {"nodes": {"ids": [[5, 3], [3], []]}, "edges": [(0, 2), (1, 2)], "edge_columns": {}}
    ]
    assert records.columns == {
        "name": [["A", "B", "C"]],
        "kind": [["shop", "club", None]],
        "likes": [[None, None, "9"]],
    }


def test_nodes_without_features_have_their_number_of_edges(write: Write) -> None:
    [item] = read_networks(write("pages.csv", PAGES), edges=write("links.csv", LINKS)).items
    assert item["nodes"] == {"degree": [1.0, 1.0, 2.0]}


@pytest.mark.parametrize(
    "text",
    [
        "0,2\n1,2\n",
        "0\t2\n1\t2\n",
        "0 2\n1 2\n",
        "# from to\n0  2\n\n1   2\n",
        "id_1;id_2\n0;2\n1;2\n",
        "a b\n0 2\n1 2\n",
    ],
)
def test_edge_lists_need_no_header(write: Write, text: str) -> None:
    [item] = read_networks(write("pages.csv", PAGES), edges=write("links.txt", text)).items
    assert item["edges"] == [(0, 2), (1, 2)]


def test_more_columns_of_an_edge_list_without_a_header_are_features(write: Write) -> None:
    edges = write("links.txt", "0 2 0.5\n1 2 1\n")
    [item] = read_networks(write("pages.csv", PAGES), edges=edges).items
    assert item["edge_columns"] == {"column 3": [0.5, 1.0]}


CELLS = {
    "blanks": ["3 17 2045", "17", "", "3 3"],
    "json": ["[3, 17, 2045]", "[17]", "[]", "[3,3]"],
}


@pytest.mark.parametrize("form", CELLS)
def test_cells_with_several_numbers_are_ids(write: Write, form: str) -> None:
    rows = "".join(f"{i};{cell}\n" for i, cell in enumerate(CELLS[form]))
    nodes, edges = write("nodes.csv", f"node;words\n{rows}"), write("edges.csv", "source;target\n0;1\n")
    [item] = read_networks(nodes, edges=edges, features=["words"]).items
    assert item["nodes"] == {"words": [[3, 17, 2045], [17], [], [3, 3]]}
    single = write("nodes.csv", "node;words\n0;3\n1;4\n")
    known: Any = {"nodes": {"words": "ids"}, "edges": {}}
    [item] = read_networks(single, edges=edges, features=["words"], kinds=known).items
    assert item["nodes"] == {"words": [[3], [4]]}
    wrong = write("nodes.csv", f"node;words\n{rows * 1}4;3 x\n")
    with pytest.raises(DataError, match=r"nodes\.csv:6: column 'words' has '3 x' among ids, expected whole"):
        read_networks(wrong, edges=edges, features=["words"], kinds=known)


MISTAKES = {
    "edge": ({"links.csv": "0,1\n0,7\n"}, r"links\.csv:2: got node '7', expected one of its 3 nodes"),
    "cells": ({"links.csv": "0,1\n0\n"}, r"links\.csv:2: got 1 cells, expected 2 as in the first line"),
    "label": ({"labels.csv": "id,x\n7,1\n"}, r"labels\.csv:2: got node '7', expected one of its 3 nodes"),
    "twice": ({"labels.csv": "id,x\n1,1\n1,2\n"}, r"labels\.csv:3: got node '1' twice"),
    "column": ({"labels.csv": "id,kind\n1,1\n"}, r"labels\.csv:1: got the column 'kind', which .* rename"),
    "node": ({"ids.json": '{"7": [1]}'}, r"ids\.json: got node '7', expected one of its 3 nodes"),
    "id": ({"ids.json": '{"1": [1, 2.5]}'}, r"ids\.json: node '1' has 2\.5, expected a list of ids"),
    "list": ({"ids.json": '{"1": 4}'}, r"ids\.json: node '1' has 4, expected a list of ids"),
    "json": ({"ids.json": "[[1]]"}, r"ids\.json: got no object, expected \{"),
    "graphs": (
        {"pages.csv": "net,node\na,0\nb,0\n", "links.csv": "net,source,target\n", "ids.json": "{}"},
        r"ids\.json: .*pages\.csv has several graphs, expected a single one",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_name_file_and_line(write: Write, case: str) -> None:
    files, message = MISTAKES[case]
    given = {
        name: write(name, text) for name, text in {"pages.csv": PAGES, "links.csv": LINKS, **files}.items()
    }
    with pytest.raises(DataError, match=message):
        read_networks(
            given["pages.csv"],
            edges=given["links.csv"],
            ids=given.get("ids.json"),
            labels=given.get("labels.csv"),
        )


# --- arrays ---------------------------------------------------------------------------------------


def arrays(**changed: Any) -> dict[str, Any]:
    """Four nodes in a line, with two masks."""
    return {
        "node_features": np.array([[0.5, 1], [2, 1], [0, 0], [1, 1]], dtype=np.float32),
        "node_labels": np.array([1, 0, 0, 1]),
        "edges": np.array([[0, 1], [1, 2], [2, 3]]),
        "train_masks": np.array([[1, 1, 0, 0], [0, 1, 0, 1]], dtype=bool),
        "val_masks": np.array([[0, 0, 1, 0], [1, 0, 0, 0]], dtype=bool),
        "test_masks": np.array([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool),
        **changed,
    }


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, **arrays())
    records = read_npz(path)
    [item] = records.items
    nodes = {name: column.tolist() for name, column in item["nodes"].items()}
    assert nodes == {"feature 0": [0.5, 2.0, 0.0, 1.0], "feature 1": [1.0, 1.0, 0.0, 1.0]}
    assert item["edges"].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert records.columns == {"label": [[1, 0, 0, 1]]}
    assert read_split_file(path, 1).content == {
        "train": [1, 3], "dev": [0], "test": [], "rows": 4, "of": "nodes"
    }  # fmt: skip
    words = np.zeros((4, 100), dtype=np.float32)
    words[[0, 0, 3], [7, 99, 1]] = 1
    np.savez(path, **arrays(node_features=words))
    assert read_npz(path).items[0]["nodes"] == {"ids": [[7, 99], [], [], [1]]}


NPZ = {
    "nan": (
        {"node_features": np.array([[0.0], [np.nan], [1], [1]])},
        "node 1 has nan in column 0 of node_feat",
    ),
    "edge": (
        {"edges": np.array([[0, 1], [1, 4]])},
        r"row 1 of edges is \(1, 4\), expected nodes from 0 to 3",
    ),
    "shape": ({"node_labels": np.zeros(3)}, r".*node_labels \(3,\), edges .*, expected \(nodes, columns\)"),
    "pickle": (
        {"node_labels": np.array([{}] * 4, dtype=object)},
        "has Python objects in a pickle, which could run code",
    ),
}


@pytest.mark.parametrize("case", NPZ)
def test_mistakes_in_npz(tmp_path: Path, case: str) -> None:
    changed, message = NPZ[case]
    np.savez(tmp_path / "net.npz", **arrays(**changed))
    with pytest.raises(DataError, match=rf"net\.npz: {message}"):
        read_npz(tmp_path / "net.npz")


def test_what_is_no_npz_or_has_no_masks(tmp_path: Path) -> None:
    (tmp_path / "net.npz").write_text("no")
    with pytest.raises(DataError, match=r"net\.npz: cannot be read as \.npz"):
        read_npz(tmp_path / "net.npz")
    np.savez(tmp_path / "net.npz", edges=[[0, 1]])
    with pytest.raises(DataError, match=r"no test_masks, train_masks, val_masks; there are edges"):
        read_split_file(tmp_path / "net.npz")
    with pytest.raises(DataError, match=r"no node_features, node_labels; there are edges"):
        read_npz(tmp_path / "net.npz")


# --- planetoid ------------------------------------------------------------------------------------

Made = Callable[..., Path]


@pytest.fixture
def citations(tmp_path: Path) -> Made:
    """Writes six papers: 0 and 1 train, 2 dev, 5 and 3 test; 4 has no features, as some of CiteSeer."""

    def write_all(**changed: Any) -> Path:
        words = scipy.sparse.csr_matrix(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=np.float32))
        classes = np.array([[1, 0], [0, 1], [1, 0]])
        graph = defaultdict(list, {0: [1, 2], 1: [0], 2: [0], 3: [5, 3], 4: [], 5: [3]})
        parts = {
            "x": words[:2], "y": classes[:2], "tx": words[1:], "ty": classes[:2], "allx": words,
            "ally": classes, "graph": graph, **changed,
        }  # fmt: skip
        for name, value in parts.items():
            raw = value if isinstance(value, bytes) else pickle.dumps(value, protocol=2)
            (tmp_path / f"ind.six.{name}").write_bytes(raw)
        (tmp_path / "ind.six.test.index").write_text("5\n3\n")
        return tmp_path / "ind.six"

    return write_all


def test_planetoid(citations: Made) -> None:
    records = read_planetoid(citations())
    assert records.items == [
        {"nodes": {"words": [[0, 2], [1], [2], [2], [], [1]]}, "edges": [(0, 1), (0, 2), (3, 5), (3, 3)]}
    ]
    assert records.columns == {
        "label": [["0", "1", "0", "1", None, "0"]],
        "split": [["train", "train", "dev", "test", None, "test"]],
    }
    assert read_planetoid(citations().with_name("ind.six.allx")).items == records.items


def test_weights_of_words_stay(citations: Made) -> None:
    weights = scipy.sparse.csr_matrix(np.array([[0.5, 0, 1], [0, 1, 0], [0, 0, 1]]))
    [item] = read_planetoid(citations(allx=weights)).items
    assert item["nodes"]["words"].toarray()[0].tolist() == [0.5, 0, 1]


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("EVIL",)


STRANGE = [
    Evil(), [Evil()], {0: Evil()}, np.array([Evil()], dtype=object), pickle.loads, np.load, Path("a"),
    scipy.sparse.coo_matrix(np.eye(2)),
]  # fmt: skip


@pytest.mark.parametrize("part", ["x", "y", "graph"])
@pytest.mark.parametrize("number", range(len(STRANGE)))
def test_nothing_in_a_pickle_is_run(
    citations: Made, part: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = citations(**{part: STRANGE[number]})
    monkeypatch.chdir(path.parent)
    with pytest.raises(DataError, match=rf"ind\.six\.{part}: refused: it names .*nothing of it was run"):
        read_planetoid(path)
    assert not Path("EVIL").exists()


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"x": b"no pickle"}, r"ind\.six\.x: refused"),
    "list": ({"graph": [1]}, r"ind\.six\.graph: got list, expected a dictionary"),
    "dense": ({"allx": np.eye(3)}, r"ind\.six\.allx: got ndarray, expected a sparse matrix"),
    "edge": ({"graph": {0: [6]}}, r"ind\.six\.graph: got the edge 0, 6, expected nodes from 0 to 5"),
    "objects": ({"y": np.array([["a"]], dtype=object)}, r"ind\.six\.y: refused: got an array of object"),
    "rows": ({"ty": np.eye(3)}, r"ind\.six\.test\.index: got 2 test nodes, expected those of tx and ty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_of_planetoid(citations: Made, case: str) -> None:
    changed, message = BROKEN[case]
    with pytest.raises(DataError, match=message):
        read_planetoid(citations(**changed))


def test_indices_outside_of_a_matrix_are_refused(citations: Made) -> None:
    matrix = scipy.sparse.csr_matrix(np.eye(3))
    matrix.indices = np.array([0, 7, 2], dtype=np.int32)
    with pytest.raises(DataError, match=r"ind\.six\.allx: refused"):
        read_planetoid(citations(allx=matrix))


@pytest.mark.parametrize(("name", "counts"), [("cora", (2708, 5278, 7)), ("citeseer", (3327, 4552, 6))])
def test_the_real_networks(data_dir: Path, name: str, counts: tuple[int, int, int]) -> None:
    records = read_planetoid(data_dir / "graph_node/planetoid" / f"ind.{name}")
    [item], [labels], [splits] = records.items, records.columns["label"], records.columns["split"]
    loops = sum(a == b for a, b in item["edges"])
    assert (len(splits), len(item["edges"]) - loops, len(set(labels) - {None})) == counts
    assert [splits.count(split) for split in ("train", "dev", "test")] == [20 * counts[2], 500, 1000]


# --- folders of TU Dortmund -----------------------------------------------------------------------

TU = {
    "A": "1, 2\n2, 1\n3, 4\n4, 3\n",
    "graph_indicator": "1\n1\n2\n2\n2\n",
    "graph_labels": "1\n-1\n",
    "node_labels": "0\n3\n0\n0\n3\n",
    "node_attributes": "1.5, 2\n0, 0\n1, 1\n2, 2\n3, 3\n",
    "edge_labels": "7\n7\n8\n8\n",
}


def test_a_folder_of_graphs(tmp_path: Path, write: Write) -> None:
    for name, text in TU.items():
        write(f"DS_{name}.txt", text)
    records = read_tu(tmp_path)
    assert records.items == [
        {
            "nodes": {"category": ["0", "3"], "number 0": [1.5, 0.0], "number 1": [2.0, 0.0]},
            "edges": [(0, 1), (1, 0)],
            "edge_columns": {"category": ["7", "7"]},
        },
        {
            "nodes": {"category": ["0", "0", "3"], "number 0": [1.0, 2.0, 3.0], "number 1": [1.0, 2.0, 3.0]},
            "edges": [(0, 1), (1, 0)],
            "edge_columns": {"category": ["8", "8"]},
        },
    ]
    assert records.columns == {"label": ["1", "-1"]}
    assert read_tu(tmp_path / "DS_A.txt").items == records.items


def test_graphs_without_labels_of_nodes_and_with_a_number(tmp_path: Path, write: Write) -> None:
    for name in ("A", "graph_indicator"):
        write(f"DS_{name}.txt", TU[name])
    write("DS_graph_attributes.txt", "0.5\n2\n")
    records = read_tu(tmp_path)
    assert [item["nodes"] for item in records.items] == [{"degree": [1.0, 1.0]}, {"degree": [1.0, 1.0, 0.0]}]
    assert records.columns == {"target": [0.5, 2.0]}


FOLDERS = {
    "edge": (
        {"A": "1, 2\n2, 3\n"},
        r"DS_A\.txt:2: got the edge 2, 3, expected two nodes of one graph",
    ),
    "order": ({"graph_indicator": "1\n3\n"}, r"graph_indicator\.txt:2: got graph 3, expected 1 or the next"),
    "lines": ({"node_labels": "1\n"}, r"DS_node_labels\.txt: got 1 lines, expected 5"),
    "nan": (
        {"node_attributes": "1\nnan\n1\n1\n1\n"},
        r"DS_node_attributes\.txt:2: got nan, expected 1 finite",
    ),
    "word": ({"A": "1, b\n"}, r"DS_A\.txt:1: got 1, b, expected numbers"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_mistakes_in_a_folder_of_graphs(tmp_path: Path, write: Write, case: str) -> None:
    changed, message = FOLDERS[case]
    for name, text in {**TU, **changed}.items():
        write(f"DS_{name}.txt", text)
    with pytest.raises(DataError, match=message):
        read_tu(tmp_path)


def test_a_folder_without_graphs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file NAME_A\.txt in it"):
        read_tu(tmp_path)


# --- networkx -------------------------------------------------------------------------------------


@pytest.mark.parametrize("directed", [False, True])
def test_an_edge_without_direction_goes_both_ways(tmp_path: Path, directed: bool) -> None:
    graph = networkx.DiGraph(shape="path") if directed else networkx.Graph(shape="path")
    graph.add_node("ada", age=34, buys="yes")
    graph.add_node("bob", age=51)
    graph.add_edges_from([("bob", "ada"), ("bob", "bob")], years=3)
    item, labels = item_of(graph, ["age", "degree"])
    assert item["nodes"] == {"age": [34.0, 51.0], "degree": [1.0, 3.0]}
    assert sorted(item["edges"]) == [*([] if directed else [(0, 1)]), (1, 0), (1, 1)]
    assert item["edge_columns"] == {"years": [3.0] * len(item["edges"])}
    assert labels == {"shape": "path", "buys": ["yes", None]}
    assert GraphAdapter.fit([item], dim=8).directed == directed
    networkx.write_graphml(graph, tmp_path / "club.graphml")
    assert read_graphml(tmp_path / "club.graphml", features=["age", "degree"]).items == [item]
    with pytest.raises(ValueError, match=r"got a graph of networkx, .* use .*item_of\(graph, features\)"):
        GraphAdapter.fit([graph], dim=8)
