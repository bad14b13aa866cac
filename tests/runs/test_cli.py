"""The command line: every command, every mistake, and what comes out as JSON."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

import multiseq
from multiseq.adapters import FusedAdapter, GraphAdapter, SpeechAdapter, TextAdapter
from multiseq.checkpoint import save
from multiseq.cli import app
from multiseq.commands.training import examples
from multiseq.data.conllu import value_of
from multiseq.heads.decoder import DecoderHead
from multiseq.heads.per_set import SetHead
from multiseq.heads.per_vector import VectorHead
from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
from multiseq.heads.text_target import TextTarget
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.runs import recipe as recipes
from multiseq.tasks import Task

ROOT = Path(__file__).parents[2]
DIM = 8
TINY = """
[encoder]
dim = 8
depth = 1
heads = 2

[training]
steps = 2

[data.lines]
adapter = "text"
format = "table"
input = "sentence"
train = "train.tsv"
test = "train.tsv"

[tasks.mood]
data = "lines"
output = "set"
target = "class"
column = "label"

[tasks.echo]
data = "lines"
output = "sequence"
target = "text"
column = "label"
decode = { num_beams = 2 }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nvery good\tup\nso bad\tdown\n")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="multiseq")


def well(*arguments: str) -> str:
    """What a command that succeeds prints."""
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def error(*arguments: str, code: int = 1) -> str:
    """What a command that fails says: for the user's own mistakes, one or two lines."""
    result = call(*arguments)
    assert result.exit_code == code, (result.output, result.exception)
    if code == 1:
        assert result.stderr.startswith("multiseq: error: ")
        assert len(result.stderr.splitlines()) <= 2
    return result.stderr


# --- help, tasks, recipe --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["tasks"],
        ["recipe", "starter"],
        ["train", "--set", "trainig.steps=1"],
    ],
)
def test_what_needs_no_model_is_quick_and_loads_no_torch(arguments: list[str]) -> None:
    code = "import sys, atexit; from multiseq.cli import main; "
    code += "atexit.register(lambda: print('torch' in sys.modules)); main()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == (1 if "--set" in arguments else 0), done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    # The processor's time: on a busy machine the clock says little.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_help_names_the_commands() -> None:
    shown = well("--help")
    assert all(name in shown for name in ("tasks", "train", "evaluate", "report", "predict", "recipe"))
    assert all(
        name in well("train", "--help") for name in ("--devices", "--num-nodes", "--strategy", "--resume")
    )


def test_tasks_shows_all_nine_and_the_recipes() -> None:
    lines = well("tasks").splitlines()
    for task, cell, metric in [
        ("pos", "text/vector", "accuracy"),
        ("recognition", "speech/sequence", "word_error_rate"),
        ("facts", "graph/sequence", "bleu"),
    ]:
        assert any(line.split()[:2] == [task, cell] and metric in line.split() for line in lines)
    assert "The unit of hydrophilicity: logP (higher: more lipophilic)" in lines
    names = [line.split()[0] for line in lines if line.split()]
    assert set(recipes.names()) <= set(names)
    assert any(line.endswith("Which of 250 people speaks.") for line in lines)
    assert set(recipes.read("starter").tasks) <= set(names)


def test_recipe_prints_the_file_as_it_is(folder: Path) -> None:
    text = well("recipe", "starter")
    assert text == (ROOT / "multiseq" / "recipes" / "starter.toml").read_text()
    (folder / "mine.toml").write_text(text)
    assert recipes.read("mine.toml").tables == recipes.read("starter").tables
    assert "got 'startr' (did you mean 'starter'?)" in error("recipe", "startr")
    error("recipe", code=2)


# --- train, evaluate, predict ---------------------------------------------------------------------


def test_the_whole_way(folder: Path) -> None:
    shown = well("train", "tiny.toml")
    assert "mood, echo: 2 items, 4 vectors (text)" in shown
    assert re.search(r"weights on .*, [\d.]+ MiB with gradients and moments; writing to", shown)
    assert "writing to runs/tiny" in shown
    row = next(line.split() for line in shown.splitlines() if line.split()[:2] == ["mood", "text/set"])
    assert row[2] == "accuracy"
    assert row[3] == "1.000"  # two sentences that one has seen
    assert "  multiseq predict runs/tiny --task mood 'so bad'\n" in shown

    tasks = json.loads(well("evaluate", "runs/tiny", "--json"))["tasks"]
    assert list(tasks) == ["mood", "echo"]
    mood = tasks["mood"]
    assert set(mood) == {"cell", "metric", "value", "baseline", "num_items", "split", "seconds"}
    assert (mood["cell"], mood["metric"], mood["num_items"], mood["split"]) == (
        "text/set",
        "accuracy",
        2,
        "test",
    )
    assert mood["baseline"] == 1.0
    assert 0 <= mood["value"] <= 1
    saved = json.loads((folder / "runs/tiny/test.json").read_text())["tasks"]
    assert {t: e["value"] for t, e in saved.items()} == {t: e["value"] for t, e in tasks.items()}
    assert "Scores on the train split" in well("evaluate", "runs/tiny", "--split", "train")

    # Of a table, the column is the one of training; sequences decode as the recipe says.
    lines = well("predict", "runs/tiny", "--task", "mood", "--input", "train.tsv").splitlines()
    assert [re.sub("(up|down) .*", "", line) for line in lines] == ["very good: ", "so bad: "]
    [text] = json.loads(well("predict", "runs/tiny", "--task", "echo", "so bad", "--json"))
    assert set(text) == {"item", "text", "score", "cut"}
    assert text["score"] <= 0

    # The column of training is the one of the recipe, or the usual one of the format.
    (folder / "other.tsv").write_text("text\tlabel\nvery good\tup\n")
    other = error("predict", "runs/tiny", "--task", "mood", "--input", "other.tsv")
    assert "no column 'sentence' for the input; there are text, label" in other

    # A second run in the same folder, and one to go on with.
    assert "holds a run already" in error("train", "tiny.toml")
    assert "this run is finished" in well("train", "tiny.toml", "--resume")
    assert "another recipe" in error("train", "tiny.toml", "--set", "training.steps=3", "--resume")
    assert "several tasks, choose with --task: mood, echo" in error("predict", "runs/tiny", "x")
    assert "(did you mean 'mood'?)" in error("predict", "runs/tiny", "--task", "moood", "x")
    assert "(did you mean 'test'?)" in error("evaluate", "runs/tiny", "--split", "tset")
    assert "split: got 'dev', but no data of tiny has it" in error("evaluate", "runs/tiny", "--split", "dev")


def test_several_recipes_make_one_run(folder: Path) -> None:
    second = TINY.replace("mood", "tone").replace("echo", "call").replace("lines", "rows")
    (folder / "second.toml").write_text(second)
    shown = well("train", "tiny.toml", "second.toml", "--data", ".", "--set", "training.steps=1")
    assert "writing to runs/tiny+second" in shown
    tasks = json.loads((folder / "runs/tiny+second/test.json").read_text())["tasks"]
    assert list(tasks) == ["mood", "echo", "tone", "call"]
    assert "tiny and tiny: both have [data.lines]" in error("train", "tiny.toml", "tiny.toml")


def test_a_recipe_without_a_test_part(folder: Path) -> None:
    (folder / "tiny.toml").write_text(TINY.replace('test = "train.tsv"\n', ""))
    shown = well("train", "tiny.toml")
    assert "Nothing is scored, because no data has a test or a dev split: add test = 0.2 to" in shown
    assert "runs/tiny has the model, the curves (curves.png), a page to look at (report.html).\n" in shown
    assert "  multiseq predict runs/tiny --task mood 'so bad'\n" in shown


def test_the_items_that_are_shown_can_be_typed(folder: Path) -> None:
    def shown(items: str) -> str:
        (folder / "train.tsv").write_text("sentence\tlabel\n" + items)
        [line] = examples(recipes.read("tiny.toml"), Path("run"), None)
        return line.removeprefix("multiseq predict run --task ")

    assert shown("\tup\n-x\tup\nwell done\tup\n") == "mood 'well done'"
    assert shown(f"{'long ' * 99}\tup\n") == "mood 'YOUR TEXT'"
    assert shown("a\x07bell\tup\n") == "mood 'YOUR TEXT'"
    molecules = TINY.replace('adapter = "text"', 'adapter = "graph"')
    (folder / "tiny.toml").write_text(molecules)
    assert shown("C\tup\nCC\tup\n") == "mood C"
    (folder / "nodes.csv").write_text("node,age,job\n0,20,a\n1,30,b\n2,40,a\n3,50,b\n")
    (folder / "edges.csv").write_text("source,target\n0,1\n1,2\n")
    networks = 'format = "networks"\nfile = "nodes.csv"\nedges = "edges.csv"\nfeatures = ["age"]\n'
    recipe = f"""
[adapters.net]
modality = "graph"
[data.people]
adapter = "net"
{networks}
test = 0.5
[tasks.job]
data = "people"
output = "vector"
target = "class"
column = "job"
"""
    (folder / "net.toml").write_text(recipe)
    [line] = examples(recipes.read("net.toml"), Path("run"), None)
    assert line == "multiseq predict run --task job --input NEW/nodes.csv"
    assert shown(f"{'C' * 999}\tup\n") == "mood CCO"


def clips(folder: Path) -> None:
    """A recording, a table of it and a recipe."""
    tone(folder / "a.wav")
    (folder / "clips.tsv").write_text("file\tlabel\na.wav\tup\n")
    speech = TINY.replace('adapter = "text"', 'adapter = "speech"').replace('"table"', '"recordings"')
    speech = speech.partition("[tasks.echo]")[0].replace('input = "sentence"\n', "")
    (folder / "clips.toml").write_text(speech.replace("train.tsv", "clips.tsv"))


def test_the_usual_column_of_a_format(folder: Path) -> None:
    clips(folder)
    assert "--task mood " in well("train", "clips.toml", "--set", "training.steps=1")
    assert well("predict", "runs/clips", "--input", "clips.tsv").startswith("up (100%)")


def test_prepared_items_are_kept_seen_and_deleted(folder: Path) -> None:
    clips(folder)
    well("train", "clips.toml", "--cache", "kept")
    [pack] = (folder / "kept").glob("*/*.safetensors")
    well("train", "clips.toml", "--out", "again", "--cache", "kept")
    well("evaluate", "again", "--cache", "kept")
    assert list((folder / "kept").glob("*/*.safetensors")) == [pack]
    shown = well("cache", "kept")
    assert (
        " ".join(shown.split()).count("sample_rate 16000, n_mels 80, subsample 2, samples False 1 0.0 MiB")
        == 1
    )
    assert "delete it with: multiseq cache kept --delete" in shown
    assert well("cache", "kept", "--delete") == "kept: deleted 0.0 MiB\n"
    assert not (folder / "kept").exists()
    assert "kept: no such folder" in error("cache", "kept")
    assert "clips: holds no prepared items" in error("cache", "runs/clips")
    assert (folder / "runs/clips/model").is_dir()


# --- where it is printed --------------------------------------------------------------------------


def alone(*arguments: str, stdout: Any = subprocess.PIPE, **environment: str) -> subprocess.Popen[bytes]:
    """A command in a process of its own, whose output goes where a test says."""
    return subprocess.Popen(
        [sys.executable, "-m", "multiseq", *arguments],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_a_terminal_cannot_show_is_printed_as_its_number(
    saved: Path, folder: Path, encoding: str
) -> None:
    (folder / "a.txt").write_text("naïve – 😀\n", encoding="utf-8")
    command = ["predict", str(saved), "--task", "pos", "--input", "a.txt"]
    commands = [["tasks"], command, [*command, "--json"]]
    code = f"""
import sys
from multiseq.cli import main
for arguments in {commands}:
    sys.argv = ["multiseq", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    print(end="\\f")
"""
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.stderr, done.returncode) == (b"", 0)
    tasks, _, found, rest = done.stdout.decode(encoding).split("\f")
    assert "word_error_rate" in tasks
    assert json.loads(found)[0]["item"] == "naïve – 😀"
    assert rest == ""


def test_warnings_are_one_plain_line(folder: Path) -> None:
    trained(
        folder,
        'adapter = "text"\nformat = "labelled"\ntrain = "train.txt"\nencoding = "latin-1"',
        {"train.txt": "up gut\ndown schlecht\n"},
    )
    (folder / "new.txt").write_text("up schön\n", encoding="utf-8")
    done = alone("predict", "run", "--input", "new.txt", "--output", "out.txt")
    assert done.communicate()[1].decode().splitlines() == [
        "multiseq: warning: new.txt: is read as latin-1, but its bytes are UTF-8; if ü looks like Ã¼, set "
        'encoding = "utf-8" (to predict: --set encoding=utf-8)',
        "multiseq: out.txt: 1 row",
    ]


@pytest.mark.filterwarnings("ignore:a text has .* cut into windows:UserWarning")
def test_check_finds_texts_to_learn_that_training_would_refuse(folder: Path) -> None:
    files = {"train.en": "b\na b a b a b\nb\na b a\n", "train.de": "x y\nz\nx\nz\n"}
    for name, content in files.items():
        (folder / name).write_text(content)
    data = 'adapter = "text"\nformat = "lines"\ntrain = ["train.en", "train.de"]'
    task = 'output = "sequence"\ntarget = "text"\ncolumn = "target"\ntokens = "character"'
    head = TINY.partition("[data.lines]")[0]
    (folder / "one.toml").write_text(f'{head}[data.d]\n{data}\n[tasks.t]\ndata = "d"\n{task}\n')
    assert well("check", "one.toml").endswith("It can be trained.\n")
    for command in (["check"], ["train", "--out", "run"]):
        message = error(*command, "one.toml", "--set", "adapters.text.window=2")
        assert "train.en:2: makes 3 sets, but task 't' learns a sequence from one" in message
        assert "(2 of 4 items make several); cut the item and its text" in message
    with pytest.warns(UserWarning, match=r"task 't': 1 of 4 texts .* the 2 tokens of its head's"):
        well("check", "one.toml", "--set", "tasks.t.head.max_length=2")


@pytest.mark.parametrize("kind", ["a closed pipe", "a full disk"])
def test_a_run_does_not_end_because_nothing_can_be_printed(folder: Path, kind: str) -> None:
    if kind == "a full disk" and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full" if kind == "a full disk" else os.devnull, "wb") as full:
        done = alone("train", "tiny.toml", stdout=full if kind == "a full disk" else subprocess.PIPE)
        if done.stdout is not None:
            done.stdout.close()
        assert done.stderr is not None
        assert done.wait() == 0, done.stderr.read()
        done.stderr.close()
    assert (folder / "runs" / "tiny" / "test.json").is_file()


def test_a_run_is_done_though_its_data_has_gone(folder: Path) -> None:
    recipe = recipes.read("tiny.toml")
    (folder / "train.tsv").unlink()
    assert examples(recipe, Path("run"), None) == []


# --- mistakes -------------------------------------------------------------------------------------


def test_mistakes_in_training(folder: Path) -> None:
    assert "no such recipe (did you mean 'starter'?)" in error("train", "startr")
    assert "nothing.toml: no such file" in error("train", "nothing.toml")
    assert "no key 'stepz' (did you mean 'steps'?)" in error(
        "train", "tiny.toml", "--set", "training.stepz=1"
    )
    assert "expected key=value" in error("train", "tiny.toml", "--set", "steps")
    assert "say where the data is with --data" in error("train", "tiny.toml", "--data", "nowhere")
    assert "is not there" in error("train", "--resume", "--out", "nowhere")
    assert "number or auto" in error("train", "--devices", "all", code=2)
    assert "No such option" in error("train", "--oops", code=2)
    assert "'fp61'" in error("train", "tiny.toml", "--precision", "fp61")
    (folder / "train.tsv").write_text("sentence\tlabel\nvery good\n")
    assert "train.tsv:2: got 1 cells, expected 2 as in the header" in error("train", "tiny.toml")
    assert not (folder / "runs").exists()
    (folder / "runs").write_text("a file")
    (folder / "train.tsv").write_text("sentence\tlabel\nvery good\tup\n")
    error("train", "tiny.toml")


def test_a_library_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert "pip install 'tokenizers'" in error("train", "tiny.toml")


def test_an_error_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("multiseq.runs.run.train_run", broken)
    result = call("train", "tiny.toml")
    assert isinstance(result.exception, RuntimeError)
    assert "multiseq: error" not in result.stderr


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("multiseq.runs.run.train_run", stopped)
    command = ["train", "tiny.toml", "--out", "my run", "--num-nodes", "2"]
    assert error(*command, code=130) == "multiseq: stopped\n"  # there is nothing to go on with
    Path("my run").mkdir()
    Path("my run", "run.json").write_text("{}")
    said = error(*command, code=130)
    assert said == "multiseq: stopped; go on with: multiseq train --resume --out 'my run' --num-nodes 2\n"
    monkeypatch.setattr("multiseq.checkpoint.load", stopped)
    assert error("predict", "run", "x", code=130) == "multiseq: stopped\n"


# --- predictions of every kind --------------------------------------------------------------------

TRIPLES = [("Ada", "job", "baker"), ("Ada", "home", "Rome")]
NETWORK = {"nodes": {"age": [20, 30, 40], "city": ["A", "B", "A"]}, "edges": [[0, 1], [1, 2]]}


def tone(path: Path, seconds: float = 0.5) -> str:
    samples = torch.sin(torch.arange(int(seconds * 8000)) / 8000 * 2 * math.pi * 300)
    soundfile.write(path, samples.numpy(), 8000)
    return str(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, not trained, with adapters and heads of every kind, as saved in Python."""
    where = tmp_path_factory.mktemp("saved")
    adapters: dict[str, Any] = {
        "text": TextAdapter.fit(["I saw a saw"], dim=DIM),
        "speech": SpeechAdapter.fit([tone(where / "tone.wav")], dim=DIM, sample_rate=8000, n_mels=20),
        "molecule": GraphAdapter.fit(["CCO"], dim=DIM),
        "triples": GraphAdapter.fit([TRIPLES], dim=DIM),
        "network": GraphAdapter.fit([NETWORK], dim=DIM),
    }
    parts = {"words": TextAdapter.fit(["I saw"], dim=DIM), "molecule": GraphAdapter.fit(["CCO"], dim=DIM)}
    adapters["fused"] = FusedAdapter(parts)
    tags, logp = ClassTarget(["NOUN", "VERB"]), NumberTarget(["logp"], [1.0], [2.0], unit="logP")
    text = TextTarget.fit(["Ada is a baker."], unit="character")
    heads = {
        "pos": ("text", VectorHead(DIM, tags)),
        "topics": ("text", SetHead(DIM, MultiLabelTarget(["art", "sport"]))),
        "phones": ("speech", VectorHead(DIM, tags)),
        "speaker": ("speech", SetHead(DIM, tags)),
        "logp": ("molecule", SetHead(DIM, logp)),
        "two": ("molecule", SetHead(DIM, NumberTarget(["a", "b"], [0.0, 0.0], [1.0, 1.0]))),
        "charge": ("molecule", VectorHead(DIM, logp)),
        "buyers": ("network", VectorHead(DIM, tags)),
        "both": ("fused", VectorHead(DIM, tags)),
        "facts": ("triples", DecoderHead(DIM, text, depth=1, heads=2)),
    }
    tasks = {name: Task(adapter, head) for name, (adapter, head) in heads.items()}
    save(Model(adapters, Encoder(DIM, 1, 2), tasks), where / "model")
    return where / "model"


def predicted(saved: Path, task: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        well("predict", str(saved), "--task", task, *arguments, "--json")
    )
    return found


def line(saved: Path, task: str, *arguments: str) -> str:
    return well("predict", str(saved), "--task", task, *arguments)


def test_a_label_for_each_word(saved: Path) -> None:
    [found] = predicted(saved, "pos", "I saw a saw")
    assert set(found) == {"item", "names", "labels", "probabilities"}
    assert found["names"] == ["I", "saw", "a", "saw"]
    assert set(found["labels"]) <= {"NOUN", "VERB"}
    assert [sum(p.values()) for p in found["probabilities"]] == pytest.approx([1] * 4)
    words = " ".join(f"{n}/{v}" for n, v in zip(found["names"], found["labels"], strict=True))
    shares = [max(p.values()) for p in found["probabilities"]]
    least = found["names"][shares.index(min(shares))]
    assert line(saved, "pos", "I saw a saw") == f"{words}  (least sure: {least}, {min(shares):.0%})\n"
    assert predicted(saved, "pos", "")[0]["labels"] == []
    assert line(saved, "pos", "") == "\n"


def test_frames_of_one_label_are_one_segment(saved: Path, folder: Path) -> None:
    path = tone(folder / "a.wav", 0.5)
    [found] = predicted(saved, "phones", path)
    assert len(found["labels"]) == len(found["names"]) == 25
    segments = found["segments"]
    assert (segments[0]["start"], segments[-1]["end"]) == (0, 0.5)
    for one, following in pairwise(segments):
        assert one["end"] == following["start"]
        assert one["label"] != following["label"]
    shown = line(saved, "phones", path).splitlines()
    assert len(shown) == len(segments)
    assert shown[0].startswith(f"0.00-{segments[0]['end']:.2f} s  {segments[0]['label']}  (")
    assert predicted(saved, "phones", "--input", path) == [found]


def test_a_label_for_each_clip(saved: Path, folder: Path) -> None:
    tone(folder / "a.wav")
    (folder / "lists").mkdir()
    (folder / "lists" / "clips.txt").write_text("../a.wav\n../a.wav\n")
    one, other = predicted(saved, "speaker", "--input", "lists/clips.txt")
    assert one["probabilities"] == pytest.approx(other["probabilities"])
    assert set(one) == {"item", "label", "probability", "probabilities"}
    assert line(saved, "speaker", "a.wav") == f"{one['label']} ({one['probability']:.0%})\n"


def test_missing_and_broken_recordings(saved: Path, folder: Path) -> None:
    for name in ("a.wav", "b.wav"):
        tone(folder / name)
    (folder / "broken.wav").write_bytes(b"RIFF")
    command = ("predict", str(saved), "--task", "speaker")
    names = [f"{i}.wav" for i in range(7)]
    told = error(*command, "broken.wav", *names)  # before anything is read
    assert "0.wav, 1.wav, 2.wav, 3.wav, 4.wav and 2 more: no such file (--on-error skip goes on)" in told
    assert "b.wav, 6.wav" not in told
    shown = well(*command, "a.wav", "6.wav", "broken.wav", "b.wav", "--on-error", "skip").splitlines()
    assert [line.partition(":")[0] for line in shown] == ["a.wav", "6.wav", "broken.wav", "b.wav"]
    assert shown[1] == "6.wav: error: no such file"
    assert shown[2].startswith("broken.wav: error: ")
    assert shown[0].removeprefix("a.wav") == shown[3].removeprefix("b.wav")
    found = predicted(saved, "speaker", "6.wav", "a.wav", "--on-error", "skip")
    assert found[0] == {"item": "6.wav", "error": "6.wav: no such file"}
    assert found[1]["item"] == "a.wav"
    assert "none of the 1 items can be predicted; the first: 6.wav: no such file" in error(
        *command, "6.wav", "--on-error", "skip"
    )
    (folder / "list.txt").write_text("a.wav\n6.wav\n")
    assert "6.wav: error: " in well(*command, "--input", "list.txt", "--on-error", "skip")


def test_a_file_of_another_kind(saved: Path, folder: Path) -> None:
    tone(folder / "a.wav")
    (folder / "notes.txt").write_text("a note\n")
    begin = f"multiseq predict {saved}"
    for task, given, kind, takes, example in (
        ("speaker", "notes.txt", "a document", "recordings", "YOUR.wav"),
        ("topics", "a.wav", "a recording", "texts", "'YOUR TEXT'"),
        ("topics", "notes.txt", "a document", "texts", "'YOUR TEXT'"),
        ("logp", "notes.txt", "a document", "graphs", "CCO"),
    ):
        told = error("predict", str(saved), "--task", task, given)
        assert f"{given}: got {kind}, but this run takes {takes}, as in: {begin} {example}" in told
        assert ("to read the file, use --input notes.txt" in told) == (given == "notes.txt")
    told = error("predict", str(saved), "--task", "topics", "--input", "a.wav")
    assert "a.wav: got a recording, but this run takes texts" in told
    assert line(saved, "topics", "see notes.txt")  # a text that is no file


def test_numbers_in_the_users_unit(saved: Path, folder: Path) -> None:
    one, other = predicted(saved, "logp", "CCO", "c1ccccc1")
    assert set(one) == {"item", "value", "unit"}
    assert one["unit"] == "logP"
    shown = line(saved, "logp", "CCO", "c1ccccc1").splitlines()
    for said, found in zip(shown, (one, other), strict=True):
        _, number, unit = said.split()  # the item before them
        assert unit == "logP"
        assert float(number) == pytest.approx(found["value"], abs=1e-3)  # a thousandth of their spread
    [two] = predicted(saved, "two", "CCO")
    assert set(two["value"]) == {"a", "b"}
    assert line(saved, "two", "CCO").startswith("a ")
    [charge] = predicted(saved, "charge", "CCO")
    assert charge["names"] == ["C0", "C1", "O2"]
    assert len(charge["values"]) == 3
    assert line(saved, "charge", "CCO").startswith("C0/")
    (folder / "some.smi").write_text("CCO\nC(C\n")
    message = error("predict", str(saved), "--task", "logp", "--input", "some.smi")
    assert "some.smi:2: molecule: got 'C(C', which RDKit cannot read" in message


def test_several_labels_at_once(saved: Path) -> None:
    [found] = predicted(saved, "topics", "I saw")
    assert set(found) == {"item", "labels", "probabilities"}
    assert found["labels"] == [k for k, p in found["probabilities"].items() if p >= 0.5]
    shown = ", ".join(f"{k} ({found['probabilities'][k]:.0%})" for k in found["labels"])
    assert line(saved, "topics", "I saw") == f"{shown or '(none)'}\n"


def test_a_text_about_triples(saved: Path, folder: Path) -> None:
    typed = json.dumps(TRIPLES)
    [found] = predicted(saved, "facts", typed)
    assert found["item"] == [list(t) for t in TRIPLES]
    limit = "; may be cut off: it is as long as max_length allows" if found["cut"] else ""
    assert line(saved, "facts", typed) == f"{found['text']}  (log-probability {found['score']:.1f}{limit})\n"
    (folder / "one.json").write_text(typed)
    (folder / "many.jsonl").write_text(f'{typed}\n{{"triples": {typed}, "text": "…"}}\n')
    assert predicted(saved, "facts", "one.json") == [found]
    assert predicted(saved, "facts", "--input", "one.json") == [found]
    several = predicted(saved, "facts", "--input", "many.jsonl", "--column", "triples")
    # In another batch a processor adds in another order.
    assert several == [{**found, "score": pytest.approx(found["score"], rel=1e-4)}] * 2
    message = error("predict", str(saved), "--task", "facts", "--input", "many.jsonl", "--column", "tripels")
    assert "many.jsonl:2: no field 'tripels' (did you mean 'triples'?); there are triples, text:" in message
    assert "item 1: got 'Ada', expected JSON, as in" in error("predict", str(saved), "--task", "facts", "Ada")
    assert "two.json: no such file" in error("predict", str(saved), "--task", "facts", "two.json")


def test_members_of_a_network(saved: Path, folder: Path) -> None:
    (folder / "net.json").write_text(json.dumps(NETWORK))
    (folder / "nets.jsonl").write_text(json.dumps(NETWORK) + "\n")
    [found] = predicted(saved, "buyers", "net.json")
    assert found["names"] == ["0", "1", "2"]
    assert predicted(saved, "buyers", "--input", "nets.jsonl") == [found]
    lines = line(saved, "buyers", "net.json").splitlines()
    assert [row.partition(" (")[0] for row in lines] == [f"{i}: {v}" for i, v in enumerate(found["labels"])]


def test_items_of_files(saved: Path, folder: Path) -> None:
    (folder / "lines.txt").write_text("I saw\n\na saw\n")
    found = predicted(saved, "pos", "--input", "lines.txt")
    assert [r["item"] for r in found] == ["I saw", "", "a saw"]  # line by line, empty ones too
    (folder / "words.jsonl").write_text('["I", "saw"]\n"a saw"\n')
    assert [r["names"] for r in predicted(saved, "pos", "--input", "words.jsonl")] == [
        ["I", "saw"],
        ["a", "saw"],
    ]
    (folder / "table.csv").write_text('id,text\n1,"I, saw"\n')
    assert predicted(saved, "pos", "--input", "table.csv")[0]["item"] == "I, saw"
    table = error("predict", str(saved), "--task", "pos", "--input", "table.csv", "--column", "txt")
    assert "table.csv:1: no column 'txt' (did you mean 'text'?) for the input; there are id, text" in table
    assert "nothing.txt: no such file" in error(
        "predict", str(saved), "--task", "pos", "--input", "nothing.txt"
    )
    (folder / "bad.jsonl").write_text('\n"I saw"\n\n[1\n')
    message = error("predict", str(saved), "--task", "pos", "--input", "bad.jsonl")
    assert """bad.jsonl:4: got '[1', expected JSON, as in "I saw it" or""" in message
    assert "nodes" not in message


@pytest.mark.parametrize("name", ["lines.txt", "words.jsonl", "one.json", "table.csv", "table.tsv"])
def test_a_byte_order_mark_is_no_text(saved: Path, folder: Path, name: str) -> None:
    text = {"lines.txt": "I saw", "table.csv": "text,id\nI saw,1", "table.tsv": "text\tid\nI saw\t1"}
    (folder / name).write_text(text.get(name, '["I", "saw"]') + "\n", encoding="utf-8-sig")
    [found] = predicted(saved, "pos", "--input", name)
    assert found["names"] == ["I", "saw"]


def test_empty_lines_between_objects_are_nothing(saved: Path, folder: Path) -> None:
    (folder / "words.jsonl").write_text('\n["I"]\n\n{"text": "saw it"}\n\n')
    assert [r["names"] for r in predicted(saved, "pos", "--input", "words.jsonl")] == [["I"], ["saw", "it"]]


# --- files as in training -------------------------------------------------------------------------


def trained(folder: Path, data: str, files: dict[str, str], **task: str) -> None:
    """A run in the folder ``run``, of one task on files that are written first."""
    for name, content in files.items():
        (folder / name).write_bytes(content.encode("latin-1" if "latin-1" in data else "utf-8"))
    told = {"output": "set", "target": "class", "column": "label", **task}
    lines = "".join(f"{k} = {json.dumps(v)}\n" for k, v in told.items())
    head = TINY.partition("[data.lines]")[0]
    (folder / "one.toml").write_text(f'{head}[data.d]\n{data}\n[tasks.t]\ndata = "d"\n{lines}')
    well("train", "one.toml", "--out", "run", "--set", "training.steps=1")


def items_of(*arguments: str) -> list[Any]:
    return [found["item"] for found in json.loads(well("predict", "run", "--json", "--input", *arguments))]


def conllu(*forms: str) -> str:
    return "".join(f"{i}\t{form}\t_\tX\t_\t_\t0\t_\t_\t_\n" for i, form in enumerate(forms, 1)) + "\n"


def test_treebanks_are_read_as_in_training(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "conllu"\ntrain = "train.txt"'
    files = {"train.txt": conllu("I", "saw"), "new.txt": f"# a note\n{conllu('We', 'saw')}{conllu('a')}"}
    trained(folder, data, files, output="vector", column="upos")
    for name in ("new.txt", "new.conllu", "NEW.CONLLU"):
        (folder / "new.txt").rename(folder / name)
        assert items_of(name) == [["We", "saw"], ["a"]]
        (folder / name).rename(folder / "new.txt")
    (folder / "lines.text").write_text("We saw\n")
    assert items_of("lines.text") == ["We saw"]
    assert items_of("lines.text", "--set", "format=text") == ["We saw"]
    for name in ("bank.text", "bank.conll", "bank.tb"):
        (folder / name).write_text(files["new.txt"])
        assert items_of(name) == [["We", "saw"], ["a"]]
    assert "lines.text:1: got 1 columns" in error(
        "predict", "run", "--input", "lines.text", "--set", "format=conllu"
    )


FEATURES = (
    "1\tDogs\tdog\tNOUN\tNN\tCase=Nom|Number=Plur\t2\tnsubj\t_\t_\n"
    "2\tbark\tbark\tVERB\tVB\tMood=Ind|PronType=Int,Rel\t0\troot\t_\tGloss=bellen|SpaceAfter=No\n"
    "3\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_\n\n"
)


def test_features_of_words_are_labels_and_predictions(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "conllu"\ntrain = "train.conllu"'
    files = {"train.conllu": 4 * FEATURES, "new.txt": FEATURES}
    trained(folder, data, files, output="vector", target="multilabel", column="feats")
    names = ["Case=Nom", "Mood=Ind", "Number=Plur", "PronType=Int,Rel"]
    assert multiseq.load("run").task("t").head.target.labels == names
    well("predict", "run", "--input", "new.txt", "--output", "new.conllu")
    given = [row.split("\t") for row in FEATURES.splitlines() if row]
    found = [row.split("\t") for row in (folder / "new.conllu").read_text().splitlines() if row]
    [results] = multiseq.load("run").predict("t", [["Dogs", "bark", "."]])
    assert [row[5] for row in found] == ["|".join(result.labels) or "_" for result in results]
    assert [row[:5] + row[6:] for row in found] == [row[:5] + row[6:] for row in given]


def test_one_feature_and_entries_of_misc_are_written_in_their_columns(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "conllu"\ntrain = "train.conllu"'
    for column, at in (("Case", 5), ("misc.Gloss", 9)):
        trained(folder, data, {"train.conllu": 4 * FEATURES}, output="vector", column=column)
        assert {"_"} < set(multiseq.load("run").task("t").head.target.labels)
        well("predict", "run", "--input", "train.conllu", "--output", "new.conllu")
        [first, *_] = multiseq.load("run").predict("t", [["Dogs", "bark", "."]])
        rows = [row.split("\t") for row in (folder / "new.conllu").read_text().splitlines()[:3]]
        name = column.removeprefix("misc.")
        assert [value_of(row[at], name) for row in rows] == [result.label for result in first]
        assert rows[1][9].endswith("SpaceAfter=No") or "SpaceAfter=No|Gloss" in rows[1][9]
        shutil.rmtree(folder / "run")


def test_a_feature_is_in_the_training_file_and_may_lack_in_others(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "conllu"\ntrain = "train.conllu"\ndev = "dev.conllu"'
    files = {"train.conllu": 4 * FEATURES, "dev.conllu": FEATURES.replace("Case=Nom|", "")}
    trained(folder, data, files, output="vector", column="Case")
    assert multiseq.load("run").task("t").head.target.labels == ["Nom", "_"]
    text = (folder / "one.toml").read_text().replace("Case", "Typo")
    (folder / "one.toml").write_text(text)
    message = error("train", "one.toml", "--out", "other", "--set", "training.steps=1")
    assert "train.conllu: no word to train on has 'Typo'; there are Case, Mood, Number, PronType" in message


def test_labels_of_other_data_do_not_change_the_tree(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "jsonl"\ntrain = "train.jsonl"'
    row = json.dumps({"text": ["Dogs", "bark"], "head": ["A", "B"]})
    trained(folder, data, {"train.jsonl": f"{row}\n" * 4}, output="vector", column="head")
    (folder / "new.conllu").write_text(FEATURES)
    well("predict", "run", "--input", "new.conllu", "--output", "out.conllu")
    [results] = multiseq.load("run").predict("t", [["Dogs", "bark", "."]])
    given = [row.split("\t") for row in FEATURES.splitlines() if row]
    found = [row.split("\t") for row in (folder / "out.conllu").read_text().splitlines() if row]
    assert [row[:9] for row in found] == [row[:9] for row in given]
    assert [value_of(row[9], "head") for row in found] == [result.label for result in results]


NAMES = "EÜ NNP B-ORG\nrejects VBZ O\n\nCalls NNS O\n\n"


def test_words_with_tags_are_read_whatever_the_ending(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "conll"\ntrain = "e.train"'
    trained(folder, data, {"e.train": 4 * NAMES}, output="vector", column="tag")
    for name in ("e.testb", "e.iob", "e.txt", "e"):
        (folder / name).write_text(NAMES, encoding="utf-8")
        assert items_of(name) == [["EÜ", "rejects"], ["Calls"]]
    (folder / "news.txt").write_text("The union met today .\n\nIt did not say why it did .\n")
    assert items_of("news.txt") == ["The union met today .", "", "It did not say why it did ."]
    (folder / "words.txt").write_text("The\nunion\n\nmet\n")
    command = "predict", "run", "--input", "words.txt"
    message = error(*command)
    assert "words.txt: got lines of 1 column with empty lines between them, but no known label" in message
    assert "--set format=conll, or --set format=text" in message
    assert items_of("words.txt", "--set", "format=conll") == [["The", "union"], ["met"]]
    (folder / "news.raw").write_text("The union met today , it said .\n")
    message = error("predict", "run", "--input", "news.raw")
    assert "news.raw:1: got 8 columns, expected" in message
    assert "where the lines are texts, give --set format=text" in message
    message = error("predict", "run", "--input", "news.txt", "--output", "x.conll")
    assert "an input in CoNLL (if it is, add --set format=conll)" in message


def test_other_columns_than_usual_are_named(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "conll"\ntrain = "e.train"\ncolumn_names = ["ner", "word"]'
    trained(folder, data, {"e.train": 4 * "O EU\nB rejects\n\n"}, output="vector", column="ner")
    (folder / "new.conll").write_text("? EU\n? calls\n\n")
    well("predict", "run", "--input", "new.conll", "--output", "out.conll")
    [labels] = multiseq.load("run").predict("t", [["EU", "calls"]])
    first, second = (result.label for result in labels)
    assert (folder / "out.conll").read_text() == f"{first} EU\n{second} calls\n\n"
    (folder / "bad.toml").write_text((folder / "one.toml").read_text().replace('"ner", "word"', '"ner"'))
    message = error("check", "bad.toml")
    assert """column_names: got ['ner'], expected different names, and "word" among them""" in message


def test_tables_are_read_as_in_training(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "table"\ntrain = "TRAIN.CSV"\ninput = "t"\nencoding = "latin-1"'
    files = {"TRAIN.CSV": "t;label\nschön;up\nschlecht;down\n", "New.CSV": "t;x\nschön;\n;\n"}
    trained(folder, data, files)
    assert items_of("New.CSV") == ["schön"]
    (folder / "new.tsv").write_text("t\tx\nschön\t1\n", encoding="utf-8")
    assert items_of("new.tsv", "--set", "encoding=utf-8") == ["schön"]
    with pytest.warns(UserWarning, match=r"new\.tsv: is read as latin-1, but its bytes are UTF-8"):
        assert items_of("new.tsv", "--column", "x") == ["1"]
    (folder / "new.csv").write_text("t:x\na,b:c\n")
    assert items_of("new.csv", "--set", "separator=:") == ["a,b"]
    for change, message in {
        "encoding": "expected key=value",
        "encodin=latin-1": "did you mean 'encoding'",
        "encoding=punycode": "got the encoding 'punycode'",
        "unpack_limit=-1": "unpack_limit: got -1, expected 0 or more",
        "unpack_limit=no": "got 'no', expected a whole number",
        "format=tabel": "did you mean 'table'",
    }.items():
        assert message in error("predict", "run", "--input", "new.csv", "--set", change)


def test_labelled_lines_are_told_from_texts(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "labelled"\ntrain = "train.txt"'
    trained(folder, data, {"train.txt": "up very good\ndown so bad\n", "new.txt": "down not good\n"})
    assert items_of("new.txt") == ["not good"]
    (folder / "texts.txt").write_text("down not good\nnot good\n")
    message = error("predict", "run", "--input", "texts.txt")
    assert "texts.txt:2: got the label 'not', which training has not seen" in message
    assert items_of("texts.txt", "--set", "format=text") == ["down not good", "not good"]
    (folder / "new.txt").write_text("down not good\nup\nup so\n")
    assert "new.txt:2: got 'up', expected a label, a blank or a tab" in error(
        "predict", "run", "--input", "new.txt"
    )
    assert items_of("new.txt", "--on-error", "skip") == ["not good", None, "so"]


def test_lines_of_fasttext_need_no_label_to_be_predicted(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "labelled"\ntrain = "train.txt"'
    lines = "__label__up very good\nso bad __label__down\n"
    trained(folder, data, {"train.txt": lines, "new.txt": "not good\n\n__label__new __label__up\tso bad\n"})
    assert items_of("new.txt") == ["not good", "", "so bad"]
    assert items_of("new.txt", "--set", "format=text")[2] == "__label__new __label__up\tso bad"
    options = ("--set", "separator=;")  # as in training, labels end where the separator is
    (folder / "other.txt").write_text("__label__up;good text\n")
    assert items_of("other.txt", *options) == ["good text"]
    (folder / "other.text").write_text("__label__up how so\n")  # an ending that training did not have
    assert items_of("other.text") == ["how so"]
    (folder / "other.text").write_text("how so\n")
    assert items_of("other.text") == ["how so"]
    labels = [found["label"] for found in json.loads(well("predict", "run", "--json", "--input", "new.txt"))]
    well("predict", "run", "--input", "new.txt", "--output", "out.txt")
    written = f"{labels[0]} not good\n\n{labels[2]} so bad\n"
    assert Path("out.txt").read_text() == written
    assert items_of("out.txt") == ["not good", "", "so bad"]
    options = ("--input", "new.txt", "--n-best", "2", "--output")
    bare = [label.removeprefix("__label__") for label in labels]
    well("predict", "run", *options, "out.csv")  # a table has the labels alone
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == bare
    assert rows[2].get("label", "") in ("", '["new", "up"]')
    assert "__label__" not in Path("out.csv").read_text()
    assert set(json.loads(rows[0]["n_best"])) == {"up", "down"}
    (folder / "new.csv").write_text("text,label\nnot good,__label__up\n")
    well("predict", "run", "--input", "new.csv", "--output", "again.csv")
    with open("again.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["prediction"] in ("up", "down")
    assert row["label"] == "__label__up"  # what a table of the user has stays


def test_a_translation_is_a_line_for_each_line(folder: Path) -> None:
    files = {"train.en": "a b\nb\n", "train.de": "x y\nz\n", "new.en": "b a\n\nb\n"}
    data = 'adapter = "text"\nformat = "lines"\ntrain = ["train.en", "train.de"]'
    trained(folder, data, files, output="sequence", target="text", column="target", tokens="character")
    texts = [found["text"] for found in json.loads(well("predict", "run", "--json", "--input", "new.en"))]
    shown = call("predict", "run", "--input", "new.en", "--output", "new.de")
    assert (shown.exit_code, "multiseq: new.de: 3 rows, 1 of them empty" in shown.stderr) == (0, True)
    assert Path("new.de").read_text() == f"{texts[0]}\n\n{texts[2]}\n"
    message = error("predict", "run", "--input", "new.en", "--output", "new.fr")
    assert "got the ending '.fr', expected one of .csv .tsv .jsonl .parquet .xlsx .txt" in message
    assert ".ctm .de, or" in message


def test_json_lines_are_read_as_in_training(folder: Path) -> None:
    data = 'adapter = "text"\nformat = "jsonl"\ntrain = "train.json"\ninput = "t"\nencoding = "utf-16"'
    row = '{"t": "so", "label": "up"}\n'
    trained(folder, data, {"train.json": "\ufeff" + row})
    (folder / "new.json").write_text('{"t": "é"}\n{"t": ["a"]}\n', encoding="utf-16")
    assert items_of("new.json") == ["é", ["a"]]
    (folder / "new.jsonl").write_text("[" * 3000 + "\n", encoding="utf-16")
    assert "new.jsonl:1: got '[[[[" in error("predict", "run", "--input", "new.jsonl")


def test_networks_are_read_as_in_training(folder: Path) -> None:
    data = 'adapter = "graph"\nformat = "networks"\nfile = "nodes.csv"\nedges = "edges.csv"\n'
    data += 'features = ["zone", "age"]\nsplit_column = "split"'
    nodes = "net,split,node,zone,age,label\nA,train,0,1,2,up\nA,train,1,x,3,down\n"
    files = {"nodes.csv": nodes, "edges.csv": "net,source,target\nA,0,1\n"}
    trained(folder, data, files, output="vector")
    (folder / "new").mkdir()
    (folder / "new" / "some.csv").write_text("net,node,zone,age\nB,0,1,4\nB,1,2,5\nC,0,1,1\n")
    lone = error("predict", "run", "--input", "new/some.csv")
    assert "new/edges.csv: no such file; give the edges of new/some.csv by --set edges=FILE" in lone
    (folder / "new" / "edges.csv").write_text("net,source,target\nB,0,1\n")
    first, second = items_of("new/some.csv")
    assert first["nodes"] == {"zone": ["1", "2"], "age": [4.0, 5.0]}
    assert (first["edges"], second["edges"]) == ([[0, 1]], [])
    (folder / "ties.csv").write_text("net,source,target\nB,1,1\n")
    assert items_of("new/some.csv", "--set", "edges=ties.csv")[0]["edges"] == [[1, 1]]
    (folder / "new" / "some.csv").write_text("net,node,zone,age\nB,0,1,old\nB,1,1,2\n")
    assert "some.csv:2: column 'age' has 'old'" in error("predict", "run", "--input", "new/some.csv")
    well("evaluate", "run", "--split", "train", "--data", ".")


def test_recordings_are_read_as_in_training(folder: Path) -> None:
    (folder / "clips").mkdir()
    tone(folder / "clips" / "a.wav")
    data = 'adapter = "speech"\nformat = "recordings"\ntrain = "train.tsv"\naudio = "clips"\n'
    data += 'segments = "segments.csv"'
    files = {"train.tsv": "file\na.wav\n", "segments.csv": "f,from,to,x\na.wav,0,0.2,\na.wav,0.2,0.4,a\n"}
    trained(folder, data, files, output="vector", column="segments")
    (folder / "new").mkdir()
    (folder / "new" / "list.tsv").write_text("file\na.wav\n")
    assert items_of("new/list.tsv") == [str(folder / "clips" / "a.wav")]
    (folder / "new" / "clips").mkdir()
    with pytest.raises(AssertionError, match="no such file"):
        items_of("new/list.tsv")
    assert items_of("new/list.tsv", "--set", "audio=clips") == ["clips/a.wav"]


def test_audio_that_is_not_read(saved: Path, folder: Path) -> None:
    (folder / "a.m4a").write_bytes(b"\0\0\0 ftypM4A \xff\xfe\xfd")
    message = error("predict", str(saved), "--task", "speaker", "--input", "a.m4a")
    assert "a.m4a: is not a text file; expected text or a file of .wav .flac .ogg" in message
    assert "b.m4a: no such file" in error("predict", str(saved), "--task", "speaker", "--input", "b.m4a")


def test_items_of_several_parts(saved: Path, folder: Path) -> None:
    item = {"words": "I saw", "molecule": "CCO"}
    (folder / "items.jsonl").write_text(json.dumps(item) + "\n")
    [found] = predicted(saved, "both", json.dumps(item))
    assert found["names"] == ["words: I", "words: saw", "molecule: C0", "molecule: C1", "molecule: O2"]
    assert predicted(saved, "both", "--input", "items.jsonl") == [found]
    assert 'as in {"NAME OF A PART"' in error("predict", str(saved), "--task", "both", "I saw")


def test_items_or_a_file(saved: Path) -> None:
    assert "give either items or --input FILE" in error("predict", str(saved), "--task", "pos", code=2)
    error("predict", str(saved), "--task", "pos", "a", "--input", "b.txt", code=2)
    assert "nowhere: no such folder" in error("predict", "nowhere", "a")


def test_a_run_that_was_stopped_says_how_to_go_on(folder: Path) -> None:
    (folder / "stopped").mkdir()
    (folder / "stopped/recipe.toml").write_text(TINY)
    (folder / "stopped/run.json").write_text('{"recipe": "tiny", "data": ".", "sources": []}')
    for command in (("predict", "stopped", "--task", "mood", "a"), ("evaluate", "stopped", "--data", ".")):
        assert "if it has stopped, go on with: multiseq train --resume --out" in error(*command)


def test_a_task_alone_needs_no_name(folder: Path) -> None:
    adapter = TextAdapter.fit(["a b"], dim=DIM)
    tasks = {"only": Task("text", SetHead(DIM, ClassTarget(["x", "y"])))}
    save(Model({"text": adapter}, Encoder(DIM, 1, 2), tasks), folder / "one")
    assert well("predict", "one", "a b").split()[0] in ("x", "y")
