"""Files that survive: written whole or not at all, and on the disk when the call returns.

A file is written beside its place, in the same folder, flushed to the disk and then renamed. A kill, a power
cut or a full disk at any moment leaves what was there before, and at most one leftover, which the next start
removes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = [
    "WriteError",
    "is_leftover",
    "not_written",
    "put",
    "recover_folder",
    "remove_leftovers",
    "replace_folder",
    "write_whole",
]


class WriteError(OSError):
    """A file or folder that could not be written; what was there before is still there."""


def write_whole(
    path: str | Path, data: bytes | bytearray | memoryview | str, *, previous: Path | None = None
) -> None:
    """Write a file in the place of what was there.

    Args:
        path: Its folder must be there.
        data: All of it; text is encoded as UTF-8.
        previous: Where the file that was there before is kept.

    Raises:
        WriteError: A full disk or a folder that takes no files.
    """
    path = Path(path)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")

    def write() -> None:
        put(fresh, data)
        if previous is not None and path.exists():
            path.replace(previous)
        fresh.replace(path)
        _flush(path.parent)

    _or_nothing(path, fresh, write)


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Put a folder that ``fill`` fills in the place of one that was there; either can be had at any moment.

    Raises:
        WriteError: As for `write_whole`.
    """
    fresh, old = _beside(folder, "new"), _beside(folder, "old")

    def write() -> None:
        fresh.mkdir(parents=True)
        fill(fresh)
        _flush(fresh)
        recover_folder(folder)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        _flush(folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    shutil.rmtree(fresh, ignore_errors=True)
    _or_nothing(folder, fresh, write)


def recover_folder(folder: Path) -> None:
    """Undo the half of `replace_folder` that a kill left: what was there before goes back to its place."""
    old = _beside(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path, *, seconds: float = 0.0) -> None:
    """Remove what killed processes left of files that they were writing, at least so many seconds ago."""
    for path in filter(lambda path: is_leftover(path.name), folder.glob(".*")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_leftover(name: str) -> bool:
    """Whether a name in a folder is that of a file that was being written."""
    return name.startswith(".") and name.endswith(".new")


def put(path: Path, data: bytes | bytearray | memoryview | str) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    with suppress(OSError):  # some network file systems cannot, and need not
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def not_written(path: Path, error: OSError) -> str:
    """What to say of a file or folder that could not be written."""
    return f"{path.name}: not written to the folder {path.parent}: {error.strerror or error}"


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _or_nothing(target: Path, fresh: Path, write: Callable[[], None]) -> None:
    """Write, or leave nothing behind."""
    try:
        write()
    except OSError as error:
        _remove(fresh)
        raise WriteError(f"{not_written(target, error)}; what was there before is kept") from error
    except BaseException:
        _remove(fresh)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
