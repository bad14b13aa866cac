"""Readers: one function for each file format, which returns `Records`. Errors name the file and the line.

A reader takes a path, and the options of the format as keyword arguments. `multiseq.data.text_files`
describes how text files are unpacked and decoded, and `multiseq.data.tables` how tables are read.
"""

from __future__ import annotations

from collections.abc import Callable

from multiseq.data.readers.graphs import (
    read_graphml,
    read_networks,
    read_npz,
    read_planetoid,
    read_rdkit_logp,
    read_sdf,
    read_triples,
    read_tu,
    read_webnlg,
)
from multiseq.data.readers.speech import (
    read_kaldi,
    read_recordings,
    read_textgrids,
    read_timit,
)
from multiseq.data.readers.tables import (
    read_files,
    read_folders,
    read_json_lines,
    read_table,
)
from multiseq.data.readers.text import (
    read_conll,
    read_conllu,
    read_labelled,
    read_lines,
)
from multiseq.data.records import Records

__all__ = [
    "READERS",
    "read_conll",
    "read_conllu",
    "read_files",
    "read_folders",
    "read_graphml",
    "read_json_lines",
    "read_kaldi",
    "read_labelled",
    "read_lines",
    "read_networks",
    "read_npz",
    "read_planetoid",
    "read_rdkit_logp",
    "read_recordings",
    "read_sdf",
    "read_table",
    "read_textgrids",
    "read_timit",
    "read_triples",
    "read_webnlg",
    "read_tu",
]

READERS: dict[str, Callable[..., Records]] = {
    "conllu": read_conllu,
    "conll": read_conll,
    "table": read_table,
    "lines": read_lines,
    "labelled": read_labelled,
    "jsonl": read_json_lines,
    "recordings": read_recordings,
    "folders": read_folders,
    "files": read_files,
    "textgrid": read_textgrids,
    "kaldi": read_kaldi,
    "timit": read_timit,
    "networks": read_networks,
    "triples": read_triples,
    "webnlg": read_webnlg,
    "sdf": read_sdf,
    "graphml": read_graphml,
    "npz": read_npz,
    "planetoid": read_planetoid,
    "tu": read_tu,
    "rdkit-logp": read_rdkit_logp,
}
"""Name of a format in a recipe -> its reader."""
