"""torchaudio's Conformer in the place of the encoder of the recipe `mboshi`: the same features and budget.

    python -m benchmarks.speech.conformer --data FOLDER

Everything else is that of `multiseq train mboshi --data FOLDER`: the same splits, stem, CTC head,
augmentation, batches, optimizer and running average. The Conformer (Gulati et al. 2020,
https://arxiv.org/abs/2005.08100) has as many layers and heads as the encoder, the usual kernel of 31, and
about as many weights. torchaudio pads, and leaves padding out of attention by the lengths; its convolutions
and its batch norm see it, as with everybody who uses it. It has no positions.

Character and word error rate of both are printed as they come. The table has that of the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torchaudio.models import Conformer

from benchmarks.accuracy.beside import Plan, compare, train_on
from multiseq import Encoder, Model, VectorSets, evaluate
from multiseq.runs.recipe import read

FF_DIM = 192
"""Inner width of its two feed-forward layers: 1,243,776 weights beside 1,240,480 of an encoder of width 160
and four blocks."""

RATES = ("character_error_rate", "word_error_rate")


class ConformerEncoder(nn.Module):
    """A Conformer on padded sets."""

    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.dim, self.depth, self.heads = dim, depth, heads
        self.conformer = Conformer(dim, heads, FF_DIM, depth, depthwise_conv_kernel_size=31, dropout=0.1)

    def forward(self, sets: VectorSets) -> VectorSets:
        padded, inside = sets.to_padded()
        read, _ = self.conformer(padded, torch.tensor(sets.lengths))
        return sets.with_values(read[inside])

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim, "depth": self.depth, "heads": self.heads}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ConformerEncoder:
        return cls(**config)


def multiseq(plan: Plan, splits: Mapping[str, Any]) -> float:
    """Train the recipe's model, and score it."""
    return _scored(plan, splits, lambda model: model)


def conformer(plan: Plan, splits: Mapping[str, Any]) -> float:
    """The same with the Conformer."""
    return _scored(plan, splits, _with_conformer)


def _scored(plan: Plan, splits: Mapping[str, Any], changed: Any) -> float:
    """The recipe's score on test. Prints both error rates. The files are read again for their sources."""
    recipe, sources = read(plan.recipe, plan.all_changes()), {split: plan.sources(split) for split in splits}
    model = train_on(recipe, sources, changed=changed)
    [(name, spec)] = recipe.tasks.items()
    rates = {}
    for rate in RATES:
        task = replace(model.task(name), metric=rate)
        scored = Model(model.adapters, model.encoder, {name: task})
        rates[rate] = evaluate(scored, sources["test"], task=name, **spec.get("decode", {})).value
    print(f"{type(model.encoder).__name__}:", ", ".join(f"{rate} {rates[rate]:.4f}" for rate in RATES))
    return rates[model.task(name).metric]


def _with_conformer(model: Model) -> Model:
    torch.manual_seed(0)
    ours = model.encoder
    assert isinstance(ours, Encoder)
    return Model(model.adapters, ConformerEncoder(ours.dim, ours.depth, ours.heads), model.tasks)


if __name__ == "__main__":
    compare(__doc__, "mboshi", {"multiseq": multiseq, "Conformer": conformer})
