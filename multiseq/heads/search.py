"""Search for the most probable sequence: beam search, and greedy and prefix beam search for CTC.

The functions do not depend on a network. Beam search calls a function that maps tokens to log-probabilities;
CTC search takes a matrix of log-probabilities. All scores are natural logarithms.

Axes: sets, beams (hypotheses of one set that are not finished), size (of the vocabulary), frames, tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from multiseq.heads.language_model import WordScores
from multiseq.results import NotFiniteError

__all__ = ["Hypothesis", "Steps", "beam_search", "ctc_beam_search", "ctc_greedy", "gnmt_penalty"]


@dataclass(frozen=True)
class Hypothesis:
    """A sequence without special tokens, and its log-probability."""

    tokens: list[int]
    score: float


@runtime_checkable
class Steps(Protocol):
    """The network in the form that `beam_search` calls. It must remember the tokens of each beam.

    All sets have the same number of beams. A set with fewer hypotheses repeats its first one, and a finished
    set may stay for some steps; the output for such beams is ignored.
    """

    def __call__(self, tokens: Int[Tensor, "sets beams"]) -> Float[Tensor, "sets beams size"]:
        """Append one token to each beam; return log-probabilities of the next token (-inf: impossible)."""

    def keep(self, rows: Int[Tensor, "sets_kept beams_kept"], sets: Sequence[int] | None) -> None:
        """Continue with some beams of the last call.

        Args:
            rows: For each set that stays, the numbers of the beams to continue with. A beam that continues in
                several ways appears several times.
            sets: The sets that stay, in the order of the last call; None for all.
        """


def gnmt_penalty(length: int, length_penalty: float) -> float:
    """``((5 + length) / 6) ** alpha``, Wu et al. 2016, equation 14 (https://arxiv.org/abs/1609.08144)."""
    return float(((5 + length) / 6) ** length_penalty)


def beam_search(
    steps: Steps,
    num_sets: int,
    *,
    begin: int,
    end: int,
    max_length: int,
    num_beams: int = 1,
    n_best: int = 1,
    length_penalty: float = 0.6,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """For each set, search for the sequences with the highest log-probability / :func:`length_penalty`.

    Log-probability and length include `end`. A hypothesis that has ended keeps its place in the beam, so that
    fewer hypotheses continue. A set is finished when no place is left, or when no unfinished hypothesis can
    become one of the ``n_best``. (More tokens only lower its log-probability, and the largest
    possible divisor is the penalty at ``max_length``.) A beam of 1 is greedy search; a beam as wide as the
    number of possible sequences is exhaustive. After ``max_length`` tokens each hypothesis must end.

    Args:
        steps: The network. It starts with one beam for each set.
        num_sets: The number of sets.
        begin: The first input token.
        end: The token that ends a sequence.
        max_length: The most tokens in a sequence, without `end`.
        num_beams: Beam width: the number of hypotheses for each set. It is at least ``n_best``.
        n_best: The number of sequences to find for each set. There may be fewer.
        length_penalty: Strength of the length penalty. 0 compares plain log-probabilities, which favours
            short sequences.
        device: Device of the tokens that the network gets.

    Returns:
        For each set its sequences, best first.

    Raises:
        ValueError: ``num_beams``, ``n_best`` or ``max_length`` is below 1, or ``length_penalty`` is negative.
        NotFiniteError: The network gives NaN for every next token of a set.
    """
    if min(num_beams, n_best, max_length) < 1 or length_penalty < 0:
        raise ValueError(
            f"num_beams, n_best, max_length, length_penalty: got {num_beams}, {n_best}, {max_length}, "
            f"{length_penalty}, expected at least 1, 1, 1 and 0"
        )
    greatest, num_beams = gnmt_penalty(max_length + 1, length_penalty), max(num_beams, n_best)
    beams = _Beams(num_sets, begin, end, num_beams, n_best, length_penalty, greatest, device)
    for length in range(1, max_length + 2):
        if not beams.numbers:
            break
        log_probs = steps(beams.tokens[:, :, -1])
        if length > max_length:
            only_end = torch.arange(log_probs.shape[-1], device=device) == end
            log_probs = log_probs.masked_fill(~only_end, -math.inf)
        kept = beams.advance(log_probs, length)
        if beams.numbers:
            steps.keep(*kept)
    return beams.results()


class _Beams:
    """The unfinished hypotheses of all sets, best first, and the best ended hypotheses of each set.

    All are tensors on the device, and a step treats all sets at once, without a loop. The host reads only one
    number for each set: how many hypotheses continue.
    """

    def __init__(
        self,
        num_sets: int,
        begin: int,
        end: int,
        num_beams: int,
        n_best: int,
        length_penalty: float,
        greatest_penalty: float,
        device: torch.device | str,
    ) -> None:
        self.end, self.num_beams = end, num_beams
        self.length_penalty, self.greatest_penalty = length_penalty, greatest_penalty
        self.numbers = list(range(num_sets))  # the numbers of the sets that are still here
        self.tokens = torch.full((num_sets, 1, 1), begin, device=device)  # (sets, beams, tokens)
        self.scores = torch.zeros(num_sets, 1, device=device)  # (sets, beams), -inf for no hypothesis
        self.places = torch.full((num_sets, 1), num_beams, device=device)
        self.ranks = torch.arange(num_beams, device=device)
        self.best_value = torch.full((num_sets, n_best), -math.inf, device=device)  # best first
        self.best_score = self.best_value
        self.best_tokens = self.tokens.expand(-1, n_best, -1)  # (sets, n_best, tokens), padded with `end`
        self._left: list[tuple[list[int], Tensor, Tensor]] = []  # numbers, scores, tokens

    def advance(self, log_probs: Tensor, length: int) -> tuple[Tensor, list[int] | None]:
        """Extend each hypothesis by one token. Returns the arguments for `Steps.keep`."""
        totals, beams, tokens = self._extensions(log_probs)
        # False for NaN too. NaN sorts first, so it takes all places of a set, and no hypothesis is left.
        possible = (totals > -math.inf) & (self.ranks[: totals.shape[1]] < self.places)
        ended = possible & (tokens == self.end)
        self._put_away(totals.masked_fill(~ended, -math.inf), beams, length)
        self.places = self.places - ended.sum(1, keepdim=True)

        scores, order = totals.masked_fill(~possible | ended, -math.inf).sort(descending=True, stable=True)
        hopeless = self.best_value[:, -1] >= scores[:, 0] / self.greatest_penalty
        scores = scores.masked_fill(hopeless[:, None], -math.inf)
        living = scores > -math.inf
        order = torch.where(living, order, order[:, :1])
        counts = living.sum(1).tolist()  # the only place where the host waits for the device
        width = max(1, *counts)
        beams, tokens = (x.gather(1, order[:, :width]) for x in (beams, tokens))
        before = self.tokens.gather(1, beams[:, :, None].expand(-1, -1, self.tokens.shape[2]))
        self.tokens, self.scores = torch.cat([before, tokens[:, :, None]], dim=2), scores[:, :width]
        staying = _staying(counts)
        if len(staying) == len(counts):
            return beams, None
        return beams[self._leave(staying)], staying

    def _extensions(self, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The most probable extensions of each set, best first: log-probabilities, beams, tokens."""
        # A set keeps at most `num_beams` extensions, so at most as many tokens of a row can be among them.
        values, tokens = log_probs.topk(min(self.num_beams, log_probs.shape[2]))
        totals = (values + self.scores[:, :, None]).flatten(1)
        totals, index = totals.topk(min(self.num_beams, totals.shape[1]))
        return totals, index // values.shape[2], tokens.flatten(1).gather(1, index)

    def _put_away(self, ended: Tensor, beams: Tensor, length: int) -> None:
        """Store each set's best ended extensions if they beat earlier ones (score -inf: has not ended)."""
        n_best = self.best_value.shape[1]
        scores, first = ended.topk(min(n_best, ended.shape[1]))
        values = torch.cat([self.best_value, scores / gnmt_penalty(length, self.length_penalty)], 1)
        values, order = values.sort(descending=True, stable=True)
        self.best_value, order = values[:, :n_best], order[:, :n_best]
        self.best_score = torch.cat([self.best_score, scores], 1).gather(1, order)
        rows = beams.gather(1, first)[:, :, None].expand(-1, -1, length)
        before = F.pad(self.best_tokens, (0, length - self.best_tokens.shape[2]), value=self.end)
        tokens = torch.cat([before, self.tokens.gather(1, rows)], 1)
        self.best_tokens = tokens.gather(1, order[:, :, None].expand(-1, -1, length))

    def _leave(self, staying: list[int]) -> Tensor:
        """Store the results of the sets that leave. Returns the indices of the sets that stay."""
        gone = sorted(set(range(len(self.numbers))) - set(staying))
        index = torch.tensor(gone, dtype=torch.long).to(self.scores.device)
        self._left.append(([self.numbers[i] for i in gone], self.best_score[index], self.best_tokens[index]))
        self.numbers = [self.numbers[i] for i in staying]
        index = torch.tensor(staying, dtype=torch.long).to(self.scores.device)
        for name in ("tokens", "scores", "places", "best_value", "best_score", "best_tokens"):
            setattr(self, name, getattr(self, name)[index])
        return index

    def results(self) -> list[list[Hypothesis]]:
        by_number: dict[int, list[Hypothesis]] = {}
        for numbers, scores, tokens in self._left:
            for number, of_set, rows in zip(numbers, scores.tolist(), tokens.tolist(), strict=True):
                by_number[number] = [
                    Hypothesis([*takewhile(lambda token: token != self.end, row[1:])], score)
                    for row, score in zip(rows, of_set, strict=True)
                    if score > -math.inf
                ]
        without = [number for number in sorted(by_number) if not by_number[number]]
        if without:
            raise NotFiniteError(
                without[0],
                f"beam search: got NaN or -inf for every next token of set {without[0]}, expected finite "
                "numbers; the weights or the encoded vectors hold NaN or infinity: look at the training loss",
            )
        return [by_number[number] for number in sorted(by_number)]


def _staying(counts: Sequence[int]) -> list[int]:
    """The sets that continue, plus enough finished sets to round their number up to 2^k or 3 * 2^k.

    Kernels are compiled for each batch size, so few different sizes save time.

    >>> _staying([1, 0, 0, 2, 1, 1, 0, 1, 0])
    [0, 1, 3, 4, 5, 7]
    """
    living = sum(count > 0 for count in counts)
    power = 1 << max(0, living - 1).bit_length()
    size = power * 3 // 4 if living <= power * 3 // 4 else power
    room = size - living if living else 0
    staying = []
    for i, count in enumerate(counts):
        room -= not count
        if count or room >= 0:
            staying.append(i)
    return staying


# --- CTC ------------------------------------------------------------------------------------------


def ctc_greedy(log_probs: Float[Tensor, "frames size"], *, blank: int) -> list[int]:
    """Greedy CTC: the text of the most probable path. Equal neighbours merge, then blanks are dropped.

    Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf).

    >>> ctc_greedy(torch.eye(3)[[1, 1, 0, 1, 2]], blank=0)
    [1, 1, 2]
    """
    path = log_probs.argmax(-1).tolist()
    return [token for token, _ in groupby(path) if token != blank]


def ctc_beam_search(
    log_probs: Float[Tensor, "frames size"],
    *,
    blank: int,
    num_beams: int,
    tokens: int = 20,
    words: WordScores | None = None,
) -> list[Hypothesis]:
    """CTC prefix beam search: the most probable texts, best first, summed over the paths that were followed.

    Hannun et al. 2014, algorithm 1 (https://arxiv.org/abs/1408.2873). Each prefix has two probabilities: one
    for its paths that end in blank, and one for those that end in its last token. They differ because the
    last token, if it comes again, makes the prefix longer only after a blank. With a language model, the
    order is that of log P(text) + gain of its words; the scores are log P(text) in any case.

    Args:
        log_probs: Log-probabilities of one set, normalised in each frame.
        blank: The number of the blank token.
        num_beams: Beam width: the number of prefixes kept after each frame.
        tokens: The number of tokens tried in each frame (the most probable ones).
        words: What a language model says of words; None: no language model.

    Raises:
        ValueError: ``num_beams`` is below 1.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams: got {num_beams}, expected 1 or more")
    prefixes = _Prefixes(blank, words)
    living = {0: (0.0, -math.inf)}  # node -> log-probabilities of paths that end in blank, in a token
    values, indices = log_probs.topk(min(tokens, log_probs.shape[1]))
    for frame in zip(indices.tolist(), values.tolist(), strict=True):
        living = _grow(living, dict(zip(*frame, strict=True)), prefixes, blank, num_beams)
    found = {node: _add(*ends) for node, ends in living.items()}
    nodes = list(found)
    if words is not None:
        nodes.sort(key=lambda node: found[node] + prefixes.gains[node] + words.end(node), reverse=True)
    return [Hypothesis(prefixes.tokens(node), found[node]) for node in nodes]


class _Prefixes:
    """Token sequences stored as a tree, so that extending or comparing them takes constant time."""

    def __init__(self, first: int, words: WordScores | None = None) -> None:
        self.last = [first]  # last token of each node; the root is the empty sequence
        self.parent = [-1]
        self.gains = [0.0]  # by a language model
        self.words = words
        self.most = 0.0 if words is None else max(0.0, words.word_bonus)  # no token can gain more
        self._children: dict[tuple[int, int], int] = {}

    def extend(self, node: int, token: int) -> int:
        """The node for the sequence of ``node`` plus one token."""
        child = self._children.setdefault((node, token), len(self.last))
        if child == len(self.last):
            self.last.append(token)
            self.parent.append(node)
            more = 0.0 if self.words is None else self.words.extend(node, token)
            self.gains.append(self.gains[node] + more)
        return child

    def tokens(self, node: int) -> list[int]:
        """The sequence that a node stands for."""
        tokens = []
        while node > 0:
            tokens.append(self.last[node])
            node = self.parent[node]
        return tokens[::-1]


_Ends = tuple[float, float]


def _grow(
    living: dict[int, _Ends], frame: dict[int, float], prefixes: _Prefixes, blank: int, num_beams: int
) -> dict[int, _Ends]:
    """Process one frame: each prefix stays (by blank or by its last token again) or is extended by a token.

    ``frame`` holds the tokens to try, the most probable first. A new prefix has a single parent, so its
    probability is final here: it is skipped if ``num_beams`` prefixes that stay are more probable.
    """
    totals = {node: _add(*ends) for node, ends in living.items()}
    gains = prefixes.gains
    candidates = []
    for node, (_, in_token) in living.items():
        token, parent = prefixes.last[node], prefixes.parent[node]
        value = frame.get(token, -math.inf)
        in_token += value
        if parent in living:
            before = living[parent][0] if prefixes.last[parent] == token else totals[parent]
            in_token = _add(in_token, before + value)
        ends = totals[node] + frame.get(blank, -math.inf), in_token
        candidates.append((_add(*ends) + gains[node], node, ends))
    least = sorted(candidates)[-num_beams][0] if len(candidates) >= num_beams else -math.inf
    for node, total in totals.items():
        gain = gains[node] + prefixes.most
        for token, value in frame.items():
            if not total + value + gain > least:
                break
            before = living[node][0] if token == prefixes.last[node] else total
            if token == blank or not before + value + gain > least:
                continue
            child = prefixes.extend(node, token)
            if child not in living:
                candidates.append((before + value + gains[child], child, (-math.inf, before + value)))
    return {node: ends for _, node, ends in sorted(candidates, reverse=True)[:num_beams]}


def _add(a: float, b: float) -> float:
    """``log(exp(a) + exp(b))``."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
