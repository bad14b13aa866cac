"""Default settings against tuned ones on small data.

    python -m benchmarks.accuracy.defaults --data FOLDER

Three tasks on public data: the sentiment of sentences (SST-2), the solubility of molecules (ESOL), and the
phonemes of recordings (a sample of TIMIT). For each size, the first items of the training split train models
with the default settings, with ``steps=1000`` (the default before), and with each change of a small grid, of
which the best on dev counts. No training sees dev or test: they are only scored. Afterwards the model of the
default settings is calibrated on dev, and what it says of itself is compared with test: the calibration error
of classes before and after, or the share of numbers in their 90 % interval.

Each training appends a line to the file ``--results``; a training that is there is not repeated. Seconds are
those of the processor, of one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from multiseq import (
    ClassTarget,
    Encoder,
    GraphAdapter,
    Model,
    Number,
    NumberTarget,
    SetHead,
    Source,
    SpeechAdapter,
    Task,
    TextAdapter,
    VectorHead,
    calibrate,
    evaluate,
    train,
)
from multiseq.training.budget import hold_out, vectors_per_batch
from multiseq.training.calibration import calibration_error
from multiseq.training.evaluation import labelled_results
from multiseq.training.prepared_source import PreparedSource
from multiseq.training.run_log import read_log
from multiseq.training.settings import Settings

SIZES = {"sst": (50, 100, 300, 1000, 3000), "esol": (50, 100, 300, 600, 902), "timit": (10, 20, 40, 60, 80)}
GRID: tuple[dict[str, Any], ...] = (
    {"lr": 3e-4},
    {"lr": 3e-3},
    {"dropout": 0.3},
    {"steps": "half"},
    {"steps": "double"},
)
"""Changes of the default settings; steps by half and double, with the batches of the default."""
BEFORE = {"steps": 1000}
"""The default before the steps followed from the data."""

Items = tuple[list[Any], list[Any]]


def sst(folder: Path) -> tuple[Items, Items, Items]:
    """Sentences and their sentiment: the splits of SST-2."""

    def read(split: str) -> Items:
        lines = (folder / f"text_class/SST/stsa.binary.{split}").read_text(encoding="utf-8").splitlines()
        pairs = [line.split(" ", 1) for line in lines]
        return [text for _, text in pairs], [label for label, _ in pairs]

    return read("train"), read("dev"), read("test")


def esol(folder: Path) -> tuple[Items, Items, Items]:
    """Molecules and their solubility: fold 0 of the random splits of ESOL."""
    with (folder / "graph_mol/ESOL/delaney.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    fold = json.loads((folder / "graph_mol/ESOL/random_splits.json").read_text())["splits"][0]

    def part(name: str) -> Items:
        return [rows[i]["smiles"] for i in fold[name]], [float(rows[i]["logp"]) for i in fold[name]]

    return part("train"), part("val"), part("test")


def timit(folder: Path) -> tuple[Items, Items, Items]:
    """Recordings and their phonemes: 8 speakers for training, 2 for dev, 6 for test, by lot."""
    root = folder / "speech_phones/timit_sample_nltk"
    speakers = sorted(path.name for path in root.glob("dr*-*"))
    random.Random(0).shuffle(speakers)

    def read(names: Sequence[str]) -> Items:
        sounds = [path for name in names for path in sorted((root / name).glob("*.flac"))]
        random.Random(1).shuffle(sounds)
        return [str(path) for path in sounds], [_segments(path.with_suffix(".phn")) for path in sounds]

    return read(speakers[:8]), read(speakers[8:10]), read(speakers[10:])


def _segments(path: Path) -> list[tuple[float, float, str]]:
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(int(start) / 16000, int(end) / 16000, label) for start, end, label in lines]


DATA = {"sst": sst, "esol": esol, "timit": timit}


def build(task: str, items: Items, *, dim: int = 128, dropout: float = 0.1) -> Model:
    """A model of the preset ``tiny``, as a recipe builds it."""
    torch.manual_seed(0)
    raw, labels = items
    encoder = Encoder.preset("tiny", dim=dim, dropout=dropout)
    if task == "sst":
        adapter: Any = TextAdapter.fit(raw, dim=dim)
        head: Any = SetHead(dim, ClassTarget.fit(labels), dropout=dropout)
    elif task == "esol":
        adapter = GraphAdapter.fit(raw, dim=dim)
        head = SetHead(dim, NumberTarget.fit(labels), pool="sum", dropout=dropout)
    else:
        adapter = SpeechAdapter.fit(raw, dim=dim)
        phonemes = ClassTarget.fit(label for segments in labels for _, _, label in segments)
        head = VectorHead(dim, phonemes, dropout=dropout)
    metric = {"sst": "accuracy", "esol": "rmse", "timit": "frame_accuracy"}[task]
    return Model({"x": adapter}, encoder, {"y": Task("x", head, metric)})


def measure(task: str, size: int, folder: Path, changes: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Train with the changes on the first items, and score dev and test. The default takes ``steps``."""
    (items, labels), dev, test = DATA[task](folder)
    items, labels = items[:size], labels[:size]
    model = build(task, (items, labels), **{k: v for k, v in changes.items() if k in ("dim", "dropout")})
    source = Source("x", items, {"y": labels})
    options = {k: v for k, v in changes.items() if k not in ("dim", "dropout")}
    if (factor := {"half": 0.5, "double": 2}.get(options.get("steps", ""))) is not None:
        prepared = PreparedSource(hold_out(source)[0], model.adapter("x"), model.tasks)
        options = {
            "steps": round(factor * steps),
            "max_vectors": vectors_per_batch(Settings(), [prepared]),
            "ema_decay": max(0.0, 1 - 20 / (factor * steps)),
        }
    with TemporaryDirectory() as out:
        began = time.process_time()
        train(model, [source], out=out, **options)
        seconds = time.process_time() - began
        taken = sum(row["task"] == "total" for row in read_log(Path(out) / "metrics.csv"))
    dev_source, test_source = (Source("x", raw, {"y": y}) for raw, y in (dev, test))
    scores = [evaluate(model, [one], task="y") for one in (dev_source, test_source)]
    trust = {}
    if not changes:
        trust["before"] = calibrated(model, test_source)
        calibrate(model, [dev_source], sources=[source])
        trust["after"] = calibrated(model, test_source)
    return {
        "task": task,
        "size": size,
        "changes": dict(changes),
        "steps": taken,
        "seconds": round(seconds, 1),
        "dev": scores[0].value,
        "metric": scores[0].metric,
        "test": scores[1].value,
        "trust": trust,
    }


def calibrated(model: Model, source: Source) -> float:
    """The calibration error of classes, or the share of numbers within their 90 % interval."""
    pairs = labelled_results(model, source, {"y": {}})["y"]
    if isinstance(pairs[0][0], Number):
        inside = [low <= v <= high for n, v in pairs for low, high in n.intervals.values()]
        return sum(inside) / len(inside) if inside else math.nan
    right = [result.label == label for result, label in pairs]
    return calibration_error([result.probability for result, _ in pairs], right)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in Markdown: before, default, and the best of default and grid on dev."""
    lines = [
        "| data | metric, test | steps = 1000 | default | calibrated | tuned | best change on dev |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, size in dict.fromkeys((row["task"], row["size"]) for row in rows):
        own = [row for row in rows if (row["task"], row["size"]) == (task, size)]
        sign = 1 if own[0]["metric"] == "rmse" else -1
        tried = sorted((row for row in own if row["changes"] != BEFORE), key=lambda row: sign * row["dev"])
        tuned = tried[0] if len(tried) > 1 else None
        cells = [_cell([r for r in own if r["changes"] == changes]) for changes in (BEFORE, {})]
        cells += [_trust(r["trust"], r["metric"]) for r in own if not r["changes"]] or ["not measured"]
        change = "not measured" if tuned is None else f"{tuned['changes'] or 'none'} of {len(tried) - 1}"
        lines.append(
            f"| {task}, {size} | {own[0]['metric']} | {' | '.join(cells)} | {_cell([tuned])} | {change} |"
        )
    return "\n".join(lines)


def _cell(rows: Sequence[Mapping[str, Any] | None]) -> str:
    if not rows or rows[0] is None:
        return "not measured"
    return f"{rows[0]['test']:.3f} ({rows[0]['steps']:,} steps, {rows[0]['seconds']:.0f} s)"


def _trust(trust: Mapping[str, float], metric: str) -> str:
    if metric == "rmse":
        return f"{trust['after']:.0%} in the 90 % interval"
    return f"error {trust['before']:.3f}, then {trust['after']:.3f}"


def main() -> None:
    """Measure what is not in the file of results yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--results", type=Path, default=Path("defaults.jsonl"))
    parser.add_argument("--tasks", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--sizes", nargs="+", type=int, help="default: five sizes of each task")
    parser.add_argument(
        "--what", nargs="+", choices=("default", "before", "grid"), default=["default", "before", "grid"]
    )
    chosen = parser.parse_args()
    plans: dict[str, list[dict[str, Any]]] = {"default": [{}], "before": [BEFORE], "grid": list(GRID)}
    for task, what in [(task, what) for task in chosen.tasks for what in chosen.what]:
        for size, changes in [(s, c) for s in chosen.sizes or SIZES[task] for c in plans[what]]:
            known = _read(chosen.results)
            if not any((r["task"], r["size"], r["changes"]) == (task, size, changes) for r in known):
                defaults = [r for r in known if (r["task"], r["size"], r["changes"]) == (task, size, {})]
                if what == "grid" and not defaults:
                    raise SystemExit(
                        f"{task}, {size}: run --what default first; the grid follows from its steps"
                    )
                line = measure(task, size, chosen.data, changes, defaults[0]["steps"] if defaults else 0)
                with chosen.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    print(table(_read(chosen.results)))


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
