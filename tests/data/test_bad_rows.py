"""``on_error = "skip"``: bad rows are left out and listed, and nothing else moves."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from multiseq.data import DataError
from multiseq.data.bad_rows import BadRows
from multiseq.data.readers import read_conllu, read_json_lines, read_labelled, read_networks, read_recordings
from multiseq.runs.evaluate import evaluate_run
from multiseq.runs.recipe import read
from multiseq.runs.run import check_run, train_run
from multiseq.runs.sources import as_written, read_split

RECIPE = """
[encoder]
dim = 8
depth = 1
heads = 1

[training]
steps = 4
max_vectors = 60
save_every = 2

[data.mine]
on_error = "skip"
"""


def recipe(folder: Path, data: str, tasks: str) -> Any:
    (folder / "mine.toml").write_text(f"{RECIPE}{data}\n{tasks}")
    return read(folder / "mine.toml")


def listed(path: Path) -> list[list[str]]:
    """The rows of ``bad_rows.csv``, with the name of the file and the line as location."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["split", "location", "reason", "raw", "left_out"]
    return [[split, Path(location).name, *rest] for split, location, *rest in rows[1:]]


TEXTS = """
adapter = "text"
format = "table"
input = "text"
train = "train.csv"
test = "test.csv"
"""
TWO = """
[tasks.mood]
data = "mine"
output = "set"
target = "class"
column = "mood"

[tasks.stars]
data = "mine"
output = "set"
target = "number"
column = "stars"
"""


def texts(num: int) -> str:
    return "text,mood,stars\n" + "".join(f"text {i},{'up' if i % 2 else 'down'},{i}\n" for i in range(num))


def test_bad_rows_and_bad_labels_of_a_table_are_left_out_and_a_run_goes_on(tmp_path: Path) -> None:
    good = texts(9).splitlines(keepends=True)
    bad = ["x,up\n", '"a"b,up,3\n', "y,down,>3\n", " ,up,4\n", "z,down,1,2\n"]
    lines = [good[0], bad[0], *good[1:5], bad[1], bad[2], *good[5:], bad[3], bad[4]]
    (tmp_path / "train.csv").write_text("".join(lines))
    (tmp_path / "test.csv").write_text(texts(4) + "w,up,1 star\n")
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "train.csv").write_text("".join([*good[:5], "y,down,\n", *good[5:]]))
    (tmp_path / "clean" / "test.csv").write_text(texts(4) + "w,up,\n")
    found = recipe(tmp_path, TEXTS, TWO)

    said: list[str] = []
    out = tmp_path / "run"
    report = train_run(found, out, progress=False, say=said.append)
    not_a_number = "expected a number, or nothing if it is missing"
    expected = [
        ["train", "train.csv:2", "got 2 cells, expected 3 as in the header", "x,up", "row"],
        ["train", "train.csv:7", "not valid CSV", '"a"b,up,3', "row"],
        ["train", "train.csv:15", "got 4 cells, expected 3 as in the header", "z,down,1,2", "row"],
        ["train", "train.csv:8", f"stars: got '>3', which is a limit, {not_a_number}", "y,down,>3", "label"],
        ["train", "train.csv:14", "got an empty item", " ,up,4", "row"],
        ["test", "test.csv:6", f"stars: got '1 star', {not_a_number}", "w,up,1 star", "label"],
    ]
    rows = listed(out / "bad_rows.csv")
    rows[1][2] = rows[1][2].partition(":")[0]  # what csv says differs from one Python to the next
    assert rows == expected
    notes = [line for line in said if "4 bad rows left out" in line]
    assert len(notes) == 1  # before training
    assert said[-1] == f"The bad rows are listed in {out / 'bad_rows.csv'}"
    assert "(" + str(tmp_path / "train.csv") + ":2 and 1 more)" in notes[0]
    assert "; 2 bad labels left out: stars: got '" in notes[0]
    assert json.loads((out / "run.json").read_text())["bad_rows"] == notes[0]
    assert "4 bad rows left out: got " in (out / "report.html").read_text()

    # A file without these rows is the same training, to the last digit.
    clean = tmp_path / "clean-run"
    found = recipe(tmp_path, TEXTS.replace('"train', '"clean/train').replace('"test.', '"clean/test.'), TWO)
    again = train_run(found, clean, progress=False, say=said.append)
    assert not (clean / "bad_rows.csv").exists()
    assert {t: s["value"] for t, s in report.items()} == {t: s["value"] for t, s in again.items()}
    digests = [json.loads((run / "run.json").read_text())["sources"] for run in (out, clean)]
    assert digests[0] == digests[1]

    # evaluate leaves out the same rows.
    said.clear()
    assert evaluate_run(out, say=said.append)["stars"]["num_items"] == 4
    assert "4 bad rows left out" in said[0]


def test_a_run_with_bad_rows_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(texts(8) + "x,up\n")
    (tmp_path / "test.csv").write_text(texts(3))
    found = recipe(tmp_path, TEXTS, TWO)
    out = tmp_path / "run"
    train_run(found, out, progress=False, say=lambda _: None)
    (out / "test.json").unlink()  # as if it had been stopped before its scores
    train_run(found, out, progress=False, resume=True, say=lambda _: None)
    assert [row[:2] for row in listed(out / "bad_rows.csv")] == [["train", "train.csv:10"]]
    (tmp_path / "train.csv").write_text(texts(9) + "x,up\n")
    (out / "test.json").unlink()
    with pytest.raises(ValueError, match="the data is not what this run began with"):
        train_run(found, out, progress=False, resume=True, say=lambda _: None)


def test_a_share_is_held_out_of_the_good_rows_and_each_bad_row_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(texts(6) + "x,up\n" + "".join(texts(12).splitlines(True)[7:]))
    found = recipe(tmp_path, TEXTS.replace('test = "test.csv"', "dev = 0.25"), TWO)
    bad = BadRows()
    [train], [dev] = read_split(found, "train", bad=bad), read_split(found, "dev", bad=bad)
    assert (len(train.items), len(dev.items)) == (9, 3)
    assert [row.location.rpartition("/")[2] for row in bad.rows] == ["train.csv:8"] * len(bad.rows)
    for source in (train, dev):
        assert all(
            stars == int(text.split()[1])
            for text, stars in zip(source.items, source.targets["stars"], strict=True)
        )


def test_the_sizes_of_drawn_splits_are_those_without_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(texts(20) + "x,up\n,up,3\ny,down,three\n")
    shared = TEXTS.replace('test = "test.csv"', "test = 0.2")
    said: list[str] = []
    check_run(recipe(tmp_path, shared, TWO), say=said.append)
    sizes = {part: int(size) for part, size in re.findall(r"(train|test) (\d+)", said[0])}
    assert sum(sizes.values()) == 21  # the last row has a mood
    assert f"{sizes['train']} items in train, {sizes['test']} items in test" in said[1]


@pytest.mark.parametrize("key", ["time", "split_column"])
def test_rows_without_a_time_or_a_split_are_bad_too(tmp_path: Path, key: str) -> None:
    good, wrong = (range(2020, 2030), "soon") if key == "time" else (["train"] * 8 + ["test"] * 2, "mine")
    lines = texts(10).splitlines()
    rows = [f"{line},{cell}" for line, cell in zip(lines, ["when", *good], strict=True)]
    rows[3:3] = ["w,up,1," + wrong, "v,up,1,"]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    named = 'time = "when"\ntest = 0.2\ntrain' if key == "time" else 'split_column = "when"\nfile'
    found = recipe(tmp_path, TEXTS.replace('test = "test.csv"', "").replace("train =", f"{named} ="), TWO)
    bad = BadRows()
    [train], [test] = read_split(found, "train", bad=bad), read_split(found, "test", bad=bad)
    assert (train.items, test.items) == ([f"text {i}" for i in range(8)], ["text 8", "text 9"])
    assert test.targets["stars"] == [8, 9]
    assert [row.location.rpartition(":")[2] for row in bad.rows] == ["4", "5"]


def test_most_rows_are_bad(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(texts(3) + "a,b\nb\nc,d\ne\n")
    (tmp_path / "test.csv").write_text(texts(1))
    found = recipe(tmp_path, TEXTS, TWO)
    with pytest.raises(
        DataError, match=r"train\.csv: 4 of 7 rows cannot be used.* 4 of them.*:5: got 2 cells"
    ):
        read_split(found, "train")
    (tmp_path / "train.csv").write_text("text,mood,stars\na,up,x\nb,up,y\nc,up,1\n")
    with pytest.raises(DataError, match=r"mine: \[data\.mine\]: train: 2 of 3 rows .*stars: got 'x'"):
        read_split(found, "train")
    (tmp_path / "train.csv").write_text('text,mood,stars\na,up,1\nb,up,2\n"c,up,1\nd,up,4\n')
    with pytest.raises(DataError, match=r"train\.csv:4: not valid CSV.*expected quotes in pairs"):
        read_split(found, "train")  # the open quote swallowed the rest: that is no row to leave out


def test_stopping_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(texts(3) + "a,up,x\n")
    found = recipe(tmp_path, TEXTS, TWO)
    for on_error in ({}, {"on_error": "stop"}):
        found.tables["data"]["mine"].pop("on_error", None)
        found.tables["data"]["mine"] |= on_error
        with pytest.raises(DataError, match=r"train\.csv:5: stars: got 'x'"):
            read_split(found, "train")
    with pytest.raises(DataError, match=r'train\.csv:5: stars: .*; on_error = "skip" in the \[data\] table'):
        check_run(found, say=lambda _: None)
    (tmp_path / "train.csv").write_text(texts(3) + '"a,up,4\n')
    with pytest.raises(DataError, match=r"lines that end in a newline$"):  # skipping would not help
        check_run(found, say=lambda _: None)


# --- items that cannot be prepared ----------------------------------------------------------------

MOLECULES = """
adapter = "graph"
format = "table"
input = "smiles"
train = "train.csv"
dev = 0.2
"""
SOLVED = """
[tasks.solubility]
data = "mine"
output = "set"
target = "number"
column = "y"
"""


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_molecules_that_are_none(tmp_path: Path) -> None:
    rows = [f"{'C' * (i + 1)}O,{i}" for i in range(8)]
    rows[3:3] = ["C(C,1", "hello,2"]
    (tmp_path / "train.csv").write_text("smiles,y\n" + "\n".join(rows) + "\n")
    out = tmp_path / "run"
    train_run(recipe(tmp_path, MOLECULES, SOLVED), out, progress=False, say=lambda _: None)
    rows_found = listed(out / "bad_rows.csv")
    assert sorted([row[1], row[3]] for row in rows_found) == [
        ["train.csv:5", "C(C,1"],
        ["train.csv:6", "hello,2"],
    ]
    assert {row[0] for row in rows_found} <= {"train", "dev"}
    assert all("SMILES" in row[2] for row in rows_found)


@pytest.mark.parametrize("cached", [False, True])
def test_recordings_and_labels_that_do_not_fit(tmp_path: Path, cached: bool) -> None:
    """A broken file is found before the adapter is fitted, labels of a wrong number after it."""
    sound = np.random.default_rng(0).normal(size=1600) / 10
    rows = []
    for i in range(6):
        soundfile.write(tmp_path / f"{i}.wav", sound, 16000)
        rows.append({"file": f"{i}.wav", "phones": ["a", "b", "a", "b", "a"]})
    (tmp_path / "2.wav").write_bytes(b"RIFF, but no audio")
    rows[4]["phones"] = ["a"]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    data = 'adapter = "speech"\nformat = "jsonl"\ninput = "file"\ntrain = "train.jsonl"\n'
    task = '[tasks.phones]\ndata = "mine"\noutput = "vector"\ntarget = "class"\ncolumn = "phones"\n'
    found = recipe(tmp_path, data, task + "[adapters.speech]\nn_mels = 20\n")
    cache = tmp_path / "cache" if cached else None
    for out in (tmp_path / "run", tmp_path / "again"):  # the second time, the cache has the items
        train_run(found, out, progress=False, say=lambda _: None, cache=cache)
        assert [[*row[:2], row[3]] for row in listed(out / "bad_rows.csv")] == [
            ["train", "train.jsonl:7", "{broken"],
            ["train", "train.jsonl:3", json.dumps(rows[2])],
            ["train", "train.jsonl:5", json.dumps(rows[4])],
        ]
        assert json.loads((out / "run.json").read_text())["sources"][0]["items"] == 4


# --- readers --------------------------------------------------------------------------------------


def test_what_is_left_of_other_formats(tmp_path: Path) -> None:
    def file(name: str, content: str) -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    bad = BadRows()
    word = "1\t{0}\t_\tX\t_\t_\t_\t_\t_\t_\n"
    content = word.format("a") + "\n" + word.format("b") + "2 c\n3 d\n\n" + word.format("e")
    assert read_conllu(file("a.conllu", content), reject=bad.add).items == [["a"], ["e"]]
    assert read_labelled(file("a.txt", "up x\ndown\nup y\n"), reject=bad.add).items == ["x", "y"]
    assert read_json_lines(file("a.jsonl", '{"text": "a"}\n{"text"\n[1]\n'), reject=bad.add).items == ["a"]
    records = read_recordings(
        file("list.csv", "file\na.wav\n"),
        segments=file("s.csv", "f,from,to,x\na.wav,0,end,a\na.wav,1,2,b\n"),
        reject=bad.add,
    )
    assert records.columns["segments"] == [[(1.0, 2.0, "b")]]
    nodes = file("nodes.csv", "node,age\nAda,1\nBob,2\nAda,3\nCy\n")
    edges = file("edges.csv", "source,target\nAda,Bob\nBob,Cy\nBob,Ada\n")
    [graph] = read_networks(nodes, edges=edges, features=["age"], reject=bad.add).items
    assert graph == {
        "nodes": {"age": [1.0, 2.0]},
        "edges": [(0, 1), (1, 0)],
        "edge_columns": {},
        "names": ["Ada", "Bob"],
    }
    assert [row.location.rpartition("/")[2] for row in bad.rows] == [
        "a.conllu:4",
        "a.txt:2",
        "a.jsonl:2",
        "a.jsonl:3",
        "s.csv:2",
        "nodes.csv:5",
        "nodes.csv:4",
        "edges.csv:3",
    ]


def test_the_listed_rows_are_as_the_files_have_them(tmp_path: Path) -> None:
    long = "x" * 3000
    good = texts(9).replace("text 3", "Zürich")
    rows = f'"a, b\nand c",up,two\n{long},down,three\n'
    (tmp_path / "train.csv").write_text(good + rows, encoding="latin-1")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = {"text": ["a", "b", "c"], "mood": ["up", "down", "up"], "stars": ["1", "two", "3"]}
    parquet.write_table(pyarrow.table(cells), tmp_path / "test.parquet")
    data = TEXTS.replace("test.csv", "test.parquet") + 'encoding = "latin-1"\n'
    found, bad = recipe(tmp_path, data, TWO), BadRows()
    for split in ("train", "test"):
        read_split(found, split, bad=bad)
    as_written(found, tmp_path, bad)
    parquet_row = '{"text": "b", "mood": "down", "stars": "two"}'
    assert [row.raw for row in bad.rows] == ['"a, b\nand c",up,two', long[:2000], parquet_row]


def test_a_summary_counts_reasons_not_values(tmp_path: Path) -> None:
    bad = BadRows()
    assert bad.summary() == "no bad rows"
    for i, reason in enumerate(["got 'a', expected a number", "empty", "got 'b', expected a number"]):
        bad.of("train").add(f"a.csv:{i}", reason, "raw\n")
        bad.of("train").add(f"a.csv:{i}", "another reason", "raw\n")
    assert (
        bad.summary()
        == "3 bad rows left out: got 'a', expected a number (a.csv:0 and 1 more); empty (a.csv:1)"
    )
    for place, reason in enumerate(["wide", "deep"]):
        bad.add(f"b.csv:{place}", reason)
    assert bad.summary().endswith("; wide (b.csv:0); 1 other reason")
    bad.write(tmp_path / "bad_rows.csv")
    assert listed(tmp_path / "bad_rows.csv")[1] == ["train", "a.csv:1", "empty", "raw", "row"]
