"""Joint head: CTC and a decoder on the same sets, trained together and searched together.

This fits speech recognition, too: CTC keeps the decoder from skipping or repeating what was said, and the
decoder knows which token is likely after the tokens before.

Axes: vectors, sets, size (of the target's vocabulary), tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.heads.ctc import CTCHead
from multiseq.heads.decoder import CachedSteps, DecoderHead
from multiseq.heads.language_model import LanguageModel, arpa_model, gain_of
from multiseq.heads.prefix_scores import CTCSteps
from multiseq.heads.search import Steps
from multiseq.heads.text_target import TextTarget
from multiseq.nn.first_weights import repeatable
from multiseq.nn.inference import inference
from multiseq.protocols import Level, Packed
from multiseq.results import Text, check_finite
from multiseq.vectors import VectorSets

__all__ = ["JointHead"]


class JointHead(nn.Module):
    """CTC and a decoder together (hybrid CTC/attention, joint CTC-attention).

        loss        = w * loss of CTC               + (1 - w) * loss of the decoder
        score(text) = w * log P_CTC(text | set)     + (1 - w) * log P_decoder(text | set),    w = ctc_weight

    Watanabe et al. 2017 (https://www.merl.com/publications/docs/TR2017-190.pdf). In the search, CTC scores
    each beginning of a text by the probability of all texts that begin so (`multiseq.heads.prefix_scores`).

    Args:
        dim: Width of the encoded vectors and of the decoder.
        target: The vocabulary, and the conversion between texts and tokens.
        ctc_weight: Weight of CTC in the loss, and of its score in the search unless :meth:`decode` gets
            another.
        depth: Number of blocks of the decoder.
        heads: Number of attention heads of the decoder. ``dim`` must be a multiple of ``2 * heads``.
        dropout: Dropout probability in CTC and in the decoder, in training only.
        label_smoothing: Label smoothing in the decoder's training loss.
        max_length: The most tokens in a decoded text. Default: 1.5 times the longest training text, plus 10.

    Raises:
        ValueError: ``ctc_weight`` is not between 0 and 1, the target copies, or ``dim`` is not a multiple of
            ``2 * heads``.

    Example:
        >>> import torch
        >>> from multiseq import TextTarget, VectorSets
        >>> head = JointHead(8, TextTarget.fit(["no", "yes"], unit="character"), depth=1, heads=2)
        >>> sets = VectorSets.from_list([torch.ones(6, 8)])
        >>> loss, tokens = head.loss(sets, head.target.batch(["yes"]))
        >>> int(tokens), len(head.decode(sets, num_beams=2))  # 3 characters and the end of the text
        (4, 1)
    """

    level: Level = "sequence"

    @repeatable
    def __init__(
        self,
        dim: int,
        target: TextTarget,
        *,
        ctc_weight: float = 0.3,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < ctc_weight < 1:
            raise ValueError(
                f"ctc_weight: got {ctc_weight}, expected a number between 0 and 1; for 0 use a DecoderHead, "
                "for 1 a CTCHead"
            )
        if target.common is not None:
            raise ValueError("target: got one that copies, which CTC cannot; expected copy=False")
        self.dim, self.target, self.ctc_weight = dim, target, ctc_weight
        self.ctc = CTCHead(dim, target, dropout=dropout)
        self.decoder = DecoderHead(
            dim,
            target,
            depth=depth,
            heads=heads,
            dropout=dropout,
            label_smoothing=label_smoothing,
            max_length=max_length,
        )
        self.max_length = self.decoder.max_length

    def loss(self, sets: VectorSets, targets: Packed) -> tuple[Tensor, Tensor]:
        """The weighted sum of both losses, and the number of target tokens and ends.

        A set that is too short for its target is left out of CTC's loss, with a warning.

        Raises:
            ValueError: The vectors have another width, or there is not one target for each set.
        """
        total, count = self.decoder.loss(sets, targets)
        of_ctc, _ = self.ctc.loss(sets, targets)
        return self.ctc_weight * of_ctc + (1 - self.ctc_weight) * total, count

    def decode(
        self,
        sets: VectorSets,
        *,
        num_beams: int = 1,
        n_best: int = 1,
        ctc_weight: float | None = None,
        length_penalty: float = 0.6,
        max_length: int | None = None,
        times: bool = False,
        language_model: LanguageModel | str | Path | None = None,
        lm_weight: float = 0.5,
        word_bonus: float = 1.0,
    ) -> list[Text]:
        """For each set a text, and the weighted sum of its log-probabilities.

        With a language model, the ``num_beams`` texts that were found are ordered by
        ``score + lm_weight * log P(text) + word_bonus * number of words``. The score stays the first term.

        Args:
            sets: Encoded sets.
            num_beams: Beam width: the number of hypotheses for each set. 1 is greedy search. It is at least
                ``n_best``.
            n_best: The number of texts in `Text.n_best`, best first. 1: it is empty.
            ctc_weight: Weight of CTC's score, from 0 to 1, instead of the head's. 0 searches by the decoder
                alone. 1 searches by CTC alone, as `CTCHead.decode` does: it is much faster, and a language
                model is part of its search.
            length_penalty: Strength of the length penalty, see `multiseq.heads.search.beam_search`.
            max_length: The most tokens in a text, instead of the head's limit.
            times: Whether words and tokens get times and confidence, by forced alignment with CTC. A text of
                the decoder alone that is too long for its set gets none.
            language_model: As for `CTCHead.decode`. It needs a beam.
            lm_weight: Weight of the language model.
            word_bonus: Added for each word, because a language model prefers few words.

        Raises:
            ValueError: ``ctc_weight`` is not from 0 to 1, another number is too small, or there is a language
                model and no beam.
            NotFiniteError: The probabilities of a set are NaN or infinite.
        """
        weight = self.ctc_weight if ctc_weight is None else ctc_weight
        if not 0 <= weight <= 1:
            raise ValueError(f"ctc_weight: got {weight}, expected 0 up to 1")
        if weight == 1:
            return self.ctc.decode(
                sets,
                num_beams=num_beams,
                n_best=n_best,
                times=times,
                language_model=language_model,
                lm_weight=lm_weight,
                word_bonus=word_bonus,
            )
        most = max(num_beams, n_best)
        if language_model is not None and most == 1:
            raise ValueError("language_model: got num_beams 1, expected 2 or more; 16 is a good start")
        if isinstance(language_model, str | Path):
            language_model = arpa_model(language_model)
        with inference(self):
            texts = self.decoder.search(
                sets,
                partial(self._steps, weight),
                num_beams=num_beams,
                n_best=n_best if language_model is None else most,
                length_penalty=length_penalty,
                max_length=max_length,
            )
        if language_model is not None:
            texts = [_reordered(text, n_best, language_model, lm_weight, word_bonus) for text in texts]
        return self._timed(sets, texts) if times else texts

    def _steps(self, ctc_weight: float, sets: VectorSets, _: Sequence[Sequence[str]]) -> Steps:
        steps = CachedSteps(self.decoder, sets)
        if not ctc_weight:
            return steps
        log_probs = self.ctc(sets)
        check_finite(log_probs, sets.lengths)
        possible = sets.with_values(self.ctc.possible(log_probs))
        return _Both(steps, CTCSteps(possible, blank=self.target.blank, end=self.target.end), ctc_weight)

    def _timed(self, sets: VectorSets, texts: list[Text]) -> list[Text]:
        """The texts with times, where the set is long enough for its text."""
        fitting = [i for i, text in enumerate(texts) if not self.too_short(sets.lengths[i], text.text)]
        aligned = self.align(sets.select(fitting), [texts[i].text for i in fitting])
        for i, one in zip(fitting, aligned, strict=True):
            texts[i] = replace(texts[i], words=one.words, tokens=one.tokens)
        return texts

    def align(self, sets: VectorSets, texts: Sequence[str]) -> list[Text]:
        """Known texts with the times of their words and tokens, by CTC (`CTCHead.align`)."""
        return self.ctc.align(sets, texts)

    def posteriors(self, sets: VectorSets) -> Float[Tensor, "vectors size"]:
        """For each vector CTC's probability of each token and of the blank; each row sums to 1."""
        return self.ctc.posteriors(sets)

    def too_short(self, length: int, text: str) -> str:
        """Describe why a set of ``length`` vectors is too short for ``text`` in CTC; empty if it is not."""
        return self.ctc.too_short(length, text)

    def attention(
        self, sets: VectorSets, targets: Packed, layer: int = -1
    ) -> list[Float[Tensor, "heads tokens_and_end length"]]:
        """What the tokens of texts look at in their sets (`DecoderHead.attention`)."""
        return self.decoder.attention(sets, targets, layer)

    def config(self) -> dict[str, Any]:
        """The head's settings as plain JSON values, for `from_config`."""
        return {**self.decoder.config(), "kind": "joint", "ctc_weight": self.ctc_weight}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> JointHead:
        """Rebuild the head, without its weights, from :meth:`config`."""
        options = {k: v for k, v in config.items() if k not in ("kind", "dim", "target")}
        return cls(config["dim"], TextTarget.from_config(config["target"]), **options)


class _Both:
    """The decoder and CTC in one search: the weighted sum of their log-probabilities."""

    def __init__(self, decoder: Steps, ctc: Steps, ctc_weight: float) -> None:
        self.decoder, self.ctc, self.ctc_weight = decoder, ctc, ctc_weight

    def __call__(self, tokens: Int[Tensor, "sets beams"]) -> Float[Tensor, "sets beams size"]:
        return (1 - self.ctc_weight) * self.decoder(tokens) + self.ctc_weight * self.ctc(tokens)

    def keep(self, rows: Int[Tensor, "sets_kept beams_kept"], sets: Sequence[int] | None) -> None:
        self.decoder.keep(rows, sets)
        self.ctc.keep(rows, sets)


def _reordered(text: Text, n_best: int, model: LanguageModel, weight: float, word_bonus: float) -> Text:
    """The best of a text's ``n_best`` by score and language model."""
    if not text.n_best:  # of an empty set
        return text

    def value(one: Text) -> float:
        return one.score + gain_of(one.text.split(), model, weight, word_bonus)

    best = tuple(sorted(text.n_best, key=value, reverse=True)[:n_best])
    return replace(best[0], n_best=best if n_best > 1 else ())
