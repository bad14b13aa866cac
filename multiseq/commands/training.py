"""Commands that train, and those before them: init, check, tasks, recipe and train."""

from __future__ import annotations

import json
import shlex
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiseq.commands.output import (
    WIDE,
    Cache,
    Data,
    plain_errors,
    print_report,
    print_table,
    unbreakable_output,
)

if TYPE_CHECKING:
    from multiseq.runs.recipe import Recipe

__all__ = ["check", "examples", "init", "recipe", "tasks", "train"]


def init(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE_OR_FOLDER…", help="The data.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The recipe to write.", show_default="NAME.toml"),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--input", metavar="COLUMN", help="The column of the items.", show_default="a guess"),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="COLUMN",
            help="The column to learn; more than once for several tasks.",
            show_default="a guess",
        ),
    ] = None,
) -> None:
    """Look at your data, say what is in it, and write a recipe for it."""
    with plain_errors():
        from multiseq.init.command import init_recipe

        init_recipe(paths, out=out, item=column, labels=labels or [])


def check(
    recipe: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE.toml | NAME…", help="Recipe files, or names of recipes in the package."
        ),
    ],
    data: Data = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe, as for train.", show_default=False
        ),
    ] = None,
    cache: Cache = None,
) -> None:
    """Read all data of a recipe, and say what is in it and whether it can be trained."""
    from multiseq.runs.recipe import read_together

    with plain_errors():
        from multiseq.runs.run import check_run

        whole = read_together(recipe, changes or [], data)
        check_run(whole, data=data, cache=cache)
        print("It can be trained.")


def tasks() -> None:
    """List the starter tasks and the recipes of the package."""
    from multiseq.runs import recipe as recipes

    with plain_errors():
        starter = recipes.read("starter")
        rows = [
            (name, starter.cell(name), spec["target"], starter.metric(name), _files(starter, name))
            for name, spec in starter.tasks.items()
        ]
        print_table(("task", "cell", "target", "metric", "data"), rows)
        for name, spec in starter.tasks.items():
            if "unit" in spec:
                print(f"The unit of {name}: {spec['unit']}")
        print("\nRecipes of the package:")
        width = max(map(len, recipes.names())) + 2
        for name in recipes.names():
            print(f"  {name:{width}}{_about(recipes.read(name).text)}")
        print("\nTrain all starter tasks together:  multiseq train")
        print("Make your own recipe:              multiseq recipe starter > mine.toml")


def _about(text: str) -> str:
    """What a recipe is about: the first sentence of its comment."""
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in comment).partition(". ")[0] + "."


def _files(recipe: Recipe, task: str) -> str:
    spec = recipe.tables["data"][recipe.tasks[task]["data"]]
    return str(spec.get("file", spec.get("train")))


def recipe(
    name: Annotated[str, typer.Argument(help="A recipe of the package, as `multiseq tasks` lists.")],
) -> None:
    """Print a recipe of the package, as a start for your own."""
    from multiseq.runs import recipe as recipes
    from multiseq.runs.recipe_check import one_of

    with plain_errors():
        one_of(name, recipes.names(), "recipe")
        print(recipes.read(name).text, end="")


def train(
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE.toml | NAME]…",
            help="Recipe files, or names of recipes in the package; several train one joint model.",
            show_default="starter",
        ),
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder.", show_default="runs/NAME"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change the recipe, for example training.steps=200.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of matrix products: fp32, bf16 or auto. The same as --set training.precision=….",
            show_default="bf16 on a GPU, fp32 on a CPU",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue where the run stopped.")] = False,
    cache: Cache = None,
    devices: Annotated[
        str, typer.Option(metavar="N", help="Devices on each machine: a number, or auto for all.")
    ] = "1",
    num_nodes: Annotated[int, typer.Option(metavar="N", help="Number of machines.")] = 1,
    strategy: Annotated[str, typer.Option(metavar="NAME", help="Lightning's strategy.")] = "auto",
    logger: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Write the losses and scores by csv, mlflow, tensorboard or wandb, too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a recipe's model and score it on the test split, or on dev if there is none."""
    from multiseq.runs.recipe import read_together

    changes = [*(changes or []), *([f"training.precision={precision}"] if precision else [])]
    names = recipe or ["starter"]
    out = out or Path("runs", "+".join(Path(n).stem if n.endswith(".toml") else n for n in names))
    launch = {**_launch(devices, num_nodes, strategy), "cache": cache, "loggers": logger or []}
    with plain_errors(out, _resume_command(out, launch)), unbreakable_output():
        from multiseq.runs.folder import read_run
        from multiseq.runs.run import train_run
        from multiseq.runs.scoring import scores_name
        from multiseq.system.memory import keep_memory
        from multiseq.system.processes import is_first_process

        keep_memory()
        if resume and not recipe and not changes:
            whole = read_run(out)
        else:
            whole = read_together(names, changes, data)
        report = train_run(whole, out, data=data, resume=resume, **launch)
        if is_first_process():
            print_report(report)
            page = ", a page to look at (report.html)" if (out / "report.html").is_file() else ""
            table = f" and this table ({scores_name(report)}.md)" if report else ""
            more = "the curves (curves.png)" if (out / "curves.png").is_file() else "a run for each part"
            print(f"\n{out} has the model, {more}{page}{table}.")
            shown = examples(whole, out, data)
            if shown:
                print("Predict with it:")
            for line in shown:
                print(f"  {line}")


def _launch(devices: str, num_nodes: int, strategy: str) -> dict[str, Any]:
    """Check the options for Lightning's trainer, and return them by name."""
    if devices != "auto" and not (devices.isdigit() and int(devices)):
        raise typer.BadParameter(f"got {devices!r}, expected a number or auto", param_hint="--devices")
    number: Any = "auto" if devices == "auto" else int(devices)
    return {"devices": number, "num_nodes": num_nodes, "strategy": strategy}


def _resume_command(out: Path, launch: dict[str, Any]) -> str:
    usual = {"devices": 1, "num_nodes": 1, "strategy": "auto", "cache": None}
    options = [
        word
        for key, usually in usual.items()
        if launch[key] != usually
        for word in (f"--{key.replace('_', '-')}", str(launch[key]))
    ]
    options += [word for name in launch["loggers"] for word in ("--logger", name)]
    return shlex.join(["multiseq", "train", "--resume", "--out", str(out), *options])


def examples(recipe: Recipe, out: Path, data: Path | None) -> list[str]:
    """Example commands that predict: one for each modality, with an item from its data."""
    from multiseq.runs.build import adapter_class
    from multiseq.runs.many import parts_of
    from multiseq.runs.sources import read_split
    from multiseq.runs.splits import FOLDER, saved_splits

    try:
        recipe = next(iter(parts_of(recipe, data).values()), recipe)
        drawn = saved_splits(out / FOLDER)
        sources = read_split(recipe, "test", data, splits=drawn)
        if {task for source in sources for task in source.targets} < set(recipe.tasks):
            sources += read_split(recipe, "train", data, splits=drawn)
    except (ValueError, OSError):  # the data is gone; the finished run only gets no examples
        return []
    shown: dict[str, str] = {}
    stand_ins: dict[str, str] = {}
    for source in sources:
        modality, task = recipe.modality(source.adapter_name), next(iter(source.targets))
        command = ["multiseq", "predict", str(out), "--task", task]
        typed = list(filter(None, map(_as_typed, source.items[:50])))
        if typed:
            shown.setdefault(modality, shlex.join([*command, min(typed, key=len)]))
        spec = recipe.tables["data"][recipe.tables["tasks"][task]["data"]]
        file = spec.get("file", spec.get("train"))
        if spec["format"] in ("networks", "graphml") and isinstance(file, str):
            given = ["--input", f"NEW/{Path(file).name}"]
        else:
            given = [adapter_class(recipe, source.adapter_name).stand_in(source.items[0])]
        stand_ins.setdefault(modality, shlex.join([*command, *given]))
    return list((stand_ins | shown).values())


def _as_typed(item: Any) -> str:
    """An item as one would type it; an empty string if it is too long or cannot be typed."""
    typed = item if isinstance(item, str) else ""
    if isinstance(item, list):  # words, or triples
        words = all(isinstance(word, str) for word in item)
        typed = " ".join(item) if words else json.dumps(item, ensure_ascii=False)
    return typed if len(typed) <= WIDE and typed.isprintable() and not typed.startswith("-") else ""
