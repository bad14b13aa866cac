"""WebNLG: facts with readable names and all texts, from an archive, a folder and a file."""

from __future__ import annotations

import tarfile
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multiseq import GraphAdapter
from multiseq.cli import app
from multiseq.data import DataError
from multiseq.data.graphs.webnlg import readable_name, readable_relation
from multiseq.data.readers import read_webnlg
from multiseq.runs.items import Reading, reading_of
from multiseq.runs.recipe import read
from multiseq.runs.rows import Input, columns_of_input, rows_of
from multiseq.runs.run import train_run

XML = """<?xml version="1.0" ?>
<benchmark><entries>
<entry category="Airport" eid="Id1" size="2">
<modifiedtripleset>
<mtriple>Ulm_Airport | cityServed | Neu-Ulm</mtriple>
<mtriple>Ulm_Airport | "elevation" | "478.0"^^xsd:double</mtriple>
</modifiedtripleset>
<lex comment="good" lid="Id1"><text>Ulm Airport serves
 Neu-Ulm.</text></lex>
<lex comment="good" lid="Id2">Neu-Ulm has Ulm Airport &amp; more.</lex>
<lex comment="bad" lid="Id3"><text/></lex>
</entry>
<entry category="Food" eid="Id2" size="1">
<modifiedtripleset><mtriple>Soup | country | Italy</mtriple></modifiedtripleset>
<lex><text></text></lex>
</entry>
</entries></benchmark>
"""


RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2
[training]
steps = 2
[data.facts]
adapter = "graph"
format = "webnlg"
train = "data"
[tasks.text]
data = "facts"
output = "sequence"
target = "text"
tokens = "character"
column = "text"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / "data" / split / "2triples").mkdir(parents=True)
        (tmp_path / "data" / split / "2triples" / "Airport.xml").write_text(XML, encoding="utf-8")
    return tmp_path / "data"


def test_facts_are_readable_and_texts_are_all_there(folder: Path) -> None:
    records = read_webnlg(folder)
    assert records.items[:2] == [
        [("Ulm Airport", "city served", "Neu-Ulm"), ("Ulm Airport", "elevation", "478.0")],
        [("Soup", "country", "Italy")],
    ]
    texts = ["Ulm Airport serves Neu-Ulm.", "Neu-Ulm has Ulm Airport & more."]
    assert records.column("text") == [texts, None] * 2
    assert records.column("split") == ["test", "test", "train", "train"]
    assert records.column("category") == ["Airport", "Food"] * 2
    assert records.column("eid") == ["Id1", "Id2"] * 2


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz"])
def test_an_archive_is_read_as_its_folder(folder: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"webnlg.{ending}"
    with tarfile.open(path, f"w:{ending.partition('.')[2]}") as archive:
        for split in ("test", "train"):
            archive.add(folder / split, f"./{split}")
    packed, plain = read_webnlg(path), read_webnlg(folder)
    assert (packed.items, packed.columns) == (plain.items, plain.columns)


@pytest.mark.parametrize("kind", ["folder", "folder of an archive", "archive", "file"])
def test_init_writes_a_recipe(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = folder
    if "archive" in kind:
        Path("packed").mkdir()
        with tarfile.open("packed/facts.tar.xz", "w:xz") as archive:
            archive.add(folder, "facts")
        given = Path("packed/facts.tar.xz" if kind == "archive" else "packed")
    elif kind == "file":
        facts = "<modifiedtripleset><mtriple>A | b | {0}</mtriple></modifiedtripleset>"
        entries = "".join(f"<entry>{facts}<lex>A {{0}}.</lex></entry>".format(i) for i in range(20))
        given = Path("one.xml")
        given.write_text(f"<benchmark><entries>{entries}</entries></benchmark>", encoding="utf-8")
    for command in (("init", str(given), "--out", "r.toml"), ("check", "r.toml")):
        result = CliRunner().invoke(app, list(command))
        assert result.exit_code == 0, result.output
    recipe = tomllib.loads(Path("r.toml").read_text(encoding="utf-8"))
    [data], [task] = recipe["data"].values(), recipe["tasks"].values()
    assert (data["format"], data.get("split_column")) == ("webnlg", None if kind == "file" else "split")
    assert (task["output"], task["column"], task["copy"]) == ("sequence", "text", True)


def test_one_file_has_no_split(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.xml"
    path.write_text(XML, encoding="utf-8")
    assert read_webnlg(path).column("split") == ["", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "<benchmark>", "no element found.*expected XML"),
        ("a.xml", "<html/>", "got <html> without <entries>"),
        ("a.xml", XML.replace("Soup | country | Italy", "Soup"), "entry Id2: got the fact 'Soup'"),
        ("a.xml", XML.replace("Soup | country | Italy", "a | b | c | d"), "got the fact 'a . b . c . d'"),
        ("a.tar", "no archive", "expected a .tar archive, a folder or a .xml file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_webnlg(tmp_path / name)


def test_an_entry_with_a_wrong_fact_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(XML.replace("Soup | country | Italy", "Soup"), encoding="utf-8")
    bad: list[str] = []
    records = read_webnlg(tmp_path / "a.xml", reject=lambda place, reason, raw: bad.append(place))
    assert [len(records.items), len(bad)] == [1, 1]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tar"):
        read_webnlg(tmp_path / "nowhere.tar")


def test_names_keep_what_is_not_decoration() -> None:
    assert readable_name("Airman_(comicsCharacter)") == "Airman (comicsCharacter)"
    assert readable_name('"Ich bin"@de') == "Ich bin"
    assert readable_name('5"_pipe') == '5" pipe'
    assert readable_relation("3rd_runway_SurfaceType") == "3rd runway surface type"


def test_new_facts_are_predicted_from_a_file_with_their_columns(folder: Path) -> None:
    path = folder / "test" / "2triples" / "Airport.xml"
    file = Input(path, Reading("webnlg", {}, "text"), path.parent, path.name)
    rows = list(rows_of(file, None))
    assert [row.item for row in rows] == read_webnlg(folder).items[:2]
    assert list(rows[0].cells) == columns_of_input(file, vector=False)
    assert rows[1].cells["text"] is None


def test_new_facts_are_made_readable_in_a_table_and_typed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text('graph,head,relation,tail\n1,Ulm_Airport,cityServed,"""Neu_Ulm""@de"\n', encoding="utf-8")
    (tmp_path / "r.toml").write_text(RECIPE, encoding="utf-8")
    recipe = read(tmp_path / "r.toml")
    file = Input(path, reading_of(path, GraphAdapter, recipe, "text"), tmp_path, path.name)
    assert file.reading.format == "triples"
    assert [row.item for row in rows_of(file, None)] == [[("Ulm Airport", "city served", "Neu Ulm")]]
    run = tmp_path / "run"
    train_run(recipe, run, progress=False)
    shown = [
        CliRunner().invoke(app, ["predict", str(run), facts]).stdout
        for facts in ('[["Ulm_Airport", "cityServed", "Ulm"]]', '[["Ulm Airport", "city served", "Ulm"]]')
    ]
    assert shown[0] == shown[1] != ""
    wrong = CliRunner().invoke(app, ["predict", str(run), '[["Ulm_Airport", "cityServed"]]'])
    assert "expected (subject, relation, object): three strings" in wrong.stderr
