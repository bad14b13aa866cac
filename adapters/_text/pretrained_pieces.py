"""Pieces (subword tokens) of a pretrained model's tokenizer, and which pieces each word has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiseq.adapters._text.words import WordParts, readable, word_spans
from multiseq.requires import need

__all__ = ["PretrainedPieces", "Span"]

Span = tuple[int, int]
"""The number of the first piece, and how many there are."""


class PretrainedPieces:
    """Turns a text into pieces, exactly as the model's own tokenizer does.

    Args:
        tokenizer: JSON of the `tokenizers` library. It is used as it is, with its normaliser; only padding
            and truncation are turned off.

    Raises:
        ValueError: It is not such a JSON.
    """

    def __init__(self, tokenizer: str) -> None:
        try:
            self._tokenizer: Any = need("tokenizers").Tokenizer.from_str(tokenizer)
        except Exception as error:  # the library raises Exception itself
            raise ValueError(f"tokenizer.json: not a tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.size = int(self._tokenizer.get_vocab_size())
        self.before, self.after = self._specials()
        normalizer = self._tokenizer.normalizer
        self.uncased = normalizer is not None and normalizer.normalize_str("A") == "a"

    def _specials(self) -> tuple[list[int], list[int]]:
        """The special pieces before and after every text: [CLS] and [SEP], or <s> and </s>."""
        encoding = self._tokenizer.encode("a")
        text = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        if not text:
            raise ValueError("tokenizer.json: has no piece for the letter a")
        return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]

    def encode(self, item: Any, unit: str) -> tuple[list[str], list[int], list[Span]]:
        """The names of the words or pieces of an item, all its pieces, and the pieces of each name.

        Special pieces are not among them. Words are split as `multiseq.TextAdapter` does. A list of words is
        joined with spaces. A word without a piece (the tokenizer drops some characters) gets the piece before
        it; that is number -1 at the beginning of a text.

        Raises:
            ValueError: The item is neither a string nor, for the unit "word", a list of strings.
        """
        if unit == "piece":
            if not isinstance(item, str):
                raise ValueError(
                    f'text: got {type(item).__name__}, expected a string (unit "piece" takes raw text); '
                    'for a list of words use unit = "word"'
                )
            text = readable(item)
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
            names = [text[a:b] for a, b in encoding.offsets]
            return names, encoding.ids, [(i, 1) for i in range(len(names))]
        words = WordParts.split(item)
        text = readable(item) if isinstance(item, str) else " ".join(words)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        places = word_spans(text) if isinstance(item, str) else _joined(words)
        return words, encoding.ids, _pieces_of(places, encoding.offsets)

    def names(self, pieces: Sequence[int]) -> list[str]:
        """The pieces with these numbers, as they are in the vocabulary."""
        return [self._tokenizer.id_to_token(piece) for piece in pieces]

    def to_str(self) -> str:
        """The tokenizer as JSON."""
        return str(self._tokenizer.to_str(pretty=True))


def _joined(words: Sequence[str]) -> list[tuple[int, int]]:
    """The start and end of each word in a text that joins them with spaces."""
    places, end = [], -1
    for word in words:
        places.append((end + 1, end + 1 + len(word)))
        end += 1 + len(word)
    return places


def _pieces_of(words: Sequence[tuple[int, int]], pieces: Sequence[tuple[int, int]]) -> list[Span]:
    """The pieces that share a character with each word. Both are starts and ends in the text, in order.

    >>> _pieces_of([(0, 4), (5, 6)], [(0, 2), (2, 4), (4, 6)])
    [(0, 2), (2, 1)]
    """
    spans, first = [], 0
    for start, end in words:
        while first < len(pieces) and pieces[first][1] <= start:
            first += 1
        last = first
        while last < len(pieces) and pieces[last][0] < end:
            last += 1
        spans.append((first, last - first) if last > first else (first - 1, 1))
    return spans
