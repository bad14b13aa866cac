"""A bidirectional LSTM in the place of the encoder of the recipe `timit`: the same features, stem and budget.

    python -m benchmarks.accuracy.timit_lstm --data FOLDER

Everything else is that of `multiseq train timit --data FOLDER`: the same splits, stem, head, augmentation,
batches, optimizer and running average. The LSTM has two layers, of about as many weights as the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.accuracy.beside import Plan, compare, ours
from multiseq.model import Model
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


def lstm(plan: Plan, splits: Mapping[str, Any]) -> float:
    """Train the recipe's model with the LSTM, and score it. The files are read again for their sources."""
    return ours(plan, {split: plan.sources(split) for split in splits}, _with_lstm)


def _with_lstm(model: Model) -> Model:
    torch.manual_seed(0)
    return Model(model.adapters, LSTMEncoder(model.encoder.dim), model.tasks)


if __name__ == "__main__":
    compare(__doc__, "timit", {"LSTM": lstm})
