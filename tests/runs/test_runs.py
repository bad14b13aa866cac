"""Runs as files: what a run's folder says, and that a killed run goes on as if it had not been."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from multiseq.runs.evaluate import evaluate_run
from multiseq.runs.folder import read_run
from multiseq.runs.recipe import read
from multiseq.runs.run import train_run
from multiseq.runs.scoring import SILENCE, markdown, shown, table_rows
from multiseq.system.lock import hold

ROOT = Path(__file__).parents[2]
TINY = """
[encoder]
dim = 16
depth = 1
heads = 2
dropout = 0.1

[training]
steps = 60
max_vectors = 150
save_every = 10
ema_decay = 0.9
evaluate_every = 30

[data.sentences]
adapter = "text"
format = "conllu"
train = "starter:pos/dev.conllu"
dev = "short.conllu"
test = "short.conllu"

[tasks.pos]
data = "sentences"
output = "vector"
target = "class"
column = "upos"
metric = "frame_accuracy"
"""
SHORT = "".join(
    f"{i}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n"
    for i, (word, tag) in enumerate([("She", "PRON"), ("laughed", "VERB"), ("…", "sil")], 1)
)


def recipe_in(folder: Path, text: str = TINY) -> Path:
    (folder / "short.conllu").write_text(SHORT + "\n")
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`multiseq …` in a process of its own, on one thread, so that sums are the same every time."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "multiseq", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background may have been told to ignore Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    recipe_in(folder)
    process = start(folder, "train", "tiny.toml", "--set", "training.lr=5e-3")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "pos: 100 items, about" in output
    assert "multiseq predict runs/tiny --task pos 'She laughed …'" in output
    return folder / "runs" / "tiny"


def log_of(run: Path) -> list[list[str]]:
    """``metrics.csv`` without the column of seconds."""
    with (run / "metrics.csv").open() as file:
        return [row[:-1] for row in csv.reader(file)]


def scores_of(run: Path) -> dict[str, Any]:
    tasks = json.loads((run / "test.json").read_text())["tasks"]
    return {task: {k: v for k, v in entry.items() if k != "seconds"} for task, entry in tasks.items()}


# --- the folder -----------------------------------------------------------------------------------


def test_the_folder_tells_the_story(whole: Path) -> None:
    names = {"recipe.toml", "run.json", "metrics.csv", "curves.png", "test.json", "test.md", "report.html"}
    assert {path.name for path in whole.iterdir()} == {*names, "model", "resume.ckpt"}
    record = json.loads((whole / "run.json").read_text())
    assert record["command"] == "python -m multiseq train tiny.toml --set training.lr=5e-3"
    assert record["recipe"] == "tiny"
    assert record["data"] == str(whole.parents[1])
    [source] = record["sources"]
    assert (source["tasks"], source["items"], len(source["digest"])) == (["pos"], 100, 16)
    assert {"python", "multiseq", "torch", "lightning"} <= set(record["versions"])
    assert {"cpu", "cores", "memory_gib", "gpu"} <= set(record["machine"])
    assert 0 < record["training_seconds"] < record["seconds"]
    assert 100 < record["peak_memory_mib"] < 4096
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_recipe_as_run_has_the_changes(whole: Path) -> None:
    found = read_run(whole)
    assert found.tables["training"]["lr"] == 5e-3
    assert found.name == "tiny"
    expected = read(whole.parents[1] / "tiny.toml", ["training.lr=5e-3"])
    assert found.tables == expected.tables


def test_losses_and_dev_scores_are_logged(whole: Path) -> None:
    header, *rows = log_of(whole)
    assert header == ["step", "split", "task", "metric", "value", "lr"]
    assert [int(r[0]) for r in rows if r[1:3] == ["train", "pos"]] == list(range(60))
    for name in ("pos", "monitor"):
        assert [int(r[0]) for r in rows if r[1:3] == ["dev", name]] == [29, 59]


def test_the_scores_are_what_evaluate_says(whole: Path) -> None:
    scores = scores_of(whole)
    assert set(scores["pos"]) == {
        "cell", "metric", "value", "baseline", "num_items", "split",
        "value_without_silence", "baseline_without_silence",
    }  # fmt: skip
    again = evaluate_run(whole)
    again["pos"].pop("seconds")
    assert again == scores
    assert (scores["pos"]["cell"], scores["pos"]["num_items"]) == ("text/vector", 3)
    assert scores["pos"]["baseline"] == pytest.approx(1 / 3)  # of "She", "laughed" and "…"
    assert scores["pos"]["baseline_without_silence"] == 0.5


def test_other_parts_and_other_data(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_run(whole, split="train")["pos"]["num_items"] == 835
    there = rf"relative to {re.escape(str(tmp_path))}; give another folder of the files with --data$"
    with pytest.raises(ValueError, match=rf"short\.conllu: no such file; paths of data are {there}"):
        evaluate_run(whole, data=tmp_path)
    recipe_in(tmp_path)
    (tmp_path / "short.conllu").write_text(SHORT.replace("laughed", "left") * 1 + "\n")
    assert evaluate_run(whole, data=tmp_path)["pos"]["num_items"] == 3
    assert not capsys.readouterr().out


def test_a_run_needs_no_training_data_to_be_scored(tmp_path: Path) -> None:
    recipe = read(recipe_in(tmp_path, TINY.replace("starter:pos/dev.conllu", "short.conllu")))
    recipe.tables["training"] |= {"steps": 2, "evaluate_every": 0}
    train_run(recipe, tmp_path / "run", progress=False, say=lambda line: None)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "test.conllu").write_text(SHORT + "\n")
    text = (tmp_path / "run" / "recipe.toml").read_text()
    text = text.replace('test = "short.conllu"', 'test = "test.conllu"')
    (tmp_path / "run" / "recipe.toml").write_text(text)
    lines: list[str] = []
    entry = evaluate_run(tmp_path / "run", data=alone, say=lines.append)["pos"]
    assert entry["baseline"] is None
    assert "baseline_without_silence" not in entry
    assert "no baselines, because the training data cannot be used" in lines[0]
    assert [row[3] for row in table_rows({"pos": entry})] == ["–", "–"]


# --- stopping and going on ------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    whole: Path, tmp_path: Path, how: signal.Signals
) -> None:
    recipe_in(tmp_path)
    process = start(tmp_path, "train", "tiny.toml", "--set", "training.lr=5e-3")
    run = tmp_path / "runs" / "tiny"
    deadline = time.monotonic() + 120
    while not (run / "resume.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    _, errors = process.communicate(timeout=120)
    assert not (run / "test.json").exists(), "the run was over before it could be stopped"
    command = ["train", "--resume", "--out", "runs/tiny"]
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        assert (
            errors.splitlines()[-1] == f"multiseq: stopped; go on with: {shlex.join(['multiseq', *command])}"
        )
        assert "Traceback" not in errors
    else:
        assert process.returncode == -signal.SIGKILL
    resumed = start(tmp_path, *command)
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    assert log_of(run) == log_of(whole)
    assert scores_of(run) == scores_of(whole)
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (run, whole)]
    assert weights[0] == weights[1]
    record = json.loads((run / "run.json").read_text())
    assert len(record["resumed"]) == 1
    assert record["command"] == "python -m multiseq train tiny.toml --set training.lr=5e-3"


def test_a_run_stopped_before_its_first_resume_file_begins_again(tmp_path: Path) -> None:
    recipe = read(recipe_in(tmp_path), ["training.steps=2", "training.evaluate_every=0"])
    train_run(recipe, tmp_path / "run", progress=False, say=lambda line: None)
    before = log_of(tmp_path / "run")
    for name in ("resume.ckpt", "test.json"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    train_run(recipe, tmp_path / "run", resume=True, progress=False, say=lambda line: None)
    assert log_of(tmp_path / "run") == before


def test_a_finished_run_is_left_as_it_is(whole: Path) -> None:
    stamp = (whole / "run.json").stat().st_mtime_ns
    lines: list[str] = []
    report = train_run(read_run(whole), whole, resume=True, say=lines.append)
    assert lines == [f"{whole}: this run is finished"]
    assert report["pos"]["num_items"] == 3
    assert (whole / "run.json").stat().st_mtime_ns == stamp


# --- mistakes -------------------------------------------------------------------------------------


def test_a_misspelled_option_is_named_before_the_folder_that_holds_a_run(whole: Path) -> None:
    recipe = read_run(whole)
    recipe.tables["training"]["step"] = 3
    with pytest.raises(ValueError, match=r"^tiny: \[training\]: no key 'step' \(did you mean 'steps'\?\)"):
        train_run(recipe, whole)


def test_nothing_is_overwritten(whole: Path, tmp_path: Path) -> None:
    recipe = read_run(whole)
    with pytest.raises(ValueError, match=r"holds a run already; choose another folder with --out, or go on"):
        train_run(recipe, whole)
    (tmp_path / "thesis.txt").write_text("…")
    with pytest.raises(ValueError, match=r"exists and is not a run; choose another folder"):
        train_run(recipe, tmp_path)
    with pytest.raises(ValueError, match=r"exists and is not a run"):
        train_run(recipe, tmp_path / "thesis.txt")
    with pytest.raises(ValueError, match=r"is not there; expected a folder that `multiseq train` wrote"):
        train_run(recipe, tmp_path / "new", resume=True)


def test_a_resumed_run_keeps_its_recipe_and_its_data(whole: Path, tmp_path: Path) -> None:
    other = read(whole.parents[1] / "tiny.toml")
    with pytest.raises(ValueError, match=r"its run has another recipe than the one given"):
        train_run(other, whole, resume=True)
    recipe = read(recipe_in(tmp_path), ["training.steps=2", "training.evaluate_every=0"])
    run = tmp_path / "run"
    train_run(recipe, run, progress=False, say=lambda line: None)
    (run / "test.json").unlink()
    record = json.loads((run / "run.json").read_text())
    record["sources"][0]["items"] = 99
    (run / "run.json").write_text(json.dumps(record))
    message = r"the data is not what this run began with \(training split: then .*'items': 99"
    with pytest.raises(ValueError, match=message):
        train_run(recipe, run, resume=True, say=lambda line: None)


def test_a_resumed_run_notices_other_data_of_the_same_size(tmp_path: Path) -> None:
    text = TINY.replace("starter:pos/dev.conllu", "train.conllu")
    (tmp_path / "train.conllu").write_text(SHORT + "\n")
    recipe = read(recipe_in(tmp_path, text), ["training.steps=2", "training.evaluate_every=0"])
    run, moved = tmp_path / "run", tmp_path / "moved"
    train_run(recipe, run, progress=False, say=lambda line: None)
    (run / "test.json").unlink()
    moved.mkdir()
    recipe_in(moved, text)
    (moved / "train.conllu").write_text(SHORT + "\n")
    train_run(recipe, run, data=moved, resume=True, progress=False, say=lambda line: None)
    (run / "test.json").unlink()
    (moved / "train.conllu").write_text(SHORT.replace("VERB", "NOUN") + "\n")
    with pytest.raises(ValueError, match=r"the data is not what this run began with"):
        train_run(recipe, run, data=moved, resume=True, say=lambda line: None)


@pytest.mark.parametrize("part", ["dev", "test"])
def test_a_resumed_run_notices_other_dev_and_test_files(tmp_path: Path, part: str) -> None:
    text = TINY.replace("starter:pos/dev.conllu", "short.conllu")
    text = text.replace(f'{part} = "short.conllu"', f'{part} = "{part}.conllu"')
    (tmp_path / f"{part}.conllu").write_text(SHORT + "\n")
    recipe = read(recipe_in(tmp_path, text), ["training.steps=2", "training.evaluate_every=1"])
    run = tmp_path / "run"
    train_run(recipe, run, progress=False, say=lambda line: None)
    (run / "test.json").unlink()
    (tmp_path / f"{part}.conllu").write_text(SHORT.replace("VERB", "NOUN") + "\n")
    with pytest.raises(ValueError, match=rf"not what this run began with \({part} split: then .*digest"):
        train_run(recipe, run, resume=True, say=lambda line: None)


def test_a_resumed_run_notices_recordings_that_changed(tmp_path: Path) -> None:
    """In size and time of change they are what they were."""
    import numpy as np
    import soundfile

    for name, pitch in (("a", 200), ("b", 300)):
        samples = np.sin(np.arange(4001) * pitch / 8000 * 2 * np.pi) / 2
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
    (tmp_path / "table.csv").write_text("path,tone\na.wav,low\nb.wav,high\n")
    (tmp_path / "tiny.toml").write_text(TONES)
    recipe, run = read(tmp_path / "tiny.toml"), tmp_path / "run"
    train_run(recipe, run, progress=False, say=lambda line: None)
    (run / "test.json").unlink()
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path, moved, ignore=shutil.ignore_patterns("run"))
    train_run(recipe, run, data=moved, resume=True, progress=False, say=lambda line: None)
    (run / "test.json").unlink()
    path = moved / "a.wav"
    status, changed = path.stat(), bytearray(path.read_bytes())
    changed[5001] ^= 1
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ValueError, match=r"the data is not what this run began with \(training split"):
        train_run(recipe, run, data=moved, resume=True, say=lambda line: None)


TONES = """
[encoder]
dim = 16
depth = 1
heads = 2

[training]
steps = 2
max_vectors = 60

[data.tones]
adapter = "speech"
format = "table"
input = "path"
train = "table.csv"
test = "table.csv"

[tasks.tone]
data = "tones"
output = "set"
target = "class"
column = "tone"
"""


def test_a_lost_resume_file_is_not_taken_for_a_run_without_one(tmp_path: Path) -> None:
    recipe = read(
        recipe_in(tmp_path, TINY.replace("starter:pos/dev.conllu", "short.conllu")),
        ["training.steps=4", "training.evaluate_every=0", "training.save_every=2"],
    )
    run = tmp_path / "run"
    train_run(recipe, run, progress=False, say=lambda line: None)
    for name in ("resume.ckpt", "test.json"):
        (run / name).unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    message = r"resume\.ckpt: missing, although this run reached step 3; put it back, or start a new run"
    with pytest.raises(ValueError, match=message):
        train_run(recipe, run, resume=True, say=lambda line: None)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_two_trainings_into_one_folder(tmp_path: Path) -> None:
    recipe = read(recipe_in(tmp_path), ["training.steps=2", "training.evaluate_every=0"])
    run = tmp_path / "run"
    with hold(run):
        thread = threading.Thread(target=_train_into, args=(recipe, run, messages := []))
        thread.start()
        thread.join()
    assert len(messages) == 1
    assert f"process {os.getpid()} trains into this folder; wait for it" in messages[0]
    assert not run.exists()


def _train_into(recipe: Any, run: Path, messages: list[str]) -> None:
    try:
        train_run(recipe, run, progress=False, say=lambda line: None)
    except ValueError as error:
        messages.append(str(error))


def test_data_that_is_named_in_full_needs_no_folder(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    text = TINY.replace('"short.conllu"', '"starter:pos/test.conllu"')
    recipe = read(recipe_in(here, text), ["training.steps=2", "training.evaluate_every=0"])
    train_run(recipe, tmp_path / "run", progress=False, say=lambda line: None)
    here.rename(tmp_path / "gone")
    assert evaluate_run(tmp_path / "run")["pos"]["num_items"] > 0
    with pytest.raises(ValueError, match=r"nowhere: no such folder; say where the data is with --data"):
        evaluate_run(tmp_path / "run", data=tmp_path / "nowhere")
    path = tmp_path / "run" / "recipe.toml"
    path.write_text(path.read_text().replace('test = "starter:pos/test.conllu"', 'test = "short.conllu"'))
    with pytest.raises(ValueError, match=r"here: no such folder; say where the data is with --data"):
        evaluate_run(tmp_path / "run")


def test_folders_that_are_no_runs_or_no_data(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: is not there; expected"):
        evaluate_run(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"is not a run \(no recipe\.toml and run\.json in it\)"):
        evaluate_run(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere: no such folder; say where the data is with --data"):
        evaluate_run(whole, data=tmp_path / "nowhere")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_text("")
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: damaged"):
        read_run(run)
    for damaged in ("[]", '{"data": "/", "sources": []}'):
        (run / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"run\.json: damaged: expected an object with .*recipe"):
            read_run(run)


def test_scores_on_a_dev_part_need_one(tmp_path: Path) -> None:
    text = TINY.replace('dev = "short.conllu"\n', "")
    with pytest.raises(ValueError, match=r"tiny: evaluate_every needs data with a dev split, and none has"):
        train_run(read(recipe_in(tmp_path, text)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


MOLECULES = """
[encoder]
dim = 8
depth = 1
heads = 2

[training]
steps = 100000

[data.drugs]
adapter = "graph"
format = "table"
input = "smiles"
train = "train.csv"
test = "test.csv"

[tasks.kind]
data = "drugs"
output = "set"
target = "class"
column = "kind"
"""


def molecules_in(folder: Path, test: str, changes: list[str]) -> Any:
    (folder / "train.csv").write_text("smiles,kind\nCCO,a\nCC,b\nC,c\n")
    (folder / "test.csv").write_text(test)
    (folder / "tiny.toml").write_text(MOLECULES)
    return read(folder / "tiny.toml", changes)


@pytest.mark.parametrize("part", ["test", "dev"])
def test_a_bad_item_is_found_before_training(tmp_path: Path, part: str) -> None:
    changes = ['data.drugs.dev="test.csv"', "training.evaluate_every=5"] if part == "dev" else []
    recipe = molecules_in(tmp_path, "smiles,kind\nCCO,a\nC(C,b\n", changes)
    if part == "dev":
        recipe.tables["data"]["drugs"]["test"] = "train.csv"
    with pytest.raises(ValueError, match=r"test\.csv:3: molecule: got 'C\(C', which RDKit cannot read"):
        train_run(recipe, tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_labels_that_do_not_fit_are_found_before_training(tmp_path: Path) -> None:
    text = TINY.replace("conllu", "jsonl").replace("starter:pos/dev", "train").replace("upos", "tags")
    path = recipe_in(tmp_path, text)
    (tmp_path / "train.jsonl").write_text('{"text": ["a", "b"], "tags": ["X", "Y"]}\n')
    (tmp_path / "short.jsonl").write_text('\n{"text": ["a", "b"], "tags": ["X"]}\n')
    with pytest.raises(ValueError, match=r"short\.jsonl:2: labels: got 1 labels"):
        train_run(read(path), tmp_path / "run", say=lambda line: None)


def test_a_metric_that_cannot_judge_the_labels_is_found_before_training(tmp_path: Path) -> None:
    recipe = molecules_in(tmp_path, "smiles,kind\nCCO,a\n", ["tasks.kind.metric=roc_auc"])
    with pytest.raises(ValueError, match=r"tiny: \[tasks\.kind\] metric: got 'roc_auc' for 3 classes"):
        train_run(recipe, tmp_path / "run", say=lambda line: None)


def test_one_of_several_right_texts_is_enough(tmp_path: Path) -> None:
    text = TINY.replace("conllu", "jsonl").replace("starter:pos/dev", "train").replace("upos", "answer")
    text = (
        text.replace('"vector"', '"sequence"')
        .replace("class", "text")
        .replace("frame_accuracy", "exact_match")
    )
    (tmp_path / "train.jsonl").write_text('{"text": "a b", "answer": "c"}\n')
    (tmp_path / "short.jsonl").write_text('{"text": "a b", "answer": ["c", "d"]}\n')
    (tmp_path / "tiny.toml").write_text(text)
    report = train_run(read(tmp_path / "tiny.toml"), tmp_path / "run", say=lambda line: None)
    assert report["pos"]["baseline"] == 1.0  # of several right texts it copies one


def test_more_devices_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    def refuse(*_: Any, **__: Any) -> None:
        raise MisconfigurationException("You requested gpu: [0, 1], but your machine only has: [0]")

    monkeypatch.setattr("lightning.Trainer", refuse)
    recipe = read(recipe_in(tmp_path))
    with pytest.raises(ValueError, match=r"your machine only has: \[0\]"):
        train_run(recipe, tmp_path / "run", devices=2, say=lambda line: None)


def test_a_run_that_never_began_is_no_obstacle(tmp_path: Path) -> None:
    path = recipe_in(tmp_path)
    with pytest.raises(ValueError, match=r"steps: got 0, expected 1 or more"):
        train_run(read(path, ["training.steps=0"]), tmp_path / "run", say=lambda line: None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.toml.0123.new").write_text("[enc")  # killed while it wrote
    change = ["training.steps=2", "training.evaluate_every=0"]
    assert train_run(read(path, change), tmp_path / "run", progress=False, say=lambda line: None)


# --- the curves and the table ---------------------------------------------------------------------

ENTRY = {
    "cell": "speech/vector", "metric": "frame_accuracy", "value": 0.75, "baseline": 0.5, "seconds": 1.26,
    "value_without_silence": 0.7, "baseline_without_silence": None, "num_items": 9, "split": "test",
}  # fmt: skip


def test_the_table_shows_frames_without_silence_apart() -> None:
    assert {"sil", "h#", "pau", "epi", "sp"} == SILENCE
    assert markdown({"phones": ENTRY}).splitlines() == [
        "| task | cell | metric | baseline | ours | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
        "| phones | speech/vector | frame accuracy | 0.500 | 0.750 | 1.3 |",
        "|  |  | … without silence | – | 0.700 |  |",
        "",
        "Scores on the test split.",
    ]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.5, "0.500"),
        ("bleu", 27.35, "27.4"),
        ("rmse", 123.456, "123.5"),
        ("r2", -0.25, "-0.250"),
    ],
)
def test_values_as_people_read_them(metric: str, value: float, text: str) -> None:
    assert shown(metric, value) == text
