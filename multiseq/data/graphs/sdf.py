"""Molecules in SDF files (MDL's MOL blocks with properties), one after another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiseq.data.text_files import lines_of
from multiseq.requires import need

__all__ = ["TITLE", "Entry", "entries_of", "smiles_of"]

END = "$$$$"
"""The line after each molecule."""
_NAME = re.compile(r">.*?<(.+)>")
"""A line such as ``>  <LogS>  (1)``, which gives the name of the property in the next lines."""

TITLE = "title"
"""The column of the first line of a MOL block, which often is the molecule's name."""


@dataclass(frozen=True)
class Entry:
    """A molecule of a file, as it is written.

    Args:
        line: The number of its first line.
        block: Its MOL block: atoms, bonds and coordinates.
        properties: Name -> text, and the title.
    """

    line: int
    block: str
    properties: dict[str, str]


def entries_of(path: Path, encoding: str = "utf-8", unpack_limit: int | None = None) -> Iterator[Entry]:
    """The molecules of a file, one after another, without looking at their atoms.

    Raises:
        DataError: The file is no text in this encoding.
    """
    lines: list[str] = []
    first = 1
    for number, line in enumerate(lines_of(path, encoding, unpack_limit), 1):
        if line.rstrip() == END:
            yield _entry(first, lines)
            lines, first = [], number + 1
        else:
            lines.append(line.rstrip("\r\n"))
    if any(line.strip() for line in lines):  # a single molecule, as in a .mol file, ends without the line
        yield _entry(first, lines)


def _entry(first: int, lines: list[str]) -> Entry:
    end = next((i for i, line in enumerate(lines) if line.startswith("M  END")), len(lines) - 1) + 1
    properties: dict[str, str] = {TITLE: lines[0].strip()} if lines and lines[0].strip() else {}
    name = ""
    for line in lines[end:]:
        if match := _NAME.match(line):
            name = match[1].strip()
            properties[name] = ""
        elif line.strip() and name:
            properties[name] += ("\n" if properties[name] else "") + line.strip()
    return Entry(first, "\n".join(lines[:end]) + "\n", properties)


def smiles_of(entry: Entry) -> str:
    """The molecule as SMILES, with stereo, without coordinates.

    Raises:
        ValueError: RDKit cannot read it, or it has no atoms.
    """
    chem: Any = need("rdkit.Chem")
    with need("rdkit.rdBase").BlockLogs():
        molecule = chem.MolFromMolBlock(entry.block)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError(f"RDKit reads no molecule in the MOL block {entry.properties.get(TITLE, '')!r}")
        return str(chem.MolToSmiles(molecule))
