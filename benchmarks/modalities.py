"""Real items of each modality in sets of a workload's lengths, and a model of one task for them.

Text: words of the starter treebank with their parts of speech. Speech: the starter clips, one after another,
with a label every 20 ms. Graphs: molecules of RDKit's NCI file with their logP. Adapters have their defaults.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from benchmarks.setting import Setting
from benchmarks.workloads import draw
from multiseq import ClassTarget, Encoder, Model, NumberTarget, SetHead, Source, Task, VectorHead
from multiseq.adapters import GraphAdapter, SpeechAdapter, TextAdapter
from multiseq.adapters._speech.audio import read_audio
from multiseq.requires import need
from multiseq.runs.recipe import read
from multiseq.runs.sources import read_split

__all__ = ["MODALITIES", "Modality", "make"]

MODALITIES = {"text": "sentences", "speech": "utterances", "graph": "molecules"}
"""Modality -> the workload whose lengths its sets have."""
FITTED_ON = 500
"""Recordings or molecules, at most, from which an adapter learns its scales and vocabularies."""
SPAN = 0.02
"""Seconds of a vector."""

Parts = tuple[list[Any], list[Any], Any, Any]
"""Items, their labels, the adapter, the head."""


@dataclass(frozen=True)
class Modality:
    """A model of one task, and what it learns from."""

    name: str
    model: Model
    source: Source


def make(name: str, setting: Setting, items: int, folder: Path | None = None) -> Modality:
    """Items of lengths drawn for the modality's workload, and a model fitted to them.

    Args:
        name: text, speech or graph.
        setting: The size of the encoder, and where the model goes.
        items: How many.
        folder: Where recordings are written as files; else they are given as samples.
    """
    workload = MODALITIES[name] if setting.lengths is None else "own lengths"
    torch.manual_seed(0)
    inputs, labels, adapter, head = _BUILDERS[name](draw(workload, items, 0, setting.lengths), setting.dim)
    if folder is not None and name == "speech":
        inputs = [_written(item, folder / f"{i}.wav") for i, item in enumerate(inputs)]
    encoder = Encoder(setting.dim, setting.depth, setting.heads)
    model = Model({name: adapter}, encoder, {"task": Task(name, head)})
    return Modality(name, model.to(setting.device), Source(name, inputs, {"task": labels}))


def _text(lengths: Sequence[int], dim: int) -> Parts:
    sentences = _starter("sentences")
    tagged = zip(sentences.items, sentences.targets["pos"], strict=True)
    words = cycle([pair for sentence, tags in tagged for pair in zip(sentence, tags, strict=True)])
    tagged_words = [[next(words) for _ in range(n)] for n in lengths]
    items, tags = (
        [[w for w, _ in sentence] for sentence in tagged_words],
        [[t for _, t in sentence] for sentence in tagged_words],
    )
    others = [*_starter("comments").items, *_starter("pairs").items]
    adapter = TextAdapter.fit([*sentences.items, *others], dim=dim)
    return items, tags, adapter, VectorHead(dim, ClassTarget.fit([t for sentence in tags for t in sentence]))


def _speech(lengths: Sequence[int], dim: int) -> Parts:
    clips = [read_audio(item) for item in _starter("clips").items]
    rate, samples = clips[0][1], torch.cat([samples for samples, _ in clips])
    names = [f"phoneme {i}" for i in range(40)]
    items, labels, first = [], [], 0
    for length in lengths:
        size = int(length * SPAN * rate)
        places = torch.arange(first, first + size) % len(samples)
        items.append((samples[places], rate))
        labels.append([names[i % len(names)] for i in range(length)])
        first += size
    adapter = SpeechAdapter.fit(items[:FITTED_ON], dim=dim)
    return items, labels, adapter, VectorHead(dim, ClassTarget(names))


def _graph(lengths: Sequence[int], dim: int) -> Parts:
    source, read_smiles = _starter("molecules"), need("rdkit.Chem").MolFromSmiles
    pairs = zip(source.items, source.targets["hydrophilicity"], strict=True)
    known = sorted((read_smiles(smiles).GetNumAtoms(), smiles, logp) for smiles, logp in pairs)
    chosen, left = [], list[Any]()
    for length in lengths:  # the next larger one that is left: none twice, as long as they last
        left = left or list(known)
        chosen.append(left.pop(min(bisect.bisect_left(left, (length,)), len(left) - 1)))
    adapter = GraphAdapter.fit(source.items[:FITTED_ON], dim=dim)
    labels = [logp for *_, logp in chosen]
    return [smiles for _, smiles, _ in chosen], labels, adapter, SetHead(dim, NumberTarget.fit(labels))


_BUILDERS: dict[str, Callable[[Sequence[int], int], Parts]] = {
    "text": _text,
    "speech": _speech,
    "graph": _graph,
}


def _starter(data: str) -> Source:
    """The training split of one data table of the starter recipe."""
    recipe = read("starter")
    recipe.tables["data"] = {data: recipe.tables["data"][data]}
    recipe.tables["tasks"] = {name: spec for name, spec in recipe.tasks.items() if spec["data"] == data}
    return read_split(recipe, "train")[0]


def _written(item: tuple[torch.Tensor, int], path: Path) -> str:
    need("soundfile").write(path, item[0].numpy(), item[1])
    return str(path)
