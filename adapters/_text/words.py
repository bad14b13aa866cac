"""Split texts into words or pieces, and turn each of them into rows of one embedding table.

A word that no training text has still gets a useful vector, because its pieces, its first and last
characters and its shape occur in other words. Sources: affixes and shapes as features of taggers,
Ratnaparkhi 1996 (https://aclanthology.org/W96-0213); a word vector as the sum of its parts,
Bojanowski et al. 2017 (https://arxiv.org/abs/1607.04606); byte-pair encoding, Sennrich et al. 2016
(https://arxiv.org/abs/1508.07909). Unlike them, we sum all these parts, and keep them in one table.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from multiseq.checks import asset
from multiseq.labels import composed
from multiseq.requires import need
from multiseq.tokenizer import LONGEST_WORD, read_tokenizer, train_tokenizer

__all__ = ["PieceParts", "WordParts", "bag_of_words", "readable", "split_words", "train_pieces", "word_spans"]

UNKNOWN = 0
"""The row of the table for unknown words, and for words and pieces that word dropout hides."""

Parts = tuple[tuple[int, ...], tuple[float, ...]]
"""Rows of the embedding table that make up one vector, and their weights in the sum."""

UNWRITABLE = re.compile("[\r\n]")
"""Entries with these characters stay out of vocabularies, whose files have one entry per line."""

LONGEST_AFFIX = 5  # characters
CACHED_WORDS = 200_000
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese and Khmer: here a zero-width space, if there is one, separates words."""
PICTURES = "\u00a9\u00ae\u203c\u2049\u2122\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
FLAG_LETTERS, SKIN_TONES = "\U0001f1e6-\U0001f1ff", "\U0001f3fb-\U0001f3ff"
NUMBER_SIGNS = "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Format characters that one can see. They stand before the digits or letters that they belong to."""
INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u206f\ufeff"
FORMATS = INVISIBLE + (
    "\u180e\u200c\u200d\u2061-\u2064\ufff9-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001-\U000e007f"
)
"""Format characters, which belong to the character before them; those that mean nothing are INVISIBLE."""

_FORMAT = re.compile(f"[{FORMATS}]")
_MEANINGLESS = re.compile(f"(?<!\\S)[{FORMATS}]+|[{INVISIBLE}]+")
_WORD_END = re.compile(f"(?<=[{SPACELESS}])\u200b+(?=\\w)|(?<=\\w)\u200b+(?=[{SPACELESS}])")


def readable(text: str) -> str:
    r"""A text as models see it: in composed Unicode (NFC), without invisible characters that mean nothing.

    Those are soft hyphens, zero-width spaces, word joiners, byte order marks and direction marks, and all
    format characters that begin a word. The joiners in words and emoji (U+200C, U+200D) stay. In scripts
    without spaces (Thai, Lao, Burmese, Khmer), a zero-width space between words becomes a space.

    >>> readable("\ufeffwi\u00adth"), readable("ไทย\u200bไทย")
    ('with', 'ไทย ไทย')
    """
    if text.isascii():
        return text
    if _FORMAT.search(text):
        text = _MEANINGLESS.sub("", _WORD_END.sub(" ", text))
    return composed(text)


def split_words(text: str) -> list[str]:
    """Split a :func:`readable` text into words. It keeps every character except white space.

    A word is, in this order of preference: one Chinese character or Japanese kana; a number with
    points, commas or colons inside; a run of letters, digits and marks, with apostrophes inside; an emoji
    (a flag, a keycap, or pictures with skin tones and joiners); a run of one other character. A format
    character, such as a joiner, belongs to the character before it, and is no word by itself (Unicode
    UAX #29, rules WB3c, WB4, WB15 and WB16, https://unicode.org/reports/tr29/). Scripts without spaces
    between words (Thai, Khmer) give very long words: use lists of words, or the unit "piece".

    >>> split_words("Don't pay 1,200.50 for well-known 東京...")
    ["Don't", 'pay', '1,200.50', 'for', 'well', '-', 'known', '東', '京', '...']
    """
    text = readable(text)
    return [text[start:end] for start, end in word_spans(text)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """The start and end of each word in a :func:`readable` text, in characters, as in :func:`split_words`."""
    return [match.span() for match in _word_pattern().finditer(text)]


def bag_of_words(text: str) -> list[str]:
    """The words of a text in lower case, for the bag of words in baselines."""
    return split_words(composed(text).lower())


@lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    # \w matches letters and digits, but neither the vowel signs of Indic scripts nor joiners in words.
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = "".join(chr(c) for c in codes if unicodedata.category(chr(c))[0] == "M")
    extend = f"[{marks}{FORMATS}]"
    base = f"(?:[^\\W{CJK}]|[{NUMBER_SIGNS}])"
    letter = f"(?:[^\\W{CJK}]+|[{NUMBER_SIGNS}{marks}{FORMATS}]+)"
    cjk = f"[{CJK}]{extend}*"
    keycap = f"[0-9#*]\ufe0f?\u20e3{extend}*"
    number = rf"\d[\d{FORMATS}]*(?:[.,:][{FORMATS}]*\d[\d{FORMATS}]*)+(?!{letter})"
    word = f"(?:{base}|[{marks}]){letter}*(?:['’](?={extend}*{base}){letter}+)*"
    flag = f"[{FLAG_LETTERS}]{{2}}{extend}*"
    emoji = f"[{PICTURES}](?:[{marks}{FORMATS}{SKIN_TONES}]|(?<=\u200d)[{PICTURES}])+"
    other = f"([^\\s{FORMATS}])(?:\\1(?![{SKIN_TONES}\u200d]))*{extend}*"
    return re.compile(f"{cjk}|{keycap}|{number}|{word}|{flag}|{emoji}|{other}")


class WordParts:
    """Each word becomes the rows of the whole word, its folded form, affixes, shape and pieces.

    The first two rows stand for the whole word and its folded form (:func:`fold`). Word dropout replaces
    these two and keeps the others.

    Args:
        tokenizer: The piece vocabulary, as JSON of the `tokenizers` library.
        words: The whole words and folded forms that have a row.
        traits: The affixes and shapes that have a row, with the names that :func:`traits_of` gives.
    """

    unit = "word"
    own = 2
    """The number of first rows that stand for the whole word. Word dropout replaces them."""

    def __init__(self, tokenizer: str, words: Sequence[str], traits: Sequence[str]) -> None:
        self._tokenizer = _tokenizer_of(tokenizer, split=False)
        self._words = {word: 1 + i for i, word in enumerate(words)}
        self._traits = {trait: 1 + len(words) + i for i, trait in enumerate(traits)}
        self._first_piece = 1 + len(words) + len(traits)
        self.size = self._first_piece + int(self._tokenizer.get_vocab_size())
        self._cache: dict[str, Parts] = {}

    @classmethod
    def fit(cls, items: Iterable[Any], *, vocab_size: int, min_count: int) -> WordParts:
        """Learn the words that occur ``min_count`` times, the traits of at least two words, and the pieces.

        Raises:
            ValueError: No words, or an item that is not a text; the message gives its number.
        """
        counts: Counter[str] = Counter()
        for number, item in enumerate(items):
            counts.update(cls.split(item, f"item {number}"))
        if not counts:
            raise ValueError("items: got no words, expected training texts to learn vocabularies from")
        forms = counts.copy()
        for word, count in counts.items():
            if fold(word) != word:
                forms[fold(word)] += count
        words = sorted(w for w, n in forms.items() if n >= min_count and not UNWRITABLE.search(w))
        traits = Counter(t for w in counts for t in set(traits_of(w)) if not UNWRITABLE.search(t))
        # Each word counts once, because its frequency says nothing about how words are built.
        tokenizer = train_pieces(sorted(counts), vocab_size, split=False)
        return cls(tokenizer, words, sorted(t for t, n in traits.items() if n >= 2))

    @staticmethod
    def split(item: Any, name: str = "text") -> list[str]:
        """The words of a string or list of words, each of them :func:`readable`, or ValueError."""
        if isinstance(item, str):
            return split_words(item)
        if not isinstance(item, list | tuple):
            raise ValueError(f"{name}: got {type(item).__name__}, expected a string or a list of words")
        for i, word in enumerate(item):
            if not isinstance(word, str):
                raise ValueError(f"{name}: got {type(word).__name__} as word {i}, expected a string")
        return [readable(word) for word in item]

    def encode(self, item: Any) -> tuple[list[str], list[Parts]]:
        """The words of an item, and the rows and weights of each."""
        words = self.split(item)
        return words, [self._cache.get(word) or self._remember(word) for word in words]

    def _remember(self, word: str) -> Parts:
        if len(self._cache) >= CACHED_WORDS:
            self._cache.clear()
        parts = self._parts(word)
        if len(word) <= LONGEST_WORD:
            self._cache[word] = parts
        return parts

    def _parts(self, word: str) -> Parts:
        whole = [self._words.get(word, UNKNOWN), self._words.get(fold(word), UNKNOWN)]
        traits = [self._traits[t] for t in traits_of(word) if t in self._traits]
        pieces = [self._first_piece + i for i in self._tokenizer.encode(word).ids]
        weights = [1.0] * (len(whole) + len(traits)) + [1 / len(pieces) for _ in pieces]
        return (*whole, *traits, *pieces), tuple(weights)

    def assets(self) -> dict[str, str]:
        """The files of the vocabularies: file name -> text."""
        return {
            "tokenizer.json": self._tokenizer.to_str(pretty=True),
            "words.txt": "".join(f"{word}\n" for word in self._words),
            "traits.txt": "".join(f"{trait}\n" for trait in self._traits),
        }

    @classmethod
    def from_assets(cls, assets: Mapping[str, str]) -> WordParts:
        """Rebuild the vocabularies from :meth:`assets`."""
        lists = [asset(assets, name).split("\n")[:-1] for name in ("words.txt", "traits.txt")]
        return cls(asset(assets, "tokenizer.json"), *lists)


class PieceParts:
    """Each piece becomes one row. Pieces are subword tokens of byte-level byte-pair encoding (BPE).

    Texts in every script have pieces, because every byte is a piece.

    Args:
        tokenizer: The piece vocabulary, as JSON of the `tokenizers` library.
    """

    unit = "piece"
    own = 1

    def __init__(self, tokenizer: str) -> None:
        self._tokenizer = _tokenizer_of(tokenizer, split=True)
        self.size = 1 + int(self._tokenizer.get_vocab_size())

    @classmethod
    def fit(cls, items: Iterable[Any], *, vocab_size: int, min_count: int) -> PieceParts:
        """Learn the pieces. Pairs of pieces that occur at least ``min_count`` times may be merged.

        Raises:
            ValueError: No text, or an item that is not a string; the message gives its number.
        """
        texts = [_checked(item, f"item {number}") for number, item in enumerate(items)]
        if not any(texts):
            raise ValueError("items: got no text, expected training texts to learn pieces from")
        spaced = map(_spaced, texts)
        return cls(train_pieces(spaced, vocab_size, split=True, min_count=min_count))

    def encode(self, item: Any) -> tuple[list[str], list[Parts]]:
        """The texts of the pieces, and the row of each piece.

        If a character consists of several pieces (bytes), each of them has the character as its text.
        """
        text = _spaced(_checked(item, "text"))
        encoding = self._tokenizer.encode(text)
        names = [text[a:b] for a, b in encoding.offsets]
        return names, [((1 + piece,), (1.0,)) for piece in encoding.ids]

    def assets(self) -> dict[str, str]:
        """The files of the vocabularies: file name -> text."""
        return {"tokenizer.json": self._tokenizer.to_str(pretty=True)}

    @classmethod
    def from_assets(cls, assets: Mapping[str, str]) -> PieceParts:
        """Rebuild the vocabularies from :meth:`assets`."""
        return cls(asset(assets, "tokenizer.json"))


def fold(word: str) -> str:
    """The word in lower case, in Unicode's compatibility form (NFKC), with 0 for every digit.

    >>> fold("Boeing-747")
    'boeing-000'
    """
    return re.sub(r"\d", "0", unicodedata.normalize("NFKC", word.lower()))


def traits_of(word: str) -> list[str]:
    """The prefixes and suffixes of the folded word, the shape of the word, and its length.

    >>> traits_of("iPad2")[:4], traits_of("iPad2")[-2:]
    (['<i', '<ip', '<ipa', '<ipad'], ['shape xXxd', 'length 5'])
    """
    folded = fold(word)
    sizes = range(1, min(LONGEST_AFFIX, len(folded)) + 1)
    length = min(len(word), 6 + len(word) // 5)  # exact for short words
    return [
        *(f"<{folded[:n]}" for n in sizes),
        *(f"{folded[-n:]}>" for n in sizes),
        f"shape {shape_of(word)}",
        f"length {length}",
    ]


def shape_of(word: str) -> str:
    """What kinds of characters follow one another: X capitals, x small letters, d digits, o other letters.

    >>> shape_of("iPad2"), shape_of("U.S.")
    ('xXxd', 'X.X.')
    """
    return "".join(kind for kind, _ in groupby(map(_kind, word)))


def _kind(character: str) -> str:
    if character.isdigit():
        return "d"
    if character.isupper():
        return "X"
    if character.islower():
        return "x"
    return "o" if character.isalpha() else character


def train_pieces(texts: Iterable[str], vocab_size: int, *, split: bool, min_count: int = 2) -> str:
    """Learn byte-level byte-pair encoding (BPE) and return it as JSON.

    The same texts in the same order give the same JSON. With ``split``, texts are first cut at spaces and
    punctuation; a space belongs to the piece after it.
    """
    tokenizer = train_tokenizer(
        texts,
        _bytes(split),
        vocab_size=vocab_size,
        min_frequency=min_count,
        initial_alphabet=sorted(_bytes(split).alphabet()),
    )
    return str(tokenizer.to_str())


def _tokenizer_of(text: str, *, split: bool) -> Any:
    tokenizer = read_tokenizer(text, "tokenizer.json", _bytes(split))
    tokenizer.decoder = need("tokenizers").decoders.ByteLevel()  # for other programs that read the file
    return tokenizer


def _bytes(split: bool) -> Any:
    return need("tokenizers").pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split)


def _spaced(text: str) -> str:
    # The space gives a word at the beginning the same pieces as a word after a space.
    return f" {text}" if text else text


def _checked(item: Any, name: str) -> str:
    if not isinstance(item, str):
        raise ValueError(
            f'{name}: got {type(item).__name__}, expected a string (unit "piece" takes raw text); '
            'for a list of words use unit = "word"'
        )
    return readable(item)
