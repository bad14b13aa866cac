"""A bidirectional LSTM in the place of the encoder of the recipe `timit`: the same features, stem and budget.

    python -m benchmarks.accuracy.timit_lstm FOLDER [--steps 500]

Everything else is that of `multiseq train timit --data FOLDER`: the same splits, stem, head, augmentation,
batches, optimizer and running average. The LSTM has two layers, of about as many weights as the encoder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multiseq.model import Model
from multiseq.runs.build import build_model, settings
from multiseq.runs.recipe import read
from multiseq.runs.sources import read_split
from multiseq.training.evaluation import evaluate
from multiseq.training.loop import train
from multiseq.vectors import VectorSets

WIDTH = 136
"""Width of each direction: 770,000 weights beside an encoder of 128 vectors and four blocks."""


class LSTMEncoder(nn.Module):
    """Two layers of a bidirectional LSTM, and a layer that brings its output to the width of the vectors."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.lstm = nn.LSTM(dim, WIDTH, 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.out = nn.Linear(2 * WIDTH, dim)

    def forward(self, sets: VectorSets) -> VectorSets:
        padded, inside = sets.to_padded()
        packed = nn.utils.rnn.pack_padded_sequence(
            padded, torch.tensor(sets.lengths), batch_first=True, enforce_sorted=False
        )
        read, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return sets.with_values(self.out(read)[inside])

    def config(self) -> dict[str, Any]:
        return {"dim": self.dim}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LSTMEncoder:
        return cls(config["dim"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    given = parser.parse_args()
    recipe = read("timit")
    train_on, dev, test = (read_split(recipe, split, given.folder) for split in ("train", "dev", "test"))
    model = build_model(recipe, train_on)
    torch.manual_seed(0)
    lstm = Model(model.adapters, LSTMEncoder(model.encoder.dim), model.tasks)
    for name, module in (("encoder", model.encoder), ("LSTM", lstm.encoder)):
        print(f"{name}: {sum(p.numel() for p in module.parameters()):,} weights")  # type: ignore[attr-defined]
    began = time.process_time()
    chosen = replace(settings(recipe), steps=given.steps)
    train(lstm, train_on, dev=dev, settings=chosen, devices=1, accelerator="cpu")
    seconds = time.process_time() - began
    for split, sources in (("dev", dev), ("test", test)):
        print(f"{split}: {evaluate(lstm, sources, task='phones').value:.4f}")
    print(f"{seconds:.0f} s of processor time")


if __name__ == "__main__":
    main()
