"""The encoder of Whisper by `transformers`, trained in padded batches, in the place of our packed one.

    python -m tools.whisper_tiny MODEL
    python -m benchmarks.speech.whisper --data TIMIT --set adapters.speech.start=MODEL

`WhisperEncoder` takes nothing but 30 seconds, so each recording is filled up with silence. Everything else is
that of the recipe `benchmarks/speech/timit-whisper.toml`: the same weights to start with, splits, head,
batches and optimizer. Here all layers are trained, for 40 steps. Our stem runs each recording at its own
length.

Axes: rows (log-mel frames of 10 ms), mels, outputs (of 20 ms), inner (width of Whisper).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.accuracy.beside import Plan, compare, ours
from multiseq import Model, SpeechAdapter, VectorSets
from multiseq.pretrained.stem import PretrainedStem
from multiseq.requires import need
from multiseq.runs.recipe import read
from multiseq.vectors import order_of

RECIPE = "benchmarks/speech/timit-whisper.toml"
CHANGES = (
    *("training.frozen_layers=0", "training.pretrained_lr=1e-4"),
    *("training.steps=40", "training.evaluate_every=0"),
)
FLOOR = 2.0
"""What Whisper's features of silence are below the loudest of a recording: 8 decades, divided by 4."""


class PaddedWhisper(PretrainedStem):
    """Our stem with the encoder of `transformers` inside.

    Args:
        stem: Our stem, for its sizes and its layer of output.
        theirs: The `WhisperEncoder`.
    """

    def __init__(self, stem: PretrainedStem, theirs: Any) -> None:
        super().__init__(stem.architecture, stem.out.out_features, stem.subsample)
        del self.convs, self.encoder
        self.out, self.norm, self.theirs = stem.out, stem.norm, theirs

    def layers(self) -> list[list[nn.Parameter]]:
        """The convolutions with the positions, then each layer's weights; the last has the norm after it."""
        layers = [list(layer.parameters()) for layer in self.theirs.layers]
        layers[-1] += self.theirs.layer_norm.parameters()
        known = {id(weight) for layer in layers for weight in layer}
        return [[w for w in self.theirs.parameters() if id(w) not in known and w.requires_grad], *layers]

    def train(self, mode: bool = True) -> PaddedWhisper:
        """Set the mode."""
        nn.Module.train(self, mode)
        return self

    def encode(self, rows: Float[Tensor, "rows mels"], lengths: Sequence[int]) -> VectorSets:
        """The outputs for each recording, each filled up to 30 seconds."""
        longest = self.architecture.longest
        assert longest is not None
        filled = torch.stack(
            [
                F.pad(one, (0, 0, 0, longest - len(one)), value=one.max().item() - FLOOR)
                for one in rows.split(list(lengths))
            ]
        )
        outputs = self.theirs(filled.transpose(1, 2)).last_hidden_state
        sizes = [self.architecture.num_outputs(length) for length in lengths]
        packed = torch.cat([one[:size] for one, size in zip(outputs, sizes, strict=True)])
        return VectorSets(packed, sizes, order_of(sizes))


def encoder_of(folder: str) -> Any:
    """The `WhisperEncoder` of a model's folder."""
    transformers = need("transformers")
    transformers.logging.set_verbosity_error()  # the folder has no decoder
    return transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder


def padded(plan: Plan, splits: Mapping[str, Any]) -> float:
    """Train the recipe's model with the encoder of `transformers`, and score it. The files are read again."""
    theirs = encoder_of(read(plan.recipe, plan.all_changes()).tables["adapters"]["speech"]["start"])

    def changed(model: Model) -> Model:
        adapter = model.adapter("speech")
        assert isinstance(adapter, SpeechAdapter)
        assert isinstance(adapter.stem, PretrainedStem)
        adapter.stem = PaddedWhisper(adapter.stem, theirs)
        return model

    return ours(plan, {split: plan.sources(split) for split in splits}, changed)


if __name__ == "__main__":
    compare(__doc__, RECIPE, {"transformers": padded}, CHANGES)
