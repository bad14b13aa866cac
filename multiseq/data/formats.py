"""Names and options of the file formats, apart from the readers, so that checking a recipe is fast."""

from __future__ import annotations

__all__ = ["FORMATS", "ON_ERROR", "SPLITS", "SPLIT_NAMES", "NETWORKS", "PATHS", "SEVERAL"]

TEXT = {"encoding": False, "unpack_limit": False}
"""Options of all formats that are text files."""
TABLE = {"input": False, "separator": False, "sheet": False, **TEXT}

FORMATS: dict[str, dict[str, bool]] = {
    "conllu": TEXT,
    "conll": {"column_names": False, **TEXT},
    "table": {"features": False, **TABLE},
    "lines": TEXT,
    "labelled": {"separator": False, **TEXT},
    "jsonl": {"input": False, **TEXT},
    "recordings": {"audio": False, "segments": False, **TABLE},
    "folders": {"classes": False, **TEXT},
    "files": {"classes": True, **TEXT},
    "textgrid": {"audio": False, "silence": False, **TEXT},
    "kaldi": {"audio": False, **TEXT},
    "timit": {"phones": False, "sa": False, "test_of": False, "dev_of": False},
    "networks": {
        "edges": True,
        "features": False,
        "ids": False,
        "labels": False,
        "separator": False,
        "decimal": False,
        **TEXT,
    },
    "triples": {"separator": False, "sheet": False, **TEXT},
    "webnlg": {"unpack_limit": False},
    "sdf": TEXT,
    "graphml": {"features": True},
    "npz": {},
    "planetoid": {},
    "tu": {},
    "rdkit-logp": {},
}
"""Format -> option of its reader -> whether it is required. A test compares this with the readers."""

PATHS = ("audio", "segments", "edges", "ids", "labels")
"""Options that are paths. Like the files, they are relative to the data folder."""

NETWORKS = ("networks", "npz", "planetoid")
"""Formats with networks whose nodes are divided into splits: all of them need ``file``."""

SEVERAL = ("lines", "files")
"""Formats of which a split is a list of files."""

ON_ERROR = ("stop", "skip")
"""What a bad row does: it is an error, or it is left out and listed."""

SPLITS = ("train", "dev", "test")

SPLIT_NAMES = {**{split: split for split in SPLITS}, "val": "dev", "valid": "dev", "validation": "dev"}
"""Name of a split in the data -> the split."""
