"""ECAPA-TDNN in the place of stem and encoder of the recipe `speechocean-speakers`: the same budget.

    python -m benchmarks.speech.ecapa --data FOLDER
    python -m benchmarks.speech.ecapa --data FOLDER --recipe benchmarks/speech/speechocean-voices.toml \\
        --set data.recordings.split_file=$PWD/voices.json

Everything else is that of `multiseq train speechocean-speakers --data FOLDER`: the same splits, log-mel
frames, head, loss, optimizer and running average. ECAPA-TDNN (Desplanques et al. 2020,
https://arxiv.org/abs/2005.07143) reads all frames, one every 10 ms, so that a batch of as many seconds has
more vectors. Its channels are so few that it has about as many weights as our stem and encoder. If test has
speakers that training has not, as with `benchmarks.speech.voices split`, the equal error rate on them is
printed, too.

Axes: sets, channels, frames (of the longest set; those of padding are zero after each layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.accuracy.beside import Plan, compare, train_on
from benchmarks.speech.voices import pairs_of_new
from multiseq import Model, Settings, SpeechAdapter, VectorSets, evaluate
from multiseq.heads.verification import equal_error_rate
from multiseq.labels import class_name
from multiseq.protocols import Inputs
from multiseq.runs.recipe import Recipe, read

CHANNELS, ATTENTION, SCALE = 128, 64, 8
"""Channels, width of the two small layers (squeeze and excitation, attention), and groups of Res2Net: 565,744
weights beside 539,904 of our stem and encoder (128 wide, two blocks)."""


class Layer(nn.Module):
    """Convolution, ReLU, batch norm. Padding is zero afterwards."""

    def __init__(self, channels: int, out: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(channels, out, kernel, dilation=dilation, padding=padding)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(x).relu())
        return normed * inside


class Block(nn.Module):
    """SE-Res2Block: convolutions of groups of channels, each added to the next; squeeze and excitation."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        width = CHANNELS // SCALE
        self.first, self.last = Layer(CHANNELS, CHANNELS), Layer(CHANNELS, CHANNELS)
        self.groups = nn.ModuleList(Layer(width, width, 3, dilation) for _ in range(SCALE - 1))
        self.squeeze, self.excite = nn.Linear(CHANNELS, ATTENTION), nn.Linear(ATTENTION, CHANNELS)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        first, *groups = self.first(x, inside).chunk(SCALE, dim=1)
        outs, before = [first], torch.zeros_like(first)
        for layer, group in zip(self.groups, groups, strict=True):
            before = layer(group + before, inside)
            outs.append(before)
        y: Tensor = self.last(torch.cat(outs, dim=1), inside)
        mean = y.sum(2) / inside.sum(2)
        gate = self.excite(self.squeeze(mean).relu()).sigmoid()
        added: Tensor = x + y * gate[:, :, None]
        return added


class EcapaTDNN(nn.Module):
    """Frames to one vector for each set.

    Args:
        dim: Width of the frames: mel bands.
        out: Width of the vector of a set.
    """

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.dim, self.out = dim, out
        self.first = Layer(dim, CHANNELS, 5)
        self.blocks = nn.ModuleList(Block(dilation) for dilation in (2, 3, 4))
        width = 3 * CHANNELS
        self.merge = nn.Conv1d(width, width, 1)
        self.hidden, self.scores = Layer(3 * width, ATTENTION), nn.Conv1d(ATTENTION, width, 1)
        self.norm, self.project = nn.BatchNorm1d(2 * width), nn.Linear(2 * width, out)

    def forward(self, sets: VectorSets) -> VectorSets:
        padded, there = sets.to_padded()
        inside = there[:, None].to(padded.dtype)  # (sets, 1, frames)
        x = self.first(padded.transpose(1, 2), inside)
        outs = []
        for block in self.blocks:
            x = block(x, inside)
            outs.append(x)
        merged = self.merge(torch.cat(outs, dim=1)).relu() * inside
        whole = statistics(merged, inside / inside.sum(2, keepdim=True))
        beside = [part[:, :, None].expand_as(merged) for part in whole]
        scores = self.scores(self.hidden(torch.cat([merged, *beside], dim=1), inside).tanh())
        weights = scores.masked_fill(~there[:, None], float("-inf")).softmax(2)
        pooled = torch.cat(statistics(merged, weights), dim=1)
        return VectorSets(self.project(self.norm(pooled)), [1] * sets.num_sets)

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim, "out": self.out}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EcapaTDNN:
        return cls(**config)


def statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the frames of a set, with weights that add up to 1."""
    mean = (x * weights).sum(2)
    variance = ((x - mean[:, :, None]).square() * weights).sum(2)
    return mean, variance.clamp(min=1e-6).sqrt()


class Frames(SpeechAdapter):
    """The recipe's features without a stem: a vector is a log-mel frame."""

    def forward(self, inputs: Inputs) -> VectorSets:
        return VectorSets(inputs.tensors["features"], inputs.lengths, inputs.tensors["positions"])


def multiseq(plan: Plan, splits: Mapping[str, Any]) -> float:
    """Train the recipe's model, and score it."""
    return _scored(plan, splits)


def ecapa(plan: Plan, splits: Mapping[str, Any]) -> float:
    """The same with ECAPA-TDNN."""
    return _scored(plan, splits, other=True)


def _scored(plan: Plan, splits: Mapping[str, Any], other: bool = False) -> float:
    """The accuracy on test. Prints the equal error rate. The files are read again for their sources."""
    recipe, sources = read(plan.recipe, plan.all_changes()), {split: plan.sources(split) for split in splits}
    model = train_on(recipe, sources, *((partial(_as_long, recipe), with_ecapa) if other else ()))
    [name], [test] = recipe.tasks, sources["test"]
    vectors = model.task_embeddings(name, test.items)
    speakers = [str(class_name(label)) for label in test.targets[name]]
    cosines, same = pairs_of_new(model.task(name).head.target, vectors, speakers)
    if len(same):
        rate, _ = equal_error_rate(cosines, same)
        print(f"{type(model.encoder).__name__}: equal error rate on new speakers {rate:.2%}")
    return evaluate(model, sources["test"], task=name).value


def _as_long(recipe: Recipe, settings: Settings) -> Settings:
    """Settings with batches of as many seconds, where a vector is a frame."""
    [adapter] = recipe.tables["adapters"].values()
    assert settings.max_vectors is not None, "the recipe names it"
    return replace(settings, max_vectors=settings.max_vectors * adapter["subsample"])


def with_ecapa(model: Model) -> Model:
    """A model with the same head and features."""
    torch.manual_seed(0)
    [(name, ours)] = model.adapters.items()
    assert isinstance(ours, SpeechAdapter)
    frames = Frames.from_config({**ours.config(), "dim": ours.n_mels, "subsample": 1}, ours.assets())
    return Model({name: frames}, EcapaTDNN(ours.n_mels, ours.dim), model.tasks)


if __name__ == "__main__":
    compare(__doc__, "speechocean-speakers", {"multiseq": multiseq, "ECAPA-TDNN": ecapa})
