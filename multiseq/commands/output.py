"""What commands print: tables, JSON, and users' errors as one line; and the options that several take."""

from __future__ import annotations

import codecs
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

if TYPE_CHECKING:
    from multiseq.runs.scoring import Report

__all__ = [
    "WIDE",
    "AsJson",
    "Cache",
    "Data",
    "Run",
    "plain_errors",
    "print_json",
    "print_report",
    "print_table",
    "say_error",
    "unbreakable_output",
]

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


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: int = 99) -> None:
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


def print_report(report: Report) -> None:
    """Print the table of scores, and what they are of."""
    from multiseq.runs.scoring import HEADER, scored_on, table_rows

    if report:
        print_table(HEADER, table_rows(report), right=3)
    print(scored_on(report))
    if report:
        print("Seconds: the time that the model took to predict them.")


def print_json(value: Any) -> None:
    """Print JSON. If the output is not in UTF-8, all characters outside ASCII are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    escaped = codecs.lookup(encoding).name != "utf-8"
    print(json.dumps(value, ensure_ascii=escaped, indent=1))


@contextmanager
def unbreakable_output() -> Iterator[None]:
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


def say_error(line: str) -> None:
    """Print a line to standard error, with the name of the program."""
    print(f"multiseq: {line}", file=sys.stderr)


@contextmanager
def plain_errors(out: Path | None = None, resume: str = "") -> Iterator[None]:
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
        say_error(f"error: {chr(10).join(lines[:2]) or type(error).__name__}")
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, Terminated) as stop:
        begun = out is not None and (out / "run.json").is_file()
        say_error(f"stopped; go on with: {resume}" if begun else "stopped")
        raise typer.Exit(SIGTERM_CODE if isinstance(stop, Terminated) else 130) from None
