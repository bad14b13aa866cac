"""Commands that use a trained run, evaluate, report, predict and card; and cache, for prepared items."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiseq.commands.output import (
    AsJson,
    Cache,
    Data,
    Run,
    plain_errors,
    print_json,
    print_report,
    print_table,
    say_error,
)

if TYPE_CHECKING:
    from multiseq.runs.recipe import Recipe

__all__ = ["cache", "card", "evaluate", "predict", "report"]


def evaluate(
    run: Run,
    data: Data = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split to score: train, dev or test.", show_default="test, or dev without test"
        ),
    ] = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained run and compare it with the baselines."""
    with plain_errors():
        from multiseq.data.formats import SPLITS
        from multiseq.runs.evaluate import evaluate_run
        from multiseq.runs.recipe_check import one_of

        if split is not None:
            one_of(split, SPLITS, "--split")
        report = evaluate_run(run, data=data, split=split, cache=cache, say=say_error)
        if as_json:
            print_json({"tasks": report})
        else:
            print_report(report)


def report(
    run: Run,
    data: Data = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="The split to show: train, dev or test.", show_default="the one scored after training"
        ),
    ] = None,
    cache: Cache = None,
) -> None:
    """Write a page to look at, report.html: plots, and the items that a run predicts worst."""
    with plain_errors():
        from multiseq.data.formats import SPLITS
        from multiseq.runs.evaluate import report_run
        from multiseq.runs.recipe_check import one_of

        if split is not None:
            one_of(split, SPLITS, "--split")
        print(report_run(run, data=data, split=split, cache=cache, say=say_error))


def predict(
    run: Run,
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ITEM]…",
            help="A text, the path of an audio file, a SMILES, or the JSON of a graph.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The task; needed if the run has several.", show_default=False),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Items like the training files: a file, a folder, a 'pattern*.csv', or - (standard input; "
            "-.csv says its format).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write the rows and columns of the input with their predictions: .csv .tsv .jsonl .parquet "
            ".conllu, one answer a line as .txt or as in training (.de), times as .TextGrid .srt .vtt "
            ".ctm, a folder/ of TextGrids, 'folder/*.srt', or - "
            "(-.jsonl). Killed, the same command goes on.",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The column of a table that holds the items.", show_default="as in training"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Read the file differently from training, for example encoding=latin-1 or format=text.",
            show_default=False,
        ),
    ] = None,
    n_best: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="With --output: how many of the most probable classes each row gets.",
            show_default="3; 0 for a label per vector",
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--decode",
            metavar="KEY=VALUE",
            help="Search for texts differently from the recipe, for example num_beams=16, n_best=5 or "
            "language_model=words.arpa.",
            show_default=False,
        ),
    ] = None,
    on_error: Annotated[
        str | None,
        typer.Option(
            help="Stop at an item that cannot be predicted, or skip it: the output says its error.",
            show_default="as in the recipe",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="Of matrix products: fp32, bf16, or auto (bf16 where this processor is faster)."),
    ] = "fp32",
    as_json: AsJson = False,
) -> None:
    """Predict with a trained run; print one line for each item, or write a file."""
    if bool(items) == (file is not None):
        raise typer.BadParameter(
            "give either items or --input FILE; put a pattern in quotes", param_hint="ITEM"
        )
    if output is not None and (file is None or as_json):
        raise typer.BadParameter("goes with --input FILE, and without --json", param_hint="--output")
    if output is None and n_best is not None:
        raise typer.BadParameter("goes with --output FILE", param_hint="--n-best")
    with plain_errors():
        from multiseq.data.graphs.webnlg import readable_facts
        from multiseq.runs.items import has_times, line_of, record_of, shown_item, typed_items
        from multiseq.runs.predict import line_endings, open_inputs, predict_files, predict_items
        from multiseq.runs.recipe_check import one_of, search_options
        from multiseq.runs.rows import items_of

        model, task, recipe = _load(run, task, precision)
        adapter, head = model.adapter(model.task(task).adapter_name), model.task(task).head
        spec = {} if recipe is None else recipe.tasks[task]
        if recipe is not None:
            on_error = on_error or recipe.tables["data"][spec["data"]].get("on_error")
        one_of(on_error or "stop", ("stop", "skip"), "--on-error")
        decode = {**spec.get("decode", {}), **search_options(search or [], type(head).__name__)}
        if has_times(model, task):
            decode = {"times": True, **decode}
        errors: dict[int, str] | None = {} if on_error == "skip" else None
        if file is None:
            raw, locations = typed_items(adapter, items or [], f"multiseq predict {run}", errors)
            if recipe is not None and recipe.tables["data"][spec["data"]]["format"] == "webnlg":
                raw = [readable_facts(item) for item in raw]
        else:
            labels = getattr(head.target, "labels", ())
            with open_inputs(
                file, adapter, recipe, task, column=column, changes=changes or [], labels=labels
            ) as files:
                if output is not None:
                    done = predict_files(
                        model,
                        task,
                        files,
                        output,
                        source=run,
                        column=spec.get("column", ""),
                        n_best=n_best,
                        skip=on_error == "skip",
                        decode=decode,
                        endings=line_endings(recipe, task),
                        say=say_error,
                    )
                    for line in done.in_words():
                        say_error(line)
                    return
                raw, locations = items_of(files, adapter, errors)
        results = predict_items(model, task, raw, locations, decode, errors)
        wrong = errors or {}
        if as_json:
            print_json(
                [
                    {"item": item, "error": wrong[i]} if i in wrong else record_of(model, task, item, pieces)
                    for i, (item, pieces) in enumerate(zip(raw, results, strict=True))
                ]
            )
            return
        is_named = head.level == "vector" or len(results) == 1  # or the line itself has its words
        for i, (item, pieces) in enumerate(zip(raw, results, strict=True)):
            if i in wrong:
                said = wrong[i].removeprefix(f"{locations[i]}: ").removeprefix(f"{item}: ")
                print(f"{shown_item(adapter, item) or locations[i]} error: {said}")
                continue
            line = line_of(model, task, pieces)
            if "\n" in line and len(results) > 1:  # several lines: print the item above them
                print(f"{shown_item(adapter, item)}\n{line}")
            else:
                print(line if is_named else f"{shown_item(adapter, item)} {line}".removeprefix(" "))


def _load(run: Path, task: str | None, precision: str) -> tuple[Any, str, Recipe | None]:
    """The model, the task's name, and the recipe (None for a model that was saved from Python)."""
    import torch

    from multiseq.checkpoint import load
    from multiseq.nn.precision import choose_precision
    from multiseq.runs.folder import read_run
    from multiseq.runs.recipe_check import one_of

    recipe = read_run(run) if (run / "recipe.toml").is_file() else None
    if recipe is not None and task is not None:  # before the weights are read, which takes longer
        one_of(task, recipe.tasks, "--task")
    model = load(run)
    known = ", ".join(model.tasks)
    if task is None and len(model.tasks) > 1:
        raise ValueError(f"{run}: has several tasks, choose with --task: {known}")
    task = task or next(iter(model.tasks))
    one_of(task, model.tasks, "--task")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    chosen = choose_precision(precision, model.device, model.adapter(model.task(task).adapter_name).dim)
    model.precision = chosen.name
    if precision == "auto":
        say_error(str(chosen))
    return model, task, recipe


def card(
    run: Run,
    name: Annotated[
        str, typer.Option(metavar="USER/NAME", help="The model's name on the Hub.", show_default=False)
    ] = "",
) -> None:
    """Print the model card of a run, in Markdown for the Hugging Face Hub."""
    with plain_errors():
        from multiseq.runs.publish import model_card

        print(model_card(run, name), end="")


def cache(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that you gave as --cache.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete everything in it.")] = False,
) -> None:
    """Show or delete prepared items that runs have stored in a cache folder."""
    with plain_errors():
        from multiseq.training import item_cache_folder

        if delete:
            print(f"{folder}: deleted {_mib(item_cache_folder.delete(folder))}")
            return
        entries = item_cache_folder.entries(folder)
        rows = [(e.folder.name, e.about(), f"{e.items:,}", _mib(e.bytes)) for e in entries]
        print_table(("folder", "prepared with", "items", "size"), rows, right=2)
        command = shlex.join(["multiseq", "cache", str(folder), "--delete"])
        print(f"{_mib(sum(e.bytes for e in entries))} in all; delete it with: {command}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
