"""Language models for the search of a text: any function of the words before, or an ARPA file.

    language_model(("the", "cat"), "sat")   # log P(sat | the cat)
    language_model(("the", "cat"), None)    # log P(the text ends | the cat)

Source: Hannun et al. 2014 (https://arxiv.org/abs/1408.2873), equation 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from multiseq.requires import need

__all__ = ["LanguageModel", "WordScores", "arpa_model", "gain_of"]

LanguageModel = Callable[[tuple[str, ...], str | None], float]
"""The natural logarithm of the probability of a word, or of the end (None), after the words before it."""


@lru_cache(maxsize=4)
def arpa_model(path: str | Path) -> LanguageModel:
    """An n-gram model of words, from an ARPA file or a binary file of KenLM. It needs the library `kenlm`.

    Raises:
        MissingLibraryError: kenlm is not installed.
        ValueError: There is no such file, or it holds no model.
    """
    kenlm = need("kenlm")
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file, expected an ARPA file or a binary file of KenLM")
    config = kenlm.Config()
    config.show_progress = False
    try:
        model = kenlm.Model(str(path), config)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a language model of KenLM ({error}); expected an ARPA file") from None

    def log_probability(before: tuple[str, ...], word: str | None) -> float:
        state, after = kenlm.State(), kenlm.State()
        known = before[max(0, len(before) - model.order + 1) :]
        (model.BeginSentenceWrite if len(known) == len(before) else model.NullContextWrite)(state)
        for one in known:
            model.BaseScore(state, one, after)
            state, after = after, state
        score: float = model.BaseScore(state, "</s>" if word is None else word, after)
        return score * math.log(10)

    return log_probability


def gain_of(words: Sequence[str], language_model: LanguageModel, weight: float, word_bonus: float) -> float:
    """What a language model says of a whole text: ``weight * log P(words, end) + word_bonus * their number``.

    >>> gain_of(["a", "cat"], lambda before, word: -1.0, weight=0.5, word_bonus=2.0)
    2.5
    """
    scores = [language_model(tuple(words[:i]), word) for i, word in enumerate([*words, None])]
    return weight * sum(scores) + word_bonus * len(words)


class WordScores:
    """What a language model says of the words of each prefix in a search: one number for each node.

        gain(prefix) = weight * log P(its finished words) + word_bonus * their number

    Args:
        language_model: The model.
        spelling: Token -> (whether a word ends before it, its letters).
        weight: Weight of the model's log-probability.
        word_bonus: Added for each word, because a language model prefers few words.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        spelling: Callable[[int], tuple[bool, str]],
        weight: float,
        word_bonus: float,
    ) -> None:
        self.language_model, self.spelling = language_model, spelling
        self.weight, self.word_bonus = weight, word_bonus
        self._words: list[tuple[str, ...]] = [()]  # finished words of each node
        self._begun = [""]  # letters of its word that is not finished

    def extend(self, node: int, token: int) -> float:
        """Add a node: ``node`` and one token more. Returns what it gains over ``node``."""
        words, begun, gain = self._words[node], self._begun[node], 0.0
        ends, letters = self.spelling(token)
        if ends and begun:
            gain, words, begun = self._gain(words, begun), (*words, begun), ""
        self._words.append(words)
        self._begun.append(begun + letters)
        return gain

    def end(self, node: int) -> float:
        """What a node gains if the text ends there."""
        words, begun, gain = self._words[node], self._begun[node], 0.0
        if begun:
            gain, words = self._gain(words, begun), (*words, begun)
        return gain + self.weight * self.language_model(words, None)

    def _gain(self, words: tuple[str, ...], word: str) -> float:
        return self.weight * self.language_model(words, word) + self.word_bonus
