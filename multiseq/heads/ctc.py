"""CTC head: sequence to sequence, where the output follows the order of the input and is not longer.

This fits speech recognition. If the output can be longer or in another order, use
`multiseq.heads.decoder.DecoderHead`.

Axes: vectors, sets, dim, size (of the target's vocabulary), tokens (of all targets, one after
another).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.heads._shared import check_sets
from multiseq.heads.alignment import ctc_align, stretches
from multiseq.heads.language_model import LanguageModel, WordScores, arpa_model
from multiseq.heads.search import ctc_beam_search, ctc_greedy
from multiseq.heads.text_target import TextTarget
from multiseq.nn.first_weights import repeatable
from multiseq.nn.inference import inference
from multiseq.protocols import Level, Packed
from multiseq.results import Spoken, Text, check_finite
from multiseq.vectors import VectorSets, rows_of, to_device

__all__ = ["CTCHead"]


class CTCHead(nn.Module):
    """Connectionist temporal classification (CTC): each vector predicts one token or a blank.

        P(text) = sum over all paths that collapse to the text of prod_t P(path_t | vector t)

    A path is one token or blank per vector; it collapses when equal neighbours merge and then blanks are
    dropped. Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf). A set must have at least
    one vector for each token of its target, and one more for each token that equals the token before it,
    because a blank must separate the two.

    Args:
        dim: Width of the encoded vectors.
        target: The vocabulary, and the conversion between texts and tokens.
        dropout: Dropout probability on the encoded vectors, in training only.

    Example:
        >>> from multiseq import TextTarget, VectorSets
        >>> head = CTCHead(8, TextTarget.fit(["no", "yes"], unit="character"))
        >>> sets = VectorSets.from_list([torch.ones(6, 8)])
        >>> loss, tokens = head.loss(sets, head.target.batch(["yes"]))
        >>> int(tokens), len(head.decode(sets, num_beams=2))
        (3, 1)
    """

    level: Level = "sequence"

    @repeatable
    def __init__(self, dim: int, target: TextTarget, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.target, self.dropout = dim, target, dropout
        self.read = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, target.size))

    def forward(self, sets: VectorSets) -> Float[Tensor, "vectors size"]:
        """For each vector the log-probabilities of all tokens, including the blank."""
        check_sets(sets, self.dim)
        logits: Tensor = self.read(sets.values)
        return logits.float().log_softmax(-1)

    def loss(self, sets: VectorSets, targets: Packed) -> tuple[Tensor, Tensor]:
        """Sum of -log P(text), and the number of target tokens.

        If a set is too short for its target (no path gives the text), its loss would be infinite. Such a
        set is left out of both numbers, and a warning names its lengths.

        Raises:
            ValueError: The vectors have another width, or there is not one target for each set.
        """
        check_sets(sets, self.dim, targets)
        log_probs = sets.with_values(self(sets))
        kept = _long_enough(sets.lengths, targets)
        if len(kept) < sets.num_sets:
            values = targets.values[to_device(rows_of(targets.lengths, kept), sets.device)]
            targets = Packed(values, [targets.lengths[i] for i in kept])
        total = self._losses(log_probs.select(kept), targets).sum()
        return total, to_device(torch.tensor(sum(targets.lengths)), sets.device)

    def posteriors(self, sets: VectorSets) -> Float[Tensor, "vectors size"]:
        """For each vector the probability of each token and of the blank; each row sums to 1."""
        with inference(self):
            shares: Tensor = self(sets).exp()
        return shares

    def too_short(self, length: int, text: str) -> str:
        """Describe why a set of ``length`` vectors is too short for ``text``; an empty string if it is not.

        Training calls this before it begins, so that its error can name the file and line of the item.
        """
        tokens = self.target.encode(text)
        repetitions = _repetitions(tokens)
        return _sizes(length, len(tokens), repetitions) if length < len(tokens) + repetitions else ""

    def decode(
        self,
        sets: VectorSets,
        *,
        num_beams: int = 1,
        n_best: int = 1,
        times: bool = False,
        language_model: LanguageModel | str | Path | None = None,
        lm_weight: float = 0.5,
        word_bonus: float = 1.0,
    ) -> list[Text]:
        """For each set a text and its log-probability (natural logarithm), summed over all of its paths.

        With a language model the search looks for the largest
        ``log P(text | set) + lm_weight * log P(text) + word_bonus * number of words``
        (Hannun et al. 2014, equation 2). The score stays the first term.

        Args:
            sets: Encoded sets.
            num_beams: Beam width. 1 takes the most probable path (greedy); a larger beam searches for the
                most probable text. It is at least ``n_best``.
            n_best: The number of texts in `Text.n_best`, best first. 1: it is empty.
            times: Whether words and tokens get times and confidence, by forced alignment of the text.
            language_model: A function ``(words before, word or None for the end) -> log P`` (natural
                logarithm), or the path of an ARPA file, which needs the library kenlm. It needs a beam.
            lm_weight: Weight of the language model.
            word_bonus: Added for each word, because a language model prefers few words.

        Raises:
            ValueError: ``num_beams`` or ``n_best`` is below 1, or there is a language model and no beam.
            NotFiniteError: The probabilities of a set are NaN or infinite.
        """
        if num_beams < 1 or n_best < 1:
            raise ValueError(f"num_beams, n_best: got {num_beams}, {n_best}, expected 1 or more")
        num_beams = max(num_beams, n_best)
        if language_model is not None and num_beams == 1:
            raise ValueError("language_model: got num_beams 1, expected 2 or more; 16 is a good start")
        if isinstance(language_model, str | Path):
            language_model = arpa_model(language_model)
        options = (language_model, lm_weight, word_bonus)
        with inference(self):
            log_probs = self(sets)
            check_finite(log_probs, sets.lengths)
            possible = self.possible(log_probs)
            frames = possible.cpu().split(list(sets.lengths))
            found = [self._search(frame, num_beams, n_best, *options) for frame in frames]
            texts = self._scored(sets.with_values(log_probs), found)
            results = [replace(few[0], n_best=few if n_best > 1 else ()) for few in texts]
            if not times:
                return results
            if num_beams == 1:  # the most probable path of all is that of its text
                path = possible.argmax(-1)
            else:
                best = _packed([of_set[0] for of_set in found]).to(sets.device)
                path = ctc_align(sets.with_values(possible), best, blank=self.target.blank)
            return self._timed(results, sets.with_values(log_probs), path)

    def align(self, sets: VectorSets, texts: Sequence[str]) -> list[Text]:
        """Known texts with the times of their words and tokens, in vectors (forced alignment).

        The score of each is its log-probability. A character that no training text had is "�" in a word.

        Args:
            sets: Encoded sets.
            texts: The text of each.

        Raises:
            ValueError: The numbers of sets and texts differ, or a set is too short for its text.
            NotFiniteError: The probabilities of a set are NaN or infinite.
        """
        if len(texts) != sets.num_sets:
            raise ValueError(f"texts: got {len(texts)} for {sets.num_sets} sets, expected one for each")
        for length, text in zip(sets.lengths, texts, strict=True):
            if reason := self.too_short(length, text):
                raise ValueError(f"text {text[:40]!r}: got {reason}. {TOO_SHORT}")
        with inference(self):
            log_probs = self(sets)
            check_finite(log_probs, sets.lengths)
            tokens = [self.target.encode(text).tolist() for text in texts]
            results = [
                of_set[0] for of_set in self._scored(sets.with_values(log_probs), [[t] for t in tokens])
            ]
            path = ctc_align(
                sets.with_values(log_probs), _packed(tokens).to(sets.device), blank=self.target.blank
            )
            return self._timed(results, sets.with_values(log_probs), path)

    def _timed(self, texts: Sequence[Text], log_probs: VectorSets, path: Tensor) -> list[Text]:
        """Texts with tokens and words, along the path of each set."""
        shares = log_probs.values.gather(1, path[:, None])[:, 0].exp()
        paths, sure = (x.cpu().split(list(log_probs.lengths)) for x in (path, shares))
        return [self.timed(*one) for one in zip(texts, paths, sure, strict=True)]

    def possible(self, log_probs: Float[Tensor, "vectors size"]) -> Float[Tensor, "vectors size"]:
        """A copy in which the tokens that no path may contain have probability 0.

        Begin and end belong to decoders, and unknown is no character.
        """
        possible = log_probs.clone()
        possible[:, [self.target.begin, self.target.end, self.target.unknown]] = -math.inf
        return possible

    def _search(
        self,
        log_probs: Tensor,
        num_beams: int,
        n_best: int,
        language_model: LanguageModel | None,
        lm_weight: float,
        word_bonus: float,
    ) -> list[list[int]]:
        """The tokens of the best texts of one set."""
        blank = self.target.blank
        if num_beams == 1:
            return [ctc_greedy(log_probs, blank=blank)]
        words = None
        if language_model is not None:
            words = WordScores(language_model, self.target.spelling, lm_weight, word_bonus)
        found = ctc_beam_search(log_probs, blank=blank, num_beams=num_beams, words=words)
        different: dict[str, list[int]] = {}
        for hypothesis in found:  # pieces may spell a text in several ways
            different.setdefault(self.target.decode_tokens(hypothesis.tokens), hypothesis.tokens)
        return list(different.values())[:n_best]

    def _scored(self, log_probs: VectorSets, found: Sequence[Sequence[list[int]]]) -> list[tuple[Text, ...]]:
        """The texts of each set, from their tokens, with their log-probabilities."""
        numbers = [i for i, of_set in enumerate(found) for _ in of_set]
        tokens = [text for of_set in found for text in of_set]
        losses = self._losses(log_probs.select(numbers), _packed(tokens).to(log_probs.device))
        scores = (0.0 - losses).tolist()  # never -0.0
        texts = (Text(self.target.decode_tokens(t), s) for t, s in zip(tokens, scores, strict=True))
        return [tuple(next(texts) for _ in of_set) for of_set in found]

    def timed(self, text: Text, path: Int[Tensor, " vectors"], shares: Float[Tensor, " vectors"]) -> Text:
        """A text with its tokens and words; their times are numbers of vectors.

        Args:
            text: The text.
            path: The token or blank of each vector.
            shares: Their probabilities.
        """
        tokens: list[Spoken] = []
        words: list[list[Spoken]] = [[]]
        for token, first, last in stretches(path.tolist(), self.target.blank):
            ends, letters = self.target.spelling(token)
            sure = float(shares[first:last].mean())
            tokens.append(Spoken(self.target.decode_tokens([token]), float(first), float(last), sure))
            if ends:
                words.append([])
            if letters:
                words[-1].append(Spoken(letters, float(first), float(last), sure))
        return replace(text, tokens=tuple(tokens), words=tuple(_word(of) for of in words if of))

    def _losses(self, log_probs: VectorSets, texts: Packed) -> Float[Tensor, " sets"]:
        """-log P(text) for each set; 0 for an empty set, whose only possible text is empty."""
        filled = [i for i, length in enumerate(log_probs.lengths) if length]
        losses = log_probs.values.new_zeros(log_probs.num_sets)
        if not filled:
            return losses + log_probs.values.sum()  # the sum over no vectors is 0, and backward works
        padded, _ = log_probs.select(filled).to_padded()
        values = texts.values
        if padded.device.type == "mps" or torch.are_deterministic_algorithms_enabled():
            # Use the CPU: torch 2.11 has no CTC loss for Apple's GPUs, and on CUDA the gradient is summed in
            # an order that changes from run to run.
            padded, values = padded.cpu(), values.cpu()
        # Pass lengths as plain numbers, because torch would copy length tensors back from the GPU. The host
        # still waits while torch copies the lengths to the GPU; it is the only wait in a training step.
        computed: Tensor = torch.ctc_loss(
            padded.transpose(0, 1),
            values,
            [log_probs.lengths[i] for i in filled],
            [texts.lengths[i] for i in filled],
            blank=self.target.blank,
            reduction=0,  # one loss for each set
        ).to(losses.device)
        if len(filled) == len(losses):
            return computed
        return losses.index_put((to_device(torch.tensor(filled), log_probs.device),), computed)

    def config(self) -> dict[str, Any]:
        """The head's settings as plain JSON values, for `from_config`."""
        return {
            "kind": "ctc",
            "dim": self.dim,
            "dropout": self.dropout,
            "target": self.target.config(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CTCHead:
        """Rebuild the head, without its weights, from :meth:`config`."""
        target = TextTarget.from_config(config["target"])
        return cls(config["dim"], target, dropout=config["dropout"])


def _long_enough(lengths: Sequence[int], targets: Packed) -> list[int]:
    """The numbers of the sets that are long enough for their target; a warning names the others."""
    repeated = [0] * len(lengths)
    # Reading the tokens waits for the GPU. Skip it if every set is long enough even for the most repetitions.
    if any(length < 2 * n - 1 for length, n in zip(lengths, targets.lengths, strict=True)):
        repeated = [_repetitions(text) for text in targets.values.cpu().split(targets.lengths)]
    needed = [n + r for n, r in zip(targets.lengths, repeated, strict=True)]
    short = [i for i, length in enumerate(lengths) if length < needed[i]]
    if short:
        named = "; ".join(
            f"set {i}: {_sizes(lengths[i], targets.lengths[i], repeated[i])}" for i in short[:5]
        )
        warnings.warn(
            f"CTC: {len(short)} of {len(lengths)} sets are too short for their target and are left out "
            f"of the loss ({named}). {TOO_SHORT}",
            stacklevel=3,
        )
    return [i for i in range(len(lengths)) if lengths[i] >= needed[i]]


TOO_SHORT = (
    "Expected a vector for each token and one more for each token that repeats the one before it. Subsample "
    "the input less, use pieces as tokens, or use a DecoderHead"
)
"""The end of messages about sets that are too short: what is expected, and what to do."""


def _packed(texts: Sequence[Sequence[int]]) -> Packed:
    values = torch.tensor([token for text in texts for token in text], dtype=torch.long)
    return Packed(values, [len(text) for text in texts])


def _word(tokens: Sequence[Spoken]) -> Spoken:
    """A word from its tokens. Its confidence is the mean of theirs over the vectors that stand for them."""
    vectors = [token.end - token.start for token in tokens]
    sure = sum(token.confidence * n for token, n in zip(tokens, vectors, strict=True)) / sum(vectors)
    return Spoken("".join(token.text for token in tokens), tokens[0].start, tokens[-1].end, sure)


def _repetitions(text: Tensor) -> int:
    return int((text[1:] == text[:-1]).sum())


def _sizes(length: int, tokens: int, repetitions: int) -> str:
    return f"{length} vectors, {tokens} tokens, {repetitions} repetitions"
