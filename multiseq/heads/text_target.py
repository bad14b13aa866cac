"""TextTarget: the target of a sequence head. A text is a sequence of characters or of sub-word pieces.

Sub-word pieces come from byte-pair encoding, Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909). A piece
at the beginning of a word starts with "▁", as in SentencePiece (https://arxiv.org/abs/1808.06226).

Axes: tokens (of one text, or of all texts of a batch one after another).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from multiseq.heads.copying import can_be_copied, common_words, find_names
from multiseq.labels import composed, plain
from multiseq.protocols import Packed
from multiseq.requires import need
from multiseq.tokenizer import read_tokenizer, train_tokenizer

__all__ = ["TextTarget", "edits", "normalise", "references"]

_UNITS = ("character", "piece")
# Each contains a space. No piece can contain one, so no text can spell a special token.
_SPECIALS = ["<ctc blank>", "<begin of text>", "<end of text>", "<unknown character>"]
_SPACE = "▁"
_COPIED = "\ufdd0"  # no character, so no text has it: stands for a copied name while a text is encoded


def normalise(text: str) -> str:
    """The text in composed Unicode (`multiseq.labels.composed`), with single spaces, none at its ends.

    >>> normalise(" two  words ")
    'two words'
    """
    return " ".join(composed(text).split())


def references(label: Any) -> list[Any]:
    """The texts of a label, which is one text or several.

    >>> references("a b"), references(["a", "b"])
    (['a b'], ['a', 'b'])
    """
    return list(label) if isinstance(label, list | tuple) else [label]


def edits(a: Sequence[str], b: Sequence[str]) -> int:
    """The Levenshtein (edit) distance, computed row by row.

    >>> edits("three", "tree")
    1
    """
    if a == b:
        return 0
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
    return row[-1]


class TextTarget:
    """Converts texts to tokens and back; holds the vocabulary. It is the target of sequence heads.

    ``decode_tokens(encode(text)) == normalise(text)``, with two exceptions. A character that no training text
    has becomes the token `unknown`, which is printed as "�". With pieces, "▁" (U+2581) becomes a space.

    Args:
        unit: What a token is: "character", or "piece" of a word.
        vocabulary: The characters, or for pieces the tokenizer as a JSON string.
        longest: The number of tokens in the longest training text. Decoders derive their limit from it.
        common: The words that are never copied from the input. None: nothing is copied.

    Raises:
        ValueError: The unit is unknown, or a token is twice in the vocabulary.

    Example:
        >>> target = TextTarget.fit(["abba", "cab"], unit="character")
        >>> target.encode("bad").tolist(), target.decode_tokens([5, 4, 3])
        ([5, 4, 3], 'ba�')
    """

    kind = "text"
    blank, begin, end, unknown = range(len(_SPECIALS))
    """Special tokens: CTC's blank, a decoder's first input, its last output, an unknown character."""

    def __init__(
        self,
        unit: str,
        vocabulary: Sequence[str] | str,
        longest: int,
        common: Iterable[str] | None = None,
    ) -> None:
        _check_unit(unit)
        self.unit, self.longest = unit, longest
        self.common = None if common is None else frozenset(common)
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
    def fit(
        cls, values: Iterable[Any], *, unit: str, vocab_size: int = 8000, copy: bool = False
    ) -> TextTarget:
        """A target with the vocabulary of the training texts. Their order does not matter.

        Args:
            values: Training texts, or lists of several texts. Missing ones are skipped.
            unit: "character" or "piece".
            vocab_size: The most tokens, including the special ones. Each character of the texts has a token.
                Pieces are added until ``vocab_size`` is reached or no pair of pieces occurs twice.
            copy: Whether a decoder may copy names of vectors into the text, as they are: rare words, numbers,
                entities (`multiseq.heads.copying`).

        Raises:
            ValueError: There is no text, or the texts have more characters than ``vocab_size`` allows.
        """
        _check_unit(unit)
        labels = [value for value in values if plain(value) is not None]
        texts = [_checked(text) for label in labels for text in references(label)]
        if not texts:
            raise ValueError("texts: got only missing texts, expected some texts to learn from")
        # Pieces always include a sign for the space.
        alphabet = sorted(set().union(*texts, " " if unit == "piece" else ""))
        room = vocab_size - len(_SPECIALS)
        if len(alphabet) > room:
            raise ValueError(
                f"vocab_size: got {vocab_size}, expected {len(alphabet) + len(_SPECIALS)} or more: "
                f"the texts have {len(alphabet)} different characters, "
                f"and {len(_SPECIALS)} tokens are special"
            )
        vocabulary = alphabet if unit == "character" else _train_pieces(texts, vocab_size)
        target = cls(unit, vocabulary, 0, common_words(texts) if copy else None)
        target.longest = max(len(target.encode(text)) for text in texts)
        return target

    @property
    def size(self) -> int:
        """The number of tokens, including the special ones."""
        return len(self._tokens)

    @property
    def tokens(self) -> list[str]:
        """Each token as a text, for people. A piece at the beginning of a word has a "▁" before it.

        >>> TextTarget.fit(["a cat"], unit="character").tokens
        ['(blank)', '(begin)', '(end)', '�', ' ', 'a', 'c', 't']
        """
        return ["(blank)", "(begin)", "(end)", *self._tokens[self.unknown :]]

    def encode(self, text: Any, names: Sequence[str] = ()) -> Int[Tensor, " tokens"]:
        """The tokens of one text, without begin and end. Unknown characters become `unknown`.

        Args:
            text: The text.
            names: What each vector of the set stands for. If this target copies, a rare name in the text
                becomes one token, the number ``size + vector``.

        Raises:
            ValueError: ``text`` is not a string. Leave items without a text out before encoding.
        """
        text = _checked(text)
        copies = self.common is not None and _COPIED not in text
        names = [normalise(name) for name in names] if copies else []
        found = find_names(text, names, self.common or ()) if copies else []
        for name in reversed(found):
            text = text[: name.start] + _COPIED + text[name.end :]
        if self._tokenizer is None:
            ids = [self._index.get(character, self.unknown) for character in text]
            spans = [(place, place + 1) for place in range(len(text))]
        else:
            encoding = self._tokenizer.encode(text) if text else None
            ids, spans = ([], []) if encoding is None else (encoding.ids, encoding.offsets)
        left = iter(found)
        for place, (start, end) in enumerate(spans) if found else ():
            # The sign for the space before the first word has the offsets of the first character, too.
            if ids[place] == self.unknown and text[start:end] == _COPIED:
                ids[place] = self.size + next(left).vector
        return torch.tensor(ids, dtype=torch.long)

    def decode_tokens(self, ids: Sequence[int], names: Sequence[str] = ()) -> str:
        """The text for a sequence of tokens. Special tokens give no text, except that `unknown` gives "�".

        Args:
            ids: The tokens.
            names: What each vector of the set stands for, for copied tokens.
        """
        text = "".join(self._spelled(i, names) for i in ids)
        return text if self._tokenizer is None else normalise(text.replace(_SPACE, " "))

    def token_texts(self, text: str, names: Sequence[str] = ()) -> list[str]:
        """The tokens of one text as texts, for people; ``names`` as for :meth:`encode`. A space alone is "␣".

        >>> TextTarget.fit(["a cat"], unit="character").token_texts("a tac")
        ['a', ' ', 't', 'a', 'c']
        """
        ids = self.encode(text, names).tolist()
        tokens = [self._spelled(i, names) for i in ids]
        return tokens if self._tokenizer is None else [token.removeprefix(_SPACE) or "␣" for token in tokens]

    def _spelled(self, token: int, names: Sequence[str]) -> str:
        return self._tokens[token] if token < self.size else normalise(names[token - self.size])

    def can_copy(self, name: str) -> bool:
        """Whether the name of a vector can be copied: a word or several, and not one common word."""
        return self.common is not None and can_be_copied(normalise(name), self.common)

    def spelling(self, token: int) -> tuple[bool, str]:
        """Whether a word ends before a token, and the letters of the token.

        >>> target = TextTarget.fit(["a cat"], unit="character")
        >>> [target.spelling(token) for token in target.encode("a c").tolist()]
        [(False, 'a'), (True, ''), (False, 'c')]
        """
        text = self._tokens[token]
        space = " " if self._tokenizer is None else _SPACE
        return text.startswith(space), text.removeprefix(space)

    def batch(self, values: Sequence[Any], names: Sequence[Sequence[str]] | None = None) -> Packed:
        """The tokens of a batch's texts, one text after another; ``names`` as for :meth:`encode`, of each."""
        of_each = names or [()] * len(values)
        encoded = [self.encode(text, known) for text, known in zip(values, of_each, strict=True)]
        tokens = torch.cat(encoded) if encoded else torch.zeros(0, dtype=torch.long)
        return Packed(tokens, [len(text) for text in encoded])

    def is_missing(self, label: Any) -> bool:
        """Whether a label is missing: None, or an empty list of reference texts. An empty text is a label."""
        return plain(label) in (None, [], ())

    def config(self) -> dict[str, Any]:
        """The target's settings as plain JSON values, for `from_config`."""
        characters = self._tokens[len(_SPECIALS) :]
        vocabulary = characters if self._tokenizer is None else self._tokenizer.to_str()
        return {
            "kind": self.kind,
            "unit": self.unit,
            "vocabulary": vocabulary,
            "longest": self.longest,
            **({} if self.common is None else {"common": sorted(self.common)}),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextTarget:
        """Rebuild the target from :meth:`config`."""
        return cls(config["unit"], config["vocabulary"], config["longest"], config.get("common"))


def _check_unit(unit: str) -> None:
    if unit not in _UNITS:
        raise ValueError(f"unit: got {unit!r}, expected one of {', '.join(_UNITS)}")


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"text: got {text!r}, expected a string; leave items without a target text out")
    return normalise(text)


def _train_pieces(texts: Sequence[str], vocab_size: int) -> str:
    """Train byte-pair encoding; return the tokenizer as a JSON string."""
    # A pair that occurs only once would make a piece with a single training example.
    options = {"vocab_size": vocab_size, "min_frequency": 2, "special_tokens": _SPECIALS}
    # A tokenizer that is read from JSON does not search texts for special tokens. So a text that contains
    # "<end of text>" is read as characters.
    return str(train_tokenizer(texts, _words(), unk_token=_SPECIALS[-1], **options).to_str())


def _words() -> Any:
    return need("tokenizers").pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always")
