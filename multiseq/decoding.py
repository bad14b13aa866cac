"""Search for the best sequence: beam search, and greedy and prefix beam search for CTC.

Nothing here knows a network: beam search is given a function from tokens to log-probabilities, CTC
a matrix of them. All scores are natural logarithms.

Axes: rows (living hypotheses of all sets, one after another), size (of the vocabulary), frames,
tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multiseq.vectors import order_of

__all__ = ["Hypothesis", "Steps", "beam_search", "ctc_beam_search", "ctc_greedy", "length_penalty"]


@dataclass(frozen=True)
class Hypothesis:
    """A sequence without special tokens, and its log-probability."""

    tokens: list[int]
    score: float


@runtime_checkable
class Steps(Protocol):
    """The network as a beam search sees it: it remembers every row's tokens."""

    def __call__(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows size"]:
        """Feed one token to every row: log-probabilities of the next one (-inf: never)."""

    def keep(self, rows: Sequence[int], sets: Sequence[int], counts: Sequence[int]) -> None:
        """Go on with some rows of the last call.

        Args:
            rows: Which, grouped by set; one that goes on in several ways is there several times.
            sets: The sets of the last call that they belong to, in their new order.
            counts: How many rows each of these sets has.
        """


def length_penalty(length: int, alpha: float) -> float:
    """``((5 + length) / 6) ** alpha``, Wu et al. 2016, equation 14 (https://arxiv.org/abs/1609.08144)."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    steps: Steps,
    num_sets: int,
    *,
    begin: int,
    end: int,
    max_length: int,
    beam: int = 1,
    alpha: float = 0.6,
    device: torch.device | str = "cpu",
) -> list[Hypothesis]:
    """For each set the sequence of greatest log-probability / :func:`length_penalty`.

    Both count `end` in. A hypothesis that ends keeps its place in the beam of its set, so fewer go
    on. A set is finished when no place is left, or when no living hypothesis can overtake the best
    ended one: it only loses probability, and the most it can gain is the penalty of the greatest
    length. Hence the search stops by itself, a beam of 1 is greedy search, and a beam as wide as
    there are sequences is exhaustive. After ``max_length`` tokens every living hypothesis must end.

    Args:
        steps: The network; its rows are at first one for each set.
        num_sets: How many sets.
        begin: The token fed first.
        end: The token that ends a sequence.
        max_length: Tokens of a sequence at most, `end` not counted.
        beam: Hypotheses of each set.
        alpha: Strength of the length penalty; 0 compares bare probabilities, which favours short
            sequences.
        device: Where the network wants its tokens.

    Raises:
        ValueError: A beam or limit below 1, a negative alpha, or a network that gives NaN.
    """
    if beam < 1 or max_length < 1 or alpha < 0:
        raise ValueError(
            f"beam, max_length, alpha: got {beam}, {max_length}, {alpha}, expected at least 1, 1 and 0"
        )
    beams = _Beams(num_sets, begin, end, beam, alpha, length_penalty(max_length + 1, alpha))
    for length in range(1, max_length + 2):
        if not beams.sets:
            break
        log_probs = steps(torch.tensor(beams.last_tokens(), device=device))
        if length > max_length:
            only_end = torch.arange(log_probs.shape[1], device=device) == end
            log_probs = log_probs.masked_fill(~only_end, -math.inf)
        kept = beams.advance(log_probs, length)
        if beams.sets:
            steps.keep(*kept)
    return beams.results()


class _Prefixes:
    """Token sequences as a tree: extending or comparing one costs the same at any length."""

    def __init__(self, first: int) -> None:
        self.last = [first]  # token of every node; the root stands for the empty sequence
        self._parent = [-1]
        self._children: dict[tuple[int, int], int] = {}

    def extend(self, node: int, token: int) -> int:
        """The node of the sequence with one more token."""
        child = self._children.setdefault((node, token), len(self.last))
        if child == len(self.last):
            self.last.append(token)
            self._parent.append(node)
        return child

    def tokens(self, node: int) -> list[int]:
        """The sequence of a node."""
        found = []
        while node > 0:
            found.append(self.last[node])
            node = self._parent[node]
        return found[::-1]


class _Beams:
    """The living hypotheses of all sets, in rows grouped by set, and each set's best ended one."""

    def __init__(
        self, num_sets: int, begin: int, end: int, beam: int, alpha: float, greatest_penalty: float
    ) -> None:
        self.end, self.alpha, self.greatest_penalty = end, alpha, greatest_penalty
        self.sets = list(range(num_sets))  # those not finished
        self.counts = [1] * num_sets  # rows of each of these
        self.nodes, self.scores = [0] * num_sets, [0.0] * num_sets  # one for each row
        self.places = [beam] * num_sets  # of every set, finished or not, likewise below
        self.best: list[tuple[float, Hypothesis] | None] = [None] * num_sets
        self.prefixes = _Prefixes(begin)

    def last_tokens(self) -> list[int]:
        return [self.prefixes.last[node] for node in self.nodes]

    def advance(self, log_probs: Tensor, length: int) -> tuple[list[int], list[int], list[int]]:
        """Extend every hypothesis by a token; what `Steps.keep` is to be told."""
        width = max(self.places[number] for number in self.sets)
        found = _extensions(log_probs, self.scores, self.counts, width)
        living = [self._settle(s, found[s], length) for s in range(len(self.sets))]
        # Sets with more rows first: attention's own order, or it would sort again in every layer.
        order = sorted((s for s in range(len(living)) if living[s]), key=lambda s: -len(living[s]))
        kept = [extension for s in order for extension in living[s]]
        self.sets, self.counts = [self.sets[s] for s in order], [len(living[s]) for s in order]
        self.nodes = [self.prefixes.extend(self.nodes[row], token) for _, row, token in kept]
        self.scores = [score for score, _, _ in kept]
        return [row for _, row, _ in kept], order, self.counts

    def _settle(self, s: int, found: Iterable[_Extension], length: int) -> list[_Extension]:
        """Of a set's best extensions, put the ended ones away; those that go on."""
        number, living = self.sets[s], []
        for score, row, token in list(found)[: self.places[number]]:
            if not score > -math.inf:  # impossible, or NaN
                break
            if token == self.end:
                self._put_away(number, score, row, length)
            else:
                living.append((score, row, token))
        best = self.best[number]
        hopeless = best and living and best[0] >= living[0][0] / self.greatest_penalty
        return [] if hopeless else living

    def _put_away(self, number: int, score: float, row: int, length: int) -> None:
        self.places[number] -= 1
        value, best = score / length_penalty(length, self.alpha), self.best[number]
        if best is None or value > best[0]:
            self.best[number] = value, Hypothesis(self.prefixes.tokens(self.nodes[row]), score)

    def results(self) -> list[Hypothesis]:
        without = [number for number, best in enumerate(self.best) if best is None]
        if without:
            raise ValueError(
                f"beam search: got NaN or -inf for every next token of set {without[0]}; the "
                "weights or the encoded vectors hold NaN or infinity: look at the training loss"
            )
        return [best[1] for best in self.best if best is not None]


_Extension = tuple[float, int, int]
"""Log-probability of a hypothesis with one more token, the row it extends, the token."""


def _extensions(
    log_probs: Tensor, scores: Sequence[float], counts: Sequence[int], width: int
) -> list[list[_Extension]]:
    """For each set its most probable extensions, best first: ``width``, or all there are."""
    # No set can want more than `width` tokens of one row.
    values, tokens = log_probs.topk(min(width, log_probs.shape[1]))
    values = values + torch.tensor(scores, device=values.device)[:, None]
    most, each = max(counts), values.shape[1]
    first_slots = torch.arange(len(counts)) * most
    slots = first_slots.repeat_interleave(torch.tensor(counts)) + order_of(counts)
    table = values.new_full((len(counts) * most, each), -math.inf)
    table[slots.to(values.device)] = values
    best, where = table.view(len(counts), -1).topk(min(width, most * each))
    starts = torch.tensor([0, *accumulate(counts)][:-1]).to(values.device)
    # Slots without a row have -inf and are never used; clamped so that looking them up is legal.
    rows = (starts[:, None] + where // each).clamp(max=values.shape[0] - 1)
    chosen = tokens[rows, where % each]
    columns = zip(best.tolist(), rows.tolist(), chosen.tolist(), strict=True)
    return [list(zip(*of_set, strict=True)) for of_set in columns]


# --- CTC ------------------------------------------------------------------------------------------


def ctc_greedy(log_probs: Float[Tensor, "frames size"], *, blank: int) -> list[int]:
    """The text of the most probable path: repetitions merged, then blanks dropped.

    Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf).

    >>> ctc_greedy(torch.eye(3)[[1, 1, 0, 1, 2]], blank=0)
    [1, 1, 2]
    """
    path = log_probs.argmax(-1).tolist()
    return [token for token, _ in groupby(path) if token != blank]


def ctc_beam_search(
    log_probs: Float[Tensor, "frames size"], *, blank: int, beam: int, tokens: int = 20
) -> list[Hypothesis]:
    """Prefix beam search: the most probable texts, best first, summed over the paths followed.

    Hannun et al. 2014, algorithm 1 (https://arxiv.org/abs/1408.2873), without a language model. A
    prefix has two probabilities, of its paths that end in blank and of those that end in its last
    token: only after a blank does that token again make the prefix longer.

    Args:
        log_probs: Of one set, normalised in every frame.
        blank: Which token is blank.
        beam: Prefixes kept after each frame.
        tokens: How many tokens of each frame are tried: the most probable ones.

    Raises:
        ValueError: A beam below 1.
    """
    if beam < 1:
        raise ValueError(f"beam: got {beam}, expected 1 or more")
    prefixes = _Prefixes(blank)
    living = {0: (0.0, -math.inf)}  # node: log-probability of paths that end in blank, in a token
    values, indices = log_probs.topk(min(tokens, log_probs.shape[1]))
    for frame in zip(values.tolist(), indices.tolist(), strict=True):
        grown = _grow(living, list(zip(*frame, strict=True)), prefixes, blank)
        best = sorted(grown, key=lambda node: _add(*grown[node]), reverse=True)[:beam]
        living = {node: grown[node] for node in best}
    return [Hypothesis(prefixes.tokens(node), _add(*ends)) for node, ends in living.items()]


_Ends = tuple[float, float]


def _grow(
    living: dict[int, _Ends], frame: Sequence[tuple[float, int]], prefixes: _Prefixes, blank: int
) -> dict[int, _Ends]:
    """One frame more: every prefix stays, by blank or by its last token again, or takes a token."""
    grown: dict[int, _Ends] = {}
    nothing = (-math.inf, -math.inf)
    for node, (in_blank, in_token) in living.items():
        total = _add(in_blank, in_token)
        for value, token in frame:
            if token == blank:
                ends = grown.get(node, nothing)
                grown[node] = _add(ends[0], total + value), ends[1]
                continue
            before = total
            if token == prefixes.last[node]:
                ends = grown.get(node, nothing)
                grown[node] = ends[0], _add(ends[1], in_token + value)
                before = in_blank
            if before > -math.inf:
                child = prefixes.extend(node, token)
                ends = grown.get(child, nothing)
                grown[child] = ends[0], _add(ends[1], before + value)
    return grown


def _add(a: float, b: float) -> float:
    """``log(exp(a) + exp(b))``."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
