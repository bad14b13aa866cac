"""Another system beside ours on the data of a recipe: score, seconds and memory in one table.

Each runs in a process of its own. Seconds are those of building, training and scoring test; reading the files
is left out. Memory is the highest of that process, above what it used when the items were read. Ours is one
model, also where the recipe trains several (``ensemble``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.process import in_fresh_process, peak_of
from multiseq import Model, evaluate, train
from multiseq.runs.build import build_model, settings
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.sources import read_split
from multiseq.tasks import Source
from multiseq.training.settings import Settings

__all__ = ["Figures", "Items", "Plan", "compare", "ours_on", "table", "train_on", "words_and_tags"]

Items = tuple[list[Any], list[Any]]
"""Items and their labels."""

SMALL = ("training.steps=2", "training.evaluate_every=0", "training.max_vectors=500")
SMALL_ENCODER = ("encoder.dim=24", "encoder.depth=1", "encoder.heads=2")
NUM_SMALL = 60


@dataclass(frozen=True)
class Plan:
    """What is compared, and on which data.

    Args:
        recipe: The recipe of ours: a name in the package or a file.
        data: The folder of its data.
        quick: Whether a few items and a tiny model have to do, to see that all of it runs.
        changes: Changes of the recipe.
    """

    recipe: str
    data: Path
    quick: bool = False
    changes: Sequence[str] = field(default=())

    def sources(self, split: str) -> list[Source]:
        """The items of a split, with the labels of the recipe's task."""
        recipe = read(self.recipe, self.all_changes())
        sources = read_split(recipe, split, self.data)
        return [_first(source, NUM_SMALL) for source in sources] if self.quick else sources

    def items(self, split: str) -> Items:
        """The items of a split and their labels."""
        [source] = self.sources(split)
        [labels] = source.targets.values()
        return list(source.items), list(labels)

    def settings(self) -> Settings:
        """The settings of the recipe's training."""
        return settings(read(self.recipe, self.all_changes()))

    def all_changes(self) -> list[str]:
        """The changes, and those that make it small."""
        small = list(SMALL) if self.quick else []
        pretrained = any(change.startswith("encoder.start=") for change in self.changes)
        return [*(small if pretrained or not small else [*small, *SMALL_ENCODER]), *self.changes]


@dataclass(frozen=True)
class Figures:
    """What one system reached.

    Args:
        score: On the test split.
        seconds: By the clock.
        processor: Seconds of the processor, of all threads.
        mib: Peak memory.
    """

    score: float
    seconds: float
    processor: float
    mib: float


def _first(source: Source, num: int) -> Source:
    targets = {task: labels[:num] for task, labels in source.targets.items()}
    return Source(source.adapter_name, source.items[:num], targets)


def ours(
    plan: Plan,
    splits: Mapping[str, Sequence[Source]],
    changed: Callable[[Model], Model] = lambda model: model,
) -> float:
    """Train the recipe's model, or what ``changed`` makes of it, as `multiseq train` does, and score it."""
    return ours_on(read(plan.recipe, plan.all_changes()), splits, changed=changed)


def ours_on(
    recipe: Recipe,
    splits: Mapping[str, Sequence[Source]],
    other: Callable[[Settings], Settings] = lambda settings: settings,
    changed: Callable[[Model], Model] = lambda model: model,
) -> float:
    """Train the model of a recipe, with its settings or what ``other`` makes of them; its score on test."""
    model = train_on(recipe, splits, other, changed)
    [(task, spec)] = recipe.tasks.items()
    return evaluate(model, splits["test"], task=task, **spec.get("decode", {})).value


def train_on(
    recipe: Recipe,
    splits: Mapping[str, Sequence[Source]],
    other: Callable[[Settings], Settings] = lambda settings: settings,
    changed: Callable[[Model], Model] = lambda model: model,
) -> Model:
    """The model of a recipe, or what ``changed`` makes of it, after its training."""
    model = changed(build_model(recipe, splits["train"]))
    train(model, splits["train"], dev=splits["dev"], settings=other(settings(recipe)), progress=False)
    return model


System = Callable[[Plan, Mapping[str, Any]], float]
"""Trains on the splits and returns its score on test."""


def _measured(system: System, plan: Plan) -> Figures:
    read_as = plan.sources if system is ours else plan.items
    splits = {split: read_as(split) for split in ("train", "dev", "test")}
    scores: list[float] = []
    began, of_processor = time.perf_counter(), time.process_time()
    mib = peak_of(lambda: scores.append(system(plan, splits)), torch.device("cpu"))
    return Figures(scores[0], time.perf_counter() - began, time.process_time() - of_processor, mib)


def table(figures: Mapping[str, Figures], metric: str) -> str:
    """The figures in Markdown, in the order in which they are given."""
    lines = [f"| system | {metric}, test | seconds | of the processor | peak MiB |", "|---|---|---|---|---|"]
    for name, one in figures.items():
        cells = (f"{one.score:.4f}" if one.score <= 1 else f"{one.score:.1f}", f"{one.seconds:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {one.processor:.0f} | {one.mib:.0f} |")
    return "\n".join(lines)


def compare(
    about: str | None, recipe: str, systems: Mapping[str, System], changes: Sequence[str] = ()
) -> None:
    """The command line of a comparison: measure ours and the others, and print the table.

    Args:
        about: What ``--help`` says.
        recipe: The recipe of ours, if ``--recipe`` names no other.
        systems: Name -> another system, a function of a module.
        changes: Changes of the recipe; ``--set`` adds others.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--quick", action="store_true", help="few items, few steps: to see that it runs")
    parser.add_argument("--recipe", default=recipe, help=f"ours (default: {recipe})")
    parser.add_argument("--set", action="append", default=[], help="a change of our recipe")
    parser.add_argument("--only", nargs="+", help="some of the systems")
    given = parser.parse_args()
    plan = Plan(given.recipe, given.data, given.quick, [*changes, *given.set])
    chosen = {"multiseq": ours, **systems}
    names = given.only or list(chosen)
    measured = {name: in_fresh_process(_measured, chosen[name], plan) for name in names}
    parsed = read(plan.recipe, plan.all_changes())
    print(table(measured, parsed.metric(next(iter(parsed.tasks)))))


def words_and_tags(items: Items) -> list[tuple[list[str], list[str | None]]]:
    """Sentences as pairs of words and tags."""
    return list(zip(*items, strict=True))
