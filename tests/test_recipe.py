"""Recipes: what is read, and that every mistake is named with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from multiseq import recipe as recipes
from multiseq.data import DataError
from multiseq.metrics import METRICS
from multiseq.recipe import RecipeError, build_model, check_options, read, read_part, read_together
from multiseq.recipe_check import METRICS_OF, SECTIONS

TINY = """
[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 3

[data.lines]
adapter = "text"
format = "table"
train = "train.tsv"
test = "test.tsv"

[tasks.mood]
data = "lines"
output = "set"
target = "class"
column = "label"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(TINY)
    for part in ("train", "test"):
        rows = [f"{word} {part}\t{label}" for word, label in (("good", "up"), ("bad", "down"))]
        (tmp_path / f"{part}.tsv").write_text("\n".join(["text\tlabel", *rows, ""]))
    return tmp_path


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_of_the_package_is_right(name: str) -> None:
    check_options(read(name))
    recipes.settings(read(name))


def test_the_starter_has_one_task_for_each_cell() -> None:
    starter = read("starter")
    assert list(starter.tasks) == [
        "pos", "sentiment", "translation", "phonemes", "speaker", "recognition", "buyers",
        "hydrophilicity", "facts",
    ]  # fmt: skip
    cells = {starter.cell(task) for task in starter.tasks}
    assert cells == {f"{m}/{o}" for m in ("text", "speech", "graph") for o in ("vector", "set", "sequence")}
    assert [starter.metric(task) for task in starter.tasks] == [
        "accuracy", "accuracy", "exact_match", "frame_accuracy", "accuracy", "word_error_rate",
        "accuracy", "r2", "bleu",
    ]  # fmt: skip


def test_changes_are_toml_or_plain_text(folder: Path) -> None:
    changes = ["training.steps=200", "training.monitor=mood", "tasks.mood.head={dropout=0.2}"]
    tables = read(folder / "tiny.toml", [*changes, "encoder.gated=false"]).tables
    assert tables["training"] == {"steps": 200, "monitor": "mood"}
    assert tables["tasks"]["mood"]["head"] == {"dropout": 0.2}
    assert tables["encoder"]["gated"] is False


def test_paths_are_relative_to_the_recipe_or_to_the_data_folder(folder: Path) -> None:
    found = read(folder / "tiny.toml")
    [source] = read_part(found, "train")
    assert source.items == ["good train", "bad train"]
    assert source.targets == {"mood": ["up", "down"]}
    assert source.where == [f"{folder}/train.tsv:2", f"{folder}/train.tsv:3"]
    with pytest.raises(DataError, match=r"elsewhere.train\.tsv: no such file"):
        read_part(found, "train", folder / "elsewhere")


def test_a_share_of_train_is_held_out_and_no_item_is_lost(folder: Path) -> None:
    rows = "".join(f"text {i}\tup\n" for i in range(50))
    (folder / "train.tsv").write_text(f"text\tlabel\n{rows}")
    found = read(folder / "tiny.toml", ["data.lines.dev=0.1"])
    train, dev = (read_part(found, part)[0].items for part in ("train", "dev"))
    assert len(dev) == 5
    assert sorted([*train, *dev]) == sorted(f"text {i}" for i in range(50))


def test_rows_of_a_split_file(folder: Path) -> None:
    change = ["data.lines.file=train.tsv", "data.lines.split=split.json", "data.lines.fold=1"]
    tables = TINY.replace('train = "train.tsv"\n', "").replace('test = "test.tsv"\n', "")
    (folder / "tiny.toml").write_text(tables)
    splits = {"splits": [{"train": [0]}, {"train": [1], "val": [0]}]}
    (folder / "split.json").write_text(json.dumps(splits))
    found = read(folder / "tiny.toml", change)
    assert read_part(found, "train")[0].items == ["bad train"]
    assert read_part(found, "dev")[0].items == ["good train"]
    with pytest.raises(DataError, match=r"split\.json: no fold 2"):
        read_part(read(folder / "tiny.toml", [*change[:2], "data.lines.fold=2"]), "train")
    (folder / "split.json").write_text('{"train": [7]}')
    with pytest.raises(DataError, match=r"expected row numbers from 0 to 1 under 'train'"):
        read_part(found, "train")


def test_the_seed_settles_the_weights(folder: Path) -> None:
    def weights(*changes: str) -> torch.Tensor:
        found = read(folder / "tiny.toml", changes)
        model = build_model(found, read_part(found, "train"))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(), weights())
    assert not torch.equal(weights(), weights("training.seed=1"))


# --- several recipes in one -----------------------------------------------------------------------


def test_two_recipes_make_one_model(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    second = TINY.replace("mood", "tone").replace("data.lines", "data.rows").replace('"lines"', '"rows"')
    (other / "second.toml").write_text(second)
    (other / "train.tsv").write_text("text\tlabel\nloud\tx\n")
    found = read_together([folder / "tiny.toml", other / "second.toml"])
    assert found.name == "tiny+second"
    assert list(found.tasks) == ["mood", "tone"]
    first, last = read_part(found, "train")  # each beside its own recipe
    assert (len(first.items), last.items) == (2, ["loud"])
    model = build_model(found, [first, last])
    assert list(model.adapters) == ["text"]
    assert list(model.tasks) == ["mood", "tone"]
    [one, *_] = read_part(
        read_together([folder / "tiny.toml", other / "second.toml"], data=other), "train", other
    )
    assert one.items == ["loud"]


OTHER = "[data.x]" + TINY.split("[data.lines]")[1].replace("mood", "x").replace('"lines"', '"x"')
CLASHES = {
    "tasks": (
        TINY.replace("data.lines", "data.x").replace('"lines"', '"x"'),
        r"tiny and second: both have \[tasks\.mood\]; rename one of them",
    ),
    "training": (
        f"[training]\nsteps = 4\n{OTHER}",
        r"their \[training\] steps differ; choose one with --set training\.steps=…",
    ),
    "adapters": (
        f'[adapters.text]\nunit = "piece"\n{OTHER}',
        r"tiny and second: each has its own \[adapters\.text\]",
    ),
}


@pytest.mark.parametrize("kind", CLASHES)
def test_clashes_name_both_recipes(folder: Path, kind: str) -> None:
    text, message = CLASHES[kind]
    (folder / "second.toml").write_text(text)
    both = [folder / "tiny.toml", folder / "second.toml"]
    with pytest.raises(RecipeError, match=message):
        read_together(both)
    if kind == "training":
        assert read_together(both, ["training.steps=9"]).tables["training"]["steps"] == 9


# --- mistakes -------------------------------------------------------------------------------------

WRONG = {
    "training": ('trainin = 1', r"tiny: no key 'trainin' \(did you mean 'training'\?\)"),
    "section": ("training = 3", r"tiny: \[training\]: got 3, expected a table"),
    "task": ("tasks.mood = 3", r"\[tasks\.mood\]: got 3, expected a table"),
    "task key": ("tasks.mood.metrik = 1", r"\[tasks\.mood\]: no key 'metrik' \(did you mean 'metric'\?\)"),
    "metric": ('tasks.mood.metric = "acuracy"', r"metric: got 'acuracy' \(did you mean 'accuracy'\?\)"),
    "other metric": ('tasks.mood.metric = "bleu"', r"metric: got 'bleu'; expected one of accuracy"),
    "output": ('tasks.mood.output = "sequence"', r"got output 'sequence' with target 'class'"),
    "target": ('tasks.mood.target = "clas"', r"got 'clas' \(did you mean 'class'\?\)"),
    "data": ('tasks.mood.data = "line"', r"got 'line' \(did you mean 'lines'\?\)"),
    "weight": ('tasks.mood.weight = "much"', r"weight: got 'much', expected a number"),
    "tokens": ('tasks.mood.tokens = "word"', r"tokens: got 'word'; expected one of character, piece"),
    "columns": ('tasks.mood.columns = ["a"]', r"columns go with the target number or labels"),
    "format": ('data.lines.format = "tabel"', r"got 'tabel' \(did you mean 'table'\?\)"),
    "data key": ("data.lines.trian = 1", r"\[data\.lines\]: no key 'trian' \(did you mean 'train'\?\)"),
    "share": ("data.lines.dev = 1.5", r"dev: got 1\.5, expected a share between 0 and 1"),
    "pair": ('data.lines.test = ["a", "b"]', r"test: got \['a', 'b'\], expected one path"),
    "lines": ('data.lines.format = "lines"', r"train: got 'train\.tsv', expected \[input, target\]"),
    "modality": ('data.lines.adapter = "words"', r"modality: got 'words'; expected one of text"),
    "file": ('data.lines.file = "x"', r"with file, expected part_column or split"),
    "unused": ("adapters.txt = {}", r"\[adapters\.txt\] is used by no data.* mean 'text'\?"),
    "true": ("data.lines.fold = true", r"fold: got True, expected a whole number"),
}  # fmt: skip
HEAVY = {
    "steps": ("training.stepz = 3", r"\[training\]: no key 'stepz' \(did you mean 'steps'\?\)"),
    "type": ('training.steps = "many"', r"\[training\] steps: got 'many', expected a whole number"),
    "encoder": ("encoder.deph = 3", r"\[encoder\]: no key 'deph' \(did you mean 'depth'\?\)"),
    "dim": ("encoder.dim = 16.5", r"\[encoder\] dim: got 16\.5, expected a whole number"),
    "adapter": ("adapters.text.unt = 1", r"\[adapters\.text\]: no key 'unt' \(did you mean 'unit'\?\)"),
    "head": ("tasks.mood.head.pol = 1", r"\[tasks\.mood\] head: no key 'pol' \(did you mean 'pool'\?\)"),
    "decode": ("tasks.mood.decode.beam = 4", r"\[tasks\.mood\] decode: no key 'beam'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_that_are_found_at_once(folder: Path, case: str) -> None:
    change, message = WRONG[case]
    with pytest.raises(RecipeError, match=message):
        read(folder / "tiny.toml", [change])


@pytest.mark.parametrize("case", HEAVY)
def test_mistakes_that_are_found_before_data_is_read(folder: Path, case: str) -> None:
    change, message = HEAVY[case]
    found = read(folder / "tiny.toml", [change])
    with pytest.raises(RecipeError, match=message):
        (recipes.settings if change.startswith("training") else check_options)(found)


def test_what_an_adapter_hands_on_can_be_given_too() -> None:
    check_options(read("starter", ["adapters.speech.subsample=4", "adapters.speech.mels=40"]))
    with pytest.raises(RecipeError, match=r"no key 'subsampel' \(did you mean 'subsample'\?\)"):
        check_options(read("starter", ["adapters.speech.subsampel=4"]))


def test_recipes_that_are_none(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"no such recipe \(did you mean 'starter'\?\)"):
        read("startr")
    with pytest.raises(RecipeError, match=r"nothing\.toml: no such file"):
        read(folder / "nothing.toml")
    (folder / "broken.toml").write_text("[data")
    with pytest.raises(RecipeError, match=r"broken: not TOML"):
        read(folder / "broken.toml")
    (folder / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(RecipeError, match=r"latin: not TOML"):
        read(folder / "latin.toml")
    (folder / "empty.toml").write_text("")
    with pytest.raises(RecipeError, match=r"expected at least one \[tasks\.NAME\]"):
        read(folder / "empty.toml")
    with pytest.raises(RecipeError, match=r"--set steps: expected key=value"):
        read(folder / "tiny.toml", ["steps"])
    with pytest.raises(RecipeError, match=r"'steps' is a value, not a table"):
        read(folder / "tiny.toml", ["training.steps.x=1"])


@pytest.mark.parametrize("key", ["data", "output", "target", "column"])
def test_keys_that_must_be_there(folder: Path, key: str) -> None:
    lines = [line for line in TINY.splitlines() if not line.startswith(f"{key} =")]
    (folder / "tiny.toml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match=rf"\[tasks\.mood\].*{key}"):
        read(folder / "tiny.toml")


def test_a_bad_item_is_named_by_file_and_line(folder: Path) -> None:
    (folder / "train.tsv").write_text("text\tlabel\nCCO\t1\nC(C\t2\n")
    change = ['adapters.text.modality="graph"']
    found = read(folder / "tiny.toml", change)
    with pytest.raises(RecipeError, match=r"\[adapters\.text\]: .*train\.tsv:3: molecule: got 'C\(C'"):
        build_model(found, read_part(found, "train"))


def test_a_number_that_is_none_is_named_by_file_and_line(folder: Path) -> None:
    found = read(folder / "tiny.toml", ["tasks.mood.target=number"])
    with pytest.raises(DataError, match=r"train\.tsv:2: got 'up', expected a number"):
        read_part(found, "train")


def test_a_column_that_is_not_there(folder: Path) -> None:
    found = read(folder / "tiny.toml", ["tasks.mood.column=labl"])
    with pytest.raises(DataError, match=r"no column 'labl'; there are label"):
        read_part(found, "train")


# --- lists that say the same twice ----------------------------------------------------------------


def test_metrics_are_those_there_are() -> None:
    assert {m for of_target in METRICS_OF.values() for m in of_target} == set(METRICS)
    assert set(read("starter").tables) == set(SECTIONS)
