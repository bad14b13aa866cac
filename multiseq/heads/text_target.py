"""TextTarget: the target of a sequence head, a text made of characters or of sub-word pieces.

Sub-word pieces are found by byte-pair encoding, Sennrich et al. 2016
(https://arxiv.org/abs/1508.07909); a piece that begins a word begins with "▁", as in SentencePiece
(https://arxiv.org/abs/1808.06226).

Axes: tokens (of one text, or of all texts of a batch one after another).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from multiseq.labels import composed, plain
from multiseq.protocols import Packed
from multiseq.requires import need
from multiseq.tokenizer import read_tokenizer, train_tokenizer

__all__ = ["TextTarget", "normalise"]

_UNITS = ("character", "piece")
# Each has a space inside, which no piece can have: a text cannot spell a special token.
_SPECIALS = ["<ctc blank>", "<begin of text>", "<end of text>", "<unknown character>"]
_SPACE = "▁"


def normalise(text: str) -> str:
    """Unicode composed (see `multiseq.labels.composed`), white space to single spaces, none at the ends.

    >>> normalise(" two  words ")
    'two words'
    """
    return " ".join(composed(text).split())


class TextTarget:
    """A text as tokens; owns the vocabulary. ``decode_tokens(encode(text)) == normalise(text)``.

    The round trip is exact except for characters that no training text has: each becomes the token
    `unknown`, printed as "�". In pieces, "▁" (U+2581) is read as a space.

    Args:
        unit: What a token is: "character", or "piece" of a word.
        vocabulary: The characters, or the tokenizer of the pieces as a JSON string.
        longest: Tokens of the longest training text, from which decoders derive their limit.

    Raises:
        ValueError: An unknown unit, or a vocabulary with a character twice.

    Example:
        >>> target = TextTarget.fit(["abba", "cab"], unit="character")
        >>> target.encode("bad").tolist(), target.decode_tokens([5, 4, 3])
        ([5, 4, 3], 'ba�')
    """

    blank, begin, end, unknown = range(len(_SPECIALS))
    """The special tokens: nothing (CTC), a decoder's first input, its last output, unknown."""

    def __init__(self, unit: str, vocabulary: Sequence[str] | str, longest: int) -> None:
        _check_unit(unit)
        self.unit, self.longest = unit, longest
        self._tokenizer: Any = None
        if isinstance(vocabulary, str):
            self._tokenizer = read_tokenizer(vocabulary, "vocabulary", _words())
            ids = self._tokenizer.get_vocab()
            tokens = sorted(ids, key=ids.__getitem__)[len(_SPECIALS) :]
        else:
            tokens = list(vocabulary)
        if len(set(tokens)) != len(tokens):
            raise ValueError(f"vocabulary: got {tokens[:8]} …, expected every character once")
        self._tokens = ["", "", "", "�", *tokens]
        self._index = {token: i for i, token in enumerate(tokens, start=len(_SPECIALS))}

    @classmethod
    def fit(cls, values: Iterable[Any], *, unit: str, vocab_size: int = 8000) -> TextTarget:
        """The vocabulary of the training texts; the same texts give the same one, in any order.

        Args:
            values: Training texts; missing ones are passed over.
            unit: "character" or "piece".
            vocab_size: Tokens at most, the special ones included. Pieces are added until it is
                reached or no pair of pieces occurs twice; every character that occurs has a token.

        Raises:
            ValueError: No text, or more characters than ``vocab_size`` has room for.
        """
        _check_unit(unit)
        texts = [_checked(value) for value in values if plain(value) is not None]
        if not texts:
            raise ValueError("texts: got none that is not missing, expected some to learn from")
        # Pieces always have a sign for the space.
        alphabet = sorted(set().union(*texts, " " if unit == "piece" else ""))
        room = vocab_size - len(_SPECIALS)
        if len(alphabet) > room:
            raise ValueError(
                f"vocab_size: got {vocab_size}, expected {len(alphabet) + len(_SPECIALS)} or more: "
                f"the texts have {len(alphabet)} different characters, "
                f"and {len(_SPECIALS)} tokens are special"
            )
        vocabulary = alphabet if unit == "character" else _train_pieces(texts, vocab_size)
        target = cls(unit, vocabulary, 0)
        target.longest = max(len(target.encode(text)) for text in texts)
        return target

    @property
    def size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self._tokens)

    def encode(self, text: Any) -> Int[Tensor, " tokens"]:
        """The tokens of one text, without special tokens; unknown characters become `unknown`.

        Raises:
            ValueError: Not a string. Leave items without a text out before encoding.
        """
        text = _checked(text)
        if self._tokenizer is None:
            ids = [self._index.get(character, self.unknown) for character in text]
        else:
            ids = self._tokenizer.encode(text).ids if text else []
        return torch.tensor(ids, dtype=torch.long)

    def decode_tokens(self, ids: Sequence[int]) -> str:
        """The text of some tokens; special tokens give nothing, `unknown` gives "�"."""
        text = "".join(self._tokens[i] for i in ids)
        return text if self._tokenizer is None else normalise(text.replace(_SPACE, " "))

    def batch(self, values: Sequence[Any]) -> Packed:
        """The tokens of a batch's texts, one text after another."""
        encoded = [self.encode(text) for text in values]
        tokens = torch.cat(encoded) if encoded else torch.zeros(0, dtype=torch.long)
        return Packed(tokens, [len(text) for text in encoded])

    def is_missing(self, label: Any) -> bool:
        """Whether there is no text; of several right ones, none at all. An empty text is one."""
        return plain(label) in (None, [], ())

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        characters = self._tokens[len(_SPECIALS) :]
        vocabulary = characters if self._tokenizer is None else self._tokenizer.to_str()
        return {
            "kind": "text",
            "unit": self.unit,
            "vocabulary": vocabulary,
            "longest": self.longest,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextTarget:
        """The inverse of :meth:`config`."""
        return cls(config["unit"], config["vocabulary"], config["longest"])


def _check_unit(unit: str) -> None:
    if unit not in _UNITS:
        raise ValueError(f"unit: got {unit!r}, expected one of {', '.join(_UNITS)}")


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"text: got {text!r}, expected a string; leave items without a target text out")
    return normalise(text)


def _train_pieces(texts: Sequence[str], vocab_size: int) -> str:
    """Byte-pair encoding as a tokenizer's JSON string."""
    # A pair that occurs once makes a piece that has one example to learn from.
    options = {"vocab_size": vocab_size, "min_frequency": 2, "special_tokens": _SPECIALS}
    # Read again, its special tokens are no longer found in texts: "<end of text>" is but characters.
    return str(train_tokenizer(texts, _words(), unk_token=_SPECIALS[-1], **options).to_str())


def _words() -> Any:
    return need("tokenizers").pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always")
