"""Loggers of Lightning by name, for `multiseq train --logger NAME`. They write into the folder of the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiseq.checks import one_of
from multiseq.requires import MissingLibraryError, needed

__all__ = ["LOGGERS", "loggers_for"]

LOGGERS = {
    "csv": "CSVLogger",
    "mlflow": "MLFlowLogger",
    "tensorboard": "TensorBoardLogger",
    "wandb": "WandbLogger",
}
"""Name -> the class in `lightning.pytorch.loggers`."""


def loggers_for(names: Sequence[str], out: Path, project: str) -> list[Any]:
    """Make loggers that write into ``out``.

    Args:
        names: Names from `LOGGERS`.
        out: Folder of the run. It must exist.
        project: Name of the project or experiment, where a logger has one.

    Raises:
        ValueError: A name is unknown.
        MissingLibraryError: The library of a logger is not installed.
    """
    with needed("lightning"):
        from lightning.pytorch import loggers
    mlflow = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.resolve() / 'mlflow.db'}"
    options: dict[str, dict[str, Any]] = {
        "csv": {"save_dir": out, "name": "csv", "version": ""},
        "mlflow": {"experiment_name": project, "tracking_uri": mlflow},
        "tensorboard": {"save_dir": out, "name": "tensorboard", "version": ""},
        "wandb": {"project": project, "save_dir": out},
    }
    made = []
    for name in names:
        one_of(name, LOGGERS, "--logger")
        try:
            made.append(getattr(loggers, LOGGERS[name])(**options[name]))
        except ModuleNotFoundError as error:
            raise MissingLibraryError(
                f"--logger {name}: {name} is not installed. Run: pip install {name}", name=name
            ) from error
    return made
