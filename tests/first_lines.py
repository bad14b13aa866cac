"""The first lines of the files of a data set, for tests that need its formats and little of its data."""

from __future__ import annotations

import gzip
from pathlib import Path

__all__ = ["first_lines", "some_rows"]


def first_lines(source: Path, folder: Path, num_lines: int) -> Path:
    """Copy the first lines of every file in a folder, packed as it was; of a treebank, whole sentences."""
    folder.mkdir(parents=True)
    for file in (path for path in source.iterdir() if path.is_file()):
        packed = file.suffix == ".gz"
        content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
        lines = content.splitlines(keepends=True)[:num_lines]
        if "conllu" in file.name:
            lines = lines[: max(i for i, line in enumerate(lines) if not line.strip()) + 1]
        content = b"".join(lines)
        (folder / file.name).write_bytes(gzip.compress(content) if packed else content)
    return folder


def some_rows(source: Path, folder: Path, every: int) -> Path:
    """A folder with every so many rows of ``manifest.tsv``, and all else of a data set as it is."""
    folder.mkdir(parents=True)
    for file in source.iterdir():
        (folder / file.name).symlink_to(file)
    header, *rows = (source / "manifest.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "manifest.tsv").unlink()
    (folder / "manifest.tsv").write_text(header + "".join(rows[::every]), encoding="utf-8")
    return folder
