"""How well confidence is calibrated, in figures of RESULTS.md.

    python -m benchmarks.accuracy.confidence --data DIR

It trains a small model on each data set, seed 0, and compares the test split with and without calibration on
the dev split: the calibration error (ECE), the negative log-likelihood (NLL) in nats, how many true numbers
their intervals hold, and how well the distance from the training data tells other data from the test split.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from sklearn.metrics import roc_auc_score

from multiseq import Label, Number, calibrate, load
from multiseq.data.readers import read_labelled, read_rdkit_logp, read_recordings, read_table
from multiseq.model import Predictor
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.run import train_run
from multiseq.runs.sources import read_split
from multiseq.training.calibration import calibration_error
from multiseq.training.confidence import forget_calibration
from multiseq.training.evaluation import labelled_results

STARTER = Path(__file__).parents[2] / "multiseq" / "starter"

SST = """
[encoder]
dim = 96
depth = 3
heads = 4

[training]
steps = 300
max_vectors = 1500
ema_decay = 0.98

[data.reviews]
adapter = "text"
format = "labelled"
train = "text_class/SST/stsa.binary.train"
dev = "text_class/SST/stsa.binary.dev"
test = "text_class/SST/stsa.binary.test"

[tasks.sentiment]
data = "reviews"
output = "set"
target = "class"
column = "label"
"""

# Name -> the recipe and its changes, with paths relative to the folder of all data.
RECIPES: dict[str, tuple[str, list[str]]] = {
    "SST": (SST, []),
    "ESOL": (
        "esol",
        [
            "training.steps=400",
            "data.molecules.file=graph_mol/ESOL/delaney.csv",
            "data.molecules.split_file=graph_mol/ESOL/random_splits.json",
        ],
    ),
    "FSDD": (
        "digit-speakers",
        [
            "training.steps=200",
            "encoder.dim=96",
            "data.recordings.dev=0.1",
            "data.recordings.file=speech_speaker/free-spoken-digit-dataset/manifest.tsv",
            "data.recordings.audio=speech_speaker/free-spoken-digit-dataset/recordings_flac.tar",
        ],
    ),
    "starter": ("starter", []),
}


def others(task: str, data: Path) -> dict[str, Sequence[Any]]:
    """Items of other data for the adapter of a task."""
    if task in ("sentiment", "pos"):
        with (STARTER / "translation" / "test.tsv").open(encoding="utf-8", newline="") as file:
            chinese = [row["chinese"] for row in csv.DictReader(file, delimiter="\t")]
        letters = random.Random(0)
        keys = ["".join(letters.choices("asdfqwerzxcvjklö", k=4)) for _ in range(900)]
        questions = read_labelled(data / "text_class" / "qc" / "test.txt", encoding="latin-1").items
        typed = [" ".join(keys[i : i + 3]) for i in range(0, 900, 3)]
        return {"questions (QC)": questions, "Chinese": chinese, "asdf qwer zxcv": typed}
    if task == "solubility":
        drugs = read_table(data / "graph_mol" / "Lipophilicity" / "lipo.csv", input="smiles").items
        starter = read_rdkit_logp(Path("NCI/first_5K.smi")).of_split("test").items
        return {"Lipophilicity": drugs[:500], "starter molecules": starter}
    if task in ("speaker", "digit"):
        yes = sorted((data / "speech_asr" / "yesno").glob("*.flac"))
        clips = read_recordings(
            STARTER / "clips" / "manifest.tsv", input="clip", audio=STARTER / "clips" / "clips.tar"
        )
        return {"yesno": [str(path) for path in yes], "starter clips": clips.of_split("test").items}
    return {}


def figures(pairs: Sequence[tuple[Any, Any]]) -> str:
    """What predictions say about themselves, beside the labels."""
    results = [result for result, _ in pairs]
    if isinstance(results[0], Number):
        if not results[0].intervals:
            return "no intervals"
        [(low, high)] = results[0].intervals.values()
        inside = [n.intervals[k][0] <= v <= n.intervals[k][1] for n, v in pairs for k in n.intervals]
        return f"{sum(inside) / len(inside):.3f} of {len(inside)} within ± {(high - low) / 2:.3g}"
    assert isinstance(results[0], Label)
    right = [result.label == str(label) for result, label in pairs]
    error = calibration_error([result.probability for result in results], right)
    likely = [result.probabilities.get(str(label), 0.0) for result, label in pairs]
    loss = -sum(math.log(max(p, 1e-30)) for p in likely) / len(likely)
    return f"accuracy {sum(right) / len(right):.3f}, ECE {error:.3f}, NLL {loss:.3f}"


def distances(model: Predictor, task: str, items: Sequence[Any]) -> list[float]:
    """The distance of each item from the training data."""
    results = [result[:1] if isinstance(result, list) else [result] for result in model.predict(task, items)]
    return [one.distance for first in results for one in first]


def measure(recipe: Recipe, data: Path, out: Path) -> None:
    """Train a recipe, unless its run is there, and print what calibration does to its tasks."""
    if not (out / "test.json").is_file():
        train_run(recipe, out, data=data, progress=False)
    calibrated, plain = load(out), load(out)
    forget_calibration(plain)
    dev, train = (read_split(recipe, split, data, calibrated) for split in ("dev", "train"))
    for task, what in calibrate(calibrated, dev, sources=train).items():
        print(f"{task}: {what}")
    for source in read_split(recipe, "test", data, calibrated):
        for task in source.targets:
            target = calibrated.task(task).head.target
            if target.kind == "text":
                continue
            print(f"\n{recipe.name}: {task}, temperature {getattr(target, 'temperature', 1.0):.2f}")
            for name, model in (("before", plain), ("after", calibrated)):
                print(f"  {name}: {figures(labelled_results(model, source, {task: {}})[task])}")
            known = distances(calibrated, task, source.items)
            if None in known:
                continue
            print(f"  unlike the training data: {sum(d > 1 for d in known) / len(known):.3f} of test")
            for name, items in others(task, data).items():
                if list(items) == list(source.items):
                    continue
                far = distances(calibrated, task, items)
                area = roc_auc_score([0] * len(known) + [1] * len(far), known + far)
                print(f"    {name}: {sum(d > 1 for d in far) / len(far):.2f} of {len(far)}, AUROC {area:.3f}")


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(RECIPES)}.")] = None,
    data: Annotated[Path, typer.Option(help="The folder of all data.")] = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Keep the runs here, and use those that are here.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Changes of all recipes.")] = None,
) -> None:
    """Measure calibration on the test splits of some data sets."""
    with TemporaryDirectory() as folder:
        for name in names or list(RECIPES):
            text, settings = RECIPES[name]
            file = Path(folder) / f"{name}.toml"
            if "\n" in text:
                file.write_text(text)
            recipe = read(file if "\n" in text else text, [*settings, *(changes or [])])
            measure(recipe, data, (out or Path(folder)) / name)


if __name__ == "__main__":
    typer.run(main)
