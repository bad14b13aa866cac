"""Reading text files: how they are unpacked, decoded and split into lines.

The content of the file decides. Its first bytes tell whether it is packed, not a suffix such as .gz; a byte
order mark is stronger than the given encoding; and carriage returns end lines only if there is no line feed.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import re
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from multiseq.checks import nearest
from multiseq.data.records import DataError

__all__ = [
    "check_encoding",
    "check_unpacked",
    "json_item",
    "json_of",
    "lines_of",
    "WITH_PANDAS",
    "NoSuchFileError",
    "no_such_file",
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
"""Byte order mark -> encoding. If one mark is the beginning of another, the longer comes first."""

ESCAPES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Encodings that Python knows, but in which no text file is written."""

SMALL = 256
"""Default limit in MiB for the unpacked size of a packed file …"""
TIMES = 20
"""… or this many times its packed size, if that is more. Texts usually shrink to a fifth or a tenth."""
MEMORY = 256
"""The most MiB of memory that unpacking an xz file may use."""

CHUNK = 2**16

WINDOWS = re.compile(rb"[\x00-\x7f][\x80-\x9f]")
"""A byte that is a control character in latin-1 but a sign in cp1252, and that no UTF-8 text has there."""

SIBLINGS = 1000
"""The most files of a folder that are compared with a name that is not there."""

DEEP = 100
"""The deepest nesting of JSON and TOML that is accepted. Deeper nesting causes Python's recursion errors."""

BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
)
"""Errors of the libraries for packed files that are damaged, encrypted, or packed by a rare method."""


def suffix_of(path: str | Path) -> str:
    """The suffix of a file's name in lower case, without a suffix of packing (.gz, .xz, .zip).

    >>> suffix_of("NEW.CSV.Gz")
    '.csv'
    """
    path = Path(path)
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return path.suffix.lower()


def check_encoding(name: str) -> None:
    """Raise ValueError unless ``name`` is an encoding of texts."""
    try:
        codec = codecs.lookup(name)
        text = codec._is_text_encoding and codec.name.replace("_", "-") not in ESCAPES
    except (LookupError, ValueError):  # ValueError: the name contains a NUL
        text = False
    if not text:
        raise ValueError(f"got the encoding {name!r}, expected utf-8, latin-1, cp1252, utf-16, …")


@contextmanager
def open_text(
    path: Path, encoding: str = "utf-8", unpack_limit: int | None = None
) -> Iterator[io.TextIOWrapper]:
    """Open a text file. Lines end in line feeds, or in carriage returns if the file has no line feed.

    Args:
        path: The file. It can be packed (gzip, xz, or zip with a single file in it).
        encoding: The encoding, unless the file has a byte order mark.
        unpack_limit: The most MiB to which a packed file may unpack; 0 for no limit. Default: `SMALL` MiB or
            `TIMES` its packed size, whichever is more.

    Raises:
        DataError: The file cannot be read. The message names the line if there is one.
    """
    with _named_errors(path, encoding):
        with _decoded(path, encoding, "\n", unpack_limit) as file:
            newline = _line_end(file)
        with _decoded(path, encoding, newline) as file:
            yield file


def lines_of(path: Path, encoding: str = "utf-8", unpack_limit: int | None = None) -> Iterator[str]:
    """The lines of a text file, including their line ends; see `open_text`."""
    with open_text(path, encoding, unpack_limit) as file:
        yield from file


def text_of(path: Path, encoding: str = "utf-8", unpack_limit: int | None = None) -> str:
    """The whole content of a text file; see `open_text`."""
    with open_text(path, encoding, unpack_limit) as file:
        return file.read()


def parse_json(text: str) -> Any:
    """Parse JSON. Raises ValueError for invalid JSON, and for nesting deeper than `DEEP`."""
    return _parsed(json.loads, text)


def json_item(text: str, folder: Path, form: str = "") -> Any:
    """An item as JSON, or what is in the ``.json`` file that a text names.

    Args:
        text: JSON, or a path.
        folder: What the path is relative to.
        form: An item as it may be, for the message.

    Raises:
        ValueError: No such file, or no JSON.
    """
    if not text.strip().endswith(".json"):
        return json_of(text, form)
    path = folder / text.strip()
    if not path.is_file():
        raise no_such_file(path)
    content = text_of(path)
    try:
        return json_of(content, form)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def json_of(text: str, form: str = "") -> Any:
    """As `parse_json`, with a message for people, who may see by ``form`` what is expected."""
    try:
        return parse_json(text)
    except ValueError as error:
        example = f", as in {form}" if form else ""
        raise ValueError(f"got {text[:40]!r}, expected JSON{example} ({error})") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises ValueError for invalid TOML, and for nesting deeper than `DEEP`."""
    tables: dict[str, Any] = _parsed(tomllib.loads, text)
    return tables


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    deep = f"nested more than {DEEP} deep"
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError(deep) from None
    if sum(map(text.count, "[{.")) <= DEEP:  # dots nest tables in TOML
        return value
    level = [value]
    for _ in range(DEEP):
        outer = [v for v in level if isinstance(v, list | dict)]
        level = [v for one in outer for v in (one.values() if isinstance(one, dict) else one)]
    if any(isinstance(v, list | dict) for v in level):
        raise ValueError(deep)
    return value


def check_unpacked(path: Path, unpacked: int, unpack_limit: int | None = None) -> None:
    """Raise DataError if ``unpacked`` bytes exceed the limit for a packed file (see `open_text`)."""
    default = max(SMALL * 2**20, TIMES * path.stat().st_size)
    limit = default if unpack_limit is None else unpack_limit * 2**20
    if unpacked > limit and unpack_limit != 0:
        raise DataError(
            f"{path}: unpacks to more than {limit / 2**20:,.0f} MiB; if that is intended, set "
            "unpack_limit = 0 (no limit), or another number of MiB"
        )


# --- opening --------------------------------------------------------------------------------------


def _line_end(file: io.TextIOWrapper) -> str | None:
    """The line end of a file: a line feed, or None (any line end) if there are only carriage returns.

    Old Macs wrote carriage returns only. In a file with line feeds, a single carriage return belongs to a
    line.
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
    with unpacked(path, limit) as raw:
        used = _marked(raw) or encoding
        checked = io.BufferedReader(_Text(raw, path, used), CHUNK)
        with io.TextIOWrapper(checked, encoding=used, newline=newline) as file:
            yield file


@contextmanager
def unpacked(path: Path, limit: int | None = 0) -> Iterator[Any]:
    """The unpacked bytes of a file. If there is a limit, they are counted before any of them is used."""
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
            # Macs add a folder __MACOSX with properties of each file.
            names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
            if len(names) != 1:
                listed = ", ".join(names[:5]) + (" …" if names[5:] else "")
                raise DataError(
                    f"{path}: got a zip archive of {len(names)} files, expected one"
                    + (f" ({listed}); unpack it and give its folder, or one of the files" if names else "")
                )
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
    """The encoding according to the byte order mark; None without a mark."""
    start = raw.peek(4)[:4]
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)


class _Xz(io.RawIOBase):
    """The unpacked content of an xz file. Unlike `lzma.LZMAFile`, it limits the memory for unpacking.

    The header of each block determines how much memory is needed: 65 MiB for ``xz -9``, at most 4 GiB.
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
            if self.unpacker.eof:  # another xz stream may follow, after zeros
                packed = self.unpacker.unused_data or self.raw.read(CHUNK)
                while packed and not (packed := packed.lstrip(b"\0")):
                    packed = self.raw.read(CHUNK)
                if not packed:
                    return 0
                self._start()
            elif self.unpacker.needs_input and not packed:
                raise EOFError("the packed data is cut off")
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
                "less, or set unpack_limit = 0 (no limit) if that is intended"
            ) from error


WITH_PANDAS = 'with pandas: frame.to_json(file, orient="records", lines=True)'
"""How to write JSON lines."""


class NoSuchFileError(DataError):
    """A file is not there."""


def no_such_file(path: Path) -> DataError:
    """An error for a file that is not there, with the most similar name in its folder; or for a folder.

    A name is similar without its ending, and a recipe (``.toml``) is never meant by the name of data.
    """
    if path.is_dir():
        return DataError(f"{path}: is a folder, expected a file")
    stems: dict[str, list[str]] = {}
    for other in islice(path.parent.iterdir(), SIBLINGS) if path.parent.is_dir() else ():
        if (other.suffix == ".toml") == (path.suffix == ".toml"):
            stems.setdefault(other.stem.casefold(), []).append(other.name)
    similar = get_close_matches(path.stem.casefold(), stems)
    return NoSuchFileError(
        f"{path}: no such file{nearest(path.name, (n for s in similar for n in stems[s]))}"
    )


class _Text(io.RawIOBase):
    """The bytes of a text. A NUL byte, which no text contains, is an error (except in UTF-16 and UTF-32)."""

    def __init__(self, raw: Any, path: Path, encoding: str) -> None:
        self.raw, self.path, self.encoding = raw, path, encoding
        self.wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        self.bytes, self.lines = 0, 1
        name = codecs.lookup(encoding).name
        # Of each of these, any bytes are a text: nothing else tells that they are UTF-8.
        single = name.startswith(("iso8859", "cp125"))
        self.as_utf8 = codecs.getincrementaldecoder("utf-8")() if single else None
        self.ascii = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self.raw.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._look(chunk)
        if not self.wide and (place := chunk.find(0)) >= 0:
            line = self.lines + chunk.count(b"\n", 0, place)
            raise DataError(
                f"{self.path}:{line}: got a NUL (byte {self.bytes + place}), expected text in "
                f'{self.encoding}; UTF-16 without a byte order mark needs encoding = "utf-16-le"'
            )
        self.bytes += len(chunk)
        self.lines += chunk.count(b"\n")
        return len(chunk)

    def _look(self, chunk: bytes) -> None:
        """Warn at the end if the bytes are UTF-8 and not only ASCII, but another encoding is given."""
        if self.as_utf8 is None:
            return
        try:
            self.as_utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError:
            self.as_utf8 = None
            return
        self.ascii = self.ascii and chunk.isascii()
        if not chunk and not self.ascii:
            self.as_utf8 = None
            warnings.warn(
                f"{self.path}: is read as {self.encoding}, but its bytes are UTF-8; if ü looks like Ã¼, set "
                'encoding = "utf-8" (to predict: --set encoding=utf-8)',
                stacklevel=2,
            )


# --- errors ---------------------------------------------------------------------------------------


@contextmanager
def _named_errors(path: Path, encoding: str) -> Iterator[None]:
    if not path.is_file():
        raise no_such_file(path)
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
    """The message that names the line and the byte that cannot be decoded.

    It reads the file again, because decoders count bytes only within a chunk.
    """
    with unpacked(path) as raw:
        marked = _marked(raw)
        tried = (marked or encoding).removesuffix("-sig")
        decoder = codecs.getincrementaldecoder(marked or encoding)()
        place, done, line, chunk = "", 0, 1, b""
        while not place and (chunk := raw.read(CHUNK)):
            before = done - len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                place = f":{line}: not {tried} (byte {before + error.start})"
            except UnicodeError:
                break
            done += len(chunk)
    place = place or f":{line}: not {tried} (cut off in the middle of a character)"
    # Windows has letters and signs such as € where latin-1 has control characters.
    likely = "cp1252" if WINDOWS.search(chunk) else "latin-1"
    advice = f'give its encoding, as in encoding = "{likely}" (to predict: --set encoding={likely})'
    return f"{path}{place}" + (", as its byte order mark says" if marked else f"; {advice}")
