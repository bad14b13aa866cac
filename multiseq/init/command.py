"""Write the recipe, and say what was found."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multiseq.data.formats import FORMATS, SPLITS
from multiseq.init.layouts import plan_for
from multiseq.init.plan import Plan, TaskPlan, recipe_text
from multiseq.init.tables import Wish
from multiseq.system.files import write_whole

__all__ = ["init_recipe"]

Say = Callable[[str], None]

SKEWED = 0.8
"""From this share of one class on, class weights and the F1 score are offered."""


def init_recipe(
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    item: str | None = None,
    labels: Sequence[str] = (),
    say: Say = print,
) -> Path:
    """Look at data, and write a recipe for it.

    Args:
        paths: Files, or a folder.
        out: The recipe. Default: ``NAME.toml`` in the current folder.
        item: The column of the items, instead of a guess.
        labels: The columns of the labels, instead of a guess.
        say: Function that is called with each line for the user.

    Returns:
        The path of the recipe.

    Raises:
        ValueError: The data cannot be read, a column does not exist, or the recipe exists already.
    """
    plan = plan_for(paths, Wish(item, labels))
    out = out or Path(f"{plan.name}.toml")
    if out.exists():
        raise ValueError(f"{out}: exists already and is not overwritten; write another with --out FILE")
    command = shlex.join(
        [
            *("multiseq", "init", *map(str, paths)),
            *(("--input", item) if item else ()),
            *(word for label in labels for word in ("--label", label)),
        ]
    )
    facts, odd = _facts(plan, out.parent)
    write_whole(out, recipe_text(plan, out.parent, command, str(out)))
    width = max((len(name) for name, _ in plan.seen), default=0)
    for name, what in plan.seen:
        say(f"  {name:{min(width, 30)}}  {what}")
    for line in facts:
        say(line)
    for line in (*plan.odd, *odd):
        say(f"Odd: {line}")
    if plan.question:
        say(f"QUESTION: {plan.question}")
    wish = "Answer the question in it" if plan.question else "Read it, and correct wrong guesses"
    say(f"\n{out} is the recipe: {plan.adapter}, {_task_names(plan)}. {wish}. Then:")
    say(f"  {shlex.join(['multiseq', 'check', str(out)])}")
    say(f"  {shlex.join(['multiseq', 'train', str(out)])}")
    return out


def _task_names(plan: Plan) -> str:
    names = [
        f"{task.name} ({task.spec['target']} per {task.spec['output']})" for task in plan.tasks if task.active
    ]
    return ", ".join(names) or "no task yet"


def _facts(plan: Plan, folder: Path) -> tuple[list[str], list[str]]:
    """Read and divide all the data as the recipe would, and return its facts and what is odd.

    If there are bad rows, the plan leaves them out; if labels mark spans, spans are
    scored; if nearly all labels are of one class, it gets hints.
    """
    from multiseq.data.bad_rows import BadRows
    from multiseq.runs.facts import facts_of
    from multiseq.runs.recipe import Recipe
    from multiseq.runs.recipe_check import check
    from multiseq.runs.sources import as_compared, draw_splits, read_split

    tables = plan.tables(folder)
    data = tables["data"][plan.name]
    if not tables["tasks"] or plan.question or data["format"] not in FORMATS:
        return [], []
    tables["data"][plan.name] = {**data, "on_error": "skip"}
    check(plan.name, tables)
    recipe, bad = Recipe(plan.name, folder, "", tables), BadRows()
    drawn = draw_splits(recipe)
    splits: dict[str, Any] = {split: read_split(recipe, split, splits=drawn, bad=bad) for split in SPLITS}
    targets = {task: spec["target"] for task, spec in recipe.tasks.items()}
    facts = facts_of(as_compared(recipe, splits), targets, {task: recipe.metric(task) for task in targets})
    if bad.rows:
        plan.data["on_error"] = "skip"
        plan.notes["on_error"] = f"{bad.counts()}: left out, and listed in bad_rows.csv"
    for task in plan.tasks:
        if task.active and "train" in facts.labels.get(task.name, {}):
            _suit(task, facts.labels[task.name]["train"].classes)
    return facts.lines(), [*facts.odd, *([bad.summary()] if bad.rows else [])]


def _suit(task: TaskPlan, classes: Mapping[str, int]) -> None:
    """Score whole spans if the classes mark spans; else hint at what helps if nearly all are alike."""
    from multiseq.training.metrics import mark_spans

    if task.spec["target"] == "class" and task.spec["output"] == "vector" and mark_spans(classes):
        task.spec["metric"] = "span_f1"
    else:
        task.hints = _hints(task, classes)


def _hints(task: TaskPlan, classes: Mapping[str, int]) -> list[str]:
    """What helps if nearly all labels are of one class."""
    most = max(classes, key=lambda name: classes[name], default="")
    share = classes[most] / sum(classes.values()) if classes else 0.0
    if share < SKEWED or len(classes) < 2 or task.spec["target"] != "class":
        return []
    return [
        f"{share:.0%} are {most!r}. To count all classes alike in training and in the score, add:",
        'class_weight = "balanced"',
        'metric = "f1"',
    ]
