"""Safe writing: a file or folder is written completely or not at all, and is on the disk after the call.

A new file is written under a temporary name in the same folder, flushed to the disk and then renamed. If the
process is killed, the power fails or the disk is full, the old file is still there. At most one temporary
file is left over, which the next start removes.
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
    "replace_file",
    "replace_folder",
    "write_whole",
]


class WriteError(OSError):
    """A file or folder could not be written. Its previous content is still there."""


def write_whole(
    path: str | Path, data: bytes | bytearray | memoryview | str, *, previous: Path | None = None
) -> None:
    """Write a file, completely or not at all. An existing file is replaced.

    Args:
        path: The file. Its folder must exist.
        data: The content; text is encoded as UTF-8.
        previous: If given, an existing file is renamed to this path instead of being lost.

    Raises:
        WriteError: The disk is full, or the folder cannot be written to.
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


def replace_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Like `write_whole`, for a file that is too large for the memory.

    Args:
        path: The file. Its folder must exist.
        fill: Writes the content to a new file, whose path it gets.

    Raises:
        WriteError: As for `write_whole`.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")

    def write() -> None:
        fill(fresh)
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
        _flush(path.parent)

    _or_nothing(path, fresh, write)


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Replace a folder by a new one. At any moment, the old folder or the new one exists completely.

    If the process is killed between the two renames, the old folder has a temporary name; `recover_folder`
    restores it.

    Args:
        folder: The folder to replace; it need not exist.
        fill: Writes the content to the new folder, whose path it gets.

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
    """Repair a `replace_folder` that was interrupted between its two renames: restore the old folder."""
    old = _beside(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path, *, seconds: float = 0.0) -> None:
    """Remove temporary files that killed processes left, if they are at least ``seconds`` old."""
    for path in filter(lambda path: is_leftover(path.name), folder.glob(".*")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_leftover(name: str) -> bool:
    """Whether ``name`` is the name of a temporary file, one that was being written."""
    return name.startswith(".") and name.endswith(".new")


def put(path: Path, data: bytes | bytearray | memoryview | str) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Flush a folder's list of names to the disk, on systems that can."""
    if os.name != "posix":
        return
    with suppress(OSError):  # some network file systems cannot do it and do not need it
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def not_written(path: Path, error: OSError) -> str:
    """The error message for a file or folder that could not be written."""
    return f"{path.name}: not written to the folder {path.parent}: {error.strerror or error}"


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _or_nothing(target: Path, fresh: Path, write: Callable[[], None]) -> None:
    """Call ``write``. If it fails, remove the temporary file or folder ``fresh``."""
    try:
        write()
    except OSError as error:
        _remove(fresh)
        raise WriteError(f"{not_written(target, error)}; its previous content is kept") from error
    except BaseException:
        _remove(fresh)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
