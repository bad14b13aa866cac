"""Copying: words of the input that stand in the output as they are, such as names and numbers.

A word that training has never seen cannot be spelled with confidence, but it can be pointed at (Vinyals et
al. 2015, https://arxiv.org/abs/1506.03134; Gulcehre et al. 2016, https://arxiv.org/abs/1603.08148). Here the
decoder points at a vector of the set, and the name of that vector is written, however many letters it has.

Axes: tokens, vectors, sets, dim, most (the number of vectors of the largest set).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.nn.linear import Linear
from multiseq.vectors import VectorSets, to_device

__all__ = ["Copied", "Memory", "Pointer", "can_be_copied", "common_words", "find_names"]

RARE = 200
"""A word is common, and is spelled, if one in so many training texts has it. Other words can be copied."""

_WITHOUT_SPACES = "\u2e80"  # the first character of the scripts of China and Japan


class Copied(NamedTuple):
    """A stretch of a text that is the name of a vector: ``text[start:end]`` is that of number ``vector``."""

    start: int
    end: int
    vector: int


def common_words(texts: Collection[str]) -> list[str]:
    """The words that at least one in :data:`RARE` texts has, and at least two texts, sorted.

    >>> common_words(["a cat", "a dog"])
    ['a']
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(re.findall(r"\w+", text)))
    return sorted(word for word, count in counts.items() if count >= max(2, len(texts) / RARE))


def can_be_copied(name: str, common: Collection[str]) -> bool:
    """Whether the name of a vector is a word or several, and not one common word.

    >>> can_be_copied("New York", {"New"}), can_be_copied("New", {"New"}), can_be_copied("-", {})
    (True, False, False)
    """
    return name not in common and any(character.isalnum() for character in name)


def find_names(text: str, names: Sequence[str], common: Collection[str]) -> list[Copied]:
    """Where the names of a set's vectors stand in a text, as whole words; of two that overlap the longer one.

    A name that several vectors have is that of the first.

    >>> find_names("Ann saw Anna Lee", ["Anna Lee", "Ann", "saw"], {"saw"})
    [Copied(start=0, end=3, vector=1), Copied(start=8, end=16, vector=0)]
    """
    found: list[Copied] = []
    taken = [False] * len(text)
    numbers = {name: number for number, name in reversed(list(enumerate(names)))}
    for name in sorted(numbers, key=len, reverse=True):
        start = text.find(name) if can_be_copied(name, common) else -1
        while start >= 0:
            end, after = start + len(name), start + 1
            if not any(taken[start:end]) and not _within_word(text, start) and not _within_word(text, end):
                found.append(Copied(start, end, numbers[name]))
                taken[start:end] = [True] * len(name)
                after = end
            start = text.find(name, after)
    return sorted(found)


def _within_word(text: str, place: int) -> bool:
    """Whether the characters before and at a place belong to one word."""
    if not 0 < place < len(text):
        return False
    before, at = text[place - 1], text[place]
    return before.isalnum() and at.isalnum() and max(before, at) < _WITHOUT_SPACES


class Memory(NamedTuple):
    """The vectors that can be pointed at, packed, and where each set has its vectors.

    Args:
        vectors: The encoded vectors.
        keys: Their keys.
        starts: The number of the first vector of each set.
        lengths: The number of vectors of each set.
        most: The number of vectors of the largest set.
    """

    vectors: Float[Tensor, "vectors dim"]
    keys: Float[Tensor, "vectors dim"]
    starts: Int[Tensor, " sets"]
    lengths: Int[Tensor, " sets"]
    most: int

    def rows(self, owners: Int[Tensor, " tokens"]) -> Int[Tensor, "tokens most"]:
        """The numbers of the vectors of the set of each token; -1 for padding."""
        within = torch.arange(self.most, device=owners.device)
        rows = self.starts[owners][:, None] + within
        return rows.masked_fill(within >= self.lengths[owners][:, None], -1)

    def select(self, sets: Sequence[int]) -> Memory:
        """Some of the sets."""
        chosen = to_device(torch.tensor(sets), self.starts.device)
        return self._replace(starts=self.starts[chosen], lengths=self.lengths[chosen])


class Pointer(nn.Module):
    """Points at a vector of the set, and feeds it to the next step.

        P(vector | copy) = softmax over the set of (W_q state) . (W_k vector) / sqrt(dim)

    Args:
        dim: Width of the states and of the vectors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.copied = Linear(dim, dim), Linear(dim, dim), Linear(dim, dim)

    def remember(self, sets: VectorSets) -> Memory:
        """The vectors of the sets, with their keys."""
        lengths = torch.tensor(sets.lengths, dtype=torch.long)
        starts, lengths = (to_device(x, sets.device) for x in (lengths.cumsum(0) - lengths, lengths))
        return Memory(sets.values, self.key(sets.values), starts, lengths, max(sets.lengths, default=0))

    def forward(
        self, states: Float[Tensor, "tokens dim"], owners: Int[Tensor, " tokens"], memory: Memory
    ) -> Float[Tensor, "tokens most"]:
        """The log-probability of each vector of the token's set, if a token is copied; -inf for padding.

        Args:
            states: The last hidden states of the decoder.
            owners: The number of the set of each token.
            memory: Of :meth:`remember`.
        """
        rows = memory.rows(owners)
        scores = torch.einsum("td,tmd->tm", self.query(states), memory.keys[rows])
        scores = (scores * states.shape[1] ** -0.5).float()
        log_probs: Tensor = scores.masked_fill(rows < 0, -math.inf).log_softmax(-1)
        return log_probs

    def embed(
        self, tokens: Int[Tensor, " tokens"], size: int, owners: Int[Tensor, " tokens"], memory: Memory
    ) -> Float[Tensor, "tokens dim"]:
        """What a copied token adds to its embedding: its vector; nothing for other tokens.

        Args:
            tokens: Numbers of tokens; from ``size`` on, of the vectors of the set.
            size: Size of the vocabulary.
            owners: The number of the set of each token.
            memory: Of :meth:`remember`.
        """
        if not len(memory.vectors):  # only empty sets
            return memory.vectors.new_zeros(len(tokens), memory.vectors.shape[1])
        copied = tokens >= size
        rows = (memory.starts[owners] + tokens - size).masked_fill(~copied, 0)
        vectors: Tensor = self.copied(memory.vectors[rows])
        return torch.where(copied[:, None], vectors, 0.0)
