"""A kill test: small runs are killed at random moments, gone on with, and compared with one that never was.

    python -m tests.kill --kills 100                 SIGKILL, evaluation and saving included
    python -m tests.kill --sigterm 20                the same with SIGTERM, which saves first
    python -m tests.kill --full-disk 10              files cannot grow any more, from a random moment on
    python -m tests.kill --two 10                    two processes at one folder

Every other run has its temporary folder on another file system than its own. Losses, scores and weights must
be those of the run that was never stopped, to the last digit, and nothing may be left lying about.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = """
[encoder]
dim = 16
depth = 1
heads = 2
relative_bias = true

[training]
steps = 30
max_vectors = 24
save_every = 2
ema_decay = 0.9
evaluate_every = 5

[data.comments]
adapter = "text"
format = "table"
input = "text"
train = "comments.tsv"
dev = "comments.tsv"
test = "comments.tsv"

[tasks.mood]
data = "comments"
output = "set"
target = "class"
column = "mood"
metric = "accuracy"
"""
WORDS = {"good": ["lovely", "quiet", "bright"], "bad": ["broken", "noisy", "dim"]}
OTHER = Path("/dev/shm")
"""Another file system, mostly."""


USED = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "multiseq.adapters.text",
    "multiseq.runs.baselines",
    "multiseq.cli",
    "multiseq.plots",
    "multiseq.runs.run",
    "multiseq.training.loop",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "tomli_w",
    "torchmetrics",
)
"""Modules whose first import would take most of a run's time."""


@dataclass
class Child:
    """A forked process that runs a command line of multiseq."""

    pid: int
    errors: Path
    began: float

    def wait(self) -> int:
        """Its exit code; negative where a signal ended it."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def said(self) -> str:
        """What it wrote to stderr."""
        return self.errors.read_text()


class Runs:
    """Runs in folders of their own, beside one that was never stopped."""

    def __init__(self, folder: Path, seed: int) -> None:
        for module in USED:  # once, before all forks
            importlib.import_module(module)
        self.folder, self.random, self.number = folder, random.Random(seed), 0
        rows = [f"{word} lamp number {i}\t{mood}" for mood in WORDS for i, word in enumerate(WORDS[mood] * 3)]
        (folder / "comments.tsv").write_text("text\tmood\n" + "\n".join(rows) + "\n")
        (folder / "tiny.toml").write_text(RECIPE)
        self.temporary = [folder / "tmp", Path(tempfile.mkdtemp(dir=OTHER if OTHER.is_dir() else None))]
        self.temporary[0].mkdir()
        child = self.start("whole")
        if child.wait():
            raise SystemExit(f"the run that is never stopped failed: {child.said()}")
        self.seconds = time.monotonic() - child.began
        self.expected = outcome(folder / "whole")

    def fresh(self) -> str:
        """The name of a new run."""
        self.number += 1
        return f"run{self.number}"

    def start(self, run: str, *, resume: bool = False, output: str = "") -> Child:
        """Train a run, or go on with it."""
        from multiseq import cli

        errors = self.folder / f"{run}{output}.txt"
        child = os.fork()
        if child:
            return Child(child, errors, time.monotonic())
        code = 1
        try:
            for stream, path in ((1, os.devnull), (2, errors)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            tempfile.tempdir = str(self.temporary[self.number % 2])
            os.chdir(self.folder)
            arguments = ["--resume", "--out", run] if resume else ["tiny.toml", "--out", run]
            cli.app(["train", *arguments], prog_name="multiseq")
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        finally:
            os._exit(code)

    def moment(self, child: Child) -> None:
        """Wait for a random moment of a run."""
        time.sleep(max(0.0, child.began + self.random.uniform(0.0, self.seconds) - time.monotonic()))

    def state(self, run: Path) -> str:
        """How far a run was when it was stopped."""
        there = {path.name for path in run.iterdir()} if run.is_dir() else set()
        if "run.json" not in there:
            return "  before it had begun"
        if any(name.endswith((".new", ".old")) for name in there):
            return "  while a file was written"
        if not {"resume.ckpt", "resume.previous.ckpt"} & there:
            return "  before the first save"
        if "resume.previous.ckpt" in there:
            return "  in training"
        return "  while it was scored" if "test.json" not in there else "  at its end"

    def finish(self, run: str, found: Counter[str]) -> None:
        """Go on with a run to its end, and compare."""
        path = self.folder / run
        begun = (path / "run.json").is_file()
        found[self.state(path)] += 1
        child = self.start(run, resume=begun)
        if code := child.wait():
            raise AssertionError(f"{path}: exit code {code}: {child.said()}")
        if outcome(path) != self.expected:
            raise AssertionError(f"{path}: losses, scores or weights are not those of a run never stopped")
        left = [p for folder in (path, *self.temporary) for p in folder.iterdir()]
        if strange := {p.name for p in left} - FILES:
            raise AssertionError(f"{path}: left lying about: {strange}")
        found["as if never stopped"] += 1
        shutil.rmtree(path)


FILES = {
    "recipe.toml", "run.json", "metrics.csv", "curves.png", "test.json", "test.md", "report.html",
    "model", "resume.ckpt",
}  # fmt: skip


def outcome(run: Path) -> Any:
    """Losses, scores and weights of a run, without times."""
    with (run / "metrics.csv").open() as file:
        log = [row[:-1] for row in csv.reader(file)]
    scores = json.loads((run / "test.json").read_text())["tasks"]
    for entry in scores.values():
        entry.pop("seconds")
    return log, scores, (run / "model" / "model.safetensors").read_bytes()


# --- what happens to a run ------------------------------------------------------------------------


def kill(runs: Runs, found: Counter[str]) -> None:
    """SIGKILL at a random moment; of one run in three, once more while it goes on."""
    run = runs.fresh()
    for again in range(1 + (runs.number % 3 == 0)):
        child = runs.start(run, resume=again > 0 and (runs.folder / run / "run.json").is_file())
        runs.moment(child)
        os.kill(child.pid, signal.SIGKILL)
        found["killed" if child.wait() == -signal.SIGKILL else "over before"] += 1
    runs.finish(run, found)


def terminate(runs: Runs, found: Counter[str]) -> None:
    """SIGTERM at a random moment: it saves, says how to go on, and exits with 143."""
    run = runs.fresh()
    child = runs.start(run)
    runs.moment(child)
    os.kill(child.pid, signal.SIGTERM)
    code = child.wait()
    if code == 143:
        begun = (runs.folder / run / "run.json").is_file()
        if begun and f"go on with: multiseq train --resume --out {run}" not in child.said():
            raise AssertionError(f"{run}: says nothing of how to go on: {child.said()}")
        found["ended with 143"] += 1
        found["saved" if "saved to" in child.said() else "outside of a step"] += 1
    elif code in (0, -signal.SIGTERM):  # over, or not yet at its first line
        found["over before" if code == 0 else "before it began"] += 1
    else:
        raise AssertionError(f"{run}: exit code {code}, expected 143: {child.said()}")
    runs.finish(run, found)


def fill_disk(runs: Runs, found: Counter[str]) -> None:
    """From a random moment on no file can be longer than a random number of bytes."""
    run = runs.fresh()
    child = runs.start(run)
    runs.moment(child)
    size = (runs.folder / "whole" / "resume.ckpt").stat().st_size
    limit = runs.random.choice([1000, size // 3, size - 1])
    with suppress(ProcessLookupError):
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, limit))
    code = child.wait()
    if code == 1:
        said = child.said().strip().splitlines()[-1]
        if f"not written to the folder {(runs.folder / run)}" not in said and run not in said:
            raise AssertionError(f"{run}: does not name the folder: {said}")
        found["refused"] += 1
    elif code == 0:
        found["over before"] += 1
    else:
        raise AssertionError(f"{run}: exit code {code}, expected 1: {child.said()}")
    runs.finish(run, found)


def two(runs: Runs, found: Counter[str]) -> None:
    """Two processes at one folder: one of them trains, the other is told so."""
    run = runs.fresh()
    begun = runs.number % 2 == 0
    if begun:  # both go on with a run that was killed
        child = runs.start(run)
        while not (runs.folder / run / "resume.ckpt").is_file():
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    children = [runs.start(run, resume=begun, output=name) for name in ("a", "b")]
    codes = [child.wait() for child in children]
    if codes == [0, 0] and begun:  # on a busy machine the second begins when the first is done
        found["one after the other"] += 1
    elif sorted(codes) == [0, 1]:
        said = children[codes.index(1)].said()
        if "trains into this folder" not in said and (begun or "holds a run already" not in said):
            raise AssertionError(f"{run}: {said}")
        found["one of two refused"] += 1
    else:
        raise AssertionError(f"{run}: exit codes {codes}, expected 0 and 1: {[c.said() for c in children]}")
    runs.finish(run, found)


KINDS: dict[str, Callable[[Runs, Counter[str]], None]] = {
    "kills": kill,
    "sigterm": terminate,
    "full_disk": fill_disk,
    "two": two,
}
DONE = {
    "kills": "killed",
    "sigterm": "ended with 143",
    "full_disk": "refused",
    "two": "one of two refused",
}
"""What is counted up to the number that was asked for."""


def main() -> None:
    """Print for each kind how many there were, and what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in KINDS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), arguments.seed)
        for name, function in KINDS.items():
            found: Counter[str] = Counter()
            while found[DONE[name]] < getattr(arguments, name):
                function(runs, found)
            if found:
                told = ", ".join(f"{count} {what.strip()}" for what, count in sorted(found.items()))
                print(f"{name}: {told}", flush=True)
        runs.temporary[1].rmdir()


if __name__ == "__main__":
    sys.exit(main())
