"""Sequences the slow, obvious way: by writing down every path and every text there is."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby, product

import torch
from torch import Tensor

from multiseq.heads.decoder import DecoderHead
from multiseq.protocols import Packed
from multiseq.vectors import VectorSets

Tokens = tuple[int, ...]


def collapse(path: Tokens, blank: int) -> Tokens:
    """Merge repetitions, then drop blanks."""
    return tuple(token for token, _ in groupby(path) if token != blank)


def ctc_probabilities(log_probs: Tensor, blank: int) -> dict[Tokens, float]:
    """Every text that (frames, size) log-probabilities can give, by writing down all paths."""
    frames, size = log_probs.shape
    probabilities = log_probs.double().exp().tolist()
    texts: dict[Tokens, float] = defaultdict(float)
    for path in product(range(size), repeat=frames):
        texts[collapse(path, blank)] += math.prod(probabilities[t][k] for t, k in enumerate(path))
    return dict(texts)


def all_sequences(tokens: list[int], max_length: int) -> Iterator[Tokens]:
    """Every sequence of these tokens, the empty one first."""
    for length in range(max_length + 1):
        yield from product(tokens, repeat=length)


def best_sequence(
    score: Callable[[Tokens], float], tokens: list[int], max_length: int, alpha: float
) -> tuple[Tokens, float]:
    """The sequence of the highest score, divided by the length penalty, and its score."""

    def value(sequence: Tokens) -> float:
        return score(sequence) / ((5 + len(sequence) + 1) / 6) ** alpha

    best = max(all_sequences(tokens, max_length), key=value)
    return best, score(best)


def teacher_forced(head: DecoderHead, vectors: Tensor, tokens: Tokens) -> float:
    """Log-probability of tokens and end for one set, by the path that training takes."""
    with torch.no_grad():
        logits = head(VectorSets(vectors, [len(vectors)]), Packed(torch.tensor(tokens).long(), [len(tokens)]))
    wanted = torch.tensor([*tokens, head.target.end])
    return float(logits.log_softmax(-1)[torch.arange(len(wanted)), wanted].sum())


def greedy_without_cache(head: DecoderHead, vectors: Tensor, max_length: int) -> Tokens:
    """The most probable token again and again, everything computed anew each time."""
    tokens: Tokens = ()
    never = [head.target.blank, head.target.begin, head.target.unknown]
    while len(tokens) < max_length:
        with torch.no_grad():
            targets = Packed(torch.tensor(tokens).long(), [len(tokens)])
            last = head(VectorSets(vectors, [len(vectors)]), targets)[-1]
        last[never] = -math.inf
        if (token := int(last.argmax())) == head.target.end:
            break
        tokens += (token,)
    return tokens
