"""Recipes: what is read, and that every mistake is named with what to do."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from pathlib import Path

import pytest
import torch

import multiseq
from multiseq.adapters import NeighborhoodAdapter
from multiseq.data.formats import FORMATS
from multiseq.options import METRICS_OF, OPTIONS, TAKES
from multiseq.runs import build
from multiseq.runs import recipe as recipes
from multiseq.runs.build import build_model, check_options
from multiseq.runs.recipe import RecipeError, read, read_together
from multiseq.runs.recipe_check import SECTIONS, search_options
from multiseq.runs.sources import read_split
from multiseq.tasks import Source
from multiseq.training.metrics import METRICS
from multiseq.training.settings import Settings

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
    build.settings(read(name))


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


def test_hops_make_a_set_of_each_node(folder: Path) -> None:
    change = ["data.lines.adapter=graph", "adapters.graph.num_hops=1"]
    network = {"nodes": {"age": [20, 30]}, "edges": [(0, 1)]}
    found = read(folder / "tiny.toml", change)
    model = build_model(found, [Source("graph", [network], {"mood": ["up"]})])
    adapter = model.adapter("graph")
    assert isinstance(adapter, NeighborhoodAdapter)
    assert (adapter.num_hops, model.cell("mood")) == (1, "graph/set")
    with pytest.raises(RecipeError, match=r"\[adapters.graph\]: no key 'num_layers'"):
        check_options(read(folder / "tiny.toml", [*change, "adapters.graph.num_layers=2"]))


def test_the_seed_settles_the_weights(folder: Path) -> None:
    def weights(*changes: str) -> torch.Tensor:
        found = read(folder / "tiny.toml", changes)
        model = build_model(found, read_split(found, "train"))
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
    first, last = read_split(found, "train")  # each beside its own recipe
    assert (len(first.items), last.items) == (2, ["loud"])
    model = build_model(found, [first, last])
    assert list(model.adapters) == ["text"]
    assert list(model.tasks) == ["mood", "tone"]
    [one, *_] = read_split(
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
    "copying by CTC": (
        'tasks.mood = {data="lines", output="sequence", target="text", column="label", copy=true, '
        'head={kind="ctc"}}',
        r'copy goes with a decoder, got head kind "ctc"',
    ),
    "copying by CTC and a decoder": (
        'tasks.mood = {data="lines", output="sequence", target="text", column="label", copy=true, '
        'head={kind="joint"}}',
        r'copy goes with a decoder, got head kind "joint"',
    ),
    "spans": ('tasks.mood.metric = "span_f1"', r'metric span_f1 goes with output = "vector"'),
    "output": ('tasks.mood.output = "sequence"', r"got output 'sequence' with target 'class'"),
    "target": ('tasks.mood.target = "clas"', r"got 'clas' \(did you mean 'class'\?\)"),
    "data": ('tasks.mood.data = "line"', r"got 'line' \(did you mean 'lines'\?\)"),
    "weight": ('tasks.mood.weight = "much"', r"weight: got 'much', expected a number"),
    "tokens": (
        'tasks.mood = {data="lines", output="sequence", target="text", column="label", tokens="word"}',
        r"tokens: got 'word'; expected one of character, piece",
    ),
    "columns": ('tasks.mood.columns = ["a"]', r"columns go with the target number or multilabel"),
    "format": ('data.lines.format = "tabel"', r"got 'tabel' \(did you mean 'table'\?\)"),
    "data key": ("data.lines.trian = 1", r"\[data\.lines\]: no key 'trian' \(did you mean 'train'\?\)"),
    "share": ("data.lines.dev = 1.5", r"dev: got 1\.5, expected a fraction between 0 and 1"),
    "pair": ('data.lines.test = ["a", "b"]', r"test: got \['a', 'b'\], expected one path"),
    "lines": ('data.lines.format = "lines"', r"train: got 'train\.tsv', expected \[input, target\]"),
    "modality": ('data.lines.adapter = "words"', r"modality: got 'words'; expected one of text"),
    "file": ('data.lines.file = "x"', r"got file and train; expected one file for all splits"),
    "part column": ('data.lines.split_column = "x"', r"got train and split_column, which goes with file"),
    "split": ('data.lines.split_file = "x"', r"got train and split_file, which goes with file"),
    "fold": ("data.lines.fold = 1", r"got fold, which goes with folds = 5, or with a split_file of several"),
    "networks": (
        'data.lines = {adapter="text", format="networks", edges="e", features=["a"], train="x"}',
        r"expected file = \"…\": one network, or table of nodes, for all splits",
    ),
    "no train": ('data.lines = {adapter="text", format="table"}', r'expected train = "…" \(and test\)'),
    "edges": ('data.lines = {adapter="text", format="networks", file="x"}', r"lines\]: edges is missing"),
    "features": (
        'data.lines = {adapter="text", format="networks", edges="e", features=[["a"]], file="x"}',
        r"features: got \[\['a'\]\], expected a list of names of columns",
    ),
    "no columns": (
        'tasks.mood = {data="lines", output="set", target="multilabel", columns=[]}',
        r"columns: got \[\], expected a list of names of columns",
    ),
    "both columns": (
        'tasks.mood = {data="lines", output="set", target="multilabel", columns=["a"], column="b"}',
        r'expected column = "…" or columns = \[…\]',
    ),
    "unit": ('tasks.mood.unit = "kg"', r"\[tasks\.mood\]: unit goes with the target number, got class"),
    "stress": (
        'tasks.mood = {data="lines", output="set", target="number", column="label", stress=false}',
        r"\[tasks\.mood\]: stress goes with the target class, got number",
    ),
    "unused data": ('data.x = {adapter="text", format="table", train="x"}', r"data\.x\] is used by no task"),
    "task name": ('tasks."a/b" = {}', r"\[tasks\.'a/b'\]: expected a name of letters, digits, - and _"),
    "adapter name": ('adapters."a.b" = {}', r"\[adapters\.'a\.b'\]: expected a name of letters"),
    "reserved name": ("adapters.config = {}", r"\[adapters\.'config'\]: .*none of config, model"),
    "name in metrics.csv": ("tasks.total = {}", r"\[tasks\.'total'\]: .*monitor, total: files and lines"),
    "unused": ("adapters.txt = {}", r"\[adapters\.txt\] is used by no data.* mean 'text'\?"),
    "true": ("data.lines.fold = true", r"fold: got True, expected a whole number"),
    "nan": ("tasks.mood.weight = nan", r"\[tasks\.mood\] weight: got nan, expected a finite number"),
    "zero": ("data.lines.weight = 0", r"\[data\.lines\] weight: got 0, expected a number above 0"),
    "vocabulary": (
        'tasks.mood = {data="lines", output="sequence", target="text", column="label", vocab_size=0}',
        r"\[tasks\.mood\] vocab_size: got 0, expected 1 or more",
    ),
    "encoding": ('data.lines.encoding = "punycode"', r"lines\] encoding: got the encoding 'punycode', exp"),
    "no encoding": ('data.lines.encoding = "utf-9"', r"encoding: got the encoding 'utf-9', expected utf-8"),
    "separator": ('data.lines.separator = "::"', r"separator: got '::', expected one character, no quote"),
    "limit": ("data.lines.unpack_limit = -1", r"\[data\.lines\] unpack_limit: got -1, expected 0 or more"),
    "nul": ('data.lines.train = "a\\u0000b"', r"data: lines: train: got 'a\\x00b' with a NUL"),
}  # fmt: skip
HEAVY = {
    "steps": ("training.stepz = 3", r"\[training\]: no key 'stepz' \(did you mean 'steps'\?\)"),
    "type": ('training.steps = "many"', r"\[training\] steps: got 'many', expected a whole number"),
    "encoder": ("encoder.deph = 3", r"\[encoder\]: no key 'deph' \(did you mean 'depth'\?\)"),
    "dim": ("encoder.dim = 16.5", r"\[encoder\] dim: got 16\.5, expected a whole number"),
    "preset": ("encoder.preset = 'tny'", r"\[encoder\] preset: got 'tny' \(did you mean 'tiny'\?\)"),
    "adapter": ("adapters.text.unt = 1", r"\[adapters\.text\]: no key 'unt' \(did you mean 'unit'\?\)"),
    "head": ("tasks.mood.head.pol = 1", r"\[tasks\.mood\] head: no key 'pol' \(did you mean 'pool'\?\)"),
    "decode": ("tasks.mood.decode.num_beams = 4", r"\[tasks\.mood\] decode: got 'num_beams' for .*only text"),
    "not a number": ("training.lr = nan", r"\[training\] lr: got nan, expected a finite number"),
    "infinite": ("training.warmup = -inf", r"\[training\] warmup: got -inf, expected a finite number"),
    "half a step": ("training.steps = 2.5", r"\[training\] steps: got 2\.5, expected a whole number"),
    "negative": ("training.num_workers = -1", r"\[training\] num_workers: got -1, expected 0 or more"),
    "fraction": ("training.warmup = 1.5", r"\[training\] warmup: got 1\.5, expected 0 up to 1"),
    "below": ("training.ema_decay = 1.0", r"\[training\] ema_decay: got 1\.0, expected 0 up to below 1"),
    "above": ("training.max_grad_norm = 0", r"\[training\] max_grad_norm: got 0, expected a number above 0"),
    "seed": ("training.seed = 1e99", r"\[training\] seed: got 1e\+99, expected a whole number"),
    "monitor": ('training.monitor = "moood"', r"\[training\] monitor: got 'moood' \(did you mean 'mood'\?\)"),
    "patience": ("training.patience = 3", r"\[training\] patience: needs evaluate_every above 0, got 0"),
    "depth": ("encoder.depth = 2_000_000_000", r"\[encoder\] depth: got 2000000000, expected 0 up to 1000"),
    "heads": ("encoder.heads = 0", r"\[encoder\] heads: got 0, expected 1 or more"),
    "multiple": ("encoder.heads = 3", r"\[encoder\]: dim: got 16 for 3 heads, expected a multiple of 6"),
    "window": ("encoder.window = 0", r"\[encoder\] window: got 0, expected 1 or more"),
    "dropout": (
        "adapters.text.dropout = 1.0",
        r"\[adapters\.text\] dropout: got 1\.0, expected 0 up to below",
    ),
    "pool": (
        'tasks.mood.head.pool = "max"',
        r"\[tasks\.mood\] head pool: got 'max', expected one of mean, sum",
    ),
}
SEQUENCE = 'tasks.mood = { data = "lines", output = "sequence", target = "text", column = "label", '
HEAVY |= {
    "num_beams": (
        SEQUENCE + "decode = { num_beams = 0 } }",
        r"\[tasks\.mood\] decode num_beams: got 0, expected 1 or more",
    ),
    "length_penalty": (
        SEQUENCE + "decode = { length_penalty = -inf } }",
        r"decode length_penalty: got -inf, expected a finite number",
    ),
    "CTC of no weight": (
        SEQUENCE + 'head = { kind = "joint", ctc_weight = 0.0 } }',
        r"\[tasks\.mood\] head: ctc_weight: got 0\.0, expected a number between 0 and 1",
    ),
    "decoder": (SEQUENCE + "head = { heads = 3 } }", r"\[tasks\.mood\] head: dim: got 16 for 3 heads"),
}


def test_a_label_is_no_feature(folder: Path) -> None:
    data = 'adapter = "graph"\nformat = "networks"\nfile = "n.csv"\nedges = "e.csv"\ntest = 0.2\n'
    task = 'data = "club"\noutput = "vector"\ntarget = "class"\ncolumn = "mood"\n'
    text = f'[encoder]\ndim = 16\n[data.club]\n{data}features = ["age", "mood"]\n[tasks.mood]\n{task}'
    (folder / "tiny.toml").write_text(text)
    expected = r"got the label 'mood', which is one of the features of \[data\.club\]: the model would"
    with pytest.raises(RecipeError, match=expected):
        read(folder / "tiny.toml")


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_that_are_found_at_once(folder: Path, case: str) -> None:
    change, message = WRONG[case]
    in_file = '"' in change.partition("=")[0]  # a name that --set cannot give
    (folder / "tiny.toml").write_text(f"{change}\n{TINY}" if in_file else TINY)
    with pytest.raises(RecipeError, match=message):
        read(folder / "tiny.toml", [] if in_file else [change])


ONE_FILE = {
    "neither": (
        "",
        r"with file, expected test = 0\.2 \(and dev = 0\.1\), split_column or split_file, to divide",
    ),
    "both": (
        'split_file = "s"\nsplit_column = "p"',
        r"with file, expected test = 0\.2 .*split_column or split_file",
    ),
    "share": (
        'split_file = "s"\ndev = 0.5',
        r"got split_file and dev = 0\.5; expected the dev rows in the split",
    ),
    "file": ('split_column = "p"\ndev = "d"', r"got file and dev; expected one file for all splits"),
    "fold": ('split_file = "s"\nfold = -1', r"fold: got -1, expected 0 or more"),
    "split names": (
        'split_column = "p"\nsplit_names = { eval = "tets" }',
        r"split_names: eval: got 'tets' \(did you mean 'test'\?\)",
    ),
    "no column": ("test = 0.5\nsplit_names = {}", r"got split_names, which goes with split_column"),
    "no split": ('split_column = "p"\nfold = 1', r"got fold, which goes with folds = 5, or with a split"),
}


@pytest.mark.parametrize("case", ONE_FILE)
def test_how_the_parts_of_one_file_are_told_apart(folder: Path, case: str) -> None:
    keys, message = ONE_FILE[case]
    text = TINY.replace('train = "train.tsv"\n', 'file = "all.tsv"\n').replace('test = "test.tsv"', keys)
    (folder / "tiny.toml").write_text(text)
    with pytest.raises(RecipeError, match=rf"\[data\.lines\].*{message}"):
        read(folder / "tiny.toml")


@pytest.mark.parametrize("case", HEAVY)
def test_mistakes_that_are_found_before_data_is_read(folder: Path, case: str) -> None:
    change, message = HEAVY[case]
    found = read(folder / "tiny.toml", [change])
    with pytest.raises(RecipeError, match=message):
        (build.settings if change.startswith("training") else check_options)(found)


def test_what_an_adapter_hands_on_can_be_given_too() -> None:
    check_options(read("starter", ["adapters.speech.subsample=4", "adapters.speech.speeds=[0.9, 1]"]))
    for wrong, expected in {
        "0.9": "0.9, expected a list",
        '[1, "fast"]': "'fast', expected a number",
    }.items():
        with pytest.raises(RecipeError, match=rf"\[adapters\.speech\] speeds: got {expected}"):
            check_options(read("starter", [f"adapters.speech.speeds={wrong}"]))
    with pytest.raises(RecipeError, match=r"no key 'subsampel' \(did you mean 'subsample'\?\)"):
        check_options(read("starter", ["adapters.speech.subsampel=4"]))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("format = table", 'a text needs quotes: format = "table"; got: format = table'),
        ("train = a b.csv  # all", 'a text needs quotes: train = "a b.csv"; got: train = a b.csv  #'),
        ("format: table", "Expected '=' after a key in a key/value pair; got: format: table"),
        ("dim = 1 2", "Expected newline or end of document after a statement; got: dim = 1 2"),
    ],
)
def test_a_recipe_that_is_no_toml_shows_its_line(folder: Path, line: str, reason: str) -> None:
    (folder / "broken.toml").write_text(f"# a comment\n[data.r]\n{line}\n{TINY}")
    with pytest.raises(RecipeError) as error:
        read(folder / "broken.toml")
    assert str(error.value).startswith(f"{folder / 'broken.toml'}:3: not TOML: {reason}")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.conllu", "my wavs"])
@pytest.mark.parametrize("content", [b"text,label\ngood,up\n", b"PAR1\0\xff", b"", b"# id = 1\n"])
def test_data_is_no_recipe(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    if path.suffix:
        path.write_bytes(content)
    else:
        path.mkdir()
    with pytest.raises(RecipeError) as error:
        read(path)
    make = shlex.join(["multiseq", "init", str(path)])
    assert str(error.value) == f"{path}: is data, expected a recipe (.toml); make one with: {make}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("tasks.moo.metric=f1", r"\[tasks\.moo\] \(did you mean 'mood'\?\): data, output, target are"),
        ("data.line.test=x.tsv", r"\[data\.line\] \(did you mean 'lines'\?\): adapter, format are missing"),
        ("tasks.other.metric=f1", r"\[tasks\.other\]: data is missing$"),
    ],
)
def test_a_change_of_a_table_with_a_misspelled_name(folder: Path, change: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        read(folder / "tiny.toml", [change])


@pytest.mark.parametrize("head", ["SetHead", "VectorHead"])
def test_only_texts_are_searched_for(head: str) -> None:
    with pytest.raises(RecipeError, match=r"--decode: got 'num_beams' for a task that predicts classes"):
        search_options(["num_beams=3"], head)
    with pytest.raises(RecipeError, match=r"--decode: no key 'beams' \(did you mean 'num_beams'\?\)"):
        search_options(["beams=3"], "DecoderHead")
    assert search_options([], head) == {}


def test_recipes_that_are_none(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"no such recipe \(did you mean 'starter'\?\)"):
        read("startr")
    with pytest.raises(RecipeError, match=r"nothing\.toml: no such file"):
        read(folder / "nothing.toml")
    (folder / "broken.toml").write_text("[data")
    with pytest.raises(RecipeError, match=r"broken\.toml:1: not TOML: .*; got: \[data$"):
        read(folder / "broken.toml")
    (folder / "marked.toml").write_text(TINY, encoding="utf-8-sig")
    assert read(folder / "marked.toml").tables == read(folder / "tiny.toml").tables
    (folder / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(RecipeError, match=r"latin\.toml:1: "):
        read(folder / "latin.toml")
    (folder / "marked.toml").write_text(TINY, encoding="utf-16")  # as a Windows console redirects
    assert read(folder / "marked.toml").tables == read(folder / "tiny.toml").tables
    for deep in ("a = " + "[" * 5000 + "]" * 5000, "a" + ".a" * 5000 + " = 1"):
        (folder / "deep.toml").write_text(deep)
        with pytest.raises(RecipeError, match=r"deep\.toml: not TOML: nested more than 100 deep"):
            read(folder / "deep.toml")
    with pytest.raises(RecipeError, match=r"lr: got '\[\[\["):
        build.settings(read(folder / "tiny.toml", [f"training.lr={'[' * 5000}"]))
    (folder / "empty.toml").write_text("")
    with pytest.raises(RecipeError, match=r"empty: no \[data\.NAME\], expected at least one"):
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
        build_model(found, read_split(found, "train"))


def test_the_encoder_gets_a_table_for_the_codes_of_its_adapters(folder: Path) -> None:
    (folder / "train.tsv").write_text("text\tlabel\nCCO\tup\nC#N\tdown\n")
    graph = ['adapters.text.modality="graph"', "adapters.text.max_distance=3"]
    found = read(folder / "tiny.toml", [*graph, "encoder.window=8", "encoder.relative_bias=true"])
    model = build_model(found, read_split(found, "train"))
    # Itself, unreachable, three distances; bonds that are unknown, single and triple.
    assert model.encoder.pair_codes == model.adapter("text").pair_codes == 2 + 3 + 3
    assert (model.encoder.window, model.encoder.relative_bias) == (8, True)
    assert model.predict("mood", ["CCO"])[0].label in ("up", "down")
    wrong = read(folder / "tiny.toml", ["encoder.window=0"])
    with pytest.raises(RecipeError, match=r"\[encoder\] window: got 0"):
        build_model(wrong, read_split(wrong, "train"))


# --- lists that say the same twice ----------------------------------------------------------------


def test_metrics_are_those_there_are() -> None:
    assert {m for of_target in METRICS_OF.values() for m in of_target} == set(METRICS)
    assert set(read("starter").tables) == set(SECTIONS)


def test_the_pages_name_every_format_and_metric() -> None:
    docs = Path(__file__).parents[2] / "docs"
    files, recipes = ((docs / name).read_text(encoding="utf-8") for name in ("files.md", "recipes.md"))
    for name in FORMATS:
        assert f"| `{name}` |" in files
    for metrics in METRICS_OF.values():
        assert f"| {', '.join(f'`{metric}`' for metric in metrics)} |" in recipes


# --- what a recipe may say ------------------------------------------------------------------------

NOT_OF_RECIPES = {"self", "items", "dim", "target", "sets", "names", "mean", "std", "options"}
NOT_OF_RECIPES |= {
    "architecture",
    "tokenizer",
    "num_pieces",
    "pretrained",
}  # of a pretrained start: its folder says them
"""What no recipe says of an adapter or a head; it does say the dim of the encoder."""


@pytest.mark.parametrize("name", TAKES)
def test_options_are_those_of_the_functions(name: str) -> None:
    class_name, _, method = name.partition(".")
    kind = getattr(multiseq, class_name)
    # Its constructor: `Settings` has a `__new__`, which takes any name and refuses it by itself.
    function = Settings.__init__ if kind is Settings else getattr(kind, method or "fit", kind)
    functions = [function]
    if class_name == "SpeechAdapter":  # whose `fit` hands options on
        functions.append(kind)
    names = {name for function in functions for name in inspect.signature(function).parameters}
    assert set(TAKES[name]) == names - (NOT_OF_RECIPES if class_name != "Encoder" else set())
    assert set(TAKES[name]) <= set(OPTIONS)


def test_settings_are_of_the_types_that_recipes_check() -> None:
    for field in dataclasses.fields(Settings):
        assert field.default is None or isinstance(field.default, OPTIONS[field.name].type)
