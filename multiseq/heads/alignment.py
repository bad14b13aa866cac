"""Forced alignment for CTC: which vectors of a set stand for which token of a known text.

Axes: vectors, sets, size (of the vocabulary), states (of one text: a blank before, between and after its
tokens).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from multiseq.protocols import Packed
from multiseq.vectors import VectorSets, to_device

__all__ = ["ctc_align", "stretches"]


def ctc_align(log_probs: VectorSets, texts: Packed, *, blank: int) -> Int[Tensor, " vectors"]:
    """The most probable path of each set among those that collapse to its text; a token for each vector.

        best(t, s) = log P(token of s | vector t) + max(best(t-1, s), best(t-1, s-1), best(t-1, s-2))

    A step over a blank (the last term) is possible between different tokens only. This is the Viterbi
    algorithm on the states of Graves et al. 2006, section 4.1
    (https://www.cs.toronto.edu/~graves/icml_2006.pdf), as in ``torchaudio.functional.forced_align``, for all
    sets at once. It keeps a byte for each vector and state.

    Args:
        log_probs: Sets whose vectors are log-probabilities of all tokens.
        texts: The tokens of each set.
        blank: The number of the blank token.

    Raises:
        ValueError: A set is too short for its text.
    """
    states = _states(texts, blank).to(log_probs.device)
    ends = to_device(torch.tensor([2 * n for n in texts.lengths]), log_probs.device)[:, None]
    lengths = to_device(torch.tensor(log_probs.lengths), log_probs.device)
    padded, inside = log_probs.to_padded()  # (sets, vectors of the longest, size)
    can_skip = (states != blank) & (states != F.pad(states, (2, 0), value=blank)[:, :-2])
    best = torch.full(states.shape, -math.inf, device=padded.device)
    best[:, 0] = 0.0
    moves = []
    for t in range(padded.shape[1]):
        before = F.pad(best, (2, 0), value=-math.inf)
        skipped = before[:, :-2].masked_fill(~can_skip, -math.inf)
        # At the first vector, a path begins in the first blank or in the first token.
        ways = torch.stack([best, before[:, 1:-1], skipped])
        reached, move = ways.max(0)
        moves.append(move.to(torch.uint8))
        reached = reached + padded[:, t].gather(1, states)
        best = torch.where((t < lengths)[:, None], reached, best)
    # A path ends in the last token or in the blank after it.
    last = torch.cat([best.gather(1, ends), best.gather(1, (ends - 1).clamp(min=0))], dim=1)
    _check(last.amax(1), log_probs.lengths, texts.lengths)
    state = (ends - last.argmax(1, keepdim=True)).clamp(min=0)
    path = states.new_zeros(padded.shape[:2])
    for t in reversed(range(padded.shape[1])):
        path[:, t] = states.gather(1, state)[:, 0]
        state = state - moves[t].gather(1, state).long() * (t < lengths)[:, None]
    return path[inside]


def _states(texts: Packed, blank: int) -> Int[Tensor, "sets states"]:
    """Blank, first token, blank, second token … of each text; filled up with blanks."""
    states = torch.full((len(texts.lengths), 2 * max(texts.lengths, default=0) + 1), blank)
    for row, tokens in zip(states, texts.values.cpu().split(list(texts.lengths)), strict=True):
        row[1 : 2 * len(tokens) : 2] = tokens
    return states


def _check(best: Tensor, lengths: Sequence[int], tokens: Sequence[int]) -> None:
    for number, value in enumerate(best.tolist()):
        if value == -math.inf and lengths[number] + tokens[number]:
            raise ValueError(
                f"set {number}: got {lengths[number]} vectors for a text of {tokens[number]} tokens, "
                "expected a vector for each token and one more for each token that repeats the one before it"
            )


def stretches(path: Sequence[int], blank: int) -> list[tuple[int, int, int]]:
    """The tokens of a path, each as (token, first vector, vector after the last one).

    >>> stretches([0, 7, 7, 0, 7, 5], blank=0)
    [(7, 1, 3), (7, 4, 5), (5, 5, 6)]
    """
    tokens, first = [], 0
    for token, run in groupby(path):
        last = first + sum(1 for _ in run)
        if token != blank:
            tokens.append((token, first, last))
        first = last
    return tokens
