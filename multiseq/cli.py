"""The command line: init, check, train, evaluate, report, predict, tasks, recipe, card, cache.

Heavy libraries are imported only by the commands that need them. Exit codes: 0 for success; 1 for a user's
error (one or two lines on stderr); 2 for an invalid command line; 130 after Ctrl-C; 143 after SIGTERM.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

if TYPE_CHECKING:
    from multiseq.runs.recipe import Recipe
    from multiseq.runs.scoring import Report

__all__ = ["app", "main"]

app = typer.Typer(
    name="multiseq",
    help="One self-attention encoder for text, speech and graphs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug in multiseq shows Python's plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `multiseq train` wrote.")]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="The data folder. Paths in the recipe are relative to it.", show_default=False
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Store prepared recordings and graphs in this folder, for later runs too.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

WIDE = 120
"""Width in characters of a table that is printed to a file or a pipe."""


def main() -> None:
    """Run the command line. Characters that the output's encoding lacks are printed as escape codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="multiseq")


def _show_version(wanted: bool) -> bool:
    """Print the versions and stop. Libraries are asked for their version without importing them."""
    if wanted:
        from platform import platform, python_version

        from multiseq._version import __version__
        from multiseq.system.libraries import versions_of

        libraries = versions_of(("torch", "torch-geometric", "torchaudio", "lightning"))
        print(f"multiseq {__version__}")
        print(", ".join(f"{name} {version or 'not installed'}" for name, version in libraries.items()))
        print(f"Python {python_version()} on {platform()}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the versions and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """One self-attention encoder for text, speech and graphs."""


@app.command()
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
    with _plain_errors():
        from multiseq.init.command import init_recipe

        init_recipe(paths, out=out, item=column, labels=labels or [])


@app.command()
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

    with _plain_errors():
        from multiseq.runs.run import check_run

        whole = read_together(recipe, changes or [], data)
        check_run(whole, data=data, cache=cache)
        print("It can be trained.")


@app.command()
def tasks() -> None:
    """List the starter tasks and the recipes of the package."""
    from multiseq.runs import recipe as recipes

    with _plain_errors():
        starter = recipes.read("starter")
        rows = [
            (name, starter.cell(name), spec["target"], starter.metric(name), _files(starter, name))
            for name, spec in starter.tasks.items()
        ]
        _print_table(("task", "cell", "target", "metric", "data"), rows)
        for name, spec in starter.tasks.items():
            if "unit" in spec:
                print(f"The unit of {name}: {spec['unit']}")
        print("\nRecipes of the package:")
        for name in recipes.names():
            print(f"  {name:16}{recipes.read(name).text.partition(chr(10))[0].lstrip('# ')}")
        print("\nTrain all starter tasks together:  multiseq train")
        print("Make your own recipe:              multiseq recipe starter > mine.toml")


def _files(recipe: Recipe, task: str) -> str:
    spec = recipe.tables["data"][recipe.tasks[task]["data"]]
    return str(spec.get("file", spec.get("train")))


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(help="A recipe of the package, as `multiseq tasks` lists.")],
) -> None:
    """Print a recipe of the package, as a start for your own."""
    from multiseq.runs import recipe as recipes
    from multiseq.runs.recipe_check import one_of

    with _plain_errors():
        one_of(name, recipes.names(), "recipe")
        print(recipes.read(name).text, end="")


@app.command()
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

    changes = changes or []
    names = recipe or ["starter"]
    out = out or Path("runs", "+".join(Path(n).stem if n.endswith(".toml") else n for n in names))
    launch = {**_launch(devices, num_nodes, strategy), "cache": cache, "loggers": logger or []}
    with _plain_errors(out, _resume_command(out, launch)), _unbreakable_output():
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
            _print_report(report)
            page = ", a page to look at (report.html)" if (out / "report.html").is_file() else ""
            table = f" and this table ({scores_name(report)}.md)" if report else ""
            more = "the curves (curves.png)" if (out / "curves.png").is_file() else "a run for each part"
            print(f"\n{out} has the model, {more}{page}{table}.")
            examples = _examples(whole, out, data)
            if examples:
                print("Predict with it:")
            for line in examples:
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


@app.command()
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
    with _plain_errors():
        from multiseq.data.formats import SPLITS
        from multiseq.runs.evaluate import evaluate_run
        from multiseq.runs.recipe_check import one_of

        if split is not None:
            one_of(split, SPLITS, "--split")
        report = evaluate_run(run, data=data, split=split, cache=cache, say=_say_error)
        if as_json:
            _print_json({"tasks": report})
        else:
            _print_report(report)


@app.command()
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
    with _plain_errors():
        from multiseq.data.formats import SPLITS
        from multiseq.runs.evaluate import report_run
        from multiseq.runs.recipe_check import one_of

        if split is not None:
            one_of(split, SPLITS, "--split")
        print(report_run(run, data=data, split=split, cache=cache, say=_say_error))


@app.command()
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
            ".conllu .TextGrid, a folder/ of TextGrids, or - (-.jsonl). Killed, the same command goes on.",
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
    on_error: Annotated[
        str | None,
        typer.Option(
            help="With --output: stop at a row that cannot be predicted, or skip (column error).",
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
    if output is None and (n_best is not None or on_error is not None):
        raise typer.BadParameter("go with --output FILE", param_hint="--n-best, --on-error")
    with _plain_errors():
        from multiseq.runs.items import item_of, line_of, record_of, shown_item
        from multiseq.runs.predict import open_inputs, predict_files
        from multiseq.runs.recipe_check import one_of
        from multiseq.runs.rows import items_of

        model, task, recipe = _load(run, task, precision)
        adapter, head = model.adapter(model.task(task).adapter_name), model.task(task).head
        spec = {} if recipe is None else recipe.tasks[task]
        if recipe is not None:
            on_error = on_error or recipe.tables["data"][spec["data"]].get("on_error")
        one_of(on_error or "stop", ("stop", "skip"), "--on-error")
        decode = spec.get("decode", {})
        if file is None:
            given = items or []
            locations = [f"item {i}" for i in range(1, len(given) + 1)]
            raw = [item_of(adapter, v, location=w) for v, w in zip(given, locations, strict=True)]
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
                        say=_say_error,
                    )
                    failed = f", {done.failed:,} of them with an error" if done.failed else ""
                    _say_error(f"{done.output}: {done.rows:,} rows{failed}")
                    return
                raw, locations = items_of(files, adapter)
        results = model.run(task, raw, locations=locations, **decode)
        if as_json:
            records = [record_of(model, task, i, r) for i, r in zip(raw, results, strict=True)]
            _print_json(records)
            return
        is_named = head.level == "vector" or len(results) == 1  # or the line itself has its words
        for item, pieces in zip(raw, results, strict=True):
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
        _say_error(str(chosen))
    return model, task, read_run(run) if (run / "recipe.toml").is_file() else None


@app.command()
def card(
    run: Run,
    name: Annotated[
        str, typer.Option(metavar="USER/NAME", help="The model's name on the Hub.", show_default=False)
    ] = "",
) -> None:
    """Print the model card of a run, in Markdown for the Hugging Face Hub."""
    with _plain_errors():
        from multiseq.runs.publish import model_card

        print(model_card(run, name), end="")


@app.command()
def cache(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that you gave as --cache.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete everything in it.")] = False,
) -> None:
    """Show or delete prepared items that runs have stored in a cache folder."""
    with _plain_errors():
        from multiseq.training import item_cache_folder

        if delete:
            print(f"{folder}: deleted {_mib(item_cache_folder.delete(folder))}")
            return
        entries = item_cache_folder.entries(folder)
        rows = [(e.folder.name, e.about(), f"{e.items:,}", _mib(e.bytes)) for e in entries]
        _print_table(("folder", "prepared with", "items", "size"), rows, right=2)
        command = shlex.join(["multiseq", "cache", str(folder), "--delete"])
        print(f"{_mib(sum(e.bytes for e in entries))} in all; delete it with: {command}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


# --- output --------------------------------------------------------------------------------


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: int = 99) -> None:
    """Print a table. Columns from number ``right`` on are numbers, aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i >= right else "left", no_wrap=i == 0 or i >= right)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    Console(width=console.width if console.is_terminal else WIDE).print(table)


def _print_report(report: Report) -> None:
    from multiseq.runs.scoring import HEADER, scored_on, table_rows

    if report:
        _print_table(HEADER, table_rows(report), right=3)
    print(scored_on(report))
    if report:
        print("Seconds: the time that the model took to predict them.")


def _examples(recipe: Recipe, out: Path, data: Path | None) -> list[str]:
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
        stand_in = adapter_class(recipe, source.adapter_name).stand_in(source.items[0])
        stand_ins.setdefault(modality, shlex.join([*command, stand_in]))
    return list((stand_ins | shown).values())


def _as_typed(item: Any) -> str:
    """An item as one would type it; an empty string if it is too long or cannot be typed."""
    typed = item if isinstance(item, str) else ""
    if isinstance(item, list):  # words, or triples
        words = all(isinstance(word, str) for word in item)
        typed = " ".join(item) if words else json.dumps(item, ensure_ascii=False)
    return typed if len(typed) <= WIDE and typed.isprintable() and not typed.startswith("-") else ""


def _print_json(value: Any) -> None:
    """Print JSON. If the output is not in UTF-8, all characters outside ASCII are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    escaped = codecs.lookup(encoding).name != "utf-8"
    print(json.dumps(value, ensure_ascii=escaped, indent=1))


@contextmanager
def _unbreakable_output() -> Iterator[None]:
    """Inside this context, an output that fails (closed pipe, full disk) does not stop the training."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Unbreakable(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before


class _Unbreakable:
    """A stream that discards all text after its first error."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except OSError:
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def _say_error(line: str) -> None:
    print(f"multiseq: {line}", file=sys.stderr)


@contextmanager
def _plain_errors(out: Path | None = None, resume: str = "") -> Iterator[None]:
    """Print a user's error as one or two lines and exit with a code; other errors keep their traceback.

    Args:
        out: The folder of the run that is training, if any.
        resume: The command that resumes the run, shown after Ctrl-C.
    """
    from multiseq.requires import MissingLibraryError
    from multiseq.system.stopping import SIGTERM_CODE, Terminated

    # torch-geometric raises this warning for two of its own functions at every import.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    try:
        yield
    except BrokenPipeError:  # `multiseq predict … | head`: typer handles it
        raise
    except (ValueError, OSError, MemoryError, MissingLibraryError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        _say_error(f"error: {chr(10).join(lines[:2]) or type(error).__name__}")
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, Terminated) as stop:
        begun = out is not None and (out / "run.json").is_file()
        _say_error(f"stopped; go on with: {resume}" if begun else "stopped")
        raise typer.Exit(SIGTERM_CODE if isinstance(stop, Terminated) else 130) from None
