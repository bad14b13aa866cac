"""The formats' names and options, apart from the readers: checking a recipe imports nothing heavy."""

from __future__ import annotations

__all__ = ["FORMATS", "PARTS", "PART_NAMES", "PATHS"]

TEXT = {"encoding": False, "unpack_limit": False}
"""How a text file is opened."""
TABLE = {"input": False, "separator": False, **TEXT}

FORMATS: dict[str, dict[str, bool]] = {
    "conllu": TEXT,
    "table": TABLE,
    "lines": TEXT,
    "labelled": {"separator": False, **TEXT},
    "jsonl": {"input": False, **TEXT},
    "recordings": {"audio": False, "segments": False, **TABLE},
    "networks": {"edges": True, "features": True, "separator": False, **TEXT},
    "rdkit-logp": {},
}
"""Format -> the options of its reader, and whether each must be given. A test compares the signatures."""

PATHS = ("audio", "segments", "edges")
"""Options that are paths, relative to the data folder as the files are."""

PARTS = ("train", "dev", "test")

PART_NAMES = {**{part: part for part in PARTS}, "val": "dev", "valid": "dev", "validation": "dev"}
"""What data may call a part -> the part."""
