"""Reading single files (members) from uncompressed .tar archives without unpacking."""

from __future__ import annotations

import os
import posixpath
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

__all__ = ["AudioFile", "member_of", "members_of"]


@dataclass(frozen=True)
class AudioFile:
    """The name of a file inside an uncompressed .tar archive.

    Args:
        path: The archive.
        member: The file's name in the archive, as ``tar tf`` prints it. A leading ``./`` is ignored.
    """

    path: str | Path
    member: str

    def __str__(self) -> str:
        return f"{self.path}: {self.member}"


def member_of(file: AudioFile) -> BufferedReader:
    """Open a member for reading. Each call opens the archive itself, so that forked workers share no file.

    Raises:
        ValueError: The archive or the member does not exist, is cut off, or is stored in another format.
    """
    if not Path(file.path).is_file():
        raise ValueError(f"{file}: no such archive {file.path}; check the path")
    status = os.stat(file.path)
    places = _index(str(file.path), status.st_mtime_ns, status.st_size)
    name = posixpath.normpath(file.member)
    if name not in places:
        some = ", ".join(list(places)[:3]) or "none"
        raise ValueError(f"{file}: the archive has no such member; it has {len(places)}: {some} …")
    start, size, sparse = places[name]
    if sparse:
        raise ValueError(
            f"{file}: got a sparse member, expected a plain one; pack the archive without tar -S"
        )
    if start + size > status.st_size:
        raise ValueError(
            f"{file}: got {max(status.st_size - start, 0)} bytes, expected {size}; the archive was cut off: "
            "copy it again"
        )
    return BufferedReader(_Member(str(file.path), start, size))


def members_of(path: Path) -> list[str]:
    """The names of the files in an archive. Raises ValueError as `member_of` does."""
    status = os.stat(path)
    return list(_index(str(path), status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=8)
def _index(path: str, changed: int, size: int) -> dict[str, tuple[int, int, bool]]:
    """Member's name -> (its start in the archive, its size, whether it is sparse).

    ``changed`` and ``size`` belong to the key of the cache, so that a changed archive is read again.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = [m for m in archive if m.isfile()]
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise ValueError(
            f"{path}: not readable as an uncompressed .tar ({error}); decompress it first (gunzip, unxz)"
        ) from error
    return {posixpath.normpath(m.name): (m.offset_data, m.size, m.issparse()) for m in members}


class _Member(RawIOBase):
    """A range of bytes of a file, readable as if it were a file."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close
        self._start, self._size, self._place = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._place = max(offset + {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: self._size}[whence], 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        wanted = max(min(len(buffer), self._size - self._place), 0)
        self._file.seek(self._start + self._place)
        read = self._file.readinto(memoryview(buffer)[:wanted]) or 0
        self._place += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
