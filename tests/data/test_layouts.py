"""docs/your-data.md: each layout of data from files to a scored run, a report and predictions in a file."""

from __future__ import annotations

import csv
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from multiseq import load
from multiseq.cli import app
from multiseq.runs.writers import text_grid
from tests.project.test_documents import FENCE

PAGE = Path(__file__).parents[2] / "docs" / "your-data.md"
CHEAP = (
    *("training.steps=5", "training.max_vectors=300", "encoder.dim=16", "encoder.depth=1", "encoder.heads=2"),
)
NUM = 30
"""Items of each layout."""
WORDS = ("the", "lamp", "is", "lovely", "and", "quiet", "but", "broke", "after", "one", "day", "so", "my")


def text(i: int) -> str:
    """A text that no other number has."""
    return " ".join(WORDS[(i * k + k * k) % len(WORDS)] for k in range(1, 6)) + f" {i}"


def write(name: str, text: str, encoding: str = "utf-8") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def table(
    name: str, header: str, rows: Sequence[Sequence[object]], separator: str = ",", **more: str
) -> None:
    lines = [header, *(separator.join(map(str, row)) for row in rows)]
    write(name, "\n".join(lines) + "\n", **more)


def sound(name: str, pitch: int, seconds: float = 0.4) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(int(16_000 * seconds)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 100 * pitch) * times), 16_000)


# --- the files of each layout ---------------------------------------------------------------------


def texts_with_a_class() -> None:
    def rows(num: int) -> list[list[object]]:
        return [[i, f'"{text(i)}, ok"', "good" if i % 3 else "bad"] for i in range(num)]

    table("reviews.csv", "id,review,mood", rows(NUM))
    table("new.csv", "id,review", [row[:2] for row in rows(3)])


def texts_with_a_number() -> None:
    table("offers.csv", "offer,price", [[text(i), 20 + i * 7 % 90 + 0.99] for i in range(NUM)])
    table("new.csv", "offer", [[text(i)] for i in range(3)])


def german_excel() -> None:
    def rows(num: int) -> list[list[object]]:
        return [[f"Schöne Wohnung {text(i)}", f"{i % 4 + 1},5", f"1.{200 + i},50"] for i in range(num)]

    table("wohnungen.csv", "Beschreibung;Zimmer;Miete", rows(NUM), ";", encoding="latin-1")
    table("neue.csv", "Beschreibung;Zimmer", [row[:2] for row in rows(3)], ";", encoding="latin-1")


def texts_in_folders() -> None:
    for i in range(NUM):
        write(f"mails/{'ham' if i % 2 else 'spam'}/{i:03}.txt", text(i))
    for i in range(3):
        write(f"inbox/{i}.txt", f"{text(i)}\n\n{text(i + 1)}\n")


def treebank() -> None:
    def sentences(num: int, given: bool) -> str:
        kinds = [
            ("Eine", "DET", "Case=Nom|Number=Sing"),
            ("Lampe", "NOUN", "Case=Nom|Number=Sing"),
            ("leuchtet", "VERB", "Number=Sing"),
            ("Lampen", "NOUN", "Case=Acc|Number=Plur"),
        ]
        found = []
        for i in range(num):
            words = [kinds[(i + k) % 4] for k in range(3 + i % 3)]
            lines = [
                "\t".join([str(n), word, "_", *([tag, "_", feats] if given else "___"), *"____"])
                for n, (word, tag, feats) in enumerate(words, 1)
            ]
            found.append(f"# sent_id = {i}\n" + "\n".join(lines) + "\n\n")
        return "".join(found)

    write("treebank.conllu", sentences(NUM, True))
    write("new.conllu", sentences(3, False))


def words_with_tags() -> None:
    def sentences(num: int) -> str:
        kinds = [("EU", "NNP B-NP B-ORG"), ("rejects", "VBZ B-VP O"), ("calls", "NNS B-NP O")]
        lines = [[" ".join(kinds[(i + k) % 3]) for k in range(2 + i % 3)] for i in range(num)]
        return "-DOCSTART- -X- O O\n\n" + "".join("\n".join(words) + "\n\n" for words in lines)

    for split, num in (("train", NUM), ("testa", 5), ("testb", 5)):
        write(f"news/eng.{split}", sentences(num))
    write("new.conll", "EU\nrejects\n\ncalls\n\nEU\n\n")


def lines_of_fasttext() -> None:
    def lines(num: int) -> str:
        labels = ["__label__baking __label__bread", "__label__knives", "__label__bread"]
        return "".join(f"{labels[i % 3]} {text(i)}\n" for i in range(num))

    write("cooking.train", lines(NUM))
    write("cooking.test", lines(6))
    write("new.txt", "".join(f"{text(i)}\n" for i in range(3)))


def texts_in_parquet() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    texts = [text(i) for i in range(NUM)]
    scores = [1 + i * 7 % 9 / 2 for i in range(NUM)]
    parquet.write_table(arrow.table({"text": texts, "score": scores}), "scores.parquet")
    parquet.write_table(arrow.table({"text": texts[:3]}), "new.parquet")


def aligned_files() -> None:
    for split, first, end in (("train", 0, NUM), ("dev", NUM, NUM + 5), ("test", NUM + 5, NUM + 10)):
        write(f"captions/{split}.en", "".join(f"{text(i)}\n" for i in range(first, end)))
        write(f"captions/{split}.de", "".join(f"{text(i + 3)}\n" for i in range(first, end)))
    write("new.en", "".join(f"{text(i)}\n" for i in range(3)))


def recordings_in_folders() -> None:
    for i in range(NUM):
        sound(f"voices/{'anna' if i % 2 else 'ben'}/{i:02}.wav", i % 5)
    for i in range(3):
        sound(f"unknown/{i}.wav", i)


def recordings_in_a_table() -> None:
    for i in range(NUM):
        sound(f"calls/audio/{i:03}.wav", i % 5)
    spoken = ["yes please", "no thanks", "call me back"]
    table("calls/calls.csv", "file,transcript", [[f"{i:03}.wav", spoken[i % 3]] for i in range(NUM)])
    table("calls/new.csv", "file,agent", [[f"{i:03}.wav", "kim"] for i in range(3)])


def recordings_with_textgrids() -> None:
    phones = ["a", "t", "s", ""]
    for i in range(NUM):
        speaker = ["anna", "ben"][i % 2]
        sound(f"interviews/{speaker}/{i:02}.wav", i % 5)
        tier = [(k / 10, (k + 1) / 10, phones[(i + k) % 4]) for k in range(4)]
        grid = text_grid([("words", [(0.0, 0.4, text(i))]), ("phones", tier)])
        write(f"interviews/{speaker}/{i:02}.TextGrid", grid, ["utf-8", "utf-16"][i % 2])
    for i in range(3):
        sound(f"new/{i}.wav", i)


def kaldi_folders() -> None:
    """Each recording holds two utterances."""
    spoken = ["YES PLEASE", "NO THANKS", "CALL ME BACK"]
    for split, num in (("train", NUM), ("test", 10), ("new", 4)):
        for i in range(num // 2):
            sound(f"corpus/{split}/{i}.wav", i % 5, 0.8)
        lines: dict[str, list[str]] = {
            "wav.scp": [f"{i} {i}.wav" for i in range(num // 2)],
            "segments": [f"u{i} {i // 2} {i % 2 * 0.4} {i % 2 * 0.4 + 0.4}" for i in range(num)],
            "utt2spk": [f"u{i} {split}{i % 4}" for i in range(num)],
        }
        if split != "new":
            lines["text"] = [f"u{i} {spoken[i % 3]}" for i in range(num)]
        for name, content in lines.items():
            write(f"corpus/{split}/{name}", "\n".join(content) + "\n")


def molecule(i: int) -> str:
    """The SMILES of a molecule that no other number has."""
    return f"C{'C' * (i % 12)}(=O)N{'C' * (i // 12)}"


def molecules_in_a_table() -> None:
    """A third of the molecules has both numbers, and one has none."""
    rows = [
        [f"M{i}", molecule(i), "" if i % 3 == 1 else -i / 10, "" if i % 3 == 2 or i == 4 else i * 7 % 9 / 2]
        for i in range(NUM)
    ]
    table("molecules.csv", "name,smiles,solubility,logd", rows)
    table("new.csv", "name,smiles", [row[:2] for row in rows[:3]])


def molecules_in_sdf() -> None:
    from rdkit import Chem

    def blocks(num: int, given: bool) -> str:
        found = []
        for i in range(num):
            block = Chem.MolToMolBlock(Chem.MolFromSmiles(molecule(i)))
            found.append(f"M{i}{block}>  <LogS>  ({i})\n{-i / 10}\n\n" if given else f"M{i}{block}")
        return "".join(f"{one}$$$$\n" for one in found)

    write("molecules.sdf", blocks(NUM, True))
    write("new.sdf", blocks(3, False))


def one_network() -> None:
    rows = [
        [f"p{i:02}", 20 + i * 7 % 23, ["north", "south"][i % 2], ["no", "yes"][i % 3 > 0]] for i in range(NUM)
    ]
    table("club/people.csv", "person,age,region,buys", rows)
    ties = [[f"p{i:02}", f"p{(i * k + 1) % NUM:02}", k] for i in range(NUM) for k in (1, 2)]
    table("club/friends.csv", "source,target,years", ties)
    table("guests/people.csv", "person,age,region", [row[:3] for row in rows[:5]])
    table("guests/friends.csv", "source,target,years", [["p00", "p01", 3], ["p02", "p04", 1]])


def networks_in_graphml() -> None:
    import networkx

    def network(num: int, given: bool) -> Any:
        graph = networkx.Graph()
        for i in range(num):
            own = {"age": 20 + i * 7 % 23, "region": ["north", "south"][i % 2]}
            graph.add_node(f"p{i:02}", **own, **({"buys": ["no", "yes"][i % 3 > 0]} if given else {}))
        graph.add_weighted_edges_from((f"p{i:02}", f"p{(i * 2 + 1) % num:02}", 1.5) for i in range(num))
        return graph

    networkx.write_graphml(network(NUM, True), "club.graphml")
    networkx.write_graphml(network(5, False), "guests.graphml")


def graphs_with_a_label() -> None:
    def graph(i: int) -> dict[str, Any]:
        num = 3 + i // 2
        edges = [[k, (k + 1) % num] for k in range(num - i % 2)]
        return {"nodes": {"weight": [k * 1.5 for k in range(num)]}, "edges": edges}

    lines = [json.dumps({"graph": graph(i), "shape": ["ring", "chain"][i % 2]}) for i in range(NUM)]
    write("shapes.jsonl", "\n".join(lines))
    write("new.jsonl", "\n".join(json.dumps({"graph": graph(i), "id": i}) for i in range(3)))


def facts() -> None:
    jobs, cities = ("baker", "pilot", "nurse"), ("Rome", "Oslo")
    rows, new = [], []
    for i in range(NUM):
        job, city = jobs[i % 3], cities[i % 2]
        rows.append([i, f"Person_{i}", "profession", job, f"Person {i} is a {job} in {city}."])
        rows.append([i, f"Person_{i}", "city", city, ""])
        new += [row[:4] for row in rows[-2:]]
    table("facts.csv", "entry,head,relation,tail,text", rows)
    table("new.csv", "entry,head,relation,tail", new[:6])


LAYOUTS: dict[int, tuple[Callable[[], None], int]] = {
    1: (texts_with_a_class, 3),
    2: (texts_with_a_number, 3),
    3: (german_excel, 3),
    4: (texts_in_folders, 3),
    5: (treebank, 3),
    6: (aligned_files, 3),
    7: (recordings_in_folders, 3),
    8: (recordings_in_a_table, 3),
    9: (recordings_with_textgrids, 3),
    10: (kaldi_folders, 4),
    11: (molecules_in_a_table, 3),
    12: (molecules_in_sdf, 3),
    13: (one_network, 5),
    14: (networks_in_graphml, 5),
    15: (graphs_with_a_label, 3),
    16: (facts, 3),
    17: (words_with_tags, 3),
    18: (lines_of_fasttext, 3),
    19: (texts_in_parquet, 3),
}
"""Number on the page -> what makes its files, and the number of rows of its predictions."""


# --- the page -------------------------------------------------------------------------------------


def sections() -> dict[int, str]:
    parts = re.split(r"^## (\d+)\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def blocks(section: str, language: str) -> Iterator[str]:
    return (found["code"] for found in FENCE.finditer(section) if found["language"] == language)


def call(command: Sequence[str]) -> str:
    result = CliRunner().invoke(app, list(command[1:]), prog_name="multiseq")
    assert result.exit_code == 0, (command, result.output, result.exception)
    return result.output


def rows_of(path: Path) -> list[Any]:
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".parquet":
        rows: list[Any] = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        return rows
    if path.suffix in (".conllu", ".conll"):
        return [s for s in path.read_text(encoding="utf-8").split("\n\n") if s.strip()]
    return sorted(path.iterdir())


def test_the_page_has_nineteen_layouts() -> None:
    assert list(sections()) == list(range(1, 20))
    assert [n for n, section in sections().items() if list(blocks(section, "toml"))] == sorted(LAYOUTS)


@pytest.mark.parametrize("number", LAYOUTS, ids=lambda n: LAYOUTS[n][0].__name__)
def test_a_layout_goes_from_files_to_predictions(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    section = sections()[number]
    make, num = LAYOUTS[number]
    make()
    [shown] = blocks(section, "toml")
    [commands] = blocks(section, "sh")
    assert len([line for line in shown.splitlines() if line]) <= 15
    init, train, predict = (shlex.split(line) for line in commands.splitlines())
    call(init)
    [recipe] = tmp_path.glob("*.toml")
    assert tomllib.loads(recipe.read_text(encoding="utf-8")) == tomllib.loads(shown)
    changes = [part for change in CHEAP for part in ("--set", change)]
    assert "It can be trained." in call(["multiseq", "check", recipe.name, *changes])
    call([*train, *changes])
    run = Path("runs", recipe.stem)
    assert json.loads((run / "test.json").read_text(encoding="utf-8"))
    assert "</html>" in (run / "report.html").read_text(encoding="utf-8")
    call(predict)
    rows = rows_of(Path(predict[-1]))
    assert len(rows) == num
    assert all("prediction" in row for row in rows if isinstance(row, dict))


def test_a_treebank_of_another_language(here: Path, data_dir: Path) -> None:
    """The recipe of layout 5, on files of a Chinese treebank."""
    [dev] = (data_dir / "text_pos" / "UD_Chinese-GSD-r1.3").glob("*-dev.conllu")
    sentences = dev.read_text(encoding="utf-8").split("\n\n")[:60]
    Path("treebank.conllu").write_text("\n\n".join(sentences[:50]) + "\n\n", encoding="utf-8")
    Path("new.conllu").write_text("\n\n".join(sentences[50:]) + "\n\n", encoding="utf-8")
    call(["multiseq", "init", "treebank.conllu"])
    [shown] = blocks(sections()[5], "toml")
    assert tomllib.loads(Path("treebank.toml").read_text(encoding="utf-8")) == tomllib.loads(shown)
    run = trained("treebank.toml")
    call(["multiseq", "predict", str(run), "--input", "new.conllu", "--output", "tagged.conllu"])
    old, new = (Path(name).read_text(encoding="utf-8") for name in ("new.conllu", "tagged.conllu"))
    changed = [(a.split("\t"), b.split("\t")) for a, b in zip(old.split("\n"), new.split("\n"), strict=True)]
    assert all(a[:3] == b[:3] and a[4:] == b[4:] for a, b in changed)
    known = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["tasks"]["upos"]
    assert {b[3] for _, b in changed if len(b) == 10} <= set(json.dumps(known).split('"'))


# --- seams between the parts ----------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(recipe: str) -> Path:
    call(["multiseq", "train", recipe, *(part for change in CHEAP for part in ("--set", change))])
    return Path("runs", Path(recipe).stem)


def test_bad_rows_are_left_out_by_init_by_training_and_by_predict(here: Path) -> None:
    rows = [[f"C{'C' * (i % 12)}N", "no" if i else "yes"] for i in range(NUM)]
    table("m.csv", "smiles,toxic", [*rows[:5], ["CC(", "no"], ["CCO", "no", "3"], *rows[5:]])
    assert "Odd: 2 bad rows left out" in call(["multiseq", "init", "m.csv"])
    recipe = Path("m.toml").read_text(encoding="utf-8")
    assert 'on_error = "skip"             # 2 bad rows: left out, and listed in bad_rows.csv' in recipe
    assert re.search(r"# 9\d% are 'no'\.", recipe)
    assert '# class_weight = "balanced"\n# metric = "f1"' in recipe
    Path("m.toml").write_text(recipe.replace("# class_weight", "class_weight").replace("# metric", "metric"))
    run = trained("m.toml")
    table("new.csv", "smiles,id", [["CCO", 1], ["CC(", 2], ["CCN"], ["CCC", 4]])
    call(["multiseq", "predict", str(run), "--input", "new.csv", "--output", "p.csv"])
    errors = [row["error"] for row in rows_of(Path("p.csv"))]
    assert [bool(error) for error in errors] == [False, True, True, False]
    assert "new.csv:4: got 1 cells" in errors[2]
    stopped = CliRunner().invoke(
        app, ["predict", str(run), "--input", "new.csv", "--output", "q.csv", "--on-error", "stop"]
    )
    assert stopped.exit_code == 1
    assert "--on-error skip goes on" in stopped.stderr


def test_blanks_in_the_labels_of_molecules_do_not_count(here: Path) -> None:
    molecules_in_a_table()
    call(["multiseq", "init", "molecules.csv"])
    run = trained("molecules.toml")
    rows, split = rows_of(Path("molecules.csv")), json.loads((run / "splits" / "molecules.json").read_text())
    scores = json.loads((run / "test.json").read_text())["tasks"]
    for task in ("solubility", "logd"):
        known = [float(rows[i][task]) for i in split["test"] if rows[i][task]]
        assert 0 < scores[task]["num_items"] == len(known) < len(split["test"])
        trained_on = [float(rows[i][task]) for i in split["train"] if rows[i][task]]
        target = load(run).task(task).head.target
        assert target.mean == pytest.approx([sum(trained_on) / len(trained_on)])


def test_molecules_with_a_number_and_a_class(here: Path) -> None:
    rows = [[molecule(i), "" if i % 7 == 3 else -i / 10, "" if i % 7 == 5 else i % 2] for i in range(NUM)]
    table("m.csv", "smiles,solubility,toxic", rows)
    call(["multiseq", "init", "m.csv"])
    tasks = tomllib.loads(Path("m.toml").read_text(encoding="utf-8"))["tasks"]
    assert [task["target"] for task in tasks.values()] == ["number", "class"]
    run = trained("m.toml")
    for task in ("solubility", "toxic"):
        call(["multiseq", "predict", str(run), "--task", task, "--input", "m.csv", "--output", "p.csv"])
        assert all(row["prediction"] for row in rows_of(Path("p.csv")))
    assert {row["prediction"] for row in rows_of(Path("p.csv"))} <= {"0", "1"}


def test_networks_with_decimal_commas_are_predicted(here: Path) -> None:
    rows = [[f"p{i:02}", f"1.{200 + i},5", ["no", "yes"][i % 3 > 0]] for i in range(NUM)]
    table("net/people.csv", "person;income;buys", rows, ";")
    table(
        "net/ties.csv", "source;target", [[f"p{i:02}", f"p{(i * 2 + 1) % NUM:02}"] for i in range(NUM)], ";"
    )
    call(["multiseq", "init", "net"])
    assert 'decimal = ","' in Path("net.toml").read_text(encoding="utf-8")
    run = trained("net.toml")
    call(["multiseq", "predict", str(run), "--input", "net/people.csv", "--output", "p.csv"])
    found = rows_of(Path("p.csv"))
    assert [row["person"] for row in found] == [row[0] for row in rows]
    assert found[0]["income"] == "1.200,5"
    assert list(found[0])[:3] == ["person", "income", "buys"]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ('test = 0.2\ndev = 0.1\ngroup = "user"', "no 'user' in two splits"),
        ('test = 0.2\ndev = 0.1\ntime = "day"', "the latest by 'day' are held out"),
        ("folds = 3\nfold = 1\ndev = 0.1", "fold 1 of 3"),
    ],
)
def test_check_says_how_the_library_divides(here: Path, change: str, shown: str) -> None:
    rows = [[text(i), "ab"[i % 2], f"u{i % 7}", f"2024-01-{i % 28 + 1:02}"] for i in range(NUM)]
    table("a.csv", "text,label,user,day", rows)
    task = '[tasks.t]\ndata = "a"\noutput = "set"\ntarget = "class"\ncolumn = "label"\n'
    write("a.toml", f'[data.a]\nadapter = "text"\nformat = "table"\nfile = "a.csv"\n{change}\n{task}')
    assert shown in call(["multiseq", "check", "a.toml", "--set", "encoder.dim=16"])


def test_graphs_with_a_label_in_a_folder_of_graphml(here: Path) -> None:
    import networkx

    Path("g").mkdir()
    for i in range(NUM):
        graph = networkx.cycle_graph(3 + i) if i % 2 else networkx.path_graph(3 + i)
        graph.graph["shape"] = "ring" if i % 2 else "chain"
        networkx.write_graphml(graph, f"g/{i:02}.graphml")
    call(["multiseq", "init", "g"])
    spec = tomllib.loads(Path("g.toml").read_text(encoding="utf-8"))
    assert spec["data"]["g"]["features"] == ["degree"]
    assert spec["tasks"]["shape"]["output"] == "set"
    run = trained("g.toml")
    call(["multiseq", "predict", str(run), "--input", "g", "--output", "p.csv"])
    assert [row["network"] for row in rows_of(Path("p.csv"))] == [f"{i:02}" for i in range(NUM)]


def test_parts_of_sdf_and_graphml_that_cannot_be_read(here: Path) -> None:
    from multiseq.data.readers import read_graphml, read_sdf

    write("a.sdf", "bad\n\n\nnothing\nM  END\n>  <x>\n1\n\n$$$$\n")
    with pytest.raises(ValueError, match=r"a\.sdf:1: RDKit reads no molecule in the MOL block 'bad'"):
        read_sdf(Path("a.sdf"))
    write("a.graphml", "<graphml><graph")
    with pytest.raises(ValueError, match=r"a\.graphml: cannot be read as GraphML"):
        read_graphml(Path("a.graphml"), features=[])
    write(
        "b.graphml",
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph><node id="a"/></graph></graphml>',
    )
    with pytest.raises(ValueError, match=r"b\.graphml: node 'a' has no 'age', .* for each node$"):
        read_graphml(Path("b.graphml"), features=["age"])
    write("c.graphml", Path("b.graphml").read_text().replace("<node", '<edge source="a" target="c"/><node'))
    with pytest.raises(ValueError, match=r"c\.graphml: node 'a' has no 'age', .*; perhaps only an"):
        read_graphml(Path("c.graphml"), features=["age"])
