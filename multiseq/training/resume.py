"""The resume file of a training: everything that a run needs to continue as if it had never stopped.

It is Lightning's checkpoint, written so that a kill or a full disk never loses the run: it is written
completely or not at all (`multiseq.system.files`), and the previous file is kept too. It is a zip file, and
its checksums are verified before it is used. It does not depend on the machine: tensors are stored
contiguous, and are read into the CPU's memory.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
import zipfile
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiseq.checks import RENAMED
from multiseq.requires import needed
from multiseq.system.files import write_whole

with needed("lightning"):
    from lightning.pytorch.plugins.io import CheckpointIO

__all__ = [
    "PREVIOUS",
    "RESUME",
    "ResumeError",
    "ResumeFile",
    "check_identity",
    "has_resume",
    "read_resume",
    "remove_resume",
]

RESUME, PREVIOUS = "resume.ckpt", "resume.previous.ckpt"
OURS = "multiseq"
"""The key of our own entries in Lightning's checkpoint."""


class ResumeError(ValueError):
    """A resume file cannot be used. The message says why, and what to do."""


def has_resume(folder: Path) -> bool:
    """Whether the folder has a resume file or the previous one."""
    return (folder / RESUME).is_file() or (folder / PREVIOUS).is_file()


def remove_resume(folder: Path) -> None:
    """Remove the resume file and the previous one."""
    for name in (RESUME, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def read_resume(folder: Path) -> dict[str, Any]:
    """The content of the newest undamaged resume file. Warns if the newest file is damaged.

    Raises:
        FileNotFoundError: There is no resume file.
        ResumeError: All resume files are damaged.
    """
    damaged = []
    for name in (RESUME, PREVIOUS):
        if (folder / name).is_file():
            try:
                state = _read_state(folder / name)
            except ResumeError as error:
                damaged.append(str(error))
                continue
            if damaged:
                warnings.warn(f"{damaged[0]}; continuing from {name}", stacklevel=2)
            return state
    if not damaged:
        raise FileNotFoundError(f"resume: {folder / RESUME} does not exist; train without resume first")
    raise ResumeError(f"{damaged[0]}; copy it again, or train into another folder")


def _read_state(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as file:
            if (wrong := file.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ResumeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, *_FORGED) as error:
        first = str(error).strip().partition("\n")[0][:100]
        raise ResumeError(f"{path}: damaged or no resume file ({first})") from error
    if not isinstance(state, dict) or not isinstance(state.get(OURS), dict):
        raise ResumeError(f"{path}: was not written by multiseq")
    return state


# Other errors that zipfile and torch raise for manipulated files.
_FORGED = (EOFError, LookupError, TypeError, ValueError, AttributeError, NotImplementedError)


def check_identity(now: Any, then: Any) -> None:
    """Raise ResumeError if a resumed run differs from the stopped one. The message says what differs."""
    difference = _difference(now, then, "")
    if difference is not None:
        place, got, expected = difference
        if old := [name for name in RENAMED if _has(expected, name) and not _has(got, name)]:
            names = ", ".join(f"{name} is called {RENAMED[name]}" for name in old)
            raise ResumeError(
                f"resume: an older multiseq wrote this run ({place}: {names} now); train into another folder"
            )
        raise ResumeError(
            f"resume: got {place} {_short(got)}, but the run began with {_short(expected)}; "
            "go on with what it began with, or train into another folder"
        )


def _has(config: Any, name: str) -> bool:
    return isinstance(config, dict) and name in config


def _difference(now: Any, then: Any, place: str) -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ, not counting rounding differences between processors."""
    if isinstance(now, dict) and isinstance(then, dict) and now.keys() == then.keys():
        pairs = [(f"{place}.{key}".lstrip("."), now[key], then[key]) for key in now]
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        pairs = [(f"{place}[{i}]", *both) for i, both in enumerate(zip(now, then, strict=True))]
    elif isinstance(now, float) and isinstance(then, float):
        # For example a mean over the data, summed in another order. Digests compare the data themselves.
        return None if math.isclose(now, then, rel_tol=1e-3, abs_tol=1e-9) else (place, now, then)
    else:
        return None if now == then else (place, now, then)
    differences = (_difference(a, b, inner) for inner, a, b in pairs)
    return next((one for one in differences if one is not None), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


class ResumeFile(CheckpointIO):
    """Tells Lightning how to write and read the resume file.

    Args:
        state: Content of the resume file, if it was read already.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state = state

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the resume file. The last one is kept as the previous one."""
        path = Path(path)
        buffer = io.BytesIO()  # torch's own writer does not survive a full disk
        checks = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(True)
        try:
            torch.save(_contiguous(checkpoint), buffer)
        finally:
            torch.serialization.set_crc32_options(checks)
        write_whole(path, buffer.getbuffer(), previous=path.with_name(PREVIOUS))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The content of the resume file (see `read_resume`)."""
        state, self.state = self.state, None
        return read_resume(Path(path).parent) if state is None else state

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the resume file and the previous one."""
        remove_resume(Path(path).parent)


def _contiguous(value: Any) -> Any:
    """The same nested values with contiguous tensors, because other layouts are chosen for one processor."""
    if isinstance(value, Tensor):
        return value.contiguous()
    if isinstance(value, dict):
        plain = copy(value)  # keeps the class, and the attributes that torch sets on a state_dict
        plain.update((k, _contiguous(v)) for k, v in value.items())
        return plain
    if type(value) in (list, tuple):
        return type(value)(_contiguous(v) for v in value)
    return value
