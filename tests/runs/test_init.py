"""`multiseq init` and `multiseq check`: what they make of files as people have them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from multiseq.cli import app
from multiseq.data.formats import FORMATS
from multiseq.data.recordings import find_recordings
from multiseq.data.records import DataError
from multiseq.init.columns import SAMPLE, look_at
from multiseq.init.command import _hints
from multiseq.init.files import encoding_of, groups_of, kind_of
from multiseq.init.layouts import plan_for
from multiseq.init.plan import Plan, recipe_text
from multiseq.init.tables import Wish, columns_of
from multiseq.runs.facts import facts_of
from multiseq.runs.writers import text_grid
from multiseq.tasks import Source

TEXTS = (
    "the lamp is lovely and quiet",
    "it broke after one day",
    "sent it back at once",
    "my sister loves it",
)
CSV = "id,review,stars\n" + "".join(f"{i},{TEXTS[i % 4]} {i},{i % 5 + 1}\n" for i in range(40))
TINY = ("--set", "encoder.dim=8", "--set", "encoder.depth=1", "--set", "encoder.heads=2")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="multiseq")


def well(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def error(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    return result.stderr


def planned(*names: str, item: str | None = None, labels: Sequence[str] = ()) -> tuple[Plan, dict[str, Any]]:
    """The plan for files, and the tables of its recipe, read back from its text."""
    plan = plan_for(list(map(Path, names)), Wish(item, labels))
    return plan, tomllib.loads(recipe_text(plan, Path(), "multiseq init", "x.toml"))


def only(tables: dict[str, Any], section: str) -> dict[str, Any]:
    [found] = tables[section].values()
    return dict(found)


def write(name: str, text: str, encoding: str = "utf-8") -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return name


def sound(name: str, rate: int = 8000, seconds: float = 0.3) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, np.random.default_rng(len(name)).normal(0, 0.1, int(rate * seconds)), rate)


# --- from files to a trained run ------------------------------------------------------------------


def test_files_of_a_text_task_become_a_recipe_that_trains() -> None:
    for split in ("train", "valid", "test"):
        write(f"reviews/{split}.csv", CSV.replace("lamp", split))
    shown = well("init", "reviews")
    assert "class: 5 different whole numbers -> LABEL" in shown
    assert "id: the number of the row -> not used" in shown
    assert "40 items in train, 40 items in dev, 40 items in test" in shown
    tables = tomllib.loads(Path("reviews.toml").read_text())
    assert only(tables, "data") == {
        "adapter": "text",
        "format": "table",
        "train": "reviews/train.csv",
        "dev": "reviews/valid.csv",
        "test": "reviews/test.csv",
        "input": "review",
    }
    assert only(tables, "tasks")["column"] == "stars"
    shown = well("check", "reviews.toml", *TINY)
    assert "stars, train: 5 classes: 1 8, 2 8, 3 8, 4 8, 5 8" in shown
    assert "Odd: stars: test: 30 items also in train, so the score is too good" in shown
    assert "weights on" in shown
    assert shown.endswith("It can be trained.\n")
    assert "accuracy" in well("train", "reviews.toml", "--set", "training.steps=2", *TINY)


def test_a_recipe_is_never_overwritten() -> None:
    write("a.csv", CSV)
    Path("a.toml").write_text("mine")
    assert "a.toml: exists already and is not overwritten; write another with --out FILE" in error(
        "init", "a.csv"
    )
    assert Path("a.toml").read_text() == "mine"
    well("init", "a.csv", "--out", "b.toml")
    assert Path("b.toml").is_file()


def test_paths_are_relative_to_the_recipe() -> None:
    write("data/a.csv", CSV)
    Path("recipes").mkdir()
    well("init", "data/a.csv", "--out", "recipes/a.toml")
    assert only(tomllib.loads(Path("recipes/a.toml").read_text()), "data")["train"] == "../data/a.csv"


def test_the_longest_of_several_sheets_is_chosen() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "About"
    book.active.append(["made by us"])
    sheet = book.create_sheet("Answers")
    for i in range(12):
        sheet.append([f"a text of words, number {i}", "good" if i % 2 else "bad"] if i else ["text", "mood"])
    book.save("reviews.xlsx")
    well("init", "reviews.xlsx")
    text = Path("reviews.toml").read_text()
    assert 'sheet = "Answers"' in text
    assert "# the longest of Answers, About" in text
    assert "[data.reviews] train 8, dev 1, test 2 items" in well("check", "reviews.toml")


def test_one_file_is_divided_by_the_library_and_no_speaker_is_in_two_splits() -> None:
    rows = "".join(f"{TEXTS[i % 4]},{'yes' if i % 3 else 'no'},user{i % 7}\n" for i in range(60))
    _, tables = planned(write("a.csv", "text,label,user\n" + rows))
    data = only(tables, "data")
    assert (data["train"], data["dev"], data["test"], data["group"]) == ("a.csv", 0.1, 0.2, "user")


def test_a_column_of_splits_is_used_and_a_missing_dev_is_held_out() -> None:
    rows = "".join(f"{TEXTS[i % 4]},{'train' if i % 3 else 'test'},{i % 2}\n" for i in range(30))
    _, tables = planned(write("a.csv", "text,part,label\n" + rows))
    data = only(tables, "data")
    assert (data["file"], data["split_column"], data["dev"]) == ("a.csv", "part", 0.1)
    assert "train" not in data


def test_a_test_file_without_labels_is_left_out() -> None:
    write("train.csv", CSV)
    write("test.csv", "id,review\n1,the lamp is lovely and quiet today\n")
    plan, tables = planned("train.csv", "test.csv")
    assert only(tables, "data")["test"] == 0.2
    assert any("test.csv has no column stars" in line for line in plan.odd)


def test_wrong_guesses_can_be_corrected() -> None:
    write(
        "a.csv",
        "title,body,topic,score\n" + "a b c,the lamp is lovely and quiet,x,0.5\nd e f,it broke,y,0.7\n" * 9,
    )
    _, tables = planned("a.csv", item="title", labels=["topic", "score"])
    assert only(tables, "data")["input"] == "title"
    assert {name: task["target"] for name, task in tables["tasks"].items()} == {
        "topic": "class",
        "score": "number",
    }
    assert "--label: got 'topik'" in error("init", "a.csv", "--label", "topik")


def test_an_unnamed_label_is_a_marked_guess_with_the_others_as_comments() -> None:
    write(
        "a.csv", "text,colour,size\n" + "".join(f"{TEXTS[i % 4]},{'rg'[i % 2]},{i / 7}\n" for i in range(30))
    )
    plan, tables = planned("a.csv")
    assert list(tables["tasks"]) == ["size"]
    text = recipe_text(plan, Path(), "", "")
    assert (
        "A GUESS: colour, size could all be the label; this is the last one; to choose: --label NAME" in text
    )
    assert "# [tasks.colour]" in text
    assert "-> LABEL (A GUESS; to choose another: --label NAME)" in well("init", "a.csv")
    assert "A GUESS" not in well("init", "a.csv", "--label", "colour", "--out", "b.toml")


def test_a_table_without_labels_asks() -> None:
    write("a.csv", "id,text\n" + "".join(f"{i},{TEXTS[i % 4]} {i}\n" for i in range(9)))
    shown = well("init", "a.csv")
    assert "QUESTION: what should be learned? No column looks like a label." in shown
    assert "# QUESTION: what should be learned?" in Path("a.toml").read_text()
    assert "no [tasks.NAME], expected at least one" in error("check", "a.toml")


# --- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("zip", ["01069", "10115", "01069", "99084"] * 9, "id"),
        ("plz", [str(10000 + i % 3) for i in range(60)], "id"),
        ("user_id", [str(7 * i) for i in range(60)], "id"),
        ("row", [str(i) for i in range(60)], "id"),
        ("Unnamed: 0", [str(i) for i in range(60)], "id"),
        ("order", [f"A-{i:05}" for i in range(60)], "id"),
        ("when", ["2024-02-01", "2024-03-01"] * 30, "date"),
        ("when", ["1.2.2024", "13.12.2024"] * 30, "date"),
        ("when", ["2024-02-01T10:00:00Z", "2024-02-02 11:30"] * 30, "date"),
        ("year", ["1999", "2004"] * 30, "date"),
        ("timestamp", ["1700000000", "1700000060"] * 30, "date"),
        ("link", ["https://a.org/1", "https://a.org/2"], "id"),
        ("text", ["room 12 was 30 degrees", "1 of 2 broke", "3 stars"] * 9, "text"),
        ("stars", [str(i % 5 + 1) for i in range(60)], "class"),
        ("stars", [f"{i % 5 + 1}.0" for i in range(60)], "class"),
        ("label", ["0", "1", "1"], "class"),
        ("price", [f"{i * 1.1:.2f}" for i in range(60)], "number"),
        ("price", ["3,5", "4,25", "3,75"], "number"),
        ("age", [str(i % 60) for i in range(90)], "number"),
        ("speaker", [f"{i % 4:04}" for i in range(60)], "class"),
        ("tags", ["red, round", "red", "round, big"] * 20, "classes"),
        ("split", ["train", "test", "val"] * 9, "split"),
        ("kind", ["train", "bus", "tram"] * 9, "class"),
        ("split", ["A", "B"] * 9, "other"),
        ("age", [str(20 + i) for i in range(9)], "number"),
        ("clip", ["a.wav", "b.FLAC"], "audio"),
        ("mol", ["CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1O", "CCN(CC)CC"], "smiles"),
        ("logS", [*(f"-{i}.{i}" for i in range(40)), "n.d.", "<-8", "<-9"], "number"),
        ("rank", [*(f"{i}.5" for i in range(40)), *"abcde"], "id"),
        ("IC50", [*(f"{i}.5" for i in range(40)), *["<0.5"] * 12, *["n.d."] * 6], "number"),
        ("IC50", [*(f"{i % 9}.{i}" for i in range(40)), *(f">{i}" for i in range(10, 30))], "number"),
        ("IC50", [*(f"{i}.5" for i in range(40)), *["no fit", "insol."] * 6], "number"),
        ("IC50", [*(f"{i}.5" for i in range(40)), *[">50"] * 60], "other"),
        ("IC50", [*(f"{i}.5" for i in range(40)), *["n/a"] * 60], "other"),
        ("flat", [*(f"{i}.5" for i in range(40)), *(f"{i}B" for i in range(12))], "id"),
        ("dose", ["0.1", "0.5", "1.0", "control"] * 25, "class"),
        ("dose", ["0.5 mg", "1 mg", "<0.1 mg"] * 25, "class"),
        ("MIC", ["1", "2", "4", "8", ">8"] * 9, "class"),
        ("mood", ["CO", "NO", "CO", "OK", "NO", "CO"] * 9, "class"),
        ("x", ["", None, ""], "empty"),
        ("x", ["a", "a", "a"], "constant"),
        ("words", [["I", "ran"], ["she", "sat", "down"]], "words"),
        ("tags", [["PRON", "VERB"], ["PRON", "VERB", "PART"]] * 9, "labels"),
        ("facts", [[["Ada", "job", "baker"]], [["Bo", "job", "cook"]]], "triples"),
        ("text", ["Ada is a baker.", "Bo is no cook.", [["Ada", "job", "baker"]]], "other"),
    ],
)
def test_what_a_column_holds(name: str, cells: list[Any], kind: str) -> None:
    assert look_at(name, cells).kind == kind


def test_words_for_missing_among_numbers_are_said_and_trained_without() -> None:
    words = ("n/a", "NA", "-", "unknown")
    cells = [f"{i * 0.7 + 1:.2f}" if i % 16 else words[i // 16 % 4] for i in range(96)]
    rows = [f"{TEXTS[i % 4]} {i},{cell}\n" for i, cell in enumerate(cells)]
    data = write("m.csv", "text,value\n" + "".join(rows))
    said = well("init", data)
    assert "6 cells hold no number but '-', 'NA', 'n/a', 'unknown' -> LABEL" in said
    recipe = Path("m.toml").read_text(encoding="utf-8")
    assert only(tomllib.loads(recipe), "tasks")["target"] == "number"
    assert 'on_error = "skip"' in recipe
    assert "6 bad rows: left out" in recipe
    assert "It can be trained" in well("check", "m.toml")
    few = look_at("level", ["1", "2", "3", "unknown"] * 10)
    assert (few.kind, few.missing) == ("class", [])


def test_limits_among_numbers_are_left_out_and_said() -> None:
    cells = [
        f"{i}.5;{i * 0.3:.2f}" if i % 4 else f"{'<0.5' if i % 8 else 'n.d.'};{i * 0.3}" for i in range(96)
    ]
    rows = [f"{TEXTS[i % 4]} {i};{cell}\n" for i, cell in enumerate(cells)]
    said = well("init", write("m.csv", "text;IC50;score\n" + "".join(rows)))
    assert (
        "IC50   number: 72 different numbers, such as 1.5; 24 cells hold no number but '<0.5', 'n.d.'" in said
    )
    assert "Odd: IC50: '<0.5' is a limit, no number: training and score lack these labels, and so" in said
    assert "Odd: 24 bad labels left out: IC50: got '" in said
    assert "# 24 bad labels: left out, and" in Path("m.toml").read_text(encoding="utf-8")
    tasks = tomllib.loads(Path("m.toml").read_text(encoding="utf-8"))["tasks"]
    assert {name: task["target"] for name, task in tasks.items()} == {"IC50": "number", "score": "number"}


def test_numbers_among_more_limits_are_a_question_that_says_what_to_empty() -> None:
    rows = [f"{TEXTS[i % 4]} {i};{f'{i}.5' if i % 2 else '>50'}\n" for i in range(60)]
    said = well("init", write("m.csv", "text;IC50\n" + "".join(rows)))
    assert "IC50: numbers but for '>50' in 30 of 60 cells; to learn them, empty these cells." in said


def test_a_limit_among_few_numbers_is_a_class_that_says_so() -> None:
    why = look_at("MIC", ["1", "2", "4", "8", ">8"] * 9).why
    assert (
        why
        == "5 different values; if they are numbers: empty cells such as '>8', and set target = \"number\""
    )
    assert "numbers" not in look_at("age", ["<18", "18-65", ">65"] * 9).why


@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("€{}.22", "€"),
        ("{}.79%", "%"),
        ("1 {} kg", "kg"),
        ("EUR {},50", "EUR"),
        ("$1,{}", "$"),
        ("{} °C", "°C"),
    ],
)
def test_numbers_with_a_unit_are_named(pattern: str, unit: str) -> None:
    cells = [pattern.format(100 + i) for i in range(60)]
    data = write(
        "a.csv", "text;score\n" + "".join(f"{TEXTS[i % 4]} {i};{cell}\n" for i, cell in enumerate(cells))
    )
    said = well("init", data)
    assert f"numbers with '{unit}', such as '{cells[0]}'; to learn them, write the cells without it" in said
    assert "QUESTION: what should be learned? No column looks like a label." in said
    assert said.count("write the cells without it") == 2  # at the column, and in the question


def test_codes_and_classes_with_letters_are_no_numbers_with_a_unit() -> None:
    for cells in (
        [f"A-{i:03}" for i in range(60)],
        [f"{i % 5} stars" for i in range(60)],
        ["10 kg", "11 lb"] * 30,
    ):
        assert "numbers with" not in look_at("x", cells).why


def test_an_id_or_a_date_is_no_label() -> None:
    rows = "".join(f"{i},2024-01-{i % 28 + 1:02},0{i % 9}069,{TEXTS[i % 4]}\n" for i in range(60))
    plan, _ = planned(write("a.csv", "id,date,zip,text\n" + rows))
    assert plan.tasks == []


def test_a_computed_or_measured_quantity_is_no_label_beside_a_named_one() -> None:
    header = "smiles,MolWt,NumRings,measured solubility"
    rows = "".join(f"{'C' * (i + 1)}(=O)O,{i * 14.2},{i % 3},{-i / 7}\n" for i in range(40))
    _, tables = planned(write("a.csv", f"{header}\n{rows}"))
    assert only(tables, "data")["adapter"] == "graph"
    assert only(tables, "tasks") == {
        "data": "a",
        "output": "set",
        "target": "number",
        "column": "measured solubility",
    }


def test_columns_whose_names_differ_in_signs_only_are_two_tasks() -> None:
    rows = "".join(f"{TEXTS[i % 4]},{'ab'[i % 2]},{'cd'[i % 2]}\n" for i in range(40))
    _, tables = planned(write("a.csv", "text,label (1),label-1\n" + rows))
    assert {task["column"] for task in tables["tasks"].values()} == {"label (1)", "label-1"}


def test_a_column_that_is_called_like_a_class_is_a_header() -> None:
    rows = "".join(f"{['spam', 'ham'][i % 2]},{TEXTS[i % 4]}\n" for i in range(40))
    _, tables = planned(write("a.csv", "spam,text\n" + rows))
    assert only(tables, "tasks")["column"] == "spam"
    with pytest.raises(DataError, match=r"a.csv:1: the first line seems to be data \('spam'\)"):
        planned(write("a.csv", rows))


def test_codes_that_come_back_are_a_group() -> None:
    rows = "".join(f"{TEXTS[i % 4]} {i},{'up' if i % 3 else 'down'},{i // 4:04}\n" for i in range(100))
    _, tables = planned(write("a.csv", "text,label,who\n" + rows))
    assert only(tables, "data")["group"] == "who"
    few = "".join(f"{TEXTS[i % 4]} {i},{'up' if i % 3 else 'down'},{i // 10:04}\n" for i in range(100))
    _, tables = planned(write("b.csv", "text,label,who\n" + few))
    assert "group" not in only(tables, "data")


def test_many_columns_of_0_and_1_are_one_task() -> None:
    rows = "".join(f"{TEXTS[i % 4]},{i % 2},{i % 3 % 2},{'' if i % 5 else i // 5 % 2}\n" for i in range(40))
    _, tables = planned(write("a.csv", "text,toxic,rude,threat\n" + rows))
    assert only(tables, "tasks")["columns"] == ["toxic", "rude", "threat"]


def test_decimal_commas_are_said() -> None:
    rows = "".join(f"{TEXTS[i % 4]};{i % 7},{i}5\n" for i in range(40))
    _, tables = planned(write("a.csv", "text;note\n" + rows, "latin-1"))
    assert only(tables, "data")["decimal"] == ","
    assert only(tables, "tasks")["target"] == "number"


@pytest.mark.parametrize(
    ("separator", "cells", "decimal", "odd", "least"),
    [
        (",", ["51,494", "6,306", "34,936"], ".", r",\d{3}' is read as \d{4,}; if it is \d+\.\d+, set", 6306),
        (",", ["3,284", "5378", "204"], ".", r",\d{3}' is read as \d{4}; if it is \d\.\d+, set", 204),
        (";", ["4.474", "2.637", "8.063"], ",", r"\.\d+' is read as \d{4}; if it is \d\.\d+, set", 2611),
        (";", ["4,474", "2,637", "8,063"], ",", r",\d+' is read as \d\.\d+; if it is \d{4}, set", 2.611),
        (",", ["3,506,033", "493,537", "706,195"], ".", None, 493511),
        (",", ["9,667.17", "2,552.64", "12"], None, None, 12),
        (",", ["4.474", "2.637", "8.063"], None, None, 2.611),
        (",", ["4,474", "2,6", "8,063"], ",", None, 2.6),
        (";", ["4,474", "0,637", "8,063"], ",", None, 0.611),
    ],
)
def test_commas_and_points_before_three_digits(
    separator: str, cells: list[str], decimal: str | None, odd: str | None, least: float
) -> None:
    rows = []
    for i, cell in enumerate(cells * 70):
        varied = f"{cell[:-2]}{i % 90 + 10}" if i > 2 and cell[-3:].isdigit() else cell
        rows.append(f'{TEXTS[i % 4]} {i}{separator}"{varied}"\n')
    said = well("init", write("a.csv", f"text{separator}score\n" + "".join(rows)))
    data = only(tomllib.loads(Path("a.toml").read_text(encoding="utf-8")), "data")
    assert data.get("decimal") == decimal
    assert "on_error" not in data
    for output in (said, well("check", "a.toml")):
        assert bool(re.search(odd or "is read as", output)) is (odd is not None)
        assert min(map(float, re.findall(r"numbers from (\S+)", output))) == least


def test_the_decimal_mark_of_triples_and_of_other_columns_is_found() -> None:
    facts = "".join(f"g{i};Ada;job;baker {i};{i % 7},{i}5\n" for i in range(60))
    _, tables = planned(write("facts.csv", "graph;subject;relation;object;score\n" + facts))
    assert (only(tables, "data")["format"], only(tables, "data")["decimal"]) == ("triples", ",")
    rows = "".join(f'{TEXTS[i % 4]} {i},"{i + 1},{i * 7 % 900 + 100}",{i / 3:.2f}\n' for i in range(60))
    _, tables = planned(write("b.csv", "text,score,lat\n" + rows))  # lat has points: the commas group
    assert (only(tables, "tasks")["column"], only(tables, "data")["decimal"]) == ("score", ".")


def test_the_majority_decides_about_the_decimal_mark() -> None:
    for name, mark, other in (("en", ".", ","), ("de", ",", ".")):
        cells = [f"{i % 7}{mark}{i % 90 + 10}" for i in range(199)] + [f"2{other}5"]
        rows = (f'{TEXTS[i % 4]} {i},"{cell}"\n' for i, cell in enumerate(cells))
        said = well("init", write(f"{name}.csv", "text,score\n" + "".join(rows)))
        assert f"Odd: 1 bad row left out: score: got '2{other}5', expected a" in said
        assert f"({name}.csv:201)" in said
        data = only(tomllib.loads(Path(f"{name}.toml").read_text(encoding="utf-8")), "data")
        assert (data.get("decimal"), data["on_error"]) == ({"en": None, "de": ","}[name], "skip")


def test_two_texts_named_like_languages_are_a_translation() -> None:
    rows = "".join(f"{TEXTS[i % 4]},die Lampe ist schön {i}\n" for i in range(20))
    _, tables = planned(write("a.csv", "english,german\n" + rows))
    assert only(tables, "data")["input"] == "english"
    assert (only(tables, "tasks")["target"], only(tables, "tasks")["column"]) == ("text", "german")


# --- other layouts --------------------------------------------------------------------------------


def test_a_treebank_learns_its_parts_of_speech() -> None:
    rows = "1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n2\tran\trun\tVERB\tVBD\t_\t0\troot\t_\t_\n\n"
    for split in ("train", "dev", "test"):
        write(f"en-ud-{split}.conllu", rows * 5)
    plan, tables = planned(".")
    assert only(tables, "tasks") == {
        "data": plan.name, "output": "vector", "target": "class", "column": "upos",
    }  # fmt: skip
    assert [task.name for task in plan.tasks] == ["upos", "xpos", "deprel"]
    rows = rows.replace("PRP\t_", "PRP\tCase=Nom|Person=1").replace("VBD\t_", "VBD\tCase=Acc")
    write("features.conllu", rows * 5)
    plan, tables = planned("features.conllu")
    assert list(tables["tasks"]) == ["upos"]
    assert [task.name for task in plan.tasks] == ["upos", "xpos", "deprel", "feats", "Case"]
    assert plan.tasks[3].spec == {"output": "vector", "target": "multilabel", "column": "feats"}


@pytest.mark.parametrize(
    ("tags", "metric"),
    [
        (["B-ORG", "I-ORG", "O"], "span_f1"),
        (["S-ORG", "B-PER", "I-PER", "E-PER", "O"], "span_f1"),
        (["NOUN", "VERB", "O"], None),
    ],
    ids=["BIO", "IOBES", "parts of speech"],
)
def test_tags_that_mark_spans_are_scored_as_spans(tags: list[str], metric: str | None) -> None:
    sentences = ["".join(f"word{n} {tag}\n" for tag in tags) for n in range(30)]
    write("tagged.conll", "\n".join(sentences))
    well("init", "tagged.conll")
    [recipe] = Path().glob("*.toml")
    [task] = tomllib.loads(recipe.read_text())["tasks"].values()
    assert task.get("metric") == metric


def test_words_with_tags_learn_the_last_column() -> None:
    rows = "-DOCSTART- -X- O O\n\n" + "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\ncalls NNS B-NP O\n\n" * 5
    for split in ("train", "testa", "testb"):
        write(f"eng.{split}", rows)
    plan, tables = planned(".")
    data = only(tables, "data")
    assert (data["format"], data["dev"], data["test"]) == ("conll", "eng.testa", "eng.testb")
    assert only(tables, "tasks") == {
        "data": plan.name, "output": "vector", "target": "class", "column": "ner",
    }  # fmt: skip
    assert [task.name for task in plan.tasks] == ["ner", "chunk", "pos"]
    assert 'metric = "f1"' in _hints(plan.tasks[2], {"NN": 20, "VB": 1})
    german = rows.replace(" B-NP", " x B-NP").replace(" B-VP", " x B-VP").replace("-X-", "-X- -X-")
    write("german.txt", german)
    assert [task.name for task in planned("german.txt")[0].tasks] == ["ner", "chunk", "pos"]
    write("wide.txt", german.replace(" x", " x y"))
    with pytest.raises(DataError, match=r"in 6 columns .* expected 2 to 5 columns.* column_names = "):
        planned("wide.txt")
    write("numbered.tsv", "#\thttp://a.b\n1\tEU\tB-ORG\tO\n2\tcalls\tO\tO\n\n" * 6)
    assert [task.name for task in planned("numbered.tsv")[0].tasks] == ["ner", "nested"]
    for words, message in (
        ("", ":1: got 7 columns, expected"),
        ("EU NNP\n\n", ": 3 of 4 rows cannot be used"),
    ):
        write("bad.conll", words + "EU NNP x x x x x\n\n" * 3)
        with pytest.raises(DataError, match=rf"bad\.conll{message}"):
            planned("bad.conll")
    write("table.txt", "word\ttag\n" + "so\tup\n" * 20 + "\n")  # an empty line at the end is no sentence
    assert kind_of(Path("table.txt")) == "table"
    write("few.conll", "so X\n")
    assert kind_of(Path("few.conll")) == "conll"


def test_lines_with_labels_in_another_encoding() -> None:
    write(
        "train.txt",
        "".join(f"{['LOC:city', 'LOC:other', 'HUM:ind'][i % 3]} Où est le café {i} ?\n" for i in range(20)),
        "latin-1",
    )
    write("test.txt", "LOC:city Where is it now ?\nHUM:ind Who was she then ?\n" * 3)
    _, tables = planned("train.txt", "test.txt")
    data = only(tables, "data")
    assert (data["format"], data["encoding"], data["test"]) == ("labelled", "latin-1", "test.txt")
    assert list(tables["tasks"]) == ["label", "coarse"]


def test_lines_of_fasttext_and_one_without_a_label() -> None:
    lines = [f"__label__up\tso good {i}\nso bad {i} __label__down\n" for i in range(20)]
    write("moods.txt", "".join([*lines[:3], "no label here\n", *lines[3:]]))
    printed = well("init", "moods.txt")
    tables = tomllib.loads(Path("moods.toml").read_text())
    data = only(tables, "data")
    assert (data["format"], data["on_error"], "separator" in data) == ("labelled", "skip", False)
    assert only(tables, "tasks")["target"] == "class"
    assert "2 labels in the lines, as in fastText: __label__up, __label__down" in printed
    assert "Odd: 1 bad row left out: got 'no label here' without a label" in printed
    assert "moods.txt:7)" in printed


def test_sentences_that_begin_alike_are_not_labels() -> None:
    write("a.txt", "".join(f"{['The', 'I', 'It', 'We'][i % 4]} saw number {i} today\n" for i in range(80)))
    with pytest.raises(DataError, match="lines of text without labels, such as 'The saw number 0"):
        planned("a.txt")


def test_aligned_files_are_a_translation() -> None:
    for split in ("train", "val", "test_2016"):
        for language in ("de", "en"):
            write(f"{split}.{language}", "".join(f"{TEXTS[i % 4]} {language}\n" for i in range(10)))
    _, tables = planned(".")
    data = only(tables, "data")
    assert data["train"] == ["train.en", "train.de"]
    assert data["dev"] == ["val.en", "val.de"]
    assert data["test"] == ["test_2016.en", "test_2016.de"]


def test_a_file_of_lines_for_each_class() -> None:
    for name in ("neg", "pos"):
        lines = "".join(f"{TEXTS[i % 4]} {name} {i}\n" for i in range(20 + len(name) * (name == "pos")))
        write(f"polarity.{name}", lines)
    plan, tables = planned(".")
    data = only(tables, "data")
    assert (data["format"], data["train"]) == ("files", ["polarity.neg", "polarity.pos"])
    assert (data["classes"], data["test"]) == (["neg", "pos"], 0.2)
    assert ("files", "2 files of lines: neg, pos -> LABEL") in plan.seen


def test_json_lines_with_tags_and_with_triples() -> None:
    tagged = [
        {"words": ["I", "ran"], "tags": ["PRON", "VERB"]},
        {"words": ["she", "sat"], "tags": ["PRON", "VERB"]},
    ]
    write("a.jsonl", "".join(json.dumps(row) + "\n" for row in tagged * 10))
    _, tables = planned("a.jsonl")
    assert only(tables, "data")["input"] == "words"
    assert (only(tables, "tasks")["output"], only(tables, "tasks")["column"]) == ("vector", "tags")
    facts = [{"triples": [["Ada", "job", "baker"]], "text": f"Ada is a baker {i}."} for i in range(20)]
    write("b.jsonl", "".join(json.dumps(row) + "\n" for row in facts))
    _, tables = planned("b.jsonl")
    assert only(tables, "data")["adapter"] == "graph"
    assert (only(tables, "tasks")["output"], only(tables, "tasks")["column"]) == ("sequence", "text")


def test_a_key_of_one_line_is_neither_the_item_nor_a_label() -> None:
    rows: list[dict[str, Any]] = [
        {"facts": [[f"Ada {i}", "job", "baker"]], "text": f"Ada {i} is a baker."} for i in range(40)
    ]
    rows[0] = {"fact": rows[0]["facts"], "txt": "Ada is a baker.", "text": rows[0]["text"]}
    said = well("init", write("b.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert "fact   triples: lists of (subject, relation, object) (in 1 of 40 rows only) -> not used" in said
    assert "facts  triples: lists of (subject, relation, object) -> THE ITEM" in said
    assert "text   text: its name says so, and a cell has 5.0 words on average -> LABEL" in said
    assert "1 bad row left out: expected an object with the field 'facts' (did you mean 'fact'?)" in said
    values = [{"text": f"{TEXTS[i % 4]} {i}", "value": i / 7} for i in range(40)]
    values[3] = {"text": "ah", "valeu": 0.5}
    _, tables = planned(write("v.jsonl", "".join(json.dumps(row) + "\n" for row in values)))
    assert only(tables, "tasks")["column"] == "value"
    _, tables = planned("b.jsonl", item="fact", labels=["txt"])
    assert (only(tables, "data")["input"], only(tables, "tasks")["column"]) == ("fact", "txt")


@pytest.mark.parametrize("bad", [[["Ada", "age", 3]], [["Ada", "baker"]], "Ada", []])
def test_lines_without_triples_among_those_with_are_bad_rows(bad: Any) -> None:
    facts = [{"facts": [[f"Ada {i}", "job", "baker"]], "text": f"Ada {i} is a baker."} for i in range(40)]
    facts[4]["facts"] = bad
    said = well("init", write("b.jsonl", "".join(json.dumps(row) + "\n" for row in facts)))
    assert "facts  triples: lists of (subject, relation, object) -> THE ITEM" in said
    assert "Odd: 1 bad row left out: " in said
    assert "(b.jsonl:5)" in said


def test_recordings_named_in_a_table_with_and_without_their_ending() -> None:
    for i in range(6):
        sound(f"clips/u{i}.wav")
    rows = [(f"u{i}", "ab"[i % 2], f"yes no yes {i}") for i in range(6)]
    write("full.csv", "file,speaker,text\n" + "".join(f"{a}.wav,{b},{c}\n" for a, b, c in rows))
    write("bare.csv", "utt,speaker,text\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    for name, column in (("full.csv", "file"), ("bare.csv", "utt")):
        _, tables = planned(name)
        data = only(tables, "data")
        assert (data["format"], data["input"], data["audio"]) == ("recordings", column, "clips")
        assert only(tables, "tasks") | {"data": ""} == {
            "data": "", "output": "sequence", "target": "text", "column": "text", "head": {"kind": "ctc"},
            "metric": "word_error_rate",
        }  # fmt: skip
        assert tables["adapters"]["speech"] == {"sample_rate": 8000}
    assert find_recordings(Path("clips"), ["u1"]) == find_recordings(Path("clips"), ["u1.wav"])


def test_a_table_of_segments_beside_that_of_the_recordings() -> None:
    for i in range(4):
        sound(f"u{i}.wav")
    write("clips.tsv", "utt\tseconds\n" + "".join(f"u{i}\t0.3\n" for i in range(4)))
    write("phones.tsv", "utt\tstart\tend\tphone\n" + "".join(f"u{i}\t0.0\t0.2\taa\n" for i in range(4)))
    _, tables = planned(".", labels=[])
    assert only(tables, "data")["segments"] == "phones.tsv"
    assert {"segments": "vector"}.items() <= {
        name: t["output"] for name, t in tables["tasks"].items()
    }.items()


def grid(name: str, tiers: dict[str, list[str]]) -> None:
    """A TextGrid with intervals of a tenth of a second."""
    found = [
        (tier, [(i / 10, (i + 1) / 10, label) for i, label in enumerate(row)]) for tier, row in tiers.items()
    ]
    write(name, text_grid(found))


def test_textgrids_in_another_folder_than_the_recordings() -> None:
    for i in range(6):
        sound(f"d/wav/s{i}/u.wav")
        grid(f"d/grids/s{i}/u.TextGrid", {"words": [f"w{i}"], "phones": ["a", "b", "sil", ""]})
    for paths in (["d/grids"], ["d/grids", "d/wav"]):
        plan, tables = planned(*paths)
        assert only(tables, "data") == {
            "adapter": "speech", "format": "textgrid", "train": "d/grids", "dev": 0.1, "test": 0.2,
            "audio": "d/wav", "silence": "sil", "group": "folder",
        }  # fmt: skip
        assert only(tables, "tasks") | {"data": ""} == {
            "data": "", "output": "vector", "target": "class", "column": "phones",
        }  # fmt: skip
        assert [(task.name, task.active) for task in plan.tasks] == [("phones", True), ("words", False)]
    assert plan.notes["silence"].startswith("6 intervals of 'phones' have no text; remove this line if")
    _, tables = planned("d/grids", labels=["words"])
    assert only(tables, "tasks")["column"] == "words"


def test_intervals_without_text_are_not_silence_if_most_are() -> None:
    sound("a.wav")
    grid("a.TextGrid", {"clicks": ["x", "", "", "x"] + [""] * 9})
    plan, tables = planned(".")
    assert "silence" not in only(tables, "data")
    assert "85% of the time of 'clicks' has no label, which is missing" in plan.odd


def test_textgrids_without_recordings_are_a_question() -> None:
    grid("grids/a.TextGrid", {"phones": ["a", "b"]})
    plan, _ = planned("grids")
    assert "where are the recordings? None of those beside grids is called 'a'" in plan.question


def test_paths_in_a_data_folder_of_kaldi_are_relative_to_a_folder_above() -> None:
    for i in range(9):
        sound(f"c/wav/{i}.wav")
    for split in ("train", "test"):
        write(f"c/data/{split}/wav.scp", "".join(f"u{i} wav/{i}.wav\n" for i in range(9)))
        write(f"c/data/{split}/utt2spk", "".join(f"u{i} s{i % 3}\n" for i in range(9)))
    for paths in (["c/data"], ["c/data/train", "c/data/test"]):
        _, tables = planned(*paths)
        assert list(tables["data"]) == ["data"]
        assert only(tables, "data") | {"dev": 0.1} == {
            "adapter": "speech", "format": "kaldi", "train": "c/data/train", "dev": 0.1,
            "test": "c/data/test", "audio": "c",
        }  # fmt: skip
        assert only(tables, "tasks")["column"] == "speaker"
    plan, tables = planned("c/data/train")
    assert only(tables, "data")["test"] == 0.2
    write("other/wav.scp", "u1 nowhere/1.wav\n")
    plan, _ = planned("other")
    assert "lead to no file. Set audio" in plan.question
    write("c/data/more/utt2spk", "u1 s\n")
    assert "data folders beside these are not used: more" in planned("c/data")[0].odd


def test_a_table_beside_data_folders_of_kaldi_comes_first() -> None:
    for i in range(9):
        sound(f"c/wav/{i}.wav")
    write("c/train/utt2spk", "".join(f"{i} s{i % 3}\n" for i in range(9)))
    write("c/a.csv", "file,speaker\n" + "".join(f"{i}.wav,s{i % 3}\n" for i in range(9)))
    assert only(planned("c")[1], "data")["format"] == "recordings"
    assert only(planned("c/train")[1], "data") | {"audio": ""} == {
        "adapter": "speech", "format": "kaldi", "train": "c/train", "dev": 0.1, "test": 0.2, "audio": "",
    }  # fmt: skip


def test_a_name_without_ending_that_two_recordings_have_is_an_error() -> None:
    sound("a/x.wav")
    sound("b/x.wav")
    with pytest.raises(DataError, match=r"'x' could be .*x.wav or .*x.wav, expected one; add the ending"):
        find_recordings(Path(), ["x"])


def test_recordings_that_are_elsewhere_are_asked_for() -> None:
    plan, _ = planned(write("a.csv", "file,label\n" + "".join(f"x{i}.wav,{'ab'[i % 2]}\n" for i in range(9))))
    assert 'Set audio = "FOLDER"' in plan.question


@pytest.mark.parametrize("kind", ["texts", "recordings"])
def test_a_folder_of_folders_is_a_class_each(kind: str) -> None:
    for i in range(4):
        for name in ("yes", "no"):
            sound(f"data/{name}/{i}.wav") if kind == "recordings" else write(f"data/{name}/{i}.txt", TEXTS[i])
    plan, tables = planned("data")
    data = only(tables, "data")
    assert (data["format"], data["train"], data["test"]) == ("folders", "data", 0.2)
    assert data["adapter"] == ("speech" if kind == "recordings" else "text")
    assert only(tables, "tasks")["column"] == "label"
    assert ("files", f"8 {kind} -> THE ITEMS") in plan.seen
    if "folders" in FORMATS:
        assert "folders  2 folders: no (4), yes (4) -> LABEL" in well("init", "data")


def test_a_folder_of_one_class_is_said() -> None:
    write("all/cats/1.txt", "a cat\n")
    assert "got files of one class, 'cats', expected a folder for each of two or more" in error("init", "all")


def test_notes_beside_folders_of_classes_are_not_the_data() -> None:
    for i in range(8):
        write(f"data/{'yes' if i % 2 else 'no'}/{i}.txt", TEXTS[i % 4])
    write("data/notes.txt", "recorded in May\nsome are loud\n")
    plan, tables = planned("data")
    assert only(tables, "data")["format"] == "folders"
    assert "files beside the folders, which are not read: notes.txt" in plan.odd
    write("data/table.csv", "text,label\n" + "".join(f"{TEXTS[i % 4]},{i % 2}\n" for i in range(20)))
    plan, tables = planned("data")
    assert only(tables, "data")["format"] == "table"


def test_train_and_test_folders_of_folders() -> None:
    for split in ("train", "test"):
        for name in ("pos", "neg"):
            write(f"imdb/{split}/{name}/0.txt", "x")
    _, tables = planned("imdb")
    data = only(tables, "data")
    assert (data["train"], data["test"], data["dev"]) == ("imdb/train", "imdb/test", 0.1)


def test_recordings_alone_ask_for_a_table() -> None:
    for i in range(3):
        sound(f"clips/{i}.wav")
    shown = well("init", "clips")
    assert "QUESTION: what should be learned from the 3 recordings? Nothing says what is in them." in shown
    assert "# [tasks.label]" in Path("clips.toml").read_text()


def test_tables_of_nodes_and_edges_are_networks() -> None:
    nodes = "".join(
        f"g{g},{i},{20 + i},{'ab'[i % 2]},{'train' if g < 4 else 'test'}\n"
        for g in range(5)
        for i in range(4)
    )
    write("nodes.csv", "graph,node,age,label,part\n" + nodes)
    write(
        "edges.csv",
        "graph,source,target\n" + "".join(f"g{g},{i},{i + 1}\n" for g in range(5) for i in range(3)),
    )
    _, tables = planned(".")
    data = only(tables, "data")
    assert (data["format"], data["file"], data["edges"]) == ("networks", "nodes.csv", "edges.csv")
    assert (data["features"], data["split_column"]) == (["age"], "part")
    assert only(tables, "tasks")["output"] == "vector"
    shown = well("init", "nodes.csv", "edges.csv", "--out", "n.toml")
    assert "label, train: 2 classes: a 8, b 8" in shown


@pytest.mark.parametrize(
    ("strange", "where", "said"),
    [("<2", 4, "cells such as '<2'"), ("NaN", 40, "cells such as 'NaN'"), ("", 40, "empty cells")],
)
def test_a_column_of_nodes_is_no_feature_unless_all_are_numbers(strange: str, where: int, said: str) -> None:
    nodes = "".join(
        f"{i},{i * 1.3:.2f},{strange if i % where == 0 else i * 0.7},{'ab'[i % 2]}\n" for i in range(40)
    )
    write("nodes.csv", "node,age,iron,job\n" + nodes)
    write("edges.csv", "source,target\n" + "".join(f"{i},{i + 1}\n" for i in range(39)))
    plan, tables = planned(".")
    assert only(tables, "data")["features"] == ["age"]
    [odd] = plan.odd
    assert odd.startswith(f"iron: among its numbers are {said}, so the model does not see it; fill them in")


def test_row_numbers_beside_a_table_are_its_splits() -> None:
    write("a.csv", CSV)
    splits = {"train": list(range(30)), "val": [30, 31], "test": list(range(32, 40))}
    write("split.json", json.dumps({"splits": [splits]}))
    _, tables = planned(".")
    data = only(tables, "data")
    assert (data["file"], data["split_file"], data["fold"]) == ("a.csv", "split.json", 0)
    assert not {"train", "dev", "test"} & set(data)


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.smi", "CCO ethanol\nCC\n", "a SMILES and a name in each line, without labels; `multiseq predict"),
        ("a.smi", "CCO\tethanol\t0.5\nCC\tethane\t1\n", "to train, save a table with a header and a column"),
        ("a.mol2", "x", "molecules as MOL2 files; save them as .sdf"),
        ("a.gml", "graph []", "networks; save them as GraphML"),
        ("a.graphml", "<x/>", "cannot be read as GraphML|no graph in it"),
        ("a.TextGrid", "x", "a.TextGrid:1: expected File type"),
        ("a.pkl", "x", "pickled objects, which may run code and are never opened"),
        ("a.data", "\x80\x04x", "pickled objects"),
        ("a.csv", "a,b\n", "no column holds texts"),
        ("a.csv", "1,2.5\n3,4.5\n", "a.csv:1: the first line seems to be data \\('1'\\)"),
        ("a.csv", "x,y\n1,2\n2,3\n", "no column holds texts, recordings, SMILES or graphs"),
        ("a.txt", "I a b c d e\nran a b c d e\n. a b c d e\n\n" * 5, "in 6 columns \\('I a b c d e'\\)"),
        ("a.json", "[1]", r"got JSON, expected one object a line .*lines=True"),
        ("a.txt", "", "empty"),
    ],
)
def test_what_is_not_read_is_said(name: str, content: str, message: str) -> None:
    Path(name).write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        planned(name)


def test_a_file_of_smiles_with_a_header_and_tabs_is_a_table() -> None:
    rows = "".join(f"{'C' * i}O\tm{i}\t{i / 2}\n" for i in range(1, 31))
    _, tables = planned(write("a.smi", "SMILES\tname\tsolubility\n" + rows))
    assert (only(tables, "data")["format"], only(tables, "data")["input"]) == ("table", "SMILES")
    assert only(tables, "tasks")["column"] == "solubility"


def test_several_data_sets_are_an_error_that_names_them() -> None:
    write("d/books.train.csv", CSV)
    write("d/books.test.csv", CSV)
    write("d/films.csv", CSV)
    with pytest.raises(
        DataError, match=r"got 2 data sets, expected one; .*books.train.csv books.test.csv; or films"
    ):
        planned("d")


def test_a_folder_that_is_not_there() -> None:
    assert "nowhere: no such file or folder" in error("init", "nowhere")


def test_control_characters_and_quotes_in_names_stay_toml() -> None:
    name = 'a "b"\t\x7f]\n#'
    write("a.jsonl", "".join(json.dumps({name: TEXTS[i % 4], "label # x": i % 2}) + "\n" for i in range(20)))
    _, tables = planned("a.jsonl")
    assert only(tables, "data")["input"] == name
    assert only(tables, "tasks")["column"] == "label # x"


def test_a_long_table_is_sampled_and_counted_honestly() -> None:
    rows = "".join(f"{TEXTS[i % 4]} {i},{'ab'[i % 2]}\n" for i in range(12_000))
    write("a.csv", "text,label\n" + rows)
    assert "label: 8,400 items in train, 1,200 items in dev, 2,400 items in test" in well("init", "a.csv")
    assert columns_of(Path("a.csv"), "table", "utf-8")[0].num == SAMPLE == 10_000


# --- small parts ----------------------------------------------------------------------------------


def test_kinds_and_encodings_of_files() -> None:
    write("a", "text\tlabel\nso good\tup\n")
    assert kind_of(Path("a")) == "table"
    write("b", "__label__up so good\n__label__down so bad\n")
    assert kind_of(Path("b")) == "labelled"
    write("b", "so good __label__up\n__label__down\tso bad\nwithout a label\n")
    assert kind_of(Path("b")) == "labelled"
    assert encoding_of(Path(write("c", "“quoted”", "cp1252"))) == "cp1252"
    assert encoding_of(Path(write("d", "café", "latin-1"))) == "latin-1"
    assert encoding_of(Path(write("e", "café", "utf-16"))) == "utf-8"  # its byte order mark says the rest


def test_groups_of_files() -> None:
    [group] = groups_of([Path("TRAIN.csv.gz"), Path("dev.csv"), Path("Test.CSV")])
    assert {split: file.name for split, file in group.splits.items()} == {
        "train": "TRAIN.csv.gz", "dev": "dev.csv", "test": "Test.CSV",
    }  # fmt: skip
    assert len(groups_of([Path("training_notes.csv"), Path("contest.csv")])) == 2


def test_the_facts_of_labels_and_items() -> None:
    def source(items: list[Any], labels: list[Any]) -> Source:
        return Source("text", items, {"mood": labels})

    train = source(["a b", "a b", "c d", "", "e f"] * 30, ["up", "down", "up", "up", None] * 30)
    test = source(["c d", "new"], ["up", "sideways"])
    facts = facts_of({"train": [train], "test": [test]}, {"mood": "class"}, {"mood": "accuracy"})
    assert facts.items == {"mood": {"train": 150, "test": 2}}
    assert facts.labels["mood"]["train"].classes == {"up": 90, "down": 30}
    assert facts.labels["mood"]["train"].missing == 30
    odd = "\n".join(facts.odd)
    assert "train: 30 items without content" in odd
    assert "train: 117 items the same as an earlier one, 30 of them with another label" in odd
    assert "test: 1 item also in train" in odd
    assert "1 class of test that train lacks cannot be predicted: 'sideways'" in odd


def test_the_place_of_a_duplicate_is_said_once() -> None:
    train = Source("text", ["a", "a"], {"mood": ["up", "down"]}, locations=["a.csv:2", "a.csv:3"])
    [line] = [
        line
        for line in facts_of({"train": [train]}, {"mood": "class"}, {"mood": "accuracy"}).odd
        if "earlier" in line
    ]
    assert line == "mood: train: 1 item the same as an earlier one, 1 of them with another label, see a.csv:3"


def test_a_text_says_what_has_so_many_words() -> None:
    cells = [f"{text} {i}" for i, text in enumerate(TEXTS * 10)]
    assert look_at("review", cells).why.startswith("its name says so, and a cell has ")
    assert look_at("x", cells).why.startswith("a cell has ")
    assert look_at("x", cells).why.endswith(" words on average")


def test_a_network_whose_nodes_are_in_two_splits_is_no_leak() -> None:
    graph = {"nodes": {"age": [20, 30]}, "edges": [(0, 1)]}
    train = Source("graph", [graph], {"buys": [["yes", None]]}, locations=["nodes.csv:2"])
    test = Source("graph", [graph], {"buys": [[None, "no"]]}, locations=["nodes.csv:2"])
    assert not [
        line
        for line in facts_of({"train": [train], "test": [test]}, {"buys": "class"}, {"buys": "accuracy"}).odd
        if "also" in line
    ]


@pytest.mark.parametrize("label", ["yes", ["yes", "no"], [{"buys": "yes", "age": None}]])
def test_the_same_row_in_train_and_test_is_a_leak(label: Any) -> None:
    """The same file for both: only a node that is in one split alone excuses a network that is in both."""
    source = Source("text", ["a", "b"], {"buys": [label] * 2}, locations=["a.csv:2", "a.csv:3"])
    odd = facts_of({"train": [source], "test": [source]}, {"buys": "class"}, {"buys": "accuracy"}).odd
    assert "buys: test: 2 items also in train, so the score is too good: a.csv:2 is a.csv:2" in odd


@pytest.mark.parametrize(
    ("labels", "target", "line"),
    [
        (["up"] * 120, "class", "only one class in train, 'up'; there is nothing to learn"),
        ([2.5] * 120, "number", "all numbers in train are 2.5; there is nothing to learn"),
        (["a"] * 115 + ["b"] * 5, "class", "96% of train are 'a'"),
        (["a"] * 60 + ["b"] * 59 + ["c"], "class", "1 class has fewer than 3 labels in train: 'c'"),
        (list(map(str, range(24))) * 5, "class", "the 24 classes are numbers; if their order matters"),
        (
            [*map(str, range(24)), "n/a"] * 5,
            "class",
            "the 25 classes are numbers but for 'n/a', which should",
        ),
        (["Low", "high", "low"] * 40, "class", "classes that differ in capitals only: 'Low', 'low'; write"),
        (
            ["BAD", "Good", "bad", "good", "Bad"] * 24,
            "class",
            "differ in capitals only: 'BAD', 'Bad', 'bad' and 'Good', 'good'; write",
        ),
        (
            ["n/a", "NA", "-", "?", "Null", "none", "up", "."] * 15,
            "class",
            "classes that may mean a missing label: '-', '?', 'NA', 'Null', 'n/a', 'none'; if so, leave",
        ),
        ([None] * 100 + ["a", "b"] * 10, "class", "83% of the labels in train are missing"),
    ],
)
def test_odd_labels(labels: list[Any], target: str, line: str) -> None:
    source = Source("text", [f"text {i}" for i in range(len(labels))], {"mood": labels})
    found = facts_of({"train": [source]}, {"mood": target}, {"mood": "accuracy"}).odd
    assert any(line in odd for odd in found)


def test_a_line_that_names_the_separator_is_no_header() -> None:
    rows = "".join(f"{TEXTS[i % 4]}, {i};{('good', 'bad')[i % 2]}\n" for i in range(40))
    assert "class: 2 different values -> LABEL" in well("init", write("a.csv", "sep=;\ntext;label\n" + rows))
    assert only(tomllib.loads(Path("a.toml").read_text(encoding="utf-8")), "tasks")["column"] == "label"
    assert "It can be trained" in well("check", "a.toml")


def test_words_that_may_mean_a_missing_class_are_said() -> None:
    labels = ["good", "bad", "n/a"]
    write("a.csv", "text,label\n" + "".join(f"{TEXTS[i % 4]} {i},{labels[i % 3]}\n" for i in range(90)))
    said = "Odd: label: classes that may mean a missing label: 'n/a'; if so, leave these cells empty"
    assert said in well("init", "a.csv")
    assert said in well("check", "a.toml")


def test_a_metric_that_looks_at_both_classes_is_not_advised_against() -> None:
    source = Source("text", [f"text {i}" for i in range(120)], {"mood": ["a"] * 115 + ["b"] * 5})
    assert not facts_of({"train": [source]}, {"mood": "class"}, {"mood": "roc_auc"}).odd


def test_check_says_what_cannot_be_trained() -> None:
    write("a.csv", CSV)
    well("init", "a.csv")
    text = Path("a.toml").read_text()
    Path("a.toml").write_text(text.replace('column = "stars"', 'column = "star"'))
    assert "no column 'star'" in error("check", "a.toml", "--set", "data.a.test=a.csv")


# --- version and completion -----------------------------------------------------------------------


def test_the_version_is_shown() -> None:
    lines = well("--version").splitlines()
    assert lines[0].startswith("multiseq 0.")
    assert lines[1].startswith("torch ")
    assert lines[2].startswith("Python 3.")


def test_there_is_completion_for_the_shell() -> None:
    assert "--install-completion" in well("--help")
