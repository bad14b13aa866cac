"""What is fuzzed: for each kind of input a small valid one, how it is changed, and what reads it.

Only public entry points are called. Where a file has items, they are counted here too, in a few plain
lines that share nothing with the readers.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
import torch

import multiseq
from multiseq import Encoder, GraphAdapter, Model, SetHead, SpeechAdapter, Task, TextAdapter
from multiseq.adapters.speech import AudioFile
from multiseq.data import READERS
from multiseq.heads.targets import ClassTarget
from multiseq.runs.recipe import read as read_recipe
from tests.fuzz.mutation import changed_bytes, changed_json

__all__ = ["TARGETS", "Target"]

Counts = tuple[int, int] | None
"""Items that were used, and items that a plain count finds; None where nothing can be counted."""


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Args:
        seeds: Valid inputs.
        run: Reads an input in an empty folder.
        change: Changes an input.
    """

    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes, Path], Counts]
    change: Callable[[Random, bytes], bytes] = changed_bytes


# --- readers --------------------------------------------------------------------------------------

CONLLU = b"""# text = I saw it
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2\tsaw\tsee\tVERB\tVBD\t_\t0\troot\t_\t_

1\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_

"""
TAGGED = b"-DOCSTART- -X- O O\n\nI PRP B-NP O\nsaw VBD B-VP O\n\n# id 2\nno DT O O\n"
CSV = b'text,label\nI saw it,pos\n"well, well",neg\n"two\nlines",pos\n'
TSV = b"text\tlabel\nI saw it\tpos\nwell, well\tneg\n"
JSONL = b'{"text": "I saw it", "label": "pos"}\n{"text": "no", "label": "neg", "n": 1.5}\n'
LABELLED = b"__label__pos I saw it\nno __label__neg\n__label__pos\t__label__how How\n"
LINES = b"eins zwei\ndrei\nvier\n"


def reader(name: str, file: str, count: Callable[[str], int | None], **options: Any) -> Any:
    """Reads a file by name of its format, and counts what is in it."""

    def run(content: bytes, folder: Path) -> Counts:
        (folder / file).write_bytes(content)
        more = {key: folder / v if isinstance(v, Path) else v for key, v in options.items()}
        for key in ("target", "edges"):
            if key in more:
                more[key].write_bytes({"target": LINES, "edges": EDGES}[key])
        records = READERS[name](folder / file, **more)
        assert all(len(column) == len(records.items) for column in records.columns.values())
        assert len(records.locations) == len(records.items)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
        there = count(text)
        return None if there is None else (len(records.items), there)

    return run


def filled_lines(text: str) -> int:
    """Lines with anything in them."""
    return sum(bool(line.strip()) for line in plain_lines(text))


def plain_lines(text: str) -> list[str]:
    """Lines that end in a line feed, or, where there is none, in a carriage return (old Macs)."""
    lines = re.split("\r\n|\n", text) if "\n" in text else text.split("\r")
    return lines[:-1] if not lines[-1] else lines


def sentences(text: str) -> int:
    """Runs of lines that are neither empty nor comments."""
    blocks = re.split(r"\n[ \t]*(?=\n)", "\n".join(["", *plain_lines(text), "", ""]))
    return sum(any(line.strip() and not line.startswith("#") for line in b.split("\n")) for b in blocks)


def rows_of_commas(text: str) -> int | None:
    """Rows below the header that are not empty, where quotes leave no doubt what is a row."""
    if text.count('"') % 2 or "\0" in text or re.search(r'[^,\r\n]"[^,\r\n"]', text):
        return None
    header = text.partition("\n")[0]  # without a separator, the file has one column
    separator = "," if any(character in header for character in ",;\t|") else "\0"
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    return max(sum(any(cell.strip() for cell in row) for row in rows) - 1, 0)


def rows_of_tabs(text: str) -> int:
    """Filled lines below the header."""
    return max(filled_lines(text) - 1, 0)


NODES = b"graph\tnode\tage\tlabel\na\t0\t20\tx\na\t1\t30\ty\nb\t0\t5\tx\n"
EDGES = b"graph\tsource\ttarget\na\t0\t1\n"
SEGMENTS = b"file\tstart\tend\tlabel\na.wav\t0.0\t0.5\tx\na.wav\t0.5\t1.0\ty\n"


def segments(content: bytes, folder: Path) -> Counts:
    """A table of segments beside a table of recordings."""
    (folder / "r.tsv").write_bytes(b"file\na.wav\n")
    (folder / "s.tsv").write_bytes(content)
    (folder / "a.wav").write_bytes(sound("WAV"))
    READERS["recordings"](folder / "r.tsv", segments=folder / "s.tsv")
    return None


GRID = b"""File type = "ooTextFile"
Object class = "TextGrid"

0 1 <exists> 2
"IntervalTier" "phones" 0 1 2
0 0.5 "a"
0.5 1 "say ""b"" now"
"TextTier" "clicks" 0 1 1
0.5 "x"
"""


def text_grid(content: bytes, folder: Path) -> Counts:
    """A TextGrid beside its recording."""
    (folder / "a.TextGrid").write_bytes(content)
    (folder / "a.wav").touch()
    [labels] = READERS["textgrid"](folder / "a.TextGrid", columns=["phones"]).columns["phones"]
    assert all(start <= end for start, end, _ in labels or ())
    return None


KALDI = b"r1 a.wav\nr2 b.wav\n\fu1 r1 0.0 0.5\nu2 r1 0.5 -1\nu3 r2 1 2.5\n\fu1 yes no\nu2 no\nu3 yes\n"
"""The files of `KALDI_FILES`, with form feeds between them."""
KALDI_FILES = ("wav.scp", "segments", "text")


def kaldi(content: bytes, folder: Path) -> Counts:
    """A data folder of Kaldi."""
    for name, part in zip(KALDI_FILES, content.split(b"\f"), strict=False):
        (folder / name).write_bytes(part)
    records = READERS["kaldi"](folder)
    assert all(len(column) == len(records.items) for column in records.columns.values())
    assert len(records.locations) == len(records.items)
    return None


SDF = b"""ethanol
     RDKit          2D

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.2990    0.7500    0.0000 C   0  0
    2.5981    0.0000    0.0000 O   0  0
  1  2  1  0
  2  3  1  0
M  END
>  <LogS>
-0.77

$$$$
"""
GRAPHML = b"""<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="d0" for="node" attr.name="age" attr.type="double"/>
<graph edgedefault="undirected">
<node id="ada"><data key="d0">34.5</data></node>
<node id="bob"><data key="d0">51</data></node>
<edge source="ada" target="bob"/>
</graph></graphml>
"""

RECIPE = b"""[data.pos]
adapter = "text"
format = "conllu"
train = "train.conllu"
dev = 0.1

[tasks.pos]
data = "pos"
output = "vector"
target = "class"
column = "upos"

[encoder]
preset = "tiny"

[training]
steps = 5
learning_rate = 0.001
"""


def recipe(content: bytes, folder: Path) -> Counts:
    """A recipe, read and checked."""
    (folder / "r.toml").write_bytes(content)
    read_recipe(folder / "r.toml")
    return None


# --- adapters -------------------------------------------------------------------------------------


@cache
def sound(format: str) -> bytes:
    """A second of noise."""
    file = io.BytesIO()
    samples = np.random.default_rng(0).standard_normal((8000, 2)).astype("float32") / 20
    soundfile.write(file, samples, 8000, format=format)
    return file.getvalue()


@cache
def archive() -> bytes:
    """A tar file with a recording."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("a.wav")
        member.size = len(sound("WAV"))
        tar.addfile(member, io.BytesIO(sound("WAV")))
    return file.getvalue()


@cache
def speech() -> SpeechAdapter:
    """For recordings."""
    return SpeechAdapter([0.0] * 5, [1.0] * 5, 8)


def recording(suffix: str) -> Any:
    """An audio file, prepared."""

    def run(content: bytes, folder: Path) -> Counts:
        (folder / f"a{suffix}").write_bytes(content)
        [example] = speech().prepare(folder / f"a{suffix}")
        assert example.log_mel.isfinite().all()
        return None

    return run


def member(content: bytes, folder: Path) -> Counts:
    """A recording in an archive, prepared."""
    (folder / "a.tar").write_bytes(content)
    speech().prepare(AudioFile(folder / "a.tar", "a.wav"))
    return None


TABLE = {
    "nodes": {"age": [20.0, 30.0, 5.0], "job": ["baker", "smith", "baker"]},
    "edges": [[0, 1], [1, 2]],
    "edge_columns": {"kind": ["a", "b"]},
}
TRIPLES = [["Ada", "wrote", "notes"], ["Ada", "met", "Mary"]]


@cache
def graphs(kind: str) -> GraphAdapter:
    """For graphs of a kind."""
    items: dict[str, Any] = {"table": [TABLE], "triples": [TRIPLES], "molecule": ["CCO", "c1ccccc1"]}
    return GraphAdapter.fit(items[kind], dim=8, max_distance=2)


def graph(kind: str) -> Any:
    """A graph in JSON, prepared; a graph of another kind is refused by its kind."""

    def run(content: bytes, folder: Path) -> Counts:
        adapter = graphs(kind)
        item = content.decode("utf-8", "surrogateescape") if kind == "molecule" else json.loads(content)
        [example] = adapter.prepare(item)
        assert adapter(adapter.collate([example])).values.isfinite().all()
        return None

    return run


# --- models ---------------------------------------------------------------------------------------


@cache
def model(kind: str) -> Model:
    """A small untrained model."""
    torch.manual_seed(0)
    adapter: Any = TextAdapter.fit(["a cat sat", "it sat"], dim=8, vocab_size=270)
    adapter = adapter if kind == "text" else graphs("table")
    encoder = Encoder(8, 1, 2, pair_codes=getattr(adapter, "pair_codes", 0))
    head = SetHead(8, ClassTarget.fit(["x", "y"]))
    return Model({kind: adapter}, encoder, {"t": Task(kind, head)}).eval()


def predict(kind: str) -> Any:
    """A list of items, predicted: one result for each."""

    def run(content: bytes, folder: Path) -> Counts:
        items = json.loads(content)
        if not isinstance(items, list):
            return None
        return len(model(kind).predict("t", items)), len(items)

    return run


@cache
def saved() -> dict[str, bytes]:
    """The files of a checkpoint."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        multiseq.save(model("text"), Path(place) / "m")
        return {p.name: p.read_bytes() for p in sorted((Path(place) / "m").iterdir())}


def checkpoint(content: bytes, folder: Path) -> Counts:
    """A checkpoint of which one file was exchanged and signed: a name, an end of line, the content."""
    name, _, changed = content.partition(b"\n")
    if name.decode("ascii", "replace") not in saved():
        return None
    files = {**saved(), name.decode(): changed}
    if name != b"config.json":
        config = json.loads(files["config.json"])
        config["files"][name.decode()] = sha256(changed).hexdigest()
        files["config.json"] = json.dumps(config).encode()
    (folder / "m").mkdir()
    for file, text in files.items():
        (folder / "m" / file).write_bytes(text)
    multiseq.load(folder / "m").predict("t", ["a cat"])
    return None


def checkpoint_seeds() -> list[bytes]:
    """Each file of a checkpoint."""
    return [name.encode() + b"\n" + content for name, content in saved().items()]


def change_checkpoint(random: Random, content: bytes) -> bytes:
    """The file's content alone; JSON by value, too."""
    name, _, inner = content.partition(b"\n")
    by_value = name.endswith(b".json") and random.random() < 0.6
    return name + b"\n" + (changed_json if by_value else changed_bytes)(random, inner)


def constant(*seeds: bytes) -> Callable[[], list[bytes]]:
    """Seeds that are ready."""
    return lambda: list(seeds)


def as_json(*seeds: Any) -> Callable[[], list[bytes]]:
    """Seeds in JSON."""
    return lambda: [json.dumps(seed).encode() for seed in seeds]


TARGETS: dict[str, Target] = {
    "conllu": Target(constant(CONLLU), reader("conllu", "a.conllu", sentences)),
    "conll": Target(constant(TAGGED), reader("conll", "a.conll", lambda text: None)),
    "csv": Target(constant(CSV), reader("table", "a.csv", rows_of_commas)),
    "tsv": Target(constant(TSV), reader("table", "a.tsv", rows_of_tabs)),
    "jsonl": Target(constant(JSONL), reader("jsonl", "a.jsonl", filled_lines)),
    "labelled": Target(constant(LABELLED), reader("labelled", "a.txt", filled_lines)),
    "lines": Target(
        constant(LINES), reader("lines", "a.de", lambda text: len(plain_lines(text)), target=Path("a.en"))
    ),
    "networks": Target(
        constant(NODES),
        reader("networks", "n.tsv", lambda text: None, edges=Path("e.tsv"), features=["age"]),
    ),
    "segments": Target(constant(SEGMENTS), segments),
    "textgrid": Target(constant(GRID), text_grid),
    "kaldi": Target(constant(KALDI), kaldi),
    "sdf": Target(constant(SDF), reader("sdf", "a.sdf", lambda text: None)),
    "graphml": Target(constant(GRAPHML), reader("graphml", "a.graphml", lambda text: None, features=["age"])),
    "recipe": Target(constant(RECIPE), recipe),
    "wav": Target(lambda: [sound("WAV")], recording(".wav")),
    "flac": Target(lambda: [sound("FLAC")], recording(".flac")),
    "ogg": Target(lambda: [sound("OGG")], recording(".ogg")),
    "tar": Target(lambda: [archive()], member),
    "smiles": Target(constant(b"CCO", b"C[C@H](N)C(=O)O", b"c1ccccc1.[Na+]"), graph("molecule")),
    "table graph": Target(as_json(TABLE), graph("table"), changed_json),
    "triples": Target(as_json(TRIPLES), graph("triples"), changed_json),
    "predict texts": Target(as_json(["a cat", ["a", "dog"], ""]), predict("text"), changed_json),
    "predict graphs": Target(as_json([TABLE, TABLE]), predict("graph"), changed_json),
    "checkpoint": Target(checkpoint_seeds, checkpoint, change_checkpoint),
}
