"""chemprop beside ours, as whole commands: the score, seconds, memory, molecules a second.

    python -m venv CHEMPROP && CHEMPROP/bin/pip install chemprop==2.3.1
    python -m benchmarks.accuracy.chemprop --data FOLDER_OF_ESOL --chemprop CHEMPROP/bin/chemprop
    python -m benchmarks.accuracy.chemprop --data FOLDER_OF_LIPOPHILICITY --chemprop … --recipe lipophilicity

chemprop (Heid and others 2024, https://doi.org/10.1021/acs.jcim.3c01250) trains with its defaults, on the
split of the recipe, whose task is one number or the classes 0 and 1. ``--ensemble 5`` is five models on both
sides; ``--epochs`` gives chemprop another number of epochs, for example what it has time for while ours is
trained. It lives in an environment of its own, because it needs another RDKit. Both predict the molecules of
the data set, repeated to ``--molecules``; the time for a few molecules, which is that of starting, is taken
off the time for all.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory, TemporaryFile
from typing import Any, Literal

from benchmarks.accuracy.beside import Items, Plan
from multiseq.results import Label, Number
from multiseq.runs.recipe import read
from multiseq.training.metrics import compute

__all__ = ["Command", "System", "chemprop", "compare", "multiseq", "write_molecules", "write_splits"]

TASK_TYPES = {"number": "regression", "class": "classification"}
"""A target of ours -> what chemprop calls it."""

FEW = 10
"""Molecules of the prediction that tells how long starting takes."""


@dataclass(frozen=True)
class Command:
    """What a command took: seconds by the clock, seconds of the processor, and peak memory in MiB."""

    seconds: float
    processor: float
    mib: float


LAUNCH = """\
import json, os, resource, subprocess, sys, time

def tree(of):
    found = [of]
    for task in os.listdir(f"/proc/{of}/task"):
        for child in open(f"/proc/{of}/task/{task}/children").read().split():
            found += tree(int(child))
    return found

def shares():
    total = 0
    for one in tree(process.pid):
        lines = open(f"/proc/{one}/smaps_rollup").read().split("\\n")
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024

began, most = time.perf_counter(), 0
process = subprocess.Popen(sys.argv[2:])
while process.poll() is None:
    try:
        most = max(most, shares())
    except (OSError, StopIteration):  # one of them has just ended
        pass
    time.sleep(min(0.2, 0.01 + (time.perf_counter() - began) / 10))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
found = process.returncode, time.perf_counter() - began, used.ru_utime + used.ru_stime, most
json.dump(found, open(sys.argv[1], "w"))
"""
"""A small program that runs another. Memory is the sum over its processes, five times a second or more; what
several of them share counts once (proportional set size)."""


def run(*command: str | Path) -> Command:
    """Run a command to its end.

    Raises:
        RuntimeError: It failed; the message has the end of what it printed.
    """
    with NamedTemporaryFile() as taken, TemporaryFile() as out:
        launcher = [sys.executable, "-c", LAUNCH, taken.name, *map(str, command)]
        subprocess.run(launcher, stdout=out, stderr=subprocess.STDOUT, check=True)
        code, *figures = json.load(taken)
        if code:
            out.seek(0)
            printed = out.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, command))}: {printed[-2000:]}")
        return Command(*figures)


def write_splits(path: Path, splits: Mapping[str, Items]) -> None:
    """A table for chemprop, with columns smiles, value and split (train, val, test)."""
    names = {"train": "train", "dev": "val", "test": "test"}
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["smiles", "value", "split"])
        for split, (molecules, values) in splits.items():
            rows.writerows(
                [molecule, value, names[split]] for molecule, value in zip(molecules, values, strict=True)
            )


def write_molecules(path: Path, molecules: Sequence[str]) -> Path:
    """A table with the column smiles. Returns its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["smiles"], *([molecule] for molecule in molecules)])
    return path


@dataclass(frozen=True)
class System:
    """Commands of one system: to train, and to predict, whose options ``files`` are for its two files."""

    name: str
    train: Sequence[str | Path]
    predict: Sequence[str | Path]
    files: tuple[str, str]
    value: Callable[[Mapping[str, str]], float]

    def run_predict(self, molecules: Path) -> tuple[Command, list[float]]:
        """Predict a file: what the command took, and a number of each row, or its probability of class 1."""
        out = molecules.with_suffix(f".{self.name}.csv")
        taken = run(*self.predict, self.files[0], molecules, self.files[1], out)
        with out.open(encoding="utf-8", newline="") as file:
            return taken, [self.value(row) for row in csv.DictReader(file)]


def chemprop(
    command: str | Path,
    folder: Path,
    ensemble: int = 1,
    kind: Literal["number", "class"] = "number",
    epochs: int | None = None,
) -> System:
    """chemprop with its defaults, on the table of `write_splits`, ``folder/splits.csv``."""
    table = ("--data-path", folder / "splits.csv", "--splits-column", "split", "--target-columns", "value")
    smiles = ("--smiles-columns", "smiles")
    fitted = ["--task-type", TASK_TYPES[kind], "--ensemble-size", str(ensemble)]
    if epochs is not None:
        fitted += ["--epochs", str(epochs)]
    return System(
        "chemprop",
        (command, "train", *table, *smiles, *fitted, "--save-dir", folder / "theirs"),
        (command, "predict", *smiles, "--model-paths", folder / "theirs"),
        ("--test-path", "--preds-path"),
        lambda row: float(row["value"]),
    )


def multiseq(plan: Plan, folder: Path, classes: Sequence[str]) -> System:
    """Ours, with two classes or none."""
    command = (sys.executable, "-m", "multiseq")
    changes = [part for change in plan.changes for part in ("--set", change)]

    def share(row: Mapping[str, str]) -> float:
        probability = float(row["confidence"])
        return probability if row["prediction"] == classes[1] else 1 - probability

    return System(
        "multiseq",
        (*command, "train", plan.recipe, "--data", plan.data, "--out", folder / "ours", *changes),
        (*command, "predict", folder / "ours", "--column", "smiles"),
        ("--input", "--output"),
        share if classes else lambda row: float(row["prediction"]),
    )


def score(metric: str, values: Sequence[float], wanted: Sequence[Any], classes: Sequence[str]) -> float:
    """The score of numbers, or of probabilities of the second class."""
    if not classes:
        return compute(metric, [Number({"value": value}) for value in values], wanted)
    first, second = classes
    shares = [{first: 1 - value, second: value} for value in values]
    return compute(
        metric, [Label(max(row, key=row.__getitem__), max(row.values()), row) for row in shares], wanted
    )


def compare(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Train both, score test, and predict many molecules. A row of the table for each."""
    several = [f"training.ensemble={given.ensemble}"] if given.ensemble > 1 else []
    plan = Plan(given.recipe, given.data, False, [*given.set, *several])
    recipe = read(plan.recipe, plan.changes)
    [(task, spec)] = recipe.tasks.items()
    kind = spec["target"]
    if kind not in TASK_TYPES:
        raise SystemExit(f"{plan.recipe}: has target {kind!r}, expected a number or a class")
    splits = {split: plan.items(split) for split in ("train", "dev", "test")}
    metric, wanted = recipe.metric(task), splits["test"][1]
    classes = sorted({str(label) for label in splits["train"][1]}) if kind == "class" else []
    if classes and classes != ["0", "1"]:
        raise SystemExit(
            f"{plan.recipe}: has the classes {classes}, expected 0 and 1, as chemprop needs them"
        )
    every = [molecule for molecules, _ in splits.values() for molecule in molecules]
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_splits(folder / "splits.csv", splits)
        test = write_molecules(folder / "test.csv", splits["test"][0])
        few = write_molecules(folder / "few.csv", every[:FEW])
        many = write_molecules(folder / "many.csv", list(islice(cycle(every), given.molecules)))
        for system in (
            multiseq(plan, folder, classes),
            chemprop(given.chemprop, folder, given.ensemble, kind, given.epochs),
        ):
            trained = run(*system.train)
            _, values = system.run_predict(test)
            start, _ = system.run_predict(few)
            whole, _ = system.run_predict(many)
            rows.append(
                {
                    "system": system.name,
                    metric: round(score(metric, values, wanted, classes), 4),
                    "training, s": round(trained.seconds),
                    "of the processor": round(trained.processor),
                    "MiB": round(trained.mib),
                    f"predicting {given.molecules:,}, s": round(whole.seconds, 1),
                    "of it starting, s": round(start.seconds, 1),
                    "molecules a second": round((given.molecules - FEW) / (whole.seconds - start.seconds)),
                    "MiB then": round(whole.mib),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--chemprop", type=Path, default=Path("chemprop"), help="chemprop's command")
    parser.add_argument("--recipe", default="esol", help="ours (default: esol)")
    parser.add_argument("--set", action="append", default=[], help="a change of our recipe")
    parser.add_argument("--ensemble", type=int, default=1, help="models on both sides (default: 1)")
    parser.add_argument("--epochs", type=int, help="of chemprop (default: its own)")
    parser.add_argument("--molecules", type=int, default=20_000, help="how many are predicted")
    given = parser.parse_args()
    if given.molecules < 100 * FEW:
        parser.error(f"--molecules: got {given.molecules}, expected {100 * FEW} or more")
    rows = compare(given)
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


if __name__ == "__main__":
    main()
