"""The command line: init, check, train, evaluate, report, predict, tasks, recipe, card, cache.

`multiseq.commands` has the commands, which import heavy libraries only when they need them. Exit codes: 0 for
success; 1 for a user's error (one or two lines on stderr); 2 for an invalid command line; 130 after Ctrl-C;
143 after SIGTERM.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from multiseq.commands import training, using
from multiseq.commands.output import say_error

__all__ = ["app", "main"]

PACKAGE = Path(__file__).parent

app = typer.Typer(
    name="multiseq",
    help="One self-attention encoder for text, speech and graphs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug in multiseq shows Python's plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line. Characters that the output's encoding lacks are printed as escape codes.

    Warnings for users are one line, without the place in the code that warns.
    """
    warnings.showwarning = _plain(warnings.showwarning)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="multiseq")


def _plain(show: Callable[..., Any]) -> Callable[..., Any]:
    """A function that shows a warning of ours for users in one line, and leaves all others to ``show``."""

    def show_plain(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, UserWarning) and Path(place[0]).is_relative_to(PACKAGE):
            say_error(f"warning: {' '.join(str(message).split())}")
        else:
            show(message, category, *place, **more)

    return show_plain


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


for command in (
    *(training.init, training.check, training.tasks, training.recipe, training.train),
    *(using.evaluate, using.report, using.predict, using.card, using.cache),
):
    app.command()(command)
