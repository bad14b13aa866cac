"""Seconds until one can begin: importing, the help of the command line, loading a checkpoint.

Each time a new Python process, in turn, beside one that imports torch alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.reports.report import Table
from benchmarks.setting import Setting
from benchmarks.timing import alternate, median, ratio
from multiseq import ClassTarget, Encoder, Model, Task, VectorHead, save
from multiseq.adapters import TextAdapter

__all__ = ["measure"]

QUICK = bool(os.environ.get("MULTISEQ_QUICK"))
ROUNDS = 1 if QUICK else 3


def measure(setting: Setting) -> list[Table]:
    """A row for each thing that one may start with."""
    with TemporaryDirectory() as folder:
        model = _save_model(Path(folder) / "model", setting)
        commands = {
            "Python alone": ["-c", "pass"],
            "import torch": ["-c", "import torch"],
            "import multiseq": ["-c", "import multiseq"],
            "multiseq --help": ["-m", "multiseq", "--help"],
            "load a checkpoint": ["-c", "import sys, multiseq; multiseq.load(sys.argv[1])", str(model)],
        }
        steps = {name: partial(_run, arguments) for name, arguments in commands.items()}
        seconds = alternate(steps, ROUNDS, warm_up=0 if QUICK else 1)
        mib = (model / "model.safetensors").stat().st_size / 2**20
    rows: list[Any] = [
        {"what": name, "seconds": median(taken), "import torch ÷ it": ratio(taken, seconds["import torch"])}
        for name, taken in seconds.items()
    ]
    note = f"Of a whole process each, Python's own start included; the checkpoint has {mib:.0f} MiB."
    return [Table("start", "Seconds to start", rows, note)]


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _save_model(folder: Path, setting: Setting) -> Path:
    """A checkpoint of the run's size, for parts of speech."""
    adapter = TextAdapter.fit([["I", "saw", "a", "saw"]], dim=setting.dim)
    head: Any = VectorHead(setting.dim, ClassTarget(["noun", "other"]))
    encoder = Encoder(setting.dim, setting.depth, setting.heads)
    return save(Model({"text": adapter}, encoder, {"pos": Task("text", head)}), folder)
