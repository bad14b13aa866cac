"""A head whose output is a text no longer than the input and in its order: CTC, as for speech.

Axes: vectors, sets, dim, size (of the target's vocabulary), tokens (of all targets, one after
another).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads._shared import check_sets, inference
from multiseq.heads.search import ctc_beam_search, ctc_greedy
from multiseq.heads.text_target import TextTarget
from multiseq.protocols import Level, Packed
from multiseq.results import Text, check_finite
from multiseq.vectors import VectorSets, rows_of, to_device

__all__ = ["CTCHead"]


class CTCHead(nn.Module):
    """Connectionist temporal classification: a token or a blank per vector, repetitions merge.

        P(text) = sum over paths that collapse to it of prod_t P(path_t | vector t)

    Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf). A set must have a vector
    for every token of its target and one more between equal neighbours (for the blank).

    Args:
        dim: Width of the encoded vectors.
        target: What a text is.
        dropout: On the encoded vectors, in training.
    """

    level: Level = "sequence"

    def __init__(self, dim: int, target: TextTarget, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.target, self.dropout = dim, target, dropout
        self.read = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, target.size))

    def forward(self, sets: VectorSets) -> Float[Tensor, "vectors size"]:
        """Log-probabilities of the tokens, blank among them, for every vector."""
        check_sets(sets, self.dim)
        logits: Tensor = self.read(sets.values)
        return logits.float().log_softmax(-1)

    def loss(self, sets: VectorSets, targets: Packed) -> tuple[Tensor, Tensor]:
        """Sum of -log P(text), and the number of target tokens.

        A set too short for its target (no path gives the text) has no finite loss: it is left out
        of both numbers, with a warning that names its lengths.

        Raises:
            ValueError: Another width, or not one target for each set.
        """
        check_sets(sets, self.dim, targets)
        log_probs = sets.with_values(self(sets))
        kept = _long_enough(sets.lengths, targets)
        if len(kept) < sets.num_sets:
            values = targets.values[to_device(rows_of(targets.lengths, kept), sets.device)]
            targets = Packed(values, [targets.lengths[i] for i in kept])
        total = self._losses(log_probs.select(kept), targets).sum()
        return total, to_device(torch.tensor(sum(targets.lengths)), sets.device)

    def too_short(self, length: int, text: str) -> str:
        """The sizes of a set of so many vectors where they leave no path for a text, else nothing.

        Training asks before it begins: it knows the set's file and line.
        """
        tokens = self.target.encode(text)
        repetitions = _repetitions(tokens)
        return _sizes(length, len(tokens), repetitions) if length < len(tokens) + repetitions else ""

    def decode(self, sets: VectorSets, *, beam: int = 1) -> list[Text]:
        """A text for each set and its log-probability, summed over all its paths.

        Args:
            sets: Encoded sets.
            beam: 1 takes the most probable path (greedy); more searches for the most probable text.

        Raises:
            NotFiniteError: A set whose probabilities are NaN.
        """
        with inference(self):
            log_probs = self(sets)
            check_finite(log_probs, sets.lengths)
            possible = log_probs.clone()
            # No path may hold them: begin and end belong to decoders, unknown is no character.
            possible[:, [self.target.begin, self.target.end, self.target.unknown]] = -math.inf
            found = [self._search(rows, beam) for rows in possible.cpu().split(list(sets.lengths))]
            tokens = torch.tensor([t for text in found for t in text], dtype=torch.long)
            texts = Packed(tokens.to(sets.device), [len(text) for text in found])
            scores = (0.0 - self._losses(sets.with_values(log_probs), texts)).tolist()  # not -0.0
        return [Text(self.target.decode_tokens(t), s) for t, s in zip(found, scores, strict=True)]

    def _search(self, log_probs: Tensor, beam: int) -> list[int]:
        blank = self.target.blank
        if beam == 1:
            return ctc_greedy(log_probs, blank=blank)
        return ctc_beam_search(log_probs, blank=blank, beam=beam)[0].tokens

    def _losses(self, log_probs: VectorSets, texts: Packed) -> Float[Tensor, " sets"]:
        """-log P(text) of each set; 0 for an empty set, which can only say the empty text."""
        filled = [i for i, length in enumerate(log_probs.lengths) if length]
        losses = log_probs.values.new_zeros(log_probs.num_sets)
        if not filled:
            return losses + log_probs.values.sum()  # of no rows: 0, and backward works
        padded, _ = log_probs.select(filled).to_padded()
        values = texts.values
        if padded.device.type == "mps" or torch.are_deterministic_algorithms_enabled():
            # On the CPU: torch 2.11 has no such loss for Apple's GPUs, and on CUDA its gradient is added up
            # in no fixed order.
            padded, values = padded.cpu(), values.cpu()
        # Lengths as plain numbers: torch would read tensors on a GPU back. It still waits there, while it
        # copies the lengths: the one thing in a training step that does.
        found: Tensor = torch.ctc_loss(
            padded.transpose(0, 1),
            values,
            [log_probs.lengths[i] for i in filled],
            [texts.lengths[i] for i in filled],
            blank=self.target.blank,
            reduction=0,  # one loss for each set
        ).to(losses.device)
        if len(filled) == len(losses):
            return found
        return losses.index_put((to_device(torch.tensor(filled), log_probs.device),), found)

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": "ctc",
            "dim": self.dim,
            "dropout": self.dropout,
            "target": self.target.config(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CTCHead:
        """The inverse of :meth:`config`."""
        target = TextTarget.from_config(config["target"])
        return cls(config["dim"], target, dropout=config["dropout"])


def _long_enough(lengths: Sequence[int], targets: Packed) -> list[int]:
    """The sets that have a path for their target; a warning names the others."""
    repeated = [0] * len(lengths)
    # To look at the tokens is to wait for a GPU; most sets are long enough for any repetitions.
    if any(length < 2 * n - 1 for length, n in zip(lengths, targets.lengths, strict=True)):
        repeated = [_repetitions(text) for text in targets.values.cpu().split(targets.lengths)]
    needed = [n + r for n, r in zip(targets.lengths, repeated, strict=True)]
    short = [i for i, length in enumerate(lengths) if length < needed[i]]
    if short:
        named = "; ".join(
            f"set {i}: {_sizes(lengths[i], targets.lengths[i], repeated[i])}" for i in short[:5]
        )
        warnings.warn(
            f"CTC: {len(short)} of {len(lengths)} sets are too short for their target and left out "
            f"of the loss ({named}). {TOO_SHORT}",
            stacklevel=3,
        )
    return [i for i in range(len(lengths)) if lengths[i] >= needed[i]]


TOO_SHORT = (
    "Expected a vector for each token and one more where a token follows itself: subsample the input less, "
    "use pieces, or use a DecoderHead"
)
"""What to do about sets that are too short for their text."""


def _repetitions(text: Tensor) -> int:
    return int((text[1:] == text[:-1]).sum())


def _sizes(length: int, tokens: int, repetitions: int) -> str:
    return f"{length} vectors, {tokens} tokens, {repetitions} repetitions"
