"""TextGrids of Praat: the tiers of a file, and the files of a folder or an archive.

Both text forms are read, long and short: what counts in them are numbers, quoted texts and ``<exists>`` that
stand alone; everything else is a comment.

Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from multiseq.data.records import DataError
from multiseq.data.text_files import BROKEN, MARKS, check_encoding, suffix_of, unpacked

__all__ = [
    "Grid",
    "GridError",
    "Interval",
    "Tier",
    "grids_of",
    "is_grid",
    "is_grid_archive",
    "segments_of",
    "tiers_of",
]

ARCHIVES = (".tar", ".tgz", ".txz")
"""Endings of archives, apart from those of packing (.tar.gz, .tar.xz)."""

TOUCHING = 1e-3
"""Seconds by which neighbouring intervals may overlap or be apart, because times in files are rounded."""

TO_TEXT = "expected an ordinary text file; open it in Praat, and save it as a text file"

_TOKEN = re.compile(r'"(?P<text>[^"]*(?:""[^"]*)*)"|(?P<open>")|![^\n]*|(?P<word>[^\s"]+)')
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


class GridError(ValueError):
    """A TextGrid cannot be used.

    Args:
        reason: What is wrong.
        line: The line; 0 if it is the whole file.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


class Interval(NamedTuple):
    """A stretch of time, in seconds, with its text. ``line`` is where it stands in the file."""

    start: float
    end: float
    text: str
    line: int


@dataclass(frozen=True)
class Tier:
    """One tier of a TextGrid.

    Args:
        name: Its name.
        intervals: Its intervals, in the order of the file; None for a tier of points.
    """

    name: str
    intervals: Sequence[Interval] | None


@dataclass(frozen=True)
class Grid:
    """A TextGrid that is not read yet.

    Args:
        name: Its path in the folder or archive, without the ending. Its recording has the same name.
        location: The file, for messages.
        content: The bytes.
    """

    name: str
    location: str
    content: bytes

    def tiers(self, encoding: str = "utf-8") -> list[Tier]:
        """Its tiers. Raises GridError if it is no TextGrid, or has another encoding."""
        found = next((name for mark, name in MARKS.items() if self.content.startswith(mark)), encoding)
        try:
            text = self.content.decode(found)
        except UnicodeError as error:
            line = self.content.count(b"\n", 0, getattr(error, "start", 0)) + 1
            advice = f'got text that is not {found}; give its encoding, as in encoding = "latin-1"'
            raise GridError(advice, line) from None
        return tiers_of(text)


# --- files ----------------------------------------------------------------------------------------


def is_grid(name: str | Path) -> bool:
    """Whether a file's name ends like that of a TextGrid."""
    return str(name).lower().endswith(".textgrid")


def is_grid_archive(path: Path) -> bool:
    """Whether a file is an archive with a TextGrid among its first members."""
    if not path.is_file() or suffix_of(path) not in ARCHIVES:
        return False
    try:
        with tarfile.open(path) as archive:
            return any(is_grid(member.name) for member, _ in zip(archive, range(50), strict=False))
    except (tarfile.TarError, *BROKEN):
        return False


def grids_of(path: Path, encoding: str = "utf-8", unpack_limit: int | None = None) -> Iterator[Grid]:
    """The TextGrids of a folder (and of the folders in it), of an archive, or a single one; by name.

    Raises:
        DataError: There is none, or the archive cannot be read.
    """
    try:
        check_encoding(encoding)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if path.is_file() and not is_grid(path):
        grids = _members(path, unpack_limit)
    elif path.is_file():
        grids = iter([Grid(path.stem, str(path), path.read_bytes())])
    else:
        files = sorted(
            p for p in path.rglob("*") if is_grid(p) and p.is_file() and not p.name.startswith(".")
        )
        names = [file.relative_to(path).with_suffix("").as_posix() for file in files]
        grids = (Grid(name, str(file), file.read_bytes()) for name, file in zip(names, files, strict=True))
    first = next(grids, None)
    if first is None:
        what = "no TextGrid in it" if path.exists() else "no such file or folder"
        raise DataError(f"{path}: {what}, expected TextGrids of Praat (a.TextGrid)")
    yield first
    yield from grids


def _members(path: Path, unpack_limit: int | None) -> Iterator[Grid]:
    found = []
    try:
        with unpacked(path, unpack_limit) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
            for member in archive:
                if member.isfile() and is_grid(member.name):
                    opened = archive.extractfile(member)
                    name = member.name.removeprefix("./")
                    assert opened is not None  # it is a file
                    found.append(Grid(name[: -len(".TextGrid")], f"{path}: {name}", opened.read()))
    except DataError:
        raise
    except (tarfile.TarError, *BROKEN, ValueError) as error:
        expected = "expected a folder of TextGrids, a .TextGrid, or a .tar of them"
        raise DataError(f"{path}: cannot be read ({error}); {expected}") from None
    return iter(sorted(found, key=lambda grid: grid.name))


# --- the content ----------------------------------------------------------------------------------


def tiers_of(text: str) -> list[Tier]:
    """The tiers of a TextGrid, from its text in the long or the short form.

    Raises:
        GridError: It is no TextGrid, or was cut off.

    Example:
        >>> [tier] = tiers_of('"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "phones" 0 1 1 0 1 "a"')
        >>> tier.name, tier.intervals[0][:3]
        ('phones', (0.0, 1.0, 'a'))
    """
    if text.startswith("ooBinaryFile"):
        raise GridError(f"got a binary TextGrid, {TO_TEXT}", 1)
    if text.lstrip("\ufeff").startswith('"Praat chronological'):
        raise GridError(f"got a chronological TextGrid, {TO_TEXT}", 1)
    tokens = _Tokens(text)
    known = "ooTextFile" in text[:100] and "TextGrid" in text[:200]
    if (
        not known
        or not tokens.text("the type").startswith("ooTextFile")
        or tokens.text("a class") != "TextGrid"
    ):
        raise GridError('expected File type = "ooTextFile" and Object class = "TextGrid"', 1)
    tokens.number("xmin")
    tokens.number("xmax")
    if tokens.flag() != "<exists>":
        return []
    return [_tier(tokens) for _ in range(tokens.count("tiers"))]


def _tier(tokens: _Tokens) -> Tier:
    kind = tokens.text("the class of a tier")
    if kind not in ("IntervalTier", "TextTier"):
        raise GridError(f"got a tier of class {kind!r}, expected IntervalTier or TextTier", tokens.line)
    name = tokens.text("the name of a tier")
    tokens.place = f" in tier {name!r}"
    tokens.number("xmin")
    tokens.number("xmax")
    size = tokens.count("intervals" if kind == "IntervalTier" else "points")
    intervals = []
    for number in range(1, size + 1):
        tokens.place = f" in number {number} of {size} of tier {name!r}"
        start = tokens.number("a time")
        line = tokens.line
        if kind == "TextTier":
            tokens.text("the text of a point")
        else:
            end, label = tokens.number("a time"), tokens.text("the text of an interval")
            intervals.append(Interval(start, end, " ".join(label.split()), line))
    tokens.place = ""
    return Tier(name, intervals if kind == "IntervalTier" else None)


class _Tokens:
    """The numbers, texts and flags of a TextGrid, one after another, with their lines."""

    def __init__(self, text: str) -> None:
        self._text, self._matches = text, _TOKEN.finditer(text)
        self._counted = 0
        self.line, self.place = 1, ""

    def _next(self, expected: str) -> tuple[str, str]:
        """What comes next: its kind (text, number or flag), and its content."""
        for match in self._matches:
            self.line += self._text.count("\n", self._counted, match.start())
            self._counted = match.start()
            if match["open"] is not None:
                raise GridError(
                    "got a quote that is never closed; the file was cut off, copy it anew", self.line
                )
            if match["text"] is not None:
                return "text", match["text"].replace('""', '"')
            word = match["word"] or ""
            if _NUMBER.fullmatch(word):
                return "number", word
            if word.startswith("<") and word.endswith(">"):
                return "flag", word
        self.line += self._text.count("\n", self._counted)
        raise GridError(
            f"ends{self.place}, expected {expected}; the file was cut off, copy it anew", self.line
        )

    def _of_kind(self, kind: str, expected: str) -> str:
        found, content = self._next(expected)
        if found != kind:
            raise GridError(f"got {content[:40]!r}{self.place}, expected {expected}", self.line)
        return content

    def text(self, what: str) -> str:
        return self._of_kind("text", f"{what} in quotes")

    def number(self, what: str) -> float:
        return float(self._of_kind("number", f"{what} in seconds"))

    def flag(self) -> str:
        return self._of_kind("flag", "<exists>")

    def count(self, what: str) -> int:
        content = self._of_kind("number", f"the number of {what}")
        if not content.isdigit():
            raise GridError(f"got {content!r}{self.place}, expected the number of {what}", self.line)
        return int(content)


def segments_of(
    tiers: Sequence[Tier], name: str, silence: str | None = None
) -> list[tuple[float, float, str | None]]:
    """The segments of a tier as ``(start, end, label)``, in seconds.

    Args:
        tiers: The tiers of a TextGrid.
        name: The name of an interval tier.
        silence: The label of intervals without text. None: they have no label.

    Raises:
        GridError: There is no such tier, it has points, or its intervals overlap or leave gaps.
    """
    named = [tier for tier in tiers if tier.name == name]
    if not named:
        there = ", ".join(repr(tier.name) for tier in tiers) or "none"
        raise GridError(f"no tier {name!r}, expected one of {there}")
    if len(named) > 1:
        raise GridError(f"got {len(named)} tiers {name!r}, expected one; rename the others")
    intervals = named[0].intervals
    if intervals is None:
        others = ", ".join(repr(tier.name) for tier in tiers if tier.intervals is not None) or "none"
        raise GridError(
            f"tier {name!r} has points in time, expected intervals, which label a stretch of time; "
            f"tiers of intervals: {others}"
        )
    for interval in intervals:
        if interval.end < interval.start:
            times = f"{interval.start} to {interval.end} s"
            raise GridError(
                f"tier {name!r}: got an interval from {times}, expected start <= end", interval.line
            )
    for before, after in pairwise(intervals):
        if abs(after.start - before.end) > TOUCHING:
            what = "overlaps the one before it" if after.start < before.end else "leaves a gap before it"
            raise GridError(
                f"tier {name!r}: the interval from {after.start} s {what}, which ends at {before.end} s; "
                "expected intervals that follow each other: open the file in Praat, and save it again",
                after.line,
            )
    return [(start, end, text or silence) for start, end, text, _ in intervals]
