"""Learning curves: few and all labelled sentences, from scratch and from a pretrained model.

    python -m benchmarks.accuracy.minilm MODEL
    python -m benchmarks.accuracy.learning_curves --sst FOLDER_OF_SST --ewt FOLDER_OF_ENGLISH_EWT \\
        --start MODEL --out FOLDER
    python -m tools.whisper_tiny MODEL
    python -m benchmarks.accuracy.learning_curves --timit FOLDER_OF_TIMIT --start MODEL --numbers 10 40 \\
        --out FOLDER

The score is that of the whole test split. A training with all sentences follows the recipe, with dev. For
fewer, each seed draws other sentences; there is no dev, and the number of steps follows from the data, as for
a user who has no more labels. FOLDER gets each score (`curves.csv`), the table of means and standard
deviations (`curves.md`) and a picture.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import torch

from benchmarks.accuracy.beside import ours_on
from multiseq.runs.recipe import read
from multiseq.runs.sources import read_split
from multiseq.tasks import Source

BENCHMARKS = Path(__file__).parents[1]
NUMBERS = (50, 200, 1000)


@dataclass(frozen=True)
class Curve:
    """What is learned, and from which recipes.

    Args:
        data: What it is.
        scratch: The recipe from scratch.
        pretrained: That from a pretrained model.
        model: The name of this model.
        start: The key of the recipe that names its folder.
    """

    data: str
    scratch: str
    pretrained: str
    model: str = "MiniLM"
    start: str = "encoder.start"


CURVES = {
    "sst": Curve("SST-2, sentiment of a sentence", "sst2", "accuracy/sst2-minilm.toml"),
    "ewt": Curve("English-EWT, parts of speech", "english-pos", "accuracy/english-pos-minilm.toml"),
    "timit": Curve(
        "TIMIT, sounds every 10 ms", "timit", "speech/timit-whisper.toml", "Whisper", "adapters.speech.start"
    ),
}
"""Option of the data's folder -> the curve."""


@dataclass(frozen=True)
class Point:
    """One training.

    Args:
        data: What was learned.
        start: "scratch", or the pretrained model.
        sentences: Number of labelled sentences in training.
        seed: Chooses the sentences and the order.
        accuracy: On test.
        seconds: Of building, training and scoring, by the clock.
    """

    data: str
    start: str
    sentences: int
    seed: int
    accuracy: float
    seconds: float


def chosen(source: Source, num: int, seed: int) -> Source:
    """``num`` items of a source, drawn by the seed."""
    drawn = torch.randperm(len(source.items), generator=torch.Generator().manual_seed(seed))[:num].tolist()
    targets = {task: [labels[i] for i in drawn] for task, labels in source.targets.items()}
    return Source(source.adapter_name, [source.items[i] for i in drawn], targets)


def points(
    data: str, start: str, recipe_name: str, folder: Path, changes: list[str], seeds: int, numbers: list[int]
) -> Iterable[Point]:
    """Train with each number of sentences; all of them once, fewer with each seed."""
    splits = {
        split: read_split(read(recipe_name, changes), split, folder) for split in ("train", "dev", "test")
    }
    [whole] = splits["train"]
    fewer = [num for num in numbers if num < len(whole.items)]
    for num in (*fewer, len(whole.items)):
        is_whole = num == len(whole.items)
        for seed in range(1 if is_whole else seeds):
            recipe = read(recipe_name, [*changes, f"training.seed={seed}"])
            began = time.perf_counter()
            if is_whole:
                accuracy = ours_on(recipe, splits)
            else:
                few = {"train": [chosen(whole, num, seed)], "dev": [], "test": splits["test"]}
                accuracy = ours_on(
                    recipe,
                    few,
                    lambda settings: replace(
                        settings, steps=None, max_vectors=None, ema_decay=None, evaluate_every=0
                    ),
                )
            yield Point(data, start, num, seed, accuracy, time.perf_counter() - began)


def means(found: Iterable[Point]) -> dict[tuple[str, str], dict[int, tuple[float, float]]]:
    """Data and start -> number of sentences -> mean and standard deviation of the accuracy."""
    lists: dict[tuple[str, str], dict[int, list[float]]] = {}
    for point in found:
        lists.setdefault((point.data, point.start), {}).setdefault(point.sentences, []).append(point.accuracy)
    return {
        curve: {
            num: (statistics.mean(s), statistics.stdev(s) if len(s) > 1 else 0.0)
            for num, s in sorted(at.items())
        }
        for curve, at in lists.items()
    }


def table(found: Iterable[Point]) -> str:
    """The curves in Markdown: a row for each, a column for each number of sentences; the last is all."""
    lines: list[str] = []
    for (data, start), at in means(found).items():
        if not lines:
            *few, _ = at
            names = [*(f"{num:,}" for num in few), "all"]
            lines = [f"| data | start | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
        cells = [f"{mean:.3f}" + (f" ± {spread:.3f}" if spread else "") for mean, spread in at.values()]
        lines.append(f"| {data} | {start} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: Iterable[Point], path: Path) -> None:
    """A picture of the curves: one panel for each data set."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    curves = means(found)
    panels = list(dict.fromkeys(data for data, _ in curves))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.4), squeeze=False)
    looks: tuple[Mapping[str, str], ...] = (
        {"color": "#1f5fa8", "linestyle": "-", "marker": "o"},
        {"color": "#888888", "linestyle": "--", "marker": "s"},
    )
    for (data, start), at in curves.items():
        axis = axes[0][panels.index(data)]
        middles, spreads = zip(*at.values(), strict=True)
        axis.errorbar(
            list(at), middles, spreads, label=f"from {start}", capsize=3, **looks[start == "scratch"]
        )
        axis.set_xscale("log")
        axis.set_xticks(list(at), [f"{num:,}" for num in at])
        axis.minorticks_off()
        axis.set_title(data, fontsize=10)
        axis.set_xlabel("labelled sentences in training")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("accuracy on test")
    for axis in axes[0]:
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, curve in CURVES.items():
        about = f"folder of the data set: {curve.data}"
        parser.add_argument(f"--{option}", type=Path, help=f"{about}; the start is {curve.model}")
    parser.add_argument("--start", required=True, help="folder of the pretrained model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the curves")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings with each number but all (default: 3)"
    )
    parser.add_argument("--numbers", type=int, nargs="+", default=list(NUMBERS))
    parser.add_argument("--set", action="append", default=[], help="a change of every recipe")
    given = parser.parse_args()
    if not any(getattr(given, option) for option in CURVES):
        parser.error(f"give the folder of a data set: --{', --'.join(CURVES)}")
    given.out.mkdir(parents=True, exist_ok=True)
    found: list[Point] = []
    with (given.out / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Point))
        for option, curve in CURVES.items():
            if (folder := getattr(given, option)) is None:
                continue
            for start, recipe, changes in (
                ("scratch", curve.scratch, []),
                (curve.model, str(BENCHMARKS / curve.pretrained), [f"{curve.start}={given.start}"]),
            ):
                changes += given.set
                for point in points(curve.data, start, recipe, folder, changes, given.seeds, given.numbers):
                    found.append(point)
                    writer.writerow(astuple(replace(point, seconds=round(point.seconds))))
                    file.flush()
    (given.out / "curves.md").write_text(table(found) + "\n", encoding="utf-8")
    draw(found, given.out / "curves.png")
    print(table(found))


if __name__ == "__main__":
    main()
