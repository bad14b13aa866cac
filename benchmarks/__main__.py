"""`python -m benchmarks`: all parts in order; tables in the terminal, JSON and pictures in a folder.

Exit codes: 0 done, 1 an error of the user's (one line on stderr) or a part that failed (its traceback), 130
stopped by Ctrl-C; what was measured is written.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler of torch speaks to itself, aloud
import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.reports import plots
from benchmarks.reports.report import Part, Report, Table, shown
from benchmarks.setting import Setting
from benchmarks.workloads import WORKLOADS, read_lengths
from multiseq.checks import nearest
from multiseq.nn.precision import choose_precision
from multiseq.requires import MissingLibraryError
from multiseq.system.memory import give_back_memory, keep_memory

PARTS = {
    "encoders": "the encoder beside its peers",
    "limits": "the encoder beside its matrix products alone",
    "kernels": "where the encoder's time goes",
    "variants": "the encoder compiled, and as a CUDA graph",
    "steps": "whole training steps",
    "loader": "what the loader can feed",
    "decoding": "sequences, beside generate",
    "memory": "peak memory",
    "growth": "how time and memory grow",
    "recordings": "recognition of files and streams",
    "start": "importing and loading",
}
"""In the order in which they run; each is a module of that name with ``measure(setting)``."""

# A GPU is only busy with more than a CPU could bear: 65,000 vectors in a mixed batch. head_dim is that of
# common models of the size.
SETTINGS = {
    "cpu": Setting(),
    "cuda": Setting(torch.device("cuda"), torch.bfloat16, dim=768, depth=12, heads=12, sets=1360),
}
HEAD_DIM = {"cpu": 32, "cuda": 64}
WIDE = 140
"""Columns of a table that goes to a file or a pipe."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help="What multiseq costs. Parts: " + "; ".join(f"{k}: {v}" for k, v in PARTS.items()) + ".")
def main(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", show_default="all", help="What to measure.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    lengths: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Your own lengths of sets, one a line, as the only workload; batches of --sets are drawn.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            metavar="NAME",
            show_default="all",
            help=f"One of {', '.join(WORKLOADS)}; may be given several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", show_default="runs/benchmarks/DATE", help="A folder that is new or empty."
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, show_default="3", help="Batches drawn of every workload.")
    ] = None,
    sets: Annotated[
        int | None, typer.Option(min=1, show_default="64; cuda 1360", help="Sets of a batch.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(min=1, show_default="256; cuda 768", help="Width of the vectors.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, show_default="4; cuda 12", help="Blocks.")] = None,
) -> None:
    try:
        chosen = _chosen(parts or [])
        setting = _setting(device, lengths, only or (), draws=draws, sets=sets, dim=dim, depth=depth)
        folder = _folder(out)
    except (ValueError, OSError) as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if code := run(chosen, setting, folder):
        raise typer.Exit(code)


def run(chosen: list[str], setting: Setting, folder: Path) -> int:
    """Measure the parts, say and write what came of each; the exit code."""
    console = Console()
    console = Console(width=console.width if console.is_terminal else WIDE, highlight=False, markup=False)
    report, code = Report.begin(setting), 0
    console.print("\n".join(report.head_lines()))
    try:
        keep_memory()  # nobody waits for the system to clear pages, neither ours nor peers
        for name in chosen:
            console.print(f"\n{name}: {PARTS[name]} …")
            report.parts[name] = part = _measure(name, setting)
            report.write(folder)  # now, lest a later part take it along
            for table in part.tables:
                console.print(
                    f"\n{table.title}", _rich(table), *([table.note] if table.note else []), sep="\n"
                )
            console.print(
                f"{name}: {f'left out: {part.skipped}' if part.skipped else f'{part.seconds:.0f} s'}"
            )
            code = max(code, part.failed)
    except KeyboardInterrupt:
        code = 130
        print("benchmarks: stopped", file=sys.stderr)
    report.write(folder)
    plots.draw(report, folder)
    total = sum(part.seconds for part in report.parts.values())
    console.print(f"\n{folder} has the tables and pictures; {total:.0f} s in all.")
    return code


def _measure(name: str, setting: Setting) -> Part:
    start, tables, skipped, failed = time.perf_counter(), [], "", False
    try:
        tables = import_module(f"benchmarks.{name}").measure(setting)
    except (ImportError, MemoryError, torch.OutOfMemoryError) as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("benchmarks"):
            raise
        skipped = str(error).partition("\n")[0]
        if isinstance(error, ImportError) and not isinstance(error, MissingLibraryError):
            skipped += "; install what it is compared with: pip install -e '.[benchmarks]'"
    except Exception as error:  # a part costs only itself
        traceback.print_exc()
        skipped, failed = f"it failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}", True
    if setting.device.type == "cuda" and not failed:  # after some errors a GPU answers nothing more
        torch.cuda.empty_cache()
    give_back_memory()  # the next part may be a process of its own
    return Part(time.perf_counter() - start, tables, skipped, failed)


def _rich(table: Table) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in table.rows[0] if table.rows else ():
        words = all(isinstance(row[name], str) for row in table.rows)
        drawn.add_column(name, justify="left" if words else "right")
    for row in table.rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row.values()))
    return drawn


# --- what was asked for ---------------------------------------------------------------------------------


def _chosen(parts: list[str]) -> list[str]:
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        near = nearest(unknown[0], PARTS)
        raise ValueError(f"part: got {unknown[0]!r}{near}, expected some of {', '.join(PARTS)}")
    return [name for name in PARTS if name in parts or not parts]


def _setting(device: str, lengths: Path | None, only: Sequence[str], **changes: int | None) -> Setting:
    """The device's usual setting with what was asked for."""
    if device not in SETTINGS:
        raise ValueError(f"--device: got {device!r}, expected cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device: got cuda, but torch finds no GPU here; leave it out, or install a torch for it"
        )
    asked: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    setting = replace(SETTINGS[device], **asked)
    if setting.dim % HEAD_DIM[device]:
        raise ValueError(f"--dim: got {setting.dim}, expected a multiple of {HEAD_DIM[device]}")
    if only and lengths is not None:
        raise ValueError("--workload: got one beside --lengths, which are the only workload; leave one out")
    for name in only:
        if name not in WORKLOADS:
            near = nearest(name, WORKLOADS)
            raise ValueError(f"--workload: got {name!r}{near}, expected some of {', '.join(WORKLOADS)}")
    half = device == "cpu" and choose_precision("auto", device, setting.dim).name == "bf16"
    drawn_from = None if lengths is None else read_lengths(lengths)
    return replace(
        setting,
        heads=setting.dim // HEAD_DIM[device],
        lengths=drawn_from,
        only=tuple(dict.fromkeys(only)),
        half=half,
    )


def _folder(out: Path | None) -> Path:
    """Made, so that it is known to be there before anything is measured."""
    folder = out or Path("runs/benchmarks", datetime.now().strftime("%Y-%m-%d-%H%M%S"))
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"--out: {folder} is not empty; choose a new folder, results are never overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    # As the models do: denormal numbers make training on a CPU several times slower.
    torch.set_flush_denormal(True)
    app(prog_name="python -m benchmarks")
