"""How many true numbers the 90 % intervals hold, over five random splits of molecules.

    python -m benchmarks.accuracy.coverage --data FOLDER_OF_LIPOPHILICITY --recipe lipophilicity --out FOLDER

Split i has the first 80 % of ``numpy.random.default_rng(i).permutation(rows)`` for training, then 10 % as
dev, from which the intervals come (split conformal prediction, `multiseq.calibrate`), and the rest as test.
The same command goes on after an interruption. With ``--chemprop``, the intervals of chemprop's predictions,
with its defaults and from the same dev molecules by the same formula, are in a second table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import multiseq
from benchmarks.accuracy.beside import Items
from benchmarks.accuracy.chemprop import chemprop, run, write_molecules, write_splits
from multiseq.data.formats import SPLITS
from multiseq.results import Number
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.run import train_run
from multiseq.runs.sources import draw_splits, read_split
from multiseq.training.confidence import COVERAGE, quantile
from multiseq.training.metrics import compute

FOLDS = 5
SPLITTING = ("test", "dev", "scaffold", "split_file", "fold", "split_seed")
"""Keys of the recipe's data that these splits take the place of."""


def splits_of(rows: int, fold: int) -> dict[str, list[int]]:
    """The rows of each split.

    >>> {name: len(rows) for name, rows in splits_of(1128, 0).items()}
    {'train': 902, 'dev': 113, 'test': 113}
    """
    order = np.random.default_rng(fold).permutation(rows).tolist()
    first, second = round(0.8 * rows), round(0.9 * rows)
    return {"train": order[:first], "dev": order[first:second], "test": order[second:]}


def held(results: Sequence[Number], values: Sequence[float]) -> tuple[int, float]:
    """How many intervals hold their true number, and the mean of their widths."""
    intervals = [next(iter(result.intervals.values())) for result in results]
    inside = sum(low <= value <= high for (low, high), value in zip(intervals, values, strict=True))
    return inside, float(np.mean([high - low for low, high in intervals]))


def prepared(name: str, changes: Sequence[str], out: Path, data: Path) -> Recipe:
    """The recipe with the five splits, which are written to ``out``."""
    recipe = read(name, changes)
    [of_data] = recipe.tables["data"].values()
    drawn = draw_splits(recipe, data)
    sources = [source for split in SPLITS for source in read_split(recipe, split, data, splits=drawn)]
    rows = sum(len(source.items) for source in sources)
    for split in drawn.values():
        rows = split.content["rows"]  # with those that cannot be read
    for key in SPLITTING:
        of_data.pop(key, None)
    out.mkdir(parents=True, exist_ok=True)
    splits = [splits_of(rows, fold) for fold in range(FOLDS)]
    (out / "splits.json").write_text(json.dumps({"splits": splits}))
    of_data |= {"split_file": str((out / "splits.json").resolve()), "fold": "all"}
    return recipe


def of_chemprop(command: str, folder: Path, splits: Mapping[str, Items]) -> list[Number]:
    """chemprop's predictions for test, with intervals from its errors on dev."""
    folder.mkdir(exist_ok=True)
    kept = folder / "predictions.json"
    if not kept.exists():
        write_splits(folder / "splits.csv", splits)
        system = chemprop(command, folder)
        run(*system.train)
        files = {name: write_molecules(folder / f"{name}.csv", splits[name][0]) for name in ("dev", "test")}
        kept.write_text(json.dumps({name: system.run_predict(file)[1] for name, file in files.items()}))
    values = json.loads(kept.read_text())
    errors = torch.tensor(values["dev"]) - torch.tensor(splits["dev"][1])
    half = quantile(errors.abs(), COVERAGE)
    assert half is not None, "at least 9 dev molecules"
    return [Number({"value": x}, intervals={"value": (x - half, x + half)}) for x in values["test"]]


def table(folds: Sequence[tuple[Sequence[Number], Sequence[float]]], metric: str) -> str:
    """The predictions and the true numbers of each fold, as rows in Markdown."""
    lines = [f"| fold | test | {metric} | in the 90 % interval | mean width |", "|---|---|---|---|---|"]
    total = inside = 0
    for fold, (results, values) in enumerate(folds):
        num, width = held(results, values)
        total, inside = total + len(values), inside + num
        score = compute(metric, results, values)
        lines.append(f"| {fold} | {len(values):,} | {score:.3f} | {num / len(values):.3f} | {width:.3f} |")
    return "\n".join([*lines, f"| all | {total:,} | | {inside / total:.3f} | |"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--recipe", default="lipophilicity", help="a recipe for one number of a molecule")
    parser.add_argument("--set", action="append", default=[], help="a change of the recipe")
    parser.add_argument("--out", type=Path, required=True, help="folder for the splits and the trained folds")
    parser.add_argument("--chemprop", help="chemprop's command, to print its intervals too")
    given = parser.parse_args()
    recipe = prepared(given.recipe, given.set, given.out, given.data)
    [(task, spec)] = recipe.tasks.items()
    if spec["target"] != "number":
        raise SystemExit(f"{given.recipe}: has target {spec['target']!r}, expected a number")
    runs = given.out / "run"
    train_run(recipe, runs, data=given.data, resume=(runs / "recipe.toml").exists(), progress=False)
    ours, theirs = [], []
    for fold in range(FOLDS):
        of_fold = read(runs / f"fold-{fold}" / "recipe.toml")
        splits: dict[str, Items] = {}
        for split in SPLITS:
            [source] = read_split(of_fold, split, given.data)
            [values] = source.targets.values()
            splits[split] = list(source.items), list(values)
        ours.append(
            (multiseq.load(runs / f"fold-{fold}").predict(task, splits["test"][0]), splits["test"][1])
        )
        if given.chemprop:
            folder = given.out / f"chemprop-{fold}"
            theirs.append((of_chemprop(given.chemprop, folder, splits), splits["test"][1]))
    print(table(ours, recipe.metric(task)))
    if theirs:
        print(f"\nchemprop:\n{table(theirs, recipe.metric(task))}")


if __name__ == "__main__":
    main()
