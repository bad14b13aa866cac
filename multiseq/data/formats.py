"""The formats' names and options, apart from the readers: checking a recipe imports nothing heavy."""

from __future__ import annotations

__all__ = ["FORMATS", "PATHS"]

FORMATS: dict[str, tuple[str, ...]] = {
    "conllu": (),
    "table": ("input", "encoding"),
    "lines": ("encoding",),
    "labelled": ("separator", "encoding"),
    "jsonl": ("input",),
    "recordings": ("input", "audio", "segments"),
    "networks": ("edges", "features"),
    "rdkit-logp": (),
}
"""Format -> the options of its reader. A test compares them with the readers' signatures."""

PATHS = ("audio", "segments", "edges")
"""Options that are paths, relative to the data folder as the files are."""
