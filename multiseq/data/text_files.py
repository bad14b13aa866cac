"""Text files: the one place that says how they are unpacked, decoded and cut into lines.

What decides is the content: a byte order mark before the encoding that is given, the first bytes before the
name's .gz, the line feeds that there are or are not.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from multiseq.data.records import DataError

__all__ = [
    "check_encoding",
    "check_unpacked",
    "lines_of",
    "open_text",
    "parse_json",
    "parse_toml",
    "suffix_of",
    "text_of",
]

PACKED = (".gz", ".xz", ".zip")

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> encoding; the longer of two that begin alike comes first."""

ESCAPES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""What Python calls text encodings and no file is written in."""

SMALL = 256
"""MiB that a packed file may always unpack to, …"""
TIMES = 20
"""… and how many times its own size. Texts shrink to a fifth or a tenth."""
MEMORY = 256
"""MiB that unpacking xz may take while it runs."""

CHUNK = 2**16

DEEP = 100
"""Brackets within brackets in JSON. What is deeper ends in errors of Python's own."""

BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
)
"""What the libraries raise at packed files that are damaged, encrypted, or packed in a rare way."""


def suffix_of(path: str | Path) -> str:
    """What a file's name says of its format: in small letters, and without that of packing.

    >>> suffix_of("NEW.CSV.Gz")
    '.csv'
    """
    path = Path(path)
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return path.suffix.lower()


def check_encoding(name: str) -> None:
    """Raises ValueError where a name is not that of an encoding of texts."""
    try:
        found = codecs.lookup(name)
        text = found._is_text_encoding and found.name.replace("_", "-") not in ESCAPES
    except (LookupError, ValueError):  # ValueError: a name with a NUL
        text = False
    if not text:
        raise ValueError(f"got the encoding {name!r}, expected utf-8, latin-1, cp1252, utf-16, …")


@contextmanager
def open_text(
    path: Path, encoding: str = "utf-8", unpack_limit: int | None = None
) -> Iterator[io.TextIOWrapper]:
    """A text file, whose lines end in line feeds, or in carriage returns where no line feed is in the file.

    Args:
        path: The file, which may be packed (gzip, xz, or zip with one file in it).
        encoding: How it is decoded, unless a byte order mark says otherwise.
        unpack_limit: MiB that a packed file may unpack to; 0 is no limit. Without one it is `SMALL` MiB, or
            `TIMES` its own size where that is more.

    Raises:
        DataError: A file that cannot be read, with the line where there is one.
    """
    with _named_errors(path, encoding):
        with _decoded(path, encoding, "\n", unpack_limit) as file:
            newline = _line_end(file)
        with _decoded(path, encoding, newline) as file:
            yield file


def lines_of(path: Path, encoding: str = "utf-8", unpack_limit: int | None = None) -> Iterator[str]:
    """The lines of a text file, each with its end, as `open_text` reads it."""
    with open_text(path, encoding, unpack_limit) as file:
        yield from file


def text_of(path: Path, encoding: str = "utf-8", unpack_limit: int | None = None) -> str:
    """A whole text file, as `open_text` reads it."""
    with open_text(path, encoding, unpack_limit) as file:
        return file.read()


def parse_json(text: str) -> Any:
    """What JSON says. Raises ValueError also where it is nested too deeply."""
    return _parsed(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """What TOML says. Raises ValueError also where it is nested too deeply."""
    tables: dict[str, Any] = _parsed(tomllib.loads, text)
    return tables


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    deep = f"nested more than {DEEP} deep"
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError(deep) from None
    if sum(map(text.count, "[{.")) <= DEEP:  # the points nest tables of TOML
        return value
    level = [value]
    for _ in range(DEEP):
        outer = [v for v in level if isinstance(v, list | dict)]
        level = [v for one in outer for v in (one.values() if isinstance(one, dict) else one)]
    if any(isinstance(v, list | dict) for v in level):
        raise ValueError(deep)
    return value


def check_unpacked(path: Path, unpacked: int, unpack_limit: int | None = None) -> None:
    """Raises DataError where so many bytes are more than a packed file may unpack to."""
    default = max(SMALL * 2**20, TIMES * path.stat().st_size)
    limit = default if unpack_limit is None else unpack_limit * 2**20
    if unpacked > limit and unpack_limit != 0:
        raise DataError(
            f"{path}: unpacks to more than {limit / 2**20:,.0f} MiB; where that is meant, give "
            "unpack_limit = 0 (no limit), or another number of MiB"
        )


# --- opening --------------------------------------------------------------------------------------


def _line_end(file: io.TextIOWrapper) -> str | None:
    """A line feed; None (any line end) where only carriage returns end lines, as on old Macs.

    A lone carriage return beside line feeds is part of a line.
    """
    returns = False
    while chunk := file.read(CHUNK):
        if "\n" in chunk:
            return "\n"
        returns = returns or "\r" in chunk
    return None if returns else "\n"


@contextmanager
def _decoded(
    path: Path, encoding: str, newline: str | None, limit: int | None = 0
) -> Iterator[io.TextIOWrapper]:
    with _unpacked(path, limit) as raw:
        found = _marked(raw) or encoding
        checked = io.BufferedReader(_Text(raw, path, found), CHUNK)
        with io.TextIOWrapper(checked, encoding=found, newline=newline) as file:
            yield file


@contextmanager
def _unpacked(path: Path, limit: int | None = 0) -> Iterator[Any]:
    """The bytes of a file, unpacked. Where there is a limit, they are counted before any is kept."""
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        start = raw.peek(6)[:6]
        opened: Any = raw
        if start.startswith(b"\x1f\x8b"):
            opened = gzip.GzipFile(fileobj=raw)
        elif start == b"\xfd7zXZ\x00":
            opened = io.BufferedReader(_Xz(raw, path, None if limit == 0 else MEMORY * 2**20), CHUNK)
        elif start.startswith(b"PK\x03\x04"):
            archive = stack.enter_context(zipfile.ZipFile(raw))
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise DataError(f"{path}: got a zip archive of {len(names)} files, expected one")
            if archive.getinfo(names[0]).compress_type == zipfile.ZIP_LZMA:
                raise DataError(f"{path}: got a zip archive packed by LZMA, expected deflate, as usual")
            opened = archive.open(names[0])
        stack.enter_context(opened)
        if opened is not raw and limit != 0:
            count = 0
            while chunk := opened.read(CHUNK):
                count += len(chunk)
                check_unpacked(path, count, limit)
            opened.seek(0)
        yield opened


def _marked(raw: Any) -> str | None:
    """The encoding that a byte order mark says."""
    start = raw.peek(4)[:4]
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)


class _Xz(io.RawIOBase):
    """The content of an xz file. Unlike `lzma.LZMAFile` it has a limit of memory.

    The header of a block says how much memory unpacking takes: 65 MiB after ``xz -9``, up to 4 GiB.
    """

    def __init__(self, raw: Any, path: Path, limit: int | None) -> None:
        self.raw, self.path, self.limit = raw, path, limit
        self.place = 0
        self._start()

    def _start(self) -> None:
        self.unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self.limit)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only back to the start")
        self.raw.seek(0)
        self.place = 0
        self._start()
        return 0

    def readinto(self, buffer: Any) -> int:
        while True:
            packed = self.raw.read(CHUNK) if self.unpacker.needs_input else b""
            if self.unpacker.eof:  # another one may follow, after zeros
                packed = self.unpacker.unused_data or self.raw.read(CHUNK)
                while packed and not (packed := packed.lstrip(b"\0")):
                    packed = self.raw.read(CHUNK)
                if not packed:
                    return 0
                self._start()
            elif self.unpacker.needs_input and not packed:
                raise EOFError("the file ends in the middle of what is packed")
            unpacked = self._unpacked(packed, len(buffer))
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                self.place += len(unpacked)
                return len(unpacked)

    def _unpacked(self, packed: bytes, size: int) -> bytes:
        try:
            return self.unpacker.decompress(packed, size)
        except lzma.LZMAError as error:
            if "memory usage limit" not in str(error).lower():
                raise
            raise DataError(
                f"{self.path}: takes more than {MEMORY} MiB of memory to unpack; pack it again with xz -9 or "
                "less, or give unpack_limit = 0 (no limit) where that is meant"
            ) from error


class _Text(io.RawIOBase):
    """The bytes of a text. One that no text has is an error."""

    def __init__(self, raw: Any, path: Path, encoding: str) -> None:
        self.raw, self.path, self.encoding = raw, path, encoding
        self.wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        self.bytes, self.lines = 0, 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self.raw.read(len(buffer))
        buffer[: len(chunk)] = chunk
        if not self.wide and (place := chunk.find(0)) >= 0:
            line = self.lines + chunk.count(b"\n", 0, place)
            raise DataError(
                f"{self.path}:{line}: got a NUL (byte {self.bytes + place}), expected text in "
                f'{self.encoding}; UTF-16 without a byte order mark needs encoding = "utf-16-le"'
            )
        self.bytes += len(chunk)
        self.lines += chunk.count(b"\n")
        return len(chunk)


# --- errors ---------------------------------------------------------------------------------------


@contextmanager
def _named_errors(path: Path, encoding: str) -> Iterator[None]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        check_encoding(encoding)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    try:
        yield
    except DataError:
        raise
    except UnicodeError:
        raise DataError(_undecodable(path, encoding)) from None
    except (*BROKEN, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _undecodable(path: Path, encoding: str) -> str:
    """Which byte of which line is not in the encoding; read anew, as decoders count within a chunk."""
    with _unpacked(path) as raw:
        marked = _marked(raw)
        found = (marked or encoding).removesuffix("-sig")
        decoder = codecs.getincrementaldecoder(marked or encoding)()
        place, done, line = "", 0, 1
        while not place and (chunk := raw.read(CHUNK)):
            before = done - len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                place = f":{line}: not {found} (byte {before + error.start})"
            except UnicodeError:
                break
            done += len(chunk)
    place = place or f":{line}: not {found} (cut off in the middle of a character)"
    advice = 'give its encoding, as in encoding = "latin-1" (to predict: --set encoding=latin-1)'
    return f"{path}{place}" + (", as its byte order mark says" if marked else f"; {advice}")
