"""Predictions into files: every format, the columns that are added, kills, and what is refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

import multiseq
from multiseq.adapters import GraphAdapter, SpeechAdapter, TextAdapter
from multiseq.adapters.speech import AudioSegment
from multiseq.checkpoint import save
from multiseq.cli import app
from multiseq.data.conll import COLUMNS
from multiseq.heads.decoder import DecoderHead
from multiseq.heads.per_set import SetHead
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
from multiseq.heads.text_target import TextTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.runs import predict as predict_module
from multiseq.runs.columns import columns_of
from multiseq.runs.predict import Done, line_endings, open_inputs, predict_files
from multiseq.runs.recipe import Recipe
from multiseq.runs.rows import Row
from multiseq.runs.writers import (
    ConlluWriter,
    ConllWriter,
    ExcelWriter,
    LineWriter,
    TimedWriter,
    text_grid,
    word_grid,
)
from multiseq.tasks import Task

DIM = 8
NETWORK = {"nodes": {"age": [20, 30, 40]}, "edges": [[0, 1], [1, 2]]}
TREEBANK = """# sent_id = 1
# text = I saw it
1\tI\tI\t_\t_\t_\t2\tnsubj\t_\t_
2-3\tsawit\t_\t_\t_\t_\t_\t_\t_\t_
2\tsaw\tsee\tX\tV\t_\t0\troot\t_\tSpaceAfter=No
3\tit\tit\t_\t_\t_\t2\tobj\t_\t_

# a comment between sentences

1\ta\ta\t_\t_\t_\t0\troot\t_\t_

# the end
"""


def tone(path: Path, seconds: float = 0.3) -> None:
    samples = torch.sin(torch.arange(int(seconds * 8000)) / 8000 * 2 * math.pi * 300)
    soundfile.write(path, samples.numpy(), 8000)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of all kinds of heads, not trained, as saved in Python."""
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("saved")
    tone(where / "tone.wav")
    adapters: dict[str, Any] = {
        "text": TextAdapter.fit(["I saw a saw", "so good so bad"], dim=DIM),
        "speech": SpeechAdapter.fit([str(where / "tone.wav")], dim=DIM, sample_rate=8000, n_mels=20),
        "molecule": GraphAdapter.fit(["CCO"], dim=DIM),
        "network": GraphAdapter.fit([NETWORK], dim=DIM),
    }
    tags, logp = ClassTarget(["NOUN", "VERB"]), NumberTarget(["logp"], [1.0], [2.0], unit="logP")
    heads = {
        "mood": ("text", SetHead(DIM, ClassTarget(["down", "even", "up"]))),
        "pos": ("text", VectorHead(DIM, tags)),
        "names": ("text", VectorHead(DIM, ClassTarget(["a name", "none"]))),
        "topics": ("text", SetHead(DIM, MultiLabelTarget(["art", "sport"]))),
        "echo": ("text", DecoderHead(DIM, TextTarget.fit(["ab."], unit="character"), depth=1, heads=2)),
        "phones": ("speech", VectorHead(DIM, tags)),
        "speaker": ("speech", SetHead(DIM, tags)),
        "logp": ("molecule", SetHead(DIM, logp)),
        "two": ("molecule", SetHead(DIM, NumberTarget(["a", "b"], [0.0, 0.0], [1.0, 1.0]))),
        "buyers": ("network", VectorHead(DIM, tags)),
        "kind": ("network", SetHead(DIM, tags)),
    }
    tasks = {name: Task(adapter, head) for name, (adapter, head) in heads.items()}
    save(Model(adapters, Encoder(DIM, 1, 2), tasks), where / "model")
    return where / "model"


@pytest.fixture(scope="module")
def model(saved: Path) -> Model:
    return multiseq.load(saved)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(saved: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`multiseq predict` for a task. The model is loaded once."""
    monkeypatch.setattr("multiseq.checkpoint.load", lambda run: model)

    def call(task: str, *arguments: str, code: int = 0, stdin: bytes = b"") -> Result:
        command = ["predict", str(saved), "--task", task, *arguments]
        result = CliRunner().invoke(app, command, input=stdin, prog_name="multiseq")
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return call


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- formats --------------------------------------------------------------------------------------

TEXTS = ["so good", 'a "saw", I', "two\nlines", "", "old\rmac"]


def table_of(texts: list[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(
        [["id", "text"], *([f"0{i}", t] for i, t in enumerate(texts))]
    )
    return out.getvalue()


def test_a_table_keeps_its_rows_and_columns(
    predict: Callable[..., Result], model: Model, folder: Path
) -> None:
    Path("new.csv").write_bytes(table_of(TEXTS).encode())
    assert "out.csv: 5 rows" in predict("mood", "--input", "new.csv", "--output", "out.csv").stderr
    with open("out.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file, strict=True))
    assert list(found[0]) == ["id", "text", "prediction", "confidence", "n_best"]
    assert [(row["id"], row["text"]) for row in found] == [(f"0{i}", t) for i, t in enumerate(TEXTS)]
    for row, label in zip(found, model.predict("mood", TEXTS), strict=True):
        assert row["prediction"] == label.label
        assert float(row["confidence"]) == pytest.approx(label.probability, abs=1e-5)
        best = json.loads(row["n_best"])
        assert best == pytest.approx(dict(label.probabilities), abs=1e-5)
        assert list(best.values()) == sorted(best.values(), reverse=True)
    assert sorted(p.name for p in folder.iterdir()) == ["new.csv", "out.csv"]
    # What came out can go in again, for another task too. Its columns have names of their own.
    predict("mood", "--input", "out.csv", "--output", "again.csv", "--n-best", "0")
    again = rows_of(Path("again.csv").read_text(encoding="utf-8"))
    assert list(again[0]) == [*found[0], "mood_prediction", "mood_confidence"]
    assert [row["mood_prediction"] for row in again] == [row["prediction"] for row in found]
    message = predict("mood", "--input", "again.csv", "--output", "third.csv", code=1).stderr
    assert "has a column 'mood_prediction' already; rename it" in message


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("given", ["csv", "tsv", "jsonl", "parquet", "xlsx", "txt"])
def test_every_format_becomes_every_other(
    predict: Callable[..., Result], model: Model, given: str, ending: str
) -> None:
    if {given, ending} & {"parquet", "xlsx"}:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = ["so good", "a saw", "bad"]
    table = [["n", "text"], *([i, text] for i, text in enumerate(texts))]
    if given == "parquet":
        parquet.write_table(arrow.table({"n": [0, 1, 2], "text": texts}), "new.parquet")
    elif given == "xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in table:
            book.active.append(row)
        book.save("new.xlsx")
    elif given == "jsonl":
        Path("new.jsonl").write_text(
            "".join(json.dumps({"n": i, "text": text}) + "\n" for i, text in enumerate(texts))
        )
    elif given == "txt":
        Path("new.txt").write_text("\n".join(texts))
    else:
        joint = "," if given == "csv" else "\t"
        Path(f"new.{given}").write_text("".join(joint.join(map(str, row)) + "\n" for row in table))
    predict("mood", "--input", f"new.{given}", "--output", f"out.{ending}")
    if ending == "parquet":
        read = parquet.read_table("out.parquet")
        rows: list[dict[str, Any]] = read.to_pylist()
        types = {name: str(read.schema.field(name).type) for name in read.schema.names}
        assert (types["prediction"], types["confidence"]) == ("string", "double")
        assert given != "parquet" or types["n"] == "int64"
    elif ending == "jsonl":
        rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    else:
        text = Path(f"out.{ending}").read_text()
        rows = [*csv.DictReader(io.StringIO(text), delimiter="," if ending == "csv" else "\t", quoting=3)]
        rows = rows_of(text) if ending == "csv" else rows
    column = "item" if given == "txt" else "text"
    assert [row[column] for row in rows] == texts
    assert given == "txt" or [str(row["n"]) for row in rows] == ["0", "1", "2"]
    if {given, ending} <= {"jsonl", "parquet"} and given != "jsonl":
        assert [row["n"] for row in rows] == [0, 1, 2]
    for row, label in zip(rows, model.predict("mood", texts), strict=True):
        assert row["prediction"] == label.label
        assert float(row["confidence"]) == pytest.approx(label.probability, abs=1e-5)


def test_words_with_tags_keep_their_lines(predict: Callable[..., Result], model: Model) -> None:
    first, second = ([r.label for r in item] for item in model.predict("pos", [["I", "saw"], ["#"]]))
    old = "-DOCSTART- -X- O O\n\nI PRP  B-NP O\r\nsaw VBD B-VP O\n\n# id 7\n# # O O"
    Path("new.conll").write_bytes(old.encode())
    predict("pos", "--input", "new.conll", "--output", "out.conll")
    new = f"-DOCSTART- -X- O O\n\nI PRP  B-NP O {first[0]}\r\nsaw VBD B-VP O {first[1]}\n\n"
    new += f"# id 7\n# # O O {second[0]}"  # no column is the task's, so none is overwritten
    assert Path("out.conll").read_bytes() == f"{new}\n\n".encode()
    Path("words.conll").write_text("I\nsaw\n\n")
    Path("pairs.conll").write_text("I\t\nsaw\tX\n\n")
    predict("pos", "--input", "words.conll", "--output", "out.conll")
    assert Path("out.conll").read_text() == f"I {first[0]}\nsaw {first[1]}\n\n"
    shown = predict("pos", "--input", "pairs.conll", "--output", "-").stdout
    assert f"I\t{first[0]}\nsaw\t{first[1]}\n\n" in shown
    message = predict("pos", "--input", "new.conll", "--output", "out.conllu", code=1).stderr
    assert "CoNLL-U needs a task with a label for each word and an input in CoNLL-U" in message
    Path("bad.conll").write_text("I PRP\nsaw\n")
    assert "bad.conll:2: got 1 columns" in predict("pos", "--input", "bad.conll", code=1).stderr


def test_the_column_of_the_task_is_filled_in() -> None:
    row = Row({}, ["a"], "f:1", lines=["a A B C\n", "\n"], places=[0], names=COLUMNS[4])
    for column, line in (("pos", "a X B C"), ("ner", "a A B X"), ("tags", "a A B C X")):
        assert ConllWriter(column, "p").encode([(row, {"p": ["X"]})]) == f"{line}\n\n".encode()
    for names, column, line in (
        (("word", "tag"), "upos", "a X"),
        (("pos", "word"), "ner", "A a X"),
        (("word", "ner", "id"), "ner", "a X 1"),
        (("word", "ner", "id"), "id", "a A 1 X"),
    ):
        cells = {"word": "a", "id": "1"}
        given = Row(
            {}, ["a"], "f:1", lines=[" ".join(cells.get(n, "A") for n in names)], places=[0], names=names
        )
        assert ConllWriter(column, "p").encode([(given, {"p": ["X"]})]) == f"{line}\n\n".encode()
    numbered = Row({}, ["a"], "f:1", lines=["# c\r\n", "1\ta"], places=[1], names=("id", "word"))
    assert ConllWriter("ner", "p").encode([(numbered, {"p": ["X"]})]) == b"# c\r\n1\ta\tX\r\n\r\n"
    with pytest.raises(ValueError, match="got the label 'X Y', whose blank would end the column"):
        ConllWriter("pos", "p").encode([(row, {"p": ["X Y"]})])


def test_a_treebank_keeps_its_lines(predict: Callable[..., Result], model: Model) -> None:
    Path("new.conllu").write_text(TREEBANK)
    predict("pos", "--input", "new.conllu", "--output", "out.conllu")
    before, after = TREEBANK.splitlines(), Path("out.conllu").read_text().splitlines()
    assert len(before) == len(after)
    labels = iter(r.label for item in model.predict("pos", [["I", "saw", "it"], ["a"]]) for r in item)
    for old, new in zip(before, after, strict=True):
        fields = old.split("\t")
        if fields[0].isdigit():
            fields[3] = next(labels)
        assert new == "\t".join(fields)
    predict("pos", "--input", "out.conllu", "--output", "again.conllu")
    assert Path("again.conllu").read_bytes() == Path("out.conllu").read_bytes()
    Path("dos.conllu").write_bytes(TREEBANK.replace("\n", "\r\n").encode())
    predict("pos", "--input", "dos.conllu", "--output", "out.csv")
    assert [row["item"] for row in rows_of(Path("out.csv").read_text())] == ["I saw it", "a"]
    predict("pos", "--input", "dos.conllu", "--output", "dos.out.conllu")
    assert Path("dos.out.conllu").read_bytes().count(b"\t_\r\n") == TREEBANK.count("\t_\n")
    whole = TREEBANK.removesuffix("\n\n# the end\n").replace("\n", "\r\n").encode()
    for ending in (b"", b"\r\n"):  # the last sentence has no empty line after it
        Path("dos.conllu").write_bytes(whole + ending)
        predict("pos", "--input", "dos.conllu", "--output", "dos.out.conllu")
        written = Path("dos.out.conllu").read_bytes()
        assert written.endswith(b"\t_\r\n\r\n")
        assert written.count(b"\n") == written.count(b"\r\n") == whole.count(b"\n") + 2
    Path("bare.conllu").write_text("1\ta\t" + "_\t" * 7 + "_")  # no empty line after the last sentence
    predict("pos", "--input", "[bn]*.conllu", "--output", "all.conllu")
    first, second = Path("all.conllu").read_text().split("\n\n")[:2]
    assert first.startswith("1\ta")
    assert second.startswith("# sent_id")
    Path("lines.txt").write_text("I saw\n")
    message = predict("pos", "--input", "lines.txt", "--output", "out.conllu", code=1).stderr
    assert "CoNLL-U needs a task with a label for each word and an input in CoNLL-U" in message


def test_features_are_written_as_a_treebank_has_them() -> None:
    fields = ["I", "I", "X", "_", "Person=1|Case=Acc", "0", "root", "_", "SpaceAfter=No"]
    rows = ["\t".join([str(i), *fields]) for i in (1, 2)]
    row = Row({}, ["I", "I"], "f:1", lines=[f"{rows[0]}\n", f"{rows[1]}\n", "\n"], places=[0, 1])
    labels = [["Number=Sing", "Case=Nom"], []]
    assert ConlluWriter("feats", "p").encode([(row, {"p": labels})]).decode() == (
        f"{rows[0]}\n{rows[1]}\n\n".replace("Person=1|Case=Acc", "Case=Nom|Number=Sing", 1)
        .replace("Person=1|Case=Acc", "_", 1)
    )  # fmt: skip
    assert ConlluWriter("Case", "p").encode([(row, {"p": ["Nom", "_"]})]).decode() == (
        f"{rows[0]}\n{rows[1]}\n\n".replace("Person=1|Case=Acc", "Case=Nom|Person=1", 1)
        .replace("Person=1|Case=Acc", "Person=1", 1)
    )  # fmt: skip


def test_labels_per_vector_in_tables_and_lists(predict: Callable[..., Result], model: Model) -> None:
    Path("new.txt").write_text("I saw it\n\n")
    predict("pos", "--input", "new.txt", "--output", "out.csv")
    predict("pos", "--input", "new.txt", "--output", "out.jsonl", "--n-best", "1")
    table, empty = rows_of(Path("out.csv").read_text())
    listed, _ = map(json.loads, Path("out.jsonl").read_text().splitlines())
    results = model.predict("pos", ["I saw it"])[0]
    assert table["prediction"].split() == listed["prediction"] == [r.label for r in results]
    assert list(map(float, table["confidence"].split())) == listed["confidence"]
    assert [list(best) for best in listed["n_best"]] == [[label] for label in listed["prediction"]]
    assert (empty["prediction"], empty["confidence"]) == ("", "")
    # Labels with blanks in them are a list in a cell.
    predict("names", "--input", "new.txt", "--output", "names.csv")
    table, _ = rows_of(Path("names.csv").read_text())
    assert json.loads(table["prediction"]) == [r.label for r in model.predict("names", ["I saw it"])[0]]


def test_numbers_and_several_labels(predict: Callable[..., Result], model: Model) -> None:
    Path("new.smi").write_text("CCO\nc1ccccc1\n")
    predict("logp", "--input", "new.smi", "--output", "out.csv")
    rows = rows_of(Path("out.csv").read_text())
    assert list(rows[0]) == ["smiles", "name", "prediction", "unit"]
    for row, number in zip(rows, model.predict("logp", ["CCO", "c1ccccc1"]), strict=True):
        assert float(row["prediction"]) == pytest.approx(number.value, rel=1e-5)
        assert row["unit"] == "logP"
    predict("two", "--input", "new.smi", "--output", "out.csv")
    columns = ["smiles", "name", "prediction_a", "prediction_b"]
    assert list(rows_of(Path("out.csv").read_text())[0]) == columns
    Path("new.txt").write_text("so good\n")
    for ending in ("csv", "jsonl"):
        predict("topics", "--input", "new.txt", "--output", f"out.{ending}")
    [row], [found] = rows_of(Path("out.csv").read_text()), [json.loads(Path("out.jsonl").read_text())]
    [labels] = model.predict("topics", ["so good"])
    assert row["prediction"] == ", ".join(labels.labels)
    assert found["prediction"] == list(labels.labels)
    sure = min(max(p, 1 - p) for p in labels.probabilities.values())
    assert found["confidence"] == pytest.approx(sure, abs=1e-5)
    predict("echo", "--input", "new.txt", "--output", "out.csv")
    assert list(rows_of(Path("out.csv").read_text())[0]) == ["item", "prediction", "confidence", "cut"]


def test_what_else_a_prediction_says_is_a_column() -> None:
    record = {"item": "x", "value": 2.5, "unit": "", "interval": [2.0, 3.0], "unlike_training": False}
    ends = {"interval_low": 2.0, "interval_high": 3.0}
    assert columns_of(record, 3) == {"prediction": 2.5, **ends, "unlike_training": False}
    several = columns_of(
        {
            "value": {"a": 1.0, "b": 5.0},
            "interval": {"a": [0.5, 1.5], "b": [4, 6]},
            "spread": {"a": 0.1, "b": 0.2},
        },
        3,
    )
    assert several == {
        "prediction_a": 1.0,
        "prediction_b": 5.0,
        "spread_a": 0.1,
        "spread_b": 0.2,
        "interval_low_a": 0.5,
        "interval_high_a": 1.5,
        "interval_low_b": 4,
        "interval_high_b": 6,
    }


def test_recordings_become_text_grids(predict: Callable[..., Result], model: Model, folder: Path) -> None:
    for name in ("b/one.wav", "a.wav", ".hidden.wav"):
        (folder / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        tone(folder / "new" / name)
    (folder / "new" / "readme.txt").write_text("not a recording")
    predict("phones", "--input", "new", "--output", "grids/")
    assert sorted(p.relative_to(folder / "grids").as_posix() for p in Path(folder, "grids").rglob("*.*")) == [
        "a.TextGrid",
        "b/one.TextGrid",
    ]
    predict("phones", "--input", "new/a.wav", "--output", "one.TextGrid")
    grid = Path("one.TextGrid").read_text()
    assert grid == Path("grids/a.TextGrid").read_text()
    predict("phones", "--input", "new/a.wav", "--output", "a.jsonl")
    found = json.loads(Path("a.jsonl").read_text())
    assert found["prediction"] == [label for _, _, label in found["segments"]]
    sure = [[a, b, p] for (a, b, _), p in zip(found["segments"], found["confidence"], strict=True)]
    assert grid == text_grid([("phones", found["segments"]), ("confidence", sure)])
    assert f"xmax = {found['segments'][-1][1]}\n" in grid
    tone(Path("odd.wav"), 0.295)  # no whole number of vectors
    predict("phones", "--input", "odd.wav", "--output", "odd.jsonl")
    assert json.loads(Path("odd.jsonl").read_text())["segments"][-1][1] == 0.295
    # Several recordings are no single file, and a folder that has files is not touched.
    message = predict("phones", "--input", "new", "--output", "all.TextGrid", code=1).stderr
    assert "got 2 recordings, expected one; give a folder for several: --output all/" in message
    shutil.rmtree("all.TextGrid.partial")
    assert "is not empty" in predict("phones", "--input", "new", "--output", "grids", code=1).stderr
    assert "TextGrids need" in predict("speaker", "--input", "new", "--output", "g/", code=1).stderr
    predict("speaker", "--input", "new", "--output", "out.csv")
    assert [row["file"] for row in rows_of(Path("out.csv").read_text())] == ["new/a.wav", "new/b/one.wav"]


def test_a_data_folder_of_kaldi_and_its_segments(predict: Callable[..., Result], model: Model) -> None:
    Path("k").mkdir()
    tone(Path("k/a.wav"))
    Path("k/wav.scp").write_text("r a.wav\nq sox a.mp3 -t wav - |\n")
    times = ["u.1 r 0.1 0.2", "u.2 r 0.2 0.1", "u.3 r 5 6", "u.4 q 0 1", "u.5 r 0.1 -1"]
    Path("k/segments").write_text("".join(f"{line}\n" for line in times))
    Path("k/utt2spk").write_text("u.1 ann\n")
    assert "k/segments:2: got a segment from 0.2 to 0.1 s" in predict(
        "speaker", "--input", "k", "--output", "out.csv", code=1
    ).stderr  # fmt: skip
    for given in ("k", "k/wav.scp"):
        predict("speaker", "--input", given, "--output", "out.csv", "--on-error", "skip")
        rows = rows_of(Path("out.csv").read_text())
        assert [row["utterance"] for row in rows] == ["u.1", "u.2", "u.3", "u.4", "u.5"]
        assert [row["speaker"] for row in rows] == ["ann", "", "", "", ""]
        assert "k/a.wav, 5 to 6 s: got a segment of a recording of 0.30 s" in rows[2]["error"]
        assert "which is not executed" in rows[3]["error"]
    for row, item in zip(rows[::4], (("a.wav", 0.1, 0.2), ("a.wav", 0.1, None)), strict=True):
        [wanted] = model.predict("speaker", [AudioSegment(f"k/{item[0]}", *item[1:])])
        assert row["prediction"] == wanted.label
        assert float(row["confidence"]) == pytest.approx(wanted.probability, abs=1e-5)
    predict("phones", "--input", "k", "--output", "grids/", "--on-error", "skip")
    assert sorted(p.name for p in Path("grids").iterdir()) == [f"u.{i}.TextGrid" for i in (1, 3, 5)]


def test_the_recordings_of_textgrids(predict: Callable[..., Result], model: Model) -> None:
    for name in ("ann/1", "ben/1"):
        Path(name).parent.mkdir()
        tone(Path(f"{name}.wav"))
        Path(f"{name}.TextGrid").write_text("what it says does not matter")
    Path("ann/2.TextGrid").touch()
    with tarfile.open("grids.tar.xz", "w:xz") as archive:
        for path in ("ann/1.TextGrid", "ann/2.TextGrid", "ben/1.TextGrid"):
            archive.add(path)
    predict("phones", "--input", "ben/1.TextGrid", "--output", "one.jsonl")
    predict("phones", "--input", "ben/1.wav", "--output", "wav.jsonl")
    one, wav = (json.loads(Path(name).read_text()) for name in ("one.jsonl", "wav.jsonl"))
    assert {**one, "file": ""} == {**wav, "file": ""}
    options = ("--set", "format=textgrid", "--on-error", "skip")
    predict("phones", "--input", "grids.tar.xz", "--output", "all.csv", *options)
    rows = rows_of(Path("all.csv").read_text())
    assert [row["file"] for row in rows] == ["ann/1", "ann/2", "ben/1"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert "grids.tar.xz: ann/2.TextGrid: no recording 'ann/2' in ., expected one" in rows[1]["error"]


def test_parts_of_recordings_in_a_table_and_in_json_lines(
    predict: Callable[..., Result], model: Model
) -> None:
    tone(Path("a.wav"))
    Path("a.csv").write_text("file,start,end\na.wav,0.1,0.2\na.wav,,\na.wav,0.3,0.2\n")
    predict("speaker", "--input", "a.csv", "--column", "file", "--output", "out.csv", "--on-error", "skip")
    rows = rows_of(Path("out.csv").read_text())
    results = model.predict("speaker", [AudioSegment("a.wav", 0.1, 0.2), "a.wav"])
    for row, wanted in zip(rows[:2], results, strict=True):
        assert float(row["confidence"]) == pytest.approx(wanted.probability, abs=1e-5)
    assert "a.csv:4: got '0.3' in the column start and '0.2' in the column end" in rows[2]["error"]
    Path("a.jsonl").write_text('{"file": "a.wav", "start": 0.1, "end": 0.2}\n')
    predict("speaker", "--input", "a.jsonl", "--column", "file", "--output", "out.jsonl")
    [row] = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert row["confidence"] == pytest.approx(results[0].probability, abs=1e-5)


def test_a_table_may_name_recordings_without_their_ending(
    predict: Callable[..., Result], model: Model
) -> None:
    Path("audio/deep").mkdir(parents=True)
    for place in ("audio/deep/u1.wav", "audio/u2.wav", "audio/deep/u2.wav"):
        tone(Path(place))
    Path("calls.csv").write_text("name\nu1\nu2.wav\nu2\nu3\n")
    options = ("--column", "name", "--set", "format=recordings", "--set", "audio=audio")
    predict("speaker", "--input", "calls.csv", "--output", "out.csv", "--on-error", "skip", *options)
    rows = rows_of(Path("out.csv").read_text())
    results = model.predict("speaker", ["audio/deep/u1.wav", "audio/u2.wav"])
    for row, wanted in zip(rows[:2], results, strict=True):
        assert float(row["confidence"]) == pytest.approx(wanted.probability, abs=1e-5)
    assert "calls.csv:4: audio: 'u2' could be audio" in rows[2]["error"]
    assert "no such file" in rows[3]["error"]
    # A list in another folder, of recordings beside it and of those of the training.
    Path("new").mkdir()
    tone(Path("new/u9.wav"))
    Path("new/list.csv").write_text("name\nu9.wav\nu1\n")
    options = ("--column", "name", "--set", "format=recordings", "--set", f"audio={Path('audio').resolve()}")
    predict("speaker", "--input", "new/list.csv", "--output", "list.csv", *options)
    assert [row["prediction"] for row in rows_of(Path("list.csv").read_text())] == [
        result.label for result in model.predict("speaker", ["new/u9.wav", "audio/deep/u1.wav"])
    ]


def test_a_text_grid_by_hand() -> None:
    assert text_grid([('say "x"', [(0.0, 0.5, 'a "b"'), (0.5, 0.75, "é")])]) == (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 0.75\ntiers? <exists>\n'
        'size = 1\nitem []:\n    item [1]:\n        class = "IntervalTier"\n        name = "say ""x"""\n'
        "        xmin = 0\n        xmax = 0.75\n        intervals: size = 2\n        intervals [1]:\n"
        '            xmin = 0.0\n            xmax = 0.5\n            text = "a ""b"""\n'
        '        intervals [2]:\n            xmin = 0.5\n            xmax = 0.75\n            text = "é"\n'
    )


def test_a_network_has_a_row_for_each_node(predict: Callable[..., Result], model: Model) -> None:
    Path("nets.jsonl").write_text(json.dumps(NETWORK) + "\n")
    predict("buyers", "--input", "nets.jsonl", "--output", "out.jsonl")
    found = json.loads(Path("out.jsonl").read_text())
    assert found["nodes"] == NETWORK["nodes"]
    labels = [label.label for label in model.predict("buyers", [NETWORK])[0]]
    assert found["prediction"] == labels
    Path("nodes.csv").write_text("net,node,age,name\nA,0,20,Ada\nA,1,30,Bob\nA,2,40,Eve\n")
    Path("edges.csv").write_text("net,source,target\nA,0,1\nA,1,2\n")
    options = ["--set", "format=networks", "--set", "edges=edges.csv", "--set", 'features=["age"]']
    said = predict("buyers", "--input", "nodes.csv", "--output", "out.csv", *options).stderr
    assert "out.csv: 3 rows" in said
    rows = rows_of(Path("out.csv").read_text())
    assert [(row["name"], row["prediction"]) for row in rows] == list(
        zip(["Ada", "Bob", "Eve"], labels, strict=True)
    )
    predict("kind", "--input", "nodes.csv", "--output", "out.csv", *options)
    [row] = rows_of(Path("out.csv").read_text())
    assert (row["net"], row["prediction"]) == ("A", model.predict("kind", [NETWORK])[0].label)
    Path("nodes.csv").write_text("net,node,age,name\nA,0,20,Ada\nA,0,9,Ida\nA,1,30,Bob\nA,2,40,Eve\n")
    Path("edges.csv").write_text("net,source,target\nA,0,1\nA,7,1\nA,1,2\n")
    said = predict("buyers", "--input", "nodes.csv", "--output", "bad.csv", *options, code=1).stderr
    assert "nodes.csv:3: got node '0' twice" in said
    predict("buyers", "--input", "nodes.csv", "--output", "out.csv", *options, "--on-error", "skip")
    twice, unknown, *rows = rows_of(Path("out.csv").read_text())
    assert twice["error"].startswith("nodes.csv:3: got node '0' twice")
    assert unknown["error"].startswith(
        "edges.csv:3: got node '7' of 'A', expected one of its 3 nodes; a node"
    )
    assert [row["name"] for row in rows] == ["Ada", "Bob", "Eve"]
    assert [row["prediction"] for row in rows] == labels


# --- one answer a line ----------------------------------------------------------------------------


def test_a_line_for_each_item(predict: Callable[..., Result], model: Model) -> None:
    texts = ["so good", "", "a saw", " ", "bad"]
    Path("new.txt").write_text("".join(f"{text}\n" for text in texts))
    found = predict("mood", "--input", "new.txt", "--output", "out.txt")
    labels = [label.label for label in model.predict("mood", texts)]
    lines = [labels[0], "", labels[2], "", labels[4]]
    assert Path("out.txt").read_text() == "".join(f"{line}\n" for line in lines)
    assert found.stderr == "multiseq: out.txt: 5 rows, 2 of them empty\n"
    stream = predict("mood", "--input", "new.txt", "--output", "-.txt")
    assert stream.stdout == Path("out.txt").read_text()
    found = predict("mood", "--input", "new.txt", "--output", "out.txt", "--on-error", "skip")
    assert Path("out.txt").read_text() == stream.stdout
    assert found.stderr == (
        "multiseq: out.txt: 5 rows, 2 of them with an error; the first: new.txt:2: got an empty item\n"
    )
    # Any input, numbers, and several of them.
    Path("new.csv").write_text('text,n\n"CCO",1\nCO,2\n')
    for task in ("logp", "two"):
        predict(task, "--input", "new.csv", "--output", "out.csv")
        predict(task, "--input", "new.csv", "--output", "out.txt")
        rows = rows_of(Path("out.csv").read_text())
        answers = ["\t".join(v for k, v in row.items() if k.startswith("prediction")) for row in rows]
        assert Path("out.txt").read_text().splitlines() == answers
        assert answers[0].count("\t") == (task == "two")


def test_lines_of_answers_by_hand() -> None:
    def row(item: Any) -> Row:
        return Row({}, item, "a:1")

    writer = LineWriter(["prediction"], ", ")
    filled = [(row("x"), {"prediction": "one\r\ntwo\nthree\rfour"}), (row("x"), {"error": "no"})]
    assert writer.encode([*filled, (row(["x"]), {"prediction": ["a", "b"]})]) == (
        b"one two three four\n\na, b\n"
    )
    writer = LineWriter(["prediction"], " ", with_text=True)
    filled = [(row("how\nto"), {"prediction": ["__label__a", "__label__b"]}), (row("x"), {"prediction": []})]
    assert writer.encode([*filled, (row(""), {"prediction": ["__label__a"]}), (row(None), {})]) == (
        b"__label__a __label__b how to\nx\n\n\n"
    )


@pytest.mark.parametrize("task", ["pos", "mood"])
def test_lines_are_refused_where_an_item_has_several_answers(
    predict: Callable[..., Result], task: str
) -> None:
    Path("new.txt").write_text("so good\n")
    options = ["--n-best", "2"] if task == "mood" else []
    message = predict(task, "--input", "new.txt", "--output", "out.txt", *options, code=1).stderr
    what = "--n-best" if task == "mood" else "labels for each vector"
    assert f"out.txt: got {what}, but a line has one answer for its item; choose .jsonl or .csv" in message


def test_the_endings_of_the_lines_that_were_trained_on() -> None:
    def endings(**data: Any) -> set[str]:
        tables = {"data": {"d": {"adapter": "text", **data}}, "tasks": {"t": {"data": "d"}}}
        return line_endings(Recipe("r", Path(), "", tables), "t")

    assert endings(format="lines", train=["a/train.en", "a/train.DE.gz"], dev=0.1) == {".de"}
    assert endings(format="labelled", file="cooking.train", test=0.1) == {".train"}
    assert endings(format="labelled", train="cooking") == set()
    assert endings(format="table", train="a.csv") == set()
    assert line_endings(None, "t") == set()


def test_texts_that_may_be_cut_off_are_counted(
    predict: Callable[..., Result], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("new.txt").write_text("so good\nbad\n\n")
    command = ["--input", "new.txt", "--output", "out.csv"]
    head: Any = model.task("echo").head
    bias = torch.nn.Parameter(head.out.bias.detach().clone())
    monkeypatch.setattr(head.out, "bias", bias)
    bias.data[head.target.end] = 100  # it says nothing
    assert "cut off" not in predict("echo", *command).stderr
    bias.data[head.target.end] = -100  # now it does not stop by itself
    said = predict("echo", *command, "--decode", "max_length=3").stderr
    assert (
        "multiseq: 2 of 3 texts may be cut off: they are as long as max_length allows, 3 tokens. To allow "
        "more, give --decode max_length=6, or set decode = { max_length = 6 } of the task in the recipe"
    ) in said
    assert [row["cut"] for row in rows_of(Path("out.csv").read_text())] == ["True", "True", ""]
    assert head.max_length == 14  # of the longest training text, 3 tokens: 3 * 1.5 + 10
    assert "max_length allows, 14 tokens" in predict("echo", *command).stderr


# --- where rows come from -------------------------------------------------------------------------


def test_standard_input_and_output(predict: Callable[..., Result], folder: Path) -> None:
    table = "id,text\n1,so good\n2,bad\n"
    Path("new.csv").write_text(table)
    predict("mood", "--input", "new.csv", "--output", "out.csv")
    for given in (["-.csv"], ["-", "--set", "format=table"]):
        found = predict("mood", "--input", *given, "--output", "-", stdin=table.encode())
        assert found.stdout == Path("out.csv").read_text()
    predict("mood", "--input", "new.csv", "--output", "out.jsonl")
    found = predict("mood", "--input", "new.csv", "--output", "-.jsonl")
    assert found.stdout == Path("out.jsonl").read_text()
    found = predict("mood", "--input", "-", "--output", "lines.csv", stdin=b"so good\n")
    assert [row["item"] for row in rows_of(Path("lines.csv").read_text())] == ["so good"]
    assert predict("mood", "--input", "-", stdin=b"bad\n").stdout.startswith(("up", "down", "even"))
    found = predict("pos", "--input", "-.conllu", "--output", "-", stdin=TREEBANK.encode())
    assert found.stdout.startswith("# sent_id = 1\n")
    message = predict("mood", "--input", "new.csv", "--output", "-.parquet", code=1).stderr
    assert ".parquet is not written to standard output" in message


def test_folders_and_patterns_name_the_file_of_each_row(predict: Callable[..., Result], folder: Path) -> None:
    (folder / "new").mkdir()
    Path("new/b.csv").write_text("text,n\nbad,1\n")
    Path("new/a.csv").write_text("text,m\nso good,2\n")
    for given in ("new", "new/*.csv", "n*/[ab].csv"):
        predict("mood", "--input", given, "--output", "out.csv")
        rows = rows_of(Path("out.csv").read_text())
        assert list(rows[0])[:4] == ["file", "text", "m", "n"]
        assert [tuple(row.values())[:4] for row in rows] == [
            ("new/a.csv", "so good", "2", ""),
            ("new/b.csv", "bad", "", "1"),
        ]
    assert "x*.csv: no file in it" in predict("mood", "--input", "x*.csv", "--output", "o.csv", code=1).stderr
    Path("new/b.csv").write_text("file,text\nmine,bad\n")
    predict("mood", "--input", "new", "--output", "out.csv")
    assert list(rows_of(Path("out.csv").read_text())[0])[:3] == ["input_file", "text", "m"]
    # Without --output, several items are named, and a single one is not.
    lines = predict("mood", "--input", "new").stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["so good", "bad"]
    assert ": " not in predict("mood", "so good").stdout


def test_other_encodings(predict: Callable[..., Result]) -> None:
    Path("new.csv").write_bytes("text;ort\nso schön;Köln\n".encode("latin-1"))
    message = predict("mood", "--input", "new.csv", "--output", "out.csv", code=1).stderr
    assert "new.csv:2: not utf-8" in message
    predict("mood", "--input", "new.csv", "--output", "out.csv", "--set", "encoding=latin-1")
    [row] = rows_of(Path("out.csv").read_text(encoding="utf-8"))
    assert (row["text"], row["ort"]) == ("so schön", "Köln")
    Path("new.csv").write_bytes("text\tort\nso schön\tKöln\n".encode("utf-16"))
    predict("mood", "--input", "new.csv", "--output", "out.tsv")
    assert Path("out.tsv").read_text(encoding="utf-8").splitlines()[1].startswith("so schön\tKöln\t")
    # Half a surrogate pair, which JSON of cut texts has.
    Path("new.jsonl").write_text('{"text": "so \\ud83d", "é": 1}\n', encoding="utf-8")
    for ending in ("csv", "jsonl"):
        predict("mood", "--input", "new.jsonl", "--output", f"out.{ending}")
    assert json.loads(Path("out.jsonl").read_text())["text"] == "so \ud83d"


def test_no_rows(predict: Callable[..., Result]) -> None:
    Path("new.csv").write_text("id,text\n")
    predict("mood", "--input", "new.csv", "--output", "out.csv")
    assert Path("out.csv").read_text() == "id,text,prediction\n"
    assert predict("mood", "--input", "new.csv", "--output", "-").stdout == "id,text,prediction\n"


# --- errors ---------------------------------------------------------------------------------------


def test_an_item_without_content_is_an_error_wherever_errors_are_skipped(
    predict: Callable[..., Result],
) -> None:
    Path("new.txt").write_text("so good\n \n")
    for given in (["--input", "new.txt"], ["so good", " "]):
        assert "got an empty item" not in predict("mood", *given).stdout
        assert "error: got an empty item" in predict("mood", *given, "--on-error", "skip").stdout


def test_standard_input_is_called_so_in_errors(predict: Callable[..., Result]) -> None:
    message = predict("mood", "--input", "-.csv", "--output", "-", code=1, stdin=b"Text,n\ngood,1\n").stderr
    assert "standard input:1: no column 'text' (did you mean 'Text'?)" in message
    assert "-.txt" not in message
    message = predict("mood", "--input", "-", "--set", "format=table", code=1, stdin=b"so good\n").stderr
    assert "standard input:1: no column 'text' for the input; there are so good" in message
    assert message.endswith("it is read as .csv; --input -.txt reads a text in each line\n")
    assert predict("mood", "--input", "-.txt", stdin=b"so good\n").exit_code == 0


def test_a_table_of_texts_for_a_run_of_recordings_says_what_is_expected(
    predict: Callable[..., Result],
) -> None:
    Path("new.csv").write_text("text,n\nso good,1\n")
    message = predict("speaker", "--input", "new.csv", "--output", "out.csv", code=1).stderr
    assert "no such file; this run takes recordings, which the column must name; there are text, n" in message
    message = predict("speaker", "--input", "new.csv", "--column", "x", "--output", "o.csv", code=1).stderr
    assert "no column 'x'" in message
    assert "this run takes recordings, which the column must name" in message


NAMED = """SMILES Name
CCO ethanol
c1ccccc1\tbenzene, a  ring

# radicals and others
C[CH2] |^1:1| ethyl
C
  # an amine
  CCN\tethyl amine\t0.5
"""


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_smiles_keeps_the_names(predict: Callable[..., Result], model: Model, packed: bool) -> None:
    name = "lib.smi.gz" if packed else "lib.smi"
    Path(name).write_bytes(gzip.compress(NAMED.encode()) if packed else NAMED.encode())
    predict("logp", "--input", name, "--output", "out.csv")
    rows = rows_of(Path("out.csv").read_text())
    wanted = [
        ("CCO", "ethanol"),
        ("c1ccccc1", "benzene, a  ring"),
        ("C[CH2] |^1:1|", "ethyl"),
        ("C", ""),
        ("CCN", "ethyl amine\t0.5"),
    ]
    assert [(row["smiles"], row["name"]) for row in rows] == wanted
    values = [number.value for number in model.predict("logp", [smiles for smiles, _ in wanted])]
    assert [float(row["prediction"]) for row in rows] == pytest.approx(values, rel=1e-4)
    # The table has the same predictions.
    predict("logp", "--input", "out.csv", "--column", "smiles", "--output", "again.csv")
    again = rows_of(Path("again.csv").read_text())
    assert [row["logp_prediction"] for row in again] == [row["prediction"] for row in rows]


def test_a_bad_smiles_in_a_file_of_smiles_is_named(predict: Callable[..., Result]) -> None:
    Path("lib.smi").write_text("# mine\n\nCCO ethanol\nC(C bad one\n")
    message = predict("logp", "--input", "lib.smi", "--output", "out.csv", code=1).stderr
    assert "lib.smi:4: molecule: got 'C(C bad one'" in message
    predict("logp", "--input", "lib.smi", "--output", "out.jsonl", "--on-error", "skip")
    _, bad = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert (bad["smiles"], bad["name"]) == ("C(C", "bad one")
    assert "lib.smi:4: molecule: got 'C(C bad one'" in bad["error"]
    # Lines that are read by a model of texts are texts.
    predict("mood", "--input", "lib.smi", "--output", "out.csv")
    assert [row["item"] for row in rows_of(Path("out.csv").read_text())] == [
        "# mine", "", "CCO ethanol", "C(C bad one",
    ]  # fmt: skip


def test_rows_with_errors(predict: Callable[..., Result], model: Model) -> None:
    Path("new.smi").write_text("CCO\nC(C\nCC\n")
    message = predict("logp", "--input", "new.smi", "--output", "out.csv", code=1).stderr
    assert "new.smi:2: molecule: got 'C(C'" in message
    assert "--on-error skip" in message
    assert not Path("out.csv").exists()
    assert not Path("out.csv.partial").exists()
    said = predict("logp", "--input", "new.smi", "--output", "out.csv", "--on-error", "skip").stderr
    assert "out.csv: 3 rows, 1 of them with an error" in said
    first, bad, last = rows_of(Path("out.csv").read_text())
    assert bad["prediction"] == ""
    assert "new.smi:2: molecule: got 'C(C'" in bad["error"]
    assert [first["error"], last["error"]] == ["", ""]
    assert all(len(row["prediction"].lstrip("-")) <= 9 for row in (first, last))  # 24 bits have 8 digits
    values = [number.value for number in model.predict("logp", ["CCO", "CC"])]
    assert [float(row["prediction"]) for row in (first, last)] == pytest.approx(values, rel=1e-4)
    Path("new.txt").write_text("CCO\n \n")
    predict("logp", "--input", "new.txt", "--output", "out.csv", "--on-error", "skip")
    assert [row["error"] for row in rows_of(Path("out.csv").read_text())] == [
        "",
        "new.txt:2: got an empty item",
    ]
    Path("new.jsonl").write_text('{"text": "CCO"}\n[1\n{"n": 1}\n')
    predict("logp", "--input", "new.jsonl", "--output", "out.jsonl", "--on-error", "skip")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row.get("n") or row.get("item") for row in rows] == [None, "[1", 1]
    assert "expected JSON" in rows[1]["error"]
    assert "no field 'text'" in rows[2]["error"]
    Path("all.smi").write_text("C(C\n")
    message = predict("logp", "--input", "all.smi", "--output", "o.csv", "--on-error", "skip", code=1).stderr
    assert "none of the first 1 rows can be predicted; the first: all.smi:1" in message


def test_rows_of_a_table_that_cannot_be_read_keep_their_place(predict: Callable[..., Result]) -> None:
    Path("new.csv").write_text('id,text\n1\n2,good\n3,a,b\n4,"x"y\n5,bad\n6\n')
    message = predict("mood", "--input", "new.csv", "--output", "out.csv", code=1).stderr
    assert "new.csv:2: got 1 cells, expected 2 as in the header; the row: 1 (--on-error skip" in message
    said = predict("mood", "--input", "new.csv", "--output", "out.csv", "--on-error", "skip").stderr
    assert "4 of them with an error" in said
    found = rows_of(Path("out.csv").read_text())
    assert [row["id"] for row in found] == ["", "2", "", "", "5", ""]
    errors = [row["error"].partition(" (")[0].split(", expected")[0] for row in found]
    assert errors[:4] == ["new.csv:2: got 1 cells", "", "new.csv:4: got 3 cells", errors[3]]
    assert errors[3].startswith("new.csv:5: not valid CSV")
    assert errors[4:] == ["", "new.csv:7: got 1 cells"]
    assert found[2]["error"].endswith("; the row: 3,a,b")


def test_recordings_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    writer = TimedWriter(word_grid("phones"), ".TextGrid", {}, folder=True)
    rows = [Row({}, None, "", name) for name in ("a.wav", "a.mp3", "a-2.wav", "../a.wav", "")]
    part = tmp_path / "0.part"
    part.write_bytes(
        writer.encode([(row, {"segments": [[0.0, 1.0, "x"]], "confidence": [0.5]}) for row in rows])
    )
    writer.join([part], tmp_path / "grids")
    assert sorted(p.name for p in (tmp_path / "grids").iterdir()) == [
        "a-2-2.TextGrid", "a-2.TextGrid", "a-3.TextGrid", "a.TextGrid",
    ]  # fmt: skip
    assert not (tmp_path / "a.TextGrid").exists()


def test_a_row_without_a_finite_prediction(
    predict: Callable[..., Result], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = model.run_prepared

    def run(name: str, pieces: Any, *arguments: Any, locations: Any) -> Any:
        if "new.txt:2" in locations:
            raise ValueError("new.txt:2: mood: got a prediction that is NaN")
        return once(name, pieces, *arguments, locations=locations)

    monkeypatch.setattr(model, "run_prepared", run)
    Path("new.txt").write_text("so\ngood\nbad\n")
    predict("mood", "--input", "new.txt", "--output", "out.csv", "--on-error", "skip")
    rows = rows_of(Path("out.csv").read_text())
    assert [bool(row["prediction"]) for row in rows] == [True, False, True]
    assert [row["error"] for row in rows] == ["", "new.txt:2: mood: got a prediction that is NaN", ""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "out.doc"], "got the ending '.doc', expected one of .csv .tsv"),
        (["--output", "new.csv"], "new.csv: is the input too"),
        (["--output", "no/out.csv"], "no: no such folder"),
        (["--output", "out.csv", "--column", "txt"], "no column 'txt' (did you mean 'text'?)"),
        (["--output", "out.csv", "--on-error", "skp"], "did you mean 'skip'"),
        (["--output", "out.csv", "--precision", "bf61"], "did you mean 'bf16'"),
        (["--output", "out.tsv"], "column 'n': got 'a\\tb', which has a tab or an end of line"),
    ],
)
def test_what_is_refused(predict: Callable[..., Result], arguments: list[str], message: str) -> None:
    Path("new.csv").write_text('text,n\nbad,"a\tb"\n')
    assert message in predict("mood", "--input", "new.csv", *arguments, code=1).stderr
    assert os.listdir() == ["new.csv"]


def test_options_that_do_not_fit(predict: Callable[..., Result]) -> None:
    assert "goes with --input" in predict("mood", "so", "--output", "out.csv", code=2).stderr
    assert "goes with --output" in predict("mood", "so", "--n-best", "2", code=2).stderr


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_the_precision_of_a_prediction(predict: Callable[..., Result], model: Model, precision: str) -> None:
    Path("new.csv").write_text("text\nso red\n")
    done = predict("mood", "--input", "new.csv", "--output", "out.csv", "--precision", precision)
    assert model.precision == ("bf16" if precision == "bf16" else "fp32")  # auto: the model is narrow
    assert ("precision fp32: " in done.stderr) == (precision == "auto")
    model.precision = "fp32"


def test_excel(predict: Callable[..., Result]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    Path("new.csv").write_text("id;text\n007;so good\n=1+1;gr\u00fcn \x01 saw\n", encoding="utf-8-sig")
    predict("mood", "--input", "new.csv", "--output", "out.xlsx")
    [header, *rows] = openpyxl.load_workbook("out.xlsx").active.iter_rows(values_only=True)
    assert header == ("id", "text", "prediction", "confidence", "n_best")
    assert [row[0] for row in rows] == ["007", "=1+1"]
    assert rows[1][1] == "gr\u00fcn \ufffd saw"
    assert all(isinstance(row[2], str) for row in rows)
    assert all(isinstance(row[3], float) for row in rows)
    sheet = openpyxl.load_workbook("out.xlsx").active
    assert sheet["A3"].data_type == "s"
    message = predict("mood", "--input", "new.csv", "--output", "-.xlsx", code=1).stderr
    assert ".xlsx is not written to standard output" in message


def test_what_excel_cannot_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    writer = ExcelWriter(["text"], [], None)
    with pytest.raises(ValueError, match=r"column 'text': got a text of 40,000 characters, .*write .csv"):
        writer.encode([(Row({"text": "a" * 40_000}, "a", "x:1"), {})])
    monkeypatch.setattr("multiseq.runs.writers.tables.MOST_ROWS", 2)
    part = tmp_path / "0.part"
    part.write_bytes(writer.encode([(Row({"text": name}, name, "x:1"), {}) for name in "ab"]))
    with pytest.raises(ValueError, match=r"a sheet of Excel has at most 2 rows; write \.csv"):
        writer.join([part], tmp_path / "out.xlsx")
    assert not (tmp_path / "out.xlsx").exists()


# --- several processes ----------------------------------------------------------------------------


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Predict in three processes. The list gets their number at each call."""
    if sys.platform != "linux":
        pytest.skip("only Linux forks safely")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    calls, real = [], predict_module.in_processes

    def counted(make: Callable[[int], Any], number: int) -> Any:
        calls.append(number)
        return real(make, number)

    monkeypatch.setattr(predict_module, "in_processes", counted)
    return calls


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_several_processes_write_the_same_rows(
    sixty: Callable[..., tuple[Done, list[str]]], forked: list[int], ending: str
) -> None:
    alone, _ = sixty(f"alone.{ending}", chunk=31)  # too few rows for two
    assert not forked
    done, _ = sixty(f"shared.{ending}")
    assert forked == [3]
    assert done.rows == alone.rows == 60
    few, whole = (Path(f"{name}.{ending}").read_text() for name in ("shared", "alone"))
    if ending == "csv":
        read = [
            [(row["n"], row["text"], row["prediction"]) for row in rows_of(text)] for text in (few, whole)
        ]
        assert read[0] == read[1]
    else:
        assert [json.loads(line)["n"] for line in few.splitlines()] == list(range(60))


def test_an_error_in_another_process(
    sixty: Callable[..., tuple[Done, list[str]]], forked: list[int], model: Model
) -> None:
    lines = Path("new.jsonl").read_text().splitlines()
    lines[40] = '{"n": 40, "text": 3}'
    Path("new.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"^new.jsonl:41: .* \(--on-error skip goes on\)$"):
        sixty("out.csv")
    assert json.loads(Path("out.csv.partial/state.json").read_text())["rows"] == 35
    done, _ = sixty("skipped.csv", skip=True)
    assert forked == [3, 3]
    empty = sum(not str(json.loads(line)["text"]).strip() for line in lines)
    assert (done.rows, done.failed) == (60, 1 + empty)
    assert done.error.startswith("new.jsonl:1: ")


# --- kills ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a prediction as a kill does: nothing is cleaned up but what `finally` cleans."""


@pytest.fixture
def sixty(model: Model, saved: Path) -> Callable[..., tuple[Done, list[str]]]:
    """Predict 60 rows in chunks of 7; returns what was said too."""
    lines = [json.dumps({"n": i, "text": " ".join(["so good saw a"[: i % 13]] * (i % 5))}) for i in range(60)]
    Path("new.jsonl").write_text("\n".join(lines) + "\n")

    def call(output: str, **options: Any) -> tuple[Done, list[str]]:
        said: list[str] = []
        with open_inputs("new.jsonl", model.adapter("text"), None, "mood") as files:
            told: dict[str, Any] = {"source": saved, "say": said.append, "chunk": 7, **options}
            return predict_files(model, "mood", files, output, **told), said

    return call


@pytest.mark.parametrize(
    ("ending", "places"), [("csv", [1, 2, 7, 18, "join"]), ("parquet", [4, "join"]), ("txt", [4, "join"])]
)
def test_killed_and_run_again(
    sixty: Callable[..., tuple[Done, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    places: list[int | str],
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    sixty(f"whole.{ending}")
    write = predict_module.write_whole

    def killed(path: Path, data: Any) -> None:
        calls[0] += 1
        if calls[0] == place:
            (path.parent / f".{path.name}.0.new").write_bytes(b"half of")  # what a kill leaves
            raise Killed
        write(path, data)

    def killed_at_the_end(path: Path, fill: Callable[[Path], None]) -> None:
        fill(path.with_name(f".{path.name}.0.new"))
        raise Killed

    for place in places:
        calls, out = [0], f"{place}.{ending}"
        with monkeypatch.context() as patch:
            patch.setattr(predict_module, "write_whole", killed)
            if place == "join":
                module = "lines" if ending == "txt" else "tables"
                patch.setattr(f"multiseq.runs.writers.{module}.replace_file", killed_at_the_end)
            with pytest.raises(Killed):
                sixty(out)
        assert not Path(out).exists()
        done, said = sixty(out)
        kept = (place - 1) // 2 * 7 if isinstance(place, int) else 60  # a part, then the state
        assert said == ([f"{out}.partial: continues after {kept} rows"] if kept else [])
        assert done.rows == 60
        assert Path(out).read_bytes() == Path(f"whole.{ending}").read_bytes()
        assert not Path(f"{out}.partial").exists()


def stopped(sixty: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Stop after three parts."""
    write, calls = predict_module.write_whole, [0]

    def stop(path: Path, data: Any) -> None:
        calls[0] += 1
        if calls[0] == 7:
            raise error
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(predict_module, "write_whole", stop)
        with pytest.raises(error):
            sixty("out.csv")


@pytest.mark.parametrize("change", ["input", "model", "option"])
def test_what_has_changed_starts_anew(
    sixty: Callable[..., tuple[Done, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    saved: Path,
    folder: Path,
    change: str,
) -> None:
    stopped(sixty, monkeypatch, Killed)
    options: dict[str, Any] = {}
    if change == "input":
        Path("new.jsonl").write_text('{"text": "so"}\n')
    elif change == "model":
        shutil.copytree(saved, folder / "other")
        (folder / "other" / "config.json").write_text("{}")
        options = {"source": folder / "other"}
    else:
        options = {"n_best": 1}
    done, said = sixty("out.csv", **options)
    assert said == [f"out.csv.partial: starts anew, because of another {change} than before"]
    assert len(rows_of(Path("out.csv").read_text())) == done.rows == (1 if change == "input" else 60)


def test_ctrl_c_says_how_to_go_on(
    sixty: Callable[..., tuple[Done, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    stopped(lambda output: sixty(output, say=said.append), monkeypatch, KeyboardInterrupt)
    assert said == ["21 rows are done; the same command goes on from there"]


def test_a_folder_of_others_is_not_touched(
    sixty: Callable[..., tuple[Done, list[str]]], folder: Path
) -> None:
    (folder / "out.csv.partial").mkdir()
    (folder / "out.csv.partial" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not of a prediction"):
        sixty("out.csv")


def test_a_chunk_ends_where_items_are_large(
    sixty: Callable[..., tuple[Done, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sixty("whole.csv", chunk=1000)
    monkeypatch.setattr(predict_module, "CHUNK_VECTORS", 40)
    numbers = []
    write = predict_module.write_whole
    monkeypatch.setattr(
        predict_module, "write_whole", lambda path, data: (numbers.append(path.name), write(path, data))
    )
    sixty("out.csv", chunk=1000)
    assert len({name for name in numbers if name.endswith(".part")}) > 3
    few, whole = (rows_of(Path(name).read_text()) for name in ("out.csv", "whole.csv"))
    assert [row["prediction"] for row in few] == [row["prediction"] for row in whole]
