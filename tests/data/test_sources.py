"""What is read for a recipe: parts, and labels as targets take them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from multiseq.data import DataError
from multiseq.runs.build import build_model
from multiseq.runs.recipe import read
from multiseq.runs.sources import draw_splits, read_split
from multiseq.tasks import Source

ENCODER = "[encoder]\ndim = 16\ndepth = 1\nheads = 2\n"
DATA: dict[str, Any] = {"adapter": "text", "format": "table", "train": "train.tsv", "test": "test.tsv"}
TASK: dict[str, Any] = {"data": "lines", "output": "set", "target": "class", "column": "label"}


class Folder:
    """A folder with files and a recipe of one data table and one task."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: str) -> None:
        (self.path / name).write_text(content)

    def recipe(self, data: dict[str, Any], task: dict[str, Any]) -> Any:
        tables = {"data.lines": data, "tasks.mood": {**TASK, **task}}
        text = ENCODER
        for name, table in tables.items():
            lines = [f"{k} = {json.dumps(v)}\n" for k, v in table.items() if v is not None]
            text += f"[{name}]\n{''.join(lines)}"
        self.write("tiny.toml", text)
        return read(self.path / "tiny.toml")

    def part(self, part: str = "train", data: dict[str, Any] | None = None, **task: Any) -> Source:
        [source] = read_split(self.recipe(data or DATA, task), part)
        return source

    def table(self, content: str, **task: Any) -> list[Any]:
        """The labels of a table; a label column that is not ``column`` is given by name."""
        self.write("train.tsv", content)
        return list(self.part(**task).targets["mood"])

    def json(self, *rows: Any, adapter: str = "text", **task: Any) -> list[Any]:
        """The labels of JSON lines."""
        self.write("train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        data = {"adapter": adapter, "format": "jsonl", "train": "train.jsonl"}
        return list(self.part(data=data, **task).targets["mood"])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path)
    for part in ("train", "test"):
        found.write(f"{part}.tsv", f"text\tlabel\ngood {part}\tup\nbad {part}\tdown\n")
    return found


def test_a_label_column_that_is_not_there(folder: Folder) -> None:
    """The message names the columns that may be meant, and says what is the input."""
    folder.write("test.tsv", "text\nnew\n")
    predict = "test needs labels, and a file without them goes to `multiseq predict`"
    with pytest.raises(DataError, match=rf"test.tsv: no column 'label'; .* the input, 'text'; {predict}"):
        folder.part("test")
    folder.write("test.tsv", "text\tlabl\tsize\nnew\tup\t1\n")
    with pytest.raises(DataError, match=rf"'label' \(did .* 'labl'\?\); there are labl, size; {predict}"):
        folder.part("test")
    folder.write("train.tsv", "text\tlabel\tsize\nnew\tup\t1\n")
    with pytest.raises(DataError, match=r"train.tsv: 'text' is the input, .* labels; there are label, size$"):
        folder.part(column="text")
    with pytest.raises(DataError, match=r"train.jsonl: 'text' is the input, .*; there are label$"):
        folder.json({"text": "new", "label": "up"}, column="text")
    with pytest.raises(DataError, match=r"train.tsv: no column 'mood'; there are label, size$"):
        folder.part(column="mood")


@pytest.mark.parametrize(("output", "target"), [("set", "class"), ("set", "number"), ("sequence", "text")])
def test_labels_that_are_all_missing(folder: Folder, output: str, target: str) -> None:
    folder.write("train.tsv", "text\tlabel\ngood\t\nbad\t\n")
    recipe = folder.recipe(DATA, {"output": output, "target": target})
    with pytest.raises(ValueError, match=r"^tiny: \[tasks\.mood\]: column 'label' in .*train\.tsv: .*: got"):
        build_model(recipe, read_split(recipe, "train"))


# --- parts ----------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_recipe_or_to_the_data_folder(folder: Folder) -> None:
    source = folder.part()
    assert source.items == ["good train", "bad train"]
    assert source.targets == {"mood": ["up", "down"]}
    assert source.locations == [f"{folder.path}/train.tsv:2", f"{folder.path}/train.tsv:3"]
    with pytest.raises(DataError, match=r"elsewhere.train\.tsv: no such file"):
        read_split(folder.recipe(DATA, {}), "train", folder.path / "elsewhere")


def test_a_share_of_train_is_held_out_and_no_item_is_lost(folder: Folder) -> None:
    rows = "".join(f"text {i}\tup\n" for i in range(50))
    folder.write("train.tsv", f"text\tlabel\n{rows}")
    train, dev = (folder.part(part, {**DATA, "dev": 0.1}).items for part in ("train", "dev"))
    assert len(dev) == 5
    assert sorted([*train, *dev]) == sorted(f"text {i}" for i in range(50))
    assert len(folder.part("test", {**DATA, "dev": 0.1}).items) == 2


def parts_of(folder: Folder, data: dict[str, Any]) -> list[list[Any]]:
    """The items of train, dev and test."""
    recipe = folder.recipe(data, {})
    parts = [read_split(recipe, part) for part in ("train", "dev", "test")]
    return [[item for source in sources for item in source.items] for sources in parts]


def test_rows_of_a_split_file(folder: Folder) -> None:
    data = {**DATA, "file": "train.tsv", "split_file": "split.json", "train": None, "test": None}
    splits = {"splits": [{"train": [0]}, {"train": [1], "val": [0], "left out": "a note", "bad": []}]}
    folder.write("split.json", "\ufeff" + json.dumps(splits))
    assert parts_of(folder, {**data, "fold": 1}) == [["bad train"], ["good train"], []]
    assert parts_of(folder, data) == [["good train"], [], []]
    folder.write("split.json", '{"train": [1, 0], "dev": []}')
    assert parts_of(folder, data) == [["bad train", "good train"], [], []]


def test_other_rows_of_a_split_file_are_left_out(folder: Folder) -> None:
    data = {**DATA, "file": "train.tsv", "split_file": "split.json", "train": None, "test": None}
    folder.write("split.json", '{"train": [0], "invalid": [1]}')
    with pytest.warns(UserWarning, match=r"split\.json: left out 1 row of 'invalid', which is not train"):
        assert parts_of(folder, data) == [["good train"], [], []]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("[0]", r"no fold 0 in it; expected \{\"train\": \[row numbers\]"),
        ('{"splits": []}', "no fold 0 in it"),
        ('{"splits": [[0]]}', "no fold 0 in it"),
        ('{"train"', "not JSON: "),
        ('{"train": [7]}', "expected row numbers from 0 to 1 under 'train'"),
        ('{"train": ["0"]}', "expected row numbers from 0 to 1 under 'train'"),
        ('{"train": [0.0]}', "expected row numbers from 0 to 1 under 'train'"),
        ('{"train": 2}', "expected row numbers from 0 to 1 under 'train'"),
        (
            '{"train": [0], "test_idx": [1]}',
            r"got the split 'test_idx' \(did you mean 'test'\?\), expected train, dev \(or val, valid\)",
        ),
        ('{"train": [0, 1], "test": [1]}', "row 1 is in 'train' and in 'test', expected one"),
        (
            '{"train": [0], "val": [1], "dev": []}',
            "got the split dev twice, once as 'dev'; expected one list",
        ),
        ("[" * 5000, "not JSON: nested more than 100 deep"),
    ],
)
def test_split_files_that_are_none(folder: Folder, split: str, message: str) -> None:
    data = {**DATA, "file": "train.tsv", "split_file": "split.json", "train": None, "test": None}
    folder.write("split.json", split)
    with pytest.raises(DataError, match=rf"split\.json: {message}"):
        folder.part("train", data)
    (folder.path / "split.json").unlink()
    with pytest.raises(DataError, match=r"split\.json: no such file"):
        folder.part("train", data)


def test_rows_by_a_column(folder: Folder) -> None:
    data = {**DATA, "file": "all.tsv", "split_column": "split", "train": None, "test": None}
    folder.write("all.tsv", "text\tlabel\tsplit\na\tx\ttrain\nb\tx\tval\nc\tx\ttrain\n")
    assert parts_of(folder, data) == [["a", "c"], ["b"], []]
    with pytest.raises(DataError, match=r"all\.tsv: split has rows of the split dev; leave out dev = 0.5"):
        parts_of(folder, {**data, "dev": 0.5})
    folder.write("all.tsv", "text\tlabel\tsplit\na\tx\ttrain\nb\tx\ttest\nc\tx\ttrain\n")
    assert sorted(map(len, parts_of(folder, {**data, "dev": 0.5}))) == [1, 1, 1]
    folder.write("all.tsv", "text\tlabel\tsplit\na\tx\ttrain\nb\tx\tTest\n")
    with pytest.raises(DataError, match=r"all\.tsv:3: got the split 'Test', expected train"):
        parts_of(folder, data)


def test_other_words_for_splits(folder: Folder) -> None:
    words = {"0": "train", "dev": "test"}
    data = {**DATA, "file": "all.tsv", "split_column": "split", "train": None, "test": None}
    folder.write("all.tsv", "text\tlabel\tsplit\na\tx\t0\nb\tx\tdev\nc\tx\t0\nd\tx\ttrain\n")
    recipe = folder.recipe(data, {})
    recipe.tables["data"]["lines"]["split_names"] = words
    splits = [read_split(recipe, split) for split in ("train", "dev", "test")]
    assert [[item for source in split for item in source.items] for split in splits] == [
        ["a", "c", "d"],
        [],
        ["b"],
    ]
    recipe.tables["data"]["lines"] |= {"dev": 0.3}
    drawn = draw_splits(recipe)
    [[dev], [test]] = (read_split(recipe, split, splits=drawn) for split in ("dev", "test"))
    assert (len(dev.items), test.items) == (1, ["b"])


def test_no_item_to_train_on_is_an_error(folder: Folder) -> None:
    folder.write("train.tsv", "text\tlabel\n")
    with pytest.raises(DataError, match=r"tiny: \[data\.lines\]: no item of the split 'train' in train\.tsv"):
        folder.part()
    with pytest.raises(DataError, match=r"no item of the split 'test' in train\.tsv"):
        folder.part("test", {**DATA, "test": "train.tsv"})
    with pytest.raises(DataError, match=r"no item of the split 'train' in train\.jsonl"):
        folder.json()
    folder.write("all.tsv", "text\tlabel\tsplit\na\tx\ttest\n")
    data = {**DATA, "file": "all.tsv", "split_column": "split", "train": None, "test": None}
    with pytest.raises(DataError, match=r"no item of the split 'train' in all\.tsv"):
        folder.part("train", data)


def test_nodes_of_several_parts_hide_their_labels_from_each_other(folder: Folder) -> None:
    folder.write("nodes.csv", "net,split,node,age,buys\nA,train,0,1,no\nA,test,1,2,yes\nB,train,0,3,yes\n")
    folder.write("edges.csv", "net,source,target\nA,0,1\n")
    data = {"adapter": "graph", "format": "networks", "file": "nodes.csv", "split_column": "split"}
    data |= {"edges": "edges.csv", "features": ["age"]}
    recipe = folder.recipe(data, {"output": "vector", "column": "buys"})
    [train], [test] = read_split(recipe, "train"), read_split(recipe, "test")
    assert train.targets == {"mood": [["no", None], ["yes"]]}
    assert test.targets == {"mood": [[None, "yes"]]}
    assert build_model(recipe, [train]).task("mood").head.target.labels == ["no", "yes"]


# --- labels ---------------------------------------------------------------------------------------


def test_several_labels(folder: Folder) -> None:
    found = folder.table("text\tlabel\na\tred, very round\nb\tred,\nc\t\n", target="multilabel")
    assert found == [["red", "very round"], ["red"], None]
    rows = [{"text": "a", "label": ["very round", "red", 3]}, {"text": "b", "label": []}, {"text": "c"}]
    assert folder.json(*rows, target="multilabel") == [["3", "red", "very round"], [], None]
    words = {"text": ["x", "y", "z"], "label": [["red", "round"], "red, small", None]}
    assert folder.json(words, target="multilabel", output="vector") == [
        [["red", "round"], ["red", "small"], None]
    ]


def test_a_column_for_each_label(folder: Folder) -> None:
    rows = "text\tred\tround\na\t1\t0.0\nb\tnan\t\n"
    two = {"target": "multilabel", "column": None, "columns": ["red", "round"]}
    assert folder.table(rows, **two) == [{"red": True, "round": False}, {"red": None, "round": None}]
    pandas = rows.replace("1", "True").replace("0.0", "False")
    assert folder.table(pandas, **two) == folder.table(rows, **two)
    for wrong in ("2", "inf", "yes"):
        with pytest.raises(DataError, match=rf"train\.tsv:3: red: got '{wrong}', expected 1, 0"):
            folder.table(rows.replace("nan", wrong), **two)


def test_numbers(folder: Folder) -> None:
    rows = "text\tlabel\na\t1.5\nb\tnan\nc\t\n"
    assert folder.table(rows, target="number") == [1.5, None, None]
    assert folder.json({"text": "a", "label": math.nan}, target="number") == [None]
    for wrong in ("up", "inf", "-Infinity"):
        with pytest.raises(DataError, match=rf"train\.tsv:3: label: got '{wrong}', expected (a|fin)"):
            folder.table(rows.replace("nan", wrong), target="number")
    with pytest.raises(DataError, match=r"train\.jsonl:1: label: got 1000+, expected a number"):
        folder.json({"text": "a", "label": 10**400}, target="number")


def test_numbers_with_a_decimal_comma(folder: Folder) -> None:
    number = {"target": "number"}
    table = "text;label\na;3,5\nb;1.234,5\nc;-1 234\nd;\ne;7\n"
    folder.write("train.csv", table)
    data = {**DATA, "train": "train.csv", "decimal": ","}
    assert str(folder.part(data=data, **number).targets["mood"]) == "[3.5, 1234.5, -1234.0, None, 7.0]"
    with pytest.raises(
        DataError, match=r"train\.csv:2: label: got '3,5', .*; numbers .* need decimal = \",\""
    ):
        folder.part(data={**data, "decimal": "."}, **number)
    for wrong in ("0.123", "1.5", "x"):
        folder.write("train.csv", f"text;label\na;{wrong}\n")
        with pytest.raises(DataError, match=rf"train\.csv:2: label: got '{wrong}', expected a "):
            folder.part(data=data, **number)


def test_digits_in_groups(folder: Folder) -> None:
    number, data = {"target": "number"}, {**DATA, "train": "train.csv"}
    folder.write("train.csv", 'text,label\na,"3,506,033"\nb,"-9,667.17"\nc,1 234.5\nd,4.474\n')
    assert folder.part(data=data, **number).targets["mood"] == [3506033, -9667.17, 1234.5, 4.474]
    folder.write("train.csv", 'text,label\na,"51,494"\n')
    unclear = (
        r"train\.csv:2: label: got '51,494', which may mean 51494 or 51\.494; expected decimal = \"\.\" for"
    )
    with pytest.raises(DataError, match=unclear):
        folder.part(data=data, **number)
    for decimal, value in ((".", 51494), (",", 51.494)):
        assert folder.part(data={**data, "decimal": decimal}, **number).targets["mood"] == [value]
    folder.write("train.csv", "text;label\na;4.474\n")
    assert folder.part(data={**data, "decimal": ","}, **number).targets["mood"] == [4474]


def test_several_columns_of_numbers(folder: Folder) -> None:
    task: dict[str, Any] = {"target": "number", "column": None, "columns": ["x", "y"]}
    assert folder.table("text\tx\ty\na\t1\t\n", **task) == [{"x": 1.0, "y": None}]
    with pytest.raises(DataError, match=r"train\.tsv:2: y: got 'up', expected a number"):
        folder.table("text\tx\ty\na\t1\tup\n", **task)
    rows = [{"text": "a b", "x": [1, 2], "y": [3, None]}, {"text": "c", "x": [4]}, {"text": "d"}]
    found = folder.json(*rows, output="vector", **task)
    assert found == [[{"x": 1.0, "y": 3.0}, {"x": 2.0, "y": None}], [{"x": 4.0, "y": None}], None]
    with pytest.raises(DataError, match=r"train\.jsonl:1: got lists of \[1, 2\] labels in \['x', 'y'\]"):
        folder.json({"text": "a b", "x": [1, 2], "y": [3]}, output="vector", **task)


def test_several_columns_for_each_vector_can_be_learned(folder: Folder) -> None:
    folder.write("train.jsonl", '{"text": ["a", "b"], "x": [1, 2], "y": [3, null]}\n')
    data = {"adapter": "text", "format": "jsonl", "train": "train.jsonl"}
    task = {"target": "number", "output": "vector", "column": None, "columns": ["x", "y"]}
    recipe = folder.recipe(data, task)
    model = build_model(recipe, read_split(recipe, "train"))
    [results] = model.predict("mood", [["a", "b"]])
    assert [set(result.values) for result in results] == [{"x", "y"}] * 2
    assert model.task("mood").head.target.mean == [1.5, 3.0]


@pytest.mark.parametrize("target", ["class", "number", "multilabel"])
def test_a_label_for_each_vector_is_a_list(folder: Folder, target: str) -> None:
    message = r"tsv:2: label: got '3', expected a list with a label for each vector; .* output = \"set\""
    with pytest.raises(DataError, match=message):
        folder.table("text\tlabel\na b\t3\n", output="vector", target=target)


def test_a_cell_of_a_table_may_hold_a_list(folder: Folder) -> None:
    text = "text\tlabel\na b\t[0.5, null]\nc\t\nd\t [2]\n"
    task: dict[str, Any] = {"output": "vector", "target": "number"}
    assert folder.table(text, **task) == [[0.5, None], None, [2.0]]
    assert folder.table('text\tlabel\na b\t["A", null]\n', output="vector") == [["A", None]]
    with pytest.raises(
        DataError, match=r"tsv:2: label: got '\[0.5, None\]', expected JSON, as in \[0.1, null"
    ):
        folder.table("text\tlabel\na b\t[0.5, None]\n", **task)


@pytest.mark.parametrize("target", ["class", "number"])
@pytest.mark.parametrize("label", [[1, 2], {"a": 1}])
def test_one_label_is_no_list(folder: Folder, target: str, label: Any) -> None:
    with pytest.raises(
        DataError, match=r"jsonl:1: label: got .*, expected one label; .* output = \"vector\""
    ):
        folder.json({"text": "a b", "label": label}, target=target)


def test_texts(folder: Folder) -> None:
    task = {"output": "sequence", "target": "text"}
    assert folder.json({"text": "a", "label": ["x", "y"]}, **task) == [["x", "y"]]
    with pytest.raises(DataError, match=r"train\.jsonl:1: label: got 5, expected a text"):
        folder.json({"text": "a", "label": 5}, **task)


def test_a_column_that_is_not_there(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"no column 'labl' \(did you mean 'label'\?\); there are label"):
        folder.part(column="labl")


# --- speech ---------------------------------------------------------------------------------------


def test_recordings_of_any_format_lie_beside_their_table(folder: Folder) -> None:
    (folder.path / "clips").mkdir()
    soundfile.write(folder.path / "clips" / "a.wav", torch.zeros(8000).numpy(), 8000)
    segments = [[0, 0.3, "a"], [0.3, 1.0, None]]
    folder.write("clips/list.jsonl", json.dumps({"text": "a.wav", "label": segments}) + "\n")
    data = {"adapter": "speech", "format": "jsonl", "train": "clips/list.jsonl"}
    recipe = folder.recipe(data, {"output": "vector"})
    [source] = read_split(recipe, "train")
    assert source.items == [str(folder.path / "clips" / "a.wav")]
    assert source.targets == {"mood": [[(0, 0.3, "a"), (0.3, 1.0, None)]]}
    assert build_model(recipe, [source]).task("mood").head.target.labels == ["a"]


def test_segments_have_labels_of_any_target(folder: Folder) -> None:
    row = {"text": "a.wav", "label": [[0, 1, "2.5"], [1, 2, "nan"]]}
    task: dict[str, Any] = {"adapter": "speech", "output": "vector"}
    assert folder.json(row, target="number", **task) == [[(0, 1, 2.5), (1, 2, None)]]
    row = {"text": "a.wav", "label": [[0, 1, ["loud", "low"]], [1, 2, "high, loud"]]}
    assert folder.json(row, target="multilabel", **task) == [
        [(0, 1, ["loud", "low"]), (1, 2, ["high", "loud"])]
    ]
    with pytest.raises(DataError, match=r"train\.jsonl:1: label: labels: got 'x' as number 1 among segments"):
        folder.json({"text": "a.wav", "label": [[0, 1, "y"], "x"]}, **task)


def test_vowels_without_stress(folder: Folder) -> None:
    label = [[0, 1, "AH0"], [1, 2, "sil"], [2, 3, "K2"], [3, 4, "er1"], [4, 5, None]]
    row = {"text": "a.wav", "label": label}
    task: dict[str, Any] = {"adapter": "speech", "output": "vector"}
    [kept] = folder.json(row, **task)
    assert [label for _, _, label in kept] == ["AH0", "sil", "K2", "er1", None]
    [folded] = folder.json(row, stress=False, **task)
    assert folded == [(0, 1, "AH"), (1, 2, "sil"), (2, 3, "K2"), (3, 4, "er"), (4, 5, None)]
    assert folder.json({"text": "a.wav", "label": "IY2"}, adapter="speech", stress=False) == ["IY"]


# --- graphs ---------------------------------------------------------------------------------------


def test_columns_of_graphs_hold_what_they_held_in_training(folder: Folder) -> None:
    """Categories that are digits by chance, in another file, are categories."""
    data = {"adapter": "graph", "format": "networks", "file": "nodes.csv", "split_column": "split"}
    data |= {"edges": "edges.csv", "features": ["zone", "age"]}
    folder.write("nodes.csv", "net,split,node,zone,age,buys\nA,train,0,1,2,no\nA,train,1,x,3,yes\n")
    folder.write("edges.csv", "net,source,target,kind\nA,0,1,7\nA,1,0,y\n")
    recipe = folder.recipe(data, {"output": "vector", "column": "buys"})
    [train] = read_split(recipe, "train")
    model = build_model(recipe, [train])
    folder.write("nodes.csv", "net,split,node,zone,age,buys\nB,test,0,1,4,no\nB,test,1,01,5,yes\n")
    folder.write("edges.csv", "net,source,target,kind\nB,0,1,7\n")
    [test] = read_split(recipe, "test", model=model)
    assert test.items[0]["nodes"] == {"zone": ["1", "01"], "age": [4.0, 5.0]}
    assert test.items[0]["edge_columns"] == {"kind": ["7"]}
    assert len(model.predict("mood", test.items)[0]) == 2
