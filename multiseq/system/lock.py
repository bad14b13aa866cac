"""A lock on a run's folder, so that only one process at a time trains into it.

The operating system releases the lock when the process ends, even if it is killed. Processes that it forks
(loader workers) do not hold the lock.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

__all__ = ["LOCK", "FolderInUseError", "hold", "is_held"]

LOCK = ".lock"

HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""The errors of a lock that another process holds."""

_guard = threading.Lock()
_in_process: set[Path] = set()
"""Folders that this process holds. The system's lock does not exclude other threads of the same process."""
_in_call: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Folders that the callers of the current code hold already."""


class FolderInUseError(ValueError):
    """Another training uses this folder."""


@contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder while the block runs.

    A missing folder is created, and removed again if it stays empty. Inside the block, the same folder can be
    held again.

    Raises:
        FolderInUseError: Another process or thread holds it.
        OSError: The folder cannot be created or written to.
    """
    folder = Path(folder).resolve()
    if folder in _in_call.get():
        yield
        return
    with _guard:
        if folder in _in_process:
            raise _in_use(folder, str(os.getpid()))
        _in_process.add(folder)
    before = _in_call.set(_in_call.get() | {folder})
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _acquire(folder)
        try:
            yield
        finally:
            _release(folder / LOCK, handle)
    finally:
        _in_call.reset(before)
        _in_process.discard(folder)
        for path in missing:
            with suppress(OSError):  # not empty
                path.rmdir()


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a folder. A file ``.lock`` alone does not say so."""
    if folder.resolve() in _in_process:  # opening and closing the file would release the lock
        return True
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(handle)
    except OSError as error:
        return error.errno in HELD
    finally:
        os.close(handle)
    return False


def _acquire(folder: Path) -> int:
    path = folder / LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            owner = os.read(handle, 20).decode(errors="replace")
            os.close(handle)
            if error.errno in HELD:
                raise _in_use(folder, owner) from None
            raise
        if _is_same(handle, path):
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            return handle
        os.close(handle)  # the previous holder removed the file after we opened it: try again


def _release(path: Path, handle: int) -> None:
    if os.name == "posix":  # Windows cannot remove an open file
        path.unlink(missing_ok=True)
    os.close(handle)
    if os.name != "posix":
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(handle: int) -> None:
    """Lock an open file for this process, or raise OSError."""
    try:
        # fcntl's lock belongs to the process. A lock by flock would be inherited by loader workers and could
        # outlive the process.
        import fcntl
    except ImportError:
        import msvcrt

        # Lock a byte far behind the process number in the file, so that others can still read the number.
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        # msvcrt exists only on Windows.
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(handle, 0, os.SEEK_SET)
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        warnings.warn(
            f"this file system has no locks ({error.strerror}): do not run two trainings in one folder",
            stacklevel=2,
        )


def _in_use(folder: Path, process: str) -> FolderInUseError:
    who = f"process {process}" if process else "another process"
    return FolderInUseError(
        f"{folder}: {who} trains into this folder; wait for it, stop it, or choose another folder"
    )
