"""Describe the machine of a run for ``run.json``: versions, processor, memory, command.

We store no names of hosts or persons. But the command contains everything that was typed, and ``run.json``
contains the full path of the data: look at both before you publish a run.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from multiseq._version import __version__
from multiseq.system.libraries import versions_of
from multiseq.system.memory import memory

__all__ = ["command", "describe_machine", "versions"]

LIBRARIES = ("torch", "torchaudio", "torch-geometric", "lightning", "torchmetrics", "rdkit")


def versions() -> dict[str, str | None]:
    """Versions of Python, multiseq and the libraries that affect results; None if one is not installed."""
    return {"python": platform.python_version(), "multiseq": __version__, **versions_of(LIBRARIES)}


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads, GiB of memory and GPU."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round((memory() or 0) / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def command() -> str:
    """The command line of this process, as a user would type it."""
    program = Path(sys.argv[0]).name
    program = "python -m multiseq" if program == "__main__.py" else program
    return f"{program} {shlex.join(sys.argv[1:])}".strip()
